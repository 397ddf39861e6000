//! Generated C++ programs whose functions throw, catch, clean up and look at the stack, with every function patched that can
//! be: they print what they print untraced, and every call that was entered is left. What they print depends on every
//! register that a function has to give back as it got it, after all that was thrown and caught within.

use super::random::Random;
use super::text::{self, Rules};
use super::{Context, Outcome, missing};
use crate::run::{run_ok, tail};
use anyhow::{Result, bail};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);
const FUNCTIONS: u64 = 40;
/// Functions whose first instructions are a call, or nearly.
const SMALL: u64 = 8;

const FLAGS: &[&[&str]] = &[
    &["g++", "-O2"],
    &["g++", "-O0"],
    &["g++", "-O1", "-fcf-protection"],
    &["g++", "-O3", "-march=native"],
    &["g++", "-Os", "-fno-pie", "-no-pie"],
    &["g++", "-O2", "-fno-omit-frame-pointer", "-fstack-protector-all"],
    &["g++", "-O2", "-fstack-clash-protection", "-foptimize-sibling-calls"],
    &["clang++", "-O2"],
    &["clang++", "-O1", "-fcf-protection"],
    &["clang++", "-Os"],
];

/// What all programs begin with. `note` is what is printed at the end: a sum that depends on the order of everything.
const HEAD: &str = r#"
#include <cstdio>
#include <cstring>
#include <pthread.h>
#include <setjmp.h>
#include <stdexcept>
#include <string>
#include <unwind.h>
static thread_local unsigned long sum;
static thread_local long fuel;
static thread_local jmp_buf back;
#define INLINE __attribute__((always_inline)) static inline
#define FUNCTION __attribute__((noinline, noclone))
INLINE void note(unsigned long value) { sum = (sum << 5 | sum >> 59) ^ (value * 0x9e3779b97f4a7c15ul + 1); }
struct Held { long n; INLINE_MEMBER Held(long n) : n(n) {} ~Held() { note(n); } };
struct One { long v; };
struct Two : One { char more[64]; };
struct Wide { long a[5]; };
typedef long Function(long, long, double, Wide);
extern Function *const functions[];
extern void (*const small[])();
extern const unsigned count, small_count;
static _Unwind_Reason_Code step(_Unwind_Context *context, void *) {
    void *begin = _Unwind_FindEnclosingFunction((void *)(_Unwind_GetIP(context) - 1));
    for (unsigned i = 0; i < count; i++)
        if ((void *)functions[i] == begin) note(i + 1000);
    for (unsigned i = 0; i < small_count; i++)
        if ((void *)small[i] == begin) note(i + 2000);
    return _URC_NO_REASON;
}
__attribute__((noinline)) static void walk() { _Unwind_Backtrace(step, nullptr); note(7); }
[[noreturn]] __attribute__((noinline)) static void thrower(long what) {
    Held held(what);
    switch (what & 3) {
    case 0: throw One{what};
    case 1: { Two two; two.v = what; memset(two.more, (int)what, sizeof two.more); throw two; }
    case 2: throw std::runtime_error(std::to_string(what));
    default: throw what;
    }
}
"#;

