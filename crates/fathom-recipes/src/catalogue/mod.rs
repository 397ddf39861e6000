//! The recipes.

mod disk;
mod interrupts;
mod memory;
mod net;
mod scheduler;
mod tasks;

use crate::event::Event;
use crate::label::Label;
use crate::measure::Key;
use crate::recipe::{Item, Kind, Need, Recipe};

/// All recipes, in the order in which a list of them is best read.
pub const RECIPES: &[&Recipe] = &[
    &interrupts::IRQ,
    &interrupts::SOFTIRQ,
    &interrupts::KSOFTIRQD,
    &interrupts::INTERRUPT,
    &memory::MEMORY,
    &scheduler::RUNQUEUE,
    &tasks::SIGNAL,
    &disk::WRITEBACK,
    &net::NETWORK,
    &scheduler::SCHED_LATENCY,
    &scheduler::WAKEUP,
    &scheduler::OFF_CPU,
    &disk::BLOCK_IO,
    &tasks::SYSCALLS,
    &memory::PAGE_FAULTS,
    &memory::OOM,
    &tasks::FUTEX,
    &interrupts::WORKQUEUE,
    &memory::KMALLOC,
    &net::NET_RX,
    &tasks::EXEC,
];

/// The recipe of that name.
pub fn find(name: &str) -> Option<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.name == name).copied()
}

const fn must(kind: Kind, role: &'static str, names: &'static [&'static str]) -> Item {
    Item { role, kind, names, need: Need::Must }
}

const fn may(kind: Kind, role: &'static str, names: &'static [&'static str], lacks: &'static str) -> Item {
    Item { role, kind, names, need: Need::Lacks(lacks) }
}

const fn event(role: &'static str, names: &'static [&'static str]) -> Item {
    must(Kind::Event, role, names)
}

const fn event_may(role: &'static str, names: &'static [&'static str], lacks: &'static str) -> Item {
    may(Kind::Event, role, names, lacks)
}

/// Functions of interrupts, which would be graphed inside of whatever they interrupt.
const NO_TIMER: Item = may(
    Kind::NotGraph,
    "the local timer interrupt, left out of the graph",
    &[
        "__sysvec_apic_timer_interrupt",
        "smp_apic_timer_interrupt",
        "arch_timer_handler_virt",
        "arch_timer_handler_phys",
    ],
    "timer interrupts show up inside of the functions that they interrupt",
);

/// The unwinder, which takes the stacks of events, would be graphed too.
const NO_UNWINDER: Item = may(
    Kind::NotGraph,
    "the taking of stacks, left out of the graph",
    &["stack_trace_save", "arch_stack_walk"],
    "the graph shows how stacks are taken",
);

fn cpu_and(event: &Event<'_>, field: &str) -> Option<Key> {
    Some((u64::from(event.cpu), event.num(field)? as u64))
}

fn by_field(event: &Event<'_>, field: &str) -> Option<Key> {
    Some((event.num(field)? as u64, 0))
}

fn by_task(event: &Event<'_>) -> Option<Key> {
    Some((event.pid as u64, 0))
}

fn running(event: &Event<'_>) -> Label {
    Label::Task(event.pid)
}

fn field_text(event: &Event<'_>, field: &str) -> Label {
    event.text(field).map_or(Label::fixed("?"), |text| Label::text(text.into_owned()))
}
