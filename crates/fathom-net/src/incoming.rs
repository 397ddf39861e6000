//! Directories that are being received: where they are, what may be written, how they are left.

use crate::plain::Place;
use crate::{NetError, Result, directory_name, readable};
use rustix::fs::{Mode, OFlags};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Files of one directory that are kept open.
const OPEN: usize = 32;
/// Bytes of options that a sender may leave for readers.
const LONGEST_OPTIONS: usize = 4096;
/// Where the number of a session with a token is kept.
const SESSION: &str = ".fathom-session";
/// Files of one recording.
const MOST_FILES: usize = 1 << 20;

/// How much is taken.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes from one sender.
    pub size: u64,
    /// Senders at a time.
    pub senders: usize,
    /// How long a sender may say nothing.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { size: 64 << 30, senders: 256, idle: Duration::from_secs(3600) }
    }
}

/// The number that names a session with a token.
pub(crate) type SessionId = [u8; 16];

/// The directory that recordings are received into, and which of them are being received.
#[derive(Debug)]
pub(crate) struct Root {
    dir: PathBuf,
    limit: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: BTreeMap<String, usize>,
    sessions: HashMap<SessionId, Arc<Mutex<u64>>>,
}

impl Root {
    pub(crate) fn new(dir: &Path, limit: u64) -> Result<Root> {
        fs::create_dir_all(dir).map_err(|error| NetError::file("create", dir, error))?;
        Ok(Root { dir: dir.to_path_buf(), limit, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new directory for what a sender calls `name`. An earlier one of that name is put aside, one that is still being
    /// received is left alone.
    pub(crate) fn create(&self, name: &[u8]) -> Result<Incoming<'_>> {
        let wanted = directory_name(name);
        let mut state = self.state();
        let mut name = wanted.clone();
        let mut number = 1;
        while state.live.contains_key(&name) || number > 1 && exists(&self.dir.join(&name)) {
            number += 1;
            name = format!("{wanted}.{number}");
        }
        let dir = self.dir.join(&name);
        if exists(&dir) {
            let aside = self.aside(&name, &state);
            fs::rename(&dir, &aside).map_err(|error| NetError::file("rename", &dir, error))?;
        }
        fs::create_dir(&dir).map_err(|error| NetError::file("create", &dir, error))?;
        // Options mark the directory as a trace.
        let begun = fs::write(dir.join("default.opts"), "").and_then(|()| readable::reserve(&dir));
        if let Err(error) = begun {
            // Nothing has come yet.
            let _ = fs::remove_dir_all(&dir);
            return Err(NetError::file("create", &dir, error));
        }
        state.live.insert(name.clone(), 1);
        drop(state);
        Ok(Incoming::new(self, dir, name))
    }

    fn aside(&self, name: &str, state: &State) -> PathBuf {
        let mut number = 1;
        loop {
            let other = if number == 1 { format!("{name}.old") } else { format!("{name}.old.{number}") };
            let path = self.dir.join(&other);
            if !exists(&path) && !state.live.contains_key(&other) {
                return path;
            }
            number += 1;
        }
    }

    /// The directory of a session with a token: the one that there is, or a new one. Whoever had it before must lock what
    /// is returned beside it, and finds another number in there.
    pub(crate) fn session(&self, id: SessionId, name: &[u8]) -> Result<(Incoming<'_>, Arc<Mutex<u64>>)> {
        let owner = Arc::clone(self.state().sessions.entry(id).or_default());
        let incoming = match self.find(id)? {
            Some((dir, name)) => {
                *self.state().live.entry(name.clone()).or_default() += 1;
                Incoming::new(self, dir, name)
            }
            None => {
                let incoming = self.create(name)?;
                let path = incoming.dir.join(SESSION);
                fs::write(&path, id).map_err(|error| NetError::file("create", &path, error))?;
                incoming
            }
        };
        Ok((incoming, owner))
    }

    fn find(&self, id: SessionId) -> Result<Option<(PathBuf, String)>> {
        let entries = fs::read_dir(&self.dir).map_err(|error| NetError::file("read", &self.dir, error))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if fs::read(path.join(SESSION)).is_ok_and(|found| found == id) {
                return Ok(entry.file_name().into_string().ok().map(|name| (path, name)));
            }
        }
        Ok(None)
    }

    fn release(&self, name: &str) {
        let mut state = self.state();
        if let Some(count) = state.live.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                state.live.remove(name);
            }
        }
    }
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// A directory that is being received.
#[derive(Debug)]
pub(crate) struct Incoming<'r> {
    root: &'r Root,
    pub(crate) dir: PathBuf,
    name: String,
    /// Bytes so far.
    pub(crate) written: u64,
    files: HashMap<String, Open>,
    clock: u64,
    made: usize,
    /// What the sender wants readers to be told.
    options: Vec<u8>,
    /// What was left out, and why.
    pub(crate) notes: Vec<String>,
}

