//! Payloads: from the pieces that they have in the arena to the bytes behind their records in the trace.

use crate::order::is_data;
use fathom_abi::record::{ADDR_SHIFT, DATA_BYTES, DEPTH_MASK, DEPTH_SHIFT, EVENT, MORE, TYPE_MASK};
use fathom_store::event_id;

/// What [`join`] has left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Records whose payload is not there.
    pub(crate) cut: u64,
    /// Pieces without a record.
    pub(crate) pieces: u64,
}

/// Writes records (time, word) as they are in the trace, each with its payload behind it, padded to 8 bytes. A record whose
/// payload is missing is left out: what is behind it could not be read.
///
/// The events of probes stay without their payload: uftrace gives up a trace where they have one. Their records go to
/// `probes` as they were.
pub(crate) fn join(records: &[[u64; 2]], out: &mut Vec<u8>, probes: &mut Vec<u8>) -> LeftOut {
    let mut left_out = LeftOut::default();
    let mut at = 0;
    while let Some(&[time, word]) = records.get(at) {
        at += 1;
        if is_data(word) {
            left_out.pieces += 1;
            continue;
        }
        let of_probe = word & (TYPE_MASK | MORE) == EVENT | MORE
            && (event_id::USER..event_id::EXTERNAL).contains(&(word >> ADDR_SHIFT));
        if of_probe {
            out.extend(time.to_le_bytes());
            out.extend((word & !MORE).to_le_bytes());
        }
        let out = if of_probe { &mut *probes } else { &mut *out };
        let start = out.len();
        out.extend(time.to_le_bytes());
        out.extend(word.to_le_bytes());
        if word & MORE == 0 {
            continue;
        }
        let behind = out.len();
        while let Some(&[low, word]) = records.get(at).filter(|record| is_data(record[1])) {
            let len = ((word & DEPTH_MASK) >> DEPTH_SHIFT) as usize;
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&low.to_le_bytes());
            bytes[8..].copy_from_slice(&(word >> ADDR_SHIFT).to_le_bytes());
            out.extend(&bytes[..len.min(DATA_BYTES)]);
            at += 1;
        }
        if out.len() == behind {
            out.truncate(start);
            left_out.cut += 1;
        } else {
            out.resize(out.len().next_multiple_of(8), 0);
        }
    }
    left_out
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_abi::record::{ENTRY, EXIT, data_word, word};
    use proptest::prelude::*;

    fn pieces(payload: &[u8]) -> Vec<[u64; 2]> {
        payload
            .chunks(DATA_BYTES)
            .map(|piece| {
                let mut bytes = [0; 16];
                bytes[..piece.len()].copy_from_slice(piece);
                let word = u128::from_le_bytes(bytes);
                [word as u64, data_word((word >> 64) as u64, piece.len())]
            })
            .collect()
    }

    #[test]
    fn records_without_their_payload_are_left_out() {
        let entry = [1, word(ENTRY, 0, 0x1000) | MORE];
        let exit = [2, word(EXIT, 0, 0x1000)];
        let mut out = Vec::new();
        assert_eq!(join(&[entry, exit], &mut out, &mut Vec::new()), LeftOut { cut: 1, pieces: 0 });
        assert_eq!(out.len(), 16);
        let stray = pieces(b"12345678")[0];
        assert_eq!(join(&[stray, exit], &mut out, &mut Vec::new()), LeftOut { cut: 0, pieces: 1 });
    }

    #[test]
    fn payloads_of_probes_are_kept_apart() {
        let event = |id| [5, word(EVENT, 0, id) | MORE];
        let mut records = vec![event(event_id::USER)];
        records.extend(pieces(b"123456789abcdefg"));
        records.push(event(100_001));
        records.extend(pieces(b"12345678"));
        let (mut out, mut probes) = (Vec::new(), Vec::new());
        assert_eq!(join(&records, &mut out, &mut probes), LeftOut::default());
        let bare = word(EVENT, 0, event_id::USER).to_le_bytes();
        assert_eq!((out.len(), &out[8..16]), (16 + 24, &bare[..]));
        assert_eq!((probes.len(), &probes[16..]), (32, &b"123456789abcdefg"[..]));
    }

    proptest! {
        #[test]
        fn payloads_come_out_as_they_went_in(payload in proptest::collection::vec(any::<u8>(), 1..200)) {
            let mut records = vec![[7, word(ENTRY, 3, 0x4000) | MORE]];
            records.extend(pieces(&payload));
            records.push([9, word(EXIT, 3, 0x4000)]);
            let mut out = Vec::new();
            prop_assert_eq!(join(&records, &mut out, &mut Vec::new()), LeftOut::default());
            prop_assert_eq!(&out[16..16 + payload.len()], &payload[..]);
            prop_assert_eq!(out.len(), 32 + payload.len().next_multiple_of(8));
        }
    }
}
