//! The options: one definition for parsing, help, man pages and completions.
//!
//! What is typed is first put in order by [`words`] (command word anywhere before the program, abbreviated
//! long options, options of other commands); clap then parses the result.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "comments of options are texts for a terminal, in which [ ] is what may be left out"
)]

pub(crate) mod agent;
pub(crate) mod events;
pub(crate) mod filters;
pub(crate) mod in_kernel;
pub(crate) mod kernel;
pub(crate) mod later;
pub(crate) mod network;
pub(crate) mod recorded;
pub(crate) mod script;
pub(crate) mod source;
pub(crate) mod tuning;
pub(crate) mod values;
pub(crate) mod words;

use events::{Events, ListEvent};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes:
  record, live
    0  the program ended with 0
    1  the program ended with another code, or could not be traced
    2  the program was killed by a signal
  replay, report, graph, info, dump, tui, script
    0    success; also when the reader of a pipe went away
    1    the command line is wrong, the answer could not be written, or a script failed
    255  the data could not be read
  recv
    0    a signal has ended it
    1    the command line is wrong, or the port could not be listened on
  send
    0    the receiver has all
    1    it could not be sent
    255  the data could not be read";

fn overview() -> String {
    let hint = "Without a command, `live` is meant. `fathom COMMAND --help` shows the options of a command.";
    format!("{hint}\n\n{EXIT_CODES}")
}

/// A function tracer for Linux: every call of a program and of its libraries, with times
#[derive(Debug, Parser)]
#[command(
    name = "fathom",
    bin_name = "fathom",
    version,
    disable_version_flag = true,
    disable_help_flag = true,
    args_override_self = true,
    subcommand_required = true,
    disable_help_subcommand = true,
    override_usage = "fathom [COMMAND] [OPTION...] [PROGRAM [ARG...]]",
    after_help = overview()
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The line of a kernel command. All other commands have no part in it, and are not built for it.
#[derive(Debug, Parser)]
#[command(
    name = "fathom kernel",
    about = "Trace the kernel: functions, events, probes; recipes that explain; reports",
    override_usage = "fathom kernel COMMAND [OPTION...]",
    disable_version_flag = true,
    disable_help_flag = true,
    disable_help_subcommand = true,
    args_override_self = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct KernelLine {
    #[command(flatten)]
    pub(crate) kernel: kernel::Kernel,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program and save its calls in a data directory
    #[command(override_usage = "fathom record [OPTION...] PROGRAM [ARG...]", after_help = EXIT_CODES)]
    Record(Record),
    /// Show the calls of a recording in the order they were made
    #[command(override_usage = "fathom replay [OPTION...]", after_help = EXIT_CODES)]
    Replay(Replay),
    /// Record into a temporary directory, replay, and forget it (default)
    #[command(override_usage = "fathom [live] [OPTION...] PROGRAM [ARG...]", after_help = EXIT_CODES)]
    Live(Box<Live>),
    /// Show how often each function was called and how long it took
    #[command(override_usage = "fathom report [OPTION...]", after_help = EXIT_CODES)]
    Report(Report),
    /// Show what a recording was made of: machine, program, tasks
    #[command(override_usage = "fathom info [OPTION...]\n       fathom info --symbols [PROGRAM]", after_help = EXIT_CODES)]
    Info(Info),
    /// Show the records as they are, or convert them for other programs
    #[command(override_usage = "fathom dump [OPTION...]", after_help = EXIT_CODES)]
    Dump(Dump),
    /// Show who called whom as a tree, of all or of one function
    #[command(override_usage = "fathom graph [OPTION...] [FUNCTION]", after_help = EXIT_CODES)]
    Graph(Graph),
    /// Walk through a recording on the terminal: call graph, report, replay, info
    #[command(override_usage = "fathom tui [OPTION...]", after_help = EXIT_CODES)]
    Tui(Tui),
    /// Call the functions of a script, in Python or Lua, for every call of a recording
    #[command(
        override_usage = "fathom script [OPTION...] -S FILE\n       fathom script --record [OPTION...] -S FILE PROGRAM [ARG...]",
        after_help = script::after_help()
    )]
    Script(Box<script::Script>),
    /// Receive recordings over the network, each into a directory of its own
    ///
    /// What a connection that broke has brought can be read. With --token it is shown with names and arguments; without,
    /// the protocol is uftrace's, which says these at the very end: then there are calls with times and addresses.
    #[command(override_usage = "fathom recv [OPTION...]", after_help = EXIT_CODES)]
    Recv(network::Recv),
    /// Send a recording to where `recv` listens
    #[command(override_usage = "fathom send [OPTION...] --host HOST", after_help = EXIT_CODES)]
    Send(network::Send),
    /// Trace the kernel: functions, events, probes; recipes that explain; reports
    #[command(
        override_usage = "fathom kernel COMMAND [OPTION...]",
        disable_help_flag = true,
        subcommand_required = true,
        arg_required_else_help = true
    )]
    Kernel(Box<kernel::Kernel>),
    /// Write the manual pages or shell completions into a directory
    #[command(hide = true, override_usage = "fathom generate man|completions DIR")]
    Generate(Generate),
}

