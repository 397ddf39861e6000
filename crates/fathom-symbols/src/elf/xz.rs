//! Unpacking xz data without letting it fill the memory.

/// Most that is unpacked, in bytes. The `.gnu_debugdata` of libLLVM has some 20 MB.
const LIMIT: u64 = 128 << 20;

/// Unpacks xz data; `None` if it is damaged or would take more than 128 MiB.
pub(super) fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    // The decoder keeps a block in memory until it is complete, so that a limit on what it writes comes too late.
    if unpacked_size(packed)? > LIMIT {
        return None;
    }
    let mut unpacked = Vec::new();
    lzma_rs::xz_decompress(&mut std::io::BufReader::new(packed), &mut unpacked).ok()?;
    Some(unpacked)
}

/// The sum of the sizes that the chunks say they have, which the decoder goes by.
///
/// Layout (xz file format 1.0.4): stream header of 12 bytes; blocks of a header (whose first byte is its size in words
/// less one), LZMA2 chunks up to a zero byte, padding to 4 bytes, and a check; then the index, which starts with zero.
fn unpacked_size(packed: &[u8]) -> Option<u64> {
    let byte = |at: usize| packed.get(at).copied();
    if !packed.starts_with(b"\xfd7zXZ\0") {
        return None;
    }
    let check_size = match byte(7)? & 0xf {
        0 => 0,
        kind => 4usize << ((kind - 1) / 3),
    };
    let (mut at, mut total) = (12usize, 0u64);
    while byte(at)? != 0 {
        let block = at;
        // More than one filter means that one unpacks what another has unpacked.
        if byte(block + 1)? & 3 != 0 {
            return None;
        }
        at = block + (usize::from(byte(block)?) + 1) * 4;
        loop {
            let control = byte(at)?;
            if control == 0 {
                at += 1;
                break;
            }
            let (packed, unpacked, header) = chunk(control, packed.get(at..)?)?;
            total = total.checked_add(unpacked)?;
            at = at.checked_add(header)?.checked_add(packed)?;
        }
        at = block + (at - block).next_multiple_of(4) + check_size;
    }
    Some(total)
}

/// Packed size, unpacked size and header size of an LZMA2 chunk.
fn chunk(control: u8, bytes: &[u8]) -> Option<(usize, u64, usize)> {
    let size = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    if control < 0x80 {
        let size = usize::from(size(1)?) + 1;
        return Some((size, size as u64, 3));
    }
    let unpacked = (u64::from(control & 0x1f) << 16 | u64::from(size(1)?)) + 1;
    let has_properties = (control >> 5) & 3 >= 2;
    Some((usize::from(size(3)?) + 1, unpacked, if has_properties { 6 } else { 5 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pack(data: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        lzma_rs::xz_compress(&mut std::io::BufReader::new(data), &mut packed).unwrap();
        packed
    }

    #[test]
    fn there_and_back() {
        let data: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(n) >> 5) as u8).collect();
        let packed = pack(&data);
        assert_eq!(unpacked_size(&packed), Some(data.len() as u64));
        assert_eq!(unpack(&packed).unwrap(), data);
        assert_eq!(unpack(&packed[..packed.len() / 2]), None);
    }

    /// Made by `xz -9`: 20,000 zeros, in compressed chunks (what the test's own packer makes is not).
    #[test]
    fn packed_by_xz() {
        let packed = include_bytes!("../../tests/data/zeros.xz");
        assert_eq!(unpacked_size(packed), Some(20_000));
        assert_eq!(unpack(packed).unwrap(), vec![0; 20_000]);
    }

    #[test]
    fn bombs_are_refused() {
        // Chunks that say they unpack to 2 MiB each, and are one byte long.
        let mut bomb = b"\xfd7zXZ\0\0\x04____\x02\0\x21\x01\x1c\0\0\0____".to_vec();
        for _ in 0..100 {
            bomb.extend([0xff, 0xff, 0xff, 0, 0, 0x5d, 0]);
        }
        bomb.extend([0; 64]);
        assert!(unpacked_size(&bomb).unwrap() > LIMIT);
        assert_eq!(unpack(&bomb), None);
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..100, bit in 0u8..8, cut in 0usize..100) {
            let mut packed = include_bytes!("../../tests/data/zeros.xz").to_vec();
            let len = packed.len();
            packed[at % len] ^= 1 << bit;
            let _ = unpack(&packed);
            let _ = unpack(&packed[..cut % len]);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut stream = b"\xfd7zXZ\0\0\x04".to_vec();
            stream.extend(bytes);
            let _ = unpack(&stream);
        }
    }
}
