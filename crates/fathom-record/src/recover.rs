//! A recording whose recorder was killed: what the program's buffers still hold is brought home later.
//!
//! While a recording runs, `<dir>/.fathom/` says where its arena is and holds the clock's anchors. The recorder keeps
//! a lock on it; whoever gets the lock knows that the recorder is gone.

use crate::arena::Arena;
use crate::clock::{Clock, Source, TraceClock};
use crate::drain::Drainer;
use crate::finish::{self, Header, Said};
use crate::patterns::Patterns;
use crate::plan::Planner;
use crate::rules::Selector;
use crate::sessions::Sessions;
use crate::{Error, LibCalls, Losses, Match, Options, Selection, sys};
use fathom_abi::arena::CLOCK_TSC;
use fathom_store::writer::DirectoryWriter;
use fathom_store::{Features, Info};
use fathom_symbols::maps;
use rustix::fs::FlockOperation;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// The journal's directory in a trace.
const DIR: &str = ".fathom";

/// File with the process id of a program that ends before its recorder does.
const PROGRAM: &str = "program";

/// How long a reading command waits for a recorder whose program has ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// The journal of a recording in progress. Holds the lock.
pub(crate) struct Journal {
    dir: PathBuf,
    _lock: File,
}

impl Journal {
    pub(crate) fn create(
        trace: &Path,
        arena: &Path,
        runtime: &Path,
        options: &Options,
        said: &Said,
    ) -> Result<Journal, Error> {
        let dir = trace.join(DIR);
        fs::create_dir(&dir).map_err(|e| Error::io("create", &dir, e))?;
        let path = dir.join("recording");
        let lock = File::create(&path).map_err(|e| Error::io("create", &path, e))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(|e| Error::io("lock", &path, e.into()))?;
        let clock = options.clock.id().to_string();
        let fields: [(&str, &[u8]); 7] = [
            ("clock_id", clock.as_bytes()),
            ("runtime", runtime.as_os_str().as_bytes()),
            ("arena", arena.as_os_str().as_bytes()),
            ("exe", options.program.as_os_str().as_bytes()),
            ("cmdline", options.cmdline.as_bytes()),
            ("version", options.version.as_bytes()),
            ("libcalls", if options.libcalls == LibCalls::None { b"no" } else { b"yes" }),
        ];
        for (name, value) in fields {
            let path = dir.join(name);
            fs::write(&path, value).map_err(|e| Error::io("write", &path, e))?;
        }
        said.to_info().write(&dir.join("info"))?;
        Ok(Journal { dir, _lock: lock })
    }

    /// File for the clock's anchors.
    pub(crate) fn clock(&self) -> Result<Option<File>, Error> {
        let path = self.dir.join("clock");
        File::create(&path).map(Some).map_err(|e| Error::io("create", &path, e))
    }

    /// The program's process does not wait for the recorder: a reading command has to.
    pub(crate) fn program(&self, pid: i32) -> Result<(), Error> {
        let path = self.dir.join(PROGRAM);
        fs::write(&path, pid.to_string()).map_err(|e| Error::io("write", &path, e))
    }

