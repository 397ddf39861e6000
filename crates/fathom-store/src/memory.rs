//! A trace made up in memory, for tests of everything that reads traces.
//!
//! ```
//! use fathom_store::{Batch, EventOptions, Trace, memory::MemoryTrace};
//!
//! let mut trace = MemoryTrace::new();
//! trace.task(10);
//! trace.enter(10, 100, "main").call(10, 110, 120, "leaf").leave(10, 200);
//!
//! let mut batch = Batch::default();
//! let mut events = trace.events(10, EventOptions::default()).unwrap();
//! assert!(events.next_batch(&mut batch).unwrap());
//! let mut resolver = trace.resolver(10);
//! let leaf = resolver.resolve(110, batch.events[1].addr);
//! assert_eq!(&*trace.function(leaf).name, "leaf");
//! ```

use crate::args::{ArgSpec, Class, parse_items};
use crate::{
    Batch, CodePlace, EarlierName, Error, Event, EventOptions, External, Function, FunctionId, FunctionKind,
    Info, Kind, Resolver, Session, SessionSpan, Task, TaskEvents, Tid, Trace,
};
use fathom_symbols::dbgfile::SourceLine;
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Address of the first function; each has [`FUNCTION_SIZE`] bytes, the next one begins where it ends.
const FIRST_ADDRESS: u64 = 0x40_1000;
const FUNCTION_SIZE: u64 = 0x10;
/// Events in a batch unless [`MemoryTrace::batch_size`] says otherwise.
const BATCH: usize = 1024;

/// A trace that is built by calls. Methods that add something return the trace, so they can be chained.
///
/// There is one session of the executable `/tmp/toy` from the beginning; tasks, functions and sessions are made
/// when they are first named. Depths are counted along. Times must ascend within a task; nothing checks it, so
/// that broken traces can be made, too.
#[derive(Debug)]
pub struct MemoryTrace {
    /// Header information, all items absent at first.
    pub info: Info,
    tasks: Vec<Task>,
    sessions: Vec<Session>,
    logs: FxHashMap<Tid, Log>,
    functions: Mutex<Vec<Function>>,
    /// Source files and argument specs, by the name in the symbol table.
    sources: FxHashMap<Arc<str>, Arc<str>>,
    lines: FxHashMap<Arc<str>, u32>,
    /// Lines of instructions by address.
    code_lines: FxHashMap<u64, u32>,
    specs: FxHashMap<Arc<str>, Arc<[ArgSpec]>>,
    /// Only the functions that were named by the builder have known addresses.
    known: usize,
    warnings: Vec<String>,
    /// Messages from outside.
    pub external: Vec<External>,
    /// Descriptions of types that argument specs name.
    pub types: Vec<String>,
    batch_size: usize,
}

/// What one task did.
#[derive(Debug, Default)]
struct Log {
    all: Batch,
    /// Addresses of the open calls.
    stack: Vec<u64>,
}

impl Default for MemoryTrace {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryTrace {
    /// An empty trace.
    pub fn new() -> Self {
        MemoryTrace {
            info: Info::default(),
            tasks: Vec::new(),
            sessions: vec![session(0, 0, "/tmp/toy")],
            logs: FxHashMap::default(),
            functions: Mutex::new(Vec::new()),
            sources: FxHashMap::default(),
            lines: FxHashMap::default(),
            code_lines: FxHashMap::default(),
            specs: FxHashMap::default(),
            known: 0,
            warnings: Vec::new(),
            external: Vec::new(),
            types: Vec::new(),
            batch_size: BATCH,
        }
    }

    /// How many events a batch has at most; a small number finds errors at the seams.
    pub fn batch_size(&mut self, events: usize) -> &mut Self {
        self.batch_size = events.max(1);
        self
    }

    /// Adds a process whose leader is `tid`. Other methods do this by themselves for a tid that is new.
    pub fn task(&mut self, tid: Tid) -> &mut Self {
        self.add_task(Task { parent: None, ..task(tid, tid) })
    }

    /// Adds another thread to the process `pid`.
    pub fn thread(&mut self, tid: Tid, pid: Tid) -> &mut Self {
        self.add_task(Task { parent: Some(pid), ..task(tid, pid) })
    }

