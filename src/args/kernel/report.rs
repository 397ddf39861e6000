//! `kernel report`: the options of `trace-cmd report`.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint, value_parser};
use std::path::PathBuf;

/// Show a kernel recording (trace.dat) as `trace-cmd report` does
#[derive(Debug, Args)]
#[command(next_help_heading = "What is shown")]
pub(crate) struct Report {
    /// The recording: a trace.dat file, or the directory that a killed recorder left [default: trace.dat]
    #[arg(value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) ordered: Ordered,
    /// Show the fields of all events instead of their text
    #[arg(short = 'R', long = "raw")]
    pub(crate) raw: bool,
    /// Show the fields of the events that match, a regular expression
    #[arg(short = 'r', value_name = "EVENTS")]
    pub(crate) raw_events: Vec<String>,
    /// Print all events by their own format, none in the words of trace-cmd's plugins
    #[arg(short = 'N', long = "no-plugins")]
    pub(crate) no_plugins: bool,
    /// Print the events that match by their own format
    #[arg(short = 'n', value_name = "EVENTS")]
    pub(crate) plain_events: Vec<String>,
    /// Option of a plugin: parent, indent, offset (functions), tailprint, depth (call graphs)
    #[arg(short = 'O', value_name = "[PLUGIN:]OPTION[=VALUE]")]
    pub(crate) plugin_options: Vec<String>,
    /// Show the flags of interrupts, rescheduling and preemption
    #[arg(short = 'l', long = "latency")]
    pub(crate) latency: bool,
    /// Show the latency of each wake-up, and their average, maximum and minimum
    #[arg(short = 'w', long = "wakeups")]
    pub(crate) wakeups: bool,
    /// Only events of these CPUs: numbers and ranges, separated by ',' or ':'
    #[arg(long, value_name = "LIST", value_parser = cpu_list)]
    pub(crate) cpu: Option<CpuList>,
    /// Not what happened within a hardware interrupt
    #[arg(short = 'I')]
    pub(crate) without_hardirq: bool,
    /// Not what happened within a software interrupt
    #[arg(short = 'S')]
    pub(crate) without_softirq: bool,
    /// Show the filters as they are for each event, and nothing else
    #[arg(short = 'T')]
    pub(crate) test_filters: bool,
    /// Do not show notes about what could not be read
    #[arg(short = 'q')]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) times: Times,
    #[command(flatten)]
    pub(crate) about: About,
    #[command(flatten)]
    pub(crate) absent: Absent,
}

/// How times are shown.
#[derive(Debug, Args)]
#[command(next_help_heading = "Times")]
pub(crate) struct Times {
    /// Show nanoseconds
    #[arg(short = 't', long = "nanoseconds")]
    pub(crate) nanoseconds: bool,
    /// Show the time since the line before
    #[arg(long)]
    pub(crate) ts_diff: bool,
    /// Say where the time of a CPU goes back
    #[arg(long)]
    pub(crate) ts_check: bool,
    /// Do not add the date that was recorded
    #[arg(long)]
    pub(crate) nodate: bool,
    /// Show times as they were recorded
    #[arg(long)]
    pub(crate) raw_ts: bool,
    /// Count times from the first event
    #[arg(long)]
    pub(crate) align_ts: bool,
}

/// Questions about the file, each instead of its events.
#[derive(Debug, Args)]
#[command(next_help_heading = "About the file, instead of its events")]
#[group(multiple = false)]
pub(crate) struct About {
    /// Show the byte order of the file
    #[arg(short = 'e')]
    pub(crate) byte_order: bool,
    /// List the functions whose addresses are known
    #[arg(short = 'f')]
    pub(crate) functions: bool,
    /// List the texts of trace_printk
    #[arg(short = 'P')]
    pub(crate) printk: bool,
    /// List the events that the file has formats of
    #[arg(short = 'E')]
    pub(crate) event_names: bool,
    /// Show the formats of all events
    #[arg(long)]
    pub(crate) events: bool,
    /// Show the formats of the events that match, [SYSTEM:]EVENT
    #[arg(long, value_name = "REGEX")]
    pub(crate) event: Option<String>,
    /// Check whether all formats can be worked out
    #[arg(long)]
    pub(crate) check_events: bool,
    /// Show what the kernel counted while recording
    #[arg(long)]
    pub(crate) stat: bool,
    /// Show the recorded system
    #[arg(long)]
    pub(crate) uname: bool,
    /// Show which program recorded
    #[arg(long)]
    pub(crate) version: bool,
    /// List the CPUs that have events
    #[arg(long)]
    pub(crate) cpus: bool,
    /// Show the time of each CPU's first event
    #[arg(long)]
    pub(crate) first_event: bool,
    /// Show the time of each CPU's last event
    #[arg(long)]
    pub(crate) last_event: bool,
}

/// Options of trace-cmd that are not there: they are known so that they can be refused by name.
#[derive(Debug, Args)]
pub(crate) struct Absent {
    #[arg(long, hide = true)]
    pub(crate) profile: bool,
    #[arg(short = 'G', hide = true)]
    pub(crate) global_interrupts: bool,
    #[arg(short = 'H', value_name = "HOOKS", hide = true)]
    pub(crate) hooks: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) by_comm: bool,
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) comm: Option<String>,
    #[arg(short = 'L', hide = true)]
    pub(crate) local_plugins: bool,
    #[arg(short = 'V', value_name = "LEVEL", num_args = 0..=1, hide = true)]
    pub(crate) plugin_messages: Option<Option<String>>,
}

