//! `.dbg` files: what of a module's debug information a data directory keeps: where functions are declared, how their
//! arguments and return values are to be shown, and the enumerations those mention.
//!
//! What uftrace has no words for is in comments, which it ignores: types of Rust (`#T:`), and specifications that say
//! more than its own (`#A:`, `#R:`).

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::symfile::{self, Error, ModuleId, OneLine, parse_hex};

/// One function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Address relative to the module.
    pub addr: u64,
    /// Name of its symbol.
    pub name: String,
    /// Where it is declared.
    pub line: Option<SourceLine>,
    /// Specification of its arguments, such as `@arg1,arg2/s`.
    pub args: Option<String>,
    /// Specification of its return value, such as `@retval/x`.
    pub retval: Option<String>,
    /// That of its arguments in fathom's words, where they say more. Of the same values with the same sizes.
    pub own_args: Option<String>,
    /// That of its return value in fathom's words, where they say more.
    pub own_retval: Option<String>,
}

impl Function {
    /// The specification of its arguments that says most.
    pub fn best_args(&self) -> Option<&str> {
        self.args.as_deref().map(|args| self.own_args.as_deref().unwrap_or(args))
    }

    /// The specification of its return value that says most.
    pub fn best_retval(&self) -> Option<&str> {
        self.retval.as_deref().map(|retval| self.own_retval.as_deref().unwrap_or(retval))
    }
}

/// A line of a source file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceLine {
    /// Number of the line, from 1.
    pub line: u32,
    /// The file, relative to the directory it was compiled in.
    pub file: String,
}

/// What a `.dbg` file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DbgFile {
    /// The module, as the comments name it.
    pub module: ModuleId,
    /// Definitions of enumerations, such as `enum hue {RED,BLUE=4}`.
    pub enums: Vec<String>,
    /// Descriptions of types that specifications mention by name, such as `Option<i32> ...`.
    pub types: Vec<String>,
    /// Functions in the order of the file.
    pub functions: Vec<Function>,
    /// Number of lines that were left out because they make no sense.
    pub bad_lines: usize,
}

impl DbgFile {
    /// Reads a file of at most 2 GiB.
    pub fn open(path: &Path) -> Result<DbgFile, Error> {
        Ok(DbgFile::parse(&symfile::read_file(path)?))
    }

    /// Finds and reads the file of a module in a data directory. `Ok(None)` if it has none.
    pub fn load(dir: &Path, wanted: &ModuleId) -> Result<Option<DbgFile>, Error> {
        match symfile::find_in(dir, wanted, "dbg")? {
            Some(path) => DbgFile::open(&path).map(Some),
            None => Ok(None),
        }
    }

    /// Parses the text. A second `A:` or `R:` line for one function makes that specification unusable, and it is left
    /// out: nobody knows which of the two the recorder went by.
    pub fn parse(bytes: &[u8]) -> DbgFile {
        let mut file = DbgFile::default();
        // How many `A:` and `R:` lines the current function has had.
        let mut seen = (0u32, 0u32);
        for line in bytes.split(|&byte| byte == b'\n') {
            let line = String::from_utf8_lossy(line);
            if let Some(comment) = line.strip_prefix('#') {
                if !file.take_own(comment) {
                    file.module.take_comment(comment);
                }
                continue;
            }
            if line.trim().is_empty() {
                continue;
            }
            let text = line.get(2..).map_or("", str::trim);
            let taken = match line.get(..2) {
                Some("E:") => {
                    file.enums.push(text.to_owned());
                    true
                }
                Some("F:") => {
                    seen = (0, 0);
                    file.start_function(text)
                }
                Some("L:") => file.set_line(text),
                Some("A:") => {
                    seen.0 += 1;
                    file.set_spec(text, seen.0, |function| &mut function.args)
                }
                Some("R:") => {
                    seen.1 += 1;
                    file.set_spec(text, seen.1, |function| &mut function.retval)
                }
                _ => false,
            };
            file.bad_lines += usize::from(!taken);
        }
        file
    }

    /// Takes what is in a comment for fathom. False if it is for people.
    fn take_own(&mut self, comment: &str) -> bool {
        let text = comment.get(2..).map_or("", str::trim).to_owned();
        match (comment.get(..2), self.functions.last_mut()) {
            (Some("T:"), _) => self.types.push(text),
            (Some("A:"), Some(function)) => function.own_args = Some(text),
            (Some("R:"), Some(function)) => function.own_retval = Some(text),
            _ => return false,
        }
        true
    }

