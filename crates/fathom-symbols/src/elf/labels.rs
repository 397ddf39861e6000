//! Everything that a module says about its addresses: all names, and all places that the loader changes.
//!
//! Other than [`Image::symbols`], which is for people and keeps one name for an address, this leaves nothing out.

use object::elf;

use super::dynamic::RawTable;
use super::headers::Class;
use super::{EM_X86_64, Image};

/// A name for an address. Several can be at one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Module-relative.
    pub addr: u64,
    /// In bytes; 0 where nothing is known about it.
    pub size: u64,
    /// Whether it is marked as a function (or as one that chooses a function).
    pub is_function: bool,
    /// Whether other modules can see it.
    pub is_exported: bool,
    /// As the linker has it, without a version.
    pub name: String,
}

/// A word that the loader fills in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocated {
    /// Module-relative address of the word.
    pub place: u64,
    /// Module-relative address that it will lead to, if that is in this module.
    pub to: Option<u64>,
}

/// Most places that are read from packed relocations: a table can say more than its size.
const PLACE_LIMIT: usize = 1 << 26;

impl Image {
    /// All defined symbols of the symbol table, of the separate debug file where there is no table, of the compressed
    /// one, and of the dynamic table, in this order. Files, sections and thread-local variables are left out.
    pub fn labels(&self) -> Vec<Label> {
        let mut labels = Vec::new();
        self.static_labels(&mut labels);
        if labels.is_empty() {
            if let Some(debug) = self.debug_file() {
                debug.static_labels(&mut labels);
            }
            if let Some(debug) = self.mini_debug_info() {
                debug.static_labels(&mut labels);
            }
        }
        self.add_labels(self.dynamic_symbols(), true, &mut labels);
        labels
    }

    fn static_labels(&self, labels: &mut Vec<Label>) {
        if let Some(table) = self.section_symbols(elf::SHT_SYMTAB.0) {
            self.add_labels(table, false, labels);
        }
    }

    fn add_labels(&self, table: RawTable<'_>, is_exported: bool, labels: &mut Vec<Label>) {
        // Many entries may name the same long string. No linker makes names that are together longer than this.
        let mut names_left = 4 * self.data().len() + (1 << 20);
        for raw in self.raw_symbols(table) {
            let is_function = raw.is_function();
            let is_other = raw.kind == elf::STT_NOTYPE.0 || raw.kind == elf::STT_OBJECT.0;
            let is_absolute = raw.section == elf::SHN_ABS.0;
            if raw.is_undefined() || is_absolute || !(is_function || is_other) {
                continue;
            }
            let Some(addr) = raw.value.checked_sub(self.link_base()) else { continue };
            let name = self.symbol_name(table, &raw);
            let Some(left) = names_left.checked_sub(name.len()) else { break };
            names_left = left;
            labels.push(Label { addr, size: raw.size, is_function, is_exported, name });
        }
    }

    /// All words that relocations are about, packed ones too. Where a relocation has no addend of its own, or names a
    /// symbol of another module, it is not said where it leads.
    pub fn relocated(&self) -> Vec<Relocated> {
        let symbols = self.dynamic_symbols();
        let is_x86 = self.machine() == EM_X86_64;
        let relocations = self.data_relocations().into_iter().chain(self.plt_relocations());
        let mut all: Vec<Relocated> = relocations
            .map(|relocation| {
                let kind = relocation.kind;
                let base = match kind {
                    _ if !is_x86 => None,
                    _ if kind == elf::R_X86_64_RELATIVE.0 || kind == elf::R_X86_64_IRELATIVE.0 => Some(0),
                    _ if kind == elf::R_X86_64_64.0
                        || kind == elf::R_X86_64_GLOB_DAT.0
                        || kind == elf::R_X86_64_JUMP_SLOT.0 =>
                    {
                        let symbol = self.headers.symbol(symbols.symbols, relocation.symbol as usize);
                        symbol.filter(|symbol| !symbol.is_undefined()).map(|symbol| symbol.value)
                    }
                    _ => None,
                };
                let to = base.zip(relocation.addend).map(|(base, addend)| base.wrapping_add_signed(addend));
                Relocated { place: self.relative(relocation.offset), to: to.map(|to| self.relative(to)) }
            })
            .collect();
        all.extend(self.packed_relative());
        all
    }

    /// `DT_RELR`: the words hold where they lead, as linked.
    fn packed_relative(&self) -> Vec<Relocated> {
        let table = || {
            let size = self.dynamic(elf::DT_RELRSZ.0)?;
            self.loaded(self.dynamic(elf::DT_RELR.0)?, size)
        };
        let Some(table) = table().filter(|_| self.class() == Class::Elf64) else { return Vec::new() };
        let mut places = Vec::new();
        let mut next = 0u64;
        for word in table.chunks_exact(8).filter_map(|bytes| self.headers.word(bytes)) {
            if places.len() > PLACE_LIMIT {
                break;
            }
            // An even word is an address; an odd one says with its other 63 bits which of the next words follow it.
            if word & 1 == 0 {
                places.push(word);
                next = word.wrapping_add(8);
            } else {
                let bits = (1..64u64).filter(|bit| word >> bit & 1 != 0);
                places.extend(bits.map(|bit| next.wrapping_add((bit - 1) * 8)));
                next = next.wrapping_add(63 * 8);
            }
        }
        let led = |place: u64| self.loaded(place, 8).and_then(|bytes| self.headers.word(bytes));
        let relocated = |place: u64| Relocated {
            place: self.relative(place),
            to: led(place).map(|to| self.relative(to)),
        };
        places.into_iter().map(relocated).collect()
    }
}
