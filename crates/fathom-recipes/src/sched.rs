//! Waiting for a CPU, and sleeping: from `sched_waking`, `sched_wakeup_new` and `sched_switch`.

use crate::event::Event;
use crate::label::{Bounded, Label};
use crate::measure::{Latencies, Stacks};
use crate::summary::Watched;

const TASKS: usize = 1 << 16;

/// How long tasks that could run waited: from being woken, or from being taken off the CPU while still able to run.
pub(crate) struct RunQueue {
    ready: Bounded<i64, (u64, bool)>,
    pub(crate) found: Latencies,
    /// Of those, the ones that had been taken off the CPU.
    pub(crate) preempted: Latencies,
}

impl RunQueue {
    pub(crate) fn new() -> RunQueue {
        RunQueue { ready: Bounded::new(TASKS), found: Latencies::default(), preempted: Latencies::default() }
    }

    pub(crate) fn event(&mut self, event: &Event<'_>, watched: &Watched) {
        match event.name() {
            "sched_waking" | "sched_wakeup" | "sched_wakeup_new" => {
                if let Some(pid) = event.num("pid").filter(|pid| watched.has(*pid))
                    && self.ready.get(&pid).is_none()
                {
                    self.ready.put(pid, (event.time, false));
                }
            }
            "sched_switch" => {
                if let Some(pid) = event.num("next_pid").filter(|pid| *pid != 0)
                    && let Some((since, preempted)) = self.ready.take(&pid)
                {
                    let waited = event.time.saturating_sub(since);
                    let label = Label::Task(i32::try_from(pid).unwrap_or(-1));
                    if preempted {
                        self.preempted.add(label.clone(), event.time, waited);
                    }
                    self.found.add(label, event.time, waited);
                }
                if let Some(pid) = event.num("prev_pid").filter(|pid| *pid != 0 && watched.has(*pid))
                    && can_run(event)
                {
                    self.ready.put(pid, (event.time, true));
                } else if let Some(pid) = event.num("prev_pid") {
                    // A wake-up that came while it still ran has no wait of its own.
                    self.ready.take(&pid);
                }
            }
            _ => {}
        }
    }
}

/// Was the previous task of a `sched_switch` still able to run? The state's upper bits say that it was preempted.
pub(crate) fn can_run(event: &Event<'_>) -> bool {
    event.num("prev_state").is_some_and(|state| state & 0xff == 0)
}

/// Since when a task sleeps, its label, and the stack with which it went to sleep.
type Asleep = (u64, Label, Option<Box<[u64]>>);

/// How long tasks slept, by the stack with which they went to sleep.
pub(crate) struct OffCpu {
    asleep: Bounded<i64, Asleep>,
    /// Who has just gone to sleep on each CPU: the stack that follows is its.
    last: Bounded<u32, i64>,
    pub(crate) found: Latencies,
    pub(crate) stacks: Stacks,
}

impl OffCpu {
    pub(crate) fn new() -> OffCpu {
        OffCpu {
            asleep: Bounded::new(TASKS),
            last: Bounded::new(TASKS),
            found: Latencies::default(),
            stacks: Stacks::default(),
        }
    }

    pub(crate) fn event(&mut self, event: &Event<'_>, watched: &Watched) {
        self.last.take(&event.cpu);
        if event.name() != "sched_switch" {
            return;
        }
        if let Some(pid) = event.num("next_pid").filter(|pid| *pid != 0)
            && let Some((since, label, frames)) = self.asleep.take(&pid)
        {
            let slept = event.time.saturating_sub(since);
            self.found.add(label, event.time, slept);
            if let Some(frames) = frames {
                self.stacks.add(Label::Task(i32::try_from(pid).unwrap_or(-1)), &frames, slept);
            }
        }
        if let Some(pid) = event.num("prev_pid").filter(|pid| *pid != 0 && watched.has(*pid))
            && !can_run(event)
        {
            let label = Label::Task(i32::try_from(pid).unwrap_or(-1)).and(Label::fixed(state_name(event)));
            self.asleep.put(pid, (event.time, label, None));
            self.last.put(event.cpu, pid);
        }
    }

    pub(crate) fn stack(&mut self, cpu: u32, frames: &[u64]) {
        if let Some(pid) = self.last.take(&cpu)
            && let Some((since, label, _)) = self.asleep.take(&pid)
        {
            self.asleep.put(pid, (since, label, Some(frames.into())));
        }
    }

    pub(crate) fn finish(mut self) -> (Latencies, Stacks) {
        self.found.open = self.asleep.len() as u64;
        (self.found, self.stacks)
    }
}

/// The state in which the previous task of a `sched_switch` left, in a word.
fn state_name(event: &Event<'_>) -> &'static str {
    match event.num("prev_state").unwrap_or(0) & 0xff {
        0x01 => "sleeping",
        0x02 | 0x82 => "in uninterruptible sleep",
        0x04 => "stopped",
        0x08 => "traced",
        0x10 | 0x20 => "ended",
        0x40 => "parked",
        0x80 => "idle",
        _ => "off the CPU",
    }
}
