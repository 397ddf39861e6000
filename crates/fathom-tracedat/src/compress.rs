//! Compression of sections and of chunks of pages.

use std::io::{self, Read, Write};

/// The first of the fast levels: pages are packed when a recording ends, and its user waits for that. Files are a quarter
/// larger than with level 1, for some 5 % less of processor time in all, and as large as those of trace-cmd.
const ZSTD_LEVEL: i32 = -1;

/// What a file's sections are compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// zstd frames: what trace-cmd takes where it can.
    Zstd,
    /// zlib streams: other builds of trace-cmd.
    Zlib,
}

impl Compression {
    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zstd => "zstd",
            Self::Zlib => "zlib",
        }
    }

    /// The version of the compressor as it is written into the file, where no reader looks at it.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Zstd => "1.5.7",
            Self::Zlib => "1.2.13",
        }
    }

    /// From the name in a file.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Zstd, Self::Zlib].into_iter().find(|known| known.name() == name)
    }
}

/// Unpacks blocks, with the state of the compressor kept from one to the next.
pub(crate) struct Unpacker {
    compression: Compression,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Unpacker {
    pub(crate) fn new(compression: Compression) -> Self {
        Self { compression, zstd: None }
    }

    /// Unpacks `packed` into `into`, which gets exactly `size` bytes.
    pub(crate) fn unpack(&mut self, packed: &[u8], size: usize, into: &mut Vec<u8>) -> io::Result<()> {
        into.clear();
        match self.compression {
            Compression::None => into.extend_from_slice(packed),
            Compression::Zstd => {
                let decompressor = match &mut self.zstd {
                    Some(known) => known,
                    none => none.insert(zstd::bulk::Decompressor::new()?),
                };
                into.reserve(size);
                decompressor.decompress_to_buffer(packed, into)?;
            }
            Compression::Zlib => {
                let limit = size as u64 + 1;
                flate2::read::ZlibDecoder::new(packed).take(limit).read_to_end(into)?;
            }
        }
        if into.len() == size {
            return Ok(());
        }
        let message = format!("{} bytes unpacked, where {size} were announced", into.len());
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }
}

/// Packs blocks.
pub(crate) struct Packer {
    compression: Compression,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Packer {
    pub(crate) fn new(compression: Compression) -> Self {
        Self { compression, zstd: None }
    }

    /// Packs `bytes` into `into`, whose former content is dropped.
    pub(crate) fn pack(&mut self, bytes: &[u8], into: &mut Vec<u8>) -> io::Result<()> {
        into.clear();
        match self.compression {
            Compression::None => into.extend_from_slice(bytes),
            Compression::Zstd => {
                let compressor = match &mut self.zstd {
                    Some(known) => known,
                    none => none.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
                };
                into.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
                compressor.compress_to_buffer(bytes, into)?;
            }
            Compression::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(into, flate2::Compression::default());
                encoder.write_all(bytes)?;
                encoder.finish()?;
            }
        }
        Ok(())
    }
}
