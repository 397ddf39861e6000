//! Running a program to its end, with a time limit, its output kept in files.
//!
//! Output goes to files, not pipes: a daemon that a traced program leaves behind would hold a pipe open.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// More output than this is taken for a program that does not stop, bytes.
const TOO_MUCH: u64 = 1 << 30;

/// What came of a run.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// "exited with 3" or "killed by signal 11".
    pub(crate) fn end(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exited with {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        }
    }
}

/// Runs `command` in `dir`. Fails when it cannot be started or runs into the time limit, not when it fails.
pub(crate) fn run(command: &mut Command, dir: &Path, limit: Duration) -> Result<Finished> {
    let started = Instant::now();
    let text = shown(command);
    let serial = {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
    let (out, err) = (dir.join(format!(".out{serial}")), dir.join(format!(".err{serial}")));
    let create =
        |path: &Path| File::create(path).with_context(|| format!("cannot create {}", path.display()));
    let mut child = command
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(create(&out)?)
        .stderr(create(&err)?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {text}"))?;
    let mut pause = Duration::from_micros(200);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let printed = std::fs::metadata(&out).map_or(0, |file| file.len());
        if started.elapsed() > limit || printed > TOO_MUCH {
            // The whole group, by its id: the program may have left children.
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
            let _ = child.wait();
            let said = if printed > TOO_MUCH { String::new() } else { read(&out) };
            let message = format!(
                "{text}: no end after {} s and {printed} bytes of output\nstdout: {}\nstderr: {}",
                started.elapsed().as_secs(),
                tail(&said, 600),
                tail(&read(&err), 600)
            );
            let _ = std::fs::remove_file(out);
            let _ = std::fs::remove_file(err);
            bail!(message);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    };
    let finished = Finished { status, stdout: read(&out), stderr: read(&err) };
    let _ = std::fs::remove_file(out);
    let _ = std::fs::remove_file(err);
    Ok(finished)
}

/// As [`run`], and a failure of the program is an error with the end of what it said.
pub(crate) fn run_ok(command: &mut Command, dir: &Path, limit: Duration) -> Result<Finished> {
    let text = shown(command);
    let done = run(command, dir, limit)?;
    if !done.status.success() {
        bail!("{text}: {}\n{}{}", done.end(), tail(&done.stdout, 1000), tail(&done.stderr, 2000));
    }
    Ok(done)
}

/// The last `limit` bytes of a text, at a line's start where there is one.
pub(crate) fn tail(text: &str, limit: usize) -> &str {
    let mut from = text.len().saturating_sub(limit);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// A command as text, the middle of a long one left out.
fn shown(command: &Command) -> String {
    let text = format!("{command:?}");
    if text.len() <= 600 {
        return text;
    }
    let head: String = text.chars().take(300).collect();
    format!("{head} ... {}", tail(&text, 200))
}
