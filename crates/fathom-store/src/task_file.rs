//! `task.txt`: what happened to tasks, one message a line.

use crate::Tid;
use crate::info::digits;
use std::fmt;

/// One line of `task.txt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskMessage {
    /// ns of the trace clock.
    pub time: u64,
    /// What happened.
    pub what: TaskChange,
}

/// What a line of `task.txt` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskChange {
    /// A process began to run a program.
    Session {
        /// The process.
        pid: Tid,
        /// 16 hex digits that name the map file.
        sid: String,
        /// Path of the program.
        exe: String,
    },
    /// The first record of a thread is about to come. Again after exec.
    Task {
        /// The thread.
        tid: Tid,
        /// Its process.
        pid: Tid,
    },
    /// A process was made by fork or vfork.
    Fork {
        /// The child.
        pid: Tid,
        /// The parent.
        ppid: Tid,
    },
    /// A library was loaded by dlopen. The time is from before the call.
    Dlopen {
        /// The thread that did it.
        tid: Tid,
        /// The session it was loaded into.
        sid: String,
        /// Load bias: run-time address minus address in the file.
        base: u64,
        /// Path of the library.
        library: String,
    },
}

impl TaskMessage {
    /// Reads a line. `Ok(None)` for a kind of message that is not known, an empty line too; `Err` says what is
    /// wrong with one of a known kind.
    pub fn parse(line: &str) -> Result<Option<TaskMessage>, String> {
        let (word, fields) = line.trim_end().split_once(' ').unwrap_or((line, ""));
        if !["SESS", "TASK", "FORK", "DLOP"].contains(&word) {
            return Ok(None);
        }
        let fields = Fields(fields);
        let time = fields.with("timestamp", parse_time)?;
        let what = match word {
            "SESS" => TaskChange::Session {
                pid: fields.number("pid").or_else(|e| fields.number("tid").map_err(|_| e))?,
                sid: fields.sid()?,
                exe: fields.quoted("exename")?,
            },
            "TASK" => TaskChange::Task { tid: fields.number("tid")?, pid: fields.number("pid")? },
            "FORK" => TaskChange::Fork { pid: fields.number("pid")?, ppid: fields.number("ppid")? },
            _ => TaskChange::Dlopen {
                tid: fields.number("tid")?,
                sid: fields.sid()?,
                base: fields.with("base", |v| u64::from_str_radix(v, 16).ok())?,
                library: fields.quoted("libname")?,
            },
        };
        Ok(Some(TaskMessage { time, what }))
    }
}

/// `key=value` pairs. Values of keys that come before a quoted one have no blanks.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Result<&'a str, String> {
        let unquoted = self.0.split_once('"').map_or(self.0, |(before, _)| before);
        let find = |word: &'a str| word.strip_prefix(key)?.strip_prefix('=');
        unquoted.split_whitespace().find_map(find).ok_or_else(|| format!("\"{key}=\" is missing"))
    }

    fn with<T>(&self, key: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let value = self.get(key)?;
        parse(value).ok_or_else(|| format!("\"{key}={value}\" makes no sense"))
    }

    fn number(&self, key: &str) -> Result<Tid, String> {
        self.with(key, |v| v.parse().ok())
    }

    /// The name ends up in a file name, so nothing but hex digits is let through.
    fn sid(&self) -> Result<String, String> {
        let valid = |v: &str| v.len() == 16 && v.bytes().all(|b| b.is_ascii_hexdigit());
        self.with("sid", |v| valid(v).then(|| v.to_owned()))
    }

    /// The text between the first quote after the key and the last one: paths may have quotes inside.
    fn quoted(&self, key: &str) -> Result<String, String> {
        let missing = || format!("\"{key}=\" and a quoted text is missing");
        let (_, after) = self.0.split_once(&format!("{key}=\"")).ok_or_else(missing)?;
        let (text, _) = after.rsplit_once('"').ok_or_else(missing)?;
        Ok(text.to_owned())
    }
}

/// `<seconds>.<fraction>` in ns; the fraction may have any number of digits.
pub(crate) fn parse_time(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.')?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(digits(fraction, 9)?)
}

impl fmt::Display for TaskMessage {
    /// The line, without a newline. Line breaks in paths become `?`, so that a line stays a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, ns) = (self.time / 1_000_000_000, self.time % 1_000_000_000);
        let one_line = |path: &str| path.replace(['\n', '\r'], "?");
        match &self.what {
            TaskChange::Session { pid, sid, exe } => {
                write!(f, "SESS timestamp={s}.{ns:09} pid={pid} sid={sid} exename=\"{}\"", one_line(exe))
            }
            TaskChange::Task { tid, pid } => write!(f, "TASK timestamp={s}.{ns:09} tid={tid} pid={pid}"),
            TaskChange::Fork { pid, ppid } => write!(f, "FORK timestamp={s}.{ns:09} pid={pid} ppid={ppid}"),
            TaskChange::Dlopen { tid, sid, base, library } => {
                let library = one_line(library);
                write!(
                    f,
                    "DLOP timestamp={s}.{ns:09} tid={tid} sid={sid} base={base:x} libname=\"{library}\""
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_uftrace() {
        let lines = [
            r#"SESS timestamp=1148.296465447 pid=6806 sid=43a5198b3615b221 exename="/path/of/exe""#,
            "TASK timestamp=1148.296679565 tid=6808 pid=6806",
            "FORK timestamp=1148.300487909 pid=6809 ppid=6806",
            r#"DLOP timestamp=1150.000000001 tid=6806 sid=43a5198b3615b221 base=7f00aa000000 libname="/path/libx.so""#,
        ];
        for line in lines {
            let message = TaskMessage::parse(line).unwrap().unwrap();
            assert_eq!(message.to_string(), line);
        }
        let by_tid = lines[0].replace("pid=", "tid=");
        assert_eq!(TaskMessage::parse(&by_tid), TaskMessage::parse(lines[0]));
    }

    #[test]
    fn bad_lines_say_why() {
        let error = |line: &str| TaskMessage::parse(line).unwrap_err();
        assert_eq!(error("TASK timestamp=1.5 tid=x pid=1"), "\"tid=x\" makes no sense");
        assert_eq!(error("TASK timestamp=1 tid=1 pid=1"), "\"timestamp=1\" makes no sense");
        assert_eq!(error("FORK timestamp=1.0 pid=4"), "\"ppid=\" is missing");
        assert_eq!(error("TASK"), "\"timestamp=\" is missing");
        let path = r#"SESS timestamp=1.0 pid=1 sid=../../../../etcxx exename="x""#;
        assert_eq!(error(path), "\"sid=../../../../etcxx\" makes no sense");
        let open = r#"SESS timestamp=1.0 pid=1 sid=43a5198b3615b221 exename="x"#;
        assert_eq!(error(open), "\"exename=\" and a quoted text is missing");
        assert_eq!(TaskMessage::parse("WHAT is=this"), Ok(None));
        assert_eq!(TaskMessage::parse(""), Ok(None));
    }

    proptest! {
        #[test]
        fn any_path_survives(path in "[^\r\n]*", time in any::<u64>(), pid in any::<i32>()) {
            let what = TaskChange::Session { pid, sid: "0123456789abcdef".into(), exe: path };
            let message = TaskMessage { time, what };
            prop_assert_eq!(TaskMessage::parse(&message.to_string()), Ok(Some(message.clone())));
        }

        #[test]
        fn any_line_is_survived(line in "(SESS|TASK|FORK|DLOP)?.*") {
            let _ = TaskMessage::parse(&line);
        }
    }
}
