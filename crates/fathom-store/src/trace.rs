//! The interface that every store is read through.

use crate::args::ArgSpec;
use crate::{Batch, Error, Event, Info, Kind, event_id};
use fathom_symbols::dbgfile::SourceLine;
use std::sync::Arc;

/// The kernel's thread id. A **task** is a thread.
pub type Tid = i32;

/// A thread of the recording.
#[derive(Clone, Debug)]
pub struct Task {
    /// Thread id.
    pub tid: Tid,
    /// Process id: the tid of the thread group's leader.
    pub pid: Tid,
    /// For the leader of a forked process the pid of its parent, for another thread its leader; else none.
    pub parent: Option<Tid>,
    /// Whether the task came to be by fork or vfork (it then starts inside its parent's calls).
    pub forked: bool,
    /// Time of the first message about the task, ns of the trace clock.
    pub start: u64,
    /// The last name of the task, as shown: file name of the first session's executable unless it was named otherwise, at
    /// most 15 characters.
    pub comm: String,
    /// Its names before, if any were recorded: each until when it was the task's, ascending by time.
    pub earlier_names: Vec<EarlierName>,
    /// Which session the task was in, and from when; ascending by time, never empty.
    pub sessions: Vec<SessionSpan>,
}

impl Task {
    /// Its name at a time (ns), as shown.
    pub fn name_at(&self, time: u64) -> &str {
        let index = self.earlier_names.partition_point(|name| name.until <= time);
        self.earlier_names.get(index).map_or(&self.comm, |name| &name.name)
    }
}

/// A name that a task no longer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierName {
    /// When it got the next one, ns of the trace clock.
    pub until: u64,
    /// At most 15 characters.
    pub name: String,
}

/// "From this time on the task was in this session."
#[derive(Clone, Copy, Debug)]
pub struct SessionSpan {
    /// ns of the trace clock; the first span's is 0.
    pub from: u64,
    /// Index into [`Trace::sessions`].
    pub session: usize,
}

/// One address space from exec to exit.
#[derive(Clone, Debug)]
pub struct Session {
    /// 16 hex digits.
    pub sid: String,
    /// Process that made it.
    pub pid: Tid,
    /// ns of the trace clock.
    pub start: u64,
    /// Path of the executable.
    pub exe: String,
}

/// Names a [`Function`] of a trace. Ids are dense from 0, so a `Vec` can be indexed by them.
/// Two addresses inside one symbol of one module have the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionId(pub u32);

/// Where a function lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    /// A function of the program or of a library.
    User,
    /// A library function called through a module's PLT or GOT.
    Plt,
    /// A function of the kernel.
    Kernel,
    /// No symbol covers the address.
    Unknown,
}

/// What is known about a function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Name as shown (demangled as the trace was opened for); `<55d0c0ffee>` when no symbol covers it.
    pub name: Arc<str>,
    /// Name as in the symbol table.
    pub raw_name: Arc<str>,
    /// Path of the module; `[unknown]` or `[kernel]` where there is none.
    pub module: Arc<str>,
    /// Start address in the address space where it was first seen.
    pub addr: u64,
    /// Symbol size in bytes, 0 when not known.
    pub size: u64,
    /// Where it lives.
    pub kind: FunctionKind,
}

/// A message that the user put beside the recording (`extern.dat`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// ns of the trace clock.
    pub time: u64,
    /// The message, without a line break.
    pub text: String,
}

/// Which events besides function records a reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventOptions {
    /// Any events at all (`--no-event` clears it).
    pub events: bool,
    /// Scheduler events (`--no-sched` clears it).
    pub sched: bool,
    /// Also show what happens while a task is in no function (`--event-full` sets it). Stores give these events anyway;
    /// it is for readers.
    pub outside: bool,
    /// Which records of the kernel's tracer, its functions above all.
    pub kernel: KernelRecords,
}

impl Default for EventOptions {
    fn default() -> Self {
        EventOptions { events: true, sched: true, outside: false, kernel: KernelRecords::Inside }
    }
}

/// Which of the functions that tasks ran in the kernel a reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelRecords {
    /// Those that ran while a function of the program was open. In a recording of the kernel alone these are all.
    Inside,
    /// All of them (`--kernel-full`).
    All,
    /// Nothing that the kernel's tracer recorded, its events and losses neither.
    None,
}

