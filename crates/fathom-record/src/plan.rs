//! Decides what the runtime is to change in a process image: which GOT entries, which patchable sites.

use crate::detours::{self, Detours};
pub(crate) use crate::modules::{Module, modules};
use crate::patterns::Patterns;
use crate::plan_cache::PlanCache;
use crate::probes::{self, Probes};
use crate::rules::{Compiled, Selector};
use crate::{leaf, plan_file, sites};
use fathom_abi::plan::{
    self, MODE_PROBES, SLED_ENTRY, SLOT_LAZY, SLOT_READ_ONLY, SLOT_RECORD, Site, Slot, kind,
};
use fathom_symbols::SymbolKind;
use fathom_symbols::demangle::{Style, demangle};
use fathom_symbols::elf::{Image, PltSlot, SlotKind};
use fathom_symbols::lines::SourceMap;
use rustc_hash::FxHashMap;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which library calls are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LibCalls {
    /// None.
    None,
    /// Those that the executable makes.
    #[default]
    Executable,
    /// Those that libraries make among each other too.
    Nested,
}

/// What is known about an ELF file, kept for all processes that map it.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) build_id: Option<String>,
    pub(crate) slots: Vec<PltSlot>,
    /// Relative range of `.plt`, where lazily bound slots point at first.
    pub(crate) lazy: Option<(u64, u64)>,
    /// Relative address of a return instruction outside of all unwind information.
    pub(crate) gadget: Option<u64>,
    /// Relative addresses, with what stands there and whether that is a call of the hook.
    pub(crate) sites: Vec<(u64, Vec<u8>, bool)>,
    /// Both ends of functions, ascending by address.
    pub(crate) sleds: Vec<sites::Sled>,
    /// Functions that can be patched though they have no site.
    pub(crate) detours: Detours,
    /// What rules can be about; empty where there are none. Those of the module, and the library functions that it calls.
    pub(crate) functions: Vec<Function>,
    /// Global variables of up to 8 bytes.
    pub(crate) variables: Vec<Variable>,
    /// Static probes that are to be recorded.
    pub(crate) probes: Vec<probes::Known>,
    /// Static probes, recorded or not: `provider:name`.
    pub(crate) probe_names: Vec<(String, String)>,
    /// How many of the C library's probes were to be recorded.
    pub(crate) core_probes: u32,
}

/// A function of a file.
#[derive(Debug)]
pub(crate) struct Function {
    /// Relative address.
    pub(crate) at: u64,
    /// Addresses that it is known by.
    pub(crate) len: u64,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Name in the symbol table.
    pub(crate) raw: String,
    /// Name as shown.
    pub(crate) shown: String,
    /// A library function that the module calls.
    pub(crate) plt: bool,
    /// It certainly calls nothing: leaving it out with all it calls is leaving it out.
    pub(crate) leaf: bool,
    /// Source file.
    pub(crate) source: Option<String>,
}

/// A variable of a file.
#[derive(Debug)]
pub(crate) struct Variable {
    /// Relative address.
    pub(crate) at: u64,
    /// Size in bytes.
    pub(crate) size: u64,
    pub(crate) name: String,
}

/// A plan, and what it could not cover.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    slots: Vec<Slot>,
    sites: Vec<Site>,
    sleds: Vec<plan::Sled>,
    tables: detours::Tables,
    strings: Vec<u8>,
    names: HashMap<String, u32>,
    /// Library functions that are called through a pointer that the program also uses as data.
    pub(crate) ambiguous: u32,
    pub(crate) rules: Compiled,
    pub(crate) probes: Probes,
}

