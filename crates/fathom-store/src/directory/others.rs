//! What is mixed into a task's own records: its events from the processors, and what it did in the kernel.

use super::perf::{PerfIndex, TaskEvent};
use crate::kernel::{KernelStack, TaskRecords};
use crate::{Batch, Error, Event, EventOptions, KernelRecords, Kind, event_id, record};
use std::collections::VecDeque;

/// Records of the kernel that are looked at ahead, to find out when a task had no processor.
const AHEAD: usize = 4096;

/// The other events of a task, in the order of time.
pub(super) struct Others<'t> {
    options: EventOptions,
    perf: Option<&'t PerfIndex>,
    /// Ascending by time, the next one to be delivered first.
    events: &'t [TaskEvent],
    all: &'t [TaskEvent],
    kernel: Option<TaskRecords<'t>>,
    /// Records of the kernel that have been looked at already, and their payloads.
    ahead: VecDeque<Event>,
    data: Vec<u8>,
    /// Its open calls in the kernel.
    stack: KernelStack,
    /// Time of the last event that was left out because it is outside of functions of the program.
    pub(super) left_out: Option<u64>,
    /// When the task lost its processor, for the event that comes next.
    out_at: Option<u64>,
    /// When it got one again, for the event behind that.
    in_at: Option<u64>,
}

