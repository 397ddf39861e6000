//! Run queues: who waits for a CPU, who wakes whom, who sleeps and where.

use super::{event, event_may, must};
use crate::label::Label;
use crate::measure::{Count, Measure, What};
use crate::recipe::{Item, Kind, Need, Recipe, Scope, Workload};
use crate::text::shown_frames;
use crate::words::{counted, percent, rate, time};

const SWITCH: &str = "sched:sched_switch";
const WAKING: &str = "sched:sched_waking";
const WAKEUP_NEW: &str = "sched:sched_wakeup_new";

/// So that the children of the tasks of interest are known to be of interest too.
const FORK: Item = Item {
    role: "a task is made",
    kind: Kind::Event,
    names: &["sched:sched_process_fork"],
    need: Need::Extra,
};

fn task_field(event: &crate::event::Event<'_>, field: &str) -> Option<Label> {
    Some(Label::Task(i32::try_from(event.num(field)?).ok()?))
}

/// Enqueue and dequeue with the way there.
pub(super) const RUNQUEUE: Recipe = Recipe {
    name: "runqueue",
    purpose: "who is put on and taken off the run queue, with the way there",
    teaches: &[
        "A task that can run is on the run queue of a CPU; enqueue_task_fair puts it there, dequeue_task_fair takes it off. The \
         stack of an enqueue says what woke the task (a write to a pipe, a timer, a new process), the stack of a dequeue says \
         what it went to sleep for.",
        "The probes are kprobes on two functions of the fair scheduling class; tasks of the real-time and deadline classes do \
         not pass here. Where the kernel has type information, the task that is queued is read from the second argument \
         (p->comm, p->pid); otherwise only the task that runs at that moment is known.",
    ],
    items: &[
        must(
            Kind::Probe("p->pid, task=p->comm"),
            "a task is put on the queue",
            &["enqueue_task_fair", "enqueue_task_scx", "enqueue_task"],
        ),
        must(
            Kind::Probe("p->pid, task=p->comm"),
            "a task is taken off",
            &["dequeue_task_fair", "dequeue_task_scx", "dequeue_task"],
        ),
    ],
    scope: Scope::Machine,
    depth: 0,
    buffer_kb: 8192,
    stacks: true,
    options: &[],
    workload: Some((Workload::Sleeps, "sleeps on a pipe, a timer, a lock and a child")),
    measures: &[
        Measure {
            id: "queued",
            title: "Tasks put on the queue, by task and by who did it",
            what: What::Count(Count {
                events: &["enqueue_task_fair", "enqueue_task_scx", "enqueue_task"],
                label: |event| match event.text("task") {
                    Some(task) => Some(
                        Label::text(format!("{task}-{} by", event.num("pid").unwrap_or(-1)))
                            .and(Label::Task(event.pid)),
                    ),
                    None => Some(Label::fixed("(task not known) by").and(Label::Task(event.pid))),
                },
                sum: None,
            }),
        },
        Measure {
            id: "enqueue",
            title: "The ways onto the queue",
            what: What::Stacks(&["enqueue_task_fair", "enqueue_task_scx", "enqueue_task"]),
        },
        Measure {
            id: "dequeue",
            title: "The ways off the queue",
            what: What::Stacks(&["dequeue_task_fair", "dequeue_task_scx", "dequeue_task"]),
        },
    ],
    words: |summary, words| {
        let sum = |prefix: &str| -> u64 {
            summary.events.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, count)| *count).sum()
        };
        let (on, off) = (sum("enqueue_"), sum("dequeue_"));
        if on + off == 0 {
            return words.say("No task was queued in this time.");
        }
        words.say(format!(
            "Tasks were put on a queue {} ({}) and taken off {}. The two are about equal when the load is steady.",
            counted(on, "time"), rate(on, summary.seconds()), counted(off, "time")
        ));
        for (id, what) in
            [("enqueue", "The most frequent way onto the queue"), ("dequeue", "The most frequent way off it")]
        {
            if let Some(stacks) = summary.stacks(id)
                && let Some((_, frames, count, _)) = stacks.sorted().first()
            {
                let tell = shown_frames(frames, words.names)
                    .into_iter()
                    .find(|name| !PLUMBING.contains(&name.as_str()));
                words.say(format!(
                    "{what} ({} of {}) goes through {}.",
                    percent(*count, stacks.all),
                    counted(stacks.all, "stack"),
                    tell.unwrap_or_else(|| "the scheduler itself".to_owned())
                ));
            }
        }
        if summary.counts("queued").is_some_and(|counts| {
            counts.sorted().iter().any(|(label, ..)| words.show(label).starts_with("(task not"))
        }) {
            words.say("Which task was queued is not known: this kernel's type information (/sys/kernel/btf/vmlinux) could not be read.");
        }
    },
    next: &[
        "sched-latency: how long tasks stay on the queue before they run",
        "wakeup: who wakes whom, cheaper than probes",
    ],
};

