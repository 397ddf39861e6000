//! The slow paths: first call of a thread, dead frames, tail calls, full segments, forked children.
//!
//! Entered from the assembly with all registers saved. May be interrupted by signal handlers, whose hooks run on
//! the same block; `Busy` keeps those out of the slow paths (they then run unhooked and are counted).

use crate::asm::{is_ours, return_address};
use crate::fetch::Results;
use crate::rules::FILTERING;
use crate::state::{self, BITS, Block, CHAINED, CYG, Frame, PROCESS, UNFILLED};
use crate::{filter, init, rules, segment, side, sys, zombies};
use core::sync::atomic::{AtomicUsize, Ordering};
use fathom_abi::record::{ADDR_SHIFT, DEPTH_MASK, ENTRY, EXIT, TYPE_MASK, word};

/// Marks that this thread is in a slow path.
pub(crate) struct Busy(*const AtomicUsize);

impl Busy {
    /// For this thread's block. `None` when a slow path of this thread has been interrupted by the code that calls now.
    pub(crate) fn enter(block: *mut Block) -> Option<Busy> {
        /// How far above an interrupted slow path a handler's frames are looked for. Beyond, the slow path has been
        /// left by a longjmp.
        const NEAR: usize = 256 << 10;
        // SAFETY: blocks are never unmapped, and this field is only used as an atomic.
        let mark = unsafe { &(*block).busy };
        let here = stack_pointer();
        let busy = mark.load(Ordering::Relaxed);
        // Deeper than the marked slow path: interrupted. Higher on the same stack: it was abandoned. On another
        // stack (an alternate signal stack) we cannot know and take it as interrupted.
        if busy != 0 && !(here > busy && here - busy < NEAR) {
            return None;
        }
        mark.store(here, Ordering::Relaxed);
        Some(Busy(mark))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // SAFETY: as in `enter`.
        unsafe { (*self.0).store(0, Ordering::Relaxed) };
    }
}

fn stack_pointer() -> usize {
    let rsp: usize;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rsp", out(reg) rsp, options(nomem, nostack, preserves_flags)) };
    rsp
}

/// This thread's block, made on its first call; `None` when the thread is not traced.
pub(crate) fn block_of(near: usize) -> Option<*mut Block> {
    let block = state::current();
    if !block.is_null() {
        return Some(block);
    }
    init::thread(near)
}

/// An entry that the fast path did not take. `slot` is where the return address is, `addr` an address in the
/// function.
pub(crate) extern "C" fn slow_entry(slot: usize, addr: usize) {
    let Some(block) = block_of(slot) else { return };
    // SAFETY: our own thread's block; hooks that interrupt us keep out by `Busy`.
    let b = unsafe { &mut *block };
    let Some(_busy) = Busy::enter(block) else {
        segment::lose(b, 2);
        return;
    };
    prepare(b, slot);
    if enter(b, slot, (addr as u64) << ADDR_SHIFT) {
        // SAFETY: the slot is the function's own; the frame that leads back is in place.
        unsafe { (slot as *mut usize).write(return_address()) };
    }
}

/// Pushes a frame for a function and records the entry. True when the return address is now to be replaced.
/// `addr_bits` is the record word without depth and type.
pub(crate) fn enter(b: &mut Block, slot: usize, addr_bits: u64) -> bool {
    // SAFETY: the slot holds the return address of the function that is being entered.
    let orig = unsafe { (slot as *const usize).read() };
    if is_ours(orig) {
        tail_call(b, slot, addr_bits);
        return false;
    }
    reap(b, slot);
    let Some(w) = push(b, slot, orig, addr_bits) else { return false };
    segment::append(b, w);
    true
}

/// Pushes a frame; its entry word, or `None` when the shadow stack is full (counted).
pub(crate) fn push(b: &mut Block, slot: usize, orig: usize, addr_bits: u64) -> Option<u64> {
    let frame = reserve(b)?;
    let w = addr_bits | word(ENTRY, depth_of(b, frame), 0);
    publish(frame, Frame { slot, orig, word: w, held: 0 });
    Some(w)
}

/// A place for a frame, on top of the others and not filled; `None` when the shadow stack is full (counted).
pub(crate) fn reserve(b: &mut Block) -> Option<*mut Frame> {
    if b.top >= b.real_limit {
        segment::too_deep(b);
        return None;
    }
    b.top = b.top.wrapping_add(1);
    Some(b.top)
}

