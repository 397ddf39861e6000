//! How many calls a second go through a function of a script, with both programs over the same recording.

use super::read::{records_in, trace};
use super::usage::measure;
use super::{Setup, median, remove};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// Millions of calls of the script's functions in a second, at least.
const GOAL: f64 = 2.0;

const PYTHON: &str = "\
counts = {}
def uftrace_entry(ctx):
    name = ctx['name']
    counts[name] = counts.get(name, 0) + 1
uftrace_exit = uftrace_entry
def uftrace_end():
    print(sum(counts.values()))
";

const LUA: &str = "\
local counts = {}
function uftrace_entry(ctx)
  counts[ctx.name] = (counts[ctx.name] or 0) + 1
end
uftrace_exit = uftrace_entry
function uftrace_end()
  for name, count in pairs(counts) do print(name, count) end
end
";

/// Counts entries and exits by name.
pub(super) fn main(setup: &Setup) -> Result<bool> {
    println!("M calls of a counting function a second, by elapsed time; programs in turn\n");
    println!(
        "{:<10} {:<8} {:>8} {:>9} {:>7} {:>6}",
        "records", "script", "fathom", "uftrace", "ratio", "goal"
    );
    let mut missed = 0;
    for millions in setup.records.iter().copied().filter(|millions| *millions <= 10) {
        let data = trace(setup, millions, 1)?;
        let records = records_in(&data)?;
        let runs = setup.runs.unwrap_or(3);
        for (name, text, goal) in [("count.py", PYTHON, Some(GOAL)), ("count.lua", LUA, None)] {
            let script = setup.dir.join(name);
            std::fs::write(&script, text).with_context(|| format!("cannot write {}", script.display()))?;
            let (mut ours, mut peers) = (Vec::new(), Vec::new());
            for _ in 0..runs {
                ours.push(rate(&setup.fathom, &data, &script, records, &setup.dir)?);
                if let Some(peer) = &setup.peer {
                    // Without a library that it loads the peer knows only one of the languages.
                    peers.extend(rate(peer, &data, &script, records, &setup.dir));
                }
            }
            let (ours, peers) = (median(&mut ours).0, median(&mut peers).0);
            missed += usize::from(goal.is_some_and(|goal| ours < goal));
            println!(
                "{:<10} {name:<8} {ours:>8.2} {peers:>9.2} {:>7.1} {:>6}",
                format!("{:.1}M", records as f64 / 1e6),
                ours / peers,
                goal.map_or_else(|| "-".to_owned(), |goal| format!("{goal:.0}"))
            );
        }
        remove(&data);
    }
    println!("\ngoals missed: {missed}");
    Ok(true)
}

fn rate(program: &Path, data: &Path, script: &Path, records: u64, dir: &Path) -> Result<f64> {
    let mut command = Command::new(program);
    command.args(["script", "--no-pager", "-d"]).arg(data).arg("-S").arg(script);
    Ok(records as f64 / 1e6 / measure(&mut command, dir)?.wall)
}
