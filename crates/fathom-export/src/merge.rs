//! The events of all tasks in time order.

use crate::Error;
use fathom_store::{Batch, Event, EventOptions, Kind, Resolver, TaskEvents, Trace};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The next events of one task.
struct Stream<'a> {
    events: Box<dyn TaskEvents + 'a>,
    resolver: Box<dyn Resolver + 'a>,
    batch: Batch,
    next: usize,
    /// Time of the event before; lost records have none of their own and take this one.
    time: u64,
}

impl Stream<'_> {
    /// The time of the next event, none at the end.
    fn peek(&mut self) -> Result<Option<u64>, Error> {
        while self.next >= self.batch.events.len() {
            self.next = 0;
            if !self.events.next_batch(&mut self.batch)? {
                return Ok(None);
            }
        }
        Ok(self.batch.events.get(self.next).map(|event| match event.kind {
            Kind::Lost => event.time.max(self.time),
            _ => event.time,
        }))
    }
}

/// An event and what is needed to look into it.
pub(crate) struct Item<'m, 'a> {
    /// Index into [`Trace::tasks`].
    pub(crate) task: usize,
    pub(crate) event: &'m Event,
    pub(crate) payload: &'m [u8],
    pub(crate) resolver: &'m mut Box<dyn Resolver + 'a>,
}

/// Calls `each` for every event in the order of time; of several at the same time the task with the lowest
/// tid comes first. Holds one batch of each task.
pub(crate) fn merged<'a>(
    trace: &'a dyn Trace,
    options: EventOptions,
    mut each: impl FnMut(Item<'_, 'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut streams = Vec::with_capacity(trace.tasks().len());
    let mut heap = BinaryHeap::with_capacity(trace.tasks().len());
    for (index, task) in trace.tasks().iter().enumerate() {
        let mut stream = Stream {
            events: trace.events(task.tid, options)?,
            resolver: trace.resolver(task.tid),
            batch: Batch::default(),
            next: 0,
            time: 0,
        };
        if let Some(time) = stream.peek()? {
            heap.push(Reverse((time, index)));
        }
        streams.push(stream);
    }
    while let Some(Reverse((mut time, index))) = heap.pop() {
        let Some(stream) = streams.get_mut(index) else { continue };
        // Tasks run for many events on end: stay with one as long as no other one is earlier.
        loop {
            stream.time = time;
            if let Some(event) = stream.batch.events.get(stream.next) {
                let payload = stream.batch.payload(event);
                each(Item { task: index, event, payload, resolver: &mut stream.resolver })?;
            }
            stream.next += 1;
            let Some(next) = stream.peek()? else { break };
            time = next;
            if heap.peek().is_some_and(|Reverse(first)| *first < (time, index)) {
                heap.push(Reverse((time, index)));
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_store::memory::MemoryTrace;
    use proptest::prelude::*;

    fn order(trace: &MemoryTrace) -> Vec<(u64, usize)> {
        let mut seen = Vec::new();
        merged(trace, EventOptions::default(), |item| {
            seen.push((item.event.time, item.task));
            Ok(())
        })
        .unwrap();
        seen
    }

    #[test]
    fn a_loss_comes_after_what_was_before_it() {
        let mut trace = MemoryTrace::new();
        trace.batch_size(1).call(1, 10, 20, "a").lost(1, 5).call(1, 40, 50, "a").call(2, 15, 45, "b");
        let want = [(10, 0), (15, 1), (20, 0), (0, 0), (40, 0), (45, 1), (50, 0)];
        assert_eq!(order(&trace), want);
    }

    proptest! {
        #[test]
        fn merging_is_a_stable_sort(gaps: Vec<(u8, u8)>, batch in 1usize..5) {
            let mut trace = MemoryTrace::new();
            trace.batch_size(batch);
            let mut times = [0u64; 4];
            let mut want = Vec::new();
            for task in 0..4i32 { trace.task(task + 1); }
            for (task, gap) in gaps {
                let task = usize::from(task % 4);
                times[task] += u64::from(gap);
                trace.event(task as i32 + 1, times[task], 100_011, &[]);
                want.push((times[task], task));
            }
            want.sort();
            prop_assert_eq!(order(&trace), want);
        }
    }
}
