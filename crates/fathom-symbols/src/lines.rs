//! Source lines, from DWARF: where a function is declared, and what line an instruction belongs to. Also the way to the
//! entry that describes a function, for whoever wants to know more of it.
//!
//! Units are looked into when one of their addresses is first asked for. Split DWARF (`.dwo` files) is not followed.

mod sections;

use std::cell::{OnceCell, RefCell};
use std::path::PathBuf;
use std::sync::Arc;

use addr2line::Context;
use gimli::{AttributeValue, DebugInfoOffset, DebugTypeSignature, DwAt, Reader as _, UnitOffset, UnitRef};
use rustc_hash::FxHashMap;
use thiserror::Error;

use crate::bytes::Bytes;
use crate::dbgfile::SourceLine;
use crate::elf::Image;

/// Bytes of a DWARF section.
pub type Reader = gimli::EndianReader<gimli::RunTimeEndian, Bytes>;
/// All DWARF sections of a file.
pub type Dwarf = gimli::Dwarf<Reader>;
/// A compilation unit.
pub type Unit = gimli::Unit<Reader>;

/// Most references that are followed from a function to its declaration.
const HOP_LIMIT: usize = 8;
/// Most address ranges that are taken of one function. Two are usual: its hot and its cold part.
const RANGE_LIMIT: usize = 256;

/// Why there are no source lines.
#[derive(Debug, Error)]
pub enum Error {
    /// Neither the file nor a separate debug file has any debug information.
    #[error("{}: no debug information (compile with -g, or install its debug symbols)", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is some, but it makes no sense.
    #[error("{}: damaged debug information: {source}", path.display())]
    Damaged {
        /// The file that has it.
        path: PathBuf,
        /// What is wrong.
        source: gimli::Error,
    },
}

/// Source lines of one module.
pub struct SourceMap {
    link_base: u64,
    dwarf: Arc<Dwarf>,
    context: Context<Reader>,
    /// What the paths are relative to.
    base: String,
    functions: RefCell<FxHashMap<usize, Arc<UnitFunctions>>>,
    /// Units that were looked into, by offset and whether they are in the shared file.
    others: RefCell<FxHashMap<(usize, bool), Arc<Unit>>>,
    /// Where the units begin.
    offsets: Vec<usize>,
    shared_offsets: Vec<usize>,
    /// Type units by signature, and those that were looked into.
    type_units: OnceCell<FxHashMap<u64, TypeUnit>>,
    read_type_units: RefCell<FxHashMap<u64, Arc<Unit>>>,
}

/// Header of a type unit, and where the type is in it.
type TypeUnit = (gimli::UnitHeader<Reader>, UnitOffset);

/// The functions of one unit.
#[derive(Default)]
struct UnitFunctions {
    /// Start, end, and number of the function; sorted.
    ranges: Vec<(u64, u64, u32)>,
    functions: Vec<UnitFunction>,
}

struct UnitFunction {
    entry: UnitOffset,
    declared: Option<SourceLine>,
}

/// An entry of the debug information.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The unit it is in.
    pub unit: Arc<Unit>,
    /// Where in it.
    pub offset: UnitOffset,
    /// Whether the unit is in the file that several share entries in (dwz).
    pub shared: bool,
}

impl UnitFunctions {
    fn at(&self, addr: u64) -> Option<&UnitFunction> {
        let after = self.ranges.partition_point(|&(start, ..)| start <= addr);
        let &(_, end, number) = self.ranges.get(after.checked_sub(1)?)?;
        if addr < end { self.functions.get(number as usize) } else { None }
    }
}

impl std::fmt::Debug for SourceMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SourceMap({} units, paths below {:?})", self.offsets.len(), self.base)
    }
}

impl SourceMap {
    /// Opens the debug information of an image: its own, or that of its separate debug file.
    pub fn open(image: &Image) -> Result<SourceMap, Error> {
        let path = |image: &Image| image.path().map_or_else(|| PathBuf::from("<memory>"), PathBuf::from);
        let separate = if sections::has_dwarf(image) { None } else { image.debug_file() };
        let source = separate.as_ref().unwrap_or(image);
        if !sections::has_dwarf(source) {
            return Err(Error::Missing { path: path(image) });
        }
        let dwarf = Arc::new(sections::load(source));
        let damaged = |error| Error::Damaged { path: path(source), source: error };
        let (base, offsets) = survey(&dwarf).map_err(damaged)?;
        let shared_offsets = dwarf.sup().and_then(|shared| survey(shared).ok()).unwrap_or_default().1;
        let context = Context::from_arc_dwarf(Arc::clone(&dwarf)).map_err(damaged)?;
        Ok(SourceMap {
            link_base: image.link_base(),
            dwarf,
            context,
            base,
            functions: RefCell::default(),
            others: RefCell::default(),
            offsets,
            shared_offsets,
            type_units: OnceCell::new(),
            read_type_units: RefCell::default(),
        })
    }

