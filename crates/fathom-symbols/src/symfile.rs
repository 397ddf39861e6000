//! `.sym` files: the symbols of one module as text, as uftrace and fathom keep them in a data directory.
//!
//! The format is that of uftrace's data directory, in two forms: with the size of each symbol (since 0.14), and
//! without (0.13), where a symbol ends where the next line begins and lines of type `?` mark the ends before gaps.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::symbol::{Symbol, SymbolKind, SymbolTable, SymbolTableBuilder};

/// Largest `.sym` file that is read, in bytes.
const FILE_LIMIT: u64 = 2 << 30;

/// Names of lines that only say where the symbol before them ends.
const END_MARKERS: [&str; 3] = ["__sym_end", "__dynsym_end", "__func_end"];

/// Which form to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Style {
    /// With sizes: exact, but uftrace 0.13 cannot read it.
    #[default]
    Sized,
    /// Without sizes: all versions of uftrace read it. Where symbols overlap, the first ends where the second begins.
    Plain,
}

/// Why a `.sym` file could not be read or written.
#[derive(Debug, Error)]
pub enum Error {
    /// Reading failed.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing failed.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Both names that the file of a module can have are taken by other modules.
    #[error("no name is left for {module} in {}: {} is another module's", dir.display(), taken)]
    NameTaken {
        /// The directory.
        dir: PathBuf,
        /// Path of the module.
        module: String,
        /// The second name.
        taken: String,
    },
    /// The file is larger than any symbol table.
    #[error("{}: {size} bytes are too much for a symbol file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
}

/// Of which module a `.sym` or `.dbg` file is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleId {
    /// Path of the module when it was traced.
    pub path: String,
    /// Its build-id in hex digits, if it has one.
    pub build_id: Option<String>,
}

impl ModuleId {
    /// Whether a file with this identity is of the wanted module: the same path, and no known difference in build-id.
    pub fn matches(&self, wanted: &ModuleId) -> bool {
        self.path == wanted.path && self.same_build(wanted)
    }

    /// Whether the build-ids are equal, or not both known.
    pub fn same_build(&self, wanted: &ModuleId) -> bool {
        match (&self.build_id, &wanted.build_id) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        }
    }

    /// Takes over a comment line (without its `#`) if it is one about the module.
    pub(crate) fn take_comment(&mut self, comment: &str) {
        let comment = comment.trim();
        if let Some(path) = comment.strip_prefix("path name:") {
            self.path = path.trim().to_owned();
        } else if let Some(id) = comment.strip_prefix("build-id:") {
            self.build_id = Some(id.trim().to_owned()).filter(|id| !id.is_empty());
        }
    }

    pub(crate) fn write_comments(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "# path name: {}", OneLine(&self.path))?;
        if let Some(id) = &self.build_id {
            writeln!(out, "# build-id: {}", OneLine(id))?;
        }
        Ok(())
    }
}

/// What a `.sym` file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SymFile {
    /// The module, as the comments name it.
    pub module: ModuleId,
    /// Its symbols.
    pub symbols: SymbolTable,
    /// Number of lines that were left out because they make no sense.
    pub bad_lines: usize,
}

impl SymFile {
    /// Reads a file of at most 2 GiB.
    pub fn open(path: &Path) -> Result<SymFile, Error> {
        Ok(SymFile::parse(&read_file(path)?))
    }

    /// Reads either form. Lines that make no sense are counted and left out, as the rest is still of use.
    pub fn parse(bytes: &[u8]) -> SymFile {
        let mut file = SymFile::default();
        let mut lines: Vec<Line<'_>> = Vec::new();
        for text in bytes.split(|&byte| byte == b'\n') {
            if let Some(comment) = text.strip_prefix(b"#") {
                file.module.take_comment(&String::from_utf8_lossy(comment));
            } else if !text.trim_ascii().is_empty() {
                match Line::parse(text) {
                    Some(line) => lines.push(line),
                    None => file.bad_lines += 1,
                }
            }
        }
        file.symbols = table_of(lines);
        file
    }

