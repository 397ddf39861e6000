//! What the recorder's plan says about functions: which rule an address has, and the epoch that tells of changes.
//!
//! The tables are read by all threads and never freed: a thread may be in the middle of an old one when a new one is
//! put in its place.

use crate::init::Plan;
use crate::state::PROCESS;
use crate::{calls, segment, sys};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use fathom_abi::plan::{
    self, Fetch, MODE_ESTIMATE, MODE_FILTER, MODE_OFF, MODE_SWITCH, NO_RULE, Range, Rule,
};

/// One version of the rules.
pub(crate) struct Tables {
    pub(crate) head: plan::Header,
    ranges: &'static [Range],
    rules: &'static [Rule],
    fetches: &'static [Fetch],
}

static CURRENT: AtomicPtr<Tables> = AtomicPtr::new(core::ptr::null_mut());

/// Whether the hooks of `asm_filter.rs` are in use. Decided once, by the first plan.
pub(crate) static FILTERING: AtomicBool = AtomicBool::new(false);

/// Whether recording is switched on, in this process.
static ON: AtomicBool = AtomicBool::new(true);

/// Stands for the session's epoch while there is no session.
static NO_EPOCH: AtomicU32 = AtomicU32::new(0);

/// The word that the hooks compare with their thread's: the session's epoch.
pub(crate) struct Epoch(AtomicPtr<AtomicU32>);

/// See [`Epoch`].
pub(crate) static EPOCH: Epoch = Epoch(AtomicPtr::new((&raw const NO_EPOCH).cast_mut()));

impl Epoch {
    fn get(&self) -> &'static AtomicU32 {
        // SAFETY: always points to a static or into the arena, which is never unmapped.
        unsafe { &*self.0.load(Ordering::Relaxed) }
    }
}

/// The current epoch.
pub(crate) fn epoch() -> u32 {
    EPOCH.get().load(Ordering::Acquire)
}

/// Makes all threads look again.
pub(crate) fn next_epoch() {
    EPOCH.get().fetch_add(1, Ordering::AcqRel);
}

/// The hooks follow the epoch of the process's session from now on.
pub(crate) fn follow_session() {
    let session = segment::session(PROCESS.session.load(Ordering::Relaxed));
    EPOCH.0.store((&raw const session.epoch).cast_mut(), Ordering::Relaxed);
}

/// The current tables.
pub(crate) fn tables() -> Option<&'static Tables> {
    // SAFETY: null or a table that is never freed.
    unsafe { CURRENT.load(Ordering::Acquire).as_ref() }
}

/// Whether recording is switched on.
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Whether ends of calls are estimated.
pub(crate) fn estimating() -> bool {
    tables().is_some_and(|tables| tables.head.mode & MODE_ESTIMATE != 0)
}

/// Set when the recording is over for good.
static FINISHED: AtomicBool = AtomicBool::new(false);

/// Ends the recording: the recorder is told, and nothing is recorded from here on.
pub(crate) fn finish() {
    switch(false);
    FINISHED.store(true, Ordering::Relaxed);
    segment::header().finish.store(1, Ordering::Release);
}

/// Switches recording on or off for all threads.
pub(crate) fn switch(on: bool) {
    if on && FINISHED.load(Ordering::Relaxed) {
        return;
    }
    if ON.swap(on, Ordering::Relaxed) != on {
        next_epoch();
    }
}

/// Puts the rules of a plan in the place of those that were there.
pub(crate) fn install(plan: &Plan) -> Installed {
    if plan.head.mode & MODE_FILTER == 0 {
        return Installed::Nothing;
    }
    if tables().is_some_and(|now| now.are_those_of(plan)) {
        if plan.head.mode & MODE_SWITCH != 0 {
            ON.store(plan.head.mode & MODE_OFF == 0, Ordering::Relaxed);
            next_epoch();
        }
        return Installed::Nothing;
    }
    let Some(memory) = sys::map(size_of::<Tables>().next_multiple_of(4096), 0) else {
        return Installed::NoMemory;
    };
    let tables = memory.cast::<Tables>();
    // SAFETY: fresh memory of sufficient size and alignment.
    unsafe {
        tables.write(Tables {
            head: plan.head,
            ranges: plan.ranges,
            rules: plan.rules,
            fetches: plan.fetches,
        });
    }
    let first = CURRENT.swap(tables, Ordering::AcqRel).is_null();
    if first {
        FILTERING.store(true, Ordering::Relaxed);
        crate::signals::install(&plan.head);
        ON.store(plan.head.mode & MODE_OFF == 0, Ordering::Relaxed);
    } else if plan.head.mode & MODE_SWITCH != 0 {
        ON.store(plan.head.mode & MODE_OFF == 0, Ordering::Relaxed);
    }
    SITES.clear();
    calls::classify();
    next_epoch();
    Installed::Rules
}