    /// Adds a process that `parent` forked at `time`. It has no open calls: see [`MemoryTrace::inherit`].
    pub fn fork(&mut self, tid: Tid, parent: Tid, time: u64) -> &mut Self {
        self.add_task(Task { parent: Some(parent), forked: true, start: time, ..task(tid, tid) })
    }

    /// Repeats the open calls of the task's parent as inherited entries at the task's start.
    pub fn inherit(&mut self, tid: Tid) -> &mut Self {
        let Some(task) = self.tasks.iter().find(|t| t.tid == tid) else { return self };
        let (time, parent) = (task.start, task.parent.unwrap_or(tid));
        let stack = self.logs.get(&parent).map(|log| log.stack.clone()).unwrap_or_default();
        for addr in stack {
            let depth = self.log(tid).stack.len() as u16;
            self.push(tid, Event { inherited: true, ..event(Kind::Entry, time, addr, depth) }, &[]);
            self.log(tid).stack.push(addr);
        }
        self
    }

    /// The task executes another program: a new session with that executable.
    pub fn exec(&mut self, tid: Tid, time: u64, exe: &str) -> &mut Self {
        self.log(tid).stack.clear();
        let index = self.sessions.len();
        self.sessions.push(session(tid, time, exe));
        if let Some(task) = self.tasks.iter_mut().find(|t| t.tid == tid) {
            task.sessions.push(SessionSpan { from: time, session: index });
        }
        self
    }

    /// The address of the function of that name, which is made if it is new. A name that ends in `@plt` makes a
    /// library function, shown without that ending; one that ends in `@kernel` a function of the kernel.
    pub fn address_of(&mut self, name: &str) -> u64 {
        let functions = self.functions.get_mut().unwrap_or_else(PoisonError::into_inner);
        let found = functions.iter().position(|f| *f.raw_name == *name);
        let index = found.unwrap_or_else(|| {
            let (shown, kind) = match name.rsplit_once('@') {
                Some((library, "plt")) => (library, FunctionKind::Plt),
                Some((function, "kernel")) => (function, FunctionKind::Kernel),
                _ => (name, FunctionKind::User),
            };
            let module = if kind == FunctionKind::Kernel { "[kernel]" } else { "/tmp/toy" };
            functions.push(Function {
                name: shown.into(),
                raw_name: name.into(),
                module: module.into(),
                addr: FIRST_ADDRESS + functions.len() as u64 * FUNCTION_SIZE,
                size: FUNCTION_SIZE,
                kind,
            });
            self.known = functions.len();
            functions.len() - 1
        });
        functions[index].addr
    }

    /// Says in which file a function is, making the function if it is new.
    pub fn source(&mut self, name: &str, file: &str) -> &mut Self {
        self.address_of(name);
        self.sources.insert(name.into(), file.into());
        self
    }

    /// Says in which line of its file a function is declared, after [`MemoryTrace::source`].
    pub fn line(&mut self, name: &str, line: u32) -> &mut Self {
        self.lines.insert(name.into(), line);
        self
    }

    /// Says from which line of its file the instruction at an offset of a function is, after [`MemoryTrace::source`].
    pub fn code_line(&mut self, name: &str, offset: u64, line: u32) -> &mut Self {
        let addr = self.address_of(name);
        self.code_lines.insert(addr + offset, line);
        self
    }

    /// Says how many bytes a function has, making it if it is new. Its addresses stay as they are.
    pub fn size(&mut self, name: &str, size: u64) -> &mut Self {
        self.address_of(name);
        let functions = self.functions.get_mut().unwrap_or_else(PoisonError::into_inner);
        functions.iter_mut().filter(|f| *f.raw_name == *name).for_each(|f| f.size = size);
        self
    }

    /// Says what is recorded with calls of a function, for example `arg1,arg2/s`; nothing if that makes no sense.
    pub fn specs(&mut self, name: &str, items: &str) -> &mut Self {
        let specs = parse_items(items, Class::Bits64).unwrap_or_default().specs;
        self.specs.insert(name.into(), specs.into());
        self
    }

