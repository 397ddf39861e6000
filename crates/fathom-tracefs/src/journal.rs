//! The journal: what has to be undone, on disk before it is done.
//!
//! A file per process in a directory of its own. Its first line says whose it is, every further line is the undoing of one
//! step, written and synced before the step. It is removed when all is undone. What is left when a process was killed is
//! undone by the next that looks.
//!
//! The directory is on a file system that a restart of the machine empties (`/run`), as it empties tracefs; a journal
//! of an earlier boot is dropped.

use crate::plan::{Mode, Write};
use crate::{Error, Tracefs};
use serde_json::{Value, json};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const VERSION: u64 = 1;

/// Where journals are kept.
#[derive(Clone, Debug)]
pub struct Journals {
    dir: PathBuf,
}

impl Default for Journals {
    /// `/run/fathom` for root; for others a directory of the user's in `$XDG_RUNTIME_DIR`, or else in `/tmp`.
    fn default() -> Journals {
        let user = rustix::process::geteuid();
        let own = || std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
        let dir = match (user.is_root(), own()) {
            (true, _) => "/run/fathom".into(),
            (false, Some(dir)) => dir.join("fathom"),
            (false, None) => format!("/tmp/fathom-{}", user.as_raw()).into(),
        };
        Journals { dir }
    }
}

/// The journal of a running process.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    lines: usize,
}

/// A journal that was left.
#[derive(Debug)]
pub struct Left {
    /// Its file.
    pub path: PathBuf,
    /// The process that was killed.
    pub pid: u32,
    /// The root of the tracefs that it worked on.
    pub root: PathBuf,
    /// What has to be undone, oldest first; each in the order to be written.
    pub(crate) steps: Vec<Vec<Write>>,
    /// Keeps others from undoing it at the same time.
    _lock: File,
}

impl Journals {
    /// Journals in a directory, which is made when it is needed.
    pub fn at(dir: impl Into<PathBuf>) -> Journals {
        Journals { dir: dir.into() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins the journal of this process.
    pub(crate) fn begin(&self, tracefs: &Tracefs) -> Result<Journal, Error> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Journal { path, source }
        };
        // Parents (`/run` of a bare guest) for all, the directory for us alone.
        let parent = self.dir.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(fail(parent))?;
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(fail(&self.dir)(error)),
            _ => self.checked().map_err(fail(&self.dir))?,
        }
        let pid = std::process::id();
        for n in 0..1000 {
            let path = self.dir.join(format!("{pid}-{n}.journal"));
            let new = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
            let file = match new {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.map_err(fail(&path))?,
            };
            file.lock().map_err(fail(&path))?;
            let mut journal = Journal { path: path.clone(), file, lines: 0 };
            let head = json!({
                "fathom": VERSION, "pid": pid, "start": start_of(Path::new("/proc"), pid), "boot": boot(), "root": tracefs.root(),
            });
            journal.line(&head).map_err(fail(&path))?;
            // The name has to be there after a crash, as well as the content.
            File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(fail(&path))?;
            return Ok(journal);
        }
        Err(fail(&self.dir)(io::Error::from(io::ErrorKind::AlreadyExists)))
    }

    /// The directory must be the user's own: what stands in a journal is written to files of the kernel.
    fn checked(&self) -> io::Result<()> {
        let stat = rustix::fs::lstat(&self.dir)?;
        let own = stat.st_uid == rustix::process::geteuid().as_raw();
        let directory = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory;
        match own && directory && stat.st_mode & 0o022 == 0 {
            true => Ok(()),
            false => Err(io::Error::other("it is no directory of this user alone")),
        }
    }

    /// The journals whose processes are gone. Those of running ones are not touched; those of an earlier boot are removed.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read. That there is none is no error.
    pub fn left(&self) -> Result<Vec<Left>, Error> {
        let fail = |source| Error::Journal { path: self.dir.clone(), source };
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(fail)?,
        };
        self.checked().map_err(fail)?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|ext| ext == "journal"));
        paths.sort_unstable();
        Ok(paths.into_iter().filter_map(left_at).collect())
    }
}

