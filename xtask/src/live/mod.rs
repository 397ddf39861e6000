//! The tests on live kernels: declarative cases in virtual machines.

mod batch;
mod case;
mod decode;
mod disks;
mod host;
mod kernel_text;

use crate::e2e::{Outcome, Summary};
use crate::paths::{self, which};
use crate::vm;
use anyhow::{Context, Result, bail};
use batch::Batch;
pub(crate) use batch::Programs;
use case::Case;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Programs of the machine that guests get where they are installed.
const PEERS: &[&str] = &["trace-cmd", "uftrace"];

#[derive(Debug, Default)]
struct Options {
    fathom: Option<PathBuf>,
    kernels: Vec<String>,
    filters: Vec<String>,
    list: bool,
    script: Option<PathBuf>,
}

/// `cargo xtask vm`.
pub(crate) fn main(args: &[String]) -> Result<bool> {
    let options = parse(args)?;
    if options.list {
        let cases = load()?;
        for kernel in kernels(&options) {
            for case in &cases {
                if case.on(&kernel)?.is_some() {
                    println!("vm/{kernel}/{}: test", case.name);
                }
            }
        }
        return Ok(true);
    }
    if let Some(script) = &options.script {
        return run_script(&options, script);
    }
    let summary = run(&options)?;
    println!("{} passed, {} failed, {} skipped", summary.passed, summary.failed, summary.skipped.len());
    Ok(summary.failed == 0)
}

/// All cases on all kernels, for `cargo xtask test`.
pub(crate) fn all() -> Result<Summary> {
    run(&Options::default())
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--fathom" => options.fathom = Some(value()?.into()),
            "--kernel" => options.kernels.push(value()?.clone()),
            "--script" => options.script = Some(value()?.into()),
            "--list" => options.list = true,
            _ if arg.starts_with('-') => bail!("vm has no option {arg}"),
            _ => options.filters.push(arg.clone()),
        }
    }
    Ok(options)
}

fn kernels(options: &Options) -> Vec<String> {
    if options.kernels.is_empty() { vm::kernel::names() } else { options.kernels.clone() }
}

fn load() -> Result<Vec<Case>> {
    case::load(&paths::root().join("tests/vm"))
}

/// Boots each kernel with a script of the developer's and shows what it printed.
fn run_script(options: &Options, script: &Path) -> Result<bool> {
    let missing = vm::kernel::ensure_tools();
    if !missing.is_empty() {
        bail!("not installed: {}", missing.join(", "));
    }
    let text =
        std::fs::read_to_string(script).with_context(|| format!("cannot read {}", script.display()))?;
    let work = paths::target().join("vm");
    let programs = Programs::gather(&fathom(options)?, &work)?;
    let mut fine = true;
    for name in kernels(options) {
        let job = case::script(&text);
        let kernel = vm::kernel::prepare(&name)?;
        let dir = work.join(format!("script-{name}"));
        let out = batch::run_alone(&kernel, &job, &programs, &dir)?;
        println!("--- {name}\n{out}");
        fine &= out.ends_with("status 0\n");
    }
    Ok(fine)
}

fn run(options: &Options) -> Result<Summary> {
    let started = Instant::now();
    let cases = load()?;
    let work = paths::target().join("vm");
    std::fs::create_dir_all(&work)?;
    let mut summary = Summary::default();
    let missing = vm::kernel::ensure_tools();
    let mut batches = VecDeque::new();
    for name in kernels(options) {
        let mut jobs = Vec::new();
        for case in &cases {
            jobs.extend(case.on(&name)?);
        }
        jobs.retain(|job| {
            let full = format!("vm/{name}/{}", job.name);
            options.filters.is_empty() || options.filters.iter().any(|filter| full.contains(filter.as_str()))
        });
        if jobs.is_empty() {
            continue;
        }
        let kernel = match missing.is_empty() {
            true => vm::kernel::prepare(&name),
            false => Err(anyhow::anyhow!("not installed: {}", missing.join(", "))),
        };
        match kernel {
            Ok(kernel) => batches.extend(batch::batches(&kernel, jobs)),
            Err(error) => {
                let reason = format!("{error:#}");
                eprintln!("xtask: NO TESTS ON KERNEL {name}: {reason}");
                let skipped = jobs.into_iter().map(|job| (format!("vm/{name}/{}", job.name), reason.clone()));
                summary.skipped.extend(skipped);
            }
        }
    }
    let fathom = fathom(options)?;
    let work = work.canonicalize()?;
    host::run_all(&fathom, &work, &options.filters, &mut summary);
    if !batches.is_empty() {
        let programs = Programs::gather(&fathom, &work)?;
        run_batches(batches, &programs, &work, &mut summary);
    }
    println!("\nvirtual machines: {:.1} s", started.elapsed().as_secs_f64());
    Ok(summary)
}

