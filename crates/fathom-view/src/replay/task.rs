//! One task being replayed: its events with one looked ahead, and its open calls.

use crate::error::Error;
use crate::units;
use fathom_analysis::{CallStack, Callee, End, Frame, Origin, Visitor};
use fathom_store::{Batch, Event, EventOptions, Kind, Resolver, Task, TaskEvents, Tid, Trace, event_id};

/// A call as a line shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) callee: Callee,
    pub(crate) addr: u64,
    /// ns; 0 when it is not known.
    pub(crate) duration: u64,
    /// Calls that it was made from.
    pub(crate) depth: usize,
}

/// Remembers what the last event did to the stack.
#[derive(Default)]
struct Last {
    left: Option<(Frame, u64, usize)>,
    /// Where the outermost of the calls that were given up began.
    abandoned: Option<u64>,
    stray: Option<Callee>,
}

impl Visitor for Last {
    #[inline]
    fn enter(&mut self, _outer: &[Frame], _frame: &Frame) -> u32 {
        0
    }

    #[inline]
    fn leave(&mut self, outer: &[Frame], frame: &Frame, end: u64, how: End) {
        match how {
            End::Returned => self.left = Some((*frame, end, outer.len())),
            _ if frame.callee.is_schedule() => {}
            _ => self.abandoned = Some(frame.start),
        }
    }

    fn stray(&mut self, _outer: &[Frame], callee: Callee, _event: &Event) {
        self.stray = Some(callee);
    }
}

/// Where a call was made from.
pub(crate) struct Callsite {
    /// ns; just before the call.
    pub(crate) time: u64,
    pub(crate) text: String,
}

/// A task.
pub(crate) struct TaskReplay<'t> {
    pub(crate) trace: &'t dyn Trace,
    pub(crate) tid: Tid,
    /// Place among the trace's tasks, which decides between events of the same time.
    pub(crate) index: usize,
    /// The tid column.
    pub(crate) tid_text: Vec<u8>,
    /// For the task name column.
    pub(crate) task: &'t Task,
    /// The column of `--column-view`, once the task has appeared.
    pub(crate) column: Option<usize>,
    /// Time of the first event, shown or not; none when there is none.
    pub(crate) begin: Option<u64>,
    /// Time of the line printed last.
    pub(crate) shown_at: Option<u64>,
    /// Time of the last event.
    pub(crate) last_time: u64,
    /// Time of the second event of a merged line.
    pub(crate) leaf_end: Option<u64>,
    /// For pointers among the values; made when there are any.
    pub(crate) values_resolver: Option<Box<dyn Resolver + 't>>,
    /// Where the call that comes next is made from.
    pub(crate) callsite: Option<Callsite>,
    events: Box<dyn TaskEvents + 't>,
    pub(crate) batch: Batch,
    next: usize,
    done: bool,
    stack: CallStack<'t>,
    last: Last,
    /// Levels that are not indented for: a recording that began inside of calls.
    hidden: usize,
    fresh: bool,
    /// Events outside of functions are shown.
    outside: bool,
    /// What comes first is not the beginning of the task, so that of a call whose entry is missing is not known.
    cut: bool,
}

impl<'t> TaskReplay<'t> {
    pub(crate) fn new(
        trace: &'t dyn Trace,
        task: &'t Task,
        index: usize,
        options: EventOptions,
        cut: bool,
    ) -> Result<Self, Error> {
        let mut tid_text = vec![b'['];
        let width = crate::layout::LAYOUT.tid_width;
        units::right(&mut tid_text, width, &task.tid.to_string());
        tid_text.push(b']');
        let mut replay = TaskReplay {
            trace,
            tid: task.tid,
            index,
            tid_text,
            task,
            column: None,
            begin: None,
            shown_at: None,
            last_time: 0,
            leaf_end: None,
            values_resolver: None,
            callsite: None,
            events: trace.events(task.tid, options)?,
            batch: Batch::default(),
            next: 0,
            done: false,
            stack: CallStack::new(trace, trace.resolver(task.tid)).with_outside(options.outside),
            outside: options.outside,
            cut,
            last: Last::default(),
            hidden: 0,
            fresh: true,
        };
        replay.fill()?;
        Ok(replay)
    }

    /// Makes the next event available, if there is one.
    #[inline]
    pub(crate) fn fill(&mut self) -> Result<(), Error> {
        match self.peek() {
            Some(event) if event.kind != Kind::Event => Ok(()),
            _ => self.refill(),
        }
    }

