//! What events say, as the kernel prints it.

use super::Formats;
use fathom_ftrace::{Context, Format, Forms, Names, Options, Pointers, PrintFmt, Value};
use rustc_hash::FxHashMap;
use std::fmt;
use std::io::Write;
use std::sync::OnceLock;

/// The way each event is printed, and the names that are needed for it.
pub(super) struct Texts {
    prints: FxHashMap<u16, PrintFmt>,
    load: Box<dyn Fn() -> Names + Send + Sync>,
    names: OnceLock<Names>,
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts").field("prints", &self.prints.len()).finish_non_exhaustive()
    }
}

/// The trampoline that function graph returns through, where the kernel has put a mark instead of its address.
const TRAMPOLINE: u64 = 0x7fff_ffff;

impl Texts {
    pub(super) fn new(formats: &Formats, load: Box<dyn Fn() -> Names + Send + Sync>) -> Texts {
        let compiled =
            |format: &Format| Some((format.id, PrintFmt::compile(format, &Options::default()).ok()?));
        let prints = formats.events.iter().filter_map(compiled).collect();
        Texts { prints, load, names: OnceLock::new() }
    }

    /// Appends the text of a record: what its `print fmt` says, or if that cannot be evaluated, its fields.
    pub(super) fn event(&self, format: &Format, record: &[u8], out: &mut Vec<u8>) {
        let names = self.names.get_or_init(|| (self.load)());
        let context = Context { machine: format.machine, names, pointers: Pointers::Prefixed };
        if let Some(addresses) = stack(format, record) {
            for (at, address) in addresses.enumerate() {
                out.extend_from_slice(if at == 0 { b"" } else { b" <- " });
                match address {
                    TRAMPOLINE => out.extend_from_slice(b"[FTRACE TRAMPOLINE]"),
                    address => context.symbol(out, address, false),
                }
            }
            return;
        }
        let printed = self.prints.get(&format.id).is_some_and(|print| print.print(out, record, &context));
        if !printed {
            fields(format, record, out);
        }
        // Markers may end with a line break.
        while out.last() == Some(&b'\n') {
            out.pop();
        }
    }
}

/// The addresses of a stack, innermost first; none if the event is no stack.
pub(super) fn stack<'r>(format: &Format, record: &'r [u8]) -> Option<impl Iterator<Item = u64> + 'r> {
    if format.system != "ftrace" || !matches!(format.name.as_str(), "kernel_stack" | "user_stack") {
        return None;
    }
    // The format says that there are eight; there are as many as the record has room for.
    let caller = format.field("caller")?;
    let machine = format.machine;
    let words = record.get(caller.offset..)?.chunks_exact(usize::from(machine.long_size));
    let all_ones = if machine.long_size == 8 { u64::MAX } else { u64::from(u32::MAX) };
    let addresses = words.filter_map(move |word| machine.long(word, 0));
    let count = format.field("size").and_then(|field| field.u64(record, machine.endian));
    let count = count.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
    Some(addresses.take(count).take_while(move |address| *address != 0 && *address != all_ones))
}

/// Appends `name=value` for each field.
fn fields(format: &Format, record: &[u8], out: &mut Vec<u8>) {
    for (at, field) in format.fields.iter().enumerate() {
        let Some(value) = field.value(record, format.machine.endian) else { continue };
        let space = if at == 0 { "" } else { " " };
        // Writing into memory does not fail.
        let _ = write!(out, "{space}{}=", field.name);
        let _ = match value {
            Value::Unsigned(number) => write!(out, "{number}"),
            Value::Signed(number) => write!(out, "{number}"),
            Value::Pointer(addr) => write!(out, "{addr:#x}"),
            Value::Text(text) => out.write_all(text),
            Value::Array(numbers) => {
                let list: Vec<String> = numbers.iter().map(|number| format!("{number:#x}")).collect();
                write!(out, "{{{}}}", list.join(","))
            }
            Value::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
        };
    }
}
