//! The summary as text: tables, pictures of distributions, stacks, trees, sentences.

use crate::histogram::Histogram;
use crate::label::Names;
use crate::measure::{Counts, Latencies, Stacks};
use crate::recipe::Recipe;
use crate::summary::{Found, Summary};
use crate::words::{Words, counted, number, time};
use std::fmt::Write as _;

/// How much is shown.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Rows of a table.
    pub rows: usize,
    /// Stacks.
    pub stacks: usize,
    /// Lines of a call tree.
    pub tree: usize,
    /// Columns that sentences are broken at.
    pub width: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { rows: 10, stacks: 3, tree: 60, width: 100 }
    }
}

/// The whole summary of a recipe.
pub fn summary(recipe: &Recipe, summary: &Summary, names: &dyn Names, limits: Limits) -> String {
    let mut out = String::new();
    head(&mut out, recipe, summary, limits);
    for (measure, found) in &summary.found {
        let part = part(found, names, limits);
        if !part.is_empty() {
            let _ = write!(out, "\n{}\n{part}", measure.title);
        }
    }
    let mut words = Words::new(names);
    (recipe.words)(summary, &mut words);
    out.push_str("\nWhat this says\n");
    for sentence in words.finish() {
        bullet(&mut out, &sentence, limits.width);
    }
    if summary.lost > 0 || summary.lost_unknown > 0 {
        let text = "Events were lost, so counts are too low and some times are wrong. A larger --buffer, fewer CPUs or tasks, or a shorter look would help.";
        bullet(&mut out, text, limits.width);
    }
    out.push_str("\nWhat to look at next\n");
    for next in recipe.next {
        bullet(&mut out, next, limits.width);
    }
    out
}

fn head(out: &mut String, recipe: &Recipe, summary: &Summary, limits: Limits) {
    let _ = writeln!(out, "{}: {}", recipe.name, recipe.purpose);
    let mut events: Vec<_> = summary.events.iter().collect();
    events.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let mut list: Vec<String> =
        events.iter().take(limits.rows).map(|(name, count)| format!("{name} {}", number(**count))).collect();
    if events.len() > limits.rows {
        list.push(format!("{} more kinds", events.len() - limits.rows));
    }
    let lost = match (summary.lost, summary.lost_unknown) {
        (0, 0) => "none lost".to_owned(),
        (0, _) => "some lost".to_owned(),
        (lost, 0) => format!("{} LOST", number(lost)),
        (lost, _) => format!("at least {} LOST", number(lost)),
    };
    let text = format!(
        "{:.2} s, {} with events, {} ({lost}){}",
        summary.seconds(),
        counted(summary.cpus.len() as u64, "CPU"),
        counted(summary.total(), "record"),
        if list.is_empty() { String::new() } else { format!(": {}", list.join(", ")) },
    );
    wrap(out, "", &text, limits.width);
}

fn part(found: &Found, names: &dyn Names, limits: Limits) -> String {
    match found {
        Found::Latencies(times) => latencies(times, names, limits),
        Found::RunQueue(times, preempted) => {
            let mut text = latencies(times, names, limits);
            if preempted.all.count() > 0 {
                let all = &preempted.all;
                let _ = writeln!(
                    text,
                    "  of them after being taken off the CPU: {}, {} in all, the longest {}",
                    number(all.count()),
                    time(all.sum()),
                    time(all.max())
                );
            }
            text
        }
        Found::OffCpu(times, found) => {
            let mut text = latencies(times, names, limits);
            text.push_str(&stacks(found, names, limits, true));
            text
        }
        Found::Counts(table, sum) => counts(table, *sum, names, limits),
        Found::Leaks(table) => counts(table, Some("bytes"), names, limits),
        Found::Stacks(found) => stacks(found, names, limits, false),
        Found::Graph(graph) => calls(graph, names, limits),
    }
}

