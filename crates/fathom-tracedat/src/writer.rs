//! Writing version 7.
//!
//! The sections of the tables come first, then each buffer's pages as they are read, and last one options
//! section that says where everything is. Nothing but a chunk of pages is held in memory.

use crate::compress::{Compression, Packer};
use crate::error::Error;
use crate::header::{Endian, Header, MAGIC};
use crate::options::{Options, id};
use crate::recording::Tables;
use crate::v7::{COMPRESSED, section};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Bytes of pages that are compressed together, where a page is not larger.
const CHUNK: usize = 256 << 10;

/// Writes a `trace.dat` of version 7, piece by piece.
///
/// The order of calls is free, except that [`finish`](Self::finish) comes last.
pub struct Writer<W: Write + Seek> {
    out: W,
    name: String,
    at: u64,
    header: Header,
    packer: Packer,
    /// Where the header has the offset of the options.
    pointer: u64,
    /// Options as they will be written, without the last.
    options: Vec<u8>,
    /// The number of CPUs that is written unless an option says it: the highest seen, plus 1.
    cpu_count: Option<u32>,
}

/// What of a buffer's data could not be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Whole pages that were written.
    pub pages: u64,
    /// Bytes behind the last whole page of a CPU: what a recorder that was killed left of a page.
    pub incomplete_bytes: u64,
}

impl std::ops::AddAssign for Written {
    fn add_assign(&mut self, other: Self) {
        self.pages += other.pages;
        self.incomplete_bytes += other.incomplete_bytes;
    }
}

impl<W: Write + Seek> Writer<W> {
    /// Begins a file; `name` stands for it in errors, and the header's version is not looked at.
    ///
    /// # Errors
    /// What `out` refused.
    pub fn new(mut out: W, name: &str, header: Header) -> Result<Self, Error> {
        let mut first = MAGIC.to_vec();
        first.extend_from_slice(b"7\0");
        first.push(u8::from(header.endian == Endian::Big));
        first.push(header.long_size);
        first.extend_from_slice(&header.endian.put_u32(header.page_size));
        for text in [header.compression.name(), header.compression.version()] {
            first.extend_from_slice(text.as_bytes());
            first.push(0);
        }
        let pointer = first.len() as u64;
        first.extend_from_slice(&[0; 8]);
        out.write_all(&first).map_err(|error| Error::io(name, error))?;
        let packer = Packer::new(header.compression);
        let at = first.len() as u64;
        Ok(Self {
            out,
            name: name.to_owned(),
            at,
            header,
            packer,
            pointer,
            options: Vec::new(),
            cpu_count: Some(0),
        })
    }

    fn io<T>(&self, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|error| Error::io(&self.name, error))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.out.write_all(bytes);
        self.io(written)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Writes over what stands at `offset`.
    fn patch(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let at = self.at;
        let mut patch = || {
            self.out.seek(SeekFrom::Start(offset))?;
            self.out.write_all(bytes)?;
            self.out.seek(SeekFrom::Start(at))
        };
        let patched = patch();
        self.io(patched)?;
        Ok(())
    }

    fn option(&mut self, number: u16, data: &[u8]) -> Result<(), Error> {
        let size = u32::try_from(data.len())
            .map_err(|_| Error::damaged(&self.name, self.at, format!("option {number} is too large")))?;
        let endian = self.header.endian;
        self.options.extend_from_slice(&endian.put_u16(number));
        self.options.extend_from_slice(&endian.put_u32(size));
        self.options.extend_from_slice(data);
        Ok(())
    }

    fn section_header(&self, number: u16, flags: u16, size: u64) -> Vec<u8> {
        let endian = self.header.endian;
        let mut bytes = endian.put_u16(number).to_vec();
        bytes.extend_from_slice(&endian.put_u16(flags));
        // No string describes it.
        bytes.extend_from_slice(&endian.put_u32(0));
        bytes.extend_from_slice(&endian.put_u64(size));
        bytes
    }

