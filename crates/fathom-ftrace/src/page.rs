//! The sub-buffer: what one read of `trace_pipe_raw` gives.
//!
//! ```text
//!     u64  time          of the page's begin
//!     long commit        bytes used | missed events << 31 | their number is stored << 30
//!     u8   data[]        records
//! ```
//!
//! A record begins with 32 bits, `type_len:5` and `time_delta:27`; on machines with the most significant byte first
//! the five bits are the high ones.
//!
//! | type_len | |
//! | --- | --- |
//! | 1 to 28 | data of `type_len * 4` bytes |
//! | 0 | a word with the length (of itself and the data), then the data |
//! | 29 | padding: with no delta to the page's end, else a discarded record whose length is the next word |
//! | 30 | the next word, times 2^27, is added to the time too |
//! | 31 | the same 59 bits are the time itself; the bits above come from the time so far |

use crate::machine::{Endian, Machine};
use std::ops::Range;
use thiserror::Error;

/// Bits of `commit` that are the number of bytes; the flags are above.
const COMMIT_MASK: u64 = (1 << 20) - 1;
const MISSED: u64 = 1 << 31;
const MISSED_STORED: u64 = 1 << 30;
/// Bits of the time that a record of type 31 has.
const ABSOLUTE_BITS: u32 = 59;

/// Why a page cannot be read (on).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PageError {
    /// `events/header_page` lacks a line or has a bad number in it.
    #[error("header_page does not say where '{0}' is")]
    Header(&'static str),
    /// It is shorter than its header.
    #[error("a page of {0} bytes has no room for its header")]
    Short(usize),
    /// It says that more bytes are used than there are.
    #[error("a page with room for {room} bytes says that {used} are used")]
    Used {
        /// What it says.
        used: u64,
        /// What there is.
        room: usize,
    },
    /// A record ends after the used bytes.
    #[error("the record at byte {at} of a page goes beyond its end ({end})")]
    Record {
        /// Where it begins, from the begin of the page's data.
        at: usize,
        /// Where the used bytes end.
        end: usize,
    },
}

/// Events that were lost before a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// So many.
    Count(u64),
    /// Some: there was no room to store the number.
    Unknown,
}

impl Missed {
    /// How many, if that is known.
    pub fn count(self) -> Option<u64> {
        match self {
            Missed::Count(count) => Some(count),
            Missed::Unknown => None,
        }
    }
}

/// Where things are in a page, from `events/header_page`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLayout {
    /// The machine that wrote it.
    pub machine: Machine,
    time_at: usize,
    commit_at: usize,
    data_at: usize,
    data_size: usize,
    /// The time of discarded records passes.
    discarded_time: bool,
}

/// A record of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When, in the unit of the trace's clock.
    pub time: u64,
    /// What, from `common_type` on; up to three bytes longer than what was written.
    pub data: &'a [u8],
}

impl PageLayout {
    /// Reads `events/header_page`. The byte order is not in it; the size of `long` is.
    pub fn parse(header_page: &str, endian: Endian) -> Result<PageLayout, PageError> {
        let find = |name: &'static str| {
            header_page
                .lines()
                .filter_map(|line| line.trim().strip_prefix("field:"))
                .filter_map(|line| crate::format::Field::parse(line, Machine { endian, long_size: 8 }).ok())
                .find(|field| field.name == name)
                .ok_or(PageError::Header(name))
        };
        let (time, commit, data) = (find("timestamp")?, find("commit")?, find("data")?);
        let long_size = match commit.size {
            4 => 4,
            8 => 8,
            _ => return Err(PageError::Header("commit")),
        };
        if time.size != 8 {
            return Err(PageError::Header("timestamp"));
        }
        Ok(PageLayout {
            machine: Machine { endian, long_size },
            time_at: time.offset,
            commit_at: commit.offset,
            data_at: data.offset,
            data_size: data.size,
            discarded_time: true,
        })
    }

    /// What every kernel so far has, for pages of `size` bytes.
    pub fn of(machine: Machine, size: usize) -> PageLayout {
        let data_at = 8 + usize::from(machine.long_size);
        let data_size = size.saturating_sub(data_at);
        PageLayout { machine, time_at: 0, commit_at: 8, data_at, data_size, discarded_time: true }
    }

    /// The same without the time that passed at discarded records: the kernel's own text leaves it out, so its times
    /// behind such a record, to the page's end, are too early.
    pub fn as_kernel_text(self) -> PageLayout {
        PageLayout { discarded_time: false, ..self }
    }

    /// Bytes of a page.
    pub fn size(&self) -> usize {
        self.data_at.saturating_add(self.data_size)
    }

    /// Reads the header of a page. It may be shorter than [`PageLayout::size`] when what is used is all there.
    pub fn page<'a>(&self, bytes: &'a [u8]) -> Result<Page<'a>, PageError> {
        let (header, data) = self.header(bytes)?;
        Ok(Page { time: header.time, missed: header.missed, layout: *self, data: &bytes[data] })
    }

    /// The header, and where the used bytes are.
    fn header(&self, bytes: &[u8]) -> Result<(Header, Range<usize>), PageError> {
        let short = PageError::Short(bytes.len());
        let endian = self.machine.endian;
        let time = endian.u64(bytes, self.time_at).ok_or(short)?;
        let commit = self.machine.long(bytes, self.commit_at).ok_or(short)?;
        let room = bytes.len().checked_sub(self.data_at).ok_or(short)?;
        let used = (commit & COMMIT_MASK) as usize;
        if used > room {
            return Err(PageError::Used { used: used as u64, room });
        }
        let end = self.data_at + used;
        let missed = match (commit & MISSED != 0, commit & MISSED_STORED != 0) {
            (false, _) => None,
            (true, false) => Some(Missed::Unknown),
            (true, true) => Some(self.machine.long(bytes, end).map_or(Missed::Unknown, Missed::Count)),
        };
        Ok((Header { time, missed }, self.data_at..end))
    }
}

