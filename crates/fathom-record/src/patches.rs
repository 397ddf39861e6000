//! What came of the functions that were asked to be patched, for people.

use crate::detours::Unpatched;
use crate::plan::Known;
use fathom_abi::plan::SLED_ENTRY;
use fathom_patch::{Reason, Refusal};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The file in a data directory that keeps the report.
pub const FILE: &str = "patches.txt";

/// What came of the functions of a module that were to be patched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patched {
    /// How many can be patched, as compiled for it or not.
    pub(crate) patched: usize,
    /// Those that are not.
    pub(crate) unpatched: Vec<Unpatched>,
    /// Functions without a symbol: first address and length.
    pub(crate) unnamed: Vec<(u64, u64)>,
    /// Why the whole module is left alone.
    pub(crate) refused: Option<Refusal>,
}

impl Patched {
    pub(crate) fn of(known: &Known) -> Patched {
        let detours = &known.detours;
        let sleds = known.sleds.iter().filter(|sled| sled.kind == SLED_ENTRY).count();
        let compiled_in = known.sites.iter().filter(|(.., calls)| !calls).count() + sleds;
        Patched {
            patched: detours.sites.len() + compiled_in,
            unpatched: detours.unpatched.clone(),
            unnamed: detours.unnamed.clone(),
            refused: detours.refused,
        }
    }
}

/// Those of a list by their reasons, in the order of [`Reason::ALL`], without the reasons that none has.
fn by_reason<'u>(unpatched: impl Iterator<Item = &'u Unpatched>) -> Vec<(Reason, Vec<&'u Unpatched>)> {
    let mut all: Vec<(Reason, Vec<&Unpatched>)> = Reason::ALL.iter().map(|r| (*r, Vec::new())).collect();
    for one in unpatched {
        if let Some((_, list)) = all.iter_mut().find(|(reason, _)| *reason == one.reason) {
            list.push(one);
        }
    }
    all.retain(|(_, list)| !list.is_empty());
    all
}

/// The report: a line for each module, below it one for each reason, and below that the functions. Empty where nothing was to
/// be patched.
pub(crate) fn report(modules: &BTreeMap<PathBuf, Patched>) -> String {
    let mut text = String::new();
    for (path, module) in modules {
        if let Some(refusal) = module.refused {
            let _ = writeln!(text, "{}: nothing is patched: {refusal}", path.display());
            continue;
        }
        if module.patched + module.unpatched.len() == 0 {
            continue;
        }
        let (patched, not) = (module.patched, module.unpatched.len());
        let _ = writeln!(text, "{}: {patched} functions patched, {not} not", path.display());
        for (reason, list) in by_reason(module.unpatched.iter()) {
            let _ = writeln!(text, "  {}: {} ({reason})", reason.name(), list.len());
            for one in list {
                let _ = writeln!(text, "    {:#x} {}", one.at, one.name);
            }
        }
    }
    text
}

/// What the user should know without asking.
pub(crate) fn notes(modules: &BTreeMap<PathBuf, Patched>) -> Vec<String> {
    let mut notes: Vec<String> = modules
        .iter()
        .filter_map(|(path, module)| Some((path, module.refused?)))
        .map(|(path, refusal)| format!("nothing of {} is patched: {refusal}", short(path)))
        .collect();
    // What starts and ends a program is in every one, and nobody misses it.
    let missed = || {
        let all = modules.values().flat_map(|module| &module.unpatched);
        all.filter(|one| one.reason != Reason::Special)
    };
    let unpatched = missed().count();
    let patched: usize = modules.values().map(|module| module.patched).sum();
    if unpatched > 0 {
        let reasons: Vec<String> = by_reason(missed())
            .iter()
            .map(|(reason, list)| format!("{} {}", list.len(), reason.name()))
            .collect();
        notes.push(format!(
            "{unpatched} of {} functions that -P asks for are not patched ({}); record --patch-report lists them",
            unpatched + patched,
            reasons.join(", ")
        ));
    }
    notes
}

fn short(path: &Path) -> String {
    crate::plan::file_name(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> BTreeMap<PathBuf, Patched> {
        let one = |at, name: &str, reason| Unpatched { at, name: name.into(), reason };
        let program = Patched {
            patched: 3,
            unpatched: vec![
                one(0x10, "tiny", Reason::Short),
                one(0x20, "prog+0x20", Reason::Bounds),
                one(0x30, "small", Reason::Short),
            ],
            ..Patched::default()
        };
        let go = Patched { refused: Some(Refusal::Go), ..Patched::default() };
        [("/bin/prog", program), ("/lib/libgo.so", go), ("/lib/libc.so.6", Patched::default())]
            .into_iter()
            .map(|(path, module)| (path.into(), module))
            .collect()
    }

    #[test]
    fn reports_are_by_module_and_reason() {
        insta::assert_snapshot!(report(&modules()), @r"
        /bin/prog: 3 functions patched, 3 not
          bounds: 1 (only one source says that a function begins here)
            0x20 prog+0x20
          short: 2 (it is too short, and there is no padding near it)
            0x10 tiny
            0x30 small
        /lib/libgo.so: nothing is patched: it is a Go program, whose runtime checks and moves return addresses
        ");
    }

    #[test]
    fn notes_count() {
        insta::assert_snapshot!(notes(&modules()).join("\n"), @r"
        nothing of libgo.so is patched: it is a Go program, whose runtime checks and moves return addresses
        3 of 6 functions that -P asks for are not patched (1 bounds, 2 short); record --patch-report lists them
        ");
        assert!(notes(&BTreeMap::new()).is_empty());
        let start = Unpatched { at: 0x10, name: "_start".into(), reason: Reason::Special };
        let program = Patched { patched: 3, unpatched: vec![start], ..Patched::default() };
        assert!(notes(&[("/bin/prog".into(), program)].into()).is_empty());
    }
}
