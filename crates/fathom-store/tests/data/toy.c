/* Recorded with: uftrace record -a -T 'twig@read=proc/statm' -d uftrace-0.13 ./toy */
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum hue { RED, BLUE = 4, PINK };
struct pair { long a, b, c; };

int leaf(int a, const char *s, enum hue h, char c) { return a + strlen(s) + h + c; }
double mix(float f, double d, struct pair p) { return f + d + p.a; }
void *worker(void *p) { usleep(100); leaf(1, "w", PINK, 'x'); return p; }
int twig(int n) { int r = 0; for (int i = 0; i < n; i++) r += leaf(i, "oak\ntree", BLUE, '\n'); return r; }

int main(int argc, char **argv)
{
	if (argc > 1)
		return twig(1) & 1;
	struct pair p = { 1, 2, 3 };
	pthread_t t;
	int status;
	pthread_create(&t, 0, worker, 0);
	mix(1.5f, 2.5, p);
	pthread_join(t, 0);
	void *lib = dlopen("./libtwo.so", RTLD_NOW);
	int (*two)(int) = (int (*)(int))dlsym(lib, "two");
	two(twig(1));
	if (!fork()) {
		leaf(2, "child", RED, 'c');
		execl("./toy", "toy", "again", (char *)0);
		_exit(1);
	}
	wait(&status);
	return 0;
}
