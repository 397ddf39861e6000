//! Functions of programs that handle signals: the address in a running task, as a symbol of the file it is from.

use fathom_symbols::{Image, SymbolTable};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// Names and files that are kept; what is beyond is looked up again.
const KEPT: usize = 1024;
/// A segment that is mapped (*elf(5)*).
const PT_LOAD: u32 = 1;

#[derive(Default)]
struct Known {
    /// By task and address: a task that has ended tells nothing any more.
    names: FxHashMap<(i32, u64), String>,
    files: FxHashMap<PathBuf, Option<File>>,
}

struct File {
    symbols: SymbolTable,
    /// Offset in the file, its length there, and the address from the image's base.
    segments: Vec<(u64, u64, u64)>,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::new(Known::default());
}

/// `handler NAME (FILE)`, or as much of it as is known.
pub(crate) fn name(pid: i32, address: u64) -> String {
    KNOWN.with_borrow_mut(|known| {
        if let Some(name) = known.names.get(&(pid, address)) {
            return name.clone();
        }
        let Some((path, offset)) = mapped(pid, address) else { return format!("handler {address:#x}") };
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = match symbol(known, &path, offset) {
            Some(symbol) => format!("handler {symbol} ({file})"),
            None => format!("handler {file}+{offset:#x}"),
        };
        if known.names.len() < KEPT {
            known.names.insert((pid, address), name.clone());
        }
        name
    })
}

/// The file that an address of a task is mapped from, with the offset in it.
fn mapped(pid: i32, address: u64) -> Option<(PathBuf, u64)> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    maps.lines().find_map(|line| {
        // 7f1c2000-7f1c3000 r-xp 00001000 fe:01 1234   /usr/bin/top
        let mut words = line.split_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        if !(from..to).contains(&address) {
            return None;
        }
        let offset = u64::from_str_radix(words.nth(1)?, 16).ok()?;
        let path = words.nth(2).filter(|path| path.starts_with('/'))?;
        Some((PathBuf::from(path), offset.checked_add(address - from)?))
    })
}

fn symbol(known: &mut Known, path: &Path, offset: u64) -> Option<String> {
    if known.files.len() >= KEPT {
        known.files.clear();
    }
    let file = known.files.entry(path.to_owned()).or_insert_with(|| read(path)).as_ref()?;
    let (start, _, address) = file
        .segments
        .iter()
        .find(|(start, size, _)| offset.checked_sub(*start).is_some_and(|at| at < *size))?;
    let found = file.symbols.find(address.checked_add(offset - start)?)?;
    Some(found.name.to_string())
}

fn read(path: &Path) -> Option<File> {
    let image = Image::open(path).ok()?;
    let base = image.link_base();
    let loaded = image.segments().iter().filter(|segment| segment.kind == PT_LOAD);
    let segments =
        loaded.map(|segment| (segment.offset, segment.file_size, segment.vaddr.wrapping_sub(base)));
    Some(File { symbols: image.symbols(), segments: segments.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn a_handler_to_be_found() {
        std::hint::black_box(());
    }

    #[test]
    fn a_function_of_this_program_has_its_name() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let address = a_handler_to_be_found as fn() as usize as u64;
        let found = name(pid, address);
        assert!(found.contains("a_handler_to_be_found"), "{found}");
        assert_eq!(name(pid, 16), "handler 0x10");
    }
}