    /// `tid` is named otherwise from `time` on.
    pub fn rename(&mut self, tid: Tid, time: u64, name: &str) -> &mut Self {
        if let Some(task) = self.task_mut(tid) {
            let name = std::mem::replace(&mut task.comm, name.to_owned());
            task.earlier_names.push(EarlierName { until: time, name });
        }
        self
    }

    /// `tid` enters a function.
    pub fn enter(&mut self, tid: Tid, time: u64, name: &str) -> &mut Self {
        self.enter_with(tid, time, name, &[])
    }

    /// `tid` enters a function, with recorded arguments.
    pub fn enter_with(&mut self, tid: Tid, time: u64, name: &str, payload: &[u8]) -> &mut Self {
        let addr = self.address_of(name);
        let depth = self.log(tid).stack.len() as u16;
        self.log(tid).stack.push(addr);
        self.push(tid, event(Kind::Entry, time, addr, depth), payload)
    }

    /// `tid` leaves the innermost function it is in. A task outside of any does nothing.
    pub fn leave(&mut self, tid: Tid, time: u64) -> &mut Self {
        self.leave_with(tid, time, &[])
    }

    /// `tid` leaves the innermost function it is in, with a recorded return value.
    pub fn leave_with(&mut self, tid: Tid, time: u64, payload: &[u8]) -> &mut Self {
        let Some(addr) = self.log(tid).stack.pop() else { return self };
        let depth = self.log(tid).stack.len() as u16;
        self.push(tid, event(Kind::Exit, time, addr, depth), payload)
    }

    /// `tid` calls a function that calls nothing else.
    pub fn call(&mut self, tid: Tid, from: u64, to: u64, name: &str) -> &mut Self {
        self.enter(tid, from, name).leave(tid, to)
    }

    /// An event that is not a call; `id` as in [`crate::event_id`].
    pub fn event(&mut self, tid: Tid, time: u64, id: u64, payload: &[u8]) -> &mut Self {
        self.push(tid, event(Kind::Event, time, id, 0), payload)
    }

    /// `count` records are missing here.
    pub fn lost(&mut self, tid: Tid, count: u64) -> &mut Self {
        self.push(tid, event(Kind::Lost, 0, count, 0), &[])
    }

    /// Any record, also one that makes no sense here. The payload's place in it is filled in.
    pub fn push(&mut self, tid: Tid, event: Event, payload: &[u8]) -> &mut Self {
        let batch = &mut self.log(tid).all;
        let (data_start, data_len) = (batch.data.len() as u32, payload.len() as u32);
        batch.data.extend_from_slice(payload);
        batch.events.push(Event { data_start, data_len, ..event });
        if batch.events.len() == 1 {
            let task = self.tasks.iter_mut().find(|t| t.tid == tid && !t.forked);
            task.into_iter().for_each(|t| t.start = event.time);
        }
        self
    }

    /// Adds a warning.
    pub fn warn(&mut self, text: &str) -> &mut Self {
        self.warnings.push(text.to_owned());
        self
    }

    /// A task to change by hand (its name, its parent).
    pub fn task_mut(&mut self, tid: Tid) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|t| t.tid == tid)
    }

    fn add_task(&mut self, task: Task) -> &mut Self {
        if let Err(place) = self.tasks.binary_search_by_key(&task.tid, |t| t.tid) {
            self.logs.insert(task.tid, Log::default());
            self.tasks.insert(place, task);
        }
        self
    }

    fn log(&mut self, tid: Tid) -> &mut Log {
        if !self.logs.contains_key(&tid) {
            self.task(tid);
        }
        self.logs.entry(tid).or_default()
    }
}

fn event(kind: Kind, time: u64, addr: u64, depth: u16) -> Event {
    Event { time, addr, data_start: 0, data_len: 0, depth, kind, inherited: false }
}

fn task(tid: Tid, pid: Tid) -> Task {
    let sessions = vec![SessionSpan { from: 0, session: 0 }];
    let earlier_names = Vec::new();
    Task { tid, pid, parent: None, forked: false, start: 0, comm: "toy".into(), earlier_names, sessions }
}

