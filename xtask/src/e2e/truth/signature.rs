//! Random C signatures, and the program that calls each and prints what each was called with.

use crate::e2e::random::Random;
use std::fmt::Write;

/// A type of an argument or of a returned value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Bytes, signed.
    Int(usize, bool),
    Bool,
    Char,
    /// Bytes: 4, 8, or 10 for long double.
    Float(usize),
    Text,
    Pointer,
    Enum,
    /// Number of the struct.
    Struct(usize),
}

/// Names and values of the enumeration, in its order.
pub(crate) const ENUM: &[(&str, u32)] = &[("RED", 0), ("GREEN", 5), ("BLUE", 6), ("LAST", 70_000)];

const TEXTS: &[&str] =
    &["", "a", "plain", "two words", "comma, and (bracket)", "forty characters and some more of them, too"];

/// A struct: its members as kind and count, each an array where the count is not 1.
#[derive(Debug, Clone)]
pub(crate) struct Struct {
    members: Vec<(Kind, usize)>,
}

/// A function: its parameters, and what it returns.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) parameters: Vec<Kind>,
    pub(crate) returned: Option<Kind>,
}

/// All that a program is made of.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) structs: Vec<Struct>,
    pub(crate) functions: Vec<Function>,
}

impl Program {
    /// A program of that many functions.
    pub(crate) fn generate(random: &mut Random, functions: usize) -> Program {
        let structs: Vec<Struct> = (0..24).map(|_| structure(random)).collect();
        let functions = (0..functions).map(|n| {
            let plain = random.one_in(2);
            let count = random.below(9) as usize;
            let parameters = (0..count).map(|_| kind(random, plain, structs.len())).collect();
            let returned = (!random.one_in(5)).then(|| kind(random, plain, structs.len()));
            Function { name: format!("g{n}"), parameters, returned }
        });
        Program { functions: functions.collect(), structs }
    }

    /// Its source. It prints `g7 i4:f8ffffff s:text =f8:…` for each call: kind, bytes, and the bytes of the value
    /// returned; bytes between the members of a struct are `..`.
    pub(crate) fn source(&self, random: &mut Random) -> String {
        let mut out = String::from(PROLOGUE);
        out.push_str("enum shade {");
        for (name, value) in ENUM {
            let _ = write!(out, " {name} = {value},");
        }
        out.push_str(" };\n");
        for (n, structure) in self.structs.iter().enumerate() {
            let _ = write!(out, "struct s{n} {{");
            for (m, (kind, count)) in structure.members.iter().enumerate() {
                let array = if *count == 1 { String::new() } else { format!("[{count}]") };
                let _ = write!(out, " {} m{m}{array};", self.type_name(*kind));
            }
            out.push_str(" };\n");
            let _ = writeln!(
                out,
                "HIDDEN void mask_s{n}(unsigned char *mask) {{\n  struct s{n} *s = (void *)mask;"
            );
            for m in 0..structure.members.len() {
                let _ = writeln!(out, "  memset(&s->m{m}, 1, sizeof s->m{m});");
            }
            out.push_str("}\n");
        }
        for function in &self.functions {
            self.definition(function, random, &mut out);
        }
        out.push_str("int main(void) {\n");
        for function in &self.functions {
            self.call(function, random, &mut out);
        }
        out.push_str("  return 0;\n}\n");
        out
    }

    fn definition(&self, function: &Function, random: &mut Random, out: &mut String) {
        let returned = function.returned.map_or("void".to_owned(), |kind| self.type_name(kind));
        let parameters: Vec<String> = function
            .parameters
            .iter()
            .enumerate()
            .map(|(n, kind)| format!("{} a{n}", self.type_name(*kind)))
            .collect();
        let list = if parameters.is_empty() { "void".to_owned() } else { parameters.join(", ") };
        let name = &function.name;
        let _ = writeln!(
            out,
            "__attribute__((noinline, noclone)) {returned} {name}({list}) {{\n  say(\"{name}\");"
        );
        for (n, kind) in function.parameters.iter().enumerate() {
            let _ = writeln!(out, "  {}", self.say(*kind, &format!("a{n}"), " "));
        }
        if let Some(kind) = function.returned {
            self.variable(kind, "r", random, out);
            let _ = writeln!(out, "  {}\n  say(\"\\n\");\n  return r;\n}}", self.say(kind, "r", " ="));
        } else {
            out.push_str("  say(\"\\n\");\n}\n");
        }
    }

