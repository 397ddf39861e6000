//! The tests on the machine's own kernel: events, probes in programs and markers, in instances of our own. What this
//! kernel does not permit is found by trying it, and skipped with what it answered.

use super::kernel_text;
use crate::e2e::{Outcome, Summary};
use crate::guest::drain;
use crate::paths::which;
use crate::run::{Finished, run, tail};
use crate::setup::is_root;
use crate::state::whole;
use anyhow::{Context, Result};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// An instance of the kernel's tracing that goes away with us, whatever ends us: a shell waits for the end of its input,
/// deaf to the signals of a terminal, and then takes everything down in reverse.
struct Instance {
    dir: PathBuf,
    janitor: Child,
}

impl Instance {
    fn new(work: &Path) -> std::io::Result<Self> {
        let id = std::process::id();
        let (tracefs, mounted) = match mounted_tracefs() {
            Some(dir) => (dir, false),
            None => (work.join(format!("tracefs-{id}")), true),
        };
        if mounted {
            std::fs::create_dir_all(&tracefs)?;
            let done = Command::new("mount").args(["-t", "tracefs", "none"]).arg(&tracefs).output()?;
            if !done.status.success() {
                std::fs::remove_dir(&tracefs)?;
                let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
                return Err(std::io::Error::other(said));
            }
        }
        let dir = tracefs.join(format!("instances/fathom-test-{id}"));
        let script = "trap '' INT TERM HUP; cat; echo 0 >\"$1/tracing_on\"; echo 0 >\"$1/events/enable\"; \
                      rmdir \"$1\"; [ \"$3\" = true ] && umount \"$2\" && rmdir \"$2\"";
        let mut janitor = Command::new("sh");
        janitor.args(["-c", script, "sh"]).arg(&dir).arg(&tracefs).arg(mounted.to_string());
        let janitor = janitor.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let instance = Self { dir, janitor };
        std::fs::create_dir(&instance.dir)?;
        Ok(instance)
    }

    fn write(&self, file: &str, text: &str) -> std::io::Result<()> {
        std::fs::OpenOptions::new().append(true).open(self.dir.join(file))?.write_all(text.as_bytes())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

/// Where tracefs is mounted. Before the ` - ` of a line of mountinfo there may be any number of optional fields.
fn mounted_tracefs() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let place = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("tracefs ").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    };
    mounts.lines().find_map(place)
}

/// All tests, counted in.
pub(crate) fn run_all(fathom: &Path, work: &Path, filters: &[String], summary: &mut Summary) {
    type Test = fn(&Path, &Path) -> Result<Outcome>;
    let tests: [(&str, Test); 5] = [
        ("host/events", events),
        ("host/uprobes", uprobes),
        ("host/recorded", recorded),
        ("host/where_trace_cmd_dies", where_trace_cmd_dies),
        ("host/text_of_events_and_markers", decoded),
    ];
    let forbidden = permitted(work).err().map(|error| format!("an instance with an event: {error}"));
    for (name, test) in tests {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        let outcome = match &forbidden {
            Some(reason) => Outcome::Skipped(reason.clone()),
            None => test(fathom, work).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}"))),
        };
        super::note(summary, name.to_owned(), outcome);
    }
}

/// Tries what all of these tests do.
fn permitted(work: &Path) -> std::io::Result<()> {
    if !is_root() {
        return Err(std::io::Error::other("needs root"));
    }
    let instance = Instance::new(work)?;
    instance.write("events/sched/sched_switch/enable", "1")?;
    instance.write("events/sched/sched_switch/enable", "0")
}

fn trace(fathom: &Path, work: &Path, args: &[&str]) -> Result<Finished> {
    run(Command::new(fathom).args(["kernel", "trace"]).args(args), work, LIMIT)
}

/// Passed when it ended with 0 and said all of `wanted`.
fn said(done: &Finished, wanted: &[&str]) -> Outcome {
    let lacks: Vec<&&str> = wanted.iter().filter(|text| !done.stdout.contains(**text)).collect();
    if done.status.success() && lacks.is_empty() {
        return Outcome::Passed;
    }
    let (out, err) = (tail(&done.stdout, 1500), tail(&done.stderr, 1500));
    Outcome::Failed(format!("{}; lacks {lacks:?}\n--- stdout\n{out}\n--- stderr\n{err}", done.end()))
}

fn events(fathom: &Path, work: &Path) -> Result<Outcome> {
    let args = ["-e", "sched:sched_process_exit", "-e", "sched:sched_switch", "--", "sh", "-c", "sleep 0.1"];
    Ok(said(
        &trace(fathom, work, &args)?,
        &["sched_process_exit: comm=sleep", "sched_switch: prev_comm=sleep"],
    ))
}

