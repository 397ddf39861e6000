//! Scripts as users run them. The twenty of `scripts/` print over `scripts/values.data` what uftrace 0.13 printed
//! (`scripts/expected`), and where uftrace is installed, what it prints now.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

fn fathom(dir: &Path) -> Command {
    program(Path::new(env!("CARGO_BIN_EXE_fathom")), dir)
}

fn program(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).env_remove("PAGER").env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a script of this text over the recording.
fn run(name: &str, script: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), script).unwrap();
    fathom(dir.path()).args(["script", "-S", name, "-d"]).arg(scripts().join("values.data")).output().unwrap()
}

/// What a script that fails says on standard error. It must not end with 0.
fn trouble(name: &str, script: &str) -> String {
    let output = run(name, script);
    assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output.stderr));
    text(&output.stderr)
}

#[test]
fn the_same_output_as_uftrace() {
    let dir = scripts();
    let peer = Path::new("/usr/bin/uftrace");
    let mut count = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !(name.ends_with(".py") || name.ends_with(".lua")) {
            continue;
        }
        count += 1;
        let words = ["script", "-d", "values.data", "-S", &name];
        let output = fathom(&dir).args(words).output().unwrap();
        assert_eq!((text(&output.stderr), output.status.code()), (String::new(), Some(0)), "{name}");
        let wanted = fs::read_to_string(dir.join("expected").join(format!("{name}.out"))).unwrap();
        assert_eq!(text(&output.stdout), wanted, "{name}");
        if peer.exists() {
            let now = program(peer, &dir).args(words).output().unwrap();
            // It loads the interpreters' libraries, which may not be there.
            if now.status.success() && now.stderr.is_empty() {
                assert_eq!(text(&now.stdout), wanted, "{name} by uftrace");
            }
        }
    }
    assert_eq!(count, 20);
}

/// With filters the calls are those of uftrace 0.13, and the events those of replay. uftrace's scripts get all events, also
/// those inside of calls that are left out, which its replay leaves out as ours does.
#[test]
fn filters_choose_as_in_uftrace_and_in_replay() {
    const SCRIPT: &str = "\
function uftrace_entry(ctx) print(table.concat({'entry', ctx.tid, ctx.depth, ctx.name}, ' ')) end
function uftrace_exit(ctx) print(table.concat({'exit', ctx.tid, ctx.depth, ctx.name, ctx.duration}, ' ')) end
function uftrace_event(ctx) print('event ' .. ctx.name) end
";
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("calls.lua"), SCRIPT).unwrap();
    let data = scripts().join("values.data");
    let expected = fs::read_to_string(scripts().join("expected/filters.txt")).unwrap();
    let run = |command: &[&str], filters: &str| {
        let output = fathom(dir.path()).args(command).arg("-d").arg(&data).args(filters.split(' ')).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(0), "{filters}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let mut events = 0;
    for part in expected.split("$ ").skip(1) {
        let (filters, wanted) = part.split_once('\n').unwrap();
        let shown = run(&["script", "-S", "calls.lua"], filters);
        let (told, calls): (Vec<&str>, Vec<&str>) =
            shown.lines().partition(|line| line.starts_with("event "));
        assert_eq!(calls, wanted.lines().collect::<Vec<_>>(), "{filters}");
        // A pair of scheduler events is one line there if nothing is between them.
        let replay = run(&["replay", "--no-pager", "--event-full", "-f", "tid"], filters);
        let count = |name: &str| replay.matches(name).count();
        let pairs = count("linux:schedule ") + count("linux:schedule(");
        let wanted = count("/* linux:") + pairs + count("/* read:") + count("/* diff:");
        assert_eq!(told.len(), wanted, "{filters}\n{replay}\n{shown}");
        events += told.len();
    }
    assert!(events > 50, "{events}");
}

