//! Reads a trace that uftrace recorded and compares with what `uftrace dump` printed of it.

mod common;

use common::{copy, recorded};
use fathom_store::args::{ArgFormat, ArgSpec, Value, values};
use fathom_store::directory::{Directory, OpenOptions, PerfReader};
use fathom_store::writer::DirectoryWriter;
use fathom_store::{Batch, Event, EventOptions, FunctionKind, Info, Kind, Trace, record};
use std::fmt::Write;
use std::fs;
use std::io::BufReader;
use std::process::Command;

fn open() -> Directory {
    Directory::open(&recorded(), OpenOptions::default()).unwrap()
}

fn line(out: &mut String, time: u64, tid: i32, what: &str) {
    let (s, ns) = (time / 1_000_000_000, time % 1_000_000_000);
    writeln!(out, "{s}.{ns:09}  {tid:5}: {what}").unwrap();
}

/// The lines for numbers and strings; the dump shows other values in ways that are a view's business.
fn value_line(out: &mut String, label: &str, value: Value) {
    let ArgSpec { format, size, .. } = value.spec;
    match format {
        ArgFormat::Auto | ArgFormat::Signed | ArgFormat::Unsigned | ArgFormat::Hex => {
            let digits: String = value.bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
            writeln!(out, "  {label} {}{}: 0x{digits}", format.letter(), size * 8).unwrap();
        }
        ArgFormat::String => {
            writeln!(out, "  {label} str: {}", String::from_utf8_lossy(value.bytes)).unwrap();
        }
        _ => {}
    }
}

fn task(out: &mut String, trace: &Directory, tid: i32) {
    writeln!(out, "reading {tid}.dat").unwrap();
    let mut resolver = trace.resolver(tid);
    let mut events = trace.events(tid, EventOptions::default()).unwrap();
    let mut batch = Batch::default();
    while events.next_batch(&mut batch).unwrap() {
        for event in &batch.events {
            // Processors have files of their own in the dump.
            if event.kind == Kind::Event && event.addr / 100_000 == 2 {
                continue;
            }
            let Event { time, addr, depth, kind, .. } = *event;
            let payload = batch.payload(event);
            if kind == Kind::Event {
                let name = trace.event_name(addr).unwrap();
                line(out, time, tid, &format!("[event] {name}({addr:x}) depth: {depth}"));
                line(out, time, tid, &format!("[data ] length = {}", payload.len()));
                continue;
            }
            let id = resolver.resolve(time, addr);
            let name = trace.function(id).name;
            let (mark, more) = if kind == Kind::Entry { ("entry", "args ") } else { ("exit ", "retval") };
            line(out, time, tid, &format!("[{mark}] {name}({addr:x}) depth: {depth}"));
            if payload.is_empty() {
                continue;
            }
            line(out, time, tid, &format!("[{more}] length = {}", payload.len()));
            let specs = trace.arg_specs(id);
            for (number, value) in values(&specs, kind, payload, trace.info().endian).enumerate() {
                let label = if kind == Kind::Exit { "retval".into() } else { format!("args[{number}]") };
                value_line(out, &label, value);
            }
        }
    }
}

fn processors(out: &mut String, trace: &Directory) {
    for (cpu, path) in trace.perf_files() {
        writeln!(out, "reading perf-cpu{cpu}.dat").unwrap();
        let file = BufReader::new(fs::File::open(path).unwrap());
        let mut reader = PerfReader::new(file, trace.info().endian);
        while let Some(event) = reader.next_event(path).unwrap() {
            let name = trace.event_name(event.id).unwrap();
            line(out, event.time, event.tid, &format!("[event] {name}({})", event.id));
        }
    }
}

#[test]
fn records_are_those_of_the_dump() {
    let trace = open();
    let mut ours = String::new();
    for one in trace.tasks() {
        task(&mut ours, &trace, one.tid);
    }
    processors(&mut ours, &trace);
    let dump = fs::read_to_string(recorded().with_file_name("dump.txt")).unwrap();
    let (_, records) = dump.split_once("\n\n").unwrap();
    // A string with a line break goes on at the beginning of a line. Values of other kinds, and what events say, are
    // left out, as above.
    let shown = |line: &&str| {
        let Some(value) = line.strip_prefix("  ") else { return !line.is_empty() };
        let format = value.split(' ').nth(1).unwrap_or_default();
        format == "str:" || format.starts_with(['d', 'i', 'u', 'x']) && !value.starts_with("read:")
    };
    let theirs: Vec<&str> = records.lines().filter(shown).collect();
    assert_eq!(ours.lines().collect::<Vec<_>>(), theirs);
    assert_eq!(trace.warnings(), Vec::<String>::new());
}

#[test]
fn who_took_part() {
    let trace = open();
    let tasks: Vec<_> = trace.tasks().iter().map(|t| (t.tid, t.pid, t.parent, t.forked)).collect();
    let (main, thread, child) = (20497, 20499, 20500);
    let want =
        [(main, main, None, false), (thread, main, Some(main), false), (child, child, Some(main), true)];
    assert_eq!(tasks, want);
    let spans: Vec<_> = trace.tasks()[2].sessions.iter().map(|s| (s.from, s.session)).collect();
    assert_eq!(spans, [(0, 0), (3_118_011_011_125, 1)]);
    assert_eq!(trace.sessions().len(), 2);
    assert_eq!(trace.tasks()[0].comm, "toy");
    assert_eq!(trace.task_messages().len(), 7);
    assert_eq!(trace.data_size(main), 744);
}

