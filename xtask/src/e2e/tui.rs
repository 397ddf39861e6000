//! `fathom tui` in a real terminal: keys, mouse and resizing arrive, and however it ends, the terminal is as it was.

use super::build::{builds, compile};
use super::case::Case;
use super::{Context, Outcome};
use crate::paths::{cargo, target};
use crate::run::run_ok;
use crate::terminal::Terminal;
use anyhow::{Context as _, Result, bail, ensure};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// On a machine with much else to do, a screen may take its time.
const PATIENCE: Duration = Duration::from_secs(30);
const SIZE: (u16, u16) = (80, 24);

type Check = fn(&Context, &Case) -> Result<Outcome>;

/// Name and check of each test.
pub(crate) const TESTS: &[(&str, Check)] = &[
    ("tui/session", session),
    ("tui/filters", filters),
    ("tui/sigterm", |context, case| signalled(context, case, "TERM")),
    ("tui/sighup", |context, case| signalled(context, case, "HUP")),
    ("tui/terminal_gone", terminal_gone),
    ("tui/suspend", suspend),
    ("tui/panic", panic),
    ("tui/without_terminal", without_terminal),
];

/// Records the case's program with the terminal's test name as directory.
fn recording(context: &Context, case: &Case, name: &str) -> Result<PathBuf> {
    let dir = context.work.join("tui").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let build = builds(case)?.into_iter().next().context("no build")?;
    let program = compile(case, &build, &context.fixtures, &dir)?;
    let mut record = Command::new(&context.fathom);
    record
        .args(["record", "--no-event", "--no-libcall", "-d", "data"])
        .args(build.record)
        .arg(&program)
        .args(&case.args);
    run_ok(&mut record, &dir, case.timeout)?;
    let editor = dir.join("editor");
    std::fs::write(&editor, "#!/bin/sh\necho edit \"$@\" >edited\n")?;
    std::fs::set_permissions(&editor, std::fs::Permissions::from_mode(0o755))?;
    Ok(dir)
}

/// A shell script that runs a program between two looks at the terminal.
fn script(program: &Path, args: &str) -> String {
    let program = program.display();
    format!(
        "export PS1=; stty -a >before; echo BEFORE; EDITOR=./editor '{program}' {args}; \
         echo \"CODE=$?\"; stty -a >after"
    )
}

fn start(context: &Context, dir: &Path, args: &str) -> Result<Terminal> {
    let terminal = Terminal::start(&script(&context.fathom, &format!("tui -d data {args}")), dir, SIZE)?;
    Ok(terminal)
}

