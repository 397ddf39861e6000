//! Byte order and word size of the machine that recorded.

/// Byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// What is needed to read integers that another machine wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    /// Byte order.
    pub endian: Endian,
    /// Bytes of a `long` and of a pointer: 4 or 8.
    pub long_size: u8,
}

impl Machine {
    /// The machine that this program runs on.
    pub fn host() -> Machine {
        Machine {
            endian: if cfg!(target_endian = "big") { Endian::Big } else { Endian::Little },
            long_size: size_of::<usize>() as u8,
        }
    }

    /// A 64-bit machine with the least significant byte first: x86-64, arm64 and most others.
    pub const LITTLE64: Machine = Machine { endian: Endian::Little, long_size: 8 };

    /// The `long` at `offset`, if it is there.
    #[inline]
    pub fn long(self, data: &[u8], offset: usize) -> Option<u64> {
        self.endian.unsigned(data, offset, self.long_size as usize)
    }
}

impl Endian {
    /// The 16-bit number at `offset`, if it is there.
    #[inline]
    pub fn u16(self, data: &[u8], offset: usize) -> Option<u16> {
        let bytes = array(data, offset)?;
        Some(if self == Endian::Little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    /// The 32-bit number at `offset`, if it is there.
    #[inline]
    pub fn u32(self, data: &[u8], offset: usize) -> Option<u32> {
        let bytes = array(data, offset)?;
        Some(if self == Endian::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    /// The 64-bit number at `offset`, if it is there.
    #[inline]
    pub fn u64(self, data: &[u8], offset: usize) -> Option<u64> {
        let bytes = array(data, offset)?;
        Some(if self == Endian::Little { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) })
    }

    /// The number of `size` bytes (1, 2, 4 or 8) at `offset`, with zeros above it. None for other sizes and beyond the
    /// data.
    #[inline]
    pub fn unsigned(self, data: &[u8], offset: usize, size: usize) -> Option<u64> {
        match size {
            1 => data.get(offset).map(|byte| u64::from(*byte)),
            2 => self.u16(data, offset).map(u64::from),
            4 => self.u32(data, offset).map(u64::from),
            8 => self.u64(data, offset),
            _ => None,
        }
    }

    /// As [`Endian::unsigned`], with the sign extended.
    #[inline]
    pub fn signed(self, data: &[u8], offset: usize, size: usize) -> Option<i64> {
        let value = self.unsigned(data, offset, size)?;
        Some(sign_extend(value, size))
    }
}

/// The number of `size` bytes in the low bytes of `value`, with its sign.
#[inline]
pub(crate) fn sign_extend(value: u64, size: usize) -> i64 {
    match size {
        1 => i64::from(value as i8),
        2 => i64::from(value as i16),
        4 => i64::from(value as i32),
        _ => value as i64,
    }
}

#[inline]
fn array<const N: usize>(data: &[u8], offset: usize) -> Option<[u8; N]> {
    data.get(offset..offset.checked_add(N)?)?.try_into().ok()
}
