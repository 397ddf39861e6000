//! Looks for what is shown around a place, reading no more slices than that takes.

use super::Id;
use super::folds::{Folds, Walk};
use super::index::{Index, Open};
use super::slice::{Row, Slice, What, has_row};
use super::source::Timeline;
use super::text::{Line, Texts};
use fathom_store::{Error, Kind};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Slices that are kept, and rows of all of them together.
const SLICES: usize = 12;
const ROWS: usize = 1 << 20;

/// Lines around a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) lines: Vec<Line>,
    /// Index of the line that the place is at: the last one that is not behind it, if there is one.
    pub(crate) at: usize,
    /// Nothing comes before them.
    pub(crate) first: bool,
    /// Nothing comes behind them, as far as the trace has been read.
    pub(crate) last: bool,
    /// The trace has been read, so there will be no more.
    pub(crate) complete: bool,
    /// Number of events that are known.
    pub(crate) known: u64,
}

/// An open call, as a backtrace shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StackLine {
    pub(crate) name: Arc<str>,
    /// When it began, ns; 0 if that is not known.
    pub(crate) start: u64,
    /// When it ended, ns; 0 if that is not known.
    pub(crate) end: u64,
    /// The event that began it, if it has a line.
    pub(crate) event: Option<u64>,
    pub(crate) level: u32,
}

/// A slice, and which of its rows are shown.
pub(crate) struct Loaded {
    pub(crate) slice: Slice,
    /// What was folded when the following was found out.
    version: Option<u64>,
    /// Index of each row that is shown, and whether it is folded.
    pub(crate) shown: Vec<(u32, bool)>,
}

/// A row that is shown: the slice, and the place in [`Loaded::shown`].
type At = (usize, usize);

/// Reads slices of a timeline.
pub(crate) struct Reader<'l, 't> {
    pub(crate) timeline: &'l Timeline<'t>,
    pub(crate) texts: Texts<'t>,
    /// Used most recently: last.
    pub(super) loaded: Vec<Loaded>,
}

impl<'l, 't> Reader<'l, 't> {
    pub(crate) fn new(timeline: &'l Timeline<'t>) -> Self {
        Reader { timeline, texts: Texts::new(timeline.trace), loaded: Vec::new() }
    }

    /// The slice of that number; none if there is none. Its shown rows are only right for folds that were asked for.
    pub(crate) fn load(&mut self, number: usize, folds: Option<&Folds>) -> Result<Option<&Loaded>, Error> {
        let Some((first, events)) = self.timeline.index().slices.get(number).map(|s| (s.first, s.events))
        else {
            return Ok(None);
        };
        let same = |loaded: &Loaded| loaded.slice.info.first == first && loaded.slice.info.events == events;
        let mut loaded = match self.loaded.iter().position(same) {
            Some(at) => self.loaded.remove(at),
            None => {
                let Some(slice) = Slice::read(self.timeline, number)? else { return Ok(None) };
                let new = Loaded { slice, version: None, shown: Vec::new() };
                self.make_room(new.slice.rows.len());
                new
            }
        };
        let index = self.timeline.index();
        loaded.slice.resolve(&index, number);
        if let Some(folds) = folds.filter(|folds| loaded.version != Some(folds.version())) {
            loaded.shown = shown_rows(&index, number, &loaded.slice, folds);
            loaded.version = Some(folds.version());
        }
        drop(index);
        self.loaded.push(loaded);
        Ok(self.loaded.last())
    }

    fn make_room(&mut self, rows: usize) {
        let total = |loaded: &[Loaded]| loaded.iter().map(|l| l.slice.rows.len()).sum::<usize>() + rows;
        while !self.loaded.is_empty() && (self.loaded.len() >= SLICES || total(&self.loaded) > ROWS) {
            self.loaded.remove(0);
        }
    }

    /// The lines around a place: so many before it, and from it on so many.
    pub(crate) fn window(
        &mut self,
        anchor: Id,
        before: usize,
        after: usize,
        folds: &Folds,
    ) -> Result<Window, Error> {
        let mut window = Window::default();
        {
            let index = self.timeline.index();
            (window.complete, window.known) = (index.complete, index.known());
        }
        let Some(start) = self.find_shown(anchor, folds)? else {
            (window.first, window.last) = (true, true);
            return Ok(window);
        };
        let mut places = VecDeque::from([start]);
        while places.len() <= before {
            match self.step_back(places[0], folds)? {
                Some(place) => places.push_front(place),
                None => {
                    window.first = true;
                    break;
                }
            }
        }
        window.at = places.len() - 1;
        let mut at = start;
        while places.len() < window.at + after.max(1) {
            match self.step(at, folds)? {
                Some(place) => {
                    at = place;
                    places.push_back(place);
                }
                None => {
                    window.last = true;
                    break;
                }
            }
        }
        for place in places {
            window.lines.extend(self.line(place, folds)?);
        }
        Ok(window)
    }

