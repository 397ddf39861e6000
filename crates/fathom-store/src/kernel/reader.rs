//! The records of one task, from all CPUs that it ran on.

use super::decode::Said;
use super::{Kernel, Walk, task_of};
use crate::{Batch, Error, Event, Kind, Tid};

/// Records of a task in the order of time. Losses stand before the first record after them: what was lost may have been
/// any task's, and that is the first to notice.
pub struct TaskRecords<'k> {
    kernel: &'k Kernel,
    tid: Tid,
    events: bool,
    cpus: Vec<Cursor<'k>>,
    /// The CPU with the earliest record, while it is known.
    current: Option<usize>,
    /// Up to which time it stays that.
    until: u64,
    buffer: Vec<u8>,
    /// Records before this time are left out.
    from: u64,
}

/// The records of one CPU.
struct Cursor<'k> {
    cpu: u32,
    blocks: &'k [u32],
    /// The block after the one that `batch` is from, as an index into `blocks`.
    next_block: usize,
    batch: Batch,
    next: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<&Event> {
        self.batch.events.get(self.next)
    }

    /// A time that no later record of this CPU is before; the largest of all when there are none.
    fn earliest(&self, kernel: &Kernel) -> u64 {
        match (self.peek(), self.blocks.get(self.next_block)) {
            (Some(event), _) => event.time,
            (None, Some(block)) => kernel.index.start(self.cpu, *block),
            (None, None) => u64::MAX,
        }
    }

    fn is_done(&self) -> bool {
        self.peek().is_none() && self.next_block >= self.blocks.len()
    }
}

impl<'k> TaskRecords<'k> {
    pub(super) fn new(kernel: &'k Kernel, tid: Tid, events: bool) -> TaskRecords<'k> {
        let blocks = kernel.index.task(tid).map_or(&[][..], |task| task.blocks.as_slice());
        let cursor = |(cpu, blocks): &'k (u32, Vec<u32>)| Cursor {
            cpu: *cpu,
            blocks,
            next_block: 0,
            batch: Batch::default(),
            next: 0,
        };
        TaskRecords {
            kernel,
            tid,
            events,
            cpus: blocks.iter().map(cursor).collect(),
            current: None,
            until: 0,
            buffer: Vec::new(),
            from: 0,
        }
    }

    /// The next record, none at the end.
    ///
    /// # Errors
    ///
    /// When its block can't be read.
    pub fn peek(&mut self) -> Result<Option<&Event>, Error> {
        let index = match self.current {
            Some(index) if self.cpus[index].peek().is_some_and(|event| event.time <= self.until) => index,
            _ => match self.choose()? {
                Some(index) => index,
                None => return Ok(None),
            },
        };
        Ok(self.cpus[index].peek())
    }

    /// Takes the record that [`TaskRecords::peek`] has shown; its payload is added to `data`, where the record then says
    /// it is.
    pub fn take(&mut self, data: &mut Vec<u8>) -> Option<Event> {
        let cursor = self.cpus.get_mut(self.current?)?;
        let mut event = *cursor.batch.events.get(cursor.next)?;
        cursor.next += 1;
        if event.data_len > 0 {
            let start = data.len() as u32;
            data.extend_from_slice(cursor.batch.payload(&event));
            event.data_start = start;
        }
        Some(event)
    }

    /// Finds the CPU with the earliest record, reading no more blocks than needed for that.
    #[cold]
    fn choose(&mut self) -> Result<Option<usize>, Error> {
        loop {
            let (mut first, mut second) = ((u64::MAX, usize::MAX), u64::MAX);
            for (index, cursor) in self.cpus.iter().enumerate().filter(|(_, cursor)| !cursor.is_done()) {
                let time = cursor.earliest(self.kernel);
                if (time, index) < first {
                    second = first.0;
                    first = (time, index);
                } else {
                    second = second.min(time);
                }
            }
            let Some(cursor) = self.cpus.get(first.1) else {
                self.current = None;
                return Ok(None);
            };
            if cursor.peek().is_some() {
                self.current = Some(first.1);
                self.until = second;
                return Ok(self.current);
            }
            self.load(first.1)?;
        }
    }

    /// Decodes the next block of a CPU.
    fn load(&mut self, index: usize) -> Result<(), Error> {
        let Some(cursor) = self.cpus.get_mut(index) else { return Ok(()) };
        cursor.batch.clear();
        cursor.next = 0;
        let Some(block) = cursor.blocks.get(cursor.next_block) else { return Ok(()) };
        // A block that can't be read is not tried again.
        cursor.next_block += 1;
        self.kernel.source.read(cursor.cpu as usize, *block, &mut self.buffer)?;
        let (kernel, from) = (self.kernel, self.from);
        let number = kernel.source.cpus().get(cursor.cpu as usize).map_or(0, |pages| pages.cpu);
        let mut missed = None;
        for step in kernel.walk(&self.buffer) {
            match step {
                Walk::Missed(count) => missed = Some(count),
                Walk::Damaged(_) => {}
                Walk::Record { time, common, data } => {
                    let missed = missed.take();
                    if task_of(common.pid, number) != self.tid || time < from {
                        continue;
                    }
                    let batch = &mut cursor.batch;
                    if let Some(count) = missed {
                        batch.events.push(event(time, Kind::Lost, count, 0));
                    }
                    match kernel.formats.decode(common, data) {
                        Some(Said::Entry { addr, depth }) => {
                            batch.events.push(event(time, Kind::Entry, addr, depth));
                        }
                        Some(Said::Exit { addr, depth }) => {
                            batch.events.push(event(time, Kind::Exit, addr, depth));
                        }
                        // It is not known how long it took, so it takes no time.
                        Some(Said::Called { addr }) => {
                            batch.events.push(event(time, Kind::Entry, addr, 0));
                            batch.events.push(event(time, Kind::Exit, addr, 0));
                        }
                        Some(Said::Event { id }) if self.events => {
                            let start = batch.data.len();
                            kernel.event_text(id, data, &mut batch.data);
                            let mut event = event(time, Kind::Event, u64::from(id), 0);
                            event.data_start = start as u32;
                            event.data_len = (batch.data.len() - start) as u32;
                            batch.events.push(event);
                        }
                        Some(Said::Event { .. }) | None => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Goes to the first record whose time (ns) is `time` or later.
    pub fn seek(&mut self, time: u64) {
        let kernel = self.kernel;
        for cursor in &mut self.cpus {
            // Records of that time may be at the end of the block before the first one that begins later.
            let after = cursor.blocks.partition_point(|block| kernel.index.start(cursor.cpu, *block) < time);
            cursor.next_block = after.saturating_sub(1);
            cursor.batch.clear();
            cursor.next = 0;
        }
        self.current = None;
        self.from = time;
    }

    /// Blocks read so far and in all, in bytes as far as blocks are of one size.
    pub fn progress(&self) -> (u64, u64) {
        const BLOCK: u64 = 64 << 10;
        let each = self.cpus.iter().map(|cursor| (cursor.next_block as u64, cursor.blocks.len() as u64));
        each.fold((0, 0), |(done, all), (d, a)| (done + BLOCK * d, all + BLOCK * a))
    }
}

fn event(time: u64, kind: Kind, addr: u64, depth: u16) -> Event {
    Event { time, addr, data_start: 0, data_len: 0, depth, kind, inherited: false }
}
