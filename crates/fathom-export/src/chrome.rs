//! The trace event format that chrome://tracing and Perfetto read (source: "Trace Event Format", the
//! JSON object form, duration events `B` and `E`).

use crate::buffer::Buffer;
use crate::escape;
use crate::{Error, Summary};
use fathom_analysis::{CallStack, Callee, End, Frame, Origin, Visitor};
use fathom_store::{
    Event, EventOptions, FunctionKind, Kind, Merge, MergedBatch, Resolver, Task, Trace, event_id,
};
use fathom_view::Values;
use std::io::Write;
use std::rc::Rc;

/// How to write it.
#[derive(Clone, Debug)]
pub struct ChromeOptions {
    /// Which events besides calls are wanted.
    pub events: EventOptions,
    /// False leaves out calls of library functions.
    pub libcalls: bool,
    /// False leaves out arguments and return values.
    pub args: bool,
    /// Also say where each function is declared.
    pub srcline: bool,
    /// Version line of the program, e.g. `fathom v0.1.0 ( x86_64 )`.
    pub version: String,
    /// When the recording was made, as ctime(3) has it.
    pub recorded: Option<String>,
}

/// One task: its calls, and the fixed part of its lines.
struct Lane<'a> {
    stack: CallStack<'a>,
    /// Names what values point to.
    resolver: Box<dyn Resolver + 'a>,
    /// `"pid":1` or `"pid":1,"tid":2`.
    ids: String,
    tid: i32,
    leader: bool,
}

/// Writes `trace` to `out`.
///
/// # Errors
///
/// When a task's events can't be read or `out` can't be written.
pub fn chrome<W: Write>(trace: &dyn Trace, options: &ChromeOptions, out: &mut W) -> Result<Summary, Error> {
    let mut writer = Writer {
        trace,
        libcalls: options.libcalls,
        srcline: options.srcline,
        outside: options.events.outside,
        names: Vec::new(),
        values: options.args.then(|| Values::for_machines(trace)),
        out: Buffer::new(out),
        utc_ns: trace.info().utc_offset.unwrap_or(0).saturating_mul(1_000_000_000),
        first: true,
        summary: Summary::default(),
    };
    let lane = |task: &Task| Lane::new(trace, task, options.events.outside);
    let mut lanes: Vec<Lane<'_>> = trace.tasks().iter().map(lane).collect();
    writer.out.text("{\"traceEvents\":[\n");
    for task in trace.tasks() {
        writer.head(task);
        writer.out.spill()?;
    }
    let mut merge = Merge::new(trace, options.events, |_| true)?;
    let mut batch = MergedBatch::default();
    while merge.next_batch(&mut batch)? {
        for (task, event) in &batch.events {
            if let Some(lane) = lanes.get_mut(*task as usize) {
                writer.event(lane, event, batch.payload(event));
            }
            writer.out.spill()?;
        }
    }
    for lane in &mut lanes {
        lane.stack.finish(&mut Pen { writer: &mut writer, ids: &lane.ids, values: None });
        writer.out.spill()?;
    }
    writer.foot(trace, options);
    let summary = writer.summary;
    writer.out.flush()?;
    Ok(summary)
}

impl<'a> Lane<'a> {
    fn new(trace: &'a dyn Trace, task: &Task, outside: bool) -> Lane<'a> {
        let leader = task.tid == task.pid;
        let ids = if leader {
            format!("\"pid\":{}", task.pid)
        } else {
            format!("\"pid\":{},\"tid\":{}", task.pid, task.tid)
        };
        let stack = CallStack::new(trace, trace.resolver(task.tid)).with_outside(outside);
        Lane { stack, resolver: trace.resolver(task.tid), ids, tid: task.tid, leader }
    }
}

/// A function as it is written.
#[derive(Clone)]
struct Name {
    /// Escaped.
    text: Rc<[u8]>,
    hidden: bool,
    /// Where it is declared, escaped; empty if that is not known or not wanted.
    source: Rc<[u8]>,
}

struct Writer<'a, 'o, W: Write> {
    trace: &'a dyn Trace,
    libcalls: bool,
    srcline: bool,
    /// What a task does outside of functions is shown, too.
    outside: bool,
    /// By [`Callee::index`].
    names: Vec<Option<Name>>,
    values: Option<Values<'a>>,
    out: Buffer<'o, W>,
    utc_ns: i64,
    first: bool,
    summary: Summary,
}

impl<W: Write> Writer<'_, '_, W> {
    /// Ends the line before; the comma belongs to the line that follows.
    fn next_line(&mut self) {
        if !self.first {
            self.out.text(",\n");
        }
        self.first = false;
    }

