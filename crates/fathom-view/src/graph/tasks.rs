//! Tasks and who made them.

use super::put_indent;
use crate::color::{Color, Paint};
use crate::error::Error;
use crate::fields::{Field, header, select};
use crate::layout::LAYOUT;
use crate::options::GraphOptions;
use crate::units::{blanks, right, time};
use fathom_analysis::graph::{TaskNode, task_graph};
use fathom_store::Trace;

/// Columns before the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Total,
    Own,
    Tid,
}

const fn field(name: &'static str, alias: &'static str, header: &'static str, kind: Column) -> Field<Column> {
    Field { name, alias, header, newer: false, kind }
}

static FIELDS: [Field<Column>; 3] = [
    field("total-time", "total", "TOTAL TIME", Column::Total),
    field("self-time", "self", " SELF TIME", Column::Own),
    field("tid", "", if LAYOUT.tid_width == 6 { "   TID  " } else { "    TID  " }, Column::Tid),
];

/// A task to print, below others.
struct Item {
    index: usize,
    indent: Vec<bool>,
    branched: bool,
    last: bool,
    /// Whether the one before it below the same parent is a process.
    after_process: bool,
}

/// The whole text.
pub(super) fn task_graph_text(
    trace: &dyn Trace,
    options: &GraphOptions,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let fields = select(&FIELDS, options.fields.as_deref(), |_| true)?;
    let (nodes, roots) = task_graph(trace, options.events, options.threads)?;
    let paint = Paint::of(options.output);
    out.extend_from_slice(b"========== TASK GRAPH ==========\n");
    header(out, &fields, 2, "TASK NAME");
    let mut todo: Vec<Item> = roots
        .iter()
        .rev()
        .map(|index| Item {
            index: *index,
            indent: Vec::new(),
            branched: false,
            last: true,
            after_process: false,
        })
        .collect();
    while let Some(item) = todo.pop() {
        let Some(node) = nodes.get(item.index) else { continue };
        if item.branched && (node.forked || item.after_process) {
            // A process is set apart from what is above and below it, and one level further in.
            empty(out, &fields);
            put_indent(out, &item.indent, false);
            blanks(out, if node.forked { 3 } else { 0 });
            out.push(b'\n');
        }
        line(out, &fields, node, paint);
        put_indent(out, &item.indent, item.branched);
        if node.forked && item.branched {
            out.extend_from_slice(b"---");
        }
        match node.is_thread {
            // The colour ends on the next line, as in the layout that is followed.
            true => paint.put(out, Color::Green, &format!("{}\n", node.comm)),
            false => out.extend_from_slice(format!("{}\n", node.comm).as_bytes()),
        }
        let mut indent = item.indent;
        if item.branched
            && item.last
            && let Some(level) = indent.last_mut()
        {
            *level = false;
        }
        if node.forked && item.branched {
            indent.push(false);
        }
        if !node.children.is_empty() {
            indent.push(true);
        }
        for (place, child) in node.children.iter().enumerate().rev() {
            let last = place + 1 == node.children.len();
            let before = place.checked_sub(1).and_then(|before| node.children.get(before));
            let after_process = before.and_then(|i| nodes.get(*i)).is_some_and(|n| n.forked);
            todo.push(Item { index: *child, indent: indent.clone(), branched: true, last, after_process });
        }
    }
    out.push(b'\n');
    Ok(())
}

fn line(out: &mut Vec<u8>, fields: &[&Field<Column>], node: &TaskNode, paint: Paint) {
    for field in fields {
        blanks(out, 2);
        match field.kind {
            Column::Total => time(out, node.total, paint),
            Column::Own => time(out, node.own, paint),
            Column::Tid => {
                out.push(b'[');
                right(out, LAYOUT.tid_width, &node.tid.to_string());
                out.push(b']');
            }
        }
    }
    if !fields.is_empty() {
        out.extend_from_slice(b" : ");
    }
}

fn empty(out: &mut Vec<u8>, fields: &[&Field<Column>]) {
    let width: usize = fields.iter().map(|f| f.header.len() + 2).sum();
    blanks(out, width);
    if !fields.is_empty() {
        out.extend_from_slice(b" : ");
    }
}
