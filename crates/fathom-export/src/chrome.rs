//! The trace event format that chrome://tracing and Perfetto read (source: "Trace Event Format", the
//! JSON object form, duration events `B` and `E`).

use crate::buffer::Buffer;
use crate::escape;
use crate::merge::{Item, merged};
use crate::names::{Name, Names};
use crate::{Error, Summary};
use fathom_store::{Event, EventOptions, Kind, Task, Trace, event_id};
use std::io::Write;

/// How to write it.
#[derive(Clone, Debug)]
pub struct ChromeOptions {
    /// Which events besides calls are wanted.
    pub events: EventOptions,
    /// False leaves out calls of library functions.
    pub libcalls: bool,
    /// Version line of the program, e.g. `fathom v0.1.0 ( x86_64 )`.
    pub version: String,
    /// When the recording was made, as ctime(3) has it.
    pub recorded: Option<String>,
}

/// A task's open frames and the fixed part of its lines.
struct Lane {
    /// `"pid":1` or `"pid":1,"tid":2`.
    ids: String,
    tid: i32,
    stack: Vec<Open>,
    /// Time of its last event, ns.
    time: u64,
}

struct Open {
    addr: u64,
    name: Name,
}

/// Stands for the address of a schedule frame; no code address is as large.
const SCHEDULE: u64 = u64::MAX;

/// Writes `trace` to `out`.
///
/// # Errors
///
/// When a task's events can't be read or `out` can't be written.
pub fn chrome<W: Write>(trace: &dyn Trace, options: &ChromeOptions, out: &mut W) -> Result<Summary, Error> {
    let mut writer = Writer {
        names: Names::new(trace, options.libcalls, escape::json_text),
        out: Buffer::new(out),
        utc_ns: trace.info().utc_offset.unwrap_or(0).saturating_mul(1_000_000_000),
        first: true,
        summary: Summary::default(),
    };
    let mut lanes: Vec<Lane> = trace.tasks().iter().map(Lane::new).collect();
    writer.out.text("{\"traceEvents\":[\n");
    for task in trace.tasks() {
        writer.head(task)?;
    }
    merged(trace, options.events, |item| match lanes.get_mut(item.task) {
        Some(lane) => writer.item(lane, item),
        None => Ok(()),
    })?;
    for lane in &mut lanes {
        writer.close(lane)?;
    }
    writer.foot(trace, options);
    let summary = writer.summary;
    writer.out.flush()?;
    Ok(summary)
}

impl Lane {
    fn new(task: &Task) -> Lane {
        let ids = if task.tid == task.pid {
            format!("\"pid\":{}", task.pid)
        } else {
            format!("\"pid\":{},\"tid\":{}", task.pid, task.tid)
        };
        Lane { ids, tid: task.tid, stack: Vec::new(), time: 0 }
    }
}

struct Writer<'a, 'o, W: Write> {
    names: Names<'a>,
    out: Buffer<'o, W>,
    utc_ns: i64,
    first: bool,
    summary: Summary,
}

impl<W: Write> Writer<'_, '_, W> {
    /// Ends the line before; the comma belongs to the line that follows.
    fn next_line(&mut self) -> Result<(), Error> {
        if !self.first {
            self.out.text(",\n");
        }
        self.first = false;
        self.out.spill()?;
        Ok(())
    }

    fn head(&mut self, task: &Task) -> Result<(), Error> {
        for what in ["process_name", "thread_name"] {
            self.name_line(what, &format!("\"pid\":{}", task.tid), task.tid, &task.comm)?;
        }
        Ok(())
    }

    fn name_line(&mut self, what: &str, ids: &str, tid: i32, name: &str) -> Result<(), Error> {
        self.next_line()?;
        let out = &mut self.out;
        write!(out, "{{\"ts\":0,\"ph\":\"M\",{ids},\"name\":\"{what}\",\"args\":{{\"name\":\"[{tid}] ");
        out.bytes(&escape::json_text(name));
        out.text("\"}}");
        Ok(())
    }

