//! Expressions of a `print fmt`, with the types of C.

use crate::report::number;
use crate::report::symbols::Symbols;
use fathom_ftrace::Endian;

/// An integer type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Int {
    /// Bytes: 1, 2, 4 or 8.
    pub(crate) size: u8,
    pub(crate) signed: bool,
}

impl Int {
    pub(crate) const INT: Self = Self { size: 4, signed: true };
    pub(crate) const U64: Self = Self { size: 8, signed: false };

    /// `value` cut to the type and extended to 64 bits again.
    #[inline]
    pub(crate) fn cut(self, value: u64) -> u64 {
        let unused = 64 - 8 * u32::from(self.size.clamp(1, 8));
        if self.signed {
            ((value << unused).cast_signed() >> unused).cast_unsigned()
        } else {
            value << unused >> unused
        }
    }

    fn promoted(self) -> Self {
        if self.size < 4 { Self::INT } else { self }
    }

    /// The type that both operands of an operator are converted to.
    pub(crate) fn common(self, other: Self) -> Self {
        let (a, b) = (self.promoted(), other.promoted());
        if a.size == b.size {
            Self { size: a.size, signed: a.signed && b.signed }
        } else if a.size > b.size {
            a
        } else {
            b
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    ShiftLeft,
    ShiftRight,
    And,
    Or,
    Xor,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Both,
    Either,
}

/// A number.
#[derive(Debug, Clone)]
pub(crate) enum Number {
    Constant(u64),
    Field {
        offset: usize,
        size: usize,
        signed: bool,
    },
    /// Bytes of what a `__data_loc` (or `__rel_loc`) points to, divided by the size of an element.
    Length {
        offset: usize,
    },
    Element {
        of: Box<Place>,
        int: Int,
        index: Box<Number>,
    },
    Negate(Box<Number>, Int),
    Complement(Box<Number>, Int),
    Not(Box<Number>),
    Binary {
        operator: Operator,
        left: Box<Number>,
        right: Box<Number>,
        int: Int,
    },
    Condition(Box<Number>, Box<Number>, Box<Number>),
    Cast(Box<Number>, Int),
}

/// Bytes of a record.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// In place; size 0 goes on to the record's end.
    Field { offset: usize, size: usize },
    /// What a `__data_loc` points to, or a `__rel_loc`.
    Dynamic { offset: usize, relative: bool },
    /// So many bytes further.
    Further(Box<Place>, Box<Number>),
}

/// A text.
#[derive(Debug, Clone)]
pub(crate) enum Words {
    Literal(Box<[u8]>),
    /// To the first NUL.
    Bytes(Place),
    Condition(Box<Number>, Box<Words>, Box<Words>),
    Flags {
        value: Box<Number>,
        between: Box<[u8]>,
        entries: Vec<(u64, Box<[u8]>)>,
    },
    Symbolic {
        value: Box<Number>,
        entries: Vec<(u64, Box<[u8]>)>,
    },
    /// Hexadecimal digits of bytes.
    Hex {
        place: Place,
        count: Box<Number>,
        spaces: bool,
    },
    Array {
        place: Place,
        count: Box<Number>,
        size: Box<Number>,
    },
    /// A set of bits as hexadecimal words.
    Bitmask(Place),
    /// A set of bits as ranges.
    Ranges(Place),
    /// A text of the kernel's, by its address.
    At(Box<Number>),
    /// Seconds with nine decimals, or without them.
    Seconds(Box<Number>),
    Nanoseconds(Box<Number>),
}

/// What expressions are evaluated on.
#[derive(Clone, Copy)]
pub(crate) struct Data<'a> {
    pub(crate) record: &'a [u8],
    pub(crate) endian: Endian,
    pub(crate) symbols: &'a Symbols,
    pub(crate) long_size: usize,
}

impl Number {
    /// Its value, extended to 64 bits; what is not in the record counts as 0, and so does a division by 0.
    #[inline]
    pub(crate) fn get(&self, data: Data<'_>) -> u64 {
        match self {
            Self::Field { offset, size, signed } => {
                if *signed {
                    data.endian.signed(data.record, *offset, *size).unwrap_or_default().cast_unsigned()
                } else {
                    data.endian.unsigned(data.record, *offset, *size).unwrap_or_default()
                }
            }
            Self::Constant(value) => *value,
            _ => self.compute(data),
        }
    }

