//! A trace in a directory of files, as uftrace and fathom record it. `docs/format.md` describes the files.

mod address;
mod dat;
mod functions;
mod growing;
mod kernel;
mod modules;
mod others;
mod perf;
mod probes;
mod stream;
mod tasks;
mod text;
mod warnings;

pub use growing::Growing;
pub use perf::{PerfEvent, PerfReader};

use crate::args::{ArgSpec, ArgTable};
use crate::kernel::Kernel;
use crate::task_file::TaskMessage;
use crate::tracedat::TraceDat;
use crate::{
    Error, EventOptions, External, Features, Function, FunctionId, FunctionKind, Info, Resolver, Session,
    Task, TaskEvents, Tid, Trace, event_id,
};
use address::{AddressSpace, Opened};
use dat::Warn;
use fathom_symbols::dbgfile::SourceLine;
use fathom_symbols::symfile::ModuleId;
use fathom_symbols::{SymbolTable, demangle};
use functions::{Functions, TaskResolver};
use growing::Window;
use modules::{ModuleIndex, Modules, Places};
use perf::PerfIndex;
use rustc_hash::{FxHashMap, FxHashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use warnings::Warnings;

/// How to open a directory.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// How names are shown.
    pub demangle: demangle::Style,
    /// A directory of symbol files that goes before the trace's own (`--with-syms`).
    pub symbol_dir: Option<PathBuf>,
}

/// A trace in a directory.
#[derive(Debug)]
pub struct Directory {
    places: Places,
    demangle: demangle::Style,
    info: Info,
    messages: Vec<TaskMessage>,
    all_tasks: Vec<Task>,
    tasks: Vec<Task>,
    forks: FxHashMap<Tid, u64>,
    sessions: Vec<Session>,
    spaces: Vec<AddressSpace>,
    modules: Modules,
    functions: Functions,
    arg_table: OnceLock<ArgTable>,
    files: Files,
    perf: OnceLock<PerfIndex>,
    /// What the kernel's tracer recorded.
    kernel: Option<kernel::Recorded>,
    event_names: FxHashMap<u64, String>,
    external: Vec<External>,
    warnings: Warnings,
    budget: Budget,
    /// For each task that has been read, where its file can be entered at.
    entry_points: Mutex<FxHashMap<Tid, Arc<dat::EntryPoints>>>,
    /// What is shown of a trace that grows; none shows all.
    window: Option<Window>,
}

/// What is known before a directory is looked at; of a trace that grows, what the last look has found.
#[derive(Debug, Default)]
struct Carried {
    /// There is no header that says which files count.
    headless: bool,
    window: Option<Window>,
    perf: Option<PerfIndex>,
    modules: Modules,
    functions: Functions,
    warnings: Warnings,
}

/// What the directory has.
#[derive(Debug, Default)]
struct Files {
    /// Size of each task's file.
    tasks: FxHashMap<Tid, u64>,
    /// By number of the processor.
    perf: Vec<(u32, PathBuf)>,
    /// By number of the processor; those with something in them.
    kernel: Vec<(u32, PathBuf)>,
}

impl Directory {
    /// Opens the trace in the directory `dir`.
    ///
    /// What can be read without the rest is: [`Trace::warnings`] tells what is missing. Records are read later, so
    /// damage in them is not noticed here.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when there is no such directory, [`Error::Missing`] when it has no trace,
    /// [`Error::NotATrace`], [`Error::Version`] or [`Error::Damaged`] when the header can't be made sense of.
    pub fn open(dir: &Path, options: OpenOptions) -> Result<Directory, Error> {
        let warnings = Warnings::default();
        fs::read_dir(dir).map_err(|e| Error::io(dir, "read the directory", e))?;
        let info = open_info(dir, &warnings)?;
        let carried = Carried { warnings, headless: info.is_none(), ..Carried::default() };
        Directory::put_together(dir, options, info.unwrap_or_default(), carried)
    }

