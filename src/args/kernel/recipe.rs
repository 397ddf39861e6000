//! Options of `fathom kernel recipe`.

use super::Place;
use crate::args::values;
use clap::{ArgAction, Args, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Options of `recipe`.
#[derive(Debug, Args)]
pub(crate) struct Recipe {
    /// A recipe's name; list: all of them; show: what one sets on this kernel, and what it explains
    #[arg(value_name = "NAME|list|show")]
    pub(crate) what: Option<String>,
    /// The recipe to show
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) who: Who,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) output: Shown,
    #[command(flatten)]
    pub(crate) place: Place,
    /// The command to look at: started when all is set up, and its exit status is passed on
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

/// Tasks, CPUs, devices.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which tasks, CPUs, devices")]
pub(crate) struct Who {
    /// Only these tasks (thread ids, separated by commas)
    #[arg(short = 'p', long = "pid", value_name = "PID", value_parser = values::tids, action = ArgAction::Append)]
    pub(crate) pids: Vec<Vec<i32>>,
    /// Only the tasks that have this name now, wildcards allowed; it is an error if there is none
    #[arg(long = "comm", value_name = "NAME")]
    pub(crate) comms: Vec<String>,
    /// Their threads and children too: those they have, and those they start
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// Only these CPUs, as 0,2-3
    #[arg(short = 'C', long = "cpu", value_name = "LIST")]
    pub(crate) cpus: Option<String>,
    /// Only this device: a disk for block-io, a network device for network
    #[arg(long, value_name = "NAME")]
    pub(crate) dev: Option<String>,
}

/// How it is done.
#[derive(Debug, Args)]
#[command(next_help_heading = "How")]
pub(crate) struct How {
    /// End after this time [default: 5s; with a command its end, with --stream Ctrl-C]
    #[arg(short = 'd', long, value_name = "TIME", value_parser = values::seconds)]
    pub(crate) duration: Option<Duration>,
    /// Run a built-in program that makes it happen (`show` says what it does)
    #[arg(short = 'w', long, conflicts_with = "command")]
    pub(crate) workload: bool,
    /// Levels of the call graph, 0 for all
    #[arg(short = 'D', long, value_name = "N")]
    pub(crate) depth: Option<u32>,
    /// Without the call graph, which makes everything slower
    #[arg(long)]
    pub(crate) no_graph: bool,
    /// Without stacks
    #[arg(long)]
    pub(crate) no_stack: bool,
    /// Size of each CPU's buffer, with k, m, g behind it
    #[arg(short = 'b', long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) buffer_size: Option<u64>,
}

/// What is shown and saved.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Shown {
    /// Show records as they come
    #[arg(long)]
    pub(crate) stream: bool,
    /// Save all records and the summary as text in FILE
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) log: Option<PathBuf>,
    /// Save the records as trace.dat in FILE
    #[arg(short = 'o', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
    /// How many records to show at the end [default: 10; with --stream none, they have been shown]
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) records: Option<usize>,
    /// Rows of each table
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) top: u16,
    /// Show a shell script that does the same with nothing but tracefs, and do nothing
    #[arg(long)]
    pub(crate) script: bool,
    /// Show the shell lines that do the same, and do nothing
    #[arg(long, conflicts_with = "script")]
    pub(crate) show_commands: bool,
}

/// The hidden command that a recipe runs as its workload.
#[derive(Debug, Args)]
pub(crate) struct WorkloadArgs {
    /// Its name
    pub(crate) name: String,
    /// How long
    #[arg(long, value_parser = values::seconds)]
    pub(crate) time: Option<Duration>,
    /// A child's part in it
    #[arg(long)]
    pub(crate) part: Option<String>,
}
