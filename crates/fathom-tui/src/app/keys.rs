//! What each key does.

use super::prompt::{Kind, Prompt, duration, moment};
use super::{App, Effect, Popup, View, help};
use crate::timeline::find::{Query, Step};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// The keys as the help shows them.
pub(crate) const HELP: &[(&str, &str)] = &[
    ("Up/Down k/j", "Move up/down"),
    ("PgUp/PgDn", "Move a screen up/down"),
    ("Home/End", "Go to the first/last line"),
    ("Left/Right", "Scroll long lines (in replay)"),
    ("Enter", "Fold/unfold, or select a session"),
    ("G", "Show (full) call graph"),
    ("g", "Show call graph for this function"),
    ("R", "Show report"),
    ("r", "Show report for this function"),
    ("T", "Show replay, calls in the order of time"),
    ("t", "Show this call in the replay"),
    ("I", "Show info"),
    ("S", "Change session"),
    ("s", "Sort by the next column in report"),
    ("O", "Open editor"),
    ("c/e", "Collapse/Expand what is called from here"),
    ("C/E", "Collapse/Expand all below"),
    ("1 ... 9", "Show so many levels"),
    ("0", "Show all levels"),
    ("n/p", "Next/Previous call from the same caller"),
    ("u", "Move up to the caller"),
    ("l", "Move to the longest of its calls"),
    ("z", "Set current line to the center of screen"),
    ("/", "Search functions"),
    ("a", "Search arguments (in replay)"),
    ("d", "Next call longer than (in replay)"),
    ("</>/N/P", "Search next/prev"),
    ("@", "Go to a moment (in replay)"),
    ("b", "Show backtrace (in replay)"),
    ("f", "Customize fields"),
    ("v", "Show debug message"),
    ("Esc", "Give up a search, close a window"),
    ("h/?", "Show this help"),
    ("Ctrl-Z", "Suspend"),
    ("q", "Quit"),
];

