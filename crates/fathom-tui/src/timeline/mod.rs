//! All calls of a trace in the order of time, of which only a window is ever in memory.
//!
//! The merged events of all tasks are numbered. One pass over the trace ([`scan`]) cuts them into slices of some ten
//! thousand events and keeps, for the beginning of each, what must be known to start reading there: the open calls
//! of each task ([`index`]). With that any slice can be read by itself ([`mod@slice`]). What is shown is looked for in the
//! slices near the cursor ([`reader`]); slices in which everything is folded away, or which cannot have what is searched
//! for, are stepped over without being read.
//!
//! The pass runs in the background. Everything up to where it has come can be looked at.

pub(crate) mod find;
pub(crate) mod folds;
pub(crate) mod index;
pub(crate) mod reader;
pub(crate) mod scan;
pub(crate) mod slice;
pub(crate) mod source;
pub(crate) mod spool;
pub(crate) mod text;

#[cfg(test)]
mod tests;

/// A place in the order of all events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id {
    /// Number of the event among those of all tasks.
    pub(crate) event: u64,
    /// Messages from outside have the number of the event that they come before, and an index here.
    pub(crate) extra: u32,
}

impl Id {
    /// The first place of all.
    pub(crate) const FIRST: Id = Id { event: 0, extra: 0 };
    /// Behind all others.
    pub(crate) const LAST: Id = Id { event: u64::MAX, extra: u32::MAX };

    /// The place of an event.
    pub(crate) const fn of_event(event: u64) -> Id {
        Id { event, extra: u32::MAX }
    }
}