/// What is left at a path, if its process is gone and nobody else is at it.
fn left_at(path: PathBuf) -> Option<Left> {
    let file = File::open(&path).ok()?;
    // The process holds the lock as long as it lives, whatever its id is in our name space.
    file.try_lock().ok()?;
    let text = fs::read_to_string(&path).ok()?;
    let Some(content) = Content::parse(&text) else {
        // Cut off before anything was changed.
        if !text.contains('\n') {
            let _ = fs::remove_file(&path);
        }
        return None;
    };
    let Content { pid, start, boot: of, root, steps } = content;
    if of != boot() {
        let _ = fs::remove_file(&path);
        return None;
    }
    let now = start_of(Path::new("/proc"), pid);
    if now.is_some() && start == now && pid != std::process::id() {
        return None;
    }
    Some(Left { path, pid, root, steps, _lock: file })
}

/// What stands in a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Whose it is.
    pub pid: u32,
    /// When that process began, in ticks of the clock since boot.
    pub start: Option<u64>,
    /// The boot of the machine.
    pub boot: String,
    /// The root of the tracefs.
    pub root: PathBuf,
    /// How each step is undone, oldest first; nothing for those that were not made.
    pub steps: Vec<Vec<Write>>,
}

impl Content {
    /// Reads a journal. None for what is none of this version.
    pub fn parse(text: &str) -> Option<Content> {
        let mut lines = text.split_inclusive('\n');
        let head: Value = serde_json::from_str(lines.next()?).ok()?;
        if head["fathom"] != VERSION {
            return None;
        }
        Some(Content {
            pid: u32::try_from(head["pid"].as_u64()?).ok()?,
            start: head["start"].as_u64(),
            boot: head["boot"].as_str()?.to_owned(),
            root: PathBuf::from(head["root"].as_str()?),
            steps: steps_of(lines),
        })
    }
}

fn steps_of<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Vec<Write>> {
    let mut steps: Vec<Vec<Write>> = Vec::new();
    for line in lines {
        // A line that is cut off is of a step that was not made.
        let Ok(value) = serde_json::from_str::<Value>(line) else { break };
        match value["void"].as_u64() {
            Some(void) => {
                if let Some(step) = usize::try_from(void).ok().and_then(|at| steps.get_mut(at)) {
                    step.clear();
                }
            }
            None => steps.push(value.as_array().into_iter().flatten().filter_map(write_of).collect()),
        }
    }
    steps
}

impl Journal {
    /// Notes how a step is undone. Only then may it be made.
    pub(crate) fn note(&mut self, undo: &[Write]) -> Result<usize, Error> {
        let writes: Vec<Value> = undo.iter().map(value_of).collect();
        let at = self.lines - 1;
        self.line(&Value::Array(writes))
            .map_err(|source| Error::Journal { path: self.path.clone(), source })?;
        Ok(at)
    }

    /// Takes back the note of a step that has not happened.
    pub(crate) fn void(&mut self, at: usize) -> Result<(), Error> {
        let text = format!("{}\n", json!({ "void": at }));
        let done = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        done.map_err(|source| Error::Journal { path: self.path.clone(), source })
    }

    /// All is undone.
    pub(crate) fn end(self) -> Result<(), Error> {
        fs::remove_file(&self.path).map_err(|source| Error::Journal { path: self.path.clone(), source })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn line(&mut self, value: &Value) -> io::Result<()> {
        let text = format!("{value}\n");
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()?;
        self.lines += 1;
        Ok(())
    }
}

fn value_of(write: &Write) -> Value {
    let mode = match write.mode {
        Mode::Truncate => ">",
        Mode::Append => ">>",
        Mode::MakeDir => "mkdir",
        Mode::RemoveDir => "rmdir",
    };
    json!([mode, write.file, write.content])
}

fn write_of(value: &Value) -> Option<Write> {
    let mode = match value.get(0)?.as_str()? {
        ">" => Mode::Truncate,
        ">>" => Mode::Append,
        "mkdir" => Mode::MakeDir,
        "rmdir" => Mode::RemoveDir,
        _ => return None,
    };
    let file = value.get(1)?.as_str()?.to_owned();
    // Nothing in a journal reaches out of tracefs.
    if file.starts_with('/') || file.split('/').any(|part| part == "..") {
        return None;
    }
    Some(Write { file, mode, content: value.get(2)?.as_str()?.to_owned() })
}

/// This boot of the machine.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| String::new(), |id| id.trim().to_owned())
}

/// When a process began, in ticks of the clock since boot: the 22nd field of `/proc/PID/stat`.
fn start_of(proc: &Path, pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?;
    // The name is in parentheses and may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
