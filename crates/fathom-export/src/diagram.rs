//! Call graphs for programs that draw: graphviz and mermaid.

use crate::buffer::Buffer;
use crate::tree::{Tree, TreeOptions, tree, walk};
use crate::{Error, Summary, escape};
use fathom_store::{EventOptions, Trace};
use std::io::Write;

/// How to write it.
#[derive(Clone, Debug)]
pub struct DiagramOptions {
    /// Which events besides calls are wanted; schedule events become nodes.
    pub events: EventOptions,
    /// False leaves out calls of library functions.
    pub libcalls: bool,
    /// Version line of the program, e.g. `fathom v0.1.0 ( x86_64 )`.
    pub version: String,
}

fn build(trace: &dyn Trace, options: &DiagramOptions) -> Result<Tree, Error> {
    tree(trace, TreeOptions { events: options.events, libcalls: options.libcalls, sample: 1 })
}

/// Writes a directed graph in the DOT language: an edge for each place in the call tree, with its calls.
///
/// # Errors
///
/// When a task's events can't be read or `out` can't be written.
pub fn graphviz<W: Write>(
    trace: &dyn Trace,
    options: &DiagramOptions,
    out: &mut W,
) -> Result<Summary, Error> {
    let tree = build(trace, options)?;
    let names: Vec<String> = tree.nodes.iter().map(|node| escape::dot(&node.name)).collect();
    let name = |node: usize| names.get(node).map(String::as_str).unwrap_or_default();
    let mut out = Buffer::new(out);
    let line = |text: &str| text.replace(char::is_control, " ");
    // The odd quotes and the blank behind the brace are part of the format that others already read.
    writeln!(out, "# version\":\"{}\"", line(&options.version));
    if let Some(cmdline) = &trace.info().cmdline {
        writeln!(out, "# command_line \"{}\"", line(cmdline));
    }
    writeln!(out, "\ndigraph \"{}\" {{ ", name(0));
    walk(&tree, |step| {
        let parent = step.path.iter().rev().nth(1).copied().unwrap_or(0);
        let calls = tree.nodes.get(step.node).map_or(0, |node| node.calls);
        writeln!(out, "    \"{}\" -> \"{}\" [xlabel = \"{calls}\"]", name(parent), name(step.node));
        Ok(out.spill()?)
    })?;
    out.text("}\n");
    out.flush()?;
    Ok(Summary { lost: tree.lost })
}

/// The page up to the name of the program, up to the options of the depth selector, up to the diagram, and
/// after it. The diagram is drawn by the mermaid library, which the page loads from the network; without it
/// the text of the diagram is shown.
const PAGE: &str = include_str!("mermaid.html");

/// Writes an HTML page with a flow chart of the call tree. Nodes are numbered in the order of first calls.
///
/// # Errors
///
/// When a task's events can't be read or `out` can't be written.
pub fn mermaid<W: Write>(trace: &dyn Trace, options: &DiagramOptions, out: &mut W) -> Result<Summary, Error> {
    let tree = build(trace, options)?;
    let labels: Vec<String> = tree.nodes.iter().map(|node| escape::mermaid(&node.name)).collect();
    let label = |node: usize| labels.get(node).map(String::as_str).unwrap_or_default();
    let (before, after) = PAGE.split_once("@DIAGRAM@").unwrap_or((PAGE, ""));
    let program = tree.nodes.first().map(|node| escape::html(&node.name)).unwrap_or_default();
    let mut out = Buffer::new(out);
    out.text(&before.replace("@PROGRAM@", &program));
    out.text("flowchart TB\n");
    walk(&tree, |step| {
        let depth = step.path.len() - 1;
        let parent = step.path.iter().rev().nth(1).copied().unwrap_or(0);
        let calls = tree.nodes.get(step.node).map_or(0, |node| node.calls);
        writeln!(
            out,
            "  {}_{parent}[\"{}\"] -->|{calls}| {depth}_{}[\"{}\"];",
            depth - 1,
            label(parent),
            step.node,
            label(step.node)
        );
        Ok(out.spill()?)
    })?;
    out.text(after);
    out.flush()?;
    Ok(Summary { lost: tree.lost })
}
