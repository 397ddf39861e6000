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

/// What is found without section headers, which nothing but linkers and debuggers need, is no more than what is found with them.
#[test]
fn unwind_information_is_found_without_sections() {
    let patched = |bytes: &[u8]| {
        let image = Image::parse(bytes.to_vec()).unwrap();
        let analysis = analyse(&image, &Options { threads: 1 });
        let sites = analysis.functions.into_iter().filter_map(|function| function.verdict.ok());
        sites.map(|site| site.at).collect::<Vec<_>>()
    };
    let mut bare = LIBRARY.to_vec();
    // e_shoff; e_shentsize, e_shnum, e_shstrndx.
    bare[0x28..0x30].fill(0);
    bare[0x3a..0x40].fill(0);
    let (with, without) = (patched(LIBRARY), patched(&bare));
    // One function has a name that is lost with the sections, and is called by none.
    assert_eq!((with.len(), without.len()), (4, 3));
    // No stub of a library call is taken for a function.
    assert!(without.iter().all(|at| with.contains(at)), "{with:x?} {without:x?}");
}

/// One frame with a row for each byte, and a symbol at each: every one of them asks for the rule there.
#[test]
fn many_rows_for_many_functions_take_no_longer() {
    const COUNT: usize = 60_000;
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::from(".text\n.globl first\nfirst:\n.cfi_startproc\n");
    for index in 0..COUNT {
        let _ = writeln!(
            text,
            "f{index}: .type f{index},@function\npop %rax\n.cfi_def_cfa_offset {}",
            8 + index % 2 * 8
        );
    }
    text.push_str("ret\n.cfi_endproc\n");
    std::fs::write(dir.path().join("a.s"), text).unwrap();
    let mut gcc = std::process::Command::new("gcc");
    gcc.args(["-shared", "-nostdlib", "-o", "a.so", "a.s"]).current_dir(dir.path());
    assert!(gcc.status().expect("the tests need gcc").success());
    let image = Image::open(dir.path().join("a.so")).unwrap();
    let begin = std::time::Instant::now();
    let analysis = analyse(&image, &Options { threads: 1 });
    assert!(analysis.functions.len() >= COUNT);
    assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
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
