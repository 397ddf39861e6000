//! Scripts in Python, run by the user's own interpreter.
//!
//! The interpreter is a child that runs a small bridge (`bridge.py`). Messages in both directions are a letter, a length
//! of four bytes, and so many bytes. To the child: `S` the script, `B` what `uftrace_begin` is told, `N` more names, `V`
//! values for the calls of the next block, `C` a block of calls, `L` the program runs meanwhile, `F` show what was printed,
//! `E` the end. From it: `R` what the script defines, `L` it is ready for the program, `X` it has failed, `I` it was interrupted, `P` nobody reads what it prints,
//! `D` it is done.

mod child;
mod pickle;

use crate::{Begin, Call, Error, Feeding, Interest, Options, Sink, Source, What};
use child::Child;
use fathom_store::Trace;
use pickle::List;

/// Calls in a block: enough that the pipe costs nothing beside the calls.
const BLOCK: usize = 8192;
/// Bytes of values in a block.
const VALUES: usize = 256 << 10;
/// Kind, whether there are values, depth, tid, time, address, duration, name.
const RECORD: usize = 36;

/// A script in its interpreter.
#[derive(Debug)]
pub struct Python {
    child: Child,
    interest: Interest,
}

impl Python {
    /// Starts the interpreter and runs what is outside of functions.
    ///
    /// # Errors
    ///
    /// An interpreter that cannot be started, a script that fails.
    pub fn load(source: &Source, text: &[u8], options: &Options) -> Result<Python, Error> {
        let mut child = Child::start(source, options)?;
        child.send(b'S', text)?;
        let ready = child.ready()?;
        let interest = interest(&ready, options)?;
        Ok(Python { child, interest })
    }

    /// What it wants to be called for.
    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    /// See [`crate::Script::begin`].
    ///
    /// # Errors
    ///
    /// A script that fails.
    pub fn begin(&mut self, begin: &Begin) -> Result<(), Error> {
        self.child.send(b'B', &pickle::begin(begin))
    }

    /// See [`crate::Script::along`].
    ///
    /// # Errors
    ///
    /// A script that fails.
    pub fn along(&mut self) -> Result<(), Error> {
        self.child.send(b'L', b"")?;
        self.child.along()
    }

    /// See [`crate::Script::feed_part`].
    ///
    /// # Errors
    ///
    /// A script that fails, a trace that can't be read.
    pub fn feed_part(&mut self, trace: &dyn Trace, feeding: &mut Feeding) -> Result<(), Error> {
        if !(self.interest.entry || self.interest.exit || self.interest.event) {
            return Ok(());
        }
        let mut writer = Writer {
            child: &mut self.child,
            calls: Vec::with_capacity(BLOCK * RECORD),
            values: List::default(),
            names: List::default(),
        };
        feeding.feed(trace, &self.interest, &mut writer)?;
        writer.flush()
    }

    /// See [`crate::Script::flush`].
    ///
    /// # Errors
    ///
    /// A script that fails.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.child.send(b'F', b"")
    }

    /// See [`crate::Script::check`].
    ///
    /// # Errors
    ///
    /// A script that has failed.
    pub fn check(&mut self) -> Result<(), Error> {
        self.child.check()
    }

    /// See [`crate::Script::end`].
    ///
    /// # Errors
    ///
    /// A script that fails.
    pub fn end(mut self) -> Result<(), Error> {
        self.child.send(b'E', b"")?;
        self.child.done()
    }
}

/// What a script has answered that it defines: three flags, a note, patterns.
fn interest(ready: &[u8], options: &Options) -> Result<Interest, Error> {
    let nonsense = || Error::Script("the interpreter's answer makes no sense".to_owned());
    let (flags, mut rest) = ready.split_first_chunk::<3>().ok_or_else(nonsense)?;
    let mut texts = Vec::new();
    while let Some((len, tail)) = rest.split_first_chunk::<4>() {
        let (text, tail) = tail.split_at_checked(u32::from_ne_bytes(*len) as usize).ok_or_else(nonsense)?;
        texts.push(String::from_utf8_lossy(text).into_owned());
        rest = tail;
    }
    let [entry, exit, event] = flags.map(|flag| flag != 0);
    let mut interest = Interest { entry, exit, event, ..Interest::default() };
    if let Some((note, functions)) = texts.split_first() {
        if !note.is_empty() {
            interest.notes.push(note.clone());
        }
        interest.set_functions(functions, options.matching)?;
    }
    Ok(interest)
}

/// Puts calls together in blocks.
struct Writer<'c> {
    child: &'c mut Child,
    calls: Vec<u8>,
    values: List,
    names: List,
}

impl Writer<'_> {
    fn flush(&mut self) -> Result<(), Error> {
        if self.names.len() > 0 {
            self.child.send(b'N', &self.names.take())?;
        }
        if self.values.len() > 0 {
            self.child.send(b'V', &self.values.take())?;
        }
        if !self.calls.is_empty() {
            self.child.send(b'C', &self.calls)?;
            self.calls.clear();
        }
        Ok(())
    }
}

impl Sink for Writer<'_> {
    fn name(&mut self, _number: u32, text: &str) {
        self.names.text(text.as_bytes());
    }

    #[inline]
    fn call(&mut self, call: &Call<'_>) -> Result<(), Error> {
        let (kind, more, duration) = match call.what {
            What::Entry => (0, call.has_values(), 0),
            What::Exit { duration } => (1, call.has_values(), duration),
            What::Event => (2, true, 0),
        };
        if more {
            match call.what {
                What::Entry => self.values.arguments(call.values()),
                What::Exit { .. } => self.values.result(call.values()),
                What::Event => self.values.text(call.text().as_bytes()),
            }
        }
        let mut record = [0; RECORD];
        record[0] = kind;
        record[1] = u8::from(more);
        record[2..4].copy_from_slice(&u16::try_from(call.depth).unwrap_or(u16::MAX).to_ne_bytes());
        record[4..8].copy_from_slice(&call.tid.to_ne_bytes());
        record[8..16].copy_from_slice(&call.time.to_ne_bytes());
        record[16..24].copy_from_slice(&call.address.to_ne_bytes());
        record[24..32].copy_from_slice(&duration.to_ne_bytes());
        record[32..36].copy_from_slice(&call.name.to_ne_bytes());
        self.calls.extend_from_slice(&record);
        if self.calls.len() >= BLOCK * RECORD || self.values.size() >= VALUES {
            self.flush()?;
        }
        Ok(())
    }
}
