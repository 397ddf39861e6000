//! Starting the program: with the runtime in front of its libraries, as a child or in our place.

use crate::kept::{self, Kept};
use crate::kernel::{Prepared, Running};
use crate::perf::Rings;
use crate::recover::Journal;
use crate::run::{self, Signals};
use crate::{Error, Options, Outcome, check, finish, runtime_file, sys};
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Runs a program with hooks that do nothing, and records nothing.
///
/// # Errors
///
/// Where the program cannot be run.
pub fn run_only(options: &Options) -> Result<Outcome, Error> {
    check::check(options)?;
    let runtime = match &options.runtime {
        Some(path) => path.canonicalize().map_err(|e| Error::io("open", path, e))?,
        None => runtime_file::install()?,
    };
    let stop = Signals::install()?;
    let started = Instant::now();
    // Without a recorder to talk to it leaves its hooks as they are.
    let mut command = command(options, &runtime);
    command.env_remove(fathom_abi::ENV_DIR);
    let child = command.spawn().map_err(|e| Error::io("run", &options.program, e))?;
    let waited = loop {
        match sys::wait(child.id() as i32) {
            Ok(Some(waited)) => break Some(waited),
            Ok(None) if stop.requested() => break None,
            Ok(None) => {}
            Err(_) => break None,
        }
    };
    let usage = waited.as_ref().and_then(|w| w.usage.as_ref()).map(finish::usage).unwrap_or_default();
    Ok(Outcome {
        status: run::status(waited.as_ref()),
        elapsed: started.elapsed(),
        system: Duration::from_micros(usage.system_us),
        user: Duration::from_micros(usage.user_us),
        losses: crate::Losses::default(),
        notes: Vec::new(),
        patches: String::new(),
    })
}

/// The program while it is recorded.
pub(crate) enum Target {
    Child(i32),
    /// It is the process that was started as the recorder.
    Kept(Kept),
}

impl Target {
    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        match self {
            Target::Child(pid) => *pid,
            Target::Kept(kept) => kept.pid(),
        }
    }

    /// Blocks until it has ended; how, if that is known.
    pub(crate) fn wait(&self) -> Option<sys::Waited> {
        if let Target::Kept(kept) = self {
            return kept.wait();
        }
        loop {
            match sys::wait(self.pid()) {
                Ok(Some(waited)) => break Some(waited),
                Ok(None) => {}
                Err(_) => break None,
            }
        }
    }
}

/// The program, and what observes it.
pub(crate) struct Started {
    pub(crate) target: Target,
    /// The scheduler and task events, or the reason why there are none.
    pub(crate) rings: io::Result<Rings>,
    /// The kernel's tracer, or the reason why it does not run; none if it is not wanted.
    pub(crate) kernel: Option<Result<Running, String>>,
}

/// Starts the program.
pub(crate) fn start(
    options: &Options,
    runtime: &Path,
    arena: &Path,
    journal: &Journal,
    kernel: Option<Result<Prepared, String>>,
) -> Result<Started, Error> {
    let failed = |error| Error::io("run", &options.program, error);
    let mut command = command(options, runtime);
    command.env(fathom_abi::ENV_DIR, arena);
    let events = |pid| Rings::open(options.task_events, options.clock, pid);
    if options.keep_pid {
        let mut kept = kept::split(command).map_err(failed)?;
        journal.program(kept.pid())?;
        let rings = events(kept.pid());
        let kernel = kernel.map(|prepared| prepared.and_then(|prepared| prepared.begin(kept.pid())));
        kept.go(&options.program)?;
        return Ok(Started { target: Target::Kept(kept), rings, kernel });
    }
    // A thread of its own, so that nothing else that the recorder starts inherits the events.
    let start = move || {
        let rings = events(0);
        let this = rustix::thread::gettid().as_raw_nonzero().get();
        let kernel = kernel.map(|prepared| prepared.and_then(|prepared| prepared.begin(this)));
        let child = command.spawn()?;
        Ok(Started { target: Target::Child(child.id() as i32), rings, kernel })
    };
    let started = thread::scope(|scope| scope.spawn(start).join());
    started.unwrap_or_else(|_| Err(io::Error::other("no thread to start it"))).map_err(failed)
}

/// The program with the runtime in front of its libraries.
fn command(options: &Options, runtime: &Path) -> Command {
    let mut preload = runtime.as_os_str().to_owned();
    if let Some(old) = std::env::var_os("LD_PRELOAD").filter(|v| !v.is_empty()) {
        preload.push(":");
        preload.push(old);
    }
    let mut command = Command::new(&options.program);
    command.args(&options.args).env("LD_PRELOAD", preload);
    // A shadow stack in hardware would trap on every replaced return address.
    let mut tunables = std::env::var_os("GLIBC_TUNABLES").unwrap_or_default();
    if !tunables.is_empty() {
        tunables.push(":");
    }
    tunables.push("glibc.cpu.hwcaps=-IBT,-SHSTK");
    command.env("GLIBC_TUNABLES", tunables);
    if options.bind_not {
        command.env("LD_BIND_NOT", "1");
    }
    if !options.randomize {
        sys::without_randomization(&mut command);
    }
    command
}
