//! Call graphs: of a whole session, or of what a function calls and from where it is called.

use super::Column;
use super::list::Cursor;
use fathom_analysis::graph::{Backtrace, Graph, Node, NodeId, Tree};
use fathom_store::FunctionId;
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Total,
    Own,
    Addr,
}

/// All columns in their order.
const COLUMNS: [Column<Field>; 3] = [
    Column { name: "total-time", title: "TOTAL TIME", width: 10, kind: Field::Total, shown: true },
    Column { name: "self-time", title: "SELF TIME", width: 10, kind: Field::Own, shown: false },
    Column { name: "addr", title: "ADDRESS", width: 12, kind: Field::Addr, shown: false },
];

/// A tree with what is folded in it.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) tree: Tree,
    /// For each node a number that stays the same when there is more to read: of the names on the way to it.
    keys: Vec<u64>,
    /// Nodes this deep are folded, and all below.
    level: usize,
    /// Nodes that are folded or not, whatever their level is.
    own: FxHashMap<u64, bool>,
}

impl Shape {
    fn new(tree: Tree, level: usize) -> Shape {
        let mut keys = Vec::with_capacity(tree.nodes.len());
        for (id, node) in tree.nodes.iter().enumerate() {
            let mut hasher = FxHasher::default();
            // Parents come before their children.
            if id > 0 {
                keys.get(node.parent).copied().unwrap_or(0_u64).hash(&mut hasher);
            }
            // Of a backtrace, several may go through the same names.
            node.name.hash(&mut hasher);
            if node.parent == 0 && level == BACKTRACE_LEVEL {
                id.hash(&mut hasher);
            }
            keys.push(hasher.finish());
        }
        Shape { tree, keys, level, own: FxHashMap::default() }
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.tree.nodes.get(id)
    }

    fn children(&self, id: NodeId) -> &[NodeId] {
        self.node(id).map_or(&[], |node| &node.children)
    }

    fn key(&self, id: NodeId) -> u64 {
        self.keys.get(id).copied().unwrap_or(0)
    }

    fn depth(&self, id: NodeId) -> usize {
        self.path(id).count() - 1
    }

    /// The node and what it is below, from the inside out.
    pub(crate) fn path(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let parent = |id: &NodeId| self.node(*id).map(|node| node.parent).filter(|_| *id != 0);
        std::iter::successors(Some(id), parent)
    }

    fn is_folded_at(&self, id: NodeId, depth: usize) -> bool {
        let own = self.own.get(&self.key(id)).copied();
        !self.children(id).is_empty() && own.unwrap_or(depth >= self.level)
    }

    /// Whether the node has something below it that is not shown.
    pub(crate) fn is_folded(&self, id: NodeId) -> bool {
        self.is_folded_at(id, self.depth(id))
    }

    fn set(&mut self, id: NodeId, folded: bool) {
        self.own.insert(self.key(id), folded);
    }

    /// Folds or unfolds everything below a node.
    fn set_below(&mut self, id: NodeId, folded: bool) {
        let mut todo = self.children(id).to_vec();
        while let Some(id) = todo.pop() {
            if !self.children(id).is_empty() {
                self.set(id, folded);
                todo.extend_from_slice(self.children(id));
            }
        }
    }
}

/// Of backtraces, the function and its caller are shown.
const BACKTRACE_LEVEL: usize = 2;

/// A line of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A node of the graph.
    Node(NodeId),
    /// The gap before a node of the graph.
    Gap(NodeId),
    /// A node of the backtraces.
    Caller(NodeId),
    /// The gap before one.
    CallerGap(NodeId),
    /// A title.
    Title(Title),
}

/// Titles of a partial graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Title {
    Function,
    Backtrace,
    Blank,
    Graph,
}

/// The graph of a function.
#[derive(Clone, Debug)]
struct Partial {
    name: Arc<str>,
    graph: Shape,
    callers: Shape,
}

