//! All tasks' events in one order of time.

use crate::{Batch, Error, Event, EventOptions, Kind, TaskEvents, Trace};

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
    heads: Vec<Head<'t>>,
    tree: LoserTree,
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

/// When the first event of a head is, and which head it is. Heads without events come last: see [`exhausted`].
type Key = (u64, u32);

/// Larger than any number of tasks.
const EXHAUSTED: u32 = 1 << 31;

/// The key of a head that has no more events, larger than that of any event.
fn exhausted(index: u32) -> Key {
    (u64::MAX, index | EXHAUSTED)
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
        let mut heads = Vec::new();
        for (index, task) in trace.tasks().iter().enumerate().filter(|(index, _)| wanted(*index)) {
            let (task, events) = (index as u32, trace.events(task.tid, options)?);
            heads.push(Head { task, events, batch: Batch::default(), next: 0, time: 0 });
        }
        let mut merge = Merge { heads, tree: LoserTree::default(), error: None };
        // Nothing is read before all are open, so that the store knows how many there are.
        merge.refill();
        Ok(merge)
    }

    fn refill(&mut self) {
        self.error = None;
        let mut keys = Vec::with_capacity(self.heads.len());
        for (index, head) in self.heads.iter_mut().enumerate() {
            let key = key(head.load_and_peek(), index as u32, &mut self.error);
            keys.push(key);
        }
        self.tree = LoserTree::new(&keys);
    }

    /// Goes to the first event whose time is `time` (ns) or later.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn seek(&mut self, time: u64) -> Result<(), Error> {
        for head in &mut self.heads {
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
        let mut before = None;
        while self.error.is_none() && !out.is_full() {
            let (time, index) = self.tree.first();
            // An exhausted head has an index that none has.
            let Some(head) = self.heads.get_mut(index as usize) else { break };
            // A head that wins again may do so many times: until its time passes that of the second, there is no use
            // in playing. Before that, finding the second would cost as much as playing does.
            let until = if before == Some(index) { self.tree.second(index) } else { (time, index + 1) };
            before = Some(index);
            let next = head.take_until(index, until, out);
            let key = key(next, index, &mut self.error);
            self.tree.replace_first(index, key);
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
        let each = self.heads.iter().map(|head| head.events.progress());
        each.fold((0, 0), |(done, all), (d, a)| (done + d, all + a))
    }
}

/// The key for the time of a head's next event. An error ends the head and is kept.
fn key(time: Result<Option<u64>, Error>, index: u32, error: &mut Option<Error>) -> Key {
    match time {
        Ok(Some(time)) => (time, index),
        Ok(None) => exhausted(index),
        Err(e) => {
            *error = error.take().or(Some(e));
            exhausted(index)
        }
    }
}

impl MergedBatch {
    fn is_full(&self) -> bool {
        self.events.len() >= BATCH || self.data.len() >= BATCH_DATA
    }
}

impl Head<'_> {
    /// Reads events if there are none. Gives the time of the first one.
    fn load_and_peek(&mut self) -> Result<Option<u64>, Error> {
        if self.next >= self.batch.events.len() {
            self.next = 0;
            if !self.events.next_batch(&mut self.batch)? {
                // Thousands of tasks end long before the others do.
                self.batch = Batch::default();
            }
        }
        Ok(self.batch.events.get(self.next).map(|event| time_of(event, self.time)))
    }

    /// Moves events to `out` as long as they come before `until`. Gives the time of the first event that is left.
    fn take_until(&mut self, index: u32, until: Key, out: &mut MergedBatch) -> Result<Option<u64>, Error> {
        loop {
            for event in self.batch.events.get(self.next..).unwrap_or_default() {
                let time = time_of(event, self.time);
                if (time, index) >= until || out.is_full() {
                    return Ok(Some(time));
                }
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
            if self.load_and_peek()?.is_none() {
                return Ok(None);
            }
        }
    }
}

/// The time that an event counts as having behind one of the time `last`.
fn time_of(event: &Event, last: u64) -> u64 {
    if event.kind == Kind::Lost { last } else { event.time }
}

/// A tournament: each inner node keeps the loser of the match between its two subtrees, the winner goes up. After a
/// change of the winner only the matches on its way to the root are played again.
///
/// Nodes are numbered from the root, 1; the children of n are 2n and 2n + 1; the leaf of head i is k + i. Place 0 has
/// the winner of all.
#[derive(Debug, Default)]
struct LoserTree(Vec<Key>);

impl LoserTree {
    fn new(keys: &[Key]) -> LoserTree {
        let count = keys.len();
        let mut winners = vec![exhausted(0); count];
        winners.extend_from_slice(keys);
        let mut nodes = vec![exhausted(0); count];
        for node in (1..count).rev() {
            let (left, right) = (winners[2 * node], winners[2 * node + 1]);
            winners[node] = left.min(right);
            nodes[node] = left.max(right);
        }
        if let (Some(first), Some(winner)) = (nodes.first_mut(), winners.get(1)) {
            *first = *winner;
        }
        LoserTree(nodes)
    }

    /// The smallest key.
    fn first(&self) -> Key {
        self.0.first().copied().unwrap_or(exhausted(0))
    }

    /// The nodes above the leaf of a head.
    fn above(&self, index: u32) -> impl Iterator<Item = usize> + use<> {
        let parent = (self.0.len() + index as usize) / 2;
        std::iter::successors(Some(parent), |node| Some(node / 2)).take_while(|node| *node > 0)
    }

    /// The second smallest key, given the head of the smallest: it has lost against that one.
    fn second(&self, first: u32) -> Key {
        self.above(first).filter_map(|node| self.0.get(node)).min().copied().unwrap_or(exhausted(0))
    }

    /// Changes the key of the head that had the smallest.
    fn replace_first(&mut self, index: u32, key: Key) {
        let mut winner = key;
        for node in self.above(index) {
            if let Some(loser) = self.0.get_mut(node)
                && *loser < winner
            {
                std::mem::swap(loser, &mut winner);
            }
        }
        if let Some(first) = self.0.first_mut() {
            *first = winner;
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