impl Command {
    /// Whether it reads a recording that is there already.
    pub(crate) fn reads_data(&self) -> bool {
        match self {
            Command::Record(_) | Command::Live(_) | Command::Kernel(_) | Command::Generate(_) => false,
            Command::Recv(_) | Command::Send(_) => false,
            Command::Script(args) => args.reads_data(),
            _ => true,
        }
    }

    /// The options that every command has.
    pub(crate) fn common(&self) -> Option<&Common> {
        Some(match self {
            Command::Record(a) => &a.common,
            Command::Replay(a) => &a.common,
            Command::Live(a) => &a.common,
            Command::Report(a) => &a.common,
            Command::Info(a) => &a.common,
            Command::Dump(a) => &a.common,
            Command::Graph(a) => &a.common,
            Command::Script(a) => &a.common,
            Command::Recv(a) => &a.common,
            Command::Send(a) => &a.common,
            Command::Tui(a) => &a.common,
            Command::Kernel(_) | Command::Generate(_) => return None,
        })
    }
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    #[value(alias = "true", alias = "on", alias = "y", alias = "1")]
    Yes,
    #[value(alias = "false", alias = "off", alias = "n", alias = "0")]
    No,
    Auto,
}

/// How C++ and Rust names are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Demangle {
    /// With parameters and template arguments
    Full,
    /// Nested names only
    Simple,
    /// As in the symbol table
    No,
}

/// How patterns are matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Match {
    /// Regular expression
    Regex,
    /// Shell wildcards
    Glob,
    /// The exact name
    Simple,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Common {
    /// Data directory [default: fathom.data; when reading also uftrace.data]
    #[arg(short = 'd', long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,
    /// Say more about what is being done; may be repeated
    #[arg(short = 'v', long = "verbose", alias = "debug", action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Take more options from FILE, in which quotes and comments (#) may stand; they count as typed after the others
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, action = ArgAction::Append)]
    pub(crate) opt_file: Vec<PathBuf>,
    /// Say more, but only of these parts: names with a level if wanted (`mcount:2`), separated by commas
    #[arg(long, value_name = "NAMES", value_parser = tuning::Domains::parse)]
    pub(crate) debug_domain: Option<tuning::Domains>,
    /// Append messages to FILE instead of showing them on standard error
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) logfile: Option<PathBuf>,
    /// Whether to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto", hide_possible_values = false)]
    pub(crate) color: Color,
    /// Do not show long output in a pager
    #[arg(long)]
    pub(crate) no_pager: bool,
    /// Show this text
    #[arg(short = 'h', long)]
    pub(crate) help: bool,
    /// Show the commands in short
    #[arg(long)]
    pub(crate) usage: bool,
    /// Show the version and what is built in
    #[arg(short = 'V', long)]
    pub(crate) version: bool,
}

