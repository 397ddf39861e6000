//! The records of a buffer's CPUs in the order of time, with a look at the one that comes next.

use super::time::Correction;
use crate::error::Error;
use crate::pages::Pages;
use crate::recording::{Buffer, Recording};
use fathom_ftrace::{CpuReader, Item, Missed, PageLayout};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A CPU of a buffer.
struct Lane {
    cpu: u32,
    reader: CpuReader<Pages>,
    /// Events that were lost before the record that comes next.
    missed: Option<Missed>,
    /// The corrected time of the latest record.
    last: u64,
}

/// What comes next.
#[derive(Debug)]
pub(crate) struct Next<'a> {
    /// The CPU's number.
    pub(crate) cpu: u32,
    /// Corrected time.
    pub(crate) time: u64,
    /// The record, from `common_type` on.
    pub(crate) record: &'a [u8],
    /// Events that were lost before it.
    pub(crate) missed: Option<Missed>,
}

/// The CPUs of a buffer.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    correction: Correction,
    /// Times of all but the first CPU in line.
    waiting: BinaryHeap<Reverse<(u64, usize)>>,
    /// The CPU whose record comes next, with its time.
    first: Option<(u64, usize)>,
    /// Whether its record has been handed out and the lanes must move on.
    taken: bool,
    name: std::sync::Arc<str>,
    /// Whether it is noted where a time goes back.
    check: bool,
    notes: Vec<String>,
}

/// Notes that are kept; a damaged file could make millions.
const MAX_NOTES: usize = 1000;

impl Lanes {
    /// The CPUs of `buffer`; `check`: it is noted where a time goes back.
    pub(crate) fn new(
        recording: &Recording,
        buffer: &Buffer,
        layout: PageLayout,
        correction: Correction,
        check: bool,
    ) -> Result<Self, Error> {
        let lanes = buffer
            .cpus
            .iter()
            .map(|cpu| Lane {
                cpu: cpu.cpu,
                reader: CpuReader::new(recording.pages(buffer, cpu), layout),
                missed: None,
                last: 0,
            })
            .collect();
        let mut lanes = Self {
            lanes,
            correction,
            waiting: BinaryHeap::new(),
            first: None,
            taken: false,
            name: recording.name.clone(),
            check,
            notes: Vec::new(),
        };
        for index in 0..lanes.lanes.len() {
            if let Some(time) = lanes.ready(index)? {
                lanes.waiting.push(Reverse((time, index)));
            }
        }
        lanes.first = lanes.waiting.pop().map(|Reverse(first)| first);
        Ok(lanes)
    }

    /// Corrected time of the record that comes next.
    #[inline]
    pub(crate) fn peek_time(&mut self) -> Result<Option<u64>, Error> {
        if self.taken {
            self.advance()?;
        }
        Ok(self.first.map(|(time, _)| time))
    }

    /// The record that comes next; it stays.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<Option<Next<'_>>, Error> {
        if self.peek_time()?.is_none() {
            return Ok(None);
        }
        Ok(self.current())
    }

    /// The record that comes next, which is taken.
    #[inline]
    pub(crate) fn take(&mut self) -> Result<Option<Next<'_>>, Error> {
        if self.peek_time()?.is_none() {
            return Ok(None);
        }
        self.taken = true;
        Ok(self.current())
    }

    fn current(&self) -> Option<Next<'_>> {
        let (time, index) = self.first?;
        let lane = &self.lanes[index];
        match lane.reader.peeked() {
            Some(Item::Record(record)) => {
                Some(Next { cpu: lane.cpu, time, record: record.data, missed: lane.missed })
            }
            _ => None,
        }
    }

    /// What was wrong with pages so far, in words.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.taken = false;
        let Some((_, index)) = self.first else { return Ok(()) };
        self.lanes[index].reader.skip();
        self.lanes[index].missed = None;
        self.first = match (self.ready(index)?, self.waiting.peek()) {
            (Some(time), Some(Reverse(waiting))) if *waiting < (time, index) => {
                let first = *waiting;
                self.waiting.pop();
                self.waiting.push(Reverse((time, index)));
                Some(first)
            }
            (Some(time), _) => Some((time, index)),
            (None, _) => self.waiting.pop().map(|Reverse(first)| first),
        };
        Ok(())
    }

    /// Goes on to a CPU's next record; its corrected time.
    #[inline]
    fn ready(&mut self, index: usize) -> Result<Option<u64>, Error> {
        let lane = &mut self.lanes[index];
        loop {
            let read = lane.reader.peek_time();
            let Some(_) = read.map_err(|error| unwrap_error(&self.name, error))? else {
                let incomplete = lane.reader.source().incomplete_bytes();
                if incomplete > 0 {
                    let cpu = lane.cpu;
                    self.notes.push(format!("CPU {cpu} ends within a page: {incomplete} bytes are left out"));
                }
                return Ok(None);
            };
            let note = match lane.reader.peeked() {
                Some(Item::Record(record)) => {
                    let time = self.correction.apply(record.time);
                    let before = std::mem::replace(&mut lane.last, time);
                    if self.check && time < before && self.notes.len() < MAX_NOTES {
                        let (cpu, delta) = (lane.cpu, before - time);
                        self.notes.push(format!(
                            "Record on cpu {cpu} went backwards: {before} to {time} delta: -{delta}"
                        ));
                    }
                    return Ok(Some(time));
                }
                Some(Item::Missed(missed)) => {
                    lane.missed = Some(missed);
                    None
                }
                Some(Item::Damaged(error)) => Some(format!("CPU {}: {error}", lane.cpu)),
                None => return Ok(None),
            };
            self.notes.extend(note.filter(|_| self.notes.len() < MAX_NOTES));
            lane.reader.skip();
        }
    }
}

/// The error of [`Pages`] as it was before it went through `Read`.
fn unwrap_error(name: &str, error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => own,
        Err(error) => Error::io(name, error),
    }
}
