//! Drives tracefs: finds it, says what a kernel can do, turns settings into a plan of writes, applies it with a journal,
//! reads the per-CPU buffers, and puts everything back.
//!
//! Not for decoding: what comes out of the pipes are sub-buffers as the kernel made them.
//!
//! The way through it: [`Tracefs::find`], then [`Settings`] (plain data), then either [`Plan::build`] to look at what
//! would be written, or [`Session::begin`] to have it written. A [`Session`] is the guard of everything that was changed.

#![deny(unsafe_code)]

pub mod doctor;
pub mod error;
#[cfg(feature = "fake")]
pub mod fake;
pub mod files;
pub mod find;
pub mod functions;
pub mod journal;
pub mod names;
pub mod others;
pub mod pids;
pub mod pipes;
pub mod plan;
pub mod session;
pub mod settings;
pub mod shell;
pub mod stats;
pub mod tracefs;
pub mod uprobes;

pub use error::Error;
pub use find::{Absent, Found};
pub use functions::Functions;
pub use journal::Journals;
pub use names::{Kind, Names, Resolved};
pub use pipes::{Pipes, RawPipe};
pub use plan::{Naming, Place, Plan, Step, Write};
pub use session::Session;
pub use settings::{Event, Probe, ProbeKind, Settings, Stacks, Synthetic, Task};
pub use stats::CpuStats;
pub use tracefs::Tracefs;