    fn compute(&self, data: Data<'_>) -> u64 {
        match self {
            Self::Constant(_) | Self::Field { .. } => self.get(data),
            Self::Length { offset } => {
                u64::from(data.endian.u32(data.record, *offset).unwrap_or_default() >> 16)
            }
            Self::Element { of, int, index } => {
                let bytes = of.get(data);
                let at = usize::try_from(index.get(data)).ok();
                let at = at.and_then(|index| index.checked_mul(usize::from(int.size)));
                let value = at.and_then(|at| data.endian.unsigned(bytes, at, usize::from(int.size)));
                int.cut(value.unwrap_or_default())
            }
            Self::Negate(operand, int) => int.cut(operand.get(data).wrapping_neg()),
            Self::Complement(operand, int) => int.cut(!operand.get(data)),
            Self::Not(operand) => u64::from(operand.get(data) == 0),
            Self::Binary { operator: Operator::Both, left, right, .. } => {
                u64::from(left.get(data) != 0 && right.get(data) != 0)
            }
            Self::Binary { operator: Operator::Either, left, right, .. } => {
                u64::from(left.get(data) != 0 || right.get(data) != 0)
            }
            Self::Binary { operator, left, right, int } => {
                binary(*operator, int.cut(left.get(data)), int.cut(right.get(data)), *int)
            }
            Self::Condition(condition, yes, no) => {
                if condition.get(data) != 0 {
                    yes.get(data)
                } else {
                    no.get(data)
                }
            }
            Self::Cast(operand, int) => int.cut(operand.get(data)),
        }
    }

    /// The value, if it needs no record.
    pub(crate) fn constant(&self) -> Option<u64> {
        match self {
            Self::Constant(value) => Some(*value),
            Self::Negate(operand, int) => Some(int.cut(operand.constant()?.wrapping_neg())),
            Self::Complement(operand, int) => Some(int.cut(!operand.constant()?)),
            Self::Cast(operand, int) => Some(int.cut(operand.constant()?)),
            Self::Not(operand) => Some(u64::from(operand.constant()? == 0)),
            Self::Binary { operator, left, right, int } => {
                Some(binary(*operator, int.cut(left.constant()?), int.cut(right.constant()?), *int))
            }
            Self::Condition(condition, yes, no) => {
                if condition.constant()? != 0 {
                    yes.constant()
                } else {
                    no.constant()
                }
            }
            Self::Field { .. } | Self::Length { .. } | Self::Element { .. } => None,
        }
    }
}

fn binary(operator: Operator, a: u64, b: u64, int: Int) -> u64 {
    let (signed_a, signed_b) = (a.cast_signed(), b.cast_signed());
    let order = if int.signed { signed_a.cmp(&signed_b) } else { a.cmp(&b) };
    let bits = 8 * u32::from(int.size);
    let value = match operator {
        Operator::Add => a.wrapping_add(b),
        Operator::Subtract => a.wrapping_sub(b),
        Operator::Multiply => a.wrapping_mul(b),
        Operator::Divide if int.signed => signed_a.checked_div(signed_b).unwrap_or_default().cast_unsigned(),
        Operator::Divide => a.checked_div(b).unwrap_or_default(),
        Operator::Remainder if int.signed => {
            signed_a.checked_rem(signed_b).unwrap_or_default().cast_unsigned()
        }
        Operator::Remainder => a.checked_rem(b).unwrap_or_default(),
        Operator::ShiftLeft => a.wrapping_shl(b as u32 % bits),
        Operator::ShiftRight if int.signed => signed_a.wrapping_shr(b as u32 % bits).cast_unsigned(),
        Operator::ShiftRight => a.wrapping_shr(b as u32 % bits),
        Operator::And => a & b,
        Operator::Or => a | b,
        Operator::Xor => a ^ b,
        Operator::Equal => return u64::from(a == b),
        Operator::NotEqual => return u64::from(a != b),
        Operator::Less => return u64::from(order.is_lt()),
        Operator::LessEqual => return u64::from(order.is_le()),
        Operator::Greater => return u64::from(order.is_gt()),
        Operator::GreaterEqual => return u64::from(order.is_ge()),
        Operator::Both => return u64::from(a != 0 && b != 0),
        Operator::Either => return u64::from(a != 0 || b != 0),
    };
    int.cut(value)
}

impl Place {
    /// The bytes, as far as the record has them.
    #[inline]
    pub(crate) fn get<'a>(&self, data: Data<'a>) -> &'a [u8] {
        let record = data.record;
        let (start, size) = match self {
            Self::Field { offset, size: 0 } => (*offset, usize::MAX),
            Self::Field { offset, size } => (*offset, *size),
            Self::Dynamic { offset, relative } => {
                let place = data.endian.u32(record, *offset).unwrap_or_default();
                let base = if *relative { offset.saturating_add(4) } else { 0 };
                (base.saturating_add((place & 0xffff) as usize), (place >> 16) as usize)
            }
            Self::Further(place, count) => {
                let count = usize::try_from(count.get(data)).unwrap_or(usize::MAX);
                return place.get(data).get(count..).unwrap_or_default();
            }
        };
        let rest = record.get(start..).unwrap_or_default();
        &rest[..rest.len().min(size)]
    }
}

/// Bytes up to the first NUL.
#[inline]
pub(crate) fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

