//! Static probes (`sys/sdt.h`): their NOPs become instructions that trap, and the handler records an event.
//!
//! What has been a trap stays one until the program wants to handle SIGILL itself: then all are put back.

use crate::init::Plan;
use crate::signals::{self, Action, NODEFER, ONSTACK, RESTART, SIGINFO};
use crate::slow::{self, Busy};
use crate::{filter, plt, segment, sys};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU16, Ordering};
use fathom_abi::plan::{
    MODE_PROBES, NO_REGISTER, OPERAND_CONSTANT, OPERAND_MEMORY, OPERAND_REGISTER, OPERAND_SECOND_BYTE,
    OPERAND_VECTOR, Operand, PROBE_ARGS, Probe,
};
use fathom_abi::record::{EVENT, PROBE_SIGNED, word};

/// SIGILL.
pub(crate) const SIGNAL: usize = 4;
/// Its bit in a set of signals.
pub(crate) const BIT: usize = 1 << (SIGNAL - 1);

const NOP: u8 = 0x90;
/// INTO, which there is none of in 64-bit code.
const TRAP: u8 = 0xce;
const PAGE: usize = 4096;

/// The probes of one plan.
struct Table {
    probes: &'static [Probe],
    operands: &'static [Operand],
    next: *mut Table,
}

/// The newest plan's; never freed.
static TABLES: AtomicPtr<Table> = AtomicPtr::new(core::ptr::null_mut());
/// Whether our handler is in place.
static ON: AtomicBool = AtomicBool::new(false);
/// Whether the program has claimed the signal.
static GIVEN_WAY: AtomicBool = AtomicBool::new(false);
/// Whether the signal was ignored before.
static IGNORED: AtomicBool = AtomicBool::new(false);

/// Whether the program must neither block the signal nor handle it.
pub(crate) fn are_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Switches the probes of a plan on. Returns how many could not be.
pub(crate) fn apply(plan: &Plan) -> u32 {
    if plan.head.mode & MODE_PROBES == 0 || GIVEN_WAY.load(Ordering::Relaxed) {
        return 0;
    }
    if !ON.swap(true, Ordering::Relaxed) {
        begin();
    }
    if plan.probes.is_empty() {
        return 0;
    }
    let Some(memory) = sys::map(PAGE, 0) else { return plan.probes.len() as u32 };
    let table = memory.cast::<Table>();
    let next = TABLES.load(Ordering::Relaxed);
    // SAFETY: fresh memory of sufficient size and alignment.
    unsafe { table.write(Table { probes: plan.probes, operands: plan.operands, next }) };
    // Before there is a trap, the handler knows it.
    TABLES.store(table, Ordering::Release);
    let set = plan.probes.iter().filter(|probe| switch_on(probe)).count();
    (plan.probes.len() - set) as u32
}

/// Our handler, and the signal let in: a program may be started with it blocked.
fn begin() {
    const UNBLOCK: usize = 1;
    let flags = SIGINFO | RESTART | NODEFER | ONSTACK;
    let old = signals::set(SIGNAL, &Action::new(trapped as *const () as usize, flags));
    IGNORED.store(old.handler == Action::IGNORE.handler, Ordering::Relaxed);
    let set = BIT as u64;
    // SAFETY: the set is a word.
    unsafe {
        sys::call(sys::RT_SIGPROCMASK, [UNBLOCK, &raw const set as usize, 0, size_of::<u64>(), 0, 0]);
    }
}

fn switch_on(probe: &Probe) -> bool {
    if !exchange(probe, NOP, TRAP) {
        return false;
    }
    if probe.semaphore != 0 {
        // SAFETY: the recorder has seen that it is in writable memory of the module.
        unsafe { (*(probe.semaphore as *const AtomicU16)).fetch_add(1, Ordering::Relaxed) };
    }
    true
}

/// Puts one byte of code in the place of another; false when that is not there.
fn exchange(probe: &Probe, from: u8, to: u8) -> bool {
    let at = probe.addr as usize;
    let mut now = [0];
    if sys::read_memory(at, &mut now) != 1 || now[0] != from {
        return false;
    }
    let page = at & !(PAGE - 1);
    if !plt::protect(page, PAGE, sys::PROT_READ | sys::PROT_WRITE | sys::PROT_EXEC) {
        return false;
    }
    // SAFETY: writable now; one byte is read by other processors as a whole.
    unsafe { (*(at as *const AtomicU8)).store(to, Ordering::Release) };
    plt::protect(page, PAGE, sys::PROT_READ | sys::PROT_EXEC);
    true
}

/// The program is about to handle the signal itself: the traps and our handler go.
pub(crate) fn give_way() {
    /// A thread that has come to a trap just now gets its signal before this is over.
    const MOMENT: u64 = 1_000_000;
    if GIVEN_WAY.swap(true, Ordering::AcqRel) {
        return;
    }
    let mut any = false;
    for table in tables() {
        for probe in table.probes {
            any |= exchange(probe, TRAP, NOP);
        }
    }
    if any {
        segment::header().no_probes.store(1, Ordering::Relaxed);
        sys::NoSignals::begin().sleep(MOMENT);
    }
    let ignored = IGNORED.load(Ordering::Relaxed);
    signals::set(SIGNAL, if ignored { &Action::IGNORE } else { &Action::DEFAULT });
    ON.store(false, Ordering::Relaxed);
}

fn tables() -> impl Iterator<Item = &'static Table> {
    let mut at = TABLES.load(Ordering::Acquire);
    core::iter::from_fn(move || {
        // SAFETY: null or a table that is never freed.
        let table = unsafe { at.as_ref() }?;
        at = table.next;
        Some(table)
    })
}

