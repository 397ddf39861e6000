//! Numbers for functions, and the way from an address to one.

use super::Directory;
use super::address::AddressSpace;
use super::dat::{Measure, MeasurePayload};
use super::kernel;
use super::modules::ModuleIndex;
use crate::args::{self, ArgSpec, Length, Subject};
use crate::{CodePlace, Function, FunctionId, FunctionKind, Kind, Resolver, SessionSpan, Trace, record};
use fathom_symbols::dbgfile::SourceLine;
use fathom_symbols::{Symbol, SymbolKind, demangle};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// More unknown addresses than this share one function: only damaged traces have so many.
const MOST_UNKNOWN: usize = 1 << 20;

/// All functions that have been met.
#[derive(Debug, Default)]
pub(crate) struct Functions(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    list: Vec<Known>,
    by_symbol: FxHashMap<(ModuleIndex, u64), FunctionId>,
    unknown: FxHashMap<u64, FunctionId>,
    /// Argument specs by function, put together when first asked for.
    specs: FxHashMap<FunctionId, Arc<[ArgSpec]>>,
}

/// A function and where its symbol is.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) function: Function,
    /// Module and address in it.
    pub(crate) symbol: Option<(ModuleIndex, u64)>,
}

impl Functions {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, id: FunctionId) -> Option<Known> {
        self.lock().list.get(id.0 as usize).cloned()
    }

    fn of_symbol(&self, module: ModuleIndex, symbol: Symbol, make: impl FnOnce() -> Function) -> FunctionId {
        let mut table = self.lock();
        if let Some(id) = table.by_symbol.get(&(module, symbol.addr)) {
            return *id;
        }
        let id = table.push(Known { function: make(), symbol: Some((module, symbol.addr)) });
        table.by_symbol.insert((module, symbol.addr), id);
        id
    }

    fn of_unknown(&self, addr: u64, module: &str, kind: FunctionKind) -> FunctionId {
        let mut table = self.lock();
        if let Some(id) = table.unknown.get(&addr) {
            return *id;
        }
        let many = table.unknown.len() >= MOST_UNKNOWN;
        // The one for the rest has an address that no record can have.
        let key = if many { u64::MAX } else { addr };
        if let Some(id) = table.unknown.get(&key) {
            return *id;
        }
        // As many digits as the format keeps of an address.
        let shown = addr & record::ADDR;
        let name = if many { "<...>".into() } else { format!("<{shown:x}>").into() };
        let function = unknown(name, module, addr, kind);
        let id = table.push(Known { function, symbol: None });
        table.unknown.insert(key, id);
        id
    }
}

impl Table {
    fn push(&mut self, known: Known) -> FunctionId {
        let id = FunctionId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        self.list.push(known);
        id
    }
}

pub(crate) fn unknown(name: Arc<str>, module: &str, addr: u64, kind: FunctionKind) -> Function {
    Function { raw_name: name.clone(), name, module: module.into(), addr, size: 0, kind }
}

/// Slots of a resolver's first cache: 16 KiB, half of a processor's first level cache.
const SLOTS: usize = 1024;

#[derive(Clone, Copy)]
struct Slot {
    addr: u64,
    id: FunctionId,
}

/// Resolves addresses of one task.
///
/// The caches are good for one stretch of time in which the task's address space stays as it is.
pub(crate) struct TaskResolver<'t> {
    dir: &'t Directory,
    sessions: &'t [SessionSpan],
    session: usize,
    from: u64,
    until: u64,
    near: Box<[Slot; SLOTS]>,
    far: FxHashMap<u64, FunctionId>,
    places: FxHashMap<u64, CodePlace>,
}

impl<'t> TaskResolver<'t> {
    pub(crate) fn new(dir: &'t Directory, sessions: &'t [SessionSpan]) -> Self {
        let near = Box::new([Slot { addr: 0, id: FunctionId(0) }; SLOTS]);
        // An empty stretch, so that the first address sets it.
        TaskResolver {
            dir,
            sessions,
            session: 0,
            from: 1,
            until: 0,
            near,
            far: FxHashMap::default(),
            places: FxHashMap::default(),
        }
    }

