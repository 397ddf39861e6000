//! Conversations that are wrong in all ways, with a receiver that runs.

use crate::paths::{self, root};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit.max(1)
    }
}

/// Talks to a receiver of each form for half of the time. It must go on, take what is right, and write nowhere else.
pub(super) fn receiver(seconds: u64) -> Result<()> {
    let fathom = paths::build_fathom()?;
    let dir = paths::target().join("fuzz-live");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("token"), "a token that nobody guesses")?;
    let corpus = root().join("fuzz/corpus/network");
    let mut seeds = Vec::new();
    for entry in std::fs::read_dir(&corpus).with_context(|| format!("cannot read {}", corpus.display()))? {
        seeds.push(std::fs::read(entry?.path())?.split_off(1));
    }
    seeds.sort();
    let mut total = 0;
    for token in [false, true] {
        let (mut child, address) = start(&fathom, &dir, token)?;
        let until = Instant::now() + Duration::from_secs(seconds.div_ceil(2));
        let mut numbers = Numbers(0x1234_5678_9abc_def1);
        while Instant::now() < until {
            let mut bytes = if token { b"FATHOM TOKEN 1\r\n".to_vec() } else { Vec::new() };
            bytes.extend(conversation(&seeds, &mut numbers));
            talk(&address, &bytes).context("the receiver does not take connections any more")?;
            total += 1;
            if let Some(status) = child.try_wait()? {
                bail!("the receiver has ended: {status}");
            }
        }
        if !token {
            let whole = seeds.iter().max_by_key(|seed| seed.len()).cloned().unwrap_or_default();
            talk(&address, &whole)?;
        }
        stop(child)?;
    }
    let mut outside: Vec<_> = std::fs::read_dir(&dir)?.flatten().map(|entry| entry.file_name()).collect();
    outside.sort();
    if outside != ["received", "token"] {
        bail!("something was written outside: {outside:?}");
    }
    if !dir.join("received/snd/info").is_file() {
        bail!("what was right was not taken");
    }
    println!("{total} conversations with a receiver that runs");
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn start(fathom: &Path, dir: &Path, token: bool) -> Result<(Child, String)> {
    let mut command = Command::new(fathom);
    command.args(["recv", "-d", "received", "--port", "0", "--max-size", "1m"]).current_dir(dir);
    if token {
        command.args(["--token", "token"]);
    }
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let stderr = child.stderr.take().context("no standard error")?;
    let mut messages = BufReader::new(stderr);
    let mut line = String::new();
    messages.read_line(&mut line)?;
    let address = line.split("listening on ").nth(1).and_then(|rest| rest.split(',').next());
    let address = address.with_context(|| format!("it does not listen: {line}"))?.to_owned();
    // What it says of each is not of interest, but has to be read.
    std::thread::spawn(move || std::io::copy(&mut messages, &mut std::io::sink()));
    Ok((child, address))
}

fn stop(mut child: Child) -> Result<()> {
    let pid = i32::try_from(child.id())?;
    // SAFETY: a plain system call about a child that has not been waited for.
    unsafe { libc::kill(pid, libc::SIGINT) };
    let status = child.wait()?;
    if !status.success() {
        bail!("the receiver ended badly: {status}");
    }
    Ok(())
}

/// A conversation of the corpus with changes, or pieces of two.
fn conversation(seeds: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let pick = |numbers: &mut Numbers| seeds.get(numbers.below(seeds.len())).cloned().unwrap_or_default();
    let mut bytes = pick(numbers);
    if numbers.below(3) == 0 {
        let other = pick(numbers);
        bytes.truncate(numbers.below(bytes.len() + 1));
        bytes.extend(other.iter().skip(numbers.below(other.len() + 1)));
    }
    for _ in 0..numbers.below(6) {
        let at = numbers.below(bytes.len());
        let value = [0, 0xff, 0x7f, 1, numbers.below(256) as u8][numbers.below(5)];
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
    }
    if numbers.below(3) == 0 {
        bytes.truncate(numbers.below(bytes.len() + 1));
    }
    bytes
}

/// The receiver may break the connection at any time.
fn talk(address: &str, bytes: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    if stream.write_all(bytes).is_ok() && stream.shutdown(std::net::Shutdown::Write).is_ok() {
        let _ = stream.read_to_end(&mut Vec::new());
    }
    Ok(())
}
