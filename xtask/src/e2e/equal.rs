//! Filters and triggers mean the same when recording and when reading: random trees of calls and random options,
//! recorded with the options, and recorded without and read with them.

use super::build::{Build, builds, compile};
use super::case::Case;
use super::options::normal;
use super::random::Random;
use super::{Context, Outcome, text};
use crate::run::{run, run_ok, tail};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// The builds that take turns.
const BUILDS: &[&str] = &["pg-O0", "fentry-O2", "finst-O0", "patch-O2"];

/// A random tree and random options.
#[derive(Debug, Clone)]
pub(crate) struct Generated {
    /// Lines of `tests/fixtures/call_tree.c`.
    pub(crate) tree: String,
    /// Each with its value, so that one can be left out.
    pub(crate) options: Vec<Vec<String>>,
}

/// The case of a seed. Without registers at the entry there are no conditions.
pub(crate) fn generate(seed: u64, registers: bool) -> Generated {
    let mut random = Random::new(seed);
    let count = 1 + random.below(3);
    let options: Vec<Vec<String>> = (0..count).map(|_| option(&mut random, registers)).collect();
    let timed = options.iter().any(|words| words.iter().any(|word| word == "-t" || word.contains("time=")));
    let mut sleeps = if timed { 4 } else { 0 };
    let threads = if random.one_in(3) { 3 } else { 1 };
    let mut tree = String::new();
    for _ in 0..threads {
        let mut calls = 40;
        while calls > 0 {
            call(&mut random, 6, &mut calls, &mut sleeps, &mut tree);
        }
        tree.push('\n');
    }
    Generated { tree, options }
}

/// Writes a call and what it calls.
fn call(random: &mut Random, deeper: u64, calls: &mut u64, sleeps: &mut u64, tree: &mut String) {
    *calls = calls.saturating_sub(1);
    tree.push_str(&format!("{}{}", random.below(10), random.below(10)));
    if *sleeps > 0 && random.one_in(6) {
        *sleeps -= 1;
        tree.push('s');
    }
    if random.one_in(5) {
        tree.push('l');
    }
    while deeper > 0 && *calls > 0 && !random.one_in(3) {
        call(random, deeper - 1, calls, sleeps, tree);
    }
    tree.push(')');
}

/// One option with its value.
fn option(random: &mut Random, registers: bool) -> Vec<String> {
    let function = format!("f{}", random.below(10));
    let spec = match random.below(8) {
        0 => format!("^f[{}-{}]", random.below(3), 3 + random.below(3)),
        1 => format!("{function};f{}", random.below(10)),
        _ => function.clone(),
    };
    let pair = |name: &str, value: String| vec![name.to_owned(), value];
    match random.below(if registers { 16 } else { 15 }) {
        0 | 1 => pair("-F", spec),
        2 | 3 => pair("-N", spec),
        4 => pair("-C", spec),
        5 => pair("-H", spec),
        6 => pair("-D", (1 + random.below(5)).to_string()),
        7 => pair("-t", "10ms".to_owned()),
        8 => pair("-Z", "150".to_owned()),
        9 => pair("-L", format!("{}{}", random.pick(&["one.c", "two.c"]), random.pick(&["", "@hide"]))),
        10 => vec![format!("--trace=off"), "-T".to_owned(), format!("{function}@trace_on")],
        11 => pair("-F", format!("{function}@depth={}", 1 + random.below(3))),
        15 => {
            let operator = random.pick(&["==", "!=", ">", ">=", "<", "<=", "&"]);
            pair(random.pick(&["-F", "-N"]), format!("{function}@if:arg1 {operator} {}", random.below(8)))
        }
        _ => pair("-T", format!("{function}@{}", action(random))),
    }
}

/// An action of a trigger that both times know.
fn action(random: &mut Random) -> String {
    match random.below(11) {
        0 => format!("depth={}", random.below(4)),
        1 => "time=10ms".to_owned(),
        2 => "size=150".to_owned(),
        3 => "trace".to_owned(),
        4 => "trace_on".to_owned(),
        5 => "trace_off".to_owned(),
        6 => "filter".to_owned(),
        7 => "notrace".to_owned(),
        8 => "hide".to_owned(),
        9 => "caller".to_owned(),
        _ => format!("depth={},trace", 1 + random.below(3)),
    }
}

/// What a program recorded one way shows.
#[derive(Debug, PartialEq)]
struct Shown {
    replay: String,
    report: String,
}

struct Run<'a> {
    fathom: &'a Path,
    build: &'a Build,
    program: &'a Path,
    dir: &'a Path,
}

