//! What tasks do: signals, system calls, futexes, programs that start and end.

use super::{by_field, by_task, event, event_may, must, running};
use crate::event::Event;
use crate::label::Label;
use crate::measure::{By, Count, Key, Measure, Pair, What};
use crate::recipe::{Kind, Recipe, Scope, Workload};
use crate::tables::{errno, signal, signal_code, syscall};
use crate::words::{counted, number, percent, rate, time};

/// What `res` of a generated signal means (*include/trace/events/signal.h*).
fn result(event: &Event<'_>) -> &'static str {
    match event.first(&["result", "res"]) {
        Some(0) => "delivered",
        Some(1) => "ignored",
        Some(2) => "already pending",
        Some(3) => "queue full, failed",
        Some(4) => "queue full, information lost",
        _ => "?",
    }
}

/// Signals.
pub(super) const SIGNAL: Recipe = Recipe {
    name: "signal",
    purpose: "signals: who sends which to whom, what becomes of them, in which handler they end",
    teaches: &[
        "signal_generate happens in the sender: the event's task is the one that calls kill, comm and pid are those of the target, \
         code says how (kill, tgkill, the kernel, a timer, a child that ended). signal_deliver happens in the target when it \
         goes back to user space: sa_handler is the program's function, 0 the default action, 1 ignored.",
        "The kernel's pid filter looks at the task that runs. So a filter for the target alone (as in echo PID > set_event_pid) \
         hides who kills it: with --pid both are traced here, what is sent to the task and what it does itself.",
    ],
    items: &[
        must(Kind::EventWithStack, "a signal is sent", &["signal:signal_generate"]),
        must(Kind::EventWithStack, "it reaches its task", &["signal:signal_deliver"]),
    ],
    scope: Scope::Target { event: "signal:signal_generate", field: "pid" },
    depth: 0,
    buffer_kb: 4096,
    stacks: false,
    options: &[],
    workload: Some((Workload::Signals, "sends signals to a child: to a handler, ignored, twice, fatal")),
    measures: &[
        Measure {
            id: "sent",
            title: "Sent: by whom, what, to whom, what became of it",
            what: What::Count(Count {
                events: &["signal_generate"],
                label: |event| {
                    let sig = event.num("sig")?;
                    let how = format!(
                        "{} [{}] {} ->",
                        signal(sig),
                        signal_code(sig, event.num("code")?),
                        result(event)
                    );
                    let to = Label::text(format!("{}-{}", event.text("comm")?, event.num("pid")?));
                    Some(running(event).and(Label::text(how)).and(to))
                },
                sum: None,
            }),
        },
        Measure {
            id: "delivered",
            title: "Delivered: to whom, what, where it ended",
            what: What::Count(Count {
                events: &["signal_deliver"],
                label: |event| {
                    let end = match event.num("sa_handler")? {
                        0 => "default action".to_owned(),
                        1 => "ignored".to_owned(),
                        address => crate::handlers::name(event.pid, address as u64),
                    };
                    Some(running(event).and(Label::text(format!("{}: {end}", signal(event.num("sig")?)))))
                },
                sum: None,
            }),
        },
        Measure {
            id: "delay",
            title: "From being sent to reaching the task",
            what: What::Pair(Pair {
                begin: &[("signal_generate", |event| {
                    (event.first(&["result", "res"])? == 0)
                        .then_some((event.num("pid")? as u64, event.num("sig")? as u64))
                })],
                end: &[("signal_deliver", |event| Some((event.pid as u64, event.num("sig")? as u64)))],
                keep_first: true,
                label: By::End(|event| Label::Text(signal(event.num("sig").unwrap_or(0)))),
            }),
        },
        Measure {
            id: "stacks",
            title: "The ways",
            what: What::Stacks(&["signal_generate", "signal_deliver"]),
        },
    ],
    words: |summary, words| {
        let (sent, delivered) = (summary.count("signal_generate"), summary.count("signal_deliver"));
        if sent + delivered == 0 {
            return words.say("No signal was sent or delivered in this time.");
        }
        words.say(format!("{} were sent, {} delivered.", counted(sent, "signal"), number(delivered)));
        if let Some(counts) = summary.counts("sent") {
            for (what, meaning) in [
                ("ignored", "ignored: the target ignores them, so they never reached it"),
                (
                    "already pending",
                    "merged with one that was already pending: of the ordinary signals only one of each kind waits",
                ),
                ("queue full", "not queued for want of room (ulimit -i)"),
            ] {
                let rows = counts.sorted();
                let count: u64 = rows
                    .iter()
                    .filter(|(label, ..)| words.show(label).contains(what))
                    .map(|(_, count, _)| *count)
                    .sum();
                if count > 0 {
                    words.say(format!("{} {meaning}.", number(count)));
                }
            }
            if let Some((label, count, _)) = counts.sorted().first() {
                words.say(format!("The most frequent: {} ({}).", words.show(label), counted(*count, "time")));
            }
        }
        if let Some(delay) = summary.times("delay") {
            words.times("From the sender to the target it took", delay);
            words.say("A signal reaches its task when that next goes to user space: at once if it runs, when it has a CPU if it slept, and not at all while it is in uninterruptible sleep.");
        }
    },
    next: &["wakeup: a signal that wakes its task", "exec: the ends of processes (SIGCHLD to the parent)"],
};

const ENTER: &str = "raw_syscalls:sys_enter";
const EXIT: &str = "raw_syscalls:sys_exit";

fn call_label(event: &Event<'_>) -> Label {
    Label::Text(syscall(event.num("id").unwrap_or(-1)))
}

/// System calls.
pub(super) const SYSCALLS: Recipe = Recipe {
    name: "syscalls",
    purpose: "system calls: how often, how long, which fail and why",
    teaches: &[
        "sys_enter and sys_exit bracket every system call. The time between them is what the call cost the program: work in the \
         kernel, and all of its waiting. A read from a pipe that takes a second has waited for a second; off-cpu tells the two \
         apart.",
        "A negative return is an error. Some are part of how a program works: EAGAIN from sockets that do not block, ENOENT while a \
         file is looked for in several places, ETIMEDOUT from waits with a limit.",
    ],
    items: &[event("a call begins", &[ENTER]), event("it is done", &[EXIT])],
    scope: Scope::Tasks,
    depth: 0,
    buffer_kb: 8192,
    stacks: false,
    options: &[],
    workload: Some((
        Workload::Syscalls,
        "opens, reads, writes and looks for files, some of which do not exist",
    )),
    measures: &[
        Measure {
            id: "calls",
            title: "Calls",
            what: What::Pair(Pair {
                begin: &[("sys_enter", by_task)],
                end: &[("sys_exit", by_task)],
                keep_first: false,
                label: By::End(call_label),
            }),
        },
        Measure {
            id: "errors",
            title: "Errors",
            what: What::Count(Count {
                events: &["sys_exit"],
                label: |event| {
                    let error = event.num("ret").filter(|ret| (-4095..0).contains(ret))?;
                    Some(call_label(event).and(Label::Text(errno(-error))))
                },
                sum: None,
            }),
        },
        Measure {
            id: "tasks",
            title: "Tasks",
            what: What::Count(Count {
                events: &["sys_enter"],
                label: |event| Some(running(event)),
                sum: None,
            }),
        },
    ],
    words: |summary, words| {
        let Some(calls) = summary.times("calls") else {
            return words.say("No system call was made in this time by the tasks that were traced.");
        };
        words.say(format!(
            "{} ({}), {} in all.",
            counted(calls.all.count(), "system call"),
            rate(calls.all.count(), summary.seconds()),
            time(calls.all.sum())
        ));
        let rows = calls.sorted();
        if let Some((label, row)) = rows.first() {
            words.say(format!(
                "Most time passed in {}: {} in {}, {} of all. Time of a call that waits is mostly the waiting.",
                words.show(label), time(row.sum()), counted(row.count(), "call"), percent(row.sum(), calls.all.sum())
            ));
        }
        if let Some((label, row)) = rows.iter().max_by_key(|(_, row)| row.count()) {
            words.say(format!(
                "The most frequent is {} ({}), {} each on average.",
                words.show(label),
                percent(row.count(), calls.all.count()),
                time(row.mean())
            ));
        }
        match summary.counts("errors") {
            Some(errors) => {
                let list: Vec<String> = errors
                    .sorted()
                    .iter()
                    .take(3)
                    .map(|(label, count, _)| format!("{} ({})", words.show(label), number(*count)))
                    .collect();
                words.say(format!(
                    "{} failed ({}), most often {}.",
                    counted(errors.all, "call"),
                    percent(errors.all, calls.all.count()),
                    list.join(", ")
                ));
            }
            None => words.say("None failed."),
        }
        if calls.open > 0 {
            words.say(format!(
                "{} had not returned at the end (or never does: exit).",
                counted(calls.open, "call")
            ));
        }
    },
    next: &[
        "off-cpu: what calls that take long wait for",
        "futex: locks",
        "fathom record -k: the calls under the program's own functions",
    ],
};

fn futex_op(event: &Event<'_>) -> Option<Label> {
    // 128: private to the process; 256: the real-time clock.
    let op = event.num("op")? & 0x7f;
    let name = match op {
        0 => "wait",
        1 => "wake",
        3 => "requeue",
        4 => "requeue",
        5 => "wake-op",
        6 => "lock (priority inheritance)",
        7 => "unlock (priority inheritance)",
        8 => "try to lock (priority inheritance)",
        9 => "wait",
        10 => "wake",
        11 | 12 => "requeue (priority inheritance)",
        13 => "lock (priority inheritance)",
        _ => "other",
    };
    Some(Label::fixed(name))
}

/// Futexes, and locks of the kernel.
pub(super) const FUTEX: Recipe = Recipe {
    name: "futex",
    purpose: "locks: how long threads wait in futex calls, on which address, and for locks of the kernel",
    teaches: &[
        "A mutex of a program that is free costs no system call. Only when it is taken does the thread that wants it call \
         futex(WAIT) and sleep, and the one that leaves calls futex(WAKE). So many futex calls mean contention, or threads that \
         wait for work (condition variables look the same). uaddr is the lock: many waits with one address are one lock.",
        "contention_begin to contention_end (since 5.19) is the same for the kernel's own locks, without lockdep.",
    ],
    items: &[
        event("a futex call begins", &["syscalls:sys_enter_futex"]),
        event("it is done", &["syscalls:sys_exit_futex"]),
        event_may(
            "a lock of the kernel is waited for",
            &["lock:contention_begin"],
            "locks of the kernel are not seen (since 5.19)",
        ),
        event_may("it was got", &["lock:contention_end"], "locks of the kernel are not seen (since 5.19)"),
    ],
    scope: Scope::Tasks,
    depth: 0,
    buffer_kb: 8192,
    stacks: false,
    options: &[],
    workload: Some((Workload::Futex, "threads that all want one lock and hold it for a while")),
    measures: &[
        Measure {
            id: "calls",
            title: "Futex calls by what they do",
            what: What::Pair(Pair {
                begin: &[("sys_enter_futex", by_task)],
                end: &[("sys_exit_futex", by_task)],
                keep_first: false,
                label: By::Begin(|event| futex_op(event).unwrap_or(Label::fixed("?"))),
            }),
        },
        Measure {
            id: "addresses",
            title: "Waiting, by lock",
            what: What::Pair(Pair {
                begin: &[("sys_enter_futex", waiting)],
                end: &[("sys_exit_futex", by_task)],
                keep_first: false,
                label: By::Begin(|event| Label::text(format!("{:#x}", event.num("uaddr").unwrap_or(0)))),
            }),
        },
        Measure {
            id: "tasks",
            title: "Waiting, by task",
            what: What::Pair(Pair {
                begin: &[("sys_enter_futex", waiting)],
                end: &[("sys_exit_futex", by_task)],
                keep_first: false,
                label: By::Begin(running),
            }),
        },
        Measure {
            id: "kernel",
            title: "Waiting for locks of the kernel",
            what: What::Pair(Pair {
                begin: &[("contention_begin", |event| {
                    Some((event.pid as u64, event.num("lock_addr")? as u64))
                })],
                end: &[("contention_end", |event| Some((event.pid as u64, event.num("lock_addr")? as u64)))],
                keep_first: false,
                label: By::Begin(|event| Label::fixed(lock_kind(event.num("flags").unwrap_or(0)))),
            }),
        },
    ],
    words: |summary, words| {
        let Some(calls) = summary.times("calls") else {
            words.say("No futex call was made in this time by the tasks that were traced: no lock of theirs was contended.");
            return;
        };
        words.say(format!(
            "{} ({}).",
            counted(calls.all.count(), "futex call"),
            rate(calls.all.count(), summary.seconds())
        ));
        // An end without a beginning is a wake here: those begin no wait.
        if let Some(waits) = summary.times("addresses") {
            words.times("Threads waited", waits);
            if let Some((label, row)) = waits.sorted().first() {
                words.say(format!(
                    "The lock at {} was waited for most: {} in {}, {} of all waiting.",
                    words.show(label),
                    time(row.sum()),
                    counted(row.count(), "wait"),
                    percent(row.sum(), waits.all.sum())
                ));
            }
            words.say("Waits about as long as the lock is held are contention; waits of seconds are usually threads without work.");
        } else {
            words.say("No wait among them: only wake-ups.");
        }
        if let Some(kernel) = summary.times("kernel") {
            words.times("Locks of the kernel were waited for", kernel);
        }
    },
    next: &[
        "off-cpu: the waits with their stacks",
        "fathom record: which function of the program holds the lock",
    ],
};

fn waiting(event: &Event<'_>) -> Option<Key> {
    matches!(event.num("op")? & 0x7f, 0 | 6 | 9 | 11 | 13).then(|| (event.pid as u64, 0))
}

/// The kind of a kernel lock from the flags of `contention_begin` (*include/trace/events/lock.h*).
fn lock_kind(flags: i64) -> &'static str {
    match flags {
        flags if flags & 32 != 0 => "mutex",
        flags if flags & 16 != 0 => "per-CPU semaphore",
        flags if flags & 8 != 0 => "real-time lock",
        flags if flags & 1 != 0 && flags & 2 != 0 => "spinning rwlock, to read",
        flags if flags & 1 != 0 && flags & 4 != 0 => "spinning rwlock, to write",
        flags if flags & 1 != 0 => "spin lock",
        flags if flags & 2 != 0 => "semaphore, to read",
        flags if flags & 4 != 0 => "semaphore, to write",
        _ => "semaphore",
    }
}

