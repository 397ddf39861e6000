//! `cargo xtask test`: everything that can be tested here, summed up in one line.

use crate::paths::{cargo, root, target, which};
use crate::{e2e, fuzz, live, setup};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// How much is tested.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Tier {
    /// All but what takes long.
    Normal,
    Full,
    /// Only what needs a live kernel.
    Vm,
    /// Only real programs with all of their functions patched.
    Torture,
}

/// Runs the tests of a tier. The last line is `N passed, N failed, N skipped`.
pub(crate) fn main(args: &[String]) -> Result<bool> {
    let tier = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Tier::Normal,
        ["--tier", "full"] => Tier::Full,
        ["--tier", "vm"] => Tier::Vm,
        ["--tier", "torture"] => Tier::Torture,
        _ => bail!("usage: cargo xtask test [--tier full|vm|torture]"),
    };
    let mut tools = vec![setup::CC, setup::BINUTILS, setup::TRACE_CMD, setup::UFTRACE];
    if tier != Tier::Vm {
        tools.extend([setup::CXX, setup::CLANG, setup::VALGRIND, setup::TMUX]);
    }
    let missing = setup::ensure(&tools);
    if !missing.is_empty() {
        eprintln!("xtask: without {} some tests will be skipped", missing.join(", "));
    }

    let mut sum = e2e::Summary::default();
    if tier == Tier::Torture {
        sum.add(e2e::torture()?);
    } else if tier != Tier::Vm {
        without_kernels(tier, &mut sum)?;
    }
    if tier != Tier::Torture {
        sum.add(live::all()?);
    }

    if !sum.skipped.is_empty() {
        println!("\nskipped:");
        for (name, reason) in &sum.skipped {
            println!("  {name}: {reason}");
        }
    }
    println!("\n{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped.len());
    Ok(sum.failed == 0 && sum.passed > 0)
}

/// The tests of user space.
fn without_kernels(tier: Tier, sum: &mut e2e::Summary) -> Result<()> {
    sum.add(cargo_tests()?);
    match runtime_lints()? {
        Some(true) => sum.passed += 1,
        Some(false) => sum.failed += 1,
        None => sum.skipped.push(("lints of the runtime".to_owned(), "clippy is not installed".to_owned())),
    }
    sum.add(e2e::all(tier == Tier::Full)?);
    if tier == Tier::Full {
        let (found_nothing, found_something) = fuzz::all(60)?;
        sum.passed += found_nothing;
        sum.failed += found_something;
    }
    Ok(())
}

/// The unit, snapshot and property tests of all crates.
fn cargo_tests() -> Result<e2e::Summary> {
    let nextest = which("cargo-nextest").is_some();
    let mut shown = String::new();
    let mut sums = if nextest {
        cargo_run(&["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests=pass"], &mut shown)?
    } else {
        cargo_run(
            &["test", "--workspace", "--all-targets", "--no-fail-fast", "--", "--show-output"],
            &mut shown,
        )?
    };
    // Examples in the documentation are not among the targets of either.
    let doc = cargo_run(&["test", "--workspace", "--doc", "--no-fail-fast"], &mut shown)?;
    sums.0 += doc.0;
    sums.1 += doc.1;
    if nextest {
        // Its store is in the workspace, wherever the target directory is.
        let report = root().join("target/nextest/default/junit.xml");
        shown = std::fs::read_to_string(report).context("cannot read the report of nextest")?;
    }
    let skipped = skips(&shown);
    let passed = sums.0.saturating_sub(skipped.len() as u64);
    Ok(e2e::Summary { passed, failed: sums.1, skipped })
}

/// The tests that ended well because they found nothing to test, and said so: `skipped: REASON` in what they printed. A test
/// is named by the `testcase` that its output stands in, or by cargo's line above it, `---- NAME stdout ----`.
fn skips(report: &str) -> Vec<(String, String)> {
    let mut skipped: Vec<(String, String)> = Vec::new();
    let mut test = String::new();
    for line in report.lines() {
        if let Some((_, rest)) = line.split_once("<testcase name=\"") {
            test = rest.split('"').next().unwrap_or_default().to_owned();
        }
        if let Some(name) = line.strip_prefix("---- ").and_then(|line| line.strip_suffix(" stdout ----")) {
            test = name.to_owned();
        }
        if let Some((_, reason)) = line.split_once("skipped: ")
            && skipped.last().is_none_or(|(last, _)| *last != test)
        {
            let reason = reason.split('<').next().unwrap_or_default();
            skipped.push((test.clone(), reason.trim().to_owned()));
        }
    }
    skipped
}