impl Plan {
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
            && self.sites.is_empty()
            && self.sleds.is_empty()
            && self.tables.detours.is_empty()
            && self.rules.mode == 0
    }

    /// Numbers of slots and sites.
    pub(crate) fn len(&self) -> (usize, usize) {
        let calls = self.sites.iter().filter(|site| site.calls != 0).count();
        (self.slots.len(), calls + self.patched())
    }

    /// How many functions are traced only because they are patched.
    pub(crate) fn patched(&self) -> usize {
        let entries = self.sleds.iter().filter(|sled| sled.kind == SLED_ENTRY).count();
        self.sites.iter().filter(|site| site.calls == 0).count() + entries + self.tables.detours.len()
    }

    fn string(&mut self, text: &str) -> u32 {
        if let Some(&at) = self.names.get(text) {
            return at;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.names.insert(text.to_owned(), at);
        at
    }

    /// The file that the runtime maps.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        plan_file::bytes(
            &plan_file::Hooks {
                slots: &self.slots,
                sites: &self.sites,
                sleds: &self.sleds,
                probes: &self.probes.probes,
                operands: &self.probes.operands,
                texts: &self.tables.texts,
                detours: &self.tables.detours,
                fixups: &self.tables.fixups,
                code: &self.tables.code,
                strings: &self.strings,
            },
            &self.rules,
        )
    }
}

/// Makes plans. Remembers the files that it has read.
pub(crate) struct Planner {
    libcalls: LibCalls,
    patch: Patterns,
    pub(crate) selector: Selector,
    /// Events of probes.
    pub(crate) ids: probes::Ids,
    cache: Option<PlanCache>,
    known: FxHashMap<(PathBuf, u32, u32, u64), Arc<Known>>,
}

impl Planner {
    pub(crate) fn new(libcalls: LibCalls, patch: Patterns, selector: Selector) -> Planner {
        Planner {
            libcalls,
            patch,
            selector,
            ids: probes::Ids::default(),
            cache: None,
            known: FxHashMap::default(),
        }
    }

    /// Keeps analyses of modules in a directory, and takes those that are there.
    pub(crate) fn keep(&mut self, dir: Option<&Path>) {
        self.cache = dir.map(PlanCache::new);
    }

    /// What the user should know, once.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        self.cache.as_mut().map(PlanCache::take_notes).unwrap_or_default()
    }

    /// What is known about a module's file. A file that cannot be read has nothing to hook.
    pub(crate) fn known(&mut self, module: &Module) -> Arc<Known> {
        let key = (module.path.clone(), module.file.0, module.file.1, module.file.2);
        if let Some(known) = self.known.get(&key) {
            return Arc::clone(known);
        }
        let known = Arc::new(self.read(&module.path));
        self.known.insert(key, Arc::clone(&known));
        known
    }

    fn read(&mut self, path: &Path) -> Known {
        let Ok(image) = Image::open(path) else { return Known::default() };
        let mut known = Known { build_id: image.build_id(), ..Known::default() };
        let events = &self.selector.selection().events;
        if events.may_have_probes() {
            probes::read(&image, events, &mut known);
        }
        if is_core_library(path) {
            // It runs code with all signals blocked, and a trap there would end the process.
            known.core_probes = std::mem::take(&mut known.probes).len() as u32;
            self.read_detours(&image, path, &mut known);
            if self.selector.selects() && !known.detours.sites.is_empty() {
                read_functions(&image, &file_name(path), &mut known);
            }
            return known;
        }
        known.slots = image.plt_slots();
        known.lazy = image.section(".plt").map(|s| {
            let start = s.addr.wrapping_sub(image.link_base());
            (start, start + s.size)
        });
        known.gadget = bare_return(&image);
        sites::read(&image, &self.patch, &file_name(path), &mut known);
        self.read_detours(&image, path, &mut known);
        if self.selector.selects() {
            read_functions(&image, &file_name(path), &mut known);
            if self.selector.needs_source() {
                read_sources(&image, &mut known);
            }
        }
        known
    }

    /// Looks for functions to patch where they were not compiled for it.
    fn read_detours(&mut self, image: &Image, path: &Path, known: &mut Known) {
        let module = file_name(path);
        if !self.patch.is_about(&module) {
            return;
        }
        let analysis = match &mut self.cache {
            Some(cache) => cache.analysis(image),
            None => fathom_patch::analyse(image, &fathom_patch::Options::default()),
        };
        let symbols = image.symbols_with(&known.slots);
        known.detours = detours::choose(image, (&symbols, analysis), &self.patch, &module, known);
    }

    /// The rules for a process with these modules.
    pub(crate) fn rules(&mut self, all: &[Module], exe: &Path, ticks: f64) -> Compiled {
        let mapped: Vec<_> = all.iter().map(|module| (module, self.known(module))).collect();
        self.selector.compile(&mapped, exe, ticks)
    }

    /// The plan for new modules of a process that has `all` of these; `exe` is the path of its executable, and `ticks` are
    /// units of the raw clock per ns. Libraries that are `there` where they were before may have gone and come back since:
    /// what is patched in them is patched again if it is not.
    pub(crate) fn plan(
        &mut self,
        (new, there): (&[Module], &[Module]),
        all: &[Module],
        exe: &Path,
        ticks: f64,
    ) -> Plan {
        let mut plan = Plan { rules: self.rules(all, exe, ticks), ..Plan::default() };
        let is_final = self.selector.is_final();
        let new = new.iter().map(|module| (module, false));
        let mut modules: Vec<_> = new.chain(there.iter().map(|module| (module, true))).collect();
        modules.sort_by_key(|(module, _)| module.start);
        for (module, again) in modules {
            let known = self.known(module);
            if !again {
                let record = match self.libcalls {
                    LibCalls::None => false,
                    LibCalls::Executable => module.path == exe,
                    LibCalls::Nested => true,
                };
                for slot in &known.slots {
                    let wanted = record && !(is_final && plan.rules.is_never(module.start + slot.plt));
                    add_slot(&mut plan, module, &known, slot, wanted);
                }
                plan.probes.add(module, &known.probes, &mut self.ids);
            }
            add_patches(&mut plan, module, &known, is_final, again);
        }
        plan
    }
}

