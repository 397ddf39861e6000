//! The kernel's side of a recording: functions and events of the program's tasks, by the kernel's own tracer.
//!
//! Everything that is changed in tracefs is changed by a [`Session`], which puts it back on every way out. The tracer is
//! told to follow the thread that starts the program, before it does so: what that thread starts, and all that comes of
//! it, is followed from its first instruction on.

use crate::clock::TraceClock;
use crate::kernel_names::{self, Chosen};
use crate::{Error, Options, host};
use fathom_store::kernel::{Kernel, KernelHeader, PageFiles, Subject};
use fathom_store::writer::DirectoryWriter;
use fathom_tracefs::{Journals, Names, Pipes, Session, Settings, Task, Tracefs, session};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What is recorded of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelOptions {
    /// Levels of calls in the kernel; without it no functions are recorded.
    pub depth: Option<u32>,
    /// Bytes of the kernel's buffer of each CPU.
    pub buffer: Option<u64>,
    /// Also functions that are left out as noise otherwise.
    pub full: bool,
}

/// Files of the trace: how its pages are read, and the symbols of the kernel.
const HEADER: &str = "kernel_header";
const SYMBOLS: &str = "kallsyms";
/// Texts in the kernel that records have only the address of.
const TEXTS: &str = "printk_formats";

/// KiB of the buffer of a CPU for each level of calls, up to [`MOST_LEVELS`].
const LEVEL_KB: u64 = 1408;
const MOST_LEVELS: u64 = 4;

/// How long the reader of the pipes waits for a buffer to fill.
const PATIENCE: Duration = Duration::from_millis(100);
/// Sub-buffers that are taken of one CPU before the others have their turn.
const TURN: usize = 256;

/// What the kernel is to be asked for, once it is known which task to follow.
pub(crate) struct Prepared {
    tracefs: Tracefs,
    settings: Settings,
    /// Files of tracefs that readers of the pages need.
    formats: Vec<String>,
    notes: Vec<String>,
}

/// The kernel's tracer at work for us.
pub(crate) struct Running {
    // Pipes keep the tracer from being changed, so they go first.
    pipes: Pipes,
    session: Session,
    formats: Vec<String>,
    notes: Vec<String>,
}

/// How it ended.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    /// Records that found no room.
    pub(crate) lost: u64,
    pub(crate) notes: Vec<String>,
}

/// Whether anything is to be recorded of the kernel.
pub(crate) fn is_wanted(options: &Options) -> bool {
    options.kernel.depth.is_some() || options.selection.events.has_kernel()
}

impl Prepared {
    /// Finds out what this kernel has of what is wanted.
    ///
    /// # Errors
    ///
    /// Why there is nothing to be had, in words.
    pub(crate) fn new(options: &Options) -> Result<Prepared, String> {
        let clock = match options.clock {
            TraceClock::Monotonic => "mono",
            TraceClock::MonotonicRaw => "mono_raw",
            TraceClock::Boot => "boot",
            TraceClock::Realtime => {
                return Err("its tracer has no realtime clock; leave --clock=realtime out".to_owned());
            }
        };
        let found = Tracefs::find().map_err(|absent| absent.to_string())?;
        let tracefs = found.tracefs;
        let mut notes = Vec::new();
        if found.mounted {
            notes.push(format!("tracefs was mounted on {} and stays so", tracefs.root().display()));
        }
        let names = Names::new(&tracefs);
        let events = kernel_names::events(options.selection.events.kernel(), &names, &mut notes);
        let depth = options.kernel.depth;
        let mut settings = Settings {
            events,
            follow: true,
            clock: Some(clock.to_owned()),
            buffer_kb: Some(buffer_kb(&options.kernel)),
            ..Settings::default()
        };
        if let Some(depth) = depth {
            let chosen = Chosen::new(options, &names, &mut notes)?;
            settings.tracer = Some("function_graph".to_owned());
            settings.max_depth = Some(depth);
            settings.functions = chosen.functions;
            settings.not_functions = chosen.not_functions;
            settings.graph_functions = chosen.graph;
            settings.not_graph_functions = chosen.not_graph;
        }
        if settings.tracer.is_none() && settings.events.is_empty() {
            notes.push("no event of it is left to be recorded".to_owned());
            return Err(notes.join("; "));
        }
        let formats = formats(&settings);
        Ok(Prepared { tracefs, settings, formats, notes })
    }

    /// Writes what readers of the pages need, before there are any: reading the kernel's symbols takes its time. The pages
    /// can be read then even if the rest is never written.
    pub(crate) fn write_files(&self, writer: &DirectoryWriter) -> Result<(), Error> {
        let endian = if cfg!(target_endian = "big") { "BE" } else { "LE" };
        let mut text = format!(
            "PAGE_SIZE: {}\nLONG_SIZE: {}\nENDIAN: {endian}\n",
            rustix::param::page_size(),
            size_of::<usize>()
        );
        for name in &self.formats {
            if let Ok(format) = self.tracefs.read(name) {
                text.push_str(&format!("TRACEFS: {name}: {}\n{format}", format.len()));
            }
        }
        writer.file(HEADER, text.as_bytes())?;
        writer.file(SYMBOLS, &host::read(Path::new("/proc/kallsyms"))?)?;
        match self.tracefs.read_bytes(TEXTS) {
            Ok(texts) if !texts.is_empty() => writer.file(TEXTS, &texts)?,
            // Without them their addresses are shown.
            _ => {}
        }
        Ok(())
    }

