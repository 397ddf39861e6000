// Functions of C++ that are called by way of the probe.
#include <cstdio>
#include <string>

extern "C" {
extern void *probe_target;
extern char probe_registers[];
void probe();
static void stop(const char *what)
{
    std::printf("%s %lx\n", what, (long)probe_registers);
    std::fflush(stdout);
    if (std::getchar() == EOF)
        _Exit(1);
}
void probe_entry() { stop("entry"); }
void probe_exit() { stop("exit"); }
}

namespace shapes {
enum class Kind : unsigned char { Round, Square = 7 };
struct Plain {
    int a, b;
    int sum(int x) const;
};
struct Copied {
    int a;
    explicit Copied(int a) : a(a) {}
    Copied(const Copied &other) : a(other.a) {}
    ~Copied() {}
};
struct Virtual {
    virtual ~Virtual() = default;
    long a = 5;
};
struct Derived : Plain {
    double c;
};
struct Empty {};
template <class T> struct Holder {
    T value;
};
}

using namespace shapes;

std::string text(std::string a, const std::string &b, const char *c) { return a + b + c; }
Copied copied(Copied a, int b) { return Copied(a.a + b); }
Virtual virtuals(Virtual a, int b) { a.a += b; return a; }
Derived derived(Derived a, float b) { a.c += b; return a; }
Kind kind(Kind a, bool b, Empty c, char16_t d) { return b && d ? a : Kind::Round; }
Holder<double> held(Holder<float> a, Holder<const char *> b, std::nullptr_t c, int d) { return {a.value + d}; }
int Plain::sum(int x) const { return a + b + x; }
int members(int (Plain::*f)(int) const, int Plain::*m, int x) { return x; }
__attribute__((noinline)) static int local(int a, const char *b) { return a + b[0]; }

template <class F> F by_probe(F function)
{
    union { F function; void (*plain)(); void *target; } to, from;
    to.function = function;
    probe_target = to.target;
    from.plain = probe;
    return from.function;
}

int main()
{
    by_probe(text)("by value", "by reference", "pointer");
    by_probe(copied)(Copied(3), 4);
    by_probe(virtuals)(Virtual(), 6);
    by_probe(derived)(Derived{{1, 2}, 3.5}, 0.5f);
    by_probe(kind)(Kind::Square, true, Empty(), u'x');
    by_probe(held)(Holder<float>{1.5f}, Holder<const char *>{"held"}, nullptr, 2);
    Plain plain{10, 20};
    int (Plain::*sum)(int) const = &Plain::sum;
    union { int (Plain::*member)(int) const; int (*plain)(const Plain *, int); } as = {sum};
    by_probe(as.plain)(&plain, 30);
    by_probe(members)(sum, &Plain::b, 40);
    by_probe(local)(50, "local");
}
