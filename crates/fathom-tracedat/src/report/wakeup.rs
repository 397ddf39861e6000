//! Latencies from a task's wake-up to its running (`-w`).

use super::ftrace::Place;
use super::time::TimeForm;
use fathom_ftrace::{Endian, Format, number};
use rustc_hash::FxHashMap;

/// What a record means for wake-ups.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scheduling {
    /// A task is to run.
    Wakeup { pid: Place, success: Option<Place> },
    /// A task runs.
    Switch { pid: Place, priority: Place },
}

impl Scheduling {
    /// What the records of an event mean.
    pub(crate) fn of(format: &Format) -> Option<Self> {
        let place = |name| Place::of(format, name);
        Some(match (format.system.as_str(), format.name.as_str()) {
            ("sched", "sched_wakeup" | "sched_wakeup_new") => {
                Self::Wakeup { pid: place("pid")?, success: place("success") }
            }
            ("sched", "sched_switch") => {
                Self::Switch { pid: place("next_pid")?, priority: place("next_prio")? }
            }
            _ => return None,
        })
    }
}

/// Latencies of some tasks, in nanoseconds.
#[derive(Debug, Default)]
struct Latencies {
    count: u64,
    total: u64,
    /// With the time at which it ended.
    most: Option<(u64, u64)>,
    least: Option<(u64, u64)>,
}

impl Latencies {
    fn add(&mut self, latency: u64, time: u64) {
        self.count += 1;
        self.total = self.total.saturating_add(latency);
        if self.most.is_none_or(|(most, _)| latency > most) {
            self.most = Some((latency, time));
        }
        if self.least.is_none_or(|(least, _)| latency < least) {
            self.least = Some((latency, time));
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (Some(most), Some(least)) = (self.most, self.least) else { return };
        out.extend_from_slice(b"\nAverage wakeup latency: ");
        microseconds(out, self.total / self.count.max(1));
        for (label, (latency, time)) in [("Maximum", most), ("Minimum", least)] {
            out.extend_from_slice(b"\n");
            out.extend_from_slice(label.as_bytes());
            out.extend_from_slice(b" Latency: ");
            microseconds(out, latency);
            out.extend_from_slice(b" at timestamp: ");
            let mut text = Vec::new();
            TimeForm::Microseconds.write(&mut text, time);
            out.extend_from_slice(text.trim_ascii());
        }
        out.push(b'\n');
    }
}

/// Wake-ups that were seen.
#[derive(Debug, Default)]
pub(crate) struct Wakeups {
    waiting: FxHashMap<u64, u64>,
    all: Latencies,
    /// Of tasks with a real-time priority: below 100.
    real_time: Latencies,
}

impl Wakeups {
    /// Takes a record, and writes the latency that it ends.
    pub(crate) fn record(
        &mut self,
        out: &mut Vec<u8>,
        scheduling: Scheduling,
        record: &[u8],
        endian: Endian,
        time: u64,
    ) {
        match scheduling {
            Scheduling::Wakeup { pid, success } => {
                if success.is_none_or(|success| success.get(record, endian) != 0) {
                    self.waiting.insert(pid.get(record, endian), time);
                }
            }
            Scheduling::Switch { pid, priority } => {
                let Some(since) = self.waiting.remove(&pid.get(record, endian)) else { return };
                let latency = time.saturating_sub(since);
                self.all.add(latency, time);
                if priority.signed(record, endian) < 100 {
                    self.real_time.add(latency, time);
                }
                out.extend_from_slice(b" Latency: ");
                microseconds(out, latency);
            }
        }
    }

    /// Writes what they were altogether.
    pub(crate) fn write_summary(&self, out: &mut Vec<u8>) {
        if self.all.count == 0 {
            return;
        }
        self.all.write(out);
        if self.real_time.count > 0 {
            out.extend_from_slice(b"\nRT task timings:\n");
            self.real_time.write(out);
        }
        out.push(b'\n');
    }
}

fn microseconds(out: &mut Vec<u8>, nanoseconds: u64) {
    number::decimal(out, nanoseconds / 1000);
    out.push(b'.');
    number::padded(out, nanoseconds % 1000, 3, b'0');
    out.extend_from_slice(b" usecs");
}
