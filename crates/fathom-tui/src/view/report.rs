//! The report: statistics of functions.

use super::Column;
use super::list::Cursor;
use fathom_analysis::statistics::{Key, Row, sort_rows};
use std::sync::Arc;

const fn time(name: &'static str, title: &'static str, kind: Key, shown: bool) -> Column<Key> {
    Column { name, title, width: 10, kind, shown }
}

/// All columns in their order.
const COLUMNS: [Column<Key>; 10] = [
    time("total", "TOTAL TIME", Key::Total, true),
    time("total-avg", "TOTAL AVG", Key::TotalAverage, false),
    time("total-min", "TOTAL MIN", Key::TotalMin, false),
    time("total-max", "TOTAL MAX", Key::TotalMax, false),
    time("self", "SELF TIME", Key::Own, true),
    time("self-avg", "SELF AVG", Key::OwnAverage, false),
    time("self-min", "SELF MIN", Key::OwnMin, false),
    time("self-max", "SELF MAX", Key::OwnMax, false),
    time("call", "CALL", Key::Calls, true),
    time("size", "SIZE", Key::Size, false),
];

/// The table.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    /// Whether it is of the whole trace.
    pub(crate) whole: bool,
    pub(crate) columns: Vec<Column<Key>>,
    /// What it is sorted by.
    pub(crate) keys: Vec<Key>,
    pub(crate) cursor: Cursor,
}

impl Default for Report {
    fn default() -> Self {
        Report {
            rows: Vec::new(),
            whole: false,
            columns: COLUMNS.to_vec(),
            keys: vec![Key::Total],
            cursor: Cursor::default(),
        }
    }
}

impl Report {
    /// The columns that are shown.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Column<Key>> {
        self.columns.iter().filter(|column| column.shown)
    }

    /// Replaces the rows. The cursor stays at its function.
    pub(crate) fn set(&mut self, rows: Vec<Row>, whole: bool, height: usize) {
        let name = self.name();
        (self.rows, self.whole) = (rows, whole);
        sort_rows(&mut self.rows, &self.keys);
        self.go_to(name.as_deref(), height);
    }

    /// The function that the cursor is at.
    pub(crate) fn row(&self) -> Option<&Row> {
        self.rows.get(self.cursor.at)
    }

    fn name(&self) -> Option<Arc<str>> {
        self.row().map(|row| row.name.clone())
    }

    /// Goes to a function; to the first row if it has none. Whether it was found.
    pub(crate) fn go_to(&mut self, name: Option<&str>, height: usize) -> bool {
        let at = name.and_then(|name| self.rows.iter().position(|row| *row.name == *name));
        self.cursor.go(at.unwrap_or(0), self.rows.len(), height);
        at.is_some()
    }

    /// Sorts by a column.
    pub(crate) fn sort_by(&mut self, key: Key, height: usize) {
        self.keys = vec![key];
        sort_rows(&mut self.rows, &self.keys);
        self.cursor.go(self.cursor.at, self.rows.len(), height);
    }

    /// Sorts by the column behind the one that it is sorted by.
    pub(crate) fn sort_by_next(&mut self, height: usize) {
        let shown: Vec<Key> = self.shown().map(|column| column.kind).collect();
        let at = shown.iter().position(|key| self.keys.first() == Some(key));
        let next = at.map_or(0, |at| at + 1);
        if let Some(key) = shown.get(next).or(shown.first()) {
            self.sort_by(*key, height);
        }
    }
}
