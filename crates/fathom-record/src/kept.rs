//! `--keep-pid`: this process becomes the program, and another one the recorder.
//!
//! The recorder is no child of the program, which may wait for all of its children; so it cannot wait for the program
//! either, and learns of its end by a descriptor of the process.

use crate::{Error, sys};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The program as the recorder sees it, before and after its start.
#[derive(Debug)]
pub(crate) struct Kept {
    pid: Pid,
    process: OwnedFd,
    /// A byte starts the program. Closed when the recorder ends, which the program waits for if it could not start.
    go: File,
    /// Closed when the program runs; else it says why it does not.
    failed: File,
}

/// Makes a recorder of a new process, which returns from here. The process that called becomes the program, once
/// [`Kept::go`] has been called, and does not return.
///
/// # Errors
///
/// Where there can be no new process: then it is the calling process that returns.
pub(crate) fn split(mut command: Command) -> io::Result<Kept> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let (wait_go, go) = pipe()?;
    let (failed, say_failed) = pipe()?;
    let pid = getpid();
    // While this process is certain to be there.
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let between = sys::fork()?;
    if between == 0 {
        match sys::fork() {
            Ok(0) => return Ok(Kept { pid, process, go: go.into(), failed: failed.into() }),
            Ok(_) => sys::exit_now(0),
            Err(_) => sys::exit_now(1),
        }
    }
    drop((go, failed));
    // The recorder is nobody's child that the program could find.
    let status = loop {
        if let Some(waited) = sys::wait(between)? {
            break waited.status;
        }
    };
    if status != 0 {
        return Err(io::Error::other("no process for the recorder"));
    }
    let mut wait_go = File::from(wait_go);
    let mut byte = [0];
    if wait_go.read_exact(&mut byte).is_ok() {
        let error = command.exec();
        let number = error.raw_os_error().unwrap_or(libc::EIO);
        let _ = File::from(say_failed).write_all(&number.to_ne_bytes());
        // The recorder says what happened before the shell says that this process has ended.
        let _ = wait_go.read(&mut byte);
    }
    sys::exit_now(1)
}

impl Kept {
    /// The program's process id.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Starts the program.
    ///
    /// # Errors
    ///
    /// What the kernel says against it.
    pub(crate) fn go(&mut self, program: &Path) -> Result<(), Error> {
        let mut number = [0; 4];
        let started = self.go.write_all(&[1]).and_then(|()| match self.failed.read_exact(&mut number) {
            Ok(()) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(number))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(error),
        });
        started.map_err(|error| Error::io("run", program, error))
    }

    /// Waits until the program has ended. How it ended, where the kernel tells.
    pub(crate) fn wait(&self) -> Option<sys::Waited> {
        // Its end first, then for a moment that its parent takes notice: the kernel tells the status only then.
        self.poll(PollFlags::IN, None);
        self.poll(PollFlags::empty(), Some(Timespec { tv_sec: 0, tv_nsec: 200_000_000 }));
        sys::exit_status(self.process.as_fd()).map(|status| sys::Waited { status, usage: None })
    }

    /// Waits for one of the events, or that there is nothing more to come.
    fn poll(&self, events: PollFlags, limit: Option<Timespec>) {
        let mut fds = [PollFd::new(&self.process, events)];
        while poll(&mut fds, limit.as_ref()) == Err(rustix::io::Errno::INTR) {}
    }
}