    #[cold]
    fn look_up(&mut self, time: u64, addr: u64) -> FunctionId {
        if !(self.from <= time && time < self.until) {
            self.enter_stretch(time);
        }
        let found = self.far.get(&addr).copied();
        let id = found.unwrap_or_else(|| {
            let id = self.dir.function_at(self.session, time, addr);
            self.far.insert(addr, id);
            id
        });
        self.near[slot_of(addr)] = Slot { addr, id };
        id
    }

    /// Finds the stretch of time around `time`, and forgets what was true in another one.
    fn enter_stretch(&mut self, time: u64) {
        let after = self.sessions.partition_point(|span| span.from <= time);
        let span = after.checked_sub(1).and_then(|i| self.sessions.get(i));
        self.session = span.map_or(0, |span| span.session);
        let next = self.sessions.get(after).map_or(u64::MAX, |span| span.from);
        let (from, until) = self.dir.space(self.session).span(time);
        self.from = from.max(span.map_or(0, |span| span.from));
        self.until = until.min(next);
        self.far.clear();
        self.places.clear();
        // Address 0 belongs into slot 0 and 1 does not, so none of these is ever taken for a result.
        self.near.fill(Slot { addr: 0, id: FunctionId(0) });
        self.near[0].addr = 1;
    }
}

/// Multiplication moves what differs in low bits to the top.
#[inline]
fn slot_of(addr: u64) -> usize {
    (addr.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.trailing_zeros())) as usize
}

impl Resolver for TaskResolver<'_> {
    #[inline]
    fn resolve(&mut self, time: u64, addr: u64) -> FunctionId {
        let slot = self.near[slot_of(addr)];
        if slot.addr == addr && self.from <= time && time < self.until {
            slot.id
        } else {
            self.look_up(time, addr)
        }
    }

    fn place(&mut self, time: u64, addr: u64) -> CodePlace {
        if !(self.from <= time && time < self.until) {
            self.enter_stretch(time);
        }
        let (dir, session) = (self.dir, self.session);
        self.places.entry(addr).or_insert_with(|| dir.place_at(session, time, addr)).clone()
    }
}

impl Directory {
    /// The function at an address, by the modules that a session had at that time.
    fn function_at(&self, session: usize, time: u64, addr: u64) -> FunctionId {
        let space = self.space(session);
        if let Some(id) = self.kernel_function(addr) {
            return id;
        }
        if let Some((base, module)) = space.mapped(addr) {
            return self.function_in(module, base, addr).unwrap_or_else(|| {
                let path = self.modules.get(module).map_or("[unknown]", |m| m.id.path.as_str());
                self.functions.of_unknown(addr, path, FunctionKind::Unknown)
            });
        }
        if let Some(full) = space.kernel_addr(addr) {
            return self
                .kernel_function(full)
                .unwrap_or_else(|| self.functions.of_unknown(full, kernel::MODULE, FunctionKind::Kernel));
        }
        for library in space.opened(time).filter(|library| library.base <= addr) {
            if let Some(id) = self.function_in(library.module, library.base, addr) {
                return id;
            }
        }
        self.functions.of_unknown(addr, "[unknown]", FunctionKind::Unknown)
    }

    /// The function of the kernel at an address, if the address is one of the kernel: its highest bit tells.
    fn kernel_function(&self, addr: u64) -> Option<FunctionId> {
        let kernel = self.kernel.as_ref().filter(|_| addr >> 63 == 1)?;
        Some(
            self.function_in(kernel.module, 0, addr)
                .unwrap_or_else(|| self.functions.of_unknown(addr, kernel::MODULE, FunctionKind::Kernel)),
        )
    }

