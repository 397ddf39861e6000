//! `replay`: the calls in the order they were made.

use super::{Context, view_failure};
use crate::args::{Load, Replay, Text, TextFormat};
use crate::data;
use crate::messages::{Failure, exit};
use crate::output::Output;
use crate::progress::Watched;
use crate::without::Without;
use fathom_store::directory::Directory;
use fathom_view::{Format, ReplayOptions};

pub(crate) fn run(args: &Replay, context: &Context) -> Result<u8, Failure> {
    let dir = data::source(&args.common, context.name)?;
    let trace = data::open(&dir, data::open_options(&args.load), &context.log)?;
    let mut out = context.output()?;
    show(&trace, &args.text, &args.load, args.libcall.no_libcall, context, &mut out)?;
    out.finish().map_err(|error| Failure::new(exit::TROUBLE, "showing the replay", error))?;
    data::show_warnings(&trace, &context.log);
    Ok(exit::SUCCESS)
}

/// Writes the replay; also the second half of live.
pub(crate) fn show(
    trace: &Directory,
    text: &Text,
    load: &Load,
    no_libcall: bool,
    context: &Context,
    out: &mut Output,
) -> Result<(), Failure> {
    let watched = Watched::new(trace, context.progress(true));
    let shown = Without { inner: &watched, libcalls: no_libcall, args: text.no_args };
    let result = fathom_view::replay(&shown, &options(text, load, context), out);
    watched.finish();
    result.map_err(|error| view_failure("replay", error))
}

fn options(text: &Text, load: &Load, context: &Context) -> ReplayOptions {
    let html = text.format == TextFormat::Html;
    ReplayOptions {
        fields: text.output_fields.clone(),
        merge: !text.no_merge,
        comment: !text.no_comment,
        libname: text.libname,
        flat: text.flat,
        column_offset: text.column_view.then_some(text.column_offset),
        task_newline: text.task_newline,
        events: data::events(load),
        output: fathom_view::Output {
            color: context.color(html),
            format: if html { Format::Html } else { Format::Normal },
        },
    }
}
