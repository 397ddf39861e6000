//! The text of a trace as it happens: that of the kernel's own `trace_pipe`.

use crate::Error;
use crate::tables;
use fathom_ftrace::live::{Live, Next};
use fathom_ftrace::{
    Clock, Comms, Context, EntryStyle, Events, Format, Formatter, GraphOptions, Kallsyms, Machine, Names,
    PageLayout, Pointers, Printer, Record, TextOptions, Texts, Tgids,
};
use fathom_tracedat::Tables;
use fathom_tracefs::{Session, Tracefs};
use std::convert::Infallible;
use std::io::Write;

/// What the text needs to know; lives as long as the text is made.
#[derive(Debug)]
pub struct Knowledge {
    layout: PageLayout,
    formatter: Formatter,
    names: Names,
    comms: Comms,
    tracer: String,
    clock: Clock,
    cpus: u32,
    graph: GraphOptions,
    style: EntryStyle,
    tgids: Option<Tgids>,
    irq_info: bool,
}

impl Knowledge {
    /// Of what a session records.
    ///
    /// # Errors
    ///
    /// If the kernel's description of its pages cannot be understood.
    pub fn of(session: &Session, tables: &Tables) -> Result<Knowledge, Error> {
        let tracefs = session.tracefs();
        let machine = Machine::host();
        let header = String::from_utf8_lossy(&tables.header_page);
        let layout = PageLayout::parse(&header, machine.endian).map_err(|error| Error::Io {
            doing: "reading events/header_page".into(),
            source: std::io::Error::other(error.to_string()),
        })?;
        let symbols = tables::symbols(tracefs);
        let names = Names {
            symbols: Kallsyms::parse(&String::from_utf8_lossy(&symbols)),
            texts: Texts::parse(&tables.printk_formats),
        };
        let formatter = Formatter::new(&events(tracefs, tables, machine), &fathom_ftrace::Options::default());
        let option = |name: &str| option(session, name);
        let clocks = session.read("trace_clock").unwrap_or_default();
        let clock = Clock::of_name(Clock::chosen(&clocks).unwrap_or("local"));
        let tgids = option("record-tgid").filter(|on| *on).and_then(|_| tracefs.read("saved_tgids").ok());
        Ok(Knowledge {
            layout: layout.as_kernel_text(),
            formatter,
            names,
            comms: comms(tracefs),
            tracer: session.read("current_tracer").unwrap_or_default().trim().to_owned(),
            clock,
            cpus: u32::try_from(session.stats()?.len()).unwrap_or(1),
            graph: graph(option),
            style: EntryStyle {
                parent: option("print-parent").unwrap_or(true),
                symbol_offset: option("sym-offset").unwrap_or(false),
                symbol_address: option("sym-addr").unwrap_or(false),
                ..EntryStyle::default()
            },
            tgids: tgids.map(|text| Tgids::parse(&text)),
            irq_info: option("irq-info").unwrap_or(true),
        })
    }
}

fn events(tracefs: &Tracefs, tables: &Tables, machine: Machine) -> Events {
    let mut events = Events::default();
    let own = tables.ftrace_formats.iter().map(|format| ("ftrace", format));
    let others = tables
        .systems
        .iter()
        .flat_map(|system| system.formats.iter().map(|format| (system.name.as_str(), format)));
    for (system, format) in own.chain(others) {
        // One that cannot be read has records that are shown as such.
        if let Ok(format) = Format::parse(system, &String::from_utf8_lossy(format), machine) {
            events.add(format);
        }
    }
    events.add_dynamic_events(&tracefs.read("dynamic_events").unwrap_or_default());
    events
}

fn comms(tracefs: &Tracefs) -> Comms {
    Comms::parse(&tracefs.read_bytes("saved_cmdlines").unwrap_or_default())
}

/// Whether an option is on, of our place or else of the top level.
fn option(session: &Session, name: &str) -> Option<bool> {
    let file = format!("options/{name}");
    let text = session.read(&file).or_else(|_| session.tracefs().read(&file)).ok()?;
    Some(text.trim() == "1")
}

