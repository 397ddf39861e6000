//! The directory a recorder writes into before there is a `trace.dat`.
//!
//! ```text
//! SPOOL/head            what a version 6 file has up to its options: header pages, formats, symbols, names
//! SPOOL/cmdlines        a later saved_cmdlines, where there is one
//! SPOOL/buffer0/about   "name NAME", "clock CLOCK", "page_size BYTES", a line each
//! SPOOL/buffer0/cpu0    the pages of CPU 0 as they were read, one after another
//! SPOOL/buffer1/...     the next buffer
//! ```
//!
//! Pages are appended; every other file is written beside its place and renamed, so that a recorder that is
//! killed at any moment leaves a directory that [`recover`] and [`open`](crate::open) can read: at most the
//! page that was being written is lost.

use crate::compress::Compression;
use crate::error::Error;
use crate::header::{Endian, Header, MAGIC, Version};
use crate::options::{Options, RawOption, id};
use crate::recording::{Buffer, CpuData, Recording, Tables};
use crate::source::{FileSource, Reader, Source};
use crate::tables;
use crate::writer::{Bodies, Writer, Written};
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const HEAD: &str = "head";
const CMDLINES: &str = "cmdlines";
const ABOUT: &str = "about";

/// What a recorder knows of the machine before the first page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// The byte order of the pages.
    pub endian: Endian,
    /// Bytes of a `long` of user space.
    pub long_size: u8,
    /// Bytes of a memory page.
    pub page_size: u32,
    /// The number of CPUs.
    pub cpu_count: u32,
}

/// The directory of a recording that goes on.
pub struct Spool {
    dir: PathBuf,
    machine: Machine,
    buffers: usize,
}

/// The directory of one buffer's pages.
pub struct SpoolBuffer {
    dir: PathBuf,
}

impl SpoolBuffer {
    /// The file that takes a CPU's pages, made if it is not there; whole pages are to be written to it, at the end, where it
    /// stands. It is not open for appending, for then the kernel moves no pages into it (splice).
    ///
    /// # Errors
    /// What the system refused.
    pub fn cpu(&self, cpu: u32) -> Result<File, Error> {
        let path = self.cpu_path(cpu);
        let opened = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
        let at_end = opened.and_then(|mut file| file.seek(SeekFrom::End(0)).map(|_| file));
        at_end.map_err(|error| io_error(&path, error))
    }

    /// The path of that file.
    #[must_use]
    pub fn cpu_path(&self, cpu: u32) -> PathBuf {
        self.dir.join(format!("cpu{cpu}"))
    }
}

impl Spool {
    /// Makes the directory, which must not exist, and its head.
    ///
    /// # Errors
    /// What the system refused.
    pub fn create(dir: &Path, machine: Machine, tables: &Tables, options: &Options) -> Result<Self, Error> {
        fs::create_dir(dir).map_err(|error| io_error(dir, error))?;
        let spool = Self { dir: dir.to_owned(), machine, buffers: 0 };
        spool.update(tables, options)?;
        Ok(spool)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Replaces the head: formats that came later, the counts at the end.
    ///
    /// # Errors
    /// What the system refused.
    pub fn update(&self, tables: &Tables, options: &Options) -> Result<(), Error> {
        replace(&self.dir, HEAD, &head(self.machine, tables, options))?;
        // The names in the new head are the latest ones.
        let old = self.dir.join(CMDLINES);
        match fs::remove_file(&old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error(&old, error)),
            _ => Ok(()),
        }
    }

    /// Keeps a later `saved_cmdlines`, so that tasks have names even if the recorder is killed.
    ///
    /// # Errors
    /// What the system refused.
    pub fn update_cmdlines(&self, cmdlines: &[u8]) -> Result<(), Error> {
        replace(&self.dir, CMDLINES, cmdlines)
    }

