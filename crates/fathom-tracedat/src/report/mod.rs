//! The text of a recording's events as `trace-cmd report` prints it.
//!
//! [`events`] prints records; [`info()`] what else a file says of itself. Everything that is known of an event before
//! its first record (where its fields are, who prints it) is worked out once; a record costs no allocation.

mod event;
mod filter;
mod ftrace;
mod info;
mod lanes;
mod names;
mod plugins;
mod raw;
mod symbols;
mod text;
mod time;
mod wakeup;

use crate::error::Error;
use crate::recording::{Buffer, Recording};
use event::{EventText, Kind};
use fathom_ftrace::line::{Line, NUMBER, PIECE};
use fathom_ftrace::{Endian, Events, Format, Machine, Missed, PageLayout, number};
use filter::{EventFilter, Record};
pub use filter::{EventPattern, Filter, FilterError};
use ftrace::{Function, Indents, Repeats};
pub use ftrace::{PluginOptions, UnknownOption};
pub use info::{FormatPattern, Question, describe_filters, info, unmatched};
use lanes::Lanes;
use names::Names;
use std::io::Write;
use std::ops::RangeInclusive;
use symbols::Symbols;
use time::{Correction, Stamps, TimeForm};
use wakeup::Wakeups;

/// Text that is gathered before it is written.
const BLOCK: usize = 256 << 10;

/// How events are printed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether events are printed by plugins where there is one; else by their `print fmt`.
    pub plugins: bool,
    /// Field by field.
    pub raw: bool,
    /// With the flags of interrupts and preemption.
    pub latency: bool,
    /// Times with nine decimals.
    pub nanoseconds: bool,
    /// The time since the line before.
    pub differences: bool,
    /// Times from the first event on.
    pub aligned: bool,
    /// Whether the recording's date is added to its times.
    pub date: bool,
    /// Times as they were recorded.
    pub raw_times: bool,
    /// The CPUs whose events are printed; all of them when there are none here.
    pub cpus: Vec<RangeInclusive<u32>>,
    /// Not what happened within a hardware interrupt.
    pub without_hardirq: bool,
    /// Not what happened within a software interrupt.
    pub without_softirq: bool,
    /// Which events are printed, and which are not.
    pub filters: Vec<Filter>,
    /// Events that are printed field by field.
    pub raw_events: Vec<EventPattern>,
    /// Events that no plugin prints.
    pub plain_events: Vec<EventPattern>,
    /// The latency of each wake-up, and their sum.
    pub wakeups: bool,
    /// A note where the time goes back.
    pub check_times: bool,
    /// Options of plugins.
    pub options: PluginOptions,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            plugins: true,
            raw: false,
            latency: false,
            nanoseconds: false,
            differences: false,
            aligned: false,
            date: true,
            raw_times: false,
            cpus: Vec::new(),
            without_hardirq: false,
            without_softirq: false,
            filters: Vec::new(),
            raw_events: Vec::new(),
            plain_events: Vec::new(),
            wakeups: false,
            check_times: false,
            options: PluginOptions::default(),
        }
    }
}

impl Settings {
    #[inline]
    fn shows_cpu(&self, cpu: u32) -> bool {
        self.cpus.is_empty() || self.cpus.iter().any(|range| range.contains(&cpu))
    }
}

/// A recording that is to be printed.
pub struct Input {
    /// The recording.
    pub recording: Recording,
    /// Added to its time stamps, in the clock's unit.
    pub offset: i64,
    /// The frequency of its clock, in ticks a second: its times are printed in seconds.
    pub hertz: Option<u64>,
}

impl Input {
    /// A recording as it is.
    #[must_use]
    pub fn new(recording: Recording) -> Self {
        Self { recording, offset: 0, hertz: None }
    }

    /// The name of the file without its directory.
    fn base_name(&self) -> &str {
        let name = self.recording.name.trim_end_matches('/');
        name.rsplit('/').next().unwrap_or(name)
    }
}

/// Prints the records of all inputs, merged by time.
///
/// # Errors
/// What the system refused to write, and what is wrong with a file. Damaged pages are left out; the returned notes
/// say which.
pub fn events(inputs: &[Input], settings: &Settings, out: &mut dyn Write) -> Result<Vec<String>, Error> {
    let mut report = Report::new(inputs, settings)?;
    report.header();
    loop {
        let more = report.line()?;
        if !more && settings.wakeups {
            report.wakeups.write_summary(&mut report.out);
        }
        if report.out.len() >= BLOCK || !more {
            report.flush(out)?;
        }
        if !more {
            return Ok(report.notes);
        }
    }
}

