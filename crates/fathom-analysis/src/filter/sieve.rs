//! Decides about the events of one task.

use super::Shared;
use super::held::{Held, emit};
use super::switches::{Cursor, State as SwitchState, Switch};
use crate::callee::Callee;
use crate::calls::{End, Frame, Visitor};
use fathom_abi::decide::{
    CALLER, FILTER_IN, FILTER_OUT, FINISH, HIDE, Rule, State, TRACE, TRACE_OFF, TRACE_ON, Verdict,
};
use fathom_filter::{Condition, FunctionRule};
use fathom_store::args::{ArgFormat, ArgSlot, values};
use fathom_store::{Batch, Endian, Event, FunctionKind, Kind, event_id};

/// Events that may be held back before anybody looks whether they still have to.
const MOST_HELD: usize = 4096;

/// Recorded depths have ten bits.
const DEPTH_MASK: u32 = 1023;

/// Tags of frames about which nothing has to be kept: calls that are left out and changed nothing,
const SKIPPED: u32 = u32::MAX;
/// time off the processor that is left out,
const NO_SLEEP: u32 = u32::MAX - 1;
/// and calls whose entry was not recorded, left out or not.
const ASSUMED_HIDDEN: u32 = u32::MAX - 2;
const ASSUMED: u32 = u32::MAX - 3;
/// Tags from here on are those above.
const TAGS: u32 = u32::MAX - 3;

/// An open call that is shown or has changed something.
struct Open {
    tag: u32,
    /// What held before it.
    before: State,
    /// `FILTER_IN`, `FILTER_OUT`: what it counts for.
    flags: u32,
    shown: bool,
    /// What waits in front of its end is shown if it takes long enough: the call itself, or what led to it.
    eligible: bool,
    /// Its entry is out.
    released: bool,
    /// ns that it must take.
    threshold: u64,
    start: u64,
    /// Depth that it is shown at.
    depth: u16,
    /// Number of its entry among what is held.
    number: u64,
}

/// What is known about a function.
#[derive(Clone, Default)]
struct Known {
    size: u32,
    rule: Option<Box<FunctionRule>>,
    looked_up: bool,
}

pub(crate) struct Sieve<'s> {
    shared: &'s Shared<'s>,
    known: Vec<Known>,
    state: State,
    open: Vec<Open>,
    next_tag: u32,
    /// Open calls that are left out.
    hidden: u32,
    /// How many of the open calls that are shown are still held back.
    waiting: usize,
    /// When so many events are held back, it is time to look which calls have lasted long enough already.
    look_at: usize,
    held: Held,
    switches: Cursor,
    was_on: bool,
    /// Switchings that this task has done.
    pub(crate) switched: Option<Vec<Switch>>,
    task: u32,
    /// The event at hand, and its payload.
    event: Event,
    payload: Vec<u8>,
    /// The time off the processor is one that another task has taken.
    preempted: bool,
    /// Nothing before this time is shown.
    from: u64,
    /// Where the call that comes next is made from, if that was recorded. Shown or not with it.
    callsite: Option<Box<(Event, Vec<u8>)>>,
    pub(crate) out: Batch,
}

const NO_EVENT: Event =
    Event { time: 0, addr: 0, data_start: 0, data_len: 0, depth: 0, kind: Kind::Lost, inherited: false };

impl<'s> Sieve<'s> {
    /// For the task of that index. `from` is the first moment that is shown.
    pub(crate) fn new(shared: &'s Shared<'s>, task: u32, from: u64) -> Self {
        let options = &shared.options;
        let switches = shared.switches.cursor(task);
        Sieve {
            shared,
            known: Vec::new(),
            state: State::new(options.depth, options.time, options.size),
            open: Vec::new(),
            next_tag: 0,
            hidden: 0,
            waiting: 0,
            look_at: MOST_HELD,
            held: Held::default(),
            was_on: switches.is_on(),
            switches,
            switched: None,
            task,
            event: NO_EVENT,
            payload: Vec::new(),
            preempted: false,
            from,
            callsite: None,
            out: Batch::default(),
        }
    }

