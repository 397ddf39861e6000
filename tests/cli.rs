//! The program as users meet it: its texts, exit codes and messages, over a small recording made by uftrace 0.13
//! (`cli/toy.data`: recursion, a thread, a forked child that exits).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A directory to work in, with the recording in it under the given name.
fn place(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join(name);
    fs::create_dir(&target).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/toy.data");
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
    }
    dir
}

fn program(dir: &Path) -> Command {
    named(Path::new(env!("CARGO_BIN_EXE_fathom")), dir)
}

fn named(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(dir)
        .env_remove("PAGER")
        .env_remove("NO_COLOR")
        .env("COLUMNS", "100")
        .stdin(Stdio::null());
    command
}

fn run(dir: &Path, words: &str) -> Output {
    program(dir).args(words.split_whitespace()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Standard output of a call that must succeed and say nothing else.
fn shown(dir: &Path, words: &str) -> String {
    let output = run(dir, words);
    assert_eq!(text(&output.stderr), "", "{words}");
    assert_eq!(output.status.code(), Some(0), "{words}");
    text(&output.stdout)
}

/// Exit code and standard error of a call that must not write anything else.
fn refused(dir: &Path, words: &str) -> String {
    let output = run(dir, words);
    assert_eq!(text(&output.stdout), "", "{words}");
    format!("{}: {}", output.status.code().unwrap(), text(&output.stderr))
}

#[test]
fn help_of_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = shown(dir.path(), "--help");
    let commands =
        ["record", "replay", "live", "report", "info", "dump", "graph", "tui", "script", "recv", "send"];
    for command in commands {
        all.push_str(&format!("\n---- {command}\n\n{}", shown(dir.path(), &format!("{command} -h"))));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn usage_without_any_word() {
    let dir = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(shown(dir.path(), ""));
    let output = run(dir.path(), "record");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains(" usage: fathom [COMMAND]"));
}

#[test]
fn replay() {
    let dir = place("fathom.data");
    insta::assert_snapshot!(shown(dir.path(), "replay"));
    insta::assert_snapshot!(
        "replay_options",
        shown(dir.path(), "replay -f tid,time --no-merge --no-libcall --no-comment")
    );
}

#[test]
fn report() {
    let dir = place("fathom.data");
    insta::assert_snapshot!(shown(dir.path(), "report"));
    insta::assert_snapshot!("report_options", shown(dir.path(), "report -s call -s func -f +self-avg,size"));
    insta::assert_snapshot!("report_no_libcall", shown(dir.path(), "report --no-libcall"));
    insta::assert_snapshot!("report_task", shown(dir.path(), "report --task"));
    insta::assert_snapshot!("report_diff", shown(dir.path(), "report --diff fathom.data --diff-policy full"));
}

#[test]
fn graph() {
    let dir = place("fathom.data");
    insta::assert_snapshot!(shown(dir.path(), "graph"));
    insta::assert_snapshot!("graph_function", shown(dir.path(), "graph leaf"));
    insta::assert_snapshot!("graph_no_libcall", shown(dir.path(), "graph --no-libcall -f +self"));
    insta::assert_snapshot!("graph_task", shown(dir.path(), "graph --task"));
}

#[test]
fn info() {
    let dir = place("fathom.data");
    insta::assert_snapshot!(shown(dir.path(), "info"));
    insta::assert_snapshot!("info_task", shown(dir.path(), "info --task"));
    insta::assert_snapshot!("info_symbols", shown(dir.path(), "info --symbols"));
}

#[test]
fn dump() {
    let dir = place("fathom.data");
    insta::assert_snapshot!(shown(dir.path(), "dump"));
    let output = run(dir.path(), "dump -v");
    assert_eq!(text(&output.stderr), "fathom: reading the recording in 'fathom.data'\n");
    insta::assert_snapshot!("dump_bytes", text(&output.stdout));
    insta::assert_snapshot!("dump_chrome", shown(dir.path(), "dump --chrome"));
    insta::assert_snapshot!("dump_flame_graph", shown(dir.path(), "dump --flame-graph --sample-time=1ns"));
    insta::assert_snapshot!("dump_graphviz", shown(dir.path(), "dump --format=graphviz"));
    let page = shown(dir.path(), "dump --mermaid --no-libcall");
    let lines: Vec<_> = page.lines().filter(|line| line.ends_with("\"];")).collect();
    insta::assert_snapshot!("dump_mermaid", lines.join("\n"));
    let chrome = shown(dir.path(), "dump --chrome");
    assert_eq!(chrome, shown(dir.path(), "dump --format chrome"));
    serde_json::from_str::<serde_json::Value>(&chrome).unwrap();
}

#[test]
fn mistakes_are_explained() {
    let dir = place("fathom.data");
    let calls = [
        "replay --colum-view",
        "--colum-view replay",
        "record --filter main ./a",
        "record --nop ./a",
        "replay -T f@dpeth=1",
        "replay -F *fib",
        "replay -t 1.2345us",
        "report -D 0",
        "report -r 5us",
        "graph -Z -1",
        "dump --tid x",
        "dump --tid 1",
        "dump --match fuzzy",
        "live -T f@recover ./a",
        "tui --report --replay",
        "replay --color=purple",
        "dump --format=html",
        "dump --chrome --mermaid",
        "record --no-libcall --nest-libcall ./a",
        "replay -d",
        "replay -f nofield",
        "report -s nokey",
        "report --diff-policy none --diff fathom.data",
        "replay -d nowhere",
        "replay -d .",
        "record ./no-such-program",
        "record no-such-program",
        "record /bin/true",
        "replay --logfile no/such/dir",
    ];
    let all: Vec<_> =
        calls.iter().map(|words| format!("$ fathom {words}\n{}", refused(dir.path(), words))).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn nothing_to_read() {
    let dir = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(refused(dir.path(), "report"), @r"
    255: fathom: looking for a recording: no trace found: looked for fathom.data, uftrace.data, ./info, ftrace.dir, trace.dat; record one first or name its directory with -d
      make a recording with `fathom record PROGRAM`, or name one with -d DIR
    ");
}

#[test]
fn a_function_that_was_not_called_is_no_failure() {
    let dir = place("fathom.data");
    let output = run(dir.path(), "graph nothing");
    assert_eq!(output.status.code(), Some(0));
    let message = text(&output.stderr);
    assert_eq!(message, "fathom: cannot find graph for 'nothing': the recording has no call of it\n");
}

#[test]
fn the_usual_places_are_looked_at() {
    let dir = place("uftrace.data");
    let report = shown(dir.path(), "report");
    assert!(report.contains("  main\n"));
    assert_eq!(shown(&dir.path().join("uftrace.data"), "report"), report);
    assert_eq!(shown(dir.path(), "report -d uftrace.data/"), report);
}

#[test]
fn the_command_word_may_come_late() {
    let dir = place("x.data");
    assert_eq!(
        shown(dir.path(), "-d x.data --no-pager report --task"),
        shown(dir.path(), "report --task --data=x.data")
    );
}

#[test]
fn options_of_other_commands_are_named_on_standard_error() {
    let dir = place("fathom.data");
    let output = run(dir.path(), "report --force --column-view");
    assert_eq!(output.status.code(), Some(0));
    let said = "fathom: --force means nothing to report\nfathom: --column-view means nothing to report\n";
    assert_eq!(text(&output.stderr), said);
    assert_eq!(text(&output.stdout), shown(dir.path(), "report"));
}

#[test]
fn messages_go_to_the_log_file() {
    let dir = place("fathom.data");
    shown(dir.path(), "report --force -v --logfile log");
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert_eq!(
        log,
        "fathom: --force means nothing to report\nfathom: reading the recording in 'fathom.data'\n"
    );
}

#[test]
fn default_options_of_the_recording_apply() {
    let dir = place("fathom.data");
    let with = shown(dir.path(), "replay --no-comment");
    fs::write(dir.path().join("fathom.data/default.opts"), "--no-comment # as I like it\n").unwrap();
    assert_eq!(shown(dir.path(), "replay"), with);
    fs::write(dir.path().join("fathom.data/default.opts"), "").unwrap();
    let with = shown(dir.path(), "replay -t 1us");
    fs::write(dir.path().join("fathom.data/default.opts"), "-t 1us\n").unwrap();
    assert_eq!(shown(dir.path(), "replay"), with);
    fs::write(dir.path().join("fathom.data/default.opts"), "--system\n").unwrap();
    let output = run(dir.path(), "replay");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("--system of default.opts is not there yet"));
}

/// What each option leaves of the recording. Compared with uftrace 0.13, which shows the same of the tasks that it doesn't
/// lose track of (docs/journal.md).
#[test]
fn filters_of_every_kind() {
    let dir = place("fathom.data");
    let options = [
        "-F thr",
        "-F fib -D 2",
        "-F thr -N fib",
        "-N fib",
        "-C usleep",
        "-H fib -N leaf",
        "-D 2",
        "-t 2us",
        "-Z 60",
        "--match=glob -N f?b",
        "--match=simple -F us",
        "-F usleep@plt",
        "-F fib@toy,depth=1",
        "-T thr@depth=2",
        "-T thr@time=50us",
        "-t 50us -T fib@trace -D 3",
        "-T usleep@trace_off -H fib -N leaf",
        "--trace=off -T usleep@trace_on",
        "--disable -T fib@finish",
        "-T thr@finish",
        "-T usleep@backtrace -F usleep",
        "-T usleep@color=red -F usleep --color=yes",
        "--tid 5664 -N fib",
        "-r 300us~500us",
        "-F fip -N fib",
    ];
    let one = |words: &&str| {
        let output = run(dir.path(), &format!("replay {words}"));
        assert_eq!(output.status.code(), Some(0), "{words}");
        let shown = text(&output.stdout).replace('\x1b', "ESC");
        format!("$ fathom replay {words}\n{}{shown}", text(&output.stderr))
    };
    insta::assert_snapshot!(options.iter().map(one).collect::<Vec<_>>().join("\n"));
}

/// The other commands have the same layer.
#[test]
fn filters_count_for_all_commands() {
    let dir = place("fathom.data");
    let all = [
        "report -F thr -N fib",
        "report --task --tid 5664",
        "graph -C usleep",
        "graph -D 2 fib",
        "dump -F usleep",
        "dump --flame-graph -N fib",
        "report --diff fathom.data -F thr -D 1",
    ];
    let one = |words: &&str| format!("$ fathom {words}\n{}", shown(dir.path(), words));
    insta::assert_snapshot!(all.iter().map(one).collect::<Vec<_>>().join("\n"));
}

#[test]
fn colours_only_when_wanted() {
    let dir = place("fathom.data");
    assert!(!shown(dir.path(), "replay").contains('\x1b'));
    assert!(shown(dir.path(), "replay --color=yes").contains("\x1b["));
    assert!(shown(dir.path(), "replay --format=html").contains("<span"));
    assert!(!shown(dir.path(), "replay --format=html --color=no").contains("<span"));
}

#[test]
fn a_broken_pipe_is_success() {
    let dir = place("fathom.data");
    for words in ["replay", "report", "graph", "info", "dump", "dump --chrome", "--help", "--version"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program(dir.path()).args(words.split_whitespace()).stdout(writer).output().unwrap();
        assert_eq!(text(&output.stderr), "", "{words}");
        assert_eq!(output.status.code(), Some(0), "{words}");
    }
}

#[test]
fn a_full_disk_is_not() {
    let dir = place("fathom.data");
    for words in ["replay", "report", "graph", "info", "dump", "dump --mermaid", "--help"] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = program(dir.path()).args(words.split_whitespace()).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(text(&output.stderr).contains("No space left on device"), "{words}");
    }
}

/// The program under the name of its peer.
fn as_uftrace(dir: &Path) -> PathBuf {
    let link = dir.join("uftrace");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_fathom"), &link).unwrap();
    link
}

#[test]
fn the_version_depends_on_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let arch = std::env::consts::ARCH;
    let own = env!("CARGO_PKG_VERSION");
    assert_eq!(shown(dir.path(), "-V"), format!("fathom v{own} ( {arch} python3 luajit tui )\n"));
    assert_eq!(
        shown(dir.path(), "replay --version"),
        format!("fathom v{own} ( {arch} python3 luajit tui )\n")
    );
    let link = as_uftrace(dir.path());
    let output = named(&link, dir.path()).arg("--version").output().unwrap();
    let line = text(&output.stdout);
    assert_eq!(line, format!("uftrace v0.13-fathom-{own} ( {arch} python3 luajit tui )\n"));
    // How test suites take it apart: blank-separated, three words and the last one are not features.
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[3..words.len() - 1], [arch, "python3", "luajit", "tui"]);
}

