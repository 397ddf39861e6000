//! The commands, a module each, and what they share.

pub(crate) mod agent;
pub(crate) mod companion;
pub(crate) mod dump;
pub(crate) mod generate;
pub(crate) mod graph;
pub(crate) mod info;
pub(crate) mod kernel;
pub(crate) mod list_event;
pub(crate) mod live;
pub(crate) mod network;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod script;
pub(crate) mod tui;

use crate::args::kernel::KernelCommon;
use crate::args::{Color, Common};
use crate::messages::{Failure, Log, exit};
use crate::output::{self, Output};
use crate::version::{self, Name};
use std::io::IsTerminal;

/// What all commands need to know of how the program was called.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) name: Name,
    pub(crate) log: Log,
    color: Color,
    pager: bool,
}

impl Context {
    pub(crate) fn new(name: Name, common: &Common) -> Result<Context, Failure> {
        let log_color = output::colored(common.color, std::io::stderr().is_terminal());
        let log = Log::new(common.verbose, common.logfile.as_deref(), log_color)?
            .limited(common.debug_domain.clone());
        Ok(Context { name, log, color: common.color, pager: !common.no_pager })
    }

    /// For the kernel commands, which have fewer options in common.
    pub(crate) fn for_kernel(name: Name, common: &KernelCommon) -> Result<Context, Failure> {
        let log_color = output::colored(common.color, std::io::stderr().is_terminal());
        let log = Log::new(common.verbose, common.logfile.as_deref(), log_color)?;
        Ok(Context { name, log, color: common.color, pager: !common.no_pager })
    }

    /// Whether the output is coloured. Pages are unless the user says no.
    pub(crate) fn color(&self, html: bool) -> bool {
        let color = if html && self.color == Color::Auto { Color::Yes } else { self.color };
        output::colored(color, std::io::stdout().is_terminal())
    }

    /// Opens standard output.
    pub(crate) fn output(&self) -> Result<Output, Failure> {
        Output::open(self.pager, &self.log)
            .map_err(|error| Failure::new(exit::TROUBLE, "opening the standard output", error))
    }

    /// Opens standard output as it is, for a process that the terminal does not belong to.
    pub(crate) fn plain_output(&self) -> Result<Output, Failure> {
        Output::open(false, &self.log)
            .map_err(|error| Failure::new(exit::TROUBLE, "opening the standard output", error))
    }

    /// Whether to show progress. Not where the output appears on the same terminal while it is made.
    pub(crate) fn progress(&self, streaming: bool) -> bool {
        !(streaming && std::io::stdout().is_terminal())
    }

    /// The version line.
    pub(crate) fn version(&self) -> String {
        version::line(self.name)
    }
}

/// What went wrong with a view, as the command's failure.
pub(crate) fn view_failure(command: &str, error: fathom_view::Error) -> Failure {
    use fathom_view::Error;
    let code = match error {
        Error::Store(_) | Error::SortKey(_) => exit::UNREADABLE,
        _ => exit::TROUBLE,
    };
    let next = match error {
        Error::SortKey(_) => Some(
            "the keys are total, self, call, func, size and total_avg, total_min, total_max, self_avg, self_min, self_max; of tasks total, self, tid, func and name",
        ),
        _ => None,
    };
    let failure = Failure::new(code, format!("showing the {command}"), error);
    match next {
        Some(next) => failure.next(next),
        None => failure,
    }
}
