//! A trace as filters and triggers show it.
//!
//! [`Filtered`] is a layer between a store and its readers. It decides about each call with the same code as the runtime
//! ([`fathom_abi::decide`]), so it comes to the result that a recording with the same options would have had; what needs
//! the end of a call (time limits, caller filters) it decides by holding entries back until the end is seen, or until
//! the call has lasted long enough. It reads every task once, in order; its memory is that of open calls, and of what
//! happened in them as long as they are held back.

mod held;
mod range;
mod sieve;
mod stream;
mod switches;

pub use range::{Bound, TimeRange};

use crate::walk;
use fathom_filter::{Action, FunctionRule, Match, Rules, SpecError, Specs, Subject, Unmatched};
use fathom_store::{
    Batch, Error, EventOptions, External, Function, FunctionId, FunctionKind, Kind, Layer, Task, TaskEvents,
    Tid, Trace, VisitStack,
};
use range::Span;
use stream::Stream;
use switches::{Switch, Switches};

/// What is shown, besides what specs of functions say.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterOptions {
    /// Levels of calls (`-D`).
    pub depth: u32,
    /// ns that a call must take (`-t`).
    pub time: u64,
    /// Bytes that a function must have (`-Z`).
    pub size: u32,
    /// Whether calls are shown from the beginning (`--trace=off`: not).
    pub on: bool,
    /// When (`-r`).
    pub range: TimeRange,
    /// Which tasks; none means all (`--tid`).
    pub tids: Option<Vec<Tid>>,
    /// Show that a task lost its processor to another one (`--no-sched-preempt`: not).
    pub preemption: bool,
    /// Show only functions and events of the kernel (`--kernel-only`).
    pub kernel_only: bool,
    /// Add the open calls where a `backtrace` trigger asks for them, as events of
    /// [`fathom_store::event_id::BACKTRACE`].
    pub backtraces: bool,
    /// Leave depths as they are recorded, instead of those among the calls that are shown.
    pub recorded_depths: bool,
}

impl Default for FilterOptions {
    fn default() -> Self {
        FilterOptions {
            depth: u32::MAX,
            time: 0,
            size: 0,
            on: true,
            range: TimeRange::default(),
            tids: None,
            preemption: true,
            kernel_only: false,
            backtraces: false,
            recorded_depths: false,
        }
    }
}

impl FilterOptions {
    /// Whether everything is shown as it is.
    pub fn is_nothing(&self) -> bool {
        let how = FilterOptions {
            backtraces: self.backtraces,
            recorded_depths: self.recorded_depths,
            ..FilterOptions::default()
        };
        *self == how
    }
}

/// Why there is no filtered trace.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// A spec makes no sense.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// No task has one of the numbers given.
    #[error("no task has the number {tid}; there are {others}")]
    NoTask {
        /// The number.
        tid: Tid,
        /// Some of those that there are.
        others: String,
    },
    /// The trace could not be read.
    #[error(transparent)]
    Store(#[from] Error),
}

/// A trace that shows of another one what filters leave.
pub struct Filtered<'t> {
    inner: &'t dyn Trace,
    tasks: Vec<Task>,
    shared: Shared<'t>,
}

/// What the streams of all tasks need.
pub(crate) struct Shared<'t> {
    trace: &'t dyn Trace,
    rules: Rules,
    options: FilterOptions,
    /// Calls are shown only in functions with a filter.
    opt_in: bool,
    /// Only calls are shown that lead to certain functions.
    caller: bool,
    span: Span,
    switches: Switches,
}

impl<'t> Filtered<'t> {
    /// Applies specs and options to `inner`.
    ///
    /// If there are triggers that switch recording on or off, this reads the whole trace.
    ///
    /// # Errors
    ///
    /// A spec with a pattern that is not valid, a task that does not exist, a trace that can't be read.
    pub fn new(
        inner: &'t dyn Trace,
        specs: &Specs,
        how: Match,
        options: FilterOptions,
    ) -> Result<Filtered<'t>, FilterError> {
        let mut rules = Rules::new(specs, how)?;
        let sources = rules.needs_source();
        if !rules.is_empty() {
            inner.all_functions(sources, &mut |function, source| rules.observe(&subject(function, source)));
        }
        let tasks = wanted_tasks(inner, options.tids.as_deref())?;
        let span = options
            .range
            .resolve(|| first_time(inner, EventOptions { events: false, ..EventOptions::default() }))?;
        let (opt_in, caller) = (rules.has_opt_in(), rules.has_caller());
        let switches = Switches::new(options.on);
        let mut shared = Shared { trace: inner, rules, options, opt_in, caller, span, switches };
        if shared.rules.any_action(is_switch) {
            shared.switches = Switches::sorted(shared.options.on, shared.all_switches()?);
        }
        Ok(Filtered { inner, tasks, shared })
    }

    /// Specs that no function of the trace matches. They have no effect.
    pub fn unmatched(&self) -> Vec<Unmatched> {
        self.shared.rules.unmatched()
    }

    /// When the trace begins, ns: with what is filtered out; without events that are no calls for a range of time that
    /// counts from there.
    ///
    /// # Errors
    ///
    /// A trace that can't be read.
    pub fn begin(&self, options: EventOptions) -> Result<u64, Error> {
        let calls_only = self.shared.options.range.is_relative();
        first_time(self.inner, EventOptions { events: options.events && !calls_only, ..options })
    }

    /// From when to when events are shown, ns.
    pub fn span(&self) -> (u64, u64) {
        (self.shared.span.from, self.shared.span.to)
    }

    /// Whether what is shown from some moment on does not depend on what was before, so that [`TaskEvents::seek`] goes there
    /// without reading that.
    pub fn is_seekable(&self) -> bool {
        self.shared.is_range_only()
    }

    /// What the specs say about a function; none if they say nothing.
    pub fn rule(&self, id: FunctionId) -> Option<FunctionRule> {
        self.shared.rule(id, &self.inner.function(id))
    }
}

