//! The calls of a trace in the order of time, as scripts are called for them.

use crate::value::{Value, values};
use crate::{Error, Interest};
use fathom_analysis::{CallStack, Callee, End, Frame, Origin, Paused, Visitor};
use fathom_store::args::ArgSpec;
use fathom_store::{
    Endian, Event, EventOptions, External, FunctionId, FunctionKind, Kind, Merge, MergedBatch, Resolver,
    Task, Tid, Trace, event_id,
};
use std::collections::HashMap;
use std::sync::Arc;

/// What of a trace is handed to a script.
#[derive(Clone, Copy, Debug)]
pub struct Feed {
    /// Which events besides calls.
    pub events: EventOptions,
    /// False leaves out calls of library functions.
    pub libcalls: bool,
    /// False leaves out arguments and return values.
    pub args: bool,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A function was entered.
    Entry,
    /// A function was left.
    Exit {
        /// ns since it was entered; 0 when that is not known.
        duration: u64,
    },
    /// Something that is not a call.
    Event,
}

/// What a record carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Data<'a> {
    Nothing,
    /// Specs of a call and what they take apart.
    Values(&'a [ArgSpec], Kind, &'a [u8], Endian),
    /// What an event says.
    Text(&'a str),
}

/// What a function of a script is called for.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What has happened.
    pub what: What,
    /// In which task.
    pub tid: Tid,
    /// Calls that it was made from, as far as they are shown. Of an event as recorded.
    pub depth: u32,
    /// ns of the trace clock.
    pub time: u64,
    /// Code address, or the number of the event.
    pub address: u64,
    /// Of the function or event, as [`Sink::name`] numbered it.
    pub name: u32,
    pub(crate) data: Data<'a>,
}

impl<'a> Call<'a> {
    /// Arguments of an entry, the return value of an exit; nothing where none were recorded.
    pub fn values(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let (specs, kind, payload, endian) = match self.data {
            Data::Values(specs, kind, payload, endian) => (specs, kind, payload, endian),
            _ => (Default::default(), Kind::Entry, Default::default(), Endian::Little),
        };
        values(specs, kind, payload, endian)
    }

    /// Whether there are any values.
    pub fn has_values(&self) -> bool {
        matches!(self.data, Data::Values(..))
    }

    /// What an event says; empty when there is nothing.
    pub fn text(&self) -> &'a str {
        match self.data {
            Data::Text(text) => text,
            _ => "",
        }
    }
}

/// Where calls go.
pub trait Sink {
    /// A name that calls will refer to. Numbers ascend from 0 without gaps.
    fn name(&mut self, number: u32, text: &str);

    /// Something has happened.
    ///
    /// # Errors
    ///
    /// Ends the feeding.
    fn call(&mut self, call: &Call<'_>) -> Result<(), Error>;
}

/// Hands all that a script is interested in to `sink`. Returns in how many places records are missing.
///
/// # Errors
///
/// Those of the sink, and of reading the trace.
pub fn feed(
    trace: &dyn Trace,
    options: Feed,
    interest: &Interest,
    sink: &mut impl Sink,
) -> Result<u64, Error> {
    let mut feeding = Feeding::new(options);
    feeding.feed(trace, interest, sink)?;
    Ok(feeding.lost)
}

/// What is known of a trace that is handed over piece by piece: traces that go on where the one before ended, with the
/// same numbers of functions.
#[derive(Debug)]
pub struct Feeding {
    options: Feed,
    lanes: HashMap<Tid, Kept>,
    /// By the number of the function.
    functions: Vec<Option<Known>>,
    /// By the number of the event.
    events: HashMap<u64, u32>,
    named: u32,
    lost: u64,
    /// Messages from outside that were handed over.
    externals: usize,
}

impl Feeding {
    /// Nothing has been handed over yet.
    pub fn new(options: Feed) -> Feeding {
        Feeding {
            options,
            lanes: HashMap::new(),
            functions: Vec::new(),
            events: HashMap::new(),
            named: 0,
            lost: 0,
            externals: 0,
        }
    }

