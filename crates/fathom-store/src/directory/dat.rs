//! Reads a `<tid>.dat` file, record by record, through a buffer.

use super::Budget;
use crate::{Batch, Endian, Error, Event, Kind, record};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Events in a batch at most: 128 KiB, which stays in a processor's second level cache.
const BATCH: usize = 4096;
/// How far apart the places are that a file with payloads can be entered at again.
const INDEX_STEP: u64 = 1 << 20;
/// Records that are looked at to believe that a place in a file is the beginning of one.
const PROBE: usize = 64;
/// Longest payload of most files.
const SHORT_PAYLOAD: usize = 2048;
/// Payload bytes in a batch, not counting those of the last record.
const BATCH_DATA: usize = 256 << 10;
/// Longest payload: that of an event with a 16-bit length.
const MAX_PAYLOAD: usize = 2 + 65_535 + 7;

/// Numbers of events, for who has to guess.
const EVENT_IDS: std::ops::Range<u64> = 100_000..1 << 32;
/// Records that are further apart are not taken for neighbours by who has to guess, ns.
const LONGEST_GAP: u64 = 1 << 44;

/// How long the payload of a record is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// So many bytes are to be skipped; of them, those in the range are the payload.
    Is { whole: usize, start: usize, len: usize },
    /// The bytes given end before the payload does.
    CutOff,
    /// Nothing tells the length of the payload of this function.
    NoSpec { function: String },
    /// No payload can look like that.
    Damaged(String),
}

/// Knows how long payloads of calls are.
pub(crate) trait MeasurePayload: Send {
    /// The payload of a record of a call with that time and address begins with `bytes`, which may be cut off.
    fn measure(&mut self, kind: Kind, time: u64, addr: u64, bytes: &[u8]) -> Measure;
}

/// Hears of what is not as it should be.
pub(crate) trait Warn: Sync {
    fn warn(&self, text: String);
}

/// The records of one file.
pub(crate) struct DatReader<'t> {
    path: PathBuf,
    /// Length of the file when it was opened.
    len: u64,
    /// Kept open only as long as there are few readers.
    file: Option<File>,
    buffer: Vec<u8>,
    /// The unread part of the buffer.
    start: usize,
    end: usize,
    /// Where in the file the unread part begins.
    offset: u64,
    endian: Endian,
    budget: &'t Budget,
    warn: &'t dyn Warn,
    measure: Box<dyn MeasurePayload + 't>,
    /// Entries at the beginning of the file that are not later than this were made by the parent.
    inherited_until: Option<u64>,
    /// Whether nothing but such entries came so far.
    leading: bool,
    /// Where the file can be entered at.
    index: Arc<EntryPoints>,
    /// May have payloads, so that not every 16th byte begins a record.
    payloads: bool,
    /// Events before this time are dropped.
    skip_until: Option<u64>,
    /// Of a trace that grows: records of this time and later are not shown yet.
    until: Option<u64>,
    /// No more records, or no more that can be read.
    done: bool,
    /// What comes next makes no sense.
    broken: bool,
    /// The recording was finished, so that nothing that describes it is missing.
    is_whole: bool,
    /// Calls whose payload nothing describes.
    unmeasured: u64,
    /// To be returned once the events read before it have been.
    error: Option<Error>,
}

/// Times and offsets of records of a file, ascending; see [`INDEX_STEP`]. All readers of a file share them: once one has
/// been through it, any other gets to any time without reading what is before.
pub(crate) type EntryPoints = Mutex<Vec<(u64, u64)>>;

/// What a reader of a file needs besides it.
pub(crate) struct DatSetup<'t> {
    pub(crate) index: Arc<EntryPoints>,
    pub(crate) endian: Endian,
    pub(crate) budget: &'t Budget,
    pub(crate) warn: &'t dyn Warn,
    pub(crate) measure: Box<dyn MeasurePayload + 't>,
    pub(crate) inherited_until: Option<u64>,
    pub(crate) payloads: bool,
    pub(crate) stretch: Option<Stretch>,
    /// See [`DatReader::is_whole`].
    pub(crate) is_whole: bool,
}

/// What of a file that still grows is to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) from: Reached,
    /// Records of this time (ns) and later come another time; [`u64::MAX`] when the file is complete.
    pub(crate) until: u64,
}

