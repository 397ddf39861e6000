//! Scripts over traces: calls functions of a user's script in Python or Lua for every call and event, in the order of
//! time.
//!
//! Not for reading traces (`fathom-store`), for filters (`fathom-analysis`), nor for text: what a script prints is the
//! script's business.
//!
//! The interface is uftrace's: `uftrace_begin`, `uftrace_entry`, `uftrace_exit`, `uftrace_event`, `uftrace_end` and the
//! list `UFTRACE_FUNCS`, all optional. Python runs in the user's own interpreter as a child process that gets calls in
//! blocks through a pipe ([`python`]); Lua runs inside ([`lua`]). Filters are applied on this side, so a script that
//! looks at few functions costs little.
//!
//! A script that fails ends with an [`Error::Script`] that says where, and is not called again.
#![forbid(unsafe_code)]

mod calls;
mod error;
mod examples;
mod header;
mod interest;
pub mod lua;
pub mod python;
mod value;

pub use calls::{Call, Feed, Feeding, Sink, What, feed};
pub use error::Error;
pub use examples::{EXAMPLES, Example, example};
pub use header::{Language, header_options};
pub use interest::Interest;
pub use value::{Value, values};

use fathom_filter::Match;
use fathom_store::Trace;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What `uftrace_begin` is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begin {
    /// Whether the calls are those of a recording that is being made.
    pub record: bool,
    /// Version text without the program's name.
    pub version: String,
    /// The program and its arguments, or none.
    pub cmds: Vec<String>,
}

/// How a script is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the patterns of `UFTRACE_FUNCS` are meant.
    pub matching: Match,
    /// The Python interpreter.
    pub python: OsString,
    /// Set when the user wants an end: the script is interrupted.
    pub interrupted: Arc<AtomicBool>,
}

/// Where a script is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of the user's.
    File(PathBuf),
    /// One of ours.
    Example(&'static Example),
}

impl Source {
    /// The file, or where there is none the script that comes with us under that name.
    pub fn find(name: &Path) -> Source {
        match name.to_str().filter(|_| !name.exists()).and_then(example) {
            Some(example) => Source::Example(example),
            None => Source::File(name.to_path_buf()),
        }
    }

    /// As it is named in messages and tracebacks.
    pub fn name(&self) -> String {
        match self {
            Source::File(path) => path.display().to_string(),
            Source::Example(example) => example.file.to_owned(),
        }
    }

    /// Its language and its text.
    ///
    /// # Errors
    ///
    /// [`Error::Language`] and [`Error::Open`].
    pub fn read(&self) -> Result<(Language, Vec<u8>), Error> {
        match self {
            Source::Example(example) => Ok((example.language, example.text.as_bytes().to_vec())),
            Source::File(path) => {
                let language = Language::of(path).ok_or_else(|| Error::Language { path: path.clone() })?;
                let text = std::fs::read(path);
                Ok((language, text.map_err(|error| Error::Open { path: path.clone(), error })?))
            }
        }
    }
}

/// A script that has been loaded.
#[derive(Debug)]
pub enum Script {
    /// In a child process.
    Python(Box<python::Python>),
    /// In this one.
    Lua(Box<lua::Script>),
}

impl Script {
    /// Runs what is outside of functions in a script.
    ///
    /// # Errors
    ///
    /// A script that cannot be read or that fails.
    pub fn load(source: &Source, options: &Options) -> Result<Script, Error> {
        let (language, text) = source.read()?;
        Ok(match language {
            Language::Python => Script::Python(Box::new(python::Python::load(source, &text, options)?)),
            Language::Lua => Script::Lua(Box::new(lua::Script::load(source, &text, options)?)),
        })
    }

    /// Remarks on the script that are no errors, to be shown.
    pub fn notes(&self) -> &[String] {
        match self {
            Script::Python(script) => &script.interest().notes,
            Script::Lua(script) => &script.interest().notes,
        }
    }

    /// Calls `uftrace_begin`.
    ///
    /// # Errors
    ///
    /// A script that fails.
    pub fn begin(&mut self, begin: &Begin) -> Result<(), Error> {
        match self {
            Script::Python(script) => script.begin(begin),
            Script::Lua(script) => script.begin(begin),
        }
    }

    /// Waits until all that was asked of the script is done. From then on it is called while a program runs: what the
    /// terminal sends is for that. The script still ends when [`Options::interrupted`] is set.
    ///
    /// # Errors
    ///
    /// A script that fails.
    pub fn along(&mut self) -> Result<(), Error> {
        match self {
            Script::Python(script) => script.along(),
            Script::Lua(_) => Ok(()),
        }
    }

    /// Calls the script for all that is in a trace. Returns in how many places records are missing.
    ///
    /// # Errors
    ///
    /// A script that fails, a trace that can't be read.
    pub fn feed(&mut self, trace: &dyn Trace, feed_options: Feed) -> Result<u64, Error> {
        let mut feeding = Feeding::new(feed_options);
        self.feed_part(trace, &mut feeding)?;
        Ok(feeding.lost())
    }

    /// Calls the script for the next piece of a trace.
    ///
    /// # Errors
    ///
    /// A script that fails, a trace that can't be read.
    pub fn feed_part(&mut self, trace: &dyn Trace, feeding: &mut Feeding) -> Result<(), Error> {
        match self {
            Script::Python(script) => script.feed_part(trace, feeding),
            Script::Lua(script) => script.feed_part(trace, feeding),
        }
    }

    /// Lets what the script has printed be seen, although more is to come.
    ///
    /// # Errors
    ///
    /// A script that fails.
    pub fn flush(&mut self) -> Result<(), Error> {
        match self {
            Script::Python(script) => script.flush(),
            Script::Lua(script) => script.flush(),
        }
    }

    /// Whether the script has failed or ended since it was last called for something.
    ///
    /// # Errors
    ///
    /// A script that has.
    pub fn check(&mut self) -> Result<(), Error> {
        match self {
            Script::Python(script) => script.check(),
            Script::Lua(_) => Ok(()),
        }
    }

    /// Calls `uftrace_end` and waits until the script is over.
    ///
    /// # Errors
    ///
    /// A script that fails.
    pub fn end(self) -> Result<(), Error> {
        match self {
            Script::Python(script) => script.end(),
            Script::Lua(script) => script.end(),
        }
    }
}
