//! Call graphs of a program or of one function, and the graph of tasks.

mod tasks;

use crate::color::{HTML_HEAD, HTML_TAIL, Paint};
use crate::error::Error;
use crate::fields::{Field, header, select};
use crate::options::{Format, GraphOptions};
use crate::source;
use crate::units::{blanks, hex_in, number, time};
use fathom_analysis::graph::{Backtrace, Graph, Node, NodeId, Tree, graphs_if};
use fathom_store::{Function, FunctionKind, Session, Trace, record};
use std::io::Write;

/// Bytes that are collected before they are written.
const CHUNK: usize = 1 << 16;

/// Columns before the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Total,
    Own,
    Addr,
}

const fn field(name: &'static str, alias: &'static str, header: &'static str, kind: Column) -> Field<Column> {
    Field { name, alias, header, newer: false, kind }
}

static FIELDS: [Field<Column>; 3] = [
    field("total-time", "total", "TOTAL TIME", Column::Total),
    field("self-time", "self", " SELF TIME", Column::Own),
    field("address", "addr", "   ADDRESS  ", Column::Addr),
];

/// Prints a call graph for each session, or the graph of tasks. Returns whether the function that was asked for was
/// found; true without one.
///
/// # Errors
///
/// An unknown field, a trace that can't be read, an output that can't be written.
pub fn graph(trace: &dyn Trace, options: &GraphOptions, out: &mut dyn Write) -> Result<bool, Error> {
    let mut text = Vec::new();
    let html = options.output.format == Format::Html;
    if options.task {
        let mut table = Vec::new();
        tasks::task_graph_text(trace, options, &mut table)?;
        text.extend_from_slice(if html { HTML_HEAD.as_bytes() } else { b"" });
        text.extend_from_slice(&table);
        text.extend_from_slice(if html { HTML_TAIL.as_bytes() } else { b"" });
        out.write_all(&text)?;
        out.flush()?;
        return Ok(true);
    }
    let fields = select(&FIELDS, options.fields.as_deref(), |c| c == Column::Total)?;
    let keep = |function: &Function| !(options.no_libcall && function.kind == FunctionKind::Plt);
    let mut found = graphs_if(trace, options.events, options.threads, keep)?;
    // The latest first, but processes in the order of their ids the other way round: that of the peer.
    let key = |graph: &Graph| trace.sessions().get(graph.session).map(|s| (s.pid, s.start));
    found.sort_by_key(|graph| std::cmp::Reverse(key(graph)));
    if html {
        text.extend_from_slice(HTML_HEAD.as_bytes());
    }
    let paint = Paint::of(options.output);
    let mut printer = Printer { trace, out: text, to: out, fields, paint, srcline: options.srcline };
    let mut any = options.function.is_none();
    for graph in &found {
        let Some(session) = trace.sessions().get(graph.session) else { continue };
        match &options.function {
            None => printer.block(&graph.tree, None, session)?,
            Some(name) => {
                let Some((tree, backtraces)) = graph.tree.of_function(name) else { continue };
                any = true;
                printer.block(&tree, Some(&backtraces), session)?;
            }
        }
    }
    if html {
        printer.out.extend_from_slice(HTML_TAIL.as_bytes());
    }
    printer.flush()?;
    Ok(any)
}

struct Printer<'a> {
    trace: &'a dyn Trace,
    out: Vec<u8>,
    to: &'a mut dyn Write,
    fields: Vec<&'static Field<Column>>,
    paint: Paint,
    srcline: bool,
}

