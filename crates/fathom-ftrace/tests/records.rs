//! Every record of the recordings is found, and belongs to a known event.

mod common;

use common::{Bed, KERNELS};
use fathom_ftrace::{Item, Missed};

/// The number of records of `entries-in-buffer/entries-written: 122/122   #P:2`.
fn entries(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("# entries-in-buffer/entries-written: "))?;
    line.split('/').next()?.parse().ok()
}

#[test]
fn as_many_records_as_the_kernel_counted() {
    let mut compared = 0;
    for kernel in KERNELS {
        let bed = Bed::open(kernel);
        for set in bed.sets() {
            let events = bed.events(&set);
            let (mut count, mut last) = (0, 0);
            let mut merge = bed.merge(&set, bed.layout());
            while let Some(item) = merge.next_item().unwrap() {
                match item.item {
                    Item::Record(record) => {
                        assert!(record.time >= last, "{kernel}/{set}");
                        last = record.time;
                        count += 1;
                        let machine = bed.layout().machine;
                        assert!(events.of(record.data, machine).is_some(), "{kernel}/{set}: {record:?}");
                    }
                    Item::Missed(_) => {}
                    Item::Damaged(error) => panic!("{kernel}/{set}: {error}"),
                }
            }
            if let Some(expected) = entries(&bed.text(&format!("{set}/trace"))) {
                assert_eq!(count, expected, "{kernel}/{set}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 58);
}

#[test]
fn lost_events_are_counted_where_they_were_lost() {
    let bed = Bed::open("6.12");
    let pages = bed.file("lost/cpu0.raw").unwrap();
    let mut reader = fathom_ftrace::CpuReader::new(pages, bed.layout());
    let (mut missed, mut records) = (Vec::new(), 0);
    while let Some(item) = reader.next_item().unwrap() {
        match item {
            Item::Missed(Missed::Count(count)) => missed.push((records, count)),
            Item::Record(_) => records += 1,
            other => panic!("{other:?}"),
        }
    }
    insta::assert_debug_snapshot!((missed, records));
}
