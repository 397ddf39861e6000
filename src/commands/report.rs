//! `report`: how often each function was called, and how long it took.

use super::{Context, view_failure};
use crate::args::{Report, ReportFormat};
use crate::data::{self, Opened};
use crate::filtering::{self, Filtering};
use crate::messages::{Failure, exit};
use crate::output::Output;
use crate::progress::Watched;
use fathom_store::EventOptions;
use fathom_view::{Averages, DiffOptions, Format, ReportOptions};

pub(crate) fn run(args: &Report, context: &Context) -> Result<u8, Failure> {
    if args.output_fields.is_some() && (args.avg_total || args.avg_self) {
        context.log.warn("--avg-total and --avg-self have no effect together with --output-fields");
    }
    let dir = data::source(&args.common, context.name)?;
    let trace = data::open(&dir, data::open_options(&args.load), &context.log)?;
    let filtering = Filtering::new(&args.filters, &args.selection)?;
    filtering.note_useless(false, &context.log);
    let mut out = context.output()?;
    match &args.diff {
        Some(base) => {
            let other = data::open(base, data::open_options(&args.load), &context.log)?;
            let names = DiffOptions {
                base_name: base.display().to_string(),
                new_name: dir.display().to_string(),
                policy: args.diff_policy.clone(),
                sort_column: args.sort_column,
            };
            diff(args, &trace, &other, &names, &filtering, context, &mut out)?;
            data::show_warnings(&other, &context.log);
        }
        None => {
            let mut options = options(args, context);
            options.events = trace.shown(options.events);
            show(&trace, &options, &filtering, context, &mut out)?;
        }
    }
    out.finish().map_err(|error| Failure::new(exit::TROUBLE, "showing the report", error))?;
    data::show_warnings(&trace, &context.log);
    Ok(exit::SUCCESS)
}

/// Writes a report.
fn show(
    trace: &Opened,
    options: &ReportOptions,
    filtering: &Filtering,
    context: &Context,
    out: &mut Output,
) -> Result<(), Failure> {
    let watched = Watched::new(trace, context.progress(false));
    let seen = filtering.apply(&watched, &context.log)?;
    let result = fathom_view::report(seen.trace(), options, out);
    watched.finish();
    result.map_err(|error| view_failure("report", error))
}

/// Writes the usual report, for live.
pub(crate) fn brief(
    trace: &Opened,
    events: EventOptions,
    no_libcall: bool,
    filtering: &Filtering,
    context: &Context,
    out: &mut Output,
) -> Result<(), Failure> {
    let output = fathom_view::Output { color: context.color(false), format: Format::Normal };
    let options = ReportOptions { events, no_libcall, output, ..ReportOptions::default() };
    show(trace, &options, filtering, context, out)
}

fn diff(
    args: &Report,
    trace: &Opened,
    base: &Opened,
    names: &DiffOptions,
    filtering: &Filtering,
    context: &Context,
    out: &mut Output,
) -> Result<(), Failure> {
    let (base, trace) =
        (Watched::new(base, context.progress(false)), Watched::new(trace, context.progress(false)));
    let (old, new) = (filtering.apply(&base, &context.log)?, filtering.apply(&trace, &context.log)?);
    let result = fathom_view::report_diff(old.trace(), new.trace(), &options(args, context), names, out);
    base.finish();
    trace.finish();
    result.map_err(|error| view_failure("comparison", error))
}

fn options(args: &Report, context: &Context) -> ReportOptions {
    let averages = match (args.avg_total, args.avg_self) {
        (true, _) => Averages::Total,
        (_, true) => Averages::Own,
        _ => Averages::Off,
    };
    let format = match args.format {
        ReportFormat::Normal => Format::Normal,
        ReportFormat::Html => Format::Html,
        ReportFormat::Csv => Format::Csv,
    };
    ReportOptions {
        fields: args.output_fields.clone(),
        averages,
        sort: (!args.sort.is_empty()).then(|| args.sort.join(";")),
        no_libcall: args.libcall.no_libcall,
        task: args.task,
        srcline: args.source.srcline,
        events: filtering::events(data::events(&args.load), &args.filters, &args.selection),
        output: fathom_view::Output { color: context.color(format == Format::Html), format },
        ..ReportOptions::default()
    }
}
