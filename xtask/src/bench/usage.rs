//! What a command used: CPU time, elapsed time and peak memory, from `wait4`.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The use of one finished process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// User and system time, seconds.
    pub(super) cpu: f64,
    /// Elapsed time, seconds.
    pub(super) wall: f64,
    /// Peak resident memory, MiB.
    pub(super) peak: f64,
}

/// Runs a command with its output thrown away. Fails unless it exits with 0.
pub(super) fn measure(command: &mut Command, dir: &Path) -> Result<Usage> {
    let text = format!("{command:?}");
    let started = Instant::now();
    let child = command
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {text}"))?;
    let pid = i32::try_from(child.id())?;
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value of that plain C struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointers are to live locals of the right types; the child is ours and nobody else waits for it
    // (`Child` neither waits nor kills when it is dropped).
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    let wall = started.elapsed().as_secs_f64();
    if waited != pid {
        bail!("cannot wait for {text}");
    }
    if status != 0 {
        bail!("{text} failed (wait status {status:#x})");
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Usage {
        cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        wall,
        peak: usage.ru_maxrss as f64 / 1024.0,
    })
}
