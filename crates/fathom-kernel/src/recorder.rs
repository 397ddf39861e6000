//! The recorder: one thread that waits until a buffer is half full, and takes the pages of all CPUs.

use crate::spared::Spared;
use crate::{Error, tables};
use fathom_tracedat::{Compression, Machine, Options, Spool, SpoolBuffer, Tables, id};
use fathom_tracefs::{CpuStats, Journals, Pipes, Session, Settings, Tracefs};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A recording that is being made.
#[derive(Debug)]
pub struct Recorder {
    // Before the session: the tracer cannot be taken away while pipes are open.
    pipes: Option<Pipes>,
    session: Session,
    tables: Tables,
    file: Option<ToFile>,
    bytes: u64,
    _spared: Spared,
}

/// Where pages are gathered until the file is made of them.
struct ToFile {
    path: PathBuf,
    spool: Spool,
    buffer: SpoolBuffer,
    cpus: BTreeMap<u32, File>,
    options: Options,
}

impl std::fmt::Debug for ToFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ToFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Summary {
    /// Bytes of pages that were taken.
    pub bytes: u64,
    /// What the kernel counted, for each CPU.
    pub stats: Vec<CpuStats>,
    /// The text of each histogram, with the event it belongs to.
    pub histograms: Vec<(String, String)>,
    /// The text of the snapshot, if one was taken.
    pub snapshot: Option<String>,
    /// What could not be put back.
    pub problems: Vec<fathom_tracefs::Error>,
}

impl Summary {
    /// Events that were lost, on all CPUs.
    pub fn lost(&self) -> u64 {
        self.stats.iter().map(CpuStats::lost).sum()
    }
}

impl Recorder {
    /// Sets the kernel up. With a path, a `trace.dat` is made; beside it is a directory `PATH.spool` until the end.
    ///
    /// # Errors
    ///
    /// As of [`Session::begin`], or if the file cannot be made.
    pub fn begin(
        tracefs: &Tracefs,
        settings: &Settings,
        journals: &Journals,
        file: Option<&Path>,
    ) -> Result<Recorder, Error> {
        let spared = Spared::begin();
        let session = Session::begin(tracefs, settings, journals)?;
        let tables = tables::of_plan(tracefs, session.plan())?;
        let pipes = session.pipes()?;
        let file = file.map(|path| ToFile::begin(path, &session, &pipes, &tables)).transpose()?;
        Ok(Recorder { pipes: Some(pipes), session, tables, file, bytes: 0, _spared: spared })
    }

    /// What was set up.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Formats and more of what is recorded. Symbols are only read at the end.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Tracing on.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn start(&self) -> Result<(), Error> {
        Ok(self.session.start()?)
    }

    /// Waits until a buffer is as full as it should be, one of `others` can be read, or the time is over.
    ///
    /// # Errors
    ///
    /// Of waiting.
    pub fn wait(&self, time: Duration, others: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let waited = self.pipes.as_ref().map_or(Ok(()), |pipes| pipes.wait_with(time, others));
        waited.map_err(|source| Error::Io { doing: "waiting for the kernel's buffers".into(), source })
    }

    /// Takes what there is, for the file only. Under load full pages are moved there, which is the least work; when there
    /// are none, what has been begun is copied, so that a recorder that is killed has it. Returns how many bytes there were.
    ///
    /// # Errors
    ///
    /// Of reading and writing.
    pub fn save(&mut self) -> Result<u64, Error> {
        if let (Some(pipes), Some(file)) = (&mut self.pipes, &self.file)
            && let Some(moved) = pipes.move_pages(|cpu| file.of(cpu))?
            && moved > 0
        {
            self.bytes += moved;
            return Ok(moved);
        }
        self.drain(|_, _| Ok(()))
    }

    /// Takes what there is, for the file and for `see`, which gets whole pages with the number of their CPU. Returns how
    /// many bytes there were.
    ///
    /// # Errors
    ///
    /// Of reading and writing, and those of `see`.
    pub fn drain(&mut self, mut see: impl FnMut(u32, &[u8]) -> Result<(), Error>) -> Result<u64, Error> {
        let Some(pipes) = &mut self.pipes else { return Ok(0) };
        let file = &self.file;
        let got = pipes.drain(usize::MAX, |cpu, pages| {
            if let Some(file) = file {
                file.pages(cpu, pages)?;
            }
            see(cpu, pages)
        })?;
        self.bytes += got;
        Ok(got)
    }

    /// Ends it: stops tracing, takes the rest, puts everything back, and makes the file.
    ///
    /// # Errors
    ///
    /// Of reading and writing. Everything is put back nevertheless.
    pub fn end(mut self, see: impl FnMut(u32, &[u8]) -> Result<(), Error>) -> Result<Summary, Error> {
        let stopped = self.session.stop();
        let drained = self.drain(see);
        let mut summary = Summary {
            bytes: self.bytes,
            stats: self.session.stats().unwrap_or_default(),
            ..Summary::default()
        };
        self.read_results(&mut summary);
        let tracefs = self.session.tracefs().clone();
        self.tables.cmdlines = tracefs.read_bytes("saved_cmdlines").unwrap_or_default();
        let file = self.file.take();
        let symbols = file.is_some().then(|| tables::symbols(&tracefs));
        // In this order: pipes that are open keep the tracer.
        drop(self.pipes.take());
        summary.problems = self.session.finish();
        stopped?;
        drained?;
        if let Some(file) = file {
            self.tables.kallsyms = symbols.unwrap_or_default();
            file.end(&self.tables, &summary.stats)?;
        }
        Ok(summary)
    }

    fn read_results(&self, summary: &mut Summary) {
        let plan = self.session.plan();
        for file in &plan.histograms {
            if let Ok(text) = self.session.tracefs().read(file) {
                let event = file.split("events/").nth(1).unwrap_or(file).trim_end_matches("/hist");
                summary.histograms.push((event.replacen('/', ":", 1), text));
            }
        }
        if plan.snapshots {
            summary.snapshot = self.session.read("snapshot").ok();
        }
    }
}

