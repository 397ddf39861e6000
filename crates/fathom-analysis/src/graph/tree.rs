//! The finished tree.

use fathom_store::FunctionId;
use std::sync::Arc;

/// A node's place in its [`Tree`].
pub type NodeId = usize;

/// All calls of one name from the same place.
#[derive(Clone, Debug)]
pub struct Node {
    /// The name as shown.
    pub name: Arc<str>,
    /// Code address as recorded of the first call; 0 when there was none.
    pub addr: u64,
    /// The function of the first call, if it is one.
    pub function: Option<FunctionId>,
    /// Number of calls. 0 for a caller that is only known from a forked child.
    pub calls: u64,
    /// Sum of the durations, ns.
    pub total: u64,
    /// Sum of the durations without what was called, ns.
    pub own: u64,
    /// When the first call began, ns.
    pub first: u64,
    /// What was called from here, in the order of the first calls.
    pub children: Vec<NodeId>,
    /// From where; the root is its own parent.
    pub parent: NodeId,
}

/// A stack that leads to a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backtrace {
    /// Names and addresses from the outermost call to the function itself.
    pub frames: Vec<(Arc<str>, u64)>,
    /// How often it was called from there.
    pub calls: u64,
    /// Sum of the durations, ns.
    pub total: u64,
}

/// A tree of calls. Node 0 is the root.
#[derive(Clone, Debug)]
pub struct Tree {
    /// All nodes; parents come before their children.
    pub nodes: Vec<Node>,
}

impl Tree {
    /// A tree of only a root.
    pub fn new(name: Arc<str>) -> Tree {
        let root = Node {
            name,
            addr: 0,
            function: None,
            calls: 0,
            total: 0,
            own: 0,
            first: u64::MAX,
            children: Vec::new(),
            parent: 0,
        };
        Tree { nodes: vec![root] }
    }

    /// Puts a node without calls below `parent`.
    pub(crate) fn add(&mut self, parent: NodeId, name: Arc<str>) -> NodeId {
        let id = self.nodes.len();
        let children = Vec::new();
        self.nodes.push(Node {
            name,
            addr: 0,
            function: None,
            calls: 0,
            total: 0,
            own: 0,
            first: u64::MAX,
            children,
            parent,
        });
        if let Some(parent) = self.nodes.get_mut(parent) {
            parent.children.push(id);
        }
        id
    }

    /// Adds what another node has to node `id`, except for its children.
    pub(crate) fn count(&mut self, id: NodeId, addr: u64, function: Option<FunctionId>, counts: Counts) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        if counts.first < node.first {
            (node.addr, node.function, node.first) = (addr, function, counts.first);
        }
        node.calls += counts.calls;
        node.total = node.total.wrapping_add(counts.total);
        node.own = node.own.wrapping_add(counts.own);
    }

    /// Sorts all children by their first calls.
    pub(crate) fn sort(&mut self) {
        let first: Vec<u64> = self.nodes.iter().map(|n| n.first).collect();
        for node in &mut self.nodes {
            node.children.sort_by_key(|id| first.get(*id).copied());
        }
    }

    /// The tree of everything that is called by functions of that name, and the stacks that lead to them, the one
    /// seen last first. Calls of the function by itself are nodes below, not roots. None when it is never called.
    pub fn of_function(&self, name: &str) -> Option<(Tree, Vec<Backtrace>)> {
        let mut tree = Tree::new(name.into());
        let mut roots: Vec<NodeId> = Vec::new();
        // Where each node of this tree is in the new one; 0 stands for nowhere, which the root never is otherwise.
        let mut places: Vec<Option<NodeId>> = vec![None; self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate().skip(1) {
            let below = places.get(node.parent).copied().flatten();
            let place = match below {
                Some(parent) => tree.child_named(parent, &node.name),
                None if *node.name == *name && node.calls > 0 => {
                    roots.push(id);
                    0
                }
                None => continue,
            };
            tree.count(place, node.addr, node.function, Counts::of(node));
            if let Some(slot) = places.get_mut(id) {
                *slot = Some(place);
            }
        }
        tree.sort();
        roots.sort_by_key(|id| std::cmp::Reverse(self.nodes[*id].first));
        let backtraces = roots.into_iter().map(|id| self.backtrace(id)).collect::<Vec<_>>();
        (!backtraces.is_empty()).then_some((tree, backtraces))
    }

    fn child_named(&mut self, parent: NodeId, name: &Arc<str>) -> NodeId {
        let children = self.nodes.get(parent).map_or(&[][..], |n| &n.children);
        let found = children.iter().copied().find(|id| self.nodes.get(*id).is_some_and(|n| n.name == *name));
        found.unwrap_or_else(|| self.add(parent, name.clone()))
    }

    fn backtrace(&self, id: NodeId) -> Backtrace {
        let mut frames = Vec::new();
        let mut at = id;
        while let Some(node) = self.nodes.get(at)
            && at != 0
        {
            frames.push((node.name.clone(), node.addr));
            at = node.parent;
        }
        frames.reverse();
        let node = &self.nodes[id];
        Backtrace { frames, calls: node.calls, total: node.total }
    }
}

/// The numbers of a node.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) total: u64,
    pub(crate) own: u64,
    pub(crate) first: u64,
}

impl Counts {
    fn of(node: &Node) -> Counts {
        Counts { calls: node.calls, total: node.total, own: node.own, first: node.first }
    }
}
