//! What is measured over events: times between pairs of them, counts, stacks. Plain data in the recipes, and the machines that do it.

use crate::event::Event;
use crate::histogram::Histogram;
use crate::label::{Bounded, Label};

/// Keys of pairs that are open at one time; one that is never closed takes a place for ever.
const OPEN: usize = 1 << 16;
/// Rows of a table.
const ROWS: usize = 4096;
/// Different stacks that are kept.
const STACKS: usize = 8192;

/// What finds the other half of a pair: two numbers.
pub type Key = (u64, u64);

/// What is measured, and how it is called.
#[derive(Clone, Copy)]
pub struct Measure {
    /// How the words of a recipe refer to it.
    pub id: &'static str,
    /// What the reader sees above it.
    pub title: &'static str,
    /// What is done.
    pub what: What,
}

/// Kinds of measures.
#[derive(Clone, Copy)]
pub enum What {
    /// Times from one event to another with the same key.
    Pair(Pair),
    /// How often events happened, by a label, with a sum.
    Count(Count),
    /// Stacks of events, with how often they were seen.
    Stacks(&'static [&'static str]),
    /// How long tasks that could run waited for a CPU.
    RunQueue,
    /// How long tasks slept, and where.
    OffCpu,
    /// Calls of a function-graph recording: how often, how long, and the slowest as a tree.
    Graph,
    /// Allocations that were not freed, by the caller.
    Leaks,
}

/// An event, and what is the key in it; nothing leaves it out.
pub type Keyed = (&'static str, fn(&Event<'_>) -> Option<Key>);

/// What a number in an event is called with its unit, and the number.
pub type Added = (&'static str, fn(&Event<'_>) -> Option<i64>);

/// A stack and what it belongs to.
pub type StackOf = (Label, Box<[u64]>);

/// Two events that belong together.
#[derive(Clone, Copy)]
pub struct Pair {
    /// Events that begin it, and what is the key in them.
    pub begin: &'static [Keyed],
    /// Events that end it.
    pub end: &'static [Keyed],
    /// A second beginning: the first one counts (a soft interrupt raised again), or else the last.
    pub keep_first: bool,
    /// The row, from the event that ends it or the one that begins it.
    pub label: By,
}

/// Which of the two events gives the label.
#[derive(Clone, Copy)]
pub enum By {
    /// The first.
    Begin(fn(&Event<'_>) -> Label),
    /// The second.
    End(fn(&Event<'_>) -> Label),
}

/// Events that are counted.
#[derive(Clone, Copy)]
pub struct Count {
    /// Their names.
    pub events: &'static [&'static str],
    /// The row; nothing leaves the event out.
    pub label: fn(&Event<'_>) -> Option<Label>,
    /// Another number that is added up, with its name and unit (`bytes`).
    pub sum: Option<Added>,
}

/// Times by label.
#[derive(Debug)]
pub struct Latencies {
    /// A histogram in ns for each label.
    pub rows: Bounded<Label, Histogram>,
    /// All of them.
    pub all: Histogram,
    /// The longest: its label, the time it ended at, its length.
    pub worst: Option<(Label, u64, u64)>,
    /// Ends without a beginning; what was running when the trace began.
    pub unbegun: u64,
    /// Beginnings without an end when the trace was over.
    pub open: u64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { rows: Bounded::new(ROWS), all: Histogram::default(), worst: None, unbegun: 0, open: 0 }
    }
}

impl Latencies {
    /// Adds a time of `length` ns that ended at `end`.
    pub fn add(&mut self, label: Label, end: u64, length: u64) {
        self.all.add(length);
        if self.worst.as_ref().is_none_or(|worst| worst.2 < length) {
            self.worst = Some((label.clone(), end, length));
        }
        if let Some(row) = self.rows.entry(label, Histogram::default) {
            row.add(length);
        }
    }

    /// The rows with the largest sums first.
    pub fn sorted(&self) -> Vec<(&Label, &Histogram)> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by(|a, b| b.1.sum().cmp(&a.1.sum()).then_with(|| a.0.cmp(b.0)));
        rows
    }
}

/// Counts by label.
#[derive(Debug)]
pub struct Counts {
    /// Count and sum of each label.
    pub rows: Bounded<Label, (u64, i64)>,
    /// All of them.
    pub all: u64,
    /// The sum of all.
    pub sum: i64,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts { rows: Bounded::new(ROWS), all: 0, sum: 0 }
    }
}

impl Counts {
    /// Counts one more, with a number for the sum.
    pub fn add(&mut self, label: Label, sum: i64) {
        self.all += 1;
        self.sum = self.sum.saturating_add(sum);
        if let Some(row) = self.rows.entry(label, || (0, 0)) {
            row.0 += 1;
            row.1 = row.1.saturating_add(sum);
        }
    }

