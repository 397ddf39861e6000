use super::Id;
use super::find::{Query, Step};
use super::folds::{Folds, NEVER, Target};
use super::index::Limits;
use super::reader::Reader;
use super::scan::{Progress, scan};
use super::slice::{Slice, What};
use super::source::Timeline;
use super::text::Line;
use fathom_filter::{Match, Pattern};
use fathom_store::memory::MemoryTrace;
use fathom_store::{Event, EventOptions, External, Kind, Trace, event_id};
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// One slice, as long as there are no more than 512 events.
const WHOLE: Limits = Limits { events: u64::MAX, slices: 10, nodes: 1 << 20, states: 1 << 20 };
const SMALL: Limits = Limits { events: 3, slices: 1000, nodes: 1 << 20, states: 1 << 20 };
/// Made coarser again and again.
const TIGHT: Limits = Limits { events: 2, slices: 4, nodes: 6, states: 5 };

fn indexed(trace: &dyn Trace, limits: Limits, seekable: bool) -> Timeline<'_> {
    let timeline = Timeline::new(trace, EventOptions::default(), seekable);
    scan(&timeline, limits, &Progress::default()).unwrap();
    assert!(timeline.index().complete);
    timeline
}

/// All lines, read from slice to slice.
fn lines(timeline: &Timeline, folds: &Folds) -> Vec<Line> {
    let mut reader = Reader::new(timeline);
    let window = reader.window(Id::FIRST, 3, usize::MAX, folds).unwrap();
    assert!(window.first && window.last && window.complete);
    window.lines
}

fn shown(line: &Line) -> String {
    let args = line.args.as_deref().unwrap_or_default();
    let returned = line.returned.as_ref().map(|value| format!("={value}")).unwrap_or_default();
    let sign = if line.folded { "+" } else { "" };
    format!("{}{}{}({args}){returned}", line.level, sign, line.name)
}

fn texts(timeline: &Timeline, folds: &Folds) -> Vec<String> {
    lines(timeline, folds).iter().map(shown).collect()
}

/// Two tasks; main of the first spans everything.
fn toy() -> MemoryTrace {
    let mut trace = MemoryTrace::new();
    trace.specs("mid", "arg1,retval");
    trace.external.push(External { time: 45, text: "half".to_owned() });
    trace.enter(1, 10, "main");
    for round in 0..4 {
        let at = 20 + round * 20;
        trace.enter(1, at, "work").enter_with(1, at + 1, "mid", &round.to_le_bytes());
        trace.call(1, at + 2, at + 3, "leaf").call(1, at + 4, at + 5 + round, "leaf");
        trace.leave_with(1, at + 10, &(round * 2).to_le_bytes()).leave(1, at + 15);
        trace.call(2, at + 6, at + 7, "other");
    }
    trace.event(1, 101, event_id::TASK_NAME, b"new").leave(1, 110);
    trace
}

#[test]
fn rows_are_the_same_however_they_are_cut() {
    let trace = toy();
    let whole = texts(&indexed(&trace, WHOLE, true), &Folds::default());
    assert_eq!(whole.len(), 1 + 4 * 5 + 2, "{whole:?}");
    assert_eq!(whole[..6], ["0main()", "1work()", "2mid(0)=0", "3leaf()", "3leaf()", "0other()"]);
    assert_eq!(whole[whole.len() - 1], "1linux:task-name (comm=\"new\")()");
    assert!(whole.contains(&"0external-data: half()".to_owned()));
    for (limits, seekable) in [(SMALL, true), (SMALL, false), (TIGHT, true), (TIGHT, false)] {
        assert_eq!(texts(&indexed(&trace, limits, seekable), &Folds::default()), whole);
    }
}

