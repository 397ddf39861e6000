//! Moves records from the arena to the trace: in order for each task, with times of the trace clock.

use crate::arena::Arena;
use crate::clock::Clock;
use crate::{Error, sys};
use fathom_abi::arena::{self as abi};
use fathom_abi::record::{LOST, MAGIC, TYPE_MASK};
use fathom_store::writer::DirectoryWriter;
use fathom_store::{TaskChange, TaskMessage};
use rustc_hash::FxHashMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the recorder asks whether threads are still there.
const LIVENESS: Duration = Duration::from_millis(50);

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
}

/// A task that the recorder knows.
#[derive(Debug)]
struct Tracked {
    slot: u32,
    tid: i32,
    pid: i32,
    session: u32,
    next: u32,
    announced: bool,
    /// It will not write again; what is left of it can be drained to the end.
    ended: bool,
    /// It had ended before the current pass looked at the segments.
    settled: bool,
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
    pub(crate) losses: Losses,
    records: Vec<(u64, u64)>,
    bytes: Vec<u8>,
    /// The recorder is dead or gone: no segment goes back to the program.
    recycle: bool,
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
            records: Vec::new(),
            bytes: Vec::new(),
            recycle: true,
        }
    }

    /// For the arena of a recorder that has died: leaves everything in it as it is.
    pub(crate) fn for_recovery(mut self) -> Drainer<'r> {
        self.recycle = false;
        self
    }

    /// Tasks that may still write.
    pub(crate) fn live(&self) -> usize {
        self.tasks.values().filter(|t| !t.ended).count()
    }

    /// Every task has ended and has been drained.
    pub(crate) fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.last_serial == self.arena.header().last_serial.load(Ordering::Acquire)
    }

    /// Declares all tasks ended: the next pass takes whatever is there.
    pub(crate) fn end_all(&mut self) {
        for task in self.tasks.values_mut() {
            task.ended = true;
        }
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
        self.find_tasks()?;
        let mut segments = self.find_segments();
        if !segments.is_empty() {
            let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
            clock.update().map_err(|e| Error::io("write", "the clock's journal", e))?;
        }
        segments.sort_unstable();
        let mut worked = false;
        for (serial, sequence, index, full) in segments {
            worked |= self.drain(serial, sequence, index, full)?;
        }
        self.finish_tasks()?;
        if self.checked.is_none_or(|at| at.elapsed() >= LIVENESS) {
            self.check_liveness();
        }
        self.keep_pool();
        Ok(worked)
    }

    /// Segments that may have something to drain: serial, sequence, index, whether full.
    fn find_segments(&self) -> Vec<(u64, u32, u32, bool)> {
        let mut found = Vec::new();
        for index in 0..self.arena.pool() {
            let segment = self.arena.segment(index);
            let state = segment.state.load(Ordering::Acquire);
            if state == abi::SEGMENT_FREE {
                continue;
            }
            let serial = segment.serial.load(Ordering::Relaxed);
            let full = state == abi::SEGMENT_FULL;
            if full || self.tasks.get(&serial).is_some_and(|t| t.settled) {
                found.push((serial, segment.sequence.load(Ordering::Relaxed), index, full));
            }
        }
        found
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
            let tracked =
                Tracked { slot, tid, pid, session, next: 0, announced, ended: false, settled: false };
            self.tasks.insert(serial, tracked);
        }
        if session >= self.arena.sessions()
            || self.arena.session(session).state.load(Ordering::Acquire) != abi::SESSION_ANSWERED
        {
            return Ok(false);
        }
        let Some(tracked) = self.tasks.get_mut(&serial) else { return Ok(true) };
        if !tracked.announced {
            tracked.announced = true;
            self.announce(slot)?;
        }
        Ok(true)
    }

    fn announce(&self, slot: u32) -> Result<(), Error> {
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
        Ok(())
    }

    /// Moves one segment. False when it is not its turn yet.
    fn drain(&mut self, serial: u64, sequence: u32, index: u32, full: bool) -> Result<bool, Error> {
        let Some(task) = self.tasks.get_mut(&serial) else { return Ok(false) };
        // Segments of an ended task that never came (the thread was killed while it took one) are skipped.
        if !task.announced || (sequence != task.next && !task.settled) || (!full && !task.settled) {
            return Ok(false);
        }
        let holes = self.arena.read_segment(index, &mut self.records);
        let capacity = self.arena.header().segment_size as usize / 16;
        let closed = self.arena.task(task.slot).state.load(Ordering::Acquire) == abi::TASK_CLOSED;
        if !task.settled && !closed && self.records.len() < capacity {
            // A hook that was interrupted by a signal handler has still to store its record.
            return Ok(false);
        }
        let tid = task.tid;
        task.next = sequence + 1;
        self.losses.records += holes as u64;
        let damaged = self.convert();
        self.losses.damaged += damaged;
        let segment = self.arena.segment(index);
        if self.recycle || segment.drained.load(Ordering::Relaxed) == 0 {
            self.store(tid)?;
            segment.drained.store(self.arena.header().segment_size, Ordering::Release);
        }
        if self.recycle {
            self.arena.recycle(index, self.arena.header().segment_size as usize);
        } else {
            segment.state.store(abi::SEGMENT_FREE, Ordering::Relaxed);
        }
        Ok(true)
    }

    /// Appends the converted records to the task's file. After a crash the last segment may be there already.
    fn store(&mut self, tid: i32) -> Result<(), Error> {
        if !self.recycle {
            self.writer.truncate_repeated(tid, &self.bytes)?;
        }
        Ok(self.writer.append(tid, &self.bytes)?)
    }

    /// Converts `records` to the bytes of the trace and returns how many make no sense.
    fn convert(&mut self) -> u64 {
        // A handler that interrupted a hook after it had reserved its place has older times behind a younger one.
        let mut earliest = u64::MAX;
        for (time, word) in self.records.iter_mut().rev() {
            if *word & TYPE_MASK != LOST {
                earliest = earliest.min(*time);
                *time = earliest;
            }
        }
        let clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut converter = clock.converter();
        let mut damaged = 0;
        self.bytes.clear();
        self.bytes.reserve(self.records.len() * 16);
        for &(raw, word) in &self.records {
            if word & (7 << 3) != MAGIC {
                damaged += 1;
                continue;
            }
            let lost = word & TYPE_MASK == LOST;
            if lost {
                self.losses.records += word >> fathom_abi::record::ADDR_SHIFT;
            }
            let time = if lost { 0 } else { converter.convert(raw) };
            self.bytes.extend_from_slice(&time.to_ne_bytes());
            self.bytes.extend_from_slice(&word.to_ne_bytes());
        }
        damaged
    }

    /// Lets go of tasks that have ended and have nothing left.
    fn finish_tasks(&mut self) -> Result<(), Error> {
        let done: Vec<u64> =
            self.tasks.iter().filter(|(_, t)| t.settled && t.announced).map(|(&serial, _)| serial).collect();
        for serial in done {
            let Some(task) = self.tasks.remove(&serial) else { continue };
            let slot = self.arena.task(task.slot);
            let lost = slot.lost.load(Ordering::Relaxed);
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
