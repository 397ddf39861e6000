//! The rows of the option table: blocks of `KEY value` lines, described in `tests/options/README.md`.

use crate::blocks;
use crate::e2e::case::{self, Case};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// One row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    /// Program, build, arguments, options of the recording.
    pub(crate) case: Case,
    pub(crate) reads: Vec<Read>,
    /// Why the peer is not asked at all.
    pub(crate) peer: Option<String>,
    /// Why the peer does not record.
    pub(crate) peer_records: Option<String>,
    /// Why the peer does not read.
    pub(crate) peer_reads: Option<String>,
    /// With scheduler and task events.
    pub(crate) events: bool,
    /// Numbers in comments change from run to run.
    pub(crate) vague: bool,
    /// With library calls.
    pub(crate) whole: bool,
    /// Exit code of the recording.
    pub(crate) exit: i32,
    /// What fathom must have said while it recorded and read.
    pub(crate) says: Vec<String>,
    /// Files to write after the recording: path and text.
    pub(crate) files: Vec<(String, String)>,
}

/// A command that shows what was recorded, and what it must show.
#[derive(Debug, Clone, Default)]
pub(crate) struct Read {
    pub(crate) words: Vec<String>,
    /// Recorded and shown at once, with these options for both.
    pub(crate) live: bool,
    pub(crate) expected: Option<String>,
}

/// Reads all rows of a directory.
pub(crate) fn load(dir: &Path) -> Result<Vec<Row>> {
    blocks::load(dir, |_, text| parse(text), |row| &row.case.name)
}

/// Reads the rows of one file. `PROGRAM source [build…]` is for all rows that follow.
fn parse(text: &str) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    let mut program = Row::default();
    let mut in_program = true;
    for (number, line) in text.lines().enumerate() {
        let here = || format!("line {}: {line}", number + 1);
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "PROGRAM" => {
                program = Row::default();
                program.case.source = value.trim().to_owned();
                program.case.builds = vec!["pg-O0".to_owned()];
                program.case.timeout = std::time::Duration::from_secs(30);
                in_program = true;
            }
            "NAME" => {
                let mut row = program.clone();
                row.case.name = value.trim().to_owned();
                rows.push(row);
                in_program = false;
            }
            _ => {
                let row = if in_program { Some(&mut program) } else { rows.last_mut() };
                set(row.with_context(here)?, key, value).with_context(here)?;
            }
        }
    }
    for row in &rows {
        let name = &row.case.name;
        if row.case.source.is_empty() {
            bail!("row {name} comes before any PROGRAM");
        }
        let checked = !row.reads.is_empty() || !row.says.is_empty();
        let peerless = row.peer.is_some() || (row.peer_records.is_some() && row.peer_reads.is_some());
        if !checked || (peerless && row.reads.iter().any(|read| read.expected.is_none())) {
            bail!(
                "row {name} says nothing that could fail: it needs READ or SAYS, and without the peer expected text"
            );
        }
    }
    Ok(rows)
}

fn set(row: &mut Row, key: &str, value: &str) -> Result<()> {
    match key {
        "READ" | "LIVE" => {
            let words = words(value)?;
            row.reads.push(Read { words, live: key == "LIVE", expected: None });
        }
        "|" => {
            let read = row.reads.last_mut().context("expected text without READ")?;
            let expected = read.expected.get_or_insert_default();
            expected.push_str(value);
            expected.push('\n');
        }
        "NOTHING" => row.reads.last_mut().context("NOTHING without READ")?.expected = Some(String::new()),
        "RECORD" => row.case.record = words(value)?,
        "PEER" => row.peer = Some(value.to_owned()),
        "PEER_RECORDS" => row.peer_records = Some(value.to_owned()),
        "PEER_READS" => row.peer_reads = Some(value.to_owned()),
        "EVENTS" => row.events = case::yes(value)?,
        "VAGUE" => row.vague = case::yes(value)?,
        "WHOLE" => row.whole = case::yes(value)?,
        "EXIT" => row.exit = value.parse()?,
        "SAYS" => row.says.push(value.to_owned()),
        "FILE" => {
            let (path, text) = value.split_once(' ').context("FILE needs a path and a text")?;
            row.files.push((path.to_owned(), format!("{text}\n")));
        }
        _ => case::set(&mut row.case, key, value.trim())?,
    }
    Ok(())
}

/// Splits at blanks; single quotes hold words together.
fn words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quoted {
        bail!("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_share_a_program() {
        let text = "PROGRAM a.c\nBUILDS O2\n\nNAME one\nRECORD -T 'f@if:arg1 == 3'\nREAD replay\n| f();\n|   g();\n\
                    NAME two\nPEER why\nREAD report -F f\nNOTHING\n";
        let rows = parse(text).unwrap();
        assert_eq!(rows[0].case.record, ["-T", "f@if:arg1 == 3"]);
        assert_eq!(rows[0].reads[0].expected.as_deref(), Some("f();\n  g();\n"));
        assert_eq!((rows[1].case.source.as_str(), rows[1].case.builds.len()), ("a.c", 1));
        assert_eq!(rows[1].reads[0].expected.as_deref(), Some(""));
    }

    #[test]
    fn a_row_must_be_able_to_fail() {
        assert!(parse("PROGRAM a.c\nNAME one\n").is_err());
        assert!(parse("PROGRAM a.c\nNAME one\nPEER why\nREAD replay\n").is_err());
        assert!(parse("NAME one\nREAD replay\n").is_err());
        assert!(parse("PROGRAM a.c\nNAME one\nREED replay\n").is_err());
    }
}
