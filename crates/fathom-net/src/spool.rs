//! The files of a data directory as they are to be sent: those that only grow, and those that are written at once.

use crate::{NetError, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// A file of the directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) size: u64,
}

/// Files of records: they have messages of their own in uftrace's protocol, with the number in their names.
pub(crate) fn number_of(name: &str) -> Option<(crate::wire::Kind, i32)> {
    use crate::wire::Kind;
    let stem = name.strip_suffix(".dat")?;
    let forms = [(Kind::Perf, "perf-cpu"), (Kind::Kernel, "kernel-cpu"), (Kind::Data, "")];
    forms.iter().find_map(|(kind, prefix)| {
        let digits = stem.strip_prefix(prefix)?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty();
        Some((*kind, digits.parse().ok().filter(|_| plain)?))
    })
}

/// Whether it is a file of records.
pub(crate) fn is_appended(name: &str) -> bool {
    number_of(name).is_some()
}

/// Whether what is in the file stays there, and more is put behind it.
pub(crate) fn only_grows(name: &str) -> bool {
    is_appended(name) || name.ends_with(".probes") || matches!(name, "task.txt" | "events.txt")
}

/// All files that belong to the recording, by name; none as long as there is no directory. What the recorder keeps for
/// itself (hidden files, files that are about to be renamed) is left out.
pub(crate) fn list(dir: &Path) -> Result<Vec<Entry>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(NetError::file("read", dir, error)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| NetError::file("read", dir, error))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| crate::file_name(name.as_bytes()).is_some()) else {
            continue;
        };
        // A file may be gone by now.
        let Ok(data) = entry.metadata() else { continue };
        if data.is_file() && !name.ends_with(".tmp") {
            all.push(Entry { name: name.to_owned(), size: data.len() });
        }
    }
    all.sort();
    Ok(all)
}

/// Hands a part of a file on in pieces of up to `piece` bytes, each with its offset. Ends early if the file does.
pub(crate) fn read_pieces(
    dir: &Path,
    name: &str,
    from: u64,
    to: u64,
    piece: usize,
    mut hand_on: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let path = dir.join(name);
    let failed = |error| NetError::file("read", &path, error);
    let mut file = File::open(&path).map_err(failed)?;
    file.seek(SeekFrom::Start(from)).map_err(failed)?;
    let (mut at, mut buffer) = (from, Vec::new());
    while at < to {
        buffer.clear();
        let wanted = (to - at).min(piece as u64);
        file.by_ref().take(wanted).read_to_end(&mut buffer).map_err(failed)?;
        if buffer.is_empty() {
            return Err(NetError::Shrunk { path });
        }
        hand_on(at, &buffer)?;
        at += buffer.len() as u64;
    }
    Ok(())
}

/// Fingerprint of the first `size` bytes of a file.
pub(crate) fn fingerprint(path: &Path, size: u64) -> Result<[u8; 32]> {
    let failed = |error| NetError::file("read", path, error);
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path).map_err(failed)?.take(size);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = file.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            return Ok(*hasher.finalize().as_bytes());
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Kind;

    #[test]
    fn kinds_of_files() {
        assert_eq!(number_of("12.dat"), Some((Kind::Data, 12)));
        assert_eq!(number_of("perf-cpu0.dat"), Some((Kind::Perf, 0)));
        assert_eq!(number_of("kernel-cpu17.dat"), Some((Kind::Kernel, 17)));
        for name in ["extern.dat", "-1.dat", "+1.dat", ".dat", "99999999999.dat", "1.data", "kernel-cpu.dat"]
        {
            assert_eq!(number_of(name), None, "{name}");
        }
        assert!(only_grows("task.txt") && only_grows("7.probes") && !only_grows("info"));
    }

    #[test]
    fn what_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(list(&dir.path().join("none")).unwrap(), []);
        for name in ["b", ".fathom", "a", "x.map.tmp"] {
            std::fs::write(dir.path().join(name), "12345").unwrap();
        }
        let names: Vec<_> = list(dir.path()).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["a", "b"]);
        let mut pieces = Vec::new();
        read_pieces(dir.path(), "a", 1, 5, 3, |at, bytes| {
            pieces.push((at, bytes.to_vec()));
            Ok(())
        })
        .unwrap();
        assert_eq!(pieces, [(1, b"234".to_vec()), (4, b"5".to_vec())]);
        assert!(matches!(read_pieces(dir.path(), "a", 1, 9, 9, |_, _| Ok(())), Err(NetError::Shrunk { .. })));
    }
}
