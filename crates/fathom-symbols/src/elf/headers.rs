//! The headers of an ELF file as plain data, the same for both classes and byte orders.

use std::ops::Range;

use object::elf::{self, FileHeader32, FileHeader64};
use object::pod;
use object::read::elf::{
    Dyn as _, FileHeader, ProgramHeader as _, Rel as _, Rela as _, SectionHeader as _, Sym as _,
};
use object::{Endianness, FileKind};

/// Longest section name that is looked at, in bytes.
const SECTION_NAME_LIMIT: usize = 64;

/// Width of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// 32 bits (`ELFCLASS32`).
    Elf32,
    /// 64 bits (`ELFCLASS64`).
    Elf64,
}

/// Byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endian {
    /// Least significant byte first (`ELFDATA2LSB`).
    Little,
    /// Most significant byte first (`ELFDATA2MSB`).
    Big,
}

/// A program header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// `p_type`, one of the `PT_*` values.
    pub kind: u32,
    /// `p_flags`: bit 0 executable, bit 1 writable, bit 2 readable.
    pub flags: u32,
    /// Offset in the file.
    pub offset: u64,
    /// Virtual address as linked (not yet relative to the module).
    pub vaddr: u64,
    /// Size in the file in bytes.
    pub file_size: u64,
    /// Size in memory in bytes.
    pub mem_size: u64,
}

/// A section header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Name; cut after 64 bytes.
    pub name: String,
    /// `sh_type`, one of the `SHT_*` values.
    pub kind: u32,
    /// `sh_flags`.
    pub flags: u64,
    /// Virtual address as linked, 0 if the section is not loaded.
    pub addr: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
    /// `sh_link`: number of a related section.
    pub link: u32,
    /// `sh_entsize`: size of an entry of a table.
    pub entry_size: u64,
}

/// Everything the other modules need to know of the headers.
#[derive(Debug)]
pub(super) struct Headers {
    pub class: Class,
    pub endian: Endian,
    pub kind: u16,
    pub machine: u16,
    pub entry: u64,
    pub segments: Vec<Segment>,
    pub sections: Vec<Section>,
    /// Tag and value of each entry of the dynamic section, up to `DT_NULL`.
    pub dynamic: Vec<(i64, u64)>,
}

/// One entry of a symbol table.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawSymbol {
    pub name: u32,
    pub kind: u8,
    pub bind: u8,
    pub section: u16,
    pub value: u64,
    pub size: u64,
}

impl RawSymbol {
    pub(super) fn is_undefined(&self) -> bool {
        self.section == elf::SHN_UNDEF.0
    }

    /// A function, also one whose address a resolver chooses at run time.
    pub(super) fn is_function(&self) -> bool {
        self.kind == elf::STT_FUNC.0 || self.kind == elf::STT_GNU_IFUNC.0
    }

    pub(super) fn is_weak(&self) -> bool {
        self.bind == elf::STB_WEAK.0
    }
}

/// One relocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relocation {
    /// Address of what is relocated, as linked.
    pub offset: u64,
    /// Type, by machine.
    pub kind: u32,
    /// Index of the symbol, 0 for none.
    pub symbol: u32,
    /// The explicit addend; `None` in tables without addends, where it is in the relocated place.
    pub addend: Option<i64>,
}

/// Reads the headers. The error says what is wrong with the file as a whole; bad section headers or a bad dynamic
/// section are no reason to refuse a file that could still be executed, they are just left out.
pub(super) fn parse(data: &[u8]) -> Result<Headers, &'static str> {
    match FileKind::parse(data) {
        Ok(FileKind::Elf32) => parse_class::<FileHeader32<Endianness>>(data, Class::Elf32),
        Ok(FileKind::Elf64) => parse_class::<FileHeader64<Endianness>>(data, Class::Elf64),
        _ => Err("unknown ELF class"),
    }
}

