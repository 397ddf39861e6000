//! Lines of a replay.

use super::Colors;
use super::event_text::event_text;
use super::names::Names;
use super::task::{Callsite, Shown, TaskReplay};
use crate::color::{Color, Paint};
use crate::error::Error;
use crate::fields::{Field, header, select};
use crate::options::{RangeField, ReplayOptions};
use crate::places::{caller_text, place_text};
use crate::source;
use crate::units::{blanks, hex_in, number, right, time, timestamp};
use crate::values::Values;
use fathom_analysis::{Callee, Role};
use fathom_store::{Event, External, Kind, Trace, event_id, record};

/// Columns before the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Duration,
    Tid,
    Addr,
    Time,
    Delta,
    Elapsed,
    Task,
    Module,
}

const fn field(name: &'static str, header: &'static str, kind: Column) -> Field<Column> {
    Field { name, alias: "", header, newer: false, kind }
}

/// As wide as [`crate::layout::LAYOUT`] says.
const TID_HEADER: &str = if crate::layout::LAYOUT.tid_width == 6 { "   TID  " } else { "   TID   " };

static FIELDS: [Field<Column>; 8] = [
    field("duration", " DURATION ", Column::Duration),
    field("tid", TID_HEADER, Column::Tid),
    field("addr", "   ADDRESS  ", Column::Addr),
    field("time", "     TIMESTAMP    ", Column::Time),
    field("delta", " TIMEDELTA", Column::Delta),
    field("elapsed", "  ELAPSED ", Column::Elapsed),
    field("task", "      TASK NAME", Column::Task),
    field("module", "     MODULE NAME", Column::Module),
];

/// Levels that are indented for; deeper calls stand below each other. The size of a replay would otherwise grow with the
/// square of the depth: 100,000 levels of recursion are 20 GB of blanks. The peer records no deeper than this.
const DEEPEST: usize = 1024;

/// ns that a callsite is before the entry of its call, at most: the call itself may be one that is not shown.
const CALLSITE_AHEAD: u64 = 8;

/// What the columns of a line show.
#[derive(Clone, Copy)]
struct Cells {
    /// ns; blank when 0.
    duration: u64,
    time: u64,
    addr: Option<u64>,
    callee: Option<Callee>,
}