    /// Adds a buffer. The name is empty for the one that shall be the file's top buffer.
    ///
    /// # Errors
    /// What the system refused.
    pub fn buffer(&mut self, name: &str, clock: &str, page_size: u32) -> Result<SpoolBuffer, Error> {
        let dir = self.dir.join(format!("buffer{}", self.buffers));
        fs::create_dir(&dir).map_err(|error| io_error(&dir, error))?;
        self.buffers += 1;
        replace(&dir, ABOUT, format!("name {name}\nclock {clock}\npage_size {page_size}\n").as_bytes())?;
        Ok(SpoolBuffer { dir })
    }

    /// Makes the `trace.dat`, with these tables and options, and removes the directory.
    ///
    /// # Errors
    /// What the system refused; the directory is still there then, with the tables and options.
    pub fn finish(
        self,
        tables: &Tables,
        options: &Options,
        out: &Path,
        compression: Compression,
    ) -> Result<Written, Error> {
        let Machine { endian, long_size, page_size, cpu_count } = self.machine;
        let header = Header { version: Version::V7, endian, long_size, page_size, compression };
        let buffers = open_buffers(&self.dir)?;
        let written = write(out, header, tables, options, cpu_count, &buffers).inspect_err(|_| {
            // For whoever has to recover it.
            let _ = self.update(tables, options);
        })?;
        fs::remove_dir_all(&self.dir).map_err(|error| io_error(&self.dir, error))?;
        Ok(written)
    }
}

/// Makes a `trace.dat` of a spool directory, which stays as it is.
///
/// # Errors
/// What the system refused, or what is wrong with the directory's files.
pub fn recover(dir: &Path, out: &Path, compression: Compression) -> Result<Written, Error> {
    let Recording { header, tables, options, cpu_count, buffers, .. } = open(dir)?;
    let header = Header { version: Version::V7, compression, ..header };
    write(out, header, &tables, &options, cpu_count, &buffers)
}

/// Writes a `trace.dat` beside its place and renames it.
fn write(
    out: &Path,
    header: Header,
    tables: &Tables,
    options: &Options,
    cpu_count: u32,
    buffers: &[Buffer],
) -> Result<Written, Error> {
    let part = out.with_added_extension("part");
    let name = out.display().to_string();
    let file = File::create(&part).map_err(|error| io_error(&part, error))?;
    let endian = header.endian;
    let mut writer = Writer::new(BufWriter::with_capacity(1 << 20, file), &name, header)?;
    writer.tables(tables)?;
    if options.find(id::CPUCOUNT).is_none() {
        let mut counted = options.clone();
        counted.push(id::CPUCOUNT, endian.put_u32(cpu_count));
        writer.options(&counted)?;
    } else {
        writer.options(options)?;
    }
    let mut written = Written::default();
    for buffer in buffers {
        let cpus = buffer.cpus.iter().map(|cpu| (cpu.cpu, SourceReader { cpu, at: 0 }));
        written += writer.buffer(&buffer.name, &buffer.clock, buffer.page_size, cpus)?;
    }
    writer.finish()?;
    fs::rename(&part, out).map_err(|error| io_error(out, error))?;
    Ok(written)
}

/// Opens a spool directory as a recording.
pub(crate) fn open(dir: &Path) -> Result<Recording, Error> {
    let mut recording = read_head(dir)?;
    let later = dir.join(CMDLINES);
    match fs::read(&later) {
        Ok(cmdlines) => recording.tables.cmdlines = cmdlines,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(&later, error)),
    }
    recording.buffers = open_buffers(dir)?;
    Ok(recording)
}

/// Opens the buffers of a spool directory, the top one first.
fn open_buffers(dir: &Path) -> Result<Vec<Buffer>, Error> {
    let dirs = (0..).map(|index| dir.join(format!("buffer{index}"))).take_while(|path| path.is_dir());
    let mut buffers = dirs.map(|path| open_buffer(&path)).collect::<Result<Vec<_>, _>>()?;
    buffers.sort_by_key(|buffer| !buffer.name.is_empty());
    Ok(buffers)
}

