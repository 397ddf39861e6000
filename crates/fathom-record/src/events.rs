//! Which events are recorded: the patterns of `-E`.

use crate::{Error, TaskEvents, kernel_names};
use fathom_filter::{Match, Pattern, nearest};

/// Scheduler events by their full names,
const SCHED: [&str; 3] = ["linux:schedule", "linux:sched-in", "linux:sched-out"];
/// and task events.
const TASK: [&str; 3] = ["linux:task-new", "linux:task-exit", "linux:task-name"];

/// Patterns of events, as in `linux:task-.*` or `libc:setjmp`.
#[derive(Clone, Debug, Default)]
pub struct EventPatterns {
    patterns: Vec<EventPattern>,
    /// `SYSTEM:NAME`, with globs or not.
    kernel: Vec<String>,
}

#[derive(Clone, Debug)]
struct EventPattern {
    /// For the names of the events of linux, as wholes.
    whole: Pattern,
    /// Provider and name, for the probes of programs.
    parts: Option<(Pattern, Pattern)>,
}

impl EventPatterns {
    /// Each of `given` may have several patterns, separated by `;`.
    ///
    /// # Errors
    ///
    /// [`Error::Pattern`] for one that is no pattern.
    pub fn new<'a>(given: impl IntoIterator<Item = &'a str>, how: Match) -> Result<EventPatterns, Error> {
        let texts =
            given.into_iter().flat_map(|list| list.split(';')).map(str::trim).filter(|t| !t.is_empty());
        let mut all = EventPatterns::default();
        for text in texts {
            match kernel_names::event(text)? {
                Some(event) => all.kernel.push(event),
                None => all.patterns.push(EventPattern::new(text, how)?),
            }
        }
        Ok(all)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty() && self.kernel.is_empty()
    }

    /// Whether there are events of the kernel among them.
    pub fn has_kernel(&self) -> bool {
        !self.kernel.is_empty()
    }

    /// The events of the kernel, `SYSTEM:NAME`, with globs or not.
    pub(crate) fn kernel(&self) -> &[String] {
        &self.kernel
    }

    /// Whether probes of programs may be among them.
    pub fn may_have_probes(&self) -> bool {
        let of_linux = |provider: &Pattern| provider.text() == "linux";
        self.patterns
            .iter()
            .any(|pattern| pattern.parts.as_ref().is_some_and(|(provider, _)| !of_linux(provider)))
    }

    /// Whether a probe of the program is among them.
    pub fn has_probe(&self, provider: &str, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.has_probe(provider, name))
    }

    /// The scheduler and task events among them. Tasks come along with the scheduler.
    pub fn task_events(&self) -> TaskEvents {
        let any = |names: &[&str]| {
            names.iter().any(|name| self.patterns.iter().any(|p| p.whole.matches(name, name)))
        };
        match (any(&SCHED), any(&TASK)) {
            (true, _) => TaskEvents::All,
            (false, true) => TaskEvents::Tasks,
            (false, false) => TaskEvents::None,
        }
    }

    /// A complaint for each pattern that fits none of the `linux:` events nor any of `probes`, which are the provider
    /// and name of what the program has.
    pub fn unmatched(&self, probes: &[(String, String)]) -> Vec<String> {
        let known = |pattern: &EventPattern| {
            SCHED.iter().chain(&TASK).any(|name| pattern.whole.matches(name, name))
                || probes.iter().any(|(provider, name)| pattern.has_probe(provider, name))
        };
        let probe_names: Vec<String> =
            probes.iter().map(|(provider, name)| format!("{provider}:{name}")).collect();
        let names = || SCHED.into_iter().chain(TASK).chain(probe_names.iter().map(String::as_str));
        let complaint = |pattern: &EventPattern| {
            let text = pattern.whole.text();
            match nearest::nearest(text, names()) {
                Some(near) => format!("no event matches '{text}' of -E; did you mean '{near}'?"),
                None => format!("no event matches '{text}' of -E; --list-event shows those of the program"),
            }
        };
        self.patterns.iter().filter(|pattern| !known(pattern)).map(complaint).collect()
    }
}

impl EventPattern {
    fn new(text: &str, how: Match) -> Result<EventPattern, Error> {
        let bad = |reason: String| Error::Pattern { pattern: text.to_owned(), reason };
        let compile = |part| Pattern::new(part, how).map_err(|error| bad(error.reason));
        let parts = match text.split_once(':') {
            Some((provider, name)) => Some((compile(provider)?, compile(name)?)),
            None => None,
        };
        Ok(EventPattern { whole: compile(text)?, parts })
    }

    fn has_probe(&self, provider: &str, name: &str) -> bool {
        self.parts.as_ref().is_some_and(|(p, n)| p.matches(provider, provider) && n.matches(name, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task_events(given: &[&str], how: Match) -> TaskEvents {
        EventPatterns::new(given.iter().copied(), how).unwrap().task_events()
    }

    #[test]
    fn what_is_named_is_recorded() {
        let cases = [
            ("linux:schedule", TaskEvents::All),
            ("linux:sched-in", TaskEvents::All),
            ("linux:task-exit;linux:sched-out", TaskEvents::All),
            ("linux:task-.*", TaskEvents::Tasks),
            ("linux:.*", TaskEvents::All),
            ("linux:task-new", TaskEvents::Tasks),
            ("linux:schedules", TaskEvents::None),
            ("libc:setjmp", TaskEvents::None),
            ("", TaskEvents::None),
        ];
        for (given, wanted) in cases {
            assert_eq!(task_events(&[given], Match::Regex), wanted, "{given}");
        }
        assert_eq!(task_events(&["li*:sched-*"], Match::Glob), TaskEvents::All);
        assert_eq!(task_events(&["*sched-*"], Match::Simple), TaskEvents::None);
    }

    #[test]
    fn probes_are_matched_by_part() {
        let probe = |given: &str, how| EventPatterns::new([given], how).unwrap().has_probe("tst", "three");
        for given in ["tst:three", "tst:th.*", "s.:th.", ".*:.*", "tst:.hre"] {
            assert!(probe(given, Match::Regex), "{given}");
        }
        for given in ["tst", "three", "st:three", "t.t:thre", "tst.*"] {
            assert!(!probe(given, Match::Regex), "{given}");
        }
        assert!(probe("t?t:*", Match::Glob) && !probe("*", Match::Glob));
    }

    #[test]
    fn patterns_without_an_event_are_told() {
        let patterns = EventPatterns::new(["a:b;linux:task-new;linux:shedule", "c:*"], Match::Glob).unwrap();
        let probes = [("c".to_owned(), "d".to_owned())];
        let expected = [
            "no event matches 'a:b' of -E; --list-event shows those of the program",
            "no event matches 'linux:shedule' of -E; did you mean 'linux:schedule'?",
        ];
        assert_eq!(patterns.unmatched(&probes), expected);
    }

    #[test]
    fn bad_patterns_are_refused() {
        let error = EventPatterns::new(["a:("], Match::Regex).unwrap_err().to_string();
        assert_eq!(error, "bad pattern 'a:(': unclosed group");
    }

    #[test]
    fn events_of_the_kernel_are_for_another() {
        let patterns = EventPatterns::new(["sched:switch@kernel"], Match::Regex).unwrap();
        assert_eq!(patterns.kernel, ["sched:switch"]);
        assert_eq!(patterns.task_events(), TaskEvents::None);
    }
}
