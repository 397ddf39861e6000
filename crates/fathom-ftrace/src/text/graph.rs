//! Calls nested in each other (tracer `function_graph`).

use super::TextOptions;
use super::columns::{Columns, seconds};
use super::entry::arguments;
use crate::entries::{Entries, Entry};
use crate::events::Common;
use crate::number;
use crate::page::Record;
use crate::print_fmt::{Context, Forms};
use crate::tables::Clock;

/// The `funcgraph-*` options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphOptions {
    /// `funcgraph-abstime`: the time in front.
    pub time: bool,
    /// `funcgraph-cpu`.
    pub cpu: bool,
    /// `funcgraph-proc`: the task.
    pub task: bool,
    /// `funcgraph-duration`.
    pub duration: bool,
    /// `funcgraph-overhead`: marks at long durations.
    pub overhead: bool,
    /// `funcgraph-overrun`: calls that were too deep.
    pub overrun: bool,
    /// `funcgraph-tail`: the function's name at its end.
    pub tail: bool,
    /// `funcgraph-irqs`: arrows where interrupts come and go.
    pub irqs: bool,
    /// `funcgraph-retval`: what functions returned.
    pub retval: bool,
    /// `funcgraph-retval-hex`: always in hexadecimal.
    pub retval_hex: bool,
    /// `funcgraph-args`: the arguments.
    pub args: bool,
}

impl Default for GraphOptions {
    fn default() -> GraphOptions {
        GraphOptions {
            time: false,
            cpu: true,
            task: false,
            duration: true,
            overhead: true,
            overrun: false,
            tail: false,
            irqs: true,
            retval: false,
            retval_hex: false,
            args: false,
        }
    }
}

/// Deeper entries are not remembered; their ends are always named.
const DEEPEST: usize = 50;

/// What is known of a CPU.
#[derive(Clone, Debug)]
struct Cpu {
    last_pid: Option<i32>,
    depth: i32,
    /// The functions whose entries were shown, by depth.
    entered: [u64; DEEPEST],
}

/// What the lines are made with.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a, 'b> {
    pub(super) entries: &'b Entries,
    pub(super) columns: &'b Columns<'a>,
    pub(super) context: &'b Context<'a>,
}

#[derive(Debug)]
pub(super) struct Graph {
    options: GraphOptions,
    clock: Clock,
    cpus: Vec<Cpu>,
    /// Digits of the number of CPUs.
    width: usize,
    /// The functions that interrupts begin with.
    interrupts: std::ops::Range<u64>,
}

/// The exit of a leaf.
#[derive(Clone, Copy)]
pub(super) struct Exit {
    duration: u64,
    retval: Option<u64>,
    overrun: u32,
}

/// The exit in `next`, if it is that of the call that begins in `entry` and nothing was recorded in between.
pub(super) fn leaf_exit(entries: &Entries, entry: Record, next: Record, context: &Context) -> Option<Exit> {
    let Entry::GraphEntry { func, .. } = entries.decode(entry.data)? else { return None };
    let Entry::GraphExit { func: of, calltime, rettime, retval, overrun, .. } = entries.decode(next.data)?
    else {
        return None;
    };
    let pid = |record: Record| Common::read(record.data, context.machine).map(|common| common.pid);
    let exit = Exit { duration: rettime.wrapping_sub(calltime), retval, overrun };
    (func == of && pid(entry)? == pid(next)?).then_some(exit)
}

impl GraphOptions {
    pub(super) fn header(&self, text: &mut String) {
        let columns = [
            (self.time, "     TIME       ", "      |         "),
            (self.cpu, " CPU", " |  "),
            (self.task, "  TASK/PID       ", "   |    |        "),
            (self.duration, "  DURATION   ", "   |   |      "),
            (true, "               FUNCTION CALLS", "               |   |   |   |"),
        ];
        text.push('#');
        columns.iter().filter(|(shown, ..)| *shown).for_each(|(_, name, _)| *text += name);
        *text += "\n#";
        columns.iter().filter(|(shown, ..)| *shown).for_each(|(_, _, line)| *text += line);
        text.push('\n');
    }
}

impl Graph {
    pub(super) fn new(options: &TextOptions, context: &Context) -> Graph {
        let address = |name| context.names.symbols.address_of(name);
        let interrupts = match (address("__irqentry_text_start"), address("__irqentry_text_end")) {
            (Some(start), Some(end)) if options.graph.irqs => start..end,
            _ => 0..0,
        };
        let width = options.cpus.max(1).to_string().len();
        Graph { options: options.graph, clock: options.clock, cpus: Vec::new(), width, interrupts }
    }

