//! `cargo xtask bench record`, `read`, `script` and `tui`: promises about speed, each with its ratio to the peer in the same run.

mod kernel;
mod options;
mod patch;
mod read;
mod record;
mod script;
mod tui;
mod usage;

use crate::paths;
use crate::run::run_ok;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// No single command of a bench takes longer.
const LIMIT: Duration = Duration::from_secs(900);

/// Runs the bench that is named.
pub(crate) fn main(args: &[String]) -> Result<bool> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["record", ref rest @ ..] => record::main(&Setup::new(rest)?),
        ["kernel", ref rest @ ..] => kernel::main(&Setup::new(rest)?),
        ["read", ref rest @ ..] => read::main(&Setup::new(rest)?),
        ["script", ref rest @ ..] => script::main(&Setup::new(rest)?),
        ["tui", ref rest @ ..] => tui::main(&Setup::new(rest)?),
        _ => bail!(
            "usage: cargo xtask bench record|read|script|tui [--quick] [--runs N] [--only NAME] [--records 1M,10M] [--fathom PATH]"
        ),
    }
}

/// What all benches need.
struct Setup {
    fathom: PathBuf,
    peer: Option<PathBuf>,
    dir: PathBuf,
    workloads: PathBuf,
    quick: bool,
    runs: Option<usize>,
    /// Only rows whose names contain this.
    only: Option<String>,
    /// Sizes of the traces to be read, in millions of records.
    records: Vec<u64>,
}

impl Setup {
    fn new(args: &[&str]) -> Result<Self> {
        let mut fathom = None;
        let mut setup = Self {
            fathom: PathBuf::new(),
            peer: paths::peer(),
            dir: paths::target().join("bench"),
            workloads: paths::root().join("tests/workloads"),
            quick: false,
            runs: None,
            only: None,
            records: vec![1, 10, 100],
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match *arg {
                "--quick" => setup.quick = true,
                "--fathom" => fathom = Some(std::fs::canonicalize(value()?)?),
                "--only" => setup.only = Some((*value()?).to_owned()),
                "--runs" => setup.runs = Some(value()?.parse()?),
                "--records" => {
                    let sizes = value()?.split(',').map(|size| size.trim_end_matches('M').parse());
                    setup.records = sizes.collect::<Result<_, _>>()?;
                }
                _ => bail!("bench has no option {arg}"),
            }
        }
        if setup.quick {
            setup.records.retain(|size| *size < 100);
        }
        setup.fathom = match fathom {
            Some(path) => path,
            None => paths::build_fathom()?,
        };
        std::fs::create_dir_all(&setup.dir)?;
        if setup.peer.is_none() {
            println!("uftrace is not installed: no ratios to it");
        }
        println!("machine: {}, {} processors, load {}", cpu(), processors(), load());
        Ok(setup)
    }

    /// Whether a row of this name is to be measured.
    fn wanted(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| name.contains(only))
    }

    /// Compiles the program that times its own calls.
    fn calls(&self, name: &str, flags: &[&str]) -> Result<PathBuf> {
        let program = self.dir.join(format!("calls-{name}"));
        let mut cc = Command::new("gcc");
        cc.args([
            "-O2",
            "-fno-inline",
            "-fno-optimize-sibling-calls",
            "-fno-ipa-pure-const",
            "-pthread",
            "-w",
        ]);
        cc.args(flags).arg("-o").arg(&program).arg(self.workloads.join("calls.c"));
        run_ok(&mut cc, &self.dir, LIMIT)?;
        Ok(program)
    }
}

/// The middle value, and the smallest.
fn median(values: &mut [f64]) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    (middle, values.first().copied().unwrap_or(f64::NAN))
}

fn remove(dir: &Path) {
    let _ = std::fs::remove_dir_all(dir);
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or("?").to_owned()
}
