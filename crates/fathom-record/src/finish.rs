//! The end of a recording: symbol files and the header.

use crate::clock::TraceClock;
use crate::detours;
use crate::plan::file_name;
use crate::rules::values_text;
use crate::sessions::{Answers, Sessions};
use crate::{Error, LibCalls, Options, host, sys};
use fathom_filter::{Action, Spec, SpecKind};
use fathom_store::writer::DirectoryWriter;
use fathom_store::{ArgSpecs, Features, Info, PatternType, Usage};
use fathom_symbols::dbgfile::DbgFile;
use fathom_symbols::elf::Image;
use fathom_symbols::symfile::{ModuleId, Style};
use fathom_symbols::{Symbol, SymbolKind, SymbolTable, SymbolTableBuilder};
use fathom_types::Prototypes;
use fathom_types::debug_info::debug_file;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the options of a recording say that the header of its trace must say too.
pub(crate) struct Said {
    /// What is said about recorded values.
    pub(crate) values: Option<ArgSpecs>,
    pub(crate) features: Features,
    max_stack: u16,
    matching: PatternType,
}

impl Said {
    pub(crate) fn of(options: &Options) -> Said {
        let selection = &options.selection;
        let values = values_text(selection);
        let mut features = Features::default();
        let mut set = |condition: bool, feature| {
            if condition {
                features |= feature;
            }
        };
        set(options.libcalls != LibCalls::None, Features::PLTHOOK);
        set(values.as_ref().is_some_and(|v| v.args.is_some() || v.auto), Features::ARGUMENT);
        set(values.as_ref().is_some_and(|v| v.retvals.is_some() || v.auto), Features::RETVAL);
        set(selection.estimate, Features::ESTIMATE_RETURN);
        set(needs_debug(options), Features::DEBUG_INFO);
        set(selection.events.may_have_probes(), Features::EVENT);
        let nothing = Info::default();
        Said {
            values,
            features,
            max_stack: selection.max_stack.map_or(nothing.max_stack, |n| n.min(u32::from(u16::MAX)) as u16),
            matching: options.matching,
        }
    }

    /// As a header of a trace, for the journal.
    pub(crate) fn to_info(&self) -> Info {
        Info {
            features: self.features,
            arg_specs: self.values.clone(),
            max_stack: self.max_stack,
            pattern_type: Some(self.matching),
            ..Info::default()
        }
    }

    /// From the journal.
    pub(crate) fn of_info(info: Info) -> Said {
        Said {
            values: info.arg_specs,
            features: info.features,
            max_stack: info.max_stack,
            matching: info.pattern_type.unwrap_or_default(),
        }
    }
}

/// Whether readers of the trace need what the modules' debug information says.
fn needs_debug(options: &Options) -> bool {
    let selection = &options.selection;
    let about_lines =
        |spec: &Spec| spec.kind == SpecKind::Location || spec.actions.contains(&Action::Callsite);
    options.source_lines || values_text(selection).is_some() || selection.specs.iter().any(about_lines)
}

/// What the header needs besides the machine.
pub(crate) struct Header<'a> {
    pub(crate) answers: &'a Answers,
    /// Executable that was asked for.
    pub(crate) exe: &'a Path,
    /// Raw wait status, -1 if it is not known.
    pub(crate) status: i32,
    pub(crate) usage: Option<Usage>,
    pub(crate) elapsed: Option<Duration>,
    pub(crate) cmdline: &'a str,
    pub(crate) version: &'a str,
    pub(crate) said: &'a Said,
    /// Whether there are scheduler and task events.
    pub(crate) perf: bool,
    /// Whether the kernel's tracer took part.
    pub(crate) kernel: bool,
    /// Clock of the times.
    pub(crate) clock: TraceClock,
}

/// Writes the symbols of every module that took part. Files that are gone are named in the notes.
///
/// With `debug` also what their debug information says of functions.
pub(crate) fn write_symbols(
    writer: &DirectoryWriter,
    answers: &Answers,
    debug: bool,
    notes: &mut Vec<String>,
) -> Result<(), Error> {
    for path in &answers.modules {
        let image = match Image::open(path) {
            Ok(image) => image,
            Err(error) => {
                notes.push(format!("no symbols of {}: {error}", path.display()));
                continue;
            }
        };
        let symbols = image.symbols();
        let symbols = match answers.patches.get(path).map(|module| module.unnamed.as_slice()) {
            None | Some([]) => symbols,
            Some(unnamed) => with_unnamed(&symbols, &file_name(path), unnamed),
        };
        write_module(writer, path, &image, &symbols, debug)?;
    }
    Ok(())
}

