//! Scheduler and task events: when the program's threads had a processor, came, went and were named.
//!
//! The kernel writes them into one ring buffer for each processor, which is drained into `perf-cpu<N>.dat` as it is.
//! The events are opened for the thread that starts the program, before it does so: they are inherited by the program
//! and by all that comes of it, and begin with its exec. So the program needs not be held up for them.
//!
//! Sources: perf_event_open(2), data format section 8.

use crate::clock::TraceClock;
use crate::sys::{PerfAttr, Shared, bytes_of, perf_event_open};
use crate::{Error, host};
use fathom_store::writer::DirectoryWriter;
use std::fs::{self, File};
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Which scheduler and task events are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskEvents {
    /// None.
    #[default]
    None,
    /// Tasks that come, go and are named.
    Tasks,
    /// These, and when a task had a processor.
    All,
}

const TYPE_SOFTWARE: u32 = 1;
const COUNT_SW_DUMMY: u64 = 9;
const SAMPLE_TID: u64 = 1 << 1;
const SAMPLE_TIME: u64 = 1 << 2;
const FORMAT_LOST: u64 = 1 << 4;
const DISABLED: u64 = 1;
const INHERIT: u64 = 1 << 1;
/// Only with these may users without privileges open it; what is recorded does not depend on them.
const EXCLUDE_KERNEL_AND_HYPERVISOR: u64 = 3 << 5;
const COMM: u64 = 1 << 9;
const ENABLE_ON_EXEC: u64 = 1 << 12;
const TASK: u64 = 1 << 13;
const SAMPLE_ID_ALL: u64 = 1 << 18;
const USE_CLOCK: u64 = 1 << 25;
const CONTEXT_SWITCH: u64 = 1 << 26;

/// Offsets in the first page of a ring (`struct perf_event_mmap_page`).
const HEAD: usize = 1024;
const TAIL: usize = 1032;
const PAGE: usize = 4096;
/// Pages of a ring besides the first, a power of two. Less when the user may not lock that much memory.
const PAGES: usize = 32;

/// A ring is emptied when there is this much in it, bytes,
const ENOUGH: u64 = 8192;
/// or when this much time has passed.
const LATEST: Duration = Duration::from_millis(100);

/// The type of records that tell of lost ones, and the offset of their number.
const LOST: u32 = 2;
const LOST_COUNT: usize = 16;

/// The rings of all processors. Without any when no events are wanted or allowed.
#[derive(Default)]
pub(crate) struct Rings {
    rings: Vec<Ring>,
    /// When all were emptied last.
    emptied: Option<Instant>,
    words: Vec<u64>,
}

struct Ring {
    cpu: u32,
    event: File,
    map: Shared,
    /// Bytes of records that it can hold.
    size: usize,
    /// Whether the event itself can be asked how many records were lost.
    tells_lost: bool,
    /// Lost records, as records tell.
    lost: u64,
}

