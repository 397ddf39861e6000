//! The unsafe kernels of this crate: the shared mapping, raw clock, the child's start. Each is small and has a safe
//! face; everything else here is safe code over them.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::NonNull;

/// The time stamp counter.
pub(crate) fn rdtsc() -> u64 {
    // SAFETY: every x86-64 processor has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// A shared mapping of a whole file. The bytes belong to other processes too: only atomics may be made from them,
/// and copies.
pub(crate) struct Shared {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: access is through atomics and volatile copies, from any thread.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps the first `len` bytes.
    pub(crate) fn map(file: &File, len: usize) -> io::Result<Shared> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::NORESERVE,
                file,
                0,
            )?
        };
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Shared { base, len })
    }

    /// A structure of atomics inside the mapping.
    pub(crate) fn at<T>(&self, offset: usize) -> &T {
        assert!(offset.is_multiple_of(align_of::<T>()) && offset + size_of::<T>() <= self.len);
        // SAFETY: inside the mapping and aligned. Callers name the `repr(C)` structures of `fathom-abi`, whose fields
        // are atomics or are written before the mapping is shared, and for which any bytes are valid.
        unsafe { &*self.base.as_ptr().add(offset).cast::<T>() }
    }

    /// Writes the header before anybody else maps the file.
    pub(crate) fn init<T>(&self, offset: usize, value: T) {
        assert!(offset.is_multiple_of(align_of::<T>()) && offset + size_of::<T>() <= self.len);
        // SAFETY: as above; the file is not shared yet.
        unsafe { self.base.as_ptr().add(offset).cast::<T>().write(value) }
    }

    /// A word that others may write.
    pub(crate) fn word(&self, offset: usize) -> u64 {
        use std::sync::atomic::{AtomicU64, Ordering};
        self.at::<AtomicU64>(offset).load(Ordering::Acquire)
    }

    /// Copies words out. Nobody writes them any more; should somebody misbehave, the copy has some value or other.
    pub(crate) fn copy(&self, offset: usize, to: &mut [u64]) {
        assert!(offset.is_multiple_of(8) && offset + size_of_val(to) <= self.len);
        // SAFETY: inside the mapping and aligned; plain words.
        unsafe {
            std::ptr::copy_nonoverlapping(self.base.as_ptr().add(offset).cast(), to.as_mut_ptr(), to.len());
        }
    }

    /// Zeroes bytes that nobody writes any more.
    pub(crate) fn zero(&self, offset: usize, len: usize) {
        assert!(offset + len <= self.len);
        // SAFETY: inside the mapping; plain bytes.
        unsafe { std::ptr::write_bytes(self.base.as_ptr().add(offset), 0, len) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: our own mapping; references into it borrow `self`.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Makes the child switch address space randomisation off before it runs the program.
pub(crate) fn without_randomization(command: &mut Command) {
    // SAFETY: one system call between fork and exec.
    unsafe {
        command.pre_exec(|| {
            if libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// The beginning of `struct perf_event_attr` as linux/perf_event.h lays it out, up to its fifth version (Linux 4.1).
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct PerfAttr {
    pub(crate) kind: u32,
    /// Bytes of this structure.
    pub(crate) size: u32,
    pub(crate) config: u64,
    pub(crate) sample_period: u64,
    pub(crate) sample_type: u64,
    pub(crate) read_format: u64,
    pub(crate) flags: u64,
    pub(crate) wakeup: u32,
    pub(crate) breakpoint: u32,
    pub(crate) config1: u64,
    pub(crate) config2: u64,
    pub(crate) branches: u64,
    pub(crate) user_registers: u64,
    pub(crate) user_stack: u32,
    pub(crate) clock: i32,
    pub(crate) interrupt_registers: u64,
    pub(crate) aux_watermark: u32,
    pub(crate) reserved: u32,
}

/// Opens an event for a thread, 0 the calling one, on one processor.
pub(crate) fn perf_event_open(attr: &PerfAttr, pid: i32, cpu: u32) -> io::Result<File> {
    use std::os::fd::{FromRawFd, OwnedFd};
    const FD_CLOEXEC: libc::c_ulong = 8;
    // SAFETY: the kernel reads as many bytes as the structure says that it has.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(attr),
            pid,
            cpu as libc::c_int,
            -1,
            FD_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, which nobody else has.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
}

/// Words as bytes.
pub(crate) fn bytes_of(words: &[u64]) -> &[u8] {
    // SAFETY: any word is eight bytes.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

/// What `wait4` tells about a child.
pub(crate) struct Waited {
    /// Raw wait status.
    pub(crate) status: i32,
    /// Resources of the child and its waited-for descendants; of a process that is no child they are not known.
    pub(crate) usage: Option<libc::rusage>,
}

/// Waits for the child; `None` when a signal came first.
pub(crate) fn wait(pid: i32) -> io::Result<Option<Waited>> {
    let mut status = 0;
    // SAFETY: plain data.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid.
    let got = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    if got == pid {
        return Ok(Some(Waited { status, usage: Some(usage) }));
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::Interrupted { Ok(None) } else { Err(error) }
}

/// Makes two processes of one; 0 is the new one's answer. Only for processes of a single thread: the new one has
/// no other, and what another one had locked would stay so.
pub(crate) fn fork() -> io::Result<i32> {
    // SAFETY: there is a single thread, so all of this process's state is whole.
    let pid = unsafe { libc::fork() };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) }
}

/// Ends the process at once: nothing that another process still needs is cleaned up.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: no destructor has to run.
    unsafe { libc::_exit(code) }
}

/// The wait status of a process that is no child, once its parent has waited for it; from Linux 6.15 on.
pub(crate) fn exit_status(process: BorrowedFd<'_>) -> Option<i32> {
    /// The first version of `struct pidfd_info` in linux/pidfd.h.
    #[repr(C)]
    #[derive(Default)]
    struct PidfdInfo {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    // _IOWR(0xff, 11, struct pidfd_info)
    const PIDFD_GET_INFO: libc::c_ulong =
        3 << 30 | (size_of::<PidfdInfo>() as libc::c_ulong) << 16 | 0xff << 8 | 11;
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the kernel writes as many bytes as the number of the call says.
    let result = unsafe { libc::ioctl(process.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    (result == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// Gives the calling thread, and threads that it starts, real-time priority; `None` takes it away.
pub(crate) fn set_priority(priority: Option<u32>) -> io::Result<()> {
    // SAFETY: plain data.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = priority.unwrap_or(0) as libc::c_int;
    let policy = if priority.is_some() { libc::SCHED_FIFO } else { libc::SCHED_OTHER };
    // SAFETY: the pointer is valid.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether a thread exists (as a thread, or as a zombie).
pub(crate) fn thread_exists(pid: i32, tid: i32) -> bool {
    // SAFETY: signal 0 only asks.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// Sleeps while the word has this value, until woken or for the given time.
pub(crate) fn futex_wait(word: &std::sync::atomic::AtomicU32, value: u32, timeout: std::time::Duration) {
    let time = libc::timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos() as i64 };
    // SAFETY: the word is mapped for as long as it is borrowed.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            std::ptr::from_ref(word),
            libc::FUTEX_WAIT,
            value,
            &raw const time,
            0,
            0,
        );
    }
}

/// Wakes all who wait for the word.
pub(crate) fn futex_wake(word: &std::sync::atomic::AtomicU32) {
    // SAFETY: the word is mapped for as long as it is borrowed.
    unsafe { libc::syscall(libc::SYS_futex, std::ptr::from_ref(word), libc::FUTEX_WAKE, i32::MAX) };
}

/// The local time as ctime(3) writes it, without the newline.
pub(crate) fn ctime(seconds: i64) -> String {
    let mut buffer = [0 as libc::c_char; 32];
    let mut bytes = [0u8; 32];
    // SAFETY: plain data.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid; the format gives 24 characters for years below 10000.
    let len = unsafe {
        libc::localtime_r(&raw const seconds, &raw mut parts);
        libc::strftime(buffer.as_mut_ptr(), buffer.len(), c"%a %b %e %H:%M:%S %Y".as_ptr(), &raw const parts)
    };
    for (to, from) in bytes.iter_mut().zip(buffer) {
        *to = from as u8;
    }
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

/// Calls a function on a signal. It must do nothing but count.
pub(crate) fn on_signal(
    signal: i32,
    count: impl Fn() + Sync + Send + 'static,
) -> io::Result<signal_hook::SigId> {
    // SAFETY: callers pass closures that only change atomics.
    unsafe { signal_hook::low_level::register(signal, count) }
}
