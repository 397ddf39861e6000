//! Who called whom, added up over all tasks: what flame graphs and diagrams show.
//!
//! Not the call graph of `fathom-analysis`, which is what people read: this one is of the whole recording
//! instead of each session, keeps times in whole samples, and numbers its nodes in the order of first calls.

use crate::Error;
use fathom_analysis::walk::fold_tasks;
use fathom_analysis::{CallStack, Callee, End, Frame, Origin, Visitor};
use fathom_store::{Batch, EventOptions, FunctionKind, Kind, Task, Trace};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A function below a certain chain of callers.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    /// How often it was called there.
    pub(crate) calls: u64,
    /// Time of the calls that ended, ns.
    pub(crate) time: u64,
    /// Time of the calls from it that ended, ns; of those that have a node, in whole samples.
    pub(crate) below: u64,
    /// Time of its first call, ns.
    first: u64,
    /// Indices of what it called, in the order of the first calls.
    pub(crate) children: Vec<usize>,
}

/// All nodes, in the order in which they were first called. The first one is the program.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
    /// In how many places of the recording records are missing.
    pub(crate) lost: u64,
}

/// What goes into a tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TreeOptions {
    pub(crate) events: EventOptions,
    pub(crate) libcalls: bool,
    /// ns, at least 1.
    pub(crate) sample: u64,
}

const ROOT: usize = 0;

/// Adds up the calls of `trace`. The memory needed is that of the tree, for each processor.
pub(crate) fn tree(trace: &dyn Trace, options: TreeOptions) -> Result<Tree, Error> {
    let tasks: Vec<&Task> = trace.tasks().iter().collect();
    let parts = fold_tasks(&tasks, 0, || Builder::new(trace, options), Builder::task)?;
    let mut whole = Builder::new(trace, options);
    for part in parts {
        whole.lost += part.lost;
        whole.add(&part, ROOT, ROOT);
    }
    Ok(Tree { nodes: numbered(&whole.nodes), lost: whole.lost })
}

/// File name of the program.
pub(crate) fn program(trace: &dyn Trace) -> String {
    let exe = trace.info().exe_name.clone().or_else(|| trace.sessions().first().map(|s| s.exe.clone()));
    let exe = exe.unwrap_or_default();
    exe.rsplit('/').next().unwrap_or_default().to_owned()
}

/// A callee that was met before.
#[derive(Clone, Copy)]
struct Known {
    /// Number of the name; functions of equal names are one node.
    name: u32,
    hidden: bool,
}

/// The tree of some of the tasks.
struct Builder<'t> {
    trace: &'t dyn Trace,
    options: TreeOptions,
    nodes: Vec<Node>,
    /// From (parent, name) to the child.
    index: FxHashMap<(usize, u32), usize>,
    names: FxHashMap<Arc<str>, u32>,
    /// By [`Callee::index`].
    callees: Vec<Option<Known>>,
    lost: u64,
}

impl<'t> Builder<'t> {
    fn new(trace: &'t dyn Trace, options: TreeOptions) -> Self {
        let root =
            Node { name: program(trace).into(), calls: 1, time: 0, below: 0, first: 0, children: Vec::new() };
        let options = TreeOptions { sample: options.sample.max(1), ..options };
        Builder {
            trace,
            options,
            nodes: vec![root],
            index: FxHashMap::default(),
            names: FxHashMap::default(),
            callees: Vec::new(),
            lost: 0,
        }
    }

    fn task(&mut self, task: &Task) -> Result<(), fathom_store::Error> {
        let mut events = self.trace.events(task.tid, self.options.events)?;
        let mut stack = CallStack::new(self.trace, self.trace.resolver(task.tid));
        let mut batch = Batch::default();
        while events.next_batch(&mut batch)? {
            for event in &batch.events {
                self.lost += u64::from(event.kind == Kind::Lost);
                stack.feed(event, self);
            }
        }
        events.end().into_iter().for_each(|end| stack.lasts_until(end));
        stack.finish(self);
        Ok(())
    }

    /// Adds what is below `from` in `part` to what is below `to` here. Not recursive: programs are, deeply.
    fn add(&mut self, part: &Builder<'_>, from: usize, to: usize) {
        let mut pairs = vec![(from, to)];
        while let Some((from, to)) = pairs.pop() {
            let Some(source) = part.nodes.get(from) else { continue };
            if let Some(target) = self.nodes.get_mut(to).filter(|_| from != ROOT) {
                target.calls += source.calls;
                target.time = target.time.saturating_add(source.time);
                target.below = target.below.saturating_add(source.below);
                target.first = target.first.min(source.first);
            }
            for &child in &source.children {
                let Some(node) = part.nodes.get(child) else { continue };
                let name = self.number(&node.name);
                let own = self.child(to, name, &node.name, node.first);
                pairs.push((child, own));
            }
        }
    }

