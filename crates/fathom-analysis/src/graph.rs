//! Call graphs: for each session a tree of calls, merged by name below the same caller; and the tree of tasks.

mod build;
mod tasks;
mod tree;

pub use build::{Graph, graphs, graphs_if};
pub use tasks::{TaskNode, task_graph};
pub use tree::{Backtrace, Node, NodeId, Tree};
