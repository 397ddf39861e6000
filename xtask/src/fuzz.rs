//! Running the fuzz targets of `fuzz/`, each for a while.

mod live;

use crate::paths::{self, cargo, root, which};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// `cargo xtask fuzz [SECONDS [live]]`: all targets and a live receiver, or only that.
pub(crate) fn main(args: &[String]) -> Result<bool> {
    let seconds = match args.first() {
        Some(text) => text.parse().with_context(|| format!("'{text}' is not a number of seconds"))?,
        None => 60,
    };
    if args.get(1).is_some_and(|what| what == "live") {
        live::receiver(seconds)?;
        println!("1 passed, 0 failed");
        return Ok(true);
    }
    let (passed, failed) = all(seconds)?;
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

/// The names of the targets.
pub(crate) fn targets() -> Result<Vec<String>> {
    let dir = root().join("fuzz/fuzz_targets");
    let mut names: Vec<String> = std::fs::read_dir(&dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Runs each target for so many seconds, starting from a copy of its corpus. Returns (found nothing, found something).
pub(crate) fn all(seconds: u64) -> Result<(u64, u64)> {
    if which("cargo-fuzz").is_none() {
        eprintln!("xtask: installing cargo-fuzz");
        let status = cargo().args(["install", "--quiet", "--locked", "cargo-fuzz"]).status()?;
        if !status.success() {
            bail!("cannot install cargo-fuzz");
        }
    }
    let (mut passed, mut failed) = (0, 0);
    for target in targets()? {
        let found = paths::target().join("fuzz-corpus").join(&target);
        std::fs::create_dir_all(&found)?;
        let mut command = Command::new("cargo");
        // The sanitizer and coverage options of the compiler are unstable ones.
        command.env("RUSTC_BOOTSTRAP", "1").env_remove("CARGO_TARGET_DIR").current_dir(root());
        command.args(["fuzz", "run", "--release", &target]).arg(&found);
        command.arg(root().join("fuzz/corpus").join(&target)).arg("--");
        command.args([format!("-max_total_time={seconds}"), "-rss_limit_mb=2048".to_owned()]);
        command.args(["-timeout=10", "-print_final_stats=1"]);
        let ok = command.status().context("cannot run cargo fuzz")?.success();
        println!("test fuzz/{target} ... {}", if ok { "ok" } else { "FAILED" });
        if ok { passed += 1 } else { failed += 1 }
    }
    let ok = match live::receiver(seconds) {
        Ok(()) => true,
        Err(error) => {
            println!("live receiver: {error:#}");
            false
        }
    };
    println!("test fuzz/live_receiver ... {}", if ok { "ok" } else { "FAILED" });
    if ok {
        passed += 1;
    } else {
        failed += 1;
    }
    Ok((passed, failed))
}
