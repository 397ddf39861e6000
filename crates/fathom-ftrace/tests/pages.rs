//! Pages made by hand: every kind of record, both byte orders, both sizes of `long`, and garbage.

use fathom_ftrace::{CpuReader, Endian, Item, Machine, Merge, Missed, PageError, PageLayout};
use proptest::prelude::*;

/// Writes one page.
struct Writer {
    machine: Machine,
    time: u64,
    data: Vec<u8>,
    flags: u64,
    missed: Option<u64>,
}

impl Writer {
    fn new(machine: Machine, time: u64) -> Writer {
        Writer { machine, time, data: Vec::new(), flags: 0, missed: None }
    }

    fn word(&mut self, word: u32) {
        let bytes =
            if self.machine.endian == Endian::Little { word.to_le_bytes() } else { word.to_be_bytes() };
        self.data.extend_from_slice(&bytes);
    }

    fn head(&mut self, kind: u32, delta: u32) {
        assert!(kind < 32 && delta < 1 << 27);
        self.word(if self.machine.endian == Endian::Little { kind | delta << 5 } else { kind << 27 | delta });
    }

    /// A record with data, in the shortest form.
    fn record(&mut self, delta: u64, data: &[u8]) {
        if delta >= 1 << 27 {
            self.head(30, (delta & ((1 << 27) - 1)) as u32);
            self.word((delta >> 27) as u32);
        }
        let delta = if delta >= 1 << 27 { 0 } else { delta as u32 };
        if !data.is_empty() && data.len() <= 112 && data.len().is_multiple_of(4) {
            self.head((data.len() / 4) as u32, delta);
        } else {
            self.head(0, delta);
            self.word(data.len() as u32 + 4);
        }
        self.data.extend_from_slice(data);
        self.data.resize(self.data.len().next_multiple_of(4), 0xee);
    }

    fn page(&self, size: usize) -> Vec<u8> {
        let (little, long) = (self.machine.endian == Endian::Little, usize::from(self.machine.long_size));
        let number = |value: u64, size: usize| {
            if little {
                value.to_le_bytes()[..size].to_vec()
            } else {
                value.to_be_bytes()[8 - size..].to_vec()
            }
        };
        let mut page = number(self.time, 8);
        page.extend(number(self.data.len() as u64 | self.flags, long));
        page.extend_from_slice(&self.data);
        page.extend(self.missed.map(|missed| number(missed, long)).unwrap_or_default());
        assert!(page.len() <= size);
        page.resize(size, 0);
        page
    }
}

const MACHINES: [Machine; 4] = [
    Machine { endian: Endian::Little, long_size: 8 },
    Machine { endian: Endian::Big, long_size: 8 },
    Machine { endian: Endian::Little, long_size: 4 },
    Machine { endian: Endian::Big, long_size: 4 },
];

fn items(bytes: &[u8], layout: PageLayout) -> Vec<(u64, Vec<u8>)> {
    let mut reader = CpuReader::new(bytes, layout);
    let mut found = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        match item {
            Item::Record(record) => found.push((record.time, record.data.to_vec())),
            other => panic!("{other:?}"),
        }
    }
    found
}

#[test]
fn absolute_times_and_discarded_records() {
    for machine in MACHINES {
        let high = 5 << 59;
        let mut writer = Writer::new(machine, high + 1000);
        writer.record(5, b"aaaa");
        // 59 bits of time; those above come from the time so far.
        writer.head(31, 2000);
        writer.word(0);
        writer.record(1, b"bbbb");
        // A time that is before the last one has gone over into the next 2^59.
        writer.head(31, 7);
        writer.word(0);
        writer.record(1, b"cccc");
        // Discarded: its time passes, unless it is the 1 that tells it from the end.
        writer.head(29, 100);
        writer.word(8);
        writer.word(0xdead_beef);
        writer.head(29, 1);
        writer.word(4);
        writer.record(1, b"dddd");
        // Nothing more on the page.
        writer.head(29, 0);
        writer.word(0xffff_ffff);
        let layout = PageLayout::of(machine, 4096);
        let page = writer.page(4096);
        let next = 6 << 59;
        let expected =
            [(high + 1005, b"aaaa"), (high + 2001, b"bbbb"), (next + 8, b"cccc"), (next + 109, b"dddd")];
        let expected = expected.map(|(time, data)| (time, data.to_vec()));
        assert_eq!(items(&page, layout), expected);
        let kernel: Vec<u64> = items(&page, layout.as_kernel_text()).iter().map(|(time, _)| *time).collect();
        assert_eq!(kernel[3], next + 9);
    }
}

