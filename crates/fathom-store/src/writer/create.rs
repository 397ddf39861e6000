//! Makes the directory of a new trace, without ever removing anything that is not one.

use crate::{Error, MAGIC};
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Makes `dir`. What is there is renamed to `<dir>.old` if it is a trace.
pub(super) fn create(dir: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(Error::io(dir, "look at", e)),
        Ok(_) => move_away(dir)?,
    }
    DirBuilder::new().mode(0o755).create(dir).map_err(|e| Error::io(dir, "create", e))
}

fn move_away(dir: &Path) -> Result<(), Error> {
    if !is_removable(dir) {
        return Err(Error::NotRemovable { dir: dir.to_path_buf() });
    }
    let old = old_name(dir).ok_or_else(|| Error::NotRemovable { dir: dir.to_path_buf() })?;
    if fs::symlink_metadata(&old).is_ok() {
        if !is_removable(&old) {
            return Err(Error::NotRemovable { dir: old });
        }
        fs::remove_dir_all(&old).map_err(|e| Error::io(&old, "remove", e))?;
    }
    fs::rename(dir, &old).map_err(|e| Error::io(dir, "rename", e))
}

/// `<dir>.old`; none for directories that have no name of their own, such as `.`.
fn old_name(dir: &Path) -> Option<PathBuf> {
    let mut name = dir.file_name()?.to_owned();
    name.push(".old");
    Some(dir.with_file_name(name))
}

/// Whether a directory is a trace or empty. Not a link to one: what it points to belongs to somebody else.
fn is_removable(dir: &Path) -> bool {
    if !fs::symlink_metadata(dir).is_ok_and(|m| m.is_dir()) {
        return false;
    }
    let mut magic = [0; MAGIC.len()];
    match File::open(dir.join("info")) {
        Ok(mut info) => info.read_exact(&mut magic).is_ok() && magic == MAGIC,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let empty = || fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
            dir.join("default.opts").is_file() || empty()
        }
        Err(_) => false,
    }
}