    /// The recording is complete.
    pub(crate) fn remove(self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What [`recover`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// What could not be kept.
    pub losses: Losses,
    /// Whether the buffers were still there. If not, the trace is what had been written before.
    pub buffers: bool,
    /// Whether scheduler and task events were recorded: what the recorder had not fetched yet is gone, up to a tenth
    /// of a second.
    pub events: bool,
}

/// Finishes a recording whose recorder has died. `None` when there is nothing to do: the trace is complete, or is
/// being recorded right now.
///
/// # Errors
///
/// Where the journal or the trace cannot be read or written.
pub fn recover(dir: &Path) -> Result<Option<Recovered>, Error> {
    let journal = dir.join(DIR);
    let path = journal.join("recording");
    let Ok(lock) = File::options().read(true).write(true).open(&path) else { return Ok(None) };
    if !take(&lock, &journal) || !path.exists() {
        return Ok(None);
    }
    let read = |name: &str| fs::read(journal.join(name)).unwrap_or_default();
    let arena_dir = path_of(read("arena"));
    let writer = DirectoryWriter::resume(dir)?;
    let text = |name: &str| String::from_utf8_lossy(&read(name)).into_owned();
    let libcalls = if read("libcalls") == b"no" { LibCalls::None } else { LibCalls::Executable };
    let mut recovered = Recovered { losses: Losses::default(), buffers: false, events: writer.has_perf() };
    let trace_clock = text("clock_id").parse().ok().and_then(TraceClock::of_id).unwrap_or_default();
    let mut answers = crate::sessions::Answers::default();
    if let Ok(arena) = Arena::open(&arena_dir) {
        // Nobody waits for us any more; a program that still runs goes on untraced.
        arena.header().recorder_gone.store(1, Ordering::Relaxed);
        let clock = Source { tsc: arena.header().clock == CLOCK_TSC, clock: trace_clock };
        let mut clock = Clock::from_journal(clock, &read("clock"));
        clock.update().map_err(|e| Error::io("write", &journal, e))?;
        let clock = Mutex::new(clock);
        let selector = Selector::new(Selection::default(), Match::default())?;
        let planner = Planner::new(libcalls, Patterns::default(), selector);
        let mut sessions = Sessions::new(&arena, &clock, &writer, planner, path_of(read("runtime")));
        sessions.recover()?;
        let mut drainer = Drainer::new(&arena, &clock, &writer).for_recovery();
        drainer.finish()?;
        (recovered.losses, recovered.buffers) = (drainer.losses(), true);
        answers = sessions.into_answers();
        arena.remove();
    }
    answers.modules.extend(mapped_modules(dir));
    let mut notes = Vec::new();
    // Without it, records with values cannot be read, so it is better to say so than to go on.
    let said = Said::of_info(Info::read(&journal.join("info"))?);
    finish::write_symbols(&writer, &answers, said.features.has(Features::DEBUG_INFO), &mut notes)?;
    let exe = path_of(read("exe"));
    let exe = exe.canonicalize().unwrap_or(exe);
    let header = Header {
        answers: &answers,
        exe: &exe,
        status: -1,
        usage: None,
        elapsed: None,
        cmdline: &text("cmdline"),
        version: &text("version"),
        said: &said,
        perf: recovered.events,
        kernel: writer.path().join("kernel_header").is_file(),
        clock: trace_clock,
    };
    finish::write_info(&writer, &header)?;
    fs::remove_dir_all(&journal).map_err(|e| Error::io("remove", &journal, e))?;
    Ok(Some(recovered))
}

/// Takes the lock of a recorder that is gone, or waits for one that only has to finish.
fn take(lock: &File, journal: &Path) -> bool {
    let free = || rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok();
    if free() {
        return true;
    }
    let pid = fs::read_to_string(journal.join(PROGRAM)).ok().and_then(|text| text.parse().ok());
    let Some(pid) = pid.filter(|pid| !sys::thread_exists(*pid, *pid)) else { return false };
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && !sys::thread_exists(pid, pid) {
        thread::sleep(Duration::from_millis(5));
        if free() {
            return true;
        }
    }
    false
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// Modules in the session maps that are on disk already, and libraries that were opened.
fn mapped_modules(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "map") {
            continue;
        }
        let text = fs::read(&path).unwrap_or_default();
        for mapping in maps::parse(&text) {
            let name = String::from_utf8_lossy(mapping.name);
            let name = name.split(" build-id:").next().unwrap_or_default();
            if name.starts_with('/') {
                found.insert(PathBuf::from(name));
            }
        }
    }
    let tasks = fs::read_to_string(dir.join("task.txt")).unwrap_or_default();
    for line in tasks.lines() {
        if let Ok(Some(message)) = fathom_store::TaskMessage::parse(line)
            && let fathom_store::TaskChange::Dlopen { library, .. } = message.what
        {
            found.insert(PathBuf::from(library));
        }
    }
    found
}
