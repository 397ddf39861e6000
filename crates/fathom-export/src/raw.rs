//! The records as they are stored, task by task.

use crate::arg_text::Values;
use crate::buffer::Buffer;
use crate::event_text::event_text;
use crate::names::Names;
use crate::{Error, Summary};
use fathom_store::directory::PerfReader;
use fathom_store::kernel::{CpuRecord, Kernel, Subject};
use fathom_store::{
    Batch, Class, Endian, Event, EventOptions, Features, FunctionId, Info, KernelRecords, Kind, Resolver,
    Task, Trace, args, event_id, record,
};
use fathom_view::place_text;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::PathBuf;

/// How to write it.
#[derive(Clone, Debug)]
pub struct RawOptions<'a> {
    /// Which events besides calls are wanted.
    pub events: EventOptions,
    /// False leaves out calls of library functions.
    pub libcalls: bool,
    /// False leaves out arguments and return values.
    pub args: bool,
    /// Also show the bytes of each record, and who took part (`-v`).
    pub bytes: bool,
    /// Mark bytes and trouble by colour.
    pub color: bool,
    /// The tasks have files of their own. They have none in a recording of the kernel alone.
    pub task_files: bool,
    /// What the kernel's tracer recorded, CPU by CPU; shown behind the tasks' records.
    pub kernel: Option<&'a Kernel>,
    /// Files of the kernel's events, one for each processor, which are shown after the tasks' records.
    pub processors: Vec<PathBuf>,
    /// From when to when events of these files are shown, ns.
    pub span: (u64, u64),
}

const FEATURES: [&str; 14] = [
    "PLTHOOK",
    "TASK_SESSION",
    "KERNEL",
    "ARGUMENT",
    "RETVAL",
    "SYM_REL_ADDR",
    "MAX_STACK",
    "EVENT",
    "PERF_EVENT",
    "AUTO_ARGS",
    "DEBUG_INFO",
    "ESTIMATE_RETURN",
    "SYM_SIZE",
    "CALLSITE",
];

const ITEMS: [&str; 16] = [
    "EXE_NAME",
    "EXE_BUILD_ID",
    "EXIT_STATUS",
    "CMDLINE",
    "CPUINFO",
    "MEMINFO",
    "OSINFO",
    "TASKINFO",
    "USAGEINFO",
    "LOADINFO",
    "ARG_SPEC",
    "RECORD_DATE",
    "PATTERN_TYPE",
    "VERSION",
    "UTC_OFFSET",
    "SYSCTL",
];

const RED: &str = "\x1b[91m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// Writes `trace` to `out`.
///
/// # Errors
///
/// When a task's events can't be read or `out` can't be written.
pub fn raw<W: Write>(trace: &dyn Trace, options: &RawOptions<'_>, out: &mut W) -> Result<Summary, Error> {
    let mut writer = Writer {
        trace,
        options,
        names: Names::new(trace, options.libcalls),
        out: Buffer::new(out),
        offset: 0,
        time: 0,
        enums: None,
        summary: Summary::default(),
    };
    writer.header(trace.info());
    if options.bytes {
        writer.participants();
    }
    for task in trace.tasks().iter().filter(|_| options.task_files) {
        writer.task(task)?;
    }
    writer.kernel()?;
    writer.processors()?;
    let summary = writer.summary;
    writer.out.flush()?;
    Ok(summary)
}

struct Writer<'a, 'o, W: Write> {
    trace: &'a dyn Trace,
    options: &'a RawOptions<'a>,
    names: Names<'a>,
    out: Buffer<'o, W>,
    /// Where the next bytes are, counted over what is shown.
    offset: u64,
    /// Time of the record before.
    time: u64,
    enums: Option<fathom_view::Enums>,
    summary: Summary,
}

/// Events that the kernel reported beside the task's own records.
fn is_perf(event: &Event) -> bool {
    event.kind == Kind::Event && (event_id::SCHED_IN..event_id::USER).contains(&event.addr)
}