    /// Prepares for an event, which the call stack is to be fed with next.
    #[inline]
    pub(crate) fn prepare(&mut self, event: &Event, payload: &[u8]) {
        self.event = *event;
        self.payload.clear();
        self.payload.extend_from_slice(payload);
        if event.kind == Kind::Lost {
            return;
        }
        self.switches.advance(event.time);
        if self.was_on != self.switches.is_on() {
            self.switched_over();
        }
        if self.held.len() >= self.look_at {
            self.release_by_time(event.time);
        }
    }

    /// What was held back when recording is switched off is shown: its end will not be seen.
    #[cold]
    fn switched_over(&mut self) {
        self.was_on = self.switches.is_on();
        if !self.was_on {
            self.release_all();
        }
    }

    /// Takes an event that is no call and none that the call stack makes one of.
    pub(crate) fn other(&mut self) {
        let event = self.event;
        if event.kind == Kind::Event && event.addr == event_id::CALLSITE {
            self.callsite = Some(Box::new((event, self.payload.clone())));
            return;
        }
        let probe = (event_id::USER..event_id::EXTERNAL).contains(&event.addr);
        if event.kind == Kind::Lost || probe {
            self.release_all();
        }
        if event.kind == Kind::Lost || self.events_are_shown() {
            self.put(&event);
        }
    }

    /// Whether an event that is no call is shown at this place.
    fn events_are_shown(&self) -> bool {
        let state = &self.state;
        let inside = state.outside == 0 && (state.inside > 0 || !self.shared.opt_in);
        if self.shared.options.kernel_only && !event_id::is_kernel(self.event.addr) {
            return false;
        }
        inside && state.depth < state.max_depth && self.switches.is_on()
    }

    /// Whether a scheduler event is one that is not wanted.
    pub(crate) fn is_unwanted_preemption(&mut self) -> bool {
        match (self.event.kind, self.event.addr) {
            (Kind::Event, event_id::SCHED_OUT_PREEMPTED) => self.preempted = true,
            (Kind::Event, event_id::SCHED_OUT) => self.preempted = false,
            (Kind::Event, event_id::SCHED_IN) => {
                return std::mem::take(&mut self.preempted) && !self.shared.options.preemption;
            }
            _ => return false,
        }
        self.preempted && !self.shared.options.preemption
    }

    /// Shows an event, or holds it back behind those that wait.
    #[inline]
    fn put(&mut self, event: &Event) {
        let silent = event.time < self.from && event.kind != Kind::Lost;
        let payload = self.payload.as_slice();
        if self.waiting > 0 {
            self.held.push(event, payload, silent);
        } else if !silent {
            emit(&mut self.out, event, payload);
        }
    }

    /// Shows all that is held back.
    fn release_all(&mut self) {
        if self.waiting > 0 {
            self.open.iter_mut().for_each(|open| open.released = true);
            self.waiting = 0;
            self.held.release(u64::MAX, &mut self.out);
        }
    }

    /// Shows the open call at an index and all that it is in.
    fn release_through(&mut self, index: usize) {
        let end = (index + 1).min(self.open.len());
        let (through, inner) = self.open.split_at_mut(end);
        for open in through.iter_mut().rev() {
            if open.shown && open.released {
                break;
            }
            self.waiting -= usize::from(open.shown);
            open.released = true;
        }
        let next = inner.iter().find(|open| open.shown && !open.released);
        let end = next.map_or(u64::MAX, |open| open.number);
        self.held.release(end, &mut self.out);
    }

    /// Shows the calls that have lasted long enough by now, whenever they end: so what happens in a call that lasts for
    /// hours need not be kept.
    #[cold]
    fn release_by_time(&mut self, now: u64) {
        let long = |open: &Open| open.shown && !open.released && open.eligible;
        let lasted = |open: &Open| now.saturating_sub(open.start) >= open.threshold;
        if let Some(index) = self.open.iter().rposition(|open| long(open) && lasted(open)) {
            self.release_through(index);
        }
        self.look_at = MOST_HELD.max(2 * self.held.len());
    }

    /// Makes sure that it is known what the specs say about a function.
    #[inline]
    fn look_up(&mut self, callee: Callee) -> usize {
        let index = callee.index();
        if self.known.get(index).is_none_or(|known| !known.looked_up) {
            self.find_rule(callee);
        }
        index
    }

