//! Disks: the flusher, and requests.

use super::interrupts::graph_words;
use super::{NO_TIMER, event, event_may, must};
use crate::event::Event;
use crate::label::Label;
use crate::measure::{By, Count, Key, Measure, Pair, What};
use crate::recipe::{Kind, OptionName, Recipe, Scope, Workload};
use crate::words::{bytes, counted, percent, rate, time};

/// The flusher from inside.
pub(super) const WRITEBACK: Recipe = Recipe {
    name: "writeback",
    purpose: "what the flusher thread does: the call graph of wb_workfn, and what it wrote",
    teaches: &[
        "write() only makes pages dirty. A kworker (the flusher) runs wb_workfn later, for one of these reasons: somebody called \
         sync, too many pages are dirty (background), or pages are old (periodic, 30 s). It goes through the dirty inodes \
         (writeback_sb_inodes), and for each hands its pages to the file system and the block layer \
         (__writeback_single_inode).",
        "writeback_start and writeback_written give the reason and the number of pages; writeback_single_inode one file's share.",
    ],
    items: &[
        must(Kind::Graph, "the flusher's work", &["wb_workfn", "bdi_writeback_workfn", "wb_writeback"]),
        event_may("a round of writing begins", &["writeback:writeback_start"], "reasons are not known"),
        event_may(
            "some has been written",
            &["writeback:writeback_written"],
            "the number of pages is not known",
        ),
        event_may("one inode is done", &["writeback:writeback_single_inode"], "files are not told apart"),
        NO_TIMER,
        super::may(
            Kind::NotGraph,
            "the way out of an interrupt, left out of the graph",
            &["irq_exit_rcu", "irq_exit"],
            "interrupts show up inside of the functions that they interrupt",
        ),
        super::may(
            Kind::NotGraph,
            "the way into an interrupt, left out of the graph",
            &["irq_enter_rcu", "irq_enter"],
            "interrupts show up inside of the functions that they interrupt",
        ),
    ],
    scope: Scope::Machine,
    depth: 4,
    buffer_kb: 8192,
    stacks: false,
    options: &[OptionName::Depth],
    workload: Some((
        Workload::Writeback,
        "writes a file (in the current directory, or wherever there is a disk) and has it written out by sync",
    )),
    measures: &[
        Measure { id: "graph", title: "The flusher from inside", what: What::Graph },
        Measure {
            id: "reasons",
            title: "Reasons to write",
            what: What::Count(Count {
                events: &["writeback_start"],
                label: |event| {
                    let reason = event.word("reason").map_or_else(
                        || format!("reason {}", event.num("reason").unwrap_or(-1)),
                        str::to_owned,
                    );
                    Some(Label::text(format!(
                        "{reason} on device {}",
                        event.text("name").unwrap_or_default()
                    )))
                },
                sum: None,
            }),
        },
        Measure {
            id: "inodes",
            title: "Inodes written",
            what: What::Count(Count {
                events: &["writeback_single_inode"],
                label: |event| {
                    Some(Label::text(format!(
                        "inode {} on device {}",
                        event.num("ino")?,
                        event.text("name")?
                    )))
                },
                sum: Some(("pages", |event| event.num("wrote"))),
            }),
        },
    ],
    words: |summary, words| {
        graph_words(summary, words, "The flusher");
        if let Some(reasons) = summary.counts("reasons") {
            let list: Vec<String> = reasons
                .sorted()
                .iter()
                .take(4)
                .map(|(label, count, _)| format!("{} ({})", words.show(label), counted(*count, "time")))
                .collect();
            words.say(format!("It wrote because of: {}.", list.join(", ")));
        }
        if let Some(inodes) = summary.counts("inodes") {
            words.say(format!(
                "{} of inodes wrote {}.",
                counted(inodes.all, "round"),
                bytes(inodes.sum.saturating_mul(4096))
            ));
        }
    },
    next: &[
        "block-io: the requests that come of it",
        "/proc/vmstat: nr_dirty, nr_writeback",
        "vm.dirty_background_ratio, vm.dirty_expire_centisecs: when it starts",
    ],
};

fn request(event: &Event<'_>) -> Option<Key> {
    Some((event.num("dev")? as u64, event.num("sector")? as u64))
}

/// The kernel's internal device number has 20 bits of minor.
fn device(event: &Event<'_>) -> String {
    let dev = event.num("dev").unwrap_or(0);
    format!("{},{}", dev >> 20, dev & 0xf_ffff)
}

