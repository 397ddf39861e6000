//! Types as C writes them, their sizes, and values as text.

use crate::{Btf, Type, TypeId};

/// How many references are followed before a chain of types is taken for a loop.
pub(crate) const DEEP: usize = 32;

/// How many types the text of one type may name: prototypes that take themselves twice would double with each level.
const WORDS: usize = 500;

impl Btf {
    /// The type behind typedefs, qualifiers and tags. Nothing if the chain is broken or too long.
    pub fn resolve(&self, id: TypeId) -> Option<(TypeId, Type<'_>)> {
        let mut id = id;
        for _ in 0..DEEP {
            match self.get(id)? {
                Type::Typedef { target, .. }
                | Type::Qualified { target, .. }
                | Type::TypeTag { target, .. }
                | Type::Var { target, .. } => id = target,
                found => return Some((id, found)),
            }
        }
        None
    }

    /// Bytes of a value of that type. Nothing for `void`, functions and incomplete types.
    pub fn size_of(&self, id: TypeId) -> Option<u64> {
        let mut id = id;
        let mut count: u64 = 1;
        for _ in 0..DEEP {
            let size = match self.resolve(id)?.1 {
                Type::Int { size, .. }
                | Type::Float { size, .. }
                | Type::Composite { size, .. }
                | Type::Enum { size, .. } => u64::from(size),
                Type::Ptr(_) => 8,
                Type::Array { element, count: elements } => {
                    count = count.checked_mul(u64::from(elements))?;
                    id = element;
                    continue;
                }
                _ => return None,
            };
            return size.checked_mul(count);
        }
        None
    }

    /// The type as C writes it without a declared name: `const char *`, `struct sock *`, `u8[16]`, `void (*)(int)`.
    pub fn type_text(&self, id: TypeId) -> String {
        self.declared(id, "", &mut { WORDS }, DEEP)
    }

    /// A declaration of `name` with that type: `char comm[16]`.
    pub fn declaration(&self, id: TypeId, name: &str) -> String {
        self.declared(id, name, &mut { WORDS }, DEEP)
    }

    fn declared(&self, id: TypeId, inner: &str, left: &mut usize, depth: usize) -> String {
        let (Some(words), Some(depth)) = (left.checked_sub(1), depth.checked_sub(1)) else {
            return "…".to_owned();
        };
        *left = words;
        let Some(kind) = self.get(id) else { return spaced("?", inner) };
        let tagged = |word: &str, name: &str| {
            let name = if name.is_empty() { "{…}" } else { name };
            spaced(&format!("{word} {name}"), inner)
        };
        match kind {
            Type::Void => spaced("void", inner),
            Type::Int { name, .. } | Type::Float { name, .. } | Type::Typedef { name, .. } => {
                spaced(name, inner)
            }
            Type::Composite { name, union, .. } | Type::Forward { name, union } => {
                tagged(if union { "union" } else { "struct" }, name)
            }
            Type::Enum { name, .. } => tagged("enum", name),
            Type::Ptr(target) => match self.get(target) {
                Some(Type::Array { .. } | Type::FuncProto { .. }) => {
                    self.declared(target, &format!("(*{inner})"), left, depth)
                }
                // "int *const x": the qualifier of the pointer is already in `inner`.
                _ => self.declared(target, &format!("*{inner}"), left, depth),
            },
            Type::Array { element, count } => {
                let inner =
                    format!("{inner}[{}]", if count == 0 { String::new() } else { count.to_string() });
                self.declared(element, &inner, left, depth)
            }
            Type::FuncProto { returns } => {
                let parts: Vec<String> = self
                    .params(id)
                    .map(|param| match param.target {
                        TypeId::VOID => "...".to_owned(),
                        target => self.declared(target, "", left, depth),
                    })
                    .collect();
                let parts = if parts.is_empty() { "void".to_owned() } else { parts.join(", ") };
                self.declared(returns, &format!("{inner}({parts})"), left, depth)
            }
            Type::Qualified { word, target } => match self.get(target) {
                Some(Type::Ptr(_)) => self.declared(target, &spaced(word, inner), left, depth),
                _ => format!("{word} {}", self.declared(target, inner, left, depth)),
            },
            Type::TypeTag { target, .. } => self.declared(target, inner, left, depth),
            Type::Func { name, proto } => self.declared(proto, name, left, depth),
            Type::Var { name, target } => self.declared(target, name, left, depth),
            Type::DataSec { name } | Type::DeclTag { name, .. } => spaced(name, inner),
        }
    }

    /// A value as a register or a record holds it, as text: signed where the type is, `true`, names of enumerations, hexadecimal
    /// pointers; bits above the type's size are ignored.
    pub fn value_text(&self, id: TypeId, value: u64) -> String {
        match self.resolve(id) {
            Some((_, Type::Int { kind, .. })) if kind.bool => (value & 0xff != 0).to_string(),
            Some((_, Type::Int { size, kind, .. })) => {
                let value = if kind.signed { sign_extended(value, size) } else { truncated(value, size) };
                if kind.signed { (value as i64).to_string() } else { value.to_string() }
            }
            Some((enumeration, Type::Enum { size, signed, .. })) => {
                let value = if signed { sign_extended(value, size) } else { truncated(value, size) } as i64;
                match self.enumerators(enumeration).find(|known| known.value == value) {
                    Some(known) => known.name.to_owned(),
                    None => value.to_string(),
                }
            }
            _ => format!("{value:#x}"),
        }
    }
}

fn spaced(left: &str, inner: &str) -> String {
    match inner.as_bytes().first() {
        None => left.to_owned(),
        Some(b'[') => format!("{left}{inner}"),
        Some(_) => format!("{left} {inner}"),
    }
}

fn truncated(value: u64, size: u32) -> u64 {
    match size {
        1 | 2 | 4 => value & ((1 << (size * 8)) - 1),
        _ => value,
    }
}

fn sign_extended(value: u64, size: u32) -> u64 {
    match size {
        1 => value as i8 as u64,
        2 => value as i16 as u64,
        4 => value as i32 as u64,
        _ => value,
    }
}
