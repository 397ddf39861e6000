//! The option about source lines.

use clap::Args;

/// Source lines.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Source {
    /// Show where functions are declared; when recording, keep that with the recording
    #[arg(long, help_heading = "What is shown")]
    pub(crate) srcline: bool,
}
