//! Folded stacks, which flame graph programs read: a line for each chain of calls, with its own time.

use crate::buffer::Buffer;
use crate::tree::{TreeOptions, tree, walk};
use crate::{Error, Summary, escape};
use fathom_store::{EventOptions, Features, FunctionId, Info, Trace};
use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

/// How to write it.
#[derive(Clone, Debug)]
pub struct FlameOptions {
    /// Which events besides calls are wanted; schedule events become frames.
    pub events: EventOptions,
    /// False leaves out calls of library functions.
    pub libcalls: bool,
    /// The time that counts as one sample; none to choose one that gives at most a million samples.
    pub sample_time: Option<Duration>,
}

/// The shortest and the longest time that one sample stands for if nobody chooses, ns.
const SAMPLES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000;
const MAX_SAMPLES: u64 = 1_000_000;

fn sample_time(info: &Info) -> u64 {
    let elapsed = info.elapsed_ns.unwrap_or(0);
    let mut sample = *SAMPLES.start();
    while sample < *SAMPLES.end() && sample.saturating_mul(MAX_SAMPLES) < elapsed {
        sample *= 10;
    }
    sample
}

/// Writes `trace` to `out`. Each chain's number is its own time in samples. Recordings without a date have no
/// reliable times; there it is the number of calls. Where no calls were recorded, but stacks with events, it is the
/// number of events with that stack.
///
/// # Errors
///
/// When a task's events can't be read or `out` can't be written.
pub fn flame_graph<W: Write>(
    trace: &dyn Trace,
    options: &FlameOptions,
    out: &mut W,
) -> Result<Summary, Error> {
    let info = trace.info();
    let chosen = options.sample_time.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1));
    let sample = chosen.unwrap_or_else(|| sample_time(info));
    let tree = tree(trace, TreeOptions { events: options.events, libcalls: options.libcalls, sample })?;
    let undated = info.record_date.is_none() && !info.features.has(Features::KERNEL);
    let by_calls = chosen.is_none() && (undated || tree.nodes.iter().all(|node| node.time == 0));
    let frames: Vec<String> = tree.nodes.iter().map(|node| escape::frame(&node.name)).collect();
    let mut out = Buffer::new(out);
    if tree.nodes.iter().skip(1).all(|node| node.calls == 0) {
        stacks(trace, &mut out)?;
        out.flush()?;
        return Ok(Summary { lost: tree.lost });
    }
    walk(&tree, |step| {
        let Some(node) = tree.nodes.get(step.node) else { return Ok(()) };
        let count = if by_calls { node.calls } else { node.time.saturating_sub(node.below) / sample };
        if count == 0 {
            return Ok(());
        }
        for (at, index) in step.path.iter().skip(1).enumerate() {
            if at > 0 {
                out.text(";");
            }
            out.text(frames.get(*index).map(String::as_str).unwrap_or_default());
        }
        out.text(" ");
        out.number(count);
        out.text("\n");
        Ok(out.spill()?)
    })?;
    out.flush()?;
    Ok(Summary { lost: tree.lost })
}

/// A line for each stack that events were recorded with, in the order in which they were first seen.
fn stacks<W: Write>(trace: &dyn Trace, out: &mut Buffer<'_, W>) -> Result<(), Error> {
    let mut numbers: HashMap<(Vec<FunctionId>, Option<u64>), usize> = HashMap::new();
    let mut counts = Vec::new();
    trace.stacks(&mut |_, _, frames, event| {
        let next = counts.len();
        let number = *numbers.entry((frames.to_vec(), event)).or_insert(next);
        if number == next {
            counts.push(0u64);
        }
        if let Some(count) = counts.get_mut(number) {
            *count += 1;
        }
    })?;
    let mut all: Vec<_> = numbers.into_iter().collect();
    all.sort_by_key(|(_, number)| *number);
    for ((frames, event), number) in all {
        let names = frames.iter().map(|id| escape::frame(&trace.function(*id).name));
        let event = event.and_then(|id| trace.event_name(id)).map(|name| escape::frame(&name));
        let names: Vec<String> = names.chain(event).collect();
        out.text(&names.join(";"));
        out.text(" ");
        out.number(counts.get(number).copied().unwrap_or(0));
        out.text("\n");
        out.spill()?;
    }
    Ok(())
}
