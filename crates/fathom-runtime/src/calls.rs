//! The functions that are entered by a jump to a call hook: library functions and patched ones.
//!
//! What is special about a function (returns twice, starts a process, ends frames) comes from the plan as a
//! [`kind`]; no name is compared here.

use crate::asm::LANES;
use crate::fetch::Arguments;
use crate::rules::FILTERING;
use crate::slow::{self, Busy, block_of};
use crate::state::{self, CYG};
use crate::{asm, asm_filter, filter, init, masks, plt, rules, segment, sys};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use fathom_abi::plan::kind;
use fathom_abi::record::{ADDR_SHIFT, EXIT, TYPE_MASK};

/// One function. The first three fields are known to the assembly.
#[repr(C)]
pub(crate) struct Function {
    /// Where the call goes.
    pub(crate) target: usize,
    /// Record word without depth.
    pub(crate) word: u64,
    /// 0: the fast path may handle it.
    pub(crate) special: u8,
    /// See [`kind`]; of what [`crate::sleds`] has a hook for, one of `SLED_`.
    pub(crate) kind: u8,
    /// Whether calls are recorded.
    pub(crate) record: u8,
    /// `RANGE_` bits of the rules, for the filtering hooks.
    pub(crate) filter: AtomicU8,
    pub(crate) reserved: [u8; 4],
    /// See [`fathom_abi::plan::Slot::gadget`].
    pub(crate) gadget: usize,
}

const _: () = assert!(size_of::<Function>() == 32);

/// Functions that a process can hook. Thirty-two megabytes, of which only the used part is ever touched.
const CAPACITY: usize = 1 << 20;

/// The functions, by index.
#[repr(C, align(64))]
pub(crate) struct Table(UnsafeCell<[u8; CAPACITY * size_of::<Function>()]>);

// SAFETY: an entry is written before anybody is led to it; after that only its atomic changes.
unsafe impl Sync for Table {}

/// See [`Table`].
pub(crate) static TABLE: Table = Table(UnsafeCell::new([0; CAPACITY * size_of::<Function>()]));

/// First entry that is not used.
static NEXT: AtomicU32 = AtomicU32::new(0);

fn function(index: usize) -> *mut Function {
    TABLE.0.get().cast::<Function>().wrapping_add(index)
}

/// Adds a function and returns its index; `None` when the table is full.
fn add(f: Function) -> Option<u32> {
    let index = NEXT.fetch_add(1, Ordering::Relaxed);
    if index as usize >= CAPACITY {
        return None;
    }
    // SAFETY: inside the table, and ours alone until somebody is led to it.
    unsafe { function(index as usize).write(f) };
    Some(index)
}

/// Looks up again what the rules say about each function.
pub(crate) fn classify() {
    for index in 0..(NEXT.load(Ordering::Relaxed) as usize).min(CAPACITY) {
        // SAFETY: entries below the count are filled or zero, and stay.
        let f = unsafe { &*function(index) };
        f.filter.store(flags_of(f.word), Ordering::Relaxed);
    }
}

/// What the rules say about a function.
fn flags_of(word: u64) -> u8 {
    let range = rules::tables().and_then(|tables| tables.find(word >> ADDR_SHIFT));
    range.map_or(0, |range| range.flags as u8)
}

/// Code in memory of ours: for each function a stub that pushes its index and jumps to a lane of a call hook, or to another
/// hook. Many stubs in one cache line's reach; the words of the functions follow each other in the table.
pub(crate) struct Stubs {
    at: usize,
    next: usize,
    end: usize,
    /// How many lanes each of the two hooks has.
    lanes: usize,
}

impl Stubs {
    /// Bytes of a stub.
    pub(crate) const SIZE: usize = 16;
    /// The addresses of the two hooks' lanes stand in front.
    const HEAD: usize = 2 * LANES * size_of::<usize>();

    /// Bytes that so many stubs need.
    pub(crate) fn len(count: usize) -> usize {
        (Self::HEAD + count * Self::SIZE).next_multiple_of(4096)
    }

