//! Two traces compared.

use super::chosen_keys;
use super::columns::{FIELDS, Unit, deviation, shown_by_default, unit};
use crate::color::{Color, HTML_HEAD, HTML_TAIL, Paint};
use crate::error::Error;
use crate::fields::{Field, select};
use crate::options::{DiffOptions, Format, ReportOptions};
use crate::source;
use crate::units::{blanks, number_in, right, signed_time, time, tinted};
use fathom_analysis::diff::{Column, Pair, difference, pairs, percentage, sort_pairs};
use fathom_analysis::statistics::{self, Key};
use fathom_store::{Function, FunctionKind, Trace};
use std::io::Write;

/// What `--diff-policy` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Policy {
    absolute: bool,
    full: bool,
    percent: bool,
}

impl Policy {
    fn parse(list: Option<&str>) -> Result<Policy, Error> {
        let mut policy = Policy { absolute: true, full: false, percent: false };
        for word in list.unwrap_or("").split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "abs" => policy.absolute = true,
                "no-abs" => policy.absolute = false,
                "full" => policy.full = true,
                "compact" => policy.full = false,
                "percent" => policy.percent = true,
                "no-percent" => policy.percent = false,
                word => return Err(Error::DiffPolicy(word.to_owned())),
            }
        }
        Ok(policy)
    }
}

/// Prints a table of the functions of two traces, with what changed from `base` to `new`.
///
/// # Errors
///
/// An unknown field, sort key or policy, a trace that can't be read, an output that can't be written.
pub fn report_diff(
    base: &dyn Trace,
    new: &dyn Trace,
    options: &ReportOptions,
    names: &DiffOptions,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let policy = Policy::parse(names.policy.as_deref())?;
    // When a call was the shortest can't be compared between traces.
    let mut fields =
        select(&FIELDS, options.fields.as_deref(), |key| shown_by_default(key, options.averages))?;
    fields.retain(|field| unit(field.kind) != Unit::Timestamp);
    let keys = chosen_keys(options)?;
    let keep = |function: &Function| !(options.no_libcall && function.kind == FunctionKind::Plt);
    let mut pairs = pairs(
        statistics::functions_if(base, options.events, options.threads, keep)?,
        statistics::functions_if(new, options.events, options.threads, keep)?,
    );
    let column = match names.sort_column {
        0 => Column::Base,
        1 => Column::New,
        _ => Column::Difference { absolute: policy.absolute, percent: policy.percent },
    };
    sort_pairs(&mut pairs, &keys, column);

    let paint = Paint::of(options.output);
    let mut text = Vec::new();
    if options.output.format == Format::Html {
        text.extend_from_slice(HTML_HEAD.as_bytes());
    }
    preamble(&mut text, base, new, names);
    let headers: Vec<(String, Key)> = fields.iter().map(|f| (heading(f, policy), f.kind)).collect();
    header(&mut text, &headers, &source::title("Function", "Source", options.srcline, paint));
    for pair in &pairs {
        for field in &fields {
            text.extend_from_slice(b"   ");
            match policy.full {
                true => full(&mut text, field.kind, pair, policy, paint),
                false => compact(&mut text, field.kind, pair, policy, paint),
            }
        }
        text.extend_from_slice(b"   ");
        text.extend_from_slice(pair.name.as_bytes());
        let (trace, row) = match &pair.new {
            Some(row) => (new, Some(row)),
            None => (base, pair.base.as_ref()),
        };
        let function = row.and_then(|row| row.function);
        source::behind_name(trace, function, options.srcline, paint, &mut text);
        text.push(b'\n');
    }
    if options.output.format == Format::Html {
        text.extend_from_slice(HTML_TAIL.as_bytes());
    }
    out.write_all(&text)?;
    out.flush()?;
    Ok(())
}

fn preamble(out: &mut Vec<u8>, base: &dyn Trace, new: &dyn Trace, names: &DiffOptions) {
    let command = |trace: &dyn Trace| trace.info().cmdline.clone().unwrap_or_default();
    let text = format!(
        "#\n# uftrace diff\n#  [0] base: {}\t(from {})\n#  [1] diff: {}\t(from {})\n#\n",
        names.base_name,
        command(base),
        names.new_name,
        command(new),
    );
    out.extend_from_slice(text.as_bytes());
}

