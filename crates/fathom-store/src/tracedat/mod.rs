//! A recording of the kernel alone, in a `trace.dat` file, as a trace. Whoever made it: trace-cmd or fathom.
//!
//! Its tasks are those that it has records of. The idle task of each CPU is one of its own here, with a negative number,
//! since they all have the number 0. Functions come from the function graph tracer; those of the function tracer, which
//! does not see them end, are calls that take no time. Everything else are events.

mod events;
mod functions;
mod pages;

use crate::kernel::{Formats, Kernel, Names};
use crate::{Class, Endian, event_id};
use crate::{
    CodePlace, Error, EventOptions, Features, Function, FunctionId, FunctionKind, Info, OsInfo, Resolver,
    Session, SessionSpan, Task, TaskEvents, Tid, Trace, VisitStack,
};
use fathom_ftrace::{Comms, Kallsyms, Machine, PageLayout, Texts};
use fathom_tracedat::{Recording, id};
use functions::{Functions, KernelResolver};
use pages::RecordedPages;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The path that the kernel is called by where programs have theirs.
const KERNEL: &str = "[kernel]";

/// A trace in a `trace.dat` file.
#[derive(Debug)]
pub struct TraceDat {
    path: PathBuf,
    info: Info,
    sessions: Vec<Session>,
    tasks: Vec<Task>,
    kernel: Kernel,
    functions: Functions,
    warnings: Vec<String>,
}

impl TraceDat {
    /// Whether a file begins like one.
    pub fn is_one(path: &Path) -> bool {
        use std::io::Read;
        let mut magic = [0; fathom_tracedat::MAGIC.len()];
        path.is_file()
            && std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
            && magic == fathom_tracedat::MAGIC
    }

    /// Opens a file. All its pages are gone through once.
    ///
    /// # Errors
    ///
    /// [`Error::Kernel`] when it is no such file, or one that cannot be used.
    pub fn open(path: &Path) -> Result<TraceDat, Error> {
        let recording = fathom_tracedat::open(path).map_err(kernel_error)?;
        let mut warnings = Vec::new();
        let machine = machine(&recording);
        let formats = formats(&recording, machine, &mut warnings);
        let layout = layout(&recording, machine);
        let tables = &recording.tables;
        let kallsyms: Arc<[u8]> = tables.kallsyms.as_slice().into();
        let names = {
            let (kallsyms, texts) = (kallsyms.clone(), tables.printk_formats.clone());
            move || Names {
                symbols: Kallsyms::parse(&String::from_utf8_lossy(&kallsyms)),
                texts: Texts::parse(&texts),
            }
        };
        let pages = RecordedPages::new(&recording).map_err(kernel_error)?;
        let kernel = Kernel::new(Box::new(pages), layout, formats, names);
        warnings.extend(kernel.problems().iter().cloned());
        for (pages, losses) in kernel.cpus().iter().zip(kernel.losses()) {
            if losses.places > 0 {
                let count = if losses.events > 0 { losses.events.to_string() } else { "some".to_owned() };
                let (name, places) = (&pages.name, losses.places);
                warnings.push(format!(
                    "{name}: {count} records were lost in {places} places, the buffer was full"
                ));
            }
        }
        if let Some(clock) = odd_clock(&recording) {
            warnings.push(format!("times are of the clock '{clock}', which does not count nanoseconds"));
        }
        for text in &recording.texts {
            let name = if text.name.is_empty() { "the top buffer" } else { &text.name };
            warnings.push(format!("what was recorded of {name} as text is not shown"));
        }
        let tasks = tasks(&kernel, &Comms::parse(&tables.cmdlines));
        let sid = format!("{:016x}", recording.options.trace_id(recording.header.endian).unwrap_or(0));
        let start = kernel.tasks().map(|(_, (first, _))| first).min().unwrap_or(0);
        let end = kernel.tasks().map(|(_, (_, last))| last).max().unwrap_or(0);
        let info = Info { elapsed_ns: Some(end.saturating_sub(start)), ..info(&recording) };
        Ok(TraceDat {
            path: path.to_path_buf(),
            info,
            sessions: vec![Session { sid, pid: 0, start, exe: KERNEL.to_owned() }],
            tasks,
            kernel,
            functions: Functions::new(kallsyms),
            warnings,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its records, CPU by CPU.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }
}

fn kernel_error(source: fathom_tracedat::Error) -> Error {
    Error::Kernel(Box::new(source))
}

fn machine(recording: &Recording) -> Machine {
    let endian = match recording.header.endian {
        fathom_tracedat::Endian::Little => fathom_ftrace::Endian::Little,
        fathom_tracedat::Endian::Big => fathom_ftrace::Endian::Big,
    };
    Machine { endian, long_size: recording.kernel_long_size() }
}

fn layout(recording: &Recording, machine: Machine) -> PageLayout {
    let text = String::from_utf8_lossy(&recording.tables.header_page).into_owned();
    let size = recording.buffers.first().map_or(recording.header.page_size, |buffer| buffer.page_size);
    PageLayout::parse(&text, machine.endian).unwrap_or_else(|_| PageLayout::of(machine, size as usize))
}

fn formats(recording: &Recording, machine: Machine, problems: &mut Vec<String>) -> Formats {
    let mut formats = Formats::new(machine);
    let tables = &recording.tables;
    let ftrace = tables.ftrace_formats.iter().map(|text| ("ftrace", text));
    let others = tables
        .systems
        .iter()
        .flat_map(|system| system.formats.iter().map(|text| (system.name.as_str(), text)));
    for (system, text) in ftrace.chain(others) {
        if let Err(error) = formats.add(system, &String::from_utf8_lossy(text)) {
            problems.push(format!("a format of {system}: {error}"));
        }
    }
    formats
}

/// The clock, if it is not one of nanoseconds.
fn odd_clock(recording: &Recording) -> Option<String> {
    let named = recording.buffers.iter().map(|buffer| buffer.clock.clone()).find(|clock| !clock.is_empty());
    let clock = named.or_else(|| recording.options.clock())?;
    matches!(fathom_ftrace::Clock::of_name(&clock), fathom_ftrace::Clock::Unscaled).then_some(clock)
}

fn tasks(kernel: &Kernel, comms: &Comms) -> Vec<Task> {
    let mut tasks: Vec<Task> = kernel
        .tasks()
        .map(|(tid, (first, _))| Task {
            tid,
            pid: tid,
            parent: None,
            forked: false,
            start: first,
            comm: match tid {
                ..0 => format!("swapper/{}", -1 - i64::from(tid)),
                _ => String::from_utf8_lossy(comms.shown(tid)).into_owned(),
            },
            earlier_names: Vec::new(),
            sessions: vec![SessionSpan { from: 0, session: 0 }],
        })
        .collect();
    tasks.sort_by_key(|task| task.tid);
    tasks
}

fn info(recording: &Recording) -> Info {
    let options = &recording.options;
    let uname = options.text(id::UNAME);
    let version = options.text(id::VERSION);
    let mut info = Info {
        features: Features::KERNEL,
        class: if recording.header.long_size == 4 { Class::Bits32 } else { Class::Bits64 },
        endian: match recording.header.endian {
            fathom_tracedat::Endian::Little => Endian::Little,
            fathom_tracedat::Endian::Big => Endian::Big,
        },
        ..Info::default()
    };
    if let Some(uname) = uname {
        // Linux HOST RELEASE VERSION MACHINE
        let mut words = uname.split_ascii_whitespace();
        let (system, host, release) = (words.next(), words.next(), words.next());
        info.os = Some(OsInfo {
            kernel: format!("{} {}", system.unwrap_or("Linux"), release.unwrap_or("?")),
            hostname: host.unwrap_or_default().to_owned(),
            distro: String::new(),
        });
    }
    info.recorder_version =
        version.map(|version| version.trim().to_owned()).filter(|version| !version.is_empty());
    info
}

impl Trace for TraceDat {
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
        if self.tasks.binary_search_by_key(&tid, |task| task.tid).is_err() {
            return Err(Error::NoSuchTask { tid });
        }
        Ok(Box::new(events::Events::new(&self.kernel, tid, options)))
    }

    fn resolver(&self, _tid: Tid) -> Box<dyn Resolver + '_> {
        Box::new(KernelResolver::new(&self.functions))
    }

