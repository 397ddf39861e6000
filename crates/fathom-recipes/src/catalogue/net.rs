//! Packets: the way out, the way in.

use super::interrupts::graph_words;
use super::{NO_TIMER, NO_UNWINDER, by_field, event, event_may, must, running};
use crate::event::Event;
use crate::label::Label;
use crate::measure::{By, Count, Measure, Pair, Stacks, What};
use crate::recipe::{Kind, OptionName, Recipe, Scope, Workload};
use crate::words::{Words, bytes, counted, number, percent, rate, time};

fn device(event: &Event<'_>) -> Label {
    super::field_text(event, "name")
}

/// The send path.
pub(super) const NETWORK: Recipe = Recipe {
    name: "network",
    purpose: "the way of a packet out of a process: from the system call to dev_hard_start_xmit",
    teaches: &[
        "A packet goes down from the system call (sendto, write) through the protocol (ICMP, UDP, TCP), IP, the neighbour table and \
         the queue of the device (net_dev_queue) to dev_hard_start_xmit, which calls the driver (net_dev_start_xmit to \
         net_dev_xmit). The stack of net_dev_start_xmit is that way, read from the bottom.",
        "Over lo the driver (loopback_xmit) only puts the packet into the queue of received packets and raises NET_RX. The answer \
         is then sent in the same task's soft interrupt: its stack has the whole receive path under the send path. With a real \
         card an interrupt follows when the packet has left.",
    ],
    items: &[
        must(Kind::Graph, "the call of the driver", &["dev_hard_start_xmit"]),
        event("the packet is queued", &["net:net_dev_queue"]),
        must(Kind::EventWithStack, "it is handed to the driver", &["net:net_dev_start_xmit"]),
        event("the driver has it", &["net:net_dev_xmit"]),
        event_may("it comes in (lo)", &["net:netif_rx"], "packets that come in over lo are not seen"),
        NO_TIMER,
        NO_UNWINDER,
    ],
    scope: Scope::Tasks,
    depth: 8,
    buffer_kb: 8192,
    stacks: false,
    options: &[OptionName::NoGraph, OptionName::Depth, OptionName::NetDevice],
    workload: Some((Workload::Ping, "pings 127.0.0.1 three times")),
    measures: &[
        Measure {
            id: "queue",
            title: "From the queue to the driver",
            what: What::Pair(Pair {
                begin: &[("net_dev_queue", |event| by_field(event, "skbaddr"))],
                end: &[("net_dev_start_xmit", |event| by_field(event, "skbaddr"))],
                keep_first: false,
                label: By::End(device),
            }),
        },
        Measure {
            id: "driver",
            title: "In the driver",
            what: What::Pair(Pair {
                begin: &[("net_dev_start_xmit", |event| by_field(event, "skbaddr"))],
                end: &[("net_dev_xmit", |event| by_field(event, "skbaddr"))],
                keep_first: false,
                label: By::Begin(device),
            }),
        },
        Measure {
            id: "senders",
            title: "Senders",
            what: What::Count(Count {
                events: &["net_dev_xmit"],
                label: |event| Some(running(event).and(Label::fixed("over")).and(device(event))),
                sum: Some(("bytes", |event| event.num("len"))),
            }),
        },
        Measure {
            id: "stacks",
            title: "The ways to the driver",
            what: What::Stacks(&["net_dev_start_xmit"]),
        },
        Measure { id: "graph", title: "dev_hard_start_xmit from inside", what: What::Graph },
    ],
    words: |summary, words| {
        let Some(senders) = summary.counts("senders") else {
            return words.say("Nothing was sent in this time by the tasks that were traced.");
        };
        words.say(format!(
            "{} ({}), {}.",
            counted(senders.all, "packet"),
            rate(senders.all, summary.seconds()),
            bytes(senders.sum)
        ));
        if let Some(queue) = summary.times("queue") {
            words.times("From the queue to the driver it took", queue);
        }
        if let Some(driver) = summary.times("driver") {
            words.times("The driver took", driver);
        }
        if let Some(stacks) = summary.stacks("stacks") {
            way_words(stacks, words);
        }
        if summary.graph().is_some() {
            graph_words(summary, words, "The call of the driver");
        }
    },
    next: &[
        "net-rx: the way in",
        "softirq: NET_RX and NET_TX, and how long they waited",
        "a program's own calls beside it: fathom record -k",
    ],
};

/// Where packets came from, told by the stacks.
fn way_words(stacks: &Stacks, words: &mut Words<'_>) {
    let (mut calls, mut answers) = (0, 0);
    for (_, frames, count, _) in stacks.sorted() {
        let names: Vec<String> = frames.iter().map(|frame| words.names.symbol(*frame)).collect();
        let has = |part: &str| names.iter().any(|name| name.contains(part));
        if has("__netif_receive_skb") || has("net_rx_action") {
            answers += count;
        } else if has("do_syscall_64") || has("el0_svc") || has("__sys_send") || has("ksys_write") {
            calls += count;
        }
    }
    words.say(format!(
        "Of {} on the way to the driver, {} began in a system call and {} in the receive path (answers, acknowledgements).",
        counted(stacks.all, "packet"), number(calls), number(answers)
    ));
}

