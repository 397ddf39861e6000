//! `-S` of commands that record: a script that is called while the program runs.
//!
//! The script reads the recording from the disk, in a thread of its own, as the recorder says how far it may. Nothing of
//! the recorder ever waits for it: a script that is slow has its calls later, one that fails has none any more.

use super::Context;
use super::record::Asked;
use super::script::{begin, failed};
use crate::args::script::Along;
use crate::messages::{Failure, exit};
use fathom_filter::Match;
use fathom_record::Progress;
use fathom_script::{Begin, Error, Feed, Feeding, Options, Script, Source};
use fathom_store::directory::{Directory, Growing, OpenOptions};
use fathom_store::{EventOptions, Features, Info, Trace};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// How long a script may go on after the recording without a word about it.
const SILENCE: Duration = Duration::from_secs(5);

/// A script that goes with a recording.
pub(crate) struct Companion {
    plan: Plan,
    /// None where it can be started only after the recording.
    running: Option<Running>,
}

/// What is to be run.
#[derive(Clone)]
struct Plan {
    source: Source,
    options: Options,
    begin: Begin,
    events: EventOptions,
}

/// A script in its thread.
struct Running {
    progress: Sender<Progress>,
    /// The recording is over: signals are for the script.
    complete: Arc<AtomicBool>,
    interrupted: Arc<AtomicBool>,
    /// What became of it.
    ended: Receiver<Result<Vec<String>, Error>>,
}

impl Companion {
    /// Loads the script that `-S` names, if it does, so that what is wrong with it shows before the program runs.
    pub(crate) fn load(
        along: &Along,
        matching: Match,
        events: EventOptions,
        asked: &Asked<'_>,
        context: &Context,
    ) -> Result<Option<Companion>, Failure> {
        let Some(name) = &along.script else { return Ok(None) };
        let interrupted = Arc::new(AtomicBool::new(false));
        let options = Options { matching, python: along.python.clone(), interrupted };
        let begin = begin(true, asked.program, context);
        let plan = Plan { source: Source::find(name), options, begin, events };
        let mut running = None;
        // With --keep-pid there must be no other thread, and the recorder becomes another process.
        if !asked.recording.tuning.keep_pid && !asked.recording.tuning.nop {
            running = Some(plan.clone().start(context)?);
        }
        Ok(Some(Companion { plan, running }))
    }

    /// Where the recorder says how far it has come.
    pub(crate) fn progress(&self) -> Option<Sender<Progress>> {
        self.running.as_ref().map(|running| running.progress.clone())
    }

    /// Waits until the script has been called for all of the recording, which is complete by now.
    pub(crate) fn finish(self, dir: &Path, context: &Context) -> Result<(), Failure> {
        let Companion { plan, running } = self;
        let source = plan.source.clone();
        let running = match running {
            Some(running) => running,
            None => plan.start(context)?,
        };
        running.complete.store(true, Ordering::Relaxed);
        // Who does not hear it has failed, and says why.
        let _ = running.progress.send(Progress::Complete(dir.to_path_buf()));
        let warnings = running.wait(dir, context).map_err(|error| {
            failed(error, &source).next(format!("the recording in '{}' is complete", dir.display()))
        })?;
        warnings.iter().for_each(|warning| context.log.warn(warning));
        Ok(())
    }
}

impl Plan {
    /// Starts the thread; waits until the script is loaded and begun.
    fn start(self, context: &Context) -> Result<Running, Failure> {
        let (progress, heard) = mpsc::channel();
        let (say_ready, ready) = mpsc::channel();
        let (say_ended, ended) = mpsc::channel();
        let interrupted = Arc::clone(&self.options.interrupted);
        let complete = Arc::new(AtomicBool::new(false));
        listen(&complete, &interrupted)?;
        let source = self.source.clone();
        thread::spawn(move || {
            // Nobody listens any more when the recording could not be made.
            let _ = say_ended.send(self.run(&heard, &say_ready));
        });
        match ready.recv() {
            Ok(notes) => notes.iter().for_each(|note: &String| context.log.warn(note)),
            Err(_) => {
                let why = ended.recv().unwrap_or_else(|_| Err(lost_thread()));
                return Err(failed(why.err().unwrap_or_else(lost_thread), &source));
            }
        }
        Ok(Running { progress, complete, interrupted, ended })
    }

