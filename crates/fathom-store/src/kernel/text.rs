//! What events say, as the kernel prints it.

use super::Formats;
use fathom_ftrace::{Context, Entries, Entry, Format, Forms, Names, Options, Pointers, PrintFmt, Value};
use rustc_hash::FxHashMap;
use std::fmt;
use std::io::Write;
use std::sync::OnceLock;

/// The way each event is printed, and the names that are needed for it.
pub(super) struct Texts {
    prints: FxHashMap<u16, PrintFmt>,
    entries: Entries,
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
        Texts { prints, entries: Entries::new(&formats.events), load, names: OnceLock::new() }
    }

    /// Appends the text of a record: what its `print fmt` says, or if that cannot be evaluated, its fields.
    pub(super) fn event(&self, format: &Format, record: &[u8], out: &mut Vec<u8>) {
        let names = self.names.get_or_init(|| (self.load)());
        let context = Context { machine: format.machine, names, pointers: Pointers::Prefixed };
        let before = out.len();
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
        // The kernel's own texts are a format and arguments, of which a `print fmt` knows nothing.
        if format.system == "ftrace"
            && let Some(entry @ (Entry::Bprint { ip, .. } | Entry::Bputs { ip, .. })) =
                self.entries.decode(record)
        {
            context.symbol(out, ip, false);
            out.extend_from_slice(b": ");
            fathom_ftrace::text::message(out, &entry, &context);
        }
        let own = out.len() > before;
        let printed =
            own || self.prints.get(&format.id).is_some_and(|print| print.print(out, record, &context));
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

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_ftrace::{Kallsyms, Machine};

    const BPRINT: &str = "name: bprint\nID: 6\nformat:\n\
        \tfield:unsigned long ip;\toffset:8;\tsize:8;\tsigned:0;\n\
        \tfield:const char * fmt;\toffset:16;\tsize:8;\tsigned:0;\n\
        \tfield:u32 buf[];\toffset:24;\tsize:0;\tsigned:0;\n\n\
        print fmt: \"%ps: %s\", (void *)REC->ip, REC->fmt\n";
    const BPUTS: &str = "name: bputs\nID: 14\nformat:\n\
        \tfield:unsigned long ip;\toffset:8;\tsize:8;\tsigned:0;\n\
        \tfield:const char * str;\toffset:16;\tsize:8;\tsigned:0;\n\n\
        print fmt: \"%ps: %s\", (void *)REC->ip, REC->str\n";

    #[test]
    fn texts_of_trace_printk_have_their_arguments() {
        let mut formats = Formats::new(Machine::LITTLE64);
        formats.add("ftrace", BPRINT).unwrap();
        formats.add("ftrace", BPUTS).unwrap();
        let names = || Names {
            symbols: Kallsyms::parse("ffffffff81000000 T here\nffffffff81000100 T next\n"),
            texts: fathom_ftrace::Texts::parse(b"0x10 : \"got %d of %s\\n\"\n0x20 : \"plain\\n\"\n"),
        };
        let texts = Texts::new(&formats, Box::new(names));
        let said = |id: u16, text: u64, args: &[u8]| {
            let mut record = vec![id as u8, 0, 0, 0, 0, 0, 0, 0];
            record.extend(0xffff_ffff_8100_0004_u64.to_le_bytes());
            record.extend(text.to_le_bytes());
            record.extend(args);
            let mut out = Vec::new();
            let format = formats.events.iter().find(|format| format.id == id).unwrap();
            texts.event(format, &record, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(said(6, 0x10, b"\x07\0\0\0it\0\0"), "here: got 7 of it");
        assert_eq!(said(14, 0x20, b""), "here: plain");
        assert_eq!(said(6, 0x30, b"\x07\0\0\0"), "here: (0x30)");
    }
}