    /// Stubs of the call hooks in writable memory of [`Stubs::len`] bytes.
    pub(crate) fn begin(at: usize, len: usize) -> Stubs {
        let hooks = if FILTERING.load(Ordering::Relaxed) {
            [
                asm_filter::fathom_filter_call_plain as *const () as usize,
                asm_filter::fathom_filter_call_careful as *const () as usize,
            ]
        } else {
            [asm::fathom_call_plain as *const () as usize, asm::fathom_call_careful as *const () as usize]
        };
        Self::begin_with(at, len, LANES, |hook, lane| asm::lane(hooks[hook], lane))
    }

    /// Stubs of two other hooks: one that [`Stubs::add`] takes as a rule, and the `careful` one.
    pub(crate) fn begin_two(at: usize, len: usize, hooks: [usize; 2]) -> Stubs {
        Self::begin_with(at, len, 1, |hook, _| hooks[hook])
    }

    fn begin_with(at: usize, len: usize, lanes: usize, address: impl Fn(usize, usize) -> usize) -> Stubs {
        for number in 0..2 * lanes {
            // SAFETY: callers pass fresh memory of theirs, which begins with room for these.
            unsafe { (at as *mut usize).add(number).write(address(number % 2, number / 2)) };
        }
        Stubs { at, next: at + Self::HEAD, end: at + len, lanes }
    }

    /// Where the next stub will be.
    pub(crate) fn next_stub(&self) -> usize {
        self.next
    }

    /// Bytes that a stub needs that has so many bytes of code behind it, at the least [`Stubs::SIZE`].
    pub(crate) fn size_with(code: usize) -> usize {
        Self::SIZE + code.next_multiple_of(Self::SIZE)
    }

    /// Bytes of memory for stubs that need so many.
    pub(crate) fn len_of(bytes: usize) -> usize {
        (Self::HEAD + bytes).next_multiple_of(4096)
    }

    /// Memory behind the last stub, where that has its code. `None` when there is no room.
    pub(crate) fn add_code(&mut self, len: usize) -> Option<&'static mut [u8]> {
        let at = self.next;
        if len > self.end - at {
            return None;
        }
        self.next = at + len.next_multiple_of(Self::SIZE);
        // SAFETY: inside our memory, which is kept for ever, and nobody else is given this part of it.
        Some(unsafe { core::slice::from_raw_parts_mut(at as *mut u8, len) })
    }

    /// Leaves out so many bytes.
    pub(crate) fn skip(&mut self, bytes: usize) {
        self.next = (self.next + bytes).min(self.end);
    }

    /// Address of a stub for a function; `None` when there is no room. `careful`: callers may know which registers the
    /// function leaves alone.
    pub(crate) fn add(&mut self, f: Function, careful: bool) -> Option<usize> {
        if self.next + Self::SIZE > self.end {
            return None;
        }
        f.filter.store(flags_of(f.word), Ordering::Relaxed);
        let index = add(f)?;
        let stub = self.next;
        self.next += Self::SIZE;
        let hook = self.at + 16 * (index as usize % self.lanes) + if careful { 8 } else { 0 };
        let mut code = [0xccu8; Self::SIZE];
        code[0] = 0x68; // push imm32
        code[1..5].copy_from_slice(&index.to_le_bytes());
        code[5..7].copy_from_slice(&[0xff, 0x25]); // jmp [rip + disp32]
        code[7..11].copy_from_slice(&((hook as isize - (stub + 11) as isize) as i32).to_le_bytes());
        // SAFETY: inside our memory, and nobody is led here yet.
        unsafe { (stub as *mut [u8; Self::SIZE]).write(code) };
        Some(stub)
    }

    /// Whether a stub that was made earlier is one for this function.
    pub(crate) fn is_for(stub: usize, f: &Function) -> bool {
        // SAFETY: callers pass addresses of stubs, which can be read for ever.
        let [push, index @ ..] = unsafe { (stub as *const [u8; 5]).read() };
        let index = u32::from_le_bytes(index);
        if push != 0x68 || index >= NEXT.load(Ordering::Relaxed).min(CAPACITY as u32) {
            return false;
        }
        // SAFETY: only filled entries have stubs.
        let there = unsafe { &*function(index as usize) };
        (there.target, there.word, there.kind) == (f.target, f.word, f.kind)
    }

    /// Makes the code executable.
    pub(crate) fn finish(self) -> bool {
        plt::protect(self.at, self.end - self.at, sys::PROT_READ | sys::PROT_EXEC)
    }
}

