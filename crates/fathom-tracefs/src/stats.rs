//! What the kernel counts for each CPU's buffer.

use crate::plan::Place;
use crate::{Error, Tracefs};

/// The counts of `per_cpu/cpuN/stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStats {
    /// Number of the CPU.
    pub cpu: u32,
    /// Events that are in the buffer.
    pub entries: u64,
    /// Events lost because the buffer was full and the oldest were overwritten.
    pub overrun: u64,
    /// Events lost because interrupts nested too deep while one was written.
    pub commit_overrun: u64,
    /// Bytes in the buffer.
    pub bytes: u64,
    /// Events lost because the buffer was full and must not be overwritten.
    pub dropped: u64,
    /// Events that were read.
    pub read: u64,
}

impl CpuStats {
    /// Those of all CPUs, by number.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn of(tracefs: &Tracefs, place: &Place) -> Result<Vec<CpuStats>, Error> {
        let prefix = place.prefix();
        cpus(tracefs, place)?
            .into_iter()
            .map(|cpu| Ok(CpuStats::parse(cpu, &tracefs.read(&format!("{prefix}per_cpu/cpu{cpu}/stats"))?)))
            .collect()
    }

    /// Reads the text of the file. What is not there is 0.
    pub fn parse(cpu: u32, text: &str) -> CpuStats {
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        CpuStats {
            cpu,
            entries: number("entries"),
            overrun: number("overrun"),
            commit_overrun: number("commit overrun"),
            bytes: number("bytes"),
            dropped: number("dropped events"),
            read: number("read events"),
        }
    }

    /// As the kernel shows it, under the CPU's number.
    pub fn text(&self) -> String {
        let CpuStats { cpu, entries, overrun, commit_overrun, bytes, dropped, read } = self;
        format!(
            "CPU: {cpu}\nentries: {entries}\noverrun: {overrun}\ncommit overrun: {commit_overrun}\nbytes: {bytes}\ndropped events: {dropped}\nread events: {read}\n"
        )
    }

    /// All events that were lost.
    pub fn lost(&self) -> u64 {
        self.overrun.saturating_add(self.commit_overrun).saturating_add(self.dropped)
    }
}

/// The CPUs that have a buffer, by number.
pub(crate) fn cpus(tracefs: &Tracefs, place: &Place) -> Result<Vec<u32>, Error> {
    let names = tracefs.list(&format!("{}per_cpu", place.prefix()))?;
    let mut cpus: Vec<u32> = names.iter().filter_map(|name| name.strip_prefix("cpu")?.parse().ok()).collect();
    cpus.sort_unstable();
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read() {
        let text = "entries: 5\noverrun: 828\ncommit overrun: 1\nbytes: 140\noldest event ts:  1.0\nnow ts:  2.0\ndropped events: 2\nread events: 7\n";
        let stats = CpuStats::parse(3, text);
        assert_eq!((stats.entries, stats.read, stats.lost()), (5, 7, 831));
        assert_eq!(CpuStats::parse(0, "entries: x\n"), CpuStats::default());
    }
}
