//! A virtual machine for what the machine's own kernel may not allow: one boot runs one script and hands back its exit
//! status, its console and what it left in `/out`.
//!
//! The machine is qemu's software emulation, so it needs neither hardware virtualisation nor a privilege. The programs
//! go in by an initramfs made for the run; the results come back on a raw disk (NVMe is built into every kernel that
//! matters here, so no module is needed for it): a `tar` of `/out` at [`REPORT_TAR`] and one header line at 0.

mod cpio;
pub(crate) mod kernel;
mod modules;

use crate::paths::which;
use crate::run::{run_ok, tail};
use anyhow::{Context, Result, bail};
use cpio::Archive;
pub(crate) use kernel::Kernel;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Where the tar of `/out` begins on the report disk, bytes.
const REPORT_TAR: u64 = 1 << 20;
/// Size of the report disk, bytes. The file is sparse.
const REPORT_SIZE: u64 = 512 << 20;
const INIT: &str = include_str!("init.sh");

/// What a boot gets. Everything but the kernel has a default.
#[derive(Debug, Clone)]
pub(crate) struct Vm {
    pub(crate) kernel: Kernel,
    /// Of memory, MiB.
    pub(crate) memory: u32,
    /// Wall-clock time for the whole run.
    pub(crate) limit: Duration,
    /// A virtio network card on qemu's own network, which reaches nothing but 10.0.2.2.
    pub(crate) network: bool,
    /// Raw disks: `/dev/bed/d1` and on.
    pub(crate) disks: Vec<PathBuf>,
    /// Programs, each with its path in the guest; their libraries come along.
    pub(crate) programs: Vec<(PathBuf, String)>,
    /// Texts to be found as files in the guest.
    pub(crate) texts: Vec<(String, String)>,
    /// More words of the kernel's command line.
    pub(crate) append: String,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The script ended with this status.
    Status(i32),
    /// The limit passed; the machine was killed.
    TimedOut,
    /// The machine went without a report: a panic, or a kernel that did not boot.
    Died,
}

impl End {
    /// As an exit status of a shell: 124 for a time-out, 125 for a machine that died.
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Status(code) => code,
            Self::TimedOut => 124,
            Self::Died => 125,
        }
    }
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) end: End,
    /// What the guest said on its serial console.
    pub(crate) console: String,
    /// The host's directory with the content of the guest's `/out`.
    pub(crate) out: PathBuf,
    /// From the start of qemu to its end.
    pub(crate) wall: Duration,
}

impl Ran {
    /// Why there are no results, with the end of the console: None for a run whose script came to its end.
    pub(crate) fn trouble(&self) -> Option<String> {
        let what = match self.end {
            End::Status(_) => return None,
            End::TimedOut => "did not end in time",
            End::Died => "died without a report",
        };
        let seconds = self.wall.as_secs();
        let code = self.end.code();
        let console = tail(&self.console, 3000);
        Some(format!(
            "the guest {what} (status {code}, after {seconds} s); the end of its console:\n{console}"
        ))
    }
}

impl Vm {
    pub(crate) fn new(kernel: &Kernel) -> Self {
        Self {
            kernel: kernel.clone(),
            memory: 512,
            limit: Duration::from_secs(120),
            network: false,
            disks: Vec::new(),
            programs: Vec::new(),
            texts: Vec::new(),
            append: String::new(),
        }
    }

