//! The text of an event by its `print fmt`.
//!
//! Expressions have the types of C, as in the kernel that would have printed them; what they print has trace-cmd's
//! form where it has one of its own: addresses as they were recorded, sets of CPUs as ranges, and the fields of an
//! event whose `print fmt` cannot be worked out.
//!
//! This is not the text that `fathom-ftrace` makes, which is the kernel's: trace-cmd prints an event by its fields or by
//! names of the kernel's symbols where the kernel knows better, and has other forms for what is not in a list of names.

mod lex;
mod parse;
mod value;

use super::number;
use super::raw::RawFields;
use super::symbols::Symbols;
use fathom_ftrace::{Endian, Format};
use parse::{Parser, Value};
use value::{Data, Int, Number, Place, Words, prefixed_hex};

/// The text of an event.
pub(crate) enum Text {
    /// Pieces of its `print fmt`.
    Pieces { pieces: Vec<Piece>, long_size: usize },
    /// Its fields, where the `print fmt` cannot be worked out.
    Fields(RawFields),
}

/// A piece of a format.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Literal(Box<[u8]>),
    Number(Conversion, Number),
    Words(Conversion, Words),
    /// Bytes of the record in a form of the kernel's own.
    Bytes(Conversion, Place, BytesForm),
    /// An address as symbol, with the offset into it where that is asked for.
    Symbol(Conversion, Number, bool),
    /// An address.
    Pointer(Conversion, Number),
}

/// Forms of bytes: `%pM`, `%pI4`, and so on.
#[derive(Debug, Clone)]
pub(crate) enum BytesForm {
    /// A hardware address.
    Mac { between: &'static [u8] },
    /// An IPv4 address.
    Ip4,
    /// An IPv6 address, shortened or not.
    Ip6 { short: bool },
    /// A socket's address, with the port where that is asked for.
    Socket { port: bool },
    /// A UUID; little endian, in capitals.
    Uuid { little: bool, capitals: bool },
    /// So many bytes in hexadecimal.
    Hex { between: &'static [u8], count: Box<Number> },
    /// So many bits as ranges.
    Bits { count: Box<Number> },
}

/// A conversion of `printf`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conversion {
    left: bool,
    zero: bool,
    alternate: bool,
    plus: bool,
    space: bool,
    width: Width,
    precision: Width,
    size: u8,
    letter: u8,
}

/// A width or precision.
#[derive(Debug, Clone, Default)]
enum Width {
    #[default]
    None,
    Fixed(usize),
    Argument(Number),
}

impl Width {
    fn get(&self, data: Data<'_>) -> Option<i64> {
        match self {
            Self::None => None,
            Self::Fixed(width) => Some(*width as i64),
            Self::Argument(number) => Some(i64::from(number.get(data) as u32 as i32)),
        }
    }
}

/// Nothing is printed wider than this.
const MAX_WIDTH: usize = 1024;

impl Text {
    pub(crate) fn new(format: &Format, symbols: &Symbols) -> Self {
        match compile(format, symbols) {
            Some(pieces) => Self::Pieces { pieces, long_size: usize::from(format.machine.long_size) },
            None => Self::Fields(RawFields::plain(format)),
        }
    }

    /// Writes the text.
    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>, record: &[u8], endian: Endian, symbols: &Symbols) {
        match self {
            Self::Pieces { pieces, long_size } => {
                let data = Data { record, endian, symbols, long_size: *long_size };
                for piece in pieces {
                    piece.write(out, data);
                }
            }
            Self::Fields(fields) => {
                out.extend_from_slice(b"[FAILED TO PARSE]");
                fields.write(out, record, endian, symbols);
            }
        }
    }
}

/// The pieces of a `print fmt`; `None` where it cannot be worked out.
fn compile(format: &Format, symbols: &Symbols) -> Option<Vec<Piece>> {
    let mut parser = Parser::new(lex::tokens(&format.print_fmt)?, format, symbols);
    let text = parser.literal()?;
    let mut arguments = Vec::new();
    while parser.sign(",") {
        arguments.push(parser.value()?);
    }
    if !parser.at_end() {
        return None;
    }
    let mut compiler = Compiler { arguments: arguments.into_iter(), pieces: Vec::new(), literal: Vec::new() };
    compiler.format(&text)?;
    compiler.flush();
    Some(compiler.pieces)
}

struct Compiler {
    arguments: std::vec::IntoIter<Value>,
    pieces: Vec<Piece>,
    literal: Vec<u8>,
}

impl Compiler {
    fn flush(&mut self) {
        if !self.literal.is_empty() {
            self.pieces.push(Piece::Literal(std::mem::take(&mut self.literal).into()));
        }
    }