/// Programs that start and end.
pub(super) const EXEC: Recipe = Recipe {
    name: "exec",
    purpose: "programs that are started: by whom, what, how long they live",
    teaches: &[
        "A new process is a copy of its parent (sched_process_fork), becomes another program by execve (sched_process_exec: \
         filename is what was loaded) and ends (sched_process_exit, once for each thread). Scripts, build systems and cron \
         start many that no ps ever shows.",
        "A shell that looks for a program tries each directory of PATH: every try is an execve that fails.",
    ],
    items: &[
        event("a task is made", &["sched:sched_process_fork"]),
        event("a program is loaded", &["sched:sched_process_exec"]),
        event("a task ends", &["sched:sched_process_exit"]),
        event_may(
            "a call of execve begins",
            &["syscalls:sys_enter_execve"],
            "failed calls of execve are not seen",
        ),
        event_may("it is done", &["syscalls:sys_exit_execve"], "failed calls of execve are not seen"),
    ],
    scope: Scope::Machine,
    depth: 0,
    buffer_kb: 4096,
    stacks: false,
    options: &[],
    workload: Some((Workload::Exec, "starts itself again and again, and programs that do not exist")),
    measures: &[
        Measure {
            id: "programs",
            title: "Programs loaded",
            what: What::Count(Count {
                events: &["sched_process_exec"],
                label: |event| Some(super::field_text(event, "filename")),
                sum: None,
            }),
        },
        Measure {
            id: "parents",
            title: "Who makes tasks",
            what: What::Count(Count {
                events: &["sched_process_fork"],
                label: |event| {
                    Some(Label::text(format!("{}-{}", event.text("parent_comm")?, event.num("parent_pid")?)))
                },
                sum: None,
            }),
        },
        Measure {
            id: "load",
            title: "From fork to exec",
            what: What::Pair(Pair {
                begin: &[("sched_process_fork", |event| by_field(event, "child_pid"))],
                end: &[("sched_process_exec", |event| by_field(event, "pid"))],
                keep_first: false,
                label: By::End(|event| super::field_text(event, "filename")),
            }),
        },
        Measure {
            id: "life",
            title: "From fork to exit",
            what: What::Pair(Pair {
                begin: &[("sched_process_fork", |event| by_field(event, "child_pid"))],
                end: &[("sched_process_exit", |event| by_field(event, "pid"))],
                keep_first: false,
                label: By::End(|event| super::field_text(event, "comm")),
            }),
        },
        Measure {
            id: "failed",
            title: "Calls of execve that failed",
            what: What::Count(Count {
                events: &["sys_exit_execve"],
                label: |event| {
                    let error = event.num("ret").filter(|ret| *ret < 0)?;
                    Some(running(event).and(Label::Text(errno(-error))))
                },
                sum: None,
            }),
        },
    ],
    words: |summary, words| {
        let (forks, execs, exits) = (
            summary.count("sched_process_fork"),
            summary.count("sched_process_exec"),
            summary.count("sched_process_exit"),
        );
        if forks + execs + exits == 0 {
            return words.say("No task was made, loaded a program or ended in this time.");
        }
        words.say(format!(
            "{} made ({}), {} loaded, {} ended. Tasks that never load a program are threads, or copies such as a shell's ( … ).",
            counted(forks, "task"), rate(forks, summary.seconds()), counted(execs, "program"), counted(exits, "task")
        ));
        if let Some((label, count, _)) =
            summary.counts("programs").and_then(|counts| counts.sorted().into_iter().next())
        {
            words.say(format!("Loaded most often: {} ({}).", words.show(label), counted(count, "time")));
        }
        if let Some(life) = summary.times("life") {
            words.times("From being made to its end a task lived", life);
        }
        if let Some(load) = summary.times("load") {
            words.times("From being made to its program being loaded it took", load);
        }
        if let Some(failed) = summary.counts("failed") {
            words.say(format!(
                "{} of execve failed: programs that are looked for along PATH, or that are not there.",
                counted(failed.all, "call")
            ));
        }
    },
    next: &[
        "syscalls -- COMMAND: what a program does after it is loaded",
        "signal: SIGCHLD to the parent at the end",
    ],
};