/// Clippy of the runtime as it is in the traced program: as an ordinary crate, which is what the workspace sees of it,
/// it is empty. None where there is no clippy.
fn runtime_lints() -> Result<Option<bool>> {
    let mut version = cargo();
    version.args(["clippy", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !version.status().context("cannot run cargo")?.success() {
        return Ok(None);
    }
    let mut command = cargo();
    command.args(["clippy", "--quiet", "--locked", "--package", "fathom-runtime", "--lib", "--target-dir"]);
    command.arg(target().join("runtime-clippy")).args(["--", "-D", "warnings"]);
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", "--cfg fathom_preload");
    // It has a panic handler of its own and no unwinder.
    command.env("CARGO_PROFILE_DEV_PANIC", "abort");
    println!("running clippy of the runtime");
    let passed = command.status().context("cannot run cargo clippy")?.success();
    println!("test lints of the runtime ... {}", if passed { "ok" } else { "FAILED" });
    Ok(Some(passed))
}

/// Runs a test command of cargo, shows its output and sums up what it says. A command that fails without a failed
/// test (one that does not compile) counts as one failure. The output is added to `shown`.
fn cargo_run(args: &[&str], shown: &mut String) -> Result<(u64, u64)> {
    let mut command = cargo();
    // Snapshots must fail here, not be written anew.
    command.args(args).env("INSTA_UPDATE", "no").env("NO_COLOR", "1").env("CARGO_TERM_COLOR", "never");
    let text = format!("cargo {}", args.join(" "));
    println!("running {text}");
    // nextest reports on stderr, cargo test on stdout
    let on_stderr = args.first() == Some(&"nextest");
    if on_stderr {
        command.stderr(Stdio::piped());
    } else {
        command.stdout(Stdio::piped());
    }
    let mut child = command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot run {text}"))?;
    let mut sums = (0, 0);
    let mut read = |output: &mut dyn BufRead| -> Result<()> {
        for line in output.lines() {
            let line = line?;
            shown.push_str(&line);
            shown.push('\n');
            let (passed, failed) = counts(&line);
            sums.0 += passed;
            sums.1 += failed;
            if !line.trim_start().starts_with("PASS [") && !line.ends_with("... ok") {
                println!("{line}");
            }
        }
        Ok(())
    };
    if let Some(output) = child.stderr.take() {
        read(&mut BufReader::new(output))?;
    } else if let Some(output) = child.stdout.take() {
        read(&mut BufReader::new(output))?;
    }
    let status = child.wait()?;
    if !status.success() && sums.1 == 0 {
        println!("test {text} ... FAILED");
        sums.1 = 1;
    }
    Ok(sums)
}

/// (passed, failed) of a closing line: `test result: ok. 5 passed; 0 failed; …` of cargo test, or
/// `Summary [0.1s] 5 tests run: 4 passed, 1 failed, 0 skipped` of nextest.
fn counts(line: &str) -> (u64, u64) {
    let trimmed = line.trim_start();
    if !trimmed.starts_with("test result:") && !trimmed.starts_with("Summary [") {
        return (0, 0);
    }
    let before = |what: &str| {
        let words: Vec<&str> = trimmed.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
        let at = words.iter().position(|word| *word == what);
        at.and_then(|at| words.get(at.checked_sub(1)?)?.parse::<u64>().ok()).unwrap_or(0)
    };
    (before("passed"), before("failed") + before("timed"))
}

#[cfg(test)]
mod tests {
    use super::{counts, skips};

    #[test]
    fn tests_that_say_they_were_skipped_did_not_pass() {
        let report = "<testcase name=\"a\" classname=\"c\">\n<system-out>\ntest a ... skipped: no gcc\nskipped: twice\nok\n\
                      </system-out>\n</testcase>\n<testcase name=\"b\" time=\"1\">\n<system-out>\nok\n</system-out>";
        let want = [("a".to_owned(), "no gcc".to_owned())];
        assert_eq!(skips(report), want);
        assert_eq!(skips("---- a stdout ----\nskipped: no gcc\n\n---- b stdout ----\nok\n"), want);
        assert_eq!(skips("<testcase name=\"a\">\n<system-err>skipped: no gcc</system-err>"), want);
    }

    #[test]
    fn closing_lines_are_read() {
        assert_eq!(counts("test result: ok. 5 passed; 2 failed; 0 ignored; 0 measured"), (5, 2));
        assert_eq!(
            counts("     Summary [   0.021s] 7 tests run: 6 passed (1 slow), 1 failed, 0 skipped"),
            (6, 1)
        );
        assert_eq!(counts("     Summary [   0.021s] 6 tests run: 6 passed, 0 skipped"), (6, 0));
        assert_eq!(counts("3 passed, 4 failed"), (0, 0));
    }
}
