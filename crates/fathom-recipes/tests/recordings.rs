//! The analyses over recordings of real kernels (those that the decoder is tested with).

use fathom_ftrace::Record;
use fathom_ftrace::live::{Live, Next};
use fathom_ftrace::tables::{Kallsyms, Names, Texts};
use fathom_ftrace::{Endian, Events, Format, PageLayout};
use fathom_recipes::lines::Lines;
use fathom_recipes::names::KernelNames;
use fathom_recipes::text::{Limits, summary};
use fathom_recipes::{Analysis, Event, Summary, find};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

struct Bed {
    files: BTreeMap<String, Vec<u8>>,
}

impl Bed {
    fn open(kernel: &str) -> Bed {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fathom-ftrace/tests/data")
            .join(format!("{kernel}.tar.zst"));
        let mut decoder = zstd::Decoder::new(std::fs::File::open(path).unwrap()).unwrap();
        decoder.window_log_max(27).unwrap();
        let mut tar = Vec::new();
        decoder.read_to_end(&mut tar).unwrap();
        let mut files = BTreeMap::new();
        let mut at = 0;
        while let Some(header) = tar.get(at..at + 512).filter(|header| header[0] != 0) {
            let text = |range: std::ops::Range<usize>| {
                String::from_utf8_lossy(header[range].split(|byte| *byte == 0).next().unwrap()).into_owned()
            };
            let size = usize::from_str_radix(text(124..136).trim(), 8).unwrap();
            files.insert(
                text(0..100).trim_start_matches("./").to_owned(),
                tar[at + 512..at + 512 + size].to_vec(),
            );
            at += 512 + size.next_multiple_of(512);
        }
        Bed { files }
    }

    fn text(&self, path: &str) -> String {
        String::from_utf8_lossy(self.files.get(path).map(Vec::as_slice).unwrap_or_default()).into_owned()
    }

    /// Runs a recipe's analysis over a set; with every line, if `each` wants them. The pages are handed over in rounds of
    /// one page for each CPU, as they come live.
    fn run(&self, recipe: &str, set: &str, mut each: impl FnMut(&str)) -> (Summary, KernelNames) {
        let layout = PageLayout::parse(&self.text("events/header_page"), Endian::Little).unwrap();
        let mut events = Events::default();
        for prefix in ["events/".to_owned(), format!("{set}/events/")] {
            for path in self.files.keys() {
                if let Some(rest) = path.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix("/format")) {
                    let system = rest.split('/').next().unwrap();
                    events.add(Format::parse(system, &self.text(path), layout.machine).unwrap());
                }
            }
        }
        let tables = Names { symbols: Kallsyms::parse(&self.text("kallsyms")), texts: Texts::default() };
        let names = KernelNames::new(tables, Path::new("/nonexistent"));
        names.update(self.text(&format!("{set}/saved_cmdlines")).as_bytes());
        let mut analysis = Analysis::new(find(recipe).unwrap().measures);
        let mut lines = Lines::new(&events);
        let mut see = |cpu: u32, next: Next<'_>, _: Option<Record<'_>>| -> Result<bool, ()> {
            match next {
                Next::Record(Record { time, data: record }) => {
                    let format = events.of(record, layout.machine).unwrap();
                    let event = Event::new(time, cpu, format, record).unwrap();
                    analysis.event(&event, &|| lines.text(time, record, &names));
                    each(&lines.record(&event, record, &names));
                }
                Next::Missed(missed) => analysis.lost(missed.count()),
                Next::Damaged(error) => panic!("{error}"),
            }
            Ok(false)
        };
        let mut live = Live::new(layout);
        let cpus: Vec<(u32, &[u8])> = (0..8)
            .filter_map(|cpu| {
                Some((cpu, self.files.get(&format!("{set}/cpu{cpu}/trace_pipe_raw"))?.as_slice()))
            })
            .collect();
        let longest = cpus.iter().map(|(_, pages)| pages.len()).max().unwrap();
        // Late pages of one CPU would be out of order live; here all of a round are there at once.
        for (cpu, pages) in &cpus {
            for page in pages.chunks(layout.size()) {
                live.pages(*cpu, page);
            }
        }
        assert!(longest > 0);
        live.round(&mut see).unwrap();
        live.end(&mut see).unwrap();
        (analysis.finish(), names)
    }

    fn shown(&self, recipe: &str, set: &str) -> String {
        let (found, names) = self.run(recipe, set, |_| {});
        let limits = Limits { rows: 6, stacks: 2, tree: 30, width: 100 };
        summary(find(recipe).unwrap(), &found, &names, limits)
    }
}

#[test]
fn summaries_of_a_6_12() {
    let bed = Bed::open("6.12");
    for (recipe, set) in [
        ("sched-latency", "sched"),
        ("wakeup", "sched-stack"),
        ("off-cpu", "sched-stack"),
        ("irq", "irq"),
        ("softirq", "irq"),
        ("syscalls", "syscalls"),
        ("interrupt", "funcgraph"),
        ("block-io", "kitchen-sink"),
        ("net-rx", "kitchen-sink"),
        ("signal", "kitchen-sink"),
        ("workqueue", "kitchen-sink"),
        ("memory", "kitchen-sink"),
        ("kmalloc", "kitchen-sink"),
        ("exec", "kitchen-sink"),
        ("network", "kitchen-sink"),
        ("writeback", "kitchen-sink"),
        ("page-faults", "kitchen-sink"),
    ] {
        insta::assert_snapshot!(format!("6.12_{recipe}"), bed.shown(recipe, set));
    }
}

#[test]
fn other_kernels_have_the_same_measures() {
    for kernel in ["6.1", "6.12-arm64"] {
        let bed = Bed::open(kernel);
        for (recipe, set) in [("softirq", "irq"), ("sched-latency", "sched"), ("interrupt", "funcgraph")] {
            let (found, _) = bed.run(recipe, set, |_| {});
            let measured =
                found.found.iter().filter(|(measure, _)| found.times(measure.id).is_some()).count();
            assert!(measured > 0 || found.graph().is_some(), "{kernel} {recipe}");
        }
    }
}

#[test]
fn figures_agree_with_the_kernels_text() {
    let bed = Bed::open("6.12");
    let (found, _) = bed.run("softirq", "irq", |_| {});
    let text = bed.text("irq/trace");
    let lines = |what: &str| text.lines().filter(|line| line.contains(what)).count() as u64;
    for event in ["softirq_raise", "softirq_entry", "softirq_exit", "irq_handler_entry"] {
        assert_eq!(found.count(event), lines(&format!(": {event}: ")), "{event}");
    }
    let run = found.times("run").unwrap();
    assert_eq!(run.all.count() + run.open, found.count("softirq_entry"));
    assert_eq!(run.all.count() + run.unbegun, found.count("softirq_exit"));
}

#[test]
fn lines_are_the_kernels_own() {
    for kernel in ["6.1", "6.12"] {
        let bed = Bed::open(kernel);
        let mut ours = Vec::new();
        bed.run("sched-latency", "sched", |text| ours.extend(text.lines().map(str::to_owned)));
        let text = bed.text("sched/trace");
        let theirs: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(ours.len(), theirs.len(), "{kernel}");
        // The kernel pads the time to twelve columns.
        let same = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert_eq!(same(ours), same(theirs), "{kernel}");
        }
    }
}