/// Records and reads the case of a seed both ways.
pub(crate) fn check(context: &Context, seed: u64) -> Result<Outcome> {
    let name = BUILDS[seed as usize % BUILDS.len()];
    let case = Case {
        name: "call_tree".into(),
        source: "call_tree.c".into(),
        builds: vec![name.into()],
        ..Case::default()
    };
    let build = builds(&case)?.into_iter().next().context("no build")?;
    let dir = context.work.join("equal").join(seed.to_string());
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let program = compiled(context, &case, &build)?;
    let generated = generate(seed, !name.starts_with("finst"));
    std::fs::write(dir.join("tree.txt"), &generated.tree)?;
    let run = Run { fathom: &context.fathom, build: &build, program: &program, dir: &dir };
    // A call that should be short is long when it is pre-empted: what depends on times may need another attempt.
    let timed = generated.options.iter().flatten().any(|word| word == "-t" || word.contains("time="));
    let attempts = if timed { 6 } else { 1 };
    if let Some(first) = run.attempt(&generated.options, attempts)? {
        let (options, difference) = run.shrunk(generated.options.clone(), first, attempts)?;
        bail!(
            "seed {seed}, {name}: {options:?} means different things when recording and when reading\n{difference}\
             tree.txt:\n{}",
            generated.tree
        );
    }
    let _ = std::fs::remove_dir_all(&dir);
    Ok(Outcome::Passed)
}

fn compiled(context: &Context, case: &Case, build: &Build) -> Result<PathBuf> {
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _lock = LOCK.lock().map_err(|_| anyhow::anyhow!("a compilation panicked"))?;
    let dir = context.work.join("equal/programs").join(build.name);
    let source = context.fixtures.join(&case.source);
    let program = dir.join(&case.name);
    let time = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    if time(&program) > time(&source) {
        return Ok(program);
    }
    std::fs::create_dir_all(&dir)?;
    compile(case, build, &context.fixtures, &dir)
}

impl Run<'_> {
    /// Leaves out options as long as there still is a difference.
    fn shrunk(
        &self,
        mut options: Vec<Vec<String>>,
        mut difference: String,
        attempts: u32,
    ) -> Result<(Vec<Vec<String>>, String)> {
        let mut at = 0;
        while at < options.len() && options.len() > 1 {
            let mut fewer = options.clone();
            fewer.remove(at);
            match self.attempt(&fewer, attempts)? {
                Some(other) => (options, difference) = (fewer, other),
                None => at += 1,
            }
        }
        Ok((options, difference))
    }

    /// How the two ways differ, each time; none if they do not once.
    fn attempt(&self, options: &[Vec<String>], attempts: u32) -> Result<Option<String>> {
        let words: Vec<&str> = options.iter().flatten().map(String::as_str).collect();
        let mut difference = None;
        for _ in 0..attempts {
            self.record("with.data", &words)?;
            // `-t` is there for those who read; here the other options would have to be, too.
            std::fs::write(self.dir.join("with.data/default.opts"), "")?;
            // Where functions are declared is only kept for those who ask.
            let lines: &[&str] = if words.contains(&"-L") { &["--srcline"] } else { &[] };
            self.record("without.data", lines)?;
            let recorded = self.shown("with.data", &[])?;
            let read = self.shown("without.data", &words)?;
            if recorded == read {
                return Ok(None);
            }
            difference = Some(format!(
                "recorded with them:\n{}\n{}\nread with them:\n{}\n{}\n",
                recorded.replay, recorded.report, read.replay, read.report
            ));
        }
        Ok(difference)
    }

    fn record(&self, data: &str, options: &[&str]) -> Result<()> {
        let mut command = Command::new(self.fathom);
        command.args(["record", "--no-event", "-A", "^f[0-9]$@arg1/i32", "-d", data]);
        command.args(self.build.record).args(options).arg(self.program).arg("tree.txt");
        run_ok(&mut command, self.dir, LIMIT).map(drop)
    }

    fn shown(&self, data: &str, options: &[&str]) -> Result<Shown> {
        let ask = |name: &str| -> Result<String> {
            let mut command = Command::new(self.fathom);
            command.args([name, "--no-pager", "-d", data]).args(options);
            let done = run(&mut command, self.dir, LIMIT)?;
            // Nothing was left of it; then nothing may be shown of the other one.
            let empty = done.status.code() == Some(255) && done.stderr.contains("there are no records in it");
            if !done.status.success() && !empty {
                bail!("{command:?} {}: {}{}", done.end(), tail(&done.stdout, 300), tail(&done.stderr, 1000));
            }
            Ok(done.stdout)
        };
        let replay = text::leaves_closed(&normal::replay(&ask("replay")?, true, false));
        Ok(Shown { replay, report: normal::report(&ask("report")?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_always_the_same_case() {
        let (one, other) = (generate(7, true), generate(7, true));
        assert_eq!((one.tree, one.options), (other.tree, other.options));
    }

    #[test]
    fn every_option_and_action_occurs() {
        let all: String = (0..400).flat_map(|seed| generate(seed, true).options.concat()).collect();
        for word in [
            "-F",
            "-N",
            "-C",
            "-H",
            "-D",
            "-t",
            "-Z",
            "-L",
            "--trace=off",
            "depth=",
            "time=",
            "size=",
            "@trace",
            "trace_on",
            "trace_off",
            "@filter",
            "notrace",
            "hide",
            "caller",
            "if:arg1",
        ] {
            assert!(all.contains(word), "{word}");
        }
    }

    #[test]
    fn trees_are_closed() {
        for seed in 0..50 {
            for line in generate(seed, true).tree.lines() {
                let digits = line.bytes().filter(u8::is_ascii_digit).count();
                assert_eq!(digits / 2, line.matches(')').count());
            }
        }
    }
}
