//! Whatever is written is read back, and whatever is read does not panic.

mod common;

use fathom_tracedat::report::{self, Input, Settings};
use fathom_tracedat::{
    Compression, Endian, Header, Options, Source, System, Tables, Version, Writer, id, open_source,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::io::Cursor;
use std::sync::Arc;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

fn tables() -> impl Strategy<Value = Tables> {
    let system = ("[a-z]{1,8}", vec(bytes(), 0..4)).prop_map(|(name, formats)| System { name, formats });
    (bytes(), bytes(), vec(bytes(), 0..4), vec(system, 0..4), bytes(), bytes(), bytes()).prop_map(
        |(header_page, header_event, ftrace_formats, systems, kallsyms, printk_formats, cmdlines)| Tables {
            header_page,
            header_event,
            ftrace_formats,
            systems,
            kallsyms,
            printk_formats,
            cmdlines,
        },
    )
}

/// Options that do not say where something is.
fn options() -> impl Strategy<Value = Options> {
    vec((prop_oneof![1_u16..3, 4_u16..8, 9_u16..16, 100_u16..200], bytes()), 0..6).prop_map(|list| {
        let mut options = Options::default();
        for (id, data) in list {
            options.push(id, data);
        }
        options
    })
}

/// CPUs with their pages, in 64 bytes each.
type Buffers = Vec<(String, String, Vec<(u32, Vec<u8>)>)>;

fn buffers() -> impl Strategy<Value = Buffers> {
    let pages = (1_usize..2500, any::<u8>()).prop_map(|(count, seed)| {
        (0..count * 64).map(|index| (index as u8).wrapping_mul(seed)).collect::<Vec<u8>>()
    });
    vec(("[a-z]{0,6}", "[a-z-]{0,6}", vec((0_u32..64, pages), 0..3)), 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_is_written_is_read_back(
        tables in tables(),
        options in options(),
        buffers in buffers(),
        compression in prop_oneof![Just(Compression::None), Just(Compression::Zstd), Just(Compression::Zlib)],
        endian in prop_oneof![Just(Endian::Little), Just(Endian::Big)],
    ) {
        let header = Header { version: Version::V7, endian, long_size: 8, page_size: 4096, compression };
        let mut writer = Writer::new(Cursor::new(Vec::new()), "memory", header.clone()).unwrap();
        writer.tables(&tables).unwrap();
        writer.options(&options).unwrap();
        for (name, clock, cpus) in &buffers {
            let cpus = cpus.iter().map(|(cpu, pages)| (*cpu, pages.as_slice()));
            writer.buffer(name, clock, 64, cpus).unwrap();
        }
        let source: Arc<dyn Source> = Arc::new(writer.finish().unwrap().into_inner());
        let read = open_source(&source, "memory").unwrap();
        prop_assert_eq!(&read.header, &header);
        prop_assert_eq!(&read.tables, &tables);
        let own: Vec<_> = read.options.list.iter().filter(|option| option.id != id::CPUCOUNT).collect();
        prop_assert_eq!(own, options.list.iter().collect::<Vec<_>>());
        let mut expected: Vec<_> = buffers.iter().collect();
        expected.sort_by_key(|(name, ..)| !name.is_empty());
        prop_assert_eq!(read.buffers.len(), expected.len());
        for (buffer, (name, clock, cpus)) in read.buffers.iter().zip(expected) {
            prop_assert_eq!((&buffer.name, &buffer.clock, buffer.page_size), (name, clock, 64));
            prop_assert_eq!(buffer.cpus.len(), cpus.len());
            for (cpu, (number, pages)) in buffer.cpus.iter().zip(cpus) {
                prop_assert_eq!(cpu.cpu, *number);
                let mut reader = read.pages(buffer, cpu);
                prop_assert_eq!(reader.unpacked_size().unwrap(), pages.len() as u64);
                let mut all = Vec::new();
                while let Some(page) = reader.next_page().unwrap() {
                    all.extend_from_slice(page);
                }
                prop_assert_eq!(&all, pages);
            }
        }
    }

    #[test]
    fn damaged_files_do_not_panic(
        file in prop_oneof![
            Just(&include_bytes!("../../../fuzz/corpus/tracedat/v6")[..]),
            Just(&include_bytes!("../../../fuzz/corpus/tracedat/v7-none")[..]),
            Just(&include_bytes!("../../../fuzz/corpus/tracedat/v7-zstd")[..]),
            Just(&include_bytes!("../../../fuzz/corpus/tracedat/v7-zlib")[..]),
        ],
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut bytes = file.to_vec();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        let source: Arc<dyn Source> = Arc::new(bytes);
        if let Ok(recording) = open_source(&source, "damaged") {
            let inputs = [Input::new(recording)];
            for settings in [Settings::default(), Settings { raw: true, ..Settings::default() }] {
                let _ = report::events(&inputs, &settings, &mut std::io::sink());
            }
        }
    }
}
