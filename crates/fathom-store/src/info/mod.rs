//! The header of a trace: who recorded what, where and how.

mod read;
mod write;

pub(crate) use read::digits;

use crate::Tid;
pub use fathom_filter::Match as PatternType;
pub use fathom_filter::args::Class;

/// Byte order of the traced program, and so of all its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// ELF `EI_DATA` 1.
    Little,
    /// ELF `EI_DATA` 2.
    Big,
}

/// Feature bits of the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    /// Library calls were hooked.
    pub const PLTHOOK: Features = Features(1);
    /// `task.txt` is there; always set.
    pub const TASK_SESSION: Features = Features(1 << 1);
    /// Kernel functions or tracepoints were recorded.
    pub const KERNEL: Features = Features(1 << 2);
    /// Arguments were asked for.
    pub const ARGUMENT: Features = Features(1 << 3);
    /// Return values were asked for.
    pub const RETVAL: Features = Features(1 << 4);
    /// Symbol files hold module-relative addresses; always set.
    pub const SYM_REL_ADDR: Features = Features(1 << 5);
    /// The header's `max_stack` is valid; always set.
    pub const MAX_STACK: Features = Features(1 << 6);
    /// Events were asked for.
    pub const EVENT: Features = Features(1 << 7);
    /// The `perf-cpu<N>.dat` files are valid.
    pub const PERF_EVENT: Features = Features(1 << 8);
    /// The argument spec item has the tables of automatic types; always set.
    pub const AUTO_ARGS: Features = Features(1 << 9);
    /// There are `.dbg` files.
    pub const DEBUG_INFO: Features = Features(1 << 10);
    /// Returns were estimated.
    pub const ESTIMATE_RETURN: Features = Features(1 << 11);
    /// Symbol files have sizes (since uftrace 0.14).
    pub const SYM_SIZE: Features = Features(1 << 12);
    /// Call sites were recorded (after uftrace 0.19).
    pub const CALLSITE: Features = Features(1 << 13);

    /// Whether all bits of `other` are set.
    pub fn has(self, other: Features) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Features {
    type Output = Features;
    fn bitor(self, other: Features) -> Features {
        Features(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Features {
    fn bitor_assign(&mut self, other: Features) {
        self.0 |= other.0;
    }
}

/// The processors of the recording machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuInfo {
    /// Processors that were online.
    pub online: u32,
    /// Processors that the system is configured for.
    pub possible: u32,
    /// Model name; a text that begins with `ARM64` or `RISCV64` says that it is another architecture than x86.
    pub desc: String,
}

/// The memory of the recording machine, in tenths of [`MemoryInfo::unit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryInfo {
    /// Free memory, in tenths of the unit.
    pub free: u64,
    /// All memory, in tenths of the unit.
    pub total: u64,
    /// `KB`, `MB`, `GB` or `TB`.
    pub unit: &'static str,
}

impl MemoryInfo {
    const UNITS: [&'static str; 4] = ["KB", "MB", "GB", "TB"];

    /// From `MemFree` and `MemTotal` of `/proc/meminfo`, in KiB. The largest unit that leaves the total at 1 or
    /// more is used; the digit after the point is rounded down.
    pub fn from_kib(free: u64, total: u64) -> MemoryInfo {
        let mut unit = 0;
        let (mut f, mut t) = ((free, 0), (total, 0));
        while t.0 >= 1024 && unit + 1 < Self::UNITS.len() {
            // Dividing by 103 instead of 102.4 keeps the digit below 10; the rounding is part of the format.
            f = (f.0 >> 10, (f.0 % 1024) / 103);
            t = (t.0 >> 10, (t.0 % 1024) / 103);
            unit += 1;
        }
        MemoryInfo { free: f.0 * 10 + f.1, total: t.0 * 10 + t.1, unit: Self::UNITS[unit] }
    }
}

/// The system that was recorded on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OsInfo {
    /// System name and release.
    pub kernel: String,
    /// Name of the machine.
    pub hostname: String,
    /// Name of the distribution, with its quotes if `/etc/os-release` has them.
    pub distro: String,
}

/// What the traced processes used, as getrusage(2) counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in the kernel, microseconds.
    pub system_us: u64,
    /// CPU time in user space, microseconds.
    pub user_us: u64,
    /// Voluntary context switches.
    pub voluntary: u64,
    /// Involuntary context switches.
    pub involuntary: u64,
    /// Largest resident size, KiB.
    pub max_rss_kib: u64,
    /// Page faults that needed the disk.
    pub major_faults: u64,
    /// Page faults that didn't.
    pub minor_faults: u64,
    /// Blocks read, of 512 bytes.
    pub read_blocks: u64,
    /// Blocks written, of 512 bytes.
    pub written_blocks: u64,
}

/// The argument and return value specs that payloads were recorded by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArgSpecs {
    /// Argument specs, `FUNC@spec,spec;...`.
    pub args: Option<String>,
    /// Return value specs.
    pub retvals: Option<String>,
    /// The recorder's table of arguments of well-known functions.
    pub auto_args: String,
    /// The recorder's table of return values of well-known functions.
    pub auto_retvals: String,
    /// The recorder's enum definitions.
    pub enums: String,
    /// Whether all functions with known types were recorded with them.
    pub auto: bool,
}

/// Kernel settings that decide what can be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// `kernel.perf_event_paranoid`.
    pub perf_event_paranoid: i32,
    /// `kernel.kptr_restrict`.
    pub kptr_restrict: i32,
}

