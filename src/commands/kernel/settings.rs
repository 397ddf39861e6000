//! From the options of `trace` to settings.

use crate::args::kernel::trace::Trace;
use crate::messages::{Failure, exit};
use fathom_btf::{Arch, Btf, ProbeSpec};
use fathom_tracefs::{
    Error, Event, Names, Probe, ProbeKind, Settings, Stacks, Synthetic, Task, Tracefs, pids,
};

/// The settings, and what the user should be told about them.
pub(crate) fn of(args: &Trace, tracefs: &Tracefs) -> Result<(Settings, Vec<String>), Failure> {
    let mut notes = Vec::new();
    let settings = build(args, tracefs, &mut notes)
        .map_err(|error| Failure::new(exit::TROUBLE, "reading the command line", error))?;
    Ok((settings, notes))
}

fn build(args: &Trace, tracefs: &Tracefs, notes: &mut Vec<String>) -> Result<Settings, Error> {
    let mut events = args.what.events.iter().map(|text| Event::parse(text)).collect::<Result<Vec<_>, _>>()?;
    for text in &args.what.triggers {
        events.push(Event::parse_trigger(text)?);
    }
    let functions = &args.functions;
    let buffers = &args.buffers;
    let tracer = args.what.tracer.clone().or_else(|| implied_tracer(args));
    let settings = Settings {
        tracer,
        events,
        probes: probes(args, tracefs, notes)?,
        synthetic: args.what.synthetic.iter().map(|text| Synthetic::parse(text)).collect::<Result<_, _>>()?,
        stacks: Stacks {
            kernel: args.what.stack,
            user: args.what.user_stack,
            function: functions.function_stack,
        },
        tasks: tasks(args, tracefs, notes)?,
        not_tasks: args.who.not_pids.iter().flatten().map(|pid| Task::Id(pid.cast_unsigned())).collect(),
        follow: args.who.follow,
        functions: functions.functions.clone(),
        not_functions: functions.not_functions.clone(),
        graph_functions: functions.graph_functions.clone(),
        not_graph_functions: functions.not_graph_functions.clone(),
        max_depth: functions.max_depth,
        threshold_us: functions.threshold.map(|ns| ns.div_ceil(1000)),
        commands: functions.commands.clone(),
        cpus: args.who.cpus.as_deref().map(pids::cpu_list).transpose()?,
        clock: buffers.clock.clone(),
        buffer_kb: buffers.buffer_size.map(|bytes| bytes.div_ceil(1024)),
        subbuffer_kb: buffers.subbuffer_size.map(|bytes| bytes.div_ceil(1024)),
        buffer_percent: buffers.buffer_percent,
        saved_cmdlines: buffers.saved_cmdlines,
        options: options(&buffers.options, tracefs),
        top_level: buffers.top_level,
    };
    let nothing = settings.tracer.as_deref().unwrap_or("nop") == "nop"
        && settings.events.is_empty()
        && settings.probes.is_empty()
        && settings.synthetic.is_empty()
        && settings.commands.is_empty();
    if nothing {
        let why =
            "nothing is to be recorded: name a tracer (-t), events (-e), or a probe (--kprobe, --uprobe)";
        return Err(Error::Settings(why.into()));
    }
    Ok(settings)
}

/// Who asks for graphs, or for functions, need not say the tracer.
fn implied_tracer(args: &Trace) -> Option<String> {
    let functions = &args.functions;
    let graph = !functions.graph_functions.is_empty()
        || !functions.not_graph_functions.is_empty()
        || functions.max_depth.is_some()
        || functions.threshold.is_some();
    let plain =
        !functions.functions.is_empty() || !functions.not_functions.is_empty() || functions.function_stack;
    match (graph, plain) {
        (true, _) => Some("function_graph".into()),
        (false, true) => Some("function".into()),
        (false, false) => None,
    }
}

