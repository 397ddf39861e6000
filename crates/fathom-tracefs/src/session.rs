//! A trace that is being made: everything that was changed, and the duty to put it back.

use crate::journal::{Journal, Left};
use crate::plan::{Expect, Mode, Naming, Part, Place, Plan, Step, Write};
use crate::{CpuStats, Error, Journals, Pipes, Settings, Tracefs, others};
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// Guards what was changed. Dropping it puts everything back, as does [`Session::finish`], which says what went wrong.
#[derive(Debug)]
pub struct Session {
    tracefs: Tracefs,
    plan: Plan,
    journal: Option<Journal>,
    /// How to undo what was done, oldest first.
    undo: Vec<Vec<Write>>,
}

impl Session {
    /// Sets the kernel up. Tracing is off until [`Session::start`].
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the settings or refused by the kernel; everything is put back then.
    pub fn begin(tracefs: &Tracefs, settings: &Settings, journals: &Journals) -> Result<Session, Error> {
        Session::begin_as(tracefs, settings, journals, &Naming::of_process(std::process::id()))
    }

    /// The same with other names for what is ours.
    ///
    /// # Errors
    ///
    /// As [`Session::begin`].
    pub fn begin_as(
        tracefs: &Tracefs,
        settings: &Settings,
        journals: &Journals,
        naming: &Naming,
    ) -> Result<Session, Error> {
        let journal = journals.begin(tracefs)?;
        let empty = Plan::build(tracefs, &Settings::default(), naming, Place::Top).map(|plan| Plan {
            steps: Vec::new(),
            notes: Vec::new(),
            ..plan
        })?;
        let mut session =
            Session { tracefs: tracefs.clone(), plan: empty, journal: Some(journal), undo: Vec::new() };
        // Only an instance knows what instances can do.
        let own = !settings.top_level && tracefs.has("instances");
        let tracer = settings.tracer.as_deref().unwrap_or("nop");
        let mut names = free_names(tracefs, naming.clone());
        let (naming, place) = loop {
            let naming = names.next().unwrap_or_else(|| naming.clone());
            let made = if own { session.instance(&naming.instance, tracer)? } else { Made::Not };
            match made {
                Made::Instance => break (naming.clone(), Place::Instance(naming.instance)),
                Made::Not => break (naming, Place::Top),
                Made::Taken => {}
            }
        };
        if place == Place::Top {
            let users = others::at_top(tracefs);
            if !users.is_empty() {
                return Err(Error::InUse(users));
            }
        }
        session.plan = Plan::build(tracefs, settings, &naming, place)?;
        for at in 0..session.plan.steps.len() {
            let step = session.plan.steps[at].clone();
            if step.part == Part::Instance {
                continue;
            }
            if let Err(error) = session.make_what_fits(step.clone()) {
                let without = step.without().ok_or(error)?;
                session.plan.notes.push(format!("{} could not be set: {without}", step.write.file));
            }
        }
        Ok(session)
    }

    /// Makes a step, and where the kernel has not the memory for a buffer, a smaller one; the plan then says so.
    fn make_what_fits(&mut self, mut step: Step) -> Result<(), Error> {
        let wanted = step.write.content.clone();
        loop {
            match self.make(&step) {
                Ok(()) => break,
                Err(error) if error.is_out_of_memory() => step = step.smaller().ok_or(error)?,
                Err(error) => return Err(error),
            }
        }
        let got = &step.write.content;
        if *got != wanted {
            self.plan.notes.push(format!(
                "the kernel has not the memory for a buffer of {wanted} KiB a CPU: it has {got} KiB, and loses records sooner"
            ));
        }
        Ok(())
    }

