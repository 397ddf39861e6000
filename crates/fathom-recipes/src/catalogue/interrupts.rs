//! Interrupts, soft interrupts, the threads that help with them, and work queues.

use super::{NO_TIMER, cpu_and, event, event_may, may, must, running};
use crate::event::Event;
use crate::label::Label;
use crate::measure::{By, Count, Measure, Pair, What};
use crate::recipe::{Kind, OptionName, Recipe, Scope, Workload};
use crate::summary::Summary;
use crate::tables::softirq;
use crate::words::{Words, counted, number, percent, rate, time};

const IRQ_ENTRY: &str = "irq:irq_handler_entry";
const IRQ_EXIT: &str = "irq:irq_handler_exit";

fn irq_label(event: &Event<'_>) -> Label {
    let name = event.text("name").unwrap_or_default();
    Label::text(format!("irq {} {name}", event.num("irq").unwrap_or(-1)))
}

fn vector_label(event: &Event<'_>) -> Label {
    Label::text(format!("{} on CPU {}", softirq(event.num("vec").unwrap_or(-1)), event.cpu))
}

const HANDLERS: Measure = Measure {
    id: "handlers",
    title: "Time in the handlers of device interrupts",
    what: What::Pair(Pair {
        begin: &[("irq_handler_entry", |event| cpu_and(event, "irq"))],
        end: &[("irq_handler_exit", |event| cpu_and(event, "irq"))],
        keep_first: false,
        label: By::Begin(irq_label),
    }),
};

const INTERRUPTED: Measure = Measure {
    id: "interrupted",
    title: "Tasks that were interrupted",
    what: What::Count(Count {
        events: &["irq_handler_entry", "local_timer_entry", "hrtimer_expire_entry"],
        label: |event| Some(running(event)),
        sum: None,
    }),
};

const TICKS: Measure = Measure {
    id: "ticks",
    title: "Local timer interrupts by CPU",
    what: What::Count(Count {
        events: &["local_timer_entry"],
        label: |event| Some(Label::text(format!("CPU {}", event.cpu))),
        sum: None,
    }),
};

const TICK_TIME: Measure = Measure {
    id: "tick-time",
    title: "Time in the local timer interrupt",
    what: What::Pair(Pair {
        begin: &[("local_timer_entry", |event| Some((u64::from(event.cpu), 0)))],
        end: &[("local_timer_exit", |event| Some((u64::from(event.cpu), 0)))],
        keep_first: false,
        label: By::Begin(|event| Label::text(format!("CPU {}", event.cpu))),
    }),
};

/// Device and timer interrupts as events.
pub(super) const IRQ: Recipe = Recipe {
    name: "irq",
    purpose: "which devices and timers interrupt, whom, and for how long",
    teaches: &[
        "A device that needs the CPU raises an interrupt line; the kernel stops whatever task was running and calls the \
         driver's handler (irq_handler_entry to irq_handler_exit), with interrupts off. The task that the event names is only \
         the one that was hit; it has nothing to do with the device.",
        "Each CPU also has a timer of its own: its interrupt drives the scheduler's tick (250 a second and CPU with Debian's \
         kernels while a CPU is busy, fewer while it is idle) and all timers that are due.",
    ],
    items: &[
        event("a device's handler begins", &[IRQ_ENTRY]),
        event("it ends", &[IRQ_EXIT]),
        event_may(
            "the local timer interrupt begins",
            &["irq_vectors:local_timer_entry", "timer:hrtimer_expire_entry"],
            "timer interrupts are not seen, only those of devices",
        ),
        event_may(
            "it ends",
            &["irq_vectors:local_timer_exit", "timer:hrtimer_expire_exit"],
            "it is not known how long timer interrupts take",
        ),
    ],
    scope: Scope::Machine,
    depth: 0,
    buffer_kb: 4096,
    stacks: false,
    options: &[],
    workload: Some((
        Workload::Interrupts,
        "reads a disk past the page cache, sends packets over lo, lets timers expire",
    )),
    measures: &[HANDLERS, TICK_TIME, TICKS, INTERRUPTED],
    words: |summary, words| {
        if let Some(found) = summary.times("handlers") {
            let rows = found.sorted();
            words.say(format!(
                "{} of devices were handled ({}), from {}.",
                counted(found.all.count(), "interrupt"),
                rate(found.all.count(), summary.seconds()),
                counted(rows.len() as u64, "line"),
            ));
            if let Some((label, row)) = rows.first() {
                words.say(format!(
                    "Most of the time went to {}: {} in {}, {} each on average.",
                    words.show(label),
                    time(row.sum()),
                    counted(row.count(), "interrupt"),
                    time(row.mean()),
                ));
            }
            words.times("A handler ran", found);
            if found.all.max() > 1_000_000 {
                words.say(
                    "A handler above a millisecond keeps interrupts off for that long on its CPU (or the machine below is \
                     virtual and was not running); drivers move such work to soft interrupts or threads.",
                );
            }
        } else {
            words.say("No device interrupted in this time.");
        }
        timer_words(summary, words);
    },
    next: &[
        "softirq: what the handlers leave for later",
        "interrupt: the local timer interrupt from inside",
        "/proc/interrupts: the same counts since boot",
    ],
};

