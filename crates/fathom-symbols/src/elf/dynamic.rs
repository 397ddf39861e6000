//! The dynamic section, and what is reached through it: names of libraries, dynamic symbols and their versions,
//! relocations. Section headers are only a second source here, as loading a file does not need them either.

use object::elf;
use rustc_hash::FxHashMap;

use super::Image;
use super::headers::{RawSymbol, Relocation, string_at};

/// Longest name that is read, in bytes.
const NAME_LIMIT: usize = 1 << 16;
/// Most version entries that are looked at. Real files have a few dozen.
const VERSION_LIMIT: usize = 1 << 16;

/// A symbol table with the strings its names are in.
#[derive(Clone, Copy, Default)]
pub(super) struct RawTable<'d> {
    pub symbols: &'d [u8],
    pub strings: &'d [u8],
}

impl Image {
    /// Value of the first entry of the dynamic section with this tag.
    pub(super) fn dynamic(&self, tag: i64) -> Option<u64> {
        self.headers.dynamic.iter().find(|entry| entry.0 == tag).map(|entry| entry.1)
    }

    /// Name of the library (`DT_SONAME`).
    pub fn soname(&self) -> Option<String> {
        let offset = u32::try_from(self.dynamic(elf::DT_SONAME.0)?).ok()?;
        Some(string_at(self.dynamic_strings(), offset, NAME_LIMIT)).filter(|name| !name.is_empty())
    }

    /// Names of the libraries it needs (`DT_NEEDED`), in order.
    pub fn needed(&self) -> Vec<String> {
        let strings = self.dynamic_strings();
        let needed = self.headers.dynamic.iter().filter(|entry| entry.0 == elf::DT_NEEDED.0);
        let names = needed.filter_map(|entry| u32::try_from(entry.1).ok()).take(1024);
        names.map(|offset| string_at(strings, offset, 4096)).filter(|name| !name.is_empty()).collect()
    }

    /// Whether all library calls are resolved at start (`-z now`), so that their slots never hold a lazy stub.
    pub fn binds_now(&self) -> bool {
        let has = |tag: i64, bit: u32| self.dynamic(tag).is_some_and(|flags| flags & u64::from(bit) != 0);
        self.dynamic(elf::DT_BIND_NOW.0).is_some()
            || has(elf::DT_FLAGS.0, elf::DF_BIND_NOW.0 as u32)
            || has(elf::DT_FLAGS_1.0, elf::DF_1_NOW.0 as u32)
    }

    /// Module-relative range of what is made read-only after relocation (`PT_GNU_RELRO`), if there is one.
    pub fn relro(&self) -> Option<std::ops::Range<u64>> {
        let segment = self.headers.segments.iter().find(|segment| segment.kind == elf::PT_GNU_RELRO.0)?;
        let start = self.relative(segment.vaddr);
        Some(start..start.saturating_add(segment.mem_size))
    }

    fn dynamic_strings(&self) -> &[u8] {
        let strings = || {
            let addr = self.dynamic(elf::DT_STRTAB.0)?;
            self.loaded(addr, self.dynamic(elf::DT_STRSZ.0)?)
        };
        strings().unwrap_or_default()
    }

