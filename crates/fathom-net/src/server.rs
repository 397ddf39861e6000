//! The receiver: many senders at once, each in a thread of its own.

mod resumed;

use crate::incoming::{Incoming, Root};
use crate::plain::{Connection, Place};
use crate::token::HELLO;
use crate::{Limits, NetError, Result, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a thread that waits looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(200);
/// How long a sender may take until it has said what it sends.
const INTRODUCTION: Duration = Duration::from_secs(10);
/// A sender that takes nothing for so long is gone.
const STUCK: Duration = Duration::from_secs(30);
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// How to receive.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Host and port to listen on.
    pub address: String,
    /// Where directories are made.
    pub dir: PathBuf,
    /// How much is taken.
    pub limits: Limits,
    /// Known to senders; without it uftrace's protocol is spoken, with it only our own.
    pub token: Option<Token>,
}

/// What has happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A sender has begun with a recording.
    Began {
        /// Who.
        peer: SocketAddr,
        /// Where it goes.
        dir: &'a std::path::Path,
    },
    /// A recording is complete.
    Complete {
        /// Who.
        peer: SocketAddr,
        /// Where it is.
        dir: &'a std::path::Path,
        /// Its size.
        bytes: u64,
        /// What was left out.
        notes: &'a [String],
    },
    /// A connection has ended before its recording was complete.
    Ended {
        /// Who.
        peer: SocketAddr,
        /// Where what has come is; none if nothing has.
        dir: Option<&'a std::path::Path>,
        /// Why it cannot be read, if it cannot.
        unreadable: Option<&'a NetError>,
        /// Its size.
        bytes: u64,
        /// Why.
        error: &'a NetError,
    },
}

/// A receiver that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    root: Root,
    options: ServerOptions,
}

