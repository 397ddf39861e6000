//! The specs of all functions, put together from the `info` file.

use crate::{ArgSpecs, Class, Info, PatternType};
use fathom_filter::Pattern;
use fathom_filter::args::{ArgSlot, ArgSpec, Items, Values, parse_items};
use fathom_symbols::demangle::{Style, demangle};
use rustc_hash::FxHashMap;

/// A function that specs are looked up for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Name in the symbol table.
    pub raw_name: &'a str,
    /// Path of the module.
    pub module: &'a str,
    /// Whether it is a library function, called through the module's PLT.
    pub plt: bool,
}

/// What a module's `.dbg` file says of a function, if it has it: its arguments and its return value.
pub(crate) type Debug<'a> = Option<(Option<&'a str>, Option<&'a str>)>;

/// What a user's spec says.
#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    items: Items,
    /// What it means where it names no values: those that are known for the function.
    returns: bool,
}

/// All specs of a recording. The recorder and the readers ask the same table, because records do not say what they
/// carry.
#[derive(Debug)]
pub struct ArgTable {
    class: Class,
    rules: Vec<Rule>,
    auto_args: FxHashMap<String, Vec<ArgSpec>>,
    auto_retvals: FxHashMap<String, Vec<ArgSpec>>,
    auto: bool,
}

impl ArgTable {
    pub(crate) fn of(info: &Info) -> ArgTable {
        let nothing = ArgSpecs::default();
        let specs = info.arg_specs.as_ref().unwrap_or(&nothing);
        ArgTable::new(specs, info.pattern_type.unwrap_or_default(), info.class)
    }

    /// The table of a recording with these specs.
    pub fn new(specs: &ArgSpecs, kind: PatternType, class: Class) -> ArgTable {
        let mut rules = Vec::new();
        let given = [(&specs.args, false), (&specs.retvals, true)];
        for (text, returns) in given {
            for one in text.iter().flat_map(|text| text.split(';')) {
                rules.extend(rule(one, returns, kind, class));
            }
        }
        ArgTable {
            class,
            rules,
            auto_args: auto_table(&specs.auto_args, class),
            auto_retvals: auto_table(&specs.auto_retvals, class),
            auto: specs.auto,
        }
    }

    /// The specs of a function, in the order of its payloads.
    pub(crate) fn specs(&self, subject: Subject, debug: Debug) -> Vec<ArgSpec> {
        self.specs_with(subject, |returns| self.known(subject, debug, returns))
    }

    /// The specs of a function of which `known` tells the arguments, or the return value (`true`), that follow from its
    /// type.
    pub fn specs_with(&self, subject: Subject, known: impl Fn(bool) -> Vec<ArgSpec>) -> Vec<ArgSpec> {
        let mut values = Values::default();
        let shown = demangle(subject.raw_name, Style::Simple);
        for rule in &self.rules {
            // The recorder showed raw names if it was told to; then patterns are about those.
            let raw = subject.raw_name;
            let named = rule.pattern.matches(&shown, raw) || rule.pattern.matches(raw, raw);
            if !named || !in_module(rule.items.module.as_deref(), subject) {
                continue;
            }
            let exact = rule.pattern.is_exact();
            for spec in &rule.items.specs {
                values.add(spec.clone(), exact);
            }
            if rule.items.specs.is_empty() {
                // Triggers ask for both kinds at once and are in both lists.
                known(rule.returns).into_iter().for_each(|spec| values.add(spec, exact));
            }
        }
        for returns in [false, true] {
            if self.auto && !values.any(returns) {
                known(returns).into_iter().for_each(|spec| values.add(spec, false));
            }
        }
        values.into_specs().collect()
    }

    /// What debug information says of a function, or where there is none, the recorder's table.
    fn known(&self, subject: Subject, debug: Debug, returns: bool) -> Vec<ArgSpec> {
        let mut specs = match debug {
            Some((args, retval)) => {
                let text = if returns { retval } else { args };
                let text = text.map_or("", |text| text.trim_start_matches('@'));
                parse_items(text, self.class).unwrap_or_default().specs
            }
            None => {
                let table = if returns { &self.auto_retvals } else { &self.auto_args };
                table.get(&*demangle(subject.raw_name, Style::Simple)).cloned().unwrap_or_default()
            }
        };
        specs.retain(|spec| (spec.slot == ArgSlot::Return) == returns);
        specs
    }
}

