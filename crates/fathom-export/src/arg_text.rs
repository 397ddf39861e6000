//! Recorded values as the raw dump shows them (source: output formats, section 6.1).

use fathom_store::args::{ArgFormat, ArgSlot, Value};
use fathom_store::{Endian, FunctionKind, Resolver, Trace};
use fathom_view::Enums;
use std::fmt::Write;

/// What is needed to look at values.
pub(crate) struct Values<'v, 'a> {
    pub(crate) trace: &'a dyn Trace,
    pub(crate) resolver: &'v mut Box<dyn Resolver + 'a>,
    /// Time of the record, ns: an address means something only at a time.
    pub(crate) time: u64,
    /// The enumerations, once one has been met.
    pub(crate) enums: &'v mut Option<Enums>,
}

impl Values<'_, '_> {
    /// The text behind `args[0] ` or `retval `, without the line break.
    pub(crate) fn text(&mut self, value: &Value<'_>) -> String {
        let number = self.number(value.bytes);
        let name = value.spec.type_name.as_deref().unwrap_or_default();
        match value.spec.format {
            ArgFormat::String => format!("str: {}", printable(value.bytes)),
            ArgFormat::StdString => format!("std::string: {}", printable(value.bytes)),
            ArgFormat::Pointer => self.pointer(number),
            // As the peer has it, an enumeration that is returned is only a number.
            ArgFormat::Enum if value.spec.slot != ArgSlot::Return => self.enumeration(name, number),
            ArgFormat::Struct => structure(name, value.bytes),
            // Characters of Rust have four bytes.
            ArgFormat::Char if value.bytes.len() != 4 => format!("c8: {:#04x}", number & 0xff),
            format => plain(format.letter(), value.bytes, self.trace.info().endian),
        }
    }

    fn number(&self, bytes: &[u8]) -> u64 {
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        match self.trace.info().endian {
            Endian::Little => bytes.iter().take(8).rev().fold(0, add),
            Endian::Big => bytes.iter().take(8).fold(0, add),
        }
    }

    fn enumeration(&mut self, name: &str, number: u64) -> String {
        let trace = self.trace;
        let parts = self.enums.get_or_insert_with(|| Enums::of(trace)).parts(name, number);
        let text = parts.map_or_else(|| format!("<ENUM?> {number:x}"), |parts| parts.join("|"));
        format!("enum {name}: {text} ({number})")
    }

    fn pointer(&mut self, address: u64) -> String {
        if address == 0 {
            return "p: (nil)".to_owned();
        }
        let function = self.trace.function(self.resolver.resolve(self.time, address));
        match function.kind {
            FunctionKind::Unknown => format!("p: {address:#x}"),
            _ => format!("p: {address:x} (&{})", function.name),
        }
    }
}

/// `d64: 0x0000000000000001`: letter, bits, all digits.
fn plain(letter: char, bytes: &[u8], endian: Endian) -> String {
    let mut text = format!("{letter}{}: 0x", bytes.len() * 8);
    let mut digits = bytes.to_vec();
    if endian == Endian::Little {
        digits.reverse();
    }
    for byte in digits {
        // Formatting into a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn structure(name: &str, bytes: &[u8]) -> String {
    let mut text = format!("struct {name}:");
    for line in bytes.chunks(16) {
        text.push_str("\n\t");
        for (at, byte) in line.iter().enumerate() {
            let _ = write!(text, "{byte:02x} ");
            if at % 8 == 7 {
                text.push(' ');
            }
        }
    }
    text
}

/// Text of the traced program, without what a terminal would obey.
fn printable(bytes: &[u8]) -> String {
    if bytes == [0xff; 4] {
        return "NULL".to_owned();
    }
    let keep = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    String::from_utf8_lossy(bytes).chars().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_store::args::{ArgLocation, ArgSpec};
    use fathom_store::memory::MemoryTrace;

    #[test]
    fn texts() {
        let mut trace = MemoryTrace::new();
        trace.info.endian = Endian::Little;
        let main = trace.address_of("main");
        let trace: &dyn Trace = &trace;
        let mut resolver = trace.resolver(1);
        let mut enums = None;
        let mut values = Values { trace, resolver: &mut resolver, time: 0, enums: &mut enums };
        let mut text = |format, bytes: &[u8]| {
            let (slot, location) = (ArgSlot::Integer(1), ArgLocation::Index);
            let spec = ArgSpec { slot, format, size: 8, location, type_name: Some("x".into()) };
            values.text(&Value { spec: &spec, bytes })
        };
        assert_eq!(text(ArgFormat::Auto, &7u64.to_le_bytes()), "d64: 0x0000000000000007");
        assert_eq!(text(ArgFormat::Signed, &(-3i16).to_le_bytes()), "i16: 0xfffd");
        assert_eq!(text(ArgFormat::Float, &[0; 10]), "f80: 0x00000000000000000000");
        assert_eq!(text(ArgFormat::Char, b"y"), "c8: 0x79");
        assert_eq!(text(ArgFormat::Char, &[0xe9, 0, 0, 0]), "c32: 0x000000e9");
        assert_eq!(text(ArgFormat::String, b"a\x1b[1m\n"), "str: a\u{fffd}[1m\n");
        assert_eq!(text(ArgFormat::StdString, &[0xff; 4]), "std::string: NULL");
        assert_eq!(text(ArgFormat::Enum, &4u32.to_le_bytes()), "enum x: <ENUM?> 4 (4)");
        assert_eq!(text(ArgFormat::Pointer, &0u64.to_le_bytes()), "p: (nil)");
        assert_eq!(text(ArgFormat::Pointer, &0x12u64.to_le_bytes()), "p: 0x12");
        assert_eq!(text(ArgFormat::Pointer, &main.to_le_bytes()), "p: 401000 (&main)");
        assert_eq!(text(ArgFormat::Struct, &[1; 9]), "struct x:\n\t01 01 01 01 01 01 01 01  01 ");
    }
}
