//! A slice as it is read: a row for each call and each event that is shown.

use super::Id;
use super::index::{Index, NONE, Open, SliceInfo};
use super::source::Timeline;
use fathom_analysis::{CallStack, Callee, End, Frame, Origin, Paused, Visitor};
use fathom_store::{Error, Event, Kind, event_id};
use rustc_hash::FxHashMap;

/// Tag of a call that has no row.
const NO_ROW: u32 = u32::MAX;
/// Tag of a call that nothing is known of.
const NO_NAME: u32 = u32::MAX - 1;

/// What a row shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A call, or time off the processor.
    Call,
    /// The end of a call whose beginning is not in the trace.
    Return,
    /// Something that is no call; the address is its id.
    Event,
    /// Records are missing; the address is how many.
    Lost,
    /// A message from outside; the address is its index.
    Message,
}

/// Bytes in [`Slice::data`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    start: u32,
    len: u32,
}

/// A line, before it is known what of it is shown and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) id: Id,
    /// ns.
    pub(crate) time: u64,
    /// When the call ended, ns; 0 as long as that is not known.
    pub(crate) end: u64,
    /// Number of the event that ended it; 0 as long as that is not known.
    pub(crate) end_event: u64,
    pub(crate) addr: u64,
    pub(crate) callee: Callee,
    /// Index of the task.
    pub(crate) task: u32,
    /// How many calls it is in, as far as they are indented for.
    pub(crate) level: u32,
    /// Arguments, or what the event says.
    pub(crate) payload: Range,
    pub(crate) returned: Range,
    /// Where it was called from.
    pub(crate) site: Range,
    pub(crate) what: What,
    /// Whether something is called from it.
    pub(crate) parent: bool,
    /// It had not returned when the recording ended.
    pub(crate) open: bool,
}

/// A slice that has been read.
pub(crate) struct Slice {
    pub(crate) info: SliceInfo,
    /// Ascending by id.
    pub(crate) rows: Vec<Row>,
    data: Vec<u8>,
    /// Return values of calls that began in earlier slices, by the number of the event.
    pub(crate) late: FxHashMap<u64, Range>,
    /// Rows whose calls end in later slices, with the number of the event at the end.
    pub(crate) long: FxHashMap<u64, u64>,
    /// There are calls whose end was not known yet.
    unresolved: bool,
}

impl Slice {
    /// Reads a slice; none if there is none of that number.
    pub(crate) fn read(timeline: &Timeline, number: usize) -> Result<Option<Slice>, Error> {
        let (info, stacks, hidden) = {
            let index = timeline.index();
            let Some(info) = index.slices.get(number).cloned() else { return Ok(None) };
            let stack = |task: &u32| Begin {
                task: *task,
                open: index.open(*task, number),
                paused: index.state(*task, number).map(|state| state.paused.clone()),
            };
            let stacks: Vec<Begin> = info.tasks.iter().map(stack).collect();
            (info, stacks, index.hidden.clone())
        };
        let mut batch = timeline.events(&info)?;
        let data = std::mem::take(&mut batch.data);
        let mut maker = Maker::new(timeline, stacks, hidden);
        for (number, (task, event)) in (info.first..).zip(&batch.events) {
            maker.take(number, *task, event);
        }
        let Rows { rows, late, .. } = maker.rows;
        let mut slice = Slice { info, rows, data, late, long: FxHashMap::default(), unresolved: true };
        slice.add_messages(timeline, number);
        slice.resolve(&timeline.index(), number);
        Ok(Some(slice))
    }

    /// The bytes of a range.
    pub(crate) fn bytes(&self, range: Range) -> &[u8] {
        self.data.get(range.start as usize..(range.start + range.len) as usize).unwrap_or_default()
    }

    /// The place of the row with that id, or of the first one behind it.
    pub(crate) fn position(&self, id: Id) -> usize {
        self.rows.partition_point(|row| row.id < id)
    }

