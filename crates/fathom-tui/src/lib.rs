//! The terminal user interface: call graph, report, replay, info and sessions of a trace, to walk through.
//!
//! Not for computing what is shown (`fathom-analysis`), nor for text that is written once (`fathom-view`).
//!
//! The state and what changes it (`app`, `view`) know nothing of terminals, drawing (`draw`) only reads the state, and
//! what takes time is done by other threads (`work`, `timeline`): the first screen shows what has been read by then, and
//! fills while the rest is read. The loop that joins these with a terminal is in `terminal`.
#![forbid(unsafe_code)]

mod app;
mod draw;
mod stop;
mod terminal;
mod timeline;
mod view;
mod work;

#[cfg(test)]
mod tests;

pub use draw::theme::Theme;
use fathom_analysis::statistics::Key;
use fathom_store::{EventOptions, Trace};
pub use stop::{Stop, Stoppable};

/// The view that comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The call graph; the list of sessions if there are several.
    #[default]
    Graph,
    /// The report.
    Report,
    /// The replay.
    Replay,
}

/// Texts and options of the user.
#[derive(Clone, Debug)]
pub struct Words {
    /// What is looked at, e.g. the name of the directory.
    pub title: String,
    /// The text of the info view.
    pub info: String,
    /// Columns of the first view, as typed: names separated by commas, `+` in front for more than the usual ones.
    pub fields: Option<String>,
    /// What the report is sorted by; nothing for the usual order.
    pub keys: Vec<Key>,
    /// How it looks.
    pub theme: Theme,
}

/// What is shown.
pub struct Setup<'t> {
    /// What graph and report are made of.
    pub trace: &'t dyn Trace,
    /// What the replay shows.
    pub replayed: &'t dyn Trace,
    /// Which events are shown.
    pub events: EventOptions,
    /// Whether `replayed` can be read from any moment on without reading all that was before.
    pub seekable: bool,
    /// Whether library functions have lines in graph and report.
    pub libcalls: bool,
    /// Told when reading is to end.
    pub stop: &'t Stop,
    /// The view that comes first.
    pub start: Start,
    /// Texts and options of the user.
    pub words: Words,
}

/// Why there is no user interface.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A column that there is not.
    #[error("there is no field '{name}' in this view; there are {possible}")]
    Field {
        /// As typed.
        name: String,
        /// Those that there are.
        possible: String,
    },
    /// There is no terminal, or it has gone.
    #[error("the terminal cannot be used")]
    Terminal(#[from] std::io::Error),
}

/// Shows a trace until the user has seen enough.
///
/// # Errors
///
/// A column that there is not; a terminal that cannot be used.
pub fn run(setup: &Setup) -> Result<(), Error> {
    terminal::run(setup)
}
