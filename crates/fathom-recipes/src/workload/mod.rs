//! Programs that make the things happen that recipes are about, without any tool of the system.
//!
//! They are run in a process of their own (the program starts itself with a hidden command), so that a recipe can follow them
//! as any command. What they need of the machine is bounded: see each.

mod disk;
mod memory;
mod net;
mod tasks;

use crate::recipe::Workload;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a workload runs with.
pub struct Run<'a> {
    /// How long it goes on, about.
    pub time: Duration,
    /// Makes a command that runs the part of that name ([`part`]) in a child.
    pub child: &'a (dyn Fn(&str) -> Command + Sync),
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("time", &self.time).finish_non_exhaustive()
    }
}

impl Run<'_> {
    /// Is there time left?
    fn goes_on(&self, since: Instant) -> bool {
        since.elapsed() < self.time
    }
}

/// A workload that could not do what it is for.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// Something of the system.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// The machine lacks something.
    #[error("{0}")]
    Lacks(String),
}

fn failed(doing: &str) -> impl FnOnce(io::Error) -> WorkloadError + use<'_> {
    move |source| WorkloadError::Io { doing: doing.to_owned(), source }
}

impl Workload {
    /// What it is called for the hidden command.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(workload, _)| *workload == self).map_or("", |(_, name)| name)
    }

    /// The one of that name.
    pub fn of_name(name: &str) -> Option<Workload> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(workload, _)| *workload)
    }

    /// Does it.
    ///
    /// # Errors
    ///
    /// If the machine lacks what it needs.
    pub fn run(self, run: &Run<'_>) -> Result<(), WorkloadError> {
        match self {
            Workload::Disk => disk::requests(run),
            Workload::Interrupts => tasks::interrupts(run),
            Workload::Flood => net::flood(run),
            Workload::Timers => tasks::timers(run),
            Workload::Memory => memory::pressure(run),
            Workload::Oom => memory::oom(run),
            Workload::Signals => tasks::signals(run),
            Workload::Writeback => disk::writeback(run),
            Workload::Ping => net::ping(run),
            Workload::Net => net::traffic(run),
            Workload::Threads => tasks::threads(run),
            Workload::Sleeps => tasks::sleeps(run),
            Workload::Syscalls => tasks::syscalls(run),
            Workload::Faults => memory::faults(run),
            Workload::Futex => tasks::futex(run),
            Workload::Work => disk::work(run),
            Workload::Allocations => tasks::allocations(run),
            Workload::Exec => tasks::exec(run),
        }
    }
}

const NAMES: &[(Workload, &str)] = &[
    (Workload::Disk, "disk"),
    (Workload::Interrupts, "interrupts"),
    (Workload::Flood, "flood"),
    (Workload::Timers, "timers"),
    (Workload::Memory, "memory"),
    (Workload::Oom, "oom"),
    (Workload::Signals, "signals"),
    (Workload::Writeback, "writeback"),
    (Workload::Ping, "ping"),
    (Workload::Net, "net"),
    (Workload::Threads, "threads"),
    (Workload::Sleeps, "sleeps"),
    (Workload::Syscalls, "syscalls"),
    (Workload::Faults, "faults"),
    (Workload::Futex, "futex"),
    (Workload::Work, "work"),
    (Workload::Allocations, "allocations"),
    (Workload::Exec, "exec"),
];

/// What a child of a workload does.
///
/// # Errors
///
/// If it cannot; an unknown part does nothing, which is what some are for.
pub fn part(name: &str) -> Result<(), WorkloadError> {
    match name {
        "signals" => tasks::signal_target(),
        "fill" => memory::fill(),
        "sleep" => {
            std::thread::sleep(Duration::from_millis(20));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// CPUs that this process may use.
fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Directories for files: the current one if it is on a disk, then every mounted file system that is and can be written to.
fn disk_dirs() -> Vec<std::path::PathBuf> {
    const ON_DISK: &[&str] = &["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "nilfs2", "jfs"];
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut dirs: Vec<(std::path::PathBuf, bool)> = Vec::new();
    for line in text.lines() {
        // 36 35 98:0 /root /mount options - ext4 /dev/root rw
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let fields: Vec<&str> = head.split(' ').collect();
        let mut tail = tail.split(' ');
        let (Some(place), Some(kind)) = (fields.get(4), tail.next()) else { continue };
        let writable = fields.get(5).is_some_and(|options| options.split(',').any(|option| option == "rw"));
        dirs.push((std::path::PathBuf::from(place), writable && ON_DISK.contains(&kind)));
    }
    let here = std::env::current_dir().unwrap_or_default();
    // The mount that a directory is in is the longest one that it begins with.
    let holder = dirs
        .iter()
        .filter(|(place, _)| here.starts_with(place))
        .max_by_key(|(place, _)| place.as_os_str().len());
    let mut found: Vec<std::path::PathBuf> =
        holder.filter(|(_, good)| *good).map(|_| here.clone()).into_iter().collect();
    found.extend(dirs.into_iter().filter(|(place, good)| *good && place.is_dir()).map(|(place, _)| place));
    found
}