impl Printer<'_> {
    fn flush(&mut self) -> Result<(), Error> {
        self.to.write_all(&self.out)?;
        self.out.clear();
        self.to.flush()?;
        Ok(())
    }

    /// The graph of one session.
    fn block(
        &mut self,
        tree: &Tree,
        backtraces: Option<&[Backtrace]>,
        session: &Session,
    ) -> Result<(), Error> {
        let name = tree.nodes.first().map_or("", |root| &root.name);
        let title = format!("# Function Call Graph for '{name}' (session: {})\n", session.sid);
        self.out.extend_from_slice(title.as_bytes());
        if let Some(backtraces) = backtraces {
            self.backtraces(backtraces);
        }
        self.out.extend_from_slice(b"========== FUNCTION CALL GRAPH ==========\n");
        let title = source::title("FUNCTION", "SOURCE", self.srcline, self.paint);
        header(&mut self.out, &self.fields, 2, &title);
        self.tree(tree, backtraces.is_none())?;
        self.out.push(b'\n');
        Ok(())
    }

    fn backtraces(&mut self, backtraces: &[Backtrace]) {
        self.out.extend_from_slice(b"=============== BACKTRACE ===============\n");
        for (index, backtrace) in backtraces.iter().enumerate() {
            let title = format!(" backtrace #{index}: hit {}, time ", backtrace.calls);
            self.out.extend_from_slice(title.as_bytes());
            time(&mut self.out, backtrace.total, self.paint);
            self.out.push(b'\n');
            for (depth, (name, addr)) in backtrace.frames.iter().enumerate() {
                self.out.extend_from_slice(format!("   [{depth}] {name} (0x{addr:x})\n").as_bytes());
            }
            self.out.push(b'\n');
        }
    }

    /// All nodes, depth first. `full` is the graph of a whole program, whose root is not a call.
    fn tree(&mut self, tree: &Tree, full: bool) -> Result<(), Error> {
        // For each node on the way to the present one that has several children: whether its line goes on. An item
        // needs only to know how many there are, as those above it don't change before it is printed.
        let mut indent: Vec<bool> = Vec::new();
        let mut todo = vec![Item { id: 0, indent: 0, branched: false, last: true }];
        while let Some(item) = todo.pop() {
            indent.truncate(item.indent);
            let Some(node) = tree.nodes.get(item.id) else {
                self.empty_fields();
                put_indent(&mut self.out, &indent, false);
                self.out.push(b'\n');
                continue;
            };
            self.fields_of(node, full && item.id == 0);
            put_indent(&mut self.out, &indent, item.branched);
            self.out.push(b'(');
            number(&mut self.out, node.calls);
            self.out.extend_from_slice(b") ");
            self.out.extend_from_slice(node.name.as_bytes());
            // The peer shows none for the root, whether it is a function or the program.
            let wanted = self.srcline && item.id != 0;
            source::behind_name(self.trace, node.function, wanted, self.paint, &mut self.out);
            self.out.push(b'\n');
            if !item.last {
                // The line between this node's subtree and its next sibling comes after all below it.
                todo.push(Item { id: NodeId::MAX, indent: indent.len(), branched: false, last: true });
            } else if item.branched
                && let Some(level) = indent.last_mut()
            {
                // Below the last child of a node its line ends.
                *level = false;
            }
            let many = node.children.len() > 1;
            if many {
                indent.push(true);
            }
            for (index, child) in node.children.iter().enumerate().rev() {
                let last = index + 1 == node.children.len();
                todo.push(Item { id: *child, indent: indent.len(), branched: many, last });
            }
            if self.out.len() >= CHUNK {
                self.to.write_all(&self.out)?;
                self.out.clear();
            }
        }
        Ok(())
    }

    fn fields_of(&mut self, node: &Node, root: bool) {
        let out = &mut self.out;
        for field in &self.fields {
            blanks(out, 2);
            match field.kind {
                Column::Total => time(out, node.total, self.paint),
                Column::Own => time(out, if root { 0 } else { node.own }, self.paint),
                Column::Addr if node.addr == 0 => blanks(out, 12),
                Column::Addr => hex_in(out, 12, node.addr & record::ADDR),
            }
        }
        if !self.fields.is_empty() {
            out.extend_from_slice(b" : ");
        }
    }

    fn empty_fields(&mut self) {
        let width: usize = self.fields.iter().map(|f| f.header.len() + 2).sum();
        blanks(&mut self.out, width);
        if !self.fields.is_empty() {
            self.out.extend_from_slice(b" : ");
        }
    }
}

/// A node to print, or the gap before one.
struct Item {
    id: NodeId,
    /// How many nodes on the way here have several children.
    indent: usize,
    /// Whether its parent has several children.
    branched: bool,
    /// Whether it is the last of them.
    last: bool,
}

/// The lines of the tree before a node; `branched` when the node hangs on the last one.
fn put_indent(out: &mut Vec<u8>, indent: &[bool], branched: bool) {
    let hook = if branched { indent.iter().rposition(|line| *line) } else { None };
    for (level, line) in indent.iter().enumerate() {
        let text: &[u8] = match hook {
            Some(hook) if level == hook => b" +-",
            Some(hook) if level > hook => b"---",
            _ if *line => b" | ",
            _ => b"   ",
        };
        out.extend_from_slice(text);
    }
}