#[test]
fn failures_in_python_point_into_the_script() {
    let said =
        trouble("a.py", "def deeper(x):\n    return 1 / x\n\ndef uftrace_entry(ctx):\n    deeper(0)\n");
    assert!(said.contains("a.py\", line 5, in uftrace_entry"), "{said}");
    assert!(
        said.contains("running the script 'a.py': a.py, line 2: ZeroDivisionError: division by zero"),
        "{said}"
    );
    assert!(!said.contains("bridge"), "{said}");
    let said = trouble("a.py", "def uftrace_entry(ctx:\n");
    assert!(said.contains("a.py, line 1: SyntaxError"), "{said}");
    let said = trouble("a.py", "import no_such_module_anywhere\n");
    assert!(said.contains("a.py, line 1: ModuleNotFoundError"), "{said}");
    let said = trouble("a.py", "def uftrace_begin(ctx):\n    raise ValueError('early')\n");
    assert!(said.contains("a.py, line 2: ValueError: early"), "{said}");
    let said = trouble("a.py", "def uftrace_end():\n    raise ValueError('late')\n");
    assert!(said.contains("a.py, line 2: ValueError: late"), "{said}");
}

#[test]
fn scripts_that_leave_are_noticed() {
    let said = trouble("a.py", "import sys\ndef uftrace_entry(ctx):\n    sys.exit(0)\n");
    assert!(said.contains("the script exited (0) in a.py, line 3"), "{said}");
    let said = trouble("a.py", "import os\ndef uftrace_entry(ctx):\n    os._exit(0)\n");
    assert!(said.contains("has ended its interpreter (exit status 0)"), "{said}");
    let said = trouble("a.py", "import os\ndef uftrace_entry(ctx):\n    os.kill(os.getpid(), 9)\n");
    assert!(said.contains("has ended its interpreter (signal 9)"), "{said}");
    let said = trouble("a.py", "import os\ndef uftrace_entry(ctx):\n    os.closerange(3, 99)\n");
    assert!(said.contains("has closed the pipes"), "{said}");
    let said = trouble(
        "a.py",
        "import os\ndef uftrace_entry(ctx):\n    os.closerange(3, 99)\n    while True: pass\n",
    );
    assert!(said.contains("has closed the pipes"), "{said}");
    let said = trouble("a.py", "import sys\ndef uftrace_entry(ctx):\n    sys.stdout.close()\n    print(1)\n");
    assert!(said.contains("a.py, line 4: ValueError"), "{said}");
    let said = trouble("a.lua", "function uftrace_entry(ctx)\n  os.exit(0)\nend\n");
    assert!(said.contains("a.lua:2: the script exited (0)"), "{said}");
    // Children that go on are nobody's business.
    let output = run(
        "a.py",
        "import os, time\nif os.fork() == 0:\n    os.close(1)\n    os.close(2)\n    time.sleep(60)\n    os._exit(0)\ndef uftrace_end():\n    print('end')\n",
    );
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "end\n".to_owned()));
}

#[test]
fn failures_in_lua_point_into_the_script() {
    let said = trouble(
        "a.lua",
        "local function deeper(x) return x.y.z end\nfunction uftrace_entry(ctx)\n  deeper({})\nend\n",
    );
    assert!(said.contains("a.lua:1: attempt to index") && said.contains("a.lua:3: in "), "{said}");
    let said = trouble("a.lua", "function uftrace_entry(ctx");
    assert!(said.contains("a.lua:1: ')' expected"), "{said}");
    let said = trouble("a.lua", "function uftrace_end() error('late') end");
    assert!(said.contains("a.lua:1: late"), "{said}");
}

/// Interrupts a script that does not end; gives what it says and how long that took.
fn interrupted(name: &str, script: &str) -> (String, Duration) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), script).unwrap();
    let mut command = fathom(dir.path());
    command.args(["script", "-S", name, "-d"]).arg(scripts().join("values.data"));
    // A group of its own, as a shell would make one.
    command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let group = rustix::process::Pid::from_child(&child);
    // Until it says that it has come so far.
    let ready = dir.path().join("ready");
    let started = Instant::now();
    while !ready.exists() && started.elapsed() < Duration::from_secs(30) {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(ready.exists(), "{name} did not begin");
    let asked = Instant::now();
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    (text(&output.stderr), asked.elapsed())
}

