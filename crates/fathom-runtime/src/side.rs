//! What a thread keeps for filters: the state, what ruled functions have changed, the values of held calls.
//!
//! Not for deciding or writing anything: that is `filter.rs`.

use crate::state::{Block, Frame, SHADOW};
use crate::{reads, sys};
use fathom_abi::decide::{self, State};
use fathom_abi::plan::Rule;

/// What a thread keeps for filters besides its block. In memory of its own, with an [`Extra`] for each frame and the
/// values of held calls behind it.
#[repr(C)]
pub(crate) struct Side {
    /// Whether `state` belongs to the block's present owner.
    pub(crate) started: bool,
    pub(crate) state: State,
    /// The block's gate as it is while it is open.
    pub(crate) gate: *mut Frame,
    /// Limits that hold outside of all ruled functions.
    pub(crate) global: (u32, u64, u32),
    /// Values of held calls in use, in bytes.
    pub(crate) used: u32,
    /// With estimated ends: when the last call began, and when the next end is taken to be; 0 when it is not estimated.
    pub(crate) began: u64,
    pub(crate) estimate: u64,
    pub(crate) watched: reads::Watched,
    /// Counters of the processor; see `reads.rs`.
    pub(crate) counters: reads::Counters,
    /// What a vfork has set aside.
    pub(crate) parent: Saved,
}

/// What a ruled function has found and what has to be put back when it ends.
#[derive(Clone, Copy)]
pub(crate) struct Saved {
    pub(crate) state: State,
    pub(crate) gate: *mut Frame,
    pub(crate) hidden: u64,
    pub(crate) outside: u32,
    pub(crate) used: u32,
}

/// Belongs to the frame of a ruled function.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Extra {
    /// Null for functions without a rule.
    pub(crate) rule: *const Rule,
    /// Where the values of this call begin.
    pub(crate) values: u32,
    /// Bytes of arguments there, and of counters behind them.
    pub(crate) arguments: u16,
    pub(crate) counters: u16,
    /// Which counters those are: `READ_` bits.
    pub(crate) reads: u32,
    /// Whether `saved` has to be put back.
    pub(crate) acts: bool,
    pub(crate) saved: Saved,
}

/// Bytes for the values of held calls.
pub(crate) const VALUES: usize = 4 << 20;
/// Bytes in front of the extras.
const HEAD: usize = 4096;
const FRAMES: usize = SHADOW / size_of::<Frame>();
const _: () = assert!(size_of::<Side>() <= HEAD);

/// The thread's side, made when it is needed first.
pub(crate) fn side(b: &mut Block) -> Option<&'static mut Side> {
    if b.side.is_null() {
        b.side = sys::map(HEAD + FRAMES * size_of::<Extra>() + VALUES, sys::MAP_NORESERVE)?.cast();
    }
    // SAFETY: mapped with this size, zeroed (a valid side), kept for ever, and this thread's alone.
    Some(unsafe { &mut *b.side })
}

pub(crate) fn index_of(b: &Block, frame: *mut Frame) -> usize {
    (frame as usize - b.base as usize) / size_of::<Frame>()
}

impl Side {
    /// The extra of a frame by its index.
    pub(crate) fn extra(&mut self, index: usize) -> &'static mut Extra {
        let extras = (&raw mut *self).cast::<u8>().wrapping_add(HEAD).cast::<Extra>();
        // SAFETY: there is one for each frame that a shadow stack can have.
        unsafe { &mut *extras.add(index.min(FRAMES - 1)) }
    }

    /// The values from `at` on.
    pub(crate) fn values(&mut self, at: u32) -> &'static mut [u8] {
        let values = (&raw mut *self).cast::<u8>().wrapping_add(HEAD + FRAMES * size_of::<Extra>());
        let at = (at as usize).min(VALUES);
        // SAFETY: inside of the mapping.
        unsafe { core::slice::from_raw_parts_mut(values.add(at), VALUES - at) }
    }

    /// Levels used when `top` is the frame on top.
    pub(crate) fn depth(&self, top: *mut Frame) -> u32 {
        let left = (self.gate as isize - top as isize) / size_of::<Frame>() as isize;
        (i64::from(self.state.max_depth) - left as i64).clamp(0, i64::from(u32::MAX)) as u32
    }

    pub(crate) fn saved(&self, b: &Block) -> Saved {
        Saved { state: self.state, gate: self.gate, hidden: b.hidden, outside: b.outside, used: self.used }
    }

    pub(crate) fn put_back(&mut self, b: &mut Block, saved: Saved) {
        (self.state, self.gate, self.used) = (saved.state, saved.gate, saved.used);
        (b.hidden, b.outside) = (saved.hidden, saved.outside);
    }
}

impl Side {
    /// The frame of a ruled function is taken out below others: what it changed is undone as far as it can be told.
    pub(crate) fn take_out(&mut self, b: &mut Block, extra: &Extra, index: usize, hidden: bool) {
        // SAFETY: null or in tables that are never freed.
        let flags = unsafe { extra.rule.as_ref() }.map_or(0, |rule| rule.decide.flags);
        let inside = u32::from(flags & decide::FILTER_IN != 0);
        self.state.inside = self.state.inside.saturating_sub(inside);
        if flags & decide::FILTER_OUT != 0 {
            b.outside = b.outside.saturating_sub(1);
        }
        if hidden {
            b.hidden = b.hidden.saturating_sub(64);
            self.gate = self.gate.wrapping_sub(1);
        }
        for above in index + 1..=index_of(b, b.top) {
            // What stands there for a frame without a rule is never looked at.
            let saved = &mut self.extra(above).saved;
            saved.state.inside = saved.state.inside.saturating_sub(inside);
            saved.hidden = saved.hidden.saturating_sub(if hidden { 64 } else { 0 });
        }
    }
}

/// The frames above `index` move down by one.
pub(crate) fn moved_down(b: &mut Block, index: usize) {
    let top = index_of(b, b.top);
    let Some(side) = side(b) else { return };
    let (to, from): (*mut Extra, *const Extra) = (side.extra(index), side.extra(index + 1));
    // SAFETY: the extras of all frames of the shadow stack follow each other.
    unsafe { core::ptr::copy(from, to, top - index) };
}
