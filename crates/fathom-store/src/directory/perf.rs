//! Reads `perf-cpu<N>.dat` files: when tasks had a processor, came, went and were named.
//!
//! ```text
//! | type (u32) | misc (u16) | size (u16) | body (size - 8 bytes) |
//!
//! switch     14: sample id
//! fork, exit 7, 4: pid, ppid, tid, ptid (u32 each), time (u64), sample id
//! comm       3: pid, tid (u32 each), name padded with NULs to a multiple of 8, sample id
//! sample id: pid, tid (u32 each), time (u64)
//! ```
//!
//! Source: perf_event_open(2). Other types are skipped by their size.

use super::dat::Warn;
use crate::{Endian, Error, Tid, event_id};
use rustc_hash::FxHashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const COMM: u32 = 3;
const EXIT: u32 = 4;
const FORK: u32 = 7;
const SWITCH: u32 = 14;
const MISC_SWITCH_OUT: u16 = 1 << 13;
const MISC_SWITCH_PREEMPT: u16 = 1 << 14;
const SAMPLE_ID: usize = 16;

/// One event of a processor's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerfEvent {
    /// ns of the trace clock.
    pub time: u64,
    /// The task it is about.
    pub tid: Tid,
    /// Event id, see [`event_id`].
    pub id: u64,
    /// The new name of [`event_id::TASK_NAME`], else empty.
    pub name: String,
}

/// The events of one file, in its order.
#[derive(Debug)]
pub struct PerfReader<R> {
    input: R,
    endian: Endian,
    offset: u64,
    body: Vec<u8>,
}

impl<R: Read> PerfReader<R> {
    /// Reads from the beginning of a file.
    pub fn new(input: R, endian: Endian) -> Self {
        PerfReader { input, endian, offset: 0, body: Vec::new() }
    }

    /// Reads what comes behind the first `offset` bytes of a file, which the input has left behind.
    pub(crate) fn from(input: R, endian: Endian, offset: u64) -> Self {
        PerfReader { offset, ..PerfReader::new(input, endian) }
    }

    /// The next event, none at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when the file is cut off or has something else; nothing more can be read then.
    pub fn next_event(&mut self, path: &Path) -> Result<Option<PerfEvent>, Error> {
        loop {
            let mut header = [0; 8];
            match read_whole(&mut self.input, &mut header).map_err(|e| Error::io(path, "read", e))? {
                0 => return Ok(None),
                8 => {}
                _ => return Err(self.damaged(path, "a record is cut off")),
            }
            let fields = Fields { bytes: &header, endian: self.endian };
            let (kind, misc) = (fields.u32(0).unwrap_or(0), fields.u16(4).unwrap_or(0));
            let size = usize::from(fields.u16(6).unwrap_or(0));
            if size < 8 {
                return Err(self.damaged(path, "not a record: its size is less than that of a header"));
            }
            self.body.resize(size - 8, 0);
            let got = read_whole(&mut self.input, &mut self.body).map_err(|e| Error::io(path, "read", e))?;
            if got < self.body.len() {
                return Err(self.damaged(path, "a record is cut off"));
            }
            let event = decode(kind, misc, Fields { bytes: &self.body, endian: self.endian });
            let event = event.map_err(|what| self.damaged(path, what))?;
            self.offset += size as u64;
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn damaged(&self, path: &Path, what: &str) -> Error {
        Error::Damaged { file: path.to_path_buf(), offset: self.offset, what: what.to_owned() }
    }
}

/// Fills the buffer unless the input ends before; says how many bytes there were.
fn read_whole(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match input.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// Numbers at offsets.
#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: &'a [u8],
    endian: Endian,
}

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut bytes: [u8; N] = self.bytes.get(at..at.checked_add(N)?)?.try_into().ok()?;
        if self.endian == Endian::Big {
            bytes.reverse();
        }
        Some(bytes)
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    fn tid(&self, at: usize) -> Option<Tid> {
        self.u32(at).map(|tid| tid as Tid)
    }
}

fn decode(kind: u32, misc: u16, body: Fields) -> Result<Option<PerfEvent>, &'static str> {
    let event = |tid: Option<Tid>, time: Option<u64>, id: u64| {
        tid.zip(time).map(|(tid, time)| PerfEvent { time, tid, id, name: String::new() })
    };
    let event = match kind {
        SWITCH => {
            let id = match (misc & MISC_SWITCH_OUT != 0, misc & MISC_SWITCH_PREEMPT != 0) {
                (false, _) => event_id::SCHED_IN,
                (true, false) => event_id::SCHED_OUT,
                (true, true) => event_id::SCHED_OUT_PREEMPTED,
            };
            event(body.tid(4), body.u64(8), id)
        }
        FORK => event(body.tid(8), body.u64(16), event_id::TASK_NEW),
        EXIT => event(body.tid(8), body.u64(16), event_id::TASK_EXIT),
        COMM => {
            let sample = body.bytes.len().saturating_sub(SAMPLE_ID).max(8);
            let name = body.bytes.get(8..sample).unwrap_or_default();
            let name = name.split(|b| *b == 0).next().unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            event(body.tid(4), body.u64(sample + 8), event_id::TASK_NAME).map(|e| PerfEvent { name, ..e })
        }
        _ => return Ok(None),
    };
    event.map(Some).ok_or("a record is shorter than its type needs")
}