#[test]
fn under_the_name_uftrace_its_directory_is_the_default() {
    let dir = place("fathom.data");
    let link = as_uftrace(dir.path());
    let output = named(&link, dir.path()).arg("report").output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    assert!(!text(&output.stderr).contains("fathom.data"));
    fs::rename(dir.path().join("fathom.data"), dir.path().join("uftrace.data")).unwrap();
    let output = named(&link, dir.path()).arg("report").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn generated_texts_list_what_works_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    shown(dir.path(), "generate man man");
    shown(dir.path(), "generate completions completions");
    let mut all = String::new();
    let mut files = Vec::new();
    for part in ["man", "completions"] {
        for entry in fs::read_dir(dir.path().join(part)).unwrap() {
            let entry = entry.unwrap();
            files.push(entry.file_name().into_string().unwrap());
            all.push_str(&fs::read_to_string(entry.path()).unwrap());
        }
    }
    files.sort();
    // The kernel commands have a page each.
    let kernel = |file: &String| file.starts_with("fathom-kernel");
    assert!(files.contains(&"fathom-kernel.1".to_owned()), "{files:?}");
    files.retain(|file| !kernel(file));
    let pages =
        ["_fathom", "fathom-dump.1", "fathom-graph.1", "fathom-info.1", "fathom-live.1", "fathom-record.1"];
    let more = ["fathom-recv.1", "fathom-replay.1", "fathom-report.1", "fathom-script.1", "fathom-send.1"];
    let others = ["fathom-tui.1", "fathom.1", "fathom.bash", "fathom.fish"];
    assert_eq!(files, [&pages[..], &more[..], &others[..]].concat());
    assert!(all.contains("\\-\\-column\\-view") && all.contains("--column-view"));
    all.push_str(&shown(dir.path(), "--help"));
    assert!(!all.contains("-generate") && !all.contains("\\-generate") && !all.contains("\n  generate "));
}