    /// Boots, runs `script` with busybox's shell and waits for the end. `dir` is for the run's files; what it held
    /// before is removed.
    pub(crate) fn run(&self, script: &str, dir: &Path) -> Result<Ran> {
        let _ = std::fs::remove_dir_all(dir);
        let out = dir.join("out");
        std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
        let initrd = dir.join("initrd");
        self.write_initrd(script, &initrd).context("cannot write the initramfs")?;
        let report = dir.join("report");
        File::create(&report)?.set_len(REPORT_SIZE)?;
        let serial = dir.join("serial");

        let started = Instant::now();
        let mut qemu = self.qemu(&initrd, &report);
        let log = File::create(&serial)?;
        qemu.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = qemu.spawn().with_context(|| format!("cannot start {QEMU}"))?;
        let status = wait(&mut child, started, self.limit)?;
        let wall = started.elapsed();
        let console = std::fs::read(&serial).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())?;
        let end = match (status, header(&report)?) {
            (None, _) => End::TimedOut,
            (Some(_), Some(code)) => {
                unpack(&report, &out, dir)?;
                End::Status(code)
            }
            (Some(_), None) => End::Died,
        };
        for file in [initrd, report] {
            let _ = std::fs::remove_file(file);
        }
        Ok(Ran { end, console, out, wall })
    }

    fn write_initrd(&self, script: &str, path: &Path) -> Result<()> {
        let busybox = which("busybox").context("busybox is not installed")?;
        let mut archive = Archive::new(BufWriter::new(File::create(path)?));
        archive.device("dev/console", 0o600, (5, 1))?;
        archive.device("dev/null", 0o666, (1, 3))?;
        archive.file("init", INIT.as_bytes(), 0o755)?;
        archive.file("job", script.as_bytes(), 0o755)?;
        add_program(&mut archive, &busybox, "bin/busybox")?;
        for (program, place) in &self.programs {
            add_program(&mut archive, program, place)?;
        }
        for (place, text) in &self.texts {
            archive.file(place, text.as_bytes(), 0o755)?;
        }
        let mut wanted: Vec<&str> = Vec::new();
        if self.network {
            wanted.extend(["virtio_pci", "virtio_net"]);
            archive.file("netup", b"", 0o644)?;
        }
        let modules = modules::load_order(self.kernel.tree.as_deref(), &wanted)?;
        let mut order = String::new();
        for (name, bytes) in modules {
            archive.file(&format!("mod/{name}"), &bytes, 0o644)?;
            order += &format!("{name}\n");
        }
        archive.file("modlist", order.as_bytes(), 0o644)?;
        archive.end()
    }

    fn qemu(&self, initrd: &Path, report: &Path) -> Command {
        let mut qemu = Command::new(QEMU);
        // Emulated by several threads, 6.1 hangs now and then while it patches every function.
        qemu.args(["-machine", "pc,vmport=off", "-cpu", "max", "-accel", "tcg,thread=single"]);
        qemu.args(["-smp", "2", "-m", &self.memory.to_string(), "-display", "none", "-no-reboot"]);
        qemu.args(["-nodefaults", "-serial", "stdio", "-kernel"]).arg(&self.kernel.image);
        qemu.arg("-initrd").arg(initrd);
        for (i, disk) in std::iter::once(report).chain(self.disks.iter().map(PathBuf::as_path)).enumerate() {
            let path = disk.display();
            qemu.args(["-drive", &format!("if=none,id=d{i},format=raw,cache=unsafe,file={path}")]);
            qemu.args(["-device", &format!("nvme,serial=d{i},drive=d{i}")]);
        }
        if self.network {
            qemu.args(["-netdev", "user,id=n0,restrict=on", "-device", "virtio-net-pci,netdev=n0,romfile="]);
        } else {
            qemu.args(["-nic", "none"]);
        }
        // A panic ends qemu, a hang becomes a panic (after 80 s: on a busy host patching all functions takes long); the rest
        // makes for a quick boot. Addresses are the same each time.
        let line = "console=ttyS0 quiet panic=-1 softlockup_panic=1 watchdog_thresh=40 nokaslr no_timer_check tsc=reliable \
                    noreplace-smp mitigations=off cryptomgr.notests random.trust_cpu=on audit=0";
        qemu.args(["-append", &format!("{line} {}", self.append)]);
        qemu
    }
}

const QEMU: &str = "qemu-system-x86_64";

/// Waits for the end of qemu. None when the limit passed and it was killed.
fn wait(child: &mut Child, started: Instant, limit: Duration) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The script's status from the header that `/init` writes at last: `VMBED rc=N`. None when there is no header.
fn header(report: &Path) -> Result<Option<i32>> {
    let mut head = [0; 64];
    File::open(report)?.read_exact(&mut head)?;
    let head = String::from_utf8_lossy(&head);
    let code = head.strip_prefix("VMBED rc=").and_then(|rest| rest.split_whitespace().next());
    Ok(code.map(|code| code.parse().unwrap_or(125)))
}

fn unpack(report: &Path, out: &Path, dir: &Path) -> Result<()> {
    let mut disk = File::open(report)?;
    disk.seek(SeekFrom::Start(REPORT_TAR))?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "--no-same-owner", "-f", "-", "-C"]).arg(out).stdin(disk);
    let done = tar.output().context("cannot run tar")?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        bail!("cannot unpack what the guest left ({}): {}", dir.display(), tail(&said, 500));
    }
    Ok(())
}

fn add_program<W: Write>(archive: &mut Archive<W>, program: &Path, place: &str) -> Result<()> {
    archive.copy(program, place)?;
    for library in libraries(program)? {
        archive.copy(&library, &library.to_string_lossy())?;
    }
    Ok(())
}

/// The shared libraries of a program, as `ldd` has them; none for a static one.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let done = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    Ok(text
        .split_whitespace()
        .filter(|word| word.starts_with('/') && !word.ends_with(':'))
        .map(PathBuf::from)
        .collect())
}

/// A program without what only a debugger needs: the guest's memory is small. The program itself where `strip` fails.
pub(crate) fn stripped(program: &Path, dir: &Path) -> Result<PathBuf> {
    let name = program.file_name().context("a program without a name")?;
    std::fs::create_dir_all(dir)?;
    let small = dir.join(name);
    let mut strip = Command::new("strip");
    strip.arg("--strip-debug").arg("-o").arg(&small).arg(program);
    match run_ok(&mut strip, dir, Duration::from_secs(60)) {
        Ok(_) => Ok(small),
        Err(_) => Ok(program.to_owned()),
    }
}
