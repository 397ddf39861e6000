//! What the fuzz targets do with their input. Each takes any bytes and must neither panic nor take memory without bound.
//!
//! Not a fuzzer by itself: `fuzz_targets` hands it what the fuzzer makes up, `tests/fuzz_corpus.rs` of the root package
//! what is in `corpus`.

use fathom_filter::{Match, Rules, SpecKind, Specs, Subject};
use fathom_ftrace::{
    Comms, Context, CpuReader, EntryStyle, Events, Format, Formatter, Machine, Merge, Names, Options,
    PageLayout, Pointers, Printer, TextOptions, Value,
};
use fathom_patch::{CODE_LIMIT, ORIGINAL_LIMIT};
use fathom_store::args::parse_items;
use fathom_store::directory::{Directory, OpenOptions, PerfReader};
use fathom_store::kernel::{CpuPages, Kernel, KernelHeader, KernelStack, Names as KernelNames, PageSource};
use fathom_store::{Batch, Class, Endian, EventOptions, Info, Kind, TaskMessage, Trace};
use fathom_symbols::dbgfile::DbgFile;
use fathom_symbols::demangle::{Style, demangle};
use fathom_symbols::lines::SourceMap;
use fathom_symbols::symfile::{ModuleId, SymFile};
use fathom_symbols::{Image, maps};
use fathom_tracedat::report::{self, Filter, Input, Question, Settings};
use fathom_types::debug_info::debug_file;
use fathom_types::{Layout, Prototypes};
use std::path::Path;

/// A fuzz target: its name, which is that of its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("agent_message", agent_message),
    ("arg_spec", arg_spec),
    ("btf", btf),
    ("dbg_file", dbg_file),
    ("demangling", demangling),
    ("directory", directory),
    ("elf_image", elf_image),
    ("filter_spec", filter_spec),
    ("ftrace_format", ftrace_format),
    ("ftrace_page", ftrace_page),
    ("ftrace_print_fmt", ftrace_print_fmt),
    ("info_file", info_file),
    ("kernel_files", kernel_files),
    ("layout", layout),
    ("map_file", map_file),
    ("network", network),
    ("patch", patch),
    ("perf_file", perf_file),
    ("plan_cache", plan_cache),
    ("prototypes", prototypes),
    ("sdt_args", sdt_args),
    ("sym_file", sym_file),
    ("task_file", task_file),
    ("tracedat", tracedat),
    ("tracefs_files", tracefs_files),
    ("tracefs_journal", tracefs_journal),
    ("tracefs_settings", tracefs_settings),
];

/// What clients say to the agent.
pub fn agent_message(mut data: &[u8]) {
    while let Ok(message) = fathom_agent::Message::read(&mut data) {
        let bytes = message.encode();
        assert_eq!(fathom_agent::Message::read(&mut bytes.as_slice()).ok(), Some(message));
    }
}

/// `trace.dat` files: their tables, their pages, the text of their events, and what they say of themselves.
pub fn tracedat(data: &[u8]) {
    let source: std::sync::Arc<dyn fathom_tracedat::Source> = std::sync::Arc::new(data.to_vec());
    let Ok(recording) = fathom_tracedat::open_source(&source, "fuzz") else { return };
    let inputs = [Input::new(recording)];
    let filter = Filter::new(".*: common_pid > 0 && COMM != \"x\" || a & 1", false).into_iter();
    let all = Settings {
        latency: true,
        nanoseconds: true,
        differences: true,
        aligned: true,
        wakeups: true,
        check_times: true,
        filters: filter.collect(),
        ..Settings::default()
    };
    let raw = Settings { raw: true, raw_times: true, ..Settings::default() };
    for settings in [Settings::default(), Settings { plugins: false, ..all }, raw] {
        let _ = report::events(&inputs, &settings, &mut std::io::sink());
    }
    for question in [Question::CheckFormats, Question::Functions, Question::Statistics, Question::LastEvents]
    {
        let mut notes = Vec::new();
        let _ = report::info(&inputs, &question, &Settings::default(), &mut notes, &mut std::io::sink());
    }
}

