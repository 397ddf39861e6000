//! Names of kernel addresses, from the recording's copy of `/proc/kallsyms`.

use rustc_hash::FxHashMap;
use std::cell::{Cell, OnceCell};

/// One symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Symbol {
    address: u64,
    /// Where its name is in the text.
    name: (u32, u32),
    /// Where its module's name is; empty for the kernel itself.
    module: (u32, u32),
}

/// Entries of the cache of lookups; a function trace asks for the same few thousand addresses.
const CACHE: usize = 4096;

/// The symbols by address, and the texts of `trace_printk`.
pub(crate) struct Symbols {
    /// Texts that records have only the address of.
    texts: FxHashMap<u64, Box<[u8]>>,
    /// The same by address, with those that are named twice.
    listed: Vec<(u64, Box<[u8]>)>,
    text: Vec<u8>,
    /// Worked out when the first one is asked for: most events have no address in them.
    list: OnceCell<Vec<Symbol>>,
    /// Addresses that were asked for, with the index of their symbol plus 1, or 0 for none.
    cache: Vec<Cell<(u64, u32)>>,
}

impl Symbols {
    /// Reads lines of `ADDRESS TYPE NAME [MODULE]`. Absolute symbols and marks of the assembler (`$x`) are not places.
    pub(crate) fn new(kallsyms: &[u8], printk_formats: &[u8]) -> Self {
        let mut listed: Vec<_> = printk_formats.split(|&byte| byte == b'\n').filter_map(parse_text).collect();
        listed.sort_by_key(|(address, _)| *address);
        let texts = listed.iter().cloned().collect();
        let cache = vec![Cell::new((0, 0)); CACHE];
        Self { texts, listed, text: kallsyms.to_vec(), list: OnceCell::new(), cache }
    }

    fn list(&self) -> &[Symbol] {
        self.list.get_or_init(|| symbols(&self.text))
    }

    fn index(&self, address: u64) -> Option<usize> {
        let slot = &self.cache[(address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize & (CACHE - 1)];
        let (cached, index) = slot.get();
        if cached == address && address != 0 {
            return (index as usize).checked_sub(1);
        }
        let found = self.search(address);
        slot.set((address, found.map_or(0, |index| index as u32 + 1)));
        found
    }

    fn search(&self, address: u64) -> Option<usize> {
        let list = self.list();
        let index = list.partition_point(|symbol| symbol.address <= address).checked_sub(1)?;
        // Nobody knows where the last one ends.
        (index + 1 < list.len() || list[index].address == address).then_some(index)
    }

    /// The name of the symbol at or before an address, and where it begins.
    #[inline]
    pub(crate) fn find(&self, address: u64) -> Option<(&[u8], u64)> {
        let symbol = &self.list()[self.index(address)?];
        Some((self.slice(symbol.name), symbol.address))
    }

    /// The address of the symbol of that name.
    pub(crate) fn address(&self, name: &str) -> Option<u64> {
        let found = self.list().iter().find(|symbol| self.slice(symbol.name) == name.as_bytes());
        found.map(|symbol| symbol.address)
    }

    /// The text at an address of the kernel.
    pub(crate) fn text(&self, address: u64) -> Option<&[u8]> {
        self.texts.get(&address).map(|text| &**text)
    }

    /// All texts by address.
    pub(crate) fn texts(&self) -> Vec<(u64, &[u8])> {
        self.listed.iter().map(|(address, text)| (*address, &**text)).collect()
    }

    fn slice(&self, (start, end): (u32, u32)) -> &[u8] {
        &self.text[start as usize..end as usize]
    }

    /// All of them by address: address, name, module (empty for the kernel itself).
    pub(crate) fn all(&self) -> impl Iterator<Item = (u64, &[u8], &[u8])> {
        self.list().iter().map(|symbol| (symbol.address, self.slice(symbol.name), self.slice(symbol.module)))
    }
}

/// All symbols of a text, by address.
fn symbols(text: &[u8]) -> Vec<Symbol> {
    let mut list = Vec::new();
    let mut start = 0;
    for line in text.split(|&byte| byte == b'\n') {
        if let Some(symbol) = parse(line, start) {
            list.push(symbol);
        }
        start += line.len() + 1;
    }
    // Of several names of one address the first one of the file is taken.
    list.reverse();
    list.sort_by_key(|symbol| symbol.address);
    list
}

/// The text of a line of `printk_formats`, `0xADDRESS : "text"`, as it stands without the quotes.
fn parse_text(line: &[u8]) -> Option<(u64, Box<[u8]>)> {
    let colon = line.windows(3).position(|window| window == b" : ")?;
    let address = std::str::from_utf8(&line[..colon]).ok()?.trim();
    let address = u64::from_str_radix(address.strip_prefix("0x").unwrap_or(address), 16).ok()?;
    let text = line[colon + 3..].trim_ascii();
    let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    Some((address, unescape(text).into()))
}

/// `\n` becomes a new line, and so on; a new line at the end is left out.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, bytes.as_slice().first()) {
            (b'\\', Some(letter @ (b'n' | b't' | b'\\' | b'"'))) => {
                out.push(match letter {
                    b'n' => b'\n',
                    b't' => b'\t',
                    other => *other,
                });
                bytes.next();
            }
            _ => out.push(byte),
        }
    }
    if out.last() == Some(&b'\n') {
        out.pop();
    }
    out
}

