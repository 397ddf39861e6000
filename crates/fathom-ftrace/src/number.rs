//! Numbers as text, into a buffer.

/// `%u`.
#[inline]
pub fn decimal(out: &mut Vec<u8>, value: u64) {
    let mut buffer = itoa::Buffer::new();
    out.extend_from_slice(buffer.format(value).as_bytes());
}

/// `%d`.
#[inline]
pub fn signed(out: &mut Vec<u8>, value: i64) {
    let mut buffer = itoa::Buffer::new();
    out.extend_from_slice(buffer.format(value).as_bytes());
}

/// `%x`.
#[inline]
pub fn hex(out: &mut Vec<u8>, value: u64) {
    let digits = (67 - (value | 1).leading_zeros() as usize) / 4;
    hex_fixed(out, value, digits);
}

/// The low `digits` (up to 16) hexadecimal digits, with zeros in front.
#[inline]
pub fn hex_fixed(out: &mut Vec<u8>, value: u64, digits: usize) {
    let mut text = [0; 16];
    let digits = digits.min(16);
    for (index, place) in text[..digits].iter_mut().rev().enumerate() {
        *place = b"0123456789abcdef"[(value >> (4 * index)) as usize & 15];
    }
    out.extend_from_slice(&text[..digits]);
}

/// `%0*u`: the number with zeros in front to at least `digits` (up to 20).
#[inline]
pub fn zero_padded(out: &mut Vec<u8>, value: u64, digits: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value).as_bytes();
    out.extend_from_slice(&b"00000000000000000000"[..digits.saturating_sub(text.len()).min(20)]);
    out.extend_from_slice(text);
}

/// So many spaces.
#[inline]
pub fn spaces(out: &mut Vec<u8>, count: usize) {
    out.resize(out.len() + count, b' ');
}

/// A number of at least `width` characters, filled with `fill` in front.
#[inline]
pub fn padded(out: &mut Vec<u8>, value: u64, width: usize, fill: u8) {
    let mut buffer = itoa::Buffer::new();
    right(out, buffer.format(value).as_bytes(), width, fill);
}

/// A text of at least `width` bytes, filled with `fill` in front.
#[inline]
pub fn right(out: &mut Vec<u8>, text: &[u8], width: usize, fill: u8) {
    out.resize(out.len() + width.saturating_sub(text.len()), fill);
    out.extend_from_slice(text);
}

/// A text of at least `width` bytes, filled with spaces behind.
#[inline]
pub fn left(out: &mut Vec<u8>, text: &[u8], width: usize) {
    out.extend_from_slice(text);
    spaces(out, width.saturating_sub(text.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits() {
        for value in [0, 1, 15, 16, 255, 256, 0xfff_ffff, 0x1000_0000, u64::MAX >> 1, u64::MAX] {
            let mut out = Vec::new();
            hex(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{value:x}"));
        }
    }
}
