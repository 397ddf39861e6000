//! A tracefs of plain files in a directory, for tests. It does what the kernel does where that matters for putting things
//! back: lists are emptied by opening them for writing, probes come and go with their events, probes in use cannot be
//! removed, instances have files of their own. Writes can be made to fail.

use crate::files::{Files, Real};
use crate::functions::matches;
use crate::{Functions, Tracefs};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const FUNCTIONS: &str = "vfs_read\nvfs_write\nvfs_open\nwb_workfn\ndo_exit\n__sysvec_apic_timer_interrupt\n__common_interrupt\ndev_hard_start_xmit\nenqueue_task_fair\ndequeue_task_fair\nhandle_mm_fault\next4_sync_fs [ext4]\n";
const EVENTS: [&str; 9] = [
    "sched/sched_switch",
    "sched/sched_waking",
    "sched/sched_process_exit",
    "irq/irq_handler_entry",
    "irq/softirq_raise",
    "signal/signal_generate",
    "signal/signal_deliver",
    "vmscan/mm_vmscan_write_folio",
    "syscalls/sys_enter_openat",
];
/// Files that instances have too.
const OWN: &[(&str, &str)] = &[
    ("available_tracers", "function_graph function nop\n"),
    ("current_tracer", "nop\n"),
    ("tracing_on", "1\n"),
    ("trace", ""),
    ("trace_pipe", ""),
    ("trace_clock", "[local] global counter uptime perf mono mono_raw boot\n"),
    ("buffer_size_kb", "7 (expanded: 1408)\n"),
    ("buffer_subbuf_size_kb", "4\n"),
    ("buffer_percent", "50\n"),
    ("tracing_cpumask", "3\n"),
    ("tracing_thresh", "0\n"),
    ("error_log", ""),
    ("set_event", ""),
    ("set_event_pid", ""),
    ("set_event_notrace_pid", ""),
    ("set_ftrace_pid", ""),
    ("set_ftrace_notrace_pid", ""),
    ("set_ftrace_filter", ""),
    ("set_ftrace_notrace", ""),
    ("options/stacktrace", "0\n"),
    ("options/userstacktrace", "0\n"),
    ("options/func_stack_trace", "0\n"),
    ("options/event-fork", "0\n"),
    ("options/function-fork", "0\n"),
    ("options/funcgraph-irqs", "1\n"),
    ("options/overwrite", "1\n"),
    ("per_cpu/cpu0/trace_pipe_raw", ""),
    ("per_cpu/cpu0/stats", "entries: 0\noverrun: 0\n"),
    ("per_cpu/cpu1/trace_pipe_raw", ""),
    ("per_cpu/cpu1/stats", "entries: 0\noverrun: 0\n"),
];
/// Files that there are once.
const TOP: &[(&str, &str)] = &[
    ("README", "tracing mini-HOWTO:\n  hist trigger\t- If set, event hits are aggregated\n"),
    ("available_filter_functions", FUNCTIONS),
    ("saved_cmdlines_size", "128\n"),
    ("saved_cmdlines", ""),
    ("set_graph_function", ""),
    ("set_graph_notrace", ""),
    ("max_graph_depth", "0\n"),
    ("kprobe_events", ""),
    ("uprobe_events", ""),
    ("dynamic_events", ""),
    ("synthetic_events", ""),
    ("options/record-cmd", "1\n"),
];

/// The kernel behind a fake tracefs.
#[derive(Debug)]
pub struct Fake {
    root: PathBuf,
    /// How many more writes are taken before one fails.
    left: AtomicUsize,
    /// How many KiB a CPU a buffer can have.
    room: AtomicUsize,
    /// Whether `function_graph` works in instances.
    graph_in_instance: bool,
}

impl Fake {
    /// Makes one in an empty directory.
    ///
    /// # Panics
    ///
    /// If the files cannot be made: it is for tests.
    pub fn new(root: &Path, graph_in_instance: bool) -> Arc<Fake> {
        let fake = Fake {
            root: root.to_owned(),
            left: AtomicUsize::new(usize::MAX),
            room: AtomicUsize::new(usize::MAX),
            graph_in_instance,
        };
        fake.place("");
        for (file, text) in TOP {
            put(&root.join(file), text);
        }
        let events: String = EVENTS.iter().map(|event| event.replacen('/', ":", 1) + "\n").collect();
        put(&root.join("available_events"), &events);
        fs::create_dir_all(root.join("instances")).expect("a directory for instances");
        Arc::new(fake)
    }

    /// The tracefs that shows it.
    pub fn tracefs(self: &Arc<Fake>) -> Tracefs {
        Tracefs::at(&self.root).with_files(self.clone())
    }

    /// Lets the write after so many others fail, once.
    pub fn fail_after(&self, writes: usize) {
        self.left.store(writes, Ordering::Relaxed);
    }