/// Fills a frame that was reserved.
pub(crate) fn publish(frame: *mut Frame, f: Frame) {
    // SAFETY: between base and limit. The slot is written last, see `asm.rs`.
    unsafe {
        (&raw mut (*frame).orig).write_volatile(f.orig);
        (&raw mut (*frame).word).write_volatile(f.word);
        (&raw mut (*frame).held).write_volatile(f.held);
        (&raw mut (*frame).slot).write_volatile(f.slot);
    }
}

/// Depth of a frame on top: how many are below it that count.
pub(crate) fn depth_of(b: &Block, frame: *mut Frame) -> u64 {
    (index_of(b, frame) as u64).saturating_sub(b.hidden / 64)
}

/// Takes the top frame off and records its exit.
pub(crate) fn pop(b: &mut Block) {
    pop_with(b, None);
}

pub(crate) fn pop_with(b: &mut Block, results: Option<&Results<'_>>) {
    let place = b.top;
    // SAFETY: callers have checked that the stack is not empty.
    let frame = unsafe { *place };
    let ending = ending(b, &frame, place);
    // SAFETY: as above.
    unsafe {
        (&raw mut (*place).slot).write_volatile(UNFILLED);
        (&raw mut (*place).held).write_volatile(0);
    }
    b.top = place.wrapping_sub(1);
    exit(b, &frame, (place, true), &ending, results);
}

/// What filters know about a frame that is about to leave the stack.
fn ending(b: &mut Block, frame: &Frame, place: *mut Frame) -> Option<filter::Ending> {
    FILTERING.load(Ordering::Relaxed).then(|| filter::ending(b, frame, index_of(b, place)))
}

fn index_of(b: &Block, frame: *mut Frame) -> usize {
    (frame as usize - b.base as usize) / size_of::<Frame>()
}

/// Records the exit that belongs to a frame; one without a word was not recorded. `top`: it has been taken off the top.
fn exit(
    b: &mut Block,
    frame: &Frame,
    (place, top): (*mut Frame, bool),
    ending: &Option<filter::Ending>,
    results: Option<&Results<'_>>,
) {
    if let Some(ending) = ending {
        let index = index_of(b, place);
        filter::ended(b, frame, (index, top), ending, results);
    } else if frame.word != 0 {
        segment::append(b, (frame.word & !TYPE_MASK) | EXIT);
    }
}

/// The function was not called but jumped to from one whose return address is already replaced: both end when the
/// second returns.
fn tail_call(b: &mut Block, slot: usize, addr_bits: u64) {
    if let Some(orig) = chain(b, slot)
        && let Some(w) = push(b, slot | CHAINED, orig, addr_bits)
    {
        segment::append(b, w);
    }
}

/// Makes room for a frame behind that of `slot`, from which its function was jumped to. Where both return to.
pub(crate) fn chain(b: &mut Block, slot: usize) -> Option<usize> {
    /// Chains longer than this are loops written as tail calls: the caller's frame is ended and used again.
    const CHAIN_LIMIT: usize = 1 << 16;
    // Replaced by nobody we know (a copied stack?): leave it.
    let at = find(b, slot)?;
    if at == b.top {
        let below = at.wrapping_sub(CHAIN_LIMIT);
        // SAFETY: `at` is a frame; `below` is one if it is not below the base.
        let (chained, long) = unsafe {
            let same = below >= b.base && (*below).slot & !BITS == slot && (*below).slot & CYG == 0;
            ((*at).slot & CHAINED != 0, same)
        };
        if chained && (long || b.top >= b.real_limit) {
            pop(b);
        }
    }
    // SAFETY: a live frame.
    Some(unsafe { (*at).orig })
}

/// Ends the frames on top that cannot be open any more now that code runs at `slot`: those that a longjmp or an
/// exception has left.
pub(crate) fn reap(b: &mut Block, slot: usize) {
    while !b.is_empty() {
        // SAFETY: not empty.
        let top = unsafe { (*b.top).slot };
        if top == UNFILLED || top & !BITS > slot || !give_up(b, b.top, slot) {
            return;
        }
        pop(b);
    }
}

