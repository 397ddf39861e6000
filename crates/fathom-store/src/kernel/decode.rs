//! Records of the kernel's tracer as events of a trace.

use fathom_ftrace::events::Common;
use fathom_ftrace::{Events, Format, FormatError, Machine};

/// Deepest nesting that is believed; the kernel keeps no more than 50 levels, far less than the ten bits of depths.
const DEEPEST: u64 = 512;

/// The events that a recording of the kernel has, and how their records are laid out.
#[derive(Clone, Debug)]
pub struct Formats {
    pub(crate) machine: Machine,
    pub(crate) events: Events,
    entry: Option<Call>,
    exit: Option<Call>,
    function: Option<Place>,
}

/// Where `funcgraph_entry` and `funcgraph_exit` have what is needed.
#[derive(Clone, Copy, Debug)]
struct Call {
    id: u16,
    func: Place,
    depth: Place,
}

/// Where a number is.
#[derive(Clone, Copy, Debug)]
struct Place {
    id: u16,
    offset: usize,
    size: usize,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A function was entered.
    Entry { addr: u64, depth: u16 },
    /// A function was left.
    Exit { addr: u64, depth: u16 },
    /// A function was called, by the tracer that does not see it end.
    Called { addr: u64 },
    /// Another event, of that number.
    Event { id: u16 },
}

impl Formats {
    /// None yet; for records that `machine` wrote.
    pub fn new(machine: Machine) -> Formats {
        Formats { machine, events: Events::default(), entry: None, exit: None, function: None }
    }

    /// Adds the event that a format file describes.
    ///
    /// # Errors
    ///
    /// What makes no sense in the file.
    pub fn add(&mut self, system: &str, text: &str) -> Result<(), FormatError> {
        self.add_format(Format::parse(system, text, self.machine)?);
        Ok(())
    }

    /// Adds an event.
    pub fn add_format(&mut self, format: Format) {
        if format.system == "ftrace" {
            match format.name.as_str() {
                "funcgraph_entry" => self.entry = call(&format),
                "funcgraph_exit" => self.exit = call(&format),
                "function" => self.function = place(&format, "ip"),
                _ => {}
            }
        }
        self.events.add(format);
    }

    /// Whether records of functions can be read.
    pub fn has_functions(&self) -> bool {
        self.entry.is_some() || self.exit.is_some() || self.function.is_some()
    }

    /// The event of a number.
    pub fn format(&self, id: u16) -> Option<&Format> {
        self.events.get(id)
    }

    /// What a record says; none if it is too short for that.
    #[inline]
    pub(crate) fn decode(&self, common: Common, record: &[u8]) -> Option<Said> {
        let number = |place: Place| self.machine.endian.unsigned(record, place.offset, place.size);
        let depth = |call: Call| number(call.depth).map(|depth| depth.min(DEEPEST) as u16);
        if let Some(entry) = self.entry.filter(|entry| entry.id == common.id) {
            return Some(Said::Entry { addr: number(entry.func)?, depth: depth(entry)? });
        }
        if let Some(exit) = self.exit.filter(|exit| exit.id == common.id) {
            return Some(Said::Exit { addr: number(exit.func)?, depth: depth(exit)? });
        }
        if let Some(function) = self.function.filter(|function| function.id == common.id) {
            return Some(Said::Called { addr: number(function)? });
        }
        Some(Said::Event { id: common.id })
    }
}

fn place(format: &Format, name: &str) -> Option<Place> {
    let field = format.field(name).filter(|field| matches!(field.size, 1 | 2 | 4 | 8))?;
    Some(Place { id: format.id, offset: field.offset, size: field.size })
}

fn call(format: &Format) -> Option<Call> {
    Some(Call { id: format.id, func: place(format, "func")?, depth: place(format, "depth")? })
}
