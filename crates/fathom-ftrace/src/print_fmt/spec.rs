//! Conversions: `%-8s`, `%#016lx`, `%*pbl`; and how the kernel prints numbers and texts by them.

use crate::number;

/// More is not printed in front of or behind a value: the kernel's own buffer for an event is a page.
const WIDEST: usize = 4096;

/// A width or precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    None,
    Fixed(u32),
    /// `*`: the next argument.
    Argument,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conversion {
    Decimal,
    Unsigned,
    Hex,
    UpperHex,
    Octal,
    Character,
    Text,
    /// `%p` and what follows it (see `pointer`).
    Pointer,
}

/// A conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spec<'a> {
    pub(crate) left: bool,
    pub(crate) plus: bool,
    pub(crate) space: bool,
    pub(crate) alternate: bool,
    pub(crate) zero: bool,
    pub(crate) width: Amount,
    pub(crate) precision: Amount,
    /// Bytes of the argument: 1, 2, 4 or 8.
    pub(crate) size: u8,
    pub(crate) conversion: Conversion,
    /// The letters and digits behind `%p`.
    pub(crate) pointer: &'a [u8],
    /// See [`Dialect::c_library`](super::Dialect::c_library).
    pub(crate) c_library: bool,
}

/// A part of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Literal(&'a [u8]),
    Conversion(Spec<'a>),
}

/// Cuts the first part off `format`. None at its end; the error is a conversion that there is none of.
pub(crate) fn part<'a>(format: &mut &'a [u8], long_size: u8) -> Option<Result<Part<'a>, String>> {
    let text = *format;
    let first = *text.first()?;
    if first != b'%' {
        let end = text.iter().position(|byte| *byte == b'%').unwrap_or(text.len());
        *format = &text[end..];
        return Some(Ok(Part::Literal(&text[..end])));
    }
    if text.get(1) == Some(&b'%') {
        *format = &text[2..];
        return Some(Ok(Part::Literal(b"%")));
    }
    match spec(&text[1..], long_size) {
        Some((spec, rest)) => {
            *format = rest;
            Some(Ok(Part::Conversion(spec)))
        }
        None => {
            let shown = String::from_utf8_lossy(&text[..text.len().min(8)]).into_owned();
            *format = &[];
            Some(Err(format!("the conversion {shown}")))
        }
    }
}

fn spec(text: &[u8], long_size: u8) -> Option<(Spec<'_>, &[u8])> {
    let mut spec = Spec {
        left: false,
        plus: false,
        space: false,
        alternate: false,
        zero: false,
        width: Amount::None,
        precision: Amount::None,
        size: 4,
        conversion: Conversion::Text,
        pointer: &[],
        c_library: false,
    };
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'-' => spec.left = true,
            b'+' => spec.plus = true,
            b' ' => spec.space = true,
            b'#' => spec.alternate = true,
            b'0' => spec.zero = true,
            _ => break,
        }
        at += 1;
    }
    spec.width = amount(text, &mut at);
    if text.get(at) == Some(&b'.') {
        at += 1;
        spec.precision = match amount(text, &mut at) {
            Amount::None => Amount::Fixed(0),
            given => given,
        };
    }
    let length = text[at..].iter().take_while(|byte| b"hlLzZtjq".contains(byte)).count();
    spec.size = match &text[at..at + length] {
        b"" => 4,
        b"hh" => 1,
        b"h" => 2,
        b"l" | b"z" | b"Z" | b"t" => long_size,
        b"ll" | b"L" | b"j" | b"q" => 8,
        _ => return None,
    };
    at += length;
    spec.conversion = match text.get(at)? {
        b'd' | b'i' => Conversion::Decimal,
        b'u' => Conversion::Unsigned,
        b'x' => Conversion::Hex,
        b'X' => Conversion::UpperHex,
        b'o' => Conversion::Octal,
        b'c' => Conversion::Character,
        b's' => Conversion::Text,
        b'p' => Conversion::Pointer,
        _ => return None,
    };
    at += 1;
    if spec.conversion == Conversion::Pointer {
        spec.size = long_size;
        // The kernel takes all letters and digits behind it, whether it knows them or not.
        let end = at + text[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        spec.pointer = &text[at..end];
        at = end;
    }
    Some((spec, &text[at..]))
}

fn amount(text: &[u8], at: &mut usize) -> Amount {
    if text.get(*at) == Some(&b'*') {
        *at += 1;
        return Amount::Argument;
    }
    let digits = text[*at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&text[*at..*at + digits]).unwrap_or_default().parse();
    *at += digits;
    number.map_or(Amount::None, Amount::Fixed)
}

