//! All tasks' events in one order of time.

use crate::{Batch, Error, Event, EventOptions, Kind, TaskEvents, Trace};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Events in a [`MergedBatch`].
const BATCH: usize = 4096;
/// Payload bytes in a [`MergedBatch`], not counting those of the last event.
const BATCH_DATA: usize = 256 << 10;

/// A run of events of several tasks, in time order.
#[derive(Clone, Debug, Default)]
pub struct MergedBatch {
    /// Index into [`Trace::tasks`], and the event.
    pub events: Vec<(u32, Event)>,
    /// Payload bytes that [`Event::data_start`] points into.
    pub data: Vec<u8>,
}

impl MergedBatch {
    /// The payload of `event`, empty when it has none.
    pub fn payload(&self, event: &Event) -> &[u8] {
        let start = event.data_start as usize;
        self.data.get(start..start + event.data_len as usize).unwrap_or_default()
    }
}

/// Merges the events of tasks by time. At equal times the task with the smaller tid comes first; the events of one
/// task stay in their order. Losses have no time and come right behind what was before them.
///
/// Memory is that of one batch of each task, which stores keep small when there are many.
pub struct Merge<'t> {
    streams: Vec<Head<'t>>,
    /// Time and index of each stream that has events left, the earliest on top.
    heap: BinaryHeap<Reverse<(u64, usize)>>,
    /// To be returned once what was read before has been.
    error: Option<Error>,
}

/// A task's events, and the first of them.
struct Head<'t> {
    task: u32,
    events: Box<dyn TaskEvents + 't>,
    batch: Batch,
    next: usize,
    /// Time of the event before, for events without one.
    time: u64,
}

impl Head<'_> {
    /// The time that the next event counts as having; none when there are no more events.
    fn peek(&mut self) -> Result<Option<u64>, Error> {
        if self.next >= self.batch.events.len() {
            self.next = 0;
            if !self.events.next_batch(&mut self.batch)? {
                // Thousands of tasks end long before the others do.
                self.batch = Batch::default();
                return Ok(None);
            }
        }
        let event = self.batch.events.get(self.next);
        Ok(event.map(|event| if event.kind == Kind::Lost { self.time } else { event.time }))
    }
}

impl<'t> Merge<'t> {
    /// Merges the tasks of `trace` that `wanted` says yes to, given their index.
    ///
    /// # Errors
    ///
    /// Those of [`Trace::events`].
    pub fn new(
        trace: &'t dyn Trace,
        options: EventOptions,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Self, Error> {
        let mut streams = Vec::new();
        for (index, task) in trace.tasks().iter().enumerate().filter(|(index, _)| wanted(*index)) {
            let (task, events) = (index as u32, trace.events(task.tid, options)?);
            streams.push(Head { task, events, batch: Batch::default(), next: 0, time: 0 });
        }
        let mut merge = Merge { streams, heap: BinaryHeap::new(), error: None };
        // Nothing is read before all are open, so that the store knows how many there are.
        merge.refill();
        Ok(merge)
    }

    fn refill(&mut self) {
        self.heap.clear();
        self.error = None;
        for (index, head) in self.streams.iter_mut().enumerate() {
            match head.peek() {
                Ok(Some(time)) => self.heap.push(Reverse((time, index))),
                Ok(None) => {}
                Err(error) => self.error = self.error.take().or(Some(error)),
            }
        }
    }

    /// Goes to the first event whose time is `time` (ns) or later.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn seek(&mut self, time: u64) -> Result<(), Error> {
        for head in &mut self.streams {
            head.events.seek(time)?;
            head.batch.clear();
            head.next = 0;
            head.time = 0;
        }
        self.refill();
        Ok(())
    }

    /// Replaces `out` by the next events; false when there are none left.
    ///
    /// # Errors
    ///
    /// Those of the store, once all that was read before has been returned. The task in question has ended then;
    /// further calls go on with the others.
    pub fn next_batch(&mut self, out: &mut MergedBatch) -> Result<bool, Error> {
        out.events.clear();
        out.data.clear();
        while self.error.is_none() && out.events.len() < BATCH && out.data.len() < BATCH_DATA {
            let Some(Reverse((_, index))) = self.heap.pop() else { break };
            // Until this time, the stream has the turn: there is no use in asking the heap for each event.
            let next = self.heap.peek().map(|Reverse(next)| *next);
            let Some(head) = self.streams.get_mut(index) else { break };
            match head.take_while_first(index, next, out) {
                Ok(Some(time)) => self.heap.push(Reverse((time, index))),
                Ok(None) => {}
                Err(error) => self.error = Some(error),
            }
        }
        if out.events.is_empty()
            && let Some(error) = self.error.take()
        {
            return Err(error);
        }
        Ok(!out.events.is_empty())
    }

