//! What patching costs before the program runs: how fast a large program is analysed, the first time and from what was kept, and how
//! much later a program begins that is patched as a whole.

use super::{LIMIT, Setup, median};
use crate::paths::{cargo, target, which};
use crate::run::run_ok;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Functions that are to be analysed in a second.
const ANALYSED: f64 = 100_000.0;
/// Milliseconds that a program may begin later.
const DELAY: f64 = 500.0;

/// Prints the tables.
pub(super) fn main(setup: &Setup, runs: usize) -> Result<()> {
    if setup.wanted("analysis") {
        analysis(setup, runs)?;
    }
    if setup.wanted("delay") {
        delay(setup, runs)?;
    }
    Ok(())
}

fn analysis(setup: &Setup, runs: usize) -> Result<()> {
    let found = run_ok(Command::new("gcc").arg("-print-prog-name=cc1"), &setup.dir, LIMIT)?.stdout;
    let cc1 = PathBuf::from(found.trim());
    if !cc1.is_file() {
        println!("\nanalysis of cc1: gcc has none here");
        return Ok(());
    }
    let mut build = cargo();
    build.args(["build", "--release", "--quiet", "--package", "fathom-patch", "--example", "analysis_speed"]);
    if !build.status().context("cannot run cargo")?.success() {
        bail!("cargo build --release failed");
    }
    let tool = target().join("release/examples/analysis_speed");
    let (mut functions, mut first, mut again) = (0.0, Vec::new(), Vec::new());
    for _ in 0..runs {
        let text = run_ok(Command::new(&tool).arg(&cc1), &setup.dir, LIMIT)?.stdout;
        let value = |name: &str| -> Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            Ok(line.with_context(|| format!("no {name} in {text:?}"))?.trim().parse()?)
        };
        functions = value("functions ")?;
        first.push(value("analysed_ms ")?);
        again.push(value("kept_ms ")?);
    }
    let (first, again) = (median(&mut first), median(&mut again));
    let speed = functions / first.0 * 1e3;
    println!("\nanalysis of cc1: {functions} functions, median of {runs} [least]");
    println!("  the first time    {:>7.1} ms [{:.1}], {speed:.0} functions a second", first.0, first.1);
    println!("  from what is kept {:>7.1} ms [{:.1}]", again.0, again.1);
    println!("at least {ANALYSED} functions a second: {}", if speed >= ANALYSED { "met" } else { "missed" });
    Ok(())
}

/// How a program is started.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    Untraced,
    /// Analysed anew.
    Patched,
    /// With what an earlier recording has kept.
    PatchedAgain,
}

fn delay(setup: &Setup, runs: usize) -> Result<()> {
    // The one that is first in PATH may be a script that looks for another.
    let distribution = Some(PathBuf::from("/usr/bin/python3")).filter(|python| python.is_file());
    let Some(python) = distribution.or_else(|| which("python3")) else {
        println!("\nstart-up delay: python3 is not installed");
        return Ok(());
    };
    let mut times = [Start::Untraced, Start::Patched, Start::PatchedAgain].map(|start| (start, Vec::new()));
    // The first round fills what is kept, and warms up.
    for round in 0..=runs {
        for (start, values) in &mut times {
            let value = first_output(setup, &python, *start)?;
            if round > 0 {
                values.push(value);
            }
        }
    }
    let [untraced, patched, again] = times.map(|(_, mut values)| median(&mut values).0);
    println!(
        "\nstart of python3, all of it and of its C library patched, nothing recorded: ms to its first output"
    );
    println!("  untraced          {untraced:>7.1}");
    println!("  analysed anew     {patched:>7.1}, {:.1} later", patched - untraced);
    println!("  from what is kept {again:>7.1}, {:.1} later", again - untraced);
    println!("at most {DELAY} ms later: {}", if patched - untraced <= DELAY { "met" } else { "missed" });
    Ok(())
}

/// Milliseconds from the start of the command to the first line of the program.
fn first_output(setup: &Setup, python: &Path, start: Start) -> Result<f64> {
    let data = setup.dir.join("delay.data");
    let mut command = Command::new(&setup.fathom);
    command.args(["record", "--no-event", "--no-libcall", "--trace=off", "-P", ".", "-P", ".@libc"]);
    command.arg("-d").arg(&data).env("XDG_CACHE_HOME", setup.dir.join("cache"));
    match start {
        Start::Untraced => command = Command::new(python),
        Start::Patched => drop(command.arg("--no-plan-cache").arg(python)),
        Start::PatchedAgain => drop(command.arg(python)),
    }
    command.args(["-S", "-c", "print(1, flush=True)"]);
    command.current_dir(&setup.dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let begin = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let mut line = String::new();
    let output = child.stdout.take().context("no output")?;
    BufReader::new(output).read_line(&mut line)?;
    let value = begin.elapsed().as_secs_f64() * 1e3;
    let status = child.wait()?;
    super::remove(&data);
    super::remove(&setup.dir.join("delay.data.old"));
    if !status.success() || line != "1\n" {
        bail!("{command:?} printed {line:?}, {status}");
    }
    Ok(value)
}