    /// The directory that paths are relative to: the one that everything was compiled in, or in directories below.
    /// Empty if there is none; then paths are relative to the directory that the unit was compiled in.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Where the function at a module-relative address is declared: the line that has its name. Where the debug
    /// information has no declarations (`-gline-tables-only`, assembler), the line of the address.
    pub fn function(&self, rel_addr: u64) -> Option<SourceLine> {
        self.declared(rel_addr).or_else(|| self.address(rel_addr))
    }

    fn declared(&self, rel_addr: u64) -> Option<SourceLine> {
        let addr = self.linked(rel_addr)?;
        let functions = self.unit_functions(self.unit_at(addr)?);
        functions.at(addr)?.declared.clone()
    }

    /// The entry of the function at a module-relative address.
    pub fn entry(&self, rel_addr: u64) -> Option<Entry> {
        let addr = self.linked(rel_addr)?;
        let unit = self.unit_at(addr)?;
        let offset = self.unit_functions(unit).at(addr)?.entry;
        let start = unit.header.debug_info_offset()?;
        Some(Entry { unit: self.unit(start, false)?, offset, shared: false })
    }

    fn unit_at(&self, addr: u64) -> Option<UnitRef<'_, Reader>> {
        self.context.find_dwarf_and_unit(addr).skip_all_loads()
    }

    /// The sections that an entry is in.
    pub fn dwarf_of(&self, entry: &Entry) -> &Dwarf {
        match self.dwarf.sup() {
            Some(shared) if entry.shared => shared,
            _ => &self.dwarf,
        }
    }

    /// The entry that an attribute of another one refers to.
    pub fn follow(&self, from: &Entry, value: &AttributeValue<Reader>) -> Option<Entry> {
        match *value {
            AttributeValue::UnitRef(offset) => Some(Entry { offset, ..from.clone() }),
            AttributeValue::DebugInfoRef(offset) => self.other_unit(offset, from.shared),
            AttributeValue::DebugInfoRefSup(offset) => self.other_unit(offset, true),
            AttributeValue::DebugTypesRef(signature) => self.typed_unit(signature),
            _ => None,
        }
    }

    /// The type that a type unit (`-fdebug-types-section`) describes.
    fn typed_unit(&self, signature: DebugTypeSignature) -> Option<Entry> {
        let units = self.type_units.get_or_init(|| type_units(&self.dwarf));
        let (header, offset) = units.get(&signature.0)?;
        let mut read = self.read_type_units.borrow_mut();
        let unit = match read.get(&signature.0) {
            Some(unit) => Arc::clone(unit),
            None => {
                let unit = Arc::new(self.dwarf.unit(header.clone()).ok()?);
                read.insert(signature.0, Arc::clone(&unit));
                unit
            }
        };
        Some(Entry { unit, offset: *offset, shared: false })
    }

    /// The line that the instruction at a module-relative address was made from.
    pub fn address(&self, rel_addr: u64) -> Option<SourceLine> {
        let location = self.context.find_location(self.linked(rel_addr)?).ok()??;
        Some(SourceLine { line: location.line?, file: tidy(location.file?, &self.base) })
    }

    /// The address as the debug information has it. The very last one is left out, as addr2line looks one further.
    pub fn linked(&self, rel_addr: u64) -> Option<u64> {
        self.link_base.checked_add(rel_addr).filter(|&addr| addr < u64::MAX)
    }

    fn unit_functions(&self, unit: UnitRef<'_, Reader>) -> Arc<UnitFunctions> {
        let key = unit.header.offset().0;
        if let Some(known) = self.functions.borrow().get(&key) {
            return Arc::clone(known);
        }
        let mut found = UnitFunctions::default();
        // Damage ends the list early; what was found before is of use all the same.
        let _ = self.collect_functions(unit, &mut found);
        found.ranges.sort_unstable();
        let found = Arc::new(found);
        self.functions.borrow_mut().insert(key, Arc::clone(&found));
        found
    }

    /// Takes up the functions of a unit.
    fn collect_functions(
        &self,
        unit: UnitRef<'_, Reader>,
        found: &mut UnitFunctions,
    ) -> Result<(), gimli::Error> {
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            if entry.tag() != gimli::DW_TAG_subprogram {
                continue;
            }
            if !ends_in_memory(unit, entry)? {
                continue;
            }
            let mut ranges = unit.die_ranges(entry)?;
            let mut first = true;
            for _ in 0..RANGE_LIMIT {
                let Some(range) = ranges.next()? else { break };
                // A linker that drops a function leaves a range at 0.
                if range.begin == 0 || range.begin >= range.end {
                    continue;
                }
                if first {
                    let declared = self.declaration(unit, entry.offset(), HOP_LIMIT)?;
                    found.functions.push(UnitFunction { entry: entry.offset(), declared });
                    first = false;
                }
                let number = found.functions.len().saturating_sub(1) as u32;
                found.ranges.push((range.begin, range.end, number));
            }
        }
        Ok(())
    }

    /// File and line of a declaration. What an entry lacks is in the one it refers to: the declaration in a class, or
    /// the abstract instance of an inline function.
    fn declaration(
        &self,
        unit: UnitRef<'_, Reader>,
        offset: UnitOffset,
        hops: usize,
    ) -> Result<Option<SourceLine>, gimli::Error> {
        let entry = unit.entry(offset)?;
        let number = |name: DwAt| match entry.attr_value(name)? {
            AttributeValue::FileIndex(index) => Some(index),
            value => value.udata_value(),
        };
        if let Some(line) = number(gimli::DW_AT_decl_line) {
            // The file can be that of the referenced entry when both are in one, which GCC leaves out.
            if let Some(file) = number(gimli::DW_AT_decl_file) {
                let file = self.file_name(unit, file)?;
                return Ok(file.map(|file| SourceLine { line: u32::try_from(line).unwrap_or(0), file }));
            }
        }
        let Some(hops) = hops.checked_sub(1) else { return Ok(None) };
        let reference = [gimli::DW_AT_abstract_origin, gimli::DW_AT_specification]
            .into_iter()
            .find_map(|name| entry.attr_value(name));
        let declared = match reference {
            Some(AttributeValue::UnitRef(offset)) => self.declaration(unit, offset, hops)?,
            Some(AttributeValue::DebugInfoRef(offset)) => match self.other_unit(offset, false) {
                Some(other) => self.declaration(other.unit.unit_ref(&self.dwarf), other.offset, hops)?,
                None => None,
            },
            _ => None,
        };
        let line = number(gimli::DW_AT_decl_line).and_then(|line| u32::try_from(line).ok());
        Ok(declared.map(|declared| SourceLine { line: line.unwrap_or(declared.line), ..declared }))
    }

    /// The entry at an offset of the whole section.
    fn other_unit(&self, offset: DebugInfoOffset, shared: bool) -> Option<Entry> {
        let offsets = if shared { &self.shared_offsets } else { &self.offsets };
        let after = offsets.partition_point(|&start| start <= offset.0);
        let start = *offsets.get(after.checked_sub(1)?)?;
        let unit = self.unit(DebugInfoOffset(start), shared)?;
        let offset = offset.to_unit_offset(&unit.header)?;
        Some(Entry { unit, offset, shared })
    }

    /// The unit at an offset.
    fn unit(&self, start: DebugInfoOffset, shared: bool) -> Option<Arc<Unit>> {
        if let Some(unit) = self.others.borrow().get(&(start.0, shared)) {
            return Some(Arc::clone(unit));
        }
        let dwarf = if shared { self.dwarf.sup()? } else { &*self.dwarf };
        let unit = Arc::new(dwarf.unit(dwarf.unit_header(start).ok()?).ok()?);
        self.others.borrow_mut().insert((start.0, shared), Arc::clone(&unit));
        Some(unit)
    }

    /// The path of a file of a unit, relative to the base.
    fn file_name(&self, unit: UnitRef<'_, Reader>, index: u64) -> Result<Option<String>, gimli::Error> {
        let Some(program) = &unit.line_program else { return Ok(None) };
        let header = program.header();
        let Some(file) = header.file(index) else { return Ok(None) };
        let mut path = unit_directory(unit)?;
        let own = path.clone();
        if file.directory_index() != 0
            && let Some(directory) = file.directory(header)
        {
            push_path(&mut path, &unit.attr_string(directory)?.to_string_lossy()?);
        }
        push_path(&mut path, &unit.attr_string(file.path_name())?.to_string_lossy()?);
        let base = if self.base.is_empty() { &own } else { &self.base };
        Ok(Some(tidy(&path, base)))
    }
}

