//! Short pieces of a line, one after another, with the place of the next one in a register.
//!
//! A vector's length is in memory: every piece that is appended loads what the one before has just stored, some five
//! cycles, twenty times a line. Here room for a line is made at once, pieces are stored as whole registers with what is
//! too much of them overwritten by the next one, and the length is set at the end.

use crate::number::{EIGHT_DIGITS, ZEROS, decimal_word, digits_of, hex_of};

/// The most bytes that a [`Short`] has.
pub const PIECE: usize = 32;
/// The most bytes of a number without padding.
pub const NUMBER: usize = 20;

/// A text of up to [`PIECE`] bytes that is copied as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    bytes: [u8; PIECE],
    len: u8,
}

impl Short {
    /// Nothing.
    pub const EMPTY: Short = Short { bytes: [0; PIECE], len: 0 };

    /// None for a text that is longer.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Short> {
        let mut bytes = [0; PIECE];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Short { bytes, len: text.len() as u8 })
    }

    /// Bytes of the text.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A text of any length as pieces.
    #[must_use]
    pub fn pieces(text: &[u8]) -> Box<[Short]> {
        text.chunks(PIECE).filter_map(Short::new).collect()
    }
}

/// Where the next piece goes. What there is no room for is left out.
pub struct Line<'a> {
    room: &'a mut [u8],
    at: usize,
}

impl Line<'_> {
    /// Appends what `write` writes, at most `room` bytes.
    #[inline(always)]
    pub fn append(out: &mut Vec<u8>, room: usize, write: impl FnOnce(&mut Line<'_>)) {
        let start = out.len();
        // The last piece is stored as a whole too.
        out.resize(start + room + PIECE, 0);
        let mut line = Line { room: out.get_mut(start..).unwrap_or_default(), at: 0 };
        write(&mut line);
        let end = start + line.at;
        out.truncate(end);
    }

    /// Stores `bytes`, of which `len` count.
    #[inline(always)]
    fn store<const N: usize>(&mut self, bytes: [u8; N], len: usize) {
        if let Some(place) = self.at.checked_add(N).and_then(|end| self.room.get_mut(self.at..end)) {
            place.copy_from_slice(&bytes);
            self.at += len;
        }
    }

    /// A text.
    #[inline(always)]
    pub fn short(&mut self, text: &Short) {
        self.store(text.bytes, usize::from(text.len));
    }

    /// Texts one after another, each a piece.
    #[inline(always)]
    pub fn shorts(&mut self, texts: &[Short]) {
        for text in texts {
            self.short(text);
        }
    }

    /// A few characters.
    #[inline(always)]
    pub fn bytes<const N: usize>(&mut self, bytes: [u8; N]) {
        self.store(bytes, N);
    }

    /// One character.
    #[inline(always)]
    pub fn byte(&mut self, byte: u8) {
        self.store([byte], 1);
    }

    /// `%u`.
    #[inline(always)]
    pub fn decimal(&mut self, value: u64) {
        if value < EIGHT_DIGITS {
            let (word, len) = decimal_word(value as u32);
            return self.store(word.to_le_bytes(), len);
        }
        self.long_decimal(value);
    }

    fn long_decimal(&mut self, value: u64) {
        let (high, low) = (value / EIGHT_DIGITS, value % EIGHT_DIGITS);
        if high < EIGHT_DIGITS {
            let (word, len) = decimal_word(high as u32);
            self.store(word.to_le_bytes(), len);
        } else {
            let (word, len) = decimal_word((high / EIGHT_DIGITS) as u32);
            self.store(word.to_le_bytes(), len);
            self.fixed((high % EIGHT_DIGITS) as u32, 8);
        }
        self.fixed(low as u32, 8);
    }

    /// `%d`.
    #[inline(always)]
    pub fn signed(&mut self, value: i64) {
        if value < 0 {
            self.byte(b'-');
        }
        self.decimal(value.unsigned_abs());
    }

    /// The last `digits` (1 to 8) decimal digits of a number below 10^8, with zeros in front.
    #[inline(always)]
    pub fn fixed(&mut self, value: u32, digits: usize) {
        let text = (digits_of(value) | ZEROS) >> ((64 - 8 * digits) & 63);
        self.store(text.to_le_bytes(), digits);
    }

    /// A number of at least `width` (up to [`PIECE`]) characters, filled with `fill` in front.
    #[inline(always)]
    pub fn padded(&mut self, value: u64, width: usize, fill: u8) {
        if value >= EIGHT_DIGITS || width > 8 {
            return self.wide(value, width, fill);
        }
        let (word, len) = decimal_word(value as u32);
        let fills = width.saturating_sub(len);
        let filled = (u64::from(fill) * 0x0101_0101_0101_0101) & ((1 << (8 * fills)) - 1);
        self.store((word << (8 * fills) | filled).to_le_bytes(), len + fills);
    }

    fn wide(&mut self, value: u64, width: usize, fill: u8) {
        let digits = value.checked_ilog10().unwrap_or(0) as usize + 1;
        for _ in digits..width {
            self.byte(fill);
        }
        self.decimal(value);
    }

    /// `%x`.
    #[inline(always)]
    pub fn hex(&mut self, value: u64) {
        let (high, low) = ((value >> 32) as u32, value as u32);
        if high == 0 {
            return self.hex_word(low);
        }
        self.hex_word(high);
        self.store(hex_of(low).to_be_bytes(), 8);
    }

    #[inline(always)]
    fn hex_word(&mut self, value: u32) {
        let digits = (35 - (value | 1).leading_zeros()) / 4;
        self.store(hex_of(value << (32 - 4 * digits)).to_be_bytes(), digits as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut Line<'_>)) -> String {
        let mut out = b"before ".to_vec();
        Line::append(&mut out, PIECE, write);
        String::from_utf8(out).unwrap()
    }

    fn check(value: u64) {
        assert_eq!(text(|line| line.decimal(value)), format!("before {value}"));
        assert_eq!(text(|line| line.hex(value)), format!("before {value:x}"));
        for value in [value as i64, (value as i64).wrapping_neg()] {
            assert_eq!(text(|line| line.signed(value)), format!("before {value}"));
        }
        for width in 0..24 {
            assert_eq!(text(|line| line.padded(value, width, b' ')), format!("before {value:width$}"));
            assert_eq!(text(|line| line.padded(value, width, b'0')), format!("before {value:0width$}"));
        }
        for digits in (1..9).filter(|_| value < EIGHT_DIGITS) {
            let all = format!("{value:08}");
            let fixed = text(|line| line.fixed(value as u32, digits));
            assert_eq!(fixed, format!("before {}", &all[8 - digits..]));
        }
    }

    #[test]
    fn numbers_at_the_borders_of_their_lengths() {
        let powers = (0..20).map(|power| 10_u64.pow(power)).chain((0..64).map(|bit| 1 << bit));
        for value in powers.flat_map(|power| [power - 1, power, power + 1]).chain([12_345_678, u64::MAX]) {
            check(value);
        }
    }

    proptest! {
        #[test]
        fn numbers(value: u64, bits in 0..64_u32) {
            check(value >> bits);
            check(value % EIGHT_DIGITS);
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let long = Short::new(&[b'x'; PIECE]).unwrap();
        assert_eq!(Short::new(&[b'x'; PIECE + 1]), None);
        let two = text(|line| {
            line.short(&long);
            line.short(&Short::EMPTY);
            line.short(&long);
            line.decimal(u64::MAX);
        });
        assert_eq!(two, format!("before {}", "x".repeat(2 * PIECE)));
    }
}
