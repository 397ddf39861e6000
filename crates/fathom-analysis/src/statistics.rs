//! Statistics of functions and of tasks, as `report` shows them.

mod sort;

use crate::callee::Callee;
use crate::calls::{End, Frame, Origin, Visitor};
use crate::walk::{fold_tasks, walk_task};
use fathom_store::{Error, EventOptions, Function, FunctionId, Task, Tid, Trace};
use rustc_hash::FxHashMap;
use std::sync::Arc;

pub use sort::{Key, TaskKey, UnknownKey, parse_keys, sort_rows, sort_tasks};

/// Sums over the times of a function's calls, all in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Sum over the calls that count for the total: those not made from within a call of the same function.
    pub sum: u64,
    /// Sum over the other calls. Always 0 for self times, where no time is counted twice.
    pub recursive: u64,
    /// The shortest call.
    pub min: u64,
    /// The longest call.
    pub max: u64,
    /// When the first of the shortest began.
    pub min_at: u64,
    /// When the first of the longest began.
    pub max_at: u64,
    /// Sum of squares over all calls.
    squares: u128,
}

impl Times {
    const NONE: Times =
        Times { sum: 0, recursive: 0, min: u64::MAX, max: 0, min_at: 0, max_at: 0, squares: 0 };

    #[inline]
    fn add(&mut self, time: u64, recursive: bool, start: u64) {
        if recursive {
            self.recursive = self.recursive.wrapping_add(time);
        } else {
            self.sum = self.sum.wrapping_add(time);
        }
        if time > self.max || self.min == u64::MAX {
            (self.max, self.max_at) = (time, start);
        }
        if time < self.min {
            (self.min, self.min_at) = (time, start);
        }
        self.squares = self.squares.wrapping_add(u128::from(time) * u128::from(time));
    }

    fn merge(&mut self, other: &Times) {
        if self.min == u64::MAX {
            *self = *other;
            return;
        }
        if other.min == u64::MAX {
            return;
        }
        self.sum = self.sum.wrapping_add(other.sum);
        self.recursive = self.recursive.wrapping_add(other.recursive);
        if (other.min, other.min_at) < (self.min, self.min_at) {
            (self.min, self.min_at) = (other.min, other.min_at);
        }
        if other.max > self.max || (other.max == self.max && other.max_at < self.max_at) {
            (self.max, self.max_at) = (other.max, other.max_at);
        }
        self.squares = self.squares.wrapping_add(other.squares);
    }

    /// Mean over `calls` calls, rounded down.
    pub fn average(&self, calls: u64) -> u64 {
        self.sum.wrapping_add(self.recursive).checked_div(calls).unwrap_or(0)
    }

    /// Standard deviation of the mean, in percent of it.
    ///
    /// The integer divisions before the root are part of the definition: other tools round the same way.
    pub fn deviation(&self, calls: u64) -> f64 {
        let average = self.average(calls);
        if calls == 0 || average == 0 {
            return 0.0;
        }
        let mean_square = self.squares / u128::from(calls);
        let variance = mean_square.saturating_sub(u128::from(average) * u128::from(average));
        (variance as f64 / calls as f64).sqrt() * 100.0 / average as f64
    }
}

/// What one function did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sums {
    calls: u64,
    /// How often it is on the stack of the task being read.
    active: u32,
    total: Times,
    own: Times,
}

const NOTHING: Sums = Sums { calls: 0, active: 0, total: Times::NONE, own: Times::NONE };

/// A line of the report: all functions of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name as shown.
    pub name: Arc<str>,
    /// A function of that name.
    pub function: Option<FunctionId>,
    /// Symbol size in bytes, 0 when not known.
    pub size: u64,
    /// Number of calls.
    pub calls: u64,
    /// Times from entry to exit.
    pub total: Times,
    /// Times without what was called.
    pub own: Times,
}

/// A line of the report of tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    /// Thread id.
    pub tid: Tid,
    /// Command name.
    pub comm: String,
    /// Time in traced functions up to the last return, ns.
    pub total: u64,
    /// The same without time spent waiting, ns.
    pub own: u64,
    /// Calls that ended, or were open at the last return.
    pub calls: u64,
}

/// Adds up one task after the other.
#[derive(Default)]
struct Adder {
    functions: Vec<Sums>,
    task: TaskSums,
}

/// What one task did. Calls that are open at the end count up to the last return.
#[derive(Clone, Copy, Default)]
struct TaskSums {
    calls: u64,
    total: u64,
    idle: u64,
    last_return: u64,
    /// Duration of the open call closed most recently: up to the end, and up to the last return.
    open: (u64, u64),
}

impl Adder {
    #[inline]
    fn sums(&mut self, callee: Callee) -> Option<&mut Sums> {
        if callee.index() >= self.functions.len() {
            self.grow(callee);
        }
        self.functions.get_mut(callee.index())
    }

    #[cold]
    fn grow(&mut self, callee: Callee) {
        if callee != Callee::UNKNOWN {
            self.functions.resize(callee.index() + 1, NOTHING);
        }
    }

