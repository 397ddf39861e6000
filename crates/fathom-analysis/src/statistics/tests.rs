use super::*;
use fathom_store::memory::MemoryTrace;
use fathom_store::{Event, Kind, event_id};

/// name, calls, total, self of all functions, sorted by name.
fn table(trace: &MemoryTrace) -> Vec<(String, u64, u64, u64)> {
    let mut rows = functions(trace, EventOptions::default(), 1).unwrap();
    sort_rows(&mut rows, &[Key::Name]);
    rows.iter().map(|r| (r.name.to_string(), r.calls, r.total.sum, r.own.sum)).collect()
}

fn row(name: &str, calls: u64, total: u64, own: u64) -> (String, u64, u64, u64) {
    (name.to_owned(), calls, total, own)
}

#[test]
fn recursion_counts_once_for_the_total() {
    let mut trace = MemoryTrace::new();
    trace.enter(1, 100, "fib").enter(1, 110, "fib").call(1, 120, 130, "leaf").leave(1, 150).leave(1, 200);
    assert_eq!(table(&trace), [row("fib", 2, 100, 90), row("leaf", 1, 10, 10)]);
    let rows = functions(&trace, EventOptions::default(), 1).unwrap();
    let fib = rows.iter().find(|r| &*r.name == "fib").unwrap();
    assert_eq!((fib.total.recursive, fib.total.min, fib.total.max), (40, 40, 100));
    assert_eq!((fib.total.min_at, fib.total.max_at, fib.total.average(fib.calls)), (110, 100, 70));
}

#[test]
fn the_deviation_follows_its_formula() {
    let mut trace = MemoryTrace::new();
    trace.call(1, 100, 110, "f").call(1, 200, 230, "f");
    let rows = functions(&trace, EventOptions::default(), 1).unwrap();
    // Squares 100 and 900, mean 500, less 20 squared: 100; root of 100 / 2, in percent of 20.
    assert!((rows[0].total.deviation(2) - 50f64.sqrt() * 5.0).abs() < 1e-9);
}

#[test]
fn open_calls_end_with_the_task() {
    let mut trace = MemoryTrace::new();
    trace.enter(1, 100, "main").call(1, 110, 120, "leaf").enter(1, 130, "exit");
    assert_eq!(table(&trace), [row("exit", 1, 0, 0), row("leaf", 1, 10, 10), row("main", 1, 30, 20)]);
    // The report of tasks goes to the last return only.
    let tasks = tasks(&trace, EventOptions::default(), 1).unwrap();
    assert_eq!((tasks[0].calls, tasks[0].total), (2, 20));
}

#[test]
fn time_off_the_processor_is_a_call() {
    let mut trace = MemoryTrace::new();
    trace.event(1, 90, event_id::SCHED_IN, &[]).enter(1, 100, "sleep");
    trace.event(1, 110, event_id::SCHED_OUT, &[]).event(1, 140, event_id::SCHED_IN, &[]);
    trace
        .event(1, 141, event_id::SCHED_OUT_PREEMPTED, &[])
        .event(1, 143, event_id::SCHED_IN, &[])
        .leave(1, 150);
    trace.event(1, 160, event_id::SCHED_OUT, &[]);
    let want = [
        row("linux:schedule", 1, 30, 30),
        row("linux:schedule (pre-empted)", 1, 2, 2),
        row("sleep", 1, 50, 18),
    ];
    assert_eq!(table(&trace), want);
    let tasks = tasks(&trace, EventOptions::default(), 1).unwrap();
    assert_eq!((tasks[0].calls, tasks[0].total, tasks[0].own), (3, 50, 20));
}

/// A record as it stands in a file, whatever the stack is.
fn raw(trace: &mut MemoryTrace, kind: Kind, time: u64, name: &str, depth: u16) {
    let addr = trace.address_of(name);
    let event = Event { time, addr, data_start: 0, data_len: 0, depth, kind, inherited: false };
    trace.push(1, event, &[]);
}

#[test]
fn nothing_is_lost_by_a_longjmp() {
    use Kind::{Entry, Exit};
    let mut trace = MemoryTrace::new();
    for (kind, time, name, depth) in [
        (Entry, 100, "main", 0),
        (Entry, 110, "_setjmp@plt", 1),
        (Exit, 120, "_setjmp@plt", 1),
        (Entry, 130, "mid", 1),
        (Entry, 140, "deep", 2),
        (Entry, 150, "longjmp@plt", 3),
        (Exit, 160, "_setjmp@plt", 1),
        (Entry, 170, "leaf", 1),
        (Exit, 180, "leaf", 1),
        (Exit, 200, "main", 0),
    ] {
        raw(&mut trace, kind, time, name, depth);
    }
    let want = [
        row("_setjmp", 1, 10, 10),
        row("deep", 1, 20, 10),
        row("leaf", 1, 10, 10),
        row("longjmp", 1, 10, 10),
        row("main", 1, 100, 50),
        row("mid", 1, 30, 10),
    ];
    assert_eq!(table(&trace), want);
}

#[test]
fn coroutines_leave_in_their_own_order() {
    use Kind::{Entry, Exit};
    let mut trace = MemoryTrace::new();
    // main resumes a coroutine twice; depths count the open calls of both.
    for (kind, time, name, depth) in [
        (Entry, 100, "main", 0),
        (Entry, 110, "swapcontext@plt", 1),
        (Entry, 120, "body", 2),
        (Entry, 130, "swapcontext@plt", 3),
        (Exit, 140, "swapcontext@plt", 1),
        (Entry, 150, "work", 3),
        (Exit, 160, "work", 3),
        (Entry, 170, "swapcontext@plt", 3),
        (Exit, 180, "swapcontext@plt", 3),
        (Exit, 190, "body", 2),
        (Exit, 200, "main", 0),
    ] {
        raw(&mut trace, kind, time, name, depth);
    }
    let calls: Vec<_> = table(&trace).into_iter().map(|(name, calls, ..)| (name, calls)).collect();
    let want = [("body", 1), ("main", 1), ("swapcontext", 3), ("work", 1)];
    assert_eq!(calls, want.map(|(name, calls)| (name.to_owned(), calls)));
    let body = table(&trace).into_iter().find(|r| r.0 == "body").unwrap();
    assert_eq!(body.2, 70);
}