/// Functions that every way onto or off a queue goes through and that tell nothing of why.
const PLUMBING: &[&str] = &[
    "enqueue_task_fair",
    "dequeue_task_fair",
    "enqueue_task_scx",
    "dequeue_task_scx",
    "enqueue_task",
    "dequeue_task",
    "activate_task",
    "deactivate_task",
    "ttwu_do_activate",
    "try_to_wake_up",
    "__schedule",
    "schedule",
    "wake_up_process",
    "ftrace_trampoline",
    "ftrace_regs_call",
    "ftrace_call",
    "kprobe_ftrace_handler",
    "wake_up_q",
    "default_wake_function",
    "autoremove_wake_function",
    "__wake_up_common",
    "__wake_up_common_lock",
    "__wake_up",
    "__wake_up_sync_key",
    "sched_ttwu_pending",
    "block_task",
    "try_to_block_task",
    "schedule_timeout",
    "schedule_hrtimeout_range_clock",
    "[FTRACE TRAMPOLINE]",
];

/// How long a task that can run waits for a CPU.
pub(super) const SCHED_LATENCY: Recipe = Recipe {
    name: "sched-latency",
    purpose: "how long tasks that could run waited for a CPU",
    teaches: &[
        "Being woken is not running: between sched_waking and the sched_switch to the task lies the wait for a CPU. The same wait \
         begins when a task is taken off the CPU though it could go on (its state in sched_switch is R).",
        "The wait is short on an idle machine (the CPU has only to leave its sleep) and grows with the number of tasks that \
         want to run, and with code that cannot be preempted.",
    ],
    items: &[
        event("a task is woken", &[WAKING]),
        event("a new task is woken", &[WAKEUP_NEW]),
        event("a CPU changes its task", &[SWITCH]),
        FORK,
    ],
    scope: Scope::Tasks,
    depth: 0,
    buffer_kb: 8192,
    stacks: false,
    options: &[],
    workload: Some((Workload::Threads, "runs twice as many threads as there are CPUs, some of which sleep")),
    measures: &[Measure { id: "wait", title: "Waiting for a CPU", what: What::RunQueue }],
    words: |summary, words| {
        let Some(wait) = summary.times("wait") else {
            return words.say("No task was woken and run in this time.");
        };
        words.times("A task that could run waited", wait);
        if let Some((label, row)) = wait.sorted().first() {
            words.say(format!(
                "{} waited most: {} in {}.",
                words.show(label),
                time(row.sum()),
                counted(row.count(), "wait")
            ));
        }
        if let Some(crate::summary::Found::RunQueue(all, preempted)) = summary.get("wait") {
            words.say(format!(
                "{} of the waits began with the task being taken off its CPU while it could have gone on; they were {} of the time waited.",
                percent(preempted.all.count(), all.all.count()), percent(preempted.all.sum(), all.all.sum())
            ));
        }
        let late = wait.all.percentile(99.0);
        words.say(match late {
            ..=100_000 => "99 % below 100 us: the CPUs have room to spare.",
            100_001..=4_000_000 => "Waits of up to a few milliseconds are usual when several tasks share a CPU: the scheduler lets each run for some milliseconds.",
            _ => "Waits above a few milliseconds: more tasks want to run than there are CPUs, or something keeps a CPU from switching.",
        });
    },
    next: &[
        "wakeup: who wakes the tasks that wait",
        "runqueue: the way onto the queue, with stacks",
        "/proc/PID/schedstat: the second number is the same wait since the task began",
    ],
};

