//! What is printed is what trace-cmd 3.1.6 prints, line by line. Where trace-cmd is wrong, and only there, ours is what
//! the kernel prints: [`explained`] lists these lines by exact rules with the reasons.

mod common;

use common::{data, fixture, open, recordings, trace_cmd};
use fathom_tracedat::report::{self, Input, Settings};
use fathom_tracedat::{Compression, Header, Options, Recording, Version, Writer, id};
use std::collections::BTreeMap;
use std::io::Cursor;

fn print(recordings: Vec<Recording>, settings: &Settings) -> Vec<u8> {
    let inputs: Vec<Input> = recordings.into_iter().map(Input::new).collect();
    let mut out = Vec::new();
    let notes = report::events(&inputs, settings, &mut out).expect("report");
    assert!(notes.is_empty(), "{notes:?}");
    out
}

fn plain() -> Settings {
    Settings { plugins: false, ..Settings::default() }
}

/// Lines of one text that are not those of the other, with the reason for each.
fn compare(name: &str, expected: &[u8], found: &[u8]) -> BTreeMap<&'static str, usize> {
    let mut reasons = BTreeMap::new();
    let expected: Vec<&[u8]> = expected.split(|&byte| byte == b'\n').collect();
    let found: Vec<&[u8]> = found.split(|&byte| byte == b'\n').collect();
    assert_eq!(expected.len(), found.len(), "{name}: number of lines");
    let mut event = String::new();
    for (number, (theirs, ours)) in expected.iter().zip(&found).enumerate() {
        let (theirs, ours) = (String::from_utf8_lossy(theirs), String::from_utf8_lossy(ours));
        if let Some((_, rest)) = theirs.split_once("] ").filter(|(_, rest)| rest.contains(": ")) {
            event = rest.split(": ").nth(1).unwrap_or_default().trim_end_matches(':').to_owned();
        }
        if theirs != ours {
            let line = number + 1;
            match explained(&event, &theirs, &ours) {
                Some(reason) => *reasons.entry(reason).or_default() += 1,
                None => panic!("{name}: line {line} ({event}):\n  theirs {theirs}\n  ours   {ours}"),
            }
        }
    }
    reasons
}

/// The text without what is between `open` and `close`.
fn without(text: &str, open: char, close: char) -> String {
    let mut inside = false;
    text.chars()
        .filter(|&letter| {
            if letter == open {
                inside = true;
            }
            let keep = !inside || letter == open;
            if letter == close {
                inside = false;
            }
            keep
        })
        .collect()
}

/// Why a line may differ.
fn explained(event: &str, theirs: &str, ours: &str) -> Option<&'static str> {
    if event == "kernel_stack" || theirs.contains(" kernel_stack: ") {
        // The format has eight addresses; trace-cmd reads them from whatever follows a shorter stack in the page.
        let ours_ends = ours.strip_suffix(']').is_some_and(|ours| theirs.starts_with(ours));
        if ours_ends || ours == "\t=> 0x0" {
            return Some("a stack of fewer than eight addresses ends with its record");
        }
    }
    if theirs.contains("timer_start: ") {
        let cut = |text: &str| text.split(" flags=").next().unwrap_or_default().to_owned();
        if cut(theirs) == cut(ours) {
            return Some("REC->flags & (a | b | c | d) is what C makes of it");
        }
    }
    if let Some((before, _)) = theirs.split_once(">c<")
        && ours.starts_with(before)
    {
        return Some("%c is a character, and what follows has its own argument");
    }
    // Arrays of probes have no length in their type, so trace-cmd repeats the first element or prints zeros.
    if without(theirs, '{', '}') == without(ours, '{', '}') && ours.contains('{') {
        return Some("an array of a probe has all its elements");
    }
    if theirs.ends_with(&format!("{0}{0}", ours.rsplit('=').next().unwrap_or_default())) {
        return Some("an array of characters without an end has its length");
    }
    None
}

#[test]
fn recordings_are_printed_as_trace_cmd_prints_them() {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lines = 0;
    for name in recordings().into_iter().filter(|name| name.contains('/')) {
        // Call graphs were printed with trace-cmd's own words by all settings.
        let graph = name.contains("graph");
        let kinds: [(&str, Settings); 4] = [
            ("report", Settings { plugins: graph, ..Settings::default() }),
            ("report-plugins", Settings::default()),
            ("report-raw", Settings { raw: true, ..plain() }),
            ("report-latency", Settings { latency: true, plugins: graph, ..Settings::default() }),
        ];
        for (kind, settings) in kinds {
            let Some(expected) = fixture(&format!("{name}.{kind}.txt")) else {
                assert!(kind == "report-plugins" && graph, "{name}.{kind}");
                continue;
            };
            let recording = open(fixture(&format!("{name}.dat")).expect("fixture"), &name);
            let found = print(vec![recording], &settings);
            lines += expected.split(|&byte| byte == b'\n').count();
            for (reason, count) in compare(&format!("{name}.{kind}"), &expected, &found) {
                *reasons.entry(reason).or_default() += count;
            }
        }
    }
    assert!(lines > 8000, "{lines}");
    insta::assert_debug_snapshot!("recordings_differ", reasons);
}

#[test]
fn minimal_files_are_printed_as_trace_cmd_prints_them() {
    for kind in ["v6", "v7-none", "v7-zstd"] {
        for (text, settings) in [("report", plain()), ("report-plugins", Settings::default())] {
            let name = format!("minimal-{kind}");
            let recording = open(fixture(&format!("{name}.dat")).expect("fixture"), &name);
            let expected = fixture(&format!("minimal.{text}.txt")).expect("fixture");
            assert!(compare(&name, &expected, &print(vec![recording], &settings)).is_empty());
        }
    }
}

