//! Prints the events of a trace, one a line: `cargo run --example print_trace DIR`.

use fathom_store::directory::{Directory, OpenOptions};
use fathom_store::{Batch, EventOptions, Kind, Trace};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: print_trace DIR")?;
    let trace = Directory::open(dir.as_ref(), OpenOptions::default())?;
    let mut batch = Batch::default();
    for task in trace.tasks() {
        println!("{} {} {:?} {:?}", task.tid, task.comm, task.parent, task.sessions);
        let mut resolver = trace.resolver(task.tid);
        let mut events = trace.events(task.tid, EventOptions::default())?;
        while events.next_batch(&mut batch)? {
            for event in &batch.events {
                let name = match event.kind {
                    Kind::Event => trace.event_name(event.addr).unwrap_or_default(),
                    Kind::Lost => String::new(),
                    _ => trace.function(resolver.resolve(event.time, event.addr)).name.to_string(),
                };
                let payload = batch.payload(event);
                println!("{} {:?} {} {name} {payload:x?}", event.time, event.kind, event.depth);
            }
        }
    }
    trace.warnings().iter().for_each(|warning| println!("warning: {warning}"));
    Ok(())
}
