//! The corpora of the fuzz targets as ordinary tests: what once was an input stays one.

#[expect(unreachable_pub, reason = "a library there, a module here")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

#[test]
fn every_input_of_every_corpus_is_survived() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, run) in targets::TARGETS {
        let files: Vec<_> = std::fs::read_dir(root.join(name))
            .unwrap_or_else(|error| panic!("corpus of {name}: {error}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(!files.is_empty(), "the corpus of {name} is empty");
        for file in files {
            let data = std::fs::read(&file).unwrap();
            println!("{}", file.display());
            run(&data);
            // Cut and flipped, it is an input too.
            run(&data[..data.len() / 2]);
            for place in (0..data.len()).step_by(data.len() / 40 + 1) {
                let mut flipped = data.clone();
                flipped[place] ^= 0x81;
                run(&flipped);
            }
        }
    }
}

#[test]
fn every_target_has_its_file() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut files: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let names: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(files, names);
}
