//! Who recorded a trace, on what machine, and what the program used.

use crate::error::Error;
use crate::layout::LAYOUT;
use crate::options::InfoOptions;
use fathom_store::{Batch, EventOptions, Info, Kind, Task, Tid, Trace};
use fathom_symbols::{SymbolKind, SymbolTable};
use std::fmt::Write as _;
use std::io::Write;

/// What the store knows besides the trace's events; a view of a trace without files leaves it at the default.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// Text that the user put beside the recording (`note.txt`).
    pub note: Option<String>,
    /// When the recording was made, if the header doesn't say it, e.g. from the header's file time.
    pub recorded_on: Option<String>,
    /// Size of the records of each task, bytes. Tasks that are not listed show 0.
    pub sizes: Vec<(Tid, u64)>,
}

/// Prints the header information, or a table of tasks.
///
/// # Errors
///
/// A trace that can't be read, an output that can't be written.
pub fn info(
    trace: &dyn Trace,
    options: &InfoOptions,
    extra: &Extra,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let text = match options.task {
        true => tasks(trace, extra)?,
        false => header(trace, extra),
    };
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints a symbol table: functions and data of the module, then what it calls in others.
///
/// # Errors
///
/// An output that can't be written.
pub fn info_symbols(table: &SymbolTable, out: &mut dyn Write) -> Result<(), Error> {
    let mut text = String::new();
    let all = table.iter();
    let plt = |kind: SymbolKind| kind == SymbolKind::Plt;
    for (title, dynamic) in [("Normal symbols", false), ("Dynamic symbols", true)] {
        let _ = writeln!(text, "{title}\n{}", "=".repeat(title.len()));
        for (index, symbol) in all.clone().enumerate().filter(|(_, s)| plt(s.kind) == dynamic) {
            let (addr, name, size) = (symbol.addr, &symbol.name, symbol.size);
            let _ = writeln!(text, "[{index:2}] 0x{addr:x}: {name} (size: {size})");
        }
        if !dynamic {
            text.push_str("\n\n");
        }
    }
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// A line of an item.
fn item(text: &mut String, name: &str, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# {name:<20}: {value}");
}

fn title(text: &mut String, name: &str) {
    let _ = writeln!(text, "# {name}\n# {}", "=".repeat(name.len()));
}

fn header(trace: &dyn Trace, extra: &Extra) -> String {
    let info = trace.info();
    let mut text = String::new();
    title(&mut text, "system information");
    system(&mut text, info, extra);
    text.push_str("#\n");
    title(&mut text, "process information");
    process(&mut text, info, trace);
    if let Some(note) = &extra.note {
        text.push_str("#\n");
        title(&mut text, "extra note information");
        text.push_str(note);
    }
    text.push('\n');
    text
}

fn system(text: &mut String, info: &Info, extra: &Extra) {
    if let Some(version) = &info.recorder_version {
        item(text, "program version", version);
    }
    if let Some(date) = info.record_date.as_ref().or(extra.recorded_on.as_ref()) {
        item(text, "recorded on", date);
    }
    if let Some(cmdline) = &info.cmdline {
        item(text, "cmdline", cmdline);
    }
    if let Some(cpu) = &info.cpu {
        item(text, "cpu info", &cpu.desc);
        item(text, "number of cpus", format!("{} / {} (online / possible)", cpu.online, cpu.possible));
    }
    if let Some(memory) = &info.memory {
        let tenths = |n: u64| format!("{}.{}", n / 10, n % 10);
        let (free, total, unit) = (tenths(memory.free), tenths(memory.total), memory.unit);
        item(text, "memory info", format!("{free} / {total} {unit} (free / total)"));
    }
    if let Some([one, five, fifteen]) = info.load {
        item(text, "system load", format!("{one:.2} / {five:.2} / {fifteen:.2} (1 / 5 / 15 min)"));
    }
    if let Some(os) = &info.os {
        item(text, "kernel version", &os.kernel);
        // A recording of the kernel alone does not say everything.
        if !os.hostname.is_empty() {
            item(text, "hostname", &os.hostname);
        }
        if !os.distro.is_empty() {
            item(text, "distro", &os.distro);
        }
    }
    if let Some(sysctl) = &info.sysctl {
        item(text, "perf_event_paranoid", sysctl.perf_event_paranoid);
        item(text, "kptr_restrict", sysctl.kptr_restrict);
    }
}

fn process(text: &mut String, info: &Info, trace: &dyn Trace) {
    if let Some(tids) = &info.tids {
        item(text, "number of tasks", tids.len());
        let name = |tid: &Tid| {
            let task = trace.tasks().iter().find(|t| t.tid == *tid);
            format!("{tid}({})", task.map_or("", |t| &t.comm))
        };
        item(text, "task list", tids.iter().map(name).collect::<Vec<_>>().join(", "));
    }
    if let Some(exe) = &info.exe_name {
        item(text, "exe image", exe);
    }
    if let Some(id) = &info.build_id {
        item(text, "build id", id);
    }
    if let Some(specs) = &info.arg_specs {
        if let Some(args) = &specs.args {
            item(text, "arguments", args);
        }
        if let Some(retvals) = &specs.retvals {
            item(text, "return values", retvals);
        }
        if specs.auto {
            item(text, "auto-args", "true");
        }
    }
    if let Some(pattern) = &info.pattern_type {
        item(text, "pattern", pattern.as_str());
    }
    if let Some(status) = info.exit_status {
        item(text, "exit status", exit_status(status));
    }
    if let Some(ns) = info.elapsed_ns {
        item(text, "elapsed time", format!("{}.{:09} sec", ns / 1_000_000_000, ns % 1_000_000_000));
    }
    if let Some(usage) = &info.usage {
        let seconds = |us: u64| format!("{:.3}", us as f64 / 1e6);
        let (system, user) = (seconds(usage.system_us), seconds(usage.user_us));
        item(text, "cpu time", format!("{system} / {user} sec (sys / user)"));
        let (free, forced) = (usage.voluntary, usage.involuntary);
        item(text, "context switch", format!("{free} / {forced} (voluntary / involuntary)"));
        item(text, "max rss", format!("{} KB", usage.max_rss_kib));
        let (major, minor) = (usage.major_faults, usage.minor_faults);
        item(text, "page fault", format!("{major} / {minor} (major / minor)"));
        let (read, written) = (usage.read_blocks, usage.written_blocks);
        item(text, "disk iops", format!("{read} / {written} (read / write)"));
    }
}

/// What a status from wait(2) says; 65536 and the negative ones are the recorder's own.
fn exit_status(status: i32) -> String {
    const SIGNALS: [&str; 32] = [
        "",
        "Hangup",
        "Interrupt",
        "Quit",
        "Illegal instruction",
        "Trace/breakpoint trap",
        "Aborted",
        "Bus error",
        "Floating point exception",
        "Killed",
        "User defined signal 1",
        "Segmentation fault",
        "User defined signal 2",
        "Broken pipe",
        "Alarm clock",
        "Terminated",
        "Stack fault",
        "Child exited",
        "Continued",
        "Stopped (signal)",
        "Stopped",
        "Stopped (tty input)",
        "Stopped (tty output)",
        "Urgent I/O condition",
        "CPU time limit exceeded",
        "File size limit exceeded",
        "Virtual timer expired",
        "Profiling timer expired",
        "Window changed",
        "I/O possible",
        "Power failure",
        "Bad system call",
    ];
    match (status, status & 0x7f) {
        (65536, _) => "terminated by finish trigger".to_owned(),
        (0.., 0) => format!("exited with code: {}", status >> 8 & 0xff),
        (0.., signal @ 1..=0x7e) => {
            let name = SIGNALS.get(signal as usize).copied().unwrap_or("Real-time signal");
            format!("terminated by signal: {signal} ({name})")
        }
        _ => format!("unknown exit status: {status}"),
    }
}

/// When a task began: the first message about it, or its first event if that is earlier.
fn start(trace: &dyn Trace, task: &Task) -> Result<u64, Error> {
    let mut events = trace.events(task.tid, EventOptions::default())?;
    let mut batch = Batch::default();
    events.next_batch(&mut batch)?;
    let first = batch.events.iter().find(|e| e.kind != Kind::Lost).map(|e| e.time);
    Ok(first.map_or(task.start, |first| first.min(task.start)))
}

fn tasks(trace: &dyn Trace, extra: &Extra) -> Result<String, Error> {
    let width = LAYOUT.tid_width;
    let mut text = String::from("#         TIMESTAMP       FLAGS     TID    TASK              DATA SIZE\n");
    if width != 6 {
        text = text.replace("  TID    TASK", "  TID     TASK");
    }
    let mut list = Vec::new();
    for task in trace.tasks() {
        list.push((start(trace, task)?, task));
    }
    list.sort_by_key(|(start, task)| (*start, task.tid));
    for (start, task) in list {
        let leader = if task.tid == task.pid { 'F' } else { ' ' };
        let session = if trace.sessions().iter().any(|s| s.pid == task.tid) { 'S' } else { ' ' };
        let size = extra.sizes.iter().find(|(tid, _)| *tid == task.tid).map_or(0, |(_, size)| *size);
        let (seconds, ns) = (start / 1_000_000_000, start % 1_000_000_000);
        let (mb, kb) = (size >> 20, ((size % (1 << 20)) * 1000) >> 20);
        let (tid, comm) = (task.tid, &task.comm);
        let _ = writeln!(
            text,
            " {seconds:13}.{ns:09}  {leader}{session}     [{tid:width$}]  {comm:<16}  {mb:5}.{kb:03} MB"
        );
    }
    Ok(text)
}
