//! Answers processes: reads what they have mapped, writes their session down, makes their plan.

use crate::arena::Arena;
use crate::clock::Clock;
use crate::patches::Patched;
use crate::plan::{Module, Planner, modules};
use crate::selection::Selection;
use crate::{Error, Match, plan_file, sys};
use fathom_abi::arena::{SESSION_ANSWERED, SESSION_HELLO, Session};
use fathom_store::writer::{DirectoryWriter, reduce_map};
use fathom_store::{TaskChange, TaskMessage};
use fathom_symbols::maps;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

/// What the answers have amounted to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    /// Process images that came up.
    pub(crate) sessions: u32,
    /// Library functions hooked and sites patched, in all images.
    pub(crate) slots: usize,
    /// See `slots`.
    pub(crate) sites: usize,
    /// Those of the sites that were NOPs.
    pub(crate) patched: usize,
    /// Library functions left alone because their pointers are data too.
    pub(crate) ambiguous: u32,
    /// What came of the functions that were to be patched, by module.
    pub(crate) patches: BTreeMap<PathBuf, Patched>,
    /// Every module that was mapped, for the symbol files.
    pub(crate) modules: BTreeSet<PathBuf>,
    /// Executable of the first session.
    pub(crate) exe: Option<PathBuf>,
    /// What went wrong, for the user.
    pub(crate) notes: Vec<String>,
    /// Static probes of all modules, by provider and name.
    probes: BTreeSet<(String, String)>,
    /// How many of those of the C library were to be recorded.
    pub(crate) core_probes: u32,
    /// Specs of filters that no function has matched.
    pub(crate) unmatched: Vec<String>,
}

/// See the module.
pub(crate) struct Sessions<'r> {
    arena: &'r Arena,
    clock: &'r Mutex<Clock>,
    writer: &'r DirectoryWriter,
    planner: Planner,
    runtime: PathBuf,
    /// Executable and modules of each session name.
    known: FxHashMap<u64, (PathBuf, Vec<Module>)>,
    /// How many of these were there from the start, and so do not go.
    lasting: FxHashMap<u64, usize>,
    answers: Answers,
    /// Who wants to know of modules as soon as they are mapped.
    told: Option<mpsc::Sender<PathBuf>>,
}

