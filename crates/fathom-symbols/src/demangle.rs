//! Readable names for mangled ones: C++ (Itanium), Rust v0 and legacy Rust.

use std::borrow::Cow;

/// How much of a name to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Only the nested names, joined by `::`.
    #[default]
    Simple,
    /// Everything: parameters, template arguments, return types.
    Full,
    /// The raw name.
    None,
}

/// The readable form of a raw name; the raw name itself if it is not mangled.
pub fn demangle(name: &str, style: Style) -> Cow<'_, str> {
    match style {
        Style::None => Cow::Borrowed(name),
        Style::Simple | Style::Full => full(name).map_or(Cow::Borrowed(name), Cow::Owned),
    }
}

fn full(name: &str) -> Option<String> {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return Some(format!("{rust:#}"));
    }
    let symbol = cpp_demangle::BorrowedSymbol::new(name.as_bytes()).ok()?;
    symbol.demangle().ok()
}
