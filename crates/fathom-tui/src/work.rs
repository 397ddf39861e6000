//! What is done while the user looks: reading the whole trace for graph, report and timeline, and answering questions.

use crate::stop::counted;
use crate::timeline::Id;
use crate::timeline::find::{Found, Query, Step};
use crate::timeline::folds::Folds;
use crate::timeline::index::Limits;
use crate::timeline::reader::{Reader, StackLine, Window};
use crate::timeline::scan::{Progress, scan};
use crate::timeline::source::Timeline;
use fathom_analysis::graph::{Graph, graphs_if};
use fathom_analysis::statistics::{Row, functions_if};
use fathom_store::{
    Batch, Error, EventOptions, Function, FunctionId, FunctionKind, Layer, TaskEvents, Tid, Trace,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};

/// A result, of the whole trace or of the part that has been read.
#[derive(Clone, Debug)]
pub(crate) struct Part<T> {
    pub(crate) of: T,
    pub(crate) whole: bool,
}

/// What comes from the background.
#[derive(Debug)]
pub(crate) enum News {
    /// The call graphs of all sessions.
    Graphs(Part<Vec<Graph>>),
    /// The statistics of all functions.
    Report(Part<Vec<Row>>),
    /// Lines of the replay that were asked for.
    Window {
        /// Which question it answers.
        ticket: u64,
        /// The lines.
        window: Window,
    },
    /// Where to go in the replay.
    Found {
        /// Which question it answers.
        ticket: u64,
        /// Nothing if there was none.
        found: Option<Found>,
    },
    /// The open calls at a line.
    Stack {
        /// The line.
        id: Id,
        /// From the outermost on.
        lines: Vec<StackLine>,
    },
    /// Where a function is.
    Place {
        /// The function.
        function: FunctionId,
        /// File and line.
        place: Option<(String, u32)>,
    },
    /// Something could not be read.
    Failed(String),
}

/// A question about the replay.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// Lines around a place.
    Window {
        /// Repeated in the answer.
        ticket: u64,
        /// The place.
        anchor: Id,
        /// How many lines before it.
        before: usize,
        /// How many from it on.
        after: usize,
        /// What is folded.
        folds: Arc<Folds>,
    },
    /// The nearest line that fits.
    Find {
        /// Repeated in the answer.
        ticket: u64,
        /// Where to begin.
        from: Id,
        /// What is searched for.
        query: Query,
        /// Towards later times.
        forward: bool,
    },
    /// From one call to another.
    Go {
        /// Repeated in the answer.
        ticket: u64,
        /// The call.
        from: Id,
        /// Where to.
        step: Step,
    },
    /// The line nearest to a moment (ns).
    At {
        /// Repeated in the answer.
        ticket: u64,
        /// ns of the trace clock.
        time: u64,
        /// The name of a function of which there is a call then.
        name: Option<Arc<str>>,
    },
    /// The open calls at a line.
    Stack {
        /// The line.
        id: Id,
    },
    /// Where a function is.
    Place {
        /// The function.
        function: FunctionId,
    },
}

impl Ask {
    /// Whether the answer may take long, because much of the trace may have to be read.
    pub(crate) fn is_long(&self) -> bool {
        matches!(self, Ask::Find { .. } | Ask::Go { .. } | Ask::At { .. })
    }

    /// Questions of the same kind: only the last one matters.
    fn kind(&self) -> u8 {
        match self {
            Ask::Window { .. } => 0,
            Ask::Stack { .. } => 1,
            Ask::Place { .. } => 2,
            _ => 3,
        }
    }
}

/// What is done in the background.
pub(crate) struct Work<'t> {
    pub(crate) trace: &'t dyn Trace,
    pub(crate) timeline: Timeline<'t>,
    events: EventOptions,
    libcalls: bool,
    /// Of reading for graph and report.
    pub(crate) reading: Progress,
    /// Of making the index of the timeline.
    pub(crate) scanning: Progress,
    /// Searches are given up if this is not their ticket.
    search: AtomicU64,
    stop: AtomicBool,
}

