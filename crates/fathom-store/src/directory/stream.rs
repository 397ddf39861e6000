//! The events of one task: records of its own file, and what processors tell of it.

use super::dat::{DatReader, DatSetup, Measure, MeasurePayload};
use super::functions::SpecMeasure;
use super::perf::{PerfIndex, TaskEvent};
use super::probes::ProbeFile;
use super::{Directory, has_payloads};
use crate::{Batch, Error, Event, EventOptions, Kind, Task, TaskEvents};

/// Events of a task in the order of their times; at the same time, its own records come first.
pub(crate) struct Stream<'t> {
    records: DatReader<'t>,
    /// Records that are to be mixed with other events.
    scratch: Batch,
    perf: Option<&'t PerfIndex>,
    /// Ascending by time, the next one to be delivered first.
    others: &'t [TaskEvent],
    all_others: &'t [TaskEvent],
    options: EventOptions,
    probes: ProbeFile,
}

impl<'t> Stream<'t> {
    pub(crate) fn open(dir: &'t Directory, task: &'t Task, options: EventOptions) -> Result<Self, Error> {
        let path = dir.places.dir.join(format!("{}.dat", task.tid));
        let setup = DatSetup {
            index: dir.entry_points(task.tid),
            endian: dir.info.endian,
            budget: &dir.budget,
            warn: &dir.warnings,
            measure: Box::new(LazyMeasure { dir, task, measure: None }),
            inherited_until: dir.forks.get(&task.tid).copied(),
            payloads: has_payloads(dir.info.features),
        };
        let records = DatReader::open(&path, setup)?;
        let perf = (options.events && !dir.files.perf.is_empty()).then(|| dir.perf());
        let others = perf.map_or(&[][..], |perf| perf.task(task.tid));
        let probes = ProbeFile::new(path.with_extension("probes"), dir.info.endian);
        let scratch = Batch::default();
        Ok(Stream { records, scratch, perf, others, all_others: others, options, probes })
    }

    /// Takes the next other event that is wanted if it is earlier than `time`.
    fn take_other(&mut self, time: u64) -> Option<TaskEvent> {
        while let Some((first, rest)) = self.others.split_first() {
            if first.time >= time {
                return None;
            }
            self.others = rest;
            if self.options.sched || !first.is_sched() {
                return Some(*first);
            }
        }
        None
    }

    fn push_other(&self, other: TaskEvent, batch: &mut Batch) {
        let Some((addr, payload)) = self.perf.map(|perf| perf.contents(other)) else { return };
        let (data_start, data_len) = (batch.data.len() as u32, payload.len() as u32);
        batch.data.extend_from_slice(payload);
        let (time, kind) = (other.time, Kind::Event);
        batch.events.push(Event { time, addr, data_start, data_len, depth: 0, kind, inherited: false });
    }

    /// Moves the records of `scratch` to `batch`, with the other events that are earlier than each.
    fn mix(&mut self, batch: &mut Batch) {
        let mut records = std::mem::take(&mut self.scratch);
        std::mem::swap(&mut batch.data, &mut records.data);
        for record in &records.events {
            if record.kind != Kind::Lost {
                while let Some(other) = self.take_other(record.time) {
                    self.push_other(other, batch);
                }
            }
            batch.events.push(*record);
        }
        self.scratch = records;
    }
}

impl TaskEvents for Stream<'_> {
    fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        loop {
            batch.clear();
            let more = if self.others.is_empty() {
                self.records.next_batch(batch)?
            } else {
                let more = self.records.next_batch(&mut self.scratch)?;
                self.mix(batch);
                more
            };
            if !more {
                while let Some(other) = self.take_other(u64::MAX) {
                    self.push_other(other, batch);
                }
                return Ok(!batch.events.is_empty());
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
        let first = self.all_others.partition_point(|other| other.time < time);
        self.others = self.all_others.get(first..).unwrap_or_default();
        self.probes.rewind();
        self.records.seek(time)
    }

    fn progress(&self) -> (u64, u64) {
        self.records.progress()
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
