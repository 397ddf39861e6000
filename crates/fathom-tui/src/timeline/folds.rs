//! What is folded: everything from a level on, and exceptions.

use rustc_hash::FxHashMap;

/// A level that no call has.
pub(crate) const NEVER: u32 = u32::MAX;

/// A call, as far as folding it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Number of the event that began it.
    pub(crate) event: u64,
    /// Index of the task.
    pub(crate) task: u32,
    pub(crate) level: u32,
    /// When it began, ns.
    pub(crate) start: u64,
    /// When it ended, ns; 0 if that is not known.
    pub(crate) end: u64,
}

#[derive(Clone, Copy, Debug)]
struct Exception {
    task: u32,
    start: u64,
    /// Whether the call itself is folded, if that was said.
    folded: Option<bool>,
    /// From which level on the calls inside are folded, if that was said.
    inside: Option<u32>,
}

/// Which calls are folded. A folded call is shown, what happens in it is not.
#[derive(Clone, Debug)]
pub(crate) struct Folds {
    /// Calls of this level and deeper ones are folded.
    level: u32,
    exceptions: FxHashMap<u64, Exception>,
    /// Changes with every change.
    version: u64,
}

impl Default for Folds {
    fn default() -> Self {
        Folds { level: NEVER, exceptions: FxHashMap::default(), version: 0 }
    }
}

impl Folds {
    /// A number that is another after each change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Whether anything may be folded at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.level == NEVER && self.exceptions.is_empty()
    }

    /// Folds all calls of a level and deeper ones, whatever was folded before.
    pub(crate) fn fold_from(&mut self, level: u32) {
        self.level = level;
        self.exceptions.clear();
        self.version += 1;
    }

    /// Folds or unfolds one call.
    pub(crate) fn set(&mut self, target: &Target, folded: bool) {
        self.exception(target).folded = Some(folded);
        self.version += 1;
    }

    /// Folds the calls in a call from a level on, whatever was folded in it before. The call itself is unfolded.
    pub(crate) fn set_inside(&mut self, target: &Target, level: u32) {
        let end = if target.end == 0 { u64::MAX } else { target.end };
        self.exceptions.retain(|event, other| {
            other.task != target.task
                || *event < target.event
                || other.start < target.start
                || other.start > end
        });
        let exception = self.exception(target);
        (exception.folded, exception.inside) = (Some(false), Some(level));
        self.version += 1;
    }

    fn exception(&mut self, target: &Target) -> &mut Exception {
        let new = Exception { task: target.task, start: target.start, folded: None, inside: None };
        self.exceptions.entry(target.event).or_insert(new)
    }
}

/// Follows the calls of one task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walk {
    /// Everything deeper than this level is hidden up to this event: it is in a folded call, which ends there. 0 if it is not
    /// known where.
    hidden: Option<(u32, u64)>,
    /// Open calls inside of which another level counts, with that level.
    scopes: Vec<(u32, u32)>,
}

impl Walk {
    /// Whether a call that begins at a level is shown, and whether it is folded. `event` is none for calls of which nothing
    /// is known, `end` the event that ends it; 0 if that is not known.
    pub(crate) fn enter(&mut self, folds: &Folds, event: Option<u64>, level: u32, end: u64) -> (bool, bool) {
        // What begins may be what ends time off the processor.
        self.hidden = self.hidden.filter(|(_, end)| *end == 0 || event.is_none_or(|event| event < *end));
        if !self.shows(level, event.unwrap_or(0)) {
            return (false, false);
        }
        while self.scopes.last().is_some_and(|(outer, _)| *outer >= level) {
            self.scopes.pop();
        }
        let exception = event.and_then(|event| folds.exceptions.get(&event));
        let from = self.scopes.last().map_or(folds.level, |(_, from)| *from);
        let folded = exception.and_then(|exception| exception.folded).unwrap_or(level >= from);
        if folded && self.hidden.is_none() {
            self.hidden = Some((level, end));
        }
        if let Some(from) = exception.and_then(|exception| exception.inside) {
            self.scopes.push((level, from));
        }
        (true, folded)
    }

    /// Whether what happens at a level and an event is shown.
    pub(crate) fn shows(&mut self, level: u32, event: u64) -> bool {
        let Some((folded, end)) = self.hidden else { return true };
        // Where frames are in no order, something further out may happen in a call that goes on.
        if (event > end && end != 0) || (level <= folded && end == 0) {
            self.hidden = None;
            return true;
        }
        level <= folded
    }

    /// The event up to which the task is in a folded call; none if it is in none.
    pub(crate) fn hidden_until(&self) -> Option<u64> {
        self.hidden.map(|(_, end)| if end == 0 { u64::MAX } else { end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(event: u64, level: u32, start: u64, end: u64) -> Target {
        Target { event, task: 0, level, start, end }
    }

    /// main(a(b(c)) d(e)), as numbers of events and levels.
    const CALLS: [(u64, u32); 6] = [(0, 0), (1, 1), (2, 2), (3, 3), (7, 1), (8, 2)];

    fn shown(folds: &Folds) -> Vec<u64> {
        let mut walk = Walk::default();
        let shown = CALLS.iter().filter(|(event, level)| walk.enter(folds, Some(*event), *level, 0).0);
        shown.map(|(event, _)| *event).collect()
    }

    #[test]
    fn levels_and_exceptions() {
        let mut folds = Folds::default();
        assert!(folds.is_empty());
        assert_eq!(shown(&folds), [0, 1, 2, 3, 7, 8]);
        folds.fold_from(1);
        assert_eq!(shown(&folds), [0, 1, 7]);
        folds.set(&target(1, 1, 1, 6), false);
        assert_eq!(shown(&folds), [0, 1, 2, 7]);
        folds.set(&target(0, 0, 0, 9), true);
        assert_eq!(shown(&folds), [0]);
        folds.set_inside(&target(0, 0, 0, 9), NEVER);
        assert_eq!(shown(&folds), [0, 1, 2, 3, 7, 8]);
        folds.set_inside(&target(1, 1, 1, 6), 2);
        assert_eq!(shown(&folds), [0, 1, 2, 7, 8]);
        folds.fold_from(NEVER);
        assert_eq!(shown(&folds), [0, 1, 2, 3, 7, 8]);
    }

    #[test]
    fn what_is_no_call_goes_with_the_call_it_is_in() {
        let mut folds = Folds::default();
        folds.fold_from(1);
        let mut walk = Walk::default();
        assert_eq!(walk.enter(&folds, None, 0, 0), (true, false));
        assert_eq!(walk.enter(&folds, None, 1, 7), (true, true));
        assert!(!walk.shows(2, 5));
        assert_eq!(walk.hidden_until(), Some(7));
        assert!(walk.shows(1, 6));
        assert_eq!(walk.enter(&folds, Some(8), 1, 9), (true, true));
        assert!(!walk.shows(2, 9));
        assert!(walk.shows(2, 10), "the folded call has ended");
    }
}
