//! The records as they are stored, task by task.

use crate::buffer::Buffer;
use crate::event_text::event_text;
use crate::names::Names;
use crate::{Error, Summary};
use fathom_store::{Batch, Class, Endian, Event, EventOptions, Features, Info, Kind, Task, Trace, event_id};
use std::io::Write;

/// How to write it.
#[derive(Clone, Debug)]
pub struct RawOptions {
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
pub fn raw<W: Write>(trace: &dyn Trace, options: &RawOptions, out: &mut W) -> Result<Summary, Error> {
    let mut writer = Writer {
        trace,
        options,
        names: Names::new(trace, options.libcalls, |name| name.as_bytes().to_vec()),
        out: Buffer::new(out),
        offset: 0,
        time: 0,
        summary: Summary::default(),
    };
    writer.header(trace.info());
    if options.bytes {
        writer.participants();
    }
    for task in trace.tasks() {
        writer.task(task)?;
    }
    writer.perf_events()?;
    let summary = writer.summary;
    writer.out.flush()?;
    Ok(summary)
}

struct Writer<'a, 'o, W: Write> {
    trace: &'a dyn Trace,
    options: &'a RawOptions,
    names: Names<'a>,
    out: Buffer<'o, W>,
    /// Where the next bytes are, counted over what is shown.
    offset: u64,
    /// Time of the record before.
    time: u64,
    summary: Summary,
}

/// Events that the kernel reported beside the task's own records.
fn is_perf(event: &Event) -> bool {
    event.kind == Kind::Event && (event_id::SCHED_IN..event_id::USER).contains(&event.addr)
}

impl<W: Write> Writer<'_, '_, W> {
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
        let mut events = self.trace.events(task.tid, self.options.events)?;
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
                        let name = self.names.get(resolver.resolve(event.time, event.addr));
                        if !name.hidden {
                            self.call(task.tid, event, &name.text, payload);
                        }
                    }
                    Kind::Event => self.event(task.tid, event, payload),
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

    fn call(&mut self, tid: i32, event: &Event, name: &[u8], payload: &[u8]) {
        let entry = event.kind == Kind::Entry;
        self.start(tid, event, if entry { "entry" } else { "exit " });
        self.out.bytes(name);
        self.out.text("(");
        self.out.hex(event.addr, 0);
        self.out.text(") depth: ");
        self.out.number(event.depth);
        self.out.text("\n");
        self.record_bytes(event);
        if event.data_len == 0 || !self.options.args {
            return;
        }
        self.start(tid, event, if entry { "args " } else { "retval" });
        writeln!(self.out, "length = {}", payload.len());
        self.bytes(payload);
    }

    fn event(&mut self, tid: i32, event: &Event, payload: &[u8]) {
        self.start(tid, event, "event");
        let name = self.trace.event_name(event.addr).unwrap_or_else(|| format!("event:{}", event.addr));
        writeln!(self.out, "{name}({:x}) depth: {}", event.addr, event.depth);
        self.record_bytes(event);
        if event.data_len == 0 {
            return;
        }
        self.start(tid, event, "data ");
        writeln!(self.out, "length = {}", payload.len());
        let text = event_text(self.trace.info(), event.addr, payload);
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

    /// The kernel's events of all tasks. They are stored by processor; which one it was is not told here.
    fn perf_events(&mut self) -> Result<(), Error> {
        if !self.options.events.events || !self.trace.info().features.has(Features::PERF_EVENT) {
            return Ok(());
        }
        let mut first = true;
        for task in self.trace.tasks() {
            let mut events = self.trace.events(task.tid, self.options.events)?;
            let mut batch = Batch::default();
            while events.next_batch(&mut batch)? {
                for event in batch.events.iter().filter(|event| is_perf(event)) {
                    if first {
                        self.out.text("\n");
                    }
                    first = false;
                    self.time = 0;
                    self.start(task.tid, event, "event");
                    let name = event_id::name(event.addr).unwrap_or_default();
                    writeln!(self.out, "{name}({})", event.addr);
                    self.out.spill()?;
                }
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
