//! The declarative cases of the kernel half: blocks of `KEY value` lines in `tests/vm/*.cases`.

use super::decode::Comparison;
use crate::blocks;
use anyhow::{Context, Result, bail};
use regex::Regex;
use std::path::Path;

/// One block, for all kernels. What each key means is said in `tests/vm/README.md`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Case {
    pub(crate) name: String,
    lines: Vec<Line>,
}

/// One `KEY[@KERNEL] value` line.
#[derive(Debug, Clone)]
struct Line {
    key: String,
    kernel: Option<String>,
    value: String,
    at: String,
}

/// What a case is on one kernel.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) name: String,
    /// What is true before the command, for instance somebody else's tracing. Part of the state that must be kept.
    pub(crate) setup: String,
    /// Runs beside the command and is killed after it.
    pub(crate) workload: String,
    pub(crate) run: String,
    pub(crate) cleanup: String,
    pub(crate) requires: Vec<String>,
    pub(crate) checks: Vec<Check>,
    pub(crate) comparisons: Vec<Comparison>,
    /// Of the last command of `run`.
    pub(crate) status: i32,
    /// For `run`, seconds.
    pub(crate) timeout: u32,
    /// MiB of memory of the machine.
    pub(crate) memory: u32,
    /// Whether the control files of tracefs must be as before.
    pub(crate) state: bool,
    /// Run in a boot of its own.
    pub(crate) alone: bool,
}

/// What some output must, or must not, contain.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    /// A file in the case's directory: `stdout`, `stderr`, or what the command wrote there.
    pub(crate) file: String,
    pub(crate) pattern: Regex,
    /// How many matches at least; 0 means there must be none.
    pub(crate) at_least: usize,
}

/// Reads all cases of a directory, in the order of the file names.
pub(crate) fn load(dir: &Path) -> Result<Vec<Case>> {
    let in_group = |group: &str, text: &str| {
        let cases = parse(text)?.into_iter();
        Ok(cases.map(|case| Case { name: format!("{group}/{}", case.name), ..case }).collect())
    };
    blocks::load(dir, in_group, |case: &Case| &case.name)
}

/// Reads the blocks of one file. A key may be one for a single kernel: `KEY@KERNEL`.
pub(crate) fn parse(text: &str) -> Result<Vec<Case>> {
    let line = |blocks::Line { key, value, at }| {
        let (key, kernel) = match key.split_once('@') {
            Some((key, kernel)) => (key.to_owned(), Some(kernel.to_owned())),
            None => (key, None),
        };
        Line { key, kernel, value, at }
    };
    let blocks = blocks::parse(text)?.into_iter();
    Ok(blocks
        .map(|block| Case { name: block.name, lines: block.lines.into_iter().map(line).collect() })
        .collect())
}

impl Case {
    /// The case as it is on a kernel; None when it is not for it.
    pub(crate) fn on(&self, kernel: &str) -> Result<Option<Job>> {
        let mut job = Job::new(&self.name);
        for line in &self.lines {
            if line.kernel.as_deref().is_some_and(|only| only != kernel) {
                continue;
            }
            if line.key == "KERNELS" {
                if !line.value.split_whitespace().any(|name| name == kernel) {
                    return Ok(None);
                }
                continue;
            }
            job.set(&line.key, &line.value).with_context(|| format!("{}: {}", self.name, line.at))?;
        }
        if job.run.is_empty() {
            bail!("case {} has no RUN", self.name);
        }
        // Whatever it was asked, it must not have panicked.
        for file in ["stdout", "stderr"] {
            job.checks.push(check(file, "panicked at", 0)?);
        }
        Ok(Some(job))
    }
}

impl Job {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            setup: String::new(),
            workload: String::new(),
            run: String::new(),
            cleanup: String::new(),
            requires: Vec::new(),
            checks: Vec::new(),
            comparisons: Vec::new(),
            status: 0,
            timeout: 120,
            memory: 512,
            state: true,
            alone: false,
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let append = |text: &mut String| {
            text.push_str(value);
            text.push('\n');
        };
        match key {
            "SETUP" => append(&mut self.setup),
            "WORKLOAD" => append(&mut self.workload),
            "RUN" => append(&mut self.run),
            "CLEANUP" => append(&mut self.cleanup),
            "REQUIRES" => self.requires.extend(value.split_whitespace().map(str::to_owned)),
            "OUT" => self.checks.push(check("stdout", value, 1)?),
            "ERR" => self.checks.push(check("stderr", value, 1)?),
            "NOT-OUT" => self.checks.push(check("stdout", value, 0)?),
            "NOT-ERR" => self.checks.push(check("stderr", value, 0)?),
            "COUNT" => {
                let (number, pattern) =
                    value.split_once(' ').context("COUNT takes a number and a pattern")?;
                self.checks.push(check("stdout", pattern.trim(), number.parse()?)?);
            }
            "FILE" | "NOT-FILE" => {
                let (file, pattern) = value.split_once(' ').context("FILE takes a name and a pattern")?;
                self.checks.push(check(file, pattern.trim(), usize::from(key == "FILE"))?);
            }
            "CHECK" => self.comparisons.push(Comparison::parse(value)?),
            "STATUS" => self.status = value.parse()?,
            "TIMEOUT" => self.timeout = value.parse()?,
            "MEMORY" => self.memory = value.parse()?,
            "STATE" => {
                self.state = match value {
                    "kept" => true,
                    "changed" => false,
                    _ => bail!("STATE is kept or changed"),
                }
            }
            "ALONE" => self.alone = true,
            _ => bail!("unknown key {key}"),
        }
        Ok(())
    }
}

/// A script of the developer's as a case without checks.
pub(crate) fn script(text: &str) -> Job {
    Job { run: text.to_owned(), timeout: 300, ..Job::new("script") }
}

fn check(file: &str, pattern: &str, at_least: usize) -> Result<Check> {
    let pattern = Regex::new(&format!("(?m){pattern}"))?;
    Ok(Check { file: file.to_owned(), pattern, at_least })
}

#[cfg(test)]
mod tests {
    use super::parse;

    const TEXT: &str = "\
# a comment
NAME one
RUN fathom kernel doctor
RUN@6.12 echo more
OUT@6.1 old
OUT^new$
STATUS 3
NAME two
KERNELS 6.12
RUN true
";

    #[test]
    fn keys_may_be_for_one_kernel() {
        let text = TEXT.replace("OUT^", "OUT ^");
        let cases = parse(&text).unwrap();
        let job = cases[0].on("6.12").unwrap().unwrap();
        assert_eq!(job.run, "fathom kernel doctor\necho more\n");
        assert_eq!(job.status, 3);
        assert_eq!(job.checks.len(), 3, "one pattern, and no panic on either output");
        assert!(job.checks[0].pattern.is_match("old\nnew\n"));
        assert_eq!(cases[0].on("6.1").unwrap().unwrap().checks.len(), 4);
        assert!(cases[1].on("6.1").unwrap().is_none());
    }

    #[test]
    fn mistakes_name_the_line() {
        let told = |text: &str| format!("{:#}", parse(text).unwrap()[0].on("6.1").unwrap_err());
        assert!(told("NAME a\nRUM x\n").contains("line 2: RUM x"));
        assert!(told("NAME a\nOUT (\n").contains("line 2"));
        assert!(told("NAME a\nOUT x\n").contains("no RUN"));
        assert!(parse("RUN x\n").is_err());
    }
}
