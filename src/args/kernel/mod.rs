//! Options of `fathom kernel …`. They have nothing to do with those of the other commands, whose words mean something
//! else, and are parsed by clap as they stand: [`super::words`] does not see them.

pub(crate) mod report;

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

/// What to do with the kernel.
#[derive(Debug, Subcommand)]
pub(crate) enum KernelCommand {
    Report(report::Report),
}
