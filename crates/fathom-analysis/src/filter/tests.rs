use super::*;
use fathom_filter::SpecKind::{self, CallerFilter, Filter, Hide, Location, NoTrace, Trigger};
use fathom_store::memory::{MemoryTrace, all_events};
use fathom_store::{Event, event_id};

mod reference;

/// main calls a, which calls b and leaf; then b, then leaf.
fn toy() -> MemoryTrace {
    let mut trace = MemoryTrace::new();
    trace.batch_size(3);
    trace.enter(1, 0, "main").enter(1, 10, "a").enter(1, 20, "b").call(1, 22, 25, "leaf").leave(1, 40);
    trace.call(1, 50, 51, "leaf").leave(1, 60);
    trace.enter(1, 70, "b").call(1, 71, 79, "leaf").leave(1, 80);
    trace.call(1, 90, 95, "leaf").leave(1, 100);
    trace
}

fn filtered<'t>(trace: &'t MemoryTrace, specs: &[(SpecKind, &str)], options: FilterOptions) -> Filtered<'t> {
    let mut all = Specs::new();
    for (kind, text) in specs {
        all.push(*kind, text).unwrap();
    }
    Filtered::new(trace, &all, Match::Regex, options).unwrap()
}

/// Calls as `name(…)`, others by their number. Depths are checked on the way.
fn text(trace: &dyn Trace, tid: Tid) -> String {
    let (mut text, mut depth) = (String::new(), 0);
    let mut resolver = trace.resolver(tid);
    for event in all_events(trace, tid).unwrap() {
        let name = trace.function(resolver.resolve(event.time, event.addr)).name;
        match event.kind {
            Kind::Entry => {
                // Calls may have been left without an exit.
                assert!(event.depth <= depth, "{name} after {text}");
                text.push_str(&format!("{name}("));
                depth = event.depth + 1;
            }
            Kind::Exit => {
                depth = event.depth;
                text.push(')');
            }
            Kind::Lost => text.push('!'),
            Kind::Event => text.push_str(&format!("<{}>", event.addr)),
        }
    }
    text
}

fn shown(specs: &[(SpecKind, &str)]) -> String {
    text(&filtered(&toy(), specs, FilterOptions::default()), 1)
}

fn with(options: FilterOptions, specs: &[(SpecKind, &str)]) -> String {
    text(&filtered(&toy(), specs, options), 1)
}

#[test]
fn nothing_said_nothing_left_out() {
    assert_eq!(shown(&[]), "main(a(b(leaf())leaf())b(leaf())leaf())");
    assert!(FilterOptions { backtraces: true, ..FilterOptions::default() }.is_nothing());
    assert!(!FilterOptions { time: 1, ..FilterOptions::default() }.is_nothing());
}

#[test]
fn filters_of_functions() {
    assert_eq!(shown(&[(Filter, "b")]), "b(leaf())b(leaf())");
    assert_eq!(shown(&[(Filter, "a"), (Filter, "^b")]), "a(b(leaf())leaf())b(leaf())");
    assert_eq!(shown(&[(NoTrace, "b")]), "main(a(leaf())leaf())");
    assert_eq!(shown(&[(Filter, "a"), (NoTrace, "b")]), "a(leaf())");
    assert_eq!(shown(&[(Filter, "b"), (NoTrace, "a")]), "b(leaf())");
    assert_eq!(shown(&[(Hide, "b")]), "main(a(leaf()leaf())leaf()leaf())");
    assert_eq!(shown(&[(CallerFilter, "b")]), "main(a(b())b())");
    assert_eq!(shown(&[(CallerFilter, "b"), (Hide, "b")]), "main(a())");
    assert_eq!(shown(&[(CallerFilter, "b"), (NoTrace, "a")]), "main(b())");
}

#[test]
fn what_matches_nothing_has_no_effect() {
    let trace = toy();
    let layer = filtered(&trace, &[(Filter, "nope"), (CallerFilter, "leav")], FilterOptions::default());
    assert_eq!(text(&layer, 1), text(&trace, 1));
    let unmatched: Vec<_> = layer.unmatched().iter().map(ToString::to_string).collect();
    assert_eq!(
        unmatched,
        [
            "-F nope: there is no function 'nope'",
            "-C leav: there is no function 'leav'; did you mean 'leaf'?"
        ]
    );
}

