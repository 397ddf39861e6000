//! Bytes by position, and a reader of the format's numbers and strings over them.

use crate::error::Error;
use crate::header::Endian;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that can be read at any position, by several readers at once.
pub trait Source: Send + Sync {
    /// Reads at most `into.len()` bytes at `offset`; 0 at the end.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// The number of bytes.
    fn len(&self) -> u64;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An open file; its length is the one at opening.
pub(crate) struct FileSource {
    file: File,
    len: u64,
}

impl FileSource {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }
}

impl Source for FileSource {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(into, offset)
    }

    fn len(&self) -> u64 {
        self.len
    }
}

impl Source for Vec<u8> {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|start| self.get(start..)).unwrap_or_default();
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn len(&self) -> u64 {
        Vec::len(self) as u64
    }
}

/// Fills `into` from `offset` on; fewer bytes than asked for are damage.
pub(crate) fn read_exact(
    source: &dyn Source,
    name: &str,
    mut offset: u64,
    mut into: &mut [u8],
) -> Result<(), Error> {
    while !into.is_empty() {
        match source.read_at(offset, into) {
            Ok(0) => return Err(Error::damaged(name, offset, format!("{} more bytes expected", into.len()))),
            Ok(count) => {
                offset += count as u64;
                into = &mut into[count..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(name, error)),
        }
    }
    Ok(())
}

/// More than any table of a real kernel (kallsyms with all modules is some 20 MB) and little enough to hold.
pub(crate) const MAX_BLOCK: u64 = 1 << 26;

const WINDOW: usize = 4096;

/// Reads numbers and strings one after another between two positions of a source.
pub(crate) struct Reader<'a> {
    source: &'a dyn Source,
    name: &'a str,
    endian: Endian,
    position: u64,
    end: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl<'a> Reader<'a> {
    /// Reads from `start` up to `end`, or to the end of the source where that comes first.
    pub(crate) fn new(
        source: &'a dyn Source,
        name: &'a str,
        endian: Endian,
        start: u64,
        end: u64,
    ) -> Reader<'a> {
        let end = end.min(source.len());
        Reader { source, name, endian, position: start, end, window: Vec::new(), window_start: 0 }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn remaining(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }

    pub(crate) fn set_endian(&mut self, endian: Endian) {
        self.endian = endian;
    }

    pub(crate) fn damaged(&self, what: impl Into<String>) -> Error {
        Error::damaged(self.name, self.position, what)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), Error> {
        if self.remaining() < into.len() as u64 {
            let missing = into.len() as u64 - self.remaining();
            return Err(self.damaged(format!("cut off: {missing} more bytes expected")));
        }
        if into.len() > WINDOW {
            read_exact(self.source, self.name, self.position, into)?;
        } else {
            if !self.in_window(into.len()) {
                self.load()?;
            }
            let start = (self.position - self.window_start) as usize;
            into.copy_from_slice(&self.window[start..start + into.len()]);
        }
        self.position += into.len() as u64;
        Ok(())
    }

    fn in_window(&self, count: usize) -> bool {
        self.position >= self.window_start
            && self.position + count as u64 <= self.window_start + self.window.len() as u64
    }

    fn load(&mut self) -> Result<(), Error> {
        let count = self.remaining().min(WINDOW as u64) as usize;
        self.window.resize(count, 0);
        self.window_start = self.position;
        read_exact(self.source, self.name, self.position, &mut self.window)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        let bytes = self.array()?;
        Ok(self.endian.u16(bytes))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        let bytes = self.array()?;
        Ok(self.endian.u32(bytes))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        let bytes = self.array()?;
        Ok(self.endian.u64(bytes))
    }

    /// The next `count` bytes; `what` names them in the error.
    pub(crate) fn bytes(&mut self, count: u64, what: &str) -> Result<Vec<u8>, Error> {
        if count > self.remaining() || count > MAX_BLOCK {
            return Err(self
                .damaged(format!("{what} of {count} bytes, where the file has {} more", self.remaining())));
        }
        let mut bytes = vec![0; count as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A string up to its NUL, of at most `max` bytes.
    pub(crate) fn string(&mut self, max: usize) -> Result<String, Error> {
        let start = self.position;
        let mut bytes = Vec::new();
        loop {
            match self.u8()? {
                0 => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                byte => bytes.push(byte),
            }
            if bytes.len() > max {
                return Err(Error::damaged(self.name, start, format!("a string of more than {max} bytes")));
            }
        }
    }

    /// Checks that these bytes come next.
    pub(crate) fn literal(&mut self, expected: &[u8]) -> Result<(), Error> {
        let start = self.position;
        let mut found = vec![0; expected.len()];
        let read = self.fill(&mut found);
        if read.is_err() || found != expected {
            let text = String::from_utf8_lossy(expected);
            let text = text.trim_end_matches('\0').trim_end();
            return Err(Error::damaged(self.name, start, format!("\"{text}\" expected")));
        }
        Ok(())
    }
}