    fn cpu(&mut self, cpu: u32) -> &mut Cpu {
        let index = cpu as usize;
        if self.cpus.len() <= index {
            // A trace names far fewer; the number is from a directory or a file's head.
            let count = (index + 1).min(1 << 16);
            self.cpus.resize(count, Cpu { last_pid: None, depth: 0, entered: [0; DEEPEST] });
        }
        let last = self.cpus.len() - 1;
        &mut self.cpus[index.min(last)]
    }

    pub(super) fn entry(
        &mut self,
        out: &mut Vec<u8>,
        cpu: u32,
        record: Record,
        exit: Option<Exit>,
        scene: Scene,
    ) {
        let context = scene.context;
        let Some(Entry::GraphEntry { func, depth, args, .. }) = scene.entries.decode(record.data) else {
            return;
        };
        self.prologue(out, cpu, record, Some(func), scene);
        let (options, level) = (self.options, usize::try_from(depth).unwrap_or(0));
        let state = self.cpu(cpu);
        match exit {
            Some(exit) => {
                // Events after it are not in it.
                state.depth = depth.wrapping_sub(1);
                if let Some(entered) = state.entered.get_mut(level) {
                    *entered = 0;
                }
                self.duration(out, exit.duration);
            }
            None => {
                state.depth = depth;
                if let Some(entered) = state.entered.get_mut(level) {
                    *entered = func;
                }
                self.no_duration(out);
            }
        }
        number::spaces(out, 2 * level.min(DEEPEST * 4));
        context.symbol(out, func, false);
        if options.args && !args.is_empty() {
            arguments(out, args);
        } else {
            out.extend_from_slice(b"()");
        }
        let Some(exit) = exit else {
            out.extend_from_slice(b" {\n");
            return;
        };
        out.push(b';');
        if let Some(value) = exit.retval.filter(|_| options.retval) {
            out.extend_from_slice(b" /* = ");
            retval(out, value, options.retval_hex, context);
            out.extend_from_slice(b" */");
        }
        out.push(b'\n');
        if options.overrun {
            out.extend_from_slice(format!(" (Overruns: {})\n", exit.overrun).as_bytes());
        }
    }

    pub(super) fn exit(&mut self, out: &mut Vec<u8>, cpu: u32, record: Record, scene: Scene) {
        let context = scene.context;
        let Some(Entry::GraphExit { func, depth, calltime, rettime, retval: value, overrun }) =
            scene.entries.decode(record.data)
        else {
            return;
        };
        let options = self.options;
        let level = usize::try_from(depth).unwrap_or(0);
        let state = self.cpu(cpu);
        state.depth = depth.wrapping_sub(1);
        let known = match state.entered.get_mut(level) {
            Some(entered) => std::mem::replace(entered, 0) == func,
            None => true,
        };
        self.prologue(out, cpu, record, None, scene);
        self.duration(out, rettime.wrapping_sub(calltime));
        number::spaces(out, 2 * level.min(DEEPEST * 4));
        out.push(b'}');
        let value = value.filter(|_| options.retval);
        if value.is_some() || options.tail || !known {
            out.extend_from_slice(b" /* ");
            context.symbol(out, func, false);
            if let Some(value) = value {
                out.extend_from_slice(b" = ");
                retval(out, value, options.retval_hex, context);
            }
            out.extend_from_slice(b" */");
        }
        out.push(b'\n');
        if options.overrun {
            out.extend_from_slice(format!(" (Overruns: {overrun})\n").as_bytes());
        }
        if self.interrupts.contains(&func) {
            self.arrow(out, cpu, record, scene, b"<==========");
        }
    }

    /// Everything up to the text of an event among the calls.
    pub(super) fn open_comment(&mut self, out: &mut Vec<u8>, cpu: u32, record: Record, scene: Scene) {
        self.prologue(out, cpu, record, None, scene);
        self.no_duration(out);
        let depth = usize::try_from(self.cpu(cpu).depth).unwrap_or(0);
        if depth > 0 {
            number::spaces(out, 2 * (depth + 1).min(DEEPEST * 4));
        }
        out.extend_from_slice(b"/* ");
    }

