//! The kernel's own text: what reading `trace` and `trace_pipe` gives.

mod columns;
mod entry;
mod graph;
mod header;

pub use entry::message;
pub(crate) use entry::{entry, other_entry};
pub use graph::GraphOptions;
pub use header::Counts;

use crate::entries::Entry;
use crate::events::Common;
use crate::formatter::{EntryStyle, Formatter};
use crate::number;
use crate::page::{Missed, Record};
use crate::print_fmt::Context;
use crate::stream::{Item, Merge};
use crate::tables::{Clock, Comms, Tgids};
use columns::Columns;
use graph::{Graph, Scene};
use std::io::{self, Read};

/// How the text looks: the kernel's options.
#[derive(Clone, Debug)]
pub struct TextOptions<'a> {
    /// `current_tracer`. With `function_graph`, calls are shown nested.
    pub tracer: &'a str,
    /// The clock of the records' times.
    pub clock: Clock,
    /// `record-tgid`: a column with each task's process.
    pub tgids: Option<&'a Tgids>,
    /// `irq-info`: the column with the state of interrupts and preemption.
    pub irq_info: bool,
    /// Where events were lost, a line says so. `trace_pipe` has these, `trace` has not.
    pub lost: bool,
    /// Some events were overwritten, so the CPUs' parts of the trace begin at different times; a line says where. That
    /// is how `trace` does it (option `annotate`), `trace_pipe` does not.
    pub annotate: bool,
    /// Bit 1 of `common_flags` is that rescheduling may wait (see [`lazy_resched`]).
    pub lazy_resched: bool,
    /// How many CPUs the machine has.
    pub cpus: u32,
    /// The `funcgraph-*` options.
    pub graph: GraphOptions,
    /// Options of functions and stacks.
    pub style: EntryStyle,
}

impl Default for TextOptions<'_> {
    fn default() -> Self {
        TextOptions {
            tracer: "nop",
            clock: Clock::Nanoseconds,
            tgids: None,
            irq_info: true,
            lost: true,
            annotate: false,
            lazy_resched: false,
            cpus: 1,
            graph: GraphOptions::default(),
            style: EntryStyle::default(),
        }
    }
}

/// Whether a kernel of that release (`uname -r`) has a flag for rescheduling that may wait: those from 6.13 on.
pub fn lazy_resched(release: &str) -> bool {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 13)
}

/// Writes the text of a trace, item by item.
#[derive(Debug)]
pub struct Printer<'a> {
    formatter: &'a Formatter,
    context: Context<'a>,
    options: TextOptions<'a>,
    columns: Columns<'a>,
    graph: Option<Graph>,
    /// The CPUs that have had a record, and the number of records.
    started: (Vec<u32>, u64),
    /// A copy of the entry whose exit is looked for behind it.
    scratch: Vec<u8>,
}

