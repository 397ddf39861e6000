//! Symbols and tables of them, looked up by address or by name.

use std::fmt;
use std::sync::OnceLock;

/// What a symbol is, as the one letter that `.sym` files use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SymbolKind {
    /// `T`: a global function.
    Function = b'T',
    /// `t`: a local (static) function.
    LocalFunction = b't',
    /// `w`: a weak function.
    WeakFunction = b'w',
    /// `P`: a stub through which a library function is called.
    Plt = b'P',
    /// `D`: a global data object.
    Data = b'D',
    /// `d`: a local data object.
    LocalData = b'd',
    /// `v`: a weak data object.
    WeakData = b'v',
    /// `u`: a data object that is unique in the process (GNU extension).
    UniqueData = b'u',
    /// `K`: a function of the kernel.
    Kernel = b'K',
    /// `?`: unknown, or the marker of an end.
    Unknown = b'?',
}

impl SymbolKind {
    /// The letter that stands for this kind.
    pub fn letter(self) -> char {
        char::from(self as u8)
    }

    /// The kind for a letter, `None` if the letter stands for none.
    pub fn from_letter(letter: u8) -> Option<SymbolKind> {
        use SymbolKind::*;
        [Function, LocalFunction, WeakFunction, Plt, Data, LocalData, WeakData, UniqueData, Kernel, Unknown]
            .into_iter()
            .find(|&kind| kind as u8 == letter)
    }

    /// Whether it is code: a function of any kind, a library-call stub or a kernel function.
    pub fn is_function(self) -> bool {
        use SymbolKind::*;
        matches!(self, Function | LocalFunction | WeakFunction | Plt | Kernel)
    }
}

/// One symbol, borrowed from its table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Symbol<'t> {
    /// Address relative to the module.
    pub addr: u64,
    /// Size in bytes; `addr + size` never overflows.
    pub size: u64,
    /// What it is.
    pub kind: SymbolKind,
    /// The name as the linker has it (mangled), without a version suffix.
    pub name: &'t str,
}

impl Symbol<'_> {
    /// The first address after the symbol.
    pub fn end(&self) -> u64 {
        self.addr.saturating_add(self.size)
    }
}

impl fmt::Debug for Symbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}+{:x} {} {}", self.addr, self.size, self.kind.letter(), self.name)
    }
}

/// Longest name that is kept, in bytes; the rest of a longer one is cut off.
const NAME_LIMIT: usize = 1 << 20;
/// Names take 4 GiB at most; symbols that come after have an empty name.
const NAMES_LIMIT: usize = u32::MAX as usize;

/// 24 bytes a symbol, names apart: tables of a hundred thousand symbols are common.
#[derive(Clone, Copy)]
struct Entry {
    addr: u64,
    size: u64,
    name: u32,
    /// Length of the name in the low 24 bits, the kind's letter above.
    len_kind: u32,
}

impl Entry {
    fn kind(self) -> SymbolKind {
        SymbolKind::from_letter((self.len_kind >> 24) as u8).unwrap_or(SymbolKind::Unknown)
    }

    fn name(self, names: &str) -> &str {
        let start = self.name as usize;
        names.get(start..start + (self.len_kind & 0xff_ffff) as usize).unwrap_or_default()
    }
}

/// Symbols of one module, sorted by address, at most one at each address.
#[derive(Clone, Default)]
pub struct SymbolTable {
    entries: Vec<Entry>,
    names: String,
    /// Indices into `entries`, sorted by name; made when first asked for.
    by_name: OnceLock<Box<[u32]>>,
}

