//! Options of `fathom kernel trace`.

use super::Place;
use crate::args::values;
use clap::{ArgAction, Args, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Options of `trace`.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) who: Who,
    #[command(flatten)]
    pub(crate) functions: Functions,
    #[command(flatten)]
    pub(crate) buffers: Buffers,
    #[command(flatten)]
    pub(crate) output: TraceOutput,
    #[command(flatten)]
    pub(crate) place: Place,
    /// The command to trace: started when all is set up, and its exit status is passed on
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

/// Events, probes, the tracer.
#[derive(Debug, Args)]
#[command(next_help_heading = "What to record")]
pub(crate) struct What {
    /// Tracer: function, function_graph, or another that this kernel has [default: none]
    #[arg(short = 't', long, value_name = "NAME")]
    pub(crate) tracer: Option<String>,
    /// Event: SYSTEM:EVENT, SYSTEM: for all of a system, wildcards; records are kept ` if FILTER` holds
    #[arg(short = 'e', long = "event", value_name = "EVENT[ if FILTER]")]
    pub(crate) events: Vec<String>,
    /// What else an event sets off: stacktrace, snapshot, traceon, traceoff, enable_event:EVENT, disable_event:EVENT,
    /// hist:…; with :COUNT and ` if FILTER`. Histograms are shown at the end
    #[arg(short = 'T', long = "trigger", value_name = "EVENT TRIGGER")]
    pub(crate) triggers: Vec<String>,
    /// Probe in a kernel function: '[NAME=]FUNCTION[+OFFSET] [ARGUMENTS][ if FILTER]' with arguments as the kernel takes
    /// them (x=%di:u32), or by name: 'tcp_sendmsg(sk, size)'
    #[arg(long = "kprobe", value_name = "PROBE")]
    pub(crate) kprobes: Vec<String>,
    /// Probe at the return of a kernel function; $retval is what it returns
    #[arg(long = "kretprobe", value_name = "PROBE")]
    pub(crate) kretprobes: Vec<String>,
    /// Probe in a program or library: '[NAME=]FILE:FUNCTION[+OFFSET] [ARGUMENTS]' or FILE:0xOFFSET
    #[arg(long = "uprobe", value_name = "PROBE")]
    pub(crate) uprobes: Vec<String>,
    /// Probe at the return of a function of a program or library
    #[arg(long = "uretprobe", value_name = "PROBE")]
    pub(crate) uretprobes: Vec<String>,
    /// Probe at functions by ftrace: 'FUNCTION[%return] [ARGUMENTS]' (Linux 6.5 and later)
    #[arg(long = "fprobe", value_name = "PROBE")]
    pub(crate) fprobes: Vec<String>,
    /// Probe at a tracepoint by its own parameters: 'TRACEPOINT [ARGUMENTS]' (Linux 6.5 and later)
    #[arg(long = "tprobe", value_name = "PROBE")]
    pub(crate) tprobes: Vec<String>,
    /// Probe at another event, with more of what its fields point to: 'SYSTEM.EVENT [ARGUMENTS]'
    #[arg(long = "eprobe", value_name = "PROBE")]
    pub(crate) eprobes: Vec<String>,
    /// Synthetic event, made by histogram triggers: 'NAME TYPE FIELD[; TYPE FIELD]…'
    #[arg(long = "synthetic", value_name = "EVENT")]
    pub(crate) synthetic: Vec<String>,
    /// A kernel stack with every event
    #[arg(short = 's', long)]
    pub(crate) stack: bool,
    /// A stack of the program with every event
    #[arg(long)]
    pub(crate) user_stack: bool,
}

