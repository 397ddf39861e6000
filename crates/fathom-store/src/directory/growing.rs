//! A trace that is being recorded, looked at in stretches of time.

use super::dat::{Reached, Stretch};
use super::tasks::Cast;
use super::{Carried, Directory, Files, OpenOptions};
use crate::{Error, Info, Tid};
use rustc_hash::FxHashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A data directory that is being recorded into.
///
/// It shows a stretch of time after the other: [`Growing::advance`] brings the next one, and each record is shown once, by
/// whoever reads the events of all tasks of the [`Growing::trace`] to their ends before the next call. Ids of functions
/// stay the same. A record that comes late, with a time of an earlier stretch, is shown in the next one; those of one task
/// are always in order.
///
/// What the kernel's tracer records is not shown.
#[derive(Debug)]
pub struct Growing {
    directory: Directory,
}

/// The stretch of a trace that is shown.
#[derive(Debug, Default)]
pub(crate) struct Window {
    until: u64,
    /// Where each task's stretch begins.
    places: FxHashMap<Tid, Place>,
    /// How far tasks have been read.
    reached: Mutex<FxHashMap<Tid, Place>>,
}

/// How far the events of a task have been read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// In its own file.
    pub(crate) records: Reached,
    /// Bytes of the file of its probes.
    pub(crate) probes: u64,
    /// Events of processors, of those that there were.
    pub(crate) events: usize,
}

impl Window {
    pub(crate) fn place(&self, tid: Tid) -> Place {
        self.places.get(&tid).copied().unwrap_or_default()
    }

    pub(crate) fn stretch(&self, place: Place) -> Stretch {
        Stretch { from: place.records, until: self.until }
    }

    pub(crate) fn note(&self, tid: Tid, place: Place) {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).insert(tid, place);
    }

    /// Whether a task whose file has this many bytes may have something to show.
    pub(crate) fn has_more(&self, tid: Tid, size: u64) -> bool {
        size > self.place(tid).records.offset
    }
}

impl Growing {
    /// Opens a recording that has just begun, before its header is written: `info` is what is known of it. Shows nothing
    /// yet.
    ///
    /// # Errors
    ///
    /// Those of [`Directory::open`].
    pub fn open(dir: &Path, options: OpenOptions, info: Info) -> Result<Growing, Error> {
        let carried = Carried { window: Some(Window::default()), ..Carried::default() };
        let directory = Directory::put_together(dir, options, info, carried)?;
        Ok(Growing { directory })
    }

    /// Shows what has come, up to `until` (ns, exclusive): records of that time and later must not be missing tasks or
    /// sessions that are older. [`u64::MAX`] when the recording is over.
    ///
    /// # Errors
    ///
    /// Where the directory cannot be read.
    pub fn advance(&mut self, until: u64) -> Result<(), Error> {
        let directory = &mut self.directory;
        let mut window = directory.window.take().unwrap_or_default();
        let reached = std::mem::take(window.reached.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut perf = directory.perf.take().unwrap_or_default();
        for (tid, mut place) in reached {
            perf.forget(tid, place.events);
            place.events = 0;
            window.places.insert(tid, place);
        }
        window.until = until;
        let dir = directory.places.dir.clone();
        let options =
            OpenOptions { demangle: directory.demangle, symbol_dir: directory.places.symbol_dir.clone() };
        let carried = Carried {
            headless: false,
            window: Some(window),
            perf: Some(perf),
            modules: std::mem::take(&mut directory.modules),
            functions: std::mem::take(&mut directory.functions),
            warnings: std::mem::take(&mut directory.warnings),
        };
        let info = std::mem::take(&mut directory.info);
        *directory = Directory::put_together(&dir, options, info, carried)?;
        Ok(())
    }

    /// The stretch that is shown.
    pub fn trace(&self) -> &Directory {
        &self.directory
    }

    /// Paths of all modules that sessions have had so far, in the order met.
    pub fn modules(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.directory.modules.paths().filter(|path| path.starts_with('/')).map(PathBuf::from)
    }
}

/// Adds the tasks that there are records of and no message about, without remarks: the message may be on its way.
pub(crate) fn add_strays(files: &Files, cast: &mut Cast) {
    for tid in files.tasks.keys() {
        if !cast.tasks.contains_key(tid) {
            cast.stray(*tid);
        }
    }
}
