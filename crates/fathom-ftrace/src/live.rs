//! The records of all CPUs in the order of time, while they still come.
//!
//! Pages are taken in rounds, each of which empties every CPU. What is not newer than the newest record of the round before
//! was there before this round began, and so has been taken from every CPU by its end: up to that time all is in order.
//! What a round brings is handed on by the next one, or at the end.

use crate::page::{Missed, PageError, PageLayout, Record};

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A record.
    Record(Record<'a>),
    /// Events were lost here.
    Missed(Missed),
    /// A page, or the rest of one, cannot be read.
    Damaged(PageError),
}

#[derive(Clone, Copy, Debug)]
struct Held {
    time: u64,
    cpu: u32,
    what: What,
    /// It has been handed on together with another.
    taken: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Record { start: usize, len: usize },
    Missed(Missed),
    Damaged(PageError),
}

/// Puts records in order.
#[derive(Debug)]
pub struct Live {
    layout: PageLayout,
    held: Vec<Held>,
    bytes: Vec<u8>,
    /// The newest time of the round before.
    safe: u64,
    newest: u64,
}

impl Live {
    /// For pages of that layout.
    pub fn new(layout: PageLayout) -> Live {
        Live { layout, held: Vec::new(), bytes: Vec::new(), safe: 0, newest: 0 }
    }

    /// Takes whole pages of a CPU.
    pub fn pages(&mut self, cpu: u32, pages: &[u8]) {
        for bytes in pages.chunks(self.layout.size().max(1)) {
            self.page(cpu, bytes);
        }
    }

    fn page(&mut self, cpu: u32, bytes: &[u8]) {
        let mut hold = |time, what| self.held.push(Held { time, cpu, what, taken: false });
        let page = match self.layout.page(bytes) {
            Ok(page) => page,
            Err(error) => return hold(self.newest, What::Damaged(error)),
        };
        let mut records = page.records();
        let mut missed = page.missed;
        let mut last = page.time;
        for record in records.by_ref() {
            // What was lost belongs before the first record that is left.
            if let Some(missed) = missed.take() {
                hold(record.time, What::Missed(missed));
            }
            let start = self.bytes.len();
            self.bytes.extend_from_slice(record.data);
            hold(record.time, What::Record { start, len: record.data.len() });
            last = record.time;
        }
        if let Some(missed) = missed {
            hold(last, What::Missed(missed));
        }
        if let Some(error) = records.error() {
            hold(last, What::Damaged(error));
        }
        self.newest = self.newest.max(last);
    }

    /// Whether something is said of any record that is held and will be handed on by the next round.
    pub fn has_news(&self, said: impl Fn(&[u8]) -> bool) -> bool {
        self.held.iter().filter_map(|held| self.record(held)).any(|record| said(record.data))
    }

    /// A round is over: hands on what is in order by now. `see` gets what comes next, its CPU, and the record that follows on
    /// the same CPU, and says whether it has taken that, too.
    ///
    /// # Errors
    ///
    /// Those of `see`.
    pub fn round<E>(
        &mut self,
        see: impl FnMut(u32, Next<'_>, Option<Record<'_>>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let until = self.safe;
        self.safe = self.newest;
        self.hand_on(until, see)
    }

    /// Hands on all that is left.
    ///
    /// # Errors
    ///
    /// Those of `see`.
    pub fn end<E>(
        &mut self,
        see: impl FnMut(u32, Next<'_>, Option<Record<'_>>) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.hand_on(u64::MAX, see)
    }

    fn hand_on<E>(
        &mut self,
        until: u64,
        mut see: impl FnMut(u32, Next<'_>, Option<Record<'_>>) -> Result<bool, E>,
    ) -> Result<(), E> {
        // Records of a CPU are in order already, and stay so where times are equal.
        self.held.sort_by_key(|held| (held.time, held.cpu));
        let ready = self.held.partition_point(|held| held.time <= until);
        for at in 0..ready {
            let Held { cpu, what, taken, .. } = self.held[at];
            if taken {
                continue;
            }
            let next = match what {
                What::Record { .. } => {
                    self.held[at + 1..].iter().position(|held| held.cpu == cpu).map(|n| at + 1 + n)
                }
                _ => None,
            };
            let following = next.and_then(|next| self.record(&self.held[next]));
            let now = match what {
                What::Missed(missed) => Next::Missed(missed),
                What::Damaged(error) => Next::Damaged(error),
                What::Record { .. } => match self.record(&self.held[at]) {
                    Some(record) => Next::Record(record),
                    None => continue,
                },
            };
            if see(cpu, now, following)?
                && let Some(next) = next
            {
                self.held[next].taken = true;
            }
        }
        self.forget(ready);
        Ok(())
    }

    fn record(&self, held: &Held) -> Option<Record<'_>> {
        let What::Record { start, len } = held.what else { return None };
        Some(Record { time: held.time, data: self.bytes.get(start..start + len)? })
    }

