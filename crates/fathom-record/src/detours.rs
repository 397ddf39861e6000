//! Functions that were not compiled to be patched: which of a module's are to be, and how they go into a plan.
//!
//! What can be patched, and what is written for it, `fathom-patch` has proven.

use crate::leaf;
use crate::patterns::Patterns;
use crate::plan::{Known, Module, is_ours};
use fathom_abi::plan::{self, FIXUP_ADDRESS, FIXUP_DISTANCE};
use fathom_patch::{Analysis, FixupKind, Reason, Refusal, Site};
use fathom_symbols::SymbolTable;
use fathom_symbols::elf::Image;

/// What was asked for of a module's functions, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Detours {
    /// Those to patch, ascending by address: where each begins, and how it is done.
    pub(crate) sites: Vec<(u64, Site)>,
    /// Those that were asked for and are not patched.
    pub(crate) unpatched: Vec<Unpatched>,
    /// All functions of the module that have no symbol: first address and length.
    pub(crate) unnamed: Vec<(u64, u64)>,
    /// Why the module is left alone as a whole.
    pub(crate) refused: Option<Refusal>,
}

/// A function that was asked for and is not patched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unpatched {
    /// Its first address in the module.
    pub(crate) at: u64,
    pub(crate) name: String,
    pub(crate) reason: Reason,
}

/// The name of a function without a symbol: that of its module and where it is.
pub(crate) fn unnamed(module: &str, at: u64) -> String {
    format!("{module}+{at:#x}")
}

/// Chooses among the functions of a module by the patterns. Those that report by themselves, or that have room for a
/// call, are left out.
pub(crate) fn choose(
    image: &Image,
    (symbols, analysis): (&SymbolTable, Analysis),
    patterns: &Patterns,
    module: &str,
    known: &Known,
) -> Detours {
    let mut chosen = Detours { refused: analysis.refused, ..Detours::default() };
    let hooks: Vec<u64> =
        known.slots.iter().filter(|slot| is_ours(&slot.name)).flat_map(|slot| [slot.plt, slot.got]).collect();
    for function in analysis.functions {
        let (at, len) = (function.start, function.end.saturating_sub(function.start));
        let symbol = symbols.find(at).filter(|symbol| symbol.addr == at && symbol.kind.is_function());
        let name = symbol.map_or_else(|| unnamed(module, at), |symbol| symbol.name.to_owned());
        if symbol.is_none() {
            chosen.unnamed.push((at, len));
        }
        let compiled_in = has_site(known, at)
            || (!hooks.is_empty()
                && image.data_at(at, len).is_some_and(|code| leaf::calls_any(code, at, &hooks)));
        if compiled_in || !patterns.matches(&name, module) {
            continue;
        }
        match function.verdict {
            Ok(site) => chosen.sites.push((at, site)),
            Err(reason) => chosen.unpatched.push(Unpatched { at, name, reason }),
        }
    }
    chosen
}

/// Whether a function has a site or a sled that was compiled in: at its beginning, or behind an `endbr64`.
fn has_site(known: &Known, at: u64) -> bool {
    const ENDBR64: u64 = 4;
    let site = known.sites.partition_point(|(site, ..)| *site < at);
    let sled = known.sleds.partition_point(|sled| sled.at < at);
    known.sites.get(site).is_some_and(|(site, ..)| *site <= at + ENDBR64)
        || known.sleds.get(sled).is_some_and(|sled| sled.function == at)
}

/// The tables of a plan that are about detours.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) texts: Vec<plan::Text>,
    pub(crate) detours: Vec<plan::Detour>,
    pub(crate) fixups: Vec<plan::Fixup>,
    pub(crate) code: Vec<u8>,
}

impl Tables {
    /// Adds a function of a module that begins at `start` in it.
    /// `again`: it may have been patched before.
    pub(crate) fn add(&mut self, module: &Module, start: u64, site: &Site, again: bool) {
        let mut expect = [0; 20];
        let len = site.original.len().min(expect.len());
        expect[..len].copy_from_slice(&site.original[..len]);
        let island = site.island.as_ref();
        self.detours.push(plan::Detour {
            addr: module.start.wrapping_add(start),
            at: module.start.wrapping_add(site.at),
            island: island.map_or(0, |island| module.start.wrapping_add(island.at)),
            code: self.code.len() as u32,
            fixup: self.fixups.len() as u32,
            expect,
            island_expect: island.map_or([0; 5], |island| island.original),
            expect_len: len as u8,
            code_len: site.code.len() as u8,
            fixups: site.fixups.len() as u8,
            again: u8::from(again),
            reserved: [0; 3],
        });
        self.code.extend_from_slice(&site.code);
        self.fixups.extend(site.fixups.iter().map(|fixup| plan::Fixup {
            to: module.start.wrapping_add(fixup.to),
            at: fixup.at,
            kind: match fixup.kind {
                FixupKind::Distance => FIXUP_DISTANCE,
                FixupKind::Address => FIXUP_ADDRESS,
            },
            reserved: [0; 6],
        }));
    }

    /// Adds the code of a module.
    pub(crate) fn add_texts(&mut self, module: &Module) {
        self.texts.extend(module.executable.iter().map(|&(start, end)| plan::Text { start, end }));
    }
}
