//! Mistakes in filters, triggers, argument specs and events: the message names the part that is wrong, and the nearest
//! right word where there is one.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The command's words, what its message must contain.
type Row = (&'static [&'static str], &'static [&'static str]);

/// A directory with a recording in it.
fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("fathom.data");
    fs::create_dir(&target).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/toy.data");
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
    }
    fs::write(
        dir.path().join("work.c"),
        "int work(int n) { return n; }\nint main(void) { return work(0); }\n",
    )
    .unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-pg", "-O0", "-o", "instrumented", "work.c"]).current_dir(dir.path());
    assert!(cc.status().expect("cc is installed").success());
    dir
}

/// What a command says: exit code and standard error.
fn said(dir: &Path, words: &[&str]) -> (i32, String) {
    // The recording that is read stays.
    let place: &[&str] = if words[0] == "record" { &["-d", "made"] } else { &[] };
    let output = Command::new(env!("CARGO_BIN_EXE_fathom"))
        .current_dir(dir)
        .args(place)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Those of the rows whose message lacks something, with the message.
fn wrong(rows: &[Row], code: i32) -> String {
    let dir = place();
    let mut wrong = String::new();
    for (words, parts) in rows {
        let (found, text) = said(dir.path(), words);
        let missing: Vec<_> = parts.iter().filter(|part| !text.contains(**part)).collect();
        if found != code || !missing.is_empty() {
            wrong.push_str(&format!("{words:?}: {found}, lacks {missing:?}: {text}\n"));
        }
    }
    wrong
}

#[test]
fn the_part_that_is_wrong_is_named() {
    let rows: &[Row] = &[
        (&["record", "-A", "f@arg0", "./instrumented"], &["-A", "f@arg0", "arg0", "1"]),
        (&["record", "-A", "f@arg1/i7", "./instrumented"], &["-A", "i7", "8"]),
        (&["record", "-A", "f@arg1/q", "./instrumented"], &["-A", "arg1/q"]),
        (&["record", "-A", "work@arg1%rdq", "./instrumented"], &["-A", "rdq"]),
        (&["record", "-A", "work@art1", "./instrumented"], &["-A", "art1"]),
        (&["record", "-R", "work@retvla", "./instrumented"], &["-R", "retvla"]),
        (&["record", "-T", "f@dpeth=1", "./instrumented"], &["-T", "dpeth=1", "depth"]),
        (&["record", "-T", "f@depth=x", "./instrumented"], &["-T", "depth=x"]),
        (&["record", "-T", "f@time=1parsec", "./instrumented"], &["-T", "1parsec"]),
        (&["record", "-T", "f@color=gren", "./instrumented"], &["-T", "gren", "green"]),
        (&["record", "-T", "f@read=proc/stat", "./instrumented"], &["-T", "proc/stat", "proc/statm"]),
        (&["record", "-T", "f@trace_of", "./instrumented"], &["-T", "trace_of", "trace_off"]),
        (&["record", "-F", "f@if:arg1 = 3", "./instrumented"], &["-F", "arg1 = 3", "=="]),
        (&["record", "-F", "f(", "./instrumented"], &["-F", "f("]),
        (&["record", "--signal", "SIGUSER1@finish", "./instrumented"], &["--signal", "SIGUSER1", "USR1"]),
        (&["record", "--signal", "SIGUSR1@stop", "./instrumented"], &["--signal", "stop"]),
        (&["record", "-W", "cpus", "./instrumented"], &["-W", "cpus", "cpu"]),
        (&["record", "-t", "1lightyear", "./instrumented"], &["--time-filter", "1lightyear"]),
        (&["record", "-D", "0", "./instrumented"], &["--depth", "0"]),
        (&["record", "--trace=of", "./instrumented"], &["--trace", "of", "off"]),
        (&["record", "--max-stack=0", "./instrumented"], &["--max-stack", "0", "65535"]),
        (&["record", "--clock=tai", "./instrumented"], &["--clock", "tai", "mono"]),
        (&["record", "--rt-prio=100", "./instrumented"], &["--rt-prio", "100", "99"]),
        (&["replay", "-T", "leaf@dpeth=1"], &["-T", "dpeth=1", "depth"]),
        (&["replay", "-F", "leaf["], &["-F", "leaf["]),
        (&["replay", "-t", "1lightyear"], &["--time-filter", "1lightyear"]),
        (&["replay", "-r", "1us~2"], &["--time-range", "1us~2"]),
        (&["replay", "--tid", "x"], &["--tid", "x"]),
        (&["replay", "--opt-file", "nowhere.opts"], &["--opt-file", "nowhere.opts"]),
    ];
    let wrong = wrong(rows, 1);
    assert!(wrong.is_empty(), "{wrong}");
}

/// No mistake of the grammar: the rest is shown, and what had no effect is named.
#[test]
fn an_unmatched_filter_names_what_is_there() {
    let rows: &[Row] = &[
        (&["record", "-F", "wrok", "./instrumented"], &["-F", "wrok", "work"]),
        (&["record", "-A", "wrok@arg1", "./instrumented"], &["-A", "wrok", "work"]),
        // What is no item of the option is the name of a module.
        (&["record", "-E", "linux:shedule", "./instrumented"], &["-E", "linux:shedule", "linux:schedule"]),
        (&["replay", "-F", "leef"], &["-F", "leef", "leaf"]),
        (&["replay", "-N", "leef"], &["-N", "leef", "leaf"]),
        (&["report", "-T", "mian@depth=1"], &["-T", "mian", "main"]),
        (&["graph", "-C", "leef"], &["-C", "leef", "leaf"]),
        (&["replay", "-H", "leef"], &["-H", "leef", "leaf"]),
    ];
    let wrong = wrong(rows, 0);
    assert!(wrong.is_empty(), "{wrong}");
}
