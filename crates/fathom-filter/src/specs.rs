//! The specs that were given, in order.

use crate::action::{self, Action, Item, Setting};
use crate::args::{ArgSlot, Class};

/// The option that a spec was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecKind {
    /// `-F`: the function and what it calls.
    Filter,
    /// `-N`: neither the function nor what it calls.
    NoTrace,
    /// `-C`: what leads to the function.
    CallerFilter,
    /// `-H`: not the function itself.
    Hide,
    /// `-L`: functions of that source file; not those, with `@hide`.
    Location,
    /// `-T`: what to do at the function.
    Trigger,
    /// `-A`: its arguments.
    Argument,
    /// `-R`: its return value.
    Retval,
}

impl SpecKind {
    /// The option, as it is most often written.
    pub fn option(self) -> &'static str {
        match self {
            SpecKind::Filter => "-F",
            SpecKind::NoTrace => "-N",
            SpecKind::CallerFilter => "-C",
            SpecKind::Hide => "-H",
            SpecKind::Location => "-L",
            SpecKind::Trigger => "-T",
            SpecKind::Argument => "-A",
            SpecKind::Retval => "-R",
        }
    }

    /// Whether an action can be given with the option. If not, with which.
    fn allows(self, action: &Action) -> Result<(), &'static str> {
        use SpecKind::{Argument, CallerFilter, Filter, Location, NoTrace, Retval, Trigger};
        let (kinds, others): (&[SpecKind], _) = match action {
            Action::Filter => (&[Filter], "-F or -T"),
            Action::NoTrace => (&[NoTrace], "-N or -T"),
            Action::Depth(_) | Action::Time(_) | Action::Size(_) | Action::Caller => {
                (&[Filter, NoTrace], "-F, -N or -T")
            }
            Action::If(_) => (&[Filter, NoTrace], "-F, -N or -T"),
            Action::Hide => (&[Filter, NoTrace, Location], "-F, -N, -L or -T"),
            Action::Clear(_) => (&[Filter, NoTrace, CallerFilter], "-F, -N, -C or -T"),
            Action::Value(spec) if spec.slot == ArgSlot::Return => (&[Retval], "-R or -T"),
            Action::Value(_) => (&[Argument], "-A or -T"),
            _ => (&[], "-T"),
        };
        if self == Trigger || kinds.contains(&self) { Ok(()) } else { Err(others) }
    }
}

/// Where the functions are that a spec is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// In the program and its libraries.
    #[default]
    Any,
    /// Library functions that the program calls.
    Plt,
    /// In the kernel.
    Kernel,
    /// In the module whose file name begins so.
    Module(String),
}

/// One spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The option it was given to; [`SpecKind::NoTrace`] for `-F '!f'`.
    pub kind: SpecKind,
    /// As given, without other specs that were joined to it.
    pub text: String,
    /// Name or pattern of functions; of source files for [`SpecKind::Location`].
    pub name: String,
    /// Where the functions are.
    pub scope: Scope,
    /// What is to be done, in the order given.
    pub actions: Vec<Action>,
    /// The name is no pattern, whatever it looks like.
    pub literal: bool,
}

impl Spec {
    /// Option and spec, as an error names it.
    pub fn shown(&self) -> String {
        let turned = self.kind == SpecKind::NoTrace && self.text.starts_with('!');
        let option = if turned { SpecKind::Filter } else { self.kind }.option();
        format!("{option} {}", self.text)
    }

    /// The settings that it takes away; none means all.
    pub(crate) fn clears(&self) -> Option<&[Setting]> {
        self.actions.iter().find_map(|action| match action {
            Action::Clear(settings) => Some(settings.as_slice()),
            _ => None,
        })
    }

    /// Whether recording begins at its functions.
    pub(crate) fn opts_in(&self) -> bool {
        match self.kind {
            SpecKind::Filter => self.clears().is_none(),
            SpecKind::Trigger => self.actions.contains(&Action::Filter),
            _ => false,
        }
    }

    /// Whether its functions are targets of a caller filter.
    pub(crate) fn is_caller(&self) -> bool {
        (self.kind == SpecKind::CallerFilter && self.clears().is_none())
            || self.actions.contains(&Action::Caller)
    }

    /// For a location: whether its functions are left out.
    pub(crate) fn hides_location(&self) -> bool {
        self.actions.contains(&Action::Hide)
    }
}

/// A spec that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {spec}: {part}{reason}", .kind.option(), part = .part.as_ref().map_or_else(String::new, |part| format!("'{part}': ")))]
pub struct SpecError {
    /// The option it was given to.
    pub kind: SpecKind,
    /// The spec.
    pub spec: String,
    /// Which part of it is wrong, if it is not the whole.
    pub part: Option<String>,
    /// What is wrong with it, and what was probably meant.
    pub reason: String,
}

