//! What is wanted of a kernel, as plain data.

use crate::Error;

/// What to trace. [`crate::Plan::build`] turns it into writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Name of a tracer; none is `nop`.
    pub tracer: Option<String>,
    /// Events, with their filters and triggers.
    pub events: Vec<Event>,
    /// Probes of all kinds; they are enabled.
    pub probes: Vec<Probe>,
    /// Synthetic events; they are enabled.
    pub synthetic: Vec<Synthetic>,
    /// Which records get stacks.
    pub stacks: Stacks,
    /// Tasks that are traced (thread ids); none is all.
    pub tasks: Vec<Task>,
    /// Tasks that are left out.
    pub not_tasks: Vec<Task>,
    /// Tasks that those start are traced too. The threads and children that they have already must be among them.
    pub follow: bool,
    /// Functions that a function tracer records (names, globs, `GLOB:mod:NAME`); none is all.
    pub functions: Vec<String>,
    /// Functions that it never records.
    pub not_functions: Vec<String>,
    /// Functions from which `function_graph` goes down; none is all.
    pub graph_functions: Vec<String>,
    /// Functions below which it does not go.
    pub not_graph_functions: Vec<String>,
    /// How deep it goes.
    pub max_depth: Option<u32>,
    /// Only calls that took longer, in microseconds.
    pub threshold_us: Option<u64>,
    /// `FUNCTION:COMMAND[:COUNT]`, as `do_exit:stacktrace:5`.
    pub commands: Vec<String>,
    /// CPUs that are traced; none is all.
    pub cpus: Option<Vec<u32>>,
    /// Clock of the time stamps; none leaves the one that is chosen (`local`).
    pub clock: Option<String>,
    /// Size of the buffer of each CPU, in KiB.
    pub buffer_kb: Option<u64>,
    /// Size of a sub-buffer, in KiB (Linux 6.8 and later).
    pub subbuffer_kb: Option<u64>,
    /// How full a buffer is before its reader is woken, in percent.
    pub buffer_percent: Option<u32>,
    /// How many task names the kernel remembers.
    pub saved_cmdlines: Option<u32>,
    /// Further options and whether they are on.
    pub options: Vec<(String, bool)>,
    /// Use the top level, not an instance of our own.
    pub top_level: bool,
}

/// A task in a pid filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// A thread id.
    Id(u32),
    /// The command that is yet to be started: its id is only known then. In shell lines it is `$PID`.
    Command,
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Task::Id(id) => write!(f, "{id}"),
            Task::Command => f.write_str("$PID"),
        }
    }
}

/// Which records get stacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stacks {
    /// A kernel stack after each event.
    pub kernel: bool,
    /// A user stack after each event.
    pub user: bool,
    /// A stack after each function of the function tracer. Wants a narrow filter.
    pub function: bool,
}

/// An event, or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// System, a glob, or nothing where only the event is known.
    pub system: String,
    /// Name or glob; `*` for a whole system.
    pub name: String,
    /// Which of its records are kept.
    pub filter: Option<String>,
    /// What else happens when it is hit, as `stacktrace:5 if prio < 100`, `hist:keys=pid`.
    pub triggers: Vec<String>,
    /// Whether its records are written. Triggers work without.
    pub enable: bool,
}

impl Event {
    /// Reads `SYS:EVENT`, `SYS/EVENT`, `SYS:*`, `SYS:` or `EVENT`, with ` if FILTER` behind it.
    ///
    /// # Errors
    ///
    /// A text without a name, or with an empty filter.
    pub fn parse(text: &str) -> Result<Event, Error> {
        let wrong = |why: &str| Error::Settings(format!("event '{text}': {why}"));
        let (place, filter) = match text.split_once(" if ") {
            Some((place, filter)) => (place.trim(), Some(filter.trim())),
            None => (text.trim(), None),
        };
        if filter == Some("") {
            return Err(wrong("there is nothing behind 'if'"));
        }
        if place.is_empty() || place.contains(char::is_whitespace) {
            return Err(wrong("expected SYSTEM:EVENT, with ' if FILTER' behind it for a filter"));
        }
        let (system, name) = match place.split_once([':', '/']) {
            Some((system, name)) => (system, if name.is_empty() { "*" } else { name }),
            None => ("", place),
        };
        Ok(Event {
            system: system.into(),
            name: name.into(),
            filter: filter.map(str::to_owned),
            triggers: Vec::new(),
            enable: true,
        })
    }