/// Whether the end of a function that is given by its size has an address. gimli adds without a look.
fn ends_in_memory(
    unit: UnitRef<'_, Reader>,
    entry: &gimli::DebuggingInformationEntry<Reader>,
) -> Result<bool, gimli::Error> {
    let (Some(low), Some(AttributeValue::Udata(size))) =
        (entry.attr_value(gimli::DW_AT_low_pc), entry.attr_value(gimli::DW_AT_high_pc))
    else {
        return Ok(true);
    };
    Ok(unit.attr_address(low)?.is_none_or(|low| low.checked_add(size).is_some()))
}

fn unit_directory(unit: UnitRef<'_, Reader>) -> Result<String, gimli::Error> {
    match &unit.comp_dir {
        Some(directory) => Ok(directory.to_string_lossy()?.into_owned()),
        None => Ok(String::new()),
    }
}

/// Appends a path, or replaces it if the new one is absolute.
fn push_path(path: &mut String, part: &str) {
    if part.starts_with('/') {
        path.clear();
    } else if !path.is_empty() && !path.ends_with('/') {
        path.push('/');
    }
    path.push_str(part);
}

/// A path relative to a directory if it is below it, without the `./` that compilers leave in the middle.
fn tidy(path: &str, directory: &str) -> String {
    let path = below(path, directory).unwrap_or(path);
    path.trim_start_matches("./").replace("/./", "/")
}

