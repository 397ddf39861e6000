//! The conversions of a small trace made in memory, and of one that is meant to do harm.

use crate::*;
use fathom_store::memory::MemoryTrace;
use fathom_store::{Event, EventOptions, Kind, Trace, event_id};
use std::time::Duration;

/// Two tasks, a library call, recursion, an event, time off the processor, a call that does not end.
fn toy() -> MemoryTrace {
    let mut trace = MemoryTrace::new();
    trace.task(10).thread(11, 10);
    trace.info.cmdline = Some("fathom record \\\"a b\\\" ./toy".into());
    trace.info.elapsed_ns = Some(2_000_000);
    trace.info.record_date = Some("Mon Nov 23 02:03:09 2026".into());
    trace.enter(10, 1_000, "main").call(10, 2_000, 3_500, "strlen@plt");
    trace
        .enter(10, 4_000, "fib")
        .call(10, 4_100, 4_900, "fib")
        .call(10, 5_000, 6_100, "fib")
        .leave(10, 7_000);
    trace.event(10, 7_100, event_id::SCHED_OUT, &[]).event(10, 9_200, event_id::SCHED_IN, &[]);
    trace.event(10, 9_300, 100_011, &1i32.to_le_bytes());
    trace.call(11, 6_500, 9_000, "worker");
    trace.lost(10, 3).enter(10, 12_000, "exit");
    trace
}

/// A trace whose names try to break out of every language.
fn evil() -> MemoryTrace {
    let mut trace = MemoryTrace::new();
    let name = "\"];</div><script>\\;\n#&`'";
    trace.enter(1, 10, name).call(1, 20, 30, name).leave(1, 40);
    trace.info.exe_name = Some("/tmp/<b>\"x".into());
    trace.info.cmdline = Some("a\\b \n}".into());
    trace
}

fn chrome_options() -> ChromeOptions {
    ChromeOptions {
        args: true,
        srcline: false,
        events: EventOptions::default(),
        libcalls: true,
        version: "fathom v0".into(),
        recorded: Some("Mon".into()),
    }
}

fn raw_options() -> RawOptions<'static> {
    RawOptions {
        events: EventOptions::default(),
        libcalls: true,
        args: true,
        bytes: false,
        color: false,
        kernel: None,
        task_files: true,
        processors: Vec::new(),
        span: (0, u64::MAX),
    }
}

fn flame_options() -> FlameOptions {
    FlameOptions { events: EventOptions::default(), libcalls: true, sample_time: None }
}

fn diagram_options() -> DiagramOptions {
    DiagramOptions { events: EventOptions::default(), libcalls: true, version: "fathom v0".into() }
}

/// What `export` writes.
fn written(export: impl FnOnce(&mut Vec<u8>) -> Result<Summary, Error>) -> (String, Summary) {
    let mut out = Vec::new();
    let summary = export(&mut out).unwrap();
    (String::from_utf8(out).unwrap(), summary)
}

#[test]
fn raw_lists_records_task_by_task() {
    let (text, summary) = written(|out| raw(&toy(), &raw_options(), out));
    assert_eq!(summary.lost, 1);
    insta::assert_snapshot!(text);
}

#[test]
fn raw_shows_bytes() {
    let (text, _) = written(|out| raw(&toy(), &RawOptions { bytes: true, ..raw_options() }, out));
    insta::assert_snapshot!(text);
}

#[test]
fn raw_marks_time_that_goes_back() {
    let mut trace = MemoryTrace::new();
    trace.enter(1, 10, "a").leave(1, 5);
    let (text, _) = written(|out| raw(&trace, &RawOptions { color: true, ..raw_options() }, out));
    assert!(text.contains("\x1b[91m\n*****"), "{text}");
    assert!(text.contains("*\n\x1b[0m\n0.000000005      1: [exit ] a("), "{text}");
}