/// The argument registers of a call, in order; changed values take effect.
pub(crate) type Registers = [usize; 6];

/// How a call goes on.
#[repr(C)]
pub(crate) struct Way {
    /// The function.
    target: usize,
    /// [`PLAIN`], [`PAIRED`], or the address of a return instruction to return through.
    how: usize,
}

/// Jump to the function: nothing is to be seen of its return.
const PLAIN: usize = 0;
/// Let the call hook call the function: its frame is in place.
const PAIRED: usize = 1;

/// A call that the fast path did not take.
pub(crate) extern "C" fn slow_call(
    registers: &mut Registers,
    index: usize,
    slot: usize,
    vectors: *const u8,
) -> Way {
    // SAFETY: only filled entries are led to.
    let f = unsafe { &*function(index) };
    if matches!(f.kind, kind::EXEC..=kind::EXECLE) {
        plt::pass_environment(f.kind, registers, slot);
    }
    let about_signals = matches!(f.kind, kind::SIGNAL..=kind::SIGNAL_SET6);
    if about_signals {
        masks::keep_trap(f.kind, registers);
    }
    let plain = Way { target: f.target, how: PLAIN };
    let Some(block) = block_of(slot) else { return plain };
    // SAFETY: our own thread's block.
    let b = unsafe { &mut *block };
    if FILTERING.load(Ordering::Relaxed) && (f.kind == kind::NORMAL || about_signals) {
        let arguments = Arguments { integers: &*registers, vectors, stack: slot + 8 };
        let record = f.record != 0 && filter::take_care(block, slot);
        let paired = record && filter::enter(b, slot, f.word & !0xff, &arguments);
        return Way { target: f.target, how: if paired { PAIRED } else { PLAIN } };
    }
    let Some(_busy) = Busy::enter(block) else {
        segment::lose(b, 2 * u64::from(f.record));
        return plain;
    };
    if matches!(f.kind, kind::DLOPEN | kind::DLCLOSE) && b.dlopen != 0 && slot < b.dlopen {
        // A dlopen inside a dlopen, or a dlclose in a constructor: tell what is known up to now.
        init::opened(b);
    }
    slow::prepare(b, slot);
    if FILTERING.load(Ordering::Relaxed) {
        filter::catch_up(b);
        let arguments = Arguments { integers: &*registers, vectors, stack: slot + 8 };
        return Way { target: f.target, how: filtered_call(b, f, &arguments, slot) };
    }
    match f.kind {
        kind::FLUSH if f.record != 0 => {
            if slow::enter(b, slot, f.word & !0xff) {
                return Way { target: f.target, how: PAIRED };
            }
        }
        kind::NORMAL | kind::DLCLOSE | kind::EXEC..=kind::EXECLE if f.record != 0 => {
            if slow::enter(b, slot, f.word & !0xff) {
                return Way { target: f.target, how: PAIRED };
            }
        }
        kind::NORMAL | kind::DLCLOSE | kind::EXEC..=kind::EXECLE => {}
        kind::LANDING => slow::reap(b, slot),
        kind::CALLER | kind::DLOPEN if f.gadget != 0 => {
            if call_back(b, f, slot) {
                return Way { target: f.target, how: f.gadget };
            }
        }
        _ => {
            slow::reap(b, slot);
            if f.record != 0 {
                let w = slow::with_depth(f.word, slow::depth_of(b, b.top.wrapping_add(1)));
                segment::append(b, w);
                segment::append(b, (w & !TYPE_MASK) | EXIT);
            }
            returns_twice(b, f, registers, slot);
        }
    }
    plain
}

