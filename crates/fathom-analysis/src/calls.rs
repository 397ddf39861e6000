//! Matching of entries and exits: a stack machine that is fed with the events of one task.
//!
//! In most traces an exit belongs to the innermost open call, and an entry is one level below it. Everything else
//! is off the fast path and happens when control moved in a way that no hook sees: after a longjmp or exec the
//! recorded depth of the next call tells which frames are gone; coroutines leave frames in the order that they
//! like; a forked child returns from calls that its parent made; after a loss only depths can be trusted.

use crate::callee::{Callee, Role, Roles};
use fathom_store::{Event, Kind, Resolver, Trace, event_id};

/// Recorded depths have ten bits.
const DEPTH_MASK: u32 = 1023;
/// How far down the stack an exit's frame is looked for when frames are in no order.
const SEARCH: usize = 4096;
/// A place for a frame that was given up, while there is none.
const NOT_GIVEN_UP: (u64, u32) = (0, u32::MAX);
/// How many frames are assumed for one task.
const MOST_ASSUMED: usize = 1 << 17;

/// How a frame came to be on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its entry was recorded.
    Called,
    /// A call of the parent process, repeated by the recorder for the child.
    Inherited,
    /// Its entry was not recorded: it was made by the parent process, before the recording or during a loss.
    Assumed,
}

/// How a frame left the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It returned.
    Returned,
    /// Control left it in another way: longjmp, exec, a lost exit.
    Abandoned,
    /// It was open when the recording ended.
    Open,
}

/// An open call.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Time of its entry, ns. Of an assumed frame: of the task's first record.
    pub start: u64,
    /// Time spent in finished calls made by it, ns.
    pub children: u64,
    /// Code address as recorded.
    pub addr: u64,
    /// Depth with the bits that the record doesn't keep. The same as that of the call below for time off the
    /// processor.
    pub level: u32,
    /// What was called.
    pub callee: Callee,
    /// What [`Visitor::enter`] returned for it.
    pub tag: u32,
    /// Whether its entry was seen.
    pub origin: Origin,
}

impl Frame {
    /// Time of the call itself when it ends at `end`, ns.
    #[inline]
    pub fn own(&self, end: u64) -> u64 {
        self.duration(end).saturating_sub(self.children)
    }

    /// Time of the call with all that it called, ns. In broken data, where time goes backwards, how far it went.
    #[inline]
    pub fn duration(&self, end: u64) -> u64 {
        end.abs_diff(self.start)
    }
}

/// What is done with calls.
pub trait Visitor {
    /// A call begins inside of `outer`. The number returned is kept in [`Frame::tag`].
    fn enter(&mut self, outer: &[Frame], frame: &Frame) -> u32;

    /// A call is found to be open whose entry was not recorded. Like [`Visitor::enter`].
    fn assume(&mut self, outer: &[Frame], frame: &Frame) -> u32 {
        let _ = frame;
        outer.last().map_or(0, |f| f.tag)
    }

    /// A call ended at `end` (ns). `outer` is what it was called from. Assumed frames come here when they return,
    /// and then have a callee.
    fn leave(&mut self, outer: &[Frame], frame: &Frame, end: u64, how: End);

    /// A frame that was assumed is gone without having returned.
    fn forget(&mut self, outer: &[Frame], frame: &Frame) {
        let _ = (outer, frame);
    }

    /// An exit that belongs to no frame, such as the second return of setjmp.
    fn stray(&mut self, outer: &[Frame], callee: Callee, event: &Event) {
        let _ = (outer, callee, event);
    }
}

/// The open calls of a task.
pub struct CallStack<'t> {
    trace: &'t dyn Trace,
    resolver: Box<dyn Resolver + 't>,
    roles: Roles,
    frames: Vec<Frame>,
    /// Time of the first record that belongs to a call.
    first: Option<u64>,
    /// Time of the last record with a time.
    last: u64,
    /// Time of the last record before a loss.
    lost_at: u64,
    /// Whether no entry or exit was seen so far.
    fresh: bool,
    /// The innermost frame is time off the processor.
    sleeping: bool,
    /// Records were lost and no call was seen since.
    lossy: bool,
    /// Frames are not in the order of their depths: there are coroutines.
    scattered: bool,
    /// Time off the processor counts also outside of functions.
    outside: bool,
    /// How many frames were assumed so far.
    assumed: usize,
    /// Any of the four flags above; the only one that the fast path looks at.
    unusual: bool,
    /// Address and level of the frames given up most recently, to notice that they were not dead.
    given_up: [(u64, u32); 8],
    given_up_next: usize,
}

