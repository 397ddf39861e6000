//! Whatever happens, everything is as it was afterwards.

use fathom_tracefs::fake::Fake;
use fathom_tracefs::session::recover;
use fathom_tracefs::{
    Error, Event, Journals, Naming, Probe, ProbeKind, Session, Settings, Stacks, Synthetic, Task, Tracefs,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

struct Kernel {
    _dir: tempfile::TempDir,
    fake: Arc<Fake>,
    tracefs: Tracefs,
    journals: Journals,
}

fn kernel(graph_in_instance: bool) -> Kernel {
    // Where journals are kept on a machine, syncing costs nothing; on a disk it would take most of the time.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let fake = Fake::new(&dir.path().join("tracing"), graph_in_instance);
    let tracefs = fake.tracefs().with_proc(dir.path().join("proc"));
    let journals = Journals::at(dir.path().join("run/journals"));
    Kernel { _dir: dir, fake, tracefs, journals }
}

impl Kernel {
    /// Files that differ from an earlier dump, with what they said and say.
    fn changed(&self, before: &BTreeMap<String, String>) -> Vec<String> {
        let now = self.fake.dump();
        let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        let differs = names.into_iter().filter(|name| before.get(*name) != now.get(*name));
        differs.map(|name| format!("{name}: {:?} became {:?}", before.get(name), now.get(name))).collect()
    }
}

/// Another user's things.
fn others(kernel: &Kernel) {
    let root = kernel.tracefs.root();
    fs::write(root.join("set_ftrace_filter"), "vfs_open\ndo_exit\nvfs_read:traceoff:unlimited\n").unwrap();
    fs::write(root.join("set_graph_function"), "wb_workfn\n").unwrap();
    fs::write(root.join("set_event_pid"), "5\n6\n").unwrap();
    fs::write(root.join("max_graph_depth"), "9\n").unwrap();
    fs::write(root.join("trace_clock"), "local [mono] boot\n").unwrap();
    fs::write(root.join("buffer_size_kb"), "64\n").unwrap();
    kernel.tracefs.apply(&fathom_tracefs::Write::append("kprobe_events", "p:mine/x vfs_read")).unwrap();
    kernel.tracefs.apply(&fathom_tracefs::Write::make_dir("instances/mine")).unwrap();
    fs::write(root.join("instances/mine/set_event_pid"), "1\n").unwrap();
    fs::write(root.join("instances/mine/events/mine/x/enable"), "1\n").unwrap();
}

/// Settings that touch every kind of file.
fn everything() -> Settings {
    Settings {
        tracer: Some("function_graph".into()),
        events: vec![
            Event::parse("sched:sched_switch if prev_pid == 1").unwrap(),
            Event::parse("irq:").unwrap(),
            Event::parse_trigger("sched:sched_waking hist:keys=pid").unwrap(),
            Event::parse_trigger("sched:sched_waking stacktrace:3").unwrap(),
        ],
        probes: vec![
            Probe::parse(ProbeKind::Kprobe, "a=vfs_read x=$arg1 if x > 3").unwrap(),
            Probe::parse(ProbeKind::Kretprobe, "vfs_read").unwrap(),
            Probe::parse(ProbeKind::Fprobe, "vfs_write").unwrap(),
        ],
        synthetic: vec![Synthetic::parse("lat u64 us").unwrap()],
        stacks: Stacks { kernel: true, user: true, function: true },
        tasks: vec![Task::Id(1), Task::Id(2)],
        not_tasks: vec![Task::Id(3)],
        follow: true,
        functions: vec!["vfs_*".into()],
        not_functions: vec!["do_exit".into()],
        graph_functions: vec!["vfs_read".into(), "smp_apic_timer_interrupt".into()],
        not_graph_functions: vec!["__common_interrupt".into()],
        max_depth: Some(3),
        commands: vec!["do_exit:traceoff:5".into(), "vfs_open:stacktrace".into()],
        cpus: Some(vec![1]),
        clock: Some("boot".into()),
        buffer_kb: Some(512),
        buffer_percent: Some(10),
        saved_cmdlines: Some(4000),
        options: vec![
            ("funcgraph-irqs".into(), false),
            ("record-cmd".into(), true),
            ("overwrite".into(), false),
        ],
        ..Settings::default()
    }
}

#[test]
fn in_an_instance_and_at_the_top() {
    for graph_in_instance in [true, false] {
        let kernel = kernel(graph_in_instance);
        others(&kernel);
        let before = kernel.fake.dump();
        let session = Session::begin(&kernel.tracefs, &everything(), &kernel.journals).unwrap();
        let during = kernel.fake.dump();
        let tracer = format!("{}current_tracer", session.plan().place.prefix());
        assert_eq!(during[&tracer], "function_graph\n");
        assert_eq!(session.plan().place.prefix().is_empty(), !graph_in_instance);
        assert_eq!(during["set_graph_function"], "vfs_read\n__sysvec_apic_timer_interrupt\n");
        assert_eq!(during["instances/mine/set_event_pid"], "1\n");
        session.start().unwrap();
        session.stop().unwrap();
        let problems = session.finish();
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(kernel.changed(&before), [""; 0], "instance: {graph_in_instance}");
        assert_eq!(fs::read_dir(kernel.journals.dir()).unwrap().count(), 0);
    }
}

#[test]
fn when_any_write_fails() {
    for graph_in_instance in [true, false] {
        let kernel = kernel(graph_in_instance);
        others(&kernel);
        let before = kernel.fake.dump();
        let mut without = 0;
        for writes in 0.. {
            kernel.fake.fail_after(writes);
            match Session::begin(&kernel.tracefs, &everything(), &kernel.journals) {
                Err(error) => assert!(matches!(error, Error::Refused(_)), "{error}"),
                // The only thing that a trace is made without.
                Ok(session) if session.plan().notes.len() > 1 => {
                    let note = "saved_cmdlines_size could not be set: names of tasks that came and went may be missing";
                    assert_eq!(session.plan().notes[1..], [note]);
                    assert!(session.finish().is_empty());
                    without += 1;
                }
                Ok(session) => {
                    kernel.fake.fail_after(usize::MAX);
                    assert!(writes > 25, "only {writes} writes were made");
                    assert!(session.finish().is_empty());
                    break;
                }
            }
            assert_eq!(
                kernel.changed(&before),
                [""; 0],
                "after {writes} writes; instance: {graph_in_instance}"
            );
        }
        assert_eq!(kernel.changed(&before), [""; 0]);
        assert_eq!(without, 1);
    }
}

#[test]
fn where_memory_is_short_the_buffer_is_smaller() {
    for graph_in_instance in [true, false] {
        let kernel = kernel(graph_in_instance);
        others(&kernel);
        let before = kernel.fake.dump();
        let settings = Settings { buffer_kb: Some(16384), ..everything() };
        kernel.fake.room_for(5000);
        let session = Session::begin(&kernel.tracefs, &settings, &kernel.journals).unwrap();
        let file = format!("{}buffer_size_kb", session.plan().place.prefix());
        assert_eq!(kernel.fake.dump()[&file], "4096\n");
        let note = "the kernel has not the memory for a buffer of 16384 KiB a CPU: it has 4096 KiB, and loses records sooner";
        assert!(session.plan().notes.iter().any(|said| said == note), "{:?}", session.plan().notes);
        assert!(session.finish().is_empty());
        assert_eq!(kernel.changed(&before), [""; 0], "instance: {graph_in_instance}");

        kernel.fake.room_for(1000);
        let error = Session::begin(&kernel.tracefs, &settings, &kernel.journals).unwrap_err().to_string();
        assert!(error.contains("writing '2048' to"), "{error}");
        assert_eq!(kernel.changed(&before), [""; 0], "instance: {graph_in_instance}");
    }
}

#[test]
fn a_name_that_is_refused_leaves_no_emptied_list() {
    let kernel = kernel(true);
    others(&kernel);
    let before = kernel.fake.dump();
    let settings = Settings {
        tracer: Some("function_graph".into()),
        graph_functions: vec!["vfs_read".into(), "no_such_function".into()],
        ..Settings::default()
    };
    let error = Session::begin(&kernel.tracefs, &settings, &kernel.journals).unwrap_err();
    assert_eq!(error.to_string(), "this kernel has no function 'no_such_function'");
    assert_eq!(kernel.changed(&before), [""; 0]);
}

/// What a process that is killed leaves: the journal, whose lock the kernel has let go of.
fn killed(session: Session, journals: &Journals) {
    std::mem::forget(session);
    for entry in fs::read_dir(journals.dir()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        // Another file has no lock, and its process is none that runs.
        let (head, rest) = text.split_once('\n').unwrap();
        let pid = format!("\"pid\":{}", std::process::id());
        assert!(head.contains(&pid), "{head}");
        let other = head.replace(&pid, "\"pid\":4194305");
        fs::remove_file(&path).unwrap();
        fs::write(path.with_file_name("4194305-0.journal"), format!("{other}\n{rest}")).unwrap();
    }
}

#[test]
fn after_a_kill_the_next_one_puts_it_back() {
    for graph_in_instance in [true, false] {
        let kernel = kernel(graph_in_instance);
        others(&kernel);
        let before = kernel.fake.dump();
        let session = Session::begin(&kernel.tracefs, &everything(), &kernel.journals).unwrap();
        session.start().unwrap();
        // As long as it runs, nobody touches it.
        assert!(recover(&kernel.journals, |_| kernel.tracefs.clone()).unwrap().is_empty());
        killed(session, &kernel.journals);
        let recovered = recover(&kernel.journals, |_| kernel.tracefs.clone()).unwrap();
        assert_eq!(recovered.len(), 1);
        assert_eq!(recovered[0].pid, 4_194_305);
        assert!(recovered[0].problems.is_empty(), "{:?}", recovered[0].problems);
        assert_eq!(kernel.changed(&before), [""; 0]);
        assert!(recover(&kernel.journals, |_| kernel.tracefs.clone()).unwrap().is_empty());
    }
}

#[test]
fn a_journal_that_is_cut_off_anywhere_does_no_harm() {
    let kernel = kernel(true);
    others(&kernel);
    let session = Session::begin(&kernel.tracefs, &everything(), &kernel.journals).unwrap();
    killed(session, &kernel.journals);
    let path = kernel.journals.dir().join("4194305-0.journal");
    let text = fs::read(&path).unwrap();
    for cut in (0..text.len()).step_by(97) {
        fs::write(&path, &text[..cut]).unwrap();
        recover(&kernel.journals, |_| kernel.tracefs.clone()).unwrap();
    }
    fs::write(&path, &text).unwrap();
    recover(&kernel.journals, |_| kernel.tracefs.clone()).unwrap();
    assert!(!kernel.tracefs.has("instances/mine/no"));
    assert_eq!(kernel.tracefs.list("instances").unwrap(), ["mine"]);
}

#[test]
fn a_journal_reaches_nothing_outside() {
    let kernel = kernel(true);
    let session = Session::begin(&kernel.tracefs, &Settings::default(), &kernel.journals).unwrap();
    killed(session, &kernel.journals);
    let path = kernel.journals.dir().join("4194305-0.journal");
    let outside = kernel.tracefs.root().parent().unwrap().join("outside");
    fs::write(&outside, "kept").unwrap();
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("[[\">\",\"../outside\",\"gone\"]]\n[[\">\",\"/etc/x\",\"gone\"]]\n");
    fs::write(&path, text).unwrap();
    recover(&kernel.journals, |_| kernel.tracefs.clone()).unwrap();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "kept");
}