/// A column's name, as wide as the column.
fn heading(field: &Field<Key>, policy: Policy) -> String {
    let name = field.header.trim();
    if !policy.full {
        return format!("{name:>11}");
    }
    let width = match unit(field.kind) {
        Unit::Time if !policy.percent => 35,
        _ => 32,
    };
    format!("{:>width$}", format!("{name} (diff)"))
}

fn header(out: &mut Vec<u8>, headers: &[(String, Key)], title: &str) {
    if headers.is_empty() {
        return;
    }
    for (name, _) in headers {
        out.extend_from_slice(b"   ");
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(format!("   {title}\n").as_bytes());
    for width in headers.iter().map(|(name, _)| name.len()).chain([20]) {
        out.extend_from_slice(b"   ");
        out.resize(out.len() + width, b'=');
    }
    out.push(b'\n');
}

fn compact(out: &mut Vec<u8>, key: Key, pair: &Pair, policy: Policy, paint: Paint) {
    let values = pair.values(key);
    match unit(key) {
        Unit::Count => {
            blanks(out, 2);
            count_difference(out, values, paint);
        }
        Unit::Percent => {
            blanks(out, 1);
            points(out, key, pair, paint);
        }
        _ if policy.percent => {
            blanks(out, 3);
            percent_difference(out, values, paint);
        }
        _ => signed_time(out, difference(values), paint),
    }
}

fn full(out: &mut Vec<u8>, key: Key, pair: &Pair, policy: Policy, paint: Paint) {
    let values = pair.values(key);
    match unit(key) {
        Unit::Count => {
            blanks(out, 1);
            number_in(out, 9, values.0);
            blanks(out, 2);
            number_in(out, 9, values.1);
            blanks(out, 2);
            count_difference(out, values, paint);
        }
        Unit::Percent => {
            for row in [&pair.base, &pair.new] {
                let value = row.as_ref().map_or(0.0, |row| deviation(key, row));
                let _ = write!(out, "{value:9.2}%  ");
            }
            points(out, key, pair, paint);
        }
        _ => {
            full_time(out, values.0, paint);
            blanks(out, 2);
            full_time(out, values.1, paint);
            blanks(out, 2);
            match policy.percent {
                true => percent_difference(out, values, paint),
                false => signed_time(out, difference(values), paint),
            }
        }
    }
}

fn full_time(out: &mut Vec<u8>, ns: u64, paint: Paint) {
    match ns {
        0 => right(out, 10, "-"),
        ns => time(out, ns, paint),
    }
}

/// The difference of two counts in 9 columns.
fn count_difference(out: &mut Vec<u8>, values: (u64, u64), paint: Paint) {
    let change = difference(values);
    let text = format!("{change:>+9}");
    match change {
        0 => out.extend_from_slice(text.as_bytes()),
        1.. => tinted(out, Some(Color::Red), text.as_bytes(), paint),
        _ => tinted(out, Some(Color::Blue), text.as_bytes(), paint),
    }
}

/// A difference in percent in 8 columns.
fn percent_difference(out: &mut Vec<u8>, values: (u64, u64), paint: Paint) {
    let percent = match (values, percentage(values)) {
        ((1.., 1..), Some(percent)) => percent,
        ((base, _), _) => {
            let color = if base == 0 { Color::Red } else { Color::Blue };
            tinted(out, Some(color), b"    N/A", paint);
            out.push(b' ');
            return;
        }
    };
    let percent = percent.clamp(-999.99, 999.99);
    tinted(out, percent_color(percent), format!("{percent:>+7.2}").as_bytes(), paint);
    out.push(b'%');
}

fn percent_color(percent: f64) -> Option<Color> {
    match percent {
        p if p > 30.0 => Some(Color::Red),
        p if p > 3.0 => Some(Color::Magenta),
        p if p < -30.0 => Some(Color::Blue),
        p if p < -3.0 => Some(Color::Cyan),
        _ => None,
    }
}

/// The difference of two deviations, in percent points.
fn points(out: &mut Vec<u8>, key: Key, pair: &Pair, paint: Paint) {
    let value = |row: &Option<statistics::Row>| row.as_ref().map_or(0.0, |row| deviation(key, row));
    let change = (value(&pair.new) - value(&pair.base)).clamp(-999.99, 999.99);
    tinted(out, percent_color(change), format!("{change:>+7.2}").as_bytes(), paint);
    out.extend_from_slice(b"%pt");
}
