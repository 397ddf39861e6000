//! Single values as the views print them, for programs that lay out lines themselves.

use crate::color::Paint;
use crate::places::place_text;
use crate::replay::event_text;
use crate::units;
use fathom_store::{Resolver, Trace, event_id};

/// A duration in ns, in 10 columns with its unit; nothing but blanks for 0.
pub fn time_text(ns: u64) -> String {
    let mut out = Vec::with_capacity(10);
    units::time(&mut out, ns, Paint::Plain);
    String::from_utf8_lossy(&out).into_owned()
}

/// A moment in ns as seconds with nine decimals, in 18 columns.
pub fn timestamp_text(ns: u64) -> String {
    let mut out = Vec::with_capacity(18);
    units::timestamp(&mut out, ns);
    String::from_utf8_lossy(&out).into_owned()
}

/// The name of an event and, in brackets, what its payload says. The resolver is that of its task, `time` in ns is when
/// the event was.
pub fn event_label(
    trace: &dyn Trace,
    resolver: &mut (dyn Resolver + '_),
    id: u64,
    time: u64,
    payload: &[u8],
) -> String {
    let name = trace.event_name(id).unwrap_or_else(|| format!("event:{id}"));
    let text = match id {
        event_id::WATCH_VARIABLE | event_id::CALLSITE => place_text(trace, resolver, id, time, payload),
        id => event_text(id, payload, trace.info().endian),
    };
    match text {
        Some(text) => format!("{name} ({text})"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_store::memory::MemoryTrace;

    #[test]
    fn each_kind() {
        assert_eq!(time_text(1_234), "  1.234 us");
        assert_eq!(time_text(0), "          ");
        assert_eq!(timestamp_text(1_500_000_000), "       1.500000000");
        let mut trace = MemoryTrace::new();
        trace.call(1, 1, 2, "a");
        let mut resolver = trace.resolver(1);
        let mut label = |id, payload: &[u8]| event_label(&trace, resolver.as_mut(), id, 1, payload);
        assert_eq!(label(event_id::TASK_NAME, b"sh"), "linux:task-name (comm=\"sh\")");
        assert_eq!(label(77, b""), "event:77");
    }
}