/// How a recording is opened.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is read")]
pub(crate) struct Load {
    /// How to show the names of C++ and Rust functions
    #[arg(long, value_enum, value_name = "HOW", default_value = "simple")]
    pub(crate) demangle: Demangle,
    /// Take symbol files (*.sym) from DIR
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) with_syms: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) events: Events,
}

/// Hiding of library calls; for live it also means not to record them.
#[derive(Debug, Args)]
pub(crate) struct Libcall {
    /// Do not show calls of library functions
    #[arg(long, help_heading = "What is read")]
    pub(crate) no_libcall: bool,
}

/// How a program is recorded.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recording")]
pub(crate) struct Recording {
    /// Run programs without instrumentation as well, and scripts; only library calls can be seen then
    #[arg(long)]
    pub(crate) force: bool,
    /// Also record calls from one library into another; implies --force
    #[arg(short = 'l', long)]
    pub(crate) nest_libcall: bool,
    /// Bind library calls at every call anew (LD_BIND_NOT)
    #[arg(long)]
    pub(crate) no_pltbind: bool,
    /// Load the program and its libraries at the same addresses each time
    #[arg(long)]
    pub(crate) no_randomize_addr: bool,
    /// Print the time that the program took
    #[arg(long)]
    pub(crate) time: bool,
    /// Size of one buffer segment, with k, m or g
    #[arg(short = 'b', long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) buffer: Option<u64>,
    #[command(flatten)]
    pub(crate) patches: tuning::Patches,
    /// List the functions that --patch asks for and that are not patched, by the reason
    #[arg(long)]
    pub(crate) patch_report: bool,
    /// Where the runtime is that is loaded into the program: libfathom-runtime.so or its directory
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) runtime: Option<PathBuf>,
    /// The same if there is one in DIR, else the built-in one
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, alias = "library-path")]
    pub(crate) libmcount_path: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) list_event: ListEvent,
    #[command(flatten)]
    pub(crate) agent: agent::Agent,
    #[command(flatten)]
    pub(crate) tuning: tuning::Tuning,
    #[command(flatten)]
    pub(crate) in_kernel: in_kernel::InKernel,
}

/// The program to run.
#[derive(Debug, Args)]
pub(crate) struct Program {
    /// Program to run, and its arguments
    #[arg(value_name = "PROGRAM",
        help_heading = "Arguments", num_args = 0.., trailing_var_arg = true, allow_hyphen_values = true, value_hint = ValueHint::CommandWithArguments)]
    pub(crate) program: Vec<OsString>,
}

/// How calls are shown.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is shown")]
pub(crate) struct Text {
    /// Fields to show, separated by commas; `none`, `all`, or `+a,b` for more than the usual
    #[arg(short = 'f', long, value_name = "FIELDS")]
    pub(crate) output_fields: Option<String>,
    /// Show each task in a column of its own
    #[arg(long)]
    pub(crate) column_view: bool,
    /// Distance between columns, in call depths
    #[arg(long, value_name = "DEPTH", default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=1024))]
    pub(crate) column_offset: u32,
    /// One line for each record
    #[arg(long)]
    pub(crate) flat: bool,
    /// Output format
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "normal")]
    pub(crate) format: TextFormat,
    /// Show the library of each library call
    #[arg(long)]
    pub(crate) libname: bool,
    /// Do not show arguments and return values
    #[arg(long)]
    pub(crate) no_args: bool,
    /// Do not show where calls were made from
    #[arg(long)]
    pub(crate) no_callsite: bool,
    /// Do not repeat the name after a closing brace
    #[arg(long)]
    pub(crate) no_comment: bool,
    /// Show entry and exit of each function on lines of their own
    #[arg(long)]
    pub(crate) no_merge: bool,
    /// An empty line whenever the task changes
    #[arg(long)]
    pub(crate) task_newline: bool,
}

