//! What recordings survive: a recorder or a program that is killed, a clock that cannot be used.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const FATHOM: &str = env!("CARGO_BIN_EXE_fathom");

/// Calls `work` for ever (or as often as its argument says), every few milliseconds.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int work(int i) { return i * 3; }
int main(int c, char **v) {
    long n = c > 1 ? atol(v[1]) : 1000000, s = 0;
    for (long i = 0; i < n; i++) { s += work(i); usleep(2000); }
    printf("%ld\n", s);
    return 0;
}
"#;

fn build(dir: &Path) -> PathBuf {
    let source = dir.join("steady.c");
    std::fs::write(&source, PROGRAM).unwrap();
    let program = dir.join("steady");
    let status = Command::new("cc")
        .args(["-pg", "-O0", "-o"])
        .arg(&program)
        .arg(&source)
        .status()
        .expect("cc is installed");
    assert!(status.success());
    program
}

fn record(dir: &Path, args: &[&str]) -> Child {
    Command::new(FATHOM)
        .args(["record", "-d", "trace", "./steady"])
        .args(args)
        .current_dir(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a reading command prints on stdout and stderr.
fn read(dir: &Path, words: &[&str]) -> (String, String) {
    let out = Command::new(FATHOM)
        .args(words)
        .args(["--no-pager", "-d", "trace"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
}

/// How often a function was called, from `report`.
fn calls(dir: &Path, name: &str) -> u64 {
    let (report, _) = read(dir, &["report"]);
    let line = report.lines().find(|l| l.split_whitespace().last() == Some(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in:\n{report}"));
    line.split_whitespace().rev().nth(1).unwrap().parse().unwrap()
}

/// The program that a recorder has started.
fn child_of(recorder: u32) -> i32 {
    let path = format!("/proc/{recorder}/task/{recorder}/children");
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let children = std::fs::read_to_string(&path).unwrap_or_default();
        if let Some(pid) = children.split_whitespace().next() {
            return pid.parse().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("no child of {recorder}");
}

fn kill(pid: i32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// Gives the program time for some calls.
fn a_while() {
    std::thread::sleep(Duration::from_millis(600));
}

#[test]
fn killed_program() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let recorder = record(dir.path(), &[]);
    let program = child_of(recorder.id());
    a_while();
    kill(program, "-KILL");
    let out = recorder.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(2), "killed by a signal");
    assert!(calls(dir.path(), "work") > 5);
    assert_eq!(calls(dir.path(), "main"), 1);
}

#[test]
fn killed_recorder_leaves_the_program_alone() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let mut recorder = record(dir.path(), &["500"]);
    let program = child_of(recorder.id());
    a_while();
    recorder.kill().unwrap();
    recorder.wait().unwrap();
    let (_, warning) = read(dir.path(), &["report"]);
    assert!(warning.contains("was not finished"), "{warning}");
    let recorded = calls(dir.path(), "work");
    assert!(recorded > 5);
    assert!(Path::new(&format!("/proc/{program}")).exists(), "the program goes on");
    // Its output is on the pipe that the recorder has inherited to it.
    let mut text = String::new();
    std::io::Read::read_to_string(&mut recorder.stdout.take().unwrap(), &mut text).unwrap();
    assert_eq!(text, "374250\n", "3 * (0 + ... + 499)");
    recorder.wait().unwrap();
    assert_eq!(calls(dir.path(), "work"), recorded, "recovered once");
}

#[test]
fn both_killed() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let mut recorder = record(dir.path(), &[]);
    let program = child_of(recorder.id());
    a_while();
    recorder.kill().unwrap();
    kill(program, "-KILL");
    recorder.wait().unwrap();
    assert!(calls(dir.path(), "work") > 5);
    let (dump, _) = read(dir.path(), &["dump"]);
    let entries = dump.lines().filter(|l| l.contains("[entry]")).count();
    let exits = dump.lines().filter(|l| l.contains("[exit ]")).count();
    // main, and the call that the program was in.
    assert!(entries - exits <= 2, "{entries} entries, {exits} exits");
}

#[test]
fn without_time_stamp_counter() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let out = Command::new(FATHOM)
        .args(["record", "--no-event", "-d", "trace", "./steady", "20"])
        .env("FATHOM_NO_TSC", "1")
        .current_dir(dir.path())
        .output()
        .unwrap();
    let warnings = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && warnings.contains("time stamp counter"), "{warnings}");
    assert_eq!(calls(dir.path(), "work"), 20);
    let (replay, _) = read(dir.path(), &["replay", "-f", "duration"]);
    let sleep = replay.lines().find(|l| l.contains("usleep")).unwrap();
    assert!(sleep.contains(" ms "), "two milliseconds: {sleep}");
}

#[test]
fn no_traces_of_a_recording_are_left() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let recorder = record(dir.path(), &["3"]);
    let name = format!("fathom-{}-", recorder.id());
    assert!(recorder.wait_with_output().unwrap().status.success());
    let left = std::fs::read_dir("/dev/shm").unwrap().filter_map(Result::ok);
    assert!(!left.into_iter().any(|e| e.file_name().to_string_lossy().starts_with(&name)));
    assert!(!dir.path().join("trace/.fathom").exists());
}

#[test]
fn a_program_that_cannot_be_started_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let program = build(dir.path());
    let source = dir.path().join("steady.c");
    let mut cc = Command::new("cc");
    cc.args(["-pg", "-Wl,--dynamic-linker=/nonexistent/ld.so", "-o"]).arg(&program).arg(&source);
    assert!(cc.status().unwrap().success());
    let recorder = record(dir.path(), &[]);
    let name = format!("fathom-{}-", recorder.id());
    let out = recorder.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
    let left = std::fs::read_dir("/dev/shm").unwrap().filter_map(Result::ok);
    assert!(!left.into_iter().any(|e| e.file_name().to_string_lossy().starts_with(&name)));
    assert!(!dir.path().join("trace/.fathom").exists());
}