    fn item(&mut self, lane: &mut Lane, item: Item<'_, '_>) -> Result<(), Error> {
        let event = *item.event;
        if event.kind != Kind::Lost {
            lane.time = event.time;
        }
        match event.kind {
            Kind::Entry => {
                let name = self.names.get(item.resolver.resolve(event.time, event.addr));
                if !name.hidden {
                    self.line(lane, event.time, b'B', &name)?;
                }
                lane.stack.push(Open { addr: event.addr, name });
                Ok(())
            }
            Kind::Exit => {
                let name = self.names.get(item.resolver.resolve(event.time, event.addr));
                self.leave(lane, &event, &name)
            }
            Kind::Event => self.event(lane, &event, item.payload),
            Kind::Lost => {
                self.summary.lost += 1;
                Ok(())
            }
        }
    }

    fn leave(&mut self, lane: &mut Lane, event: &Event, name: &Name) -> Result<(), Error> {
        // Frames above it that have no exit of their own (longjmp) end with it, so that lines stay paired.
        if let Some(at) = lane.stack.iter().rposition(|open| open.addr == event.addr) {
            while lane.stack.len() > at + 1 {
                self.pop(lane, event.time)?;
            }
            lane.stack.pop();
        }
        if name.hidden { Ok(()) } else { self.line(lane, event.time, b'E', name) }
    }

    fn pop(&mut self, lane: &mut Lane, time: u64) -> Result<(), Error> {
        match lane.stack.pop() {
            Some(open) if !open.name.hidden => self.line(lane, time, b'E', &open.name),
            _ => Ok(()),
        }
    }

    /// Scheduling and names of tasks, inside of calls that are shown; what a task does before and after its
    /// calls is not part of any.
    fn event(&mut self, lane: &mut Lane, event: &Event, payload: &[u8]) -> Result<(), Error> {
        let scheduled_out = lane.stack.last().is_some_and(|open| open.addr == SCHEDULE);
        match event.addr {
            event_id::SCHED_IN if scheduled_out => self.pop(lane, event.time),
            _ if lane.stack.iter().all(|open| open.name.hidden) => Ok(()),
            event_id::SCHED_OUT | event_id::SCHED_OUT_PREEMPTED if !scheduled_out => {
                let text = if event.addr == event_id::SCHED_OUT {
                    "linux:schedule"
                } else {
                    "linux:schedule (pre-empted)"
                };
                let name = Name { text: text.as_bytes().into(), hidden: false };
                self.line(lane, event.time, b'B', &name)?;
                lane.stack.push(Open { addr: SCHEDULE, name });
                Ok(())
            }
            event_id::TASK_NAME => {
                let name = String::from_utf8_lossy(payload);
                let ids = lane.ids.clone();
                if ids.contains("tid") {
                    self.name_line("thread_name", &ids, lane.tid, &name)
                } else {
                    self.name_line("process_name", &ids, lane.tid, &name)?;
                    self.name_line("thread_name", &ids, lane.tid, &name)
                }
            }
            _ => Ok(()),
        }
    }

    fn line(&mut self, lane: &Lane, time: u64, phase: u8, name: &Name) -> Result<(), Error> {
        self.next_line()?;
        let out = &mut self.out;
        // A clock offset that leads out of the range belongs to a broken file.
        let time = time.saturating_add_signed(self.utc_ns);
        out.text("{\"ts\":");
        out.number(time / 1000);
        out.text(".");
        out.padded(time % 1000, 3);
        out.text(",\"ph\":\"");
        out.bytes(&[phase]);
        out.text("\",");
        out.text(&lane.ids);
        out.text(",\"name\":\"");
        out.bytes(&name.text);
        out.text("\"}");
        Ok(())
    }

    /// Ends what is open at the end of the recording.
    fn close(&mut self, lane: &mut Lane) -> Result<(), Error> {
        let time = lane.time;
        while !lane.stack.is_empty() {
            self.pop(lane, time)?;
        }
        Ok(())
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
