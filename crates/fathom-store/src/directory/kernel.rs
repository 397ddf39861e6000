//! The files of the kernel's tracer in a directory: `kernel_header`, `kernel-cpu<N>.dat`, `kallsyms`, `printk_formats`.

use super::dat::Warn;
use super::modules::{ModuleIndex, Modules};
use super::text;
use crate::kernel::{Kernel, KernelHeader, PageFiles, symbol_table};
use fathom_ftrace::{Kallsyms, Names, Texts};
use fathom_symbols::SymbolTable;
use fathom_symbols::symfile::ModuleId;
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
        let (symbols, texts) = (dir.join("kallsyms"), dir.join("printk_formats"));
        let names = move || {
            // Missing names have been told of by then.
            let text = text::read_whole(&symbols).unwrap_or_default();
            // Only recordings of ours have this one.
            let texts = text::read_whole(&texts).unwrap_or_default();
            Names { symbols: Kallsyms::parse(&String::from_utf8_lossy(&text)), texts: Texts::parse(&texts) }
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
        Ok(bytes) => symbol_table(&bytes),
        Err(e) => {
            warn.warn(format!("{}: cannot read: {e}; functions of the kernel have no names", path.display()));
            SymbolTable::default()
        }
    }
}
