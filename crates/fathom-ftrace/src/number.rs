//! Numbers as text, into a buffer.

/// Appends a text. Most are so short that a call to copy them would cost more than the copying. They are not put together
/// in a buffer first: loading what was just stored in parts waits until all of it has left the processor's store buffer.
#[inline]
pub fn append(out: &mut Vec<u8>, text: &[u8]) {
    let (start, len) = (out.len(), text.len());
    if len == 0 || len > 16 {
        return out.extend_from_slice(text);
    }
    out.extend_from_slice(&[0; 16]);
    let place = &mut out[start..start + 16];
    match len {
        1 => place[0] = text[0],
        // First and last part, which may overlap.
        2..4 => ends::<2>(place, text),
        4..8 => ends::<4>(place, text),
        _ => ends::<8>(place, text),
    }
    out.truncate(start + len);
}

#[inline]
fn ends<const N: usize>(place: &mut [u8], text: &[u8]) {
    let len = text.len();
    place[..N].copy_from_slice(&text[..N]);
    place[len - N..len].copy_from_slice(&text[len - N..]);
}

/// Eight decimal digits of a number below 10^8, the first in the lowest byte, each as its value: halves, quarters and
/// eighths are split off by multiplication with the reciprocal, all parts at once.
#[inline]
pub(crate) fn digits_of(value: u32) -> u64 {
    let (high, low) = (u64::from(value / 10_000), u64::from(value % 10_000));
    let fours = low << 32 | high;
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = (fours - 100 * hundreds) << 16 | hundreds;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    (twos - 10 * tens) << 8 | tens
}

pub(crate) const ZEROS: u64 = 0x3030_3030_3030_3030;
/// Numbers from here on have more than eight digits.
pub(crate) const EIGHT_DIGITS: u64 = 100_000_000;

/// A number below 10^8 as text without zeros in front, the first character in the lowest byte, and its length.
#[inline]
pub(crate) fn decimal_word(value: u32) -> (u64, usize) {
    let digits = digits_of(value);
    // The last digit is printed even if it is 0.
    let leading = (digits | 1 << 63).trailing_zeros() / 8;
    ((digits | ZEROS) >> (8 * leading), 8 - leading as usize)
}

/// `%u`.
#[inline]
pub fn decimal(out: &mut Vec<u8>, value: u64) {
    if value >= EIGHT_DIGITS {
        return out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
    let (word, len) = decimal_word(value as u32);
    let end = out.len() + len;
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(end);
}

/// `%d`.
#[inline]
pub fn signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    decimal(out, value.unsigned_abs());
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
    let digits = digits.min(16);
    let first = value.checked_shl(64 - 4 * digits as u32).unwrap_or(0);
    let end = out.len() + digits;
    let (high, low) = (hex_of((first >> 32) as u32), hex_of(first as u32));
    out.extend_from_slice(&(u128::from(high) << 64 | u128::from(low)).to_be_bytes());
    out.truncate(end);
}

/// Eight hexadecimal digits, the first in the highest byte: nibbles are spread to bytes by halves, and all turned into
/// digits at once.
#[inline]
pub(crate) fn hex_of(value: u32) -> u64 {
    let x = u64::from(value);
    let x = (x & 0xffff_0000) << 16 | x & 0xffff;
    let x = (x & 0x0000_ff00_0000_ff00) << 8 | x & 0x0000_00ff_0000_00ff;
    let x = (x & 0x00f0_00f0_00f0_00f0) << 4 | x & 0x000f_000f_000f_000f;
    let letters = (x + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    x + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)
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
    let missing = width.saturating_sub(text.len());
    if missing <= 16 {
        let end = out.len() + missing;
        out.extend_from_slice(&[fill; 16]);
        out.truncate(end);
    } else {
        out.resize(out.len() + missing, fill);
    }
    append(out, text);
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
            for digits in 0..17 {
                let mut out = Vec::new();
                hex_fixed(&mut out, value, digits);
                let all = format!("{value:016x}");
                assert_eq!(String::from_utf8(out).unwrap(), all[16 - digits..]);
            }
        }
    }

    #[test]
    fn texts_of_any_length() {
        let text: Vec<u8> = (0..40).collect();
        for len in 0..text.len() {
            let mut out = b"before".to_vec();
            append(&mut out, &text[..len]);
            right(&mut out, b"ab", len, b'-');
            let expected = [b"before", &text[..len], &vec![b'-'; len.saturating_sub(2)], b"ab"].concat();
            assert_eq!(out, expected);
        }
    }
}