    #[cold]
    fn find_rule(&mut self, callee: Callee) {
        let Some(id) = callee.function() else { return };
        if self.known.len() <= callee.index() {
            self.known.resize(callee.index() + 1, Known::default());
        }
        let function = self.shared.trace.function(id);
        let mut rule = self.shared.rule(id, &function).map(Box::new);
        if self.shared.options.kernel_only && function.kind != FunctionKind::Kernel {
            rule.get_or_insert_default().decide.flags |= HIDE;
        }
        // Of what has no symbol the size is not known; that is no reason to leave it out.
        let unknown = function.kind == FunctionKind::Unknown;
        let size = if unknown { u32::MAX } else { u32::try_from(function.size).unwrap_or(u32::MAX) };
        if let Some(slot) = self.known.get_mut(callee.index()) {
            *slot = Known { size, rule, looked_up: true };
        }
    }

    /// Whether a function is left out by itself, wherever it is called. For calls whose entry is not known.
    fn is_left_out(&mut self, callee: Callee) -> bool {
        let index = self.look_up(callee);
        self.known.get(index).is_some_and(|known| {
            let flags = known.rule.as_ref().map_or(0, |rule| rule.decide.flags);
            known.size < self.state.size || flags & (HIDE | FILTER_OUT) != 0
        })
    }

    /// Whether the condition of a filter holds for the call at hand. It does if its argument was not recorded.
    #[cold]
    fn holds(&self, condition: &Condition, callee: Callee) -> bool {
        let Some(id) = callee.function() else { return true };
        let specs = self.shared.trace.arg_specs(id);
        let endian = self.shared.trace.info().endian;
        let wanted = ArgSlot::Integer(u16::from(condition.arg));
        let mut all = values(&specs, Kind::Entry, &self.payload, endian);
        let Some(value) = all.find(|value| value.spec.slot == wanted) else { return true };
        let signed = match value.spec.format {
            ArgFormat::Auto | ArgFormat::Signed | ArgFormat::Char | ArgFormat::Enum => true,
            ArgFormat::Unsigned | ArgFormat::Hex | ArgFormat::Octal | ArgFormat::Pointer => false,
            ArgFormat::String | ArgFormat::StdString | ArgFormat::Float | ArgFormat::Struct => return true,
        };
        integer(value.bytes, endian, signed).is_none_or(|bits| condition.holds(bits))
    }

    /// A call of a function begins.
    #[inline]
    fn call(&mut self, outer: &[Frame], frame: &Frame) -> u32 {
        let index = self.look_up(frame.callee);
        let (size, mut rule) = match self.known.get(index) {
            Some(Known { size, rule: None, .. }) => (*size, Rule::default()),
            Some(Known { size, rule: Some(rule), .. }) => (*size, rule.decide),
            None => (u32::MAX, Rule::default()),
        };
        let before = self.state;
        let mut backtrace = false;
        if let Some(Known { rule: Some(full), .. }) = self.known.get(index) {
            backtrace = full.backtrace && self.shared.options.backtraces;
            if full.condition.as_ref().is_some_and(|condition| !self.holds(condition, frame.callee)) {
                rule = full.without_filter();
            }
            if self.event.inherited {
                // It was the parent's call that switched.
                rule.flags &= !(TRACE_ON | TRACE_OFF | FINISH);
                backtrace = false;
            }
            if self.switches.is_finished() {
                rule.flags &= !TRACE_ON;
            }
        }
        let on = self.switches.is_on();
        let verdict = self.state.enter(&rule, size, self.shared.opt_in, on);
        if verdict == Verdict::Skip {
            self.hidden += 1;
            self.callsite = None;
            return SKIPPED;
        }
        let shown = verdict == Verdict::Shown;
        let depth = self.shown_depth(frame);
        let caller = rule.flags & CALLER != 0;
        let eligible = match shown {
            true => caller || !self.shared.caller,
            false => {
                let on = (on || rule.flags & TRACE_ON != 0) && rule.flags & TRACE_OFF == 0;
                caller && on && rule.flags & FILTER_OUT == 0
            }
        };
        let open = Open {
            tag: 0,
            before,
            flags: rule.flags & (FILTER_IN | FILTER_OUT),
            shown,
            eligible,
            released: false,
            threshold: self.state.time,
            start: frame.start,
            depth,
            number: 0,
        };
        let backtrace = if backtrace { outer } else { &[] };
        let tag = self.push(open, rule.flags & TRACE != 0, backtrace);
        if rule.flags & (TRACE_ON | TRACE_OFF | FINISH) != 0 {
            self.switch(rule.flags);
        }
        tag
    }

