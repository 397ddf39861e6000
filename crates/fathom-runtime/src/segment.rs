//! Writing records from the slow paths: taking segments, waiting for one, counting what found no room.
//!
//! A hook reserves a place first and compares it with the end afterwards, and a signal handler in between may have taken
//! another segment, so that the comparison is with the wrong end. Therefore the end that hooks know is [`SPARE`] records
//! before that of the segment: every place that a hook can have reserved is a valid one, whichever way the comparison
//! goes, and the slow path tells by its address whose it is.

use crate::rules::FILTERING;
use crate::slow::with_depth;
use crate::state::{Block, Buffer, Frame, NONE, PROCESS, RULED, UNFILLED};
use crate::sys::{self, NoSignals};
use crate::{init, slow};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use fathom_abi::arena::{self, Header, Segment, Task};
use fathom_abi::record::{DATA_BYTES, ENTRY, EVENT, LOST, MORE, SIZE, TYPE_MASK, data_word, word};

/// Places behind the end that hooks know: as many as hooks can be in the moment between reserving and comparing, each
/// interrupted by the next.
const SPARE: usize = 32;

/// The arena. Only called where one is mapped.
pub(crate) fn header() -> &'static Header {
    // SAFETY: set once by the constructor, before any thread gets a block; never unmapped.
    unsafe { &*PROCESS.arena.load(Ordering::Relaxed) }
}

/// An entry of one of the arena's tables.
fn entry<T>(offset: u64, index: u32) -> &'static T {
    let base = PROCESS.arena.load(Ordering::Relaxed).cast::<u8>();
    // SAFETY: the constructor has mapped the whole arena, and indexes come from its own lists and counters,
    // checked against the counts.
    unsafe { &*base.add(offset as usize).cast::<T>().add(index as usize) }
}

/// A task slot.
pub(crate) fn task(index: u32) -> &'static Task {
    entry(header().tasks, index)
}

/// Notes why so many hooks cannot be set, and gives their number.
pub(crate) fn because(cause: u32, count: u32) -> u32 {
    if count > 0 {
        session(PROCESS.session.load(Ordering::Relaxed)).causes.fetch_or(cause, Ordering::Relaxed);
    }
    count
}

/// A session slot.
pub(crate) fn session(index: u32) -> &'static arena::Session {
    entry(header().sessions, index)
}

fn segment(index: u32) -> &'static Segment {
    entry(header().heads, index)
}

/// The recording's clock.
pub(crate) fn now() -> u64 {
    if header().clock == arena::CLOCK_TSC {
        // SAFETY: every x86-64 processor has it.
        unsafe { core::arch::x86_64::_rdtsc() }
    } else {
        sys::monotonic()
    }
}

/// Takes the first entry of a free list.
fn take(head: &AtomicU64, count: u32, next: impl Fn(u32) -> &'static AtomicU32) -> Option<u32> {
    let mut old = head.load(Ordering::Acquire);
    loop {
        let (tag, first) = arena::unpack(old);
        if first == 0 || first > count {
            return None;
        }
        let new = arena::pack(tag.wrapping_add(1), next(first - 1).load(Ordering::Relaxed));
        match head.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(first - 1),
            Err(now) => old = now,
        }
    }
}

