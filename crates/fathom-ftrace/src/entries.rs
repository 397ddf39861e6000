//! The tracer's own entries: functions, calls of functions and their ends, stacks, texts. Their layout differs
//! between kernels, so it comes from the format files like that of any event.

use crate::events::Events;
use crate::format::{Format, until_nul};
use crate::machine::{Endian, Machine};

/// Stands in a kernel stack where a function of the tracer itself was.
pub const TRAMPOLINE: u64 = 0x7fff_ffff;

/// Numbers of the size of a `long`, side by side in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Longs<'a> {
    bytes: &'a [u8],
    machine: Machine,
}

impl<'a> Longs<'a> {
    fn new(bytes: &'a [u8], machine: Machine) -> Longs<'a> {
        Longs { bytes, machine }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.bytes.len() / usize::from(self.machine.long_size).max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them in order.
    pub fn iter(self) -> impl Iterator<Item = u64> + 'a {
        let size = usize::from(self.machine.long_size).max(1);
        self.bytes.chunks_exact(size).filter_map(move |chunk| self.machine.long(chunk, 0))
    }

    /// The addresses of a stack, the innermost first: those before an end mark (all bits set).
    pub fn stack(self) -> impl Iterator<Item = u64> + 'a {
        let end = if self.machine.long_size == 4 { u64::from(u32::MAX) } else { u64::MAX };
        self.iter().take_while(move |address| *address != end)
    }
}

/// A record of the tracer itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A function was entered (tracer `function`).
    Function {
        /// The function.
        ip: u64,
        /// Where it was called from.
        parent_ip: u64,
        /// Its first arguments, where the kernel records them.
        args: Longs<'a>,
    },
    /// A call began (tracer `function_graph`).
    GraphEntry {
        /// The function.
        func: u64,
        /// How deep it is nested, 0 the outermost.
        depth: i32,
        /// Where it was called from, where the kernel records it.
        return_address: Option<u64>,
        /// Its first arguments, where the kernel records them.
        args: Longs<'a>,
    },
    /// A call ended.
    GraphExit {
        /// The function.
        func: u64,
        /// As in the entry.
        depth: i32,
        /// Calls that were too deep to be recorded.
        overrun: u32,
        /// When it began, in the unit of the trace's clock.
        calltime: u64,
        /// When it ended.
        rettime: u64,
        /// What it returned, where the kernel records it.
        retval: Option<u64>,
    },
    /// The kernel's stack at the event before.
    KernelStack(Longs<'a>),
    /// The program's stack at the event before.
    UserStack {
        /// The process.
        tgid: u32,
        /// Return addresses; zeros follow the last.
        callers: Longs<'a>,
    },
    /// A text (`trace_marker`, or the kernel's own).
    Print {
        /// Where in the kernel it was written.
        ip: u64,
        /// To the first NUL.
        text: &'a [u8],
    },
    /// A text that is made of a format in the kernel and arguments.
    Bprint {
        /// Where in the kernel it was written.
        ip: u64,
        /// Address of the format.
        format: u64,
        /// The arguments, packed in words of 32 bits.
        args: &'a [u8],
    },
    /// A text in the kernel.
    Bputs {
        /// Where in the kernel it was written.
        ip: u64,
        /// Address of the text.
        text: u64,
    },
    /// Bytes of a program (`trace_marker_raw`).
    RawData {
        /// What the program says that they are.
        id: u32,
        /// Them, and up to three more.
        bytes: &'a [u8],
    },
    /// The function before was entered more often.
    FuncRepeats {
        /// The function.
        ip: u64,
        /// Where it was called from.
        parent_ip: u64,
        /// How often.
        count: u64,
        /// The last time was so long before this record.
        delta: u64,
    },
}

/// Where the fields of the tracer's entries are.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// By `common_type`, which is small for all of them.
    layouts: Vec<Option<Layout>>,
    machine: Option<Machine>,
}

#[derive(Clone, Copy, Debug)]
enum Layout {
    Function { ip: usize, parent: usize, args: Option<usize> },
    GraphEntry { func: usize, depth: usize, ret: Option<usize>, args: Option<usize> },
    GraphExit { func: usize, depth: usize, overrun: usize, call: usize, end: usize, retval: Option<usize> },
    KernelStack { size: usize, caller: usize },
    UserStack { tgid: usize, caller: usize, size: usize },
    Print { ip: usize, text: usize },
    Bprint { ip: usize, format: usize, args: usize },
    Bputs { ip: usize, text: usize },
    RawData { id: usize, bytes: usize },
    FuncRepeats { ip: usize, parent: usize, count: usize, top: usize, bottom: usize },
}

impl Entries {
    /// Takes the layouts from the formats of the system `ftrace`.
    pub fn new(events: &Events) -> Entries {
        let mut entries = Entries::default();
        for format in events.iter().filter(|format| format.system == "ftrace") {
            if let Some(layout) = Layout::of(format) {
                let index = usize::from(format.id);
                if entries.layouts.len() <= index {
                    entries.layouts.resize(index + 1, None);
                }
                entries.layouts[index] = Some(layout);
                entries.machine = Some(format.machine);
            }
        }
        entries
    }

