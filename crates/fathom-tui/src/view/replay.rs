//! The replay: a foldable tree of calls in the order of time.
//!
//! Of all its lines, those around the cursor are here; more are asked for before they are needed.

use super::Column;
use crate::timeline::Id;
use crate::timeline::find::{Found, Query, Step};
use crate::timeline::folds::{Folds, NEVER, Target};
use crate::timeline::reader::{StackLine, Window};
use crate::timeline::slice::What;
use crate::timeline::text::Line;
use crate::work::Ask;
use std::sync::Arc;

/// What a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Duration,
    Tid,
    Task,
    Time,
    Elapsed,
    Addr,
    Module,
    /// Arguments and return values, which have no column of their own: they stand where a program has them.
    Args,
}

const fn column(
    name: &'static str,
    title: &'static str,
    width: usize,
    kind: Field,
    shown: bool,
) -> Column<Field> {
    Column { name, title, width, kind, shown }
}

/// All columns in their order.
const COLUMNS: [Column<Field>; 8] = [
    column("time", "TIMESTAMP", 18, Field::Time, false),
    column("elapsed", "ELAPSED", 10, Field::Elapsed, false),
    column("duration", "DURATION", 10, Field::Duration, true),
    column("tid", "TID", 8, Field::Tid, false),
    column("task", "TASK", 15, Field::Task, true),
    column("addr", "ADDRESS", 12, Field::Addr, false),
    column("module", "MODULE", 12, Field::Module, true),
    column("args", "ARGUMENTS", 0, Field::Args, true),
];

/// Screens of lines that are kept before and behind the one that is shown.
const MARGIN: usize = 3;

/// The view.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    pub(crate) window: Window,
    /// Index of the line that the cursor is at.
    pub(crate) cursor: usize,
    /// Index of the line at the top of the screen.
    pub(crate) top: usize,
    pub(crate) folds: Arc<Folds>,
    pub(crate) columns: Vec<Column<Field>>,
    /// Columns of the text that are not shown on its left.
    pub(crate) shift: usize,
    /// The backtrace is shown.
    pub(crate) backtrace: bool,
    /// The line that the backtrace is of, and the open calls there.
    pub(crate) stack: Option<(Id, Vec<StackLine>)>,
    /// What was searched for last.
    pub(crate) query: Option<Query>,
    /// Time of the first event of all, ns.
    pub(crate) begin: u64,
    /// Number of the last question about lines, and of the last about where to go.
    asked: u64,
    pub(crate) sought: u64,
    /// The question about lines has not been answered yet.
    pub(crate) waiting: bool,
    /// A search is going on.
    pub(crate) searching: bool,
    /// Lines that the cursor is still to move, once there are any.
    owed: isize,
    /// Line of the screen that the cursor is to be at when it goes to another place; none if it is to stay where it is by
    /// then.
    screen_line: Option<usize>,
    /// What is to be asked.
    asks: Vec<Ask>,
}

impl Default for Replay {
    fn default() -> Self {
        Replay {
            window: Window::default(),
            cursor: 0,
            top: 0,
            folds: Arc::default(),
            columns: COLUMNS.to_vec(),
            shift: 0,
            backtrace: false,
            stack: None,
            query: None,
            begin: 0,
            asked: 0,
            sought: 0,
            waiting: false,
            searching: false,
            owed: 0,
            screen_line: None,
            asks: Vec::new(),
        }
    }
}

impl Replay {
    /// The columns that are shown on a terminal of that width: where there is little room, the tree comes first.
    pub(crate) fn shown(&self, width: usize) -> Vec<Column<Field>> {
        const TREE: usize = 32;
        const FIRST_TO_GO: [Field; 6] =
            [Field::Module, Field::Task, Field::Addr, Field::Tid, Field::Elapsed, Field::Time];
        let mut shown: Vec<_> =
            self.columns.iter().filter(|column| column.shown && column.width > 0).copied().collect();
        for field in FIRST_TO_GO {
            let taken: usize = shown.iter().map(|column| column.width + 2).sum();
            if taken + TREE <= width {
                break;
            }
            shown.retain(|column| column.kind != field);
        }
        shown
    }

    /// Whether a field is shown.
    pub(crate) fn shows(&self, field: Field) -> bool {
        self.columns.iter().any(|column| column.kind == field && column.shown)
    }

