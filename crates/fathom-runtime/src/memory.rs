//! Reads memory of the program that may not be there.
//!
//! Three kinds are certain to be there: the executable's own, and the stack above the running function. Of other pages the
//! kernel is asked: a call that reads eight bytes of them and then finds that it was given nonsense otherwise says which
//! of the two went wrong. It takes a tenth of the time of reading them by `process_vm_readv`, which is what is done
//! where that call is not allowed.

use crate::state::{self, Block};
use crate::{init, sys};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Segments of the executable that can be read: from, to.
static EXECUTABLE: [[AtomicUsize; 2]; 8] = [const { [AtomicUsize::new(0), AtomicUsize::new(0)] }; 8];

/// Learns from the auxiliary vector, which follows the environment, where the executable is.
///
/// # Safety
///
/// `envp` is that of the process's start.
pub(crate) unsafe fn find_executable(envp: *const *const u8) {
    const PHDR: usize = 3;
    const PHENT: usize = 4;
    const PHNUM: usize = 5;
    let (mut at, mut size, mut count) = (0, 0, 0);
    // SAFETY: the kernel puts pairs of words behind the environment's end, the last of which begins with 0.
    unsafe {
        let mut word = envp;
        while !(*word).is_null() {
            word = word.add(1);
        }
        let mut pair = word.add(1).cast::<[usize; 2]>();
        while (*pair)[0] != 0 {
            match (*pair)[0] {
                PHDR => at = (*pair)[1],
                PHENT => size = (*pair)[1],
                PHNUM => count = (*pair)[1],
                _ => {}
            }
            pair = pair.add(1);
        }
    }
    if at != 0 && size == size_of::<ProgramHeader>() {
        // SAFETY: the kernel's own description of the executable that it has mapped.
        keep(at, unsafe { core::slice::from_raw_parts(at as *const ProgramHeader, count) });
    }
}

/// `Elf64_Phdr`.
#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: usize,
    address: usize,
    physical: usize,
    file_size: usize,
    memory_size: usize,
    align: usize,
}

fn keep(at: usize, headers: &[ProgramHeader]) {
    const LOAD: u32 = 1;
    const PHDR: u32 = 6;
    const READABLE: u32 = 4;
    let Some(own) = headers.iter().find(|header| header.kind == PHDR) else { return };
    let base = at.wrapping_sub(own.address);
    let loaded = headers.iter().filter(|header| header.kind == LOAD && header.flags & READABLE != 0);
    for (place, header) in EXECUTABLE.iter().zip(loaded) {
        let from = base.wrapping_add(header.address);
        place[0].store(from, Ordering::Relaxed);
        place[1].store(from.wrapping_add(header.memory_size), Ordering::Relaxed);
    }
}

/// How many bytes from `address` on are certain to be there. `stack` is an address on the stack, above which the program's
/// calls are; 0 if it is not known.
fn certain(address: usize, stack: usize) -> usize {
    for [from, to] in &EXECUTABLE {
        let to = to.load(Ordering::Relaxed);
        if address < to && address >= from.load(Ordering::Relaxed) {
            return to - address;
        }
    }
    let block: *mut Block = state::current();
    if stack == 0 || address < stack || block.is_null() {
        return 0;
    }
    // SAFETY: our own thread's block.
    let b = unsafe { &mut *block };
    if init::on_own_stack(b, address) && init::on_own_stack(b, stack) { b.stack_to - address } else { 0 }
}

/// How many bytes from `address` on can be read at once, at most to the end of the page if that had to be asked.
/// `None` when that cannot be found out.
fn readable(address: usize, stack: usize) -> Option<usize> {
    const EFAULT: isize = -14;
    const EINVAL: isize = -22;
    /// No way to change a set of signals.
    const NONSENSE: usize = 0x7fff_ffff;
    let sure = certain(address, stack);
    if sure > 0 {
        return Some(sure);
    }
    let word = address & !7;
    // SAFETY: changes nothing: the way is checked after the set was read (kernel/signal.c, in all versions).
    match unsafe { sys::call(sys::RT_SIGPROCMASK, [NONSENSE, word, 0, size_of::<u64>(), 0, 0]) } {
        EINVAL => Some(4096 - (address & 4095)),
        EFAULT => Some(0),
        _ => None,
    }
}

/// Copies memory; how many bytes from the start on could be read. At most 4096 are asked for.
pub(crate) fn read(address: usize, stack: usize, out: &mut [u8]) -> usize {
    let mut done = 0;
    while done < out.len() {
        let from = address.wrapping_add(done);
        let Some(there) = readable(from, stack) else { return sys::read_memory(address, out) };
        if there == 0 {
            break;
        }
        let len = there.min(out.len() - done);
        copy(from, &mut out[done..done + len], false);
        done += len;
    }
    done
}

/// Copies a text: up to its NUL, if it ends with one, else as much as fits. Its length, or `None` if it cannot be read.
pub(crate) fn read_text(address: usize, to_nul: bool, stack: usize, out: &mut [u8]) -> Option<usize> {
    let mut done = 0;
    while done < out.len() {
        let from = address.wrapping_add(done);
        let Some(there) = readable(from, stack) else {
            let got = sys::read_memory(address, out);
            let nul = out[..got].iter().position(|&c| c == 0).filter(|_| to_nul);
            return nul.or((got == out.len()).then_some(got));
        };
        if there == 0 {
            return None;
        }
        let len = there.min(out.len() - done);
        let got = copy(from, &mut out[done..done + len], to_nul);
        done += got;
        if got < len {
            break;
        }
    }
    Some(done)
}

/// Copies bytes that are there, one by one: most are few, and may end with a NUL.
fn copy(from: usize, out: &mut [u8], to_nul: bool) -> usize {
    for (i, place) in out.iter_mut().enumerate() {
        // SAFETY: callers have found out that it can be read.
        let byte = unsafe { ((from + i) as *const u8).read_volatile() };
        if to_nul && byte == 0 {
            return i;
        }
        *place = byte;
    }
    out.len()
}
