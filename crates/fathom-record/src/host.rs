//! What the header of a trace says about the machine. Parsers take text, so that they can be tested.

use fathom_store::{CpuInfo, MemoryInfo, OsInfo};
use std::fs;

/// Processors, from /sys and /proc/cpuinfo.
/// The bytes of a file.
pub(crate) fn read(path: &std::path::Path) -> Result<Vec<u8>, crate::Error> {
    std::fs::read(path).map_err(|e| crate::Error::io("read", path, e))
}

pub(crate) fn cpu() -> Option<CpuInfo> {
    let count = |name: &str| {
        let text = fs::read_to_string(format!("/sys/devices/system/cpu/{name}")).ok()?;
        count_list(text.trim())
    };
    let online =
        count("online").or_else(|| std::thread::available_parallelism().ok().map(|n| n.get() as u32))?;
    let desc = model_name(&fs::read_to_string("/proc/cpuinfo").ok()?).unwrap_or("Unknown").to_owned();
    Some(CpuInfo { online, possible: count("possible").unwrap_or(online).max(online), desc })
}

/// How many processors a list such as `0-3,5` names.
fn count_list(list: &str) -> Option<u32> {
    numbers(list).map(|all| all.len() as u32)
}

/// Numbers of the processors that are running.
pub(crate) fn online() -> Vec<u32> {
    let list = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    numbers(list.trim())
        .unwrap_or_else(|| (0..std::thread::available_parallelism().map_or(1, |n| n.get() as u32)).collect())
}

/// What a list such as `0-3,5` names.
fn numbers(list: &str) -> Option<Vec<u32>> {
    /// More than any kernel is built for.
    const MOST: u32 = 1 << 16;
    let mut all = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

fn model_name(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|l| l.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// Memory, from /proc/meminfo.
pub(crate) fn memory() -> Option<MemoryInfo> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    Some(MemoryInfo::from_kib(meminfo_field(&text, "MemFree:")?, meminfo_field(&text, "MemTotal:")?))
}

fn meminfo_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|l| l.starts_with(name))?;
    line[name.len()..].split_whitespace().next()?.parse().ok()
}

/// Kernel, host name, distribution.
pub(crate) fn os() -> Option<OsInfo> {
    let uname = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    Some(OsInfo {
        kernel: format!("{} {}", text(uname.sysname()), text(uname.release())),
        hostname: text(uname.nodename()),
        distro: distro(&fs::read_to_string("/etc/os-release").unwrap_or_default()).to_owned(),
    })
}

/// With its quotes, as the format has it.
fn distro(os_release: &str) -> &str {
    os_release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).unwrap_or("\"Unknown\"")
}

/// Load averages.
pub(crate) fn load() -> Option<[f64; 3]> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let mut numbers = text.split_whitespace().map(|w| w.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

/// Whether the TSC can be the clock.
pub(crate) fn tsc_is_usable() -> bool {
    let source = fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        .unwrap_or_default();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|l| l.starts_with("flags")).unwrap_or_default();
    crate::clock::tsc_is_usable(&source, flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_lists() {
        assert_eq!(count_list("0-3,5"), Some(5));
        assert_eq!(count_list("0"), Some(1));
        assert_eq!(count_list("3-1"), None);
        assert_eq!(count_list("x"), None);
        assert_eq!(numbers("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(numbers("0-4294967295"), None);
    }

    #[test]
    fn texts() {
        assert_eq!(model_name("processor\t: 0\nmodel name\t: A: B\n"), Some("A: B"));
        assert_eq!(meminfo_field("MemTotal:   1024 kB\nMemFree: 7 kB\n", "MemFree:"), Some(7));
        assert_eq!(distro("NAME=x\nPRETTY_NAME=\"Debian 12\"\n"), "\"Debian 12\"");
        assert_eq!(distro(""), "\"Unknown\"");
    }

    #[test]
    fn this_machine() {
        assert!(cpu().is_some_and(|c| c.online >= 1));
        assert!(memory().is_some() && os().is_some() && load().is_some());
    }
}