/// What a [`CallStack`] knows besides its frames, for going on from there later: see [`CallStack::pause`].
#[derive(Clone, Debug, Default)]
pub struct Paused {
    first: Option<u64>,
    last: u64,
    lost_at: u64,
    assumed: usize,
    fresh: bool,
    sleeping: bool,
    lossy: bool,
    scattered: bool,
    outside: bool,
    /// None while no frame was given up, as in most tasks.
    given_up: Option<Box<GivenUp>>,
}

/// The frames given up most recently, and where the next one goes.
type GivenUp = ([(u64, u32); 8], usize);

impl<'t> CallStack<'t> {
    /// An empty stack for the task whose addresses `resolver` knows.
    pub fn new(trace: &'t dyn Trace, resolver: Box<dyn Resolver + 't>) -> Self {
        CallStack {
            trace,
            resolver,
            roles: Roles::default(),
            frames: Vec::new(),
            first: None,
            last: 0,
            lost_at: 0,
            fresh: true,
            sleeping: false,
            lossy: false,
            scattered: false,
            outside: false,
            assumed: 0,
            unusual: true,
            given_up: [NOT_GIVEN_UP; 8],
            given_up_next: 0,
        }
    }

    /// Whether time off the processor counts also while the task is in no function.
    #[must_use]
    pub fn with_outside(mut self, outside: bool) -> Self {
        self.outside = outside;
        self
    }

    /// What is known besides [`CallStack::frames`].
    pub fn pause(&self) -> Paused {
        let none_given_up = self.given_up.iter().all(|given| *given == NOT_GIVEN_UP);
        Paused {
            first: self.first,
            last: self.last,
            lost_at: self.lost_at,
            assumed: self.assumed,
            fresh: self.fresh,
            sleeping: self.sleeping,
            lossy: self.lossy,
            scattered: self.scattered,
            outside: self.outside,
            given_up: (!none_given_up).then(|| Box::new((self.given_up, self.given_up_next))),
        }
    }

    /// A stack that goes on where another one was paused, with the frames that it had. Their tags may be others.
    pub fn resume(
        trace: &'t dyn Trace,
        resolver: Box<dyn Resolver + 't>,
        frames: Vec<Frame>,
        paused: &Paused,
    ) -> Self {
        let (given_up, given_up_next) = match &paused.given_up {
            Some(given) => (given.0, given.1 % given.0.len()),
            None => ([NOT_GIVEN_UP; 8], 0),
        };
        let mut stack = CallStack {
            trace,
            resolver,
            roles: Roles::default(),
            frames,
            first: paused.first,
            last: paused.last,
            lost_at: paused.lost_at,
            fresh: paused.fresh,
            sleeping: paused.sleeping,
            lossy: paused.lossy,
            scattered: paused.scattered,
            outside: paused.outside,
            assumed: paused.assumed,
            unusual: true,
            given_up,
            given_up_next,
        };
        stack.update_unusual();
        stack
    }

    /// The open calls, outermost first.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Times of the first and last record, ns; none when there were none with a time.
    pub fn span(&self) -> Option<(u64, u64)> {
        self.first.map(|first| (first, self.last))
    }

    /// The function that has `addr` at `time`.
    pub fn resolve(&mut self, time: u64, addr: u64) -> Callee {
        self.resolver.resolve(time, addr).into()
    }

    /// What the callee does to the stack.
    pub fn role(&mut self, callee: Callee) -> Role {
        self.roles.get(self.trace, callee)
    }

