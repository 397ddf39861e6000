//! The kernel's own text of a buffer, and what our decoder makes of the raw pages of the same buffer.
//!
//! A directory of the guest's function `capture` holds both; the tables of the kernel are in the directory above it.

use anyhow::{Context as _, Result};
use fathom_ftrace::{
    Clock, Comms, Context, Counts, CpuReader, Endian, Events, Format, Formatter, Kallsyms, Merge, Names,
    Options, PageLayout, Pointers, Printer, TextOptions, Texts,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Differing lines that are shown of one buffer.
const SHOWN: usize = 10;

/// What a kernel says about itself, read once for all its buffers.
struct Tables {
    layout: PageLayout,
    events: Events,
    names: Names,
    /// `uname -r`.
    release: String,
}

/// Compares all buffers that were saved below `dir`. An empty text if nothing differs.
pub(crate) fn differences(dir: &Path) -> Result<String> {
    let tables = Tables::read(dir)?;
    let mut sets: Vec<PathBuf> = std::fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("trace").is_file())
        .collect();
    sets.sort();
    let mut text = String::new();
    let (mut lines, mut kinds) = (0, BTreeMap::new());
    for set in &sets {
        let name = set.file_name().unwrap_or_default().to_string_lossy();
        let kernel = std::fs::read(set.join("trace"))?;
        let different = tables.compare(set, &kernel, &mut kinds)?;
        lines += kernel.iter().filter(|byte| **byte == b'\n').count();
        if !different.is_empty() {
            text += &format!("{name}: - kernel, + fathom\n{different}");
        }
    }
    println!("  {lines} lines of {} buffers, {} kinds of events", sets.len(), kinds.len());
    if lines < 500 {
        text += &format!("only {lines} lines were recorded\n");
    }
    Ok(text)
}

impl Tables {
    fn read(dir: &Path) -> Result<Self> {
        let text = |name: &str| -> Result<String> {
            let path = dir.join(name);
            let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let layout = PageLayout::parse(&text("header_page")?, Endian::Little)?;
        let mut events = Events::default();
        for (path, format) in by_file(&text("formats")?) {
            let system = path.split('/').next().unwrap_or_default().to_owned();
            events.add(Format::parse(&system, &format, layout.machine).with_context(|| path)?);
        }
        events.add_dynamic_events(&text("dynamic_events")?);
        let names = Names {
            symbols: Kallsyms::parse(&text("kallsyms")?),
            texts: Texts::parse(text("printk_formats")?.as_bytes()),
        };
        Ok(Self { layout, events, names, release: text("release")? })
    }

    fn compare(&self, set: &Path, kernel: &[u8], kinds: &mut BTreeMap<String, u64>) -> Result<String> {
        let text = |name: &str| std::fs::read_to_string(set.join(name)).unwrap_or_default();
        let symbols = &self.names.symbols;
        // The age of an inode counts from when the kernel made the text.
        let constants = |name: &str| match name {
            "jiffies" => None,
            _ => symbols.address_of(name).map(u64::cast_signed),
        };
        let formatter = Formatter::new(&self.events, &Options { hz: Some(250), constants: &constants });
        let comms = Comms::parse(&std::fs::read(set.join("saved_cmdlines"))?);
        let counts = counts(set)?;
        let tracer = text("current_tracer").trim().to_owned();
        let options = TextOptions {
            tracer: &tracer,
            clock: Clock::of_name(Clock::chosen(&text("trace_clock")).unwrap_or("local")),
            lost: false,
            annotate: counts.written > counts.in_buffer,
            cpus: cpus(set),
            lazy_resched: fathom_ftrace::text::lazy_resched(&self.release),
            ..TextOptions::default()
        };
        let context =
            Context { machine: self.layout.machine, names: &self.names, pointers: Pointers::Padded };
        let mut printer = Printer::new(&formatter, context, &comms, options);
        let mut ours = Vec::new();
        printer.header(&mut ours, Some(counts));
        let mut merge = merge(set, self.layout.as_kernel_text())?;
        while printer.print_next(&mut merge, &mut ours)? {}
        let as_fields: Vec<&str> = formatter
            .not_evaluable()
            .iter()
            .map(|event| event.event.rsplit(':').next().unwrap_or_default())
            .collect();
        Ok(differing_lines(kernel, &ours, &as_fields, kinds))
    }
}

/// `PATH:LINE` of `grep -H`, as (path, lines) of each file.
fn by_file(text: &str) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for line in text.lines() {
        if let Some((path, line)) = line.split_once("/format:") {
            let file = files.entry(path.to_owned()).or_default();
            file.push_str(line);
            file.push('\n');
        }
    }
    files
}

