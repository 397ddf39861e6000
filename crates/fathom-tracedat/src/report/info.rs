//! What a file says of itself besides its records: `-e`, `-f`, `--stat` and their like.

use super::filter::EventPattern;
use super::symbols::Symbols;
use super::text::Text;
use super::time::{Correction, TimeForm};
use super::{Input, Settings, formats, machine, prefix, prefix_width};
use crate::error::Error;
use crate::header::Endian;
use crate::options::{id, text};
use crate::recording::Recording;
use fathom_ftrace::{Format, PageLayout, number};
use std::io::Write;

/// What is asked.
#[derive(Debug, Clone)]
pub enum Question {
    /// The byte orders of the file and of this machine.
    ByteOrder,
    /// The symbols of the recorded kernel.
    Functions,
    /// The texts of `trace_printk`.
    PrintkTexts,
    /// The events that have a format.
    EventNames,
    /// Their formats, of all or of those that are named.
    Formats(Option<FormatPattern>),
    /// Whether all formats can be worked out.
    CheckFormats,
    /// What the kernel counted while it recorded.
    Statistics,
    /// The recorded system, and the program that recorded.
    Uname,
    /// The program that recorded.
    Version,
    /// The CPUs with records.
    Cpus,
    /// The first record of each CPU.
    FirstEvents,
    /// The last record of each CPU.
    LastEvents,
}

/// Events whose formats are shown: `SYSTEM:EVENT`, or a part of either's name.
#[derive(Debug, Clone)]
pub struct FormatPattern {
    system: Option<regex::Regex>,
    event: regex::Regex,
}

impl FormatPattern {
    /// Reads a pattern; both parts are regular expressions that match a part of the name.
    ///
    /// # Errors
    /// A part that is no regular expression.
    pub fn new(text: &str) -> Result<Self, super::FilterError> {
        let part = |pattern: &str| {
            regex::RegexBuilder::new(pattern).case_insensitive(true).build().map_err(|_| {
                super::FilterError::Pattern { filter: text.to_owned(), pattern: pattern.to_owned() }
            })
        };
        Ok(match text.split_once(':') {
            Some((system, event)) => Self { system: Some(part(system)?), event: part(event)? },
            None => Self { system: None, event: part(text)? },
        })
    }

    fn matches(&self, format: &Format) -> bool {
        let event = self.event.is_match(&format.name);
        match &self.system {
            Some(system) => event && system.is_match(&format.system),
            None => event || self.event.is_match(&format.system),
        }
    }
}

/// Answers a question about each input. False: some format cannot be worked out (with
/// [`Question::CheckFormats`]); the notes say which.
///
/// # Errors
/// What the system refused to write, and what is wrong with a file.
pub fn info(
    inputs: &[Input],
    question: &Question,
    settings: &Settings,
    notes: &mut Vec<String>,
    out: &mut dyn Write,
) -> Result<bool, Error> {
    let width = if inputs.len() > 1 { prefix_width(inputs) } else { 0 };
    let mut good = true;
    for input in inputs {
        let mut answer = Vec::new();
        if matches!(question, Question::Statistics | Question::Uname | Question::Version) {
            answer = prefix(if width > 0 { input.base_name() } else { "" }, width);
            answer.extend_from_slice(format!("cpus={}\n", input.recording.cpu_count).as_bytes());
        }
        good &= answer_one(&mut answer, input, question, settings, notes)?;
        out.write_all(&answer).map_err(|error| Error::io("standard output", error))?;
        // One file's formats stand for all.
        if matches!(question, Question::EventNames | Question::ByteOrder) {
            break;
        }
    }
    Ok(good)
}