fn uprobes(fathom: &Path, work: &Path) -> Result<Outcome> {
    if which("gcc").is_none() {
        return Ok(Outcome::Skipped("gcc is not installed".to_owned()));
    }
    let program = super::compile(work, "work", &["-O2", "-pg"])?;
    let place = program.to_string_lossy().into_owned();
    let probe = format!("hit={place}:probed number=%di:s32 text=+0(%si):string");
    let back = format!("back={place}:probed $retval:s32");
    let args = ["--uprobe", &probe, "--uretprobe", &back, "--", &place, "uprobe", "3"];
    Ok(said(&trace(fathom, work, &args)?, &["number=2 text=\"words of the caller\"", "back: ("]))
}

fn recorded(fathom: &Path, work: &Path) -> Result<Outcome> {
    let file = work.join("host.dat");
    let name = file.to_string_lossy().into_owned();
    let done =
        trace(fathom, work, &["-o", &name, "-e", "raw_syscalls:", "-e", "sched:", "--", "sleep", "0.1"])?;
    if !done.status.success() {
        return Ok(said(&done, &[]));
    }
    let report = run(Command::new(fathom).args(["kernel", "report"]).arg(&file), work, LIMIT)?;
    let outcome = said(&report, &["sys_enter:", "sched_switch:"]);
    let Some(peer) = which("trace-cmd").filter(|_| outcome == Outcome::Passed) else { return Ok(outcome) };
    let theirs = run(Command::new(peer).arg("report").arg(&file), work, LIMIT)?;
    Ok(match super::decode::lines(&theirs.stdout, &report.stdout) {
        different if different.is_empty() => Outcome::Passed,
        different => Outcome::Failed(format!("- trace-cmd, + fathom\n{different}")),
    })
}

/// trace-cmd sets what a kernel may not let it set before it records anything; events need none of that.
fn where_trace_cmd_dies(fathom: &Path, work: &Path) -> Result<Outcome> {
    let Some(peer) = which("trace-cmd") else {
        return Ok(Outcome::Skipped("trace-cmd is not installed".to_owned()));
    };
    let file = work.join("host-peer.dat");
    let mut command = Command::new(peer);
    command.args(["record", "-o"]).arg(&file).args(["-e", "sched:sched_process_exit", "true"]);
    if run(&mut command, work, LIMIT)?.status.success() {
        return Ok(Outcome::Skipped("trace-cmd record works on this kernel".to_owned()));
    }
    recorded(fathom, work)
}

/// Our text of the raw pages of an instance, and the kernel's own.
fn decoded(_fathom: &Path, work: &Path) -> Result<Outcome> {
    let instance = Instance::new(work)?;
    let tracefs = instance.dir.join("../..");
    let dir = work.join("host-text");
    let _ = std::fs::remove_dir_all(&dir);
    let set = dir.join("set");
    std::fs::create_dir_all(&set)?;
    // Events without addresses, which the kernel prints as hashes.
    let events =
        ["sched/sched_switch", "sched/sched_waking", "sched/sched_process_exit", "irq/softirq_entry"];
    for event in events {
        instance.write(&format!("events/{event}/enable"), "1")?;
    }
    for number in 0..300 {
        instance.write("trace_marker", &format!("mark {number}\n"))?;
        if number % 10 == 0 {
            run(&mut Command::new("true"), work, LIMIT)?;
        }
    }
    instance.write("tracing_on", "0")?;
    let copy = |from: PathBuf, to: PathBuf| -> Result<()> {
        let bytes = std::fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        Ok(std::fs::write(to, bytes)?)
    };
    for file in ["trace", "current_tracer", "trace_clock"] {
        copy(instance.dir.join(file), set.join(file))?;
    }
    copy(tracefs.join("saved_cmdlines"), set.join("saved_cmdlines"))?;
    drain(&instance.dir, &set)?;
    let mut formats = String::new();
    for event in events.iter().copied().chain(["ftrace/print"]) {
        let text = std::fs::read_to_string(tracefs.join(format!("events/{event}/format")))?;
        formats.extend(text.lines().map(|line| format!("{event}/format:{line}\n")));
    }
    std::fs::write(dir.join("formats"), formats)?;
    for (file, place) in [
        ("header_page", "events/header_page"),
        ("printk_formats", "printk_formats"),
        ("dynamic_events", "none"),
    ] {
        std::fs::write(dir.join(file), whole(&tracefs.join(place)).unwrap_or_default())?;
    }
    copy("/proc/kallsyms".into(), dir.join("kallsyms"))?;
    copy("/proc/sys/kernel/osrelease".into(), dir.join("release"))?;
    let different = kernel_text::differences(&dir)?;
    Ok(if different.is_empty() { Outcome::Passed } else { Outcome::Failed(different) })
}
