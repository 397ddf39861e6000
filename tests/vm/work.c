/* Loads for the tests on live kernels, one for each word. Each ends by itself after a while. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void nap(long us)
{
	struct timespec t = { us / 1000000, us % 1000000 * 1000 };
	nanosleep(&t, NULL);
}

/* The functions that uprobes are put on. */
__attribute__((noinline)) int probed(int number, const char *text)
{
	__asm__ volatile("" : : "r"(text) : "memory");
	return number * 2;
}

static int uprobe(int rounds)
{
	int sum = 0;
	for (int i = 0; i < rounds; i++) {
		sum += probed(i, "words of the caller");
		nap(10000);
	}
	return sum < 0;
}

static volatile sig_atomic_t seen;
static void on_signal(int number)
{
	seen = number;
}

static int signals(int rounds)
{
	signal(SIGUSR1, on_signal);
	for (int i = 0; i < rounds; i++) {
		kill(getpid(), SIGUSR1);
		nap(10000);
	}
	return seen != SIGUSR1;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *contend(void *rounds)
{
	for (long i = 0; i < (long)rounds; i++) {
		pthread_mutex_lock(&lock);
		nap(5000);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static int futexes(int rounds)
{
	pthread_t thread[3];
	for (int i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, contend, (void *)(long)rounds);
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	return 0;
}

static int faults(int rounds)
{
	for (int i = 0; i < rounds; i++) {
		size_t size = 256 * 4096;
		char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (page == MAP_FAILED)
			return 1;
		for (size_t at = 0; at < size; at += 4096)
			page[at] = 1;
		munmap(page, size);
		nap(10000);
	}
	return 0;
}

/* Takes memory until the kernel kills it; a child, so that somebody is left to tell. */
static int oom(void)
{
	pid_t child = fork();
	if (child == 0) {
		int fd = open("/proc/self/oom_score_adj", O_WRONLY);
		if (fd >= 0) {
			if (write(fd, "1000", 4) != 4)
				_exit(1);
			close(fd);
		}
		for (;;) {
			char *page = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
			if (page == MAP_FAILED)
				_exit(1);
			memset(page, 1, 1 << 20);
		}
	}
	int status = 0;
	waitpid(child, &status, 0);
	printf("child: signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	return !WIFSIGNALED(status);
}

static int children(int rounds)
{
	for (int i = 0; i < rounds; i++) {
		pid_t child = fork();
		if (child == 0) {
			nap(1000);
			_exit(probed(i, "in a child") & 1);
		}
		waitpid(child, NULL, 0);
		nap(5000);
	}
	return 0;
}

static void *named(void *rounds)
{
	pthread_setname_np(pthread_self(), "work-thread");
	for (long i = 0; i < (long)rounds; i++) {
		getppid();
		nap(5000);
	}
	return NULL;
}

static int threads(int rounds)
{
	pthread_t thread;
	pthread_create(&thread, NULL, named, (void *)(long)rounds);
	named((void *)(long)rounds);
	return pthread_join(thread, NULL);
}

static int marker(int rounds)
{
	int fd = open(getenv("MARKER") ? getenv("MARKER") : "/sys/kernel/tracing/trace_marker", O_WRONLY);
	for (int i = 0; i < rounds; i++) {
		char text[64];
		int length = snprintf(text, sizeof text, "mark %d of %d", i + 1, rounds);
		if (write(fd, text, length) != length) {
			perror("marker");
			return 1;
		}
		nap(1000);
	}
	return 0;
}

static int calls(int rounds)
{
	for (int i = 0; i < rounds; i++)
		syscall(SYS_getppid);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	int rounds = argc > 2 ? atoi(argv[2]) : 20;
	if (!strcmp(what, "uprobe")) return uprobe(rounds);
	if (!strcmp(what, "signals")) return signals(rounds);
	if (!strcmp(what, "futexes")) return futexes(rounds);
	if (!strcmp(what, "faults")) return faults(rounds);
	if (!strcmp(what, "oom")) return oom();
	if (!strcmp(what, "children")) return children(rounds);
	if (!strcmp(what, "threads")) return threads(rounds);
	if (!strcmp(what, "marker")) return marker(rounds);
	if (!strcmp(what, "calls")) return calls(rounds);
	fprintf(stderr, "work: no load '%s'\n", what);
	return 2;
}
