//! The end of a recording: symbol files and the header.

use crate::sessions::Answers;
use crate::{Error, LibCalls, host, sys};
use fathom_store::writer::DirectoryWriter;
use fathom_store::{Features, Info, PatternType, Usage};
use fathom_symbols::elf::Image;
use fathom_symbols::symfile::{ModuleId, Style};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the header needs besides the machine.
pub(crate) struct Header<'a> {
    pub(crate) answers: &'a Answers,
    /// Executable that was asked for.
    pub(crate) exe: &'a Path,
    /// Raw wait status, -1 if it is not known.
    pub(crate) status: i32,
    pub(crate) usage: Option<Usage>,
    pub(crate) elapsed: Option<Duration>,
    pub(crate) cmdline: &'a str,
    pub(crate) version: &'a str,
    pub(crate) libcalls: LibCalls,
    pub(crate) matching: PatternType,
}

/// Writes the symbols of every module that took part. Files that are gone are named in the notes.
pub(crate) fn write_symbols(
    writer: &DirectoryWriter,
    answers: &Answers,
    notes: &mut Vec<String>,
) -> Result<(), Error> {
    for path in &answers.modules {
        let image = match Image::open(path) {
            Ok(image) => image,
            Err(error) => {
                notes.push(format!("no symbols of {}: {error}", path.display()));
                continue;
            }
        };
        let module = ModuleId { path: path.to_string_lossy().into_owned(), build_id: image.build_id() };
        // Without sizes: uftrace 0.13 cannot read them, and the gaps between symbols are marked instead.
        writer.symbols(&module, &image.symbols(), Style::Plain)?;
    }
    Ok(())
}

/// Writes `info`.
pub(crate) fn write_info(writer: &DirectoryWriter, header: &Header<'_>) -> Result<(), Error> {
    let exe = header.answers.exe.as_deref().unwrap_or(header.exe);
    let mut info = Info::default();
    if header.libcalls != LibCalls::None {
        info.features |= Features::PLTHOOK;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    info.exe_name = Some(exe.to_string_lossy().into_owned());
    info.build_id = Image::open(exe).ok().and_then(|image| image.build_id());
    info.exit_status = Some(header.status);
    info.cmdline = Some(header.cmdline.to_owned());
    info.cpu = host::cpu();
    info.memory = host::memory();
    info.os = host::os();
    info.tids = Some(writer.tasks().into_iter().map(|(tid, _)| tid).collect());
    info.usage = header.usage;
    info.load = host::load();
    info.record_date = Some(sys::ctime(now));
    info.elapsed_ns = header.elapsed.map(|e| e.as_nanos() as u64);
    info.pattern_type = Some(header.matching);
    info.recorder_version = Some(header.version.to_owned());
    info.utc_offset = Some(now - (crate::clock::monotonic() / 1_000_000_000) as i64);
    writer.info(&info)?;
    Ok(())
}

/// From what `wait4` says.
pub(crate) fn usage(u: &libc::rusage) -> Usage {
    let us = |t: libc::timeval| t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64;
    Usage {
        system_us: us(u.ru_stime),
        user_us: us(u.ru_utime),
        voluntary: u.ru_nvcsw as u64,
        involuntary: u.ru_nivcsw as u64,
        max_rss_kib: u.ru_maxrss as u64,
        major_faults: u.ru_majflt as u64,
        minor_faults: u.ru_minflt as u64,
        read_blocks: u.ru_inblock as u64,
        written_blocks: u.ru_oublock as u64,
    }
}
