//! The bodies that both versions share: header info, formats, symbols, names.

use crate::error::Error;
use crate::recording::{System, Tables};
use crate::source::Reader;

/// More systems or events than this are damage, not a kernel.
const MAX_COUNT: u32 = 1 << 20;

/// Longest name of a system.
const MAX_NAME: usize = 4096;

pub(crate) fn header_info(reader: &mut Reader<'_>, tables: &mut Tables) -> Result<(), Error> {
    reader.literal(b"header_page\0")?;
    let size = reader.u64()?;
    tables.header_page = reader.bytes(size, "header_page")?;
    reader.literal(b"header_event\0")?;
    let size = reader.u64()?;
    tables.header_event = reader.bytes(size, "header_event")?;
    Ok(())
}

pub(crate) fn ftrace_formats(reader: &mut Reader<'_>, tables: &mut Tables) -> Result<(), Error> {
    tables.ftrace_formats = formats(reader, "ftrace")?;
    Ok(())
}

pub(crate) fn event_formats(reader: &mut Reader<'_>, tables: &mut Tables) -> Result<(), Error> {
    let count = count(reader, "systems")?;
    for _ in 0..count {
        let name = reader.string(MAX_NAME)?;
        let formats = formats(reader, &name)?;
        tables.systems.push(System { name, formats });
    }
    Ok(())
}

fn count(reader: &mut Reader<'_>, what: &str) -> Result<u32, Error> {
    let count = reader.u32()?;
    if count > MAX_COUNT {
        return Err(reader.damaged(format!("{count} {what}")));
    }
    Ok(count)
}

fn formats(reader: &mut Reader<'_>, system: &str) -> Result<Vec<Vec<u8>>, Error> {
    let count = count(reader, "formats")?;
    let mut list = Vec::new();
    for _ in 0..count {
        let size = reader.u64()?;
        list.push(reader.bytes(size, &format!("a format of {system}"))?);
    }
    Ok(list)
}

pub(crate) fn kallsyms(reader: &mut Reader<'_>, tables: &mut Tables) -> Result<(), Error> {
    let size = reader.u32()?;
    tables.kallsyms = reader.bytes(size.into(), "kallsyms")?;
    Ok(())
}

pub(crate) fn printk(reader: &mut Reader<'_>, tables: &mut Tables) -> Result<(), Error> {
    let size = reader.u32()?;
    tables.printk_formats = reader.bytes(size.into(), "printk_formats")?;
    Ok(())
}

pub(crate) fn cmdlines(reader: &mut Reader<'_>, tables: &mut Tables) -> Result<(), Error> {
    let size = reader.u64()?;
    tables.cmdlines = reader.bytes(size, "saved_cmdlines")?;
    Ok(())
}
