//! Signals that switch recording on or off, or end it.

use crate::{rules, sys};
use core::sync::atomic::{AtomicU8, Ordering};
use fathom_abi::plan::{Header, SIGNAL_FINISH, SIGNAL_OFF, SIGNAL_ON};

/// Signals that Linux has, and one more.
const COUNT: usize = 65;
/// What to do on each.
static ACTIONS: [AtomicU8; COUNT] = [const { AtomicU8::new(0) }; COUNT];

/// `struct sigaction` as the kernel has it on x86-64.
#[repr(C)]
struct Action {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

core::arch::global_asm!(
    ".hidden fathom_restore",
    ".globl fathom_restore",
    ".type fathom_restore,@function",
    "fathom_restore: mov eax, 15",
    "syscall",
    ".size fathom_restore, . - fathom_restore",
);

unsafe extern "C" {
    fn fathom_restore();
}

/// Installs the handlers that a plan asks for. The program may replace them later.
pub(crate) fn install(head: &Header) {
    const RESTART: u64 = 0x1000_0000;
    const RESTORER: u64 = 0x0400_0000;
    let count = (head.signal_count as usize).min(head.signals.len());
    for [signal, action] in &head.signals[..count] {
        let Some(place) = ACTIONS.get(usize::from(*signal)) else { continue };
        place.store(*action, Ordering::Relaxed);
        let new = Action {
            handler: handle as *const () as usize,
            flags: RESTART | RESTORER,
            restorer: fathom_restore as *const () as usize,
            mask: 0,
        };
        // SAFETY: the structure is the kernel's, and the handler does nothing that a handler must not do.
        unsafe {
            let new = &raw const new as usize;
            sys::call(sys::RT_SIGACTION, [usize::from(*signal), new, 0, size_of::<u64>(), 0, 0]);
        }
    }
}

extern "C" fn handle(signal: i32) {
    let action = ACTIONS.get(signal as usize).map_or(0, |action| action.load(Ordering::Relaxed));
    match action {
        SIGNAL_ON => rules::switch(true),
        SIGNAL_OFF => rules::switch(false),
        SIGNAL_FINISH => rules::finish(),
        _ => {}
    }
}
