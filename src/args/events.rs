//! Options about events: which are recorded, which are shown.

use clap::{ArgAction, Args};

/// Which events take part.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Have the events EVENT: linux:schedule, linux:task-new and the like, static probes PROVIDER:NAME of the program
    /// and its libraries, or SYSTEM:NAME@kernel (as root), with wildcards or not; several are separated by `;` [default: all of linux]
    #[arg(short = 'E', long = "Event", alias = "event", value_name = "EVENT", action = ArgAction::Append, help_heading = "Events")]
    pub(crate) event: Vec<String>,
    /// No events at all, except those of --Event
    #[arg(long, help_heading = "Events")]
    pub(crate) no_event: bool,
    /// No scheduler events, except those of --Event when recording
    #[arg(long, help_heading = "Events")]
    pub(crate) no_sched: bool,
}

/// Which events there are to record.
#[derive(Debug, Args)]
pub(crate) struct ListEvent {
    /// List the events of the kernel (if you may see them) and of the program, and do nothing else
    #[arg(long, help_heading = "Events")]
    pub(crate) list_event: bool,
}

impl ListEvent {
    /// Whether the list is wanted. `-E list` is the old way to say so.
    pub(crate) fn wanted(&self, events: &Events) -> bool {
        self.list_event || events.event.iter().any(|event| event == "list")
    }
}