/// Two machines at a time: each is emulated by one thread.
fn run_batches(batches: VecDeque<Batch>, programs: &Programs, work: &Path, summary: &mut Summary) {
    let cases: usize = batches.iter().map(|batch| batch.jobs.len()).sum();
    println!("running {cases} tests in {} virtual machines", batches.len());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 2);
    let mut batches = Vec::from(batches);
    // Long ones first: begun last, one would run alone for minutes.
    batches.sort_by_key(|batch| std::cmp::Reverse(batch.jobs.len()));
    let queue = Mutex::new(batches.into_iter().enumerate().collect::<VecDeque<_>>());
    let summary = Mutex::new(summary);
    let one = || {
        loop {
            let Some((number, batch)) = queue.lock().ok().and_then(|mut queue| queue.pop_front()) else {
                return;
            };
            let kernel = batch.kernel.name.clone();
            let names: Vec<String> = batch.jobs.iter().map(|job| job.name.clone()).collect();
            let dir = work.join(format!("{kernel}-{number}"));
            let results = batch.run(programs, &dir).unwrap_or_else(|error| {
                let failed = |name: String| (name, Outcome::Failed(format!("{error:#}")));
                names.into_iter().map(failed).collect()
            });
            let Ok(mut summary) = summary.lock() else { return };
            for (name, outcome) in results {
                note(&mut summary, format!("vm/{kernel}/{name}"), outcome);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(one);
        }
    });
}

/// Prints how a test ended and counts it.
pub(crate) fn note(summary: &mut Summary, name: String, outcome: Outcome) {
    match outcome {
        Outcome::Passed => {
            summary.passed += 1;
            println!("test {name} ... ok");
        }
        Outcome::Skipped(reason) => {
            println!("test {name} ... ignored, {reason}");
            summary.skipped.push((name, reason));
        }
        Outcome::Failed(text) => {
            summary.failed += 1;
            println!("test {name} ... FAILED\n{text}");
        }
    }
}

/// The program to test.
fn fathom(options: &Options) -> Result<PathBuf> {
    match &options.fathom {
        Some(path) => std::fs::canonicalize(path).with_context(|| format!("no {}", path.display())),
        None => paths::build_fathom(),
    }
}

impl Programs {
    /// What guests get: the program to test, this program, the peers that are installed, and the workloads in C.
    pub(crate) fn gather(fathom: &Path, work: &Path) -> Result<Self> {
        let small = work.join("programs");
        let mut list = vec![
            (vm::stripped(fathom, &small)?, "/usr/bin/fathom".to_owned()),
            (vm::stripped(&std::env::current_exe()?, &small)?, "/usr/bin/xtask".to_owned()),
        ];
        list.extend(PEERS.iter().filter_map(|name| Some((which(name)?, format!("/usr/bin/{name}")))));
        // In place of busybox's, which is static.
        list.extend(which("cat").map(|path| (path, "/bin/cat".to_owned())));
        list.extend(peer_libraries());
        for (name, flags) in [("work", &["-O2", "-pg"][..]), ("calls", &["-O0", "-pg"][..])] {
            list.push((compile(&small, name, flags)?, format!("/usr/bin/{name}")));
        }
        Ok(Self { fathom: fathom.to_owned(), list })
    }
}

/// Compiles a workload of `tests/vm` into `dir`.
fn compile(dir: &Path, name: &str, flags: &[&str]) -> Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    let (program, source) = (dir.join(name), paths::root().join("tests/vm").join(format!("{name}.c")));
    let mut gcc = Command::new("gcc");
    gcc.args(["-g", "-pthread", "-o"]).arg(&program).args(flags).arg(source);
    crate::run::run_ok(&mut gcc, dir, Duration::from_secs(60))?;
    Ok(program)
}

/// Runs a script in a boot of its own. Returns where it left its files, and all it printed.
pub(crate) fn run_for_bench(
    kernel: &vm::Kernel,
    script: &str,
    programs: &Programs,
    dir: &Path,
    limit: Duration,
) -> Result<(PathBuf, String)> {
    let mut job = case::script(script);
    job.timeout = u32::try_from(limit.as_secs())?;
    let said = batch::run_alone(kernel, &job, programs, dir)?;
    if !said.ends_with("status 0\n") {
        bail!("in the virtual machine: {}", crate::run::tail(&said, 2000));
    }
    Ok((dir.join("out").join(batch::folder(&job.name)), said))
}

/// What uftrace loads into programs.
fn peer_libraries() -> Vec<(PathBuf, String)> {
    let mut list = Vec::new();
    for dir in ["/usr/lib/x86_64-linux-gnu/uftrace", "/usr/lib/uftrace", "/usr/lib/x86_64-linux-gnu"] {
        let Ok(entries) = std::fs::read_dir(dir) else { continue };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let libraries = paths.filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libmcount"))
        });
        list.extend(libraries.map(|path| (path.clone(), path.to_string_lossy().into_owned())));
    }
    list
}
