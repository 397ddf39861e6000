//! The option table: one program, the same options, fathom and uftrace side by side (`tests/options/*.cases`).

pub(crate) mod normal;
mod row;

use super::build::{Build, builds, compile};
use super::{Context, Outcome, missing};
use crate::run::{Finished, run, tail};
use anyhow::{Context as _, Result, bail};
use row::{Read, Row};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// A row of the table with one build, and its name.
pub(crate) type Named = (String, Box<dyn Fn(&Context) -> Result<Outcome> + Send>);

/// All rows of a directory, each with each of its builds.
pub(crate) fn tests(dir: &Path) -> Result<Vec<Named>> {
    let mut tests: Vec<Named> = Vec::new();
    for row in row::load(dir)? {
        for build in builds(&row.case)? {
            let row = row.clone();
            let name = format!("options/{}/{}", row.case.name, build.name);
            let check = move |context: &Context| {
                let mut needs = row.case.requires.clone();
                needs.push(build.compiler.to_owned());
                if row.peer.is_none() {
                    needs.push("uftrace".to_owned());
                }
                match missing(&needs) {
                    Some(reason) => Ok(Outcome::Skipped(reason)),
                    None => check(context, &row, &build),
                }
            };
            tests.push((name, Box::new(check)));
        }
    }
    Ok(tests)
}

/// One program and one of the two tracers.
struct Side<'a> {
    tracer: &'a Path,
    /// Name of its data directory.
    data: &'static str,
    row: &'a Row,
    build: &'a Build,
    program: &'a Path,
    fixtures: &'a Path,
    dir: &'a Path,
}

fn check(context: &Context, row: &Row, build: &Build) -> Result<Outcome> {
    let program = program(context, row, build)?;
    let dir = context.work.join("options").join(&row.case.name).join(build.name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let (dir, program) = (dir.as_path(), program.as_path());
    let fixtures = context.fixtures.as_path();
    let ours = Side { tracer: &context.fathom, data: "ours.data", row, build, program, fixtures, dir };
    let asked = context.peer.as_deref().filter(|_| row.peer.is_none());
    let peer = asked.map(|tracer| Side { tracer, data: "peer.data", ..ours });

    let recorded = !row.reads.iter().all(|read| read.live);
    let mut said = String::new();
    if recorded || row.reads.is_empty() {
        said.push_str(&ours.record()?);
        if let Some(peer) = peer.as_ref().filter(|_| row.peer_records.is_none()) {
            peer.record()?;
        }
    }
    for read in &row.reads {
        let found = ours.read(read, ours.data)?;
        said.push_str(&found.stderr);
        let form = normal::form(read, row, &found.stdout);
        if context.bless {
            println!("# {} {}: {}\n{form}", row.case.name, build.name, read.words.join(" "));
        }
        compare(&ours, peer.as_ref(), read, &form).with_context(|| read.words.join(" "))?;
    }
    for words in &row.says {
        if !said.contains(words.as_str()) {
            bail!("not said: {words}\nsaid was: {}", tail(&said, 1500));
        }
    }
    let _ = std::fs::remove_dir_all(dir);
    Ok(Outcome::Passed)
}

/// What we show must be what is written in the row, what uftrace shows of its own recording, and what each of the two
/// shows of the other's.
fn compare(ours: &Side<'_>, peer: Option<&Side<'_>>, read: &Read, found: &str) -> Result<()> {
    let row = ours.row;
    let shown = |side: &Side<'_>, data| -> Result<String> {
        Ok(normal::form(read, row, &side.read(read, data)?.stdout))
    };
    if let Some(expected) = &read.expected {
        same(expected, found, "expected", "found")?;
    }
    let Some(peer) = peer else { return Ok(()) };
    if row.peer_records.is_none() && row.peer_reads.is_none() {
        same(&shown(peer, peer.data)?, found, "uftrace", "fathom")?;
    }
    if read.live {
        return Ok(());
    }
    if row.peer_reads.is_none() {
        same(&shown(peer, ours.data)?, found, "fathom's data read by uftrace", "and by fathom")?;
    }
    if row.peer_records.is_none() {
        let of_peer = shown(ours, peer.data)?;
        same(&of_peer, found, "uftrace's data read by fathom", "fathom's data read by fathom")?;
    }
    Ok(())
}

