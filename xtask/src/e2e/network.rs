//! Recordings over the network, with uftrace at one end or the other, and many senders at once.

use super::{Context, Outcome};
use crate::run::run_ok;
use anyhow::{Context as _, Result, bail};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const SENDERS: usize = 50;

/// Who is at the ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ends {
    PeerSends,
    PeerReceives,
    Ours,
    Token,
}

/// Names of the tests.
pub(crate) const ENDS: [(&str, Ends); 4] = [
    ("peer_sends", Ends::PeerSends),
    ("peer_receives", Ends::PeerReceives),
    ("fifty_senders", Ends::Ours),
    ("fifty_senders_with_token", Ends::Token),
];

/// A receiver, killed when it is dropped.
struct Receiver(Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Records the same program over the network and to the disk, and compares the calls.
pub(crate) fn check(context: &Context, ends: Ends) -> Result<Outcome> {
    let needs_peer = matches!(ends, Ends::PeerSends | Ends::PeerReceives);
    let Some(peer) = context.peer.as_deref().or((!needs_peer).then_some(context.fathom.as_path())) else {
        return Ok(Outcome::Skipped("uftrace is not installed".to_owned()));
    };
    let dir = context.work.join(format!("network-{ends:?}").to_lowercase());
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("token"), "a token that nobody guesses")?;
    let program = compile(context, &dir)?;
    let ours = context.fathom.as_path();
    let (sender, receiver) = match ends {
        Ends::PeerSends => (peer, ours),
        Ends::PeerReceives => (ours, peer),
        Ends::Ours | Ends::Token => (ours, ours),
    };
    let token: &[&str] = if ends == Ends::Token { &["--token", "token"] } else { &[] };
    let (listening, port) = listen(receiver, receiver == ours, token, &dir)?;
    let count = if needs_peer { 3 } else { SENDERS };
    std::thread::scope(|scope| -> Result<()> {
        let send = |number: usize| {
            let mut command = Command::new(sender);
            command.args(["record", "--no-event", "--host", "127.0.0.1", "--port", &port]).args(token);
            command.args(["-d", &format!("sent{number}.data")]).arg(&program).arg(number.to_string());
            run_ok(&mut command, &dir, LIMIT).map(drop)
        };
        let running: Vec<_> = (0..count).map(|number| scope.spawn(move || send(number))).collect();
        for thread in running {
            thread.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        }
        Ok(())
    })?;
    // uftrace closes its connection before the receiver has written all.
    let started = Instant::now();
    let all = |number: usize| dir.join(format!("received/sent{number}.data"));
    while (0..count).any(|number| !all(number).join("info").is_file()) && started.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(300));
    drop(listening);
    for number in 0..count {
        let local = format!("local{number}.data");
        let mut command = Command::new(sender);
        command.args(["record", "--no-event", "-d", &local]).arg(&program).arg(number.to_string());
        if number < 3 {
            run_ok(&mut command, &dir, LIMIT)?;
            compare(ours, &dir, &all(number), &dir.join(&local)).context("read by fathom")?;
            if needs_peer {
                compare(peer, &dir, &all(number), &dir.join(&local)).context("read by uftrace")?;
            }
        }
        let calls = calls(ours, &dir, &all(number))?;
        if calls.get("leaf") != Some(&(number as u64 + 1)) {
            bail!("sender {number}: {calls:?}");
        }
    }
    let _ = std::fs::remove_dir_all(&dir);
    Ok(Outcome::Passed)
}

fn compile(context: &Context, dir: &Path) -> Result<PathBuf> {
    let program = dir.join("network");
    let mut cc = Command::new("gcc");
    cc.args(["-pg", "-O0", "-w", "-o"]).arg(&program).arg(context.fixtures.join("network.c"));
    run_ok(&mut cc, dir, LIMIT)?;
    Ok(program)
}

fn listen(program: &Path, ours: bool, token: &[&str], dir: &Path) -> Result<(Receiver, String)> {
    let mut command = Command::new(program);
    command.args(["recv", "-d", "received"]).args(token).current_dir(dir).stdin(Stdio::null());
    if ours {
        let mut child = command.args(["--port", "0"]).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().context("no standard error")?;
        let receiver = Receiver(child);
        let mut messages = BufReader::new(stderr);
        let mut line = String::new();
        messages.read_line(&mut line)?;
        let port = line.split(':').find_map(|part| part.split(',').next()?.parse::<u16>().ok());
        let port = port.with_context(|| format!("it does not listen: {line}"))?;
        std::thread::spawn(move || std::io::copy(&mut messages, &mut std::io::sink()));
        return Ok((receiver, port.to_string()));
    }
    // uftrace takes a number only; one that was free a moment ago is.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let receiver = Receiver(command.args(["--port", &port.to_string()]).stderr(Stdio::null()).spawn()?);
    let started = Instant::now();
    // It is not asked: uftrace ends with a connection that says nothing.
    while !listens(port) {
        if started.elapsed() > Duration::from_secs(10) {
            bail!("uftrace does not listen");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((receiver, port.to_string()))
}

/// Whether somebody listens at a port: state 10 of the kernel's table.
fn listens(port: u16) -> bool {
    let end = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(&end)) && words.nth(1) == Some("0A")
    })
}

type Calls = std::collections::BTreeMap<String, u64>;

fn calls(reader: &Path, dir: &Path, data: &Path) -> Result<Calls> {
    let mut command = Command::new(reader);
    command.args(["report", "--no-pager", "-d"]).arg(data);
    super::text::report(&run_ok(&mut command, dir, LIMIT)?.stdout)
}

/// Two recordings of one program are read alike: the same calls, the same graph without its times.
fn compare(reader: &Path, dir: &Path, received: &Path, local: &Path) -> Result<()> {
    let graph = |data: &Path| -> Result<String> {
        let mut command = Command::new(reader);
        command.args(["graph", "--no-pager", "-d"]).arg(data);
        Ok(super::text::graph_shape(&run_ok(&mut command, dir, LIMIT)?.stdout))
    };
    if calls(reader, dir, received)? != calls(reader, dir, local)? {
        bail!("the reports of {} and {} differ", received.display(), local.display());
    }
    if graph(received)? != graph(local)? {
        bail!("the graphs of {} and {} differ", received.display(), local.display());
    }
    for view in [&["info"][..], &["dump"]] {
        for data in [received, local] {
            let mut command = Command::new(reader);
            run_ok(command.args(view).args(["--no-pager", "-d"]).arg(data), dir, LIMIT)?;
        }
    }
    Ok(())
}