    /// In how many places records were missing so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Hands all of the next piece that a script is interested in to `sink`.
    ///
    /// # Errors
    ///
    /// Those of the sink, and of reading the trace.
    pub fn feed(
        &mut self,
        trace: &dyn Trace,
        interest: &Interest,
        sink: &mut impl Sink,
    ) -> Result<(), Error> {
        let (events, outside) = (self.options.events, self.options.events.outside);
        let mut kept = std::mem::take(&mut self.lanes);
        let lane = |task: &Task| Lane::new(trace, task, kept.remove(&task.tid), outside);
        let mut lanes: Vec<Lane<'_>> = trace.tasks().iter().map(lane).collect();
        let externals = trace.external().iter().filter(|_| events.events && interest.event);
        let mut externals = externals.skip(self.externals).peekable();
        let mut feeder = Feeder { trace, interest, sink, known: self };
        let mut merge = Merge::new(trace, events, |_| true)?;
        let mut batch = MergedBatch::default();
        while merge.next_batch(&mut batch)? {
            for (task, event) in &batch.events {
                let Some(lane) = lanes.get_mut(*task as usize) else { continue };
                while let Some(message) = externals.next_if(|message| message.time <= event.time) {
                    feeder.known.externals += 1;
                    feeder.external(lane.tid, message)?;
                }
                feeder.event(lane, event, batch.payload(event))?;
            }
        }
        kept.extend(lanes.into_iter().map(|lane| (lane.tid, lane.keep())));
        self.lanes = kept;
        Ok(())
    }
}

/// What is left of a [`Lane`] between two pieces.
#[derive(Debug)]
struct Kept {
    frames: Vec<Frame>,
    stack: Paused,
    hidden: usize,
    fresh: bool,
}

/// A task.
struct Lane<'t> {
    stack: CallStack<'t>,
    resolver: Box<dyn Resolver + 't>,
    last: Last,
    tid: Tid,
    /// Levels that do not count: a recording that began inside of calls.
    hidden: usize,
    fresh: bool,
    outside: bool,
}

/// What the last event did to the stack.
#[derive(Default)]
struct Last {
    left: Option<(u64, usize)>,
    abandoned: Option<u64>,
    stray: bool,
}

impl Visitor for Last {
    #[inline]
    fn enter(&mut self, _outer: &[Frame], _frame: &Frame) -> u32 {
        0
    }

    #[inline]
    fn leave(&mut self, outer: &[Frame], frame: &Frame, end: u64, how: End) {
        match how {
            // How long a call took whose entry is missing is not known.
            End::Returned if frame.origin == Origin::Assumed => self.left = Some((0, outer.len())),
            End::Returned => self.left = Some((frame.duration(end), outer.len())),
            _ if frame.callee.is_schedule() => {}
            _ => self.abandoned = Some(frame.start),
        }
    }

    fn stray(&mut self, _outer: &[Frame], _callee: Callee, _event: &Event) {
        self.stray = true;
    }
}

