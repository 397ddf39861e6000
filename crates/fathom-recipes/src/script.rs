//! A recipe as a shell script that needs nothing but tracefs and a POSIX shell.
//!
//! It does what scripts written by hand leave out: every write is checked, lists of pids and functions must not be empty, what was
//! there is noted before it is changed, and put back on every way out.

use crate::recipe::{Recipe, Scope};
use crate::text::wrap;
use fathom_tracefs::plan::{Expect, Mode, Part, Plan, Write};
use fathom_tracefs::shell::quoted;
use std::fmt::Write as _;
use std::path::Path;

/// What else the script is to do.
#[derive(Debug, Clone, Copy)]
pub struct Style<'a> {
    /// Where tracefs is.
    pub root: &'a Path,
    /// The command to trace; the script's own arguments take its place.
    pub command: &'a [String],
    /// The pid filter is for the command: it is started stopped.
    pub of_command: bool,
    /// Tasks by name, resolved when the script runs.
    pub by_name: Option<&'a str>,
    /// Seconds to trace without a command.
    pub seconds: u64,
    /// Show records as they come.
    pub stream: bool,
    /// Where to save them.
    pub log: Option<&'a Path>,
}

const HELPERS: &str = r#"
die() { echo "$0: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "tracefs is root's"

# What undoes what was done, the last first; done on every way out.
UNDO=
later() { UNDO="$1
$UNDO"; }
undo() { trap - EXIT; eval "$UNDO"; }
trap undo EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# What has to be written to a file for it to be as it is now.
value_of() {
    case $1 in
    *trace_clock) sed 's/.*\[\(.*\)\].*/\1/' "$1" ;;
    *) sed -e '/^#/d' -e 's/ (expanded.*//' -e 's/^no pid$//' -e 's/^none$/0/' "$1" ;;
    esac
}
"#;

/// The script.
pub fn script(recipe: &Recipe, plan: &Plan, style: Style<'_>) -> String {
    let mut out = "#!/bin/sh\n".to_owned();
    wrap(&mut out, "# ", &format!("{}: {}", recipe.name, recipe.purpose), 100);
    let arguments = if style.of_command { "COMMAND [ARG...]" } else { "[COMMAND [ARG...]]" };
    let _ = writeln!(out, "# usage: sh SCRIPT {arguments}");
    out.push_str(HELPERS);
    arguments_of(&mut out, style);
    tasks(&mut out, style);
    let _ = writeln!(
        out,
        "\nHERE=$PWD\ncd {} || die 'tracefs is not there'",
        quoted(&style.root.to_string_lossy())
    );
    let mut part: Option<Part> = None;
    for (number, step) in plan.steps.iter().enumerate() {
        if part != Some(step.part) {
            let _ = writeln!(out, "\n# {}", step.part.heading());
            part = Some(step.part);
        }
        for undo in step.undo.iter().rev() {
            if undo.file == step.write.file
                && undo.mode == Mode::Truncate
                && step.write.mode == Mode::Truncate
            {
                let _ = writeln!(out, "OLD_{number}=$(value_of {})", quoted(&undo.file));
                let back = format!("echo \"$OLD_{number}\" > {}", quoted(&undo.file));
                let _ = writeln!(out, "later {}", quoted(&back));
            }
        }
        let _ = writeln!(out, "{} || die {}", line(&step.write, style), quoted(&complaint(&step.write)));
        for undo in step.undo.iter().rev() {
            if !(undo.file == step.write.file
                && undo.mode == Mode::Truncate
                && step.write.mode == Mode::Truncate)
            {
                let _ = writeln!(out, "later {}", quoted(&line(undo, style)));
            }
        }
        if let Some(expect) = &step.expect {
            let _ = writeln!(out, "{}", check(&step.write.file, expect, style));
        }
    }
    go(&mut out, plan, style);
    out
}

fn arguments_of(out: &mut String, style: Style<'_>) {
    if !style.command.is_empty() {
        let words: Vec<String> = style.command.iter().map(|word| quoted(word)).collect();
        let _ = writeln!(out, "[ $# -gt 0 ] || set -- {}", words.join(" "));
    } else if style.of_command {
        out.push_str("[ $# -gt 0 ] || die 'no command is given'\n");
    }
}

