//! The options of a file: small facts about the recording, and in version 7 the way to the sections.

use crate::error::Error;
use crate::header::Endian;
use crate::source::Reader;

/// Numbers of the options (*trace-cmd.dat.v7(5)*; version 6 has 1 to 14, with another form of [`BUFFER`](id::BUFFER)).
pub mod id {
    /// Ends the options; version 7: the place of the next options section, or 0.
    pub const DONE: u16 = 0;
    /// Hexadecimal text of the microseconds from the trace clock to the time of day.
    pub const DATE: u16 = 1;
    /// The text of a CPU's `stats` file, or a line that names the buffer of those that follow.
    pub const CPUSTAT: u16 = 2;
    /// A buffer: the recording's own or an instance's.
    pub const BUFFER: u16 = 3;
    /// The text of the `trace_clock` file.
    pub const TRACECLOCK: u16 = 4;
    /// System, host, release and machine.
    pub const UNAME: u16 = 5;
    /// A pair of events to be connected, as profiling takes it.
    pub const HOOK: u16 = 6;
    /// Decimal text of a number that is added to every time stamp.
    pub const OFFSET: u16 = 7;
    /// The number of CPUs of the machine.
    pub const CPUCOUNT: u16 = 8;
    /// The version of the program that recorded.
    pub const VERSION: u16 = 9;
    /// Memory maps of the traced processes.
    pub const PROCMAPS: u16 = 10;
    /// An identifier of the recording session.
    pub const TRACEID: u16 = 11;
    /// Corrections of a guest's time stamps.
    pub const TIME_SHIFT: u16 = 12;
    /// A traced guest.
    pub const GUEST: u16 = 13;
    /// How cycles become nanoseconds.
    pub const TSC2NSEC: u16 = 14;
    /// The place of the header pages.
    pub const HEADER_INFO: u16 = 16;
    /// The place of ftrace's own formats.
    pub const FTRACE_EVENTS: u16 = 17;
    /// The place of the event formats.
    pub const EVENT_FORMATS: u16 = 18;
    /// The place of the symbols.
    pub const KALLSYMS: u16 = 19;
    /// The place of the texts of `trace_printk`.
    pub const PRINTK: u16 = 20;
    /// The place of the names of tasks.
    pub const CMDLINES: u16 = 21;
    /// A buffer that was recorded as text.
    pub const BUFFER_TEXT: u16 = 22;
}

/// One option as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawOption {
    /// Its number, one of [`id`] or a later one.
    pub id: u16,
    /// Its data.
    pub data: Vec<u8>,
}

/// All options of a file except those that only say where something is, in the file's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The options.
    pub list: Vec<RawOption>,
}

/// How cycles of the processor's counter become nanoseconds: `(cycles * mult >> shift) + offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tsc2Nsec {
    /// The multiplier.
    pub mult: u32,
    /// Bits to shift right after the multiplication.
    pub shift: u32,
    /// Nanoseconds to add.
    pub offset: u64,
}

/// One correction of a guest's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// The guest's time at which it was measured.
    pub time: u64,
    /// What is added to a time stamp.
    pub offset: i64,
    /// What a time stamp is multiplied with before.
    pub scaling: i64,
    /// Bits the product is shifted right by.
    pub fraction: u64,
}

/// The corrections of a guest's clock against its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeShift {
    /// The session of the other side.
    pub peer: u64,
    /// Flags of the protocol.
    pub flags: u32,
    /// For each CPU, corrections by time.
    pub cpus: Vec<Vec<Correction>>,
}

/// A guest that was traced along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its session.
    pub trace_id: u64,
    /// Each of its CPUs, with the host's task that runs it.
    pub cpus: Vec<(u32, u32)>,
}

impl Options {
    /// Adds an option.
    pub fn push(&mut self, id: u16, data: impl Into<Vec<u8>>) {
        self.list.push(RawOption { id, data: data.into() });
    }

    /// Adds an option that is text, with the NUL that ends it.
    pub fn push_text(&mut self, id: u16, text: &str) {
        let mut data = text.as_bytes().to_vec();
        data.push(0);
        self.push(id, data);
    }

    /// The data of the last option of this number.
    #[must_use]
    pub fn find(&self, id: u16) -> Option<&[u8]> {
        self.list.iter().rev().find(|option| option.id == id).map(|option| option.data.as_slice())
    }

