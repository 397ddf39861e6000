//! The pages of one CPU, read one after another by position: never more than a chunk of them in memory.

use crate::compress::{Compression, Unpacker};
use crate::error::Error;
use crate::header::Endian;
use crate::recording::CpuData;
use crate::source::{Source, read_exact};
use std::sync::Arc;

/// Bytes read at once where nothing is compressed.
const BLOCK: usize = 256 << 10;

/// Largest chunk that is unpacked; trace-cmd's have ten pages.
const MAX_CHUNK: u32 = 64 << 20;

/// The pages of one CPU. A file can be read by any number of these at once.
pub struct Pages {
    source: Arc<dyn Source>,
    name: Arc<str>,
    page_size: usize,
    endian: Endian,
    /// Where the next block or chunk begins.
    next: u64,
    end: u64,
    /// Chunks that are left; none where nothing is compressed.
    chunks: Option<Chunks>,
    block: Vec<u8>,
    /// Bytes of `block` that were handed out.
    taken: usize,
    lost: u64,
}

/// The pages one after another as bytes; an error of the file is inside the `io::Error`.
impl std::io::Read for Pages {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.block.len() - self.taken < self.page_size {
            if !self.load().map_err(std::io::Error::other)? {
                self.lost = (self.block.len() - self.taken) as u64;
                return Ok(0);
            }
        }
        let whole = self.block.len() - self.taken;
        // Whole pages, unless there is no room for one.
        let count = (whole - whole % self.page_size).min(into.len());
        let count = if count >= self.page_size { count - count % self.page_size } else { count };
        into[..count].copy_from_slice(&self.block[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

struct Chunks {
    unpacker: Unpacker,
    packed: Vec<u8>,
    left: Option<u32>,
}

impl Pages {
    pub(crate) fn new(cpu: &CpuData, page_size: u32, compression: Compression, endian: Endian) -> Self {
        let chunks = cpu.compressed.then(|| Chunks {
            unpacker: Unpacker::new(compression),
            packed: Vec::new(),
            left: None,
        });
        Self {
            source: Arc::clone(&cpu.source),
            name: Arc::clone(&cpu.name),
            page_size: page_size as usize,
            endian,
            next: cpu.offset,
            end: cpu.offset.saturating_add(cpu.size),
            chunks,
            block: Vec::new(),
            taken: 0,
            lost: 0,
        }
    }

    /// The next page, of the buffer's page size; `None` behind the last one.
    ///
    /// # Errors
    /// What the system refused; data that cannot be unpacked or that the file does not hold.
    pub fn next_page(&mut self) -> Result<Option<&[u8]>, Error> {
        while self.block.len() - self.taken < self.page_size {
            if !self.load()? {
                self.lost = (self.block.len() - self.taken) as u64;
                return Ok(None);
            }
        }
        let start = self.taken;
        self.taken += self.page_size;
        Ok(Some(&self.block[start..self.taken]))
    }

    /// Bytes of all pages, unpacked. Pages that were read already count too.
    ///
    /// # Errors
    /// What the system refused, or chunks that the file does not hold.
    pub fn unpacked_size(&self) -> Result<u64, Error> {
        if self.chunks.is_none() {
            return Ok(self.end.saturating_sub(self.next).saturating_add(self.block.len() as u64));
        }
        let mut word = [0; 4];
        let mut at = self.next;
        read_exact(&*self.source, &self.name, at, &mut word)?;
        let count = self.endian.u32(word);
        at += 4;
        let mut size = 0;
        for _ in 0..count {
            let mut sizes = [0; 8];
            read_exact(&*self.source, &self.name, at, &mut sizes)?;
            let [a, b, c, d, rest @ ..] = sizes;
            at += 8 + u64::from(self.endian.u32([a, b, c, d]));
            size += u64::from(self.endian.u32(rest));
        }
        Ok(size)
    }

    /// Bytes behind the last whole page: more than 0 where a recorder was interrupted within a page.
    #[must_use]
    pub fn incomplete_bytes(&self) -> u64 {
        self.lost
    }

    /// Loads more behind what is left of the block. False at the end.
    fn load(&mut self) -> Result<bool, Error> {
        self.block.drain(..self.taken);
        self.taken = 0;
        match self.chunks {
            Some(_) => self.load_chunk(),
            None => self.load_block(),
        }
    }

    fn load_block(&mut self) -> Result<bool, Error> {
        let rest = self.end.saturating_sub(self.next);
        if rest == 0 {
            return Ok(false);
        }
        let size = rest.min(BLOCK.max(self.page_size) as u64) as usize;
        let start = self.block.len();
        // A block is allocated only if the file can hold it.
        if self.next.saturating_add(size as u64) > self.source.len() {
            let what = format!("{rest} bytes of pages go beyond the file's end");
            return Err(Error::damaged(&*self.name, self.next, what));
        }
        self.block.resize(start + size, 0);
        read_exact(&*self.source, &self.name, self.next, &mut self.block[start..])?;
        self.next += size as u64;
        Ok(true)
    }

    fn load_chunk(&mut self) -> Result<bool, Error> {
        let Some(chunks) = &mut self.chunks else { return Ok(false) };
        let left = match chunks.left {
            Some(left) => left,
            // A CPU without data has no count either.
            None if self.next >= self.end => 0,
            None => {
                let mut count = [0; 4];
                read_exact(&*self.source, &self.name, self.next, &mut count)?;
                self.next += 4;
                self.endian.u32(count)
            }
        };
        if left == 0 {
            chunks.left = Some(0);
            return Ok(false);
        }
        let mut sizes = [0; 8];
        read_exact(&*self.source, &self.name, self.next, &mut sizes)?;
        let [a, b, c, d, rest @ ..] = sizes;
        let (packed, size) = (self.endian.u32([a, b, c, d]), self.endian.u32(rest));
        let start = self.next + 8;
        let end = start + u64::from(packed);
        // The chunks end behind `self.end`: trace-cmd does not count the four bytes of their number.
        if end > self.source.len() || size > MAX_CHUNK {
            let what = format!("a chunk of {packed} bytes for {size} bytes of pages does not fit");
            return Err(Error::damaged(&*self.name, self.next, what));
        }
        chunks.packed.resize(packed as usize, 0);
        read_exact(&*self.source, &self.name, start, &mut chunks.packed)?;
        let mut unpacked = Vec::new();
        let target = if self.block.is_empty() { &mut self.block } else { &mut unpacked };
        chunks.unpacker.unpack(&chunks.packed, size as usize, target).map_err(|error| {
            Error::damaged(&*self.name, start, format!("cannot unpack a chunk of pages: {error}"))
        })?;
        self.block.append(&mut unpacked);
        chunks.left = Some(left - 1);
        self.next = end;
        Ok(true)
    }
}
