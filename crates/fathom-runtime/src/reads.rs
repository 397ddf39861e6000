//! What is recorded beside calls: memory use, page faults, counters of the processor, watched values.

use crate::fetch::Payload;
use crate::state::{Block, WATCHING};
use crate::{rules, segment, sys};
use core::sync::atomic::Ordering;
use fathom_abi::plan::{MODE_WATCH_CPU, READ_BRANCH, READ_CACHE, READ_CYCLES, READ_PAGE_FAULT, READ_STATM};

/// Where a function was called from.
pub(crate) const CALLSITE: u64 = 100_013;
const WATCH_CPU: u64 = 100_011;
const WATCH_VARIABLE: u64 = 100_012;

/// One kind of counters: its bit, the ids of its value and its difference, how many numbers it has.
struct Source {
    bit: u32,
    value: u64,
    difference: u64,
    numbers: usize,
}

const SOURCES: [Source; 5] = [
    Source { bit: READ_STATM, value: 100_001, difference: 100_003, numbers: 3 },
    Source { bit: READ_PAGE_FAULT, value: 100_002, difference: 100_004, numbers: 2 },
    Source { bit: READ_CYCLES, value: 100_005, difference: 100_006, numbers: 2 },
    Source { bit: READ_CACHE, value: 100_007, difference: 100_008, numbers: 2 },
    Source { bit: READ_BRANCH, value: 100_009, difference: 100_010, numbers: 2 },
];

/// Descriptors of the processor's counters, by thread. A descriptor plus one; 0 is not opened yet, -1 cannot be.
#[derive(Default)]
pub(crate) struct Counters {
    descriptors: [[i32; 2]; 3],
    owner: i32,
}

/// Appends the present values of the kinds in `kinds`, 64 bits each. Returns the kinds that there are here: a processor
/// may not count, or not for us.
pub(crate) fn take(kinds: u32, counters: &mut Counters, payload: &mut Payload<'_>) -> u32 {
    let mut taken = 0;
    for source in SOURCES.iter().filter(|source| kinds & source.bit != 0) {
        let numbers = match source.bit {
            READ_STATM => memory(),
            READ_PAGE_FAULT => Some(faults()),
            _ => counters.read(source.bit),
        };
        let Some(numbers) = numbers else { continue };
        for number in &numbers[..source.numbers] {
            payload.push(&number.to_le_bytes());
        }
        taken |= source.bit;
    }
    taken
}

/// Writes the values that [`take`] has appended as events.
pub(crate) fn write(b: &mut Block, kinds: u32, values: &[u8], time: u64) {
    let mut at = 0;
    for source in SOURCES.iter().filter(|source| kinds & source.bit != 0) {
        let len = 8 * source.numbers;
        if let Some(bytes) = values.get(at..at + len) {
            segment::append_event(b, time, source.value, bytes);
        }
        at += len;
    }
}

/// Writes how values have changed as events.
pub(crate) fn write_differences(b: &mut Block, kinds: u32, before: &[u8], after: &[u8], time: u64) {
    let mut at = 0;
    for source in SOURCES.iter().filter(|source| kinds & source.bit != 0) {
        let len = 8 * source.numbers;
        let mut bytes = [0u8; 24];
        for number in 0..source.numbers {
            let from = at + 8 * number;
            let difference = number_at(after, from).wrapping_sub(number_at(before, from));
            bytes[8 * number..8 * number + 8].copy_from_slice(&difference.to_le_bytes());
        }
        segment::append_event(b, time, source.difference, &bytes[..len]);
        at += len;
    }
}

fn number_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk::<8>).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Size, resident and shared memory in KiB: the first three numbers of /proc/self/statm, which are in pages.
fn memory() -> Option<[u64; 3]> {
    const PAGE_KIB: u64 = 4;
    let mut numbers = [0u64; 3];
    let fd = sys::open(b"/proc/self/statm\0", sys::O_RDONLY);
    if fd < 0 {
        return None;
    }
    let mut text = [0u8; 128];
    let n = sys::read(fd, &mut text).max(0) as usize;
    sys::close(fd);
    let mut index = 0;
    for &c in &text[..n] {
        match c {
            b'0'..=b'9' => numbers[index] = numbers[index] * 10 + u64::from(c - b'0'),
            _ if index < 2 => index += 1,
            _ => break,
        }
    }
    Some(numbers.map(|pages| pages * PAGE_KIB))
}

