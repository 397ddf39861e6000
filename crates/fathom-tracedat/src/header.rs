//! The first bytes of a file: version, byte order, sizes, compression.

use crate::compress::Compression;
use crate::error::Error;
use crate::source::Reader;

/// The bytes every `trace.dat` begins with.
pub const MAGIC: [u8; 10] = *b"\x17\x08\x44tracing";

/// The order of bytes in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

macro_rules! number {
    ($name:ident, $put:ident, $type:ty, $size:literal) => {
        /// A number from its bytes in a file.
        #[must_use]
        pub fn $name(self, bytes: [u8; $size]) -> $type {
            match self {
                Self::Little => <$type>::from_le_bytes(bytes),
                Self::Big => <$type>::from_be_bytes(bytes),
            }
        }

        /// The bytes of a number in a file.
        #[must_use]
        pub fn $put(self, number: $type) -> [u8; $size] {
            match self {
                Self::Little => number.to_le_bytes(),
                Self::Big => number.to_be_bytes(),
            }
        }
    };
}

impl Endian {
    /// That of this machine.
    pub const NATIVE: Self = if cfg!(target_endian = "big") { Self::Big } else { Self::Little };

    number!(u16, put_u16, u16, 2);
    number!(u32, put_u32, u32, 4);
    number!(u64, put_u64, u64, 8);
}

/// The version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// One fixed sequence, uncompressed: *trace-cmd.dat.v6(5)*.
    V6,
    /// Sections found through options: *trace-cmd.dat.v7(5)*.
    V7,
}

/// What the first bytes say of the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The version of the format.
    pub version: Version,
    /// The byte order of all numbers that follow, and of the recorded pages.
    pub endian: Endian,
    /// Bytes of a `long` of the recorded machine's user space: 4 or 8. The kernel's own is in `header_page`.
    pub long_size: u8,
    /// Bytes of a memory page of the recorded machine.
    pub page_size: u32,
    /// What sections and pages are compressed with.
    pub compression: Compression,
}

/// More than the largest page of any Linux (64 KiB) and the largest sub-buffer of its ring buffer (order 7).
pub(crate) const MAX_PAGE: u32 = 64 << 20;

impl Header {
    /// Reads the header; for version 7 also the offset of the first options section.
    pub(crate) fn read(reader: &mut Reader<'_>, name: &str) -> Result<(Self, u64), Error> {
        if reader.literal(&MAGIC).is_err() {
            return Err(Error::NotATrace { file: name.to_owned() });
        }
        let version = match reader.string(16)?.as_str() {
            "6" => Version::V6,
            "7" => Version::V7,
            other => return Err(Error::Version { file: name.to_owned(), version: other.to_owned() }),
        };
        let endian = match reader.u8()? {
            0 => Endian::Little,
            1 => Endian::Big,
            other => return Err(reader.damaged(format!("byte order {other}, which is neither 0 nor 1"))),
        };
        reader.set_endian(endian);
        let long_size = match reader.u8()? {
            size @ (4 | 8) => size,
            other => return Err(reader.damaged(format!("a long of {other} bytes, which is neither 4 nor 8"))),
        };
        let page_size = reader.u32()?;
        if !(64..=MAX_PAGE).contains(&page_size) {
            return Err(reader.damaged(format!("a page of {page_size} bytes")));
        }
        let mut header = Self { version, endian, long_size, page_size, compression: Compression::None };
        let mut options = 0;
        if version == Version::V7 {
            let compressor = reader.string(64)?;
            reader.string(64)?;
            header.compression = Compression::from_name(&compressor)
                .ok_or_else(|| Error::Compression { file: name.to_owned(), name: compressor })?;
            options = reader.u64()?;
        }
        Ok((header, options))
    }
}
