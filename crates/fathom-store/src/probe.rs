//! What static probes of the program say: the payload of their events.
//!
//! A word for each argument, extended to 64 bits by its sign if it has one, and behind all words a byte for each:
//!
//! ```text
//!  7       6       5 4   3      0
//! | signed | float |  0 | size  |    0 when the value could not be read
//! ```
//!
//! In a directory these are in files of their own, `<tid>.probes`: the records of events as in `<tid>.dat`, with their
//! payloads, while in `<tid>.dat` itself the events have none. uftrace gives up a trace where they have.

use crate::Endian;
use std::fmt;

const SIGNED: u8 = 0x80;
const FLOAT: u8 = 0x40;
const SIZE: u8 = 0xf;

/// An argument of a probe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ProbeValue {
    /// A signed number.
    Signed(i64),
    /// An unsigned number.
    Unsigned(u64),
    /// A floating-point number of four bytes.
    Single(f32),
    /// A floating-point number of eight bytes.
    Double(f64),
    /// It could not be read.
    Unknown,
}

impl fmt::Display for ProbeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeValue::Signed(value) => value.fmt(f),
            ProbeValue::Unsigned(value) => value.fmt(f),
            ProbeValue::Single(value) => value.fmt(f),
            ProbeValue::Double(value) => value.fmt(f),
            ProbeValue::Unknown => f.write_str("?"),
        }
    }
}

/// The arguments in a payload; none when it is not laid out like that.
pub fn values(payload: &[u8], endian: Endian) -> Option<Vec<ProbeValue>> {
    if payload.is_empty() || !payload.len().is_multiple_of(9) {
        return None;
    }
    let (words, shapes) = payload.split_at(payload.len() / 9 * 8);
    let (words, _) = words.as_chunks::<8>();
    let one = |(word, shape): (&[u8; 8], &u8)| {
        let word = match endian {
            Endian::Little => u64::from_le_bytes(*word),
            Endian::Big => u64::from_be_bytes(*word),
        };
        Some(match (*shape, shape & SIZE) {
            (0, _) => ProbeValue::Unknown,
            (FLOAT.., 4) if shape & FLOAT != 0 => ProbeValue::Single(f32::from_bits(word as u32)),
            (FLOAT.., 8) if shape & FLOAT != 0 => ProbeValue::Double(f64::from_bits(word)),
            (_, 1 | 2 | 4 | 8) if shape & SIGNED != 0 => ProbeValue::Signed(word.cast_signed()),
            (_, 1 | 2 | 4 | 8) => ProbeValue::Unsigned(word),
            _ => return None,
        })
    };
    words.iter().zip(shapes).map(one).collect()
}

/// The arguments as views show them: `arg1=1, arg2=-2`.
pub fn text(payload: &[u8], endian: Endian) -> Option<String> {
    let values = values(payload, endian)?;
    let texts = values.iter().zip(1..).map(|(value, number)| format!("arg{number}={value}"));
    Some(texts.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(values: &[(u64, u8)]) -> Vec<u8> {
        let words = values.iter().flat_map(|(word, _)| word.to_le_bytes());
        words.chain(values.iter().map(|(_, shape)| *shape)).collect()
    }

    #[test]
    fn each_kind_of_value() {
        let all = [
            (42, 4 | SIGNED),
            (u64::MAX, 8 | SIGNED),
            (u64::MAX, 8),
            (u64::from(1.5f32.to_bits()), 4 | FLOAT),
            ((-2.25f64).to_bits(), 8 | FLOAT),
            (7, 0),
        ];
        let text = text(&payload(&all), Endian::Little).unwrap();
        assert_eq!(text, "arg1=42, arg2=-1, arg3=18446744073709551615, arg4=1.5, arg5=-2.25, arg6=?");
        let big = [0, 0, 0, 0, 0, 0, 1, 0, 2];
        assert_eq!(values(&big, Endian::Big), Some(vec![ProbeValue::Unsigned(256)]));
    }

    #[test]
    fn what_is_laid_out_in_another_way_is_no_value() {
        for bytes in [&[][..], &[0; 8], &[0, 0, 0, 0, 0, 0, 0, 0, 3], &[0; 17]] {
            assert_eq!(text(bytes, Endian::Little), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let values = values(&bytes, Endian::Little);
            prop_assert!(values.is_none_or(|values| values.len() * 9 == bytes.len()));
        }
    }
}