/// A recorder that is stopped (suspended, swapped out, on a stuck disk) holds the program up, not for ever, and what is
/// missing is counted.
#[test]
fn stopped_recorder_does_not_stop_the_program() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    std::fs::write(
        dir.path().join("busy.c"),
        "int f(int i) { return i; } int main(void) { long s = 0; for (int i = 0; i < 6000000; i++) s += f(i); return s == 1; }",
    )
    .unwrap();
    let mut cc = Command::new("cc");
    assert!(cc.args(["-pg", "-o", "steady", "busy.c"]).current_dir(dir.path()).status().unwrap().success());
    let recorder = record(dir.path(), &[]);
    let program = child_of(recorder.id());
    kill(recorder.id() as i32, "-STOP");
    let deadline = Instant::now() + Duration::from_secs(60);
    let ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{program}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    while !ended() {
        assert!(Instant::now() < deadline, "the program hangs");
        std::thread::sleep(Duration::from_millis(50));
    }
    kill(recorder.id() as i32, "-CONT");
    let out = recorder.wait_with_output().unwrap();
    let warnings = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && warnings.contains("records are lost"), "{warnings}");
    let (dump, _) = read(dir.path(), &["dump"]);
    let lost: u64 = dump
        .lines()
        .filter_map(|l| l.split("[lost ] ").nth(1)?.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    assert!(
        lost > 0 && warnings.contains(&format!("{lost} records are lost")),
        "{lost} in the trace: {warnings}"
    );
}

/// Records with these options and says what the recorder complained about.
fn record_events(dir: &Path, options: &[&str]) -> String {
    let mut command = Command::new(FATHOM);
    command.args(["record", "-d", "trace"]).args(options).arg("./steady").current_dir(dir);
    let out = command.output().unwrap();
    let warnings = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{warnings}");
    warnings
}

/// How many lines of the dump have each of these events.
fn events(dir: &Path, names: [&str; 4]) -> [usize; 4] {
    let (dump, _) = read(dir, &["dump"]);
    names.map(|name| dump.lines().filter(|line| line.contains(name)).count())
}