impl<'t> Work<'t> {
    /// `trace` is what graph and report are made of, `shown` what the replay shows; `seekable` if that can be read from any
    /// moment on. Without `libcalls`, library functions have no lines.
    pub(crate) fn new(
        trace: &'t dyn Trace,
        shown: &'t dyn Trace,
        events: EventOptions,
        seekable: bool,
        libcalls: bool,
    ) -> Work<'t> {
        Work {
            trace,
            timeline: Timeline::new(shown, events, seekable),
            events,
            libcalls,
            reading: Progress::default(),
            scanning: Progress::default(),
            search: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Ends everything as soon as possible.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.reading.stop.store(true, Ordering::Relaxed);
        self.scanning.stop.store(true, Ordering::Relaxed);
        self.search.store(u64::MAX, Ordering::Relaxed);
    }

    /// Gives up searches but that of the ticket.
    pub(crate) fn only_search(&self, ticket: u64) {
        self.search.store(ticket, Ordering::Relaxed);
    }

    /// Makes the index of the timeline.
    pub(crate) fn scan(&self, news: &Sender<News>) {
        if let Err(error) = scan(&self.timeline, Limits::default(), &self.scanning) {
            let _ = news.send(News::Failed(error_text(&error)));
        }
    }

    /// Makes graph and report: at once of the beginning of each task, then of more, then of all.
    pub(crate) fn summarize(&self, report_first: bool, news: &Sender<News>) {
        let sizes = self
            .trace
            .tasks()
            .iter()
            .map(|task| self.trace.events(task.tid, self.events).map_or(0, |events| events.progress().1));
        let total: u64 = sizes.sum();
        let rounds = rounds(total);
        let both: u64 = rounds.iter().map(|round| round.min(&total) * 2).sum();
        self.reading.all.store(both, Ordering::Relaxed);
        for round in rounds {
            let share = if round >= total { 1.0 } else { round as f64 / total.max(1) as f64 };
            for graph in [!report_first, report_first] {
                if self.reading.is_stopped() {
                    return;
                }
                let result = counted(&self.reading.done, || match graph {
                    true => self.graphs(share),
                    false => self.report(share),
                });
                let _ = match result {
                    Ok(result) => news.send(result),
                    Err(error) => news.send(News::Failed(error_text(&error))),
                };
            }
        }
        self.reading.done.store(both, Ordering::Relaxed);
    }

    fn graphs(&self, share: f64) -> Result<News, Error> {
        let limited = Limited { inner: self.trace, share, progress: &self.reading };
        let of = graphs_if(&limited, self.events, 0, |function| self.keeps(function))?;
        Ok(News::Graphs(Part { of, whole: share >= 1.0 }))
    }

    fn report(&self, share: f64) -> Result<News, Error> {
        let limited = Limited { inner: self.trace, share, progress: &self.reading };
        let of = functions_if(&limited, self.events, 0, |function| self.keeps(function))?;
        Ok(News::Report(Part { of, whole: share >= 1.0 }))
    }

    fn keeps(&self, function: &Function) -> bool {
        self.libcalls || function.kind != FunctionKind::Plt
    }

    /// Answers questions until there can be no more. Of those of one kind that wait, the last one is answered.
    pub(crate) fn answer(&self, asks: &Receiver<Ask>, news: &Sender<News>) {
        let mut reader = Reader::new(&self.timeline);
        while let Ok(first) = asks.recv() {
            let mut waiting = vec![first];
            while let Ok(ask) = asks.try_recv() {
                waiting.retain(|other| other.kind() != ask.kind());
                waiting.push(ask);
            }
            for ask in waiting {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                let answer = self.reply(&mut reader, ask);
                if news.send(answer).is_err() {
                    return;
                }
            }
        }
    }

