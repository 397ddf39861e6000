//! Recordings over the network as users meet it: what `recv` wrote is the recording that was sent.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// At both ends.
const TOKEN: &str = "a token that nobody guesses\n";

const FATHOM: &str = env!("CARGO_BIN_EXE_fathom");

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(dir: &Path, words: &str) -> Output {
    let mut command = Command::new(FATHOM);
    command.current_dir(dir).env_remove("PAGER").stdin(Stdio::null());
    command.args(words.split_whitespace()).output().unwrap()
}

/// A directory with a recording (`sent.data`) and a token in it.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/values.data");
    let data = dir.path().join("sent.data");
    fs::create_dir(&data).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), data.join(entry.file_name())).unwrap();
    }
    fs::write(dir.path().join("token"), TOKEN).unwrap();
    dir
}

/// A receiver into `received`.
struct Receiver {
    child: Child,
    messages: BufReader<ChildStderr>,
    address: String,
}

impl Receiver {
    fn start(dir: &Path, words: &[&str]) -> Receiver {
        Receiver::of(Command::new(FATHOM), dir, words)
    }

    fn of(mut command: Command, dir: &Path, words: &[&str]) -> Receiver {
        command.args(["recv", "-d", "received", "--port", "0"]).args(words).current_dir(dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut messages = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        messages.read_line(&mut line).unwrap();
        let address = line.split("listening on ").nth(1).and_then(|rest| rest.split(',').next());
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        Receiver { child, messages, address }
    }

    /// Ends it by a signal; gives what it said and printed.
    fn stop(mut self) -> (String, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let (mut said, mut printed) = (String::new(), String::new());
        self.messages.read_to_string(&mut said).unwrap();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{said}");
        (said, printed)
    }
}

/// A message of uftrace's protocol.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xfa, 0xce, 0, kind];
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn wait_until(condition: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !condition() && started.elapsed().as_secs() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

const VIEWS: [&str; 6] = ["info", "report", "graph", "dump", "replay", "dump --chrome"];

/// What a view prints, and what it says.
fn view(dir: &Path, command: &str, data: &str) -> (String, String) {
    let output = run(dir, &format!("{command} --no-pager -d {data}"));
    assert_eq!(output.status.code(), Some(0), "{command} {data}: {}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr).replace(data, "DATA"))
}

/// Sends `sent.data` in both forms; each view of what came has to be that of what was sent. Gives the views of what was
/// sent.
fn compare_views(dir: &Path, what: &str) -> Vec<String> {
    let sent: Vec<_> = VIEWS.iter().map(|command| view(dir, command, "sent.data")).collect();
    for token in [&[][..], &["--token", "token"]] {
        let receiver = Receiver::start(dir, token);
        let words = format!("send -d sent.data --host {} {}", receiver.address, token.join(" "));
        let output = run(dir, &words);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let (said, _) = receiver.stop();
        assert!(said.contains("'received/sent.data' is complete"), "{said}");
        assert!(!said.contains("left out"), "{said}");
        for (command, sent) in VIEWS.iter().zip(&sent) {
            assert_eq!(*sent, view(dir, command, "received/sent.data"), "{command} of {what} {token:?}");
        }
        // Of this machine nothing may be needed that was not sent.
        let is_there = |name: &str| dir.join("received/sent.data").join(name).exists();
        let files = fs::read_dir(dir.join("sent.data")).unwrap();
        for name in files.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
            assert!(name.starts_with('.') || is_there(&name), "{what} {token:?} has no {name}");
        }
        fs::remove_dir_all(dir.join("received")).unwrap();
    }
    sent.into_iter().map(|(printed, _)| printed).collect()
}

#[test]
fn what_was_received_is_what_was_sent() {
    compare_views(place().path(), "values");
}

#[test]
fn recordings_with_the_kernel_arrive() {
    for name in ["6.12-fork-K4", "6.12-patch-K3", "6.12-loss-K30"] {
        let dir = common::unpack(name);
        fs::write(dir.path().join("token"), TOKEN).unwrap();
        fs::rename(dir.path().join("data"), dir.path().join("sent.data")).unwrap();
        let views = compare_views(dir.path(), name);
        assert!(views[3].contains("kernel"), "{}", views[3]);
    }
}

/// A fixture, compiled with calls of the tracer.
fn compile(dir: &Path, fixture: &str) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
    let mut compiler = Command::new("gcc");
    compiler.args(["-O0", "-pg", "-pthread", "-o", "program"]).arg(source).current_dir(dir);
    let made = compiler.status().is_ok_and(|status| status.success());
    if !made {
        eprintln!("skipped: there is no gcc");
    }
    made
}

/// Records a fixture and compares the views of what was sent with those of what came. Gives them, if it can be recorded.
fn compare_recorded(fixture: &str, options: &str) -> Option<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("token"), TOKEN).unwrap();
    if !compile(dir.path(), fixture) {
        return None;
    }
    let output = run(dir.path(), &format!("record -d sent.data {options} ./program"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    if options.contains("linux:") && !dir.path().join("sent.data/perf-cpu0.dat").exists() {
        eprintln!("skipped: {}", text(&output.stderr));
        return None;
    }
    Some(compare_views(dir.path(), fixture))
}

#[test]
fn recordings_of_several_processes_arrive() {
    if let Some(views) = compare_recorded("exec_self_chain.c", "") {
        assert!(views[1].contains(" next\n") && views[3].matches(" main(").count() > 4, "{}", views[3]);
    }
    for fixture in ["posix_spawn.c", "vfork_exec.c", "fork_bomb_200_short_children.c"] {
        compare_recorded(fixture, "");
    }
}

#[test]
fn recordings_with_events_arrive() {
    if let Some(views) = compare_recorded("options_threads.c", "-E linux:schedule") {
        assert!(views[4].contains("/* linux:sched-in */"), "{}", views[4]);
    }
    if let Some(views) = compare_recorded("options_sdt.c", "-E fixture:plain -E fixture:valued") {
        let shown = &views[4];
        assert!(shown.contains("/* fixture:plain */") && shown.contains("arg2=1099511627776"), "{shown}");
    }
    // Values, counters and watched memory are of the program's own kinds of events.
    if let Some(views) =
        compare_recorded("options_watch.c", "-W cpu -T main@read=proc/statm -A .*@arg1 -R .*@retval")
    {
        assert!(views[4].contains("read:proc/statm"), "{}", views[4]);
    }
}

#[test]
fn commands_run_on_what_was_received() {
    let dir = place();
    let command = format!("{FATHOM} report --no-pager -d sent.data");
    let receiver = Receiver::start(dir.path(), &["--run-cmd", &command]);
    assert_eq!(
        run(dir.path(), &format!("send -d sent.data --host {}", receiver.address)).status.code(),
        Some(0)
    );
    let (_, printed) = receiver.stop();
    let wanted = text(&run(dir.path(), "report -d sent.data").stdout);
    assert_eq!(printed, wanted);
}

#[test]
fn a_receiver_says_whom_it_listens_for() {
    let dir = place();
    let said = |words: &[&str]| {
        let mut command = Command::new(FATHOM);
        command.args(["recv", "--port", "0"]).args(words).current_dir(dir.path());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        line
    };
    assert!(said(&[]).contains("listening on 127.0.0.1:"));
    assert!(said(&[]).contains("for this machine only"));
    assert!(said(&["--host", "0.0.0.0"]).contains("for everybody who reaches it"));
    assert!(said(&["--host", "0.0.0.0", "--token", "token"]).contains("for whoever knows the token"));
}

#[test]
fn a_stopped_receiver_leaves_what_has_come() {
    // With arguments, which the header would describe: it comes last.
    let dir = place();
    let receiver = Receiver::start(dir.path(), &[]);
    let mut stream = TcpStream::connect(&receiver.address).unwrap();
    stream.write_all(&message(101, b"../../part.data")).unwrap();
    let tasks = fs::read_dir(dir.path().join("sent.data")).unwrap().map(|entry| entry.unwrap().path());
    let is_records = |path: &PathBuf| path.extension().is_some_and(|end| end == "dat");
    let of_tasks = tasks.filter(is_records).filter_map(|path| {
        let tid: i32 = path.file_stem()?.to_str()?.parse().ok()?;
        Some((tid, path))
    });
    let mut sent = 0;
    for (tid, path) in of_tasks {
        let records = fs::read(path).unwrap();
        sent += records.len() as u64;
        let body = [&tid.to_be_bytes()[..], &records].concat();
        stream.write_all(&message(102, &body)).unwrap();
    }
    let received = dir.path().join("received/part.data");
    let bytes = || -> u64 {
        let files = fs::read_dir(&received).into_iter().flatten();
        files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    };
    wait_until(|| bytes() >= sent);
    let (said, _) = receiver.stop();
    assert!(said.contains("'received/part.data' is not complete"), "{said}");
    assert!(said.contains("stopped; what has come can be read"), "{said}");
    let dump = run(dir.path(), "dump --no-pager -d received/part.data");
    assert_eq!(dump.status.code(), Some(0), "{}", text(&dump.stderr));
    assert!(text(&dump.stdout).contains("[entry] <"), "{}", text(&dump.stdout));
    assert!(!dir.path().join("part.data").exists());
}

#[test]
fn a_full_disk_at_the_receiver_leaves_what_has_come() {
    /// A small file system that only the receiver sees.
    const SMALL: &str = r#"mkdir received && mount -t tmpfs -o size=256k none received && exec "$0" "$@""#;
    let private = if rustix::process::getuid().is_root() { "-m" } else { "-rm" };
    let probe = Command::new("unshare").args([private, "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no file system can be mounted for a process of its own");
        return;
    }
    let dir = place();
    let mut command = Command::new("unshare");
    command.args([private, "sh", "-c", SMALL, FATHOM]);
    let receiver = Receiver::of(command, dir.path(), &[]);
    // The receiver's own view of what is on its disk.
    let root = format!("/proc/{}/root{}", receiver.child.id(), dir.path().join("received").display());
    let records = |count: u64| {
        let entry = |time| {
            let word = fathom_store::record::encode(fathom_store::Kind::Entry, 0, 0x40_1000);
            fathom_store::record::encode_bytes(time, word)
        };
        [&7i32.to_be_bytes()[..], (0..count).flat_map(entry).collect::<Vec<_>>().as_slice()].concat()
    };
    let mut stream = TcpStream::connect(&receiver.address).unwrap();
    stream.write_all(&message(101, b"sent.data")).unwrap();
    stream.write_all(&message(102, &records(256))).unwrap();
    let came = format!("{root}/sent.data/7.dat");
    wait_until(|| fs::metadata(&came).is_ok_and(|data| data.len() == 4096));
    // Others fill the disk to its last byte.
    let mut filler = fs::File::create(format!("{root}/filler")).unwrap();
    while filler.write_all(&[1; 1024]).is_ok() {}
    stream.write_all(&message(102, &records(256))).unwrap();
    // It is told.
    assert!(stream.read(&mut [0; 1]).is_err());
    let dump = run(dir.path(), &format!("dump --no-pager -d {root}/sent.data"));
    let (said, _) = receiver.stop();
    assert!(
        said.contains("No space left on device") && said.contains("bytes that came can be read"),
        "{said}"
    );
    assert_eq!(dump.status.code(), Some(0), "{} {said}", text(&dump.stderr));
    assert_eq!(text(&dump.stdout).matches("[entry]").count(), 256, "{}", text(&dump.stdout));
}

#[test]
fn calls_with_arguments_of_a_sender_that_died_can_be_read() {
    let source = "#include <unistd.h>\nint leaf(int n, const char *s) { return n + *s; }\n\
                  int main(void) { leaf(42, \"said\"); sleep(30); return 0; }\n";
    let token = ["--token", "token"];
    let dir = place();
    fs::write(dir.path().join("toy.c"), source).unwrap();
    let mut made = Command::new("gcc");
    made.args(["-g", "-O0", "-pg", "toy.c", "-o", "toy"]).current_dir(dir.path());
    if !made.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no gcc");
        return;
    }
    let receiver = Receiver::start(dir.path(), &token);
    let mut command = Command::new(FATHOM);
    command.args(["record", "-a", "-d", "toy.data", "--host", &receiver.address]).args(token).arg("./toy");
    let mut sender = command.current_dir(dir.path()).stderr(Stdio::null()).spawn().unwrap();
    let received = dir.path().join("received/toy.data");
    let has = |end: &str| {
        let names = fs::read_dir(&received).into_iter().flatten();
        let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.any(|name| name.ends_with(end) && !name.starts_with("perf"))
    };
    wait_until(|| has(".dat") && has("toy.sym") && has("toy.dbg"));
    sender.kill().unwrap();
    sender.wait().unwrap();
    // What the sender had must not help.
    fs::remove_dir_all(dir.path().join("toy.data.sending")).unwrap();
    fs::remove_file(dir.path().join("toy")).unwrap();
    let (said, _) = receiver.stop();
    assert!(said.contains("is not complete"), "{said}");
    let (shown, _) = view(dir.path(), "replay", "received/toy.data");
    assert!(shown.contains("leaf(42, \"said\")"), "{shown} {said}");
}

