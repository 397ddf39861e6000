//! From what is to be recorded to the rules of a plan: for each function of a process what the runtime is to do.

use crate::plan::{Function, Known, Module};
use crate::selection::{Selection, SignalAction};
use crate::{Error, fetches};
use fathom_abi::decide::{self, FILTER_IN, FILTER_OUT};
use fathom_abi::plan::{self, NO_RULE, RANGE_IN, RANGE_NEVER, RANGE_OUT, RANGE_RULE, Range};
use fathom_filter::{Action, FunctionRule, Match, Operator, Rules, Scope, Spec, SpecKind, Subject, nearest};
use fathom_store::args::{self, ArgTable};
use fathom_store::{ArgSpecs, Class};
use fathom_types::builtin;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Levels, when nobody has said how many: more than a shadow stack has.
const ALL_LEVELS: u32 = 1 << 24;

/// The rules of a plan.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    pub(crate) ranges: Vec<Range>,
    pub(crate) rules: Vec<plan::Rule>,
    pub(crate) fetches: Vec<plan::Fetch>,
    pub(crate) mode: u32,
    pub(crate) depth: u32,
    pub(crate) max_stack: u32,
    pub(crate) size: u32,
    pub(crate) time: u64,
    pub(crate) watch: (u64, u64),
    pub(crate) signals: Vec<[u8; 2]>,
}

impl Compiled {
    /// Whether calls of the function at `addr` are never recorded.
    pub(crate) fn is_never(&self, addr: u64) -> bool {
        let after = self.ranges.partition_point(|range| range.start <= addr);
        let range = after.checked_sub(1).and_then(|at| self.ranges.get(at));
        range.is_some_and(|range| addr - range.start < u64::from(range.len) && range.flags & RANGE_NEVER != 0)
    }
}

/// Compiles rules for processes.
pub(crate) struct Selector {
    selection: Selection,
    rules: Rules,
    /// Values of functions by their types.
    types: fetches::Types,
    /// Which values are recorded; none if none are.
    table: Option<ArgTable>,
    /// Switch recording on or off with the next rules.
    switch: bool,
    /// A process had the variable that is watched; what others there are that could be meant.
    variable: bool,
    other_variables: nearest::Nearest,
}

/// A module of a process, and what is known about its file.
pub(crate) type Mapped<'m> = (&'m Module, Arc<Known>);

impl Selector {
    pub(crate) fn new(selection: Selection, matching: Match) -> Result<Selector, Error> {
        let rules = compile(&selection, matching)?;
        let table = values_text(&selection).map(|specs| ArgTable::new(&specs, matching, Class::Bits64));
        let wanted = selection.watch_variable.as_deref().unwrap_or_default();
        let other_variables = nearest::Nearest::new(wanted);
        let types = fetches::Types::default();
        Ok(Selector { selection, rules, types, table, switch: false, variable: false, other_variables })
    }

    /// Whether the hooks have anything to decide.
    pub(crate) fn selects(&self) -> bool {
        !self.selection.is_everything()
    }

    /// Whether functions that are never recorded may stay without a hook.
    pub(crate) fn is_final(&self) -> bool {
        !self.selection.changeable
    }

    /// Whether rules are about source files.
    pub(crate) fn needs_source(&self) -> bool {
        self.rules.needs_source()
    }

    /// Puts another selection in the place of the present one. The values that are recorded stay as they are: the
    /// trace says once for all of it what records carry.
    /// `switch`: recording goes on or off with it.
    pub(crate) fn replace(
        &mut self,
        selection: Selection,
        matching: Match,
        switch: bool,
    ) -> Result<(), Error> {
        self.rules = compile(&selection, matching)?;
        self.switch = switch;
        self.selection = selection;
        Ok(())
    }

    /// The change has reached all processes: those that come later begin with it.
    pub(crate) fn settle(&mut self) {
        self.switch = false;
    }

