//! Recording by rules: which calls get a frame, which are written, and when.
//!
//! The hooks of `asm_filter.rs` come here for functions that a rule is about and for everything unusual. What a rule
//! changes for the calls inside (levels, limits, whether anything is recorded at all) is in the block for the hooks and
//! in the [`Side`] for us, and goes back when the function ends: the frame of a ruled function has an [`Extra`].

use crate::asm::is_ours;
use crate::fetch::{self, Arguments, Payload, Results};
use crate::rules::{self, SITES, Tables};
use crate::side::{Extra, Side, VALUES, index_of, side};
use crate::slow::{self, Busy, block_of};
use crate::state::{BITS, Block, CHAINED, CYG, Frame, HOLDING, NEVER_SEEN, OFF, RULED, UNFILLED, WATCHING};
use crate::{reads, segment};
use fathom_abi::decide::{self, State, Verdict};
use fathom_abi::plan::{
    Fetch, MODE_CALLERS, MODE_ESTIMATE, MODE_HOLD, MODE_OPT_IN, MODE_SIZES, MODE_WATCH_CPU, RANGE_NEVER,
    Range, Rule,
};
use fathom_abi::record::{ADDR_SHIFT, ENTRY, EXIT, TYPE_MASK, word};

/// What changes something for the calls inside of a function, or for all.
const ACTS: u32 = decide::FILTER_IN
    | decide::FILTER_OUT
    | decide::DEPTH
    | decide::TIME
    | decide::SIZE
    | decide::TRACE_ON
    | decide::TRACE_OFF
    | decide::FINISH
    | decide::RECOVER;

/// A thread begins or a block gets another owner.
pub(crate) fn reset(b: &mut Block) {
    (b.seen, b.flags, b.outside, b.inside) = (NEVER_SEEN, 0, 0, 0);
    (b.gate, b.threshold, b.hidden) = (core::ptr::null_mut(), 0, 0);
    // SAFETY: null or this block's own.
    if let Some(side) = unsafe { b.side.as_mut() } {
        side.started = false;
        side.used = 0;
        reads::forget(&mut side.watched);
    }
}

/// The hooks are to come to Rust the next time.
pub(crate) fn look_again(b: &mut Block) {
    b.seen = NEVER_SEEN;
}

/// Takes up what has changed since this thread looked last: rules, limits, the switch.
#[inline]
pub(crate) fn catch_up(b: &mut Block) {
    if b.seen != rules::epoch() {
        really_catch_up(b);
    }
}

#[cold]
fn really_catch_up(b: &mut Block) {
    let Some(side) = side(b) else { return };
    rules::refresh();
    let Some(tables) = rules::tables() else { return };
    let head = &tables.head;
    let global = (head.depth, head.time, head.size);
    if !side.started {
        side.started = true;
        side.state = State::new(head.depth, head.time, head.size);
        side.gate = b.sentinel().wrapping_add(head.depth as usize);
        side.global = global;
        if head.max_stack != 0 {
            let frames = head.max_stack as usize - 1;
            b.real_limit = b.real_limit.min(b.base.wrapping_add(frames));
            b.limit = b.limit.min(b.real_limit);
        }
    } else if side.global != global {
        let old = core::mem::replace(&mut side.global, global);
        if side.state.max_depth == old.0 {
            side.state.max_depth = global.0;
            side.gate = side.gate.wrapping_offset(global.0 as isize - old.0 as isize);
        }
        if side.state.time == old.1 {
            side.state.time = global.1;
        }
        if side.state.size == old.2 {
            side.state.size = global.2;
        }
    }
    if b.flags & HOLDING != 0 && head.mode & MODE_HOLD == 0 && !b.is_empty() {
        // From here on calls are written at once, behind those that they are in.
        let above = index_of(b, b.top) + 1;
        write_held(b, side, above);
    }
    update(b, side, tables);
}

