/* Runs functions of its own as they are and patched, and compares everything that they leave behind.
 *
 * usage: harness PLAN ROUNDS SEED. The plan has for each site the number of its function in `functions`, or 0xffffffff, and
 * what tests/patched.rs writes behind it. Prints a line for each difference, and how often stubs were run.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

extern void (*functions[])(void);
extern const char *names[];
extern const unsigned count;
extern char __executable_start[], data_start_[], data_end_[];

/* Order: rax rcx rdx rbx rbp rsi rdi r8-r15, then xmm0-15. */
struct state { uint64_t gpr[15]; uint64_t xmm[32]; };
struct state in, out;
uint64_t saved_rsp, side[4096], *top = side, flags_in, flags_out, hits;
void *targets[1 << 16];
void call_with_state(void (*)(void));
void hook(void);

__asm__(
	".text\n.globl call_with_state\ncall_with_state:\n"
	"push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
	"mov %rsp, saved_rsp(%rip)\n"
	/* Two arguments on the stack. */
	"pushq $0x55\npushq $0x66\npushq $0x77\n"
	"push %rdi\n"
#define LOAD(n) "movups in+120+16*" #n "(%rip), %xmm" #n "\n"
	LOAD(0) LOAD(1) LOAD(2) LOAD(3) LOAD(4) LOAD(5) LOAD(6) LOAD(7)
	LOAD(8) LOAD(9) LOAD(10) LOAD(11) LOAD(12) LOAD(13) LOAD(14) LOAD(15)
	"mov in+0(%rip), %rax\nmov in+8(%rip), %rcx\nmov in+16(%rip), %rdx\nmov in+24(%rip), %rbx\n"
	"mov in+32(%rip), %rbp\nmov in+40(%rip), %rsi\nmov in+48(%rip), %rdi\nmov in+56(%rip), %r8\n"
	"mov in+64(%rip), %r9\nmov in+72(%rip), %r10\nmov in+80(%rip), %r11\nmov in+88(%rip), %r12\n"
	"mov in+96(%rip), %r13\nmov in+104(%rip), %r14\nmov in+112(%rip), %r15\n"
	"lea 8(%rsp), %rsp\n"
	"call *-8(%rsp)\n"
	"mov %rax, out+0(%rip)\nmov %rcx, out+8(%rip)\nmov %rdx, out+16(%rip)\nmov %rbx, out+24(%rip)\n"
	"mov %rbp, out+32(%rip)\nmov %rsi, out+40(%rip)\nmov %rdi, out+48(%rip)\nmov %r8, out+56(%rip)\n"
	"mov %r9, out+64(%rip)\nmov %r10, out+72(%rip)\nmov %r11, out+80(%rip)\nmov %r12, out+88(%rip)\n"
	"mov %r13, out+96(%rip)\nmov %r14, out+104(%rip)\nmov %r15, out+112(%rip)\n"
#define STORE(n) "movups %xmm" #n ", out+120+16*" #n "(%rip)\n"
	STORE(0) STORE(1) STORE(2) STORE(3) STORE(4) STORE(5) STORE(6) STORE(7)
	STORE(8) STORE(9) STORE(10) STORE(11) STORE(12) STORE(13) STORE(14) STORE(15)
	"cld\n"
	"mov saved_rsp(%rip), %rsp\n"
	"pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n"
	/* What a stub comes to, with its number and the return address on the stack. Preserves what it must; flags and what is below
	 * rsp are spoilt. The function is called in place of the caller, as the runtime does. */
	".globl hook\nhook:\n"
	"push %rax\npush %rcx\n"
	"incq hits(%rip)\n"
	"mov top(%rip), %rax\nmov 24(%rsp), %rcx\nmov %rcx, (%rax)\nadd $8, %rax\nmov %rax, top(%rip)\n"
	"mov 16(%rsp), %rax\nlea targets(%rip), %rcx\nmov (%rcx,%rax,8), %rax\nmov %rax, 16(%rsp)\n"
	"pop %rcx\npop %rax\n"
	"pushq $-1\npushq $-1\npushq $-1\nlea 24(%rsp), %rsp\n"
	"pushq flags_in(%rip)\npopfq\n"
	"lea 16(%rsp), %rsp\n"
	"call *-16(%rsp)\n"
	"lea -8(%rsp), %rsp\n"
	"push %rax\npush %rcx\n"
	"mov top(%rip), %rax\nsub $8, %rax\nmov %rax, top(%rip)\nmov (%rax), %rcx\nmov %rcx, 16(%rsp)\n"
	"pop %rcx\npop %rax\n"
	"pushq flags_out(%rip)\npopfq\n"
	"ret\n");

static uint64_t seed;
static uint64_t next(void)
{
	seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
	return seed;
}

static uint64_t inputs(void)
{
	uint64_t value = next();
	switch (next() % 4) {
	case 0: return value % 8;
	case 1: return (int32_t)value;
	default: return value;
	}
}

struct result { struct state state; unsigned char data[4096]; };

