//! The text of an event: what stands behind its time and, mostly, its name.

use crate::entries::Entries;
use crate::events::Events;
use crate::fields;
use crate::format::{Format, Value};
use crate::number;
use crate::print_fmt::{Context, Forms, NotEvaluable, Options, PrintFmt};
use rustc_hash::FxHashMap;

/// How each event is printed, worked out once.
#[derive(Debug)]
pub struct Formatter {
    /// By `common_type`.
    plans: Vec<Option<Plan>>,
    pub(crate) entries: Entries,
    not_evaluable: Vec<NotEvaluable>,
}

/// How one event is printed.
#[derive(Debug)]
struct Plan {
    format: Format,
    /// The `print fmt`, if it can be evaluated.
    print: Option<PrintFmt>,
    special: Special,
}

/// Events that the kernel prints by other rules than their `print fmt`.
#[derive(Debug)]
pub(crate) enum Special {
    /// By its `print fmt`.
    None,
    /// One of the tracer's own.
    Entry,
    /// `sys_NAME(arg: value, …)`, with the name and the place of the first argument among the fields.
    SyscallEnter(String),
    /// `sys_NAME -> 0x0`, with the name.
    SyscallExit(String),
    /// `NAME: field=value field=value`
    Synthetic,
    /// `(symbol+0x0/0x10)`, then the arguments by the rest of the `print fmt`.
    Probe(PrintFmt),
    /// `(system.event)`, then the arguments.
    Eprobe(PrintFmt, String),
}

impl Formatter {
    /// Works out how each of `events` is printed.
    pub fn new(events: &Events, options: &Options) -> Formatter {
        let mut formatter =
            Formatter { plans: Vec::new(), entries: Entries::new(events), not_evaluable: Vec::new() };
        for format in events.iter() {
            let print = PrintFmt::compile(format, options);
            let special = Special::of(format, events.eprobes(), options);
            let plan = match print {
                Ok(print) => Plan { format: format.clone(), print: Some(print), special },
                Err(error) => {
                    formatter.not_evaluable.push(error);
                    Plan { format: format.clone(), print: None, special }
                }
            };
            let index = usize::from(format.id);
            if formatter.plans.len() <= index {
                formatter.plans.resize_with(index + 1, || None);
            }
            formatter.plans[index] = Some(plan);
        }
        formatter
    }

    /// The events that are printed as their fields, with the reason.
    pub fn not_evaluable(&self) -> &[NotEvaluable] {
        &self.not_evaluable
    }

    #[inline]
    fn plan(&self, record: &[u8], context: &Context) -> Option<&Plan> {
        let id = context.machine.endian.u16(record, 0)?;
        self.plans.get(usize::from(id))?.as_ref()
    }

    /// The format of `record`.
    #[inline]
    pub fn format(&self, record: &[u8], context: &Context) -> Option<&Format> {
        self.plan(record, context).map(|plan| &plan.format)
    }

    /// Writes what the event's `print fmt` gives, or its fields where that cannot be evaluated. False, and nothing
    /// is written, when no format has this number.
    #[inline]
    pub fn message(&self, out: &mut Vec<u8>, record: &[u8], context: &Context) -> bool {
        let Some(plan) = self.plan(record, context) else { return false };
        plan.message(out, record, context);
        true
    }

    /// Writes the event as the kernel does behind the time: mostly `name: ` and the message. Ends with a newline.
    pub fn kernel_text(
        &self,
        out: &mut Vec<u8>,
        time: u64,
        record: &[u8],
        context: &Context,
        style: &EntryStyle,
    ) {
        let Some(plan) = self.plan(record, context) else {
            out.extend_from_slice(b"Unknown type ");
            number::decimal(out, u64::from(context.machine.endian.u16(record, 0).unwrap_or(0)));
            out.push(b'\n');
            return;
        };
        let start = out.len();
        match &plan.special {
            Special::None => {
                plan.name(out);
                plan.message(out, record, context);
            }
            special => {
                if plan.special_text(special, out, time, record, context, (&self.entries, style)).is_none() {
                    out.truncate(start);
                    plan.name(out);
                    plan.message(out, record, context);
                }
                if matches!(special, Special::Entry) && out.last() == Some(&b'\n') {
                    return;
                }
            }
        }
        out.push(b'\n');
    }
}

/// What the kernel's options say about its own entries.
#[derive(Clone, Debug)]
pub struct EntryStyle {
    /// `print-parent`: where a function was called from.
    pub parent: bool,
    /// `sym-offset`: offsets behind symbols.
    pub symbol_offset: bool,
    /// `sym-addr`: addresses behind symbols.
    pub symbol_address: bool,
    /// The clock counts nanoseconds.
    pub nanoseconds: bool,
}

impl Default for EntryStyle {
    fn default() -> EntryStyle {
        EntryStyle { parent: true, symbol_offset: false, symbol_address: false, nanoseconds: true }
    }
}

