//! The events of one task: records of its own file, and what processors and the kernel tell of it.

use super::dat::{DatReader, DatSetup, Measure, MeasurePayload};
use super::functions::SpecMeasure;
use super::growing::Place;
use super::others::Others;
use super::probes::ProbeFile;
use super::{Directory, has_payloads, is_whole};
use crate::{Batch, Error, Event, EventOptions, KernelRecords, Kind, Task, TaskEvents, Tid, record};

/// Events in a batch at most.
const BATCH: usize = 4096;
/// Payload bytes in a batch, not counting those of the last event.
const BATCH_DATA: usize = 256 << 10;

/// Events of a task in the order of their times; at the same time, its own records come first.
pub(crate) struct Stream<'t> {
    /// None for a task of which only the kernel tells.
    records: Option<DatReader<'t>>,
    /// Records that are to be mixed with other events, from `next` on.
    scratch: Batch,
    next: usize,
    /// There are no records behind those.
    ended: bool,
    others: Others<'t>,
    level: Level,
    options: EventOptions,
    probes: ProbeFile,
    /// Of a trace that grows: where it goes on another time, and the events of processors that there were.
    growing: Option<(&'t Directory, Tid, usize)>,
    /// To be returned once the events before it have been.
    error: Option<Error>,
}

impl<'t> Stream<'t> {
    pub(crate) fn open(dir: &'t Directory, task: &'t Task, options: EventOptions) -> Result<Self, Error> {
        let path = dir.places.dir.join(format!("{}.dat", task.tid));
        let place = dir.window.as_ref().map(|window| window.place(task.tid));
        let stretch = dir.window.as_ref().zip(place).map(|(window, place)| window.stretch(place));
        let setup = DatSetup {
            stretch,
            is_whole: is_whole(&dir.info),
            index: dir.entry_points(task.tid),
            endian: dir.info.endian,
            budget: &dir.budget,
            warn: &dir.warnings,
            measure: Box::new(LazyMeasure { dir, task, measure: None }),
            inherited_until: dir.forks.get(&task.tid).copied(),
            payloads: has_payloads(dir.info.features),
        };
        let has_records = dir.data_size(task.tid) > 0;
        let records = if has_records { Some(DatReader::open(&path, setup)?) } else { None };
        let perf = (options.events && !dir.files.perf.is_empty()).then(|| dir.perf());
        let mut events = perf.map_or(&[][..], |perf| perf.task(task.tid));
        if let Some(stretch) = stretch {
            let shown = events.partition_point(|event| event.time < stretch.until);
            events = events.get(..shown).unwrap_or_default();
        }
        let kernel =
            dir.kernel().filter(|kernel| options.kernel != KernelRecords::None && kernel.has(task.tid));
        let kernel = kernel.map(|kernel| kernel.records(task.tid, options.events));
        Ok(Stream {
            ended: records.is_none(),
            records,
            scratch: Batch::default(),
            next: 0,
            others: Others::new(perf, events, kernel, options),
            level: Level::default(),
            options,
            probes: ProbeFile::new(path.with_extension("probes"), dir.info.endian)
                .starting_at(place.map_or(0, |place| place.probes)),
            growing: place.map(|_| (dir, task.tid, events.len())),
            error: None,
        })
    }

    /// The next events, wanted or not; false at the end.
    fn fill(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        if self.others.is_empty() && self.next >= self.scratch.events.len() {
            return self.records.as_mut().map_or(Ok(false), |records| records.next_batch(batch));
        }
        while batch.events.len() < BATCH && batch.data.len() < BATCH_DATA {
            if self.next >= self.scratch.events.len() && !self.ended {
                self.next = 0;
                self.ended = match &mut self.records {
                    Some(records) => !records.next_batch(&mut self.scratch)?,
                    None => true,
                };
            }
            let Some(record) = self.scratch.events.get(self.next) else {
                let level = self.level.before(None);
                self.others.push_before(u64::MAX, level, BATCH, batch)?;
                break;
            };
            if record.kind != Kind::Lost {
                let level = self.level.before(Some(record));
                if !self.others.push_before(record.time, level, BATCH, batch)? {
                    break;
                }
            }
            self.level.after(record);
            self.others.in_program();
            let mut event = *record;
            if event.data_len > 0 {
                event.data_start = batch.data.len() as u32;
                batch.data.extend_from_slice(self.scratch.payload(record));
            }
            batch.events.push(event);
            self.next += 1;
        }
        Ok(!batch.events.is_empty())
    }
}