fn graph(option: impl Fn(&str) -> Option<bool>) -> GraphOptions {
    let plain = GraphOptions::default();
    let on = |name: &str, plain: bool| option(&format!("funcgraph-{name}")).unwrap_or(plain);
    GraphOptions {
        time: on("abstime", plain.time),
        cpu: on("cpu", plain.cpu),
        task: on("proc", plain.task),
        duration: on("duration", plain.duration),
        overhead: on("overhead", plain.overhead),
        overrun: on("overrun", plain.overrun),
        tail: on("tail", plain.tail),
        irqs: on("irqs", plain.irqs),
        retval: on("retval", plain.retval),
        retval_hex: on("retval-hex", plain.retval_hex),
        args: on("args", plain.args),
    }
}

/// Makes the text.
#[derive(Debug)]
pub struct Text<'k> {
    live: Live,
    printer: Printer<'k>,
    machine: Machine,
    known: Comms,
    out: Vec<u8>,
}

impl<'k> Text<'k> {
    /// Begins it, with the lines that stand above.
    pub fn new(knowledge: &'k Knowledge) -> Text<'k> {
        let machine = Machine::host();
        let context = Context { machine, names: &knowledge.names, pointers: Pointers::Padded };
        let options = TextOptions {
            tracer: &knowledge.tracer,
            clock: knowledge.clock,
            tgids: knowledge.tgids.as_ref(),
            irq_info: knowledge.irq_info,
            lost: true,
            cpus: knowledge.cpus,
            graph: knowledge.graph,
            style: knowledge.style.clone(),
            ..TextOptions::default()
        };
        let printer = Printer::new(&knowledge.formatter, context, &knowledge.comms, options);
        let mut out = Vec::new();
        printer.header(&mut out, None);
        Text { live: Live::new(knowledge.layout), printer, machine, known: knowledge.comms.clone(), out }
    }

    /// Takes whole pages of a CPU.
    pub fn pages(&mut self, cpu: u32, pages: &[u8]) {
        self.live.pages(cpu, pages);
    }

    /// A round is over: all CPUs were emptied. What is in order by now is written.
    ///
    /// # Errors
    ///
    /// Those of `to`.
    pub fn round(&mut self, tracefs: &Tracefs, to: &mut impl Write) -> Result<(), Error> {
        self.write(tracefs, false, to)
    }

    /// All that is left is written.
    ///
    /// # Errors
    ///
    /// Those of `to`.
    pub fn end(&mut self, tracefs: &Tracefs, to: &mut impl Write) -> Result<(), Error> {
        self.write(tracefs, true, to)
    }

    fn write(&mut self, tracefs: &Tracefs, end: bool, to: &mut impl Write) -> Result<(), Error> {
        if self.live.has_news(|record| self.known.get(pid_of(record, self.machine)).is_none()) {
            self.known = comms(tracefs);
            self.printer.set_comms(self.known.clone());
        }
        let (printer, out) = (&mut self.printer, &mut self.out);
        let see = |cpu: u32, next: Next<'_>, following: Option<Record<'_>>| {
            Ok::<bool, Infallible>(match next {
                Next::Record(record) => printer.record_before(out, cpu, record, following),
                Next::Missed(missed) => {
                    printer.missed(out, cpu, missed);
                    false
                }
                Next::Damaged(error) => {
                    out.extend_from_slice(format!("CPU:{cpu} [UNREADABLE: {error}]\n").as_bytes());
                    false
                }
            })
        };
        let Ok(()) = if end { self.live.end(see) } else { self.live.round(see) };
        if !self.out.is_empty() {
            to.write_all(&self.out).and_then(|()| to.flush()).map_err(Error::Output)?;
            self.out.clear();
        }
        Ok(())
    }
}

/// The task of a record: the idle task needs no name.
fn pid_of(record: &[u8], machine: Machine) -> i32 {
    fathom_ftrace::Common::read(record, machine).map_or(0, |common| common.pid)
}
