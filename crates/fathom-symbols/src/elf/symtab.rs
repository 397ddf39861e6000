//! The symbols of an image: which of its tables they come from, and which entries count.
//!
//! The choice is uftrace's (its data format, section 5.2), so that both tools name the same address alike.

use object::elf;

use super::Image;
use super::dynamic::RawTable;
use super::headers::RawSymbol;
use super::plt::PltSlot;
use crate::symbol::{Symbol, SymbolKind, SymbolTable, SymbolTableBuilder, is_plain};

impl Image {
    /// Functions and data objects that have a size, sorted, one at each address, with the library-call stubs of
    /// [`plt_slots`](Image::plt_slots) among them.
    ///
    /// The first of these that has any symbols is the source: `.symtab`; that of a separate debug file; that of the
    /// compressed `.gnu_debugdata`, together with `.dynsym`; `.dynsym` alone.
    pub fn symbols(&self) -> SymbolTable {
        self.symbols_with(&self.plt_slots())
    }

    /// Like [`symbols`](Image::symbols), where the slots have been looked up already.
    pub fn symbols_with(&self, slots: &[PltSlot]) -> SymbolTable {
        let mut builder = SymbolTableBuilder::default();
        self.add_static_symbols(&mut builder);
        if builder.last_addr().is_none()
            && let Some(debug) = self.debug_file()
        {
            debug.add_static_symbols(&mut builder);
        }
        if builder.last_addr().is_none() {
            if let Some(debug) = self.mini_debug_info() {
                debug.add_static_symbols(&mut builder);
            }
            self.add_symbols(self.dynamic_symbols(), &mut builder);
        }
        let mut table = builder.finish();
        self.prefer_dynamic_names(&mut table);
        merge_stubs(&table, slots)
    }

    fn add_static_symbols(&self, builder: &mut SymbolTableBuilder) {
        if let Some(table) = self.section_symbols(elf::SHT_SYMTAB.0) {
            self.add_symbols(table, builder);
        }
    }

    fn add_symbols(&self, table: RawTable<'_>, builder: &mut SymbolTableBuilder) {
        // Many entries may name the same long string. No linker makes names that are together longer than this.
        let limit = builder.names_len() + 4 * self.data().len() + (1 << 20);
        let base = self.link_base();
        for raw in self.raw_symbols(table) {
            let Some(kind) = symbol_kind(&raw) else { continue };
            let Some(addr) = raw.value.checked_sub(base) else { continue };
            if builder.last_addr() == Some(addr) {
                continue;
            }
            if builder.names_len() > limit {
                break;
            }
            builder.push(Symbol { addr, size: raw.size, kind, name: &self.symbol_name(table, &raw) });
        }
    }

    /// The dynamic name of a function is the one that other modules call it by, and so the better known one.
    fn prefer_dynamic_names(&self, table: &mut SymbolTable) {
        let dynamic = self.dynamic_symbols();
        let base = self.link_base();
        for raw in self.raw_symbols(dynamic) {
            if symbol_kind(&raw).is_none() {
                continue;
            }
            let Some(addr) = raw.value.checked_sub(base) else { continue };
            let Some((index, symbol)) = table.exact(addr) else { continue };
            let name = self.symbol_name(dynamic, &raw);
            let is_better = !(is_plain(symbol.name) && name.starts_with('_'))
                && symbol.name.as_bytes().get(1) != Some(&b'Z');
            if is_better && symbol.name != name {
                table.rename(index, &name);
            }
        }
    }
}

/// What a table entry is; `None` if it is not defined here, has no size, or is neither function nor data.
fn symbol_kind(raw: &RawSymbol) -> Option<SymbolKind> {
    if raw.is_undefined() || raw.size == 0 {
        return None;
    }
    let bind = elf::SymbolBind(raw.bind);
    if raw.is_function() {
        return Some(match bind {
            elf::STB_LOCAL => SymbolKind::LocalFunction,
            elf::STB_WEAK => SymbolKind::WeakFunction,
            _ => SymbolKind::Function,
        });
    }
    (raw.kind == elf::STT_OBJECT.0).then_some(match bind {
        elf::STB_LOCAL => SymbolKind::LocalData,
        elf::STB_WEAK => SymbolKind::WeakData,
        elf::STB_GNU_UNIQUE => SymbolKind::UniqueData,
        _ => SymbolKind::Data,
    })
}

/// Adds a symbol for each library-call stub. A symbol that the program itself has at the address (hand-made tables
/// only) goes before.
fn merge_stubs(table: &SymbolTable, slots: &[PltSlot]) -> SymbolTable {
    let stubs = slots.iter().filter(|slot| slot.called && !slot.name.is_empty()).map(|slot| Symbol {
        addr: slot.plt,
        size: slot.plt_size,
        kind: SymbolKind::Plt,
        name: &slot.name,
    });
    let mut builder = SymbolTableBuilder::default();
    for symbol in table.iter().chain(stubs) {
        builder.push(symbol);
    }
    builder.finish_keeping_first()
}
