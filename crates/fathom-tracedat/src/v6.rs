//! Version 6: one fixed sequence, then the pages.

use crate::error::Error;
use crate::options::{RawOption, id, text};
use crate::recording::{Buffer, CpuData, Recording, TextBuffer};
use crate::source::{Reader, Source};
use crate::tables;
use std::sync::Arc;

/// More CPUs than any Linux has.
pub(crate) const MAX_CPUS: u32 = 1 << 16;

pub(crate) fn read(source: &Arc<dyn Source>, start: u64, recording: &mut Recording) -> Result<(), Error> {
    let name = Arc::clone(&recording.name);
    let mut reader = Reader::new(&**source, &name, recording.header.endian, start, u64::MAX);
    let all = &mut recording.tables;
    tables::header_info(&mut reader, all)?;
    tables::ftrace_formats(&mut reader, all)?;
    tables::event_formats(&mut reader, all)?;
    tables::kallsyms(&mut reader, all)?;
    tables::printk(&mut reader, all)?;
    tables::cmdlines(&mut reader, all)?;
    recording.cpu_count = reader.u32()?;
    if recording.cpu_count > MAX_CPUS {
        return Err(reader.damaged(format!("{} CPUs", recording.cpu_count)));
    }
    let mut instances = Vec::new();
    loop {
        let kind = reader.bytes(10, "\"options\", \"latency\" or \"flyrecord\"")?;
        match kind.as_slice() {
            b"options  \0" => read_options(&mut reader, recording, &mut instances)?,
            b"latency  \0" => {
                let size = reader.remaining();
                let text = reader.bytes(size, "the text of the trace")?;
                recording.texts.push(TextBuffer { name: String::new(), text });
                return Ok(());
            }
            b"flyrecord\0" => break,
            _ => return Err(reader.damaged("\"options\", \"latency\" or \"flyrecord\" expected")),
        }
    }
    let cpus = cpu_table(&mut reader, source, recording)?;
    push_buffer(recording, String::new(), cpus);
    for (name, offset) in instances {
        let mut reader = Reader::new(&**source, &recording.name, recording.header.endian, offset, u64::MAX);
        reader.literal(b"flyrecord\0")?;
        let cpus = cpu_table(&mut reader, source, recording)?;
        push_buffer(recording, name, cpus);
    }
    Ok(())
}

fn push_buffer(recording: &mut Recording, name: String, cpus: Vec<CpuData>) {
    let clock = recording.options.clock().unwrap_or_default();
    let page_size = recording.header.page_size;
    recording.buffers.push(Buffer { name, clock, page_size, cpus });
}

/// Options up to the number 0; those of instances give their name and place.
fn read_options(
    reader: &mut Reader<'_>,
    recording: &mut Recording,
    instances: &mut Vec<(String, u64)>,
) -> Result<(), Error> {
    loop {
        let number = reader.u16()?;
        if number == id::DONE {
            return Ok(());
        }
        let size = reader.u32()?;
        let data = reader.bytes(size.into(), &format!("option {number}"))?;
        if number != id::BUFFER {
            recording.options.list.push(RawOption { id: number, data });
            continue;
        }
        let Some((offset, name)) = data.split_first_chunk::<8>() else {
            return Err(reader.damaged("a buffer's option has fewer than 8 bytes"));
        };
        instances.push((text(name), recording.header.endian.u64(*offset)));
    }
}

fn cpu_table(
    reader: &mut Reader<'_>,
    source: &Arc<dyn Source>,
    recording: &Recording,
) -> Result<Vec<CpuData>, Error> {
    (0..recording.cpu_count)
        .map(|cpu| {
            let (offset, size) = (reader.u64()?, reader.u64()?);
            Ok(CpuData {
                cpu,
                offset,
                size,
                compressed: false,
                source: Arc::clone(source),
                name: Arc::clone(&recording.name),
            })
        })
        .collect()
}
