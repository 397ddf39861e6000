//! Damaged traces: whatever is wrong with a file, there is a clear error, or a warning and the rest; never a panic.

mod common;

use common::{copy, recorded};
use fathom_store::directory::{Directory, OpenOptions};
use fathom_store::{Batch, Error, EventOptions, Merge, MergedBatch, Trace};
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

/// What came of reading a trace: how many events, which warnings, and the errors that ended it or a task.
#[derive(Debug, Default)]
struct Outcome {
    events: usize,
    warnings: Vec<String>,
    errors: Vec<String>,
}

impl Outcome {
    fn says(&self, text: &str) {
        let said = self.warnings.iter().chain(&self.errors).any(|line| line.contains(text));
        assert!(said, "\"{text}\" expected in {self:#?}");
    }
}

/// Uses a trace in all ways there are.
fn read(dir: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    let trace = match Directory::open(dir, OpenOptions::default()) {
        Ok(trace) => trace,
        Err(error) => {
            outcome.errors.push(chain(&error));
            return outcome;
        }
    };
    for task in trace.tasks() {
        if let Err(error) = read_task(&trace, task.tid, &mut outcome.events) {
            outcome.errors.push(chain(&error));
        }
    }
    let mut batch = MergedBatch::default();
    if let Ok(mut merge) = Merge::new(&trace, EventOptions::default(), |_| true) {
        while merge.next_batch(&mut batch).unwrap_or(true) && !batch.events.is_empty() {}
        let _ = merge.seek(3_118_000_000_000).is_ok();
    }
    trace.external();
    trace.note();
    trace.default_options();
    for session in 0..trace.sessions().len() {
        trace.modules(session).count();
    }
    outcome.warnings = trace.warnings();
    outcome
}

fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

fn read_task(trace: &Directory, tid: i32, count: &mut usize) -> Result<(), Error> {
    let mut resolver = trace.resolver(tid);
    let mut events = trace.events(tid, EventOptions::default())?;
    let mut batch = Batch::default();
    while events.next_batch(&mut batch)? {
        *count += batch.events.len();
        for event in &batch.events {
            let id = resolver.resolve(event.time, event.addr);
            let specs = trace.arg_specs(id);
            let payload = batch.payload(event);
            fathom_store::args::values(&specs, event.kind, payload, trace.info().endian).count();
            assert!(!trace.function(id).name.is_empty());
        }
    }
    events.seek(3_118_000_000_000)?;
    events.next_batch(&mut batch)?;
    Ok(())
}

/// A copy of the recorded trace, changed.
fn changed(change: impl FnOnce(&Path)) -> (TempDir, Outcome) {
    let dir = tempdir().unwrap();
    copy(&recorded(), dir.path());
    change(dir.path());
    let outcome = read(dir.path());
    (dir, outcome)
}

fn edit(dir: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = dir.join(name);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
}

/// All events of the undamaged trace.
const ALL: usize = 89;

#[test]
fn undamaged() {
    let (_dir, outcome) = changed(|_| {});
    assert_eq!((outcome.events, outcome.warnings.len(), outcome.errors.len()), (ALL, 0, 0));
}

#[test]
fn missing_files() {
    let without = |name: &'static str| changed(move |dir| fs::remove_file(dir.join(name)).unwrap()).1;
    let outcome = without("info");
    outcome.says("info: missing, the recording was cut short");
    // Its argument tables are gone with it, but the calls are there.
    outcome.says("20497.dat: what 19 calls were made with or returned is not shown");
    assert_eq!((outcome.events, outcome.errors.len()), (ALL, 0));
    without("task.txt").says("task.txt: missing");
    without("20497.dat");
    without("sid-3251d9b24e299aaf.map").says("sid-3251d9b24e299aaf.map: cannot read");
    without("toy.dbg")
        .says("the record of main has arguments, but neither the info file nor a .dbg file says");
    let outcome = without("libtwo.so.sym");
    outcome.says("no symbols of ./libtwo.so");
    assert_eq!(outcome.events, ALL);
    let outcome = without("perf-cpu1.dat");
    assert!(outcome.errors.is_empty() && outcome.events < ALL);
    let outcome = without("default.opts");
    assert_eq!((outcome.events, outcome.warnings.len()), (ALL, 0));
    // The symbols are looked for in the program itself then, which is not there.
    let gone = changed(|dir| {
        fs::remove_file(dir.join("toy.sym")).unwrap();
        for map in ["sid-3251d9b24e299aaf.map", "sid-a261a88cb2765094.map"] {
            edit(dir, map, |text| {
                *text = String::from_utf8_lossy(text).replace("/tmp/golden", "/nowhere").into_bytes();
            });
        }
    });
    gone.1.says("no symbols of /nowhere/toy");
}

#[test]
fn missing_altogether() {
    let dir = tempdir().unwrap();
    read(&dir.path().join("none")).says("none: cannot read the directory");
    read(dir.path()).says("not a trace: it has neither an info nor a task.txt file");
    fs::write(dir.path().join("task.txt"), "").unwrap();
    let outcome = read(dir.path());
    outcome.says("task.txt: empty");
    outcome.says("no <tid>.dat file, nothing was recorded");
}