fn is_switch(action: &Action) -> bool {
    matches!(action, Action::TraceOn | Action::TraceOff | Action::Finish)
}

impl Shared<'_> {
    /// Whether there is nothing but a range of time to be chosen.
    fn is_range_only(&self) -> bool {
        let FilterOptions { range, ref tids, preemption, .. } = self.options;
        let range = FilterOptions { range, tids: tids.clone(), preemption, ..FilterOptions::default() };
        let options = FilterOptions { backtraces: false, recorded_depths: false, ..self.options.clone() };
        self.rules.is_empty() && options == range
    }

    fn rule(&self, id: FunctionId, function: &Function) -> Option<FunctionRule> {
        if self.rules.is_empty() {
            return None;
        }
        let source = if self.rules.needs_source() { self.trace.source_of(id) } else { None };
        self.rules.rule(&subject(function, source.as_deref()))
    }

    /// When recording is switched on and off, by all tasks, in no order.
    fn all_switches(&self) -> Result<Vec<Switch>, Error> {
        let tasks: Vec<(u32, &Task)> = (0..).zip(self.trace.tasks()).collect();
        let numbers: rustc_hash::FxHashMap<Tid, u32> =
            tasks.iter().map(|(at, task)| (task.tid, *at)).collect();
        let tasks: Vec<&Task> = tasks.into_iter().map(|(_, task)| task).collect();
        let each = |found: &mut Vec<Switch>, task: &Task| {
            let number = numbers.get(&task.tid).copied().unwrap_or_default();
            found.extend(stream::switches_of(self, task.tid, number)?);
            Ok(())
        };
        Ok(walk::fold_tasks(&tasks, 0, Vec::new, each)?.concat())
    }
}

fn subject<'a>(function: &'a Function, source: Option<&'a str>) -> Subject<'a> {
    Subject {
        shown: &function.name,
        raw: &function.raw_name,
        module: &function.module,
        is_plt: function.kind == FunctionKind::Plt,
        is_kernel: function.kind == FunctionKind::Kernel,
        size: function.size,
        source,
    }
}

fn wanted_tasks(inner: &dyn Trace, tids: Option<&[Tid]>) -> Result<Vec<Task>, FilterError> {
    let Some(tids) = tids else { return Ok(inner.tasks().to_vec()) };
    if let Some(&tid) = tids.iter().find(|tid| !inner.tasks().iter().any(|task| task.tid == **tid)) {
        const SHOWN: usize = 8;
        let mut others: Vec<_> = inner.tasks().iter().take(SHOWN).map(|task| task.tid.to_string()).collect();
        if inner.tasks().len() > SHOWN {
            others.push("…".to_owned());
        }
        return Err(FilterError::NoTask { tid, others: others.join(", ") });
    }
    Ok(inner.tasks().iter().filter(|task| tids.contains(&task.tid)).cloned().collect())
}

/// Time of the first event of all tasks.
fn first_time(trace: &dyn Trace, options: EventOptions) -> Result<u64, Error> {
    let mut first = u64::MAX;
    let mut batch = Batch::default();
    for task in trace.tasks() {
        let mut events = trace.events(task.tid, options)?;
        while events.next_batch(&mut batch)? {
            if let Some(event) = batch.events.iter().find(|event| event.kind != Kind::Lost) {
                first = first.min(event.time);
                break;
            }
        }
    }
    Ok(first)
}

impl Layer for Filtered<'_> {
    fn inner(&self) -> &dyn Trace {
        self.inner
    }

    fn layer_tasks(&self) -> &[Task] {
        &self.tasks
    }

    fn layer_stacks(&self, visit: &mut VisitStack<'_>) -> Result<(), Error> {
        let Span { from, to } = self.shared.span;
        self.inner.stacks(&mut |tid, time, frames, event| {
            let shown = self.tasks.binary_search_by_key(&tid, |task| task.tid).is_ok();
            if shown && (from..=to).contains(&time) {
                visit(tid, time, frames, event);
            }
        })
    }

    fn layer_external(&self) -> &[External] {
        self.shared.span.of(self.inner.external(), |message| message.time)
    }

    fn layer_events(&self, tid: Tid, options: EventOptions) -> Result<Box<dyn TaskEvents + '_>, Error> {
        if !self.tasks.iter().any(|task| task.tid == tid) {
            return Err(Error::NoSuchTask { tid });
        }
        Ok(Box::new(Stream::open(&self.shared, tid, options)?))
    }
}

#[cfg(test)]
mod tests;