fn read_head(dir: &Path) -> Result<Recording, Error> {
    let path = dir.join(HEAD);
    let name = path.display().to_string();
    let file = File::open(&path).map_err(|error| io_error(&path, error))?;
    let source = FileSource::new(file).map_err(|error| io_error(&path, error))?;
    let mut reader = Reader::new(&source, &name, Endian::Little, 0, u64::MAX);
    let (header, _) = Header::read(&mut reader, &name)?;
    let mut all = Tables::default();
    tables::header_info(&mut reader, &mut all)?;
    tables::ftrace_formats(&mut reader, &mut all)?;
    tables::event_formats(&mut reader, &mut all)?;
    tables::kallsyms(&mut reader, &mut all)?;
    tables::printk(&mut reader, &mut all)?;
    tables::cmdlines(&mut reader, &mut all)?;
    let cpu_count = reader.u32()?;
    let mut options = Options::default();
    while reader.remaining() > 0 {
        let (id, size) = (reader.u16()?, reader.u32()?);
        options.list.push(RawOption { id, data: reader.bytes(size.into(), &format!("option {id}"))? });
    }
    Ok(Recording {
        name: dir.display().to_string().into(),
        header,
        tables: all,
        options,
        cpu_count,
        buffers: Vec::new(),
        texts: Vec::new(),
        notes: Vec::new(),
    })
}

fn open_buffer(dir: &Path) -> Result<Buffer, Error> {
    let about = dir.join(ABOUT);
    let text = fs::read_to_string(&about).map_err(|error| io_error(&about, error))?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    let page_size = value("page_size").and_then(|size| size.parse().ok());
    let page_size = page_size.filter(|size| (64..=crate::header::MAX_PAGE).contains(size));
    let page_size =
        page_size.ok_or_else(|| Error::damaged(about.display().to_string(), 0, "no page_size"))?;
    let mut cpus = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| io_error(dir, error))? {
        let entry = entry.map_err(|error| io_error(dir, error))?;
        let name = entry.file_name();
        let Some(cpu) = name.to_str().and_then(|name| name.strip_prefix("cpu")?.parse().ok()) else {
            continue;
        };
        let path = entry.path();
        let file = File::open(&path).map_err(|error| io_error(&path, error))?;
        let source = FileSource::new(file).map_err(|error| io_error(&path, error))?;
        let name = path.display().to_string().into();
        let size = source.len();
        cpus.push(CpuData { cpu, offset: 0, size, compressed: false, source: Arc::new(source), name });
    }
    cpus.sort_by_key(|cpu| cpu.cpu);
    Ok(Buffer {
        name: value("name").unwrap_or_default().to_owned(),
        clock: value("clock").unwrap_or_default().to_owned(),
        page_size,
        cpus,
    })
}

fn head(machine: Machine, tables: &Tables, options: &Options) -> Vec<u8> {
    let Machine { endian, long_size, page_size, cpu_count } = machine;
    let bodies = Bodies { endian, tables };
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(b"6\0");
    head.push(u8::from(endian == Endian::Big));
    head.push(long_size);
    head.extend_from_slice(&endian.put_u32(page_size));
    for body in [
        bodies.header_info(),
        bodies.ftrace_formats(),
        bodies.event_formats(),
        bodies.sized(&tables.kallsyms),
        bodies.sized(&tables.printk_formats),
        bodies.cmdlines(),
    ] {
        head.extend_from_slice(&body);
    }
    head.extend_from_slice(&endian.put_u32(cpu_count));
    for option in options.list.iter().filter(|option| option.id != id::DONE) {
        head.extend_from_slice(&endian.put_u16(option.id));
        head.extend_from_slice(&endian.put_u32(option.data.len() as u32));
        head.extend_from_slice(&option.data);
    }
    head
}

/// Writes a file beside its place and renames it.
fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let (path, new) = (dir.join(name), dir.join(format!("{name}.new")));
    fs::write(&new, bytes).map_err(|error| io_error(&new, error))?;
    fs::rename(&new, &path).map_err(|error| io_error(&path, error))
}

fn io_error(path: &Path, error: std::io::Error) -> Error {
    Error::io(path.display().to_string(), error)
}

/// The bytes of a CPU's file from its start.
struct SourceReader<'a> {
    cpu: &'a CpuData,
    at: u64,
}

impl std::io::Read for SourceReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.cpu.source.read_at(self.at, into)?;
        self.at += count as u64;
        Ok(count)
    }
}