/// Whether `frame`, which lies above the code that runs at `slot` in the order of calls, will not return. When that
/// is only probable, its return address is kept among the zombies.
fn give_up(b: &mut Block, frame: *mut Frame, slot: usize) -> bool {
    // SAFETY: a frame of this thread.
    let f = unsafe { &*frame };
    let at = f.slot & !BITS;
    if f.slot & CYG != 0 {
        return at < slot || !b.contexts;
    }
    if at == slot {
        return true;
    }
    if rules::estimating() {
        // Return addresses are left alone: only the stack pointer tells.
        return at <= slot && init::on_own_stack(b, at);
    }
    match sys::peek(at) {
        Some(value) if is_ours(value) => {}
        // Not replaced yet: a hook between pushing its frame and replacing the address has been interrupted.
        Some(value) if value == f.orig => return false,
        _ => return true,
    }
    // The replaced address still stands there. On the thread's own stack, memory below the running code is free,
    // so it is a remainder, unless the program runs several stacks inside that stack: hence the zombie.
    !b.contexts
        && at < slot
        && init::on_own_stack(b, at)
        && init::on_own_stack(b, slot)
        && zombies::keep(b, at, f.orig)
}

/// Ends a frame and, before it, those above it that will not return.
pub(crate) fn end(b: &mut Block, at: *mut Frame, slot: usize) {
    let mut above = b.top;
    while above > at {
        give_up_and_remove(b, above, slot);
        above = above.wrapping_sub(1);
    }
    remove(b, at);
}

/// Takes a frame out if it will not return.
pub(crate) fn give_up_and_remove(b: &mut Block, frame: *mut Frame, slot: usize) {
    if give_up(b, frame, slot) {
        remove(b, frame);
    }
}

/// The replaced return address at `slot` has been returned to, and the top frame is not its. Returns where to go.
pub(crate) extern "C" fn slow_exit(slot: usize) -> usize {
    leave(slot, None)
}

/// The same, with what the function has returned where that is known.
pub(crate) fn leave(slot: usize, results: Option<&Results<'_>>) -> usize {
    let block = state::current();
    if block.is_null() {
        sys::abandon(b"fathom: a traced function returned in a thread without state\n");
    }
    // SAFETY: our own thread's block.
    let b = unsafe { &mut *block };
    let busy = Busy::enter(block);
    if busy.is_some() {
        prepare(b, slot);
        if FILTERING.load(Ordering::Relaxed) {
            filter::catch_up(b);
        }
    }
    let found = find(b, slot);
    let Some(mut at) = found else {
        if let Some(orig) = zombies::find(b, slot) {
            return orig;
        }
        sys::abandon(b"fathom: a traced function returned twice; its return address is not known\n");
    };
    // Frames above it that are dead end first; those of other stacks stay.
    let mut above = b.top;
    while above > at {
        give_up_and_remove(b, above, slot);
        above = above.wrapping_sub(1);
    }
    // SAFETY: `at` is a frame with this slot.
    let orig = unsafe { (*at).orig };
    loop {
        // A chain of tail calls ends together, innermost first.
        // SAFETY: a live frame.
        let chained = unsafe { (*at).slot } & CHAINED != 0;
        remove_with(b, at, results);
        if !chained {
            return orig;
        }
        match find(b, slot) {
            Some(next) => at = next,
            None => return orig,
        }
    }
}

/// The innermost frame of `slot`.
fn find(b: &Block, slot: usize) -> Option<*mut Frame> {
    let mut at = b.top;
    while at >= b.base {
        // SAFETY: between base and top.
        let s = unsafe { (*at).slot };
        if s & !BITS == slot && s & CYG == 0 {
            return Some(at);
        }
        at = at.wrapping_sub(1);
    }
    None
}

/// Takes a frame out, wherever it is, and records its exit.
pub(crate) fn remove(b: &mut Block, at: *mut Frame) {
    remove_with(b, at, None);
}

pub(crate) fn remove_with(b: &mut Block, at: *mut Frame, results: Option<&Results<'_>>) {
    if at == b.top {
        pop_with(b, results);
        return;
    }
    // SAFETY: `at` is below the top. Frames above move down by one; their records keep the depth that they had.
    unsafe {
        let frame = *at;
        let ending = ending(b, &frame, at);
        exit(b, &frame, (at, false), &ending, results);
        if ending.is_some() {
            side::moved_down(b, index_of(b, at));
        }
        let count = (b.top as usize - at as usize) / size_of::<Frame>();
        core::ptr::copy(at.add(1), at, count);
        (&raw mut (*b.top).slot).write_volatile(UNFILLED);
        (*b.top).held = 0;
        b.top = b.top.wrapping_sub(1);
    }
}