fn parse_class<Elf>(data: &[u8], class: Class) -> Result<Headers, &'static str>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let header = Elf::parse(data).map_err(|_| "the file header is cut short or of an unknown version")?;
    let endian = header.endian().map_err(|_| "unknown byte order")?;
    let segments = header
        .program_headers(endian, data)
        .map_err(|_| "the program headers lie outside of the file")?
        .iter()
        .map(|segment| Segment {
            kind: segment.p_type(endian).0,
            flags: segment.p_flags(endian).0,
            offset: segment.p_offset(endian).into(),
            vaddr: segment.p_vaddr(endian).into(),
            file_size: segment.p_filesz(endian).into(),
            mem_size: segment.p_memsz(endian).into(),
        })
        .collect::<Vec<_>>();
    let dynamic = segments
        .iter()
        .find(|segment| segment.kind == elf::PT_DYNAMIC.0)
        .and_then(|segment| data.get(file_range(segment.offset, segment.file_size)?))
        .map(|bytes| parse_dynamic::<Elf>(bytes, endian))
        .unwrap_or_default();
    Ok(Headers {
        class,
        endian: if endian == Endianness::Little { Endian::Little } else { Endian::Big },
        kind: header.e_type(endian).0,
        machine: header.e_machine(endian).0,
        entry: header.e_entry(endian).into(),
        sections: parse_sections(header, data, endian),
        segments,
        dynamic,
    })
}

fn parse_sections<Elf>(header: &Elf, data: &[u8], endian: Endianness) -> Vec<Section>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let Ok(sections) = header.section_headers(endian, data) else { return Vec::new() };
    let names = header
        .section_strings_index(endian, data)
        .ok()
        .and_then(|index| sections.get(index.0)?.file_range(endian))
        .and_then(|(offset, size)| data.get(file_range(offset, size)?))
        .unwrap_or_default();
    sections
        .iter()
        .map(|section| Section {
            name: string_at(names, section.sh_name(endian), SECTION_NAME_LIMIT),
            kind: section.sh_type(endian).0,
            flags: section.sh_flags(endian).0,
            addr: section.sh_addr(endian).into(),
            offset: section.sh_offset(endian).into(),
            size: section.sh_size(endian).into(),
            link: section.sh_link(endian),
            entry_size: section.sh_entsize(endian).into(),
        })
        .collect()
}

fn parse_dynamic<Elf>(bytes: &[u8], endian: Endianness) -> Vec<(i64, u64)>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let whole = bytes.len() - bytes.len() % size_of::<Elf::Dyn>();
    let entries = pod::slice_from_all_bytes::<Elf::Dyn>(&bytes[..whole]).unwrap_or_default();
    entries
        .iter()
        .map(|entry| (entry.tag(endian).0, entry.val(endian)))
        .take_while(|&(tag, _)| tag != elf::DT_NULL.0)
        .collect()
}

/// The NUL-terminated text at an offset of a string table, at most `limit` bytes of it.
pub(super) fn string_at(strings: &[u8], offset: u32, limit: usize) -> String {
    let tail = strings.get(offset as usize..).unwrap_or_default();
    let tail = tail.get(..limit).unwrap_or(tail);
    let end = tail.iter().position(|&byte| byte == 0).unwrap_or(tail.len());
    String::from_utf8_lossy(&tail[..end]).into_owned()
}

/// A range of file offsets, `None` if it overflows.
pub(super) fn file_range(offset: u64, size: u64) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(usize::try_from(size).ok()?)?)
}

impl Headers {
    fn endianness(&self) -> Endianness {
        match self.endian {
            Endian::Little => Endianness::Little,
            Endian::Big => Endianness::Big,
        }
    }

    /// Size of an entry of a symbol table.
    pub(super) fn symbol_size(&self) -> usize {
        match self.class {
            Class::Elf32 => size_of::<elf::Sym32<Endianness>>(),
            Class::Elf64 => size_of::<elf::Sym64<Endianness>>(),
        }
    }

    /// Entry `index` of the symbol table in `bytes`.
    pub(super) fn symbol(&self, bytes: &[u8], index: usize) -> Option<RawSymbol> {
        let bytes = bytes.get(index.checked_mul(self.symbol_size())?..)?;
        match self.class {
            Class::Elf32 => raw_symbol::<FileHeader32<Endianness>>(bytes, self.endianness()),
            Class::Elf64 => raw_symbol::<FileHeader64<Endianness>>(bytes, self.endianness()),
        }
    }