    /// The last row that is shown and not behind a place; the first one if there is none.
    fn find_shown(&mut self, anchor: Id, folds: &Folds) -> Result<Option<At>, Error> {
        let Some(number) = self.timeline.index().slice_of(anchor.event) else { return Ok(None) };
        let Some(loaded) = self.load(number, Some(folds))? else { return Ok(None) };
        let rows = &loaded.slice.rows;
        let upto =
            loaded.shown.partition_point(|(row, _)| rows.get(*row as usize).is_some_and(|r| r.id <= anchor));
        if let Some(at) = upto.checked_sub(1) {
            return Ok(Some((number, at)));
        }
        match self.step_back((number, 0), folds)? {
            Some(place) => Ok(Some(place)),
            None => self.first_from(number, folds),
        }
    }

    /// The first shown row of a slice or a later one.
    fn first_from(&mut self, mut number: usize, folds: &Folds) -> Result<Option<At>, Error> {
        loop {
            while is_hidden(self.timeline, number, folds) {
                number += 1;
            }
            match self.load(number, Some(folds))? {
                None => return Ok(None),
                Some(loaded) if !loaded.shown.is_empty() => return Ok(Some((number, 0))),
                Some(_) => number += 1,
            }
        }
    }

    fn step(&mut self, (number, at): At, folds: &Folds) -> Result<Option<At>, Error> {
        match self.load(number, Some(folds))? {
            Some(loaded) if at + 1 < loaded.shown.len() => Ok(Some((number, at + 1))),
            Some(_) => self.first_from(number + 1, folds),
            None => Ok(None),
        }
    }

    fn step_back(&mut self, (number, at): At, folds: &Folds) -> Result<Option<At>, Error> {
        if let Some(at) = at.checked_sub(1) {
            return Ok(Some((number, at)));
        }
        let mut number = number;
        while let Some(before) = number.checked_sub(1) {
            number = before;
            if is_hidden(self.timeline, number, folds) {
                continue;
            }
            let Some(loaded) = self.load(number, Some(folds))? else { return Ok(None) };
            if let Some(at) = loaded.shown.len().checked_sub(1) {
                return Ok(Some((number, at)));
            }
        }
        Ok(None)
    }

    fn line(&mut self, (number, at): At, folds: &Folds) -> Result<Option<Line>, Error> {
        if self.load(number, Some(folds))?.is_none() {
            return Ok(None);
        }
        let Some(loaded) = self.loaded.last() else { return Ok(None) };
        let Some((row, folded)) = loaded.shown.get(at).copied() else { return Ok(None) };
        let Some(row) = loaded.slice.rows.get(row as usize).copied() else { return Ok(None) };
        let mut line = self.texts.line(&loaded.slice, &row, folded && row.parent);
        let ended = loaded.slice.long.get(&row.id.event).copied();
        if let Some(event) = ended.filter(|event| *event != 0 && *event != u64::MAX)
            && self.texts.named(row.callee).has_values
        {
            line.returned = self.late_value(&row, event)?;
        }
        Ok(Some(line))
    }

    /// The return value of a call that ends in another slice than it began in.
    pub(super) fn late_value(&mut self, row: &Row, event: u64) -> Result<Option<String>, Error> {
        let number = {
            let index = self.timeline.index();
            let number = index.slice_of(event);
            number.filter(|number| index.slices.get(*number).is_some_and(|slice| slice.payloads))
        };
        let Some(number) = number else { return Ok(None) };
        if self.load(number, None)?.is_none() {
            return Ok(None);
        }
        let Some(loaded) = self.loaded.last() else { return Ok(None) };
        let Some(range) = loaded.slice.late.get(&event) else { return Ok(None) };
        Ok(self.texts.value(row, Kind::Exit, loaded.slice.bytes(*range)))
    }