    fn put_together(
        dir: &Path,
        options: OpenOptions,
        info: Info,
        carried: Carried,
    ) -> Result<Directory, Error> {
        let Carried { headless, window, perf, mut modules, functions, warnings } = carried;
        let mut files = Files::list(dir)?;
        if !headless && !info.features.has(Features::PERF_EVENT) {
            files.perf.clear();
        }
        if !headless && !info.features.has(Features::KERNEL) {
            files.kernel.clear();
        }
        let messages = open_messages(dir, window.is_some(), &warnings)?;
        let exe = info.exe_name.clone().unwrap_or_default();
        let mut cast = tasks::Cast::new(&messages, &exe);
        let kernel = kernel::Recorded::open(dir, &files.kernel, &mut modules, &warnings);
        let in_kernel = |tid| kernel.as_ref().is_some_and(|kernel| kernel.records.has(tid));
        if window.is_some() {
            growing::add_strays(&files, &mut cast);
        } else {
            files.check(&mut cast, dir, in_kernel, &warnings);
        }
        let mut spaces: Vec<AddressSpace> =
            cast.sessions.iter().map(|s| open_map(dir, s, &mut modules, &warnings)).collect();
        add_python(dir, &mut spaces, &mut modules);
        for library in &cast.dlopens {
            let module = modules.add(ModuleId { path: library.library.clone(), build_id: None });
            if let Some(space) = spaces.get_mut(library.session) {
                space.open(Opened { time: library.time, base: library.base, module });
            }
        }
        let mut all_tasks: Vec<Task> = cast.tasks.into_values().collect();
        all_tasks.sort_by_key(|task| task.tid);
        let shows = |tid, size| size > 0 && window.as_ref().is_none_or(|window| window.has_more(tid, size));
        let has_records = |tid| files.tasks.get(&tid).is_some_and(|size| shows(tid, *size)) || in_kernel(tid);
        let tasks = all_tasks.iter().filter(|task| has_records(task.tid));
        let mut opened = Directory {
            tasks: tasks.cloned().collect(),
            event_names: text::read_events(&dir.join("events.txt"), &warnings),
            external: text::read_external(&dir.join("extern.dat"), &warnings),
            places: Places { dir: dir.to_path_buf(), symbol_dir: options.symbol_dir },
            demangle: options.demangle,
            info,
            messages,
            all_tasks,
            forks: cast.forks,
            sessions: cast.sessions,
            spaces,
            modules,
            functions,
            arg_table: OnceLock::new(),
            files,
            perf: OnceLock::new(),
            kernel,
            warnings,
            budget: Budget::default(),
            entry_points: Mutex::default(),
            window,
        };
        match opened.window {
            None => opened.name_tasks(),
            Some(_) => {
                let perf = opened.grown(perf.unwrap_or_default());
                opened.show_waiting(&perf);
                opened.perf = OnceLock::from(perf);
            }
        }
        Ok(opened)
    }

    /// Events of processors with those that have come meanwhile.
    fn grown(&self, mut perf: PerfIndex) -> PerfIndex {
        perf.grow(self.files.perf.iter().map(|(_, path)| path.as_path()), self.info.endian);
        perf
    }

    /// Shows tasks that have come to the end of their records, and have events of processors behind it.
    fn show_waiting(&mut self, perf: &PerfIndex) {
        let shown: FxHashSet<Tid> = self.tasks.iter().map(|task| task.tid).collect();
        let has_file = |tid| self.files.tasks.get(&tid).is_some_and(|size| *size > 0);
        let waits = |tid| !shown.contains(&tid) && has_file(tid) && !perf.task(tid).is_empty();
        let waiting: Vec<Task> = self.all_tasks.iter().filter(|task| waits(task.tid)).cloned().collect();
        self.tasks.extend(waiting);
        self.tasks.sort_by_key(|task| task.tid);
    }

    /// Where the file of a task can be entered at, as far as anybody has read it.
    pub(crate) fn entry_points(&self, tid: Tid) -> Arc<dat::EntryPoints> {
        let mut all = self.entry_points.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(tid).or_default().clone()
    }

