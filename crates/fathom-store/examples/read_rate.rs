//! How fast a trace is read: `cargo run --release --example read_rate DIR`.

use fathom_store::directory::{Directory, OpenOptions};
use fathom_store::{Batch, EventOptions, Kind, Merge, MergedBatch, Trace};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: read_rate DIR")?;
    let trace = Directory::open(dir.as_ref(), OpenOptions::default())?;
    for pass in ["decode", "decode and resolve", "merge"] {
        let read = |_| if pass == "merge" { merge(&trace) } else { read(&trace, pass != "decode") };
        // The first round fills the page cache.
        let rounds = (0..4).map(read).collect::<Result<Vec<_>, _>>()?;
        let (records, time) = rounds.into_iter().min_by_key(|(_, time)| *time).unwrap_or_default();
        let each = time.as_secs_f64() * 1e9 / records.max(1) as f64;
        println!("{pass}: {records} records, {each:.2} ns each, {:.1} M/s", 1e3 / each);
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    trace.warnings().iter().for_each(|warning| println!("warning: {warning}"));
    Ok(())
}

fn read(trace: &Directory, resolve: bool) -> Result<(u64, Duration), fathom_store::Error> {
    let start = Instant::now();
    let (mut records, mut sum) = (0, 0u64);
    let mut batch = Batch::default();
    for task in trace.tasks() {
        let mut resolver = trace.resolver(task.tid);
        let mut events = trace.events(task.tid, EventOptions::default())?;
        while events.next_batch(&mut batch)? {
            records += batch.events.len() as u64;
            if resolve {
                for event in batch.events.iter().filter(|event| event.kind == Kind::Entry) {
                    sum += u64::from(resolver.resolve(event.time, event.addr).0);
                }
            }
        }
    }
    std::hint::black_box(sum);
    Ok((records, start.elapsed()))
}

fn merge(trace: &Directory) -> Result<(u64, Duration), fathom_store::Error> {
    let start = Instant::now();
    let mut merge = Merge::new(trace, EventOptions::default(), |_| true)?;
    let (mut records, mut batch) = (0, MergedBatch::default());
    while merge.next_batch(&mut batch)? {
        records += batch.events.len() as u64;
    }
    Ok((records, start.elapsed()))
}