    /// Makes the instance, and sees whether the tracer works in it.
    fn instance(&mut self, name: &str, tracer: &str) -> Result<Made, Error> {
        let dir = format!("instances/{name}");
        let step = Step {
            write: Write::make_dir(dir.clone()),
            undo: vec![Write::remove_dir(dir.clone())],
            undo_failed: false,
            expect: None,
            part: Part::Instance,
        };
        match self.make(&step) {
            Ok(()) => {}
            // Another trace of this process, or of one in another name space that has our id.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(Made::Taken);
            }
            // Then there are none to be had here.
            Err(Error::Io { .. }) => return Ok(Made::Not),
            Err(error) => return Err(error),
        }
        let list = self.tracefs.read(&format!("{dir}/available_tracers")).unwrap_or_default();
        if tracer == "nop" || list.split_whitespace().any(|word| word == tracer) {
            return Ok(Made::Instance);
        }
        remove_dir(&self.tracefs, &Write::remove_dir(dir))?;
        self.undo.pop();
        if let Some(journal) = &mut self.journal {
            journal.void(self.undo.len())?;
        }
        Ok(Made::Not)
    }

    /// Makes one step more: notes how it is undone, writes, and looks whether it was taken.
    ///
    /// # Errors
    ///
    /// What the kernel said. What the step may have changed is undone with the rest.
    pub fn make(&mut self, step: &Step) -> Result<(), Error> {
        let noted = match &mut self.journal {
            Some(journal) => journal.note(&step.undo)?,
            None => 0,
        };
        match self.tracefs.apply(&step.write) {
            Ok(()) => self.undo.push(step.undo.clone()),
            Err(error) => {
                match step.undo_failed {
                    true => self.undo.push(step.undo.clone()),
                    false => {
                        self.undo.push(Vec::new());
                        if let Some(journal) = &mut self.journal {
                            journal.void(noted)?;
                        }
                    }
                }
                return Err(error);
            }
        }
        match &step.expect {
            Some(expect) => self.expect(&step.write, expect),
            None => Ok(()),
        }
    }

    /// The kernel takes some things without a word and does nothing with them.
    fn expect(&self, write: &Write, expect: &Expect) -> Result<(), Error> {
        let text = self.tracefs.read(&write.file)?;
        let taken = match expect {
            Expect::NotEmpty => text.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#')),
            Expect::Word(word) => text.split_whitespace().any(|found| found == word),
        };
        if taken {
            return Ok(());
        }
        let file = &write.file;
        Err(Error::Settings(format!(
            "'{}' was written to {file}, but the kernel does not list it",
            write.content
        )))
    }

    /// What was planned.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The tracefs it happens in.
    pub fn tracefs(&self) -> &Tracefs {
        &self.tracefs
    }

    /// The directory of our buffers: that of the instance, or the root.
    pub fn dir(&self) -> PathBuf {
        self.tracefs.path(self.plan.place.prefix().trim_end_matches('/'))
    }

    /// A file of our place.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn read(&self, file: &str) -> Result<String, Error> {
        self.tracefs.read(&format!("{}{file}", self.plan.place.prefix()))
    }

    /// Opens the per-CPU pipes. The tracer cannot be changed while they are open.
    ///
    /// # Errors
    ///
    /// If they cannot be opened, as when somebody else reads them.
    pub fn pipes(&self) -> Result<Pipes, Error> {
        Pipes::open(&self.tracefs, &self.plan.place)
    }

    /// Tracing on.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn start(&self) -> Result<(), Error> {
        self.tracefs.apply(&self.plan.start)
    }

    /// Tracing off. What is in the buffers stays there.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn stop(&self) -> Result<(), Error> {
        self.tracefs.apply(&self.plan.stop)
    }

    /// What the kernel counted, a row for each CPU.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn stats(&self) -> Result<Vec<CpuStats>, Error> {
        CpuStats::of(&self.tracefs, &self.plan.place)
    }

    /// Puts everything back. The pipes must be closed. Gives what could not be put back; a journal is kept then.
    pub fn finish(mut self) -> Vec<Error> {
        self.put_back()
    }

    fn put_back(&mut self) -> Vec<Error> {
        let Some(journal) = self.journal.take() else { return Vec::new() };
        let steps = std::mem::take(&mut self.undo);
        let mut problems = undo_all(&self.tracefs, &steps);
        if problems.is_empty() {
            problems.extend(journal.end().err());
        } else {
            let path = journal.path().display();
            problems.push(Error::Settings(format!(
                "what is left is noted in {path}; `fathom kernel reset` tries again"
            )));
        }
        problems
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Who wants to know what went wrong calls `finish`.
        self.put_back();
    }
}

