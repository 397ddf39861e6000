//! One recording, from the program's start to the finished trace.

use crate::agent;
use crate::arena::{Arena, Sizes};
use crate::clock::{Clock, Source};
use crate::drain::Drainer;
use crate::finish::{self, Header, Said};
use crate::kernel::{self, Finished, Prepared, Running};
use crate::live::Teller;
use crate::patterns::Patterns;
use crate::perf::{self, Rings};
use crate::plan::Planner;
use crate::recover::Journal;
use crate::rules::Selector;
use crate::sessions::{Answers, Sessions};
use crate::start::{self, Started, Target};
use crate::{
    Error, Options, Outcome, PatchSpec, Status, check, host, kernel_names, patches, runtime_file, sys,
};
use fathom_abi::arena::{self, CLOCK_MONOTONIC, CLOCK_TSC};
use fathom_agent::Listener;
use fathom_filter::Match;
use fathom_store::Features;
use fathom_store::writer::DirectoryWriter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// How long the drain sleeps when there is nothing to do, at least and at most.
const IDLE: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(4));

/// The exit status in the header of a recording that a `finish` trigger has ended.
const FINISHED: i32 = 65536;

/// With this in the environment the time stamp counter is not used, as where it is not reliable: to try that path.
const NO_TSC: &str = "FATHOM_NO_TSC";

