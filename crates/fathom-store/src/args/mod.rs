//! Argument and return value specs: which values were recorded with a call, and of which types.
//!
//! Records don't say how long their payloads are. It follows from the specs, which are in the `info` file (those
//! the user gave and the recorder's own tables) and in the `.dbg` files of modules.

mod table;

pub use fathom_filter::args::{ArgFormat, ArgLocation, ArgSlot, ArgSpec, Class, parse_items};
pub use table::{ArgTable, Subject};

use crate::{Endian, Kind, record};

/// One recorded value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// What it is.
    pub spec: &'a ArgSpec,
    /// Its bytes, in the byte order of the traced program, without padding. Of strings the text.
    pub bytes: &'a [u8],
}

/// Whether a spec is about what a record of that kind carries.
fn belongs(spec: &ArgSpec, kind: Kind) -> bool {
    (spec.slot == ArgSlot::Return) == (kind == Kind::Exit)
}

/// Takes the payload of an entry or an exit apart. `specs` are all specs of the function. Ends early if the payload
/// does.
pub fn values<'a>(
    specs: &'a [ArgSpec],
    kind: Kind,
    payload: &'a [u8],
    endian: Endian,
) -> impl Iterator<Item = Value<'a>> {
    let mut at = 0;
    specs.iter().filter(move |spec| belongs(spec, kind)).map_while(move |spec| {
        let rest = payload.get(at..)?;
        let (start, len) = value_range(spec, rest, endian)?;
        let bytes = rest.get(start..start + len)?;
        at += (start + len).next_multiple_of(4);
        Some(Value { spec, bytes })
    })
}

/// Where the value that `bytes` begin with is. None if they end before.
fn value_range(spec: &ArgSpec, bytes: &[u8], endian: Endian) -> Option<(usize, usize)> {
    if !matches!(spec.format, ArgFormat::String | ArgFormat::StdString) {
        return Some((0, usize::from(spec.size)));
    }
    let length = bytes.first_chunk::<2>()?;
    let length = match endian {
        Endian::Little => u16::from_le_bytes(*length),
        Endian::Big => u16::from_be_bytes(*length),
    };
    Some((2, usize::from(length)))
}

/// How long a payload is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// So many bytes, to be padded to a multiple of 8.
    Bytes(usize),
    /// The bytes given end before.
    CutOff,
    /// No spec is about this kind of record.
    NoSpec,
    /// More than is ever recorded.
    TooLong,
}

/// Measures the payload of an entry or exit, of which `bytes` are the beginning.
pub(crate) fn length(specs: &[ArgSpec], kind: Kind, bytes: &[u8], endian: Endian) -> Length {
    let (mut at, mut any) = (0, false);
    for spec in specs.iter().filter(|spec| belongs(spec, kind)) {
        any = true;
        let Some((start, len)) = value_range(spec, bytes.get(at..).unwrap_or_default(), endian) else {
            return Length::CutOff;
        };
        at += (start + len).next_multiple_of(4);
        if at > record::MAX_PAYLOAD {
            return Length::TooLong;
        }
    }
    match (any, at.next_multiple_of(8) <= bytes.len()) {
        (false, _) => Length::NoSpec,
        (true, true) => Length::Bytes(at),
        (true, false) => Length::CutOff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Class;
    use proptest::prelude::*;

    fn specs(text: &str) -> Vec<ArgSpec> {
        parse_items(text, Class::Bits64).unwrap().specs
    }

    /// The example of the format's description, which uftrace recorded.
    #[test]
    fn a_recorded_payload() {
        let mut payload = vec![7, 0, 0, 0, 0, 0, 0, 0, 8, 0];
        payload.extend(b"oak\ntree\0\0");
        payload.extend([4, 0, 0, 0, 0, 0, 0, 0, 0xaa, 0xbb, 0xcc, 0xdd]);
        let specs = specs("arg1,arg2/s,arg3/x,retval/i32");
        assert_eq!(length(&specs, Kind::Entry, &payload, Endian::Little), Length::Bytes(28));
        assert_eq!(length(&specs, Kind::Entry, &payload[..31], Endian::Little), Length::CutOff);
        assert_eq!(length(&specs, Kind::Exit, &[1, 0, 0, 0, 9, 9, 9, 9], Endian::Little), Length::Bytes(4));
        let all: Vec<_> =
            values(&specs, Kind::Entry, &payload, Endian::Little).map(|v| v.bytes.to_vec()).collect();
        assert_eq!(all, [payload[..8].to_vec(), b"oak\ntree".to_vec(), payload[20..28].to_vec()]);
    }

    #[test]
    fn odd_sizes_are_padded() {
        let all = specs("arg1/c,fparg1/80,fparg2/32,arg2/t6:pair,arg3/i16");
        assert_eq!(length(&all, Kind::Entry, &[0; 64], Endian::Little), Length::Bytes(4 + 12 + 4 + 8 + 4));
        assert_eq!(length(&all, Kind::Exit, &[0; 64], Endian::Little), Length::NoSpec);
        let nothing = specs("arg1/t0:empty");
        assert_eq!(length(&nothing, Kind::Entry, &[], Endian::Little), Length::Bytes(0));
        let text = specs("arg1/s");
        let huge = [0xff; 4096];
        assert_eq!(length(&text, Kind::Entry, &huge, Endian::Little), Length::TooLong);
        assert_eq!(length(&text, Kind::Entry, &[0, 3, b'a'], Endian::Big), Length::CutOff);
    }

    proptest! {
        #[test]
        fn values_fit_into_what_was_measured(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let specs = specs("arg1/s,arg2,arg3/s,arg4/c,arg5/t9");
            if let Length::Bytes(n) = length(&specs, Kind::Entry, &bytes, Endian::Little) {
                prop_assert!(n <= bytes.len());
                prop_assert_eq!(values(&specs, Kind::Entry, &bytes[..n], Endian::Little).count(), 5);
            }
            values(&specs, Kind::Entry, &bytes, Endian::Big).count();
        }
    }
}