    /// Leaves memory for buffers of so many KiB a CPU.
    pub fn room_for(&self, buffer_kb: usize) {
        self.room.store(buffer_kb, Ordering::Relaxed);
    }

    /// The content of all files.
    pub fn dump(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut dirs = vec![self.root.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    dirs.push(path);
                    continue;
                }
                let text = self.read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                let name = path.strip_prefix(&self.root).unwrap_or(&path).to_string_lossy().into_owned();
                all.insert(name, text.unwrap_or_default());
            }
        }
        all
    }

    fn place(&self, prefix: &str) {
        let dir = self.root.join(prefix);
        for (file, text) in OWN {
            put(&dir.join(file), text);
        }
        if !prefix.is_empty() && !self.graph_in_instance {
            put(&dir.join("available_tracers"), "function nop\n");
        }
        for event in EVENTS {
            event_files(&dir, event);
        }
        for list in ["kprobe_events", "uprobe_events", "dynamic_events", "synthetic_events"] {
            let text = fs::read_to_string(self.root.join(list)).unwrap_or_default();
            text.lines().for_each(|line| event_files(&dir, &event_of(line)));
        }
    }

    /// The top level and all instances.
    fn places(&self) -> Vec<PathBuf> {
        let instances = fs::read_dir(self.root.join("instances")).into_iter().flatten().flatten();
        instances.map(|entry| entry.path()).chain([self.root.clone()]).collect()
    }

    fn list(&self, path: &Path, truncate: bool, text: &str) -> io::Result<()> {
        let name = file_name(path);
        let mut lines: Vec<String> = fs::read_to_string(path)?.lines().map(str::to_owned).collect();
        if truncate {
            lines.retain(|line| line.contains(':'));
        }
        let mut refused = None;
        for word in text.split_whitespace() {
            match self.word(&name, &mut lines, word) {
                Ok(()) => {}
                Err(errno) => {
                    refused = Some(errno);
                    break;
                }
            }
        }
        // Commands are listed behind the names.
        lines.sort_by_key(|line| line.contains(':'));
        put(path, &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        refused.map_or(Ok(()), |errno| Err(errno.into()))
    }

    fn word(&self, file: &str, lines: &mut Vec<String>, word: &str) -> Result<(), Errno> {
        if file.ends_with("_pid") {
            word.parse::<u32>().map_err(|_| Errno::INVAL)?;
        } else {
            let plain = word.trim_start_matches('!').split(':').next().unwrap_or(word);
            let all = Functions::of(FUNCTIONS.to_owned());
            if !all.iter().any(|name| matches(plain, name)) {
                return Err(Errno::INVAL);
            }
        }
        if let Some(gone) = word.strip_prefix('!') {
            // A command is removed whatever its count has come to.
            let plain = |line: &str| line.splitn(3, ':').take(2).collect::<Vec<_>>().join(":");
            lines.retain(|line| plain(line) != plain(gone));
        } else if !lines.iter().any(|line| line == word) {
            lines.push(word.to_owned());
        }
        Ok(())
    }

    fn probes(&self, path: &Path, truncate: bool, text: &str) -> io::Result<()> {
        let mut lines: Vec<String> = fs::read_to_string(path)?.lines().map(str::to_owned).collect();
        if truncate {
            for line in std::mem::take(&mut lines) {
                self.remove_event(&event_of(&line))?;
            }
        }
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line
                .strip_prefix("-:")
                .map(str::to_owned)
                .or(line.strip_prefix('!').map(|n| format!("synthetic/{n}")))
            {
                Some(gone) => {
                    let at = lines.iter().position(|line| event_of(line) == gone).ok_or(Errno::NOENT)?;
                    self.remove_event(&gone)?;
                    lines.remove(at);
                }
                None if lines.iter().any(|known| event_of(known) == event_of(line)) => {
                    return Err(Errno::EXIST.into());
                }
                None => {
                    self.places().iter().for_each(|place| event_files(place, &event_of(line)));
                    lines.push(line.to_owned());
                }
            }
        }
        put(path, &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        Ok(())
    }

    fn remove_event(&self, event: &str) -> io::Result<()> {
        let places = self.places();
        let used = |place: &PathBuf| {
            let on = fs::read_to_string(place.join("events").join(event).join("enable")).unwrap_or_default();
            on.trim() == "1"
        };
        if places.iter().any(used) {
            return Err(Errno::BUSY.into());
        }
        for place in places {
            let dir = place.join("events").join(event);
            let _ = fs::remove_dir_all(&dir);
            // The group goes with its last event.
            if let Some(group) = dir.parent() {
                let _ = fs::remove_file(group.join("enable"));
                let left = fs::read_dir(group).into_iter().flatten().count();
                if left > 0 {
                    put(&group.join("enable"), "0\n");
                } else {
                    let _ = fs::remove_dir(group);
                }
            }
        }
        Ok(())
    }

    fn triggers(&self, path: &Path, truncate: bool, text: &str) -> io::Result<()> {
        let mut lines: Vec<String> = fs::read_to_string(path)?.lines().map(str::to_owned).collect();
        let text = text.trim();
        if truncate && text.is_empty() {
            lines.clear();
        } else if let Some(gone) = text.strip_prefix('!') {
            let at = lines.iter().position(|line| line == gone).ok_or(Errno::NOENT)?;
            lines.remove(at);
        } else if lines.iter().any(|line| line == text) {
            return Err(Errno::EXIST.into());
        } else {
            lines.push(text.to_owned());
        }
        put(path, &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        Ok(())
    }

    fn value(&self, path: &Path, text: &str) -> io::Result<()> {
        let (name, text) = (file_name(path), text.trim());
        let before = fs::read_to_string(path)?;
        let after = match name.as_str() {
            "trace" | "error_log" => String::new(),
            "buffer_size_kb" if text.parse().is_ok_and(|size| self.room.load(Ordering::Relaxed) < size) => {
                return Err(Errno::NOMEM.into());
            }
            "filter" if matches!(text, "0" | "none" | "") => "none\n".into(),
            "filter" if text.contains("no_such_field") => {
                put(path, &format!("{text}\n^\nparse_error: Field not found\n"));
                return Err(Errno::INVAL.into());
            }
            "trace_clock" => {
                let plain = before.replace(['[', ']'], "");
                if !plain.split_whitespace().any(|word| word == text) {
                    return Err(Errno::INVAL.into());
                }
                let marked = |word: &str| if word == text { format!("[{word}]") } else { word.to_owned() };
                plain.split_whitespace().map(marked).collect::<Vec<_>>().join(" ") + "\n"
            }
            "current_tracer" => {
                let list = fs::read_to_string(path.with_file_name("available_tracers"))?;
                if !list.split_whitespace().any(|word| word == text) {
                    return Err(Errno::INVAL.into());
                }
                format!("{text}\n")
            }
            _ => format!("{text}\n"),
        };
        put(path, &after);
        Ok(())
    }
}

impl Files for Fake {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let bytes = fs::read(path)?;
        let empty: &[u8] = match file_name(path).as_str() {
            "set_ftrace_filter" | "set_graph_function" => b"#### all functions enabled ####\n",
            "set_ftrace_notrace" | "set_graph_notrace" => b"#### no functions disabled ####\n",
            "set_ftrace_pid" | "set_ftrace_notrace_pid" => b"no pid\n",
            _ => b"",
        };
        Ok(if bytes.is_empty() { empty.to_vec() } else { bytes })
    }

    fn write(&self, path: &Path, truncate: bool, content: &[u8]) -> io::Result<()> {
        if !path.is_file() {
            return Err(Errno::NOENT.into());
        }
        let text = String::from_utf8_lossy(content).into_owned();
        let name = file_name(path);
        let fails = !text.is_empty() && self.left.fetch_sub(1, Ordering::Relaxed) == 0;
        if fails {
            self.left.store(usize::MAX, Ordering::Relaxed);
            if truncate && name.starts_with("set_") {
                self.list(path, true, "")?;
            }
            return Err(Errno::INVAL.into());
        }
        match name.as_str() {
            _ if text.is_empty() => Ok(()),
            "kprobe_events" | "uprobe_events" | "dynamic_events" | "synthetic_events" => {
                self.probes(path, truncate, &text)
            }
            "trigger" => self.triggers(path, truncate, &text),
            name if name.starts_with("set_") => self.list(path, truncate, &text),
            "enable" => enable(path, text.trim()),
            _ => self.value(path, &text),
        }
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)?;
        let prefix = path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned();
        self.place(&prefix);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Real.list(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn put(path: &Path, text: &str) {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).expect("a directory of the fake");
    }
    fs::write(path, text).expect("a file of the fake");
}

fn event_files(place: &Path, event: &str) {
    let dir = place.join("events").join(event);
    if dir.is_dir() {
        return;
    }
    for (file, text) in [("enable", "0\n"), ("filter", "none\n"), ("trigger", ""), ("hist", "")] {
        put(&dir.join(file), text);
    }
    if let Some(group) = dir.parent() {
        put(&group.join("enable"), "0\n");
    }
}

/// `GROUP/NAME` of a definition.
fn event_of(line: &str) -> String {
    let head = line.split_whitespace().next().unwrap_or("");
    match head.split_once(':') {
        Some((_, event)) => event.to_owned(),
        None => format!("synthetic/{head}"),
    }
}

/// Of an event, or of all of a system.
fn enable(path: &Path, text: &str) -> io::Result<()> {
    put(path, &format!("{text}\n"));
    let dir = path.parent().unwrap_or(path);
    for entry in fs::read_dir(dir)?.flatten() {
        let file = entry.path().join("enable");
        if file.is_file() {
            put(&file, &format!("{text}\n"));
        }
    }
    Ok(())
}
