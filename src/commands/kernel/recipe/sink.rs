//! What happens to the records of a recipe while they come: they are measured, shown, saved, and the last are kept.

use crate::messages::{Failure, exit};
use crate::output::Output;
use fathom_ftrace::live::{Live, Next};
use fathom_ftrace::tables::{Kallsyms, Names, Texts};
use fathom_ftrace::{Endian, Events, Format, Machine, PageLayout};
use fathom_kernel::Recorder;
use fathom_recipes::label::Names as _;
use fathom_recipes::lines::Lines;
use fathom_recipes::names::KernelNames;
use fathom_recipes::{Analysis, Event, Recipe};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write};

/// Takes pages, gives lines and a summary.
pub(super) struct Sink {
    live: Live,
    events: Events,
    pub(super) names: KernelNames,
    analysis: Analysis,
    lines: Lines,
    pub(super) stream: Option<Output>,
    pub(super) log: Option<BufWriter<File>>,
    last: VecDeque<String>,
    keep: usize,
    pub(super) records: u64,
    /// A task whose name was not known has been seen since names were read.
    unknown: bool,
    pub(super) damaged: u64,
}

impl Sink {
    pub(super) fn new(recipe: &Recipe, recorder: &Recorder, keep: usize) -> Result<Sink, Failure> {
        let tables = recorder.tables();
        let broken = |what: &str, error: String| {
            Failure::because(exit::TROUBLE, format!("reading the kernel's {what}"), error)
        };
        let header = String::from_utf8_lossy(&tables.header_page);
        let endian = if cfg!(target_endian = "big") { Endian::Big } else { Endian::Little };
        let layout =
            PageLayout::parse(&header, endian).map_err(|error| broken("header_page", error.to_string()))?;
        let mut events = Events::default();
        let own = tables.ftrace_formats.iter().map(|format| ("ftrace", format));
        let all = tables
            .systems
            .iter()
            .flat_map(|system| system.formats.iter().map(move |format| (system.name.as_str(), format)));
        for (system, text) in own.chain(all) {
            let format = Format::parse(system, &String::from_utf8_lossy(text), Machine::host())
                .map_err(|error| broken(&format!("formats of {system}"), error.to_string()))?;
            events.add(format);
        }
        let proc = recorder.session().tracefs().proc().to_owned();
        let symbols = std::fs::read(proc.join("kallsyms")).unwrap_or_default();
        let names = Names {
            symbols: Kallsyms::parse(&String::from_utf8_lossy(&symbols)),
            texts: Texts::parse(&tables.printk_formats),
        };
        Ok(Sink {
            live: Live::new(layout),
            lines: Lines::new(&events),
            events,
            names: KernelNames::new(names, &proc),
            analysis: Analysis::new(recipe.measures),
            stream: None,
            log: None,
            last: VecDeque::new(),
            keep,
            records: 0,
            unknown: false,
            damaged: 0,
        })
    }

    /// Only these tasks, and what they start, are those of interest.
    pub(super) fn watch(&mut self, tasks: Vec<i64>) {
        let analysis = std::mem::replace(&mut self.analysis, Analysis::new(&[]));
        self.analysis = analysis.watching(tasks);
    }

    /// Do the addresses of functions have names?
    pub(super) fn has_symbols(&self) -> bool {
        !self.names.tables.symbols.is_empty() && !self.names.tables.symbols.hidden()
    }

    pub(super) fn pages(&mut self, cpu: u32, pages: &[u8]) {
        self.live.pages(cpu, pages);
    }

    /// Hands on what can be; all of it if `over`.
    pub(super) fn round(&mut self, recorder: Option<&Recorder>, over: bool) -> Result<(), Failure> {
        if let Some(recorder) = recorder
            && (self.unknown || over)
        {
            // Tasks that have ended are only in the kernel's own table.
            if let Ok(text) = recorder.session().tracefs().read_bytes("saved_cmdlines") {
                self.names.update(&text);
            }
            self.unknown = false;
        }
        let mut live = std::mem::replace(&mut self.live, Live::new(PageLayout::of(Machine::host(), 4096)));
        let handed = match over {
            true => live.end(|cpu, next, _| self.next(cpu, next).map(|()| false)),
            false => live.round(|cpu, next, _| self.next(cpu, next).map(|()| false)),
        };
        self.live = live;
        handed?;
        if let Some(output) = &mut self.stream {
            output.flush().map_err(writing)?;
        }
        Ok(())
    }

    fn next(&mut self, cpu: u32, next: Next<'_>) -> Result<(), Failure> {
        match next {
            Next::Missed(missed) => {
                let count = missed.count();
                self.analysis.lost(count);
                let count = count.map_or_else(|| "some".to_owned(), |count| count.to_string());
                self.line(format!("CPU:{cpu} [LOST {count} EVENTS]\n"))
            }
            Next::Damaged(_) => {
                self.damaged += 1;
                Ok(())
            }
            Next::Record(record) => self.record(record.time, cpu, record.data),
        }
    }

    fn record(&mut self, time: u64, cpu: u32, record: &[u8]) -> Result<(), Failure> {
        let Some(format) = self.events.of(record, Machine::host()) else {
            self.damaged += 1;
            return Ok(());
        };
        let Some(event) = Event::new(time, cpu, format, record) else {
            self.damaged += 1;
            return Ok(());
        };
        self.records += 1;
        let (lines, names) = (&self.lines, &self.names);
        self.analysis.event(&event, &|| lines.text(time, record, names));
        if self.stream.is_none() && self.log.is_none() && self.keep == 0 {
            return Ok(());
        }
        self.unknown |= !self.names.knows(event.pid) && self.names.comm(event.pid) == "<...>";
        let text = self.lines.record(&event, record, &self.names);
        self.line(text)
    }

    fn line(&mut self, text: String) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        if let Some(output) = &mut self.stream {
            output.write_all(text.as_bytes()).map_err(writing)?;
        }
        if let Some(log) = &mut self.log {
            log.write_all(text.as_bytes()).map_err(logging)?;
        }
        if self.keep > 0 {
            if self.last.len() == self.keep {
                self.last.pop_front();
            }
            self.last.push_back(text);
        }
        Ok(())
    }

    /// The last records.
    pub(super) fn last(&self) -> String {
        self.last.iter().map(String::as_str).collect()
    }

    pub(super) fn finish(self) -> (fathom_recipes::Summary, KernelNames) {
        (self.analysis.finish(), self.names)
    }
}

pub(super) fn writing(error: std::io::Error) -> Failure {
    Failure::new(exit::TROUBLE, "writing to the standard output", error)
}

pub(super) fn logging(error: std::io::Error) -> Failure {
    Failure::new(exit::TROUBLE, "writing the log", error)
}