    fn number(&mut self) -> Option<(Number, Int)> {
        match self.arguments.next()? {
            Value::Number(number, int) => Some((number, int)),
            Value::Unknown(address) => Some((Number::Constant(address), Int::U64)),
            Value::Opaque(number) => Some((number, Int::U64)),
            Value::Place(..) | Value::Words(_) => None,
        }
    }

    fn format(&mut self, text: &[u8]) -> Option<()> {
        let mut bytes = text.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                self.literal.push(byte);
                continue;
            }
            let mut conversion = Conversion { size: 4, ..Conversion::default() };
            let mut dot = false;
            loop {
                match bytes.next()? {
                    b'-' => conversion.left = true,
                    b'#' => conversion.alternate = true,
                    b'+' => conversion.plus = true,
                    b' ' => conversion.space = true,
                    b'.' => {
                        dot = true;
                        conversion.precision = Width::Fixed(0);
                    }
                    b'0' if !dot && matches!(conversion.width, Width::None) => conversion.zero = true,
                    digit @ b'0'..=b'9' => {
                        let width = if dot { &mut conversion.precision } else { &mut conversion.width };
                        let before = if let Width::Fixed(before) = width { *before } else { 0 };
                        *width = Width::Fixed((before * 10 + usize::from(digit - b'0')).min(MAX_WIDTH));
                    }
                    b'*' => {
                        let number = Width::Argument(self.number()?.0);
                        if dot { conversion.precision = number } else { conversion.width = number }
                    }
                    b'h' => conversion.size = if conversion.size == 2 { 1 } else { 2 },
                    b'l' | b'L' | b'z' | b'j' | b't' | b'q' | b'Z' => conversion.size = 8,
                    letter => {
                        conversion.letter = letter;
                        break;
                    }
                }
            }
            if conversion.letter == b'%' {
                self.literal.push(b'%');
                continue;
            }
            let mut extension = Vec::new();
            if conversion.letter == b'p' {
                while let Some(letter) = bytes.next_if(u8::is_ascii_alphanumeric) {
                    extension.push(letter);
                }
            }
            self.flush();
            let piece = self.piece(conversion, &extension)?;
            self.pieces.push(piece);
        }
        Some(())
    }

    fn piece(&mut self, conversion: Conversion, extension: &[u8]) -> Option<Piece> {
        match conversion.letter {
            b'd' | b'i' | b'u' | b'x' | b'X' | b'o' | b'c' => {
                let (number, _) = self.number()?;
                Some(Piece::Number(conversion, number))
            }
            b's' => {
                let words = parse::words(self.arguments.next()?)?;
                Some(Piece::Words(conversion, words))
            }
            b'p' => self.pointer(conversion, extension),
            _ => None,
        }
    }

    fn pointer(&mut self, conversion: Conversion, extension: &[u8]) -> Option<Piece> {
        let value = self.arguments.next()?;
        let (first, rest) = (extension.first().copied(), extension.get(1..).unwrap_or_default());
        let place = match value {
            Value::Place(place, _) | Value::Words(Words::Bytes(place)) => place,
            Value::Words(_) => return None,
            Value::Number(number, _) | Value::Opaque(number) => {
                return Some(match first {
                    Some(b's' | b'S' | b'f' | b'F' | b'B') => {
                        Piece::Symbol(conversion, number, matches!(first, Some(b'S' | b'F' | b'B')))
                    }
                    // The bytes that it pointed to are not in the record.
                    Some(b'M' | b'm' | b'I' | b'i' | b'U' | b'h' | b'b') => return None,
                    _ => Piece::Pointer(conversion, number),
                });
            }
            Value::Unknown(address) => {
                return Some(Piece::Pointer(conversion, Number::Constant(address)));
            }
        };
        let width = |conversion: &Conversion| {
            Box::new(match &conversion.width {
                Width::Argument(number) => number.clone(),
                Width::Fixed(count) => Number::Constant(*count as u64),
                Width::None => Number::Constant(1),
            })
        };
        let form = match (first?, rest) {
            (b'M', [b'F', ..]) => BytesForm::Mac { between: b"-" },
            (b'M', _) => BytesForm::Mac { between: b":" },
            (b'm', _) => BytesForm::Mac { between: b"" },
            (b'I' | b'i', [b'4', ..]) => BytesForm::Ip4,
            (b'I', [b'6', rest @ ..]) => BytesForm::Ip6 { short: rest.contains(&b'c') },
            (b'i', [b'6', ..]) => BytesForm::Ip6 { short: false },
            (b'I' | b'i', [b'S', rest @ ..]) => BytesForm::Socket { port: rest.contains(&b'p') },
            (b'U', rest) => BytesForm::Uuid {
                little: matches!(rest.first(), Some(b'l' | b'L')),
                capitals: matches!(rest.first(), Some(b'L' | b'B')),
            },
            (b'h', rest) => {
                let between: &[u8] = match rest.first() {
                    Some(b'C') => b":",
                    Some(b'D') => b"-",
                    Some(b'N') => b"",
                    _ => b" ",
                };
                BytesForm::Hex { between, count: width(&conversion) }
            }
            (b'b', [b'l', ..]) => BytesForm::Bits { count: width(&conversion) },
            _ => return None,
        };
        Some(Piece::Bytes(conversion, place, form))
    }
}

