//! The text of an event by its `print fmt`.
//!
//! `fathom-ftrace` compiles and prints it, as the kernel would. Here is what trace-cmd prints otherwise, found by looking
//! at what trace-cmd 3.1.6 prints:
//!
//! - the fields of an event whose `print fmt` it cannot work out, behind `[FAILED TO PARSE]`;
//! - names that the format does not explain are the kernel's symbols, or 0; lists match nothing of that name;
//! - fewer of the kernel's functions and of the letters behind `%p`;
//! - addresses as they were recorded, symbols without size and module;
//! - sets of CPUs as ranges;
//! - numbers by the rules of the C library;
//! - what a record is too short for as 0.

use super::raw::RawFields;
use super::symbols::Symbols;
use fathom_ftrace::{Dialect, Format, Forms, Machine, Name, PrintFmt, number};

/// The text of an event.
pub(crate) enum Text {
    /// Its `print fmt`.
    Print(PrintFmt),
    /// Its fields, where the `print fmt` cannot be worked out.
    Fields(RawFields),
}

impl Text {
    pub(crate) fn new(format: &Format, symbols: &Symbols) -> Self {
        match PrintFmt::compile(format, &TraceCmd { symbols, machine: format.machine }) {
            Ok(print) => Self::Print(print),
            Err(_) => Self::Fields(RawFields::plain(format)),
        }
    }

    /// Writes the text.
    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>, record: &[u8], machine: Machine, symbols: &Symbols) {
        match self {
            Self::Print(print) => {
                print.print(out, record, &TraceCmd { symbols, machine });
            }
            Self::Fields(fields) => {
                out.extend_from_slice(b"[FAILED TO PARSE]");
                fields.write(out, record, machine.endian, symbols);
            }
        }
    }
}

/// How trace-cmd reads a `print fmt`, and how it writes values.
struct TraceCmd<'a> {
    symbols: &'a Symbols,
    machine: Machine,
}

/// The kernel's functions that trace-cmd works out.
const KNOWN: [&str; 23] = [
    "__builtin_expect",
    "__get_bitmask",
    "__get_cpumask",
    "__get_dynamic_array",
    "__get_dynamic_array_len",
    "__get_rel_bitmask",
    "__get_rel_cpumask",
    "__get_rel_dynamic_array",
    "__get_rel_dynamic_array_len",
    "__get_rel_sockaddr",
    "__get_rel_str",
    "__get_sockaddr",
    "__get_str",
    "__print_array",
    "__print_dynamic_array",
    "__print_flags",
    "__print_flags_u64",
    "__print_hex",
    "__print_hex_str",
    "__print_symbolic",
    "__print_symbolic_u64",
    // The recording does not say how long a jiffy was; trace-cmd prints jiffies too.
    "jiffies_to_msecs",
    "sizeof",
];

impl Dialect for TraceCmd<'_> {
    fn name(&self, name: &str) -> Name {
        Name::Address(self.symbols.address(name).unwrap_or_default())
    }

    // Told without a look at the symbols.
    fn is_number(&self, _name: &str) -> bool {
        false
    }

    fn knows(&self, function: &str) -> bool {
        KNOWN.contains(&function)
    }

    fn gnu(&self) -> bool {
        false
    }

    fn page_structure(&self) -> usize {
        0
    }

    fn fits_kernel_texts(&self) -> bool {
        false
    }

    fn cpus_are_ranges(&self) -> bool {
        true
    }

    fn c_library(&self) -> bool {
        true
    }

    fn letters<'l>(&self, letters: &'l [u8], in_record: bool) -> Option<&'l [u8]> {
        let (first, rest) = (letters.first(), letters.get(1..).unwrap_or_default());
        if !in_record {
            return match first {
                Some(b's' | b'S' | b'f' | b'F' | b'B') => letters.get(..1),
                // The bytes that it pointed to are not in the record.
                Some(b'M' | b'm' | b'I' | b'i' | b'U' | b'h' | b'b') => None,
                _ => Some(b""),
            };
        }
        Some(match (first?, rest) {
            (b'M', [b'F', ..]) => b"MF",
            (b'M', _) => b"M",
            (b'm', _) => b"m",
            (b'I' | b'i', [b'4', ..]) => b"I4",
            (b'I', [b'6', rest @ ..]) if rest.contains(&b'c') => b"I6c",
            (b'I' | b'i', [b'6', ..]) => b"I6",
            (b'I' | b'i', [b'S', rest @ ..]) => {
                if rest.contains(&b'p') {
                    b"IScp"
                } else {
                    b"ISc"
                }
            }
            (b'U', [b'b', ..]) => b"U",
            (b'U', _) | (b'h', [] | [b'C' | b'D' | b'N', ..]) => letters,
            (b'h', _) => b"h",
            (b'b', [b'l', ..]) => b"bl",
            _ => return None,
        })
    }
}

impl Forms for TraceCmd<'_> {
    const LENIENT: bool = true;
    const NAMES_ZERO: bool = true;

    fn machine(&self) -> Machine {
        self.machine
    }

    fn symbol(&self, out: &mut Vec<u8>, address: u64, offset: bool) {
        let Some((name, begin)) = self.symbols.find(address) else {
            out.extend_from_slice(b"0x");
            return number::hex(out, address);
        };
        out.extend_from_slice(name);
        if offset {
            out.extend_from_slice(b"+0x");
            number::hex(out, address.wrapping_sub(begin));
        }
    }

    fn pointer(&self, out: &mut Vec<u8>, address: u64) {
        if address == 0 {
            return out.extend_from_slice(b"(nil)");
        }
        out.extend_from_slice(b"0x");
        number::hex(out, address);
    }

    fn kernel_text(&self, out: &mut Vec<u8>, address: u64) {
        match self.symbols.text(address) {
            Some(text) => out.extend_from_slice(text),
            None => number::hex(out, address),
        }
    }
}