#[test]
fn a_busy_top_level_is_left_alone() {
    let kernel = kernel(false);
    fs::write(kernel.tracefs.root().join("set_event"), "sched:sched_switch\n").unwrap();
    let before = kernel.fake.dump();
    let error = Session::begin(&kernel.tracefs, &everything(), &kernel.journals).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the top level of tracefs is in use by somebody else, and is left alone: the event sched:sched_switch is enabled"
    );
    assert_eq!(kernel.changed(&before), [""; 0]);
}

#[test]
fn what_others_left_in_the_one_list_of_graphs_does_not_narrow_ours() {
    let kernel = kernel(true);
    others(&kernel);
    let before = kernel.fake.dump();
    let settings = Settings {
        tracer: Some("function_graph".into()),
        functions: vec!["vfs_read".into()],
        ..Settings::default()
    };
    let session = Session::begin(&kernel.tracefs, &settings, &kernel.journals).unwrap();
    let during = kernel.fake.dump();
    assert_eq!(during["set_graph_function"], "#### all functions enabled ####\n");
    assert_eq!(during["max_graph_depth"], "0\n");
    assert!(session.finish().is_empty());
    assert_eq!(kernel.changed(&before), [""; 0]);
    // Unless somebody is at it.
    fs::write(kernel.tracefs.root().join("instances/mine/current_tracer"), "function_graph\n").unwrap();
    let error = Session::begin(&kernel.tracefs, &settings, &kernel.journals).unwrap_err();
    assert!(error.to_string().ends_with("the tracer function_graph runs in the instance 'mine'"), "{error}");
}

