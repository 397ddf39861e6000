use rustc_hash::FxHashMap;

/// The names of tasks: `saved_cmdlines`.
#[derive(Clone, Debug, Default)]
pub struct Comms {
    by_pid: FxHashMap<i32, Box<[u8]>>,
}

impl Comms {
    /// Reads lines `PID NAME`. Names may be any bytes but newlines.
    pub fn parse(text: &[u8]) -> Comms {
        let mut comms = Comms::default();
        for line in text.split(|byte| *byte == b'\n') {
            let Some(space) = line.iter().position(|byte| *byte == b' ') else { continue };
            if let Some(pid) = std::str::from_utf8(&line[..space]).ok().and_then(|pid| pid.parse().ok()) {
                comms.set(pid, &line[space + 1..]);
            }
        }
        comms
    }

    /// Sets a task's name.
    pub fn set(&mut self, pid: i32, comm: &[u8]) {
        self.by_pid.insert(pid, comm.into());
    }

    /// The saved name of a task.
    pub fn get(&self, pid: i32) -> Option<&[u8]> {
        self.by_pid.get(&pid).map(|comm| &**comm)
    }

    /// The name as the kernel shows it: that of task 0 is `<idle>`, one that was not saved is `<...>`.
    pub fn shown(&self, pid: i32) -> &[u8] {
        match pid {
            0 => b"<idle>",
            // The kernel has no name for what cannot be a task.
            ..0 => b"<XXX>",
            _ => self.get(pid).unwrap_or(b"<...>"),
        }
    }

    /// All tasks with their names, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &[u8])> {
        self.by_pid.iter().map(|(pid, comm)| (*pid, &**comm))
    }
}

/// The process of each task: `saved_tgids`.
#[derive(Clone, Debug, Default)]
pub struct Tgids {
    by_pid: FxHashMap<i32, i32>,
}

impl Tgids {
    /// Reads lines `PID TGID`.
    pub fn parse(text: &str) -> Tgids {
        let pairs = text.lines().filter_map(|line| line.trim().split_once(' '));
        let numbers = pairs.filter_map(|(pid, tgid)| Some((pid.parse().ok()?, tgid.trim().parse().ok()?)));
        Tgids { by_pid: numbers.collect() }
    }

    /// The process of a task.
    pub fn get(&self, pid: i32) -> Option<i32> {
        self.by_pid.get(&pid).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tasks() {
        let comms = Comms::parse(b"145 sh\n9 kworker/0:0 x\nbad\n");
        assert_eq!(comms.shown(145), b"sh");
        assert_eq!(comms.shown(9), b"kworker/0:0 x");
        assert_eq!(comms.shown(0), b"<idle>");
        assert_eq!(comms.shown(7), b"<...>");
        assert_eq!(Tgids::parse("12 10\n13 10\n").get(13), Some(10));
    }
}
