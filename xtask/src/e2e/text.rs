//! Reading what the commands print: raw dumps, replays, reports and graphs, without times, ids and addresses.

use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::BufRead;

/// What a raw dump says, checked for consistency while it was read.
#[derive(Debug, Default)]
pub(crate) struct Dump {
    /// Entries of each function over all tasks.
    pub(crate) entries: BTreeMap<String, u64>,
    /// Exits of each function over all tasks.
    pub(crate) exits: BTreeMap<String, u64>,
    /// The different stacks that were left open by a task's end or an exec, outermost function first.
    pub(crate) open: BTreeSet<String>,
    /// The number of task files.
    pub(crate) tasks: u64,
    /// Records that were lost, by their own account.
    pub(crate) lost: u64,
}

/// How strictly a dump is read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    /// Exits may belong to any open frame, not only to the innermost.
    pub(crate) coroutines: bool,
}

/// A record has ten bits for the depth.
const DEPTHS: usize = 1024;

/// Reads a raw dump and checks that times do not go back, that every exit belongs to the open call of its depth,
/// and that every entry lies directly below the calls that are open.
///
/// A forked child begins with the frames its parent had open: they show up as a first record whose depth is not
/// zero, and their exits are accepted. An entry of depth zero over open frames is the start of a new session (exec).
pub(crate) fn dump(mut text: impl BufRead, rules: Rules) -> Result<Dump> {
    let mut seen = Dump::default();
    let mut task = Task::default();
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        if text.read_until(b'\n', &mut buffer)? == 0 {
            break;
        }
        let line = String::from_utf8_lossy(&buffer);
        let line = line.trim_end();
        if line.starts_with("reading ") {
            if line.contains("perf-") || line.contains("kernel-") {
                continue;
            }
            task.close(&mut seen);
            task = Task::default();
            seen.tasks += 1;
            continue;
        }
        let Some(record) = record(line) else { continue };
        let record = record.with_context(|| format!("dump line '{line}'"))?;
        task.step(&record, rules, &mut seen).with_context(|| format!("dump line '{line}'"))?;
    }
    task.close(&mut seen);
    Ok(seen)
}

struct Record<'a> {
    time: u64,
    kind: Kind,
    name: &'a str,
    address: &'a str,
    depth: usize,
}

#[derive(PartialEq)]
enum Kind {
    Entry,
    Exit,
    Lost,
}

/// `1099.626046389     4234: [entry] main(55dcd812e333) depth: 0`; none for other lines.
fn record(line: &str) -> Option<Result<Record<'_>>> {
    let (head, rest) = line.split_once(": [")?;
    let time = head.split_whitespace().next()?;
    let (seconds, nanos) = time.split_once('.')?;
    let time = seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos.parse().ok()?)?;
    let (kind, rest) = rest.split_once("] ")?;
    let kind = match kind.trim() {
        "entry" => Kind::Entry,
        "exit" => Kind::Exit,
        "lost" => Kind::Lost,
        _ => return None,
    };
    if kind == Kind::Lost {
        return Some(Ok(Record { time, kind, name: "", address: "", depth: 0 }));
    }
    let parsed = || {
        let (call, depth) = rest.rsplit_once(" depth: ").context("no depth")?;
        let (name, address) = call.rsplit_once('(').context("no address")?;
        Ok(Record { time, kind, name, address: address.trim_end_matches(')'), depth: depth.trim().parse()? })
    };
    Some(parsed())
}

#[derive(Default)]
struct Task {
    begun: bool,
    last: u64,
    /// Frames inherited from a parent have no name.
    stack: Vec<Option<(String, String)>>,
}

impl Task {
    fn step(&mut self, record: &Record<'_>, rules: Rules, seen: &mut Dump) -> Result<()> {
        if record.kind == Kind::Lost {
            // a loss may have no time
            seen.lost += 1;
            return Ok(());
        }
        if record.time < self.last {
            bail!("the time goes back by {} ns", self.last - record.time);
        }
        self.last = record.time;
        if !self.begun {
            self.begun = true;
            let inherited = record.depth + usize::from(record.kind == Kind::Exit);
            self.stack = vec![None; inherited];
        }
        match record.kind {
            Kind::Lost => {}
            Kind::Entry => self.entry(record, rules, seen)?,
            Kind::Exit => self.exit(record, rules, seen)?,
        }
        Ok(())
    }

    fn entry(&mut self, record: &Record<'_>, rules: Rules, seen: &mut Dump) -> Result<()> {
        if record.depth == 0 && !self.stack.len().is_multiple_of(DEPTHS) && !rules.coroutines {
            self.close(seen);
            self.stack.clear();
        }
        if record.depth % DEPTHS != self.stack.len() % DEPTHS && !rules.coroutines {
            bail!("entry of depth {} below {} open calls: {}", record.depth, self.stack.len(), self.names());
        }
        *seen.entries.entry(record.name.to_owned()).or_default() += 1;
        self.stack.push(Some((record.name.to_owned(), record.address.to_owned())));
        Ok(())
    }