#[test]
fn a_second_trace_of_a_process_has_names_of_its_own() {
    let kernel = kernel(true);
    let settings = Settings {
        probes: vec![Probe::parse(ProbeKind::Kprobe, "vfs_read").unwrap()],
        ..Settings::default()
    };
    let naming = || Naming::of_process(7);
    let first = Session::begin_as(&kernel.tracefs, &settings, &kernel.journals, &naming()).unwrap();
    let second = Session::begin_as(&kernel.tracefs, &settings, &kernel.journals, &naming()).unwrap();
    assert_eq!(first.plan().place.prefix(), "instances/fathom-7/");
    assert_eq!(second.plan().place.prefix(), "instances/fathom-7-2/");
    assert_eq!(second.plan().events, ["fathom_7_2/vfs_read"]);
    assert!(first.finish().is_empty());
    assert!(second.finish().is_empty());
}

#[test]
fn many_traces_of_a_process_at_once_each_have_an_instance() {
    let kernel = kernel(true);
    let (tracefs, journals) = (&kernel.tracefs, &kernel.journals);
    let places: BTreeSet<String> = std::thread::scope(|scope| {
        let begin = || Session::begin(tracefs, &Settings::default(), journals).unwrap();
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(begin)).collect();
        let sessions: Vec<Session> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        sessions.iter().map(|session| session.plan().place.prefix()).collect()
    });
    assert_eq!(places.len(), 6, "{places:?}");
    assert!(!places.contains(""), "{places:?}");
}

