//! Arguments, return values and source lines. The texts of values are those that uftrace 0.13 prints for the same bytes,
//! where it has the format.

use fathom_store::ArgSpecs;
use fathom_store::event_id;
use fathom_store::memory::MemoryTrace;
use fathom_view::{Format, GraphOptions, Output, ReplayOptions, ReportOptions};

/// Payloads as the recorder writes them.
#[derive(Default)]
struct Payload(Vec<u8>);

impl Payload {
    fn bytes(mut self, bytes: &[u8]) -> Payload {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0xaa);
        self
    }

    fn number(self, number: i64, bytes: usize) -> Payload {
        self.bytes(&number.to_le_bytes()[..bytes])
    }

    fn text(self, text: &[u8]) -> Payload {
        let length = (text.len() as u16).to_le_bytes();
        self.bytes(&[&length[..], text].concat())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(8), 0xaa);
        self.0
    }
}

fn start() -> Payload {
    Payload::default()
}

/// One call for each kind of value.
fn values() -> MemoryTrace {
    let mut trace = MemoryTrace::new();
    trace.info.arg_specs = Some(ArgSpecs {
        enums: "enum hue {RED,BLUE=4,PINK};enum order {LESS=-1,SAME};enum mode_t {S_IRUSR=256};enum bool {false,true}"
            .into(),
        ..ArgSpecs::default()
    });
    trace.types = [
        "Option<&str> = some-text",
        "P = struct P 2 x 0 i4 y 4 i4",
        "&[i32] = seq 4 i4",
        "f = struct F 1 call 0 ptr",
    ]
    .map(str::to_owned)
    .into();
    let address = trace.address_of("callback").cast_signed();
    let mut time = 100;
    let mut call = |name: &str, specs: &str, arguments: Payload, returned: Payload| {
        trace.specs(name, specs);
        trace.enter_with(1, time, name, &arguments.end()).leave_with(1, time + 10, &returned.end());
        time += 100;
    };
    let numbers = start().number(-3, 8).number(-70_000, 4).number(200_000, 8).number(8, 8).number(-7, 2);
    call("numbers", "arg1,arg2/d32,arg3/u,arg4/o,arg5/i16,retval/x32", numbers, start().number(255, 4));
    let real = start().bytes(&1.5f32.to_le_bytes()).bytes(&(-2.5f64).to_le_bytes());
    call(
        "reals",
        "fparg1/32,fparg2/64,retval/f80",
        real,
        start().bytes(&[0, 0, 0, 0, 0, 0, 0, 0xa0, 0xff, 0x3f]),
    );
    let texts =
        start().text(b"a\nb\t\"").text(b"NULL").text(&[0xff; 4]).text(b"c++").bytes(b"x").bytes(b"\n");
    call(
        "texts",
        "arg1/s,arg2/s,arg3/s,arg4/S,arg5/c,arg6/c,retval/s",
        texts,
        start().text("é\n".as_bytes()),
    );
    let pointers = start().number(address, 8).number(address + 1, 8).number(0, 8);
    call("pointers", "arg1/p,arg2/p,arg3/p,retval/p", pointers, start().number(address, 8));
    let enums = start().number(5, 8).number(9, 8).number(0xffff_ffff, 8).number(0o640, 8).number(3, 8);
    call(
        "enums",
        "arg1/e:hue,arg2/e:hue,arg3/e:order,arg4/e:mode_t,arg5/e:none,retval/e:bool",
        enums,
        start().number(1, 8),
    );
    let structs = start().bytes(&[1; 12]).bytes(&[2; 3]);
    call(
        "structs",
        "arg1/t12:point,arg2/t3,arg3/t0:empty,retval/t4:<lambda",
        structs,
        start().bytes(&[0; 4]),
    );
    let rust = start()
        .text(b"a\"b")
        .text("né".as_bytes())
        .text(&[0xff; 4])
        .bytes(&[1, 0, 0, 0, 2, 0, 0, 0])
        .bytes(&[&3u64.to_le_bytes()[..], &[7, 0, 0, 0, 8, 0, 0, 0]].concat())
        .number(-1, 8)
        .number(0xe9, 4)
        .number(address, 8);
    let specs = "arg1/s:str,arg2/s:Option<&str>,arg3/s:Option<&str>,arg4/t8:P,arg5/t16:&[i32],arg6/u:u64,arg7/c32,\
                 arg8/t8:f,retval/f64:f64";
    call("rust", specs, rust, start().bytes(&2f64.to_le_bytes()));
    trace
}