#[test]
fn raw_shows_payloads_unless_told_not_to() {
    let mut trace = MemoryTrace::new();
    trace.enter_with(1, 10, "a", &[1, 2, 3, 4, 5, 6, 7, 8]).leave_with(1, 20, &[9; 8]);
    let (text, _) = written(|out| raw(&trace, &RawOptions { bytes: true, ..raw_options() }, out));
    assert!(text.contains("[args ] length = 8\n <0000000000000010>: 01 02 03 04 05 06 07 08\n"), "{text}");
    assert!(text.contains("[retval] length = 8\n"), "{text}");
    let (text, _) = written(|out| raw(&trace, &RawOptions { args: false, ..raw_options() }, out));
    assert!(!text.contains("length = 8"), "{text}");
}

#[test]
fn chrome_is_paired_and_in_order() {
    let (text, summary) = written(|out| chrome(&toy(), &chrome_options(), out));
    assert_eq!(summary.lost, 1);
    insta::assert_snapshot!(text);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["metadata"]["command_line"], "fathom record \"a b\" ./toy");
}

#[test]
fn chrome_survives_hostile_names() {
    let trace = evil();
    let (text, _) = written(|out| chrome(&trace, &chrome_options(), out));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["traceEvents"][2]["name"], "\"];</div><script>\\;\n#&`'");
    assert_eq!(value["metadata"]["command_line"], "a\\b \n}");
}

#[test]
fn chrome_without_any_task_is_json() {
    let (text, _) = written(|out| chrome(&MemoryTrace::new(), &chrome_options(), out));
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
}

#[test]
fn chrome_adds_the_offset_to_the_wall_clock() {
    let mut trace = MemoryTrace::new();
    trace.info.utc_offset = Some(2);
    trace.call(1, 1_500, 2_500, "a");
    let (text, _) = written(|out| chrome(&trace, &chrome_options(), out));
    assert!(text.contains("\"ts\":2000001.500,"), "{text}");
    trace.info.utc_offset = Some(i64::MIN);
    let (text, _) = written(|out| chrome(&trace, &chrome_options(), out));
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
}

