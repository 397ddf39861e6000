//! Patterns that name functions.

use fathom_symbols::demangle::{Style, demangle};
use regex::Regex;

/// Characters that make a name a pattern.
const SPECIAL: &[char] = &['.', '?', '*', '+', '-', '^', '$', '|', '(', ')', '[', ']', '{', '}'];

/// How patterns are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Match {
    /// POSIX extended regular expression, found anywhere in the name.
    #[default]
    Regex,
    /// Shell pattern for the whole name.
    Glob,
    /// The name itself.
    Simple,
}

impl Match {
    /// The word on the command line and in the `info` file.
    pub fn as_str(self) -> &'static str {
        match self {
            Match::Regex => "regex",
            Match::Glob => "glob",
            Match::Simple => "simple",
        }
    }
}

/// A pattern that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{pattern}' is no valid pattern: {reason}")]
pub struct PatternError {
    /// As given.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A name or a pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    name: Name,
}

#[derive(Clone, Debug)]
enum Name {
    /// The readable name.
    Exactly(String),
    Regex(Regex),
}

impl Pattern {
    /// Text without any special character is a name, which is compared as it is; so is a mangled name, which stands
    /// for its readable form, and what begins with `operator `.
    ///
    /// # Errors
    ///
    /// What is no regular expression, unless it is the name of an operator (`operator[]`).
    pub fn new(text: &str, how: Match) -> Result<Pattern, PatternError> {
        let readable = demangle(text, Style::Simple);
        let plain = !text.contains(SPECIAL) || *readable != *text || text.starts_with("operator ");
        let regex = match how {
            _ if plain => None,
            Match::Simple => None,
            Match::Regex => Some(extended_to_regex(text)),
            Match::Glob => Some(glob_to_regex(text)),
        };
        let name = match regex.map(|regex| Regex::new(&regex)) {
            None => Name::Exactly(readable.into_owned()),
            Some(Ok(regex)) => Name::Regex(regex),
            Some(Err(_)) if text.contains("operator") => Name::Exactly(text.to_owned()),
            Some(Err(error)) => {
                let reason = error.to_string();
                let reason =
                    reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                return Err(PatternError { pattern: text.to_owned(), reason });
            }
        };
        Ok(Pattern { text: text.to_owned(), name })
    }

    /// Takes what is not a valid pattern literally, as uftrace does.
    pub fn lenient(text: &str, how: Match) -> Pattern {
        Pattern::new(text, how)
            .unwrap_or_else(|_| Pattern { text: text.to_owned(), name: Name::Exactly(text.to_owned()) })
    }

    /// As given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is a name.
    pub fn is_exact(&self) -> bool {
        matches!(self.name, Name::Exactly(_))
    }

    /// Whether it fits a function with these names: as shown, and as in the symbol table.
    pub fn matches(&self, shown: &str, raw: &str) -> bool {
        match &self.name {
            Name::Exactly(name) => name == shown || self.text == raw,
            Name::Regex(regex) => regex.is_match(shown),
        }
    }
}

/// Whether a text is a shell pattern and can be meant as nothing else: its only special character is the star, and that
/// repeats nothing (`*read*`, `vfs_*`). So patterns of the kernel's functions are written, whatever others are.
pub fn is_glob(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '*');
    text.contains('*') && text.chars().all(plain)
}

/// A POSIX extended regular expression in the syntax of the `regex` crate. Braces that are no repetition stand for
/// themselves, as C++ and Rust names have them.
fn extended_to_regex(text: &str) -> String {
    let mut regex = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('`') => regex.push_str(r"\A"),
                Some('\'') => regex.push_str(r"\z"),
                Some(escaped) => regex.extend(['\\', escaped]),
                None => regex.push('\\'),
            },
            '[' => match bracket(rest.as_str(), false) {
                Some((class, len)) => {
                    regex.push_str(&class);
                    rest = rest.as_str().get(len..).unwrap_or_default().chars();
                }
                None => regex.push('['),
            },
            '{' => match repetition(rest.as_str()) {
                Some(len) => {
                    regex.push('{');
                    regex.push_str(rest.as_str().get(..len).unwrap_or_default());
                    rest = rest.as_str().get(len..).unwrap_or_default().chars();
                }
                None => regex.push_str(r"\{"),
            },
            '}' => regex.push_str(r"\}"),
            c => regex.push(c),
        }
    }
    regex
}

