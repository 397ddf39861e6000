//! Who called whom, added up over all tasks: what flame graphs and diagrams show.

use crate::Error;
use crate::merge::{Item, merged};
use fathom_store::{EventOptions, FunctionId, FunctionKind, Kind, Trace, event_id};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A function below a certain chain of callers.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    /// How often it was called there.
    pub(crate) calls: u64,
    /// Time of the calls that ended, ns.
    pub(crate) time: u64,
    /// Time of the calls from it that ended, each rounded down to whole samples, ns.
    pub(crate) below: u64,
    /// Indices of what it called, in the order of the first calls.
    pub(crate) children: Vec<usize>,
}

/// All nodes, in the order in which they were first called. The first one is the program.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
    /// How many places there are in the recording where records are missing.
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

/// An open call.
struct Frame {
    addr: u64,
    start: u64,
    /// None when it is left out.
    node: Option<usize>,
    /// Made by the parent process, and counted there.
    inherited: bool,
}

/// Stands for the address of a schedule frame; no code address is as large.
const SCHEDULE: u64 = u64::MAX;

struct Builder {
    tree: Tree,
    /// From (parent, name) to the child.
    index: FxHashMap<(usize, u32), usize>,
    /// One number for each name, so that functions of equal names are one node.
    names: FxHashMap<Arc<str>, u32>,
    /// By function id: number of the name; none when left out.
    functions: Vec<Option<(Arc<str>, u32, bool)>>,
    sample: u64,
}

/// Adds up the calls of `trace`. The memory needed is that of the tree.
pub(crate) fn tree(trace: &dyn Trace, options: TreeOptions) -> Result<Tree, Error> {
    let root = Node { name: program(trace).into(), calls: 1, time: 0, below: 0, children: Vec::new() };
    let mut builder = Builder {
        tree: Tree { nodes: vec![root], lost: 0 },
        index: FxHashMap::default(),
        names: FxHashMap::default(),
        functions: Vec::new(),
        sample: options.sample.max(1),
    };
    let mut stacks: Vec<Vec<Frame>> = Vec::new();
    stacks.resize_with(trace.tasks().len(), Vec::new);
    merged(trace, options.events, |item| {
        if let Some(stack) = stacks.get_mut(item.task) {
            builder.item(trace, options, stack, item);
        }
        Ok(())
    })?;
    Ok(builder.tree)
}

/// File name of the program.
pub(crate) fn program(trace: &dyn Trace) -> String {
    let exe = trace.info().exe_name.clone().or_else(|| trace.sessions().first().map(|s| s.exe.clone()));
    let exe = exe.unwrap_or_default();
    exe.rsplit('/').next().unwrap_or_default().to_owned()
}

impl Builder {
    fn item(&mut self, trace: &dyn Trace, options: TreeOptions, stack: &mut Vec<Frame>, item: Item<'_, '_>) {
        let event = item.event;
        match event.kind {
            Kind::Entry => {
                let id = item.resolver.resolve(event.time, event.addr);
                let (name, number, library) = self.function(trace, id);
                let node = (options.libcalls || !library).then(|| self.child(parent(stack), &name, number));
                if let (Some(node), false) = (node, event.inherited) {
                    self.called(node);
                }
                let (addr, start) = (event.addr, event.time);
                stack.push(Frame { addr, start, node, inherited: event.inherited });
            }
            Kind::Exit => {
                if let Some(at) = stack.iter().rposition(|frame| frame.addr == event.addr) {
                    stack.truncate(at + 1);
                    self.leave(stack, event.time);
                }
            }
            Kind::Event => self.event(stack, event.addr, event.time),
            Kind::Lost => self.tree.lost += 1,
        }
    }

    /// Schedule events inside of calls count like calls.
    fn event(&mut self, stack: &mut Vec<Frame>, id: u64, time: u64) {
        let out = stack.last().is_some_and(|frame| frame.addr == SCHEDULE);
        match id {
            event_id::SCHED_IN if out => self.leave(stack, time),
            event_id::SCHED_OUT | event_id::SCHED_OUT_PREEMPTED
                if !out && stack.iter().any(|frame| frame.node.is_some()) =>
            {
                let name = if id == event_id::SCHED_OUT {
                    event_id::name(event_id::SCHEDULE)
                } else {
                    event_id::name(event_id::SCHEDULE_PREEMPTED)
                };
                let name: Arc<str> = name.unwrap_or_default().into();
                let number = self.number(&name);
                let node = self.child(parent(stack), &name, number);
                self.called(node);
                stack.push(Frame { addr: SCHEDULE, start: time, node: Some(node), inherited: false });
            }
            _ => {}
        }
    }

    fn leave(&mut self, stack: &mut Vec<Frame>, time: u64) {
        let Some(frame) = stack.pop() else { return };
        let (Some(node), false) = (frame.node, frame.inherited) else { return };
        let spent = time.saturating_sub(frame.start);
        let above = parent(stack);
        if let Some(node) = self.tree.nodes.get_mut(node) {
            node.time = node.time.saturating_add(spent);
        }
        if let Some(above) = self.tree.nodes.get_mut(above) {
            above.below = above.below.saturating_add(spent - spent % self.sample);
        }
    }

    fn called(&mut self, node: usize) {
        if let Some(node) = self.tree.nodes.get_mut(node) {
            node.calls += 1;
        }
    }

    fn child(&mut self, parent: usize, name: &Arc<str>, number: u32) -> usize {
        let nodes = &mut self.tree.nodes;
        *self.index.entry((parent, number)).or_insert_with(|| {
            let new = nodes.len();
            nodes.push(Node { name: name.clone(), calls: 0, time: 0, below: 0, children: Vec::new() });
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

    fn function(&mut self, trace: &dyn Trace, id: FunctionId) -> (Arc<str>, u32, bool) {
        let index = id.0 as usize;
        if let Some(Some(known)) = self.functions.get(index) {
            return known.clone();
        }
        let function = trace.function(id);
        let number = self.number(&function.name);
        let known = (function.name, number, function.kind == FunctionKind::Plt);
        if self.functions.len() <= index {
            self.functions.resize(index + 1, None);
        }
        if let Some(slot) = self.functions.get_mut(index) {
            *slot = Some(known.clone());
        }
        known
    }
}

/// The node that a new call belongs below.
fn parent(stack: &[Frame]) -> usize {
    stack.iter().rev().find_map(|frame| frame.node).unwrap_or(ROOT)
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
