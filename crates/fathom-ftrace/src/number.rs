//! Numbers as text, into a buffer.

/// Appends a text. Most are so short that a call to copy them would cost more than the copying.
#[inline]
pub fn append(out: &mut Vec<u8>, text: &[u8]) {
    let len = text.len();
    let mut copy = [0; 16];
    match len {
        0 => return,
        1 => copy[0] = text[0],
        // First and last part, which may overlap.
        2..4 => ends::<2>(&mut copy, text),
        4..8 => ends::<4>(&mut copy, text),
        8..=16 => ends::<8>(&mut copy, text),
        _ => return out.extend_from_slice(text),
    }
    let end = out.len() + len;
    out.extend_from_slice(&copy);
    out.truncate(end);
}

#[inline]
fn ends<const N: usize>(copy: &mut [u8; 16], text: &[u8]) {
    let len = text.len();
    copy[..N].copy_from_slice(&text[..N]);
    copy[len - N..len].copy_from_slice(&text[len - N..]);
}

/// `%u`.
#[inline]
pub fn decimal(out: &mut Vec<u8>, value: u64) {
    let mut buffer = itoa::Buffer::new();
    append(out, buffer.format(value).as_bytes());
}

/// `%d`.
#[inline]
pub fn signed(out: &mut Vec<u8>, value: i64) {
    let mut buffer = itoa::Buffer::new();
    append(out, buffer.format(value).as_bytes());
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
fn hex_of(value: u32) -> u64 {
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
