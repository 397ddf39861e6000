//! Notes: small pieces of data with an owner and a type.

use super::Image;
use super::headers::Class;

/// One note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note<'d> {
    /// With its NUL.
    pub(crate) owner: &'d [u8],
    /// What it is, by the owner's numbers.
    pub(crate) kind: u32,
    pub(crate) description: &'d [u8],
}

impl Image {
    /// The notes in the bytes of a section or segment, up to the first that makes no sense.
    ///
    /// Note: size of the owner's name, size of the description, type, then both, each padded to 4 bytes.
    pub(crate) fn notes<'d>(&self, mut bytes: &'d [u8]) -> impl Iterator<Item = Note<'d>> {
        std::iter::from_fn(move || {
            let owner_size = self.headers.u32(bytes, 0)? as usize;
            let size = self.headers.u32(bytes, 4)? as usize;
            let kind = self.headers.u32(bytes, 8)?;
            let start = 12usize.checked_add(owner_size.checked_next_multiple_of(4)?)?;
            let end = start.checked_add(size)?;
            let owner = bytes.get(12..12usize.checked_add(owner_size)?)?;
            let description = bytes.get(start..end)?;
            // The padding of the last one may be missing.
            bytes = bytes.get(end.checked_next_multiple_of(4)?..).unwrap_or_default();
            Some(Note { owner, kind, description })
        })
    }

    /// An address in the width of the file.
    pub(crate) fn address(&self, bytes: &[u8], at: usize) -> Option<u64> {
        let low = self.headers.u32(bytes, at).map(u64::from)?;
        if self.class() == Class::Elf32 {
            return Some(low);
        }
        let (first, second) = (low, self.headers.u32(bytes, at.checked_add(4)?).map(u64::from)?);
        Some(match self.endian() {
            super::Endian::Little => second << 32 | first,
            super::Endian::Big => first << 32 | second,
        })
    }
}