/// A recording with its tables worked out.
struct File {
    endian: Endian,
    machine: Machine,
    events: Vec<Option<Box<EventText>>>,
    symbols: Symbols,
    names: Names,
}

/// A buffer of a recording.
struct Handle {
    file: usize,
    /// What its lines begin with, if there are several buffers or files.
    prefix: Vec<u8>,
    lanes: Lanes,
    stamps: Stamps,
    /// Whether the file says which clock it has.
    has_clock: bool,
    indents: Vec<Indents>,
    /// Whether the latest record of each CPU was printed.
    shown: Vec<bool>,
}

#[inline]
fn note_shown(list: &mut Vec<bool>, cpu: u32, shown: bool) {
    let cpu = cpu as usize;
    if list.len() <= cpu {
        list.resize(cpu + 1, false);
    }
    list[cpu] = shown;
}

struct Report<'a> {
    settings: &'a Settings,
    files: Vec<File>,
    handles: Vec<Handle>,
    headers: Vec<Vec<u8>>,
    /// Buffers that were recorded as text.
    texts: Vec<&'a [u8]>,
    out: Vec<u8>,
    /// A record that must outlive the page it was on.
    scratch: Vec<u8>,
    first_time: Option<u64>,
    last_time: u64,
    notes: Vec<String>,
    wakeups: Wakeups,
}

impl<'a> Report<'a> {
    fn new(inputs: &'a [Input], settings: &'a Settings) -> Result<Self, Error> {
        let mut report = Self {
            settings,
            files: Vec::new(),
            handles: Vec::new(),
            headers: Vec::new(),
            texts: Vec::new(),
            out: Vec::with_capacity(BLOCK + 4096),
            scratch: Vec::new(),
            first_time: None,
            last_time: 0,
            notes: Vec::new(),
            wakeups: Wakeups::default(),
        };
        let width = prefix_width(inputs);
        for input in inputs {
            report.add(input, width, inputs.len() > 1)?;
        }
        Ok(report)
    }

    fn add(&mut self, input: &'a Input, width: usize, several: bool) -> Result<(), Error> {
        let recording = &input.recording;
        let file = self.files.len();
        let machine = machine(recording);
        let symbols = Symbols::new(&recording.tables.kallsyms, &recording.tables.printk_formats);
        let events = event_texts(recording, machine, self.settings, &symbols, &mut self.notes);
        self.files.push(File {
            endian: machine.endian,
            machine,
            events,
            symbols,
            names: Names::new(&recording.tables.cmdlines, self.settings.latency),
        });
        let name = if several { input.base_name() } else { "" };
        let mut header = prefix(name, width);
        header.extend_from_slice(format!("cpus={}\n", recording.cpu_count).as_bytes());
        self.headers.push(header);
        self.texts.extend(recording.texts.iter().map(|text| text.text.as_slice()));
        for buffer in &recording.buffers {
            let handle = self.handle(input, buffer, machine, file, width, name)?;
            self.handles.push(handle);
        }
        Ok(())
    }

    fn handle(
        &self,
        input: &Input,
        buffer: &Buffer,
        machine: Machine,
        file: usize,
        width: usize,
        name: &str,
    ) -> Result<Handle, Error> {
        let settings = self.settings;
        let correction = Correction::of(input, settings);
        let form = TimeForm::of_buffer(buffer, settings, &correction);
        let layout = PageLayout::of(machine, buffer.page_size as usize);
        let name = if buffer.name.is_empty() { name } else { &buffer.name };
        Ok(Handle {
            file,
            prefix: prefix(name, width),
            lanes: Lanes::new(&input.recording, buffer, layout, correction, settings.check_times)?,
            stamps: Stamps::of(form),
            has_clock: !buffer.clock.is_empty(),
            indents: Vec::new(),
            shown: Vec::new(),
        })
    }

    fn header(&mut self) {
        for header in &self.headers {
            self.out.extend_from_slice(header);
        }
        for text in &self.texts {
            self.out.extend_from_slice(text);
            self.out.push(b'\n');
        }
    }

    fn flush(&mut self, out: &mut dyn Write) -> Result<(), Error> {
        out.write_all(&self.out).map_err(|error| Error::io("standard output", error))?;
        self.out.clear();
        Ok(())
    }