    /// Only the comments at the start of a file.
    pub fn parse_module(bytes: &[u8]) -> ModuleId {
        let mut module = ModuleId::default();
        for comment in bytes.split(|&byte| byte == b'\n').map_while(|line| line.strip_prefix(b"#")) {
            module.take_comment(&String::from_utf8_lossy(comment));
        }
        module
    }

    /// Finds and reads the file of a module in a data directory. `Ok(None)` if it has none.
    pub fn load(dir: &Path, wanted: &ModuleId) -> Result<Option<SymFile>, Error> {
        match find_in(dir, wanted, "sym")? {
            Some(path) => SymFile::open(&path).map(Some),
            None => Ok(None),
        }
    }
}

/// One line: a symbol or an end marker.
struct Line<'d> {
    addr: u64,
    /// 0 if not given.
    size: u64,
    kind: SymbolKind,
    name: &'d [u8],
}

impl<'d> Line<'d> {
    fn parse(text: &'d [u8]) -> Option<Line<'d>> {
        let (addr, rest) = split_word(text)?;
        let addr = parse_hex(addr)?;
        let (size, rest) = if rest.first()?.is_ascii_digit() {
            let (size, rest) = split_word(rest)?;
            (parse_hex(size)?, rest)
        } else {
            (0, rest)
        };
        let (&[letter], name) = split_word(rest)? else { return None };
        let kind = SymbolKind::from_letter(letter)?;
        // Kernel symbols have the name of their kernel module behind a tab.
        let name = name.split(|&byte| byte == b'\t' || byte == b'\r').next()?;
        Some(Line { addr, size, kind, name })
    }

    fn is_end_marker(&self) -> bool {
        self.kind == SymbolKind::Unknown && END_MARKERS.iter().any(|marker| marker.as_bytes() == self.name)
    }
}

/// Splits at the first space.
fn split_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&byte| byte == b' ')?;
    Some((&text[..at], text.get(at + 1..)?))
}

pub(crate) fn parse_hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Sorts the lines, gives a size to those without, and drops the end markers.
fn table_of(mut lines: Vec<Line<'_>>) -> SymbolTable {
    if !lines.is_sorted_by_key(|line| line.addr) {
        lines.sort_by_key(|line| line.addr);
    }
    let mut builder = SymbolTableBuilder::default();
    let mut next_addr = None;
    let mut sizes = vec![0; lines.len()];
    let mut following: Option<u64> = None;
    for (line, size) in lines.iter().zip(&mut sizes).rev() {
        if following.is_some_and(|addr| addr > line.addr) {
            next_addr = following;
        }
        following = Some(line.addr);
        *size = if line.size != 0 { line.size } else { next_addr.map_or(0, |next: u64| next - line.addr) };
    }
    for (line, size) in lines.iter().zip(sizes) {
        if !line.is_end_marker() {
            let name = String::from_utf8_lossy(line.name);
            builder.push(Symbol { addr: line.addr, size, kind: line.kind, name: &name });
        }
    }
    builder.finish_keeping_first()
}

/// Writes a symbol table in one of the forms.
pub fn write(out: &mut impl Write, module: &ModuleId, symbols: &SymbolTable, style: Style) -> io::Result<()> {
    writeln!(out, "# symbols: {}", symbols.len())?;
    module.write_comments(out)?;
    let mut symbols = symbols.iter().peekable();
    while let Some(symbol) = symbols.next() {
        let (letter, name) = (symbol.kind.letter(), OneLine(symbol.name));
        match style {
            Style::Sized => {
                // Readers tell a size from a type by its first digit, which so may not be a letter.
                let width = if symbol.size < 0xa000_0000 { 8 } else { 17 };
                writeln!(out, "{:016x} {:0width$x} {letter} {name}", symbol.addr, symbol.size)?;
            }
            Style::Plain => {
                writeln!(out, "{:016x} {letter} {name}", symbol.addr)?;
                let next = symbols.peek();
                if next.is_none_or(|next| next.addr > symbol.end()) {
                    writeln!(out, "{:016x} ? {}", symbol.end(), end_marker(&symbol, next))?;
                }
            }
        }
    }
    Ok(())
}