fn latencies(times: &Latencies, names: &dyn Names, limits: Limits) -> String {
    let mut out = String::new();
    if times.all.count() == 0 {
        return out;
    }
    let _ = writeln!(
        out,
        "  {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "COUNT", "TOTAL", "AVERAGE", "50 %", "90 %", "99 %", "LONGEST"
    );
    let rows = times.sorted();
    let row = |out: &mut String, name: &str, times: &Histogram| {
        let _ = writeln!(
            out,
            "  {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}  {name}",
            number(times.count()),
            time(times.sum()),
            time(times.mean()),
            time(times.percentile(50.0)),
            time(times.percentile(90.0)),
            time(times.percentile(99.0)),
            time(times.max())
        );
    };
    for (label, times) in rows.iter().take(limits.rows) {
        row(&mut out, &label.show(names), times);
    }
    if rows.len() > limits.rows {
        let mut rest = Histogram::default();
        rows[limits.rows..].iter().for_each(|(_, times)| rest.merge(times));
        row(&mut out, &format!("({} more)", rows.len() - limits.rows), &rest);
    }
    if rows.len() > 1 {
        row(&mut out, "all", &times.all);
    }
    picture(&mut out, &times.all);
    if times.unbegun > 0 || times.open > 0 {
        let _ = writeln!(
            out,
            "  (without their other half: {} ends, {} beginnings)",
            number(times.unbegun),
            number(times.open)
        );
    }
    out
}

/// A distribution in powers of two.
fn picture(out: &mut String, times: &Histogram) {
    const WIDTH: u64 = 40;
    let powers = times.powers();
    let most = powers.iter().map(|power| power.2).max().unwrap_or(0);
    if powers.len() < 2 || most == 0 {
        return;
    }
    let _ = writeln!(out, "  {:>21}  {:<40}  COUNT", "FROM .. TO", "");
    for (low, high, count) in powers {
        // Half a mark is rounded up: what is there is seen.
        let marks = (count * WIDTH).div_ceil(most) as usize;
        let _ = writeln!(
            out,
            "  {:>9} .. {:>8} |{:<40}| {}",
            time(low),
            time(high),
            "@".repeat(marks),
            number(count)
        );
    }
}

fn counts(table: &Counts, sum: Option<&str>, names: &dyn Names, limits: Limits) -> String {
    let mut out = String::new();
    let mut rows = table.sorted();
    if rows.is_empty() {
        return out;
    }
    if sum == Some("bytes") {
        rows.sort_by(|a, b| b.2.cmp(&a.2).then(b.1.cmp(&a.1)).then_with(|| a.0.cmp(b.0)));
    }
    let unit = sum.map(|unit| format!(" {:>14}", unit.to_uppercase())).unwrap_or_default();
    let _ = writeln!(out, "  {:>8}{unit}", "COUNT");
    let row = |out: &mut String, name: &str, count: u64, total: i64| {
        let total = sum.map(|_| format!(" {:>14}", number(total.max(0) as u64))).unwrap_or_default();
        let _ = writeln!(out, "  {:>8}{total}  {name}", number(count));
    };
    for (label, count, total) in rows.iter().take(limits.rows) {
        row(&mut out, &label.show(names), *count, *total);
    }
    if rows.len() > limits.rows || table.rows.beyond > 0 {
        let shown = &rows[..rows.len().min(limits.rows)];
        let count = table.all - shown.iter().map(|row| row.1).sum::<u64>();
        let total = table.sum - shown.iter().map(|row| row.2).sum::<i64>();
        let more = (rows.len() - shown.len()) as u64;
        row(&mut out, &format!("({} more)", number(more)), count, total);
    }
    out
}

fn stacks(stacks: &Stacks, names: &dyn Names, limits: Limits, timed: bool) -> String {
    let mut out = String::new();
    let merged = by_names(stacks, names);
    for (label, frames, count, ns) in merged.iter().take(limits.stacks) {
        let times = if timed { format!(", {}", time(*ns)) } else { String::new() };
        let _ = writeln!(out, "  {} of {}{times}: {label}", number(*count), counted(stacks.all, "stack"));
        for frame in frames {
            let _ = writeln!(out, "      {frame}");
        }
    }
    if merged.len() > limits.stacks {
        let _ = writeln!(out, "  ({} more kinds of stacks)", number((merged.len() - limits.stacks) as u64));
    }
    out
}