    fn call(&self, function: &Function, random: &mut Random, out: &mut String) {
        out.push_str("  {\n");
        for (n, kind) in function.parameters.iter().enumerate() {
            self.variable(*kind, &format!("a{n}"), random, out);
        }
        let names: Vec<String> = (0..function.parameters.len()).map(|n| format!("a{n}")).collect();
        let _ = writeln!(out, "  {}({});\n  }}", function.name, names.join(", "));
    }

    /// Defines a variable of a random value.
    fn variable(&self, kind: Kind, name: &str, random: &mut Random, out: &mut String) {
        let Kind::Struct(n) = kind else {
            let _ = writeln!(out, "  {} {name} = {};", self.type_name(kind), literal(kind, random));
            return;
        };
        let _ = writeln!(out, "  struct s{n} {name};\n  memset(&{name}, 0, sizeof {name});");
        for (m, (kind, count)) in self.structs[n].members.iter().enumerate() {
            for index in 0..*count {
                let place = if *count == 1 { String::new() } else { format!("[{index}]") };
                let _ = writeln!(out, "  {name}.m{m}{place} = {};", literal(*kind, random));
            }
        }
    }

    /// The statement that prints a variable.
    fn say(&self, kind: Kind, name: &str, before: &str) -> String {
        match kind {
            Kind::Text => format!("say(\"{before}s:\"), say_text({name});"),
            Kind::Struct(n) => format!(
                "{{ unsigned char mask[sizeof {name}] = {{0}}; mask_s{n}(mask); say(\"{before}t\"); \
                 say_bytes(&{name}, sizeof {name}, mask); }}"
            ),
            Kind::Float(10) => format!("say(\"{before}f\"), say_bytes(&{name}, 10, 0);"),
            _ => {
                let letter = match kind {
                    Kind::Float(_) => 'f',
                    Kind::Pointer => 'p',
                    Kind::Enum => 'e',
                    Kind::Char => 'c',
                    _ => 'i',
                };
                format!("say(\"{before}{letter}\"), say_bytes(&{name}, sizeof {name}, 0);")
            }
        }
    }

    fn type_name(&self, kind: Kind) -> String {
        match kind {
            Kind::Int(bytes, signed) => format!("{}int{}_t", if signed { "" } else { "u" }, bytes * 8),
            Kind::Bool => "_Bool".to_owned(),
            Kind::Char => "char".to_owned(),
            Kind::Float(4) => "float".to_owned(),
            Kind::Float(8) => "double".to_owned(),
            Kind::Float(_) => "long double".to_owned(),
            Kind::Text => "const char *".to_owned(),
            Kind::Pointer => "void *".to_owned(),
            Kind::Enum => "enum shade".to_owned(),
            Kind::Struct(n) => format!("struct s{n}"),
        }
    }
}

const PROLOGUE: &str = r#"// Generated: calls with random arguments, which print what they were called with.
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#define HIDDEN __attribute__((no_instrument_function, patchable_function_entry(0), noinline)) static
HIDDEN void say(const char *text) { fputs(text, stdout); }
HIDDEN void say_text(const char *text) {
    for (; *text; text++)
        printf("%02x", (unsigned char)*text);
}
HIDDEN void say_bytes(const void *value, int size, const unsigned char *mask) {
    printf("%d:", size);
    for (int i = 0; i < size; i++)
        mask && !mask[i] ? printf("..") : printf("%02x", ((const unsigned char *)value)[i]);
}
"#;

