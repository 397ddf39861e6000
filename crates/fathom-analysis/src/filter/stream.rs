//! The events of one task as filters leave them.

use super::Shared;
use super::sieve::Sieve;
use super::switches::Switch;
use crate::calls::CallStack;
use fathom_store::{Batch, Error, Event, EventOptions, Kind, TaskEvents, Tid, event_id};

/// Events of a task.
pub(crate) struct Stream<'s> {
    shared: &'s Shared<'s>,
    tid: Tid,
    events: Box<dyn TaskEvents + 's>,
    stack: CallStack<'s>,
    sieve: Sieve<'s>,
    batch: Batch,
    done: bool,
}

impl<'s> Stream<'s> {
    pub(crate) fn open(shared: &'s Shared<'s>, tid: Tid, options: EventOptions) -> Result<Stream<'s>, Error> {
        let trace = shared.trace;
        let mut events = trace.events(tid, options)?;
        if shared.is_range_only() {
            // What is shown does not depend on what was before, so that need not be read.
            events.seek(shared.span.from)?;
        }
        let stack = CallStack::new(trace, trace.resolver(tid));
        let sieve = Sieve::new(shared, index_of(shared, tid), shared.span.from);
        Ok(Stream { shared, tid, events, stack, sieve, batch: Batch::default(), done: false })
    }

    /// Begins anew; nothing before `from` is shown.
    fn restart(&mut self, from: u64) {
        self.stack = CallStack::new(self.shared.trace, self.shared.trace.resolver(self.tid));
        self.sieve = Sieve::new(self.shared, index_of(self.shared, self.tid), from);
        self.done = false;
    }

    fn take(&mut self, event: &Event) {
        self.sieve.prepare(event, self.batch.payload(event));
        let asleep = self.stack.frames().last().is_some_and(|frame| frame.callee.is_schedule());
        let unwanted = self.sieve.is_unwanted_preemption();
        let is_call = match event.kind {
            Kind::Entry | Kind::Exit => true,
            Kind::Lost => false,
            Kind::Event => match event.addr {
                event_id::SCHED_IN => asleep,
                event_id::SCHED_OUT | event_id::SCHED_OUT_PREEMPTED => !self.stack.frames().is_empty(),
                _ => false,
            },
        };
        self.stack.feed(event, &mut self.sieve);
        if !is_call && !unwanted {
            self.sieve.other();
        }
    }
}

/// The place of a task among those of the trace, which decides between events of the same time.
fn index_of(shared: &Shared, tid: Tid) -> u32 {
    shared.trace.tasks().iter().position(|task| task.tid == tid).unwrap_or(0) as u32
}

impl TaskEvents for Stream<'_> {
    fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        while !self.done {
            std::mem::swap(&mut self.sieve.out, batch);
            self.done = !self.events.next_batch(&mut self.batch)?;
            let events = std::mem::take(&mut self.batch.events);
            for event in &events {
                if event.kind != Kind::Lost && event.time > self.shared.span.to {
                    self.done = true;
                    break;
                }
                self.take(event);
            }
            self.batch.events = events;
            if self.done {
                self.stack.finish(&mut self.sieve);
            }
            std::mem::swap(&mut self.sieve.out, batch);
            if !batch.events.is_empty() {
                return Ok(true);
            }
            batch.clear();
        }
        Ok(false)
    }

    fn seek(&mut self, time: u64) -> Result<(), Error> {
        // What is shown depends on all that was before.
        self.restart(time.max(self.shared.span.from));
        self.events.seek(0)
    }

    fn progress(&self) -> (u64, u64) {
        self.events.progress()
    }

    fn end(&self) -> Option<u64> {
        self.stack.span().filter(|_| self.done).map(|(_, last)| last)
    }
}

/// When a task switches recording on and off.
pub(crate) fn switches_of(shared: &Shared, tid: Tid, number: u32) -> Result<Vec<Switch>, Error> {
    let trace = shared.trace;
    let mut events = trace.events(tid, EventOptions { events: false, ..EventOptions::default() })?;
    let mut stack = CallStack::new(trace, trace.resolver(tid));
    let mut sieve = Sieve::new(shared, number, u64::MAX);
    sieve.switched = Some(Vec::new());
    let mut batch = Batch::default();
    while events.next_batch(&mut batch)? {
        for event in &batch.events {
            sieve.prepare(event, batch.payload(event));
            stack.feed(event, &mut sieve);
            sieve.out.clear();
        }
    }
    Ok(sieve.switched.take().unwrap_or_default())
}
