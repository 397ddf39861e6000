//! `live`: records, shows, and forgets.

use super::companion::Companion;
use super::replay::Shown;
use super::{Context, agent, list_event, record, replay, report};
use crate::args::Live;
use crate::data;
use crate::filtering::{self, Filtering};
use crate::messages::{Failure, exit};
use crate::output;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Where the recording is.
enum Place {
    /// It is removed at the end.
    Temporary(TempDir),
    /// The user wants it.
    Kept(PathBuf),
}

impl Place {
    fn choose(args: &Live, context: &Context) -> Result<Place, Failure> {
        if args.record {
            let named = args.common.data.clone();
            return Ok(Place::Kept(named.unwrap_or_else(|| data::default_target(context.name))));
        }
        let named = || -> tempfile::Builder<'_, '_> {
            let mut name = tempfile::Builder::new();
            name.prefix("fathom-live-");
            name
        };
        let made = named().tempdir().or_else(|error| named().tempdir_in(".").map_err(|_| error));
        made.map(Place::Temporary).map_err(|error| {
            let doing = format!("making a directory in '{}'", std::env::temp_dir().display());
            Failure::new(exit::TROUBLE, doing, error).next("set TMPDIR to a directory that can be written to")
        })
    }

    /// The data directory; the recorder makes it.
    fn dir(&self) -> PathBuf {
        match self {
            Place::Temporary(dir) => dir.path().join("data"),
            Place::Kept(dir) => dir.clone(),
        }
    }
}

pub(crate) fn run(args: &Live, context: &Context) -> Result<u8, Failure> {
    if args.recording.list_event.wanted(&args.load.events) {
        return list_event::run(args.program.program.first().map(OsString::as_os_str), context);
    }
    if let Some(pid) = args.client.pid {
        if let Some(program) = args.program.program.first() {
            let cause = format!("with --pid no program is run, not '{}' either", program.to_string_lossy());
            return Err(Failure::because(exit::TROUBLE, "reading the command line", cause));
        }
        return agent::change(pid, &args.filters);
    }
    let filtering = Filtering::new(&args.filters, &args.selection)?.after_recording();
    let selection = args.recorded.selection(&args.filters)?;
    let place = Place::choose(args, context)?;
    let asked = record::Asked {
        recording: &args.recording,
        selection,
        filters: &args.filters,
        events: &args.load.events,
        no_libcall: args.no_libcall,
        source: args.source,
        kernel: args.recording.in_kernel.options(args.selection.kernel),
        program: &args.program.program,
        progress: None,
        early: false,
    };
    let shown = data::shown_events(&args.load.events, &args.filters);
    let companion = Companion::load(&args.script, args.filters.pattern(), shown, &asked, context)?;
    let asked = record::Asked { progress: companion.as_ref().and_then(Companion::progress), ..asked };
    let outcome = record::record(asked, &place.dir(), context)?;
    if args.recording.time {
        record::print_times(&outcome)?;
    }
    if args.recording.tuning.nop {
        return Ok(record::code(outcome.status));
    }
    // The recorder has its own way with signals; it is over now.
    if let Place::Temporary(dir) = &place {
        clean_up_on_signals(dir.path())?;
    }
    let code = record::code(outcome.status);
    if let Some(companion) = companion {
        record::after(companion.finish(&place.dir(), context), code, context)?;
    }
    let shown = show(args, &filtering, &place.dir(), context);
    if let Place::Temporary(dir) = place {
        let path = dir.path().display().to_string();
        if let Err(error) = dir.close() {
            context.log.warn(&format!("cannot remove '{path}': {error}"));
        }
    }
    match shown {
        Err(failure) if failure.is_broken_pipe() => Ok(code),
        // How the program ended is the more important thing to pass on.
        Err(failure) if code != exit::SUCCESS => {
            context.log.error(&failure);
            Ok(code)
        }
        Err(failure) => Err(failure),
        Ok(()) => Ok(code),
    }
}

fn show(args: &Live, filtering: &Filtering, dir: &Path, context: &Context) -> Result<(), Failure> {
    let trace = data::open(dir, data::open_options(&args.load), &context.log)?;
    let written = |error| Failure::new(exit::TROUBLE, "showing the replay", error);
    let events = filtering::events(data::events(&args.load), &args.filters, &args.selection);
    // The shell has the terminal again when the program had our place in it.
    let kept = args.recording.tuning.keep_pid;
    let mut out = if kept { context.plain_output()? } else { context.output()? };
    if args.report {
        // The peer's words: scripts look for them.
        out.write_all(b"#\n# uftrace report\n#\n").map_err(written)?;
        report::brief(&trace, events, args.no_libcall, filtering, context, &mut out)?;
        out.write_all(b"\n#\n# uftrace replay\n#\n").map_err(written)?;
    }
    let shown = Shown { events, no_libcall: args.no_libcall, srcline: args.source.srcline };
    replay::show(&trace, &args.text, shown, filtering, context, &mut out)?;
    out.finish().map_err(written)?;
    data::show_warnings(&trace, &context.log);
    Ok(())
}

/// Removes the directory when a signal ends the program. Ctrl-C is the pager's where there is one.
fn clean_up_on_signals(dir: &Path) -> Result<(), Failure> {
    let dir = dir.to_path_buf();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| Failure::new(exit::TROUBLE, "preparing for signals", error))?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if signal == SIGINT && output::paging() {
                continue;
            }
            // Nothing can be done about a failure on the way out.
            let _ = std::fs::remove_dir_all(&dir);
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
    Ok(())
}