/// Tasks and CPUs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which tasks and CPUs")]
pub(crate) struct Who {
    /// Only these tasks (thread ids, separated by commas)
    #[arg(short = 'p', long = "pid", value_name = "PID", value_parser = values::tids, action = ArgAction::Append)]
    pub(crate) pids: Vec<Vec<i32>>,
    /// Only the tasks that have this name now, wildcards allowed; it is an error if there is none
    #[arg(long = "comm", value_name = "NAME")]
    pub(crate) comms: Vec<String>,
    /// Not these tasks
    #[arg(long = "not-pid", value_name = "PID", value_parser = values::tids, action = ArgAction::Append)]
    pub(crate) not_pids: Vec<Vec<i32>>,
    /// Their threads and children too: those they have, and those they start
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// All tasks while the command runs, not only those of the command
    #[arg(short = 'a', long)]
    pub(crate) all: bool,
    /// Only these CPUs, as 0,2-3
    #[arg(short = 'C', long = "cpu", value_name = "LIST")]
    pub(crate) cpus: Option<String>,
}

/// Functions.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which functions (tracers function and function_graph)")]
pub(crate) struct Functions {
    /// Only these functions; wildcards, and GLOB:mod:MODULE, are allowed
    #[arg(short = 'F', long = "function", value_name = "NAME")]
    pub(crate) functions: Vec<String>,
    /// Not these functions
    #[arg(short = 'N', long = "no-function", value_name = "NAME")]
    pub(crate) not_functions: Vec<String>,
    /// Graphs of these functions and all they call
    #[arg(short = 'g', long = "graph-function", value_name = "NAME")]
    pub(crate) graph_functions: Vec<String>,
    /// Leave these functions and all they call out of graphs
    #[arg(short = 'G', long = "graph-notrace", value_name = "NAME")]
    pub(crate) not_graph_functions: Vec<String>,
    /// Graphs of at most N levels
    #[arg(short = 'D', long, value_name = "N")]
    pub(crate) max_depth: Option<u32>,
    /// Only calls that took at least this long
    #[arg(long, value_name = "TIME", value_parser = values::threshold)]
    pub(crate) threshold: Option<u64>,
    /// A stack with every function (tracer function; name few)
    #[arg(long)]
    pub(crate) function_stack: bool,
    /// What a function sets off when it is called: FUNCTION:stacktrace, :traceon, :traceoff, :snapshot, :dump, :cpudump,
    /// :enable_event:EVENT, :disable_event:EVENT; with :COUNT, which the calls of all tasks use up
    #[arg(long = "function-command", value_name = "COMMAND")]
    pub(crate) commands: Vec<String>,
}

/// Clock, buffers, options.
#[derive(Debug, Args)]
#[command(next_help_heading = "Clock and buffers")]
pub(crate) struct Buffers {
    /// Clock of the times: local, global, mono, boot, tai, … [default: local]
    #[arg(long, value_name = "NAME")]
    pub(crate) clock: Option<String>,
    /// Size of each CPU's buffer, with k, m, g behind it [default: what the kernel has, mostly 1408k]
    #[arg(short = 'b', long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) buffer_size: Option<u64>,
    /// Size of the buffer's parts, a power of two of pages (Linux 6.8 and later)
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) subbuffer_size: Option<u64>,
    /// How full a buffer is, in percent, before it is read
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) buffer_percent: Option<u32>,
    /// How many names of tasks the kernel remembers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) saved_cmdlines: Option<u32>,
    /// Option of the kernel's tracing: NAME to switch it on, noNAME to switch it off
    #[arg(short = 'O', long = "option", value_name = "NAME")]
    pub(crate) options: Vec<String>,
    /// At the top level of tracefs and not in an instance of our own
    #[arg(long)]
    pub(crate) top_level: bool,
}

/// Where it goes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct TraceOutput {
    /// Save as trace.dat in FILE
    #[arg(short = 'o', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
    /// Show it as it happens [default without --output]
    #[arg(long)]
    pub(crate) stream: bool,
    /// End after this time; seconds, if there is no unit
    #[arg(short = 'd', long, value_name = "TIME", value_parser = values::seconds)]
    pub(crate) duration: Option<Duration>,
    /// Show the shell lines that do the same, and do nothing
    #[arg(long)]
    pub(crate) show_commands: bool,
}