/// The same where rules decide what is recorded. Tells how the call goes on.
fn filtered_call(b: &mut state::Block, f: &Function, arguments: &Arguments<'_>, slot: usize) -> usize {
    let bits = f.word & !0xff;
    let record = f.record != 0;
    match f.kind {
        kind::DLCLOSE | kind::FLUSH | kind::EXEC..=kind::EXECLE => {
            let paired = record && filter::enter(b, slot, bits, arguments);
            if f.kind != kind::DLCLOSE {
                filter::write_long(b);
            }
            if paired { PAIRED } else { PLAIN }
        }
        kind::LANDING => {
            slow::reap(b, slot);
            PLAIN
        }
        kind::CALLER | kind::DLOPEN if f.gadget != 0 => {
            slow::reap(b, slot);
            let place = (slot - 8) | CYG;
            let recorded = record && filter::push_at(b, place, AFTER, bits, arguments);
            if !recorded && !filter::push_hidden(b, place, AFTER) {
                return PLAIN;
            }
            if f.kind == kind::DLOPEN {
                b.dlopen = slot;
                b.dlopen_time = segment::now();
            }
            f.gadget
        }
        _ => {
            slow::reap(b, slot);
            if record {
                filter::record_pair(b, bits, arguments);
            }
            returns_twice(b, f, arguments.integers, slot);
            PLAIN
        }
    }
}

/// Notes a call that returns to [`after`]. False when there is no room for its frame.
fn call_back(b: &mut state::Block, f: &Function, slot: usize) -> bool {
    slow::reap(b, slot);
    // Eight bytes below the return address is where the address of `fathom_after` will stand.
    let Some(w) = slow::push(b, (slot - 8) | CYG, AFTER, f.word & !0xff) else { return false };
    if f.record != 0 {
        segment::append(b, w);
    } else {
        // SAFETY: the frame was just pushed.
        unsafe { (*b.top).word = 0 };
    }
    if f.kind == kind::DLOPEN {
        b.dlopen = slot;
        b.dlopen_time = segment::now();
    }
    true
}

/// Stands in a frame where `-finstrument-functions` keeps a function's address.
const AFTER: usize = 1;

/// A function that was called by [`call_back`] has returned; `slot` is where its caller's return address is.
pub(crate) extern "C" fn after(slot: usize) {
    let block = state::current();
    if block.is_null() {
        return;
    }
    // SAFETY: our own thread's block.
    let b = unsafe { &mut *block };
    let Some(_busy) = Busy::enter(block) else {
        segment::lose(b, 1);
        return;
    };
    slow::prepare(b, slot - 8);
    let mut at = b.top;
    while at >= b.base {
        // SAFETY: between base and top.
        let frame = unsafe { &*at };
        if frame.slot == (slot - 8) | CYG && frame.orig == AFTER {
            slow::end(b, at, slot - 8);
            break;
        }
        at = at.wrapping_sub(1);
    }
    if b.dlopen != 0 {
        init::opened(b);
    }
}

/// Kinds whose return address must not be touched: the exit has been recorded at once.
fn returns_twice(b: &mut state::Block, f: &Function, registers: &Registers, slot: usize) {
    match f.kind {
        kind::VFORK => {
            filter::before_vfork(b);
            segment::begin_vfork(b);
        }
        kind::CONTEXT => b.contexts = true,
        kind::LONGJMP => {
            if let Some(to) = jump_target(registers[0]) {
                slow::unwind_to(b, to);
            }
        }
        kind::DLOPEN => {
            b.dlopen = slot;
            b.dlopen_time = segment::now();
            b.limit = core::ptr::null_mut();
        }
        _ => {}
    }
}

/// The stack pointer in glibc's `jmp_buf`: word 6, rotated and mixed with the thread's pointer guard.
fn jump_target(buffer: usize) -> Option<usize> {
    let mangled = sys::peek(buffer + 6 * 8)?;
    let guard: usize;
    // SAFETY: glibc keeps the pointer guard at fs:0x30.
    unsafe { core::arch::asm!("mov {}, qword ptr fs:[0x30]", out(reg) guard, options(nostack, readonly)) };
    Some(mangled.rotate_right(0x11) ^ guard)
}