    /// The line that the cursor is at.
    pub(crate) fn line(&self) -> Option<&Line> {
        self.window.lines.get(self.cursor)
    }

    /// The questions that came up.
    pub(crate) fn take_asks(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asks)
    }

    /// Asks for the lines around a place; the cursor goes there, to that line of the screen.
    fn ask(&mut self, anchor: Id, screen_line: usize, height: usize) {
        self.ask_around(anchor, Some(screen_line.min(height.saturating_sub(1))), height);
    }

    fn ask_around(&mut self, anchor: Id, screen_line: Option<usize>, height: usize) {
        self.asked += 1;
        self.waiting = true;
        self.screen_line = screen_line;
        let (before, after) = (height * MARGIN, height * (MARGIN + 1));
        let folds = self.folds.clone();
        self.asks.push(Ask::Window { ticket: self.asked, anchor, before, after, folds });
    }

    /// Asks for the first lines if nothing has been asked yet.
    pub(crate) fn open(&mut self, height: usize) {
        if self.asked == 0 {
            self.ask(Id::FIRST, 0, height);
        }
    }

    /// Asks for the lines around the cursor again.
    pub(crate) fn refresh(&mut self, height: usize) {
        match self.line().map(|line| line.id) {
            Some(id) => self.ask_around(id, None, height),
            None => self.ask(Id::FIRST, 0, height),
        }
    }

    /// More of the trace has been read.
    pub(crate) fn more_is_known(&mut self, known: u64, complete: bool, height: usize) {
        let new = known > self.window.known || complete != self.window.complete;
        let is_short = self.window.last || !self.window.complete && complete;
        if self.asked > 0 && new && is_short && !self.waiting {
            self.refresh(height);
        }
    }

    /// Lines have come.
    pub(crate) fn set_window(&mut self, ticket: u64, window: Window, height: usize) {
        if ticket != self.asked {
            return;
        }
        self.waiting = false;
        // The user may have moved on since it was asked.
        let here = self.line().map(|line| line.id).filter(|_| self.screen_line.is_none());
        let there = here.and_then(|id| window.lines.iter().position(|line| line.id == id));
        let screen_line = self.screen_line.unwrap_or(self.cursor.saturating_sub(self.top));
        self.cursor = there.unwrap_or(window.at).min(window.lines.len().saturating_sub(1));
        self.top = self.cursor.saturating_sub(screen_line);
        self.window = window;
        self.fit(height);
        let owed = std::mem::take(&mut self.owed);
        self.step(owed, height);
    }

    fn fit(&mut self, height: usize) {
        let mut cursor = super::list::Cursor { at: self.cursor, top: self.top };
        cursor.fit(self.window.lines.len(), height);
        (self.cursor, self.top) = (cursor.at, cursor.top);
    }

    /// Moves the cursor by so many lines.
    pub(crate) fn step(&mut self, by: isize, height: usize) {
        let last = self.window.lines.len().saturating_sub(1);
        let wanted = self.cursor.saturating_add_signed(by).min(last);
        let moved = wanted as isize - self.cursor as isize;
        let rest = by - moved;
        self.cursor = wanted;
        self.fit(height);
        let at_end = if by < 0 { self.window.first } else { self.window.last };
        if rest != 0 && !at_end {
            self.owed += rest;
        }
        self.ask_for_more(height);
        self.ask_stack();
    }

    /// Scrolls by so many lines; the cursor moves only as far as it must to stay visible.
    pub(crate) fn scroll(&mut self, by: isize, height: usize) {
        let most = self.window.lines.len().saturating_sub(height);
        self.top = self.top.saturating_add_signed(by).min(most);
        self.cursor = self.cursor.clamp(self.top, self.top + height.saturating_sub(1));
        self.fit(height);
        self.ask_for_more(height);
        self.ask_stack();
    }

    fn ask_for_more(&mut self, height: usize) {
        let left = self.window.lines.len().saturating_sub(self.cursor);
        let short = (self.cursor < height && !self.window.first) || (left < 2 * height && !self.window.last);
        if short && !self.waiting {
            self.refresh(height);
        }
    }

    /// Puts the cursor at a line of the window.
    pub(crate) fn go(&mut self, at: usize, height: usize) {
        self.step(at as isize - self.cursor as isize, height);
    }

    /// Puts the line of the cursor in the middle of the screen.
    pub(crate) fn center(&mut self, height: usize) {
        self.top = self.cursor.saturating_sub(height / 2);
        self.fit(height);
    }

    /// Goes to the first line of all.
    pub(crate) fn first(&mut self, height: usize) {
        self.owed = 0;
        self.ask(Id::FIRST, 0, height);
    }

    /// Goes to the last line that is known.
    pub(crate) fn last(&mut self, height: usize) {
        self.owed = 0;
        self.ask(Id::LAST, height, height);
    }

    /// The backtrace of the line at the cursor is wanted if it is shown.
    pub(crate) fn ask_stack(&mut self) {
        let id = self.line().map(|line| line.id);
        if self.backtrace
            && let Some(id) = id
            && self.stack.as_ref().is_none_or(|(of, _)| *of != id)
        {
            self.asks.push(Ask::Stack { id });
        }
    }

    fn target(&self) -> Option<Target> {
        let line = self.line().filter(|line| line.what == What::Call)?;
        let (event, task, level) = (line.id.event, line.task?, line.level);
        Some(Target { event, task, level, start: line.time, end: line.end })
    }

    /// Folds or unfolds the call at the cursor.
    pub(crate) fn toggle(&mut self, height: usize) {
        let Some(target) = self.target() else { return };
        let folded = self.line().is_some_and(|line| line.folded);
        Arc::make_mut(&mut self.folds).set(&target, !folded);
        self.refresh(height);
    }

    /// Folds or unfolds the calls made from the one at the cursor: those it makes itself, or all.
    pub(crate) fn fold_below(&mut self, folded: bool, all: bool, height: usize) {
        let Some(target) = self.target() else { return };
        let level = match (folded, all) {
            (true, _) => target.level + 1,
            (false, false) => target.level + 2,
            (false, true) => NEVER,
        };
        Arc::make_mut(&mut self.folds).set_inside(&target, level);
        self.refresh(height);
    }

    /// Shows that many levels of calls; all without a number.
    pub(crate) fn fold_levels(&mut self, levels: Option<u32>, height: usize) {
        Arc::make_mut(&mut self.folds).fold_from(levels.map_or(NEVER, |levels| levels.saturating_sub(1)));
        self.refresh(height);
    }

    fn seek(&mut self, ask: impl FnOnce(u64) -> Ask) {
        self.sought += 1;
        self.searching = true;
        self.asks.push(ask(self.sought));
    }

    /// Searches for what was searched for last.
    pub(crate) fn search(&mut self, forward: bool) -> bool {
        let Some(query) = self.query.clone() else { return false };
        let from = self.line().map_or(Id::FIRST, |line| line.id);
        self.seek(|ticket| Ask::Find { ticket, from, query, forward });
        true
    }

    /// Goes from the call at the cursor to another.
    pub(crate) fn take_step(&mut self, step: Step) {
        if let Some(from) = self.line().map(|line| line.id) {
            self.seek(|ticket| Ask::Go { ticket, from, step });
        }
    }

    /// Goes to a moment (ns), and there to a call of the function of that name.
    pub(crate) fn go_to_time(&mut self, time: u64, name: Option<Arc<str>>) {
        self.seek(|ticket| Ask::At { ticket, time, name });
    }

    /// A question could not be answered.
    pub(crate) fn fail(&mut self) {
        self.waiting = false;
        self.searching = false;
        self.owed = 0;
    }

    /// Gives up a search.
    pub(crate) fn give_up(&mut self) {
        self.sought += 1;
        self.searching = false;
    }

    /// Something was found, or not. None if it is no answer to the last question.
    pub(crate) fn set_found(&mut self, ticket: u64, found: Option<&Found>, height: usize) -> Option<bool> {
        if ticket != self.sought {
            return None;
        }
        self.searching = false;
        let Some(found) = found else { return Some(false) };
        if !self.folds.is_empty() {
            let folds = Arc::make_mut(&mut self.folds);
            found.inside.iter().for_each(|target| folds.set(target, false));
        }
        // What is on the screen already stays where it is.
        let place = self.window.lines.iter().position(|line| line.id == found.id);
        let on_screen = place.filter(|at| (self.top..self.top + height).contains(at));
        let screen_line = on_screen.map_or(height / 2, |at| at - self.top);
        self.ask(found.id, screen_line, height);
        Some(true)
    }
}
