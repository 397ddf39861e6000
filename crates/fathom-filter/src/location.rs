//! Patterns of source locations (`-L`).

use crate::{Match, Pattern, PatternError};

/// A file, a directory, or a pattern for the path.
#[derive(Clone, Debug)]
pub(crate) struct Location(Pattern);

impl Location {
    pub(crate) fn new(text: &str, how: Match) -> Result<Location, PatternError> {
        Pattern::new(text, how).map(Location)
    }

    /// A plain name is that of a file or of a directory that the file is in; a pattern is looked for in the path.
    pub(crate) fn matches(&self, path: &str) -> bool {
        if !self.0.is_exact() {
            return self.0.matches(path, path);
        }
        let wanted = self.0.text().trim_end_matches('/');
        let mut from = 0;
        while let Some(at) = path.get(from..).and_then(|rest| rest.find(wanted)).map(|at| from + at) {
            let end = at + wanted.len();
            let begins = at == 0 || path[..at].ends_with('/') || wanted.starts_with('/');
            if begins && (end == path.len() || path[end..].starts_with('/')) && !wanted.is_empty() {
                return true;
            }
            from = end.max(from + 1);
            while !path.is_char_boundary(from.min(path.len())) {
                from += 1;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(how: Match, text: &str, path: &str) -> bool {
        Location::new(text, how).unwrap().matches(path)
    }

    #[test]
    fn files_and_directories() {
        let plain = |text: &str, path: &str| matches(Match::Regex, text, path);
        assert!(plain("src", "src/u.c") && plain("src/", "src/u.c") && plain("/home/me", "/home/me/u.c"));
        assert!(plain("src", "/a/src/u.c") && !plain("src", "/a/xsrc/u.c") && !plain("src", "srcs/src2"));
        assert!(plain("src", "srcs/src/é"));
        assert!(plain("Makefile", "a/Makefile") && !plain("t", "t.c") && !plain("u", "src/u.c"));
    }

    #[test]
    fn patterns() {
        assert!(matches(Match::Regex, "u.c", "src/u.c") && matches(Match::Regex, r"\.c$", "src/u.c"));
        assert!(matches(Match::Glob, "*.c", "src/u.c") && !matches(Match::Glob, "u.c", "src/u.c"));
    }
}
