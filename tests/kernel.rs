//! `fathom kernel` over a tracefs of plain files: what it would type, and how it says what is wrong.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A tracefs with what the plans below look at.
fn tracefs(dir: &Path) {
    for (file, text) in [
        ("README", "tracing mini-HOWTO:\n  hist trigger\n"),
        ("trace_pipe", ""),
        ("current_tracer", "nop\n"),
        ("available_tracers", "function_graph function nop\n"),
        ("available_filter_functions", "vfs_read\nvfs_write\n__sysvec_apic_timer_interrupt\n"),
        ("available_events", "sched:sched_switch\nsched:sched_waking\n"),
        ("trace_clock", "[local] mono\n"),
        ("options/stacktrace", "0\n"),
        ("options/function-fork", "0\n"),
        ("set_graph_function", "#### all functions enabled ####\n"),
        ("set_graph_notrace", "#### no functions disabled ####\n"),
        ("tracing_on", "1\n"),
        ("set_ftrace_filter", "#### all functions enabled ####\n"),
        ("set_ftrace_pid", "no pid\n"),
        ("set_event_pid", ""),
        ("max_graph_depth", "0\n"),
        ("kprobe_events", ""),
        ("events/sched/sched_switch/enable", "0\n"),
        ("events/sched/sched_waking/enable", "0\n"),
        ("instances/mine/available_tracers", "function_graph function nop\n"),
    ] {
        let path = dir.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// What a command line says: exit code, standard output and error.
fn said(dir: &Path, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fathom"));
    command.arg("kernel").args(words).arg("--tracefs").arg(dir).arg("--journal").arg(dir.join("journal"));
    // Options stand before the command.
    if let Some(at) = words.iter().position(|word| *word == "--") {
        command = Command::new(env!("CARGO_BIN_EXE_fathom"));
        command.arg("kernel").args(&words[..at]).arg("--tracefs").arg(dir).args(&words[at..]);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = format!(
        "$ fathom kernel {}\n{}{}[{}]\n",
        words.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status.code().unwrap_or(-1)
    );
    text.replace(&dir.display().to_string(), "/sys/kernel/tracing")
}

#[test]
fn what_a_person_would_type() {
    let dir = tempfile::tempdir().unwrap();
    tracefs(dir.path());
    let rows: [&[&str]; 3] = [
        &["trace", "--show-commands", "-e", "sched:sched_switch if prev_pid == 1", "-s", "-d", "1.5"],
        &[
            "trace",
            "--show-commands",
            "-g",
            "smp_apic_timer_interrupt",
            "-D",
            "3",
            "-F",
            "vfs_*",
            "-f",
            "--",
            "ls",
            "-l",
        ],
        &[
            "trace",
            "--show-commands",
            "--kprobe",
            "r=vfs_read n=%dx",
            "-T",
            "sched:sched_waking stacktrace:3",
            "-a",
        ],
    ];
    let text: String = rows.map(|words| said(dir.path(), words)).concat();
    insta::assert_snapshot!(text);
    // Nothing was done.
    assert_eq!(
        fs::read_to_string(dir.path().join("set_graph_function")).unwrap(),
        "#### all functions enabled ####\n"
    );
    assert!(!dir.path().join("journal").exists());
}

#[test]
fn mistakes_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    tracefs(dir.path());
    let rows: [&[&str]; 8] = [
        &["trace"],
        &["trace", "-e", "sched:sched_swich", "--show-commands"],
        &["trace", "-g", "vfs_raed", "--show-commands"],
        &["trace", "-t", "grpah", "--show-commands"],
        &["trace", "-e", "sched:", "--comm", "no such task", "--show-commands"],
        &["trace", "-e", "sched:", "-p", "4194305", "--show-commands"],
        &["trace", "-e", "sched:", "-C", "x", "--show-commands"],
        &["reset"],
    ];
    let text: String = rows.map(|words| said(dir.path(), words)).concat();
    insta::assert_snapshot!(text);
    let none = tempfile::tempdir().unwrap();
    let text = said(none.path(), &["doctor"]);
    assert!(text.contains("is no tracefs: there is no trace_pipe in it"), "{text}");
}

/// A tracefs that has what every recipe sets under its newest name.
fn with_all_recipes(dir: &Path) {
    tracefs(dir);
    let (mut events, mut functions) = (String::new(), String::new());
    for item in fathom_recipes::RECIPES.iter().flat_map(|recipe| recipe.items) {
        let Some(name) = item.names.first() else { continue };
        match name.split_once(':') {
            Some((system, event)) => {
                events.push_str(&format!("{name}\n"));
                let dir = dir.join("events").join(system).join(event);
                fs::create_dir_all(&dir).unwrap();
                fs::write(dir.join("enable"), "0\n").unwrap();
                fs::write(dir.join("filter"), "none\n").unwrap();
            }
            None => functions.push_str(&format!("{name}\n")),
        }
    }
    fs::write(dir.join("available_events"), events).unwrap();
    fs::write(dir.join("available_filter_functions"), functions).unwrap();
}

#[test]
fn every_recipe_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    with_all_recipes(dir.path());
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fathom"));
        command.args(["kernel", "recipe"]).args(words).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    insta::assert_snapshot!("recipe_list", run(&["list"]));
    let root = dir.path().to_string_lossy();
    for recipe in fathom_recipes::RECIPES {
        let shown = run(&["show", recipe.name, "--tracefs", &root]);
        assert!(!shown.contains("is not known"), "{shown}");
        // Where an argument is, is of the machine that the test runs on.
        let lines: Vec<&str> =
            shown.lines().filter(|line| !line.contains("- arguments of the probe")).collect();
        insta::assert_snapshot!(format!("recipe_show_{}", recipe.name), lines.join("\n"));
    }
}

#[test]
fn what_a_kernel_can_do_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    tracefs(dir.path());
    // What is of the machine that the test runs on, not of the tree.
    let of_machine = |line: &&str| {
        !["kernel ", "yes  addresses of symbols", "no   addresses of symbols", "yes  type", "no   type"]
            .iter()
            .any(|begin| line.starts_with(begin))
    };
    let text = said(dir.path(), &["doctor"]);
    let lines: Vec<&str> = text.lines().filter(of_machine).collect();
    assert_eq!(text.lines().count(), lines.len() + 3);
    insta::assert_snapshot!(lines.join("\n"));
}
