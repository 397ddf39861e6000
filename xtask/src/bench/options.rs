//! What options cost: arguments, filters, thresholds. CPU time per call as in [`super::record`], beside the bare hook
//! (a `ret`, preloaded) and the peer with the same options.

use super::record::{Tracer, Workload, calls_of, one_run, programs};
use super::{LIMIT, Setup, median};
use crate::e2e::real::{WAYS, Way};
use crate::run::run_ok;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// Options of the recording, and what they are measured with.
struct Row {
    name: &'static str,
    words: &'static [&'static str],
    /// Where the peer spells them otherwise.
    peer: Option<&'static [&'static str]>,
    workload: &'static str,
    /// The functions are excluded: the cost is compared with that of the bare hook.
    excluded: bool,
}

const fn row(name: &'static str, words: &'static [&'static str], workload: &'static str) -> Row {
    Row { name, words, peer: None, workload, excluded: false }
}

const fn excluded(name: &'static str, words: &'static [&'static str], workload: &'static str) -> Row {
    Row { name, words, peer: None, workload, excluded: true }
}

const ROWS: &[Row] = &[
    row("none", &[], "tight"),
    row("-A int", &["-A", "leaf@arg1"], "tight"),
    row("-A int -R int", &["-A", "leaf@arg1", "-R", "leaf@retval"], "tight"),
    row("none, text", &[], "text"),
    row("-A string", &["-A", "label@arg1/s"], "text"),
    row("-A string -R string", &["-A", "label@arg1/s", "-R", "label@retval/s"], "text"),
    row("none, sqlite", &[], "sqlite"),
    row("-a, sqlite", &["-a"], "sqlite"),
    row("-t 1us", &["-t", "1us"], "tight"),
    row("-t 100us", &["-t", "100us"], "tight"),
    row("-t 100us, fib", &["-t", "100us"], "fib"),
    excluded("-N leaf", &["-N", "leaf"], "tight"),
    excluded("-F other", &["-F", "other"], "tight"),
    excluded("-D 1", &["-D", "1"], "tight"),
    excluded("-D 5, fib", &["-D", "5"], "fib"),
    Row { peer: Some(&["--disable"]), ..excluded("--trace=off", &["--trace=off"], "tight") },
];

/// Prints the table.
pub(super) fn main(setup: &Setup, runs: usize, clock: f64) -> Result<()> {
    let bare = bare_hooks(setup)?;
    println!(
        "\nthe same with options; bare: a hook that only returns; for excluded functions what is above it\n"
    );
    println!(
        "{:<20} {:<7} {:>7} {:>16} {:>16} {:>9} {:>9} {:>11}",
        "options", "build", "bare", "fathom", "uftrace", "/ clocks", "uftrace /", "above bare"
    );
    let mut worst = f64::NEG_INFINITY;
    for row in ROWS.iter().filter(|row| setup.wanted(row.name)) {
        for way in WAYS.iter().filter(|way| way.name != "finst") {
            let above = compare(setup, row, way, &bare, runs, clock)?;
            if row.excluded {
                worst = worst.max(above);
            }
        }
    }
    if worst.is_finite() {
        let verdict = if worst <= 2.0 { "met" } else { "missed" };
        println!("\nat most 2 ns above the bare hook for excluded functions: worst {worst:.1}, {verdict}");
    }
    Ok(())
}

/// The library of hooks that only return.
fn bare_hooks(setup: &Setup) -> Result<PathBuf> {
    let library = setup.dir.join("empty_hooks.so");
    let mut cc = Command::new("gcc");
    cc.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(setup.workloads.join("empty_hooks.c"));
    run_ok(&mut cc, &setup.dir, LIMIT)?;
    Ok(library)
}

fn workload(name: &'static str, quick: bool) -> Workload {
    let number = |quick_number: &str, number: &str| (if quick { quick_number } else { number }).to_owned();
    let args = match name {
        "sqlite" => vec![number("2000", "8000"), "-t".to_owned()],
        "fib" => vec![name.to_owned(), number("25", "29")],
        _ => vec![name.to_owned(), number("1000000", "3000000")],
    };
    Workload { name, args, sqlite: name == "sqlite" }
}

/// Prints one line and returns how much our cost is above the bare hook's.
fn compare(
    setup: &Setup,
    row: &Row,
    way: &Way,
    bare: &std::path::Path,
    runs: usize,
    clock: f64,
) -> Result<f64> {
    let workload = workload(row.workload, setup.quick);
    let (plain, built) = programs(setup, &workload, way)?;
    let calls = if workload.sqlite { calls_of(setup, &workload, way, &built)? } else { 1.0 };
    let mut tracers = vec![Tracer::None, Tracer::Bare, Tracer::Fathom];
    if setup.peer.is_some() {
        tracers.push(Tracer::Peer);
    }
    let mut values: BTreeMap<Tracer, Vec<f64>> = BTreeMap::new();
    for round in 0..=runs {
        for tracer in &tracers {
            let program = if *tracer == Tracer::None { &plain } else { &built };
            let words = match tracer {
                Tracer::Peer => row.peer.unwrap_or(row.words),
                _ => row.words,
            };
            let value = one_run(setup, &workload, way, program, *tracer, words, Some(bare))
                .with_context(|| row.name.to_owned())?;
            if round > 0 {
                values.entry(*tracer).or_default().push(value / calls);
            }
        }
    }
    let mut of = |tracer| median(values.entry(tracer).or_default());
    let (untraced, hook, ours, peers) =
        (of(Tracer::None), of(Tracer::Bare), of(Tracer::Fathom), of(Tracer::Peer));
    let cost = |value: f64| value - untraced.0;
    let shown = |(middle, least): (f64, f64)| format!("{:.1} [{:.1}]", cost(middle), cost(least));
    let above = ours.0 - hook.0;
    println!(
        "{:<20} {:<7} {:>7.1} {:>16} {:>16} {:>9.2} {:>9.2} {:>11}",
        row.name,
        way.name,
        cost(hook.0),
        shown(ours),
        if setup.peer.is_some() { shown(peers) } else { "-".to_owned() },
        cost(ours.0) / clock,
        cost(peers.0) / cost(ours.0),
        if row.excluded { format!("{above:.1}") } else { String::new() }
    );
    Ok(above)
}