fn same(one: &str, other: &str, one_name: &str, other_name: &str) -> Result<()> {
    if one == other {
        return Ok(());
    }
    let indented = |text: &str| -> String {
        let lines: Vec<&str> = text.lines().take(60).collect();
        lines.join("\n      ")
    };
    bail!("differ:\n  {one_name}:\n      {}\n  {other_name}:\n      {}", indented(one), indented(other))
}

impl Side<'_> {
    /// Records the program and returns what the recorder said.
    fn record(&self) -> Result<String> {
        let mut command = Command::new(self.tracer);
        command.arg("record").args(["-d", self.data]).args(self.recording()).arg(self.program);
        command.args(&self.row.case.args);
        let done = self.run(&mut command)?;
        let code = done.status.code();
        if code != Some(self.row.exit) {
            bail!("{command:?} {}: {}{}", done.end(), tail(&done.stdout, 500), tail(&done.stderr, 1500));
        }
        for (path, text) in &self.row.files {
            let path = self.dir.join(path.replace("{data}", self.data));
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(done.stderr + &done.stdout)
    }

    /// The options of the recording.
    fn recording(&self) -> Vec<String> {
        let mut words: Vec<String> = self.build.record.iter().map(|word| (*word).to_owned()).collect();
        if !self.row.events {
            words.push("--no-event".to_owned());
        }
        words.extend(self.row.case.record.iter().map(|word| self.expanded(word)));
        words
    }

    /// Runs the command of a row over a data directory, or live.
    fn read(&self, read: &Read, data: &str) -> Result<Finished> {
        let mut command = Command::new(self.tracer);
        let Some((name, rest)) = read.words.split_first() else { bail!("READ without a command") };
        if read.live {
            command.args(["live", "--no-pager"]).args(self.recording());
            command.args(read.words.iter().map(|word| self.expanded(word)));
            command.arg(self.program).args(&self.row.case.args);
        } else {
            let tids = self.tids(data)?;
            let rest = rest.iter().map(|word| {
                let numbered = tids.iter().enumerate();
                numbered.fold(self.expanded(word), |word, (n, tid)| {
                    word.replace(&format!("{{tid{}}}", n + 1), tid)
                })
            });
            command.arg(name).args(["--no-pager", "-d", data]).args(rest);
        }
        let mut done = self.run(&mut command)?;
        // Where the sources are is no property of the option.
        done.stdout = done.stdout.replace(&format!("{}/", self.fixtures.display()), "");
        if !done.status.success() {
            bail!("{command:?} {}: {}{}", done.end(), tail(&done.stdout, 500), tail(&done.stderr, 1500));
        }
        Ok(done)
    }

    fn run(&self, command: &mut Command) -> Result<Finished> {
        run(command, self.dir, self.row.case.timeout)
    }

    /// The ids of the tasks in a data directory, smallest first.
    fn tids(&self, data: &str) -> Result<Vec<String>> {
        let mut tids: Vec<u32> = std::fs::read_dir(self.dir.join(data))?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".dat")?.parse().ok())
            .collect();
        tids.sort_unstable();
        Ok(tids.iter().map(u32::to_string).collect())
    }

    fn expanded(&self, word: &str) -> String {
        word.replace("{dir}", &self.dir.display().to_string())
    }
}

/// Compiles a row's program, once for all rows that have the same.
fn program(context: &Context, row: &Row, build: &Build) -> Result<PathBuf> {
    static DONE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut case = row.case.clone();
    let stem = case.source.split('.').next().unwrap_or_default().to_owned();
    let traits: Vec<&str> = case.flags.iter().map(|flag| flag.trim_start_matches('-')).collect();
    let dir =
        context.work.join("options/programs").join(format!("{stem}-{}", traits.join("-"))).join(build.name);
    case.name = stem;
    let mut done = DONE.lock().map_err(|_| anyhow::anyhow!("a compilation panicked"))?;
    if !done.contains(&dir) {
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir)?;
        compile(&case, build, &context.fixtures, &dir)?;
        done.insert(dir.clone());
    }
    Ok(dir.join(&case.name))
}