/// What is done to a kernel.
#[derive(Debug, Clone)]
enum Act {
    Finish,
    Fail(usize),
    Kill,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![Just(Act::Finish), (0_usize..60).prop_map(Act::Fail), Just(Act::Kill)]
}

fn some_settings() -> impl Strategy<Value = Settings> {
    let all = everything();
    proptest::collection::vec(any::<bool>(), 16).prop_map(move |keep| {
        let mut settings = all.clone();
        let graph = keep[0];
        settings.tracer = keep[1].then(|| if graph { "function_graph".into() } else { "function".into() });
        let functions = keep[1];
        if !keep[2] {
            settings.events.clear();
        }
        if !keep[3] {
            settings.probes.clear();
        }
        if !keep[4] {
            settings.synthetic.clear();
        }
        if !(keep[5] && functions) {
            settings.functions.clear();
            settings.stacks.function = false;
        }
        if !(keep[6] && functions) {
            settings.not_functions.clear();
        }
        if !(keep[7] && functions && graph) {
            settings.graph_functions.clear();
            settings.not_graph_functions.clear();
            settings.max_depth = None;
        }
        if !keep[8] {
            settings.tasks.clear();
        }
        if !keep[9] {
            settings.commands.clear();
        }
        if !keep[10] {
            settings.options.clear();
        }
        if !keep[11] {
            settings.clock = None;
        }
        settings.top_level = keep[12];
        settings
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_sequence_leaves_it_as_it_was(
        graph in any::<bool>(),
        acts in proptest::collection::vec((act(), some_settings()), 1..4),
    ) {
        let kernel = kernel(graph);
        others(&kernel);
        let before = kernel.fake.dump();
        for (act, settings) in acts {
            if let Act::Fail(writes) = act {
                kernel.fake.fail_after(writes);
            }
            let session = Session::begin(&kernel.tracefs, &settings, &kernel.journals);
            kernel.fake.fail_after(usize::MAX);
            match (session, act) {
                (Ok(session), Act::Kill) => {
                    session.start().unwrap();
                    killed(session, &kernel.journals);
                    let recovered = recover(&kernel.journals, |_| kernel.tracefs.clone()).unwrap();
                    prop_assert!(recovered.iter().all(|r| r.problems.is_empty()), "{:?}", recovered);
                }
                (Ok(session), _) => prop_assert!(session.finish().is_empty()),
                (Err(Error::Refused(_)), Act::Fail(_)) => {}
                (Err(error), _) => prop_assert!(false, "{}", error),
            }
            prop_assert_eq!(kernel.changed(&before), Vec::<String>::new());
        }
    }
}
