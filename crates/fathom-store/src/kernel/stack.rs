//! How deep a task is in the kernel.

use crate::{Event, Kind};

/// The open calls of a task in the kernel.
///
/// Records say how deep they are, but not in all cases truly: with a filter of functions depths are counted from the
/// function that it names, and so begin anew in an interrupt that comes in the middle of another such function. Calls
/// are properly nested nevertheless, as long as nothing was lost.
#[derive(Debug, Default)]
pub struct KernelStack {
    open: Vec<Open>,
    /// Records are missing since the last call.
    lossy: bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    addr: u64,
    /// As recorded.
    recorded: u32,
    /// As it is.
    depth: u32,
}

/// The kernel keeps no more calls of a task than 50, and some are open in an interrupt. Where there seem to be more, ends
/// of calls are missing.
const MOST: usize = 128;

impl KernelStack {
    /// All calls have ended.
    pub fn clear(&mut self) {
        self.open.clear();
        self.lossy = false;
    }

    /// The depth that a record is at: a call's own; else that of a call that would begin there.
    pub fn depth(&mut self, event: &Event) -> u32 {
        let recorded = u32::from(event.depth);
        match event.kind {
            Kind::Entry => {
                if self.lossy || self.open.len() >= MOST {
                    self.lossy = false;
                    while self.open.last().is_some_and(|top| top.recorded >= recorded) {
                        self.open.pop();
                    }
                }
                let depth = self.open.last().map_or(recorded, |top| {
                    top.depth.saturating_add(recorded.saturating_sub(top.recorded).max(1))
                });
                self.open.push(Open { addr: event.addr, recorded, depth });
                depth
            }
            Kind::Exit => {
                let own = |open: &Open| open.addr == event.addr && open.recorded == recorded;
                if let Some(index) = self.open.iter().rposition(own) {
                    let depth = self.open[index].depth;
                    self.open.truncate(index);
                    return depth;
                }
                self.lossy = false;
                while self.open.last().is_some_and(|top| top.recorded >= recorded) {
                    self.open.pop();
                }
                self.open.last().map_or(recorded, |top| top.depth.saturating_add(recorded - top.recorded))
            }
            Kind::Lost => {
                self.lossy = true;
                self.next()
            }
            Kind::Event => self.next(),
        }
    }

    fn next(&self) -> u32 {
        self.open.last().map_or(0, |top| top.depth.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Kind::{Entry, Exit, Lost};

    fn depths(records: &[(Kind, u64, u16)]) -> Vec<u32> {
        let mut stack = KernelStack::default();
        let event = |(kind, addr, depth): &(Kind, u64, u16)| Event {
            time: 0,
            addr: *addr,
            data_start: 0,
            data_len: 0,
            depth: *depth,
            kind: *kind,
            inherited: false,
        };
        records.iter().map(|record| stack.depth(&event(record))).collect()
    }

    #[test]
    fn depths_that_begin_anew_in_an_interrupt() {
        let records = [
            (Entry, 1, 0),
            (Entry, 2, 0),
            (Entry, 3, 1),
            (Exit, 3, 1),
            (Exit, 2, 0),
            (Exit, 1, 0),
            (Entry, 1, 0),
        ];
        assert_eq!(depths(&records), [0, 1, 2, 2, 1, 0, 0]);
    }

    #[test]
    fn after_a_loss_only_depths_count() {
        let records = [(Entry, 1, 0), (Entry, 2, 1), (Lost, 9, 0), (Entry, 3, 1), (Exit, 3, 1), (Exit, 1, 0)];
        assert_eq!(depths(&records), [0, 1, 2, 1, 1, 0]);
        let records = [(Entry, 1, 0), (Entry, 2, 1), (Lost, 9, 0), (Exit, 4, 5), (Exit, 5, 1), (Entry, 6, 2)];
        assert_eq!(depths(&records), [0, 1, 2, 5, 1, 2]);
    }

    #[test]
    fn what_began_before_is_as_deep_as_it_says() {
        assert_eq!(depths(&[(Exit, 3, 4), (Exit, 2, 3), (Entry, 5, 3), (Entry, 6, 6)]), [4, 3, 3, 6]);
    }
}