impl<'a, W: Write> Writer<'a, '_, W> {
    fn header(&mut self, info: &Info) {
        let line = |out: &mut Buffer<'_, W>, name: &str, value: String| {
            writeln!(out, "uftrace file header: {name:<13} = {value}");
        };
        let bytes = info.to_bytes();
        let head = bytes.get(..fathom_store::HEADER_SIZE).unwrap_or(&bytes);
        let magic: String = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let out = &mut self.out;
        line(out, "magic", magic);
        line(out, "version", info.version.to_string());
        line(out, "header size", fathom_store::HEADER_SIZE.to_string());
        line(
            out,
            "endian",
            match info.endian {
                Endian::Little => "1 (little)".to_owned(),
                Endian::Big => "2 (big)".to_owned(),
            },
        );
        line(
            out,
            "class",
            match info.class {
                Class::Bits32 => "1 (32 bit)".to_owned(),
                Class::Bits64 => "2 (64 bit)".to_owned(),
            },
        );
        line(out, "features", bits(info.features.0, &FEATURES));
        line(out, "info", bits(info.info_mask() | info.unknown_items, &ITEMS));
        self.bytes(head);
        self.out.text("\n");
    }

    fn participants(&mut self) {
        let trace = self.trace;
        let mut lines: Vec<(u64, u8, String)> = Vec::new();
        for session in trace.sessions() {
            let text = format!("session of task {}: {} ({})", session.pid, session.sid, session.exe);
            lines.push((session.start, 0, text));
        }
        for task in trace.tasks() {
            let text = match task.parent {
                Some(parent) if task.forked => format!("fork pid {} (ppid {parent})", task.tid),
                _ => format!("task tid {} (pid {})", task.tid, task.pid),
            };
            lines.push((task.start, 1, text));
        }
        lines.sort_by_key(|line| (line.0, line.1));
        writeln!(self.out, "{} tasks found", trace.tasks().len());
        for (time, _, text) in lines {
            stamp(&mut self.out, time);
            writeln!(self.out, "  {text}");
        }
        self.out.text("\n");
    }

    fn task(&mut self, task: &Task) -> Result<(), Error> {
        writeln!(self.out, "reading {}.dat", task.tid);
        self.offset = 0;
        self.time = 0;
        let own = EventOptions { kernel: KernelRecords::None, ..self.options.events };
        let mut events = self.trace.events(task.tid, own)?;
        let mut resolver = self.trace.resolver(task.tid);
        let mut batch = Batch::default();
        while events.next_batch(&mut batch)? {
            for event in &batch.events {
                if is_perf(event) {
                    continue;
                }
                let payload = batch.payload(event);
                match event.kind {
                    Kind::Entry | Kind::Exit => {
                        let id = resolver.resolve(event.time, event.addr);
                        let name = self.names.get(id);
                        if !name.hidden {
                            self.call(task.tid, event, &name.text);
                            if event.data_len != 0 && self.options.args {
                                self.values(task.tid, event, id, payload, &mut resolver);
                            }
                        }
                    }
                    Kind::Event => self.event(task.tid, event, payload, resolver.as_mut()),
                    Kind::Lost => self.lost(task.tid, event),
                }
                self.out.spill()?;
            }
        }
        Ok(())
    }

    fn start(&mut self, tid: i32, event: &Event, kind: &str) {
        if event.time < self.time {
            self.inverted();
        }
        self.time = event.time;
        stamp(&mut self.out, event.time);
        self.out.text("  ");
        self.out.aligned(tid, 5);
        self.out.text(": [");
        self.out.text(kind);
        self.out.text("] ");
    }

    /// Time went backwards: the file is broken, or the machine's clock is.
    fn inverted(&mut self) {
        let (red, plain) = if self.options.color { (RED, PLAIN) } else { ("", "") };
        let stars = "*".repeat(37);
        writeln!(self.out, "{red}\n{stars}\n* inverted time - data seems broken *\n{stars}\n{plain}");
    }

    fn call(&mut self, tid: i32, event: &Event, name: &str) {
        let entry = event.kind == Kind::Entry;
        self.start(tid, event, if entry { "entry" } else { "exit " });
        self.out.text(name);
        self.out.text("(");
        self.out.hex(event.addr & record::ADDR, 0);
        self.out.text(") depth: ");
        self.out.number(event.depth);
        self.out.text("\n");
        self.record_bytes(event);
    }

    /// Arguments or the return value.
    fn values(
        &mut self,
        tid: i32,
        event: &Event,
        id: FunctionId,
        payload: &[u8],
        resolver: &mut Box<dyn Resolver + 'a>,
    ) {
        let entry = event.kind == Kind::Entry;
        self.start(tid, event, if entry { "args " } else { "retval" });
        writeln!(self.out, "length = {}", payload.len());
        let specs = self.trace.arg_specs(id);
        let mut texts = Values { trace: self.trace, resolver, time: event.time, enums: &mut self.enums };
        for (at, value) in args::values(&specs, event.kind, payload, self.trace.info().endian).enumerate() {
            let text = texts.text(&value);
            if entry {
                writeln!(self.out, "  args[{at}] {text}");
            } else {
                writeln!(self.out, "  retval {text}");
            }
        }
        // Payloads are padded to 8 bytes, by whatever was there; here by zeros.
        let mut padded = payload.to_vec();
        padded.resize(payload.len().next_multiple_of(8), 0);
        self.bytes(&padded);
    }

    fn event(&mut self, tid: i32, event: &Event, payload: &[u8], resolver: &mut (dyn Resolver + 'a)) {
        self.start(tid, event, "event");
        let name = self.trace.event_name(event.addr).unwrap_or_else(|| format!("event:{}", event.addr));
        writeln!(self.out, "{name}({:x}) depth: {}", event.addr, event.depth);
        self.record_bytes(event);
        if event.data_len == 0 {
            return;
        }
        self.start(tid, event, "data ");
        writeln!(self.out, "length = {}", payload.len());
        let place = place_text(self.trace, resolver, event.addr, event.time, payload);
        let text = place.unwrap_or_else(|| event_text(self.trace.info(), event.addr, payload));
        if text.is_empty() {
            writeln!(self.out, "  {name}");
        } else {
            writeln!(self.out, "  {name}: {text}");
        }
        self.bytes(payload);
    }

    fn lost(&mut self, tid: i32, event: &Event) {
        self.summary.lost += 1;
        let event = Event { time: self.time.max(event.time), ..*event };
        self.start(tid, &event, "lost ");
        let (red, plain) = if self.options.color { (RED, PLAIN) } else { ("", "") };
        writeln!(self.out, "{red}{} records{plain}", event.addr);
        self.record_bytes(&event);
    }

    /// What the kernel's tracer recorded, CPU by CPU, of whatever tasks.
    fn kernel(&mut self) -> Result<(), Error> {
        let Some(kernel) = self.options.kernel else { return Ok(()) };
        let Some(task) = self.trace.tasks().first() else { return Ok(()) };
        // All address spaces have the same kernel.
        let mut resolver = self.trace.resolver(task.tid);
        let (from, to) = self.options.span;
        for (at, pages) in kernel.cpus().iter().enumerate() {
            self.out.text(if at == 0 && self.options.task_files { "\n" } else { "" });
            writeln!(self.out, "reading kernel-cpu{}.dat", pages.cpu);
            self.time = 0;
            kernel.each_of_cpu(at, |record| {
                if (from..=to).contains(&record.time) {
                    self.kernel_record(kernel, &record, resolver.as_mut());
                    self.out.spill()?;
                }
                Ok::<_, Error>(())
            })?;
        }
        Ok(())
    }

    fn kernel_record(&mut self, kernel: &Kernel, record: &CpuRecord<'_>, resolver: &mut (dyn Resolver + 'a)) {
        let mut event = Event {
            time: record.time,
            addr: 0,
            data_start: 0,
            data_len: 0,
            depth: 0,
            kind: Kind::Event,
            inherited: false,
        };
        if let Some(count) = record.missed {
            self.summary.lost += 1;
            self.start(record.tid, &event, "lost ");
            let (red, plain) = if self.options.color { (RED, PLAIN) } else { ("", "") };
            writeln!(self.out, "{red}{count} events{plain}");
        }
        let (kind, addr, depth) = match record.subject() {
            Subject::Entry(addr, depth) => (Kind::Entry, addr, depth),
            Subject::Exit(addr, depth) => (Kind::Exit, addr, depth),
            Subject::Called(addr) => (Kind::Entry, addr, 0),
            Subject::Event(id) if self.options.events.events => {
                self.start(record.tid, &event, "event");
                let name = self.trace.event_name(id.into()).unwrap_or_else(|| format!("event:{id}"));
                let mut text = Vec::new();
                kernel.event_text(id, record.data, &mut text);
                writeln!(self.out, "{name}({id}) {}", String::from_utf8_lossy(&text));
                return self.bytes(record.data);
            }
            Subject::Event(_) | Subject::Damaged => return,
        };
        (event.kind, event.addr, event.depth) = (kind, addr, depth);
        let id = resolver.resolve(record.time, addr);
        let name = self.names.get(id).text.clone();
        self.call(record.tid, &event, &name);
    }

    /// The kernel's events, processor by processor. Those of other tasks are not part of the recording.
    fn processors(&mut self) -> Result<(), Error> {
        let info = self.trace.info();
        if !self.options.events.events || !info.features.has(Features::PERF_EVENT) {
            return Ok(());
        }
        for (at, path) in self.options.processors.iter().enumerate() {
            let Ok(file) = File::open(path) else { continue };
            let mut reader = PerfReader::new(BufReader::new(file), info.endian);
            let mut heading = Some(path);
            self.time = 0;
            // A damaged file ends where the damage is; the trace has a warning about it.
            while let Ok(Some(event)) = reader.next_event(path) {
                let known = self.trace.tasks().binary_search_by_key(&event.tid, |task| task.tid).is_ok();
                let (from, to) = self.options.span;
                let now = (from..=to).contains(&event.time);
                if !known || !now || (!self.options.events.sched && event_id::is_sched(event.id)) {
                    continue;
                }
                if let Some(path) = heading.take() {
                    self.out.text(if at == 0 { "\n" } else { "" });
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    writeln!(self.out, "reading {name}");
                }
                let record = Event {
                    time: event.time,
                    addr: event.id,
                    data_start: 0,
                    data_len: 0,
                    depth: 0,
                    kind: Kind::Event,
                    inherited: false,
                };
                self.start(event.tid, &record, "event");
                let name = event_id::name(event.id).unwrap_or_default();
                writeln!(self.out, "{name}({})", event.id);
                self.out.spill()?;
            }
        }
        Ok(())
    }

    /// The 16 bytes of a record, from what they mean.
    fn record_bytes(&mut self, event: &Event) {
        if !self.options.bytes {
            return;
        }
        const MAGIC: u64 = 5;
        let kind = match event.kind {
            Kind::Entry => 0,
            Kind::Exit => 1,
            Kind::Lost => 2,
            Kind::Event => 3,
        };
        let more = u64::from(event.data_len != 0);
        let word = kind | more << 2 | MAGIC << 3 | u64::from(event.depth & 0x3ff) << 6 | event.addr << 16;
        let words = [event.time, word].map(|word| match self.trace.info().endian {
            Endian::Little => word.to_le_bytes(),
            Endian::Big => word.to_be_bytes(),
        });
        self.bytes(words.as_flattened());
    }

    /// A hex dump, 16 bytes a line.
    fn bytes(&mut self, bytes: &[u8]) {
        if !self.options.bytes {
            return;
        }
        let (green, plain) = if self.options.color { (GREEN, PLAIN) } else { ("", "") };
        for line in bytes.chunks(16) {
            self.out.text(green);
            self.out.text(" <");
            self.out.hex(self.offset, 16);
            self.out.text(">:");
            for (at, byte) in line.iter().enumerate() {
                self.out.text(if at == 8 { "  " } else { " " });
                self.out.hex(u64::from(*byte), 2);
            }
            self.out.text(plain);
            self.out.text("\n");
            self.offset += line.len() as u64;
        }
    }
}

/// `seconds.nanoseconds`.
fn stamp<W: Write>(out: &mut Buffer<'_, W>, time: u64) {
    out.number(time / 1_000_000_000);
    out.text(".");
    out.padded(time % 1_000_000_000, 9);
}

/// `0x5 (A | C)`: bits that have no name are in the number only.
fn bits(mask: u64, names: &[&str]) -> String {
    let set: Vec<&str> =
        names.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, name)| *name).collect();
    format!("{mask:#x} ({})", set.join(" | "))
}
