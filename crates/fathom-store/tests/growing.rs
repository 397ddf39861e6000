//! Looks at recordings while they are made: stretch by stretch, all is shown once, in order.

mod common;

use fathom_store::directory::{Directory, Growing, OpenOptions};
use fathom_store::writer::DirectoryWriter;
use fathom_store::{Batch, EventOptions, Features, Info, Kind, TaskChange, TaskMessage, Tid, Trace, record};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// An event: its time, kind, address, payload, and its function's name.
type Seen = (u64, Kind, u64, Vec<u8>, Arc<str>);

fn read(trace: &Directory, tid: Tid, into: &mut Vec<Seen>) {
    let mut batch = Batch::default();
    let mut events = trace.events(tid, EventOptions::default()).unwrap();
    let mut resolver = trace.resolver(tid);
    while events.next_batch(&mut batch).unwrap() {
        for event in &batch.events {
            let name = match event.kind {
                Kind::Entry | Kind::Exit => trace.function(resolver.resolve(event.time, event.addr)).name,
                _ => "".into(),
            };
            into.push((event.time, event.kind, event.addr, batch.payload(event).to_vec(), name));
        }
    }
}

/// What each task shows.
fn all(trace: &Directory) -> BTreeMap<Tid, Vec<Seen>> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for task in trace.tasks() {
        read(trace, task.tid, all.entry(task.tid).or_default());
    }
    all.retain(|_, seen| !seen.is_empty());
    all
}

/// Shows the next stretch. Nothing in it may be of its end or later, nor before `from`, where all came in time.
fn advance(growing: &mut Growing, from: Option<u64>, until: u64, into: &mut BTreeMap<Tid, Vec<Seen>>) {
    growing.advance(until).unwrap();
    for (tid, seen) in all(growing.trace()) {
        for (time, ..) in &seen {
            assert!(*time < until && from.is_none_or(|from| *time >= from), "{tid}: {from:?} {time} {until}");
        }
        into.entry(tid).or_default().extend(seen);
    }
}

/// A recording that has begun: the files of tasks are still to come.
fn begun(dir: &Path) -> (DirectoryWriter, Info) {
    let writer = DirectoryWriter::create(&dir.join("t"), "").unwrap();
    let sid = "00000000000000aa".to_owned();
    let say = |what| writer.message(&TaskMessage { time: 1, what }).unwrap();
    say(TaskChange::Session { pid: 1, sid: sid.clone(), exe: "/none".into() });
    writer
        .map(&sid, &fathom_store::writer::reduce_map(b"100000-200000 r-xp 00000000 00:00 0 /none\n"))
        .unwrap();
    let mut info = Info::default();
    info.features |= Features::EVENT;
    (writer, info)
}