#[test]
fn scripts_that_do_not_end_can_be_interrupted() {
    let begin = "def uftrace_entry(ctx):\n    open('ready', 'w').close()\n";
    let (said, _) = interrupted("a.py", &format!("{begin}    while True:\n        pass\n"));
    assert!(said.contains("KeyboardInterrupt") && said.contains("interrupted in a.py, line "), "{said}");
    let ignore = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n";
    let (said, _) = interrupted("a.py", &format!("{ignore}{begin}    while True: pass\n"));
    assert!(said.contains("interrupted in a.py, line "), "{said}");
    let ignores =
        format!("{ignore}signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{begin}    while True: pass\n");
    let (said, took) = interrupted("a.py", &ignores);
    assert!(said.contains("interrupted and killed") && took < Duration::from_secs(20), "{said}");
    let lua = "function uftrace_entry(ctx)\n  io.open('ready', 'w'):close()\n  while true do pcall(function() while true do end end) end\nend\n";
    let (said, _) = interrupted("a.lua", lua);
    assert!(said.contains("the script was interrupted"), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_trouble() {
    for script in ["everything.py", "everything.lua"] {
        let command = format!(
            "{} script -d values.data -S {script} | head -1 >/dev/null; echo ${{PIPESTATUS[0]}}",
            env!("CARGO_BIN_EXE_fathom")
        );
        let output = Command::new("bash").args(["-c", &command]).current_dir(scripts()).output().unwrap();
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            ("0\n".to_owned(), String::new()),
            "{script}"
        );
    }
}

#[test]
fn scripts_that_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |words: &str| {
        let output = fathom(dir.path()).args(words.split(' ')).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words}");
        text(&output.stderr)
    };
    fs::write(dir.path().join("x.txt"), "").unwrap();
    let data = scripts().join("values.data").display().to_string();
    assert!(refused("script").contains("script needs a script"));
    assert!(refused(&format!("script -d {data} -S x.txt")).contains("neither with .py"));
    assert!(refused(&format!("script -d {data} -S none.py")).contains("cannot open script file 'none.py'"));
    assert!(refused(&format!("script -d {data} -S count --python no-python")).contains("'no-python'"));
    fs::write(dir.path().join("x.py"), "# uftrace-option: --no-such\n").unwrap();
    assert!(
        refused("record -S x.py ./a").contains("the head of script 'x.py': there is no option '--no-such'")
    );
    fs::write(dir.path().join("x.py"), "UFTRACE_FUNCS = ['(']\n").unwrap();
    assert!(refused(&format!("script -d {data} -S x.py")).contains("UFTRACE_FUNCS"));
}

#[test]
fn scripts_that_come_with_fathom() {
    let dir = scripts();
    let mut all = String::new();
    for name in ["count", "malloc", "percentiles", "slowest", "threads"] {
        let output = fathom(&dir).args(["script", "-d", "values.data", "-S", name]).output().unwrap();
        assert_eq!((text(&output.stderr), output.status.code()), (String::new(), Some(0)), "{name}");
        all.push_str(&format!("---- {name}\n{}", text(&output.stdout)));
        let shown = fathom(&dir).args(["script", "--show", "-S", name]).output().unwrap();
        assert!(text(&shown.stdout).contains("uftrace_end"), "{name}");
    }
    let list = fathom(&dir).args(["script", "--list"]).output().unwrap();
    insta::assert_snapshot!(format!("{}{all}", text(&list.stdout)));
}

/// An instrumented program, or none where there is no compiler.
fn toy(dir: &Path) -> Option<PathBuf> {
    let source = "int leaf(int n) { return n + 1; }\nint main(void) { int i, s = 0; for (i = 0; i < 3; i++) s += leaf(i); return s == 6 ? 0 : 1; }\n";
    fs::write(dir.join("toy.c"), source).unwrap();
    let made = Command::new("gcc").args(["-O0", "-g", "-pg", "toy.c", "-o", "toy"]).current_dir(dir).status();
    made.is_ok_and(|status| status.success()).then(|| dir.join("toy"))
}

