//! `tui`: a recording on the terminal, to walk through.

use super::{Context, view_failure};
use crate::args::Tui;
use crate::data::{self, Opened};
use crate::filtering::{self, Filtering};
use crate::messages::{Failure, exit};
use crate::without::Without;
use fathom_analysis::statistics::{Key, parse_keys};
use fathom_store::Trace;
use fathom_tui::{Setup, Start, Stop, Stoppable, Theme, Words};
use fathom_view::{Extra, InfoOptions};

pub(crate) fn run(args: &Tui, context: &Context) -> Result<u8, Failure> {
    let keys = parse_keys(&args.sort.join(","), Key::parse)
        .map_err(|error| view_failure("report", fathom_view::Error::SortKey(error.0)))?;
    let dir = data::source(&args.common, context.name)?;
    let trace = data::open(&dir, data::open_options(&args.load), &context.log)?;
    let filtering = Filtering::new(&args.filters, &args.selection)?;
    filtering.note_useless(false, &context.log);
    let stop = Stop::default();
    let stoppable = Stoppable { inner: &trace, stop: &stop };
    let seen = filtering.apply(&stoppable, &context.log)?;
    let without = Without { inner: seen.trace(), libcalls: args.libcall.no_libcall, args: false };
    let setup = Setup {
        trace: seen.trace(),
        replayed: if args.libcall.no_libcall { &without } else { seen.trace() },
        events: trace.shown(filtering::events(data::events(&args.load), &args.filters, &args.selection)),
        // How deep a task is in the kernel is counted from its last record in the program on.
        seekable: seen.is_seekable() && !args.libcall.no_libcall && trace.kernel().is_none(),
        libcalls: !args.libcall.no_libcall,
        stop: &stop,
        start: match (args.report, args.replay) {
            (true, _) => Start::Report,
            (false, true) => Start::Replay,
            (false, false) => Start::Graph,
        },
        words: Words {
            title: dir.display().to_string(),
            info: info(&trace, context)?,
            fields: args.output_fields.clone(),
            keys,
            theme: Theme { color: context.color(false), light: is_light() },
        },
    };
    fathom_tui::run(&setup).map_err(|error| {
        let failure = Failure::new(exit::TROUBLE, "showing the recording", error);
        failure.next("`fathom report`, `graph` and `replay` show the same without a terminal")
    })?;
    data::show_warnings(&trace, &context.log);
    Ok(exit::SUCCESS)
}

/// The text of the info view.
fn info(trace: &Opened, context: &Context) -> Result<String, Failure> {
    let extra = Extra { note: trace.directory().and_then(Directory::note), ..Extra::default() };
    let mut text = Vec::new();
    fathom_view::info(trace, &InfoOptions { task: false }, &extra, &mut text)
        .map_err(|error| view_failure("info", error))?;
    let mut text = String::from_utf8_lossy(&text).into_owned();
    text.push_str(&format!("{}\n", context.version()));
    for warning in trace.warnings() {
        text.push_str(&format!("warning: {warning}\n"));
    }
    Ok(text)
}

/// Whether the terminal says that its ground is light, as some do in `COLORFGBG`: `foreground;background`.
fn is_light() -> bool {
    let colors = std::env::var("COLORFGBG").unwrap_or_default();
    matches!(colors.rsplit(';').next(), Some("7" | "15"))
}