/// Header information of a trace. An item that wasn't recorded is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Format version, 4 when written here.
    pub version: u32,
    /// Byte order of the traced program.
    pub endian: Endian,
    /// Word size of the traced program.
    pub class: Class,
    /// Feature bits.
    pub features: Features,
    /// Largest call depth that was recorded.
    pub max_stack: u16,
    /// Path of the traced executable.
    pub exe_name: Option<String>,
    /// Its build id, hex digits.
    pub build_id: Option<String>,
    /// Status from wait(2); 65536 when a finish trigger stopped the recording, -1 when it is not known.
    pub exit_status: Option<i32>,
    /// Command line of the recorder.
    pub cmdline: Option<String>,
    /// Processors.
    pub cpu: Option<CpuInfo>,
    /// Memory.
    pub memory: Option<MemoryInfo>,
    /// Operating system.
    pub os: Option<OsInfo>,
    /// Tasks, ascending.
    pub tids: Option<Vec<Tid>>,
    /// Resource usage.
    pub usage: Option<Usage>,
    /// Load averages of 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Argument specs.
    pub arg_specs: Option<ArgSpecs>,
    /// Date of the recording as ctime(3) has it, without the newline.
    pub record_date: Option<String>,
    /// How long the recording took, ns.
    pub elapsed_ns: Option<u64>,
    /// How patterns were matched.
    pub pattern_type: Option<PatternType>,
    /// Version of the recorder, e.g. `v0.13 ( x86_64 dwarf )`.
    pub recorder_version: Option<String>,
    /// Seconds from the trace clock to the wall clock (since uftrace 0.17).
    pub utc_offset: Option<i64>,
    /// Kernel settings (after uftrace 0.19).
    pub sysctl: Option<Sysctl>,
    /// Bits of the info mask that are not known here. They stand for items after all others, which are not read.
    pub unknown_items: u64,
}

impl Default for Info {
    /// A header of the current version for this machine, without items.
    fn default() -> Self {
        Info {
            version: CURRENT_VERSION,
            endian: if cfg!(target_endian = "big") { Endian::Big } else { Endian::Little },
            class: if cfg!(target_pointer_width = "32") { Class::Bits32 } else { Class::Bits64 },
            features: Features::TASK_SESSION
                | Features::SYM_REL_ADDR
                | Features::MAX_STACK
                | Features::AUTO_ARGS,
            max_stack: 1024,
            exe_name: None,
            build_id: None,
            exit_status: None,
            cmdline: None,
            cpu: None,
            memory: None,
            os: None,
            tids: None,
            usage: None,
            load: None,
            arg_specs: None,
            record_date: None,
            elapsed_ns: None,
            pattern_type: None,
            recorder_version: None,
            utc_offset: None,
            sysctl: None,
            unknown_items: 0,
        }
    }
}

/// The first 8 bytes of the `info` file.
pub const MAGIC: [u8; 8] = *b"Ftrace!\0";
/// What is written to the header.
pub const CURRENT_VERSION: u32 = 4;
/// Length of the binary header.
pub const HEADER_SIZE: usize = 40;

/// Bit numbers of the items in the info mask, which is also their order in the file.
pub(crate) mod item {
    pub(crate) const EXE_NAME: u32 = 0;
    pub(crate) const BUILD_ID: u32 = 1;
    pub(crate) const EXIT_STATUS: u32 = 2;
    pub(crate) const CMDLINE: u32 = 3;
    pub(crate) const CPU: u32 = 4;
    pub(crate) const MEMORY: u32 = 5;
    pub(crate) const OS: u32 = 6;
    pub(crate) const TASKS: u32 = 7;
    pub(crate) const USAGE: u32 = 8;
    pub(crate) const LOAD: u32 = 9;
    pub(crate) const ARG_SPEC: u32 = 10;
    pub(crate) const RECORD_DATE: u32 = 11;
    pub(crate) const PATTERN_TYPE: u32 = 12;
    pub(crate) const VERSION: u32 = 13;
    pub(crate) const UTC_OFFSET: u32 = 14;
    pub(crate) const SYSCTL: u32 = 15;
    /// Bits from here on are not known.
    pub(crate) const END: u32 = 16;
}

impl Info {
    /// Bit mask of the items that are there, as in the header (bit numbers: section "info" of `docs/format.md`).
    pub fn info_mask(&self) -> u64 {
        let present = [
            (item::EXE_NAME, self.exe_name.is_some()),
            (item::BUILD_ID, self.build_id.is_some()),
            (item::EXIT_STATUS, self.exit_status.is_some()),
            (item::CMDLINE, self.cmdline.is_some()),
            (item::CPU, self.cpu.is_some()),
            (item::MEMORY, self.memory.is_some()),
            (item::OS, self.os.is_some()),
            (item::TASKS, self.tids.is_some()),
            (item::USAGE, self.usage.is_some()),
            (item::LOAD, self.load.is_some()),
            (item::ARG_SPEC, self.arg_specs.is_some()),
            (item::RECORD_DATE, self.record_date.is_some()),
            (item::PATTERN_TYPE, self.pattern_type.is_some()),
            (item::VERSION, self.recorder_version.is_some()),
            (item::UTC_OFFSET, self.utc_offset.is_some()),
            (item::SYSCTL, self.sysctl.is_some()),
        ];
        let known = present.iter().filter(|(_, there)| *there).map(|(bit, _)| 1 << bit);
        known.fold(self.unknown_items, |mask, bit| mask | bit)
    }
}

#[cfg(test)]
mod tests;