impl App<'_> {
    /// A key was pressed.
    pub(crate) fn key(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        self.message = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return self.control_key(key.code);
        }
        if self.prompt.is_some() {
            self.prompt_key(key.code);
        } else if self.popup.is_some() {
            self.popup_key(key.code);
        } else {
            self.view_key(key.code);
        }
    }

    fn control_key(&mut self, code: KeyCode) {
        match (code, &mut self.prompt) {
            (KeyCode::Char('c'), Some(_)) => self.prompt = None,
            (KeyCode::Char('c'), None) => self.effects.push(Effect::Quit),
            (KeyCode::Char('z'), _) => self.effects.push(Effect::Suspend),
            (KeyCode::Char('u'), Some(prompt)) => prompt.text.clear(),
            (KeyCode::Char('h'), Some(prompt)) => {
                prompt.text.pop();
            }
            (KeyCode::Char('f'), None) => self.view_key(KeyCode::PageDown),
            (KeyCode::Char('b'), None) => self.view_key(KeyCode::PageUp),
            _ => {}
        }
    }

    fn prompt_key(&mut self, code: KeyCode) {
        let Some(prompt) = &mut self.prompt else { return };
        match code {
            KeyCode::Char(c) => prompt.text.push(c),
            KeyCode::Backspace if prompt.text.is_empty() => self.prompt = None,
            KeyCode::Backspace => {
                prompt.text.pop();
            }
            KeyCode::Esc => self.prompt = None,
            KeyCode::Enter => {
                if let Some(Prompt { kind, text }) =
                    self.prompt.take().filter(|prompt| !prompt.text.is_empty())
                {
                    self.entered(kind, &text);
                }
            }
            _ => {}
        }
    }

    /// A line has been typed.
    fn entered(&mut self, kind: Kind, text: &str) {
        let query = match kind {
            Kind::Name if self.view != View::Replay => return self.search_for(text),
            Kind::Name => {
                let search = super::Search::new(text);
                let pattern = search.pattern.clone();
                self.search = Some(search);
                Query::Name(pattern)
            }
            Kind::Value => Query::Value(text.to_owned()),
            Kind::Longer => match duration(text) {
                Some(time) => Query::Longer(time),
                None => {
                    self.message = Some(format!("'{text}' is no duration such as 8us"));
                    return;
                }
            },
            Kind::Time => {
                match moment(text, self.replay.begin) {
                    Some(time) => self.replay.go_to_time(time, None),
                    None => self.message = Some(format!("'{text}' is no time such as 2s or 1207.883")),
                }
                return self.only_search();
            }
        };
        self.replay.query = Some(query);
        self.search_on(true);
    }

    /// Scrolls the help.
    pub(super) fn scroll_help(&mut self, by: isize) {
        let last = help::last_top(self.size);
        if let Some(Popup::Help(top)) = &mut self.popup {
            *top = (*top).min(last).saturating_add_signed(by).min(last);
        }
    }

    fn popup_key(&mut self, code: KeyCode) {
        let page = help::height(self.size, usize::MAX).max(1) as isize;
        match &mut self.popup {
            Some(Popup::Help(_)) => match code {
                KeyCode::Down | KeyCode::Char('j') => self.scroll_help(1),
                KeyCode::Up | KeyCode::Char('k') => self.scroll_help(-1),
                KeyCode::PageDown => self.scroll_help(page),
                KeyCode::PageUp => self.scroll_help(-page),
                _ => self.popup = None,
            },
            Some(Popup::Columns { titles, at }) => match code {
                KeyCode::Down | KeyCode::Char('j') => *at = (*at + 1).min(titles.len().saturating_sub(1)),
                KeyCode::Up | KeyCode::Char('k') => *at = at.saturating_sub(1),
                KeyCode::Char(' ') => {
                    if let Some((_, checked)) = titles.get_mut(*at) {
                        *checked = !*checked;
                    }
                }
                KeyCode::Enter => self.apply_columns(),
                KeyCode::Char('f' | 'q') | KeyCode::Esc => self.popup = None,
                _ => {}
            },
            None => {}
        }
    }

    fn apply_columns(&mut self) {
        let Some(Popup::Columns { titles, .. }) = self.popup.take() else { return };
        let checked = titles.into_iter().map(|(_, checked)| checked);
        match self.view {
            View::Graph => self.graph.columns.iter_mut().zip(checked).for_each(|(c, on)| c.shown = on),
            View::Report => self.report.columns.iter_mut().zip(checked).for_each(|(c, on)| c.shown = on),
            View::Replay => self.replay.columns.iter_mut().zip(checked).for_each(|(c, on)| c.shown = on),
            View::Menu | View::Info => {}
        }
    }

    fn columns_popup(&mut self) {
        let titles: Vec<(&'static str, bool)> = match self.view {
            View::Graph => self.graph.columns.iter().map(|c| (c.title, c.shown)).collect(),
            View::Report => self.report.columns.iter().map(|c| (c.title, c.shown)).collect(),
            View::Replay => self.replay.columns.iter().map(|c| (c.title, c.shown)).collect(),
            View::Menu | View::Info => return,
        };
        self.popup = Some(Popup::Columns { titles, at: 0 });
    }

    fn view_key(&mut self, code: KeyCode) {
        let height = self.height();
        let page = height as isize;
        match code {
            KeyCode::Up | KeyCode::Char('k') => self.move_by(-1),
            KeyCode::Down | KeyCode::Char('j') => self.move_by(1),
            KeyCode::PageUp => self.move_by(-page),
            KeyCode::PageDown => self.move_by(page),
            KeyCode::Home => self.move_to_end(false),
            KeyCode::End => self.move_to_end(true),
            KeyCode::Left => self.replay.shift = self.replay.shift.saturating_sub(8),
            KeyCode::Right => self.replay.shift += 8,
            KeyCode::Esc => self.replay.give_up(),
            KeyCode::Enter => self.enter(),
            KeyCode::Char(c) => self.char_key(c),
            _ => {}
        }
        if code == KeyCode::Esc {
            self.only_search();
        }
    }

    fn char_key(&mut self, c: char) {
        let height = self.height();
        match c {
            'q' => self.effects.push(Effect::Quit),
            'h' | '?' => self.popup = Some(Popup::Help(0)),
            'G' => {
                let session = self.graph.session;
                self.graph.show_session(session, height);
                self.switch(View::Graph);
            }
            'g' => self.graph_of_selected(),
            'R' => self.switch(View::Report),
            'r' => self.report_of_selected(),
            'T' => self.switch(View::Replay),
            't' => self.replay_of_selected(),
            'I' => self.switch(View::Info),
            'S' => self.switch(View::Menu),
            'O' => self.edit(),
            's' if self.view == View::Report => self.report.sort_by_next(height),
            'f' => self.columns_popup(),
            'v' => self.debug = !self.debug,
            'z' => self.center(),
            '/' => self.prompt = Some(Prompt::new(Kind::Name)),
            '>' | 'N' => self.search_on(true),
            '<' | 'P' => self.search_on(false),
            _ => match self.view {
                View::Graph => self.graph_key(c),
                View::Replay => self.replay_key(c),
                _ => {}
            },
        }
    }

    fn graph_key(&mut self, c: char) {
        let height = self.height();
        let graph = &mut self.graph;
        match c {
            'c' | 'e' => graph.fold_below(c == 'c', false, height),
            'C' | 'E' => graph.fold_below(c == 'C', true, height),
            'n' | 'p' => graph.sibling(c == 'n', height),
            'u' => graph.parent(height),
            'l' => graph.longest(height),
            '0' => graph.fold_levels(None, height),
            '1'..='9' => graph.fold_levels(c.to_digit(10).map(|digit| digit as usize - 1), height),
            _ => {}
        }
    }

    fn replay_key(&mut self, c: char) {
        let height = self.height();
        match c {
            'c' | 'e' => self.replay.fold_below(c == 'c', false, height),
            'C' | 'E' => self.replay.fold_below(c == 'C', true, height),
            'n' => self.step(Step::Next),
            'p' => self.step(Step::Previous),
            'u' => self.step(Step::Parent),
            'l' => self.step(Step::Longest),
            '0' => self.replay.fold_levels(None, height),
            '1'..='9' => self.replay.fold_levels(c.to_digit(10), height),
            'a' => self.prompt = Some(Prompt::new(Kind::Value)),
            'd' => self.prompt = Some(Prompt::new(Kind::Longer)),
            '@' => self.prompt = Some(Prompt::new(Kind::Time)),
            'b' => {
                self.replay.backtrace = !self.replay.backtrace;
                self.replay.ask_stack();
                let (columns, lines) = self.size;
                self.resize(columns, lines);
            }
            _ => {}
        }
    }

    /// Enter, or a click on the line of the cursor.
    pub(crate) fn enter(&mut self) {
        let height = self.height();
        match self.view {
            View::Menu => self.choose_entry(),
            View::Graph => self.graph.toggle(height),
            View::Replay => self.replay.toggle(height),
            View::Report | View::Info => {}
        }
    }

    fn move_by(&mut self, by: isize) {
        let height = self.height();
        let down = by > 0;
        match self.view {
            View::Menu => {
                let at = self.menu.cursor.at.saturating_add_signed(by);
                self.menu.cursor.go(at, self.menu.entries.len(), height);
            }
            View::Graph if by.unsigned_abs() == 1 => self.graph.step(down, height),
            View::Graph => {
                let at = self.graph.cursor.at.saturating_add_signed(by);
                self.graph.go(at, down, height);
            }
            View::Report => {
                let at = self.report.cursor.at.saturating_add_signed(by);
                self.report.cursor.go(at, self.report.rows.len(), height);
            }
            View::Info => {
                let at = self.info.cursor.at.saturating_add_signed(by);
                self.info.cursor.go(at, self.info.lines.len(), height);
            }
            View::Replay => self.replay.step(by, height),
        }
    }

    fn move_to_end(&mut self, last: bool) {
        let height = self.height();
        let at = if last { usize::MAX } else { 0 };
        match self.view {
            View::Menu => self.menu.cursor.go(at, self.menu.entries.len(), height),
            View::Graph => self.graph.go(at, !last, height),
            View::Report => self.report.cursor.go(at, self.report.rows.len(), height),
            View::Info => self.info.cursor.go(at, self.info.lines.len(), height),
            View::Replay if last => {
                self.replay.last(height);
                if !self.read.complete {
                    self.message = Some("this is the end of what has been read so far".to_owned());
                }
            }
            View::Replay => self.replay.first(height),
        }
    }

    fn center(&mut self) {
        let height = self.height();
        match self.view {
            View::Menu => self.menu.cursor.center(self.menu.entries.len(), height),
            View::Graph => self.graph.cursor.center(self.graph.lines.len(), height),
            View::Report => self.report.cursor.center(self.report.rows.len(), height),
            View::Info => self.info.cursor.center(self.info.lines.len(), height),
            View::Replay => self.replay.center(height),
        }
    }
}
