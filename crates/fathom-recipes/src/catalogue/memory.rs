//! Memory: pages, reclaim, faults, running out, the kernel's own.

use super::{by_field, by_task, event, event_may, may, running};
use crate::label::Label;
use crate::measure::{By, Count, Measure, Pair, What};
use crate::recipe::{Item, Kind, Need, Recipe, Scope, Workload};
use crate::words::{bytes, counted, number, percent, rate, time};

const RECLAIM: Measure = Measure {
    id: "reclaim",
    title: "Direct reclaim: tasks that had to free memory themselves",
    what: What::Pair(Pair {
        begin: &[("mm_vmscan_direct_reclaim_begin", by_task)],
        end: &[("mm_vmscan_direct_reclaim_end", by_task)],
        keep_first: false,
        label: By::Begin(running),
    }),
};

/// Pages, kswapd, reclaim.
pub(super) const MEMORY: Recipe = Recipe {
    name: "memory",
    purpose: "memory pressure: pages taken, kswapd's wake-ups, direct reclaim, pages written out",
    teaches: &[
        "As long as enough pages are free, mm_page_alloc is all that happens. When a zone falls below its low watermark, whoever \
         allocates wakes kswapd (mm_vmscan_wakeup_kswapd), which frees pages in the background until the high watermark is \
         reached and sleeps again. When pages are used up faster than kswapd frees them, the task that asks for one has to free \
         some itself: direct reclaim, which is what makes programs stall.",
        "Freeing a page whose content exists only in memory means writing it out first: mm_vmscan_write_folio (before 5.18 \
         mm_vmscan_writepage), to swap or to its file.",
    ],
    items: &[
        event("pages are taken", &["kmem:mm_page_alloc"]),
        event("kswapd is asked to work", &["vmscan:mm_vmscan_wakeup_kswapd"]),
        event("kswapd wakes", &["vmscan:mm_vmscan_kswapd_wake"]),
        event("kswapd goes to sleep", &["vmscan:mm_vmscan_kswapd_sleep"]),
        event("a task begins to free memory itself", &["vmscan:mm_vmscan_direct_reclaim_begin"]),
        event("it has freed some", &["vmscan:mm_vmscan_direct_reclaim_end"]),
        event_may(
            "a page is written out",
            &["vmscan:mm_vmscan_write_folio", "vmscan:mm_vmscan_writepage"],
            "pages that are written out are not seen",
        ),
    ],
    scope: Scope::Machine,
    depth: 0,
    buffer_kb: 16384,
    stacks: false,
    options: &[],
    workload: Some((
        Workload::Memory,
        "fills all free memory and some swap in a child that is the first to be killed",
    )),
    measures: &[
        RECLAIM,
        Measure {
            id: "reclaimed",
            title: "Pages freed by direct reclaim",
            what: What::Count(Count {
                events: &["mm_vmscan_direct_reclaim_end"],
                label: |event| Some(running(event)),
                sum: Some(("pages", |event| event.num("nr_reclaimed"))),
            }),
        },
        Measure {
            id: "kswapd",
            title: "kswapd's work, from waking to sleeping",
            what: What::Pair(Pair {
                begin: &[("mm_vmscan_kswapd_wake", |event| by_field(event, "nid"))],
                end: &[("mm_vmscan_kswapd_sleep", |event| by_field(event, "nid"))],
                keep_first: true,
                label: By::Begin(|event| Label::text(format!("node {}", event.num("nid").unwrap_or(0)))),
            }),
        },
        Measure {
            id: "wakers",
            title: "Who woke kswapd",
            what: What::Count(Count {
                events: &["mm_vmscan_wakeup_kswapd"],
                label: |event| Some(running(event)),
                sum: None,
            }),
        },
        Measure {
            id: "pages",
            title: "Who took pages",
            what: What::Count(Count {
                events: &["mm_page_alloc"],
                label: |event| Some(running(event)),
                sum: Some(("pages", |event| Some(1 << event.num("order")?.clamp(0, 20)))),
            }),
        },
        Measure {
            id: "orders",
            title: "Sizes asked for",
            what: What::Count(Count {
                events: &["mm_page_alloc"],
                label: |event| {
                    let order = event.num("order")?;
                    Some(Label::text(format!(
                        "order {order} ({} KiB)",
                        4u64.checked_shl(order.clamp(0, 40) as u32)?
                    )))
                },
                sum: None,
            }),
        },
        Measure {
            id: "written",
            title: "Who wrote pages out",
            what: What::Count(Count {
                events: &["mm_vmscan_write_folio", "mm_vmscan_writepage"],
                label: |event| Some(running(event)),
                sum: None,
            }),
        },
    ],
    words: |summary, words| {
        if let Some(pages) = summary.counts("pages")
            && let Some((label, count, sum)) = pages.sorted().first()
        {
            words.say(format!(
                "{} of pages ({}, {} pages); most by {}: {} for {}.",
                counted(pages.all, "allocation"),
                rate(pages.all, summary.seconds()),
                number(pages.sum.max(0) as u64),
                words.show(label),
                number(*count),
                bytes(sum.saturating_mul(4096))
            ));
        }
        let (wakeups, wakes, sleeps) = (
            summary.count("mm_vmscan_wakeup_kswapd"),
            summary.count("mm_vmscan_kswapd_wake"),
            summary.count("mm_vmscan_kswapd_sleep"),
        );
        if wakeups + wakes + sleeps == 0 {
            words.say("kswapd was not asked for: there was enough free memory all the time.");
        } else {
            words.say(format!(
                "kswapd was asked to work {}, woke {} and went back to sleep {}{}",
                counted(wakeups, "time"),
                counted(wakes, "time"),
                counted(sleeps, "time"),
                if wakes > sleeps { ": it still worked when the trace ended." } else { ": it caught up." }
            ));
        }
        match summary.times("reclaim") {
            Some(reclaim) => {
                words.times("Tasks had to free memory themselves", reclaim);
                if let Some((label, row)) = reclaim.sorted().first() {
                    let freed = summary.counts("reclaimed").map_or(0, |counts| counts.sum);
                    words.say(format!(
                        "{} stalled most: {} in {}. All stalls together freed {} pages. kswapd was too slow for this load: less of it at once, more free memory (vm.min_free_kbytes, vm.watermark_scale_factor) or faster swap would help.",
                        words.show(label), time(row.sum()), counted(row.count(), "stall"), number(freed.max(0) as u64)
                    ));
                }
            }
            None if wakeups > 0 => words.say("No task had to free memory itself: kswapd was fast enough."),
            None => {}
        }
        if let Some(written) = summary.counts("written") {
            words.say(format!(
                "{} were written out to be freed, {}.",
                counted(written.all, "page"),
                bytes(written.all.min(1 << 40) as i64 * 4096)
            ));
        }
    },
    next: &[
        "oom: when freeing is not enough",
        "block-io: the writes to swap",
        "/proc/pressure/memory: the share of time that tasks stall",
    ],
};

