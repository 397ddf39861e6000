//! What a reader found to be not as it should be.

use super::dat::Warn;
use rustc_hash::FxHashSet;
use std::sync::{Mutex, PoisonError};

/// More lines than this say nothing new; a damaged trace could make millions.
const MOST: usize = 1000;

/// A list of different lines, added to by many threads.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<(Vec<String>, FxHashSet<String>)>);

impl Warnings {
    pub(crate) fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

impl Warn for Warnings {
    fn warn(&self, text: String) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (list, seen) = &mut *guard;
        if list.len() < MOST && seen.insert(text.clone()) {
            list.push(text);
        }
    }
}
