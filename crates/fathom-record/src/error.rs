//! What can go wrong while recording.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};

/// An error of the recorder. The program's own failures are not among them: see [`crate::Status`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such program.
    #[error("Cannot trace '{program}': No such executable file.")]
    NoProgram {
        /// As given.
        program: String,
    },
    /// The file is not a program.
    #[error("Cannot trace '{program}': Invalid file\n\t{reason}")]
    InvalidFile {
        /// As given.
        program: String,
        /// What it is instead.
        reason: String,
    },
    /// Made for another machine.
    #[error("Cannot trace '{program}': Unsupported machine ({reason})")]
    Machine {
        /// As given.
        program: String,
        /// What it is for.
        reason: String,
    },
    /// No dynamic loader, so no runtime.
    #[error(
        "Cannot trace static binary: {program}\n\tThe runtime is brought in by the dynamic loader; build it without -static."
    )]
    Static {
        /// As given.
        program: String,
    },
    /// Interpreted.
    #[error(
        "Cannot trace script file: {program}\n\tTo trace the library calls of its interpreter {interpreter}, use --force."
    )]
    Script {
        /// As given.
        program: String,
        /// What runs it.
        interpreter: String,
    },
    /// Nothing in it calls us.
    #[error(
        "Can't find 'mcount' symbol in the '{program}'.\n\
         \tIt seems not to be compiled with -pg or -finstrument-functions flag.\n\
         \tRebuild it with one of them, or with -fpatchable-function-entry=5 and record with -P PATTERN;\n\
         \tor use --force to record its library calls only."
    )]
    NotInstrumented {
        /// As given.
        program: String,
    },
    /// `-P` on a program that cannot be patched as a whole.
    #[error(
        "Cannot patch '{program}': {reason}.\n\tWithout -P its library calls can be recorded, with --force."
    )]
    NotPatchable {
        /// As given.
        program: String,
        /// What it is.
        reason: String,
    },
    /// The loader will not load the runtime.
    #[error(
        "Cannot trace '{program}': it {reason}, so the loader ignores the runtime.\n\tRecord as the user that it runs as, or trace a copy without that privilege."
    )]
    Privileged {
        /// As given.
        program: String,
        /// Set-user-ID and so on.
        reason: String,
    },
    /// A filter, trigger or argument spec that makes no sense.
    #[error("{text}")]
    Spec {
        /// Which, and why.
        text: String,
    },
    /// A pattern that is none.
    #[error("bad pattern '{pattern}': {reason}")]
    Pattern {
        /// As given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The runtime did not show up in the program.
    #[error("The runtime did not come up in '{program}', which ran untraced.\n\t{reason}")]
    NotTraced {
        /// As given.
        program: String,
        /// What may be the cause.
        reason: String,
    },
    /// No directory for the runtime.
    #[error("no directory can hold the runtime: {reason}")]
    NoRuntimeDir {
        /// What was tried.
        reason: String,
    },
    /// An operation on a file failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// `read`, `write`, …
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A fault of the recorder itself.
    #[error(
        "the recorder failed while it {doing}: {message}\n\tThe program goes on untraced; what was recorded before can be read. Please report this."
    )]
    Panicked {
        /// What it did.
        doing: &'static str,
        /// What the fault says of itself.
        message: String,
    },
    /// The trace could not be written.
    #[error(transparent)]
    Store(#[from] fathom_store::Error),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Error {
        Error::Io { action, path: path.as_ref().to_path_buf(), source }
    }

    /// Of what a panic has left.
    pub(crate) fn panicked(doing: &'static str, panic: &(dyn Any + Send)) -> Error {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Error::Panicked { doing, message }
    }
}
