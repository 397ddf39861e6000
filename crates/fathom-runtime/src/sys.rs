//! System calls, raw: no libc, no errno.

use core::arch::asm;
use core::sync::atomic::AtomicU32;

pub(crate) const READ: usize = 0;
pub(crate) const WRITE: usize = 1;
pub(crate) const CLOSE: usize = 3;
pub(crate) const MMAP: usize = 9;
pub(crate) const MPROTECT: usize = 10;
pub(crate) const MUNMAP: usize = 11;
pub(crate) const RT_SIGACTION: usize = 13;
pub(crate) const RT_SIGPROCMASK: usize = 14;
pub(crate) const SCHED_YIELD: usize = 24;
pub(crate) const MADVISE: usize = 28;
pub(crate) const GETPID: usize = 39;
pub(crate) const READLINK: usize = 89;
pub(crate) const GETRUSAGE: usize = 98;
pub(crate) const GETTID: usize = 186;
pub(crate) const FUTEX: usize = 202;
pub(crate) const CLOCK_GETTIME: usize = 228;
pub(crate) const EXIT_GROUP: usize = 231;
pub(crate) const TGKILL: usize = 234;
pub(crate) const OPENAT: usize = 257;
pub(crate) const PPOLL: usize = 271;
pub(crate) const PERF_EVENT_OPEN: usize = 298;
pub(crate) const PROCESS_VM_READV: usize = 310;
pub(crate) const GETRANDOM: usize = 318;

pub(crate) const PROT_READ: usize = 1;
pub(crate) const PROT_WRITE: usize = 2;
pub(crate) const PROT_EXEC: usize = 4;
pub(crate) const MAP_SHARED: usize = 1;
pub(crate) const MAP_PRIVATE: usize = 2;
pub(crate) const MAP_ANONYMOUS: usize = 0x20;
pub(crate) const MAP_NORESERVE: usize = 0x4000;
pub(crate) const MAP_FIXED_NOREPLACE: usize = 0x10_0000;
pub(crate) const O_RDONLY: usize = 0;
pub(crate) const O_RDWR: usize = 2;
pub(crate) const O_WRONLY: usize = 1;
pub(crate) const O_CREAT: usize = 0o100;
pub(crate) const O_EXCL: usize = 0o200;
pub(crate) const O_CLOEXEC: usize = 0o2000000;
pub(crate) const AT_FDCWD: usize = -100isize as usize;
pub(crate) const MADV_WIPEONFORK: usize = 18;
pub(crate) const MADV_POPULATE_WRITE: usize = 23;
pub(crate) const ESRCH: isize = -3;

/// A system call. The result is negative (an errno) on failure.
///
/// # Safety
/// The kernel does what the numbers say: pointers must be what the call expects of them.
#[inline]
pub(crate) unsafe fn call(n: usize, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the kernel changes rax, rcx and r11 only, besides what the caller vouches for.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") n => result,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// New memory, zeroed, or `None`.
pub(crate) fn map(len: usize, flags: usize) -> Option<*mut u8> {
    // SAFETY: an anonymous mapping at an address of the kernel's choice disturbs nothing.
    let at = unsafe {
        call(MMAP, [0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, usize::MAX, 0])
    };
    (at > 0).then_some(at as *mut u8)
}

/// Opens a NUL-terminated path; negative on failure.
pub(crate) fn open(path: &[u8], flags: usize) -> isize {
    debug_assert!(path.last() == Some(&0));
    // SAFETY: the path is NUL-terminated.
    unsafe { call(OPENAT, [AT_FDCWD, path.as_ptr() as usize, flags | O_CLOEXEC, 0o600, 0, 0]) }
}

/// Closes a descriptor of ours.
pub(crate) fn close(fd: isize) {
    // SAFETY: the descriptor is ours.
    unsafe { call(CLOSE, [fd as usize, 0, 0, 0, 0, 0]) };
}

/// Reads up to the buffer's length; negative on failure, 0 at the end.
pub(crate) fn read(fd: isize, buffer: &mut [u8]) -> isize {
    // SAFETY: the buffer is valid for its length.
    unsafe { call(READ, [fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]) }
}

/// Writes everything; false when that fails.
pub(crate) fn write_all(fd: isize, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        // SAFETY: the buffer is valid for its length.
        let n = unsafe { call(WRITE, [fd as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) };
        if n <= 0 {
            return false;
        }
        bytes = &bytes[n as usize..];
    }
    true
}

/// The process id.
pub(crate) fn getpid() -> i32 {
    // SAFETY: no arguments.
    unsafe { call(GETPID, [0; 6]) as i32 }
}

/// The thread id.
pub(crate) fn gettid() -> i32 {
    // SAFETY: no arguments.
    unsafe { call(GETTID, [0; 6]) as i32 }
}

/// Signals are held back from this thread while it lives.
pub(crate) struct NoSignals(u64);

impl NoSignals {
    const SETMASK: usize = 2;

    pub(crate) fn begin() -> NoSignals {
        let (all, mut old) = (u64::MAX, 0u64);
        // SAFETY: both sets are eight bytes, as the last argument says.
        unsafe {
            call(
                RT_SIGPROCMASK,
                [Self::SETMASK, &raw const all as usize, &raw mut old as usize, size_of::<u64>(), 0, 0],
            );
        }
        NoSignals(old)
    }

    /// Sleeps for so many nanoseconds (below one second), or until a signal comes: while it sleeps, and only then,
    /// those that the program lets in are let in.
    pub(crate) fn sleep(&self, ns: u64) {
        let time = [0u64, ns];
        // SAFETY: ppoll of nothing; the timespec and the set live through the call.
        unsafe {
            call(PPOLL, [0, 0, time.as_ptr() as usize, &raw const self.0 as usize, size_of::<u64>(), 0]);
        }
    }
}

impl Drop for NoSignals {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe {
            call(RT_SIGPROCMASK, [Self::SETMASK, &raw const self.0 as usize, 0, size_of::<u64>(), 0, 0])
        };
    }
}

