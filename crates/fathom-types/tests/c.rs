//! Prototypes of generated C functions, compared with what is in registers and memory when they are called.

mod support;

use std::fmt::Write;
use support::{Build, Program, Said, Watched};

/// A type of the generator: its name in C, a value, and what of its bytes means something.
struct Kind {
    name: &'static str,
    value: &'static str,
    /// Offset and length.
    parts: &'static [(usize, usize)],
}

const fn kind(name: &'static str, value: &'static str, parts: &'static [(usize, usize)]) -> Kind {
    Kind { name, value, parts }
}

const TYPES: &str = r#"
#include <stdio.h>
#include <string.h>
enum hue { RED, BLUE = 4, PINK };
typedef enum { LESS = -1, SAME } order;
struct c1 { char a; };
struct s3 { short a; char b; };
struct i1 { int a; };
struct i2 { int a, b; };
struct i3 { int a[3]; };
struct f2 { float a, b; };
struct f3 { float a[3]; };
struct fi { float a; int b; };
struct d1 { double a; };
struct dd { double a, b; };
struct ld { long a; double b; };
struct dl { double a; long b; };
struct pl { char *a; long b; };
struct l3 { long a[3]; };
struct x1 { long double a; };
struct __attribute__((packed)) pk { char a; double b; };
struct bf { int a : 5, b : 7; long c : 40; };
struct in { struct { char a; struct f2 b; } c; };
union id { int a; double b; };
union ff { float a; float b[2]; };
struct nothing {};
typedef struct { unsigned char a[9]; } c9;
typedef float vec4 __attribute__((vector_size(16)));
typedef int (*callback)(int);
"#;

const KINDS: &[Kind] = &[
    kind("char", "'q'", &[(0, 1)]),
    kind("signed char", "-3", &[(0, 1)]),
    kind("unsigned char", "200", &[(0, 1)]),
    kind("short", "-300", &[(0, 2)]),
    kind("unsigned short", "60000", &[(0, 2)]),
    kind("int", "-70000", &[(0, 4)]),
    kind("unsigned", "4000000000u", &[(0, 4)]),
    kind("long", "-5000000000l", &[(0, 8)]),
    kind("unsigned long long", "12345678901234567890ull", &[(0, 8)]),
    kind("_Bool", "1", &[(0, 1)]),
    kind("float", "1.25f", &[(0, 4)]),
    kind("double", "-2.5", &[(0, 8)]),
    kind("long double", "3.75L", &[(0, 10)]),
    kind("void *", "&probe_target", &[(0, 8)]),
    kind("const volatile int *", "(int *)&probe_target", &[(0, 8)]),
    kind("callback", "(callback)probe", &[(0, 8)]),
    kind("enum hue", "PINK", &[(0, 4)]),
    kind("order", "LESS", &[(0, 4)]),
    kind("struct c1", "{ 'x' }", &[(0, 1)]),
    kind("struct s3", "{ 513, 'y' }", &[(0, 3)]),
    kind("struct i1", "{ 77 }", &[(0, 4)]),
    kind("struct i2", "{ 78, -79 }", &[(0, 8)]),
    kind("struct i3", "{ { 1, 2, 3 } }", &[(0, 12)]),
    kind("struct f2", "{ 1.5f, 2.5f }", &[(0, 8)]),
    kind("struct f3", "{ { 1.5f, 2.5f, 3.5f } }", &[(0, 12)]),
    kind("struct fi", "{ 4.5f, 44 }", &[(0, 8)]),
    kind("struct d1", "{ 5.5 }", &[(0, 8)]),
    kind("struct dd", "{ 6.5, 7.5 }", &[(0, 16)]),
    kind("struct ld", "{ 8, 8.5 }", &[(0, 16)]),
    kind("struct dl", "{ 9.5, 9 }", &[(0, 16)]),
    kind("struct pl", "{ \"text\", 10 }", &[(0, 16)]),
    kind("struct l3", "{ { 11, 12, 13 } }", &[(0, 24)]),
    kind("struct x1", "{ 14.5L }", &[(0, 10)]),
    kind("struct pk", "{ 'z', 15.5 }", &[(0, 9)]),
    kind("struct bf", "{ 3, -4, 1l << 35 }", &[(0, 1)]),
    kind("struct in", "{ { 'i', { 16.5f, 17.5f } } }", &[(0, 1), (4, 8)]),
    kind("union id", "{ .b = 18.5 }", &[(0, 8)]),
    kind("union ff", "{ .b = { 19.5f, 20.5f } }", &[(0, 8)]),
    kind("struct nothing", "{}", &[]),
    kind("c9", "{ { 1, 2, 3, 4, 5, 6, 7, 8, 9 } }", &[(0, 9)]),
    kind("vec4", "{ 1.5f, 2.5f, 3.5f, 4.5f }", &[(0, 16)]),
    kind("__int128", "((__int128)21 << 64) + 22", &[(0, 16)]),
    kind("_Complex double", "23.5 + 24.5i", &[(0, 16)]),
    kind("_Complex float", "25.5f + 26.5fi", &[(0, 8)]),
];

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// A function that returns the first kind and takes the others.
type Signature = (Option<usize>, Vec<usize>);