impl SymbolTable {
    /// The symbol that covers a module-relative address.
    ///
    /// Symbols can overlap (nested code, bad tables); the one that starts last at or before the address is asked, and
    /// no other.
    pub fn find(&self, rel_addr: u64) -> Option<Symbol<'_>> {
        let symbol = self.at_or_before(rel_addr)?;
        (rel_addr < symbol.end()).then_some(symbol)
    }

    /// The symbol that starts last at or before an address, whether it covers the address or not.
    pub fn at_or_before(&self, rel_addr: u64) -> Option<Symbol<'_>> {
        let after = self.entries.partition_point(|entry| entry.addr <= rel_addr);
        self.get(after.checked_sub(1)?)
    }

    /// The symbol with this number in address order.
    pub fn get(&self, index: usize) -> Option<Symbol<'_>> {
        self.entries.get(index).map(|&entry| self.resolve(entry))
    }

    /// The first symbol, in address order, with this raw name.
    pub fn by_name(&self, name: &str) -> Option<Symbol<'_>> {
        let index = self.by_name.get_or_init(|| {
            let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
            let mut index: Box<[u32]> = (0..count).collect();
            // Stable, so that symbols of one name stay in the order of their addresses.
            index.sort_by_key(|&i| self.name_of(i));
            index
        });
        let at = index.partition_point(|&i| self.name_of(i) < name);
        let symbol = self.get(*index.get(at)? as usize)?;
        (symbol.name == name).then_some(symbol)
    }

    /// The symbol that starts at an address, with its number.
    pub(crate) fn exact(&self, rel_addr: u64) -> Option<(usize, Symbol<'_>)> {
        let index = self.entries.binary_search_by_key(&rel_addr, |entry| entry.addr).ok()?;
        Some((index, self.get(index)?))
    }

    /// Gives a symbol another name.
    pub(crate) fn rename(&mut self, index: usize, name: &str) {
        if let Some(entry) = self.entries.get_mut(index) {
            let (start, len) = append_name(&mut self.names, name);
            entry.name = start;
            entry.len_kind = len | (entry.len_kind & 0xff00_0000);
            self.by_name = OnceLock::new();
        }
    }

    fn name_of(&self, index: u32) -> &str {
        self.entries.get(index as usize).map_or("", |entry| entry.name(&self.names))
    }

    /// All symbols in the order of their addresses.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Symbol<'_>> + DoubleEndedIterator + Clone {
        self.entries.iter().map(|&entry| self.resolve(entry))
    }

    fn resolve(&self, entry: Entry) -> Symbol<'_> {
        Symbol { addr: entry.addr, size: entry.size, kind: entry.kind(), name: entry.name(&self.names) }
    }

    /// Number of symbols.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no symbol.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl fmt::Debug for SymbolTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for SymbolTable {
    fn eq(&self, other: &SymbolTable) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'t> FromIterator<Symbol<'t>> for SymbolTable {
    fn from_iter<I: IntoIterator<Item = Symbol<'t>>>(symbols: I) -> SymbolTable {
        let mut builder = SymbolTableBuilder::default();
        for symbol in symbols {
            builder.push(symbol);
        }
        builder.finish()
    }
}

/// Collects symbols in any order and makes a table of them.
#[derive(Default)]
pub struct SymbolTableBuilder {
    entries: Vec<Entry>,
    names: String,
}

impl SymbolTableBuilder {
    /// Adds a symbol. A size that would reach past the end of the address space is cut there.
    pub fn push(&mut self, symbol: Symbol<'_>) {
        let (name, len) = append_name(&mut self.names, symbol.name);
        self.entries.push(Entry {
            addr: symbol.addr,
            size: symbol.size.min(u64::MAX - symbol.addr),
            name,
            len_kind: len | (symbol.kind as u32) << 24,
        });
    }

    /// Address of the symbol that was added last.
    pub fn last_addr(&self) -> Option<u64> {
        self.entries.last().map(|entry| entry.addr)
    }

    /// Bytes that all names take together so far.
    pub fn names_len(&self) -> usize {
        self.names.len()
    }

    /// Sorts the symbols and leaves one at each address: the entry of the last that was added there, under the
    /// preferred name of them all. That is the first name, but one that starts with an underscore (and is no mangled
    /// C++ name) gives way to the first that does not.
    pub fn finish(mut self) -> SymbolTable {
        self.entries.sort_by_key(|entry| entry.addr);
        let names = &self.names;
        // `dedup_by` keeps the earlier of two and hands it out as `kept`: what the later has is moved over.
        self.entries.dedup_by(|later, kept| {
            if later.addr != kept.addr {
                return false;
            }
            let keep_name = is_plain(kept.name(names)) || !is_plain(later.name(names));
            let (name, len) =
                if keep_name { (kept.name, kept.len_kind) } else { (later.name, later.len_kind) };
            kept.size = later.size;
            kept.name = name;
            kept.len_kind = (len & 0xff_ffff) | (later.len_kind & 0xff00_0000);
            true
        });
        self.entries.shrink_to_fit();
        self.names.shrink_to_fit();
        SymbolTable { entries: self.entries, names: self.names, by_name: OnceLock::new() }
    }