    /// A section of a table, and the option that points to it.
    fn section(&mut self, number: u16, option: u16, body: &[u8]) -> Result<(), Error> {
        let offset = self.at;
        let endian = self.header.endian;
        if self.header.compression == Compression::None {
            let header = self.section_header(number, 0, body.len() as u64);
            self.write(&header)?;
            self.write(body)?;
        } else {
            let mut packed = Vec::new();
            let done = self.packer.pack(body, &mut packed);
            self.io(done)?;
            let too_large = |_| Error::damaged(&self.name, offset, "a table of more than 4 GiB");
            let sizes = [
                u32::try_from(packed.len()).map_err(too_large)?,
                u32::try_from(body.len()).map_err(too_large)?,
            ];
            let mut header = self.section_header(number, COMPRESSED, packed.len() as u64 + 8);
            header.extend(sizes.into_iter().flat_map(|size| endian.put_u32(size)));
            self.write(&header)?;
            self.write(&packed)?;
        }
        self.option(option, &endian.put_u64(offset))
    }

    /// Writes formats, symbols and names.
    ///
    /// # Errors
    /// What the system refused, or a table that is too large for the format.
    pub fn tables(&mut self, tables: &Tables) -> Result<(), Error> {
        let bodies = Bodies { endian: self.header.endian, tables };
        self.section(section::HEADER_INFO, id::HEADER_INFO, &bodies.header_info())?;
        self.section(section::FTRACE_EVENTS, id::FTRACE_EVENTS, &bodies.ftrace_formats())?;
        self.section(section::EVENT_FORMATS, id::EVENT_FORMATS, &bodies.event_formats())?;
        self.section(section::KALLSYMS, id::KALLSYMS, &bodies.sized(&tables.kallsyms))?;
        self.section(section::PRINTK, id::PRINTK, &bodies.sized(&tables.printk_formats))?;
        self.section(section::CMDLINES, id::CMDLINES, &bodies.cmdlines())
    }

    /// Adds options. Those that say where something is are made by this writer and must not be among them.
    ///
    /// # Errors
    /// An option of 4 GiB or more.
    pub fn options(&mut self, options: &Options) -> Result<(), Error> {
        for option in &options.list {
            if option.id == id::CPUCOUNT {
                self.cpu_count = None;
            }
            self.option(option.id, &option.data)?;
        }
        Ok(())
    }

    /// Writes the pages of a buffer. `name` is empty for the top buffer; each CPU comes with its number and a
    /// reader of its pages, one after another as the ring buffer gave them.
    ///
    /// # Errors
    /// What the system refused to write or a reader to read.
    pub fn buffer<R: Read>(
        &mut self,
        name: &str,
        clock: &str,
        page_size: u32,
        cpus: impl IntoIterator<Item = (u32, R)>,
    ) -> Result<Written, Error> {
        let start = self.at;
        let flags = if self.header.compression == Compression::None { 0 } else { COMPRESSED };
        let header = self.section_header(section::BUFFER, flags, 0);
        self.write(&header)?;
        let mut written = Written::default();
        let mut table = Vec::new();
        for (cpu, mut pages) in cpus {
            self.cpu_count = self.cpu_count.map(|count| count.max(cpu.saturating_add(1)));
            self.align(page_size)?;
            let offset = self.at;
            let own = self.pages(&mut pages, page_size)?;
            written += own;
            // CPUs without data are not listed, and the size is that of the chunks without their count.
            if own.pages > 0 {
                let count = if flags & COMPRESSED == 0 { 0 } else { 4 };
                table.push((cpu, offset, self.at - offset - count));
            }
        }
        let endian = self.header.endian;
        self.patch(start + 8, &endian.put_u64(self.at - start - header.len() as u64))?;
        let mut data = endian.put_u64(start).to_vec();
        for text in [name, clock] {
            data.extend_from_slice(text.as_bytes());
            data.push(0);
        }
        data.extend_from_slice(&endian.put_u32(page_size));
        data.extend_from_slice(&endian.put_u32(table.len() as u32));
        for (cpu, offset, size) in table {
            data.extend_from_slice(&endian.put_u32(cpu));
            data.extend_from_slice(&endian.put_u64(offset));
            data.extend_from_slice(&endian.put_u64(size));
        }
        self.option(id::BUFFER, &data)?;
        Ok(written)
    }

