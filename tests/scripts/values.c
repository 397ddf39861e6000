/* The program of values.data: arguments of all kinds, threads, events. Recorded by uftrace 0.13:
 * gcc -g -O0 -pg -pthread values.c -o values
 * uftrace record -d values.data -a -E linux:schedule -T 'wait_a_little@read=page-fault' ./values */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum hue { RED, GREEN, BLUE };
struct point { int x, y; };

int leaf(int a) { return a - 3; }
char next(char c) { return c + 1; }
double scale(float f, double d) { return f * d; }
char *text(char *s) { return s; }
enum hue mix(enum hue h) { return h; }
struct point move(struct point p) { p.x++; return p; }
unsigned long wide(unsigned long a, short b, unsigned char c) { return a + b + c; }
int middle(int n) { int sum = 0; for (int i = 0; i < n; i++) sum += leaf(i); return sum; }
void wait_a_little(void) { usleep(500); }
int recurse(int n) { return n <= 0 ? leaf(n) : recurse(n - 1) + 1; }
void *thread(void *arg) { for (int i = 0; i < 2; i++) { wait_a_little(); middle(*(int *)arg); } return NULL; }

int main(void)
{
    struct point p = { 1, 2 };
    int counts[2] = { 2, 5 };
    pthread_t threads[2];
    middle(3);
    next('a');
    scale(1.5f, 2.25);
    text("hello \"world\"\n");
    text(NULL);
    text("gr\xc3\xbc\xc3\x9f");
    mix(BLUE);
    move(p);
    wide(1UL << 40, -5, 200);
    recurse(5);
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, thread, &counts[i]);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    free(malloc(10));
    return 0;
}
