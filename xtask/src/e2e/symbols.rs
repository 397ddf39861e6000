//! Programs without symbols, which are patched like others, and programs that cannot be, which are refused with a reason.

use super::text;
use super::{Context, Outcome, missing};
use crate::run::{run, run_ok};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

type Check = fn(&Context) -> Result<Outcome>;

/// The tests: names and what they check.
pub(crate) const TESTS: &[(&str, Check)] = &[
    ("symbols/stripped", stripped),
    ("symbols/stripped_exceptions", stripped_exceptions),
    ("refused/static", |context| refused_static(context, "-static")),
    ("refused/static_pie", |context| refused_static(context, "-static-pie")),
    ("refused/go_sections", go_sections),
    ("refused/go", go),
];

/// A directory of a test's own.
fn fresh(context: &Context, name: &str) -> Result<PathBuf> {
    let dir = context.work.join("symbols").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn stripped(context: &Context) -> Result<Outcome> {
    same_as_with_symbols(context, "gcc", "varargs_and_floats.c")
}

fn stripped_exceptions(context: &Context) -> Result<Outcome> {
    same_as_with_symbols(context, "g++", "exceptions_through_five_frames.cpp")
}

/// A program without symbols does the same, and each of its functions is called as often as with them.
fn same_as_with_symbols(context: &Context, compiler: &str, source: &str) -> Result<Outcome> {
    if let Some(reason) = missing(&[compiler.to_owned(), "strip".to_owned(), "nm".to_owned()]) {
        return Ok(Outcome::Skipped(reason));
    }
    let dir = fresh(context, source)?;
    let mut cc = Command::new(compiler);
    cc.args(["-O2", "-fno-inline", "-w", "-o", "whole"]).arg(context.fixtures.join(source)).arg("-lm");
    run_ok(&mut cc, &dir, LIMIT)?;
    run_ok(Command::new("strip").args(["-s", "-o", "bare", "whole"]), &dir, LIMIT)?;
    let untraced = run_ok(&mut Command::new(dir.join("bare")), &dir, LIMIT)?.stdout;
    let whole = calls(context, &dir, "whole", &untraced)?;
    let bare = calls(context, &dir, "bare", &untraced)?;
    let names = symbols(&run_ok(Command::new("nm").args(["-C", "whole"]), &dir, LIMIT)?.stdout);
    let mut found = 0;
    for (name, count) in &bare {
        let at = name.strip_prefix("bare+0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let Some(names) = at.and_then(|at| names.get(&at)) else { bail!("{name} is no function") };
        let with = names.iter().find_map(|name| whole.get(name));
        // Who is traced by a name that another module gives it is not found here.
        if let Some(with) = with {
            found += 1;
            if with != count {
                bail!("{name} ({}) is called {count} times, with symbols {with} times", names.join(", "));
            }
        }
    }
    if found < 5 || found < whole.len() - 2 {
        bail!("of {whole:?} there are only {bare:?}");
    }
    let _ = std::fs::remove_dir_all(&dir);
    Ok(Outcome::Passed)
}

/// Records a program of a directory with all patched; the calls of each function.
fn calls(context: &Context, dir: &Path, program: &str, untraced: &str) -> Result<BTreeMap<String, u64>> {
    let data = format!("{program}.data");
    let mut record = Command::new(&context.fathom);
    record.args(["record", "--no-event", "--no-libcall", "-P", ".", "-d", &data]).arg(dir.join(program));
    let traced = run_ok(&mut record, dir, LIMIT)?;
    if traced.stdout != untraced {
        bail!("{program}: stdout differs: {:?}, untraced {untraced:?}", traced.stdout);
    }
    if traced.stderr.contains("could not be set") {
        bail!("{program}: {}", traced.stderr);
    }
    let mut report = Command::new(&context.fathom);
    let shown = run_ok(report.args(["report", "--no-pager", "-d", &data]), dir, LIMIT)?.stdout;
    text::report(&shown)
}

/// The names of each address, of what nm prints.
fn symbols(nm: &str) -> BTreeMap<u64, Vec<String>> {
    let mut names: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for line in nm.lines() {
        let mut words = line.splitn(3, ' ');
        let at = words.next().and_then(|word| u64::from_str_radix(word, 16).ok());
        if let (Some(at), Some(name)) = (at, words.nth(1)) {
            // Demangled: without what it takes.
            names.entry(at).or_default().push(name.split('(').next().unwrap_or(name).to_owned());
        }
    }
    names
}

/// A program that is not to be started traced: the reason names it, and why.
fn is_refused(context: &Context, dir: &Path, program: &str, words: &[&str]) -> Result<Outcome> {
    let mut record = Command::new(&context.fathom);
    let done = run(record.args(["record", "-P", ".", "-d", "data"]).arg(dir.join(program)), dir, LIMIT)?;
    if done.status.success() || !done.stdout.is_empty() {
        bail!("it was run: {}{}", done.stdout, done.stderr);
    }
    if let Some(word) = words.iter().find(|word| !done.stderr.contains(**word)) {
        bail!("the reason lacks '{word}': {}", done.stderr);
    }
    let _ = std::fs::remove_dir_all(dir);
    Ok(Outcome::Passed)
}

fn refused_static(context: &Context, flag: &str) -> Result<Outcome> {
    if let Some(reason) = missing(&["gcc".to_owned()]) {
        return Ok(Outcome::Skipped(reason));
    }
    let dir = fresh(context, flag)?;
    std::fs::write(dir.join("a.c"), "#include <stdio.h>\nint main(void) { puts(\"ran\"); return 0; }\n")?;
    run_ok(Command::new("gcc").args([flag, "-O2", "-o", "a", "a.c"]), &dir, LIMIT)?;
    is_refused(context, &dir, "a", &["static", "a\n"])
}

/// What the recorder knows Go by, in a program that would be harmless.
fn go_sections(context: &Context) -> Result<Outcome> {
    if let Some(reason) = missing(&["gcc".to_owned()]) {
        return Ok(Outcome::Skipped(reason));
    }
    let dir = fresh(context, "go_sections")?;
    let source = "#include <stdio.h>\n\
        __attribute__((section(\".go.buildinfo\"), used)) static const char info[32] = \"\\xff Go buildinf:\";\n\
        int main(void) { puts(\"ran\"); return 0; }\n";
    std::fs::write(dir.join("a.c"), source)?;
    run_ok(Command::new("gcc").args(["-O2", "-o", "a", "a.c"]), &dir, LIMIT)?;
    is_refused(context, &dir, "a", &["Go program", "return addresses"])
}

/// A program of Go's, where there is a compiler: dynamically linked, so that it is refused for what it is.
fn go(context: &Context) -> Result<Outcome> {
    if let Some(reason) = missing(&["go".to_owned()]) {
        return Ok(Outcome::Skipped(reason));
    }
    let dir = fresh(context, "go")?;
    std::fs::write(dir.join("a.go"), "package main\nfunc main() { println(\"ran\") }\n")?;
    for (mode, word) in [("pie", "Go program"), ("exe", "static")] {
        let mut build = Command::new("go");
        build.args(["build", "-buildmode", mode, "-o", "a", "a.go"]);
        build
            .env("GOFLAGS", "-mod=mod")
            .env("GO111MODULE", "off")
            .env("HOME", &dir)
            .env("GOCACHE", dir.join("cache"));
        run_ok(&mut build, &dir, LIMIT).with_context(|| format!("-buildmode {mode}"))?;
        let done = {
            let mut record = Command::new(&context.fathom);
            run(record.args(["record", "-P", ".", "-d", "data"]).arg(dir.join("a")), &dir, LIMIT)?
        };
        if done.status.success() || done.stderr.contains("ran") || !done.stderr.contains(word) {
            bail!("-buildmode {mode}: {}{}", done.stdout, done.stderr);
        }
    }
    let _ = std::fs::remove_dir_all(&dir);
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_address() {
        let names = symbols("0000000000001139 T f(int)\n                 U puts\n0000000000001139 t g\n");
        assert_eq!(names, BTreeMap::from([(0x1139, vec!["f".to_owned(), "g".to_owned()])]));
    }
}
