//! Where the events of slices come from.

use super::index::{Index, SliceInfo};
use super::spool::Spool;
use fathom_store::{Error, EventOptions, Merge, MergedBatch, Trace};
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A trace with what is known of it, shared by the threads that read it.
pub(crate) struct Timeline<'t> {
    pub(crate) trace: &'t dyn Trace,
    pub(crate) options: EventOptions,
    index: RwLock<Index>,
    /// Keeps the events if the trace can only be read from its beginning.
    spool: Option<RwLock<Spool>>,
}

impl<'t> Timeline<'t> {
    /// `seekable`: the trace can be read from any moment on without reading what was before.
    pub(crate) fn new(trace: &'t dyn Trace, options: EventOptions, seekable: bool) -> Timeline<'t> {
        Timeline {
            trace,
            options,
            index: RwLock::new(Index::new(trace.tasks().len())),
            spool: (!seekable).then(RwLock::default),
        }
    }

    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn spool_mut(&self) -> Option<RwLockWriteGuard<'_, Spool>> {
        self.spool.as_ref().map(|spool| spool.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The events of a slice.
    pub(crate) fn events(&self, slice: &SliceInfo) -> Result<MergedBatch, Error> {
        if let (Some(spool), Some(place)) = (&self.spool, slice.place) {
            let spool = spool.read().unwrap_or_else(PoisonError::into_inner);
            return spool.read(place).map_err(spool_error);
        }
        // What is left out is counted over all tasks.
        let all = slice.skip > 0;
        let wanted = |task: usize| all || slice.tasks.binary_search(&(task as u32)).is_ok();
        let mut merge = Merge::new(self.trace, self.options, wanted)?;
        // Losses before the first event with a time would be left out.
        if slice.first > 0 {
            merge.seek(slice.seek)?;
        }
        let (mut found, mut batch) = (MergedBatch::default(), MergedBatch::default());
        let mut skip = usize::try_from(slice.skip).unwrap_or(usize::MAX);
        let count = usize::try_from(slice.events).unwrap_or(usize::MAX);
        while found.events.len() < count && merge.next_batch(&mut batch)? {
            let skipped = skip.min(batch.events.len());
            skip -= skipped;
            let events = batch.events.get(skipped..).unwrap_or_default();
            for (task, event) in events.iter().take(count - found.events.len()) {
                let mut event = *event;
                if event.data_len > 0 {
                    let start = found.data.len() as u32;
                    found.data.extend_from_slice(batch.payload(&event));
                    event.data_start = start;
                }
                found.events.push((*task, event));
            }
        }
        Ok(found)
    }
}

/// What went wrong with the temporary file.
pub(crate) fn spool_error(source: std::io::Error) -> Error {
    Error::Io { file: PathBuf::from("a temporary file for what the filters leave"), action: "use", source }
}