#[test]
fn addresses_are_resolved_in_their_session_and_time() {
    let trace = open();
    let mut resolver = trace.resolver(20497);
    // In libtwo.so, which was opened at this time.
    let (opened, two) = (3_117_992_919_518, 0x7fb7_7423_8000 + 0x1119);
    let before = trace.function(resolver.resolve(opened - 1, two));
    assert_eq!((&*before.name, before.kind), ("<7fb774239119>", FunctionKind::Unknown));
    let after = trace.function(resolver.resolve(opened, two));
    assert_eq!((&*after.module, after.kind), ("./libtwo.so", FunctionKind::User));
    let (start, _, symbols) = trace.modules(0).next().unwrap();
    let strlen = resolver.resolve(opened, start + symbols.by_name("strlen").unwrap().addr);
    assert_eq!(trace.function(strlen).kind, FunctionKind::Plt);
    // The same function in the next program of the child, elsewhere in memory, has the same number.
    let mut child = trace.resolver(20500);
    let in_second = trace.modules(1).next().unwrap();
    let addr = in_second.0 + in_second.2.by_name("strlen").unwrap().addr;
    assert_eq!(child.resolve(u64::MAX, addr), strlen);
    assert_ne!(child.resolve(0, addr), strlen);
}

#[test]
fn the_header_is_written_as_it_was_read() {
    let bytes = fs::read(recorded().join("info")).unwrap();
    let info = Info::read(&recorded().join("info")).unwrap();
    assert_eq!(info.to_bytes(), bytes);
    assert_eq!(info.info_mask(), 0x3fff);
    assert_eq!((info.max_stack, info.elapsed_ns), (1024, Some(47_716_960)));
    assert_eq!(info.cpu.unwrap().online, 2);
}

/// Writes the trace anew from what was read.
fn rewrite(trace: &Directory, to: &std::path::Path) {
    let writer = DirectoryWriter::create(to, &trace.default_options()).unwrap();
    trace.task_messages().iter().for_each(|message| writer.message(message).unwrap());
    writer.info(trace.info()).unwrap();
    for (cpu, path) in trace.perf_files() {
        writer.append_perf(*cpu, &fs::read(path).unwrap()).unwrap();
    }
    for entry in fs::read_dir(trace.path()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".sym") || name.ends_with(".dbg") || name.ends_with(".map") {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
    let mut batch = Batch::default();
    for task in trace.tasks() {
        let mut events =
            trace.events(task.tid, EventOptions { sched: false, ..EventOptions::default() }).unwrap();
        while events.next_batch(&mut batch).unwrap() {
            for event in batch.events.iter().filter(|e| e.kind != Kind::Event || e.addr / 100_000 != 2) {
                let payload = batch.payload(event);
                let more = if payload.is_empty() { 0 } else { record::MORE };
                let word = record::encode(event.kind, event.depth, event.addr) | more;
                let mut bytes = record::encode_bytes(event.time, word).to_vec();
                if event.kind == Kind::Event && more != 0 {
                    bytes.extend((payload.len() as u16).to_le_bytes());
                }
                bytes.extend(payload);
                bytes.resize(bytes.len().next_multiple_of(8), 0);
                writer.append(task.tid, &bytes).unwrap();
            }
        }
    }
}

#[test]
fn rewritten_it_reads_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("again");
    let trace = open();
    rewrite(&trace, &to);
    for task in trace.tasks() {
        assert_eq!(
            fs::metadata(to.join(format!("{}.dat", task.tid))).unwrap().len(),
            trace.data_size(task.tid)
        );
    }
    let again = Directory::open(&to, OpenOptions::default()).unwrap();
    let (mut first, mut second) = (String::new(), String::new());
    for one in trace.tasks() {
        task(&mut first, &trace, one.tid);
        task(&mut second, &again, one.tid);
    }
    assert_eq!(first, second);
    assert_eq!(fs::read(to.join("task.txt")).unwrap(), fs::read(recorded().join("task.txt")).unwrap());
    compare_with_uftrace(&to);
}

/// Where uftrace is installed, it has to read what was written here as it reads its own.
fn compare_with_uftrace(to: &std::path::Path) {
    let original = to.with_file_name("original");
    copy(&recorded(), &original);
    for command in ["replay", "report", "graph", "dump", "info"] {
        let print = |dir: &std::path::Path| Command::new("uftrace").arg(command).arg("-d").arg(dir).output();
        let (Ok(ours), Ok(theirs)) = (print(to), print(&original)) else {
            eprintln!("uftrace is not installed: its view of the rewritten trace was not compared");
            return;
        };
        assert_eq!(String::from_utf8_lossy(&ours.stdout), String::from_utf8_lossy(&theirs.stdout));
        assert!(ours.status.success());
    }
}
