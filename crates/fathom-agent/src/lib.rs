//! Changes what a running recording records: one asks (`fathom -p PID`), the recorder of that program (`record -g`)
//! listens.
//!
//! Not for understanding filters or changing the recording: texts are handed on as they are, to a function of the
//! recorder.
//!
//! The protocol is that of uftrace's agent, over a stream socket of the local machine, so either end may be uftrace's
//! (from 0.14 on). There the traced program itself listens; here the recorder does, so nothing runs in the program. A
//! change takes effect as a whole, when the client says that it is complete.
#![forbid(unsafe_code)]

mod client;
mod message;
mod place;
mod server;

pub use client::{ClientError, send, talk};
pub use message::{Message, MessageError, Setting};
pub use place::{DIR, socket_path};
pub use server::{Listener, serve};

/// How patterns are written, as the protocol numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// The name itself.
    Simple,
    /// Regular expression.
    Regex,
    /// Shell pattern.
    Glob,
}

/// What is to be changed. What is `None` or empty stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentChange {
    /// Recording on or off.
    pub trace: Option<bool>,
    /// Deepest level that is recorded, 1 and more.
    pub depth: Option<u32>,
    /// Shorter calls are not recorded, ns.
    pub threshold: Option<u64>,
    /// How the patterns of this change are written.
    pub pattern: Option<Pattern>,
    /// Filters as `-F` takes them; those of `-N` begin with `!`.
    pub filters: Vec<String>,
    /// Filters as `-C` takes them.
    pub callers: Vec<String>,
    /// Triggers as `-T` takes them, and the action `clear`.
    pub triggers: Vec<String>,
}

impl AgentChange {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        *self == AgentChange::default()
    }

    /// The settings that it consists of, in the order in which they are sent.
    pub fn settings(&self) -> Vec<Setting> {
        let texts = |texts: &[String], setting: fn(String) -> Setting| {
            texts.iter().cloned().map(setting).collect::<Vec<_>>()
        };
        let numbers = [
            self.trace.map(Setting::Trace),
            self.depth.map(Setting::Depth),
            self.threshold.map(Setting::Threshold),
            self.pattern.map(Setting::Pattern),
        ];
        let mut settings: Vec<Setting> = numbers.into_iter().flatten().collect();
        settings.extend(texts(&self.filters, Setting::Filter));
        settings.extend(texts(&self.callers, Setting::Caller));
        settings.extend(texts(&self.triggers, Setting::Trigger));
        settings
    }

    /// Adds a setting.
    pub fn set(&mut self, setting: Setting) {
        match setting {
            Setting::Trace(on) => self.trace = Some(on),
            Setting::Depth(depth) => self.depth = Some(depth),
            Setting::Threshold(ns) => self.threshold = Some(ns),
            Setting::Pattern(pattern) => self.pattern = Some(pattern),
            Setting::Filter(text) => self.filters.push(text),
            Setting::Caller(text) => self.callers.push(text),
            Setting::Trigger(text) => self.triggers.push(text),
        }
    }
}

#[cfg(test)]
mod tests;
