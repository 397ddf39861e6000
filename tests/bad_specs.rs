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
    dir
}

/// What a command says: exit code and standard error.
fn said(dir: &Path, words: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_fathom"))
        .current_dir(dir)
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
        (&["record", "-A", "f@arg0", "/bin/true"], &["--argument", "f@arg0", "arg0", "1"]),
        (&["record", "-A", "f@arg1/i7", "/bin/true"], &["--argument", "i7", "8"]),
        (&["record", "-A", "f@arg1/q", "/bin/true"], &["--argument", "arg1/q"]),
        (&["record", "-A", "f@art1", "/bin/true"], &["--argument", "art1", "arg1"]),
        (&["record", "-A", "f@arg1%rdq", "/bin/true"], &["--argument", "rdq"]),
        (&["record", "-R", "f@retvla", "/bin/true"], &["--retval", "retvla", "retval"]),
        (&["record", "-T", "f@dpeth=1", "/bin/true"], &["--trigger", "dpeth=1", "depth"]),
        (&["record", "-T", "f@depth=x", "/bin/true"], &["--trigger", "depth=x"]),
        (&["record", "-T", "f@time=1parsec", "/bin/true"], &["--trigger", "1parsec"]),
        (&["record", "-T", "f@color=gren", "/bin/true"], &["--trigger", "gren", "green"]),
        (&["record", "-T", "f@read=proc/stat", "/bin/true"], &["--trigger", "proc/stat", "proc/statm"]),
        (&["record", "-T", "f@trace_of", "/bin/true"], &["--trigger", "trace_of", "trace_off"]),
        (&["record", "-F", "f@if:arg1 = 3", "/bin/true"], &["--filter", "arg1 = 3", "=="]),
        (&["record", "-F", "f(", "/bin/true"], &["--filter", "f("]),
        (&["record", "-E", "linux:shedule", "/bin/true"], &["--event", "linux:shedule", "linux:schedule"]),
        (&["record", "--signal", "SIGUSER1@finish", "/bin/true"], &["--signal", "SIGUSER1", "SIGUSR1"]),
        (&["record", "--signal", "SIGUSR1@stop", "/bin/true"], &["--signal", "stop"]),
        (&["record", "-W", "cpus", "/bin/true"], &["--watch", "cpus", "cpu"]),
        (&["record", "-t", "1lightyear", "/bin/true"], &["--time-filter", "1lightyear"]),
        (&["record", "-D", "0", "/bin/true"], &["--depth", "0"]),
        (&["record", "--trace=of", "/bin/true"], &["--trace", "of", "off"]),
        (&["record", "--max-stack=0", "/bin/true"], &["--max-stack", "0", "65535"]),
        (&["record", "--clock=tai", "/bin/true"], &["--clock", "tai", "mono"]),
        (&["record", "--rt-prio=100", "/bin/true"], &["--rt-prio", "100", "99"]),
        (&["replay", "-T", "leaf@dpeth=1"], &["--trigger", "dpeth=1", "depth"]),
        (&["replay", "-F", "leaf["], &["--filter", "leaf["]),
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
        (&["replay", "-F", "leef"], &["--filter", "leef", "leaf"]),
        (&["replay", "-N", "leef"], &["--notrace", "leef", "leaf"]),
        (&["report", "-T", "mian@depth=1"], &["--trigger", "mian", "main"]),
        (&["graph", "-C", "leef"], &["--caller-filter", "leef", "leaf"]),
        (&["replay", "-H", "leef"], &["--hide", "leef", "leaf"]),
    ];
    let wrong = wrong(rows, 0);
    assert!(wrong.is_empty(), "{wrong}");
}
