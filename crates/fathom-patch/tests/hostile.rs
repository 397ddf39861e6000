//! Damaged files are analysed without a panic, and whole ones as they should be.

use fathom_patch::{Options, Refusal, analyse};
use fathom_symbols::Image;
use proptest::prelude::*;
use std::fmt::Write as _;

const LIBRARY: &[u8] = include_bytes!("../../../fuzz/corpus/patch/library");
const PROGRAM: &[u8] = include_bytes!("../../../fuzz/corpus/patch/program");
const STRIPPED: &[u8] = include_bytes!("../../../fuzz/corpus/patch/stripped");

fn run(bytes: Vec<u8>) {
    if let Ok(image) = Image::parse(bytes) {
        let analysis = analyse(&image, &Options { threads: 1 });
        for function in &analysis.functions {
            if let Ok(site) = &function.verdict {
                assert_eq!(image.data_at(site.at, site.original.len() as u64), Some(&site.original[..]));
                assert!(site.original.len() >= site.written());
            }
        }
    }
}

/// Each function with what was decided.
fn decided(bytes: &[u8]) -> String {
    let image = Image::parse(bytes.to_vec()).unwrap();
    let symbols = image.symbols();
    let mut text = String::new();
    for function in &analyse(&image, &Options { threads: 1 }).functions {
        let name = symbols.find(function.start).map_or("", |symbol| symbol.name);
        let _ = write!(text, "{:x}..{:x} {name}: ", function.start, function.end);
        let _ = match &function.verdict {
            Ok(site) => {
                writeln!(text, "{} bytes, island {:x?}", site.original.len(), site.island.map(|i| i.at))
            }
            Err(reason) => writeln!(text, "{}", reason.name()),
        };
    }
    text
}

#[test]
fn a_small_program() {
    insta::assert_snapshot!("program", decided(PROGRAM));
    insta::assert_snapshot!("stripped", decided(STRIPPED));
    insta::assert_snapshot!("library", decided(LIBRARY));
}

#[test]
fn other_files_are_refused() {
    let mut other = PROGRAM.to_vec();
    // e_machine: aarch64.
    other[18..20].copy_from_slice(&183u16.to_le_bytes());
    let image = Image::parse(other).unwrap();
    assert_eq!(analyse(&image, &Options::default()).refused, Some(Refusal::Machine));
}

proptest! {
    #[test]
    fn damage_is_survived(which in 0usize..3, at in any::<proptest::sample::Index>(), value in any::<u8>(), cut in any::<proptest::sample::Index>()) {
        let mut bytes = [LIBRARY, PROGRAM, STRIPPED][which].to_vec();
        let place = at.index(bytes.len());
        bytes[place] = value;
        run(bytes.clone());
        bytes.truncate(cut.index(bytes.len()));
        run(bytes);
    }
}