const MAIN: &str = r#"
// Calls a function with a number in each register that it has to preserve, and stores what is there when it returns: rbx,
// rbp, r12 to r15, the control words of SSE and x87, and the direction flag.
extern "C" long call_seeded(Function *, long, long, double, const Wide *, unsigned long *registers);
asm(R"(
        .text
        .globl call_seeded
        .type call_seeded,@function
call_seeded:
        .cfi_startproc
        pushq %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbx, 0
        pushq %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbp, 0
        pushq %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r12, 0
        pushq %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r13, 0
        pushq %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r14, 0
        pushq %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r15, 0
        pushq %r8
        .cfi_adjust_cfa_offset 8
        subq $8, %rsp
        .cfi_adjust_cfa_offset 8
        pushq 32(%rcx)
        .cfi_adjust_cfa_offset 8
        pushq 24(%rcx)
        .cfi_adjust_cfa_offset 8
        pushq 16(%rcx)
        .cfi_adjust_cfa_offset 8
        pushq 8(%rcx)
        .cfi_adjust_cfa_offset 8
        pushq (%rcx)
        .cfi_adjust_cfa_offset 8
        movq %rdi, %rax
        movq %rsi, %rdi
        movq %rdx, %rsi
        movabsq $0x1111111111111111, %rbx
        movabsq $0x2222222222222222, %rbp
        movabsq $0x3333333333333333, %r12
        movabsq $0x4444444444444444, %r13
        movabsq $0x5555555555555555, %r14
        movabsq $0x6666666666666666, %r15
        call *%rax
        addq $48, %rsp
        .cfi_adjust_cfa_offset -48
        popq %rcx
        .cfi_adjust_cfa_offset -8
        movq %rbx, (%rcx)
        movq %rbp, 8(%rcx)
        movq %r12, 16(%rcx)
        movq %r13, 24(%rcx)
        movq %r14, 32(%rcx)
        movq %r15, 40(%rcx)
        stmxcsr 48(%rcx)
        fnstcw 52(%rcx)
        pushfq
        .cfi_adjust_cfa_offset 8
        popq %rdx
        .cfi_adjust_cfa_offset -8
        andl $0x400, %edx
        movq %rdx, 56(%rcx)
        popq %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore r15
        popq %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore r14
        popq %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore r13
        popq %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore r12
        popq %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbp
        popq %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbx
        ret
        .cfi_endproc
        .size call_seeded, . - call_seeded
)");
const unsigned count = sizeof functions / sizeof functions[0], small_count = sizeof small / sizeof small[0];
static unsigned long wrong;
static unsigned long work(long from) {
    sum = from;
    unsigned long thrown = 0;
    for (long i = from; i < from + 150; i++) {
        fuel = 120;
        try {
            unsigned long registers[8] = {};
            Wide wide{{i, 2, 3, 4, i}};
            note(call_seeded(functions[count - 1 - i % 7], i, i * i % 31, i / 3.0, &wide, registers));
            // The status of SSE is in the same word as its control.
            registers[6] &= ~0x3ful;
            for (unsigned long value : registers) note(value);
            for (int n = 0; n < 6; n++)
                if (registers[n] != (n + 1) * 0x1111111111111111ul) wrong++;
        } catch (...) {
            thrown++;
        }
    }
    return sum * 1000 + thrown % 1000;
}
struct Left { unsigned long *to; ~Left() { *to ^= sum; } };
static void *thread(void *at) {
    Left left{(unsigned long *)at};
    *(unsigned long *)at = work(100);
    fuel = 120;
    // Ends through the frames of all that is open here.
    pthread_exit(nullptr);
}
int main() {
    unsigned long first = work(1), others[2] = {0, 0};
    pthread_t ids[2];
    for (int i = 0; i < 2; i++) pthread_create(&ids[i], nullptr, thread, &others[i]);
    for (int i = 0; i < 2; i++) pthread_join(ids[i], nullptr);
    std::printf("%lx %lx %lx\n", first, others[0], others[1]);
    if (wrong) std::printf("%lu registers were not given back\n", wrong);
    return (int)(first & 3);
}
"#;

/// A call of one of the functions below `n`, if there is fuel.
fn call(random: &mut Random, n: u64) -> String {
    let (to, first, second) =
        (random.below(n), random.pick(&["a", "b", "r"]), random.pick(&["a + 1", "b * 3", "r ^ a"]));
    let number = random.pick(&["x", "x + 0.5", "(double)r"]);
    let function = if random.one_in(3) { format!("functions[{to}]") } else { format!("f{to}") };
    format!("if (fuel-- > 0) r += {function}({first}, {second}, {number}, w);")
}

/// What a small function does.
fn small(random: &mut Random, n: u64) -> String {
    let one = |random: &mut Random| match random.below(4) {
        0 => "walk();".to_owned(),
        1 => format!("thrower({});", random.below(9)),
        _ if n == 0 => "sum++;".to_owned(),
        2 => format!("small[{}]();", random.below(n)),
        _ => format!("s{}();", random.below(n)),
    };
    match random.below(5) {
        0 => one(random),
        1 => format!("{} {}", one(random), one(random)),
        2 => format!("try {{ {} }} catch (long) {{ note({n}); }}", one(random)),
        3 => format!("try {{ {} }} catch (...) {{ {} throw; }}", one(random), one(random)),
        _ => format!("Held held({n}); {} {}", one(random), one(random)),
    }
}

fn statement(random: &mut Random, n: u64, depth: u64) -> String {
    let value = random.below(1000);
    let inner = |random: &mut Random| {
        let count = 1 + random.below(3);
        (0..count).map(|_| statement(random, n, depth + 1)).collect::<Vec<_>>().join("\n")
    };
    match random.below(if depth > 2 { 9 } else { 14 }) {
        0 => format!("r = r * 7 + (a ^ {value});"),
        1 if n > 0 => call(random, n),
        2 if n > 0 => format!("{} note(r);", call(random, n)),
        3 => {
            let name = format!("h{value}_{}", random.below(1 << 30));
            format!("Held {name}(a + {value}); r += {name}.n;")
        }
        4 => format!("if ((a + b + r) % {} == 0) thrower(r + {value});", 3 + random.below(9)),
        5 => "walk();".to_owned(),
        6 => format!("x = x * 1.5 + {value}; r += (long)x % 17;"),
        7 => format!("w.a[{}] += r; r ^= w.a[{}];", random.below(5), random.below(5)),
        8 if random.one_in(2) => format!("s{}();", random.below(SMALL)),
        8 => format!(
            "{{ volatile char room[16 + (a & 63)]; room[a & 15] = (char)r; r += room[a & 15] + {value}; }}"
        ),
        9 | 10 => {
            let caught = random.pick(&["One &e", "Two &e", "std::exception &e", "long e", "..."]);
            let end = random.pick(&["", "throw;", "thrower(a + 1);", "walk();"]);
            let end =
                if end.starts_with("throw") { format!("if (r % 3 == 0) {end}") } else { end.to_owned() };
            let body = inner(random);
            let mut after = inner(random);
            if random.one_in(2) {
                after = String::new();
            }
            format!("try {{\n{body}\n}} catch ({caught}) {{ note({value}); {after} {end} }}")
        }
        11 => format!("for (long i = 0; i < (a & 3); i++) {{\n{}\n}}", inner(random)),
        12 => {
            let cases: Vec<String> =
                (0..6).map(|i| format!("case {i}: {{ {} }} break;", statement(random, n, 9))).collect();
            format!("switch ((r ^ a) & 7) {{\n{}\ndefault: r++; }}", cases.join("\n"))
        }
        _ => format!("r += b % {};", value + 1),
    }
}