#[test]
fn what_cannot_be_sent_is_kept_and_named() {
    let dir = place();
    let output = run(dir.path(), "send -d sent.data --host 127.0.0.1:1");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot connect to 127.0.0.1:1"), "{}", text(&output.stderr));
    // Nothing runs if nobody would have it.
    let output = run(dir.path(), "record --host 127.0.0.1:1 -d x.data /bin/true");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("start `fathom recv` there"), "{}", text(&output.stderr));
    let output = run(dir.path(), "send -d sent.data");
    assert!(text(&output.stderr).contains("--host HOST[:PORT]"), "{}", text(&output.stderr));
    fs::write(dir.path().join("short"), "x").unwrap();
    let output = run(dir.path(), "recv --token short");
    assert!(text(&output.stderr).contains("at least 16 characters"), "{}", text(&output.stderr));
}

#[test]
fn recordings_are_sent_instead_of_kept() {
    let dir = place();
    let source = "int leaf(int n) { return n + 1; }\nint main(void) { return leaf(1) == 2 ? 0 : 1; }\n";
    fs::write(dir.path().join("toy.c"), source).unwrap();
    let made =
        Command::new("gcc").args(["-O0", "-pg", "toy.c", "-o", "toy"]).current_dir(dir.path()).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no gcc");
        return;
    }
    for token in [&[][..], &["--token", "token"]] {
        let receiver = Receiver::start(dir.path(), token);
        let words = format!("record -d toy.data --host {} {} ./toy", receiver.address, token.join(" "));
        let output = run(dir.path(), &words);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let (said, _) = receiver.stop();
        assert!(said.contains("'received/toy.data' is complete"), "{said}");
        let graph = text(&run(dir.path(), "report -d received/toy.data -F leaf").stdout);
        assert!(graph.contains(" leaf\n"), "{graph}");
        for left in ["toy.data", "toy.data.sending"] {
            assert!(!dir.path().join(left).exists(), "{left}");
        }
    }
}
