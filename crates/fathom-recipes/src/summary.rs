//! The measures of a recipe over the events of a recording.

use crate::event::Event;
use crate::graph::{Following, Graph};
use crate::label::{Bounded, Label, Names};
use crate::measure::{Count, Counts, Latencies, Measure, Pairing, Stacks, What};
use crate::sched::{OffCpu, RunQueue};
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;

/// What was measured.
#[derive(Debug)]
pub enum Found {
    /// Times.
    Latencies(Latencies),
    /// Counts, with the name of the sum if there is one.
    Counts(Counts, Option<&'static str>),
    /// Stacks.
    Stacks(Stacks),
    /// Times that tasks slept, and the stacks with which they went to sleep.
    OffCpu(Latencies, Stacks),
    /// Times that tasks waited for a CPU; of those, what they waited after they had been taken off it.
    RunQueue(Latencies, Latencies),
    /// Calls.
    Graph(Graph),
    /// What was allocated and not freed: count and bytes by the caller.
    Leaks(Counts),
}

/// All of a recording.
#[derive(Debug, Default)]
pub struct Summary {
    /// How often each event occurred.
    pub events: BTreeMap<String, u64>,
    /// First and last time in ns.
    pub span: Option<(u64, u64)>,
    /// CPUs that events came from.
    pub cpus: BTreeMap<u32, u64>,
    /// Events that the kernel says were lost.
    pub lost: u64,
    /// Losses of unknown size.
    pub lost_unknown: u64,
    /// What was measured, in the order of the recipe.
    pub found: Vec<(Measure, Found)>,
}

impl std::fmt::Debug for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}

impl Summary {
    /// Length of the recording in seconds, from the first event to the last.
    pub fn seconds(&self) -> f64 {
        self.span.map_or(0.0, |(first, last)| last.saturating_sub(first) as f64 / 1e9)
    }

    /// How often an event occurred.
    pub fn count(&self, event: &str) -> u64 {
        self.events.get(event).copied().unwrap_or(0)
    }

    /// All events.
    pub fn total(&self) -> u64 {
        self.events.values().sum()
    }

    /// What the measure of that name found.
    pub fn get(&self, id: &str) -> Option<&Found> {
        self.found.iter().find(|(measure, _)| measure.id == id).map(|(_, found)| found)
    }

    /// The times of the measure of that name, if it found any.
    pub fn times(&self, id: &str) -> Option<&Latencies> {
        match self.get(id)? {
            Found::Latencies(found) | Found::OffCpu(found, _) | Found::RunQueue(found, _) => {
                Some(found).filter(|found| found.all.count() > 0)
            }
            _ => None,
        }
    }

    /// The counts of the measure of that name, if there are any.
    pub fn counts(&self, id: &str) -> Option<&Counts> {
        match self.get(id)? {
            Found::Counts(counts, _) | Found::Leaks(counts) => Some(counts).filter(|counts| counts.all > 0),
            _ => None,
        }
    }

    /// The stacks of the measure of that name, if there are any.
    pub fn stacks(&self, id: &str) -> Option<&Stacks> {
        match self.get(id)? {
            Found::Stacks(stacks) | Found::OffCpu(_, stacks) => Some(stacks).filter(|stacks| stacks.all > 0),
            _ => None,
        }
    }

    /// The calls of a function-graph measure, if there are any.
    pub fn graph(&self) -> Option<&Graph> {
        self.found.iter().find_map(|(_, found)| match found {
            Found::Graph(graph) => Some(graph).filter(|graph| !graph.functions.is_empty()),
            _ => None,
        })
    }
}

/// The tasks of interest; nothing stands for all.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    tasks: Option<FxHashSet<i64>>,
}

impl Watched {
    pub(crate) fn has(&self, pid: i64) -> bool {
        self.tasks.as_ref().is_none_or(|tasks| tasks.contains(&pid))
    }

    fn forked(&mut self, event: &Event<'_>) {
        if let (Some(tasks), Some(parent), Some(child)) =
            (&mut self.tasks, event.num("parent_pid"), event.num("child_pid"))
            && tasks.contains(&parent)
        {
            tasks.insert(child);
        }
    }
}

enum Machine {
    Pair(Pairing),
    Count(Count, Counts),
    Stacks(&'static [&'static str], Bounded<u32, Label>, Stacks),
    RunQueue(RunQueue),
    OffCpu(OffCpu),
    Graph(Following),
    Leaks(Leaks),
}

/// Takes events in the order of time and measures.
pub struct Analysis {
    machines: Vec<(Measure, Machine)>,
    summary: Summary,
    watched: Watched,
}

impl std::fmt::Debug for Analysis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Analysis").field("summary", &self.summary).finish_non_exhaustive()
    }
}

impl Analysis {
    /// Begins.
    pub fn new(measures: &[Measure]) -> Analysis {
        let machines = measures.iter().map(|measure| {
            let machine = match measure.what {
                What::Pair(pair) => Machine::Pair(Pairing::new(pair)),
                What::Count(count) => Machine::Count(count, Counts::default()),
                What::Stacks(events) => Machine::Stacks(events, Bounded::new(1 << 16), Stacks::default()),
                What::RunQueue => Machine::RunQueue(RunQueue::new()),
                What::OffCpu => Machine::OffCpu(OffCpu::new()),
                What::Graph => Machine::Graph(Following::new()),
                What::Leaks => Machine::Leaks(Leaks::new()),
            };
            (*measure, machine)
        });
        Analysis { machines: machines.collect(), summary: Summary::default(), watched: Watched::default() }
    }