    fn merge(&mut self, other: &Adder) {
        if self.functions.len() < other.functions.len() {
            self.functions.resize(other.functions.len(), NOTHING);
        }
        for (sum, more) in self.functions.iter_mut().zip(&other.functions) {
            sum.calls += more.calls;
            sum.total.merge(&more.total);
            sum.own.merge(&more.own);
        }
    }
}

impl TaskSums {
    fn open(&mut self, frame: &Frame, end: u64) {
        let (full, cut) = self.open;
        self.open = (frame.duration(end), self.last_return.saturating_sub(frame.start));
        if frame.start > self.last_return {
            return;
        }
        self.calls += 1;
        let own = self.open.1.saturating_sub(frame.children.wrapping_sub(full)).saturating_sub(cut);
        self.total = self.total.saturating_add(own);
    }
}

impl Visitor for Adder {
    #[inline]
    fn enter(&mut self, _outer: &[Frame], frame: &Frame) -> u32 {
        if let Some(sums) = self.sums(frame.callee) {
            sums.active += 1;
        }
        0
    }

    #[inline]
    fn leave(&mut self, _outer: &[Frame], frame: &Frame, end: u64, how: End) {
        let own = frame.own(end);
        let Some(sums) = self.sums(frame.callee) else { return };
        sums.calls += 1;
        let recursive = sums.active > 1;
        if frame.origin != Origin::Assumed {
            sums.active = sums.active.saturating_sub(1);
        }
        sums.total.add(frame.duration(end), recursive, frame.start);
        sums.own.add(own, false, frame.start);
        if how == End::Open {
            return self.task.open(frame, end);
        }
        self.task.calls += 1;
        self.task.total = self.task.total.wrapping_add(own);
        self.task.last_return = end;
        if frame.callee == Callee::SCHEDULE {
            self.task.idle = self.task.idle.saturating_add(own);
        }
    }
}

/// Statistics of all functions of a trace, in no order.
///
/// # Errors
///
/// Those of reading the trace.
pub fn functions(trace: &dyn Trace, options: EventOptions, threads: usize) -> Result<Vec<Row>, Error> {
    functions_if(trace, options, threads, |_| true)
}

/// Like [`functions`], without those that `keep` says no to. Their time stays theirs: it is not their callers' own.
///
/// # Errors
///
/// Those of reading the trace.
pub fn functions_if(
    trace: &dyn Trace,
    options: EventOptions,
    threads: usize,
    keep: impl Fn(&Function) -> bool,
) -> Result<Vec<Row>, Error> {
    let tasks: Vec<&Task> = trace.tasks().iter().collect();
    let parts = fold_tasks(&tasks, threads, Adder::default, |adder, task| {
        walk_task(trace, task, options, adder)?;
        Ok(())
    })?;
    let mut all = Adder::default();
    parts.iter().for_each(|part| all.merge(part));
    Ok(rows(trace, &all, keep))
}

/// Joins functions of the same name.
fn rows(trace: &dyn Trace, all: &Adder, keep: impl Fn(&Function) -> bool) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut places: FxHashMap<Arc<str>, usize> = FxHashMap::default();
    for (index, sums) in all.functions.iter().enumerate().filter(|(_, s)| s.calls > 0) {
        let callee = Callee::at(index);
        let (name, size) = match callee.function() {
            Some(id) => {
                let function = trace.function(id);
                if !keep(&function) {
                    continue;
                }
                (function.name, function.size)
            }
            None => (callee.name(trace), 0),
        };
        let place = *places.entry(name.clone()).or_insert(rows.len());
        match rows.get_mut(place) {
            Some(row) => {
                row.calls += sums.calls;
                row.size = row.size.max(size);
                row.total.merge(&sums.total);
                row.own.merge(&sums.own);
            }
            None => rows.push(Row {
                name,
                function: callee.function(),
                size,
                calls: sums.calls,
                total: sums.total,
                own: sums.own,
            }),
        }
    }
    rows
}

/// Statistics of all tasks of a trace that have calls, in no order.
///
/// # Errors
///
/// Those of reading the trace.
pub fn tasks(trace: &dyn Trace, options: EventOptions, threads: usize) -> Result<Vec<TaskRow>, Error> {
    let tasks: Vec<&Task> = trace.tasks().iter().collect();
    let make = || (Adder::default(), Vec::new());
    let parts = fold_tasks(&tasks, threads, make, |(adder, rows), task| {
        adder.task = TaskSums::default();
        walk_task(trace, task, options, adder)?;
        let TaskSums { calls, total, idle, .. } = adder.task;
        if calls > 0 {
            let (tid, comm) = (task.tid, task.comm.clone());
            rows.push(TaskRow { tid, comm, total, own: total.saturating_sub(idle), calls });
        }
        Ok(())
    })?;
    Ok(parts.into_iter().flat_map(|(_, rows)| rows).collect())
}

#[cfg(test)]
mod tests;
