//! Every view over a trace made in memory. The layouts were compared with uftrace 0.13 over recorded data; here they
//! are kept as they are.

use fathom_store::memory::MemoryTrace;
use fathom_store::{Event, Kind, Trace, event_id};
use fathom_view::{
    Averages, DiffOptions, Error, Extra, Format, GraphOptions, InfoOptions, Output, ReplayOptions,
    ReportOptions,
};

/// A process with a thread, a forked child, time off the processor, events, a loss and calls that don't return.
fn toy() -> MemoryTrace {
    let mut trace = MemoryTrace::new();
    let second = 1_000_000_000;
    trace.task(10).thread(11, 10);
    trace.call(10, second, second + 700, "__monstartup@plt");
    trace.enter(10, second + 1_000, "main").call(10, second + 1_100, second + 38_000, "pthread_create@plt");
    trace.enter(11, second + 20_000, "loop").call(11, second + 20_100, second + 20_180, "leaf");
    trace.event(11, second + 20_200, event_id::SCHED_OUT, &[]);
    trace.event(11, second + 1_520_200, event_id::SCHED_IN, &[]);
    trace.leave(11, second + 1_521_000);
    trace.enter(10, second + 40_000, "fork@plt");
    trace.fork(12, 10, second + 45_000).inherit(12);
    trace.leave(12, second + 50_000).call(12, second + 51_000, second + 51_050, "leaf");
    trace.leave(10, second + 60_000);
    let statm: Vec<u8> = [15_492u64, 7_568, 5_452].iter().flat_map(|v| v.to_ne_bytes()).collect();
    trace.enter(10, second + 70_000, "leaf").event(10, second + 70_001, 100_001, &statm);
    trace.leave(10, second + 71_000);
    trace.lost(10, 3);
    trace.enter(10, second + 5_000_000_000, "twig(int)").call(
        10,
        second + 5_000_000_100,
        second + 5_000_000_142,
        "leaf",
    );
    trace.leave(10, second + 5_001_500_000).enter(10, second + 5_001_600_000, "exit@plt");
    trace
}