/// How far a file has been read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    /// Where the next record begins.
    pub(crate) offset: u64,
    /// See [`DatReader::leading`].
    leading: bool,
    /// What comes next makes no sense.
    broken: bool,
}

impl Default for Reached {
    fn default() -> Self {
        Reached { offset: 0, leading: true, broken: false }
    }
}

impl<'t> DatReader<'t> {
    pub(crate) fn open(path: &Path, setup: DatSetup<'t>) -> Result<Self, Error> {
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let len = file.metadata().map_err(|e| Error::io(path, "read", e))?.len();
        let file = setup.budget.enter().then_some(file);
        let from = setup.stretch.map(|stretch| stretch.from).unwrap_or_default();
        Ok(DatReader {
            path: path.to_path_buf(),
            len,
            file,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            offset: from.offset,
            endian: setup.endian,
            budget: setup.budget,
            warn: setup.warn,
            measure: setup.measure,
            inherited_until: setup.inherited_until,
            leading: from.leading,
            index: setup.index,
            payloads: setup.payloads,
            skip_until: None,
            until: setup.stretch.map(|stretch| stretch.until),
            done: from.broken,
            broken: from.broken,
            is_whole: setup.is_whole,
            unmeasured: 0,
            error: None,
        })
    }

    /// How far it has come.
    pub(crate) fn reached(&self) -> Reached {
        Reached { offset: self.offset, leading: self.leading, broken: self.broken }
    }

    /// Whether the end of the file is not the end of the records.
    fn grows(&self) -> bool {
        self.until.is_some_and(|until| until < u64::MAX)
    }

