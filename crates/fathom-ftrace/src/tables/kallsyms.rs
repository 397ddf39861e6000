use std::sync::atomic::{AtomicU32, Ordering};

/// The kernel's symbols, from `/proc/kallsyms` or an excerpt of it.
///
/// Finding one is a binary search; what was found last for an address like it is tried first.
#[derive(Debug, Default)]
pub struct Kallsyms {
    /// Sorted. Of symbols with one address there is only the first.
    starts: Vec<u64>,
    entries: Vec<Entry>,
    /// All names, and the names of modules, one after another.
    names: String,
    /// Whether all addresses were zero: the reader was not allowed to see them.
    hidden: bool,
    cache: Cache,
}

/// Where a symbol's name and its module's are in `names`.
#[derive(Clone, Copy, Debug)]
struct Entry {
    name: u32,
    length: u16,
    module: u32,
    module_length: u16,
}

/// Index of the symbol for recent addresses, by a hash of the address. It is a guess: it is checked before use.
#[derive(Debug)]
struct Cache(Box<[AtomicU32]>);

const CACHE: usize = 1024;

/// What is farther behind a symbol than any of them is long is in none (code that was made at run time).
const FARTHEST: u64 = 16 << 20;

impl Default for Cache {
    fn default() -> Cache {
        Cache((0..CACHE).map(|_| AtomicU32::new(u32::MAX)).collect())
    }
}

/// A symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Its name.
    pub name: &'a str,
    /// The module it is in.
    pub module: Option<&'a str>,
    /// Where it begins.
    pub address: u64,
    /// Bytes to the next symbol; None for the last one.
    pub size: Option<u64>,
}

impl Kallsyms {
    /// Reads lines `ADDRESS TYPE NAME [MODULE]`. Lines that are none are passed over.
    pub fn parse(text: &str) -> Kallsyms {
        let mut found: Vec<(u64, Entry)> = Vec::with_capacity(text.len() / 48);
        let (mut names, mut lines, mut zeros) = (String::with_capacity(text.len() / 2), 0usize, 0usize);
        let mut module: (String, u32) = (String::new(), 0);
        let mut absolute = Vec::new();
        for line in text.lines() {
            let Some((address, kind, name, of)) = line_of(line) else { continue };
            lines += 1;
            zeros += usize::from(address == 0);
            let Ok(start) = u32::try_from(names.len()) else { break };
            let Ok(length) = u16::try_from(name.len()) else { continue };
            names.push_str(name);
            let mut entry = Entry { name: start, length, module: 0, module_length: 0 };
            if !of.is_empty() && of.len() < usize::from(u16::MAX) {
                if module.0 != of {
                    module = (of.to_owned(), names.len() as u32);
                    names.push_str(of);
                }
                (entry.module, entry.module_length) = (module.1, of.len() as u16);
            }
            if matches!(kind, b'a' | b'A') {
                absolute.push((address, entry));
            } else {
                found.push((address, entry));
            }
        }
        // Absolute symbols below the kernel are offsets (into the memory of a CPU), not addresses.
        let lowest = found.iter().map(|(address, _)| *address).min().unwrap_or(0);
        found.extend(absolute.into_iter().filter(|(address, _)| *address >= lowest.max(1)));
        let hidden = lines > 0 && zeros == lines;
        if hidden {
            found.clear();
        }
        found.sort_by_key(|(address, _)| *address);
        found.dedup_by_key(|(address, _)| *address);
        let (starts, entries) = found.into_iter().unzip();
        Kallsyms { starts, entries, names, hidden, cache: Cache::default() }
    }

    /// Whether the file had symbols but all of them at address 0: whoever read it was not allowed to see addresses.
    pub fn hidden(&self) -> bool {
        self.hidden
    }

