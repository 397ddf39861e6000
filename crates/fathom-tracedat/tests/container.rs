//! Files are read whole, and what is written is read back the same: by this crate and by trace-cmd.

mod common;

use common::{fixture, open, recordings, trace_cmd};
use fathom_tracedat::{
    Compression, Header, Machine, Options, RawOption, Recording, Spool, Tables, Version, Writer, id, recover,
};
use std::io::Cursor;

/// All pages of a recording: buffer, CPU, pages one after another.
fn pages(recording: &Recording) -> Vec<(String, u32, Vec<u8>)> {
    let mut all = Vec::new();
    for buffer in &recording.buffers {
        for cpu in &buffer.cpus {
            let mut pages = recording.pages(buffer, cpu);
            let mut bytes = Vec::new();
            while let Some(page) = pages.next_page().expect("pages") {
                assert_eq!(page.len(), buffer.page_size as usize);
                bytes.extend_from_slice(page);
            }
            assert_eq!(pages.incomplete_bytes(), 0);
            // A CPU without pages is not written.
            if !bytes.is_empty() {
                all.push((buffer.name.clone(), cpu.cpu, bytes));
            }
        }
    }
    all
}

/// The options but the number of CPUs, which version 6 has elsewhere.
fn own_options(recording: &Recording) -> Vec<RawOption> {
    recording.options.list.iter().filter(|option| option.id != id::CPUCOUNT).cloned().collect()
}

/// The recording as a version 7 file.
fn rewrite(recording: &Recording, compression: Compression) -> Vec<u8> {
    let header = Header { version: Version::V7, compression, ..recording.header.clone() };
    let mut writer = Writer::new(Cursor::new(Vec::new()), "memory", header).expect("new");
    writer.tables(&recording.tables).expect("tables");
    let mut options = Options { list: own_options(recording) };
    options.push(id::CPUCOUNT, recording.header.endian.put_u32(recording.cpu_count));
    writer.options(&options).expect("options");
    let all = pages(recording);
    for buffer in &recording.buffers {
        let own = all.iter().filter(|(name, ..)| *name == buffer.name);
        let cpus = own.map(|(_, cpu, pages)| (*cpu, pages.as_slice()));
        writer.buffer(&buffer.name, &buffer.clock, buffer.page_size, cpus).expect("buffer");
    }
    writer.finish().expect("finish").into_inner()
}

#[test]
fn fixtures_are_read_whole() {
    for name in recordings() {
        let recording = open(fixture(&format!("{name}.dat")).expect("fixture"), &name);
        assert!(!recording.tables.header_page.is_empty(), "{name}");
        assert!(recording.tables.ftrace_formats.len() > 10, "{name}");
        assert_eq!(recording.cpu_count, 2, "{name}");
        assert_eq!(recording.kernel_long_size(), 8, "{name}");
        let pages = pages(&recording);
        assert!(pages.iter().any(|(.., bytes)| !bytes.is_empty()), "{name}");
        if name.contains("instances") {
            assert_eq!(recording.buffers.len(), if name.contains("v6") { 2 } else { 3 }, "{name}");
            assert_eq!(recording.buffers[0].name, "", "{name}");
        }
    }
}

#[test]
fn what_is_written_is_read_back() {
    for name in recordings() {
        let recording = open(fixture(&format!("{name}.dat")).expect("fixture"), &name);
        for compression in [Compression::None, Compression::Zstd, Compression::Zlib] {
            let again = open(rewrite(&recording, compression), &name);
            assert_eq!(again.header.compression, compression, "{name}");
            assert_eq!(again.tables, recording.tables, "{name}");
            assert_eq!(own_options(&again), own_options(&recording), "{name}");
            assert_eq!(pages(&again), pages(&recording), "{name}");
        }
    }
}

#[test]
fn trace_cmd_prints_what_we_write_as_it_prints_the_original() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (original, written) = (dir.path().join("original.dat"), dir.path().join("written.dat"));
    let (original, written) = (original.to_str().expect("path"), written.to_str().expect("path"));
    for name in recordings() {
        let bytes = fixture(&format!("{name}.dat")).expect("fixture");
        std::fs::write(original, &bytes).expect("write");
        let Some(expected) = trace_cmd(&["-i", original]) else {
            eprintln!("skipped: trace-cmd is not installed");
            return;
        };
        for compression in [Compression::None, Compression::Zstd] {
            std::fs::write(written, rewrite(&open(bytes.clone(), &name), compression)).expect("write");
            let found = trace_cmd(&["-i", written]).expect("trace-cmd");
            assert!(found == expected, "{name} {compression:?}:\n{}", String::from_utf8_lossy(&found));
        }
    }
}

