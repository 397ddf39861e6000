//! The 16-byte records of `<tid>.dat` files.
//!
//! ```text
//! byte  0               8               16
//!       +---------------+---------------+
//!       | time (ns)     | word          |
//!       +---------------+---------------+
//!
//! bit   63                                16 15          6 5   3  2   1  0
//!       +-----------------------------------+-------------+-----+----+----+
//!       | addr (48 bits)                    | depth       |magic|more|kind|
//!       +-----------------------------------+-------------+-----+----+----+
//! ```
//!
//! `kind` is 0 entry, 1 exit, 2 lost, 3 event; `magic` is always 5; `more` says that a payload follows. Both words
//! have the byte order of the traced program.

use crate::Kind;

/// Length of a record without its payload, bytes.
pub const SIZE: usize = 16;
/// A payload follows the record.
pub const MORE: u64 = 1 << 2;
/// Largest depth that a record can hold; deeper ones wrap.
pub const MAX_DEPTH: u16 = (1 << DEPTH_BITS) - 1;
/// The bits of an address that a record keeps.
pub const ADDR: u64 = (1 << (64 - ADDR_SHIFT)) - 1;
/// Largest payload that is ever recorded with a call, bytes; a reader refuses longer ones.
pub const MAX_PAYLOAD: usize = 1024;

const KIND_MASK: u64 = 3;
const MAGIC: u64 = 5;
const MAGIC_SHIFT: u32 = 3;
const MAGIC_MASK: u64 = 7 << MAGIC_SHIFT;
const DEPTH_SHIFT: u32 = 6;
const DEPTH_BITS: u32 = 10;
const ADDR_SHIFT: u32 = 16;

/// The kinds by their number.
const KINDS: [Kind; 4] = [Kind::Entry, Kind::Exit, Kind::Lost, Kind::Event];

/// The second word of a record without payload; or it with [`MORE`] where one follows. Of `depth` the low 10 bits
/// are kept, of `addr` the low 48.
pub const fn encode(kind: Kind, depth: u16, addr: u64) -> u64 {
    (addr << ADDR_SHIFT)
        | (((depth & MAX_DEPTH) as u64) << DEPTH_SHIFT)
        | (MAGIC << MAGIC_SHIFT)
        | kind as u64
}

/// A whole record as it is on disk, for a traced program of the byte order of this machine.
pub fn encode_bytes(time: u64, word: u64) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes[..8].copy_from_slice(&time.to_ne_bytes());
    bytes[8..].copy_from_slice(&word.to_ne_bytes());
    bytes
}

/// Whether the word is one of a record at all.
#[inline]
pub const fn is_valid(word: u64) -> bool {
    word & MAGIC_MASK == MAGIC << MAGIC_SHIFT
}

/// Whether the word is of a record that needs no closer look: a call or a loss, without a payload.
#[inline]
pub(crate) const fn is_plain(word: u64) -> bool {
    // One comparison for magic and payload; an event is the only kind with both bits set.
    word & (MAGIC_MASK | MORE) == MAGIC << MAGIC_SHIFT && word & KIND_MASK != KIND_MASK
}

/// What the record says, whether its word is valid or not.
#[inline]
pub const fn kind(word: u64) -> Kind {
    KINDS[(word & KIND_MASK) as usize]
}

/// Call depth, 0 to [`MAX_DEPTH`].
#[inline]
pub const fn depth(word: u64) -> u16 {
    (word >> DEPTH_SHIFT) as u16 & MAX_DEPTH
}

/// Code address, count or event id.
#[inline]
pub const fn addr(word: u64) -> u64 {
    word >> ADDR_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The bytes and words of the format's description, and of records that uftrace wrote.
    #[test]
    fn layout_is_pinned() {
        assert_eq!(encode(Kind::Entry, 0, 0), 0x28);
        assert_eq!(encode(Kind::Entry, 1, 0), 0x68);
        assert_eq!(encode(Kind::Exit, 0, 0), 0x29);
        assert_eq!(encode(Kind::Entry, 0, 0) | MORE, 0x2c);
        assert_eq!(encode(Kind::Lost, 0, 7), 0x7_002a);
        assert_eq!(encode(Kind::Event, 0, 100_001), 0x1_86a1_002b);
        assert_eq!(encode(Kind::Entry, 1023, 0xffff_ffff_ffff), 0xffff_ffff_ffff_ffe8);
        let bytes = encode_bytes(1_099_626_039_529, encode(Kind::Entry, 0, 0x55dc_d812_e060));
        if cfg!(target_endian = "little") {
            let want = [0xe9, 0xc8, 0xd1, 6, 0, 1, 0, 0, 0x28, 0, 0x60, 0xe0, 0x12, 0xd8, 0xdc, 0x55];
            assert_eq!(bytes, want);
        }
    }

    #[test]
    fn only_plain_records_are_plain() {
        assert!(is_plain(encode(Kind::Exit, 5, 1)) && is_plain(encode(Kind::Lost, 0, 1)));
        assert!(!is_plain(encode(Kind::Event, 0, 1)));
        assert!(!is_plain(encode(Kind::Entry, 0, 1) | MORE));
        assert!(!is_plain(0) && !is_valid(0) && !is_valid(u64::MAX));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(which in 0usize..4, d in 0u16..2048, a in any::<u64>(), more: bool) {
            let word = encode(KINDS[which], d, a) | if more { MORE } else { 0 };
            prop_assert!(is_valid(word));
            prop_assert_eq!(kind(word), KINDS[which]);
            prop_assert_eq!(depth(word), d % 1024);
            prop_assert_eq!(addr(word), a & 0xffff_ffff_ffff);
        }
    }
}