#[test]
fn a_window_is_what_is_around_a_place() {
    let trace = toy();
    let timeline = indexed(&trace, SMALL, true);
    let all = lines(&timeline, &Folds::default());
    let mut reader = Reader::new(&timeline);
    for (at, line) in all.iter().enumerate() {
        let window = reader.window(line.id, 2, 4, &Folds::default()).unwrap();
        let from = at.saturating_sub(2);
        assert_eq!(window.lines, all[from..(at + 4).min(all.len())], "{at}");
        assert_eq!(window.at, at - from);
        assert_eq!((window.first, window.last), (at < 2, at + 4 > all.len()));
    }
}

#[test]
fn folded_calls_hide_what_is_in_them_over_many_slices() {
    let trace = toy();
    let timeline = indexed(&trace, SMALL, true);
    let all = lines(&timeline, &Folds::default());
    let mut folds = Folds::default();
    folds.fold_from(1);
    let want = ["0main()", "1+work()", "0other()", "1+work()", "0external-data: half()", "0other()"];
    assert_eq!(texts(&timeline, &folds)[..6], want);
    folds.fold_from(0);
    let folded = texts(&timeline, &folds);
    assert_eq!(folded.iter().filter(|text| text.starts_with("0+main")).count(), 1);
    assert_eq!(folded.len(), 6);
    let main = &all[0];
    let target = Target { event: main.id.event, task: 0, level: 0, start: main.time, end: main.end };
    folds.set_inside(&target, NEVER);
    assert_eq!(lines(&timeline, &folds), all);
    // From within what is hidden, the folded call is what one is at.
    folds.set(&target, true);
    let window = Reader::new(&timeline).window(all[3].id, 1, 1, &folds).unwrap();
    assert_eq!(shown(&window.lines[window.at]), "0+main()");
}

#[test]
fn searches() {
    let trace = toy();
    let stop = AtomicBool::new(false);
    let given_up = || stop.load(Ordering::Relaxed);
    for limits in [WHOLE, SMALL, TIGHT] {
        let timeline = indexed(&trace, limits, true);
        let all = lines(&timeline, &Folds::default());
        let mut reader = Reader::new(&timeline);
        let mut all_of = |query: &Query, forward: bool| {
            let mut found = Vec::new();
            let mut from = if forward { Id::FIRST } else { Id::LAST };
            while let Some(next) = reader.find(from, query, forward, &given_up).unwrap() {
                from = next.id;
                let line = all.iter().find(|line| line.id == from).unwrap();
                found.push((line.name.to_string(), line.time, next.inside.len()));
            }
            found
        };
        let name = |text: &str| Query::Name(Pattern::lenient(text, Match::Regex));
        let mids = all_of(&name("^mi"), true);
        assert_eq!(mids, [21, 41, 61, 81].map(|time| ("mid".to_owned(), time, 2)));
        let mut back = all_of(&name("^mi"), false);
        back.reverse();
        assert_eq!(back, mids);
        assert_eq!(all_of(&name("task-name"), true), [("linux:task-name (comm=\"new\")".to_owned(), 101, 1)]);
        assert_eq!(all_of(&name("nothing"), true), []);
        assert_eq!(all_of(&Query::Value("6".to_owned()), true), [("mid".to_owned(), 81, 2)]);
        let long = all_of(&Query::Longer(14), true);
        assert_eq!(
            long.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(),
            ["main", "work", "work", "work", "work"]
        );
        stop.store(true, Ordering::Relaxed);
        assert_eq!(reader.find(Id::FIRST, &name("mid"), true, &given_up).unwrap(), None);
        stop.store(false, Ordering::Relaxed);
    }
}

