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
#[derive(Clone, Copy)]
pub(crate) struct Action {
    pub(crate) handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// The second argument of a handler tells why.
pub(crate) const SIGINFO: u64 = 4;
/// On the alternate stack, if the thread has one.
pub(crate) const ONSTACK: u64 = 0x0800_0000;
/// System calls go on behind it.
pub(crate) const RESTART: u64 = 0x1000_0000;
/// The signal can interrupt its own handler.
pub(crate) const NODEFER: u64 = 0x4000_0000;

impl Action {
    /// No handler: the default.
    pub(crate) const DEFAULT: Action = Action { handler: 0, flags: 0, restorer: 0, mask: 0 };
    /// Nothing happens.
    pub(crate) const IGNORE: Action = Action { handler: 1, ..Action::DEFAULT };

    /// A handler of ours. Nothing is blocked while it runs.
    pub(crate) fn new(handler: usize, flags: u64) -> Action {
        const RESTORER: u64 = 0x0400_0000;
        let restorer = fathom_restore as *const () as usize;
        Action { handler, flags: flags | RESTORER, restorer, mask: 0 }
    }
}

/// Sets what happens on a signal and returns what happened before.
pub(crate) fn set(signal: usize, action: &Action) -> Action {
    let mut old = Action::DEFAULT;
    // SAFETY: the structures are the kernel's; handlers are ours, or were there before.
    unsafe {
        let (new, old) = (&raw const *action as usize, &raw mut old as usize);
        sys::call(sys::RT_SIGACTION, [signal, new, old, size_of::<u64>(), 0, 0]);
    }
    old
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
    let count = (head.signal_count as usize).min(head.signals.len());
    for [signal, action] in &head.signals[..count] {
        let Some(place) = ACTIONS.get(usize::from(*signal)) else { continue };
        place.store(*action, Ordering::Relaxed);
        set(usize::from(*signal), &Action::new(handle as *const () as usize, RESTART));
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
