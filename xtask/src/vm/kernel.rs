//! The kernels to boot: Debian's cloud kernels, downloaded and unpacked into a cache, never installed.

use crate::paths::{target, which};
use crate::run::run_ok;
use crate::setup;
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Names of the kernels and the meta packages whose dependency is the current package of each.
const KERNELS: &[(&str, &str)] =
    &[("6.1", "linux-image-cloud-amd64"), ("6.12", "linux-image-6.12-cloud-amd64")];
/// One more kernel to run everything on: a `vmlinux`, a `vmlinuz`, or a directory that a package was unpacked into.
const EXTRA: &str = "FATHOM_VM_KERNEL";
/// Where downloaded kernels are kept instead of in the target directory.
const CACHE: &str = "FATHOM_VM_CACHE";
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);

/// A kernel that can be booted.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// `6.1`, `6.12`, `extra`.
    pub(crate) name: String,
    /// What `qemu -kernel` takes.
    pub(crate) image: PathBuf,
    /// The unpacked package, for its modules.
    pub(crate) tree: Option<PathBuf>,
}

/// What the machine needs besides a kernel. Returns the names of the programs that are missing.
pub(crate) fn ensure_tools() -> Vec<&'static str> {
    setup::ensure(&[
        setup::QEMU,
        setup::BUSYBOX,
        setup::TRACE_CMD,
        setup::MKFS,
        setup::ZSTD,
        setup::LZ4,
        setup::XZ,
        setup::DPKG,
    ])
}

/// The names of the kernels that tests are for here.
pub(crate) fn names() -> Vec<String> {
    let mut names: Vec<String> = KERNELS.iter().map(|(name, _)| (*name).to_owned()).collect();
    if std::env::var_os(EXTRA).is_some() {
        names.push("extra".to_owned());
    }
    names
}

/// Makes a kernel ready: resolves the name of its package, downloads and unpacks it where that was not done before.
pub(crate) fn prepare(name: &str) -> Result<Kernel> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the kernels are x86-64 ones");
    }
    let cache = match std::env::var_os(CACHE) {
        Some(dir) => PathBuf::from(dir),
        None => target().join("vm/kernels"),
    };
    if name == "extra" {
        let path = PathBuf::from(std::env::var_os(EXTRA).with_context(|| format!("{EXTRA} is not set"))?);
        return if path.is_dir() {
            unpacked(name, &path, &cache)
        } else {
            bootable(name, &path, None, &cache)
        };
    }
    let Some((_, meta)) = KERNELS.iter().find(|(known, _)| *known == name) else {
        bail!("no kernel {name}: there are {}", names().join(", "));
    };
    let home = cache.join(name);
    let manifest = home.join("manifest");
    let cached = std::fs::read_to_string(&manifest).ok();
    let tree = home.join("tree");
    match (package(meta), cached) {
        // The name carries a number that changes with each security update.
        (Ok(package), cached) if cached.as_deref() != Some(&package) => {
            let _ = std::fs::remove_dir_all(&home);
            std::fs::create_dir_all(&home)?;
            download(&package, &home, &tree)?;
            std::fs::write(&manifest, package)?;
        }
        (Ok(_), _) => {}
        (Err(error), Some(package)) => eprintln!("xtask: {error:#}: going on with {package} of the cache"),
        (Err(error), None) => return Err(error),
    }
    unpacked(name, &tree, &cache)
}

/// The package that a meta package depends on now.
fn package(meta: &str) -> Result<String> {
    let ask = || -> Result<Option<String>> {
        let done = Command::new("apt-cache").args(["depends", meta]).stderr(Stdio::null()).output();
        let text = done.context("there is no apt-cache here")?.stdout;
        let text = String::from_utf8_lossy(&text).into_owned();
        let depends = |line: &str| Some(line.trim().strip_prefix("Depends: ")?.to_owned());
        Ok(text.lines().filter_map(depends).find(|name| name.starts_with("linux-image-")))
    };
    if let Some(package) = ask()? {
        return Ok(package);
    }
    setup::apt_update();
    ask()?.with_context(|| format!("apt knows no package {meta}"))
}

