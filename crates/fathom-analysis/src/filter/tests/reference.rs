//! The same decisions made plainly: all events of all tasks in one loop, everything kept until the end.

use super::super::{FilterOptions, Filtered, subject};
use fathom_abi::decide::*;
use fathom_filter::{FunctionRule, Match, Rules, SpecKind, Specs};
use fathom_store::memory::{MemoryTrace, all_events};
use fathom_store::{Event, Kind, Tid, Trace, event_id};
use proptest::prelude::*;
use rustc_hash::FxHashMap;

const TASKS: u32 = 2;
const NAMES: [&str; 6] = ["f0", "f1", "f2", "f3", "f4", "f5"];

/// What a task of a made-up program does next.
#[derive(Clone, Debug)]
enum Step {
    Enter(usize),
    Leave,
    /// Leaves so many calls at once and enters a function.
    Jump(usize, usize),
    Probe,
    Watch,
    Sleep(u64),
    Lose,
}

/// Steps with the task that does them and the time until the next.
type Program = Vec<(u32, u64, Step)>;

fn program() -> impl Strategy<Value = Program> {
    let step = prop_oneof![
        8 => (0..NAMES.len()).prop_map(Step::Enter),
        8 => Just(Step::Leave),
        1 => (1..4usize, 0..NAMES.len()).prop_map(|(out, name)| Step::Jump(out, name)),
        1 => Just(Step::Probe),
        1 => Just(Step::Watch),
        1 => (1..30u64).prop_map(Step::Sleep),
    ];
    // A loss makes the depths of what follows the only truth, so it comes where no call is open: see `build`.
    let step = prop_oneof![30 => step, 1 => Just(Step::Lose)];
    prop::collection::vec((0..TASKS, 0..12u64, step), 0..120)
}

/// The trace of a program.
fn build(program: &Program) -> MemoryTrace {
    let mut trace = MemoryTrace::new();
    for (at, name) in NAMES.iter().enumerate() {
        trace.size(name, 16 + 16 * at as u64);
    }
    let addresses = NAMES.map(|name| trace.address_of(name));
    let mut stacks: Vec<Vec<u64>> = vec![Vec::new(); TASKS as usize];
    let mut now = 100;
    let blank =
        Event { time: 0, addr: 0, data_start: 0, data_len: 0, depth: 0, kind: Kind::Entry, inherited: false };
    for (task, wait, step) in program {
        // Times differ, so that there is only one order.
        now += 1 + wait;
        let tid = *task as Tid + 1;
        let Some(stack) = stacks.get_mut(*task as usize) else { continue };
        let call = |kind, addr, depth: usize| Event { time: now, addr, depth: depth as u16, kind, ..blank };
        match step {
            Step::Enter(name) => {
                trace.push(tid, call(Kind::Entry, addresses[*name], stack.len()), &[]);
                stack.push(addresses[*name]);
            }
            Step::Leave => {
                if let Some(addr) = stack.pop() {
                    trace.push(tid, call(Kind::Exit, addr, stack.len()), &[]);
                }
            }
            Step::Jump(out, name) => {
                stack.truncate(stack.len().saturating_sub(*out));
                trace.push(tid, call(Kind::Entry, addresses[*name], stack.len()), &[]);
                stack.push(addresses[*name]);
            }
            Step::Probe => drop(trace.event(tid, now, event_id::USER, &[1; 4])),
            Step::Watch => drop(trace.event(tid, now, 100_011, &[])),
            Step::Sleep(time) => {
                trace.event(tid, now, event_id::SCHED_OUT, &[]);
                now += time;
                trace.event(tid, now, event_id::SCHED_IN, &[]);
            }
            Step::Lose if stack.is_empty() => drop(trace.lost(tid, 3)),
            Step::Lose => {}
        }
    }
    trace
}

#[derive(Clone, Copy)]
struct Context {
    inside: u32,
    outside: u32,
    used: u32,
    most: u32,
    time: u64,
    size: u64,
}

/// A call or a sleep.
struct Node {
    task: usize,
    /// The innermost shown node around it.
    outer: Option<usize>,
    start: u64,
    shown: bool,
    kept: bool,
    target: bool,
    threshold: u64,
    depth: u16,
    before: Context,
    sleep: bool,
}

struct Model<'m> {
    rules: &'m FxHashMap<u64, (FunctionRule, u64)>,
    opt_in: bool,
    caller: bool,
    nodes: Vec<Node>,
    stacks: Vec<Vec<usize>>,
    now: Vec<Context>,
    on: bool,
    seen_on: Vec<bool>,
    finished: bool,
    /// What would be shown, and with which node it is.
    shown: Vec<Vec<(Event, Option<usize>)>>,
}

