//! The arguments of a task's probes, which have a file of their own: see [`crate::probe`].

use crate::{Batch, Endian, Error, Event, Kind, event_id, record};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;

/// Gives events of probes their payloads.
pub(super) struct ProbeFile {
    path: PathBuf,
    endian: Endian,
    /// Where in the file the bytes begin.
    from: u64,
    /// What is in the file from there on; read for the first event of a probe.
    bytes: Option<Vec<u8>>,
    /// Up to where events have come. Both files are in the same order.
    at: usize,
}

/// A record of the file.
struct Found {
    time: u64,
    id: u64,
    /// Where its payload is.
    start: usize,
    len: usize,
    /// Where the next one is.
    next: usize,
}

impl ProbeFile {
    pub(super) fn new(path: PathBuf, endian: Endian) -> ProbeFile {
        ProbeFile { path, endian, from: 0, bytes: None, at: 0 }
    }

    /// The same without what is before an offset.
    pub(super) fn starting_at(self, offset: u64) -> ProbeFile {
        ProbeFile { from: offset, ..self }
    }

    /// Up to where in the file events have come.
    pub(super) fn reached(&self) -> u64 {
        self.from + self.at as u64
    }

    /// The next events may be earlier ones.
    pub(super) fn rewind(&mut self) {
        self.at = 0;
    }

    /// Adds the payloads of a batch.
    pub(super) fn complete(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let Batch { events, data } = batch;
        for event in events.iter_mut().filter(|event| is_bare_probe(event)) {
            let Some(found) = self.find(event)? else { continue };
            let bytes = self.bytes.as_deref().unwrap_or_default();
            let payload = bytes.get(found.start..found.start + found.len).unwrap_or_default();
            (event.data_start, event.data_len) = (data.len() as u32, payload.len() as u32);
            data.extend_from_slice(payload);
        }
        Ok(())
    }

    fn read(&self) -> std::io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The record of an event; what is earlier is not looked at again.
    fn find(&mut self, event: &Event) -> Result<Option<Found>, Error> {
        if self.bytes.is_none() {
            self.bytes = Some(match self.read() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(Error::io(&self.path, "read", error)),
            });
        }
        let bytes = self.bytes.as_deref().unwrap_or_default();
        while let Some(found) = parse(bytes, self.at, self.endian) {
            if found.time > event.time {
                break;
            }
            if found.time == event.time {
                if found.id != event.addr {
                    break;
                }
                self.at = found.next;
                return Ok(Some(found));
            }
            self.at = found.next;
        }
        Ok(None)
    }
}

fn is_bare_probe(event: &Event) -> bool {
    let is_probe = (event_id::USER..event_id::EXTERNAL).contains(&event.addr);
    event.kind == Kind::Event && is_probe && event.data_len == 0
}

/// The record at a place; none where there is no whole one.
fn parse(bytes: &[u8], at: usize, endian: Endian) -> Option<Found> {
    let word = |at: usize| {
        let bytes = *bytes.get(at..)?.first_chunk::<8>()?;
        Some(if endian == Endian::Big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    };
    let (time, head) = (word(at)?, word(at + 8)?);
    let behind = at + record::SIZE;
    let len = *bytes.get(behind..)?.first_chunk::<2>()?;
    let len = if endian == Endian::Big { u16::from_be_bytes(len) } else { u16::from_le_bytes(len) };
    let next = behind + (2 + usize::from(len)).next_multiple_of(8);
    let is_event = record::is_valid(head) && record::kind(head) == Kind::Event && head & record::MORE != 0;
    let found = Found { time, id: record::addr(head), start: behind + 2, len: len.into(), next };
    (is_event && next <= bytes.len()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record_of(time: u64, id: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes =
            record::encode_bytes(time, record::encode(Kind::Event, 0, id) | record::MORE).to_vec();
        bytes.extend((payload.len() as u16).to_le_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn event(time: u64, addr: u64) -> Event {
        Event { time, addr, data_start: 0, data_len: 0, depth: 0, kind: Kind::Event, inherited: false }
    }

    fn payloads(bytes: Vec<u8>, events: &[Event]) -> Vec<Vec<u8>> {
        let mut file = ProbeFile::new(PathBuf::new(), Endian::Little);
        file.bytes = Some(bytes);
        let mut batch = Batch { events: events.to_vec(), data: b"xx".to_vec() };
        file.complete(&mut batch).unwrap();
        batch.events.iter().map(|event| batch.payload(event).to_vec()).collect()
    }

    #[test]
    fn events_get_what_was_recorded_at_their_time() {
        let (first, second) = (event_id::USER, event_id::USER + 1);
        // What stands there twice was written by a recorder that died before it had noted that.
        let bytes =
            [record_of(5, first, b"a"), record_of(5, first, b"a"), record_of(7, second, b"bcdefghij")]
                .concat();
        let events = [event(5, first), event(6, first), event(7, second), event(8, second), event(9, 5)];
        assert_eq!(payloads(bytes.clone(), &events), [&b"a"[..], b"", b"bcdefghij", b"", b""]);
        assert_eq!(payloads(bytes[..bytes.len() - 1].to_vec(), &events[2..3]), [b""]);
        assert_eq!(payloads(bytes, &[event(5, second)]), [b""]);
    }

    proptest! {
        #[test]
        fn any_file_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100), time: u64) {
            payloads(bytes, &[event(time, event_id::USER)]);
        }
    }
}
