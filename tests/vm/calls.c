/* A program with calls of its own and system calls below them, for tracing both worlds at once. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

__attribute__((noinline)) int read_some(const char *path)
{
	char buffer[256];
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return -1;
	int got = (int)read(fd, buffer, sizeof buffer);
	close(fd);
	return got;
}

__attribute__((noinline)) int outer(const char *path)
{
	return read_some(path) + 1;
}

static void *in_thread(void *path)
{
	outer(path);
	return NULL;
}

int main(void)
{
	pthread_t thread;
	int sum = outer("/proc/self/maps") + outer("/proc/self/status");
	pthread_create(&thread, NULL, in_thread, "/proc/self/stat");
	pthread_join(thread, NULL);
	printf("read %s\n", sum > 0 ? "some" : "nothing");
	return 0;
}
