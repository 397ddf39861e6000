//! The library inside the traced program: entry and exit hooks, the shadow stack, the way to the arena.
//!
//! Not a place for parsing, symbols, allocation, locks that the program could hold, or libc calls on a hot path:
//! the recorder thinks, this applies. It has no dependency and needs nothing of the program but the loader.
//!
//! Built by `fathom-record` as a shared object with `--cfg fathom_preload`; as an ordinary crate it is empty, so
//! that no other program exports `mcount`.
#![no_std]
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

#[cfg(fathom_preload)]
mod areas;
#[cfg(fathom_preload)]
mod asm;
#[cfg(fathom_preload)]
mod asm_filter;
#[cfg(fathom_preload)]
mod calls;
#[cfg(fathom_preload)]
mod cyg;
#[cfg(fathom_preload)]
mod fetch;
#[cfg(fathom_preload)]
mod filter;
#[cfg(fathom_preload)]
mod init;
#[cfg(fathom_preload)]
mod macros;
#[cfg(fathom_preload)]
mod masks;
#[cfg(fathom_preload)]
mod memory;
#[cfg(fathom_preload)]
mod patch;
#[cfg(fathom_preload)]
mod plt;
#[cfg(fathom_preload)]
mod probes;
#[cfg(fathom_preload)]
mod reads;
#[cfg(fathom_preload)]
mod rules;
#[cfg(fathom_preload)]
mod segment;
#[cfg(fathom_preload)]
mod side;
#[cfg(fathom_preload)]
mod signals;
#[cfg(fathom_preload)]
mod sleds;
#[cfg(fathom_preload)]
mod slow;
#[cfg(fathom_preload)]
mod state;
#[cfg(fathom_preload)]
mod sys;
#[cfg(fathom_preload)]
mod zombies;

/// Compiled without unwinding; reached only by a bug, and then the program should not be left half traced.
#[cfg(fathom_preload)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::abandon(b"fathom: internal error in the runtime\n")
}
