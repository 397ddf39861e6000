//! `dump`: records as they are, or for other programs.

use super::Context;
use crate::args::{Dump, DumpFormat};
use crate::data::{self, Opened};
use crate::filtering::{self, Filtering, Seen};
use crate::messages::{Failure, exit};
use crate::progress::Watched;
use fathom_export::{ChromeOptions, DiagramOptions, FlameOptions, RawOptions, Summary};
use fathom_store::Trace;

pub(crate) fn run(args: &Dump, context: &Context) -> Result<u8, Failure> {
    let dir = data::source(&args.common, context.name)?;
    let trace = data::open(&dir, data::open_options(&args.load), &context.log)?;
    let format = format(args);
    let watched = Watched::new(&trace, context.progress(true));
    let mut filtering = Filtering::new(&args.filters, &args.selection)?;
    filtering.options.recorded_depths = format == DumpFormat::Normal;
    filtering.note_useless(false, &context.log);
    let seen = filtering.apply(&watched, &context.log)?;
    let summary = write(args, format, &trace, &seen, context)?;
    watched.finish();
    data::show_warnings(&trace, &context.log);
    if summary.lost > 0 {
        context.log.warn(&format!("records are missing in {} places of the recording", summary.lost));
    }
    Ok(exit::SUCCESS)
}

fn format(args: &Dump) -> DumpFormat {
    match args {
        Dump { chrome: true, .. } => DumpFormat::Chrome,
        Dump { flame_graph: true, .. } => DumpFormat::FlameGraph,
        Dump { graphviz: true, .. } => DumpFormat::Graphviz,
        Dump { mermaid: true, .. } => DumpFormat::Mermaid,
        _ => args.format,
    }
}

fn write(
    args: &Dump,
    format: DumpFormat,
    trace: &Opened,
    seen: &Seen<'_>,
    context: &Context,
) -> Result<Summary, Failure> {
    let wanted = filtering::events(data::events(&args.load), &args.filters, &args.selection);
    let events = trace.shown(wanted);
    let shown = seen.trace();
    let libcalls = !args.libcall.no_libcall;
    let version = context.version();
    let mut out = context.output()?;
    let result = match format {
        DumpFormat::Normal => {
            let options = RawOptions {
                events,
                libcalls,
                args: !args.no_args,
                bytes: args.common.verbose > 0,
                color: context.color(false),
                span: seen.span(),
                kernel: trace.kernel(),
                task_files: trace.directory().is_some(),
                processors: trace
                    .directory()
                    .map(|dir| dir.perf_files().iter().map(|(_, path)| path.clone()).collect())
                    .unwrap_or_default(),
            };
            fathom_export::raw(shown, &options, &mut out)
        }
        DumpFormat::Chrome => {
            let recorded = trace.info().record_date.clone();
            let options = ChromeOptions {
                events,
                libcalls,
                args: !args.no_args,
                srcline: args.source.srcline,
                version,
                recorded,
            };
            fathom_export::chrome(shown, &options, &mut out)
        }
        DumpFormat::FlameGraph => {
            let options = FlameOptions { events, libcalls, sample_time: args.sample_time };
            fathom_export::flame_graph(shown, &options, &mut out)
        }
        DumpFormat::Graphviz => {
            fathom_export::graphviz(shown, &DiagramOptions { events, libcalls, version }, &mut out)
        }
        DumpFormat::Mermaid => {
            fathom_export::mermaid(shown, &DiagramOptions { events, libcalls, version }, &mut out)
        }
    };
    let doing = || format!("writing the recording in '{}'", trace.path().display());
    let summary = result.map_err(|error| match error {
        fathom_export::Error::Trace(error) => Failure::new(exit::UNREADABLE, doing(), error),
        error => Failure::new(exit::TROUBLE, doing(), error),
    })?;
    out.finish().map_err(|error| Failure::new(exit::TROUBLE, doing(), error))?;
    Ok(summary)
}
