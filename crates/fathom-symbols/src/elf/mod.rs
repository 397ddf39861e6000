//! One ELF file: what it is, what it needs, its symbols and its library-call slots.

mod debugfile;
mod dynamic;
mod headers;
mod instrument;
mod labels;
mod notes;
mod plt;
mod symtab;
mod xz;

use std::io;
use std::path::{Path, PathBuf};

use object::elf;
use thiserror::Error;

pub use headers::{Class, Endian, Section, Segment};
pub use instrument::{Instrumentation, Sled, SledKind};
pub use labels::{Label, Relocated};
pub use plt::{PltSlot, SlotKind};

use crate::bytes::Bytes;
use headers::{Headers, file_range};

/// `e_machine` of x86-64.
pub const EM_X86_64: u16 = elf::EM_X86_64.0;
/// `e_machine` of aarch64.
pub const EM_AARCH64: u16 = elf::EM_AARCH64.0;
/// `e_machine` of 32-bit x86.
pub const EM_386: u16 = elf::EM_386.0;

/// Why a file cannot be used as an ELF image.
#[derive(Debug, Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It starts with `#!`.
    #[error("{}: a script for `{interpreter}`, not an ELF file", path.display())]
    Script {
        /// The file.
        path: PathBuf,
        /// The rest of its first line.
        interpreter: String,
    },
    /// It does not start with the ELF magic number.
    #[error("{}: not an ELF file{}", path.display(), if *empty { " (it is empty)" } else { "" })]
    NotElf {
        /// The file.
        path: PathBuf,
        /// Whether it has no bytes at all.
        empty: bool,
    },
    /// It starts like an ELF file, but its headers make no sense.
    #[error("{}: a damaged ELF file: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
}

/// What kind of ELF file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A program that is loaded where it was linked.
    Executable,
    /// A program that is loaded anywhere (also a static one).
    Pie,
    /// A library.
    SharedObject,
    /// An object file, not linked.
    Relocatable,
    /// A core dump.
    Core,
    /// Another type, by its `e_type`.
    Other(u16),
}

/// An ELF file, opened.
#[derive(Debug)]
pub struct Image {
    path: Option<PathBuf>,
    data: Bytes,
    headers: Headers,
}

impl Image {
    /// Opens a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Image, Error> {
        let path = path.as_ref();
        let data = Bytes::open(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Image::new(Some(path.to_owned()), data)
    }

    /// Takes the bytes of a file. Without a path nothing can be found beside it (separate debug files by link).
    pub fn parse(data: impl Into<Bytes>) -> Result<Image, Error> {
        Image::new(None, data.into())
    }

    fn new(path: Option<PathBuf>, data: Bytes) -> Result<Image, Error> {
        let name = || path.clone().unwrap_or_else(|| PathBuf::from("<memory>"));
        if let Some(rest) = data.strip_prefix(b"#!") {
            let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let line = line.get(..256).unwrap_or(line);
            let interpreter = String::from_utf8_lossy(line).trim().to_owned();
            return Err(Error::Script { path: name(), interpreter });
        }
        if !data.starts_with(b"\x7fELF") {
            return Err(Error::NotElf { path: name(), empty: data.is_empty() });
        }
        let headers = headers::parse(&data).map_err(|reason| Error::Malformed { path: name(), reason })?;
        Ok(Image { path, data, headers })
    }

    /// Where the file was opened.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// All bytes of the file.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Width of addresses.
    pub fn class(&self) -> Class {
        self.headers.class
    }

    /// Byte order.
    pub fn endian(&self) -> Endian {
        self.headers.endian
    }

    /// `e_machine`.
    pub fn machine(&self) -> u16 {
        self.headers.machine
    }

    /// What kind of file it is.
    pub fn kind(&self) -> Kind {
        let is_pie = || {
            let flags = self.dynamic(elf::DT_FLAGS_1.0).unwrap_or(0);
            // Linkers before 2016 set no flag: then a program is what asks for an interpreter and has no library name.
            flags & elf::DF_1_PIE.0 != 0
                || (self.has_segment(elf::PT_INTERP.0) && self.dynamic(elf::DT_SONAME.0).is_none())
        };
        match elf::FileType(self.headers.kind) {
            elf::ET_EXEC => Kind::Executable,
            elf::ET_DYN if is_pie() => Kind::Pie,
            elf::ET_DYN => Kind::SharedObject,
            elf::ET_REL => Kind::Relocatable,
            elf::ET_CORE => Kind::Core,
            _ => Kind::Other(self.headers.kind),
        }
    }

    /// Whether the dynamic linker takes part when it runs (the program asks for one). A static PIE has a dynamic
    /// section too, but relocates itself.
    pub fn is_dynamic(&self) -> bool {
        self.has_segment(elf::PT_INTERP.0)
            || (self.has_segment(elf::PT_DYNAMIC.0) && self.kind() == Kind::SharedObject)
    }

