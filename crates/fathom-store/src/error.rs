//! What can go wrong with a store.

use crate::Tid;
use std::io;
use std::path::{Path, PathBuf};

/// Why a trace, or a part of it, can't be read or written. Messages name the file and, where there is one, the
/// offset or line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused an operation on a file.
    #[error("{}: cannot {action}", file.display())]
    Io {
        /// The file or directory.
        file: PathBuf,
        /// What was tried: "open", "read", "write", ...
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A file of a trace is missing or empty, and nothing can be shown without it.
    #[error("{}: {what}", file.display())]
    Missing {
        /// The file or directory.
        file: PathBuf,
        /// What is missing.
        what: String,
    },
    /// The `info` file doesn't begin with the magic of a trace.
    #[error("{}: not a trace: the first 8 bytes are not \"Ftrace!\"", file.display())]
    NotATrace {
        /// The file.
        file: PathBuf,
    },
    /// The `info` file has a version that is not known here.
    #[error("{}: format version {version} is not supported, only 3 and 4 are", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// What its header says.
        version: u32,
    },
    /// A binary file is damaged.
    #[error("{}: at offset {offset}: {what}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where, in bytes from the beginning of the file.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A text file is damaged.
    #[error("{}:{line}: {what}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line number from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// A payload can't be skipped because nothing says how long it is.
    #[error(
        "{}: at offset {offset}: the record of {function} has {payload}, but neither the info file nor a .dbg file \
         says of which types",
        file.display()
    )]
    NoArgumentSpec {
        /// The file.
        file: PathBuf,
        /// Offset of the record.
        offset: u64,
        /// Name of the function.
        function: String,
        /// "arguments" or "a return value".
        payload: &'static str,
    },
    /// A task was asked for that the trace doesn't have.
    #[error("the trace has no task {tid}")]
    NoSuchTask {
        /// The task.
        tid: Tid,
    },
    /// The directory to record into exists and is not a trace, so it is not touched.
    #[error("{}: exists and is not a trace, it is left alone; choose another directory", dir.display())]
    NotRemovable {
        /// The directory.
        dir: PathBuf,
    },
    /// A recording of the kernel can't be read.
    #[error(transparent)]
    Kernel(Box<fathom_tracedat::Error>),
    /// No trace was named, and none was found in the usual places.
    #[error("no trace found: looked for {looked_for}; record one first or name its directory with -d")]
    NoDefault {
        /// The names tried.
        looked_for: String,
    },
}

impl Error {
    /// Wraps the system's error about `file`.
    pub(crate) fn io(file: &Path, action: &'static str, source: io::Error) -> Self {
        Error::Io { file: file.to_path_buf(), action, source }
    }
}