impl ToFile {
    fn begin(path: &Path, session: &Session, pipes: &Pipes, tables: &Tables) -> Result<ToFile, Error> {
        let tracefs = session.tracefs();
        let cpu_count = pipes.cpus().max().map_or(1, |last| last + 1);
        let options = tables::options(tracefs, session.plan(), cpu_count);
        let page_size = u32::try_from(pipes.subbuffer_size()).unwrap_or(4096);
        let machine = Machine {
            endian: tables::endian(),
            long_size: size_of::<usize>() as u8,
            page_size: u32::try_from(rustix::param::page_size()).unwrap_or(4096),
            cpu_count,
        };
        let dir = path.with_added_extension("spool");
        if dir.exists() {
            let (dir, path) = (dir.display(), path.display());
            let doing = format!(
                "making {path}: {dir} was left by a recorder that was killed; `fathom kernel report {dir}` reads it, and without it there is room for a new one"
            );
            return Err(Error::Io { doing, source: std::io::ErrorKind::AlreadyExists.into() });
        }
        let mut spool = Spool::create(&dir, machine, tables, &options)?;
        // The bracketed word is the clock.
        let clocks = session.read("trace_clock").unwrap_or_default();
        let clock =
            clocks.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("local", |(it, _)| it);
        let buffer = spool.buffer("", clock, page_size)?;
        let mut cpus = BTreeMap::new();
        for cpu in pipes.cpus() {
            cpus.insert(cpu, buffer.cpu(cpu)?);
        }
        Ok(ToFile { path: path.to_owned(), spool, buffer, cpus, options })
    }

    /// The file of a CPU's pages. Those of all pipes were opened at the beginning.
    fn of(&self, cpu: u32) -> Result<&File, Error> {
        self.cpus.get(&cpu).ok_or_else(|| {
            let doing = format!("opening {}", self.buffer.cpu_path(cpu).display());
            Error::Io { doing, source: std::io::ErrorKind::NotFound.into() }
        })
    }

    fn pages(&self, cpu: u32, pages: &[u8]) -> Result<(), Error> {
        self.of(cpu)?.write_all(pages).map_err(|source| {
            let doing = format!("writing {}", self.buffer.cpu_path(cpu).display());
            Error::Io { doing, source }
        })
    }

    fn end(mut self, tables: &Tables, stats: &[CpuStats]) -> Result<(), Error> {
        for cpu in stats {
            self.options.push_text(id::CPUSTAT, &cpu.text());
        }
        self.spool.finish(tables, &self.options, &self.path, Compression::Zstd)?;
        Ok(())
    }
}