fn signatures(kinds: &[usize]) -> Vec<Signature> {
    let mut dice = Dice(3);
    // Each kind alone once, so that all of them are there.
    let mut all: Vec<Signature> = kinds.iter().map(|&kind| (Some(kind), vec![5, kind, 11, kind])).collect();
    while all.len() < 200 {
        let returned = (dice.below(5) > 0).then(|| kinds[dice.below(kinds.len())]);
        let arguments = (0..dice.below(13)).map(|_| kinds[dice.below(kinds.len())]).collect();
        all.push((returned, arguments));
    }
    all
}

fn declaration(index: usize, (returned, arguments): &Signature, name: &str) -> String {
    let returned = returned.map_or("void", |kind| KINDS[kind].name);
    let arguments: Vec<String> =
        arguments.iter().enumerate().map(|(n, kind)| format!("{} a{n}", KINDS[*kind].name)).collect();
    let arguments = if arguments.is_empty() { "void".to_owned() } else { arguments.join(", ") };
    let name = name.replace('#', &index.to_string());
    format!("{returned} {name}({arguments})")
}

/// The program: for each function one that calls it, by way of the probe.
fn source(signatures: &[Signature]) -> String {
    let mut text = String::from(TYPES);
    text.push_str(
        r#"
extern void probe(void);
extern void *probe_target;
extern long probe_x87;
extern char probe_registers[];
static void stop(const char *what) { printf("%s %lx\n", what, (long)probe_registers); fflush(stdout); getchar(); }
void probe_entry(void) { stop("entry"); }
void probe_exit(void) { stop("exit"); }
static void expect(const void *value, int from, int bytes)
{
    printf("expect %d ", from);
    for (int i = 0; i < bytes; i++)
        printf("%02x", ((const unsigned char *)value)[from + i]);
    printf("\n");
}
"#,
    );
    for (index, signature) in signatures.iter().enumerate() {
        let (returned, arguments) = signature;
        let mut variables = String::new();
        let mut expected = String::new();
        let names: Vec<String> = (0..arguments.len()).map(|n| format!("v{n}")).collect();
        let of = |name: &str, kind: usize, out: &mut (&mut String, &mut String)| {
            let Kind { name: c, value, parts } = &KINDS[kind];
            let _ = writeln!(out.0, "    {c} {name} = {value};");
            let _ = writeln!(out.1, "    printf(\"value\\n\");");
            for (from, bytes) in *parts {
                let _ = writeln!(out.1, "    expect(&{name}, {from}, {bytes});");
            }
        };
        for (name, kind) in names.iter().zip(arguments) {
            of(name, *kind, &mut (&mut variables, &mut expected));
        }
        let mut body = String::new();
        if let Some(kind) = returned {
            let _ = writeln!(expected, "    printf(\"returned\\n\");");
            of("r", *kind, &mut (&mut variables, &mut expected));
            let Kind { name, value, .. } = &KINDS[*kind];
            let _ = write!(body, "    {name} r = {value};\n    return r;\n");
        }
        let x87 =
            i32::from(returned.is_some_and(|kind| matches!(KINDS[kind].name, "long double" | "struct x1")));
        let _ = write!(
            text,
            "{}\n{{\n{body}}}\nstatic void call{index}(void)\n{{\n    {} = (void *)probe;\n{variables}    printf(\"function f{index}\\n\");\n{expected}    probe_target = f{index};\n    probe_x87 = {x87};\n    p({});\n}}\n",
            declaration(index, signature, "f#"),
            declaration(index, signature, "(*p)"),
            names.join(", "),
        );
    }
    text.push_str("int main(void)\n{\n");
    for index in 0..signatures.len() {
        let _ = writeln!(text, "    call{index}();");
    }
    text.push_str("    return 0;\n}\n");
    text
}

