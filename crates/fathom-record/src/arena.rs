//! The recorder's side of the arena: making it, giving out segments, finding what has been written.

use crate::sys::Shared;
use fathom_abi::arena::{self, Aligned, Header, Segment, Session, Task};
use fathom_abi::{ARENA_FILE, VERSION};
use rustix::fs::{FallocateFlags, Mode};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How large things are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Bytes of a segment: what one thread fills before it takes another. Small enough to stay in the cache.
    pub(crate) segment: u32,
    /// Most segments.
    pub(crate) segments: u32,
    /// Tasks that can live at the same time (and be told apart).
    pub(crate) tasks: u32,
    /// Process images.
    pub(crate) sessions: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes { segment: 64 << 10, segments: 8192, tasks: 32768, sessions: 16384 }
    }
}

/// Segments that are ready before the first thread asks.
const FIRST_POOL: u32 = 64;

/// A mapped arena.
pub(crate) struct Arena {
    map: Shared,
    file: File,
    dir: PathBuf,
    /// Segments that are backed by memory: those below this have been on the free list.
    pool: AtomicU32,
}

impl Arena {
    /// Makes a directory under one of `places` with an arena in it.
    pub(crate) fn create(places: &[PathBuf], sizes: Sizes, clock: u32) -> io::Result<Arena> {
        let mut failure = io::Error::other("no place for shared memory");
        for place in places {
            match make_dir(place).and_then(|dir| {
                Arena::create_in(&dir, sizes, clock).inspect_err(|_| {
                    let _ = std::fs::remove_dir_all(&dir);
                })
            }) {
                Ok(arena) => return Ok(arena),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn create_in(dir: &Path, sizes: Sizes, clock: u32) -> io::Result<Arena> {
        let page = |n: u64| n.next_multiple_of(4096);
        let tasks = page(size_of::<Header>() as u64);
        let sessions = tasks + page(u64::from(sizes.tasks) * size_of::<Task>() as u64);
        let heads = sessions + page(u64::from(sizes.sessions) * size_of::<Session>() as u64);
        let data = heads + page(u64::from(sizes.segments) * size_of::<Segment>() as u64);
        let len = data + u64::from(sizes.segments) * u64::from(sizes.segment);
        // Programs that run as another user must be able to write; the directory's name is the secret.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(dir.join(ARENA_FILE))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o666))?;
        rustix::fs::ftruncate(&file, len)?;
        // The tables must never fault for want of memory.
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, data)?;
        let map = Shared::map(&file, len as usize)?;
        map.init(
            0,
            Header {
                magic: arena::MAGIC,
                version: VERSION,
                clock,
                segment_size: sizes.segment,
                segment_count: sizes.segments,
                task_count: sizes.tasks,
                session_count: sizes.sessions,
                tasks,
                sessions,
                heads,
                data,
                free_segments: Aligned(AtomicU64::new(0)),
                free_tasks: Aligned(AtomicU64::new(0)),
                next_task: Aligned(AtomicU32::new(0)),
                next_session: AtomicU32::new(0),
                last_serial: AtomicU64::new(0),
                heartbeat: Aligned(AtomicU64::new(0)),
                recorder_gone: AtomicU32::new(0),
                lost_tasks: AtomicU32::new(0),
                lost_sessions: AtomicU32::new(0),
                pressure: AtomicU32::new(0),
                exhausted: AtomicU32::new(0),
                doorbell: AtomicU32::new(0),
                finish: AtomicU32::new(0),
                no_counters: AtomicU32::new(0),
                no_values: AtomicU32::new(0),
                no_probes: AtomicU32::new(0),
            },
        );
        let arena = Arena { map, file, dir: dir.to_path_buf(), pool: AtomicU32::new(0) };
        if !arena.grow(FIRST_POOL) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(arena)
    }

    /// Maps the arena of a recorder that has died.
    pub(crate) fn open(dir: &Path) -> io::Result<Arena> {
        let file = OpenOptions::new().read(true).write(true).open(dir.join(ARENA_FILE))?;
        let len = file.metadata()?.len();
        let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        if len < 4096 {
            return Err(bad("too short for an arena"));
        }
        let map = Shared::map(&file, len as usize)?;
        let h: &Header = map.at(0);
        if h.magic != arena::MAGIC {
            return Err(bad("not an arena"));
        }
        if h.version != VERSION {
            return Err(bad("an arena of another version of fathom"));
        }
        let table = |offset: u64, count: u32, size: usize| {
            offset.is_multiple_of(4096)
                && offset.checked_add(u64::from(count) * size as u64).is_some_and(|end| end <= len)
        };
        let fits = table(h.tasks, h.task_count, size_of::<Task>())
            && table(h.sessions, h.session_count, size_of::<Session>())
            && table(h.heads, h.segment_count, size_of::<Segment>())
            && table(h.data, h.segment_count, h.segment_size as usize)
            && h.segment_size >= 4096
            && h.segment_size.is_multiple_of(16);
        if !fits {
            return Err(bad("an arena whose tables do not fit"));
        }
        let pool = h.segment_count.into();
        Ok(Arena { map, file, dir: dir.to_path_buf(), pool })
    }

    /// Directory of the arena.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn header(&self) -> &Header {
        self.map.at(0)
    }

    pub(crate) fn task(&self, index: u32) -> &Task {
        self.entry(self.header().tasks, self.header().task_count, index)
    }

    pub(crate) fn session(&self, index: u32) -> &Session {
        self.entry(self.header().sessions, self.header().session_count, index)
    }

    pub(crate) fn segment(&self, index: u32) -> &Segment {
        self.entry(self.header().heads, self.header().segment_count, index)
    }

    fn entry<T>(&self, offset: u64, count: u32, index: u32) -> &T {
        assert!(index < count);
        self.map.at(offset as usize + index as usize * size_of::<T>())
    }

    /// Segments in the pool.
    pub(crate) fn pool(&self) -> u32 {
        self.pool.load(Ordering::Relaxed)
    }

    /// Tasks that were ever handed out.
    pub(crate) fn tasks(&self) -> u32 {
        self.header().next_task.0.load(Ordering::Acquire).min(self.header().task_count)
    }

    /// Sessions that were ever handed out.
    pub(crate) fn sessions(&self) -> u32 {
        self.header().next_session.load(Ordering::Acquire).min(self.header().session_count)
    }

    /// Backs more segments with memory and frees them; false when the limit is reached or memory has run out.
    pub(crate) fn grow(&self, more: u32) -> bool {
        let h = self.header();
        let pool = self.pool();
        let more = more.min(h.segment_count - pool);
        let start = h.data + u64::from(pool) * u64::from(h.segment_size);
        let len = u64::from(more) * u64::from(h.segment_size);
        if more == 0 || rustix::fs::fallocate(&self.file, FallocateFlags::empty(), start, len).is_err() {
            return false;
        }
        self.pool.store(pool + more, Ordering::Relaxed);
        for index in (pool..pool + more).rev() {
            self.free_segment(index);
        }
        true
    }

    /// Puts a zeroed segment on the free list.
    fn free_segment(&self, index: u32) {
        let segment = self.segment(index);
        segment.state.store(arena::SEGMENT_FREE, Ordering::Relaxed);
        push(&self.header().free_segments.0, index, &segment.next);
    }

    /// Zeroes the first `used` bytes of a drained segment and frees it.
    pub(crate) fn recycle(&self, index: u32, used: usize) {
        self.map.zero(self.data_offset(index), used);
        self.free_segment(index);
    }

    /// Frees the slot of a task that will not write again.
    pub(crate) fn free_task(&self, index: u32) {
        let task = self.task(index);
        task.state.store(arena::TASK_FREE, Ordering::Relaxed);
        push(&self.header().free_tasks.0, index, &task.next);
    }

    fn data_offset(&self, index: u32) -> usize {
        let h = self.header();
        h.data as usize + index as usize * h.segment_size as usize
    }

    /// Copies a segment: time and word of each record, zero where there is none.
    pub(crate) fn copy_segment(&self, index: u32, words: &mut Vec<u64>) {
        words.resize(self.header().segment_size as usize / 8, 0);
        std::sync::atomic::fence(Ordering::Acquire);
        self.map.copy(self.data_offset(index), words);
    }

    /// Copies the first records of a segment that may still be written to.
    pub(crate) fn peek_segment(&self, index: u32, records: usize) -> Vec<[u64; 2]> {
        let start = self.data_offset(index);
        // The word first: with it there, so is the time.
        let record = |i| {
            let word = self.map.word(start + 16 * i + 8);
            [self.map.word(start + 16 * i), word]
        };
        (0..records.min(self.header().segment_size as usize / 16)).map(record).collect()
    }

    /// Copies records of a segment that may still be written to, up to the first empty place.
    pub(crate) fn peek_run(&self, index: u32, places: std::ops::Range<usize>) -> Vec<[u64; 2]> {
        let start = self.data_offset(index);
        // The word first: with it there, so is the time.
        let record = |i| {
            let word = self.map.word(start + 16 * i + 8);
            [self.map.word(start + 16 * i), word]
        };
        places.map(record).take_while(|record| record[1] != 0).collect()
    }

    /// Whether a thread that asks now gets a segment at once.
    pub(crate) fn has_free_segment(&self) -> bool {
        arena::unpack(self.header().free_segments.0.load(Ordering::Acquire)).1 != 0
    }

    /// Wakes those who wait for a session's answer.
    pub(crate) fn answer(&self, session: &Session) {
        session.state.store(arena::SESSION_ANSWERED, Ordering::Release);
        crate::sys::futex_wake(&session.state);
    }

    /// Removes the arena's directory. Processes that have it mapped keep it.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn push(head: &AtomicU64, index: u32, next: &AtomicU32) {
    let mut old = head.load(Ordering::Acquire);
    loop {
        let (tag, first) = arena::unpack(old);
        next.store(first, Ordering::Relaxed);
        match head.compare_exchange_weak(
            old,
            arena::pack(tag.wrapping_add(1), index + 1),
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
}

/// `fathom-<pid>-<random>`: others may enter it if they know the name, add files, and not list or remove ours.
fn make_dir(place: &Path) -> io::Result<PathBuf> {
    let mut random = [0u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let dir = place.join(format!("fathom-{}-{:016x}", std::process::id(), u64::from_ne_bytes(random)));
    rustix::fs::mkdir(&dir, Mode::from_raw_mode(0o700))?;
    rustix::fs::chmod(&dir, Mode::from_raw_mode(0o1733))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> (tempfile::TempDir, Arena) {
        let place = tempfile::tempdir().unwrap();
        let sizes = Sizes { segment: 4096, segments: 200, tasks: 16, sessions: 4 };
        let arena = Arena::create(&[place.path().to_path_buf()], sizes, arena::CLOCK_TSC).unwrap();
        (place, arena)
    }

    #[test]
    fn pool_grows_to_its_limit() {
        let (_place, arena) = small();
        assert_eq!(arena.pool(), FIRST_POOL);
        assert!(arena.grow(1000));
        assert_eq!(arena.pool(), 200);
        assert!(!arena.grow(1));
    }

    #[test]
    fn free_list_is_last_in_first_out() {
        let (_place, arena) = small();
        arena.recycle(7, 4096);
        let (_, first) = arena::unpack(arena.header().free_segments.0.load(Ordering::Relaxed));
        assert_eq!(first, 8);
    }

    #[test]
    fn reopened_arena_is_checked() {
        let (_place, arena) = small();
        assert!(Arena::open(arena.dir()).is_ok());
        let path = arena.dir().join(ARENA_FILE);
        std::fs::write(&path, [0u8; 8192]).unwrap();
        assert!(Arena::open(arena.dir()).is_err());
        std::fs::write(&path, b"short").unwrap();
        assert!(Arena::open(arena.dir()).is_err());
    }

    #[test]
    fn removed_with_everything_in_it() {
        let (_place, arena) = small();
        std::fs::write(arena.dir().join("hello-0-1"), b"x").unwrap();
        arena.remove();
        assert!(!arena.dir().exists());
    }
}