    fn start_function(&mut self, text: &str) -> bool {
        let Some((addr, name)) = text.split_once(' ') else { return false };
        let Some(addr) = parse_hex(addr.as_bytes()) else { return false };
        self.functions.push(Function { addr, name: name.to_owned(), ..Function::default() });
        true
    }

    fn set_line(&mut self, text: &str) -> bool {
        let Some((line, file)) = text.split_once(' ') else { return false };
        let (Ok(line), Some(function)) = (line.parse(), self.functions.last_mut()) else { return false };
        function.line = Some(SourceLine { line, file: file.to_owned() });
        true
    }

    fn set_spec(&mut self, text: &str, count: u32, field: fn(&mut Function) -> &mut Option<String>) -> bool {
        let Some(function) = self.functions.last_mut() else { return false };
        *field(function) = (count == 1).then(|| text.to_owned());
        count == 1
    }

    /// Writes the text.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        self.module.write_comments(out)?;
        for definition in &self.enums {
            writeln!(out, "E: {}", OneLine(definition))?;
        }
        for description in &self.types {
            writeln!(out, "#T: {}", OneLine(description))?;
        }
        for function in &self.functions {
            writeln!(out, "F: {:x} {}", function.addr, OneLine(&function.name))?;
            if let Some(SourceLine { line, file }) = &function.line {
                writeln!(out, "L: {line} {}", OneLine(file))?;
            }
            if let Some(args) = &function.args {
                writeln!(out, "A: {}", OneLine(args))?;
            }
            if let Some(args) = &function.own_args {
                writeln!(out, "#A: {}", OneLine(args))?;
            }
            if let Some(retval) = &function.retval {
                writeln!(out, "R: {}", OneLine(retval))?;
            }
            if let Some(retval) = &function.own_retval {
                writeln!(out, "#R: {}", OneLine(retval))?;
            }
        }
        Ok(())
    }

    /// Saves it into a data directory, under the name that is free. `None` if the module has been saved before.
    pub fn save(&self, dir: &Path) -> Result<Option<PathBuf>, Error> {
        symfile::save_with(dir, &self.module, "dbg", |out| self.write(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "\
# path name: /path/of/module
# build-id: 413aa1b2
E: enum hue {RED,BLUE=4,PINK}
#T: Option<i32> enum
F: 11f9 leaf
L: 8 toy.c
A: @arg1,arg2/s,arg3/e:hue
#A: @arg1,arg2/s:Option<str>,arg3/e:hue
R: @retval
F: 1300 other
L: 20 src/with blank.c
";

    #[test]
    fn written_as_read() {
        let file = DbgFile::parse(TEXT.as_bytes());
        assert_eq!(file.bad_lines, 0);
        assert_eq!(file.functions.len(), 2);
        assert_eq!(file.functions[0].args.as_deref(), Some("@arg1,arg2/s,arg3/e:hue"));
        assert_eq!(file.functions[0].best_args(), Some("@arg1,arg2/s:Option<str>,arg3/e:hue"));
        assert_eq!(file.functions[0].best_retval(), Some("@retval"));
        assert_eq!(file.types, ["Option<i32> enum"]);
        assert_eq!(file.functions[1].line, Some(SourceLine { line: 20, file: "src/with blank.c".into() }));
        let mut out = Vec::new();
        file.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), TEXT);
    }

    #[test]
    fn doubled_and_stray_lines() {
        let file = DbgFile::parse(b"L: 3 before.c\nF: 10 f\nA: @arg1\nA: @arg2\nR: @retval\nX: y\nF: zz g\n");
        assert_eq!(file.functions.len(), 1);
        assert_eq!(file.functions[0].args, None);
        assert_eq!(file.functions[0].retval.as_deref(), Some("@retval"));
        assert_eq!(file.bad_lines, 4);
    }

    proptest! {
        #[test]
        fn never_panics(text in "(#?[EFLART]: [0-9a-f @]{0,8}\n|\\PC{0,9}\n){0,9}") {
            let _ = DbgFile::parse(text.as_bytes());
        }

        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = DbgFile::parse(&bytes);
        }
    }
}
