//! The pages of CPUs one after another, and the records of all CPUs in the order of time.
//!
//! Memory is one block of pages per CPU, however long the trace is.

use crate::page::{Cursor, Missed, PageError, PageLayout, Record};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read};

/// What comes next on a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A record.
    Record(Record<'a>),
    /// Events were lost here.
    Missed(Missed),
    /// A page, or the rest of one, cannot be read. The next one is.
    Damaged(PageError),
}

/// What comes next, and on which CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergedItem<'a> {
    /// The CPU, as it was given to [`Merge::new`].
    pub cpu: u32,
    /// What.
    pub item: Item<'a>,
}

/// Pages that are read at once, where the source gives more than one.
const BLOCK: usize = 64 << 10;

/// Reads the pages of one CPU from anything that can be read: `trace_pipe_raw` itself, a file, a slice of memory.
///
/// An error of the source is handed on and may be followed by more (`WouldBlock` of a pipe without new pages).
#[derive(Debug)]
pub struct CpuReader<R> {
    source: R,
    layout: PageLayout,
    buffer: Vec<u8>,
    /// The filled part of the buffer.
    filled: usize,
    /// Where the page begins that comes after the current one.
    next_page: usize,
    /// Where the current page begins.
    page: usize,
    cursor: Cursor,
    ready: Ready,
}

/// What has been read and not yet taken.
#[derive(Clone, Debug)]
enum Ready {
    Nothing,
    /// The one that the cursor has found.
    Record,
    Missed(Missed, u64),
    Damaged(PageError),
    End,
}

impl<R: Read> CpuReader<R> {
    /// Reads pages of `layout` from `source`.
    pub fn new(source: R, layout: PageLayout) -> CpuReader<R> {
        let page = layout.size().max(1);
        CpuReader {
            source,
            layout,
            buffer: vec![0; page.max(BLOCK / page * page)],
            filled: 0,
            next_page: 0,
            page: 0,
            cursor: Cursor::done(),
            ready: Ready::Nothing,
        }
    }

    /// The source that is read from.
    pub fn source(&mut self) -> &mut R {
        &mut self.source
    }

