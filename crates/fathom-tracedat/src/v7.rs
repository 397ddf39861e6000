//! Version 7: sections, found through a chain of options sections.

use crate::compress::{Compression, Unpacker};
use crate::error::Error;
use crate::options::{RawOption, id};
use crate::recording::{Buffer, CpuData, Recording, Tables, TextBuffer};
use crate::source::{MAX_BLOCK, Reader, Source};
use crate::tables;
use crate::v6::MAX_CPUS;
use std::sync::Arc;

/// Numbers of the sections.
pub(crate) mod section {
    pub(crate) const OPTIONS: u16 = 0;
    pub(crate) const BUFFER: u16 = 3;
    pub(crate) const HEADER_INFO: u16 = 16;
    pub(crate) const FTRACE_EVENTS: u16 = 17;
    pub(crate) const EVENT_FORMATS: u16 = 18;
    pub(crate) const KALLSYMS: u16 = 19;
    pub(crate) const PRINTK: u16 = 20;
    pub(crate) const CMDLINES: u16 = 21;
    pub(crate) const BUFFER_TEXT: u16 = 22;
}

/// The flag of a compressed section.
pub(crate) const COMPRESSED: u16 = 1;

/// Options sections in a chain; trace-cmd writes one per buffer.
const MAX_CHAIN: usize = 1 << 16;

struct Section {
    flags: u16,
    body: u64,
    size: u64,
}

pub(crate) fn read(source: &Arc<dyn Source>, first: u64, recording: &mut Recording) -> Result<(), Error> {
    let mut file = File7 { source: Arc::clone(source), recording };
    let mut next = first;
    // The chain goes forward in every file, so going back is a loop.
    let mut seen = 0;
    for _ in 0..MAX_CHAIN {
        if next == 0 {
            return file.finish();
        }
        if next <= seen {
            let what = format!("the chain of options goes back to {next:#x}");
            return Err(Error::damaged(&*file.recording.name, seen, what));
        }
        seen = next;
        next = file.options(next)?;
    }
    Err(Error::damaged(&*file.recording.name, next, format!("more than {MAX_CHAIN} options sections")))
}

struct File7<'a> {
    source: Arc<dyn Source>,
    recording: &'a mut Recording,
}

