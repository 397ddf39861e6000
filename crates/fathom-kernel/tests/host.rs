//! Events, probes of programs and marks, in an instance of this machine's own kernel. What the kernel does not allow is tried
//! first, and the test says so and with which errno; it is not counted as passed by the tiers that count.

use fathom_kernel::{Error, Knowledge, Recorder, Text};
use fathom_tracefs::{Event, Journals, Probe, ProbeKind, Settings, Stacks, Task, Tracefs};
use std::fs;
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Tests that run as threads of one process call their instances by the same name.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Host {
    _turn: MutexGuard<'static, ()>,
    tracefs: Tracefs,
    journals: Journals,
    dir: tempfile::TempDir,
}

/// This machine's tracefs, if an instance can be made in it.
fn host(test: &str) -> Option<Host> {
    let skip = |why: String| println!("skipped: {test}: {why}");
    // Never mounted by a test.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounted =
        mounts.lines().any(|line| line.split_once(" - ").is_some_and(|(_, fs)| fs.starts_with("tracefs ")));
    let usual = fs::exists("/sys/kernel/tracing/trace_pipe").unwrap_or(false);
    if !mounted && !usual {
        skip("tracefs is not mounted".into());
        return None;
    }
    let tracefs = match Tracefs::find() {
        Ok(found) => found.tracefs,
        Err(error) => {
            skip(error.to_string());
            return None;
        }
    };
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let name = format!("fathom-try-{test}-{}", std::process::id());
    let path = tracefs.path(&format!("instances/{name}"));
    if let Err(error) = fs::create_dir(&path) {
        skip(format!("mkdir in instances: {error}"));
        return None;
    }
    fs::remove_dir(&path).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let journals = Journals::at(dir.path().join("journals"));
    Some(Host { _turn: turn, tracefs, journals, dir })
}

/// Records while something is done; gives the text.
fn recorded(host: &Host, settings: &Settings, work: impl FnOnce(&Recorder)) -> (String, u64) {
    let file = host.dir.path().join("out.dat");
    let mut recorder = Recorder::begin(&host.tracefs, settings, &host.journals, Some(&file)).unwrap();
    let knowledge = Knowledge::of(recorder.session(), recorder.tables()).unwrap();
    let mut text = Text::new(&knowledge);
    let mut out = Vec::new();
    let instance = recorder.session().dir();
    let group = recorder.session().plan().events.iter().find(|event| event.starts_with("fathom_")).cloned();
    recorder.start().unwrap();
    work(&recorder);
    recorder.wait(Duration::from_millis(10), &[]).unwrap();
    for _ in 0..2 {
        recorder
            .drain(|cpu, pages| {
                text.pages(cpu, pages);
                Ok::<(), Error>(())
            })
            .unwrap();
        text.round(&host.tracefs, &mut out).unwrap();
    }
    let summary = recorder
        .end(|cpu, pages| {
            text.pages(cpu, pages);
            Ok(())
        })
        .unwrap();
    text.end(&host.tracefs, &mut out).unwrap();
    assert!(summary.problems.is_empty(), "{:?}", summary.problems);
    assert_eq!(summary.lost(), 0);
    let recording = fathom_tracedat::open(&file).unwrap();
    assert_eq!(recording.buffers.len(), 1);
    assert_eq!(fs::read_dir(host.journals.dir()).unwrap().count(), 0);
    assert!(!instance.exists(), "{}", instance.display());
    if let Some(group) = group {
        let probes = host.tracefs.read("dynamic_events").unwrap_or_default();
        assert!(!probes.contains(&group), "{probes}");
    }
    (String::from_utf8_lossy(&out).into_owned(), summary.stats.iter().map(|stats| stats.read).sum())
}

#[test]
fn system_calls_of_this_thread_with_stacks() {
    let Some(host) = host("events") else { return };
    let me = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
    let settings = Settings {
        events: vec![Event::parse("raw_syscalls:sys_enter if id == 39").unwrap()],
        stacks: Stacks { kernel: true, ..Stacks::default() },
        tasks: vec![Task::Id(me)],
        ..Settings::default()
    };
    if !host.tracefs.has("events/raw_syscalls") {
        println!(
            "skipped: system_calls_of_this_thread_with_stacks: no events/raw_syscalls (CONFIG_FTRACE_SYSCALLS)"
        );
        return;
    }
    let (text, count) = recorded(&host, &settings, |_| {
        for _ in 0..100 {
            let _ = rustix::process::getpid();
        }
    });
    let calls = text.lines().filter(|line| line.contains(" sys_enter: NR 39 (")).count();
    assert_eq!(calls, 100, "{text}");
    assert_eq!(text.matches(" => do_syscall_64").count(), 100, "{text}");
    assert!(count >= 200, "{count}");
}

#[test]
fn a_mark_of_this_program() {
    let Some(host) = host("marks") else { return };
    let settings =
        Settings { events: vec![Event::parse("sched:sched_process_exec").unwrap()], ..Settings::default() };
    let mut refused = None;
    let (text, _) = recorded(&host, &settings, |recorder| {
        let marker = recorder.session().dir().join("trace_marker");
        let mut open = fs::OpenOptions::new().write(true).open(marker);
        refused = match &mut open {
            Ok(file) => file.write_all(b"a mark of fathom's tests").err(),
            Err(error) => Some(std::io::Error::from(error.kind())),
        };
    });
    if let Some(error) = refused {
        println!("skipped: a_mark_of_this_program: writing trace_marker: {error}");
        return;
    }
    assert!(text.contains(": tracing_mark_write: a mark of fathom's tests\n"), "{text}");
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn fathom_host_test_probed(value: u64) -> u64 {
    std::hint::black_box(value) + 1
}

#[test]
fn a_function_of_this_program() {
    let Some(host) = host("uprobes") else { return };
    if let Err(error) = host.tracefs.may_write("uprobe_events") {
        println!("skipped: a_function_of_this_program: opening uprobe_events: {error}");
        return;
    }
    let me = std::env::current_exe().unwrap();
    let probe = |kind, args: &str| {
        Probe::parse(kind, &format!("{}:fathom_host_test_probed {args}", me.display())).unwrap()
    };
    let settings = Settings {
        probes: vec![
            probe(ProbeKind::Uprobe, "name=$comm"),
            probe(ProbeKind::Uretprobe, "value=$retval:u64"),
        ],
        ..Settings::default()
    };
    let (text, _) = recorded(&host, &settings, |_| {
        for value in 0..5 {
            std::hint::black_box(fathom_host_test_probed(value + 100));
        }
    });
    assert_eq!(text.matches(" fathom_host_test_probed: (").count(), 5, "{text}");
    for value in 101..106 {
        assert!(text.contains(&format!(" value={value}\n")), "{value}: {text}");
    }
}