    /// Where an instruction is, by the modules that a session had at that time.
    fn place_at(&self, session: usize, time: u64, addr: u64) -> CodePlace {
        let function = self.function_at(session, time, addr);
        let nowhere = CodePlace { function, offset: 0, line: None };
        let Some(Known { symbol: Some((index, start)), .. }) = self.functions.get(function) else {
            return nowhere;
        };
        let space = self.space(session);
        let opened = || {
            let mut libraries = space.opened(time).filter(|library| library.base <= addr);
            libraries.find(|library| library.module == index).map(|library| library.base)
        };
        let Some(base) = space.mapped(addr).map(|(base, _)| base).or_else(opened) else { return nowhere };
        let relative = addr.saturating_sub(base);
        let line = self.modules.get(index).and_then(|module| module.line_of_address(relative));
        CodePlace { offset: relative.saturating_sub(start), line, ..nowhere }
    }

    /// Enumerations of all modules, and then those that the recorder knows by itself.
    pub(crate) fn all_enums(&self) -> Vec<String> {
        let modules = self.spaces.iter().flat_map(AddressSpace::modules);
        let debug = modules
            .filter_map(|(_, index)| self.modules.get(index))
            .flat_map(|module| module.debug(&self.places, &self.warnings).enums.iter().cloned());
        let built_in = self.info.arg_specs.as_ref().map_or("", |specs| &specs.enums);
        debug.chain(built_in.split(';').map(str::to_owned)).collect()
    }

    /// Descriptions of types of all modules.
    pub(crate) fn all_types(&self) -> Vec<String> {
        let modules = self.spaces.iter().flat_map(AddressSpace::modules);
        modules
            .filter_map(|(_, index)| self.modules.get(index))
            .flat_map(|module| module.debug(&self.places, &self.warnings).types.iter().cloned())
            .collect()
    }

    /// The module that has the function which a library call calls: the first one that defines its name.
    pub(crate) fn library_with(&self, id: FunctionId) -> Option<Arc<str>> {
        let Known { function, symbol: Some((caller, _)) } = self.functions.get(id)? else { return None };
        if function.kind != FunctionKind::Plt {
            return None;
        }
        let mut others = self.spaces.iter().flat_map(AddressSpace::modules).map(|(_, index)| index);
        others.find_map(|index| {
            let module = self.modules.get(index).filter(|_| index != caller)?;
            let path = module.id.path.as_str();
            // The recorder's own library takes the place of functions that it passes on.
            if path.rsplit('/').next().is_some_and(|name| name.starts_with("libmcount")) {
                return None;
            }
            let symbol = module.symbols(&self.places, &self.warnings).by_name(&function.raw_name)?;
            (symbol.kind.is_function() && symbol.kind != SymbolKind::Plt).then(|| path.into())
        })
    }

    /// What is recorded with calls of a function.
    pub(crate) fn specs_of(&self, id: FunctionId) -> Arc<[ArgSpec]> {
        if let Some(specs) = self.functions.lock().specs.get(&id) {
            return specs.clone();
        }
        let specs: Arc<[ArgSpec]> = self.find_specs(id).into();
        self.functions.lock().specs.insert(id, specs.clone());
        specs
    }

    fn find_specs(&self, id: FunctionId) -> Vec<ArgSpec> {
        let Some(Known { function, symbol: Some((module, addr)) }) = self.functions.get(id) else {
            return Vec::new();
        };
        let Some(module) = self.modules.get(module) else { return Vec::new() };
        let debug = module.debug(&self.places, &self.warnings);
        let debug = debug.functions.iter().find(|f| f.addr == addr);
        let subject = Subject {
            raw_name: &function.raw_name,
            module: &function.module,
            plt: function.kind == FunctionKind::Plt,
        };
        self.arg_table().specs(subject, debug.map(|f| (f.best_args(), f.best_retval())))
    }

    fn function_of(&self, path: &str, base: u64, symbol: Symbol) -> Function {
        Function {
            name: demangle::demangle(symbol.name, self.demangle).as_ref().into(),
            raw_name: symbol.name.into(),
            module: path.into(),
            addr: base.wrapping_add(symbol.addr),
            size: symbol.size,
            kind: match symbol.kind {
                SymbolKind::Plt => FunctionKind::Plt,
                SymbolKind::Kernel => FunctionKind::Kernel,
                _ => FunctionKind::User,
            },
        }
    }

