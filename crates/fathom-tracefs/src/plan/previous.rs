//! What puts back what a file says now.

use super::Write;
use crate::{Error, Tracefs};

/// What kind of file it is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// It reads as it is written.
    Value,
    /// The current one of several stands in brackets.
    Choice,
    /// A size, `7 (expanded: 1408)` before the first use, `X` where CPUs differ.
    Size,
    /// An event's filter: `none` when there is none.
    Filter,
    /// A list of words; comments stand for an empty one.
    List,
}

fn content_of(file: &str) -> Content {
    match file.rsplit('/').next().unwrap_or(file) {
        "trace_clock" => Content::Choice,
        "buffer_size_kb" => Content::Size,
        "filter" => Content::Filter,
        "set_ftrace_filter"
        | "set_ftrace_notrace"
        | "set_graph_function"
        | "set_graph_notrace"
        | "set_ftrace_pid"
        | "set_ftrace_notrace_pid"
        | "set_event_pid"
        | "set_event_notrace_pid" => Content::List,
        _ => Content::Value,
    }
}

/// The writes that put back what a file says now.
///
/// # Errors
///
/// If it cannot be read: what cannot be put back is not changed.
pub(crate) fn restore(tracefs: &Tracefs, file: &str) -> Result<Vec<Write>, Error> {
    let text = tracefs.read(file)?;
    let text = text.trim();
    let one = |content: &str| Ok(vec![Write::truncate(file, content)]);
    match content_of(file) {
        Content::Value => one(text.trim_end_matches('*')),
        Content::Choice => {
            one(text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or(text, |(it, _)| it))
        }
        Content::Filter => one(if text == "none" || text.contains('\n') { "0" } else { text }),
        // What one CPU has is a number, or it cannot be put back at all.
        Content::Size if text == "X" && !file.contains("per_cpu/") => sizes_of_cpus(tracefs, file),
        // A buffer that was never used has grown by now, and is not made smaller than its next user would have it.
        Content::Size => match text.split_once("(expanded: ") {
            Some((_, grown)) => one(grown.trim_end_matches(')')),
            None => one(text),
        },
        Content::List => Ok(list(file, text)),
    }
}

fn list(file: &str, text: &str) -> Vec<Write> {
    // `vfs_read:traceoff:unlimited` is a command, which stays when a filter is emptied; ` [module]` is no part of a name.
    let words = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#') && *line != "no pid");
    let words =
        words.filter_map(|line| line.split_ascii_whitespace().next()).filter(|word| !word.contains(':'));
    let mut writes = vec![Write::truncate(file, "")];
    // The kernel takes words of any number, but not a write of any length.
    let mut line = String::new();
    for word in words {
        if line.len() + word.len() > 2000 {
            writes.push(Write::append(file, std::mem::take(&mut line)));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        writes.push(Write::append(file, line));
    }
    writes
}

fn sizes_of_cpus(tracefs: &Tracefs, file: &str) -> Result<Vec<Write>, Error> {
    let dir = file.strip_suffix("buffer_size_kb").unwrap_or("");
    let mut writes = Vec::new();
    for cpu in tracefs.list(&format!("{dir}per_cpu"))? {
        writes.extend(restore(tracefs, &format!("{dir}per_cpu/{cpu}/buffer_size_kb"))?);
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_of_every_kind() {
        let dir = tempfile::tempdir().unwrap();
        let tracefs = Tracefs::at(dir.path());
        let said = |file: &str, text: &str| {
            fs::write(dir.path().join(file), text).unwrap();
            let writes = restore(&tracefs, file).unwrap();
            writes.iter().map(|w| format!("{:?} {:?}", w.mode, w.content)).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(said("tracing_on", "1\n"), r#"Truncate "1""#);
        assert_eq!(said("enable", "0*\n"), r#"Truncate "0""#);
        assert_eq!(said("trace_clock", "local [mono] tai\n"), r#"Truncate "mono""#);
        assert_eq!(said("buffer_size_kb", "7 (expanded: 1408)\n"), r#"Truncate "1408""#);
        assert_eq!(said("buffer_size_kb", "4096\n"), r#"Truncate "4096""#);
        assert_eq!(said("filter", "none\n"), r#"Truncate "0""#);
        assert_eq!(said("filter", "prio < 3\n"), r#"Truncate "prio < 3""#);
        assert_eq!(said("set_ftrace_pid", "no pid\n"), r#"Truncate """#);
        assert_eq!(said("set_event_pid", "12\n14\n"), r#"Truncate "", Append "12 14""#);
        assert_eq!(said("set_graph_notrace", "#### no functions disabled ####\n"), r#"Truncate """#);
        assert_eq!(
            said("set_ftrace_filter", "vfs_read\next4_x [ext4]\nvfs_open:traceon:unlimited\n"),
            r#"Truncate "", Append "vfs_read ext4_x""#
        );
    }

    #[test]
    fn sizes_that_differ_are_put_back_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        for (cpu, size) in [("cpu0", "64"), ("cpu1", "128")] {
            fs::create_dir_all(dir.path().join("per_cpu").join(cpu)).unwrap();
            fs::write(dir.path().join("per_cpu").join(cpu).join("buffer_size_kb"), size).unwrap();
        }
        fs::write(dir.path().join("buffer_size_kb"), "X\n").unwrap();
        let writes = restore(&Tracefs::at(dir.path()), "buffer_size_kb").unwrap();
        assert_eq!(writes[1], Write::truncate("per_cpu/cpu1/buffer_size_kb", "128"));
    }
}
