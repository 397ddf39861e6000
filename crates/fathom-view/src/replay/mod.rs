//! Calls in the order of time, as a program would have printed them.
//!
//! Tasks are merged by time. Of each task one event is looked ahead, to print a call that calls nothing on one line;
//! memory does not grow with the trace, except for the stacks of open calls.

mod event_text;
mod line;
mod merge;
mod names;
mod task;

use crate::color::{Color, HTML_HEAD, HTML_TAIL};
use crate::error::Error;
use crate::options::{Format, ReplayOptions};
use crate::units::number;
use fathom_store::{Event, FunctionId, Kind, Trace, event_id};
use line::Lines;
use merge::Merge;
use std::io::Write;
use task::{Shown, TaskReplay};

pub(crate) use event_text::event_text;

/// Bytes that are collected before they are written.
const CHUNK: usize = 1 << 16;

/// Prints the calls of all tasks in the order of time, and at the end those that have not returned.
///
/// # Errors
///
/// An unknown field, a trace that can't be read, an output that can't be written.
pub fn replay(trace: &dyn Trace, options: &ReplayOptions, out: &mut dyn Write) -> Result<(), Error> {
    replay_colored(trace, options, &|_| None, out)
}

/// Tells in which colour the name of a function is shown where it is called.
pub type Colors<'c> = &'c dyn Fn(FunctionId) -> Option<Color>;

/// As [`replay`], with some functions in colours.
///
/// # Errors
///
/// Those of [`replay`].
pub fn replay_colored(
    trace: &dyn Trace,
    options: &ReplayOptions,
    colors: Colors,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut lines = Lines::new(trace, options, colors)?;
    if options.output.format == Format::Html {
        lines.out.extend_from_slice(HTML_HEAD.as_bytes());
    }
    lines.header();
    let mut merge = Merge::new(trace, options)?;
    let first = || merge.tasks().iter().filter_map(|t| t.begin).min();
    lines.begin = options.begin.or_else(first).unwrap_or(0);
    let mut externals = trace.external().iter().filter(|_| options.events.events).peekable();
    while let Some((task, until)) = merge.next() {
        // The same task goes on as long as no other one has an earlier event.
        loop {
            while let Some(message) = externals.next_if(|e| e.time <= task.next_time()) {
                lines.external(task, message);
            }
            step(&mut lines, task, until)?;
            if lines.out.len() >= CHUNK {
                out.write_all(&lines.out)?;
                lines.out.clear();
            }
            if task.is_done() || (task.next_time(), task.index) > until {
                break;
            }
        }
        merge.put_back();
    }
    remaining(&mut lines.out, merge.tasks());
    if options.output.format == Format::Html {
        lines.out.extend_from_slice(HTML_TAIL.as_bytes());
    }
    out.write_all(&lines.out)?;
    out.flush()?;
    Ok(())
}

/// Takes one event of a task, or the two of a call that calls nothing, and prints what they say.
///
/// Two events are only joined if no other task's comes between them, that is if the second is not after `until`.
fn step(lines: &mut Lines, task: &mut TaskReplay, until: (u64, usize)) -> Result<(), Error> {
    let Some(event) = task.take() else { return Ok(()) };
    if event.kind != Kind::Lost && event.time < task.last_time {
        lines.inverted(task);
    }
    if lines.flat {
        let shown = task.feed(&event);
        if event.kind != Kind::Lost {
            task.last_time = event.time;
        }
        lines.flat_line(task, &event, &shown);
        return task.fill();
    }
    match event.kind {
        Kind::Entry => entry(lines, task, &event, until)?,
        Kind::Exit => {
            let shown = task.feed(&event);
            lines.exit(task, &event, &shown);
        }
        Kind::Event => other(lines, task, &event, until)?,
        Kind::Lost => {
            lines.lost(task, event.addr);
            task.feed(&event);
        }
    }
    if event.kind != Kind::Lost {
        task.last_time = event.time.max(task.leaf_end.take().unwrap_or(0));
    }
    task.fill()
}

fn entry(lines: &mut Lines, task: &mut TaskReplay, event: &Event, until: (u64, usize)) -> Result<(), Error> {
    task.feed(event);
    if event.inherited {
        return Ok(());
    }
    // The payload is in a batch that looking ahead may replace.
    lines.keep_arguments(task, event);
    task.fill()?;
    if lines.merge
        && let Some(exit) = task.exit_of(event)
        && (exit.time, task.index) <= until
        && !lines.never_merged(task)
    {
        task.take();
        let callee = task.top_callee();
        let depth = task.depth().saturating_sub(1);
        lines.leaf(task, event, &exit, callee, depth);
        task.feed(&exit);
        task.leaf_end = Some(exit.time);
    } else {
        lines.entry(task, event);
    }
    Ok(())
}

fn other(lines: &mut Lines, task: &mut TaskReplay, event: &Event, until: (u64, usize)) -> Result<(), Error> {
    let asleep_since = task.asleep_since();
    task.feed(event);
    if event.addr == event_id::BACKTRACE {
        lines.backtrace(task, event);
        return Ok(());
    }
    if event.addr == event_id::CALLSITE {
        lines.keep_callsite(task, event);
        return Ok(());
    }
    lines.keep_event(task, event);
    task.fill()?;
    if lines.merge
        && let Some(back) = task.wakes_from(event)
        && (back.time, task.index) <= until
    {
        task.take();
        lines.schedule(task, event, back.time);
        task.feed(&back);
        task.leaf_end = Some(back.time);
        return Ok(());
    }
    lines.event(task, event, asleep_since);
    Ok(())
}

/// What has not returned.
fn remaining(out: &mut Vec<u8>, tasks: &[TaskReplay]) {
    let mut first = true;
    for task in tasks {
        let names: Vec<Shown> = task.open_calls();
        if names.is_empty() {
            continue;
        }
        if first {
            out.extend_from_slice(b"\nuftrace stopped tracing with remaining functions\n");
            out.extend_from_slice(b"================================================\n");
            first = false;
        }
        out.extend_from_slice(b"task: ");
        number(out, u64::from(task.tid.unsigned_abs()));
        out.push(b'\n');
        for (index, shown) in names.iter().enumerate().rev() {
            out.push(b'[');
            number(out, index as u64);
            out.extend_from_slice(b"] ");
            out.extend_from_slice(shown.callee.name(task.trace).as_bytes());
            out.push(b'\n');
        }
        out.push(b'\n');
    }
}