#[test]
fn empty_files() {
    let empty = |name: &'static str| changed(move |dir| fs::write(dir.join(name), "").unwrap()).1;
    empty("info").says("info: the file is empty");
    empty("task.txt").says("task.txt: empty");
    empty("20499.dat").says("20499.dat: empty, the task is not shown");
    empty("sid-3251d9b24e299aaf.map").says("sid-3251d9b24e299aaf.map: no modules");
    empty("toy.dbg").says("the record of main has arguments");
    empty("libtwo.so.sym").says("no symbols of ./libtwo.so");
    let outcome = empty("perf-cpu0.dat");
    assert!(outcome.warnings.is_empty() && outcome.errors.is_empty());
}

#[test]
fn damaged_headers() {
    let info = |change: fn(&mut Vec<u8>)| changed(|dir| edit(dir, "info", change)).1;
    info(|bytes| bytes[0] = b'f').says("info: not a trace: the first 8 bytes");
    info(|bytes| bytes[8] = 5).says("info: format version 5 is not supported, only 3 and 4 are");
    info(|bytes| bytes[12] = 41).says("at offset 12: header size 41 is not 40");
    info(|bytes| bytes[14] = 3).says("at offset 14: byte order 3");
    info(|bytes| bytes[15] = 0).says("at offset 15: class 0");
    info(|bytes| bytes.truncate(20)).says("at offset 20: the header is cut off");
    let outcome = info(|bytes| bytes.truncate(100));
    outcome.says("info:3: the file ends where \"exit_status:\" should be");
    outcome.says("what comes after that is not used");
    // An item that is not known, after all others.
    let outcome = info(|bytes| bytes[27] = 1);
    assert_eq!((outcome.events, outcome.errors.len()), (ALL, 0));
}

#[test]
fn damaged_records() {
    let main = |change: fn(&mut Vec<u8>)| changed(|dir| edit(dir, "20497.dat", change)).1;
    let outcome = main(|bytes| bytes.truncate(70));
    outcome.says("20497.dat: the record at offset 64 is cut off, the task's records end there");
    main(|bytes| bytes.truncate(90)).says("20497.dat: the record at offset 64 is cut off");
    let outcome = main(|bytes| bytes[40] = 0xff);
    outcome.says("20497.dat: bytes that are not a record at offset 32, the task's records end there");
    assert!(outcome.events > 40 && outcome.events < ALL);
    main(|bytes| bytes[32..].fill(0)).says("20497.dat: zeros at offset 32");
    // The name in dlopen's first argument gets longer than any.
    let outcome = main(|bytes| {
        let name = bytes.windows(11).position(|w| w == b"./libtwo.so").unwrap();
        bytes[name - 1] = 0xff;
    });
    outcome.says("a payload that is longer than any in the record at offset");
    // An address with a payload where no function is.
    let outcome = main(|bytes| bytes[64 + 8 + 7] = 0x11);
    outcome.says("20497.dat: at offset 64: the record of <11");
    assert!(!outcome.errors.is_empty());
}

#[test]
fn damaged_lines() {
    let (_dir, outcome) = changed(|dir| {
        edit(dir, "task.txt", |text| text.splice(0..20, *b"SESS timestamp=yes  ").for_each(drop));
        edit(dir, "toy.sym", |text| text.extend(b"what is this\n"));
        edit(dir, "sid-a261a88cb2765094.map", |text| text.extend(b"nonsense\n"));
        fs::write(dir.join("events.txt"), "EVENT: 1000000 a:b\nEVENT: c\n").unwrap();
        fs::write(dir.join("extern.dat"), "# mine\n\n3118.1 hello\nnow what\n").unwrap();
        fs::write(dir.join("77.dat"), "").unwrap();
    });
    outcome.says("task.txt:1: \"timestamp=yes\" makes no sense, the line is ignored");
    outcome.says("toy.sym: 1 lines make no sense");
    outcome.says("sid-a261a88cb2765094.map: 1 lines make no sense");
    outcome.says("events.txt:2: \"EVENT: <id> <name>\" expected");
    outcome.says("extern.dat:4: \"<seconds>.<fraction> <message>\" expected");
    outcome.says("77.dat: empty");
    outcome.says("77.dat: task.txt doesn't mention this task");
}

#[test]
fn damaged_processors() {
    let (_dir, outcome) = changed(|dir| edit(dir, "perf-cpu1.dat", |bytes| bytes.truncate(100)));
    outcome.says("perf-cpu1.dat: at offset 88: a record is cut off; events after that are not shown");
    assert!(outcome.events > 50 && outcome.events < ALL);
}

/// Replaces a file. Not by writing over it: file systems bring that to the disk at once, which takes its time.
fn put(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Every byte of every file, changed in several ways, and every file cut off everywhere.
#[test]
fn nothing_makes_it_panic() {
    let dir = tempdir().unwrap();
    copy(&recorded(), dir.path());
    for entry in fs::read_dir(recorded()).unwrap() {
        let path = dir.path().join(entry.unwrap().file_name());
        let bytes = fs::read(&path).unwrap();
        for at in (0..bytes.len()).step_by(3) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            put(&path, &flipped);
            read(dir.path());
        }
        for at in (0..bytes.len()).step_by(7) {
            put(&path, &bytes[..at]);
            read(dir.path());
        }
        put(&path, &vec![0xff; bytes.len()]);
        read(dir.path());
        put(&path, &bytes);
    }
    assert_eq!(read(dir.path()).events, ALL);
}
