//! Building trees from events.

use super::tree::{Counts, NodeId, Tree};
use crate::callee::{Callee, Role, Roles};
use crate::calls::{End, Frame, Origin, Visitor};
use crate::walk::{fold_tasks, walk_task};
use fathom_store::{Error, EventOptions, Function, Task, Tid, Trace};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The graph of one session.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Index into [`Trace::sessions`].
    pub session: usize,
    /// Its calls. The root has the executable's name, one call, and the time of all its children.
    pub tree: Tree,
}

/// The call graphs of all sessions that have calls, in the order of the sessions.
///
/// # Errors
///
/// Those of reading the trace.
pub fn graphs(trace: &dyn Trace, options: EventOptions, threads: usize) -> Result<Vec<Graph>, Error> {
    graphs_if(trace, options, threads, |_| true)
}

/// Like [`graphs`], without functions that `keep` says no to. What they call is shown one level up; their time
/// stays theirs: it is not their callers' own.
///
/// # Errors
///
/// Those of reading the trace.
pub fn graphs_if(
    trace: &dyn Trace,
    options: EventOptions,
    threads: usize,
    keep: impl Fn(&Function) -> bool,
) -> Result<Vec<Graph>, Error> {
    let mut stacks: FxHashMap<Tid, Vec<Callee>> = FxHashMap::default();
    let mut builders: Vec<Builder> = Vec::new();
    for generation in generations(trace) {
        // A child's calls belong below the call of fork in its parent, so parents are read first.
        let known = &stacks;
        let parts = fold_tasks(
            &generation,
            threads,
            || Builder::new(trace),
            |builder, task| {
                builder.begin(task, known.get(&task.tid).cloned().unwrap_or_default());
                walk_task(trace, task, options, builder)?;
                builder.end();
                Ok(())
            },
        )?;
        for mut part in parts {
            stacks.extend(part.forks.done.drain(..));
            builders.push(part);
        }
    }
    Ok(merge(trace, &builders, keep))
}

/// Tasks by how many forks they are away from the first process.
fn generations(trace: &dyn Trace) -> Vec<Vec<&Task>> {
    let tasks = trace.tasks();
    let forked: FxHashMap<Tid, Tid> =
        tasks.iter().filter(|t| t.forked).filter_map(|t| Some((t.tid, t.parent?))).collect();
    let mut generations: Vec<Vec<&Task>> = Vec::new();
    for task in tasks {
        let (mut pid, mut number) = (task.tid, 0);
        // A circle of parents, which only a damaged file has, ends the walk too.
        while let Some(parent) = forked.get(&pid)
            && number < forked.len()
        {
            (pid, number) = (*parent, number + 1);
        }
        if generations.len() <= number {
            generations.resize(number + 1, Vec::new());
        }
        generations[number].push(task);
    }
    generations
}

/// All calls of one callee from the same place.
struct Raw {
    callee: Callee,
    parent: u32,
    /// Links of the list of children: the first one of this node, the next one of its parent.
    child: u32,
    next: u32,
    counts: Counts,
    addr: u64,
}

const NONE: u32 = u32::MAX;
/// How much of the stack a forked child is told of.
const DEEPEST: usize = 1024;
/// How many children are looked at before the map is asked.
const LOOK: usize = 6;

/// A forest over callees, a root for each session.
struct Builder<'t> {
    trace: &'t dyn Trace,
    nodes: Vec<Raw>,
    /// Children that are not near the front of a list.
    far: FxHashMap<(u32, Callee), u32>,
    roots: Vec<u32>,
    task: Option<Task>,
    /// The stack of the parent at the fork.
    inherited: Vec<Callee>,
    roles: Roles,
    forks: Forks,
}

/// Stacks at calls of fork, for children whose files begin with returns from calls they didn't make.
#[derive(Default)]
struct Forks {
    /// Children of the present task that wait for a stack, the first one last.
    waiting: Vec<(u64, Tid)>,
    /// The stack at the last call of fork.
    latest: Vec<Callee>,
    done: Vec<(Tid, Vec<Callee>)>,
}

impl Forks {
    /// Gives the latest stack to the children that were made before `time`.
    fn hand_out(&mut self, time: u64) {
        while let Some((_, tid)) = self.waiting.pop_if(|(start, _)| *start < time) {
            self.done.push((tid, self.latest.clone()));
        }
    }
}

