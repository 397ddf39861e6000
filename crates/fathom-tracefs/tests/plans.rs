//! What settings come to, as the shell lines that a person would type, over a tracefs of plain files.

use fathom_tracefs::fake::Fake;
use fathom_tracefs::shell::{self, Style};
use fathom_tracefs::{
    Event, Naming, Place, Plan, Probe, ProbeKind, Settings, Stacks, Synthetic, Task, Tracefs,
};
use std::path::Path;
use std::sync::Arc;

fn kernel(graph_in_instance: bool) -> (tempfile::TempDir, Arc<Fake>, Tracefs) {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new(&dir.path().join("tracing"), graph_in_instance);
    let tracefs = fake.tracefs().with_proc(dir.path().join("proc"));
    (dir, fake, tracefs)
}

fn place() -> Place {
    Place::Instance("fathom".into())
}

fn shown(tracefs: &Tracefs, settings: &Settings, place: Place, command: &[&str]) -> String {
    match Plan::build(tracefs, settings, &Naming::plain(), place) {
        Ok(plan) => {
            let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
            let style = Style { root: Path::new("/sys/kernel/tracing"), command: &command, seconds: None };
            let notes: String = plan.notes.iter().map(|note| format!("# note: {note}\n")).collect();
            notes + &shell::lines(&plan, style)
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn events_of_a_command() {
    let (_dir, _fake, tracefs) = kernel(true);
    let settings = Settings {
        events: vec![
            Event::parse("sched:* if prev_pid == 1").unwrap(),
            Event::parse_trigger("sched:sched_waking stacktrace:5").unwrap(),
            Event::parse("irq:").unwrap(),
        ],
        stacks: Stacks { kernel: true, ..Stacks::default() },
        tasks: vec![Task::Command],
        follow: true,
        clock: Some("mono".into()),
        buffer_kb: Some(4096),
        saved_cmdlines: Some(1024),
        cpus: Some(vec![0]),
        ..Settings::default()
    };
    insta::assert_snapshot!(shown(&tracefs, &settings, place(), &["ls", "a b"]));
}

#[test]
fn a_graph_at_the_top_level_puts_back_what_was_there() {
    let (_dir, fake, tracefs) = kernel(false);
    let root = tracefs.root().to_owned();
    std::fs::write(root.join("set_graph_function"), "vfs_read\n").unwrap();
    std::fs::write(root.join("set_ftrace_pid"), "77\n").unwrap();
    let settings = Settings {
        tracer: Some("function_graph".into()),
        graph_functions: vec!["smp_apic_timer_interrupt".into()],
        not_graph_functions: vec!["do_IRQ".into()],
        functions: vec!["vfs_*".into(), "do_exit".into()],
        max_depth: Some(4),
        tasks: vec![Task::Id(12), Task::Id(13)],
        options: vec![("funcgraph-irqs".into(), false)],
        commands: vec!["do_exit:traceoff:5".into()],
        ..Settings::default()
    };
    insta::assert_snapshot!(shown(&tracefs, &settings, Place::Top, &[]));
    drop(fake);
}

#[test]
fn probes_and_histograms() {
    let (_dir, _fake, tracefs) = kernel(true);
    let waking = "sched:sched_waking hist:keys=pid:ts0=common_timestamp.usecs";
    let switch = "sched:sched_switch hist:keys=next_pid:lat=common_timestamp.usecs-$ts0:onmatch(sched.sched_waking).rqlat($lat)";
    let settings = Settings {
        probes: vec![
            Probe::parse(ProbeKind::Kprobe, "p:enqueue_task_fair enqueue_task_fair").unwrap(),
            Probe::parse(ProbeKind::Kprobe, "enqueue_task_fair task=$arg2:x64 if task != 0").unwrap(),
            Probe::parse(ProbeKind::Kretprobe, "vfs_read n=$retval:s64").unwrap(),
            Probe::parse(ProbeKind::Fprobe, "vfs_open%return").unwrap(),
            Probe::parse(ProbeKind::Eprobe, "syscalls.sys_enter_openat f=+0($filename):ustring").unwrap(),
        ],
        synthetic: vec![Synthetic::parse("rqlat u64 lat").unwrap()],
        events: vec![Event::parse_trigger(waking).unwrap(), Event::parse_trigger(switch).unwrap()],
        ..Settings::default()
    };
    insta::assert_snapshot!(shown(&tracefs, &settings, place(), &[]));
}

#[test]
fn what_cannot_be_done_is_said() {
    let (_dir, _fake, tracefs) = kernel(true);
    let plain = Settings::default;
    let graph = |settings: Settings| Settings { tracer: Some("function_graph".into()), ..settings };
    let event = |text: &str| vec![Event::parse(text).unwrap()];
    let probe = |kind, text: &str| vec![Probe::parse(kind, text).unwrap()];
    std::fs::remove_file(tracefs.root().join("uprobe_events")).unwrap();
    std::fs::remove_file(tracefs.root().join("dynamic_events")).unwrap();
    std::fs::create_dir_all(tracefs.root().join("events/synthetic/taken")).unwrap();
    std::fs::create_dir_all(tracefs.proc()).unwrap();
    std::fs::write(tracefs.proc().join("kallsyms"), "0 T vfs_read\n").unwrap();
    let rows = [
        Settings { tracer: Some("function_graf".into()), ..plain() },
        graph(Settings { functions: vec!["vfs_raed".into()], ..plain() }),
        graph(Settings { graph_functions: vec!["smp_nothing".into()], ..plain() }),
        Settings { functions: vec!["vfs_read".into()], ..plain() },
        Settings { max_depth: Some(3), tracer: Some("function".into()), ..plain() },
        Settings { events: event("sched:sched_swich"), ..plain() },
        Settings { clock: Some("monotonic".into()), ..plain() },
        Settings { options: vec![("stack-trace".into(), true)], ..plain() },
        Settings { probes: probe(ProbeKind::Uprobe, "/bin/sh:main"), ..plain() },
        Settings { probes: probe(ProbeKind::Fprobe, "vfs_read"), ..plain() },
        Settings { probes: probe(ProbeKind::Kprobe, "vfs_raed"), ..plain() },
        Settings { synthetic: vec![Synthetic::parse("taken u64 x").unwrap()], ..plain() },
        Settings { cpus: Some(Vec::new()), ..plain() },
        Settings { buffer_kb: Some(0), ..plain() },
        Settings { commands: vec!["vfs_read:traceof".into()], ..plain() },
        Settings { stacks: Stacks { function: true, ..Stacks::default() }, ..plain() },
    ];
    let said = rows.map(|settings| shown(&tracefs, &settings, place(), &[]));
    insta::assert_snapshot!(said.join("\n"));
}