    /// Takes the next event.
    #[inline]
    pub fn feed(&mut self, event: &Event, visitor: &mut impl Visitor) {
        // Comparing is faster here than a jump by a table, which is predicted as a whole.
        if event.kind == Kind::Exit {
            self.exit(event, visitor);
        } else if event.kind == Kind::Entry {
            self.enter(event, visitor);
        } else {
            self.other(event, visitor);
        }
    }

    #[cold]
    fn other(&mut self, event: &Event, visitor: &mut impl Visitor) {
        if event.kind == Kind::Lost {
            self.lossy = true;
            self.unusual = true;
            self.lost_at = self.last;
        } else {
            self.event(event, visitor);
        }
    }

    /// The task has done something at `time` (ns) that is not among the events: calls that are open have lasted until
    /// then.
    pub fn lasts_until(&mut self, time: u64) {
        if !self.frames.is_empty() {
            self.last = self.last.max(time);
        }
    }

    /// The recording is over: closes all calls that are still open, innermost first, at the last time.
    pub fn finish(&mut self, visitor: &mut impl Visitor) {
        let last = self.last;
        while let Some(frame) = self.frames.pop() {
            if frame.origin != Origin::Assumed {
                self.closed(&frame, last, End::Open, visitor);
            }
        }
        self.sleeping = false;
        self.update_unusual();
    }

    /// The first entry or exit has come.
    fn begin(&mut self, time: u64) {
        self.first = Some(time);
        self.fresh = false;
        self.update_unusual();
    }

    #[inline]
    fn enter(&mut self, event: &Event, visitor: &mut impl Visitor) {
        self.last = event.time;
        let next = self.frames.last().map_or(0, |top| top.level.wrapping_add(1));
        let level = if next & DEPTH_MASK == u32::from(event.depth) && !self.unusual {
            next
        } else {
            self.place(event, visitor)
        };
        let callee = self.resolver.resolve(event.time, event.addr).into();
        let origin = if event.inherited { Origin::Inherited } else { Origin::Called };
        let (start, addr) = (event.time, event.addr);
        let mut frame = Frame { start, children: 0, addr, level, callee, tag: 0, origin };
        frame.tag = visitor.enter(&self.frames, &frame);
        self.frames.push(frame);
    }

    #[inline]
    fn exit(&mut self, event: &Event, visitor: &mut impl Visitor) {
        self.last = event.time;
        if let Some((top, outer)) = self.frames.split_last_mut()
            && top.addr == event.addr
            && top.level & DEPTH_MASK == u32::from(event.depth)
            && !self.unusual
        {
            if let Some(caller) = outer.last_mut() {
                caller.children = caller.children.wrapping_add(top.duration(event.time));
            }
            visitor.leave(outer, top, event.time, End::Returned);
            self.frames.pop();
            return;
        }
        self.exit_unusual(event, visitor);
    }

    /// Tells of a frame that is no longer on the stack.
    #[inline]
    fn closed(&mut self, frame: &Frame, end: u64, how: End, visitor: &mut impl Visitor) {
        if let Some(outer) = self.frames.last_mut() {
            outer.children = outer.children.wrapping_add(frame.duration(end));
        }
        visitor.leave(&self.frames, frame, end, how);
    }

    /// The level of an entry that doesn't simply come below the innermost frame, after frames that must be gone
    /// have been closed.
    #[cold]
    fn place(&mut self, event: &Event, visitor: &mut impl Visitor) -> u32 {
        self.wake(event.time, End::Abandoned, visitor);
        let depth = u32::from(event.depth) & DEPTH_MASK;
        if self.fresh {
            self.begin(event.time);
            self.assume_up_to(depth, event.time, visitor);
            self.recovered();
            return depth;
        }
        if self.lossy {
            let level = self.unwrapped(depth);
            self.give_up_from(level, self.lost_at, visitor);
            self.assume_up_to(level, self.lost_at, visitor);
            self.recovered();
            return level;
        }
        if self.scattered {
            // Levels say nothing, but the number of frames does: the runtime counts the living ones.
            let level = self.unwrapped(depth);
            let gone = self.frames.len().saturating_sub(level as usize);
            for _ in 0..gone {
                self.give_up(event.time, visitor);
            }
            return level;
        }
        let level = self.unwrapped(depth);
        self.give_up_from(level, event.time, visitor);
        level
    }

