//! What can go wrong with a view.

use std::io;

/// Why a view could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The output refused. A broken pipe comes this way, too; see [`Error::is_broken_pipe`].
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// The trace could not be read.
    #[error(transparent)]
    Store(#[from] fathom_store::Error),
    /// `-f` names a field that the view doesn't have. Printed in two lines, as the peer does.
    #[error("Unknown field name '{name}'\n  Possible fields are: {possible}")]
    UnknownField {
        /// The name as typed.
        name: String,
        /// All names of the view's fields, blank separated.
        possible: String,
    },
    /// `-s` names a key that the view can't sort by.
    #[error("invalid sort key: {0}")]
    SortKey(String),
    /// `--diff-policy` has an unknown word.
    #[error("invalid diff policy: {0} (possible: abs no-abs compact full percent no-percent)")]
    DiffPolicy(String),
}

impl Error {
    /// Whether the reader of the output has gone away, which is no failure.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Output(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }
}
