//! The pages of one CPU in blocks that are read in any order, by any number of readers.

use crate::compress::{Compression, Unpacker};
use crate::error::Error;
use crate::recording::{Buffer, CpuData, Recording};
use crate::source::read_exact;

/// Bytes of a block where nothing is compressed, unless a page is larger.
const BLOCK: u64 = 64 << 10;

/// Largest chunk that is unpacked; trace-cmd's have ten pages.
const MAX_CHUNK: u32 = 64 << 20;

/// Where the blocks of one CPU are. Where pages are compressed, a block is one of the chunks that the recorder made.
#[derive(Clone)]
pub struct Blocks {
    cpu: CpuData,
    compression: Compression,
    list: Vec<Block>,
}

#[derive(Clone, Copy)]
struct Block {
    offset: u64,
    /// Bytes in the file, and of the pages.
    packed: u32,
    size: u32,
}

impl Blocks {
    /// Finds the blocks of a CPU of a buffer. Of a file that is cut off, those that are there.
    ///
    /// # Errors
    /// What the system refused.
    pub fn new(recording: &Recording, buffer: &Buffer, cpu: &CpuData) -> Result<Blocks, Error> {
        let compression = if cpu.compressed { recording.header.compression } else { Compression::None };
        let mut blocks = Blocks { cpu: cpu.clone(), compression, list: Vec::new() };
        match cpu.compressed {
            true => blocks.find_chunks(recording)?,
            false => blocks.cut(u64::from(buffer.page_size.max(1))),
        }
        Ok(blocks)
    }

    fn cut(&mut self, page: u64) {
        let step = (BLOCK / page).max(1).saturating_mul(page);
        let end = self.cpu.offset.saturating_add(self.cpu.size).min(self.cpu.source.len());
        let mut offset = self.cpu.offset;
        while offset < end {
            // A step is a page of at most 64 MiB, or less.
            let size = step.min(end - offset) as u32;
            self.list.push(Block { offset, packed: size, size });
            offset += u64::from(size);
        }
    }

    fn find_chunks(&mut self, recording: &Recording) -> Result<(), Error> {
        let (source, endian, name) = (&*self.cpu.source, recording.header.endian, &*self.cpu.name);
        let mut offset = self.cpu.offset;
        if self.cpu.size == 0 || offset.saturating_add(4) > source.len() {
            return Ok(());
        }
        let mut count = [0; 4];
        read_exact(source, name, offset, &mut count)?;
        offset += 4;
        for _ in 0..endian.u32(count) {
            if offset.saturating_add(8) > source.len() {
                return Ok(());
            }
            let mut sizes = [0; 8];
            read_exact(source, name, offset, &mut sizes)?;
            let [a, b, c, d, rest @ ..] = sizes;
            let block =
                Block { offset: offset + 8, packed: endian.u32([a, b, c, d]), size: endian.u32(rest) };
            offset = block.offset.saturating_add(u64::from(block.packed));
            if offset > source.len() || block.size > MAX_CHUNK {
                return Ok(());
            }
            self.list.push(block);
        }
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Bytes of all pages.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.list.iter().map(|block| u64::from(block.size)).sum()
    }

    /// Replaces the content of `into` by the pages of a block; by nothing when there is no such block.
    ///
    /// # Errors
    /// What the system refused; a block that cannot be unpacked.
    pub fn read(&self, index: usize, into: &mut Vec<u8>) -> Result<(), Error> {
        into.clear();
        let Some(block) = self.list.get(index) else { return Ok(()) };
        let (source, name) = (&*self.cpu.source, &*self.cpu.name);
        let mut packed = vec![0; block.packed as usize];
        read_exact(source, name, block.offset, &mut packed)?;
        if self.compression == Compression::None {
            *into = packed;
            return Ok(());
        }
        Unpacker::new(self.compression).unpack(&packed, block.size as usize, into).map_err(|error| {
            Error::damaged(name, block.offset, format!("cannot unpack a chunk of pages: {error}"))
        })
    }
}
