//! One case with one build: recorded and checked against the untraced run and the expectations.

use super::build::{Build, compile};
use super::case::Case;
use super::text::{self, Dump, Rules};
use super::{Context, Outcome};
use crate::run::{Finished, run, tail};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A compiled case and how it runs untraced.
pub(crate) struct Prepared {
    pub(crate) dir: PathBuf,
    pub(crate) program: PathBuf,
    pub(crate) untraced: Finished,
}

/// Compiles a case into a directory of its own and runs it untraced.
pub(crate) fn prepare(context: &Context, case: &Case, build: &Build, kind: &str) -> Result<Prepared> {
    let dir = context.work.join(&case.name).join(format!("{kind}{}", build.name));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let program = compile(case, build, &context.fixtures, &dir)?;
    let untraced = run(Command::new(&program).args(&case.args), &dir, case.timeout)?;
    Ok(Prepared { dir, program, untraced })
}

/// Records with `tracer` into `data` and checks that the program did the same as untraced.
pub(crate) fn record(
    tracer: &Path,
    case: &Case,
    build: &Build,
    prepared: &Prepared,
    data: &str,
    options: &[&str],
) -> Result<()> {
    let mut command = Command::new(tracer);
    // Where nothing is patched -U leaves nothing out, and uftrace would patch what calls its hooks already.
    let unpatched = if build.record.contains(&"-P") { 0 } else { 2 };
    let skipped = case.record.iter().position(|word| word == "-U").map(|at| at..at + unpatched);
    let left = |at: &usize| !skipped.as_ref().is_some_and(|range| range.contains(at));
    let own = case.record.iter().enumerate().filter(|(at, _)| left(at)).map(|(_, word)| word);
    // -l asks for more library calls and does not go with none.
    let own = own.filter(|word| *word != "-l" || !options.contains(&"--no-libcall"));
    command.args(["record", "--no-event", "-d", data]).args(build.record).args(own).args(options);
    command.arg(&prepared.program).args(&case.args);
    let done = run(&mut command, &prepared.dir, case.timeout)?;
    let said = || format!("\nthe recorder said: {}", tail(&done.stderr, 1500));
    if done.stdout != prepared.untraced.stdout {
        bail!(
            "stdout differs:\n traced: {:?}\n untraced: {:?}{}",
            done.stdout,
            prepared.untraced.stdout,
            said()
        );
    }
    let untraced = prepared.untraced.status;
    let expected = match (untraced.code(), untraced.signal()) {
        (Some(0), _) => 0,
        (Some(_), _) => 1,
        _ => 2,
    };
    if done.status.code() != Some(expected) {
        bail!("record {}, but the program {} untraced{}", done.end(), prepared.untraced.end(), said());
    }
    Ok(())
}

/// Runs an analysis command and returns its stdout; anything but success is an error.
pub(crate) fn ask(tracer: &Path, case: &Case, dir: &Path, data: &str, words: &[&str]) -> Result<String> {
    let mut command = Command::new(tracer);
    command.args(&words[..1]).args(["--no-pager", "-d", data]).args(&words[1..]);
    let done = run(&mut command, dir, case.timeout)?;
    if done.status.code() != Some(0) {
        bail!("{command:?} {}: {}{}", done.end(), tail(&done.stdout, 300), tail(&done.stderr, 1000));
    }
    Ok(done.stdout)
}

/// Runs all checks of one case and build.
pub(crate) fn check(context: &Context, case: &Case, build: &Build) -> Result<Outcome> {
    let prepared = prepare(context, case, build, "")?;
    let tracer = context.fathom.as_path();
    let dir = prepared.dir.as_path();
    let rules = Rules { coroutines: case.coroutines };

    record(tracer, case, build, &prepared, "user.data", &["--no-libcall"])
        .context("without library calls")?;
    exit_status_in_info(tracer, case, &prepared, "user.data")?;
    let user = dump(context, case, dir, "user.data", rules).context("without library calls")?;
    counts(case, &user)?;
    left_open(case, &user)?;
    let reported = text::report(&ask(tracer, case, dir, "user.data", &["report"])?)?;
    reported_counts(case, &user, &reported)?;
    ask(tracer, case, dir, "user.data", &["graph"])?;
    if case.replay {
        let shown = text::replay(&ask(tracer, case, dir, "user.data", &["replay"])?, false);
        same_replay(context, case, "replay", &shown)?;
    }

    filtered(context, case, build, &prepared, &user)?;

    record(tracer, case, build, &prepared, "all.data", &[]).context("with library calls")?;
    let all = dump(context, case, dir, "all.data", rules).context("with library calls")?;
    if !case.unsteady {
        for (name, count) in &user.entries {
            let with_libs = all.entries.get(name).copied().unwrap_or(0);
            if with_libs != *count {
                bail!("{name} is called {count} times without library calls and {with_libs} times with them");
            }
        }
    }
    if case.libcalls_replay {
        let shown = text::replay(&ask(tracer, case, dir, "all.data", &["replay"])?, true);
        same_replay(context, case, "libcalls.replay", &shown)?;
    }
    let _ = std::fs::remove_dir_all(dir);
    Ok(Outcome::Passed)
}