/// The symbol of a line that begins at `start`.
fn parse(line: &[u8], start: usize) -> Option<Symbol> {
    let mut words = [(0, 0); 4];
    let mut count = 0;
    let mut at = 0;
    while count < 4 {
        while at < line.len() && line[at].is_ascii_whitespace() {
            at += 1;
        }
        let begin = at;
        while at < line.len() && !line[at].is_ascii_whitespace() {
            at += 1;
        }
        if begin == at {
            break;
        }
        words[count] = (begin, at);
        count += 1;
    }
    if count < 3 {
        return None;
    }
    let word = |index: usize| &line[words[index].0..words[index].1];
    let address = u64::from_str_radix(std::str::from_utf8(word(0)).ok()?, 16).ok()?;
    if matches!(word(1), b"A" | b"a") || word(2).starts_with(b"$") {
        return None;
    }
    let place = |(begin, end): (usize, usize)| {
        Some((u32::try_from(start + begin).ok()?, u32::try_from(start + end).ok()?))
    };
    let module = match (count, word(3)) {
        (4, [b'[', .., b']']) => place((words[3].0 + 1, words[3].1 - 1))?,
        _ => (0, 0),
    };
    Some(Symbol { address, name: place(words[2])?, module })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"ffffffff81000000 T first\nffffffff81000000 t second\nffffffff81001000 A absolute\n\
        ffffffff81002000 t $x\nnonsense\nffffffff81001000 D data\nffffffffa0000000 t mod\t[ext4]\n";

    #[test]
    fn the_symbol_at_or_before_an_address() {
        let symbols = Symbols::new(TEXT, b"");
        let name =
            |address| symbols.find(address).map(|(name, _)| String::from_utf8_lossy(name).into_owned());
        // Twice: the second time from the cache.
        for _ in 0..2 {
            assert_eq!(name(0xffff_ffff_8100_0000).as_deref(), Some("first"));
            assert_eq!(name(0xffff_ffff_8100_0fff).as_deref(), Some("first"));
            assert_eq!(name(0xffff_ffff_8100_2000).as_deref(), Some("data"));
            assert_eq!(name(0xffff_ffff_a000_0000).as_deref(), Some("mod"));
            assert_eq!(name(0xffff_ffff_a000_0001), None);
            assert_eq!(name(0x1000), None);
            assert_eq!(name(0), None);
        }
        let all: Vec<_> = symbols.all().map(|(_, name, module)| (name, module)).collect();
        assert_eq!(all, [(&b"second"[..], &b""[..]), (b"first", b""), (b"data", b""), (b"mod", b"ext4")]);
    }
}
