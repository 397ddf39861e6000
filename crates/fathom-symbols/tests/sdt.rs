//! Static probes, beside what readelf reads.

mod support;

use fathom_symbols::Image;
use fathom_symbols::sdt::{Operand, Register, SdtArg, SdtProbe};
use support::{Build, PROBES};

const NOTES: &str = "990: nop";

fn build(options: &str) -> (Build, Vec<u8>) {
    assert!(PROBES.contains(NOTES));
    let build = Build::new();
    let text =
        format!("{PROBES}\nint main(int c, char **v) {{ return first(c) + second((long *)v) + third(); }}");
    let program = build.source("a.c", &text).compile(&format!("gcc -O1 a.c {options}"), "a");
    let bytes = std::fs::read(program).unwrap();
    (build, bytes)
}

fn probes(bytes: &[u8]) -> Vec<SdtProbe> {
    Image::parse(bytes.to_vec()).unwrap().sdt_probes()
}

#[test]
fn probes_are_where_readelf_says() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    for options in ["", "-no-pie", "-shared -fPIC", "-static"] {
        let (build, bytes) = build(options);
        let image = Image::parse(bytes).unwrap();
        let found = image.sdt_probes();
        let text = build.run("readelf -n --wide a");
        let hex = |text: &str| u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).unwrap();
        let places: Vec<(u64, u64)> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Location: "))
            .map(|line| {
                let mut parts = line.split(", ").map(|part| part.rsplit(": ").next().unwrap_or_default());
                (hex(parts.next().unwrap()), hex(parts.nth(1).unwrap()))
            })
            .collect();
        let base = image.link_base();
        let mine: Vec<_> =
            found.iter().map(|p| (p.addr + base, p.semaphore.map_or(0, |addr| addr + base))).collect();
        assert_eq!(mine, places, "{options}");
        // The C library has probes of its own.
        let toy: Vec<_> = found.iter().filter(|probe| probe.provider == "toy").collect();
        let names: Vec<_> = toy.iter().map(|probe| (probe.full_name(), probe.arguments.as_str())).collect();
        let expected = [("toy:first", "-4@%edi 8@$5"), ("toy:second", "8@8(%rdi)"), ("toy:third", "")];
        assert_eq!(names, expected.map(|(name, args)| (name.to_owned(), args)), "{options}");
        for probe in &toy {
            assert_eq!(image.data_at(probe.addr, 1), Some(&[0x90][..]), "a nop");
        }
        assert!(toy[0].semaphore.is_none() && toy[1].semaphore.is_some());
        assert_eq!(
            toy[1].args,
            [SdtArg {
                size: 8,
                signed: false,
                float: false,
                operand: Operand::Memory {
                    base: Some(Register::General(7)),
                    index: None,
                    scale: 1,
                    disp: 8,
                    symbol: None
                },
            }]
        );
    }
}

#[test]
fn probes_move_with_the_base() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let (_build, mut bytes) = build("");
    let before = probes(&bytes);
    // As if the file had been moved by 4096 since the notes were written.
    let base = Image::parse(bytes.clone()).unwrap().section(".stapsdt.base").unwrap().addr;
    let mut changed = 0;
    for at in 0..bytes.len() - 8 {
        let follows_owner = bytes[..at].ends_with(b"stapsdt\0");
        if follows_owner && bytes[at + 8..at + 16] == base.to_le_bytes() {
            bytes[at + 8..at + 16].copy_from_slice(&(base - 4096).to_le_bytes());
            changed += 1;
        }
    }
    assert_eq!(changed, 3);
    let after = probes(&bytes);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after.addr, before.addr + 4096);
        assert_eq!(after.semaphore, before.semaphore.map(|addr| addr + 4096));
    }
}

#[test]
fn damaged_notes_are_left_out() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let (_build, bytes) = build("");
    let at = bytes.windows(8).position(|window| window == b"stapsdt\0").unwrap();
    let mut other_owner = bytes.clone();
    other_owner[at] = b'S';
    assert_eq!(probes(&other_owner).len(), 2);
    let mut other_type = bytes.clone();
    other_type[at - 4] = 4;
    assert_eq!(probes(&other_type).len(), 2);
    let mut too_long = bytes;
    too_long[at - 8..at - 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(probes(&too_long), []);
}