/// Scheduler and task events of threads, forked children and their new programs, or the reason why there are none.
#[test]
fn scheduler_and_task_events() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #include <pthread.h>
        #include <sys/prctl.h>
        #include <sys/wait.h>
        #include <unistd.h>
        void nap(void) { usleep(3000); }
        void *thread(void *arg) { prctl(PR_SET_NAME, "worker"); nap(); return arg; }
        int main(int c, char **v) {
            pthread_t t;
            nap();
            pthread_create(&t, 0, thread, 0);
            pthread_join(t, 0);
            if (c > 1) return 0;
            if (fork() == 0) { nap(); execl(v[0], v[0], "again", NULL); _exit(1); }
            wait(0);
            return 0;
        }"#;
    std::fs::write(dir.path().join("events.c"), source).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-pg", "-pthread", "-o", "steady", "events.c"]).current_dir(dir.path());
    assert!(cc.status().unwrap().success());
    let names = ["sched-out", "sched-in", "task-new", "task-exit"];
    let warnings = record_events(dir.path(), &[]);
    if warnings.contains("events are not recorded") {
        eprintln!("skipped: {warnings}");
        assert_eq!(events(dir.path(), names), [0; 4]);
        assert_eq!(calls(dir.path(), "nap"), 5);
        return;
    }
    let [out, into, new, exit] = events(dir.path(), names);
    // Five naps; two threads and a process that come, and they and the program that go.
    assert!(out >= 5 && into >= 5 && new == 3 && exit == 4, "{out} {into} {new} {exit}");
    let (replay, _) = read(dir.path(), &["replay", "-f", "none"]);
    let nap = "  nap() {\n    usleep() {\n      /* linux:schedule */\n    } /* usleep */\n  } /* nap */\n";
    assert!(replay.contains(nap), "{replay}");
    assert_eq!(replay.matches(r#"task-name (comm="worker")"#).count(), 2, "{replay}");

    // Without forks, whose entries the peer shows differently, it reads the same out of it.
    let recorder = record(dir.path(), &["again"]);
    assert!(recorder.wait_with_output().unwrap().status.success());
    for view in ["replay", "report", "graph"] {
        let mut peer = Command::new("uftrace");
        match peer.args([view, "--no-pager", "-d", "trace"]).current_dir(dir.path()).output() {
            Ok(out) => {
                assert_eq!(String::from_utf8_lossy(&out.stdout), read(dir.path(), &[view]).0, "{view}");
            }
            Err(error) => eprintln!("not compared with uftrace: {error}"),
        }
    }

    for (options, sched, task) in [
        (&["--no-sched"][..], false, true),
        (&["--no-event"], false, false),
        (&["-E", "linux:task-new"], false, true),
        (&["--no-event", "--event", "linux:sched-in"], true, true),
        (&["-E", "no:such"], false, false),
    ] {
        let warnings = record_events(dir.path(), options);
        assert_eq!(warnings.contains("no:such"), options.contains(&"no:such"), "{warnings}");
        let [out, into, new, exit] = events(dir.path(), names);
        assert_eq!([out > 0, into > 0, new > 0, exit > 0], [sched, sched, task, task], "{options:?}");
    }
}

#[test]
fn lost_scheduler_events_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        #include <unistd.h>
        int main(void) { for (int i = 0; i < 40000; i++) usleep(1); return 0; }"#;
    std::fs::write(dir.path().join("naps.c"), source).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-pg", "-o", "steady", "naps.c"]).current_dir(dir.path());
    assert!(cc.status().unwrap().success());
    let recorder = record(dir.path(), &[]);
    let program = child_of(recorder.id());
    kill(recorder.id() as i32, "-STOP");
    let ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{program}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    while !ended() {
        std::thread::sleep(Duration::from_millis(50));
    }
    kill(recorder.id() as i32, "-CONT");
    let out = recorder.wait_with_output().unwrap();
    let warnings = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{warnings}");
    if !warnings.contains("events are not recorded") {
        assert!(warnings.contains("scheduler and task events are lost"), "{warnings}");
        let (_, complaints) = read(dir.path(), &["report"]);
        assert_eq!(complaints, "", "the rest can be read");
    }
}