/// How many CPUs there are.
fn cpus(set: &Path) -> u32 {
    (0..).take_while(|cpu| set.join(format!("cpu{cpu}.raw")).is_file()).count() as u32
}

fn merge(set: &Path, layout: PageLayout) -> Result<Merge<std::io::Cursor<Vec<u8>>>> {
    let mut readers = Vec::new();
    for cpu in 0..cpus(set) {
        let pages = std::fs::read(set.join(format!("cpu{cpu}.raw")))?;
        readers.push((cpu, CpuReader::new(std::io::Cursor::new(pages), layout)));
    }
    Ok(Merge::new(readers))
}

fn counts(set: &Path) -> Result<Counts> {
    let mut counts = Counts { in_buffer: 0, written: 0 };
    for cpu in 0..cpus(set) {
        let stats = std::fs::read_to_string(set.join(format!("cpu{cpu}.stats")))?;
        let number = |name: &str| -> u64 {
            stats.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
        };
        counts.in_buffer += number("entries:");
        counts.written += number("entries:") + number("overrun:");
    }
    Ok(counts)
}

/// The lines that differ. Of events that only the kernel can print (`as_fields`: their formats call its functions), all
/// before the text must be equal.
fn differing_lines(
    kernel: &[u8],
    ours: &[u8],
    as_fields: &[&str],
    kinds: &mut BTreeMap<String, u64>,
) -> String {
    let split = |text: &[u8]| -> Vec<String> {
        text.split(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    };
    let (kernel, ours) = (split(kernel), split(ours));
    let mut shown = String::new();
    let mut different = 0;
    for at in 0..kernel.len().max(ours.len()) {
        let (Some(theirs), Some(mine)) = (kernel.get(at), ours.get(at)) else {
            different += 1;
            continue;
        };
        let event = event_of(theirs);
        if let Some((_, event)) = event {
            *kinds.entry(event.to_owned()).or_default() += 1;
        }
        if theirs == mine {
            continue;
        }
        if let Some((head, event)) = event
            && as_fields.contains(&event)
            && mine.starts_with(head)
        {
            continue;
        }
        different += 1;
        if different <= SHOWN {
            shown += &format!("{}: - {theirs}\n{}: + {mine}\n", at + 1, at + 1);
        }
    }
    if different > 0 {
        shown += &format!("{different} lines differ; {} for {}\n", ours.len(), kernel.len());
    }
    shown
}

/// What stands before an event's text, with its name, and the name alone: `… [000] d..2. 5.541071: NAME: …`.
fn event_of(line: &str) -> Option<(&str, &str)> {
    let time_end = line.find("] ").and_then(|cpu| Some(cpu + line.get(cpu..)?.find(": ")?))? + 2;
    let name = line.get(time_end..)?.split(':').next()?;
    Some((line.get(..time_end + name.len())?, name))
}

#[cfg(test)]
mod tests {
    use super::{by_file, differing_lines, event_of};
    use std::collections::BTreeMap;

    const LINE: &str = "              sh-145     [000] d..2.     5.541071: sched_wakeup_new: comm=sh pid=243";

    #[test]
    fn names_of_events() {
        assert_eq!(event_of(LINE).unwrap().1, "sched_wakeup_new");
        assert_eq!(event_of("# tracer: nop"), None);
    }

    #[test]
    fn only_what_the_kernel_alone_can_print_may_differ() {
        let (a, b) = (LINE.to_owned(), LINE.replace("243", "244"));
        let mut kinds = BTreeMap::new();
        let mut compare = |a: &str, b: &str, as_fields: &[&str]| {
            differing_lines(a.as_bytes(), b.as_bytes(), as_fields, &mut kinds)
        };
        assert_eq!(compare(&a, &a, &[]), "");
        assert_ne!(compare(&a, &b, &[]), "");
        assert_eq!(compare(&a, &b, &["sched_wakeup_new"]), "");
        assert_ne!(compare(&a, &b.replace("5.541", "5.542"), &["sched_wakeup_new"]), "");
        assert_ne!(compare(&a, &format!("{a}\n"), &[]), "");
        assert_eq!(kinds.len(), 1);
    }

    #[test]
    fn formats_by_file() {
        let files = by_file("sched/a/format:name: a\nsched/a/format:\nsched/b/format:name: b\n");
        assert_eq!(files["sched/a"], "name: a\n\n");
        assert_eq!(files.len(), 2);
    }
}
