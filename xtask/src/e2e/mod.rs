//! The end-to-end tests: real programs are compiled, traced and compared with their untraced runs and with the peer.

mod bad_input;
mod build;
mod case;
mod cell;
mod equal;
mod interop;
mod network;
mod options;
mod random;
pub(crate) mod real;
mod symbols;
mod text;
mod throws;
mod torture;
mod truth;
mod tui;

use crate::paths;
use anyhow::{Context as _, Result, bail};
use case::Case;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

/// What all tests share.
#[derive(Debug)]
pub(crate) struct Context {
    /// The program to test.
    pub(crate) fathom: PathBuf,
    pub(crate) peer: Option<PathBuf>,
    pub(crate) fixtures: PathBuf,
    pub(crate) workloads: PathBuf,
    /// Scratch directories of the tests.
    pub(crate) work: PathBuf,
    /// Compiled real programs, kept from run to run.
    pub(crate) cache: PathBuf,
    /// Write expected replays that are not there.
    pub(crate) bless: bool,
}

/// How a test ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
}

/// Sums of a run.
#[derive(Debug, Default, Clone)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Names and reasons.
    pub(crate) skipped: Vec<(String, String)>,
}

impl Summary {
    /// Counts another run's tests in.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
    }
}

/// The calls of all functions of a report's text.
pub(crate) fn calls_of_report(text: &str) -> Result<u64> {
    Ok(text::report(text)?.values().sum())
}

type Check = Box<dyn Fn(&Context) -> Result<Outcome> + Send>;

struct Test {
    name: String,
    check: Check,
}

#[derive(Default)]
struct Options {
    fathom: Option<PathBuf>,
    filters: Vec<String>,
    list: bool,
    bless: bool,
    long: bool,
}

/// `cargo xtask e2e`.
pub(crate) fn main(args: &[String]) -> Result<bool> {
    let options = parse(args)?;
    if options.list {
        for test in tests(options.long)? {
            println!("{}: test", test.name);
        }
        return Ok(true);
    }
    let summary = run(&options)?;
    println!("{} passed, {} failed, {} skipped", summary.passed, summary.failed, summary.skipped.len());
    Ok(summary.failed == 0)
}

/// All tests with a freshly built program, for `cargo xtask test`.
pub(crate) fn all(long: bool) -> Result<Summary> {
    run(&Options { long, ..Options::default() })
}

