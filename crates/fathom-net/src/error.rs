//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

/// The result of what is done here.
pub type Result<T> = std::result::Result<T, NetError>;

/// Why a recording could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The connection cannot be made.
    #[error("cannot connect to {address}: {error}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The port cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The other end has closed the connection.
    #[error("the other end has closed the connection before the end of the recording")]
    Closed,
    /// Nothing came for too long.
    #[error("nothing came for {seconds} s")]
    Silent {
        /// How long.
        seconds: u64,
    },
    /// What came is not the protocol.
    #[error("what came is not the protocol: {0}")]
    Protocol(&'static str),
    /// More than is taken.
    #[error("{what} is more than {limit}")]
    TooMuch {
        /// What.
        what: &'static str,
        /// How much is taken.
        limit: u64,
    },
    /// The other end does not know the token.
    #[error("the other end does not know the token")]
    Token,
    /// What the other end says is wrong.
    #[error("the receiver refuses: {0}")]
    Refused(String),
    /// A file of the recording cannot be read or written.
    #[error("cannot {doing} '{}': {error}", .path.display())]
    File {
        /// What was to be done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file has become shorter while it was being sent.
    #[error("'{}' has become shorter while it was being sent", .path.display())]
    Shrunk {
        /// The file.
        path: PathBuf,
    },
    /// The user wants an end.
    #[error("it was stopped")]
    Stopped,
}

impl NetError {
    pub(crate) fn file(doing: &'static str, path: &Path, error: io::Error) -> NetError {
        NetError::File { doing, path: path.to_path_buf(), error }
    }

    /// Whether another connection may go better.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self,
            NetError::Connect { .. } | NetError::Broken(_) | NetError::Closed | NetError::Silent { .. }
        )
    }
}
