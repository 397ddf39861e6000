//! What a thread and the process keep: frames, blocks, the list of all threads.
//!
//! Nothing here is ever unmapped: an unwinder in any thread may be walking the list at any moment.

use crate::sys;
use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering, compiler_fence,
};
use fathom_abi::arena;

/// One open call.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    /// Where the return address is; [`UNFILLED`] while the frame is not filled. Low bits: [`CHAINED`], [`CYG`].
    pub(crate) slot: usize,
    /// The return address that was there.
    pub(crate) orig: usize,
    /// The entry's record word.
    pub(crate) word: u64,
    /// While filters decide: 0 when the entry is written, else when the call began, to be written if it turns out long
    /// enough. With [`RULED`], also what is in the thread's [`crate::side::Side`]. Otherwise 0, and so in every frame
    /// that was popped.
    pub(crate) held: u64,
}

/// Bit of [`Frame::held`]: something is said about the function, what it changed has to be restored.
pub(crate) const RULED: u64 = 1 << 63;

/// Slot of a frame that is reserved but not filled: fresh memory, and every frame that was popped. Only a hook that
/// interrupted another one between the two can see it on top, and leaves it alone.
pub(crate) const UNFILLED: usize = 0;
/// Slot bit: the frame came by a tail call, its slot is that of the frame below.
pub(crate) const CHAINED: usize = 1;
/// Slot bit: the compiler calls the exit hook itself; the slot only orders the frame among the others.
pub(crate) const CYG: usize = 2;
/// The slot bits.
pub(crate) const BITS: usize = 7;

/// Bytes of a shadow stack: half a million frames, more than an 8 MiB stack can hold. Reserved, not committed.
pub(crate) const SHADOW: usize = 16 << 20;
/// Frame 0 is this far behind a multiple of [`SHADOW_ALIGN`], so that a frame's address gives its depth (ten bits of
/// it), and outer frames do not agree in the low twelve bits with the first blocks (see [`BUF_OFFSET`]).
pub(crate) const SHADOW_BIAS: usize = 2048 + 256;
const SHADOW_ALIGN: usize = 32 << 10;
/// Blocks in a chunk.
const BLOCKS: usize = 256;
/// Bytes of the blocks of a chunk, and of their buffers behind them.
const HALF: usize = 1 << 16;
/// Bytes from a block to its [`Buffer`]. Not a multiple of 4096: the processor takes a load for one of a store's
/// address when they agree in the low twelve bits, which costs a third of a call pair.
pub(crate) const BUF_OFFSET: usize = HALF + 128;
/// Offset of `limit` in a block.
pub(crate) const LIMIT_OFFSET: usize = 24;

/// No segment.
pub(crate) const NONE: u32 = u32::MAX;

/// What a thread keeps. The first four fields are known to the assembly and to the unwind expression.
#[repr(C, align(256))]
pub(crate) struct Block {
    pub(crate) top: *mut Frame,
    pub(crate) base: *mut Frame,
    pub(crate) next: *mut Block,
    /// Entries need the slow path from here on; null forces it always.
    pub(crate) limit: *mut Frame,
    pub(crate) real_limit: *mut Frame,
    pub(crate) tid: i32,
    /// Whether a live thread owns the block.
    pub(crate) used: AtomicBool,
    /// The thread has been on a stack of its own making.
    pub(crate) contexts: bool,
    /// Rounds of thread-specific data destructors that ours has seen.
    pub(crate) rounds: u8,
    pub(crate) task: u32,
    pub(crate) segment: u32,
    pub(crate) sequence: u32,
    /// Stack pointer of a slow path in progress, 0 when there is none.
    pub(crate) busy: AtomicUsize,
    /// Bounds of the thread's own stack. While they are not known the second is 0 and the first an address in it.
    pub(crate) stack_from: usize,
    pub(crate) stack_to: usize,
    /// Slot of a dlopen call whose modules the recorder does not know yet; 0 when there is none.
    pub(crate) dlopen: usize,
    pub(crate) dlopen_time: u64,
    /// Frames that were given up but could still return: hash table of [`Zombie`], null until needed.
    pub(crate) zombies: *mut Zombie,
    /// Every record takes the slow path, and the write position is here instead of in the [`Buffer`].
    pub(crate) careful: bool,
    pub(crate) own: Buffer,
    /// The state of the parent while a vfork child runs on this block.
    pub(crate) vfork: Vfork,
    /// The session's epoch that the fields below belong to.
    pub(crate) seen: u32,
    /// [`HOLDING`], [`OFF`], [`WATCHING`].
    pub(crate) flags: u32,
    /// Open calls of functions that are left out with all they call.
    pub(crate) outside: u32,
    /// Open calls of functions that recording was asked for.
    pub(crate) inside: u32,
    /// Frames from here on must not be on top when a call is recorded: it would be too deep. Null: none is recorded.
    pub(crate) gate: *mut Frame,
    /// Raw clock units that a held call must have taken.
    pub(crate) threshold: u64,
    /// Frames that count for no level, times 64: where a word keeps its depth.
    pub(crate) hidden: u64,
    /// The rest of what filters need; null until then.
    pub(crate) side: *mut crate::side::Side,
}