fn timer_words(summary: &Summary, words: &mut Words<'_>) {
    if let Some(ticks) = summary.counts("ticks") {
        let cpus: Vec<String> = ticks
            .sorted()
            .iter()
            .map(|(label, count, _)| format!("{} {}", words.show(label), rate(*count, summary.seconds())))
            .collect();
        words.say(format!(
            "The local timer interrupted {} ({}). A busy CPU has its steady tick, an idle one sleeps until the next timer is due.",
            counted(ticks.all, "time"),
            cpus.join(", ")
        ));
    } else if summary.count("hrtimer_expire_entry") > 0 {
        words.say(format!(
            "High-resolution timers expired {} (this machine has no events of the local timer interrupt itself).",
            counted(summary.count("hrtimer_expire_entry"), "time")
        ));
    }
    if let Some(interrupted) = summary.counts("interrupted") {
        let idle = interrupted.rows.get(&Label::Task(0)).map_or(0, |row| row.0);
        words.say(format!("{} of the interrupts hit an idle CPU.", percent(idle, interrupted.all)));
    }
}

const RAISED: Measure = Measure {
    id: "wait",
    title: "From the raise of a soft interrupt to its start",
    what: What::Pair(Pair {
        begin: &[("softirq_raise", |event| cpu_and(event, "vec"))],
        end: &[("softirq_entry", |event| cpu_and(event, "vec"))],
        // Raised again before it runs, it runs once.
        keep_first: true,
        label: By::End(vector_label),
    }),
};

const RUN: Measure = Measure {
    id: "run",
    title: "Time in soft interrupts",
    what: What::Pair(Pair {
        begin: &[("softirq_entry", |event| cpu_and(event, "vec"))],
        end: &[("softirq_exit", |event| cpu_and(event, "vec"))],
        keep_first: false,
        label: By::Begin(vector_label),
    }),
};

const WHERE: Measure = Measure {
    id: "where",
    title: "Who ran soft interrupts",
    what: What::Count(Count { events: &["softirq_entry"], label: |event| Some(running(event)), sum: None }),
};