    fn head(&mut self, task: &Task) {
        for what in ["process_name", "thread_name"] {
            self.name_line(what, &format!("\"pid\":{}", task.tid), task.tid, &task.comm);
        }
    }

    fn name_line(&mut self, what: &str, ids: &str, tid: i32, name: &str) {
        self.next_line();
        let out = &mut self.out;
        write!(out, "{{\"ts\":0,\"ph\":\"M\",{ids},\"name\":\"{what}\",\"args\":{{\"name\":\"[{tid}] ");
        out.bytes(&escape::json_text(name));
        out.text("\"}}");
    }

    fn event(&mut self, lane: &mut Lane<'_>, event: &Event, payload: &[u8]) {
        self.summary.lost += u64::from(event.kind == Kind::Lost);
        let named = event.kind == Kind::Event && event.addr == event_id::TASK_NAME;
        // What a task does before and after its calls is not part of any.
        if named && (!lane.stack.frames().is_empty() || self.outside) {
            let name = String::from_utf8_lossy(payload);
            if lane.leader {
                self.name_line("process_name", &lane.ids, lane.tid, &name);
            }
            self.name_line("thread_name", &lane.ids, lane.tid, &name);
        }
        let inside = !lane.stack.frames().is_empty() || self.outside;
        if event.kind == Kind::Event && event_id::is_kernel(event.addr) && inside {
            self.instant(&lane.ids, event, payload);
        }
        let values = if event.data_len == 0 || !matches!(event.kind, Kind::Entry | Kind::Exit) {
            None
        } else {
            let callee = Callee::from(lane.resolver.resolve(event.time, event.addr));
            let values = self.values.as_mut();
            values.and_then(|values| values.text(callee, event, payload, lane.resolver.as_mut()))
        };
        let values = values.map(|text| (event.kind, text));
        lane.stack.feed(event, &mut Pen { writer: self, ids: &lane.ids, values });
    }

    /// An event of the kernel, which has no duration.
    fn instant(&mut self, ids: &str, event: &Event, payload: &[u8]) {
        let name = self.trace.event_name(event.addr).unwrap_or_else(|| format!("event:{}", event.addr));
        self.next_line();
        let time = event.time.saturating_add_signed(self.utc_ns);
        let out = &mut self.out;
        out.text("{\"ts\":");
        out.number(time / 1000);
        out.text(".");
        out.padded(time % 1000, 3);
        write!(out, ",\"ph\":\"i\",\"s\":\"t\",{ids},\"name\":\"");
        out.bytes(&escape::json_text(&name));
        out.text("\",\"args\":{\"text\":\"");
        out.bytes(&escape::json_text(&String::from_utf8_lossy(payload)));
        out.text("\"}}");
    }

    fn name(&mut self, callee: Callee) -> Name {
        let index = callee.index();
        if let Some(Some(name)) = self.names.get(index) {
            return name.clone();
        }
        let library = callee.function().is_some_and(|id| self.trace.function(id).kind == FunctionKind::Plt);
        // Whether it waits or was made to wait is no difference to the line.
        let shown = if callee == Callee::PREEMPTED { Callee::SCHEDULE } else { callee };
        let text = escape::json_text(&shown.name(self.trace)).into();
        let line = callee.function().filter(|_| self.srcline).and_then(|id| self.trace.line_of(id));
        let source = line.map_or_else(Vec::new, |at| escape::json_text(&format!("{}:{}", at.file, at.line)));
        let name = Name { text, hidden: library && !self.libcalls, source: source.into() };
        if callee != Callee::UNKNOWN {
            if self.names.len() <= index {
                self.names.resize(index + 1, None);
            }
            if let Some(slot) = self.names.get_mut(index) {
                *slot = Some(name.clone());
            }
        }
        name
    }

