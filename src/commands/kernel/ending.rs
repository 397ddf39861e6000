//! When a trace ends: by a signal, by time, or with the command.

use crate::messages::{Failure, exit};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What ends a trace. From when it is made, signals no longer end the program.
#[derive(Debug)]
pub(crate) struct Ending {
    asked: Arc<AtomicBool>,
    /// Readable after a signal, so that a wait for the kernel's buffers ends with it.
    wake: UnixStream,
    until: Option<Instant>,
}

impl Ending {
    pub(crate) fn prepare() -> Result<Ending, Failure> {
        let asked = Arc::new(AtomicBool::new(false));
        let made = || -> io::Result<UnixStream> {
            let (wake, write) = UnixStream::pair()?;
            wake.set_nonblocking(true)?;
            for signal in [SIGINT, SIGTERM, SIGHUP] {
                signal_hook::flag::register(signal, asked.clone())?;
            }
            for signal in [SIGINT, SIGTERM, SIGHUP, SIGCHLD] {
                signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
            }
            Ok(wake)
        };
        let wake = made().map_err(|error| Failure::new(exit::TROUBLE, "preparing for signals", error))?;
        Ok(Ending { asked, wake, until: None })
    }

    /// The time begins to run.
    pub(crate) fn after(&mut self, time: Option<Duration>) {
        self.until = time.and_then(|time| Instant::now().checked_add(time));
    }

    /// Whether the user has asked for the end.
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether the time is over.
    pub(crate) fn over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// How long to wait at most, if it is to be no longer than `most`.
    pub(crate) fn wait(&self, most: Duration) -> Duration {
        self.until.map_or(most, |until| most.min(until.saturating_duration_since(Instant::now())))
    }

    /// What becomes readable with a signal.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Takes what has made it readable.
    pub(crate) fn awake(&mut self) {
        let mut bytes = [0; 64];
        while self.wake.read(&mut bytes).is_ok_and(|count| count > 0) {}
    }
}