#[test]
fn a_child_returns_from_calls_of_its_parent() {
    use Kind::{Entry, Exit};
    let mut trace = MemoryTrace::new();
    for (kind, time, name, depth) in
        [(Exit, 100, "fork@plt", 1), (Entry, 110, "leaf", 1), (Exit, 120, "leaf", 1), (Exit, 130, "main", 0)]
    {
        raw(&mut trace, kind, time, name, depth);
    }
    let want = [row("fork", 1, 0, 0), row("leaf", 1, 10, 10), row("main", 1, 30, 20)];
    assert_eq!(table(&trace), want);
}

#[test]
fn a_loss_is_survived() {
    use Kind::{Entry, Exit};
    let mut trace = MemoryTrace::new();
    raw(&mut trace, Entry, 100, "main", 0);
    raw(&mut trace, Entry, 110, "mid", 1);
    raw(&mut trace, Entry, 120, "leaf", 2);
    trace.lost(1, 5);
    raw(&mut trace, Entry, 200, "leaf", 2);
    raw(&mut trace, Exit, 210, "leaf", 2);
    raw(&mut trace, Exit, 220, "mid", 1);
    trace.lost(1, 3);
    raw(&mut trace, Exit, 230, "main", 0);
    let want = [row("leaf", 2, 10, 10), row("main", 1, 130, 20), row("mid", 1, 110, 100)];
    assert_eq!(table(&trace), want);
}

#[test]
fn depths_beyond_ten_bits() {
    let mut trace = MemoryTrace::new();
    for depth in 0..5000 {
        raw(&mut trace, Kind::Entry, 100 + depth, "down", (depth % 1024) as u16);
    }
    for depth in (0..5000).rev() {
        raw(&mut trace, Kind::Exit, 20_000 - depth, "down", (depth % 1024) as u16);
    }
    let rows = functions(&trace, EventOptions::default(), 1).unwrap();
    assert_eq!((rows[0].calls, rows[0].total.sum), (5000, 20_000 - 100));
}

#[test]
fn tasks_in_parallel_give_the_same() {
    let mut trace = MemoryTrace::new();
    for tid in 1..40 {
        let start = 1000 * tid as u64;
        trace.enter(tid, start, "main").call(tid, start + 10, start + 30, "leaf").leave(tid, start + 100);
    }
    let sorted = |threads| {
        let mut rows = functions(&trace, EventOptions::default(), threads).unwrap();
        sort_rows(&mut rows, &[Key::Total]);
        rows
    };
    assert_eq!(sorted(1), sorted(4));
    assert_eq!(sorted(4)[0].calls, 39);
}

#[test]
fn keys() {
    let keys = parse_keys("total,self-avg;call", Key::parse).unwrap();
    assert_eq!(keys, [Key::Total, Key::OwnAverage, Key::Calls]);
    assert_eq!(parse_keys("bogus", Key::parse).unwrap_err().to_string(), "invalid sort key: bogus");
}

use proptest::prelude::*;

/// Any event, with few addresses, depths and times, so that they meet.
fn any_event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![
        4 => Just(Kind::Entry),
        4 => Just(Kind::Exit),
        1 => Just(Kind::Lost),
        1 => Just(Kind::Event),
    ];
    let time = prop_oneof![0u64..1000, Just(u64::MAX)];
    let addr = prop_oneof![Just(0x40_1000), Just(0x40_1010), Just(0x40_1020), 200_000u64..200_009];
    let depth = prop_oneof![0u16..4, 1020u16..1024, any::<u16>()];
    (kind, time, addr, depth, any::<bool>()).prop_map(|(kind, time, addr, depth, inherited)| Event {
        time,
        addr,
        data_start: 0,
        data_len: 0,
        depth,
        kind,
        inherited,
    })
}

proptest! {
    /// Whatever a file says, every entry is a call, and nothing panics.
    #[test]
    fn every_entry_is_counted(events in proptest::collection::vec(any_event(), 0..300)) {
        let mut trace = MemoryTrace::new();
        for name in ["main", "longjmp", "swapcontext"] {
            trace.address_of(name);
        }
        trace.fork(2, 1, 500);
        for event in &events {
            trace.push(1, *event, &[]);
        }
        let entries = events.iter().filter(|e| e.kind == Kind::Entry).count() as u64;
        let rows = functions(&trace, EventOptions::default(), 1).unwrap();
        let calls: u64 =
            rows.iter().filter(|r| !r.name.starts_with("linux:")).map(|r| r.calls).sum();
        prop_assert!(calls >= entries);
        tasks(&trace, EventOptions::default(), 1).unwrap();
        let graphs = crate::graph::graphs(&trace, EventOptions::default(), 1).unwrap();
        let nodes = graphs.iter().flat_map(|g| &g.tree.nodes[1..]);
        let counted: u64 = nodes.filter(|n| !n.name.starts_with("linux:")).map(|n| n.calls).sum();
        prop_assert_eq!(counted, entries);
        crate::graph::task_graph(&trace, EventOptions::default(), 1).unwrap();
    }
}