#[test]
fn an_absolute_time_without_high_bits_is_the_time() {
    let mut writer = Writer::new(MACHINES[0], 1000);
    writer.head(31, 7);
    writer.word(0);
    writer.record(0, b"aaaa");
    assert_eq!(items(&writer.page(4096), PageLayout::of(MACHINES[0], 4096)), [(7, b"aaaa".to_vec())]);
}

#[test]
fn lost_events() {
    for machine in MACHINES {
        let layout = PageLayout::of(machine, 4096);
        let cases = [
            // The flags as a sign-extended number, as some kernels have them.
            (0xffff_ffff_c000_0000, Some(84), Some(Missed::Count(84))),
            (0xc000_0000, Some(84), Some(Missed::Count(84))),
            (0x8000_0000, None, Some(Missed::Unknown)),
            (0, None, None),
        ];
        for (flags, missed, expected) in cases {
            let mut writer = Writer::new(machine, 10);
            writer.record(1, b"aaaa");
            (writer.flags, writer.missed) = (flags, missed);
            let page = writer.page(4096);
            assert_eq!(layout.page(&page).unwrap().missed, expected);
        }
    }
}

#[test]
fn damaged_pages_end_early_and_the_next_one_is_read() {
    let machine = MACHINES[0];
    let layout = PageLayout::of(machine, 64);
    let mut damaged = Writer::new(machine, 10);
    damaged.record(1, b"aaaa");
    damaged.head(20, 1);
    let mut whole = Writer::new(machine, 20);
    whole.record(1, b"bbbb");
    let mut used = whole.page(64);
    used[8..12].copy_from_slice(&1000u32.to_le_bytes());
    let bytes = [damaged.page(64), used, whole.page(64), vec![0; 10]].concat();
    let mut merge = Merge::new(vec![(3, CpuReader::new(&bytes[..], layout))]);
    let mut found = Vec::new();
    while let Some(item) = merge.next_item().unwrap() {
        assert_eq!(item.cpu, 3);
        found.push(match item.item {
            Item::Record(record) => Ok((record.time, record.data.to_vec())),
            Item::Damaged(error) => Err(error),
            Item::Missed(missed) => panic!("{missed:?}"),
        });
    }
    assert_eq!(
        found,
        [
            Ok((11, b"aaaa".to_vec())),
            Err(PageError::Record { at: 8, end: 12 }),
            Err(PageError::Used { used: 1000, room: 48 }),
            Ok((21, b"bbbb".to_vec())),
            Err(PageError::Short(10)),
        ]
    );
}

#[test]
fn equal_times_are_in_the_order_of_the_cpus() {
    let machine = MACHINES[0];
    let layout = PageLayout::of(machine, 128);
    let page = |deltas: &[u64]| {
        let mut writer = Writer::new(machine, 0);
        deltas.iter().for_each(|delta| writer.record(*delta, b"aaaa"));
        writer.page(128)
    };
    let (first, second) = (page(&[5, 0, 5]), page(&[5, 1, 4]));
    let cpus = vec![(0, CpuReader::new(&first[..], layout)), (1, CpuReader::new(&second[..], layout))];
    let mut merge = Merge::new(cpus);
    let mut order = Vec::new();
    while let Some(item) = merge.next_item().unwrap() {
        let Item::Record(record) = item.item else { panic!() };
        order.push((record.time, item.cpu));
    }
    assert_eq!(order, [(5, 0), (5, 0), (5, 1), (6, 1), (10, 0), (10, 1)]);
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        which in 0usize..4,
        start in 0u64..1 << 58,
        records in prop::collection::vec((0u64..1 << 40, prop::collection::vec(any::<u8>(), 0..300)), 0..200),
    ) {
        let (machine, layout) = (MACHINES[which], PageLayout::of(MACHINES[which], 4096));
        let (mut bytes, mut expected, mut time) = (Vec::new(), Vec::new(), start);
        let mut writer = Writer::new(machine, time);
        for (delta, data) in records {
            if writer.data.len() + data.len() + 32 > 4000 {
                bytes.extend(writer.page(4096));
                writer = Writer::new(machine, time);
            }
            writer.record(delta, &data);
            time += delta;
            expected.push((time, data));
        }
        bytes.extend(writer.page(4096));
        prop_assert_eq!(items(&bytes, layout), expected);
    }

    #[test]
    fn garbage_is_read_to_its_end(bytes in prop::collection::vec(any::<u8>(), 0..2000), which in 0usize..4) {
        let layout = PageLayout::of(MACHINES[which], 256);
        let mut reader = CpuReader::new(&bytes[..], layout);
        let mut count = 0;
        while reader.next_item().unwrap().is_some() {
            count += 1;
            prop_assert!(count <= bytes.len() + 16);
        }
    }
}
