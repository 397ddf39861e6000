//! Memory: touching it for the first time, using up what is free, running out of it.

use super::{Run, WorkloadError, failed};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PAGE: usize = 4096;

/// Machines with more memory than this are not filled: it would take long and disturb everything that runs there.
const LARGEST_KB: u64 = 4 << 20;

/// Touches fresh memory, and starts programs: their files are mapped, read and copied on write.
pub(super) fn faults(run: &Run<'_>) -> Result<(), WorkloadError> {
    let begun = Instant::now();
    loop {
        let mut memory = Vec::new();
        for _ in 0..32 {
            memory.push(touched(1 << 20));
        }
        drop(memory);
        let status = (run.child)("nothing").status().map_err(failed("starting a child"))?;
        if !status.success() {
            return Err(WorkloadError::Lacks(format!("the child ended with {status}")));
        }
        if !run.goes_on(begun) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Memory of which every page has been written to.
fn touched(bytes: usize) -> Vec<u8> {
    let mut block = vec![0u8; bytes];
    for page in block.chunks_mut(PAGE) {
        page[0] = 1;
    }
    std::hint::black_box(block)
}

/// A value of `/proc/meminfo` in KiB.
fn meminfo(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Makes this process, and so its children, the first to be killed.
fn volunteer() -> Result<(), WorkloadError> {
    std::fs::write("/proc/self/oom_score_adj", "1000").map_err(failed("writing /proc/self/oom_score_adj"))
}

/// Fills what is free and half of the swap (at most 256 MiB of it) in this process, which is the first to be killed should it be
/// too much.
pub(super) fn pressure(run: &Run<'_>) -> Result<(), WorkloadError> {
    let total = meminfo("MemTotal");
    if total > LARGEST_KB {
        return Err(WorkloadError::Lacks(format!(
            "this machine has {} MiB of memory: to fill it would disturb all that runs here. Give a command of your own after --, or look without a workload.",
            total / 1024
        )));
    }
    let swap = meminfo("SwapFree");
    if swap < 16 << 10 {
        return Err(WorkloadError::Lacks(
            "there is no swap (or hardly any): memory pressure would only end in a kill. Add swap, or see the recipe oom.".to_owned(),
        ));
    }
    volunteer()?;
    let wanted_kb = meminfo("MemAvailable") + (swap / 2).min(256 << 10);
    let begun = Instant::now();
    let mut held = Vec::new();
    while (held.len() as u64) << 10 < wanted_kb {
        held.push(touched(1 << 20));
        // More time than asked for by a factor: a machine that swaps is slow, and not to be held up for ever.
        if begun.elapsed() > run.time * 10 + Duration::from_secs(20) {
            break;
        }
    }
    // Touching the first of it again brings pages back from swap.
    for block in held.iter_mut().take(16) {
        for page in block.chunks_mut(PAGE) {
            page[0] = page[0].wrapping_add(1);
        }
    }
    std::hint::black_box(&held);
    Ok(())
}

/// A cgroup that is removed at the end.
struct Group {
    dir: PathBuf,
    mounted: Option<PathBuf>,
}

impl Group {
    /// Makes one with a limit of memory; nothing if there are no cgroups to be had.
    fn make(bytes: u64) -> Option<Group> {
        let (root, mounted) = match cgroup_root() {
            Some(root) => (root, None),
            None => {
                let root = std::env::temp_dir().join(format!("fathom-cgroup-{}", std::process::id()));
                std::fs::create_dir(&root).ok()?;
                let flags = rustix::mount::MountFlags::empty();
                if rustix::mount::mount("none", &root, "cgroup2", flags, None).is_err() {
                    let _ = std::fs::remove_dir(&root);
                    return None;
                }
                (root.clone(), Some(root))
            }
        };
        let group = Group { dir: root.join(format!("fathom-oom-{}", std::process::id())), mounted };
        // A root that has the controller on already refuses nothing; one that has not takes it here.
        let _ = std::fs::write(root.join("cgroup.subtree_control"), "+memory");
        std::fs::create_dir(&group.dir).ok()?;
        std::fs::write(group.dir.join("memory.max"), bytes.to_string()).ok()?;
        // Where there is swap, memory would go there first.
        let _ = std::fs::write(group.dir.join("memory.swap.max"), "0");
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process may take a moment to leave.
        for _ in 0..50 {
            if !self.dir.exists() || std::fs::remove_dir(&self.dir).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some(root) = &self.mounted {
            let _ = rustix::mount::unmount(root, rustix::mount::UnmountFlags::empty());
            let _ = std::fs::remove_dir(root);
        }
    }
}

/// Where the second version of cgroups is mounted.
fn cgroup_root() -> Option<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = text
        .lines()
        .find(|line| line.split_once(" - ").is_some_and(|(_, tail)| tail.starts_with("cgroup2 ")))?;
    let place = PathBuf::from(line.split(' ').nth(4)?);
    Path::new(&place).join("cgroup.controllers").exists().then_some(place)
}

/// A child uses up the memory of a cgroup of 32 MiB, or, where there are none and the machine is small, that of the machine.
pub(super) fn oom(run: &Run<'_>) -> Result<(), WorkloadError> {
    let group = Group::make(32 << 20);
    if group.is_none() && meminfo("MemTotal") > 1 << 20 {
        return Err(WorkloadError::Lacks(
            "cgroups are not to be had here (not root, or no memory controller), and this machine is too large to use up all of its memory".to_owned(),
        ));
    }
    let mut command = (run.child)("fill");
    if let Some(group) = &group {
        command.env("FATHOM_WORKLOAD_GROUP", &group.dir);
    }
    let status = command.status().map_err(failed("starting a child"))?;
    if status.success() {
        return Err(WorkloadError::Lacks("the child got all the memory that it asked for".to_owned()));
    }
    Ok(())
}

/// The child: joins the group, offers itself, and takes memory until it is killed.
pub(super) fn fill() -> Result<(), WorkloadError> {
    volunteer()?;
    let group = std::env::var_os("FATHOM_WORKLOAD_GROUP");
    if let Some(group) = &group {
        let procs = Path::new(group).join("cgroup.procs");
        std::fs::write(&procs, "0").map_err(failed("joining a cgroup"))?;
    }
    let limit_mib =
        if group.is_some() { 256 } else { (meminfo("MemTotal") + meminfo("SwapTotal")) / 1024 + 64 };
    let mut held = Vec::new();
    for _ in 0..limit_mib {
        held.push(touched(1 << 20));
    }
    std::hint::black_box(&held);
    Ok(())
}