/// Who wakes whom.
pub(super) const WAKEUP: Recipe = Recipe {
    name: "wakeup",
    purpose: "who wakes whom, and by what",
    teaches: &[
        "A sleeping task runs again only when somebody wakes it: another task that gives it work, or an interrupt (a timer, a \
         packet, a disk) on top of whatever happened to run. The stack of sched_waking is the reason.",
        "The task that the event is printed for is the one that wakes, comm and pid are those of the woken one. In an interrupt \
         the waker is not the task that was interrupted.",
    ],
    items: &[
        must(Kind::EventWithStack, "a task is woken", &[WAKING]),
        event("a new task is woken", &[WAKEUP_NEW]),
        event("a CPU changes its task", &[SWITCH]),
        FORK,
    ],
    scope: Scope::Tasks,
    depth: 0,
    buffer_kb: 8192,
    stacks: false,
    options: &[],
    workload: Some((Workload::Sleeps, "sleeps on a pipe, a timer, a lock and a child")),
    measures: &[
        Measure {
            id: "pairs",
            title: "Who wakes whom",
            what: What::Count(Count {
                events: &["sched_waking", "sched_wakeup_new"],
                label: |event| {
                    let waker = match event.in_interrupt() {
                        true => Label::text(format!("(an interrupt on CPU {})", event.cpu)),
                        false => Label::Task(event.pid),
                    };
                    Some(waker.and(Label::fixed("->")).and(task_field(event, "pid")?))
                },
                sum: None,
            }),
        },
        Measure { id: "wait", title: "From being woken to running", what: What::RunQueue },
        Measure { id: "stacks", title: "By what", what: What::Stacks(&["sched_waking"]) },
    ],
    words: |summary, words| {
        let Some(pairs) = summary.counts("pairs") else {
            return words.say("No task was woken in this time.");
        };
        let by_interrupt: u64 = pairs
            .sorted()
            .iter()
            .filter(|(label, ..)| words.show(label).starts_with("(an interrupt"))
            .map(|(_, count, _)| *count)
            .sum();
        words.say(format!(
            "{} ({}); {} of them by interrupts (timers, devices), the others by tasks.",
            counted(pairs.all, "wake-up"),
            rate(pairs.all, summary.seconds()),
            percent(by_interrupt, pairs.all)
        ));
        if let Some((label, count, _)) = pairs.sorted().first() {
            words.say(format!("The most frequent: {} ({}).", words.show(label), counted(*count, "time")));
        }
        if let Some(wait) = summary.times("wait") {
            words.times("The woken task waited for its CPU", wait);
        }
    },
    next: &["sched-latency: the waits in detail", "off-cpu: how long the tasks slept before"],
};

/// Sleeping by stack.
pub(super) const OFF_CPU: Recipe = Recipe {
    name: "off-cpu",
    purpose: "where tasks sleep, and for how long, by stack",
    teaches: &[
        "A profile shows where a program spends CPU time; what it waits for is in none. Here every sched_switch away from a task \
         that goes to sleep is taken with its kernel stack, and the time until the task runs again is charged to that stack.",
        "The frames name the reason: do_nanosleep, pipe_read, futex_wait_queue, io_schedule, do_wait, ep_poll. A thread pool that \
         sleeps because there is no work shows up too: not every sleep is a problem.",
    ],
    items: &[
        must(Kind::EventWithStack, "a CPU changes its task", &[SWITCH]),
        event_may("a task is woken", &[WAKING], "sleeping and waiting for the CPU are not told apart"),
        FORK,
    ],
    scope: Scope::Tasks,
    depth: 0,
    buffer_kb: 8192,
    stacks: false,
    options: &[],
    workload: Some((Workload::Sleeps, "sleeps on a pipe, a timer, a lock and a child")),
    measures: &[
        Measure { id: "sleep", title: "Sleeping, by stack", what: What::OffCpu },
        Measure { id: "wait", title: "Of it, waiting for a CPU after being woken", what: What::RunQueue },
    ],
    words: |summary, words| {
        let Some(sleep) = summary.times("sleep") else {
            return words.say("No task went to sleep and came back in this time.");
        };
        words.say(format!(
            "Tasks slept {}, {} in all (of several tasks at once the times add up).",
            counted(sleep.all.count(), "time"),
            time(sleep.all.sum())
        ));
        if let Some((label, row)) = sleep.sorted().first() {
            words.say(format!(
                "{} has the most: {}, the longest {}.",
                words.show(label),
                time(row.sum()),
                time(row.max())
            ));
        }
        if let Some(stacks) = summary.stacks("sleep")
            && let Some((label, frames, _, ns)) = stacks.sorted().first()
        {
            let why =
                shown_frames(frames, words.names).into_iter().find(|name| !PLUMBING.contains(&name.as_str()));
            words.say(format!(
                "The stack with the most time ({} of {}) is {}'s, in {}.",
                time(*ns),
                time(sleep.all.sum()),
                words.show(label),
                why.unwrap_or_else(|| "the scheduler".to_owned())
            ));
        }
        if sleep.open > 0 {
            words.say(format!(
                "{} still slept when the trace ended: their time is not in it.",
                counted(sleep.open, "task")
            ));
        }
        if let Some(wait) = summary.times("wait") {
            words.say(format!(
                "Of the times off the CPU, {} were spent waiting for it after the task had been woken: that part is the scheduler's, not the sleep's.",
                time(wait.all.sum())
            ));
        }
    },
    next: &["wakeup: what ended the sleeps", "syscalls: the system calls that they were in"],
};
