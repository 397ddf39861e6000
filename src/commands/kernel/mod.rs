//! `kernel`: what the kernel itself can record, and recordings of it.

mod doctor;
mod ending;
mod recipe;
mod report;
mod reset;
mod settings;
mod trace;

use super::Context;
use crate::args::kernel::{Kernel, KernelCommand, Place};
use crate::messages::{Failure, exit};
use fathom_tracefs::session::{Recovered, recover};
use fathom_tracefs::{Journals, Tracefs};
use std::ffi::OsString;
use std::io::Write;

/// Carries out a kernel command.
pub(crate) fn run(args: &Kernel, context: &Context) -> Result<u8, Failure> {
    match &args.command {
        KernelCommand::Report(args) => report::run(args, context),
        KernelCommand::Recipe(args) => recipe::run(args, context),
        KernelCommand::Workload(args) => recipe::workload(args),
        KernelCommand::Trace(args) => trace::run(args, context),
        KernelCommand::Reset(args) => reset::run(&args.place, context),
        KernelCommand::Doctor(args) => doctor::run(&args.place, context),
    }
}

/// The words with which this program starts itself in a process that is to become a traced command. They are no command
/// line: nothing is parsed between them and the command.
pub(crate) const GATE: [&str; 3] = ["kernel", "run-stopped", "--"];

/// What that process does; comes back only if it cannot.
pub(crate) fn become_command(words: &[OsString]) -> Failure {
    let error = fathom_kernel::command::stop_and_become(words);
    let command = words.first().map_or_else(String::new, |word| word.to_string_lossy().into_owned());
    Failure::new(127, format!("running '{command}'"), error)
}

const SETTING_UP: &str = "setting up the kernel's tracing";

/// The tracefs to use. That it was mounted for this is said.
fn tracefs(place: &Place, context: &Context) -> Result<Tracefs, Failure> {
    let absent = |error| {
        Failure::new(exit::TROUBLE, "finding tracefs", error)
            .next("`fathom kernel doctor` says what this kernel can trace")
    };
    if let Some(dir) = &place.tracefs {
        return Tracefs::check(dir).map_err(absent);
    }
    let found = Tracefs::find().map_err(absent)?;
    if found.mounted {
        context
            .log
            .note(&format!("tracefs was not mounted; it is now, on {}", found.tracefs.root().display()));
    }
    Ok(found.tracefs)
}

fn journals(place: &Place) -> Journals {
    place.journal.as_ref().map_or_else(Journals::default, Journals::at)
}

/// Puts back what killed traces have left.
fn put_back(place: &Place, tracefs: &Tracefs) -> Result<Vec<Recovered>, Failure> {
    // A journal says which tracefs it is about; one that is gone is undone where that kernel's is now.
    let on = |left: &fathom_tracefs::journal::Left| match Tracefs::check(&left.root) {
        Ok(found) if found.root() != tracefs.root() => found,
        _ => tracefs.clone(),
    };
    recover(&journals(place), on)
        .map_err(|error| Failure::new(exit::TROUBLE, "reading the journals of changes", error))
}

/// Writes a text to standard output.
fn show(text: &str, context: &Context) -> Result<(), Failure> {
    let mut output = context.plain_output()?;
    let written = output.write_all(text.as_bytes()).and_then(|()| output.finish());
    written.map_err(|error| Failure::new(exit::TROUBLE, "writing to the standard output", error))
}

/// Puts it back before something new begins, and says so.
fn clean_up(place: &Place, tracefs: &Tracefs, context: &Context) -> Result<(), Failure> {
    for left in put_back(place, tracefs)? {
        let pid = left.pid;
        context.log.note(&format!("put back what process {pid} left in tracefs when it was killed"));
        for problem in left.problems {
            context.log.warn(&format!("of process {pid}: {problem}"));
        }
    }
    Ok(())
}