/// Block flag: entries wait for their exits.
pub(crate) const HOLDING: u32 = 1;
/// Block flag: recording is switched off.
pub(crate) const OFF: u32 = 2;
/// Block flag: a value is watched.
pub(crate) const WATCHING: u32 = 4;
/// No epoch: the hooks go to Rust each time.
pub(crate) const NEVER_SEEN: u32 = u32::MAX;
/// Offset of `seen` in a block.
pub(crate) const SEEN_OFFSET: usize = core::mem::offset_of!(Block, seen);
/// Offset of `flags`.
pub(crate) const FLAGS_OFFSET: usize = core::mem::offset_of!(Block, flags);
/// Offset of `outside`.
pub(crate) const OUTSIDE_OFFSET: usize = core::mem::offset_of!(Block, outside);
/// Offset of `inside`.
pub(crate) const INSIDE_OFFSET: usize = core::mem::offset_of!(Block, inside);
/// Offset of `gate`.
pub(crate) const GATE_OFFSET: usize = core::mem::offset_of!(Block, gate);
/// Offset of `threshold`.
pub(crate) const THRESHOLD_OFFSET: usize = core::mem::offset_of!(Block, threshold);
/// Offset of `hidden`.
pub(crate) const HIDDEN_OFFSET: usize = core::mem::offset_of!(Block, hidden);

/// Set aside by a vfork.
#[repr(C)]
pub(crate) struct Vfork {
    pub(crate) active: bool,
    pub(crate) careful: bool,
    pub(crate) top: *mut Frame,
    pub(crate) task: u32,
    pub(crate) segment: u32,
    pub(crate) sequence: u32,
    pub(crate) cursor: usize,
    pub(crate) end: usize,
}

/// Where a thread writes. The one that hooks use is in memory that a forked child finds zeroed.
#[repr(C)]
pub(crate) struct Buffer {
    pub(crate) cursor: AtomicUsize,
    /// Some records before the end of the segment, see `segment.rs`.
    pub(crate) end: AtomicUsize,
}

