//! Compiled expressions: every node knows its C type, so that evaluating is arithmetic on 64 bits cut to that type.

use crate::machine::{Endian, sign_extend};

/// A C integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Int {
    /// Bytes: 1, 2, 4 or 8.
    pub(crate) size: u8,
    pub(crate) signed: bool,
}

impl Int {
    pub(crate) const INT: Int = Int { size: 4, signed: true };
    pub(crate) const U64: Int = Int { size: 8, signed: false };

    /// `value` cut to the type, and extended to 64 bits as it is.
    #[inline]
    pub(crate) fn cut(self, value: u64) -> u64 {
        match (self.size, self.signed) {
            (8, _) => value,
            (size, true) => sign_extend(value, size as usize) as u64,
            (size, false) => value & ((1 << (8 * u32::from(size))) - 1),
        }
    }

    /// The type that operands of a smaller one have.
    pub(crate) fn promoted(self) -> Int {
        if self.size < 4 { Int::INT } else { self }
    }

    /// The type of an operation on both.
    pub(crate) fn common(self, other: Int) -> Int {
        let (a, b) = (self.promoted(), other.promoted());
        match a.size.cmp(&b.size) {
            std::cmp::Ordering::Equal => Int { size: a.size, signed: a.signed && b.signed },
            std::cmp::Ordering::Greater => a,
            std::cmp::Ordering::Less => b,
        }
    }
}

/// An operator with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// An expression whose value is a number or an address.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Number {
    Constant(u64),
    /// A field in place.
    Field {
        offset: u32,
        size: u8,
        signed: bool,
    },
    /// The length of what a `__data_loc` or `__rel_loc` points to.
    Length {
        offset: u32,
    },
    /// One of the numbers in `bytes`.
    Element {
        bytes: Box<Bytes>,
        of: Int,
        index: Box<Number>,
    },
    Negate(Box<Number>, Int),
    Complement(Box<Number>, Int),
    Not(Box<Number>),
    /// Operands are converted to `by` first; comparisons give 0 or 1.
    Binary {
        operator: Operator,
        left: Box<Number>,
        right: Box<Number>,
        by: Int,
    },
    Both(Box<Number>, Box<Number>),
    Either(Box<Number>, Box<Number>),
    Condition(Box<Number>, Box<Number>, Box<Number>),
    Cast(Box<Number>, Int),
}

/// An expression that is a place with bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bytes {
    /// In place; size 0 goes on to the record's end.
    Field {
        offset: u32,
        size: u32,
    },
    /// What a `__data_loc` (or `__rel_loc`) points to.
    Dynamic {
        offset: u32,
        relative: bool,
    },
    Literal(Box<[u8]>),
    /// So many bytes further.
    Further(Box<Bytes>, Box<Number>),
    Condition(Box<Number>, Box<Bytes>, Box<Bytes>),
}

/// What an expression is evaluated on.
#[derive(Clone, Copy)]
pub(crate) struct Data<'a> {
    pub(crate) record: &'a [u8],
    pub(crate) endian: Endian,
    /// See [`Forms::LENIENT`](super::Forms::LENIENT).
    pub(crate) lenient: bool,
}

impl<'a> Data<'a> {
    /// A value, or what counts where there is none.
    #[inline]
    pub(crate) fn or_zero(self, value: Option<u64>) -> Option<u64> {
        if value.is_none() && self.lenient { Some(0) } else { value }
    }

    /// `size` of the bytes from `start` on; as many as there are where that is enough.
    #[inline]
    pub(crate) fn part(self, bytes: &'a [u8], start: usize, size: usize) -> Option<&'a [u8]> {
        match start.checked_add(size).and_then(|end| bytes.get(start..end)) {
            None if self.lenient => Some(bytes.get(start..).unwrap_or_default()),
            part => part,
        }
    }
}

impl Number {
    /// Its value, extended to 64 bits. None when the record is too short, and for a division by zero.
    #[inline]
    pub(crate) fn eval(&self, data: Data) -> Option<u64> {
        match self {
            Number::Field { offset, size, signed } => {
                let value = data.endian.unsigned(data.record, *offset as usize, *size as usize);
                let value = data.or_zero(value)?;
                Some(if *signed { sign_extend(value, *size as usize) as u64 } else { value })
            }
            Number::Constant(value) => Some(*value),
            _ => self.eval_more(data),
        }
    }

    fn eval_more(&self, data: Data) -> Option<u64> {
        Some(match self {
            Number::Constant(_) | Number::Field { .. } => return self.eval(data),
            Number::Length { offset } => data.or_zero(
                data.endian.u32(data.record, *offset as usize).map(|place| u64::from(place >> 16)),
            )?,
            Number::Element { bytes, of, index } => {
                let (bytes, index) = (bytes.eval(data)?, index.eval(data)?);
                let size = usize::from(of.size);
                let at = usize::try_from(index).ok().and_then(|index| index.checked_mul(size));
                of.cut(data.or_zero(at.and_then(|at| data.endian.unsigned(bytes, at, size)))?)
            }
            Number::Negate(operand, by) => by.cut(operand.eval(data)?.wrapping_neg()),
            Number::Complement(operand, by) => by.cut(!operand.eval(data)?),
            Number::Not(operand) => u64::from(operand.eval(data)? == 0),
            Number::Binary { operator, left, right, by } => {
                data.or_zero(binary(*operator, left.eval(data)?, right.eval(data)?, *by))?
            }
            Number::Both(left, right) => u64::from(left.eval(data)? != 0 && right.eval(data)? != 0),
            Number::Either(left, right) => u64::from(left.eval(data)? != 0 || right.eval(data)? != 0),
            Number::Condition(condition, yes, no) => {
                if condition.eval(data)? != 0 {
                    yes.eval(data)?
                } else {
                    no.eval(data)?
                }
            }
            Number::Cast(operand, to) => to.cut(operand.eval(data)?),
        })
    }