impl Model<'_> {
    fn innermost_shown(&self, task: usize) -> Option<usize> {
        self.stacks[task].iter().rev().copied().find(|node| self.nodes[*node].shown)
    }

    fn keep(&mut self, node: Option<usize>) {
        let mut next = node;
        while let Some(node) = next {
            self.nodes[node].kept = true;
            next = self.nodes[node].outer;
        }
    }

    /// A task comes to know whether recording is on. If it no longer is, the ends of its calls will not be seen.
    fn look(&mut self, task: usize) {
        if self.seen_on[task] && !self.on {
            self.keep(self.innermost_shown(task));
        }
        self.seen_on[task] = self.on;
    }

    fn events_show(&self, task: usize) -> bool {
        let now = self.now[task];
        now.outside == 0 && (now.inside > 0 || !self.opt_in) && now.used < now.most && self.on
    }

    fn enter(&mut self, task: usize, event: &Event) {
        let (rule, size) = self.rules[&event.addr].clone();
        let has = |flag: u32| rule.decide.flags & flag != 0;
        let before = self.now[task];
        let mut now = before;
        let mut shown = true;
        let reached =
            before.outside == 0 && (has(FILTER_IN | FILTER_OUT) || before.inside > 0 || !self.opt_in);
        if reached && has(TRACE_ON | TRACE_OFF) {
            self.on = has(TRACE_ON) && !self.finished;
            self.look(task);
        }
        if !reached {
            shown = false;
        } else if has(FILTER_OUT) {
            now.outside += 1;
            now.used = 0;
            shown = false;
        } else {
            if has(FILTER_IN) {
                now.inside += 1;
                now.used = 0;
            }
            if has(DEPTH) {
                (now.used, now.most) = (0, rule.decide.depth);
            }
            if has(TIME) {
                now.time = rule.decide.time;
            }
            if has(SIZE) {
                now.size = u64::from(rule.decide.size);
            }
            if !self.on || has(HIDE) || size < now.size || now.used >= now.most {
                shown = false;
            } else {
                now.used += 1;
            }
        }
        let depth = self.stacks[task]
            .iter()
            .filter(|node| self.nodes[**node].shown && !self.nodes[**node].sleep)
            .count();
        let target = reached && has(CALLER) && !has(FILTER_OUT) && (shown || self.on);
        let node = self.nodes.len();
        self.nodes.push(Node {
            task,
            outer: self.innermost_shown(task),
            start: event.time,
            shown,
            kept: false,
            target: target || (shown && !self.caller),
            threshold: now.time,
            depth: depth as u16,
            before,
            sleep: false,
        });
        self.stacks[task].push(node);
        self.now[task] = now;
        if shown {
            self.shown[task].push((Event { depth: depth as u16, ..*event }, Some(node)));
            if has(TRACE) {
                self.keep(Some(node));
            }
        }
        if reached && has(FINISH) {
            (self.on, self.finished) = (false, true);
            self.look(task);
        }
    }

    /// Ends the innermost node. `event` is its exit, if there is one.
    fn end(&mut self, task: usize, time: u64, event: Option<&Event>) {
        let Some(at) = self.stacks[task].pop() else { return };
        let node = &self.nodes[at];
        let (shown, outer, depth) = (node.shown, node.outer, node.depth);
        if node.target && time - node.start >= node.threshold {
            self.keep(if shown { Some(at) } else { outer });
        }
        self.now[task] = self.nodes[at].before;
        if let Some(event) = event
            && shown
            && self.on
        {
            self.shown[task].push((Event { depth, ..*event }, Some(at)));
        }
    }

    fn take(&mut self, task: usize, event: &Event) {
        if event.kind != Kind::Lost {
            self.look(task);
        }
        let asleep = self.stacks[task].last().is_some_and(|node| self.nodes[*node].sleep);
        match (event.kind, event.addr) {
            (Kind::Entry, _) => {
                while self.stacks[task].len() > usize::from(event.depth) {
                    self.end(task, event.time, None);
                }
                self.enter(task, event);
            }
            (Kind::Exit, _) => self.end(task, event.time, Some(event)),
            (Kind::Event, event_id::SCHED_OUT) if !self.stacks[task].is_empty() => {
                let shown = self.events_show(task);
                let (before, outer) = (self.now[task], self.innermost_shown(task));
                let (start, threshold) = (event.time, before.time);
                let target = shown && !self.caller;
                let node = self.nodes.len();
                let sleep = Node {
                    task,
                    outer,
                    start,
                    shown,
                    kept: false,
                    target,
                    threshold,
                    depth: 0,
                    before,
                    sleep: true,
                };
                self.nodes.push(sleep);
                self.stacks[task].push(node);
                if shown {
                    self.shown[task].push((*event, Some(node)));
                }
            }
            (Kind::Event, event_id::SCHED_IN) if asleep => self.end(task, event.time, Some(event)),
            _ => {
                let innermost = self.innermost_shown(task);
                if event.kind == Kind::Lost || event.addr == event_id::USER {
                    self.keep(innermost);
                }
                if event.kind == Kind::Lost || self.events_show(task) {
                    self.shown[task].push((*event, innermost));
                }
            }
        }
    }
}

