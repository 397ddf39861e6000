//! The kernel half: decoding to text against `trace-cmd report` and `perf script`, decoding to records, the memory that
//! takes, and recording under load against `trace-cmd record`, in a virtual machine since this kernel may refuse it.

use super::usage::{Usage, measure};
use super::{LIMIT, Setup, median, remove};
use crate::live::{self, Programs};
use crate::paths::{cargo, which};
use crate::run::{run, run_ok};
use crate::{setup as tools, vm};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufRead as _, BufReader, copy};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Events by whose names and numbers the same is recorded with both.
const EVENTS: [&str; 3] = ["sched", "irq", "raw_syscalls"];
/// System calls of the load: one byte copied takes two, each with an entry and an exit.
const COPIES: u64 = 400_000;
/// Ratio of CPU times to both peers, at least.
const TEXT_GOAL: f64 = 10.0;
/// MB/s of one core.
const BINARY_GOAL: f64 = 500.0;
const RUNS: usize = 5;
/// Buffer of each CPU in the virtual machine, KiB, and system calls that are made there.
const VM_BUFFER: u32 = 4096;
const VM_CALLS: u32 = 600_000;

/// Measures all four. False when a goal is missed.
pub(super) fn main(setup: &Setup) -> Result<bool> {
    let missing = tools::ensure(&[tools::TRACE_CMD, tools::PERF]);
    if !missing.is_empty() {
        println!("not installed, so not compared with: {}", missing.join(", "));
    }
    let copies = if setup.quick { COPIES / 8 } else { COPIES };
    let short = record(setup, "short", copies / 4)?;
    let long = record(setup, "long", copies)?;
    let mut fine = true;
    if setup.wanted("text") {
        fine &= text(setup, &long, copies)?;
    }
    if setup.wanted("binary") {
        fine &= binary(setup, &long)?;
    }
    if setup.wanted("memory") {
        fine &= memory(setup, &short, &long)?;
    }
    if setup.wanted("record") {
        fine &= recording(setup)?;
    }
    Ok(fine)
}

/// Records the load with our own recorder, in the machine's own kernel.
fn record(setup: &Setup, name: &str, copies: u64) -> Result<PathBuf> {
    let file = setup.dir.join(format!("kernel-{name}.dat"));
    let mut command = Command::new(&setup.fathom);
    command.args(["kernel", "trace", "-a", "-b", "16m", "-o"]).arg(&file);
    for event in EVENTS {
        command.args(["-e", &format!("{event}:")]);
    }
    run_ok(command.arg("--").args(load(copies)), &setup.dir, LIMIT).context("cannot record events here")?;
    Ok(file)
}

fn load(copies: u64) -> Vec<String> {
    let count = format!("count={copies}");
    ["dd", "if=/dev/zero", "of=/dev/null", "bs=1", &count, "status=none"].map(str::to_owned).to_vec()
}

/// Events of a recording: lines of its report that have a time.
fn events_in(setup: &Setup, file: &Path) -> Result<u64> {
    let mut command = Command::new(&setup.fathom);
    command.args(["kernel", "report", "--no-pager", "-N"]).arg(file);
    lines(&mut command, |line| line.windows(2).any(|pair| pair == b": "))
}

/// How many lines of such a kind a command prints. They are not kept: the peak memory of a process that is started is at
/// least what its parent has at that time.
fn lines(command: &mut Command, fits: impl Fn(&[u8]) -> bool) -> Result<u64> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {command:?}"))?;
    let text = BufReader::new(child.stdout.take().context("no output")?);
    let mut count = 0;
    for line in text.split(b'\n') {
        count += u64::from(fits(&line?));
    }
    if !child.wait()?.success() {
        bail!("{command:?} failed");
    }
    Ok(count)
}