/// Length of `N}`, `N,}` or `N,M}` at the beginning of `text`.
fn repetition(text: &str) -> Option<usize> {
    let close = text.find('}')?;
    let (from, to) = text.get(..close)?.split_once(',').unwrap_or((text.get(..close)?, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    (!from.is_empty() && digits(from) && digits(to)).then_some(close + 1)
}

/// The regular expression that matches what fnmatch(3) without flags does: `*`, `?`, `[…]`, `[!…]` and the backslash are
/// special, braces and an unclosed bracket are not (C++ names have them).
fn glob_to_regex(glob: &str) -> String {
    let mut regex = String::from("(?s)^");
    let mut rest = glob.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '\\' => regex.push_str(&regex::escape(rest.next().unwrap_or('\\').encode_utf8(&mut [0; 4]))),
            '[' => match bracket(rest.as_str(), true) {
                Some((class, len)) => {
                    regex.push_str(&class);
                    rest = rest.as_str().get(len..).unwrap_or_default().chars();
                }
                None => regex.push_str(r"\["),
            },
            c => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push('$');
    regex
}

/// The class that a bracket begins, and how long it is with the closing bracket. None if nothing closes it. In globs the
/// backslash takes away the meaning of the character behind it, in regular expressions it is a member.
fn bracket(text: &str, escapes: bool) -> Option<(String, usize)> {
    let negated = text.starts_with('^') || (escapes && text.starts_with('!'));
    let mut at = usize::from(negated);
    let mut class = String::from(if negated { "[^" } else { "[" });
    // A closing bracket at the very beginning is an ordinary character.
    let first = at;
    loop {
        let rest = text.get(at..)?;
        let c = rest.chars().next()?;
        if c == ']' && at > first {
            class.push(']');
            return Some((class, at + 1));
        }
        if let Some(len) = named_class(rest) {
            class.push_str(rest.get(..len)?);
            at += len;
            continue;
        }
        let escaped = escapes && c == '\\';
        let member = if escaped { rest.chars().nth(1)? } else { c };
        if member.is_ascii_punctuation() && (member != '-' || escaped) {
            class.push('\\');
        }
        class.push(member);
        at += member.len_utf8() + usize::from(escaped);
    }
}

/// Length of `[:alpha:]` or its like at the beginning of `text`.
fn named_class(text: &str) -> Option<usize> {
    let name = text.strip_prefix("[:")?;
    let end = name.find(|c: char| !c.is_ascii_lowercase())?;
    name.get(end..)?.starts_with(":]").then_some(end + 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(how: Match, pattern: &str, name: &str) -> bool {
        Pattern::new(pattern, how).unwrap().matches(name, name)
    }

    #[test]
    fn regular_expressions() {
        let regex = |pattern: &str, name: &str| matches(Match::Regex, pattern, name);
        assert!(regex("^mem", "memcpy") && !regex("^mem", "xmemcpy"));
        assert!(regex("cpy$", "memcpy"));
        assert!(regex("main", "main") && !regex("main", "main2"), "plain names are compared");
        assert!(regex("a{2,3}b", "aab") && !regex("^a{2}$", "aaa"));
        assert!(regex("^[[:digit:]_]+$", "1_2") && !regex("^[^]a]$", "]"));
        assert!(regex(r"^[\d]$", r"\") && !regex(r"^[a&&b]$", "c"));
        assert!(regex(r"\<cpy.", "my cpy2") && !regex(r"\<cpy.", "memcpy2"));
    }

    #[test]
    fn names_that_look_like_expressions() {
        let regex = |pattern: &str, name: &str| matches(Match::Regex, pattern, name);
        assert!(regex("operator +", "operator +"));
        assert!(regex("ns::operator[]", "ns::operator[]"));
        assert!(regex("main::{{closure}}", "a::main::{{closure}}"));
        assert!(regex("f::{lambda", "f::{lambda()#1}"));
        assert!(matches(Match::Simple, "a.", "a.") && !matches(Match::Simple, "a.", "ab"));
    }

    #[test]
    fn globs() {
        let glob = |pattern: &str, name: &str| matches(Match::Glob, pattern, name);
        assert!(glob("mem*", "memcpy") && !glob("mem*", "xmem"));
        assert!(glob("a?c", "abc") && glob(r"a\*", "a*") && !glob(r"a\*", "ab"));
        assert!(
            glob("[!a]*", "b") && !glob("[!a]*", "ab") && glob("[!a-c]x", "dx") && !glob("[!a-c]x", "bx")
        );
        assert!(glob("[]x]", "]") && glob("[a-c]", "b") && glob("[a", "[a") && glob(r"[\]]", "]"));
        assert!(glob("foo::{lambda*", "foo::{lambda()#1}") && glob("operator[]", "operator[]"));
    }

    #[test]
    fn mangled_names_are_readable_ones() {
        let pattern = Pattern::new("_ZN2ns1fEi", Match::Regex).unwrap();
        assert!(pattern.is_exact() && pattern.matches("ns::f", "_ZN2ns1fEd"));
        // Where names are shown as they are in the symbol table.
        assert!(pattern.matches("_ZN2ns1fEi", "_ZN2ns1fEi"));
        let pattern = Pattern::new("_ZN2nsplEii", Match::Regex).unwrap();
        assert!(pattern.matches("ns::operator+", "_ZN2nsplEii"));
    }

    #[test]
    fn what_is_no_pattern() {
        let error = Pattern::new("a(", Match::Regex).unwrap_err().to_string();
        assert!(error.starts_with("'a(' is no valid pattern: "), "{error}");
        assert!(Pattern::new("*a", Match::Regex).is_err());
        assert!(Pattern::lenient("a(", Match::Regex).matches("a(", "a("));
    }

    proptest! {
        #[test]
        fn any_pattern_is_survived(text in r"[a\[\]!^*?\\é.(){}:,1-]{0,10}", name in "[a-cé]{0,4}") {
            for how in [Match::Regex, Match::Glob, Match::Simple] {
                Pattern::lenient(&text, how).matches(&name, &name);
            }
            // Globs are never invalid.
            prop_assert!(Pattern::new(&text, Match::Glob).is_ok() || text.contains('['));
        }
    }
}