/// The events that are shown, of each task.
fn model(trace: &MemoryTrace, specs: &Specs, options: &FilterOptions) -> Vec<Vec<Event>> {
    let mut rules = Rules::new(specs, Match::Regex).unwrap();
    trace.all_functions(false, &mut |function, source| rules.observe(&subject(function, source)));
    let mut by_address = FxHashMap::default();
    trace.all_functions(false, &mut |function, source| {
        let rule = rules.rule(&subject(function, source)).unwrap_or_default();
        by_address.insert(function.addr, (rule, function.size));
    });
    let tasks = trace.tasks().len();
    let start = Context {
        inside: 0,
        outside: 0,
        used: 0,
        most: options.depth,
        time: options.time,
        size: u64::from(options.size),
    };
    let mut model = Model {
        rules: &by_address,
        opt_in: rules.has_opt_in(),
        caller: rules.has_caller(),
        nodes: Vec::new(),
        stacks: vec![Vec::new(); tasks],
        now: vec![start; tasks],
        on: options.on,
        seen_on: vec![options.on; tasks],
        finished: false,
        shown: vec![Vec::new(); tasks],
    };
    let mut all = Vec::new();
    let mut last = 0;
    for (task, tid) in trace.tasks().iter().map(|task| task.tid).enumerate() {
        let mut before = 0;
        for event in all_events(trace, tid).unwrap() {
            before = if event.kind == Kind::Lost { before } else { event.time };
            last = last.max(before);
            all.push((before, task, event));
        }
    }
    all.sort_by_key(|(time, task, _)| (*time, *task));
    let mut ends = vec![0; tasks];
    for (time, task, event) in &all {
        model.take(*task, event);
        ends[*task] = *time;
    }
    // What is open has lasted until the last thing that was seen in it.
    for node in 0..model.nodes.len() {
        let (task, start) = (model.nodes[node].task, model.nodes[node].start);
        let open = model.stacks[task].contains(&node);
        let outer = if model.nodes[node].shown { Some(node) } else { model.nodes[node].outer };
        if open && model.nodes[node].target && ends[task] - start >= model.nodes[node].threshold {
            model.keep(outer);
        }
    }
    let kept = |node: &Option<usize>| node.is_none_or(|node| model.nodes[node].kept);
    model
        .shown
        .iter()
        .map(|shown| shown.iter().filter(|(_, node)| kept(node)).map(|(event, _)| *event).collect())
        .collect()
}

fn specs() -> impl Strategy<Value = Vec<(SpecKind, String)>> {
    let name = || 0..NAMES.len();
    let option = prop_oneof![
        Just(SpecKind::Filter),
        Just(SpecKind::NoTrace),
        Just(SpecKind::CallerFilter),
        Just(SpecKind::Hide)
    ];
    let action = prop_oneof![
        (0..4u32).prop_map(|n| format!("depth={n}")),
        (0..40u32).prop_map(|n| format!("time={n}")),
        (0..100u32).prop_map(|n| format!("size={n}")),
        prop_oneof![
            4 => Just("trace"), 4 => Just("trace_on"), 4 => Just("trace_off"), 2 => Just("hide"),
            1 => Just("filter"), 1 => Just("notrace"), 1 => Just("caller"), 1 => Just("finish")
        ]
        .prop_map(str::to_owned),
    ];
    let one = prop_oneof![
        (option, name()).prop_map(|(kind, name)| (kind, NAMES[name].to_owned())),
        (name(), action).prop_map(|(name, action)| (SpecKind::Trigger, format!("{}@{action}", NAMES[name]))),
    ];
    prop::collection::vec(one, 0..5)
}

fn options() -> impl Strategy<Value = FilterOptions> {
    let depth = prop_oneof![Just(1024u32), 1..4u32];
    let time = prop_oneof![Just(0u64), 1..50u64];
    let size = prop_oneof![Just(0u32), Just(40)];
    let on = prop_oneof![4 => Just(true), 1 => Just(false)];
    (depth, time, size, on).prop_map(|(depth, time, size, on)| FilterOptions {
        depth,
        time,
        size,
        on,
        ..FilterOptions::default()
    })
}

fn plain(event: &Event) -> (u64, Kind, u64, u16) {
    let depth = if matches!(event.kind, Kind::Entry | Kind::Exit) { event.depth } else { 0 };
    (event.time, event.kind, event.addr, depth)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_stream_shows_what_the_plain_model_shows(
        program in program(), given in specs(), options in options(), batch in 1usize..20,
    ) {
        let mut trace = build(&program);
        trace.batch_size(batch);
        let mut specs = Specs::new();
        for (kind, text) in &given {
            specs.push(*kind, text).unwrap();
        }
        let wanted = model(&trace, &specs, &options);
        let layer = Filtered::new(&trace, &specs, Match::Regex, options).unwrap();
        for (task, wanted) in trace.tasks().iter().zip(wanted) {
            let seen: Vec<_> = all_events(&layer, task.tid).unwrap().iter().map(plain).collect();
            let wanted: Vec<_> = wanted.iter().map(plain).collect();
            prop_assert_eq!(seen, wanted, "task {}", task.tid);
        }
    }
}