    /// How many addresses have a symbol.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The symbol that `address` is in: the last one that begins at it or before, if it is not too far away.
    #[inline]
    pub fn find(&self, address: u64) -> Option<Symbol<'_>> {
        let slot = (address ^ (address >> 10) ^ (address >> 20)) as usize % CACHE;
        let guess = self.cache.0[slot].load(Ordering::Relaxed) as usize;
        let index = if self.holds(guess, address) {
            guess
        } else {
            let index = self.starts.partition_point(|start| *start <= address).checked_sub(1)?;
            self.cache.0[slot].store(index as u32, Ordering::Relaxed);
            index
        };
        if address - self.starts.get(index)? > FARTHEST {
            return None;
        }
        self.symbol(index)
    }

    /// The address of the symbol of that name, of the first of them by address.
    pub fn address_of(&self, name: &str) -> Option<u64> {
        self.iter().find(|symbol| symbol.name == name).map(|symbol| symbol.address)
    }

    /// All symbols by address.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'_>> {
        (0..self.starts.len()).filter_map(|index| self.symbol(index))
    }

    #[inline]
    fn holds(&self, index: usize, address: u64) -> bool {
        self.starts.get(index).is_some_and(|start| *start <= address)
            && self.starts.get(index + 1).is_none_or(|next| address < *next)
    }

    #[inline]
    fn symbol(&self, index: usize) -> Option<Symbol<'_>> {
        let entry = self.entries.get(index)?;
        let address = *self.starts.get(index)?;
        let text = |start: u32, length: u16| {
            self.names.get(start as usize..start as usize + usize::from(length)).unwrap_or_default()
        };
        Some(Symbol {
            name: text(entry.name, entry.length),
            module: (entry.module_length > 0).then(|| text(entry.module, entry.module_length)),
            address,
            size: self.starts.get(index + 1).map(|next| next - address),
        })
    }
}

/// `ffffffff810089f0 T name\t[module]` to (address, type, name, module).
fn line_of(line: &str) -> Option<(u64, u8, &str, &str)> {
    let space = line.find(' ')?;
    let mut address = 0u64;
    for byte in line.as_bytes()[..space].iter() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return None,
        };
        address = (address << 4) | u64::from(digit);
    }
    let kind = *line.as_bytes().get(space + 1)?;
    let rest = line.get(space + 3..)?;
    let (name, module) = match rest.find(['\t', ' ']) {
        Some(at) => (&rest[..at], rest[at + 1..].trim().trim_start_matches('[').trim_end_matches(']')),
        None => (rest, ""),
    };
    (!name.is_empty()).then_some((address, kind, name, module))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0000000000021440 A ksoftirqd\nffffffff81000000 T _text\nffffffff81000000 T _stext\n\
                        ffffffff81000100 t next\nffffffffa0000000 t in_it\t[ext4]\nffffffffa0000040 t too\t[ext4]\n";

    #[test]
    fn symbols_by_address() {
        let symbols = Kallsyms::parse(TEXT);
        let name = |address| symbols.find(address).map(|symbol| symbol.name);
        for _ in 0..2 {
            assert_eq!(name(0xffff_ffff_8100_0000), Some("_text"));
            assert_eq!(name(0xffff_ffff_8100_00ff), Some("_text"));
            assert_eq!(name(0xffff_ffff_8100_0100), Some("next"));
            assert_eq!(name(0x47b5e1), None);
            let found = symbols.find(0xffff_ffff_a000_0001).unwrap();
            assert_eq!((found.name, found.module, found.size), ("in_it", Some("ext4"), Some(0x40)));
            assert_eq!(symbols.find(0xffff_ffff_a000_0041).unwrap().module, Some("ext4"));
        }
        assert!(!symbols.hidden());
        assert_eq!(symbols.address_of("too"), Some(0xffff_ffff_a000_0040));
    }

    #[test]
    fn addresses_that_were_not_shown() {
        let symbols = Kallsyms::parse("0000000000000000 T _text\n0000000000000000 T _stext\n");
        assert!(symbols.hidden() && symbols.is_empty());
        assert!(!Kallsyms::parse("").hidden());
    }
}
