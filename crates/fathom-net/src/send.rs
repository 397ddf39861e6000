//! Sends a data directory: while it is being made, or afterwards.

mod plain;
mod resumed;

use crate::{NetError, Result, Token};
use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often is looked what has been recorded.
const PERIOD: Duration = Duration::from_millis(100);
/// Between attempts to connect again, at least and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// An attempt to connect takes no longer.
const CONNECT: Duration = Duration::from_secs(10);
/// A receiver that takes nothing for so long is gone.
const STUCK: Duration = Duration::from_secs(60);
/// How long the sending may go on when the user wants an end.
const LAST: Duration = Duration::from_secs(1);

/// Where to send, and as what.
#[derive(Clone, Debug)]
pub struct Target {
    /// Host and port.
    pub address: String,
    /// Known to both ends; none for uftrace's protocol.
    pub token: Option<Token>,
    /// What the receiver is asked to call the recording.
    pub name: String,
    /// How long to try to connect again once there is nothing more to record. With a token only.
    pub patience: Duration,
    /// Set when the user wants an end.
    pub stop: Arc<AtomicBool>,
}

/// What came of sending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes that the recording has.
    pub bytes: u64,
    /// How often the connection was made again.
    pub reconnected: u64,
}

/// What has been sent of each file.
type Sent = BTreeMap<String, u64>;

/// The connection that there is, so that whoever waits for its other end can be interrupted.
#[derive(Debug, Default)]
struct Line(Mutex<Option<TcpStream>>);

impl Line {
    fn hold(&self, stream: &TcpStream) -> Result<()> {
        let held = stream.try_clone().map_err(NetError::Broken)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        Ok(())
    }

