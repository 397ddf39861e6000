//! Entries that can be patched: the NOPs of `-fpatchable-function-entry`, the calls of `-mfentry`. They become jumps to
//! pool entries, through a stub near the module; where the pool is used up they stay as they are.

use crate::init::Plan;
use crate::pool::{self, Function};
use crate::{plt, sys};
use fathom_abi::plan::{Site, kind};
use fathom_abi::record::{ADDR_SHIFT, MAGIC};

/// Length of a call or jump with a 32-bit distance.
const CODE: usize = 5;
/// Length of a stub: `jmp [rip + 0]`, the address, padding.
const STUB: usize = 16;
/// A stub is at most this far from its site.
const REACH: usize = 1 << 30;
const JUMP: u8 = 0xe9;

/// Patches the sites of a plan, which are sorted by address. Returns how many could not be.
pub(crate) fn apply(plan: &Plan) -> u32 {
    let mut failed = 0;
    let mut rest = plan.sites;
    while let Some(first) = rest.first() {
        let from = first.addr as usize;
        let count = rest.iter().take_while(|s| (s.addr as usize) - from < REACH / 2).count();
        let (group, others) = rest.split_at(count);
        rest = others;
        let len = (count * STUB).next_multiple_of(4096);
        let Some(stubs) = map_below(from, len) else {
            failed += count as u32;
            continue;
        };
        failed += patch_group(group, stubs);
        plt::protect(stubs, len, sys::PROT_READ | sys::PROT_EXEC);
    }
    failed
}

/// Memory within reach of jumps from `address` upwards.
fn map_below(address: usize, len: usize) -> Option<usize> {
    const STEP: usize = 64 << 10;
    let mut at = (address & !(STEP - 1)).checked_sub(len.next_multiple_of(STEP))?;
    while at > STEP && address - at < REACH {
        let flags = sys::MAP_PRIVATE | sys::MAP_ANONYMOUS | sys::MAP_FIXED_NOREPLACE;
        // SAFETY: NOREPLACE refuses where something is mapped.
        let got = unsafe {
            sys::call(sys::MMAP, [at, len, sys::PROT_READ | sys::PROT_WRITE, flags, usize::MAX, 0])
        };
        if got == at as isize {
            return Some(at);
        }
        if got > 0 {
            // A kernel that takes the address for a hint.
            // SAFETY: our own mapping.
            unsafe { sys::call(sys::MUNMAP, [got as usize, len, 0, 0, 0, 0]) };
        }
        at -= STEP;
    }
    None
}

/// A jump to anywhere.
fn write_stub(at: usize, target: usize) {
    // SAFETY: callers pass places in memory from `map_below`.
    unsafe {
        (at as *mut [u8; 6]).write([0xff, 0x25, 0, 0, 0, 0]);
        ((at + 6) as *mut usize).write_unaligned(target);
    }
}

fn patch_group(sites: &[Site], stubs: usize) -> u32 {
    let (Some(first), Some(last)) = (sites.first(), sites.last()) else { return 0 };
    let from = first.addr as usize & !0xfff;
    let to = (last.addr as usize + size_of_val(&last.expect)).next_multiple_of(4096);
    // Executable all the while: after a dlopen other threads may run here.
    if !plt::protect(from, to - from, sys::PROT_READ | sys::PROT_WRITE | sys::PROT_EXEC) {
        return sites.len() as u32;
    }
    let mut failed = 0;
    for (i, site) in sites.iter().enumerate() {
        failed += u32::from(!patch(site, stubs + i * STUB));
    }
    plt::protect(from, to - from, sys::PROT_READ | sys::PROT_EXEC);
    failed
}

/// Patches one site; `stub` is the place for its jump to the pool.
fn patch(site: &Site, stub: usize) -> bool {
    let (at, len, calls) = (site.addr as usize, usize::from(site.len), site.calls != 0);
    // SAFETY: inside the mapping that was made writable.
    let now = unsafe { core::slice::from_raw_parts(at as *const u8, len) };
    if len < CODE || len > site.expect.len() || now != &site.expect[..len] {
        return false;
    }
    let body = at + len;
    let function = Function {
        target: body,
        word: ((body as u64) << ADDR_SHIFT) | MAGIC,
        special: 0,
        kind: kind::NORMAL,
        record: 1,
        reserved: [0; 5],
        gadget: 0,
    };
    let Some(entry) = pool::add(function, !calls) else {
        // A call works as it is.
        return calls;
    };
    write_stub(stub, entry);
    let distance = stub as isize - (at + CODE) as isize;
    let d = (distance as i32).to_le_bytes();
    // SAFETY: as above; the bytes are what the recorder expected.
    unsafe { (at as *mut [u8; CODE]).write([JUMP, d[0], d[1], d[2], d[3]]) };
    true
}