/// Tells the hooks what follows from the state.
fn update(b: &mut Block, side: &mut Side, tables: &Tables) {
    let mode = tables.head.mode;
    let on = rules::is_on();
    if !on && b.flags & (OFF | HOLDING) == HOLDING && !b.is_empty() {
        // What is open when recording ends is the last that is seen of it.
        let above = index_of(b, b.top) + 1;
        write_held(b, side, above);
    }
    let closed = !on || (mode & MODE_OPT_IN != 0 && side.state.inside == 0);
    b.gate = if closed { core::ptr::null_mut() } else { side.gate };
    b.inside = side.state.inside;
    b.threshold = if mode & MODE_CALLERS != 0 { u64::MAX } else { side.state.time };
    let watching = mode & MODE_WATCH_CPU != 0 || tables.head.watch != 0;
    let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
    b.flags = flag(mode & MODE_HOLD != 0, HOLDING) | flag(!on, OFF) | flag(watching, WATCHING);
    let always = b.careful
        || b.vfork.active
        || watching
        || mode & MODE_ESTIMATE != 0
        || (mode & MODE_SIZES != 0 && side.state.size != 0);
    b.seen = if always { NEVER_SEEN } else { rules::epoch() };
}

/// Whether something has to be seen to that cannot be interrupted, before anything is recorded.
fn needs_care(b: &Block) -> bool {
    b.vfork.active || b.dlopen != 0 || b.seen != rules::epoch() || slow::has_forked(b)
}

/// Sees to it. False when this thread was interrupted while it did: then nothing can be recorded.
pub(crate) fn take_care(block: *mut Block, slot: usize) -> bool {
    // SAFETY: our own thread's block.
    let b = unsafe { &mut *block };
    if !needs_care(b) {
        return true;
    }
    let Some(_busy) = Busy::enter(block) else {
        segment::lose(b, 2);
        return false;
    };
    slow::prepare(b, slot);
    catch_up(b);
    true
}

/// An entry that the hook does not decide by itself. `slot` is where the return address is, `addr` an address in the
/// function.
pub(crate) extern "C" fn slow_entry(integers: &[usize; 6], vectors: *const u8, slot: usize, addr: usize) {
    let Some(block) = block_of(slot) else { return };
    if !take_care(block, slot) {
        return;
    }
    // SAFETY: our own thread's block.
    let b = unsafe { &mut *block };
    if let Some(tables) = rules::tables() {
        SITES.set(addr as u64, tables.find(addr as u64).map_or(0, |range| range.flags));
    }
    let arguments = Arguments { integers, vectors, stack: slot + 8 };
    if enter(b, slot, (addr as u64) << ADDR_SHIFT, &arguments) {
        // SAFETY: the slot is the function's own; the frame that leads back is in place.
        unsafe { (slot as *mut usize).write(crate::asm::return_address()) };
    }
}

/// As [`slow::enter`]: true when the return address is now to be replaced. After [`take_care`].
pub(crate) fn enter(b: &mut Block, slot: usize, addr_bits: u64, arguments: &Arguments<'_>) -> bool {
    let Some(tables) = rules::tables() else { return false };
    // SAFETY: the slot holds the return address of the function that is being entered.
    let orig = unsafe { (slot as *const usize).read() };
    if is_ours(orig) {
        let chain = {
            let Some(_busy) = Busy::enter(b) else {
                segment::lose(b, 2);
                return false;
            };
            slow::chain(b, slot)
        };
        if let Some(orig) = chain {
            push(b, tables, slot | CHAINED, orig, addr_bits, arguments);
        }
        return false;
    }
    if !reap(b, slot) {
        return false;
    }
    let pushed = push(b, tables, slot, orig, addr_bits, arguments);
    pushed && tables.head.mode & MODE_ESTIMATE == 0
}

/// Ends dead frames on top, if there are any. False when that cannot be done now.
pub(crate) fn reap(b: &mut Block, slot: usize) -> bool {
    // SAFETY: the top frame, or the one below all.
    let top = unsafe { (*b.top).slot };
    if top == UNFILLED || top & !BITS > slot {
        return true;
    }
    let Some(_busy) = Busy::enter(b) else {
        segment::lose(b, 2);
        return false;
    };
    if rules::estimating()
        && let Some(side) = side(b)
    {
        // They ended at some time between the last thing that was seen and now.
        let now = segment::now();
        side.estimate = side.began + now.saturating_sub(side.began) / 2;
        slow::reap(b, slot);
        side.estimate = 0;
    } else {
        slow::reap(b, slot);
    }
    true
}

/// The process ends: with estimated ends, nothing else ends what is still open.
pub(crate) extern "C" fn destructor() {
    let block = crate::state::current();
    if block.is_null() || !rules::estimating() || !take_care(block, usize::MAX) {
        return;
    }
    // SAFETY: our own thread's block.
    let b = unsafe { &mut *block };
    while !b.is_empty() {
        slow::pop(b);
    }
}