impl<'a> Printer<'a> {
    /// A printer at the begin of a trace.
    pub fn new(
        formatter: &'a Formatter,
        context: Context<'a>,
        comms: &'a Comms,
        options: TextOptions<'a>,
    ) -> Printer<'a> {
        let columns = Columns::new(comms, &options);
        let graph = (options.tracer == "function_graph").then(|| Graph::new(&options, &context));
        Printer { formatter, context, options, columns, graph, started: (Vec::new(), 0), scratch: Vec::new() }
    }

    /// Writes what stands above the lines. Without `counts` the line with the numbers of events is left out.
    pub fn header(&self, out: &mut Vec<u8>, counts: Option<Counts>) {
        header::print(out, &self.options, counts);
    }

    /// Writes the next item of `merge`. False at its end.
    pub fn print_next<R: Read>(&mut self, merge: &mut Merge<R>, out: &mut Vec<u8>) -> io::Result<bool> {
        let Some(next) = merge.next_item()? else { return Ok(false) };
        let cpu = next.cpu;
        match next.item {
            Item::Record(record) => {
                if self.options.annotate {
                    annotate(&mut self.started, out, cpu);
                }
                if self.graph.is_some()
                    && let Some(Entry::GraphEntry { .. }) = self.formatter.entries.decode(record.data)
                {
                    let time = record.time;
                    self.scratch.clear();
                    self.scratch.extend_from_slice(record.data);
                    return self.graph_entry(merge, cpu, time, out).map(|()| true);
                }
                self.record(out, cpu, record);
            }
            Item::Missed(missed) => self.missed(out, cpu, missed),
            Item::Damaged(error) => {
                out.extend_from_slice(format!("CPU:{cpu} [UNREADABLE: {error}]\n").as_bytes());
            }
        }
        Ok(true)
    }

    /// An entry in `scratch`: one line with its exit, if that is what follows on its CPU.
    fn graph_entry<R: Read>(
        &mut self,
        merge: &mut Merge<R>,
        cpu: u32,
        time: u64,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let record = Record { time, data: &self.scratch };
        let Some(graph) = &mut self.graph else { return Ok(()) };
        let exit = match merge.peek_same()? {
            Some(Item::Record(next)) => {
                graph::leaf_exit(&self.formatter.entries, record, next, &self.context)
            }
            _ => None,
        };
        let scene =
            Scene { entries: &self.formatter.entries, columns: &self.columns, context: &self.context };
        graph.entry(out, cpu, record, exit, scene);
        if exit.is_some() {
            merge.skip_same();
        }
        Ok(())
    }

    /// Takes the names of tasks as they are by now, for a trace that goes on.
    pub fn set_comms(&mut self, comms: Comms) {
        self.columns.set_comms(comms);
    }

    /// Writes one record, knowing which follows on its CPU: a call without calls in it is one line with its exit. True if
    /// that was so, and the record that follows is written with it.
    pub fn record_before(
        &mut self,
        out: &mut Vec<u8>,
        cpu: u32,
        record: Record,
        next: Option<Record>,
    ) -> bool {
        if let (Some(graph), Some(next)) = (&mut self.graph, next) {
            let entries = &self.formatter.entries;
            let exit = graph::leaf_exit(entries, record, next, &self.context);
            if exit.is_some() {
                let scene = Scene { entries, columns: &self.columns, context: &self.context };
                graph.entry(out, cpu, record, exit, scene);
                return true;
            }
        }
        self.record(out, cpu, record);
        false
    }

    /// Writes one record; the entry of a call is taken for one with calls in it.
    pub fn record(&mut self, out: &mut Vec<u8>, cpu: u32, record: Record) {
        if let Some(graph) = &mut self.graph {
            let entries = &self.formatter.entries;
            let scene = Scene { entries, columns: &self.columns, context: &self.context };
            match entries.decode(record.data) {
                Some(Entry::GraphEntry { .. }) => {
                    return graph.entry(out, cpu, record, None, scene);
                }
                Some(Entry::GraphExit { .. }) => {
                    return graph.exit(out, cpu, record, scene);
                }
                // The kernel shows these between the calls, with the columns of other tracers.
                Some(Entry::KernelStack(_) | Entry::UserStack { .. } | Entry::Function { .. }) => {}
                _ => return self.comment(out, cpu, record),
            }
        }
        let common = Common::read(record.data, self.context.machine);
        let common = common.unwrap_or(Common { id: 0, flags: 0, preempt_count: 0, pid: -1 });
        self.columns.print(out, cpu, record.time, common);
        self.formatter.kernel_text(out, record.time, record.data, &self.context, &self.options.style);
    }

    /// An event among calls: `/* name: message */`.
    fn comment(&mut self, out: &mut Vec<u8>, cpu: u32, record: Record) {
        let Some(graph) = &mut self.graph else { return };
        let scene =
            Scene { entries: &self.formatter.entries, columns: &self.columns, context: &self.context };
        graph.open_comment(out, cpu, record, scene);
        match self.formatter.entries.decode(record.data) {
            Some(text @ (Entry::Print { .. } | Entry::Bprint { .. } | Entry::Bputs { .. })) => {
                entry::message(out, &text, &self.context);
            }
            _ => {
                let style = &self.options.style;
                self.formatter.kernel_text(out, record.time, record.data, &self.context, style);
            }
        }
        if out.last() == Some(&b'\n') {
            out.pop();
        }
        // A text of a program mostly ends its line itself.
        if out.last() == Some(&b'\n') {
            out.pop();
        }
        out.extend_from_slice(b" */\n");
    }

    /// Writes that events were lost.
    pub fn missed(&mut self, out: &mut Vec<u8>, cpu: u32, missed: Missed) {
        if !self.options.lost {
            return;
        }
        out.extend_from_slice(b"CPU:");
        number::decimal(out, u64::from(cpu));
        match missed {
            Missed::Count(count) => {
                out.extend_from_slice(b" [LOST ");
                number::decimal(out, count);
                out.extend_from_slice(b" EVENTS]\n");
            }
            Missed::Unknown => out.extend_from_slice(b" [LOST EVENTS]\n"),
        }
    }
}

/// Says where the part of a CPU begins, but for the trace's first two records.
fn annotate((started, count): &mut (Vec<u32>, u64), out: &mut Vec<u8>, cpu: u32) {
    *count += 1;
    if started.contains(&cpu) {
        return;
    }
    if *count > 2 {
        out.extend_from_slice(b"##### CPU ");
        number::decimal(out, u64::from(cpu));
        out.extend_from_slice(b" buffer started ####\n");
    }
    started.push(cpu);
}

#[cfg(test)]
mod tests {
    #[test]
    fn releases() {
        for (release, lazy) in
            [("6.12.117+deb12", false), ("6.13.0", true), ("6.18-rc1", true), ("5.15.3", false), ("", false)]
        {
            assert_eq!(super::lazy_resched(release), lazy, "{release}");
        }
    }
}
