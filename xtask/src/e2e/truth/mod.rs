//! Captured arguments and return values against what the program itself prints: 200 random signatures.

mod shown;
mod signature;

use super::build::{Build, builds, compile};
use super::case::Case;
use super::random::Random;
use super::{Context, Outcome};
use crate::run::{run_ok, tail};
use anyhow::{Context as _, Result, bail};
use shown::{Call, Value};
use signature::Program;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Functions of each program.
const FUNCTIONS: usize = 200;

/// The builds whose hooks see the registers as the caller left them.
pub(crate) const BUILDS: &[&str] = &["pg-O0", "pg-O2", "fentry-O0", "fentry-O2", "patch-O0", "patch-O2"];

/// Where the types come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Types {
    /// `-a`: the debug information.
    Debug,
    /// `-A` and `-R` with a spec for each value, where the signature is plain enough for that.
    Specs,
}

/// Records a program of random signatures and compares every value.
pub(crate) fn check(context: &Context, build: &str, types: Types, seed: u64) -> Result<Outcome> {
    let name = format!("signatures_{seed}_{types:?}").to_lowercase();
    let dir = context.work.join("truth").join(&name).join(build);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let mut random = Random::new(seed);
    let program = Program::generate(&mut random, FUNCTIONS);
    let source = format!("{name}.c");
    std::fs::write(dir.join(&source), program.source(&mut random))?;
    let case = Case { name, source, builds: vec![build.to_owned()], ..Case::default() };
    let build = builds(&case)?.into_iter().next().context("no build")?;
    let compiled = compile(&case, &build, &dir, &dir)?;
    let (asked, printed) = record(context, &program, types, &build, &compiled, &dir)?;
    if printed.len() != FUNCTIONS {
        bail!("the program printed {} calls", printed.len());
    }
    let wanted: Vec<&Call<Value>> = printed.iter().filter(|call| asked.contains(&call.name)).collect();
    let ask = |words: &[&str]| -> Result<String> {
        let mut command = Command::new(&context.fathom);
        command.args(&words[..1]).args(["--no-pager", "-d", "data"]).args(&words[1..]);
        Ok(run_ok(&mut command, &dir, LIMIT)?.stdout)
    };
    let dumped = shown::dumped(&ask(&["dump"])?)?;
    let mut wrong = differences(&wanted, &dumped, Value::is_dumped)?;
    let replayed = shown::replayed(&ask(&["replay", "-f", "none"])?)?;
    wrong.extend(differences(&wanted, &replayed, Value::is_replayed)?);
    if !wrong.is_empty() {
        bail!(
            "{} of {} calls are not what was called:\n{}",
            wrong.len(),
            wanted.len(),
            wrong[..wrong.len().min(12)].concat()
        );
    }
    let _ = std::fs::remove_dir_all(dir);
    Ok(Outcome::Passed)
}

/// Records and returns the functions whose values were asked for, and what the program printed.
fn record(
    context: &Context,
    program: &Program,
    types: Types,
    build: &Build,
    compiled: &Path,
    dir: &Path,
) -> Result<(BTreeSet<String>, Vec<Call<Value>>)> {
    let mut command = Command::new(&context.fathom);
    command.args(["record", "--no-event", "--no-libcall", "-d", "data"]).args(build.record);
    if build.record.contains(&"-P") {
        // What prints the truth is not to be recorded.
        command.args(["-U", "^(say|mask_s[0-9])"]);
    }
    let mut asked = BTreeSet::new();
    match types {
        Types::Debug => {
            command.arg("-a");
            asked.extend(program.functions.iter().map(|function| function.name.clone()));
        }
        Types::Specs => {
            let (mut arguments, mut returned) = (Vec::new(), Vec::new());
            for function in &program.functions {
                let Some((taken, given)) = function.specs() else { continue };
                asked.insert(function.name.clone());
                arguments.extend(taken);
                returned.extend(given);
            }
            command.arg("-A").arg(arguments.join(";")).arg("-R").arg(returned.join(";"));
        }
    }
    // The addresses that it prints are those of this run.
    let printed = shown::printed(&run_ok(command.arg(compiled), dir, LIMIT)?.stdout)?;
    Ok((asked, printed))
}

/// The calls that are not shown as they were made, a paragraph each.
fn differences(
    wanted: &[&Call<Value>],
    found: &[Call<String>],
    same: fn(&Value, &str) -> Result<bool>,
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for call in wanted {
        let Some(shown) = found.iter().find(|shown| shown.name == call.name) else {
            wrong.push(format!("{}: not recorded\n", call.name));
            continue;
        };
        let mut text = String::new();
        if shown.arguments.len() != call.arguments.len() {
            let _ = writeln!(text, "  {} arguments, shown {:?}", call.arguments.len(), shown.arguments);
        }
        let pairs = call.arguments.iter().zip(&shown.arguments).enumerate();
        let pairs = pairs.map(|(n, (value, shown))| (format!("argument {}", n + 1), value, Some(shown)));
        let returned =
            call.returned.iter().map(|value| ("returned".to_owned(), value, shown.returned.as_ref()));
        for (what, value, shown) in pairs.chain(returned) {
            let good = shown.is_some_and(|shown| same(value, shown).unwrap_or(false));
            if !good {
                let _ = writeln!(text, "  {what}: {value}, shown {shown:?}");
            }
        }
        if call.returned.is_none() && shown.returned.is_some() {
            let _ = writeln!(text, "  returned nothing, shown {:?}", shown.returned);
        }
        if !text.is_empty() {
            wrong.push(format!("{}:\n{}", call.name, tail(&text, 1500)));
        }
    }
    Ok(wrong)
}

/// All tests: name, build and where the types come from.
pub(crate) fn tests(long: bool) -> Vec<(String, &'static str, Types, u64)> {
    let seeds = if long { 1..9 } else { 1..2 };
    let mut tests = Vec::new();
    for seed in seeds {
        for build in BUILDS {
            for types in [Types::Debug, Types::Specs] {
                tests.push((format!("truth/{types:?}/{seed}/{build}").to_lowercase(), *build, types, seed));
            }
        }
    }
    tests
}
