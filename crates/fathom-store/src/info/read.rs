//! Reads the `info` file.

use super::{
    ArgSpecs, Class, CpuInfo, Endian, Features, HEADER_SIZE, Info, MAGIC, MemoryInfo, OsInfo, PatternType,
    Sysctl, Usage, item,
};
use crate::Error;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// More than any recorder writes (the tables of automatic types have some 20 KB), little enough to hold in memory.
const MAX_SIZE: u64 = 64 << 20;

impl Info {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and whatever [`Info::parse`] says.
    pub fn read(path: &Path) -> Result<Info, Error> {
        Info::parse(&read_file(path)?, path)
    }

    /// Like [`Info::read`], but when items are damaged, those before the damage are returned with the error.
    ///
    /// # Errors
    ///
    /// As for [`Info::read`], for the header only.
    pub fn read_partly(path: &Path) -> Result<(Info, Option<Error>), Error> {
        Info::parse_partly(&read_file(path)?, path)
    }

    /// Reads the contents of an `info` file; `path` is for messages.
    ///
    /// # Errors
    ///
    /// [`Error::NotATrace`], [`Error::Version`], [`Error::Damaged`] or [`Error::Syntax`] when the text doesn't
    /// have the items that the header's mask announces.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Info, Error> {
        match Info::parse_partly(bytes, path)? {
            (info, None) => Ok(info),
            (_, Some(error)) => Err(error),
        }
    }

    fn parse_partly(bytes: &[u8], path: &Path) -> Result<(Info, Option<Error>), Error> {
        let (mut info, mask) = parse_header(bytes, path)?;
        let text = bytes.get(HEADER_SIZE..).unwrap_or_default();
        let mut lines = Lines { rest: text, number: 0, path };
        info.unknown_items = mask & !((1 << item::END) - 1);
        for bit in (0..item::END).filter(|bit| mask & (1 << bit) != 0) {
            if let Err(error) = read_item(&mut info, bit, &mut lines) {
                return Ok((info, Some(error)));
            }
        }
        Ok((info, None))
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path, "read", e))?;
    if bytes.len() as u64 > MAX_SIZE {
        let what = format!("the file is larger than {} MiB", MAX_SIZE >> 20);
        return Err(Error::Damaged { file: path.into(), offset: MAX_SIZE, what });
    }
    Ok(bytes)
}

/// Reads the 40 bytes at the beginning; gives the info mask too.
fn parse_header(bytes: &[u8], path: &Path) -> Result<(Info, u64), Error> {
    let file = || path.to_path_buf();
    if bytes.is_empty() {
        return Err(Error::Missing { file: file(), what: "the file is empty".into() });
    }
    if !bytes.starts_with(&MAGIC) {
        return Err(Error::NotATrace { file: file() });
    }
    let Some(header) = bytes.first_chunk::<HEADER_SIZE>() else {
        let what = format!("the header is cut off, it should have {HEADER_SIZE} bytes");
        return Err(Error::Damaged { file: file(), offset: bytes.len() as u64, what });
    };
    let damaged = |offset: u64, what: String| Error::Damaged { file: file(), offset, what };
    let endian = match header[14] {
        1 => Endian::Little,
        2 => Endian::Big,
        other => return Err(damaged(14, format!("byte order {other} is neither 1 (little) nor 2 (big)"))),
    };
    let class = match header[15] {
        1 => Class::Bits32,
        2 => Class::Bits64,
        other => return Err(damaged(15, format!("class {other} is neither 1 (32 bit) nor 2 (64 bit)"))),
    };
    let number = |offset: usize, size: usize| {
        let field = header[offset..offset + size].iter();
        let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        match endian {
            Endian::Little => field.rev().fold(0, join),
            Endian::Big => field.fold(0, join),
        }
    };
    let version = number(8, 4) as u32;
    if !(3..=4).contains(&version) {
        return Err(Error::Version { file: file(), version });
    }
    let size = number(12, 2);
    if size != HEADER_SIZE as u64 {
        return Err(damaged(12, format!("header size {size} is not {HEADER_SIZE}")));
    }
    let features = Features(number(16, 8));
    let max_stack = if features.has(Features::MAX_STACK) { number(32, 2) as u16 } else { 1024 };
    let info = Info { version, endian, class, features, max_stack, ..Info::default() };
    Ok((info, number(24, 8)))
}

/// The text part, line by line.
struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
    path: &'a Path,
}

