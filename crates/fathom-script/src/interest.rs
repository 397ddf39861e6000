//! What a script wants to be called for.

use crate::Error;
use fathom_filter::{Match, Pattern};

/// What a script has defined.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    /// `uftrace_entry`.
    pub entry: bool,
    /// `uftrace_exit`.
    pub exit: bool,
    /// `uftrace_event`.
    pub event: bool,
    /// The patterns of `UFTRACE_FUNCS`; none means all functions.
    pub functions: Option<Vec<Pattern>>,
    /// What to tell the user.
    pub notes: Vec<String>,
}

impl Interest {
    /// Takes the list up. An empty one is as good as none, as with the peer.
    ///
    /// # Errors
    ///
    /// A pattern that is not valid.
    pub(crate) fn set_functions(&mut self, list: &[String], how: Match) -> Result<(), Error> {
        let patterns: Result<Vec<_>, _> = list.iter().map(|text| Pattern::new(text, how)).collect();
        let patterns = patterns.map_err(Error::Pattern)?;
        self.functions = (!patterns.is_empty()).then_some(patterns);
        Ok(())
    }

    /// Whether the script wants calls of a function.
    pub(crate) fn wants(&self, shown: &str, raw: &str) -> bool {
        let Some(patterns) = &self.functions else { return true };
        patterns.iter().any(|pattern| pattern.matches(shown, raw))
    }
}