impl Absent {
    /// The first of them that was given, and what there is instead.
    pub(crate) fn given(&self) -> Option<(&'static str, &'static str)> {
        const PROFILE: &str = "fathom kernel recipe explains where tasks spent their time";
        let given = [
            (self.profile, "--profile", PROFILE),
            (self.global_interrupts, "-G", PROFILE),
            (self.hooks.is_some(), "-H", PROFILE),
            (self.by_comm, "--by-comm", PROFILE),
            (self.comm.is_some(), "--comm", "-F '.*: COMM == \"NAME\"' shows the events of a task"),
            (self.local_plugins, "-L", "there are no plugins to load; -N prints events by their own format"),
            (self.plugin_messages.is_some(), "-V", "there are no plugins to load"),
        ];
        given.into_iter().find(|(given, ..)| *given).map(|(_, name, instead)| (name, instead))
    }
}

/// CPUs, as ranges from the first to the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CpuList(pub(crate) Vec<std::ops::RangeInclusive<u32>>);

fn cpu_list(text: &str) -> Result<CpuList, String> {
    let number =
        |word: &str| word.trim().parse::<u32>().map_err(|_| format!("'{word}' is not the number of a CPU"));
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => {
            let range = number(first)?..=number(last)?;
            if range.is_empty() {
                Err(format!("'{part}' goes from a higher to a lower number"))
            } else {
                Ok(range)
            }
        }
        None => number(part).map(|cpu| cpu..=cpu),
    };
    text.split([',', ':']).map(range).collect::<Result<_, _>>().map(CpuList)
}

/// An option whose place among others of its kind matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A file; what follows is about it.
    Input(PathBuf),
    /// Added to the times of the file before.
    Offset(i64),
    /// The frequency of the clock of the file before, or of all that follow.
    Hertz(u64),
    /// Filters that follow take events away.
    Invert,
    /// A filter.
    Filter(String),
}

/// The options whose order matters, in that order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ordered {
    pub(crate) items: Vec<Item>,
}

impl Ordered {
    fn read(matches: &ArgMatches) -> Self {
        let mut items: Vec<(usize, Item)> = Vec::new();
        let mut add = |id: &str, values: Vec<Item>| {
            if matches.value_source(id) == Some(clap::parser::ValueSource::CommandLine) {
                items.extend(matches.indices_of(id).into_iter().flatten().zip(values));
            }
        };
        let inputs = matches.get_many::<PathBuf>("input").into_iter().flatten();
        add("input", inputs.cloned().map(Item::Input).collect());
        let offsets = matches.get_many::<i64>("ts_offset").into_iter().flatten();
        add("ts_offset", offsets.copied().map(Item::Offset).collect());
        let rates = matches.get_many::<u64>("ts2secs").into_iter().flatten();
        add("ts2secs", rates.copied().map(Item::Hertz).collect());
        let filters = matches.get_many::<String>("filter").into_iter().flatten();
        add("filter", filters.cloned().map(Item::Filter).collect());
        let inverts = matches.get_count("verbose");
        add("verbose", vec![Item::Invert; inverts.into()]);
        items.sort_by_key(|(index, _)| *index);
        Self { items: items.into_iter().map(|(_, item)| item).collect() }
    }
}

impl FromArgMatches for Ordered {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::read(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::read(matches);
        Ok(())
    }
}

impl Args for Ordered {
    fn augment_args(command: Command) -> Command {
        command
            .arg(
                Arg::new("input")
                    .short('i')
                    .long("input")
                    .value_name("FILE")
                    .value_hint(ValueHint::AnyPath)
                    .value_parser(value_parser!(PathBuf))
                    .action(ArgAction::Append)
                    .help("Show this recording; several are merged by time"),
            )
            .arg(
                Arg::new("filter")
                    .short('F')
                    .long("filter")
                    .value_name("EVENTS[:EXPRESSION]")
                    .action(ArgAction::Append)
                    .help("Only these events: 'sched/sched_switch : prev_pid == 0 && next_comm != \"sh\"'"),
            )
            .arg(
                // The name makes this one stand in place of the common -v, which means something else.
                Arg::new("verbose")
                    .short('v')
                    .action(ArgAction::Count)
                    .help("The filters that follow take events away"),
            )
            .arg(
                Arg::new("ts_offset")
                    .long("ts-offset")
                    .value_name("NUMBER")
                    .value_parser(value_parser!(i64))
                    .allow_hyphen_values(true)
                    .action(ArgAction::Append)
                    .help("Add to the times of the file before this option, in units of its clock"),
            )
            .arg(
                Arg::new("ts2secs")
                    .long("ts2secs")
                    .value_name("HZ")
                    .value_parser(value_parser!(u64).range(1..))
                    .action(ArgAction::Append)
                    .help("Show seconds: the clock of the file before (of all files, if none is before) has this frequency"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpu_list("0,3:5-7"), Ok(CpuList(vec![0..=0, 3..=3, 5..=7])));
        assert_eq!(cpu_list("0,x"), Err("'x' is not the number of a CPU".into()));
        assert_eq!(cpu_list("4-2"), Err("'4-2' goes from a higher to a lower number".into()));
    }

    #[test]
    fn the_order_of_options_is_kept() {
        let command = Ordered::augment_args(Command::new("report"));
        let words = "report -i a --ts-offset -5 -F x -v -F y -i b --ts2secs 1000".split(' ');
        let matches = command.try_get_matches_from(words).unwrap();
        let ordered = Ordered::from_arg_matches(&matches).unwrap();
        let expected = [
            Item::Input("a".into()),
            Item::Offset(-5),
            Item::Filter("x".into()),
            Item::Invert,
            Item::Filter("y".into()),
            Item::Input("b".into()),
            Item::Hertz(1000),
        ];
        assert_eq!(ordered.items, expected);
    }
}