    /// Takes up the names that tasks gave themselves. They are among the events of processors.
    fn name_tasks(&mut self) {
        if self.files.perf.is_empty() {
            return;
        }
        self.perf();
        let Some(perf) = self.perf.get() else { return };
        for task in self.tasks.iter_mut().chain(&mut self.all_tasks) {
            tasks::rename(task, perf.names(task.tid));
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.places.dir
    }

    /// The messages of `task.txt`, in its order.
    pub fn task_messages(&self) -> &[TaskMessage] {
        &self.messages
    }

    /// All tasks that are known, also those without events, ascending by tid.
    pub fn all_tasks(&self) -> &[Task] {
        &self.all_tasks
    }

    /// Bytes of records of a task, 0 when it has none.
    pub fn data_size(&self, tid: Tid) -> u64 {
        self.files.tasks.get(&tid).copied().unwrap_or(0)
    }

    /// The files of scheduler and task events with the numbers of their processors, ascending; for
    /// [`PerfReader`].
    pub fn perf_files(&self) -> &[(u32, PathBuf)] {
        &self.files.perf
    }

    /// What the kernel's tracer recorded, CPU by CPU; none if it did not take part.
    pub fn kernel(&self) -> Option<&Kernel> {
        self.kernel.as_ref().map(|kernel| &kernel.records)
    }

    /// The modules that a session began with: start address, path, symbols.
    pub fn modules(&self, session: usize) -> impl Iterator<Item = (u64, &str, &SymbolTable)> {
        let space = self.spaces.get(session).into_iter();
        space.flat_map(AddressSpace::modules).filter_map(|(start, index)| {
            let module = self.modules.get(index)?;
            Some((start, module.id.path.as_str(), module.symbols(&self.places, &self.warnings)))
        })
    }

    /// The text of `default.opts`: options that views apply by themselves. Empty when there is none.
    pub fn default_options(&self) -> String {
        text::read_small(&self.places.dir.join("default.opts"), &self.warnings).unwrap_or_default()
    }

    /// The text of `note.txt`, the user's remarks.
    pub fn note(&self) -> Option<String> {
        text::read_small(&self.places.dir.join("note.txt"), &self.warnings)
    }

    fn space(&self, session: usize) -> &AddressSpace {
        static NOTHING: OnceLock<AddressSpace> = OnceLock::new();
        self.spaces.get(session).unwrap_or_else(|| NOTHING.get_or_init(AddressSpace::default))
    }

    fn arg_table(&self) -> &ArgTable {
        self.arg_table.get_or_init(|| ArgTable::of(&self.info))
    }

    fn task(&self, tid: Tid) -> Option<&Task> {
        let index = self.tasks.binary_search_by_key(&tid, |task| task.tid).ok()?;
        self.tasks.get(index)
    }

    /// Events of processors, read when first asked for.
    fn perf(&self) -> &PerfIndex {
        self.perf.get_or_init(|| {
            let files = self.files.perf.iter().map(|(_, path)| path.as_path());
            PerfIndex::read(files, self.info.endian, |tid| self.task(tid).is_some(), &self.warnings)
        })
    }
}

impl Trace for Directory {
    fn info(&self) -> &Info {
        &self.info
    }

    fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    fn events(&self, tid: Tid, options: EventOptions) -> Result<Box<dyn TaskEvents + '_>, Error> {
        let task = self.task(tid).ok_or(Error::NoSuchTask { tid })?;
        Ok(Box::new(stream::Stream::open(self, task, options)?))
    }

    fn resolver(&self, tid: Tid) -> Box<dyn Resolver + '_> {
        let sessions = self.task(tid).map_or(&[][..], |task| &task.sessions);
        Box::new(TaskResolver::new(self, sessions))
    }

    fn function(&self, id: FunctionId) -> Function {
        let known = self.functions.get(id).map(|known| known.function);
        known.unwrap_or_else(|| functions::unknown("<0>".into(), "[unknown]", 0, FunctionKind::Unknown))
    }

    fn arg_specs(&self, id: FunctionId) -> Arc<[ArgSpec]> {
        self.specs_of(id)
    }

    fn type_definitions(&self) -> Vec<String> {
        self.all_types()
    }

    fn enum_definitions(&self) -> Vec<String> {
        self.all_enums()
    }

    fn library_of(&self, id: FunctionId) -> Option<Arc<str>> {
        self.library_with(id)
    }

    fn all_functions(&self, sources: bool, visit: &mut dyn FnMut(&Function, Option<&str>)) {
        self.every_function(sources, visit);
    }

    fn line_of(&self, id: FunctionId) -> Option<SourceLine> {
        self.declaration_of(id)
    }

    fn source_of(&self, id: FunctionId) -> Option<Arc<str>> {
        self.file_of(id)
    }

    fn event_name(&self, id: u64) -> Option<String> {
        let known = event_id::name(id).map(str::to_owned).or_else(|| self.event_names.get(&id).cloned());
        known.or_else(|| self.kernel()?.event_name(u16::try_from(id).ok()?))
    }

    fn external(&self) -> &[External] {
        &self.external
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.list()
    }
}