fn text(print: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>) -> String {
    let mut out = Vec::new();
    print(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn replay(options: &ReplayOptions) -> String {
    text(|out| fathom_view::replay(&toy(), options, out))
}

fn report(options: &ReportOptions) -> String {
    text(|out| fathom_view::report(&toy(), options, out))
}

fn graph(trace: &dyn Trace, options: &GraphOptions) -> String {
    text(|out| fathom_view::graph(trace, options, out).map(|found| assert!(found)))
}

const COLOR: Output = Output { color: true, format: Format::Normal };

#[test]
fn replays() {
    insta::assert_snapshot!("replay", replay(&ReplayOptions::default()));
    let all = Some("all".to_owned());
    insta::assert_snapshot!("replay_all", replay(&ReplayOptions { fields: all, ..Default::default() }));
    insta::assert_snapshot!("replay_flat", replay(&ReplayOptions { flat: true, ..Default::default() }));
    insta::assert_snapshot!("replay_color", replay(&ReplayOptions { output: COLOR, ..Default::default() }));
    let html = Output { color: true, format: Format::Html };
    insta::assert_snapshot!("replay_html", replay(&ReplayOptions { output: html, ..Default::default() }));
    let columns = ReplayOptions { column_offset: Some(4), task_newline: true, ..Default::default() };
    insta::assert_snapshot!("replay_columns", replay(&columns));
    let none = Some("none".to_owned());
    let plain = ReplayOptions { fields: none, merge: false, comment: false, ..Default::default() };
    insta::assert_snapshot!("replay_plain", replay(&plain));
}

#[test]
fn batches_make_no_difference() {
    let whole = replay(&ReplayOptions::default());
    for size in 1..5 {
        let mut trace = toy();
        trace.batch_size(size);
        let small = text(|out| fathom_view::replay(&trace, &ReplayOptions::default(), out));
        assert_eq!(small, whole);
    }
}

/// A record as it stands in a file, whatever the stack is.
fn raw(trace: &mut MemoryTrace, kind: Kind, time: u64, name: &str, depth: u16) {
    let addr = trace.address_of(name);
    trace.push(1, Event { time, addr, data_start: 0, data_len: 0, depth, kind, inherited: false }, &[]);
}

#[test]
fn indentation_ends_at_1024_levels() {
    let mut trace = MemoryTrace::new();
    for level in 0..3000 {
        raw(&mut trace, Kind::Entry, 100 + level, "dive", level as u16 & 1023);
    }
    for level in (0..3000).rev() {
        raw(&mut trace, Kind::Exit, 10_000 - level, "dive", level as u16 & 1023);
    }
    let none = ReplayOptions { fields: Some("none".to_owned()), ..Default::default() };
    let shown = text(|out| fathom_view::replay(&trace, &none, out));
    let found = shown.lines().map(|line| (line.len() - line.trim_start_matches(' ').len()) / 2);
    // The innermost call is one line.
    let expected = (0..3000).chain((0..2999).rev()).map(|level: usize| level.min(1024));
    let wrong = found.clone().zip(expected).enumerate().find(|(_, (found, expected))| found != expected);
    assert_eq!(wrong, None, "line, levels found, levels expected");
    assert_eq!(found.count(), 5999);
}

#[test]
fn longjmp() {
    use Kind::{Entry, Exit};
    let mut trace = MemoryTrace::new();
    for (kind, time, name, depth) in [
        (Entry, 100, "main", 0),
        (Entry, 110, "_setjmp@plt", 1),
        (Exit, 120, "_setjmp@plt", 1),
        (Entry, 130, "mid", 1),
        (Entry, 140, "longjmp@plt", 2),
        (Exit, 160, "_setjmp@plt", 1),
        (Entry, 170, "leaf", 1),
        (Exit, 180, "leaf", 1),
        (Exit, 200, "main", 0),
    ] {
        raw(&mut trace, kind, time, name, depth);
    }
    insta::assert_snapshot!(
        "longjmp",
        text(|out| fathom_view::replay(&trace, &ReplayOptions::default(), out))
    );
    insta::assert_snapshot!("longjmp_graph", graph(&trace, &GraphOptions::default()));
}

#[test]
fn reports() {
    insta::assert_snapshot!("report", report(&ReportOptions::default()));
    insta::assert_snapshot!("report_color", report(&ReportOptions { output: COLOR, ..Default::default() }));
    let own = ReportOptions { averages: Averages::Own, sort: Some("max".into()), ..Default::default() };
    insta::assert_snapshot!("report_averages", report(&own));
    let newer = Some("call,total-stdv,self-max-ts".to_owned());
    insta::assert_snapshot!("report_newer", report(&ReportOptions { fields: newer, ..Default::default() }));
    insta::assert_snapshot!("report_task", report(&ReportOptions { task: true, ..Default::default() }));
    let csv = Output { color: false, format: Format::Csv };
    insta::assert_snapshot!("report_csv", report(&ReportOptions { output: csv, ..Default::default() }));
}

#[test]
fn differences() {
    let mut slower = toy();
    slower.call(20, 100, 300_100, "leaf").call(20, 400_000, 400_001, "new");
    let names = |policy: Option<&str>| DiffOptions {
        base_name: "before".into(),
        new_name: "after".into(),
        policy: policy.map(str::to_owned),
        sort_column: 2,
    };
    let diff = |options: &ReportOptions, policy| {
        text(|out| fathom_view::report_diff(&toy(), &slower, options, &names(policy), out))
    };
    insta::assert_snapshot!("diff", diff(&ReportOptions::default(), None));
    let color = ReportOptions { output: COLOR, ..Default::default() };
    insta::assert_snapshot!("diff_color", diff(&color, Some("percent")));
    let all = ReportOptions { fields: Some("all".into()), ..Default::default() };
    insta::assert_snapshot!("diff_full", diff(&all, Some("full")));
    let sink = &mut Vec::new();
    let wrong = fathom_view::report_diff(&toy(), &toy(), &all, &names(Some("x")), sink).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "invalid diff policy: x (possible: abs no-abs compact full percent no-percent)"
    );
}

#[test]
fn graphs() {
    insta::assert_snapshot!("graph", graph(&toy(), &GraphOptions::default()));
    let leaf =
        GraphOptions { function: Some("leaf".into()), fields: Some("all".into()), ..Default::default() };
    insta::assert_snapshot!("graph_leaf", graph(&toy(), &leaf));
    let tasks = GraphOptions { task: true, output: COLOR, ..Default::default() };
    insta::assert_snapshot!("graph_task", graph(&toy(), &tasks));
    let none = GraphOptions { function: Some("nobody".into()), ..Default::default() };
    let mut out = Vec::new();
    assert!(!fathom_view::graph(&toy(), &none, &mut out).unwrap());
    assert!(out.is_empty());
}

#[test]
fn infos() {
    let mut trace = toy();
    trace.info.recorder_version = Some("v0.13 ( x86_64 )".into());
    trace.info.exit_status = Some(9);
    trace.info.tids = Some(vec![10, 11]);
    trace.info.elapsed_ns = Some(6_264_958);
    let extra = Extra { note: Some("by hand\n".into()), recorded_on: None, sizes: vec![(10, 3 << 19)] };
    let show = |task| text(|out| fathom_view::info(&trace, &InfoOptions { task }, &extra, out));
    insta::assert_snapshot!("info", show(false));
    insta::assert_snapshot!("info_task", show(true));
}

#[test]
fn errors_name_what_is_wrong() {
    let sink = &mut Vec::new();
    let field = |list: &str| ReplayOptions { fields: Some(list.into()), ..Default::default() };
    let error = fathom_view::replay(&toy(), &field("tid,foo"), sink).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Unknown field name 'foo'\n  Possible fields are: duration tid addr time delta elapsed task module"
    );
    let key = ReportOptions { sort: Some("foo".into()), ..Default::default() };
    assert_eq!(fathom_view::report(&toy(), &key, sink).unwrap_err().to_string(), "invalid sort key: foo");
    let task_key = ReportOptions { sort: Some("call".into()), task: true, ..Default::default() };
    assert_eq!(
        fathom_view::report(&toy(), &task_key, sink).unwrap_err().to_string(),
        "invalid sort key: call"
    );
}

