//! Which functions and events of the kernel are meant, by the names that this kernel has for them.

use crate::{Error, Options};
use fathom_filter::{Action, Match, Pattern, SpecKind};
use fathom_tracefs::functions::is_glob;
use fathom_tracefs::{Event, Names};

/// Functions that are in every system call or come of recording itself, so that they say nothing. What they call is
/// recorded all the same.
const NOISE: [&str; 6] = [
    "fpregs_assert_state_consistent",
    "do_syscall_64",
    "x64_sys_call",
    "syscall_exit_to_user_mode_prepare",
    "exit_to_user_mode_prepare",
    "syscall_exit_work",
];
/// Interrupts that come of recording itself, with what they call.
const OWN_INTERRUPTS: [&str; 2] = ["__sysvec_irq_work", "smp_irq_work_interrupt"];

/// Functions by what is to be done with them: names and globs as the kernel takes them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) functions: Vec<String>,
    pub(crate) not_functions: Vec<String>,
    pub(crate) graph: Vec<String>,
    pub(crate) not_graph: Vec<String>,
}

impl Chosen {
    /// By the options that say `@kernel`.
    ///
    /// # Errors
    ///
    /// When a list that says what is recorded would be empty, and so stand for everything.
    pub(crate) fn new(
        options: &Options,
        names: &Names<'_>,
        notes: &mut Vec<String>,
    ) -> Result<Chosen, String> {
        let mut chosen = Chosen::default();
        let how = options.matching;
        let specs = options.selection.specs.kernel();
        let mut wanted = (false, false);
        for spec in specs.iter() {
            let acts = |action: &Action| spec.actions.contains(action);
            let list = match spec.kind {
                SpecKind::Filter => &mut chosen.graph,
                SpecKind::NoTrace => &mut chosen.not_graph,
                SpecKind::Trigger if acts(&Action::Filter) => &mut chosen.graph,
                SpecKind::Trigger if acts(&Action::NoTrace) => &mut chosen.not_graph,
                _ => {
                    let shown = spec.shown();
                    notes.push(format!("{shown}: of the kernel's functions it can be had when reading only"));
                    continue;
                }
            };
            wanted.0 |= matches!(spec.kind, SpecKind::Filter) || acts(&Action::Filter);
            add(list, &spec.shown(), &spec.name, how, names, notes);
        }
        for spec in &options.patch {
            let Some((name, _)) = of_kernel(&spec.pattern) else { continue };
            let (option, list) = match spec.unpatch {
                true => ("-U", &mut chosen.not_functions),
                false => ("-P", &mut chosen.functions),
            };
            wanted.1 |= !spec.unpatch;
            add(list, &format!("{option} {}", spec.pattern), name, how, names, notes);
        }
        for (wanted, list) in [(wanted.0, &chosen.graph), (wanted.1, &chosen.functions)] {
            if wanted && list.is_empty() {
                return Err(format!("there is no function that it should record ({})", notes.join("; ")));
            }
        }
        if !options.kernel.full {
            let named: Vec<String> = chosen.functions.iter().chain(&chosen.graph).cloned().collect();
            let is_there = |name: &&str| names.functions().is_ok_and(|all| all.contains(name));
            let noise = |name: &&str| is_there(name) && !named.iter().any(|given| given == name);
            chosen.not_functions.extend(NOISE.iter().copied().filter(noise).map(str::to_owned));
            chosen.not_graph.extend(OWN_INTERRUPTS.iter().copied().filter(noise).map(str::to_owned));
        }
        Ok(chosen)
    }
}

/// The name in front of `@kernel` or `@k`, and what is behind that.
pub(crate) fn of_kernel(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once('@')?;
    let (module, rest) = rest.split_once(',').unwrap_or((rest, ""));
    let module = module.to_ascii_lowercase();
    matches!(module.as_str(), "kernel" | "k").then_some((name, rest))
}

