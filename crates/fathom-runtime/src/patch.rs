//! Entries that can be patched: the NOPs of `-fpatchable-function-entry`, the calls of `-mfentry`. They become jumps to
//! the stubs of call hooks, near the module.

use crate::calls::{Function, Stubs};
use crate::init::Plan;
use crate::{plt, sys};
use fathom_abi::plan::{Site, kind};
use fathom_abi::record::{ADDR_SHIFT, MAGIC};

/// Length of a call or jump with a 32-bit distance.
const CODE: usize = 5;
/// A stub is at most this far from its site.
const REACH: usize = 1 << 30;
const JUMP: u8 = 0xe9;
/// The NOP of this length (Intel's manual, volume 2, table 4-12).
const NOP: [u8; CODE] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

/// Patches the sites of a plan, which are sorted by address. Returns how many could not be.
pub(crate) fn apply(plan: &Plan) -> u32 {
    let mut failed = 0;
    let mut rest = plan.sites;
    while let Some(first) = rest.first() {
        let from = first.addr as usize;
        let count = rest.iter().take_while(|s| (s.addr as usize) - from < REACH / 2).count();
        let (group, others) = rest.split_at(count);
        rest = others;
        let len = Stubs::len(count);
        match map_below(from, len) {
            Some(memory) => failed += patch_group(group, Stubs::begin(memory, len)),
            None => failed += count as u32,
        }
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

fn patch_group(sites: &[Site], mut stubs: Stubs) -> u32 {
    let (Some(first), Some(last)) = (sites.first(), sites.last()) else { return 0 };
    let from = first.addr as usize & !0xfff;
    let to = (last.addr as usize + size_of_val(&last.expect)).next_multiple_of(4096);
    // Executable all the while: after a dlopen other threads may run here.
    if !plt::protect(from, to - from, sys::PROT_READ | sys::PROT_WRITE | sys::PROT_EXEC) {
        return sites.len() as u32;
    }
    // All stubs first: they have to be executable before anybody is led to them.
    let mut stub = stubs.next_stub();
    let made = sites.iter().take_while(|site| site.silence != 0 || add_stub(site, &mut stubs)).count();
    let mut failed = sites.len() - made;
    if stubs.finish() {
        for site in &sites[..made] {
            let code = if site.silence != 0 {
                NOP
            } else {
                let jump = jump(site, stub);
                stub += Stubs::SIZE;
                jump
            };
            failed += usize::from(!patch(site, code));
        }
    } else {
        failed = sites.len();
    }
    plt::protect(from, to - from, sys::PROT_READ | sys::PROT_EXEC);
    failed as u32
}

/// Makes the stub of a site; false when there is no room.
fn add_stub(site: &Site, stubs: &mut Stubs) -> bool {
    let body = site.addr + u64::from(site.len);
    let function = Function {
        target: body as usize,
        word: (body << ADDR_SHIFT) | MAGIC,
        special: 0,
        kind: kind::NORMAL,
        record: 1,
        filter: 0.into(),
        reserved: [0; 4],
        gadget: 0,
    };
    stubs.add(function, site.calls == 0).is_some()
}

/// The jump from a site to its stub.
fn jump(site: &Site, stub: usize) -> [u8; CODE] {
    let distance = stub as isize - (site.addr as usize + CODE) as isize;
    let d = (distance as i32).to_le_bytes();
    [JUMP, d[0], d[1], d[2], d[3]]
}

/// Puts code into a site, if it is what the recorder expected.
fn patch(site: &Site, code: [u8; CODE]) -> bool {
    let (at, len) = (site.addr as usize, usize::from(site.len));
    // SAFETY: inside the mapping that was made writable.
    let now = unsafe { core::slice::from_raw_parts(at as *const u8, len) };
    if len < CODE || len > site.expect.len() || now != &site.expect[..len] {
        return false;
    }
    if code == NOP {
        // What follows is run now. Before, it was never come to.
        // SAFETY: as above.
        unsafe { core::slice::from_raw_parts_mut((at + CODE) as *mut u8, len - CODE) }.fill(0x90);
    }
    // SAFETY: as above; the bytes are what the recorder expected.
    unsafe { (at as *mut [u8; CODE]).write(code) };
    true
}
