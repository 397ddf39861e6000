//! The recorder's end.

use crate::AgentChange;
use crate::message::{Message, MessageError, Setting};
use crate::place::socket_path;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a client may be silent, and how long it may take in all.
const PATIENCE: Duration = Duration::from_secs(3);
const ALL_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether to stop.
const BREATH: Duration = Duration::from_millis(100);
/// Most settings of one change.
const MOST: usize = 1024;

const EPERM: i32 = rustix::io::Errno::PERM.raw_os_error();
const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();
const EMSGSIZE: i32 = rustix::io::Errno::MSGSIZE.raw_os_error();
const EPROTO: i32 = rustix::io::Errno::PROTO.raw_os_error();
const EOPNOTSUPP: i32 = rustix::io::Errno::OPNOTSUPP.raw_os_error();

/// A socket that clients can connect to. The file is removed with it.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of the file.
    file: (u64, u64),
}

impl Listener {
    /// Makes the socket of a traced process in a directory, which is made too: [`DIR`](crate::DIR), outside of tests.
    ///
    /// # Errors
    ///
    /// Where the directory is none of the kind or the socket cannot be made in it.
    pub fn bind(dir: &Path, pid: i32) -> io::Result<Listener> {
        make_directory(dir)?;
        let path = socket_path(dir, pid);
        let socket = match UnixListener::bind(&path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(&path)?;
                UnixListener::bind(&path)?
            }
            other => other?,
        };
        // Others are refused in any case; so they are not even let in.
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        socket.set_nonblocking(true)?;
        let file = fs::symlink_metadata(&path)?;
        Ok(Listener { socket, path, file: (file.dev(), file.ino()) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves clients, one after the other, until `stop` is set. `apply` is handed each complete change, and says with
    /// an errno value why it cannot be made.
    ///
    /// # Errors
    ///
    /// Where nothing can be accepted any more. Clients that misbehave are no error.
    pub fn run(
        &self,
        stop: &AtomicBool,
        mut apply: impl FnMut(AgentChange) -> Result<(), i32>,
    ) -> io::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let breath = Timespec { tv_sec: 0, tv_nsec: BREATH.as_nanos() as i64 };
            let ready = poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&breath));
            match ready {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match self.socket.accept() {
                Ok((client, _)) => {
                    let _ = self.attend(client, &mut apply);
                }
                // It went away again, or there are too many files open just now.
                Err(_) => std::thread::sleep(BREATH),
            }
        }
        Ok(())
    }

    fn attend(
        &self,
        client: UnixStream,
        apply: &mut impl FnMut(AgentChange) -> Result<(), i32>,
    ) -> Result<(), MessageError> {
        client.set_nonblocking(false)?;
        let mut client = Patient { client, until: Instant::now() + ALL_PATIENCE };
        let user = socket_peercred(&client.client).map_err(io::Error::from)?.uid;
        if !user.is_root() && user != rustix::process::geteuid() {
            Message::Error(EPERM).write(&mut client)?;
            return Ok(());
        }
        serve(&mut client, apply)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Somebody may have put another one there.
        if fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A client that is given so much time and no more.
struct Patient {
    client: UnixStream,
    until: Instant,
}

impl Patient {
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now()).min(PATIENCE);
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.client.set_read_timeout(Some(self.left()?))?;
        self.client.read(buffer)
    }
}

impl Write for Patient {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.client.set_write_timeout(Some(self.left()?))?;
        self.client.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.client.flush()
    }
}

/// Serves one client to its end.
///
/// A change is made when the client says that it is complete. Without that, as when the client dies in the middle,
/// nothing changes.
///
/// # Errors
///
/// When the client does not keep to the protocol.
pub fn serve(
    client: &mut (impl Read + Write),
    apply: &mut impl FnMut(AgentChange) -> Result<(), i32>,
) -> Result<(), MessageError> {
    let mut change = AgentChange::default();
    let mut settings = 0;
    // Part of it was refused, so the rest is not what the user wants.
    let mut refused = None;
    loop {
        let answer = match Message::read(client) {
            Ok(Message::Query) => Message::Ok(Some(Setting::ALL)),
            Ok(Message::Set(_)) if settings >= MOST => Message::Error(EMSGSIZE),
            Ok(Message::Set(setting)) => {
                settings += 1;
                change.set(setting);
                Message::Ok(None)
            }
            Ok(Message::Close) => {
                let done = match refused {
                    Some(errno) => Err(errno),
                    None if change.is_empty() => Ok(()),
                    None => apply(change),
                };
                // A client of uftrace does not wait for this answer.
                let _ = done.map_or_else(Message::Error, |()| Message::Ok(None)).write(client);
                return Ok(());
            }
            Ok(Message::Ok(_) | Message::Error(_)) => Message::Error(EINVAL),
            Err(MessageError::Type(_)) => Message::Error(EOPNOTSUPP),
            Err(MessageError::Body(_)) => Message::Error(EINVAL),
            Err(error @ (MessageError::Magic | MessageError::TooLong(_))) => {
                let errno = if matches!(error, MessageError::Magic) { EPROTO } else { EMSGSIZE };
                let _ = Message::Error(errno).write(client);
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        if let Message::Error(errno) = answer {
            refused = Some(errno);
        }
        answer.write(client)?;
    }
}

/// Everybody may have sockets there, and nobody remove those of others, as in `/tmp`.
fn make_directory(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o777).create(dir) {
        // The umask has had its part.
        Ok(()) => fs::set_permissions(dir, Permissions::from_mode(0o1777)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Through a link the socket would be who knows where.
            if fs::symlink_metadata(dir)?.is_dir() {
                return Ok(());
            }
            Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is not a directory", dir.display())))
        }
        Err(error) => Err(error),
    }
}

/// Removes a socket that nobody listens on any more.
fn remove_stale(path: &Path) -> io::Result<()> {
    let file = fs::symlink_metadata(path)?;
    if !file.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // A socket of somebody else, or of another recorder.
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}