/// Gives the calls around `frame` their return addresses back, for code that looks at them.
pub(crate) fn unhook_below(b: &mut Block, frame: *mut Frame) {
    let mut at = b.base;
    while at < frame {
        // SAFETY: between base and top.
        let f = unsafe { &*at };
        if f.slot & (CYG | CHAINED) == 0 && f.slot != UNFILLED && sys::peek(f.slot).is_some_and(is_ours) {
            // SAFETY: the slot is mapped and holds an address that we put there.
            unsafe { (f.slot as *mut usize).write(f.orig) };
        }
        at = at.wrapping_add(1);
    }
}

/// Gives all open calls their return addresses back. The innermost first: a frame that a longjmp has left may have the slot
/// of a live one.
pub(crate) fn unhook_all(b: &mut Block) {
    let mut at = b.top;
    while at >= b.base {
        // SAFETY: between base and top.
        let f = unsafe { &*at };
        if f.slot & (CYG | CHAINED) == 0 && f.slot != UNFILLED && sys::peek(f.slot).is_some_and(is_ours) {
            // SAFETY: the slot is mapped and holds an address that we put there.
            unsafe { (f.slot as *mut usize).write(f.orig) };
        }
        at = at.wrapping_sub(1);
    }
}

/// Undoes [`unhook_below`] for the frames below `index`.
pub(crate) fn hook_below(b: &mut Block, index: usize) {
    for at in 0..index {
        // SAFETY: between base and top.
        let f = unsafe { &*b.base.add(at) };
        if f.slot & (CYG | CHAINED) == 0 && f.slot != UNFILLED && sys::peek(f.slot) == Some(f.orig) {
            // SAFETY: the slot is mapped and holds the return address of a call that has not returned.
            unsafe { (f.slot as *mut usize).write(return_address()) };
        }
    }
}

/// A record that found its segment full, or no segment. `place` is what the hook has reserved.
pub(crate) extern "C" fn slow_record(block: *mut Block, w: u64, place: usize) {
    // SAFETY: the hook's own thread's block.
    let b = unsafe { &mut *block };
    if segment::is_hopeless(b) {
        segment::lose(b, 1);
        return;
    }
    // No handler may run hooks while the segment is changed.
    let quiet = sys::NoSignals::begin();
    if !b.vfork.active && has_forked(b) {
        init::forked(b, Some(w));
        if w & TYPE_MASK == EXIT {
            // The return of the fork itself, for all that can be known.
            segment::append_at_start(b, w);
        } else {
            segment::append(b, w);
        }
    } else if b.careful || b.vfork.active {
        segment::append(b, w);
    } else {
        segment::append_late(b, None, w, place, &quiet);
    }
}

/// Whether this is a forked child that has not recorded anything yet.
pub(crate) fn has_forked(b: &Block) -> bool {
    b.buffer().end.load(Ordering::Relaxed) == 0 && PROCESS.pid.load(Ordering::Relaxed) != sys::getpid()
}

/// Things to notice before any slow entry or exit: a forked child, the end of a vfork, modules of a dlopen.
pub(crate) fn prepare(b: &mut Block, slot: usize) {
    if b.vfork.active {
        segment::vfork_returned(b);
    } else if has_forked(b) {
        init::forked(b, None);
    }
    if b.dlopen != 0 && slot >= b.dlopen {
        init::opened(b);
    }
}

/// A longjmp goes to where the stack pointer was `to`: the calls that it leaves end.
pub(crate) fn unwind_to(b: &mut Block, to: usize) {
    if b.contexts || !init::on_own_stack(b, to) {
        return;
    }
    while !b.is_empty() {
        // SAFETY: not empty.
        let f = unsafe { &*b.top };
        let at = f.slot & !BITS;
        if f.slot == UNFILLED || (init::on_own_stack(b, at) && at >= to) {
            return;
        }
        // Its slot may still hold the replaced address. If we are wrong about it, it will be returned to.
        if f.slot & CYG == 0 && !zombies::keep(b, at, f.orig) {
            return;
        }
        pop(b);
    }
}

/// Sets the depth of an entry word.
pub(crate) fn with_depth(w: u64, depth: u64) -> u64 {
    (w & !DEPTH_MASK) | (word(ENTRY, depth, 0) & DEPTH_MASK)
}