/// The program of a seed.
fn program(random: &mut Random) -> String {
    let mut text = HEAD.replace("INLINE_MEMBER", "__attribute__((always_inline))");
    for n in 0..SMALL {
        let body = small(random, n);
        text.push_str(&format!("FUNCTION static void s{n}() {{ {body} }}\n"));
    }
    for n in 0..FUNCTIONS {
        text.push_str(&format!("static long f{n}(long a, long b, double x, Wide w);\n"));
    }
    for n in 0..FUNCTIONS {
        let count = random.below(6);
        let body: Vec<String> = (0..count).map(|_| statement(random, n, 0)).collect();
        let end = if n > 0 && random.one_in(4) {
            format!("return fuel-- > 0 ? f{}(r, b, x, w) : r;", random.below(n))
        } else {
            "return r;".to_owned()
        };
        text.push_str(&format!(
            "FUNCTION static long f{n}(long a, long b, double x, Wide w) {{\nlong r = a;\n{}\n{end}\n}}\n",
            body.join("\n")
        ));
    }
    let names: Vec<String> = (0..FUNCTIONS).map(|n| format!("f{n}")).collect();
    text.push_str(&format!("Function *const functions[] = {{{}}};\n", names.join(", ")));
    let names: Vec<String> = (0..SMALL).map(|n| format!("s{n}")).collect();
    text.push_str(&format!("void (*const small[])() = {{{}}};\n{MAIN}", names.join(", ")));
    text
}

/// Generates, builds, runs untraced and patched.
pub(crate) fn check(context: &Context, seed: u64) -> Result<Outcome> {
    let flags = FLAGS[seed as usize % FLAGS.len()];
    if let Some(reason) = missing(&[flags[0].to_owned()]) {
        return Ok(Outcome::Skipped(reason));
    }
    let dir = context.work.join("throws").join(seed.to_string());
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("a.cpp"), program(&mut Random::new(seed)))?;
    let mut cc = Command::new(flags[0]);
    cc.args(&flags[1..]).args(["-g", "-w", "-pthread", "-o", "a", "a.cpp"]);
    run_ok(&mut cc, &dir, LIMIT)?;
    let untraced = crate::run::run(&mut Command::new(dir.join("a")), &dir, LIMIT)?;
    let bad = untraced.stdout.is_empty() || untraced.stdout.contains("not given back");
    if untraced.status.code().is_none() || bad {
        bail!("seed {seed}: the program {} untraced", untraced.end());
    }
    let mut record = Command::new(&context.fathom);
    record.args(["record", "--no-event", "--no-libcall", "-P", ".", "-d", "data"]).arg(dir.join("a"));
    let traced = crate::run::run(&mut record, &dir, LIMIT)?;
    let failed = i32::from(untraced.status.code() != Some(0));
    if traced.stdout != untraced.stdout || traced.status.code() != Some(failed) {
        bail!(
            "seed {seed}, {flags:?}: {:?} and {}, untraced {:?} and {}; {}",
            traced.stdout,
            traced.end(),
            untraced.stdout,
            untraced.end(),
            tail(&traced.stderr, 1000)
        );
    }
    if traced.stderr.contains("could not be set") {
        bail!("seed {seed}, {flags:?}: {}", traced.stderr);
    }
    let mut dump = Command::new(&context.fathom);
    let shown = run_ok(dump.args(["dump", "--no-pager", "-d", "data"]), &dir, LIMIT)?.stdout;
    let seen = text::dump(shown.as_bytes(), Rules::default())?;
    let calls: u64 = seen.entries.values().sum();
    if !seen.open.is_empty() || seen.lost > 0 || calls < 500 {
        bail!("seed {seed}, {flags:?}: {calls} calls, {} lost, open at the end: {:?}", seen.lost, seen.open);
    }
    let _ = std::fs::remove_dir_all(&dir);
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_of_their_seeds() {
        let text = program(&mut Random::new(3));
        assert_eq!(text, program(&mut Random::new(3)));
        assert_ne!(text, program(&mut Random::new(4)));
        for word in ["catch (", "walk();", "thrower(", "switch (", "functions["] {
            assert!((0..5).any(|seed| program(&mut Random::new(seed)).contains(word)), "{word}");
        }
    }
}