fn fault_kind(code: i64) -> String {
    let mut kind = match (code & 1, code & 2, code & 0x10) {
        (0, _, _) => "page not present".to_owned(),
        (_, 0, _) => "page present, access not allowed".to_owned(),
        _ => "page present, write not allowed (copy on write)".to_owned(),
    };
    kind.push_str(match (code & 0x10, code & 2) {
        (0, 0) => ", read",
        (0, _) => ", write",
        _ => ", fetch of code",
    });
    kind
}

/// Page faults.
pub(super) const PAGE_FAULTS: Recipe = Recipe {
    name: "page-faults",
    purpose: "page faults: whose, of what kind, how long they took",
    teaches: &[
        "Memory that a program asks for is only promised; the page comes when it is touched first: the CPU faults, the kernel \
         finds out what should be there (zeroes, a part of a file, a copy of a shared page) and maps it. Such minor faults are \
         normal and cost about a microsecond; one that has to read from a disk (major) costs as much as the disk does.",
        "On x86 the event has the address, the instruction and an error code whose bits say: 1 page present, 2 write, 4 user, \
         0x10 instruction fetch.",
    ],
    items: &[
        event_may(
            "a program's page fault",
            &["exceptions:page_fault_user"],
            "addresses and kinds of faults are not known (only x86 has the event)",
        ),
        may(
            Kind::Probe("address:x64"),
            "the kernel begins to handle it",
            &["handle_mm_fault"],
            "it is not known how long faults take",
        ),
        may(
            Kind::ReturnProbe,
            "it has been handled",
            &["handle_mm_fault"],
            "it is not known how long faults take",
        ),
    ],
    scope: Scope::Tasks,
    depth: 0,
    buffer_kb: 8192,
    stacks: false,
    options: &[],
    workload: Some((
        Workload::Faults,
        "touches 32 MiB of fresh memory and starts programs, whose files are mapped",
    )),
    measures: &[
        Measure {
            id: "time",
            title: "Time to handle a fault, by task",
            what: What::Pair(Pair {
                begin: &[("handle_mm_fault", by_task)],
                end: &[("handle_mm_fault_return", by_task)],
                keep_first: false,
                label: By::Begin(running),
            }),
        },
        Measure {
            id: "kinds",
            title: "Kinds",
            what: What::Count(Count {
                events: &["page_fault_user"],
                label: |event| Some(Label::text(fault_kind(event.num("error_code")?))),
                sum: None,
            }),
        },
        Measure {
            id: "tasks",
            title: "Tasks",
            what: What::Count(Count {
                events: &["page_fault_user"],
                label: |event| Some(running(event)),
                sum: None,
            }),
        },
    ],
    words: |summary, words| {
        let faults = summary.count("page_fault_user").max(summary.count("handle_mm_fault"));
        if faults == 0 {
            return words.say("No program faulted in this time.");
        }
        words.say(format!("{} ({}).", counted(faults, "page fault"), rate(faults, summary.seconds())));
        if let Some(kinds) = summary.counts("kinds")
            && let Some((label, count, _)) = kinds.sorted().first()
        {
            words.say(format!(
                "Most were of the kind \"{}\": {}.",
                words.show(label),
                percent(*count, kinds.all)
            ));
        }
        if let Some(found) = summary.times("time") {
            words.times("Handling one took", found);
            let slow = found
                .all
                .powers()
                .iter()
                .filter(|(low, ..)| *low >= 1 << 18)
                .map(|(.., count)| *count)
                .sum::<u64>();
            words.say(match slow {
                0 => "None took longer than a quarter of a millisecond: no fault had to wait for a disk.".to_owned(),
                slow => format!("{} took longer than a quarter of a millisecond: these waited for something: a disk, a lock, memory to be freed, or (on a busy or virtual machine) the CPU itself.", number(slow)),
            });
        }
    },
    next: &["memory: when pages become scarce", "/proc/PID/stat: minor and major faults of a process so far"],
};

