//! What can go wrong, in words that name the file, what was written, and what would help.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

/// An error of driving tracefs. The words of the system stand in its text, so that they are no source of it: whoever prints
/// the chain prints them once.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no tracefs that can be used.
    #[error(transparent)]
    Absent(#[from] crate::find::Absent),
    /// A file or directory could not be read, made or removed.
    #[error("{doing} {}: {source}{}", path.display(), hint(source))]
    Io {
        /// What was being done, as "reading".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        r#source: io::Error,
    },
    /// The kernel did not take what was written.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// What was asked for makes no sense, or this kernel lacks it.
    #[error("{0}")]
    Settings(String),
    /// A name that this kernel does not have.
    #[error("{0}")]
    Unknown(Box<UnknownName>),
    /// What would have to be changed is used by somebody else.
    #[error("the top level of tracefs is in use by somebody else, and is left alone: {}", .0.join("; "))]
    InUse(Vec<String>),
    /// The journal of changes could not be kept, so nothing was changed.
    #[error("keeping the journal {}: {source}", path.display())]
    Journal {
        /// The journal's file or directory.
        path: PathBuf,
        /// What went wrong.
        r#source: io::Error,
    },
}

impl Error {
    /// Whether the kernel had not the memory for what was written.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        matches!(self, Error::Refused(refusal) if refusal.source.kind() == io::ErrorKind::OutOfMemory)
    }
}

/// A write that the kernel refused.
#[derive(Debug)]
pub struct Refusal {
    /// The file, with its path.
    pub path: PathBuf,
    /// What was written, without the newline.
    pub content: String,
    /// What the kernel said.
    pub source: io::Error,
    /// What the kernel's `error_log` said about it: the reason, the command, and the column of the caret in it.
    pub log: Option<LogEntry>,
}

/// An entry of `error_log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// `trace_kprobe: Invalid register name`.
    pub reason: String,
    /// The command as the kernel saw it.
    pub command: String,
    /// Column of the caret in the command, in bytes.
    pub caret: usize,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Refusal { path, content, source, log } = self;
        write!(f, "writing '{content}' to {}: {source}", path.display())?;
        match log {
            Some(log) => {
                let mark = " ".repeat(log.caret);
                write!(f, "\n  {}\n    {}\n    {mark}^", log.reason, log.command)
            }
            None => f.write_str(&hint(source)),
        }
    }
}

/// A name that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// "function", "event", "option", "clock", "tracer".
    pub what: &'static str,
    /// As it was given.
    pub name: String,
    /// The one that was probably meant.
    pub nearest: Option<String>,
    /// What else is to be known, as "traced only where …".
    pub note: Option<String>,
}

impl std::fmt::Display for UnknownName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let UnknownName { what, name, nearest, note } = self;
        write!(f, "this kernel has no {what} '{name}'")?;
        if let Some(nearest) = nearest {
            write!(f, "; did you mean '{nearest}'?")?;
        }
        if let Some(note) = note {
            write!(f, " ({note})")?;
        }
        Ok(())
    }
}

/// What an errno mostly means in tracefs, with a leading separator.
fn hint(error: &io::Error) -> String {
    let text = match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::ACCESS) => {
            "tracefs belongs to root: run as root, or open it to a group with `mount -o remount,gid=GROUP,mode=0750`"
        }
        Some(rustix::io::Errno::PERM) => {
            "this kernel does not allow it even to root, as under lockdown; `fathom kernel doctor` lists what it allows"
        }
        Some(rustix::io::Errno::ROFS) => "tracefs is mounted read-only, as container managers do",
        Some(rustix::io::Errno::BUSY) => "it is in use: a pipe is being read, or an event is enabled",
        Some(rustix::io::Errno::NODEV) => "this kernel was built without it",
        _ => return String::new(),
    };
    let mut out = String::new();
    let _ = write!(out, " ({text})");
    out
}

/// The entries of an `error_log`, oldest first.
pub fn log_entries(text: &str) -> Vec<LogEntry> {
    const COMMAND: &str = "  Command: ";
    let mut entries = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        // `[   35.380130] trace_kprobe: error: Invalid register name`
        let Some((source, reason)) = line.split_once(": error: ") else { continue };
        let source = source.rsplit("] ").next().unwrap_or(source).trim();
        let mut command = String::new();
        let mut caret = 0;
        while let Some(next) = lines.next_if(|next| !next.contains(": error: ")) {
            if let Some(text) = next.strip_prefix(COMMAND) {
                command = text.to_owned();
            } else if next.trim() == "^" {
                caret = next.find('^').unwrap_or(0).saturating_sub(COMMAND.len());
            }
        }
        entries.push(LogEntry { reason: format!("{source}: {reason}"), command, caret });
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_read_with_its_caret() {
        let text = "[   35.380130] trace_kprobe: error: Invalid register name\n  Command: p:x vfs_read a=%zz\n                        ^\n";
        let entries = log_entries(text);
        assert_eq!(
            entries,
            [LogEntry {
                reason: "trace_kprobe: Invalid register name".into(),
                command: "p:x vfs_read a=%zz".into(),
                caret: 13,
            }]
        );
        let refusal = Refusal {
            path: "/t/kprobe_events".into(),
            content: "p:x vfs_read a=%zz".into(),
            source: io::Error::from_raw_os_error(22),
            log: entries.into_iter().next(),
        };
        insta::assert_snapshot!(refusal, @r"
        writing 'p:x vfs_read a=%zz' to /t/kprobe_events: Invalid argument (os error 22)
          trace_kprobe: Invalid register name
            p:x vfs_read a=%zz
                         ^
        ");
    }

    #[test]
    fn the_chain_has_what_the_system_said_once() {
        let source = || io::Error::from_raw_os_error(13);
        let io = Error::Io { doing: "reading", path: "/t/trace".into(), source: source() };
        let journal = Error::Journal { path: "/run/fathom".into(), source: source() };
        let absent = crate::find::Absent::NotPermitted { place: "/t".into(), source: source() };
        for error in [io, journal, absent.into()] {
            let mut text = error.to_string();
            let mut next = std::error::Error::source(&error);
            while let Some(source) = next {
                text = format!("{text}: {source}");
                next = source.source();
            }
            assert_eq!(text.matches("Permission denied").count(), 1, "{text}");
        }
    }

    #[test]
    fn logs_that_are_cut_or_empty() {
        assert_eq!(log_entries(""), []);
        assert_eq!(log_entries("  Command: x\n"), []);
        let two = "[1.0] a: error: one\n[2.0] b: error: two\n  Command: c\n           ^\n";
        assert_eq!(log_entries(two).iter().map(|e| e.command.as_str()).collect::<Vec<_>>(), ["", "c"]);
    }
}
