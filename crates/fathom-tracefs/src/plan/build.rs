//! From settings to steps.
//!
//! The order is what makes a trace right: everything off, then clock and buffers (changing a clock empties the buffer),
//! then everything that narrows, then the tracer and the events, then an empty buffer.

use super::previous::restore;
use super::{Expect, Naming, Part, Place, Plan, Step, Write};
use crate::names::one_of;
use crate::{Error, Event, Names, ProbeKind, Settings, Task, Tracefs, pids};

/// The first version whose `function_graph` works in an instance, for when nothing can be tried.
const GRAPH_IN_INSTANCE: (u32, u32) = (6, 11);

/// A function tracer without a filter changes the code of every function of the kernel.
const PATCHES_ALL: &str = "no functions are named: the tracer hooks every function of the kernel, which takes seconds to begin and to end, and costs all programs time; -F narrows it";

pub(super) struct Builder<'t> {
    pub(super) tracefs: &'t Tracefs,
    pub(super) names: Names<'t>,
    pub(super) naming: &'t Naming,
    pub(super) notes: Vec<String>,
    /// `GROUP/NAME` of the probes so far.
    pub(super) own_events: Vec<(String, ProbeKind)>,
    settings: &'t Settings,
    place: Place,
    steps: Vec<Step>,
    events: Vec<String>,
    histograms: Vec<String>,
}

pub(super) fn likely_place(tracefs: &Tracefs, settings: &Settings, naming: &Naming) -> Place {
    let own = Place::Instance(naming.instance.clone());
    if settings.top_level || !tracefs.has("instances") {
        return Place::Top;
    }
    let tracer = settings.tracer.as_deref().unwrap_or("nop");
    // An instance that is there already says what instances can do.
    let others = tracefs.list("instances").unwrap_or_default();
    let known =
        others.first().and_then(|name| tracefs.read(&format!("instances/{name}/available_tracers")).ok());
    let works = match (tracer, known) {
        ("nop" | "function", _) => true,
        (_, Some(list)) => list.split_whitespace().any(|word| word == tracer),
        ("function_graph", None) => release(tracefs).is_some_and(|release| release >= GRAPH_IN_INSTANCE),
        _ => false,
    };
    if works { own } else { Place::Top }
}

