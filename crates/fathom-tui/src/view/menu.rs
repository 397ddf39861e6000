//! The sessions, and what else can be looked at.

use super::list::Cursor;
use fathom_store::Session;

/// An entry of the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The call graph of a session.
    Graph(usize),
    Replay,
    Report,
    Info,
    Help,
    Quit,
}

/// The menu.
#[derive(Clone, Debug)]
pub(crate) struct Menu {
    pub(crate) entries: Vec<(Entry, String)>,
    pub(crate) cursor: Cursor,
}

impl Menu {
    pub(crate) fn new(sessions: &[Session]) -> Menu {
        let mut entries = Vec::new();
        for (at, session) in sessions.iter().enumerate() {
            let key = if at == 0 { 'G' } else { ' ' };
            let name = session.exe.rsplit('/').next().unwrap_or_default();
            entries.push((Entry::Graph(at), format!(" {key}  call Graph for session #{}: {name}", at + 1)));
        }
        let others = [
            (Entry::Replay, " T  replay in the order of Time"),
            (Entry::Report, " R  Report functions"),
            (Entry::Info, " I  fathom Info"),
            (Entry::Help, " h  Help message"),
            (Entry::Quit, " q  quit"),
        ];
        entries.extend(others.map(|(entry, text)| (entry, text.to_owned())));
        Menu { entries, cursor: Cursor::default() }
    }

    /// The entry that the cursor is at.
    pub(crate) fn entry(&self) -> Entry {
        self.entries.get(self.cursor.at).map_or(Entry::Help, |(entry, _)| *entry)
    }
}