impl EntryStyle {
    /// A symbol, or `0` for no address.
    pub(crate) fn symbol(&self, out: &mut Vec<u8>, address: u64, context: &Context) {
        if address == 0 {
            out.push(b'0');
            return;
        }
        if address == crate::entries::TRAMPOLINE {
            out.extend_from_slice(b"[FTRACE TRAMPOLINE]");
            return;
        }
        context.symbol(out, address, self.symbol_offset);
        if self.symbol_address {
            out.extend_from_slice(b" <");
            number::hex_fixed(out, address, 2 * usize::from(context.machine.long_size));
            out.push(b'>');
        }
    }
}

impl Special {
    fn of(format: &Format, eprobes: &FxHashMap<String, String>, options: &Options) -> Special {
        if format.system == "ftrace" {
            return Special::Entry;
        }
        if format.system == "syscalls" {
            if let Some(name) = format.name.strip_prefix("sys_enter_") {
                return Special::SyscallEnter(format!("sys_{name}"));
            }
            if let Some(name) = format.name.strip_prefix("sys_exit_") {
                return Special::SyscallExit(format!("sys_{name}"));
            }
        }
        if format.system == "synthetic" {
            return Special::Synthetic;
        }
        if let Some(event) = eprobes.get(&format!("{}/{}", format.system, format.name))
            && let Ok(print) = PrintFmt::compile_probe(&format.print_fmt, format, options)
        {
            return Special::Eprobe(print, event.clone());
        }
        for (head, arguments) in
            [("\"(%lx)", ", REC->__probe_ip"), ("\"(%lx <- %lx)", ", REC->__probe_func, REC->__probe_ret_ip")]
        {
            if let Some(rest) = format.print_fmt.strip_prefix(head)
                && rest.contains(arguments)
            {
                let rest = format!("\"{}", rest.replacen(arguments, "", 1));
                if let Ok(print) = PrintFmt::compile_probe(&rest, format, options) {
                    return Special::Probe(print);
                }
            }
        }
        Special::None
    }
}

impl Plan {
    fn name(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.format.name.as_bytes());
        out.extend_from_slice(b": ");
    }

    #[inline]
    fn message(&self, out: &mut Vec<u8>, record: &[u8], context: &Context) {
        if let Some(print) = &self.print
            && print.print(out, record, context)
        {
            return;
        }
        let start = out.len();
        fields::print(out, &self.format, record, context);
        if out.get(start) == Some(&b' ') {
            out.remove(start);
        }
    }

    /// None: the record is too short for it.
    fn special_text(
        &self,
        special: &Special,
        out: &mut Vec<u8>,
        time: u64,
        record: &[u8],
        context: &Context,
        (entries, style): (&Entries, &EntryStyle),
    ) -> Option<()> {
        let endian = context.machine.endian;
        let own = |index: usize| self.format.fields.get(index)?.u64(record, endian);
        match special {
            Special::None => return None,
            Special::Entry => match entries.decode(record) {
                Some(entry) => crate::text::entry(out, &entry, time, context, style),
                None => crate::text::other_entry(out, &self.format, record, context)?,
            },
            Special::SyscallEnter(name) => {
                out.extend_from_slice(name.as_bytes());
                out.push(b'(');
                // The first field is the number of the system call.
                for (index, field) in self.format.fields.iter().skip(1).enumerate() {
                    if index > 0 {
                        out.extend_from_slice(b", ");
                    }
                    out.extend_from_slice(field.name.as_bytes());
                    out.extend_from_slice(b": ");
                    number::hex(out, field.u64(record, endian)?);
                }
                out.push(b')');
            }
            Special::SyscallExit(name) => {
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b" -> 0x");
                number::hex(out, own(1)?);
            }
            Special::Synthetic => {
                self.name(out);
                for (index, field) in self.format.fields.iter().enumerate() {
                    if index > 0 {
                        out.push(b' ');
                    }
                    out.extend_from_slice(field.name.as_bytes());
                    out.push(b'=');
                    match field.value(record, endian)? {
                        Value::Text(text) => out.extend_from_slice(text),
                        Value::Signed(value) => number::signed(out, value),
                        Value::Unsigned(value) | Value::Pointer(value) => number::decimal(out, value),
                        Value::Array(numbers) => {
                            // A stack, innermost first.
                            out.push(b'\n');
                            for address in numbers.iter().take_while(|address| *address != u64::MAX) {
                                out.extend_from_slice(b"=> ");
                                context.symbol(out, address, true);
                                out.push(b'\n');
                            }
                        }
                        Value::Bytes(_) => return None,
                    }
                }
            }
            Special::Probe(print) => {
                self.name(out);
                let (first, second) = (own(0)?, own(1));
                out.push(b'(');
                if self.format.fields.first().is_some_and(|field| field.name == "__probe_func") {
                    context.symbol(out, second?, true);
                    out.extend_from_slice(b" <- ");
                    context.symbol(out, first, false);
                } else {
                    context.symbol(out, first, true);
                }
                out.push(b')');
                print.print(out, record, context).then_some(())?;
            }
            Special::Eprobe(print, event) => {
                self.name(out);
                out.push(b'(');
                out.extend_from_slice(event.as_bytes());
                out.push(b')');
                print.print(out, record, context).then_some(())?;
            }
        }
        Some(())
    }
}
