//! Numbers from event streams: calls, statistics of functions, call graphs, differences between traces.
//!
//! Not for reading traces (`fathom-store`) nor for text (`fathom-view`).
//!
//! Everything here is a fold over the events of single tasks: [`calls`] matches entries and exits of a task,
//! [`statistics`] and [`graph`] add up what comes out of it, [`walk`] does that for many tasks at once. [`filter`] shows
//! them less than there is.
#![forbid(unsafe_code)]

pub mod callee;
pub mod calls;
pub mod diff;
pub mod filter;
pub mod graph;
pub mod statistics;
pub mod walk;

pub use callee::{Callee, Role};
pub use calls::{CallStack, End, Frame, Origin, Paused, Visitor};