    /// Puts a call, or time off the processor, on the stack, and its first event where it belongs, behind a backtrace.
    #[inline]
    fn push(&mut self, mut open: Open, forced: bool, backtrace: &[Frame]) -> u32 {
        let tag = self.next_tag;
        self.next_tag = if tag + 1 >= TAGS { 0 } else { tag + 1 };
        open.tag = tag;
        let callsite = self.callsite.take();
        if !open.shown {
            self.hidden += 1;
            self.open.push(open);
            return tag;
        }
        if forced || (open.eligible && open.threshold == 0) {
            self.release_all();
            open.released = true;
        } else {
            open.number = self.held.next();
            self.waiting += 1;
        }
        if !backtrace.is_empty() {
            self.put_backtrace(backtrace);
        }
        if let Some(site) = callsite {
            self.put_with(&site.0, site.1);
        }
        self.put(&Event { depth: open.depth, ..self.event });
        self.open.push(open);
        tag
    }

    /// The open calls, for the entry that comes next.
    #[cold]
    fn put_backtrace(&mut self, outer: &[Frame]) {
        let frames = outer.iter().filter(|frame| !frame.callee.is_schedule() && frame.addr != 0);
        let payload: Vec<u8> = frames.flat_map(|frame| frame.addr.to_ne_bytes()).collect();
        let event = Event { addr: event_id::BACKTRACE, kind: Kind::Event, inherited: false, ..self.event };
        self.put_with(&event, payload);
    }

    /// Shows an event that is not the one at hand.
    #[cold]
    fn put_with(&mut self, event: &Event, payload: Vec<u8>) {
        let kept = std::mem::replace(&mut self.payload, payload);
        self.put(event);
        self.payload = kept;
    }

    #[cold]
    fn switch(&mut self, flags: u32) {
        let to = match flags {
            flags if flags & FINISH != 0 => SwitchState::Finished,
            flags if flags & TRACE_ON != 0 => SwitchState::On,
            _ => SwitchState::Off,
        };
        if let Some(switched) = &mut self.switched {
            switched.push(Switch { time: self.event.time, task: self.task, to });
        }
        self.switches.switch(to);
        if self.was_on != self.switches.is_on() {
            self.switched_over();
        }
    }

    /// Time off the processor begins.
    #[cold]
    fn sleep(&mut self, frame: &Frame) -> u32 {
        let unwanted = self.preempted && !self.shared.options.preemption;
        if unwanted || !self.events_are_shown() {
            return NO_SLEEP;
        }
        let open = Open {
            tag: 0,
            before: self.state,
            flags: 0,
            shown: true,
            eligible: !self.shared.caller,
            released: false,
            threshold: self.state.time,
            start: frame.start,
            depth: self.event.depth,
            number: 0,
        };
        self.push(open, false, &[])
    }

    /// The depth that a call is shown at.
    #[inline]
    fn shown_depth(&self, frame: &Frame) -> u16 {
        let hidden = if self.shared.options.recorded_depths { 0 } else { self.hidden };
        (frame.level.saturating_sub(hidden) & DEPTH_MASK) as u16
    }

    /// Takes a call off the stack.
    #[inline]
    fn pop(&mut self, tag: u32) -> Option<(Open, bool)> {
        if self.open.last().is_some_and(|open| open.tag == tag) {
            let open = self.open.pop()?;
            self.state = open.before;
            return Some((open, true));
        }
        let index = self.open.iter().rposition(|open| open.tag == tag)?;
        let open = self.open.remove(index);
        // Calls of other coroutines go on. What it has changed they keep until they end, but it counts no longer.
        let (inside, outside) =
            (u32::from(open.flags & FILTER_IN != 0), u32::from(open.flags & FILTER_OUT != 0));
        let less = |state: &mut State| {
            state.inside = state.inside.saturating_sub(inside);
            state.outside = state.outside.saturating_sub(outside);
        };
        for (place, above) in self.open.iter_mut().skip(index).enumerate() {
            match place {
                0 => above.before = open.before,
                _ => less(&mut above.before),
            }
        }
        less(&mut self.state);
        Some((open, false))
    }

