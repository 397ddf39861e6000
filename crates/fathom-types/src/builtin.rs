//! Prototypes of well-known library functions, for modules without debug information.

mod enums;
mod functions;

use crate::Fetch;
use fathom_filter::args::{ArgSpec, Class, parse_items};
use rustc_hash::FxHashMap;
use std::sync::LazyLock;

/// What is known of a function.
#[derive(Debug, Default)]
struct Known {
    arguments: Option<&'static str>,
    returned: Option<&'static str>,
}

static TABLE: LazyLock<FxHashMap<&'static str, Known>> = LazyLock::new(|| {
    let mut table: FxHashMap<&'static str, Known> = FxHashMap::default();
    for (spec, names) in functions::ARGUMENTS {
        names.iter().for_each(|name| table.entry(name).or_default().arguments = Some(spec));
    }
    for (spec, names) in functions::RETURNS {
        names.iter().for_each(|name| table.entry(name).or_default().returned = Some(spec));
    }
    table
});

/// The arguments of a function by the name of its symbol; none if it is not known.
pub fn arguments(name: &str) -> Option<Vec<Fetch>> {
    let text = TABLE.get(name)?.arguments?;
    specs(text).into_iter().map(Fetch::of).collect()
}

/// The return value of a function by the name of its symbol; none if it is not known or returns nothing.
pub fn returned(name: &str) -> Option<Fetch> {
    let text = TABLE.get(name)?.returned?;
    Fetch::of(specs(text).pop()?)
}

fn specs(text: &str) -> Vec<ArgSpec> {
    parse_items(text, Class::Bits64).unwrap_or_default().specs
}

/// The table of arguments as the `info` file has it (`argauto`).
pub fn argument_table() -> String {
    table_text(functions::ARGUMENTS)
}

/// The table of return values as the `info` file has it (`retauto`).
pub fn return_table() -> String {
    table_text(functions::RETURNS)
}

fn table_text(table: &[(&str, &[&str])]) -> String {
    let lines = table.iter().flat_map(|(spec, names)| names.iter().map(move |name| format!("{name}@{spec}")));
    lines.collect::<Vec<_>>().join(";")
}

