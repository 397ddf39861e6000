//! Options that say how the recorder works, not what it records.

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, FromArgMatches, ValueEnum};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// How the recorder works.
#[derive(Debug, Args)]
#[command(next_help_heading = "The recorder")]
pub(crate) struct Tuning {
    /// Calls that nest deeper than DEPTH, 1 to 65535, are not recorded but counted [default: no limit of its own]
    #[arg(long, value_name = "DEPTH", value_parser = clap::value_parser!(u32).range(1..=65535))]
    pub(crate) max_stack: Option<u32>,
    /// The clock of the recorded times
    #[arg(long, value_enum, value_name = "CLOCK", default_value = "mono")]
    pub(crate) clock: Clock,
    /// The program gets the process id of fathom itself, and the recorder another one
    #[arg(long)]
    pub(crate) keep_pid: bool,
    /// Run the recorder with real-time priority (SCHED_FIFO) PRIO, 1 to 99
    #[arg(long, value_name = "PRIO", value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rt_prio: Option<u32>,
    /// Threads that write; there is one, which keeps up with all programs measured, so more change nothing
    #[arg(long, value_name = "NUM", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) num_thread: Option<u32>,
    /// Neither keep what --patch finds out about large programs in $XDG_CACHE_HOME/fathom, nor take it from there
    #[arg(long)]
    pub(crate) no_plan_cache: bool,
    /// Run the program with hooks that do nothing and record nothing, to see what they cost
    #[arg(long)]
    pub(crate) nop: bool,
    /// Changes nothing: one runtime serves programs with and without threads
    #[arg(long)]
    pub(crate) libmcount_single: bool,
}

impl Tuning {
    /// What to say about options that are there for those who are used to them.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(number @ 2..) = self.num_thread {
            notes.push(format!(
                "--num-thread {number} changes nothing: one thread writes what all threads record"
            ));
        }
        if self.libmcount_single {
            notes.push(
                "--libmcount-single changes nothing: one runtime serves programs with and without threads"
                    .to_owned(),
            );
        }
        notes
    }

    /// Where analyses of programs are kept: in the user's own cache, if there is one.
    pub(crate) fn plan_cache(&self) -> Option<PathBuf> {
        if self.no_plan_cache {
            return None;
        }
        let dir = |name| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
        // Root may have the home directory of the user whose shell it was started from.
        let is_own = |home: &PathBuf| {
            std::fs::metadata(home).is_ok_and(|meta| meta.uid() == rustix::process::geteuid().as_raw())
        };
        let cache = dir("XDG_CACHE_HOME").or_else(|| Some(dir("HOME").filter(is_own)?.join(".cache")));
        Some(cache?.join("fathom/plans"))
    }
}

/// Clocks of recorded times, by the peer's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Clock {
    /// CLOCK_MONOTONIC
    #[value(name = "mono")]
    Monotonic,
    /// CLOCK_MONOTONIC_RAW, which no time server adjusts
    #[value(name = "mono_raw")]
    Raw,
    /// CLOCK_BOOTTIME, which goes on while the machine sleeps
    #[value(name = "boot")]
    Boot,
    /// CLOCK_REALTIME, the time of day
    Realtime,
}

/// Parts of the program that say what they do with `-v`, by the peer's names.
const DOMAINS: [&str; 15] = [
    "ftrace", "uftrace", "symbol", "demangle", "filter", "fstack", "session", "kernel", "mcount", "plthook",
    "dynamic", "event", "script", "dwarf", "wrap",
];

/// How much each part is to say: those that are named, and the others nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Domains(Vec<(&'static str, u8)>);

impl Domains {
    /// `NAME[:LEVEL]`, separated by commas.
    pub(crate) fn parse(text: &str) -> Result<Domains, String> {
        text.split(',').map(domain).collect::<Result<_, _>>().map(Domains)
    }

    /// How much a part is to say.
    pub(crate) fn level(&self, name: &str) -> u8 {
        self.0.iter().rev().find(|(domain, _)| *domain == name).map_or(0, |(_, level)| *level)
    }
}

fn domain(text: &str) -> Result<(&'static str, u8), String> {
    let (name, level) = text.split_once(':').unwrap_or((text, "1"));
    let known = DOMAINS.into_iter().find(|domain| *domain == name);
    let name = known.ok_or_else(|| format!("there is no part '{name}'; there are {}", DOMAINS.join(", ")))?;
    let level =
        level.parse().map_err(|_| format!("'{level}' is no level: that is a number, 0 for nothing"))?;
    Ok((name, level))
}

/// The lists of `-P` and `-U`.
#[derive(Clone, Debug, Args)]
struct TypedPatches {
    /// Record the functions FUNC, or FUNC@LIBRARY, however they were compiled; may be repeated
    #[arg(short = 'P', long, value_name = "FUNC", action = ArgAction::Append, help_heading = "Recording")]
    patch: Vec<String>,
    /// Not the functions FUNC, though an earlier --patch names them; may be repeated
    #[arg(short = 'U', long, value_name = "FUNC", action = ArgAction::Append, help_heading = "Recording")]
    unpatch: Vec<String>,
}

/// Functions to patch and not to patch, in the order of the command line: the last that fits a function decides.
#[derive(Clone, Debug)]
pub(crate) struct Patches {
    /// Pattern, and whether functions that it fits are left alone.
    pub(crate) list: Vec<(String, bool)>,
}

impl FromArgMatches for Patches {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Patches, clap::Error> {
        let mut list = Vec::new();
        for (name, unpatch) in [("patch", false), ("unpatch", true)] {
            let typed = matches.value_source(name) == Some(ValueSource::CommandLine);
            let places = matches.indices_of(name).into_iter().flatten().filter(|_| typed);
            let texts = matches.get_many::<String>(name).into_iter().flatten();
            for (place, text) in places.zip(texts) {
                // Several patterns may stand in one option.
                let patterns = text.split(';').filter(|pattern| !pattern.is_empty());
                list.extend(patterns.map(|pattern| match pattern.strip_prefix('!') {
                    Some(pattern) => (place, pattern.to_owned(), !unpatch),
                    None => (place, pattern.to_owned(), unpatch),
                }));
            }
        }
        list.sort_by_key(|(place, ..)| *place);
        Ok(Patches { list: list.into_iter().map(|(_, pattern, unpatch)| (pattern, unpatch)).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Patches::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Patches {
    fn augment_args(command: clap::Command) -> clap::Command {
        TypedPatches::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        TypedPatches::augment_args_for_update(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        let domains = Domains::parse("mcount:2,fstack,mcount:3").unwrap();
        assert_eq!(["mcount", "fstack", "kernel"].map(|name| domains.level(name)), [3, 1, 0]);
        assert!(Domains::parse("mcuont").unwrap_err().contains("mcount"));
        assert!(Domains::parse("mcount:x").unwrap_err().contains("'x'"));
        assert!(Domains::parse("").is_err());
    }
}