/// A task slot for this thread; `NONE` when the table is full (counted).
/// `start` is when it began, by the recording's clock.
pub(crate) fn new_task(tid: i32, pid: i32, parent: Option<i32>, start: u64) -> u32 {
    let h = header();
    let index = take(&h.free_tasks.0, h.task_count, |i| &task(i).next)
        .or_else(|| Some(h.next_task.0.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < h.task_count));
    let Some(index) = index else {
        h.lost_tasks.fetch_add(1, Ordering::Relaxed);
        return NONE;
    };
    let t = task(index);
    t.flags.store(if parent.is_some() { arena::TASK_FORKED } else { 0 }, Ordering::Relaxed);
    t.tid.store(tid, Ordering::Relaxed);
    t.pid.store(pid, Ordering::Relaxed);
    t.parent.store(parent.unwrap_or(0), Ordering::Relaxed);
    t.session.store(PROCESS.session.load(Ordering::Relaxed), Ordering::Relaxed);
    t.start.store(start, Ordering::Relaxed);
    t.serial.store(h.last_serial.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    t.lost.store(0, Ordering::Relaxed);
    t.too_deep.store(0, Ordering::Relaxed);
    t.state.store(arena::TASK_LIVE, Ordering::Release);
    index
}

/// Ends a task: its segment is left and nothing will follow.
pub(crate) fn close_task(b: &mut Block) {
    leave_segment(b);
    if b.task != NONE {
        task(b.task).state.store(arena::TASK_CLOSED, Ordering::Release);
        b.task = NONE;
    }
}

/// A call that the shadow stack has no room for.
pub(crate) fn too_deep(b: &Block) {
    if b.task != NONE {
        task(b.task).too_deep.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes a record with the time of now.
pub(crate) fn append(b: &mut Block, w: u64) {
    if b.vfork.active {
        follow_vfork(b, now());
    }
    put(b, None, w);
}

/// Writes a record with a time of its own.
pub(crate) fn append_at(b: &mut Block, time: u64, w: u64) {
    if b.vfork.active {
        // The call may have begun before its task was made.
        follow_vfork(b, time - tick());
    }
    put(b, Some(time), w);
}

/// Writes a record with its payload, of at most some kilobytes.
pub(crate) fn append_with(b: &mut Block, time: u64, w: u64, payload: &[u8]) {
    if payload.is_empty() {
        append_at(b, time, w);
        return;
    }
    if b.vfork.active {
        follow_vfork(b, time - tick());
    }
    let records = 1 + payload.len().div_ceil(DATA_BYTES);
    let at = reserve_run(b, records).or_else(|| {
        let quiet = NoSignals::begin();
        refill(b, &quiet);
        reserve_run(b, records)
    });
    let Some(at) = at else {
        buffer(b).set(0, 0);
        lose(b, 1);
        return;
    };
    // The record itself goes last: with it, all that belongs to it is there.
    let mut place = at;
    let mut rest = payload;
    while !rest.is_empty() {
        place += SIZE;
        let len = rest.len().min(DATA_BYTES);
        let high = rest.get(8..).map_or(0, first_word) & 0xffff_ffff_ffff;
        write(place, first_word(rest), data_word(high, len));
        rest = &rest[len..];
    }
    write(at, time, w | MORE);
}

/// Up to eight bytes as a word. Not by a copy: those of the runtime are made for many bytes.
fn first_word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word),
        None => bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// Writes an event.
pub(crate) fn append_event(b: &mut Block, time: u64, id: u64, data: &[u8]) {
    let mut payload = [0u8; 64];
    let end = 2 + data.len();
    if end > payload.len() {
        return;
    }
    payload[..2].copy_from_slice(&(data.len() as u16).to_le_bytes());
    payload[2..end].copy_from_slice(data);
    append_with(b, time, word(EVENT, 0, id), &payload[..end.next_multiple_of(8)]);
}

/// At least a nanosecond, in units of the recording's clock: what keeps an event apart from its record.
pub(crate) fn tick() -> u64 {
    /// Enough for processors of less than 8 GHz.
    const TICKS: u64 = 8;
    if header().clock == arena::CLOCK_TSC { TICKS } else { 1 }
}

/// Adds to a word of this thread's own and returns what was there. Without the lock that other processors would need, and
/// which takes as long as all the rest: only handlers of the same thread come in between, and not within an instruction.
fn add(word: &AtomicUsize, n: usize) -> usize {
    let mut old = n;
    // SAFETY: the word lives through the instruction.
    unsafe {
        core::arch::asm!("xadd qword ptr [{}], {}", in(reg) word.as_ptr(), inout(reg) old, options(nostack));
    }
    old
}

/// Puts `new` into a word of this thread's own if it is `old`. As [`add`].
fn replace(word: &AtomicUsize, old: usize, new: usize) -> bool {
    let mut found = old;
    // SAFETY: the word lives through the instruction.
    unsafe {
        core::arch::asm!(
            "cmpxchg qword ptr [{}], {}",
            in(reg) word.as_ptr(), in(reg) new, inout("rax") found, options(nostack)
        );
    }
    found == old
}

/// Places for so many records in a row; none when the segment, or what is left of it, is too small.
fn reserve_run(b: &mut Block, records: usize) -> Option<usize> {
    let buffer = buffer(b);
    loop {
        let at = buffer.cursor.load(Ordering::Relaxed);
        let next = at.checked_add(records * SIZE)?;
        if at == 0 || next > buffer.end.load(Ordering::Relaxed) {
            return None;
        }
        // A handler may have reserved places in between.
        if replace(&buffer.cursor, at, next) {
            return Some(at);
        }
    }
}

/// Writes a record with the time of the task's start.
pub(crate) fn append_at_start(b: &mut Block, w: u64) {
    let time = if b.task == NONE { None } else { Some(task(b.task).start.load(Ordering::Relaxed)) };
    put(b, time, w);
}

/// Where this thread writes now.
fn buffer(b: &Block) -> &Buffer {
    if b.careful { &b.own } else { b.buffer() }
}

/// Writes a record. Reserves first and reads the clock afterwards, as the fast path does.
fn put(b: &mut Block, time: Option<u64>, w: u64) {
    match reserve(b) {
        Ok(at) => write(at, time.unwrap_or_else(now), w),
        Err(place) => {
            let quiet = NoSignals::begin();
            append_late(b, time, w, place, &quiet);
        }
    }
}

/// Writes a record that has reserved `place`, which was not in front of the end. Signals are held back.
pub(crate) fn append_late(b: &mut Block, time: Option<u64>, w: u64, place: usize, quiet: &NoSignals) {
    let ours = is_own_place(b, place);
    if ours {
        write(place, time.unwrap_or_else(now), w);
    }
    // A handler may have done it already.
    let (cursor, end) = (buffer(b).cursor.load(Ordering::Relaxed), buffer(b).end.load(Ordering::Relaxed));
    if cursor >= end || !ours {
        refill(b, quiet);
    }
    if !ours {
        match reserve(b) {
            Ok(at) => write(at, time.unwrap_or_else(now), w),
            Err(_) => {
                buffer(b).set(0, 0);
                lose(b, 1);
            }
        }
    }
}

/// Whether a place is in a segment that this task has taken and that is not drained: a place that is reserved and empty
/// keeps its segment from being used again.
fn is_own_place(b: &Block, place: usize) -> bool {
    let h = header();
    let data = PROCESS.arena.load(Ordering::Relaxed) as usize + h.data as usize;
    let index = place.wrapping_sub(data) / h.segment_size as usize;
    if place < data || index >= h.segment_count as usize || b.task == NONE {
        return false;
    }
    let s = segment(index as u32);
    s.state.load(Ordering::Acquire) != arena::SEGMENT_FREE
        && s.task.load(Ordering::Relaxed) == b.task
        && s.serial.load(Ordering::Relaxed) == task(b.task).serial.load(Ordering::Relaxed)
        && place < data + (index + 1) * h.segment_size as usize
}

/// Stores a record at a place that is ours alone. The word goes last: it says that the record is there.
fn write(at: usize, time: u64, w: u64) {
    // SAFETY: sixteen bytes of our segment.
    unsafe {
        (at as *mut u64).write_volatile(time);
        (*((at + 8) as *const AtomicU64)).store(w, Ordering::Release);
    }
}

/// Whether the recorder is gone and the thread's last segment full: then a record costs counting it, no system call.
pub(crate) fn is_hopeless(b: &Block) -> bool {
    let h = header();
    h.recorder_gone.load(Ordering::Relaxed) != 0
        && b.segment == NONE
        && b.task != NONE
        && arena::unpack(h.free_segments.0.load(Ordering::Relaxed)).1 == 0
}

/// Counts records that have no place. In shared memory, so that the recorder knows however this process ends. A thread
/// without a task is counted as a whole.
pub(crate) fn lose(b: &Block, records: u64) {
    if b.task != NONE {
        task(b.task).lost.fetch_add(records, Ordering::Relaxed);
    }
}

/// The place of the next record in the current segment; as an error when it is not in front of the end.
fn reserve(b: &mut Block) -> Result<usize, usize> {
    let buffer = buffer(b);
    let at = add(&buffer.cursor, SIZE);
    if at < buffer.end.load(Ordering::Relaxed) { Ok(at) } else { Err(at) }
}

/// Leaves the current segment, if there is one.
fn leave_segment(b: &mut Block) {
    if b.segment != NONE {
        let h = header();
        let size = h.segment_size as usize;
        let start =
            PROCESS.arena.load(Ordering::Relaxed) as usize + h.data as usize + b.segment as usize * size;
        let used = buffer(b).cursor.load(Ordering::Relaxed).saturating_sub(start).min(size);
        let s = segment(b.segment);
        s.used.store(used as u32, Ordering::Relaxed);
        s.state.store(arena::SEGMENT_FULL, Ordering::Release);
        b.segment = NONE;
    }
    buffer(b).set(0, 0);
}

/// Leaves the full segment and takes another. Without one (waiting for it is pointless) every record comes here.
/// Signals are held back.
fn refill(b: &mut Block, quiet: &NoSignals) {
    let h = header();
    leave_segment(b);
    let taken = if b.task == NONE { None } else { free_segment(h).or_else(|| wait(quiet)) };
    let Some(index) = taken else { return };
    // A handler that was let in while we waited may have taken one too. Its records come first.
    leave_segment(b);
    let s = segment(index);
    let size = h.segment_size as usize;
    s.task.store(b.task, Ordering::Relaxed);
    s.serial.store(task(b.task).serial.load(Ordering::Relaxed), Ordering::Relaxed);
    s.sequence.store(b.sequence, Ordering::Relaxed);
    s.drained.store(0, Ordering::Relaxed);
    s.state.store(arena::SEGMENT_ACTIVE, Ordering::Release);
    let start = PROCESS.arena.load(Ordering::Relaxed) as usize + h.data as usize + index as usize * size;
    if b.sequence > 0 {
        // One call instead of a page fault for every 256 records; a thread's first segment may stay nearly empty.
        // SAFETY: the segment is mapped and backed.
        unsafe { sys::call(sys::MADVISE, [start, size, sys::MADV_POPULATE_WRITE, 0, 0, 0]) };
    }
    b.sequence += 1;
    b.segment = index;
    let mut at = start;
    // Here is where they are missing. What is lost later and not followed by anything, the recorder adds at the end.
    let lost = task(b.task).lost.swap(0, Ordering::Relaxed);
    if lost > 0 {
        write(at, now(), word(LOST, 0, lost));
        at += SIZE;
    }
    buffer(b).set(at, start + size - SPARE * SIZE);
}

fn free_segment(h: &Header) -> Option<u32> {
    take(&h.free_segments.0, h.segment_count, |i| &segment(i).next)
}

/// Waits for the recorder to free a segment; signals are let in meanwhile. Gives up when the recorder shows no life for
/// three seconds, and in any case after half a minute: a full disk must not hold the program for ever.
fn wait(quiet: &NoSignals) -> Option<u32> {
    const PATIENCE: u64 = 3_000_000_000;
    const LIMIT: u64 = 30_000_000_000;
    let h = header();
    if h.recorder_gone.load(Ordering::Relaxed) != 0 {
        return None;
    }
    let began = sys::monotonic();
    let mut beat = h.heartbeat.0.load(Ordering::Relaxed);
    let mut since = sys::monotonic();
    let mut pause = 20_000;
    loop {
        h.pressure.store(1, Ordering::Relaxed);
        quiet.sleep(pause);
        pause = (pause * 2).min(1_000_000);
        if let Some(index) = free_segment(h) {
            return Some(index);
        }
        let now = h.heartbeat.0.load(Ordering::Relaxed);
        if now != beat {
            (beat, since) = (now, sys::monotonic());
        } else if sys::monotonic() - since > PATIENCE {
            h.recorder_gone.store(1, Ordering::Relaxed);
        }
        let hopeless =
            h.recorder_gone.load(Ordering::Relaxed) != 0 || h.exhausted.load(Ordering::Relaxed) != 0;
        if hopeless || sys::monotonic() - began > LIMIT {
            return None;
        }
    }
}

/// Records the calls that are open at the start of a forked child, all at the child's first moment, so that each of
/// its exits has an entry. `exiting` is the word of a call whose frame has just been popped.
pub(crate) fn inherit(b: &mut Block, exiting: Option<u64>, except_top: bool) {
    if b.task == NONE {
        return;
    }
    let time = task(b.task).start.load(Ordering::Relaxed);
    let mut frame = b.base;
    let end = if except_top { b.top } else { b.top.wrapping_add(1) };
    while frame < end {
        // SAFETY: between base and top.
        let w = unsafe { (*frame).word };
        if w == 0 {
            frame = frame.wrapping_add(1);
            continue;
        }
        // SAFETY: as above.
        let held = unsafe { (*frame).held } & !RULED != 0;
        if !held {
            put(b, Some(time), inherited_word(b, w, frame));
        }
        frame = frame.wrapping_add(1);
    }
    if let Some(w) = exiting {
        put(b, Some(time), inherited_word(b, w, frame));
    }
}

/// The entry of a call that a child has taken over. With filters, not every frame counts for a level: then the word
/// knows the depth best.
fn inherited_word(b: &Block, w: u64, frame: *mut Frame) -> u64 {
    let w = w & !TYPE_MASK;
    if FILTERING.load(Ordering::Relaxed) {
        w | ENTRY
    } else {
        with_depth(w, slow::depth_of(b, frame)) | ENTRY
    }
}

/// Before a vfork: until the parent runs again, what this thread's block sees is the child.
pub(crate) fn begin_vfork(b: &mut Block) {
    if b.vfork.active {
        return;
    }
    let _quiet = NoSignals::begin();
    let buffer = buffer(b);
    (b.vfork.cursor, b.vfork.end) =
        (buffer.cursor.load(Ordering::Relaxed), buffer.end.load(Ordering::Relaxed));
    b.vfork.top = b.top;
    b.vfork.task = b.task;
    b.vfork.segment = b.segment;
    b.vfork.sequence = b.sequence;
    b.vfork.careful = b.careful;
    // The fast path is closed by an end of zero.
    b.buffer().set(0, 0);
    b.careful = true;
    b.own.set(0, 0);
    (b.task, b.segment, b.sequence) = (NONE, NONE, 0);
    b.limit = core::ptr::null_mut();
    b.vfork.active = true;
    crate::filter::begin_vfork(b);
}

/// Finds out who runs while a vfork is pending, and gives the child a task at its first record, which began at `start`.
fn follow_vfork(b: &mut Block, start: u64) {
    let tid = sys::gettid();
    if tid == b.tid {
        vfork_returned(b);
    } else if b.task == NONE {
        b.task = new_task(tid, tid, Some(PROCESS.pid.load(Ordering::Relaxed)), start);
        let top = b.top;
        b.top = b.vfork.top;
        inherit(b, None, false);
        b.top = top;
    }
}

/// Puts the parent's state back if it is the parent that runs. Frames that the child left open go unrecorded.
pub(crate) fn vfork_returned(b: &mut Block) {
    if sys::gettid() != b.tid {
        return;
    }
    close_task(b);
    while b.top > b.vfork.top {
        // SAFETY: above the base.
        unsafe { ((*b.top).slot, (*b.top).held) = (UNFILLED, 0) };
        b.top = b.top.wrapping_sub(1);
    }
    b.vfork.active = false;
    b.limit = if b.dlopen != 0 { core::ptr::null_mut() } else { b.real_limit };
    (b.task, b.segment, b.sequence) = (b.vfork.task, b.vfork.segment, b.vfork.sequence);
    b.careful = b.vfork.careful;
    buffer(b).set(b.vfork.cursor, b.vfork.end);
    crate::filter::end_vfork(b);
}

/// After a fork that was noticed by thread `b`: a task of the child's own.
pub(crate) fn adopt(b: &mut Block, parent: i32) {
    b.vfork.active = false;
    b.limit = b.real_limit;
    b.tid = sys::gettid();
    b.segment = NONE;
    b.sequence = 0;
    b.buffer().set(0, 0);
    b.careful = header().clock != arena::CLOCK_TSC;
    b.own.set(0, 0);
    b.task = new_task(b.tid, sys::getpid(), Some(parent), now());
    if b.task != NONE {
        crate::filter::inherited(b, task(b.task).start.load(Ordering::Relaxed));
    }
    crate::filter::look_again(b);
    init::arm_thread_end();
}