    /// The row at a place; none if nothing is shown by that event.
    pub(crate) fn row(&mut self, id: Id) -> Result<Option<(usize, Row)>, Error> {
        let Some(number) = self.timeline.index().slice_of(id.event) else { return Ok(None) };
        let Some(loaded) = self.load(number, None)? else { return Ok(None) };
        let row = loaded.slice.rows.get(loaded.slice.position(id)).copied();
        Ok(row.filter(|row| row.id == id).map(|row| (number, row)))
    }

    /// The calls that a row is in, outermost first, and itself if it is a call.
    pub(crate) fn stack(&mut self, id: Id) -> Result<Vec<StackLine>, Error> {
        let Some((number, row)) = self.row(id)? else { return Ok(Vec::new()) };
        if row.what == What::Message {
            return Ok(Vec::new());
        }
        let (open, hidden) = {
            let index = self.timeline.index();
            let hidden = index.hidden.get(row.task as usize).copied().unwrap_or(0);
            (index.open(row.task, number), hidden)
        };
        let Some(loaded) = self.load(number, None)? else { return Ok(Vec::new()) };
        let mut level = row.level;
        let mut found: Vec<Row> = if row.what == What::Call { vec![row] } else { Vec::new() };
        let upto = loaded.slice.position(row.id);
        for other in loaded.slice.rows.get(..upto).unwrap_or_default().iter().rev() {
            if other.task == row.task && other.what == What::Call && other.level < level {
                level = other.level;
                found.push(*other);
            }
        }
        let mut lines: Vec<StackLine> = Vec::new();
        for (depth, open) in (0..).zip(&open) {
            if u32::saturating_sub(depth, hidden) < level || depth < hidden {
                lines.push(self.open_line(open, u32::saturating_sub(depth, hidden)));
            }
        }
        for row in found.iter().rev() {
            let name = self.texts.named(row.callee).name.clone();
            let event = Some(row.id.event);
            lines.push(StackLine { name, start: row.time, end: row.end, event, level: row.level });
        }
        Ok(lines)
    }

    fn open_line(&mut self, open: &Open, level: u32) -> StackLine {
        let name = self.texts.named(open.frame.callee).name.clone();
        let known = open.event.is_some();
        let start = if known { open.frame.start } else { 0 };
        StackLine { name, start, end: open.end, event: open.event.filter(|_| has_row(open)), level }
    }
}

/// Whether nothing of a slice is shown, as far as that can be told without reading it.
fn is_hidden(timeline: &Timeline, number: usize, folds: &Folds) -> bool {
    if folds.is_empty() {
        return false;
    }
    let index = timeline.index();
    let Some(slice) = index.slices.get(number) else { return false };
    let messages = timeline.trace.external();
    let first = messages.partition_point(|message| message.time < slice.from);
    if messages.get(first).is_some_and(|message| message.time <= slice.to) || number == 0 {
        return false;
    }
    let end = slice.first + slice.events;
    let hidden =
        |task: &u32| walk_to(&index, *task, number, folds).hidden_until().is_some_and(|until| until >= end);
    slice.tasks.iter().all(hidden)
}

/// Follows the calls of a task that are open at the beginning of a slice.
fn walk_to(index: &Index, task: u32, number: usize, folds: &Folds) -> Walk {
    let hidden = index.hidden.get(task as usize).copied().unwrap_or(0);
    let mut walk = Walk::default();
    for (depth, open) in (0..).zip(index.open(task, number)) {
        if open.event == Some(u64::MAX) {
            // It has no row, so it cannot be folded.
            continue;
        }
        let level = u32::saturating_sub(depth, hidden);
        let (_, folded) = walk.enter(folds, open.event, level, open.end_event);
        if folded {
            break;
        }
    }
    walk
}

fn shown_rows(index: &Index, number: usize, slice: &Slice, folds: &Folds) -> Vec<(u32, bool)> {
    let mut walks: FxHashMap<u32, Walk> = FxHashMap::default();
    if !folds.is_empty() {
        let tasks = slice.info.tasks.iter();
        walks.extend(tasks.map(|task| (*task, walk_to(index, *task, number, folds))));
    }
    let mut shown = Vec::new();
    for (at, row) in (0..).zip(&slice.rows) {
        let (is_shown, folded) = match (walks.get_mut(&row.task), row.what) {
            (None, _) | (_, What::Message) => (true, false),
            (Some(walk), What::Call) => walk.enter(folds, Some(row.id.event), row.level, row.end_event),
            (Some(walk), _) => (walk.shows(row.level, row.id.event), false),
        };
        if is_shown {
            shown.push((at, folded));
        }
    }
    shown
}
