//! How far reading has come, on standard error, when it takes long enough to wonder.

use fathom_store::{Batch, Error, EventOptions, Layer, TaskEvents, Tid, Trace};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Shorter work shows nothing.
const PATIENCE: Duration = Duration::from_millis(500);

/// A trace that shows how much of it has been read.
pub(crate) struct Watched<'t> {
    inner: &'t dyn Trace,
    meter: Meter,
}

struct Meter {
    shown: bool,
    began: Instant,
    done: AtomicU64,
    total: AtomicU64,
    bar: OnceLock<ProgressBar>,
}

impl<'t> Watched<'t> {
    /// Nothing is shown unless `wanted` and standard error is a terminal.
    pub(crate) fn new(inner: &'t dyn Trace, wanted: bool) -> Watched<'t> {
        let meter = Meter {
            shown: wanted && std::io::stderr().is_terminal(),
            began: Instant::now(),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            bar: OnceLock::new(),
        };
        Watched { inner, meter }
    }

    /// Removes the display.
    pub(crate) fn finish(&self) {
        if let Some(bar) = self.meter.bar.get() {
            bar.finish_and_clear();
        }
    }
}

impl Meter {
    fn advance(&self, bytes: u64, inner: &dyn Trace) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.began.elapsed() < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            let sizes = inner.tasks().iter().filter_map(|task| {
                inner.events(task.tid, EventOptions::default()).ok().map(|events| events.progress().1)
            });
            self.total.store(sizes.sum(), Ordering::Relaxed);
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
            let template = "{wide_bar} {percent:>3}% {eta:>4}";
            let bar = bar.with_elapsed(self.began.elapsed());
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| {
                // Only a wrong template fails, and a plain bar does as well.
                ProgressStyle::default_bar()
            }));
            bar
        });
        // Commands may read a trace more than once.
        let total = self.total.load(Ordering::Relaxed).max(1);
        bar.set_length(total * done.div_ceil(total).max(1));
        bar.set_position(done);
    }
}

impl Layer for Watched<'_> {
    fn inner(&self) -> &dyn Trace {
        self.inner
    }
    fn layer_events(&self, tid: Tid, options: EventOptions) -> Result<Box<dyn TaskEvents + '_>, Error> {
        let events = self.inner.events(tid, options)?;
        if !self.meter.shown {
            return Ok(events);
        }
        Ok(Box::new(WatchedEvents { events, owner: self, before: 0 }))
    }
}

struct WatchedEvents<'w> {
    events: Box<dyn TaskEvents + 'w>,
    owner: &'w Watched<'w>,
    before: u64,
}

impl TaskEvents for WatchedEvents<'_> {
    fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        let more = self.events.next_batch(batch)?;
        let read = self.events.progress().0;
        self.owner.meter.advance(read.saturating_sub(self.before), self.owner.inner);
        self.before = read;
        Ok(more)
    }
    fn seek(&mut self, time: u64) -> Result<(), Error> {
        self.events.seek(time)?;
        self.before = self.events.progress().0;
        Ok(())
    }
    fn progress(&self) -> (u64, u64) {
        self.events.progress()
    }
    fn end(&self) -> Option<u64> {
        self.events.end()
    }
}