fn tasks(out: &mut String, style: Style<'_>) {
    if style.of_command {
        out.push_str("\n# the command, stopped before it begins\n");
        out.push_str("sh -c 'kill -STOP $$; exec \"$@\"' sh \"$@\" &\nPIDS=$!\n");
        out.push_str("later '[ -z \"$PIDS\" ] || kill -KILL $PIDS'\n");
    }
    if let Some(glob) = style.by_name {
        // A shell pattern takes the glob as it is, so long as it has no spaces.
        let _ = writeln!(out, "\n# the tasks by name: an empty list would trace everything");
        let _ = writeln!(
            out,
            "PIDS=$(for dir in /proc/[0-9]*; do\n    read -r comm 2>/dev/null < \"$dir/comm\" || continue\n    case $comm in {glob}) echo \"${{dir#/proc/}}\" ;; esac\ndone)\n[ -n \"$PIDS\" ] || die {}",
            quoted(&format!("there is no task named {glob}"))
        );
    }
}

fn is_pid_list(file: &str) -> bool {
    file.ends_with("set_event_pid") || file.ends_with("set_ftrace_pid")
}

fn line(write: &Write, style: Style<'_>) -> String {
    let file = quoted(&write.file);
    match write.mode {
        Mode::MakeDir => format!("mkdir {file}"),
        Mode::RemoveDir => format!("rmdir {file}"),
        Mode::Truncate | Mode::Append => {
            let arrow = if write.mode == Mode::Append { ">>" } else { ">" };
            let found_at_run_time = style.of_command || style.by_name.is_some();
            if is_pid_list(&write.file) && found_at_run_time && !write.content.is_empty() {
                return format!("echo $PIDS {arrow} {file}");
            }
            if write.content.is_empty() {
                format!("echo {arrow} {file}")
            } else {
                format!("echo {} {arrow} {file}", quoted(&write.content))
            }
        }
    }
}

fn complaint(write: &Write) -> String {
    match write.mode {
        Mode::MakeDir | Mode::RemoveDir => format!("cannot make {}", write.file),
        _ => format!("the kernel does not take {:?} in {}", write.content, write.file),
    }
}

fn check(file: &str, expect: &Expect, style: Style<'_>) -> String {
    let name = quoted(file);
    let lists = match expect {
        Expect::NotEmpty => format!("grep -qv '^#' {name}"),
        Expect::Word(_) if is_pid_list(file) && (style.of_command || style.by_name.is_some()) => {
            format!("[ -n \"$(cat {name})\" ]")
        }
        Expect::Word(word) => format!("grep -qw -e {} {name}", quoted(word)),
    };
    format!(
        "{lists} || die {}",
        quoted(&format!("{file} does not list what was written: it would trace everything"))
    )
}

fn go(out: &mut String, plan: &Plan, style: Style<'_>) {
    let prefix = plan.place.prefix();
    let (pipe, trace) = (quoted(&format!("{prefix}trace_pipe")), quoted(&format!("{prefix}trace")));
    let log = style.log.map(|log| quoted(&log.to_string_lossy()));
    out.push_str("\n# go\n");
    match (&log, style.stream) {
        (Some(log), true) => {
            // What is shown is what is in the file: nothing that was seen is lost.
            let _ = writeln!(out, ": > {log} || die 'cannot write the log'");
            let _ = writeln!(out, "cat {pipe} >> {log} & READER=$!\ntail -f {log} & SHOWER=$!");
            out.push_str("later 'kill $READER $SHOWER 2>/dev/null'\n");
        }
        (None, true) => {
            let _ = writeln!(out, "cat {pipe} & READER=$!\nlater 'kill $READER 2>/dev/null'");
        }
        _ => {}
    }
    let on = quoted(&plan.start.file);
    let _ = writeln!(out, "echo 1 > {on} || die 'cannot start'");
    if style.of_command {
        out.push_str("until grep -q '^State:.T' /proc/$PIDS/status; do sleep 1; done\n");
        out.push_str("kill -CONT $PIDS\nwait $PIDS\nPIDS=\n");
    } else {
        let _ =
            writeln!(out, "if [ $# -gt 0 ]; then (cd \"$HERE\" && \"$@\"); else sleep {}; fi", style.seconds);
    }
    let _ = writeln!(out, "echo 0 > {on}");
    match (&log, style.stream) {
        (_, true) => out.push_str("sleep 1\n"),
        (Some(log), false) => {
            let _ = writeln!(out, "cat {trace} > {log} || die 'cannot write the log'");
        }
        (None, false) => {
            let _ = writeln!(out, "cat {trace}");
        }
    }
    out.push_str("\n# everything as it was: see undo above\n");
}

/// Is the pid list of that scope found when the script runs?
pub fn named(recipe: &Recipe, tasks_given: bool) -> Option<&'static str> {
    match recipe.scope {
        Scope::Named(glob) if !tasks_given => Some(glob),
        _ => None,
    }
}
