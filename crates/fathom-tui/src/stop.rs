//! Reading that ends when the user does not want to see more.

use fathom_store::{Batch, Error, EventOptions, Layer, TaskEvents, Tid, Trace};
use std::sync::atomic::{AtomicBool, Ordering};

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
        Ok(Box::new(Events { events: self.inner.events(tid, options)?, stop: self.stop }))
    }
}

struct Events<'t> {
    events: Box<dyn TaskEvents + 't>,
    stop: &'t Stop,
}

impl TaskEvents for Events<'_> {
    fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        if self.stop.0.load(Ordering::Relaxed) {
            batch.clear();
            return Ok(false);
        }
        self.events.next_batch(batch)
    }

    fn seek(&mut self, time: u64) -> Result<(), Error> {
        self.events.seek(time)
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
