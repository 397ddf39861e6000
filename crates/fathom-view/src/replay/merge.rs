//! Tasks by the time of their next events.

use super::task::TaskReplay;
use crate::error::Error;
use crate::options::ReplayOptions;
use fathom_store::Trace;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// All tasks of a trace, and which of them is next.
pub(crate) struct Merge<'t> {
    tasks: Vec<TaskReplay<'t>>,
    /// Time of the next event and index of each task that waits.
    waiting: BinaryHeap<Reverse<(u64, usize)>>,
    current: usize,
}

impl<'t> Merge<'t> {
    pub(crate) fn new(trace: &'t dyn Trace, options: &ReplayOptions) -> Result<Self, Error> {
        let mut tasks = Vec::new();
        for (index, task) in trace.tasks().iter().enumerate() {
            tasks.push(TaskReplay::new(trace, task, index, options.events, options.range.is_some())?);
        }
        let waiting =
            tasks.iter().filter(|t| !t.is_done()).map(|t| Reverse((t.next_time(), t.index))).collect();
        Ok(Merge { tasks, waiting, current: 0 })
    }

    /// The task with the earliest event, and up to which time and index it stays that.
    pub(crate) fn next(&mut self) -> Option<(&mut TaskReplay<'t>, (u64, usize))> {
        let Reverse((_, index)) = self.waiting.pop()?;
        self.current = index;
        let until = self.waiting.peek().map_or((u64::MAX, usize::MAX), |Reverse(next)| *next);
        self.tasks.get_mut(index).map(|task| (task, until))
    }

    /// Lets the task that [`Merge::next`] gave out wait again.
    pub(crate) fn put_back(&mut self) {
        if let Some(task) = self.tasks.get(self.current).filter(|t| !t.is_done()) {
            self.waiting.push(Reverse((task.next_time(), task.index)));
        }
    }

    pub(crate) fn tasks(&self) -> &[TaskReplay<'t>] {
        &self.tasks
    }
}
