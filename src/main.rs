//! The `fathom` program: options, glue and exit codes.
//!
//! Not for anything that another program could want: that is in the `fathom-*` crates.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod data;
mod filtering;
mod messages;
mod output;
mod progress;
mod request;
mod version;
mod without;

use args::{Color, Command};
use commands::Context;
use commands::kernel::GATE;
use messages::{Failure, Log, exit};
use output::Output;
use request::Request;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use version::Name;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = Name::of(words.next().as_deref());
    let color = output::colored(Color::Auto, std::io::stderr().is_terminal());
    let log = Log::new(0, None, color).unwrap_or_default();
    ExitCode::from(ended(run(name, words.collect(), &log), &log))
}

/// The exit code that an outcome stands for. An error is shown.
fn ended(outcome: Result<u8, Failure>, log: &Log) -> u8 {
    match outcome {
        Ok(code) => code,
        Err(failure) if failure.is_broken_pipe() => exit::SUCCESS,
        Err(failure) => {
            log.error(&failure);
            failure.code
        }
    }
}

fn run(name: Name, words: Vec<OsString>, log: &Log) -> Result<u8, Failure> {
    if let Some((gate, command)) = words.split_at_checked(GATE.len())
        && gate == GATE
    {
        return Err(commands::kernel::become_command(command));
    }
    let (mut command, mut notes) = match request::understand(words.clone(), &[])? {
        Request::Run { command, notes } => (command, notes),
        Request::Version => {
            let text = format!("{}\n", version::line(name)).into();
            return show(&text, false, log).map(|()| exit::SUCCESS);
        }
        Request::Show { text, code, paged } => return show(&text, paged, log).map(|()| code),
    };
    if let (true, Some(common)) = (command.reads_data(), command.common()) {
        let defaults = data::source(common, name).map(|dir| data::default_options(&dir)).unwrap_or_default();
        if !defaults.is_empty()
            && let Request::Run { command: c, notes: n } = request::understand(words, &defaults)?
        {
            (command, notes) = (c, n);
        }
    }
    let Some(common) = command.common() else {
        return match &*command {
            Command::Generate(args) => commands::generate::run(args),
            Command::Kernel(args) => {
                let context = Context::for_kernel(name, &args.common)?;
                Ok(ended(commands::kernel::run(args, &context), &context.log))
            }
            _ => Ok(exit::SUCCESS),
        };
    };
    let context = Context::new(name, common)?;
    for note in notes {
        context.log.note(&note);
    }
    // Shown here because the context has the log file and the colour that the user wants.
    Ok(ended(dispatch(&command, &context), &context.log))
}

fn dispatch(command: &Command, context: &Context) -> Result<u8, Failure> {
    match command {
        Command::Record(args) => commands::record::run(args, context),
        Command::Replay(args) => commands::replay::run(args, context),
        Command::Live(args) => commands::live::run(args, context),
        Command::Report(args) => commands::report::run(args, context),
        Command::Info(args) => commands::info::run(args, context),
        Command::Dump(args) => commands::dump::run(args, context),
        Command::Graph(args) => commands::graph::run(args, context),
        Command::Recv(args) => commands::network::receive(args, context),
        Command::Send(args) => commands::network::send(args, context),
        Command::Script(args) => commands::script::run(args, context),
        Command::Tui(args) => commands::tui::run(args, context),
        // They have no options in common with the others and were carried out before.
        Command::Kernel(_) | Command::Generate(_) => Ok(exit::SUCCESS),
    }
}

/// Writes a text of our own to standard output.
fn show(text: &clap::builder::StyledStr, paged: bool, log: &Log) -> Result<(), Failure> {
    let color = output::colored(Color::Auto, std::io::stdout().is_terminal());
    let text = if color { text.ansi().to_string() } else { text.to_string() };
    let shown = Output::open(paged, log).and_then(|mut out| {
        out.write_all(text.as_bytes())?;
        out.finish()
    });
    shown.map_err(|error| Failure::new(exit::TROUBLE, "writing to the standard output", error))
}