static void run(unsigned function, struct result *result, const unsigned char *data, size_t len)
{
	memcpy(data_start_, data, len);
	call_with_state(functions[function]);
	result->state = out;
	memcpy(result->data, data_start_, len);
	top = side;
}

static unsigned get(FILE *plan, void *to, size_t len)
{
	if (fread(to, 1, len, plan) != len) exit(3);
	return 0;
}

static void jump(unsigned char *at, unsigned char *to)
{
	int32_t distance = to - (at + 5);
	at[0] = 0xe9;
	memcpy(at + 1, &distance, 4);
}

static unsigned apply(FILE *plan, char *base)
{
	unsigned char *stubs = mmap(base > (char *)(1l << 30) ? base - (64 << 20) : base + (64 << 20), 16 << 20, PROT_READ | PROT_WRITE | PROT_EXEC,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stubs == MAP_FAILED || labs((char *)stubs - base) > (1 << 30)) exit(4);
	unsigned char *next_stub = stubs;
	uint32_t sites;
	get(plan, &sites, 4);
	for (uint32_t site = 0; site < sites; site++) {
		uint64_t at, island, to;
		unsigned char len, has_island, code_len, fixups, place, kind, original[64], code[256], island_original[5], hop[2];
		get(plan, &at, 8), get(plan, &len, 1), get(plan, original, len);
		get(plan, &has_island, 1), get(plan, &island, 8), get(plan, island_original, 5), get(plan, hop, 2);
		get(plan, &code_len, 1), get(plan, code, code_len), get(plan, &fixups, 1);
		unsigned char *body = next_stub + 16;
		for (int i = 0; i < fixups; i++) {
			get(plan, &place, 1), get(plan, &kind, 1), get(plan, &to, 8);
			if (kind == 0) {
				int64_t distance = (int64_t)(to + (uint64_t)base) - (int64_t)(body + place + 4);
				if (distance != (int32_t)distance) exit(5);
				int32_t distance32 = distance;
				memcpy(code + place, &distance32, 4);
			} else {
				to += (uint64_t)base;
				memcpy(code + place, &to, 8);
			}
		}
		unsigned char *from = (unsigned char *)base + at;
		if (memcmp(from, original, len)) exit(6);
		if (has_island && memcmp(base + island, island_original, 5)) exit(7);
		memset(next_stub, 0xcc, 256);
		next_stub[0] = 0x68;
		memcpy(next_stub + 1, &site, 4);
		/* jmp to the hook, which is near: the harness is in the same module. */
		jump(next_stub + 5, (unsigned char *)hook);
		memcpy(body, code, code_len);
		targets[site] = body;
		if (has_island) {
			jump((unsigned char *)base + island, next_stub);
			memcpy(from, hop, 2);
		} else {
			jump(from, next_stub);
		}
		next_stub += 256;
	}
	return sites;
}

int main(int argc, char **argv)
{
	FILE *plan = fopen(argv[1], "r");
	unsigned rounds = atoi(argv[2]), differences = 0;
	uint64_t start = seed = strtoull(argv[3], NULL, 10) | 1;
	size_t len = data_end_ - data_start_;
	if (!plan || argc != 4 || len > 4096) return 2;
	static unsigned char data[4096];
	memcpy(data, data_start_, len);
	struct result *before = calloc(count * rounds, sizeof *before), after;
	unsigned char *page = (unsigned char *)((uintptr_t)__executable_start & ~4095ul);
	extern char etext[];
	for (unsigned f = 0; f < count; f++)
		for (unsigned r = 0; r < rounds; r++) {
			for (unsigned i = 0; i < sizeof in / 8; i++) ((uint64_t *)&in)[i] = inputs();
			run(f, &before[f * rounds + r], data, len);
		}
	if (mprotect(page, (unsigned char *)etext - page, PROT_READ | PROT_WRITE | PROT_EXEC)) return 8;
	unsigned sites = apply(plan, __executable_start);
	seed = start;
	for (unsigned f = 0; f < count; f++)
		for (unsigned r = 0; r < rounds; r++) {
			for (unsigned i = 0; i < sizeof in / 8; i++) ((uint64_t *)&in)[i] = inputs();
			/* CF PF AF ZF SF OF, and bit 1 that is always set. */
			flags_in = (r * 0x8d7 & 0x8d5) | 2, flags_out = (~flags_in & 0x8d5) | 2;
			run(f, &after, data, len);
			struct result *b = &before[f * rounds + r];
			for (unsigned i = 0; i < sizeof in / 8; i++)
				if (((uint64_t *)&b->state)[i] != ((uint64_t *)&after.state)[i])
					printf("%s: register %u: %lx became %lx\n", names[f], i, ((uint64_t *)&b->state)[i],
					       ((uint64_t *)&after.state)[i]), differences++;
			if (memcmp(b->data, after.data, len)) printf("%s: memory differs\n", names[f]), differences++;
		}
	printf("%u sites, %lu calls through stubs, %u differences\n", sites, hits, differences);
	return differences != 0;
}
