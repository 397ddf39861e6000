//! Searching in the order of time, and moving along the calls of one task.

use super::Id;
use super::folds::Target;
use super::index::of_event;
use super::reader::{Loaded, Reader, StackLine};
use super::slice::{Row, Slice, What};
use super::text::Texts;
use fathom_analysis::Callee;
use fathom_filter::Pattern;
use fathom_store::{Error, Kind};

/// What is searched for.
#[derive(Clone, Debug)]
pub(crate) enum Query {
    /// Calls of functions, and events, whose name fits.
    Name(Pattern),
    /// Calls with this text among their arguments or in their return value.
    Value(String),
    /// Calls that took longer, ns.
    Longer(u64),
}

/// Where to go from a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The call it is in.
    Parent,
    /// The next call made from the same.
    Next,
    /// The one before.
    Previous,
    /// The one of its own calls that took the longest.
    Longest,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: Id,
    /// Events of the calls it is in, outermost first; to be unfolded.
    pub(crate) inside: Vec<Target>,
}

impl Reader<'_, '_> {
    /// The nearest row behind (or before) a place that fits, of whatever is folded. Stops without a result once `given_up` says so.
    pub(crate) fn find(
        &mut self,
        from: Id,
        query: &Query,
        forward: bool,
        given_up: &dyn Fn() -> bool,
    ) -> Result<Option<Found>, Error> {
        let Some(mut number) = self.timeline.index().slice_of(from.event) else { return Ok(None) };
        let mut wanted = Wanted::default();
        loop {
            if given_up() {
                return Ok(None);
            }
            wanted.extend(self, query);
            if self.may_have(number, query, &wanted)
                && let Some(id) = self.find_in(number, from, query, forward)?
            {
                return self.found(id).map(Some);
            }
            let next = if forward { number.checked_add(1) } else { number.checked_sub(1) };
            let Some(next) = next.filter(|next| *next < self.timeline.index().slices.len()) else {
                return Ok(None);
            };
            number = next;
        }
    }

    /// What is known of a row that was found.
    pub(crate) fn found(&mut self, id: Id) -> Result<Found, Error> {
        let task = self.row(id)?.map_or(0, |(_, row)| row.task);
        let mut inside = self.stack(id)?;
        if inside.last().is_some_and(|line| line.event == Some(id.event)) {
            inside.pop();
        }
        let target = |line: &StackLine| {
            let (event, level) = (line.event?, line.level);
            Some(Target { event, task, level, start: line.start, end: line.end })
        };
        Ok(Found { id, inside: inside.iter().filter_map(target).collect() })
    }

    /// Whether a slice can have what is searched for, as far as that can be told without reading it.
    fn may_have(&self, number: usize, query: &Query, wanted: &Wanted) -> bool {
        let index = self.timeline.index();
        let Some(slice) = index.slices.get(number) else { return false };
        match query {
            Query::Name(_) => wanted.callees.iter().any(|callee| slice.called.may_have(*callee)),
            // A return value may be in any later slice.
            Query::Value(_) => index.slices.iter().any(|slice| slice.payloads),
            Query::Longer(time) => slice.longest > *time,
        }
    }

    fn find_in(
        &mut self,
        number: usize,
        from: Id,
        query: &Query,
        forward: bool,
    ) -> Result<Option<Id>, Error> {
        if self.load(number, None)?.is_none() {
            return Ok(None);
        }
        let Reader { texts, loaded, .. } = self;
        let Some(Loaded { slice, .. }) = loaded.last() else { return Ok(None) };
        let place = slice.position(from);
        let rows = if forward { slice.rows.get(place..) } else { slice.rows.get(..place) };
        let rows = rows.unwrap_or_default();
        let mut rows: Box<dyn Iterator<Item = &Row>> =
            if forward { Box::new(rows.iter()) } else { Box::new(rows.iter().rev()) };
        // Calls whose return value is in another slice, which is looked at afterwards.
        let mut late: Vec<(Row, u64)> = Vec::new();
        let found = rows.find(|row| {
            if let (Query::Value(_), Some(event)) = (query, slice.long.get(&row.id.event))
                && texts.named(row.callee).has_values
            {
                late.push((**row, *event));
            }
            row.id != from && fits(texts, slice, row, query)
        });
        let found = found.map(|row| row.id);
        drop(rows);
        if let Query::Value(text) = query {
            for (row, event) in late.into_iter().filter(|(row, _)| row.id != from) {
                if self.late_value(&row, event)?.is_some_and(|value| value.contains(text.as_str())) {
                    return Ok(Some(row.id));
                }
            }
        }
        Ok(found)
    }

    /// Where a step leads to; none if there is nothing.
    pub(crate) fn go(
        &mut self,
        id: Id,
        step: Step,
        given_up: &dyn Fn() -> bool,
    ) -> Result<Option<Found>, Error> {
        let found = match step {
            Step::Parent => {
                let found = self.found(id)?;
                found.inside.last().map(|parent| Id::of_event(parent.event))
            }
            Step::Next => self.sibling(id, true, given_up)?,
            Step::Previous => self.sibling(id, false, given_up)?,
            Step::Longest => self.longest(id, given_up)?,
        };
        found.map(|id| self.found(id)).transpose()
    }

