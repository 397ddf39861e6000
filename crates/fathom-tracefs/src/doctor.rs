//! What this kernel can trace: each thing with yes or no, how that is known, and what would give it.
//!
//! Presence of a file is not permission, and the word that lockdown shows says nothing: what can be tried is tried, in an
//! instance of our own that is removed again.

use crate::functions::Functions;
use crate::plan::{Part, Step, Write};
use crate::{Error, Journals, Place, Session, Settings, Tracefs};
use std::fmt::Write as _;
use std::fs;

/// One thing that a kernel can do or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What, in a few words.
    pub what: &'static str,
    /// Whether it can.
    pub able: bool,
    /// How that is known: a count, a file that is missing, what the kernel said.
    pub why: String,
    /// What would give it; nothing where it is there.
    pub gives: &'static str,
}

/// Everything about a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Facts: release, lockdown, where tracefs is.
    pub facts: Vec<(&'static str, String)>,
    /// What it can and cannot do.
    pub capabilities: Vec<Capability>,
    /// What others are doing in tracefs.
    pub others: Vec<String>,
}

/// Looks and tries.
pub fn examine(tracefs: &Tracefs, journals: &Journals) -> Report {
    let mut doctor =
        Doctor { tracefs, readme: tracefs.read("README").unwrap_or_default(), found: Vec::new() };
    let session = Session::begin(tracefs, &Settings::default(), journals);
    doctor.events();
    doctor.instances(session.as_ref());
    match &session {
        Ok(session) if session.plan().place != Place::Top => {
            doctor.tracers(&session.plan().place.prefix(), true);
        }
        _ => doctor.tracers("", false),
    }
    doctor.functions();
    let mut session = session.ok();
    doctor.probes(session.as_mut());
    doctor.triggers();
    doctor.more();
    if let Some(session) = session {
        session.finish();
    }
    Report { facts: facts(tracefs), capabilities: doctor.found, others: crate::others::all(tracefs) }
}

fn facts(tracefs: &Tracefs) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let read =
        |file: &str| fs::read_to_string(tracefs.proc().join(file)).map(|text| text.trim().to_owned()).ok();
    facts.extend(read("sys/kernel/osrelease").map(|release| ("kernel", release)));
    facts.push(("tracefs", tracefs.root().display().to_string()));
    // Only beside the real /proc: a test's kernel has no lockdown.
    if tracefs.proc() == std::path::Path::new("/proc") {
        let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").ok();
        let word = lockdown
            .as_deref()
            .and_then(|text| text.split_once('[')?.1.split_once(']'))
            .map(|(word, _)| word.to_owned());
        facts.extend(word.map(|word| ("lockdown", word)));
    }
    facts.extend(tracefs.read("trace_clock").ok().map(|clocks| ("clocks", clocks.trim().to_owned())));
    facts
}

struct Doctor<'t> {
    tracefs: &'t Tracefs,
    readme: String,
    found: Vec<Capability>,
}

