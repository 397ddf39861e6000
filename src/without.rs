//! A trace without its library calls or without arguments (`--no-libcall`, `--no-args`).

use fathom_store::{
    Batch, Error, Event, EventOptions, FunctionKind, Kind, Layer, Resolver, TaskEvents, Tid, Trace,
};

/// Shows what another trace has, but not all of it.
pub(crate) struct Without<'t> {
    pub(crate) inner: &'t dyn Trace,
    /// No calls of library functions. What those call themselves (a comparison for qsort) comes one level
    /// further out.
    pub(crate) libcalls: bool,
    /// No arguments and return values.
    pub(crate) args: bool,
}

impl Layer for Without<'_> {
    fn inner(&self) -> &dyn Trace {
        self.inner
    }
    fn layer_events(&self, tid: Tid, options: EventOptions) -> Result<Box<dyn TaskEvents + '_>, Error> {
        let (events, resolver) = (self.inner.events(tid, options)?, self.inner.resolver(tid));
        if !self.libcalls && !self.args {
            return Ok(events);
        }
        let (library, hidden) = (Vec::new(), Vec::new());
        Ok(Box::new(Filtered { without: self, events, resolver, library, hidden }))
    }
}

struct Filtered<'t> {
    without: &'t Without<'t>,
    events: Box<dyn TaskEvents + 't>,
    resolver: Box<dyn Resolver + 't>,
    /// By function id: whether it is a library function.
    library: Vec<Option<bool>>,
    /// Depths of the open library calls, outermost first.
    hidden: Vec<u16>,
}

impl Filtered<'_> {
    fn is_library(&mut self, event: &Event) -> bool {
        let id = self.resolver.resolve(event.time, event.addr);
        let index = id.0 as usize;
        if let Some(Some(known)) = self.library.get(index) {
            return *known;
        }
        let library = self.without.inner.function(id).kind == FunctionKind::Plt;
        if self.library.len() <= index {
            self.library.resize(index + 1, None);
        }
        if let Some(slot) = self.library.get_mut(index) {
            *slot = Some(library);
        }
        library
    }

    /// Whether the event stays, and at which depth.
    fn keep(&mut self, event: &mut Event) -> bool {
        if !matches!(event.kind, Kind::Entry | Kind::Exit) {
            return true;
        }
        if self.without.args {
            event.data_len = 0;
        }
        if !self.without.libcalls {
            return true;
        }
        // Calls of the same depth or below are over, however they ended.
        while self.hidden.last().is_some_and(|depth| *depth >= event.depth) {
            self.hidden.pop();
        }
        if self.is_library(event) {
            if event.kind == Kind::Entry {
                self.hidden.push(event.depth);
            }
            return false;
        }
        event.depth -= u16::try_from(self.hidden.len()).unwrap_or(event.depth).min(event.depth);
        true
    }
}

impl TaskEvents for Filtered<'_> {
    fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        loop {
            let more = self.events.next_batch(batch)?;
            let mut events = std::mem::take(&mut batch.events);
            events.retain_mut(|event| self.keep(event));
            batch.events = events;
            if !more || !batch.events.is_empty() {
                return Ok(more);
            }
        }
    }
    fn seek(&mut self, time: u64) -> Result<(), Error> {
        self.hidden.clear();
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
    use fathom_store::memory::{MemoryTrace, all_events};

    #[test]
    fn callbacks_move_outwards() {
        let mut trace = MemoryTrace::new();
        trace.batch_size(2);
        trace.enter(1, 10, "main").call(1, 20, 30, "strlen@plt");
        trace.enter(1, 40, "qsort@plt").call(1, 50, 60, "compare").leave(1, 70);
        trace.enter(1, 71, "leaf").leave(1, 72).leave(1, 80);
        let shown = all_events(&Without { inner: &trace, libcalls: true, args: false }, 1).unwrap();
        let shown: Vec<_> = shown.iter().map(|event| (event.time, event.depth)).collect();
        assert_eq!(shown, [(10, 0), (50, 1), (60, 1), (71, 1), (72, 1), (80, 0)]);
    }

    #[test]
    fn a_jump_out_of_a_library_call_is_noticed() {
        let mut trace = MemoryTrace::new();
        trace.enter(1, 10, "main").enter(1, 20, "qsort@plt").enter(1, 30, "compare");
        let main = trace.address_of("main");
        let exit = Event {
            time: 40,
            addr: main,
            data_start: 0,
            data_len: 0,
            depth: 0,
            kind: Kind::Exit,
            inherited: false,
        };
        trace.push(1, exit, &[]);
        let next = trace.address_of("next");
        trace.push(1, Event { time: 50, addr: next, kind: Kind::Entry, ..exit }, &[]);
        let shown = all_events(&Without { inner: &trace, libcalls: true, args: false }, 1).unwrap();
        let shown: Vec<_> = shown.iter().map(|event| (event.time, event.depth)).collect();
        assert_eq!(shown, [(10, 0), (30, 1), (40, 0), (50, 0)]);
    }

    #[test]
    fn arguments_are_left_out() {
        let mut trace = MemoryTrace::new();
        trace.enter_with(1, 10, "main", &[1; 8]).leave_with(1, 20, &[2; 8]);
        trace.event(1, 30, 100_011, &[3; 4]);
        let shown = all_events(&Without { inner: &trace, libcalls: false, args: true }, 1).unwrap();
        assert_eq!(shown.iter().map(|event| event.data_len).collect::<Vec<_>>(), [0, 0, 4]);
    }
}
