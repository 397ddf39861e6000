//! Reading whole traces: one task after the other by several threads, or one task by itself.

use crate::calls::{CallStack, Visitor};
use fathom_store::{Batch, Error, EventOptions, Task, Trace};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Feeds all events of a task to `visitor` and closes what is open at the end. Returns the times of the task's
/// first and last record (ns), none when it has none.
///
/// This is where a task's events are one list in order: what depends on the task's stack alone, as filters and
/// triggers do, belongs between the batch and the call stack.
pub fn walk_task(
    trace: &dyn Trace,
    task: &Task,
    options: EventOptions,
    visitor: &mut impl Visitor,
) -> Result<Option<(u64, u64)>, Error> {
    let mut events = trace.events(task.tid, options)?;
    let mut stack = CallStack::new(trace, trace.resolver(task.tid)).with_outside(options.outside);
    let mut batch = Batch::default();
    while events.next_batch(&mut batch)? {
        for event in &batch.events {
            stack.feed(event, visitor);
        }
    }
    events.end().into_iter().for_each(|end| stack.lasts_until(end));
    stack.finish(visitor);
    Ok(stack.span())
}

/// Folds tasks with `threads` threads (0: one for each processor). Each thread has an accumulator, made by `make`;
/// `each` adds a task to it. Returns the accumulators.
///
/// # Errors
///
/// The first error of `each`; the other threads stop after their present task.
pub fn fold_tasks<A: Send>(
    tasks: &[&Task],
    threads: usize,
    make: impl Fn() -> A + Sync,
    each: impl Fn(&mut A, &Task) -> Result<(), Error> + Sync,
) -> Result<Vec<A>, Error> {
    let threads = match threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let work = || {
        let mut result = make();
        while !failed.load(Ordering::Relaxed)
            && let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed))
        {
            if let Err(error) = each(&mut result, task) {
                failed.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(result)
    };
    if threads.min(tasks.len()) <= 1 {
        return Ok(vec![work()?]);
    }
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads.min(tasks.len()) {
            scope.spawn(|| {
                let result = work();
                results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(result);
            });
        }
    });
    results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_iter().collect()
}