#[test]
fn flame_graph_rounds_calls_down_to_samples() {
    let (text, _) = written(|out| flame_graph(&toy(), &flame_options(), out));
    insta::assert_snapshot!(text, @r"
    main;strlen 1
    main;fib 2
    main;fib;fib 1
    main;linux:schedule 2
    worker 2
    ");
    let exact = FlameOptions { sample_time: Some(Duration::from_nanos(1)), ..flame_options() };
    let (text, _) = written(|out| flame_graph(&toy(), &exact, out));
    insta::assert_snapshot!(text, @r"
    main;strlen 1500
    main;fib 1100
    main;fib;fib 1900
    main;linux:schedule 2100
    worker 2500
    ");
}

#[test]
fn flame_graph_counts_calls_where_times_are_not_known() {
    let mut trace = toy();
    trace.info.record_date = None;
    let options = FlameOptions { libcalls: false, ..flame_options() };
    let (text, _) = written(|out| flame_graph(&trace, &options, out));
    insta::assert_snapshot!(text, @r"
    main 1
    main;fib 1
    main;fib;fib 2
    main;linux:schedule 1
    main;exit 1
    worker 1
    ");
}

#[test]
fn graphviz_has_an_edge_for_each_place() {
    let (text, _) = written(|out| graphviz(&toy(), &diagram_options(), out));
    insta::assert_snapshot!(text);
}

#[test]
fn mermaid_numbers_nodes_by_first_call() {
    let (text, _) = written(|out| mermaid(&toy(), &diagram_options(), out));
    let lines: Vec<&str> =
        text.lines().filter(|line| line.contains(" -->|") && line.ends_with("\"];")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
      0_0["toy"] -->|1| 1_1["main"];
      1_1["main"] -->|1| 2_2["strlen"];
      1_1["main"] -->|1| 2_3["fib"];
      2_3["fib"] -->|2| 3_4["fib"];
      1_1["main"] -->|1| 2_6["linux:schedule"];
      1_1["main"] -->|1| 2_7["exit"];
      0_0["toy"] -->|1| 1_5["worker"];
    "#);
}

#[test]
fn mermaid_and_graphviz_survive_hostile_names() {
    let (text, _) = written(|out| mermaid(&evil(), &diagram_options(), out));
    assert_eq!(text.matches("<script").count(), 2, "the page has two of its own");
    assert!(text.contains("&lt;b&gt;&quot;x"));
    assert!(text.contains("  0_0[\"#lt;b#gt;#quot;x\"] -->|1| 1_1[\"#quot;];#lt;/div#gt;#lt;script#gt;"));
    let (text, _) = written(|out| graphviz(&evil(), &diagram_options(), out));
    assert_eq!(text.lines().count(), 7, "{text}");
    assert!(text.contains("\"\\\"];</div><script>\\\\;"));
}

#[test]
fn a_forked_child_goes_on_in_its_parents_calls() {
    let mut trace = MemoryTrace::new();
    trace.enter(1, 10, "main").enter(1, 20, "fork").fork(2, 1, 25).inherit(2);
    trace.leave(1, 30).leave(1, 90);
    trace.leave(2, 40).call(2, 50, 60, "child").leave(2, 70);
    let (text, _) = written(|out| graphviz(&trace, &diagram_options(), out));
    let edges: Vec<&str> = text.lines().filter(|line| line.contains("->")).collect();
    insta::assert_snapshot!(edges.join("\n"), @r#"
        "toy" -> "main" [xlabel = "1"]
        "main" -> "fork" [xlabel = "1"]
        "main" -> "child" [xlabel = "1"]
    "#);
}

#[test]
fn calls_without_exit_and_exits_without_entry_do_not_mislead() {
    let mut trace = MemoryTrace::new();
    let b = trace.address_of("b");
    let stray =
        Event { time: 5, addr: b, data_start: 0, data_len: 0, depth: 3, kind: Kind::Exit, inherited: false };
    trace.push(1, stray, &[]);
    // A longjmp from c to a: b and c end with it.
    trace.enter(1, 10, "a").enter(1, 20, "b").enter(1, 30, "c");
    let a = trace.address_of("a");
    trace.push(1, Event { time: 40, addr: a, depth: 0, ..stray }, &[]);
    trace.call(1, 50, 60, "d");
    assert_eq!(trace.tasks().len(), 1);
    let options = FlameOptions { sample_time: Some(Duration::from_nanos(1)), ..flame_options() };
    let (text, _) = written(|out| flame_graph(&trace, &options, out));
    assert_eq!(text, "a 10\na;b 10\na;b;c 10\nd 10\n");
    let (text, _) = written(|out| chrome(&trace, &chrome_options(), out));
    assert_eq!(text.matches("\"ph\":\"B\"").count(), 4);
    // The stray exit is there as recorded: nothing is open that it could end by mistake.
    assert_eq!(text.matches("\"ph\":\"E\"").count(), 5);
}

#[test]
fn chrome_has_values_and_source_lines() {
    let mut trace = MemoryTrace::new();
    trace.specs("f", "arg1/s,arg2/d32,retval/i32").source("f", "a\"b.c").line("f", 7);
    let mut payload = vec![6, 0];
    payload.extend(b"a\"\\\n\t\x01\x05\x00\x00\x00\0\0\0\0");
    trace.enter(1, 1_000, "main");
    trace.enter_with(1, 2_000, "f", &payload).leave_with(1, 3_000, &[255, 255, 255, 255, 0, 0, 0, 0]);
    // What main returns was not recorded, and the record of its end must not be given the value of another call.
    trace.leave(1, 4_000);
    let args = |options: &ChromeOptions| {
        let (text, _) = written(|out| chrome(&trace, options, out));
        let value: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let lines = value["traceEvents"].as_array().unwrap().iter().filter(|line| line["ph"] != "M");
        lines.map(|line| line["args"].clone()).collect::<Vec<_>>()
    };
    let null = serde_json::Value::Null;
    let values = args(&chrome_options());
    let entry = serde_json::json!({ "arguments": r#"("a"\\n\t\x01", 5)"# });
    assert_eq!(values, [null.clone(), entry, serde_json::json!({ "retval": "-1" }), null.clone()]);
    let lines = args(&ChromeOptions { args: false, srcline: true, ..chrome_options() });
    let line = serde_json::json!({ "srcline": "a\"b.c:7" });
    assert_eq!(lines, [null.clone(), line.clone(), line, null]);
}