    fn align(&mut self, page_size: u32) -> Result<(), Error> {
        let missing = self.at.next_multiple_of(page_size.max(1).into()) - self.at;
        self.write(&vec![0; missing as usize])
    }

    /// One CPU's pages, chunk by chunk.
    fn pages(&mut self, pages: &mut impl Read, page_size: u32) -> Result<Written, Error> {
        let page = page_size as usize;
        let mut chunk = vec![0; (CHUNK / page).max(1) * page];
        let mut packed = Vec::new();
        let (start, mut count) = (self.at, 0_u32);
        let endian = self.header.endian;
        let compressed = self.header.compression != Compression::None;
        let mut written = Written::default();
        loop {
            let filled = fill(pages, &mut chunk);
            let filled = self.io(filled)?;
            let whole = filled - filled % page;
            if whole > 0 && !compressed {
                self.write(&chunk[..whole])?;
            } else if whole > 0 {
                if count == 0 {
                    self.write(&[0; 4])?;
                }
                let done = self.packer.pack(&chunk[..whole], &mut packed);
                self.io(done)?;
                let mut sizes = endian.put_u32(packed.len() as u32).to_vec();
                sizes.extend_from_slice(&endian.put_u32(whole as u32));
                self.write(&sizes)?;
                self.write(&packed)?;
                count += 1;
            }
            written.pages += (whole / page) as u64;
            if filled < chunk.len() {
                written.incomplete_bytes = (filled - whole) as u64;
                break;
            }
        }
        if count > 0 {
            self.patch(start, &endian.put_u32(count))?;
        }
        Ok(written)
    }

    /// Writes the options and says in the header where they are.
    ///
    /// # Errors
    /// What the system refused.
    pub fn finish(mut self) -> Result<W, Error> {
        let endian = self.header.endian;
        if let Some(count) = self.cpu_count {
            self.option(id::CPUCOUNT, &endian.put_u32(count))?;
        }
        self.option(id::DONE, &endian.put_u64(0))?;
        let offset = self.at;
        let options = std::mem::take(&mut self.options);
        let header = self.section_header(section::OPTIONS, 0, options.len() as u64);
        self.write(&header)?;
        self.write(&options)?;
        self.patch(self.pointer, &endian.put_u64(offset))?;
        let flushed = self.out.flush();
        self.io(flushed)?;
        Ok(self.out)
    }
}

/// Reads until `into` is full or nothing comes any more.
fn fill(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The bodies that both versions share.
pub(crate) struct Bodies<'a> {
    pub(crate) endian: Endian,
    pub(crate) tables: &'a Tables,
}

impl Bodies<'_> {
    pub(crate) fn header_info(&self) -> Vec<u8> {
        let mut body = b"header_page\0".to_vec();
        self.long_sized(&mut body, &self.tables.header_page);
        body.extend_from_slice(b"header_event\0");
        self.long_sized(&mut body, &self.tables.header_event);
        body
    }

    pub(crate) fn ftrace_formats(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.formats(&mut body, &self.tables.ftrace_formats);
        body
    }

    pub(crate) fn event_formats(&self) -> Vec<u8> {
        let mut body = self.endian.put_u32(self.tables.systems.len() as u32).to_vec();
        for system in &self.tables.systems {
            body.extend_from_slice(system.name.as_bytes());
            body.push(0);
            self.formats(&mut body, &system.formats);
        }
        body
    }

    pub(crate) fn sized(&self, table: &[u8]) -> Vec<u8> {
        let mut body = self.endian.put_u32(table.len() as u32).to_vec();
        body.extend_from_slice(table);
        body
    }

    pub(crate) fn cmdlines(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.long_sized(&mut body, &self.tables.cmdlines);
        body
    }

    fn long_sized(&self, body: &mut Vec<u8>, table: &[u8]) {
        body.extend_from_slice(&self.endian.put_u64(table.len() as u64));
        body.extend_from_slice(table);
    }

    fn formats(&self, body: &mut Vec<u8>, formats: &[Vec<u8>]) {
        body.extend_from_slice(&self.endian.put_u32(formats.len() as u32));
        for format in formats {
            self.long_sized(body, format);
        }
    }
}