/// The program has ended with that code, and the terminal is as it was before.
fn restored(terminal: &Terminal, dir: &Path, code: &str) -> Result<()> {
    let end = format!("CODE={code}");
    terminal.wait(&end, PATIENCE, |screen| screen.contains(&end) && screen.contains("BEFORE"))?;
    for (flag, value) in [("alternate_on", "0"), ("mouse_any_flag", "0"), ("cursor_flag", "1")] {
        let got = terminal.flag(flag)?;
        ensure!(got == value, "{flag} is {got} afterwards");
    }
    // Written by the shell a moment later.
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
    for _ in 0..1000 {
        if !read("after").is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    ensure!(read("before") == read("after"), "the terminal's settings have changed:\n{}", read("after"));
    Ok(())
}

/// A user who looks at everything once.
fn session(context: &Context, case: &Case) -> Result<Outcome> {
    let dir = recording(context, case, "session")?;
    let terminal = start(context, &dir, "")?;
    let wait = |what: &str, texts: &[&str]| {
        terminal.wait(what, PATIENCE, |screen| texts.iter().all(|text| screen.contains(text)))
    };
    let (first, _) = wait("graph", &["TOTAL TIME : FUNCTION", ") main", "fathom graph: session"])?;
    ensure!(terminal.flag("alternate_on")? == "1", "no screen of its own");
    ensure!(terminal.flag("mouse_any_flag")? == "1", "the mouse is not asked for");
    ensure!(first.lines().count() <= usize::from(SIZE.1), "more lines than there are");
    terminal.press(&["/", "m", "a", "i", "n", "Enter"])?;
    wait("search", &["searching \"main\"", "match"])?;
    terminal.press(&["g"])?;
    wait("graph of a function", &["=== Function Call Graph for 'main' ===", "Back-trace"])?;
    terminal.press(&["R"])?;
    wait("report", &["*TOTAL TIME", "CALL  FUNCTION"])?;
    terminal.press(&["s"])?;
    wait("sorted", &["*SELF TIME"])?;
    // A click on the title of the third column.
    terminal.mouse(false, 34, 1)?;
    wait("sorted by a click", &["*CALL"])?;
    terminal.press(&["T"])?;
    wait("replay", &["DURATION", "main()", "fathom replay:"])?;
    terminal.press(&["b"])?;
    wait("backtrace", &["─ backtrace", "[0] main"])?;
    terminal.press(&["b", "1"])?;
    wait("folded", &["▶ main()"])?;
    terminal.press(&["0", "End"])?;
    // Where the cursor is by now, the status says: main has the first time of all.
    let at_main = "fathom replay: +0.000 us";
    terminal.wait("unfolded, at the end", PATIENCE, |screen| {
        !screen.contains("▶ main()") && !screen.contains(at_main)
    })?;
    terminal.press(&["Home"])?;
    wait("beginning", &["▼ main()", at_main])?;
    // A click on the line of the cursor folds it.
    terminal.mouse(false, 60, 2)?;
    wait("folded by clicks", &["▶ main()"])?;
    terminal.press(&["?"])?;
    wait("help", &["Help:", "Up/Down"])?;
    terminal.press(&["Escape"])?;
    terminal.wait("help closed", PATIENCE, |screen| !screen.contains("Help:"))?;
    terminal.press(&["I"])?;
    wait("info", &["# system information", "fathom info"])?;
    for size in [(40, 10), (20, 4), (140, 50), SIZE] {
        terminal.resize(size)?;
        let lines = usize::from(size.1);
        terminal.wait("status in the last line", PATIENCE, |screen| {
            screen.lines().nth(lines - 1).is_some_and(|line| line.starts_with("fathom info"))
        })?;
    }
    terminal.press(&["G", "l"])?;
    wait("source line", &[".c [line:"])?;
    terminal.press(&["O"])?;
    wait("back from the editor", &["TOTAL TIME", "fathom graph:"])?;
    let edited = std::fs::read_to_string(dir.join("edited")).context("the editor was not started")?;
    ensure!(edited.starts_with("edit +") && edited.trim().ends_with(".c"), "the editor was told {edited:?}");
    terminal.press(&["q"])?;
    restored(&terminal, &dir, "0")?;
    Ok(Outcome::Passed)
}

/// The filters of the other commands.
fn filters(context: &Context, case: &Case) -> Result<Outcome> {
    let dir = recording(context, case, "filters")?;
    let terminal = start(context, &dir, "-F main -D 1 --replay")?;
    terminal.wait("replay", PATIENCE, |screen| screen.contains("main()"))?;
    let (screen, _) = terminal.wait("all", PATIENCE, |screen| !screen.contains("read"))?;
    let rows = screen.lines().filter(|line| line.contains("()")).count();
    ensure!(rows == 1, "only main has depth 0:\n{screen}");
    terminal.press(&["R"])?;
    let (screen, _) = terminal.wait("report", PATIENCE, |screen| screen.contains("  main"))?;
    ensure!(!screen.contains("malloc"), "what is filtered out is in the report:\n{screen}");
    terminal.press(&["q"])?;
    restored(&terminal, &dir, "0")?;
    Ok(Outcome::Passed)
}

fn signalled(context: &Context, case: &Case, signal: &str) -> Result<Outcome> {
    let dir = recording(context, case, signal)?;
    let terminal = start(context, &dir, "")?;
    terminal.wait("graph", PATIENCE, |screen| screen.contains("main"))?;
    run_ok(
        Command::new("pkill").args([&format!("-{signal}"), "-t"]).arg(tty(&terminal)?).arg("fathom"),
        &dir,
        PATIENCE,
    )?;
    restored(&terminal, &dir, "0")?;
    Ok(Outcome::Passed)
}

/// The window is closed: the program ends, and does not go on reading from nothing.
fn terminal_gone(context: &Context, case: &Case) -> Result<Outcome> {
    let dir = recording(context, case, "terminal_gone")?;
    let terminal = start(context, &dir, "")?;
    terminal.wait("graph", PATIENCE, |screen| screen.contains("main"))?;
    let mut find = Command::new("pgrep");
    let found = run_ok(find.arg("-t").arg(tty(&terminal)?).arg("fathom"), &dir, PATIENCE)?;
    let process = Path::new("/proc").join(found.stdout.trim());
    ensure!(process.exists(), "no process {}", found.stdout);
    drop(terminal);
    let started = std::time::Instant::now();
    while process.exists() {
        ensure!(started.elapsed() < PATIENCE, "it goes on without a terminal");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Outcome::Passed)
}

/// The terminal's name, without `/dev/`.
fn tty(terminal: &Terminal) -> Result<String> {
    let tty = terminal.flag("pane_tty")?;
    Ok(tty.trim_start_matches("/dev/").to_owned())
}

/// Back to the shell and in again.
fn suspend(context: &Context, case: &Case) -> Result<Outcome> {
    let dir = recording(context, case, "suspend")?;
    let fathom = context.fathom.display();
    // Only a shell with job control gets the terminal back.
    let script =
        format!("set -m; echo BEFORE; '{fathom}' tui -d data; echo STOPPED; read line; fg; echo CODE=$?");
    let terminal = Terminal::start(&script, &dir, SIZE)?;
    terminal.wait("graph", PATIENCE, |screen| screen.contains("main"))?;
    terminal.press(&["C-z"])?;
    terminal.wait("shell", PATIENCE, |screen| screen.contains("STOPPED") && screen.contains("BEFORE"))?;
    ensure!(terminal.flag("alternate_on")? == "0", "the shell has the program's screen");
    terminal.press(&["Enter"])?;
    terminal.wait("graph again", PATIENCE, |screen| screen.contains("TOTAL TIME"))?;
    terminal.press(&["q"])?;
    terminal.wait("end", PATIENCE, |screen| screen.contains("CODE=0"))?;
    Ok(Outcome::Passed)
}

/// A thread panics while the interface is shown.
fn panic(context: &Context, case: &Case) -> Result<Outcome> {
    let dir = recording(context, case, "panic")?;
    let built =
        cargo().args(["build", "--quiet", "--package", "fathom-tui", "--example", "panicking"]).status()?;
    if !built.success() {
        bail!("the example that panics cannot be built");
    }
    let program = target().join("debug/examples/panicking");
    let script = format!("export RUST_BACKTRACE=0\n{}", script(&program, ""));
    let terminal = Terminal::start(&script, &dir, SIZE)?;
    restored(&terminal, &dir, "101")?;
    let screen = terminal.screen()?;
    ensure!(screen.contains("a store that breaks"), "the message is not to be seen:\n{screen}");
    Ok(Outcome::Passed)
}

/// Where there is no terminal, it says so.
fn without_terminal(context: &Context, case: &Case) -> Result<Outcome> {
    let dir = recording(context, case, "without_terminal")?;
    let finished =
        crate::run::run(Command::new(&context.fathom).args(["tui", "-d", "data"]), &dir, PATIENCE)?;
    ensure!(finished.status.code() == Some(1), "{}", finished.end());
    ensure!(finished.stderr.contains("must be a terminal"), "{}", finished.stderr);
    ensure!(finished.stdout.is_empty(), "{}", finished.stdout);
    Ok(Outcome::Passed)
}