fn answer_one(
    out: &mut Vec<u8>,
    input: &Input,
    question: &Question,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<bool, Error> {
    let recording = &input.recording;
    match question {
        Question::ByteOrder => {
            let name = |endian| if endian == Endian::Little { "little" } else { "big" };
            let (file, host) = (name(recording.header.endian), name(Endian::NATIVE));
            out.extend_from_slice(format!("file is {file} endian and host is {host} endian\n").as_bytes());
        }
        Question::Functions => {
            for (address, name, module) in Symbols::new(&recording.tables.kallsyms, b"").all() {
                number::hex_fixed(out, address, 16);
                out.push(b' ');
                out.extend_from_slice(name);
                if !module.is_empty() {
                    out.extend_from_slice(b" [");
                    out.extend_from_slice(module);
                    out.push(b']');
                }
                out.push(b'\n');
            }
        }
        Question::PrintkTexts => {
            for (address, text) in Symbols::new(b"", &recording.tables.printk_formats).texts() {
                number::hex_fixed(out, address, 16);
                out.push(b' ');
                out.extend_from_slice(text);
                out.push(b'\n');
            }
        }
        Question::EventNames => {
            let events = formats(recording, machine(recording), notes);
            let mut names: Vec<_> = events.iter().map(|format| (&format.system, &format.name)).collect();
            names.sort();
            for (system, name) in names {
                out.extend_from_slice(format!("{system}:{name}\n").as_bytes());
            }
        }
        Question::Formats(pattern) => write_formats(out, recording, pattern.as_ref()),
        Question::CheckFormats => return Ok(check_formats(recording, notes)),
        Question::Statistics => write_statistics(out, recording)?,
        Question::Uname => {
            write_option(out, recording, id::UNAME, "uname");
            write_option(out, recording, id::VERSION, "version");
        }
        Question::Version => write_option(out, recording, id::VERSION, "version"),
        Question::Cpus | Question::FirstEvents | Question::LastEvents => {
            write_cpus(out, input, question, settings)?;
        }
    }
    Ok(true)
}

fn write_option(out: &mut Vec<u8>, recording: &Recording, number: u16, what: &str) {
    let text = recording.options.text(number);
    let text = text.unwrap_or_else(|| format!(" {what} was not recorded in this file"));
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

fn write_formats(out: &mut Vec<u8>, recording: &Recording, pattern: Option<&FormatPattern>) {
    let machine = machine(recording);
    for system in &recording.tables.systems {
        let mut first = true;
        for format in &system.formats {
            let parsed = Format::parse(&system.name, &String::from_utf8_lossy(format), machine);
            // One that cannot be read is shown to whoever asks for all.
            let wanted = match (pattern, parsed) {
                (None, _) => true,
                (Some(pattern), Ok(parsed)) => pattern.matches(&parsed),
                (Some(_), Err(_)) => false,
            };
            if !wanted {
                continue;
            }
            if first {
                out.extend_from_slice(format!("\nsystem: {}\n", system.name).as_bytes());
                first = false;
            }
            out.extend_from_slice(format);
            out.push(b'\n');
        }
    }
}

fn check_formats(recording: &Recording, notes: &mut Vec<String>) -> bool {
    let before = notes.len();
    let symbols = Symbols::new(&recording.tables.kallsyms, b"");
    for format in formats(recording, machine(recording), notes).iter() {
        if matches!(Text::new(format, &symbols), Text::Fields(_)) {
            notes.push(format!(
                "{}: the print fmt of {}:{} cannot be worked out",
                recording.name, format.system, format.name
            ));
        }
    }
    notes.len() == before
}

fn write_statistics(out: &mut Vec<u8>, recording: &Recording) -> Result<(), Error> {
    out.extend_from_slice(
        b"\nKernel buffer statistics:\n  Note: \"entries\" are the entries left in the kernel ring buffer and are not\n        recorded in the trace data. They should all be zero.\n\n",
    );
    let mut any = false;
    for option in recording.options.all(id::CPUSTAT) {
        out.extend_from_slice(text(option).as_bytes());
        out.push(b'\n');
        any = true;
    }
    out.extend_from_slice(if any { b"\n" } else { b" No stats in this file\n" });
    let Some(top) = recording.buffers.iter().find(|buffer| buffer.name.is_empty()) else { return Ok(()) };
    // Where the pages would be if they were not compressed.
    let mut place = u64::from(top.page_size);
    let last = top.cpus.iter().map(|cpu| cpu.cpu).max();
    for number in 0..last.map_or(0, |last| last + 1) {
        let (mut offset, mut size) = (0, 0);
        if let Some(cpu) = top.cpus.iter().find(|cpu| cpu.cpu == number) {
            size = recording.pages(top, cpu).unpacked_size()?;
            offset = if cpu.compressed { place } else { cpu.offset };
            place = place.saturating_add(size);
        }
        let line = format!("CPU{number} data recorded at offset={offset:#x}\n    {size} bytes in size\n");
        out.extend_from_slice(line.as_bytes());
    }
    Ok(())
}

fn write_cpus(
    out: &mut Vec<u8>,
    input: &Input,
    question: &Question,
    settings: &Settings,
) -> Result<(), Error> {
    let recording = &input.recording;
    out.extend_from_slice(format!("List of CPUs in {} with data:\n", recording.name).as_bytes());
    let Some(top) = recording.buffers.iter().find(|buffer| buffer.name.is_empty()) else { return Ok(()) };
    let layout = PageLayout::of(machine(recording), top.page_size as usize);
    let correction = Correction::of(input, settings);
    let form = TimeForm::of_buffer(top, settings, &correction);
    for cpu in &top.cpus {
        let mut pages = recording.pages(top, cpu);
        let mut times: Option<(u64, u64)> = None;
        while let Some(bytes) = pages.next_page()? {
            let Ok(page) = layout.page(bytes) else { continue };
            for record in page.records() {
                let time = correction.apply(record.time);
                times = Some((times.map_or(time, |(first, _)| first), time));
            }
            if times.is_some() && !matches!(question, Question::LastEvents) {
                break;
            }
        }
        let Some((first, last)) = times else { continue };
        out.extend_from_slice(format!("  {}", cpu.cpu).as_bytes());
        let mut time = Vec::new();
        match question {
            Question::FirstEvents => {
                out.extend_from_slice(b"\tFirst event:");
                form.write(&mut time, first);
            }
            Question::LastEvents => {
                out.extend_from_slice(b"\tLast event:");
                form.write(&mut time, last);
            }
            _ => {}
        }
        // The column of seconds has a space less here.
        let narrow = usize::from(form != TimeForm::Plain);
        out.extend_from_slice(time.get(narrow..).unwrap_or_default());
        out.push(b'\n');
    }
    Ok(())
}

/// The filters as they were understood, an event a line (`-T`).
pub fn describe_filters(inputs: &[Input], settings: &Settings, notes: &mut Vec<String>) -> String {
    let mut text = String::new();
    for input in inputs {
        let events = formats(&input.recording, machine(&input.recording), notes);
        let mut list: Vec<_> = events.iter().collect();
        list.sort_by_key(|format| std::cmp::Reverse(format.id));
        for format in list {
            for filter in settings.filters.iter().filter(|filter| filter.concerns(format)) {
                text.push_str(&format!(" '{}: {}'\n", format.name, filter.condition_for(format)));
            }
        }
    }
    text
}

/// Patterns that name no event of any input.
#[must_use]
pub fn unmatched<'a>(inputs: &[Input], patterns: &'a [EventPattern]) -> Vec<&'a str> {
    let mut ignored = Vec::new();
    let all: Vec<_> = inputs
        .iter()
        .map(|input| formats(&input.recording, machine(&input.recording), &mut ignored))
        .collect();
    let known =
        |pattern: &EventPattern| all.iter().any(|events| events.iter().any(|format| pattern.matches(format)));
    patterns.iter().filter(|pattern| !known(pattern)).map(EventPattern::text).collect()
}