#[test]
fn depths() {
    let depth = |depth, specs: &[_]| with(FilterOptions { depth, ..FilterOptions::default() }, specs);
    assert_eq!(depth(2, &[]), "main(a()b()leaf())");
    assert_eq!(depth(1, &[(Filter, "b")]), "b()b()");
    assert_eq!(depth(2, &[(Hide, "main")]), "a(b()leaf())b(leaf())leaf()");
    assert_eq!(shown(&[(Trigger, "a@depth=1")]), "main(a()b(leaf())leaf())");
    assert_eq!(depth(1, &[(Trigger, "b@depth=2")]), "main(b(leaf())b(leaf()))");
}

#[test]
fn times() {
    let time = |time, specs: &[_]| with(FilterOptions { time, ..FilterOptions::default() }, specs);
    assert_eq!(time(20, &[]), "main(a(b()))", "equal is enough");
    assert_eq!(time(21, &[]), "main(a())");
    assert_eq!(time(8, &[]), "main(a(b())b(leaf()))");
    assert_eq!(time(50, &[(Trigger, "b@time=5")]), "main(a(b())b(leaf()))");
    assert_eq!(time(1000, &[(Trigger, "b@trace")]), "main(a(b())b())");
    assert_eq!(time(1000, &[]), "");
    assert_eq!(time(11, &[(CallerFilter, "b")]), "main(a(b()))");
    assert_eq!(shown(&[(Trigger, "a@time=15")]), "main(a(b())b(leaf())leaf())");
}

#[test]
fn sizes() {
    let mut trace = toy();
    trace.size("a", 100).size("leaf", 50);
    let size = |size, specs: &[_]| {
        text(&filtered(&trace, specs, FilterOptions { size, ..FilterOptions::default() }), 1)
    };
    assert_eq!(size(50, &[]), "a(leaf()leaf())leaf()leaf()");
    assert_eq!(size(0, &[(Trigger, "b@size=60")]), "main(a(leaf())leaf())");
}

#[test]
fn source_files() {
    let mut trace = toy();
    trace.source("a", "src/a.c").source("b", "lib/b.c");
    let located = |spec| text(&filtered(&trace, &[(Location, spec)], FilterOptions::default()), 1);
    assert_eq!(located("src"), "a()");
    assert_eq!(located("lib"), "b()b()");
    assert_eq!(located("b.c@hide"), "main(a(leaf()leaf())leaf()leaf())");
}

#[test]
fn switching_on_and_off() {
    assert_eq!(shown(&[(Trigger, "b@trace_off")]), "main(a(");
    let off = FilterOptions { on: false, ..FilterOptions::default() };
    assert_eq!(with(off.clone(), &[]), "");
    assert_eq!(with(off.clone(), &[(Trigger, "b@trace_on")]), "b(leaf())leaf()b(leaf())leaf()");
    assert_eq!(with(off, &[(Trigger, "b@trace_on;leaf@trace_off")]), "b(b(");
    assert_eq!(shown(&[(Trigger, "b@finish")]), "main(a(b(");
    // What is held back when it is switched off has not been too short.
    let time = FilterOptions { time: 90, ..FilterOptions::default() };
    assert_eq!(with(time, &[(Trigger, "b@trace_off")]), "main(a(");
}

#[test]
fn switches_are_for_all_tasks() {
    let mut trace = toy();
    trace.enter(2, 5, "work").call(2, 30, 31, "x").call(2, 75, 76, "y").leave(2, 99);
    let specs = [(Trigger, "a@trace_off"), (Trigger, "b@trace_on")];
    let layer = filtered(&trace, &specs, FilterOptions::default());
    assert_eq!(text(&layer, 1), "main(b(leaf())leaf()b(leaf())leaf())");
    assert_eq!(text(&layer, 2), "work(x()y())");
    let layer = filtered(&trace, &[(Trigger, "a@finish")], FilterOptions::default());
    assert_eq!(text(&layer, 2), "work(");
}

#[test]
fn conditions() {
    let mut trace = MemoryTrace::new();
    trace.specs("f", "arg1/i32").enter(1, 0, "main");
    for (at, n) in [(10, 3i32), (20, -1), (30, 4)] {
        trace.enter_with(1, at, "f", &n.to_le_bytes()).call(1, at + 1, at + 2, "g").leave(1, at + 5);
    }
    trace.leave(1, 100);
    let seen = |kind, spec| text(&filtered(&trace, &[(kind, spec)], FilterOptions::default()), 1);
    assert_eq!(seen(Filter, "f@if:arg1 > 3"), "f(g())");
    assert_eq!(seen(Filter, "f@if:arg1 < 0"), "f(g())");
    assert_eq!(seen(NoTrace, "f@if:arg1 != -1"), "main(f(g()))");
    assert_eq!(seen(NoTrace, "f@if:arg2 == 7"), "main()", "what is not recorded is true");
    // Other triggers of the function count all the same.
    assert_eq!(seen(NoTrace, "f@if:arg1 == 99,depth=1"), "main(f()f()f())");
}