/// A kernel all of whose files say the same, and which refuses what is written.
#[derive(Debug)]
struct Saying(Vec<u8>);

impl fathom_tracefs::files::Files for Saying {
    fn read(&self, _: &Path) -> std::io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }
    fn write(&self, _: &Path, _: bool, content: &[u8]) -> std::io::Result<()> {
        if content.is_empty() { Ok(()) } else { Err(std::io::ErrorKind::InvalidInput.into()) }
    }
    fn make_dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
    fn remove_dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
    fn list(&self, _: &Path) -> std::io::Result<Vec<String>> {
        Ok(["cpu0", "cpu1", "sched"].map(str::to_owned).to_vec())
    }
    fn exists(&self, _: &Path) -> bool {
        true
    }
}

/// The content of tracefs's files: every file has it. Plans are made of it, and what others do is told from it.
pub fn tracefs_files(data: &[u8]) {
    use fathom_tracefs::plan::{Naming, Place, Write};
    let text = String::from_utf8_lossy(data);
    let _ = (fathom_tracefs::find::mounted(&text), fathom_tracefs::error::log_entries(&text));
    if let Some(size) = fathom_tracefs::pipes::subbuffer_size_in(&text) {
        assert!((16..=1 << 26).contains(&size));
    }
    let tracefs = fathom_tracefs::Tracefs::at("/t")
        .with_proc("/t/none")
        .with_files(std::sync::Arc::new(Saying(data.to_vec())));
    let _ = fathom_tracefs::others::all(&tracefs);
    let names = fathom_tracefs::Names::new(&tracefs);
    let _ =
        (names.function("do_IRQ"), names.symbol("vfs_*"), names.events("sched", "*"), names.events("", "a"));
    for place in [Place::Top, Place::Instance("x".to_owned())] {
        let stats = fathom_tracefs::CpuStats::of(&tracefs, &place).unwrap_or_default();
        assert!(stats.iter().all(|stats| stats.lost() >= stats.dropped));
        let settings = fathom_tracefs::Settings {
            tracer: Some("function_graph".to_owned()),
            events: fathom_tracefs::Event::parse("sched:a if b").into_iter().collect(),
            graph_functions: vec!["vfs_*".to_owned()],
            max_depth: Some(3),
            buffer_kb: Some(64),
            clock: Some("mono".to_owned()),
            tasks: vec![fathom_tracefs::Task::Command],
            ..fathom_tracefs::Settings::default()
        };
        if let Ok(plan) = fathom_tracefs::Plan::build(&tracefs, &settings, &Naming::plain(), place) {
            let style = fathom_tracefs::shell::Style { root: Path::new("/t"), command: &[], seconds: None };
            let _ = fathom_tracefs::shell::lines(&plan, style);
            assert!(plan.undo().all(|write| !write.file.starts_with('/')));
        }
    }
    let refused = tracefs.apply(&Write::append("kprobe_events", "p:x y"));
    assert!(refused.is_err_and(|error| !error.to_string().is_empty()));
}

/// Journals: what is read never reaches out of tracefs.
pub fn tracefs_journal(data: &[u8]) {
    let Some(content) = fathom_tracefs::journal::Content::parse(&String::from_utf8_lossy(data)) else {
        return;
    };
    for write in content.steps.iter().flatten() {
        assert!(!write.file.starts_with('/') && write.file.split('/').all(|part| part != ".."));
    }
}

/// What a user says is to be traced: events, triggers, probes, synthetic events, lists of CPUs, globs.
pub fn tracefs_settings(data: &[u8]) {
    use fathom_tracefs::{Event, Probe, ProbeKind, Synthetic};
    let text = String::from_utf8_lossy(data);
    let _ = (Event::parse(&text), Event::parse_trigger(&text), Synthetic::parse(&text));
    for kind in [ProbeKind::Kprobe, ProbeKind::Uretprobe, ProbeKind::Tprobe, ProbeKind::Eprobe] {
        let _ = Probe::parse(kind, &text);
    }
    if let Ok(cpus) = fathom_tracefs::pids::cpu_list(&text) {
        let _ = fathom_tracefs::pids::cpu_mask(&cpus);
    }
    if let Some((glob, name)) = text.split_once(' ') {
        let _ = fathom_tracefs::functions::matches(glob, name);
    }
    let word = fathom_tracefs::shell::quoted(&text);
    assert!(word.len() >= text.len());
}