impl Words {
    /// Writes the text.
    pub(crate) fn write(&self, out: &mut Vec<u8>, data: Data<'_>) {
        match self {
            Self::Literal(text) => out.extend_from_slice(text),
            Self::Bytes(place) => out.extend_from_slice(until_nul(place.get(data))),
            Self::Condition(condition, yes, no) => {
                if condition.get(data) != 0 {
                    yes.write(out, data);
                } else {
                    no.write(out, data);
                }
            }
            Self::Flags { value, between, entries } => flags(out, value.get(data), between, entries),
            Self::Symbolic { value, entries } => {
                let value = value.get(data);
                match entries.iter().find(|(number, _)| *number == value) {
                    Some((_, text)) => out.extend_from_slice(text),
                    None => prefixed_hex(out, value),
                }
            }
            Self::Hex { place, count, spaces } => {
                let bytes = place.get(data);
                let count = usize::try_from(count.get(data)).unwrap_or(usize::MAX).min(bytes.len());
                for (index, byte) in bytes[..count].iter().enumerate() {
                    if *spaces && index > 0 {
                        out.push(b' ');
                    }
                    number::hex_digits(out, (*byte).into(), 2);
                }
            }
            Self::Array { place, count, size } => {
                array(out, place.get(data), count.get(data), size.get(data), data.endian);
            }
            Self::Bitmask(place) => bitmask(out, place.get(data), data),
            Self::Ranges(place) => ranges(out, place.get(data), data),
            Self::At(address) => {
                let address = address.get(data);
                match data.symbols.text(address) {
                    Some(text) => out.extend_from_slice(text),
                    None => number::hex(out, address),
                }
            }
            Self::Seconds(value) => {
                let value = value.get(data);
                number::decimal(out, value / 1_000_000_000);
            }
            Self::Nanoseconds(value) => number::decimal(out, value.get(data) % 1_000_000_000),
        }
    }
}

pub(crate) fn prefixed_hex(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(b"0x");
    number::hex(out, value);
}

fn flags(out: &mut Vec<u8>, mut value: u64, between: &[u8], entries: &[(u64, Box<[u8]>)]) {
    let mut first = true;
    for (mask, text) in entries {
        let matches = if *mask == 0 { value == 0 && first } else { value & mask == *mask };
        if matches {
            if !first {
                out.extend_from_slice(between);
            }
            out.extend_from_slice(text);
            value &= !mask;
            first = false;
            if *mask == 0 {
                return;
            }
        }
    }
    if value != 0 {
        if !first {
            out.extend_from_slice(between);
        }
        prefixed_hex(out, value);
    }
}

fn array(out: &mut Vec<u8>, bytes: &[u8], count: u64, size: u64, endian: Endian) {
    out.push(b'{');
    let size = usize::try_from(size).unwrap_or_default().max(1);
    let elements = bytes.chunks_exact(size).take(usize::try_from(count).unwrap_or(usize::MAX));
    for (index, element) in elements.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        prefixed_hex(out, endian.unsigned(element, 0, size).unwrap_or_default());
    }
    out.push(b'}');
}

/// 32-bit words from the highest on, as the kernel's `%*pb`.
fn bitmask(out: &mut Vec<u8>, bytes: &[u8], data: Data<'_>) {
    let words: Vec<u32> = words(bytes, data).collect();
    for (index, word) in words.iter().rev().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        number::hex_digits(out, (*word).into(), 8);
    }
}

/// The 32-bit words of a bitmap of `long`s, from the lowest on.
fn words<'a>(bytes: &'a [u8], data: Data<'a>) -> impl Iterator<Item = u32> + 'a {
    bytes.chunks_exact(data.long_size).flat_map(move |long| {
        let long = data.endian.unsigned(long, 0, data.long_size).unwrap_or_default();
        let count = data.long_size / 4;
        (0..count).map(move |index| (long >> (32 * index)) as u32)
    })
}

pub(crate) fn ranges(out: &mut Vec<u8>, bytes: &[u8], data: Data<'_>) {
    let bits = words(bytes, data).enumerate().flat_map(|(word, value)| {
        (0..32).filter(move |bit| value & (1 << bit) != 0).map(move |bit| word * 32 + bit)
    });
    let mut open: Option<(usize, usize)> = None;
    let mut first = true;
    let mut close = |out: &mut Vec<u8>, (from, to): (usize, usize)| {
        if !first {
            out.push(b',');
        }
        first = false;
        number::decimal(out, from as u64);
        if to > from {
            out.push(b'-');
            number::decimal(out, to as u64);
        }
    };
    for bit in bits {
        open = match open {
            Some((from, to)) if to + 1 == bit => Some((from, bit)),
            Some(range) => {
                close(out, range);
                Some((bit, bit))
            }
            None => Some((bit, bit)),
        };
    }
    if let Some(range) = open {
        close(out, range);
    }
}
