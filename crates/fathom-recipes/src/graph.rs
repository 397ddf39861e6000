//! Calls of a function-graph recording: how often and how long each function ran, and the slowest root call as a tree.

use crate::event::Event;
use crate::histogram::Histogram;
use crate::label::{Bounded, Names};
use std::fmt::Write as _;

/// Functions in the table.
const FUNCTIONS: usize = 8192;
/// Lines of a tree that are kept; what is beyond is counted.
const LINES: usize = 400;
/// Root functions whose slowest call is kept.
const TREES: usize = 64;
/// Depth that is followed.
const DEEP: usize = 512;

/// What is known of a function.
#[derive(Debug, Default)]
pub struct Calls {
    /// Durations in ns, children included.
    pub total: Histogram,
    /// ns without those of children.
    pub own: u64,
}

/// A line of a tree.
#[derive(Debug, Clone)]
enum Line {
    Call { depth: usize, address: u64, ns: u64 },
    Note { depth: usize, text: String },
}

/// A root call with what happened in it.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The function.
    pub root: u64,
    /// ns.
    pub ns: u64,
    /// The time it ended at.
    pub end: u64,
    /// Calls that did not fit.
    pub left_out: u64,
    lines: Vec<Line>,
}

/// All calls.
#[derive(Debug)]
pub struct Graph {
    /// By address.
    pub functions: Bounded<u64, Calls>,
    /// By root function: their durations.
    pub roots: Bounded<u64, Histogram>,
    /// The slowest call of the root that took most time in all.
    pub slowest: Vec<Tree>,
    /// Exits whose entry was not seen.
    pub unbegun: u64,
}

struct Open {
    address: u64,
    entered: u64,
    children: u64,
    line: Option<usize>,
}

#[derive(Default)]
struct Task {
    open: Vec<Open>,
    tree: Tree,
}

/// Follows entries and exits.
pub(crate) struct Following {
    tasks: Bounded<(i32, u32), Task>,
    found: Graph,
}

impl Following {
    pub(crate) fn new() -> Following {
        let found = Graph {
            functions: Bounded::new(FUNCTIONS),
            roots: Bounded::new(FUNCTIONS),
            slowest: Vec::new(),
            unbegun: 0,
        };
        Following { tasks: Bounded::new(4096), found }
    }

    /// A task's calls are followed per CPU where it is the idle task, of which there are as many as CPUs.
    fn task(&mut self, event: &Event<'_>) -> Option<&mut Task> {
        let cpu = if event.pid == 0 { event.cpu } else { 0 };
        self.tasks.entry((event.pid, cpu), Task::default)
    }

    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match event.name() {
            "funcgraph_entry" | "fgraph_retaddr_entry" => self.enter(event),
            "funcgraph_exit" => self.exit(event),
            _ => {}
        }
    }

    fn enter(&mut self, event: &Event<'_>) {
        let (Some(address), Some(depth)) = (event.num("func"), event.num("depth")) else { return };
        let depth = usize::try_from(depth).unwrap_or(0).min(DEEP);
        let time = event.time;
        let Some(task) = self.task(event) else { return };
        // Calls whose exits were lost.
        task.open.truncate(depth);
        if task.open.is_empty() {
            task.tree = Tree { root: address as u64, ..Tree::default() };
        }
        let shown = task.open.len();
        let line = if task.tree.lines.len() < LINES {
            task.tree.lines.push(Line::Call { depth: shown, address: address as u64, ns: 0 });
            Some(task.tree.lines.len() - 1)
        } else {
            task.tree.left_out += 1;
            None
        };
        task.open.push(Open { address: address as u64, entered: time, children: 0, line });
    }

    fn exit(&mut self, event: &Event<'_>) {
        let Some(address) = event.num("func").map(|address| address as u64) else { return };
        let times = event.num("calltime").zip(event.num("rettime"));
        let end = event.time;
        let Some(task) = self.task(event) else { return };
        let Some(position) = task.open.iter().rposition(|open| open.address == address) else {
            self.found.unbegun += 1;
            return;
        };
        task.open.truncate(position + 1);
        let Some(open) = task.open.pop() else { return };
        // Newer kernels have no calltime in the exit: then the records' own times count.
        let ns = times
            .map_or(end.saturating_sub(open.entered), |(call, ret)| (ret as u64).saturating_sub(call as u64));
        if let Some(parent) = task.open.last_mut() {
            parent.children = parent.children.saturating_add(ns);
        }
        if let Some(Line::Call { ns: shown, .. }) = open.line.and_then(|line| task.tree.lines.get_mut(line)) {
            *shown = ns;
        }
        let mut done = None;
        if task.open.is_empty() {
            let mut tree = std::mem::take(&mut task.tree);
            (tree.ns, tree.end) = (ns, end);
            done = Some(tree);
        }
        if let Some(calls) = self.found.functions.entry(address, Calls::default) {
            calls.total.add(ns);
            calls.own = calls.own.saturating_add(ns.saturating_sub(open.children));
        }
        if let Some(tree) = done {
            self.found.root(tree);
        }
    }

    /// Notes an event inside of a call, as the kernel shows it in the graph.
    pub(crate) fn note(&mut self, event: &Event<'_>, text: impl FnOnce() -> String) {
        let Some(task) = self.task(event) else { return };
        if !task.open.is_empty() && task.tree.lines.len() < LINES {
            let depth = task.open.len();
            task.tree.lines.push(Line::Note { depth, text: text() });
        }
    }

    pub(crate) fn finish(self) -> Graph {
        self.found
    }
}