impl Spec<'_> {
    /// Whether it is nothing but the conversion.
    pub(crate) fn plain(&self) -> bool {
        self.width == Amount::None
            && self.precision == Amount::None
            && !(self.left || self.plus || self.space || self.alternate || self.zero)
    }

    /// The same without its lifetime; [`Spec::pointer`] is left out.
    pub(crate) fn detached(&self) -> Spec<'static> {
        Spec { pointer: &[], ..*self }
    }

    /// Prints a number; `width` and `precision` are the values of those that are given.
    pub(crate) fn number(&self, out: &mut Vec<u8>, value: u64, width: Option<i64>, precision: Option<i64>) {
        let (width, left) = self.width_of(width);
        let cut = match self.size {
            8 => value,
            size => value & ((1 << (8 * u32::from(size))) - 1),
        };
        let mut sign: &[u8] = b"";
        let mut magnitude = cut;
        if self.conversion == Conversion::Decimal {
            let value = crate::machine::sign_extend(cut, usize::from(self.size));
            magnitude = value.unsigned_abs();
            sign = match value {
                ..0 => b"-",
                _ if self.plus => b"+",
                _ if self.space => b" ",
                _ => b"",
            };
        }
        let mut buffer = [0; 24];
        let digits = digits(&mut buffer, magnitude, self.conversion);
        let prefix: &[u8] = match self.conversion {
            _ if self.c_library && magnitude == 0 => b"",
            Conversion::Hex if self.alternate => b"0x",
            Conversion::UpperHex if self.alternate => b"0X",
            Conversion::Octal if self.alternate => b"0",
            _ => b"",
        };
        let fixed = sign.len() + prefix.len();
        let given = precision.is_some();
        let precision = precision.map_or(0, |precision| usize::try_from(precision).unwrap_or(0).min(WIDEST));
        let zero = self.zero && !left && !(self.c_library && given);
        let wanted = if zero { precision.max(width.saturating_sub(fixed)) } else { precision };
        let zeros = wanted.saturating_sub(digits.len());
        let padding = width.saturating_sub(fixed + zeros + digits.len());
        if !left {
            number::spaces(out, padding);
        }
        out.extend_from_slice(sign);
        out.extend_from_slice(prefix);
        out.resize(out.len() + zeros, b'0');
        out.extend_from_slice(digits);
        if left {
            number::spaces(out, padding);
        }
    }

    /// Puts what was written from `start` on to its width and, for texts, precision.
    pub(crate) fn pad(&self, out: &mut Vec<u8>, start: usize, width: Option<i64>, precision: Option<i64>) {
        if let Some(precision) = precision.and_then(|precision| usize::try_from(precision).ok()) {
            out.truncate(start.saturating_add(precision));
        }
        let (width, left) = self.width_of(width);
        let padding = width.saturating_sub(out.len().saturating_sub(start));
        if padding == 0 {
            return;
        }
        number::spaces(out, padding);
        if !left && let Some(written) = out.get_mut(start..) {
            written.rotate_right(padding);
        }
    }

    /// A negative width from an argument means the left side.
    fn width_of(&self, width: Option<i64>) -> (usize, bool) {
        let width = width.unwrap_or(0);
        let size = usize::try_from(width.unsigned_abs()).unwrap_or(0).min(WIDEST);
        (size, self.left || width < 0)
    }
}

/// The digits of `value`, at the end of `buffer`.
fn digits(buffer: &mut [u8; 24], value: u64, conversion: Conversion) -> &[u8] {
    let (base, alphabet) = match conversion {
        Conversion::Hex => (16, b"0123456789abcdef"),
        Conversion::UpperHex => (16, b"0123456789ABCDEF"),
        Conversion::Octal => (8, b"0123456789abcdef"),
        _ => (10, b"0123456789abcdef"),
    };
    let (mut rest, mut at) = (value, buffer.len());
    loop {
        at -= 1;
        buffer[at] = alphabet[(rest % base) as usize];
        rest /= base;
        if rest == 0 {
            return &buffer[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(format: &str, value: u64) -> String {
        let mut rest = format.as_bytes();
        let Some(Ok(Part::Conversion(spec))) = part(&mut rest, 8) else { panic!("{format}") };
        assert!(rest.is_empty());
        let given = |amount| match amount {
            Amount::Fixed(value) => Some(i64::from(value)),
            _ => None,
        };
        let mut out = Vec::new();
        spec.number(&mut out, value, given(spec.width), given(spec.precision));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_as_the_kernel_prints_them() {
        assert_eq!(print("%d", u64::MAX), "-1");
        assert_eq!(print("%u", u64::MAX), "4294967295");
        assert_eq!(print("%lu", u64::MAX), "18446744073709551615");
        assert_eq!(print("%hhu", 0x1ff), "255");
        assert_eq!(print("%#x", 0), "0x0");
        assert_eq!(print("%#010x", 0xbeef), "0x0000beef");
        assert_eq!(print("%#16llx", 0xbeef), "          0xbeef");
        assert_eq!(print("%08lx", 0xffff_ffff_8100_0000), "ffffffff81000000");
        assert_eq!(print("%-6d", 42), "42    ");
        assert_eq!(print("%06ld", (-42i64) as u64), "-00042");
        assert_eq!(print("%+d", 1), "+1");
        assert_eq!(print("%.3d", 7), "007");
        assert_eq!(print("%6.3d", 7), "   007");
        assert_eq!(print("%02X", 0xa), "0A");
        assert_eq!(print("%o", 8), "10");
        assert_eq!(print("%0x", 8), "8");
    }

    #[test]
    fn conversions_that_there_are_none_of() {
        assert!(matches!(part(&mut &b"%y"[..], 8), Some(Err(_))));
        assert!(matches!(part(&mut &b"%"[..], 8), Some(Err(_))));
        assert!(matches!(part(&mut &b"%lll"[..], 8), Some(Err(_))));
    }
}
