//! Commands and options that are known by name but not there yet: they are refused with the reason, so that
//! nobody believes they had an effect, and they appear in no help text.

/// An option that is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Later {
    /// Name without dashes.
    pub(crate) long: &'static str,
    /// The letter, where it has one.
    pub(crate) short: Option<char>,
    /// Whether it takes a value.
    pub(crate) value: bool,
    /// What it belongs to, as in "… come later".
    pub(crate) part: &'static str,
}

const fn flag(long: &'static str, short: Option<char>, part: &'static str) -> Later {
    Later { long, short, value: false, part }
}

/// Options of the peer that later work brings.
pub(crate) const OPTIONS: &[Later] = &[flag("system", None, "the state of the current machine comes")];

/// Commands that later work brings, with what they belong to.
pub(crate) const COMMANDS: &[(&str, &str)] = &[];
