//! The functions that are entered through the pool: library functions and patched ones.
//!
//! What is special about a function (returns twice, starts a process, ends frames) comes from the plan as a
//! [`kind`]; no name is compared here.

use crate::slow::{self, Busy, block_of};
use crate::state::{self, CYG};
use crate::{asm, init, plt, segment, sys};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};
use fathom_abi::plan::kind;
use fathom_abi::record::{EXIT, TYPE_MASK};

/// One function. The first three fields are known to the assembly.
#[repr(C)]
pub(crate) struct Function {
    /// Where the call goes.
    pub(crate) target: usize,
    /// Record word without depth.
    pub(crate) word: u64,
    /// 0: the fast path may handle it.
    pub(crate) special: u8,
    /// See [`kind`].
    pub(crate) kind: u8,
    /// Whether calls are recorded.
    pub(crate) record: u8,
    pub(crate) reserved: [u8; 5],
    /// See [`fathom_abi::plan::Slot::gadget`].
    pub(crate) gadget: usize,
}

const _: () = assert!(size_of::<Function>() == asm::POOL_ENTRY);

/// The functions, by index of their pool entries.
#[repr(C, align(64))]
pub(crate) struct Table(UnsafeCell<[u8; asm::POOL * asm::POOL_ENTRY]>);

// SAFETY: an entry is written before its pool entry is led to, and not changed after.
unsafe impl Sync for Table {}

/// See [`Table`].
pub(crate) static TABLE: Table = Table(UnsafeCell::new([0; asm::POOL * asm::POOL_ENTRY]));

/// First entries that are not used, of the two parts of the pool.
static NEXT: [AtomicUsize; 2] = [AtomicUsize::new(1), AtomicUsize::new(asm::POOL_PLAIN + 1)];

fn function(index: usize) -> *mut Function {
    TABLE.0.get().cast::<Function>().wrapping_add(index)
}

/// Takes a pool entry for a function and returns its address; `None` when the pool is used up. `careful`: callers may
/// know which registers the function leaves alone.
pub(crate) fn add(f: Function, careful: bool) -> Option<usize> {
    let (next, end) = if careful { (&NEXT[1], asm::POOL) } else { (&NEXT[0], asm::POOL_PLAIN) };
    let mut index = next.fetch_add(1, Ordering::Relaxed);
    if index.is_multiple_of(128) {
        // The head of a page.
        index = next.fetch_add(1, Ordering::Relaxed);
    }
    if index >= end {
        return None;
    }
    // SAFETY: inside the table, and ours alone until somebody is led to it.
    unsafe { function(index).write(f) };
    Some(asm::fathom_pool as *const () as usize + index * asm::POOL_ENTRY)
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
/// Let the pool entry call the function: its frame is in place.
const PAIRED: usize = 1;

/// A call that the fast path did not take. `from` is the return address in its pool entry.
pub(crate) extern "C" fn slow_call(registers: &mut Registers, from: usize, slot: usize) -> Way {
    let index = (from - asm::fathom_pool as *const () as usize) / asm::POOL_ENTRY;
    // SAFETY: only filled entries are led to.
    let f = unsafe { &*function(index) };
    if matches!(f.kind, kind::EXEC..=kind::EXECLE) {
        plt::pass_environment(f.kind, registers, slot);
    }
    let plain = Way { target: f.target, how: PLAIN };
    let Some(block) = block_of(slot) else { return plain };
    // SAFETY: our own thread's block.
    let b = unsafe { &mut *block };
    let Some(_busy) = Busy::enter(block) else {
        b.lost += 2 * u64::from(f.record);
        return plain;
    };
    if matches!(f.kind, kind::DLOPEN | kind::DLCLOSE) && b.dlopen != 0 && slot < b.dlopen {
        // A dlopen inside a dlopen, or a dlclose in a constructor: tell what is known up to now.
        init::opened(b);
    }
    slow::prepare(b, slot);
    match f.kind {
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
        _ => returns_twice(b, f, registers, slot),
    }
    plain
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
        b.lost += 1;
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

/// Kinds whose return address must not be touched: the exit is recorded at once.
fn returns_twice(b: &mut state::Block, f: &Function, registers: &Registers, slot: usize) {
    slow::reap(b, slot);
    if f.record != 0 {
        let frame = b.top.wrapping_add(1);
        let w = slow::with_depth(f.word, slow::depth_of(b, frame));
        segment::append(b, w);
        segment::append(b, (w & !TYPE_MASK) | EXIT);
    }
    match f.kind {
        kind::VFORK => segment::begin_vfork(b),
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