/// Stacks by the names of their functions: addresses within a function differ by the place of the call.
fn by_names(stacks: &Stacks, all_names: &dyn Names) -> Vec<(String, Vec<String>, u64, u64)> {
    let mut merged: std::collections::BTreeMap<(String, Vec<String>), (u64, u64)> =
        std::collections::BTreeMap::new();
    for (label, frames, count, ns) in stacks.sorted() {
        let names: Vec<String> = shown_frames(frames, all_names);
        let row = merged.entry((label.show(all_names), names)).or_default();
        row.0 += count;
        row.1 += ns;
    }
    let mut rows: Vec<_> =
        merged.into_iter().map(|((label, frames), (count, ns))| (label, frames, count, ns)).collect();
    rows.sort_by(|a, b| (b.3, b.2).cmp(&(a.3, a.2)).then_with(|| (&a.0, &a.1).cmp(&(&b.0, &b.1))));
    rows
}

/// The frames without those of the tracer itself at the inner end.
pub(crate) fn shown_frames(frames: &[u64], names: &dyn Names) -> Vec<String> {
    let all: Vec<String> = frames.iter().map(|frame| names.symbol(*frame)).collect();
    let first = all.iter().position(|name| !of_the_tracer(name)).unwrap_or(0);
    all[first..].to_vec()
}

fn of_the_tracer(name: &str) -> bool {
    const STARTS: &[&str] = &[
        "trace_event_raw_event",
        "__traceiter_",
        "__bpf_trace",
        "perf_trace_",
        "event_triggers_",
        "trace_event_buffer",
        "stacktrace_",
        "kprobe_",
        "__kprobe",
        "kretprobe_",
        "ftrace_",
        "__ftrace_",
        "[FTRACE",
        "0xffffffffc0",
        "aggr_pre",
        "rethook_",
        "trace_clock",
        "do_perf_trace",
        "__do_trace_",
    ];
    STARTS.iter().any(|start| name.starts_with(start))
}

fn calls(graph: &crate::graph::Graph, names: &dyn Names, limits: Limits) -> String {
    let mut out = String::new();
    if graph.functions.is_empty() {
        return out;
    }
    let _ = writeln!(
        out,
        "  {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "CALLS", "OWN", "TOTAL", "50 %", "99 %", "LONGEST"
    );
    let rows = graph.sorted();
    for (address, calls) in rows.iter().take(limits.rows) {
        let _ = writeln!(
            out,
            "  {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}  {}",
            number(calls.total.count()),
            time(calls.own),
            time(calls.total.sum()),
            time(calls.total.percentile(50.0)),
            time(calls.total.percentile(99.0)),
            time(calls.total.max()),
            names.symbol(*address)
        );
    }
    if rows.len() > limits.rows {
        let _ = writeln!(out, "  ({} more functions)", number((rows.len() - limits.rows) as u64));
    }
    let roots = graph.sorted_roots();
    if let Some((root, times, Some(tree))) = roots.first() {
        picture(&mut out, times);
        let _ = writeln!(
            out,
            "  The slowest of {} of {} ({}, ending at {:.6}):",
            counted(times.count(), "call"),
            names.symbol(*root),
            time(tree.ns),
            tree.end as f64 / 1e9
        );
        for line in tree.text(names, limits.tree).lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    if roots.len() > 1 {
        let others: Vec<String> = roots[1..]
            .iter()
            .take(5)
            .map(|(root, times, _)| format!("{} ({})", names.symbol(*root), number(times.count())))
            .collect();
        let _ = writeln!(out, "  Also at the root of the graph: {}", others.join(", "));
    }
    out
}

/// A paragraph with a mark in front, broken at `width`.
pub fn bullet(out: &mut String, text: &str, width: usize) {
    wrap(out, "  - ", text, width);
}

/// A paragraph broken at `width`; what stands in front of the first line is room in the others.
pub fn wrap(out: &mut String, front: &str, text: &str, width: usize) {
    let mut line = front.to_owned();
    let indent = " ".repeat(front.chars().count());
    let mut length = front.chars().count();
    let mut first = true;
    for word in text.split_whitespace() {
        let letters = word.chars().count();
        if !first && length + 1 + letters > width {
            out.push_str(line.trim_end());
            out.push('\n');
            line.clone_from(&indent);
            length = indent.len();
            first = true;
        }
        if !first {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        length += letters;
        first = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}
