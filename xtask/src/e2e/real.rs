//! Lua and SQLite, built with each instrumentation: same behaviour as untraced, every entry with its exit, and the
//! calls of every function as callgrind counts them.

use super::text::{self, Dump, Rules};
use super::{Context, Outcome};
use crate::paths::which;
use crate::run::{run, run_ok, tail};
use crate::sources;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The two programs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Program {
    Lua,
    Sqlite,
}

/// An instrumentation of the real programs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) flags: &'static [&'static str],
    pub(crate) record: &'static [&'static str],
}

pub(crate) const WAYS: &[Way] = &[
    Way { name: "pg", flags: &["-pg"], record: &[] },
    Way { name: "fentry", flags: &["-pg", "-mfentry"], record: &[] },
    // The hooks of inlined bodies are called too, and callgrind can't see those: so nothing is inlined here.
    Way { name: "finst", flags: &["-finstrument-functions", "-fno-inline"], record: &[] },
    Way { name: "plain", flags: &[], record: &["-P", "."] },
    Way { name: "patch", flags: &["-fpatchable-function-entry=5"], record: &["-P", "."] },
];

/// Other ways of building what is then patched, each with its compiler, for tiers that take long.
pub(crate) const MATRIX: &[(&str, Way)] = &[
    ("gcc", patched("matrix-gcc-O1", &["-O1"])),
    ("gcc", patched("matrix-gcc-O3", &["-O3", "-fcf-protection=full"])),
    ("gcc", patched("matrix-gcc-Os", &["-Os"])),
    ("gcc", patched("matrix-gcc-lto", &["-flto"])),
    ("gcc", patched("matrix-gcc-mold", &["-fuse-ld=mold"])),
    // The debug information that callgrind can read.
    ("clang", patched("matrix-clang-O2", &["-gdwarf-4"])),
    ("clang", patched("matrix-clang-Os", &["-gdwarf-4", "-Os", "-fcf-protection=full"])),
    ("clang", patched("matrix-clang-O3-lto-lld", &["-gdwarf-4", "-O3", "-flto", "-fuse-ld=lld"])),
];

const fn patched(name: &'static str, flags: &'static [&'static str]) -> Way {
    Way { name, flags, record: &["-P", "."] }
}

const LIMIT: Duration = Duration::from_secs(300);
const LONG: Duration = Duration::from_secs(1500);

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lua => "lua",
            Self::Sqlite => "sqlite",
        }
    }

    /// Compiles the program with gcc -O2 into `dir`, once for each set of flags.
    pub(crate) fn build(self, dir: &Path, name: &str, flags: &[&str], workloads: &Path) -> Result<PathBuf> {
        self.build_by("gcc", dir, name, flags, workloads)
    }

    /// The same with another compiler.
    fn build_by(
        self,
        compiler: &str,
        dir: &Path,
        name: &str,
        flags: &[&str],
        workloads: &Path,
    ) -> Result<PathBuf> {
        let program = dir.join(format!("{}-{name}", self.name()));
        let stamp = dir.join(format!("{}-{name}.stamp", self.name()));
        let sources = sources::locate()?;
        let mut cc = Command::new(compiler);
        cc.args(["-O2", "-g", "-w"]).args(flags).arg("-o").arg(&program);
        match self {
            Self::Lua => {
                // A fixed seed: with the usual one, made of the time and an address, no two runs call alike.
                cc.args(["-DLUA_USE_POSIX", "-DLUA_USE_DLOPEN", "-Dluai_makeseed(L)=0"]);
                let mut files: Vec<PathBuf> = std::fs::read_dir(&sources.lua)?
                    .filter_map(|entry| Some(entry.ok()?.path()))
                    .filter(|path| path.extension().is_some_and(|ext| ext == "c"))
                    .collect();
                files.sort();
                cc.arg("-I").arg(&sources.lua).args(files).arg(workloads.join("lua.c"));
            }
            Self::Sqlite => {
                cc.args(["-DSQLITE_THREADSAFE=2", "-DSQLITE_OMIT_LOAD_EXTENSION", "-pthread"]);
                cc.arg("-I").arg(&sources.sqlite);
                cc.arg(sources.sqlite.join("sqlite3.c")).arg(workloads.join("sqlite.c"));
            }
        }
        cc.args(["-lm", "-ldl"]);
        let driver = workloads.join(format!("{}.c", self.name()));
        let made_by = format!("{cc:?} {:?}", modified(&driver));
        if program.exists() && std::fs::read_to_string(&stamp).is_ok_and(|text| text == made_by) {
            return Ok(program);
        }
        std::fs::create_dir_all(dir)?;
        let _ = std::fs::remove_file(&stamp);
        run_ok(&mut cc, dir, LONG)?;
        std::fs::write(&stamp, made_by)?;
        Ok(program)
    }

    /// The words behind the program's name for a workload of normal or long size.
    pub(crate) fn args(self, workloads: &Path, long: bool) -> Vec<String> {
        let script = workloads.join("bench.lua").display().to_string();
        match (self, long) {
            (Self::Lua, false) => vec![script, "300".to_owned()],
            (Self::Lua, true) => vec![script, "100000".to_owned()],
            (Self::Sqlite, false) => vec!["1000".to_owned()],
            (Self::Sqlite, true) => vec!["100000".to_owned()],
        }
    }
}