impl Doctor<'_> {
    fn add(&mut self, what: &'static str, result: Result<String, String>, gives: &'static str) {
        let (able, why) = match result {
            Ok(why) => (true, why),
            Err(why) => (false, why),
        };
        self.found.push(Capability { what, able, why, gives: if able { "" } else { gives } });
    }

    /// Whether a file is there.
    fn file(&self, file: &str) -> Result<String, String> {
        match self.tracefs.has(file) {
            true => Ok(String::new()),
            false => Err(format!("there is no {file}")),
        }
    }

    /// Whether a file is there and can be opened for writing.
    fn writable(&self, file: &str) -> Result<String, String> {
        self.file(file)?;
        self.tracefs
            .may_write(file)
            .map(|()| String::new())
            .map_err(|error| format!("opening {file}: {error}"))
    }

    /// Whether the mini-HOWTO describes it.
    fn described(&self, words: &str) -> Result<String, String> {
        match self.readme.contains(words) {
            true => Ok(String::new()),
            false => Err(format!("README does not describe it ({words})")),
        }
    }

    fn events(&mut self) {
        let events = self.tracefs.read("available_events").map_err(|error| short(&error));
        let count = events.and_then(|text| match text.lines().count() {
            0 => Err("there are none".to_owned()),
            count => Ok(format!("{count} events")),
        });
        self.add("events", count, "CONFIG_EVENT_TRACING");
        let system_calls = self.file("events/raw_syscalls");
        self.add("system calls as events", system_calls, "CONFIG_FTRACE_SYSCALLS");
        let marks = self.writable("trace_marker");
        self.add("marks by programs", marks, "root, or a group that tracefs is open to");
    }

    fn instances(&mut self, session: Result<&Session, &Error>) {
        let made = match session {
            Ok(session) if session.plan().place != Place::Top => Ok(String::new()),
            Ok(_) => self.file("instances").and(Err("mkdir in instances failed".to_owned())),
            Err(error) => Err(short(error)),
        };
        self.add(
            "an instance of our own",
            made,
            "root; without one, a trace has to have the top level to itself",
        );
    }

    /// Tries the tracers on one function, so that it takes no time.
    fn tracers(&mut self, prefix: &str, own: bool) {
        let list = self.tracefs.read("available_tracers").unwrap_or_default();
        let mine = self.tracefs.read(&format!("{prefix}available_tracers")).unwrap_or_default();
        for (tracer, what, gives) in [
            ("function", "tracer function", "CONFIG_FUNCTION_TRACER, and a kernel that is not locked down"),
            (
                "function_graph",
                "tracer function_graph",
                "CONFIG_FUNCTION_GRAPH_TRACER, and a kernel that is not locked down",
            ),
        ] {
            let result = match list.split_whitespace().any(|word| word == tracer) {
                false => Err("it is not among available_tracers".to_owned()),
                true if own && mine.split_whitespace().any(|word| word == tracer) => {
                    self.attempt(prefix, tracer)
                }
                true => Ok("at the top level alone".to_owned()),
            };
            let in_instance = own && mine.split_whitespace().any(|word| word == tracer);
            let able = result.is_ok();
            self.add(what, result, gives);
            if tracer == "function_graph" && able {
                let result = if in_instance {
                    Ok(String::new())
                } else {
                    Err("it is not among an instance's tracers".into())
                };
                self.add("function_graph in an instance", result, "Linux 6.11 or later");
            }
        }
        let others: Vec<&str> = list
            .split_whitespace()
            .filter(|word| !matches!(*word, "function" | "function_graph" | "nop"))
            .collect();
        let latency = ["irqsoff", "preemptoff", "wakeup", "osnoise", "timerlat", "hwlat"];
        let found = match others.iter().any(|tracer| latency.contains(tracer)) {
            true => Ok(others.join(" ")),
            false => Err("none of them is among available_tracers".to_owned()),
        };
        self.add(
            "latency tracers",
            found,
            "CONFIG_IRQSOFF_TRACER, CONFIG_SCHED_TRACER, CONFIG_OSNOISE_TRACER, …",
        );
    }

    fn attempt(&self, prefix: &str, tracer: &str) -> Result<String, String> {
        let said = |error: Error| short(&error);
        let one = Functions::read(self.tracefs).map_err(said)?;
        let one =
            one.iter().find(|name| name.starts_with("vfs_")).or(one.iter().next()).unwrap_or("").to_owned();
        let file = |name: &str| format!("{prefix}{name}");
        self.tracefs.apply(&Write::truncate(file("set_ftrace_filter"), one)).map_err(said)?;
        self.tracefs.apply(&Write::truncate(file("current_tracer"), tracer)).map_err(said)?;
        self.tracefs.apply(&Write::truncate(file("current_tracer"), "nop")).map_err(said)?;
        Ok(String::new())
    }

    fn functions(&mut self) {
        let functions = Functions::read(self.tracefs).map_err(|error| short(&error));
        let functions = functions.map(|functions| format!("{} functions", functions.len()));
        self.add(
            "list of functions",
            functions,
            "CONFIG_DYNAMIC_FTRACE, and a kernel that is not locked down",
        );
        let filter = self.writable("set_ftrace_filter");
        self.add(
            "filters of functions",
            filter,
            "CONFIG_DYNAMIC_FTRACE, and a kernel that is not locked down",
        );
        let pids = self.writable("set_ftrace_pid");
        self.add(
            "functions of single tasks",
            pids,
            "CONFIG_FUNCTION_TRACER, and a kernel that is not locked down",
        );
        let values = self.file("options/funcgraph-retval");
        self.add("return values in graphs", values, "CONFIG_FUNCTION_GRAPH_RETVAL (Linux 6.5 and later)");
        let arguments = self.file("options/funcgraph-args");
        self.add("arguments in graphs", arguments, "CONFIG_FUNCTION_TRACE_ARGS (Linux 6.15 and later)");
        let profile = self.file("function_profile_enabled");
        self.add("profile of functions", profile, "CONFIG_FUNCTION_PROFILER");
    }

    fn probes(&mut self, mut session: Option<&mut Session>) {
        let function = Functions::read(self.tracefs).ok();
        let function = function.as_ref().and_then(|all| all.iter().find(|name| name.starts_with("vfs_")));
        let function = function.unwrap_or("vfs_read");
        let program =
            std::env::current_exe().map_or_else(|_| "/bin/sh".into(), |path| path.display().to_string());
        for (what, file, letter, place, gives) in [
            ("kprobes", "kprobe_events", 'p', function, "CONFIG_KPROBE_EVENTS"),
            ("uprobes", "uprobe_events", 'p', &format!("{program}:0x40"), "CONFIG_UPROBE_EVENTS"),
            (
                "eprobes (at events)",
                "dynamic_events",
                'e',
                "sched.sched_switch",
                "CONFIG_EPROBE_EVENTS (Linux 5.15 and later)",
            ),
            (
                "fprobes (at functions, by ftrace)",
                "dynamic_events",
                'f',
                function,
                "CONFIG_FPROBE_EVENTS (Linux 6.5 and later)",
            ),
            (
                "tprobes (at tracepoints)",
                "dynamic_events",
                't',
                "sched_switch",
                "CONFIG_FPROBE_EVENTS (Linux 6.5 and later)",
            ),
        ] {
            let made = self.writable(file).and_then(|_| match session.as_deref_mut() {
                Some(session) => define(session, file, letter, place),
                None => Ok(String::new()),
            });
            self.add(what, made, gives);
        }
        let named = self.described("<argname>[->field");
        self.add(
            "arguments by name, by the kernel",
            named,
            "CONFIG_PROBE_EVENTS_BTF_ARGS (Linux 6.4 and later)",
        );
        let synthetic = self.writable("synthetic_events");
        self.add("synthetic events", synthetic, "CONFIG_SYNTH_EVENTS");
        let user = self.file("user_events_data");
        self.add("events of programs", user, "CONFIG_USER_EVENTS (Linux 6.4 and later)");
    }

    fn triggers(&mut self) {
        let histograms = self.described("hist trigger");
        self.add(
            "histograms",
            histograms,
            "CONFIG_HIST_TRIGGERS; without it, records are counted afterwards",
        );
        let snapshots = self.writable("snapshot");
        self.add("snapshots", snapshots, "CONFIG_TRACER_SNAPSHOT");
        let stacks = self.file("options/stacktrace");
        self.add("stacks of the kernel", stacks, "CONFIG_STACKTRACE");
        let users = self.file("options/userstacktrace");
        self.add("stacks of programs", users, "CONFIG_USER_STACKTRACE_SUPPORT");
    }

    fn more(&mut self) {
        let part = self.file("buffer_subbuf_size_kb");
        self.add("parts of buffers of any size", part, "Linux 6.8 or later");
        let symbols = symbols(self.tracefs);
        self.add("addresses of symbols", symbols, "root with CAP_SYSLOG, and kernel.kptr_restrict below 2");
        let types = match self.tracefs.proc() == std::path::Path::new("/proc") {
            true if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() => {
                Err("there is no /sys/kernel/btf/vmlinux".to_owned())
            }
            _ => Ok(String::new()),
        };
        self.add("type information", types, "CONFIG_DEBUG_INFO_BTF");
        let deepest = self.file("stack_trace");
        self.add("deepest kernel stack", deepest, "CONFIG_STACK_TRACER");
    }
}