/// The end of all memory.
pub(super) const OOM: Recipe = Recipe {
    name: "oom",
    purpose: "running out of memory: the retries, the victim, how long it took to die",
    teaches: &[
        "When reclaim frees nothing, the kernel tries again (reclaim_retry_zone counts the tries without progress, wmark_check=0 \
         says that the zone is still below its watermark) and then kills the process with the highest score: mark_victim. A \
         helper thread, oom_reaper, takes the victim's memory away even before it has ended: start_task_reaping to \
         finish_task_reaping.",
        "The score is the share of memory that a process uses, shifted by /proc/PID/oom_score_adj (-1000: never, 1000: first).",
    ],
    items: &[
        event("the victim is chosen", &["oom:mark_victim"]),
        event_may("a score is adjusted", &["oom:oom_score_adj_update"], "changes of scores are not seen"),
        event_may("reclaim is tried again", &["oom:reclaim_retry_zone"], "retries are not seen"),
        event_may("the reaper is woken", &["oom:wake_reaper"], "the reaper is not seen"),
        event_may("it begins", &["oom:start_task_reaping"], "the reaper is not seen"),
        event_may("it is done", &["oom:finish_task_reaping"], "the reaper is not seen"),
        event_may("it has given up", &["oom:skip_task_reaping"], "the reaper is not seen"),
        event("a task begins to free memory itself", &["vmscan:mm_vmscan_direct_reclaim_begin"]),
        event("it has freed some", &["vmscan:mm_vmscan_direct_reclaim_end"]),
        event_may(
            "a cgroup begins to free memory",
            &["vmscan:mm_vmscan_memcg_reclaim_begin"],
            "reclaim inside of cgroups is not seen",
        ),
        event_may(
            "it has freed some",
            &["vmscan:mm_vmscan_memcg_reclaim_end"],
            "reclaim inside of cgroups is not seen",
        ),
        event_may(
            "a signal is sent",
            &["signal:signal_generate if sig == 9"],
            "the fatal signal is not seen",
        ),
        event_may("a task ends", &["sched:sched_process_exit"], "the end of the victim is not seen"),
    ],
    scope: Scope::Machine,
    depth: 0,
    buffer_kb: 4096,
    stacks: false,
    options: &[],
    workload: Some((
        Workload::Oom,
        "a child with the highest score uses up the memory of a small cgroup (or, on a small machine without cgroups, of the machine)",
    )),
    measures: &[
        Measure {
            id: "victims",
            title: "Victims",
            what: What::Count(Count {
                events: &["mark_victim"],
                label: |event| {
                    let pid = i32::try_from(event.num("pid")?).ok()?;
                    Some(match event.text("comm") {
                        Some(comm) => Label::text(format!("{comm}-{pid}")),
                        None => Label::Task(pid),
                    })
                },
                sum: Some(("KiB of anonymous memory", |event| event.num("anon_rss"))),
            }),
        },
        Measure {
            id: "death",
            title: "From being chosen to the end",
            what: What::Pair(Pair {
                begin: &[("mark_victim", |event| by_field(event, "pid"))],
                end: &[("sched_process_exit", |event| by_field(event, "pid"))],
                keep_first: true,
                label: By::End(|event| Label::Task(event.num("pid").unwrap_or(-1) as i32)),
            }),
        },
        RECLAIM,
        Measure {
            id: "memcg",
            title: "Reclaim inside of cgroups",
            what: What::Pair(Pair {
                begin: &[("mm_vmscan_memcg_reclaim_begin", by_task)],
                end: &[("mm_vmscan_memcg_reclaim_end", by_task)],
                keep_first: false,
                label: By::Begin(running),
            }),
        },
        Measure {
            id: "retries",
            title: "Tries without progress, by zone",
            what: What::Count(Count {
                events: &["reclaim_retry_zone"],
                label: |event| {
                    let zone = event
                        .word("zone_idx")
                        .map_or_else(|| format!("{}", event.num("zone_idx").unwrap_or(-1)), str::to_owned);
                    Some(Label::text(format!(
                        "zone {zone}, {} without progress",
                        event.num("no_progress_loops")?
                    )))
                },
                sum: None,
            }),
        },
    ],
    words: |summary, words| {
        let Some(victims) = summary.counts("victims") else {
            words.say("No process was killed for memory in this time.");
            if let Some(reclaim) = summary.times("reclaim") {
                words.times("Memory was short, though, and tasks had to free some themselves", reclaim);
            }
            return;
        };
        for (label, _, _) in victims.sorted().iter().take(5) {
            words.say(format!("{} was killed for memory.", words.show(label)));
        }
        let stalls = [("reclaim", "of the whole machine"), ("memcg", "of a cgroup (its memory.max)")];
        for (id, whose) in stalls {
            if let Some(found) = summary.times(id) {
                words.say(format!(
                    "Before that, {} tried to free memory {whose} {}, {} in all: that is how long the machine seems to hang before the kill.",
                    counted(found.rows.len() as u64, "task"), counted(found.all.count(), "time"), time(found.all.sum())
                ));
            }
        }
        if let Some(death) = summary.times("death") {
            words.times("From being chosen to its end a victim needed", death);
        }
        if let Some(retries) = summary.counts("retries") {
            words.say(format!("Reclaim was tried again {}.", counted(retries.all, "time")));
        } else if summary.times("memcg").is_some() {
            words.say("There were no reclaim_retry_zone events: a cgroup that is full kills within itself, without looking at zones.");
        }
    },
    next: &["memory: the pressure before", "dmesg: the kernel's own report, with the table of processes"],
};

