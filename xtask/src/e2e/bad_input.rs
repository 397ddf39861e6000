//! Damaged data directories: every command that reads one must end by itself, say what is wrong, and never panic.

use super::build::{builds, compile};
use super::case::Case;
use super::{Context, Outcome};
use crate::run::{run, run_ok, tail};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const COMMANDS: &[&[&str]] = &[
    &["replay"],
    &["report"],
    &["report", "--task"],
    &["graph"],
    &["info"],
    &["dump"],
    &["dump", "--chrome"],
    &["dump", "--flame-graph"],
    &["dump", "--graphviz"],
    &["dump", "--mermaid"],
];

/// A way of damaging a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    Missing,
    Empty,
    Truncated,
    Flipped,
    Garbage,
}

pub(crate) const DAMAGES: &[Damage] =
    &[Damage::Missing, Damage::Empty, Damage::Truncated, Damage::Flipped, Damage::Garbage];

/// The kinds of files of a data directory, told by the end or start of their names.
pub(crate) const KINDS: &[&str] = &["info", "task.txt", "map", "sym", "dat", "default.opts"];

/// Damages each file of one kind in one way, in several places where the damage has one, and runs all commands.
pub(crate) fn check(context: &Context, case: &Case, kind: &str, damage: Damage) -> Result<Outcome> {
    let dir = context.work.join("bad-input").join(format!("{kind}-{damage:?}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let build = builds(case)?.into_iter().next().context("no build")?;
    let program = compile(case, &build, &context.fixtures, &dir)?;
    let mut record = Command::new(&context.fathom);
    record.args(["record", "--no-event", "-d", "good"]).args(build.record).arg(&program).args(&case.args);
    run_ok(&mut record, &dir, case.timeout)?;
    let good = dir.join("good");
    let files = files_of(&good, kind)?;
    let Some(file) = files.first() else {
        return Ok(Outcome::Skipped(format!("a recording has no {kind} file")));
    };
    let original = std::fs::read(file)?;
    for (number, bytes) in damaged(&original, damage).into_iter().enumerate() {
        match bytes {
            Some(bytes) => std::fs::write(file, bytes)?,
            None => std::fs::remove_file(file)?,
        }
        for words in COMMANDS {
            survives(context, &dir, words).with_context(|| format!("{kind} {damage:?}, variant {number}"))?;
        }
    }
    std::fs::write(file, &original)?;
    let _ = std::fs::remove_dir_all(&dir);
    Ok(Outcome::Passed)
}

fn files_of(dir: &Path, kind: &str) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name == kind || name.ends_with(&format!(".{kind}"))
        })
        .collect();
    // The program's own symbols before those of its libraries.
    files.sort_by_key(|path| path.to_string_lossy().contains(".so"));
    Ok(files)
}

fn damaged(original: &[u8], damage: Damage) -> Vec<Option<Vec<u8>>> {
    let end = original.len();
    match damage {
        Damage::Missing => vec![None],
        Damage::Empty => vec![Some(Vec::new())],
        Damage::Truncated => {
            let cuts = [1, 7, end / 3, end / 2, end.saturating_sub(5), end.saturating_sub(1)];
            cuts.iter().map(|cut| Some(original[..(*cut).min(end)].to_vec())).collect()
        }
        Damage::Flipped => {
            let places = [0, 5, 8, 12, 15, end / 2, end / 2 + 3, end.saturating_sub(2)];
            let flip = |place: &usize| {
                let mut bytes = original.to_vec();
                if let Some(byte) = bytes.get_mut(*place) {
                    *byte ^= 0x95;
                }
                Some(bytes)
            };
            places.iter().map(flip).collect()
        }
        Damage::Garbage => {
            // A fixed linear congruential sequence, so that a failure can be repeated.
            let mut state = 12345_u32;
            let mut next = || {
                state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
                (state >> 16) as u8
            };
            vec![Some((0..4096).map(|_| next()).collect()), Some(vec![0xff; 4096]), Some(vec![0; 4096])]
        }
    }
}

/// Ends in time with 0, 1 or 255, not by a signal or a panic; and not silently when it fails.
fn survives(context: &Context, dir: &Path, words: &[&str]) -> Result<()> {
    let mut command = Command::new(&context.fathom);
    command.args(&words[..1]).args(["--no-pager", "-d", "good"]).args(&words[1..]);
    let done = run(&mut command, dir, Duration::from_secs(20))?;
    let said = tail(&done.stderr, 600);
    if done.stderr.contains("panicked at") {
        bail!("{words:?} panicked: {said}");
    }
    match done.status.code() {
        Some(0) => Ok(()),
        Some(1 | 255) if !said.trim().is_empty() => Ok(()),
        Some(1 | 255) => bail!("{words:?} {} and gave no reason", done.end()),
        _ => bail!("{words:?} {}: {said}", done.end()),
    }
}
