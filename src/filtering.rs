//! Applies the filters of the command line to a recording.

use crate::args::filters::{Filters, Selection, acts_on_recordings};
use crate::messages::{Failure, Log, exit};
use fathom_analysis::filter::{FilterError, FilterOptions, Filtered};
use fathom_filter::{Action, FunctionRule, Match, Scope, Spec, SpecError, SpecKind, Specs, Unmatched};
use fathom_store::{EventOptions, FunctionId, FunctionKind, Trace};
use fathom_tracefs::names::{Kind, modern};
use std::collections::HashSet;

/// What is to be shown.
#[derive(Clone, Debug)]
pub(crate) struct Filtering {
    pub(crate) specs: Specs,
    how: Match,
    pub(crate) options: FilterOptions,
}

/// A trace with or without a layer of filters on it.
pub(crate) enum Seen<'t> {
    All(&'t dyn Trace),
    Some(Filtered<'t>),
}

impl Seen<'_> {
    pub(crate) fn trace(&self) -> &dyn Trace {
        match self {
            Seen::All(trace) => *trace,
            Seen::Some(filtered) => filtered,
        }
    }

    /// What was said about a function.
    pub(crate) fn rule(&self, id: FunctionId) -> Option<FunctionRule> {
        match self {
            Seen::All(_) => None,
            Seen::Some(filtered) => filtered.rule(id),
        }
    }

    /// Whether it can be read from any moment on without reading what was before.
    pub(crate) fn is_seekable(&self) -> bool {
        match self {
            Seen::All(_) => true,
            Seen::Some(filtered) => filtered.is_seekable(),
        }
    }

    /// When the trace begins if that is not with the first event that is shown, ns.
    pub(crate) fn begin(&self, events: EventOptions) -> Result<Option<u64>, Failure> {
        match self {
            Seen::All(_) => Ok(None),
            Seen::Some(filtered) => filtered.begin(events).map(Some).map_err(unreadable),
        }
    }

    /// From when to when events are shown, ns.
    pub(crate) fn span(&self) -> (u64, u64) {
        match self {
            Seen::All(_) => (0, u64::MAX),
            Seen::Some(filtered) => filtered.span(),
        }
    }
}

/// A spec that makes no sense, as the command's failure.
pub(crate) fn bad_spec(error: SpecError) -> Failure {
    Failure::new(exit::TROUBLE, "reading the command line", error)
}

fn unreadable(error: fathom_store::Error) -> Failure {
    Failure::new(exit::UNREADABLE, "reading the recording", error)
}

impl Filtering {
    /// Everything that the options say.
    pub(crate) fn new(filters: &Filters, selection: &Selection) -> Result<Filtering, Failure> {
        let specs = filters.specs().map_err(bad_spec)?;
        Ok(Filtering { specs, how: filters.pattern(), options: selection.options(filters) })
    }

    /// What is left for the replay of live, whose recorder has applied the same filters: what is about lines, and what can
    /// be chosen in a recording only.
    pub(crate) fn after_recording(&self) -> Filtering {
        let kept = |action: &Action| matches!(action, Action::Backtrace | Action::Color(_) | Action::Hide);
        let left = |spec: &Spec| match spec.kind {
            SpecKind::Hide | SpecKind::Location => Some(spec.clone()),
            SpecKind::Trigger => {
                let actions: Vec<_> = spec.actions.iter().filter(|action| kept(action)).cloned().collect();
                (!actions.is_empty()).then(|| Spec { actions, ..spec.clone() })
            }
            _ => None,
        };
        let options = FilterOptions { depth: u32::MAX, size: 0, on: true, ..self.options.clone() };
        Filtering { specs: self.specs.filter_map(left), how: self.how, options }
    }

    /// Says which actions can have no effect: those that only the recorder could carry out and, unless it is a replay
    /// that is shown, those that are about its lines.
    pub(crate) fn note_useless(&self, replay: bool, log: &Log) {
        for spec in self.specs.iter() {
            if !spec.actions.iter().all(acts_on_recordings) {
                log.note(&format!("{}: values and counters can only be had while recording", spec.shown()));
            }
            let lines = |action: &Action| matches!(action, Action::Backtrace | Action::Color(_));
            if !replay && spec.actions.iter().any(lines) {
                log.note(&format!("{}: backtraces and colours are shown by replay only", spec.shown()));
            }
        }
    }