    /// The buffer whose record comes next; of those at the same time the first one.
    #[inline]
    fn choose(&mut self) -> Result<Option<usize>, Error> {
        let mut best: Option<(u64, usize)> = None;
        for (index, handle) in self.handles.iter_mut().enumerate() {
            if let Some(time) = handle.lanes.peek_time()?
                && best.is_none_or(|(earliest, _)| time < earliest)
            {
                best = Some((time, index));
            }
        }
        Ok(best.map(|(_, index)| index))
    }

    /// Prints the next record. False at the end.
    fn line(&mut self) -> Result<bool, Error> {
        let Some(index) = self.choose()? else {
            for handle in &mut self.handles {
                self.notes.append(&mut handle.lanes.take_notes());
            }
            return Ok(false);
        };
        let settings = self.settings;
        let handle = &mut self.handles[index];
        let file = &mut self.files[handle.file];
        let Some(next) = handle.lanes.take()? else { return Ok(true) };
        let (endian, time, cpu, record) = (file.endian, next.time, next.cpu, next.record);
        let out = &mut self.out;
        if let Some(missed) = next.missed.filter(|_| settings.shows_cpu(cpu)) {
            out.extend_from_slice(&handle.prefix);
            write_missed(out, cpu, missed);
        }
        let head = Head::of(record, endian);
        let event = file.events.get(usize::from(head.id)).and_then(Option::as_deref);
        let filtered = event.and_then(|event| event.filters.as_ref()).is_some_and(|list| !list.is_empty());
        let name = if filtered { file.names.get(head.pid) } else { b"" };
        let known = Record { bytes: record, endian, cpu, time, name };
        let before = handle.shown.get(cpu as usize).copied().unwrap_or_default();
        // A stack belongs to the event before it, so it is shown with that one.
        let stack = before && !settings.filters.is_empty() && event.is_some_and(|event| event.is_stack);
        let shown = stack || wanted(event, &head, &known, settings);
        note_shown(&mut handle.shown, cpu, shown);
        if !shown {
            return Ok(true);
        }
        out.extend_from_slice(&handle.prefix);
        let Some(event) = event else {
            write_unknown(out, settings.latency);
            return Ok(true);
        };
        let first = *self.first_time.get_or_insert(time);
        let shown = if settings.aligned { time.wrapping_sub(first) } else { time };
        let task = file.names.head(head.pid);
        Line::append(out, HEAD_ROOM + PIECE * (task.len() + event.label.len()), |line| {
            line.shorts(task);
            write_cpu(line, &head, cpu, settings.latency);
            handle.stamps.write(line, shown);
            line.bytes(*b": ");
            if !settings.differences {
                line.shorts(&event.label);
            }
        });
        if settings.differences {
            let unit = if handle.has_clock && !settings.nanoseconds { 1000 } else { 1 };
            write_difference(out, unit, shown, &mut self.last_time);
            Line::append(out, PIECE * event.label.len(), |line| line.shorts(&event.label));
        }
        if let Kind::Entry(entry) = &event.kind {
            self.scratch.clear();
            self.scratch.extend_from_slice(record);
            let leaf = leaf_duration(&mut handle.lanes, file, entry.function, &self.scratch, head.pid)?;
            entry.write(out, &self.scratch, leaf, endian, &file.symbols, settings.options);
            if leaf.is_some() {
                handle.lanes.take()?;
            }
        } else {
            let parts =
                Parts { endian, machine: file.machine, symbols: &file.symbols, names: &mut file.names };
            let place = Place { cpu, time, form: handle.stamps.form, indents: &mut handle.indents };
            write_event(out, event, record, parts, place, settings);
            if let Some(scheduling) = event.scheduling {
                self.wakeups.record(out, scheduling, record, endian, time);
            }
        }
        if out.last() != Some(&b'\n') {
            out.push(b'\n');
        }
        Ok(true)
    }
}

/// What every record begins with.
struct Head {
    id: u16,
    flags: u8,
    preemption: u8,
    pid: i32,
}

impl Head {
    #[inline]
    fn of(record: &[u8], endian: Endian) -> Self {
        let byte = |at: usize| record.get(at).copied().unwrap_or_default();
        Self {
            id: endian.u16(record, 0).unwrap_or_default(),
            flags: byte(2),
            preemption: byte(3),
            pid: endian.u32(record, 4).unwrap_or_default() as i32,
        }
    }
}

