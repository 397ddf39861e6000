//! Reads traces that are made up on the spot: large files, many files, other byte orders.

use fathom_store::directory::{Directory, OpenOptions, find_default};
use fathom_store::writer::{DirectoryWriter, reduce_map};
use fathom_store::{
    ArgSpecs, Batch, Endian, Error, Event, EventOptions, Features, FunctionKind, Info, Kind, Merge,
    MergedBatch, TaskChange, TaskEvents, TaskMessage, Trace, record,
};
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

/// A trace whose tasks have the given records.
fn trace(info: &Info, tasks: impl IntoIterator<Item = (i32, Vec<u8>)>) -> (TempDir, Directory) {
    let dir = tempdir().unwrap();
    let writer = DirectoryWriter::create(&dir.path().join("t"), "").unwrap();
    writer.info(info).unwrap();
    let sid = "00000000000000aa".to_owned();
    let say = |what| writer.message(&TaskMessage { time: 1, what }).unwrap();
    say(TaskChange::Session { pid: 1, sid: sid.clone(), exe: "/none".into() });
    let map = reduce_map(b"100000-200000 r-xp 00000000 00:00 0 /none\n");
    writer.map(&sid, &map).unwrap();
    for (tid, records) in tasks {
        say(TaskChange::Task { tid, pid: 1 });
        writer.append(tid, &records).unwrap();
    }
    let opened = Directory::open(writer.path(), OpenOptions::default()).unwrap();
    (dir, opened)
}

fn call(time: u64, kind: Kind) -> [u8; record::SIZE] {
    record::encode_bytes(time, record::encode(kind, 0, 0x1234))
}

/// An event with a payload of `size` bytes.
fn event(time: u64, size: u16) -> Vec<u8> {
    let word = record::encode(Kind::Event, 0, 1_000_007) | record::MORE;
    let mut bytes = record::encode_bytes(time, word).to_vec();
    bytes.extend(size.to_ne_bytes());
    bytes.resize(bytes.len() + usize::from(size), time as u8);
    bytes.resize(bytes.len().next_multiple_of(8), 0xee);
    bytes
}

fn rest(events: &mut dyn TaskEvents) -> Vec<(u64, Kind)> {
    let (mut all, mut batch) = (Vec::new(), Batch::default());
    while events.next_batch(&mut batch).unwrap() {
        for event in &batch.events {
            assert!(batch.payload(event).iter().all(|byte| *byte == event.time as u8));
        }
        all.extend(batch.events.iter().map(|e: &Event| (e.time, e.kind)));
    }
    all
}

/// Goes to many times, near and far, forwards and backwards.
fn seek_everywhere(trace: &Directory, last: u64) {
    let mut events = trace.events(7, EventOptions::default()).unwrap();
    let all = rest(&mut *events);
    let mut batch = Batch::default();
    for step in 0..40 {
        let time = step * 7919 * 31 % (last + 100);
        let first = all.iter().find(|(t, kind)| *t >= time && *kind != Kind::Lost);
        events.seek(time).unwrap();
        assert_eq!(events.next_batch(&mut batch).unwrap(), first.is_some());
        assert_eq!(batch.events.first().map(|e| (e.time, e.kind)).as_ref(), first, "time {time}");
    }
    events.seek(last / 2).unwrap();
    let from = all.iter().position(|(t, kind)| *t >= last / 2 && *kind != Kind::Lost).unwrap();
    assert_eq!(rest(&mut *events), all[from..]);
    assert_eq!(events.progress(), (trace.data_size(7), trace.data_size(7)));
}

#[test]
fn seek_in_plain_records() {
    let mut bytes = Vec::new();
    for n in 0..200_000u64 {
        // Runs of equal times, and losses without a time.
        bytes.extend(call(n / 3 * 5, if n % 2 == 0 { Kind::Entry } else { Kind::Exit }));
        if n % 1000 == 0 {
            bytes.extend(record::encode_bytes(0, record::encode(Kind::Lost, 0, 1)));
        }
    }
    let (_dir, trace) = trace(&Info::default(), [(7, bytes)]);
    seek_everywhere(&trace, 200_000 / 3 * 5);
    assert_eq!(trace.warnings(), Vec::<String>::new());
}

#[test]
fn seek_among_payloads() {
    for features in [Features::EVENT, Features::default()] {
        let mut bytes = Vec::new();
        for n in 0..30_000u64 {
            bytes.extend(call(n * 10, Kind::Entry));
            bytes.extend(event(n * 10 + 1, (n * 37 % 90) as u16));
        }
        let info = Info { features: Info::default().features | features, ..Info::default() };
        let (_dir, trace) = trace(&info, [(7, bytes)]);
        seek_everywhere(&trace, 300_000);
        assert_eq!(trace.warnings(), Vec::<String>::new());
    }
}

