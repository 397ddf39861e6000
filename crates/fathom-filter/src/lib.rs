//! The language of filters, triggers and argument specs (`-F`, `-N`, `-C`, `-H`, `-L`, `-T`, `-A`, `-R`): what they say,
//! and which rule follows from all of them for one function.
//!
//! Not for applying the rules: the runtime does that while recording and `fathom-analysis` over a recording, both by
//! [`fathom_abi::decide`].
//!
//! [`Specs`] takes the options in the order given. [`Rules`] is asked about functions, after it has seen all there
//! are: some specs mean something only when they match a function at all.
#![forbid(unsafe_code)]

mod action;
pub mod args;
mod condition;
mod location;
pub mod nearest;
mod pattern;
mod rules;
mod specs;
pub mod values;

pub use action::{Action, Color, Reads, Setting};
pub use condition::{Condition, Operator};
pub use pattern::{Match, Pattern, PatternError, is_glob};
pub use rules::{FunctionRule, Rules, Subject, Unmatched};
pub use specs::{Scope, Spec, SpecError, SpecKind, Specs};
