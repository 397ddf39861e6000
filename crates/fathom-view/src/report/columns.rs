//! The columns of the table of functions.

use crate::color::Paint;
use crate::fields::Field;
use crate::layout::LAYOUT;
use crate::options::Averages;
use crate::units::{number_in, time, timestamp};
use fathom_analysis::statistics::{Key, Row};
use std::io::Write;

const fn field(name: &'static str, header: &'static str, newer: bool, kind: Key) -> Field<Key> {
    Field { name, alias: "", header, newer, kind }
}

/// All columns in their order; headers are as wide as the columns.
pub(super) static FIELDS: [Field<Key>; 16] = [
    field("total", "Total time", false, Key::Total),
    field("total-avg", " Total avg", false, Key::TotalAverage),
    field("total-min", " Total min", false, Key::TotalMin),
    field("total-max", " Total max", false, Key::TotalMax),
    field("self", " Self time", false, Key::Own),
    field("self-avg", "  Self avg", false, Key::OwnAverage),
    field("self-min", "  Self min", false, Key::OwnMin),
    field("self-max", "  Self max", false, Key::OwnMax),
    field("call", "     Calls", false, Key::Calls),
    field("size", "      Size", false, Key::Size),
    field("total-stdv", "Total stdv", true, Key::TotalDeviation),
    field("self-stdv", " Self stdv", true, Key::OwnDeviation),
    field("total-min-ts", "      Total min ts", true, Key::TotalMinAt),
    field("total-max-ts", "      Total max ts", true, Key::TotalMaxAt),
    field("self-min-ts", "       Self min ts", true, Key::OwnMinAt),
    field("self-max-ts", "       Self max ts", true, Key::OwnMaxAt),
];

/// Whether a column is shown when no list is given.
pub(super) fn shown_by_default(key: Key, averages: Averages) -> bool {
    match averages {
        Averages::Off => matches!(key, Key::Total | Key::Own | Key::Calls),
        Averages::Total => match key {
            Key::TotalDeviation => LAYOUT.average_has_deviation,
            key => matches!(key, Key::TotalAverage | Key::TotalMin | Key::TotalMax),
        },
        Averages::Own => match key {
            Key::OwnDeviation => LAYOUT.average_has_deviation,
            key => matches!(key, Key::OwnAverage | Key::OwnMin | Key::OwnMax),
        },
    }
}

/// How a column's values are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Time,
    Count,
    Percent,
    Timestamp,
}

pub(super) fn unit(key: Key) -> Unit {
    match key {
        Key::Calls | Key::Size => Unit::Count,
        Key::TotalDeviation | Key::OwnDeviation => Unit::Percent,
        Key::TotalMinAt | Key::TotalMaxAt | Key::OwnMinAt | Key::OwnMaxAt => Unit::Timestamp,
        _ => Unit::Time,
    }
}

/// The relative standard deviation that `key` stands for.
pub(super) fn deviation(key: Key, row: &Row) -> f64 {
    match key {
        Key::OwnDeviation => row.own.deviation(row.calls),
        _ => row.total.deviation(row.calls),
    }
}

/// The cell of a row.
pub(super) fn put_value(out: &mut Vec<u8>, field: &Field<Key>, row: &Row, paint: Paint) {
    let value = field.kind.value(row);
    match unit(field.kind) {
        Unit::Time => time(out, value, paint),
        Unit::Count => number_in(out, field.header.len(), value),
        Unit::Timestamp => timestamp(out, value),
        Unit::Percent => {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{:9.2}%", deviation(field.kind, row));
        }
    }
}

/// The raw value of a row.
pub(super) fn csv_value(out: &mut Vec<u8>, key: Key, row: &Row) {
    match unit(key) {
        Unit::Percent => {
            let _ = write!(out, "{:.2}", deviation(key, row));
        }
        _ => crate::units::number(out, key.value(row)),
    }
}