/// What senders say to the receiver: a first byte for the form, then a conversation of uftrace's protocol or what is in a
/// frame with a token.
pub fn network(data: &[u8]) {
    struct Files(usize);
    impl fathom_net::plain::Place for Files {
        fn name(&mut self, name: &[u8]) -> fathom_net::Result<()> {
            let safe = fathom_net::directory_name(name);
            assert!(!safe.contains('/') && !safe.starts_with('.') && !safe.is_empty());
            Ok(())
        }
        fn create(&mut self, file: &str) -> fathom_net::Result<()> {
            assert!(!file.contains('/') && !file.starts_with('.') && !file.is_empty());
            Ok(())
        }
        fn append(&mut self, _file: &str, bytes: &[u8]) -> fathom_net::Result<()> {
            self.0 += bytes.len();
            Ok(())
        }
        fn refused(&mut self, _file: &[u8]) {}
    }
    let Some((form, rest)) = data.split_first() else { return };
    if *form & 1 == 1 {
        return fathom_net::token::parse_payload(rest);
    }
    let (mut connection, mut files) = (fathom_net::plain::Connection::default(), Files(0));
    // In pieces, as it comes.
    for piece in rest.chunks(usize::from(*form) / 2 + 1) {
        if connection.feed(piece, &mut files).is_err() {
            break;
        }
    }
    assert!(files.0 <= rest.len());
}

/// Argument specs.
pub fn arg_spec(data: &[u8]) {
    let _ = parse_items(&String::from_utf8_lossy(data), Class::Bits64);
}

/// `.dbg` files.
pub fn dbg_file(data: &[u8]) {
    let file = DbgFile::parse(data);
    let mut out = Vec::new();
    let _ = file.write(&mut out);
}

/// Mangled names of all languages.
pub fn demangling(data: &[u8]) {
    let name = String::from_utf8_lossy(data);
    for style in [Style::Full, Style::Simple, Style::None] {
        let _ = demangle(&name, style);
    }
}

/// Filters, triggers and the rules that follow from them: a first byte for the option and the kind of pattern, then the
/// specs.
pub fn filter_spec(data: &[u8]) {
    let Some((first, text)) = data.split_first() else { return };
    let kinds = [
        SpecKind::Filter,
        SpecKind::NoTrace,
        SpecKind::CallerFilter,
        SpecKind::Hide,
        SpecKind::Location,
        SpecKind::Trigger,
        SpecKind::Argument,
        SpecKind::Retval,
    ];
    let kind = kinds[usize::from(first % 8)];
    let how = [Match::Regex, Match::Glob, Match::Simple][usize::from(first / 8 % 3)];
    let mut specs = Specs::new();
    let _ = specs.push(kind, &String::from_utf8_lossy(text));
    let Ok(mut rules) = Rules::new(&specs, how) else { return };
    for name in ["main", "ns::run", "a::{lambda()#1}"] {
        let subject = Subject {
            shown: name,
            raw: name,
            module: "/bin/prog",
            is_plt: name == "main",
            is_kernel: false,
            size: 1,
            source: Some("src/é.c"),
        };
        rules.observe(&subject);
        let _ = rules.rule(&subject);
    }
    let _ = rules.unmatched().iter().map(ToString::to_string).collect::<Vec<_>>();
}

