//! What the file of a script says about itself: its language by its name, options in a comment.

use std::path::Path;

/// What a script is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// `.py`
    Python,
    /// `.lua`
    Lua,
}

impl Language {
    /// By the end of a file's name.
    pub fn of(path: &Path) -> Option<Language> {
        match path.extension()?.to_str()? {
            "py" => Some(Language::Python),
            "lua" => Some(Language::Lua),
            _ => None,
        }
    }

    fn comment(self) -> &'static [u8] {
        match self {
            Language::Python => b"#",
            Language::Lua => b"--",
        }
    }
}

/// The options that a recording with the script should have: the rest of the first comment that starts with
/// `uftrace-option:` or `fathom-option:`. Words are still to be split. Empty when there is none.
pub fn header_options(language: Language, text: &[u8]) -> &[u8] {
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.find_map(|line| option_line(language, line)).unwrap_or_default()
}

fn option_line(language: Language, line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii().strip_prefix(language.comment())?.trim_ascii();
    let name = [&b"uftrace-option"[..], b"fathom-option"];
    let rest = name.iter().find_map(|name| line.strip_prefix(*name))?;
    Some(rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_in_the_first_such_comment() {
        let python =
            b"#!/usr/bin/python3\n# text\n#  uftrace-option : -A a@arg1  -F b\n# uftrace-option: -x\n";
        assert_eq!(header_options(Language::Python, python), b"-A a@arg1  -F b");
        assert_eq!(header_options(Language::Lua, b"--uftrace-option: -D 1"), b"-D 1");
        assert_eq!(header_options(Language::Lua, b"# uftrace-option: -D 1"), b"");
        assert_eq!(header_options(Language::Python, b"# uftrace-options are fine"), b"");
        assert_eq!(header_options(Language::Python, b"# fathom-option: -a"), b"-a");
    }

    #[test]
    fn languages_go_by_the_name() {
        assert_eq!(Language::of(Path::new("a/b.py")), Some(Language::Python));
        assert_eq!(Language::of(Path::new("b.lua")), Some(Language::Lua));
        assert_eq!(Language::of(Path::new("b.luac")), None);
        assert_eq!(Language::of(Path::new(".py")), None);
    }
}
