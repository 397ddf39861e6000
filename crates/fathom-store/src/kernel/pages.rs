//! Where pages come from.

use crate::Error;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// The pages of a recording, CPU by CPU, in blocks of some pages each.
///
/// Shared by threads; a block is read anew each time it is asked for.
pub trait PageSource: Send + Sync {
    /// The CPUs that there are pages of, ascending by number.
    fn cpus(&self) -> &[CpuPages];

    /// Replaces the contents of `buffer` by the pages of a block; `cpu` is an index into [`PageSource::cpus`]. The last
    /// page may be cut off.
    ///
    /// # Errors
    ///
    /// When it can't be read.
    fn read(&self, cpu: usize, block: u32, buffer: &mut Vec<u8>) -> Result<(), Error>;
}

/// The pages of one CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuPages {
    /// Number of the CPU.
    pub cpu: u32,
    /// How many blocks there are.
    pub blocks: u32,
    /// Bytes of all of them.
    pub bytes: u64,
    /// What messages call it.
    pub name: String,
}

/// Bytes of a block.
const BLOCK: usize = 64 << 10;

/// Files of pages, one for each CPU.
#[derive(Debug)]
pub struct PageFiles {
    cpus: Vec<CpuPages>,
    files: Vec<(PathBuf, File)>,
    block: usize,
}

impl PageFiles {
    /// Opens files, each with the number of its CPU. The pages have `page_size` bytes.
    ///
    /// # Errors
    ///
    /// The first that can't be opened.
    pub fn open(paths: &[(u32, PathBuf)], page_size: usize) -> Result<PageFiles, Error> {
        let page_size = page_size.max(1);
        let block = (BLOCK / page_size).max(1) * page_size;
        let (mut cpus, mut files) = (Vec::new(), Vec::new());
        for (cpu, path) in paths {
            let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
            let bytes = file.metadata().map_err(|e| Error::io(path, "read", e))?.len();
            let blocks = u32::try_from(bytes.div_ceil(block as u64)).unwrap_or(u32::MAX);
            cpus.push(CpuPages { cpu: *cpu, blocks, bytes, name: path.display().to_string() });
            files.push((path.clone(), file));
        }
        Ok(PageFiles { cpus, files, block })
    }
}

impl PageSource for PageFiles {
    fn cpus(&self) -> &[CpuPages] {
        &self.cpus
    }

    fn read(&self, cpu: usize, block: u32, buffer: &mut Vec<u8>) -> Result<(), Error> {
        buffer.clear();
        let Some((path, file)) = self.files.get(cpu) else { return Ok(()) };
        buffer.resize(self.block, 0);
        let (mut got, start) = (0, u64::from(block) * self.block as u64);
        while got < buffer.len() {
            match file.read_at(&mut buffer[got..], start + got as u64) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(path, "read", e)),
            }
        }
        buffer.truncate(got);
        Ok(())
    }
}