#[test]
fn steps_and_backtraces() {
    let trace = toy();
    let stop = AtomicBool::new(false);
    let given_up = || stop.load(Ordering::Relaxed);
    for limits in [WHOLE, SMALL, TIGHT] {
        let timeline = indexed(&trace, limits, true);
        let all = lines(&timeline, &Folds::default());
        let mut reader = Reader::new(&timeline);
        let mut go = |from: u64, step: Step| {
            let id = all.iter().find(|line| line.time == from).unwrap().id;
            let found = reader.go(id, step, &given_up).unwrap()?;
            all.iter().find(|line| line.id == found.id).map(|line| line.time)
        };
        assert_eq!(go(22, Step::Parent), Some(21));
        assert_eq!(go(41, Step::Parent), Some(40));
        assert_eq!(go(10, Step::Parent), None);
        assert_eq!(go(20, Step::Next), Some(40));
        assert_eq!(go(80, Step::Next), None);
        assert_eq!(go(60, Step::Previous), Some(40));
        assert_eq!(go(20, Step::Previous), None);
        assert_eq!(go(22, Step::Next), Some(24));
        assert_eq!(go(81, Step::Longest), Some(84));
        assert_eq!(go(10, Step::Longest), Some(20));
        assert_eq!(go(22, Step::Longest), None);
        let leaf = all.iter().find(|line| line.time == 84).unwrap().id;
        let stack = reader.stack(leaf).unwrap();
        let names: Vec<_> = stack.iter().map(|line| (&*line.name, line.start, line.end)).collect();
        assert_eq!(names, [("main", 10, 110), ("work", 80, 95), ("mid", 81, 90), ("leaf", 84, 88)]);
    }
}

#[test]
fn recursion_of_any_depth() {
    let mut trace = MemoryTrace::new();
    let addr = trace.address_of("deep");
    for time in 0..6000_u64 {
        let (kind, level) = if time < 3000 { (Kind::Entry, time) } else { (Kind::Exit, 5999 - time) };
        let depth = (level % 1024) as u16;
        let event = Event { time, addr, data_start: 0, data_len: 0, depth, kind, inherited: false };
        trace.push(1, event, b"");
    }
    assert_eq!(lines(&indexed(&trace, WHOLE, true), &Folds::default()).len(), 3000);
    let timeline = indexed(&trace, Limits { events: 100, ..SMALL }, true);
    let all = lines(&timeline, &Folds::default());
    assert_eq!(all.len(), 3000);
    assert!(all.iter().enumerate().all(|(at, line)| line.level as usize == at));
    assert_eq!(Slice::read(&timeline, 55).unwrap().unwrap().rows.len(), 0, "only returns");
    let stack = Reader::new(&timeline).stack(all[2950].id).unwrap();
    assert_eq!(stack.len(), 2951);
    assert_eq!(stack[0].event, Some(0));
    assert_eq!(stack[1500].event, Some(1500));
}

/// What a task does next.
#[derive(Clone, Debug)]
enum Do {
    Call(u8),
    Return,
    Jump,
    Sleep,
    Lose,
    Tell,
}

fn doing() -> impl Strategy<Value = Vec<(u8, u8, Do)>> {
    let what = prop_oneof![
        6 => (0u8..5).prop_map(Do::Call),
        6 => Just(Do::Return),
        1 => Just(Do::Jump),
        1 => Just(Do::Sleep),
        1 => Just(Do::Lose),
        1 => Just(Do::Tell),
    ];
    proptest::collection::vec((0u8..3, 0u8..3, what), 0..80)
}

fn made(steps: &[(u8, u8, Do)], batch: usize) -> MemoryTrace {
    let mut trace = MemoryTrace::new();
    trace.batch_size(batch);
    (1..4).for_each(|tid| {
        trace.task(tid);
    });
    let mut time = 100;
    for (task, wait, what) in steps {
        let tid = i32::from(*task) + 1;
        time += u64::from(*wait);
        match what {
            Do::Call(which) => {
                trace.enter(tid, time, ["a", "b", "c", "longjmp", "fork"][usize::from(*which)])
            }
            Do::Return => trace.leave(tid, time),
            Do::Jump => {
                let (addr, depth, kind) = (0x77, u16::from(*wait), Kind::Exit);
                let event = Event { time, addr, data_start: 0, data_len: 0, depth, kind, inherited: false };
                trace.push(tid, event, b"")
            }
            Do::Sleep => {
                let id = if *wait == 0 { event_id::SCHED_IN } else { event_id::SCHED_OUT };
                trace.event(tid, time, id, b"")
            }
            Do::Lose => trace.lost(tid, 3),
            Do::Tell => trace.event(tid, time, event_id::TASK_NAME, b"x"),
        };
    }
    trace
}