/// ELF files: headers, symbols, library-call slots, instrumentation, source lines.
pub fn elf_image(data: &[u8]) {
    let Ok(image) = Image::parse(data.to_vec()) else { return };
    let slots = image.plt_slots();
    let symbols = image.symbols_with(&slots);
    let _ = (symbols.find(0x1000), symbols.by_name("main"), symbols.iter().count());
    let _ = (image.sdt_probes(), image.instrumentation(), image.build_id(), image.needed(), image.soname());
    let _ = (image.interpreter(), image.relro(), image.binds_now(), image.code().len());
    if let Ok(lines) = SourceMap::open(&image) {
        for address in [0, 0x1000, 0x1139, u64::MAX] {
            let _ = (lines.function(address), lines.address(address));
        }
    }
}

/// Which functions of an ELF file can be patched. Whatever is in it, what is to be written stays in its place.
pub fn patch(data: &[u8]) {
    let Ok(image) = Image::parse(data.to_vec()) else { return };
    let analysis = fathom_patch::analyse(&image, &fathom_patch::Options { threads: 1 });
    let mut written = Vec::new();
    for function in &analysis.functions {
        let Ok(site) = &function.verdict else { continue };
        assert!(site.original.len() >= site.written() && site.original.len() <= ORIGINAL_LIMIT);
        assert!(site.code.len() <= CODE_LIMIT);
        assert_eq!(image.data_at(site.at, site.original.len() as u64), Some(&site.original[..]));
        for fixup in &site.fixups {
            let width = if fixup.kind == fathom_patch::FixupKind::Distance { 4 } else { 8 };
            assert!(usize::from(fixup.at) + width <= site.code.len());
        }
        assert_eq!(site.island.is_some(), site.hop().is_some());
        written.push((site.at, site.written() as u64));
        written.extend(site.island.map(|island| (island.at, 5)));
    }
    written.sort_unstable();
    assert!(written.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "written twice");
}

/// Kept analyses of modules, with the checksum that a forger would give them.
pub fn plan_cache(data: &[u8]) {
    const MODULE: &[u8] = include_bytes!("../corpus/patch/library");
    static IMAGE: std::sync::OnceLock<Image> = std::sync::OnceLock::new();
    let image = IMAGE.get_or_init(|| Image::parse(MODULE.to_vec()).expect("it is one"));
    let Some(fingerprint) = data.get(8..40).and_then(|bytes| bytes.try_into().ok()) else { return };
    let _ = fathom_patch::from_bytes(data, image, fingerprint);
    let mut forged = data.to_vec();
    forged.extend_from_slice(blake3::hash(data).as_bytes());
    let Ok(analysis) = fathom_patch::from_bytes(&forged, image, fingerprint) else { return };
    for site in analysis.functions.iter().filter_map(|function| function.verdict.as_ref().ok()) {
        assert!(site.original.len() >= site.written() && site.original.len() <= ORIGINAL_LIMIT);
        assert!(site.code.len() <= CODE_LIMIT);
        assert_eq!(image.data_at(site.at, site.original.len() as u64), Some(&site.original[..]));
    }
}

/// `info` files.
pub fn info_file(data: &[u8]) {
    let _ = Info::parse(data, Path::new("info"));
}

/// Descriptions of types, and values shown by them. What is understood must survive being written.
pub fn layout(data: &[u8]) {
    let Some(layout) = Layout::parse(&String::from_utf8_lossy(data)) else { return };
    assert_eq!(Layout::parse(&layout.text()).as_ref(), Some(&layout));
    for bytes in [&data[..data.len() / 2], &[0; 64], &[0xff; 8]] {
        let text = layout.show(bytes, &mut |_| "&f".to_owned());
        assert!(text.len() < 1 << 16);
    }
}

/// Map files and the kernel's own.
pub fn map_file(data: &[u8]) {
    for mapping in maps::parse(data) {
        let _ = format!("{mapping:?}");
    }
}

/// `perf-cpuN.dat` files.
pub fn perf_file(data: &[u8]) {
    for endian in [Endian::Little, Endian::Big] {
        let mut reader = PerfReader::new(data, endian);
        while let Ok(Some(event)) = reader.next_event(Path::new("perf-cpu0.dat")) {
            let _ = format!("{event:?}");
        }
    }
}