/// Runs a program and records it.
///
/// # Errors
///
/// Where nothing was recorded, and where the trace could not be written. A program that fails is no error: see
/// [`Outcome::status`].
pub fn record(options: &Options) -> Result<Outcome, Error> {
    let exe = check::check(options)?;
    let exe = exe.canonicalize().unwrap_or(exe);
    let exe_name = exe.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let said = Said::of(options);
    let mut selection = options.selection.clone();
    selection.changeable |= options.agent;
    selection.specs = selection.specs.user();
    let selector = Selector::new(selection, options.matching)?;
    let of_program = |spec: &&PatchSpec| kernel_names::of_kernel(&spec.pattern).is_none();
    let patch: Vec<PatchSpec> = options.patch.iter().filter(of_program).cloned().collect();
    let patterns = Patterns::new(&patch, options.matching, &exe_name)?;
    let runtime = match &options.runtime {
        Some(path) => path.canonicalize().map_err(|e| Error::io("open", path, e))?,
        None => runtime_file::install()?,
    };
    let tsc = host::tsc_is_usable() && std::env::var_os(NO_TSC).is_none();
    let sizes = sizes(options);
    let writer = DirectoryWriter::create(&options.dir, &options.reading_options)?;
    let clock = if tsc { CLOCK_TSC } else { CLOCK_MONOTONIC };
    let arena = Arena::create(&places(), sizes, clock).map_err(|e| Error::io("make", "shared memory", e))?;
    let journal = Journal::create(writer.path(), arena.dir(), &runtime, options, &said)?;
    let source = Source { tsc, clock: options.clock };
    let clock = Mutex::new(Clock::start(source, journal.clock()?));
    let mut planner = Planner::new(options.libcalls, patterns, selector);
    planner.keep(options.plan_cache.as_deref());
    let mut sessions = Sessions::new(&arena, &clock, &writer, planner, runtime.clone());
    // Functions without a symbol get their names at the end.
    let early = (options.early && options.patch.is_empty())
        .then(|| finish::Early::new(&writer, &mut sessions, &said));
    let drainer = Drainer::new(&arena, &clock, &writer);

    let stop = Signals::install()?;
    let started = Instant::now();
    let wanted = kernel::is_wanted(options).then(|| Prepared::new(options));
    if let Some(Ok(prepared)) = &wanted {
        prepared.write_files(&writer)?;
    }
    let started_all = start::start(options, &runtime, arena.dir(), &journal, wanted);
    let Started { target, rings, kernel } = match started_all {
        Ok(started) => started,
        Err(error) => {
            arena.remove();
            journal.remove();
            return Err(error);
        }
    };
    let (rings, refused) = match rings {
        Ok(rings) => (rings, None),
        Err(error) => (Rings::default(), Some(perf::refused(&error))),
    };
    rings.begin(&writer)?;
    let (mut kernel, no_kernel) = match kernel {
        Some(Ok(running)) => (Some(running), None),
        Some(Err(why)) => (None, Some(format!("nothing of the kernel is recorded: {why}"))),
        None => (None, None),
    };
    if no_kernel.is_some() {
        kernel::remove_files(&writer);
    }
    let has_events = !rings.is_empty();
    let drainer = drainer.with_events(rings);
    let mut known = said.to_info();
    if has_events {
        known.features |= Features::PERF_EVENT;
    }
    if kernel.is_some() {
        known.features |= Features::KERNEL;
    }
    if options.early {
        writer.info(&known)?;
    }
    let teller = Teller::new(options, (kernel.is_none() && !options.keep_pid).then_some(known));
    let (listener, deaf) = listen(options.agent, target.pid());
    // On an error (a full disk) the arena and the journal stay: the next reading command takes up what is in them.
    let agent = listener.as_ref().map(|listener| (listener, options.matching));
    let served = Served { agent, kernel: kernel.as_mut().map(|kernel| (kernel, &writer)), teller, early };
    let ran = supervise(&arena, sessions, drainer, served, target, &stop, options);
    let has_kernel = kernel.is_some();
    let in_kernel = kernel.map_or(Ok(Finished::default()), |kernel| kernel.finish(&writer));
    let mut ran = ran?;
    let in_kernel = in_kernel?;
    ran.losses.kernel = in_kernel.lost;
    let elapsed = started.elapsed();
    drop(listener);
    arena.remove();

    let mut notes = ran.notes(&arena, tsc);
    notes.extend(refused.into_iter().chain(deaf).chain(no_kernel).chain(in_kernel.notes));
    notes.extend(
        ran.priority.as_ref().err().map(|error| format!("no real-time priority for the recorder: {error}")),
    );
    if ran.answers.patched == 0 && ran.answers.sessions > 0 && patch.iter().any(|spec| !spec.unpatch) {
        let unpatched = ran.answers.patches.values().any(|module| !module.unpatched.is_empty());
        let why = match unpatched {
            false => "the patterns match no function",
            true => "no function that the patterns match can be patched",
        };
        notes.push(format!("-P patched nothing: {why}"));
    }
    notes.extend(patches::notes(&ran.answers.patches));
    let report = patches::report(&ran.answers.patches);
    if !report.is_empty() {
        let path = writer.path().join(patches::FILE);
        std::fs::write(&path, &report).map_err(|e| Error::io("write", &path, e))?;
    }
    notes.extend(ran.answers.unmatched.iter().map(|text| format!("{text}: it had no effect")));
    finish::write_symbols(&writer, &ran.answers, said.features.has(Features::DEBUG_INFO), &mut notes)?;
    let header = Header {
        answers: &ran.answers,
        exe: &exe,
        status: match &ran.waited {
            _ if arena.header().finish.load(Ordering::Relaxed) != 0 => FINISHED,
            Some(waited) => waited.status,
            None => -1,
        },
        usage: ran.waited.as_ref().and_then(|w| w.usage.as_ref()).map(finish::usage),
        elapsed: Some(elapsed),
        cmdline: &options.cmdline,
        version: &options.version,
        said: &said,
        perf: has_events,
        kernel: has_kernel,
        clock: options.clock,
    };
    finish::write_info(&writer, &header)?;
    give_to_sudo_user(&writer)?;
    journal.remove();
    if ran.answers.sessions == 0 {
        let reason = "The loader's messages above may tell why; a program that clears its environment or starts \
                      with a loader of its own cannot be traced this way.";
        return Err(Error::NotTraced {
            program: options.program.display().to_string(),
            reason: reason.into(),
        });
    }
    let time = |us: u64| Duration::from_micros(us);
    let usage = header.usage.unwrap_or_default();
    Ok(Outcome {
        status: status(ran.waited.as_ref()),
        elapsed,
        system: time(usage.system_us),
        user: time(usage.user_us),
        losses: ran.losses,
        notes,
        patches: report,
    })
}

fn sizes(options: &Options) -> Sizes {
    let mut sizes = Sizes::default();
    if let Some(size) = options.segment_size {
        let total = u64::from(sizes.segments) * u64::from(sizes.segment);
        sizes.segment = size.clamp(4096, 64 << 20).next_multiple_of(4096) as u32;
        sizes.segments = (total / u64::from(sizes.segment)).max(256) as u32;
    }
    sizes
}

