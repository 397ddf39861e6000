//! Running many cases in one boot, and judging what came back.

use super::case::{Check, Job};
use super::disks;
use crate::e2e::Outcome;
use crate::paths::root;
use crate::run::tail;
use crate::vm::{Kernel, Vm};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

const GUEST_LIB: &str = include_str!("guest-lib.sh");
const WORKLOADS: &str = include_str!("workloads.sh");

/// Programs that every guest gets, with their places there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Programs {
    /// The program to test, on the host.
    pub(crate) fathom: PathBuf,
    pub(crate) list: Vec<(PathBuf, String)>,
}

/// Cases of one kernel that share a boot.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) kernel: Kernel,
    pub(crate) memory: u32,
    pub(crate) jobs: Vec<Job>,
}

/// Puts cases into as few boots as there are sizes of memory, and those that want one into a boot of their own.
pub(crate) fn batches(kernel: &Kernel, jobs: Vec<Job>) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for job in jobs {
        let fits = |batch: &&mut Batch| batch.memory == job.memory && !job.alone && !batch.jobs[0].alone;
        match batches.iter_mut().find(fits) {
            Some(batch) => batch.jobs.push(job),
            None => batches.push(Batch { kernel: kernel.clone(), memory: job.memory, jobs: vec![job] }),
        }
    }
    batches
}

impl Batch {
    /// Runs all cases. Where one takes the machine down it has failed, and the others are run again without it.
    pub(crate) fn run(self, programs: &Programs, dir: &Path) -> Result<Vec<(String, Outcome)>> {
        let mut results = Vec::new();
        let (mut jobs, skipped): (Vec<Job>, Vec<Job>) =
            self.jobs.into_iter().partition(|job| missing(job, programs).is_none());
        for job in skipped {
            let reason = missing(&job, programs).unwrap_or_default();
            results.push((job.name, Outcome::Skipped(reason)));
        }
        while !jobs.is_empty() {
            let ran = boot(&self.kernel, self.memory, &jobs, programs, dir)?;
            let Some(trouble) = ran.trouble() else {
                for job in jobs {
                    let outcome = judge(&job, &programs.fathom, &ran.out.join(folder(&job.name)));
                    results.push((job.name, outcome));
                }
                return Ok(results);
            };
            let begun = ran.console.lines().rev().find_map(|line| line.trim().strip_prefix("VM-CASE "));
            let begun = begun.and_then(|rest| rest.split_whitespace().next()).map(str::to_owned);
            let culprit = jobs.iter().position(|job| begun.as_deref() == Some(folder(&job.name).as_str()));
            match culprit {
                Some(at) => results.push((jobs.remove(at).name, Outcome::Failed(trouble))),
                None => {
                    // It did not get as far as the first case.
                    results.extend(jobs.drain(..).map(|job| (job.name, Outcome::Failed(trouble.clone()))));
                }
            }
        }
        Ok(results)
    }
}

/// One case in a boot of its own. Returns all it printed, and how control files changed.
pub(crate) fn run_alone(kernel: &Kernel, job: &Job, programs: &Programs, dir: &Path) -> Result<String> {
    let ran = boot(kernel, job.memory, std::slice::from_ref(job), programs, dir)?;
    if let Some(trouble) = ran.trouble() {
        return Ok(trouble);
    }
    let out = ran.out.join(folder(&job.name));
    let part = |file: &str| read(&out, file).unwrap_or_default();
    Ok(format!("{}{}{}status {}", part("stdout"), part("stderr"), part("state"), part("status")))
}

/// A case's directory: its name without a slash.
pub(crate) fn folder(name: &str) -> String {
    name.replace('/', "--")
}

fn missing(job: &Job, programs: &Programs) -> Option<String> {
    let in_guest =
        |name: &String| programs.list.iter().any(|(_, place)| place.ends_with(&format!("/{name}")));
    job.requires.iter().find(|name| !in_guest(name)).map(|name| format!("{name} is not installed"))
}