/// The enumerations that the tables use as the `info` file has them (`enumauto`).
pub fn enum_table() -> String {
    let one = |(name, constants): &(&str, &[(&str, u32)])| {
        let constants: Vec<String> =
            constants.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("enum {name} {{{}}}", constants.join(","))
    };
    enums::ENUMS.iter().map(one).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Length, Place, Register, Source, Word};
    use fathom_filter::args::{ArgFormat, ArgSlot};

    #[test]
    fn every_line_makes_sense() {
        for (returns, table) in [(false, functions::ARGUMENTS), (true, functions::RETURNS)] {
            for (text, names) in table {
                let items = parse_items(text, Class::Bits64).unwrap();
                assert!(items.module.is_none() && !items.auto && !items.specs.is_empty(), "{text}");
                for spec in &items.specs {
                    assert_eq!(spec.slot == ArgSlot::Return, returns, "{text}");
                    // uftrace 0.13 doesn't know it, and drops the line.
                    assert_ne!(spec.format, ArgFormat::Octal, "{text}");
                    if spec.format == ArgFormat::Enum {
                        let name = spec.type_name.as_deref();
                        assert!(enums::ENUMS.iter().any(|(known, _)| Some(*known) == name), "{text}");
                    }
                    assert!(Fetch::of(spec.clone()).is_some(), "{text}");
                }
                assert!(!names.is_empty(), "{text}");
            }
        }
    }

    #[test]
    fn each_function_once() {
        for table in [functions::ARGUMENTS, functions::RETURNS] {
            let mut names: Vec<_> = table.iter().flat_map(|(_, names)| *names).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count);
        }
    }

    #[test]
    fn functions_by_name() {
        let open = arguments("open").unwrap();
        let path = Source::Text {
            pointer: Word::At(Place::Register(Register::Rdi)),
            length: Length::Nul,
            absent: None,
        };
        assert_eq!(open[0].source, path);
        assert_eq!(open[1].spec.type_name.as_deref(), Some("uft_open_flag"));
        assert_eq!(returned("open").unwrap().spec.size, 4);
        assert!(
            arguments("getpid").is_none() && returned("exit").is_none() && arguments("no_such").is_none()
        );
    }

    #[test]
    fn texts_of_the_info_file() {
        assert!(argument_table().contains(";fchmod@arg1/d32,arg2/e:mode_t;"));
        assert!(return_table().starts_with("atol@retval;"));
        assert!(enum_table().starts_with("enum uft_mmap_prot {PROT_NONE=0,PROT_READ=1,"));
    }

    /// The values are those that programs are compiled with.
    #[test]
    fn constants_of_the_headers() {
        let value = |name: &str| {
            let mut all = enums::ENUMS.iter().flat_map(|(_, constants)| *constants);
            all.find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}")).1
        };
        macro_rules! same {
            ($($name:ident)*) => { $( assert_eq!(value(stringify!($name)), libc::$name as u32, stringify!($name)); )* };
        }
        same!(PROT_NONE PROT_READ PROT_WRITE PROT_EXEC MAP_SHARED MAP_PRIVATE MAP_FIXED MAP_ANON MAP_GROWSDOWN
            MAP_DENYWRITE MAP_EXECUTABLE MAP_LOCKED MAP_NORESERVE MAP_POPULATE MAP_NONBLOCK MAP_STACK MAP_HUGETLB
            MAP_SYNC MAP_FIXED_NOREPLACE MAP_SHARED_VALIDATE MAP_32BIT
            MADV_NORMAL MADV_RANDOM MADV_SEQUENTIAL MADV_WILLNEED MADV_DONTNEED MADV_FREE MADV_REMOVE
            MADV_DONTFORK MADV_DOFORK MADV_MERGEABLE MADV_UNMERGEABLE MADV_HUGEPAGE MADV_NOHUGEPAGE MADV_DONTDUMP
            MADV_DODUMP MADV_HWPOISON POSIX_MADV_NORMAL POSIX_MADV_RANDOM POSIX_MADV_SEQUENTIAL
            POSIX_MADV_WILLNEED POSIX_FADV_NORMAL POSIX_FADV_DONTNEED POSIX_FADV_NOREUSE);
        same!(O_RDONLY O_WRONLY O_RDWR O_CREAT O_EXCL O_NOCTTY O_TRUNC O_APPEND O_NONBLOCK O_DSYNC O_ASYNC O_DIRECT
            O_DIRECTORY O_NOFOLLOW O_NOATIME O_CLOEXEC O_SYNC O_PATH O_TMPFILE F_DUPFD F_GETFD F_SETFD F_GETFL
            F_SETFL F_GETLK F_SETLK F_SETLKW F_SETOWN F_GETOWN F_OFD_GETLK F_OFD_SETLK F_OFD_SETLKW F_SETLEASE
            F_GETLEASE F_NOTIFY F_DUPFD_CLOEXEC F_SETPIPE_SZ F_GETPIPE_SZ F_ADD_SEALS F_GET_SEALS SEEK_SET SEEK_CUR
            SEEK_END SEEK_DATA SEEK_HOLE F_OK X_OK W_OK R_OK RTLD_LOCAL RTLD_LAZY RTLD_NOW RTLD_NOLOAD
            RTLD_DEEPBIND RTLD_GLOBAL RTLD_NODELETE FALLOC_FL_KEEP_SIZE FALLOC_FL_PUNCH_HOLE
            FALLOC_FL_COLLAPSE_RANGE FALLOC_FL_ZERO_RANGE FALLOC_FL_INSERT_RANGE FALLOC_FL_UNSHARE_RANGE);
        same!(AF_UNSPEC AF_UNIX AF_INET AF_AX25 AF_INET6 AF_NETLINK AF_PACKET AF_CAN AF_TIPC AF_BLUETOOTH AF_ALG
            AF_VSOCK AF_XDP SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_RDM SOCK_SEQPACKET SOCK_DCCP SOCK_NONBLOCK
            SOCK_CLOEXEC SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2
            SIGPIPE SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU
            SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGPOLL SIGPWR SIGSYS SIG_BLOCK SIG_UNBLOCK SIG_SETMASK
            EPOLL_CTL_ADD EPOLL_CTL_DEL EPOLL_CTL_MOD LC_CTYPE LC_NUMERIC LC_TIME LC_COLLATE LC_MONETARY
            LC_MESSAGES LC_ALL LC_PAPER LC_NAME LC_ADDRESS LC_TELEPHONE LC_MEASUREMENT LC_IDENTIFICATION);
        same!(S_ISUID S_ISGID S_ISVTX S_IRUSR S_IWUSR S_IXUSR S_IRGRP S_IWGRP S_IXGRP S_IROTH S_IWOTH S_IXOTH
            CLOCK_REALTIME CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID CLOCK_THREAD_CPUTIME_ID CLOCK_MONOTONIC_RAW
            CLOCK_REALTIME_COARSE CLOCK_MONOTONIC_COARSE CLOCK_BOOTTIME CLOCK_REALTIME_ALARM CLOCK_BOOTTIME_ALARM
            CLOCK_TAI PR_SET_PDEATHSIG PR_SET_NAME PR_GET_NAME PR_SET_SECCOMP PR_CAPBSET_READ PR_SET_TIMERSLACK
            PR_SET_MM PR_SET_CHILD_SUBREAPER PR_SET_NO_NEW_PRIVS PR_SET_THP_DISABLE PR_CAP_AMBIENT PR_SET_VMA
            PR_MCE_KILL PR_GET_DUMPABLE PR_SET_DUMPABLE PR_SET_KEEPCAPS PR_SET_FP_MODE);
    }
}
