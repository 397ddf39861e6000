//! What the mouse does.

use super::{App, Popup, View};
use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};

/// Lines that one notch of the wheel scrolls.
const NOTCH: isize = 3;

impl App<'_> {
    /// The mouse was used.
    pub(crate) fn mouse(&mut self, event: MouseEvent) {
        match event.kind {
            MouseEventKind::ScrollUp => self.wheel(-NOTCH),
            MouseEventKind::ScrollDown => self.wheel(NOTCH),
            MouseEventKind::Down(MouseButton::Left) => self.click(event.column, event.row),
            _ => {}
        }
    }

    fn wheel(&mut self, by: isize) {
        if let Some(Popup::Help(_)) = &self.popup {
            return self.scroll_help(by.signum());
        }
        let height = self.height();
        let scroll = |cursor: &mut crate::view::list::Cursor, rows: usize| {
            cursor.top = cursor.top.saturating_add_signed(by).min(rows.saturating_sub(height));
            cursor.at = cursor.at.clamp(cursor.top, cursor.top + height - 1);
            cursor.fit(rows, height);
        };
        match self.view {
            View::Menu => scroll(&mut self.menu.cursor, self.menu.entries.len()),
            View::Report => scroll(&mut self.report.cursor, self.report.rows.len()),
            View::Info => scroll(&mut self.info.cursor, self.info.lines.len()),
            View::Graph => {
                scroll(&mut self.graph.cursor, self.graph.lines.len());
                let at = self.graph.cursor.at;
                self.graph.go(at, by > 0, height);
            }
            View::Replay => self.replay.scroll(by, height),
        }
    }

    fn click(&mut self, column: u16, row: u16) {
        self.message = None;
        if self.popup.take().is_some() {
            return;
        }
        let height = self.height();
        let Some(line) = usize::from(row).checked_sub(1) else {
            return self.click_title(usize::from(column));
        };
        if line >= height {
            return;
        }
        // A click on the line where the cursor is already does what Enter does.
        let before = self.at();
        match self.view {
            View::Menu => {
                let at = self.menu.cursor.top + line;
                self.menu.cursor.go(at, self.menu.entries.len(), height);
            }
            View::Report => {
                let at = self.report.cursor.top + line;
                self.report.cursor.go(at, self.report.rows.len(), height);
            }
            View::Info => {
                let at = self.info.cursor.top + line;
                self.info.cursor.go(at, self.info.lines.len(), height);
            }
            View::Graph => {
                let at = self.graph.cursor.top + line;
                if at < self.graph.lines.len() {
                    self.graph.go(at, true, height);
                }
            }
            View::Replay => {
                let at = self.replay.top + line;
                if at < self.replay.window.lines.len() {
                    self.replay.go(at, height);
                }
            }
        }
        if self.at() == before || self.view == View::Menu {
            self.enter();
        }
    }

    /// Which line of the screen the cursor is at.
    fn at(&self) -> usize {
        let cursor = match self.view {
            View::Menu => self.menu.cursor,
            View::Report => self.report.cursor,
            View::Info => self.info.cursor,
            View::Graph => self.graph.cursor,
            View::Replay => crate::view::list::Cursor { at: self.replay.cursor, top: self.replay.top },
        };
        cursor.at - cursor.top.min(cursor.at)
    }

    /// A click on a title of the report sorts by that column.
    fn click_title(&mut self, column: usize) {
        if self.view != View::Report {
            return;
        }
        let mut end = 0;
        let hit = self.report.shown().find(|shown| {
            end += 2 + shown.width;
            column < end
        });
        if let Some(key) = hit.map(|shown| shown.kind) {
            let height = self.height();
            self.report.sort_by(key, height);
        }
    }
}
