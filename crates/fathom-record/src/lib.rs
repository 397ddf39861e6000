//! Records: starts the traced program, answers its processes, drains their buffers, writes the trace.
//!
//! Not for reading traces, nor for anything that happens inside the traced program: that is `fathom-store` and
//! `fathom-runtime`.
#![deny(unsafe_code)]

mod agent;
mod arena;
mod check;
mod clock;
mod detours;
mod drain;
mod error;
mod events;
mod fetches;
mod finish;
mod host;
mod kept;
mod kernel;
mod kernel_names;
mod leaf;
mod live;
mod modules;
mod order;
mod patches;
mod patterns;
mod payload;
mod perf;
mod plan;
mod plan_cache;
mod plan_file;
mod probes;
mod recover;
mod rules;
mod run;
mod runtime_file;
mod selection;
mod sessions;
mod sites;
mod start;
mod sys;

pub use check::check;
pub use clock::TraceClock;
pub use drain::Losses;
pub use error::Error;
pub use events::EventPatterns;
pub use fathom_filter::Match;
pub use kernel::KernelOptions;
pub use live::{Progress, keep_debug_information};
pub use patches::FILE as PATCHES_FILE;
pub use patterns::PatchSpec;
pub use perf::TaskEvents;
pub use plan::LibCalls;
pub use recover::{Recovered, recover};
pub use run::record;
pub use selection::{Selection, SignalAction};
pub use start::run_only;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

/// What to record, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Path of the program.
    pub program: PathBuf,
    /// Its arguments, without its name.
    pub args: Vec<OsString>,
    /// Data directory to make.
    pub dir: PathBuf,
    /// The recorder's command line, for the header of the trace.
    pub cmdline: String,
    /// Version line, for the header of the trace.
    pub version: String,
    /// Which library calls are recorded.
    pub libcalls: LibCalls,
    /// Run programs that have no instrumentation, for their library calls.
    pub force: bool,
    /// Functions whose patchable entries are switched on.
    pub patch: Vec<PatchSpec>,
    /// How the patterns are written.
    pub matching: Match,
    /// Where analyses of programs are kept for the next recording, `None` for nowhere. The directory is made if it is not
    /// there.
    pub plan_cache: Option<PathBuf>,
    /// Keep lazily bound slots unbound (`LD_BIND_NOT`).
    pub bind_not: bool,
    /// Leave the program's addresses randomised. `false` switches it off.
    pub randomize: bool,
    /// Which calls, and what with them.
    pub selection: Selection,
    /// Listen to who wants to change the selection while the program runs.
    pub agent: bool,
    /// Keep where functions are declared.
    pub source_lines: bool,
    /// Which scheduler and task events are recorded. Where the user may not have them, a note says so.
    pub task_events: TaskEvents,
    /// What the kernel's tracer records of the program's tasks. Where it can't be had, a note says why.
    pub kernel: KernelOptions,
    /// Another runtime than the built-in one.
    pub runtime: Option<PathBuf>,
    /// Bytes of a buffer segment.
    pub segment_size: Option<u64>,
    /// The clock of the times in the trace.
    pub clock: TraceClock,
    /// This process becomes the program; what returns from [`record`] is another process, the recorder. To be asked
    /// for only while there is a single thread.
    pub keep_pid: bool,
    /// Real-time priority of the recorder, 1 to 99.
    pub priority: Option<u32>,
    /// Options that reading commands are to take from the trace (`default.opts`), as they would be typed.
    pub reading_options: String,
    /// Write records soon after they were made, and what describes them (header, symbols) as soon as it is known, not only
    /// at the end: others take the files away while they are made, and may not get all.
    pub early: bool,
    /// Who reads along while the recording is made.
    pub progress: Option<mpsc::Sender<Progress>>,
    /// 0 quiet, 1 and more: what is going on, on stderr.
    pub verbose: u8,
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It exited with this status.
    Exited(i32),
    /// It was killed by this signal.
    Signaled(i32),
    /// The recording was stopped before it ended.
    Stopped,
}

/// What came of a recording.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How the program ended.
    pub status: Status,
    /// From its start to its end.
    pub elapsed: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// CPU time in user space.
    pub user: Duration,
    /// What was lost.
    pub losses: Losses,
    /// Things that the user should know, a line each.
    pub notes: Vec<String>,
    /// Which functions were patched and which not, and why, as in [`PATCHES_FILE`]; empty if none were to be.
    pub patches: String,
}
