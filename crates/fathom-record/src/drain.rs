//! Moves records from the arena to the trace: in order for each task, with times of the trace clock.

use crate::arena::Arena;
use crate::clock::Clock;
use crate::perf::Rings;
use crate::{Error, order, payload, sys};
use fathom_abi::arena::{self as abi};
use fathom_abi::record::{ADDR_SHIFT, LOST, MAGIC, TYPE_MASK};
use fathom_store::writer::DirectoryWriter;
use fathom_store::{TaskChange, TaskMessage};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the recorder asks whether threads are still there.
const LIVENESS: Duration = Duration::from_millis(50);

/// How long a record waits for one that may have to go before it.
const PATIENCE: Duration = Duration::from_millis(300);

/// The most of it that passes between two looks: while nobody runs, because the machine is too busy or stands still, the
/// thread that is waited for does not run either.
const STEP: Duration = Duration::from_millis(10);

/// How long something has been waited for.
#[derive(Clone, Copy)]
struct Waiting {
    looked: Instant,
    spent: Duration,
}

impl Waiting {
    fn begin() -> Waiting {
        Waiting { looked: Instant::now(), spent: Duration::ZERO }
    }

    /// Looks again, at `now`; whether it has been long enough.
    fn is_over(&mut self, now: Instant) -> bool {
        self.spent += now.saturating_duration_since(self.looked).min(STEP);
        self.looked = now;
        self.spent > PATIENCE
    }
}

/// A segment that cannot be used again before its task has ended.
struct Retired {
    /// Of the task.
    serial: u64,
    index: u32,
    /// Empty places when its records were taken.
    holes: usize,
}

/// What a recording could not keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Records that found no room, or that a killed thread had begun.
    pub records: u64,
    /// Calls deeper than the shadow stack, not recorded.
    pub too_deep: u64,
    /// Threads that ran untraced.
    pub tasks: u64,
    /// Process images that ran untraced.
    pub sessions: u64,
    /// Records that made no sense: something has written over the buffers.
    pub damaged: u64,
    /// Scheduler and task events that found no room.
    pub events: u64,
    /// Records of the kernel's tracer that found no room.
    pub kernel: u64,
}

/// A task that the recorder knows.
#[derive(Debug)]
struct Tracked {
    slot: u32,
    tid: i32,
    pid: i32,
    session: u32,
    next: u32,
    /// When it began: raw, and as announced.
    start: (u64, u64),
    /// Depth of its next entry, where it is known.
    depth: Option<u64>,
    /// What its next segment begins with instead of so many records that are there: see [`order::repair`].
    prefix: (Vec<[u64; 2]>, usize),
    announced: bool,
    /// It will not write again; what is left of it can be drained to the end.
    ended: bool,
    /// It had ended before the current pass looked at the segments.
    settled: bool,
}

/// A segment in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    serial: u64,
    sequence: u32,
    index: u32,
    full: bool,
}

/// See the module.
pub(crate) struct Drainer<'r> {
    arena: &'r Arena,
    clock: &'r Mutex<Clock>,
    writer: &'r DirectoryWriter,
    /// By serial.
    tasks: FxHashMap<u64, Tracked>,
    last_serial: u64,
    checked: Option<Instant>,
    losses: Losses,
    /// The segment at hand: time and word of each record.
    words: Vec<u64>,
    /// The same with payloads, as it is in the trace.
    bytes: Vec<u8>,
    /// Events of probes that have arguments.
    probes: Vec<u8>,
    /// FULL segments with an empty place, and since when.
    incomplete: FxHashMap<u32, Waiting>,
    /// FULL segments that wait for their successor to appear.
    delayed: FxHashSet<u32>,
    /// Open segments with a record that one behind it may have to go before, and since when.
    stalled: FxHashMap<u32, Waiting>,
    retired: Vec<Retired>,
    /// The recorder is dead or gone: no segment goes back to the program.
    recycle: bool,
    events: Rings,
}

