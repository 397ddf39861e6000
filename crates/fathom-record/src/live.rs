//! Telling those who read a recording while it is made how far they may.

use crate::clock::TraceClock;
use crate::drain::Drainer;
use crate::finish::debug_of;
use crate::{Error, Options};
use fathom_store::Info;
use fathom_symbols::elf::Image;
use fathom_symbols::symfile::ModuleId;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How often what is in the program's buffers is brought to the disk for readers.
const INTERVAL: Duration = Duration::from_millis(50);

/// How long a hook may take from reading the clock to storing its record before that counts as late.
const GRACE: Duration = Duration::from_millis(20);

/// What a recording tells of itself while it is made.
#[derive(Clone, Debug)]
pub enum Progress {
    /// It can be read. Never said where the kernel's tracer takes part: what that
    /// records can be read only when it is complete.
    Begun {
        /// The data directory.
        dir: PathBuf,
        /// What is known of its header.
        info: Box<Info>,
    },
    /// All that happened before this time (ns of the trace clock) is in the directory, but for calls that are recorded
    /// later than they happen: those of a filter by time, and of a thread that was stopped inside of a hook.
    Until(u64),
    /// It is complete, in this directory. Not said by the recorder itself, which returns then.
    Complete(PathBuf),
}

/// The recorder's end.
pub(crate) struct Teller<'o> {
    progress: Option<&'o mpsc::Sender<Progress>>,
    /// Somebody takes the files away and is told nothing.
    taken: bool,
    clock: TraceClock,
    last: Instant,
}

impl<'o> Teller<'o> {
    /// `info` is what is known of the header; none if it can't be read before it is complete.
    pub(crate) fn new(options: &'o Options, info: Option<Info>) -> Teller<'o> {
        let begun = info.map(|info| Progress::Begun { dir: options.dir.clone(), info: Box::new(info) });
        let progress = options.progress.as_ref().zip(begun);
        let progress = progress.and_then(|(progress, begun)| progress.send(begun).ok().map(|()| progress));
        Teller { progress, taken: options.early, clock: options.clock, last: Instant::now() }
    }

    /// Brings what there is to the disk and says so, if somebody wants it and it is time.
    pub(crate) fn tell(&mut self, drainer: &mut Drainer<'_>) -> Result<(), Error> {
        let wanted = self.progress.is_some() || self.taken;
        if !wanted || self.last.elapsed() < INTERVAL {
            return Ok(());
        }
        let until = self.clock.now().saturating_sub(GRACE.as_nanos() as u64);
        drainer.pass()?;
        drainer.pass_open()?;
        self.last = Instant::now();
        self.progress = self.progress.filter(|progress| progress.send(Progress::Until(until)).is_ok());
        Ok(())
    }
}

/// Writes down what the debug information of a module says of values, as the end of a recording does. What cannot be
/// read is left to that.
///
/// # Errors
///
/// Where the directory cannot be written to.
pub fn keep_debug_information(dir: &Path, module: &Path) -> Result<(), Error> {
    let Ok(image) = Image::open(module) else { return Ok(()) };
    let id = ModuleId { path: module.to_string_lossy().into_owned(), build_id: image.build_id() };
    let path = dir.join(fathom_symbols::symfile::file_name(&id, "dbg"));
    let saved = debug_of(id, &image, &image.symbols()).save(dir);
    saved.map(drop).map_err(|error| Error::io("write", &path, std::io::Error::other(error)))
}
