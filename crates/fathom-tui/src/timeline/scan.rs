//! The pass over a trace that makes its index.

use super::index::{Called, Limits, NONE, SliceInfo, State, of_event};
use super::source::{Timeline, spool_error};
use crate::stop::counted;
use fathom_analysis::{CallStack, Callee, End, Frame, Origin, Visitor};
use fathom_store::{Error, Event, Kind, Merge, MergedBatch, event_id};
use rustc_hash::FxHashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far the pass has come, and whether it is to go on.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Bytes of the store that have been read.
    pub(crate) done: Arc<AtomicU64>,
    /// Bytes in all.
    pub(crate) all: AtomicU64,
    /// The work is to be given up.
    pub(crate) stop: AtomicBool,
}

impl Progress {
    /// Bytes read, and bytes in all.
    pub(crate) fn get(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.all.load(Ordering::Relaxed))
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Events of the first slice. It is the one that is waited for, so it is small; the others grow.
const FIRST: u64 = 512;

/// A slice that may be cut here is cut in any case when it has so many times the events that it should.
const MOST: u64 = 16;

/// Reads the whole trace. Slices appear in the index as they are found.
///
/// # Errors
///
/// Those of the store. What was found before can be used; the index is complete then as well, as there will be no more.
pub(crate) fn scan(timeline: &Timeline, limits: Limits, progress: &Progress) -> Result<(), Error> {
    let mut scan = Scan::new(timeline, limits);
    let sizes = timeline.trace.tasks().iter().map(|task| {
        timeline.trace.events(task.tid, timeline.options).map_or(0, |events| events.progress().1)
    });
    progress.all.store(sizes.sum(), Ordering::Relaxed);
    let result = counted(&progress.done, || scan.run(progress));
    if !progress.is_stopped() {
        scan.finish();
    }
    result
}

/// A task as the pass sees it.
struct TaskScan<'t> {
    stack: CallStack<'t>,
    /// The nodes of its open calls, as far as they have any.
    saved: Vec<u32>,
    /// Whether it has had events in the present slice.
    touched: bool,
    fresh: bool,
}

struct Scan<'l, 't> {
    timeline: &'l Timeline<'t>,
    limits: Limits,
    /// Events of the present slice, at least.
    quota: u64,
    tasks: Vec<TaskScan<'t>>,
    touched: Vec<u32>,
    marks: Marks,
    /// Number of the event that comes next.
    event: u64,
    /// Time and number of the last event that is later than all before.
    anchor: (u64, u64),
    /// The largest time so far; none before the first.
    latest: Option<u64>,
    /// Where and when the present slice begins.
    begin: Begin,
    payloads: bool,
    spooled: u64,
    /// Hidden levels that are not in the index yet.
    hidden: Vec<(u32, u32)>,
    /// Ids of the events that are no calls.
    events: FxHashSet<u64>,
}

#[derive(Clone, Copy, Default)]
struct Begin {
    seek: u64,
    skip: u64,
    first: u64,
    from: u64,
}

/// What calls leave behind.
#[derive(Default)]
struct Marks {
    event: u64,
    called: Called,
    longest: u64,
    ended: Vec<Ended>,
    /// Nodes of calls from which something was called.
    callers: Vec<u32>,
    /// Calls of the present task that were open at the beginning of the slice.
    saved: Vec<u32>,
    /// All callees so far have a place below this one.
    callees: usize,
    /// The recording is over.
    over: bool,
}

struct Ended {
    node: u32,
    start: u64,
    end: u64,
    event: u64,
}

impl Visitor for Marks {
    #[inline]
    fn enter(&mut self, outer: &[Frame], frame: &Frame) -> u32 {
        self.call(frame.callee);
        if outer.len() <= self.saved.len() {
            self.calls_from_saved(outer.len());
        }
        self.event as u32
    }

    #[inline]
    fn leave(&mut self, outer: &[Frame], frame: &Frame, end: u64, _how: End) {
        if frame.origin != Origin::Called {
            // It is shown where it ends.
            self.call(frame.callee);
        }
        if outer.len() >= self.saved.len() {
            if frame.origin == Origin::Called {
                self.longest = self.longest.max(frame.duration(end));
            }
            return;
        }
        self.leave_saved(outer, frame, end);
    }

    fn stray(&mut self, _outer: &[Frame], callee: Callee, _event: &Event) {
        self.call(callee);
    }