#[test]
fn library_calls_of_any_program_can_be_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), "record --force --no-pager /bin/cat no-such-file");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let report = shown(dir.path(), "report");
    assert!(report.contains("  setlocale\n") && report.contains("  open\n"), "{report}");
    // What follows the program belongs to it, even where it looks like an option of ours.
    let output = run(dir.path(), "live --force /bin/echo some -F words");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.starts_with("some -F words\n# DURATION"), "{shown}");
    let output = run(dir.path(), "--force /bin/cat no-such-file");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let killed =
        program(dir.path()).args(["record", "--force", "/bin/sh", "-c", "kill -9 $$"]).output().unwrap();
    assert_eq!(killed.status.code(), Some(2));
    assert!(text(&killed.stderr).contains("warning: the program was killed by signal 9 (SIGKILL)"));
}

#[test]
fn live_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let temporary = dir.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let words = ["--force", "/bin/cat", "/dev/null"];
    let output = program(dir.path()).args(words).env("TMPDIR", &temporary).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let left = fs::read_dir(&temporary).unwrap().filter_map(Result::ok).map(|entry| entry.file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("fathom-live")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!dir.path().join("fathom.data").exists());
    let output = run(dir.path(), "live --record --force /bin/cat /dev/null");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(dir.path().join("fathom.data/info").is_file());
}
