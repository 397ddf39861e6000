//! Library functions that would take the signal away that static probes need.
//!
//! A trap at a moment when SIGILL is blocked ends the process. So while there are probes, no set of signals that the
//! program blocks has SIGILL in it: the function gets a copy without. Where the program wants a handler of its own, the
//! probes give way.

use crate::calls::Registers;
use crate::{probes, sys};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};
use fathom_abi::plan::kind;

/// Words of glibc's `struct sigaction`: handler, 1024 signals, flags, restorer.
const ACTION: usize = 19;
/// Which of them begins the set of signals.
const MASK: usize = 1;

/// Copies that functions are given. As many functions would have to be begun, before one of them has read its copy,
/// for another to get it.
const COPIES: usize = 256;
struct Copies(UnsafeCell<[[usize; ACTION]; COPIES]>);
// SAFETY: a copy belongs to who has counted it.
unsafe impl Sync for Copies {}
static MEMORY: Copies = Copies(UnsafeCell::new([[0; ACTION]; COPIES]));

fn copy(words: [usize; ACTION]) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let index = NEXT.fetch_add(1, Ordering::Relaxed) % COPIES;
    let at = MEMORY.0.get().cast::<[usize; ACTION]>().wrapping_add(index);
    // SAFETY: inside of the memory; see `COPIES`.
    unsafe { at.write(words) };
    at as usize
}

/// Before a function that is about signals: sees to it that traps of probes are survived.
pub(crate) fn keep_trap(kind: u8, registers: &mut Registers) {
    if !probes::are_on() {
        return;
    }
    let set = match kind {
        kind::SIGNAL => {
            if registers[0] == probes::SIGNAL {
                probes::give_way();
            }
            return;
        }
        kind::SIGACTION => {
            action(registers);
            return;
        }
        kind::SIGNAL_SET1 => &mut registers[0],
        kind::SIGNAL_SET2 => &mut registers[1],
        kind::SIGNAL_SET4 => &mut registers[3],
        kind::SIGNAL_SET5 => &mut registers[4],
        _ => &mut registers[5],
    };
    // The first word has all signals that Linux knows. Null, or what is no address, is the function's business.
    if let Some(word) = sys::peek(*set).filter(|word| word & probes::BIT != 0) {
        let mut words = [0; ACTION];
        words[0] = word & !probes::BIT;
        *set = copy(words);
    }
}

/// `sigaction(signal, action, old)`.
fn action(registers: &mut Registers) {
    let action = registers[1];
    // None where it is only asked for the present one.
    let Some(mask) = sys::peek(action.wrapping_add(MASK * 8)) else { return };
    if registers[0] == probes::SIGNAL {
        probes::give_way();
    } else if mask & probes::BIT != 0 {
        // SAFETY: the caller passes the structure to libc, and it could be read.
        let mut words = unsafe { (action as *const [usize; ACTION]).read() };
        words[MASK] &= !probes::BIT;
        registers[1] = copy(words);
    }
}
