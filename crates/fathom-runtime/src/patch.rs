//! Patchable entries (`-fpatchable-function-entry`): the plan's NOPs become calls of the entry hook.

use crate::init::Plan;
use crate::{asm, plt, sys};
use fathom_abi::plan::Site;

/// Length of `call rel32`.
const CALL: usize = 5;
/// Sites further apart than this get a trampoline of their own.
const REACH: usize = 1 << 30;

/// Patches the sites of a plan, which are sorted by address. Returns how many could not be.
pub(crate) fn apply(plan: &Plan) -> u32 {
    let mut failed = 0;
    let mut rest = plan.sites;
    while let Some(first) = rest.first() {
        let from = first.addr as usize;
        let count = rest.iter().take_while(|s| (s.addr as usize) - from < REACH / 2).count();
        let (group, others) = rest.split_at(count);
        rest = others;
        let Some(trampoline) = trampoline_below(from) else {
            failed += count as u32;
            continue;
        };
        failed += patch_group(group, trampoline);
    }
    failed
}

/// A jump to the entry hook within reach of calls from `address` upwards.
fn trampoline_below(address: usize) -> Option<usize> {
    const STEP: usize = 64 << 10;
    let mut at = address & !(STEP - 1);
    while at > STEP && address - at < REACH {
        at -= STEP;
        let flags = sys::MAP_PRIVATE | sys::MAP_ANONYMOUS | sys::MAP_FIXED_NOREPLACE;
        // SAFETY: NOREPLACE refuses where something is mapped.
        let got = unsafe {
            sys::call(sys::MMAP, [at, 4096, sys::PROT_READ | sys::PROT_WRITE, flags, usize::MAX, 0])
        };
        if got == at as isize {
            // SAFETY: our own page. jmp [rip + 0], then the address.
            unsafe {
                (at as *mut [u8; 6]).write([0xff, 0x25, 0, 0, 0, 0]);
                ((at + 6) as *mut usize).write_unaligned(asm::fentry as *const () as usize);
            }
            return plt::protect(at, 4096, sys::PROT_READ | sys::PROT_EXEC).then_some(at);
        }
        if got > 0 {
            // A kernel that takes the address for a hint.
            // SAFETY: our own mapping.
            unsafe { sys::call(sys::MUNMAP, [got as usize, 4096, 0, 0, 0, 0]) };
        }
    }
    None
}

fn patch_group(sites: &[Site], trampoline: usize) -> u32 {
    let (Some(first), Some(last)) = (sites.first(), sites.last()) else { return 0 };
    let from = first.addr as usize & !0xfff;
    let to = (last.addr as usize + CALL).next_multiple_of(4096);
    // Executable all the while: after a dlopen other threads may run here.
    if !plt::protect(from, to - from, sys::PROT_READ | sys::PROT_WRITE | sys::PROT_EXEC) {
        return sites.len() as u32;
    }
    let mut failed = 0;
    for site in sites {
        let at = site.addr as *mut [u8; CALL];
        // SAFETY: inside the mapping that was just made writable; the bytes are compared before they are changed.
        unsafe {
            if at.read()[..] != site.expect[..CALL] {
                failed += 1;
                continue;
            }
            let distance = trampoline as isize - (site.addr as isize + CALL as isize);
            let d = (distance as i32).to_le_bytes();
            at.write([0xe8, d[0], d[1], d[2], d[3]]);
        }
    }
    plt::protect(from, to - from, sys::PROT_READ | sys::PROT_EXEC);
    failed
}