/// Adds the functions that a name or pattern stands for.
fn add(
    list: &mut Vec<String>,
    shown: &str,
    name: &str,
    how: Match,
    names: &Names<'_>,
    notes: &mut Vec<String>,
) {
    let is_name = names.functions().is_ok_and(|functions| functions.contains(name));
    if is_name || !is_regex(name, how) {
        match names.function(name) {
            Ok(resolved) => {
                notes.extend(resolved.note.map(|note| format!("{shown}: {note}")));
                if !list.contains(&resolved.name) {
                    list.push(resolved.name);
                }
            }
            Err(error) => notes.push(format!("{shown}: {error}; it has no effect")),
        }
        return;
    }
    let pattern = Pattern::lenient(name, how);
    match names.functions() {
        Ok(functions) => {
            let before = list.len();
            let found: Vec<&str> = functions.iter().filter(|name| pattern.matches(name, name)).collect();
            for name in found {
                if !list.iter().any(|known| known == name) {
                    list.push(name.to_owned());
                }
            }
            if list.len() == before {
                notes.push(format!("{shown}: this kernel has no such function; it has no effect"));
            }
        }
        Err(error) => notes.push(format!("{shown}: {error}; it has no effect")),
    }
}

/// Whether a text is a regular expression, and neither a name nor a glob.
fn is_regex(text: &str, how: Match) -> bool {
    let plain = |c: char| c.is_alphanumeric() || c == '_';
    how == Match::Regex && !fathom_filter::is_glob(text) && !text.chars().all(plain)
}

/// The events that `SYSTEM:NAME` texts, with globs in them or not, stand for. What is not there is noted.
pub(crate) fn events(wanted: &[String], names: &Names<'_>, notes: &mut Vec<String>) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for text in wanted {
        let shown = format!("-E {text}@kernel");
        let parsed = match Event::parse(text) {
            Ok(parsed) => parsed,
            Err(error) => {
                notes.push(format!("{shown}: {error}"));
                continue;
            }
        };
        match names.events(&parsed.system, &parsed.name) {
            Ok((found, note)) => {
                notes.extend(note.map(|note| format!("{shown}: {note}")));
                for event in found {
                    let Some((system, name)) = event.split_once('/') else { continue };
                    // Only the tracers themselves write these.
                    if system == "ftrace" || events.iter().any(|e| e.system == system && e.name == name) {
                        continue;
                    }
                    let one = Event { system: system.to_owned(), name: name.to_owned(), ..parsed.clone() };
                    events.push(one);
                }
            }
            Err(error) => notes.push(format!("{shown}: {error}; it is not recorded")),
        }
    }
    events
}

/// The part of an event's text in front of `@kernel`, if it is one of the kernel.
///
/// # Errors
///
/// Another one than `SYSTEM:NAME@kernel`.
pub(crate) fn event(text: &str) -> Result<Option<String>, Error> {
    let Some((event, module)) = text.rsplit_once('@') else { return Ok(None) };
    if !matches!(module.to_ascii_lowercase().as_str(), "kernel" | "k") {
        return Ok(None);
    }
    let complete = event.split_once(':').is_some_and(|(system, name)| !system.is_empty() && !name.is_empty());
    if !complete && !is_glob(event) {
        let reason = "events of the kernel are written SYSTEM:NAME@kernel".to_owned();
        return Err(Error::Pattern { pattern: text.to_owned(), reason });
    }
    Ok(Some(event.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_regular_expression() {
        let regex = |text| is_regex(text, Match::Regex);
        assert_eq!(["vfs_read", "*read*", "vfs_*"].map(regex), [false; 3]);
        assert_eq!(["^vfs_", "a|b", "vfs_.*", "read$"].map(regex), [true; 4]);
        assert!(!is_regex("a[bc]", Match::Glob));
    }

    #[test]
    fn names_in_front_of_kernel() {
        assert_eq!(of_kernel("vfs_read@kernel"), Some(("vfs_read", "")));
        assert_eq!(of_kernel("a@K,depth=2"), Some(("a", "depth=2")));
        assert_eq!(of_kernel("a@libc"), None);
        assert_eq!(event("sched:sched_switch@kernel").unwrap().as_deref(), Some("sched:sched_switch"));
        assert_eq!(event("libc:setjmp").unwrap(), None);
        assert!(event("sched_switch@kernel").is_err());
    }
}
