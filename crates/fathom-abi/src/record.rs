//! Records as the runtime writes them: 16 bytes, the same bits that the data directory has.
//!
//! ```text
//!  u64 time   raw clock of the recording: TSC ticks, or nanoseconds where the TSC cannot be used
//!  u64 word   63                                   16 15        6 5   3  2   1  0
//!            +---------------------------------------+-----------+-----+----+-----+
//!            |          address (48 bits)            |   depth   | 5   |more|type |
//!            +---------------------------------------+-----------+-----+----+-----+
//! ```
//!
//! A word is never zero, so a zeroed segment shows by itself how far it has been written.

/// Type bits of an entry.
pub const ENTRY: u64 = 0;
/// Type bits of an exit.
pub const EXIT: u64 = 1;
/// Type bits of a count of lost records (in the address field).
pub const LOST: u64 = 2;
/// Type bits of an event: its id is in the address field, its payload begins with its length.
pub const EVENT: u64 = 3;
/// Set when a payload follows: in the arena in [`data_word`] records, which belong to the record in front of them.
pub const MORE: u64 = 1 << 2;
/// Mask of the type bits.
pub const TYPE_MASK: u64 = 3;
/// The constant in bits 3 to 5.
pub const MAGIC: u64 = 5 << 3;
/// The constant in bits 3 to 5 of a piece of a payload, see [`data_word`].
pub const DATA_MAGIC: u64 = 6 << 3;
/// Mask of the constants.
pub const MAGIC_MASK: u64 = 7 << 3;
/// Bytes of a payload in one record.
pub const DATA_BYTES: usize = 14;
/// Where the depth starts; it is ten bits wide and wraps.
pub const DEPTH_SHIFT: u32 = 6;
/// The depth bits in place.
pub const DEPTH_MASK: u64 = 0x3ff << DEPTH_SHIFT;
/// Where the address starts.
pub const ADDR_SHIFT: u32 = 16;
/// Size of a record in bytes.
pub const SIZE: usize = 16;

/// The payload of a probe's event has for each argument a word with its value, extended to 64 bits by its sign if it has
/// one, and behind all words a byte for each with its size in bytes and these bits. The byte is zero when the value could
/// not be read.
pub const PROBE_SIGNED: u8 = 0x80;
/// The value is a floating-point number. See [`PROBE_SIGNED`].
pub const PROBE_FLOAT: u8 = 0x40;

/// The word of a record.
#[inline]
pub const fn word(kind: u64, depth: u64, addr: u64) -> u64 {
    (addr << ADDR_SHIFT) | ((depth << DEPTH_SHIFT) & DEPTH_MASK) | MAGIC | kind
}

/// The word of a record that carries a piece of a payload. The piece begins in the time: eight bytes there, up to six
/// here.
///
/// ```text
///  63                                   16 15        6 5   3  2      0
/// +---------------------------------------+-----------+-----+--------+
/// |       bytes 8 to 13 of the piece      | its length|  6  |    0   |
/// +---------------------------------------+-----------+-----+--------+
/// ```
#[inline]
pub const fn data_word(bytes: u64, len: usize) -> u64 {
    (bytes << ADDR_SHIFT) | ((len as u64) << DEPTH_SHIFT) | DATA_MAGIC
}