fn boot(
    kernel: &Kernel,
    memory: u32,
    jobs: &[Job],
    programs: &Programs,
    dir: &Path,
) -> Result<crate::vm::Ran> {
    let mut vm = Vm::new(kernel);
    vm.memory = memory;
    vm.network = true;
    // So that addresses in the kernel's own text are those of the records.
    vm.append = "no_hash_pointers".to_owned();
    // Beside the directory of the run, which is emptied.
    let mut disks = dir.as_os_str().to_owned();
    disks.push(".disks");
    let disks = PathBuf::from(disks);
    vm.disks = disks::fresh(&disks)?;
    vm.programs.clone_from(&programs.list);
    let seconds: u64 = jobs.iter().map(|job| u64::from(job.timeout)).sum();
    vm.limit = Duration::from_secs((60 + seconds).min(1800));
    vm.texts.push(("workloads.sh".to_owned(), WORKLOADS.to_owned()));
    let mut script = String::from(GUEST_LIB);
    for job in jobs {
        let folder = folder(&job.name);
        let parts = [
            ("setup", &job.setup),
            ("workload", &job.workload),
            ("run", &job.run),
            ("cleanup", &job.cleanup),
        ];
        for (part, text) in parts {
            vm.texts.push((format!("cases/{folder}/{part}"), text.clone()));
        }
        let state = if job.state { "kept" } else { "changed" };
        script += &format!("case_run {folder} {} {state}\n", job.timeout);
    }
    script += "exit 0\n";
    let ran = vm.run(&script, dir)?;
    std::fs::remove_dir_all(disks)?;
    std::fs::write(dir.join("console"), &ran.console)?;
    Ok(ran)
}

fn judge(job: &Job, fathom: &Path, dir: &Path) -> Outcome {
    match complaints(job, fathom, dir) {
        Ok(list) if list.is_empty() => Outcome::Passed,
        Ok(list) => {
            let place = dir.strip_prefix(root()).unwrap_or(dir).display();
            let output = |file: &str| {
                let text = read(dir, file).unwrap_or_default();
                format!("--- {file}\n{}\n", tail(&text, 1500))
            };
            let files: String = ["setup.log", "workload.log", "stdout", "stderr"]
                .into_iter()
                .filter(|file| dir.join(file).metadata().is_ok_and(|data| data.len() > 0))
                .map(output)
                .collect();
            Outcome::Failed(format!("{}\n{}(all of it is in {place})\n{files}", job.run, list.concat()))
        }
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}

/// What is not as the case has it, a line each.
fn complaints(job: &Job, fathom: &Path, dir: &Path) -> Result<Vec<String>> {
    let mut list = Vec::new();
    if dir.join("late").exists() {
        list.push(format!("no end after {} s\n", job.timeout));
    }
    let status: i32 = read(dir, "status")?.trim().parse().context("no status")?;
    if status != job.status {
        list.push(format!("status {status} instead of {}\n", job.status));
    }
    for check in &job.checks {
        list.extend(complaint(check, dir)?);
    }
    if list.is_empty() {
        for comparison in &job.comparisons {
            let different = comparison.differences(fathom, dir)?;
            list.extend((!different.is_empty()).then_some(different));
        }
    }
    if job.state {
        let state = read(dir, "state")?;
        if !state.is_empty() {
            list.push(format!("control files that are not as before:\n{}\n", tail(&state, 4000)));
        }
    }
    Ok(list)
}

fn complaint(check: &Check, dir: &Path) -> Result<Option<String>> {
    let Check { file, pattern, at_least } = check;
    let text = read(dir, file)?;
    let found = pattern.find_iter(&text).count();
    let pattern = pattern.as_str().trim_start_matches("(?m)");
    Ok(match at_least {
        0 if found > 0 => Some(format!("{file} has: {pattern}\n")),
        1 if found == 0 => Some(format!("{file} lacks: {pattern}\n")),
        _ if found < *at_least => Some(format!("{file} has {found} instead of {at_least} of: {pattern}\n")),
        _ => None,
    })
}

fn read(dir: &Path, file: &str) -> Result<String> {
    let path = dir.join(file);
    let bytes = std::fs::read(&path).with_context(|| format!("the guest left no {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