/// A program with one static probe; the note is what `sys/sdt.h` makes of `DTRACE_PROBE1(toy, step, i)`.
const PROBED: &str = r#"
int step(int i) {
    __asm__ volatile(
        "990: nop\n"
        ".pushsection .note.stapsdt, \"?\", \"note\"\n"
        ".balign 4\n.4byte 992f - 991f, 994f - 993f, 3\n"
        "991: .asciz \"stapsdt\"\n992: .balign 4\n"
        "993: .8byte 990b, _.stapsdt.base, 0\n"
        ".asciz \"toy\"\n.asciz \"step\"\n.asciz \"-4@%%edi\"\n"
        "994: .balign 4\n.popsection\n"
        ".pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n"
        ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n"
        "_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n.popsection\n" :: "D"(i));
    return i;
}
int main(void) { return step(0) + step(0); }
"#;

#[test]
fn probes_of_a_program_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("probed.c"), PROBED).unwrap();
    let mut cc = Command::new("cc");
    assert!(cc.args(["-pg", "-o", "steady", "probed.c"]).current_dir(dir.path()).status().unwrap().success());
    for words in [&["--list-event", "./steady"][..], &["record", "-E", "list", "./steady"]] {
        let out = Command::new(FATHOM).args(words).current_dir(dir.path()).output().unwrap();
        let list = String::from_utf8(out.stdout).unwrap();
        let list: Vec<_> = list.lines().filter(|line| !line.starts_with("[kernel event] ")).collect();
        assert_eq!((list.as_slice(), out.status.code()), (&["[SDT event] toy:step -4@%edi"][..], Some(0)));
    }
    assert!(!dir.path().join("fathom.data").exists(), "nothing is recorded");
}

/// What `fathom -p PID` says on stderr, and whether it succeeded.
fn ask_agent(pid: i32, options: &[&str]) -> (bool, String) {
    let out = Command::new(FATHOM).args(["-p", &pid.to_string()]).args(options).output().unwrap();
    (out.status.success(), String::from_utf8(out.stderr).unwrap())
}

#[test]
fn a_recording_is_changed_while_the_program_runs() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let recorder = Command::new(FATHOM)
        .args(["record", "-g", "-d", "trace", "./steady", "400"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let program = child_of(recorder.id());
    let socket = PathBuf::from(format!("/tmp/uftrace/{program}.socket"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !socket.exists() {
        assert!(Instant::now() < deadline, "no socket");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(200));
    let (done, said) = ask_agent(program, &["-T", "work@dpeth=1"]);
    assert!(!done && said.contains("did you mean 'depth='?"), "{said}");
    let (done, said) = ask_agent(program, &["-H", "work"]);
    assert!(!done && said.contains("--hide cannot be changed"), "{said}");
    assert_eq!(ask_agent(program, &["-N", "work", "-D", "10"]), (true, String::new()));
    let out = recorder.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.stdout, b"239400\n", "3 * (0 + ... + 399)");
    let (work, sleep) = (calls(dir.path(), "work"), calls(dir.path(), "usleep"));
    assert!((5..395).contains(&work) && sleep == 400, "{work} calls of work, {sleep} of usleep");
    assert!(!socket.exists());
    let (done, said) = ask_agent(program, &["--trace=off"]);
    assert!(!done && said.contains("cannot connect to socket"), "{said}");
}

/// Prints its process id, and whether it has children to wait for; exits with 3.
const LONELY: &str = r#"
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int work(int i) { return i * 3; }
int main(void) {
    int status, children = wait(&status) >= 0 || errno != ECHILD;
    for (int i = 0; i < 1000; i++) work(i);
    printf("%d %d\n", getpid(), children);
    return 3;
}
"#;

fn build_lonely(dir: &Path) {
    std::fs::write(dir.join("lonely.c"), LONELY).unwrap();
    let built = Command::new("cc").args(["-pg", "-O0", "-o", "lonely", "lonely.c"]).current_dir(dir).status();
    assert!(built.expect("cc is installed").success());
}

#[test]
fn the_program_can_have_the_process_id_of_the_recorder() {
    let dir = tempfile::tempdir().unwrap();
    build_lonely(dir.path());
    let child = Command::new(FATHOM)
        .args(["record", "--keep-pid", "-d", "trace", "./lonely"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let mut child = child;
    // Only the program: its recorder has its own end, and a reader waits for that.
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(3), "the program's own exit code");
    assert_eq!(calls(dir.path(), "work"), 1000);
    let out = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), format!("{pid} 0\n"));
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
}

#[test]
fn live_shows_what_a_program_with_our_process_id_did() {
    let dir = tempfile::tempdir().unwrap();
    build_lonely(dir.path());
    let out = Command::new(FATHOM)
        .args(["--keep-pid", "./lonely"])
        .current_dir(dir.path())
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(text.matches(" work();").count(), 1000, "{}", String::from_utf8_lossy(&out.stderr));
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("fathom-live")), "{left:?}");
}