#[test]
fn ranges_of_time() {
    let range =
        |from, to| with(FilterOptions { range: TimeRange { from, to }, ..FilterOptions::default() }, &[]);
    let (at, since) = (|time| Some(Bound::At(time)), |time| Some(Bound::Since(time)));
    assert_eq!(range(None, at(10)), "main(a(");
    assert_eq!(range(None, at(50)), "main(a(b(leaf())leaf(");
    assert_eq!(range(since(95), None), "))");
}

#[test]
fn tasks() {
    let mut trace = toy();
    trace.call(2, 5, 6, "work");
    let layer = filtered(&trace, &[], FilterOptions { tids: Some(vec![2]), ..FilterOptions::default() });
    assert_eq!(layer.tasks().iter().map(|task| task.tid).collect::<Vec<_>>(), [2]);
    assert!(layer.events(1, EventOptions::default()).is_err());
    let wrong = FilterOptions { tids: Some(vec![2, 3]), ..FilterOptions::default() };
    let error = Filtered::new(&trace, &Specs::new(), Match::Regex, wrong).err().unwrap();
    assert_eq!(error.to_string(), "no task has the number 3; there are 1, 2");
}

/// A sleep of 30 in b, a probe in leaf.
fn eventful() -> MemoryTrace {
    let mut trace = MemoryTrace::new();
    trace.enter(1, 0, "main").enter(1, 10, "b").event(1, 11, event_id::SCHED_OUT, &[]);
    trace.event(1, 41, event_id::SCHED_IN, &[]).leave(1, 50);
    trace.enter(1, 60, "leaf").event(1, 61, event_id::USER, &[7; 4]).leave(1, 62);
    trace.event(1, 70, event_id::SCHED_OUT_PREEMPTED, &[]).event(1, 72, event_id::SCHED_IN, &[]);
    trace.enter(1, 80, "c").event(1, 81, 100_011, &[]).leave(1, 82).leave(1, 100);
    trace
}

#[test]
fn events() {
    let trace = eventful();
    let seen = |specs: &[_], options| text(&filtered(&trace, specs, options), 1);
    let usual = FilterOptions::default();
    assert_eq!(
        seen(&[], FilterOptions { preemption: false, ..usual.clone() }),
        "main(b(<200002><200001>)leaf(<1000000>)c(<100011>))"
    );
    assert_eq!(seen(&[(Filter, "leaf")], usual.clone()), "leaf(<1000000>)");
    assert_eq!(seen(&[(NoTrace, "b")], usual.clone()), "main(leaf(<1000000>)<200007><200001>c(<100011>))");
    assert_eq!(seen(&[], FilterOptions { depth: 1, ..usual.clone() }), "main()");
    // A probe shows what it is in, however short.
    assert_eq!(seen(&[], FilterOptions { time: 35, ..usual.clone() }), "main(b()leaf(<1000000>))");
    assert_eq!(seen(&[], FilterOptions { time: 30, ..usual }), "main(b(<200002><200001>)leaf(<1000000>))");
}

#[test]
fn losses_show_what_they_are_in() {
    let mut trace = MemoryTrace::new();
    trace.enter(1, 0, "main").enter(1, 10, "a").lost(1, 5).leave(1, 20).call(1, 21, 22, "b").leave(1, 30);
    let time = FilterOptions { time: 25, ..FilterOptions::default() };
    assert_eq!(text(&filtered(&trace, &[], time), 1), "main(a(!))");
    assert_eq!(text(&filtered(&trace, &[(NoTrace, "main")], FilterOptions::default()), 1), "!");
}

#[test]
fn a_jump_takes_back_what_calls_have_changed() {
    let mut trace = MemoryTrace::new();
    trace.enter(1, 0, "main").enter(1, 10, "b").enter(1, 20, "c");
    let addr = trace.address_of("main");
    let next = trace.address_of("next");
    let event = Event {
        time: 30,
        addr: next,
        data_start: 0,
        data_len: 0,
        depth: 1,
        kind: Kind::Entry,
        inherited: false,
    };
    trace.push(1, event, &[]).push(1, Event { time: 35, kind: Kind::Exit, ..event }, &[]);
    trace.push(1, Event { time: 40, kind: Kind::Exit, addr, depth: 0, ..event }, &[]);
    let seen = |specs: &[_], options| text(&filtered(&trace, specs, options), 1);
    assert_eq!(seen(&[(NoTrace, "b")], FilterOptions::default()), "main(next())");
    assert_eq!(seen(&[(Filter, "b")], FilterOptions::default()), "b(c(");
    assert_eq!(seen(&[(Trigger, "c@depth=1")], FilterOptions::default()), "main(b(c(next())");
    assert_eq!(seen(&[], FilterOptions { time: 15, ..FilterOptions::default() }), "main(b()");
}

