//! What a recipe is.

use crate::measure::Measure;
use crate::summary::Summary;
use crate::words::Words;

/// A scenario: what to set, what it teaches, what is measured.
#[derive(Debug)]
pub struct Recipe {
    /// What it is called on the command line.
    pub name: &'static str,
    /// One line.
    pub purpose: &'static str,
    /// What it teaches, a paragraph each.
    pub teaches: &'static [&'static str],
    /// What is set.
    pub items: &'static [Item],
    /// Which tasks are traced.
    pub scope: Scope,
    /// Deepest level of the call graph unless asked otherwise.
    pub depth: u32,
    /// Size of the buffer of each CPU in KiB unless asked otherwise.
    pub buffer_kb: u64,
    /// A stack after every event, rather than only after those that ask for one.
    pub stacks: bool,
    /// Options that only some recipes have.
    pub options: &'static [OptionName],
    /// A built-in program that makes it happen, and what it does.
    pub workload: Option<(Workload, &'static str)>,
    /// What is measured.
    pub measures: &'static [Measure],
    /// What the figures mean.
    pub words: fn(&Summary, &mut Words<'_>),
    /// What to look at next.
    pub next: &'static [&'static str],
}

/// One thing that is set.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// What it is for, in words.
    pub role: &'static str,
    /// What kind of thing.
    pub kind: Kind,
    /// Its names, the newest first; the first that this kernel has is taken.
    pub names: &'static [&'static str],
    /// What to do without it.
    pub need: Need,
}

/// Kinds of things that are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An event, `SYSTEM:NAME`.
    Event,
    /// The same with a stack after each.
    EventWithStack,
    /// A function that the call graph begins at.
    Graph,
    /// A function that the call graph leaves out.
    NotGraph,
    /// A probe at a function's entry, with arguments by name (`FUNCTION(ARGUMENTS)` of the type information).
    Probe(&'static str),
    /// A probe at its return.
    ReturnProbe,
}

/// What a recipe is without one of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Must,
    /// It works, and lacks this.
    Lacks(&'static str),
    /// The same: what it is about is seen elsewhere where it is not there.
    Extra,
}

/// Which tasks are traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The whole machine; what is of interest happens in interrupts or other tasks. `--pid` narrows it to a task.
    Machine,
    /// The tasks given, or the command and what it starts, or else the whole machine.
    Tasks,
    /// Tasks of that name, whatever their number.
    Named(&'static str),
    /// The whole machine; with `--pid` what is done to the task, by a filter of an event's field, and what it does itself.
    Target {
        /// The event that is about a task.
        event: &'static str,
        /// The field that names it.
        field: &'static str,
    },
}

/// Options of single recipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionName {
    /// `--depth N`.
    Depth,
    /// `--no-graph`.
    NoGraph,
    /// `--dev NAME`, a block device: `dev` of block events.
    BlockDevice,
    /// `--dev NAME`, a network device: `name` of net events.
    NetDevice,
}

/// Programs that make things happen; see [`crate::workload`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Reads from a disk, past the page cache.
    Disk,
    /// Interrupts: disk reads, packets over `lo`, timers.
    Interrupts,
    /// More packets over `lo` than soft interrupts handle on the spot.
    Flood,
    /// Timers that expire.
    Timers,
    /// More memory than there is.
    Memory,
    /// A task that uses up the memory and is killed.
    Oom,
    /// Signals to a child, with a handler, ignored, fatal.
    Signals,
    /// Writing a file and having it written out.
    Writeback,
    /// Pings to 127.0.0.1.
    Ping,
    /// TCP and UDP over `lo`, and a port that nobody listens on.
    Net,
    /// More threads than CPUs that work and sleep.
    Threads,
    /// Sleeping in several ways: a pipe, a timer, a futex, a child.
    Sleeps,
    /// System calls of several kinds.
    Syscalls,
    /// Memory that is touched for the first time.
    Faults,
    /// Threads that want the same lock.
    Futex,
    /// Things that the kernel does in workqueues.
    Work,
    /// Files opened, pipes made: memory of the kernel.
    Allocations,
    /// Programs that are started and end.
    Exec,
}
