//! Lines of text to scroll through.

use super::list::Cursor;

#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    pub(crate) lines: Vec<String>,
    pub(crate) cursor: Cursor,
}

impl Text {
    pub(crate) fn new(text: &str) -> Text {
        Text { lines: text.lines().map(str::to_owned).collect(), cursor: Cursor::default() }
    }
}