/// Where shared memory can be: memory first, a disk if there is none.
fn places() -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from("/dev/shm")];
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").filter(|d| !d.is_empty()) {
        places.push(dir.into());
    }
    places.push(std::env::temp_dir());
    places
}

/// The socket for who wants to change the recording, or why there is none.
fn listen(wanted: bool, pid: i32) -> (Option<Listener>, Option<String>) {
    let bound = wanted.then(|| Listener::bind(Path::new(fathom_agent::DIR), pid));
    match bound {
        None => (None, None),
        Some(Ok(listener)) => (Some(listener), None),
        Some(Err(error)) => (None, Some(format!("--agent cannot listen in {}: {error}", fathom_agent::DIR))),
    }
}

/// What happened while the program ran.
struct Ran {
    answers: Answers,
    losses: crate::Losses,
    waited: Option<sys::Waited>,
    /// Whether the recorder got the priority that it was to have.
    priority: std::io::Result<()>,
}

pub(crate) fn status(waited: Option<&sys::Waited>) -> Status {
    match waited.map(|w| w.status) {
        None => Status::Stopped,
        Some(status) if libc::WIFSIGNALED(status) => Status::Signaled(libc::WTERMSIG(status)),
        Some(status) => Status::Exited(libc::WEXITSTATUS(status)),
    }
}

/// What the runtime says about hooks that could not be set.
fn why(causes: u32) -> String {
    let causes: Vec<&str> = [
        (arena::CAUSE_MEMORY, "there was no memory for them near the code"),
        (arena::CAUSE_PAGES, "pages of code could not be made writable"),
        (arena::CAUSE_BYTES, "other code was there than in the file"),
        (arena::CAUSE_FUNCTION, "a library function was not found"),
        (arena::CAUSE_TEXT, "code was not where it should be"),
    ]
    .into_iter()
    .filter(|(cause, _)| causes & cause != 0)
    .map(|(_, text)| text)
    .collect();
    if causes.is_empty() { String::new() } else { format!(": {}", causes.join(", ")) }
}

impl Ran {
    fn notes(&self, arena: &Arena, tsc: bool) -> Vec<String> {
        let mut notes = self.answers.notes.clone();
        let mut note = |count: u64, text: &str| {
            if count > 0 {
                notes.push(text.replace("{}", &count.to_string()));
            }
        };
        note(
            u64::from(self.answers.ambiguous),
            "{} library functions are not hooked: the program uses their addresses as data too",
        );
        let sessions = || (0..arena.sessions()).map(|i| arena.session(i));
        let failed: u32 = sessions().map(|session| session.failed.load(Ordering::Relaxed)).sum();
        let causes = sessions().fold(0, |all, session| all | session.causes.load(Ordering::Relaxed));
        note(u64::from(failed), &format!("{{}} hooks could not be set in the program{}", why(causes)));
        let h = arena.header();
        note(
            u64::from(h.no_values.load(Ordering::Relaxed)),
            "{} calls were recorded without their arguments or return values: they are too large for a record",
        );
        note(
            u64::from(self.answers.core_probes),
            "{} probes of the C library are not recorded: it runs code with all signals blocked, and probes need SIGILL",
        );
        if h.no_probes.load(Ordering::Relaxed) != 0 {
            notes.push(
                "the program handles SIGILL itself: static probes were switched off at that moment".into(),
            );
        }
        if h.no_counters.load(Ordering::Relaxed) != 0 {
            notes.push(
                "the processor's counters cannot be read here: read=pmu-cycle, pmu-cache and pmu-branch show 0"
                    .into(),
            );
        }
        if !tsc {
            notes.push("the processor's time stamp counter is not reliable here: each time was read by a system call".into());
        }
        notes
    }
}

/// What is served besides the program's own records.
struct Served<'a> {
    agent: Option<(&'a Listener, Match)>,
    /// With where its pages go.
    kernel: Option<(&'a mut Running, &'a DirectoryWriter)>,
    /// Whoever reads along.
    teller: Teller<'a>,
    /// Symbols, where they are wanted before the end.
    early: Option<finish::Early<'a>>,
}