impl EventOptions {
    /// Whether a reader with these options wants `event`. Calls and losses are always wanted.
    pub fn wants(self, event: &Event) -> bool {
        event.kind != Kind::Event || (self.events && (self.sched || !event_id::is_sched(event.addr)))
    }
}

/// The events of one task, in order.
pub trait TaskEvents: Send {
    /// Replaces `batch` by the next events; false when there are none left. A damaged place ends the task's
    /// events with a [`Trace::warnings`] entry after what could be read has been delivered.
    fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, Error>;

    /// Goes to the first event whose time is `time` (ns) or later, forwards or backwards.
    fn seek(&mut self, time: u64) -> Result<(), Error>;

    /// Bytes of the store read so far and in all, for a progress display.
    fn progress(&self) -> (u64, u64);

    /// Time of the task's last record (ns), once all events have been read, if it is one that a layer has left out: calls
    /// that are still open have lasted until then.
    fn end(&self) -> Option<u64> {
        None
    }
}

/// Where an instruction is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodePlace {
    /// The function that it is in.
    pub function: FunctionId,
    /// Bytes from the beginning of the function; 0 when no symbol covers the address.
    pub offset: u64,
    /// The line that it was made from, where the debug information of the module says so. The file is relative to the
    /// directory it was compiled in.
    pub line: Option<SourceLine>,
}

/// Is told of a stack: the task, the time (ns), the functions with the outermost first, and the event that it was
/// recorded with.
pub type VisitStack<'v> = dyn FnMut(Tid, u64, &[FunctionId], Option<u64>) + 'v;

/// Turns addresses of one task into functions. Keeps a cache, so make one for each task and keep it.
pub trait Resolver: Send {
    /// The function at `addr` in the address space that the task had at `time` (ns).
    fn resolve(&mut self, time: u64, addr: u64) -> FunctionId;

    /// Where the instruction at `addr` is, in the address space that the task had at `time` (ns). Takes longer than
    /// [`Resolver::resolve`].
    fn place(&mut self, time: u64, addr: u64) -> CodePlace;
}

/// A recording, whoever made it and however it is stored. Shared by threads.
pub trait Trace: Sync {
    /// Header information.
    fn info(&self) -> &Info;
    /// All tasks that have events, ascending by tid.
    fn tasks(&self) -> &[Task];
    /// All sessions, ascending by start.
    fn sessions(&self) -> &[Session];
    /// Opens the events of a task of [`Trace::tasks`].
    fn events(&self, tid: Tid, options: EventOptions) -> Result<Box<dyn TaskEvents + '_>, Error>;
    /// A resolver for a task of [`Trace::tasks`].
    fn resolver(&self, tid: Tid) -> Box<dyn Resolver + '_>;
    /// What is known about a function that a resolver of this trace has named.
    fn function(&self, id: FunctionId) -> Function;
    /// What is recorded with calls of a function: all its specs in the order of the payloads, arguments and return
    /// value together. [`crate::args::values`] takes payloads apart by them.
    fn arg_specs(&self, id: FunctionId) -> Arc<[ArgSpec]> {
        let _ = id;
        Arc::new([])
    }
    /// Definitions of the enumerations that specs name, e.g. `enum hue {RED,BLUE=4}`; earlier ones go first.
    fn enum_definitions(&self) -> Vec<String> {
        let specs = self.info().arg_specs.as_ref();
        specs.map_or_else(Vec::new, |specs| specs.enums.split(';').map(str::to_owned).collect())
    }
    /// Descriptions of types that specs name, e.g. `Option<i32> = ...`; earlier ones go first.
    fn type_definitions(&self) -> Vec<String> {
        Vec::new()
    }
    /// Path of the module that a library call ([`FunctionKind::Plt`]) ends up in, if the trace's symbols tell.
    fn library_of(&self, id: FunctionId) -> Option<Arc<str>> {
        let _ = id;
        None
    }
    /// Calls `visit` for every function that the symbols of the trace name, whether it was ever called or not, with the
    /// source file it is in as far as the trace or the module says (and `sources` asks for it).
    fn all_functions(&self, sources: bool, visit: &mut dyn FnMut(&Function, Option<&str>)) {
        let _ = (sources, visit);
    }
    /// Where a function is declared, as far as the trace or the module it was recorded from says. The file is relative to
    /// the directory it was compiled in.
    fn line_of(&self, id: FunctionId) -> Option<SourceLine> {
        let _ = id;
        None
    }
    /// The source file of a function, relative to the directory it was compiled in, if the trace or the module says.
    fn source_of(&self, id: FunctionId) -> Option<Arc<str>> {
        let _ = id;
        None
    }
    /// The name of an event, e.g. `linux:sched-in`; none when neither the format nor the trace names it.
    fn event_name(&self, id: u64) -> Option<String> {
        event_id::name(id).map(str::to_owned)
    }
    /// Time-stamped messages from outside, ascending by time. They belong to no task.
    fn external(&self) -> &[External] {
        &[]
    }
    /// Calls `visit` for every stack that was recorded by itself, and not call by call.
    ///
    /// # Errors
    ///
    /// A trace that can't be read.
    fn stacks(&self, visit: &mut VisitStack<'_>) -> Result<(), Error> {
        let _ = visit;
        Ok(())
    }
    /// What could not be read or had to be guessed, in the order met, one line each. Grows while reading.
    fn warnings(&self) -> Vec<String>;
}

