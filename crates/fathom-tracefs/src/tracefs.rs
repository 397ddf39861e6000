//! A tracefs that was found: reading, writing, and looking around in it.

use crate::error::{Error, Refusal, log_entries};
use crate::files::{Files, Real};
use crate::plan::{Mode, Write};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A tracefs. Names of files are relative to its root, as `events/sched/enable`.
#[derive(Clone, Debug)]
pub struct Tracefs {
    root: PathBuf,
    proc: PathBuf,
    files: Arc<dyn Files>,
}

impl Tracefs {
    /// The one at `root`, which nobody checks to be one.
    pub fn at(root: impl Into<PathBuf>) -> Tracefs {
        Tracefs { root: root.into(), proc: "/proc".into(), files: Arc::new(Real) }
    }

    /// The same with another `/proc`, for tests.
    #[must_use]
    pub fn with_proc(mut self, proc: impl Into<PathBuf>) -> Tracefs {
        self.proc = proc.into();
        self
    }

    /// The same with other ways to touch files, for tests.
    #[must_use]
    pub fn with_files(mut self, files: Arc<dyn Files>) -> Tracefs {
        self.files = files;
        self
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where processes are found.
    pub fn proc(&self) -> &Path {
        &self.proc
    }

    /// The path of a file.
    pub fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// Whether there is such a file or directory.
    pub fn has(&self, file: &str) -> bool {
        self.files.exists(&self.path(file))
    }

    /// The content of a file as text. Bytes that are no UTF-8 are replaced.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with the file's name.
    pub fn read(&self, file: &str) -> Result<String, Error> {
        self.read_bytes(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The content of a file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with the file's name.
    pub fn read_bytes(&self, file: &str) -> Result<Vec<u8>, Error> {
        let path = self.path(file);
        self.files.read(&path).map_err(|source| Error::Io { doing: "reading", path, source })
    }

    /// The names in a directory, sorted.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with the directory's name.
    pub fn list(&self, dir: &str) -> Result<Vec<String>, Error> {
        let path = self.path(dir);
        self.files.list(&path).map_err(|source| Error::Io { doing: "listing", path, source })
    }

    /// Carries out one write of a plan.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with what the kernel's log says about it, or [`Error::Io`] for directories.
    pub fn apply(&self, write: &Write) -> Result<(), Error> {
        let path = self.path(&write.file);
        match write.mode {
            Mode::MakeDir => {
                self.files.make_dir(&path).map_err(|source| Error::Io { doing: "making", path, source })
            }
            Mode::RemoveDir => {
                self.files.remove_dir(&path).map_err(|source| Error::Io { doing: "removing", path, source })
            }
            Mode::Truncate | Mode::Append => self.write(path, write),
        }
    }

    fn write(&self, path: PathBuf, write: &Write) -> Result<(), Error> {
        // The log is not emptied by success, and belongs to everybody: what is new in it afterwards is about this.
        let log = Self::log_of(&write.file);
        let before = log.as_deref().map(|log| self.read(log).unwrap_or_default());
        let content = format!("{}\n", write.content);
        let truncate = write.mode == Mode::Truncate;
        let Err(source) = self.files.write(&path, truncate, content.as_bytes()) else { return Ok(()) };
        let log = log.as_deref().and_then(|log| self.new_entry(log, before.as_deref().unwrap_or_default()));
        Err(Error::Refused(Box::new(Refusal { path, content: write.content.clone(), source, log })))
    }

    /// The `error_log` in which the kernel explains itself about a file, if it does for such files.
    fn log_of(file: &str) -> Option<String> {
        let name = file.rsplit('/').next().unwrap_or(file);
        let explained = name.ends_with("_events") || matches!(name, "filter" | "trigger");
        let global = name.ends_with("_events");
        let instance = match file.strip_prefix("instances/").and_then(|rest| rest.split_once('/')) {
            Some((instance, _)) if !global => format!("instances/{instance}/"),
            _ => String::new(),
        };
        explained.then(|| format!("{instance}error_log"))
    }

    /// The entry that was added to a log. A log that was empty is emptied again.
    fn new_entry(&self, log: &str, before: &str) -> Option<crate::error::LogEntry> {
        let after = self.read(log).ok()?;
        let entry = (after != before).then(|| log_entries(&after).pop()).flatten();
        if entry.is_some() && before.is_empty() {
            // Best effort: what counts is the entry that was just read.
            let _ = self.files.write(&self.path(log), true, b"\n");
        }
        entry
    }

    /// Whether an operation on a file is allowed: it is opened for appending and nothing is written.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn may_write(&self, file: &str) -> io::Result<()> {
        self.files.write(&self.path(file), false, b"")
    }
}