fn download(package: &str, home: &Path, tree: &Path) -> Result<()> {
    println!("downloading {package}");
    let fetch = || run_ok(Command::new("apt-get").args(["download", package]), home, DOWNLOAD_LIMIT);
    if fetch().is_err() {
        setup::apt_update();
        fetch()?;
    }
    let is_deb = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "deb");
    let deb = std::fs::read_dir(home)?.filter_map(|entry| Some(entry.ok()?.path())).find(is_deb);
    let deb = deb.with_context(|| format!("apt-get download left no package in {}", home.display()))?;
    run_ok(Command::new("dpkg").arg("-x").arg(&deb).arg(tree), home, DOWNLOAD_LIMIT)?;
    std::fs::remove_file(deb)?;
    Ok(())
}

/// A kernel from an unpacked package.
fn unpacked(name: &str, tree: &Path, cache: &Path) -> Result<Kernel> {
    let boot = tree.join("boot");
    let entries = std::fs::read_dir(&boot).with_context(|| format!("cannot read {}", boot.display()))?;
    let is_image =
        |path: &PathBuf| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with("vmlinu"));
    let image = entries.filter_map(|entry| Some(entry.ok()?.path())).find(is_image);
    let image = image.with_context(|| format!("no kernel in {}", boot.display()))?;
    bootable(name, &image, Some(tree), cache)
}

/// Unpacks the image where that is possible: the emulated processor would take a second longer for it.
fn bootable(name: &str, image: &Path, tree: Option<&Path>, cache: &Path) -> Result<Kernel> {
    let bytes = std::fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let tree = tree.map(Path::to_owned);
    let file = image.file_name().context("a kernel without a name")?.to_string_lossy().into_owned();
    let elf = cache.join(format!("{file}.elf"));
    if elf.is_file() && elf.metadata()?.modified()? >= image.metadata()?.modified()? {
        return Ok(Kernel { name: name.to_owned(), image: elf, tree });
    }
    let image = match payload(&bytes).and_then(decompressed) {
        Some(kernel) => {
            std::fs::create_dir_all(cache)?;
            let temporary = cache.join(format!("{file}.{}", std::process::id()));
            std::fs::write(&temporary, kernel)?;
            std::fs::rename(&temporary, &elf)?;
            elf
        }
        None => image.to_owned(),
    };
    Ok(Kernel { name: name.to_owned(), image, tree })
}

/// The compressed kernel in a bzImage, as Documentation/arch/x86/boot.rst has it: `setup_sects` at 0x1f1, the payload's
/// offset from the protected-mode part and its length at 0x248. None for anything else.
fn payload(image: &[u8]) -> Option<&[u8]> {
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let number = |at: usize| {
        let bytes = image.get(at..at + 4)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let sectors = match *image.get(0x1f1)? {
        0 => 4,
        some => usize::from(some),
    };
    let start = (sectors + 1) * 512 + number(0x248)?;
    image.get(start..start.checked_add(number(0x24c)?)?)
}

/// The ELF file in a payload. None when the tool for its compression is missing or fails.
fn decompressed(payload: &[u8]) -> Option<Vec<u8>> {
    let tool = match payload.get(..4)? {
        [0x28, 0xb5, 0x2f, 0xfd] => "zstd",
        [0x02, 0x21, 0x4c, 0x18] => "lz4",
        [0xfd, b'7', b'z', b'X'] => "xz",
        [0x1f, 0x8b, ..] => "gzip",
        _ => return None,
    };
    which(tool)?;
    let mut child = Command::new(tool)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take()?;
    let kernel = std::thread::scope(|scope| {
        // The payload has a length word after its end, over which the tools complain when all is out already.
        scope.spawn(move || drop(stdin.write_all(payload)));
        child.wait_with_output()
    });
    kernel.ok().map(|done| done.stdout).filter(|kernel| kernel.starts_with(b"\x7fELF"))
}

#[cfg(test)]
mod tests {
    use super::payload;

    #[test]
    fn the_payload_of_an_image() {
        let mut image = vec![0; 4096];
        assert_eq!(payload(&image), None);
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x1f1] = 1;
        image[0x248..0x250].copy_from_slice(&[16, 0, 0, 0, 4, 0, 0, 0]);
        image[1040..1044].copy_from_slice(b"body");
        assert_eq!(payload(&image), Some(&b"body"[..]));
        image[0x24c..0x250].fill(0xff);
        assert_eq!(payload(&image), None, "longer than the file");
    }
}
