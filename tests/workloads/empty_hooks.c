// Preloaded where a -pg program is to run without the C library's own profiler (whose timer kills it in valgrind).
__asm__(".text\n.globl mcount, _mcount, __fentry__\nmcount: _mcount: __fentry__: ret\n");
void __monstartup(unsigned long low, unsigned long high) {}
void _mcleanup(void) {}