    /// The next item, None at the source's end.
    pub fn next_item(&mut self) -> io::Result<Option<Item<'_>>> {
        self.peek_time()?;
        Ok(self.take())
    }

    /// The time of the next item (of what follows, for one without), None at the source's end.
    #[inline]
    pub fn peek_time(&mut self) -> io::Result<Option<u64>> {
        if matches!(self.ready, Ready::Nothing) {
            self.advance()?;
        }
        Ok(match &self.ready {
            Ready::Record => Some(self.cursor.time()),
            Ready::Missed(_, time) => Some(*time),
            // Told at once: it has no time of its own.
            Ready::Damaged(_) => Some(0),
            Ready::Nothing | Ready::End => None,
        })
    }

    /// The item that [`CpuReader::peek_time`] has found; it stays.
    #[inline]
    pub fn peeked(&self) -> Option<Item<'_>> {
        match &self.ready {
            Ready::Record => Some(Item::Record(self.record())),
            Ready::Missed(missed, _) => Some(Item::Missed(*missed)),
            Ready::Damaged(error) => Some(Item::Damaged(*error)),
            Ready::Nothing | Ready::End => None,
        }
    }

    /// Leaves out the item that [`CpuReader::peek_time`] has found.
    #[inline]
    pub fn skip(&mut self) {
        if !matches!(self.ready, Ready::End) {
            self.ready = Ready::Nothing;
        }
    }

    /// The item that has been read already.
    #[inline]
    fn take(&mut self) -> Option<Item<'_>> {
        if matches!(self.ready, Ready::End) {
            return None;
        }
        match std::mem::replace(&mut self.ready, Ready::Nothing) {
            Ready::Record => Some(Item::Record(self.record())),
            Ready::Missed(missed, _) => Some(Item::Missed(missed)),
            Ready::Damaged(error) => Some(Item::Damaged(error)),
            Ready::Nothing | Ready::End => None,
        }
    }

    /// The record that the cursor has found.
    #[inline]
    fn record(&self) -> Record<'_> {
        self.cursor.record(self.buffer.get(self.page..).unwrap_or_default())
    }

    #[inline]
    fn advance(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.buffer.get(self.page..self.next_page).unwrap_or_default();
            match self.cursor.next(bytes) {
                Ok(true) => {
                    self.ready = Ready::Record;
                    return Ok(());
                }
                Err(error) => {
                    self.ready = Ready::Damaged(error);
                    return Ok(());
                }
                Ok(false) => {
                    self.open_page()?;
                    if !matches!(self.ready, Ready::Nothing) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Goes to the next page, and reads more of them when there is none.
    #[cold]
    fn open_page(&mut self) -> io::Result<()> {
        let size = self.layout.size().max(1);
        if self.filled - self.next_page < size {
            self.fill()?;
        }
        let end = self.filled.min(self.next_page + size);
        self.page = self.next_page;
        self.next_page = end;
        if self.page == end {
            self.ready = Ready::End;
            return Ok(());
        }
        match Cursor::open(&self.layout, &self.buffer[self.page..end]) {
            Ok((cursor, missed)) => {
                self.cursor = cursor;
                if let Some(missed) = missed {
                    let bytes = &self.buffer[self.page..end];
                    // What was lost belongs before the first record that is left.
                    let mut first = self.cursor.clone();
                    let time = if first.next(bytes) == Ok(true) { first.time() } else { 0 };
                    self.ready = Ready::Missed(missed, time);
                }
            }
            Err(error) => {
                self.cursor = Cursor::done();
                self.ready = Ready::Damaged(error);
            }
        }
        Ok(())
    }

    /// Reads until there is a whole page or the source ends.
    fn fill(&mut self) -> io::Result<()> {
        let size = self.layout.size().max(1);
        self.buffer.copy_within(self.next_page..self.filled, 0);
        self.filled -= self.next_page;
        (self.next_page, self.page) = (0, 0);
        self.cursor = Cursor::done();
        while self.filled < size {
            match self.source.read(&mut self.buffer[self.filled..]) {
                Ok(0) => break,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The records of all CPUs in the order of time; of those with equal times, that of the lowest CPU is first, as
/// the kernel has it.
#[derive(Debug)]
pub struct Merge<R> {
    cpus: Vec<(u32, CpuReader<R>)>,
    /// The next times of all but the current one.
    waiting: BinaryHeap<Reverse<(u64, usize)>>,
    current: Option<usize>,
    started: bool,
}

impl<R: Read> Merge<R> {
    /// Merges CPUs, each with its number; equal times are in the order given here.
    pub fn new(cpus: Vec<(u32, CpuReader<R>)>) -> Merge<R> {
        Merge { cpus, waiting: BinaryHeap::new(), current: None, started: false }
    }

    /// The next item of all CPUs, None when all have ended. After an error of a source, the CPU it came from is left
    /// out.
    pub fn next_item(&mut self) -> io::Result<Option<MergedItem<'_>>> {
        if !self.started {
            self.started = true;
            for index in 0..self.cpus.len() {
                if let Some(time) = self.cpus[index].1.peek_time()? {
                    self.waiting.push(Reverse((time, index)));
                }
            }
        }
        let Some(index) = self.choose()? else { return Ok(None) };
        self.current = Some(index);
        let (cpu, reader) = &mut self.cpus[index];
        let cpu = *cpu;
        Ok(reader.take().map(|item| MergedItem { cpu, item }))
    }

    /// What is next on the CPU of the item before. It stays the next one.
    pub fn peek_same(&mut self) -> io::Result<Option<Item<'_>>> {
        match self.current {
            Some(index) => {
                let reader = &mut self.cpus[index].1;
                reader.peek_time()?;
                Ok(reader.peeked())
            }
            None => Ok(None),
        }
    }

    /// Steps over what [`Merge::peek_same`] gave.
    pub fn skip_same(&mut self) {
        if let Some(index) = self.current {
            self.cpus[index].1.skip();
        }
    }

    /// The CPU whose item is next: the last one as long as none that waits is earlier.
    #[inline]
    fn choose(&mut self) -> io::Result<Option<usize>> {
        if let Some(index) = self.current.take()
            && let Some(time) = self.cpus[index].1.peek_time()?
        {
            match self.waiting.peek() {
                Some(Reverse(first)) if *first < (time, index) => self.waiting.push(Reverse((time, index))),
                _ => return Ok(Some(index)),
            }
        }
        Ok(self.waiting.pop().map(|Reverse((_, index))| index))
    }
}