    fn line(&mut self, ids: &str, time: u64, phase: &str, callee: Callee, values: Option<&str>) {
        let name = self.name(callee);
        if name.hidden {
            return;
        }
        self.next_line();
        let out = &mut self.out;
        // A clock offset that leads out of the range belongs to a broken file.
        let time = time.saturating_add_signed(self.utc_ns);
        out.text("{\"ts\":");
        out.number(time / 1000);
        out.text(".");
        out.padded(time % 1000, 3);
        out.text(",\"ph\":\"");
        out.text(phase);
        out.text("\",");
        out.text(ids);
        out.text(",\"name\":\"");
        out.bytes(&name.text);
        out.text("\"");
        let mut before = ",\"args\":{";
        if !name.source.is_empty() {
            out.text(before);
            out.text("\"srcline\":\"");
            out.bytes(&name.source);
            out.text("\"");
            before = ",";
        }
        if let Some(values) = values {
            out.text(before);
            out.text(if phase == "B" { "\"arguments\":\"(" } else { "\"retval\":\"" });
            out.bytes(&escape::json_text(values));
            out.text(if phase == "B" { ")\"" } else { "\"" });
        }
        out.text(if name.source.is_empty() && values.is_none() { "}" } else { "}}" });
    }

    fn foot(&mut self, trace: &dyn Trace, options: &ChromeOptions) {
        let out = &mut self.out;
        out.text("\n], \"displayTimeUnit\": \"ns\", \"metadata\": {\n\"version\":\"");
        out.bytes(&escape::json_text(&options.version));
        out.text("\"");
        // The file has the quotes of the command line escaped already.
        let cmdline = trace.info().cmdline.as_ref().map(|line| line.replace("\\\"", "\""));
        let items = [("recorded_time", &options.recorded), ("command_line", &cmdline)];
        for (key, value) in items {
            if let Some(value) = value {
                write!(out, ",\n\"{key}\":\"");
                out.bytes(&escape::json_text(value));
                out.text("\"");
            }
        }
        out.text("\n} }\n");
    }
}

/// Writes the calls of one task.
struct Pen<'p, 'a, 'o, W: Write> {
    writer: &'p mut Writer<'a, 'o, W>,
    ids: &'p str,
    /// Those of the record that is being handled, for the call that it begins or ends.
    values: Option<(Kind, String)>,
}

impl<W: Write> Visitor for Pen<'_, '_, '_, W> {
    fn enter(&mut self, outer: &[Frame], frame: &Frame) -> u32 {
        // Off the processor in a call that is not shown, outside of all that are.
        if frame.callee.is_schedule() && outer.iter().all(|frame| self.writer.name(frame.callee).hidden) {
            return HIDDEN;
        }
        let values = self.values.take_if(|(kind, _)| *kind == Kind::Entry).map(|(_, text)| text);
        self.writer.line(self.ids, frame.start, "B", frame.callee, values.as_deref());
        0
    }

    fn leave(&mut self, outer: &[Frame], frame: &Frame, end: u64, how: End) {
        // The end of a call whose beginning is not in the recording would end the call around it instead.
        let alone = || outer.iter().all(|frame| frame.origin == Origin::Assumed);
        let paired = frame.origin != Origin::Assumed || how == End::Returned && alone();
        if paired && frame.tag != HIDDEN {
            let returned = how == End::Returned;
            let values =
                self.values.take_if(|(kind, _)| *kind == Kind::Exit && returned).map(|(_, text)| text);
            self.writer.line(self.ids, end, "E", frame.callee, values.as_deref());
        }
    }
}

/// Tag of a frame that was not written.
const HIDDEN: u32 = 1;
