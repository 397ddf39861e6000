//! Decoding what was recorded on a live kernel, on the host: our text must be the peer's and the kernel's, line by line.

use crate::paths::which;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// Differing lines that are shown.
const SHOWN: usize = 12;

/// A comparison that a case asks for by `CHECK WORD FILE`.
#[derive(Debug, Clone)]
pub(crate) enum Comparison {
    /// `trace-cmd report -N` and `fathom kernel report -N` of a file, and both without `-N`.
    SameReport(String),
    /// The kernel's own text of buffers, and that of our decoder from their raw pages.
    KernelText,
}

impl Comparison {
    pub(crate) fn parse(value: &str) -> Result<Self> {
        match value.split_once(' ') {
            Some(("same_report", file)) => Ok(Self::SameReport(file.trim().to_owned())),
            None if value == "kernel_text" => Ok(Self::KernelText),
            _ => bail!("CHECK takes: same_report FILE, kernel_text"),
        }
    }

    /// What differs, an empty text if nothing does.
    pub(crate) fn differences(&self, fathom: &Path, dir: &Path) -> Result<String> {
        match self {
            Self::KernelText => super::kernel_text::differences(dir),
            Self::SameReport(file) => {
                let mut text = String::new();
                for options in [&["-N"][..], &[]] {
                    let peer = which("trace-cmd").context("trace-cmd is not installed")?;
                    let theirs = output(Command::new(peer).arg("report").args(options).arg(dir.join(file)))?;
                    let ours = output(
                        Command::new(fathom).args(["kernel", "report"]).args(options).arg(dir.join(file)),
                    )?;
                    if theirs.lines().count() < 5 {
                        text += &format!("trace-cmd report {options:?} prints next to nothing:\n{theirs}\n");
                    }
                    let different = lines(&theirs, &ours);
                    if !different.is_empty() {
                        text += &format!("report {}: - trace-cmd, + fathom\n{different}", options.join(" "));
                    }
                }
                Ok(text)
            }
        }
    }
}

fn output(command: &mut Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).env("LC_ALL", "C").output();
    let done = done.with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    if !done.status.success() {
        bail!("{command:?} failed: {}", crate::run::tail(&said, 500));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Whether two lines say the same, but for what trace-cmd 3.1.6 is known to get wrong.
fn same(theirs: &str, ours: &str) -> bool {
    if theirs == ours {
        return true;
    }
    // It says itself that it cannot print this format, and lists fields; task, CPU, time and name must be right.
    if let Some((head, _)) = theirs.split_once("[FAILED TO PARSE]") {
        return ours.starts_with(head.trim_end());
    }
    // A variable of the kernel is taken for its own address, to which it then adds.
    let page = |line: &str| {
        let (head, rest) = line.split_once(" page=0x").or_else(|| line.split_once(" page="))?;
        Some(format!("{head} {}", rest.split_once(' ')?.1))
    };
    if theirs.contains(": mm_") && page(theirs).is_some() {
        return page(theirs) == page(ours);
    }
    // Takes `!(a) ? b : c` for `!((a) ? b : c)`.
    if theirs.contains(": sock_recv_length:") {
        let lengths = |line: &str| line.split_once(", length = ").map(|(head, _)| head.to_owned());
        return lengths(theirs) == lengths(ours);
    }
    // Takes the mask of the flags for the flags.
    let flags = |line: &str| line.rsplit_once(" flags=").map(|(head, _)| head.to_owned());
    theirs.contains(": timer_start:") && flags(theirs) == flags(ours)
}

/// The first lines that differ, and how many do. Texts with different numbers of lines are compared as they stand.
pub(super) fn lines(theirs: &str, ours: &str) -> String {
    let (theirs, ours): (Vec<&str>, Vec<&str>) = (theirs.lines().collect(), ours.lines().collect());
    let mut shown = String::new();
    let mut different = 0;
    for at in 0..theirs.len().max(ours.len()) {
        let (a, b) = (theirs.get(at), ours.get(at));
        if a.zip(b).map_or(a != b, |(a, b)| !same(a, b)) {
            different += 1;
            if different <= SHOWN {
                let line = |line: Option<&&str>| {
                    line.map_or_else(|| "(no line)".to_owned(), |line| (*line).to_owned())
                };
                shown += &format!("{}: - {}\n{}: + {}\n", at + 1, line(a), at + 1, line(b));
            }
        }
    }
    if different > 0 {
        shown += &format!("{different} of {} lines differ\n", theirs.len());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn every_line_counts() {
        assert_eq!(lines("a\nb\n", "a\nb\n"), "");
        assert_eq!(lines("a\nb\n", "a\nc\n"), "2: - b\n2: + c\n1 of 2 lines differ\n");
        assert_eq!(lines("x 1: e: [FAILED TO PARSE] y=1\n", "x 1: e: text\n"), "");
        assert_ne!(lines("x 1: e: [FAILED TO PARSE] y=1\n", "x 2: e: text\n"), "");
        assert_eq!(lines("1: mm_page_alloc: page=0x1 pfn=2\n", "1: mm_page_alloc: page=0xa pfn=2\n"), "");
        assert_ne!(lines("1: mm_page_alloc: page=0x1 pfn=2\n", "1: mm_page_alloc: page=0xa pfn=3\n"), "");
        assert_ne!(lines("1: other: flags=a\n", "1: other: flags=b\n"), "");
        assert!(lines("a\n", "a\nb\n").contains("2: - (no line)"));
    }
}
