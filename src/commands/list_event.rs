//! `--list-event`: the events that can be asked for.

use super::{Context, record};
use crate::messages::{Failure, exit};
use fathom_symbols::Image;
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

/// Where the kernel's tracing files are.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Shows the events of the kernel, for those who may read them, and those of the program.
pub(crate) fn run(program: Option<&OsStr>, context: &Context) -> Result<u8, Failure> {
    let mut text = TRACEFS.iter().find_map(|dir| kernel_events(Path::new(dir))).unwrap_or_default();
    if let Some(program) = program {
        text += &probes(program)?;
    }
    if text.is_empty() {
        context.log.warn("there are no events to list, except those of linux that --help of record names");
    }
    let mut out = context.output()?;
    let written = out.write_all(text.as_bytes()).and_then(|()| out.finish());
    written.map_err(|error| Failure::new(exit::TROUBLE, "writing the list of events", error))?;
    Ok(exit::SUCCESS)
}

/// A line for each event that the kernel has, `None` where they cannot be read.
fn kernel_events(tracefs: &Path) -> Option<String> {
    let list = std::fs::read_to_string(tracefs.join("available_events")).ok()?;
    Some(list.lines().map(|name| format!("[kernel event] {name}\n")).collect())
}

/// A line for each static probe of a file.
fn probes(program: &OsStr) -> Result<String, Failure> {
    let path = record::find_program(program);
    let image = Image::open(&path).map_err(|error| {
        let doing = format!("looking for events in '{}'", program.to_string_lossy());
        Failure::new(exit::TROUBLE, doing, error)
    })?;
    let line = |probe: fathom_symbols::sdt::SdtProbe| {
        let line = format!("[SDT event] {} {}", probe.full_name(), probe.arguments);
        // Names come from a file that may not be ours: no control sequences for the terminal.
        line.chars().map(|c| if c.is_control() { '?' } else { c }).chain(['\n']).collect::<String>()
    };
    Ok(image.sdt_probes().into_iter().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_the_kernel() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(kernel_events(dir.path()), None);
        std::fs::write(dir.path().join("available_events"), "sched:sched_switch\nirq:irq_handler_exit\n")
            .unwrap();
        let expected = "[kernel event] sched:sched_switch\n[kernel event] irq:irq_handler_exit\n";
        assert_eq!(kernel_events(dir.path()).as_deref(), Some(expected));
    }

    #[test]
    fn files_that_are_no_programs_are_named() {
        let error = probes(OsStr::new("/dev/null")).unwrap_err();
        assert!(error.to_string().contains("looking for events in '/dev/null'"), "{error}");
    }
}