proptest! {
    /// Wherever slices are cut, and whether they are read from the trace or kept, the same is shown, also with calls folded.
    #[test]
    fn cuts_change_nothing(steps in doing(), batch in 1usize..5, events in 1u64..9, tight: bool, level in 0u32..4) {
        let trace = made(&steps, batch);
        let whole = indexed(&trace, WHOLE, true);
        let limits = Limits { events, ..if tight { TIGHT } else { SMALL } };
        let mut folds = Folds::default();
        // Returns that belong to nothing look like those of coroutines, of which an index may not know when calls end that go
        // on in several slices: all lines are there then, but not all durations.
        let scattered = steps.iter().any(|(_, _, what)| matches!(what, Do::Jump));
        for folded in [false, true] {
            if folded && scattered {
                break;
            }
            if folded {
                folds.fold_from(level);
            }
            let plain = |line: &Line| {
                let end = if scattered { (0, false) } else { (line.end, line.open) };
                (line.id, shown(line), end, line.task)
            };
            let want: Vec<_> = lines(&whole, &folds).iter().map(plain).collect();
            for seekable in [true, false] {
                let cut = indexed(&trace, limits, seekable);
                let got: Vec<_> = lines(&cut, &folds).iter().map(plain).collect();
                prop_assert_eq!(&got, &want);
            }
        }
    }

    /// A damaged trace, in which time goes backwards, shows something or other.
    #[test]
    fn time_that_goes_backwards_breaks_nothing(
        steps in proptest::collection::vec((1i32..4, 0u64..60, 0u16..5, 0u8..4), 0..60),
        seekable: bool,
        level in 0u32..4,
    ) {
        let mut trace = MemoryTrace::new();
        trace.batch_size(3).task(1).task(2).task(3);
        trace.external.push(External { time: 30, text: "x".to_owned() });
        let addr = trace.address_of("f");
        for (tid, time, depth, kind) in steps {
            let kind = [Kind::Entry, Kind::Exit, Kind::Lost, Kind::Event][usize::from(kind)];
            let addr = if kind == Kind::Event { event_id::SCHED_OUT + u64::from(depth % 2) } else { addr };
            let event = Event { time, addr, data_start: 0, data_len: 0, depth, kind, inherited: depth == 4 };
            trace.push(tid, event, b"");
        }
        let timeline = indexed(&trace, TIGHT, seekable);
        let mut folds = Folds::default();
        folds.fold_from(level);
        let mut reader = Reader::new(&timeline);
        let window = reader.window(Id::LAST, 50, 50, &folds).unwrap();
        for line in &window.lines {
            reader.stack(line.id).unwrap();
            for step in [Step::Parent, Step::Next, Step::Previous, Step::Longest] {
                reader.go(line.id, step, &|| false).unwrap();
            }
            reader.find(line.id, &Query::Longer(1), true, &|| false).unwrap();
            reader.at(line.time, Some("f")).unwrap();
        }
    }

    /// Stepping forward and back from anywhere gives the same lines.
    #[test]
    fn windows_fit_together(steps in doing(), at in 0usize..100, before in 0usize..9, after in 1usize..9, level in 0u32..5) {
        let trace = made(&steps, 4);
        let timeline = indexed(&trace, SMALL, true);
        let mut folds = Folds::default();
        folds.fold_from(level);
        let all = lines(&timeline, &folds);
        if let Some(line) = all.get(at) {
            let window = Reader::new(&timeline).window(line.id, before, after, &folds).unwrap();
            let from = at.saturating_sub(before);
            prop_assert_eq!(&window.lines[..], &all[from..(at + after).min(all.len())]);
            prop_assert_eq!(window.lines[window.at].what == What::Call, line.what == What::Call);
        }
    }
}
