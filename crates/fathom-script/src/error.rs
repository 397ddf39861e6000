//! What can go wrong.

use std::io;
use std::path::PathBuf;

/// Why a script did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot open script file '{}': {error}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Neither `.py` nor `.lua`.
    #[error("unknown script type: '{}' ends neither with .py (Python) nor with .lua (Lua)", .path.display())]
    Language {
        /// The file.
        path: PathBuf,
    },
    /// The interpreter cannot be started.
    #[error("cannot run the Python interpreter '{program}': {error}")]
    Interpreter {
        /// Its name.
        program: String,
        /// Why.
        error: io::Error,
    },
    /// The script has failed; the traceback, if there is one, has been shown already or is part of the text.
    #[error("{0}")]
    Script(String),
    /// The user wanted an end.
    #[error("the script was interrupted{0}")]
    Interrupted(String),
    /// A pattern of `UFTRACE_FUNCS` is not one.
    #[error("UFTRACE_FUNCS: {0}")]
    Pattern(fathom_filter::PatternError),
    /// The trace cannot be read.
    #[error(transparent)]
    Trace(#[from] fathom_store::Error),
    /// Talking with the interpreter failed.
    #[error("talking with the script")]
    Pipe(#[source] io::Error),
}
