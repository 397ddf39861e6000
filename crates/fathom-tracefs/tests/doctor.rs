//! What is said of kernels that can do more and less.

use fathom_tracefs::fake::Fake;
use fathom_tracefs::{Journals, doctor};
use std::fs;

#[test]
fn a_kernel_that_can_do_most_and_somebody_who_uses_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tracing");
    let fake = Fake::new(&root, true);
    let proc = dir.path().join("proc");
    fs::create_dir_all(proc.join("sys/kernel")).unwrap();
    fs::write(proc.join("sys/kernel/osrelease"), "6.12.0-test\n").unwrap();
    fs::write(proc.join("kallsyms"), "ffffffff81000000 T _text\n").unwrap();
    fs::write(root.join("set_event_pid"), "5\n").unwrap();
    let tracefs = fake.tracefs().with_proc(&proc);
    tracefs.apply(&fathom_tracefs::Write::make_dir("instances/mine")).unwrap();
    let before = fake.dump();
    let report = doctor::examine(&tracefs, &Journals::at(dir.path().join("journals")));
    assert_eq!(fake.dump(), before);
    insta::assert_snapshot!(report.to_string().replace(&root.display().to_string(), "/sys/kernel/tracing"));
}

#[test]
fn a_kernel_that_can_do_little() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tracing");
    let fake = Fake::new(&root, false);
    for file in ["kprobe_events", "uprobe_events", "synthetic_events", "dynamic_events", "set_ftrace_filter"]
    {
        fs::remove_file(root.join(file)).unwrap();
    }
    fs::remove_file(root.join("available_filter_functions")).unwrap();
    fs::remove_dir(root.join("instances")).unwrap();
    fs::write(root.join("README"), "tracing mini-HOWTO:\n").unwrap();
    fs::write(root.join("available_tracers"), "blk nop\n").unwrap();
    let proc = dir.path().join("proc");
    fs::create_dir_all(&proc).unwrap();
    fs::write(proc.join("kallsyms"), "0000000000000000 T _text\n").unwrap();
    let tracefs = fake.tracefs().with_proc(&proc);
    let report = doctor::examine(&tracefs, &Journals::at(dir.path().join("journals")));
    let text = report.to_string().replace(&dir.path().display().to_string(), "");
    let process = std::process::id().to_string();
    insta::assert_snapshot!(text.replace(&process, "PID"));
}
