//! How long `fathom tui` takes to show its first screen, and what it takes until it has read everything.

use super::{Setup, read, remove};
use crate::terminal::Terminal;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The first screen should be there after this long, whatever the size of the trace.
const GOAL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(600);
/// Screens that are scrolled in one go.
const PAGES: usize = 20;

struct Times {
    /// From the start of the program to its first screen with calls on it.
    first: Duration,
    /// To the whole call graph.
    whole: Duration,
    /// From the key to the first screen of the replay.
    replay: Duration,
    /// From the key to the end of the replay.
    end: Duration,
    /// For one screen back, of many.
    page: Duration,
    /// MiB.
    peak: f64,
}

/// Measures each size. Returns false if a first screen took too long.
pub(super) fn main(setup: &Setup) -> Result<bool> {
    println!("times in ms as seen on the screen, which is looked at every few ms; peak memory\n");
    println!(
        "{:<10} {:>12} {:>11} {:>8} {:>8} {:>9} {:>7} {:>6}",
        "records", "first screen", "whole graph", "replay", "its end", "page back", "MiB", "goal"
    );
    let mut in_time = true;
    for millions in &setup.records {
        let data = read::trace(setup, *millions, 1)?;
        let records = read::records_in(&data)?;
        for _ in 0..setup.runs.unwrap_or(1) {
            let times = measure(setup, &data)?;
            let ms = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e3);
            println!(
                "{:<10} {:>12} {:>11} {:>8} {:>8} {:>9} {:>7.0} {:>6}",
                format!("{:.1}M", records as f64 / 1e6),
                ms(times.first),
                ms(times.whole),
                ms(times.replay),
                ms(times.end),
                ms(times.page),
                times.peak,
                ms(GOAL)
            );
            in_time &= times.first < GOAL;
        }
        remove(&data);
    }
    println!("\nfirst screens {}", if in_time { "in time" } else { "LATE" });
    Ok(in_time)
}

fn measure(setup: &Setup, data: &Path) -> Result<Times> {
    let started = Instant::now();
    let script = format!("'{}' tui -d '{}'; echo ENDED", setup.fathom.display(), data.display());
    let terminal = Terminal::start(&script, &setup.dir, (100, 40))?;
    let has = |text: &'static str| move |screen: &str| screen.contains(text);
    terminal.wait("the first calls", PATIENCE, has(") fib"))?;
    let first = started.elapsed();
    terminal
        .wait("the whole graph", PATIENCE, |screen| screen.contains(") fib") && !screen.contains("% read"))?;
    let whole = started.elapsed();
    terminal.press(&["T"])?;
    let (_, replay) = terminal.wait("the replay", PATIENCE, has("fib()"))?;
    terminal.wait("all of it", PATIENCE, |screen| screen.contains("fib()") && !screen.contains("% read"))?;
    terminal.press(&["End"])?;
    let at_end = |screen: &str| screen.trim_end().ends_with(" 99%") || screen.trim_end().ends_with("100%");
    let (mut before, end) = terminal.wait("the end", PATIENCE, at_end)?;
    let scrolling = Instant::now();
    for _ in 0..PAGES {
        terminal.press(&["PageUp"])?;
        before = terminal.wait("the page before", PATIENCE, |screen| screen != before)?.0;
    }
    let page = scrolling.elapsed() / PAGES as u32;
    let peak = peak(&terminal)?;
    terminal.press(&["q"])?;
    terminal.wait("the shell", PATIENCE, has("ENDED"))?;
    Ok(Times { first, whole, replay, end, page, peak })
}

/// The most memory that the program in a terminal has had, MiB.
fn peak(terminal: &Terminal) -> Result<f64> {
    let tty = terminal.flag("pane_tty")?;
    let found =
        Command::new("pgrep").args(["-x", "-t", tty.trim_start_matches("/dev/"), "fathom"]).output()?;
    let pid = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the program is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