/// What the kernel saves of an interrupted program on x86-64: `struct ucontext` as words.
struct Context(*mut u64);

impl Context {
    /// Where the general registers are, by the number that instructions have for them.
    const REGISTERS: [usize; 16] = [18, 19, 17, 16, 20, 15, 14, 13, 5, 6, 7, 8, 9, 10, 11, 12];
    const RSP: u8 = 4;
    const IP: usize = 21;
    /// The pointer to the area of `fxsave`.
    const VECTORS: usize = 28;

    fn word(&self, index: usize) -> u64 {
        // SAFETY: inside of the structure.
        unsafe { self.0.add(index).read() }
    }

    fn register(&self, number: u8) -> Option<u64> {
        Self::REGISTERS.get(usize::from(number)).map(|&index| self.word(index))
    }

    fn vector(&self, number: u8) -> Option<u64> {
        /// Words in front of xmm0, and of a register.
        const FIRST: usize = 20;
        const EACH: usize = 2;
        let area = self.word(Self::VECTORS) as *const u64;
        if number > 15 || area.is_null() {
            return None;
        }
        // SAFETY: the kernel saves them with every signal.
        Some(unsafe { area.add(FIRST + EACH * usize::from(number)).read() })
    }
}

/// The handler.
extern "C" fn trapped(_signal: i32, info: *const i32, context: *mut u64) {
    let context = Context(context);
    let at = context.word(Context::IP);
    // SAFETY: `si_code`; above zero when it comes from the processor.
    let fault = unsafe { info.add(2).read() } > 0;
    let found = tables().find_map(|table| {
        let index = table.probes.binary_search_by_key(&at, |probe| probe.addr).ok()?;
        Some((table, &table.probes[index]))
    });
    match found.filter(|_| fault) {
        Some((table, probe)) => {
            // Behind the byte, whether it is still a trap or a NOP again.
            // SAFETY: inside of the structure.
            unsafe { context.0.add(Context::IP).write(at + 1) };
            record(table, probe, &context);
        }
        None => not_ours(fault),
    }
}

/// Somebody else's signal: what would have happened without us.
fn not_ours(fault: bool) {
    if IGNORED.load(Ordering::Relaxed) && !fault {
        return;
    }
    // Of a fault there will be another when the instruction is tried again.
    signals::set(SIGNAL, &Action::DEFAULT);
    if !fault {
        let (pid, tid) = (sys::getpid() as usize, sys::gettid() as usize);
        // SAFETY: a signal to this thread.
        unsafe { sys::call(sys::TGKILL, [pid, tid, SIGNAL, 0, 0, 0]) };
    }
}

fn record(table: &Table, probe: &Probe, context: &Context) {
    // As of a function that is called here.
    let slot = context.word(Context::REGISTERS[usize::from(Context::RSP)]) as usize - 8;
    let Some(block) = slow::block_of(slot) else { return };
    // SAFETY: our own thread's block.
    let b = unsafe { &mut *block };
    if !filter::take_care(block, slot) || !filter::reap(b, slot) {
        return;
    }
    let Some(_busy) = Busy::enter(block) else {
        segment::lose(b, 1);
        return;
    };
    if !filter::admit(b) {
        return;
    }
    let time = segment::now();
    let record = word(EVENT, 0, u64::from(probe.id));
    let first = probe.first as usize;
    let operands = table.operands.get(first..first + probe.count as usize).unwrap_or_default();
    if operands.is_empty() {
        segment::append_at(b, time, record);
        return;
    }
    let mut payload = [0; (2 + 9 * PROBE_ARGS).next_multiple_of(8)];
    let len = take_arguments(operands, context, &mut payload);
    segment::append_with(b, time, record, &payload[..len]);
}

/// Fills a payload and returns its length. See [`PROBE_SIGNED`].
fn take_arguments(operands: &[Operand], context: &Context, payload: &mut [u8]) -> usize {
    let count = operands.len().min(PROBE_ARGS);
    let len = 9 * count;
    payload[..2].copy_from_slice(&(len as u16).to_le_bytes());
    for (i, operand) in operands[..count].iter().enumerate() {
        let value = value(operand, context);
        let at = 2 + 8 * i;
        payload[at..at + 8].copy_from_slice(&value.unwrap_or(0).to_le_bytes());
        payload[2 + 8 * count + i] = value.map_or(0, |_| operand.shape);
    }
    (2 + len).next_multiple_of(8)
}

fn value(operand: &Operand, context: &Context) -> Option<u64> {
    let size = usize::from(operand.shape & 0xf);
    let value = match operand.kind {
        OPERAND_REGISTER => context.register(operand.base)?,
        OPERAND_SECOND_BYTE => context.register(operand.base)? >> 8,
        OPERAND_VECTOR => context.vector(operand.base)?,
        OPERAND_CONSTANT => operand.number,
        OPERAND_MEMORY => {
            let register = |number| if number == NO_REGISTER { Some(0) } else { context.register(number) };
            let index = register(operand.index)?.wrapping_mul(u64::from(operand.scale));
            let at = register(operand.base)?.wrapping_add(index).wrapping_add(operand.number);
            let mut bytes = [0; 8];
            let wanted = bytes.get_mut(..size)?;
            // The program computes the address and need not be able to read there.
            if sys::read_memory(at as usize, wanted) != size {
                return None;
            }
            u64::from_le_bytes(bytes)
        }
        _ => return None,
    };
    let unused = 64 - 8 * size.clamp(1, 8) as u32;
    Some(if operand.shape & PROBE_SIGNED != 0 {
        ((value << unused).cast_signed() >> unused).cast_unsigned()
    } else {
        value << unused >> unused
    })
}
