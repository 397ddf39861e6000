//! The shared mapping through which records leave the traced program.
//!
//! ```text
//!  0          Header
//!  tasks      [Task; task_count]          one for each thread, handed out by the targets
//!  sessions   [Session; session_count]    one for each process image
//!  heads      [Segment; segment_count]    state of the segments
//!  data       segment_count × segment_size bytes, page aligned
//! ```
//!
//! A *segment* is a run of records of one task. The recorder zeroes segments and puts them on the free list; a
//! thread takes one, fills it from the start and never goes back. Because a record's word is never zero and is
//! stored last, the recorder sees how far a segment is written without any cursor. When a segment is full its
//! thread marks it so and takes another; the recorder drains, zeroes, and frees it.
//!
//! The file is sparse. Only segments that the recorder has put on the free list are backed by memory, so that a
//! full file system shows when the recorder grows the pool, never as SIGBUS in the target.

use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};

/// "fathom\0\1" in memory order.
pub const MAGIC: u64 = u64::from_le_bytes(*b"fathom\0\x01");

/// Records carry TSC ticks.
pub const CLOCK_TSC: u32 = 0;
/// Records carry nanoseconds of CLOCK_MONOTONIC.
pub const CLOCK_MONOTONIC: u32 = 1;

/// First page of the arena. Written by the recorder before the target starts; atomics change afterwards.
#[repr(C, align(64))]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`crate::VERSION`].
    pub version: u32,
    /// How record times are taken: [`CLOCK_TSC`] or [`CLOCK_MONOTONIC`].
    pub clock: u32,
    /// Bytes of a segment, a multiple of the page size.
    pub segment_size: u32,
    /// Segments that the file has room for.
    pub segment_count: u32,
    /// Entries of the task table.
    pub task_count: u32,
    /// Entries of the session table.
    pub session_count: u32,
    /// Byte offset of the task table.
    pub tasks: u64,
    /// Byte offset of the session table.
    pub sessions: u64,
    /// Byte offset of the segment heads.
    pub heads: u64,
    /// Byte offset of the segments.
    pub data: u64,
    /// Free list of segments: [`pack`]ed tag and index.
    pub free_segments: Aligned<AtomicU64>,
    /// Free list of tasks that were used before.
    pub free_tasks: Aligned<AtomicU64>,
    /// First task that was never used.
    pub next_task: Aligned<AtomicU32>,
    /// First session that was never used.
    pub next_session: AtomicU32,
    /// Serial of the last task made.
    pub last_serial: AtomicU64,
    /// Counted up by the recorder some hundred times a second while it lives.
    pub heartbeat: Aligned<AtomicU64>,
    /// Set by a target that saw no heartbeat for a second, cleared by a recorder that finds it set: nobody waits
    /// for segments while it is 1.
    pub recorder_gone: AtomicU32,
    /// Threads that could not get a task or its memory and run untraced.
    pub lost_tasks: AtomicU32,
    /// Process images that could not get a session and run untraced.
    pub lost_sessions: AtomicU32,
    /// A thread waits for a free segment; a hint to the recorder not to sleep.
    pub pressure: AtomicU32,
    /// Set while no segment is free, none is about to be, and the pool may not grow: waiting would not help.
    pub exhausted: AtomicU32,
    /// Futex, counted up and woken after each hello.
    pub doorbell: AtomicU32,
    /// Set by a `finish` trigger: the recording is to end, whatever the program does.
    pub finish: AtomicU32,
    /// A thread wanted counters of the processor and did not get them.
    pub no_counters: AtomicU32,
    /// Calls whose values were too many for a record and were recorded without them.
    pub no_values: AtomicU32,
    /// A program handles the signal itself that probes need: they are switched off in it.
    pub no_probes: AtomicU32,
}

/// Keeps words that different sides write on lines of their own.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Aligned<T>(pub T);

/// Task slot is unused.
pub const TASK_FREE: u32 = 0;
/// The thread runs.
pub const TASK_LIVE: u32 = 1;
/// The thread will not write again.
pub const TASK_CLOSED: u32 = 2;

/// The task began by fork: `parent` is the process it came from.
pub const TASK_FORKED: u32 = 1;
/// The recorder has written the task down (its journal, for recovery).
pub const TASK_ANNOUNCED: u32 = 2;