#[test]
fn a_program_that_cannot_be_run_in_our_place_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    build_lonely(dir.path());
    let lonely = std::fs::read(dir.path().join("lonely")).unwrap();
    // An ELF file that passes the check, but whose loader does not exist.
    let text = b"/lib64/ld-linux-x86-64.so.2";
    let at = lonely.windows(text.len()).position(|window| window == text).unwrap();
    let mut broken = lonely;
    broken[at..at + 5].copy_from_slice(b"/nope");
    let program = dir.path().join("broken");
    std::fs::write(&program, broken).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for options in [&["record"][..], &["record", "--keep-pid"]] {
        let out = Command::new(FATHOM)
            .args(options)
            .args(["-d", "trace", "./broken"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{options:?}: {said}");
        assert!(said.contains("cannot run ./broken: No such file"), "{options:?}: {said}");
    }
}

#[test]
fn times_are_of_the_clock_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    build_lonely(dir.path());
    use rustix::time::{ClockId, clock_gettime};
    let clocks = [
        ("mono", ClockId::Monotonic),
        ("mono_raw", ClockId::MonotonicRaw),
        ("boot", ClockId::Boottime),
        ("realtime", ClockId::Realtime),
    ];
    for (name, id) in clocks {
        for without_tsc in [false, true] {
            let mut command = Command::new(FATHOM);
            command.args(["record", "--clock", name, "-d", "trace", "./lonely"]).current_dir(dir.path());
            if without_tsc {
                command.env("FATHOM_NO_TSC", "1");
            }
            let before = clock_gettime(id).tv_sec;
            command.output().unwrap();
            let after = clock_gettime(id).tv_sec;
            let (dump, _) = read(dir.path(), &["dump"]);
            let line = dump.lines().find(|line| line.contains("[entry] main")).unwrap();
            let seconds: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
            let inside = before as f64 - 0.01..=after as f64 + 1.01;
            assert!(inside.contains(&seconds), "{name}: {before} {seconds} {after}");
        }
    }
}

/// What -P finds out about a program is in the user's cache afterwards, and is worth the same the second time.
#[test]
fn analyses_are_kept_unless_they_are_not_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let record = |options: &[&str]| {
        let out = Command::new(FATHOM)
            .args(["record", "-d", "trace", "--no-libcall", "--patch-report", "-P", "."])
            .args(options)
            .args(["/bin/bash", "-c", "echo $((6 * 7))"])
            .env("XDG_CACHE_HOME", dir.path().join("cache"))
            .current_dir(dir.path())
            .output()
            .unwrap();
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert_eq!((out.status.success(), out.stdout.as_slice()), (true, &b"42\n"[..]), "{stderr}");
        stderr
    };
    let plans = dir.path().join("cache/fathom/plans");
    let without = record(&["--no-plan-cache"]);
    assert!(!plans.exists() && without.contains("functions patched"), "{without}");
    let first = record(&[]);
    let kept: Vec<_> = std::fs::read_dir(&plans).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let second = record(&[]);
    assert_eq!([&first, &second], [&without, &without]);
}