/// Serves the program until all that came of it has ended, or until the user has had enough.
fn supervise(
    arena: &Arena,
    mut sessions: Sessions<'_>,
    mut drainer: Drainer<'_>,
    Served { agent, kernel, mut teller, early }: Served<'_>,
    target: Target,
    stop: &Signals,
    options: &Options,
) -> Result<Ran, Error> {
    let done = &AtomicBool::new(false);
    let (send, ended) = mpsc::channel();
    // Blocks until the child has ended, however long that takes; not joined when the user stops first.
    thread::spawn(move || {
        let _ = send.send(target.wait());
    });
    // The program runs already and keeps its own.
    let priority = options.priority.map_or(Ok(()), |priority| sys::set_priority(Some(priority)));
    let ran: Result<_, Error> = thread::scope(|scope| {
        scope.spawn(|| beat(arena, done));
        let in_kernel = kernel.map(|(kernel, writer)| {
            scope.spawn(move || {
                let _all = EndsAll(done);
                kernel.read(writer, done)
            })
        });
        if let Some(early) = early {
            scope.spawn(move || early.write(done));
        }
        let mut changes = agent.map(|(listener, matching)| {
            let (intake, changes) = agent::changes(matching);
            scope.spawn(move || intake.listen(listener, done));
            changes
        });
        let answering = scope.spawn(move || {
            let _all = EndsAll(done);
            let mut seen = 0;
            let mut result = Ok(());
            while result.is_ok() && !done.load(Ordering::Relaxed) {
                result = sessions.serve(&mut seen);
                if let Some(changes) = &mut changes {
                    changes.make(&mut sessions);
                }
            }
            let result = result.and_then(|()| sessions.answer_all());
            result.map(|()| sessions.into_answers())
        });
        let drained = caught("took the program's records", || {
            drain_until_end(arena, &mut drainer, &mut teller, &ended, stop, done, options.verbose)
        });
        done.store(true, Ordering::Relaxed);
        let answered = joined("answered the program's processes", answering);
        // Sessions that were announced last may have held tasks back. After a fault nothing is known of what is there.
        let rest = match &drained {
            Err(Error::Panicked { .. }) => Ok(()),
            _ => caught("took the program's last records", || drainer.finish()),
        };
        let in_kernel = in_kernel.map_or(Ok(()), |reader| joined("took the kernel's records", reader));
        let waited = drained?;
        in_kernel?;
        let answers = answered?;
        rest?;
        Ok((answers, drainer.losses(), waited))
    });
    if options.priority.is_some() && priority.is_ok() {
        // What is left to do is not urgent.
        let _ = sys::set_priority(None);
    }
    let (answers, losses, waited) = ran?;
    Ok(Ran { answers, losses, waited, priority })
}

/// Ends the other threads of a recording when its own panics: one alone would wait for ever.
struct EndsAll<'d>(&'d AtomicBool);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// A panic as an error. What was being changed then must not be used any more.
fn caught<T>(doing: &'static str, what: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(|panic| Err(Error::panicked(doing, &*panic)))
}

fn joined<T>(doing: &'static str, thread: ScopedJoinHandle<'_, Result<T, Error>>) -> Result<T, Error> {
    thread.join().unwrap_or_else(|panic| Err(Error::panicked(doing, &*panic)))
}

/// Shows the program that its recorder lives.
fn beat(arena: &Arena, done: &AtomicBool) {
    let h = arena.header();
    while !done.load(Ordering::Relaxed) {
        h.heartbeat.0.fetch_add(1, Ordering::Relaxed);
        // A target that saw us stopped (a debugger, a suspended terminal) may count on us again.
        h.recorder_gone.store(0, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(5));
    }
    h.recorder_gone.store(1, Ordering::Relaxed);
}

