// Calls to be timed from within: the CPU time, user and system, of the threads that make them.
// usage: calls clock | calls tight|text|fib N [THREADS]. Prints "NAME ns_per_call CALLS".
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __x86_64__
#include <x86intrin.h>
static unsigned long read_clock(void) { return __rdtsc(); }
#else
static unsigned long read_clock(void) {
    unsigned long t;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
    return t;
}
#endif
#define UNTRACED __attribute__((noinline, no_instrument_function))

static long n, threads = 1;
static const char *what;

UNTRACED static double cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

__attribute__((noinline)) long leaf(long i) {
    __asm__ volatile("" : "+r"(i));
    return i;
}
__attribute__((noinline)) const char *label(const char *text) {
    __asm__ volatile("" : "+r"(text));
    return text;
}
// Never called.
__attribute__((noinline)) long other(long i) { return leaf(i); }
__attribute__((noinline)) long fib(long i) { return i < 2 ? i : fib(i - 1) + fib(i - 2); }

struct result {
    double ns;
    long calls;
};

UNTRACED static struct result *tight(struct result *r) {
    long sum = 0;
    double start = cpu_ns();
    for (long i = 0; i < n; i++)
        sum += leaf(i);
    r->ns = cpu_ns() - start;
    r->calls = n + (sum == 1);
    return r;
}

UNTRACED static struct result *text(struct result *r) {
    static const char *const texts[] = {"a text", "of sixteen bytes", "and one that is quite a bit longer than both"};
    long sum = 0;
    double start = cpu_ns();
    for (long i = 0; i < n; i++)
        sum += label(texts[i % 3])[0];
    r->ns = cpu_ns() - start;
    r->calls = n + (sum == 1);
    return r;
}

UNTRACED static long fib_calls(long i) {
    long a = 1, b = 1;
    for (; i > 1; i--) {
        long next = a + b + 1;
        a = b;
        b = next;
    }
    return b;
}

static struct result *recursive(struct result *r) {
    long calls = fib_calls(n);
    double start = cpu_ns();
    long value = fib(n);
    r->ns = cpu_ns() - start;
    r->calls = calls + (value < 0);
    return r;
}

static void *run(void *arg) {
    struct result *r = arg;
    if (!strcmp(what, "tight"))
        return tight(r);
    if (!strcmp(what, "text"))
        return text(r);
    return recursive(r);
}

static int clock_reads(void) {
    unsigned long sum = 0;
    long rounds = 20000000;
    double start = cpu_ns();
    for (long i = 0; i < rounds; i++) {
        sum += read_clock();
        sum -= read_clock();
    }
    double ns = cpu_ns() - start;
    printf("clock %.3f %ld\n", ns / rounds, rounds + (sum == 1));
    return 0;
}

int main(int argc, char **argv) {
    what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "clock"))
        return clock_reads();
    if (argc < 3)
        return 2;
    n = atol(argv[2]);
    if (argc > 3)
        threads = atol(argv[3]);
    pthread_t *ids = calloc(threads, sizeof *ids);
    struct result *results = calloc(threads, sizeof *results), sum = {0, 0};
    for (long i = 1; i < threads; i++)
        pthread_create(&ids[i], 0, run, &results[i]);
    run(&results[0]);
    for (long i = 0; i < threads; i++) {
        if (i)
            pthread_join(ids[i], 0);
        sum.ns += results[i].ns;
        sum.calls += results[i].calls;
    }
    printf("%s %.3f %ld\n", what, sum.ns / sum.calls, sum.calls);
    return 0;
}