impl Rings {
    /// Opens events for what the thread, 0 for the calling one, is going to start.
    ///
    /// # Errors
    ///
    /// Where the kernel does not let us, or has no such events.
    pub(crate) fn open(wanted: TaskEvents, clock: TraceClock, pid: i32) -> io::Result<Rings> {
        let mut rings = Vec::new();
        if wanted != TaskEvents::None {
            for cpu in host::online() {
                match Ring::open(cpu, wanted, clock, pid) {
                    Ok(ring) => rings.push(ring),
                    // It went offline.
                    Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Rings { rings, ..Rings::default() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rings.is_empty()
    }

    /// Makes the files, which are there even if nothing happens on a processor.
    pub(crate) fn begin(&self, writer: &DirectoryWriter) -> Result<(), Error> {
        self.rings.iter().try_for_each(|ring| writer.append_perf(ring.cpu, &[])).map_err(Error::from)
    }

    /// Empties the rings that are worth it.
    pub(crate) fn pass(&mut self, writer: &DirectoryWriter) -> Result<(), Error> {
        if self.rings.is_empty() {
            return Ok(());
        }
        if self.emptied.is_none_or(|at| at.elapsed() >= LATEST) {
            return self.finish(writer);
        }
        let Rings { rings, words, .. } = self;
        rings.iter_mut().filter(|ring| ring.filled() >= ENOUGH).try_for_each(|ring| ring.empty(words, writer))
    }

    /// Empties all rings.
    pub(crate) fn finish(&mut self, writer: &DirectoryWriter) -> Result<(), Error> {
        self.emptied = Some(Instant::now());
        let Rings { rings, words, .. } = self;
        rings.iter_mut().try_for_each(|ring| ring.empty(words, writer))
    }

    /// Events that found no room in their ring.
    pub(crate) fn lost(&self) -> u64 {
        self.rings.iter().map(Ring::lost).sum()
    }
}

impl Ring {
    fn open(cpu: u32, wanted: TaskEvents, clock: TraceClock, pid: i32) -> io::Result<Ring> {
        let sched = if wanted == TaskEvents::All { CONTEXT_SWITCH } else { 0 };
        let mut attr = PerfAttr {
            kind: TYPE_SOFTWARE,
            size: size_of::<PerfAttr>() as u32,
            config: COUNT_SW_DUMMY,
            sample_type: SAMPLE_TID | SAMPLE_TIME,
            read_format: FORMAT_LOST,
            flags: DISABLED
                | INHERIT
                | EXCLUDE_KERNEL_AND_HYPERVISOR
                | COMM
                | ENABLE_ON_EXEC
                | TASK
                | SAMPLE_ID_ALL
                | USE_CLOCK
                | sched,
            clock: clock.id(),
            ..PerfAttr::default()
        };
        let mut event = perf_event_open(&attr, pid, cpu);
        if event.as_ref().is_err_and(|e| e.raw_os_error() == Some(libc::EINVAL)) {
            // Before Linux 6.0 an event can't tell what was lost.
            attr.read_format = 0;
            event = perf_event_open(&attr, pid, cpu);
        }
        let event = event?;
        let mut pages = PAGES;
        let map = loop {
            match Shared::map(&event, (1 + pages) * PAGE) {
                Err(_) if pages > 1 => pages /= 2,
                other => break other?,
            }
        };
        let tells_lost = attr.read_format != 0;
        Ok(Ring { cpu, event, map, size: pages * PAGE, tells_lost, lost: 0 })
    }

    /// Bytes that wait.
    fn filled(&self) -> u64 {
        let tail = self.map.at::<AtomicU64>(TAIL).load(Ordering::Relaxed);
        self.map.word(HEAD).wrapping_sub(tail)
    }

    fn empty(&mut self, words: &mut Vec<u64>, writer: &DirectoryWriter) -> Result<(), Error> {
        let tail = self.map.at::<AtomicU64>(TAIL);
        let from = tail.load(Ordering::Relaxed);
        let len = (self.map.word(HEAD).wrapping_sub(from) as usize).min(self.size) & !7;
        if len == 0 {
            return Ok(());
        }
        words.clear();
        words.resize(len / 8, 0);
        let start = from as usize & (self.size - 1);
        let (first, rest) = words.split_at_mut((self.size - start).min(len) / 8);
        self.map.copy(PAGE + start, first);
        self.map.copy(PAGE, rest);
        // The kernel may use the room again as soon as it sees this.
        tail.store(from.wrapping_add(len as u64), Ordering::Release);
        self.lost += lost_in(bytes_of(words));
        writer.append_perf(self.cpu, bytes_of(words))?;
        Ok(())
    }

    /// What was lost at the very end is in no record.
    fn lost(&self) -> u64 {
        let mut words = [0; 16];
        if self.tells_lost && (&self.event).read_exact(&mut words).is_ok() {
            return u64::from_le_bytes(words[8..].try_into().unwrap_or_default()).max(self.lost);
        }
        self.lost
    }
}

/// How many events the records say were lost.
fn lost_in(mut records: &[u8]) -> u64 {
    let mut lost = 0;
    while let Some((header, _)) = records.split_at_checked(8) {
        let size = usize::from(u16::from_le_bytes([header[6], header[7]]));
        if header[..4] == LOST.to_le_bytes()
            && let Some(count) = records.get(LOST_COUNT..LOST_COUNT + 8)
        {
            lost += u64::from_le_bytes(count.try_into().unwrap_or_default());
        }
        match records.get(size..) {
            Some(rest) if size >= 8 => records = rest,
            _ => break,
        }
    }
    lost
}

/// Why there are no events, for the user.
pub(crate) fn refused(error: &io::Error) -> String {
    let setting = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    let why = match (error.raw_os_error(), setting.trim()) {
        (Some(libc::EACCES | libc::EPERM), level) if !level.is_empty() => {
            format!("{error}; kernel.perf_event_paranoid is {level}")
        }
        (Some(libc::ENOSYS | libc::ENOENT | libc::EINVAL), _) => format!("the kernel has none ({error})"),
        _ => error.to_string(),
    };
    format!("scheduler and task events are not recorded: {why}; --no-event asks for none")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: u32, words: &[u64]) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend(0u16.to_le_bytes());
        bytes.extend((8 + 8 * words.len() as u16).to_le_bytes());
        words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes
    }

    #[test]
    fn lost_events_are_counted() {
        let records =
            [record(14, &[1, 2]), record(LOST, &[7, 30, 0, 0]), record(LOST, &[7, 12, 0, 0])].concat();
        assert_eq!(lost_in(&records), 42);
        assert_eq!(lost_in(&records[..records.len() - 1]), 42);
        assert_eq!(lost_in(&[0; 64]), 0);
    }

    #[test]
    fn layout_of_the_attributes() {
        assert_eq!(size_of::<PerfAttr>(), 112);
        assert_eq!(std::mem::offset_of!(PerfAttr, clock), 92);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            lost_in(&bytes);
        }
    }
}
