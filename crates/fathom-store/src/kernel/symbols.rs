//! Functions of the kernel: `kallsyms`.

use fathom_symbols::symbol::SymbolTableBuilder;
use fathom_symbols::{Symbol, SymbolKind, SymbolTable};

/// The table of a text of lines `address type name`, perhaps with a tab and `[module]`. A function reaches to the next
/// symbol, of whatever type; how far the last one reaches is not known.
pub fn symbol_table(text: &[u8]) -> SymbolTable {
    let mut lines: Vec<(u64, u8, &[u8])> = text.split(|byte| *byte == b'\n').filter_map(parse_line).collect();
    if !lines.is_sorted_by_key(|line| line.0) {
        lines.sort_by_key(|line| line.0);
    }
    let mut builder = SymbolTableBuilder::default();
    let mut groups = lines.chunk_by(|a, b| a.0 == b.0).peekable();
    while let Some(group) = groups.next() {
        let with = |letters: [u8; 2]| move |line: &&(u64, u8, &[u8])| letters.contains(&line.1);
        // Of a system call's names, `__do_sys_read` is local, and `__x64_sys_read` the last that is not.
        let global = group.iter().rev().find(with([b'T', b'W']));
        let Some((addr, _, name)) = global.or_else(|| group.iter().find(with([b't', b'w']))) else {
            continue;
        };
        let after = groups.peek().and_then(|group| group.first()).map_or(*addr, |line| line.0);
        let name = String::from_utf8_lossy(name);
        builder.push(Symbol { addr: *addr, size: after - addr, kind: SymbolKind::Kernel, name: &name });
    }
    builder.finish_keeping_first()
}

fn parse_line(line: &[u8]) -> Option<(u64, u8, &[u8])> {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let addr = u64::from_str_radix(std::str::from_utf8(words.next()?).ok()?, 16).ok()?;
    let [letter] = words.next()? else { return None };
    let name = words.next()?.split(|byte| matches!(byte, b'\t' | b'\r' | b' ')).next()?;
    // Without the right to see them, all addresses are zero.
    (addr != 0 && !name.is_empty()).then_some((addr, *letter, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn functions_reach_to_the_next_symbol() {
        let text =
            b"ffff10 t local\nffff10 T b\nffff10 T a\nffff20 d data\nffff30 t b.isra.0\t[mod]\nffff38 T c\n0 T zero\nx\n";
        let table = symbol_table(text);
        let all: Vec<_> = table.iter().map(|s| (s.addr, s.size, s.kind, s.name)).collect();
        let kind = SymbolKind::Kernel;
        assert_eq!(
            all,
            [(0xff_ff10, 16, kind, "a"), (0xff_ff30, 8, kind, "b.isra.0"), (0xff_ff38, 0, kind, "c")]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "([0-9a-f]{0,18} [a-zA-Z] [a-z]{0,3}\n|.{0,20}\n){0,9}") {
            symbol_table(text.as_bytes());
        }
    }
}
