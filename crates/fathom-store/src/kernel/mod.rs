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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Kind};
    use fathom_ftrace::Machine;
    use proptest::prelude::*;

    const ENTRY: &str = "name: funcgraph_entry\nID: 11\nformat:\n\
        \tfield:unsigned long func;\toffset:8;\tsize:8;\tsigned:0;\n\
        \tfield:int depth;\toffset:16;\tsize:4;\tsigned:1;\n";
    const EVENT: &str = "name: hello\nID: 300\nformat:\n\
        \tfield:int number;\toffset:8;\tsize:4;\tsigned:1;\n\nprint fmt: \"n=%d\", REC->number\n";

    struct Memory(Vec<CpuPages>, Vec<Vec<u8>>);

    impl PageSource for Memory {
        fn cpus(&self) -> &[CpuPages] {
            &self.0
        }

        fn read(&self, cpu: usize, block: u32, buffer: &mut Vec<u8>) -> Result<(), Error> {
            buffer.clear();
            let pages = self.1.get(cpu).and_then(|cpu| cpu.chunks(PAGE).nth(block as usize));
            buffer.extend_from_slice(pages.unwrap_or_default());
            Ok(())
        }
    }

    const PAGE: usize = 256;

    /// Each CPU has pages, which are blocks here.
    fn kernel(cpus: Vec<Vec<u8>>) -> Kernel {
        let pages = |(cpu, bytes): (usize, &Vec<u8>)| CpuPages {
            cpu: cpu as u32,
            blocks: bytes.len().div_ceil(PAGE) as u32,
            bytes: bytes.len() as u64,
            name: format!("cpu{cpu}"),
        };
        let list = cpus.iter().enumerate().map(pages).collect();
        let mut formats = Formats::new(Machine::LITTLE64);
        formats.add("ftrace", ENTRY).unwrap();
        formats.add("greet", EVENT).unwrap();
        let layout = PageLayout::of(Machine::LITTLE64, PAGE);
        Kernel::new(Box::new(Memory(list, cpus)), layout, formats, Names::default)
    }

    /// A page of records, each with what has passed since the one before.
    fn page(time: u64, lost: u64, records: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut data = Vec::new();
        for (delta, record) in records {
            data.extend(((record.len() / 4) as u32 | (*delta as u32) << 5).to_le_bytes());
            data.extend(record);
        }
        let flags = if lost > 0 { 3 << 30 } else { 0 };
        let mut page = time.to_le_bytes().to_vec();
        page.extend((data.len() as u64 | flags).to_le_bytes());
        page.extend(data);
        page.extend(lost.to_le_bytes());
        page.resize(PAGE, 0);
        page
    }

    fn entry(pid: i32, func: u64, depth: u32) -> Vec<u8> {
        let mut bytes = vec![11, 0, 0, 0];
        bytes.extend(pid.to_le_bytes());
        bytes.extend(func.to_le_bytes());
        bytes.extend(depth.to_le_bytes());
        bytes
    }

    fn hello(pid: i32, number: i32) -> Vec<u8> {
        let mut bytes = 300u32.to_le_bytes().to_vec();
        bytes.extend(pid.to_le_bytes());
        bytes.extend(number.to_le_bytes());
        bytes
    }

    fn sample() -> Kernel {
        kernel(vec![
            [
                page(100, 0, &[(0, entry(7, 1, 0)), (5, entry(8, 2, 0)), (5, entry(7, 3, 1))]),
                page(300, 9, &[(0, entry(7, 6, 0)), (1, entry(0, 7, 0))]),
            ]
            .concat(),
            [page(200, 0, &[(0, hello(7, -4)), (1, entry(7, 5, 0))]), page(250, 0, &[(0, entry(0, 8, 0))])]
                .concat(),
        ])
    }

    fn all(kernel: &Kernel, tid: Tid, events: bool, from: u64) -> Vec<(u64, Kind, u64, String)> {
        let mut records = kernel.records(tid, events);
        if from > 0 {
            records.seek(from);
        }
        let (mut list, mut data) = (Vec::new(), Vec::new());
        while records.peek().unwrap().is_some() {
            let Event { time, kind, addr, data_start, data_len, .. } = records.take(&mut data).unwrap();
            let start = data_start as usize;
            let text = data[start..start + data_len as usize].to_vec();
            list.push((time, kind, addr, String::from_utf8(text).unwrap()));
        }
        list
    }

    #[test]
    fn a_task_on_two_cpus() {
        let kernel = sample();
        let none = String::new;
        let entry = |time, addr| (time, Kind::Entry, addr, none());
        let want = [
            entry(100, 1),
            entry(110, 3),
            (200, Kind::Event, 300, "n=-4".to_owned()),
            entry(201, 5),
            (300, Kind::Lost, 9, none()),
            entry(300, 6),
        ];
        assert_eq!(all(&kernel, 7, true, 0), want);
        assert_eq!(all(&kernel, 7, true, 111), want[2..]);
        assert_eq!(all(&kernel, 7, false, 201), want[3..]);
        assert_eq!(all(&kernel, 7, true, 301), []);
        assert_eq!(all(&kernel, 9, true, 0), []);
        assert_eq!(kernel.losses(), [Losses { events: 9, places: 1 }, Losses::default()]);
        assert_eq!(kernel.event_name(300).as_deref(), Some("greet:hello"));
    }

    #[test]
    fn idle_tasks_are_told_apart() {
        let kernel = sample();
        let mut tasks: Vec<_> = kernel.tasks().collect();
        tasks.sort_unstable();
        assert_eq!(tasks, [(-2, (250, 250)), (-1, (301, 301)), (7, (100, 300)), (8, (105, 105))]);
        assert_eq!(all(&kernel, -2, true, 0), [(250, Kind::Entry, 8, String::new())]);
    }

    fn read_all(kernel: &Kernel) {
        let tids: Vec<Tid> = kernel.tasks().map(|(tid, _)| tid).collect();
        for tid in tids {
            let mut records = kernel.records(tid, true);
            let mut data = Vec::new();
            for _ in 0..2 {
                while records.peek().unwrap().is_some() {
                    records.take(&mut data).unwrap();
                }
                records.seek(0);
            }
        }
        for cpu in 0..kernel.cpus().len() {
            kernel.each_of_cpu(cpu, |_| Ok::<_, Error>(())).unwrap();
        }
    }

    proptest! {
        #[test]
        fn any_pages_are_survived(cpus in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..700), 0..3)) {
            read_all(&kernel(cpus));
        }

        #[test]
        fn any_changed_byte_is_survived(at in 0usize..2 * PAGE, value: u8) {
            let mut bytes = [
                page(100, 0, &[(0, entry(7, 1, 0)), (5, entry(8, 2, 0)), (5, hello(7, 3))]),
                page(300, 9, &[(0, entry(7, 6, 0)), (1, entry(0, 7, 0))]),
            ]
            .concat();
            bytes[at] = value;
            read_all(&kernel(vec![bytes]));
        }
    }
}
