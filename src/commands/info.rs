//! `info`: what a recording was made of.

use super::{Context, view_failure};
use crate::args::Info;
use crate::data::{self, Opened};
use crate::messages::{Failure, exit};
use crate::output::Output;
use fathom_store::Trace;
use fathom_store::directory::OpenOptions;
use fathom_symbols::Image;
use fathom_view::{Extra, InfoOptions};
use std::path::Path;

pub(crate) fn run(args: &Info, context: &Context) -> Result<u8, Failure> {
    let mut out = context.output()?;
    match (&args.program, args.symbols) {
        (Some(program), true) => symbols_of(program, &mut out)?,
        _ => recording(args, context, &mut out)?,
    }
    out.finish().map_err(|error| Failure::new(exit::TROUBLE, "showing the info", error))?;
    Ok(exit::SUCCESS)
}

fn recording(args: &Info, context: &Context, out: &mut Output) -> Result<(), Failure> {
    let options = OpenOptions { demangle: data::style(args.demangle), ..OpenOptions::default() };
    let dir = data::source(&args.common, context.name)?;
    let trace = data::open(&dir, options, &context.log)?;
    let shown = if args.symbols {
        recorded_symbols(&trace, out)?
    } else {
        let extra = match trace.directory() {
            Some(dir) => Extra {
                note: dir.note(),
                recorded_on: None,
                sizes: dir.all_tasks().iter().map(|task| (task.tid, dir.data_size(task.tid))).collect(),
            },
            None => Extra::default(),
        };
        fathom_view::info(&trace, &InfoOptions { task: args.task }, &extra, out)
    };
    shown.map_err(|error| view_failure("info", error))?;
    if !args.symbols && !args.task {
        patches(&dir, out).map_err(|error| Failure::new(exit::TROUBLE, "showing the info", error))?;
    }
    data::show_warnings(&trace, &context.log);
    Ok(())
}

/// How many functions were patched and how many not, and why. Their names are in the file, and in `record --patch-report`.
fn patches(dir: &Path, out: &mut Output) -> std::io::Result<()> {
    use std::io::Write;
    let Ok(text) = std::fs::read_to_string(dir.join(fathom_record::PATCHES_FILE)) else { return Ok(()) };
    let mut lines = text.lines().filter(|line| !line.starts_with("    ")).peekable();
    if lines.peek().is_some() {
        writeln!(out, "\n# functions patched\n# =================")?;
    }
    lines.try_for_each(|line| writeln!(out, "# {line}"))
}

/// The symbols of the recorded program, which may be there no more.
fn recorded_symbols(trace: &Opened, out: &mut Output) -> Result<Result<(), fathom_view::Error>, Failure> {
    let exe = trace.sessions().first().map(|session| session.exe.clone()).unwrap_or_default();
    let module = trace.directory().and_then(|dir| dir.modules(0).find(|(_, path, _)| *path == exe));
    let Some((_, _, table)) = module else {
        let doing = format!("reading the symbols of '{exe}'");
        return Err(Failure::because(exit::UNREADABLE, doing, "the recording has none of it")
            .next("name the program: `fathom info --symbols PROGRAM`"));
    };
    Ok(fathom_view::info_symbols(table, out))
}

/// The symbols of a program without any recording.
fn symbols_of(program: &Path, out: &mut Output) -> Result<(), Failure> {
    let doing = || format!("reading the symbols of '{}'", program.display());
    let image = Image::open(program).map_err(|error| Failure::new(exit::UNREADABLE, doing(), error))?;
    fathom_view::info_symbols(&image.symbols(), out).map_err(|error| view_failure("info", error))
}
