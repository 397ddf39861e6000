//! An event as its fields, for those whose `print fmt` cannot be evaluated: `field=value` in the order of the format,
//! numbers in hexadecimal and decimal, much as the kernel does it with its option `fields`.

use crate::format::{FieldKind, Format, Value};
use crate::number;
use crate::print_fmt::Context;

/// Writes all of the event's own fields, each after a space; those that the record is too short for are named too.
pub fn print(out: &mut Vec<u8>, format: &Format, record: &[u8], context: &Context) {
    for field in &format.fields {
        out.push(b' ');
        out.extend_from_slice(field.name.as_bytes());
        out.push(b'=');
        match field.value(record, format.machine.endian) {
            Some(value) => print_value(out, value, field.kind, field.size, context),
            None => out.extend_from_slice(b"<beyond the record>"),
        }
    }
}

fn print_value(out: &mut Vec<u8>, value: Value, kind: FieldKind, size: usize, context: &Context) {
    match value {
        Value::Unsigned(value) => {
            out.extend_from_slice(b"0x");
            number::hex(out, value);
            out.extend_from_slice(b" (");
            number::decimal(out, value);
            out.push(b')');
        }
        Value::Signed(value) => {
            out.extend_from_slice(b"0x");
            number::hex_fixed(out, value as u64, hex_digits(value, size));
            out.extend_from_slice(b" (");
            number::signed(out, value);
            out.push(b')');
        }
        Value::Pointer(address) => {
            out.extend_from_slice(b"0x");
            number::hex(out, address);
            if let Some(text) = context.names.texts.get(address) {
                out.push(b' ');
                out.extend_from_slice(text);
            }
        }
        Value::Text(text) => out.extend_from_slice(text),
        Value::Array(numbers) => {
            out.push(b'{');
            for (index, value) in numbers.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                if numbers.signed() { number::signed(out, value as i64) } else { number::decimal(out, value) }
            }
            out.push(b'}');
        }
        Value::Bytes(bytes) => {
            // A structure of the kernel, in which nothing is known.
            let shown = if kind == FieldKind::Bytes { bytes } else { bytes.get(..256).unwrap_or(bytes) };
            for byte in shown {
                number::hex_fixed(out, u64::from(*byte), 2);
            }
        }
    }
}

/// Digits of a number of `size` bytes: all of them for one below zero.
fn hex_digits(value: i64, size: usize) -> usize {
    if value < 0 { 2 * size.min(8) } else { (67 - (value as u64 | 1).leading_zeros() as usize) / 4 }
}