    fn exit(&mut self, record: &Record<'_>, rules: Rules, seen: &mut Dump) -> Result<()> {
        *seen.exits.entry(record.name.to_owned()).or_default() += 1;
        if rules.coroutines {
            let own = |frame: &Option<(String, String)>| {
                frame.as_ref().is_none_or(|(name, address)| name == record.name && address == record.address)
            };
            let at = self.stack.iter().rposition(own).context("an exit of a function that is not open")?;
            self.stack.remove(at);
            return Ok(());
        }
        if (record.depth + 1) % DEPTHS != self.stack.len() % DEPTHS {
            bail!("exit of depth {} with {} open calls: {}", record.depth, self.stack.len(), self.names());
        }
        match self.stack.pop().flatten() {
            Some((name, address)) if name != record.name || address != record.address => {
                bail!("exit of {}({}) while {name}({address}) is innermost", record.name, record.address)
            }
            _ => Ok(()),
        }
    }

    fn close(&self, seen: &mut Dump) {
        let names = self.names();
        if self.begun && !names.is_empty() {
            seen.open.insert(names);
        }
    }

    /// The open functions, inherited ones left out.
    fn names(&self) -> String {
        let names: Vec<&str> = self.stack.iter().flatten().map(|(name, _)| name.as_str()).collect();
        names.join(" ")
    }
}

/// The function lines of a replay, a block for each task, the first task's block first, equal blocks of other tasks
/// counted and in the order of their text: neither ids nor the interleaving of tasks matter.
pub(crate) fn replay(text: &str, from_main: bool) -> String {
    let mut tasks: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut started = !from_main;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            if tasks.is_empty() {
                continue;
            }
            break;
        }
        let Some((head, call)) = line.split_once('|') else { continue };
        let Some(tid) = head.split_once('[').and_then(|(_, rest)| rest.split_once(']')) else { continue };
        started |= call.starts_with(" main()");
        if !started {
            continue;
        }
        let call = call.strip_prefix(' ').unwrap_or(call).trim_end();
        match tasks.iter_mut().find(|(other, _)| *other == tid.0) {
            Some((_, lines)) => lines.push(call),
            None => tasks.push((tid.0, vec![call])),
        }
    }
    let several = tasks.len() > 1;
    let mut blocks = tasks.into_iter().map(|(_, lines)| join(&lines, several));
    let mut out = blocks.next().unwrap_or_default();
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    for block in blocks {
        *others.entry(block).or_default() += 1;
    }
    for (block, count) in others {
        let tasks = if count == 1 { "task" } else { "tasks" };
        out.push_str(&format!("--- {count} {tasks}:\n{block}"));
    }
    out
}

/// A replay in which calls with nothing between entry and exit are leaves.
pub(crate) fn leaves_closed(text: &str) -> String {
    join(&text.lines().collect::<Vec<_>>(), true)
}

/// Joins lines; `merge` makes one line of a leaf whose two lines another task's line may have kept apart.
fn join(lines: &[&str], merge: bool) -> String {
    let mut out = String::new();
    let mut i = 0;
    while i < lines.len() {
        let line = lines[i];
        let leaf = line.strip_suffix(" {").filter(|_| merge);
        let closed = leaf.zip(lines.get(i + 1)).is_some_and(|(open, next)| {
            let open = open.strip_suffix("()").or_else(|| open.split('(').next()).unwrap_or(open);
            let name = open.trim_start();
            next.strip_prefix(&open[..open.len() - name.len()])
                .is_some_and(|next| next == format!("}} /* {name} */"))
        });
        match leaf.filter(|_| closed) {
            Some(open) => {
                out.push_str(open);
                out.push_str(";\n");
                i += 2;
            }
            None => {
                out.push_str(line);
                out.push('\n');
                i += 1;
            }
        }
    }
    out
}

/// The calls of each function in a report. Names may contain blanks; the number before a name is its calls.
pub(crate) fn report(text: &str) -> Result<BTreeMap<String, u64>> {
    let mut calls = BTreeMap::new();
    let mut name_column = None;
    for line in text.lines() {
        if line.trim_start().starts_with("====") {
            name_column = line.rfind("  ").map(|at| at + 2);
            continue;
        }
        let (Some(column), false) = (name_column, line.trim().is_empty()) else { continue };
        let (numbers, name) =
            line.split_at_checked(column).with_context(|| format!("report line '{line}'"))?;
        let count = numbers.split_whitespace().last().and_then(|word| word.parse::<u64>().ok());
        let count = count.with_context(|| format!("no calls in the report line '{line}'"))?;
        // One name can have several rows (functions of different modules).
        *calls.entry(name.trim().to_owned()).or_default() += count;
    }
    Ok(calls)
}