#[test]
fn scripts_go_with_a_recording_and_never_harm_it() {
    let dir = tempfile::tempdir().unwrap();
    if toy(dir.path()).is_none() {
        eprintln!("skipped: there is no gcc");
        return;
    }
    let run = |words: &str| fathom(dir.path()).args(words.split(' ')).output().unwrap();
    let counts = |data: &str| {
        let report = run(&format!("report -d {data} -F leaf"));
        text(&report.stdout)
            .lines()
            .filter(|line| line.ends_with(" leaf"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let good = "# uftrace-option: -A leaf@arg1/i32 -R leaf@retval/i32 -F leaf\n\
        def uftrace_begin(ctx):\n    print(ctx['record'], ctx['cmds'])\n\
        def uftrace_entry(ctx):\n    print('>', ctx['name'], ctx['args'])\n\
        def uftrace_exit(ctx):\n    print('<', ctx['name'], ctx['retval'])\n\
        def uftrace_end():\n    print('end')\n";
    fs::write(dir.path().join("good.py"), good).unwrap();
    let calls = "> leaf (0,)\n< leaf 1\n> leaf (1,)\n< leaf 2\n> leaf (2,)\n< leaf 3\nend\n";
    for (words, record) in [
        ("record -d a -S good.py ./toy x", "True"),
        ("record --keep-pid -d a -S good.py ./toy x", "True"),
        ("script --record -d a -S good.py ./toy x", "False"),
    ] {
        let output = run(words);
        assert_eq!((text(&output.stderr), output.status.code()), (String::new(), Some(0)), "{words}");
        assert_eq!(text(&output.stdout), format!("{record} ('./toy', 'x')\n{calls}"), "{words}");
    }
    let live = text(&run("live -S good.py ./toy").stdout);
    assert!(live.starts_with(&format!("True ('./toy',)\n{calls}# DURATION")), "{live}");
    // Whatever the script does, the recording is there.
    for bad in ["raise ValueError()", "import os; os._exit(3)", "import os; os.closerange(0, 99)", "exit()"] {
        fs::write(dir.path().join("bad.py"), format!("def uftrace_entry(ctx):\n    {bad}\n")).unwrap();
        let output = run("record -d b -S bad.py ./toy");
        assert_eq!(output.status.code(), Some(1), "{bad}");
        assert!(
            text(&output.stderr).contains("the recording in 'b' is complete"),
            "{}",
            text(&output.stderr)
        );
        let found = counts("b");
        assert!(found.len() == 1 && found[0].contains("  3  leaf"), "{bad}: {found:?}");
        fs::remove_dir_all(dir.path().join("b")).unwrap();
    }
    // What is wrong from the beginning is said before the program runs.
    fs::write(dir.path().join("bad.py"), "def uftrace_begin(ctx):\n    raise ValueError('no')\n").unwrap();
    assert_eq!(run("record -d b -S bad.py ./toy").status.code(), Some(1));
    assert!(!dir.path().join("b").exists());
}

/// A program of this text; none where there is no compiler.
fn compiled(dir: &Path, name: &str, source: &str) -> bool {
    fs::write(dir.join(format!("{name}.c")), source).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-O0", "-g", "-pg", &format!("{name}.c"), "-o", name, "-lpthread"]).current_dir(dir);
    let made = gcc.status().is_ok_and(|status| status.success());
    if !made {
        eprintln!("skipped: there is no gcc");
    }
    made
}

/// Goes on until there is a file `seen`, or fails after half a minute.
const WAITS: &str = r#"
#include <unistd.h>
int leaf(int n) { return n + 1; }
int main(void) {
    for (int i = 0; i < 3000; i++) {
        leaf(i);
        if (access("seen", F_OK) == 0) return 0;
        usleep(10000);
    }
    return 7;
}
"#;

#[test]
fn scripts_are_called_while_the_program_runs() {
    let dir = tempfile::tempdir().unwrap();
    if !compiled(dir.path(), "waits", WAITS) {
        return;
    }
    let python = "def uftrace_exit(ctx):\n    if ctx['name'] == 'leaf':\n        open('seen', 'w').close()\n";
    let lua =
        "function uftrace_exit(ctx)\n  if ctx.name == 'leaf' then io.open('seen', 'w'):close() end\nend\n";
    for (name, script) in [("a.py", python), ("a.lua", lua)] {
        fs::write(dir.path().join(name), script).unwrap();
        for words in ["record -d w", "live"] {
            let _ = fs::remove_file(dir.path().join("seen"));
            let output = fathom(dir.path())
                .args(words.split(' '))
                .args(["-S", name, "--no-event", "./waits"])
                .output()
                .unwrap();
            assert_eq!(
                (text(&output.stderr), output.status.code()),
                (String::new(), Some(0)),
                "{name} {words}"
            );
        }
    }
    // What is printed is seen meanwhile, too.
    let prints = "def uftrace_exit(ctx):\n    if ctx['name'] == 'leaf':\n        print('leaf')\n";
    fs::write(dir.path().join("a.py"), prints).unwrap();
    fs::remove_file(dir.path().join("seen")).unwrap();
    let mut child = fathom(dir.path())
        .args("record -d w -S a.py ./waits".split(' '))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "leaf\n");
    fs::write(dir.path().join("seen"), "").unwrap();
    std::io::copy(&mut out, &mut std::io::sink()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Threads, a child process, arguments, and functions that come and go.
const VARIED: &str = r#"
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int leaf(int n) { return n + 1; }
int work(int n) { return leaf(n) + leaf(n + 1); }
int down(int n) { return n == 0 ? 0 : 1 + down(n - 1); }
void *thread(void *arg) {
    for (int i = 0; i < 40; i++) { work(i); down(i); usleep(5000); }
    return arg;
}
int main(void) {
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], 0, thread, 0);
    for (int i = 0; i < 20000; i++) work(i);
    if (fork() == 0) { usleep(20000); work(1000); exit(0); }
    for (int i = 0; i < 3; i++) pthread_join(threads[i], 0);
    wait(0);
    return 0;
}
"#;

#[test]
fn calls_while_recording_are_those_of_the_recording() {
    let dir = tempfile::tempdir().unwrap();
    if !compiled(dir.path(), "varied", VARIED) {
        return;
    }
    let everything = "def uftrace_begin(ctx):\n    global out\n    out = open('out', 'w')\n\
        def line(what, ctx):\n    print(ctx['tid'], ctx['timestamp'], what, sorted(ctx.items()), file=out)\n\
        def uftrace_entry(ctx): line('>', ctx)\n\
        def uftrace_exit(ctx): line('<', ctx)\n\
        def uftrace_event(ctx): line('!', ctx)\n\
        def uftrace_end():\n    out.close()\n";
    fs::write(dir.path().join("a.py"), everything).unwrap();
    let lines = |words: &str| {
        let output = fathom(dir.path()).args(words.split(' ')).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words}: {}", text(&output.stderr));
        fs::read_to_string(dir.path().join("out")).unwrap()
    };
    // With a filter by time, calls are recorded after they have happened, and events of processors come before them.
    for options in ["-a", "--no-event -t 2us", "--no-libcall"] {
        let live = lines(&format!("record -d v -S a.py {options} ./varied"));
        let after = lines("script -d v -S a.py");
        let sorted = |text: &str| {
            // Those of a task have to be in the order of the recording; tasks may be mixed otherwise.
            let mut lines: Vec<(i32, String)> = text
                .lines()
                .map(|line| (line.split(' ').next().unwrap().parse().unwrap(), line.to_owned()))
                .collect();
            lines.sort_by_key(|(tid, _)| *tid);
            lines
        };
        let (live, after) = (sorted(&live), sorted(&after));
        assert!(after.len() > 200, "{options}: {}", after.len());
        let differs = live.iter().zip(&after).find(|(live, after)| live != after);
        assert_eq!((live.len(), differs), (after.len(), None), "{options}");
    }
}

#[test]
fn no_script_holds_a_recording_up() {
    let dir = tempfile::tempdir().unwrap();
    let source = "int leaf(int n) { return n + 1; }\nint main(void) { for (int i = 0; i < 300000; i++) leaf(i); return 0; }\n";
    if !compiled(dir.path(), "many", source) {
        return;
    }
    let entry = "def uftrace_entry(ctx):\n";
    let scripts = [
        ("raises", format!("{entry}    raise ValueError('here')\n"), "a.py, line 2: ValueError: here"),
        ("exits", format!("{entry}    exit(0)\n"), "the script exited"),
        ("is gone", format!("import os\n{entry}    os._exit(3)\n"), "has ended its interpreter"),
        ("closes", format!("import os\n{entry}    os.closerange(3, 99)\n"), "has closed the pipes"),
        ("late", "def uftrace_end():\n    raise ValueError('late')\n".to_owned(), "ValueError: late"),
    ];
    for (what, script, message) in scripts {
        fs::write(dir.path().join("a.py"), script).unwrap();
        let _ = fs::remove_dir_all(dir.path().join("m"));
        let output =
            fathom(dir.path()).args("record -d m --no-libcall -S a.py ./many".split(' ')).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert!(
            said.contains(message) && said.contains("the recording in 'm' is complete"),
            "{what}: {said}"
        );
        let report = fathom(dir.path()).args("report -d m -F leaf".split(' ')).output().unwrap();
        assert!(text(&report.stdout).contains("300000  leaf"), "{what}: {}", text(&report.stdout));
    }
}

#[test]
fn a_script_that_does_not_end_ends_when_the_user_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let source = "int leaf(int n) { return n + 1; }\nint main(void) { for (int i = 0; i < 300000; i++) leaf(i); return 0; }\n";
    if !compiled(dir.path(), "many", source) {
        return;
    }
    let python = "def uftrace_entry(ctx):\n    while True:\n        pass\n";
    let lua = "function uftrace_entry(ctx)\n  while true do end\nend\n";
    for (name, script) in [("a.py", python), ("a.lua", lua)] {
        fs::write(dir.path().join(name), script).unwrap();
        let _ = fs::remove_dir_all(dir.path().join("m"));
        let mut command = fathom(dir.path());
        command.args(["record", "-d", "m", "--no-libcall", "-S", name, "./many"]);
        let child = command.process_group(0).stderr(Stdio::piped()).spawn().unwrap();
        let group = rustix::process::Pid::from_child(&child);
        // The program does not wait for it: the recording is complete.
        let started = Instant::now();
        let complete = || dir.path().join("m/info").exists() && !dir.path().join("m/.fathom").exists();
        while !complete() && started.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(10));
        }
        assert!(complete(), "{name}");
        let report = fathom(dir.path()).args("report -d m -F leaf".split(' ')).output().unwrap();
        assert!(text(&report.stdout).contains("300000  leaf"), "{}", text(&report.stdout));
        thread::sleep(Duration::from_millis(300));
        rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("interrupted") && said.contains("the recording in 'm' is complete"), "{said}");
    }
}

#[test]
fn an_interrupt_that_ends_the_program_is_not_for_the_script() {
    let dir = tempfile::tempdir().unwrap();
    if !compiled(dir.path(), "waits", WAITS) {
        return;
    }
    let script =
        "def uftrace_entry(ctx):\n    open('called', 'w').close()\ndef uftrace_end():\n    print('end')\n";
    fs::write(dir.path().join("a.py"), script).unwrap();
    let mut command = fathom(dir.path());
    command.args("record -d w -S a.py ./waits".split(' '));
    let child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let group = rustix::process::Pid::from_child(&child);
    let started = Instant::now();
    while !dir.path().join("called").exists() && started.elapsed() < Duration::from_secs(30) {
        thread::sleep(Duration::from_millis(10));
    }
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((text(&output.stdout), output.status.code()), ("end\n".to_owned(), Some(2)));
}
