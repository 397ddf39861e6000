//! What can go wrong with an export.

use std::io;

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The trace can't be read.
    #[error(transparent)]
    Trace(#[from] fathom_store::Error),
    /// The output can't be written. [`io::ErrorKind::BrokenPipe`] means that its reader wants no more.
    #[error("cannot write the output")]
    Write(#[from] io::Error),
}