    /// The row of a call that an event began.
    fn row_of_event(&mut self, event: u64) -> Option<&mut Row> {
        let at = self.position(Id::of_event(event));
        self.rows.get_mut(at).filter(|row| row.id == Id::of_event(event))
    }

    /// Looks up when calls ended that go on behind the slice, as far as that is known by now.
    pub(crate) fn resolve(&mut self, index: &Index, number: usize) {
        if !self.unresolved {
            return;
        }
        self.unresolved = !index.complete;
        for task in self.info.tasks.clone() {
            for node in index.chain(task, number + 1) {
                // Nodes are in no earlier slice than their parents.
                if node.event < self.info.first {
                    break;
                }
                if let Some(row) = self.row_of_event(node.event) {
                    (row.end, row.end_event) = (node.end, node.end_event);
                    row.open = node.end_event == u64::MAX;
                    row.parent |= node.calls_later;
                    self.long.insert(node.event, node.end_event);
                }
            }
        }
    }

    /// Puts the messages from outside where they belong.
    fn add_messages(&mut self, timeline: &Timeline, number: usize) {
        if !timeline.options.events {
            return;
        }
        let until = timeline.index().slices.get(number + 1).map(|next| next.from);
        let messages = timeline.trace.external();
        let from = if number == 0 { 0 } else { self.info.from };
        let first = messages.partition_point(|message| message.time < from);
        let end =
            until.map_or(messages.len(), |until| messages.partition_point(|message| message.time < until));
        for at in first..end {
            let Some(message) = messages.get(at) else { break };
            let place = self.rows.partition_point(|row| row.time < message.time);
            let place = place.min(self.rows.len().saturating_sub(1));
            let event = self.rows.get(place).map_or(self.info.first, |row| row.id.event);
            let row = Row {
                id: Id { event, extra: at as u32 },
                time: message.time,
                end: 0,
                end_event: 0,
                addr: at as u64,
                callee: Callee::UNKNOWN,
                task: u32::MAX,
                level: 0,
                payload: Range::default(),
                returned: Range::default(),
                site: Range::default(),
                what: What::Message,
                parent: false,
                open: false,
            };
            self.rows.insert(self.position(row.id), row);
        }
    }
}

/// A task at the beginning of the slice.
struct Begin {
    task: u32,
    open: Vec<Open>,
    /// None if it has had no events before.
    paused: Option<Paused>,
}

struct Maker<'t> {
    stacks: FxHashMap<u32, CallStack<'t>>,
    /// Where the call that comes next is made from.
    sites: FxHashMap<u32, Range>,
    rows: Rows,
    outside: bool,
}

/// Makes rows of calls.
struct Rows {
    rows: Vec<Row>,
    late: FxHashMap<u64, Range>,
    hidden: Vec<u32>,
    task: u32,
    number: u64,
    event: Event,
    site: Range,
}

impl<'t> Maker<'t> {
    fn new(timeline: &Timeline<'t>, stacks: Vec<Begin>, hidden: Vec<u32>) -> Self {
        let trace = timeline.trace;
        let make = |Begin { task, open, paused }: Begin| {
            let tid = trace.tasks().get(task as usize)?.tid;
            let frames = open.iter().map(|open| {
                let named = open.frame.callee != Callee::UNKNOWN || open.event.is_some();
                Frame { tag: if named { NO_ROW } else { NO_NAME }, ..open.frame }
            });
            let stack = match paused {
                Some(paused) => CallStack::resume(trace, trace.resolver(tid), frames.collect(), &paused),
                None => CallStack::new(trace, trace.resolver(tid)).with_outside(timeline.options.outside),
            };
            Some((task, stack))
        };
        let event = Event {
            time: 0,
            addr: 0,
            data_start: 0,
            data_len: 0,
            depth: 0,
            kind: Kind::Lost,
            inherited: false,
        };
        Maker {
            stacks: stacks.into_iter().filter_map(make).collect(),
            sites: FxHashMap::default(),
            rows: Rows {
                rows: Vec::new(),
                late: FxHashMap::default(),
                hidden,
                task: 0,
                number: 0,
                event,
                site: Range::default(),
            },
            outside: timeline.options.outside,
        }
    }

