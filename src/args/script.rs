//! Options of `script`, and those about scripts of commands that record.

use super::{Common, Libcall, Load, Program, Recording, filters, recorded, source};
use clap::{Args, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;

/// Which script, and by what it is run.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Script")]
pub(crate) struct Along {
    /// The script: a file whose name ends with .py (Python) or .lua (Lua), or one that comes with fathom (`script --list`)
    #[arg(short = 'S', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) script: Option<PathBuf>,
    /// The interpreter of scripts in Python
    #[arg(long, value_name = "PROGRAM", default_value = "python3", value_hint = ValueHint::CommandName)]
    pub(crate) python: OsString,
}

#[derive(Debug, Args)]
pub(crate) struct Script {
    #[command(flatten)]
    pub(crate) script: Along,
    /// List the scripts that come with fathom
    #[arg(long, help_heading = "Script")]
    pub(crate) list: bool,
    /// Print the script instead of running it, to change it
    #[arg(long, help_heading = "Script")]
    pub(crate) show: bool,
    /// Record PROGRAM first, with the options that the script's head asks for (`# uftrace-option: …`)
    #[arg(long, help_heading = "Script")]
    pub(crate) record: bool,
    /// Do not hand arguments and return values to the script
    #[arg(long, help_heading = "Script")]
    pub(crate) no_args: bool,
    #[command(flatten)]
    pub(crate) filters: filters::Filters,
    #[command(flatten)]
    pub(crate) selection: filters::Selection,
    #[command(flatten)]
    pub(crate) load: Load,
    #[command(flatten)]
    pub(crate) libcall: Libcall,
    #[command(flatten)]
    pub(crate) recording: Recording,
    #[command(flatten)]
    pub(crate) recorded: recorded::Recorded,
    #[command(flatten)]
    pub(crate) source: source::Source,
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) program: Program,
}

impl Script {
    /// Whether it reads a recording that is there already.
    pub(crate) fn reads_data(&self) -> bool {
        !self.record && !self.list && !self.show
    }
}

/// What follows the options in the help: the scripts that come with us.
pub(crate) fn after_help() -> String {
    format!("Scripts that come with fathom:\n{}\n{}", list(), super::EXIT_CODES)
}

/// A line for each script that comes with us.
pub(crate) fn list() -> String {
    let line = |one: &fathom_script::Example| format!("  {:<12} {}\n", one.name, one.about);
    fathom_script::EXAMPLES.iter().map(line).collect()
}