/// What [`install`] has made of a plan.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Installed {
    /// Its rules, which stay where they are in it: threads may look at them for ever.
    Rules,
    /// It has none, or the ones that count already: a library that comes back brings the same.
    Nothing,
    /// There was no memory.
    NoMemory,
}

/// Takes the rules up that the recorder has made since, if it has.
pub(crate) fn refresh() {
    static KNOWN: AtomicU32 = AtomicU32::new(0);
    let index = PROCESS.session.load(Ordering::Relaxed);
    let number = segment::session(index).rules.load(Ordering::Acquire);
    if KNOWN.swap(number, Ordering::AcqRel) == number || number == 0 {
        return;
    }
    if let Some(plan) = crate::init::load_plan(b"/rules-", index, number) {
        let installed = install(&plan);
        plan.done(installed == Installed::Rules);
    }
}

/// A table of a plan as the recorder has written it.
fn bytes_of<T>(table: &'static [T]) -> &'static [u8] {
    // SAFETY: a part of a plan file in memory, every byte of which is there.
    unsafe { core::slice::from_raw_parts(table.as_ptr().cast(), size_of_val(table)) }
}

impl Tables {
    /// Whether a plan says the same.
    fn are_those_of(&self, plan: &Plan) -> bool {
        let head = |head: &plan::Header| {
            let limits =
                (head.mode & !(MODE_SWITCH | MODE_OFF), head.depth, head.max_stack, head.size, head.time);
            (limits, head.watch, head.watch_size, head.signal_count, head.signals)
        };
        head(&self.head) == head(&plan.head)
            && bytes_of(self.ranges) == bytes_of(plan.ranges)
            && bytes_of(self.rules) == bytes_of(plan.rules)
            && bytes_of(self.fetches) == bytes_of(plan.fetches)
    }

    /// What is said about the function at an address: its range, and the number of that.
    pub(crate) fn find(&self, addr: u64) -> Option<&'static Range> {
        let at = self.ranges.partition_point(|r| r.start <= addr).checked_sub(1)?;
        let range = self.ranges.get(at)?;
        (addr - range.start < u64::from(range.len)).then_some(range)
    }

    /// The rule of a range.
    pub(crate) fn rule(&self, range: &Range) -> Option<&'static Rule> {
        if range.rule == NO_RULE { None } else { self.rules.get(range.rule as usize) }
    }

    /// The values that a rule asks for at the entry.
    pub(crate) fn arguments(&self, rule: &Rule) -> &'static [Fetch] {
        let from = rule.fetch as usize;
        self.fetches.get(from..from + usize::from(rule.args)).unwrap_or_default()
    }

    /// The values that a rule asks for at the exit.
    pub(crate) fn results(&self, rule: &Rule) -> &'static [Fetch] {
        let from = rule.fetch as usize + usize::from(rule.args);
        self.fetches.get(from..from + usize::from(rule.retvals)).unwrap_or_default()
    }
}

/// What is known about call sites of entry hooks: for each place of a hash table one word, the address above eight bits
/// of flags.
pub(crate) struct Sites(UnsafeCell<[u64; SIZE]>);

// SAFETY: every access is to whole words by atomics, or by the assembly, whose loads are as good.
unsafe impl Sync for Sites {}

const BITS: u32 = 13;
const SIZE: usize = 1 << BITS;
/// Factor of the hash (2^32 divided by the golden ratio, as a signed number).
pub(crate) const MIX: i32 = -1_640_531_527;
/// How far the low half of the product is shifted down.
pub(crate) const SHIFT: u32 = 32 - BITS;

/// See [`Sites`].
pub(crate) static SITES: Sites = Sites(UnsafeCell::new([0; SIZE]));

impl Sites {
    fn place(&self, addr: u64) -> &AtomicU64 {
        let mixed = (addr as u32).wrapping_mul(MIX as u32) >> SHIFT;
        // SAFETY: in bounds by the shift; see `Sync`.
        unsafe { &*self.0.get().cast::<AtomicU64>().add(mixed as usize) }
    }

    /// Lets the hooks know what they ask at an address.
    pub(crate) fn set(&self, addr: u64, flags: u32) {
        self.place(addr).store(addr << 8 | u64::from(flags & 0xff), Ordering::Relaxed);
    }

    fn clear(&self) {
        for at in 0..SIZE {
            // SAFETY: in bounds; see `Sync`.
            unsafe { (*self.0.get().cast::<AtomicU64>().add(at)).store(0, Ordering::Relaxed) };
        }
    }
}
