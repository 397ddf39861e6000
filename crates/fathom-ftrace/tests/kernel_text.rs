//! The text that is made of the raw pages equals the kernel's own, line by line.
//!
//! Differences that are allowed, each by an exact rule:
//! - `%p`: the kernel prints a hash that only it can compute. In its place we have the address; one address always
//!   has the same hash, and no two have one.
//! - An inode's age is from when the text was read; that time is given.
//! - The excerpts of kallsyms lack the ends of functions. They are added where the text names a function's size.

mod common;

use common::{Bed, KERNELS};
use fathom_ftrace::{
    Clock, Comms, Context, Counts, Formatter, GraphOptions, Kallsyms, Names, Options, Pointers, Printer,
    TextOptions, Texts,
};
use std::collections::HashMap;

/// `name+0x4/0xf0` in `text`: (name, size).
fn sizes(text: &[u8]) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for word in text.split(|byte| !(byte.is_ascii_alphanumeric() || b"_.+/".contains(byte))) {
        let Ok(word) = std::str::from_utf8(word) else { continue };
        if let Some((name, rest)) = word.split_once("+0x")
            && let Some((_, size)) = rest.split_once("/0x")
            && let Ok(size) = u64::from_str_radix(size, 16)
        {
            found.push((name.to_owned(), size));
        }
    }
    found
}

fn names(bed: &Bed) -> Names {
    let excerpt = bed.text("kallsyms");
    let symbols = Kallsyms::parse(&excerpt);
    let mut with_ends = excerpt.clone();
    for set in bed.sets() {
        for (name, size) in sizes(bed.file(&format!("{set}/trace")).unwrap()) {
            if let Some(start) = symbols.address_of(&name) {
                with_ends.push_str(&format!("{:x} t end_of_{name}\n", start + size));
            }
        }
    }
    Names { symbols: Kallsyms::parse(&with_ends), texts: Texts::parse(bed.file("printk_formats").unwrap()) }
}

/// Events in the buffer and written, from the `stats` of all CPUs.
fn counts(bed: &Bed, set: &str) -> Counts {
    let mut counts = Counts { in_buffer: 0, written: 0 };
    for cpu in 0..2 {
        let stats = bed.text(&format!("{set}/cpu{cpu}/stats"));
        let number = |name: &str| -> u64 {
            stats
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map_or(0, |text| text.trim().parse().unwrap())
        };
        counts.in_buffer += number("entries:");
        counts.written += number("entries:") + number("overrun:");
    }
    counts
}

fn print(bed: &Bed, set: &str) -> Vec<u8> {
    let counts = counts(bed, set);
    let mut events = bed.events(set);
    events.add_dynamic_events(&bed.text("dynamic_events"));
    let names = names(bed);
    // The kernel's ticks (from 300 seconds before 2^32 on) when the text with ages of inodes was read.
    let jiffies = if bed.kernel == "6.12-arm64" { 4_294_902_900 } else { 4_294_904_900 };
    let constants = |name: &str| match name {
        "jiffies" => Some(jiffies),
        _ => names.symbols.address_of(name).map(|address| address as i64),
    };
    let formatter = Formatter::new(&events, &Options { hz: Some(250), constants: &constants });
    let comms = Comms::parse(bed.file(&format!("{set}/saved_cmdlines")).unwrap());
    let tracer = bed.text(&format!("{set}/current_tracer")).trim().to_owned();
    let clock = bed.text(&format!("{set}/trace_clock"));
    let full = set == "funcgraph";
    let graph = GraphOptions {
        time: full,
        task: full,
        tail: full,
        retval: set == "funcgraph-depth" && bed.kernel == "6.12-all-tracers",
        ..GraphOptions::default()
    };
    let options = TextOptions {
        tracer: &tracer,
        clock: Clock::of_name(Clock::chosen(&clock).unwrap()),
        lost: false,
        annotate: counts.written > counts.in_buffer,
        cpus: 2,
        graph,
        ..TextOptions::default()
    };
    let context = Context { machine: bed.layout().machine, names: &names, pointers: Pointers::Padded };
    let mut printer = Printer::new(&formatter, context, &comms, options);
    let mut merge = bed.merge(set, bed.layout().as_kernel_text());
    let mut out = Vec::new();
    printer.header(&mut out, Some(counts));
    while printer.print_next(&mut merge, &mut out).unwrap() {}
    out
}

/// The hashes of addresses, and back.
#[derive(Default)]
struct Hashes {
    of: HashMap<Vec<u8>, Vec<u8>>,
    back: HashMap<Vec<u8>, Vec<u8>>,
}

impl Hashes {
    /// Whether the lines are equal but for hashes, which are those of before.
    fn equal(&mut self, ours: &[u8], kernel: &[u8]) -> bool {
        if ours == kernel {
            return true;
        }
        if ours.len() != kernel.len() {
            return false;
        }
        let word = |byte: &u8| !byte.is_ascii_alphanumeric();
        ours.split(word).zip(kernel.split(word)).all(|(address, hash)| {
            address == hash
                || (address.len() == 16
                    && hash.len() == 16
                    && hash.starts_with(b"00000000")
                    && self.of.entry(address.to_vec()).or_insert_with(|| hash.to_vec()) == hash
                    && self.back.entry(hash.to_vec()).or_insert_with(|| address.to_vec()) == address)
        })
    }
}

#[test]
fn every_recording_prints_as_the_kernel_printed_it() {
    let mut differences = Vec::new();
    let (mut lines, mut sets) = (0, 0);
    for kernel in KERNELS {
        let bed = Bed::open(kernel);
        let mut hashes = Hashes::default();
        for set in bed.sets() {
            let ours = print(&bed, &set);
            let expected = bed.file(&format!("{set}/trace")).unwrap();
            let split =
                |text: &[u8]| text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
            let (ours, expected) = (split(&ours), split(expected));
            let mut shown = 0;
            for (index, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
                lines += 1;
                if !hashes.equal(ours, expected) {
                    shown += 1;
                    if shown <= 3 {
                        differences.push(format!(
                            "{kernel}/{set}:{}\n  ours   {}\n  kernel {}",
                            index + 1,
                            String::from_utf8_lossy(ours),
                            String::from_utf8_lossy(expected)
                        ));
                    }
                }
            }
            if shown > 0 || ours.len() != expected.len() {
                differences.push(format!(
                    "{kernel}/{set}: {shown} lines, {} for {}",
                    ours.len(),
                    expected.len()
                ));
            }
            sets += 1;
        }
    }
    assert!(differences.is_empty(), "{}\n{lines} lines of {sets} sets", differences.join("\n"));
    assert_eq!((sets, lines), (66, 32_939));
}
