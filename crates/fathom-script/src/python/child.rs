//! The interpreter as a process: its pipes, its end, and how to make it end.

use crate::{Error, Options, Source};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, FdFlags, fcntl_setfd, read, write};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::fmt::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const BRIDGE: &str = include_str!("bridge.py");
/// Gives the bridge a name of its own in tracebacks.
const STARTER: &str = "import sys; exec(compile(sys.argv.pop(1), '<fathom bridge>', 'exec'))";
/// What the pipe of the calls holds, if the system lets us; it works with less.
const PIPE: usize = 1 << 20;
/// No answer of the bridge is longer.
const LONGEST_ANSWER: usize = 1 << 20;
/// How long an interrupted script has for its traceback, before it is told itself and before it is killed.
const PATIENCE: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];

/// See the module.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    /// Ready to be read when the process has ended.
    ended: OwnedFd,
    calls: OwnedFd,
    answers: OwnedFd,
    /// What has come of the next answer.
    received: Vec<u8>,
    interrupted: Arc<AtomicBool>,
    /// Nobody can answer any more.
    closed: bool,
    waited: bool,
}

fn pipe_error(error: Errno) -> Error {
    Error::Pipe(error.into())
}

impl Child {
    /// Starts the interpreter with the bridge.
    pub(super) fn start(source: &Source, options: &Options) -> Result<Child, Error> {
        // The child's ends are inherited, ours are not.
        let (calls_in, calls) = rustix::pipe::pipe().map_err(pipe_error)?;
        let (answers, answers_out) = rustix::pipe::pipe().map_err(pipe_error)?;
        for end in [&calls, &answers] {
            fcntl_setfd(end, FdFlags::CLOEXEC).map_err(pipe_error)?;
            let flags = fcntl_getfl(end).map_err(pipe_error)?;
            fcntl_setfl(end, flags | OFlags::NONBLOCK).map_err(pipe_error)?;
        }
        // A smaller one only makes for more switches between the two.
        let _ = rustix::pipe::fcntl_setpipe_size(&calls, PIPE);
        let is_file = matches!(source, Source::File(_));
        let mut command = Command::new(&options.python);
        command.args(["-c", STARTER, BRIDGE]);
        command.args([calls_in.as_raw_fd().to_string(), answers_out.as_raw_fd().to_string()]);
        command.arg(source.name()).arg(if is_file { "1" } else { "0" });
        let process = command.spawn().map_err(|error| {
            let program = options.python.to_string_lossy().into_owned();
            Error::Interpreter { program, error }
        })?;
        drop((calls_in, answers_out));
        let pid = Pid::from_child(&process);
        let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(pipe_error)?;
        let interrupted = Arc::clone(&options.interrupted);
        Ok(Child {
            process,
            ended,
            calls,
            answers,
            received: Vec::new(),
            interrupted,
            closed: false,
            waited: false,
        })
    }

    /// Sends a message, however long the script takes to make room for it.
    pub(super) fn send(&mut self, kind: u8, payload: &[u8]) -> Result<(), Error> {
        let len = u32::try_from(payload.len())
            .map_err(|_| Error::Script("the script is longer than 4 GiB".to_owned()))?;
        let mut head = [kind, 0, 0, 0, 0];
        head[1..].copy_from_slice(&len.to_ne_bytes());
        self.write(&head)?;
        self.write(payload)
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            match write(&self.calls, bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(Errno::AGAIN) => {
                    if let Some((kind, text)) = self.wait(true)? {
                        return Err(self.failure(kind, &text));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => return Err(self.gone()),
                Err(error) => return Err(pipe_error(error)),
            }
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(self.interrupt());
            }
        }
        Ok(())
    }

    /// Waits for what the script says that it defines.
    pub(super) fn ready(&mut self) -> Result<Vec<u8>, Error> {
        match self.answer()? {
            (b'R', text) => Ok(text),
            (kind, text) => Err(self.failure(kind, &text)),
        }
    }

    /// Waits until it has done all that it was asked for and is ready for the program to run.
    pub(super) fn along(&mut self) -> Result<(), Error> {
        match self.answer()? {
            (b'L', _) => Ok(()),
            (kind, text) => Err(self.failure(kind, &text)),
        }
    }

