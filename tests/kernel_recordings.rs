//! Recordings of user space and kernel together, made by uftrace 0.13 on two kernels, and what it shows of them.
//!
//! Each archive has a data directory and the peer's texts, named by the words of the command. The snapshots have what is
//! different here; where there is nothing, the texts are equal byte by byte. What is different is the peer's:
//!
//! - It lists calls of the kernel that never returned (`do_exit`) among the remaining functions, and counts them in reports
//!   and graphs, also where it hides them since no function of the program was open.
//! - After a task's last record of its own, it shows what the task did in the kernel under another task.
//! - After a loss it goes on with calls that have long ended, and depths run away.
//! - A call whose only callees are hidden by a filter stays on two lines.
//! - Where the task came back to a processor in the middle of the kernel's switching, time off it ends sooner or later.

mod common;

use common::unpack;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Lines of a difference that are shown.
const SHOWN: usize = 40;

fn ours(dir: &Path, words: &[&str]) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fathom"));
    command.current_dir(dir).args(["-d", "data"]).args(words).env_remove("PAGER").stdin(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What is different between the peer's text and ours, `>` ours.
fn difference(dir: &Path, peers: &Path, words: &[&str]) -> String {
    let text = ours(dir, words);
    // It complains of filters on standard output.
    let theirs = fs::read(peers).unwrap();
    let theirs: Vec<u8> = theirs
        .split_inclusive(|b| *b == b'\n')
        .filter(|line| !line.starts_with(b"Usage: "))
        .flatten()
        .copied()
        .collect();
    if text == theirs {
        return String::new();
    }
    fs::write(dir.join("a"), theirs).unwrap();
    fs::write(dir.join("b"), text).unwrap();
    let output = Command::new("diff").current_dir(dir).args(["a", "b"]).output().unwrap();
    let diff = String::from_utf8_lossy(&output.stdout).into_owned();
    let count = diff.lines().count();
    let mut shown: String = diff.lines().take(SHOWN).flat_map(|line| [line, "\n"]).collect();
    if count > SHOWN {
        let _ = writeln!(shown, "({count} lines)");
    }
    shown
}

fn compare(name: &str) -> String {
    let dir = unpack(name);
    let mut texts: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    // Of functions' graphs the peer has none where the words are in this order.
    texts.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    texts.retain(|path| path.metadata().unwrap().len() > 0);
    texts.sort();
    assert!(texts.len() > 6, "{texts:?}");
    let mut all = String::new();
    for path in texts {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let words = words(stem);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let diff = difference(dir.path(), &path, &words);
        let _ = writeln!(all, "{}\n{diff}", words.join(" "));
    }
    all
}

/// The words of a command: file names have underscores between them, which names of functions have, too.
fn words(stem: &str) -> Vec<String> {
    let (command, rest) = stem.split_once('_').unwrap_or((stem, ""));
    let mut words = vec![command.to_owned()];
    let mut rest = rest;
    while !rest.is_empty() {
        let (word, more) = match rest.strip_prefix('-') {
            Some(_) => rest.split_once('_').unwrap_or((rest, "")),
            // The next option begins behind an underscore.
            None => rest.split_once("_-").map_or((rest, ""), |(word, _)| (word, &rest[word.len() + 1..])),
        };
        words.push(word.to_owned());
        rest = more;
    }
    words
}

#[test]
fn words_of_file_names() {
    assert_eq!(
        words("replay_-F_reader_-N_ksys_read@kernel"),
        ["replay", "-F", "reader", "-N", "ksys_read@kernel"]
    );
    assert_eq!(words("graph_vfs_read"), ["graph", "vfs_read"]);
    assert_eq!(words("replay_--kernel-full"), ["replay", "--kernel-full"]);
}

macro_rules! recordings {
    ($($test:ident $name:literal)*) => {$(
        #[test]
        fn $test() {
            insta::assert_snapshot!(compare($name));
        }
    )*};
}

recordings! {
    page_faults_left_out "6.1-pg-N"
    only_what_reads "6.1-pg-F"
    three_levels "6.12-pg-K3"
    patched_entries "6.12-patch-K3"
    a_child_that_executes "6.12-fork-K4"
    losses "6.12-loss-K30"
}

/// The peer says that there is no such function, and filters nothing.
#[test]
fn old_names_of_functions_are_led_to_those_of_the_recording() {
    let dir = unpack("6.12-pg-K3");
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_fathom"))
            .current_dir(dir.path())
            .args(words)
            .args(["-d", "data"])
            .output()
            .unwrap();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (old, note) = run(&["replay", "-N", "smp_apic_timer_interrupt@kernel"]);
    let (new, _) = run(&["replay", "-N", "__sysvec_apic_timer_interrupt@kernel"]);
    assert_eq!(old, new);
    assert!(!new.contains("__sysvec_apic_timer_interrupt"));
    // Modules of the machine that it was recorded on may be others here.
    insta::assert_snapshot!(note.lines().next().unwrap());
}