    /// Reads on if necessary, and leaves out events outside of functions, which are not shown.
    #[cold]
    fn refill(&mut self) -> Result<(), Error> {
        while !self.done {
            match self.batch.events.get(self.next) {
                Some(event) if !self.is_shown(event) => {
                    self.stack.feed(event, &mut self.last);
                    self.next += 1;
                }
                Some(_) => break,
                None => {
                    self.next = 0;
                    self.done = !self.events.next_batch(&mut self.batch)?;
                    if self.done {
                        self.batch.clear();
                    }
                    let timed = self.batch.events.iter().find(|e| e.kind != Kind::Lost);
                    self.begin = self.begin.or(timed.map(|e| e.time));
                }
            }
        }
        Ok(())
    }

    /// Whether a line shows an event: not what happens outside of functions, unless that is wanted.
    fn is_shown(&self, event: &Event) -> bool {
        let with_next = matches!(event.addr, event_id::BACKTRACE | event_id::CALLSITE);
        let belongs = !self.stack.frames().is_empty() || with_next;
        event.kind != Kind::Event || belongs || self.outside
    }

    #[inline]
    fn peek(&self) -> Option<&Event> {
        self.batch.events.get(self.next)
    }

    /// The next event; [`TaskReplay::fill`] must follow before another is looked at.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Event> {
        let event = *self.batch.events.get(self.next)?;
        self.next += 1;
        Some(event)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// When the next event is, ns. A loss is where the event before it is.
    #[inline]
    pub(crate) fn next_time(&self) -> u64 {
        match self.peek() {
            None => u64::MAX,
            Some(event) if event.kind == Kind::Lost => self.last_time,
            Some(event) => event.time,
        }
    }

    /// Follows an event. For an exit, tells which call it ended.
    #[inline]
    pub(crate) fn feed(&mut self, event: &Event) -> Shown {
        if self.fresh && matches!(event.kind, Kind::Entry | Kind::Exit) {
            self.fresh = false;
            if event.kind == Kind::Entry && !event.inherited {
                self.hidden = usize::from(event.depth);
            }
        }
        self.last.left = None;
        self.last.abandoned = None;
        self.last.stray = None;
        self.stack.feed(event, &mut self.last);
        match (&self.last.left, self.last.stray) {
            (Some((frame, end, outer)), _) => Shown {
                callee: frame.callee,
                addr: frame.addr,
                duration: if self.cut && frame.origin == Origin::Assumed { 0 } else { frame.duration(*end) },
                depth: outer.saturating_sub(self.hidden),
            },
            (None, stray) => Shown {
                callee: stray.unwrap_or(Callee::UNKNOWN),
                addr: event.addr,
                // The second return of setjmp: since the first call after the first return.
                duration: self.last.abandoned.map_or(0, |start| event.time.saturating_sub(start)),
                depth: self.depth(),
            },
        }
    }

    /// How many calls are open, as far as they are indented for.
    #[inline]
    pub(crate) fn depth(&self) -> usize {
        let frames = self.stack.frames();
        let asleep = usize::from(frames.last().is_some_and(|f| f.callee.is_schedule()));
        frames.len().saturating_sub(asleep + self.hidden)
    }

    /// When the time off the processor began in which the task is.
    pub(crate) fn asleep_since(&self) -> Option<u64> {
        self.stack.frames().last().filter(|f| f.callee.is_schedule()).map(|f| f.start)
    }

    /// The innermost open call.
    #[inline]
    pub(crate) fn top_callee(&self) -> Callee {
        self.stack.frames().last().map_or(Callee::UNKNOWN, |f| f.callee)
    }

    /// The next event if it is the exit of the call that begins with `entry`.
    #[inline]
    pub(crate) fn exit_of(&self, entry: &Event) -> Option<Event> {
        let fits = |e: &&Event| e.kind == Kind::Exit && e.addr == entry.addr && e.depth == entry.depth;
        self.peek().filter(fits).copied()
    }

    /// The next event if it gives back the processor that was lost by `event`.
    pub(crate) fn wakes_from(&self, event: &Event) -> Option<Event> {
        let lost = matches!(event.addr, event_id::SCHED_OUT | event_id::SCHED_OUT_PREEMPTED);
        let back = |e: &&Event| e.kind == Kind::Event && e.addr == event_id::SCHED_IN;
        self.peek().filter(|_| lost).filter(back).copied()
    }

    /// The function that has an address.
    pub(crate) fn callee_at(&mut self, time: u64, addr: u64) -> Callee {
        self.stack.resolve(time, addr)
    }

    /// What the callee does to the stack.
    pub(crate) fn role(&mut self, callee: Callee) -> fathom_analysis::Role {
        self.stack.role(callee)
    }

    /// Calls that have not returned, outermost first; those of a parent process are its own business.
    pub(crate) fn open_calls(&self) -> Vec<Shown> {
        let called = |f: &&Frame| f.origin == Origin::Called && !f.callee.is_schedule();
        let shown = |f: &Frame| Shown { callee: f.callee, addr: f.addr, duration: 0, depth: 0 };
        self.stack.frames().iter().filter(called).map(shown).collect()
    }
}
