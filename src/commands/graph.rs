//! `graph`: who called whom.

use super::{Context, view_failure};
use crate::args::{Graph, TextFormat};
use crate::data;
use crate::filtering::{self, Filtering};
use crate::messages::{Failure, exit};
use crate::progress::Watched;
use fathom_filter::{Action, Scope, SpecKind};
use fathom_store::{FunctionKind, Trace};
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
        events: trace.shown(filtering::events(data::events(&args.load), &args.filters, &args.selection)),
        output: fathom_view::Output {
            color: context.color(html),
            format: if html { Format::Html } else { Format::Normal },
        },
        ..GraphOptions::default()
    };
    let filtering = filtering(args, &trace)?;
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
fn filtering(args: &Graph, trace: &dyn Trace) -> Result<Filtering, Failure> {
    let mut filtering = Filtering::new(&args.filters, &args.selection)?;
    if let (Some(function), Some(depth)) = (&args.function, args.filters.depth()) {
        let (mut user, mut kernel) = (false, false);
        trace.all_functions(false, &mut |known, _| {
            if *known.name == **function {
                *(if known.kind == FunctionKind::Kernel { &mut kernel } else { &mut user }) = true;
            }
        });
        let scope = if kernel && !user { Scope::Kernel } else { Scope::Any };
        filtering.specs.push_literal(SpecKind::Trigger, function, scope, Action::Depth(depth));
        filtering.options.depth = u32::MAX;
    }
    Ok(filtering)
}