    /// The level that is meant by a recorded depth: the one nearest to that of a new frame.
    fn unwrapped(&self, depth: u32) -> u32 {
        let next = match self.frames.last() {
            None => return depth,
            Some(_) if self.scattered => self.frames.len() as u32,
            Some(top) => top.level.saturating_add(1),
        };
        if next <= DEPTH_MASK + 1 {
            return depth;
        }
        let back = next.wrapping_sub(depth) & DEPTH_MASK;
        if back <= 512 { next - back } else { next.saturating_add(DEPTH_MASK + 1 - back) }
    }

    /// Puts assumed frames on the stack until a frame of `level` can follow.
    fn assume_up_to(&mut self, level: u32, start: u64, visitor: &mut impl Visitor) {
        let from = self.frames.last().map_or(0, |top| top.level.saturating_add(1));
        for level in from..level {
            // A damaged file must not fill the memory with frames that nobody made.
            if self.assumed >= MOST_ASSUMED {
                return;
            }
            self.assumed += 1;
            let mut frame = Frame {
                start,
                children: 0,
                addr: 0,
                level,
                callee: Callee::UNKNOWN,
                tag: 0,
                origin: Origin::Assumed,
            };
            frame.tag = visitor.assume(&self.frames, &frame);
            self.frames.push(frame);
        }
    }

    /// Closes the frames of `level` and deeper.
    fn give_up_from(&mut self, level: u32, time: u64, visitor: &mut impl Visitor) {
        while self.frames.last().is_some_and(|top| top.level >= level) {
            self.give_up(time, visitor);
        }
    }

    /// Closes the innermost frame, which control has left without an exit.
    fn give_up(&mut self, time: u64, visitor: &mut impl Visitor) {
        let Some(frame) = self.frames.pop() else { return };
        if frame.origin == Origin::Assumed {
            // Nobody books its time, but what it called was called by its caller, too.
            if let Some(outer) = self.frames.last_mut() {
                outer.children = outer.children.wrapping_add(frame.children);
            }
            visitor.forget(&self.frames, &frame);
        } else {
            self.given_up[self.given_up_next] = (frame.addr, frame.level);
            self.given_up_next = (self.given_up_next + 1) % self.given_up.len();
            self.closed(&frame, time.max(frame.start), End::Abandoned, visitor);
        }
    }

    fn recovered(&mut self) {
        self.lossy = false;
        self.update_unusual();
    }

    fn update_unusual(&mut self) {
        self.unusual = self.fresh || self.sleeping || self.lossy || self.scattered;
    }

    #[cold]
    fn exit_unusual(&mut self, event: &Event, visitor: &mut impl Visitor) {
        self.wake(event.time, End::Abandoned, visitor);
        let depth = u32::from(event.depth) & DEPTH_MASK;
        if self.fresh {
            self.assume_up_to(depth + 1, event.time, visitor);
            self.begin(event.time);
        }
        let callee = self.resolve(event.time, event.addr);
        let found = self.find(event.addr, callee, depth).or_else(|| self.restore(depth, visitor));
        let gap_end = if self.lossy { self.lost_at } else { event.time };
        if self.lossy {
            self.recovered();
        }
        let Some(index) = found else { return self.unmatched(event, callee, visitor) };
        if index + 1 < self.frames.len() {
            if self.switches(index, callee) {
                self.scattered = true;
                self.unusual = true;
            } else {
                while self.frames.len() > index + 1 {
                    self.give_up(gap_end, visitor);
                }
            }
        }
        self.take_out(index, event, callee, visitor);
    }

    /// Removes a frame that has returned from wherever it is.
    fn take_out(&mut self, index: usize, event: &Event, callee: Callee, visitor: &mut impl Visitor) {
        let mut frame = self.frames.remove(index);
        if frame.origin == Origin::Assumed {
            frame.addr = event.addr;
            frame.callee = callee;
        }
        let duration = frame.duration(event.time);
        let outer = self.frames.get_mut(..index).unwrap_or_default();
        if let Some(outer) = outer.last_mut() {
            outer.children = outer.children.wrapping_add(duration);
        }
        visitor.leave(outer, &frame, event.time, End::Returned);
    }