    /// What the thread does. Returns what could not be read.
    fn run(self, heard: &Receiver<Progress>, ready: &Sender<Vec<String>>) -> Result<Vec<String>, Error> {
        let mut script = Script::load(&self.source, &self.options)?;
        script.begin(&self.begin)?;
        script.along()?;
        // It is said by those who wait for it, and they do.
        let _ = ready.send(script.notes().to_vec());
        let mut feeding = Feeding::new(Feed { events: self.events, libcalls: true, args: true });
        let mut following = None;
        while let Some(news) = latest(heard) {
            match news {
                Progress::Begun { dir, info } => following = Some(Following::open(dir, *info)?),
                Progress::Until(time) => {
                    if let Some(following) = &mut following {
                        following.advance(time)?;
                        script.feed_part(following.growing.trace(), &mut feeding)?;
                        script.flush()?;
                    }
                    script.check()?;
                }
                Progress::Complete(dir) => {
                    let warnings = match following {
                        Some(mut following) => {
                            following.advance(u64::MAX)?;
                            script.feed_part(following.growing.trace(), &mut feeding)?;
                            following.growing.trace().warnings()
                        }
                        None => {
                            let trace =
                                Directory::open(&dir, OpenOptions::default()).map_err(Error::Trace)?;
                            script.feed_part(&trace, &mut feeding)?;
                            trace.warnings()
                        }
                    };
                    script.end()?;
                    return Ok(warnings);
                }
            }
        }
        // There is no recording.
        Ok(Vec::new())
    }
}

/// What the recorder has said: of times only the latest. None when it is gone.
fn latest(heard: &Receiver<Progress>) -> Option<Progress> {
    let mut news = heard.recv().ok()?;
    while matches!(news, Progress::Until(_)) {
        match heard.try_recv() {
            Ok(newer) => news = newer,
            Err(_) => break,
        }
    }
    Some(news)
}

/// A recording that is being made.
struct Following {
    dir: PathBuf,
    growing: Growing,
    /// Whether values may be recorded that are described by debug information.
    needs_debug: bool,
    /// Modules whose debug information is there.
    modules: usize,
}

impl Following {
    fn open(dir: PathBuf, info: Info) -> Result<Following, Error> {
        let needs_debug = info.features.has(Features::DEBUG_INFO);
        let growing = Growing::open(&dir, OpenOptions::default(), info).map_err(Error::Trace)?;
        Ok(Following { dir, growing, needs_debug, modules: 0 })
    }

    fn advance(&mut self, until: u64) -> Result<(), Error> {
        self.growing.advance(until).map_err(Error::Trace)?;
        if self.needs_debug {
            for module in self.growing.modules().skip(self.modules) {
                self.modules += 1;
                // The recorder tries it again, and says what is wrong.
                let _ = fathom_record::keep_debug_information(&self.dir, &module);
            }
        }
        Ok(())
    }
}

impl Running {
    /// Waits for its end, and says so if that takes long.
    fn wait(&self, dir: &Path, context: &Context) -> Result<Vec<String>, Error> {
        match self.ended.recv_timeout(SILENCE) {
            Ok(ended) => return ended,
            Err(RecvTimeoutError::Disconnected) => return Err(lost_thread()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let dir = dir.display();
        context.log.note(&format!("the recording in '{dir}' is complete; the script goes on, ^C ends it"));
        self.ended.recv().unwrap_or_else(|_| Err(lost_thread()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Without a recording the script ends, too, whatever it does.
        self.interrupted.store(true, Ordering::Relaxed);
        let (nobody, _) = mpsc::channel();
        self.progress = nobody;
        let _ = self.ended.recv();
    }
}

fn lost_thread() -> Error {
    Error::Script("the thread that called the script has ended".to_owned())
}

/// Interrupts the script when a signal comes after the recording. Before that they are for the program and the recorder.
fn listen(complete: &Arc<AtomicBool>, interrupted: &Arc<AtomicBool>) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Failure::new(exit::TROUBLE, "preparing for signals", error))?;
    let (complete, interrupted) = (Arc::clone(complete), Arc::clone(interrupted));
    thread::spawn(move || {
        for _ in signals.forever() {
            if complete.load(Ordering::Relaxed) {
                interrupted.store(true, Ordering::Relaxed);
            }
        }
    });
    Ok(())
}
