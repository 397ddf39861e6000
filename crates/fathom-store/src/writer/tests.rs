use super::*;
use crate::directory::{Directory, OpenOptions};
use crate::memory::all_events;
use crate::record::encode;
use crate::{TaskChange, Trace};
use fathom_symbols::{Symbol, SymbolKind};
use tempfile::tempdir;

fn records(tid: i32) -> Vec<u8> {
    let word = |kind, depth| encode(kind, depth, 0x1000 + tid as u64);
    [(10, Kind::Entry, 0), (11, Kind::Entry, 1), (12, Kind::Exit, 1), (13, Kind::Exit, 0)]
        .iter()
        .flat_map(|(time, kind, depth)| record::encode_bytes(*time, word(*kind, *depth)))
        .collect()
}

#[test]
fn many_tasks_with_few_open_files() {
    let dir = tempdir().unwrap();
    let writer = DirectoryWriter::create(&dir.path().join("t"), "").unwrap().keep_open(3);
    for tid in 1..50 {
        writer.append(tid, &records(tid)[..32]).unwrap();
        assert!(writer.open.load(Ordering::Relaxed) <= 3);
    }
    for tid in (1..50).rev() {
        writer.append(tid, &records(tid)[32..]).unwrap();
    }
    writer.append(99, &[]).unwrap();
    assert_eq!(writer.tasks(), (1..50).map(|tid| (tid, 64)).collect::<Vec<_>>());
    for tid in 1..50 {
        let written = fs::read(writer.path().join(format!("{tid}.dat"))).unwrap();
        assert_eq!(written, records(tid));
    }
}

#[test]
fn what_is_written_is_read() {
    let dir = tempdir().unwrap();
    let writer = DirectoryWriter::create(&dir.path().join("t"), "-t 1us\n").unwrap();
    let sid = "0123456789abcdef".to_owned();
    let exe = "/bin/a program".to_owned();
    let say = |time, what| writer.message(&TaskMessage { time, what }).unwrap();
    say(5, TaskChange::Session { pid: 7, sid: sid.clone(), exe: exe.clone() });
    say(6, TaskChange::Task { tid: 7, pid: 7 });
    say(10, TaskChange::Fork { pid: 8, ppid: 7 });
    let maps = "1000-2000 r--p 00000000 00:00 7 /bin/a program\n2000-3000 r-xp 00001000 00:00 7 /bin/a program\n\
                4000-5000 rw-p 00000000 00:00 0 \n7ffc0000-7ffd0000 rw-p 00000000 00:00 0 [stack]\n\
                7ffe0000-7fff0000 r-xp 00000000 00:00 0 [vdso]\n";
    let mut lines = reduce_map(maps.as_bytes());
    lines[0].build_id = Some("abcd".into());
    writer.map(&sid, &lines).unwrap();
    let module = ModuleId { path: exe.clone(), build_id: Some("abcd".into()) };
    let main = Symbol { addr: 0, size: 0x20, kind: SymbolKind::Function, name: "main" };
    writer.symbols(&module, &[main].into_iter().collect(), Style::Sized).unwrap();
    writer.append(7, &records(7)).unwrap();
    writer.lost(7, 3).unwrap();
    writer.append(8, &records(8)).unwrap();
    writer.info(&Info { exe_name: Some(exe.clone()), ..Info::default() }).unwrap();

    let map = fs::read_to_string(writer.path().join("sid-0123456789abcdef.map")).unwrap();
    let blanks = " ".repeat(26);
    assert_eq!(
        map,
        format!(
            "1000-3000 r-xp 00000000 00:00 0{blanks}/bin/a program build-id:abcd\n\
             7ffc0000-7ffd0000 rw-p 00000000 00:00 0{blanks}[stack]\n"
        )
    );
    let trace = Directory::open(writer.path(), OpenOptions::default()).unwrap();
    assert_eq!(trace.default_options(), "-t 1us\n");
    assert_eq!(trace.info().exe_name, Some(exe));
    let events = all_events(&trace, 7).unwrap();
    assert_eq!(events.iter().map(|e| e.time).collect::<Vec<_>>(), [10, 11, 12, 13, 0]);
    assert_eq!((events[4].kind, events[4].addr), (Kind::Lost, 3));
    let name = trace.function(trace.resolver(7).resolve(10, events[0].addr)).name;
    assert_eq!(&*name, "main");
    // The entry at the time of the fork is the parent's, what comes after it the child's own.
    let inherited: Vec<_> = all_events(&trace, 8).unwrap().iter().map(|e| e.inherited).collect();
    assert_eq!(inherited, [true, false, false, false]);
    assert_eq!(trace.warnings(), Vec::<String>::new());
}

#[test]
fn an_older_trace_is_kept_once() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("t.data");
    let make = |mark: &str| {
        let writer = DirectoryWriter::create(&path, "").unwrap();
        writer.info(&Info { cmdline: Some(mark.into()), ..Info::default() }).unwrap();
    };
    let mark = |path: &Path| Info::read(&path.join("info")).unwrap().cmdline.unwrap();
    make("first");
    make("second");
    make("third");
    assert_eq!(mark(&path), "third");
    assert_eq!(mark(&dir.path().join("t.data.old")), "second");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn what_is_no_trace_is_left_alone() {
    let dir = tempdir().unwrap();
    let (path, old) = (dir.path().join("t"), dir.path().join("t.old"));
    let create = || DirectoryWriter::create(&path, "").map(|_| ());
    let refused = |dir: &Path| match create() {
        Err(Error::NotRemovable { dir: named }) => assert_eq!(named, dir),
        other => panic!("{other:?}"),
    };
    fs::create_dir(&path).unwrap();
    create().unwrap();
    fs::remove_file(path.join("default.opts")).unwrap();
    refused(&path);
    fs::write(path.join("info"), "Ftrace").unwrap();
    refused(&path);
    fs::write(path.join("info"), MAGIC_AND_MORE).unwrap();
    fs::remove_dir_all(&old).unwrap();
    fs::create_dir(&old).unwrap();
    fs::write(old.join("thesis.tex"), "").unwrap();
    refused(&old);
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, "a file").unwrap();
    refused(&path);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(dir.path(), &path).unwrap();
    refused(&path);
    assert!(matches!(DirectoryWriter::create(Path::new("/nonexistent/t"), ""), Err(Error::Io { .. })));
}

const MAGIC_AND_MORE: &[u8] = b"Ftrace!\0\x04";

#[test]
fn names_of_probes_are_read_back() {
    let dir = tempdir().unwrap();
    let writer = DirectoryWriter::create(&dir.path().join("t"), "").unwrap();
    writer.event(1_000_000, "toy:first").unwrap();
    writer.event(1_000_001, "toy:a\nEVENT: 7 b c").unwrap();
    let text = fs::read_to_string(writer.path().join("events.txt")).unwrap();
    assert_eq!(text, "EVENT: 1000000 toy:first\nEVENT: 1000001 toy:a?EVENT: 7 b c\n");
    writer.info(&Info::default()).unwrap();
    let trace = Directory::open(writer.path(), OpenOptions::default()).unwrap();
    assert_eq!(trace.event_name(1_000_001).as_deref(), Some("toy:a?EVENT: 7 b c"));
    let complaints = trace.warnings();
    assert!(!complaints.iter().any(|text| text.contains("events.txt")), "{complaints:?}");
}