fn session(pid: Tid, start: u64, exe: &str) -> Session {
    Session { sid: format!("{:016x}", start + 1), pid, start, exe: exe.into() }
}

impl Trace for MemoryTrace {
    fn info(&self) -> &Info {
        &self.info
    }

    fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    fn events(&self, tid: Tid, options: EventOptions) -> Result<Box<dyn TaskEvents + '_>, Error> {
        let log = self.logs.get(&tid).ok_or(Error::NoSuchTask { tid })?;
        Ok(Box::new(Cursor { log: &log.all, next: 0, options, batch_size: self.batch_size }))
    }

    fn resolver(&self, _tid: Tid) -> Box<dyn Resolver + '_> {
        Box::new(MemoryResolver { trace: self, unknown: FxHashMap::default() })
    }

    fn function(&self, id: FunctionId) -> Function {
        let functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        functions.get(id.0 as usize).cloned().unwrap_or_else(|| unknown(0))
    }

    fn arg_specs(&self, id: FunctionId) -> Arc<[ArgSpec]> {
        self.specs.get(&self.function(id).raw_name).cloned().unwrap_or_else(|| Arc::new([]))
    }

    fn all_functions(&self, _sources: bool, visit: &mut dyn FnMut(&Function, Option<&str>)) {
        let functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for function in functions.iter().take(self.known) {
            visit(function, self.sources.get(&function.raw_name).map(|source| &**source));
        }
    }

    fn type_definitions(&self) -> Vec<String> {
        self.types.clone()
    }

    fn line_of(&self, id: FunctionId) -> Option<SourceLine> {
        let name = self.function(id).raw_name;
        Some(SourceLine { line: *self.lines.get(&name)?, file: self.sources.get(&name)?.to_string() })
    }

    fn source_of(&self, id: FunctionId) -> Option<Arc<str>> {
        self.sources.get(&self.function(id).raw_name).cloned()
    }

    fn external(&self) -> &[External] {
        &self.external
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}

fn unknown(addr: u64) -> Function {
    let name: std::sync::Arc<str> = format!("<{addr:x}>").into();
    let kind = FunctionKind::Unknown;
    Function { raw_name: name.clone(), name, module: "[unknown]".into(), addr, size: 0, kind }
}

/// Reads a log.
struct Cursor<'a> {
    log: &'a Batch,
    next: usize,
    options: EventOptions,
    batch_size: usize,
}

impl TaskEvents for Cursor<'_> {
    fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        while let Some(event) = self.log.events.get(self.next) {
            if batch.events.len() == self.batch_size {
                break;
            }
            self.next += 1;
            if self.options.wants(event) {
                let data_start = batch.data.len() as u32;
                batch.data.extend_from_slice(self.log.payload(event));
                batch.events.push(Event { data_start, ..*event });
            }
        }
        Ok(!batch.events.is_empty())
    }

    fn seek(&mut self, time: u64) -> Result<(), Error> {
        let reached = |e: &Event| e.kind != Kind::Lost && e.time >= time;
        self.next = self.log.events.iter().position(reached).unwrap_or(self.log.events.len());
        Ok(())
    }

    fn progress(&self) -> (u64, u64) {
        (self.next as u64, self.log.events.len() as u64)
    }
}

struct MemoryResolver<'a> {
    trace: &'a MemoryTrace,
    unknown: FxHashMap<u64, FunctionId>,
}

impl Resolver for MemoryResolver<'_> {
    fn resolve(&mut self, _time: u64, addr: u64) -> FunctionId {
        let index = addr.wrapping_sub(FIRST_ADDRESS) / FUNCTION_SIZE;
        if index < self.trace.known as u64 {
            return FunctionId(index as u32);
        }
        if let Some(id) = self.unknown.get(&addr) {
            return *id;
        }
        let mut functions = self.trace.functions.lock().unwrap_or_else(PoisonError::into_inner);
        // Another task's resolver may have met the same address.
        let known = functions.iter().position(|f| f.kind == FunctionKind::Unknown && f.addr == addr);
        let index = known.unwrap_or_else(|| {
            functions.push(unknown(addr));
            functions.len() - 1
        });
        let id = FunctionId(index as u32);
        self.unknown.insert(addr, id);
        id
    }

    fn place(&mut self, time: u64, addr: u64) -> CodePlace {
        let id = self.resolve(time, addr);
        let function = self.trace.function(id);
        let line = self.trace.code_lines.get(&addr).zip(self.trace.sources.get(&function.raw_name));
        let line = line.map(|(line, file)| SourceLine { line: *line, file: file.to_string() });
        CodePlace { function: id, offset: addr - function.addr, line }
    }
}