/// The marker that uftrace writes at such a place.
fn end_marker(symbol: &Symbol<'_>, next: Option<&Symbol<'_>>) -> &'static str {
    let [sym_end, dynsym_end, func_end] = END_MARKERS;
    match symbol.kind {
        SymbolKind::Plt => dynsym_end,
        kind if kind.is_function() && next.is_some_and(|next| !next.kind.is_function()) => func_end,
        _ => sym_end,
    }
}

/// Text that has to stay on one line: control characters are shown as `?`.
pub(crate) struct OneLine<'t>(pub(crate) &'t str);

impl std::fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, part) in self.0.split(|c: char| c.is_control()).enumerate() {
            if n > 0 {
                f.write_str("?")?;
            }
            f.write_str(part)?;
        }
        Ok(())
    }
}

/// Name of the file that a module has in a data directory if no other module has taken it: that of the module, with
/// `extension` behind.
pub fn file_name(module: &ModuleId, extension: &str) -> String {
    format!("{}.{extension}", base_name(&module.path))
}

/// Name of the file of a module if [`file_name`] is taken: with the first four digits of the build-id, or without one
/// with a sum of the path's bytes.
pub fn other_file_name(module: &ModuleId, extension: &str) -> String {
    let base = base_name(&module.path);
    match &module.build_id {
        Some(id) => format!("{base}-{}.{extension}", id.get(..4).unwrap_or(id)),
        None => {
            let sum = module.path.bytes().fold(0u16, |sum, byte| sum.wrapping_add(byte.into()));
            format!("{base}-{sum:04x}.{extension}")
        }
    }
}

/// The last component of a path. A hostile path cannot lead out of the directory that it is appended to.
fn base_name(path: &str) -> &str {
    let base = path.rsplit('/').next().unwrap_or_default();
    if base.is_empty() { "unnamed" } else { base }
}

/// The file of a module in a data directory, `None` if there is none.
pub(crate) fn find_in(dir: &Path, wanted: &ModuleId, extension: &str) -> Result<Option<PathBuf>, Error> {
    for name in [file_name(wanted, extension), other_file_name(wanted, extension)] {
        let path = dir.join(name);
        match read_module(&path) {
            Ok(module) if module.matches(wanted) => return Ok(Some(path)),
            Ok(_) => {}
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Read { path, source }),
        }
    }
    Ok(None)
}

fn read_module(path: &Path) -> io::Result<ModuleId> {
    // The comments are three lines, one of them a path.
    let mut start = Vec::new();
    fs::File::open(path)?.take(16384).read_to_end(&mut start)?;
    Ok(SymFile::parse_module(&start))
}

/// Saves the symbols of a module into a data directory, under the name that is free. Returns the path of the file, or
/// `None` if nothing was to be done: the table is empty, or the module has been saved before.
pub fn save(
    dir: &Path,
    module: &ModuleId,
    symbols: &SymbolTable,
    style: Style,
) -> Result<Option<PathBuf>, Error> {
    if symbols.is_empty() {
        return Ok(None);
    }
    save_with(dir, module, "sym", |out| write(out, module, symbols, style))
}

/// Creates the file of a module under a free name and has it filled.
pub(crate) fn save_with(
    dir: &Path,
    module: &ModuleId,
    extension: &str,
    fill: impl FnOnce(&mut io::BufWriter<fs::File>) -> io::Result<()>,
) -> Result<Option<PathBuf>, Error> {
    for name in [file_name(module, extension), other_file_name(module, extension)] {
        let path = dir.join(name);
        let file = match fs::OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if read_module(&path).is_ok_and(|other| other == *module) {
                    return Ok(None);
                }
                continue;
            }
            Err(source) => return Err(Error::Write { path, source }),
        };
        let mut out = io::BufWriter::new(file);
        return match fill(&mut out).and_then(|()| out.flush()) {
            Ok(()) => Ok(Some(path)),
            Err(source) => {
                // Half of it would be taken for all of it later.
                let _ = fs::remove_file(&path);
                Err(Error::Write { path, source })
            }
        };
    }
    // uftrace has no third name, and nobody would find one.
    let taken = other_file_name(module, extension);
    Err(Error::NameTaken { dir: dir.to_owned(), module: module.path.clone(), taken })
}

pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(read)?;
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(Error::TooLarge { path: path.to_owned(), size: bytes.len() as u64 });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