impl Graph {
    fn root(&mut self, tree: Tree) {
        if let Some(root) = self.roots.entry(tree.root, Histogram::default) {
            root.add(tree.ns);
        }
        match self.slowest.iter().position(|slowest| slowest.root == tree.root) {
            Some(at) if self.slowest[at].ns < tree.ns => self.slowest[at] = tree,
            None if self.slowest.len() < TREES => self.slowest.push(tree),
            Some(_) | None => {}
        }
    }

    /// Functions with the most time of their own first.
    pub fn sorted(&self) -> Vec<(u64, &Calls)> {
        let mut rows: Vec<_> = self.functions.iter().map(|(address, calls)| (*address, calls)).collect();
        rows.sort_by_key(|(address, calls)| (std::cmp::Reverse(calls.own), *address));
        rows
    }

    /// Root functions with the most time first, each with its slowest call.
    pub fn sorted_roots(&self) -> Vec<(u64, &Histogram, Option<&Tree>)> {
        let mut rows: Vec<_> = self.roots.iter().collect();
        rows.sort_by_key(|(address, root)| (std::cmp::Reverse(root.sum()), **address));
        let tree = |address: u64| self.slowest.iter().find(|tree| tree.root == address);
        rows.into_iter().map(|(address, root)| (*address, root, tree(*address))).collect()
    }
}

impl Tree {
    /// The tree as the kernel draws it, at most `limit` lines.
    pub fn text(&self, names: &dyn Names, limit: usize) -> String {
        let mut text = String::new();
        let depth_of = |line: &Line| match line {
            Line::Call { depth, .. } | Line::Note { depth, .. } => *depth,
        };
        let mut closing: Vec<(usize, u64)> = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            let depth = depth_of(line);
            while let Some((at, ns)) = closing.pop_if(|(at, _)| *at >= depth) {
                let _ = writeln!(text, "{} |{:indent$}}}", duration(ns), "", indent = at * 2 + 2);
            }
            if index == limit {
                let rest = self.lines.len() - index;
                let _ =
                    writeln!(text, "{:18} |{:indent$}… {rest} more lines", "", "", indent = depth * 2 + 2);
                break;
            }
            match line {
                Line::Note { depth, text: note } => {
                    let _ = writeln!(text, "{:18} |{:indent$}/* {note} */", "", "", indent = depth * 2 + 2);
                }
                Line::Call { depth, address, ns } => {
                    let leaf = self.lines.get(index + 1).is_none_or(|next| depth_of(next) <= *depth);
                    let name = names.symbol(*address);
                    let (time, end) =
                        if leaf { (duration(*ns), "();") } else { (format!("{:18}", ""), "() {") };
                    let _ = writeln!(text, "{time} |{:indent$}{name}{end}", "", indent = depth * 2 + 2);
                    if !leaf {
                        closing.push((*depth, *ns));
                    }
                }
            }
        }
        while let Some((at, ns)) = closing.pop() {
            let _ = writeln!(text, "{} |{:indent$}}}", duration(ns), "", indent = at * 2 + 2);
        }
        if self.left_out > 0 {
            let _ = writeln!(text, "({} more calls in it were not kept)", self.left_out);
        }
        text
    }
}

/// ns as the kernel shows a duration, with its marks: `+` above 10 us, `!` 100 us, `#` 1 ms, `*` 10 ms, `@` 100 ms, `$` 1 s.
pub(crate) fn duration(ns: u64) -> String {
    let mark = match ns {
        ..=10_000 => ' ',
        10_001..=100_000 => '+',
        100_001..=1_000_000 => '!',
        1_000_001..=10_000_000 => '#',
        10_000_001..=100_000_000 => '*',
        100_000_001..=1_000_000_000 => '@',
        _ => '$',
    };
    format!("{mark} {:>12.3} us", ns as f64 / 1000.0)
}
