//! Recorded values as scripts see them (source: output formats, section 8).

use fathom_store::args::{self, ArgFormat, ArgSpec};
use fathom_store::{Endian, Kind};
use std::borrow::Cow;

/// A value of an argument or a return value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number of up to four bytes, with its sign whatever the spec says, as with the peer.
    Signed(i64),
    /// A number of eight bytes, without one.
    Unsigned(u64),
    /// A floating-point number.
    Float(f64),
    /// Text, characters and what is said of a structure. Bytes of the traced program, so of any encoding.
    Text(Cow<'a, [u8]>),
}

/// The values in the payload of an entry or exit.
pub fn values<'a>(
    specs: &'a [ArgSpec],
    kind: Kind,
    payload: &'a [u8],
    endian: Endian,
) -> impl Iterator<Item = Value<'a>> {
    args::values(specs, kind, payload, endian).map(move |value| one(value.spec, value.bytes, endian))
}

fn one<'a>(spec: &ArgSpec, bytes: &'a [u8], endian: Endian) -> Value<'a> {
    match spec.format {
        // How a string that is not there is recorded.
        ArgFormat::String | ArgFormat::StdString if bytes == [0xff; 4] => Value::Text(b"NULL".into()),
        ArgFormat::String | ArgFormat::StdString => Value::Text(bytes.into()),
        ArgFormat::Char => character(bytes, endian),
        ArgFormat::Float => Value::Float(float(bytes, endian)),
        ArgFormat::Struct => {
            let name = spec.type_name.as_deref().unwrap_or_default();
            Value::Text(format!("struct: {name}{{}}").into_bytes().into())
        }
        _ => {
            let number = number(bytes, endian);
            match bytes.len() {
                8.. => Value::Unsigned(number),
                len => Value::Signed(fathom_view::signed(number, len)),
            }
        }
    }
}

/// Characters of Rust have four bytes.
fn character(bytes: &[u8], endian: Endian) -> Value<'_> {
    if bytes.len() != 4 {
        return Value::Text(bytes.get(..1).unwrap_or_default().into());
    }
    let c = u32::try_from(number(bytes, endian)).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
    Value::Text(c.to_string().into_bytes().into())
}

fn number(bytes: &[u8], endian: Endian) -> u64 {
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    match endian {
        Endian::Little => bytes.iter().take(8).rev().fold(0, add),
        Endian::Big => bytes.iter().take(8).fold(0, add),
    }
}

fn float(bytes: &[u8], endian: Endian) -> f64 {
    match bytes.len() {
        4 => f64::from(f32::from_bits(number(bytes, endian) as u32)),
        8 => f64::from_bits(number(bytes, endian)),
        _ => fathom_view::extended(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_store::args::{Class, parse_items};

    fn shown(spec: &str, payload: &[u8]) -> Vec<Value<'static>> {
        let specs = parse_items(spec, Class::Bits64).unwrap().specs;
        let kind = if spec.contains("retval") { Kind::Exit } else { Kind::Entry };
        let all = values(&specs, kind, payload, Endian::Little);
        all.map(|value| match value {
            Value::Text(text) => Value::Text(text.into_owned().into()),
            Value::Signed(n) => Value::Signed(n),
            Value::Unsigned(n) => Value::Unsigned(n),
            Value::Float(n) => Value::Float(n),
        })
        .collect()
    }

    fn text(text: &str) -> Value<'static> {
        Value::Text(text.as_bytes().to_vec().into())
    }

    /// What uftrace 0.13 hands to scripts for the same bytes.
    #[test]
    fn values_are_those_of_the_peer() {
        let minus_three = (-3i32).to_le_bytes();
        assert_eq!(shown("retval/i32", &minus_three), [Value::Signed(-3)]);
        assert_eq!(shown("retval/u32", &minus_three), [Value::Signed(-3)]);
        assert_eq!(shown("retval/x8", &[0xfd]), [Value::Signed(-3)]);
        assert_eq!(shown("retval", &0xffff_fffdu64.to_le_bytes()), [Value::Unsigned(0xffff_fffd)]);
        assert_eq!(shown("retval/i64", &(-3i64).to_le_bytes()), [Value::Unsigned(u64::MAX - 2)]);
        assert_eq!(shown("arg1/c", b"a\0\0\0"), [text("a")]);
        assert_eq!(shown("retval/f32", &1.5f32.to_le_bytes()), [Value::Float(1.5)]);
        assert_eq!(shown("retval/f64", &2.25f64.to_le_bytes()), [Value::Float(2.25)]);
        assert_eq!(shown("arg1/s", b"\x04\0\xff\xff\xff\xff"), [text("NULL")]);
        assert_eq!(shown("arg1/s,arg2", b"\x02\0a\n\x05\0\0\0\0\0\0\0"), [text("a\n"), Value::Unsigned(5)]);
        assert_eq!(shown("arg1/t8:pt", &[0; 8]), [text("struct: pt{}")]);
        assert_eq!(shown("arg1/e:hue", &2u64.to_le_bytes()), [Value::Unsigned(2)]);
    }
}
