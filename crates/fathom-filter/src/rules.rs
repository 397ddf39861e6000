//! What follows from all specs for one function.

use crate::action::{Action, Color, Reads, Setting, nearest_action};
use crate::args::{ArgSlot, ArgSpec, Values};
use crate::location::Location;
use crate::nearest::Nearest;
use crate::{Condition, Match, Pattern, PatternError, Scope, Spec, SpecError, SpecKind, Specs, is_glob};
use fathom_abi::decide::{self, Rule};
use std::fmt;

/// A function that is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Name as shown.
    pub shown: &'a str,
    /// Name in the symbol table.
    pub raw: &'a str,
    /// Path or file name of the module.
    pub module: &'a str,
    /// Whether it is a library function, called through the module's PLT or GOT.
    pub is_plt: bool,
    /// Whether it is a function of the kernel.
    pub is_kernel: bool,
    /// Size in bytes. Not needed here; what applies a rule compares it with [`Rule::size`].
    pub size: u64,
    /// Source file, where it is known. Only needed when [`Rules::needs_source`] says so.
    pub source: Option<&'a str>,
}

/// All that was said about a function, merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionRule {
    /// What decides whether its calls are recorded. Times are ns.
    pub decide: Rule,
    /// Arguments to record.
    pub args: Vec<ArgSpec>,
    /// Return value to record.
    pub retval: Option<ArgSpec>,
    /// Record the arguments that its types tell (`-A f`), besides [`FunctionRule::args`].
    pub auto_args: bool,
    /// Record the return value that its type tells (`-R f`), if [`FunctionRule::retval`] is none.
    pub auto_retval: bool,
    /// What must be true for the filter (`FILTER_IN` or `FILTER_OUT`) to count at a call.
    pub condition: Option<Condition>,
    /// What to read at entry and exit.
    pub reads: Reads,
    /// Show the open calls at its entry.
    pub backtrace: bool,
    /// Show its name in this colour.
    pub color: Option<Color>,
}

impl FunctionRule {
    /// [`FunctionRule::decide`] for a call whose condition does not hold.
    pub fn without_filter(&self) -> Rule {
        Rule { flags: self.decide.flags & !(decide::FILTER_IN | decide::FILTER_OUT), ..self.decide }
    }
}

/// A spec that matched no function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmatched {
    /// The spec.
    pub spec: Spec,
    /// What was probably meant.
    pub nearest: Option<String>,
    /// Whether it names a module that does not exist.
    pub no_module: bool,
    /// Whether it is about source files and none are known at all.
    pub no_sources: bool,
}

impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.spec.kind == SpecKind::Location { "source file" } else { "function" };
        match &self.spec.scope {
            Scope::Module(module) if self.no_module => {
                write!(f, "{}: no module is called '{module}'", self.spec.shown())?;
            }
            _ => write!(f, "{}: there is no {what} '{}'", self.spec.shown(), self.spec.name)?,
        }
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean '{nearest}'?"),
            None if self.no_sources => f.write_str(", and none is known of any function"),
            None => Ok(()),
        }
    }
}

/// The specs, ready for use.
///
/// [`Rules::observe`] has to see all functions first: whether opt-in filters count depends on whether there is a function
/// that they match.
#[derive(Clone, Debug)]
pub struct Rules {
    /// In the order in which they take effect.
    specs: Vec<Compiled>,
    /// Any spec is about source files.
    needs_source: bool,
    /// The source file of some function is known.
    any_source: bool,
}

#[derive(Clone, Debug)]
struct Compiled {
    spec: Spec,
    pattern: Either,
    /// It has matched a function.
    matched: bool,
    /// There is a module that it can be about.
    module: bool,
    nearest: Nearest,
}

#[derive(Clone, Debug)]
enum Either {
    Name(Pattern),
    Source(Location),
}

/// In which order the options take effect.
fn rank(kind: SpecKind) -> u8 {
    match kind {
        SpecKind::Filter | SpecKind::NoTrace => 0,
        SpecKind::Trigger => 1,
        SpecKind::Argument => 2,
        SpecKind::Retval => 3,
        SpecKind::Location => 4,
        SpecKind::CallerFilter => 5,
        SpecKind::Hide => 6,
    }
}

impl Rules {
    /// Compiles the specs.
    ///
    /// # Errors
    ///
    /// The first spec whose pattern is not valid.
    pub fn new(specs: &Specs, how: Match) -> Result<Rules, SpecError> {
        let compile = |spec: &Spec| {
            let wrong = |error: PatternError| SpecError {
                kind: spec.kind,
                spec: spec.text.clone(),
                part: Some(spec.name.clone()),
                reason: match spec.name.starts_with('*') {
                    true => format!("{}; shell patterns need --match glob", error.reason),
                    false => error.reason,
                },
            };
            let how = match spec.scope {
                _ if spec.literal => Match::Simple,
                Scope::Kernel if is_glob(&spec.name) => Match::Glob,
                _ => how,
            };
            let pattern = match spec.kind {
                SpecKind::Location => Location::new(&spec.name, how).map(Either::Source),
                _ => Pattern::new(&spec.name, how).map(Either::Name),
            };
            let pattern = pattern.map_err(wrong)?;
            let wanted = match &pattern {
                Either::Name(pattern) if pattern.is_exact() => spec.name.as_str(),
                _ => "",
            };
            let nearest = Nearest::new(wanted);
            Ok(Compiled { spec: spec.clone(), pattern, matched: false, module: false, nearest })
        };
        let mut specs: Vec<Compiled> = specs.iter().map(compile).collect::<Result<_, _>>()?;
        specs.sort_by_key(|compiled| rank(compiled.spec.kind));
        let needs_source = specs.iter().any(|compiled| compiled.spec.kind == SpecKind::Location);
        Ok(Rules { specs, needs_source, any_source: false })
    }