    /// Sets the kernel up to follow a task, and starts.
    ///
    /// # Errors
    ///
    /// Why it cannot be done, in words. Everything is as it was then.
    pub(crate) fn begin(mut self, task: i32) -> Result<Running, String> {
        self.settings.tasks = vec![Task::Id(task.unsigned_abs())];
        let journals = Journals::default();
        self.take_up_what_is_left(&journals);
        let session = match Session::begin(&self.tracefs, &self.settings, &journals) {
            Ok(session) => session,
            Err(error) if self.settings.tracer.is_some() && !self.settings.events.is_empty() => {
                self.notes.push(format!("functions of the kernel are not recorded: {}", chain(&error)));
                self.settings = Settings {
                    events: self.settings.events,
                    tasks: self.settings.tasks,
                    follow: true,
                    clock: self.settings.clock,
                    buffer_kb: self.settings.buffer_kb,
                    ..Settings::default()
                };
                Session::begin(&self.tracefs, &self.settings, &journals).map_err(|error| chain(&error))?
            }
            Err(error) => return Err(chain(&error)),
        };
        let pipes = session.pipes().map_err(|error| chain(&error))?;
        session.start().map_err(|error| chain(&error))?;
        Ok(Running { pipes, session, formats: self.formats, notes: self.notes })
    }

    /// Puts back what recorders that were killed have changed.
    fn take_up_what_is_left(&mut self, journals: &Journals) {
        match session::recover(journals, |left| Tracefs::at(&left.root)) {
            Ok(all) => {
                for one in all {
                    let mut note = format!("put back what process {} had changed in tracefs", one.pid);
                    for problem in one.problems {
                        note.push_str(&format!("; {}", chain(&problem)));
                    }
                    self.notes.push(note);
                }
            }
            Err(error) => self.notes.push(chain(&error)),
        }
    }
}

impl Running {
    /// Moves pages from the pipes to the trace until `done` is set.
    pub(crate) fn read(&mut self, writer: &DirectoryWriter, done: &AtomicBool) -> Result<(), Error> {
        // Files are there even if nothing happens on a CPU.
        self.pipes.cpus().try_for_each(|cpu| writer.append_kernel(cpu, &[]))?;
        while !done.load(Ordering::Relaxed) {
            self.pipes.wait(PATIENCE).map_err(|e| Error::io("read", "the kernel's buffers", e))?;
            self.drain(writer, TURN)?;
        }
        Ok(())
    }

    fn drain(&mut self, writer: &DirectoryWriter, most: usize) -> Result<u64, Error> {
        self.pipes
            .drain(most, |cpu, pages| writer.append_kernel(cpu, pages).map_err(Moving::Writing))
            .map_err(|error| match error {
                Moving::Writing(error) => Error::from(error),
                Moving::Reading(error) => {
                    Error::io("read", "the kernel's buffers", std::io::Error::other(chain(&error)))
                }
            })
    }

    /// Stops the tracer, takes what is left, and puts everything back.
    pub(crate) fn finish(mut self, writer: &DirectoryWriter) -> Result<Finished, Error> {
        let mut notes = std::mem::take(&mut self.notes);
        if let Err(error) = self.session.stop() {
            notes.push(chain(&error));
        }
        let mut drained = Ok(0);
        for _ in 0..1000 {
            drained = self.drain(writer, TURN);
            if !drained.as_ref().is_ok_and(|bytes| *bytes > 0) {
                break;
            }
        }
        let stats = self.session.stats().unwrap_or_default();
        let lost = stats.iter().map(fathom_tracefs::CpuStats::lost).sum();
        let events =
            self.formats.iter().any(|name| !name.starts_with("events/ftrace/") && name.ends_with("/format"));
        let Running { pipes, session, .. } = self;
        drop(pipes);
        notes.extend(session.finish().iter().map(chain));
        drained?;
        // The text of events may name any function.
        if !events && let Err(error) = cut_symbols(writer) {
            notes.push(format!("kallsyms is left as it is: {error}"));
        }
        Ok(Finished { lost, notes })
    }
}

/// Removes what [`Prepared::write_files`] has written.
pub(crate) fn remove_files(writer: &DirectoryWriter) {
    for name in [HEADER, SYMBOLS] {
        // What stays is of no use and does no harm.
        let _ = fs::remove_file(writer.path().join(name));
    }
}

/// What can go wrong between a pipe and a file.
enum Moving {
    Reading(fathom_tracefs::Error),
    Writing(fathom_store::Error),
}

