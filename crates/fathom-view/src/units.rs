//! Times and numbers as the views print them, written straight into a buffer.

use crate::color::{Color, Paint};
use std::io::Write;

/// `n` in decimal.
#[inline]
pub(crate) fn number(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// `n` in decimal, padded with blanks on the left.
#[inline]
pub(crate) fn number_in(out: &mut Vec<u8>, width: usize, n: u64) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(n);
    blanks(out, width.saturating_sub(text.len()));
    out.extend_from_slice(text.as_bytes());
}

/// `n` in lower-case hex without prefix, padded with blanks on the left.
pub(crate) fn hex_in(out: &mut Vec<u8>, width: usize, n: u64) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{n:>width$x}");
}

/// That many blanks.
#[inline]
pub(crate) fn blanks(out: &mut Vec<u8>, count: usize) {
    const BLANKS: [u8; 64] = [b' '; 64];
    match BLANKS.get(..count) {
        Some(some) => out.extend_from_slice(some),
        None => out.resize(out.len() + count, b' '),
    }
}

/// Text padded with blanks on the left.
pub(crate) fn right(out: &mut Vec<u8>, width: usize, text: &str) {
    blanks(out, width.saturating_sub(text.chars().count()));
    out.extend_from_slice(text.as_bytes());
}

/// Seconds and nanoseconds in 18 columns.
pub(crate) fn timestamp(out: &mut Vec<u8>, ns: u64) {
    number_in(out, 8, ns / 1_000_000_000);
    out.push(b'.');
    let mut rest = ns % 1_000_000_000;
    let at = out.len();
    out.extend_from_slice(b"000000000");
    for digit in out[at..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

const UNITS: [&str; 5] = ["us", "ms", " s", " m", " h"];
const DIVISORS: [u64; 5] = [1000, 1000, 1000, 60, 24];

/// Splits a time in ns into what is before the point, after it, and which unit.
///
/// What is after the point is the remainder in the smaller unit, also for minutes and hours, and the next unit is
/// taken as soon as the value reaches *its* divisor: both as in the layout that is followed here.
fn split(ns: u64) -> (u64, u64, usize) {
    let (mut value, mut small, mut unit) = (ns, 0, 0);
    for (k, divisor) in DIVISORS.iter().enumerate() {
        (value, small, unit) = (value / divisor, value % divisor, k);
        if DIVISORS.get(k + 1).is_none_or(|next| value < *next) {
            break;
        }
    }
    if value > 999 { (999, 999, unit) } else { (value, small, unit) }
}

#[inline]
fn three(out: &mut Vec<u8>, n: u64) {
    let n = n as u32;
    let digit = |d: u32| b'0' + (d % 10) as u8;
    out.extend_from_slice(&[digit(n / 100), digit(n / 10), digit(n)]);
}

/// A time in 10 columns; nothing but blanks for 0.
#[inline]
pub(crate) fn time(out: &mut Vec<u8>, ns: u64, paint: Paint) {
    if ns == 0 {
        return blanks(out, 10);
    }
    let (value, small, unit) = split(ns);
    let n = value as u32;
    let digit = |d: u32, shown: bool| if shown { b'0' + (d % 10) as u8 } else { b' ' };
    out.extend_from_slice(&[digit(n / 100, n >= 100), digit(n / 10, n >= 10), digit(n, true), b'.']);
    three(out, small);
    out.push(b' ');
    put_unit(out, unit, paint);
}

fn put_unit(out: &mut Vec<u8>, unit: usize, paint: Paint) {
    match unit {
        0 => out.extend_from_slice(UNITS[0].as_bytes()),
        1 => paint.put(out, Color::Green, UNITS[1]),
        2 => paint.put(out, Color::Yellow, UNITS[2]),
        _ => paint.put(out, Color::Red, UNITS[unit]),
    }
}

/// A difference of times in 11 columns, the sign before the number.
pub(crate) fn signed_time(out: &mut Vec<u8>, ns: i64, paint: Paint) {
    if ns == 0 {
        return right(out, 11, "0 us");
    }
    let (value, small, unit) = split(ns.unsigned_abs());
    let mut text = Vec::with_capacity(8);
    text.push(if ns > 0 { b'+' } else { b'-' });
    number(&mut text, value);
    text.push(b'.');
    three(&mut text, small);
    blanks(out, 8_usize.saturating_sub(text.len()));
    let color = match (ns.unsigned_abs(), ns > 0) {
        (100_000.., true) => Some(Color::Red),
        (100_000.., false) => Some(Color::Blue),
        (5_000.., true) => Some(Color::Magenta),
        (5_000.., false) => Some(Color::Cyan),
        _ => None,
    };
    tinted(out, color, &text, paint);
    out.push(b' ');
    put_unit(out, unit, paint);
}

/// Text in a colour; without one only the end of a colour is written, as the peer does.
pub(crate) fn tinted(out: &mut Vec<u8>, color: Option<Color>, text: &[u8], paint: Paint) {
    out.extend_from_slice(color.map_or("", |color| paint.on(color)).as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(paint.off().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(ns: u64) -> String {
        let mut out = Vec::new();
        time(&mut out, ns, Paint::Plain);
        String::from_utf8(out).unwrap()
    }

    fn difference(ns: i64, paint: Paint) -> String {
        let mut out = Vec::new();
        signed_time(&mut out, ns, paint);
        String::from_utf8(out).unwrap()
    }

    /// All values were printed by uftrace 0.13.
    #[test]
    fn units() {
        assert_eq!(shown(0), "          ");
        assert_eq!(shown(7), "  0.007 us");
        assert_eq!(shown(118_845), "118.845 us");
        assert_eq!(shown(1_024_130), "  1.024 ms");
        assert_eq!(shown(1_500_000_000), "  1.500  s");
        assert_eq!(shown(90_000_000_000), "  1.030  m");
        assert_eq!(shown(1_800_000_000_000), "  1.006  h");
        assert_eq!(shown(180_000_000_000_000), "125.000  h");
        assert_eq!(shown(18_000_000_000_000_000), "999.999  h");
        assert_eq!(shown(u64::MAX), "999.999  h");
    }

    #[test]
    fn differences() {
        assert_eq!(difference(0, Paint::Terminal), "       0 us");
        assert_eq!(difference(4_571, Paint::Plain), "  +4.571 us");
        assert_eq!(difference(-1_593_000, Paint::Plain), "  -1.593 ms");
        assert_eq!(difference(-12_000, Paint::Plain), " -12.000 us");
        assert_eq!(difference(i64::MIN, Paint::Plain), "-999.999  h");
        assert_eq!(difference(-209, Paint::Terminal), "  -0.209\x1b[0m us");
        assert_eq!(difference(-1_593_000, Paint::Terminal), "  \x1b[94m-1.593\x1b[0m \x1b[32mms\x1b[0m");
    }

    #[test]
    fn timestamps() {
        let mut out = Vec::new();
        timestamp(&mut out, 1_207_883_328_604);
        assert_eq!(out, b"    1207.883328604");
    }
}