    /// Puts the filters on a trace; nothing if there are none. Says which specs match nothing.
    pub(crate) fn apply<'t>(&self, trace: &'t dyn Trace, log: &Log) -> Result<Seen<'t>, Failure> {
        if self.specs.is_empty() && self.options.is_nothing() {
            return Ok(Seen::All(trace));
        }
        let mut filtered = self.filtered(trace, &self.specs)?;
        let (specs, notes) = modern_names(&self.specs, &filtered.unmatched(), trace);
        if !notes.is_empty() {
            filtered = self.filtered(trace, &specs)?;
            notes.iter().for_each(|note| log.note(note));
        }
        for unmatched in filtered.unmatched() {
            log.warn(&format!("failed to set filter or trigger: {unmatched}"));
        }
        Ok(Seen::Some(filtered))
    }

    fn filtered<'t>(&self, trace: &'t dyn Trace, specs: &Specs) -> Result<Filtered<'t>, Failure> {
        let filtered = Filtered::new(trace, specs, self.how, self.options.clone());
        filtered.map_err(|error| match error {
            FilterError::Spec(error) => bad_spec(error),
            FilterError::NoTask { .. } => Failure::new(exit::TROUBLE, "choosing tasks", error),
            FilterError::Store(error) => unreadable(error),
        })
    }
}

/// Specs in which functions of the kernel that the trace does not have are called by the names that it has for them, and
/// what is to be told about that.
fn modern_names(specs: &Specs, unmatched: &[Unmatched], trace: &dyn Trace) -> (Specs, Vec<String>) {
    let of_kernel: Vec<&Spec> =
        unmatched.iter().map(|one| &one.spec).filter(|spec| spec.scope == Scope::Kernel).collect();
    if of_kernel.is_empty() {
        return (specs.clone(), Vec::new());
    }
    let mut known = HashSet::new();
    trace.all_functions(false, &mut |function, _| {
        if function.kind == FunctionKind::Kernel {
            known.insert(function.raw_name.to_string());
        }
    });
    let mut notes = Vec::new();
    let found: Vec<Option<(&Spec, &str)>> = of_kernel
        .into_iter()
        .map(|spec| {
            let (name, what) = modern(Kind::Function, &spec.name, |name| known.contains(name))?;
            let (shown, old) = (spec.shown(), &spec.name);
            notes.push(format!("{shown}: '{old}' ({what}) is '{name}' in this recording"));
            Some((spec, name))
        })
        .collect();
    let changed = |spec: &Spec| {
        let name = found.iter().flatten().find(|(old, _)| *old == spec).map(|(_, name)| (*name).to_owned());
        Some(Spec { name: name.unwrap_or_else(|| spec.name.clone()), ..spec.clone() })
    };
    (specs.filter_map(changed), notes)
}

/// Which events are wanted, with filters.
pub(crate) fn events(wanted: EventOptions, filters: &Filters, selection: &Selection) -> EventOptions {
    EventOptions {
        sched: wanted.sched && !filters.no_sched(),
        outside: selection.event_full,
        kernel: selection.kernel.records(),
        ..wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_live_leaves_for_its_replay() {
        let mut specs = Specs::new();
        specs.push(SpecKind::Filter, "a").unwrap();
        specs.push(SpecKind::Hide, "b").unwrap();
        specs.push(SpecKind::Trigger, "c@color=red,depth=2,trace_on;d@trace_off").unwrap();
        let options = FilterOptions { depth: 3, time: 9, size: 5, on: false, ..FilterOptions::default() };
        let left = Filtering { specs, how: Match::Regex, options }.after_recording();
        let all: Vec<_> = left.specs.iter().map(|spec| (spec.name.as_str(), spec.actions.len())).collect();
        assert_eq!(all, [("b", 0), ("c", 1)]);
        assert_eq!(left.options, FilterOptions { time: 9, ..FilterOptions::default() });
    }
}