    /// Replaces the batch by the next events.
    pub(crate) fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        loop {
            batch.clear();
            self.fill_batch(batch)?;
            if batch.events.is_empty() {
                return self.error.take().map_or(Ok(false), Err);
            }
            let Some(time) = self.skip_until else { return Ok(true) };
            let reached = batch.events.iter().position(|e| e.kind != Kind::Lost && e.time >= time);
            if let Some(first) = reached {
                self.skip_until = None;
                batch.events.drain(..first);
                return Ok(true);
            }
        }
    }

    fn fill_batch(&mut self, batch: &mut Batch) -> Result<(), Error> {
        while !self.done && batch.events.len() < BATCH && batch.data.len() < BATCH_DATA {
            if self.end - self.start < record::SIZE && !self.refill(record::SIZE)? {
                self.finish();
                break;
            }
            let decoded = self.decode_plain(batch);
            let taken = self.hold_back(batch, decoded);
            self.consume(taken * record::SIZE);
            if taken < decoded {
                break;
            }
            if taken == 0 {
                self.decode_one(batch)?;
            } else if self.end - self.start < record::SIZE {
                // A batch has the records of one filling of the buffer, so that small buffers make small batches.
                break;
            }
        }
        self.mark_inherited(batch);
        Ok(())
    }

    /// Decodes the run of plain records at the beginning of the buffer; says how many there are.
    fn decode_plain(&self, batch: &mut Batch) -> usize {
        let room = (BATCH - batch.events.len()) * record::SIZE;
        let bytes = &self.buffer[self.start..self.end];
        let bytes = &bytes[..bytes.len().min(room)];
        match self.endian {
            Endian::Little => decode_run(bytes, u64::from_le_bytes, &mut batch.events),
            Endian::Big => decode_run(bytes, u64::from_be_bytes, &mut batch.events),
        }
    }

    /// Takes back those of the last `decoded` events that are not to be shown yet. Says how many are left.
    fn hold_back(&mut self, batch: &mut Batch, decoded: usize) -> usize {
        let Some(until) = self.until else { return decoded };
        let first = batch.events.len() - decoded;
        let late = |event: &Event| event.kind != Kind::Lost && event.time >= until;
        let Some(kept) = batch.events[first..].iter().position(late) else { return decoded };
        batch.events.truncate(first + kept);
        self.done = true;
        kept
    }

    /// Decodes one record that is not plain.
    fn decode_one(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let (time, word) = self.words(self.start);
        if !record::is_valid(word) {
            let what = if time == 0 && word == 0 { "zeros" } else { "bytes that are not a record" };
            self.damaged(&format!("{what} at offset {}", self.offset));
            return Ok(());
        }
        let (kind, addr, depth) = (record::kind(word), record::addr(word), record::depth(word));
        if kind != Kind::Lost && self.until.is_some_and(|until| time >= until) {
            self.done = true;
            return Ok(());
        }
        let mut event = Event { time, addr, data_start: 0, data_len: 0, depth, kind, inherited: false };
        let mut whole = 0;
        if word & record::MORE != 0 {
            let mut measured = self.measure_payload(kind, time, addr)?;
            if !self.is_whole && matches!(measured, Measure::NoSpec { .. }) {
                measured = self.find_next(&event)?;
                self.unmeasured += 1;
            }
            let bytes = &self.buffer[self.start + record::SIZE..self.end];
            match measured {
                Measure::Is { whole: all, start, len } if start + len <= all && all <= bytes.len() => {
                    event.data_start = batch.data.len() as u32;
                    event.data_len = len as u32;
                    batch.data.extend_from_slice(&bytes[start..start + len]);
                    whole = all;
                }
                Measure::Is { .. } | Measure::CutOff if self.grows() => {
                    self.done = true;
                    return Ok(());
                }
                Measure::Is { .. } | Measure::CutOff => {
                    self.damaged(&format!("the record at offset {} is cut off", self.offset));
                    return Ok(());
                }
                Measure::NoSpec { function } => {
                    let payload = if kind == Kind::Exit { "a return value" } else { "arguments" };
                    let (file, offset) = (self.path.clone(), self.offset);
                    self.error = Some(Error::NoArgumentSpec { file, offset, function, payload });
                    self.done = true;
                    return Ok(());
                }
                Measure::Damaged(why) => {
                    self.damaged(&format!("{why} in the record at offset {}", self.offset));
                    return Ok(());
                }
            }
        }
        batch.events.push(event);
        self.consume(record::SIZE + whole);
        Ok(())
    }

    /// Measures the payload of the record that the unread part begins with.
    fn measure_payload(&mut self, kind: Kind, time: u64, addr: u64) -> Result<Measure, Error> {
        // The buffer grows only for files that need it.
        for need in [0, SHORT_PAYLOAD, MAX_PAYLOAD] {
            self.refill(record::SIZE + need)?;
            let bytes = &self.buffer[self.start + record::SIZE..self.end];
            let measured = match kind {
                Kind::Event => measure_event(bytes, self.endian),
                Kind::Lost => Measure::Damaged("a payload where none can be".to_owned()),
                Kind::Entry | Kind::Exit => self.measure.measure(kind, time, addr, bytes),
            };
            if measured != Measure::CutOff {
                return Ok(measured);
            }
        }
        Ok(Measure::CutOff)
    }

    /// Measures a payload that nothing describes: by what comes behind it. That goes on as calls do, and time does; where
    /// control has left calls in another way, two records in a row have to look like some.
    fn find_next(&mut self, before: &Event) -> Result<Measure, Error> {
        self.refill(record::SIZE + MAX_PAYLOAD + 2 * record::SIZE)?;
        let rest = self.buffer.get(self.start + record::SIZE..self.end).unwrap_or_default();
        let is_last = self.offset + (record::SIZE + rest.len()) as u64 >= self.len;
        let at = |at: usize| Some(split(rest.get(at..at + record::SIZE)?, self.endian));
        let mut places = (8..rest.len().min(MAX_PAYLOAD)).step_by(8);
        // Without doubt, or after an exec or longjmp: the one behind it goes on from there.
        let looks_like_one = |place: usize, closely: bool| {
            let Some((time, word)) = at(place).filter(|next| follows(before, *next, false)) else {
                return false;
            };
            let (kind, addr, depth) = (record::kind(word), record::addr(word), record::depth(word));
            let next = Event { time, kind, addr, depth, ..*before };
            if word & record::MORE != 0 {
                return !closely;
            }
            at(place + record::SIZE).map_or(is_last, |behind| follows(&next, behind, closely))
        };
        let goes_on = |place: usize| at(place).is_some_and(|next| follows(before, next, true));
        let found = places.clone().find(|place| goes_on(*place) || looks_like_one(*place, true));
        let found = found.or_else(|| places.find(|place| looks_like_one(*place, false)));
        Ok(match found {
            Some(whole) => Measure::Is { whole, start: 0, len: 0 },
            // Nothing behind it: it is all there is, or the half of it.
            None if is_last && !rest.is_empty() && rest.len().is_multiple_of(8) => {
                Measure::Is { whole: rest.len(), start: 0, len: 0 }
            }
            None if is_last => Measure::CutOff,
            None => Measure::Damaged("values that nothing describes, and nothing behind them".to_owned()),
        })
    }

    /// The two words at a place in the buffer that has them.
    fn words(&self, at: usize) -> (u64, u64) {
        let bytes = self.buffer.get(at..at + record::SIZE).unwrap_or(&[0; record::SIZE]);
        split(bytes, self.endian)
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Gets `need` unread bytes into the buffer; false if the file has not that many left.
    fn refill(&mut self, need: usize) -> Result<bool, Error> {
        if self.end - self.start >= need {
            return Ok(true);
        }
        let left = self.len.saturating_sub(self.offset);
        // At the first filling, the number of readers is known: memory is shared out among them.
        let size = self.buffer.len().max(self.budget.buffer_size()).max(need);
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(size);
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < size {
            self.buffer.resize(size, 0);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let got = self.read_at(self.offset + self.end as u64, &mut buffer[self.end..size]);
        self.buffer = buffer;
        self.end += got?;
        self.note_place();
        Ok(self.end - self.start >= need)
    }

    /// Fills `buffer` from a place in the file on; says how many bytes there were.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let opened;
        let file = match &self.file {
            Some(file) => file,
            None => {
                opened = File::open(&self.path).map_err(|e| Error::io(&self.path, "open", e))?;
                &opened
            }
        };
        let mut got = 0;
        while got < buffer.len() {
            match file.read_at(&mut buffer[got..], offset + got as u64) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(&self.path, "read", e)),
            }
        }
        Ok(got)
    }

    /// Remembers where the unread part begins, which is always the beginning of a record.
    fn note_place(&mut self) {
        if !self.payloads || self.end - self.start < record::SIZE {
            return;
        }
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let next = index.last().map_or(0, |(_, offset)| offset + INDEX_STEP);
        if self.offset >= next {
            let (time, word) = self.words(self.start);
            if record::is_valid(word) && record::kind(word) != Kind::Lost {
                index.push((time, self.offset));
            }
        }
    }

    /// The end of the file has been reached.
    fn finish(&mut self) {
        let rest = self.end - self.start;
        if rest > 0 && !self.grows() {
            self.damaged(&format!("the record at offset {} is cut off", self.offset));
        }
        self.done = true;
        self.tell_unmeasured();
    }

    /// Says of how many calls something is not shown.
    fn tell_unmeasured(&mut self) {
        let (file, count) = (self.path.display(), std::mem::take(&mut self.unmeasured));
        if count > 0 {
            self.warn.warn(format!(
                "{file}: what {count} calls were made with or returned is not shown, as what describes it is missing"
            ));
        }
    }

    fn damaged(&mut self, what: &str) {
        let file = self.path.display();
        self.warn.warn(format!("{file}: {what}, the task's records end there"));
        self.done = true;
        self.broken = true;
        self.tell_unmeasured();
    }

    fn mark_inherited(&mut self, batch: &mut Batch) {
        if !self.leading {
            return;
        }
        let until = self.inherited_until;
        let taken_over = |e: &&mut Event| e.kind == Kind::Entry && until.is_some_and(|t| e.time <= t);
        let mut marked = 0;
        for event in batch.events.iter_mut().take_while(taken_over) {
            event.inherited = true;
            marked += 1;
        }
        self.leading = marked == batch.events.len();
    }

    /// Goes to the first record at or after a time.
    pub(crate) fn seek(&mut self, time: u64) -> Result<(), Error> {
        (self.done, self.broken, self.error) = (false, false, None);
        self.unmeasured = 0;
        self.skip_until = Some(time);
        let mut offset = {
            let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
            let before = index.partition_point(|(t, _)| *t < time).checked_sub(1);
            before.and_then(|i| index.get(i)).map_or(0, |(_, offset)| *offset)
        };
        if !self.payloads {
            offset = self.bisect(time)?.unwrap_or(offset);
        }
        self.offset = offset;
        self.start = 0;
        self.end = 0;
        self.leading = offset == 0;
        Ok(())
    }

    /// The offset of a record that no record of that time or later comes before, near to the first such record.
    /// None if the file turns out to have something else than records every 16 bytes.
    fn bisect(&self, time: u64) -> Result<Option<u64>, Error> {
        let (mut low, mut high) = (0, self.len / record::SIZE as u64);
        while high - low > PROBE as u64 {
            let middle = low + (high - low) / 2;
            match self.probe(middle)? {
                Some(t) if t < time => low = middle,
                Some(_) => high = middle,
                None => return Ok(None),
            }
        }
        Ok(Some(low * record::SIZE as u64))
    }

    /// The time of the first record with a time, at or after the one of that number. None if what is there is not
    /// a run of records without payloads.
    fn probe(&self, number: u64) -> Result<Option<u64>, Error> {
        let mut bytes = [0; PROBE * record::SIZE];
        let got = self.read_at(number * record::SIZE as u64, &mut bytes)?;
        let mut first = None;
        for bytes in bytes[..got].chunks_exact(record::SIZE) {
            let (time, word) = split(bytes, self.endian);
            if !record::is_valid(word) || word & record::MORE != 0 {
                return Ok(None);
            }
            if record::kind(word) != Kind::Lost {
                first = first.or(Some(time));
            }
        }
        Ok(first)
    }

    /// Bytes read, and bytes in all.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.offset.min(self.len), self.len)
    }
}