impl Lines<'_> {
    fn error(&self, what: String) -> Error {
        Error::Syntax { file: self.path.to_path_buf(), line: self.number, what }
    }

    /// The text after `prefix` in the next line. The binary header counts as a part of the first line.
    fn expect(&mut self, prefix: &str) -> Result<String, Error> {
        self.number += 1;
        if self.rest.is_empty() {
            return Err(self.error(format!("the file ends where \"{prefix}\" should be")));
        }
        let end = self.rest.iter().position(|b| *b == b'\n');
        let line = &self.rest[..end.unwrap_or(self.rest.len())];
        let Some(value) = line.strip_prefix(prefix.as_bytes()) else {
            let found = String::from_utf8_lossy(&line[..line.len().min(40)]).into_owned();
            return Err(self.error(format!("\"{prefix}\" expected, \"{found}\" found")));
        };
        let value = String::from_utf8_lossy(value).into_owned();
        self.rest = end.and_then(|end| self.rest.get(end + 1..)).unwrap_or_default();
        Ok(value)
    }

    /// Like [`Lines::expect`], and `parse` makes sense of the text.
    fn parse<T>(&mut self, prefix: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
        let value = self.expect(prefix)?;
        let shown: String = value.chars().take(60).collect();
        parse(&value).ok_or_else(|| self.error(format!("cannot make sense of \"{prefix}{shown}\"")))
    }

    /// Reads `prefix` + `lines=N` and the N lines after it, without the prefix.
    fn block(&mut self, prefix: &str, most: usize) -> Result<Vec<(String, usize)>, Error> {
        let head = format!("{prefix}lines=");
        let count: usize = self.parse(&head, |v| v.parse().ok())?;
        if count > most {
            return Err(self.error(format!("{count} lines of \"{prefix}\" announced, only {most} are known")));
        }
        (0..count).map(|_| Ok((self.expect(prefix)?, self.number))).collect()
    }
}

fn read_item(info: &mut Info, bit: u32, lines: &mut Lines) -> Result<(), Error> {
    match bit {
        item::EXE_NAME => info.exe_name = Some(lines.expect("exename:")?),
        item::BUILD_ID => info.build_id = Some(lines.expect("build_id:")?),
        item::EXIT_STATUS => info.exit_status = Some(lines.parse("exit_status:", |v| v.trim().parse().ok())?),
        item::CMDLINE => info.cmdline = Some(lines.expect("cmdline:")?),
        item::CPU => info.cpu = Some(read_cpu(lines)?),
        item::MEMORY => info.memory = Some(lines.parse("meminfo:", parse_memory)?),
        item::OS => info.os = Some(read_os(lines)?),
        item::TASKS => info.tids = Some(read_tasks(lines)?),
        item::USAGE => info.usage = Some(read_usage(lines)?),
        item::LOAD => info.load = Some(lines.parse("loadinfo:", parse_load)?),
        item::ARG_SPEC => info.arg_specs = Some(read_arg_specs(lines)?),
        item::RECORD_DATE => {
            info.record_date = Some(lines.expect("record_date:")?);
            info.elapsed_ns = Some(lines.parse("elapsed_time:", parse_elapsed)?);
        }
        item::PATTERN_TYPE => info.pattern_type = Some(lines.parse("pattern_type:", parse_pattern_type)?),
        item::VERSION => info.recorder_version = Some(lines.expect("uftrace_version:")?),
        item::UTC_OFFSET => info.utc_offset = Some(lines.parse("utc_offset:", |v| v.trim().parse().ok())?),
        item::SYSCTL => info.sysctl = Some(lines.parse("sysctl:", parse_sysctl)?),
        _ => {}
    }
    Ok(())
}

/// Splits a `key=value` line of a block, or says which line is wrong.
fn key_value<'a>(lines: &Lines, (text, number): &'a (String, usize)) -> Result<(&'a str, &'a str), Error> {
    text.split_once('=').ok_or_else(|| Error::Syntax {
        file: lines.path.to_path_buf(),
        line: *number,
        what: format!("\"key=value\" expected, \"{}\" found", text.chars().take(60).collect::<String>()),
    })
}

fn read_cpu(lines: &mut Lines) -> Result<CpuInfo, Error> {
    let mut cpu = CpuInfo { online: 0, possible: 0, desc: String::new() };
    for line in lines.block("cpuinfo:", 2)? {
        match key_value(lines, &line)? {
            ("nr_cpus", value) => {
                let pair = value.split_once('(').map_or(value, |(pair, _)| pair).split_once('/');
                let pair = pair.and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
                (cpu.online, cpu.possible) = pair.ok_or_else(|| {
                    lines.error(format!("\"<online> / <possible>\" expected, \"{value}\" found"))
                })?;
            }
            ("desc", value) => cpu.desc = value.to_owned(),
            _ => {}
        }
    }
    Ok(cpu)
}

fn read_os(lines: &mut Lines) -> Result<OsInfo, Error> {
    let mut os = OsInfo { kernel: String::new(), hostname: String::new(), distro: String::new() };
    for line in lines.block("osinfo:", 3)? {
        match key_value(lines, &line)? {
            ("kernel", value) => os.kernel = value.to_owned(),
            ("hostname", value) => os.hostname = value.to_owned(),
            ("distro", value) => os.distro = value.to_owned(),
            _ => {}
        }
    }
    Ok(os)
}

