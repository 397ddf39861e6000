//! The greater part of most texts: short literals, and decimal and hexadecimal numbers in place.

use super::Piece;
use super::expr::{Data, Number};
use crate::line::{Line, NUMBER, Short};
use crate::machine::{Endian, sign_extend};

/// Quick pieces one after another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Run {
    pieces: Box<[Quick]>,
    /// The most bytes that they take.
    room: usize,
}

/// A literal and the number behind it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quick {
    before: Short,
    number: Option<Field>,
}

/// A number in place and how it is printed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Field {
    offset: u32,
    size: u8,
    /// Whether the sign is extended to 64 bits.
    signed: bool,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Signed,
    Unsigned,
    Hex,
}

impl Quick {
    /// Nothing for what is not quick.
    pub(crate) fn of(piece: &Piece) -> Option<Quick> {
        let (number, to, form) = match piece {
            Piece::Literal(text) => return Some(Quick { before: Short::new(text)?, number: None }),
            Piece::Decimal(number, to) if to.signed => (number, *to, Form::Signed),
            Piece::Decimal(number, to) => (number, *to, Form::Unsigned),
            Piece::Hex(number, to) => (number, *to, Form::Hex),
            _ => return None,
        };
        let Number::Field { offset, size: size @ (1 | 2 | 4 | 8), signed } = *number else { return None };
        let signed = match to.size {
            same if same == size => to.signed,
            8 => signed,
            // Cut to a smaller type, or to a larger one and then printed.
            _ => return None,
        };
        Some(Quick { before: Short::EMPTY, number: Some(Field { offset, size, signed, form }) })
    }

    /// Adds one to a run: a number goes to the literal before it.
    pub(crate) fn push(run: &mut Vec<Quick>, quick: Quick) {
        match run.last_mut() {
            Some(last @ Quick { number: None, .. }) if quick.number.is_some() => last.number = quick.number,
            _ => run.push(quick),
        }
    }
}

impl Run {
    /// The run that was gathered, if there is one. Nothing is gathered then.
    pub(crate) fn of(gathered: &mut Vec<Quick>) -> Option<Run> {
        let pieces: Box<[Quick]> = std::mem::take(gathered).into();
        let room = pieces.iter().map(|quick| quick.before.len() + NUMBER).sum();
        (!pieces.is_empty()).then_some(Run { pieces, room })
    }

    /// Writes it. None when the record is too short for it.
    #[inline]
    pub(crate) fn print(&self, out: &mut Vec<u8>, data: Data) -> Option<()> {
        let mut printed = Some(());
        Line::append(out, self.room, |line| {
            for quick in &self.pieces {
                line.short(&quick.before);
                let Some(field) = &quick.number else { continue };
                let Some(value) = field.value(data) else {
                    printed = None;
                    return;
                };
                match field.form {
                    Form::Signed => line.signed(value.cast_signed()),
                    Form::Unsigned => line.decimal(value),
                    Form::Hex => line.hex(value),
                }
            }
        });
        printed
    }
}

impl Field {
    #[inline(always)]
    fn value(&self, data: Data) -> Option<u64> {
        let (offset, size) = (self.offset as usize, usize::from(self.size));
        // Most records have eight bytes there, of which the number is the first ones.
        let value = match data.record.get(offset..).and_then(|rest| rest.first_chunk()) {
            Some(bytes) if data.endian == Endian::Little => {
                let above = (64 - 8 * u32::from(self.size)) & 63;
                let high = u64::from_le_bytes(*bytes) << above;
                return Some(if self.signed {
                    (high.cast_signed() >> above).cast_unsigned()
                } else {
                    high >> above
                });
            }
            _ => data.or_zero(data.endian.unsigned(data.record, offset, size))?,
        };
        Some(if self.signed { sign_extend(value, size) as u64 } else { value })
    }
}
