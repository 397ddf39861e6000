//! Patterns that name functions.

use crate::PatternType;
use regex::Regex;

/// Characters that make a name a pattern.
const SPECIAL: &[char] = &['.', '?', '*', '+', '-', '^', '$', '|', '(', ')', '[', ']', '{', '}'];

/// A name or a pattern.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    Exact(String),
    Regex(Regex),
}

impl Pattern {
    /// What is not a valid pattern is taken literally, as the recorder did.
    pub(crate) fn new(text: &str, kind: PatternType) -> Pattern {
        let plain = !text.contains(SPECIAL) || text.starts_with("operator ");
        let regex = match kind {
            _ if plain => None,
            PatternType::Simple => None,
            PatternType::Regex => Regex::new(text).ok(),
            PatternType::Glob => Regex::new(&glob_to_regex(text)).ok(),
        };
        regex.map_or_else(|| Pattern::Exact(text.to_owned()), Pattern::Regex)
    }

    pub(crate) fn is_exact(&self) -> bool {
        matches!(self, Pattern::Exact(_))
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            Pattern::Exact(exact) => exact == name,
            Pattern::Regex(regex) => regex.is_match(name),
        }
    }
}

/// The regular expression that matches what fnmatch(3) without flags does.
fn glob_to_regex(glob: &str) -> String {
    let mut regex = String::from("(?s)^");
    let mut rest = glob.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '\\' => regex.push_str(&regex::escape(rest.next().unwrap_or('\\').encode_utf8(&mut [0; 4]))),
            '[' => match bracket(rest.as_str()) {
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

/// The class that a bracket begins, and how long it is with the closing bracket. None if nothing closes it.
fn bracket(text: &str) -> Option<(String, usize)> {
    let negated = text.starts_with(['!', '^']);
    let body = if negated { text.get(1..)? } else { text };
    // A closing bracket at the very beginning is an ordinary character.
    let close = body.char_indices().skip(1).find(|(_, c)| *c == ']').map(|(at, _)| at)?;
    let mut class = String::from(if negated { "[^" } else { "[" });
    for c in body.get(..close)?.chars() {
        if c != '-' && !c.is_alphanumeric() {
            class.push('\\');
        }
        class.push(c);
    }
    class.push(']');
    Some((class, usize::from(negated) + close + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(kind: PatternType, pattern: &str, name: &str) -> bool {
        Pattern::new(pattern, kind).matches(name)
    }

    #[test]
    fn three_kinds() {
        use PatternType::{Glob, Regex, Simple};
        assert!(matches(Regex, "^mem", "memcpy") && !matches(Regex, "^mem", "xmemcpy"));
        assert!(matches(Regex, "cpy$", "memcpy"));
        assert!(matches(Regex, "main", "main") && !matches(Regex, "main", "main2"));
        assert!(matches(Regex, "operator +", "operator +"));
        assert!(matches(Regex, "a(", "a(") && !matches(Simple, "a.", "ab"));
        assert!(matches(Glob, "mem*", "memcpy") && !matches(Glob, "mem*", "xmem"));
        assert!(matches(Glob, "a?c", "abc") && matches(Glob, r"a\*", "a*") && !matches(Glob, r"a\*", "ab"));
        assert!(matches(Glob, "[!a]*", "b") && !matches(Glob, "[!a]*", "ab"));
        assert!(matches(Glob, "[]x]", "]") && matches(Glob, "[a-c]", "b") && matches(Glob, "[a", "[a"));
    }

    proptest! {
        #[test]
        fn any_pattern_is_survived(text in r"[a\[\]!^*?\\é.(){}-]{0,8}", name in "[a-cé]{0,4}") {
            for kind in [PatternType::Regex, PatternType::Glob, PatternType::Simple] {
                Pattern::new(&text, kind).matches(&name);
            }
        }
    }
}
