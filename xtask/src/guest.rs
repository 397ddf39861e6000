//! What this program does inside the virtual machine, where it is copied to: things a shell is too slow for or cannot do.

use crate::state::{self, State};
use anyhow::{Context, Result, bail};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Where the guest's `/init` mounts tracefs.
const TRACEFS: &str = "/sys/kernel/tracing";

/// `guest state FILE`, `guest compare FILE`, `guest drain DIR`.
pub(crate) fn main(args: &[String]) -> Result<bool> {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["state", file] => {
            let state = state::read(Path::new(TRACEFS))?;
            std::fs::write(file, serde_json::to_vec(&state)?)?;
            Ok(true)
        }
        ["compare", file] => {
            let before: State = serde_json::from_slice(&std::fs::read(file)?)?;
            let after = state::read(Path::new(TRACEFS))?;
            let lines = state::differences(&before, &after);
            for line in &lines {
                println!("{line}");
            }
            Ok(lines.is_empty())
        }
        ["drain", from, to] => drain(Path::new(from), Path::new(to)).map(|()| true),
        _ => bail!("usage: xtask guest state FILE | compare FILE | drain TRACEFS DIR"),
    }
}

/// Copies what all raw pipes of a tracefs directory hold now: `DIR/cpuN.raw`, page by page, with `DIR/cpuN.stats`.
pub(crate) fn drain(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    let cpus = from.join("per_cpu");
    for entry in std::fs::read_dir(&cpus).with_context(|| format!("cannot list {}", cpus.display()))? {
        let cpu = entry?;
        let name = cpu.file_name().to_string_lossy().into_owned();
        let stats = std::fs::read(cpu.path().join("stats"))?;
        std::fs::write(to.join(format!("{name}.stats")), stats)?;
        let pipe = cpu.path().join("trace_pipe_raw");
        let mut pipe = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(pipe)?;
        let mut out = File::create(to.join(format!("{name}.raw")))?;
        // At least one sub-buffer: with less, the kernel repacks the events one by one.
        let mut page = vec![0; 64 << 10];
        loop {
            match pipe.read(&mut page) {
                Ok(0) => break,
                Ok(read) => out.write_all(&page[..read])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("cannot read a raw pipe"),
            }
        }
    }
    Ok(())
}
