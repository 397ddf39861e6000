//! Tasks and sessions, out of the messages of `task.txt`.

use super::dat::Warn;
use crate::task_file::{TaskChange, TaskMessage};
use crate::{EarlierName, Session, SessionSpan, Task, Tid};
use rustc_hash::FxHashMap;
use std::path::Path;

/// A command name has at most this many characters, as in the kernel.
const COMM: usize = 15;

/// A library that was loaded by dlopen.
#[derive(Debug)]
pub(crate) struct Dlopen {
    pub(crate) time: u64,
    /// Index into the sessions.
    pub(crate) session: usize,
    pub(crate) base: u64,
    pub(crate) library: String,
}

/// Who took part.
#[derive(Debug, Default)]
pub(crate) struct Cast {
    /// Ascending by start; never empty.
    pub(crate) sessions: Vec<Session>,
    pub(crate) tasks: FxHashMap<Tid, Task>,
    /// When forked tasks were forked.
    pub(crate) forks: FxHashMap<Tid, u64>,
    /// Ascending by time.
    pub(crate) dlopens: Vec<Dlopen>,
}

/// The messages of a file's text. What makes no sense is left out with a warning.
pub(crate) fn parse(text: &[u8], path: &Path, warn: &dyn Warn) -> Vec<TaskMessage> {
    let mut messages = Vec::new();
    for (number, line) in text.split(|b| *b == b'\n').enumerate() {
        match TaskMessage::parse(&String::from_utf8_lossy(line)) {
            Ok(message) => messages.extend(message),
            Err(what) => warn.warn(format!("{}:{}: {what}, the line is ignored", path.display(), number + 1)),
        }
    }
    messages
}

impl Cast {
    /// Puts the messages together. `exe` is taken for a program that no message names.
    pub(crate) fn new(messages: &[TaskMessage], exe: &str) -> Cast {
        let mut cast = Cast { sessions: sessions(messages, exe), ..Cast::default() };
        let mut by_time: Vec<&TaskMessage> = messages.iter().collect();
        by_time.sort_by_key(|message| message.time);
        for message in by_time {
            match &message.what {
                TaskChange::Session { .. } => {}
                TaskChange::Task { tid, pid } => cast.start_task(message.time, *tid, *pid),
                TaskChange::Fork { pid, ppid } => cast.fork(message.time, *pid, *ppid),
                TaskChange::Dlopen { sid, base, library, .. } => {
                    let Some(session) = cast.sessions.iter().position(|s| s.sid == *sid) else { continue };
                    let library = library.clone();
                    cast.dlopens.push(Dlopen { time: message.time, session, base: *base, library });
                }
            }
        }
        cast
    }

    fn start_task(&mut self, time: u64, tid: Tid, pid: Tid) {
        let session = self.session_of(pid, time);
        if let Some(task) = self.tasks.get_mut(&tid) {
            // Again the same task: it has executed another program.
            let session = session.unwrap_or(0);
            if task.sessions.last().is_some_and(|last| last.session != session) {
                task.sessions.push(SessionSpan { from: time, session });
            }
            return;
        }
        let session = session.or_else(|| self.task_session(pid, time)).unwrap_or(0);
        let parent = (pid != tid).then_some(pid);
        self.add(Task { parent, ..self.task(tid, pid, time, session) });
    }

    fn fork(&mut self, time: u64, pid: Tid, ppid: Tid) {
        if self.tasks.contains_key(&pid) {
            return;
        }
        let session = self.session_of(pid, time).or_else(|| self.task_session(ppid, time));
        let session = session.or_else(|| self.session_of(ppid, time)).unwrap_or(0);
        self.forks.insert(pid, time);
        self.add(Task { parent: Some(ppid), forked: true, ..self.task(pid, pid, time, session) });
    }

    /// A task that there are records of, but no message about.
    pub(crate) fn stray(&mut self, tid: Tid) {
        self.add(self.task(tid, tid, 0, 0));
    }

    fn add(&mut self, task: Task) {
        self.tasks.insert(task.tid, task);
    }

    fn task(&self, tid: Tid, pid: Tid, start: u64, session: usize) -> Task {
        let exe = self.sessions.get(session).map_or("", |s| s.exe.as_str());
        let comm = exe.rsplit('/').next().unwrap_or_default().chars().take(COMM).collect();
        let sessions = vec![SessionSpan { from: 0, session }];
        let earlier_names = Vec::new();
        Task { tid, pid, parent: None, forked: false, start, comm, earlier_names, sessions }
    }

    /// The session that a process itself began, at a time.
    fn session_of(&self, pid: Tid, time: u64) -> Option<usize> {
        self.sessions.iter().rposition(|s| s.pid == pid && s.start <= time)
    }

