//! Damaged files: every function ends soon and without a panic, whatever the bytes are.

mod support;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fathom_symbols::elf::Image;
use fathom_symbols::lines::SourceMap;
use proptest::prelude::*;
use support::{Build, PROBES, PROGRAM};

/// Asks everything that can be asked of an image.
fn exercise(bytes: Vec<u8>) {
    let Ok(image) = Image::parse(bytes) else { return };
    let _ = (image.kind(), image.is_dynamic(), image.binds_now(), image.relro(), image.interpreter());
    let _ = (image.soname(), image.needed(), image.build_id(), image.entry(), image.link_base());
    let slots = image.plt_slots();
    let table = image.symbols_with(&slots);
    let _ = (image.instrumentation(), image.sdt_probes());
    for symbol in table.iter().take(20) {
        let _ =
            (table.find(symbol.addr), table.by_name(symbol.name), image.data_at(symbol.addr, symbol.size));
    }
    if let Ok(map) = SourceMap::open(&image) {
        for symbol in table.iter().take(20) {
            let _ = (map.function(symbol.addr), map.address(symbol.addr));
        }
    }
}

/// Files of each kind of link, small, with and without debug information.
fn samples() -> &'static [Vec<u8>] {
    static SAMPLES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let build = Build::new();
        build.source("a.c", &format!("{PROBES}\n{PROGRAM}"));
        let options = [
            "-g -pg -fpatchable-function-entry=5",
            "-g -gdwarf-4 -no-pie -fno-plt -Wl,-z,ibtplt",
            "-s -Wl,-z,pack-relative-relocs -Wl,--hash-style=sysv",
            "-g -gz -m64 -shared -fPIC",
        ];
        let mut samples: Vec<_> = options
            .iter()
            .map(|options| {
                let path = build.compile(&format!("gcc -O1 -fno-builtin a.c {options}"), "a");
                std::fs::read(path).unwrap()
            })
            .collect();
        build.compile("gcc -O1 -fno-inline -rdynamic a.c", "a");
        build.run("objcopy --only-keep-debug a a.debug");
        build.run("xz -f a.debug");
        build.run("objcopy --strip-all --add-section .gnu_debugdata=a.debug.xz a b");
        samples.push(std::fs::read(build.path().join("b")).unwrap());
        samples
    })
}

#[test]
fn whole_files_first() {
    for sample in samples() {
        let image = Image::parse(sample.clone()).unwrap();
        assert!(image.symbols().len() > 3);
        assert!(image.plt_slots().iter().filter(|slot| slot.called).count() > 3);
        exercise(sample.clone());
    }
}

#[test]
fn truncated_files() {
    let started = Instant::now();
    for sample in samples() {
        for len in (0..300).chain((300..sample.len()).step_by(97)) {
            exercise(sample[..len].to_vec());
        }
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

/// Every field of the file, program and section headers and of the dynamic section in turn: zero, huge, off by one.
#[test]
fn wrong_header_fields() {
    for sample in samples() {
        let image = Image::parse(sample.clone()).unwrap();
        let headers = 64 + 56 * image.segments().len();
        let dynamic = image.section(".dynamic").unwrap();
        let table = sample.len() - 64 * image.sections().len();
        let places = (0..headers)
            .step_by(4)
            .chain((dynamic.offset as usize..(dynamic.offset + dynamic.size) as usize).step_by(8))
            .chain((table & !7..sample.len() - 8).step_by(8));
        for at in places {
            for value in [0u32, 1, 0x7fff_ffff, u32::MAX, sample.len() as u32] {
                let mut bytes = sample.clone();
                let end = (at + 4).min(bytes.len());
                bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
                exercise(bytes);
            }
        }
    }
}

/// A small file whose symbols all have the same very long name.
#[test]
fn names_do_not_multiply() {
    let sample = &samples()[0];
    let image = Image::parse(sample.clone()).unwrap();
    let (symtab, strtab) = (image.section(".symtab").unwrap(), image.section(".strtab").unwrap());
    let table = sample.len() - 64 * image.sections().len();
    let number = |section| image.sections().iter().position(|other| other == section).unwrap();
    let mut bytes = sample.clone();
    // 4 MB of names and as many symbols as fit into another 4 MB, behind the file.
    let (names, symbols) = (bytes.len(), bytes.len() + (4 << 20));
    bytes.resize(symbols, b'n');
    let mut symbol = [0u8; 24];
    symbol[4] = 2;
    symbol[6] = 1;
    symbol[16] = 1;
    for addr in 0..(4u64 << 20) / 24 {
        symbol[8..16].copy_from_slice(&(addr * 16).to_le_bytes());
        bytes.extend(symbol);
    }
    let mut place = |section, offset: usize, size: usize| {
        let header = table + 64 * number(section);
        bytes[header + 24..header + 32].copy_from_slice(&(offset as u64).to_le_bytes());
        bytes[header + 32..header + 40].copy_from_slice(&(size as u64).to_le_bytes());
    };
    place(strtab, names, 4 << 20);
    place(symtab, symbols, (4 << 20) / 24 * 24);
    let image = Image::parse(bytes).unwrap();
    let table = image.symbols();
    let total: usize = table.iter().map(|symbol| symbol.name.len()).sum();
    assert!(table.len() > 100 && total < 40 << 20, "{} symbols, {total} bytes", table.len());
}

/// Functions that begin so high that their size leads past the end of the address space.
#[test]
fn functions_at_the_end_of_memory() {
    let sample = &samples()[1];
    let image = Image::parse(sample.clone()).unwrap();
    let section = image.section(".debug_info").unwrap();
    let debug = section.offset as usize..(section.offset + section.size) as usize;
    let (mut bytes, mut moved) = (sample.clone(), 0);
    for symbol in image.symbols().iter() {
        let start = (image.link_base() + symbol.addr).to_le_bytes();
        for at in debug.start..debug.end - 8 {
            if sample[at..at + 8] == start {
                bytes[at..at + 8].copy_from_slice(&(u64::MAX - 1).to_le_bytes());
                moved += 1;
            }
        }
    }
    assert!(moved > 3, "{moved}");
    exercise(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn flipped_bits(
        sample in 0usize..5,
        places in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..12),
    ) {
        let mut bytes = samples()[sample].clone();
        let len = bytes.len();
        for (place, bit) in places {
            bytes[place.index(len)] ^= 1 << bit;
        }
        exercise(bytes);
    }

    #[test]
    fn damaged_debug_information(
        sample in 0usize..2,
        places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = samples()[sample].clone();
        let image = Image::parse(bytes.clone()).unwrap();
        let debug = image.sections().iter().filter(|section| section.name.starts_with(".debug_"));
        let debug: Vec<_> = debug.flat_map(|section| section.offset..section.offset + section.size).collect();
        for (place, byte) in places {
            bytes[debug[place.index(debug.len())] as usize] = byte;
        }
        exercise(bytes);
    }

    #[test]
    fn overwritten_words(
        sample in 0usize..5,
        places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..6),
    ) {
        let mut bytes = samples()[sample].clone();
        let len = bytes.len() - 4;
        for (place, word) in places {
            let at = place.index(len);
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        exercise(bytes);
    }

    #[test]
    fn garbage(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), class in 1u8..3, order in 1u8..3) {
        let start = [0x7f, b'E', b'L', b'F', class, order, 1];
        let len = start.len().min(bytes.len());
        bytes[..len].copy_from_slice(&start[..len]);
        exercise(bytes);
    }
}