impl<'t> Builder<'t> {
    fn new(trace: &'t dyn Trace) -> Self {
        Builder {
            trace,
            nodes: Vec::new(),
            far: FxHashMap::default(),
            roots: vec![NONE; trace.sessions().len()],
            task: None,
            inherited: Vec::new(),
            roles: Roles::default(),
            forks: Forks::default(),
        }
    }

    fn begin(&mut self, task: &Task, inherited: Vec<Callee>) {
        let children = self.trace.tasks().iter().filter(|t| t.forked && t.parent == Some(task.pid));
        self.forks.waiting = match task.tid == task.pid {
            true => children.map(|t| (t.start, t.tid)).collect(),
            false => Vec::new(),
        };
        self.forks.waiting.sort_by_key(|(start, _)| std::cmp::Reverse(*start));
        self.forks.latest = Vec::new();
        self.inherited = inherited;
        self.task = Some(task.clone());
    }

    fn end(&mut self) {
        self.forks.hand_out(u64::MAX);
    }

    /// The root of the session that the task has at `time`.
    #[cold]
    fn root(&mut self, time: u64) -> u32 {
        let spans = self.task.as_ref().map_or(&[][..], |t| &t.sessions);
        let span = spans.iter().rev().find(|s| s.from <= time).or(spans.first());
        let session = span.map_or(0, |s| s.session);
        if self.roots.len() <= session {
            self.roots.resize(session + 1, NONE);
        }
        if self.roots[session] == NONE {
            self.roots[session] = self.make(NONE, Callee::UNKNOWN);
        }
        self.roots[session]
    }

    fn make(&mut self, parent: u32, callee: Callee) -> u32 {
        let id = self.nodes.len() as u32;
        let next = self.nodes.get(parent as usize).map_or(NONE, |p| p.child);
        let counts = Counts { calls: 0, total: 0, own: 0, first: u64::MAX };
        self.nodes.push(Raw { callee, parent, child: NONE, next, counts, addr: 0 });
        if let Some(parent) = self.nodes.get_mut(parent as usize) {
            parent.child = id;
        }
        id
    }

    #[inline]
    fn child(&mut self, parent: u32, callee: Callee) -> u32 {
        let first = self.nodes[parent as usize].child;
        if first != NONE && self.nodes[first as usize].callee == callee {
            return first;
        }
        self.far_child(parent, callee)
    }

    /// Finds a child that is not the first of its list, and moves it there.
    fn far_child(&mut self, parent: u32, callee: Callee) -> u32 {
        let mut before = self.nodes[parent as usize].child;
        for _ in 0..LOOK {
            if before == NONE {
                return self.make(parent, callee);
            }
            let at = self.nodes[before as usize].next;
            if at != NONE && self.nodes[at as usize].callee == callee {
                self.nodes[before as usize].next = self.nodes[at as usize].next;
                self.nodes[at as usize].next = self.nodes[parent as usize].child;
                self.nodes[parent as usize].child = at;
                return at;
            }
            before = at;
        }
        if let Some(id) = self.far.get(&(parent, callee)) {
            return *id;
        }
        // The list is long: from now on all its members are in the map.
        let mut at = self.nodes[parent as usize].child;
        let mut found = None;
        if !self.far.contains_key(&(parent, self.nodes[at as usize].callee)) {
            while at != NONE {
                let node = &self.nodes[at as usize];
                self.far.insert((parent, node.callee), at);
                found = found.or((node.callee == callee).then_some(at));
                at = node.next;
            }
        }
        let id = found.unwrap_or_else(|| self.make(parent, callee));
        self.far.insert((parent, callee), id);
        id
    }

    #[cold]
    fn note_fork(&mut self, outer: &[Frame], frame: &Frame) {
        if self.roles.get(self.trace, frame.callee) == Role::Fork {
            self.forks.hand_out(frame.start);
            self.forks.latest.clear();
            let known = outer.iter().map(|f| (f.callee, f.level as usize));
            let inherited = &self.inherited;
            // Assumed frames have no callee of their own, but the grandparent may have left their names.
            let named = known.map(|(callee, level)| match callee {
                Callee::UNKNOWN => inherited.get(level).copied().unwrap_or(callee),
                callee => callee,
            });
            self.forks.latest.extend(named.filter(|c| !c.is_schedule()).chain([frame.callee]).take(DEEPEST));
        }
    }
}