    /// The session that a task was in, at a time.
    fn task_session(&self, tid: Tid, time: u64) -> Option<usize> {
        let spans = &self.tasks.get(&tid)?.sessions;
        spans.iter().rev().find(|span| span.from <= time).map(|span| span.session)
    }
}

/// Gives a task the names that it got at times, ascending.
pub(crate) fn rename<'n>(task: &mut Task, names: impl Iterator<Item = (u64, &'n str)>) {
    for (until, name) in names {
        // The program chooses what is in it, and it is shown on terminals.
        let shown = |c: char| if c.is_control() { '?' } else { c };
        let next: String = name.chars().take(COMM).map(shown).collect();
        if next != task.comm {
            let name = std::mem::replace(&mut task.comm, next);
            task.earlier_names.push(EarlierName { until, name });
        }
    }
}

fn sessions(messages: &[TaskMessage], exe: &str) -> Vec<Session> {
    let mut sessions: Vec<Session> = Vec::new();
    for message in messages {
        if let TaskChange::Session { pid, sid, exe } = &message.what {
            let (sid, exe) = (sid.clone(), exe.clone());
            sessions.push(Session { sid, pid: *pid, start: message.time, exe });
        }
    }
    sessions.sort_by_key(|session| session.start);
    if sessions.is_empty() {
        sessions.push(Session { sid: String::new(), pid: 0, start: 0, exe: exe.to_owned() });
    }
    sessions
}

#[cfg(test)]
mod tests {
    use super::super::warnings::Warnings;
    use super::*;

    const TEXT: &str = r#"SESS timestamp=1.0 pid=10 sid=0000000000000001 exename="/bin/a program of note"
TASK timestamp=1.1 tid=10 pid=10
TASK timestamp=1.2 tid=11 pid=10
FORK timestamp=1.3 pid=12 ppid=11
TASK timestamp=1.35 tid=13 pid=12
SESS timestamp=1.4 pid=12 sid=0000000000000002 exename="/bin/b"
TASK timestamp=1.5 tid=12 pid=12
DLOP timestamp=1.6 tid=12 sid=0000000000000002 base=1000 libname="/lib/x.so"
DLOP timestamp=1.6 tid=12 sid=ffffffffffffffff base=1000 libname="/lib/x.so"
TASK timestamp=bad tid=1 pid=1
"#;

    fn cast() -> (Cast, Vec<String>) {
        let warnings = Warnings::default();
        let messages = parse(TEXT.as_bytes(), Path::new("task.txt"), &warnings);
        (Cast::new(&messages, ""), warnings.list())
    }

    #[test]
    fn sessions_follow_fork_and_exec() {
        let (cast, _) = cast();
        let spans = |tid: Tid| -> Vec<(u64, usize)> {
            cast.tasks[&tid].sessions.iter().map(|s| (s.from, s.session)).collect()
        };
        assert_eq!(spans(10), [(0, 0)]);
        assert_eq!(spans(11), [(0, 0)]);
        assert_eq!(spans(12), [(0, 0), (1_500_000_000, 1)]);
        assert_eq!(spans(13), [(0, 0)]);
        assert_eq!(cast.tasks[&12].comm, "a program of no");
        assert_eq!((cast.tasks[&12].parent, cast.tasks[&12].forked), (Some(11), true));
        assert_eq!((cast.tasks[&13].parent, cast.tasks[&13].forked), (Some(12), false));
        assert_eq!(cast.tasks[&10].parent, None);
        assert_eq!(cast.forks[&12], 1_300_000_000);
        assert_eq!(cast.dlopens.len(), 1);
        assert_eq!(cast.dlopens[0].session, 1);
    }

    #[test]
    fn names_change() {
        let mut task = cast().0.tasks[&10].clone();
        assert_eq!(task.name_at(5), "a program of no");
        let names = [(20, "a program of no"), (30, "x\u{1b}[2J"), (40, "last")];
        rename(&mut task, names.into_iter());
        let at = [0, 29, 30, 39, 40, u64::MAX].map(|time| task.name_at(time));
        assert_eq!(at, ["a program of no", "a program of no", "x?[2J", "x?[2J", "last", "last"]);
        assert_eq!(task.comm, "last");
    }

    #[test]
    fn a_bad_line_is_named() {
        let want = "task.txt:10: \"timestamp=bad\" makes no sense, the line is ignored";
        assert_eq!(cast().1, [want]);
    }

    #[test]
    fn without_messages_there_is_still_a_session() {
        let mut cast = Cast::new(&[], "/bin/x");
        cast.stray(5);
        assert_eq!((cast.sessions.len(), cast.tasks[&5].comm.as_str()), (1, "x"));
    }
}