    /// The number itself when it needs no record.
    pub(crate) fn constant(&self) -> Option<u64> {
        match self {
            Number::Constant(value) => Some(*value),
            _ => None,
        }
    }

    /// The same, as a constant if all operands are.
    pub(crate) fn folded(self) -> Number {
        let constant = match &self {
            Number::Negate(a, _) | Number::Complement(a, _) | Number::Not(a) | Number::Cast(a, _) => {
                a.constant().is_some()
            }
            Number::Binary { left, right, .. } | Number::Both(left, right) | Number::Either(left, right) => {
                left.constant().is_some() && right.constant().is_some()
            }
            Number::Condition(condition, yes, no) => match condition.constant() {
                Some(0) => return (**no).clone(),
                Some(_) => return (**yes).clone(),
                None => false,
            },
            _ => false,
        };
        let empty = Data { record: &[], endian: Endian::Little, lenient: false };
        match constant.then(|| self.eval(empty)).flatten() {
            Some(value) => Number::Constant(value),
            None => self,
        }
    }
}

fn binary(operator: Operator, left: u64, right: u64, by: Int) -> Option<u64> {
    let (a, b) = (by.cut(left), by.cut(right));
    let bits = u32::from(by.size) * 8;
    let ordering = if by.signed { (a as i64).cmp(&(b as i64)) } else { a.cmp(&b) };
    Some(by.cut(match operator {
        Operator::Add => a.wrapping_add(b),
        Operator::Subtract => a.wrapping_sub(b),
        Operator::Multiply => a.wrapping_mul(b),
        Operator::Divide if by.signed => (a as i64).checked_div(b as i64)? as u64,
        Operator::Divide => a.checked_div(b)?,
        Operator::Remainder if by.signed => (a as i64).checked_rem(b as i64)? as u64,
        Operator::Remainder => a.checked_rem(b)?,
        Operator::ShiftLeft => a.wrapping_shl(right as u32 % bits),
        Operator::ShiftRight if by.signed => (a as i64).wrapping_shr(right as u32 % bits) as u64,
        Operator::ShiftRight => a.wrapping_shr(right as u32 % bits),
        Operator::And => a & b,
        Operator::Or => a | b,
        Operator::Xor => a ^ b,
        Operator::Equal => return Some(u64::from(a == b)),
        Operator::NotEqual => return Some(u64::from(a != b)),
        Operator::Less => return Some(u64::from(ordering.is_lt())),
        Operator::LessEqual => return Some(u64::from(ordering.is_le())),
        Operator::Greater => return Some(u64::from(ordering.is_gt())),
        Operator::GreaterEqual => return Some(u64::from(ordering.is_ge())),
    }))
}

impl Bytes {
    /// The bytes. None when the record is too short.
    #[inline]
    pub(crate) fn eval<'a>(&'a self, data: Data<'a>) -> Option<&'a [u8]> {
        match self {
            Bytes::Field { offset, size: 0 } => rest(data, data.record, *offset as usize),
            Bytes::Field { offset, size } => data.part(data.record, *offset as usize, *size as usize),
            Bytes::Dynamic { offset, relative } => {
                let offset = *offset as usize;
                let place = data.or_zero(data.endian.u32(data.record, offset).map(u64::from))?;
                let base = if *relative { offset.checked_add(4)? } else { 0 };
                let start = base.checked_add((place & 0xffff) as usize)?;
                data.part(data.record, start, (place >> 16) as usize)
            }
            Bytes::Literal(bytes) => Some(bytes),
            Bytes::Further(bytes, count) => {
                let count = usize::try_from(count.eval(data)?).unwrap_or(usize::MAX);
                rest(data, bytes.eval(data)?, count)
            }
            Bytes::Condition(condition, yes, no) => {
                if condition.eval(data)? != 0 {
                    yes.eval(data)
                } else {
                    no.eval(data)
                }
            }
        }
    }
}

/// The bytes from `start` on.
fn rest<'a>(data: Data<'a>, bytes: &'a [u8], start: usize) -> Option<&'a [u8]> {
    let rest = bytes.get(start..);
    if data.lenient { Some(rest.unwrap_or_default()) } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_types_of_operations() {
        let (u8_, u32_) = (Int { size: 1, signed: false }, Int { size: 4, signed: false });
        let i64_ = Int { size: 8, signed: true };
        assert_eq!(u8_.common(u8_), Int::INT);
        assert_eq!(u32_.common(Int::INT), u32_);
        assert_eq!(u32_.common(i64_), i64_);
        assert_eq!(Int::U64.common(i64_), Int::U64);
        // -1 < 1u is false in C.
        assert_eq!(binary(Operator::Less, u64::MAX, 1, u32_), Some(0));
        assert_eq!(binary(Operator::Less, u64::MAX, 1, Int::INT), Some(1));
        assert_eq!(binary(Operator::Divide, 1, 0, Int::INT), None);
        assert_eq!(binary(Operator::Divide, i64::MIN as u64, u64::MAX, i64_), None);
        assert_eq!(binary(Operator::ShiftRight, u64::MAX, 1, u32_), Some(0x7fff_ffff));
    }
}
