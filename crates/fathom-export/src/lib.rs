//! Conversions of a trace for other programs and other eyes: the records as they are, Chrome's trace events,
//! folded stacks for flame graphs, graphs for graphviz and mermaid.
//!
//! Not for the tracer's own views (`fathom-view`) nor for reading traces (`fathom-store`).
//!
//! Every conversion is one function of a trace, options and a writer. It streams: memory does not grow with
//! the trace, only with the number of tasks and, where a call tree is shown, with that tree. Names from the
//! traced program are escaped for the language they end up in.
#![forbid(unsafe_code)]

mod arg_text;
mod buffer;
mod chrome;
mod diagram;
mod error;
mod escape;
mod event_text;
mod flame;
mod names;
mod raw;
#[cfg(test)]
mod tests;
mod tree;

pub use chrome::{ChromeOptions, chrome};
pub use diagram::{DiagramOptions, graphviz, mermaid};
pub use error::Error;
pub use event_text::event_text;
pub use flame::{FlameOptions, flame_graph};
pub use raw::{RawOptions, raw};

/// What a conversion has to say besides its output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// In how many places of the trace records are missing.
    pub lost: u64,
}