/// A graph as calls of each place in the tree, siblings in no order, graphs of several sessions added up. The key is
/// depth, function and a digest of the way there (whole paths would be quadratic in a deep recursion).
pub(crate) fn graph(text: &str) -> BTreeMap<(usize, String, u64), u64> {
    let mut places = BTreeMap::new();
    let mut stack: Vec<(usize, u64)> = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') || line.starts_with('=') {
            continue;
        }
        let Some((_, tree)) = line.split_once(" : ") else { continue };
        let Some(open) = tree.find('(') else { continue };
        let Some((count, name)) = tree[open + 1..].split_once(") ") else { continue };
        let Ok(count) = count.parse::<u64>() else { continue };
        // A line of descent without branches goes on at the same column, so the column tells a sibling only
        // together with the `+-` mark.
        let branch = tree[..open].ends_with("+-");
        while stack.last().is_some_and(|(column, _)| *column > open || (*column == open && branch)) {
            stack.pop();
        }
        let mut digest = DefaultHasher::new();
        (stack.last().map(|(_, digest)| *digest), name.trim()).hash(&mut digest);
        let digest = digest.finish();
        stack.push((open, digest));
        *places.entry((stack.len(), name.trim().to_owned(), digest)).or_default() += count;
    }
    places
}

/// A graph's text without its times and session ids, line by line.
pub(crate) fn graph_shape(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once(" : ") {
        Some((_, tree)) => tree.trim_end(),
        None => line.split(" (session").next().unwrap_or(line).trim_end(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BALANCED: &str = "\
uftrace file header: version       = 4

reading 11.dat
1.000000001     11: [entry] main(1000) depth: 0
1.000000002     11: [entry] operator()(2000) depth: 1
1.000000003     11: [exit ] operator()(2000) depth: 1
1.000000004     11: [exit ] main(1000) depth: 0
reading 12.dat
1.000000003     12: [exit ] fork(3000) depth: 1
1.000000004     12: [entry] child(4000) depth: 1
";

    #[test]
    fn a_dump_is_counted() {
        let seen = dump(BALANCED.as_bytes(), Rules::default()).unwrap();
        assert_eq!(seen.tasks, 2);
        assert_eq!(seen.entries["operator()"], 1);
        assert_eq!(seen.open.into_iter().collect::<Vec<_>>(), ["child"]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let bad = BALANCED.replace(
            "000000002     11: [entry] operator()(2000) depth: 1",
            "000000002     11: [entry] operator()(2000) depth: 2",
        );
        assert!(dump(bad.as_bytes(), Rules::default()).is_err());
        let bad = BALANCED.replace("[exit ] operator()(2000)", "[exit ] other(2000)");
        assert!(dump(bad.as_bytes(), Rules::default()).is_err());
        let bad = BALANCED.replace("1.000000004     11", "0.000000004     11");
        assert!(dump(bad.as_bytes(), Rules::default()).is_err());
    }

    #[test]
    fn tasks_of_a_replay_are_sorted_out() {
        let text = "\
# DURATION     TID     FUNCTION
            [  1] | main() {
   1.000 us [  2] | run();
            [  1] |   wait() {
   1.000 us [  3] | run();
   1.000 us [  1] |   } /* wait */
   1.000 us [  1] | } /* main */

uftrace stopped tracing with remaining functions
";
        assert_eq!(replay(text, false), "main() {\n  wait();\n} /* main */\n--- 2 tasks:\nrun();\n");
    }

    #[test]
    fn a_report_and_a_graph_are_counted() {
        let text = "\
  Total time   Self time       Calls  Function
  ==========  ==========  ==========  ====================
   17.677 us    0.448 us           1  main
                                   2  operator new
";
        let calls = report(text).unwrap();
        assert_eq!(calls["main"], 1);
        assert_eq!(calls["operator new"], 2);
        let text = "\
# Function Call Graph for 'a' (session: 6738d87b590f5e87)
========== FUNCTION CALL GRAPH ==========
# TOTAL TIME   FUNCTION
   18.967 us : (1) a
    0.460 us :  +-(1) before
             :  |
   17.677 us :  +-(1) main
    0.599 us :     +-(1) mid
    0.163 us :     | (2) leaf
             :     |
   16.630 us :     +-(1) printf
";
        let places: Vec<_> = graph(text).into_keys().map(|(depth, name, _)| (depth, name)).collect();
        let expected = [(1, "a"), (2, "before"), (2, "main"), (3, "mid"), (3, "printf"), (4, "leaf")];
        assert_eq!(places, expected.map(|(depth, name)| (depth, name.to_owned())));
        let moved = text.replace("     | (2) leaf", " +-(2) leaf");
        assert_ne!(graph(&moved), graph(text));
    }
}