    fn forget(&mut self, outer: &[Frame], _frame: &Frame) {
        self.saved.truncate(outer.len());
    }
}

impl Marks {
    #[inline]
    fn call(&mut self, callee: Callee) {
        self.called.insert(callee);
        if callee.index() >= self.callees && callee != Callee::UNKNOWN {
            self.callees = callee.index() + 1;
        }
    }

    /// Something is called from a call that was open at the beginning of the slice.
    fn calls_from_saved(&mut self, depth: usize) {
        let node = depth.checked_sub(1).and_then(|at| self.saved.get(at)).copied();
        if let Some(node) = node.filter(|node| self.callers.last() != Some(node)) {
            self.callers.push(node);
        }
    }

    fn leave_saved(&mut self, outer: &[Frame], frame: &Frame, end: u64) {
        let node = self.saved.get(outer.len()).copied().unwrap_or(NONE);
        // Those that go on above it, in other coroutines, get nodes again.
        self.saved.truncate(outer.len());
        let event = if self.over { u64::MAX } else { self.event };
        if frame.origin == Origin::Called {
            self.ended.push(Ended { node, start: frame.start, end, event });
        }
    }
}

impl<'l, 't> Scan<'l, 't> {
    fn new(timeline: &'l Timeline<'t>, limits: Limits) -> Self {
        let trace = timeline.trace;
        let task = |task: &fathom_store::Task| TaskScan {
            stack: CallStack::new(trace, trace.resolver(task.tid)).with_outside(timeline.options.outside),
            saved: Vec::new(),
            touched: false,
            fresh: true,
        };
        Scan {
            timeline,
            quota: limits.events.min(FIRST),
            limits,
            tasks: trace.tasks().iter().map(task).collect(),
            touched: Vec::new(),
            marks: Marks::default(),
            event: 0,
            anchor: (0, 0),
            latest: None,
            begin: Begin::default(),
            payloads: false,
            spooled: 0,
            hidden: Vec::new(),
            events: FxHashSet::default(),
        }
    }

    fn run(&mut self, progress: &Progress) -> Result<(), Error> {
        let mut merge = Merge::new(self.timeline.trace, self.timeline.options, |_| true)?;
        let mut batch = MergedBatch::default();
        let mut error = None;
        loop {
            match merge.next_batch(&mut batch) {
                Ok(true) => {}
                Ok(false) => break,
                // One task has ended; the others go on.
                Err(e) if error.is_none() => {
                    error = Some(e);
                    continue;
                }
                Err(_) => continue,
            }
            for (task, event) in &batch.events {
                self.take(*task, event, batch.payload(event))?;
            }
            let (done, all) = merge.progress();
            progress.done.store(done, Ordering::Relaxed);
            progress.all.store(all, Ordering::Relaxed);
            if progress.is_stopped() {
                break;
            }
        }
        error.map_or(Ok(()), Err)
    }

    #[inline]
    fn take(&mut self, task: u32, event: &Event, payload: &[u8]) -> Result<(), Error> {
        if event.kind != Kind::Lost && self.latest.is_none_or(|latest| event.time > latest) {
            self.latest = Some(event.time);
            self.anchor = (event.time, self.event);
            if self.event == 0 {
                self.begin = Begin { seek: 0, skip: 0, first: 0, from: event.time };
            } else if self.event - self.begin.first >= self.quota {
                self.cut()?;
            }
        } else if self.event - self.begin.first >= self.quota.saturating_mul(MOST) {
            self.cut()?;
        }
        if let Some(mut spool) = self.timeline.spool_mut() {
            spool.push(task, event, payload);
        }
        self.payloads |= !payload.is_empty();
        let Some(scanned) = self.tasks.get_mut(task as usize) else { return Ok(()) };
        if !scanned.touched {
            scanned.touched = true;
            self.touched.push(task);
        }
        if scanned.fresh && matches!(event.kind, Kind::Entry | Kind::Exit) {
            scanned.fresh = false;
            if event.kind == Kind::Entry && !event.inherited && event.depth > 0 {
                self.hidden.push((task, u32::from(event.depth)));
            }
        }
        self.marks.event = self.event;
        std::mem::swap(&mut self.marks.saved, &mut scanned.saved);
        scanned.stack.feed(event, &mut self.marks);
        std::mem::swap(&mut self.marks.saved, &mut scanned.saved);
        if event.kind == Kind::Event {
            self.note_event(event.addr);
        }
        self.event += 1;
        Ok(())
    }

