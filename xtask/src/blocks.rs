//! Files of declarative cases: blocks of `KEY value` lines that begin with `NAME`, `#` begins a comment line. What the keys
//! mean is the business of whoever reads them.

use anyhow::{Context, Result, bail};
use std::path::Path;

/// A block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) name: String,
    pub(crate) lines: Vec<Line>,
}

/// A line of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) key: String,
    pub(crate) value: String,
    /// Its number and its text, for messages.
    pub(crate) at: String,
}

/// The blocks of a text.
pub(crate) fn parse(text: &str) -> Result<Vec<Block>> {
    let mut blocks: Vec<Block> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = value.trim().to_owned();
        if key == "NAME" {
            blocks.push(Block { name: value, lines: Vec::new() });
            continue;
        }
        let at = format!("line {}: {line}", number + 1);
        let block = blocks.last_mut().with_context(|| format!("{at}: before the first NAME"))?;
        block.lines.push(Line { key: key.to_owned(), value, at });
    }
    Ok(blocks)
}

/// What `parse` makes of all `*.cases` of a directory, in the order of the files' names, which it gets without their ends.
/// `name` gives the name of each, which only one may have.
pub(crate) fn load<T>(
    dir: &Path,
    parse: impl Fn(&str, &str) -> Result<Vec<T>>,
    name: impl Fn(&T) -> &str,
) -> Result<Vec<T>> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "cases"))
        .collect();
    files.sort();
    let mut cases: Vec<T> = Vec::new();
    for file in files {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let group = file.file_stem().unwrap_or_default().to_string_lossy();
        for case in parse(&group, &text).with_context(|| format!("in {}", file.display()))? {
            if cases.iter().any(|other| name(other) == name(&case)) {
                bail!("{}: second case of the name {}", file.display(), name(&case));
            }
            cases.push(case);
        }
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_lines() {
        let blocks = parse("# why\nNAME a\n KEY  v w \n\nFLAG\nNAME b\n").unwrap();
        let line =
            |key: &str, value: &str, at: &str| Line { key: key.into(), value: value.into(), at: at.into() };
        let a = vec![line("KEY", "v w", "line 3: KEY  v w"), line("FLAG", "", "line 5: FLAG")];
        assert_eq!(
            blocks,
            [Block { name: "a".into(), lines: a }, Block { name: "b".into(), lines: Vec::new() }]
        );
        assert_eq!(parse("KEY v\n").unwrap_err().to_string(), "line 1: KEY v: before the first NAME");
    }

    #[test]
    fn a_name_is_given_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("one.cases"), "NAME a\n").unwrap();
        std::fs::write(dir.path().join("two.cases"), "NAME a\n").unwrap();
        std::fs::write(dir.path().join("other"), "NAME b\n").unwrap();
        let names = |with_group: bool| {
            let parse = |group: &str, text: &str| {
                let blocks = parse(text)?.into_iter();
                let group = if with_group { group } else { "" };
                Ok(blocks.map(|block| format!("{group}/{}", block.name)).collect())
            };
            load(dir.path(), parse, |name: &String| name)
        };
        assert_eq!(names(true).unwrap(), ["one/a", "two/a"]);
        assert!(names(false).unwrap_err().to_string().ends_with("two.cases: second case of the name /a"));
    }
}
