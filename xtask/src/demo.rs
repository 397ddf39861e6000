//! `cargo xtask demo`: from a fresh checkout to the call graph of a real program.

use crate::e2e::real::{Program, WAYS};
use crate::paths;
use crate::run::run_ok;
use crate::setup;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);
/// Columns of a graph's branches that are shown.
const DEEPEST: usize = 14;
// A short run with a small tree: what a person can read.
const SCRIPT: &str =
    "local t = {} for i = 1, 5 do t[i] = ('x'):rep(i) end table.sort(t) print(table.concat(t, ' '))\n";

/// Builds, records, shows.
pub(crate) fn main() -> Result<bool> {
    let missing = setup::ensure(&[setup::CC]);
    if !missing.is_empty() {
        bail!("the demo compiles Lua and needs {}", missing.join(", "));
    }
    step("building fathom (release)");
    let fathom = paths::build_fathom()?;
    step("building Lua 5.4 with gcc -O2 -pg -mfentry");
    let dir = paths::target().join("demo");
    std::fs::create_dir_all(&dir)?;
    let way = WAYS.iter().find(|way| way.name == "fentry").context("no such way")?;
    let lua = Program::Lua.build(&dir, way.name, way.flags, &paths::root().join("tests/workloads"))?;
    std::fs::write(dir.join("demo.lua"), SCRIPT)?;

    let mut record = Command::new(&fathom);
    record.args(["record", "-d", "lua.data"]).arg(&lua).arg("demo.lua");
    show(&dir, &mut record, 100)?;
    let mut graph = Command::new(&fathom);
    graph.args(["graph", "-d", "lua.data"]);
    show(&dir, &mut graph, 60)?;
    let mut report = Command::new(&fathom);
    report.args(["report", "-d", "lua.data"]);
    show(&dir, &mut report, 16)?;
    println!("\nThe recording is in {}. Try:", dir.join("lua.data").display());
    println!("  {} replay -d {}", fathom.display(), dir.join("lua.data").display());
    Ok(true)
}

fn step(text: &str) {
    println!("==> {text}");
}

/// Shows a command as typed and the first lines of what it prints.
fn show(dir: &Path, command: &mut Command, lines: usize) -> Result<()> {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().rsplit('/').next().unwrap_or_default().to_owned())
        .collect();
    println!("\n$ {}", words.join(" "));
    let done = run_ok(command, dir, LIMIT)?;
    let mut readable: Vec<&str> = done.stdout.lines().filter(|line| shallow(line)).collect();
    // Of the separators that deeper branches leave behind one is enough.
    readable.dedup_by(|later, line| separator(later) && separator(line));
    for line in readable.iter().take(lines) {
        println!("{line}");
    }
    let hidden = done.stdout.lines().count() - readable.len().min(lines);
    if hidden > 0 {
        println!("... {hidden} more lines: deeper, or further down");
    }
    Ok(())
}

/// Whether a line only separates two branches of a graph.
fn separator(line: &str) -> bool {
    line.contains(" : ") && line.chars().all(|c| " :|".contains(c))
}

/// Whether a line is to be shown: all but those of a graph's deeper branches.
fn shallow(line: &str) -> bool {
    let Some((_, tree)) = line.split_once(" : ") else { return true };
    tree.trim_end().len() - tree.trim_start_matches([' ', '|', '+', '-']).len() <= DEEPEST
        && tree.find('(').unwrap_or_else(|| tree.trim_end().len()) <= DEEPEST
}
