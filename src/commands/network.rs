//! `recv`, `send`, and `--host` of `record`.

use super::Context;
use crate::args::network::{Recv, Send, Sending};
use crate::args::words;
use crate::data;
use crate::messages::{Failure, exit};
use fathom_net::{Event, Limits, NetError, Outcome, Sender, Server, ServerOptions, Target, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How long a sender with a token tries to connect again when there is nothing more to record.
const PATIENCE: Duration = Duration::from_secs(60);

/// Receives until a signal ends it.
pub(crate) fn receive(args: &Recv, context: &Context) -> Result<u8, Failure> {
    let dir = args.common.data.clone().unwrap_or_else(|| PathBuf::from("."));
    let limits = Limits {
        size: args.max_size,
        senders: args.max_senders.into(),
        idle: Duration::from_secs(args.max_silence.into()),
    };
    let command = command_line(&args.run_cmd, context);
    let options = ServerOptions {
        address: address(&args.host, args.port),
        dir: dir.clone(),
        limits,
        token: token(args.token.as_deref())?,
    };
    let server = Server::bind(options).map_err(|error| {
        let next = match &error {
            NetError::Listen { .. } => "choose another address with --host ADDRESS or --port PORT",
            _ => "choose another directory with -d DIR",
        };
        Failure::new(exit::TROUBLE, "receiving", error).next(next)
    })?;
    let stop = Arc::new(AtomicBool::new(false));
    let failed = |error| Failure::new(exit::TROUBLE, "preparing for signals", error);
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(failed)?;
    }
    let place = server.address().map_err(|error| Failure::new(exit::TROUBLE, "receiving", error))?;
    let whom = match (place.ip().is_loopback(), args.token.is_some()) {
        (true, _) => "for this machine only; --host ADDRESS listens for others",
        (false, true) => "for whoever knows the token",
        (false, false) => "for everybody who reaches it; --token FILE asks who it is",
    };
    context.log.note(&format!("listening on {place}, {whom}; recordings go to '{}'", dir.display()));
    let tell = |event: &Event<'_>| {
        say(event, context);
        if let (Event::Complete { dir: received, .. }, Some((program, rest))) = (event, command.split_first())
        {
            run(program, rest, &dir, received, context);
        }
    };
    server.run(&stop, &tell).map_err(|error| Failure::new(exit::TROUBLE, "receiving", error))?;
    context.log.note("stopped; what has come can be read");
    Ok(exit::SUCCESS)
}

/// The words of `--run-cmd`; the last one counts.
fn command_line(given: &[String], context: &Context) -> Vec<OsString> {
    if given.len() > 1 {
        context.log.warn("intermediate --run-cmd argument is ignored.");
    }
    given.last().map(|text| words::split(text.as_bytes())).unwrap_or_default()
}

fn run(program: &OsString, words: &[OsString], dir: &Path, received: &Path, context: &Context) {
    let mut command = Command::new(program);
    let absolute = received.canonicalize().unwrap_or_else(|_| received.to_path_buf());
    command.args(words).current_dir(dir).env("FATHOM_DIR", absolute).stdin(Stdio::null());
    let name = program.to_string_lossy();
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => context.log.warn(&format!("--run-cmd: '{name}' failed ({status})")),
        Err(error) => context.log.warn(&format!("--run-cmd: cannot run '{name}': {error}")),
    }
}

fn say(event: &Event<'_>, context: &Context) {
    let log = &context.log;
    match event {
        Event::Began { peer, dir } => log.note(&format!("{peer}: receiving into '{}'", dir.display())),
        Event::Complete { peer, dir, bytes, notes } => {
            for note in *notes {
                log.warn(&format!("{peer}: {note}"));
            }
            log.note(&format!("{peer}: '{}' is complete, {bytes} bytes", dir.display()));
        }
        Event::Ended { peer, dir: Some(dir), unreadable, bytes, error } => {
            let dir = dir.display();
            let left = match unreadable {
                None => format!("the {bytes} bytes that came can be read"),
                Some(why) => format!("the {bytes} bytes that came cannot be read: {why}"),
            };
            log.warn(&format!("{peer}: '{dir}' is not complete: {error}; {left}"));
        }
        Event::Ended { peer, dir: None, error, .. } => log.warn(&format!("{peer}: {error}")),
    }
}

/// Sends a recording that is there.
pub(crate) fn send(args: &Send, context: &Context) -> Result<u8, Failure> {
    let dir = data::source(&args.common, context.name)?;
    let name = name(&dir);
    let Some(target) = target(&args.sending, name.trim_end_matches(UNSENT))? else {
        return Err(Failure::because(exit::TROUBLE, "reading the command line", "send needs a receiver")
            .next("name it with --host HOST[:PORT]"));
    };
    if !dir.join("info").is_file() {
        let doing = format!("reading the recording in '{}'", dir.display());
        return Err(Failure::because(exit::UNREADABLE, doing, "there is no complete recording in it"));
    }
    let outcome = fathom_net::send(&dir, &target)
        .map_err(|error| Failure::new(exit::TROUBLE, sending(&dir, &target), error))?;
    context.log.note(&sent(&outcome, &target));
    Ok(exit::SUCCESS)
}

fn sending(dir: &Path, target: &Target) -> String {
    format!("sending '{}' to {}", dir.display(), target.address)
}

fn sent(outcome: &Outcome, target: &Target) -> String {
    let again = match outcome.reconnected {
        0 => String::new(),
        count => format!(", connected again {count} times"),
    };
    format!("sent {} bytes to {} as '{}'{again}", outcome.bytes, target.address, target.name)
}