    /// Whether there are no specs at all.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// Whether [`Subject::source`] counts.
    pub fn needs_source(&self) -> bool {
        self.needs_source
    }

    /// Takes note of a function that exists.
    pub fn observe(&mut self, subject: &Subject) {
        self.any_source |= subject.source.is_some();
        for compiled in self.specs.iter_mut().filter(|compiled| !compiled.matched) {
            if !compiled.in_scope(subject) {
                continue;
            }
            compiled.module = true;
            compiled.matched = compiled.names(subject);
            if !compiled.matched {
                compiled.nearest.see(subject.shown);
            }
        }
    }

    /// What all specs say about a function; none if they say nothing.
    pub fn rule(&self, subject: &Subject) -> Option<FunctionRule> {
        let mut merged = Merged::default();
        for compiled in &self.specs {
            if compiled.in_scope(subject) && compiled.names(subject) {
                merged.apply(&compiled.spec, compiled.is_exact());
            }
        }
        let hidden = match merged.location {
            Some(hidden) => hidden,
            None => !subject.is_kernel && self.has_opt_in_location(),
        };
        let rule = merged.finish(hidden);
        (rule != FunctionRule::default()).then_some(rule)
    }

    fn any_matched(&self, what: impl Fn(&Spec) -> bool) -> bool {
        self.specs.iter().any(|compiled| compiled.matched && what(&compiled.spec))
    }

    /// Whether recording begins only at certain functions: the `opt_in` of [`decide::State::enter`]. Of the functions
    /// seen so far.
    pub fn has_opt_in(&self) -> bool {
        self.any_matched(Spec::opts_in)
    }

    /// Whether only functions of certain source files are recorded, of the functions seen so far.
    pub fn has_opt_in_location(&self) -> bool {
        self.any_matched(|spec| spec.kind == SpecKind::Location && !spec.hides_location())
    }

    /// Whether only what leads to certain functions is recorded, of the functions seen so far.
    pub fn has_caller(&self) -> bool {
        self.any_matched(Spec::is_caller)
    }

    /// Whether any spec has an action that fulfils a condition.
    pub fn any_action(&self, what: impl Fn(&Action) -> bool) -> bool {
        self.specs.iter().any(|compiled| compiled.spec.actions.iter().any(&what))
    }

    /// The specs that have matched none of the functions seen so far, in the order in which they take effect.
    pub fn unmatched(&self) -> Vec<Unmatched> {
        let unmatched = self.specs.iter().filter(|compiled| !compiled.matched);
        unmatched
            .map(|compiled| {
                let no_module = !compiled.module;
                let nearest = match &compiled.spec.scope {
                    Scope::Module(module) if no_module => nearest_action(module),
                    _ => compiled.nearest.found().map(str::to_owned),
                };
                let no_sources = compiled.spec.kind == SpecKind::Location && !self.any_source;
                Unmatched { spec: compiled.spec.clone(), nearest, no_module, no_sources }
            })
            .collect()
    }
}

impl Compiled {
    fn in_scope(&self, subject: &Subject) -> bool {
        match &self.spec.scope {
            Scope::Kernel => subject.is_kernel,
            _ if subject.is_kernel => false,
            Scope::Any => true,
            Scope::Plt => subject.is_plt,
            Scope::Module(module) => {
                subject.module.rsplit('/').next().unwrap_or_default().starts_with(module)
            }
        }
    }

    fn names(&self, subject: &Subject) -> bool {
        match &self.pattern {
            Either::Name(pattern) => pattern.matches(subject.shown, subject.raw),
            Either::Source(location) => subject.source.is_some_and(|source| location.matches(source)),
        }
    }

    fn is_exact(&self) -> bool {
        matches!(&self.pattern, Either::Name(pattern) if pattern.is_exact())
    }
}

/// What the specs so far say.
#[derive(Default)]
struct Merged {
    rule: FunctionRule,
    values: Values,
    /// Whether its source location leaves it out, if there is a spec about that.
    location: Option<bool>,
}

