//! Columns: which of a view's fields are shown, and the line above them.

use crate::error::Error;
use crate::layout::LAYOUT;

/// A column that a view can show.
#[derive(Debug)]
pub(crate) struct Field<K: 'static> {
    /// What it is called in `-f`.
    pub(crate) name: &'static str,
    /// Another name for it, or an empty one.
    pub(crate) alias: &'static str,
    /// The text above it; as wide as the column.
    pub(crate) header: &'static str,
    /// Whether it was made after 0.13.
    pub(crate) newer: bool,
    /// What it shows.
    pub(crate) kind: K,
}

/// The fields of `table` that `list` asks for, in the order of the table; `default` tells those that are shown
/// without a list, and with one that begins with `+`.
pub(crate) fn select<K: Copy>(
    table: &'static [Field<K>],
    list: Option<&str>,
    default: impl Fn(K) -> bool,
) -> Result<Vec<&'static Field<K>>, Error> {
    let (list, keep) = match list {
        None => ("", true),
        Some("none") => return Ok(Vec::new()),
        Some("all") => return Ok(table.iter().filter(|f| !f.newer || LAYOUT.all_has_newer_fields).collect()),
        Some(list) => match list.strip_prefix('+') {
            Some(more) => (more, true),
            None => (list, false),
        },
    };
    let mut wanted: Vec<bool> = table.iter().map(|f| keep && default(f.kind)).collect();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let place = table.iter().position(|f| f.name == name || (f.alias == name));
        let Some(place) = place else {
            let possible = table.iter().map(|f| f.name).collect::<Vec<_>>().join(" ");
            return Err(Error::UnknownField { name: name.to_owned(), possible });
        };
        wanted[place] = true;
    }
    Ok(table.iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(field, _)| field).collect())
}

/// The line above the columns: a `#`, then the headers with `gap` blanks before each (the first gap holds the `#`),
/// then `title`. Nothing without columns.
pub(crate) fn header<K>(out: &mut Vec<u8>, fields: &[&Field<K>], gap: usize, title: &str) {
    if fields.is_empty() {
        return;
    }
    let at = out.len();
    for field in fields {
        crate::units::blanks(out, gap);
        out.extend_from_slice(field.header.as_bytes());
    }
    out[at] = b'#';
    out.extend_from_slice(b"   ");
    out.extend_from_slice(title.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: [Field<u8>; 3] = [
        Field { name: "one", alias: "first", header: " ONE ", newer: false, kind: 1 },
        Field { name: "two", alias: "", header: "TWO", newer: false, kind: 2 },
        Field { name: "six", alias: "", header: "SIX", newer: true, kind: 6 },
    ];

    fn chosen(list: Option<&str>) -> Vec<u8> {
        select(&TABLE, list, |k| k == 1).unwrap().iter().map(|f| f.kind).collect()
    }

    #[test]
    fn lists() {
        assert_eq!(chosen(None), [1]);
        assert_eq!(chosen(Some("none")), [0; 0]);
        assert_eq!(chosen(Some("all")), [1, 2]);
        assert_eq!(chosen(Some("+two")), [1, 2]);
        assert_eq!(chosen(Some("six,first")), [1, 6]);
        let error = select(&TABLE, Some("one,x"), |_| true).unwrap_err();
        assert_eq!(error.to_string(), "Unknown field name 'x'\n  Possible fields are: one two six");
    }

    #[test]
    fn headers() {
        let mut out = Vec::new();
        header(&mut out, &select(&TABLE, Some("one,two"), |_| false).unwrap(), 2, "NAME");
        assert_eq!(out, b"#  ONE   TWO   NAME\n");
        out.clear();
        header::<u8>(&mut out, &[], 2, "NAME");
        assert!(out.is_empty());
    }
}
