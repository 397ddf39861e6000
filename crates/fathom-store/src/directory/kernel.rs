//! The files of the kernel's tracer in a directory: `kernel_header`, `kernel-cpu<N>.dat`, `kallsyms`.

use super::dat::Warn;
use super::modules::{ModuleIndex, Modules};
use super::text;
use crate::kernel::{Kernel, KernelHeader, PageFiles};
use fathom_ftrace::{Kallsyms, Names};
use fathom_symbols::symbol::SymbolTableBuilder;
use fathom_symbols::symfile::ModuleId;
use fathom_symbols::{Symbol, SymbolKind, SymbolTable};
use std::path::{Path, PathBuf};

/// The path that the kernel is called by where other functions have that of their module.
pub(super) const MODULE: &str = "[kernel]";

/// What the kernel's tracer recorded.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) records: Kernel,
    /// The module whose symbols are the kernel's.
    pub(super) module: ModuleIndex,
}

impl Recorded {
    /// Opens the pages of `files`; none when there are none, or nothing says how to read them.
    pub(super) fn open(
        dir: &Path,
        files: &[(u32, PathBuf)],
        modules: &mut Modules,
        warn: &dyn Warn,
    ) -> Option<Recorded> {
        if files.is_empty() {
            return None;
        }
        let path = dir.join("kernel_header");
        let header = match text::read_whole(&path) {
            Ok(bytes) => KernelHeader::parse(&bytes),
            Err(e) => {
                warn.warn(format!("{}: cannot read: {e}; what the kernel did is not shown", path.display()));
                return None;
            }
        };
        let mut problems = header.problems.clone();
        let formats = header.formats(&mut problems);
        for problem in problems {
            warn.warn(format!("{}: {problem}", path.display()));
        }
        let layout = header.layout();
        let pages = match PageFiles::open(files, layout.size()) {
            Ok(pages) => pages,
            Err(e) => {
                warn.warn(format!("{e}; what the kernel did is not shown"));
                return None;
            }
        };
        let symbols = dir.join("kallsyms");
        let names = move || {
            // Missing names have been told of by then.
            let text = text::read_whole(&symbols).unwrap_or_default();
            Names { symbols: Kallsyms::parse(&String::from_utf8_lossy(&text)), ..Names::default() }
        };
        let records = Kernel::new(Box::new(pages), layout, formats, names);
        for problem in records.problems() {
            warn.warn(format!("{problem}; what can be read of the others is shown"));
        }
        for (pages, losses) in records.cpus().iter().zip(records.losses()) {
            if losses.places > 0 {
                let (name, places) = (&pages.name, losses.places);
                let count = if losses.events > 0 { losses.events.to_string() } else { "some".to_owned() };
                warn.warn(format!(
                    "{name}: {count} records of the kernel were lost in {places} places, its buffer was full"
                ));
            }
        }
        let module = modules.add(ModuleId { path: MODULE.to_owned(), build_id: None });
        Some(Recorded { records, module })
    }
}

/// The functions of the directory's `kallsyms`.
pub(super) fn symbols(dir: &Path, warn: &dyn Warn) -> SymbolTable {
    let path = dir.join("kallsyms");
    match text::read_whole(&path) {
        Ok(bytes) => table(&bytes),
        Err(e) => {
            warn.warn(format!("{}: cannot read: {e}; functions of the kernel have no names", path.display()));
            SymbolTable::default()
        }
    }
}

/// The table of a text of lines `address type name`, perhaps with a tab and `[module]`. A function reaches to the next
/// symbol, of whatever type; how far the last one reaches is not known.
fn table(text: &[u8]) -> SymbolTable {
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
        let table = table(text);
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
            table(text.as_bytes());
        }
    }
}