/// One thread.
#[repr(C, align(64))]
pub struct Task {
    /// One of the `TASK_` states; stored last when a task is made.
    pub state: AtomicU32,
    /// `TASK_FORKED`, `TASK_ANNOUNCED`.
    pub flags: AtomicU32,
    /// Thread id.
    pub tid: AtomicI32,
    /// Process id.
    pub pid: AtomicI32,
    /// Process id of the parent, for a forked task.
    pub parent: AtomicI32,
    /// Index of the session.
    pub session: AtomicU32,
    /// Raw clock when the task was made.
    pub start: AtomicU64,
    /// Order in which tasks were made, from 1.
    pub serial: AtomicU64,
    /// Records that found no room and that no LOST record tells of yet.
    pub lost: AtomicU64,
    /// Calls below the deepest level that the shadow stack holds, not recorded.
    pub too_deep: AtomicU64,
    /// Next free task, as in the free list.
    pub next: AtomicU32,
}

/// Session slot is unused.
pub const SESSION_EMPTY: u32 = 0;
/// The process has written `hello-<index>-<generation>` and, if a plan is wanted, waits for it.
pub const SESSION_HELLO: u32 = 1;
/// The recorder has answered: `plan-<index>-<generation>` is there, or there is nothing to do.
pub const SESSION_ANSWERED: u32 = 2;

/// There was no memory for hooks, or none near enough.
pub const CAUSE_MEMORY: u32 = 1;
/// Pages could not be made writable or executable.
pub const CAUSE_PAGES: u32 = 2;
/// Other code is there than in the file.
pub const CAUSE_BYTES: u32 = 4;
/// The library function that is called was not found.
pub const CAUSE_FUNCTION: u32 = 8;
/// The code has not been found in memory.
pub const CAUSE_TEXT: u32 = 16;

/// One process image.
#[repr(C, align(64))]
pub struct Session {
    /// One of the `SESSION_` states. Futex, woken when the recorder has answered.
    pub state: AtomicU32,
    /// Counts the hellos of this session, from 1: the first at start, one more after each dlopen.
    pub generation: AtomicU32,
    /// Process id.
    pub pid: AtomicI32,
    /// 1 when the answer is a plan file.
    pub has_plan: AtomicU32,
    /// Random name.
    pub sid: AtomicU64,
    /// Raw clock at the start of the session.
    pub start: AtomicU64,
    /// Raw clock before the dlopen that the current hello is about.
    pub dlopen_time: AtomicU64,
    /// Thread that called dlopen.
    pub dlopen_tid: AtomicI32,
    /// Slots and sites of the plan that the runtime could not change.
    pub failed: AtomicU32,
    /// Why: `CAUSE_` bits.
    pub causes: AtomicU32,
    /// 1 when this is not a new process image but a forked child of one that has something to tell: `sid` is that
    /// of the image.
    pub derived: AtomicU32,
    /// Counted up whenever filters change or recording is switched on or off, by either side. Hooks compare it.
    pub epoch: AtomicU32,
    /// Number of the last `rules-<index>-<number>` that the recorder has written; 0 for none.
    pub rules: AtomicU32,
}

/// Not in use.
pub const SEGMENT_FREE: u32 = 0;
/// A thread writes into it.
pub const SEGMENT_ACTIVE: u32 = 1;
/// Its thread has left it.
pub const SEGMENT_FULL: u32 = 2;
/// Drained although a place in it is empty: a hook has been interrupted before it stored its record, and may still do
/// so. Not used again before the task has ended.
pub const SEGMENT_RETIRED: u32 = 3;

/// State of one segment.
#[repr(C, align(64))]
pub struct Segment {
    /// One of the `SEGMENT_` states; stored last when a segment is taken.
    pub state: AtomicU32,
    /// Index of the task.
    pub task: AtomicU32,
    /// The task's serial, so that a segment of a slot's former task is known.
    pub serial: AtomicU64,
    /// Counts the task's segments from 0.
    pub sequence: AtomicU32,
    /// Next free segment, as in the free list.
    pub next: AtomicU32,
    /// Bytes that the recorder has written to the trace (its journal, for recovery).
    pub drained: AtomicU32,
    /// Bytes that hooks had reserved when the thread left it. Set before it becomes full.
    pub used: AtomicU32,
}

/// A free list's head: a tag that changes with every operation, and the index of the first entry plus one.
#[inline]
pub const fn pack(tag: u32, index_plus_one: u32) -> u64 {
    ((tag as u64) << 32) | index_plus_one as u64
}

/// Undoes [`pack`].
#[inline]
pub const fn unpack(head: u64) -> (u32, u32) {
    ((head >> 32) as u32, head as u32)
}

const _: () = assert!(size_of::<Header>() == 448);
const _: () = assert!(size_of::<Task>() == 64);
const _: () = assert!(size_of::<Session>() == 64);
const _: () = assert!(size_of::<Segment>() == 64);