/// Prototypes from debug information, and the `.dbg` file made of them, which must be read again as it was.
pub fn prototypes(data: &[u8]) {
    let Ok(image) = Image::parse(data.to_vec()) else { return };
    let Ok(prototypes) = Prototypes::open(&image) else { return };
    let file = debug_file(ModuleId::default(), &image.symbols(), Some(&prototypes));
    let mut text = Vec::new();
    let _ = file.write(&mut text);
    let again = DbgFile::parse(&text);
    assert_eq!(again.functions.len(), file.functions.len());
    for function in &again.functions {
        for specs in [function.best_args(), function.best_retval()].into_iter().flatten() {
            assert!(parse_items(specs.trim_start_matches('@'), Class::Bits64).is_ok(), "{specs:?}");
        }
    }
    for address in 0..64 {
        let _ = prototypes.function(0x1000 + 16 * address, "_RNv1a");
    }
}

/// `.sym` files.
pub fn sym_file(data: &[u8]) {
    let file = SymFile::parse(data);
    let _ = (file.symbols.find(0x1000), file.symbols.iter().count(), SymFile::parse_module(data));
}

/// `task.txt`, line by line. What is understood must survive being written and read again (line breaks in paths apart,
/// which are written as question marks).
pub fn task_file(data: &[u8]) {
    for line in String::from_utf8_lossy(data).lines() {
        let Ok(Some(message)) = TaskMessage::parse(line) else { continue };
        let written = message.to_string();
        let Ok(Some(again)) = TaskMessage::parse(&written) else { panic!("not read again: {written:?}") };
        assert_eq!(again.to_string(), written);
    }
}

/// The files of a good recording; the fuzzer's bytes take the place of one of them.
const BASE: &[(&str, &[u8])] = &[
    ("1000.dat", include_bytes!("../base/1000.dat")),
    ("info", include_bytes!("../base/info")),
    ("task.txt", include_bytes!("../base/task.txt")),
    ("sid-0123456789abcdef.map", include_bytes!("../base/sid-0123456789abcdef.map")),
    ("calls.sym", include_bytes!("../base/calls.sym")),
    ("default.opts", b""),
    ("events.txt", b""),
    ("extern.dat", b""),
];

/// The header and the pages of the kernel's tracer. The first two bytes say how long the header is.
pub fn kernel_files(data: &[u8]) {
    let Some((len, rest)) = data.split_first_chunk::<2>() else { return };
    let (header, pages) = rest.split_at_checked(u16::from_le_bytes(*len).into()).unwrap_or((rest, &[]));
    let header = KernelHeader::parse(header);
    let layout = header.layout();
    let formats = header.formats(&mut Vec::new());
    let kernel = Kernel::new(Box::new(OneCpu::new(pages)), layout, formats, KernelNames::default);
    let tids: Vec<i32> = kernel.tasks().map(|(tid, _)| tid).take(8).collect();
    let mut data = Vec::new();
    for tid in tids {
        let mut records = kernel.records(tid, true);
        let mut stack = KernelStack::default();
        while let Ok(Some(_)) = records.peek() {
            let Some(event) = records.take(&mut data) else { break };
            stack.depth(&event);
        }
        records.seek(u64::MAX / 2);
        let _ = records.peek();
    }
    let _ = kernel.each_of_cpu(0, |record| {
        record.subject();
        Ok::<_, fathom_store::Error>(())
    });
}

/// The pages of a CPU as one block.
struct OneCpu {
    cpus: [CpuPages; 1],
    pages: Vec<u8>,
}

impl OneCpu {
    fn new(pages: &[u8]) -> OneCpu {
        let cpu = CpuPages { cpu: 0, blocks: 1, bytes: pages.len() as u64, name: "cpu0".to_owned() };
        OneCpu { cpus: [cpu], pages: pages.to_vec() }
    }
}

impl PageSource for OneCpu {
    fn cpus(&self) -> &[CpuPages] {
        &self.cpus
    }