/// The view.
#[derive(Clone, Debug)]
pub(crate) struct GraphView {
    /// Those of the sessions that have calls.
    graphs: Vec<(usize, Shape)>,
    /// Whether they are of the whole trace.
    pub(crate) whole: bool,
    /// Which session is shown.
    pub(crate) session: usize,
    partial: Option<Partial>,
    pub(crate) lines: Vec<Line>,
    pub(crate) cursor: Cursor,
    pub(crate) columns: Vec<Column<Field>>,
    level: usize,
}

impl Default for GraphView {
    fn default() -> Self {
        GraphView {
            graphs: Vec::new(),
            whole: false,
            session: 0,
            partial: None,
            lines: Vec::new(),
            cursor: Cursor::default(),
            columns: COLUMNS.to_vec(),
            level: usize::MAX,
        }
    }
}

impl GraphView {
    /// The columns that are shown.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Column<Field>> {
        self.columns.iter().filter(|column| column.shown)
    }

    /// The tree that is shown, of a session or a function.
    pub(crate) fn shape(&self) -> Option<&Shape> {
        match &self.partial {
            Some(partial) => Some(&partial.graph),
            None => self.graphs.iter().find(|(session, _)| *session == self.session).map(|(_, shape)| shape),
        }
    }

    fn shape_mut(&mut self) -> Option<&mut Shape> {
        match &mut self.partial {
            Some(partial) => Some(&mut partial.graph),
            None => {
                let session = self.session;
                self.graphs.iter_mut().find(|(other, _)| *other == session).map(|(_, shape)| shape)
            }
        }
    }

    /// The backtraces, turned round.
    pub(crate) fn callers(&self) -> Option<&Shape> {
        self.partial.as_ref().map(|partial| &partial.callers)
    }

    /// The function whose graph is shown, if it is not that of a session.
    pub(crate) fn function(&self) -> Option<&Arc<str>> {
        self.partial.as_ref().map(|partial| &partial.name)
    }

    /// Replaces the graphs. What was folded stays so, and the cursor where it is.
    pub(crate) fn set(&mut self, graphs: Vec<Graph>, whole: bool, height: usize) {
        let cursor = self.key_at_cursor();
        let mut old: FxHashMap<usize, FxHashMap<u64, bool>> =
            self.graphs.drain(..).map(|(session, shape)| (session, shape.own)).collect();
        for graph in graphs {
            let mut shape = Shape::new(graph.tree, self.level);
            shape.own = old.remove(&graph.session).unwrap_or_default();
            self.graphs.push((graph.session, shape));
        }
        self.whole = whole;
        if self.shape().is_none()
            && let Some((session, _)) = self.graphs.first()
        {
            self.session = *session;
        }
        if let Some(partial) = self.partial.take() {
            let (own, callers) = (partial.graph.own, partial.callers.own);
            self.show_function(&partial.name, height);
            if let Some(partial) = &mut self.partial {
                (partial.graph.own, partial.callers.own) = (own, callers);
            }
        }
        self.flatten();
        self.go_to_key(cursor, height);
    }

    fn key_at_cursor(&self) -> Option<u64> {
        match self.lines.get(self.cursor.at)? {
            Line::Node(id) => Some(self.shape()?.key(*id)),
            Line::Caller(id) => Some(self.callers()?.key(*id)),
            _ => None,
        }
    }

    fn go_to_key(&mut self, key: Option<u64>, height: usize) {
        let same = |line: &Line| match line {
            Line::Node(id) => self.shape().is_some_and(|shape| Some(shape.key(*id)) == key),
            Line::Caller(id) => self.callers().is_some_and(|shape| Some(shape.key(*id)) == key),
            _ => false,
        };
        let at = self.lines.iter().position(same).unwrap_or(self.cursor.at);
        self.go(at, true, height);
    }

    /// Shows the graph of a session.
    pub(crate) fn show_session(&mut self, session: usize, height: usize) {
        if self.session != session || self.partial.is_some() {
            self.session = session;
            self.partial = None;
            self.flatten();
            self.cursor = Cursor::default();
            self.go(0, true, height);
        }
    }

    /// Shows the graph of a function, in the session shown or else the first that has it. Whether it was found.
    pub(crate) fn show_function(&mut self, name: &str, height: usize) -> bool {
        let own = self.graphs.iter().filter(|(session, _)| *session == self.session);
        let others = self.graphs.iter().filter(|(session, _)| *session != self.session);
        let found =
            own.chain(others).find_map(|(session, shape)| Some((*session, shape.tree.of_function(name)?)));
        let Some((session, (tree, backtraces))) = found else { return false };
        self.session = session;
        let graph = Shape::new(tree, self.level);
        let callers = Shape::new(callers(name, backtraces), BACKTRACE_LEVEL);
        self.partial = Some(Partial { name: name.into(), graph, callers });
        self.flatten();
        let at = self.lines.iter().position(|line| *line == Line::Node(0));
        self.cursor = Cursor::default();
        self.go(at.unwrap_or(0), true, height);
        true
    }

    /// Finds out which lines are shown.
    fn flatten(&mut self) {
        let mut lines = Vec::new();
        if let Some(partial) = &self.partial {
            lines.extend([Title::Function, Title::Backtrace].map(Line::Title));
            let mut callers = Vec::new();
            flatten(&partial.callers, &mut callers, Line::Caller, Line::CallerGap);
            // The root is no call: its children are.
            lines.extend(callers.into_iter().skip(1));
            lines.extend([Title::Blank, Title::Graph].map(Line::Title));
        }
        if let Some(shape) = self.shape() {
            flatten(shape, &mut lines, Line::Node, Line::Gap);
        }
        self.lines = lines;
    }

    /// Goes to a line, or the next one in the direction that is neither gap nor title.
    pub(crate) fn go(&mut self, at: usize, down: bool, height: usize) {
        let at = at.min(self.lines.len().saturating_sub(1));
        let stops = |at: &usize| self.lines.get(*at).is_some_and(is_stop);
        let below = (at..self.lines.len()).find(stops);
        let above = (0..=at).rev().find(stops);
        let found = if down { below.or(above) } else { above.or(below) };
        self.cursor.go(found.unwrap_or(0), self.lines.len(), height);
        if found.is_some() && (0..self.cursor.at).all(|at| !stops(&at)) {
            // What is above the first stop cannot be gone to.
            self.cursor.top = 0;
            self.cursor.fit(self.lines.len(), height);
        }
    }

    /// Moves by so many lines that can be stopped at.
    pub(crate) fn step(&mut self, down: bool, height: usize) {
        let next = if down { self.cursor.at.saturating_add(1) } else { self.cursor.at.saturating_sub(1) };
        let there = if down { next..self.lines.len() } else { 0..self.cursor.at };
        if self.lines.get(there).is_some_and(|lines| lines.iter().any(is_stop)) {
            self.go(next, down, height);
        } else if !down {
            self.cursor.top = 0;
            self.cursor.fit(self.lines.len(), height);
        }
    }

    /// The node that the cursor is at, of whichever tree.
    pub(crate) fn node(&self) -> Option<&Node> {
        match self.lines.get(self.cursor.at)? {
            Line::Node(id) => self.shape()?.node(*id),
            Line::Caller(id) => self.callers()?.node(*id),
            _ => None,
        }
    }

    /// The function that the cursor is at; the root of a session's graph is none.
    pub(crate) fn selected(&self) -> Option<(Arc<str>, Option<FunctionId>)> {
        if self.partial.is_none() && self.lines.get(self.cursor.at) == Some(&Line::Node(0)) {
            return None;
        }
        self.node().map(|node| (node.name.clone(), node.function))
    }

    /// Whether the cursor is in the backtraces.
    pub(crate) fn is_caller(&self) -> bool {
        matches!(self.lines.get(self.cursor.at), Some(Line::Caller(_)))
    }

    fn node_id(&self) -> Option<NodeId> {
        match self.lines.get(self.cursor.at)? {
            Line::Node(id) => Some(*id),
            _ => None,
        }
    }

    /// Folds or unfolds what the cursor is at.
    pub(crate) fn toggle(&mut self, height: usize) {
        match self.lines.get(self.cursor.at).copied() {
            Some(Line::Node(id)) => {
                if let Some(shape) = self.shape_mut() {
                    let folded = shape.is_folded(id);
                    shape.set(id, !folded);
                }
            }
            Some(Line::Caller(id)) => {
                if let Some(partial) = &mut self.partial {
                    let folded = partial.callers.is_folded(id);
                    partial.callers.set(id, !folded);
                }
            }
            _ => return,
        }
        self.refold(height);
    }

    fn refold(&mut self, height: usize) {
        let key = self.key_at_cursor();
        self.flatten();
        self.go_to_key(key, height);
    }

    /// Folds or unfolds the nodes below the one that the cursor is at: its children, or all.
    pub(crate) fn fold_below(&mut self, folded: bool, all: bool, height: usize) {
        let Some(id) = self.node_id() else { return };
        let Some(shape) = self.shape_mut() else { return };
        shape.set(id, false);
        if all {
            shape.set_below(id, folded);
        } else {
            for child in shape.children(id).to_vec() {
                shape.set(child, folded);
            }
        }
        self.refold(height);
    }

    /// Shows that many levels of everything; all without a number.
    pub(crate) fn fold_levels(&mut self, levels: Option<usize>, height: usize) {
        self.level = levels.unwrap_or(usize::MAX);
        let level = self.level;
        let path: Vec<NodeId> = match (self.node_id(), self.shape()) {
            (Some(id), Some(shape)) => shape.path(id).collect(),
            _ => Vec::new(),
        };
        for (_, shape) in &mut self.graphs {
            shape.own.clear();
            shape.level = level;
        }
        if let Some(partial) = &mut self.partial {
            partial.graph.own.clear();
            partial.graph.level = level;
        }
        self.flatten();
        // The cursor stays, or goes to what its node is in.
        let at = path.iter().find_map(|id| self.lines.iter().position(|line| *line == Line::Node(*id)));
        self.go(at.unwrap_or(0), true, height);
    }

    /// Goes to a node of the graph and unfolds what it is in.
    pub(crate) fn go_to_node(&mut self, id: NodeId, height: usize) {
        let Some(shape) = self.shape_mut() else { return };
        let hidden: Vec<NodeId> = shape.path(id).skip(1).filter(|id| shape.is_folded(*id)).collect();
        if !hidden.is_empty() {
            hidden.iter().for_each(|id| shape.set(*id, false));
            self.flatten();
        }
        if let Some(at) = self.lines.iter().position(|line| *line == Line::Node(id)) {
            self.go(at, true, height);
        }
    }

    /// Goes to the caller.
    pub(crate) fn parent(&mut self, height: usize) {
        if let (Some(id), Some(shape)) = (self.node_id(), self.shape()) {
            let parent = shape.node(id).map_or(0, |node| node.parent);
            self.go_to_node(parent, height);
        }
    }

    /// Goes to the next node with the same caller, or the one before.
    pub(crate) fn sibling(&mut self, next: bool, height: usize) {
        let (Some(id), Some(shape)) = (self.node_id(), self.shape()) else { return };
        let siblings = shape.children(shape.node(id).map_or(0, |node| node.parent));
        let Some(at) = siblings.iter().position(|other| *other == id) else { return };
        let other = if next { Some(at + 1) } else { at.checked_sub(1) };
        if let Some(other) = other.and_then(|at| siblings.get(at).copied()) {
            self.go_to_node(other, height);
        }
    }

    /// Goes to what took the longest of all that is called from here.
    pub(crate) fn longest(&mut self, height: usize) {
        let (Some(id), Some(shape)) = (self.node_id(), self.shape()) else { return };
        let total = |id: &&NodeId| shape.node(**id).map_or(0, |node| node.total);
        // Of equals the first.
        if let Some(child) = shape.children(id).iter().rev().max_by_key(total).copied() {
            self.go_to_node(child, height);
        }
    }

    /// How many nodes of the graph fit.
    pub(crate) fn count(&self, fits: impl Fn(&str) -> bool) -> usize {
        self.shape().map_or(0, |shape| shape.tree.nodes.iter().filter(|node| fits(&node.name)).count())
    }

    /// Goes to the nearest node that fits below the cursor, or above it, also to one that is folded away. Whether there is
    /// one.
    pub(crate) fn find(&mut self, fits: impl Fn(&str) -> bool, down: bool, height: usize) -> bool {
        let Some(shape) = self.shape() else { return false };
        let mut order = Vec::with_capacity(shape.tree.nodes.len());
        let mut todo = vec![0];
        while let Some(id) = todo.pop() {
            order.push(id);
            todo.extend(shape.children(id).iter().rev());
        }
        let at = self.node_id().and_then(|id| order.iter().position(|other| *other == id));
        let fits = |id: &&NodeId| shape.node(**id).is_some_and(|node| fits(&node.name));
        let found = match (down, at) {
            (true, at) => order.get(at.map_or(0, |at| at + 1)..).and_then(|rest| rest.iter().find(fits)),
            (false, at) => order.get(..at.unwrap_or(0)).and_then(|rest| rest.iter().rev().find(fits)),
        };
        let found = found.copied();
        found.inspect(|id| self.go_to_node(*id, height)).is_some()
    }
}

