//! Events as the analyses see them: fields by name, whatever kernel they come from.

use fathom_ftrace::Format;
use fathom_ftrace::events::Common;
use std::borrow::Cow;

/// One decoded record.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Nanoseconds of the trace's clock.
    pub time: u64,
    /// The CPU it was written on.
    pub cpu: u32,
    /// The task that was running.
    pub pid: i32,
    /// `common_flags`: see [`Event::in_interrupt`].
    pub flags: u8,
    /// Depth of disabled preemption in the low four bits, of disabled migration in the high ones.
    pub preempt: u8,
    format: &'a Format,
    record: &'a [u8],
}

impl<'a> Event<'a> {
    /// An event from a record with its format. Nothing if the record is shorter than what all events begin with.
    pub fn new(time: u64, cpu: u32, format: &'a Format, record: &'a [u8]) -> Option<Event<'a>> {
        let common = Common::read(record, format.machine)?;
        Some(Event {
            time,
            cpu,
            pid: common.pid,
            flags: common.flags,
            preempt: common.preempt_count,
            format,
            record,
        })
    }

    /// Its name without the system: `sched_switch`.
    pub fn name(&self) -> &'a str {
        &self.format.name
    }

    /// Its system: `sched`.
    pub fn system(&self) -> &'a str {
        &self.format.system
    }

    /// The number in that field, sign-extended if the field is signed.
    pub fn num(&self, field: &str) -> Option<i64> {
        self.format.field(field)?.i64(self.record, self.format.machine.endian)
    }

    /// The number in the first of these fields that the event has: names differ between kernels.
    pub fn first(&self, fields: &[&str]) -> Option<i64> {
        fields.iter().find_map(|field| self.num(field))
    }

    /// The text in that field; bytes that are no UTF-8 are replaced.
    pub fn text(&self, field: &str) -> Option<Cow<'a, str>> {
        let bytes = self.format.field(field)?.text(self.record, self.format.machine.endian)?;
        Some(String::from_utf8_lossy(bytes))
    }

    /// The name that the event's print format gives to the number in that field (`__print_symbolic`), as for reasons and states;
    /// nothing if it has none for it.
    pub fn word(&self, field: &str) -> Option<&'a str> {
        let value = self.num(field)?;
        let table = self.format.print_fmt.split_once(&format!("__print_symbolic(REC->{field},"))?.1;
        let mut rest = table.split_once(')').map_or(table, |(table, _)| table);
        while let Some((_, entry)) = rest.split_once('{') {
            let (entry, behind) = entry.split_once('}')?;
            let (number, name) = entry.split_once(',')?;
            if parse_number(number.trim()) == Some(value) {
                return Some(name.trim().trim_matches('"'));
            }
            rest = behind;
        }
        None
    }

    /// Did it happen in a hardware interrupt, a soft interrupt or an NMI?
    pub fn in_interrupt(&self) -> bool {
        const NMI_HARD_SOFT: u8 = 0x40 | 0x08 | 0x10;
        self.flags & NMI_HARD_SOFT != 0
    }

    /// The addresses of a stack record (`kernel_stack`, `user_stack`), innermost first. The declared length of the array is not
    /// true: it goes on as far as the record says.
    pub fn frames(&self) -> Vec<u64> {
        let machine = self.format.machine;
        let Some(field) = self.format.field("caller") else { return Vec::new() };
        let word = usize::from(machine.long_size);
        let room = self.record.len().saturating_sub(field.offset) / word.max(1);
        let count = self.num("size").and_then(|size| usize::try_from(size).ok()).unwrap_or(room).min(room);
        (0..count).map_while(|index| machine.long(self.record, field.offset + index * word)).collect()
    }
}

fn parse_number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