    /// Drops what was handed on, and the bytes of it.
    fn forget(&mut self, ready: usize) {
        self.held.drain(..ready);
        self.held.retain(|held| !held.taken);
        let mut bytes = Vec::new();
        for held in &mut self.held {
            if let What::Record { start, len } = &mut held.what {
                let from = bytes.len();
                bytes.extend_from_slice(self.bytes.get(*start..*start + *len).unwrap_or_default());
                *start = from;
            }
        }
        self.bytes = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Machine;

    /// A page of 4-byte records at these times.
    fn page(times: &[u64]) -> Vec<u8> {
        let mut data = Vec::new();
        let mut now = times[0];
        for time in times {
            let header = 1 | u32::try_from(time - now).unwrap() << 5;
            now = *time;
            data.extend_from_slice(&header.to_le_bytes());
            data.extend_from_slice(&u32::try_from(*time).unwrap().to_le_bytes());
        }
        let mut page = times[0].to_le_bytes().to_vec();
        page.extend_from_slice(&(data.len() as u64).to_le_bytes());
        page.extend_from_slice(&data);
        page.resize(4096, 0);
        page
    }

    fn seen(live: &mut Live, end: bool) -> Vec<(u32, u64)> {
        let mut seen = Vec::new();
        let mut see = |cpu: u32, next: Next<'_>, _: Option<Record<'_>>| {
            if let Next::Record(record) = next {
                assert_eq!(record.data, u32::try_from(record.time).unwrap().to_le_bytes());
                seen.push((cpu, record.time));
            }
            Ok::<bool, ()>(false)
        };
        if end { live.end(&mut see) } else { live.round(&mut see) }.unwrap();
        seen
    }

    #[test]
    fn a_round_hands_on_what_no_other_cpu_can_come_before() {
        let mut live = Live::new(PageLayout::of(Machine::host(), 4096));
        live.pages(0, &page(&[10, 30]));
        live.pages(1, &page(&[20]));
        assert_eq!(seen(&mut live, false), []);
        // What was on its way to CPU 1 when CPU 0 was read.
        live.pages(1, &page(&[25, 40]));
        assert_eq!(seen(&mut live, false), [(0, 10), (1, 20), (1, 25), (0, 30)]);
        assert_eq!(seen(&mut live, true), [(1, 40)]);
        assert_eq!(seen(&mut live, true), []);
    }

    #[test]
    fn what_follows_on_the_cpu_can_be_taken_along() {
        let mut live = Live::new(PageLayout::of(Machine::host(), 4096));
        live.pages(0, &page(&[10, 30, 50]));
        live.pages(1, &page(&[20]));
        let mut seen = Vec::new();
        let see = |cpu: u32, next: Next<'_>, following: Option<Record<'_>>| {
            let Next::Record(record) = next else { panic!("only records") };
            seen.push((cpu, record.time, following.map(|record| record.time)));
            Ok::<bool, ()>(record.time == 10)
        };
        live.end(see).unwrap();
        assert_eq!(seen, [(0, 10, Some(30)), (1, 20, None), (0, 50, None)]);
    }

    #[test]
    fn damaged_pages_are_told() {
        let mut live = Live::new(PageLayout::of(Machine::host(), 4096));
        live.pages(0, &[0xff; 4096]);
        let mut damaged = 0;
        live.end(|_, next, _| {
            damaged += usize::from(matches!(next, Next::Damaged(_)));
            Ok::<bool, ()>(false)
        })
        .unwrap();
        assert_eq!(damaged, 1);
    }
}