/// What is to be patched in a module.
fn add_patches(plan: &mut Plan, module: &Module, known: &Known, is_final: bool, again: bool) {
    let never = |addr| is_final && plan.rules.is_never(addr);
    let sites = known.sites.iter().filter_map(|(at, bytes, calls)| {
        let mut expect = [0; 8];
        expect[..bytes.len()].copy_from_slice(bytes);
        let (addr, len) = (module.start + at, bytes.len() as u8);
        let silence = never(addr + u64::from(len));
        // A NOP that nothing has to be recorded at stays as it is.
        (*calls || !silence).then_some(Site {
            addr,
            expect,
            len,
            calls: u8::from(*calls),
            silence: u8::from(silence),
            again: u8::from(again),
            reserved: [0; 4],
        })
    });
    plan.sites.extend(sites);
    let sleds = known.sleds.iter().filter(|sled| !never(module.start + sled.function));
    plan.sleds.extend(sleds.map(|sled| plan::Sled {
        addr: module.start + sled.at,
        function: module.start + sled.function,
        kind: sled.kind,
        again: u8::from(again),
        reserved: [0; 6],
    }));
    for (at, site) in &known.detours.sites {
        if !never(module.start + at) {
            plan.tables.add(module, *at, site, again);
        }
    }
    plan.tables.add_texts(module);
}

/// The name that patterns know a module by.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The functions that rules can be about.
fn read_functions(image: &Image, module: &str, known: &mut Known) {
    let found = image.instrumentation();
    let function = |at, len, size, raw: &str, plt| Function {
        at,
        len,
        size,
        raw: raw.to_owned(),
        shown: demangle(raw, Style::Simple).into_owned(),
        plt,
        leaf: false,
        source: None,
    };
    let symbols = image.symbols();
    if found.any() || !known.detours.sites.is_empty() {
        let own = symbols.iter().filter(|symbol| symbol.kind.is_function() && symbol.kind != SymbolKind::Plt);
        let hooks: Vec<u64> = known
            .slots
            .iter()
            .filter(|slot| is_ours(&slot.name))
            .flat_map(|slot| [slot.plt, slot.got])
            .collect();
        known.functions.extend(own.map(|s| Function {
            leaf: image.data_at(s.addr, s.size).is_some_and(|code| leaf::calls_nothing(code, s.addr, &hooks)),
            ..function(s.addr, s.size, s.size, s.name, false)
        }));
    }
    known.functions.extend(known.detours.unnamed.iter().map(|&(at, len)| {
        let hooks = [];
        Function {
            leaf: image.data_at(at, len).is_some_and(|code| leaf::calls_nothing(code, at, &hooks)),
            ..function(at, len, len, &detours::unnamed(module, at), false)
        }
    }));
    /// What the peer takes for the size of an entry.
    const ENTRY: u64 = 16;
    known.functions.extend(known.slots.iter().map(|slot| function(slot.plt, 1, ENTRY, &slot.name, true)));
    let data = symbols.iter().filter(|s| !s.kind.is_function() && (1..=8).contains(&s.size));
    known.variables.extend(data.map(|s| Variable { at: s.addr, size: s.size, name: s.name.to_owned() }));
}