impl<'t> Lane<'t> {
    /// `kept` is from the piece before.
    fn new(trace: &'t dyn Trace, task: &Task, kept: Option<Kept>, outside: bool) -> Lane<'t> {
        let resolver = trace.resolver(task.tid);
        let (stack, hidden, fresh) = match kept {
            Some(kept) => {
                let stack = CallStack::resume(trace, resolver, kept.frames, &kept.stack);
                (stack, kept.hidden, kept.fresh)
            }
            None => (CallStack::new(trace, resolver).with_outside(outside), 0, true),
        };
        let (tid, resolver) = (task.tid, trace.resolver(task.tid));
        Lane { stack, resolver, last: Last::default(), tid, hidden, fresh, outside }
    }

    fn keep(self) -> Kept {
        let (frames, stack) = (self.stack.frames().to_vec(), self.stack.pause());
        Kept { frames, stack, hidden: self.hidden, fresh: self.fresh }
    }

    /// Follows an event. Gives the duration and the depth of a call that has ended.
    #[inline]
    fn follow(&mut self, event: &Event) -> (u64, usize) {
        if self.fresh && matches!(event.kind, Kind::Entry | Kind::Exit) {
            self.fresh = false;
            if event.kind == Kind::Entry && !event.inherited {
                self.hidden = usize::from(event.depth);
            }
        }
        self.last = Last::default();
        self.stack.feed(event, &mut self.last);
        match self.last.left {
            Some((duration, outer)) => (duration, outer.saturating_sub(self.hidden)),
            // The second return of setjmp: since the first call after the first return.
            None if self.last.stray => {
                (self.last.abandoned.map_or(0, |start| event.time.saturating_sub(start)), self.depth())
            }
            None => (0, self.depth()),
        }
    }

    /// How many calls are open.
    fn depth(&self) -> usize {
        let frames = self.stack.frames();
        let asleep = usize::from(frames.last().is_some_and(|frame| frame.callee.is_schedule()));
        frames.len().saturating_sub(asleep + self.hidden)
    }
}

/// What is known about a function.
#[derive(Clone, Debug)]
struct Known {
    /// None if the script does not want its calls.
    name: Option<u32>,
    /// Looked up when the first of its records has a payload.
    specs: Option<Arc<[ArgSpec]>>,
}

struct Feeder<'f, 't, S> {
    trace: &'t dyn Trace,
    interest: &'f Interest,
    sink: &'f mut S,
    known: &'f mut Feeding,
}

impl<S: Sink> Feeder<'_, '_, S> {
    #[inline]
    fn event(&mut self, lane: &mut Lane<'_>, event: &Event, payload: &[u8]) -> Result<(), Error> {
        match event.kind {
            Kind::Entry => {
                lane.follow(event);
                if event.inherited || !self.interest.entry {
                    return Ok(());
                }
                let depth = lane.depth().saturating_sub(1) as u32;
                self.call(lane, event, payload, What::Entry, depth)
            }
            Kind::Exit => {
                let (duration, depth) = lane.follow(event);
                if !self.interest.exit {
                    return Ok(());
                }
                self.call(lane, event, payload, What::Exit { duration }, depth as u32)
            }
            Kind::Event => self.other(lane, event, payload),
            Kind::Lost => {
                self.known.lost += 1;
                lane.follow(event);
                Ok(())
            }
        }
    }

    #[inline]
    fn call(
        &mut self,
        lane: &mut Lane<'_>,
        event: &Event,
        payload: &[u8],
        what: What,
        depth: u32,
    ) -> Result<(), Error> {
        let id = lane.resolver.resolve(event.time, event.addr);
        let Some(name) = self.function(id).name else { return Ok(()) };
        let Event { time, addr: address, kind, .. } = *event;
        let specs = if payload.is_empty() || !self.known.options.args { None } else { Some(self.specs(id)) };
        let data = match &specs {
            Some(specs) => Data::Values(specs, kind, payload, self.trace.info().endian),
            None => Data::Nothing,
        };
        self.sink.call(&Call { what, tid: lane.tid, depth, time, address, name, data })
    }

    fn function(&mut self, id: FunctionId) -> &mut Known {
        let index = id.0 as usize;
        if self.known.functions.len() <= index {
            self.known.functions.resize(index + 1, None);
        }
        if self.known.functions[index].is_none() {
            let function = self.trace.function(id);
            let shown = function.kind != FunctionKind::Plt || self.known.options.libcalls;
            let wanted = shown && self.interest.wants(&function.name, &function.raw_name);
            let name = wanted.then(|| self.number(&function.name));
            self.known.functions[index] = Some(Known { name, specs: None });
        }
        self.known.functions[index].get_or_insert(Known { name: None, specs: None })
    }

    fn specs(&mut self, id: FunctionId) -> Arc<[ArgSpec]> {
        let trace = self.trace;
        Arc::clone(self.function(id).specs.get_or_insert_with(|| trace.arg_specs(id)))
    }

    fn number(&mut self, name: &str) -> u32 {
        let number = self.known.named;
        self.known.named += 1;
        self.sink.name(number, name);
        number
    }

    #[cold]
    fn other(&mut self, lane: &mut Lane<'_>, event: &Event, payload: &[u8]) -> Result<(), Error> {
        let belongs = !lane.stack.frames().is_empty() || lane.outside;
        lane.follow(event);
        // What is about lines of a replay is no event of the program.
        let shown = !matches!(event.addr, event_id::BACKTRACE | event_id::CALLSITE);
        if !belongs || !shown || !self.interest.event {
            return Ok(());
        }
        let place =
            fathom_view::place_text(self.trace, lane.resolver.as_mut(), event.addr, event.time, payload);
        let text = place.unwrap_or_else(|| fathom_export::event_text(self.trace.info(), event.addr, payload));
        self.tell(lane.tid, event.addr, event.time, u32::from(event.depth), &text)
    }

