//! The output buffer: text is put together in memory and handed on in large pieces.

use std::io::{self, Write};

/// Enough that a write costs nothing beside making the text.
const PIECE: usize = 128 * 1024;

/// Text on its way out. Nothing is written before [`Buffer::flush`] or before a piece is full.
pub(crate) struct Buffer<'a, W: Write> {
    text: Vec<u8>,
    out: &'a mut W,
}

impl<'a, W: Write> Buffer<'a, W> {
    pub(crate) fn new(out: &'a mut W) -> Self {
        Buffer { text: Vec::with_capacity(PIECE + 4096), out }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A number in decimal.
    pub(crate) fn number(&mut self, number: impl itoa::Integer) {
        self.text(itoa::Buffer::new().format(number));
    }

    /// A number in decimal, right-aligned in `width` columns.
    pub(crate) fn aligned(&mut self, number: impl itoa::Integer, width: usize) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number);
        self.text.resize(self.text.len() + width.saturating_sub(digits.len()), b' ');
        self.text(digits);
    }

    /// A number in decimal with leading zeros, at least `width` digits.
    pub(crate) fn padded(&mut self, number: u64, width: usize) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number);
        self.text.resize(self.text.len() + width.saturating_sub(digits.len()), b'0');
        self.text(digits);
    }

    /// A number in hexadecimal, at least `width` digits.
    pub(crate) fn hex(&mut self, number: u64, width: usize) {
        let digits = (64 - number.leading_zeros()).div_ceil(4).max(1) as usize;
        for digit in (0..digits.max(width)).rev() {
            let nibble = if digit < 16 { (number >> (digit * 4)) & 15 } else { 0 };
            self.text.push(b"0123456789abcdef"[nibble as usize]);
        }
    }

    /// What [`write!`] and [`writeln!`] need: formatting into memory does not fail.
    pub(crate) fn write_fmt(&mut self, args: std::fmt::Arguments<'_>) {
        match self.text.write_fmt(args) {
            Ok(()) => {}
            Err(never) => unreachable!("writing to a Vec: {never}"),
        }
    }

    /// To be called between lines: writes a full piece.
    pub(crate) fn spill(&mut self) -> io::Result<()> {
        if self.text.len() < PIECE {
            return Ok(());
        }
        self.write_out()
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.out.write_all(&self.text)?;
        self.text.clear();
        Ok(())
    }

    /// Writes what is left.
    pub(crate) fn flush(mut self) -> io::Result<()> {
        self.write_out()?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fill: impl FnOnce(&mut Buffer<'_, Vec<u8>>)) -> String {
        let mut out = Vec::new();
        let mut buffer = Buffer::new(&mut out);
        fill(&mut buffer);
        buffer.flush().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers() {
        assert_eq!(written(|b| b.aligned(7, 3)), "  7");
        assert_eq!(written(|b| b.aligned(12345, 3)), "12345");
        assert_eq!(written(|b| b.padded(45, 9)), "000000045");
        assert_eq!(written(|b| b.hex(0, 0)), "0");
        assert_eq!(written(|b| b.hex(u64::MAX, 0)), "ffffffffffffffff");
        assert_eq!(written(|b| b.hex(0x1a0, 6)), "0001a0");
        assert_eq!(written(|b| b.hex(1, 18)), "000000000000000001");
    }

    #[test]
    fn all_pieces_arrive() {
        let line = [b'x'; 1000];
        let text = written(|b| {
            for _ in 0..1000 {
                b.bytes(&line);
                b.spill().unwrap();
            }
        });
        assert_eq!(text.len(), 1_000_000);
    }
}