/// Where the functions are declared.
fn read_sources(image: &Image, known: &mut Known) {
    let Ok(lines) = SourceMap::open(image) else { return };
    for function in known.functions.iter_mut().filter(|function| !function.plt) {
        function.source = lines.function(function.at).map(|line| line.file.to_string());
    }
}

/// The return instruction at the end of `.fini` or `.init`: those come from the C library's start files, which have no
/// unwind information, so that an unwinder that gets there stops.
fn bare_return(image: &Image) -> Option<u64> {
    const RET: u8 = 0xc3;
    [".fini", ".init"].iter().find_map(|name| {
        let section = image.section(name)?;
        let at = image.section_data(section)?.iter().rposition(|&c| c == RET)?;
        Some(section.addr.wrapping_sub(image.link_base()) + at as u64)
    })
}

fn add_slot(plan: &mut Plan, module: &Module, known: &Known, slot: &PltSlot, record: bool) {
    let with_probes = plan.rules.mode & MODE_PROBES != 0;
    let kind = match kind_of(&slot.name) {
        kind::SIGNAL..=kind::SIGNAL_SET6 if !with_probes => kind::NORMAL,
        kind => kind,
    };
    if !slot.called || is_ours(&slot.name) || (!record && kind == kind::NORMAL) {
        return;
    }
    let got = module.start + slot.got;
    let mut flags = 0;
    if slot.kind == SlotKind::GlobDat {
        if !slot.is_function {
            return;
        }
        if slot.loaded {
            // The pointer is also data: it may be compared with others.
            plan.ambiguous += u32::from(record);
            return;
        }
    } else {
        flags |= SLOT_LAZY;
    }
    if record && !is_silent(&slot.name) {
        flags |= SLOT_RECORD;
    } else if kind == kind::NORMAL {
        return;
    }
    if !module.writable.iter().any(|&(from, to)| (from..to).contains(&got)) {
        flags |= SLOT_READ_ONLY;
    }
    let lazy = known.lazy.map_or((module.start, module.end), |(a, b)| (module.start + a, module.start + b));
    let name = plan.string(&slot.name);
    let version = slot.version.as_ref().map_or(u32::MAX, |v| plan.string(v));
    plan.slots.push(Slot {
        got,
        addr: module.start + slot.plt,
        lazy_from: lazy.0,
        lazy_to: lazy.1,
        name,
        version,
        gadget: known.gadget.map_or(0, |at| module.start + at),
        kind,
        flags,
        reserved: [0; 6],
    });
}

/// Libraries whose own calls are never hooked: they are what the runtime and the program stand on.
fn is_core_library(path: &Path) -> bool {
    const CORE: [&str; 7] = ["libc", "libm", "libgcc_s", "libpthread", "libdl", "ld-linux-x86-64", "librt"];
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    // `libc.so.6`, `libc-2.31.so`: the name up to the version.
    let stem = name.split(".so").next().unwrap_or_default();
    let stem = stem.split_once("-2.").map_or(stem, |(stem, _)| stem);
    CORE.contains(&stem)
}

/// Hooks themselves.
pub(crate) fn is_ours(name: &str) -> bool {
    matches!(
        name,
        "mcount" | "_mcount" | "__fentry__" | "__cyg_profile_func_enter" | "__cyg_profile_func_exit"
    )
}