    /// Answers a question.
    pub(crate) fn reply(&self, reader: &mut Reader, ask: Ask) -> News {
        let answer = match ask {
            Ask::Window { ticket, anchor, before, after, folds } => {
                reader.window(anchor, before, after, &folds).map(|window| News::Window { ticket, window })
            }
            Ask::Find { ticket, from, query, forward } => {
                let given_up = || self.search.load(Ordering::Relaxed) != ticket;
                reader.find(from, &query, forward, &given_up).map(|found| News::Found { ticket, found })
            }
            Ask::Go { ticket, from, step } => {
                let given_up = || self.search.load(Ordering::Relaxed) != ticket;
                reader.go(from, step, &given_up).map(|found| News::Found { ticket, found })
            }
            Ask::At { ticket, time, name } => {
                reader.at(time, name.as_deref()).map(|found| News::Found { ticket, found })
            }
            Ask::Stack { id } => reader.stack(id).map(|lines| News::Stack { id, lines }),
            Ask::Place { function } => {
                let place = self.trace.line_of(function).map(|line| (line.file.to_string(), line.line));
                Ok(News::Place { function, place })
            }
        };
        answer.unwrap_or_else(|error| News::Failed(error_text(&error)))
    }
}

/// Bytes of a trace of so many that are read in each round.
fn rounds(total: u64) -> Vec<u64> {
    const FIRST: u64 = 4 << 20;
    let mut rounds = Vec::new();
    let mut round = FIRST;
    while round < total / 2 {
        rounds.push(round);
        round = round.saturating_mul(16);
    }
    rounds.push(total.max(1));
    rounds
}

/// An error with its causes.
pub(crate) fn error_text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}

/// The beginning of each task's events.
struct Limited<'t> {
    inner: &'t dyn Trace,
    /// Which part of a task's records is shown, up to 1.
    share: f64,
    progress: &'t Progress,
}

impl Layer for Limited<'_> {
    fn inner(&self) -> &dyn Trace {
        self.inner
    }

    fn layer_events(&self, tid: Tid, options: EventOptions) -> Result<Box<dyn TaskEvents + '_>, Error> {
        let events = self.inner.events(tid, options)?;
        let all = events.progress().1;
        let limit = if self.share >= 1.0 { u64::MAX } else { (all as f64 * self.share) as u64 };
        Ok(Box::new(LimitedEvents { events, limit: limit.max(LEAST), progress: self.progress, before: 0 }))
    }
}

/// Of a task, so many bytes are read at least.
const LEAST: u64 = 16 << 10;

struct LimitedEvents<'t> {
    events: Box<dyn TaskEvents + 't>,
    limit: u64,
    progress: &'t Progress,
    before: u64,
}

impl TaskEvents for LimitedEvents<'_> {
    fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        if self.before >= self.limit || self.progress.is_stopped() {
            batch.clear();
            return Ok(false);
        }
        let done = &self.progress.done;
        let before = done.load(Ordering::Relaxed);
        let more = self.events.next_batch(batch)?;
        let read = self.events.progress().0;
        // Some of it, or all, has been counted where it was read.
        let counted = done.load(Ordering::Relaxed).saturating_sub(before);
        done.fetch_add(read.saturating_sub(self.before).saturating_sub(counted), Ordering::Relaxed);
        self.before = read;
        Ok(more)
    }

    fn seek(&mut self, time: u64) -> Result<(), Error> {
        self.events.seek(time)
    }

    fn progress(&self) -> (u64, u64) {
        self.events.progress()
    }

    fn end(&self) -> Option<u64> {
        self.events.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_store::memory::MemoryTrace;

    #[test]
    fn rounds_grow_to_the_whole() {
        assert_eq!(rounds(0), [1]);
        assert_eq!(rounds(1 << 20), [1 << 20]);
        assert_eq!(rounds(1 << 30), [4 << 20, 64 << 20, 1 << 30]);
    }

    #[test]
    fn a_part_is_the_beginning() {
        let mut trace = MemoryTrace::new();
        trace.batch_size(10);
        (0..50_000).for_each(|time| {
            trace.call(1, time * 2, time * 2 + 1, "f");
        });
        let count = |share: f64| {
            let progress = Progress::default();
            let limited = Limited { inner: &trace, share, progress: &progress };
            functions_if(&limited, EventOptions::default(), 1, |_| true).unwrap()[0].calls
        };
        assert_eq!(count(1.0), 50_000);
        assert!((1..25_000).contains(&count(0.01)), "{}", count(0.01));
        let stopped = Progress { stop: AtomicBool::new(true), ..Progress::default() };
        let limited = Limited { inner: &trace, share: 1.0, progress: &stopped };
        assert!(functions_if(&limited, EventOptions::default(), 1, |_| true).unwrap().is_empty());
    }
}
