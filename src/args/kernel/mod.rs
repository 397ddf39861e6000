//! Options of `fathom kernel …`. They have nothing to do with those of the other commands, whose words mean something
//! else, and are parsed by clap as they stand: [`super::words`] does not see them.

pub(crate) mod recipe;
pub(crate) mod report;
pub(crate) mod trace;

use clap::{Args, Subcommand};
use std::path::PathBuf;

use super::Color;
use clap::{ArgAction, ValueHint};

/// What all kernel commands have.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct KernelCommon {
    /// Say more about what is being done; may be repeated
    #[arg(short = 'v', long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Append messages to FILE instead of showing them on standard error
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, global = true)]
    pub(crate) logfile: Option<PathBuf>,
    /// Whether to use colours
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value = "auto",
        hide_possible_values = false,
        global = true
    )]
    pub(crate) color: Color,
    /// Do not show long output in a pager
    #[arg(long, global = true)]
    pub(crate) no_pager: bool,
    /// Show this text
    #[arg(short = 'h', long, global = true, action = ArgAction::Help)]
    pub(crate) help: Option<bool>,
}

/// The kernel's half.
#[derive(Debug, Args)]
pub(crate) struct Kernel {
    #[command(subcommand)]
    pub(crate) command: KernelCommand,
    #[command(flatten)]
    pub(crate) common: KernelCommon,
}

/// Where things are that are mostly in their places.
#[derive(Debug, Args)]
#[command(next_help_heading = "Places")]
pub(crate) struct Place {
    /// Where tracefs is [default: where it is mounted]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) tracefs: Option<PathBuf>,
    /// Where to keep the journal of changes [default: /run/fathom]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) journal: Option<PathBuf>,
}

/// Options of `reset` and `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Plain {
    #[command(flatten)]
    pub(crate) place: Place,
}

const TRACE_CODES: &str = "\
Exit codes:
  with a command  its own; 128 and the signal's number if it was killed by one
  without one     0 success, 1 something could not be done";

/// What to do with the kernel.
#[derive(Debug, Subcommand)]
pub(crate) enum KernelCommand {
    Report(Box<report::Report>),
    /// Trace functions, events and probes, as they happen or into a file, and put everything back
    #[command(
        override_usage = "fathom kernel trace [OPTION...] [-- COMMAND [ARG...]]",
        after_help = TRACE_CODES
    )]
    Trace(Box<trace::Trace>),
    /// Look at one thing that the kernel does, with an explanation of what was seen
    #[command(
        override_usage = "fathom kernel recipe [list | show NAME | NAME] [OPTION...] [-- COMMAND [ARG...]]",
        after_help = TRACE_CODES
    )]
    Recipe(Box<recipe::Recipe>),
    /// Make something happen in the kernel, for a recipe to look at
    #[command(hide = true)]
    Workload(recipe::WorkloadArgs),
    /// Put back what a trace that was killed has left in tracefs
    #[command(override_usage = "fathom kernel reset [OPTION...]")]
    Reset(Plain),
    /// Say what this kernel can trace, and what would give the rest
    #[command(override_usage = "fathom kernel doctor [OPTION...]")]
    Doctor(Plain),
}