    /// Every function of every module, also of libraries that were opened later; each module once.
    pub(crate) fn every_function(&self, sources: bool, visit: &mut dyn FnMut(&Function, Option<&str>)) {
        let mut seen = FxHashSet::default();
        let modules = self.spaces.iter().flat_map(|space| space.modules().chain(space.opened_modules()));
        let kernel = self.kernel.iter().map(|kernel| (0, kernel.module));
        for (base, index) in modules.chain(kernel).filter(|(_, index)| seen.insert(*index)) {
            let Some(module) = self.modules.get(index) else { continue };
            let debug = sources.then(|| module.debug(&self.places, &self.warnings));
            let untold = debug.is_some_and(|debug| debug.functions.is_empty());
            let lines: FxHashMap<u64, &str> = debug
                .into_iter()
                .flat_map(|debug| &debug.functions)
                .filter_map(|function| Some((function.addr, function.line.as_ref()?.file.as_str())))
                .collect();
            for symbol in module.symbols(&self.places, &self.warnings).iter() {
                if symbol.kind.is_function() {
                    let function = self.function_of(&module.id.path, base, symbol);
                    let ask = untold && function.kind == FunctionKind::User;
                    let line = if ask { module.line(symbol.addr) } else { None };
                    let told = lines.get(&symbol.addr).copied();
                    visit(&function, told.or(line.as_ref().map(|line| line.file.as_str())));
                }
            }
        }
    }

    /// Where a function is declared: as the trace says, or if that says nothing of the module, as the module does.
    pub(crate) fn declaration_of(&self, id: FunctionId) -> Option<SourceLine> {
        let Known { function, symbol: Some((module, addr)) } = self.functions.get(id)? else { return None };
        if function.kind != FunctionKind::User {
            return None;
        }
        let module = self.modules.get(module)?;
        let debug = module.debug(&self.places, &self.warnings);
        if debug.functions.is_empty() {
            return module.line(addr);
        }
        debug.functions.iter().find(|function| function.addr == addr)?.line.clone()
    }

    /// The source file of a function, from where [`Directory::declaration_of`] has it.
    pub(crate) fn file_of(&self, id: FunctionId) -> Option<Arc<str>> {
        self.declaration_of(id).map(|line| line.file.into())
    }

    fn function_in(&self, index: ModuleIndex, base: u64, addr: u64) -> Option<FunctionId> {
        let module = self.modules.get(index)?;
        let symbol = module.symbols(&self.places, &self.warnings).find(addr.checked_sub(base)?)?;
        let make = || self.function_of(&module.id.path, base, symbol);
        let id = self.functions.of_symbol(index, symbol, make);
        Some(id)
    }
}

/// Measures payloads of one task's records.
pub(crate) struct SpecMeasure<'t> {
    dir: &'t Directory,
    resolver: TaskResolver<'t>,
    /// Specs by function; those of functions without payloads are not asked for.
    specs: FxHashMap<FunctionId, Arc<[ArgSpec]>>,
}

impl<'t> SpecMeasure<'t> {
    pub(crate) fn new(dir: &'t Directory, sessions: &'t [SessionSpan]) -> Self {
        SpecMeasure { dir, resolver: TaskResolver::new(dir, sessions), specs: FxHashMap::default() }
    }
}

impl MeasurePayload for SpecMeasure<'_> {
    fn measure(&mut self, kind: Kind, time: u64, addr: u64, bytes: &[u8]) -> Measure {
        let id = self.resolver.resolve(time, addr);
        let specs = self.specs.entry(id).or_insert_with(|| self.dir.specs_of(id));
        match args::length(specs, kind, bytes, self.dir.info.endian) {
            Length::Bytes(len) => Measure::Is { whole: len.next_multiple_of(8), start: 0, len },
            Length::CutOff => Measure::CutOff,
            Length::NoSpec => Measure::NoSpec { function: self.dir.function(id).name.to_string() },
            Length::TooLong => Measure::Damaged("a payload that is longer than any".to_owned()),
        }
    }
}
