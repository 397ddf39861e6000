//! A plan: the writes that settings come to, in the order in which they have to be made, each with what undoes it.

mod build;
mod previous;
mod probes;

use crate::{Error, Settings, Tracefs};

/// A buffer that is not made smaller for want of memory, in KiB a CPU: less than twice what every kernel has of its own
/// accord (1,408 KiB).
const SMALLEST_BUFFER_KB: u64 = 2048;

/// How something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `>` of a shell. Lists are emptied by the open.
    Truncate,
    /// `>>` of a shell.
    Append,
    /// `mkdir`.
    MakeDir,
    /// `rmdir`.
    RemoveDir,
}

/// One write to a file of tracefs, or a directory made or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The file, relative to the root of tracefs.
    pub file: String,
    /// How.
    pub mode: Mode,
    /// What, without the newline that ends it.
    pub content: String,
}

impl Write {
    /// `echo CONTENT > FILE`.
    pub fn truncate(file: impl Into<String>, content: impl Into<String>) -> Write {
        Write { file: file.into(), mode: Mode::Truncate, content: content.into() }
    }

    /// `echo CONTENT >> FILE`.
    pub fn append(file: impl Into<String>, content: impl Into<String>) -> Write {
        Write { file: file.into(), mode: Mode::Append, content: content.into() }
    }

    /// `mkdir DIR`.
    pub fn make_dir(dir: impl Into<String>) -> Write {
        Write { file: dir.into(), mode: Mode::MakeDir, content: String::new() }
    }

    /// `rmdir DIR`.
    pub fn remove_dir(dir: impl Into<String>) -> Write {
        Write { file: dir.into(), mode: Mode::RemoveDir, content: String::new() }
    }
}

/// A step: a write, what undoes it, and how to see that it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is written.
    pub write: Write,
    /// What puts back what was there, in the order to be written. Empty where removing the instance does it.
    pub undo: Vec<Write>,
    /// Whether it is to be undone also if the write failed: where opening alone destroys what was there. Not where
    /// something is made, since failing may mean that another one has it already.
    pub undo_failed: bool,
    /// The file has to list this afterwards; the kernel takes some things without a word.
    pub expect: Option<Expect>,
    /// The heading in shell lines under which it stands.
    pub part: Part,
}

impl Step {
    /// What a trace lacks that was made without this step; nothing if it is not worth making without.
    pub(crate) fn without(&self) -> Option<&'static str> {
        // The kernel wants one piece of memory for it, which there may not be.
        (self.write.file == "saved_cmdlines_size")
            .then_some("names of tasks that came and went may be missing")
    }

    /// The same with a buffer of half the size; nothing if it is no buffer, or one that is small already.
    pub(crate) fn smaller(&self) -> Option<Step> {
        let file = self.write.file.rsplit('/').next();
        let size: u64 = self.write.content.parse().ok().filter(|_| file == Some("buffer_size_kb"))?;
        let mut step = self.clone();
        step.write.content = (size / 2).to_string();
        (size > SMALLEST_BUFFER_KB).then_some(step)
    }
}

/// What a file has to say after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything but a comment: an empty list stands for everything.
    NotEmpty,
    /// This word.
    Word(String),
}

/// The parts of a plan, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// An instance of our own.
    Instance,
    /// Everything off.
    Quiet,
    /// Clock, buffers, options.
    Buffers,
    /// Which tasks and CPUs.
    Tasks,
    /// Which functions.
    Functions,
    /// Probes and synthetic events.
    Probes,
    /// Filters and triggers.
    Triggers,
    /// The tracer.
    Tracer,
    /// Events on.
    Events,
    /// The buffer empty.
    Clear,
    /// What functions set off. Last of all: the kernel counts every call of the function by anybody, so that what comes
    /// between would use a count up.
    Commands,
}

impl Part {
    /// In words.
    pub fn heading(self) -> &'static str {
        match self {
            Part::Instance => "an instance of our own",
            Part::Quiet => "everything off while it is set up",
            Part::Buffers => "clock, buffers, options",
            Part::Tasks => "tasks and CPUs",
            Part::Functions => "functions",
            Part::Probes => "probes and synthetic events",
            Part::Triggers => "filters and triggers",
            Part::Tracer => "the tracer, after all that narrows it",
            Part::Events => "events",
            Part::Clear => "an empty buffer",
            Part::Commands => "what functions set off",
        }
    }
}

/// Where it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In an instance, which is made and removed.
    Instance(String),
    /// At the top level.
    Top,
}

impl Place {
    /// What stands before the names of its files: `instances/NAME/` or nothing.
    pub fn prefix(&self) -> String {
        match self {
            Place::Instance(name) => format!("instances/{name}/"),
            Place::Top => String::new(),
        }
    }
}

/// What our own things are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// The instance.
    pub instance: String,
    /// The group of probes: a C identifier.
    pub group: String,
}

impl Naming {
    /// Names that nobody else has, by the process that has them.
    pub fn of_process(pid: u32) -> Naming {
        Naming { instance: format!("fathom-{pid}"), group: format!("fathom_{pid}") }
    }

    /// Names for shell lines that a person is to read.
    pub fn plain() -> Naming {
        Naming { instance: "fathom".into(), group: "fathom".into() }
    }
}

/// What settings come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where.
    pub place: Place,
    /// The steps in order. After them tracing is still off.
    pub steps: Vec<Step>,
    /// What the user should know: names that are called otherwise here, what a choice costs.
    pub notes: Vec<String>,
    /// What is enabled, as `SYSTEM/EVENT` (the probes under our group).
    pub events: Vec<String>,
    /// Files of histograms that can be read before the end.
    pub histograms: Vec<String>,
    /// Whether a trigger or command may take a snapshot.
    pub snapshots: bool,
    /// What is written to begin.
    pub start: Write,
    /// What is written to stop.
    pub stop: Write,
}

impl Plan {
    /// Makes the plan: looks at the kernel, and changes nothing.
    ///
    /// # Errors
    ///
    /// Names that this kernel does not have, settings that make no sense together, files that it lacks.
    pub fn build(
        tracefs: &Tracefs,
        settings: &Settings,
        naming: &Naming,
        place: Place,
    ) -> Result<Plan, Error> {
        build::plan(tracefs, settings, naming, place)
    }

    /// Where these settings can happen, as far as can be told without trying: [`crate::Session::begin`] tries.
    pub fn likely_place(tracefs: &Tracefs, settings: &Settings, naming: &Naming) -> Place {
        build::likely_place(tracefs, settings, naming)
    }

    /// All undoing writes in the order in which they are to be made.
    pub fn undo(&self) -> impl Iterator<Item = &Write> {
        self.steps.iter().rev().flat_map(|step| &step.undo)
    }
}