    #[cold]
    fn note_event(&mut self, id: u64) {
        if !event_id::is_sched(id) {
            self.marks.called.insert(of_event(id));
            self.events.insert(id);
        }
    }

    /// Ends the present slice before the event that comes next.
    fn cut(&mut self) -> Result<(), Error> {
        let mut place = None;
        if let Some(mut spool) = self.timeline.spool_mut() {
            place = Some(spool.since(self.spooled));
            self.spooled = spool.end();
            spool.settle().map_err(spool_error)?;
        }
        self.touched.sort_unstable();
        let slice = SliceInfo {
            seek: self.begin.seek,
            skip: self.begin.skip,
            first: self.begin.first,
            events: self.event - self.begin.first,
            from: self.begin.from,
            to: self.latest.unwrap_or(0),
            tasks: std::mem::take(&mut self.touched),
            called: std::mem::take(&mut self.marks.called),
            longest: std::mem::take(&mut self.marks.longest),
            payloads: std::mem::take(&mut self.payloads),
            place,
        };
        self.publish(slice);
        self.quota = self.quota.saturating_mul(2).min(self.limits.events);
        let (seek, anchor) = self.anchor;
        let skip = self.event - anchor;
        self.begin = Begin { seek, skip, first: self.event, from: seek };
        Ok(())
    }

    fn publish(&mut self, slice: SliceInfo) {
        let mut index = self.timeline.index_mut();
        let touched = slice.tasks.clone();
        index.callees = self.marks.callees;
        let known: FxHashSet<u64> = index.events.iter().copied().collect();
        index.events.extend(self.events.difference(&known));
        index.slices.push(slice);
        book(&mut index, &mut self.marks.ended);
        for node in self.marks.callers.drain(..) {
            if let Some(node) = index.nodes.get_mut(node as usize) {
                node.calls_later = true;
            }
        }
        for (task, hidden) in self.hidden.drain(..) {
            if let Some(slot) = index.hidden.get_mut(task as usize) {
                *slot = hidden;
            }
        }
        let (number, now) = (index.slices.len() as u32, self.event);
        // Tags have the lower half of the number of a call's event.
        let event = |frame: &Frame| match frame.origin {
            Origin::Called => now - u64::from((now as u32).wrapping_sub(frame.tag)),
            _ => u64::MAX,
        };
        for task in touched {
            let Some(scanned) = self.tasks.get_mut(task as usize) else { continue };
            scanned.touched = false;
            let top = index.save(scanned.stack.frames(), &mut scanned.saved, event);
            let paused = scanned.stack.pause();
            if let Some(states) = index.states.get_mut(task as usize) {
                states.push(State { slice: number, top, paused });
            }
        }
        if index.is_over(&self.limits) {
            let mut saved: Vec<Vec<u32>> =
                self.tasks.iter_mut().map(|task| std::mem::take(&mut task.saved)).collect();
            index.thin(&mut saved);
            self.tasks.iter_mut().zip(saved).for_each(|(task, saved)| task.saved = saved);
            self.limits.events = self.limits.events.saturating_mul(2);
            // What cannot be made smaller must not be tried again at every slice.
            self.limits.nodes = self.limits.nodes.max(index.nodes.len() * 2);
        }
    }

    /// The trace has been read: what is open has lasted until now.
    fn finish(&mut self) {
        // A file for the spool that cannot be written ended the pass before; what is there is shown.
        let _ = self.cut();
        self.marks.over = true;
        for task in &mut self.tasks {
            self.marks.saved = std::mem::take(&mut task.saved);
            task.stack.finish(&mut self.marks);
        }
        let mut index = self.timeline.index_mut();
        book(&mut index, &mut self.marks.ended);
        index.complete = true;
    }
}

/// Notes the ends of calls that were open at the beginning of a slice.
fn book(index: &mut super::index::Index, ended: &mut Vec<Ended>) {
    for Ended { node, start, end, event } in ended.drain(..) {
        let mut slice = index.slice_at(start);
        if let Some(node) = index.nodes.get_mut(node as usize) {
            (node.end, node.end_event) = (end, event);
            let first = node.event;
            slice = index.slice_of(first);
        }
        if let Some(slice) = slice.and_then(|slice| index.slices.get_mut(slice)) {
            slice.longest = slice.longest.max(end.abs_diff(start));
        }
    }
}
