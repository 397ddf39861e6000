//! An event's fields one by one, as `-R` prints them.
//!
//! A number has the form that the `print fmt` gives it, where the `print fmt` has it as an argument of its own. The
//! arguments are searched from the one behind the last that was found, and around; once the last piece of the format
//! was found, nothing is found any more. That is how trace-cmd does it.

use super::symbols::Symbols;
use fathom_ftrace::{Endian, Field, FieldKind, Format, number};
use std::cell::Cell;

/// A conversion of a format string.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Conversion {
    left: bool,
    zero: bool,
    alternate: bool,
    plus: bool,
    width: usize,
    /// Bytes of the number: 1, 2, 4 or 8.
    size: u8,
    letter: u8,
    /// What follows a `p`.
    pointer: u8,
    /// Whether `0x` stands before it.
    prefixed: bool,
}

/// How a field is written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// As the `print fmt` has it, after casts to numbers of so many bytes.
    Converted(Conversion, Vec<u8>),
    Text,
    /// Text, until a record has bytes in it that are none; from then on bytes.
    TextOrBytes(Cell<bool>),
    Bytes,
    Hex,
    Signed,
    Unsigned,
}

/// The fields of an event.
#[derive(Debug, Clone)]
pub(crate) struct RawFields {
    fields: Vec<(Vec<u8>, Field, Form)>,
}

impl RawFields {
    pub(crate) fn new(format: &Format) -> Self {
        let mut conversions = Conversions::of(&format.print_fmt);
        let mut fields = Vec::new();
        for field in &format.fields {
            let label = format!(" {}=", field.name).into_bytes();
            let form = form(field, format.machine.long_size, &mut conversions);
            fields.push((label, field.clone(), form));
        }
        Self { fields }
    }

    /// The fields in the forms of their types.
    pub(crate) fn plain(format: &Format) -> Self {
        let mut none = Conversions { pieces: Vec::new(), next: None };
        let fields = format.fields.iter().map(|field| {
            let form = form(field, format.machine.long_size, &mut none);
            (format!(" {}=", field.name).into_bytes(), field.clone(), form)
        });
        Self { fields: fields.collect() }
    }

    /// Writes all fields, each with a space before it.
    pub(crate) fn write(&self, out: &mut Vec<u8>, record: &[u8], endian: Endian, symbols: &Symbols) {
        for (label, field, form) in &self.fields {
            out.extend_from_slice(label);
            let number = || endian.unsigned(record, field.offset, field.size).unwrap_or_default();
            match form {
                Form::Text => out.extend_from_slice(field.text(record, endian).unwrap_or_default()),
                Form::TextOrBytes(is_text) => {
                    let text = field.text(record, endian).unwrap_or_default();
                    is_text.set(is_text.get() && is_printable(text));
                    if is_text.get() {
                        out.extend_from_slice(text);
                    } else {
                        bytes(out, in_record(field, record, endian));
                    }
                }
                Form::Bytes => bytes(out, in_record(field, record, endian)),
                Form::Hex => {
                    out.extend_from_slice(b"0x");
                    number::hex(out, number());
                }
                Form::Unsigned => number::decimal(out, number()),
                Form::Signed => {
                    number::signed(out, endian.signed(record, field.offset, field.size).unwrap_or_default());
                }
                Form::Converted(conversion, casts) => {
                    let number = casts.iter().fold(number(), |number, &size| cut(number, size));
                    conversion.write(out, number, symbols);
                }
            }
        }
    }
}

/// The form of a field: that of the next conversion of it, or that of its type.
fn form(field: &Field, long_size: u8, conversions: &mut Conversions) -> Form {
    let declared_array = field.type_text.contains('[');
    match field.kind {
        _ if declared_array && field.size == 0 && is_bytes(field) => return Form::Text,
        _ if declared_array && is_bytes(field) => return Form::TextOrBytes(Cell::new(true)),
        _ if declared_array => return Form::Bytes,
        FieldKind::DataLoc(_) | FieldKind::RelLoc(_) => return Form::Unsigned,
        _ => {}
    }
    if let Some(found) = conversions.find(&field.name) {
        return Form::Converted(found.conversion, found.casts);
    }
    let long = field.type_text.split(' ').any(|word| word == "long");
    match field.signed {
        _ if field.type_text.contains('*') && field.size == usize::from(long_size) => Form::Hex,
        true => Form::Signed,
        false if long => Form::Hex,
        false => Form::Unsigned,
    }
}

/// Whether its elements are single bytes.
fn is_bytes(field: &Field) -> bool {
    let base = field.type_text.split('[').next().unwrap_or_default();
    matches!(base.split(' ').next_back(), Some("char" | "u8" | "s8" | "__u8" | "__s8" | "uint8_t" | "int8_t"))
}

/// Whether bytes up to a NUL are text.
fn is_printable(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'..=b'\r'))
}

