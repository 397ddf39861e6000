//! The views: what they have, what the cursor is at, what is folded and sorted. They know nothing of terminals.

pub(crate) mod graph;
pub(crate) mod list;
pub(crate) mod menu;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod text;

/// A column that can be shown or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column<K> {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// The text above it.
    pub(crate) title: &'static str,
    /// Columns of the terminal.
    pub(crate) width: usize,
    pub(crate) kind: K,
    pub(crate) shown: bool,
}

/// Shows the columns that a list names, and no others; with a `+` in front those as well. `none` hides all.
///
/// # Errors
///
/// The first name that no column has.
pub(crate) fn choose<K>(columns: &mut [Column<K>], list: &str) -> Result<(), String> {
    let (list, more) = match list.strip_prefix('+') {
        Some(list) => (list, true),
        None => (list, false),
    };
    if !more {
        columns.iter_mut().for_each(|column| column.shown = list == "all");
    }
    if matches!(list, "none" | "all") {
        return Ok(());
    }
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let same =
            |column: &&mut Column<K>| column.name == name || column.name.strip_suffix("-time") == Some(name);
        match columns.iter_mut().find(same) {
            Some(column) => column.shown = true,
            None => return Err(name.to_owned()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_columns() {
        let column = |name, shown| Column { name, title: name, width: 3, kind: 0, shown };
        let mut columns = [column("total-time", true), column("self", false), column("addr", false)];
        let mut chosen = |list: &str| {
            let result = choose(&mut columns, list);
            (result, columns.iter().map(|column| column.shown).collect::<Vec<_>>())
        };
        assert_eq!(chosen("+self"), (Ok(()), vec![true, true, false]));
        assert_eq!(chosen("total, addr"), (Ok(()), vec![true, false, true]));
        assert_eq!(chosen("none"), (Ok(()), vec![false; 3]));
        assert_eq!(chosen("all"), (Ok(()), vec![true; 3]));
        assert_eq!(chosen("self,x").0, Err("x".to_owned()));
    }
}