impl Piece {
    #[inline]
    fn write(&self, out: &mut Vec<u8>, data: Data<'_>) {
        match self {
            Self::Literal(text) => out.extend_from_slice(text),
            Self::Number(conversion, number) => conversion.write_number(out, number.get(data), data),
            Self::Words(conversion, words) => {
                let start = out.len();
                words.write(out, data);
                let fixed = matches!((&conversion.width, &conversion.precision), (Width::None, Width::None));
                if !fixed && !matches!(words, Words::At(_)) {
                    conversion.fit(out, start, data, true);
                }
            }
            Self::Bytes(conversion, place, form) => {
                let start = out.len();
                form.write(out, place.get(data), data);
                if !matches!(form, BytesForm::Hex { .. } | BytesForm::Bits { .. }) {
                    conversion.fit(out, start, data, false);
                }
            }
            Self::Symbol(conversion, number, offset) => {
                let start = out.len();
                let address = number.get(data);
                match data.symbols.find(address) {
                    Some((name, begin)) => {
                        out.extend_from_slice(name);
                        if *offset {
                            out.extend_from_slice(b"+0x");
                            number::hex(out, address.wrapping_sub(begin));
                        }
                    }
                    None => prefixed_hex(out, address),
                }
                conversion.fit(out, start, data, false);
            }
            Self::Pointer(conversion, number) => {
                let start = out.len();
                match number.get(data) {
                    0 => out.extend_from_slice(b"(nil)"),
                    address => prefixed_hex(out, address),
                }
                conversion.fit(out, start, data, false);
            }
        }
    }
}

impl Conversion {
    /// Cuts what was written since `start` to the precision and fills it up to the width.
    fn fit(&self, out: &mut Vec<u8>, start: usize, data: Data<'_>, cut: bool) {
        if cut && let Some(precision) = self.precision.get(data).and_then(|count| usize::try_from(count).ok())
        {
            out.truncate(out.len().min(start.saturating_add(precision)));
        }
        let Some(width) = self.width.get(data) else { return };
        let left = self.left || width < 0;
        let width = usize::try_from(width.unsigned_abs()).unwrap_or(MAX_WIDTH).min(MAX_WIDTH);
        let length = out.len() - start;
        let missing = width.saturating_sub(length);
        if missing == 0 {
            return;
        }
        out.resize(out.len() + missing, b' ');
        if !left {
            out[start..].rotate_right(missing);
        }
    }

    #[inline]
    fn write_number(&self, out: &mut Vec<u8>, value: u64, data: Data<'_>) {
        // The frequent ones: plain decimal numbers.
        if matches!((&self.width, &self.precision), (Width::None, Width::None)) && !self.plus && !self.space {
            match self.letter {
                b'd' | b'i' => {
                    let int = Int { size: self.size, signed: true };
                    return number::signed(out, int.cut(value).cast_signed());
                }
                b'u' => return number::decimal(out, Int { size: self.size, signed: false }.cut(value)),
                b'x' if !self.alternate => {
                    return number::hex(out, Int { size: self.size, signed: false }.cut(value));
                }
                _ => {}
            }
        }
        self.write_any_number(out, value, data);
    }

    fn write_any_number(&self, out: &mut Vec<u8>, value: u64, data: Data<'_>) {
        let start = out.len();
        let signed = matches!(self.letter, b'd' | b'i');
        let value = Int { size: self.size, signed }.cut(value);
        if self.letter == b'c' {
            out.push(value as u8);
            self.fit(out, start, data, false);
            return;
        }
        let negative = signed && value.cast_signed() < 0;
        if negative {
            out.push(b'-');
        } else if signed && self.plus {
            out.push(b'+');
        } else if signed && self.space {
            out.push(b' ');
        }
        if self.alternate && value != 0 {
            match self.letter {
                b'x' => out.extend_from_slice(b"0x"),
                b'X' => out.extend_from_slice(b"0X"),
                b'o' => out.push(b'0'),
                _ => {}
            }
        }
        let digits_at = out.len();
        match self.letter {
            b'x' => number::hex(out, value),
            b'X' => {
                number::hex(out, value);
                out[digits_at..].make_ascii_uppercase();
            }
            b'o' => out.extend_from_slice(format!("{value:o}").as_bytes()),
            _ if negative => number::decimal(out, value.cast_signed().unsigned_abs()),
            _ => number::decimal(out, value),
        }
        let precision = self.precision.get(data).and_then(|count| usize::try_from(count).ok());
        let width = self.width.get(data).unwrap_or_default();
        let zeros = match precision {
            Some(precision) => precision.saturating_sub(out.len() - digits_at),
            None if self.zero && !self.left && width > 0 => {
                (width as usize).saturating_sub(out.len() - start)
            }
            None => 0,
        };
        let zeros = zeros.min(MAX_WIDTH);
        out.resize(out.len() + zeros, b'0');
        out[digits_at..].rotate_right(zeros);
        self.fit(out, start, data, false);
    }
}

