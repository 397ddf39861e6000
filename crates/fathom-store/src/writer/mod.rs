//! Writes a trace into a directory while it is being recorded.

mod create;
mod map;
mod perf;

pub use map::{MapLine, reduce_map};

use crate::{Error, Info, Kind, TaskMessage, Tid, record};
use fathom_symbols::symfile::{self, ModuleId, Style};
use fathom_symbols::{SymbolTable, dbgfile::DbgFile};
use rustc_hash::FxHashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Files of tasks that are kept open, unless [`DirectoryWriter::keep_open`] says otherwise.
const OPEN: usize = 256;

/// A directory that is being recorded into. Shared by threads; records of one task have to come from one at a time.
///
/// Whatever has been handed over is in the system's hands when a method returns, so it survives the recorder.
#[derive(Debug)]
pub struct DirectoryWriter {
    dir: PathBuf,
    task_file: Mutex<File>,
    logs: Mutex<FxHashMap<Tid, Arc<Log>>>,
    most_open: usize,
    /// Files of tasks that are open.
    open: AtomicUsize,
    clock: AtomicU64,
}

/// The file of one task.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    state: Mutex<LogState>,
    /// When it was last used, by the writer's own clock.
    used: AtomicU64,
}

#[derive(Debug, Default)]
struct LogState {
    file: Option<File>,
    /// Bytes in the file, a whole number of records.
    len: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DirectoryWriter {
    /// Makes the directory. A trace that is there becomes `<dir>.old`, replacing an older one.
    ///
    /// `options` is the text of `default.opts`, which views apply by themselves; it ends with a newline unless it is
    /// empty.
    ///
    /// # Errors
    ///
    /// [`Error::NotRemovable`] when something else than a trace (or an empty directory) is in the way, or
    /// [`Error::Io`].
    pub fn create(dir: &Path, options: &str) -> Result<DirectoryWriter, Error> {
        create::create(dir)?;
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).map_err(|e| Error::io(&path, "write", e))
        };
        // First of all, as it marks the directory as a trace.
        write("default.opts", options)?;
        let path = dir.join("task.txt");
        let task_file = File::options().create(true).append(true).open(&path);
        Ok(DirectoryWriter {
            dir: dir.to_path_buf(),
            task_file: Mutex::new(task_file.map_err(|e| Error::io(&path, "create", e))?),
            logs: Mutex::default(),
            most_open: OPEN,
            open: AtomicUsize::new(0),
            clock: AtomicU64::new(0),
        })
    }

    /// Goes on with a directory whose recorder has died. Half a record at the end of a
    /// file is cut off.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn resume(dir: &Path) -> Result<DirectoryWriter, Error> {
        let path = dir.join("task.txt");
        let task_file = File::options().append(true).open(&path).map_err(|e| Error::io(&path, "open", e))?;
        let mut logs = FxHashMap::default();
        for entry in fs::read_dir(dir).map_err(|e| Error::io(dir, "read", e))? {
            let path = entry.map_err(|e| Error::io(dir, "read", e))?.path();
            let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".dat"));
            let Some(tid) = name.and_then(|n| n.parse::<Tid>().ok()) else { continue };
            let file = File::options().write(true).open(&path).map_err(|e| Error::io(&path, "open", e))?;
            let len = file.metadata().map_err(|e| Error::io(&path, "read", e))?.len();
            // Payloads come in units of 8 bytes.
            let whole = len - len % 8;
            file.set_len(whole).map_err(|e| Error::io(&path, "truncate", e))?;
            let state = Mutex::new(LogState { file: None, len: whole });
            logs.insert(tid, Arc::new(Log { path, state, used: AtomicU64::new(0) }));
        }
        perf::cut_off_halves(dir)?;
        Ok(DirectoryWriter {
            dir: dir.to_path_buf(),
            task_file: Mutex::new(task_file),
            logs: Mutex::new(logs),
            most_open: OPEN,
            open: AtomicUsize::new(0),
            clock: AtomicU64::new(0),
        })
    }

    /// Cuts off what the end of a task's file already has of `records`, which are about to be appended: their
    /// writer may have died between writing them and noting that it had.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn truncate_repeated(&self, tid: Tid, records: &[u8]) -> Result<(), Error> {
        let Some(first) = records.get(..record::SIZE) else { return Ok(()) };
        let Some(log) = lock(&self.logs).get(&tid).cloned() else { return Ok(()) };
        let mut state = lock(&log.state);
        let at = |e| Error::io(&log.path, "read", e);
        let back = (records.len() as u64).min(state.len);
        let mut file = File::options().read(true).write(true).open(&log.path).map_err(at)?;
        let mut tail = vec![0; back as usize];
        file.seek(SeekFrom::Start(state.len - back)).map_err(at)?;
        file.read_exact(&mut tail).map_err(at)?;
        // Payloads come in units of 8 bytes.
        let repeated = (0..tail.len()).step_by(8).find(|&at| tail.get(at..at + record::SIZE) == Some(first));
        if let Some(start) = repeated {
            // Only if all that follows is the beginning of the records.
            if records.starts_with(&tail[start..]) {
                state.len = state.len - back + start as u64;
                file.set_len(state.len).map_err(|e| Error::io(&log.path, "truncate", e))?;
            }
        }
        Ok(())
    }

    /// How many files of tasks are kept open at most.
    #[must_use]
    pub fn keep_open(mut self, files: usize) -> Self {
        self.most_open = files.max(1);
        self
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Appends a line to `task.txt`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn message(&self, message: &TaskMessage) -> Result<(), Error> {
        // One write for the whole line, so that a crash can't leave half of one.
        let line = format!("{message}\n");
        let written = lock(&self.task_file).write_all(line.as_bytes());
        written.map_err(|e| Error::io(&self.dir.join("task.txt"), "write", e))
    }

    /// Writes (or replaces) the map of a session. [`reduce_map`] makes the lines.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn map(&self, sid: &str, lines: &[MapLine]) -> Result<(), Error> {
        let path = self.dir.join(format!("sid-{sid}.map"));
        let temporary = path.with_extension("map.tmp");
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&temporary, text).map_err(|e| Error::io(&temporary, "write", e))?;
        fs::rename(&temporary, &path).map_err(|e| Error::io(&path, "create", e))
    }

    /// Appends records to the file of a task: whole ones, each with its payload, as [`record`] lays them out.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; then nothing of `records` is in the file, so that later ones are not misread.
    pub fn append(&self, tid: Tid, records: &[u8]) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        let log = self.log(tid);
        log.append(records, &self.open).map_err(|e| Error::io(&log.path, "write", e))
    }

    /// Notes that records of a task are missing: `count` of them, 0 if that is not known.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn lost(&self, tid: Tid, count: u64) -> Result<(), Error> {
        self.append(tid, &record::encode_bytes(0, record::encode(Kind::Lost, 0, count)))
    }

    /// Appends what the kernel wrote into the ring buffer of a processor's events: whole records. None of them makes
    /// the file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; then nothing of `records` is in the file.
    pub fn append_perf(&self, cpu: u32, records: &[u8]) -> Result<(), Error> {
        perf::append(&self.dir, cpu, records)
    }

    /// Appends pages of the kernel's ring buffer, as they were read, to the file of a processor. None of them makes the
    /// file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; then nothing of `pages` is in the file.
    pub fn append_kernel(&self, cpu: u32, pages: &[u8]) -> Result<(), Error> {
        perf::append_whole(&self.dir.join(format!("kernel-cpu{cpu}.dat")), pages)
    }

    /// Writes a file of the trace as a whole, in place of one that is there.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn file(&self, name: &str, contents: &[u8]) -> Result<(), Error> {
        let path = self.dir.join(name);
        fs::write(&path, contents).map_err(|e| Error::io(&path, "write", e))
    }

    /// Appends events of a task's probes, whole records with their arguments, to `<tid>.probes`. The task's own file has
    /// them without; see [`probe`](crate::probe).
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; then nothing of `records` is in the file.
    pub fn append_probes(&self, tid: Tid, records: &[u8]) -> Result<(), Error> {
        perf::append_whole(&self.dir.join(format!("{tid}.probes")), records)
    }

    /// Whether there are files of processors' events.
    pub fn has_perf(&self) -> bool {
        !perf::files(&self.dir).is_empty()
    }

    /// Names a probe of the program in `events.txt`. `id` is from [`USER`](crate::event_id::USER) on, `name` is
    /// `provider:name`; what would break the line in it is replaced.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn event(&self, id: u64, name: &str) -> Result<(), Error> {
        let name: String = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let path = self.dir.join("events.txt");
        let line = format!("EVENT: {id} {name}\n");
        let file = File::options().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).map_err(|e| Error::io(&path, "write", e))
    }

    /// Writes the symbols of a module, unless they were written before or there are none.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn symbols(&self, module: &ModuleId, symbols: &SymbolTable, style: Style) -> Result<(), Error> {
        let saved = symfile::save(&self.dir, module, symbols, style);
        saved.map(|_| ()).map_err(|e| self.other(&symfile::file_name(module, "sym"), e))
    }

    /// Writes what is to be kept of a module's debug information.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn debug(&self, debug: &DbgFile) -> Result<(), Error> {
        let saved = debug.save(&self.dir);
        saved.map(|_| ()).map_err(|e| self.other(&symfile::file_name(&debug.module, "dbg"), e))
    }

    fn other(&self, name: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::io(&self.dir.join(name), "write", io::Error::other(error))
    }

    /// Writes (or replaces) the `info` file. Without one, other tools can't read the trace: write it at the
    /// beginning with what is known then, and again at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn info(&self, info: &Info) -> Result<(), Error> {
        info.write(&self.dir.join("info"))
    }

    /// Tasks that have records, ascending, with the bytes of them.
    pub fn tasks(&self) -> Vec<(Tid, u64)> {
        let logs: Vec<_> = lock(&self.logs).iter().map(|(tid, log)| (*tid, log.clone())).collect();
        let mut tasks: Vec<_> = logs.into_iter().map(|(tid, log)| (tid, lock(&log.state).len)).collect();
        tasks.retain(|(_, len)| *len > 0);
        tasks.sort_unstable();
        tasks
    }

    /// Gives the directory and all its files, except hidden ones, to a user: the one who called sudo.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn give_to(&self, uid: u32, gid: u32) -> Result<(), Error> {
        let give =
            |path: &Path| chown(path, Some(uid), Some(gid)).map_err(|e| Error::io(path, "give away", e));
        for entry in fs::read_dir(&self.dir).map_err(|e| Error::io(&self.dir, "read the directory", e))? {
            let entry = entry.map_err(|e| Error::io(&self.dir, "read the directory", e))?;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                give(&entry.path())?;
            }
        }
        give(&self.dir)
    }

    /// The log of a task, made when it is new; another's file is closed if there are too many.
    fn log(&self, tid: Tid) -> Arc<Log> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut logs = lock(&self.logs);
        if let Some(log) = logs.get(&tid) {
            log.used.store(now, Ordering::Relaxed);
            if lock(&log.state).file.is_some() {
                return log.clone();
            }
        }
        self.make_room(&logs);
        let new = || {
            let path = self.dir.join(format!("{tid}.dat"));
            Arc::new(Log { path, state: Mutex::default(), used: AtomicU64::new(now) })
        };
        logs.entry(tid).or_insert_with(new).clone()
    }

    /// Closes the files that have not been used for longest, if there is no room for another.
    fn make_room(&self, logs: &FxHashMap<Tid, Arc<Log>>) {
        if self.open.load(Ordering::Relaxed) < self.most_open {
            return;
        }
        // A file that another thread is writing to is in use.
        let is_open = |log: &&Arc<Log>| log.state.try_lock().is_ok_and(|state| state.file.is_some());
        let mut open: Vec<&Arc<Log>> = logs.values().filter(is_open).collect();
        // A quarter at once, as looking through all of them each time would cost too much.
        open.sort_by_key(|log| log.used.load(Ordering::Relaxed));
        for log in open.iter().take(self.most_open.div_ceil(4)) {
            if let Ok(mut state) = log.state.try_lock()
                && state.file.take().is_some()
            {
                self.open.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Log {
    fn append(&self, records: &[u8], open: &AtomicUsize) -> io::Result<()> {
        let mut state = lock(&self.state);
        let LogState { file, len } = &mut *state;
        let mut file: &File = match file {
            Some(file) => file,
            None => {
                let opened = File::options().create(true).append(true).open(&self.path)?;
                open.fetch_add(1, Ordering::Relaxed);
                file.insert(opened)
            }
        };
        match file.write_all(records) {
            Ok(()) => {
                *len += records.len() as u64;
                Ok(())
            }
            Err(e) => {
                // The disk is full: take back what did get onto it.
                file.set_len(*len)?;
                Err(e)
            }
        }
    }
}

#[cfg(test)]
mod tests;
