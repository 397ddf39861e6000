//! Differences between the statistics of two traces.

use crate::statistics::{Key, Row};
use rustc_hash::FxHashMap;
use std::cmp::Ordering;
use std::sync::Arc;

/// A function in two traces.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The name, which is what makes them the same function.
    pub name: Arc<str>,
    /// In the base.
    pub base: Option<Row>,
    /// In the other trace.
    pub new: Option<Row>,
}

impl Pair {
    /// The values of the key in both, 0 where the function is missing.
    pub fn values(&self, key: Key) -> (u64, u64) {
        let value = |row: &Option<Row>| row.as_ref().map_or(0, |row| key.value(row));
        (value(&self.base), value(&self.new))
    }
}

/// How much the second value is larger than the first.
pub fn difference((base, new): (u64, u64)) -> i64 {
    new.wrapping_sub(base).cast_signed()
}

/// The difference in percent of the base; none when there is nothing to compare with.
pub fn percentage((base, new): (u64, u64)) -> Option<f64> {
    (base != 0).then(|| 100.0 * difference((base, new)) as f64 / base as f64)
}

/// What pairs are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The base's value.
    Base,
    /// The other's value.
    New,
    /// The difference, with its sign or without, in ns or percent.
    Difference {
        /// Without the sign.
        absolute: bool,
        /// In percent.
        percent: bool,
    },
}

/// Joins two lists of rows by name.
pub fn pairs(base: Vec<Row>, new: Vec<Row>) -> Vec<Pair> {
    let mut others: FxHashMap<Arc<str>, Row> = new.into_iter().map(|row| (row.name.clone(), row)).collect();
    let mut pairs: Vec<Pair> = base
        .into_iter()
        .map(|row| Pair { name: row.name.clone(), new: others.remove(&row.name), base: Some(row) })
        .collect();
    pairs.extend(others.into_values().map(|row| Pair { name: row.name.clone(), base: None, new: Some(row) }));
    pairs
}

/// Sorts pairs by the keys in descending order; the first one that tells them apart decides, else the name.
pub fn sort_pairs(pairs: &mut [Pair], keys: &[Key], column: Column) {
    let compare = |key: Key, a: &Pair, b: &Pair| -> Ordering {
        if key == Key::Name {
            return a.name.cmp(&b.name);
        }
        let (a, b) = (a.values(key), b.values(key));
        match column {
            Column::Base => b.0.cmp(&a.0),
            Column::New => b.1.cmp(&a.1),
            Column::Difference { absolute, percent: true } => {
                let value = |pair| percentage(pair).map_or(0.0, |p| if absolute { p.abs() } else { p });
                value(b).total_cmp(&value(a))
            }
            Column::Difference { absolute: true, .. } => {
                difference(b).unsigned_abs().cmp(&difference(a).unsigned_abs())
            }
            Column::Difference { .. } => difference(b).cmp(&difference(a)),
        }
    };
    pairs.sort_by(|a, b| {
        let different = keys.iter().map(|key| compare(*key, a, b)).find(|order| order.is_ne());
        different.unwrap_or_else(|| a.name.cmp(&b.name))
    });
}