impl BytesForm {
    fn write(&self, out: &mut Vec<u8>, bytes: &[u8], data: Data<'_>) {
        match self {
            Self::Mac { between } => hex_bytes(out, bytes, 6, between),
            Self::Ip4 => ip4(out, bytes),
            Self::Ip6 { short } => ip6(out, bytes, *short),
            Self::Socket { port } => socket(out, bytes, *port, data),
            Self::Uuid { little, capitals } => uuid(out, bytes, *little, *capitals),
            Self::Hex { between, count } => {
                // The kernel prints 64 at most.
                let count = usize::try_from(count.get(data)).unwrap_or(64).min(64);
                hex_bytes(out, bytes, count, between);
            }
            Self::Bits { count } => {
                let bits = usize::try_from(count.get(data)).unwrap_or_default();
                let bytes = bytes.get(..bits.div_ceil(8).next_multiple_of(data.long_size)).unwrap_or(bytes);
                value::ranges(out, bytes, data);
            }
        }
    }
}

fn hex_bytes(out: &mut Vec<u8>, bytes: &[u8], count: usize, between: &[u8]) {
    for (index, byte) in bytes.iter().take(count).enumerate() {
        if index > 0 {
            out.extend_from_slice(between);
        }
        number::hex_digits(out, (*byte).into(), 2);
    }
}

fn ip4(out: &mut Vec<u8>, bytes: &[u8]) {
    for (index, byte) in bytes.iter().take(4).enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        number::decimal(out, (*byte).into());
    }
}

fn ip6(out: &mut Vec<u8>, bytes: &[u8], short: bool) {
    let Some(bytes) = bytes.first_chunk::<16>() else { return };
    if !short {
        for (index, pair) in bytes.chunks_exact(2).enumerate() {
            if index > 0 {
                out.push(b':');
            }
            number::hex_digits(out, u64::from(pair[0]) << 8 | u64::from(pair[1]), 4);
        }
        return;
    }
    let words: [u16; 8] =
        std::array::from_fn(|index| u16::from_be_bytes([bytes[2 * index], bytes[2 * index + 1]]));
    let mapped = words[..5] == [0; 5] && words[5] == 0xffff;
    let isatap = (words[4] | 0x0200) == 0x0200 && words[5] == 0x5efe;
    let count = if mapped || isatap { 6 } else { 8 };
    // The longest run of zeros, of several the first; a single one is not shortened.
    let (mut best, mut best_length) = (usize::MAX, 1);
    let mut at = 0;
    while at < count {
        let length = words[at..count].iter().take_while(|word| **word == 0).count();
        if length > best_length {
            (best, best_length) = (at, length);
        }
        at += length.max(1);
    }
    let mut at = 0;
    let mut colon = false;
    while at < count {
        if at == best {
            out.extend_from_slice(b"::");
            at += best_length;
            colon = false;
            continue;
        }
        if colon {
            out.push(b':');
        }
        number::hex(out, words[at].into());
        colon = true;
        at += 1;
    }
    if count == 6 {
        if colon {
            out.push(b':');
        }
        ip4(out, &bytes[12..]);
    }
}

/// A `sockaddr` of the two families of the Internet.
fn socket(out: &mut Vec<u8>, bytes: &[u8], port: bool, data: Data<'_>) {
    let family = data.endian.u16(bytes, 0).unwrap_or_default();
    let number = bytes.get(2..4).map_or(0, |port| u64::from(port[0]) << 8 | u64::from(port[1]));
    match family {
        2 => ip4(out, bytes.get(4..8).unwrap_or_default()),
        10 => {
            if port {
                out.push(b'[');
            }
            ip6(out, bytes.get(8..24).unwrap_or_default(), true);
            if port {
                out.push(b']');
            }
        }
        _ => return,
    }
    if port {
        out.push(b':');
        number::decimal(out, number);
    }
}

fn uuid(out: &mut Vec<u8>, bytes: &[u8], little: bool, capitals: bool) {
    const BIG: [usize; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    const LITTLE: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let Some(bytes) = bytes.first_chunk::<16>() else { return };
    let start = out.len();
    for (index, place) in (if little { LITTLE } else { BIG }).into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        number::hex_digits(out, bytes[place].into(), 2);
    }
    if capitals {
        out[start..].make_ascii_uppercase();
    }
}
