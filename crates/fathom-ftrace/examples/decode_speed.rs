//! How fast pages become records: every record of files with raw pages of 4 KiB is found, its time, task and event
//! number read. Prints `BYTES RECORDS NANOSECONDS` of the quickest of several rounds; the bench of the project reads it.

use fathom_ftrace::events::Common;
use fathom_ftrace::{CpuReader, Item, Machine, PageLayout};
use std::time::Instant;

const ROUNDS: usize = 7;

fn main() -> std::io::Result<()> {
    let mut pages = Vec::new();
    for path in std::env::args_os().skip(1) {
        pages.push(std::fs::read(path)?);
    }
    let bytes: usize = pages.iter().map(Vec::len).sum();
    let machine = Machine::host();
    let mut best = u128::MAX;
    let mut records = 0;
    let mut mixed = 0;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        records = 0;
        for cpu in &pages {
            let mut reader = CpuReader::new(cpu.as_slice(), PageLayout::of(machine, 4096));
            while let Some(item) = reader.next_item()? {
                let Item::Record(record) = item else { continue };
                let Some(common) = Common::read(record.data, machine) else { continue };
                mixed ^= record.time ^ u64::from(common.id) ^ common.pid.unsigned_abs() as u64;
                records += 1;
            }
        }
        best = best.min(started.elapsed().as_nanos());
    }
    // Used, so that no reading is left out.
    eprintln!("{mixed:x}");
    println!("{bytes} {records} {best}");
    Ok(())
}