    /// Reads `EVENT TRIGGER`, as `sched:sched_waking stacktrace:5 if prio < 100`. The event is not enabled by it.
    ///
    /// # Errors
    ///
    /// A text without both.
    pub fn parse_trigger(text: &str) -> Result<Event, Error> {
        let Some((event, trigger)) = text.trim().split_once(char::is_whitespace) else {
            let expected = "expected EVENT TRIGGER, as 'sched:sched_waking stacktrace if prio < 100'";
            return Err(Error::Settings(format!("trigger '{text}': {expected}")));
        };
        let event = Event::parse(event)?;
        Ok(Event { triggers: vec![trigger.trim().to_owned()], enable: false, ..event })
    }
}

/// Kinds of probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// At an instruction of the kernel.
    Kprobe,
    /// At the return of a kernel function.
    Kretprobe,
    /// At an instruction of a program.
    Uprobe,
    /// At the return of a function of a program.
    Uretprobe,
    /// At functions, by ftrace (6.5 and later); `%return` behind the name for returns.
    Fprobe,
    /// At a tracepoint, by its own parameters (6.5 and later).
    Tprobe,
    /// At another event.
    Eprobe,
}

impl ProbeKind {
    /// The letter in `dynamic_events`.
    pub fn letter(self) -> char {
        match self {
            ProbeKind::Kprobe | ProbeKind::Uprobe => 'p',
            ProbeKind::Kretprobe | ProbeKind::Uretprobe => 'r',
            ProbeKind::Fprobe => 'f',
            ProbeKind::Tprobe => 't',
            ProbeKind::Eprobe => 'e',
        }
    }

    /// The file in which these are defined, and the one that takes all.
    pub(crate) fn files(self) -> [&'static str; 2] {
        match self {
            ProbeKind::Kprobe | ProbeKind::Kretprobe => ["kprobe_events", "dynamic_events"],
            ProbeKind::Uprobe | ProbeKind::Uretprobe => ["uprobe_events", "dynamic_events"],
            _ => ["dynamic_events", "dynamic_events"],
        }
    }

    /// What it is called in messages.
    pub fn name(self) -> &'static str {
        match self {
            ProbeKind::Kprobe => "kprobe",
            ProbeKind::Kretprobe => "kretprobe",
            ProbeKind::Uprobe => "uprobe",
            ProbeKind::Uretprobe => "uretprobe",
            ProbeKind::Fprobe => "fprobe",
            ProbeKind::Tprobe => "tprobe",
            ProbeKind::Eprobe => "eprobe",
        }
    }
}

/// A probe: an event that is made for this trace. Its group is ours alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Which kind.
    pub kind: ProbeKind,
    /// Name of the event; none is made of the place.
    pub name: Option<String>,
    /// `SYM[+OFF]`, `PATH:SYM[+OFF]`, `PATH:0xOFFSET`, `SYS.EVENT`.
    pub place: String,
    /// Arguments as the kernel takes them, and for eprobes ` if FILTER`.
    pub args: String,
    /// Which hits are kept.
    pub filter: Option<String>,
}

impl Probe {
    /// Reads `[NAME=]PLACE [ARGS] [if FILTER]`, or what people write into the files by hand: `p:[GROUP/]NAME PLACE
    /// [ARGS]`, of which the group is not taken over.
    ///
    /// # Errors
    ///
    /// A text without a place.
    pub fn parse(kind: ProbeKind, text: &str) -> Result<Probe, Error> {
        let wrong = |why: &str| Error::Settings(format!("{} '{text}': {why}", kind.name()));
        let mut rest = text.trim();
        let mut name = None;
        if let Some((head, tail)) = rest.split_once(char::is_whitespace)
            && let Some(given) = by_hand(head, kind)
        {
            name = given;
            rest = tail.trim_start();
        }
        let (rest, filter) = match rest.split_once(" if ") {
            Some((rest, filter)) => (rest.trim_end(), Some(filter.trim().to_owned())),
            None => (rest, None),
        };
        let (mut place, args) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if let Some((given, behind)) = place.split_once('=')
            && is_event_name(given)
        {
            (name, place) = (Some(given.to_owned()), behind);
        }
        if place.is_empty() {
            return Err(wrong("there is no place to probe"));
        }
        if let Some(name) = &name
            && !is_event_name(name)
        {
            return Err(wrong(&format!("'{name}' cannot be the name of an event")));
        }
        Ok(Probe { kind, name, place: place.into(), args: args.trim().into(), filter })
    }
}