    /// The data of every option of this number.
    pub fn all(&self, id: u16) -> impl Iterator<Item = &[u8]> {
        self.list.iter().filter(move |option| option.id == id).map(|option| option.data.as_slice())
    }

    /// An option that is text, up to its NUL.
    #[must_use]
    pub fn text(&self, id: u16) -> Option<String> {
        self.find(id).map(text)
    }

    /// Nanoseconds from the trace clock to the time of day.
    #[must_use]
    pub fn date(&self) -> Option<i64> {
        let text = self.text(id::DATE)?;
        let digits = text.trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        i64::from_str_radix(digits, 16).ok()?.checked_mul(1000)
    }

    /// What is added to every time stamp, in the unit of the clock.
    #[must_use]
    pub fn offset(&self) -> Option<i64> {
        self.text(id::OFFSET)?.trim().parse().ok()
    }

    /// The identifier of the session.
    #[must_use]
    pub fn trace_id(&self, endian: Endian) -> Option<u64> {
        self.find(id::TRACEID)?.get(..8)?.try_into().ok().map(|bytes| endian.u64(bytes))
    }

    /// The number of CPUs of the machine.
    #[must_use]
    pub fn cpu_count(&self, endian: Endian) -> Option<u32> {
        self.find(id::CPUCOUNT)?.get(..4)?.try_into().ok().map(|bytes| endian.u32(bytes))
    }

    /// How cycles become nanoseconds.
    #[must_use]
    pub fn tsc2nsec(&self, endian: Endian) -> Option<Tsc2Nsec> {
        let data = self.find(id::TSC2NSEC)?.to_vec();
        let mut reader = Reader::new(&data, "", endian, 0, u64::MAX);
        Some(Tsc2Nsec { mult: reader.u32().ok()?, shift: reader.u32().ok()?, offset: reader.u64().ok()? })
    }

    /// The clock the events were stamped with: the word in brackets of the `trace_clock` file.
    #[must_use]
    pub fn clock(&self) -> Option<String> {
        let text = self.text(id::TRACECLOCK)?;
        let (_, rest) = text.split_once('[')?;
        Some(rest.split_once(']')?.0.to_owned())
    }

    /// The corrections of a guest's clock.
    pub fn time_shift(&self, file: &str, endian: Endian) -> Result<Option<TimeShift>, Error> {
        let Some(data) = self.find(id::TIME_SHIFT) else { return Ok(None) };
        let data = data.to_vec();
        let mut reader = Reader::new(&data, file, endian, 0, u64::MAX);
        let (peer, flags, count) = (reader.u64()?, reader.u32()?, reader.u32()?);
        let mut cpus = Vec::new();
        for _ in 0..count {
            cpus.push(corrections(&mut reader)?);
        }
        // Fractions came later than the rest and stand behind it.
        for cpu in &mut cpus {
            for correction in cpu {
                if reader.remaining() >= 8 {
                    correction.fraction = reader.u64()?;
                }
            }
        }
        Ok(Some(TimeShift { peer, flags, cpus }))
    }

    /// The guests that were traced along.
    pub fn guests(&self, file: &str, endian: Endian) -> Result<Vec<Guest>, Error> {
        self.all(id::GUEST).map(|data| guest(&data.to_vec(), file, endian)).collect()
    }
}

fn corrections(reader: &mut Reader<'_>) -> Result<Vec<Correction>, Error> {
    let count = u64::from(reader.u32()?);
    if count * 24 > reader.remaining() {
        return Err(reader.damaged(format!("{count} corrections of a clock do not fit into the option")));
    }
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(Correction { time: reader.u64()?, offset: 0, scaling: 1, fraction: 0 });
    }
    for correction in &mut list {
        correction.offset = reader.u64()?.cast_signed();
    }
    for correction in &mut list {
        correction.scaling = reader.u64()?.cast_signed();
    }
    Ok(list)
}

fn guest(data: &Vec<u8>, file: &str, endian: Endian) -> Result<Guest, Error> {
    let mut reader = Reader::new(data, file, endian, 0, u64::MAX);
    let (name, trace_id, count) = (reader.string(4096)?, reader.u64()?, reader.u32()?);
    let mut cpus = Vec::new();
    for _ in 0..count {
        cpus.push((reader.u32()?, reader.u32()?));
    }
    Ok(Guest { name, trace_id, cpus })
}

/// Bytes up to a NUL as text.
pub(crate) fn text(data: &[u8]) -> String {
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    String::from_utf8_lossy(&data[..end]).into_owned()
}
