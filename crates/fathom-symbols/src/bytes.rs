//! The bytes of a file, shared and sliced without copying.

use std::fs::File;
use std::io::{self, Read};
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

/// Files up to this size are read, larger ones are mapped.
///
/// What is read cannot change under us; a mapped file that somebody truncates meanwhile is a SIGBUS. Only where
/// reading would cost noticeable time and memory is that risk taken.
const READ_LIMIT: u64 = 8 << 20;

/// Immutable bytes with shared ownership: of a file, of a part of one, or of a buffer. Cloning is cheap.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<Owner>,
    range: Range<usize>,
}

enum Owner {
    Buffer(Vec<u8>),
    Map(memmap2::Mmap),
}

impl Owner {
    fn all(&self) -> &[u8] {
        match self {
            Owner::Buffer(buffer) => buffer,
            Owner::Map(map) => map,
        }
    }
}

impl Bytes {
    /// Opens a regular file. Anything else (a directory, a pipe, a device) is an error of kind `InvalidInput`, so that
    /// a path from outside cannot make the caller wait or read forever.
    pub fn open(path: &Path) -> io::Result<Bytes> {
        // The kind is looked at before opening, as opening a pipe alone can already block.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let owner = if size <= READ_LIMIT {
            let mut buffer = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
            file.by_ref().take(READ_LIMIT).read_to_end(&mut buffer)?;
            Owner::Buffer(buffer)
        } else {
            Owner::Map(map::map_file(&file)?)
        };
        Ok(Bytes::whole(owner))
    }

    fn whole(owner: Owner) -> Bytes {
        let range = 0..owner.all().len();
        Bytes { owner: Arc::new(owner), range }
    }

    /// The part of these bytes in `range`, or `None` if it does not lie within them.
    pub fn slice(&self, range: Range<usize>) -> Option<Bytes> {
        self.get(range.clone())?;
        let start = self.range.start;
        Some(Bytes { owner: Arc::clone(&self.owner), range: start + range.start..start + range.end })
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(buffer: Vec<u8>) -> Bytes {
        Bytes::whole(Owner::Buffer(buffer))
    }
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes::from(Vec::new())
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // `slice` and `whole` make no range that is not within its owner.
        self.owner.all().get(self.range.clone()).unwrap_or_default()
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({} bytes)", self.len())
    }
}

/// The crate's only unsafe code.
#[allow(unsafe_code)]
mod map {
    use super::Bytes;
    use std::fs::File;
    use std::io;

    pub(super) fn map_file(file: &File) -> io::Result<memmap2::Mmap> {
        // SAFETY: the mapping is private and read-only, so nothing in this process writes to it. Another process may
        // write to the file; programs and libraries are replaced by rename and not rewritten (the kernel refuses to
        // write to a running one), and every parser here checks each value after loading it.
        unsafe { memmap2::Mmap::map(file) }
    }

    // SAFETY: the bytes belong to the reference-counted owner, which is never changed after it is made; moving a
    // `Bytes` moves the pointer to the owner and not what it owns, so `deref` gives the same address before and after.
    unsafe impl gimli::StableDeref for Bytes {}
    // SAFETY: a clone shares the owner and has the same range, so it dereferences to the same address.
    unsafe impl gimli::CloneStableDeref for Bytes {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_share_the_owner_and_stay_inside() {
        let bytes = Bytes::from(b"abcdef".to_vec());
        let part = bytes.slice(2..5).unwrap();
        assert_eq!(&*part, b"cde");
        assert_eq!(&*part.slice(1..3).unwrap(), b"de");
        assert!(part.slice(0..4).is_none());
        assert!(part.slice(2..usize::MAX).is_none());
        assert_eq!(part.as_ptr(), bytes[2..].as_ptr());
    }

    #[test]
    fn only_regular_files_are_opened() {
        assert_eq!(Bytes::open(Path::new("/dev/zero")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(Bytes::open(Path::new("/")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn large_files_are_mapped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        std::fs::write(&path, vec![7u8; READ_LIMIT as usize + 1]).unwrap();
        let bytes = Bytes::open(&path).unwrap();
        assert!(matches!(*bytes.owner, Owner::Map(_)));
        assert_eq!(bytes.len(), READ_LIMIT as usize + 1);
        assert!(bytes.iter().all(|&byte| byte == 7));
    }
}
