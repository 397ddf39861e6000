//! Statistics of functions, of tasks, and the differences between two traces.

mod columns;
mod diff;

use crate::color::{HTML_HEAD, HTML_TAIL, Paint};
use crate::error::Error;
use crate::fields::{Field, select};
use crate::layout::LAYOUT;
use crate::options::{Averages, Format, ReportOptions};
use crate::source;
use crate::units::{number_in, right, time};
use columns::{FIELDS, csv_value, put_value, shown_by_default};
use fathom_analysis::statistics::{self, Key, Row, TaskKey, TaskRow, parse_keys, sort_rows, sort_tasks};
use fathom_store::{Function, FunctionKind, Trace};
use std::io::Write;

pub use diff::report_diff;

/// Prints a table of all functions, or of all tasks.
///
/// # Errors
///
/// An unknown field or sort key, a trace that can't be read, an output that can't be written.
pub fn report(trace: &dyn Trace, options: &ReportOptions, out: &mut dyn Write) -> Result<(), Error> {
    let mut text = Vec::new();
    if options.output.format == Format::Html {
        text.extend_from_slice(HTML_HEAD.as_bytes());
    }
    match options.task {
        true => task_table(trace, options, &mut text)?,
        false => function_table(trace, options, &mut text)?,
    }
    if options.output.format == Format::Html {
        text.extend_from_slice(HTML_TAIL.as_bytes());
    }
    out.write_all(&text)?;
    out.flush()?;
    Ok(())
}

/// The fields to show: `-f`, or those of the averages, or the usual ones.
fn chosen_fields(options: &ReportOptions) -> Result<Vec<&'static Field<Key>>, Error> {
    select(&FIELDS, options.fields.as_deref(), |key| shown_by_default(key, options.averages))
}

/// The keys to sort by. While averages are shown, the short names mean theirs.
fn chosen_keys(options: &ReportOptions) -> Result<Vec<Key>, Error> {
    let averages = match options.fields {
        None => options.averages,
        Some(_) => Averages::Off,
    };
    let prefix = match averages {
        Averages::Off => "",
        Averages::Total => "total_",
        Averages::Own => "self_",
    };
    let parse = |name: &str| match name {
        "avg" | "min" | "max" | "stdv" if !prefix.is_empty() => Key::parse(&format!("{prefix}{name}")),
        name => Key::parse(name),
    };
    let keys = parse_keys(options.sort.as_deref().unwrap_or(""), parse).map_err(|e| Error::SortKey(e.0))?;
    Ok(match (keys.is_empty(), averages) {
        (false, _) => keys,
        (true, Averages::Off) => vec![Key::Total],
        (true, Averages::Total) => vec![Key::TotalAverage],
        (true, Averages::Own) => vec![Key::OwnAverage],
    })
}

fn function_table(trace: &dyn Trace, options: &ReportOptions, out: &mut Vec<u8>) -> Result<(), Error> {
    let fields = chosen_fields(options)?;
    let keys = chosen_keys(options)?;
    let keep = |function: &Function| !(options.no_libcall && function.kind == FunctionKind::Plt);
    let mut rows = statistics::functions_if(trace, options.events, options.threads, keep)?;
    sort_rows(&mut rows, &keys);
    if options.output.format == Format::Csv {
        csv_header(out, &fields, "Function");
        for row in &rows {
            for field in &fields {
                csv_value(out, field.kind, row);
                out.push(b',');
            }
            out.extend_from_slice(row.name.as_bytes());
            source::behind_name(trace, row.function, options.srcline, Paint::Plain, out);
            out.push(b'\n');
        }
        return Ok(());
    }
    let paint = Paint::of(options.output);
    table_header(out, &fields, 2, &source::title("Function", "Source", options.srcline, paint));
    for row in &rows {
        function_line(out, &fields, row, paint);
        source::behind_name(trace, row.function, options.srcline, paint, out);
        out.push(b'\n');
    }
    Ok(())
}

