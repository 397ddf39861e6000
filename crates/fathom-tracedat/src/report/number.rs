//! Numbers as `printf` writes them, without its cost.

/// Writes a decimal number.
#[inline]
pub(crate) fn decimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes a decimal number with a sign.
#[inline]
pub(crate) fn signed(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes a hexadecimal number in small letters.
#[inline]
pub(crate) fn hex(out: &mut Vec<u8>, number: u64) {
    hex_digits(out, number, ((64 - number.leading_zeros()).div_ceil(4)).max(1));
}

/// Writes the lowest `digits` hexadecimal digits, with zeros.
#[inline]
pub(crate) fn hex_digits(out: &mut Vec<u8>, number: u64, digits: u32) {
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(number.checked_shr(digit * 4).unwrap_or(0) & 15) as usize]);
    }
}

/// Writes a decimal number of at least `width` characters, filled with `fill` from the left.
#[inline]
pub(crate) fn padded(out: &mut Vec<u8>, number: u64, width: usize, fill: u8) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number).as_bytes();
    right(out, text, width, fill);
}

/// Writes a text of at least `width` bytes, filled from the left.
#[inline]
pub(crate) fn right(out: &mut Vec<u8>, text: &[u8], width: usize, fill: u8) {
    out.resize(out.len() + width.saturating_sub(text.len()), fill);
    out.extend_from_slice(text);
}

/// Writes a text of at least `width` bytes, filled with spaces to the right.
#[inline]
pub(crate) fn left(out: &mut Vec<u8>, text: &[u8], width: usize) {
    out.extend_from_slice(text);
    out.resize(out.len() + width.saturating_sub(text.len()), b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let mut out = Vec::new();
        for number in [0, 9, 0x10, u64::MAX] {
            hex(&mut out, number);
            out.push(b' ');
        }
        padded(&mut out, 7, 3, b'0');
        signed(&mut out, -5);
        left(&mut out, b"ab", 4);
        right(&mut out, b"ab", 1, b' ');
        assert_eq!(String::from_utf8(out).unwrap(), "0 9 10 ffffffffffffffff 007-5ab  ab");
    }
}
