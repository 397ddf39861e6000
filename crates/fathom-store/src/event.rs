//! Decoded records.

/// What an [`Event`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A function was entered; `addr` is a code address inside it.
    Entry,
    /// A function was left; `addr` is that of its entry.
    Exit,
    /// Records are missing here; `addr` is how many, 0 when it is not known.
    Lost,
    /// Something happened that is not a call; `addr` is the event's id (`docs/format.md`, event ids).
    Event,
}

/// One decoded record of one task. 32 bytes, plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds of the trace clock. 0 for [`Kind::Lost`] records of stores that keep no time for them.
    pub time: u64,
    /// Code address, count or event id: see [`Kind`].
    pub addr: u64,
    /// Offset of the payload (arguments, return value, event data) in [`Batch::data`].
    pub data_start: u32,
    /// Length of the payload in bytes; 0 when there is none.
    pub data_len: u32,
    /// Call depth as recorded: 0 is the outermost function. Stores that keep ten bits wrap at 1024.
    pub depth: u16,
    /// What this is.
    pub kind: Kind,
    /// A frame that a forked child took over from its parent: it is on the child's stack, but the call was
    /// made by the parent. The child's entry is repeated at the moment of the fork so that every exit has
    /// its entry; views that show calls as they were made leave it out.
    pub inherited: bool,
}

/// A run of events of one task, in time order, with their payloads.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The events.
    pub events: Vec<Event>,
    /// Payload bytes that [`Event::data_start`] points into.
    pub data: Vec<u8>,
}

impl Batch {
    /// Empties both lists and keeps their memory.
    pub fn clear(&mut self) {
        self.events.clear();
        self.data.clear();
    }

    /// The payload of `event`, empty when it has none.
    pub fn payload(&self, event: &Event) -> &[u8] {
        let start = event.data_start as usize;
        self.data.get(start..start + event.data_len as usize).unwrap_or_default()
    }
}
