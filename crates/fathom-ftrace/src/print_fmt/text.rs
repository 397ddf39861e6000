//! Expressions that are texts: what `%s` prints.

use super::expr::{Bytes, Data, Number};
use super::{Forms, pointer};
use crate::format::until_nul;
use crate::number;

/// An expression whose value is a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Text {
    /// Bytes to the first NUL.
    Bytes(Bytes),
    /// A text that a probe read, in quotes.
    Quoted(Bytes),
    /// The text at an address of the kernel.
    Kernel(Number),
    /// `__print_symbolic`.
    Symbolic(Number, Table),
    /// `__print_flags`, with what is between the names.
    Flags(Number, Box<[u8]>, Table),
    /// `__print_hex` and `__print_hex_str`, with what is between the bytes.
    Hex {
        bytes: Bytes,
        count: Number,
        separator: Option<u8>,
    },
    /// `__print_hex_dump`.
    HexDump(Box<HexDump>),
    /// `__print_array` and `__print_dynamic_array`: without a count it is all.
    Array {
        bytes: Bytes,
        count: Option<Number>,
        size: Number,
    },
    /// `__get_bitmask` and `__get_cpumask`.
    Bitmask(Bytes),
    /// `__get_cpumask` where it gives ranges.
    Ranges(Bytes),
    /// `__get_sockaddr`.
    Socket(Bytes),
    Condition(Box<Number>, Box<Text>, Box<Text>),
}

/// What `__print_hex_dump` is called with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HexDump {
    pub(crate) prefix: Box<[u8]>,
    /// 0 none, 1 address, 2 offset.
    pub(crate) prefix_type: Number,
    pub(crate) row: Number,
    pub(crate) group: Number,
    pub(crate) bytes: Bytes,
    pub(crate) count: Number,
    pub(crate) ascii: Number,
}

/// Names of values or of bits, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    entries: Box<[(u64, Box<[u8]>)]>,
    /// Index into `entries` plus one for small values, so that they need no search.
    small: Box<[u16]>,
}

/// Values below are found without a search.
const SMALL: u64 = 512;

impl Table {
    pub(crate) fn new(entries: Vec<(u64, Box<[u8]>)>) -> Table {
        let highest = entries.iter().map(|(value, _)| *value).filter(|value| *value < SMALL).max();
        let mut small = vec![0; highest.map_or(0, |highest| highest as usize + 1)];
        for (index, (value, _)) in entries.iter().enumerate().take(usize::from(u16::MAX) - 1) {
            // Of equal values the first counts.
            if let Some(place) = small.get_mut(usize::try_from(*value).unwrap_or(usize::MAX))
                && *place == 0
            {
                *place = index as u16 + 1;
            }
        }
        Table { entries: entries.into(), small: small.into() }
    }

    #[inline]
    fn name(&self, value: u64) -> Option<&[u8]> {
        if let Some(index) = self.small.get(usize::try_from(value).unwrap_or(usize::MAX)) {
            let index = usize::from(*index).checked_sub(1)?;
            return self.entries.get(index).map(|(_, name)| &**name);
        }
        self.entries.iter().find(|(of, _)| *of == value).map(|(_, name)| &**name)
    }
}