/// Defines a probe, which goes with the session. It is not enabled.
fn define(session: &mut Session, file: &str, letter: char, place: &str) -> Result<String, String> {
    let name = format!("fathom_{}/try_{letter}_{}", std::process::id(), file.trim_end_matches("_events"));
    let step = Step {
        write: Write::append(file, format!("{letter}:{name} {place}")),
        undo: vec![Write::append(file, format!("-:{name}"))],
        undo_failed: false,
        expect: None,
        part: Part::Probes,
    };
    session.make(&step).map(|()| String::new()).map_err(|error| short(&error))
}

/// What the kernel said, without the advice that stands in this list anyway.
fn short(error: &Error) -> String {
    match error {
        Error::Io { doing, path, source } => {
            format!("{doing} {}: {source}", path.file_name().unwrap_or(path.as_os_str()).display())
        }
        Error::Refused(refusal) => {
            let name = refusal.path.file_name().unwrap_or(refusal.path.as_os_str()).display();
            let why =
                refusal.log.as_ref().map_or_else(|| refusal.source.to_string(), |log| log.reason.clone());
            format!("writing '{}' to {name}: {why}", refusal.content)
        }
        other => other.to_string(),
    }
}

/// Whether `/proc/kallsyms` shows addresses.
fn symbols(tracefs: &Tracefs) -> Result<String, String> {
    let path = tracefs.proc().join("kallsyms");
    let text = fs::read(&path).map_err(|error| format!("reading {}: {error}", path.display()))?;
    let first = text.split(|b| *b == b'\n').take(1000).filter_map(|line| line.split(|b| *b == b' ').next());
    match first.flatten().any(|digit| (b'1'..=b'9').contains(digit) || (b'a'..=b'f').contains(digit)) {
        true => Ok(format!("{} symbols", text.iter().filter(|b| **b == b'\n').count())),
        false => Err(format!("{} shows zeros", path.display())),
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, value) in &self.facts {
            writeln!(f, "{name:<9}{value}")?;
        }
        f.write_char('\n')?;
        let width = self.capabilities.iter().map(|c| c.what.len()).max().unwrap_or(0);
        for Capability { what, able, why, gives } in &self.capabilities {
            let mark = if *able { "yes" } else { "no" };
            let line = format!("{mark:<5}{what:<width$}  {why}");
            f.write_str(line.trim_end())?;
            if !gives.is_empty() {
                write!(f, "; needs {gives}")?;
            }
            f.write_char('\n')?;
        }
        if !self.others.is_empty() {
            f.write_str("\nof others, and left alone:\n")?;
            for other in &self.others {
                writeln!(f, "  {other}")?;
            }
        }
        Ok(())
    }
}