impl Buffer {
    /// Moves both. In between no place is in front of the end: a hook that interrupts this takes the slow path, instead
    /// of writing to the new cursor because it is in front of the old end.
    pub(crate) fn set(&self, cursor: usize, end: usize) {
        self.end.store(0, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.cursor.store(cursor, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.end.store(end, Ordering::Relaxed);
    }
}

/// A presumed-dead frame.
#[repr(C)]
pub(crate) struct Zombie {
    pub(crate) slot: usize,
    pub(crate) orig: usize,
}

const _: () = assert!(size_of::<Frame>() == 32);
const _: () = assert!(size_of::<Block>() == 256);
const _: () = assert!(core::mem::offset_of!(Block, base) == 8);
const _: () = assert!(core::mem::offset_of!(Block, next) == 16);
const _: () = assert!(core::mem::offset_of!(Block, limit) == LIMIT_OFFSET);
const _: () = assert!(BLOCKS * size_of::<Block>() == HALF);

impl Block {
    /// The block's write position.
    pub(crate) fn buffer(&self) -> &Buffer {
        // SAFETY: every block lies in the first half of a chunk whose second half holds the buffers.
        unsafe { &*(core::ptr::from_ref(self).cast::<u8>().add(BUF_OFFSET).cast::<Buffer>()) }
    }

    /// The frame below the first one. Its slot is larger than any address.
    pub(crate) fn sentinel(&self) -> *mut Frame {
        self.base.wrapping_sub(1)
    }

    /// Whether no call is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.top < self.base
    }
}

/// First block of the list. The unwind expression starts here.
pub(crate) static THREADS: AtomicPtr<Block> = AtomicPtr::new(core::ptr::null_mut());

/// The process.
pub(crate) struct Process {
    /// The arena; null while there is none, and then nothing is traced.
    pub(crate) arena: AtomicPtr<arena::Header>,
    /// Process id that the state belongs to; a forked child finds its parent's.
    pub(crate) pid: AtomicI32,
    pub(crate) session: AtomicU32,
    /// Guards the list of blocks and the hello after a dlopen.
    pub(crate) lock: AtomicBool,
    /// Key whose destructor runs at a thread's end, plus one; 0 when there is none.
    pub(crate) key: AtomicU32,
    /// `pthread_setspecific`.
    pub(crate) setspecific: AtomicUsize,
}

/// The process's state.
pub(crate) static PROCESS: Process = Process {
    arena: AtomicPtr::new(core::ptr::null_mut()),
    pid: AtomicI32::new(0),
    session: AtomicU32::new(NONE),
    lock: AtomicBool::new(false),
    key: AtomicU32::new(0),
    setspecific: AtomicUsize::new(0),
};

/// A lock for rare work. Waits by yielding; a forked child resets it.
pub(crate) struct Locked;

impl Locked {
    pub(crate) fn take() -> Locked {
        while PROCESS.lock.swap(true, Ordering::Acquire) {
            sys::yield_now();
        }
        Locked
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        PROCESS.lock.store(false, Ordering::Release);
    }
}

/// This thread's block, or null.
#[inline]
pub(crate) fn current() -> *mut Block {
    let block: *mut Block;
    // SAFETY: reads the first word of this thread's `fathom_tls`.
    unsafe {
        core::arch::asm!(
            "mov {0}, qword ptr [rip + fathom_tls@gottpoff]",
            "mov {0}, qword ptr fs:[{0}]",
            out(reg) block, options(nostack, readonly, preserves_flags)
        );
    }
    block
}

/// Sets this thread's block.
pub(crate) fn set_current(block: *mut Block) {
    // SAFETY: writes the first word of this thread's `fathom_tls`.
    unsafe {
        core::arch::asm!(
            "mov {0}, qword ptr [rip + fathom_tls@gottpoff]",
            "mov qword ptr fs:[{0}], {1}",
            out(reg) _, in(reg) block, options(nostack, preserves_flags)
        );
    }
}

/// Second word of `fathom_tls`: 0 new, 1 being set up, 2 given up.
pub(crate) fn thread_state() -> u64 {
    let state: u64;
    // SAFETY: reads the second word of this thread's `fathom_tls`.
    unsafe {
        core::arch::asm!(
            "mov {0}, qword ptr [rip + fathom_tls@gottpoff]",
            "mov {0}, qword ptr fs:[{0} + 8]",
            out(reg) state, options(nostack, readonly, preserves_flags)
        );
    }
    state
}

/// Sets [`thread_state`].
pub(crate) fn set_thread_state(state: u64) {
    // SAFETY: writes the second word of this thread's `fathom_tls`.
    unsafe {
        core::arch::asm!(
            "mov {0}, qword ptr [rip + fathom_tls@gottpoff]",
            "mov qword ptr fs:[{0} + 8], {1}",
            out(reg) _, in(reg) state, options(nostack, preserves_flags)
        );
    }
}

/// A block that no live thread owns, with an empty shadow stack. `near` is an address on the caller's stack:
/// frames that a dead thread left there are dropped, because an unwinder would take them for ours.
pub(crate) fn take_block(tid: i32, pid: i32, near: usize) -> Option<*mut Block> {
    let _locked = Locked::take();
    let mut free = core::ptr::null_mut::<Block>();
    let mut at = THREADS.load(Ordering::Acquire);
    while !at.is_null() {
        // SAFETY: blocks are never unmapped. `top` and `base` of another thread's block may change as we read;
        // the values are only compared.
        let block = unsafe { &mut *at };
        if block.used.load(Ordering::Acquire) {
            let stale = block.tid == tid
                || (!block.is_empty() && overlaps(block, near) && sys::is_gone(pid, block.tid));
            if stale {
                release(block);
            }
        }
        if !block.used.load(Ordering::Acquire) {
            free = at;
        }
        at = block.next;
    }
    if free.is_null() {
        free = fresh_block()?;
    }
    // SAFETY: no thread owns it, and we hold the lock.
    let block = unsafe { &mut *free };
    block.tid = tid;
    block.top = block.sentinel();
    block.limit = block.real_limit;
    block.contexts = false;
    block.rounds = 0;
    block.task = NONE;
    block.segment = NONE;
    block.sequence = 0;
    block.busy.store(0, Ordering::Relaxed);
    // The anchor from which the bounds are found when they are needed.
    (block.stack_from, block.stack_to) = (near, 0);
    block.dlopen = 0;
    block.vfork.active = false;
    block.careful = false;
    crate::filter::reset(block);
    block.own.set(0, 0);
    block.buffer().set(0, 0);
    block.used.store(true, Ordering::Release);
    Some(free)
}

/// Whether the block's open frames lie within a stack's size of `near`.
fn overlaps(block: &Block, near: usize) -> bool {
    const REACH: usize = 8 << 20;
    // SAFETY: `top` is at or above `base` here, so it points to a frame of the shadow stack.
    let slot = unsafe { (*block.top).slot };
    slot.abs_diff(near) < REACH
}

/// Empties a block for its next owner.
pub(crate) fn release(block: &mut Block) {
    let mut frame = block.top;
    block.top = block.sentinel();
    while frame >= block.base {
        // SAFETY: frames from `base` to the former `top` are in the shadow stack.
        unsafe { ((*frame).slot, (*frame).held) = (UNFILLED, 0) };
        frame = frame.wrapping_sub(1);
    }
    if !block.zombies.is_null() {
        crate::zombies::clear(block);
    }
    block.used.store(false, Ordering::Release);
}

/// A block that was never used, from the current chunk or a new one. It is not in the list yet: an unwinder must
/// not meet a block without a shadow stack. Called under the lock.
fn fresh_block() -> Option<*mut Block> {
    static NEXT: AtomicPtr<Block> = AtomicPtr::new(core::ptr::null_mut());
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    if LEFT.load(Ordering::Relaxed) == 0 {
        let chunk = sys::map(2 * HALF, 0)?;
        // SAFETY: the second half is ours and private. The recorder refuses kernels that do not know the advice.
        unsafe {
            sys::call(sys::MADVISE, [chunk as usize + HALF, HALF, sys::MADV_WIPEONFORK, 0, 0, 0]);
        }
        NEXT.store(chunk.cast(), Ordering::Relaxed);
        LEFT.store(BLOCKS, Ordering::Relaxed);
    }
    let block = NEXT.load(Ordering::Relaxed);
    // SAFETY: inside the chunk, zeroed, and known to nobody else.
    if !give_shadow(unsafe { &mut *block }) {
        return None;
    }
    NEXT.store(block.wrapping_add(1), Ordering::Relaxed);
    LEFT.fetch_sub(1, Ordering::Relaxed);
    // SAFETY: as above.
    unsafe { (*block).next = THREADS.load(Ordering::Relaxed) };
    THREADS.store(block, Ordering::Release);
    Some(block)
}

/// Maps the shadow stack of a block that has none. Called under the lock.
fn give_shadow(block: &mut Block) -> bool {
    let mut size = SHADOW;
    let memory = loop {
        match sys::map(size + 2 * SHADOW_ALIGN, sys::MAP_NORESERVE) {
            Some(memory) => break memory as usize,
            // Strict overcommit or a limit on address space: a small shadow stack is better than none.
            None if size > 64 << 10 => size /= 4,
            None => return false,
        }
    };
    let base = ((memory + SHADOW_ALIGN).next_multiple_of(SHADOW_ALIGN) + SHADOW_BIAS) as *mut Frame;
    let sentinel = base.wrapping_sub(1);
    // SAFETY: the sentinel lies in the alignment gap in front of the base.
    unsafe { (*sentinel).slot = usize::MAX };
    block.base = base;
    block.top = sentinel;
    block.real_limit = base.wrapping_add(size / size_of::<Frame>() - 2);
    block.limit = block.real_limit;
    true
}
