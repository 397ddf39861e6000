//! Sentences about figures. A sentence is only there if its figures are.

use crate::label::{Label, Names};
use crate::measure::Latencies;
use std::fmt;

/// Collects the sentences of a recipe.
pub struct Words<'a> {
    /// For names of tasks and functions.
    pub names: &'a dyn Names,
    sentences: Vec<String>,
}

impl fmt::Debug for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.sentences).finish()
    }
}

impl<'a> Words<'a> {
    /// None yet.
    pub fn new(names: &'a dyn Names) -> Words<'a> {
        Words { names, sentences: Vec::new() }
    }

    /// Adds a sentence, or a few that belong together.
    pub fn say(&mut self, text: impl Into<String>) {
        self.sentences.push(text.into());
    }

    /// A label as text.
    pub fn show(&self, label: &Label) -> String {
        label.show(self.names)
    }

    /// "`what`: N times, half of them within X, 99 % within Y, the longest Z (label) at time T."
    pub fn times(&mut self, what: &str, times: &Latencies) {
        let all = &times.all;
        if let (1, Some((label, end, length))) = (all.count(), &times.worst) {
            let (label, end) = (self.show(label), *end as f64 / 1e9);
            return self.say(format!("{what}: once, {} ({label}, ending at {end:.6}).", time(*length)));
        }
        let mut text = format!(
            "{what}: {}, half of them within {}, 99 % within {}",
            counted(all.count(), "time"),
            time(all.percentile(50.0)),
            time(all.percentile(99.0)),
        );
        if let Some((label, end, length)) = &times.worst {
            text.push_str(&format!(
                "; the longest took {} ({}, ending at {:.6})",
                time(*length),
                self.show(label),
                *end as f64 / 1e9
            ));
        }
        text.push('.');
        self.say(text);
    }

    /// All of them.
    pub fn finish(self) -> Vec<String> {
        self.sentences
    }
}

/// ns in the unit that fits: `850 ns`, `12.3 us`, `4.56 ms`, `1.20 s`.
pub fn time(ns: u64) -> String {
    let value = ns as f64;
    let (value, unit) = match ns {
        ..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (value / 1e3, "us"),
        1_000_000..1_000_000_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    match value {
        ..10.0 => format!("{value:.2} {unit}"),
        ..100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// Bytes in the unit that fits.
pub fn bytes(count: i64) -> String {
    match count {
        ..1024 => format!("{count} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", count as f64 / 1_073_741_824.0),
    }
}

/// `1 time`, `12,345 times`.
pub fn counted(count: u64, word: &str) -> String {
    let plural = match (count, word) {
        (1, word) => word.to_owned(),
        (_, word) if word.ends_with('s') || word.ends_with("sh") => format!("{word}es"),
        (_, word) => format!("{word}s"),
    };
    format!("{} {plural}", number(count))
}

/// A number with commas at the thousands.
pub fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part of a whole in percent, without decimals unless it is below 10.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let value = part as f64 * 100.0 / whole as f64;
    if value < 10.0 { format!("{value:.1} %") } else { format!("{value:.0} %") }
}

/// How often a second.
pub fn rate(count: u64, seconds: f64) -> String {
    if seconds <= 0.0 {
        return "once".to_owned();
    }
    let value = count as f64 / seconds;
    if value < 10.0 { format!("{value:.1}/s") } else { format!("{}/s", number(value as u64)) }
}