impl Stream<'_> {
    /// Remembers how far it has come, for the next look at a trace that grows.
    fn note_place(&self) {
        let Some((dir, tid, events)) = self.growing else { return };
        let Some(window) = &dir.window else { return };
        let records = self.records.as_ref().map(DatReader::reached).unwrap_or_default();
        window.note(tid, Place { records, probes: self.probes.reached(), events });
    }
}

/// How many of the program's calls are open.
#[derive(Default)]
struct Level(Option<u32>);

impl Level {
    /// In front of a record; it tells if nothing before it did. Behind the last one without a record.
    fn before(&self, record: Option<&Event>) -> u32 {
        self.0.unwrap_or_else(|| match record {
            Some(Event { kind: Kind::Entry, depth, .. }) => u32::from(*depth),
            Some(Event { kind: Kind::Exit, depth, .. }) => u32::from(*depth) + 1,
            _ => 0,
        })
    }

    fn after(&mut self, record: &Event) {
        self.0 = match record.kind {
            Kind::Entry => Some(self.unwrapped(record.depth) + 1),
            Kind::Exit => Some(self.unwrapped(record.depth)),
            Kind::Lost => None,
            Kind::Event => return,
        }
    }

    /// The level that is meant by a recorded depth, which has ten bits: the one nearest to the level so far.
    fn unwrapped(&self, depth: u16) -> u32 {
        const TURN: u32 = record::MAX_DEPTH as u32 + 1;
        let (now, depth) = (self.0.unwrap_or(0), u32::from(depth));
        let ahead = depth.wrapping_sub(now) % TURN;
        if ahead <= TURN / 2 { now + ahead } else { now.checked_sub(TURN - ahead).unwrap_or(depth) }
    }
}

impl TaskEvents for Stream<'_> {
    fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        if let Some(error) = self.error.take() {
            batch.clear();
            return Err(error);
        }
        loop {
            batch.clear();
            match self.fill(batch) {
                Ok(true) => {}
                Ok(false) => {
                    self.note_place();
                    return Ok(false);
                }
                Err(error) if batch.events.is_empty() => return Err(error),
                Err(error) => self.error = Some(error),
            }
            if self.options.events {
                self.probes.complete(batch)?;
            }
            let options = self.options;
            if !(options.events && options.sched) {
                batch.events.retain(|event| options.wants(event));
            }
            if !batch.events.is_empty() {
                return Ok(true);
            }
        }
    }

    fn seek(&mut self, time: u64) -> Result<(), Error> {
        self.others.seek(time);
        self.probes.rewind();
        self.scratch.clear();
        (self.next, self.level, self.error) = (0, Level::default(), None);
        self.ended = self.records.is_none();
        self.records.as_mut().map_or(Ok(()), |records| records.seek(time))
    }

    fn progress(&self) -> (u64, u64) {
        let (done, all) = self.records.as_ref().map_or((0, 0), DatReader::progress);
        let (more, of) = self.others.progress();
        (done + more, all + of)
    }

    fn end(&self) -> Option<u64> {
        self.others.left_out
    }
}

/// Most tasks have no payloads, so what measures them is made when the first one comes.
struct LazyMeasure<'t> {
    dir: &'t Directory,
    task: &'t Task,
    measure: Option<SpecMeasure<'t>>,
}

impl MeasurePayload for LazyMeasure<'_> {
    fn measure(&mut self, kind: Kind, time: u64, addr: u64, bytes: &[u8]) -> Measure {
        let make = || SpecMeasure::new(self.dir, &self.task.sessions);
        self.measure.get_or_insert_with(make).measure(kind, time, addr, bytes)
    }
}
