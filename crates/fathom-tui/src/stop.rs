//! Reading that ends when the user does not want to see more.

use fathom_store::{Batch, Error, EventOptions, Layer, TaskEvents, Tid, Trace};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

thread_local! {
    /// Where the bytes go that this thread reads.
    static COUNTER: RefCell<Option<Arc<AtomicU64>>> = const { RefCell::new(None) };
}

/// Adds what `read` reads below filters, in bytes, to `done` while it does: filters that leave little give nothing for a long
/// time.
pub(crate) fn counted<R>(done: &Arc<AtomicU64>, read: impl FnOnce() -> R) -> R {
    let before = COUNTER.replace(Some(Arc::clone(done)));
    let result = read();
    COUNTER.set(before);
    result
}

/// Tells readers to stop.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    pub(crate) fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A trace whose events end at once when they are to.
///
/// It belongs below filters: those read on by themselves until something is left, which may be the whole trace.
pub struct Stoppable<'t> {
    /// What is read.
    pub inner: &'t dyn Trace,
    /// When to stop.
    pub stop: &'t Stop,
}

impl Layer for Stoppable<'_> {
    fn inner(&self) -> &dyn Trace {
        self.inner
    }

    fn layer_events(&self, tid: Tid, options: EventOptions) -> Result<Box<dyn TaskEvents + '_>, Error> {
        Ok(Box::new(Events { events: self.inner.events(tid, options)?, stop: self.stop, read: 0 }))
    }
}

struct Events<'t> {
    events: Box<dyn TaskEvents + 't>,
    stop: &'t Stop,
    /// Bytes that have been counted.
    read: u64,
}

impl TaskEvents for Events<'_> {
    fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        if self.stop.0.load(Ordering::Relaxed) {
            batch.clear();
            return Ok(false);
        }
        let more = self.events.next_batch(batch)?;
        let before = std::mem::replace(&mut self.read, self.events.progress().0);
        COUNTER.with_borrow(|counter| {
            if let Some(done) = counter {
                done.fetch_add(self.read.saturating_sub(before), Ordering::Relaxed);
            }
        });
        Ok(more)
    }

    fn seek(&mut self, time: u64) -> Result<(), Error> {
        self.events.seek(time)?;
        self.read = self.events.progress().0;
        Ok(())
    }

    fn progress(&self) -> (u64, u64) {
        self.events.progress()
    }

    fn end(&self) -> Option<u64> {
        self.events.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_store::memory::{MemoryTrace, all_events};

    #[test]
    fn what_is_read_is_counted_also_when_filters_leave_nothing() {
        let mut inner = MemoryTrace::new();
        (0..1000).for_each(|time| {
            inner.call(1, time * 2, time * 2 + 1, "a");
        });
        inner.batch_size(10);
        let stop = Stop::default();
        let trace = Stoppable { inner: &inner, stop: &stop };
        let done = Arc::new(AtomicU64::new(0));
        let mut events = trace.events(1, EventOptions::default()).unwrap();
        let all = events.progress().1;
        let mut batch = Batch::default();
        assert!(counted(&done, || events.next_batch(&mut batch)).unwrap());
        let some = done.load(Ordering::Relaxed);
        assert!(some > 0 && some < all, "{some} of {all}");
        while counted(&done, || events.next_batch(&mut batch)).unwrap() {}
        assert_eq!(done.load(Ordering::Relaxed), all);
        events.seek(0).unwrap();
        events.next_batch(&mut batch).unwrap();
        assert_eq!(done.load(Ordering::Relaxed), all);
    }

    #[test]
    fn there_are_no_events_once_it_is_stopped() {
        let mut inner = MemoryTrace::new();
        inner.call(1, 1, 2, "a");
        let stop = Stop::default();
        let trace = Stoppable { inner: &inner, stop: &stop };
        assert_eq!(all_events(&trace, 1).unwrap().len(), 2);
        stop.now();
        assert_eq!(all_events(&trace, 1).unwrap().len(), 0);
    }
}