#[test]
fn the_longest_payloads_and_the_shortest() {
    let sizes = [0, 1, 5, 6, 7, 8, u16::MAX, 65_000, 2048, 3];
    let bytes = sizes.iter().enumerate().flat_map(|(n, size)| event(n as u64, *size)).collect();
    let (_dir, trace) = trace(&Info::default(), [(7, bytes)]);
    let mut events = trace.events(7, EventOptions::default()).unwrap();
    let mut batch = Batch::default();
    assert!(events.next_batch(&mut batch).unwrap());
    let seen: Vec<usize> = batch.events.iter().map(|e| batch.payload(e).len()).collect();
    assert_eq!(seen, sizes.map(usize::from));
}

/// More tasks than files may be open.
#[test]
fn many_tasks_at_once() {
    const TASKS: i32 = 2000;
    let records = |tid: i32| (0..64).flat_map(|n| call(n * 5000 + tid as u64, Kind::Entry)).collect();
    let (_dir, trace) = trace(&Info::default(), (1..=TASKS).map(|tid| (tid, records(tid))));
    let mut merge = Merge::new(&trace, EventOptions::default(), |_| true).unwrap();
    let open = fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open < 400, "{open} files are open");
    let (mut batch, mut last, mut count) = (MergedBatch::default(), 0, 0);
    while merge.next_batch(&mut batch).unwrap() {
        for (task, event) in &batch.events {
            assert!(event.time > last && event.time % 5000 == u64::from(*task) + 1);
            last = event.time;
            count += 1;
        }
    }
    assert_eq!(count, 64 * TASKS);
    assert_eq!(merge.progress(), (64 * 16 * TASKS as u64, 64 * 16 * TASKS as u64));
}

#[test]
fn the_other_byte_order() {
    let swap = |bytes: [u8; 16]| {
        let mut swapped = bytes;
        swapped[..8].reverse();
        swapped[8..].reverse();
        swapped
    };
    let here = Info::default().endian;
    let other = if here == Endian::Little { Endian::Big } else { Endian::Little };
    let bytes = [swap(call(100, Kind::Entry)), swap(call(200, Kind::Exit))].concat();
    let (_dir, trace) = trace(&Info { endian: other, ..Info::default() }, [(7, bytes)]);
    let all = rest(&mut *trace.events(7, EventOptions::default()).unwrap());
    assert_eq!(all, [(100, Kind::Entry), (200, Kind::Exit)]);
}

/// An error ends one task of a merge, after everything that comes before it.
#[test]
fn an_unknown_payload_ends_its_task_only() {
    let arguments = record::encode(Kind::Entry, 0, 0x1234) | record::MORE;
    let bad = [call(10, Kind::Entry), record::encode_bytes(30, arguments), call(0, Kind::Entry)].concat();
    let good = [call(20, Kind::Entry), call(40, Kind::Entry)].concat();
    let cmdline = Some("record x".to_owned());
    let info = Info { arg_specs: Some(ArgSpecs::default()), cmdline, ..Info::default() };
    let (_dir, trace) = trace(&info, [(7, bad), (8, good)]);
    let mut merge = Merge::new(&trace, EventOptions::default(), |_| true).unwrap();
    let (mut batch, mut times, mut error) = (MergedBatch::default(), Vec::new(), None);
    loop {
        match merge.next_batch(&mut batch) {
            Ok(false) => break,
            Ok(true) => times.extend(batch.events.iter().map(|(_, e)| e.time)),
            Err(e) => error = Some(e),
        }
    }
    assert_eq!(times, [10, 20, 40]);
    match error.unwrap() {
        Error::NoArgumentSpec { offset, function, payload, .. } => {
            assert_eq!((offset, function.as_str(), payload), (16, "<1234>", "arguments"));
        }
        other => panic!("{other}"),
    }
}