#[test]
fn a_spool_is_a_recording_and_becomes_a_file() {
    let dir = tempfile::tempdir().expect("tempdir");
    for name in recordings() {
        let recording = open(fixture(&format!("{name}.dat")).expect("fixture"), &name);
        let spool_dir = dir.path().join("spool");
        let machine = Machine {
            endian: recording.header.endian,
            long_size: recording.header.long_size,
            page_size: recording.header.page_size,
            cpu_count: recording.cpu_count,
        };
        let mut spool =
            Spool::create(&spool_dir, machine, &recording.tables, &Options::default()).expect("spool");
        for buffer in &recording.buffers {
            let place = spool.buffer(&buffer.name, &buffer.clock, buffer.page_size).expect("buffer");
            for (_, cpu, bytes) in pages(&recording).iter().filter(|(name, ..)| *name == buffer.name) {
                std::io::Write::write_all(&mut place.cpu(*cpu).expect("cpu"), bytes).expect("write");
            }
        }
        spool.update(&recording.tables, &recording.options).expect("update");
        spool.update_cmdlines(b"1 init\n").expect("cmdlines");
        let spooled = fathom_tracedat::open(&spool_dir).expect("open");
        assert_eq!(pages(&spooled), pages(&recording), "{name}");
        assert_eq!(spooled.tables.cmdlines, b"1 init\n");
        let (recovered, finished) = (dir.path().join("recovered"), dir.path().join("finished"));
        recover(&spool_dir, &recovered, Compression::Zstd).expect("recover");
        let tables = Tables { cmdlines: spooled.tables.cmdlines.clone(), ..recording.tables.clone() };
        let written =
            spool.finish(&tables, &recording.options, &finished, Compression::Zstd).expect("finish");
        assert!(written.pages > 0 && written.incomplete_bytes == 0, "{name}");
        assert!(!spool_dir.exists());
        assert_eq!(std::fs::read(&recovered).expect("read"), std::fs::read(&finished).expect("read"));
        let again = fathom_tracedat::open(&finished).expect("open");
        assert_eq!(pages(&again), pages(&recording), "{name}");
        assert_eq!(own_options(&again), own_options(&recording), "{name}");
    }
}

#[test]
fn a_page_that_a_killed_recorder_did_not_finish_is_counted() {
    let dir = tempfile::tempdir().expect("tempdir");
    let recording = open(fixture("6.12/v7-sched-zstd.dat").expect("fixture"), "sched");
    let all = pages(&recording);
    let machine = Machine { endian: recording.header.endian, long_size: 8, page_size: 4096, cpu_count: 2 };
    let spool_dir = dir.path().join("spool");
    let mut spool = Spool::create(&spool_dir, machine, &recording.tables, &recording.options).expect("spool");
    let place = spool.buffer("", "local", 4096).expect("buffer");
    for (_, cpu, bytes) in &all {
        let mut torn = bytes.clone();
        torn.extend_from_slice(&bytes[..1000]);
        std::fs::write(place.cpu_path(*cpu), torn).expect("write");
    }
    drop(spool);
    let out = dir.path().join("out");
    let written = recover(&spool_dir, &out, Compression::Zstd).expect("recover");
    assert_eq!(written.incomplete_bytes, 1000 * all.len() as u64);
    assert_eq!(pages(&fathom_tracedat::open(&out).expect("open")), all);
}

/// Every byte changed in turn (a stride through large files), and every length: an error or a recording.
#[test]
fn damaged_files_are_refused_or_read() {
    for name in ["6.12/v7-sched-zstd", "6.12/v6-sched", "6.12/v7-instances"] {
        let bytes = fixture(&format!("{name}.dat")).expect("fixture");
        let stride = (bytes.len() / 400).max(1);
        for position in (0..bytes.len()).step_by(stride).chain(0..64) {
            let mut changed = bytes.clone();
            changed[position] ^= 0xff;
            drain(changed);
            drain(bytes[..position].to_vec());
        }
    }
}

fn drain(bytes: Vec<u8>) {
    let source: std::sync::Arc<dyn fathom_tracedat::Source> = std::sync::Arc::new(bytes);
    let Ok(recording) = fathom_tracedat::open_source(&source, "damaged") else { return };
    for buffer in &recording.buffers {
        for cpu in &buffer.cpus {
            let mut pages = recording.pages(buffer, cpu);
            while let Ok(Some(_)) = pages.next_page() {}
        }
    }
}