    /// Whether it has said or done something that it was not asked for: failed or ended.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        if let Some((kind, text)) = self.receive()? {
            return Err(self.failure(kind, &text));
        }
        if self.closed || self.has_ended()?.is_some() {
            return Err(self.gone());
        }
        Ok(())
    }

    /// Waits until the script is done and its interpreter has ended.
    pub(super) fn done(&mut self) -> Result<(), Error> {
        match self.answer()? {
            (b'D', _) => {}
            (kind, text) => return Err(self.failure(kind, &text)),
        }
        while self.has_ended()?.is_none() {
            self.sleep(&[(&self.ended, PollFlags::IN)])?;
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(self.interrupt());
            }
        }
        match self.has_ended()? {
            Some(status) if !status.success() => Err(Error::Script(ending(status, "after its end"))),
            _ => Ok(()),
        }
    }

    /// The next answer, however long it takes.
    fn answer(&mut self) -> Result<(u8, Vec<u8>), Error> {
        loop {
            if let Some(answer) = self.wait(false)? {
                return Ok(answer);
            }
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(self.interrupt());
            }
        }
    }

    /// Waits for an answer, for the end of the process, and if `room` for room in the pipe. The end is an error unless
    /// there is an answer too.
    fn wait(&mut self, room: bool) -> Result<Option<(u8, Vec<u8>)>, Error> {
        let calls = if room { PollFlags::OUT } else { PollFlags::empty() };
        self.sleep(&[(&self.answers, PollFlags::IN), (&self.ended, PollFlags::IN), (&self.calls, calls)])?;
        if let Some(answer) = self.receive()? {
            return Ok(Some(answer));
        }
        if self.closed || self.has_ended()?.is_some() {
            return Err(self.gone());
        }
        Ok(None)
    }

    fn sleep(&self, ends: &[(&OwnedFd, PollFlags)]) -> Result<(), Error> {
        let mut fds: Vec<_> = ends
            .iter()
            .filter(|(_, flags)| !flags.is_empty())
            .map(|(fd, flags)| PollFd::new(fd, *flags))
            .collect();
        // A signal may come between the look at the flag and here.
        let limit = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(pipe_error(error)),
        }
    }

    /// An answer if a whole one has come.
    fn receive(&mut self) -> Result<Option<(u8, Vec<u8>)>, Error> {
        let mut piece = [0; 4096];
        loop {
            if let Some((head, rest)) = self.received.split_first_chunk::<5>() {
                let len = u32::from_ne_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if len > LONGEST_ANSWER {
                    return Err(Error::Script(
                        "the script has written into a pipe of the interpreter".to_owned(),
                    ));
                }
                if rest.len() >= len {
                    let kind = head[0];
                    let text = rest.get(..len).unwrap_or_default().to_vec();
                    self.received.drain(..5 + len);
                    return Ok(Some((kind, text)));
                }
            }
            match read(&self.answers, &mut piece) {
                Ok(0) => {
                    self.closed = true;
                    return Ok(None);
                }
                Err(Errno::AGAIN) => return Ok(None),
                Ok(count) => self.received.extend(piece.iter().take(count)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(pipe_error(error)),
            }
        }
    }

    fn has_ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        let status = self.process.try_wait().map_err(Error::Pipe)?;
        self.waited |= status.is_some();
        Ok(status)
    }

    fn failure(&mut self, kind: u8, text: &[u8]) -> Error {
        let text = String::from_utf8_lossy(text).into_owned();
        match kind {
            b'X' => Error::Script(text),
            b'I' => Error::Interrupted(text),
            b'P' => Error::Pipe(std::io::ErrorKind::BrokenPipe.into()),
            _ => Error::Script("the interpreter's answer makes no sense".to_owned()),
        }
    }

    /// The interpreter does not read any more: because it has ended, or because the script has closed the pipe.
    fn gone(&mut self) -> Error {
        let begun = Instant::now();
        loop {
            match self.receive() {
                Ok(Some((kind, text))) => return self.failure(kind, &text),
                Ok(None) => {}
                Err(error) => return error,
            }
            match self.has_ended() {
                Ok(Some(status)) => {
                    // What it said last may have come in between.
                    return match self.receive() {
                        Ok(Some((kind, text))) => self.failure(kind, &text),
                        _ => Error::Script(ending(status, "before the end of the recording")),
                    };
                }
                Ok(None) if begun.elapsed() > PATIENCE[1] => {
                    self.kill();
                    return Error::Script(
                        "the script has closed the pipes to its interpreter, which was killed".to_owned(),
                    );
                }
                Ok(None) => {}
                Err(error) => return error,
            }
            if self.sleep(&[(&self.ended, PollFlags::IN)]).is_err() {
                return Error::Script("the interpreter cannot be waited for".to_owned());
            }
        }
    }

    /// Makes the script end. The terminal has told it already, a user of `kill` has not.
    fn interrupt(&mut self) -> Error {
        let begun = Instant::now();
        let mut told = false;
        loop {
            match self.receive() {
                Ok(Some((b'I', text))) => return self.failure(b'I', &text),
                // It may have been done with what was asked just before.
                Ok(_) => {}
                Err(error) => return error,
            }
            if !matches!(self.has_ended(), Ok(None)) {
                return match self.receive() {
                    Ok(Some((b'I', text))) => self.failure(b'I', &text),
                    _ => Error::Interrupted(String::new()),
                };
            }
            if begun.elapsed() > PATIENCE[1] {
                self.kill();
                return Error::Interrupted(" and killed: it went on all the same".to_owned());
            }
            if !told && begun.elapsed() > PATIENCE[0] {
                told = true;
                // It may have ended meanwhile. A script that goes along with a program ignores what is for that.
                for signal in [Signal::INT, Signal::TERM] {
                    let _ = kill_process(Pid::from_child(&self.process), signal);
                }
            }
            let answers = if self.closed { PollFlags::empty() } else { PollFlags::IN };
            if self.sleep(&[(&self.ended, PollFlags::IN), (&self.answers, answers)]).is_err() {
                return Error::Interrupted(String::new());
            }
        }
    }

    fn kill(&mut self) {
        // It may have ended meanwhile.
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.waited = true;
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.waited {
            self.kill();
        }
    }
}

/// The bridge's exit status when it finds its pipes closed.
const PIPES_CLOSED: i32 = 79;

/// How an interpreter ended that should not have yet.
fn ending(status: ExitStatus, when: &str) -> String {
    if status.code() == Some(PIPES_CLOSED) {
        return "the script has closed the pipes to its interpreter".to_owned();
    }
    let mut text = "the script has ended its interpreter ".to_owned();
    // Formatting into a String does not fail.
    let _ = match (status.code(), status.signal()) {
        (Some(code), _) => write!(text, "(exit status {code})"),
        (None, Some(signal)) => write!(text, "(signal {signal})"),
        (None, None) => write!(text, "({status})"),
    };
    text.push(' ');
    text.push_str(when);
    text
}