impl Drop for DatReader<'_> {
    fn drop(&mut self) {
        self.budget.leave(self.file.is_some());
    }
}

/// Appends the events of the plain records that `bytes` begins with.
#[inline(always)]
fn decode_run(bytes: &[u8], number: impl Fn([u8; 8]) -> u64 + Copy, events: &mut Vec<Event>) -> usize {
    let (records, _) = bytes.as_chunks::<{ record::SIZE }>();
    let halves = |record: &[u8; record::SIZE]| {
        let (time, word) = record.split_at(8);
        (number(time.try_into().unwrap_or_default()), number(word.try_into().unwrap_or_default()))
    };
    let run = records.iter().position(|record| !record::is_plain(halves(record).1)).unwrap_or(records.len());
    // An iterator of known length is appended without looking at the capacity each time.
    events.extend(records[..run].iter().map(|record| {
        let (time, word) = halves(record);
        Event {
            time,
            addr: record::addr(word),
            data_start: 0,
            data_len: 0,
            depth: record::depth(word),
            kind: record::kind(word),
            inherited: false,
        }
    }));
    run
}

/// Whether a record may be the one behind an entry or exit; `closely`: when calls go on as they do as a rule.
fn follows(before: &Event, (time, word): (u64, u64), closely: bool) -> bool {
    let (kind, depth, addr) = (record::kind(word), record::depth(word), record::addr(word));
    let in_place = match (before.kind, kind) {
        (_, Kind::Lost) => false,
        (_, Kind::Event) => EVENT_IDS.contains(&addr),
        _ if !closely => true,
        (Kind::Entry, Kind::Entry) => depth == (before.depth + 1) & record::MAX_DEPTH,
        (Kind::Entry, Kind::Exit) => depth == before.depth && addr == before.addr,
        (Kind::Exit, Kind::Entry) => depth == before.depth,
        (Kind::Exit, Kind::Exit) => before.depth.checked_sub(1) == Some(depth),
        _ => false,
    };
    let in_time = time.checked_sub(before.time).is_some_and(|gap| gap < LONGEST_GAP);
    record::is_valid(word) && addr != 0 && in_time && in_place
}

fn split(bytes: &[u8], endian: Endian) -> (u64, u64) {
    let half = |at: usize| {
        let half: [u8; 8] = bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).unwrap_or_default();
        match endian {
            Endian::Little => u64::from_le_bytes(half),
            Endian::Big => u64::from_be_bytes(half),
        }
    };
    (half(0), half(8))
}

/// ```text
/// | length (u16) | length bytes | pad to a multiple of 8 |
/// ```
fn measure_event(bytes: &[u8], endian: Endian) -> Measure {
    let Some(length) = bytes.first_chunk::<2>() else { return Measure::CutOff };
    let length = match endian {
        Endian::Little => u16::from_le_bytes(*length),
        Endian::Big => u16::from_be_bytes(*length),
    };
    let len = usize::from(length);
    let whole = (2 + len).next_multiple_of(8);
    if whole <= bytes.len() { Measure::Is { whole, start: 2, len } } else { Measure::CutOff }
}
