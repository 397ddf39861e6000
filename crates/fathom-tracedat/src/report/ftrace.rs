//! Entries of the tracers themselves: functions, call graphs, stacks, markers.
//!
//! trace-cmd has its own text for them; their `print fmt` is used only where it is asked not to (`-N`).

use super::symbols::Symbols;
use fathom_ftrace::{Endian, Format, number};

/// Where a number is in a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    offset: usize,
    size: usize,
    signed: bool,
}

impl Place {
    /// The field of that name, if it is a number.
    pub(crate) fn of(format: &Format, name: &str) -> Option<Self> {
        let field = format.field(name)?;
        matches!(field.size, 1 | 2 | 4 | 8).then_some(Self {
            offset: field.offset,
            size: field.size,
            signed: field.signed,
        })
    }

    /// The number, 0 where the record is too short for it.
    #[inline]
    pub(crate) fn get(self, record: &[u8], endian: Endian) -> u64 {
        endian.unsigned(record, self.offset, self.size).unwrap_or_default()
    }

    /// The number with its sign.
    #[inline]
    pub(crate) fn signed(self, record: &[u8], endian: Endian) -> i64 {
        if self.signed {
            endian.signed(record, self.offset, self.size).unwrap_or_default()
        } else {
            self.get(record, endian).cast_signed()
        }
    }
}

/// Options of the plugins (`-O`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginOptions {
    /// `ftrace:parent`: the caller of each function.
    pub parent: bool,
    /// `ftrace:indent`: functions are indented below their callers.
    pub indent: bool,
    /// `ftrace:offset`: how far from their symbol's begin.
    pub offset: bool,
    /// `fgraph:tailprint`: the function's name where it returns.
    pub tailprint: bool,
    /// `fgraph:depth`: the depth of each call.
    pub depth: bool,
}

impl Default for PluginOptions {
    fn default() -> Self {
        Self { parent: false, indent: true, offset: false, tailprint: false, depth: false }
    }
}

/// Plugins with their options.
const OPTIONS: [(&str, &str); 5] = [
    ("ftrace", "parent"),
    ("ftrace", "indent"),
    ("ftrace", "offset"),
    ("fgraph", "tailprint"),
    ("fgraph", "depth"),
];

/// An option that no plugin has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "plugin option '{0}' is not known (ftrace has parent, indent and offset; fgraph has tailprint and depth)"
)]
pub struct UnknownOption(String);

impl PluginOptions {
    /// Sets `[PLUGIN:]OPTION[=VALUE]`; the value 0 or `false` switches off, any other and none switch on.
    ///
    /// # Errors
    /// An option or a plugin that is not known.
    pub fn set(&mut self, text: &str) -> Result<(), UnknownOption> {
        let (name, value) = text.split_once('=').unwrap_or((text, "1"));
        let (plugin, name) = match name.split_once(':') {
            Some((plugin, name)) => (Some(plugin), name),
            None => (None, name),
        };
        let known = OPTIONS
            .iter()
            .find(|(of, option)| *option == name.trim() && plugin.is_none_or(|plugin| plugin.trim() == *of));
        let on = !matches!(value.trim(), "0" | "false");
        match known.map(|(_, option)| *option) {
            Some("parent") => self.parent = on,
            Some("indent") => self.indent = on,
            Some("offset") => self.offset = on,
            Some("tailprint") => self.tailprint = on,
            Some("depth") => self.depth = on,
            _ => return Err(UnknownOption(text.to_owned())),
        }
        Ok(())
    }
}

/// A function that was called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Function {
    pub(crate) ip: Place,
    pub(crate) parent: Place,
}

/// What is repeated instead of being recorded again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeats {
    pub(crate) function: Function,
    pub(crate) count: Place,
    pub(crate) top: Place,
    pub(crate) bottom: Place,
}

/// The functions that are open on a CPU as far as one can tell without returns: the callers of a call are looked
/// for among the latest calls.
#[derive(Debug, Default)]
pub(crate) struct Indents {
    stack: Vec<u64>,
}