    fn take(&mut self, number: u64, task: u32, event: &Event) {
        let Some(stack) = self.stacks.get_mut(&task) else { return };
        let rows = &mut self.rows;
        (rows.number, rows.task, rows.event) = (number, task, *event);
        if event.kind == Kind::Entry {
            rows.site = self.sites.remove(&task).unwrap_or_default();
        }
        stack.feed(event, rows);
        let depth = stack.frames().len();
        let inside = depth > 0 || self.outside;
        match (event.kind, event.addr) {
            (Kind::Event, event_id::CALLSITE) => {
                self.sites.insert(task, range(event));
            }
            (Kind::Event, id) if !event_id::is_sched(id) && inside => rows.push_other(What::Event, depth),
            (Kind::Lost, _) => rows.push_other(What::Lost, depth),
            _ => {}
        }
    }
}

fn range(event: &Event) -> Range {
    Range { start: event.data_start, len: event.data_len }
}

impl Rows {
    fn level(&self, depth: usize) -> u32 {
        let hidden = self.hidden.get(self.task as usize).copied().unwrap_or(0);
        (depth as u32).saturating_sub(hidden)
    }

    fn row(&self, what: What, depth: usize) -> Row {
        Row {
            id: Id::of_event(self.number),
            time: self.event.time,
            end: 0,
            end_event: 0,
            addr: self.event.addr,
            callee: Callee::UNKNOWN,
            task: self.task,
            level: self.level(depth),
            payload: range(&self.event),
            returned: Range::default(),
            site: Range::default(),
            what,
            parent: false,
            open: false,
        }
    }

    fn push_other(&mut self, what: What, depth: usize) {
        let mut row = self.row(what, depth);
        if what == What::Lost {
            row.time = self.rows.last().map_or(0, |before| before.time);
        }
        self.rows.push(row);
    }
}

impl Visitor for Rows {
    fn enter(&mut self, outer: &[Frame], frame: &Frame) -> u32 {
        if frame.origin == Origin::Inherited {
            // The parent made that call.
            return NO_ROW;
        }
        if let Some(caller) = outer.last().and_then(|caller| self.rows.get_mut(caller.tag as usize)) {
            caller.parent = true;
        }
        let mut row = self.row(What::Call, outer.len());
        (row.callee, row.site) = (frame.callee, std::mem::take(&mut self.site));
        if frame.callee.is_schedule() {
            row.payload = Range::default();
        }
        self.rows.push(row);
        (self.rows.len() - 1) as u32
    }

    fn assume(&mut self, _outer: &[Frame], _frame: &Frame) -> u32 {
        NO_ROW
    }

    fn leave(&mut self, outer: &[Frame], frame: &Frame, end: u64, how: End) {
        let returned = match (how, self.event.kind) {
            (End::Returned, Kind::Exit) => range(&self.event),
            _ => Range::default(),
        };
        if let Some(row) = self.rows.get_mut(frame.tag as usize) {
            (row.end, row.end_event, row.returned) = (end, self.number, returned);
            return;
        }
        if frame.origin == Origin::Called && returned.len > 0 {
            self.late.insert(self.number, returned);
        }
        if frame.origin == Origin::Assumed && how == End::Returned && frame.tag != NO_NAME {
            let mut row = self.row(What::Return, outer.len());
            (row.callee, row.returned, row.payload) = (frame.callee, returned, Range::default());
            self.rows.push(row);
        }
    }

    fn stray(&mut self, outer: &[Frame], callee: Callee, event: &Event) {
        let mut row = self.row(What::Return, outer.len());
        (row.callee, row.returned, row.payload) = (callee, range(event), Range::default());
        self.rows.push(row);
    }
}

/// Whether an open call has a row of its own somewhere.
pub(crate) fn has_row(open: &Open) -> bool {
    open.event.is_some_and(|event| event != u64::MAX)
}

const _: () = assert!(NONE == NO_ROW);
