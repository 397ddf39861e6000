//! Damaged debug information: no panic, and an end in reasonable time.

use fathom_symbols::symfile::ModuleId;
use fathom_symbols::{Image, SymbolTable};
use fathom_types::Prototypes;
use fathom_types::debug_info::debug_file;
use std::time::{Duration, Instant};

const FILES: [&[u8]; 2] = [
    include_bytes!("../../../fuzz/corpus/prototypes/cpp"),
    include_bytes!("../../../fuzz/corpus/prototypes/rust"),
];

/// Bytes of debug sections: what is outside of them is others' business.
fn debug_ranges(image: &Image) -> Vec<std::ops::Range<usize>> {
    let debug = image.sections().iter().filter(|section| section.name.starts_with(".debug_"));
    debug.map(|section| section.offset as usize..(section.offset + section.size) as usize).collect()
}

fn read(bytes: Vec<u8>, symbols: &SymbolTable) -> usize {
    let Ok(image) = Image::parse(bytes) else { return 0 };
    let Ok(prototypes) = Prototypes::open(&image) else { return 0 };
    let file = debug_file(ModuleId::default(), symbols, Some(&prototypes));
    file.functions.iter().filter(|function| function.args.is_some()).count()
}

/// Rounds can be made more by the environment: `ROUNDS=100000`.
#[test]
fn changed_bytes() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(400);
    for file in FILES {
        let image = Image::parse(file.to_vec()).unwrap();
        let (ranges, symbols) = (debug_ranges(&image), image.symbols());
        let whole = read(file.to_vec(), &symbols);
        assert!(whole >= 3, "{whole}");
        let mut state = 1u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for round in 0..rounds {
            let mut bytes = file.to_vec();
            for _ in 0..=next(8) {
                let range = &ranges[next(ranges.len())];
                let at = range.start + next(range.len());
                bytes[at] = match next(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => bytes[at] ^ 1 << next(8),
                    _ => bytes[range.start + next(range.len())],
                };
            }
            let start = Instant::now();
            read(bytes, &symbols);
            assert!(start.elapsed() < Duration::from_secs(2), "round {round}: {:?}", start.elapsed());
        }
    }
}

#[test]
fn cut_sections() {
    for file in FILES {
        let image = Image::parse(file.to_vec()).unwrap();
        for range in debug_ranges(&image) {
            for cut in 0..8 {
                let mut bytes = file.to_vec();
                bytes[range.start + range.len() * cut / 8..range.end].fill(0);
                read(bytes, &image.symbols());
            }
        }
    }
}