fn function_line(out: &mut Vec<u8>, fields: &[&Field<Key>], row: &Row, paint: Paint) {
    for field in fields {
        out.extend_from_slice(b"  ");
        put_value(out, field, row, paint);
    }
    out.extend_from_slice(b"  ");
    out.extend_from_slice(row.name.as_bytes());
}

/// The names of the columns and the double line below them; nothing without columns.
fn table_header<K>(out: &mut Vec<u8>, fields: &[&Field<K>], gap: usize, title: &str) {
    if fields.is_empty() {
        return;
    }
    for field in fields {
        crate::units::blanks(out, gap);
        out.extend_from_slice(field.header.as_bytes());
    }
    crate::units::blanks(out, gap);
    out.extend_from_slice(title.as_bytes());
    out.push(b'\n');
    for width in fields.iter().map(|f| f.header.len()).chain([20]) {
        crate::units::blanks(out, gap);
        out.resize(out.len() + width, b'=');
    }
    out.push(b'\n');
}

fn csv_header<K>(out: &mut Vec<u8>, fields: &[&Field<K>], title: &str) {
    out.push(b'#');
    for field in fields {
        out.extend_from_slice(field.header.trim().as_bytes());
        out.push(b',');
    }
    out.extend_from_slice(title.as_bytes());
    out.push(b'\n');
}

const fn task_field(name: &'static str, header: &'static str, kind: TaskKey) -> Field<TaskKey> {
    Field { name, alias: "", header, newer: false, kind }
}

static TASK_FIELDS: [Field<TaskKey>; 4] = [
    task_field("total", "Total time", TaskKey::Total),
    task_field("self", " Self time", TaskKey::Own),
    task_field("tid", if LAYOUT.tid_width == 6 { "   TID" } else { "    TID" }, TaskKey::Tid),
    task_field("func", " Num funcs", TaskKey::Calls),
];

fn task_table(trace: &dyn Trace, options: &ReportOptions, out: &mut Vec<u8>) -> Result<(), Error> {
    let fields = select(&TASK_FIELDS, options.fields.as_deref(), |_| true)?;
    let mut keys =
        parse_keys(options.sort.as_deref().unwrap_or(""), TaskKey::parse).map_err(|e| Error::SortKey(e.0))?;
    if keys.is_empty() {
        keys.push(TaskKey::Total);
    }
    let mut rows = statistics::tasks(trace, options.events, options.threads)?;
    sort_tasks(&mut rows, &keys);
    if options.output.format == Format::Csv {
        csv_header(out, &fields, "Task name");
        for row in &rows {
            let numbers = fields.iter().map(|field| task_number(row, field.kind).to_string());
            let cells: Vec<String> = numbers.chain([row.comm.clone()]).collect();
            out.extend_from_slice(cells.join(",").as_bytes());
            out.push(b'\n');
        }
        return Ok(());
    }
    let paint = Paint::of(options.output);
    table_header(out, &fields, 2, "Task name");
    for row in &rows {
        for field in &fields {
            out.extend_from_slice(b"  ");
            match field.kind {
                TaskKey::Total => time(out, row.total, paint),
                TaskKey::Own => time(out, row.own, paint),
                TaskKey::Calls => number_in(out, 10, row.calls),
                TaskKey::Tid => right(out, LAYOUT.tid_width, &row.tid.to_string()),
                TaskKey::Name => {}
            }
        }
        // Names are padded, unlike those of functions.
        out.extend_from_slice(format!("  {:<16}\n", row.comm).as_bytes());
    }
    Ok(())
}

fn task_number(row: &TaskRow, key: TaskKey) -> i128 {
    match key {
        TaskKey::Total => row.total.into(),
        TaskKey::Own => row.own.into(),
        TaskKey::Tid => row.tid.into(),
        TaskKey::Calls | TaskKey::Name => row.calls.into(),
    }
}
