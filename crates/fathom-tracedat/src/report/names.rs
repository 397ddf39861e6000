//! Names of tasks.

use super::number;
use rustc_hash::FxHashMap;

/// Names of tasks by thread, with the text that begins a line kept for each.
pub(crate) struct Names {
    names: FxHashMap<i32, Box<[u8]>>,
    /// `            comm-pid    ` by thread, in the form that lines have.
    heads: FxHashMap<i32, Box<[u8]>>,
    latency: bool,
}

impl Names {
    /// Reads lines of `PID NAME`, as `saved_cmdlines` has them. The first name of a task is kept.
    pub(crate) fn new(cmdlines: &[u8], latency: bool) -> Self {
        let mut names = FxHashMap::default();
        for line in cmdlines.split(|&byte| byte == b'\n') {
            let Some(space) = line.iter().position(|&byte| byte == b' ') else { continue };
            let pid = std::str::from_utf8(&line[..space]).ok().and_then(|pid| pid.trim().parse().ok());
            let Some(pid) = pid else { continue };
            let name = line[space..].trim_ascii_start();
            if !name.is_empty() {
                names.entry(pid).or_insert_with(|| name.into());
            }
        }
        names.insert(0, (*b"<idle>").into());
        Self { names, heads: FxHashMap::default(), latency }
    }

    /// The name of a task.
    pub(crate) fn get(&self, pid: i32) -> &[u8] {
        self.names.get(&pid).map_or(b"<...>", |name| name)
    }

    /// Keeps a name that an event gives, if the task has none yet.
    pub(crate) fn learn(&mut self, pid: i32, name: &[u8]) {
        if !self.names.contains_key(&pid) {
            self.names.insert(pid, name.into());
            self.heads.remove(&pid);
        }
    }

    /// Writes name and number of a task as lines begin with them.
    #[inline]
    pub(crate) fn write_head(&mut self, out: &mut Vec<u8>, pid: i32) {
        if let Some(head) = self.heads.get(&pid) {
            out.extend_from_slice(head);
            return;
        }
        let start = out.len();
        let name = self.names.get(&pid).map_or(&b"<...>"[..], |name| name);
        let mut number = itoa::Buffer::new();
        let number = number.format(pid).as_bytes();
        if self.latency {
            number::right(out, &name[..name.len().min(8)], 8, b' ');
        } else {
            number::right(out, name, 16, b' ');
        }
        out.push(b'-');
        number::left(out, number, 5);
        self.heads.insert(pid, out[start..].into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_is_kept_and_unknown_tasks_have_dots() {
        let mut names = Names::new(b"7 \n8\n5 x y z\n0 zero\n5 second\n", false);
        let mut line = |pid| {
            let mut out = Vec::new();
            names.write_head(&mut out, pid);
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