/// Soft interrupts: raise, entry, exit, and the call graph of the device interrupts that raise them.
pub(super) const SOFTIRQ: Recipe = Recipe {
    name: "softirq",
    purpose: "the bottom half: raised by whom, how long until it ran, how long it took",
    teaches: &[
        "An interrupt handler does only what cannot wait, with interrupts off, and marks the rest as pending: softirq_raise. On \
         the way out of the interrupt the kernel runs what is pending, with interrupts on again: softirq_entry to \
         softirq_exit. The vector says which kind: timers, network receive and transmit, block, tasklets, RCU, the scheduler.",
        "The call graph of the device interrupt shows the place of the raise: for a network card it is the driver's handler, \
         napi_schedule_prep, __napi_schedule, and in it softirq_raise with NET_RX.",
    ],
    items: &[
        event("marked as pending", &["irq:softirq_raise"]),
        event("begins to run", &["irq:softirq_entry"]),
        event("has run", &["irq:softirq_exit"]),
        event_may("a device's handler begins", &[IRQ_ENTRY], "the graph does not name the device"),
        may(
            Kind::Graph,
            "the device interrupt, as a call graph",
            &[
                "__common_interrupt",
                "common_interrupt",
                "do_IRQ",
                "generic_handle_domain_irq",
                "gic_handle_irq",
                "handle_irq_event",
            ],
            "there is no call graph of the interrupts",
        ),
        NO_TIMER,
    ],
    scope: Scope::Machine,
    depth: 12,
    buffer_kb: 8192,
    stacks: false,
    options: &[OptionName::NoGraph, OptionName::Depth],
    workload: Some((
        Workload::Interrupts,
        "reads a disk past the page cache, sends packets over lo, lets timers expire",
    )),
    measures: &[
        RAISED,
        RUN,
        WHERE,
        Measure { id: "graph", title: "Device interrupts from inside", what: What::Graph },
    ],
    words: |summary, words| {
        softirq_words(summary, words);
        if let Some(graph) = summary.graph() {
            let calls: u64 = graph.roots.iter().map(|(_, root)| root.count()).sum();
            words.say(format!(
                "{} of devices were graphed; each /* softirq_raise */ inside of the tree is the moment at which a handler \
                 leaves the rest for later. A graph makes everything in it slower: for undisturbed times use --no-graph.",
                counted(calls, "interrupt")
            ));
        }
    },
    next: &[
        "ksoftirqd: when there is more than can be done on the spot",
        "net-rx: what NET_RX does",
        "/proc/softirqs: the same counts since boot",
    ],
};

fn softirq_words(summary: &Summary, words: &mut Words<'_>) {
    let Some(run) = summary.times("run") else {
        words.say("No soft interrupt ran in this time.");
        return;
    };
    if let Some((label, row)) = run.sorted().first() {
        words.say(format!(
            "{} ran; most time went to {}: {} in {}, the longest {}.",
            counted(run.all.count(), "soft interrupt"),
            words.show(label),
            time(row.sum()),
            counted(row.count(), "run"),
            time(row.max()),
        ));
    }
    if let Some(wait) = summary.times("wait") {
        words.times("Once raised, one waited to start", wait);
        words.say(if wait.all.percentile(99.0) > 4_000_000 {
            "Above a few milliseconds it was not run on the way out of its interrupt, but waited for ksoftirqd or for code that keeps soft interrupts off."
        } else {
            "Usual are a few microseconds to some tens: raised inside of an interrupt, it runs when that interrupt ends."
        });
    }
    if let Some(tasks) = summary.counts("where") {
        let helped: u64 = tasks
            .sorted()
            .iter()
            .filter(|(label, ..)| words.show(label).starts_with("ksoftirqd/"))
            .map(|(_, count, _)| *count)
            .sum();
        words.say(format!(
            "{} of them ({}) were run by ksoftirqd, the others on top of the task that was interrupted.",
            number(helped),
            percent(helped, tasks.all)
        ));
    }
}