/// Major and minor page faults of the process: words 9 and 8 of `struct rusage` on x86-64.
fn faults() -> [u64; 3] {
    const SELF: usize = 0;
    let mut usage = [0u64; 18];
    // SAFETY: 144 bytes, as large as the structure.
    unsafe { sys::call(sys::GETRUSAGE, [SELF, usage.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    [usage[9], usage[8], 0]
}

impl Counters {
    /// The two numbers of a kind; none where the machine does not count them.
    fn read(&mut self, bit: u32) -> Option<[u64; 3]> {
        /// Numbers of `PERF_COUNT_HW_`: cycles and instructions, cache references and misses, branches and misses.
        const EVENTS: [[u64; 2]; 3] = [[0, 1], [2, 3], [4, 5]];
        let tid = sys::gettid();
        if self.owner != tid {
            // Those of the thread that had this memory before, or of the parent before a fork, count somebody else.
            (self.descriptors, self.owner) = ([[0; 2]; 3], tid);
        }
        let kind = match bit {
            READ_CYCLES => 0,
            READ_CACHE => 1,
            _ => 2,
        };
        let mut numbers = [0u64; 3];
        for i in 0..2 {
            let descriptor = &mut self.descriptors[kind][i];
            if *descriptor == 0 {
                *descriptor = open_counter(EVENTS[kind][i]).map_or(-1, |fd| fd + 1);
            }
            let mut bytes = [0u8; 8];
            // The program may have closed it.
            if *descriptor <= 0 || sys::read(*descriptor as isize - 1, &mut bytes) != 8 {
                segment::header().no_counters.store(1, Ordering::Relaxed);
                return None;
            }
            numbers[i] = u64::from_le_bytes(bytes);
        }
        Some(numbers)
    }
}

/// A counter of this thread in user space.
fn open_counter(event: u64) -> Option<i32> {
    const SIZE: u64 = 112;
    /// `exclude_kernel` and `exclude_hv`.
    const FLAGS: u64 = 1 << 5 | 1 << 6;
    const CLOEXEC: usize = 8;
    let mut attributes = [0u64; 14];
    attributes[0] = SIZE << 32;
    attributes[1] = event;
    attributes[5] = FLAGS;
    // SAFETY: the attributes are as long as they say; this thread, any processor, no group.
    let fd = unsafe {
        sys::call(sys::PERF_EVENT_OPEN, [attributes.as_ptr() as usize, 0, usize::MAX, usize::MAX, CLOEXEC, 0])
    };
    (fd >= 0).then_some(fd as i32)
}

/// The last values of what is watched.
#[derive(Default)]
pub(crate) struct Watched {
    known: bool,
    cpu: u32,
    variable: u64,
}

/// Around the writing of a record of `time`: tells of watched values that are new, in front of the record; those of the
/// first one come `behind` it, so that they are not outside of every call.
#[inline]
pub(crate) fn watch(b: &mut Block, watched: &mut Watched, time: u64, behind: bool) {
    if b.flags & WATCHING != 0 && watched.known != behind {
        really_watch(b, watched, time, behind);
    }
}

#[cold]
fn really_watch(b: &mut Block, watched: &mut Watched, time: u64, behind: bool) {
    let Some(tables) = rules::tables() else { return };
    let head = &tables.head;
    let first = behind;
    watched.known = true;
    let time = if first { time + segment::tick() } else { time - segment::tick() };
    if head.mode & MODE_WATCH_CPU != 0 {
        let cpu = sys::cpu();
        if first || cpu != watched.cpu {
            watched.cpu = cpu;
            segment::append_event(b, time, WATCH_CPU, &cpu.to_le_bytes());
        }
    }
    let size = head.watch_size.min(8) as usize;
    if head.watch != 0 && size > 0 {
        let mut bytes = [0u8; 16];
        bytes[..8].copy_from_slice(&head.watch.to_le_bytes());
        sys::read_memory(head.watch as usize, &mut bytes[8..8 + size]);
        let value = number_at(&bytes, 8);
        if first || value != watched.variable {
            watched.variable = value;
            segment::append_event(b, time, WATCH_VARIABLE, &bytes[..8 + size]);
        }
    }
}

/// A thread's watched values are not known.
pub(crate) fn forget(watched: &mut Watched) {
    watched.known = false;
}