    fn child(&mut self, parent: usize, number: u32, name: &Arc<str>, first: u64) -> usize {
        let nodes = &mut self.nodes;
        *self.index.entry((parent, number)).or_insert_with(|| {
            let new = nodes.len();
            nodes.push(Node { name: name.clone(), calls: 0, time: 0, below: 0, first, children: Vec::new() });
            if let Some(parent) = nodes.get_mut(parent) {
                parent.children.push(new);
            }
            new
        })
    }

    fn number(&mut self, name: &Arc<str>) -> u32 {
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        *self.names.entry(name.clone()).or_insert(next)
    }

    fn callee(&mut self, callee: Callee) -> Known {
        if let Some(Some(known)) = self.callees.get(callee.index()) {
            return *known;
        }
        let name = callee.name(self.trace);
        let library = callee.function().is_some_and(|id| self.trace.function(id).kind == FunctionKind::Plt);
        // Waiting for the processor stays part of the function that wants it.
        let hidden =
            library && !self.options.libcalls || matches!(callee, Callee::PREEMPTED | Callee::UNKNOWN);
        let known = Known { name: self.number(&name), hidden };
        if callee != Callee::UNKNOWN {
            if self.callees.len() <= callee.index() {
                self.callees.resize(callee.index() + 1, None);
            }
            if let Some(slot) = self.callees.get_mut(callee.index()) {
                *slot = Some(known);
            }
        }
        known
    }
}

impl Visitor for Builder<'_> {
    fn enter(&mut self, outer: &[Frame], frame: &Frame) -> u32 {
        let above = outer.last().map_or(0, |frame| frame.tag);
        let known = self.callee(frame.callee);
        if known.hidden {
            return above;
        }
        let node = match self.index.get(&(above as usize, known.name)) {
            Some(node) => *node,
            None => {
                let name = frame.callee.name(self.trace);
                self.child(above as usize, known.name, &name, frame.start)
            }
        };
        if let Some(node) = self.nodes.get_mut(node) {
            // A call that the parent process made is counted there.
            node.calls += u64::from(frame.origin == Origin::Called);
            node.first = node.first.min(frame.start);
        }
        u32::try_from(node).unwrap_or(u32::MAX)
    }

    fn leave(&mut self, outer: &[Frame], frame: &Frame, end: u64, how: End) {
        let hidden = self.callee(frame.callee).hidden;
        if frame.origin != Origin::Called || how == End::Open || hidden && frame.callee.is_schedule() {
            return;
        }
        let spent = frame.duration(end);
        if let Some(node) = self.nodes.get_mut(frame.tag as usize).filter(|_| !hidden) {
            node.time = node.time.saturating_add(spent);
        }
        // The time of a call that is left out is not its caller's own; what is called from it is part of it.
        let around = outer.iter().rfind(|frame| !frame.callee.is_schedule());
        if around.is_some_and(|frame| self.callee(frame.callee).hidden) {
            return;
        }
        let above = around.map_or(0, |frame| frame.tag);
        // Only what has a line of its own is rounded.
        let spent = if hidden { spent } else { spent - spent % self.options.sample };
        if let Some(above) = self.nodes.get_mut(above as usize) {
            above.below = above.below.saturating_add(spent);
        }
    }
}

/// The nodes in the order of their first calls.
fn numbered(nodes: &[Node]) -> Vec<Node> {
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    // Stable: of calls at the same time the caller stays before the callee.
    order.sort_by_key(|&index| nodes.get(index).map_or(0, |node| node.first));
    let mut places = vec![0; nodes.len()];
    for (place, &index) in order.iter().enumerate() {
        if let Some(slot) = places.get_mut(index) {
            *slot = place;
        }
    }
    let place = |index: &usize| places.get(*index).copied().unwrap_or(ROOT);
    let renumber = |node: &Node| {
        let mut children: Vec<usize> = node.children.iter().map(place).collect();
        children.sort_unstable();
        Node { children, ..node.clone() }
    };
    order.iter().filter_map(|&index| nodes.get(index)).map(renumber).collect()
}

/// What [`walk`] meets.
pub(crate) struct Step<'t> {
    /// Index of the node; never that of the program.
    pub(crate) node: usize,
    /// From the program to the node.
    pub(crate) path: &'t [usize],
}

/// Visits all nodes but the first, each before its children. Not recursive: programs are, deeply.
pub(crate) fn walk(tree: &Tree, mut each: impl FnMut(Step<'_>) -> Result<(), Error>) -> Result<(), Error> {
    let children = |node: usize| tree.nodes.get(node).map(|n| n.children.as_slice()).unwrap_or_default();
    let mut path = vec![ROOT];
    let mut next = vec![0usize];
    while let (Some(&node), Some(at)) = (path.last(), next.last_mut()) {
        if let Some(&child) = children(node).get(*at) {
            *at += 1;
            path.push(child);
            next.push(0);
            each(Step { node: child, path: &path })?;
        } else {
            path.pop();
            next.pop();
        }
    }
    Ok(())
}
