//! Functions of the kernel, by the symbols of a recording.

use super::{KERNEL, place};
use crate::kernel::symbol_table;
use crate::{CodePlace, Function, FunctionId, FunctionKind, Resolver};
use fathom_symbols::{Symbol, SymbolTable};
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// All functions that have been met.
#[derive(Debug)]
pub(super) struct Functions {
    kallsyms: Arc<[u8]>,
    symbols: OnceLock<SymbolTable>,
    met: Mutex<Met>,
}

#[derive(Debug, Default)]
struct Met {
    list: Vec<Function>,
    /// By the address that they begin at; those without a symbol by the address that was met.
    by_addr: FxHashMap<u64, FunctionId>,
}

impl Functions {
    pub(super) fn new(kallsyms: Arc<[u8]>) -> Functions {
        Functions { kallsyms, symbols: OnceLock::new(), met: Mutex::default() }
    }

    fn symbols(&self) -> &SymbolTable {
        self.symbols.get_or_init(|| symbol_table(&self.kallsyms))
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, id: FunctionId) -> Function {
        let known = self.met().list.get(id.0 as usize).cloned();
        known.unwrap_or_else(|| unknown(0))
    }

    pub(super) fn each(&self, visit: &mut dyn FnMut(&Function)) {
        self.symbols().iter().for_each(|symbol| visit(&function(symbol)));
    }

    fn resolve(&self, addr: u64) -> FunctionId {
        // The last symbol of an excerpt has no size, but what begins at it is it.
        let table = self.symbols();
        let symbol =
            table.find(addr).or_else(|| table.at_or_before(addr).filter(|symbol| symbol.addr == addr));
        let key = symbol.map_or(addr, |symbol| symbol.addr);
        let mut met = self.met();
        if let Some(id) = met.by_addr.get(&key) {
            return *id;
        }
        let id = FunctionId(u32::try_from(met.list.len()).unwrap_or(u32::MAX));
        met.list.push(symbol.map_or_else(|| unknown(addr), function));
        met.by_addr.insert(key, id);
        id
    }
}

fn function(symbol: Symbol<'_>) -> Function {
    let name: Arc<str> = symbol.name.into();
    let (addr, size) = (symbol.addr, symbol.size);
    Function { raw_name: name.clone(), name, module: KERNEL.into(), addr, size, kind: FunctionKind::Kernel }
}

fn unknown(addr: u64) -> Function {
    let name: Arc<str> = format!("<{:x}>", addr & crate::record::ADDR).into();
    Function {
        raw_name: name.clone(),
        name,
        module: KERNEL.into(),
        addr,
        size: 0,
        kind: FunctionKind::Kernel,
    }
}

/// Resolves addresses, with those that were met before at hand.
pub(super) struct KernelResolver<'t> {
    functions: &'t Functions,
    near: FxHashMap<u64, FunctionId>,
}

impl<'t> KernelResolver<'t> {
    pub(super) fn new(functions: &'t Functions) -> KernelResolver<'t> {
        KernelResolver { functions, near: FxHashMap::default() }
    }
}

impl Resolver for KernelResolver<'_> {
    fn resolve(&mut self, _time: u64, addr: u64) -> FunctionId {
        *self.near.entry(addr).or_insert_with(|| self.functions.resolve(addr))
    }

    fn place(&mut self, time: u64, addr: u64) -> CodePlace {
        place(self.resolve(time, addr), self.functions, addr)
    }
}
