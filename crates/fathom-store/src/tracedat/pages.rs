//! The pages of a `trace.dat` file, CPU by CPU.

use crate::Error;
use crate::kernel::{CpuPages, PageSource};
use fathom_tracedat::{Blocks, Recording};

/// The pages of all buffers. Each CPU of each buffer is one of its own.
pub(super) struct RecordedPages {
    cpus: Vec<CpuPages>,
    blocks: Vec<Blocks>,
}

impl RecordedPages {
    pub(super) fn new(recording: &Recording) -> Result<RecordedPages, fathom_tracedat::Error> {
        let mut all = Vec::new();
        for buffer in &recording.buffers {
            for cpu in &buffer.cpus {
                let blocks = Blocks::new(recording, buffer, cpu)?;
                let of = if buffer.name.is_empty() { String::new() } else { format!(" of {}", buffer.name) };
                let pages = CpuPages {
                    cpu: cpu.cpu,
                    blocks: u32::try_from(blocks.len()).unwrap_or(u32::MAX),
                    bytes: blocks.bytes(),
                    name: format!("{}: CPU {}{of}", recording.name, cpu.cpu),
                };
                if !blocks.is_empty() {
                    all.push((pages, blocks));
                }
            }
        }
        let (cpus, blocks) = all.into_iter().unzip();
        Ok(RecordedPages { cpus, blocks })
    }
}

impl PageSource for RecordedPages {
    fn cpus(&self) -> &[CpuPages] {
        &self.cpus
    }

    fn read(&self, cpu: usize, block: u32, buffer: &mut Vec<u8>) -> Result<(), Error> {
        match self.blocks.get(cpu) {
            Some(blocks) => blocks.read(block as usize, buffer).map_err(super::kernel_error),
            None => {
                buffer.clear();
                Ok(())
            }
        }
    }
}