fn read_tasks(lines: &mut Lines) -> Result<Vec<i32>, Error> {
    let mut tids = Vec::new();
    for line in lines.block("taskinfo:", 2)? {
        // The count (nr_tid) is that of the list, so it is not kept.
        if let ("tids", value) = key_value(lines, &line)? {
            for tid in value.split(',').map(str::trim).filter(|tid| !tid.is_empty()) {
                let tid = tid.parse().map_err(|_| lines.error(format!("\"{tid}\" is not a task id")))?;
                tids.push(tid);
            }
        }
    }
    Ok(tids)
}

fn read_usage(lines: &mut Lines) -> Result<Usage, Error> {
    let mut usage = Usage::default();
    for line in lines.block("usageinfo:", 6)? {
        let (key, value) = key_value(lines, &line)?;
        apply_usage(&mut usage, key, value)
            .ok_or_else(|| lines.error(format!("cannot make sense of \"usageinfo:{key}={value}\"")))?;
    }
    Ok(usage)
}

fn apply_usage(usage: &mut Usage, key: &str, value: &str) -> Option<()> {
    let micros = || {
        let (seconds, fraction) = value.trim().split_once('.')?;
        seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(digits(fraction, 6)?)
    };
    let pair = || {
        let (a, b) = value.split_once('(').map_or(value, |(pair, _)| pair).split_once('/')?;
        Some((a.trim().parse().ok()?, b.trim().parse().ok()?))
    };
    match key {
        "systime" => usage.system_us = micros()?,
        "usrtime" => usage.user_us = micros()?,
        "ctxsw" => (usage.voluntary, usage.involuntary) = pair()?,
        "maxrss" => usage.max_rss_kib = value.trim().parse().ok()?,
        "pagefault" => (usage.major_faults, usage.minor_faults) = pair()?,
        "iops" => (usage.read_blocks, usage.written_blocks) = pair()?,
        _ => {}
    }
    Some(())
}

fn read_arg_specs(lines: &mut Lines) -> Result<ArgSpecs, Error> {
    let mut specs = ArgSpecs::default();
    // In the first versions the item was the arguments' line alone.
    if !lines.rest.starts_with(b"argspec:lines=") {
        specs.args = Some(lines.expect("argspec:")?);
        return Ok(specs);
    }
    let count: usize = lines.parse("argspec:lines=", |v| v.parse().ok())?;
    if count > 6 {
        return Err(lines.error(format!("{count} lines of argument specs announced, only 6 are known")));
    }
    for _ in 0..count {
        let line = lines.expect("")?;
        match line.split_once(':') {
            Some(("argspec", value)) => specs.args = Some(value.to_owned()),
            Some(("retspec", value)) => specs.retvals = Some(value.to_owned()),
            Some(("argauto", value)) => specs.auto_args = value.to_owned(),
            Some(("retauto", value)) => specs.auto_retvals = value.to_owned(),
            Some(("enumauto", value)) => specs.enums = value.to_owned(),
            Some(("auto-args", value)) => specs.auto = value.trim() == "1",
            _ => {
                let shown: String = line.chars().take(40).collect();
                return Err(lines.error(format!("a line of argument specs expected, \"{shown}\" found")));
            }
        }
    }
    Ok(specs)
}

/// `22.8 / 23.5 GB (free / total)`
fn parse_memory(value: &str) -> Option<MemoryInfo> {
    let tenths = |text: &str| {
        let (whole, fraction) = text.trim().split_once('.')?;
        whole.parse::<u64>().ok()?.checked_mul(10)?.checked_add(digits(fraction, 1)?)
    };
    let (free, rest) = value.split_once('/')?;
    let mut words = rest.split_whitespace();
    let total = words.next()?;
    let unit = words.next()?;
    let unit = MemoryInfo::UNITS.into_iter().find(|known| *known == unit)?;
    Some(MemoryInfo { free: tenths(free)?, total: tenths(total)?, unit })
}

/// `0.05 / 0.05 / 0.01`
fn parse_load(value: &str) -> Option<[f64; 3]> {
    let mut numbers = value.split('/').map(|n| n.trim().parse::<f64>().ok().filter(|n| n.is_finite()));
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

/// `0.004659848 sec`
fn parse_elapsed(value: &str) -> Option<u64> {
    let (seconds, fraction) = value.trim().strip_suffix("sec").unwrap_or(value).trim().split_once('.')?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(digits(fraction, 9)?)
}

/// `perf_event_paranoid=<n> kptr_restrict=<n>`
fn parse_sysctl(value: &str) -> Option<Sysctl> {
    let find = |key: &str| {
        value.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
    };
    Some(Sysctl { perf_event_paranoid: find("perf_event_paranoid")?, kptr_restrict: find("kptr_restrict")? })
}

fn parse_pattern_type(value: &str) -> Option<PatternType> {
    [PatternType::Regex, PatternType::Glob, PatternType::Simple]
        .into_iter()
        .find(|p| p.as_str() == value.trim())
}

/// The digits after a decimal point as a number of `places` places: "5" with 9 places is 500,000,000.
pub(crate) fn digits(fraction: &str, places: usize) -> Option<u64> {
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let padded = fraction.bytes().chain(std::iter::repeat(b'0')).take(places);
    Some(padded.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}