fn drain_until_end(
    arena: &Arena,
    drainer: &mut Drainer<'_>,
    teller: &mut Teller<'_>,
    ended: &mpsc::Receiver<Option<sys::Waited>>,
    stop: &Signals,
    done: &AtomicBool,
    verbose: u8,
) -> Result<Option<sys::Waited>, Error> {
    let mut pause = IDLE.0;
    let mut waited = None;
    let mut child_gone = false;
    let mut waiting_since: Option<Instant> = None;
    loop {
        #[cfg(test)]
        tests::fail_if_wanted();
        let worked = drainer.pass()?;
        teller.tell(drainer)?;
        if !child_gone && let Ok(status) = ended.try_recv() {
            (waited, child_gone) = (status, true);
            drainer.check_soon();
            continue;
        }
        if child_gone && drainer.is_idle() {
            return Ok(waited);
        }
        if stop.requested()
            || done.load(Ordering::Relaxed)
            || arena.header().finish.load(Ordering::Acquire) != 0
        {
            return Ok(waited);
        }
        if child_gone && drainer.live() > 0 {
            let since = *waiting_since.get_or_insert_with(Instant::now);
            if verbose > 0 && since.elapsed() > Duration::from_secs(1) {
                eprintln!(
                    "fathom: the program has ended, {} of its threads go on; ^C ends the recording",
                    drainer.live()
                );
                waiting_since = Some(Instant::now() + Duration::from_secs(3600));
            }
        }
        let pressed = arena.header().pressure.load(Ordering::Relaxed) != 0;
        pause = if worked || pressed { IDLE.0 } else { (pause * 2).min(IDLE.1) };
        if !worked {
            thread::sleep(pause);
        }
    }
}

/// SIGINT and SIGTERM. The first SIGINT goes to the program too (it is in the same terminal) and is its business;
/// a second one, or SIGTERM, ends the recording.
pub(crate) struct Signals {
    terminate: Arc<AtomicBool>,
    interrupts: Arc<std::sync::atomic::AtomicUsize>,
    hooks: Vec<signal_hook::SigId>,
}

impl Signals {
    pub(crate) fn install() -> Result<Signals, Error> {
        let terminate = Arc::new(AtomicBool::new(false));
        let interrupts = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let io = |e| Error::io("handle", "signals", e);
        let mut hooks = vec![signal_hook::flag::register(libc::SIGTERM, Arc::clone(&terminate)).map_err(io)?];
        let count = Arc::clone(&interrupts);
        hooks.push(
            sys::on_signal(libc::SIGINT, move || {
                count.fetch_add(1, Ordering::Relaxed);
            })
            .map_err(io)?,
        );
        Ok(Signals { terminate, interrupts, hooks })
    }

    pub(crate) fn requested(&self) -> bool {
        self.terminate.load(Ordering::Relaxed) || self.interrupts.load(Ordering::Relaxed) > 1
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for &hook in &self.hooks {
            signal_hook::low_level::unregister(hook);
        }
    }
}

/// Under sudo the trace belongs to the user.
fn give_to_sudo_user(writer: &DirectoryWriter) -> Result<(), Error> {
    if rustix::process::geteuid().as_raw() != 0 {
        return Ok(());
    }
    let id = |name| std::env::var(name).ok().and_then(|v| v.parse::<u32>().ok());
    if let (Some(uid), Some(gid)) = (id("SUDO_UID"), id("SUDO_GID")) {
        writer.give_to(uid, gid)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static FAIL: Cell<bool> = const { Cell::new(false) };
    }

    /// A fault of the recorder, for the test below.
    pub(super) fn fail_if_wanted() {
        assert!(!FAIL.get(), "a fault on purpose");
    }

    #[test]
    fn a_fault_of_the_recorder_ends_the_recording_and_not_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        let script = format!("sleep 1; echo lives > {}", mark.display());
        let options = Options {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            dir: dir.path().join("trace"),
            force: true,
            randomize: true,
            ..Options::default()
        };
        let (send, ended) = mpsc::channel();
        thread::spawn(move || {
            FAIL.set(true);
            let _ = send.send(record(&options).map(|outcome| outcome.status));
        });
        let result = ended.recv_timeout(Duration::from_secs(20)).expect("the recorder ends");
        let error = result.expect_err("nothing was recorded").to_string();
        assert!(error.contains("took the program's records: a fault on purpose"), "{error}");
        let started = Instant::now();
        while !mark.exists() && started.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(10));
        }
        assert!(mark.exists(), "the program has not gone on");
        crate::recover(&dir.path().join("trace")).unwrap();
    }
}