fn text(setup: &Setup, file: &Path, copies: u64) -> Result<bool> {
    let events = events_in(setup, file)?;
    println!(
        "\ntext: {:.2} M events of sched, irq, raw_syscalls; M events/s by CPU time (by elapsed time)",
        events as f64 / 1e6
    );
    let perf = perf_recording(setup, copies)?;
    let (mut ours, mut theirs, mut perfs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setup.runs.unwrap_or(RUNS) {
        ours.push(measure(
            Command::new(&setup.fathom).args(["kernel", "report", "--no-pager"]).arg(file),
            &setup.dir,
        )?);
        if let Some(peer) = which("trace-cmd") {
            theirs.push(measure(Command::new(peer).arg("report").arg(file), &setup.dir)?);
        }
        if let Some((file, _)) = &perf {
            perfs.push(measure(Command::new("perf").args(["script", "-i"]).arg(file), &setup.dir)?);
        }
    }
    let our_rate = rate(events, &ours, |usage| usage.cpu);
    println!("{:<18} {:>14}  {:>7.1} MiB", "fathom", shown(events, &ours), peak(&ours));
    let mut fine = true;
    let perf_events = perf.map_or(0, |(_, events)| events);
    for (name, usages, events) in
        [("trace-cmd report", &theirs, events), ("perf script", &perfs, perf_events)]
    {
        if usages.is_empty() {
            continue;
        }
        let ratio = our_rate / rate(events, usages, |usage| usage.cpu);
        fine &= ratio >= TEXT_GOAL;
        let peak = peak(usages);
        println!(
            "{name:<18} {:>14}  {peak:>7.1} MiB  ratio {ratio:.1}, goal {TEXT_GOAL}",
            shown(events, usages)
        );
    }
    Ok(fine)
}

/// The same load recorded by perf, and the number of its events. None where that is not possible.
fn perf_recording(setup: &Setup, copies: u64) -> Result<Option<(PathBuf, u64)>> {
    if which("perf").is_none() {
        return Ok(None);
    }
    let file = setup.dir.join("kernel-perf.data");
    let mut command = Command::new("perf");
    command.args(["record", "-q", "-a", "-m", "8192", "-o"]).arg(&file);
    for event in EVENTS {
        command.args(["-e", &format!("{event}:*")]);
    }
    let done = run(command.arg("--").args(load(copies)), &setup.dir, LIMIT)?;
    if !done.status.success() {
        println!("perf cannot record here: {}", crate::run::tail(&done.stderr, 200));
        return Ok(None);
    }
    let listed = lines(Command::new("perf").args(["script", "-F", "time", "-i"]).arg(&file), |_| true)?;
    Ok(Some((file, listed)))
}

fn rate(events: u64, usages: &[Usage], of: fn(&Usage) -> f64) -> f64 {
    let (seconds, _) = median(&mut usages.iter().map(of).collect::<Vec<_>>());
    events as f64 / 1e6 / seconds.max(1e-4)
}

fn shown(events: u64, usages: &[Usage]) -> String {
    format!(
        "{:.2} ({:.2})",
        rate(events, usages, |usage| usage.cpu),
        rate(events, usages, |usage| usage.wall)
    )
}

fn peak(usages: &[Usage]) -> f64 {
    usages.iter().map(|usage| usage.peak).fold(0.0, f64::max)
}

/// Pages to records in memory, by one core.
fn binary(setup: &Setup, file: &Path) -> Result<bool> {
    let recording = fathom_tracedat::open(file)?;
    let mut command = cargo();
    command.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "fathom-ftrace",
        "--example",
        "decode_speed",
        "--",
    ]);
    for buffer in &recording.buffers {
        for (number, cpu) in buffer.cpus.iter().enumerate() {
            let raw = setup.dir.join(format!("kernel-{number}.raw"));
            copy(&mut recording.pages(buffer, cpu), &mut File::create(&raw)?)?;
            command.arg(raw);
        }
    }
    let done = command.output().context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [bytes, records, nanoseconds] = numbers[..] else {
        bail!("decode_speed failed: {said}{}", String::from_utf8_lossy(&done.stderr));
    };
    let speed = bytes / nanoseconds * 1e3;
    println!(
        "\nbinary: {speed:.0} MB/s a core, {:.1} M records/s ({:.0} MB of pages); goal {BINARY_GOAL} MB/s",
        records / nanoseconds * 1e3,
        bytes / 1e6
    );
    Ok(speed >= BINARY_GOAL)
}

/// Peak memory over a trace and over one four times as long.
fn memory(setup: &Setup, short: &Path, long: &Path) -> Result<bool> {
    let of = |file: &Path| -> Result<f64> {
        let mut command = Command::new(&setup.fathom);
        Ok(measure(command.args(["kernel", "report", "--no-pager"]).arg(file), &setup.dir)?.peak)
    };
    let (small, large) = (of(short)?, of(long)?);
    let size = |file: &Path| std::fs::metadata(file).map_or(0.0, |data| data.len() as f64 / 1e6);
    println!(
        "\nmemory: {small:.1} MiB for a file of {:.1} MB, {large:.1} MiB for one of {:.1} MB",
        size(short),
        size(long)
    );
    Ok(large < small * 1.25 + 4.0)
}