/// Major and minor version of the running kernel.
pub(crate) fn release(tracefs: &Tracefs) -> Option<(u32, u32)> {
    let text = std::fs::read_to_string(tracefs.proc().join("sys/kernel/osrelease")).ok()?;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn plan(
    tracefs: &Tracefs,
    settings: &Settings,
    naming: &Naming,
    place: Place,
) -> Result<Plan, Error> {
    let mut builder = Builder {
        tracefs,
        names: Names::new(tracefs),
        naming,
        notes: Vec::new(),
        own_events: Vec::new(),
        settings,
        place,
        steps: Vec::new(),
        events: Vec::new(),
        histograms: Vec::new(),
    };
    // First of all: where it happens depends on it.
    if let Some(tracer) = &settings.tracer {
        one_of("tracer", tracer, tracefs.read("available_tracers")?.split_whitespace())?;
    }
    builder.quiet()?;
    builder.buffers()?;
    builder.tasks()?;
    builder.functions()?;
    let own = builder.own_events()?;
    let events = builder.triggers(&own)?;
    builder.tracer()?;
    builder.enable(events)?;
    Ok(builder.finish())
}

impl Builder<'_> {
    pub(super) fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    fn own(&self, file: &str) -> String {
        format!("{}{file}", self.place.prefix())
    }

    fn in_instance(&self) -> bool {
        self.place != Place::Top
    }

    /// The file as it can be looked at now: that of the top level, as the instance is yet to be made.
    fn present(&self, file: &str, option: &str) -> Result<(), Error> {
        if self.tracefs.has(file) {
            return Ok(());
        }
        Err(Error::Settings(format!("this kernel has no {file}: {option}")))
    }

    /// Sets a file of our place to a value. In an instance that is our own it need not be put back.
    fn set(&mut self, part: Part, file: &str, value: &str) -> Result<(), Error> {
        let undo = if self.in_instance() { Vec::new() } else { restore(self.tracefs, file)? };
        let write = Write::truncate(self.own(file), value);
        self.push(Step { write, undo, undo_failed: true, expect: None, part });
        Ok(())
    }

    /// Sets a file that there is only once, or whose effect reaches beyond an instance.
    fn set_global(&mut self, part: Part, file: &str, value: &str) -> Result<(), Error> {
        let undo = restore(self.tracefs, file)?;
        let write = Write::truncate(file, value);
        self.push(Step { write, undo, undo_failed: true, expect: None, part });
        Ok(())
    }

    fn quiet(&mut self) -> Result<(), Error> {
        if let Place::Instance(name) = &self.place {
            let dir = format!("instances/{name}");
            let (write, undo) = (Write::make_dir(dir.clone()), vec![Write::remove_dir(dir)]);
            self.push(Step { write, undo, undo_failed: false, expect: None, part: Part::Instance });
        }
        self.set(Part::Quiet, "tracing_on", "0")?;
        if !self.in_instance() {
            self.set(Part::Quiet, "current_tracer", "nop")?;
        }
        Ok(())
    }

    fn buffers(&mut self) -> Result<(), Error> {
        let settings = self.settings;
        if let Some(clock) = &settings.clock {
            let list = self.tracefs.read("trace_clock")?;
            one_of("trace clock", clock, list.split_whitespace().map(|word| word.trim_matches(['[', ']'])))?;
            self.set(Part::Buffers, "trace_clock", clock)?;
        }
        if let Some(size) = settings.subbuffer_kb {
            self.present("buffer_subbuf_size_kb", "sub-buffers have a size of their own since Linux 6.8")?;
            self.set(Part::Buffers, "buffer_subbuf_size_kb", &size.to_string())?;
        }
        if let Some(size) = settings.buffer_kb {
            if size == 0 {
                return Err(Error::Settings("a buffer of 0 KiB holds nothing".into()));
            }
            self.set(Part::Buffers, "buffer_size_kb", &size.to_string())?;
        }
        if let Some(percent) = settings.buffer_percent {
            // Older kernels wake at once.
            if self.tracefs.has("buffer_percent") {
                self.set(Part::Buffers, "buffer_percent", &percent.min(100).to_string())?;
            }
        }
        if let Some(count) = settings.saved_cmdlines {
            self.set_global(Part::Buffers, "saved_cmdlines_size", &count.to_string())?;
        }
        self.options()
    }

    fn options(&mut self) -> Result<(), Error> {
        let stacks = self.settings.stacks;
        if stacks.function && self.settings.functions.is_empty() {
            let why =
                "a stack after every function of the kernel is more than a machine can bear; name functions";
            return Err(Error::Settings(why.into()));
        }
        let ours = [
            ("stacktrace", stacks.kernel),
            ("userstacktrace", stacks.user),
            ("func_stack_trace", stacks.function),
        ];
        let ours = ours.into_iter().filter(|(_, on)| *on).map(|(name, on)| (name.to_owned(), on));
        for (name, on) in ours.chain(self.settings.options.clone()) {
            self.option(&name, on)?;
        }
        Ok(())
    }

    fn option(&mut self, name: &str, on: bool) -> Result<(), Error> {
        let file = format!("options/{name}");
        if !self.tracefs.has(&file) {
            let all = self.tracefs.list("options")?;
            one_of("trace option", name, all.iter().map(String::as_str))?;
        }
        let value = if on { "1" } else { "0" };
        // Options of a tracer are shared by all instances, and some are only at the top.
        let shared = name.starts_with("func") && !matches!(name, "function-fork" | "function-trace");
        let only_top = matches!(name, "record-cmd" | "record-tgid" | "trace_printk" | "printk-msg-only");
        match self.in_instance() {
            true if only_top => self.set_global(Part::Buffers, &file, value),
            true => {
                let previous = if shared { restore(self.tracefs, &file)? } else { Vec::new() };
                let undo =
                    previous.into_iter().map(|write| Write { file: self.own(&file), ..write }).collect();
                let write = Write::truncate(self.own(&file), value);
                self.push(Step { write, undo, undo_failed: true, expect: None, part: Part::Buffers });
                Ok(())
            }
            false => self.set(Part::Buffers, &file, value),
        }
    }

    fn traces_functions(&self) -> bool {
        self.settings.tracer.as_deref().is_some_and(|tracer| tracer.starts_with("function"))
    }

    fn traces_events(&self) -> bool {
        let settings = self.settings;
        !settings.events.is_empty() || !settings.probes.is_empty() || !settings.synthetic.is_empty()
    }

    fn tasks(&mut self) -> Result<(), Error> {
        let settings = self.settings;
        let lists = [
            (&settings.tasks, "set_event_pid", "set_ftrace_pid"),
            (&settings.not_tasks, "set_event_notrace_pid", "set_ftrace_notrace_pid"),
        ];
        for (tasks, for_events, for_functions) in lists {
            if tasks.is_empty() {
                continue;
            }
            if self.traces_functions() {
                self.task_list(for_functions, tasks)?;
            }
            // Marks in the trace are not filtered by anything, so that without events there is nothing to filter.
            if self.traces_events() || !self.traces_functions() {
                self.task_list(for_events, tasks)?;
            }
        }
        if settings.follow {
            if self.traces_functions() {
                self.option("function-fork", true)?;
            }
            if self.traces_events() || !self.traces_functions() {
                self.option("event-fork", true)?;
            }
        }
        if let Some(cpus) = &settings.cpus {
            if cpus.is_empty() {
                return Err(Error::Settings("a list of no CPUs would record nothing".into()));
            }
            self.set(Part::Tasks, "tracing_cpumask", &pids::cpu_mask(cpus))?;
        }
        Ok(())
    }

    fn task_list(&mut self, file: &str, tasks: &[Task]) -> Result<(), Error> {
        self.present(file, "it was built without CONFIG_FUNCTION_TRACER, or is older than the list")?;
        let words: Vec<String> = tasks.iter().map(Task::to_string).collect();
        // Longer lists than a page are taken in pieces.
        for (n, piece) in words.chunks(400).enumerate() {
            let mut undo = Vec::new();
            let mut write = Write::append(self.own(file), piece.join(" "));
            if n == 0 && !self.in_instance() {
                undo = restore(self.tracefs, file)?;
                write = Write::truncate(self.own(file), piece.join(" "));
            }
            let expect = piece.first().map(|word| Expect::Word(word.clone()));
            self.push(Step { write, undo, undo_failed: true, expect, part: Part::Tasks });
        }
        Ok(())
    }

    fn functions(&mut self) -> Result<(), Error> {
        let settings = self.settings;
        let tracer = self.traces_functions();
        let graph = settings.tracer.as_deref() == Some("function_graph");
        let wanting =
            |what: &str, tracer: &str| Error::Settings(format!("{what} is for the tracer {tracer}"));
        let narrows = !settings.functions.is_empty() || !settings.not_functions.is_empty();
        if narrows && !tracer {
            return Err(wanting("a choice of functions", "function or function_graph"));
        }
        let graph_only = !settings.graph_functions.is_empty()
            || !settings.not_graph_functions.is_empty()
            || settings.max_depth.is_some();
        if graph_only && !graph {
            return Err(wanting("a choice of graphs or a depth", "function_graph"));
        }
        self.function_list("set_ftrace_filter", &settings.functions, false)?;
        self.function_list("set_ftrace_notrace", &settings.not_functions, false)?;
        self.function_list("set_graph_function", &settings.graph_functions, true)?;
        self.function_list("set_graph_notrace", &settings.not_graph_functions, true)?;
        if graph {
            self.left_by_others()?;
        }
        if let Some(depth) = settings.max_depth {
            self.present("max_graph_depth", "it was built without CONFIG_FUNCTION_GRAPH_TRACER")?;
            self.set_global(Part::Functions, "max_graph_depth", &depth.to_string())?;
        }
        if let Some(threshold) = settings.threshold_us {
            self.set_global(Part::Functions, "tracing_thresh", &threshold.to_string())?;
        }
        if tracer && settings.functions.is_empty() {
            self.notes.push(PATCHES_ALL.into());
        }
        for command in &settings.commands {
            self.function_command(command)?;
        }
        Ok(())
    }

    /// There is one list of graphs for all instances: what somebody has left in it would narrow ours without a word. It
    /// is put back. Where somebody's graphs are made at this time, they are left alone.
    fn left_by_others(&mut self) -> Result<(), Error> {
        let settings = self.settings;
        let lists = [
            ("set_graph_function", settings.graph_functions.is_empty()),
            ("set_graph_notrace", settings.not_graph_functions.is_empty()),
        ];
        let mut changed = lists.iter().any(|(_, unset)| !unset) || settings.max_depth.is_some();
        for (file, unset) in lists {
            let undo = restore(self.tracefs, file)?;
            if unset && undo.len() > 1 {
                changed = true;
                let write = Write::truncate(file, "");
                self.push(Step { write, undo, undo_failed: true, expect: None, part: Part::Functions });
            }
        }
        let depth = self.tracefs.read("max_graph_depth").unwrap_or_default();
        if settings.max_depth.is_none() && !matches!(depth.trim(), "0" | "") {
            changed = true;
            self.set_global(Part::Functions, "max_graph_depth", "0")?;
        }
        let users = crate::others::graphs(self.tracefs);
        if changed && !users.is_empty() {
            return Err(Error::InUse(users));
        }
        Ok(())
    }

    /// Writes a list of functions. What is there already is emptied first, and each is appended, so that one which fails
    /// does not leave an empty list, which stands for all functions, without anybody noticing.
    fn function_list(&mut self, file: &str, functions: &[String], global: bool) -> Result<(), Error> {
        if functions.is_empty() {
            return Ok(());
        }
        self.present(file, "it was built without CONFIG_DYNAMIC_FTRACE or CONFIG_FUNCTION_GRAPH_TRACER")?;
        let path = if global { file.to_owned() } else { self.own(file) };
        if global || !self.in_instance() {
            let undo = restore(self.tracefs, file)?;
            let write = Write::truncate(path.clone(), "");
            self.push(Step { write, undo, undo_failed: true, expect: None, part: Part::Functions });
        }
        for function in functions {
            let resolved = self.names.function(function)?;
            self.notes.extend(resolved.note);
            self.push(Step {
                write: Write::append(path.clone(), resolved.name),
                undo: Vec::new(),
                undo_failed: true,
                expect: Some(Expect::NotEmpty),
                part: Part::Functions,
            });
        }
        Ok(())
    }

    /// `FUNCTION:COMMAND[:COUNT]`, which the filter file takes as well.
    fn function_command(&mut self, text: &str) -> Result<(), Error> {
        const COMMANDS: [&str; 8] = [
            "traceon",
            "traceoff",
            "stacktrace",
            "snapshot",
            "dump",
            "cpudump",
            "enable_event",
            "disable_event",
        ];
        let Some((function, command)) = text.split_once(':') else {
            let expected = "expected FUNCTION:COMMAND[:COUNT], as do_exit:stacktrace:5";
            return Err(Error::Settings(format!("'{text}': {expected}")));
        };
        let mut words = command.split(':');
        let verb = words.next().unwrap_or("");
        one_of("command for functions", verb, COMMANDS)?;
        let resolved = self.names.function(function)?;
        self.notes.extend(resolved.note);
        let function = resolved.name;
        let events = verb.ends_with("_event");
        let counted = words.count() > if events { 2 } else { 0 };
        // With a count, the removal has to name one.
        let base = match (counted, command.rsplit_once(':')) {
            (true, Some((base, _))) => format!("{base}:0"),
            _ => command.to_owned(),
        };
        let file = self.own("set_ftrace_filter");
        self.push(Step {
            write: Write::append(file.clone(), format!("{function}:{command}")),
            undo: vec![Write::append(file, format!("!{function}:{base}"))],
            undo_failed: false,
            expect: None,
            part: Part::Commands,
        });
        Ok(())
    }

    /// Probes and synthetic events; gives them as events to enable.
    fn own_events(&mut self) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        for probe in &self.settings.probes {
            let event = self.probe(probe)?;
            events.push(own_event(&event, probe.filter.clone()));
        }
        for synthetic in &self.settings.synthetic {
            let event = self.synthetic_event(synthetic)?;
            events.push(own_event(&event, None));
        }
        Ok(events)
    }

    /// Filters and triggers of all events; gives the files that enable those that are to be enabled.
    fn triggers(&mut self, own: &[Event]) -> Result<Vec<String>, Error> {
        let mut enable = Vec::new();
        let names: Vec<String> = own.iter().map(|event| format!("{}/{}", event.system, event.name)).collect();
        for event in own.iter().chain(&self.settings.events) {
            let events = self.resolve(event, &names)?;
            let whole = event.name == "*" && event.filter.is_none() && event.triggers.is_empty();
            for event_name in &events {
                self.filter_and_triggers(event_name, event)?;
            }
            if !event.enable {
                continue;
            }
            self.events.extend(events.iter().cloned());
            match whole
                && !event.system.is_empty()
                && !crate::functions::is_glob(&event.system)
                && self.in_instance()
            {
                true => enable.push(format!("events/{}/enable", event.system)),
                false => enable.extend(events.iter().map(|event| format!("events/{event}/enable"))),
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        enable.retain(|file| seen.insert(file.clone()));
        Ok(enable)
    }

    /// Full names of the events that are meant. Our own go before those of the kernel.
    fn resolve(&mut self, event: &Event, own: &[String]) -> Result<Vec<String>, Error> {
        let exact = format!("{}/{}", event.system, event.name);
        if own.contains(&exact) {
            return Ok(vec![exact]);
        }
        let ours = own.iter().find(|known| known.split_once('/').is_some_and(|(_, name)| name == event.name));
        if let (true, Some(ours)) = (event.system.is_empty(), ours) {
            return Ok(vec![ours.clone()]);
        }
        let (events, note) = self.names.events(&event.system, &event.name)?;
        self.notes.extend(note);
        Ok(events)
    }

    fn filter_and_triggers(&mut self, name: &str, event: &Event) -> Result<(), Error> {
        let ours = self.own_events.iter().any(|(own, _)| own == name) || name.starts_with("synthetic/");
        if let Some(filter) = &event.filter {
            let file = format!("events/{name}/filter");
            let undo = if self.in_instance() || ours { Vec::new() } else { restore(self.tracefs, &file)? };
            let write = Write::truncate(self.own(&file), filter.clone());
            self.push(Step { write, undo, undo_failed: true, expect: None, part: Part::Triggers });
        }
        for trigger in &event.triggers {
            if trigger.starts_with("hist:") && !self.has_histograms() {
                let why = "this kernel has no histogram triggers; it was built without CONFIG_HIST_TRIGGERS";
                return Err(Error::Settings(format!("trigger '{trigger}': {why}")));
            }
            let file = self.own(&format!("events/{name}/trigger"));
            // Removing wants the text as it was written; the listing is not taken back.
            let undo = vec![Write::append(file.clone(), format!("!{trigger}"))];
            let write = Write::append(file, trigger.clone());
            self.push(Step { write, undo, undo_failed: false, expect: None, part: Part::Triggers });
            if trigger.starts_with("hist:") {
                let histogram = self.own(&format!("events/{name}/hist"));
                if !self.histograms.contains(&histogram) {
                    self.histograms.push(histogram);
                }
            }
        }
        Ok(())
    }

    /// The mini-HOWTO describes them where they are built in.
    fn has_histograms(&self) -> bool {
        self.tracefs.read("README").map_or(true, |text| text.contains("hist trigger") || text.is_empty())
    }

    fn tracer(&mut self) -> Result<(), Error> {
        let Some(tracer) = self.settings.tracer.as_deref().filter(|tracer| *tracer != "nop") else {
            return Ok(());
        };
        let file = self.own("current_tracer");
        let undo = vec![Write::truncate(file.clone(), "nop")];
        let write = Write::truncate(file, tracer);
        let expect = Some(Expect::Word(tracer.to_owned()));
        self.push(Step { write, undo, undo_failed: false, expect, part: Part::Tracer });
        Ok(())
    }

    fn enable(&mut self, files: Vec<String>) -> Result<(), Error> {
        for file in files {
            let file = self.own(&file);
            let undo = vec![Write::truncate(file.clone(), "0")];
            let write = Write::truncate(file, "1");
            self.push(Step { write, undo, undo_failed: true, expect: None, part: Part::Events });
        }
        Ok(())
    }

    fn finish(mut self) -> Plan {
        let write = Write::truncate(self.own("trace"), "");
        self.push(Step { write, undo: Vec::new(), undo_failed: false, expect: None, part: Part::Clear });
        let (start, stop) =
            (Write::truncate(self.own("tracing_on"), "1"), Write::truncate(self.own("tracing_on"), "0"));
        self.steps.sort_by_key(|step| step.part);
        self.notes.dedup();
        let settings = self.settings;
        let triggers = settings.events.iter().flat_map(|event| &event.triggers);
        let takes = |text: &str, what: &str| text.split([':', '.', ' ', '(']).any(|word| word == what);
        let snapshots = triggers.chain(&settings.commands).any(|text| takes(text, "snapshot"));
        Plan {
            snapshots,
            place: self.place,
            steps: self.steps,
            notes: self.notes,
            events: self.events,
            histograms: self.histograms,
            start,
            stop,
        }
    }
}

fn own_event(name: &str, filter: Option<String>) -> Event {
    let (system, name) = name.split_once('/').unwrap_or(("", name));
    Event { system: system.into(), name: name.into(), filter, triggers: Vec::new(), enable: true }
}
