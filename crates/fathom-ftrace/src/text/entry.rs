//! The lines of the tracer's own entries.

use super::columns;
use crate::bprint;
use crate::entries::{Entry, Longs};
use crate::format::Format;
use crate::formatter::EntryStyle;
use crate::number;
use crate::print_fmt::{Context, Forms};

/// Writes an entry with its newline.
pub(crate) fn entry(out: &mut Vec<u8>, entry: &Entry, time: u64, context: &Context, style: &EntryStyle) {
    let symbol = |out: &mut Vec<u8>, address| style.symbol(out, address, context);
    match *entry {
        Entry::Function { ip, parent_ip, args } => {
            symbol(out, ip);
            if !args.is_empty() {
                arguments(out, args);
            }
            if style.parent {
                out.extend_from_slice(b" <-");
                symbol(out, parent_ip);
            }
        }
        Entry::GraphEntry { func, depth, .. } => {
            out.extend_from_slice(b"funcgraph_entry: --> ");
            context.symbol(out, func, false);
            out.extend_from_slice(format!(" ({depth})").as_bytes());
        }
        Entry::GraphExit { func, depth, calltime, rettime, .. } => {
            out.extend_from_slice(b"funcgraph_exit: <-- ");
            context.symbol(out, func, false);
            out.extend_from_slice(format!(" ({depth}) (start: {calltime:x}  end: {rettime:x})").as_bytes());
        }
        Entry::KernelStack(callers) => {
            out.extend_from_slice(b"<stack trace>\n");
            for address in callers.stack() {
                out.extend_from_slice(b" => ");
                symbol(out, address);
                out.push(b'\n');
            }
            return;
        }
        Entry::UserStack { callers, .. } => {
            out.extend_from_slice(b"<user stack trace>\n");
            for address in callers.stack().take_while(|address| *address != 0) {
                out.extend_from_slice(b" =>  <");
                number::hex_fixed(out, address, 2 * usize::from(context.machine.long_size));
                out.extend_from_slice(b">\n");
            }
            return;
        }
        Entry::Print { ip, .. } | Entry::Bprint { ip, .. } | Entry::Bputs { ip, .. } => {
            symbol(out, ip);
            out.extend_from_slice(b": ");
            message(out, entry, context);
            end_line(out);
            return;
        }
        Entry::RawData { id, bytes } => {
            out.extend_from_slice(b"# ");
            number::hex(out, u64::from(id));
            out.extend_from_slice(b" buf:");
            for byte in bytes {
                out.push(b' ');
                number::hex_fixed(out, u64::from(*byte), 2);
            }
        }
        Entry::FuncRepeats { ip, parent_ip, count, delta } => {
            symbol(out, ip);
            if style.parent {
                out.extend_from_slice(b" <-");
                symbol(out, parent_ip);
            }
            out.extend_from_slice(b" (repeats: ");
            number::decimal(out, count);
            out.extend_from_slice(b", last_ts:");
            let last = time.wrapping_sub(delta);
            if style.nanoseconds {
                columns::seconds(out, last.wrapping_add(500) / 1000);
            } else {
                number::decimal(out, last);
            }
            out.push(b')');
        }
    }
    out.push(b'\n');
}

/// The text of an entry that is one: what was written to `trace_marker`, or by the kernel's `trace_printk`, with its arguments.
pub fn message(out: &mut Vec<u8>, entry: &Entry, context: &Context) {
    match *entry {
        Entry::Print { text, .. } => out.extend_from_slice(text),
        Entry::Bprint { format, args, .. } => match context.names.texts.get(format) {
            Some(format) => bprint::print(out, format, args, context),
            None => unknown_text(out, format),
        },
        Entry::Bputs { text, .. } => match context.names.texts.get(text) {
            Some(text) => out.extend_from_slice(text),
            None => unknown_text(out, text),
        },
        _ => {}
    }
}

