//! The declarative end-to-end cases: blocks of `KEY value` lines in `tests/e2e/*.cases`.

use crate::blocks::{self, Block};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// One block. What each key means is said in `tests/e2e/README.md`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) source: String,
    /// Libraries: file name of the library, its source, whether the program is linked with it and whether it is
    /// instrumented like the program.
    pub(crate) libs: Vec<Lib>,
    pub(crate) flags: Vec<String>,
    pub(crate) builds: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) record: Vec<String>,
    /// Compare the replay without library calls with `tests/fixtures/NAME.replay`.
    pub(crate) replay: bool,
    /// Compare the replay with library calls with `tests/fixtures/NAME.libcalls.replay`.
    pub(crate) libcalls_replay: bool,
    /// Entries of each function over all tasks.
    pub(crate) counts: BTreeMap<String, u64>,
    /// The `Calls` of `report` where they differ from the entries.
    pub(crate) report: BTreeMap<String, u64>,
    /// The stacks that are left open when a task ends. Without any, all stacks must be empty.
    pub(crate) open: Vec<String>,
    /// The number of calls depends on timing.
    pub(crate) unsteady: bool,
    /// Calls of different stacks are mixed in one task, so that exits come out of order.
    pub(crate) coroutines: bool,
    /// So deep that a replay, indented, is hundreds of megabytes.
    pub(crate) deep: bool,
    pub(crate) requires: Vec<String>,
    pub(crate) timeout: Duration,
    /// Why the peer's recording of this program is not to be compared with ours.
    pub(crate) peer_records: Option<String>,
    /// Why the peer's graph of its own recording is not to be compared with ours.
    pub(crate) peer_graph: Option<String>,
    /// Why the peer's reading of our recording is not to be compared with our own.
    pub(crate) peer_reads: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Lib {
    pub(crate) file: String,
    pub(crate) source: String,
    pub(crate) linked: bool,
    pub(crate) traced: bool,
}

/// Reads all cases of a directory, in the order of the file names.
pub(crate) fn load(dir: &Path) -> Result<Vec<Case>> {
    blocks::load(dir, |_, text| parse(text), |case| &case.name)
}

/// Reads the blocks of one file.
pub(crate) fn parse(text: &str) -> Result<Vec<Case>> {
    blocks::parse(text)?.into_iter().map(case).collect()
}

fn case(block: Block) -> Result<Case> {
    let mut case = Case {
        name: block.name,
        builds: vec!["gcc".to_owned()],
        timeout: Duration::from_secs(30),
        ..Case::default()
    };
    for line in block.lines {
        set(&mut case, &line.key, &line.value).context(line.at)?;
    }
    if case.source.is_empty() {
        bail!("case {} has no SOURCE", case.name);
    }
    Ok(case)
}

pub(crate) fn set(case: &mut Case, key: &str, value: &str) -> Result<()> {
    let words = || value.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    match key {
        "SOURCE" => case.source = value.to_owned(),
        "LIB" => case.libs.push(lib(&words())?),
        "FLAGS" => case.flags = words(),
        "BUILDS" => case.builds = words(),
        "ARGS" => case.args = words(),
        "RECORD" => case.record = words(),
        "REPLAY" => case.replay = yes(value)?,
        "LIBCALLS" => case.libcalls_replay = yes(value)?,
        "COUNTS" => case.counts.extend(counts(value)?),
        "REPORT" => case.report.extend(counts(value)?),
        "OPEN" => case.open.push(words().join(" ")),
        "UNSTEADY" => case.unsteady = yes(value)?,
        "COROUTINES" => case.coroutines = yes(value)?,
        "DEEP" => case.deep = yes(value)?,
        "REQUIRES" => case.requires = words(),
        "TIMEOUT" => case.timeout = Duration::from_secs(value.parse()?),
        "PEER_RECORDS" => case.peer_records = Some(value.to_owned()),
        "PEER_GRAPH" => case.peer_graph = Some(value.to_owned()),
        "PEER_READS" => case.peer_reads = Some(value.to_owned()),
        _ => bail!("no such key: {key}"),
    }
    Ok(())
}

fn lib(words: &[String]) -> Result<Lib> {
    let [file, source, how @ ..] = words else { bail!("LIB needs a file name and a source") };
    let mut lib = Lib { file: file.clone(), source: source.clone(), linked: false, traced: false };
    for word in how {
        match word.as_str() {
            "linked" => lib.linked = true,
            "traced" => lib.traced = true,
            _ => bail!("a LIB is linked or traced, not {word}"),
        }
    }
    Ok(lib)
}

fn counts(value: &str) -> Result<Vec<(String, u64)>> {
    value
        .split_whitespace()
        .map(|word| {
            let (name, count) = word.rsplit_once('=').context("counts look like name=3")?;
            Ok((name.to_owned(), count.parse()?))
        })
        .collect()
}

pub(crate) fn yes(value: &str) -> Result<bool> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => bail!("yes or no, not {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read() {
        let text = "# why\nNAME a\nSOURCE a.c\nCOUNTS f=3 operator==2\nOPEN main f\nTIMEOUT 5\n";
        let cases = parse(text).unwrap();
        assert_eq!(cases.len(), 1);
        assert_eq!(cases[0].counts["f"], 3);
        assert_eq!(cases[0].counts["operator="], 2);
        assert_eq!(cases[0].open, ["main f"]);
        assert_eq!(cases[0].timeout, Duration::from_secs(5));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(parse("SOURCE a.c\n").is_err());
        assert!(parse("NAME a\n").unwrap_err().to_string().contains("no SOURCE"));
        let error = parse("NAME a\nSOURCES a.c\n").unwrap_err();
        assert!(format!("{error:#}").contains("line 2: SOURCES a.c: no such key: SOURCES"));
    }
}