    /// The first call of a function at a moment (ns) or later, or just the first line then, or else the last of all.
    pub(crate) fn at(&mut self, time: u64, name: Option<&str>) -> Result<Option<Found>, Error> {
        let Some(mut number) = self.timeline.index().slice_at(time) else { return Ok(None) };
        let (mut best, mut last) = (None, None);
        // The first slice may end before that moment; a call then is in one of the two.
        for _ in 0..3 {
            if self.load(number, None)?.is_none() {
                break;
            }
            let Reader { texts, loaded, .. } = self;
            let Some(Loaded { slice, .. }) = loaded.last() else { break };
            last = slice.rows.last().map(|row| row.id).or(last);
            let rows = slice.rows.iter().filter(|row| row.time >= time);
            for row in rows {
                best = best.or(Some(row.id));
                let Some(name) = name else { break };
                if row.time > time {
                    break;
                }
                if row.what == What::Call && *texts.named(row.callee).name == *name {
                    let id = row.id;
                    return self.found(id).map(Some);
                }
            }
            if best.is_some() {
                break;
            }
            number += 1;
        }
        best.or(last).map(|id| self.found(id)).transpose()
    }

    /// The next call of the same task at the same level, unless one further out comes first.
    fn sibling(&mut self, id: Id, forward: bool, given_up: &dyn Fn() -> bool) -> Result<Option<Id>, Error> {
        let Some((mut number, row)) = self.row(id)? else { return Ok(None) };
        if forward && row.end > 0 {
            // What is in the call itself need not be read.
            number = number.max(
                self.timeline.index().slice_at(row.end.saturating_sub(1)).unwrap_or(0).saturating_sub(1),
            );
        }
        loop {
            if given_up() || self.load(number, None)?.is_none() {
                return Ok(None);
            }
            let Some(loaded) = self.loaded.last() else { return Ok(None) };
            let beyond = |other: &&Row| {
                let is_beyond = if forward { other.id > id } else { other.id < id };
                is_beyond && other.task == row.task && other.level <= row.level && other.what == What::Call
            };
            let rows = &loaded.slice.rows;
            let found = if forward { rows.iter().find(beyond) } else { rows.iter().rev().find(beyond) };
            if let Some(found) = found {
                return Ok((found.level == row.level).then_some(found.id));
            }
            match if forward { number.checked_add(1) } else { number.checked_sub(1) } {
                Some(next) => number = next,
                None => return Ok(None),
            }
        }
    }

    /// The longest of the calls made from a call.
    fn longest(&mut self, id: Id, given_up: &dyn Fn() -> bool) -> Result<Option<Id>, Error> {
        let Some((mut number, row)) = self.row(id)? else { return Ok(None) };
        let mut best: Option<(u64, Id)> = None;
        loop {
            if given_up() {
                return Ok(None);
            }
            let (from, longest) = match self.timeline.index().slices.get(number) {
                Some(slice) => (slice.from, slice.longest),
                None => break,
            };
            if row.end != 0 && from > row.end {
                break;
            }
            if best.is_none_or(|(time, _)| longest > time) && self.load(number, None)?.is_some() {
                let Some(loaded) = self.loaded.last() else { break };
                let in_it = |other: &&Row| {
                    other.id > id && other.task == row.task && (row.end == 0 || other.time <= row.end)
                };
                for other in loaded.slice.rows.iter().filter(in_it) {
                    if other.level <= row.level && other.what == What::Call {
                        return Ok(best.map(|(_, id)| id));
                    }
                    let time = other.end.saturating_sub(other.time);
                    let is_child = other.what == What::Call && other.level == row.level + 1;
                    if is_child && best.is_none_or(|(longest, _)| time > longest) {
                        best = Some((time, other.id));
                    }
                }
            }
            number += 1;
        }
        Ok(best.map(|(_, id)| id))
    }
}

/// Whether a row of a slice fits.
fn fits(texts: &mut Texts, slice: &Slice, row: &Row, query: &Query) -> bool {
    match (query, row.what) {
        (Query::Longer(time), What::Call) => {
            row.end != 0 && !row.callee.is_schedule() && row.end.abs_diff(row.time) > *time
        }
        (Query::Name(pattern), What::Call | What::Return) => {
            let named = texts.named(row.callee);
            pattern.matches(&named.name, &named.raw)
        }
        (Query::Name(pattern), What::Event) => {
            let name = texts.event_name(row.addr);
            pattern.matches(&name, &name)
        }
        (Query::Value(text), What::Call | What::Return) => {
            let entry = texts.value(row, Kind::Entry, slice.bytes(row.payload));
            let has = |value: Option<String>| value.is_some_and(|value| value.contains(text.as_str()));
            has(entry) || has(texts.value(row, Kind::Exit, slice.bytes(row.returned)))
        }
        _ => false,
    }
}

/// The callees and events whose names fit.
#[derive(Default)]
struct Wanted {
    callees: Vec<Callee>,
    /// How many callees and events have been looked at.
    seen: (usize, usize),
}

impl Wanted {
    /// Looks at those that are new.
    fn extend(&mut self, reader: &mut Reader, query: &Query) {
        let Query::Name(pattern) = query else { return };
        let (callees, events) = {
            let index = reader.timeline.index();
            (index.callees, index.events.get(self.seen.1..).unwrap_or_default().to_vec())
        };
        for index in self.seen.0..callees {
            let callee = Callee::at(index);
            let named = reader.texts.named(callee);
            if pattern.matches(&named.name, &named.raw) {
                self.callees.push(callee);
            }
        }
        for id in &events {
            let name = reader.texts.event_name(*id);
            if pattern.matches(&name, &name) {
                self.callees.push(of_event(*id));
            }
        }
        self.seen = (self.seen.0.max(callees), self.seen.1 + events.len());
    }
}