fn modified(path: &Path) -> Option<Duration> {
    std::fs::metadata(path).ok()?.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()
}

/// Builds, runs untraced, records, reads and compares with callgrind.
pub(crate) fn check(context: &Context, program: Program, way: &Way, long: bool) -> Result<Outcome> {
    check_by("gcc", context, program, way, long)
}

/// The same with another compiler.
pub(crate) fn check_by(
    compiler: &str,
    context: &Context,
    program: Program,
    way: &Way,
    long: bool,
) -> Result<Outcome> {
    let workloads = context.workloads.as_path();
    let exe = program.build_by(compiler, &context.cache, way.name, way.flags, workloads)?;
    let size = if long { "long" } else { "short" };
    let dir = context.work.join(format!("{}-{}-{size}", program.name(), way.name));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let limit = if long { LONG } else { LIMIT };
    let args = program.args(workloads, long);

    let untraced = run(Command::new(&exe).args(&args), &dir, limit)?;
    let mut record = Command::new(&context.fathom);
    record
        .args(["record", "--no-event", "--no-libcall", "-d", "data"])
        .args(way.record)
        .arg(&exe)
        .args(&args);
    let traced = run(&mut record, &dir, limit)?;
    if traced.stdout != untraced.stdout {
        let (traced_out, out) = (tail(&traced.stdout, 500), tail(&untraced.stdout, 500));
        bail!("stdout differs: {traced_out:?} and {out:?}\n{}", tail(&traced.stderr, 1000));
    }
    let expected = i32::from(untraced.status.code() != Some(0));
    if traced.status.code() != Some(expected) {
        bail!(
            "record {}, the program {} untraced\n{}",
            traced.end(),
            untraced.end(),
            tail(&traced.stderr, 1000)
        );
    }
    let seen = stream_dump(context, &dir)?;
    if seen.lost > 0 {
        bail!("{} LOST records", seen.lost);
    }
    // Lua ends by os.exit, inside its interpreter: those frames stay open, SQLite's driver returns.
    for (name, entries) in &seen.entries {
        let exits = seen.exits.get(name).copied().unwrap_or(0);
        let open = seen.open.iter().flat_map(|stack| stack.split(' ')).filter(|open| *open == name).count();
        if exits + open as u64 != *entries {
            bail!("{name}: {entries} entries, {exits} exits, {open} open at the end");
        }
    }
    if program == Program::Sqlite && !seen.open.is_empty() {
        bail!("open at the end: {:?}", seen.open);
    }
    let mut report = Command::new(&context.fathom);
    report.args(["report", "--no-pager", "-d", "data"]);
    let reported = text::report(&run_ok(&mut report, &dir, limit)?.stdout)?;
    if reported != seen.entries {
        bail!("report and dump disagree on the calls");
    }
    if long || which("valgrind").is_none() {
        let _ = std::fs::remove_dir_all(&dir);
        return Ok(match long {
            true => Outcome::Passed,
            false => Outcome::Skipped("valgrind is not installed".to_owned()),
        });
    }
    let counted = callgrind(context, &exe, &args, &dir)?;
    compare(&seen.entries, &counted, !way.record.is_empty())?;
    let _ = std::fs::remove_dir_all(&dir);
    Ok(Outcome::Passed)
}

/// The dump of a long recording is gigabytes of text: it is checked while it is printed.
fn stream_dump(context: &Context, dir: &Path) -> Result<Dump> {
    let mut command = Command::new(&context.fathom);
    command.args(["dump", "--no-pager", "-d", "data"]).current_dir(dir);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
    let out = child.stdout.take().context("no pipe")?;
    let seen = text::dump(BufReader::with_capacity(1 << 20, out), Rules::default());
    let status = child.wait()?;
    let seen = seen?;
    if !status.success() {
        bail!("dump failed");
    }
    Ok(seen)
}

