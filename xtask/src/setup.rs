//! Installing what a command needs, where that is allowed, and saying what is missing where it isn't.

use crate::paths::which;
use std::process::{Command, Stdio};

/// A program and the Debian package that brings it.
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

pub(crate) const CC: Tool = Tool { program: "gcc", package: "gcc libc6-dev" };
pub(crate) const CXX: Tool = Tool { program: "g++", package: "g++" };
pub(crate) const BINUTILS: Tool = Tool { program: "objdump", package: "binutils" };
pub(crate) const CLANG: Tool = Tool { program: "clang", package: "clang" };
pub(crate) const TMUX: Tool = Tool { program: "tmux", package: "tmux" };
pub(crate) const UFTRACE: Tool = Tool { program: "uftrace", package: "uftrace" };
pub(crate) const VALGRIND: Tool = Tool { program: "valgrind", package: "valgrind" };
pub(crate) const QEMU: Tool = Tool { program: "qemu-system-x86_64", package: "qemu-system-x86" };
pub(crate) const BUSYBOX: Tool = Tool { program: "busybox", package: "busybox-static" };
pub(crate) const TRACE_CMD: Tool = Tool { program: "trace-cmd", package: "trace-cmd" };
pub(crate) const PERF: Tool = Tool { program: "perf", package: "linux-perf" };
pub(crate) const MKFS: Tool = Tool { program: "mkfs.ext4", package: "e2fsprogs" };
pub(crate) const ZSTD: Tool = Tool { program: "zstd", package: "zstd" };
pub(crate) const LZ4: Tool = Tool { program: "lz4", package: "lz4" };
pub(crate) const XZ: Tool = Tool { program: "xz", package: "xz-utils" };
pub(crate) const DPKG: Tool = Tool { program: "dpkg", package: "dpkg" };

/// Makes sure that the tools are there. Returns the programs that are still missing afterwards.
pub(crate) fn ensure(tools: &[Tool]) -> Vec<&'static str> {
    let missing = |tools: &[Tool]| -> Vec<usize> {
        (0..tools.len()).filter(|i| which(tools[*i].program).is_none()).collect()
    };
    let wanted = missing(tools);
    if !wanted.is_empty() {
        let packages: Vec<&str> = wanted.iter().flat_map(|i| tools[*i].package.split(' ')).collect();
        eprintln!("xtask: installing {}", packages.join(" "));
        if let Err(reason) = apt_install(&packages) {
            eprintln!("xtask: {reason}; please install: {}", packages.join(" "));
        }
    }
    missing(tools).into_iter().map(|i| tools[i].program).collect()
}

/// Installs packages, where that is allowed, and says so where it isn't.
pub(crate) fn ensure_packages(packages: &[&str]) {
    if packages.is_empty() {
        return;
    }
    eprintln!("xtask: installing {}", packages.join(" "));
    if let Err(reason) = apt_install(packages) {
        eprintln!("xtask: {reason}; please install: {}", packages.join(" "));
    }
}

/// Brings the lists of packages up to date, where that is allowed.
pub(crate) fn apt_update() -> bool {
    privilege().is_ok_and(|prefix| apt(prefix, &["update", "-qq"]))
}

/// The words before a command that needs root.
fn privilege() -> Result<&'static [&'static str], String> {
    if which("apt-get").is_none() {
        return Err("there is no apt-get here".to_owned());
    }
    if is_root() {
        Ok(&[])
    } else if quiet(Command::new("sudo").args(["-n", "true"])) {
        Ok(&["sudo", "-n"])
    } else {
        Err("neither root nor sudo without a password".to_owned())
    }
}

fn apt(prefix: &[&str], args: &[&str]) -> bool {
    let words: Vec<&str> = prefix.iter().copied().chain(["apt-get"]).chain(args.iter().copied()).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Installs Debian packages as root or through sudo without a password.
fn apt_install(packages: &[&str]) -> Result<(), String> {
    let prefix = privilege()?;
    let install: Vec<&str> = ["install", "-y", "-qq", "--no-install-recommends"]
        .into_iter()
        .chain(packages.iter().copied())
        .collect();
    // The lists may be there already, so an update comes only after a failure.
    if apt(prefix, &install) || (apt(prefix, &["update", "-qq"]) && apt(prefix, &install)) {
        return Ok(());
    }
    Err("apt-get failed".to_owned())
}

/// True when we are root.
pub(crate) fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n")
}

fn quiet(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
