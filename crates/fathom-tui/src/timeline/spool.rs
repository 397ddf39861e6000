//! Events of a trace that can only be read from its beginning, kept where any slice of them can be read.
//!
//! What filters leave of a trace depends on all that was before, so there is no going back in it. What one pass over it
//! finds is kept here: in memory up to a limit, then in a file without a name that is gone when the program is.

use fathom_store::{Event, Kind, MergedBatch};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// Bytes that are kept in memory.
const IN_MEMORY: usize = 64 << 20;
/// Bytes of an event, without its payload.
const RECORD: usize = 32;

/// Where events are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    start: u64,
    len: u64,
}

impl Place {
    /// This one and the one behind it.
    pub(crate) fn and(self, next: Place) -> Place {
        Place { start: self.start, len: self.len + next.len }
    }
}

/// Events in order.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    /// Until there is a file: everything. Then what has not been written yet.
    memory: Vec<u8>,
    file: Option<File>,
    written: u64,
}

impl Spool {
    /// Where the next event will be.
    pub(crate) fn end(&self) -> u64 {
        self.written + self.memory.len() as u64
    }

    /// The place of everything from `start` on.
    pub(crate) fn since(&self, start: u64) -> Place {
        Place { start, len: self.end() - start }
    }

    /// Adds an event of a task.
    pub(crate) fn push(&mut self, task: u32, event: &Event, payload: &[u8]) {
        let kind = match event.kind {
            Kind::Entry => 0,
            Kind::Exit => 1,
            Kind::Lost => 2,
            Kind::Event => 3_u8,
        };
        let flags = kind | u8::from(event.inherited) << 2;
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(&event.time.to_ne_bytes());
        record[8..16].copy_from_slice(&event.addr.to_ne_bytes());
        record[16..20].copy_from_slice(&task.to_ne_bytes());
        record[20..24].copy_from_slice(&(payload.len() as u32).to_ne_bytes());
        record[24..26].copy_from_slice(&event.depth.to_ne_bytes());
        record[26] = flags;
        self.memory.extend_from_slice(&record);
        self.memory.extend_from_slice(payload);
    }

    /// To be called now and then: moves what is in memory to a file if it has become too much.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        let limit = if self.file.is_some() { 1 << 20 } else { IN_MEMORY };
        if self.memory.len() < limit {
            return Ok(());
        }
        if self.file.is_none() {
            self.file = Some(tempfile::tempfile()?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.memory)?;
            self.written += self.memory.len() as u64;
            self.memory.clear();
        }
        Ok(())
    }

    /// Reads events back.
    pub(crate) fn read(&self, place: Place) -> io::Result<MergedBatch> {
        let mut bytes = vec![0; usize::try_from(place.len).unwrap_or(usize::MAX)];
        let in_file = self.written.saturating_sub(place.start).min(place.len) as usize;
        let (from_file, from_memory) = bytes.split_at_mut(in_file);
        if let (Some(file), false) = (&self.file, from_file.is_empty()) {
            file.read_exact_at(from_file, place.start)?;
        }
        let start = place.start.saturating_sub(self.written) as usize;
        let rest = self.memory.get(start..start + from_memory.len());
        from_memory.copy_from_slice(rest.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(decode(&bytes))
    }
}

fn decode(mut bytes: &[u8]) -> MergedBatch {
    let mut batch = MergedBatch::default();
    while let Some((record, rest)) = bytes.split_first_chunk::<RECORD>() {
        let word = |at: usize| record[at..at + 8].try_into().map_or(0, u64::from_ne_bytes);
        let half = |at: usize| record[at..at + 4].try_into().map_or(0, u32::from_ne_bytes);
        let len = half(20);
        let Some((payload, rest)) = rest.split_at_checked(len as usize) else { break };
        let kind = [Kind::Entry, Kind::Exit, Kind::Lost, Kind::Event][usize::from(record[26] & 3)];
        let event = Event {
            time: word(0),
            addr: word(8),
            data_start: batch.data.len() as u32,
            data_len: len,
            depth: u16::from_ne_bytes([record[24], record[25]]),
            kind,
            inherited: record[26] & 4 != 0,
        };
        batch.data.extend_from_slice(payload);
        batch.events.push((half(16), event));
        bytes = rest;
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: u64, kind: Kind) -> Event {
        Event {
            time,
            addr: time * 3,
            data_start: 0,
            data_len: 0,
            depth: time as u16,
            kind,
            inherited: time == 2,
        }
    }

    #[test]
    fn what_was_put_in_comes_out_from_memory_and_from_a_file() {
        let mut spool = Spool::default();
        let kinds = [Kind::Entry, Kind::Exit, Kind::Lost, Kind::Event];
        let mut places = Vec::new();
        for round in 0..3 {
            let start = spool.end();
            for time in 1..5 {
                let payload = vec![time as u8; time as usize];
                spool.push(7, &event(time, kinds[(time as usize + round) % 4]), &payload);
            }
            places.push(spool.since(start));
            if round == 1 {
                spool.file = Some(tempfile::tempfile().unwrap());
                spool.file.as_mut().unwrap().write_all(&spool.memory).unwrap();
                spool.written = spool.memory.len() as u64;
                spool.memory.clear();
            }
        }
        for (round, place) in places.iter().enumerate() {
            let batch = spool.read(*place).unwrap();
            assert_eq!(batch.events.len(), 4);
            for (time, (task, read)) in (1..5).zip(&batch.events) {
                assert_eq!(*task, 7);
                assert_eq!(batch.payload(read), vec![time as u8; time as usize]);
                let want = event(time, kinds[(time as usize + round) % 4]);
                let place = (read.data_start, read.data_len);
                assert_eq!(*read, Event { data_start: place.0, data_len: place.1, ..want });
            }
        }
        assert_eq!(spool.read(places[0].and(places[1])).unwrap().events.len(), 8);
        assert_eq!(spool.read(places[1].and(places[2])).unwrap().events.len(), 8, "half in the file");
    }
}