    fn function(&self, id: FunctionId) -> Function {
        self.functions.get(id)
    }

    fn all_functions(&self, _sources: bool, visit: &mut dyn FnMut(&Function, Option<&str>)) {
        self.functions.each(&mut |function| visit(function, None));
    }

    fn event_name(&self, id: u64) -> Option<String> {
        let known = event_id::name(id).map(str::to_owned);
        known.or_else(|| self.kernel.event_name(u16::try_from(id).ok()?))
    }

    fn stacks(&self, visit: &mut VisitStack<'_>) -> Result<(), Error> {
        self.each_stack(visit)
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}

impl TraceDat {
    /// Records of stacks, each with the event in front of it, which it is that of.
    fn each_stack(&self, visit: &mut VisitStack<'_>) -> Result<(), Error> {
        let mut resolver = KernelResolver::new(&self.functions);
        let mut frames = Vec::new();
        for (at, pages) in self.kernel.cpus().iter().enumerate() {
            let mut before: Option<(Tid, u64)> = None;
            self.kernel.each_of_cpu(at, |record| {
                let tid = crate::kernel::task_of(record.tid, pages.cpu);
                let crate::kernel::Subject::Event(id) = record.subject() else {
                    before = None;
                    return Ok::<_, Error>(());
                };
                match self.kernel.stack(id, record.data) {
                    Some(addresses) => {
                        frames.clear();
                        frames.extend(addresses.map(|address| resolver.resolve(record.time, address)));
                        // The outermost first.
                        frames.reverse();
                        let event = before.filter(|(task, _)| *task == tid).map(|(_, event)| event);
                        visit(tid, record.time, &frames, event);
                    }
                    None => before = Some((tid, u64::from(id))),
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Stands for [`Resolver::place`]: nothing tells the lines of the kernel.
fn place(function: FunctionId, functions: &Functions, addr: u64) -> CodePlace {
    let start = functions.get(function);
    let offset = if start.kind == FunctionKind::Kernel && start.size > 0 {
        addr.saturating_sub(start.addr)
    } else {
        0
    };
    CodePlace { function, offset, line: None }
}