    /// The relocations in `bytes`, with explicit addends (`SHT_RELA`) or without (`SHT_REL`).
    pub(super) fn relocations(&self, bytes: &[u8], explicit: bool) -> Vec<Relocation> {
        match self.class {
            Class::Elf32 => raw_relocations::<FileHeader32<Endianness>>(bytes, self.endianness(), explicit),
            Class::Elf64 => raw_relocations::<FileHeader64<Endianness>>(bytes, self.endianness(), explicit),
        }
    }

    /// Size of a relocation.
    pub(super) fn relocation_size(&self, explicit: bool) -> u64 {
        let words = if explicit { 3 } else { 2 };
        words * self.word_size() as u64
    }

    /// Size of an address in bytes.
    pub(super) fn word_size(&self) -> usize {
        match self.class {
            Class::Elf32 => 4,
            Class::Elf64 => 8,
        }
    }

    /// The address-sized word at the start of `bytes`.
    pub(super) fn word(&self, bytes: &[u8]) -> Option<u64> {
        match self.class {
            Class::Elf32 => self.u32(bytes, 0).map(u64::from),
            Class::Elf64 => {
                let (low, high) = (self.u32(bytes, 0)?, self.u32(bytes, 4)?);
                let (low, high) = if self.endian == Endian::Little { (low, high) } else { (high, low) };
                Some(u64::from(high) << 32 | u64::from(low))
            }
        }
    }

    /// The 32-bit word at an offset of `bytes`.
    pub(super) fn u32(&self, bytes: &[u8], offset: usize) -> Option<u32> {
        let word: [u8; 4] = bytes.get(offset..offset.checked_add(4)?)?.try_into().ok()?;
        Some(if self.endian == Endian::Little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) })
    }

    /// The 16-bit word at an offset of `bytes`.
    pub(super) fn u16(&self, bytes: &[u8], offset: usize) -> Option<u16> {
        let word: [u8; 2] = bytes.get(offset..offset.checked_add(2)?)?.try_into().ok()?;
        Some(if self.endian == Endian::Little { u16::from_le_bytes(word) } else { u16::from_be_bytes(word) })
    }
}

fn raw_symbol<Elf>(bytes: &[u8], endian: Endianness) -> Option<RawSymbol>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let (symbol, _) = pod::from_bytes::<Elf::Sym>(bytes).ok()?;
    Some(RawSymbol {
        name: symbol.st_name(endian),
        kind: symbol.st_type().0,
        bind: symbol.st_bind().0,
        section: symbol.st_shndx(endian).0,
        value: symbol.st_value(endian).into(),
        size: symbol.st_size(endian).into(),
    })
}

fn raw_relocations<Elf>(bytes: &[u8], endian: Endianness, explicit: bool) -> Vec<Relocation>
where
    Elf: FileHeader<Endian = Endianness>,
{
    if explicit {
        let whole = bytes.len() - bytes.len() % size_of::<Elf::Rela>();
        let entries = pod::slice_from_all_bytes::<Elf::Rela>(&bytes[..whole]).unwrap_or_default();
        let relocation = |entry: &Elf::Rela| Relocation {
            offset: entry.r_offset(endian).into(),
            kind: entry.r_type(endian, false).0,
            symbol: entry.r_sym(endian, false),
            addend: Some(entry.r_addend(endian).into()),
        };
        entries.iter().map(relocation).collect()
    } else {
        let whole = bytes.len() - bytes.len() % size_of::<Elf::Rel>();
        let entries = pod::slice_from_all_bytes::<Elf::Rel>(&bytes[..whole]).unwrap_or_default();
        let relocation = |entry: &Elf::Rel| Relocation {
            offset: entry.r_offset(endian).into(),
            kind: entry.r_type(endian).0,
            symbol: entry.r_sym(endian),
            addend: None,
        };
        entries.iter().map(relocation).collect()
    }
}
