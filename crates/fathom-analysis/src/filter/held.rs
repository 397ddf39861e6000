//! Events that wait for a decision, in order.

use fathom_store::{Batch, Event};
use std::collections::VecDeque;

/// An event that waits.
struct Waiting {
    event: Event,
    payload: Box<[u8]>,
    /// It stays out whatever is decided.
    silent: bool,
}

/// The events of a task from the first that waits.
#[derive(Default)]
pub(crate) struct Held {
    events: VecDeque<Waiting>,
    /// Number of the first one. Numbers count all that ever waited.
    first: u64,
}

/// Adds an event to a batch.
pub(crate) fn emit(out: &mut Batch, event: &Event, payload: &[u8]) {
    let data_start = out.data.len() as u32;
    out.data.extend_from_slice(payload);
    out.events.push(Event { data_start, data_len: payload.len() as u32, ..*event });
}

impl Held {
    /// Number of the next one.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn push(&mut self, event: &Event, payload: &[u8], silent: bool) {
        self.events.push_back(Waiting { event: *event, payload: payload.into(), silent });
    }

    /// Lets all go that come before number `end`.
    pub(crate) fn release(&mut self, end: u64, out: &mut Batch) {
        while self.first < end
            && let Some(waiting) = self.events.pop_front()
        {
            self.first += 1;
            if !waiting.silent {
                emit(out, &waiting.event, &waiting.payload);
            }
        }
    }

    /// Drops all from number `from` on.
    pub(crate) fn truncate(&mut self, from: u64) {
        self.events.truncate(from.saturating_sub(self.first) as usize);
    }

    /// Drops one.
    pub(crate) fn silence(&mut self, number: u64) {
        if let Some(waiting) = number.checked_sub(self.first).and_then(|at| self.events.get_mut(at as usize))
        {
            waiting.silent = true;
        }
    }
}
