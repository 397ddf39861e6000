//! The user's end.

use crate::AgentChange;
use crate::message::{Message, MessageError, Setting};
use crate::place::socket_path;
use rustix::net::sockopt::socket_peercred;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("cannot connect to socket '{}': {why}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// Somebody listens who is neither the user, nor whose process it is, nor root.
    #[error("the socket '{}' belongs to the user {user}", path.display())]
    Impostor {
        /// The socket.
        path: PathBuf,
        /// Who listens.
        user: u32,
    },
    /// The agent does not know everything that is to be changed; nothing is.
    #[error("option not supported by the agent: {bits:#x} ({options})")]
    Unsupported {
        /// The options that it does not know.
        bits: u32,
        /// The same in words.
        options: String,
    },
    /// The agent does not take a setting; nothing is changed.
    #[error("the agent refuses {option}: {why}")]
    Refused {
        /// Which one, or the change as a whole.
        option: &'static str,
        /// Why.
        why: io::Error,
    },
    /// It does not speak as it should.
    #[error("no proper answer from the agent: {0}")]
    Protocol(#[from] MessageError),
    /// An answer that does not fit.
    #[error("no proper answer from the agent: {0:?}")]
    Answer(Message),
}

/// Changes the recording of a process.
///
/// # Errors
///
/// See [`ClientError`]. Nothing is changed then, unless the connection broke after all was said.
pub fn send(dir: &Path, pid: i32, change: &AgentChange) -> Result<(), ClientError> {
    let path = socket_path(dir, pid);
    let connect = |why| ClientError::Connect { path: path.clone(), why };
    let mut agent = UnixStream::connect(&path).map_err(connect)?;
    agent.set_read_timeout(Some(PATIENCE)).map_err(connect)?;
    agent.set_write_timeout(Some(PATIENCE)).map_err(connect)?;
    let user = socket_peercred(&agent).map_err(|error| connect(error.into()))?.uid;
    let owner = std::fs::metadata(format!("/proc/{pid}")).map(|process| process.uid());
    let known =
        user.is_root() || user == rustix::process::geteuid() || owner.is_ok_and(|uid| uid == user.as_raw());
    if !known {
        return Err(ClientError::Impostor { path, user: user.as_raw() });
    }
    talk(&mut agent, change)
}

/// Says what is to be changed.
///
/// # Errors
///
/// As of [`send`].
pub fn talk(agent: &mut (impl Read + Write), change: &AgentChange) -> Result<(), ClientError> {
    let known = match ask(agent, &Message::Query)? {
        Message::Ok(Some(bits)) => bits,
        Message::Error(errno) => return Err(refused("to be asked", errno)),
        other => return Err(ClientError::Answer(other)),
    };
    let settings = change.settings();
    let unknown: Vec<&Setting> = settings.iter().filter(|setting| setting.bit() & !known != 0).collect();
    if !unknown.is_empty() {
        let bits = unknown.iter().fold(0, |bits, setting| bits | setting.bit());
        let mut options: Vec<_> = unknown.iter().map(|setting| setting.option()).collect();
        options.dedup();
        return Err(ClientError::Unsupported { bits, options: options.join(", ") });
    }
    for setting in settings {
        let option = setting.option();
        let message = Message::Set(setting);
        if message.is_too_long() {
            return Err(refused(option, rustix::io::Errno::MSGSIZE.raw_os_error()));
        }
        match ask(agent, &message)? {
            Message::Ok(_) => {}
            Message::Error(errno) => return Err(refused(option, errno)),
            other => return Err(ClientError::Answer(other)),
        }
    }
    match ask(agent, &Message::Close) {
        Ok(Message::Ok(_)) => Ok(()),
        Ok(Message::Error(errno)) => Err(refused("the change", errno)),
        Ok(other) => Err(ClientError::Answer(other)),
        // The agent of uftrace goes without a word.
        Err(MessageError::Closed) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn ask(agent: &mut (impl Read + Write), question: &Message) -> Result<Message, MessageError> {
    question.write(agent)?;
    Message::read(agent)
}

fn refused(option: &'static str, errno: i32) -> ClientError {
    ClientError::Refused { option, why: io::Error::from_raw_os_error(errno) }
}