    /// Whether it is a program that has no dynamic linker.
    pub fn is_static_program(&self) -> bool {
        matches!(self.kind(), Kind::Executable | Kind::Pie) && !self.is_dynamic()
    }

    /// Path of the dynamic linker it asks for.
    pub fn interpreter(&self) -> Option<String> {
        let segment = self.headers.segments.iter().find(|segment| segment.kind == elf::PT_INTERP.0)?;
        let bytes = self.data.get(file_range(segment.offset, segment.file_size.min(4096))?)?;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// The virtual address at which the first loaded segment was linked: what is taken from file addresses to make
    /// them relative to the module.
    pub fn link_base(&self) -> u64 {
        self.loads().next().map_or(0, |segment| segment.vaddr)
    }

    /// Address of the first instruction, module-relative; `None` if the file has none.
    pub fn entry(&self) -> Option<u64> {
        (self.headers.entry != 0).then(|| self.relative(self.headers.entry))
    }

    /// Program headers.
    pub fn segments(&self) -> &[Segment] {
        &self.headers.segments
    }

    /// Section headers, with the empty one at index 0; none if the file has no (readable) section headers.
    pub fn sections(&self) -> &[Section] {
        &self.headers.sections
    }

    /// The first section of a name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.headers.sections.iter().find(|section| section.name == name)
    }

    /// Bytes of a section as they are in the file (compressed sections stay compressed).
    pub fn section_data(&self, section: &Section) -> Option<&[u8]> {
        if section.kind == elf::SHT_NOBITS.0 {
            return None;
        }
        self.data.get(file_range(section.offset, section.size)?)
    }

    /// The GNU build-id as lower-case hex digits, `None` if there is no such note.
    pub fn build_id(&self) -> Option<String> {
        let id = self.build_id_bytes()?;
        Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The bytes that the process sees at a module-relative address when the module is freshly loaded, as far as they
    /// are in the file.
    pub fn data_at(&self, rel_addr: u64, size: u64) -> Option<&[u8]> {
        self.loaded(self.link_base().checked_add(rel_addr)?, size)
    }

    /// Loaded and executable ranges as (module-relative address, bytes): the executable sections, or the executable
    /// segments where there are no sections.
    pub fn code(&self) -> Vec<(u64, &[u8])> {
        let is_code = |section: &&Section| {
            section.flags & elf::SHF_EXECINSTR.0 != 0 && section.flags & elf::SHF_ALLOC.0 != 0
        };
        let mut code: Vec<(u64, &[u8])> = self
            .headers
            .sections
            .iter()
            .filter(is_code)
            .filter_map(|section| Some((self.relative(section.addr), self.section_data(section)?)))
            .collect();
        if code.is_empty() {
            let executable = self.loads().filter(|segment| segment.flags & elf::PF_X.0 != 0);
            code.extend(executable.filter_map(|segment| {
                let bytes = self.data.get(file_range(segment.offset, segment.file_size)?)?;
                Some((self.relative(segment.vaddr), bytes))
            }));
        }
        code
    }

    fn loads(&self) -> impl Iterator<Item = &Segment> {
        self.headers.segments.iter().filter(|segment| segment.kind == elf::PT_LOAD.0)
    }

    fn has_segment(&self, kind: u32) -> bool {
        self.headers.segments.iter().any(|segment| segment.kind == kind)
    }

    pub(crate) fn relative(&self, vaddr: u64) -> u64 {
        vaddr.wrapping_sub(self.link_base())
    }

    /// Bytes at a virtual address as linked.
    fn loaded(&self, vaddr: u64, size: u64) -> Option<&[u8]> {
        let inside = |segment: &&Segment| vaddr >= segment.vaddr && vaddr - segment.vaddr < segment.file_size;
        let segment = self.loads().find(inside)?;
        let skip = vaddr - segment.vaddr;
        if size > segment.file_size - skip {
            return None;
        }
        self.data.get(file_range(segment.offset.checked_add(skip)?, size)?)
    }

    fn build_id_bytes(&self) -> Option<&[u8]> {
        let by_section = self.headers.sections.iter().filter(|section| section.kind == elf::SHT_NOTE.0);
        let by_section = by_section.filter_map(|section| self.section_data(section));
        let by_segment = self.headers.segments.iter().filter(|segment| segment.kind == elf::PT_NOTE.0);
        let by_segment =
            by_segment.filter_map(|segment| self.data.get(file_range(segment.offset, segment.file_size)?));
        by_segment.chain(by_section).find_map(|notes| self.build_id_note(notes))
    }

    fn build_id_note<'d>(&self, notes: &'d [u8]) -> Option<&'d [u8]> {
        let is_id =
            |owner, kind, len| owner == b"GNU\0" && kind == elf::NT_GNU_BUILD_ID.0 && (1..=64).contains(&len);
        let mut notes = self.notes(notes);
        let id = notes.find(|note| is_id(note.owner, note.kind, note.description.len()));
        id.map(|note| note.description)
    }
}