#[test]
fn a_forked_child_goes_on_inside_of_the_filter() {
    let mut trace = MemoryTrace::new();
    trace.enter(1, 0, "main").enter(1, 10, "a").enter(1, 20, "fork");
    trace.fork(2, 1, 30).inherit(2);
    trace.leave(1, 40).leave(1, 50).leave(1, 60);
    trace.leave(2, 41).call(2, 45, 46, "b").leave(2, 51).leave(2, 61);
    let layer = filtered(&trace, &[(Filter, "a")], FilterOptions::default());
    assert_eq!((text(&layer, 1), text(&layer, 2)), ("a(fork())".into(), "a(fork()b())".into()));
    // It was the parent that switched.
    let specs = [(Trigger, "fork@trace_off"), (Trigger, "b@trace_on")];
    let layer = filtered(&trace, &specs, FilterOptions::default());
    assert_eq!((text(&layer, 1), text(&layer, 2)), ("main(a())".into(), "b()".into()));
}

#[test]
fn backtraces_on_demand() {
    let trace = toy();
    let specs = [(Filter, "leaf"), (Trigger, "leaf@backtrace")];
    let options = FilterOptions { backtraces: true, ..FilterOptions::default() };
    let layer = filtered(&trace, &specs, options);
    let mut events = layer.events(1, EventOptions::default()).unwrap();
    let mut batch = Batch::default();
    assert!(events.next_batch(&mut batch).unwrap());
    assert_eq!((batch.events[0].kind, batch.events[0].addr), (Kind::Event, event_id::BACKTRACE));
    let mut resolver = layer.resolver(1);
    let names: Vec<_> = batch
        .payload(&batch.events[0])
        .chunks(8)
        .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
        .map(|addr| layer.function(resolver.resolve(0, addr)).name.to_string())
        .collect();
    assert_eq!(names, ["main", "a", "b"]);
    assert_eq!(text(&filtered(&trace, &specs, FilterOptions::default()), 1), "leaf()leaf()leaf()leaf()");
}

#[test]
fn callsites_go_with_their_calls() {
    let mut trace = MemoryTrace::new();
    let mut time = 0;
    let mut call = |name: &str, duration: u64| {
        time += 100;
        trace.event(1, time - 1, event_id::CALLSITE, &time.to_ne_bytes());
        trace.call(1, time, time + duration, name);
    };
    call("a", 5);
    call("b", 50);
    call("a", 50);
    let sites = |specs: &[(SpecKind, &str)], time: u64| -> Vec<u64> {
        let layer = filtered(&trace, specs, FilterOptions { time, ..FilterOptions::default() });
        let (mut events, mut batch) = (layer.events(1, EventOptions::default()).unwrap(), Batch::default());
        let mut all = Vec::new();
        while events.next_batch(&mut batch).unwrap() {
            for pair in batch.events.windows(2).filter(|pair| pair[0].addr == event_id::CALLSITE) {
                assert_eq!((pair[1].kind, pair[1].time), (Kind::Entry, pair[0].time + 1));
                all.push(u64::from_ne_bytes(batch.payload(&pair[0]).try_into().unwrap()));
            }
        }
        all
    };
    assert_eq!(sites(&[(Filter, "a")], 0), [100, 300]);
    assert_eq!(sites(&[(NoTrace, "a")], 0), [200]);
    assert_eq!(sites(&[(Trigger, "b@depth=1")], 20), [200, 300]);
}

#[test]
fn going_back_gives_the_same() {
    let trace = toy();
    let options = FilterOptions { time: 5, ..FilterOptions::default() };
    let layer = filtered(&trace, &[(NoTrace, "a")], options);
    let mut events = layer.events(1, EventOptions::default()).unwrap();
    let mut batch = Batch::default();
    let mut read = |from| {
        events.seek(from).unwrap();
        let mut all = Vec::new();
        while events.next_batch(&mut batch).unwrap() {
            all.extend(batch.events.iter().map(|event| event.time));
        }
        all
    };
    assert_eq!(read(0), [0, 70, 71, 79, 80, 90, 95, 100]);
    assert_eq!(read(71), [71, 79, 80, 90, 95, 100]);
    assert_eq!(read(0).len(), 8);
}