impl Function {
    /// The specs of arguments and of the value returned, where the calling convention is that of plain numbers:
    /// integers in order, floats in order, and what is on the stack all of one kind.
    pub(crate) fn specs(&self) -> Option<(Option<String>, Option<String>)> {
        let (mut ints, mut floats) = (0, 0);
        let mut items = Vec::new();
        for kind in &self.parameters {
            if let Kind::Float(bytes @ (4 | 8)) = kind {
                floats += 1;
                items.push(format!("fparg{floats}/{}", bytes * 8));
            } else {
                ints += 1;
                items.push(format!("arg{ints}/{}", letter(*kind)?));
            }
        }
        if ints > 6 && floats > 8 {
            return None;
        }
        let returned = match self.returned {
            None => None,
            Some(Kind::Float(bytes @ (4 | 8))) => Some(format!("{}@retval/f{}", self.name, bytes * 8)),
            Some(kind) => Some(format!("{}@retval/{}", self.name, letter(kind)?)),
        };
        let arguments = (!items.is_empty()).then(|| format!("{}@{}", self.name, items.join(",")));
        Some((arguments, returned))
    }
}

/// The letter and width of a spec; none for what is not a plain number or pointer.
fn letter(kind: Kind) -> Option<String> {
    Some(match kind {
        Kind::Int(bytes, true) => format!("i{}", bytes * 8),
        Kind::Int(bytes, false) => format!("x{}", bytes * 8),
        Kind::Bool => "u8".to_owned(),
        Kind::Char => "c".to_owned(),
        Kind::Text => "s".to_owned(),
        Kind::Pointer => "p".to_owned(),
        Kind::Enum => "d32".to_owned(),
        Kind::Float(_) | Kind::Struct(_) => return None,
    })
}

fn kind(random: &mut Random, plain: bool, structs: usize) -> Kind {
    match random.below(if plain { 9 } else { 13 }) {
        0 | 1 => Kind::Int(random.pick(&[1, 2, 4, 8]), random.one_in(2)),
        2 => Kind::Int(4, true),
        3 => random.pick(&[Kind::Bool, Kind::Char]),
        4 => Kind::Float(4),
        5 => Kind::Float(8),
        6 => Kind::Text,
        7 => Kind::Pointer,
        8 => Kind::Enum,
        9 => Kind::Float(10),
        _ => Kind::Struct(random.below(structs as u64) as usize),
    }
}

/// Up to four members, together at most 40 bytes.
fn structure(random: &mut Random) -> Struct {
    let mut members = Vec::new();
    let mut size = 0;
    for _ in 0..=random.below(4) {
        let kind = match random.below(6) {
            0 => Kind::Float(4),
            1 => Kind::Float(8),
            _ => Kind::Int(random.pick(&[1, 2, 4, 8]), true),
        };
        let bytes = match kind {
            Kind::Int(bytes, _) | Kind::Float(bytes) => bytes,
            _ => 8,
        };
        let count = if random.one_in(4) { 1 + random.below(3) as usize } else { 1 };
        size = usize::next_multiple_of(size, bytes) + bytes * count;
        if size > 40 {
            break;
        }
        members.push((kind, count));
    }
    Struct { members }
}

/// A value in C.
fn literal(kind: Kind, random: &mut Random) -> String {
    match kind {
        Kind::Int(bytes, signed) => {
            let bits = random.next() >> (64 - bytes * 8);
            let bits = if random.one_in(3) { bits & 0x7f } else { bits };
            format!(
                "({}int{}_t){bits}u{}",
                if signed { "" } else { "u" },
                bytes * 8,
                if bytes == 8 { "ll" } else { "" }
            )
        }
        Kind::Bool => random.below(2).to_string(),
        Kind::Char => format!("{}", 33 + random.below(90)),
        // Exact in all three widths.
        Kind::Float(_) => {
            format!("{}.{}", random.below(200_000) as i64 - 100_000, random.pick(&["0", "5", "25", "125"]))
        }
        Kind::Text => format!("\"{}\"", random.pick(TEXTS)),
        Kind::Pointer => match random.below(3) {
            0 => "0".to_owned(),
            1 => format!("(void *){}", random.next() >> 17),
            _ => "(void *)say".to_owned(),
        },
        Kind::Enum => random.pick(ENUM).0.to_owned(),
        Kind::Struct(_) => "{0}".to_owned(),
    }
}
