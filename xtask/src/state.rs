//! What all control files of a tracefs say, to be compared before and after.
//!
//! A control file is one that can be written; its content is a setting. Left out is what holds data instead (the
//! buffers, counters, the log of errors), and what must not be opened: pipes consume, and closing `free_buffer` shrinks
//! the buffer. Which directories there are is part of the state: instances and dynamic events are directories.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Files that hold data, not settings, or that act when they are opened or closed.
const DATA: &[&str] = &[
    "trace",
    "trace_pipe",
    "trace_pipe_raw",
    "snapshot_raw",
    "free_buffer",
    "trace_marker",
    "trace_marker_raw",
    "error_log",
    "inject",
    "hist",
    "user_events_data",
];
/// Files that cannot be written, but say what is set elsewhere: hooked functions and probes.
const TELLING: &[&str] = &["enabled_functions", "kprobe_profile", "uprobe_profile"];
/// Settings outside of tracefs that tracers change.
const SYSCTLS: &[&str] = &[
    "ftrace_enabled",
    "stack_tracer_enabled",
    "ftrace_dump_on_oops",
    "traceoff_on_warning",
    "tracepoint_printk",
    "sched_schedstats",
    "kptr_restrict",
    "perf_event_paranoid",
];
/// No control file says more than this, bytes.
const LONGEST: usize = 4 << 20;

/// Path under the root, and what is there.
pub(crate) type State = BTreeMap<String, String>;

/// Reads all control files below `root`.
pub(crate) fn read(root: &Path) -> Result<State> {
    let mut state = State::new();
    walk(root, "", &mut state).with_context(|| format!("cannot list {}", root.display()))?;
    for name in SYSCTLS {
        if let Ok(text) = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")) {
            state.insert(format!("kernel.{name}"), text);
        }
    }
    Ok(state)
}

fn walk(dir: &Path, under: &str, state: &mut State) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if under.is_empty() { name.clone() } else { format!("{under}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            state.insert(format!("{path}/"), String::new());
            // One that vanishes meanwhile is not there.
            let _ = walk(&entry.path(), &path, state);
        } else if !DATA.contains(&name.as_str()) {
            let writable = entry.metadata().is_ok_and(|data| data.permissions().mode() & 0o222 != 0);
            if writable || TELLING.contains(&name.as_str()) {
                state.insert(path, content(&entry.path(), &name));
            }
        }
    }
    Ok(())
}

fn content(path: &Path, name: &str) -> String {
    let bytes = match whole(path) {
        Ok(bytes) => bytes,
        Err(error) => return format!("cannot be read: {error}"),
    };
    let text = String::from_utf8_lossy(&bytes);
    match name {
        // Whether it is allocated is a setting, what is in it is not.
        "snapshot" => text.lines().find(|line| line.contains("Snapshot is")).unwrap_or("data").to_owned(),
        // Names, not hits and misses.
        "kprobe_profile" | "uprobe_profile" => lines(&text, |line| line.split_whitespace().next()),
        // Function and number of hooks, not the addresses of trampolines.
        "enabled_functions" => lines(&text, |line| line.split("tramp:").next().map(str::trim_end)),
        _ => text.into_owned(),
    }
}

/// A file of tracefs. Some of them answer the first read alone, with as much as it has room for, so nothing may first read
/// a little, as `std::fs::read` does.
pub(crate) fn whole(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let (mut bytes, mut filled) = (vec![0; 64 << 10], 0);
    loop {
        match file.read(&mut bytes[filled..])? {
            0 => break,
            read => filled += read,
        }
        if filled >= LONGEST {
            break;
        }
        if bytes.len() - filled < 16 << 10 {
            bytes.resize(bytes.len() * 2, 0);
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn lines<'a>(text: &'a str, part: impl Fn(&'a str) -> Option<&'a str>) -> String {
    text.lines().filter_map(part).flat_map(|line| [line, "\n"]).collect()
}

/// One line for each file that differs.
pub(crate) fn differences(before: &State, after: &State) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, was) in before {
        match after.get(path) {
            None => lines.push(format!("{path}: is gone; was {}", short(was))),
            Some(is) if is != was => lines.push(format!("{path}: was {}, is {}", short(was), short(is))),
            Some(_) => {}
        }
    }
    let new = after.iter().filter(|(path, _)| !before.contains_key(*path));
    lines.extend(new.map(|(path, is)| format!("{path}: is new: {}", short(is))));
    lines
}

fn short(text: &str) -> String {
    let cut: String = text.chars().take(160).collect();
    let more = if cut.len() < text.len() { " ..." } else { "" };
    format!("{cut:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::{State, differences, read};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn settings_are_read_and_data_is_not() {
        let dir = std::env::temp_dir().join(format!("xtask-state-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("events/sched")).unwrap();
        std::fs::create_dir_all(dir.join("instances")).unwrap();
        for (name, text) in [
            ("tracing_on", "1\n"),
            ("trace", "much"),
            ("snapshot", "#\n# * Snapshot is freed *\n# rest\n"),
            ("kprobe_profile", "  a   3 0\n  b   4 0\n"),
            ("events/sched/enable", "0\n"),
        ] {
            std::fs::write(dir.join(name), text).unwrap();
        }
        std::fs::write(dir.join("available_tracers"), "nop\n").unwrap();
        std::fs::set_permissions(dir.join("available_tracers"), PermissionsExt::from_mode(0o444)).unwrap();
        let before = read(&dir).unwrap();
        std::fs::create_dir(dir.join("instances/left")).unwrap();
        std::fs::write(dir.join("events/sched/enable"), "1\n").unwrap();
        std::fs::remove_file(dir.join("tracing_on")).unwrap();
        let after = read(&dir).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();

        let own: Vec<&str> =
            before.keys().map(String::as_str).filter(|key| !key.starts_with("kernel.")).collect();
        let expected = [
            "events/",
            "events/sched/",
            "events/sched/enable",
            "instances/",
            "kprobe_profile",
            "snapshot",
            "tracing_on",
        ];
        assert_eq!(own, expected);
        assert_eq!(before["snapshot"], "# * Snapshot is freed *");
        assert_eq!(before["kprobe_profile"], "a\nb\n");
        assert_eq!(
            differences(&before, &after),
            [
                "events/sched/enable: was \"0\\n\", is \"1\\n\"",
                "tracing_on: is gone; was \"1\\n\"",
                "instances/left/: is new: \"\""
            ]
        );
        assert!(differences(&State::new(), &State::new()).is_empty());
    }
}
