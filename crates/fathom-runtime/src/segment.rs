//! Writing records from the slow paths: taking segments, waiting for one, counting what found no room.

use crate::slow::with_depth;
use crate::state::{Block, NONE, PROCESS, UNFILLED};
use crate::{init, slow, sys};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use fathom_abi::arena::{self, Header, Segment, Task};
use fathom_abi::record::{ENTRY, LOST, SIZE, TYPE_MASK, word};

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
pub(crate) fn new_task(tid: i32, pid: i32, parent: Option<i32>) -> u32 {
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
    t.start.store(now(), Ordering::Relaxed);
    t.serial.store(h.last_serial.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    t.lost.store(0, Ordering::Relaxed);
    t.too_deep.store(0, Ordering::Relaxed);
    t.state.store(arena::TASK_LIVE, Ordering::Release);
    index
}

/// Ends a task: its segment is left and nothing will follow.
pub(crate) fn close_task(b: &mut Block) {
    if b.segment != NONE {
        segment(b.segment).state.store(arena::SEGMENT_FULL, Ordering::Release);
        b.segment = NONE;
    }
    b.buffer().end.store(0, Ordering::Relaxed);
    if b.task != NONE {
        let t = task(b.task);
        t.lost.fetch_add(b.lost, Ordering::Relaxed);
        b.lost = 0;
        t.state.store(arena::TASK_CLOSED, Ordering::Release);
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
        follow_vfork(b);
    }
    put(b, None, w);
}

/// Writes a record with the time of the task's start.
pub(crate) fn append_at_start(b: &mut Block, w: u64) {
    let time = if b.task == NONE { None } else { Some(task(b.task).start.load(Ordering::Relaxed)) };
    put(b, time, w);
}

/// Writes a record whose hook has found no room at `place`, after all that its handlers have done since.
pub(crate) fn append_late(b: &mut Block, w: u64, place: usize) {
    if b.careful || b.vfork.active {
        append(b, w);
    } else if b.kept_count > 0 {
        // A handler has taken the next segment and kept our place in it, in front of its own records.
        b.kept_count -= 1;
        write(b.kept + b.kept_count * SIZE, now(), w);
    } else {
        match refill(b, place) {
            Some(at) => write(at, now(), w),
            None => lose(b),
        }
    }
}

/// Writes a record. Reserves first and reads the clock afterwards, as the fast path does.
fn put(b: &mut Block, time: Option<u64>, w: u64) {
    let at = reserve(b).or_else(|place| {
        let _quiet = sys::NoSignals::begin();
        refill(b, place).ok_or(())
    });
    match at {
        Ok(at) => write(at, time.unwrap_or_else(now), w),
        Err(()) => lose(b),
    }
}

/// Stores a record at a place that is ours alone. The word goes last: it says that the record is there.
fn write(at: usize, time: u64, w: u64) {
    // SAFETY: sixteen bytes of our segment.
    unsafe {
        (at as *mut u64).write_volatile(time);
        (*((at + 8) as *const AtomicU64)).store(w, Ordering::Release);
    }
}

/// Counts a record that has no place.
fn lose(b: &mut Block) {
    if b.task == NONE {
        b.lost += 1;
    } else {
        task(b.task).lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// The place of the next record in the current segment, or where it would be behind the end.
fn reserve(b: &mut Block) -> Result<usize, usize> {
    let (at, end) = if b.careful {
        let at = b.cursor;
        b.cursor += SIZE;
        (at, b.end)
    } else {
        let buffer = b.buffer();
        (buffer.cursor.fetch_add(SIZE, Ordering::Relaxed), buffer.end.load(Ordering::Relaxed))
    };
    if at + SIZE <= end { Ok(at) } else { Err(at) }
}

/// Leaves the full segment, takes another and returns the first free place in it. `None` when there is none and
/// waiting for one is pointless. `place` is what [`reserve`] has returned: each hook that found the segment full has
/// moved it on, so it tells how many others are still on their way to here, below us on the stack; places for them
/// come first.
fn refill(b: &mut Block, place: usize) -> Option<usize> {
    /// Handlers that interrupt handlers in these few instructions. More is nonsense.
    const MOST_KEPT: usize = 16;
    let h = header();
    let end = if b.careful { b.end } else { b.buffer().end.load(Ordering::Relaxed) };
    let kept = place.saturating_sub(end) / SIZE;
    let kept = if b.careful || kept > MOST_KEPT { 0 } else { kept };
    if b.segment != NONE {
        segment(b.segment).state.store(arena::SEGMENT_FULL, Ordering::Release);
        b.segment = NONE;
    }
    let taken = if b.task == NONE { None } else { take_segment(h) };
    let Some(index) = taken else {
        // The places count from here again.
        b.buffer().cursor.store(end, Ordering::Relaxed);
        b.cursor = b.end;
        return None;
    };
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
    if b.lost > 0 {
        write(at, now(), word(LOST, 0, core::mem::take(&mut b.lost)));
        at += SIZE;
    }
    (b.kept, b.kept_count) = (at, kept);
    at += kept * SIZE;
    if b.careful {
        (b.cursor, b.end) = (at + SIZE, start + size);
    } else {
        let buffer = b.buffer();
        buffer.cursor.store(at + SIZE, Ordering::Relaxed);
        buffer.end.store(start + size, Ordering::Relaxed);
    }
    Some(at)
}

fn take_segment(h: &Header) -> Option<u32> {
    take(&h.free_segments.0, h.segment_count, |i| &segment(i).next).or_else(wait)
}

/// Waits for the recorder to free a segment. Gives up when the recorder shows no life for three seconds.
fn wait() -> Option<u32> {
    const PATIENCE: u64 = 3_000_000_000;
    let h = header();
    if h.recorder_gone.load(Ordering::Relaxed) != 0 {
        return None;
    }
    let mut beat = h.heartbeat.0.load(Ordering::Relaxed);
    let mut since = sys::monotonic();
    let mut pause = 20_000;
    loop {
        h.pressure.store(1, Ordering::Relaxed);
        sys::sleep(pause);
        pause = (pause * 2).min(1_000_000);
        if let Some(index) = take(&h.free_segments.0, h.segment_count, |i| &segment(i).next) {
            return Some(index);
        }
        let now = h.heartbeat.0.load(Ordering::Relaxed);
        if now != beat {
            (beat, since) = (now, sys::monotonic());
        } else if sys::monotonic() - since > PATIENCE {
            h.recorder_gone.store(1, Ordering::Relaxed);
        }
        if h.recorder_gone.load(Ordering::Relaxed) != 0 || h.exhausted.load(Ordering::Relaxed) != 0 {
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
        put(b, Some(time), with_depth(w & !TYPE_MASK, slow::depth_of(b, frame)) | ENTRY);
        frame = frame.wrapping_add(1);
    }
    if let Some(w) = exiting {
        put(b, Some(time), with_depth(w & !TYPE_MASK, slow::depth_of(b, frame)) | ENTRY);
    }
}

/// Before a vfork: until the parent runs again, what this thread's block sees is the child.
pub(crate) fn begin_vfork(b: &mut Block) {
    if b.vfork.active {
        return;
    }
    let buffer = b.buffer();
    let (cursor, end) = (buffer.cursor.load(Ordering::Relaxed), buffer.end.load(Ordering::Relaxed));
    b.vfork.top = b.top;
    b.vfork.task = b.task;
    b.vfork.segment = b.segment;
    b.vfork.sequence = b.sequence;
    b.vfork.careful = b.careful;
    (b.vfork.cursor, b.vfork.end) = if b.careful { (b.cursor, b.end) } else { (cursor, end) };
    b.buffer().end.store(0, Ordering::Relaxed);
    b.careful = true;
    (b.cursor, b.end) = (0, 0);
    (b.task, b.segment, b.sequence) = (NONE, NONE, 0);
    b.limit = core::ptr::null_mut();
    b.vfork.active = true;
}

/// Finds out who runs while a vfork is pending, and gives the child a task at its first record.
fn follow_vfork(b: &mut Block) {
    let tid = sys::gettid();
    if tid == b.tid {
        vfork_returned(b);
    } else if b.task == NONE {
        b.task = new_task(tid, tid, Some(PROCESS.pid.load(Ordering::Relaxed)));
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
        unsafe { (*b.top).slot = UNFILLED };
        b.top = b.top.wrapping_sub(1);
    }
    b.vfork.active = false;
    b.limit = if b.dlopen != 0 { core::ptr::null_mut() } else { b.real_limit };
    (b.task, b.segment, b.sequence) = (b.vfork.task, b.vfork.segment, b.vfork.sequence);
    b.careful = b.vfork.careful;
    if b.careful {
        (b.cursor, b.end) = (b.vfork.cursor, b.vfork.end);
    } else {
        b.buffer().cursor.store(b.vfork.cursor, Ordering::Relaxed);
        b.buffer().end.store(b.vfork.end, Ordering::Relaxed);
    }
}

/// After a fork that was noticed by thread `b`: a task of the child's own.
pub(crate) fn adopt(b: &mut Block, parent: i32) {
    b.vfork.active = false;
    b.limit = b.real_limit;
    b.tid = sys::gettid();
    b.segment = NONE;
    b.sequence = 0;
    b.lost = 0;
    b.kept_count = 0;
    b.buffer().end.store(0, Ordering::Relaxed);
    b.buffer().cursor.store(0, Ordering::Relaxed);
    b.careful = header().clock != arena::CLOCK_TSC;
    (b.cursor, b.end) = (0, 0);
    b.task = new_task(b.tid, sys::getpid(), Some(parent));
    init::arm_thread_end();
}