/// Values that the program has told to expect: offsets and bytes.
type Expected = Vec<Vec<(usize, Vec<u8>)>>;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn check(options: &str) {
    let build = Build::new();
    // Clang before version 18 passes the halves of these in a register and on the stack, against the rules.
    let kinds =
        (0..KINDS.len()).filter(|&kind| !(options.starts_with("clang") && KINDS[kind].name == "__int128"));
    let signatures = signatures(&kinds.collect::<Vec<_>>());
    build.source("f.c", &source(&signatures));
    build.source("probe.s", include_str!("programs/probe.s"));
    let path = build.run(&format!("{options} -g -w f.c probe.s"), "f");
    let program = Program::open(&path);
    let mut watched = Watched::start(&path);
    let (mut name, mut values, mut returned) = (String::new(), Expected::new(), Expected::new());
    let (mut results, mut seen) = (false, 0);
    while let Some(said) = watched.next() {
        let line = match said {
            Said::Line(line) => line,
            Said::Stopped { returns, frame } => {
                let prototype = program.function(&name);
                let fetches: Vec<_> = if returns {
                    prototype.returned.iter().collect()
                } else {
                    prototype.arguments.iter().collect()
                };
                let expected = if returns { &returned } else { &values };
                let declared = declaration(seen, &signatures[seen], "f#");
                assert_eq!(fetches.len(), expected.len(), "{options}: {declared}: {fetches:?}");
                for (number, (fetch, expected)) in fetches.iter().zip(expected).enumerate() {
                    let bytes = frame.fetch(&fetch.source, fetch.spec.size);
                    for (from, value) in expected {
                        let got = bytes.get(*from..from + value.len());
                        assert_eq!(got, Some(&value[..]), "{options}: {declared}: {number}: {fetch:?}");
                    }
                }
                seen += usize::from(returns);
                watched.go_on();
                continue;
            }
        };
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["function", function] => {
                (name, results) = ((*function).to_owned(), false);
                values.clear();
                returned.clear();
            }
            ["returned"] => results = true,
            ["value"] => (if results { &mut returned } else { &mut values }).push(Vec::new()),
            ["expect", from, bytes] => {
                let list = if results { &mut returned } else { &mut values };
                list.last_mut().unwrap().push((from.parse().unwrap(), hex(bytes)));
            }
            _ => panic!("{line}"),
        }
    }
    assert_eq!(seen, signatures.len());
}

#[test]
fn gcc_unoptimised() {
    check("gcc -O0");
}

#[test]
fn gcc_optimised() {
    // Functions with the same code are not made one, as all but one would have no debug information.
    check("gcc -O2 -fno-ipa-icf");
}

#[test]
fn clang_unoptimised() {
    check("clang -O0");
}

#[test]
fn clang_optimised() {
    check("clang -O2 -gdwarf-4");
}