impl Visitor for Builder<'_> {
    #[inline]
    fn enter(&mut self, outer: &[Frame], frame: &Frame) -> u32 {
        let parent = match outer.last() {
            Some(frame) => frame.tag,
            None => self.root(frame.start),
        };
        if !self.forks.waiting.is_empty() {
            self.note_fork(outer, frame);
        }
        let id = self.child(parent, frame.callee);
        // What a forked child took over counts for the child too, as in the statistics.
        let node = &mut self.nodes[id as usize];
        node.counts.calls += 1;
        if frame.start < node.counts.first {
            (node.counts.first, node.addr) = (frame.start, frame.addr);
        }
        id
    }

    fn assume(&mut self, outer: &[Frame], frame: &Frame) -> u32 {
        let parent = match outer.last() {
            Some(frame) => frame.tag,
            None => self.root(frame.start),
        };
        match self.inherited.get(frame.level as usize) {
            Some(callee) if *callee != Callee::UNKNOWN => self.child(parent, *callee),
            // Nobody knows what it was: what it calls is shown one level up.
            _ => parent,
        }
    }

    #[inline]
    fn leave(&mut self, _outer: &[Frame], frame: &Frame, end: u64, _how: End) {
        let node = &mut self.nodes[frame.tag as usize];
        // Nobody counts the call of an assumed frame here, but the time that the task spent in it belongs to it. Its
        // node may be its caller's, when nobody knew what it was.
        if frame.origin != Origin::Assumed || node.callee == frame.callee {
            let counts = &mut node.counts;
            counts.total = counts.total.wrapping_add(frame.duration(end));
            counts.own = counts.own.wrapping_add(frame.own(end));
        }
    }
}

/// Joins forests over callees to trees over names.
fn merge(trace: &dyn Trace, builders: &[Builder], keep: impl Fn(&Function) -> bool) -> Vec<Graph> {
    let mut graphs: Vec<Option<Graph>> = Vec::new();
    graphs.resize_with(trace.sessions().len(), || None);
    // None for what is left out.
    let mut names: FxHashMap<Callee, Option<Arc<str>>> = FxHashMap::default();
    let shown = |callee: Callee| callee.function().is_none_or(|id| keep(&trace.function(id)));
    // By session, node and name, so that wide nodes don't take quadratic time.
    let mut places: FxHashMap<(usize, NodeId, Arc<str>), NodeId> = FxHashMap::default();
    for builder in builders {
        for (session, root) in builder.roots.iter().enumerate().filter(|(_, root)| **root != NONE) {
            let Some(slot) = graphs.get_mut(session) else { continue };
            let graph = slot.get_or_insert_with(|| Graph { session, tree: new_tree(trace, session) });
            let mut todo: Vec<(u32, NodeId)> = vec![(*root, 0)];
            while let Some((from, to)) = todo.pop() {
                let mut at = builder.nodes[from as usize].child;
                while at != NONE {
                    let raw = &builder.nodes[at as usize];
                    let name = names
                        .entry(raw.callee)
                        .or_insert_with(|| shown(raw.callee).then(|| raw.callee.name(trace)))
                        .clone();
                    let Some(name) = name else {
                        todo.push((at, to));
                        at = raw.next;
                        continue;
                    };
                    let tree = &mut graph.tree;
                    let place = *places
                        .entry((session, to, name))
                        .or_insert_with_key(|(_, parent, name)| tree.add(*parent, name.clone()));
                    graph.tree.count(place, raw.addr, raw.callee.function(), raw.counts);
                    todo.push((at, place));
                    at = raw.next;
                }
            }
        }
    }
    let mut graphs: Vec<Graph> = graphs.into_iter().flatten().collect();
    graphs.iter_mut().for_each(|graph| finish(&mut graph.tree));
    graphs
}

fn new_tree(trace: &dyn Trace, session: usize) -> Tree {
    let exe = trace.sessions().get(session).map_or("", |s| &s.exe);
    Tree::new(exe.rsplit('/').next().unwrap_or_default().into())
}

/// Orders the children, and gives the root the time of its children.
fn finish(tree: &mut Tree) {
    // A node known only from a forked child begins when its first child does.
    for id in (1..tree.nodes.len()).rev() {
        let (parent, first) = (tree.nodes[id].parent, tree.nodes[id].first);
        if tree.nodes[parent].calls == 0 {
            tree.nodes[parent].first = tree.nodes[parent].first.min(first);
        }
    }
    tree.sort();
    let total = tree.nodes[0].children.iter().map(|id| tree.nodes[*id].total).fold(0, u64::wrapping_add);
    tree.nodes[0].total = total;
    tree.nodes[0].calls = 1;
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} below {}", self.callee, self.parent)
    }
}
