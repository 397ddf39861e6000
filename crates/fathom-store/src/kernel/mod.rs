//! What the kernel's tracer recorded: functions and events of tasks, out of pages of its ring buffer.
//!
//! Not for what the pages mean, which `fathom-ftrace` knows, and not for mixing them with records of a program.
//!
//! Records lie by CPU and are wanted by task. [`Kernel`] goes through all pages once and notes which blocks of pages have
//! records of which task: some bytes for each block. [`TaskRecords`] then reads the blocks of one task again, and merges
//! the CPUs that it ran on by time. Memory is one block of records for each of these CPUs.

mod decode;
mod header;
mod index;
mod pages;
mod reader;
mod stack;
mod symbols;
mod text;

pub use decode::Formats;
pub use fathom_ftrace::Names;
pub use header::KernelHeader;
pub use index::Losses;
pub use pages::{CpuPages, PageFiles, PageSource};
pub use reader::TaskRecords;
pub use stack::KernelStack;
pub use symbols::symbol_table;

use crate::{Error, Tid};
use fathom_ftrace::events::Common;
use fathom_ftrace::page::Records;
use fathom_ftrace::{Missed, PageLayout};
use index::Index;
use std::error::Error as _;
use std::fmt;

/// Records of the kernel's tracer.
pub struct Kernel {
    source: Box<dyn PageSource>,
    layout: PageLayout,
    formats: Formats,
    index: Index,
    text: text::Texts,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel")
            .field("cpus", &self.source.cpus())
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

impl Kernel {
    /// Goes through all pages of `source`. `names` is called once, when names of addresses are first needed for a text.
    pub fn new(
        source: Box<dyn PageSource>,
        layout: PageLayout,
        formats: Formats,
        names: impl Fn() -> Names + Send + Sync + 'static,
    ) -> Kernel {
        let text = text::Texts::new(&formats, Box::new(names));
        let mut kernel = Kernel { source, layout, formats, index: Index::default(), text };
        kernel.index = Index::build(&kernel);
        kernel
    }

    /// The formats of its events.
    pub fn formats(&self) -> &Formats {
        &self.formats
    }

    /// The CPUs that there are pages of.
    pub fn cpus(&self) -> &[CpuPages] {
        self.source.cpus()
    }

    /// What was lost on each of [`Kernel::cpus`].
    pub fn losses(&self) -> &[Losses] {
        &self.index.losses
    }

    /// What could not be read, one line each.
    pub fn problems(&self) -> &[String] {
        &self.index.problems
    }

    /// Whether there are records of a task.
    pub fn has(&self, tid: Tid) -> bool {
        self.index.task(tid).is_some()
    }

    /// The addresses of the stack that a record of a task's stack in the kernel has, the innermost first; none if it is
    /// another record.
    pub fn stack<'r>(&'r self, id: u16, record: &'r [u8]) -> Option<impl Iterator<Item = u64> + 'r> {
        let format = self.formats.format(id).filter(|format| format.name == "kernel_stack")?;
        text::stack(format, record)
    }

    /// The tasks that there are records of, in no order, with the times (ns) of the first and the last one.
    pub fn tasks(&self) -> impl Iterator<Item = (Tid, (u64, u64))> {
        self.index.tasks().map(|(tid, task)| (tid, (task.first, task.last)))
    }

    /// The records of a task. Without `events`, only functions and losses.
    pub fn records(&self, tid: Tid, events: bool) -> TaskRecords<'_> {
        TaskRecords::new(self, tid, events)
    }