/// The rows of programs with all of their functions patched, the long ones among them, and the many ways of building what is
/// patched.
pub(crate) fn torture() -> Result<Summary> {
    torture::install(&torture::load(&paths::root().join("tests/torture.rows"))?);
    run(&Options {
        long: true,
        filters: vec!["torture/".to_owned(), "/matrix-".to_owned()],
        ..Options::default()
    })
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--fathom" => options.fathom = Some(args.next().context("--fathom needs a path")?.into()),
            "--list" => options.list = true,
            "--bless" => options.bless = true,
            "--long" => options.long = true,
            _ if arg.starts_with('-') => bail!("e2e has no option {arg}"),
            _ => options.filters.push(arg.clone()),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<Summary> {
    let root = paths::root();
    let work = paths::target().join("e2e");
    std::fs::create_dir_all(&work)?;
    let context = Context {
        fathom: match &options.fathom {
            Some(path) => std::fs::canonicalize(path).with_context(|| format!("no {}", path.display()))?,
            None => paths::build_fathom()?,
        },
        peer: paths::peer(),
        fixtures: root.join("tests/fixtures"),
        workloads: root.join("tests/workloads"),
        cache: work.join("programs"),
        work,
        bless: options.bless,
    };
    let wanted = |test: &Test| {
        options.filters.is_empty() || options.filters.iter().any(|filter| test.name.contains(filter.as_str()))
    };
    let tests: Vec<Test> = tests(options.long)?.into_iter().filter(wanted).collect();
    Ok(run_all(&context, tests))
}

fn run_all(context: &Context, tests: Vec<Test>) -> Summary {
    let started = Instant::now();
    println!("running {} end-to-end tests", tests.len());
    let jobs = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let queue = Mutex::new(VecDeque::from(tests));
    let summary = Mutex::new(Summary::default());
    let failures = Mutex::new(Vec::new());
    let work = || {
        loop {
            let Some(test) = queue.lock().ok().and_then(|mut queue| queue.pop_front()) else { return };
            let outcome = (test.check)(context).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
            let Ok(mut summary) = summary.lock() else { return };
            match outcome {
                Outcome::Passed => {
                    summary.passed += 1;
                    println!("test {} ... ok", test.name);
                }
                Outcome::Skipped(reason) => {
                    println!("test {} ... ignored, {reason}", test.name);
                    summary.skipped.push((test.name, reason));
                }
                Outcome::Failed(text) => {
                    summary.failed += 1;
                    println!("test {} ... FAILED\n{text}", test.name);
                    failures.lock().map(|mut failures| failures.push(test.name)).ok();
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    for name in failures.into_inner().unwrap_or_default() {
        println!("failed: {name}");
    }
    let summary = summary.into_inner().unwrap_or_default();
    println!("\nend-to-end: {:.1} s", started.elapsed().as_secs_f64());
    summary
}

/// All tests: the long ones first, so that they do not end up alone at the end.
fn tests(long: bool) -> Result<Vec<Test>> {
    let cases = case::load(&paths::root().join("tests/e2e"))?;
    let mut tests = Vec::new();
    for program in [real::Program::Sqlite, real::Program::Lua] {
        for way in real::WAYS {
            let sizes = if long { &[false, true][..] } else { &[false] };
            for size in sizes {
                let name =
                    format!("real/{}/{}{}", program.name(), way.name, if *size { "/long" } else { "" });
                let (way, size) = (*way, *size);
                let check = move |context: &Context| match missing(&["gcc".to_owned()]) {
                    Some(reason) => Ok(Outcome::Skipped(reason)),
                    None => real::check(context, program, &way, size),
                };
                tests.push(Test { name, check: Box::new(check) });
            }
        }
    }
    for program in [real::Program::Sqlite, real::Program::Lua] {
        for (compiler, way) in real::MATRIX.iter().filter(|_| long) {
            let name = format!("real/{}/{}", program.name(), way.name);
            let check = move |context: &Context| {
                let mut needs = build::linkers(way.flags);
                needs.push((*compiler).to_owned());
                match missing(&needs) {
                    Some(reason) => Ok(Outcome::Skipped(reason)),
                    None => real::check_by(compiler, context, program, way, false),
                }
            };
            tests.push(Test { name, check: Box::new(check) });
        }
    }
    for case in &cases {
        let builds = build::builds(case)?;
        for build in builds.iter().filter(|build| long || !build.matrix) {
            tests.push(cell(case, *build, "", cell::check));
        }
        let both = |name: &str| name.ends_with("pg-O0") || name.ends_with("finst-O2") || builds.len() == 1;
        let ours = |build: &&build::Build| !build.name.contains("clang") && !build.matrix;
        for build in builds.iter().filter(|build| both(build.name)).filter(ours) {
            tests.push(cell(case, *build, "interop/", interop::check));
        }
    }
    for row in torture::load(&paths::root().join("tests/torture.rows"))? {
        if row.long && !long {
            continue;
        }
        let name = format!("torture/{}", row.name);
        tests.push(Test { name, check: Box::new(move |context: &Context| torture::check(context, &row)) });
    }
    for (name, ends) in network::ENDS {
        let check = move |context: &Context| match missing(&["gcc".to_owned()]) {
            Some(reason) => Ok(Outcome::Skipped(reason)),
            None => network::check(context, ends),
        };
        tests.push(Test { name: format!("network/{name}"), check: Box::new(check) });
    }
    for (name, check) in symbols::TESTS {
        tests.push(Test { name: (*name).to_owned(), check: Box::new(check) });
    }
    let rows = options::tests(&paths::root().join("tests/options"))?;
    tests.extend(rows.into_iter().map(|(name, check)| Test { name, check }));
    for seed in 0..if long { 400 } else { 40 } {
        let check = move |context: &Context| match missing(&["gcc".to_owned()]) {
            Some(reason) => Ok(Outcome::Skipped(reason)),
            None => equal::check(context, seed),
        };
        tests.push(Test { name: format!("equal/{seed}"), check: Box::new(check) });
    }
    for seed in 0..if long { 100 } else { 10 } {
        let check = move |context: &Context| throws::check(context, seed);
        tests.push(Test { name: format!("throws/{seed}"), check: Box::new(check) });
    }
    for (name, build, types, seed) in truth::tests(long) {
        let check = move |context: &Context| match missing(&["gcc".to_owned()]) {
            Some(reason) => Ok(Outcome::Skipped(reason)),
            None => truth::check(context, build, types, seed),
        };
        tests.push(Test { name, check: Box::new(check) });
    }
    let shown =
        cases.iter().find(|case| case.name == "varargs_and_floats").context("no case varargs_and_floats")?;
    for (name, check) in tui::TESTS {
        let case = shown.clone();
        let check = move |context: &Context| match missing(&["gcc".to_owned(), "tmux".to_owned()]) {
            Some(reason) => Ok(Outcome::Skipped(reason)),
            None => check(context, &case),
        };
        tests.push(Test { name: (*name).to_owned(), check: Box::new(check) });
    }
    let victim = cases.iter().find(|case| case.name == "posix_spawn").context("no case posix_spawn")?;
    for kind in bad_input::KINDS {
        for damage in bad_input::DAMAGES {
            let (case, kind, damage) = (victim.clone(), *kind, *damage);
            let name = format!("bad_input/{kind}/{damage:?}").to_lowercase();
            let check = move |context: &Context| match missing(&["gcc".to_owned()]) {
                Some(reason) => Ok(Outcome::Skipped(reason)),
                None => bad_input::check(context, &case, kind, damage),
            };
            tests.push(Test { name, check: Box::new(check) });
        }
    }
    Ok(tests)
}

fn cell(
    case: &Case,
    build: build::Build,
    prefix: &str,
    check: fn(&Context, &Case, &build::Build) -> Result<Outcome>,
) -> Test {
    let case = case.clone();
    let name = format!("{prefix}{}/{}", case.name, build.name);
    let check = move |context: &Context| {
        let mut needs = case.requires.clone();
        needs.push(build.compiler.to_owned());
        needs.extend(build.tools());
        match missing(&needs) {
            Some(reason) => Ok(Outcome::Skipped(reason)),
            None => check(context, &case, &build),
        }
    };
    Test { name, check: Box::new(check) }
}

/// Why a test with these requirements cannot run here: `root`, or the name of a program.
fn missing(needs: &[String]) -> Option<String> {
    needs.iter().find_map(|need| match need.as_str() {
        "root" => (!crate::setup::is_root()).then(|| "needs root".to_owned()),
        "x86_64" => (!cfg!(target_arch = "x86_64")).then(|| "needs an x86-64 machine".to_owned()),
        "clang's profile library" => {
            (!build::has_profile_library()).then(|| format!("{need} is not installed"))
        }
        program => paths::which(program).is_none().then(|| format!("{program} is not installed")),
    })
}