#[test]
fn long_calls_are_not_held_to_the_end() {
    let mut trace = MemoryTrace::new();
    trace.enter(1, 0, "main").enter(1, 1, "loop");
    for at in 0..50_000u64 {
        trace.call(1, 10 + 2 * at, 11 + 2 * at, "leaf").event(1, 11 + 2 * at, 100_011, &[]);
    }
    let options = FilterOptions { time: 100, ..FilterOptions::default() };
    let layer = filtered(&trace, &[], options);
    let mut events = layer.events(1, EventOptions::default()).unwrap();
    let mut batch = Batch::default();
    assert!(events.next_batch(&mut batch).unwrap());
    let (done, all) = events.progress();
    assert!(done < all / 4, "{done} of {all}");
    assert_eq!(batch.events[0].time, 0);
}

#[test]
fn open_calls_last_until_the_end_that_is_not_shown() {
    let mut trace = MemoryTrace::new();
    trace.enter(1, 0, "main").enter(1, 10, "a").call(1, 20, 30, "b").call(1, 90, 100, "b");
    let options = FilterOptions { depth: 2, ..FilterOptions::default() };
    let layer = filtered(&trace, &[], options);
    let mut events = layer.events(1, EventOptions::default()).unwrap();
    let mut batch = Batch::default();
    while events.next_batch(&mut batch).unwrap() {}
    assert_eq!(events.end(), Some(100));
    let options = FilterOptions {
        range: TimeRange { from: None, to: Some(Bound::At(40)) },
        ..FilterOptions::default()
    };
    let layer = filtered(&trace, &[(NoTrace, "b")], options);
    let mut events = layer.events(1, EventOptions::default()).unwrap();
    while events.next_batch(&mut batch).unwrap() {}
    assert_eq!(events.end(), Some(30));
}

/// Two coroutines of one task: their frames leave the stack in the order that they like.
#[test]
fn coroutines_take_back_only_what_is_theirs() {
    let mut trace = MemoryTrace::new();
    let addr = ["main", "one", "swapcontext@plt", "two", "leaf"].map(|name| trace.address_of(name));
    let event = |time, kind, index: usize, depth| Event {
        time,
        addr: addr[index],
        data_start: 0,
        data_len: 0,
        depth,
        kind,
        inherited: false,
    };
    use Kind::{Entry, Exit};
    for (time, kind, index, depth) in [
        (0, Entry, 0, 0),
        (10, Entry, 1, 1),
        (20, Entry, 2, 2),
        (30, Entry, 3, 3),
        (40, Entry, 2, 4),
        // Back in one, whose call of swapcontext returns while two and its own are still there.
        (50, Exit, 2, 2),
        (60, Exit, 1, 1),
        (70, Entry, 4, 3),
        (80, Exit, 4, 3),
        (90, Exit, 2, 4),
        (95, Exit, 3, 3),
        (100, Exit, 0, 0),
    ] {
        trace.push(1, event(time, kind, index, depth), &[]);
    }
    let seen = |specs: &[_]| {
        let layer = filtered(&trace, specs, FilterOptions::default());
        all_events(&layer, 1).unwrap().iter().map(|event| event.time).collect::<Vec<_>>()
    };
    assert_eq!(seen(&[]).len(), 12);
    // When one has ended, leaf is shown again, though two began inside of it.
    assert_eq!(seen(&[(NoTrace, "one")]), [0, 70, 80, 100]);
    assert_eq!(seen(&[(Filter, "one")]), [10, 20, 30, 40, 50, 60, 90, 95]);
    assert_eq!(seen(&[(Filter, "two")]), [30, 40, 70, 80, 90, 95]);
}

#[test]
fn a_range_is_the_same_whether_what_was_before_is_read_or_not() {
    let trace = toy();
    let all = |specs: &[_], from| {
        let range = TimeRange { from: Some(Bound::At(from)), to: None };
        let layer = filtered(&trace, specs, FilterOptions { range, ..FilterOptions::default() });
        assert_eq!(layer.shared.is_range_only(), specs.is_empty());
        all_events(&layer, 1).unwrap().iter().map(|e| (e.time, e.kind, e.depth)).collect::<Vec<_>>()
    };
    for from in 0..=101 {
        assert_eq!(all(&[], from), all(&[(Trigger, "b@trace")], from), "{from}");
    }
}