/// The bytes of a field, as far as the record has them.
fn in_record<'a>(field: &Field, record: &'a [u8], endian: Endian) -> &'a [u8] {
    let whole = field.bytes(record, endian);
    whole.unwrap_or_else(|| record.get(field.offset..).unwrap_or_default())
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"ARRAY[");
    for (index, &byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        number::hex_fixed(out, byte.into(), 2);
    }
    out.push(b']');
}

fn cut(number: u64, size: u8) -> u64 {
    if size >= 8 { number } else { number & ((1 << (8 * size)) - 1) }
}

impl Conversion {
    fn write(&self, out: &mut Vec<u8>, value: u64, symbols: &Symbols) {
        let value = if matches!(self.letter, b'p' | b's') { value } else { cut(value, self.size) };
        let mut text = Vec::new();
        if self.prefixed {
            out.extend_from_slice(b"0x");
        }
        match self.letter {
            b'd' | b'i' => {
                let unused = 64 - 8 * u32::from(self.size);
                let number = (value << unused).cast_signed() >> unused;
                if self.plus && number >= 0 {
                    text.push(b'+');
                }
                number::signed(&mut text, number);
            }
            b'x' | b'X' | b'o' => {
                let digits = match self.letter {
                    b'x' => format!("{value:x}"),
                    b'X' => format!("{value:X}"),
                    _ => format!("{value:o}"),
                };
                if self.alternate && value != 0 {
                    text.extend_from_slice(if self.letter == b'o' { b"0" } else { b"0x" });
                }
                text.extend_from_slice(digits.as_bytes());
            }
            b'p' => match symbols.find(value).filter(|_| matches!(self.pointer, b's' | b'S' | b'f' | b'F')) {
                Some((name, begin)) => {
                    text.extend_from_slice(name);
                    if matches!(self.pointer, b'S' | b'F') {
                        text.extend_from_slice(b"+0x");
                        number::hex(&mut text, value.wrapping_sub(begin));
                    }
                }
                None if value == 0 && !matches!(self.pointer, b's' | b'S' | b'f' | b'F') => {
                    text.extend_from_slice(b"(nil)");
                }
                None => {
                    text.extend_from_slice(b"0x");
                    number::hex(&mut text, value);
                }
            },
            // A text of the kernel's own, which only its address is recorded of.
            b's' => match symbols.text(value) {
                Some(found) => text.extend_from_slice(found),
                None => {
                    number::hex(out, value);
                    return;
                }
            },
            _ => number::decimal(&mut text, value),
        }
        if self.left {
            number::left(out, &text, self.width);
        } else if self.zero {
            let prefix = if text.starts_with(b"-") {
                1
            } else if text.starts_with(b"0x") {
                2
            } else {
                0
            };
            out.extend_from_slice(&text[..prefix]);
            number::right(out, &text[prefix..], self.width.saturating_sub(prefix), b'0');
        } else {
            number::right(out, &text, self.width, b' ');
        }
    }
}

/// An argument that is a field, with its conversion.
#[derive(Debug, Clone)]
struct Argument {
    field: String,
    /// Sizes that it is cast to, the innermost first.
    casts: Vec<u8>,
    conversion: Conversion,
}

/// The pieces of a format, and which one is looked at next.
struct Conversions {
    /// Conversions (`None` where the argument is not a field), and text at the end.
    pieces: Vec<Option<Argument>>,
    next: Option<usize>,
}

impl Conversions {
    fn of(print_fmt: &str) -> Self {
        let pieces = conversions(print_fmt);
        let next = (!pieces.is_empty()).then_some(0);
        Self { pieces, next }
    }

    fn find(&mut self, name: &str) -> Option<Argument> {
        let start = self.next?;
        let count = self.pieces.len();
        let is_it =
            |index: &usize| self.pieces[*index].as_ref().is_some_and(|argument| argument.field == name);
        let found = (start..count).chain(0..start).find(is_it)?;
        self.next = Some(found + 1).filter(|next| *next < count);
        self.pieces[found].clone()
    }
}

