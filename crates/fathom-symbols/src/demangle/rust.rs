//! Rust names, both manglings, by way of `rustc-demangle`.

use std::fmt::Write as _;

use super::{FULL_LIMIT, Limited};

/// Whether an Itanium-like name is one of the legacy mangling: its last component is `h` and 16 hex digits.
pub(super) fn is_legacy(name: &str) -> bool {
    legacy_end(name).is_some()
}

/// Where such a name ends. A suffix such as `.llvm.123` may follow.
fn legacy_end(name: &str) -> Option<usize> {
    let hash = name.strip_prefix("_ZN")?.rfind("17h")? + "_ZN17h".len();
    let (digits, end) = (name.as_bytes().get(hash..hash + 16)?, hash + 17);
    let valid = digits.iter().all(u8::is_ascii_hexdigit) && name.as_bytes().get(end - 1) == Some(&b'E');
    let suffix = name.as_bytes().get(end);
    (valid && matches!(suffix, None | Some(b'.' | b'@'))).then_some(end)
}

/// The path with all types, without the hash.
pub(super) fn full(name: &str) -> Option<String> {
    let end = legacy_end(name).or_else(|| name.find(['.', '@'])).unwrap_or(name.len());
    let name = name.get(..end)?;
    let demangled = rustc_demangle::try_demangle(name).ok()?;
    let mut out = Limited { text: String::new(), limit: FULL_LIMIT };
    write!(out, "{demangled:#}").ok()?;
    Some(out.text)
}

/// The path without traits; names of the v0 mangling also without generic arguments, which the legacy one has only
/// where they are part of a component's name.
pub(super) fn simple(name: &str) -> Option<String> {
    let text = full(name)?;
    if name.starts_with("_R") {
        return Some(without_generics(&text, 0));
    }
    let Some((inner, rest)) = leading_group(&text) else { return Some(text) };
    match top_level_as(inner) {
        Some(at) => Some(format!("<{}>{rest}", &inner[..at])),
        None => Some(text),
    }
}

/// Most `<Type as Trait>` within each other that are looked into.
const DEPTH_LIMIT: usize = 32;

/// Turns `<a::B<C>>::f::<D>` into `a::B::f` and `<a::B<C> as Trait>::f` into `<a::B>::f`.
fn without_generics(text: &str, depth: usize) -> String {
    let Some((inner, rest)) = leading_group(text).filter(|_| depth < DEPTH_LIMIT) else {
        return without_groups(text);
    };
    let rest = without_groups(rest);
    match top_level_as(inner) {
        Some(at) => format!("<{}>{rest}", without_generics(&inner[..at], depth + 1)),
        None if inner.starts_with(|c: char| c.is_alphanumeric() || c == '_') && !inner.contains(' ') => {
            format!("{}{rest}", without_generics(inner, depth + 1))
        }
        None => format!("<{}>{rest}", without_generics(inner, depth + 1)),
    }
}

/// If the text starts with a group in angle brackets: what is in it, and what follows.
fn leading_group(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('<')?;
    let mut depth = 1usize;
    for (at, byte) in angles(inner) {
        depth = if byte == b'<' { depth + 1 } else { depth - 1 };
        if depth == 0 {
            return Some((&inner[..at], &inner[at + 1..]));
        }
    }
    None
}

/// Where ` as ` stands outside of all angle brackets.
fn top_level_as(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut start = 0;
    for (at, byte) in angles(text).chain([(text.len(), b'<')]) {
        if depth == 0
            && let Some(found) = text[start..at].find(" as ")
        {
            return Some(start + found);
        }
        depth = if byte == b'<' { depth + 1 } else { depth.saturating_sub(1) };
        start = (at + 1).min(text.len());
    }
    None
}

/// The text without what is in angle brackets, and without the `::` that goes before them in expressions.
fn without_groups(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut depth = 0usize;
    let mut start = 0;
    for (at, byte) in angles(text) {
        if depth == 0 {
            out.push_str(&text[start..at]);
        }
        if byte == b'<' {
            if depth == 0 && out.ends_with("::") {
                out.truncate(out.len() - 2);
            }
            depth += 1;
        } else {
            depth = depth.saturating_sub(1);
        }
        start = at + 1;
    }
    if depth == 0 {
        out.push_str(&text[start..]);
    }
    out
}

/// Positions of the angle brackets in a text, without the arrows of function types.
fn angles(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().filter_map(move |(at, &byte)| match byte {
        b'<' => Some((at, byte)),
        b'>' if at == 0 || bytes[at - 1] != b'-' => Some((at, byte)),
        _ => None,
    })
}