/// A trace that shows another one with changed events. It has all the rest from the other.
///
/// Implement this instead of [`Trace`] for a layer between a store and its readers, so that nothing the store can
/// tell gets lost on the way.
pub trait Layer: Sync {
    /// What is underneath.
    fn inner(&self) -> &dyn Trace;

    /// The tasks that this layer shows.
    fn layer_tasks(&self) -> &[Task] {
        self.inner().tasks()
    }

    /// The messages from outside that this layer shows.
    fn layer_external(&self) -> &[External] {
        self.inner().external()
    }

    /// The stacks that this layer shows.
    ///
    /// # Errors
    ///
    /// A trace that can't be read.
    fn layer_stacks(&self, visit: &mut VisitStack<'_>) -> Result<(), Error> {
        self.inner().stacks(visit)
    }

    /// The events as this layer shows them.
    fn layer_events(&self, tid: Tid, options: EventOptions) -> Result<Box<dyn TaskEvents + '_>, Error>;
}

impl<L: Layer> Trace for L {
    fn info(&self) -> &Info {
        self.inner().info()
    }
    fn tasks(&self) -> &[Task] {
        self.layer_tasks()
    }
    fn sessions(&self) -> &[Session] {
        self.inner().sessions()
    }
    fn events(&self, tid: Tid, options: EventOptions) -> Result<Box<dyn TaskEvents + '_>, Error> {
        self.layer_events(tid, options)
    }
    fn resolver(&self, tid: Tid) -> Box<dyn Resolver + '_> {
        self.inner().resolver(tid)
    }
    fn function(&self, id: FunctionId) -> Function {
        self.inner().function(id)
    }
    fn arg_specs(&self, id: FunctionId) -> Arc<[ArgSpec]> {
        self.inner().arg_specs(id)
    }
    fn enum_definitions(&self) -> Vec<String> {
        self.inner().enum_definitions()
    }
    fn type_definitions(&self) -> Vec<String> {
        self.inner().type_definitions()
    }
    fn library_of(&self, id: FunctionId) -> Option<Arc<str>> {
        self.inner().library_of(id)
    }
    fn all_functions(&self, sources: bool, visit: &mut dyn FnMut(&Function, Option<&str>)) {
        self.inner().all_functions(sources, visit);
    }
    fn line_of(&self, id: FunctionId) -> Option<SourceLine> {
        self.inner().line_of(id)
    }
    fn source_of(&self, id: FunctionId) -> Option<Arc<str>> {
        self.inner().source_of(id)
    }
    fn event_name(&self, id: u64) -> Option<String> {
        self.inner().event_name(id)
    }
    fn stacks(&self, visit: &mut VisitStack<'_>) -> Result<(), Error> {
        self.layer_stacks(visit)
    }
    fn external(&self) -> &[External] {
        self.layer_external()
    }
    fn warnings(&self) -> Vec<String> {
        self.inner().warnings()
    }
}