/// The events of all processors, by task.
#[derive(Debug, Default)]
pub(crate) struct PerfIndex {
    tasks: FxHashMap<Tid, Vec<TaskEvent>>,
    names: Vec<String>,
    /// How far each file was read.
    offsets: FxHashMap<PathBuf, u64>,
}

/// An event of a known task. 16 bytes, as there can be millions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskEvent {
    pub(crate) time: u64,
    id: u32,
    /// Index into the names, or [`NO_NAME`].
    name: u32,
}

const NO_NAME: u32 = u32::MAX;

impl PerfIndex {
    /// Reads the files of all processors. Of a damaged one what comes before the damage is used.
    pub(crate) fn read<'a>(
        files: impl IntoIterator<Item = &'a Path>,
        endian: Endian,
        tids: impl Fn(Tid) -> bool,
        warn: &dyn Warn,
    ) -> PerfIndex {
        let mut index = PerfIndex::default();
        for path in files {
            if let Err(e) = index.read_file(path, endian, &tids).1 {
                warn.warn(match &e {
                    Error::Io { source, .. } => format!("{e}: {source}"),
                    _ => format!("{e}; events after that are not shown"),
                });
            }
        }
        for events in index.tasks.values_mut() {
            events.sort_by_key(|event| event.time);
        }
        index
    }

    /// Reads what has come since it was last asked to, of files that still grow. What is cut off is left for the next
    /// time.
    pub(crate) fn grow<'a>(&mut self, files: impl IntoIterator<Item = &'a Path>, endian: Endian) {
        for path in files {
            let (offset, _) = self.read_file(path, endian, &|_| true);
            self.offsets.insert(path.to_path_buf(), offset);
        }
        for events in self.tasks.values_mut() {
            events.sort_by_key(|event| event.time);
        }
    }

    /// Forgets the first events of a task.
    pub(crate) fn forget(&mut self, tid: Tid, count: usize) {
        if let Some(events) = self.tasks.get_mut(&tid) {
            events.drain(..count.min(events.len()));
        }
    }

    /// Reads a file from where it was last read to. Says how far whole records go, and what is wrong behind them.
    fn read_file(
        &mut self,
        path: &Path,
        endian: Endian,
        tids: &impl Fn(Tid) -> bool,
    ) -> (u64, Result<(), Error>) {
        let offset = self.offsets.get(path).copied().unwrap_or(0);
        let opened = File::open(path).and_then(|mut file| {
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        });
        let file = match opened {
            Ok(file) => file,
            Err(error) => return (offset, Err(Error::io(path, "open", error))),
        };
        let mut reader = PerfReader::from(BufReader::with_capacity(1 << 16, file), endian, offset);
        let read = self.read_events(&mut reader, path, tids);
        (reader.offset, read)
    }

    fn read_events(
        &mut self,
        reader: &mut PerfReader<impl Read>,
        path: &Path,
        tids: &impl Fn(Tid) -> bool,
    ) -> Result<(), Error> {
        while let Some(event) = reader.next_event(path)? {
            if !tids(event.tid) {
                continue;
            }
            let mut name = NO_NAME;
            if !event.name.is_empty() {
                name = self.names.len() as u32;
                self.names.push(event.name);
            }
            let (time, id) = (event.time, event.id as u32);
            self.tasks.entry(event.tid).or_default().push(TaskEvent { time, id, name });
        }
        Ok(())
    }

    /// The events of a task, ascending by time.
    pub(crate) fn task(&self, tid: Tid) -> &[TaskEvent] {
        self.tasks.get(&tid).map_or(&[], Vec::as_slice)
    }

    /// The names that a task got and when, ascending by time.
    pub(crate) fn names(&self, tid: Tid) -> impl Iterator<Item = (u64, &str)> {
        let named = self.task(tid).iter();
        named.filter_map(|event| Some((event.time, self.names.get(event.name as usize)?.as_str())))
    }

    /// Id and payload of an event.
    pub(crate) fn contents(&self, event: TaskEvent) -> (u64, &[u8]) {
        let name = self.names.get(event.name as usize).map_or(&[][..], |name| name.as_bytes());
        (u64::from(event.id), name)
    }
}