/// Texts mostly end with a newline of their own.
fn end_line(out: &mut Vec<u8>) {
    if out.last() != Some(&b'\n') {
        out.push(b'\n');
    }
}

fn unknown_text(out: &mut Vec<u8>, address: u64) {
    out.extend_from_slice(b"(0x");
    number::hex(out, address);
    out.push(b')');
}

/// `(0x1, 0x2)`
pub(super) fn arguments(out: &mut Vec<u8>, args: Longs) {
    out.push(b'(');
    for (index, value) in args.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(b"0x");
        number::hex(out, value);
    }
    out.push(b')');
}

/// Entries that only some tracers write. None: it is not one of them, or too short; the newline is not written.
pub(crate) fn other_entry(
    out: &mut Vec<u8>,
    format: &Format,
    record: &[u8],
    context: &Context,
) -> Option<()> {
    let endian = context.machine.endian;
    let number = |name: &str| format.field(name)?.u64(record, endian);
    let signed = |name: &str| format.field(name)?.i64(record, endian);
    let text = match format.name.as_str() {
        "osnoise" => osnoise(&number)?,
        "timerlat" => {
            let context = match number("context")? {
                0 => "irq",
                1 => "thread",
                _ => "user-ret",
            };
            let seqnum = number("seqnum")?;
            format!("#{seqnum:<5} context {context:>6} timer_latency {:9} ns", number("timer_latency")?)
        }
        "hwlat" => {
            let inner_outer = format!("{:4}/{:<5}", number("duration")?, number("outer_duration")?);
            let time = format!("{}.{:09}", signed("tv_sec")?, signed("tv_nsec")?);
            let mut text = format!(
                "#{:<5} inner/outer(us): {inner_outer} ts:{time} count:{}",
                number("seqnum")?,
                signed("count")?
            );
            if number("nmi_count")? > 0 {
                let total = number("nmi_total_ts")?;
                text += &format!(" nmi-total:{total} nmi-count:{}", number("nmi_count")?);
            }
            text
        }
        "context_switch" | "wakeup" => {
            let arrow = if format.name == "wakeup" { "  +" } else { "==>" };
            let state = |name| number(name).map(task_state);
            format!(
                " {:7}:{:3}:{} {arrow} [{:03}] {:7}:{:3}:{} {}",
                number("prev_pid")?,
                number("prev_prio")?,
                state("prev_state")?,
                number("next_cpu")?,
                number("next_pid")?,
                number("next_prio")?,
                state("next_state")?,
                ""
            )
            .trim_end()
            .to_owned()
        }
        "branch" => {
            let texts = |name: &str| {
                let text = format.field(name)?.text(record, endian)?;
                Some(String::from_utf8_lossy(text).into_owned())
            };
            let met = if number("correct")? != 0 { "  ok  " } else { " MISS " };
            format!("[{met}] {}:{}:{}", texts("func")?, texts("file")?, number("line")?)
        }
        _ => return None,
    };
    out.extend_from_slice(text.as_bytes());
    Some(())
}

/// Runtime, noise, per cent of the CPU that was available, the longest noise, and what it came from.
fn osnoise(number: &dyn Fn(&str) -> Option<u64>) -> Option<String> {
    let (runtime, noise) = (number("runtime")?, number("noise")?);
    let ratio = runtime.saturating_sub(noise).saturating_mul(10_000_000).checked_div(runtime).unwrap_or(0);
    let mut text = format!(
        "{runtime} {noise:10} {:3}.{:05} {:7}",
        ratio / 100_000,
        ratio % 100_000,
        number("max_sample")?
    );
    for name in ["hw_count", "nmi_count", "irq_count", "softirq_count", "thread_count"] {
        text += &format!(" {:6}", number(name)?);
    }
    Some(text)
}

/// The letter of a task's state, as these entries number it.
fn task_state(number: u64) -> char {
    "RSDTtXZPI".chars().nth(usize::try_from(number).unwrap_or(usize::MAX)).unwrap_or('?')
}