/// Whether a record is to be printed.
#[inline]
fn wanted(event: Option<&EventText>, head: &Head, record: &Record<'_>, settings: &Settings) -> bool {
    if !settings.shows_cpu(record.cpu) {
        return false;
    }
    if settings.without_hardirq && head.flags & 0x08 != 0
        || settings.without_softirq && head.flags & 0x10 != 0
    {
        return false;
    }
    match event {
        Some(EventText { filters: Some(filters), .. }) => {
            filters.is_empty() || EventFilter::pass(filters, record)
        }
        Some(EventText { filters: None, .. }) => false,
        None => settings.filters.iter().all(Filter::is_negative),
    }
}

/// The most bytes of [`write_cpu`], a time and what is behind it.
const HEAD_ROOM: usize = Stamps::ROOM + NUMBER + 8;

/// Writes the CPU, and the flags where they are asked for.
#[inline(always)]
fn write_cpu(line: &mut Line<'_>, head: &Head, cpu: u32, latency: bool) {
    if latency {
        line.byte(b' ');
        line.padded(cpu.into(), 3, b' ');
        line.bytes(flags(head.flags, head.preemption));
    } else {
        line.bytes(*b" [");
        line.padded(cpu.into(), 3, b'0');
        line.byte(b']');
    }
}

/// The tables that the text of an event may need.
struct Parts<'a> {
    endian: Endian,
    machine: Machine,
    symbols: &'a Symbols,
    names: &'a mut Names,
}

/// Where and when a record was made.
struct Place<'a> {
    cpu: u32,
    time: u64,
    form: TimeForm,
    indents: &'a mut Vec<Indents>,
}

impl Place<'_> {
    fn indents(&mut self) -> &mut Indents {
        let cpu = self.cpu as usize;
        if self.indents.len() <= cpu {
            self.indents.resize_with(cpu + 1, Indents::default);
        }
        &mut self.indents[cpu]
    }
}

/// Writes the text of an event that needs no other record.
#[inline]
fn write_event(
    out: &mut Vec<u8>,
    event: &EventText,
    record: &[u8],
    parts: Parts<'_>,
    mut place: Place<'_>,
    settings: &Settings,
) {
    let Parts { endian, machine, symbols, names } = parts;
    match &event.kind {
        Kind::Text(text) => text.write(out, record, machine, symbols),
        Kind::Raw(raw) => raw.write(out, record, endian, symbols),
        Kind::Plugin(plugin, text) => {
            if !plugin.write(out, record, endian, symbols, names) {
                text.write(out, record, machine, symbols);
            }
        }
        Kind::Function(function) => {
            write_function(*function, out, record, endian, symbols, &mut place, settings);
        }
        Kind::Repeats(repeats) => write_repeats(*repeats, out, record, endian, symbols, &mut place, settings),
        Kind::Stack(at) => {
            ftrace::kernel_stack(out, record, *at, machine, symbols, settings.options.offset);
        }
        Kind::RawData { id, at } => ftrace::raw_data(out, record, *id, *at, endian),
        Kind::Exit(exit) => exit.write(out, record, endian, symbols, settings.options),
        // Needs the record behind it.
        Kind::Entry(_) => {}
    }
}

fn write_function(
    function: Function,
    out: &mut Vec<u8>,
    record: &[u8],
    endian: Endian,
    symbols: &Symbols,
    place: &mut Place<'_>,
    settings: &Settings,
) {
    function.write(out, record, endian, symbols, settings.options, place.indents());
}

fn write_repeats(
    repeats: Repeats,
    out: &mut Vec<u8>,
    record: &[u8],
    endian: Endian,
    symbols: &Symbols,
    place: &mut Place<'_>,
    settings: &Settings,
) {
    let time = place.time;
    let last = repeats.write(out, (record, time), endian, symbols, settings.options, place.indents());
    place.form.write(out, last);
    out.push(b')');
}

/// The duration of a call in nanoseconds, if its end is the very next record of the buffer.
fn leaf_duration(
    lanes: &mut Lanes,
    file: &File,
    function: ftrace::Place,
    record: &[u8],
    pid: i32,
) -> Result<Option<u64>, Error> {
    let endian = file.endian;
    let Some(next) = lanes.peek()? else { return Ok(None) };
    let id = endian.u16(next.record, 0).unwrap_or_default();
    let Some(Some(event)) = file.events.get(usize::from(id)) else { return Ok(None) };
    let Kind::Exit(exit) = &event.kind else { return Ok(None) };
    let same = endian.u32(next.record, 4).unwrap_or_default() as i32 == pid
        && exit.function.get(next.record, endian) == function.get(record, endian);
    Ok(same.then(|| exit.duration(next.record, endian)))
}