/// Whether a function is in the module that a rule is restricted to.
fn in_module(module: Option<&str>, subject: Subject) -> bool {
    match module {
        None => true,
        Some("PLT" | "plt") => subject.plt,
        Some(module) => subject.module.rsplit('/').next().unwrap_or_default().starts_with(module),
    }
}

/// Reads `FUNC@item,item` or `FUNC`. None if it makes no sense: the recorder ignored it, too.
fn rule(text: &str, returns: bool, kind: PatternType, class: Class) -> Option<Rule> {
    let (name, items) = text.split_once('@').unwrap_or((text, ""));
    if name.is_empty() {
        return None;
    }
    let items = parse_items(items, class).ok()?;
    Some(Rule { pattern: Pattern::lenient(name, kind), items, returns })
}

/// Reads a table of well-known functions, by their readable names.
fn auto_table(text: &str, class: Class) -> FxHashMap<String, Vec<ArgSpec>> {
    let mut table: FxHashMap<String, Vec<ArgSpec>> = FxHashMap::default();
    for one in text.split(';') {
        let Some((name, items)) = one.split_once('@') else { continue };
        let Ok(items) = parse_items(items, class) else { continue };
        let specs = table.entry(demangle(name, Style::Simple).into_owned()).or_default();
        // Several entries for one readable name are merged as those for one function are.
        for spec in items.specs {
            match specs.iter_mut().find(|known| known.same_place(&spec)) {
                Some(known) => *known = spec,
                None => specs.push(spec),
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(args: &str, retvals: &str, auto: bool) -> ArgTable {
        let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
        let specs = ArgSpecs {
            args: text(args),
            retvals: text(retvals),
            auto_args: "open@arg1/s,arg2/x;_Znwm@arg1/u;bad@arg1/q".into(),
            auto_retvals: "open@retval/d32".into(),
            enums: String::new(),
            auto,
        };
        ArgTable::of(&Info { arg_specs: Some(specs), ..Info::default() })
    }

    fn shown(table: &ArgTable, raw_name: &str, debug: Option<(Option<&str>, Option<&str>)>) -> String {
        let subject = Subject { raw_name, module: "/lib/libx.so.1", plt: false };
        let one = |spec: ArgSpec| {
            let slot = match spec.slot {
                ArgSlot::Integer(n) => format!("{n}"),
                ArgSlot::Float(n) => format!("f{n}"),
                ArgSlot::Return => "r".into(),
            };
            format!("{slot}{}{}", spec.format.letter(), spec.size)
        };
        table.specs(subject, debug).into_iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn nothing_asked_nothing_known() {
        assert_eq!(shown(&table("", "", false), "open", None), "");
    }

    #[test]
    fn automatic_types() {
        let auto = table("", "", true);
        assert_eq!(shown(&auto, "open", None), "1s8 2x8 rd4");
        assert_eq!(shown(&auto, "_Znwm", None), "1u8");
        assert_eq!(shown(&auto, "bad", None), "");
        // An overload of the function in the table.
        assert_eq!(shown(&auto, "_ZnwmSt11align_val_t", None), "1u8");
        let debug = Some((Some("@arg1/p%rdi,fparg1/32%xmm0"), Some("@retval")));
        assert_eq!(shown(&auto, "mine", debug), "1p8 f1f4 rd8");
        assert_eq!(shown(&auto, "open", Some((None, Some("@retval/i32")))), "ri4");
        let named = table("open", "", false);
        assert_eq!(shown(&named, "open", None), "1s8 2x8");
    }

    #[test]
    fn what_the_user_said_comes_first() {
        let given = table("open@arg3,retval/x", "", true);
        assert_eq!(shown(&given, "open", None), "3d8 rx8");
        let two = table("f@arg1;f@arg2/s;f@arg1/x", "f@retval/i32", false);
        assert_eq!(shown(&two, "f", None), "1x8 2s8 ri4");
        let order = table("f@arg1/s;^f@arg1/x,arg2", "", false);
        assert_eq!(shown(&order, "f", None), "1s8 2d8");
    }

    #[test]
    fn patterns_modules_and_mangled_names() {
        let by = |spec: &str, name: &str| shown(&table(spec, "", false), name, None);
        assert_eq!(by("^op@arg1", "open"), "1d8");
        assert_eq!(by("open@libx,arg1", "open"), "1d8");
        assert_eq!(by("open@liby,arg1", "open"), "");
        assert_eq!(by("open@plt,arg1", "open"), "");
        assert_eq!(by("ns::f@arg1", "_ZN2ns1fEi"), "1d8");
        assert_eq!(by("_ZN2ns1fEi@arg1", "_ZN2ns1fEi"), "1d8");
    }
}