/// Writes lines into a buffer.
pub(super) struct Lines<'t> {
    pub(super) out: Vec<u8>,
    pub(super) merge: bool,
    pub(super) flat: bool,
    trace: &'t dyn Trace,
    fields: Vec<&'static Field<Column>>,
    /// Whether the columns are the usual two, which have a shorter way.
    usual: bool,
    paint: Paint,
    comment: bool,
    callsite: bool,
    column_offset: Option<u32>,
    columns: usize,
    task_newline: bool,
    names: Names<'t>,
    srcline: bool,
    /// The task of the line before.
    previous: Option<usize>,
    /// Time of the first event of the trace, shown or not.
    pub(super) begin: u64,
    /// Number of the line in the flat layout.
    count: u64,
    values: Values<'t>,
    /// Arguments of the call that is about to be printed.
    arguments: Option<String>,
    /// Text of the event that is about to be printed.
    text: Option<String>,
    /// What stands in the place of a duration, as wide as one.
    mark: Option<&'static [u8]>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(
        trace: &'t dyn Trace,
        options: &ReplayOptions,
        colors: Colors<'t>,
    ) -> Result<Self, Error> {
        let default = |c| matches!(c, Column::Duration | Column::Tid);
        let mut fields = select(&FIELDS, options.fields.as_deref(), default)?;
        let kept = options.fields.as_ref().is_none_or(|list| list.starts_with('+'));
        if let Some(range) = options.range.filter(|_| kept) {
            let wanted = match range {
                RangeField::Elapsed => Column::Elapsed,
                RangeField::Time => Column::Time,
            };
            let field = FIELDS.iter().filter(|field| field.kind == wanted);
            // In front, unless the user has put others together.
            let place = if options.fields.is_none() { 0 } else { fields.len() };
            fields.retain(|field| field.kind != wanted);
            fields.splice(place.min(fields.len())..place.min(fields.len()), field);
        }
        let usual = fields.iter().map(|f| f.kind).eq([Column::Duration, Column::Tid]);
        Ok(Lines {
            out: Vec::with_capacity(super::CHUNK + 4096),
            merge: options.merge,
            flat: options.flat,
            trace,
            usual,
            fields,
            paint: Paint::of(options.output),
            comment: options.comment,
            callsite: options.callsite && options.comment,
            column_offset: options.column_offset,
            columns: 0,
            task_newline: options.task_newline,
            names: Names::new(trace, options, colors),
            srcline: options.srcline,
            previous: None,
            begin: 0,
            count: 0,
            values: Values::new(trace, Paint::of(options.output)),
            arguments: None,
            text: None,
            mark: None,
        })
    }

    pub(super) fn header(&mut self) {
        match self.flat {
            true => self.out.push(b'\n'),
            false => {
                let title = source::title("FUNCTION", "SOURCE", self.srcline, self.paint);
                header(&mut self.out, &self.fields, 1, &title);
            }
        }
    }

    /// Whether the innermost call is of a function that must not be merged: it may not come back the usual way.
    #[inline]
    pub(super) fn never_merged(&self, task: &mut TaskReplay) -> bool {
        let callee = task.top_callee();
        matches!(task.role(callee), Role::Exec | Role::Longjmp)
    }

    /// Remembers the arguments of a call before its record is gone.
    #[inline]
    pub(super) fn keep_arguments(&mut self, task: &mut TaskReplay, event: &Event) {
        self.arguments =
            if event.data_len == 0 { None } else { self.values_of(task, event, task.top_callee()) };
    }

    #[cold]
    fn values_of(&mut self, task: &mut TaskReplay, event: &Event, callee: Callee) -> Option<String> {
        let resolver = task.values_resolver.get_or_insert_with(|| task.trace.resolver(task.tid));
        self.values.text(callee, event, task.batch.payload(event), resolver.as_mut())
    }

    /// The name of a function that is called, and the arguments.
    #[inline]
    fn call(&mut self, callee: Callee) {
        let name = self.names.get(callee);
        self.out.extend_from_slice(name.colored.as_ref().unwrap_or(&name.shown));
        match self.arguments.take() {
            None => self.out.extend_from_slice(name.brackets),
            Some(arguments) => {
                self.out.push(b'(');
                self.out.extend_from_slice(arguments.as_bytes());
                self.out.push(b')');
            }
        }
    }

    /// ` = VALUE`, if a return value was recorded.
    #[inline]
    fn return_value(&mut self, task: &mut TaskReplay, exit: &Event, callee: Callee) -> bool {
        if exit.data_len == 0 {
            return false;
        }
        let value = self.values_of(task, exit, callee);
        if let Some(value) = &value {
            self.out.extend_from_slice(b" = ");
            self.out.extend_from_slice(value.as_bytes());
        }
        value.is_some()
    }

    /// Remembers what an event says before its record is gone.
    pub(super) fn keep_event(&mut self, task: &mut TaskReplay, event: &Event) {
        let payload = task.batch.payload(event);
        self.text = match event.addr {
            event_id::WATCH_VARIABLE | event_id::CALLSITE => {
                let resolver = task.values_resolver.get_or_insert_with(|| task.trace.resolver(task.tid));
                place_text(self.trace, resolver.as_mut(), event.addr, event.time, payload)
            }
            id => event_text(id, payload, self.trace.info().endian),
        };
    }

    /// Remembers where the next call is made from.
    #[cold]
    pub(super) fn keep_callsite(&mut self, task: &mut TaskReplay, event: &Event) {
        if self.callsite {
            let resolver = task.values_resolver.get_or_insert_with(|| task.trace.resolver(task.tid));
            let text = caller_text(self.trace, resolver.as_mut(), event.time, task.batch.payload(event));
            task.callsite = text.map(|text| Callsite { time: event.time, text });
        }
    }

    pub(super) fn entry(&mut self, task: &mut TaskReplay, event: &Event) {
        let depth = task.depth().saturating_sub(1);
        let callee = task.top_callee();
        self.begin_line(task, Cells::of(event, 0, callee), depth);
        self.call(callee);
        self.out.extend_from_slice(b" {");
        self.end_call(task, event, callee);
    }

    pub(super) fn leaf(
        &mut self,
        task: &mut TaskReplay,
        event: &Event,
        exit: &Event,
        callee: Callee,
        depth: usize,
    ) {
        self.begin_line(task, Cells::of(event, exit.time.abs_diff(event.time), callee), depth);
        self.call(callee);
        self.return_value(task, exit, callee);
        self.out.extend_from_slice(b";");
        self.end_call(task, event, callee);
    }

    /// Where the function is declared and called, and the end of the line.
    #[inline]
    fn end_call(&mut self, task: &mut TaskReplay, entry: &Event, callee: Callee) {
        if let Some(site) = task.callsite.take()
            && entry.time.abs_diff(site.time) <= CALLSITE_AHEAD
        {
            self.call_from(callee, &site.text);
        } else if self.srcline
            && let Some(source) = &self.names.get(callee).source
        {
            self.out.extend_from_slice(source);
        }
        self.out.push(b'\n');
    }

    #[cold]
    fn call_from(&mut self, callee: Callee, caller: &str) {
        let declared = source::place(self.trace, callee.function());
        let declared = declared.map_or_else(String::new, |place| format!("{place} "));
        self.paint.put(&mut self.out, Color::Gray, &format!(" /* {declared}from {caller} */"));
    }

    pub(super) fn exit(&mut self, task: &mut TaskReplay, event: &Event, shown: &Shown) {
        let cells = Cells {
            duration: shown.duration,
            time: event.time,
            addr: Some(shown.addr),
            callee: Some(shown.callee),
        };
        self.begin_line(task, cells, shown.depth);
        self.out.push(b'}');
        if self.return_value(task, event, shown.callee) {
            self.out.push(b';');
        }
        if self.comment {
            let name = self.names.get(shown.callee);
            self.out.extend_from_slice(self.paint.on(Color::Gray).as_bytes());
            self.out.extend_from_slice(b" /* ");
            self.out.extend_from_slice(&name.shown);
            self.out.extend_from_slice(b" */");
            self.out.extend_from_slice(self.paint.off().as_bytes());
        }
        self.out.push(b'\n');
    }

    /// Time off the processor, in one line.
    pub(super) fn schedule(&mut self, task: &mut TaskReplay, event: &Event, end: u64) {
        let id = match event.addr {
            event_id::SCHED_OUT => event_id::SCHEDULE,
            _ => event_id::SCHEDULE_PREEMPTED,
        };
        self.text = None;
        self.event_line(task, event, id, end.abs_diff(event.time));
    }

    /// Any other event; `asleep_since` is when the time began that it ends.
    pub(super) fn event(&mut self, task: &mut TaskReplay, event: &Event, asleep_since: Option<u64>) {
        let since = asleep_since.filter(|_| event.addr == event_id::SCHED_IN);
        self.event_line(task, event, event.addr, since.map_or(0, |since| event.time.abs_diff(since)));
    }

    fn event_line(&mut self, task: &mut TaskReplay, event: &Event, id: u64, duration: u64) {
        let cells = Cells { duration, time: event.time, addr: None, callee: None };
        let depth = task.depth();
        self.begin_cells(task, cells);
        let name = self.event_name(id);
        let text = self.text.take();
        self.out.extend_from_slice(self.paint.on(Color::Green).as_bytes());
        self.indent(task, depth);
        self.out.extend_from_slice(b"/* ");
        self.out.extend_from_slice(self.paint.off().as_bytes());
        self.paint.put(&mut self.out, Color::Green, &name);
        if let Some(text) = text {
            self.paint.put(&mut self.out, Color::Green, &format!(" ({text})"));
        }
        self.paint.put(&mut self.out, Color::Green, " */\n");
    }

    /// The calls that the one which comes next is made from, a line each.
    pub(super) fn backtrace(&mut self, task: &mut TaskReplay, event: &Event) {
        let payload = task.batch.payload(event).to_vec();
        let words = payload.chunks_exact(8).filter_map(|word| word.try_into().ok());
        for (index, addr) in words.map(u64::from_ne_bytes).enumerate() {
            let callee = task.callee_at(event.time, addr);
            let cells = Cells { duration: 0, time: event.time, addr: Some(addr), callee: Some(callee) };
            self.mark = Some(b" backtrace");
            self.begin_cells(task, cells);
            self.mark = None;
            if self.fields.is_empty() {
                self.out.push(b' ');
            }
            self.out.extend_from_slice(self.paint.on(Color::Gray).as_bytes());
            self.out.extend_from_slice(format!("/* [{index:2}] ").as_bytes());
            self.out.extend_from_slice(&self.names.get(callee).shown);
            self.out.extend_from_slice(b" */\n");
            self.out.extend_from_slice(self.paint.off().as_bytes());
        }
    }

    fn event_name(&self, id: u64) -> String {
        self.trace.event_name(id).unwrap_or_else(|| format!("event:{id}"))
    }

    /// A message that belongs to no task and is shown beside the one that is next.
    pub(super) fn external(&mut self, task: &mut TaskReplay, message: &External) {
        let cells = Cells { duration: 0, time: message.time, addr: None, callee: None };
        self.begin_cells(task, cells);
        let text = format!("/* external-data: {} */\n", message.text);
        self.paint.put(&mut self.out, Color::Green, &text);
    }

    pub(super) fn lost(&mut self, task: &mut TaskReplay, count: u64) {
        let depth = task.depth() + 1;
        let cells = Cells { duration: 0, time: task.last_time, addr: None, callee: None };
        self.begin_cells(task, cells);
        self.out.extend_from_slice(self.paint.on(Color::Red).as_bytes());
        self.indent(task, depth);
        match count {
            0 => self.out.extend_from_slice(b"/* LOST some records!! */\n"),
            count => {
                self.out.extend_from_slice(b"/* LOST ");
                number(&mut self.out, count);
                self.out.extend_from_slice(b" records!! */\n");
            }
        }
        self.out.extend_from_slice(self.paint.off().as_bytes());
    }

    pub(super) fn inverted(&mut self, task: &mut TaskReplay) {
        self.empty_cells();
        self.out.extend_from_slice(self.paint.on(Color::Red).as_bytes());
        let depth = if self.flat { 1 } else { task.depth() + 1 };
        self.out.push(b' ');
        self.indent(task, depth);
        self.out.extend_from_slice(b"/* inverted time: broken data? */\n");
        self.out.extend_from_slice(self.paint.off().as_bytes());
    }

    /// One record of the flat layout.
    pub(super) fn flat_line(&mut self, task: &mut TaskReplay, event: &Event, shown: &Shown) {
        let tid = i64::from(task.tid);
        let count = self.count;
        let arrow = match event.kind {
            Kind::Entry if event.inherited => return,
            Kind::Entry => "==>",
            Kind::Exit => "<==",
            Kind::Lost => {
                let text = format!("[{count}] XXX {tid}: lost {} records\n", event.addr);
                self.out.extend_from_slice(text.as_bytes());
                self.count += 1;
                return;
            }
            Kind::Event if event.addr == event_id::BACKTRACE => return,
            Kind::Event => {
                self.keep_event(task, event);
                let name = self.event_name(event.addr);
                let text = self.text.take().map_or(String::new(), |text| format!(" ({text})"));
                let line = format!("[{count}] !!! {tid}: {name}{text} time ({})\n", event.time);
                self.out.extend_from_slice(line.as_bytes());
                self.count += 1;
                return;
            }
        };
        let callee = if event.kind == Kind::Entry { task.top_callee() } else { shown.callee };
        self.out.extend_from_slice(format!("[{count}] {arrow} {tid}/{}: ip (", event.depth).as_bytes());
        self.out.extend_from_slice(&self.names.get(callee).shown);
        self.out.extend_from_slice(b"), time (");
        number(&mut self.out, event.time);
        if event.kind == Kind::Exit {
            self.out.push(b':');
            number(&mut self.out, shown.duration);
        }
        self.out.extend_from_slice(b")\n");
        self.count += 1;
    }

    /// Columns and indentation.
    #[inline]
    fn begin_line(&mut self, task: &mut TaskReplay, cells: Cells, depth: usize) {
        self.begin_cells(task, cells);
        self.indent(task, depth);
    }

    #[inline]
    fn indent(&mut self, task: &mut TaskReplay, depth: usize) {
        let column = self.column_offset.map_or(0, |offset| {
            let next = &mut self.columns;
            let number = *task.column.get_or_insert_with(|| {
                *next += 1;
                *next - 1
            });
            number * offset as usize
        });
        blanks(&mut self.out, 2 * (depth.min(DEEPEST) + column));
    }

    #[inline]
    fn begin_cells(&mut self, task: &mut TaskReplay, cells: Cells) {
        if self.task_newline && self.previous.is_some_and(|previous| previous != task.index) {
            self.empty_cells();
            self.out.push(b'\n');
        }
        self.previous = Some(task.index);
        if self.usual && self.mark.is_none() {
            self.out.push(b' ');
            time(&mut self.out, cells.duration, self.paint);
            self.out.push(b' ');
            self.out.extend_from_slice(&task.tid_text);
            self.out.extend_from_slice(b" | ");
            return;
        }
        self.all_cells(task, cells);
    }

    fn all_cells(&mut self, task: &mut TaskReplay, cells: Cells) {
        let out = &mut self.out;
        for field in &self.fields {
            out.push(b' ');
            match field.kind {
                Column::Duration => match self.mark {
                    Some(mark) => out.extend_from_slice(mark),
                    None => time(out, cells.duration, self.paint),
                },
                Column::Tid => out.extend_from_slice(&task.tid_text),
                Column::Addr => match cells.addr {
                    // As many digits as the format keeps of an address.
                    Some(addr) => hex_in(out, 12, addr & record::ADDR),
                    None => blanks(out, 12),
                },
                Column::Time => timestamp(out, cells.time),
                Column::Delta => {
                    time(out, task.shown_at.map_or(0, |at| cells.time.abs_diff(at)), self.paint);
                }
                Column::Elapsed => time(out, cells.time.saturating_sub(self.begin), self.paint),
                Column::Task => right(out, 15, task.task.name_at(cells.time)),
                Column::Module => match cells.callee {
                    Some(callee) => out.extend_from_slice(&self.names.get(callee).module),
                    None => blanks(out, 16),
                },
            }
        }
        if !self.fields.is_empty() {
            out.extend_from_slice(b" | ");
        }
        task.shown_at = Some(cells.time);
    }

    /// Blank columns.
    fn empty_cells(&mut self) {
        let width: usize = self.fields.iter().map(|f| f.header.len() + 1).sum();
        blanks(&mut self.out, width);
        if !self.fields.is_empty() {
            self.out.extend_from_slice(b" | ");
        }
    }
}

impl Cells {
    #[inline]
    fn of(event: &Event, duration: u64, callee: Callee) -> Cells {
        Cells { duration, time: event.time, addr: Some(event.addr), callee: Some(callee) }
    }
}