    /// What is recorded now.
    pub(crate) fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Specs that no function has matched, in words.
    pub(crate) fn unmatched(&self) -> Vec<String> {
        let mut all: Vec<_> = self.rules.unmatched().iter().map(ToString::to_string).collect();
        if let (Some(name), false) = (&self.selection.watch_variable, self.variable) {
            let near = self.other_variables.found().map(|near| format!("; did you mean '{near}'?"));
            let near = near.unwrap_or_default();
            all.push(format!(
                "-W var:{name}: the program has no variable of that name and at most 8 bytes{near}"
            ));
        }
        all
    }

    /// The rules for a process with these modules. `ticks` are raw clock units per ns.
    pub(crate) fn compile(&mut self, modules: &[Mapped<'_>], exe: &Path, ticks: f64) -> Compiled {
        if !self.selects() {
            return Compiled::default();
        }
        for (module, known) in modules {
            let path = module.path.to_string_lossy();
            known.functions.iter().for_each(|function| self.rules.observe(&subject(function, &path)));
        }
        let mut compiled = self.head(modules, exe, ticks);
        self.variable |= compiled.watch.0 != 0;
        for (_, known) in modules.iter().filter(|(module, _)| module.path == exe) {
            known.variables.iter().for_each(|variable| self.other_variables.see(&variable.name));
        }
        let (mut seen, mut opened) = (HashMap::new(), fetches::Opened::default());
        for (module, known) in modules {
            let path = module.path.to_string_lossy();
            for function in &known.functions {
                self.add(&mut compiled, &mut seen, &mut opened, (module, function), &path, ticks);
            }
        }
        compiled.ranges.sort_unstable_by_key(|range| range.start);
        compiled
    }

    fn head(&self, modules: &[Mapped<'_>], exe: &Path, ticks: f64) -> Compiled {
        let s = &self.selection;
        let callers = self.rules.has_caller();
        let times = s.time > 0 || self.rules.any_action(|action| matches!(action, Action::Time(_)));
        let mut mode = plan::MODE_FILTER;
        let mut set = |condition: bool, bit: u32| mode |= if condition { bit } else { 0 };
        set(self.rules.has_opt_in(), plan::MODE_OPT_IN);
        set(callers, plan::MODE_CALLERS);
        set(!s.on, plan::MODE_OFF);
        set(self.rules.any_action(|action| matches!(action, Action::Size(_))), plan::MODE_SIZES);
        set(times || callers, plan::MODE_HOLD);
        set(s.watch_cpu, plan::MODE_WATCH_CPU);
        set(s.estimate, plan::MODE_ESTIMATE);
        set(self.switch, plan::MODE_SWITCH);
        set(s.events.may_have_probes(), plan::MODE_PROBES);
        let action = |action: SignalAction| match action {
            SignalAction::TraceOn => plan::SIGNAL_ON,
            SignalAction::TraceOff => plan::SIGNAL_OFF,
            SignalAction::Finish => plan::SIGNAL_FINISH,
        };
        Compiled {
            mode,
            depth: if s.depth == 0 { ALL_LEVELS } else { s.depth },
            max_stack: s.max_stack.unwrap_or(0),
            size: s.size,
            time: to_ticks(s.time, ticks),
            watch: watched(s, modules, exe),
            signals: s.signals.iter().map(|&(signal, what)| [signal, action(what)]).collect(),
            ..Compiled::default()
        }
    }

    fn add(
        &mut self,
        compiled: &mut Compiled,
        seen: &mut HashMap<Vec<u8>, u32>,
        opened: &mut fetches::Opened,
        (module, function): (&Module, &Function),
        path: &str,
        ticks: f64,
    ) {
        let rule = self.rules.rule(&subject(function, path));
        let (args, retval) = self.values(opened, module, function);
        let rule = rule.unwrap_or_default();
        let sizes = compiled.mode & plan::MODE_SIZES != 0;
        let values = args.len() + usize::from(retval.is_some());
        let flags = self.range_flags(&rule, function, values, sizes);
        if flags == 0 && !sizes {
            return;
        }
        let mut index = NO_RULE;
        if flags & RANGE_RULE != 0 {
            let made = plan_rule(&rule, ticks, compiled.fetches.len() as u32, args.len(), retval.is_some());
            let values: Vec<plan::Fetch> = args.iter().chain(&retval).map(fetches::to_plan).collect();
            index = intern(compiled, seen, made, &values);
        }
        compiled.ranges.push(Range {
            start: module.start + function.at,
            len: function.len.min(u64::from(u32::MAX)) as u32,
            size: function.size.min(u64::from(u32::MAX)) as u32,
            rule: index,
            flags,
        });
    }

    /// The values to record with calls of a function, as the readers will expect them.
    fn values(
        &mut self,
        opened: &mut fetches::Opened,
        module: &Module,
        function: &Function,
    ) -> fetches::Values {
        let Some(table) = &self.table else { return fetches::Values::default() };
        let path = module.path.to_string_lossy();
        let subject = args::Subject { raw_name: &function.raw, module: &path, plt: function.plt };
        // What the types tell is expensive to know, and mostly not asked for.
        let types = std::cell::OnceCell::new();
        let asked = std::cell::RefCell::new((&mut self.types, opened));
        let known = |returns: bool| {
            let values: &fetches::Values = types.get_or_init(|| {
                let (types, opened) = &mut *asked.borrow_mut();
                types.of(opened, &module.path, function)
            });
            let specs = if returns { values.1.iter() } else { None.iter() };
            let arguments = if returns { &[][..] } else { &values.0[..] };
            arguments.iter().chain(specs).map(|fetch| fetch.spec.clone()).collect()
        };
        let specs = table.specs_with(subject, known);
        fetches::fetches(specs, types.get().unwrap_or(&fetches::Values::default()))
    }

    /// `sizes`: a limit of size that is smaller than the general one may be in force somewhere.
    fn range_flags(&self, rule: &FunctionRule, function: &Function, values: usize, sizes: bool) -> u32 {
        /// What changes something for the calls inside of it or for all.
        const ACTS: u32 = FILTER_IN
            | FILTER_OUT
            | decide::DEPTH
            | decide::TIME
            | decide::SIZE
            | decide::TRACE_ON
            | decide::TRACE_OFF
            | decide::FINISH
            | decide::RECOVER
            | decide::CALLER;
        let flags = rule.decide.flags;
        let small = !sizes && function.size < u64::from(self.selection.size);
        if flags & ACTS == 0 && (flags & decide::HIDE != 0 || small) {
            return RANGE_NEVER;
        }
        if flags == 0 && values == 0 && rule.reads.is_empty() {
            return 0;
        }
        let alone = rule.condition.is_none();
        if alone && flags & ACTS == FILTER_OUT {
            return if function.leaf && !sizes { RANGE_NEVER } else { RANGE_RULE | RANGE_OUT };
        }
        let limits =
            self.selection.depth != 0 || self.rules.any_action(|action| matches!(action, Action::Depth(_)));
        if alone && flags == FILTER_IN && values == 0 && rule.reads.is_empty() && !limits {
            return RANGE_RULE | RANGE_IN;
        }
        RANGE_RULE
    }
}

/// What the header of a trace says about recorded values, so that they can be read; none if there are none.
pub(crate) fn values_text(selection: &Selection) -> Option<ArgSpecs> {
    let specs = selection.specs.user();
    let (mut args, mut retvals) = (Vec::new(), Vec::new());
    for trigger in specs.iter().filter(|spec| spec.kind == SpecKind::Trigger) {
        let (arg, retval) = trigger_values(trigger);
        args.extend(arg);
        retvals.extend(retval);
    }
    args.extend(specs.joined(SpecKind::Argument));
    retvals.extend(specs.joined(SpecKind::Retval));
    let text = |all: Vec<String>| (!all.is_empty()).then(|| all.join(";"));
    let (args, retvals, auto) = (text(args), text(retvals), selection.auto_args);
    (args.is_some() || retvals.is_some() || auto).then(|| ArgSpecs {
        args,
        retvals,
        auto_args: builtin::argument_table(),
        auto_retvals: builtin::return_table(),
        enums: builtin::enum_table(),
        auto,
    })
}

/// The specs of arguments and of the return value that are in a trigger.
fn trigger_values(spec: &Spec) -> (Option<String>, Option<String>) {
    let items = spec.text.split_once('@').map_or("", |(_, items)| items);
    let begins =
        |item: &str, word: &str| item.get(..word.len()).is_some_and(|w| w.eq_ignore_ascii_case(word));
    let items = || items.split(',').map(str::trim);
    let scope = match &spec.scope {
        Scope::Module(module) => Some(module.as_str()),
        Scope::Plt => Some("plt"),
        Scope::Any | Scope::Kernel => None,
    };
    let joined = |wanted: &dyn Fn(&str) -> bool| {
        let values: Vec<&str> = items().filter(|item| wanted(item)).collect();
        (!values.is_empty()).then(|| {
            let all: Vec<&str> = scope.into_iter().chain(values).collect();
            format!("{}@{}", spec.name, all.join(","))
        })
    };
    if items().any(|item| begins(item, "auto-args")) {
        let bare = scope.map_or_else(|| spec.name.clone(), |scope| format!("{}@{scope}", spec.name));
        return (Some(bare.clone()), Some(bare));
    }
    (joined(&|item| begins(item, "arg") || begins(item, "fparg")), joined(&|item| begins(item, "retval")))
}

fn compile(selection: &Selection, matching: Match) -> Result<Rules, Error> {
    Rules::new(&selection.specs.user(), matching).map_err(|error| Error::Spec { text: error.to_string() })
}

fn subject<'f>(function: &'f Function, path: &'f str) -> Subject<'f> {
    Subject {
        shown: &function.shown,
        raw: &function.raw,
        module: path,
        is_plt: function.plt,
        is_kernel: false,
        size: function.size,
        source: function.source.as_deref(),
    }
}

/// The index of a rule with its values; equal ones are there once.
fn intern(
    compiled: &mut Compiled,
    seen: &mut HashMap<Vec<u8>, u32>,
    rule: plan::Rule,
    values: &[plan::Fetch],
) -> u32 {
    let mut key = Vec::new();
    crate::plan_file::rule(&mut key, &plan::Rule { fetch: 0, ..rule });
    values.iter().for_each(|value| crate::plan_file::fetch(&mut key, value));
    *seen.entry(key).or_insert_with(|| {
        compiled.fetches.extend_from_slice(values);
        compiled.rules.push(rule);
        compiled.rules.len() as u32 - 1
    })
}

fn plan_rule(rule: &FunctionRule, ticks: f64, fetch: u32, args: usize, retval: bool) -> plan::Rule {
    let mut made = plan::Rule {
        decide: decide::Rule { time: to_ticks(rule.decide.time, ticks), ..rule.decide },
        fetch,
        args: args as u16,
        retvals: u16::from(retval),
        reads: rule.reads.0,
        ..plan::Rule::default()
    };
    if let Some(condition) = rule.condition {
        made.condition = match condition.operator {
            Operator::Equal => plan::CONDITION_EQ,
            Operator::NotEqual => plan::CONDITION_NE,
            Operator::Greater => plan::CONDITION_GT,
            Operator::GreaterOrEqual => plan::CONDITION_GE,
            Operator::Less => plan::CONDITION_LT,
            Operator::LessOrEqual => plan::CONDITION_LE,
            Operator::Common => plan::CONDITION_AND,
        };
        made.condition_arg = condition.arg.saturating_sub(1);
        made.condition_size = condition.size;
        made.condition_signed = u8::from(condition.signed);
        made.condition_value = condition.value;
    }
    made
}

/// Raw clock units that are not less than so many ns.
fn to_ticks(ns: u64, ticks: f64) -> u64 {
    (ns as f64 * ticks).ceil() as u64
}

/// Address and size of the variable to watch.
fn watched(selection: &Selection, modules: &[Mapped<'_>], exe: &Path) -> (u64, u64) {
    let Some(name) = &selection.watch_variable else { return (0, 0) };
    let Some((module, known)) = modules.iter().find(|(module, _)| module.path == exe) else { return (0, 0) };
    let found = known.variables.iter().find(|variable| variable.name == *name);
    found.map_or((0, 0), |variable| (module.start + variable.at, variable.size))
}
