//! A cursor in a list of which a part is visible.

/// Which row the cursor is at, and which is at the top of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) at: usize,
    pub(crate) top: usize,
}

impl Cursor {
    /// Goes to a row of so many, and makes it visible on a screen of that height.
    pub(crate) fn go(&mut self, at: usize, rows: usize, height: usize) {
        self.at = at.min(rows.saturating_sub(1));
        self.fit(rows, height);
    }

    /// Makes the cursor visible, with no more empty space at the end than must be.
    pub(crate) fn fit(&mut self, rows: usize, height: usize) {
        let height = height.max(1);
        self.at = self.at.min(rows.saturating_sub(1));
        self.top = self.top.min(self.at).max((self.at + 1).saturating_sub(height));
        self.top = self.top.min(rows.saturating_sub(height));
    }

    /// Puts the row of the cursor in the middle.
    pub(crate) fn center(&mut self, rows: usize, height: usize) {
        self.top = self.at.saturating_sub(height / 2);
        self.fit(rows, height);
    }

    /// How far down the list the cursor is, in percent.
    pub(crate) fn percent(&self, rows: usize) -> usize {
        match rows.checked_sub(1) {
            None | Some(0) => 100,
            Some(last) => self.at * 100 / last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_stays_on_the_screen() {
        let mut cursor = Cursor::default();
        cursor.go(25, 100, 10);
        assert_eq!(cursor, Cursor { at: 25, top: 16 });
        cursor.go(20, 100, 10);
        assert_eq!(cursor, Cursor { at: 20, top: 16 });
        cursor.center(100, 10);
        assert_eq!(cursor.top, 15);
        cursor.go(1000, 100, 10);
        assert_eq!(cursor, Cursor { at: 99, top: 90 });
        assert_eq!(cursor.percent(100), 100);
        cursor.go(5, 3, 10);
        assert_eq!(cursor, Cursor { at: 2, top: 0 });
        cursor.go(0, 0, 0);
        assert_eq!(cursor, Cursor::default());
        assert_eq!(Cursor { at: 18, top: 0 }.percent(39), 47);
    }
}
