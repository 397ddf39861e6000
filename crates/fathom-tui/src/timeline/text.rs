//! Rows as lines: with names, arguments, task and module.

use super::Id;
use super::slice::{Row, Slice, What};
use fathom_analysis::Callee;
use fathom_store::{Event, FunctionKind, Kind, Resolver, Trace};
use fathom_view::{Paint, Values, caller_text, event_label};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A line of the replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) id: Id,
    pub(crate) what: What,
    /// Index of the task; none for messages from outside.
    pub(crate) task: Option<u32>,
    pub(crate) tid: i32,
    pub(crate) comm: String,
    pub(crate) level: u32,
    /// ns.
    pub(crate) time: u64,
    /// When the call ended, ns; 0 as long as that is not known.
    pub(crate) end: u64,
    pub(crate) addr: u64,
    pub(crate) callee: Callee,
    pub(crate) kind: FunctionKind,
    pub(crate) name: Arc<str>,
    /// File name of the function's module.
    pub(crate) module: Arc<str>,
    /// Without brackets.
    pub(crate) args: Option<String>,
    pub(crate) returned: Option<String>,
    pub(crate) site: Option<String>,
    /// Whether something is called from it.
    pub(crate) parent: bool,
    pub(crate) folded: bool,
    /// It had not returned when the recording ended.
    pub(crate) open: bool,
}

impl Line {
    /// How long the call took, ns, as far as that is known.
    pub(crate) fn duration(&self) -> Option<u64> {
        (self.end != 0 && self.what == What::Call).then(|| self.end.abs_diff(self.time))
    }
}

/// What is known of a callee.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: Arc<str>,
    pub(crate) raw: Arc<str>,
    pub(crate) module: Arc<str>,
    pub(crate) kind: FunctionKind,
    /// Whether anything is recorded with its calls.
    pub(crate) has_values: bool,
}

/// Makes texts; keeps names.
pub(crate) struct Texts<'t> {
    trace: &'t dyn Trace,
    values: Values<'t>,
    resolvers: FxHashMap<u32, Box<dyn Resolver + 't>>,
    names: FxHashMap<Callee, Named>,
}

impl<'t> Texts<'t> {
    pub(crate) fn new(trace: &'t dyn Trace) -> Self {
        let values = Values::new(trace, Paint::Plain);
        Texts { trace, values, resolvers: FxHashMap::default(), names: FxHashMap::default() }
    }

    /// What a callee is called.
    pub(crate) fn named(&mut self, callee: Callee) -> &Named {
        let trace = self.trace;
        self.names.entry(callee).or_insert_with(|| match callee.function() {
            Some(id) => {
                let function = trace.function(id);
                let has_values = !trace.arg_specs(id).is_empty();
                // Of a library call, the library is what is of interest.
                let library = trace.library_of(id).filter(|_| function.kind == FunctionKind::Plt);
                let module = library.as_ref().unwrap_or(&function.module);
                let module = module.rsplit('/').next().unwrap_or_default().into();
                Named { name: function.name, raw: function.raw_name, module, kind: function.kind, has_values }
            }
            None => {
                let name = callee.name(trace);
                let kind = FunctionKind::Unknown;
                Named { raw: name.clone(), name, module: "".into(), kind, has_values: false }
            }
        })
    }

    /// The line of a row.
    pub(crate) fn line(&mut self, slice: &Slice, row: &Row, folded: bool) -> Line {
        let task = self.trace.tasks().get(row.task as usize);
        let named = self.named(row.callee).clone();
        let is_call = matches!(row.what, What::Call | What::Return);
        let mut line = Line {
            id: row.id,
            what: row.what,
            task: task.map(|_| row.task),
            tid: task.map_or(0, |task| task.tid),
            comm: task.map_or_else(String::new, |task| task.name_at(row.time).to_owned()),
            level: row.level,
            time: row.time,
            end: row.end,
            addr: row.addr,
            callee: row.callee,
            kind: named.kind,
            name: named.name,
            module: if is_call { named.module } else { "".into() },
            args: None,
            returned: None,
            site: None,
            parent: row.parent,
            folded,
            open: row.open,
        };
        match row.what {
            What::Call => {
                line.args = self.value(row, Kind::Entry, slice.bytes(row.payload));
                line.returned = self.value(row, Kind::Exit, slice.bytes(row.returned));
                line.site = self.site(row, slice.bytes(row.site));
            }
            What::Return => line.returned = self.value(row, Kind::Exit, slice.bytes(row.returned)),
            What::Event => line.name = self.event(row, slice.bytes(row.payload)).into(),
            What::Lost if row.addr == 0 => line.name = "LOST some records!!".into(),
            What::Lost => line.name = format!("LOST {} records!!", row.addr).into(),
            What::Message => {
                let message = self.trace.external().get(row.addr as usize);
                line.name = format!("external-data: {}", message.map_or("", |message| &message.text)).into();
            }
        }
        line
    }

    /// What an event is called.
    pub(crate) fn event_name(&self, id: u64) -> String {
        self.trace.event_name(id).unwrap_or_else(|| format!("event:{id}"))
    }

    fn resolver(&mut self, task: u32) -> Option<&mut Box<dyn Resolver + 't>> {
        let tid = self.trace.tasks().get(task as usize)?.tid;
        let trace = self.trace;
        Some(self.resolvers.entry(task).or_insert_with(|| trace.resolver(tid)))
    }

    /// The arguments or the return value of a call.
    pub(crate) fn value(&mut self, row: &Row, kind: Kind, payload: &[u8]) -> Option<String> {
        if payload.is_empty() {
            return None;
        }
        let event = Event {
            time: row.time,
            addr: row.addr,
            data_start: 0,
            data_len: payload.len() as u32,
            depth: 0,
            kind,
            inherited: false,
        };
        self.resolver(row.task)?;
        let resolver = self.resolvers.get_mut(&row.task)?;
        self.values.text(row.callee, &event, payload, resolver.as_mut())
    }

    fn site(&mut self, row: &Row, payload: &[u8]) -> Option<String> {
        if payload.is_empty() {
            return None;
        }
        let trace = self.trace;
        caller_text(trace, self.resolver(row.task)?.as_mut(), row.time, payload)
    }

    fn event(&mut self, row: &Row, payload: &[u8]) -> String {
        let trace = self.trace;
        match self.resolver(row.task) {
            Some(resolver) => event_label(trace, resolver.as_mut(), row.addr, row.time, payload),
            None => String::new(),
        }
    }
}