/// Soft interrupts in their thread.
pub(super) const KSOFTIRQD: Recipe = Recipe {
    name: "ksoftirqd",
    purpose: "soft interrupts that are left to the kernel's thread, and the way there",
    teaches: &[
        "Soft interrupts run on the way out of an interrupt, but not for ever: what is still pending after 2 ms or 10 rounds is \
         left to ksoftirqd/N, an ordinary thread of CPU N that competes with other tasks. That it works much means that soft \
         interrupts come faster than they are handled.",
        "The stack of each event shows the thread's loop (run_ksoftirqd) above the same handle_softirqs (before 6.10 \
         __do_softirq) that interrupts use.",
    ],
    items: &[
        must(Kind::EventWithStack, "a soft interrupt begins to run", &["irq:softirq_entry"]),
        event("it has run", &["irq:softirq_exit"]),
    ],
    scope: Scope::Named("ksoftirqd/*"),
    depth: 0,
    buffer_kb: 4096,
    stacks: false,
    options: &[],
    workload: Some((Workload::Flood, "sends more packets over lo than are handled on the spot")),
    measures: &[
        RUN,
        WHERE,
        Measure { id: "stacks", title: "The way there", what: What::Stacks(&["softirq_entry"]) },
    ],
    words: |summary, words| {
        let Some(run) = summary.times("run") else {
            words.say("ksoftirqd had nothing to do: all soft interrupts were handled where they were raised, as it should be.");
            return;
        };
        words.say(format!(
            "ksoftirqd ran {} ({}), {} in all.",
            counted(run.all.count(), "soft interrupt"),
            rate(run.all.count(), summary.seconds()),
            time(run.all.sum()),
        ));
        if let Some((label, row)) = run.sorted().first() {
            words.say(format!(
                "Most of its time went to {}: {} of it, {} each.",
                words.show(label),
                percent(row.sum(), run.all.sum()),
                time(row.mean())
            ));
        }
        if let Some(stacks) = summary.stacks("stacks") {
            let threads = stacks
                .sorted()
                .iter()
                .filter(|row| row.1.iter().any(|frame| words.names.symbol(*frame) == "run_ksoftirqd"))
                .map(|row| row.2)
                .sum::<u64>();
            words.say(match stacks.all - threads.min(stacks.all) {
                0 => "All of them were called by run_ksoftirqd, the thread's own loop.".to_owned(),
                others => format!(
                    "{} of {} were called by run_ksoftirqd, the thread's own loop; the other {} ran on top of the thread, at the end of an interrupt.",
                    number(threads), number(stacks.all), number(others)
                ),
            });
        }
    },
    next: &[
        "softirq: all soft interrupts, with how long they waited",
        "sched-latency: how long ksoftirqd waits for its CPU",
    ],
};

/// The local timer interrupt from inside.
pub(super) const INTERRUPT: Recipe = Recipe {
    name: "interrupt",
    purpose: "the local timer interrupt from inside, as a call graph",
    teaches: &[
        "The timer of a CPU runs out, the CPU jumps to the entry code and calls the local timer interrupt. In it \
         hrtimer_interrupt runs every timer that is due; the scheduler's tick is one of them (tick_nohz_handler, before 6.8 \
         tick_sched_timer): it keeps the time, charges the running task and lets the scheduler decide whether another one is due.",
        "Only functions that can be traced appear: the entry code itself (sysvec_apic_timer_interrupt, asm_…) is closed to \
         tracers since 5.8; smp_apic_timer_interrupt of older notes is __sysvec_apic_timer_interrupt today.",
    ],
    items: &[
        must(
            Kind::Graph,
            "the local timer interrupt",
            &[
                "__sysvec_apic_timer_interrupt",
                "sysvec_apic_timer_interrupt",
                "smp_apic_timer_interrupt",
                "arch_timer_handler_virt",
                "arch_timer_handler_phys",
                "hrtimer_interrupt",
            ],
        ),
        event_may(
            "the vector, as a comment in the graph",
            &["irq_vectors:local_timer_entry", "timer:hrtimer_expire_entry"],
            "the graph has no comments",
        ),
    ],
    scope: Scope::Machine,
    depth: 8,
    buffer_kb: 8192,
    stacks: false,
    options: &[OptionName::Depth],
    workload: Some((Workload::Timers, "sets timers that expire every millisecond")),
    measures: &[Measure { id: "graph", title: "The interrupt from inside", what: What::Graph }, INTERRUPTED],
    words: |summary, words| {
        graph_words(summary, words, "The local timer interrupt");
        timer_words(summary, words);
    },
    next: &["irq: all interrupts as events", "sched-latency: what the tick's decisions cost the tasks"],
};

