//! The command that is traced: it is there and stopped before its first instruction, so that its id can be written into
//! filters, and is let go when all is set.

use crate::Error;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A command that waits to be let go. Dropped before that, it is killed.
#[derive(Debug)]
pub struct Stopped {
    child: Child,
    pid: Pid,
    running: bool,
}

impl Stopped {
    /// Starts this very program with `gate` as its arguments and the command's words behind them; it is to call
    /// [`stop_and_become`].
    ///
    /// # Errors
    ///
    /// If it cannot be started or does not stop.
    pub fn start(gate: &[&str], words: &[OsString]) -> Result<Stopped, Error> {
        let doing = || {
            format!(
                "starting '{}'",
                words.first().map_or_else(String::new, |w| w.to_string_lossy().into_owned())
            )
        };
        let fail = |source| Error::Io { doing: doing(), source };
        let me = std::env::current_exe().map_err(fail)?;
        let child = Command::new(me).args(gate).args(words).spawn().map_err(fail)?;
        let pid = Pid::from_child(&child);
        let stopped = Stopped { child, pid, running: false };
        loop {
            match waitpid(Some(pid), WaitOptions::UNTRACED) {
                Ok(Some((_, status))) if status.stopped() => return Ok(stopped),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(fail(errno.into())),
                Ok(_) => return Err(fail(io::Error::other("it ended before it began"))),
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it go.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn go(&mut self) -> Result<(), Error> {
        let gone = |errno: rustix::io::Errno| Error::Io {
            doing: "letting the command go".into(),
            source: errno.into(),
        };
        kill_process(self.pid, Signal::CONT).map_err(gone)?;
        self.running = true;
        Ok(())
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    ///
    /// Of waiting.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.child.try_wait().map_err(|source| Error::Io { doing: "waiting for the command".into(), source })
    }

    /// Waits until it ends.
    ///
    /// # Errors
    ///
    /// Of waiting.
    pub fn wait(&mut self) -> Result<ExitStatus, Error> {
        self.child.wait().map_err(|source| Error::Io { doing: "waiting for the command".into(), source })
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid, signal);
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if !self.running {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Stops this process until somebody continues it, and then becomes the command. Comes back only if it cannot.
pub fn stop_and_become(words: &[OsString]) -> io::Error {
    let Some((program, args)) = words.split_first() else {
        return io::Error::other("there is no command");
    };
    // The terminal's own stops (Ctrl-Z) reach the whole group; this one is for this process alone.
    if let Err(errno) = kill_process(getpid(), Signal::STOP) {
        return errno.into();
    }
    Command::new::<&OsStr>(program).args(args).stdin(Stdio::inherit()).exec()
}

/// The exit code that stands for how a command ended: its own, or 128 and the signal's number.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code & 0xff).unwrap_or(1)
}