impl<'r> Drainer<'r> {
    pub(crate) fn new(arena: &'r Arena, clock: &'r Mutex<Clock>, writer: &'r DirectoryWriter) -> Drainer<'r> {
        Drainer {
            arena,
            clock,
            writer,
            tasks: FxHashMap::default(),
            last_serial: 0,
            checked: None,
            losses: Losses::default(),
            words: Vec::new(),
            probes: Vec::new(),
            bytes: Vec::new(),
            incomplete: FxHashMap::default(),
            delayed: FxHashSet::default(),
            stalled: FxHashMap::default(),
            retired: Vec::new(),
            recycle: true,
            events: Rings::default(),
        }
    }

    /// For the arena of a recorder that has died: leaves everything in it as it is.
    pub(crate) fn for_recovery(mut self) -> Drainer<'r> {
        self.recycle = false;
        self
    }

    /// Drains these rings too.
    pub(crate) fn with_events(mut self, events: Rings) -> Drainer<'r> {
        self.events = events;
        self
    }

    /// What has been lost up to now.
    pub(crate) fn losses(&self) -> Losses {
        let h = self.arena.header();
        Losses {
            tasks: u64::from(h.lost_tasks.load(Ordering::Relaxed)),
            sessions: u64::from(h.lost_sessions.load(Ordering::Relaxed)),
            events: self.events.lost(),
            ..self.losses
        }
    }

    /// Tasks that may still write.
    pub(crate) fn live(&self) -> usize {
        self.tasks.values().filter(|t| !t.ended).count()
    }

    /// Every task has ended and has been drained.
    pub(crate) fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.last_serial == self.arena.header().last_serial.load(Ordering::Acquire)
    }

    /// Takes what is left after everybody has ended, or has been left alone.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.pass()?;
        for task in self.tasks.values_mut() {
            task.ended = true;
        }
        while self.pass()? {}
        self.pass()?;
        self.events.finish(self.writer)
    }

    /// Asks at once whether threads are still there.
    pub(crate) fn check_soon(&mut self) {
        self.checked = None;
    }

    /// One round. True when something was moved.
    pub(crate) fn pass(&mut self) -> Result<bool, Error> {
        for task in self.tasks.values_mut() {
            task.settled = task.ended;
        }
        self.events.pass(self.writer)?;
        self.find_tasks()?;
        let segments = self.find_segments();
        let mut worked = false;
        for (i, found) in segments.iter().enumerate() {
            let next =
                segments.get(i + 1).filter(|n| (n.serial, n.sequence) == (found.serial, found.sequence + 1));
            worked |= self.is_due(found) && self.drain(found, next.map(|n| n.index))?;
        }
        self.finish_tasks()?;
        if self.checked.is_none_or(|at| at.elapsed() >= LIVENESS) {
            self.check_liveness();
        }
        self.keep_pool();
        Ok(worked)
    }

    /// All segments in use, those of a task in their order.
    fn find_segments(&self) -> Vec<Found> {
        let mut found = Vec::new();
        for index in 0..self.arena.pool() {
            let segment = self.arena.segment(index);
            let state = segment.state.load(Ordering::Acquire);
            if state != abi::SEGMENT_FREE && state != abi::SEGMENT_RETIRED {
                let serial = segment.serial.load(Ordering::Relaxed);
                let sequence = segment.sequence.load(Ordering::Relaxed);
                found.push(Found { serial, sequence, index, full: state == abi::SEGMENT_FULL });
            }
        }
        found.sort_unstable();
        found
    }

    /// Whether it is a segment's turn. Segments of an ended task that never came (the thread was killed while it took
    /// one) are skipped.
    fn is_due(&self, found: &Found) -> bool {
        self.tasks.get(&found.serial).is_some_and(|task| {
            task.announced && (task.settled || (found.full && found.sequence == task.next))
        })
    }

    /// Takes note of tasks that were made since the last pass.
    fn find_tasks(&mut self) -> Result<(), Error> {
        let last = self.arena.header().last_serial.load(Ordering::Acquire);
        let unannounced = self.tasks.values().any(|t| !t.announced);
        if last == self.last_serial && !unannounced {
            return Ok(());
        }
        let mut new = Vec::new();
        for slot in 0..self.arena.tasks() {
            let task = self.arena.task(slot);
            if task.state.load(Ordering::Acquire) == abi::TASK_FREE {
                continue;
            }
            let serial = task.serial.load(Ordering::Relaxed);
            if !self.tasks.get(&serial).is_some_and(|t| t.announced) {
                new.push((serial, slot));
            }
        }
        new.sort_unstable();
        let mut all = true;
        for (serial, slot) in new {
            all &= self.take_task(serial, slot)?;
        }
        if all {
            self.last_serial = last;
        }
        Ok(())
    }

    /// Takes a task up and announces it. False when its session has not been announced yet.
    fn take_task(&mut self, serial: u64, slot: u32) -> Result<bool, Error> {
        let task = self.arena.task(slot);
        let (tid, pid) = (task.tid.load(Ordering::Relaxed), task.pid.load(Ordering::Relaxed));
        let session = task.session.load(Ordering::Relaxed);
        if !self.tasks.contains_key(&serial) {
            // Whoever had this thread id, or ran another program in this process, is gone.
            for (&other, older) in &mut self.tasks {
                if other < serial && (older.tid == tid || (older.pid == pid && older.session < session)) {
                    older.ended = true;
                }
            }
            let flags = task.flags.load(Ordering::Relaxed);
            let announced = flags & abi::TASK_ANNOUNCED != 0;
            let tracked = Tracked {
                slot,
                tid,
                pid,
                session,
                next: 0,
                start: (0, 0),
                depth: None,
                prefix: (Vec::new(), 0),
                announced,
                ended: false,
                settled: false,
            };
            self.tasks.insert(serial, tracked);
        }
        if session >= self.arena.sessions()
            || self.arena.session(session).state.load(Ordering::Acquire) != abi::SESSION_ANSWERED
        {
            return Ok(false);
        }
        if self.tasks.get(&serial).is_some_and(|t| !t.announced) {
            let start = self.announce(slot)?;
            if let Some(tracked) = self.tasks.get_mut(&serial) {
                (tracked.announced, tracked.start) = (true, start);
            }
        }
        Ok(true)
    }

    /// Writes a task down. Returns when it began: raw, and as written.
    fn announce(&self, slot: u32) -> Result<(u64, u64), Error> {
        let task = self.arena.task(slot);
        let raw = task.start.load(Ordering::Relaxed);
        let time = {
            let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
            clock.update().map_err(|e| Error::io("write", "the clock's journal", e))?;
            clock.convert(raw)
        };
        let (tid, pid) = (task.tid.load(Ordering::Relaxed), task.pid.load(Ordering::Relaxed));
        let forked = task.flags.load(Ordering::Relaxed) & abi::TASK_FORKED != 0;
        if forked {
            let ppid = task.parent.load(Ordering::Relaxed);
            self.writer.message(&TaskMessage { time, what: TaskChange::Fork { pid, ppid } })?;
        }
        if !forked || tid != pid {
            self.writer.message(&TaskMessage { time, what: TaskChange::Task { tid, pid } })?;
        }
        task.flags.fetch_or(abi::TASK_ANNOUNCED, Ordering::Relaxed);
        Ok((raw, time))
    }

    /// Moves one segment. `next` is the one behind it, if there is one yet. False when it has to wait.
    fn drain(&mut self, found: &Found, next: Option<u32>) -> Result<bool, Error> {
        let index = found.index;
        let Some(task) = self.tasks.get(&found.serial) else { return Ok(false) };
        let closed = self.arena.task(task.slot).state.load(Ordering::Acquire) == abi::TASK_CLOSED;
        let (tid, settled, ended) = (task.tid, task.settled, task.settled || closed);
        // A handler's records may be on both sides of the border. The thread takes its next segment at once, if it can:
        // perhaps since the segments were listed.
        let next = next.or_else(|| {
            let listed = self.find_segments();
            let next = listed.iter().find(|n| (n.serial, n.sequence) == (found.serial, found.sequence + 1));
            next.map(|n| n.index)
        });
        if next.is_none() && !ended && self.arena.has_free_segment() && self.delayed.insert(index) {
            return Ok(false);
        }
        self.delayed.remove(&index);
        self.arena.copy_segment(index, &mut self.words);
        if found.full {
            let used = self.arena.segment(index).used.load(Ordering::Relaxed) as usize;
            self.words.truncate(used / 16 * 2);
        }
        let holes = if found.full { holes_in(&self.words) } else { 0 };
        let as_it_is = settled || holes == 0 || self.waited_enough(index);
        let Some(count) = used(&self.words, as_it_is) else { return Ok(false) };
        self.incomplete.remove(&index);
        self.stalled.remove(&index);
        self.words.truncate(2 * count);
        let segment = self.arena.segment(index);
        let size = self.arena.header().segment_size;
        let stored = segment.drained.load(Ordering::Relaxed);
        // Of a segment that was stored as a whole only the order is of interest.
        let is_stored = stored == size && !self.recycle;
        if !is_stored {
            self.words.drain(..2 * count.min(stored as usize / 16));
        }
        let latest = self.put_in_order(found, next);
        let start = self.tasks.get(&found.serial).map_or((0, 0), |task| task.start);
        self.convert(latest, start)?;
        if !is_stored {
            self.store(tid)?;
            segment.drained.store(size, Ordering::Release);
        }
        if !self.recycle {
            segment.state.store(abi::SEGMENT_FREE, Ordering::Relaxed);
        } else if holes > 0 && !settled {
            segment.state.store(abi::SEGMENT_RETIRED, Ordering::Relaxed);
            self.retired.push(Retired { serial: found.serial, index, holes });
        } else {
            self.arena.recycle(index, if found.full { size as usize } else { 16 * count });
        }
        Ok(true)
    }

    /// Stores what is in segments that are still being written to, and in the rings of the processors: for those who read
    /// along.
    pub(crate) fn pass_open(&mut self) -> Result<(), Error> {
        for found in self.find_segments() {
            let turn = |task: &Tracked| task.announced && found.sequence == task.next;
            if !found.full && self.tasks.get(&found.serial).is_some_and(turn) {
                self.drain_part(&found)?;
            }
        }
        self.events.finish(self.writer)
    }

    /// Stores what an open segment has, up to the first empty place.
    fn drain_part(&mut self, found: &Found) -> Result<(), Error> {
        /// Places at the end that are left to when the segment is full.
        const LAST: usize = 64;
        let Some(task) = self.tasks.get(&found.serial) else { return Ok(()) };
        let segment = self.arena.segment(found.index);
        let stored = segment.drained.load(Ordering::Relaxed) as usize / 16;
        if stored == 0 && (task.prefix.1 > 0 || !task.prefix.0.is_empty()) {
            return Ok(());
        }
        let limit = (self.arena.header().segment_size as usize / 16).saturating_sub(LAST);
        self.words.clear();
        self.words.extend_from_slice(self.arena.peek_run(found.index, stored..limit).as_flattened());
        let (tid, start, mut depth) = (task.tid, task.start, task.depth);
        let records = self.words.as_chunks_mut::<2>().0;
        // A record is there only when its payload is, but the limit may come in between.
        let cut = stored + records.len() == limit;
        let all = if cut { order::without_cut_payload(records) } else { records.len() };
        let before = depth;
        let mut count = order::in_order(&records[..all], &mut depth);
        if count == all {
            self.stalled.remove(&found.index);
        } else if self.stalled.entry(found.index).or_insert_with(Waiting::begin).is_over(Instant::now()) {
            // Whatever was to go before it is not coming.
            (count, depth) = (all, before);
            order::repair(&mut records[..all], all, &mut depth);
            self.stalled.remove(&found.index);
        }
        if count == 0 {
            return Ok(());
        }
        self.words.truncate(2 * count);
        if let Some(task) = self.tasks.get_mut(&found.serial) {
            task.depth = depth;
        }
        self.convert(u64::MAX, start)?;
        self.store(tid)?;
        segment.drained.store(((stored + count) * 16) as u32, Ordering::Release);
        Ok(())
    }

    /// Repairs the order of the records at hand with a look at those of the next segment. Returns the latest time
    /// (raw) that they can have: the earliest behind them.
    fn put_in_order(&mut self, found: &Found, next: Option<u32>) -> u64 {
        /// More records than a handler makes as a rule.
        const AHEAD: usize = 256;
        let Some(task) = self.tasks.get_mut(&found.serial) else { return u64::MAX };
        task.next = found.sequence + 1;
        let (prefix, replaced) = std::mem::take(&mut task.prefix);
        let replaced = replaced.min(self.words.len() / 2);
        self.words.splice(..2 * replaced, prefix.into_iter().flatten());
        let mut own = self.words.len() / 2;
        let ahead = next.map_or_else(Vec::new, |next| self.arena.peek_segment(next, AHEAD));
        let there = ahead.iter().take_while(|r| r[1] != 0).count();
        self.words.extend_from_slice(ahead[..there].as_flattened());
        let records = self.words.as_chunks_mut::<2>().0;
        order::repair(records, own, &mut task.depth);
        // A payload stays with its record.
        own += records[own..].iter().take_while(|r| order::is_data(r[1])).count();
        // What was moved behind the border counts too.
        let behind = records[own..].iter().chain(&ahead[there..]);
        let latest = behind.filter(|r| r[1] & ORDINARY_MASK == MAGIC).map(|r| r[0]).min();
        if records[own..] != ahead[..there] {
            task.prefix = (records[own..].to_vec(), there);
        }
        self.words.truncate(2 * own);
        latest.unwrap_or(u64::MAX)
    }

    /// Whether a full segment with an empty place has had its time. The place belongs to a hook that was interrupted
    /// by a signal handler; when the handler never returns, the thread must not wait for its segments for ever.
    fn waited_enough(&mut self, index: u32) -> bool {
        self.incomplete.entry(index).or_insert_with(Waiting::begin).is_over(Instant::now())
    }

    /// Appends the converted records to the task's file. After a crash the last segment may be there already.
    fn store(&mut self, tid: i32) -> Result<(), Error> {
        let records = self.words.as_chunks::<2>().0;
        let bytes = if records.iter().any(|r| order::is_data(r[1])) {
            self.bytes.clear();
            self.probes.clear();
            let left_out = payload::join(records, &mut self.bytes, &mut self.probes);
            // In front of the records: a reader that finds a record finds what belongs to it.
            if !self.probes.is_empty() {
                self.writer.append_probes(tid, &self.probes)?;
            }
            self.losses.records += left_out.cut;
            &self.bytes
        } else {
            sys::bytes_of(&self.words)
        };
        if !self.recycle {
            self.writer.truncate_repeated(tid, bytes)?;
        }
        Ok(self.writer.append(tid, bytes)?)
    }

    /// Converts the records at hand to those of the trace, in place. None is later than `latest` (raw). `start` is the
    /// raw time of the task's start and the time that was announced for it: inherited calls must have exactly that.
    fn convert(&mut self, latest: u64, start: (u64, u64)) -> Result<(), Error> {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        // All that was read is older than this: what lies behind the last anchor would be converted otherwise later.
        clock.update().map_err(|e| Error::io("write", "the clock's journal", e))?;
        let mut converter = clock.converter();
        // A handler that interrupted a hook after it had reserved its place has older times behind a younger one: no
        // record is later than its successor.
        let mut earliest = latest;
        let (mut damaged, mut lost) = (0u64, 0u64);
        for record in self.words.as_chunks_mut::<2>().0.iter_mut().rev() {
            let [time, word] = record;
            if order::is_data(*word) {
                continue;
            }
            if *word & ORDINARY_MASK == MAGIC || order::is_event(*word) {
                earliest = earliest.min(*time);
                *time = if earliest == start.0 { start.1 } else { converter.convert(earliest) };
            } else if *word & (ORDINARY_MASK | TYPE_MASK) == MAGIC | LOST {
                lost += *word >> ADDR_SHIFT;
                *time = 0;
            } else if *word == 0 {
                lost += 1;
            } else {
                damaged += 1;
                *word = 0;
            }
        }
        self.losses.records += lost;
        self.losses.damaged += damaged;
        drop(clock);
        if lost + damaged > 0 {
            self.drop_empty();
        }
        Ok(())
    }

    /// Closes up over places without a record.
    fn drop_empty(&mut self) {
        let mut kept = 0;
        for at in (0..self.words.len()).step_by(2) {
            if self.words[at + 1] != 0 {
                self.words.copy_within(at..at + 2, kept);
                kept += 2;
            }
        }
        self.words.truncate(kept);
    }

    /// Lets go of tasks that have ended and have nothing left.
    fn finish_tasks(&mut self) -> Result<(), Error> {
        let done: Vec<u64> =
            self.tasks.iter().filter(|(_, t)| t.settled && t.announced).map(|(&serial, _)| serial).collect();
        for serial in done {
            let Some(task) = self.tasks.remove(&serial) else { continue };
            let slot = self.arena.task(task.slot);
            let lost = slot.lost.load(Ordering::Relaxed) + self.let_go(serial);
            if lost > 0 {
                self.writer.lost(task.tid, lost)?;
                self.losses.records += lost;
            }
            self.losses.too_deep += slot.too_deep.load(Ordering::Relaxed);
            if self.recycle && slot.serial.load(Ordering::Relaxed) == serial {
                self.arena.free_task(task.slot);
            }
        }
        Ok(())
    }

    /// Recycles what was retired of a task that has ended. Returns how many records came too late for their place.
    fn let_go(&mut self, serial: u64) -> u64 {
        let (arena, words) = (self.arena, &mut self.words);
        let retired = self.retired.extract_if(.., |retired| retired.serial == serial);
        let late = retired.map(|Retired { index, holes, .. }| {
            arena.copy_segment(index, words);
            words.truncate(arena.segment(index).used.load(Ordering::Relaxed) as usize / 16 * 2);
            let late = holes.saturating_sub(holes_in(words));
            arena.recycle(index, arena.header().segment_size as usize);
            late as u64
        });
        late.sum()
    }

    /// Finds tasks that have ended without saying so.
    fn check_liveness(&mut self) {
        self.checked = Some(Instant::now());
        let mut dead = FxHashMap::default();
        for task in self.tasks.values_mut().filter(|t| !t.ended) {
            let closed = self.arena.task(task.slot).state.load(Ordering::Acquire) == abi::TASK_CLOSED;
            task.ended = closed
                || !sys::thread_exists(task.pid, task.tid)
                || *dead.entry(task.pid).or_insert_with(|| is_zombie(task.pid));
        }
    }

    /// Gives out more segments when few are left, and says so when there are no more to give.
    fn keep_pool(&self) {
        let h = self.arena.header();
        let pressed = h.pressure.swap(0, Ordering::Relaxed) != 0;
        let (_, first) = abi::unpack(h.free_segments.0.load(Ordering::Acquire));
        if first != 0 && !pressed {
            h.exhausted.store(0, Ordering::Relaxed);
            return;
        }
        let pool = self.arena.pool();
        let (mut free, mut full) = (0, 0);
        for index in 0..pool {
            match self.arena.segment(index).state.load(Ordering::Relaxed) {
                abi::SEGMENT_FREE => free += 1,
                abi::SEGMENT_FULL => full += 1,
                _ => {}
            }
        }
        let grown = free < pool / 8 && self.arena.grow((pool / 2).max(64));
        let exhausted = !grown && free == 0 && full == 0;
        h.exhausted.store(u32::from(exhausted), Ordering::Relaxed);
    }
}