    fn cut(&self) {
        if let Some(stream) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It may be broken already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A connection of either form.
enum Transport {
    Plain(plain::Plain),
    Resumed(Box<resumed::Resumed>),
}

impl Transport {
    /// Connects. What the receiver has already goes into `sent`.
    fn connect(dir: &Path, target: &Target, line: &Line, sent: &mut Sent) -> Result<Transport> {
        let stream = connect(&target.address)?;
        line.hold(&stream)?;
        Ok(match &target.token {
            None => Transport::Plain(plain::Plain::begin(stream, &target.name)?),
            Some(token) => {
                let session = resumed::session(dir)?;
                Transport::Resumed(Box::new(resumed::Resumed::begin(
                    stream,
                    token,
                    session,
                    &target.name,
                    sent,
                )?))
            }
        })
    }

    /// Sends what has been added.
    fn pass(&mut self, dir: &Path, sent: &mut Sent) -> Result<()> {
        match self {
            Transport::Plain(plain) => plain.pass(dir, sent),
            Transport::Resumed(resumed) => resumed.pass(dir, sent),
        }
    }

    /// Sends the rest and waits until the receiver has it.
    fn finish(&mut self, dir: &Path, sent: &mut Sent) -> Result<()> {
        match self {
            Transport::Plain(plain) => plain.finish(dir, sent),
            Transport::Resumed(resumed) => resumed.finish(dir, sent),
        }
    }
}

fn connect(address: &str) -> Result<TcpStream> {
    let failed = |error| NetError::Connect { address: address.to_owned(), error };
    let mut last = std::io::Error::other("there is no such host");
    for place in address.to_socket_addrs().map_err(failed)? {
        match TcpStream::connect_timeout(&place, CONNECT) {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(failed)?;
                stream.set_write_timeout(Some(STUCK)).map_err(failed)?;
                stream.set_read_timeout(Some(STUCK)).map_err(failed)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// Sends a recording that is complete.
///
/// # Errors
///
/// A receiver that is not there or refuses, a connection that breaks (with a token: for longer than the target's
/// patience), a directory that can't be read.
pub fn send(dir: &Path, target: &Target) -> Result<Outcome> {
    let (line, mut sent) = (Line::default(), Sent::new());
    let transport = Transport::connect(dir, target, &line, &mut sent)?;
    follow(dir, target, &line, Some(transport), sent, &AtomicBool::new(true))
}

/// Sends a recording while it is being made.
#[derive(Debug)]
pub struct Sender {
    thread: JoinHandle<Result<Outcome>>,
    /// Hears when the thread has ended.
    ended: Receiver<()>,
    line: Arc<Line>,
    finished: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Sender {
    /// Connects, so that a receiver that is not there is noticed before the program runs; then sends what appears in
    /// `dir`, which need not be there yet.
    ///
    /// # Errors
    ///
    /// A receiver that is not there or refuses.
    pub fn start(dir: &Path, target: Target) -> Result<Sender> {
        let (dir, mut sent) = (dir.to_path_buf(), Sent::new());
        let line = Arc::new(Line::default());
        let token = target.token.clone();
        // The session is kept in the directory, which the recorder is about to make.
        let first = match token {
            None => Some(Transport::connect(&dir, &target, &line, &mut sent)?),
            Some(token) => {
                resumed::greet(connect(&target.address)?, &token)?;
                None
            }
        };
        let finished = Arc::new(AtomicBool::new(false));
        let (done, stop) = (Arc::clone(&finished), Arc::clone(&target.stop));
        let (end, ended) = mpsc::channel();
        let held = Arc::clone(&line);
        let thread = thread::spawn(move || {
            let _end: mpsc::Sender<()> = end;
            follow(&dir, &target, &held, first, sent, &done)
        });
        Ok(Sender { thread, ended, line, finished, stop })
    }

    /// The recording is complete: sends the rest.
    ///
    /// # Errors
    ///
    /// Those of [`send`].
    pub fn finish(self) -> Result<Outcome> {
        self.finished.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.join()
    }

    /// There is nothing to be sent.
    pub fn abandon(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        // Nothing was recorded, so nothing is lost.
        let _ = self.join();
    }

    /// Waits for the end; for a short time only once the user wants it, whatever the other end does.
    fn join(self) -> Result<Outcome> {
        let mut stopping = None;
        while self.ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
            if !self.stop.load(Ordering::Relaxed) {
                continue;
            }
            self.line.cut();
            if stopping.get_or_insert_with(Instant::now).elapsed() > LAST {
                // An attempt to connect cannot be interrupted.
                return Err(NetError::Stopped);
            }
        }
        self.thread.join().unwrap_or(Err(NetError::Stopped))
    }
}

/// Sends what is added to `dir` until `finished`, and then the rest.
fn follow(
    dir: &Path,
    target: &Target,
    line: &Line,
    first: Option<Transport>,
    mut sent: Sent,
    finished: &AtomicBool,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut transport = first;
    let mut connected = transport.is_some();
    // Since when there has been no connection although all is recorded.
    let mut alone: Option<Instant> = None;
    let mut pause = PAUSE.0;
    loop {
        if target.stop.load(Ordering::Relaxed) {
            return Err(NetError::Stopped);
        }
        let last = finished.load(Ordering::Acquire);
        if !last && !dir.join("task.txt").exists() {
            thread::park_timeout(PERIOD);
            continue;
        }
        let mut step = || -> Result<()> {
            let link = match &mut transport {
                Some(link) => link,
                None => {
                    let link = Transport::connect(dir, target, line, &mut sent)?;
                    pause = PAUSE.0;
                    outcome.reconnected += u64::from(std::mem::replace(&mut connected, true));
                    transport.insert(link)
                }
            };
            if last { link.finish(dir, &mut sent) } else { link.pass(dir, &mut sent) }
        };
        match step() {
            Ok(()) if last => {
                outcome.bytes = crate::spool::list(dir)?.iter().map(|entry| entry.size).sum();
                return Ok(outcome);
            }
            Ok(()) => {
                (alone, pause) = (None, PAUSE.0);
                thread::park_timeout(PERIOD);
            }
            Err(_) if target.stop.load(Ordering::Relaxed) => return Err(NetError::Stopped),
            Err(error) if target.token.is_some() && error.is_passing() => {
                transport = None;
                let since = *alone.get_or_insert_with(Instant::now);
                if last && since.elapsed() >= target.patience {
                    return Err(error);
                }
                if !last {
                    alone = None;
                }
                thread::park_timeout(pause);
                pause = (pause * 2).min(PAUSE.1);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Where the number of a session is kept in the directory that is sent.
fn session_file(dir: &Path) -> PathBuf {
    dir.join(".fathom-sending")
}