impl Text {
    /// Writes it. None when the record is too short for it.
    pub(crate) fn print<F: Forms>(&self, out: &mut Vec<u8>, data: Data, forms: &F) -> Option<()> {
        match self {
            Text::Bytes(bytes) => out.extend_from_slice(until_nul(bytes.eval(data)?)),
            Text::Quoted(bytes) => match bytes.eval(data)? {
                [] => out.extend_from_slice(b"(fault)"),
                text => {
                    out.push(b'"');
                    out.extend_from_slice(until_nul(text));
                    out.push(b'"');
                }
            },
            Text::Kernel(address) => forms.kernel_text(out, address.eval(data)?),
            Text::Symbolic(value, table) => {
                let value = forms.long(value.eval(data)?);
                match table.name(value) {
                    Some(name) => out.extend_from_slice(name),
                    None => prefixed(out, value),
                }
            }
            Text::Flags(value, between, table) => {
                flags(out, forms.long(value.eval(data)?), between, table, F::NAMES_ZERO);
            }
            Text::Hex { bytes, count, separator } => {
                let count = count.eval(data)? as i64;
                let count = if F::LENIENT && count < 0 { usize::MAX } else { usize::try_from(count).ok()? };
                pointer::separated(out, data.part(bytes.eval(data)?, 0, count)?, *separator);
            }
            Text::HexDump(dump) => dump.print(out, data)?,
            Text::Array { bytes, count, size } => {
                let (bytes, size) = (bytes.eval(data)?, usize::try_from(size.eval(data)?).ok()?);
                let count = match count {
                    Some(count) => usize::try_from(count.eval(data)? as u32).ok()?,
                    None => bytes.len().checked_div(size)?,
                };
                let count = if F::LENIENT { count.min(bytes.len().checked_div(size)?) } else { count };
                array(out, bytes, count, size, data)?;
            }
            Text::Bitmask(bytes) => {
                let bytes = bytes.eval(data)?;
                pointer::bit_words(out, bytes, bytes.len() * 8, forms.machine());
            }
            Text::Ranges(bytes) => {
                let bytes = bytes.eval(data)?;
                pointer::bit_list(out, bytes, bytes.len() * 8, forms.machine());
            }
            Text::Socket(bytes) => {
                let letters = pointer::Pointer::of(b"ISpc")?;
                letters.print(out, bytes.eval(data)?, None, forms.machine(), F::LENIENT)?;
            }
            Text::Condition(condition, yes, no) => {
                let chosen = if condition.eval(data)? != 0 { yes } else { no };
                chosen.print(out, data, forms)?;
            }
        }
        Some(())
    }
}

fn prefixed(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(b"0x");
    number::hex(out, value);
}

fn flags(out: &mut Vec<u8>, value: u64, between: &[u8], table: &Table, names_zero: bool) {
    let mut rest = value;
    let mut first = true;
    for (mask, name) in &table.entries {
        let set = match *mask {
            0 if names_zero => value == 0 && first,
            0 => rest != 0,
            mask => rest & mask == mask,
        };
        if set {
            if !std::mem::replace(&mut first, false) {
                out.extend_from_slice(between);
            }
            out.extend_from_slice(name);
            rest &= !mask;
        }
    }
    if rest != 0 {
        if !first {
            out.extend_from_slice(between);
        }
        prefixed(out, rest);
    }
}

fn array(out: &mut Vec<u8>, bytes: &[u8], count: usize, size: usize, data: Data) -> Option<()> {
    out.push(b'{');
    for index in 0..count {
        if index > 0 {
            out.push(b',');
        }
        prefixed(out, data.endian.unsigned(bytes, index.checked_mul(size)?, size)?);
    }
    out.push(b'}');
    Some(())
}

impl HexDump {
    fn print(&self, out: &mut Vec<u8>, data: Data) -> Option<()> {
        let count = usize::try_from(self.count.eval(data)?).ok()?;
        let bytes = self.bytes.eval(data)?.get(..count)?;
        let row = if self.row.eval(data)? == 32 { 32 } else { 16 };
        let group = match self.group.eval(data)? {
            size @ (2 | 4 | 8) if (row as u64).is_multiple_of(size) => size as usize,
            _ => 1,
        };
        let (offsets, ascii) = (self.prefix_type.eval(data)? == 2, self.ascii.eval(data)? != 0);
        out.push(b'\n');
        for (index, line) in bytes.chunks(row).enumerate() {
            out.extend_from_slice(&self.prefix);
            if offsets {
                number::hex_fixed(out, (index * row) as u64, 8);
                out.extend_from_slice(b": ");
            }
            let start = out.len();
            for (index, part) in line.chunks(group).enumerate() {
                if index > 0 {
                    out.push(b' ');
                }
                match data.endian.unsigned(part, 0, group) {
                    Some(value) => number::hex_fixed(out, value, 2 * group),
                    None => pointer::separated(out, part, None),
                }
            }
            if ascii {
                let column = row * 2 + row / group + 1;
                number::spaces(out, (start + column).saturating_sub(out.len()));
                out.extend(line.iter().map(|byte| if (32..127).contains(byte) { *byte } else { b'.' }));
            }
            out.push(b'\n');
        }
        Some(())
    }
}