/// Whether a thread of this process is gone.
pub(crate) fn is_gone(pid: i32, tid: i32) -> bool {
    // SAFETY: signal 0 only asks.
    unsafe { call(TGKILL, [pid as usize, tid as usize, 0, 0, 0, 0]) == ESRCH }
}

/// Lets others run.
pub(crate) fn yield_now() {
    // SAFETY: no arguments.
    unsafe { call(SCHED_YIELD, [0; 6]) };
}

/// Wakes all who wait for a shared word.
pub(crate) fn wake(word: &AtomicU32) {
    const WAKE: usize = 1;
    // SAFETY: the word is mapped.
    unsafe { call(FUTEX, [word.as_ptr() as usize, WAKE, i32::MAX as usize, 0, 0, 0]) };
}

/// Sleeps while a shared word has this value, until woken, or for the given time (below one second), or less.
pub(crate) fn wait(word: &AtomicU32, value: u32, ns: u64) {
    const WAIT: usize = 0;
    let time = [0u64, ns];
    // SAFETY: the word is mapped and the timespec lives through the call.
    unsafe { call(FUTEX, [word.as_ptr() as usize, WAIT, value as usize, time.as_ptr() as usize, 0, 0]) };
}

/// Nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn monotonic() -> u64 {
    let mut time = [0u64; 2];
    // SAFETY: the timespec is writable.
    unsafe { call(CLOCK_GETTIME, [1, time.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    time[0] * 1_000_000_000 + time[1]
}

/// Reads a word at an address that may not be mapped.
pub(crate) fn peek(address: usize) -> Option<usize> {
    let mut value = 0usize;
    let local = [&raw mut value as usize, 8];
    let remote = [address, 8];
    // SAFETY: both descriptors are valid; the kernel checks the remote address.
    let n = unsafe {
        call(
            PROCESS_VM_READV,
            [getpid() as usize, local.as_ptr() as usize, 1, remote.as_ptr() as usize, 1, 0],
        )
    };
    (n == 8).then_some(value)
}

/// Copies memory that may not be mapped; how many bytes from the start on could be read. At most 4096 are asked for.
pub(crate) fn read_memory(address: usize, out: &mut [u8]) -> usize {
    let first = out.len().min(4096 - (address & 4095));
    let local = [out.as_mut_ptr() as usize, out.len()];
    // The kernel may not go on after a piece that it could not read whole: one piece for each page.
    let remote = [address, first, address.wrapping_add(first), out.len() - first];
    let pieces = if first < out.len() { 2 } else { 1 };
    // SAFETY: the descriptors are valid; the kernel checks the remote addresses.
    let n = unsafe {
        call(
            PROCESS_VM_READV,
            [getpid() as usize, local.as_ptr() as usize, 1, remote.as_ptr() as usize, pieces, 0],
        )
    };
    usize::try_from(n).unwrap_or(0)
}

/// The number of the processor that this runs on.
pub(crate) fn cpu() -> u32 {
    let mut aux = 0u32;
    // SAFETY: every x86-64 processor that Linux runs on here has it; the kernel keeps the number in the low twelve bits.
    unsafe { core::arch::x86_64::__rdtscp(&raw mut aux) };
    aux & 0xfff
}

/// Sixty-four random bits (the time, mixed, where the kernel has none yet).
pub(crate) fn random() -> u64 {
    let mut value = 0u64;
    // SAFETY: the buffer is valid; 1 is GRND_NONBLOCK.
    let n = unsafe { call(GETRANDOM, [&raw mut value as usize, 8, 1, 0, 0, 0]) };
    if n == 8 { value } else { monotonic().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ getpid() as u64 }
}

/// Ends the process at once: the last resort when there is no address to return to.
pub(crate) fn abandon(message: &[u8]) -> ! {
    write_all(2, message);
    loop {
        // SAFETY: does not return.
        unsafe { call(EXIT_GROUP, [134, 0, 0, 0, 0, 0]) };
    }
}