fn replay(trace: &MemoryTrace, options: &ReplayOptions) -> String {
    let mut out = Vec::new();
    fathom_view::replay(trace, options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn plain() -> ReplayOptions {
    ReplayOptions { fields: Some("none".into()), ..ReplayOptions::default() }
}

#[test]
fn each_format() {
    insta::assert_snapshot!("values", replay(&values(), &plain()));
}

#[test]
fn each_format_in_colours() {
    let output = Output { color: true, format: Format::Normal };
    insta::assert_snapshot!("values_color", replay(&values(), &ReplayOptions { output, ..plain() }));
    let output = Output { color: true, format: Format::Html };
    insta::assert_snapshot!("values_html", replay(&values(), &ReplayOptions { output, ..plain() }));
}

#[test]
fn no_value_is_longer_than_a_line_of_1024() {
    let mut trace = MemoryTrace::new();
    let items: Vec<String> = (1..=20).map(|n| format!("arg{n}/s")).collect();
    trace.specs("f", &items.join(","));
    let payload = (0..20).fold(start(), |payload, _| payload.text(&[b'a'; 98])).end();
    trace.enter_with(1, 1, "f", &payload).leave(1, 2);
    let text = replay(&trace, &plain());
    assert_eq!(text.trim_end().len(), "f();".len() + 1024);
}

fn lines() -> MemoryTrace {
    let mut trace = MemoryTrace::new();
    trace.source("main", "src/main.c").line("main", 12).source("leaf", "src/leaf.c").line("leaf", 3);
    trace
        .enter(1, 1_000, "main")
        .call(1, 2_000, 3_000, "leaf")
        .call(1, 4_000, 4_500, "strlen@plt")
        .leave(1, 9_000);
    trace
}

#[test]
fn source_lines() {
    let on = ReplayOptions { srcline: true, ..ReplayOptions::default() };
    insta::assert_snapshot!("source_replay", replay(&lines(), &on));
    let silent = ReplayOptions { comment: false, ..on.clone() };
    assert!(!replay(&lines(), &silent).contains("src/"), "comments are off");
    let color = Output { color: true, format: Format::Normal };
    insta::assert_snapshot!("source_replay_color", replay(&lines(), &ReplayOptions { output: color, ..on }));
    let mut out = Vec::new();
    for output in [Output::default(), color, Output { color: false, format: Format::Csv }] {
        let options = ReportOptions { srcline: true, output, ..ReportOptions::default() };
        fathom_view::report(&lines(), &options, &mut out).unwrap();
    }
    insta::assert_snapshot!("source_report", String::from_utf8(out).unwrap());
    let mut out = Vec::new();
    for (output, function) in
        [(Output::default(), None), (color, None), (Output::default(), Some("main".into()))]
    {
        let options = GraphOptions { srcline: true, output, function, ..GraphOptions::default() };
        fathom_view::graph(&lines(), &options, &mut out).unwrap();
    }
    insta::assert_snapshot!("source_graph", String::from_utf8(out).unwrap());
}

/// Calls from known and unknown lines, functions without lines, and a callsite whose call is not there.
fn callsites() -> MemoryTrace {
    let mut trace = lines();
    let (main, bare) = (trace.address_of("main"), trace.address_of("bare"));
    trace.code_line("main", 5, 14);
    let mut site = |time: u64, addr: u64, name: &str| {
        trace.event(2, time - 1, event_id::CALLSITE, &addr.to_le_bytes()).call(2, time, time + 10, name);
    };
    site(1_000, main + 6, "leaf");
    site(2_000, main + 6, "bare");
    site(3_000, bare + 16, "leaf");
    site(4_000, 0x1234, "strlen@plt");
    trace.event(2, 5_000, event_id::CALLSITE, &(main + 6).to_le_bytes()).call(2, 5_900, 5_910, "leaf");
    trace.event(2, 5_999, event_id::CALLSITE, &(main + 6).to_le_bytes());
    trace.enter(2, 6_000, "leaf").call(2, 6_010, 6_020, "bare").leave(2, 6_100);
    trace.event(2, 6_999, event_id::CALLSITE, &[0; 7]).call(2, 7_000, 7_010, "leaf");
    trace
}

#[test]
fn where_calls_come_from() {
    let on = ReplayOptions::default();
    insta::assert_snapshot!("callsite_replay", replay(&callsites(), &on));
    let color = Output { color: true, format: Format::Normal };
    let lines = ReplayOptions { srcline: true, output: color, ..on.clone() };
    insta::assert_snapshot!("callsite_replay_color", replay(&callsites(), &lines));
    let options = [ReplayOptions { callsite: false, ..on.clone() }, ReplayOptions { comment: false, ..on }];
    for without in options {
        let text = replay(&callsites(), &without);
        assert!(!text.contains("from") && !text.contains("callsite"), "{text}");
    }
}

#[test]
fn names_of_tasks_change() {
    let mut trace = lines();
    trace.thread(2, 1).call(2, 1_500, 1_600, "leaf").rename(2, 3_000, "worker");
    trace.enter(2, 2_500, "leaf").leave(2, 3_500).rename(2, 3_600, "idle");
    let options = ReplayOptions { fields: Some("tid,task".into()), ..ReplayOptions::default() };
    let mut text = replay(&trace, &options);
    let options = ReportOptions { task: true, ..ReportOptions::default() };
    let mut out = Vec::new();
    fathom_view::report(&trace, &options, &mut out).unwrap();
    text.push_str(&String::from_utf8(out).unwrap());
    insta::assert_snapshot!("task_names", text);
}