fn write_module(
    writer: &DirectoryWriter,
    path: &Path,
    image: &Image,
    symbols: &SymbolTable,
    debug: bool,
) -> Result<(), Error> {
    let module = ModuleId { path: path.to_string_lossy().into_owned(), build_id: image.build_id() };
    // Without sizes: uftrace 0.13 cannot read them, and the gaps between symbols are marked instead.
    writer.symbols(&module, symbols, Style::Plain)?;
    if debug {
        writer.debug(&debug_of(module, image, symbols))?;
    }
    Ok(())
}

/// Symbols of modules while the program runs, in a thread of its own: its processes do not wait for them.
pub(crate) struct Early<'r> {
    writer: &'r DirectoryWriter,
    modules: mpsc::Receiver<PathBuf>,
    debug: bool,
}

impl<'r> Early<'r> {
    pub(crate) fn new(writer: &'r DirectoryWriter, sessions: &mut Sessions<'_>, said: &Said) -> Early<'r> {
        Early { writer, modules: sessions.tell_modules(), debug: said.features.has(Features::DEBUG_INFO) }
    }

    /// Writes until there are no more sessions, or until `done`. What cannot be written is left to the end, which says why.
    pub(crate) fn write(self, done: &AtomicBool) {
        for path in self.modules {
            if done.load(Ordering::Relaxed) {
                return;
            }
            if let Ok(image) = Image::open(&path) {
                let _ = write_module(self.writer, &path, &image, &image.symbols(), self.debug);
            }
        }
    }
}

/// What is kept of a module's debug information.
pub(crate) fn debug_of(module: ModuleId, image: &Image, symbols: &SymbolTable) -> DbgFile {
    let prototypes = Prototypes::open(image).ok();
    debug_file(module, symbols, prototypes.as_ref())
}

/// Adds functions that have no symbol, by their place in the module.
fn with_unnamed(symbols: &SymbolTable, module: &str, unnamed: &[(u64, u64)]) -> SymbolTable {
    let mut builder = SymbolTableBuilder::default();
    symbols.iter().for_each(|symbol| builder.push(symbol));
    for &(addr, size) in unnamed {
        let name = detours::unnamed(module, addr);
        builder.push(Symbol { addr, size, kind: SymbolKind::LocalFunction, name: &name });
    }
    builder.finish()
}

/// Writes `info`.
pub(crate) fn write_info(writer: &DirectoryWriter, header: &Header<'_>) -> Result<(), Error> {
    let exe = header.answers.exe.as_deref().unwrap_or(header.exe);
    let mut info = Info::default();
    info.features |= header.said.features;
    info.arg_specs.clone_from(&header.said.values);
    info.max_stack = header.said.max_stack;
    if header.perf {
        info.features |= Features::PERF_EVENT;
    }
    if header.kernel {
        info.features |= Features::KERNEL;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    info.exe_name = Some(exe.to_string_lossy().into_owned());
    info.build_id = Image::open(exe).ok().and_then(|image| image.build_id());
    info.exit_status = Some(header.status);
    info.cmdline = Some(header.cmdline.to_owned());
    info.cpu = host::cpu();
    info.memory = host::memory();
    info.os = host::os();
    info.tids = Some(writer.tasks().into_iter().map(|(tid, _)| tid).collect());
    info.usage = header.usage;
    info.load = host::load();
    info.record_date = Some(sys::ctime(now));
    info.elapsed_ns = header.elapsed.map(|e| e.as_nanos() as u64);
    info.pattern_type = Some(header.said.matching);
    info.recorder_version = Some(header.version.to_owned());
    info.utc_offset = Some(now - (header.clock.now() / 1_000_000_000) as i64);
    writer.info(&info)?;
    Ok(())
}

/// From what `wait4` says.
pub(crate) fn usage(u: &libc::rusage) -> Usage {
    let us = |t: libc::timeval| t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64;
    Usage {
        system_us: us(u.ru_stime),
        user_us: us(u.ru_utime),
        voluntary: u.ru_nvcsw as u64,
        involuntary: u.ru_nivcsw as u64,
        max_rss_kib: u.ru_maxrss as u64,
        major_faults: u.ru_majflt as u64,
        minor_faults: u.ru_minflt as u64,
        read_blocks: u.ru_inblock as u64,
        written_blocks: u.ru_oublock as u64,
    }
}