/// All specs that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Specs {
    specs: Vec<Spec>,
}

impl Specs {
    /// None.
    pub fn new() -> Specs {
        Specs::default()
    }

    /// Adds the value of an option: one spec, or several that are joined with `;`. Values are those of a program with
    /// 64-bit pointers.
    ///
    /// # Errors
    ///
    /// The first spec that makes no sense; those before it have been added.
    pub fn push(&mut self, kind: SpecKind, text: &str) -> Result<(), SpecError> {
        for one in text.split(';').map(str::trim).filter(|one| !one.is_empty()) {
            self.specs.push(parse(kind, one)?);
        }
        Ok(())
    }

    /// Adds an action at the function of that name, in any module.
    pub fn push_literal(&mut self, kind: SpecKind, name: &str, scope: Scope, action: Action) {
        self.specs.push(Spec {
            kind,
            text: name.to_owned(),
            name: name.to_owned(),
            scope,
            actions: vec![action],
            literal: true,
        });
    }

    /// All, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &Spec> {
        self.specs.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// Those that are left of each.
    #[must_use]
    pub fn filter_map(&self, left: impl Fn(&Spec) -> Option<Spec>) -> Specs {
        Specs { specs: self.specs.iter().filter_map(left).collect() }
    }

    /// Those that fulfil a condition.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(&Spec) -> bool) -> Specs {
        Specs { specs: self.specs.iter().filter(|spec| keep(spec)).cloned().collect() }
    }

    /// Those about functions of the program and its libraries.
    #[must_use]
    pub fn user(&self) -> Specs {
        self.filtered(|spec| spec.scope != Scope::Kernel)
    }

    /// Those about functions of the kernel.
    #[must_use]
    pub fn kernel(&self) -> Specs {
        self.filtered(|spec| spec.scope == Scope::Kernel)
    }

    /// The value of the option that gives those of one kind, for the header of a trace. `-F` and `-N` are one list,
    /// where a `!` stands before the latter.
    pub fn joined(&self, kind: SpecKind) -> Option<String> {
        let filters = [SpecKind::Filter, SpecKind::NoTrace];
        let wanted =
            |spec: &&Spec| spec.kind == kind || (filters.contains(&kind) && filters.contains(&spec.kind));
        let text = |spec: &Spec| {
            let bang = spec.kind == SpecKind::NoTrace && !spec.text.starts_with('!');
            format!("{}{}", if bang { "!" } else { "" }, spec.text)
        };
        let all: Vec<_> = self.specs.iter().filter(wanted).map(text).collect();
        (!all.is_empty()).then(|| all.join(";"))
    }
}

