//! Shows a data directory: `view replay|report|graph|info DIR [OPTION...]`, to try the views without the program.

use fathom_store::Trace;
use fathom_store::directory::{Directory, OpenOptions};
use fathom_view::{
    Averages, DiffOptions, Extra, Format, GraphOptions, InfoOptions, ReplayOptions, ReportOptions,
};
use std::error::Error;
use std::io::stdout;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [view, dir, options @ ..] = words.as_slice() else { return Err("view DIR [OPTION...]".into()) };
    let trace = Directory::open(Path::new(dir), open_options())?;
    let has = |name: &str| options.iter().any(|o| o == name);
    let value = |name: &str| {
        let place = options.iter().position(|o| o == name)?;
        options.get(place + 1).cloned()
    };
    let mut output = fathom_view::Output { color: has("--color"), format: Format::Normal };
    if has("--html") {
        output = fathom_view::Output { color: true, format: Format::Html };
    }
    if has("--csv") {
        output.format = Format::Csv;
    }
    let fields = value("-f");
    let mut out = stdout().lock();
    let result = match view.as_str() {
        "replay" => {
            let options = ReplayOptions {
                fields,
                merge: !has("--no-merge"),
                comment: !has("--no-comment"),
                libname: has("--libname"),
                flat: has("--flat"),
                column_offset: has("--column-view").then_some(8),
                task_newline: has("--task-newline"),
                output,
                ..ReplayOptions::default()
            };
            fathom_view::replay(&trace, &options, &mut out)
        }
        "report" => {
            let averages = match (has("--avg-total"), has("--avg-self")) {
                (true, _) => Averages::Total,
                (_, true) => Averages::Own,
                _ => Averages::Off,
            };
            let (sort, task) = (value("-s"), has("--task"));
            let options = ReportOptions { fields, averages, sort, task, output, ..ReportOptions::default() };
            match value("--diff") {
                None => fathom_view::report(&trace, &options, &mut out),
                Some(other) => {
                    let new = Directory::open(Path::new(&other), open_options())?;
                    let names = DiffOptions {
                        base_name: dir.clone(),
                        new_name: other,
                        policy: value("--diff-policy"),
                        sort_column: value("--sort-column").and_then(|n| n.parse().ok()).unwrap_or(2),
                    };
                    fathom_view::report_diff(&trace, &new, &options, &names, &mut out)
                }
            }
        }
        "graph" => {
            let (function, task) = (value("--of"), has("--task"));
            let options = GraphOptions { function, fields, task, output, ..GraphOptions::default() };
            fathom_view::graph(&trace, &options, &mut out).map(|found| {
                if !found {
                    eprintln!("not found");
                }
            })
        }
        "info" => {
            let sizes = trace.tasks().iter().map(|task| {
                let file = Path::new(dir).join(format!("{}.dat", task.tid));
                (task.tid, file.metadata().map_or(0, |m| m.len()))
            });
            let extra = Extra { sizes: sizes.collect(), ..Extra::default() };
            fathom_view::info(&trace, &InfoOptions { task: has("--task") }, &extra, &mut out)
        }
        _ => return Err("no such view".into()),
    };
    match result {
        Err(e) if !e.is_broken_pipe() => return Err(e.into()),
        _ => {}
    }
    for warning in trace.warnings() {
        eprintln!("WARN: {warning}");
    }
    Ok(())
}

fn open_options() -> OpenOptions {
    OpenOptions { demangle: fathom_symbols::demangle::Style::Simple, ..OpenOptions::default() }
}