    /// Bytes of the store read so far and in all.
    pub fn progress(&self) -> (u64, u64) {
        let each = self.streams.iter().map(|head| head.events.progress());
        each.fold((0, 0), |(done, all), (d, a)| (done + d, all + a))
    }
}

impl Head<'_> {
    /// Moves events to `out` as long as they come before `next`, the time and index of the next stream. Gives the
    /// time of the first event that is left.
    fn take_while_first(
        &mut self,
        index: usize,
        next: Option<(u64, usize)>,
        out: &mut MergedBatch,
    ) -> Result<Option<u64>, Error> {
        loop {
            let Some(time) = self.peek()? else { return Ok(None) };
            let mine = next.is_none_or(|next| (time, index) < next);
            if !mine || out.events.len() >= BATCH || out.data.len() >= BATCH_DATA {
                return Ok(Some(time));
            }
            let Some(event) = self.batch.events.get(self.next) else { return Ok(None) };
            let mut event = *event;
            if event.data_len > 0 {
                let start = out.data.len() as u32;
                out.data.extend_from_slice(self.batch.payload(&event));
                event.data_start = start;
            }
            out.events.push((self.task, event));
            self.time = time;
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryTrace;
    use proptest::prelude::*;

    fn merged(trace: &MemoryTrace, from: Option<u64>) -> Vec<(u32, u64, Vec<u8>)> {
        let mut merge = Merge::new(trace, EventOptions::default(), |_| true).unwrap();
        if let Some(time) = from {
            merge.seek(time).unwrap();
        }
        let (mut all, mut batch) = (Vec::new(), MergedBatch::default());
        while merge.next_batch(&mut batch).unwrap() {
            let one =
                |(task, e): &(u32, Event)| (*task, e.time.max(e.addr & 0xff), batch.payload(e).to_vec());
            all.extend(batch.events.iter().map(one));
        }
        all
    }

    #[test]
    fn equal_times_go_by_task_and_losses_stay_where_they_are() {
        let mut trace = MemoryTrace::new();
        trace.task(1).task(2);
        trace.event(2, 10, 0, b"a").event(2, 20, 0, b"b").lost(2, 7).event(2, 30, 0, b"c");
        trace.event(1, 10, 0, b"d").event(1, 25, 0, b"e");
        let seen = merged(&trace, None);
        let want = [(0, 10), (1, 10), (1, 20), (1, 7), (0, 25), (1, 30)];
        assert_eq!(seen.iter().map(|(task, time, _)| (*task, *time)).collect::<Vec<_>>(), want);
        let text: Vec<u8> = seen.into_iter().flat_map(|(_, _, payload)| payload).collect();
        assert_eq!(text, b"dabec");
        assert_eq!(merged(&trace, Some(21)).len(), 2);
    }

    #[test]
    fn only_wanted_tasks() {
        let mut trace = MemoryTrace::new();
        trace.event(1, 10, 0, b"").event(2, 5, 0, b"");
        let mut merge = Merge::new(&trace, EventOptions::default(), |index| index == 1).unwrap();
        let mut batch = MergedBatch::default();
        assert!(merge.next_batch(&mut batch).unwrap());
        assert_eq!(batch.events.iter().map(|(task, e)| (*task, e.time)).collect::<Vec<_>>(), [(1, 5)]);
        assert!(!merge.next_batch(&mut batch).unwrap());
    }

    proptest! {
        /// What comes out is what a stable sort of everything gives, at whatever sizes of batches.
        #[test]
        fn order_is_that_of_a_stable_sort(
            tasks in proptest::collection::vec(proptest::collection::vec(0u64..50, 0..30), 0..6),
            size in 1usize..9,
        ) {
            let mut trace = MemoryTrace::new();
            trace.batch_size(size);
            let mut want = Vec::new();
            for (index, mut times) in tasks.into_iter().enumerate() {
                times.sort_unstable();
                trace.task(index as i32);
                for (number, time) in times.into_iter().enumerate() {
                    trace.event(index as i32, time, 0, &[number as u8]);
                    want.push((index as u32, time, vec![number as u8]));
                }
            }
            want.sort_by_key(|(task, time, _)| (*time, *task));
            prop_assert_eq!(merged(&trace, None), want);
        }
    }
}