type Tell<'e> = &'e (dyn Fn(&Event<'_>) + Sync);

impl Server {
    /// Listens.
    ///
    /// # Errors
    ///
    /// An address that cannot be listened on, a directory that cannot be made.
    pub fn bind(options: ServerOptions) -> Result<Server> {
        let failed = |error| NetError::Listen { address: options.address.clone(), error };
        let places: Vec<_> = options.address.to_socket_addrs().map_err(failed)?.collect();
        let listener = TcpListener::bind(&places[..]).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let root = Root::new(&options.dir, options.limits.size)?;
        Ok(Server { listener, root, options })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Receives until `stop` is set; what is being received then is left as it is, and can be read.
    ///
    /// # Errors
    ///
    /// Those of waiting for connections.
    pub fn run(&self, stop: &AtomicBool, tell: Tell<'_>) -> Result<()> {
        let senders = AtomicUsize::new(0);
        thread::scope(|scope| {
            while !stop.load(Ordering::Relaxed) {
                let limit = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
                // A signal ends the waiting, too.
                let _ = poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], Some(&limit));
                let (stream, peer) = match self.listener.accept() {
                    Ok(accepted) => accepted,
                    Err(error) if is_passing(error.kind()) => continue,
                    Err(error) => {
                        // No descriptors left: others have to end first.
                        let error = NetError::Broken(error);
                        let peer = SocketAddr::from(([0, 0, 0, 0], 0));
                        tell(&Event::Ended { peer, dir: None, unreadable: None, bytes: 0, error: &error });
                        thread::sleep(LOOK);
                        continue;
                    }
                };
                if senders.fetch_add(1, Ordering::Relaxed) >= self.options.limits.senders {
                    senders.fetch_sub(1, Ordering::Relaxed);
                    let limit = self.options.limits.senders as u64;
                    let error = NetError::TooMuch { what: "the number of senders", limit };
                    tell(&Event::Ended { peer, dir: None, unreadable: None, bytes: 0, error: &error });
                    continue;
                }
                let senders = &senders;
                scope.spawn(move || {
                    self.serve(&stream, peer, stop, tell);
                    senders.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Ok(())
    }

    fn serve(&self, stream: &TcpStream, peer: SocketAddr, stop: &AtomicBool, tell: Tell<'_>) {
        let mut input =
            Input { stream, stop, limit: INTRODUCTION, since: Instant::now(), whole: true, current: None };
        let mut incoming = None;
        let served = prepare(stream).and_then(|()| match &self.options.token {
            None => self.plain(&mut input, &mut incoming, peer, tell),
            Some(token) => resumed::serve(self, token, &mut input, &mut incoming, peer, tell),
        });
        match (&served, &mut incoming) {
            (Ok(()), Some(incoming)) => {
                let (dir, bytes) = (incoming.dir.as_path(), incoming.written);
                tell(&Event::Complete { peer, dir, bytes, notes: &incoming.notes });
            }
            (Ok(()), None) => {}
            (Err(error), incoming) => {
                let left =
                    incoming.as_mut().map_or(Ok(()), |incoming| input.alone(|| incoming.make_readable()));
                let (dir, bytes) =
                    incoming.as_ref().map_or((None, 0), |i| (Some(i.dir.as_path()), i.written));
                tell(&Event::Ended { peer, dir, unreadable: left.as_ref().err(), bytes, error });
                // The sender sees a connection that breaks, not one that ends.
                let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
            }
        }
    }

    /// uftrace's protocol.
    fn plain<'s>(
        &'s self,
        input: &mut Input<'_>,
        incoming: &mut Option<Incoming<'s>>,
        peer: SocketAddr,
        tell: Tell<'_>,
    ) -> Result<()> {
        let mut connection = Connection::default();
        let mut buffer = vec![0; CHUNK];
        let mut place = Named { root: &self.root, incoming, peer, tell };
        let mut first = true;
        while !connection.is_complete() {
            let count = input.some(&mut buffer)?;
            let bytes = buffer.get(..count).unwrap_or_default();
            if std::mem::take(&mut first) && HELLO.starts_with(bytes.get(..2).unwrap_or(bytes)) {
                return Err(NetError::Protocol("the sender has a token, and the receiver has none"));
            }
            connection.feed(bytes, &mut place)?;
            if place.incoming.is_some() && input.whole {
                // It is known now; from here on it may take its time.
                input.allow(self.options.limits.idle);
            }
        }
        match incoming {
            Some(incoming) => incoming.complete(),
            None => Err(NetError::Protocol("the recording has no name")),
        }
    }
}

fn prepare(stream: &TcpStream) -> Result<()> {
    let set = || {
        // Some systems hand the listener's mode down.
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(STUCK))?;
        stream.set_nodelay(true)?;
        // A sender whose machine is gone says nothing ever again.
        Ok(rustix::net::sockopt::set_socket_keepalive(stream, true)?)
    };
    set().map_err(NetError::Broken)
}

fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted)
}

/// What comes of a sender, with patience that ends.
struct Input<'s> {
    stream: &'s TcpStream,
    stop: &'s AtomicBool,
    limit: Duration,
    since: Instant,
    /// The limit is for all of it, not for each silence.
    whole: bool,
    /// Whose turn it is, and which is ours: with a token a sender may have connected again.
    current: Option<(Arc<Mutex<u64>>, u64)>,
}

impl Input<'_> {
    /// From now on it is only silence that must not take longer than `limit`.
    fn allow(&mut self, limit: Duration) {
        (self.limit, self.since, self.whole) = (limit, Instant::now(), false);
    }

    /// Whether there is more already.
    fn is_waiting(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(self.stream, PollFlags::IN)], Some(&now)).is_ok_and(|count| count > 0)
    }

    /// Does what may be done only as long as the sender has not connected again.
    fn alone(&self, what: impl FnOnce() -> Result<()>) -> Result<()> {
        let Some((owner, mine)) = &self.current else { return what() };
        let owner = owner.lock().unwrap_or_else(PoisonError::into_inner);
        if *owner == *mine { what() } else { Ok(()) }
    }

    /// Some bytes, at least one.
    fn some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(NetError::Stopped);
            }
            if self.since.elapsed() > self.limit {
                return Err(NetError::Silent { seconds: self.limit.as_secs() });
            }
            if let Some((owner, mine)) = &self.current
                && *owner.lock().unwrap_or_else(PoisonError::into_inner) != *mine
            {
                return Err(NetError::Protocol("the sender has connected again"));
            }
            let mut stream = self.stream;
            match stream.read(buffer) {
                Ok(0) => return Err(NetError::Closed),
                Ok(count) => {
                    if !self.whole {
                        self.since = Instant::now();
                    }
                    return Ok(count);
                }
                Err(error) if is_passing(error.kind()) || error.kind() == ErrorKind::TimedOut => {}
                Err(error) => return Err(NetError::Broken(error)),
            }
        }
    }

    /// So many bytes.
    fn exactly(&mut self, mut buffer: &mut [u8]) -> Result<()> {
        while !buffer.is_empty() {
            let count = self.some(buffer)?;
            buffer = buffer.get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Makes the directory when its name comes.
struct Named<'p, 's> {
    root: &'s Root,
    incoming: &'p mut Option<Incoming<'s>>,
    peer: SocketAddr,
    tell: Tell<'p>,
}

impl<'s> Named<'_, 's> {
    fn place(&mut self) -> Result<&mut Incoming<'s>> {
        self.incoming
            .as_mut()
            .ok_or(NetError::Protocol("the name of the recording has to come first, and once"))
    }
}

impl Place for Named<'_, '_> {
    fn name(&mut self, name: &[u8]) -> Result<()> {
        let incoming = self.incoming.insert(self.root.create(name)?);
        (self.tell)(&Event::Began { peer: self.peer, dir: &incoming.dir });
        Ok(())
    }
    fn create(&mut self, file: &str) -> Result<()> {
        self.place()?.create(file)
    }
    fn append(&mut self, file: &str, bytes: &[u8]) -> Result<()> {
        self.place()?.append(file, bytes)
    }
    fn refused(&mut self, file: &[u8]) {
        if let Some(incoming) = self.incoming {
            incoming.refused(file);
        }
    }
}
