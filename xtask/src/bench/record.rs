//! The cost of a traced call: CPU time of the calling thread, measured inside the program, less that of the same
//! program uninstrumented, for each instrumentation, against two clock reads and the peer.

use super::{LIMIT, Setup, median, remove};
use crate::e2e::real::{Program, WAYS, Way};
use crate::run::{run, run_ok, tail};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One thing to run, with the number of calls it makes.
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) args: Vec<String>,
    pub(super) sqlite: bool,
}

/// A program built in one way, and who traces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tracer {
    None,
    /// Hooks that only return.
    Bare,
    Fathom,
    Peer,
}

/// Traced and untraced runs in turn, so that a slow minute of the machine hits all alike.
pub(super) fn main(setup: &Setup) -> Result<bool> {
    let runs = setup.runs.unwrap_or(if setup.quick { 3 } else { 7 });
    let plain = setup.calls("plain", &[])?;
    let clock = two_clock_reads(setup, &plain, runs)?;
    println!("two clock reads: {clock:.1} ns (median of {runs})");
    println!(
        "ns per call and return: CPU time, user and system, of the calling threads less that of the same calls"
    );
    println!("untraced; median of {runs} interleaved runs [least]; without library calls and events\n");
    println!(
        "{:<8} {:<7} {:>9} {:>20} {:>20} {:>9} {:>9}",
        "workload", "build", "untraced", "fathom", "uftrace", "/ clocks", "uftrace /"
    );
    let mut worst = (0.0_f64, f64::INFINITY);
    let mut unmodified = worst;
    for workload in workloads(setup.quick).into_iter().filter(|workload| setup.wanted(workload.name)) {
        for way in WAYS {
            let (to_clock, to_peer) = compare(setup, &workload, way, runs, clock)?;
            if !workload.sqlite && way.name != "finst" {
                worst.0 = worst.0.max(to_clock);
            }
            worst.1 = worst.1.min(to_peer);
            if way.name == "plain" {
                unmodified = (unmodified.0.max(to_clock), unmodified.1.min(to_peer));
            }
        }
    }
    let verdict = |met: bool| if met { "met" } else { "missed" };
    if worst.0 > 0.0 {
        println!(
            "\nat most 1.5 x two clock reads (pg, fentry, patch; loops): worst {:.2}, {}",
            worst.0,
            verdict(worst.0 <= 1.5)
        );
    }
    if worst.1.is_finite() {
        println!("at least 4 x less than uftrace: worst {:.2}, {}", worst.1, verdict(worst.1 >= 4.0));
    }
    if unmodified.0 > 0.0 {
        println!(
            "unmodified programs (plain, -P .): at most 1.5 x two clock reads: worst {:.2}, {}; at least 4 x less than uftrace -P .: worst {:.2}, {}",
            unmodified.0,
            verdict(unmodified.0 <= 1.5),
            unmodified.1,
            verdict(unmodified.1 >= 4.0)
        );
    }
    super::patch::main(setup, runs)?;
    super::options::main(setup, runs, clock)?;
    Ok(true)
}

fn workloads(quick: bool) -> Vec<Workload> {
    let calls = |name, words: &[&str]| Workload {
        name,
        args: words.iter().map(|word| (*word).to_owned()).collect(),
        sqlite: false,
    };
    let (tight, fib, part, rows) =
        if quick { ("2000000", "27", "25", "2000") } else { ("5000000", "30", "28", "8000") };
    vec![
        calls("tight", &["tight", tight]),
        calls("fib", &["fib", fib]),
        calls("fib x2", &["fib", part, "2"]),
        calls("fib x4", &["fib", part, "4"]),
        Workload { name: "sqlite", args: vec![rows.to_owned(), "-t".to_owned()], sqlite: true },
    ]
}

fn two_clock_reads(setup: &Setup, plain: &Path, runs: usize) -> Result<f64> {
    let mut values = Vec::new();
    for _ in 0..runs {
        let done = run_ok(Command::new(plain).arg("clock"), &setup.dir, LIMIT)?;
        values.push(ns_per_call(&done.stdout)?);
    }
    Ok(median(&mut values).0)
}