    /// The rows with the largest counts first.
    pub fn sorted(&self) -> Vec<(&Label, u64, i64)> {
        let mut rows: Vec<_> = self.rows.iter().map(|(label, row)| (label, row.0, row.1)).collect();
        rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        rows
    }

    /// The count of the row with that text.
    pub fn of(&self, text: &str) -> u64 {
        self.rows.get(&Label::text(text)).map_or(0, |row| row.0)
    }
}

/// Stacks with how often they were seen and, where something was timed, for how long.
#[derive(Debug)]
pub struct Stacks {
    /// By what they belong to and the addresses, innermost first: count and ns.
    pub rows: Bounded<StackOf, (u64, u64)>,
    /// All of them.
    pub all: u64,
}

impl Default for Stacks {
    fn default() -> Stacks {
        Stacks { rows: Bounded::new(STACKS), all: 0 }
    }
}

impl Stacks {
    /// Counts one more.
    pub fn add(&mut self, label: Label, frames: &[u64], ns: u64) {
        self.all += 1;
        if let Some(row) = self.rows.entry((label, frames.into()), || (0, 0)) {
            row.0 += 1;
            row.1 += ns;
        }
    }

    /// The stacks with the most time, or without times the most hits, first.
    pub fn sorted(&self) -> Vec<(&Label, &[u64], u64, u64)> {
        let mut rows: Vec<_> =
            self.rows.iter().map(|((label, frames), row)| (label, &**frames, row.0, row.1)).collect();
        rows.sort_by(|a, b| (b.3, b.2).cmp(&(a.3, a.2)).then_with(|| (a.0, a.1).cmp(&(b.0, b.1))));
        rows
    }
}

/// Finds pairs.
pub(crate) struct Pairing {
    spec: Pair,
    open: Bounded<Key, (u64, Option<Label>)>,
    pub(crate) found: Latencies,
}

impl Pairing {
    pub(crate) fn new(spec: Pair) -> Pairing {
        Pairing { spec, open: Bounded::new(OPEN), found: Latencies::default() }
    }

    pub(crate) fn event(&mut self, event: &Event<'_>) {
        if let Some((_, key)) = self.spec.end.iter().find(|(name, _)| *name == event.name())
            && let Some(key) = key(event)
        {
            match self.open.take(&key) {
                Some((begin, label)) => {
                    let label = match (label, self.spec.label) {
                        (Some(label), _) => label,
                        (None, By::Begin(label) | By::End(label)) => label(event),
                    };
                    self.found.add(label, event.time, event.time.saturating_sub(begin));
                }
                None => self.found.unbegun += 1,
            }
        }
        if let Some((_, key)) = self.spec.begin.iter().find(|(name, _)| *name == event.name())
            && let Some(key) = key(event)
            && !(self.spec.keep_first && self.open.get(&key).is_some())
        {
            let label = match self.spec.label {
                By::Begin(label) => Some(label(event)),
                By::End(_) => None,
            };
            self.open.put(key, (event.time, label));
        }
    }

    pub(crate) fn finish(mut self) -> Latencies {
        self.found.open = self.open.len() as u64;
        self.found
    }
}
