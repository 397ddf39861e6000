//! Numbers of the kernel that have names: signals, system calls, errors, soft interrupts.

use std::borrow::Cow;

/// A soft interrupt's name: 0 HI to 9 RCU (*include/linux/interrupt.h*).
pub(crate) fn softirq(vec: i64) -> Cow<'static, str> {
    const NAMES: [&str; 10] =
        ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];
    match usize::try_from(vec).ok().and_then(|vec| NAMES.get(vec)) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("vector {vec}")),
    }
}

/// A signal's name, as on x86 and arm.
pub(crate) fn signal(sig: i64) -> Cow<'static, str> {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    match sig {
        1..=31 => Cow::Borrowed(NAMES[sig as usize - 1]),
        32..=64 => Cow::Owned(format!("SIGRTMIN+{}", sig - 32)),
        _ => Cow::Owned(format!("signal {sig}")),
    }
}

/// Where a signal comes from: its `code`. Positive codes mean something else for each signal.
pub(crate) fn signal_code(sig: i64, code: i64) -> Cow<'static, str> {
    let known = match (sig, code) {
        (_, 0) => "SI_USER (kill)",
        (_, 0x80) => "SI_KERNEL",
        (_, -1) => "SI_QUEUE",
        (_, -2) => "SI_TIMER",
        (_, -3) => "SI_MESGQ",
        (_, -4) => "SI_ASYNCIO",
        (_, -5) => "SI_SIGIO",
        (_, -6) => "SI_TKILL (tgkill, raise)",
        (17, 1) => "CLD_EXITED",
        (17, 2) => "CLD_KILLED",
        (17, 3) => "CLD_DUMPED",
        (17, 4) => "CLD_TRAPPED",
        (17, 5) => "CLD_STOPPED",
        (17, 6) => "CLD_CONTINUED",
        (11, 1) => "SEGV_MAPERR",
        (11, 2) => "SEGV_ACCERR",
        (7, 1) => "BUS_ADRALN",
        (7, 2) => "BUS_ADRERR",
        (8, 1) => "FPE_INTDIV",
        (8, 3) => "FPE_FLTDIV",
        (4, 1..=8) => "illegal instruction",
        (5, 1) => "TRAP_BRKPT",
        (5, 2) => "TRAP_TRACE",
        _ => return Cow::Owned(format!("code {code}")),
    };
    Cow::Borrowed(known)
}

/// A system call's name by its number on the machine that this program was built for.
pub(crate) fn syscall(id: i64) -> Cow<'static, str> {
    #[cfg(target_arch = "aarch64")]
    const TABLE: &str = include_str!("data/syscalls-aarch64.txt");
    #[cfg(not(target_arch = "aarch64"))]
    const TABLE: &str = include_str!("data/syscalls-x86_64.txt");
    static NAMES: std::sync::OnceLock<Vec<&'static str>> = std::sync::OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let mut names = Vec::new();
        for line in TABLE.lines() {
            if let Some((number, name)) = line.split_once(' ')
                && let Ok(number) = number.parse::<usize>()
            {
                names.resize(names.len().max(number + 1), "");
                names[number] = name;
            }
        }
        names
    });
    match usize::try_from(id).ok().and_then(|id| names.get(id)).filter(|name| !name.is_empty()) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("system call {id}")),
    }
}

/// An error's name by its number (positive), as programs print it.
pub(crate) fn errno(number: i64) -> Cow<'static, str> {
    let known = match number {
        1 => "EPERM",
        2 => "ENOENT",
        3 => "ESRCH",
        4 => "EINTR",
        5 => "EIO",
        6 => "ENXIO",
        7 => "E2BIG",
        9 => "EBADF",
        10 => "ECHILD",
        11 => "EAGAIN",
        12 => "ENOMEM",
        13 => "EACCES",
        14 => "EFAULT",
        16 => "EBUSY",
        17 => "EEXIST",
        19 => "ENODEV",
        20 => "ENOTDIR",
        21 => "EISDIR",
        22 => "EINVAL",
        23 => "ENFILE",
        24 => "EMFILE",
        25 => "ENOTTY",
        27 => "EFBIG",
        28 => "ENOSPC",
        29 => "ESPIPE",
        30 => "EROFS",
        32 => "EPIPE",
        34 => "ERANGE",
        36 => "ENAMETOOLONG",
        38 => "ENOSYS",
        39 => "ENOTEMPTY",
        40 => "ELOOP",
        61 => "ENODATA",
        95 => "EOPNOTSUPP",
        98 => "EADDRINUSE",
        104 => "ECONNRESET",
        107 => "ENOTCONN",
        110 => "ETIMEDOUT",
        111 => "ECONNREFUSED",
        115 => "EINPROGRESS",
        512 => "ERESTARTSYS",
        514 => "ERESTARTNOHAND",
        516 => "ERESTART_RESTARTBLOCK",
        _ => return Cow::Owned(format!("error {number}")),
    };
    Cow::Borrowed(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_names() {
        assert_eq!(
            [signal(9), signal(10), signal(17), signal(34), signal(99)].join(" "),
            "SIGKILL SIGUSR1 SIGCHLD SIGRTMIN+2 signal 99"
        );
        assert_eq!([softirq(3), softirq(9), softirq(12)].join(" "), "NET_RX RCU vector 12");
        assert_eq!(signal_code(17, 1), "CLD_EXITED");
        assert_eq!(signal_code(11, 1), "SEGV_MAPERR");
        assert_eq!(signal_code(10, -6), "SI_TKILL (tgkill, raise)");
        assert_eq!(syscall(9999), "system call 9999");
        #[cfg(target_arch = "x86_64")]
        assert_eq!([syscall(0), syscall(202), syscall(257)].join(" "), "read futex openat");
        #[cfg(target_arch = "aarch64")]
        assert_eq!([syscall(63), syscall(98), syscall(56)].join(" "), "read futex openat");
        assert_eq!([errno(2), errno(11), errno(77)].join(" "), "ENOENT EAGAIN error 77");
    }
}
