//! The state of the program, and how it changes with what the user does and what comes from the background.
//!
//! Nothing here reads a trace or draws: what is needed is asked for with an [`Effect`], what comes is told with
//! [`App::news`].

pub(crate) mod help;
mod keys;
mod mouse;
pub(crate) mod prompt;

#[cfg(test)]
pub(crate) use keys::HELP;

use crate::timeline::find::Step;
use crate::view::graph::GraphView;
pub(crate) use crate::view::menu::Entry as MenuEntry;
use crate::view::menu::{Entry, Menu};
use crate::view::replay::Replay;
use crate::view::report::Report;
use crate::view::text::Text;
use crate::work::{Ask, News, Part};
use crate::{Start, Words};
use fathom_filter::{Match, Pattern};
use fathom_store::{FunctionId, Trace};
use prompt::Prompt;
use std::sync::Arc;

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Menu,
    Graph,
    Report,
    Replay,
    Info,
}

/// A window in front of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Popup {
    /// The keys; so many lines have been scrolled away.
    Help(usize),
    /// Which columns to show: their titles, and whether they are checked.
    Columns { titles: Vec<(&'static str, bool)>, at: usize },
}

/// What is to be done outside.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// A question about the replay.
    Ask(Ask),
    /// Searches other than that of the ticket are to be given up.
    OnlySearch(u64),
    /// Open an editor.
    Edit { file: String, line: u32 },
    /// Give the terminal back to the shell until it brings us back.
    Suspend,
    /// End the program.
    Quit,
}

/// What was searched for, in all views but the replay, which has its own.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    pub(crate) text: String,
    pub(crate) pattern: Pattern,
}

impl Search {
    pub(crate) fn new(text: &str) -> Search {
        // Unlike elsewhere, a part of a name is enough, with or without a wildcard.
        let pattern = Pattern::new(&format!("({text})"), Match::Regex).unwrap_or_else(|_| {
            let plain: String = text
                .chars()
                .map(|c| if c.is_alphanumeric() { c.to_string() } else { format!("[{c}]") })
                .collect();
            Pattern::lenient(&format!("({plain})"), Match::Regex)
        });
        Search { text: text.to_owned(), pattern }
    }

    pub(crate) fn fits(&self, name: &str) -> bool {
        self.pattern.matches(name, name)
    }
}

/// How far reading has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// For graph and report: bytes read, and in all.
    pub(crate) summary: (u64, u64),
    /// For the replay.
    pub(crate) timeline: (u64, u64),
    /// Events of the timeline that are known, and whether these are all.
    pub(crate) known: u64,
    pub(crate) complete: bool,
}

pub(crate) struct App<'t> {
    pub(crate) trace: &'t dyn Trace,
    pub(crate) words: Words,
    pub(crate) view: View,
    pub(crate) menu: Menu,
    pub(crate) graph: GraphView,
    pub(crate) report: Report,
    pub(crate) replay: Replay,
    pub(crate) info: Text,
    pub(crate) popup: Option<Popup>,
    pub(crate) prompt: Option<Prompt>,
    pub(crate) search: Option<Search>,
    /// Shown in the last line until the next key.
    pub(crate) message: Option<String>,
    /// Numbers for debugging are shown there.
    pub(crate) debug: bool,
    pub(crate) read: Read,
    /// The function at the cursor, and where it is if that is known.
    pub(crate) place: Option<(FunctionId, Option<(String, u32)>)>,
    /// Columns and lines of the terminal.
    pub(crate) size: (u16, u16),
    effects: Vec<Effect>,
}