/// What becomes of a call, and by which rule.
enum Course {
    Skip,
    Plain,
    Ruled(&'static Rule, Verdict, State),
}

fn course(b: &mut Block, tables: &Tables, addr: u64, arguments: &Arguments<'_>) -> Course {
    let range = tables.find(addr);
    let flags = range.map_or(0, |range| range.flags);
    if flags & RANGE_NEVER != 0 || b.outside != 0 {
        return Course::Skip;
    }
    let Some(side) = side(b) else { return Course::Plain };
    let rule = range.and_then(|range| tables.rule(range));
    let size = range.map_or(u32::MAX, |range: &Range| range.size);
    let Some(rule) = rule else {
        let small = tables.head.mode & MODE_SIZES != 0 && size < side.state.size;
        return if small || b.top >= b.gate { Course::Skip } else { Course::Plain };
    };
    let mut decision = rule.decide;
    if rule.condition != 0 && !fetch::holds(rule, arguments) {
        decision.flags &= !(decide::FILTER_IN | decide::FILTER_OUT);
    }
    let mut state = side.state;
    state.depth = side.depth(b.top);
    let opt_in = tables.head.mode & MODE_OPT_IN != 0;
    match state.enter(&decision, size, opt_in, rules::is_on()) {
        Verdict::Skip => Course::Skip,
        verdict => Course::Ruled(rule, verdict, state),
    }
}

/// Records a call whose return is not seen: as if it took no time.
pub(crate) fn record_pair(b: &mut Block, addr_bits: u64, arguments: &Arguments<'_>) {
    // Nothing that runs later can have this slot, and no result is known.
    if push_at(b, CYG, 0, addr_bits, arguments) {
        slow::pop(b);
    }
}

/// What is open for long enough is written, because the process may end here.
pub(crate) fn write_long(b: &mut Block) {
    if b.flags & HOLDING == 0 || b.is_empty() || !rules::is_on() {
        return;
    }
    let Some(side) = side(b) else { return };
    let now = segment::now();
    let mut long = index_of(b, b.top) + 1;
    // Outer calls are older.
    while long > 0 {
        // SAFETY: between base and top.
        let f = unsafe { &*b.base.add(long - 1) };
        if f.word != 0 && now.wrapping_sub(f.held & !RULED) >= b.threshold {
            break;
        }
        long -= 1;
    }
    write_held(b, side, long);
}

/// Before something is recorded that is no call: whether it is to be recorded here. The calls that it is in are written
/// if they are not yet.
pub(crate) fn admit(b: &mut Block) -> bool {
    if !rules::is_on() || b.gate.is_null() || b.outside != 0 {
        return false;
    }
    if b.flags & HOLDING != 0
        && !b.is_empty()
        && let Some(side) = side(b)
    {
        let above = index_of(b, b.top) + 1;
        write_held(b, side, above);
    }
    true
}

/// Pushes a frame if the rules want one. `slot` may have its bits.
pub(crate) fn push_at(
    b: &mut Block,
    slot: usize,
    orig: usize,
    addr_bits: u64,
    arguments: &Arguments<'_>,
) -> bool {
    rules::tables().is_some_and(|tables| push(b, tables, slot, orig, addr_bits, arguments))
}

/// Pushes a frame if the rules want one, and writes the entry or holds it.
fn push(
    b: &mut Block,
    tables: &'static Tables,
    slot: usize,
    orig: usize,
    addr_bits: u64,
    arguments: &Arguments<'_>,
) -> bool {
    match course(b, tables, addr_bits >> ADDR_SHIFT, arguments) {
        Course::Skip => false,
        Course::Plain => push_plain(b, slot, orig, addr_bits),
        Course::Ruled(rule, verdict, state) => {
            push_ruled(b, tables, (slot, orig, addr_bits), (rule, verdict, state), arguments)
        }
    }
}

fn push_plain(b: &mut Block, slot: usize, orig: usize, addr_bits: u64) -> bool {
    let Some(frame) = slow::reserve(b) else { return false };
    let w = addr_bits | word(ENTRY, slow::depth_of(b, frame), 0);
    let time = segment::now();
    let holding = b.flags & HOLDING != 0;
    slow::publish(frame, Frame { slot, orig, word: w, held: if holding { time } else { 0 } });
    if !holding {
        let f = Frame { slot, orig, word: w, held: 0 };
        match side(b) {
            Some(side) => {
                side.began = time;
                write_entry(b, side, &f, None, time);
            }
            None => segment::append_at(b, time, w),
        }
    }
    true
}

/// The frame of a function that a rule is about.
fn push_ruled(
    b: &mut Block,
    tables: &'static Tables,
    (slot, orig, addr_bits): (usize, usize, u64),
    (rule, verdict, mut state): (&'static Rule, Verdict, State),
    arguments: &Arguments<'_>,
) -> bool {
    let Some(side) = side(b) else { return false };
    let shown = verdict == Verdict::Shown;
    let acts = rule.decide.flags & ACTS != 0 || !shown;
    let saved = if acts { Some(side.saved(b)) } else { None };
    let Some(frame) = slow::reserve(b) else { return false };
    let extra = side.extra(index_of(b, frame));
    (extra.rule, extra.values, extra.arguments, extra.counters) = (rule, side.used, 0, 0);
    (extra.reads, extra.acts) = (0, acts);
    let w = if shown { addr_bits | word(ENTRY, slow::depth_of(b, frame), 0) } else { 0 };
    if let Some(saved) = saved {
        extra.saved = saved;
        let left = state.max_depth.saturating_sub(state.depth);
        side.gate = frame.wrapping_add(left as usize);
        b.outside = state.outside;
        b.hidden += if shown { 0 } else { 64 };
        state.outside = 0;
        side.state = state;
        carry_out(rule);
        if rule.decide.flags & decide::RECOVER != 0 {
            slow::unhook_below(b, frame);
        }
        update(b, side, tables);
    }
    if shown {
        take_values(b, side, extra, tables, rule, arguments);
    }
    let time = segment::now();
    let holding = b.flags & HOLDING != 0 && shown;
    // The target of a caller filter makes the calls around it worth recording even if it is left out itself.
    let target = rule.decide.flags & (decide::CALLER | decide::FILTER_OUT) == decide::CALLER;
    let timed = holding || (target && !shown);
    let f = Frame { slot, orig, word: w, held: RULED | if timed { time } else { 0 } };
    let now = *extra;
    slow::publish(frame, f);
    side.began = time;
    if shown && !holding {
        write_entry(b, side, &f, Some(&now), time);
    }
    if rule.decide.flags & decide::FINISH != 0 {
        let above = index_of(b, frame) + 1;
        write_held(b, side, above);
        rules::finish();
    }
    true
}

/// A frame that is not recorded, whatever the rules say, but has to be there.
pub(crate) fn push_hidden(b: &mut Block, slot: usize, orig: usize) -> bool {
    let (Some(side), Some(tables)) = (side(b), rules::tables()) else { return false };
    let saved = side.saved(b);
    let Some(frame) = slow::reserve(b) else { return false };
    let values = side.used;
    *side.extra(index_of(b, frame)) =
        Extra { rule: core::ptr::null(), values, arguments: 0, counters: 0, reads: 0, acts: true, saved };
    b.hidden += 64;
    side.gate = side.gate.wrapping_add(1);
    update(b, side, tables);
    slow::publish(frame, Frame { slot, orig, word: 0, held: RULED });
    true
}

/// Switches that a rule has.
fn carry_out(rule: &Rule) {
    let flags = rule.decide.flags;
    if flags & decide::TRACE_ON != 0 {
        rules::switch(true);
    } else if flags & decide::TRACE_OFF != 0 {
        rules::switch(false);
    }
}

/// Most bytes of the values of one call.
const VALUES_OF_CALL: u32 = 2048;

/// Copies the arguments and counters of a call that begins.
fn take_values(
    b: &mut Block,
    side: &mut Side,
    extra: &mut Extra,
    tables: &Tables,
    rule: &Rule,
    arguments: &Arguments<'_>,
) {
    if rule.args == 0 && rule.reads == 0 {
        return;
    }
    if side.used + VALUES_OF_CALL > VALUES as u32 {
        count_missing_values();
        return;
    }
    // A handler's calls keep off it.
    side.used += VALUES_OF_CALL;
    let mut payload = Payload::new(side.values(extra.values));
    if rule.args != 0 {
        fetch::arguments(tables.arguments(rule), arguments, &mut payload);
        extra.arguments = payload.len() as u16;
    }
    if rule.reads != 0 {
        extra.reads = reads::take(rule.reads, &mut side.counters, &mut payload);
        extra.counters = payload.len() as u16 - extra.arguments;
    }
    // What is written at once needs its place no longer, but for the counters.
    let _ = b;
    side.used = extra.values + payload.len() as u32;
}

/// A call is recorded without its values.
pub(crate) fn count_missing_values() {
    segment::header().no_values.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
}

/// Writes the entry of a call that began at `time`, with all that belongs to it: its extra, if it has a rule.
fn write_entry(b: &mut Block, side: &mut Side, f: &Frame, extra: Option<&Extra>, time: u64) {
    reads::watch(b, &mut side.watched, time, false);
    match extra {
        Some(extra) => write_ruled_entry(b, side, f, extra, time),
        None => segment::append_at(b, time, f.word),
    }
    reads::watch(b, &mut side.watched, time, true);
}

fn write_ruled_entry(b: &mut Block, side: &mut Side, f: &Frame, extra: &Extra, time: u64) {
    // SAFETY: null or in tables that are never freed.
    let rule = unsafe { extra.rule.as_ref() };
    if rule.is_some_and(|rule| rule.decide.flags & decide::CALLSITE != 0) {
        let site = (f.orig as u64).to_le_bytes();
        segment::append_event(b, time - segment::tick(), reads::CALLSITE, &site);
    }
    let values = side.values(extra.values);
    let (arguments, rest) = values.split_at(usize::from(extra.arguments));
    segment::append_with(b, time, f.word, arguments);
    if extra.reads != 0 {
        let counters = &rest[..usize::from(extra.counters)];
        reads::write(b, extra.reads, counters, time + segment::tick());
    }
}

/// Writes the entries that the calls around the frame `index` still hold: what is written inside of them needs them.
fn write_held(b: &mut Block, side: &mut Side, index: usize) {
    let mut first = index;
    while first > 0 {
        // SAFETY: between base and top.
        let f = unsafe { &*b.base.add(first - 1) };
        // A reserved frame still has the word of the one before it.
        if f.slot != UNFILLED && f.word != 0 && f.held & !RULED == 0 {
            break;
        }
        first -= 1;
    }
    for at in first..index {
        // SAFETY: between base and top.
        let f = unsafe { &mut *b.base.add(at) };
        let time = f.held & !RULED;
        if f.word != 0 && time != 0 && f.slot != UNFILLED {
            f.held &= RULED;
            let f = *f;
            let extra = if f.held & RULED == 0 { None } else { Some(*side.extra(at)) };
            write_entry(b, side, &f, extra.as_ref(), time);
        }
    }
}

/// What is known about the frame of a ruled function, before its place is given up.
pub(crate) struct Ending(Option<Extra>);

/// Before a frame leaves the stack. `index` is its place.
pub(crate) fn ending(b: &mut Block, frame: &Frame, index: usize) -> Ending {
    Ending(match side(b) {
        Some(side) if frame.held & RULED != 0 => Some(*side.extra(index)),
        _ => None,
    })
}

/// A frame leaves the stack: its exit is written if its entry is, or if it was long enough. `index` is its place, and
/// `top` tells whether it was the innermost and has been taken off; another is still in its place.
pub(crate) fn ended(
    b: &mut Block,
    frame: &Frame,
    (index, top): (usize, bool),
    ending: &Ending,
    results: Option<&Results<'_>>,
) {
    let (w, start) = (frame.word, frame.held & !RULED);
    let extra = ending.0.as_ref();
    if w == 0 && extra.is_none() {
        if frame.slot & CYG == 0 {
            b.outside = b.outside.saturating_sub(1);
        }
        return;
    }
    let (Some(tables), Some(side)) = (rules::tables(), side(b)) else { return };
    // SAFETY: null or in tables that are never freed.
    let rule = extra.and_then(|extra| unsafe { extra.rule.as_ref() });
    if w == 0 && start != 0 && rules::is_on() && segment::now().wrapping_sub(start) >= side.state.time {
        write_held(b, side, index);
    }
    if w != 0 && rules::is_on() {
        let time = match side.estimate {
            0 => segment::now(),
            time => {
                side.estimate += segment::tick();
                time
            }
        };
        let flags = rule.map_or(0, |rule| rule.decide.flags);
        let long = time.wrapping_sub(start) >= side.state.time;
        let wanted = tables.head.mode & MODE_CALLERS == 0 || flags & decide::CALLER != 0;
        if start == 0 || (long && wanted) || flags & decide::TRACE != 0 {
            if start != 0 {
                write_held(b, side, index);
                write_entry(b, side, frame, extra, start);
            }
            let w = (w & !TYPE_MASK) | EXIT;
            match (extra, rule) {
                (Some(extra), Some(rule)) => {
                    write_ruled_exit(b, side, extra, (w, time), tables.results(rule), results);
                }
                _ => {
                    reads::watch(b, &mut side.watched, time, false);
                    segment::append_at(b, time, w);
                }
            }
        }
    }
    let Some(extra) = extra else { return };
    if rule.is_some_and(|rule| rule.decide.flags & decide::RECOVER != 0) {
        slow::hook_below(b, index);
    }
    if !extra.acts {
        if top {
            side.used = extra.values;
        }
        return;
    }
    if top {
        side.put_back(b, extra.saved);
    } else {
        side.take_out(b, extra, index, w == 0);
    }
    update(b, side, tables);
}

/// Writes the exit of a ruled function, with the return value and what the counters have become.
fn write_ruled_exit(
    b: &mut Block,
    side: &mut Side,
    extra: &Extra,
    (w, time): (u64, u64),
    fetches: &[Fetch],
    results: Option<&Results<'_>>,
) {
    // Behind the values of this call nothing is in use but by handlers: the calls inside of it have ended.
    let from = extra.values + u32::from(extra.arguments);
    let reserved = side.used.max(from + u32::from(extra.counters));
    side.used = (reserved + VALUES_OF_CALL).min(VALUES as u32);
    let before = &*side.values(from).split_at_mut(usize::from(extra.counters)).0;
    let mut payload = Payload::new(side.values(reserved));
    if extra.reads != 0 {
        if reads::take(extra.reads, &mut side.counters, &mut payload) == extra.reads {
            reads::write_differences(b, extra.reads, before, payload.bytes(), time - segment::tick());
        }
        payload.clear();
    }
    reads::watch(b, &mut side.watched, time, false);
    if let Some(results) = results.filter(|_| !fetches.is_empty()) {
        fetch::results(fetches, results, &mut payload);
    }
    segment::append_with(b, time, w, payload.bytes());
    side.used = reserved;
}

/// The replaced return address at `slot` has been returned to. Returns where to go.
pub(crate) extern "C" fn slow_exit(slot: usize, integers: &[usize; 3], vectors: *const u8) -> usize {
    let results = Results { integers, vectors };
    let block = crate::state::current();
    // SAFETY: null or our own thread's block.
    if let Some(b) = unsafe { block.as_mut() } {
        // SAFETY: the top frame, or the one below all.
        let (top, orig) = unsafe { ((*b.top).slot, (*b.top).orig) };
        if top == slot && !needs_care(b) {
            slow::pop_with(b, Some(&results));
            return orig;
        }
    }
    slow::leave(slot, Some(&results))
}

/// Before a vfork: what is open is written as the parent's. The child works on the same frames.
pub(crate) fn before_vfork(b: &mut Block) {
    if b.flags & HOLDING != 0
        && !b.is_empty()
        && let Some(side) = side(b)
    {
        let above = index_of(b, b.top) + 1;
        write_held(b, side, above);
    }
}

/// The state of the parent before a vfork.
pub(crate) fn begin_vfork(b: &mut Block) {
    look_again(b);
    if rules::tables().is_some()
        && let Some(side) = side(b)
    {
        side.parent = side.saved(b);
    }
}

/// The parent goes on.
pub(crate) fn end_vfork(b: &mut Block) {
    if let (Some(tables), Some(side)) = (rules::tables(), side(b)) {
        let saved = side.parent;
        side.put_back(b, saved);
        update(b, side, tables);
    }
}

/// In a forked child the calls that are open began with it, for all that its trace can tell.
pub(crate) fn inherited(b: &mut Block, start: u64) {
    let mut frame = b.base;
    while frame <= b.top {
        // SAFETY: between base and top.
        let f = unsafe { &mut *frame };
        if f.held & !RULED != 0 {
            f.held = (f.held & RULED) | start;
        }
        frame = frame.wrapping_add(1);
    }
}