/// What of a path is below a directory. The root is no directory for this: all paths are below it.
fn below<'p>(path: &'p str, directory: &str) -> Option<&'p str> {
    let directory = directory.trim_end_matches('/');
    if directory.is_empty() {
        return None;
    }
    path.strip_prefix(directory)?.strip_prefix('/')
}

/// All type units: of DWARF 4 in a section of their own, of DWARF 5 among the others. Damage ends the list.
fn type_units(dwarf: &Dwarf) -> FxHashMap<u64, TypeUnit> {
    let mut all = FxHashMap::default();
    let mut add = |header: gimli::UnitHeader<Reader>| {
        if let gimli::UnitType::Type { type_signature, type_offset } = header.type_() {
            all.insert(type_signature.0, (header, type_offset));
        }
    };
    let (mut units, mut old) = (dwarf.units(), dwarf.type_units());
    while let Ok(Some(header)) = units.next() {
        add(header);
    }
    while let Ok(Some(header)) = old.next() {
        add(header);
    }
    all
}

/// The directory that all units were compiled in or below, and the offsets of the units.
fn survey(dwarf: &Dwarf) -> Result<(String, Vec<usize>), gimli::Error> {
    let mut base: Option<String> = None;
    let mut offsets = Vec::new();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next()? {
        offsets.push(header.offset().0);
        let Ok(unit) = dwarf.unit(header) else { continue };
        let directory = unit_directory(unit.unit_ref(dwarf))?;
        // Partial units, which others share, have none.
        if directory.is_empty() {
            continue;
        }
        base = Some(match base {
            None => directory,
            Some(base) => common_directory(&base, &directory),
        });
    }
    let base = base.unwrap_or_default();
    Ok((base.trim_end_matches('/').to_owned(), offsets))
}

fn common_directory(a: &str, b: &str) -> String {
    let same = a.split('/').zip(b.split('/')).take_while(|(a, b)| a == b);
    let parts: Vec<&str> = same.map(|(part, _)| part).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories() {
        assert_eq!(common_directory("/a/b/c", "/a/bc"), "/a");
        assert_eq!(common_directory("/a/b", "/a/b/c"), "/a/b");
        assert_eq!(common_directory("/a", "/b"), "");
        assert_eq!(below("/a/b/c.c", "/a/b"), Some("c.c"));
        assert_eq!(below("/a/bc.c", "/a/b"), None);
        assert_eq!(below("/a/b.c", "/"), None);
        assert_eq!(below("./a.c", "."), Some("a.c"));
        assert_eq!(tidy("/a/./b/./c.c", "/a"), "b/c.c");
        assert_eq!(tidy("/x/b/./c.c", "/a"), "/x/b/c.c");
        let mut path = "/a".to_owned();
        push_path(&mut path, "b.c");
        assert_eq!(path, "/a/b.c");
        push_path(&mut path, "/c.c");
        assert_eq!(path, "/c.c");
    }
}