/// What `rwbs` says in words: D discard, R read, W write, F flush (before: of the cache, after: through it), S sync, M metadata,
/// A read-ahead.
fn direction(event: &Event<'_>) -> &'static str {
    let rwbs = event.text("rwbs").unwrap_or_default();
    match rwbs.trim_start_matches('F').chars().next() {
        Some('R') => "read",
        Some('W') => "write",
        Some('D') => "discard",
        _ if rwbs.starts_with('F') => "flush",
        _ => "other",
    }
}

fn request_label(event: &Event<'_>) -> Label {
    Label::text(format!("device {} {}", device(event), direction(event)))
}

/// Requests of disks.
pub(super) const BLOCK_IO: Recipe = Recipe {
    name: "block-io",
    purpose: "disk requests: time in the queue, time in the device, sizes, whose",
    teaches: &[
        "A read or write of blocks becomes a request. It may wait in a queue (block_rq_insert) for its turn, is handed to the \
         driver (block_rq_issue) and completed by the device (block_rq_complete), whose interrupt brings that. Time before the \
         issue is the scheduler's and the load's; time after it is the device's.",
        "Requests that go straight to an idle device have no insert. rwbs says what it is: R read, W write, D discard, F flush, \
         with S for one that somebody waits for, M for metadata, A for read-ahead.",
    ],
    items: &[
        event("a request is queued", &["block:block_rq_insert"]),
        event("it is handed to the driver", &["block:block_rq_issue"]),
        event("the device is done", &["block:block_rq_complete"]),
    ],
    scope: Scope::Machine,
    depth: 0,
    buffer_kb: 4096,
    stacks: false,
    options: &[OptionName::BlockDevice],
    workload: Some((
        Workload::Disk,
        "reads the first disk past the page cache in blocks of 4 KiB to 128 KiB; writes and syncs a file",
    )),
    measures: &[
        Measure {
            id: "queue",
            title: "In the queue (insert to issue)",
            what: What::Pair(Pair {
                begin: &[("block_rq_insert", request)],
                end: &[("block_rq_issue", request)],
                keep_first: true,
                label: By::End(request_label),
            }),
        },
        Measure {
            id: "device",
            title: "In the device (issue to completion)",
            what: What::Pair(Pair {
                begin: &[("block_rq_issue", request)],
                end: &[("block_rq_complete", request)],
                keep_first: false,
                label: By::Begin(request_label),
            }),
        },
        Measure {
            id: "tasks",
            title: "Who issued",
            what: What::Count(Count {
                events: &["block_rq_issue"],
                label: |event| Some(super::field_text(event, "comm").and(Label::fixed(direction(event)))),
                sum: Some(("bytes", |event| event.num("bytes"))),
            }),
        },
        Measure {
            id: "sizes",
            title: "Sizes",
            what: What::Count(Count {
                events: &["block_rq_issue"],
                label: |event| {
                    let size = u64::try_from(event.num("bytes")?).ok()?;
                    let kib = size.div_ceil(1024);
                    Some(Label::text(if size == 0 {
                        "no data".to_owned()
                    } else {
                        format!("up to {:4} KiB", kib.next_power_of_two())
                    }))
                },
                sum: Some(("bytes", |event| event.num("bytes"))),
            }),
        },
        Measure {
            id: "errors",
            title: "Errors",
            what: What::Count(Count {
                events: &["block_rq_complete"],
                label: |event| {
                    let error = event.num("error").filter(|error| *error != 0)?;
                    Some(Label::text(format!("device {} {}", device(event), crate::tables::errno(-error))))
                },
                sum: None,
            }),
        },
    ],
    words: |summary, words| {
        let Some(device) = summary.times("device") else {
            return words.say("No request was completed in this time: what was read came from the page cache, or nothing was.");
        };
        if let Some(tasks) = summary.counts("tasks") {
            words.say(format!(
                "{} ({}), {}.",
                counted(tasks.all, "request"),
                rate(tasks.all, summary.seconds()),
                bytes(tasks.sum)
            ));
        }
        words.times("The device took", device);
        match summary.times("queue") {
            Some(queue) => {
                words.times("Before that, they were queued", queue);
                let share = percent(queue.all.sum(), queue.all.sum() + device.all.sum());
                words.say(format!("Waiting for the device to get to a request is {share} of the whole time; above a half, the device has more to do than it can."));
            }
            None => words.say("None waited in a queue: each went straight to the device."),
        }
        words.say("Usual for the device itself: tens of microseconds (NVMe), 100 us to 1 ms (SATA SSD), 5 to 15 ms (rotating disks); virtual disks are as the host is.");
        if let Some(errors) = summary.counts("errors") {
            words.say(format!("{} failed.", counted(errors.all, "request")));
        }
        if device.open > 0 {
            words.say(format!("{} still with the device at the end.", counted(device.open, "request")));
        }
        if let Some((label, row)) = device.sorted().first() {
            words.say(format!(
                "Most of the time: {}, {} in {}.",
                words.show(label),
                time(row.sum()),
                counted(row.count(), "request")
            ));
        }
    },
    next: &[
        "writeback: who made the writes",
        "irq: the interrupts of the device",
        "off-cpu: tasks that wait for the disk (io_schedule)",
    ],
};
