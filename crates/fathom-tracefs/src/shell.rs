//! A plan as the lines that a person would type.

use crate::plan::{Expect, Mode, Part, Plan, Write};
use std::fmt::Write as _;
use std::path::Path;

/// What else is to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Style<'a> {
    /// Where tracefs is.
    pub root: &'a Path,
    /// The command that is traced, as words.
    pub command: &'a [String],
    /// How long it goes on, in seconds, if not until it is stopped.
    pub seconds: Option<f64>,
}

/// The lines, from `cd` to the undoing.
pub fn lines(plan: &Plan, style: Style<'_>) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "cd {}", quoted(&style.root.to_string_lossy()));
    if !style.command.is_empty() {
        let words: Vec<String> = style.command.iter().map(|word| quoted(word)).collect();
        out.push_str("\n# the command, stopped before it begins\n");
        let _ = writeln!(out, "sh -c 'kill -STOP $$; exec \"$@\"' sh {} &", words.join(" "));
        out.push_str("PID=$!\n");
    }
    let mut part: Option<Part> = None;
    for step in &plan.steps {
        if part != Some(step.part) {
            let _ = writeln!(out, "\n# {}", step.part.heading());
            part = Some(step.part);
        }
        let _ = writeln!(out, "{}", line(&step.write));
        if let Some(expect) = &step.expect {
            let _ = writeln!(out, "{}", check(&step.write.file, expect));
        }
    }
    let _ = writeln!(out, "\n# go\n{}", line(&plan.start));
    let pipe = quoted(&format!("{}trace_pipe", plan.place.prefix()));
    match (style.command.is_empty(), style.seconds) {
        (false, _) => {
            let _ = writeln!(out, "cat {pipe} & READER=$!\nkill -CONT $PID\nwait $PID");
        }
        (true, Some(seconds)) => {
            let _ = writeln!(out, "timeout {seconds} cat {pipe}");
        }
        (true, None) => {
            let _ = writeln!(out, "cat {pipe}        # until Ctrl-C");
        }
    }
    let _ = writeln!(out, "{}", line(&plan.stop));
    if !style.command.is_empty() {
        out.push_str("sleep 1; kill $READER\n");
    }
    for histogram in &plan.histograms {
        let _ = writeln!(out, "cat {}", quoted(histogram));
    }
    out.push_str("\n# everything as it was\n");
    for write in plan.undo() {
        let _ = writeln!(out, "{}", line(write));
    }
    out
}

/// One write as a line.
pub fn line(write: &Write) -> String {
    let file = quoted(&write.file);
    match write.mode {
        Mode::MakeDir => format!("mkdir {file}"),
        Mode::RemoveDir => format!("rmdir {file}"),
        Mode::Truncate | Mode::Append => {
            let arrow = if write.mode == Mode::Append { ">>" } else { ">" };
            match write.content.as_str() {
                "" => format!("echo {arrow} {file}"),
                content if write.file.ends_with("_pid") => format!("echo {content} {arrow} {file}"),
                content => format!("echo {} {arrow} {file}", quoted(content)),
            }
        }
    }
}

fn check(file: &str, expect: &Expect) -> String {
    let file = quoted(file);
    match expect {
        Expect::NotEmpty => {
            format!("grep -v '^#' {file}        # must list it: an empty list is every function")
        }
        Expect::Word(word) => format!(
            "grep -w {} {file}        # must be there",
            if word == "$PID" { word.clone() } else { quoted(word) }
        ),
    }
}

/// A word as a shell takes it for one.
pub fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:,+@%=".contains(&b);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_needed() {
        assert_eq!(quoted("vfs_read"), "vfs_read");
        assert_eq!(quoted("vfs_*"), "'vfs_*'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
        assert_eq!(line(&Write::append("set_event_pid", "$PID")), "echo $PID >> set_event_pid");
        assert_eq!(line(&Write::truncate("trace", "")), "echo > trace");
    }
}