#[derive(Debug)]
struct Open {
    file: File,
    len: u64,
    used: u64,
    dirty: bool,
}

impl<'r> Incoming<'r> {
    fn new(root: &'r Root, dir: PathBuf, name: String) -> Incoming<'r> {
        Incoming {
            root,
            dir,
            name,
            written: 0,
            files: HashMap::new(),
            clock: 0,
            made: 0,
            options: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Appends to a file, which is made if there is none.
    pub(crate) fn append_to(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        if name == "default.opts" {
            let room = LONGEST_OPTIONS.saturating_sub(self.options.len());
            self.options.extend(bytes.iter().take(room));
            return Ok(());
        }
        self.written = self.written.saturating_add(bytes.len() as u64);
        if self.written > self.root.limit {
            return Err(NetError::TooMuch { what: "what the sender sends", limit: self.root.limit });
        }
        let path = self.dir.join(name);
        let open = self.open(name)?;
        // Half of what was to be appended would make the rest unreadable.
        if let Err(error) = open.file.write_all(bytes) {
            let _ = open.file.set_len(open.len);
            self.written -= bytes.len() as u64;
            return Err(NetError::file("write", &path, error));
        }
        open.len += bytes.len() as u64;
        open.dirty = true;
        Ok(())
    }

    /// Empties a file.
    pub(crate) fn reset(&mut self, name: &str) -> Result<()> {
        if name == "default.opts" {
            self.options.clear();
            return Ok(());
        }
        let path = self.dir.join(name);
        let open = self.open(name)?;
        open.file.set_len(0).map_err(|error| NetError::file("empty", &path, error))?;
        let before = std::mem::take(&mut open.len);
        self.written = self.written.saturating_sub(before);
        Ok(())
    }

    /// Bytes that a file has.
    pub(crate) fn len(&mut self, name: &str) -> Result<u64> {
        if name == "default.opts" {
            return Ok(self.options.len() as u64);
        }
        Ok(self.open(name)?.len)
    }

    fn open(&mut self, name: &str) -> Result<&mut Open> {
        self.clock += 1;
        if !self.files.contains_key(name) {
            if self.files.len() >= OPEN {
                let oldest =
                    self.files.iter().min_by_key(|(_, open)| open.used).map(|(name, _)| name.clone());
                if let Some(mut open) = oldest.and_then(|name| self.files.remove(&name)) {
                    sync(&mut open).map_err(|error| NetError::file("write", &self.dir, error))?;
                }
            }
            let path = self.dir.join(name);
            self.made += usize::from(!exists(&path));
            if self.made > MOST_FILES {
                return Err(NetError::TooMuch { what: "the number of files", limit: MOST_FILES as u64 });
            }
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o644)).map(File::from);
            let file = file.map_err(|error| NetError::file("create", &path, error.into()))?;
            let len = file.metadata().map_err(|error| NetError::file("read", &path, error))?.len();
            self.files.insert(name.to_owned(), Open { file, len, used: 0, dirty: false });
        }
        let clock = self.clock;
        let open = self.files.get_mut(name).ok_or(NetError::Protocol("no such file"))?;
        open.used = clock;
        Ok(open)
    }

    /// Waits until all that was written is on the disk.
    pub(crate) fn sync(&mut self) -> Result<()> {
        let files = self.files.values_mut().filter(|open| open.dirty);
        for open in files {
            sync(open).map_err(|error| NetError::file("write", &self.dir, error))?;
        }
        Ok(())
    }

    /// All files with their sizes, by name.
    pub(crate) fn sizes(&self) -> Result<Vec<(String, u64)>> {
        let list = crate::spool::list(&self.dir)?;
        Ok(list.into_iter().map(|entry| (entry.name, entry.size)).collect())
    }

    /// Goes on where an earlier connection ended. Nobody else may be at it. Gives all files with their sizes.
    pub(crate) fn go_on(&mut self) -> Result<Vec<(String, u64)>> {
        readable::take_back(&self.dir).map_err(|error| NetError::file("go on with", &self.dir, error))?;
        let sizes = self.sizes()?;
        self.written = sizes.iter().map(|(_, size)| size).sum();
        Ok(sizes)
    }

    /// The recording is complete.
    pub(crate) fn complete(&mut self) -> Result<()> {
        if let Some(options) = harmless(&self.options) {
            let path = self.dir.join("default.opts");
            fs::write(&path, options).map_err(|error| NetError::file("write", &path, error))?;
        } else {
            self.notes.push("its default.opts has more than a time filter and is left out".to_owned());
        }
        readable::release(&self.dir).map_err(|error| NetError::file("complete", &self.dir, error))?;
        // The number of its session stays: the sender may not have heard that it is complete.
        self.sync()
    }

    /// The recording is not complete: adds what readers need and has not come.
    pub(crate) fn make_readable(&mut self) -> Result<()> {
        self.files.clear();
        readable::leave(&self.dir).map_err(|error| NetError::file("complete", &self.dir, error))
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        self.root.release(&self.name);
    }
}

impl Place for Incoming<'_> {
    fn name(&mut self, _name: &[u8]) -> Result<()> {
        Err(NetError::Protocol("a second name of the recording"))
    }
    fn create(&mut self, file: &str) -> Result<()> {
        self.reset(file)
    }
    fn append(&mut self, file: &str, bytes: &[u8]) -> Result<()> {
        self.append_to(file, bytes)
    }
    fn refused(&mut self, file: &[u8]) {
        const SHOWN: usize = 8;
        if self.notes.len() < SHOWN {
            let name: String = String::from_utf8_lossy(file).chars().take(60).collect();
            self.notes.push(format!("a file called {name:?} is left out"));
        }
    }
}

