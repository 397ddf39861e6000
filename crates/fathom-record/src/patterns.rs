//! Function name patterns of `-P` and `-U`.

use crate::Error;
use fathom_filter::{Match, Pattern as Name};
use fathom_symbols::demangle::{Style, demangle};

/// One pattern, as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchSpec {
    /// `NAME` or `NAME@MODULE`.
    pub pattern: String,
    /// Takes functions out instead of adding them.
    pub unpatch: bool,
}

/// Patterns, ready for use.
#[derive(Debug, Default)]
pub(crate) struct Patterns(Vec<Pattern>);

#[derive(Debug)]
struct Pattern {
    name: Name,
    /// Start of the module's file name; `None` means the executable.
    module: Option<String>,
    unpatch: bool,
}

impl Patterns {
    /// Compiles patterns. Names without any special character are compared as they are.
    pub(crate) fn new(specs: &[PatchSpec], how: Match, exe: &str) -> Result<Patterns, Error> {
        let one = |spec: &PatchSpec| {
            let (name, module) = match spec.pattern.split_once('@') {
                Some((name, module)) => (name, module.to_owned()),
                None => (spec.pattern.as_str(), exe.to_owned()),
            };
            let name = Name::new(name, how)
                .map_err(|error| Error::Pattern { pattern: spec.pattern.clone(), reason: error.reason })?;
            Ok(Pattern { name, module: Some(module), unpatch: spec.unpatch })
        };
        specs.iter().map(one).collect::<Result<_, _>>().map(Patterns)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether functions of a module may have to be patched.
    pub(crate) fn is_about(&self, module: &str) -> bool {
        let mut adding = self.0.iter().filter(|p| !p.unpatch);
        adding.any(|p| p.module.as_deref().is_none_or(|m| module.starts_with(m)))
    }

    /// Whether a function is to be patched: the last pattern that matches decides.
    pub(crate) fn matches(&self, raw_name: &str, module: &str) -> bool {
        let shown = demangle(raw_name, Style::Simple);
        self.0
            .iter()
            .rev()
            .find(|p| {
                p.module.as_deref().is_none_or(|m| module.starts_with(m)) && p.name.matches(&shown, raw_name)
            })
            .is_some_and(|p| !p.unpatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(specs: &[&str], how: Match) -> Patterns {
        let specs: Vec<_> = specs
            .iter()
            .map(|s| PatchSpec { pattern: s.trim_start_matches('!').into(), unpatch: s.starts_with('!') })
            .collect();
        Patterns::new(&specs, how, "prog").unwrap()
    }

    #[test]
    fn regex_matches_anywhere_and_plain_names_exactly() {
        let p = patterns(&["^a.c"], Match::Regex);
        assert!(p.matches("abcd", "prog"));
        assert!(!p.matches("xabc", "prog"));
        let p = patterns(&["main"], Match::Regex);
        assert!(p.matches("main", "prog") && !p.matches("main2", "prog"));
    }

    #[test]
    fn last_match_decides() {
        let p = patterns(&[".", "!foo"], Match::Regex);
        assert!(p.matches("bar", "prog") && !p.matches("foo", "prog"));
        let p = patterns(&["!foo", "."], Match::Regex);
        assert!(p.matches("foo", "prog"));
    }

    #[test]
    fn modules() {
        let p = patterns(&[".@libx"], Match::Regex);
        assert!(p.matches("f", "libx.so.1") && !p.matches("f", "prog"));
        assert!(!patterns(&["."], Match::Regex).matches("f", "libx.so.1"));
    }

    #[test]
    fn bad_patterns_are_errors() {
        let spec = [PatchSpec { pattern: "*foo".into(), unpatch: false }];
        let error = Patterns::new(&spec, Match::Regex, "prog").unwrap_err().to_string();
        assert!(error.contains("*foo"), "{error}");
    }
}