    fn external(&mut self, tid: Tid, message: &External) -> Result<(), Error> {
        let text = format!("msg=\"{}\"", message.text);
        self.tell(tid, event_id::EXTERNAL, message.time, 0, &text)
    }

    fn tell(&mut self, tid: Tid, address: u64, time: u64, depth: u32, text: &str) -> Result<(), Error> {
        let name = match self.known.events.get(&address) {
            Some(number) => *number,
            None => {
                let name = self.trace.event_name(address).unwrap_or_else(|| format!("event:{address}"));
                let number = self.number(&name);
                self.known.events.insert(address, number);
                number
            }
        };
        let data = Data::Text(text);
        self.sink.call(&Call { what: What::Event, tid, depth, time, address, name, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_store::memory::MemoryTrace;

    #[derive(Default)]
    struct Lines {
        names: Vec<String>,
        lines: Vec<String>,
    }

    impl Sink for Lines {
        fn name(&mut self, number: u32, text: &str) {
            assert_eq!(number as usize, self.names.len());
            self.names.push(text.to_owned());
        }

        fn call(&mut self, call: &Call<'_>) -> Result<(), Error> {
            let name = &self.names[call.name as usize];
            let what = match call.what {
                What::Entry => ">".to_owned(),
                What::Exit { duration } => format!("<{duration}"),
                What::Event => "!".to_owned(),
            };
            self.lines.push(format!("{what} {} {name} {} {}", call.tid, call.depth, call.time));
            Ok(())
        }
    }

    fn lines(trace: &MemoryTrace, interest: &Interest) -> Vec<String> {
        let options = Feed { events: EventOptions::default(), libcalls: true, args: true };
        let mut lines = Lines::default();
        assert_eq!(feed(trace, options, interest, &mut lines).unwrap(), 0);
        lines.lines
    }

    #[test]
    fn calls_of_tasks_are_in_the_order_of_time() {
        let mut trace = MemoryTrace::new();
        trace.task(1).task(2);
        trace.enter(1, 10, "main").enter(2, 15, "thread").call(1, 20, 30, "leaf").leave(2, 25).leave(1, 40);
        let all = Interest { entry: true, exit: true, event: true, ..Interest::default() };
        let want = [
            "> 1 main 0 10",
            "> 2 thread 0 15",
            "> 1 leaf 1 20",
            "<10 2 thread 0 25",
            "<10 1 leaf 1 30",
            "<30 1 main 0 40",
        ];
        assert_eq!(lines(&trace, &all), want);
        let exits = Interest { exit: true, ..Interest::default() };
        assert_eq!(lines(&trace, &exits), ["<10 2 thread 0 25", "<10 1 leaf 1 30", "<30 1 main 0 40"]);
    }

    #[test]
    fn piece_by_piece_is_the_same() {
        let mut whole = MemoryTrace::new();
        whole.enter(1, 10, "main").call(1, 20, 30, "leaf").enter(1, 35, "leaf").leave(1, 40).leave(1, 50);
        let events = fathom_store::memory::all_events(&whole, 1).unwrap();
        let all = Interest { entry: true, exit: true, event: true, ..Interest::default() };
        let options = Feed { events: EventOptions::default(), libcalls: true, args: true };
        for cut in 0..=events.len() {
            let (mut feeding, mut got) = (Feeding::new(options), Lines::default());
            for piece in [&events[..cut], &events[cut..]] {
                // The same numbers of functions in both.
                let mut trace = MemoryTrace::new();
                trace.task(1).address_of("main");
                trace.address_of("leaf");
                for event in piece {
                    trace.push(1, *event, b"");
                }
                feeding.feed(&trace, &all, &mut got).unwrap();
            }
            assert_eq!(got.lines, lines(&whole, &all), "{cut}");
        }
    }

    #[test]
    fn only_functions_of_the_list() {
        let mut trace = MemoryTrace::new();
        trace.task(1);
        trace.enter(1, 10, "main").call(1, 20, 30, "leaf").leave(1, 40);
        let mut interest = Interest { entry: true, ..Interest::default() };
        interest.set_functions(&["^l".to_owned()], fathom_filter::Match::Regex).unwrap();
        assert_eq!(lines(&trace, &interest), ["> 1 leaf 1 20"]);
        interest.set_functions(&[], fathom_filter::Match::Regex).unwrap();
        assert_eq!(lines(&trace, &interest).len(), 2);
    }
}