fn is_stop(line: &Line) -> bool {
    matches!(line, Line::Node(_) | Line::Caller(_))
}

fn flatten(shape: &Shape, lines: &mut Vec<Line>, node: fn(NodeId) -> Line, gap: fn(NodeId) -> Line) {
    let mut todo = vec![(0, 0, false)];
    while let Some((id, depth, has_gap)) = todo.pop() {
        if has_gap {
            lines.push(gap(id));
        }
        lines.push(node(id));
        if !shape.is_folded_at(id, depth) {
            let children = shape.children(id).iter().enumerate().rev();
            todo.extend(children.map(|(at, child)| (*child, depth + 1, at > 0)));
        }
    }
}

/// A tree of backtraces: below the root a node for each, with the function, below which its callers are.
fn callers(name: &str, backtraces: Vec<Backtrace>) -> Tree {
    let mut tree = Tree::new(name.into());
    for backtrace in backtraces {
        let mut parent = 0;
        for (name, addr) in backtrace.frames.into_iter().rev() {
            let node = Node {
                name,
                addr,
                function: None,
                calls: backtrace.calls,
                total: backtrace.total,
                own: 0,
                first: 0,
                children: Vec::new(),
                parent,
            };
            let id = tree.nodes.len();
            tree.nodes.push(node);
            if let Some(parent) = tree.nodes.get_mut(parent) {
                parent.children.push(id);
            }
            parent = id;
        }
    }
    tree
}

/// The lines of the tree before a node's text, or those of the gap before it. `top` is the node that has none.
///
/// Each node with several children takes three columns; a node that is the only child stands below its caller.
pub(crate) fn indent(shape: &Shape, id: NodeId, is_gap: bool, top: NodeId) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut at = id;
    while let Some(node) = shape.node(at).filter(|_| at != top) {
        let siblings = shape.children(node.parent);
        if siblings.len() > 1 {
            let last = siblings.last() == Some(&at);
            parts.push(match (at == id, last) {
                (true, _) if is_gap => " │ ",
                (true, false) => " ├─",
                (true, true) => " └─",
                (false, false) => " │ ",
                (false, true) => "   ",
            });
        }
        at = node.parent;
    }
    parts.push(" ");
    parts.reverse();
    let mut text = parts.concat();
    if !is_gap && shape.is_folded(id) {
        text.pop();
        text.push('▶');
    }
    text
}