/// Both recorders under the same load with the same buffer: what is lost and what it costs.
fn recording(setup: &Setup) -> Result<bool> {
    let missing = vm::kernel::ensure_tools();
    if !missing.is_empty() {
        println!("\nrecording: not measured, for {} are not installed", missing.join(", "));
        return Ok(true);
    }
    let dir = setup.dir.join("vm");
    let programs = Programs::gather(&setup.fathom, &dir)?;
    let events = |option: &str, colon: &str| EVENTS.map(|event| format!("{option} {event}{colon} ")).concat();
    let ours = format!("fathom kernel trace -a -b {VM_BUFFER}k {} -o ours.dat", events("-e", ":"));
    let theirs = format!("trace-cmd record -b {VM_BUFFER} {} -o theirs.dat", events("-e", ""));
    let load = format!("work calls {VM_CALLS}");
    // The programs by turns; the load alone is what has to be taken off. What `time` says goes where the command's own
    // errors go, unless that is another shell's.
    let script = format!(
        "for i in 1 2 3; do\n\
         echo alone >&2; time {load}\n\
         echo ours >&2; time sh -c '{ours} -- {load} 2>>ours.log'\n\
         echo theirs >&2; time sh -c '{theirs} {load} >>theirs.log 2>&1'\ndone\n"
    );
    for kernel in vm::kernel::names() {
        let kernel = vm::kernel::prepare(&kernel)?;
        let place = dir.join(&kernel.name);
        let (out, said) = live::run_for_bench(&kernel, &script, &programs, &place, Duration::from_secs(600))?;
        let lost = |file: &str| -> Result<usize> {
            let peer = which("trace-cmd").context("trace-cmd is not installed")?;
            let done = run_ok(Command::new(peer).arg("report").arg(out.join(file)), &setup.dir, LIMIT)?;
            Ok(done.stdout.lines().filter(|line| line.contains("EVENTS DROPPED")).count())
        };
        let alone = cpu_times(&said, "alone");
        if alone.is_nan() || alone <= 0.0 {
            bail!("the load used no time: {}", crate::run::tail(&said, 500));
        }
        let more = |name: &str| cpu_times(&said, name) - alone;
        println!(
            "\nrecording on {}: {VM_CALLS} system calls, buffer {VM_BUFFER} KiB a CPU, CPU time beyond the load's own {alone:.2} s",
            kernel.name
        );
        println!("fathom     {:.2} s, places with lost events: {}", more("ours"), lost("ours.dat")?);
        println!("trace-cmd  {:.2} s, places with lost events: {}", more("theirs"), lost("theirs.dat")?);
        if more("ours") > more("theirs") || (lost("theirs.dat")? == 0 && lost("ours.dat")? > 0) {
            remove(&place);
            return Ok(false);
        }
        remove(&place);
    }
    Ok(true)
}

/// The middle of the user and system times that the shell's `time` printed after a line with `name`.
fn cpu_times(said: &str, name: &str) -> f64 {
    let mut times = Vec::new();
    let mut within = false;
    for line in said.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [word] => {
                within = word == name;
                if within {
                    times.push(0.0);
                }
            }
            ["user" | "sys", minutes, seconds] if within => {
                let number = |text: &str| text.trim_end_matches(['m', 's']).parse::<f64>().unwrap_or(0.0);
                if let Some(last) = times.last_mut() {
                    *last += 60.0 * number(minutes) + number(seconds);
                }
            }
            _ => {}
        }
    }
    median(&mut times).0
}

#[cfg(test)]
mod tests {
    use super::cpu_times;

    #[test]
    fn times_of_the_shell() {
        let said =
            "alone\nreal\t0m 1.00s\nuser\t0m 0.25s\nsys\t0m 0.50s\nours\nuser\t1m 0.00s\nsys\t0m 0.00s\n";
        assert_eq!((cpu_times(said, "alone"), cpu_times(said, "ours")), (0.75, 60.0));
        assert!(cpu_times(said, "theirs").is_nan());
    }
}