/// Records again through the hooks that filters need, with options that leave nothing out: once with a limit that the
/// hooks see to by themselves, once with a rule for each function.
fn filtered(context: &Context, case: &Case, build: &Build, prepared: &Prepared, plain: &Dump) -> Result<()> {
    let rules = Rules { coroutines: case.coroutines };
    let dir = prepared.dir.as_path();
    for options in [["-D", "65534"], ["-T", ".@trace"]] {
        if case.deep && options[0] == "-D" {
            continue;
        }
        let said = || format!("with {}", options.join(" "));
        let all = ["--no-libcall", options[0], options[1]];
        record(&context.fathom, case, build, prepared, "filtered.data", &all).with_context(said)?;
        let seen = dump(context, case, dir, "filtered.data", rules).with_context(said)?;
        counts(case, &seen).with_context(said)?;
        left_open(case, &seen).with_context(said)?;
        if !case.unsteady && seen.entries != plain.entries {
            bail!(
                "{}: other calls are recorded than without: {:?}, {:?}",
                said(),
                seen.entries,
                plain.entries
            );
        }
        if case.replay {
            let shown = ask(&context.fathom, case, dir, "filtered.data", &["replay"])?;
            same_replay(context, case, "replay", &text::replay(&shown, false)).with_context(said)?;
        }
    }
    Ok(())
}

fn dump(context: &Context, case: &Case, dir: &Path, data: &str, rules: Rules) -> Result<Dump> {
    let seen = text::dump(ask(&context.fathom, case, dir, data, &["dump"])?.as_bytes(), rules)?;
    if seen.entries.is_empty() {
        bail!("nothing was recorded");
    }
    if seen.lost > 0 {
        bail!("{} LOST records", seen.lost);
    }
    Ok(seen)
}

fn exit_status_in_info(tracer: &Path, case: &Case, prepared: &Prepared, data: &str) -> Result<()> {
    let info = ask(tracer, case, &prepared.dir, data, &["info"])?;
    let status = prepared.untraced.status;
    let expected = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code: {code}"),
        (None, Some(signal)) => format!("terminated by signal: {signal}"),
        _ => bail!("the untraced run neither exited nor was killed"),
    };
    let line = info.lines().find(|line| line.contains("exit status")).unwrap_or("(no exit status)");
    if !line.contains(&expected) {
        bail!("info says '{line}', expected '{expected}'");
    }
    Ok(())
}

fn counts(case: &Case, seen: &Dump) -> Result<()> {
    for (name, expected) in &case.counts {
        let found = seen.entries.get(name).copied().unwrap_or(0);
        if found != *expected {
            bail!("{name}: {found} entries in the dump, expected {expected}");
        }
    }
    Ok(())
}

fn reported_counts(case: &Case, seen: &Dump, reported: &BTreeMap<String, u64>) -> Result<()> {
    for (name, entries) in &seen.entries {
        let expected = case.report.get(name).unwrap_or(entries);
        let found = reported.get(name).copied().unwrap_or(0);
        if found != *expected {
            bail!("{name}: report says {found} calls, expected {expected}");
        }
    }
    Ok(())
}

/// The stacks left open must be those that the case declares, and each must occur. `main fall...` stands for any
/// number of the last function.
///
/// Which call of a coroutine counts as open when its stack is never resumed depends on the instrumentation.
fn left_open(case: &Case, seen: &Dump) -> Result<()> {
    if case.coroutines {
        return Ok(());
    }
    let fits = |open: &str, stack: &str| match open.strip_suffix("...") {
        None => open == stack,
        Some(start) => {
            let last = start.rsplit(' ').next().unwrap_or(start);
            let rest = stack.strip_prefix(start);
            rest.is_some_and(|rest| rest.split_whitespace().all(|word| word == last))
        }
    };
    for stack in &seen.open {
        if !case.open.iter().any(|open| fits(open, stack)) {
            bail!("'{}' is open at the end of a task, expected {:?}", tail(stack, 300), case.open);
        }
    }
    for open in &case.open {
        if !seen.open.iter().any(|stack| fits(open, stack)) {
            bail!("'{open}' is not open at the end of any task");
        }
    }
    Ok(())
}

fn same_replay(context: &Context, case: &Case, suffix: &str, shown: &str) -> Result<()> {
    let file = context.fixtures.join(format!("{}.{suffix}", case.name));
    if context.bless && !file.exists() {
        std::fs::write(&file, shown)?;
    }
    let expected =
        std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    if shown == expected {
        return Ok(());
    }
    let at = expected.lines().zip(shown.lines()).take_while(|(a, b)| a == b).count();
    let around =
        |text: &str| text.lines().skip(at.saturating_sub(3)).take(8).collect::<Vec<_>>().join("\n    ");
    bail!(
        "the replay differs from {} at line {}:\n  expected:\n    {}\n  found:\n    {}",
        file.display(),
        at + 1,
        around(&expected),
        around(shown)
    )
}
