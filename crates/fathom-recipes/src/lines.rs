//! Records as lines, in the form of the kernel's own text.

use crate::event::Event;
use crate::graph::duration;
use crate::label::Names as _;
use crate::names::KernelNames;
use fathom_ftrace::formatter::{EntryStyle, Formatter};
use fathom_ftrace::print_fmt::{Context, Options, Pointers};
use fathom_ftrace::{Events, Machine};
use std::collections::HashMap;
use std::fmt::Write as _;

/// Writes records.
#[derive(Debug)]
pub struct Lines {
    formatter: Formatter,
    /// An entry of a call graph on each CPU, which may turn out to be a leaf.
    waiting: HashMap<u32, (i64, i64)>,
}

impl Lines {
    /// For records of these events.
    pub fn new(events: &Events) -> Lines {
        Lines { formatter: Formatter::new(events, &Options::default()), waiting: HashMap::new() }
    }

    /// What the kernel prints of an event: mostly `name: ` and the fields. Without an end of the line.
    pub fn text(&self, time: u64, record: &[u8], names: &KernelNames) -> String {
        let context =
            Context { machine: Machine::host(), names: &names.tables, pointers: Pointers::default() };
        let mut out = Vec::new();
        self.formatter.kernel_text(&mut out, time, record, &context, &EntryStyle::default());
        String::from_utf8_lossy(out.trim_ascii_end()).into_owned()
    }

    /// The lines of a record, each with its end. May be empty: the entry of a call is held back until it is known whether it is a leaf.
    pub fn record(&mut self, event: &Event<'_>, record: &[u8], names: &KernelNames) -> String {
        let mut out = String::new();
        if event.system() == "ftrace" {
            match event.name() {
                "funcgraph_entry" | "fgraph_retaddr_entry" => return self.enter(event, names),
                "funcgraph_exit" => return self.exit(event, names),
                _ => {}
            }
        }
        out.push_str(&self.flush(event.cpu, names));
        if event.name() == "kernel_stack" || event.name() == "user_stack" {
            out.push_str(if event.name() == "kernel_stack" {
                "<stack trace>\n"
            } else {
                "<user stack trace>\n"
            });
            for frame in event.frames() {
                let _ = writeln!(out, " => {}", names.symbol(frame));
            }
            return out;
        }
        let text = self.text(event.time, record, names);
        let _ = writeln!(
            out,
            "{:>16}-{:<7} [{:03}] {} {}.{:06}: {text}",
            names.comm(event.pid),
            event.pid,
            event.cpu,
            flags(event),
            event.time / 1_000_000_000,
            // The kernel rounds to the nearest.
            (event.time % 1_000_000_000 + 500).min(999_999_999) / 1000,
        );
        out
    }

    /// What is still held back of a CPU.
    pub fn flush(&mut self, cpu: u32, names: &KernelNames) -> String {
        match self.waiting.remove(&cpu) {
            Some((func, depth)) => opened(cpu, func, depth, names),
            None => String::new(),
        }
    }

    fn enter(&mut self, event: &Event<'_>, names: &KernelNames) -> String {
        let out = self.flush(event.cpu, names);
        if let (Some(func), Some(depth)) = (event.num("func"), event.num("depth")) {
            self.waiting.insert(event.cpu, (func, depth));
        }
        out
    }

    fn exit(&mut self, event: &Event<'_>, names: &KernelNames) -> String {
        let (func, depth) = (event.num("func").unwrap_or(0), event.num("depth").unwrap_or(0));
        let times = event.num("calltime").zip(event.num("rettime"));
        let ns = times.map_or(0, |(call, ret)| (ret as u64).saturating_sub(call as u64));
        let indent = usize::try_from(depth).unwrap_or(0).min(512) * 2 + 2;
        match self.waiting.remove(&event.cpu) {
            Some((entered, at)) if entered == func && at == depth => {
                format!(
                    "{:>2}) {} |{:indent$}{}();\n",
                    event.cpu,
                    duration(ns),
                    "",
                    names.symbol(func as u64)
                )
            }
            held => {
                let mut out =
                    held.map(|(func, depth)| opened(event.cpu, func, depth, names)).unwrap_or_default();
                let _ = writeln!(
                    out,
                    "{:>2}) {} |{:indent$}}} /* {} */",
                    event.cpu,
                    duration(ns),
                    "",
                    names.symbol(func as u64)
                );
                out
            }
        }
    }
}

fn opened(cpu: u32, func: i64, depth: i64, names: &KernelNames) -> String {
    let indent = usize::try_from(depth).unwrap_or(0).min(512) * 2 + 2;
    format!("{cpu:>2}) {:17} |{:indent$}{}() {{\n", "", "", names.symbol(func as u64))
}

/// Interrupts off, rescheduling wanted, in an interrupt, depth of disabled preemption and migration.
fn flags(event: &Event<'_>) -> String {
    let flags = event.flags;
    let off = match (flags & 0x01 != 0, flags & 0x80 != 0) {
        (true, true) => 'D',
        (true, false) => 'd',
        (false, true) => 'b',
        (false, false) => '.',
    };
    let wanted = match (flags & 0x04 != 0, flags & 0x20 != 0) {
        (true, true) => 'N',
        (true, false) => 'n',
        (false, true) => 'p',
        (false, false) => '.',
    };
    let within = match (flags & 0x40 != 0, flags & 0x08 != 0, flags & 0x10 != 0) {
        (true, true, _) => 'Z',
        (true, false, _) => 'z',
        (false, true, true) => 'H',
        (false, true, false) => 'h',
        (false, false, true) => 's',
        (false, false, false) => '.',
    };
    let digit =
        |value: u8| if value == 0 { '.' } else { char::from_digit(u32::from(value), 16).unwrap_or('?') };
    format!("{off}{wanted}{within}{}{}", digit(event.preempt & 0xf), digit(event.preempt >> 4))
}