/// The trace to read when the user names none: the first that is there of `fathom.data` (if `fathom` is set),
/// `uftrace.data`, the directory `base` itself, `ftrace.dir`, and the file `trace.dat`, all in `base`.
///
/// # Errors
///
/// [`Error::NoDefault`].
pub fn find_default(base: &Path, fathom: bool) -> Result<PathBuf, Error> {
    let mut names = vec!["uftrace.data", ".", "ftrace.dir"];
    if fathom {
        names.insert(0, "fathom.data");
    }
    let place = |name: &&str| if *name == "." { base.to_path_buf() } else { base.join(name) };
    let places: Vec<PathBuf> = names.iter().map(place).collect();
    // A recording that was cut short may have no info file, but it has one of tasks.
    let is_trace = |dir: &PathBuf| dir.join("info").is_file() || dir.join("task.txt").is_file();
    let kernel = base.join("trace.dat");
    let kernel_alone = || TraceDat::is_one(&kernel).then(|| kernel.clone());
    places.into_iter().find(is_trace).or_else(kernel_alone).ok_or_else(|| {
        names.push("trace.dat");
        let shown = names.iter().map(|name| if *name == "." { "./info" } else { name });
        Error::NoDefault { looked_for: shown.collect::<Vec<_>>().join(", ") }
    })
}

impl Files {
    fn list(dir: &Path) -> Result<Files, Error> {
        let mut files = Files::default();
        for entry in fs::read_dir(dir).map_err(|e| Error::io(dir, "read the directory", e))? {
            let entry = entry.map_err(|e| Error::io(dir, "read the directory", e))?;
            let name = entry.file_name();
            let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".dat")) else { continue };
            let path = entry.path();
            // Not a directory, and not a pipe, which would have to be waited for.
            let Some(size) = fs::metadata(&path).ok().filter(fs::Metadata::is_file).map(|m| m.len()) else {
                continue;
            };
            if let Some(cpu) = stem.strip_prefix("perf-cpu").and_then(|n| n.parse().ok()) {
                files.perf.push((cpu, path));
            } else if let Some(cpu) = stem.strip_prefix("kernel-cpu").and_then(|n| n.parse().ok()) {
                if size > 0 {
                    files.kernel.push((cpu, path));
                }
            } else if let Some(tid) = stem.parse().ok().filter(|_| stem.bytes().all(|b| b.is_ascii_digit())) {
                files.tasks.insert(tid, size);
            }
        }
        files.perf.sort();
        files.kernel.sort();
        Ok(files)
    }

    /// Compares with the tasks that are known, adds those that aren't, and warns of what is odd.
    fn check(&self, cast: &mut tasks::Cast, dir: &Path, in_kernel: impl Fn(Tid) -> bool, warn: &dyn Warn) {
        let mut tids: Vec<_> = self.tasks.iter().collect();
        tids.sort();
        for (tid, size) in tids {
            let file = dir.join(format!("{tid}.dat"));
            if *size == 0 && !in_kernel(*tid) {
                warn.warn(format!("{}: empty, the task is not shown", file.display()));
            }
            if !cast.tasks.contains_key(tid) {
                warn.warn(format!("{}: task.txt doesn't mention this task", file.display()));
                cast.stray(*tid);
            }
        }
        if self.tasks.is_empty() && self.kernel.is_empty() {
            warn.warn(format!("{}: no <tid>.dat file, nothing was recorded", dir.display()));
        }
    }
}

/// None if there is no header, but the rest of a trace.
fn open_info(dir: &Path, warn: &dyn Warn) -> Result<Option<Info>, Error> {
    let path = dir.join("info");
    if !path.is_file() {
        if !dir.join("task.txt").is_file() {
            let what = "not a trace: it has neither an info nor a task.txt file".to_owned();
            return Err(Error::Missing { file: dir.to_path_buf(), what });
        }
        warn.warn(format!("{}: missing, the recording was cut short", path.display()));
        return Ok(None);
    }
    let (info, problem) = Info::read_partly(&path)?;
    if let Some(problem) = problem {
        warn.warn(format!("{problem}; what comes after that is not used"));
    }
    Ok(Some(info))
}