impl Indents {
    /// How deep a call is, where symbols stand for functions.
    fn depth(&mut self, parent: u64, function: u64) -> usize {
        let found = self.stack.iter().position(|&open| open == parent);
        let depth = found.unwrap_or_else(|| {
            self.put(0, parent);
            0
        });
        self.put(depth + 1, function);
        depth
    }

    fn put(&mut self, at: usize, function: u64) {
        match self.stack.get_mut(at) {
            Some(place) => *place = function,
            None => self.stack.push(function),
        }
    }
}

impl Function {
    pub(crate) fn of(format: &Format) -> Option<Self> {
        Some(Self { ip: Place::of(format, "ip")?, parent: Place::of(format, "parent_ip")? })
    }

    /// Writes the call as the plugin does.
    pub(crate) fn write(
        self,
        out: &mut Vec<u8>,
        record: &[u8],
        endian: Endian,
        symbols: &Symbols,
        options: PluginOptions,
        indents: &mut Indents,
    ) {
        let (ip, parent) = (self.ip.get(record, endian), self.parent.get(record, endian));
        let function = symbols.find(ip);
        if options.indent
            && let (Some((_, function)), Some((_, parent))) = (function, symbols.find(parent))
        {
            let depth = indents.depth(parent, function);
            out.resize(out.len() + 3 * depth, b' ');
        }
        name(out, ip, symbols, options.offset);
        if options.parent {
            out.extend_from_slice(b" <-- ");
            name(out, parent, symbols, options.offset);
        }
    }
}

fn name(out: &mut Vec<u8>, address: u64, symbols: &Symbols, offset: bool) {
    match symbols.find(address) {
        Some((name, begin)) => {
            out.extend_from_slice(name);
            if offset {
                out.extend_from_slice(b"+0x");
                number::hex(out, address.wrapping_sub(begin));
                out.push(b' ');
            }
        }
        None => {
            out.extend_from_slice(b"0x");
            number::hex(out, address);
        }
    }
}

impl Repeats {
    pub(crate) fn of(format: &Format) -> Option<Self> {
        Some(Self {
            function: Function::of(format)?,
            count: Place::of(format, "count")?,
            top: Place::of(format, "top_delta_ts")?,
            bottom: Place::of(format, "bottom_delta_ts")?,
        })
    }

    /// Writes what precedes the time of the last call, and tells that time.
    pub(crate) fn write(
        self,
        out: &mut Vec<u8>,
        (record, time): (&[u8], u64),
        endian: Endian,
        symbols: &Symbols,
        options: PluginOptions,
        indents: &mut Indents,
    ) -> u64 {
        self.function.write(out, record, endian, symbols, options, indents);
        out.extend_from_slice(b" (count: ");
        number::decimal(out, self.count.get(record, endian));
        out.extend_from_slice(b"  last_ts:");
        let delta = self.top.get(record, endian) << 32 | self.bottom.get(record, endian);
        time.wrapping_sub(delta)
    }
}

/// Writes a kernel stack: every address from `at` to the record's end, or to one that is all ones.
pub(crate) fn kernel_stack(
    out: &mut Vec<u8>,
    record: &[u8],
    at: usize,
    machine: fathom_ftrace::Machine,
    symbols: &Symbols,
    offset: bool,
) {
    out.extend_from_slice(b"<stack trace >\n");
    let size = usize::from(machine.long_size);
    let end = if size == 4 { u64::from(u32::MAX) } else { u64::MAX };
    let mut at = at;
    while let Some(address) = machine.long(record, at) {
        if address == end {
            break;
        }
        out.extend_from_slice(b"=> ");
        if symbols.find(address).is_some() {
            name(out, address, symbols, offset);
            out.extend_from_slice(b" (");
            number::hex(out, address);
            out.push(b')');
        } else {
            number::hex(out, address);
        }
        out.push(b'\n');
        at += size;
    }
}

