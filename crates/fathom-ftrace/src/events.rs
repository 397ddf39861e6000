//! The events of a recording, by the number that their records begin with.

use crate::format::Format;
use crate::machine::Machine;
use rustc_hash::FxHashMap;

/// Formats by `common_type`.
#[derive(Clone, Debug, Default)]
pub struct Events {
    by_id: Vec<Option<Box<Format>>>,
    /// What events that are probes on events (`SYSTEM/EVENT`) are attached to, as the kernel shows it.
    eprobes: FxHashMap<String, String>,
}

impl Events {
    /// Adds a format. A later one with the same number takes the place of the earlier.
    pub fn add(&mut self, format: Format) {
        let index = usize::from(format.id);
        if self.by_id.len() <= index {
            self.by_id.resize_with(index + 1, || None);
        }
        self.by_id[index] = Some(Box::new(format));
    }

    /// The format of the records that begin with this number.
    #[inline]
    pub fn get(&self, id: u16) -> Option<&Format> {
        self.by_id.get(usize::from(id))?.as_deref()
    }

    /// The format of `record`.
    #[inline]
    pub fn of(&self, record: &[u8], machine: Machine) -> Option<&Format> {
        self.get(machine.endian.u16(record, 0)?)
    }

    /// The event of that name, of a system or, without one, the first by number.
    pub fn by_name(&self, system: Option<&str>, name: &str) -> Option<&Format> {
        self.iter().find(|format| format.name == name && system.is_none_or(|system| format.system == system))
    }

    /// Learns from tracefs' `dynamic_events` what probes on events are attached to; their formats do not say.
    pub fn add_dynamic_events(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let Some((event, target)) =
                words.next().and_then(|word| word.strip_prefix("e:")).zip(words.next())
            {
                self.eprobes.insert(event.to_owned(), target.replacen('/', ".", 1));
            }
        }
    }

    pub(crate) fn eprobes(&self) -> &FxHashMap<String, String> {
        &self.eprobes
    }

    /// All of them by number.
    pub fn iter(&self) -> impl Iterator<Item = &Format> {
        self.by_id.iter().flatten().map(|format| &**format)
    }
}

impl Extend<Format> for Events {
    fn extend<T: IntoIterator<Item = Format>>(&mut self, formats: T) {
        formats.into_iter().for_each(|format| self.add(format));
    }
}

/// What every record begins with, in 8 bytes: `u16 type, u8 flags, u8 preempt_count, s32 pid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// Number of the event.
    pub id: u16,
    /// `common_flags`: interrupts, rescheduling, context.
    pub flags: u8,
    /// Depth of disabled preemption in the low four bits, of disabled migration in the high ones.
    pub preempt_count: u8,
    /// The task (thread) that was running, 0 the idle one.
    pub pid: i32,
}

impl Common {
    /// The length of it.
    pub const SIZE: usize = 8;

    /// Reads it. None when the record is shorter.
    #[inline]
    pub fn read(record: &[u8], machine: Machine) -> Option<Common> {
        let head: &[u8; Common::SIZE] = record.first_chunk()?;
        Some(Common {
            id: machine.endian.u16(head, 0)?,
            flags: head[2],
            preempt_count: head[3],
            pid: machine.endian.u32(head, 4)? as i32,
        })
    }
}