impl<'t> App<'t> {
    /// What is shown before anything has been read.
    ///
    /// # Errors
    ///
    /// The first name of a column that there is not.
    pub(crate) fn new(trace: &'t dyn Trace, words: Words, start: &Start) -> Result<App<'t>, String> {
        let view = match (start, trace.sessions().len()) {
            (Start::Report, _) => View::Report,
            (Start::Replay, _) => View::Replay,
            (Start::Graph, 0 | 1) => View::Graph,
            (Start::Graph, _) => View::Menu,
        };
        let (mut graph, mut report, mut replay) =
            (GraphView::default(), Report::default(), Replay::default());
        if let Some(list) = &words.fields {
            match view {
                View::Report => crate::view::choose(&mut report.columns, list)?,
                View::Replay => crate::view::choose(&mut replay.columns, list)?,
                _ => crate::view::choose(&mut graph.columns, list)?,
            }
        }
        if !words.keys.is_empty() {
            report.keys.clone_from(&words.keys);
        }
        let mut app = App {
            trace,
            view,
            menu: Menu::new(trace.sessions()),
            graph,
            report,
            replay,
            info: Text::new(&words.info),
            words,
            popup: None,
            prompt: None,
            search: None,
            message: None,
            debug: false,
            read: Read::default(),
            place: None,
            size: (80, 24),
            effects: Vec::new(),
        };
        app.switch(view);
        Ok(app)
    }

    /// What is to be done now.
    pub(crate) fn effects(&mut self) -> Vec<Effect> {
        self.ask_place();
        let asks = self.replay.take_asks();
        self.effects.extend(asks.into_iter().map(Effect::Ask));
        std::mem::take(&mut self.effects)
    }

    /// Whether something has to be done outside before more is typed.
    pub(crate) fn has_outside_effects(&self) -> bool {
        let outside =
            |effect: &Effect| matches!(effect, Effect::Edit { .. } | Effect::Suspend | Effect::Quit);
        self.effects.iter().any(outside)
    }

    /// Lines that the view has for its list.
    pub(crate) fn height(&self) -> usize {
        let lines = usize::from(self.size.1).saturating_sub(2);
        let pane = if self.view == View::Replay { self.pane_height() } else { 0 };
        lines.saturating_sub(pane).max(1)
    }

    /// Lines of the backtrace below the replay.
    pub(crate) fn pane_height(&self) -> usize {
        match self.replay.backtrace {
            true => (usize::from(self.size.1) / 3).clamp(2, 14),
            false => 0,
        }
    }

    /// The terminal has another size.
    pub(crate) fn resize(&mut self, columns: u16, lines: u16) {
        self.size = (columns, lines);
        let height = self.height();
        self.graph.cursor.fit(self.graph.lines.len(), height);
        self.report.cursor.fit(self.report.rows.len(), height);
        self.menu.cursor.fit(self.menu.entries.len(), height);
        self.info.cursor.fit(self.info.lines.len(), height);
        self.replay.step(0, height);
    }

    pub(crate) fn switch(&mut self, view: View) {
        self.view = view;
        if view == View::Replay {
            let height = self.height();
            self.replay.open(height);
        }
    }

    /// How far reading has come.
    pub(crate) fn set_read(&mut self, read: Read) {
        if read.known != self.read.known || read.complete != self.read.complete {
            let height = self.height();
            self.replay.more_is_known(read.known, read.complete, height);
        }
        self.read = read;
    }

    /// Something has come from the background.
    pub(crate) fn news(&mut self, news: News) {
        let height = self.height();
        match news {
            News::Graphs(Part { of, whole }) => self.graph.set(of, whole, height),
            News::Report(Part { of, whole }) => self.report.set(of, whole, height),
            News::Window { ticket, window } => self.replay.set_window(ticket, window, height),
            News::Found { ticket, found } => {
                self.message = match self.replay.set_found(ticket, found.as_ref(), height) {
                    None => return,
                    Some(true) => None,
                    Some(false) if self.read.complete => Some("nothing found".to_owned()),
                    Some(false) => Some("nothing found in what has been read so far".to_owned()),
                };
            }
            News::Stack { id, lines } => {
                self.replay.stack = Some((id, lines));
                self.replay.ask_stack();
            }
            News::Place { function, place } => {
                if let Some((of, slot)) = &mut self.place
                    && *of == function
                {
                    *slot = place;
                }
            }
            News::Failed(text) => {
                self.replay.fail();
                self.message = Some(text);
            }
        }
    }

    /// The function at the cursor.
    pub(crate) fn selected(&self) -> Option<(Arc<str>, Option<FunctionId>)> {
        match self.view {
            View::Graph => self.graph.selected(),
            View::Report => self.report.row().map(|row| (row.name.clone(), row.function)),
            View::Replay => {
                let line = self.replay.line()?;
                let function = line.callee.function()?;
                Some((line.name.clone(), Some(function)))
            }
            View::Menu | View::Info => None,
        }
    }

    fn ask_place(&mut self) {
        let function = self.selected().and_then(|(_, function)| function);
        if let Some(function) = function
            && self.place.as_ref().is_none_or(|(of, _)| *of != function)
        {
            self.place = Some((function, None));
            self.effects.push(Effect::Ask(Ask::Place { function }));
        }
    }

    /// Where the function at the cursor is.
    pub(crate) fn place_at_cursor(&self) -> Option<(&str, u32)> {
        let (_, function) = self.selected()?;
        let (of, place) = self.place.as_ref()?;
        let (file, line) = place.as_ref().filter(|_| Some(*of) == function)?;
        Some((file, *line))
    }

    fn edit(&mut self) {
        match self.place_at_cursor() {
            Some((file, line)) => {
                let file = file.to_owned();
                self.effects.push(Effect::Edit { file, line });
            }
            None => self.message = Some("source location is not available".to_owned()),
        }
    }

    /// The graph of the function at the cursor.
    fn graph_of_selected(&mut self) {
        let Some((name, _)) = self.selected() else { return self.switch(View::Graph) };
        let height = self.height();
        if self.graph.show_function(&name, height) {
            self.switch(View::Graph);
        } else {
            self.message = Some(format!("no graph of '{name}' in what has been read"));
        }
    }

    /// The report, at the function at the cursor.
    fn report_of_selected(&mut self) {
        let selected = self.selected();
        self.switch(View::Report);
        if let Some((name, _)) = selected {
            let height = self.height();
            if !self.report.go_to(Some(&name), height) {
                self.message = Some(format!("no statistics of '{name}' in what has been read"));
            }
        }
    }

    /// The replay, at a call of the function at the cursor: the first from that place of the graph, the longest of the
    /// report.
    fn replay_of_selected(&mut self) {
        let time = match self.view {
            View::Graph => self.graph.node().map(|node| (node.first, node.name.clone())),
            View::Report => self.report.row().map(|row| (row.total.max_at, row.name.clone())),
            _ => None,
        };
        let callers =
            self.graph.callers().is_some_and(|_| self.view == View::Graph && self.graph.is_caller());
        self.switch(View::Replay);
        match time {
            Some((time, name)) if time != u64::MAX && !callers => self.replay.go_to_time(time, Some(name)),
            _ => {}
        }
        self.only_search();
    }

    fn only_search(&mut self) {
        self.effects.push(Effect::OnlySearch(self.replay.sought));
    }

    /// Goes on with the search, in the view that is shown.
    fn search_on(&mut self, forward: bool) {
        let height = self.height();
        if self.view == View::Replay {
            if self.replay.search(forward) {
                self.only_search();
                self.message = Some("searching… (Esc gives up)".to_owned());
            } else {
                self.message =
                    Some("search first, with / (function), a (argument) or d (duration)".to_owned());
            }
            return;
        }
        let Some(search) = self.search.clone() else {
            self.message = Some("search first, with /".to_owned());
            return;
        };
        let fits = |name: &str| search.fits(name);
        let find = |names: &mut dyn Iterator<Item = &str>, at: usize| {
            let fitting: Vec<usize> =
                names.enumerate().filter(|(_, name)| fits(name)).map(|(at, _)| at).collect();
            let next = if forward {
                fitting.iter().find(|place| **place > at).copied()
            } else {
                fitting.iter().rev().find(|place| **place < at).copied()
            };
            (next, fitting.len())
        };
        let count = match self.view {
            View::Graph => {
                self.graph.find(fits, forward, height);
                self.graph.count(fits)
            }
            View::Report => {
                let at = self.report.cursor.at;
                let (next, count) = find(&mut self.report.rows.iter().map(|row| &*row.name), at);
                self.report.cursor.go(next.unwrap_or(at), self.report.rows.len(), height);
                count
            }
            View::Menu => {
                let at = self.menu.cursor.at;
                let (next, count) = find(&mut self.menu.entries.iter().map(|(_, text)| text.as_str()), at);
                self.menu.cursor.go(next.unwrap_or(at), self.menu.entries.len(), height);
                count
            }
            View::Info | View::Replay => {
                let at = self.info.cursor.at;
                let (next, count) = find(&mut self.info.lines.iter().map(String::as_str), at);
                self.info.cursor.go(next.unwrap_or(at), self.info.lines.len(), height);
                count
            }
        };
        let matches = if count == 1 { "match" } else { "matches" };
        let text = &search.text;
        self.message =
            Some(format!("searching \"{text}\"  ({count} {matches}, use '<' and '>' keys to navigate)"));
    }

    /// Begins the search for a text at the cursor: what the cursor is at counts as found.
    fn search_for(&mut self, text: &str) {
        let search = Search::new(text);
        let here = match self.view {
            View::Graph => self.graph.node().is_some_and(|node| search.fits(&node.name)),
            View::Report => self.report.row().is_some_and(|row| search.fits(&row.name)),
            _ => false,
        };
        self.search = Some(search);
        if here {
            // The nearest before the next one is this one.
            let (graph, report) = (self.graph.cursor, self.report.cursor);
            self.search_on(true);
            (self.graph.cursor, self.report.cursor) = (graph, report);
        } else {
            self.search_on(true);
        }
    }

    fn step(&mut self, step: Step) {
        self.replay.take_step(step);
        self.only_search();
    }

    fn choose_entry(&mut self) {
        let height = self.height();
        match self.menu.entry() {
            Entry::Graph(session) => {
                self.graph.show_session(session, height);
                self.switch(View::Graph);
            }
            Entry::Replay => self.switch(View::Replay),
            Entry::Report => self.switch(View::Report),
            Entry::Info => self.switch(View::Info),
            Entry::Help => self.popup = Some(Popup::Help(0)),
            Entry::Quit => self.effects.push(Effect::Quit),
        }
    }
}