impl<'r> Sessions<'r> {
    pub(crate) fn new(
        arena: &'r Arena,
        clock: &'r Mutex<Clock>,
        writer: &'r DirectoryWriter,
        planner: Planner,
        runtime: PathBuf,
    ) -> Sessions<'r> {
        Sessions {
            arena,
            clock,
            writer,
            planner,
            runtime,
            known: FxHashMap::default(),
            lasting: FxHashMap::default(),
            answers: Answers::default(),
            told: None,
        }
    }

    /// The modules, as soon as they are mapped, as long as this is.
    pub(crate) fn tell_modules(&mut self) -> mpsc::Receiver<PathBuf> {
        let (told, modules) = mpsc::channel();
        self.told = Some(told);
        modules
    }

    /// The answers, when all processes have been answered.
    pub(crate) fn into_answers(mut self) -> Answers {
        self.answers.unmatched = self.planner.selector.unmatched();
        self.answers.notes.extend(self.planner.take_notes());
        let events = &self.planner.selector.selection().events;
        let probes: Vec<_> = std::mem::take(&mut self.answers.probes).into_iter().collect();
        self.answers.notes.extend(events.unmatched(&probes));
        self.answers
    }

    /// Waits for a hello (or a moment) and answers all that are there.
    pub(crate) fn serve(&mut self, seen: &mut u32) -> Result<(), Error> {
        const PAUSE: Duration = Duration::from_millis(20);
        let doorbell = &self.arena.header().doorbell;
        let now = doorbell.load(Ordering::Acquire);
        if now == *seen {
            sys::futex_wait(doorbell, now, PAUSE);
        }
        *seen = doorbell.load(Ordering::Acquire);
        self.answer_all()
    }

    /// Answers all that wait.
    pub(crate) fn answer_all(&mut self) -> Result<(), Error> {
        for index in 0..self.arena.sessions() {
            let session = self.arena.session(index);
            if session.state.load(Ordering::Acquire) != SESSION_HELLO {
                continue;
            }
            let result = self.answer(index, session);
            // Whatever happened, the process must not wait.
            self.arena.answer(session);
            result?;
        }
        Ok(())
    }

    fn answer(&mut self, index: u32, session: &Session) -> Result<(), Error> {
        let generation = session.generation.load(Ordering::Relaxed);
        let hello = self.arena.dir().join(format!("hello-{index}-{generation}"));
        let text = match fs::read(&hello) {
            Ok(text) => text,
            Err(error) => {
                self.answers.notes.push(format!("a process could not say what it has mapped: {error}"));
                return Ok(());
            }
        };
        let _ = fs::remove_file(&hello);
        let (exe, map_text) = split_hello(&text);
        let found = modules(maps::parse(map_text), &self.runtime);
        let sid = session.sid.load(Ordering::Relaxed);
        let first = generation == 1 && session.derived.load(Ordering::Relaxed) == 0;
        let (new, there) = if first {
            self.begin(session, sid, &exe, map_text)?;
            self.lasting.insert(sid, found.len());
            (found, Vec::new())
        } else {
            let known = self.known.get(&sid).map(|(_, known)| known.as_slice()).unwrap_or_default();
            let lasting = self.lasting.get(&sid).map_or(0, |count| (*count).min(known.len()));
            let (mut new, mut there) = (Vec::new(), Vec::new());
            for module in found {
                match known.iter().position(|k| k.is(&module)) {
                    None => new.push(module),
                    Some(at) if at >= lasting => there.push(module),
                    Some(_) => {}
                }
            }
            self.opened(session, sid, &new)?;
            (new, there)
        };
        let ticks = self.ticks()?;
        let (_, all) = self.known.entry(sid).or_insert_with(|| (exe.clone(), Vec::new()));
        all.extend(new.iter().cloned());
        let plan = self.planner.plan((&new, &there), all, &exe, ticks);
        for module in &new {
            let known = self.planner.known(module);
            self.answers.probes.extend(known.probe_names.iter().cloned());
            self.answers.core_probes = self.answers.core_probes.max(known.core_probes);
            self.answers.patches.entry(module.path.clone()).or_insert_with(|| Patched::of(&known));
        }
        for (id, name) in self.planner.ids.take_new() {
            self.writer.event(id, &name)?;
        }
        self.answers.ambiguous += plan.ambiguous;
        let (slots, sites) = plan.len();
        self.answers.slots += slots;
        self.answers.sites += sites;
        self.answers.patched += plan.patched();
        if !plan.is_empty() {
            let path = self.arena.dir().join(format!("plan-{index}-{generation}"));
            match write_readable(&path, &plan.to_bytes()) {
                Ok(()) => session.has_plan.store(1, Ordering::Relaxed),
                Err(error) => self.answers.notes.push(format!("a plan could not be written: {error}")),
            }
        }
        for Module { path, .. } in new {
            if self.answers.modules.insert(path.clone())
                && let Some(told) = &self.told
            {
                // Who does not listen any more has them from the answers.
                let _ = told.send(path);
            }
        }
        Ok(())
    }

    /// What is recorded now.
    pub(crate) fn selection(&self) -> &Selection {
        self.planner.selector.selection()
    }

    /// Tells the user something at the end.
    pub(crate) fn note(&mut self, text: String) {
        self.answers.notes.push(text);
    }

    /// Records by another selection from now on, in all processes that run. `switch` says that recording goes on or off
    /// as the selection has it, whatever triggers have made of it.
    pub(crate) fn change(
        &mut self,
        selection: Selection,
        matching: Match,
        switch: bool,
    ) -> Result<(), Error> {
        self.planner.selector.replace(selection, matching, switch)?;
        let ticks = self.ticks()?;
        for index in 0..self.arena.sessions() {
            let session = self.arena.session(index);
            if session.state.load(Ordering::Acquire) != SESSION_ANSWERED {
                continue;
            }
            let sid = session.sid.load(Ordering::Relaxed);
            let Some((exe, modules)) = self.known.get(&sid) else { continue };
            let rules = self.planner.rules(modules, exe, ticks);
            let number = session.rules.load(Ordering::Relaxed) + 1;
            let path = self.arena.dir().join(format!("rules-{index}-{number}"));
            write_readable(&path, &plan_file::bytes(&plan_file::Hooks::default(), &rules))
                .map_err(|e| Error::io("write", &path, e))?;
            session.rules.store(number, Ordering::Release);
            session.epoch.fetch_add(1, Ordering::AcqRel);
        }
        self.planner.selector.settle();
        Ok(())
    }

    /// Writes a new session down.
    fn begin(&mut self, session: &Session, sid: u64, exe: &Path, map_text: &[u8]) -> Result<(), Error> {
        let mut lines = reduce_map(map_text);
        lines.retain(|line| Path::new(&line.path) != self.runtime);
        let modules = modules(maps::parse(map_text), &self.runtime);
        for line in &mut lines {
            if let Some(module) = modules.iter().find(|m| m.start == line.start) {
                line.build_id.clone_from(&self.planner.known(module).build_id);
            }
        }
        lines.retain(|line| line.path.starts_with('[') || modules.iter().any(|m| m.start == line.start));
        let name = format!("{sid:016x}");
        self.writer.map(&name, &lines)?;
        let what = TaskChange::Session {
            pid: session.pid.load(Ordering::Relaxed),
            sid: name,
            exe: exe.to_string_lossy().into_owned(),
        };
        let time = self.time(session.start.load(Ordering::Relaxed))?;
        self.writer.message(&TaskMessage { time, what })?;
        self.answers.sessions += 1;
        self.answers.exe.get_or_insert_with(|| exe.to_path_buf());
        Ok(())
    }

    /// Writes libraries down that a dlopen has brought.
    fn opened(&mut self, session: &Session, sid: u64, new: &[Module]) -> Result<(), Error> {
        let time = self.time(session.dlopen_time.load(Ordering::Relaxed))?;
        for module in new {
            let what = TaskChange::Dlopen {
                tid: session.dlopen_tid.load(Ordering::Relaxed),
                sid: format!("{sid:016x}"),
                base: module.start,
                library: module.path.to_string_lossy().into_owned(),
            };
            self.writer.message(&TaskMessage { time, what })?;
        }
        Ok(())
    }

    /// Units of the raw clock per ns.
    fn ticks(&self) -> Result<f64, Error> {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.update().map_err(|e| Error::io("write", "the clock's journal", e))?;
        Ok(clock.ticks())
    }

    fn time(&self, raw: u64) -> Result<u64, Error> {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.update().map_err(|e| Error::io("write", "the clock's journal", e))?;
        Ok(clock.convert(raw))
    }

    /// Takes up sessions of a recorder that has died: those answered are on disk already.
    pub(crate) fn recover(&mut self) -> Result<(), Error> {
        for index in 0..self.arena.sessions() {
            if self.arena.session(index).state.load(Ordering::Acquire) == SESSION_ANSWERED {
                self.answers.sessions += 1;
            }
        }
        self.answer_all()
    }
}

/// The executable's path (first line) and the map.
fn split_hello(text: &[u8]) -> (PathBuf, &[u8]) {
    use std::os::unix::ffi::OsStrExt;
    let end = text.iter().position(|&c| c == b'\n').unwrap_or(text.len());
    let exe = text[..end].strip_suffix(b" (deleted)").unwrap_or(&text[..end]);
    (PathBuf::from(std::ffi::OsStr::from_bytes(exe)), text.get(end + 1..).unwrap_or_default())
}

/// A file that processes of any user may read, complete before it can be seen.
fn write_readable(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o444))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_is_split_at_its_first_line() {
        let (exe, map) = split_hello(b"/a b (deleted)\n55-56 r-xp\n");
        assert_eq!(exe, Path::new("/a b"));
        assert_eq!(map, b"55-56 r-xp\n");
        assert_eq!(split_hello(b"").1, b"");
    }
}
