//! `graph`: who called whom.

use super::{Context, view_failure};
use crate::args::{Graph, TextFormat};
use crate::data;
use crate::messages::{Failure, exit};
use crate::progress::Watched;
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
        events: data::events(&args.load),
        output: fathom_view::Output {
            color: context.color(html),
            format: if html { Format::Html } else { Format::Normal },
        },
        ..GraphOptions::default()
    };
    let mut out = context.output()?;
    let watched = Watched::new(&trace, context.progress(false));
    let result = fathom_view::graph(&watched, &options, &mut out);
    watched.finish();
    let found = result.map_err(|error| view_failure("graph", error))?;
    if let (false, Some(function)) = (found, &args.function) {
        context.log.note(&format!("cannot find graph for '{function}': the recording has no call of it"));
    }
    out.finish().map_err(|error| Failure::new(exit::TROUBLE, "showing the graph", error))?;
    data::show_warnings(&trace, &context.log);
    Ok(exit::SUCCESS)
}
