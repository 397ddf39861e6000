//! Records the kernel: sets it up by [`fathom_tracefs`], takes the pages from its pipes, and gives them to a `trace.dat`
//! and to whoever wants them as they come.
//!
//! Not for decoding, and not for choosing what is recorded.
#![forbid(unsafe_code)]

pub mod command;
pub mod recorder;
mod spared;
pub mod tables;
pub mod text;

pub use command::Stopped;
pub use recorder::{Recorder, Summary};
pub use text::{Knowledge, Text};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Driving tracefs.
    #[error(transparent)]
    Tracefs(#[from] fathom_tracefs::Error),
    /// Writing the recording.
    #[error(transparent)]
    File(#[from] fathom_tracedat::Error),
    /// Anything else of the system.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        r#source: std::io::Error,
    },
    /// The output went away or could not take it.
    #[error("writing the output: {0}")]
    Output(std::io::Error),
}

impl Error {
    /// The error of the output, if it is that.
    ///
    /// # Errors
    ///
    /// Any other error.
    pub fn into_output(self) -> Result<std::io::Error, Error> {
        match self {
            Error::Output(error) => Ok(error),
            other => Err(other),
        }
    }
}