    /// What `record` is, if it is one of the tracer's own and long enough.
    #[inline]
    pub fn decode<'a>(&self, record: &'a [u8]) -> Option<Entry<'a>> {
        let machine = self.machine?;
        let id = machine.endian.u16(record, 0)?;
        let layout = self.layouts.get(usize::from(id))?.as_ref()?;
        layout.decode(record, machine)
    }
}

impl Layout {
    fn of(format: &Format) -> Option<Layout> {
        let at = |name: &str| format.field(name).map(|field| field.offset);
        let size = |name: &str| format.field(name).map(|field| field.size);
        Some(match format.name.as_str() {
            "function" => Layout::Function { ip: at("ip")?, parent: at("parent_ip")?, args: at("args") },
            "funcgraph_entry" | "funcgraph_retaddr_entry" => Layout::GraphEntry {
                func: at("func")?,
                depth: at("depth")?,
                ret: at("retaddr"),
                args: at("args"),
            },
            "funcgraph_exit" => Layout::GraphExit {
                func: at("func")?,
                depth: at("depth")?,
                overrun: at("overrun")?,
                call: at("calltime")?,
                end: at("rettime")?,
                retval: at("retval"),
            },
            "kernel_stack" => Layout::KernelStack { size: at("size")?, caller: at("caller")? },
            "user_stack" => {
                Layout::UserStack { tgid: at("tgid")?, caller: at("caller")?, size: size("caller")? }
            }
            "print" => Layout::Print { ip: at("ip")?, text: at("buf")? },
            "bprint" => Layout::Bprint { ip: at("ip")?, format: at("fmt")?, args: at("buf")? },
            "bputs" => Layout::Bputs { ip: at("ip")?, text: at("str")? },
            "raw_data" => Layout::RawData { id: at("id")?, bytes: at("buf")? },
            "func_repeats" => Layout::FuncRepeats {
                ip: at("ip")?,
                parent: at("parent_ip")?,
                count: at("count")?,
                top: at("top_delta_ts")?,
                bottom: at("bottom_delta_ts")?,
            },
            _ => return None,
        })
    }

    #[inline]
    fn decode<'a>(&self, record: &'a [u8], machine: Machine) -> Option<Entry<'a>> {
        let endian: Endian = machine.endian;
        let long = |at: usize| machine.long(record, at);
        let rest =
            |at: Option<usize>| Longs::new(at.and_then(|at| record.get(at..)).unwrap_or_default(), machine);
        Some(match *self {
            Layout::Function { ip, parent, args } => {
                Entry::Function { ip: long(ip)?, parent_ip: long(parent)?, args: rest(args) }
            }
            Layout::GraphEntry { func, depth, ret, args } => Entry::GraphEntry {
                func: long(func)?,
                depth: endian.u32(record, depth)? as i32,
                return_address: ret.and_then(long),
                args: rest(args),
            },
            Layout::GraphExit { func, depth, overrun, call, end, retval } => Entry::GraphExit {
                func: long(func)?,
                depth: endian.u32(record, depth)? as i32,
                overrun: endian.u32(record, overrun)?,
                calltime: endian.u64(record, call)?,
                rettime: endian.u64(record, end)?,
                retval: retval.and_then(long),
            },
            Layout::KernelStack { size, caller } => {
                // The format names an array of eight; the real number stands in front of it.
                let count = usize::try_from(endian.u32(record, size)? as i32).unwrap_or(0);
                let room = record.get(caller..)?;
                let bytes = count.saturating_mul(usize::from(machine.long_size)).min(room.len());
                Entry::KernelStack(Longs::new(&room[..bytes], machine))
            }
            Layout::UserStack { tgid, caller, size } => {
                let room = record.get(caller..)?;
                let callers = Longs::new(&room[..size.min(room.len())], machine);
                Entry::UserStack { tgid: endian.u32(record, tgid)?, callers }
            }
            Layout::Print { ip, text } => {
                Entry::Print { ip: long(ip)?, text: until_nul(record.get(text..)?) }
            }
            Layout::Bprint { ip, format, args } => {
                Entry::Bprint { ip: long(ip)?, format: long(format)?, args: record.get(args..)? }
            }
            Layout::Bputs { ip, text } => Entry::Bputs { ip: long(ip)?, text: long(text)? },
            Layout::RawData { id, bytes } => {
                Entry::RawData { id: endian.u32(record, id)?, bytes: record.get(bytes..)? }
            }
            Layout::FuncRepeats { ip, parent, count, top, bottom } => Entry::FuncRepeats {
                ip: long(ip)?,
                parent_ip: long(parent)?,
                count: u64::from(endian.u16(record, count)?),
                delta: u64::from(endian.u16(record, top)?) << 32 | u64::from(endian.u32(record, bottom)?),
            },
        })
    }
}