/// Library functions that are not recorded: start-up, clean-up, and the machinery of exceptions.
fn is_silent(name: &str) -> bool {
    matches!(
        name,
        "_mcleanup"
            | "__libc_start_main"
            | "__gmon_start__"
            | "__cxa_throw"
            | "__cxa_rethrow"
            | "__cxa_begin_catch"
            | "__cxa_end_catch"
            | "__cxa_finalize"
            | "__gxx_personality_v0"
            | "_Unwind_Resume"
            | "_Unwind_RaiseException"
            | "_Unwind_Resume_or_Rethrow"
            | "_Unwind_ForcedUnwind"
            | "_Unwind_Backtrace"
            | "_ITM_deregisterTMCloneTable"
            | "_ITM_registerTMCloneTable"
    )
}

/// What is special about a function.
fn kind_of(name: &str) -> u8 {
    match name {
        "setjmp" | "_setjmp" | "sigsetjmp" | "__sigsetjmp" | "getcontext" | "dlsym" | "dlvsym"
        | "dlmopen" | "__libc_start_main" | "backtrace" => kind::PAIR,
        "vfork" | "__vfork" => kind::VFORK,
        "longjmp" | "_longjmp" | "siglongjmp" | "__longjmp_chk" => kind::LONGJMP,
        "__cxa_begin_catch" | "_Unwind_Resume" => kind::LANDING,
        "dlopen" => kind::DLOPEN,
        "dlclose" => kind::DLCLOSE,
        "exit" | "_exit" | "_Exit" | "quick_exit" | "abort" | "daemon" => kind::FLUSH,
        "swapcontext" | "setcontext" | "makecontext" => kind::CONTEXT,
        "execv" | "execvp" | "execl" | "execlp" => kind::EXEC,
        "execve" | "execvpe" | "fexecve" => kind::EXEC_ENV3,
        "execveat" => kind::EXEC_ENV4,
        "posix_spawn" | "posix_spawnp" => kind::SPAWN_ENV6,
        "execle" => kind::EXECLE,
        "signal" | "bsd_signal" | "sysv_signal" | "__sysv_signal" | "ssignal" | "sigset" | "sighold"
        | "sigignore" => kind::SIGNAL,
        "sigaction" | "__sigaction" => kind::SIGACTION,
        "sigsuspend" => kind::SIGNAL_SET1,
        "sigprocmask" | "pthread_sigmask" | "pthread_attr_setsigmask_np" => kind::SIGNAL_SET2,
        "ppoll" | "__ppoll_chk" => kind::SIGNAL_SET4,
        "epoll_pwait" | "epoll_pwait2" => kind::SIGNAL_SET5,
        "pselect" => kind::SIGNAL_SET6,
        _ => kind::NORMAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_libraries() {
        for name in ["/lib/libc.so.6", "/lib/libc-2.31.so", "/lib64/ld-linux-x86-64.so.2", "/lib/libm.so.6"] {
            assert!(is_core_library(Path::new(name)), "{name}");
        }
        for name in ["/lib/libcrypto.so.3", "/lib/libmagic.so.1", "/bin/cat"] {
            assert!(!is_core_library(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn layout_is_that_of_the_runtime() {
        let mut plan = Plan::default();
        let name = plan.string("f");
        assert_eq!(plan.string("f"), name);
        plan.slots.push(Slot {
            got: 1,
            addr: 2,
            lazy_from: 3,
            lazy_to: 4,
            name,
            version: u32::MAX,
            gadget: 0,
            kind: kind::PAIR,
            flags: SLOT_RECORD,
            reserved: [0; 6],
        });
        plan.sites.push(Site {
            addr: 5,
            expect: [0x90; 8],
            len: 5,
            calls: 0,
            silence: 0,
            again: 0,
            reserved: [0; 4],
        });
        let bytes = plan.to_bytes();
        assert_eq!(
            bytes.len(),
            size_of::<fathom_abi::plan::Header>() + size_of::<Slot>() + size_of::<Site>() + 2
        );
        let slot = size_of::<fathom_abi::plan::Header>();
        assert_eq!(bytes[slot + std::mem::offset_of!(Slot, kind)], kind::PAIR);
        assert_eq!(bytes[slot + std::mem::offset_of!(Slot, flags)], SLOT_RECORD);
        assert_eq!(bytes[slot + size_of::<Slot>()], 5);
    }
}