    /// The frame that an exit belongs to.
    fn find(&self, addr: u64, callee: Callee, depth: u32) -> Option<usize> {
        let fits = |f: &Frame| {
            f.level & DEPTH_MASK == depth
                && (f.addr == addr || f.callee == callee || f.origin == Origin::Assumed)
        };
        if self.scattered {
            let lowest = self.frames.len().saturating_sub(SEARCH);
            return (lowest..self.frames.len()).rev().find(|i| fits(&self.frames[*i]));
        }
        // Levels ascend, so only those that the depth can stand for need a look.
        let top = self.frames.last()?.level;
        let mut level = top.wrapping_sub(top.wrapping_sub(depth) & DEPTH_MASK);
        for _ in 0..16 {
            if level > top {
                return None;
            }
            let found = self.frames.binary_search_by_key(&level, |f| f.level);
            if let Some(index) = found.ok().filter(|i| fits(&self.frames[*i])) {
                return Some(index);
            }
            level = level.checked_sub(DEPTH_MASK + 1)?;
        }
        None
    }

    /// After a loss: an exit says that a call of its depth was open, whose entry was lost.
    fn restore(&mut self, depth: u32, visitor: &mut impl Visitor) -> Option<usize> {
        if !self.lossy {
            return None;
        }
        let level = self.unwrapped(depth);
        self.give_up_from(level, self.lost_at, visitor);
        self.assume_up_to(level.saturating_add(1), self.lost_at, visitor);
        self.frames.len().checked_sub(1)
    }

    /// Whether frames above the one that returns stay alive.
    fn switches(&mut self, index: usize, callee: Callee) -> bool {
        let above = self.frames.get(index + 1..).unwrap_or_default();
        let top = above.last().map(|f| f.callee);
        self.scattered
            || self.role(callee) == Role::Switch
            || top.is_some_and(|top| self.role(top) == Role::Switch)
    }

    /// An exit without a frame.
    fn unmatched(&mut self, event: &Event, callee: Callee, visitor: &mut impl Visitor) {
        let depth = u32::from(event.depth) & DEPTH_MASK;
        let top = self.frames.last().map(|f| f.callee);
        let jumped =
            self.role(callee) == Role::Setjmp || top.is_some_and(|callee| self.role(callee) == Role::Longjmp);
        if jumped && !self.scattered {
            let level = self.unwrapped(depth);
            self.give_up_from(level, event.time, visitor);
        } else if self.given_up.iter().any(|(addr, level)| *addr == event.addr && level & DEPTH_MASK == depth)
        {
            // It was alive after all. Its call was counted when it was given up.
            self.scattered = true;
            self.unusual = true;
        }
        visitor.stray(&self.frames, callee, event);
    }

    fn event(&mut self, event: &Event, visitor: &mut impl Visitor) {
        if self.frames.is_empty() && !self.outside {
            // Outside of functions: the task's start and end, which belong to nobody.
            return;
        }
        self.last = event.time;
        let callee = match event.addr {
            event_id::SCHED_IN => return self.wake(event.time, End::Returned, visitor),
            event_id::SCHED_OUT => Callee::SCHEDULE,
            event_id::SCHED_OUT_PREEMPTED => Callee::PREEMPTED,
            _ => return,
        };
        self.wake(event.time, End::Abandoned, visitor);
        let level = self.frames.last().map_or(0, |f| f.level);
        let (start, addr, origin) = (event.time, event.addr, Origin::Called);
        let mut frame = Frame { start, children: 0, addr, level, callee, tag: 0, origin };
        frame.tag = visitor.enter(&self.frames, &frame);
        self.frames.push(frame);
        self.sleeping = true;
        self.unusual = true;
    }

    /// The task is running: ends its time off the processor.
    fn wake(&mut self, time: u64, how: End, visitor: &mut impl Visitor) {
        if !self.sleeping {
            return;
        }
        self.sleeping = false;
        self.update_unusual();
        if let Some(frame) = self.frames.pop() {
            self.closed(&frame, time, how, visitor);
        }
    }
}