    /// All records of a CPU in the order of its pages, for each of which `visit` is called.
    ///
    /// # Errors
    ///
    /// When a block can't be read, and those of `visit`.
    pub fn each_of_cpu<E: From<Error>>(
        &self,
        cpu: usize,
        mut visit: impl FnMut(CpuRecord<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let blocks = self.source.cpus().get(cpu).map_or(0, |pages| pages.blocks);
        let mut buffer = Vec::new();
        let mut missed = None;
        for block in 0..blocks {
            self.source.read(cpu, block, &mut buffer)?;
            for step in self.walk(&buffer) {
                match step {
                    Walk::Missed(count) => missed = Some(count),
                    Walk::Damaged(_) => {}
                    Walk::Record { time, common, data } => {
                        let said = self.formats.decode(common, data);
                        visit(CpuRecord { time, tid: common.pid, missed: missed.take(), said, data })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The name of an event, `system:name`, as `event:ID` when no format tells.
    pub fn event_name(&self, id: u16) -> Option<String> {
        self.formats.format(id).map(|format| format!("{}:{}", format.system, format.name))
    }

    /// Appends what the record of an event says.
    pub fn event_text(&self, id: u16, record: &[u8], out: &mut Vec<u8>) {
        if let Some(format) = self.formats.format(id) {
            self.text.event(format, record, out);
        }
    }

    /// What is in a block, in order.
    fn walk<'b>(&'b self, block: &'b [u8]) -> Walker<'b> {
        Walker { kernel: self, rest: block, records: None }
    }
}

/// A record as it lies in the pages of a CPU.
#[derive(Clone, Copy, Debug)]
pub struct CpuRecord<'a> {
    /// ns of the trace's clock.
    pub time: u64,
    /// The task that was running.
    pub tid: Tid,
    /// So many were lost just before; 0 where it isn't known how many.
    pub missed: Option<u64>,
    said: Option<decode::Said>,
    /// From `common_type` on.
    pub data: &'a [u8],
}

/// What a record of a CPU is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Entry of the function at an address, at a depth of calls.
    Entry(u64, u16),
    /// Exit of the function at an address, at a depth of calls.
    Exit(u64, u16),
    /// A call of the function at an address.
    Called(u64),
    /// The event of a number.
    Event(u16),
    /// The record is too short for what it says it is.
    Damaged,
}

impl CpuRecord<'_> {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        match self.said {
            Some(decode::Said::Entry { addr, depth }) => Subject::Entry(addr, depth),
            Some(decode::Said::Exit { addr, depth }) => Subject::Exit(addr, depth),
            Some(decode::Said::Called { addr }) => Subject::Called(addr),
            Some(decode::Said::Event { id }) => Subject::Event(id),
            None => Subject::Damaged,
        }
    }
}

/// The task that a record of a CPU with that number is of. All idle tasks have the number 0, so they are told apart by
/// their CPUs: that of CPU N is -1 - N here.
pub fn task_of(pid: i32, cpu: u32) -> Tid {
    if pid == 0 { i32::try_from(cpu).map_or(i32::MIN, |cpu| -1 - cpu) } else { pid }
}

/// What comes next in a block.
enum Walk<'b> {
    /// A record.
    Record { time: u64, common: Common, data: &'b [u8] },
    /// Events were lost here, 0 when it isn't known how many.
    Missed(u64),
    /// Something can't be read, and is skipped.
    Damaged(String),
}

struct Walker<'b> {
    kernel: &'b Kernel,
    rest: &'b [u8],
    records: Option<Records<'b>>,
}

impl<'b> Iterator for Walker<'b> {
    type Item = Walk<'b>;

    fn next(&mut self) -> Option<Walk<'b>> {
        loop {
            if let Some(records) = &mut self.records {
                if let Some(record) = records.next() {
                    let machine = self.kernel.layout.machine;
                    // What is too short for a task belongs to nobody.
                    let Some(common) = Common::read(record.data, machine) else { continue };
                    return Some(Walk::Record { time: record.time, common, data: record.data });
                }
                let error = records.error();
                self.records = None;
                if let Some(error) = error {
                    return Some(Walk::Damaged(error.to_string()));
                }
            }
            if self.rest.is_empty() {
                return None;
            }
            let size = self.kernel.layout.size().max(1).min(self.rest.len());
            let (page, rest) = self.rest.split_at(size);
            self.rest = rest;
            match self.kernel.layout.page(page) {
                Ok(page) => {
                    self.records = Some(page.records());
                    match page.missed {
                        Some(Missed::Count(count)) => return Some(Walk::Missed(count)),
                        Some(Missed::Unknown) => return Some(Walk::Missed(0)),
                        None => {}
                    }
                }
                Err(error) => return Some(Walk::Damaged(error.to_string())),
            }
        }
    }
}

/// An error with what it comes from.
fn chain(error: &Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