/// Formats of replay, live and graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextFormat {
    Normal,
    Html,
}

/// Formats of report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    Normal,
    Html,
    Csv,
}

/// Formats of dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DumpFormat {
    Normal,
    Chrome,
    FlameGraph,
    Graphviz,
    Mermaid,
}

#[derive(Debug, Args)]
pub(crate) struct Record {
    #[command(flatten)]
    pub(crate) recording: Recording,
    #[command(flatten)]
    pub(crate) kernel: in_kernel::KernelView,
    /// Do not record calls of library functions
    #[arg(long, help_heading = "Recording", conflicts_with = "nest_libcall")]
    pub(crate) no_libcall: bool,
    #[command(flatten)]
    pub(crate) events: Events,
    #[command(flatten)]
    pub(crate) recorded: recorded::Recorded,
    #[command(flatten)]
    pub(crate) filters: filters::Filters,
    #[command(flatten)]
    pub(crate) source: source::Source,
    #[command(flatten)]
    pub(crate) script: script::Along,
    #[command(flatten)]
    pub(crate) sending: network::Sending,
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) program: Program,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    pub(crate) text: Text,
    #[command(flatten)]
    pub(crate) filters: filters::Filters,
    #[command(flatten)]
    pub(crate) selection: filters::Selection,
    #[command(flatten)]
    pub(crate) load: Load,
    #[command(flatten)]
    pub(crate) libcall: Libcall,
    #[command(flatten)]
    pub(crate) source: source::Source,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Live {
    /// Keep the recording in the data directory
    #[arg(long)]
    pub(crate) record: bool,
    /// Show a report before the calls
    #[arg(long)]
    pub(crate) report: bool,
    #[command(flatten)]
    pub(crate) client: agent::Client,
    #[command(flatten)]
    pub(crate) recording: Recording,
    #[command(flatten)]
    pub(crate) recorded: recorded::Recorded,
    /// Neither record nor show calls of library functions
    #[arg(long, help_heading = "Recording", conflicts_with = "nest_libcall")]
    pub(crate) no_libcall: bool,
    #[command(flatten)]
    pub(crate) text: Text,
    #[command(flatten)]
    pub(crate) filters: filters::Filters,
    #[command(flatten)]
    pub(crate) selection: filters::Selection,
    #[command(flatten)]
    pub(crate) load: Load,
    #[command(flatten)]
    pub(crate) source: source::Source,
    #[command(flatten)]
    pub(crate) script: script::Along,
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) program: Program,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Fields to show, separated by commas; `none`, `all`, or `+a,b` for more than the usual
    #[arg(short = 'f', long, value_name = "FIELDS")]
    pub(crate) output_fields: Option<String>,
    /// Sort keys, separated by commas; may be repeated
    #[arg(short = 's', long, value_name = "KEYS", action = ArgAction::Append)]
    pub(crate) sort: Vec<String>,
    /// Show average, least and largest total time
    #[arg(long, conflicts_with = "avg_self")]
    pub(crate) avg_total: bool,
    /// Show average, least and largest self time
    #[arg(long)]
    pub(crate) avg_self: bool,
    /// Report of tasks instead of functions
    #[arg(long)]
    pub(crate) task: bool,
    /// Compare with the recording in DIR
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) diff: Option<PathBuf>,
    /// How to compare: any of abs, no-abs, compact, full, percent, no-percent, separated by commas
    #[arg(long, value_name = "LIST")]
    pub(crate) diff_policy: Option<String>,
    /// Column of a comparison to sort by: 0 base, 1 new, 2 difference
    #[arg(long, value_name = "COLUMN", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) sort_column: u8,
    /// Output format
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "normal")]
    pub(crate) format: ReportFormat,
    #[command(flatten)]
    pub(crate) filters: filters::Filters,
    #[command(flatten)]
    pub(crate) selection: filters::Selection,
    #[command(flatten)]
    pub(crate) load: Load,
    #[command(flatten)]
    pub(crate) libcall: Libcall,
    #[command(flatten)]
    pub(crate) source: source::Source,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// Fields to show, separated by commas; `none`, `all`, or `+a,b` for more than the usual
    #[arg(short = 'f', long, value_name = "FIELDS")]
    pub(crate) output_fields: Option<String>,
    /// Tree of tasks instead of functions
    #[arg(long)]
    pub(crate) task: bool,
    /// Output format
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "normal")]
    pub(crate) format: TextFormat,
    #[command(flatten)]
    pub(crate) filters: filters::Filters,
    #[command(flatten)]
    pub(crate) selection: filters::Selection,
    #[command(flatten)]
    pub(crate) load: Load,
    #[command(flatten)]
    pub(crate) libcall: Libcall,
    #[command(flatten)]
    pub(crate) source: source::Source,
    #[command(flatten)]
    pub(crate) common: Common,
    /// Show only what this function calls, and from where it is called
    #[arg(value_name = "FUNCTION", help_heading = "Arguments")]
    pub(crate) function: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Tui {
    /// Begin with the report
    #[arg(long, help_heading = "What is shown", conflicts_with = "replay")]
    pub(crate) report: bool,
    /// Begin with the replay: the calls in the order they were made
    #[arg(long, help_heading = "What is shown")]
    pub(crate) replay: bool,
    /// Fields of the first view, separated by commas; `none`, `all`, or `+a,b` for more than the usual
    #[arg(short = 'f', long, value_name = "FIELDS", help_heading = "What is shown")]
    pub(crate) output_fields: Option<String>,
    /// Sort keys of the report, separated by commas; may be repeated
    #[arg(short = 's', long, value_name = "KEYS", action = ArgAction::Append, help_heading = "What is shown")]
    pub(crate) sort: Vec<String>,
    #[command(flatten)]
    pub(crate) filters: filters::Filters,
    #[command(flatten)]
    pub(crate) selection: filters::Selection,
    #[command(flatten)]
    pub(crate) load: Load,
    #[command(flatten)]
    pub(crate) libcall: Libcall,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    /// Show the symbols of the program
    #[arg(long)]
    pub(crate) symbols: bool,
    /// Show the tasks
    #[arg(long)]
    pub(crate) task: bool,
    /// How to show the names of C++ and Rust functions
    #[arg(long, value_enum, value_name = "HOW", default_value = "simple")]
    pub(crate) demangle: Demangle,
    #[command(flatten)]
    pub(crate) common: Common,
    /// Program to show the symbols of [default: that of the recording]
    #[arg(value_name = "PROGRAM", help_heading = "Arguments", value_hint = ValueHint::ExecutablePath)]
    pub(crate) program: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// Output format
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "normal", group = "to")]
    pub(crate) format: DumpFormat,
    /// For chrome://tracing and Perfetto (--format=chrome)
    #[arg(long, group = "to")]
    pub(crate) chrome: bool,
    /// For flame graph programs (--format=flame-graph)
    #[arg(long, group = "to")]
    pub(crate) flame_graph: bool,
    /// For graphviz (--format=graphviz)
    #[arg(long, group = "to")]
    pub(crate) graphviz: bool,
    /// A page with a mermaid diagram (--format=mermaid)
    #[arg(long, group = "to")]
    pub(crate) mermaid: bool,
    /// Time that one sample of a flame graph stands for, for example 10us
    #[arg(long, value_name = "TIME", value_parser = values::sample_time)]
    pub(crate) sample_time: Option<Duration>,
    /// Do not show arguments and return values
    #[arg(long)]
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
    pub(crate) source: source::Source,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// What to write
    #[arg(value_enum)]
    pub(crate) what: Generated,
    /// Where to write it
    pub(crate) dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Generated {
    Man,
    Completions,
}
