//! The modules of a trace and their symbols, loaded when first needed.

use super::dat::Warn;
use super::kernel;
use fathom_symbols::dbgfile::{DbgFile, SourceLine};
use fathom_symbols::lines::SourceMap;
use fathom_symbols::symfile::{self, ModuleId, SymFile};
use fathom_symbols::{Image, SymbolTable};
use rustc_hash::FxHashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Index of a module.
pub(crate) type ModuleIndex = u32;

/// Where symbols are looked for.
#[derive(Debug)]
pub(crate) struct Places {
    /// The data directory.
    pub(crate) dir: PathBuf,
    /// A directory of symbol files that goes before it.
    pub(crate) symbol_dir: Option<PathBuf>,
}

/// A program or library.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) id: ModuleId,
    symbols: OnceLock<SymbolTable>,
    debug: OnceLock<DbgFile>,
    /// Source lines of the module itself, if it is still the one that was recorded.
    lines: OnceLock<Option<Mutex<SourceMap>>>,
}

/// All modules; the same file in several sessions is one.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    list: Vec<Module>,
    by_id: FxHashMap<(String, Option<String>), ModuleIndex>,
}

impl Modules {
    pub(crate) fn add(&mut self, id: ModuleId) -> ModuleIndex {
        let next = self.list.len() as ModuleIndex;
        let key = (id.path.clone(), id.build_id.clone());
        let index = *self.by_id.entry(key).or_insert(next);
        if index == next {
            self.list.push(Module {
                id,
                symbols: OnceLock::new(),
                debug: OnceLock::new(),
                lines: OnceLock::new(),
            });
        }
        index
    }

    /// Adds a module whose symbols are known already.
    pub(crate) fn add_loaded(&mut self, id: ModuleId, symbols: SymbolTable) -> ModuleIndex {
        let index = self.add(id);
        if let Some(module) = self.list.get(index as usize) {
            // Loaded before is as good.
            _ = module.symbols.set(symbols);
        }
        index
    }

    /// The paths of all of them.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|module| module.id.path.as_str())
    }

    pub(crate) fn get(&self, index: ModuleIndex) -> Option<&Module> {
        self.list.get(index as usize)
    }
}

impl Module {
    /// The symbols; an empty table, and a warning, if there are none to be had.
    pub(crate) fn symbols(&self, places: &Places, warn: &dyn Warn) -> &SymbolTable {
        self.symbols.get_or_init(|| self.load_symbols(places, warn))
    }

    fn load_symbols(&self, places: &Places, warn: &dyn Warn) -> SymbolTable {
        if self.id.path == kernel::MODULE {
            return kernel::symbols(&places.dir, warn);
        }
        if let Some(dir) = &places.symbol_dir {
            for name in [symfile::file_name(&self.id, "sym"), symfile::other_file_name(&self.id, "sym")] {
                // The user says that these are the symbols, wherever the module was: only its build has to be right.
                let file = SymFile::open(&dir.join(name)).ok();
                if let Some(file) = file.filter(|f| f.module.same_build(&self.id) && !f.symbols.is_empty()) {
                    return file.symbols;
                }
            }
        }
        match SymFile::load(&places.dir, &self.id) {
            Ok(Some(file)) => {
                if file.bad_lines > 0 {
                    let lines = file.bad_lines;
                    let name = symfile::file_name(&self.id, "sym");
                    let dir = places.dir.join(name);
                    warn.warn(format!("{}: {lines} lines make no sense, they are ignored", dir.display()));
                }
                if !file.symbols.is_empty() {
                    return file.symbols;
                }
            }
            Ok(None) => {}
            Err(e) => warn.warn(e.to_string()),
        }
        if !self.id.path.starts_with('/') {
            // A library that the program asked for by a relative path or by its name alone. The module itself could
            // be anywhere, but a symbol file may have been saved under the path it was found at.
            let file = SymFile::open(&places.dir.join(symfile::file_name(&self.id, "sym"))).ok();
            let file = file.filter(|file| !file.symbols.is_empty());
            if file.is_none() {
                warn.warn(format!("no symbols of {}: there is no symbol file in the trace", self.id.path));
            }
            return file.map(|file| file.symbols).unwrap_or_default();
        }
        self.symbols_of_image(warn)
    }

    fn symbols_of_image(&self, warn: &dyn Warn) -> SymbolTable {
        let path = &self.id.path;
        let image = match Image::open(Path::new(path)) {
            Ok(image) => image,
            Err(e) => {
                warn.warn(format!(
                    "no symbols of {path}: there is no symbol file in the trace, and the module: {e}"
                ));
                return SymbolTable::default();
            }
        };
        if let (Some(recorded), Some(now)) = (&self.id.build_id, image.build_id())
            && *recorded != now
        {
            warn.warn(format!(
                "no symbols of {path}: there is no symbol file in the trace, and the module has changed since the \
                 recording (build id {now}, recorded {recorded})"
            ));
            return SymbolTable::default();
        }
        image.symbols()
    }

    /// Where the module's debug information says that the function at a relative address is declared.
    pub(crate) fn line(&self, addr: u64) -> Option<SourceLine> {
        self.with_lines(|lines| lines.function(addr))
    }

    /// The line that the instruction at a relative address was made from, as the module's debug information says.
    pub(crate) fn line_of_address(&self, addr: u64) -> Option<SourceLine> {
        self.with_lines(|lines| lines.address(addr))
    }

    fn with_lines(&self, ask: impl FnOnce(&SourceMap) -> Option<SourceLine>) -> Option<SourceLine> {
        let lines = self.lines.get_or_init(|| {
            let image = Image::open(Path::new(&self.id.path)).ok()?;
            let same = self.id.build_id.as_ref().is_none_or(|id| image.build_id().as_ref() == Some(id));
            if same { SourceMap::open(&image).ok().map(Mutex::new) } else { None }
        });
        ask(&lines.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the trace keeps of the module's debug information.
    pub(crate) fn debug(&self, places: &Places, warn: &dyn Warn) -> &DbgFile {
        self.debug.get_or_init(|| match DbgFile::load(&places.dir, &self.id) {
            Ok(file) => file.unwrap_or_default(),
            Err(e) => {
                warn.warn(e.to_string());
                DbgFile::default()
            }
        })
    }
}
