//! The records of all CPUs in the order of time, while they still come.
//!
//! Pages are taken in rounds, each of which empties every CPU. A record that is older than the newest of the round before was
//! there before this round began, and so has been taken by its end on every CPU: everything up to that time can be handed on in
//! order. Two rounds are held at most.

use fathom_ftrace::{Missed, PageError, PageLayout};

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// A record with its time.
    Record(u64, &'a [u8]),
    /// The kernel lost events here; no number if it does not say how many.
    Lost(Option<u64>),
    /// A page that could not be read to its end.
    Damaged(PageError),
}

#[derive(Debug, Clone, Copy)]
struct Held {
    time: u64,
    cpu: u32,
    what: Kept,
}

#[derive(Debug, Clone, Copy)]
enum Kept {
    Record { start: usize, len: usize },
    Lost(Option<u64>),
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
    /// The newest time of all.
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
            match self.layout.page(bytes) {
                Ok(page) => {
                    let mut records = page.records();
                    let mut lost = page.missed.map(|missed| match missed {
                        Missed::Count(count) => Kept::Lost(Some(count)),
                        Missed::Unknown => Kept::Lost(None),
                    });
                    for record in records.by_ref() {
                        if let Some(what) = lost.take() {
                            self.held.push(Held { time: record.time, cpu, what });
                        }
                        let start = self.bytes.len();
                        self.bytes.extend_from_slice(record.data);
                        let what = Kept::Record { start, len: record.data.len() };
                        self.held.push(Held { time: record.time, cpu, what });
                        self.newest = self.newest.max(record.time);
                    }
                    if let Some(what) = lost {
                        self.held.push(Held { time: page.time, cpu, what });
                    }
                    if let Some(error) = records.error() {
                        self.held.push(Held { time: page.time, cpu, what: Kept::Damaged(error) });
                    }
                }
                Err(error) => self.held.push(Held { time: self.newest, cpu, what: Kept::Damaged(error) }),
            }
        }
    }

    /// Ends a round, and hands on what can be.
    pub fn round<E>(&mut self, see: impl FnMut(u32, Next<'_>) -> Result<(), E>) -> Result<(), E> {
        let until = std::mem::replace(&mut self.safe, self.newest);
        self.hand_on(until, see)
    }

    /// Hands on all that is left.
    pub fn end<E>(&mut self, see: impl FnMut(u32, Next<'_>) -> Result<(), E>) -> Result<(), E> {
        self.hand_on(u64::MAX, see)
    }

    fn hand_on<E>(
        &mut self,
        until: u64,
        mut see: impl FnMut(u32, Next<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        // Stable: of a CPU, records with equal times stay in their order.
        self.held.sort_by_key(|held| (held.time, held.cpu));
        let ready = self.held.partition_point(|held| held.time <= until);
        for held in &self.held[..ready] {
            let next = match held.what {
                Kept::Record { start, len } => Next::Record(held.time, &self.bytes[start..start + len]),
                Kept::Lost(count) => Next::Lost(count),
                Kept::Damaged(error) => Next::Damaged(error),
            };
            see(held.cpu, next)?;
        }
        let mut bytes = Vec::new();
        self.held.drain(..ready);
        for held in &mut self.held {
            if let Kept::Record { start, len } = &mut held.what {
                let at = bytes.len();
                bytes.extend_from_slice(&self.bytes[*start..*start + *len]);
                *start = at;
            }
        }
        self.bytes = bytes;
        Ok(())
    }
}
