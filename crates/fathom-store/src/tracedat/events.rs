//! The records of one task of a recording of the kernel.

use crate::kernel::{Kernel, KernelStack, TaskRecords};
use crate::{Batch, Error, EventOptions, KernelRecords, TaskEvents, Tid, record};

/// Events in a batch at most.
const BATCH: usize = 4096;
/// Payload bytes in a batch, not counting those of the last event.
const BATCH_DATA: usize = 256 << 10;

pub(super) struct Events<'k> {
    /// None when nothing of it is wanted.
    records: Option<TaskRecords<'k>>,
    stack: KernelStack,
}

impl<'k> Events<'k> {
    pub(super) fn new(kernel: &'k Kernel, tid: Tid, options: EventOptions) -> Events<'k> {
        let wanted = options.kernel != KernelRecords::None;
        Events { records: wanted.then(|| kernel.records(tid, options.events)), stack: KernelStack::default() }
    }
}

impl TaskEvents for Events<'_> {
    fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        let Some(records) = &mut self.records else { return Ok(false) };
        while batch.events.len() < BATCH && batch.data.len() < BATCH_DATA && records.peek()?.is_some() {
            let Some(mut event) = records.take(&mut batch.data) else { break };
            event.depth = (self.stack.depth(&event) & u32::from(record::MAX_DEPTH)) as u16;
            batch.events.push(event);
        }
        Ok(!batch.events.is_empty())
    }

    fn seek(&mut self, time: u64) -> Result<(), Error> {
        self.stack.clear();
        if let Some(records) = &mut self.records {
            records.seek(time);
        }
        Ok(())
    }

    fn progress(&self) -> (u64, u64) {
        self.records.as_ref().map_or((0, 0), TaskRecords::progress)
    }
}