/// What is put behind the name of a directory that is to be sent and removed.
const UNSENT: &str = ".sending";

/// A recording that is sent instead of being kept.
pub(crate) struct Away {
    /// Where it is until it is sent.
    pub(crate) dir: PathBuf,
    target: Target,
    /// Where the token is.
    token: Option<PathBuf>,
    sender: Option<Sender>,
}

impl Away {
    /// Connects to the receiver if there is to be one. `data` is where the recording would be kept.
    pub(crate) fn start(sending: &Sending, data: &Path, early: bool) -> Result<Option<Away>, Failure> {
        let Some(target) = target(sending, &name(data))? else { return Ok(None) };
        let dir = unsent_place(data);
        let mut away = Away { dir, target, token: sending.token.clone(), sender: None };
        // In a process that is about to become the program no thread would live on.
        if early {
            away.connect()?;
        }
        Ok(Some(away))
    }

    fn connect(&mut self) -> Result<(), Failure> {
        let sender = Sender::start(&self.dir, self.target.clone()).map_err(|error| {
            Failure::new(exit::TROUBLE, "sending the recording", error)
                .next("start `fathom recv` there, or record without --host")
        })?;
        self.sender = Some(sender);
        Ok(())
    }

    /// Whether what describes the calls is sent before the end. In uftrace's protocol it cannot be.
    pub(crate) fn is_early(&self) -> bool {
        self.target.token.is_some()
    }

    /// Nothing was recorded.
    pub(crate) fn abandon(self) {
        if let Some(sender) = self.sender {
            sender.abandon();
        }
    }

    /// Waits until all is sent, and removes it here.
    pub(crate) fn finish(mut self, context: &Context) -> Result<(), Failure> {
        // Ctrl-C ends the sending, not the recording.
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&self.target.stop))
                .map_err(|error| Failure::new(exit::TROUBLE, "preparing for signals", error))?;
        }
        let dir = self.dir.display().to_string();
        let token = self.token.as_deref().map(|file| format!(" --token {}", file.display()));
        let again =
            format!("fathom send -d {dir} --host {}{}", self.target.address, token.unwrap_or_default());
        if self.sender.is_none() {
            let kept = format!("the recording is in '{dir}'; `{again}` sends it");
            self.connect().map_err(|failure| failure.next(kept))?;
        }
        let Some(sender) = self.sender.take() else { return Ok(()) };
        let outcome = sender.finish().map_err(|error| {
            let next = format!("it is kept there; `{again}` sends it");
            Failure::new(exit::TROUBLE, sending(&self.dir, &self.target), error).next(next)
        })?;
        context.log.note(&sent(&outcome, &self.target));
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            context.log.warn(&format!("cannot remove '{}': {error}", self.dir.display()));
        }
        Ok(())
    }
}

/// Beside where it would be kept, and not where something is that was not sent before.
fn unsent_place(data: &Path) -> PathBuf {
    let name = format!("{}{UNSENT}", name(data));
    let mut dir = data.with_file_name(&name);
    let mut number = 1;
    while dir.symlink_metadata().is_ok() {
        number += 1;
        dir = data.with_file_name(format!("{name}.{number}"));
    }
    dir
}

/// The last component of a directory's name.
fn name(dir: &Path) -> String {
    let own = |dir: &Path| dir.file_name().map(|name| name.to_string_lossy().into_owned());
    own(dir).or_else(|| own(&dir.canonicalize().ok()?)).unwrap_or_else(|| "fathom.data".to_owned())
}

fn target(sending: &Sending, name: &str) -> Result<Option<Target>, Failure> {
    let Some(host) = &sending.host else { return Ok(None) };
    Ok(Some(Target {
        address: address(host, sending.port),
        token: token(sending.token.as_deref())?,
        name: name.to_owned(),
        patience: PATIENCE,
        stop: Arc::default(),
    }))
}

/// `host:port` of a host that may have a port already.
fn address(host: &str, port: u16) -> String {
    match host.rsplit_once(':') {
        // A bare address of IPv6 has several colons.
        Some((before, number))
            if number.parse::<u16>().is_ok() && (!before.contains(':') || before.ends_with(']')) =>
        {
            host.to_owned()
        }
        _ if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

fn token(file: Option<&Path>) -> Result<Option<Token>, Failure> {
    let Some(file) = file else { return Ok(None) };
    Token::read(file).map(Some).map_err(|error| {
        let doing = format!("reading the token in '{}'", file.display());
        Failure::new(exit::TROUBLE, doing, error)
            .next("make one with `head -c 32 /dev/urandom | base64 > FILE`, for both ends, and let nobody else read it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port() {
        assert_eq!(address("localhost", 8090), "localhost:8090");
        assert_eq!(address("localhost:1", 8090), "localhost:1");
        assert_eq!(address("::1", 8090), "[::1]:8090");
        assert_eq!(address("[::1]", 8090), "[::1]:8090");
        assert_eq!(address("[::1]:7", 8090), "[::1]:7");
    }

    #[test]
    fn what_is_not_sent_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("x.data");
        assert!(unsent_place(&data).ends_with("x.data.sending"));
        std::fs::create_dir(dir.path().join("x.data.sending")).unwrap();
        assert!(unsent_place(&data).ends_with("x.data.sending.2"));
        assert_eq!((name(&data), name(Path::new("a/b/"))), ("x.data".to_owned(), "b".to_owned()));
    }
}