impl File7<'_> {
    fn finish(self) -> Result<(), Error> {
        let endian = self.recording.header.endian;
        let most = self.recording.buffers.iter().flat_map(|buffer| &buffer.cpus).map(|cpu| cpu.cpu + 1).max();
        let counted = self.recording.options.cpu_count(endian);
        self.recording.cpu_count = counted.or(most).unwrap_or_default();
        // The top buffer first, whatever the order of the file.
        self.recording.buffers.sort_by_key(|buffer| !buffer.name.is_empty());
        Ok(())
    }

    fn reader<'b>(&'b self, source: &'b dyn Source, start: u64, end: u64) -> Reader<'b> {
        Reader::new(source, &self.recording.name, self.recording.header.endian, start, end)
    }

    fn section(&self, offset: u64, expected: u16) -> Result<Section, Error> {
        let mut reader = self.reader(&*self.source, offset, u64::MAX);
        let (found, flags, _description, size) = (reader.u16()?, reader.u16()?, reader.u32()?, reader.u64()?);
        if found != expected {
            let what = format!("section {found} where section {expected} should be");
            return Err(Error::damaged(&*self.recording.name, offset, what));
        }
        Ok(Section { flags, body: reader.position(), size })
    }

    /// Reads an options section and what it points to; the offset of the next one.
    fn options(&mut self, offset: u64) -> Result<u64, Error> {
        let section = self.section(offset, section::OPTIONS)?;
        let body = self.body(&section)?;
        let mut list = Vec::new();
        let mut next = 0;
        {
            let mut reader = self.reader(&body, 0, u64::MAX);
            while reader.remaining() > 0 {
                let (number, size) = (reader.u16()?, reader.u32()?);
                let data = reader.bytes(size.into(), &format!("option {number}"))?;
                if number == id::DONE {
                    let bytes = data.first_chunk::<8>();
                    next = bytes.map(|bytes| self.recording.header.endian.u64(*bytes)).unwrap_or_default();
                    break;
                }
                list.push(RawOption { id: number, data });
            }
        }
        for option in list {
            self.option(option)?;
        }
        Ok(next)
    }

    fn option(&mut self, option: RawOption) -> Result<(), Error> {
        type Parse = fn(&mut Reader<'_>, &mut Tables) -> Result<(), Error>;
        let (section, parse): (u16, Parse) = match option.id {
            id::HEADER_INFO => (section::HEADER_INFO, tables::header_info),
            id::FTRACE_EVENTS => (section::FTRACE_EVENTS, tables::ftrace_formats),
            id::EVENT_FORMATS => (section::EVENT_FORMATS, tables::event_formats),
            id::KALLSYMS => (section::KALLSYMS, tables::kallsyms),
            id::PRINTK => (section::PRINTK, tables::printk),
            id::CMDLINES => (section::CMDLINES, tables::cmdlines),
            id::BUFFER => return self.buffer(&option.data),
            id::BUFFER_TEXT => return self.text(&option.data),
            _ => {
                self.recording.options.list.push(option);
                return Ok(());
            }
        };
        let Some(bytes) = option.data.first_chunk::<8>() else {
            let what = format!("option {} has {} bytes, not 8", option.id, option.data.len());
            return Err(Error::damaged(&*self.recording.name, 0, what));
        };
        let offset = self.recording.header.endian.u64(*bytes);
        let section = self.section(offset, section)?;
        let mut all = std::mem::take(&mut self.recording.tables);
        if section.flags & COMPRESSED == 0 {
            let end = section.body.saturating_add(section.size);
            let mut reader = self.reader(&*self.source, section.body, end);
            parse(&mut reader, &mut all)?;
        } else {
            let body = self.body(&section)?;
            let mut reader = self.reader(&body, 0, u64::MAX);
            parse(&mut reader, &mut all)?;
        }
        self.recording.tables = all;
        Ok(())
    }

    /// A whole section, unpacked where it is compressed.
    fn body(&self, section: &Section) -> Result<Vec<u8>, Error> {
        let end = section.body.saturating_add(section.size);
        let mut reader = self.reader(&*self.source, section.body, end);
        if section.flags & COMPRESSED == 0 {
            return reader.bytes(section.size, "a section");
        }
        let (packed, size) = (reader.u32()?, reader.u32()?);
        if u64::from(size) > MAX_BLOCK {
            return Err(reader.damaged(format!("a section of {size} bytes unpacked")));
        }
        let bytes = reader.bytes(packed.into(), "a compressed section")?;
        let mut body = Vec::new();
        let mut unpacker = Unpacker::new(self.recording.header.compression);
        let unpacked = unpacker.unpack(&bytes, size as usize, &mut body);
        unpacked.map_err(|error| reader.damaged(format!("cannot unpack a section: {error}")))?;
        Ok(body)
    }

    fn buffer(&mut self, data: &[u8]) -> Result<(), Error> {
        let data = data.to_vec();
        let mut reader = self.reader(&data, 0, u64::MAX);
        let (offset, name, clock) = (reader.u64()?, reader.string(4096)?, reader.string(256)?);
        let (page_size, count) = (reader.u32()?, reader.u32()?);
        if !(64..=crate::header::MAX_PAGE).contains(&page_size) {
            return Err(reader.damaged(format!("buffer \"{name}\" has pages of {page_size} bytes")));
        }
        if count > MAX_CPUS {
            return Err(reader.damaged(format!("buffer \"{name}\" has {count} CPUs")));
        }
        // An empty buffer's section need not be there.
        let mut compressed = false;
        if count > 0 {
            compressed = self.section(offset, section::BUFFER)?.flags & COMPRESSED != 0;
        }
        let mut cpus = Vec::new();
        for _ in 0..count {
            let (cpu, offset, size) = (reader.u32()?, reader.u64()?, reader.u64()?);
            if cpu >= MAX_CPUS {
                return Err(reader.damaged(format!("buffer \"{name}\" has a CPU {cpu}")));
            }
            cpus.push(CpuData {
                cpu,
                offset,
                size,
                compressed: compressed && self.recording.header.compression != Compression::None,
                source: Arc::clone(&self.source),
                name: Arc::clone(&self.recording.name),
            });
        }
        self.recording.buffers.push(Buffer { name, clock, page_size, cpus });
        Ok(())
    }

    fn text(&mut self, data: &[u8]) -> Result<(), Error> {
        let data = data.to_vec();
        let mut reader = self.reader(&data, 0, u64::MAX);
        let (offset, name) = (reader.u64()?, reader.string(4096)?);
        let section = self.section(offset, section::BUFFER_TEXT)?;
        let end = section.body.saturating_add(section.size);
        let text = if section.flags & COMPRESSED == 0 {
            self.body(&section)?
        } else {
            self.chunks(section.body, end)?
        };
        self.recording.texts.push(TextBuffer { name, text });
        Ok(())
    }

    /// Text in chunks, as pages are compressed.
    fn chunks(&self, start: u64, end: u64) -> Result<Vec<u8>, Error> {
        let mut reader = self.reader(&*self.source, start, end);
        let count = reader.u32()?;
        let mut unpacker = Unpacker::new(self.recording.header.compression);
        let (mut all, mut chunk) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (packed, size) = (reader.u32()?, reader.u32()?);
            if all.len() as u64 + u64::from(size) > MAX_BLOCK {
                return Err(reader.damaged("a text of more than 64 MiB"));
            }
            let bytes = reader.bytes(packed.into(), "a compressed text")?;
            let unpacked = unpacker.unpack(&bytes, size as usize, &mut chunk);
            unpacked.map_err(|error| reader.damaged(format!("cannot unpack a text: {error}")))?;
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }
}