    /// What comes before the duration: a change of the task, an interrupt, the columns.
    fn prologue(&mut self, out: &mut Vec<u8>, cpu: u32, record: Record, func: Option<u64>, scene: Scene) {
        let Scene { columns, context, .. } = scene;
        let pid = Common::read(record.data, context.machine).map_or(-1, |common| common.pid);
        let before = self.cpu(cpu).last_pid.replace(pid);
        if let Some(before) = before.filter(|before| *before != pid) {
            out.extend_from_slice(b" ------------------------------------------\n");
            self.number(out, cpu);
            task(out, before, columns);
            out.extend_from_slice(b" => ");
            task(out, pid, columns);
            out.extend_from_slice(b"\n ------------------------------------------\n\n");
        }
        if func.is_some_and(|func| self.interrupts.contains(&func)) {
            self.arrow(out, cpu, record, scene, b"==========>");
        }
        self.head(out, cpu, record.time, pid, columns);
    }

    fn head(&self, out: &mut Vec<u8>, cpu: u32, time: u64, pid: i32, columns: &Columns) {
        if self.options.time {
            match self.clock {
                Clock::Nanoseconds => seconds(out, time / 1000),
                Clock::Unscaled => number::decimal(out, time),
            }
            out.extend_from_slice(b" |  ");
        }
        if self.options.cpu {
            self.number(out, cpu);
        }
        if self.options.task {
            task(out, pid, columns);
            out.extend_from_slice(b" | ");
        }
    }

    /// A line with an arrow in the column of durations.
    fn arrow(&self, out: &mut Vec<u8>, cpu: u32, record: Record, scene: Scene, arrow: &[u8]) {
        let Scene { columns, context, .. } = scene;
        let pid = Common::read(record.data, context.machine).map_or(-1, |common| common.pid);
        self.head(out, cpu, record.time, pid, columns);
        if self.options.duration {
            out.extend_from_slice(b"  ");
        }
        out.extend_from_slice(arrow);
        if self.options.duration {
            out.extend_from_slice(b" |");
        }
        out.push(b'\n');
    }

    /// ` 1) `
    fn number(&self, out: &mut Vec<u8>, cpu: u32) {
        let text = cpu.to_string();
        number::spaces(out, 1 + self.width.saturating_sub(text.len()));
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b") ");
    }

    fn no_duration(&self, out: &mut Vec<u8>) {
        if self.options.duration {
            out.extend_from_slice(b"              |  ");
        }
    }

    /// `+ 14.852 us   |  `
    fn duration(&self, out: &mut Vec<u8>, duration: u64) {
        if !self.options.duration {
            return;
        }
        let mark = match duration {
            1_000_000_001.. => b'$',
            100_000_001.. => b'@',
            10_000_001.. => b'*',
            1_000_001.. => b'#',
            100_001.. => b'!',
            10_001.. => b'+',
            _ => b' ',
        };
        out.push(if self.options.overhead { mark } else { b' ' });
        out.push(b' ');
        let start = out.len();
        number::decimal(out, duration / 1000);
        let digits = out.len() - start;
        if digits < 7 {
            // As many decimals as fit into eight characters.
            let mut decimals = Vec::with_capacity(3);
            number::zero_padded(&mut decimals, duration % 1000, 3);
            out.push(b'.');
            out.extend_from_slice(&decimals[..(7 - digits).min(3)]);
        }
        let length = out.len() - start;
        out.extend_from_slice(b" us ");
        number::spaces(out, 8usize.saturating_sub(length));
        out.extend_from_slice(b"|  ");
    }
}

/// `comm-pid` in the middle of 14 characters, the name cut to 7.
fn task(out: &mut Vec<u8>, pid: i32, columns: &Columns) {
    let comm = columns.comm(pid);
    let comm = &comm[..comm.len().min(7)];
    let pid = pid.to_string();
    let spaces = 14usize.saturating_sub(comm.len() + 1 + pid.len());
    number::spaces(out, spaces / 2);
    out.extend_from_slice(comm);
    out.push(b'-');
    out.extend_from_slice(pid.as_bytes());
    number::spaces(out, spaces - spaces / 2);
}

/// Errors in decimal, everything else in hexadecimal.
fn retval(out: &mut Vec<u8>, value: u64, hex: bool, context: &Context) {
    // The upper half of what a function returns as an `int` is not its own.
    let wide = if context.machine.long_size == 4 || (value >> 32 == 0 && value & (1 << 31) != 0) {
        i64::from(value as i32)
    } else {
        value as i64
    };
    if !hex && (-4095..0).contains(&wide) {
        number::signed(out, wide);
    } else {
        out.extend_from_slice(b"0x");
        number::hex(out, value);
    }
}
