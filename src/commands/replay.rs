//! `replay`: the calls in the order they were made.

use super::{Context, view_failure};
use crate::args::{Replay, Text, TextFormat};
use crate::data::{self, Opened};
use crate::filtering::{self, Filtering};
use crate::messages::{Failure, exit};
use crate::output::Output;
use crate::progress::Watched;
use crate::without::Without;
use fathom_analysis::filter::TimeRange;
use fathom_store::EventOptions;
use fathom_view::{Format, RangeField, ReplayOptions};

pub(crate) fn run(args: &Replay, context: &Context) -> Result<u8, Failure> {
    let dir = data::source(&args.common, context.name)?;
    let trace = data::open(&dir, data::open_options(&args.load), &context.log)?;
    let mut out = context.output()?;
    let filtering = Filtering::new(&args.filters, &args.selection)?;
    let wanted = filtering::events(data::events(&args.load), &args.filters, &args.selection);
    let events = trace.shown(wanted);
    let options = Shown { events, no_libcall: args.libcall.no_libcall, srcline: args.source.srcline };
    show(&trace, &args.text, options, &filtering, context, &mut out)?;
    out.finish().map_err(|error| Failure::new(exit::TROUBLE, "showing the replay", error))?;
    data::show_warnings(&trace, &context.log);
    Ok(exit::SUCCESS)
}

/// What of a recording is shown, and what with it.
#[derive(Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) events: EventOptions,
    pub(crate) no_libcall: bool,
    pub(crate) srcline: bool,
}

/// Writes the replay; also the second half of live.
pub(crate) fn show(
    trace: &Opened,
    text: &Text,
    Shown { events, no_libcall, srcline }: Shown,
    filtering: &Filtering,
    context: &Context,
    out: &mut Output,
) -> Result<(), Failure> {
    let watched = Watched::new(trace, context.progress(true));
    let mut filtering = filtering.clone();
    filtering.options.backtraces = true;
    filtering.note_useless(true, &context.log);
    let seen = filtering.apply(&watched, &context.log)?;
    let shown = Without { inner: seen.trace(), libcalls: no_libcall, args: text.no_args };
    let mut options = options(text, events, context);
    options.srcline = srcline;
    let range = filtering.options.range;
    options.range = match (range == TimeRange::default(), range.is_relative()) {
        (true, _) => None,
        (false, true) => Some(RangeField::Elapsed),
        (false, false) => Some(RangeField::Time),
    };
    let elapsed =
        text.output_fields.as_ref().is_some_and(|fields| fields.contains("elapsed") || fields == "all");
    if elapsed || options.range == Some(RangeField::Elapsed) {
        options.begin = seen.begin(events)?;
    }
    let colors = |id| seen.rule(id)?.color.map(color);
    let result = fathom_view::replay_colored(&shown, &options, &colors, out);
    watched.finish();
    result.map_err(|error| view_failure("replay", error))
}

/// The colour of a `color=` trigger.
fn color(color: fathom_filter::Color) -> fathom_view::Color {
    use fathom_filter::Color;
    match color {
        Color::Red => fathom_view::Color::Red,
        Color::Green => fathom_view::Color::Green,
        Color::Blue => fathom_view::Color::Blue,
        Color::Yellow => fathom_view::Color::Yellow,
        Color::Magenta => fathom_view::Color::Magenta,
        Color::Cyan => fathom_view::Color::Cyan,
        Color::Bold => fathom_view::Color::Bold,
        Color::Gray => fathom_view::Color::Gray,
    }
}

fn options(text: &Text, events: EventOptions, context: &Context) -> ReplayOptions {
    let html = text.format == TextFormat::Html;
    ReplayOptions {
        fields: text.output_fields.clone(),
        merge: !text.no_merge,
        comment: !text.no_comment,
        libname: text.libname,
        srcline: false,
        callsite: !text.no_callsite,
        flat: text.flat,
        column_offset: text.column_view.then_some(text.column_offset),
        task_newline: text.task_newline,
        events,
        range: None,
        begin: None,
        output: fathom_view::Output {
            color: context.color(html),
            format: if html { Format::Html } else { Format::Normal },
        },
    }
}