/// Calls of each function of the program, counted by running it in callgrind.
fn callgrind(context: &Context, exe: &Path, args: &[String], dir: &Path) -> Result<BTreeMap<String, u64>> {
    let hooks = dir.join("empty_hooks.so");
    let source = context.workloads.join("empty_hooks.c");
    let mut cc = Command::new("gcc");
    run_ok(cc.args(["-shared", "-fPIC", "-w", "-o"]).arg(&hooks).arg(source), dir, LIMIT)?;
    let file = dir.join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet"]).arg(format!("--callgrind-out-file={}", file.display()));
    command.env("LD_PRELOAD", hooks).arg(exe).args(args);
    let done = run(&mut command, dir, LIMIT)?;
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("no output of callgrind: {}", tail(&done.stderr, 500)))?;
    Ok(calls(&text, &exe.display().to_string()))
}

/// Sums the `calls=` lines of a callgrind file by the function called, for functions of one program. Names are given
/// once as `(7) name`, then as `(7)`; functions and objects are numbered apart. A call's object is that of the caller
/// unless a `cob=` line says otherwise.
fn calls(text: &str, program: &str) -> BTreeMap<String, u64> {
    let mut functions: BTreeMap<&str, &str> = BTreeMap::new();
    let mut objects: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut object, mut called_object, mut called) = ("", None, "");
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        match key {
            "ob" => object = name(&mut objects, value),
            "cob" => called_object = Some(name(&mut objects, value)),
            "fn" => {
                name(&mut functions, value);
            }
            "cfn" => called = name(&mut functions, value),
            "calls" => {
                let count = value.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
                let own = called_object.take().unwrap_or(object).ends_with(program);
                if let (Some(count), true) = (count, own) {
                    *counts.entry(called.to_owned()).or_default() += count;
                }
            }
            _ => {}
        }
    }
    counts
}

/// A name that is given in full the first time only.
fn name<'a>(names: &mut BTreeMap<&'a str, &'a str>, value: &'a str) -> &'a str {
    let (id, text) = value.split_once(' ').unwrap_or((value, ""));
    if !text.is_empty() {
        names.insert(id, text);
    }
    names.get(id).copied().unwrap_or(value)
}

/// All functions that were recorded and that callgrind saw must have the same calls.
/// `apart`: parts of a function that are functions of their own are, so that one may be patched and another not.
fn compare(recorded: &BTreeMap<String, u64>, counted: &BTreeMap<String, u64>, apart: bool) -> Result<()> {
    let by_base = |counts: &BTreeMap<String, u64>| {
        // Clones of a function (f.part.0, f.constprop.1) count as the function: the hooks of
        // -finstrument-functions name that.
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for (name, count) in counts {
            let name = name.split('\'').next().unwrap_or(name);
            let base = if apart { name } else { name.split('.').next().unwrap_or(name) };
            *sums.entry(base.to_owned()).or_default() += count;
        }
        sums
    };
    let (recorded, counted) = (by_base(recorded), by_base(counted));
    let both: Vec<&String> = recorded.keys().filter(|name| counted.contains_key(*name)).collect();
    if both.len() < 100 || both.len() * 10 < recorded.len() * 9 {
        let missing: Vec<&String> =
            recorded.keys().filter(|name| !counted.contains_key(*name)).take(10).collect();
        bail!(
            "only {} of {} recorded functions are in callgrind's output; not {missing:?}",
            both.len(),
            recorded.len()
        );
    }
    let wrong: Vec<String> = both
        .iter()
        .filter(|name| recorded[**name] != counted[**name])
        .map(|name| format!("{name}: recorded {}, callgrind {}", recorded[*name], counted[*name]))
        .collect();
    if !wrong.is_empty() {
        bail!(
            "{} of {} functions differ: {}",
            wrong.len(),
            both.len(),
            wrong[..wrong.len().min(10)].join("; ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callgrind_files_are_summed() {
        let text = "ob=(1) /tmp/prog\nfn=(1) main\n1 2\ncfn=(2) leaf\ncalls=3 10\n1 5\n\
                    cob=(2) /lib/libc.so\ncfn=(2)\ncalls=100 10\n1 5\n\
                    ob=(2)\nfn=(3) sort\ncob=(1)\ncfn=(2)\ncalls=4 10\n1 5\n";
        assert_eq!(calls(text, "/prog"), BTreeMap::from([("leaf".to_owned(), 7)]));
    }

    #[test]
    fn differences_are_found() {
        let recorded: BTreeMap<String, u64> = (0..120).map(|i| (format!("f{i}"), i)).collect();
        let mut counted = recorded.clone();
        assert!(compare(&recorded, &counted, false).is_ok());
        counted.insert("f7".to_owned(), 8);
        assert!(
            compare(&recorded, &counted, true)
                .unwrap_err()
                .to_string()
                .contains("f7: recorded 7, callgrind 8")
        );
    }
}
