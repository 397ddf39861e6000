//! Sort keys of reports.

use super::{Row, TaskRow};
use std::cmp::Ordering;

/// What rows of functions can be sorted by. Numbers descend, names ascend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Sum of total times.
    Total,
    /// Average total time.
    TotalAverage,
    /// Shortest total time.
    TotalMin,
    /// Longest total time.
    TotalMax,
    /// Sum of self times.
    Own,
    /// Average self time.
    OwnAverage,
    /// Shortest self time.
    OwnMin,
    /// Longest self time.
    OwnMax,
    /// Number of calls.
    Calls,
    /// Symbol size.
    Size,
    /// Deviation of total times.
    TotalDeviation,
    /// Deviation of self times.
    OwnDeviation,
    /// When the shortest call began.
    TotalMinAt,
    /// When the longest call began.
    TotalMaxAt,
    /// When the call with the shortest self time began.
    OwnMinAt,
    /// When the call with the longest self time began.
    OwnMaxAt,
    /// The name.
    Name,
}

/// A key that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid sort key: {0}")]
pub struct UnknownKey(pub String);

impl Key {
    /// The key of that name; `-` may stand for `_`.
    pub fn parse(name: &str) -> Option<Key> {
        Some(match name.replace('-', "_").as_str() {
            "total" => Key::Total,
            "total_avg" => Key::TotalAverage,
            "total_min" => Key::TotalMin,
            "total_max" => Key::TotalMax,
            "self" => Key::Own,
            "self_avg" => Key::OwnAverage,
            "self_min" => Key::OwnMin,
            "self_max" => Key::OwnMax,
            "call" => Key::Calls,
            "size" => Key::Size,
            "total_stdv" => Key::TotalDeviation,
            "self_stdv" => Key::OwnDeviation,
            "total_min_ts" => Key::TotalMinAt,
            "total_max_ts" => Key::TotalMaxAt,
            "self_min_ts" => Key::OwnMinAt,
            "self_max_ts" => Key::OwnMaxAt,
            "func" => Key::Name,
            _ => return None,
        })
    }

    /// The value in a row as a whole number (deviations in hundredths of a percent); 0 for the name.
    pub fn value(self, row: &Row) -> u64 {
        match self {
            Key::Total => row.total.sum,
            Key::TotalAverage => row.total.average(row.calls),
            Key::TotalMin => row.total.min,
            Key::TotalMax => row.total.max,
            Key::Own => row.own.sum,
            Key::OwnAverage => row.own.average(row.calls),
            Key::OwnMin => row.own.min,
            Key::OwnMax => row.own.max,
            Key::Calls => row.calls,
            Key::Size => row.size,
            Key::TotalDeviation => (row.total.deviation(row.calls) * 100.0) as u64,
            Key::OwnDeviation => (row.own.deviation(row.calls) * 100.0) as u64,
            Key::TotalMinAt => row.total.min_at,
            Key::TotalMaxAt => row.total.max_at,
            Key::OwnMinAt => row.own.min_at,
            Key::OwnMaxAt => row.own.max_at,
            Key::Name => 0,
        }
    }

    fn compare(self, a: &Row, b: &Row) -> Ordering {
        match self {
            Key::Name => a.name.cmp(&b.name),
            Key::TotalDeviation => b.total.deviation(b.calls).total_cmp(&a.total.deviation(a.calls)),
            Key::OwnDeviation => b.own.deviation(b.calls).total_cmp(&a.own.deviation(a.calls)),
            key => key.value(b).cmp(&key.value(a)),
        }
    }
}

/// What rows of tasks can be sorted by. All descend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKey {
    /// Time in functions.
    Total,
    /// The same without waiting.
    Own,
    /// Thread id, as text.
    Tid,
    /// Number of calls.
    Calls,
    /// Command name.
    Name,
}

impl TaskKey {
    /// The key of that name.
    pub fn parse(name: &str) -> Option<TaskKey> {
        Some(match name {
            "total" => TaskKey::Total,
            "self" => TaskKey::Own,
            "tid" => TaskKey::Tid,
            "func" => TaskKey::Calls,
            "name" => TaskKey::Name,
            _ => return None,
        })
    }
}

/// Parses a list of keys, separated by commas or semicolons, with `parse` for each.
///
/// # Errors
///
/// The first name that `parse` doesn't know.
pub fn parse_keys<K>(list: &str, parse: impl Fn(&str) -> Option<K>) -> Result<Vec<K>, UnknownKey> {
    let names = list.split([',', ';']).map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| parse(name).ok_or_else(|| UnknownKey(name.to_owned()))).collect()
}

/// Sorts rows by the keys; the first one that tells them apart decides, else the name.
pub fn sort_rows(rows: &mut [Row], keys: &[Key]) {
    rows.sort_by(|a, b| {
        let different = keys.iter().map(|key| key.compare(a, b)).find(|order| order.is_ne());
        different.unwrap_or_else(|| a.name.cmp(&b.name))
    });
}

/// Sorts rows of tasks by the keys; the first one that tells them apart decides, else the tid.
pub fn sort_tasks(rows: &mut [TaskRow], keys: &[TaskKey]) {
    let compare = |key: TaskKey, a: &TaskRow, b: &TaskRow| match key {
        TaskKey::Total => b.total.cmp(&a.total),
        TaskKey::Own => b.own.cmp(&a.own),
        TaskKey::Tid => b.tid.to_string().cmp(&a.tid.to_string()),
        TaskKey::Calls => b.calls.cmp(&a.calls),
        TaskKey::Name => b.comm.cmp(&a.comm),
    };
    rows.sort_by(|a, b| {
        let different = keys.iter().map(|key| compare(*key, a, b)).find(|order| order.is_ne());
        different.unwrap_or_else(|| a.tid.cmp(&b.tid))
    });
}
