//! Names of tasks.

use fathom_ftrace::{Short, number};
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// Names of tasks by thread, with the text that begins a line kept for each.
///
/// Which name a task has that has several is an accident of how trace-cmd keeps them, and done as it does: names come
/// before those that came earlier, they are sorted by task when one is asked for first, and one of them is found by
/// halving. From then on a task that has a name keeps it.
pub(crate) struct Names {
    /// By task once they are sorted; before, in the order they came.
    names: Vec<(i32, Box<[u8]>)>,
    sorted: bool,
    /// `            comm-pid    ` by thread, in the form that lines have.
    heads: FxHashMap<i32, Rc<[Short]>>,
    /// The one that was asked for last: most events are of the task of the one before.
    latest: Option<(i32, Rc<[Short]>)>,
    latency: bool,
}

/// Names that are kept before they are sorted, besides those of the file.
const MAX_UNSORTED: usize = 1 << 16;

impl Names {
    /// Reads lines of `PID NAME`, as `saved_cmdlines` has them.
    pub(crate) fn new(cmdlines: &[u8], latency: bool) -> Self {
        let mut names = Vec::new();
        for line in cmdlines.split(|&byte| byte == b'\n') {
            let Some(space) = line.iter().position(|&byte| byte == b' ') else { continue };
            let pid = std::str::from_utf8(&line[..space]).ok().and_then(|pid| pid.trim().parse().ok());
            let Some(pid) = pid else { continue };
            let name = line[space..].trim_ascii_start();
            if !name.is_empty() {
                names.push((pid, name.into()));
            }
        }
        Self { names, sorted: false, heads: FxHashMap::default(), latest: None, latency }
    }

    fn sort(&mut self) {
        if !self.sorted {
            self.names.reverse();
            self.names.sort_by_key(|(pid, _)| *pid);
            self.sorted = true;
        }
    }

    /// The place of a task's name, or the one where it would be.
    fn place(&self, pid: i32) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.names.len());
        while low < high {
            let middle = (low + high) / 2;
            match pid.cmp(&self.names[middle].0) {
                std::cmp::Ordering::Less => high = middle,
                std::cmp::Ordering::Greater => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// The name of a task.
    pub(crate) fn get(&mut self, pid: i32) -> &[u8] {
        if pid == 0 {
            return b"<idle>";
        }
        self.sort();
        match self.place(pid) {
            Ok(place) => &self.names[place].1,
            Err(_) => b"<...>",
        }
    }

    /// Keeps a name that an event gives, if the task has none yet.
    pub(crate) fn learn(&mut self, pid: i32, name: &[u8]) {
        if !self.sorted && self.names.len() < MAX_UNSORTED {
            self.names.push((pid, name.into()));
            return;
        }
        self.sort();
        if let Err(place) = self.place(pid) {
            self.names.insert(place, (pid, name.into()));
            self.heads.remove(&pid);
            self.latest = None;
        }
    }

    /// Name and number of a task as lines begin with them.
    #[inline]
    pub(crate) fn head(&mut self, pid: i32) -> &[Short] {
        if self.latest.as_ref().is_none_or(|(latest, _)| *latest != pid) {
            let head = match self.heads.get(&pid) {
                Some(head) => head.clone(),
                None => {
                    let head: Rc<[Short]> = self.new_head(pid).into();
                    self.heads.insert(pid, head.clone());
                    head
                }
            };
            self.latest = Some((pid, head));
        }
        self.latest.as_ref().map(|(_, head)| &**head).unwrap_or_default()
    }

    fn new_head(&mut self, pid: i32) -> Box<[Short]> {
        let mut head = Vec::new();
        let latency = self.latency;
        let name = self.get(pid);
        if latency {
            number::right(&mut head, &name[..name.len().min(8)], 8, b' ');
        } else {
            number::right(&mut head, name, 16, b' ');
        }
        head.push(b'-');
        number::left(&mut head, itoa::Buffer::new().format(pid).as_bytes(), 5);
        Short::pieces(&head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_ftrace::line::{Line, PIECE};

    #[test]
    fn a_name_is_kept_and_unknown_tasks_have_dots() {
        let mut names = Names::new(b"7 \n8\n5 x y z\n0 zero\n", false);
        let mut line = |pid| {
            let mut out = Vec::new();
            let head = names.head(pid);
            Line::append(&mut out, PIECE * head.len(), |line| line.shorts(head));
            String::from_utf8(out).unwrap()
        };
        assert_eq!(line(5), "           x y z-5    ");
        assert_eq!(line(5), "           x y z-5    ");
        assert_eq!(line(7), "           <...>-7    ");
        assert_eq!(line(0), "          <idle>-0    ");
        names.learn(7, b"seven");
        names.learn(5, b"five");
        assert_eq!(names.get(7), b"seven");
        assert_eq!(names.get(5), b"x y z");
    }
}
