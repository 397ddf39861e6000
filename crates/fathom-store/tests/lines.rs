//! Source lines of traces that keep none: the modules have them, as long as they are the recorded ones.

use fathom_store::directory::{Directory, OpenOptions};
use fathom_store::{Info, Trace};
use fathom_symbols::Image;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "int leaf(int n)\n{\n  return n + 1;\n}\nint main(void)\n{\n  return leaf(-1);\n}\n";
const BASE: u64 = 0x10_0000;

fn program(dir: &Path) -> PathBuf {
    fs::write(dir.join("a.c"), SOURCE).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.current_dir(dir).args(["-g", "-O0", "-Wl,--build-id", "-o", "a", "a.c"]);
    assert!(gcc.status().unwrap().success());
    dir.join("a")
}

/// A trace of one call of a program that has, or had, that build id.
fn trace(dir: &Path, program: &Path, build_id: &str, leaf: u64) -> Directory {
    let path = dir.join(build_id);
    fs::create_dir(&path).unwrap();
    Info::default().write(&path.join("info")).unwrap();
    let task = format!(
        "SESS timestamp=1.0 pid=7 sid=0000000000000001 exename=\"{}\"\nTASK timestamp=1.0 tid=7 pid=7\n",
        program.display()
    );
    fs::write(path.join("task.txt"), task).unwrap();
    let map = format!(
        "{BASE:x}-{:x} r-xp 00000000 00:00 0  {} build-id:{build_id}\n",
        BASE + 0x10_0000,
        program.display()
    );
    fs::write(path.join("sid-0000000000000001.map"), map).unwrap();
    let symbols = format!(
        "# path name: {}\n# build-id: {build_id}\n{leaf:016x} T leaf\n{:016x} ? __sym_end\n",
        program.display(),
        leaf + 16
    );
    fs::write(path.join("a.sym"), symbols).unwrap();
    fs::write(path.join("7.dat"), [0; 16]).unwrap();
    Directory::open(&path, OpenOptions::default()).unwrap()
}

fn sources(trace: &Directory) -> Vec<(String, Option<String>)> {
    let mut all = Vec::new();
    trace.all_functions(true, &mut |function, source| {
        all.push((function.name.to_string(), source.map(str::to_owned)));
    });
    all
}

#[test]
fn the_module_says_what_the_trace_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let program = program(dir.path());
    let image = Image::open(&program).unwrap();
    let (id, leaf) = (image.build_id().unwrap(), image.symbols().by_name("leaf").unwrap().addr);

    let same = trace(dir.path(), &program, &id, leaf);
    assert_eq!(sources(&same), [("leaf".to_owned(), Some("a.c".to_owned()))]);
    let mut resolver = same.resolver(7);
    let function = resolver.resolve(5, BASE + leaf);
    assert_eq!(same.source_of(function).as_deref(), Some("a.c"));
    assert_eq!(same.line_of(function).map(|line| line.line), Some(1));
    // Behind the prologue.
    let place = resolver.place(5, BASE + leaf + 8);
    let line = place.line.map(|line| (line.file, line.line));
    assert_eq!((place.function, place.offset, line), (function, 8, Some(("a.c".to_owned(), 3))));

    let other = trace(dir.path(), &program, &"0".repeat(40), leaf);
    assert_eq!(sources(&other), [("leaf".to_owned(), None)]);
    let mut resolver = other.resolver(7);
    let function = resolver.resolve(5, BASE + leaf);
    assert_eq!((other.source_of(function), other.line_of(function)), (None, None));
    let place = resolver.place(5, BASE + leaf + 8);
    assert_eq!((place.function, place.offset, place.line), (function, 8, None));
}