    /// The symbol table of a section type, with the string table it is linked to.
    pub(super) fn section_symbols(&self, kind: u32) -> Option<RawTable<'_>> {
        let section = self.headers.sections.iter().find(|section| section.kind == kind)?;
        let strings = self.headers.sections.get(section.link as usize)?;
        Some(RawTable { symbols: self.section_data(section)?, strings: self.section_data(strings)? })
    }

    /// Dynamic symbols, through the dynamic section or else through the section headers.
    pub(super) fn dynamic_symbols(&self) -> RawTable<'_> {
        if let Some(table) = self.section_symbols(elf::SHT_DYNSYM.0) {
            return table;
        }
        let table = || {
            let addr = self.dynamic(elf::DT_SYMTAB.0)?;
            let count = self.dynamic_symbol_count(addr)?;
            let symbols = self.loaded(addr, count.checked_mul(self.headers.symbol_size() as u64)?)?;
            Some(RawTable { symbols, strings: self.dynamic_strings() })
        };
        table().unwrap_or_default()
    }

    /// The dynamic section does not say how many symbols there are. The old hash table does; the strings follow the
    /// symbols in what all linkers make; else the relocations say which symbols are at least there.
    fn dynamic_symbol_count(&self, symbols: u64) -> Option<u64> {
        if let Some(hash) = self.dynamic(elf::DT_HASH.0).and_then(|addr| self.loaded(addr, 8)) {
            return self.headers.u32(hash, 4).map(u64::from);
        }
        let strings = self.dynamic(elf::DT_STRTAB.0)?;
        if strings > symbols {
            return Some((strings - symbols) / self.headers.symbol_size() as u64);
        }
        let relocations = self.plt_relocations().into_iter().chain(self.data_relocations());
        relocations.map(|relocation| u64::from(relocation.symbol) + 1).max()
    }

    /// Relocations of the library-call slots (`.rela.plt`), in the order of the table.
    pub(super) fn plt_relocations(&self) -> Vec<Relocation> {
        let dynamic = || {
            let explicit = self.dynamic(elf::DT_PLTREL.0)? == elf::DT_RELA.0 as u64;
            let table = self.loaded(self.dynamic(elf::DT_JMPREL.0)?, self.dynamic(elf::DT_PLTRELSZ.0)?)?;
            Some(self.headers.relocations(table, explicit))
        };
        dynamic().unwrap_or_else(|| self.section_relocations(&[".rela.plt", ".rel.plt"]))
    }

    /// The other dynamic relocations (`.rela.dyn`), without the packed relative ones.
    pub(super) fn data_relocations(&self) -> Vec<Relocation> {
        let table = |addr: i64, size: i64, explicit: bool| {
            let table = self.loaded(self.dynamic(addr)?, self.dynamic(size)?)?;
            Some(self.headers.relocations(table, explicit))
        };
        table(elf::DT_RELA.0, elf::DT_RELASZ.0, true)
            .or_else(|| table(elf::DT_REL.0, elf::DT_RELSZ.0, false))
            .unwrap_or_else(|| self.section_relocations(&[".rela.dyn", ".rel.dyn"]))
    }

    fn section_relocations(&self, names: &[&str]) -> Vec<Relocation> {
        let section = names.iter().find_map(|name| self.section(name));
        let Some(section) = section else { return Vec::new() };
        let Some(bytes) = self.section_data(section) else { return Vec::new() };
        self.headers.relocations(bytes, section.kind == elf::SHT_RELA.0)
    }

    /// Address (as linked) of the table that [`data_relocations`](Self::data_relocations) is read from.
    pub(super) fn data_relocations_addr(&self) -> Option<u64> {
        self.dynamic(elf::DT_RELA.0).or_else(|| self.dynamic(elf::DT_REL.0))
    }

    /// Versions of undefined dynamic symbols: names by version number.
    pub(super) fn needed_versions(&self) -> Versions<'_> {
        let versions = || {
            let addr = self.dynamic(elf::DT_VERSYM.0)?;
            let count = self.dynamic_symbols().symbols.len() / self.headers.symbol_size();
            let of_symbol = self.loaded(addr, count as u64 * 2)?;
            let names = self.version_names().unwrap_or_default();
            Some(Versions { image: self, of_symbol, names })
        };
        versions().unwrap_or(Versions { image: self, of_symbol: &[], names: FxHashMap::default() })
    }

    /// Walks `.gnu.version_r`: for each library (16 bytes: version, count, file, offset of the first entry, offset of
    /// the next library) a list of entries (16 bytes: hash, flags, number, name, offset of the next entry).
    fn version_names(&self) -> Option<FxHashMap<u16, String>> {
        let mut names = FxHashMap::default();
        let mut library = self.dynamic(elf::DT_VERNEED.0)?;
        let mut budget = VERSION_LIMIT;
        loop {
            let header = self.loaded(library, 16)?;
            let count = self.headers.u16(header, 2)?;
            let mut entry = library.checked_add(u64::from(self.headers.u32(header, 8)?))?;
            for _ in 0..count {
                let Some(fields) = self.loaded(entry, 16) else { break };
                budget = budget.checked_sub(1)?;
                let number = self.headers.u16(fields, 6)?;
                let name = string_at(self.dynamic_strings(), self.headers.u32(fields, 8)?, 256);
                names.entry(number & 0x7fff).or_insert(name);
                let next = self.headers.u32(fields, 12)?;
                if next == 0 {
                    break;
                }
                entry = entry.checked_add(u64::from(next))?;
            }
            budget = budget.checked_sub(1)?;
            let next = self.headers.u32(header, 12)?;
            if next == 0 {
                return Some(names);
            }
            library = library.checked_add(u64::from(next))?;
        }
    }

    pub(super) fn raw_symbols<'d>(&'d self, table: RawTable<'d>) -> impl Iterator<Item = RawSymbol> + 'd {
        (0..table.symbols.len() / self.headers.symbol_size())
            .filter_map(move |index| self.headers.symbol(table.symbols, index))
    }

    pub(super) fn symbol_name(&self, table: RawTable<'_>, symbol: &RawSymbol) -> String {
        let mut name = string_at(table.strings, symbol.name, NAME_LIMIT);
        // Static symbol tables carry the version in the name.
        if let Some(at) = name.find('@').filter(|&at| at > 0) {
            name.truncate(at);
        }
        name
    }
}

/// Versions that undefined symbols ask for.
pub(super) struct Versions<'d> {
    image: &'d Image,
    of_symbol: &'d [u8],
    names: FxHashMap<u16, String>,
}

impl Versions<'_> {
    /// Version of the dynamic symbol with this index.
    pub(super) fn get(&self, symbol: u32) -> Option<String> {
        let number = self.image.headers.u16(self.of_symbol, (symbol as usize).checked_mul(2)?)? & 0x7fff;
        // 0 and 1 are "local" and "no version".
        self.names.get(&number).filter(|_| number > 1).cloned()
    }
}
