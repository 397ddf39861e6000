//! What stands in front of an event: task, CPU, state, time.

use super::TextOptions;
use crate::events::Common;
use crate::number;
use crate::tables::{Clock, Comms, Tgids};
use rustc_hash::FxHashMap;
use std::borrow::Cow;

#[derive(Debug)]
pub(super) struct Columns<'a> {
    comms: Cow<'a, Comms>,
    tgids: Option<&'a Tgids>,
    clock: Clock,
    irq_info: bool,
    lazy: bool,
    /// `            comm-pid     ` of the tasks that have a saved name.
    tasks: FxHashMap<i32, Box<[u8]>>,
}

impl<'a> Columns<'a> {
    pub(super) fn new(comms: &'a Comms, options: &TextOptions<'a>) -> Columns<'a> {
        let mut columns = Columns {
            comms: Cow::Borrowed(comms),
            tgids: options.tgids,
            clock: options.clock,
            irq_info: options.irq_info,
            lazy: options.lazy_resched,
            tasks: FxHashMap::default(),
        };
        columns.keep_tasks();
        columns
    }

    /// Takes other names of tasks.
    pub(super) fn set_comms(&mut self, comms: Comms) {
        self.comms = Cow::Owned(comms);
        self.keep_tasks();
    }

    fn keep_tasks(&mut self) {
        self.tasks.clear();
        let pids: Vec<i32> = self.comms.iter().map(|(pid, _)| pid).chain([0]).collect();
        for pid in pids {
            let mut text = Vec::new();
            self.task(&mut text, pid);
            self.tasks.insert(pid, text.into());
        }
    }

    pub(super) fn comm(&self, pid: i32) -> &[u8] {
        self.comms.shown(pid)
    }

    pub(super) fn print(&self, out: &mut Vec<u8>, cpu: u32, time: u64, common: Common) {
        match self.tasks.get(&common.pid) {
            Some(text) => out.extend_from_slice(text),
            None => self.task(out, common.pid),
        }
        out.push(b'[');
        number::zero_padded(out, u64::from(cpu), 3);
        out.extend_from_slice(b"] ");
        if self.irq_info {
            out.extend_from_slice(&state(common, self.lazy));
        }
        out.push(b' ');
        self.time(out, time);
        out.extend_from_slice(b": ");
    }

    fn task(&self, out: &mut Vec<u8>, pid: i32) {
        let comm = self.comm(pid);
        number::spaces(out, 16usize.saturating_sub(comm.len()));
        out.extend_from_slice(comm);
        out.push(b'-');
        let start = out.len();
        number::signed(out, i64::from(pid));
        number::spaces(out, (start + 7).saturating_sub(out.len()));
        out.push(b' ');
        if let Some(tgids) = self.tgids {
            match tgids.get(pid) {
                Some(tgid) => out.extend_from_slice(format!("({tgid:7}) ").as_bytes()),
                None => out.extend_from_slice(b"(-------) "),
            }
        }
    }

    /// Seconds with six decimals, rounded; or what an unscaled clock counts.
    pub(super) fn time(&self, out: &mut Vec<u8>, time: u64) {
        match self.clock {
            Clock::Nanoseconds => seconds(out, time.wrapping_add(500) / 1000),
            Clock::Unscaled => {
                let start = out.len();
                number::decimal(out, time);
                let padding = (start + 12).saturating_sub(out.len());
                pad_front(out, start, padding);
            }
        }
    }
}

/// Microseconds as `%5u.%06u` seconds.
pub(super) fn seconds(out: &mut Vec<u8>, microseconds: u64) {
    let (whole, mut rest) = (microseconds / 1_000_000, (microseconds % 1_000_000) as u32);
    if whole < 10_000 {
        number::spaces(
            out,
            [4, 3, 2, 1][(whole > 9) as usize + (whole > 99) as usize + (whole > 999) as usize],
        );
    }
    number::decimal(out, whole);
    let mut decimals = *b".000000";
    for place in decimals[1..].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&decimals);
}

fn pad_front(out: &mut Vec<u8>, start: usize, padding: usize) {
    number::spaces(out, padding);
    out[start..].rotate_right(padding);
}

/// The five characters: interrupts, rescheduling, context, depth of disabled preemption and migration.
///
/// With `lazy`, bit 1 is that rescheduling may wait; before, it was that the state of interrupts is not known.
pub(super) fn state(common: Common, lazy: bool) -> [u8; 5] {
    let has = |bit: u8| common.flags & bit != 0;
    let interrupts = match (has(0x01), has(0x80)) {
        (true, true) => b'D',
        (true, false) => b'd',
        (false, true) => b'b',
        (false, false) if has(0x02) && !lazy => b'X',
        (false, false) => b'.',
    };
    // (need-resched, lazily, preempt-resched)
    let resched = match (has(0x04), lazy && has(0x02), has(0x20)) {
        (true, true, true) => b'B',
        (true, false, true) => b'N',
        (false, true, true) => b'L',
        (true, true, false) => b'b',
        (true, false, false) => b'n',
        (false, true, false) => b'l',
        (false, false, true) => b'p',
        (false, false, false) => b'.',
    };
    // (NMI, hard interrupt, soft interrupt)
    let context = match (has(0x40), has(0x08), has(0x10)) {
        (true, true, _) => b'Z',
        (true, false, _) => b'z',
        (false, true, true) => b'H',
        (false, true, false) => b'h',
        (false, false, true) => b's',
        (false, false, false) => b'.',
    };
    let digit = |depth: u8| if depth == 0 { b'.' } else { b"0123456789abcdef"[usize::from(depth & 15)] };
    [interrupts, resched, context, digit(common.preempt_count & 15), digit(common.preempt_count >> 4)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (time, text) in [
            (0, "    0.000000"),
            (5_540_908, "    5.540908"),
            (12_000_000, "   12.000000"),
            (12_345_000_001, "12345.000001"),
            (1_234_567_000_001, "1234567.000001"),
        ] {
            let mut out = Vec::new();
            seconds(&mut out, time);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