/// The receive path.
pub(super) const NET_RX: Recipe = Recipe {
    name: "net-rx",
    purpose: "packets that come in: polls, times, drops by reason, TCP's states",
    teaches: &[
        "A card's interrupt only schedules NAPI; the soft interrupt NET_RX then polls the card for up to `budget` packets \
         (napi_poll: work is how many there were) and passes each up: netif_receive_skb, IP, the protocol, the socket. \
         Over lo the packet comes from netif_rx and the per-CPU backlog is polled.",
        "A packet that nobody wants is freed by kfree_skb, with the reason (since 5.17) and the place; one that has served its \
         purpose by consume_skb. NO_SOCKET is a port that nobody listens on.",
    ],
    items: &[
        event("it comes in (lo, old drivers)", &["net:netif_rx"]),
        event("it is passed up", &["net:netif_receive_skb"]),
        event("a poll of a device is done", &["napi:napi_poll"]),
        event("it is dropped", &["skb:kfree_skb"]),
        event_may("it has been used", &["skb:consume_skb"], "the end of good packets is not seen"),
        event_may("TCP changes its state", &["sock:inet_sock_set_state"], "states of TCP are not seen"),
        event_may("TCP sends again", &["tcp:tcp_retransmit_skb"], "retransmissions are not seen"),
        event("NET_RX or NET_TX is raised", &["irq:softirq_raise if vec == 2 || vec == 3"]),
        event("it begins", &["irq:softirq_entry if vec == 2 || vec == 3"]),
        event("it is done", &["irq:softirq_exit if vec == 2 || vec == 3"]),
    ],
    scope: Scope::Machine,
    depth: 0,
    buffer_kb: 8192,
    stacks: false,
    options: &[],
    workload: Some((Workload::Net, "sends TCP and UDP over lo, and some to a port that nobody listens on")),
    measures: &[
        Measure {
            id: "backlog",
            title: "From netif_rx to being passed up",
            what: What::Pair(Pair {
                begin: &[("netif_rx", |event| by_field(event, "skbaddr"))],
                end: &[("netif_receive_skb", |event| by_field(event, "skbaddr"))],
                keep_first: false,
                label: By::End(device),
            }),
        },
        Measure {
            id: "up",
            title: "From being passed up to the end of the packet",
            what: What::Pair(Pair {
                begin: &[("netif_receive_skb", |event| by_field(event, "skbaddr"))],
                end: &[
                    ("consume_skb", |event| by_field(event, "skbaddr")),
                    ("kfree_skb", |event| by_field(event, "skbaddr")),
                ],
                keep_first: false,
                label: By::Begin(device),
            }),
        },
        Measure {
            id: "softirq",
            title: "NET_RX and NET_TX, from start to end",
            what: What::Pair(Pair {
                begin: &[("softirq_entry", |event| super::cpu_and(event, "vec"))],
                end: &[("softirq_exit", |event| super::cpu_and(event, "vec"))],
                keep_first: false,
                label: By::Begin(|event| Label::Text(crate::tables::softirq(event.num("vec").unwrap_or(-1)))),
            }),
        },
        Measure {
            id: "polls",
            title: "Polls by device",
            what: What::Count(Count {
                events: &["napi_poll"],
                label: |event| Some(super::field_text(event, "dev_name")),
                sum: Some(("packets", |event| event.num("work"))),
            }),
        },
        Measure {
            id: "drops",
            title: "Dropped, by reason and place",
            what: What::Count(Count {
                events: &["kfree_skb"],
                label: |event| {
                    let reason = event
                        .word("reason")
                        .map_or_else(|| "(reasons are known since 5.17)".to_owned(), str::to_owned);
                    Some(Label::text(format!("{reason} in")).and(Label::Code(event.num("location")? as u64)))
                },
                sum: None,
            }),
        },
        Measure {
            id: "states",
            title: "TCP's states",
            what: What::Count(Count {
                events: &["inet_sock_set_state"],
                label: |event| {
                    let state =
                        |field| event.word(field).map(|name| name.trim_start_matches("TCP_").to_owned());
                    Some(Label::text(format!("{} -> {}", state("oldstate")?, state("newstate")?)))
                },
                sum: None,
            }),
        },
    ],
    words: |summary, words| {
        let packets = summary.count("netif_receive_skb");
        if packets == 0 {
            return words.say("No packet came in in this time.");
        }
        words.say(format!("{} came in ({}).", counted(packets, "packet"), rate(packets, summary.seconds())));
        if let Some(polls) = summary.counts("polls") {
            words.say(format!(
                "{} brought {:.1} packets each; polls that bring the whole budget (usually 64) mean that packets come faster than they are handled.",
                counted(polls.all, "poll"), polls.sum as f64 / polls.all.max(1) as f64
            ));
        }
        if let Some(up) = summary.times("up") {
            words.times("From being passed up to its end a packet took (until the program has read it, if it is kept in a socket)", up);
        }
        match summary.counts("drops") {
            Some(drops) => {
                if let Some((label, count, _)) = drops.sorted().first() {
                    words.say(format!(
                        "{} were dropped ({} of those that came in), most of them {}: {}.",
                        counted(drops.all, "packet"),
                        percent(drops.all, packets),
                        words.show(label),
                        number(*count)
                    ));
                }
            }
            None => words.say("None was dropped."),
        }
        let again = summary.count("tcp_retransmit_skb");
        if again > 0 {
            words.say(format!("TCP had to send {} again.", counted(again, "segment")));
        }
        if let Some(run) = summary.times("softirq") {
            words.say(format!(
                "The soft interrupts ran {}, {} in all.",
                counted(run.all.count(), "time"),
                time(run.all.sum())
            ));
        }
    },
    next: &["network: the way out", "softirq: how long NET_RX waited", "ss -ti, nstat: the counters of TCP"],
};