/// Entries and exits have the magic and not this bit of the type.
const ORDINARY_MASK: u64 = (7 << 3) | 2;

/// Places that were taken and have no record yet.
fn holes_in(words: &[u64]) -> usize {
    words.as_chunks::<2>().0.iter().filter(|record| record[1] == 0).count()
}

/// How many records (with empty places between them) a segment holds. `None` when places are empty and that will not
/// do.
fn used(words: &[u64], incomplete: bool) -> Option<usize> {
    let records = words.as_chunks::<2>().0;
    if !incomplete {
        return records.iter().all(|r| r[1] != 0).then_some(records.len());
    }
    Some(records.iter().rposition(|r| r[1] != 0).map_or(0, |last| last + 1))
}

/// Whether a process has ended and only waits for its parent to notice.
fn is_zombie(pid: i32) -> bool {
    let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else { return true };
    // The state follows the name, which is in parentheses and may contain any byte.
    let after = stat.iter().rposition(|&c| c == b')').map_or(&[][..], |at| &stat[at + 1..]);
    matches!(after.trim_ascii_start().first(), Some(b'Z' | b'X'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_end_at_their_last_record() {
        assert_eq!(used(&[1, 9, 2, 9], false), Some(2));
        assert_eq!(used(&[1, 9, 0, 0], false), None);
        assert_eq!(used(&[1, 9, 0, 0, 3, 9, 0, 0], true), Some(3));
        assert_eq!(used(&[0, 0], true), Some(0));
    }

    #[test]
    fn waiting_does_not_go_on_while_the_machine_stands_still() {
        let mut waiting = Waiting::begin();
        let mut now = waiting.looked;
        now += Duration::from_secs(5);
        assert!(!waiting.is_over(now));
        let looks = (0..100).take_while(|_| {
            now += Duration::from_millis(4);
            !waiting.is_over(now)
        });
        assert_eq!(looks.count(), 72, "290 ms in steps of 4");
    }

    #[test]
    fn records_that_come_too_late_are_counted() {
        use crate::arena::Sizes;
        use crate::clock::{Source, TraceClock};
        use std::os::unix::fs::FileExt;
        let place = tempfile::tempdir().unwrap();
        let sizes = Sizes { segment: 4096, segments: 8, tasks: 2, sessions: 1 };
        let arena = Arena::create(&[place.path().to_path_buf()], sizes, abi::CLOCK_MONOTONIC).unwrap();
        let writer = DirectoryWriter::create(&place.path().join("trace"), "").unwrap();
        let clock = Clock::start(Source { tsc: false, clock: TraceClock::Monotonic }, None);
        let clock = Mutex::new(clock);
        let mut drainer = Drainer::new(&arena, &clock, &writer);
        let file = std::fs::OpenOptions::new().write(true).open(arena.dir().join(fathom_abi::ARENA_FILE));
        let (file, data) = (file.unwrap(), arena.header().data);
        let put =
            |place: u64, word: u64| file.write_all_at(&word.to_ne_bytes(), data + 16 * place + 8).unwrap();
        // Four places were reserved; two records were there when the segment was taken.
        let segment = arena.segment(0);
        segment.used.store(64, Ordering::Relaxed);
        segment.state.store(abi::SEGMENT_RETIRED, Ordering::Relaxed);
        put(0, 9);
        put(2, 9);
        drainer.retired.push(Retired { serial: 7, index: 0, holes: 2 });
        put(1, 9);
        assert_eq!(drainer.let_go(6), 0);
        assert_eq!(drainer.let_go(7), 1);
        assert_eq!(segment.state.load(Ordering::Relaxed), abi::SEGMENT_FREE);
        assert!(drainer.retired.is_empty() && arena.peek_run(0, 0..4).is_empty());
    }

    #[test]
    fn holes_are_places_without_a_record() {
        assert_eq!(holes_in(&[1, 9, 0, 0, 3, 9, 7, 0]), 2);
    }

    #[test]
    fn zombies() {
        assert!(!is_zombie(std::process::id() as i32));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_zombie(pid) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(is_zombie(pid));
        child.wait().unwrap();
    }
}