struct Header {
    time: u64,
    missed: Option<Missed>,
}

/// A page whose header has been read.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// When it begins, in the unit of the trace's clock.
    pub time: u64,
    /// Whether events were lost before it.
    pub missed: Option<Missed>,
    layout: PageLayout,
    data: &'a [u8],
}

impl<'a> Page<'a> {
    /// The bytes that are used.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Its records in order.
    pub fn records(&self) -> Records<'a> {
        Records {
            data: self.data,
            cursor: Cursor::new(self.time, 0..self.data.len(), &self.layout),
            error: None,
        }
    }
}

/// The records of a page, in order. Ends early at one that is damaged; then [`Records::error`] says so.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    data: &'a [u8],
    cursor: Cursor,
    error: Option<PageError>,
}

impl Records<'_> {
    /// Why it ended before the page did.
    pub fn error(&self) -> Option<PageError> {
        self.error
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        match self.cursor.next(self.data) {
            Ok(true) => Some(self.cursor.record(self.data)),
            Ok(false) => None,
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }
}

/// A place in a page. The bytes are handed to each step, so that their owner may keep the place beside them.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    at: usize,
    start: usize,
    end: usize,
    time: u64,
    /// Where the data of the record is that was found last. Not handed out with each record: a pair of words that were just
    /// stored one by one cannot be loaded as one for a dozen cycles.
    record: Range<usize>,
    endian: Endian,
    discarded_time: bool,
}

impl Cursor {
    fn new(time: u64, data: Range<usize>, layout: &PageLayout) -> Cursor {
        Cursor {
            at: data.start,
            start: data.start,
            end: data.end,
            time,
            record: 0..0,
            endian: layout.machine.endian,
            discarded_time: layout.discarded_time,
        }
    }

    /// At the begin of a page, and whether events were lost before it.
    pub(crate) fn open(layout: &PageLayout, bytes: &[u8]) -> Result<(Cursor, Option<Missed>), PageError> {
        let (header, data) = layout.header(bytes)?;
        Ok((Cursor::new(header.time, data, layout), header.missed))
    }

    /// At the end of nothing.
    pub(crate) fn done() -> Cursor {
        Cursor::new(0, 0..0, &PageLayout::of(Machine::LITTLE64, 0))
    }

    /// The time of the record that was found last.
    #[inline]
    pub(crate) fn time(&self) -> u64 {
        self.time
    }

    /// The record that was found last.
    #[inline]
    pub(crate) fn record<'a>(&self, bytes: &'a [u8]) -> Record<'a> {
        Record { time: self.time, data: bytes.get(self.record.clone()).unwrap_or_default() }
    }

    /// Goes on to the next record with data; false at the end. After an error there is nothing more.
    #[inline]
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<bool, PageError> {
        let Some(bytes) = bytes.get(..self.end) else { return Ok(false) };
        loop {
            let at = self.at;
            if at >= self.end {
                return Ok(false);
            }
            let Some(head) = self.endian.u32(bytes, at) else { return self.damaged(at) };
            let (kind, delta) = match self.endian {
                Endian::Little => (head & 31, u64::from(head >> 5)),
                Endian::Big => (head >> 27, u64::from(head & ((1 << 27) - 1))),
            };
            let body = at + 4;
            if (1..=28).contains(&kind) {
                let end = body + 4 * kind as usize;
                if end > self.end {
                    return self.damaged(at);
                }
                self.at = end;
                self.time = self.time.wrapping_add(delta);
                self.record = body..end;
                return Ok(true);
            }
            if kind == 29 && delta == 0 {
                self.at = self.end;
                return Ok(false);
            }
            let Some(word) = self.endian.u32(bytes, body) else { return self.damaged(at) };
            match kind {
                0 => {
                    let length = word as usize;
                    // The length counts its own word; the data is padded to words.
                    let end = body.saturating_add(length).saturating_add(3) & !3;
                    if length < 4 || end > self.end {
                        return self.damaged(at);
                    }
                    self.at = end;
                    self.time = self.time.wrapping_add(delta);
                    self.record = body + 4..body + length;
                    return Ok(true);
                }
                29 => {
                    let end = body.saturating_add(word as usize);
                    if end > self.end || word == 0 {
                        return self.damaged(at);
                    }
                    self.at = end;
                    // A delta of 1 was forced to tell it from the padding of the page's end; no time has passed.
                    if delta != 1 && self.discarded_time {
                        self.time = self.time.wrapping_add(delta);
                    }
                }
                30 => {
                    self.at = body + 4;
                    self.time = self.time.wrapping_add((u64::from(word) << 27) + delta);
                }
                _ => {
                    self.at = body + 4;
                    self.time = absolute(self.time, (u64::from(word) << 27) | delta);
                }
            }
        }
    }

    #[cold]
    fn damaged<T>(&mut self, at: usize) -> Result<T, PageError> {
        let error = PageError::Record { at: at - self.start, end: self.end - self.start };
        self.at = self.end;
        Err(error)
    }
}

/// The time that a record of type 31 sets: its bits, completed from the time so far, which it cannot be before.
fn absolute(now: u64, low: u64) -> u64 {
    let mask = (1 << ABSOLUTE_BITS) - 1;
    let high = now & !mask;
    if high == 0 {
        return low;
    }
    let time = high | (low & mask);
    if time < now { time.wrapping_add(1 << ABSOLUTE_BITS) } else { time }
}
