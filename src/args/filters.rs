//! Options that say which calls: while recording, and of a recording.

use super::in_kernel::{KernelOnly, KernelView};
use super::{Match, values};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, FromArgMatches, ValueEnum};
use fathom_agent::AgentChange;
use fathom_analysis::filter::{FilterOptions, TimeRange};
use fathom_filter::{Action, Rules, SpecError, SpecKind, Specs};

/// What was typed.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Filters")]
struct Typed {
    /// Only FUNC and what it calls; may be repeated, as all filters of functions
    #[arg(short = 'F', long, value_name = "FUNC", action = ArgAction::Append)]
    filter: Vec<String>,
    /// Neither FUNC nor what it calls
    #[arg(short = 'N', long, value_name = "FUNC", action = ArgAction::Append)]
    notrace: Vec<String>,
    /// Only what leads to FUNC; without scheduler events
    #[arg(short = 'C', long, value_name = "FUNC", action = ArgAction::Append)]
    caller_filter: Vec<String>,
    /// Not FUNC itself; what it calls is shown one level further out
    #[arg(short = 'H', long, value_name = "FUNC", action = ArgAction::Append)]
    hide: Vec<String>,
    /// Only functions of the source file or directory LOC, or none of them; without scheduler events
    #[arg(short = 'L', long, value_name = "LOC[@hide]", action = ArgAction::Append)]
    loc_filter: Vec<String>,
    /// What to do at FUNC: depth=N, time=TIME, size=SIZE, trace, trace_on, trace_off, finish, hide, filter, notrace,
    /// caller, backtrace, color=COLOR, recover, read=KIND, callsite, auto-args, argN, retval, if:COND
    #[arg(short = 'T', long, value_name = "FUNC@ACTION", action = ArgAction::Append)]
    trigger: Vec<String>,
    /// At most DEPTH levels of calls
    #[arg(short = 'D', long, value_name = "DEPTH", value_parser = clap::value_parser!(u32).range(1..=65534))]
    depth: Option<u32>,
    /// Only calls that take TIME or longer, for example 10us
    #[arg(short = 't', long, value_name = "TIME", value_parser = values::threshold)]
    time_filter: Option<u64>,
    /// Only functions of SIZE bytes or more, with k or m if wanted
    #[arg(short = 'Z', long, value_name = "SIZE", value_parser = values::function_size)]
    size_filter: Option<u32>,
    /// How patterns of functions are meant
    #[arg(long = "match", value_enum, value_name = "TYPE", default_value = "regex")]
    pattern: Match,
    /// Begin with recording switched off; a trigger switches it on
    #[arg(long, value_enum, value_name = "STATE", default_value = "on")]
    trace: OnOff,
    /// The same as --trace=off
    #[arg(long)]
    disable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnOff {
    On,
    Off,
}

/// Filters that can be used while recording and afterwards.
#[derive(Clone, Debug)]
pub(crate) struct Filters {
    typed: Typed,
    /// The specs in the order of the command line, with their options.
    given: Vec<(SpecKind, String)>,
    /// Options with a default that were given all the same.
    trace_given: bool,
    pattern_given: bool,
}

/// The options that give specs.
const KINDS: [(&str, SpecKind); 6] = [
    ("filter", SpecKind::Filter),
    ("notrace", SpecKind::NoTrace),
    ("caller_filter", SpecKind::CallerFilter),
    ("hide", SpecKind::Hide),
    ("loc_filter", SpecKind::Location),
    ("trigger", SpecKind::Trigger),
];

impl FromArgMatches for Filters {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Filters, clap::Error> {
        let typed = Typed::from_arg_matches(matches)?;
        let mut given = Vec::new();
        for (name, kind) in KINDS {
            let from_user = matches.value_source(name) == Some(ValueSource::CommandLine);
            let places = matches.indices_of(name).into_iter().flatten().filter(|_| from_user);
            let texts = matches.get_many::<String>(name).into_iter().flatten();
            given.extend(places.zip(texts).map(|(place, text)| (place, kind, text.clone())));
        }
        // -F and -N are one list, in which the order counts.
        given.sort_by_key(|(place, ..)| *place);
        let is_given = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        Ok(Filters {
            typed,
            given: given.into_iter().map(|(_, kind, text)| (kind, text)).collect(),
            trace_given: is_given("trace") || is_given("disable"),
            pattern_given: is_given("pattern"),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Filters::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Filters {
    fn augment_args(command: clap::Command) -> clap::Command {
        Typed::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Typed::augment_args_for_update(command)
    }
}

impl Filters {
    /// What was said about functions, in the order given.
    pub(crate) fn specs(&self) -> Result<Specs, SpecError> {
        let mut specs = Specs::new();
        for (kind, text) in &self.given {
            specs.push(*kind, text)?;
        }
        // A pattern that is not valid is to be noticed before anything runs.
        Rules::new(&specs, self.pattern())?;
        Ok(specs)
    }

    /// Levels of calls, if they are limited.
    pub(crate) fn depth(&self) -> Option<u32> {
        self.typed.depth
    }

    /// The time filter as reading commands take it from `default.opts`, if there is one.
    pub(crate) fn time_words(&self) -> Option<String> {
        self.typed.time_filter.filter(|time| *time > 0).map(|time| format!("-t {}", values::time_text(time)))
    }

    /// ns that calls must take.
    pub(crate) fn time(&self) -> u64 {
        self.typed.time_filter.unwrap_or(0)
    }

    /// Bytes that functions must have.
    pub(crate) fn size(&self) -> u32 {
        self.typed.size_filter.unwrap_or(0)
    }

    /// Whether recording is switched on from the beginning.
    pub(crate) fn is_on(&self) -> bool {
        self.typed.trace == OnOff::On && !self.typed.disable
    }

    /// How patterns are meant.
    pub(crate) fn pattern(&self) -> fathom_filter::Match {
        match self.typed.pattern {
            Match::Regex => fathom_filter::Match::Regex,
            Match::Glob => fathom_filter::Match::Glob,
            Match::Simple => fathom_filter::Match::Simple,
        }
    }

    /// What they change of a recording that runs.
    pub(crate) fn change(&self) -> AgentChange {
        let mut change = AgentChange {
            trace: self.trace_given.then(|| self.is_on()),
            depth: self.typed.depth,
            threshold: self.typed.time_filter,
            pattern: self.pattern_given.then_some(match self.typed.pattern {
                Match::Regex => fathom_agent::Pattern::Regex,
                Match::Glob => fathom_agent::Pattern::Glob,
                Match::Simple => fathom_agent::Pattern::Simple,
            }),
            ..AgentChange::default()
        };
        for (kind, text) in &self.given {
            match kind {
                SpecKind::Filter => change.filters.push(text.clone()),
                SpecKind::NoTrace => change
                    .filters
                    .push(text.split(';').map(|one| format!("!{one}")).collect::<Vec<_>>().join(";")),
                SpecKind::CallerFilter => change.callers.push(text.clone()),
                SpecKind::Trigger => change.triggers.push(text.clone()),
                _ => {}
            }
        }
        change
    }

    /// The name of an option that was given and is not in [`change`](Self::change), if any was.
    pub(crate) fn not_changeable(&self) -> Option<&'static str> {
        let options = [
            (!self.typed.hide.is_empty(), "--hide"),
            (!self.typed.loc_filter.is_empty(), "--loc-filter"),
            (self.size() > 0, "--size-filter"),
        ];
        options.into_iter().find(|(given, _)| *given).map(|(_, name)| name)
    }

    /// Whether they keep scheduler events out: what leads to a function, or is in a file, has none.
    pub(crate) fn no_sched(&self) -> bool {
        !self.typed.caller_filter.is_empty() || !self.typed.loc_filter.is_empty()
    }
}

/// Whether an action has an effect on a recording that is there already.
pub(crate) fn acts_on_recordings(action: &Action) -> bool {
    !matches!(
        action,
        Action::Recover | Action::Callsite | Action::Read(_) | Action::AutoArgs | Action::Value(_)
    )
}

/// Which part of a recording is shown.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct Selection {
    /// Only what happened from A to B: times since the first record with units (10us~2ms), or of the trace's clock
    /// without; either can be left out
    #[arg(short = 'r', long, value_name = "A~B", value_parser = values::range)]
    pub(crate) time_range: Option<TimeRange>,
    /// Only these tasks
    #[arg(long, value_name = "TID[,TID]", action = ArgAction::Append, value_parser = values::tids)]
    tid: Vec<std::vec::Vec<i32>>,
    /// Do not show that a task lost its processor to another one
    #[arg(long)]
    no_sched_preempt: bool,
    /// Also show events that happened outside of functions
    #[arg(long)]
    pub(crate) event_full: bool,
    #[command(flatten)]
    pub(crate) kernel: KernelView,
    #[command(flatten)]
    kernel_only: KernelOnly,
}

impl Selection {
    /// What is shown of a recording that `filters` are applied to.
    pub(crate) fn options(&self, filters: &Filters) -> FilterOptions {
        FilterOptions {
            depth: filters.depth().unwrap_or(u32::MAX),
            time: filters.time(),
            size: filters.size(),
            on: filters.is_on(),
            ..self.options_of_all()
        }
    }

    /// What is shown of a recording, without filters.
    pub(crate) fn options_of_all(&self) -> FilterOptions {
        FilterOptions {
            depth: u32::MAX,
            on: true,
            range: self.time_range.unwrap_or_default(),
            tids: (!self.tid.is_empty()).then(|| self.tid.concat()),
            preemption: !self.no_sched_preempt,
            kernel_only: self.kernel_only.kernel_only,
            ..FilterOptions::default()
        }
    }
}
