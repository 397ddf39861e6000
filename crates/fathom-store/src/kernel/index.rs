//! Which blocks of pages have records of which task. One pass over all pages, when a recording is opened.

use super::{Kernel, Walk, task_of};
use crate::{Error, Tid};
use rustc_hash::FxHashMap;

/// What is in the pages.
#[derive(Debug, Default)]
pub(crate) struct Index {
    tasks: FxHashMap<Tid, TaskBlocks>,
    /// Time of the first record of each block, by CPU.
    starts: Vec<Vec<u64>>,
    /// What was lost on each CPU.
    pub(crate) losses: Vec<Losses>,
    /// Pages, and blocks, that can't be read; the first problem of each CPU.
    pub(crate) problems: Vec<String>,
}

/// Where a task's records are.
#[derive(Debug, Default)]
pub(crate) struct TaskBlocks {
    /// Blocks by CPU, each list ascending.
    pub(crate) blocks: Vec<(u32, Vec<u32>)>,
    /// How many records there are.
    pub(crate) records: u64,
    /// Time of its first and last record.
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// Events that were lost because a buffer was full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// How many, as far as it is known.
    pub events: u64,
    /// In how many places.
    pub places: u64,
}

impl Index {
    pub(crate) fn build(kernel: &Kernel) -> Index {
        let mut index = Index::default();
        for (cpu, pages) in kernel.source.cpus().iter().enumerate() {
            let mut starts = Vec::new();
            let mut losses = Losses::default();
            let mut problem: Option<String> = None;
            let mut buffer = Vec::new();
            let mut last = 0;
            for block in 0..pages.blocks {
                let before = last;
                match index.block(kernel, cpu as u32, block, &mut buffer, (&mut losses, &mut last)) {
                    // Blocks are looked for by their starts, so these must ascend.
                    Ok((start, damage)) => {
                        starts.push(start.unwrap_or(before).max(starts.last().copied().unwrap_or(0)));
                        problem =
                            problem.or_else(|| damage.map(|damage| format!("{}: {damage}", pages.name)));
                    }
                    Err(error) => {
                        problem.get_or_insert(super::chain(&error));
                        break;
                    }
                }
            }
            index.starts.push(starts);
            index.losses.push(losses);
            index.problems.extend(problem);
        }
        index
    }

    /// Takes up a block. Gives the time of its first record, and what is wrong with it.
    fn block(
        &mut self,
        kernel: &Kernel,
        cpu: u32,
        block: u32,
        buffer: &mut Vec<u8>,
        (losses, last): (&mut Losses, &mut u64),
    ) -> Result<(Option<u64>, Option<String>), Error> {
        kernel.source.read(cpu as usize, block, buffer)?;
        let number = kernel.source.cpus().get(cpu as usize).map_or(0, |pages| pages.cpu);
        let (mut start, mut damage) = (None, None);
        // Most records are of the same task as the one before.
        let mut run: Option<(Tid, u64, u64, u64)> = None;
        for step in kernel.walk(buffer) {
            match step {
                Walk::Missed(count) => {
                    losses.places += 1;
                    losses.events += count;
                }
                Walk::Damaged(what) => {
                    damage.get_or_insert_with(|| format!("block {block}: {what}"));
                }
                Walk::Record { time, common, .. } => {
                    start.get_or_insert(time);
                    *last = time;
                    let task = task_of(common.pid, number);
                    match &mut run {
                        Some((tid, records, _, last)) if *tid == task => {
                            *records += 1;
                            *last = time;
                        }
                        _ => {
                            if let Some(run) = run.replace((task, 1, time, time)) {
                                self.note(run, cpu, block);
                            }
                        }
                    }
                }
            }
        }
        if let Some(run) = run {
            self.note(run, cpu, block);
        }
        Ok((start, damage))
    }

    fn note(&mut self, (tid, records, first, last): (Tid, u64, u64, u64), cpu: u32, block: u32) {
        let task = self.tasks.entry(tid).or_default();
        task.first = if task.records == 0 { first } else { task.first.min(first) };
        task.last = task.last.max(last);
        task.records += records;
        match task.blocks.last_mut() {
            Some((same, blocks)) if *same == cpu => {
                if blocks.last() != Some(&block) {
                    blocks.push(block);
                }
            }
            _ => task.blocks.push((cpu, vec![block])),
        }
    }

    pub(crate) fn task(&self, tid: Tid) -> Option<&TaskBlocks> {
        self.tasks.get(&tid)
    }

    /// The tasks that there are records of, in no order.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (Tid, &TaskBlocks)> {
        self.tasks.iter().map(|(tid, task)| (*tid, task))
    }

    /// Time of the first record of a block.
    pub(crate) fn start(&self, cpu: u32, block: u32) -> u64 {
        self.starts.get(cpu as usize).and_then(|starts| starts.get(block as usize)).copied().unwrap_or(0)
    }
}