fn probes(args: &Trace, tracefs: &Tracefs, notes: &mut Vec<String>) -> Result<Vec<Probe>, Error> {
    let what = &args.what;
    let mut btf = None;
    let mut probes = Vec::new();
    for (kind, texts) in [
        (ProbeKind::Kprobe, &what.kprobes),
        (ProbeKind::Kretprobe, &what.kretprobes),
        (ProbeKind::Uprobe, &what.uprobes),
        (ProbeKind::Uretprobe, &what.uretprobes),
        (ProbeKind::Fprobe, &what.fprobes),
        (ProbeKind::Tprobe, &what.tprobes),
        (ProbeKind::Eprobe, &what.eprobes),
    ] {
        for text in texts {
            let (plain, filter) =
                text.split_once(" if ").map_or((text.as_str(), None), |(p, f)| (p, Some(f)));
            let of_kernel = matches!(kind, ProbeKind::Kprobe | ProbeKind::Kretprobe);
            probes.push(match of_kernel && ProbeSpec::looks_like(plain) {
                true => by_name(kind, plain, filter, tracefs, &mut btf, notes)?,
                false => Probe::parse(kind, text)?,
            });
        }
    }
    Ok(probes)
}

/// `tcp_sendmsg(sk, size)`: where the arguments are is known from the kernel's type information.
fn by_name(
    kind: ProbeKind,
    text: &str,
    filter: Option<&str>,
    tracefs: &Tracefs,
    btf: &mut Option<Btf>,
    notes: &mut Vec<String>,
) -> Result<Probe, Error> {
    const PLACE: &str = "/sys/kernel/btf/vmlinux";
    let wrong = |why: String| Error::Settings(format!("{} '{text}': {why}", kind.name()));
    let mut spec = ProbeSpec::parse(text).map_err(|error| wrong(error.to_string()))?;
    spec.at_return |= kind == ProbeKind::Kretprobe;
    let resolved = Names::new(tracefs).symbol(&spec.function)?;
    notes.extend(resolved.note);
    spec.function = resolved.name;
    if btf.is_none() {
        let bytes = std::fs::read(PLACE).map_err(|error| {
            wrong(format!("arguments by name need {PLACE} (CONFIG_DEBUG_INFO_BTF): {error}"))
        })?;
        *btf = Some(Btf::parse(bytes).map_err(|error| wrong(format!("{PLACE}: {error}")))?);
    }
    let arch =
        Arch::native().ok_or_else(|| wrong("arguments by name are not known for this machine".into()))?;
    let args = match btf.as_ref() {
        Some(btf) => spec.fetch_args(btf, arch).map_err(|error| wrong(error.to_string()))?,
        None => Vec::new(),
    };
    let kind = if spec.at_return { ProbeKind::Kretprobe } else { kind };
    let event = spec.event_name();
    let name = if spec.event.is_none() && spec.at_return { format!("{event}_return") } else { event };
    Ok(Probe {
        kind,
        name: Some(name),
        place: spec.function,
        args: args.join(" "),
        filter: filter.map(str::to_owned),
    })
}

fn tasks(args: &Trace, tracefs: &Tracefs, notes: &mut Vec<String>) -> Result<Vec<Task>, Error> {
    let mut ids = Vec::new();
    for pid in args.who.pids.iter().flatten() {
        ids.push(pids::existing(tracefs, pid.cast_unsigned())?);
    }
    for name in &args.who.comms {
        ids.extend(pids::by_name(tracefs, name)?);
    }
    if args.who.follow && !ids.is_empty() {
        ids = pids::family(tracefs, &ids);
    } else {
        let threads = pids::threads(tracefs, &ids).len();
        if threads > ids.len() {
            let more = threads - ids.len();
            notes.push(format!(
                "{more} more threads of these processes are not traced; --follow traces them too"
            ));
        }
    }
    ids.sort_unstable();
    ids.dedup();
    let mut tasks: Vec<Task> = ids.into_iter().map(Task::Id).collect();
    // A command is what is to be seen, unless others are named.
    if !args.command.is_empty() && !args.who.all && tasks.is_empty() {
        tasks.push(Task::Command);
    }
    Ok(tasks)
}

/// `NAME` and `noNAME`, of which some begin with `no` by themselves.
fn options(words: &[String], tracefs: &Tracefs) -> Vec<(String, bool)> {
    let there = |name: &str| tracefs.has(&format!("options/{name}"));
    let read = |word: &String| match word.strip_prefix("no") {
        Some(name) if !there(word) => (name.to_owned(), false),
        _ => (word.clone(), true),
    };
    words.iter().map(read).collect()
}