/// All events of a task, as a plain list: for tests that don't care about batches.
///
/// # Errors
///
/// Those of [`Trace::events`] and [`TaskEvents::next_batch`].
pub fn all_events(trace: &dyn Trace, tid: Tid) -> Result<Vec<Event>, Error> {
    let mut events = trace.events(tid, EventOptions::default())?;
    let (mut all, mut batch) = (Vec::new(), Batch::default());
    while events.next_batch(&mut batch)? {
        all.append(&mut batch.events);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_id;

    fn toy() -> MemoryTrace {
        let mut trace = MemoryTrace::new();
        trace.task(10).thread(11, 10);
        trace.enter(10, 100, "main").call(10, 110, 120, "strlen@plt").enter(10, 130, "fork");
        trace.fork(12, 10, 140).inherit(12);
        trace.leave(12, 150).leave(12, 160);
        trace.event(10, 141, event_id::SCHED_OUT, &[]).event(10, 142, 100_011, b"abcd").lost(10, 3);
        trace.leave(10, 170).leave(10, 200);
        trace.call(11, 115, 116, "worker");
        trace
    }

    #[test]
    fn depths_and_order() {
        let trace = toy();
        let events = all_events(&trace, 10).unwrap();
        let depths: Vec<_> = events.iter().map(|e| (e.kind, e.depth)).collect();
        use Kind::{Entry, Event, Exit, Lost};
        let want = [
            (Entry, 0),
            (Entry, 1),
            (Exit, 1),
            (Entry, 1),
            (Event, 0),
            (Event, 0),
            (Lost, 0),
            (Exit, 1),
            (Exit, 0),
        ];
        assert_eq!(depths, want);
        assert_eq!(trace.tasks().iter().map(|t| t.tid).collect::<Vec<_>>(), [10, 11, 12]);
        assert_eq!(trace.tasks()[1].start, 115);
    }

    #[test]
    fn a_forked_child_inherits_open_calls() {
        let trace = toy();
        let events = all_events(&trace, 12).unwrap();
        let seen: Vec<_> = events.iter().map(|e| (e.kind, e.time, e.inherited)).collect();
        use Kind::{Entry, Exit};
        assert_eq!(seen, [(Entry, 140, true), (Entry, 140, true), (Exit, 150, false), (Exit, 160, false)]);
    }

    #[test]
    fn names_and_kinds() {
        let trace = toy();
        let mut resolver = trace.resolver(10);
        let events = all_events(&trace, 10).unwrap();
        let strlen = trace.function(resolver.resolve(110, events[1].addr + 5));
        assert_eq!((&*strlen.name, strlen.kind), ("strlen", FunctionKind::Plt));
        let id = resolver.resolve(0, 0x1234);
        assert_eq!(id, trace.resolver(11).resolve(0, 0x1234));
        assert_eq!(&*trace.function(id).name, "<1234>");
    }

    #[test]
    fn options_batches_and_seek() {
        let mut trace = toy();
        trace.batch_size(2);
        let mut events = trace.events(10, EventOptions { sched: false, ..EventOptions::default() }).unwrap();
        let mut batch = Batch::default();
        events.seek(140).unwrap();
        assert!(events.next_batch(&mut batch).unwrap());
        assert_eq!(batch.events.len(), 2);
        assert_eq!((batch.events[0].time, batch.payload(&batch.events[0])), (142, &b"abcd"[..]));
        assert_eq!((batch.events[1].kind, batch.events[1].addr), (Kind::Lost, 3));
        assert!(events.next_batch(&mut batch).unwrap());
        assert!(!events.next_batch(&mut batch).unwrap());
        assert!(trace.events(99, EventOptions::default()).is_err());
    }
}
