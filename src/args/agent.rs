//! Options about changing a recording while it runs.

use clap::Args;

/// The recorder's side.
#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// Listen to --pid, which changes what is recorded while the program runs
    #[arg(short = 'g', long, help_heading = "Recording")]
    pub(crate) agent: bool,
}

/// The user's side.
#[derive(Debug, Args)]
pub(crate) struct Client {
    /// Run nothing: change what is recorded of the process PID, which was started with --agent, by --trace, --filter,
    /// --notrace, --caller-filter, --trigger (FUNC@clear takes back), --depth, --time-filter and --match
    #[arg(short = 'p', long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..), help_heading = "Recording")]
    pub(crate) pid: Option<i32>,
}
