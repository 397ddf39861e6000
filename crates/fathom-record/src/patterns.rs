//! Function name patterns of `-P` and `-U`.

use crate::Error;
use fathom_symbols::demangle::{Style, demangle};
use regex::Regex;

/// How patterns are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Match {
    /// Regular expression, found anywhere in the name.
    #[default]
    Regex,
    /// Shell pattern for the whole name.
    Glob,
    /// The name itself.
    Simple,
}

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

#[derive(Debug)]
enum Name {
    Exactly(String),
    Regex(Regex),
}

impl Patterns {
    /// Compiles patterns. Names without any special character are compared as they are.
    pub(crate) fn new(specs: &[PatchSpec], how: Match, exe: &str) -> Result<Patterns, Error> {
        let one = |spec: &PatchSpec| {
            let (name, module) = match spec.pattern.split_once('@') {
                Some((name, module)) => (name, module.to_owned()),
                None => (spec.pattern.as_str(), exe.to_owned()),
            };
            let special = name.contains(|c| ".?*+-^$|()[]{}".contains(c));
            let name = match how {
                _ if !special => Name::Exactly(name.to_owned()),
                Match::Simple => Name::Exactly(name.to_owned()),
                Match::Regex if name.starts_with("operator ") => Name::Exactly(name.to_owned()),
                Match::Regex => Name::Regex(compile(name, &spec.pattern)?),
                Match::Glob => Name::Regex(compile(&glob_to_regex(name), &spec.pattern)?),
            };
            Ok(Pattern { name, module: Some(module), unpatch: spec.unpatch })
        };
        specs.iter().map(one).collect::<Result<_, _>>().map(Patterns)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a function is to be patched: the last pattern that matches decides.
    pub(crate) fn matches(&self, raw_name: &str, module: &str) -> bool {
        let shown = demangle(raw_name, Style::Simple);
        self.0
            .iter()
            .rev()
            .find(|p| {
                p.module.as_deref().is_none_or(|m| module.starts_with(m))
                    && match &p.name {
                        Name::Exactly(name) => *name == shown || name == raw_name,
                        Name::Regex(regex) => regex.is_match(&shown),
                    }
            })
            .is_some_and(|p| !p.unpatch)
    }
}

fn compile(text: &str, pattern: &str) -> Result<Regex, Error> {
    Regex::new(text).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Error::Pattern { pattern: pattern.to_owned(), reason }
    })
}

/// `fnmatch` without flags, as a regular expression: `*`, `?`, `[…]`, `[!…]` and the backslash are special, braces and
/// an unclosed bracket are not (C++ names have them).
pub(crate) fn glob_to_regex(glob: &str) -> String {
    let mut regex = String::from("(?s)^");
    let mut rest = glob.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '\\' => regex.push_str(&regex::escape(&rest.next().unwrap_or('\\').to_string())),
            '[' => match class(rest.as_str()) {
                Some((text, after)) => {
                    regex.push_str(&text);
                    rest = after.chars();
                }
                None => regex.push_str("\\["),
            },
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push('$');
    regex
}

/// The bracket expression that `text` (behind its bracket) begins with, as a regular expression, and what follows.
fn class(text: &str) -> Option<(String, &str)> {
    let (negated, body) = match text.strip_prefix(['!', '^']) {
        Some(body) => (true, body),
        None => (false, text),
    };
    // A closing bracket in the first place is a member.
    let first = body.chars().next()?.len_utf8();
    let end = first + body[first..].find(']')?;
    let mut regex = String::from(if negated { "[^" } else { "[" });
    for c in body[..end].chars() {
        if matches!(c, '\\' | '[' | ']' | '&' | '~' | '^') {
            regex.push('\\');
        }
        regex.push(c);
    }
    regex.push(']');
    Some((regex, &body[end + 1..]))
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
    fn globs() {
        let p = patterns(&["foo::{lambda*"], Match::Glob);
        assert!(Regex::new(&glob_to_regex("foo::{lambda*")).unwrap().is_match("foo::{lambda()#1}"));
        assert!(!p.matches("foo", "prog"));
        assert!(Regex::new(&glob_to_regex("operator[]")).unwrap().is_match("operator[]"));
        assert!(Regex::new(&glob_to_regex("[!a-c]x")).unwrap().is_match("dx"));
        assert!(!Regex::new(&glob_to_regex("[!a-c]x")).unwrap().is_match("bx"));
        assert!(Regex::new(&glob_to_regex("a\\*b")).unwrap().is_match("a*b"));
    }

    #[test]
    fn bad_patterns_are_errors() {
        let spec = [PatchSpec { pattern: "*foo".into(), unpatch: false }];
        let error = Patterns::new(&spec, Match::Regex, "prog").unwrap_err().to_string();
        assert!(error.contains("*foo"), "{error}");
    }
}
