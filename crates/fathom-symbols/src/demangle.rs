//! Readable names for mangled ones: C++ (Itanium), Rust v0 and legacy Rust.
//!
//! Names come from files and so may be made by an enemy: all of this takes time linear in the length of the name,
//! bounded stack, and gives the raw name back where it does not understand.

mod itanium;
mod rust;

use std::borrow::Cow;
use std::fmt;

/// Longest readable name in bytes that [`Style::Full`] makes. A mangled name of a few hundred bytes can stand for
/// megabytes, as it names the parts that repeat only once.
const FULL_LIMIT: usize = 64 << 10;

/// How much of a name to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Style {
    /// Only the nested names, joined by `::`, without parameters, template arguments and return types.
    #[default]
    Simple,
    /// Everything.
    Full,
    /// The raw name.
    None,
}

/// The readable form of a raw name; the raw name itself if it is not mangled.
///
/// In the simple style C++ names are those that uftrace 0.13 shows, and some more where it gives up (several ABI tags,
/// `operator<=>`, newer forms of types and expressions). Rust names are those of later versions of uftrace: readable
/// paths, without the hash and without the trait of `<Type as Trait>`.
pub fn demangle(name: &str, style: Style) -> Cow<'_, str> {
    let readable = match style {
        Style::None => None,
        Style::Simple => simple(name),
        Style::Full => full(name),
    };
    readable.map_or(Cow::Borrowed(name), Cow::Owned)
}

fn simple(name: &str) -> Option<String> {
    if name.starts_with("_R") {
        return rust::simple(name);
    }
    for prefix in ["_GLOBAL__sub_I_", "__device_stub_"] {
        if let Some(rest) = name.strip_prefix(prefix) {
            return Some(format!("{prefix}{}", itanium::simple(rest)?));
        }
    }
    if !name.starts_with("_Z") {
        return None;
    }
    if rust::is_legacy(name) { rust::simple(name) } else { itanium::simple(name) }
}

fn full(name: &str) -> Option<String> {
    if name.starts_with("_R") || rust::is_legacy(name) {
        return rust::full(name);
    }
    let mangled = name.split('@').next().unwrap_or(name);
    if !mangled.starts_with("_Z") && !mangled.starts_with("_GLOBAL_") {
        return None;
    }
    let symbol = cpp_demangle::BorrowedSymbol::new(mangled.as_bytes()).ok()?;
    let mut out = Limited { text: String::new(), limit: FULL_LIMIT };
    symbol.structured_demangle(&mut out, &cpp_demangle::DemangleOptions::default()).ok()?;
    Some(out.text)
}

/// Text that refuses to grow past a limit.
struct Limited {
    text: String,
    limit: usize,
}

impl fmt::Write for Limited {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.text.len() + part.len() > self.limit {
            return Err(fmt::Error);
        }
        self.text.push_str(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