    /// Like [`finish`](Self::finish), but of several symbols at one address the first stays as it is.
    pub fn finish_keeping_first(mut self) -> SymbolTable {
        self.entries.sort_by_key(|entry| entry.addr);
        self.entries.dedup_by_key(|entry| entry.addr);
        self.entries.shrink_to_fit();
        SymbolTable { entries: self.entries, names: self.names, by_name: OnceLock::new() }
    }
}

/// Appends a name; returns where it starts and how long it is.
fn append_name(names: &mut String, name: &str) -> (u32, u32) {
    let mut len = name.len().min(NAME_LIMIT);
    while !name.is_char_boundary(len) {
        len -= 1;
    }
    if names.len() + len > NAMES_LIMIT {
        return (0, 0);
    }
    let start = names.len() as u32;
    names.push_str(&name[..len]);
    (start, len as u32)
}

/// Whether a name is one a programmer would use for the function: not an internal alias like `__GI_read` or `_IO_puts`.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.starts_with('_') || name.starts_with("_Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn symbol(addr: u64, size: u64, kind: SymbolKind, name: &str) -> Symbol<'_> {
        Symbol { addr, size, kind, name }
    }

    #[test]
    fn letters_are_a_bijection() {
        for letter in b"TtwPDdvuK?" {
            assert_eq!(SymbolKind::from_letter(*letter).unwrap().letter(), char::from(*letter));
        }
        assert_eq!(SymbolKind::from_letter(b'x'), None);
    }

    #[test]
    fn find_knows_ends_and_gaps() {
        let table: SymbolTable = [
            symbol(0x200, 0x10, SymbolKind::LocalFunction, "b"),
            symbol(0x100, 0x80, SymbolKind::Function, "a"),
            symbol(u64::MAX - 4, 100, SymbolKind::Data, "end"),
        ]
        .into_iter()
        .collect();
        assert_eq!(table.find(0xff), None);
        assert_eq!(table.find(0x100).unwrap().name, "a");
        assert_eq!(table.find(0x17f).unwrap().name, "a");
        assert_eq!(table.find(0x180), None);
        assert_eq!(table.at_or_before(0x180).unwrap().name, "a");
        assert_eq!(table.find(0x20f).unwrap().kind, SymbolKind::LocalFunction);
        assert_eq!(table.find(u64::MAX - 1).unwrap().name, "end");
        assert_eq!(table.by_name("b").unwrap().addr, 0x200);
        assert_eq!(table.by_name("c"), None);
    }

    #[test]
    fn one_symbol_an_address() {
        let table: SymbolTable = [
            symbol(0x10, 4, SymbolKind::Function, "_internal"),
            symbol(0x10, 5, SymbolKind::WeakFunction, "public"),
            symbol(0x10, 6, SymbolKind::LocalFunction, "other"),
            symbol(0x20, 4, SymbolKind::Function, "_Zfirst"),
            symbol(0x20, 4, SymbolKind::WeakFunction, "second"),
        ]
        .into_iter()
        .collect();
        insta::assert_debug_snapshot!(table, @r"
        [
            10+6 t public,
            20+4 w _Zfirst,
        ]
        ");
    }

    proptest! {
        #[test]
        fn find_agrees_with_a_search(
            starts in proptest::collection::vec((0u64..200, 0u64..20), 0..40),
            probe in 0u64..240,
        ) {
            let table: SymbolTable =
                starts.iter().map(|&(addr, size)| symbol(addr, size, SymbolKind::Function, "f")).collect();
            let slow = starts.iter().filter(|s| s.0 <= probe).map(|s| s.0).max().and_then(|addr| {
                let size = starts.iter().rfind(|s| s.0 == addr)?.1;
                (probe < addr + size).then_some(addr)
            });
            prop_assert_eq!(table.find(probe).map(|symbol| symbol.addr), slow);
        }
    }
}
