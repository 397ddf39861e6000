//! A recording that was opened: its tables in memory, its pages on disk.

use crate::error::Error;
use crate::header::{Endian, Header, Version};
use crate::options::Options;
use crate::pages::Pages;
use crate::source::{FileSource, Reader, Source};
use crate::{spool, v6, v7};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Format files of one system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The directory's name under `events`.
    pub name: String,
    /// The text of each event's `format` file.
    pub formats: Vec<Vec<u8>>,
}

/// What the recording's machine says of itself and of its events, as its files had it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// `events/header_page`.
    pub header_page: Vec<u8>,
    /// `events/header_event`.
    pub header_event: Vec<u8>,
    /// `events/ftrace/*/format`.
    pub ftrace_formats: Vec<Vec<u8>>,
    /// `events/SYSTEM/EVENT/format` of all other systems.
    pub systems: Vec<System>,
    /// `/proc/kallsyms`, or what is needed of it.
    pub kallsyms: Vec<u8>,
    /// `printk_formats`.
    pub printk_formats: Vec<u8>,
    /// `saved_cmdlines`.
    pub cmdlines: Vec<u8>,
}

/// The recorded pages of a CPU.
#[derive(Clone)]
pub struct CpuData {
    /// The CPU's number.
    pub cpu: u32,
    /// Where its data begins, from the start of the file.
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
    pub(crate) compressed: bool,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) name: Arc<str>,
}

/// A ring buffer that was recorded: the top one or an instance's.
#[derive(Clone)]
pub struct Buffer {
    /// The instance's name; empty for the top buffer.
    pub name: String,
    /// The clock of its time stamps; empty where the file doesn't say (version 6).
    pub clock: String,
    /// Bytes of a page.
    pub page_size: u32,
    /// Its CPUs, in the order of the file.
    pub cpus: Vec<CpuData>,
}

/// A buffer that was recorded as text (`trace-cmd extract` of a latency tracer).
#[derive(Clone)]
pub struct TextBuffer {
    /// The instance's name; empty for the top buffer.
    pub name: String,
    /// The text, as bytes to be copied.
    pub text: Vec<u8>,
}

/// A recording of the kernel.
#[derive(Clone)]
pub struct Recording {
    /// The file's name as it was given, for messages.
    pub name: Arc<str>,
    /// Version, byte order, sizes.
    pub header: Header,
    /// Formats, symbols, names.
    pub tables: Tables,
    /// The options.
    pub options: Options,
    /// The number of CPUs as the file has it.
    pub cpu_count: u32,
    /// The buffers. The top one comes first where there is one.
    pub buffers: Vec<Buffer>,
    /// Buffers that were recorded as text.
    pub texts: Vec<TextBuffer>,
    /// Sections and options that no reader needs or that this one does not know, in words.
    pub notes: Vec<String>,
}

impl Recording {
    /// The pages of one CPU of a buffer, from the first on.
    #[must_use]
    pub fn pages(&self, buffer: &Buffer, cpu: &CpuData) -> Pages {
        Pages::new(cpu, buffer.page_size, self.header.compression, self.header.endian)
    }

    /// Bytes of a `long` of the recorded kernel, from the size of `commit` in `header_page`.
    #[must_use]
    pub fn kernel_long_size(&self) -> u8 {
        let text = String::from_utf8_lossy(&self.tables.header_page);
        let commit = text.lines().find(|line| line.contains(" commit;"));
        let size = commit.and_then(|line| line.split_once("size:")?.1.split(';').next()?.trim().parse().ok());
        size.filter(|size| matches!(size, 4 | 8)).unwrap_or(self.header.long_size)
    }

    /// The byte order of the recording.
    #[must_use]
    pub fn endian(&self) -> Endian {
        self.header.endian
    }
}

/// Opens a recording: a `trace.dat` of version 6 or 7, or the directory of a recorder that did not finish.
///
/// # Errors
/// What the system refused, and what is wrong with the file at which offset.
pub fn open(path: &Path) -> Result<Recording, Error> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| Error::io(&name, error))?;
    let metadata = file.metadata().map_err(|error| Error::io(&name, error))?;
    if metadata.is_dir() {
        return spool::open(path);
    }
    let source = FileSource::new(file).map_err(|error| Error::io(&name, error))?;
    open_source(&(Arc::new(source) as Arc<dyn Source>), &name)
}

/// Opens a recording from bytes that are not a file; `name` stands for it in messages.
///
/// # Errors
/// As [`open`].
pub fn open_source(source: &Arc<dyn Source>, name: &str) -> Result<Recording, Error> {
    let mut reader = Reader::new(&**source, name, Endian::Little, 0, u64::MAX);
    let (header, options) = Header::read(&mut reader, name)?;
    let start = reader.position();
    let mut recording = Recording {
        name: name.into(),
        header,
        tables: Tables::default(),
        options: Options::default(),
        cpu_count: 0,
        buffers: Vec::new(),
        texts: Vec::new(),
        notes: Vec::new(),
    };
    match recording.header.version {
        Version::V6 => v6::read(source, start, &mut recording)?,
        Version::V7 => v7::read(source, options, &mut recording)?,
    }
    Ok(recording)
}