fn sync(open: &mut Open) -> io::Result<()> {
    open.dirty = false;
    open.file.sync_data()
}

/// Options that readers apply by themselves. Of a sender's only a time filter is taken: others could make them write
/// files or run programs.
fn harmless(options: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(options).ok()?;
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    match words[..] {
        [] => Some(String::new()),
        ["-t", time] if time.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.') => {
            Some(format!("-t {time}\n"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn directories_do_not_get_in_each_others_way() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(&dir.path().join("in/side"), 1000).unwrap();
        let first = root.create(b"../x").unwrap();
        let second = root.create(b"x").unwrap();
        assert_eq!(names(&root.dir), ["x", "x.2"]);
        drop((first, second));
        for _ in 0..3 {
            root.create(b"x").unwrap();
        }
        assert_eq!(names(&root.dir), ["x", "x.2", "x.old", "x.old.2", "x.old.3"]);
    }

    #[test]
    fn no_more_than_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path(), 10).unwrap();
        let mut incoming = root.create(b"x").unwrap();
        incoming.append_to("1.dat", b"12345678").unwrap();
        assert!(matches!(incoming.append_to("1.dat", b"123"), Err(NetError::TooMuch { .. })));
        incoming.reset("1.dat").unwrap();
        assert_eq!((incoming.len("1.dat").unwrap(), incoming.written), (0, 3));
    }

    #[test]
    fn options_of_senders_are_not_trusted() {
        assert_eq!(harmless(b"-t 5us\n").as_deref(), Some("-t 5us\n"));
        assert_eq!(harmless(b"").as_deref(), Some(""));
        for bad in [&b"--logfile=/etc/x"[..], b"-t 5us -S x.py", b"-t ../x", b"\xff"] {
            assert_eq!(harmless(bad), None);
        }
    }

    #[test]
    fn sessions_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path(), 1000).unwrap();
        let (mut incoming, owner) = root.session([7; 16], b"x").unwrap();
        incoming.append_to("1.dat", b"12345678").unwrap();
        drop(incoming);
        let (mut incoming, again) = root.session([7; 16], b"y").unwrap();
        incoming.go_on().unwrap();
        assert!(Arc::ptr_eq(&owner, &again) && incoming.dir.ends_with("x"));
        assert_eq!((incoming.written, incoming.sizes().unwrap()[0].clone()), (8, ("1.dat".to_owned(), 8)));
        drop(incoming);
        let later = Root::new(dir.path(), 1000).unwrap();
        let (mut incoming, _) = later.session([7; 16], b"z").unwrap();
        assert!(incoming.dir.ends_with("x"));
        incoming.make_readable().unwrap();
        assert!(incoming.dir.join("task.txt").exists());
        let (mut incoming, _) = later.session([7; 16], b"z").unwrap();
        assert_eq!(
            incoming.go_on().unwrap(),
            [("1.dat", 8), ("default.opts", 0), ("info", 40)].map(|(name, size)| (name.to_owned(), size))
        );
        assert!(!incoming.dir.join("task.txt").exists());
        incoming.complete().unwrap();
        let (other, _) = later.session([8; 16], b"z").unwrap();
        assert!(other.dir.ends_with("z"));
    }

    #[test]
    fn what_has_come_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path(), 1000).unwrap();
        let mut incoming = root.create(b"x").unwrap();
        let entry = |time| {
            let word = fathom_store::record::encode(fathom_store::Kind::Entry, 0, 0x1234);
            fathom_store::record::encode_bytes(time, word)
        };
        incoming.append_to("12.dat", &entry(2_000_000_005)).unwrap();
        incoming.append_to("13.dat", &entry(2_000_000_009)).unwrap();
        incoming.make_readable().unwrap();
        use fathom_store::Trace;
        let trace = fathom_store::directory::Directory::open(&incoming.dir, Default::default()).unwrap();
        assert_eq!(trace.tasks().iter().map(|task| task.tid).collect::<Vec<_>>(), [12, 13]);
    }
}
