//! Recording with one program and reading with the other, in both directions.

use super::build::Build;
use super::case::Case;
use super::cell::{Prepared, ask, prepare, record};
use super::text;
use super::{Context, Outcome};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;

/// Records with both, reads each directory with both, and compares all that is comparable.
pub(crate) fn check(context: &Context, case: &Case, build: &Build) -> Result<Outcome> {
    let Some(peer) = context.peer.as_deref() else {
        return Ok(Outcome::Skipped("uftrace is not installed".to_owned()));
    };
    let prepared = prepare(context, case, build, "interop-")?;
    let ours = context.fathom.as_path();

    record(ours, case, build, &prepared, "ours.data", &[]).context("recorded by fathom")?;
    let our_view = View::of(ours, case, &prepared, "ours.data").context("fathom's data read by fathom")?;
    let peer_view = View::of(peer, case, &prepared, "ours.data").context("fathom's data read by uftrace")?;
    if case.peer_reads.is_none() {
        our_view
            .same(&peer_view, true)
            .context("fathom's data, read by fathom (first) and by uftrace (second)")?;
    }

    if case.peer_records.is_some() {
        clean(&prepared.dir);
        return Ok(Outcome::Passed);
    }
    record(peer, case, build, &prepared, "peer.data", &[]).context("recorded by uftrace")?;
    let ours_of_peer =
        View::of(ours, case, &prepared, "peer.data").context("uftrace's data read by fathom")?;
    let peer_of_peer =
        View::of(peer, case, &prepared, "peer.data").context("uftrace's data read by uftrace")?;
    if case.peer_reads.is_none() {
        peer_of_peer
            .same(&ours_of_peer, case.peer_graph.is_none())
            .context("uftrace's data, read by uftrace (first) and fathom (second)")?;
    }
    if !case.unsteady && case.peer_reads.is_none() {
        our_view
            .same_calls(&peer_of_peer, case.peer_graph.is_none())
            .context("recorded and read by fathom (first) and by uftrace (second)")?;
    }
    clean(&prepared.dir);
    Ok(Outcome::Passed)
}

fn clean(dir: &Path) {
    let _ = std::fs::remove_dir_all(dir);
}

/// What a program says about a directory.
struct View {
    report: BTreeMap<String, u64>,
    graph: String,
    places: BTreeMap<(usize, String, u64), u64>,
}

impl View {
    fn of(reader: &Path, case: &Case, prepared: &Prepared, data: &str) -> Result<Self> {
        let report = text::report(&ask(reader, case, &prepared.dir, data, &["report"])?)?;
        let graph = ask(reader, case, &prepared.dir, data, &["graph"])?;
        if !case.deep {
            ask(reader, case, &prepared.dir, data, &["replay"])?;
        }
        ask(reader, case, &prepared.dir, data, &["dump"])?;
        if report.is_empty() {
            bail!("the report is empty");
        }
        Ok(Self { report, graph: text::graph_shape(&graph), places: text::graph(&graph) })
    }

    /// Two readers of one directory: the same counts and the same drawing.
    fn same(&self, other: &Self, graph_too: bool) -> Result<()> {
        same_map(&self.report, &other.report, "report")?;
        if graph_too && self.graph != other.graph {
            let at = self.graph.lines().zip(other.graph.lines()).take_while(|(a, b)| a == b).count();
            let line = |text: &str| text.lines().nth(at).unwrap_or("(end)").to_owned();
            bail!("graph: line {}: '{}' and '{}'", at + 1, line(&self.graph), line(&other.graph));
        }
        Ok(())
    }

    /// Two recordings of one program: the same counts and places; the order of tasks may differ.
    fn same_calls(&self, other: &Self, graph_too: bool) -> Result<()> {
        // What the C library does at the start of a program is recorded by chance: names that begin with two
        // underscores are left out, as they are in the peer's own tests.
        let report = |view: &Self| {
            let mut report = view.report.clone();
            report.retain(|name, _| !name.starts_with("__"));
            report
        };
        let places = |view: &Self| {
            let mut places = view.places.clone();
            places.retain(|(_, name, _), _| !name.starts_with("__"));
            places
        };
        same_map(&report(self), &report(other), "report")?;
        if graph_too {
            same_map(&places(self), &places(other), "graph")?;
        }
        Ok(())
    }
}

fn same_map<K: Ord + std::fmt::Debug>(
    one: &BTreeMap<K, u64>,
    other: &BTreeMap<K, u64>,
    what: &str,
) -> Result<()> {
    let count = |map: &BTreeMap<K, u64>, key| map.get(key).copied().unwrap_or(0);
    let differences: Vec<String> = one
        .keys()
        .chain(other.keys().filter(|key| !one.contains_key(key)))
        .filter(|key| count(one, key) != count(other, key))
        .map(|key| format!("{key:?} {} and {}", count(one, key), count(other, key)))
        .take(6)
        .collect();
    if !differences.is_empty() {
        bail!("{what}: {}", differences.join("; "));
    }
    Ok(())
}