fn parse(kind: SpecKind, text: &str) -> Result<Spec, SpecError> {
    let wrong = |part: &str, reason: String| SpecError {
        kind,
        spec: text.to_owned(),
        part: (!part.is_empty()).then(|| part.to_owned()),
        reason,
    };
    let (negated, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
    let (name, items) = rest.split_once('@').unwrap_or((rest, ""));
    let name = name.trim();
    let mut spec = Spec {
        kind,
        text: text.to_owned(),
        name: name.to_owned(),
        scope: Scope::Any,
        actions: Vec::new(),
        literal: false,
    };
    if name.is_empty() {
        return Err(wrong("", "there is no function name".to_owned()));
    }
    match kind {
        _ if !negated => {}
        SpecKind::Filter | SpecKind::NoTrace => spec.kind = SpecKind::NoTrace,
        SpecKind::Location => spec.actions.push(Action::Hide),
        _ => return Err(wrong("!", "only -F and -L can be turned round".to_owned())),
    }
    for item in items.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let values = matches!(kind, SpecKind::Argument | SpecKind::Retval);
        if let Some(meant) = action::nearest_value(item).filter(|_| values) {
            return Err(wrong(item, format!("there is no such value; did you mean '{meant}'?")));
        }
        match action::parse(item, Class::Bits64).map_err(|reason| wrong(item, reason))? {
            Item::Action(action) => {
                spec.kind.allows(&action).map_err(|others| {
                    wrong(item, format!("not possible with {}, only with {others}", spec.kind.option()))
                })?;
                spec.actions.push(action);
            }
            Item::Scope(_) if kind == SpecKind::Location => {
                return Err(wrong(item, "only 'hide' can follow a source location".to_owned()));
            }
            Item::Scope(scope) if spec.scope == Scope::Any => spec.scope = scope,
            Item::Scope(_) => {
                let meant = action::nearest_action(item);
                let meant =
                    meant.map_or_else(String::new, |meant| format!("; did you mean the action '{meant}'?"));
                return Err(wrong(item, format!("there can be only one module{meant}")));
            }
        }
    }
    if kind == SpecKind::Trigger && spec.actions.is_empty() {
        let meant = match &spec.scope {
            Scope::Module(name) => action::nearest_action(name),
            _ => None,
        };
        let meant = meant.map_or_else(|| format!("{name}@depth=1"), |meant| format!("{name}@{meant}"));
        return Err(wrong("", format!("there is no action, such as {meant}")));
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(kind: SpecKind, text: &str) -> Spec {
        let mut specs = Specs::new();
        specs.push(kind, text).unwrap();
        assert_eq!(specs.iter().count(), 1);
        specs.specs.remove(0)
    }

    fn error(kind: SpecKind, text: &str) -> String {
        Specs::new().push(kind, text).unwrap_err().to_string()
    }

    #[test]
    fn names_scopes_and_actions() {
        let spec = one(SpecKind::Filter, "ns::f@libx,depth=2");
        assert_eq!((spec.name.as_str(), &spec.scope), ("ns::f", &Scope::Module("libx".into())));
        assert_eq!(spec.actions, [Action::Depth(2)]);
        assert_eq!(one(SpecKind::Filter, "!f").kind, SpecKind::NoTrace);
        assert!(
            one(SpecKind::Location, "!t.c").hides_location()
                && one(SpecKind::Location, "t.c@hide").hides_location()
        );
        assert_eq!(one(SpecKind::Trigger, "f@k,trace").scope, Scope::Kernel);
    }

    #[test]
    fn several_at_once() {
        let mut specs = Specs::new();
        specs.push(SpecKind::Filter, "a;!b;c@kernel;").unwrap();
        specs.push(SpecKind::NoTrace, "d").unwrap();
        specs.push(SpecKind::Trigger, "e@trace; f@hide").unwrap();
        assert_eq!(specs.joined(SpecKind::Filter).as_deref(), Some("a;!b;c@kernel;!d"));
        assert_eq!(specs.joined(SpecKind::Trigger).as_deref(), Some("e@trace;f@hide"));
        assert_eq!(specs.joined(SpecKind::Hide), None);
        assert_eq!((specs.user().iter().count(), specs.kernel().iter().count()), (5, 1));
    }

    #[test]
    fn what_is_wrong() {
        use SpecKind::*;
        assert_eq!(
            error(Trigger, "f@dpeth=1"),
            "-T f@dpeth=1: 'dpeth=1': there is no such action; did you mean 'depth='?"
        );
        assert_eq!(
            error(Argument, "f@arg0"),
            "-A f@arg0: 'arg0': arguments count from 1: arg1, arg2, fparg1"
        );
        assert_eq!(
            error(Argument, "f@retval"),
            "-A f@retval: 'retval': not possible with -A, only with -R or -T"
        );
        assert_eq!(error(Retval, "f@arg1"), "-R f@arg1: 'arg1': not possible with -R, only with -A or -T");
        assert_eq!(error(Filter, "f@trace"), "-F f@trace: 'trace': not possible with -F, only with -T");
        assert_eq!(
            error(Filter, "a;f@notrace"),
            "-F f@notrace: 'notrace': not possible with -F, only with -N or -T"
        );
        assert_eq!(error(Location, "t.c@foo"), "-L t.c@foo: 'foo': only 'hide' can follow a source location");
        assert_eq!(error(Trigger, "f@recovr"), "-T f@recovr: there is no action, such as f@recover");
        assert_eq!(error(Trigger, "f"), "-T f: there is no action, such as f@depth=1");
        assert_eq!(
            error(Filter, "f@liba,hidee"),
            "-F f@liba,hidee: 'hidee': there is no such action; did you mean 'hide'?"
        );
        assert_eq!(error(Filter, "f@liba,libb"), "-F f@liba,libb: 'libb': there can be only one module");
        assert_eq!(
            error(Argument, "f@art1"),
            "-A f@art1: 'art1': there is no such value; did you mean 'arg1'?"
        );
        assert_eq!(error(Filter, "@depth=1"), "-F @depth=1: there is no function name");
        assert_eq!(error(Trigger, "!f@trace"), "-T !f@trace: '!': only -F and -L can be turned round");
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[a-z!é;]{0,3}@?([a-z]{0,5}[=:,/%&<]?[0-9a-zé+]{0,3}){0,3}") {
            for kind in [SpecKind::Filter, SpecKind::Location, SpecKind::Trigger, SpecKind::Argument] {
                let _ = Specs::new().push(kind, &text);
            }
        }
    }
}