/// Writes what was written into `trace_marker_raw`: its number and its bytes.
pub(crate) fn raw_data(out: &mut Vec<u8>, record: &[u8], id: Place, at: usize, endian: Endian) {
    out.extend_from_slice(b"# ");
    number::hex(out, id.get(record, endian));
    for &byte in record.get(at..).unwrap_or_default() {
        out.push(b' ');
        number::hex_fixed(out, byte.into(), 2);
    }
}

/// A call that begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) function: Place,
    pub(crate) depth: Place,
}

/// A call that ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exit {
    pub(crate) function: Place,
    pub(crate) depth: Place,
    pub(crate) call_time: Place,
    pub(crate) return_time: Place,
}

impl Entry {
    pub(crate) fn of(format: &Format) -> Option<Self> {
        Some(Self { function: Place::of(format, "func")?, depth: Place::of(format, "depth")? })
    }

    /// Writes a call within which nothing was recorded, with its duration in nanoseconds; or the begin of one.
    pub(crate) fn write(
        self,
        out: &mut Vec<u8>,
        record: &[u8],
        leaf: Option<u64>,
        endian: Endian,
        symbols: &Symbols,
        options: PluginOptions,
    ) {
        match leaf {
            Some(duration_ns) => duration(out, duration_ns),
            None => out.extend_from_slice(b"             "),
        }
        out.extend_from_slice(b"|  ");
        let depth = self.depth.get(record, endian);
        indent(out, depth);
        let address = self.function.get(record, endian);
        match symbols.find(address) {
            Some((name, _)) => out.extend_from_slice(name),
            None => number::hex(out, address),
        }
        out.extend_from_slice(if leaf.is_some() { b"();" } else { b"() {" });
        write_depth(out, depth, options);
    }
}

impl Exit {
    pub(crate) fn of(format: &Format) -> Option<Self> {
        Some(Self {
            function: Place::of(format, "func")?,
            depth: Place::of(format, "depth")?,
            call_time: Place::of(format, "calltime")?,
            return_time: Place::of(format, "rettime")?,
        })
    }

    /// Nanoseconds of the call.
    pub(crate) fn duration(self, record: &[u8], endian: Endian) -> u64 {
        self.return_time.get(record, endian).wrapping_sub(self.call_time.get(record, endian))
    }

    /// Writes the end of a call.
    pub(crate) fn write(
        self,
        out: &mut Vec<u8>,
        record: &[u8],
        endian: Endian,
        symbols: &Symbols,
        options: PluginOptions,
    ) {
        duration(out, self.duration(record, endian));
        out.extend_from_slice(b"|  ");
        let depth = self.depth.get(record, endian);
        indent(out, depth);
        out.push(b'}');
        if options.tailprint {
            out.extend_from_slice(b" /* ");
            let address = self.function.get(record, endian);
            match symbols.find(address) {
                Some((name, _)) => out.extend_from_slice(name),
                None => number::hex(out, address),
            }
            out.extend_from_slice(b" */");
        }
        write_depth(out, depth, options);
    }
}

fn write_depth(out: &mut Vec<u8>, depth: u64, options: PluginOptions) {
    if options.depth {
        out.extend_from_slice(b" (");
        number::decimal(out, depth);
        out.push(b')');
    }
}

/// Two spaces for each level; a depth that cannot be is not believed.
fn indent(out: &mut Vec<u8>, depth: u64) {
    out.resize(out.len() + 2 * depth.min(1024) as usize, b' ');
}

/// The mark of a long call, and its duration in microseconds in the width that the column has.
fn duration(out: &mut Vec<u8>, nanoseconds: u64) {
    out.extend_from_slice(match nanoseconds {
        1_000_000_001.. => b"$ ",
        1_000_001.. => b"# ",
        100_001.. => b"! ",
        10_001.. => b"+ ",
        _ => b"  ",
    });
    let start = out.len();
    number::decimal(out, nanoseconds / 1000);
    if out.len() - start < 7 {
        out.push(b'.');
        number::padded(out, nanoseconds % 1000, 3, b'0');
    }
    let width = out.len() - start;
    out.extend_from_slice(b" us ");
    out.resize(out.len() + 7_usize.saturating_sub(width), b' ');
}
