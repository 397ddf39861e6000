//! `script`: calls a user's functions for every call of a recording; `-S` of commands that record.

use super::Context;
use super::record::{self, Asked};
use crate::args::script::{self as args, Along};
use crate::data;
use crate::filtering::{self, Filtering};
use crate::messages::{Failure, exit};
use crate::progress::Watched;
use fathom_filter::Match;
use fathom_script::{Begin, Error, Feed, Options, Script, Source};
use signal_hook::consts::SIGINT;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub(crate) fn run(args: &args::Script, context: &Context) -> Result<u8, Failure> {
    if args.list {
        return print(args::list().as_bytes(), context);
    }
    let source = named(&args.script)?;
    if args.show {
        let (_, text) = source.read().map_err(|error| failed(error, &source))?;
        return print(&text, context);
    }
    if !args.record {
        if let Some(program) = args.program.program.first() {
            let program = program.to_string_lossy();
            context.log.note(&format!("script has no use for '{program}' without --record"));
        }
        let dir = data::source(&args.common, context.name)?;
        return over(args, &source, &dir, context).map(|()| exit::SUCCESS);
    }
    let dir = args.common.data.clone().unwrap_or_else(|| data::default_target(context.name));
    let asked = Asked {
        recording: &args.recording,
        selection: args.recorded.selection(&args.filters)?,
        filters: &args.filters,
        events: &args.load.events,
        no_libcall: args.libcall.no_libcall,
        source: args.source,
        kernel: args.recording.in_kernel.options(args.selection.kernel),
        program: &args.program.program,
        progress: None,
        early: false,
    };
    let outcome = record::record(asked, &dir, context)?;
    let code = record::code(outcome.status);
    over(args, &source, &dir, context)?;
    Ok(code)
}

/// The script that is named, which has to be.
fn named(along: &Along) -> Result<Source, Failure> {
    let name = along.script.as_deref().ok_or_else(|| {
        Failure::because(exit::TROUBLE, "reading the command line", "script needs a script")
            .next("name a file with -S FILE, or one of those that `fathom script --list` shows")
    })?;
    Ok(Source::find(name))
}

fn print(text: &[u8], context: &Context) -> Result<u8, Failure> {
    let written = |error| Failure::new(exit::TROUBLE, "writing to the standard output", error);
    let mut out = context.output()?;
    out.write_all(text).map_err(written)?;
    out.finish().map_err(written)?;
    Ok(exit::SUCCESS)
}

/// Runs a script over a recording.
fn over(args: &args::Script, source: &Source, dir: &Path, context: &Context) -> Result<(), Failure> {
    let trace = data::open(dir, data::open_options(&args.load), &context.log)?;
    let watched = Watched::new(&trace, context.progress(true));
    let filtering = Filtering::new(&args.filters, &args.selection)?;
    filtering.note_useless(false, &context.log);
    let seen = filtering.apply(&watched, &context.log)?;
    let feed = Feed {
        events: trace.shown(filtering::events(data::events(&args.load), &args.filters, &args.selection)),
        libcalls: !args.libcall.no_libcall,
        args: !args.no_args,
    };
    let options = options(&args.script, args.filters.pattern())?;
    let begin = begin(false, if args.record { &args.program.program } else { &[] }, context);
    // The script prints by itself; the pager takes the place of standard output for it.
    let out = context
        .output()?
        .in_place()
        .map_err(|error| Failure::new(exit::TROUBLE, "opening the standard output", error))?;
    let fed = Script::load(source, &options).and_then(|mut script| {
        notes(&script, context);
        script.begin(&begin)?;
        let lost = script.feed(seen.trace(), feed)?;
        script.end()?;
        Ok(lost)
    });
    watched.finish();
    let closed = out.finish();
    data::show_warnings(&trace, &context.log);
    let lost = fed.map_err(|error| failed(error, source))?;
    closed.map_err(|error| Failure::new(exit::TROUBLE, "writing to the standard output", error))?;
    if lost > 0 {
        context.log.warn(&format!("records are missing in {lost} places of the recording"));
    }
    Ok(())
}

fn notes(script: &Script, context: &Context) {
    for note in script.notes() {
        context.log.warn(note);
    }
}

fn options(along: &Along, matching: Match) -> Result<Options, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, Arc::clone(&interrupted))
        .map_err(|error| Failure::new(exit::TROUBLE, "preparing for signals", error))?;
    Ok(Options { matching, python: along.python.clone(), interrupted })
}

pub(super) fn begin(record: bool, program: &[OsString], context: &Context) -> Begin {
    let version = context.version();
    let version = version.split_once(' ').map_or(version.as_str(), |(_, version)| version).to_owned();
    let cmds = program.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    Begin { record, version, cmds }
}

pub(super) fn failed(error: Error, source: &Source) -> Failure {
    let doing = format!("running the script '{}'", source.name());
    match error {
        Error::Trace(error) => Failure::new(exit::UNREADABLE, "reading the recording", error),
        error @ Error::Language { .. } => Failure::new(exit::TROUBLE, doing, error)
            .next("`fathom script --list` shows the scripts that come with fathom"),
        error @ Error::Interpreter { .. } => Failure::new(exit::TROUBLE, doing, error)
            .next("name an interpreter of Python 3 with --python PROGRAM"),
        error => Failure::new(exit::TROUBLE, doing, error),
    }
}