/// The pieces of a `print fmt`.
fn conversions(print_fmt: &str) -> Vec<Option<Argument>> {
    let Some((format, arguments)) = split(print_fmt) else { return Vec::new() };
    let mut arguments = arguments.into_iter();
    let mut list = Vec::new();
    let mut bytes = format.iter().copied().peekable();
    let mut before = [0; 2];
    let mut text_behind = false;
    while let Some(byte) = bytes.next() {
        let prefixed = before == *b"0x";
        before = [before[1], byte];
        if byte != b'%' {
            text_behind = true;
            continue;
        }
        let mut conversion = Conversion {
            left: false,
            zero: false,
            alternate: false,
            plus: false,
            width: 0,
            size: 4,
            letter: 0,
            pointer: 0,
            prefixed,
        };
        let mut precision = false;
        for byte in bytes.by_ref() {
            match byte {
                b'-' => conversion.left = true,
                b'#' => conversion.alternate = true,
                b'+' => conversion.plus = true,
                b'.' => precision = true,
                b'0' if conversion.width == 0 && !precision => conversion.zero = true,
                b'0'..=b'9' if precision => {}
                b'0'..=b'9' => {
                    conversion.width = (conversion.width * 10 + usize::from(byte - b'0')).min(1000);
                }
                b'*' => drop(arguments.next()),
                b'h' => conversion.size = if conversion.size == 2 { 1 } else { 2 },
                b'l' | b'L' | b'z' | b'j' | b't' | b'q' => conversion.size = 8,
                letter => {
                    conversion.letter = letter;
                    break;
                }
            }
        }
        // A character takes no argument here: that is how trace-cmd counts them.
        if matches!(conversion.letter, 0 | b'%' | b'c') {
            continue;
        }
        if conversion.letter == b'p' {
            conversion.pointer = bytes.peek().copied().unwrap_or_default();
            while bytes.next_if(u8::is_ascii_alphanumeric).is_some() {}
        }
        let Some(argument) = arguments.next() else { break };
        list.push(field_of(&argument).map(|(field, casts)| Argument { field, casts, conversion }));
        text_behind = false;
    }
    if text_behind {
        list.push(None);
    }
    list
}

/// The format string, and the arguments behind it.
fn split(print_fmt: &str) -> Option<(Vec<u8>, Vec<String>)> {
    let (mut format, mut arguments) = (Vec::new(), Vec::new());
    let mut current = String::new();
    let (mut depth, mut quoted, mut escaped) = (0_i32, false, false);
    for byte in print_fmt.chars() {
        if quoted {
            let ends = byte == '"' && !escaped;
            escaped = byte == '\\' && !escaped;
            quoted = !ends;
            if arguments.is_empty() && depth == 0 {
                if !ends {
                    format.extend_from_slice(byte.encode_utf8(&mut [0; 4]).as_bytes());
                }
                continue;
            }
        } else {
            match byte {
                '"' => {
                    quoted = true;
                    if arguments.is_empty() && depth == 0 && current.trim().is_empty() {
                        continue;
                    }
                }
                '(' | '{' | '[' => depth += 1,
                ')' | '}' | ']' => depth -= 1,
                ',' if depth == 0 => {
                    arguments.push(std::mem::take(&mut current));
                    continue;
                }
                _ => {}
            }
        }
        current.push(byte);
    }
    arguments.push(current);
    let first = arguments.remove(0);
    first.trim().is_empty().then_some((format, arguments))
}

/// The field that an argument is, without parentheses and casts.
fn field_of(argument: &str) -> Option<(String, Vec<u8>)> {
    let mut text = argument.trim();
    let mut casts = Vec::new();
    loop {
        if let Some(name) = text.strip_prefix("REC->") {
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            casts.reverse();
            return plain.then(|| (name.to_owned(), casts));
        }
        let inner = text.strip_prefix('(')?;
        let close = closing(inner)?;
        let (inside, behind) = (&inner[..close], inner[close + 1..].trim());
        if behind.is_empty() {
            text = inside.trim();
        } else {
            casts.push(type_size(inside)?);
            text = behind;
        }
    }
}

/// Where the parenthesis closes that was opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' if depth == 0 => return Some(index),
            b')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Bytes of an integer type, or 8 for others; `None` for what is no type.
fn type_size(text: &str) -> Option<u8> {
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b' ' | b'*')) {
        return None;
    }
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    Some(match words.last()? {
        _ if text.contains('*') => 8,
        &"char" | &"u8" | &"s8" | &"__u8" | &"__s8" | &"bool" => 1,
        &"short" | &"u16" | &"s16" | &"__u16" | &"__s16" => 2,
        &"int" if words.contains(&"long") => 8,
        &"int" | &"unsigned" | &"u32" | &"s32" | &"__u32" | &"__s32" => 4,
        _ => 8,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_are_fields() {
        let text =
            r#""a=%d %-08lx %c b=%s 100%% %p", REC->a, (unsigned long)(REC->b), "x,y", ((REC->d) + 1)"#;
        let found: Vec<_> = conversions(text)
            .into_iter()
            .flatten()
            .map(|argument| (argument.field, argument.casts, argument.conversion.letter))
            .collect();
        assert_eq!(found, [("a".to_owned(), vec![], b'd'), ("b".to_owned(), vec![8], b'x')]);
        assert!(conversions("REC->a ? \"x\" : \"y\"").is_empty());
        assert_eq!(field_of(" (u8)(REC->e) "), Some(("e".to_owned(), vec![1])));
        assert_eq!(field_of("REC->e.f"), None);
    }
}