/// The name in `p:GROUP/NAME`, `r16:NAME`, `p:`; nothing if it is no such head.
fn by_hand(head: &str, kind: ProbeKind) -> Option<Option<String>> {
    let (letter, name) = match head.split_once(':') {
        Some((letter, name)) => (letter, Some(name)),
        None => (head, None),
    };
    let digits = letter.strip_prefix(kind.letter())?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let name = name.map(|name| name.rsplit('/').next().unwrap_or(name)).filter(|name| !name.is_empty());
    Some(name.map(str::to_owned))
}

/// Whether a word can be the name of an event: a C identifier.
pub(crate) fn is_event_name(word: &str) -> bool {
    let mut letters = word.bytes();
    letters.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A synthetic event, made by histogram triggers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synthetic {
    /// Its name, which all of the machine sees.
    pub name: String,
    /// `TYPE NAME[; TYPE NAME]…`.
    pub fields: String,
}

impl Synthetic {
    /// Reads `NAME TYPE FIELD[; TYPE FIELD]…`.
    ///
    /// # Errors
    ///
    /// A text without a name or fields.
    pub fn parse(text: &str) -> Result<Synthetic, Error> {
        let text = text.trim();
        let text = text.strip_prefix("s:").unwrap_or(text);
        let text = text.strip_prefix("synthetic/").unwrap_or(text);
        let wrong =
            || Error::Settings(format!("synthetic event '{text}': expected NAME TYPE FIELD[; TYPE FIELD]…"));
        let (name, fields) = text.split_once([' ', ';']).ok_or_else(wrong)?;
        if !is_event_name(name) || fields.trim().is_empty() {
            return Err(wrong());
        }
        Ok(Synthetic { name: name.into(), fields: fields.trim().into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events() {
        let event = Event::parse("sched:sched_switch if prev_pid == 1").unwrap();
        assert_eq!((event.system.as_str(), event.name.as_str()), ("sched", "sched_switch"));
        assert_eq!(event.filter.as_deref(), Some("prev_pid == 1"));
        assert_eq!(Event::parse("irq:").unwrap().name, "*");
        assert_eq!(Event::parse("irq/irq_handler_entry").unwrap().system, "irq");
        assert_eq!(Event::parse("sched_switch").unwrap().system, "");
        assert!(
            Event::parse("a:b if ").is_ok_and(|e| e.filter.is_none()) || Event::parse("a:b if ").is_err()
        );
        assert!(Event::parse("").is_err());
        assert!(Event::parse("two words").is_err());
    }

    #[test]
    fn triggers() {
        let event = Event::parse_trigger("sched:sched_waking hist:keys=pid if prio < 100").unwrap();
        assert_eq!(event.triggers, ["hist:keys=pid if prio < 100"]);
        assert!(!event.enable);
        assert!(Event::parse_trigger("sched:sched_waking").is_err());
    }

    #[test]
    fn probes_as_short_and_by_hand() {
        let parse = |text| Probe::parse(ProbeKind::Kprobe, text);
        let probe = parse("open=do_sys_openat2 dfd=$arg1:s32 path=+0($arg2):ustring if dfd == 3").unwrap();
        assert_eq!(probe.name.as_deref(), Some("open"));
        assert_eq!(probe.place, "do_sys_openat2");
        assert_eq!(probe.args, "dfd=$arg1:s32 path=+0($arg2):ustring");
        assert_eq!(probe.filter.as_deref(), Some("dfd == 3"));
        let probe = parse("p:kprobes/enqueue_task_fair enqueue_task_fair").unwrap();
        assert_eq!(
            (probe.name.as_deref(), probe.place.as_str()),
            (Some("enqueue_task_fair"), "enqueue_task_fair")
        );
        let probe = Probe::parse(ProbeKind::Kretprobe, "r64:x vfs_read $retval").unwrap();
        assert_eq!((probe.name.as_deref(), probe.args.as_str()), (Some("x"), "$retval"));
        assert_eq!(parse("vfs_read").unwrap().name, None);
        assert_eq!(parse("p vfs_read").unwrap().place, "vfs_read");
        assert!(parse("").is_err());
        assert!(parse("p:a-b vfs_read").is_err());
    }

    #[test]
    fn synthetic_events() {
        let event = Synthetic::parse("s:rqlat u64 lat; pid_t pid").unwrap();
        assert_eq!((event.name.as_str(), event.fields.as_str()), ("rqlat", "u64 lat; pid_t pid"));
        assert!(Synthetic::parse("rqlat").is_err());
        assert!(Synthetic::parse("1a u64 x").is_err());
    }
}
