//! Tasks by name, and what belongs to them. A filter that would come out empty is an error here, because the kernel takes
//! an empty list of pids for "all".

use crate::functions::matches;
use crate::{Error, Tracefs};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The tasks whose name is matched by a glob, as `ksoftirqd/*`.
///
/// # Errors
///
/// If there is none, with the nearest name.
pub fn by_name(tracefs: &Tracefs, glob: &str) -> Result<Vec<u32>, Error> {
    let mut found = Vec::new();
    let mut nearest = fathom_filter::nearest::Nearest::new(glob);
    for process in numbers(tracefs.proc()) {
        let dir = tracefs.proc().join(process.to_string()).join("task");
        for task in numbers(&dir) {
            let Ok(name) = fs::read(dir.join(task.to_string()).join("comm")) else { continue };
            let name = String::from_utf8_lossy(&name);
            let name = name.strip_suffix('\n').unwrap_or(&name);
            nearest.see(name);
            if matches(glob, name) {
                found.push(task);
            }
        }
    }
    if found.is_empty() {
        let meant = nearest.found().map_or_else(String::new, |name| format!("; did you mean '{name}'?"));
        return Err(Error::Settings(format!("no task is called '{glob}' at this time{meant}")));
    }
    found.sort_unstable();
    Ok(found)
}

/// Checks that a task exists.
///
/// # Errors
///
/// If it does not: the kernel would take any number.
pub fn existing(tracefs: &Tracefs, id: u32) -> Result<u32, Error> {
    // `/proc/TID` is there for threads too, though it is not listed.
    if tracefs.proc().join(id.to_string()).exists() {
        return Ok(id);
    }
    Err(Error::Settings(format!("there is no task {id}")))
}

/// The threads of processes: their ids, the first included.
pub fn threads(tracefs: &Tracefs, ids: &[u32]) -> Vec<u32> {
    let mut all: BTreeSet<u32> = ids.iter().copied().collect();
    for id in ids {
        all.extend(numbers(&tracefs.proc().join(id.to_string()).join("task")));
    }
    all.into_iter().collect()
}

/// The threads of processes and all that they have started and that still runs.
pub fn family(tracefs: &Tracefs, ids: &[u32]) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = numbers(tracefs.proc())
        .into_iter()
        .filter_map(|process| Some((parent(tracefs.proc(), process)?, process)))
        .collect();
    // Whose thread an id is counts: a child belongs to a process.
    let mut processes: BTreeSet<u32> =
        ids.iter().map(|id| status(tracefs.proc(), *id, "Tgid:").unwrap_or(*id)).collect();
    loop {
        let before = processes.len();
        for (parent, child) in &parents {
            if processes.contains(parent) {
                processes.insert(*child);
            }
        }
        if processes.len() == before {
            break;
        }
    }
    threads(tracefs, &processes.into_iter().chain(ids.iter().copied()).collect::<Vec<_>>())
}

fn parent(proc: &Path, process: u32) -> Option<u32> {
    status(proc, process, "PPid:")
}

/// A number of `/proc/ID/status`.
fn status(proc: &Path, id: u32, field: &str) -> Option<u32> {
    let text = fs::read(proc.join(id.to_string()).join("status")).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| line.strip_prefix(field))?.trim().parse().ok()
}

/// Names in a directory that are numbers.
fn numbers(dir: &Path) -> Vec<u32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A mask of CPUs as `tracing_cpumask` takes it: hexadecimal, a comma every 32 bits.
pub fn cpu_mask(cpus: &[u32]) -> String {
    let words = cpus.iter().max().map_or(1, |last| last / 32 + 1);
    let mut mask = Vec::new();
    for word in (0..words).rev() {
        let bits =
            cpus.iter().filter(|cpu| **cpu / 32 == word).fold(0_u32, |bits, cpu| bits | 1 << (cpu % 32));
        mask.push(if mask.is_empty() { format!("{bits:x}") } else { format!("{bits:08x}") });
    }
    mask.join(",")
}

/// Reads `0,2-3` or `all`.
///
/// # Errors
///
/// What is no list of CPUs, and an empty one: the kernel takes an empty mask and records nothing.
pub fn cpu_list(text: &str) -> Result<Vec<u32>, Error> {
    const MOST: u32 = 8192;
    let wrong = || Error::Settings(format!("'{text}' is no list of CPUs, as 0,2-3"));
    let mut cpus = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u32 = first.trim().parse().map_err(|_| wrong())?;
        let last: u32 = last.trim().parse().map_err(|_| wrong())?;
        if first > last || last >= MOST {
            return Err(wrong());
        }
        cpus.extend(first..=last);
    }
    Ok(cpus.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proc() -> (tempfile::TempDir, Tracefs) {
        let dir = tempfile::tempdir().unwrap();
        let task = |process: u32, id: u32, parent: u32, name: &str| {
            let thread = dir.path().join(format!("{process}/task/{id}"));
            fs::create_dir_all(&thread).unwrap();
            fs::write(thread.join("comm"), format!("{name}\n")).unwrap();
            let status = format!("Name:\t{name}\nTgid:\t{process}\nPPid:\t{parent}\n");
            fs::create_dir_all(dir.path().join(id.to_string())).unwrap();
            fs::write(dir.path().join(id.to_string()).join("status"), status).unwrap();
        };
        task(15, 15, 2, "ksoftirqd/0");
        task(22, 22, 2, "ksoftirqd/1");
        task(100, 100, 1, "server");
        task(100, 101, 1, "worker");
        task(110, 110, 100, "child");
        task(120, 120, 110, "grandchild");
        let tracefs = Tracefs::at("/nowhere").with_proc(dir.path());
        (dir, tracefs)
    }

    #[test]
    fn tasks_by_name() {
        let (_dir, tracefs) = proc();
        assert_eq!(by_name(&tracefs, "ksoftirqd/*").unwrap(), [15, 22]);
        assert_eq!(by_name(&tracefs, "worker").unwrap(), [101]);
        let error = by_name(&tracefs, "sevrer").unwrap_err();
        assert_eq!(error.to_string(), "no task is called 'sevrer' at this time; did you mean 'server'?");
        assert!(existing(&tracefs, 100).is_ok());
        assert!(existing(&tracefs, 99).is_err());
    }

    #[test]
    fn families() {
        let (_dir, tracefs) = proc();
        assert_eq!(threads(&tracefs, &[100]), [100, 101]);
        assert_eq!(family(&tracefs, &[100]), [100, 101, 110, 120]);
        assert_eq!(family(&tracefs, &[101]), [100, 101, 110, 120]);
    }

    #[test]
    fn masks() {
        assert_eq!(cpu_mask(&cpu_list("0,2-3").unwrap()), "d");
        assert_eq!(cpu_mask(&[0, 33]), "2,00000001");
        assert!(cpu_list("").is_err());
        assert!(cpu_list("3-1").is_err());
        assert!(cpu_list("0-99999999").is_err());
    }
}
