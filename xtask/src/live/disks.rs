//! The disks of a guest besides the one for its results: one with ext4, and one to swap to.

use crate::paths::which;
use crate::run::run_ok;
use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Bytes of each. The files are sparse.
const EXT4_SIZE: u64 = 128 << 20;
const SWAP_SIZE: u64 = 512 << 20;

/// New disks in `dir`, in the order in which the guest numbers them.
pub(crate) fn fresh(dir: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(dir)?;
    let (ext4, swap) = (dir.join("ext4"), dir.join("swap"));
    for (path, size) in [(&ext4, EXT4_SIZE), (&swap, SWAP_SIZE)] {
        File::create(path)?.set_len(size)?;
    }
    let mkfs = which("mkfs.ext4").context("mkfs.ext4 is not installed")?;
    run_ok(Command::new(mkfs).args(["-q", "-F"]).arg(&ext4), dir, Duration::from_secs(60))?;
    Ok(vec![ext4, swap])
}