/// Prints one line. Returns the ratio of our cost to two clock reads, and of the peer's cost to ours.
fn compare(setup: &Setup, workload: &Workload, way: &Way, runs: usize, clock: f64) -> Result<(f64, f64)> {
    let (plain, built) = programs(setup, workload, way)?;
    // Calls are counted once: what a program calls does not change from run to run.
    let calls = if workload.sqlite { calls_of(setup, workload, way, &built)? } else { 1.0 };
    let mut tracers = vec![Tracer::None, Tracer::Fathom];
    if setup.peer.is_some() {
        tracers.push(Tracer::Peer);
    }
    let mut values: BTreeMap<Tracer, Vec<f64>> = BTreeMap::new();
    // The first round warms up: files, page cache, memory that the machine has not had before.
    for round in 0..=runs {
        for tracer in &tracers {
            let program = if *tracer == Tracer::None { &plain } else { &built };
            let value = one_run(setup, workload, way, program, *tracer, &[], None)? / calls;
            if round > 0 {
                values.entry(*tracer).or_default().push(value);
            }
        }
    }
    let mut of = |tracer| median(values.entry(tracer).or_default());
    let (untraced, ours, peers) = (of(Tracer::None), of(Tracer::Fathom), of(Tracer::Peer));
    let cost = |value: f64| value - untraced.0;
    let shown = |(middle, least): (f64, f64)| format!("{:.1} [{:.1}]", cost(middle), cost(least));
    let to_clock = cost(ours.0) / clock;
    let to_peer = if setup.peer.is_some() { cost(peers.0) / cost(ours.0) } else { f64::INFINITY };
    println!(
        "{:<8} {:<7} {:>9.1} {:>20} {:>20} {:>9.2} {:>9.2}",
        workload.name,
        way.name,
        untraced.0,
        shown(ours),
        if setup.peer.is_some() { shown(peers) } else { "-".to_owned() },
        to_clock,
        to_peer
    );
    Ok((to_clock, to_peer))
}

/// The program uninstrumented and instrumented.
pub(super) fn programs(setup: &Setup, workload: &Workload, way: &Way) -> Result<(PathBuf, PathBuf)> {
    if !workload.sqlite {
        return Ok((setup.calls("plain", &[])?, setup.calls(way.name, way.flags)?));
    }
    let plain: &[&str] = if way.name == "finst" { &["-fno-inline"] } else { &[] };
    let name = if plain.is_empty() { "plain" } else { "plain-noinline" };
    let build = |name, flags| Program::Sqlite.build(&setup.dir, name, flags, &setup.workloads);
    Ok((build(name, plain)?, build(way.name, way.flags)?))
}

/// CPU time of one run in ns: per call for the loops, in all for SQLite. `bare` is the library of [`Tracer::Bare`].
pub(super) fn one_run(
    setup: &Setup,
    workload: &Workload,
    way: &Way,
    program: &Path,
    tracer: Tracer,
    options: &[&str],
    bare: Option<&Path>,
) -> Result<f64> {
    let data = setup.dir.join("record.data");
    let mut command = match tracer {
        Tracer::None => Command::new(program),
        Tracer::Bare => {
            let mut command = Command::new(program);
            command.env("LD_PRELOAD", bare.context("no bare hooks")?);
            command
        }
        Tracer::Fathom => recorder(&setup.fathom, way, program, &data, options),
        Tracer::Peer => recorder(setup.peer.as_deref().context("no uftrace")?, way, program, &data, options),
    };
    let done = run(command.args(&workload.args), &setup.dir, LIMIT)?;
    remove(&data);
    remove(&setup.dir.join("record.data.old"));
    if !done.status.success() {
        bail!("{command:?} {}: {}", done.end(), tail(&done.stderr, 500));
    }
    if workload.sqlite {
        let line = done.stderr.lines().find_map(|line| line.strip_prefix("cpu_ms "));
        let ms: f64 = line.context("the workload printed no cpu_ms")?.parse()?;
        return Ok(ms * 1e6);
    }
    ns_per_call(&done.stdout)
}

fn recorder(tracer: &Path, way: &Way, program: &Path, data: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(tracer);
    command
        .args(["record", "--no-event", "--no-libcall", "-d"])
        .arg(data)
        .args(way.record)
        .args(options)
        .arg(program);
    command
}

fn ns_per_call(stdout: &str) -> Result<f64> {
    let word = stdout.split_whitespace().nth(1).with_context(|| format!("no time in {stdout:?}"))?;
    Ok(word.parse()?)
}

/// The number of calls of SQLite's workload: the sum of its report.
pub(super) fn calls_of(setup: &Setup, workload: &Workload, way: &Way, program: &Path) -> Result<f64> {
    let data = setup.dir.join("count.data");
    run_ok(recorder(&setup.fathom, way, program, &data, &[]).args(&workload.args), &setup.dir, LIMIT)?;
    let mut report = Command::new(&setup.fathom);
    report.args(["report", "--no-pager", "-d"]).arg(&data);
    let text = run_ok(&mut report, &setup.dir, LIMIT)?.stdout;
    remove(&data);
    remove(&setup.dir.join("count.data.old"));
    let calls = crate::e2e::calls_of_report(&text)?;
    Ok(calls as f64)
}
