//! What has to be kept beside the pages so that they can be read later: formats, symbols, names.

use fathom_tracedat::{Endian, Options, System, Tables, id};
use fathom_tracefs::{Plan, Tracefs};
use std::collections::BTreeMap;
use std::fs;

/// The tables of what a plan records. Symbols are apart: [`symbols`].
///
/// # Errors
///
/// If the formats of its events cannot be read.
pub fn of_plan(tracefs: &Tracefs, plan: &Plan) -> Result<Tables, fathom_tracefs::Error> {
    let prefix = plan.place.prefix();
    // The size of pages is the instance's own.
    let header = tracefs.read_bytes(&format!("{prefix}events/header_page"));
    let mut tables = Tables {
        header_page: header.or_else(|_| tracefs.read_bytes("events/header_page"))?,
        header_event: tracefs.read_bytes("events/header_event")?,
        printk_formats: tracefs.read_bytes("printk_formats").unwrap_or_default(),
        ..Tables::default()
    };
    for entry in tracefs.list("events/ftrace").unwrap_or_default() {
        tables.ftrace_formats.extend(tracefs.read_bytes(&format!("events/ftrace/{entry}/format")).ok());
    }
    let mut systems: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
    for event in &plan.events {
        let Some((system, _)) = event.split_once('/') else { continue };
        // A module may have taken its events with it since they were enabled.
        if let Ok(format) = tracefs.read_bytes(&format!("events/{event}/format")) {
            systems.entry(system).or_default().push(format);
        }
    }
    let system = |(name, formats): (&str, _)| System { name: name.to_owned(), formats };
    tables.systems = systems.into_iter().map(system).collect();
    Ok(tables)
}

/// `/proc/kallsyms`: marks of programs need it too, which are shown with the function that wrote them.
pub fn symbols(tracefs: &Tracefs) -> Vec<u8> {
    fs::read(tracefs.proc().join("kallsyms")).unwrap_or_default()
}

/// Facts about the recording.
pub fn options(tracefs: &Tracefs, plan: &Plan, cpus: u32) -> Options {
    let mut options = Options::default();
    options.push(id::CPUCOUNT, endian().put_u32(cpus));
    let clock = tracefs.read(&format!("{}trace_clock", plan.place.prefix())).unwrap_or_default();
    if !clock.is_empty() {
        options.push_text(id::TRACECLOCK, &clock);
    }
    let name = rustix::system::uname();
    let words = [name.sysname(), name.nodename(), name.release(), name.machine()];
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    options.push_text(id::UNAME, &words.join(" "));
    options.push_text(id::VERSION, concat!("fathom ", env!("CARGO_PKG_VERSION")));
    options
}

/// The byte order of this machine.
pub fn endian() -> Endian {
    if cfg!(target_endian = "big") { Endian::Big } else { Endian::Little }
}