fn open_messages(dir: &Path, grows: bool, warn: &dyn Warn) -> Result<Vec<TaskMessage>, Error> {
    let path = dir.join("task.txt");
    if !path.is_file() {
        warn.warn(format!("{}: missing, so nothing is known about programs and modules", path.display()));
        return Ok(Vec::new());
    }
    let mut text = text::read_whole(&path).map_err(|e| Error::io(&path, "read", e))?;
    if grows {
        // The rest of a line is on its way.
        text.truncate(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1));
    } else if text.is_empty() {
        warn.warn(format!("{}: empty, so nothing is known about programs and modules", path.display()));
    }
    Ok(tasks::parse(&text, &path, warn))
}

fn open_map(dir: &Path, session: &Session, modules: &mut Modules, warn: &dyn Warn) -> AddressSpace {
    // The placeholder for sessions that nothing tells of has no map.
    if session.sid.is_empty() {
        return AddressSpace::default();
    }
    let path = dir.join(format!("sid-{}.map", session.sid));
    let text = match text::read_whole(&path) {
        Ok(text) => text,
        Err(e) => {
            warn.warn(format!("{}: cannot read: {e}; functions have no names", path.display()));
            return AddressSpace::default();
        }
    };
    let (space, bad) = AddressSpace::parse(&text, modules);
    if bad > 0 {
        warn.warn(format!("{}: {bad} lines make no sense, they are ignored", path.display()));
    }
    if space.modules().next().is_none() {
        warn.warn(format!("{}: no modules, functions have no names", path.display()));
    }
    space
}

/// Programs in Python have numbers instead of addresses, from 1 on.
fn add_python(dir: &Path, spaces: &mut [AddressSpace], modules: &mut Modules) {
    const NAME: &str = "python.fake";
    let Ok(text) = text::read_whole(&dir.join(format!("{NAME}.sym"))) else { return };
    let file = fathom_symbols::symfile::SymFile::parse(&text);
    let size = (file.symbols.len() as u64).next_multiple_of(4096);
    // Its header need not name the file as its path.
    let module: ModuleIndex =
        modules.add_loaded(ModuleId { path: NAME.into(), build_id: None }, file.symbols);
    spaces.iter_mut().for_each(|space| space.add_first(size, module));
}

/// Shares out memory and file descriptors among the readers of a directory's files.
#[derive(Debug, Default)]
struct Budget {
    readers: AtomicUsize,
    open: AtomicUsize,
}

impl Budget {
    /// Readers that keep their file open; others open it for each filling of their buffer. Well below the 1024
    /// descriptors that a process usually may have.
    const OPEN: usize = 256;
    /// Bytes of all buffers together.
    const BUFFERS: usize = 16 << 20;
    const LARGEST: usize = 256 << 10;
    const SMALLEST: usize = 8 << 10;

    /// A reader begins; says whether it may keep its file open.
    fn enter(&self) -> bool {
        self.readers.fetch_add(1, Ordering::Relaxed);
        let one_more = |open: usize| (open < Self::OPEN).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn leave(&self, was_open: bool) {
        self.readers.fetch_sub(1, Ordering::Relaxed);
        if was_open {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Size of a buffer as many readers as there are now, a power of two.
    fn buffer_size(&self) -> usize {
        let share = Self::BUFFERS / self.readers.load(Ordering::Relaxed).max(1);
        (share + 1).next_power_of_two().div_euclid(2).clamp(Self::SMALLEST, Self::LARGEST)
    }
}

/// Whether a trace with these features has records with payloads.
fn has_payloads(features: Features) -> bool {
    [Features::ARGUMENT, Features::RETVAL, Features::EVENT].into_iter().any(|f| features.has(f))
}

/// Whether a recording was finished: its recorder knows who took part and how it was called only then.
fn is_whole(info: &Info) -> bool {
    info.tids.is_some() || info.cmdline.is_some()
}