/// A recording of which the beginning came over the network: what describes its values comes last, and has not come. All
/// that came whole is there.
#[test]
fn calls_are_read_without_what_describes_their_values() {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scripts/values.data");
    let opened = Directory::open(&whole, OpenOptions::default()).unwrap();
    let dir = tempdir().unwrap();
    let (mut calls, mut with_values) = (0, 0);
    for task in opened.tasks() {
        let options = EventOptions { events: false, ..EventOptions::default() };
        let key = |e: &Event| (e.time, e.kind, e.addr, e.depth);
        let read = |trace: &Directory| {
            let (mut all, mut batch) = (Vec::new(), Batch::default());
            let mut events = trace.events(task.tid, options).unwrap();
            while events.next_batch(&mut batch).unwrap() {
                all.extend(batch.events.iter().map(|event| (key(event), event.data_len)));
            }
            all
        };
        let wanted = read(&opened);
        let bytes = fs::read(whole.join(format!("{}.dat", task.tid))).unwrap();
        // Cut at every place where the network may have broken.
        for len in (16..=bytes.len()).rev().step_by(if bytes.len() > 4000 { 97 } else { 5 }) {
            let place = dir.path().join("cut");
            let _ = fs::remove_dir_all(&place);
            fs::create_dir(&place).unwrap();
            fs::write(place.join("info"), Info::default().to_bytes()).unwrap();
            fs::copy(whole.join("task.txt"), place.join("task.txt")).unwrap();
            fs::write(place.join(format!("{}.dat", task.tid)), &bytes[..len]).unwrap();
            let cut = Directory::open(&place, OpenOptions::default()).unwrap();
            let got = read(&cut);
            // Of the last ones before the cut it may be impossible to say where they are.
            let missing = wanted.len() - got.len();
            assert!(len < bytes.len() || missing == 0, "{} of {}", got.len(), wanted.len());
            assert!(
                missing * 16 <= bytes.len() - len + 48,
                "{missing} records miss of {} bytes",
                bytes.len() - len
            );
            assert!(got.iter().zip(&wanted).all(|(got, wanted)| got.0 == wanted.0), "{len}");
            let values = wanted.iter().take(got.len()).filter(|(_, size)| *size > 0).count();
            let told =
                cut.warnings().iter().any(|warning| warning.contains("calls were made with or returned"));
            assert!(told || values == 0, "{:?}", cut.warnings());
            (calls, with_values) = (calls + got.len(), with_values + values);
        }
    }
    assert!(calls > 100 && with_values > 100, "{calls} {with_values}");
}

#[test]
fn the_trace_to_read_by_default() {
    let dir = tempdir().unwrap();
    let base = dir.path();
    let found = |fathom| find_default(base, fathom).map_err(|e| e.to_string());
    let looked = "no trace found: looked for uftrace.data, ./info, ftrace.dir, trace.dat; record one first or name its \
                  directory with -d";
    assert_eq!(found(false), Err(looked.to_owned()));
    let make = |name: &str| {
        fs::create_dir_all(base.join(name)).unwrap();
        fs::write(base.join(name).join("info"), "").unwrap();
    };
    fs::write(base.join("trace.dat"), b"\x17\x08\x44tracing6\0").unwrap();
    assert_eq!(found(true).unwrap(), base.join("trace.dat"));
    make("ftrace.dir");
    assert_eq!(found(true).unwrap(), base.join("ftrace.dir"));
    make(".");
    assert_eq!(found(true).unwrap(), Path::new(base));
    make("uftrace.data");
    make("fathom.data");
    assert_eq!(found(false).unwrap(), base.join("uftrace.data"));
    assert_eq!(found(true).unwrap(), base.join("fathom.data"));
}

/// Programs in Python have numbers instead of addresses.
#[test]
fn numbered_functions() {
    let records = [
        record::encode_bytes(10, record::encode(Kind::Entry, 0, 1)),
        record::encode_bytes(20, record::encode(Kind::Entry, 1, 2)),
    ];
    let (dir, _) = trace(&Info::default(), [(7, records.concat())]);
    let path = dir.path().join("t");
    let symbols = "# symbols: 2\n# path name: python.fake\n0000000000000001 T __main__\n0000000000000002 P print\n\
                   0000000000000003 ? __sym_end\n";
    fs::write(path.join("python.fake.sym"), symbols).unwrap();
    let trace = Directory::open(&path, OpenOptions::default()).unwrap();
    let mut resolver = trace.resolver(7);
    let mut name = |addr| {
        let function = trace.function(resolver.resolve(10, addr));
        (function.name.to_string(), function.kind)
    };
    assert_eq!(name(1), ("__main__".to_owned(), FunctionKind::User));
    assert_eq!(name(2), ("print".to_owned(), FunctionKind::Plt));
    assert_eq!(name(3), ("<3>".to_owned(), FunctionKind::Unknown));
}

/// Processors' files count only if the header says so.
#[test]
fn processors_that_do_not_count() {
    let switch =
        [14u32, 24 << 16, 1, 7, 50, 0].iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
    for (features, want) in [(Features::default(), 1), (Features::PERF_EVENT, 2)] {
        let info = Info { features: Info::default().features | features, ..Info::default() };
        let (dir, _) = trace(&info, [(7, call(10, Kind::Entry).to_vec())]);
        let path = dir.path().join("t");
        fs::write(path.join("perf-cpu0.dat"), &switch).unwrap();
        let trace = Directory::open(&path, OpenOptions::default()).unwrap();
        let all = rest(&mut *trace.events(7, EventOptions::default()).unwrap());
        assert_eq!(all.len(), want);
        let no_sched = EventOptions { sched: false, ..EventOptions::default() };
        assert_eq!(rest(&mut *trace.events(7, no_sched).unwrap()).len(), 1);
    }
}
