//! Traces on disk: who took part (tasks, sessions, modules) and, for each task, its events in time order.
//!
//! Not for matching entries with exits, for statistics or for text: that is `fathom-analysis` and `fathom-view`.
//!
//! A trace is read through the [`Trace`] interface, which says nothing about how records are stored: the
//! directory of `<tid>.dat` files ([`directory`]) is one store behind it, a list of events in memory
//! ([`memory`]) another. Events come in batches, so a reader's memory does not grow with the trace.
#![forbid(unsafe_code)]

pub mod args;
pub mod directory;
mod error;
mod event;
pub mod event_id;
mod info;
pub mod kernel;
pub mod memory;
mod merge;
pub mod probe;
pub mod record;
mod task_file;
mod trace;
pub mod tracedat;
pub mod writer;

pub use error::Error;
pub use event::{Batch, Event, Kind};
pub use info::{
    ArgSpecs, CURRENT_VERSION, Class, CpuInfo, Endian, Features, HEADER_SIZE, Info, MAGIC, MemoryInfo,
    OsInfo, PatternType, Sysctl, Usage,
};
pub use merge::{Merge, MergedBatch};
pub use task_file::{TaskChange, TaskMessage};
pub use trace::{
    CodePlace, EarlierName, EventOptions, External, Function, FunctionId, FunctionKind, KernelRecords, Layer,
    Resolver, Session, SessionSpan, Task, TaskEvents, Tid, Trace, VisitStack,
};