/// Byte order of a recording, and the word size of its kernel.
fn machine(recording: &Recording) -> Machine {
    let endian = match recording.header.endian {
        crate::header::Endian::Little => Endian::Little,
        crate::header::Endian::Big => Endian::Big,
    };
    Machine { endian, long_size: recording.kernel_long_size() }
}

/// The formats of a recording.
fn formats(recording: &Recording, machine: Machine, notes: &mut Vec<String>) -> Events {
    let mut events = Events::default();
    let own = recording.tables.ftrace_formats.iter().map(|text| ("ftrace", text));
    let others = recording
        .tables
        .systems
        .iter()
        .flat_map(|system| system.formats.iter().map(|text| (system.name.as_str(), text)));
    for (system, text) in own.chain(others) {
        let text = String::from_utf8_lossy(text);
        match Format::parse(system, &text, machine) {
            Ok(format) => events.add(format),
            Err(error) => {
                let name = text.lines().next().unwrap_or_default().trim_start_matches("name:").trim();
                notes.push(format!("{}: event {system}:{name}: {error}", recording.name));
            }
        }
    }
    events
}

fn event_texts(
    recording: &Recording,
    machine: Machine,
    settings: &Settings,
    symbols: &Symbols,
    notes: &mut Vec<String>,
) -> Vec<Option<Box<EventText>>> {
    let mut list = Vec::new();
    for format in formats(recording, machine, notes).iter() {
        let index = usize::from(format.id);
        if list.len() <= index {
            list.resize_with(index + 1, || None);
        }
        list[index] = Some(Box::new(EventText::new(format, settings, symbols)));
    }
    list
}

/// The width of what lines begin with: 0 for a single buffer of a single file.
fn prefix_width(inputs: &[Input]) -> usize {
    let files = if inputs.len() > 1 { inputs } else { &[] };
    let names = files.iter().map(|input| input.base_name().len());
    let buffers = inputs.iter().flat_map(|input| &input.recording.buffers).map(|buffer| buffer.name.len());
    names.chain(buffers).max().unwrap_or_default()
}

fn prefix(name: &str, width: usize) -> Vec<u8> {
    let mut prefix = Vec::new();
    if !name.is_empty() {
        number::right(&mut prefix, name.as_bytes(), width, b' ');
        prefix.extend_from_slice(b": ");
    }
    prefix
}

fn write_missed(out: &mut Vec<u8>, cpu: u32, missed: Missed) {
    out.extend_from_slice(b"CPU:");
    number::decimal(out, cpu.into());
    out.extend_from_slice(b" [");
    if let Missed::Count(count) = missed {
        number::decimal(out, count);
        out.push(b' ');
    }
    out.extend_from_slice(b"EVENTS DROPPED]\n");
}

/// What trace-cmd prints for a record whose event has no format.
fn write_unknown(out: &mut Vec<u8>, latency: bool) {
    out.extend_from_slice(b"[UNKNOWN EVENT][UNKNOWN EVENT]");
    if latency {
        out.extend_from_slice(b"[UNKNOWN EVENT]");
    }
    out.extend_from_slice(b" (NULL):               [UNKNOWN EVENT]\n");
}

/// Interrupts, rescheduling, context, depth of preemption, depth of migration: a character each.
fn flags(flags: u8, preemption: u8) -> [u8; 5] {
    let digit = |depth: u8| if depth == 0 { b'.' } else { b"0123456789abcdef"[usize::from(depth & 15)] };
    let interrupts = match flags & 3 {
        0 => b'.',
        2 => b'X',
        _ => b'd',
    };
    let context = match flags & 0x18 {
        0 => b'.',
        0x08 => b'h',
        0x10 => b's',
        _ => b'H',
    };
    let reschedule = if flags & 4 != 0 { b'N' } else { b'.' };
    [interrupts, reschedule, context, digit(preemption & 15), digit(preemption >> 4)]
}

/// The time since the last line, in so many nanoseconds.
fn write_difference(out: &mut Vec<u8>, unit: u64, time: u64, last: &mut u64) {
    let time = time.saturating_add(unit / 2) / unit;
    let mut text = Vec::new();
    if *last != 0 {
        text.extend_from_slice(b"(+");
        number::signed(&mut text, time.wrapping_sub(*last).cast_signed());
        text.push(b')');
    }
    *last = time;
    number::left(out, &text, 8);
    out.push(b' ');
}
