//! What is said beside the output: errors, warnings, notes. All of it on standard error or in the log file.

use crate::args::tuning::Domains;
use anyhow::Error;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

/// Exit codes. The text of `--help` lists the same.
pub(crate) mod exit {
    /// All is well; for record and live: the program ended with 0.
    pub(crate) const SUCCESS: u8 = 0;
    /// The command line is wrong, or something could not be done; the program ended with another code.
    pub(crate) const TROUBLE: u8 = 1;
    /// The traced program was killed.
    pub(crate) const KILLED: u8 = 2;
    /// The data could not be read.
    pub(crate) const UNREADABLE: u8 = 255;
}

/// An error with what was being done, what to do next, and the exit code it leads to.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    doing: String,
    cause: Error,
    next: Option<String>,
}

impl Failure {
    /// Something went wrong while doing `doing` ("reading the recording in 'x'").
    pub(crate) fn new(code: u8, doing: impl Into<String>, cause: impl Into<Error>) -> Failure {
        Failure { code, doing: doing.into(), cause: cause.into(), next: None }
    }

    /// The same with words instead of an error as the cause.
    pub(crate) fn because(code: u8, doing: impl Into<String>, cause: impl std::fmt::Display) -> Failure {
        Failure::new(code, doing, Error::msg(cause.to_string()))
    }

    /// Adds what the user can do about it.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Failure {
        self.next = Some(next.into());
        self
    }

    /// Whether all that happened is that the reader of the output went away.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.cause.chain().any(|cause| {
            cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        })
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:#}", self.doing, self.cause)?;
        match &self.next {
            Some(next) => write!(f, "\n  {next}"),
            None => Ok(()),
        }
    }
}

/// Where messages go, and how many of them.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// How often `-v` was given.
    level: u8,
    /// Which parts say more, if not all.
    domains: Option<Domains>,
    file: Option<Mutex<File>>,
    color: bool,
}

impl Log {
    /// `file` is appended to.
    pub(crate) fn new(level: u8, file: Option<&Path>, color: bool) -> Result<Log, Failure> {
        let file = file
            .map(|path| {
                File::options().create(true).append(true).open(path).map_err(|error| {
                    let doing = format!("opening the log file '{}'", path.display());
                    Failure::new(exit::TROUBLE, doing, error).next("name another one with --logfile")
                })
            })
            .transpose()?;
        Ok(Log { level, domains: None, file: file.map(Mutex::new), color })
    }

    /// The same, and only these parts say more than usual.
    pub(crate) fn limited(self, domains: Option<Domains>) -> Log {
        Log { domains, ..self }
    }

    /// How much a part of the program is to say of what it does, 0 for nothing.
    pub(crate) fn level(&self, part: &str) -> u8 {
        self.domains.as_ref().map_or(self.level, |domains| domains.level(part))
    }

    fn line(&self, color: &str, text: &str) {
        // Control characters in names of files and programs must not reach the terminal.
        let text: String = text
            .chars()
            .map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c })
            .collect();
        // Where messages go may be gone; there is no place left to say so.
        let _ = match &self.file {
            Some(file) => match file.lock() {
                Ok(mut file) => writeln!(file, "fathom: {text}"),
                Err(_) => Ok(()),
            },
            None if self.color => writeln!(io::stderr(), "{color}fathom: {text}\x1b[0m"),
            None => writeln!(io::stderr(), "fathom: {text}"),
        };
    }

    /// Why the program ends without having done what it was to do. Always on standard error, too.
    pub(crate) fn error(&self, failure: &Failure) {
        self.line("\x1b[91m", &failure.to_string());
        if self.file.is_some() {
            let shown = Log { color: self.color, ..Log::default() };
            shown.line("\x1b[91m", &failure.to_string());
        }
    }

    /// The output is not all that it should be.
    pub(crate) fn warn(&self, text: &str) {
        self.line("\x1b[33m", &format!("warning: {text}"));
    }

    /// Something worth knowing.
    pub(crate) fn note(&self, text: &str) {
        self.line("", text);
    }

    /// What a part is doing, for `-v` and `--debug-domain`.
    pub(crate) fn detail(&self, part: &str, text: &str) {
        if self.level(part) > 0 {
            self.line("\x1b[90m", text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_what_why_and_what_next() {
        let error = io::Error::new(io::ErrorKind::BrokenPipe, "gone");
        let failure = Failure::new(1, "writing", Error::new(error).context("cannot write")).next("stop");
        assert_eq!(failure.to_string(), "writing: cannot write: gone\n  stop");
        assert!(failure.is_broken_pipe());
        assert!(!Failure::because(1, "a", "b").is_broken_pipe());
    }
}