    #[inline]
    fn ended(&mut self, frame: &Frame, end: u64, how: End) {
        let Some((open, innermost)) = self.pop(frame.tag) else { return };
        let long = open.eligible && frame.duration(end) >= open.threshold;
        if !open.shown {
            self.hidden = self.hidden.saturating_sub(1);
            if long {
                self.release_all();
            }
            return;
        }
        if !open.released {
            self.waiting -= 1;
            if !long {
                if innermost {
                    self.held.truncate(open.number);
                } else {
                    self.held.silence(open.number);
                }
                if self.waiting == 0 {
                    self.held.release(u64::MAX, &mut self.out);
                }
                return;
            }
            self.release_outer(innermost, open.number);
        }
        if how == End::Returned && self.switches.is_on() {
            let event = Event { depth: open.depth, ..self.event };
            self.put(&event);
        }
    }

    /// Shows a call that has just been taken off the stack, and all that it was in.
    fn release_outer(&mut self, innermost: bool, number: u64) {
        let index = match innermost {
            true => self.open.len(),
            // Numbers ascend along the stack.
            false => self
                .open
                .iter()
                .position(|open| open.shown && !open.released && open.number > number)
                .unwrap_or(self.open.len()),
        };
        match index.checked_sub(1) {
            Some(index) => self.release_through(index),
            None => {
                let next = self.open.iter().find(|open| open.shown && !open.released);
                self.held.release(next.map_or(u64::MAX, |open| open.number), &mut self.out);
            }
        }
    }
}

/// The bits of a recorded integer.
fn integer(bytes: &[u8], endian: Endian, signed: bool) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 8 {
        return None;
    }
    let fold = |all: u64, byte: &u8| all << 8 | u64::from(*byte);
    let bits = match endian {
        Endian::Little => bytes.iter().rev().fold(0, fold),
        Endian::Big => bytes.iter().fold(0, fold),
    };
    let unused = 64 - 8 * bytes.len() as u32;
    Some(if signed { (bits.cast_signed() << unused >> unused).cast_unsigned() } else { bits })
}

impl Visitor for Sieve<'_> {
    #[inline]
    fn enter(&mut self, outer: &[Frame], frame: &Frame) -> u32 {
        if frame.callee.is_schedule() { self.sleep(frame) } else { self.call(outer, frame) }
    }

    fn assume(&mut self, _outer: &[Frame], _frame: &Frame) -> u32 {
        let state = &self.state;
        // Which function it is of is not known yet, so it is one without a rule; it uses no level.
        if state.outside == 0 && (state.inside > 0 || !self.shared.opt_in) {
            return ASSUMED;
        }
        self.hidden += 1;
        ASSUMED_HIDDEN
    }

    #[inline]
    fn leave(&mut self, _outer: &[Frame], frame: &Frame, end: u64, how: End) {
        match frame.tag {
            SKIPPED | ASSUMED_HIDDEN => self.hidden = self.hidden.saturating_sub(1),
            NO_SLEEP => {}
            ASSUMED => {
                let long = !self.shared.caller && frame.duration(end) >= self.state.time;
                let long = long && !self.is_left_out(frame.callee);
                if how == End::Returned && long && self.switches.is_on() {
                    let depth = self.shown_depth(frame);
                    let event = Event { depth, ..self.event };
                    self.put(&event);
                }
            }
            _ => self.ended(frame, end, how),
        }
    }

    fn forget(&mut self, _outer: &[Frame], frame: &Frame) {
        if frame.tag == ASSUMED_HIDDEN {
            self.hidden = self.hidden.saturating_sub(1);
        }
    }

    fn stray(&mut self, _outer: &[Frame], callee: Callee, event: &Event) {
        // A second return: how long it took is not known, so it is shown with what it is in.
        if self.events_are_shown() && !self.is_left_out(callee) && !self.shared.caller {
            let depth = event.depth.saturating_sub(u16::try_from(self.hidden).unwrap_or(u16::MAX));
            self.put(&Event { depth, ..*event });
        }
    }
}
