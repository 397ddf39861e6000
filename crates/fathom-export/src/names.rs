//! Function names, prepared once for each function instead of at each of its calls.

use fathom_store::{FunctionId, FunctionKind, Trace};
use std::sync::Arc;

/// A function as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) text: Arc<str>,
    /// Whether its calls are left out.
    pub(crate) hidden: bool,
}

/// The names met so far.
pub(crate) struct Names<'a> {
    trace: &'a dyn Trace,
    libcalls: bool,
    known: Vec<Option<Name>>,
}

impl<'a> Names<'a> {
    /// `libcalls` is false to leave out calls of library functions.
    pub(crate) fn new(trace: &'a dyn Trace, libcalls: bool) -> Self {
        Names { trace, libcalls, known: Vec::new() }
    }

    pub(crate) fn get(&mut self, id: FunctionId) -> Name {
        let index = id.0 as usize;
        if let Some(Some(name)) = self.known.get(index) {
            return name.clone();
        }
        let function = self.trace.function(id);
        let hidden = !self.libcalls && function.kind == FunctionKind::Plt;
        let name = Name { text: function.name.clone(), hidden };
        if self.known.len() <= index {
            self.known.resize(index + 1, None);
        }
        if let Some(slot) = self.known.get_mut(index) {
            *slot = Some(name.clone());
        }
        name
    }
}
