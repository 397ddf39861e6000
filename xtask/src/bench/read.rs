//! The speed of reading a recording and the memory it takes: both programs over the same directory, in turn.

use super::usage::{Usage, measure};
use super::{LIMIT, Setup, median, remove};
use crate::run::run_ok;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const COMMANDS: &[&[&str]] = &[&["report"], &["graph"], &["replay"], &["dump"]];

/// What the ratio of CPU times to the peer should be, at least.
fn goal(command: &str) -> Option<f64> {
    match command {
        "report" | "graph" => Some(10.0),
        "replay" => Some(5.0),
        _ => None,
    }
}

/// Records traces of the sizes wanted and reads each with both programs.
pub(super) fn main(setup: &Setup) -> Result<bool> {
    println!(
        "M records/s by CPU time (by elapsed time), peak memory; output to /dev/null, programs in turn\n"
    );
    println!(
        "{:<18} {:<7} {:>20} {:>9} {:>20} {:>9} {:>7} {:>6}",
        "records", "command", "fathom", "MiB", "uftrace", "MiB", "ratio", "goal"
    );
    let mut missed = 0;
    let mut sizes: Vec<(u64, u32)> = setup.records.iter().map(|size| (*size, 1)).collect();
    if setup.records.contains(&10) {
        sizes.push((10, 16));
    }
    let mut memory: Vec<(String, u64, f64)> = Vec::new();
    for (millions, threads) in sizes {
        let data = trace(setup, millions, threads)?;
        let records = records_in(&data)?;
        let runs = setup.runs.unwrap_or(if millions >= 100 { 1 } else { 3 });
        for words in COMMANDS {
            let (ratio, peak) = compare(setup, &data, records, threads, words, runs)?;
            if goal(words[0]).is_some_and(|goal| ratio < goal) {
                missed += 1;
            }
            if threads == 1 {
                memory.push((words.join(" "), records, peak));
            }
        }
        remove(&data);
    }
    if setup.peer.is_some() {
        println!("\ngoals missed: {missed}");
    }
    for words in COMMANDS {
        let of: Vec<String> = memory
            .iter()
            .filter(|(command, ..)| *command == words.join(" "))
            .map(|(_, records, peak)| format!("{peak:.0} MiB at {:.1}M", *records as f64 / 1e6))
            .collect();
        println!("memory of {}: {}", words.join(" "), of.join(", "));
    }
    Ok(true)
}

/// Records a recursion that makes about as many records as wanted.
pub(super) fn trace(setup: &Setup, millions: u64, threads: u32) -> Result<PathBuf> {
    let program = setup.calls("fentry", &["-pg", "-mfentry"])?;
    let wanted = millions * 1_000_000 / 2 / u64::from(threads);
    // fib(n) makes a + b + 1 calls, where fib(n-1) and fib(n-2) make a and b.
    let (mut calls, mut before, mut n) = (1_u64, 1_u64, 1_u64);
    while calls < wanted {
        (calls, before) = (calls + before + 1, calls);
        n += 1;
    }
    // The nearer of the two.
    if wanted - before < calls - wanted {
        n -= 1;
    }
    let data = setup.dir.join(format!("read-{millions}M-{threads}.data"));
    remove(&data);
    let mut command = Command::new(&setup.fathom);
    command.args(["record", "--no-event", "--no-libcall", "-d"]).arg(&data).arg(program);
    run_ok(command.args(["fib", &n.to_string(), &threads.to_string()]), &setup.dir, LIMIT)?;
    Ok(data)
}

/// 16 bytes make a record in the data directory's format.
pub(super) fn records_in(data: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(data).with_context(|| format!("cannot read {}", data.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "dat") {
            bytes += std::fs::metadata(&path)?.len();
        }
    }
    if bytes == 0 {
        bail!("{} has no records", data.display());
    }
    Ok(bytes / 16)
}

/// Prints one line. Returns the ratio of CPU times and our peak memory.
fn compare(
    setup: &Setup,
    data: &Path,
    records: u64,
    threads: u32,
    words: &[&str],
    runs: usize,
) -> Result<(f64, f64)> {
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        ours.push(read(&setup.fathom, data, words, &setup.dir)?);
        if let Some(peer) = &setup.peer {
            peers.push(read(peer, data, words, &setup.dir)?);
        }
    }
    let rate = |usages: &[Usage], of: fn(&Usage) -> f64| {
        let (seconds, _) = median(&mut usages.iter().map(of).collect::<Vec<_>>());
        records as f64 / 1e6 / seconds.max(1e-4)
    };
    let shown = |usages: &[Usage]| {
        if usages.is_empty() {
            return "-".to_owned();
        }
        format!("{:.1} ({:.1})", rate(usages, |usage| usage.cpu), rate(usages, |usage| usage.wall))
    };
    let peak = |usages: &[Usage]| usages.iter().map(|usage| usage.peak).fold(0.0, f64::max);
    let ratio = if peers.is_empty() {
        f64::NAN
    } else {
        rate(&ours, |usage| usage.cpu) / rate(&peers, |usage| usage.cpu)
    };
    let size = format!("{:.1}M, {threads} task{}", records as f64 / 1e6, if threads == 1 { "" } else { "s" });
    println!(
        "{size:<18} {:<7} {:>20} {:>9.1} {:>20} {:>9.1} {ratio:>7.1} {:>6}",
        words.join(" "),
        shown(&ours),
        peak(&ours),
        shown(&peers),
        peak(&peers),
        goal(words[0]).map_or_else(|| "-".to_owned(), |goal| format!("{goal:.0}"))
    );
    Ok((ratio, peak(&ours)))
}

fn read(program: &Path, data: &Path, words: &[&str], dir: &Path) -> Result<Usage> {
    let mut command = Command::new(program);
    command.args(words).args(["--no-pager", "-d"]).arg(data);
    measure(&mut command, dir)
}