    fn read(&self, _cpu: usize, _block: u32, buffer: &mut Vec<u8>) -> Result<(), fathom_store::Error> {
        buffer.clear();
        buffer.extend_from_slice(&self.pages);
        Ok(())
    }
}

/// A whole data directory. The first byte says which file the others are the content of.
pub fn directory(data: &[u8]) {
    let Some((which, content)) = data.split_first() else { return };
    // Not /tmp, where a crash would leave directories behind for ever: the memory file system, where there is one.
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let Ok(dir) = made else { return };
    for (number, (name, bytes)) in BASE.iter().enumerate() {
        let bytes = if usize::from(*which) % BASE.len() == number { content } else { bytes };
        if std::fs::write(dir.path().join(name), bytes).is_err() {
            return;
        }
    }
    let Ok(trace) = Directory::open(dir.path(), OpenOptions::default()) else { return };
    let mut batch = Batch::default();
    for task in trace.tasks().iter().take(8) {
        let mut resolver = trace.resolver(task.tid);
        let Ok(mut events) = trace.events(task.tid, EventOptions::default()) else { continue };
        let mut batches = 0;
        while let Ok(true) = events.next_batch(&mut batch) {
            for event in &batch.events {
                let _ = batch.payload(event);
                if matches!(event.kind, Kind::Entry | Kind::Exit) {
                    let _ = trace.function(resolver.resolve(event.time, event.addr));
                }
            }
            batches += 1;
            // Inherited frames may repeat; a file of the fuzzer's size has no more.
            assert!(batches < 100_000, "the events do not end");
        }
        let _ = events.seek(u64::MAX / 2);
    }
    let _ = (trace.warnings(), trace.sessions().len(), trace.external().len(), trace.default_options());
}

/// Type information of a kernel, read alone and as that of a module of itself.
pub fn btf(data: &[u8]) {
    let Ok(alone) = fathom_btf::Btf::parse(data.to_vec()) else { return };
    let alone = std::sync::Arc::new(alone);
    let split = fathom_btf::Btf::parse_split(data.to_vec(), alone.clone());
    for btf in [Some(&*alone), split.as_ref().ok()].into_iter().flatten() {
        for id in btf.own().take(2000) {
            let _ = (btf.type_text(id), btf.size_of(id), btf.value_text(id, u64::MAX), btf.member(id, "x"));
            if let Some(prototype) = btf.prototype(btf.name_of(id)) {
                let _ = (prototype.declaration(btf), prototype.call_text(btf, &[1, 2, 3]));
                let spec = fathom_btf::ProbeSpec::parse(&format!("{}(*)", prototype.name));
                let _ = spec.map(|spec| spec.command(btf, fathom_btf::Arch::X86_64, "group"));
            }
        }
    }
}

const MACHINES: [Machine; 2] =
    [Machine::LITTLE64, Machine { endian: fathom_ftrace::Endian::Big, long_size: 4 }];

/// A format file; a record of zeros and one of ones are read by it.
pub fn ftrace_format(data: &[u8]) {
    for machine in MACHINES {
        let Ok(format) = Format::parse("system", &String::from_utf8_lossy(data), machine) else { continue };
        for byte in [0, 0xff] {
            let record = [byte; 64];
            for field in format.common.iter().chain(&format.fields) {
                if let Some(Value::Array(numbers)) = field.value(&record, machine.endian) {
                    assert!(numbers.iter().count() <= record.len());
                }
                let _ = (field.text(&record, machine.endian), field.i64(&record, machine.endian));
            }
            ftrace_text(&format, &record, machine);
        }
    }
}

/// A format file, NUL, and a record of it.
pub fn ftrace_print_fmt(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let record = data.get(end + 1..).unwrap_or_default();
    for machine in MACHINES {
        if let Ok(format) = Format::parse("system", &String::from_utf8_lossy(&data[..end]), machine) {
            ftrace_text(&format, record, machine);
        }
    }
}

