//! Which recording a command reads, and opening it.

use crate::args::events::Events;
use crate::args::filters::Filters;
use crate::args::{Common, Demangle, Load};
use crate::messages::{Failure, Log, exit};
use crate::version::Name;
use fathom_store::directory::{Directory, OpenOptions, find_default};
use fathom_store::kernel::Kernel;
use fathom_store::tracedat::TraceDat;
use fathom_store::{Error as StoreError, EventOptions, Layer, TaskEvents, Tid, Trace};
use fathom_symbols::demangle::Style;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Where `record` writes unless told otherwise.
pub(crate) fn default_target(name: Name) -> PathBuf {
    PathBuf::from(match name {
        Name::Fathom => "fathom.data",
        Name::Uftrace => "uftrace.data",
    })
}

/// The directory to read: the one named, or the first there is of the usual ones.
pub(crate) fn source(common: &Common, name: Name) -> Result<PathBuf, Failure> {
    if let Some(dir) = &common.data {
        return Ok(dir.clone());
    }
    let found = find_default(Path::new(""), name == Name::Fathom);
    found
        .map(|dir| if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir })
        .map_err(|error| Failure::new(exit::UNREADABLE, "looking for a recording", error).next(ADVICE))
}

const ADVICE: &str = "make a recording with `fathom record PROGRAM`, or name one with -d DIR";

/// The words of the directory's `default.opts`, none when it has none.
pub(crate) fn default_options(dir: &Path) -> Vec<OsString> {
    let path = dir.join("default.opts");
    // It is there for convenience: without it, or with one that cannot be read, the recording is shown all the same.
    option_file(&path).map(|text| crate::args::words::split(&text)).unwrap_or_default()
}

/// The text of an option file.
pub(crate) fn option_file(path: &Path) -> io::Result<Vec<u8>> {
    /// More than anybody writes by hand.
    const LIMIT: u64 = 64 * 1024;
    // A pipe or a device would be waited for.
    let file = path.metadata()?;
    if !file.is_file() {
        return Err(io::Error::other("it is no ordinary file"));
    }
    if file.len() > LIMIT {
        return Err(io::Error::other("it is longer than 64 KiB"));
    }
    let mut text = Vec::new();
    File::open(path)?.take(LIMIT).read_to_end(&mut text)?;
    Ok(text)
}

/// How names are shown.
pub(crate) fn style(demangle: Demangle) -> Style {
    match demangle {
        Demangle::Full => Style::Full,
        Demangle::Simple => Style::Simple,
        Demangle::No => Style::None,
    }
}

/// Which events are wanted. As with the peer, naming some brings back all that is there.
pub(crate) fn events(load: &Load) -> EventOptions {
    let Events { event, no_event, no_sched } = &load.events;
    let events = !no_event || !event.is_empty();
    EventOptions { events, sched: events && !no_sched, ..EventOptions::default() }
}

/// Which events of a recording with these options are shown.
pub(crate) fn shown_events(events: &Events, filters: &Filters) -> EventOptions {
    let any = !events.no_event || !events.event.is_empty();
    EventOptions {
        events: any,
        sched: any && !events.no_sched && !filters.no_sched(),
        ..EventOptions::default()
    }
}

/// A recording, of whatever kind.
pub(crate) enum Opened {
    /// A data directory.
    Directory(Box<Directory>),
    /// A recording of the kernel alone.
    TraceDat(Box<TraceDat>),
}

impl Opened {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Opened::Directory(dir) => dir.path(),
            Opened::TraceDat(file) => file.path(),
        }
    }

    /// What the kernel's tracer recorded, CPU by CPU.
    pub(crate) fn kernel(&self) -> Option<&Kernel> {
        match self {
            Opened::Directory(dir) => dir.kernel(),
            Opened::TraceDat(file) => Some(file.kernel()),
        }
    }

    /// The events to show if these are wanted: those of the kernel alone are in no function of a program.
    pub(crate) fn shown(&self, wanted: EventOptions) -> EventOptions {
        EventOptions { outside: wanted.outside || self.directory().is_none(), ..wanted }
    }

    /// It, if it is a data directory.
    pub(crate) fn directory(&self) -> Option<&Directory> {
        match self {
            Opened::Directory(dir) => Some(dir),
            Opened::TraceDat(_) => None,
        }
    }
}

impl Layer for Opened {
    fn inner(&self) -> &dyn Trace {
        match self {
            Opened::Directory(dir) => &**dir,
            Opened::TraceDat(file) => &**file,
        }
    }

    fn layer_events(&self, tid: Tid, options: EventOptions) -> Result<Box<dyn TaskEvents + '_>, StoreError> {
        self.inner().events(tid, options)
    }
}

/// Opens a recording: a data directory, or a file of the kernel's events. One whose recorder was killed is finished first.
pub(crate) fn open(dir: &Path, options: OpenOptions, log: &Log) -> Result<Opened, Failure> {
    log.detail("fstack", &format!("reading the recording in '{}'", dir.display()));
    let doing = || format!("reading the recording in '{}'", dir.display());
    if TraceDat::is_one(dir) {
        let trace = TraceDat::open(dir).map_err(|error| Failure::new(exit::UNREADABLE, doing(), error))?;
        return Ok(Opened::TraceDat(Box::new(trace)));
    }
    match fathom_record::recover(dir) {
        Ok(None) => {}
        Ok(Some(recovered)) => {
            let text =
                format!("the recording in '{}' was not finished, its recorder was killed", dir.display());
            show_recovery(&text, &recovered, log);
        }
        // What has been written can be read all the same, as on a disk that is read-only.
        Err(error) => log.warn(&format!("cannot finish the recording in '{}': {error}", dir.display())),
    }
    let trace = Directory::open(dir, options)
        .map_err(|error| Failure::new(exit::UNREADABLE, doing(), error).next(ADVICE))?;
    if trace.tasks().is_empty() {
        return Err(Failure::because(exit::UNREADABLE, doing(), "there are no records in it").next(ADVICE));
    }
    Ok(Opened::Directory(Box::new(trace)))
}

/// The options of [`open`] for commands that show calls.
pub(crate) fn open_options(load: &Load) -> OpenOptions {
    OpenOptions { demangle: style(load.demangle), symbol_dir: load.with_syms.clone() }
}

/// Says what could not be read.
pub(crate) fn show_warnings(trace: &dyn Trace, log: &Log) {
    for warning in trace.warnings() {
        log.warn(&warning);
    }
}

fn show_recovery(text: &str, recovered: &fathom_record::Recovered, log: &Log) {
    let what = match (recovered.buffers, recovered.losses.records) {
        (true, 0) => "all that was in its buffers is there now".to_owned(),
        (true, lost) => format!("{lost} records of its buffers are lost"),
        (false, _) => "its buffers are gone, what had been written is there".to_owned(),
    };
    let events = if recovered.events { "; events of its last tenth of a second may be missing" } else { "" };
    log.warn(&format!("{text}; {what}{events}"));
}