impl Merged {
    fn apply(&mut self, spec: &Spec, exact: bool) {
        if let Some(settings) = spec.clears() {
            self.clear(spec.kind, settings);
        }
        if spec.kind != SpecKind::Location {
            spec.actions.iter().for_each(|action| self.act(action, exact));
        }
        let cleared = spec.clears().is_some();
        match spec.kind {
            SpecKind::Filter if !cleared => self.set(decide::FILTER_IN, decide::FILTER_OUT),
            SpecKind::NoTrace if !cleared => self.set(decide::FILTER_OUT, decide::FILTER_IN),
            SpecKind::CallerFilter if !cleared => self.set(decide::CALLER, 0),
            SpecKind::Hide => self.set(decide::HIDE, 0),
            SpecKind::Location => self.location = Some(spec.hides_location()),
            SpecKind::Argument if spec.actions.is_empty() => self.rule.auto_args = true,
            SpecKind::Retval if spec.actions.is_empty() => self.rule.auto_retval = true,
            _ => {}
        }
    }

    /// Sets some flags and takes back others that contradict them.
    fn set(&mut self, on: u32, off: u32) {
        let flags = &mut self.rule.decide.flags;
        *flags = *flags & !off | on;
    }

    fn act(&mut self, action: &Action, exact: bool) {
        match action {
            Action::Filter => self.set(decide::FILTER_IN, decide::FILTER_OUT),
            Action::NoTrace => self.set(decide::FILTER_OUT, decide::FILTER_IN),
            Action::Caller => self.set(decide::CALLER, 0),
            Action::Hide => self.set(decide::HIDE, 0),
            Action::Depth(depth) => {
                self.set(decide::DEPTH, 0);
                self.rule.decide.depth = *depth;
            }
            Action::Time(time) => {
                self.set(decide::TIME, 0);
                self.rule.decide.time = *time;
            }
            Action::Size(size) => {
                self.set(decide::SIZE, 0);
                self.rule.decide.size = *size;
            }
            Action::Trace => self.set(decide::TRACE, 0),
            Action::TraceOn => self.set(decide::TRACE_ON, decide::TRACE_OFF),
            Action::TraceOff => self.set(decide::TRACE_OFF, decide::TRACE_ON),
            Action::Finish => self.set(decide::FINISH, 0),
            Action::Callsite => self.set(decide::CALLSITE, 0),
            Action::Recover => self.set(decide::RECOVER, 0),
            Action::Backtrace => self.rule.backtrace = true,
            Action::Color(color) => self.rule.color = Some(*color),
            Action::Read(reads) => self.rule.reads.0 |= reads.0,
            Action::AutoArgs => (self.rule.auto_args, self.rule.auto_retval) = (true, true),
            Action::Value(spec) => self.values.add(spec.clone(), exact),
            Action::If(condition) => self.rule.condition = Some(*condition),
            Action::Clear(_) => {}
        }
    }

    fn clear(&mut self, kind: SpecKind, settings: &[Setting]) {
        if !settings.is_empty() {
            return settings.iter().for_each(|setting| self.clear_one(*setting));
        }
        match kind {
            SpecKind::Filter | SpecKind::NoTrace => self.clear_one(Setting::Filter),
            SpecKind::CallerFilter => self.clear_one(Setting::Caller),
            _ => *self = Merged { location: self.location, ..Merged::default() },
        }
    }

    fn clear_one(&mut self, setting: Setting) {
        match setting {
            Setting::Args => {
                self.values.clear(false);
                self.rule.auto_args = false;
            }
            Setting::Retval => {
                self.values.clear(true);
                self.rule.auto_retval = false;
            }
            Setting::Filter => {
                self.set(0, decide::FILTER_IN | decide::FILTER_OUT);
                self.rule.condition = None;
            }
            Setting::Depth => self.set(0, decide::DEPTH),
            Setting::Time => self.set(0, decide::TIME),
            Setting::Size => self.set(0, decide::SIZE),
            Setting::Hide => self.set(0, decide::HIDE),
            Setting::Caller => self.set(0, decide::CALLER),
            Setting::Trace => self.set(0, decide::TRACE | decide::TRACE_ON | decide::TRACE_OFF),
            Setting::Finish => self.set(0, decide::FINISH),
            Setting::Callsite => self.set(0, decide::CALLSITE),
            Setting::Read => self.rule.reads = Reads::default(),
            Setting::Color => self.rule.color = None,
            Setting::Backtrace => self.rule.backtrace = false,
            Setting::Recover => self.set(0, decide::RECOVER),
            Setting::If => self.rule.condition = None,
        }
    }

    fn finish(mut self, hidden: bool) -> FunctionRule {
        if hidden {
            self.set(decide::HIDE, 0);
        }
        let (retval, args) = self.values.into_specs().partition(|spec| spec.slot == ArgSlot::Return);
        self.rule.args = args;
        self.rule.retval = Vec::into_iter(retval).next();
        let Rule { flags, depth, time, size, .. } = &mut self.rule.decide;
        for (flag, value) in [(decide::DEPTH, depth), (decide::SIZE, size)] {
            if *flags & flag == 0 {
                *value = 0;
            }
        }
        if *flags & decide::TIME == 0 {
            *time = 0;
        }
        self.rule
    }
}

#[cfg(test)]
mod tests;