/// What was put back for a process that was killed.
#[derive(Debug)]
pub struct Recovered {
    /// The process.
    pub pid: u32,
    /// What was written.
    pub writes: Vec<Write>,
    /// What could not be put back. The journal is kept then.
    pub problems: Vec<Error>,
}

/// Undoes what killed processes have left.
///
/// # Errors
///
/// If the journals cannot be read.
pub fn recover(journals: &Journals, on: impl Fn(&Left) -> Tracefs) -> Result<Vec<Recovered>, Error> {
    let mut all = Vec::new();
    for left in journals.left()? {
        let tracefs = on(&left);
        let problems = undo_all(&tracefs, &left.steps);
        if problems.is_empty() {
            std::fs::remove_file(&left.path)
                .map_err(|source| Error::Journal { path: left.path.clone(), source })?;
        }
        let writes = left.steps.iter().rev().flatten().cloned().collect();
        all.push(Recovered { pid: left.pid, writes, problems });
    }
    Ok(all)
}

/// Undoes steps from the last to the first, and those that were not possible once more: a probe that an event of the
/// instance still uses goes when the instance is gone.
fn undo_all(tracefs: &Tracefs, steps: &[Vec<Write>]) -> Vec<Error> {
    let all: Vec<&Write> = steps.iter().rev().flatten().collect();
    let failed: Vec<&Write> = all.into_iter().filter(|write| undo(tracefs, write).is_err()).collect();
    failed.into_iter().filter_map(|write| undo(tracefs, write).err()).collect()
}

fn undo(tracefs: &Tracefs, write: &Write) -> Result<(), Error> {
    match write.mode {
        Mode::RemoveDir => remove_dir(tracefs, write),
        _ => match tracefs.apply(write) {
            Err(error) if is_gone(&error, write, tracefs) => Ok(()),
            other => other,
        },
    }
}

/// Whether what was to be undone is not there any more, or never was.
fn is_gone(error: &Error, write: &Write, tracefs: &Tracefs) -> bool {
    let Error::Refused(refusal) = error else { return false };
    let missing = refusal.source.kind() == io::ErrorKind::NotFound;
    let removes = write.content.starts_with('!') || write.content.starts_with("-:");
    missing && (removes || !tracefs.has(&write.file))
}

/// Removes an instance. The kernel may need a moment to let go of it.
fn remove_dir(tracefs: &Tracefs, write: &Write) -> Result<(), Error> {
    let mut wait = Duration::from_millis(1);
    loop {
        match tracefs.apply(write) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(Error::Io { source, .. })
                if source.kind() == io::ErrorKind::ResourceBusy && wait < Duration::from_millis(500) =>
            {
                thread::sleep(wait);
                wait *= 2;
            }
            other => return other,
        }
    }
}

/// What came of making an instance.
enum Made {
    /// It is there, and the tracer works in it.
    Instance,
    /// There is one of that name.
    Taken,
    /// There are none, or the tracer does not work in them.
    Not,
}

/// Names that are not in use: an instance of a process that was killed and had our id, or our own second trace.
fn free_names(tracefs: &Tracefs, naming: Naming) -> impl Iterator<Item = Naming> {
    let taken = |naming: &Naming| {
        tracefs.has(&format!("instances/{}", naming.instance))
            || tracefs.has(&format!("events/{}", naming.group))
    };
    let numbered = move |n: u32| match n {
        1 => naming.clone(),
        n => Naming { instance: format!("{}-{n}", naming.instance), group: format!("{}_{n}", naming.group) },
    };
    (1..1000).map(numbered).filter(move |naming| !taken(naming))
}
