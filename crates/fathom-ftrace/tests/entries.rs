//! Lines of the tracer's own entries that no recording has: texts of the kernel, tracers of latency, arguments.

mod common;

use common::Bed;
use fathom_ftrace::{
    Comms, Context, Formatter, GraphOptions, Kallsyms, Missed, Names, Options, Pointers, Printer, Record,
    TextOptions, Texts,
};

/// A record of `event` with values for its own fields, in the layout of the format.
fn record(events: &fathom_ftrace::Events, event: &str, values: &[(&str, u64)], tail: &[u8]) -> Vec<u8> {
    let format = events.by_name(Some("ftrace"), event).unwrap();
    let end = format.fields.iter().map(|field| field.offset + field.size).max().unwrap();
    let mut record = vec![0; end];
    record[..2].copy_from_slice(&format.id.to_le_bytes());
    record[4] = 42;
    for (name, value) in values {
        let field = format.field(name).unwrap();
        record[field.offset..field.offset + field.size].copy_from_slice(&value.to_le_bytes()[..field.size]);
    }
    record.extend_from_slice(tail);
    record
}

fn longs(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

const FUNCTION: u64 = 0xffff_ffff_8100_0000;
const CALLER: u64 = 0xffff_ffff_8100_0104;

fn names() -> Names {
    Names {
        symbols: Kallsyms::parse(
            "ffffffff81000000 T vfs_open\nffffffff81000100 T path_openat\nffffffff81000200 T __irqentry_text_start\n\
             ffffffff81000210 t interrupt\nffffffff81000300 T __irqentry_text_end\n",
        ),
        texts: Texts::parse(b"0x1000 : \"%d of %s\\n\"\n0x2000 : \"constant\\n\"\n"),
    }
}

#[test]
fn lines_of_all_entries() {
    let bed = Bed::open("6.12");
    let mut events = bed.events("sched");
    // Newer kernels record arguments.
    let function = bed.text("events/ftrace/function/format");
    let args = "\tfield:unsigned long args[];\toffset:24;\tsize:0;\tsigned:0;\n\nprint fmt:";
    let function = function.replace("\nprint fmt:", args);
    let machine = bed.layout().machine;
    events.add(fathom_ftrace::Format::parse("ftrace", &function, machine).unwrap());
    let formatter = Formatter::new(&events, &Options::default());
    let (names, comms) = (names(), Comms::parse(b"42 task\n"));
    let context = Context { machine, names: &names, pointers: Pointers::Padded };
    let mut printer = Printer::new(&formatter, context, &comms, TextOptions::default());
    let packed = [&7u32.to_le_bytes()[..], b"nine\0\0\0\0"].concat();
    let functions = [("ip", FUNCTION), ("parent_ip", CALLER)];
    let switch = [
        ("prev_pid", 1),
        ("prev_prio", 120),
        ("prev_state", 1),
        ("next_pid", 2),
        ("next_prio", 94),
        ("next_state", 0),
        ("next_cpu", 3),
    ];
    let records = [
        record(&events, "function", &functions, &longs(&[1, 0xff])),
        record(&events, "function", &functions, &[]),
        record(&events, "bprint", &[("ip", FUNCTION), ("fmt", 0x1000)], &packed),
        record(&events, "bprint", &[("ip", FUNCTION), ("fmt", 0x1001)], &packed),
        record(&events, "bputs", &[("ip", FUNCTION), ("str", 0x2000)], &[]),
        record(&events, "print", &[("ip", FUNCTION)], b"no newline\0.."),
        record(&events, "raw_data", &[("id", 0x2a)], &[1, 2, 3, 4]),
        record(
            &events,
            "func_repeats",
            &[functions[0], functions[1], ("count", 3), ("bottom_delta_ts", 5_000)],
            &[],
        ),
        record(
            &events,
            "hwlat",
            &[("seqnum", 1), ("duration", 12), ("outer_duration", 14), ("tv_sec", 1), ("count", 6)],
            &[],
        ),
        record(
            &events,
            "osnoise",
            &[("runtime", 1_000_000), ("noise", 190), ("max_sample", 9), ("irq_count", 18)],
            &[],
        ),
        record(&events, "timerlat", &[("seqnum", 1), ("timer_latency", 932)], &[]),
        record(&events, "context_switch", &switch, &[]),
        record(&events, "wakeup", &switch, &[]),
        record(&events, "branch", &[("line", 7), ("correct", 1)], &[]),
        record(&events, "mmiotrace_map", &[("phys", 0xfe00_0000), ("len", 4096)], &[]),
        vec![0xff, 0xff, 0, 0, 42, 0, 0, 0],
        vec![1, 0],
    ];
    let mut out = Vec::new();
    for (index, data) in records.iter().enumerate() {
        printer.record(&mut out, 0, Record { time: 1_000_000 * index as u64, data });
    }
    printer.missed(&mut out, 1, Missed::Count(828));
    printer.missed(&mut out, 1, Missed::Unknown);
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}

#[test]
fn calls_with_all_columns() {
    let bed = Bed::open("6.12-all-tracers");
    let events = bed.events("sched");
    let formatter = Formatter::new(&events, &Options::default());
    let (names, comms) = (names(), Comms::parse(b"42 a_long_name\n43 b\n"));
    let context = Context { machine: bed.layout().machine, names: &names, pointers: Pointers::Padded };
    let graph = GraphOptions { time: true, task: true, retval: true, ..GraphOptions::default() };
    let options = TextOptions { tracer: "function_graph", cpus: 12, graph, ..TextOptions::default() };
    let mut printer = Printer::new(&formatter, context, &comms, options);
    let entry = |func, depth| record(&events, "funcgraph_entry", &[("func", func), ("depth", depth)], &[]);
    let exit = |func, depth, retval: i64, duration| {
        let values = [("func", func), ("depth", depth), ("retval", retval as u64), ("rettime", duration)];
        record(&events, "funcgraph_exit", &values, &[])
    };
    let interrupt = 0xffff_ffff_8100_0210;
    let mut other = entry(CALLER, 0);
    other[4] = 43;
    let records = [
        entry(FUNCTION, 0),
        entry(CALLER, 1),
        record(&events, "print", &[("ip", FUNCTION)], b"a text\n\0"),
        exit(CALLER, 1, 0, 999),
        entry(interrupt, 1),
        exit(interrupt, 1, 0x1000, 12_345_678_900),
        exit(FUNCTION, 0, -22, 100_001),
        // Its entry was before the trace.
        exit(CALLER, 0, 0xffff_ffea, 1_234_567),
        other,
    ];
    let mut out = Vec::new();
    printer.header(&mut out, None);
    for (index, data) in records.iter().enumerate() {
        printer.record(&mut out, 1, Record { time: 1_999 * index as u64, data });
    }
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}