    /// Only these tasks, and those that they start, count as sleeping or waiting: the kernel's filter of tasks also lets
    /// through what comes before and after them on their CPUs.
    pub fn watching(self, tasks: impl IntoIterator<Item = i64>) -> Analysis {
        Analysis { watched: Watched { tasks: Some(tasks.into_iter().collect()) }, ..self }
    }

    /// Takes an event; `text` is what the kernel would print of it (`name: fields`), made only if it is needed.
    pub fn event(&mut self, event: &Event<'_>, text: &dyn Fn() -> String) {
        let name = event.name();
        if name == "kernel_stack" {
            return self.stack(event.cpu, &event.frames());
        }
        match self.summary.events.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                self.summary.events.insert(name.to_owned(), 1);
            }
        }
        *self.summary.cpus.entry(event.cpu).or_default() += 1;
        let first = self.summary.span.map_or(event.time, |(first, _)| first.min(event.time));
        let last = self.summary.span.map_or(event.time, |(_, last)| last.max(event.time));
        self.summary.span = Some((first, last));
        if name == "sched_process_fork" {
            self.watched.forked(event);
        }
        for (_, machine) in &mut self.machines {
            machine.event(event, text, &self.watched);
        }
    }

    /// Takes the stack of the event before it on the same CPU, innermost frame first.
    pub fn stack(&mut self, cpu: u32, frames: &[u64]) {
        for (_, machine) in &mut self.machines {
            match machine {
                Machine::Stacks(_, last, stacks) => {
                    if let Some(label) = last.take(&cpu) {
                        stacks.add(label, frames, 0);
                    }
                }
                Machine::OffCpu(off) => off.stack(cpu, frames),
                _ => {}
            }
        }
    }

    /// Notes that the kernel lost events here; no number if it does not say how many.
    pub fn lost(&mut self, count: Option<u64>) {
        match count {
            Some(count) => self.summary.lost = self.summary.lost.saturating_add(count),
            None => self.summary.lost_unknown += 1,
        }
    }

    /// Ends.
    pub fn finish(self) -> Summary {
        let mut summary = self.summary;
        for (measure, machine) in self.machines {
            let found = match machine {
                Machine::Pair(pairing) => Found::Latencies(pairing.finish()),
                Machine::Count(count, counts) => Found::Counts(counts, count.sum.map(|(name, _)| name)),
                Machine::Stacks(_, _, stacks) => Found::Stacks(stacks),
                Machine::RunQueue(queue) => Found::RunQueue(queue.found, queue.preempted),
                Machine::OffCpu(off) => {
                    let (times, stacks) = off.finish();
                    Found::OffCpu(times, stacks)
                }
                Machine::Graph(following) => Found::Graph(following.finish()),
                Machine::Leaks(leaks) => Found::Leaks(leaks.finish()),
            };
            summary.found.push((measure, found));
        }
        summary
    }
}

impl Machine {
    fn event(&mut self, event: &Event<'_>, text: &dyn Fn() -> String, watched: &Watched) {
        match self {
            Machine::Pair(pairing) => pairing.event(event),
            Machine::Count(count, counts) => {
                if count.events.contains(&event.name())
                    && let Some(label) = (count.label)(event)
                {
                    counts.add(label, count.sum.and_then(|(_, sum)| sum(event)).unwrap_or(0));
                }
            }
            Machine::Stacks(events, last, _) => {
                last.take(&event.cpu);
                if events.contains(&event.name()) {
                    last.put(event.cpu, Label::text(event.name()));
                }
            }
            Machine::RunQueue(queue) => queue.event(event, watched),
            Machine::OffCpu(off) => off.event(event, watched),
            Machine::Graph(graph) => match event.system() {
                "ftrace" => graph.event(event),
                _ => graph.note(event, text),
            },
            Machine::Leaks(leaks) => leaks.event(event),
        }
    }
}

/// Pairs allocations with what frees them, by the pointer.
struct Leaks {
    held: Bounded<i64, (u64, i64)>,
}

impl Leaks {
    fn new() -> Leaks {
        Leaks { held: Bounded::new(1 << 20) }
    }

    fn event(&mut self, event: &Event<'_>) {
        let Some(pointer) = event.num("ptr").filter(|pointer| *pointer != 0) else { return };
        match event.name() {
            "kmalloc" | "kmalloc_node" => {
                let site = event.num("call_site").unwrap_or(0) as u64;
                self.held.put(pointer, (site, event.num("bytes_alloc").unwrap_or(0)));
            }
            "kfree" => {
                self.held.take(&pointer);
            }
            _ => {}
        }
    }

    fn finish(self) -> Counts {
        let mut counts = Counts::default();
        for (site, bytes) in self.held.iter().map(|(_, held)| *held) {
            counts.add(Label::Code(site), bytes);
        }
        counts
    }
}

/// Names that a reader of a recording has none of.
#[derive(Debug, Clone, Copy)]
pub struct NoNames;

impl Names for NoNames {
    fn symbol(&self, address: u64) -> String {
        format!("{address:#x}")
    }

    fn comm(&self, _pid: i32) -> String {
        "<...>".to_owned()
    }
}
