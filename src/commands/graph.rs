//! `graph`: who called whom.

use super::{Context, view_failure};
use crate::args::{Graph, TextFormat};
use crate::data;
use crate::filtering::{self, Filtering};
use crate::messages::{Failure, exit};
use crate::progress::Watched;
use fathom_filter::{Action, SpecKind};
use fathom_view::{Format, GraphOptions};

pub(crate) fn run(args: &Graph, context: &Context) -> Result<u8, Failure> {
    let dir = data::source(&args.common, context.name)?;
    let trace = data::open(&dir, data::open_options(&args.load), &context.log)?;
    let html = args.format == TextFormat::Html;
    let options = GraphOptions {
        function: args.function.clone(),
        fields: args.output_fields.clone(),
        no_libcall: args.libcall.no_libcall,
        task: args.task,
        srcline: args.source.srcline,
        events: filtering::events(data::events(&args.load), &args.filters, &args.selection),
        output: fathom_view::Output {
            color: context.color(html),
            format: if html { Format::Html } else { Format::Normal },
        },
        ..GraphOptions::default()
    };
    let filtering = filtering(args)?;
    filtering.note_useless(false, &context.log);
    let mut out = context.output()?;
    let watched = Watched::new(&trace, context.progress(false));
    let seen = filtering.apply(&watched, &context.log)?;
    let result = fathom_view::graph(seen.trace(), &options, &mut out);
    watched.finish();
    let found = result.map_err(|error| view_failure("graph", error))?;
    if let (false, Some(function)) = (found, &args.function) {
        context.log.note(&format!("cannot find graph for '{function}': the recording has no call of it"));
    }
    out.finish().map_err(|error| Failure::new(exit::TROUBLE, "showing the graph", error))?;
    data::show_warnings(&trace, &context.log);
    Ok(exit::SUCCESS)
}

/// The filters. The depth of a function's graph counts from the function.
fn filtering(args: &Graph) -> Result<Filtering, Failure> {
    let mut filtering = Filtering::new(&args.filters, &args.selection)?;
    if let (Some(function), Some(depth)) = (&args.function, args.filters.depth()) {
        filtering.specs.push_literal(SpecKind::Trigger, function, Action::Depth(depth));
        filtering.options.depth = u32::MAX;
    }
    Ok(filtering)
}