/// The kernel's own allocations.
pub(super) const KMALLOC: Recipe = Recipe {
    name: "kmalloc",
    purpose: "the kernel's own small allocations: by whom, how large, what was not freed",
    teaches: &[
        "kmalloc hands out memory in sizes of 8 bytes to some pages; bytes_req was asked for, bytes_alloc was given, the difference \
         is waste. call_site is the code that asked.",
        "Each allocation is paired with the kfree of its pointer. What is left at the end was allocated in this time and still \
         held: that may be a cache that fills, something that lives as long as a file is open, or a leak. A leak is what keeps \
         growing in longer recordings.",
    ],
    items: &[
        event("memory is given out", &["kmem:kmalloc"]),
        event("memory is given back", &["kmem:kfree"]),
        Item {
            role: "memory of a certain node is given out (before 6.1)",
            kind: Kind::Event,
            names: &["kmem:kmalloc_node"],
            need: Need::Extra,
        },
    ],
    scope: Scope::Tasks,
    depth: 0,
    buffer_kb: 16384,
    stacks: false,
    options: &[],
    workload: Some((Workload::Allocations, "opens and closes files, pipes and sockets, and keeps some open")),
    measures: &[
        Measure {
            id: "callers",
            title: "Callers",
            what: What::Count(Count {
                events: &["kmalloc", "kmalloc_node"],
                label: |event| Some(Label::Code(event.num("call_site")? as u64)),
                sum: Some(("bytes", |event| event.num("bytes_alloc"))),
            }),
        },
        Measure { id: "held", title: "Allocated and not freed", what: What::Leaks },
        Measure {
            id: "life",
            title: "From allocation to release",
            what: What::Pair(Pair {
                begin: &[
                    ("kmalloc", |event| by_field(event, "ptr")),
                    ("kmalloc_node", |event| by_field(event, "ptr")),
                ],
                end: &[("kfree", |event| by_field(event, "ptr"))],
                keep_first: false,
                label: By::Begin(|event| Label::Code(event.num("call_site").unwrap_or(0) as u64)),
            }),
        },
        Measure {
            id: "asked",
            title: "Bytes asked for, by task",
            what: What::Count(Count {
                events: &["kmalloc", "kmalloc_node"],
                label: |event| Some(running(event)),
                sum: Some(("bytes", |event| event.num("bytes_req"))),
            }),
        },
    ],
    words: |summary, words| {
        let Some(callers) = summary.counts("callers") else {
            return words.say("Nothing was allocated in this time.");
        };
        let most = callers.sorted().into_iter().max_by_key(|(_, _, sum)| *sum);
        if let Some((label, count, sum)) = most {
            words.say(format!(
                "{}, {}; most bytes by {}: {} in {}.",
                counted(callers.all, "allocation"),
                bytes(callers.sum),
                words.show(label),
                bytes(sum),
                counted(count, "call")
            ));
        }
        if let Some(asked) = summary.counts("asked") {
            words.say(format!(
                "{} of what was given was not asked for: sizes are rounded up.",
                percent((callers.sum - asked.sum).max(0) as u64, callers.sum.max(1) as u64)
            ));
        }
        if let Some(held) = summary.counts("held")
            && let Some((label, count, sum)) = held.sorted().first()
        {
            words.say(format!(
                "{} ({}) were not freed before the end; most by {}: {}, {}. Memory that another task frees later, or that is freed without kfree (by RCU, as part of a cache), is among them when only some tasks are traced.",
                counted(held.all, "allocation"), bytes(held.sum), words.show(label), number(*count), bytes(*sum)
            ));
        }
        if let Some(life) = summary.times("life") {
            words.say(format!("Half of what was freed lived for up to {}.", time(life.all.percentile(50.0))));
        }
    },
    next: &[
        "a longer --duration: what grows with it is a leak",
        "/proc/slabinfo: what is held in all, by size",
    ],
};
