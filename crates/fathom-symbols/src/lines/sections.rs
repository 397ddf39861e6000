//! The DWARF sections of an ELF file, unpacked, and those of the file that it shares entries with (dwz).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gimli::{EndianReader, RunTimeEndian};
use object::elf;

use super::{Dwarf, Reader};
use crate::bytes::Bytes;
use crate::elf::{Class, Endian, Image, Section};

/// Largest section after unpacking, in bytes.
const SECTION_LIMIT: u64 = 8 << 30;
/// Highest believable ratio of unpacked to packed size: zlib reaches 1032, zstd more only on constant data.
const RATIO_LIMIT: u64 = 2048;

/// Whether there is any DWARF in the file.
pub(super) fn has_dwarf(image: &Image) -> bool {
    let info = image.section(".debug_info").or_else(|| image.section(".zdebug_info"));
    info.is_some_and(|section| section.kind != elf::SHT_NOBITS.0 && section.size > 0)
}

/// All DWARF sections of a file.
pub(super) fn load(image: &Image) -> Dwarf {
    let mut dwarf = load_one(image);
    if let Some(shared) = shared_file(image) {
        dwarf.set_sup(load_one(&shared));
    }
    dwarf
}

fn load_one(image: &Image) -> Dwarf {
    let endian = match image.endian() {
        Endian::Little => RunTimeEndian::Little,
        Endian::Big => RunTimeEndian::Big,
    };
    let section = |id: gimli::SectionId| -> Result<Reader, std::convert::Infallible> {
        Ok(EndianReader::new(section_bytes(image, id.name()).unwrap_or_default(), endian))
    };
    let Ok(dwarf) = Dwarf::load(section);
    dwarf
}

/// The file that `.gnu_debugaltlink` names, by a path from the root or from the file's directory, and by build-id.
fn shared_file(image: &Image) -> Option<Image> {
    let link = image.section_data(image.section(".gnu_debugaltlink")?)?;
    let end = link.iter().take(4096).position(|&byte| byte == 0)?;
    let (name, id) = (link.get(..end)?, link.get(end + 1..)?);
    let name = Path::new(OsStr::from_bytes(name));
    let own: PathBuf = std::fs::canonicalize(image.path()?).ok()?;
    let shared = Image::open(own.parent()?.join(name)).ok()?;
    let id: String = id.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
    (shared.build_id() == Some(id)).then_some(shared)
}

fn section_bytes(image: &Image, name: &str) -> Option<Bytes> {
    if let Some(section) = image.section(name) {
        let bytes = section_range(image, section)?;
        if section.flags & elf::SHF_COMPRESSED.0 == 0 {
            return Some(bytes);
        }
        return unpack(image, &bytes);
    }
    // The older GNU form: another name, `ZLIB`, and the size in big-endian order.
    let old = name.strip_prefix(".debug_").map(|rest| format!(".zdebug_{rest}"))?;
    let bytes = section_range(image, image.section(&old)?)?;
    let packed = bytes.strip_prefix(b"ZLIB")?;
    let size = u64::from_be_bytes(packed.get(..8)?.try_into().ok()?);
    decompress(object::CompressionFormat::Zlib, packed.get(8..)?, size)
}

fn section_range(image: &Image, section: &Section) -> Option<Bytes> {
    let bytes = image.section_data(section)?;
    let start = usize::try_from(section.offset).ok()?;
    image.data().slice(start..start + bytes.len())
}

/// Unpacks a section that starts with a compression header: type (4 bytes), on 64 bits 4 unused ones, then size and
/// alignment (a word each).
fn unpack(image: &Image, bytes: &[u8]) -> Option<Bytes> {
    let word = |at: usize, len: usize| -> Option<u64> {
        let bytes = bytes.get(at..at + len)?;
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(match image.endian() {
            Endian::Little => bytes.iter().rev().fold(0, fold),
            Endian::Big => bytes.iter().fold(0, fold),
        })
    };
    let format = match u32::try_from(word(0, 4)?).ok()? {
        kind if kind == elf::ELFCOMPRESS_ZLIB.0 => object::CompressionFormat::Zlib,
        kind if kind == elf::ELFCOMPRESS_ZSTD.0 => object::CompressionFormat::Zstandard,
        _ => return None,
    };
    let (size, header) = match image.class() {
        Class::Elf32 => (word(4, 4)?, 12),
        Class::Elf64 => (word(8, 8)?, 24),
    };
    decompress(format, bytes.get(header..)?, size)
}

fn decompress(format: object::CompressionFormat, data: &[u8], size: u64) -> Option<Bytes> {
    if size > SECTION_LIMIT || size / RATIO_LIMIT > data.len() as u64 {
        return None;
    }
    let packed = object::CompressedData { format, data, uncompressed_size: size };
    Some(Bytes::from(packed.decompress().ok()?.into_owned()))
}