impl TaskEvent {
    pub(crate) fn id(self) -> u64 {
        u64::from(self.id)
    }

    pub(crate) fn is_sched(self) -> bool {
        event_id::is_sched(u64::from(self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Records as the kernel wrote them: a comm, a pre-empted switch out, a fork, an unknown type.
    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut record = |kind: u32, misc: u16, words: &[u32]| {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(misc.to_le_bytes());
            bytes.extend((8 + 4 * words.len() as u16).to_le_bytes());
            words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        };
        record(3, 0x2000, &[9, 9, 0x0079_6f74, 0, 9, 9, 100, 0]);
        record(14, 0x6000, &[9, 10, 200, 0]);
        record(10, 0, &[1, 2, 3]);
        record(7, 0, &[9, 9, 10, 9, 150, 0, 9, 9, 149, 0]);
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<PerfEvent>, Option<String>) {
        let mut reader = PerfReader::new(bytes, Endian::Little);
        let mut events = Vec::new();
        loop {
            match reader.next_event(Path::new("p")) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return (events, None),
                Err(e) => return (events, Some(e.to_string())),
            }
        }
    }

    #[test]
    fn kinds_and_tasks() {
        let (events, error) = read(&sample());
        let seen: Vec<_> = events.iter().map(|e| (e.time, e.tid, e.id, e.name.as_str())).collect();
        let want = [
            (100, 9, event_id::TASK_NAME, "toy"),
            (200, 10, event_id::SCHED_OUT_PREEMPTED, ""),
            (150, 10, event_id::TASK_NEW, ""),
        ];
        assert_eq!((seen.as_slice(), error), (&want[..], None));
    }

    #[test]
    fn damage_is_an_error_after_what_could_be_read() {
        let bytes = sample();
        let (events, error) = read(&bytes[..50]);
        assert_eq!(events.len(), 1);
        assert_eq!(error.unwrap(), "p: at offset 40: a record is cut off");
        let (_, error) = read(&[0; 16]);
        assert_eq!(error.unwrap(), "p: at offset 0: not a record: its size is less than that of a header");
        let short = [14, 0, 0, 0, 0, 0, 12, 0, 1, 2, 3, 4];
        assert_eq!(read(&short).1.unwrap(), "p: at offset 0: a record is shorter than its type needs");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            read(&bytes);
        }

        #[test]
        fn any_flipped_bit_is_survived(bit in 0usize..8 * 112) {
            let mut bytes = sample();
            let at = bit / 8 % bytes.len();
            bytes[at] ^= 1 << (bit % 8);
            read(&bytes);
        }
    }
}