/// A record, with a payload where there is to be one.
fn record_of(time: u64, payload: Option<u8>) -> Vec<u8> {
    let Some(size) = payload else {
        return record::encode_bytes(time, record::encode(Kind::Entry, 0, 0x100_010)).to_vec();
    };
    let word = record::encode(Kind::Event, 0, 1_000_007) | record::MORE;
    let mut bytes = record::encode_bytes(time, word).to_vec();
    bytes.extend(u16::from(size).to_ne_bytes());
    bytes.resize(bytes.len() + usize::from(size), time as u8);
    bytes.resize(bytes.len().next_multiple_of(8), 0xee);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Files have all that is older than the end of the stretch, and of the rest a part that may end anywhere.
    #[test]
    fn stretches_are_the_whole(
        tasks in proptest::collection::vec(
            proptest::collection::vec((0u64..50, proptest::option::weighted(0.3, 0u8..60)), 1..60), 1..4),
        steps in proptest::collection::vec((1u64..400, 0usize..100), 1..12),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (writer, info) = begun(dir.path());
        let mut growing = Growing::open(writer.path(), OpenOptions::default(), info.clone()).unwrap();
        let (mut shown, mut until, mut files) = (BTreeMap::new(), 0, Vec::new());
        for (index, records) in tasks.iter().enumerate() {
            let (mut time, mut bytes, mut ends) = (10, Vec::new(), Vec::new());
            for (pause, payload) in records {
                time += pause;
                bytes.extend(record_of(time, *payload));
                ends.push((time, bytes.len()));
            }
            files.push((index as Tid + 1, bytes, ends, 0usize));
        }
        for (step, more) in steps {
            let from = until;
            until += step;
            for (tid, bytes, ends, written) in &mut files {
                let due = ends.iter().take_while(|(time, _)| *time < until).last().map_or(0, |(_, end)| *end);
                let to = (due.max(*written) + more).min(bytes.len());
                if to > *written {
                    let path = writer.path().join(format!("{tid}.dat"));
                    let mut file = fs::File::options().create(true).append(true).open(path).unwrap();
                    file.write_all(&bytes[*written..to]).unwrap();
                    *written = to;
                }
            }
            advance(&mut growing, Some(from), until, &mut shown);
        }
        for (tid, bytes, ..) in &files {
            fs::write(writer.path().join(format!("{tid}.dat")), bytes).unwrap();
        }
        advance(&mut growing, Some(until), u64::MAX, &mut shown);
        writer.info(&info).unwrap();
        let whole = Directory::open(writer.path(), OpenOptions::default()).unwrap();
        prop_assert_eq!(shown, all(&whole));
        let of_files = |warning: &String| warning.contains(".dat");
        prop_assert!(!growing.trace().warnings().iter().any(of_files), "{:?}", growing.trace().warnings());
    }
}

#[test]
fn what_comes_late_is_shown_later() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, info) = begun(dir.path());
    let mut growing = Growing::open(writer.path(), OpenOptions::default(), info).unwrap();
    let mut shown = BTreeMap::new();
    writer.append(1, &record_of(100, None)).unwrap();
    writer.append(2, &record_of(300, None)).unwrap();
    advance(&mut growing, Some(0), 200, &mut shown);
    assert_eq!(shown.keys().collect::<Vec<_>>(), [&1]);
    writer.append(1, &record_of(150, Some(9))).unwrap();
    advance(&mut growing, Some(150), 400, &mut shown);
    // A task that nobody has said anything about until then.
    writer.append(3, &record_of(120, None)).unwrap();
    advance(&mut growing, Some(120), u64::MAX, &mut shown);
    advance(&mut growing, None, u64::MAX, &mut shown);
    let times: Vec<Vec<u64>> =
        shown.values().map(|seen| seen.iter().map(|(time, ..)| *time).collect()).collect();
    assert_eq!(times, [vec![100, 150], vec![300], vec![120]]);
}

/// With arguments, a fork, an exec, libraries that come later, and events of processors.
#[test]
fn a_real_recording_in_stretches() {
    let whole = Directory::open(&common::recorded(), OpenOptions::default()).unwrap();
    let wanted = all(&whole);
    let mut times: Vec<u64> = wanted.values().flatten().map(|(time, ..)| *time).collect();
    times.sort_unstable();
    for width in [1, 3, 10, 1000] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("t");
        common::copy(&common::recorded(), &data);
        fs::remove_file(data.join("info")).unwrap();
        let mut growing = Growing::open(&data, OpenOptions::default(), whole.info().clone()).unwrap();
        let (mut shown, mut from) = (BTreeMap::new(), 0);
        for until in times.iter().copied().step_by(width).chain([u64::MAX]) {
            advance(&mut growing, Some(from), until, &mut shown);
            from = until;
        }
        for (tid, wanted) in &wanted {
            let shown = shown.get(tid).map(Vec::as_slice).unwrap_or_default();
            let first = wanted.iter().zip(shown).position(|(wanted, shown)| wanted != shown);
            let at = first.unwrap_or(wanted.len().min(shown.len()));
            assert_eq!(shown.get(at..), wanted.get(at..), "{width}: from record {at} of task {tid} on");
        }
        assert_eq!(shown.len(), wanted.len());
    }
}