/// Recordings of the kernel's pages, with what trace-cmd made of them: functions, call graphs, stacks, interrupts,
/// probes, markers, lost events, and many events of all parts of the kernel.
#[test]
fn pages_of_the_kernel_are_printed_as_trace_cmd_prints_them() {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let mut count = 0;
    for entry in std::fs::read_dir(data().join("raw")).expect("raw").flatten() {
        let file = entry.file_name().into_string().expect("name");
        let Some(name) = file.strip_suffix(".dat.zst") else { continue };
        count += 1;
        for (kind, settings) in [
            ("N", plain()),
            ("P", Settings::default()),
            ("R", Settings { raw: true, ..plain() }),
            ("L", Settings { latency: true, ..Settings::default() }),
        ] {
            let recording = open(fixture(&format!("raw/{name}.dat")).expect("fixture"), name);
            let expected = fixture(&format!("raw/{name}.{kind}")).expect("fixture");
            let found = print(vec![recording], &settings);
            for (reason, lines) in compare(&format!("{name}.{kind}"), &expected, &found) {
                *reasons.entry(reason).or_default() += lines;
            }
        }
    }
    assert_eq!(count, 11);
    insta::assert_debug_snapshot!("pages_differ", reasons);
}

/// A record of every event that a kernel has, with made-up values: their raw fields are equal, and their texts are but
/// for the events of this list.
#[test]
fn every_event_of_a_kernel_is_printed_as_trace_cmd_prints_it() {
    let mut differing = Vec::new();
    for (kind, settings) in
        [("R", Settings { raw: true, ..plain() }), ("N", plain()), ("P", Settings::default())]
    {
        let recording = open(fixture("every/6.12.dat").expect("fixture"), "every");
        let expected =
            String::from_utf8(fixture(&format!("every/6.12.{kind}")).expect("fixture")).expect("text");
        let found = String::from_utf8(print(vec![recording], &settings)).expect("text");
        assert!(expected.lines().count() > 1500);
        let mut lists: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        assert_eq!(expected.lines().count(), found.lines().count());
        for (theirs, ours) in expected.lines().zip(found.lines()) {
            if theirs != ours {
                let event = ours.split_whitespace().nth(3).unwrap_or_default().trim_end_matches(':');
                lists.entry(made_up(kind, theirs, ours)).or_default().push(event.to_owned());
            }
        }
        differing.push((kind, lists));
    }
    insta::assert_debug_snapshot!("every_event", differing);
}

/// Why the text of an event with made-up values differs.
fn made_up(kind: &str, theirs: &str, ours: &str) -> &'static str {
    let sign = |text: &str| text.replace("0xffffffff", "0x").replace("0x0", "0x");
    let spaces = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    if kind == "R" || theirs.contains("[FAILED TO PARSE]") {
        "trace-cmd cannot work out the print fmt"
    } else if theirs.contains(">c<") {
        "%c is a character"
    } else if sign(theirs) == sign(ours) {
        "a negative number in a list of names has all its bits"
    } else if spaces(theirs) == spaces(ours) {
        "a width counts for numbers in a list of names too"
    } else if theirs.contains("%.*s") {
        "%.*s is a text"
    } else {
        "an expression is what C makes of it, or an unknown name matches nothing"
    }
}

/// The recording as a version 7 file.
fn rewrite(recording: &Recording, compression: Compression) -> Vec<u8> {
    let header = Header { version: Version::V7, compression, ..recording.header.clone() };
    let mut writer = Writer::new(Cursor::new(Vec::new()), "memory", header).expect("new");
    writer.tables(&recording.tables).expect("tables");
    let mut options = Options::default();
    options.push(id::CPUCOUNT, recording.header.endian.put_u32(recording.cpu_count));
    writer.options(&options).expect("options");
    for buffer in &recording.buffers {
        let cpus = buffer.cpus.iter().map(|cpu| (cpu.cpu, recording.pages(buffer, cpu)));
        writer.buffer(&buffer.name, &buffer.clock, buffer.page_size, cpus).expect("buffer");
    }
    writer.finish().expect("finish").into_inner()
}

/// What we write opens in trace-cmd, and it prints what we print.
#[test]
fn what_we_write_is_printed_the_same_by_trace_cmd() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("written.dat");
    let path = path.to_str().expect("path");
    for name in recordings() {
        let recording = open(fixture(&format!("{name}.dat")).expect("fixture"), &name);
        for compression in [Compression::None, Compression::Zstd] {
            std::fs::write(path, rewrite(&recording, compression)).expect("write");
            for (args, settings) in [
                (vec!["-i", path], Settings::default()),
                (vec!["-N", "-t", "-i", path], Settings { nanoseconds: true, ..plain() }),
                (vec!["-l", "-i", path], Settings { latency: true, ..Settings::default() }),
            ] {
                let Some(expected) = trace_cmd(&args) else {
                    eprintln!("skipped: trace-cmd is not installed");
                    return;
                };
                let again = fathom_tracedat::open(path.as_ref()).expect("open");
                compare(&format!("{name} {compression:?}"), &expected, &print(vec![again], &settings));
            }
        }
    }
}

#[test]
fn several_files_are_merged_by_time() {
    let recording =
        |name: &str| open(fixture(&format!("{name}.dat")).expect("fixture"), &format!("dir/{name}.dat"));
    let two = vec![recording("6.12/v7-instances"), recording("6.12/v6-sched")];
    let text = String::from_utf8(print(two, &Settings::default())).expect("text");
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("two: ")).take(14).collect();
    insta::assert_snapshot!("several_files", lines.join("\n"));
}