impl From<fathom_tracefs::Error> for Moving {
    fn from(error: fathom_tracefs::Error) -> Moving {
        Moving::Reading(error)
    }
}

/// KiB of the buffer of a CPU.
fn buffer_kb(options: &KernelOptions) -> u64 {
    let levels = u64::from(options.depth.unwrap_or(1)).min(MOST_LEVELS);
    options.buffer.map_or(LEVEL_KB * levels, |bytes| bytes.div_ceil(1024).max(1))
}

/// The files that describe what settings let be recorded.
fn formats(settings: &Settings) -> Vec<String> {
    let mut names = vec!["events/header_page".to_owned()];
    if settings.tracer.is_some() {
        names
            .extend(["funcgraph_entry", "funcgraph_exit"].map(|name| format!("events/ftrace/{name}/format")));
    }
    names
        .extend(settings.events.iter().map(|event| format!("events/{}/{}/format", event.system, event.name)));
    names
}

/// Leaves the symbols in `kallsyms` that the recorded calls name, each with the one behind it, which says how far it
/// reaches.
fn cut_symbols(writer: &DirectoryWriter) -> Result<(), Error> {
    let dir = writer.path();
    let header = KernelHeader::parse(&host::read(&dir.join(HEADER))?);
    let files = kernel_files(dir)?;
    let layout = header.layout();
    let pages = PageFiles::open(&files, layout.size())?;
    let kernel = Kernel::new(
        Box::new(pages),
        layout,
        header.formats(&mut Vec::new()),
        fathom_store::kernel::Names::default,
    );
    let mut used = BTreeSet::new();
    for cpu in 0..kernel.cpus().len() {
        kernel.each_of_cpu(cpu, |record| {
            if let Subject::Entry(addr, _) | Subject::Exit(addr, _) = record.subject() {
                used.insert(addr);
            }
            Ok::<_, fathom_store::Error>(())
        })?;
    }
    let path = dir.join(SYMBOLS);
    let text = host::read(&path)?;
    writer.file(SYMBOLS, &named(&text, &used))?;
    Ok(())
}

/// The lines of a symbol table that are needed for some addresses, in the order of theirs.
fn named(text: &[u8], used: &BTreeSet<u64>) -> Vec<u8> {
    let addr = |line: &[u8]| {
        let digits = line.split(|byte| *byte == b' ').next()?;
        u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let mut lines: Vec<(u64, &[u8])> = lines.filter_map(|line| Some((addr(line)?, line))).collect();
    lines.sort_by_key(|(addr, _)| *addr);
    let mut kept = Vec::new();
    let mut next = 0;
    for wanted in used {
        let after = lines.partition_point(|(addr, _)| addr <= wanted);
        let Some((start, _)) = after.checked_sub(1).and_then(|last| lines.get(last)) else { continue };
        let first = lines.partition_point(|(addr, _)| addr < start);
        for (_, line) in lines.get(first.max(next)..(after + 1).min(lines.len())).unwrap_or_default() {
            kept.extend_from_slice(line);
        }
        next = next.max((after + 1).min(lines.len()));
    }
    kept
}

/// The files of pages in a directory, by the numbers of their CPUs; those with something in them.
fn kernel_files(dir: &Path) -> Result<Vec<(u32, std::path::PathBuf)>, Error> {
    let entries = fs::read_dir(dir).map_err(|e| Error::io("read", dir, e))?;
    let mut files: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let cpu = name.to_str()?.strip_prefix("kernel-cpu")?.strip_suffix(".dat")?.parse().ok()?;
            (entry.metadata().ok()?.len() > 0).then(|| (cpu, entry.path()))
        })
        .collect();
    files.sort();
    Ok(files)
}

/// An error with what it comes from, on one line.
pub(crate) fn chain(error: &fathom_tracefs::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(&format!(": {more}"));
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_that_are_used_with_the_next() {
        let text = b"30 t c\n10 T a\n10 t alias\n20 T b\n40 d d\n50 T e\n";
        let cut = |used: &[u64]| String::from_utf8(named(text, &used.iter().copied().collect())).unwrap();
        assert_eq!(cut(&[0x18]), "10 T a\n10 t alias\n20 T b\n");
        assert_eq!(cut(&[0x18, 0x20, 0x41]), "10 T a\n10 t alias\n20 T b\n30 t c\n40 d d\n50 T e\n");
        assert_eq!(cut(&[5, 0x99]), "50 T e\n");
        assert_eq!(cut(&[]), "");
    }

    #[test]
    fn buffers_grow_with_the_depth() {
        let size = |depth, buffer| buffer_kb(&KernelOptions { depth, buffer, full: false });
        assert_eq!(size(Some(1), None), 1408);
        assert_eq!(size(Some(30), None), 4 * 1408);
        assert_eq!(size(Some(30), Some(8192)), 8);
        assert_eq!(size(None, Some(1)), 1);
    }
}
