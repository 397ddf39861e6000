//! The tree of tasks: who made whom, and how long each ran.

use crate::callee::Callee;
use crate::calls::{End, Frame, Visitor};
use crate::walk::{fold_tasks, walk_task};
use fathom_store::{Error, EventOptions, Task, Tid, Trace};

/// A task and those that it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskNode {
    /// Thread id.
    pub tid: Tid,
    /// Command name.
    pub comm: String,
    /// Whether it is a forked process, not a thread.
    pub forked: bool,
    /// Whether it is not the leader of its process.
    pub is_thread: bool,
    /// From its first record to its last, ns.
    pub total: u64,
    /// The same without the time off the processor.
    pub own: u64,
    /// Indexes of the threads and processes that it made, in the order in which they began.
    pub children: Vec<usize>,
}

/// Adds up time off the processor.
#[derive(Default)]
struct Idle(u64);

impl Visitor for Idle {
    fn enter(&mut self, _outer: &[Frame], _frame: &Frame) -> u32 {
        0
    }

    fn leave(&mut self, _outer: &[Frame], frame: &Frame, end: u64, _how: End) {
        if frame.callee == Callee::SCHEDULE || frame.callee == Callee::PREEMPTED {
            self.0 = self.0.saturating_add(frame.duration(end));
        }
    }
}

/// All tasks of a trace, ascending by tid, and the indexes of those that nobody in the trace has made.
///
/// # Errors
///
/// Those of reading the trace.
pub fn task_graph(
    trace: &dyn Trace,
    options: EventOptions,
    threads: usize,
) -> Result<(Vec<TaskNode>, Vec<usize>), Error> {
    let tasks: Vec<&Task> = trace.tasks().iter().collect();
    let parts = fold_tasks(&tasks, threads, Vec::new, |nodes: &mut Vec<TaskNode>, task| {
        let mut idle = Idle::default();
        let span = walk_task(trace, task, options, &mut idle)?;
        let total = span.map_or(0, |(first, last)| last.saturating_sub(first));
        nodes.push(TaskNode {
            tid: task.tid,
            comm: task.comm.clone(),
            forked: task.forked,
            is_thread: task.tid != task.pid,
            total,
            own: total.saturating_sub(idle.0),
            children: Vec::new(),
        });
        Ok(())
    })?;
    let mut nodes: Vec<TaskNode> = parts.into_iter().flatten().collect();
    nodes.sort_by_key(|n| n.tid);
    let mut order: Vec<&Task> = tasks;
    order.sort_by_key(|t| (t.start, t.tid));
    let place = |nodes: &[TaskNode], tid: Tid| nodes.binary_search_by_key(&tid, |n| n.tid).ok();
    let mut roots = Vec::new();
    for task in order {
        let Some(index) = place(&nodes, task.tid) else { continue };
        match task.parent.filter(|p| *p != task.tid).and_then(|parent| place(&nodes, parent)) {
            Some(parent) => nodes[parent].children.push(index),
            None => roots.push(index),
        }
    }
    Ok((nodes, roots))
}