/// What all call graphs say.
pub(super) fn graph_words(summary: &Summary, words: &mut Words<'_>, what: &str) {
    let Some(graph) = summary.graph() else {
        words.say(format!("{what} did not run in this time, so there is no graph."));
        return;
    };
    if let Some((root, times, _)) = graph.sorted_roots().first() {
        words.say(format!(
            "{what} ({}) ran {}: half of the calls took up to {}, 99 % up to {}, the slowest {} (its tree is above). \
             Tracing adds to each: compare, don't take them as they are.",
            words.names.symbol(*root),
            counted(times.count(), "time"),
            time(times.percentile(50.0)),
            time(times.percentile(99.0)),
            time(times.max()),
        ));
    }
    if let Some((address, calls)) = graph.sorted().first() {
        let all: u64 = graph.functions.iter().map(|(_, calls)| calls.own).sum();
        words.say(format!(
            "The function with the most time of its own (without what it calls) is {}: {} of all, in {}. Functions below the depth limit count as their caller's own time.",
            words.names.symbol(*address),
            percent(calls.own, all),
            counted(calls.total.count(), "call"),
        ));
    }
}

/// Work queues.
pub(super) const WORKQUEUE: Recipe = Recipe {
    name: "workqueue",
    purpose: "deferred work of the kernel: how long it waited, how long it ran, whose it is",
    teaches: &[
        "Code that must not sleep, or wants something done later, queues a work item: a function for a kworker thread. \
         workqueue_queue_work is the request, workqueue_activate_work the moment at which the queue's limits let it start, \
         execute_start and execute_end the run itself, in a kworker.",
        "A long wait means that all kworkers of the pool were busy or had no CPU; a long run keeps others of a queue with one \
         worker waiting.",
    ],
    items: &[
        event("asked for", &["workqueue:workqueue_queue_work"]),
        event("may start", &["workqueue:workqueue_activate_work"]),
        event("starts", &["workqueue:workqueue_execute_start"]),
        event("is done", &["workqueue:workqueue_execute_end"]),
    ],
    scope: Scope::Machine,
    depth: 0,
    buffer_kb: 4096,
    stacks: false,
    options: &[],
    workload: Some((Workload::Work, "writes and syncs files, opens and closes terminals and sockets")),
    measures: &[
        Measure {
            id: "wait",
            title: "From being queued to the start, by function",
            what: What::Pair(Pair {
                begin: &[("workqueue_queue_work", |event| super::by_field(event, "work"))],
                end: &[("workqueue_execute_start", |event| super::by_field(event, "work"))],
                keep_first: true,
                label: By::End(|event| Label::Code(event.num("function").unwrap_or(0) as u64)),
            }),
        },
        Measure {
            id: "run",
            title: "Time the work took, by function",
            what: What::Pair(Pair {
                begin: &[("workqueue_execute_start", |event| {
                    Some((event.num("work")? as u64, event.pid as u64))
                })],
                end: &[("workqueue_execute_end", |event| {
                    Some((event.num("work")? as u64, event.pid as u64))
                })],
                keep_first: false,
                label: By::Begin(|event| Label::Code(event.num("function").unwrap_or(0) as u64)),
            }),
        },
        Measure {
            id: "queues",
            title: "Queues",
            what: What::Count(Count {
                events: &["workqueue_queue_work"],
                label: |event| Some(super::field_text(event, "workqueue")),
                sum: None,
            }),
        },
    ],
    words: |summary, words| {
        let Some(run) = summary.times("run") else {
            words.say("No work was executed in this time.");
            return;
        };
        if let Some((label, row)) = run.sorted().first() {
            words.say(format!(
                "{} were executed; most time went to {}: {} in {}.",
                counted(run.all.count(), "work item"),
                words.show(label),
                time(row.sum()),
                counted(row.count(), "run")
            ));
        }
        if let Some(wait) = summary.times("wait") {
            words.times("An item waited to be started", wait);
            words.say("Usual are some tens of microseconds, the time a kworker takes to be woken; items on purpose delayed are not in it, their wait begins when their timer has expired.");
        }
        words.times("An item ran", run);
    },
    next: &[
        "sched-latency: how long kworkers wait for a CPU",
        "off-cpu: what a worker waits for while it runs an item",
    ],
};
