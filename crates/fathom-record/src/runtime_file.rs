//! Puts the built-in runtime where the loader can load it from.

use crate::Error;
use rustix::fs::{Mode, StatVfsMountFlags};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The shared object, made by the build script.
static RUNTIME: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libfathom_runtime.so"));

/// Path of a file with the built-in runtime, made if it is not there. The file stays: programs that outlive the
/// recorder start others from it.
pub(crate) fn install() -> Result<PathBuf, Error> {
    let mut tried = Vec::new();
    for dir in candidates() {
        match install_in(&dir) {
            Ok(path) => return Ok(path),
            Err(reason) => tried.push(format!("{}: {reason}", dir.display())),
        }
    }
    Err(Error::NoRuntimeDir { reason: tried.join("; ") })
}

/// Directories, best first. As root one that other users' processes can read.
fn candidates() -> Vec<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let env = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let mut dirs = Vec::new();
    if uid == 0 {
        dirs.push(PathBuf::from("/run/fathom"));
    } else if let Some(dir) = env("XDG_RUNTIME_DIR") {
        dirs.push(dir.join("fathom"));
    }
    dirs.extend(env("XDG_CACHE_HOME").map(|d| d.join("fathom")));
    dirs.extend(env("HOME").map(|d| d.join(".cache/fathom")));
    dirs.push(PathBuf::from(format!("/tmp/fathom-{uid}")));
    dirs
}

fn install_in(dir: &Path) -> io::Result<PathBuf> {
    // The loader splits LD_PRELOAD at both and knows no quotes.
    if dir.as_os_str().as_encoded_bytes().iter().any(|c| matches!(c, b':' | b' ' | b'\t' | b'\n')) {
        return Err(io::Error::other("LD_PRELOAD cannot name it"));
    }
    let uid = rustix::process::geteuid().as_raw();
    let mode = if uid == 0 { 0o755 } else { 0o700 };
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match rustix::fs::mkdir(dir, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let meta = fs::symlink_metadata(dir)?;
    if !meta.is_dir() || meta.uid() != uid || meta.mode() & 0o022 != 0 {
        return Err(io::Error::other("not a directory of ours alone"));
    }
    if rustix::fs::statvfs(dir)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(io::Error::other("mounted noexec"));
    }
    let mut hasher = DefaultHasher::new();
    RUNTIME.hash(&mut hasher);
    let path = dir.join(format!("rt-{}-{:016x}.so", env!("CARGO_PKG_VERSION"), hasher.finish()));
    if is_good(&path, uid) {
        return Ok(path);
    }
    let temporary = dir.join(format!(".rt-{}.tmp", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(RUNTIME)?;
    file.set_permissions(fs::Permissions::from_mode(0o555))?;
    fs::rename(&temporary, &path)?;
    Ok(path)
}

/// Whether the file is ours and what we would write.
fn is_good(path: &Path, uid: u32) -> bool {
    let Ok(meta) = fs::symlink_metadata(path) else { return false };
    meta.is_file()
        && meta.uid() == uid
        && meta.mode() & 0o7777 == 0o555
        && fs::read(path).is_ok_and(|bytes| bytes == RUNTIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installs_once_and_repairs() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("fathom");
        let path = install_in(&dir).unwrap();
        assert_eq!(fs::read(&path).unwrap(), RUNTIME);
        let first = fs::metadata(&path).unwrap().ino();
        assert_eq!(fs::metadata(install_in(&dir).unwrap()).unwrap().ino(), first);
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"something else").unwrap();
        install_in(&dir).unwrap();
        assert_eq!(fs::read(&path).unwrap(), RUNTIME);
    }

    #[test]
    fn refuses_places_that_others_can_write_or_preload_cannot_name() {
        let place = tempfile::tempdir().unwrap();
        assert!(install_in(&place.path().join("a b")).is_err());
        let open = place.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(install_in(&open).is_err());
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&open, &link).unwrap();
        assert!(install_in(&link).is_err());
    }
}
