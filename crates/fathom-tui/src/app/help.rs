//! The window with the keys: its lines, and how far they can be scrolled.

use super::keys::HELP;

/// Columns of the window, with its border.
pub(crate) const COLUMNS: u16 = 64;
/// Columns of the names of keys.
const KEYS: usize = 14;
/// From so many columns on, what keys do stands beside them.
const BESIDE: usize = 32;

/// What is inside of the window on a screen of that many columns.
pub(crate) fn lines(columns: u16) -> Vec<String> {
    let width = usize::from(columns.min(COLUMNS)).saturating_sub(2);
    let mut lines = Vec::new();
    for (keys, text) in HELP {
        let (first, indent) = match width >= BESIDE {
            true => (format!(" {keys:<12} "), KEYS),
            false => {
                lines.push(format!(" {keys}"));
                ("   ".to_owned(), 3)
            }
        };
        let mut line = first;
        let mut is_empty = true;
        for word in text.split(' ') {
            if !is_empty && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
                is_empty = true;
            }
            if !std::mem::replace(&mut is_empty, false) {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// Lines inside of the window.
pub(crate) fn height(screen: (u16, u16), lines: usize) -> usize {
    lines.min(usize::from(screen.1).saturating_sub(2))
}

/// How many lines can be scrolled away.
pub(crate) fn last_top(screen: (u16, u16)) -> usize {
    let lines = lines(screen.0).len();
    lines - height(screen, lines)
}
