//! What can be wrong with a `trace.dat` file.

use std::io;

/// Why a recording could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused to read or write.
    #[error("{file}")]
    Io {
        /// The file's name as it was given.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The first bytes are not those of a `trace.dat`.
    #[error("{file}: not a trace.dat file (it does not begin with 17 08 44 \"tracing\")")]
    NotATrace {
        /// The file's name.
        file: String,
    },
    /// A version that is neither 6 nor 7.
    #[error("{file}: trace.dat version {version} is not known (6 and 7 are)")]
    Version {
        /// The file's name.
        file: String,
        /// What stands in the file.
        version: String,
    },
    /// Data compressed by something other than zstd or zlib.
    #[error("{file}: compressed with {name}, which is not known (none, zstd and zlib are)")]
    Compression {
        /// The file's name.
        file: String,
        /// What stands in the file.
        name: String,
    },
    /// The bytes at a place are not what the format says.
    #[error("{file}: offset {offset:#x}: {what}")]
    Damaged {
        /// The file's name.
        file: String,
        /// Bytes from the start of the file (of the unpacked section, where the section is compressed).
        offset: u64,
        /// What was expected, in words.
        what: String,
    },
}

impl Error {
    pub(crate) fn io(file: impl Into<String>, source: io::Error) -> Self {
        Self::Io { file: file.into(), source }
    }

    pub(crate) fn damaged(file: impl Into<String>, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { file: file.into(), offset, what: what.into() }
    }
}
