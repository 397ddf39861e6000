//! Changes of the selection while the program runs (`-g`): a thread talks to clients, the one that answers processes
//! makes the changes.

use crate::Selection;
use crate::sessions::Sessions;
use fathom_agent::{AgentChange, Listener, Pattern};
use fathom_filter::{Match, SpecKind};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

/// How long a change may take. The client waits for a little longer.
const PATIENCE: Duration = Duration::from_secs(8);

/// A change, and who waits for what comes of it: an errno value.
type Asked = (AgentChange, SyncSender<Result<(), i32>>);

/// Where changes come out.
pub(crate) struct Changes {
    asked: Receiver<Asked>,
    matching: Match,
}

/// Where they go in.
pub(crate) struct Intake(Sender<Asked>);

/// Both ends. `matching` is how the patterns of the recording are written.
pub(crate) fn changes(matching: Match) -> (Intake, Changes) {
    let (intake, asked) = channel();
    (Intake(intake), Changes { asked, matching })
}

impl Intake {
    /// Serves clients until `done`.
    pub(crate) fn listen(&self, listener: &Listener, done: &AtomicBool) {
        let apply = |change| {
            let (reply, answer) = sync_channel(1);
            let sent = self.0.send((change, reply)).is_ok();
            let answer = sent.then(|| answer.recv_timeout(PATIENCE).ok()).flatten();
            answer.unwrap_or(Err(libc::ETIMEDOUT))
        };
        // Without clients the recording goes on as it is.
        let _ = listener.run(done, apply);
    }
}

impl Changes {
    /// Makes the changes that have been asked for.
    pub(crate) fn make(&mut self, sessions: &mut Sessions<'_>) {
        while let Ok((change, reply)) = self.asked.try_recv() {
            let made =
                changed(sessions.selection(), self.matching, &change).and_then(|(selection, matching)| {
                    let changed = sessions.change(selection, matching, change.trace.is_some());
                    changed.map(|()| matching).map_err(|error| error.to_string())
                });
            let result = match made {
                Ok(matching) => {
                    self.matching = matching;
                    Ok(())
                }
                Err(reason) => {
                    sessions.note(format!("a change that was asked for was not made: {reason}"));
                    Err(libc::EINVAL)
                }
            };
            // It may have lost its patience.
            let _ = reply.send(result);
        }
    }
}

/// The selection after a change. Later specs win over earlier ones, and `clear` takes back what was said before.
fn changed(before: &Selection, matching: Match, change: &AgentChange) -> Result<(Selection, Match), String> {
    let mut selection = before.clone();
    selection.on = change.trace.unwrap_or(selection.on);
    selection.depth = change.depth.unwrap_or(selection.depth);
    selection.time = change.threshold.unwrap_or(selection.time);
    let lists = [
        (SpecKind::Filter, &change.filters),
        (SpecKind::CallerFilter, &change.callers),
        (SpecKind::Trigger, &change.triggers),
    ];
    for (kind, texts) in lists {
        for text in texts {
            selection.specs.push(kind, text).map_err(|error| error.to_string())?;
        }
    }
    let matching = match change.pattern {
        None => matching,
        Some(Pattern::Simple) => Match::Simple,
        Some(Pattern::Regex) => Match::Regex,
        Some(Pattern::Glob) => Match::Glob,
    };
    Ok((selection, matching))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_adds_to_what_was_said() {
        let mut before = Selection { depth: 7, ..Selection::default() };
        before.specs.push(SpecKind::NoTrace, "a").unwrap();
        let change = AgentChange {
            trace: Some(false),
            threshold: Some(5),
            filters: vec!["b;!c".into()],
            triggers: vec!["a@clear".into()],
            ..AgentChange::default()
        };
        let (after, matching) = changed(&before, Match::Glob, &change).unwrap();
        assert_eq!((after.on, after.depth, after.time, matching), (false, 7, 5, Match::Glob));
        let specs: Vec<_> = after.specs.iter().map(|spec| (spec.kind, spec.name.as_str())).collect();
        let expected = [
            (SpecKind::NoTrace, "a"),
            (SpecKind::Filter, "b"),
            (SpecKind::NoTrace, "c"),
            (SpecKind::Trigger, "a"),
        ];
        assert_eq!(specs, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let change = AgentChange { triggers: vec!["a@dpeth=1".into()], ..AgentChange::default() };
        let error = changed(&Selection::default(), Match::Regex, &change).unwrap_err();
        assert!(error.contains("did you mean 'depth='"), "{error}");
    }
}