/// Prints one event in every way.
fn ftrace_text(format: &Format, record: &[u8], machine: Machine) {
    let mut events = Events::default();
    for system in ["ftrace", "syscalls", "synthetic", "system"] {
        events.add(Format { system: system.to_owned(), ..format.clone() });
        let formatter = Formatter::new(&events, &Options::default());
        let names = Names::default();
        let context = Context { machine, names: &names, pointers: Pointers::Padded };
        let mut out = Vec::new();
        let id = format.id;
        let head = match machine.endian {
            fathom_ftrace::Endian::Little => id.to_le_bytes(),
            fathom_ftrace::Endian::Big => id.to_be_bytes(),
        };
        let record = [&head, record.get(2..).unwrap_or_default()].concat();
        formatter.message(&mut out, &record, &context);
        formatter.kernel_text(&mut out, 7, &record, &context, &EntryStyle::default());
        assert!(out.len() < 1 << 24, "an event's text is not that long");
    }
}

/// Pages of two CPUs, with the formats of the tracer itself. The first byte says where the second CPU's begin.
pub fn ftrace_page(data: &[u8]) {
    let Some((first, pages)) = data.split_first() else { return };
    let (left, right) = pages.split_at(pages.len() * usize::from(*first) / 256);
    for machine in MACHINES {
        let mut events = Events::default();
        for text in FTRACE_FORMATS {
            events.extend(Format::parse("ftrace", text, machine));
        }
        let formatter = Formatter::new(&events, &Options::default());
        let (names, comms) = (Names::default(), Comms::default());
        let context = Context { machine, names: &names, pointers: Pointers::Padded };
        let layout = PageLayout::of(machine, 256);
        let merge =
            || Merge::new(vec![(0, CpuReader::new(left, layout)), (1, CpuReader::new(right, layout))]);
        for tracer in ["nop", "function_graph"] {
            let options = TextOptions { tracer, cpus: 2, annotate: true, ..TextOptions::default() };
            let mut printer = Printer::new(&formatter, context, &comms, options);
            let (mut merge, mut out, mut items) = (merge(), Vec::new(), 0);
            while let Ok(true) = printer.print_next(&mut merge, &mut out) {
                out.clear();
                items += 1;
                assert!(items <= data.len() + 16, "the items do not end");
            }
        }
    }
}

const FTRACE_FORMATS: [&str; 5] = [
    "name: funcgraph_entry\nID: 11\nformat:\n\tfield:unsigned long func;\toffset:8;\tsize:8;\tsigned:0;\n\tfield:int \
     depth;\toffset:16;\tsize:4;\tsigned:1;\n\tfield:unsigned long args[];\toffset:24;\tsize:0;\tsigned:0;\n",
    "name: funcgraph_exit\nID: 10\nformat:\n\tfield:unsigned long func;\toffset:8;\tsize:8;\tsigned:0;\n\tfield:int \
     depth;\toffset:16;\tsize:4;\tsigned:1;\n\tfield:unsigned int overrun;\toffset:20;\tsize:4;\tsigned:0;\n\tfield:u64 \
     calltime;\toffset:24;\tsize:8;\tsigned:0;\n\tfield:u64 rettime;\toffset:32;\tsize:8;\tsigned:0;\n",
    "name: kernel_stack\nID: 4\nformat:\n\tfield:int size;\toffset:8;\tsize:4;\tsigned:1;\n\tfield:unsigned long \
     caller[8];\toffset:16;\tsize:64;\tsigned:0;\n",
    "name: print\nID: 5\nformat:\n\tfield:unsigned long ip;\toffset:8;\tsize:8;\tsigned:0;\n\tfield:char \
     buf[];\toffset:16;\tsize:0;\tsigned:0;\n",
    "name: raw_data\nID: 18\nformat:\n\tfield:unsigned int id;\toffset:8;\tsize:4;\tsigned:0;\n\tfield:char \
     buf[];\toffset:12;\tsize:0;\tsigned:0;\n",
];

/// Arguments of static probes.
pub fn sdt_args(data: &[u8]) {
    let _ = fathom_symbols::sdt::parse_arguments(&String::from_utf8_lossy(data));
}