#[test]
fn a_closed_pipe_is_told_apart() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = fathom_view::replay(&toy(), &ReplayOptions::default(), &mut Closed).unwrap_err();
    assert!(error.is_broken_pipe());
}

use proptest::prelude::*;

proptest! {
    /// Records in no order, with any depth and payload, make lines and no panic, and each entry makes one.
    #[test]
    fn nothing_breaks_a_replay(
        events in proptest::collection::vec((0u8..5, 0u64..900, 0u64..4, any::<u16>(), 0usize..32), 0..200),
    ) {
        let mut trace = MemoryTrace::new();
        for name in ["main", "longjmp", "swapcontext"] {
            trace.address_of(name);
        }
        for (kind, time, function, depth, len) in &events {
            let (kind, addr) = match kind {
                0 => (Kind::Lost, *function),
                1 => (Kind::Event, [200_001, 200_002, 100_001, 1_000_000][*function as usize]),
                2 | 3 => (Kind::Entry, 0x40_1000 + 0x10 * function),
                _ => (Kind::Exit, 0x40_1000 + 0x10 * function),
            };
            let depth = depth % 5;
            let event = Event { time: *time, addr, data_start: 0, data_len: 0, depth, kind, inherited: false };
            trace.push(1 + i32::from(depth % 2), event, &[0x80; 32][..*len]);
        }
        let entries = events.iter().filter(|(kind, ..)| matches!(kind, 2 | 3)).count();
        let merged = text(|out| fathom_view::replay(&trace, &ReplayOptions::default(), out));
        let calls = |line: &&str| !line.contains("/*") && (line.ends_with(" {") || line.ends_with(");"));
        prop_assert_eq!(merged.lines().filter(calls).count(), entries);
        let flat = ReplayOptions { flat: true, fields: Some("all".into()), ..Default::default() };
        text(|out| fathom_view::replay(&trace, &flat, out));
    }
}
