//! Recipes of kernel tracing: scenarios as data (what to set, under which names on this kernel, what it teaches), their analysis
//! over decoded events, and the words that say what was seen.
//!
//! Not for driving tracefs and not for decoding records: settings go to `fathom-tracefs`, records come from `fathom-ftrace`.
//!
//! The analyses take events one by one, in bounded memory, and need nothing of the kernel but its events: they work on every kernel
//! that has those, whether it has histograms or not.

#![forbid(unsafe_code)]
pub mod catalogue;
pub mod choose;
pub mod event;
pub mod graph;
mod handlers;
pub mod histogram;
pub mod label;
pub mod lines;
pub mod measure;
pub mod names;
pub mod recipe;
mod sched;
pub mod script;
pub mod summary;
mod tables;
pub mod text;
pub mod words;
pub mod workload;

pub use catalogue::{RECIPES, find};
pub use choose::{Choice, Chosen, Options, choose};
pub use event::Event;
pub use label::{Label, Names};
pub use recipe::{Item, Kind, Need, OptionName, Recipe, Scope, Workload};
pub use summary::{Analysis, Found, Summary};