impl<'t> Others<'t> {
    pub(super) fn new(
        perf: Option<&'t PerfIndex>,
        events: &'t [TaskEvent],
        kernel: Option<TaskRecords<'t>>,
        options: EventOptions,
    ) -> Others<'t> {
        Others {
            options,
            perf,
            events,
            all: events,
            kernel,
            ahead: VecDeque::new(),
            data: Vec::new(),
            stack: KernelStack::default(),
            left_out: None,
            out_at: None,
            in_at: None,
        }
    }

    /// Whether there are none, or none left.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.kernel.is_none()
    }

    pub(super) fn seek(&mut self, time: u64) {
        let first = self.all.partition_point(|event| event.time < time);
        self.events = self.all.get(first..).unwrap_or_default();
        if let Some(kernel) = &mut self.kernel {
            kernel.seek(time);
        }
        self.ahead.clear();
        self.data.clear();
        self.stack.clear();
        (self.out_at, self.in_at) = (None, None);
    }

    /// The task runs code of the program, so it is in no function of the kernel.
    pub(super) fn in_program(&mut self) {
        self.stack.clear();
    }

    pub(super) fn progress(&self) -> (u64, u64) {
        self.kernel.as_ref().map_or((0, 0), TaskRecords::progress)
    }

    /// Moves events that are earlier than `time` to `batch`, until that has `most`. `level` is the number of the program's
    /// calls that are open. Says whether all of them are moved.
    pub(super) fn push_before(
        &mut self,
        time: u64,
        level: u32,
        most: usize,
        batch: &mut Batch,
    ) -> Result<bool, Error> {
        loop {
            if batch.events.len() >= most {
                return Ok(false);
            }
            let kernel = self.kernel_time()?;
            let perf = self.perf_time(kernel)?;
            if kernel.min(perf) >= time {
                return Ok(true);
            }
            if kernel <= perf {
                self.take_kernel(level, batch);
            } else {
                self.take_perf(perf, level, batch);
            }
        }
    }

    /// Time of the next record of the kernel.
    fn kernel_time(&mut self) -> Result<u64, Error> {
        if let Some(event) = self.ahead.front() {
            return Ok(event.time);
        }
        match &mut self.kernel {
            Some(kernel) => Ok(kernel.peek()?.map_or(u64::MAX, |event| event.time)),
            None => Ok(u64::MAX),
        }
    }

    fn take_kernel(&mut self, level: u32, batch: &mut Batch) {
        let mut event = match self.ahead.pop_front() {
            Some(event) => {
                let start = event.data_start as usize;
                let payload = self.data.get(start..start + event.data_len as usize).unwrap_or_default();
                let data_start = batch.data.len() as u32;
                batch.data.extend_from_slice(payload);
                if self.ahead.is_empty() {
                    self.data.clear();
                }
                Event { data_start, ..event }
            }
            None => match self.kernel.as_mut().and_then(|kernel| kernel.take(&mut batch.data)) {
                Some(event) => event,
                None => return,
            },
        };
        let depth = self.stack.depth(&event);
        let inside = level > 0 || self.options.kernel == KernelRecords::All;
        if event.kind == Kind::Event || inside {
            let depth = level.wrapping_add(depth);
            event.depth = (depth & u32::from(record::MAX_DEPTH)) as u16;
            batch.events.push(event);
        }
    }

    /// Time of the next event of the processors that is wanted. The next record of the kernel is at `kernel`.
    fn perf_time(&mut self, kernel: u64) -> Result<u64, Error> {
        while let Some(first) = self.events.first() {
            if first.is_sched() && !self.options.sched {
                self.events = &self.events[1..];
                continue;
            }
            return match first.id() {
                event_id::SCHED_IN => Ok(self.in_at.unwrap_or(first.time)),
                event_id::SCHED_OUT | event_id::SCHED_OUT_PREEMPTED => {
                    // What it did before in the kernel comes first.
                    if self.out_at.is_none() && kernel > first.time && kernel != u64::MAX {
                        self.find_absence(first.time)?;
                    }
                    Ok(self.out_at.unwrap_or(first.time))
                }
                _ => Ok(first.time),
            };
        }
        Ok(u64::MAX)
    }

    fn take_perf(&mut self, time: u64, level: u32, batch: &mut Batch) {
        let Some((event, rest)) = self.events.split_first() else { return };
        self.events = rest;
        match event.id() {
            event_id::SCHED_IN => self.in_at = None,
            event_id::SCHED_OUT | event_id::SCHED_OUT_PREEMPTED => self.out_at = None,
            _ => {}
        }
        if level == 0 && self.options.kernel == KernelRecords::All && !self.options.outside {
            // For readers it would be inside of what is open in the kernel.
            self.left_out = Some(time);
            return;
        }
        let Some((addr, payload)) = self.perf.map(|perf| perf.contents(*event)) else { return };
        let (data_start, data_len) = (batch.data.len() as u32, payload.len() as u32);
        batch.data.extend_from_slice(payload);
        let kind = Kind::Event;
        batch.events.push(Event { time, addr, data_start, data_len, depth: 0, kind, inherited: false });
    }

    /// When the task really had no processor, that the event at `out` says it lost.
    ///
    /// The kernel tells of a switch before it is done, and of the return some functions after it. So the task was away
    /// during the longest time between the two in which it did nothing in the kernel. As the peer has it, it comes back
    /// one nanosecond before it does something again.
    fn find_absence(&mut self, out: u64) -> Result<(), Error> {
        self.out_at = Some(out);
        let back = self.events.iter().skip(1).find(|event| event.is_sched());
        let Some(back) = back.filter(|event| event.id() == event_id::SCHED_IN) else { return Ok(()) };
        self.look_ahead(back.time)?;
        let (mut longest, mut before) = (0, out);
        let inner = self.ahead.iter().map(|event| event.time).filter(|time| (out..back.time).contains(time));
        for time in inner.chain([back.time]) {
            if time.saturating_sub(before) > longest {
                longest = time - before;
                self.out_at = Some(before);
                self.in_at = Some(if time == back.time { time } else { time - 1 });
            }
            before = time;
        }
        Ok(())
    }

    fn look_ahead(&mut self, until: u64) -> Result<(), Error> {
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        while self.ahead.len() < AHEAD && self.ahead.back().is_none_or(|event| event.time < until) {
            if kernel.peek()?.is_none() {
                break;
            }
            self.ahead.extend(kernel.take(&mut self.data));
        }
        Ok(())
    }
}
