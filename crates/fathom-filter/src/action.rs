//! What can follow the `@` of a spec.

use crate::args::{ArgLocation, ArgSlot, ArgSpec, Class, parse_items};
use crate::condition::Condition;
use crate::nearest::nearest;
use crate::{Scope, values};

/// A colour of `color=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "colours")]
pub enum Color {
    Red,
    Green,
    Blue,
    Yellow,
    Magenta,
    Cyan,
    Bold,
    Gray,
}

const COLORS: [(&str, Color); 8] = [
    ("red", Color::Red),
    ("green", Color::Green),
    ("blue", Color::Blue),
    ("yellow", Color::Yellow),
    ("magenta", Color::Magenta),
    ("cyan", Color::Cyan),
    ("bold", Color::Bold),
    ("gray", Color::Gray),
];

/// What `read=` reads at the entry and the exit of a function: bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads(pub u32);

impl Reads {
    /// Memory of the process: size, resident, shared.
    pub const PROC_STATM: Reads = Reads(1 << 0);
    /// Page faults, major and minor.
    pub const PAGE_FAULT: Reads = Reads(1 << 1);
    /// Cycles and instructions.
    pub const PMU_CYCLE: Reads = Reads(1 << 2);
    /// Cache references and misses.
    pub const PMU_CACHE: Reads = Reads(1 << 3);
    /// Branches and mispredicted ones.
    pub const PMU_BRANCH: Reads = Reads(1 << 4);

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are among them.
    pub fn contains(self, other: Reads) -> bool {
        self.0 & other.0 == other.0
    }
}

const READS: [(&str, Reads); 5] = [
    ("proc/statm", Reads::PROC_STATM),
    ("page-fault", Reads::PAGE_FAULT),
    ("pmu-cycle", Reads::PMU_CYCLE),
    ("pmu-cache", Reads::PMU_CACHE),
    ("pmu-branch", Reads::PMU_BRANCH),
];

/// What `clear=` can take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the settings of the actions")]
pub enum Setting {
    Args,
    Retval,
    Filter,
    Depth,
    Time,
    Size,
    Hide,
    Caller,
    Trace,
    Finish,
    Callsite,
    Read,
    Color,
    Backtrace,
    Recover,
    If,
}

const SETTINGS: [(&str, Setting); 18] = [
    ("arg", Setting::Args),
    ("fparg", Setting::Args),
    ("retval", Setting::Retval),
    ("filter", Setting::Filter),
    ("notrace", Setting::Filter),
    ("depth", Setting::Depth),
    ("time", Setting::Time),
    ("size", Setting::Size),
    ("hide", Setting::Hide),
    ("caller", Setting::Caller),
    ("trace", Setting::Trace),
    ("finish", Setting::Finish),
    ("callsite", Setting::Callsite),
    ("read", Setting::Read),
    ("color", Setting::Color),
    ("backtrace", Setting::Backtrace),
    ("recover", Setting::Recover),
    ("if", Setting::If),
];

/// One action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `filter`: record from here on.
    Filter,
    /// `notrace`: don't record from here on.
    NoTrace,
    /// `caller`: record only what leads here.
    Caller,
    /// `hide`: leave the function itself out.
    Hide,
    /// `depth=N`: levels from here on.
    Depth(u32),
    /// `time=T`: ns that calls must take here and below.
    Time(u64),
    /// `size=N`: bytes that functions must have here and below.
    Size(u32),
    /// `trace`: record however short it is.
    Trace,
    /// `trace_on`: switch recording on.
    TraceOn,
    /// `trace_off`: switch recording off.
    TraceOff,
    /// `finish`: end the recording.
    Finish,
    /// `callsite`: record where it is called from.
    Callsite,
    /// `recover`: restore return addresses while it runs.
    Recover,
    /// `backtrace`: show the open calls at its entry.
    Backtrace,
    /// `color=C`: show its name in that colour.
    Color(Color),
    /// `read=KIND`: read counters at entry and exit.
    Read(Reads),
    /// `auto-args`: record arguments and return value by the types that are known.
    AutoArgs,
    /// `arg1/s`, `fparg1/32`, `retval`: record a value.
    Value(ArgSpec),
    /// `if:COND`: what must be true for the filter to count.
    If(Condition),
    /// `clear`: take away all that was said so far (none given), or some settings.
    Clear(Vec<Setting>),
}

/// Actions that are one word.
static WORDS: [(&str, Action); 17] = [
    ("filter", Action::Filter),
    ("notrace", Action::NoTrace),
    ("caller", Action::Caller),
    ("hide", Action::Hide),
    ("trace", Action::Trace),
    ("trace_on", Action::TraceOn),
    ("traceon", Action::TraceOn),
    ("trace-on", Action::TraceOn),
    ("trace_off", Action::TraceOff),
    ("traceoff", Action::TraceOff),
    ("trace-off", Action::TraceOff),
    ("finish", Action::Finish),
    ("callsite", Action::Callsite),
    ("recover", Action::Recover),
    ("backtrace", Action::Backtrace),
    ("auto-args", Action::AutoArgs),
    ("clear", Action::Clear(Vec::new())),
];

/// Beginnings of actions that go on with something, as a user should write them.
const VALUED: [&str; 7] = ["depth=", "time=", "size=", "color=", "read=", "clear=", "if:"];

/// The words of [`Action`], for suggestions.
pub(crate) fn nearest_action(word: &str) -> Option<String> {
    let words = WORDS.iter().map(|(word, _)| *word);
    let word = word.split_inclusive(['=', ':']).next().unwrap_or(word);
    nearest(word, words.chain(VALUED).chain(["arg1", "fparg1", "retval"]))
}

/// The value that a word was probably meant to be, if it is none.
pub(crate) fn nearest_value(word: &str) -> Option<String> {
    let lower = word.to_ascii_lowercase();
    let is_one = ["arg", "fparg", "retval"].iter().any(|value| lower.starts_with(value));
    // Modules are called libarg1, and may end in anything.
    let is_module = lower.starts_with("lib") || lower.contains(['.', '=']);
    if is_one || is_module { None } else { nearest(&lower, ["arg1", "fparg1", "retval"]) }
}

/// An action, or where the functions have to be that a spec is about.
#[derive(Debug)]
pub(crate) enum Item {
    Action(Action),
    Scope(Scope),
}

/// Reads one item.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn parse(item: &str, class: Class) -> Result<Item, String> {
    let lower = item.to_ascii_lowercase();
    if let Some((_, action)) = WORDS.iter().find(|(word, _)| *word == lower) {
        return Ok(Item::Action(action.clone()));
    }
    match lower.as_str() {
        "plt" => return Ok(Item::Scope(Scope::Plt)),
        "k" | "kernel" => return Ok(Item::Scope(Scope::Kernel)),
        _ => {}
    }
    // A condition has signs of its own, and other beginnings are separated from values by the first one.
    if let Some(condition) = lower.strip_prefix("if:") {
        return Condition::parse(condition).map(|condition| Item::Action(Action::If(condition)));
    }
    if ["arg", "fparg", "retval"].iter().any(|word| lower.starts_with(word)) {
        return value(item, class).map(|spec| Item::Action(Action::Value(spec)));
    }
    if let Some((name, text)) = item.split_once('=') {
        return with_value(&name.to_ascii_lowercase(), text).map(Item::Action);
    }
    // uftrace takes an action for one whatever follows it, so no module can begin like one.
    if let Some((word, _)) = WORDS.iter().rev().find(|(word, _)| lower.starts_with(word)) {
        let meant = nearest_action(&lower);
        return Err(format!("there is no such action; did you mean '{}'?", meant.as_deref().unwrap_or(word)));
    }
    Ok(Item::Scope(Scope::Module(item.to_owned())))
}

fn with_value(name: &str, text: &str) -> Result<Action, String> {
    match name {
        "depth" => {
            let depth = text.parse().ok().filter(|n| *n <= 1024);
            depth.map(Action::Depth).ok_or_else(|| "a depth is a number up to 1024".to_owned())
        }
        "time" => values::time(text, 3).map(Action::Time),
        "size" => {
            let size = values::size(text)?;
            u32::try_from(size).map(Action::Size).map_err(|_| format!("no function has {size} bytes"))
        }
        "color" => named(&COLORS, text, "color").map(Action::Color),
        "read" => named(&READS, text, "kind of counter").map(Action::Read),
        "clear" => text
            .split('+')
            .map(|one| named(&SETTINGS, one, "setting"))
            .collect::<Result<_, _>>()
            .map(Action::Clear),
        _ => Err(match nearest_action(&format!("{name}=")) {
            Some(meant) => format!("there is no such action; did you mean '{meant}'?"),
            None => "there is no such action".to_owned(),
        }),
    }
}

/// The entry of a table that has the name `text`.
fn named<T: Copy>(table: &[(&str, T)], text: &str, what: &str) -> Result<T, String> {
    let text = text.to_ascii_lowercase();
    if let Some((_, found)) = table.iter().find(|(name, _)| *name == text) {
        return Ok(*found);
    }
    let names = table.iter().map(|(name, _)| *name);
    Err(match nearest(&text, names.clone()) {
        Some(meant) => format!("'{text}' is no {what}; did you mean '{meant}'?"),
        None => format!("'{text}' is no {what}: they are {}", names.collect::<Vec<_>>().join(", ")),
    })
}

/// An argument or a return value.
fn value(item: &str, class: Class) -> Result<ArgSpec, String> {
    if let Ok(items) = parse_items(item, class)
        && let [spec] = items.specs.as_slice()
    {
        if matches!(spec.slot, ArgSlot::Integer(n) | ArgSlot::Float(n) if n > MOST_ARGUMENTS) {
            return Err(format!("there are at most {MOST_ARGUMENTS} arguments"));
        }
        if let ArgLocation::Registers(names) = &spec.location
            && let Some(name) = names.iter().find(|name| !is_register(name))
        {
            let meant = nearest(name, X86_64.iter().copied());
            let meant = meant.map_or_else(String::new, |meant| format!("; did you mean '%{meant}'?"));
            return Err(format!("there is no register '%{name}'{meant}"));
        }
        return Ok(spec.clone());
    }
    let lower = item.to_ascii_lowercase();
    let name = lower.split(['/', '%']).next().unwrap_or_default();
    let rest = name.trim_start_matches("fp").trim_start_matches("arg");
    if !lower.starts_with("retval") && (rest.is_empty() || rest.trim_start_matches('0').is_empty()) {
        return Err("arguments count from 1: arg1, arg2, fparg1".to_owned());
    }
    if name != "retval" && !rest.bytes().all(|b| b.is_ascii_digit()) {
        return Err("values are arg1, arg2 …, fparg1, fparg2 … and retval".to_owned());
    }
    Err(format_problem(item))
}

/// General registers of x86-64.
const X86_64: [&str; 16] = [
    "rdi", "rsi", "rdx", "rcx", "r8", "r9", "rax", "rbx", "rbp", "rsp", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// Whether there is such a register, on x86-64 or AArch64.
fn is_register(name: &str) -> bool {
    let numbered = |prefix: &str, most: u8| {
        let number = name.strip_prefix(prefix).and_then(|number| number.parse::<u8>().ok());
        number.is_some_and(|number| number <= most)
    };
    let numbers = [("xmm", 15), ("x", 30), ("w", 30), ("s", 31), ("d", 31), ("v", 31)];
    X86_64.contains(&name) || numbers.iter().any(|(prefix, most)| numbered(prefix, *most))
}

/// uftrace keeps their numbers in so many bits; no function has as many.
const MOST_ARGUMENTS: u16 = 255;

/// What is wrong with the format or the place of a value.
fn format_problem(item: &str) -> String {
    let (format, place) = item.split_once('%').unwrap_or((item, ""));
    let format = format.split_once('/').map_or("", |(_, format)| format);
    let letter = format.chars().next().unwrap_or('d');
    if !letter.is_ascii_digit() && !"diuxoscfSpet".contains(letter) {
        return format!("'{letter}' is no format: they are d i u x o s c f S p e t");
    }
    let bits = format.split(':').next().unwrap_or_default().trim_start_matches(|c: char| !c.is_ascii_digit());
    let unusual = !matches!(bits, "" | "8" | "16" | "32" | "64" | "80");
    if unusual || place.is_empty() {
        return format!("'{bits}' is no size: a value has 8, 16, 32 or 64 bits, and 80 if it is a float");
    }
    format!("'%{place}' is no place: it is a register, %rdi, or a word on the stack, %stack+1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(text: &str) -> Action {
        match parse(text, Class::Bits64) {
            Ok(Item::Action(action)) => action,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn all_actions() {
        for (text, wanted) in &WORDS {
            assert_eq!(action(text), *wanted);
            assert_eq!(action(&text.to_ascii_uppercase()), *wanted);
        }
        assert_eq!(action("Depth=3"), Action::Depth(3));
        assert_eq!(action("time=1.5us"), Action::Time(1500));
        assert_eq!(action("size=1k"), Action::Size(1024));
        assert_eq!(action("color=Red"), Action::Color(Color::Red));
        assert_eq!(action("read=proc/statm"), Action::Read(Reads::PROC_STATM));
        assert_eq!(action("clear=arg+color"), Action::Clear(vec![Setting::Args, Setting::Color]));
        assert!(matches!(action("if:arg1 == 3"), Action::If(_)));
        assert!(matches!(action("arg1/s"), Action::Value(_)));
        assert!(matches!(action("RETVAL/i32"), Action::Value(_)));
    }

    #[test]
    fn scopes() {
        let scope = |text: &str| match parse(text, Class::Bits64) {
            Ok(Item::Scope(scope)) => scope,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(scope("PLT"), Scope::Plt);
        assert_eq!((scope("k"), scope("Kernel")), (Scope::Kernel, Scope::Kernel));
        assert_eq!(scope("libc"), Scope::Module("libc".into()));
        assert_eq!(scope("time"), Scope::Module("time".into()));
    }

    #[test]
    fn what_is_wrong() {
        for (text, part) in [
            ("dpeth=1", "did you mean 'depth='?"),
            ("depth=x", "a depth is a number"),
            ("depth=1025", "up to 1024"),
            ("time=", "a time is"),
            ("time=1.2345us", "at most 3 digits"),
            ("size=-1", "a size is"),
            ("color=blu", "did you mean 'blue'?"),
            ("color=mauve", "they are red, green"),
            ("read=pmu-cycl", "did you mean 'pmu-cycle'?"),
            ("clear=dept", "did you mean 'depth'?"),
            ("trace_of", "did you mean 'trace_off'?"),
            ("backtraces", "did you mean 'backtrace'?"),
            ("xyzzyx=3", "no such action"),
            ("arg0", "count from 1"),
            ("arg", "count from 1"),
            ("argx", "values are arg1"),
            ("retvalue", "values are arg1"),
            ("arg1/q", "'q' is no format"),
            ("arg1/d33", "'33' is no size"),
            ("arg1%stack+x", "'%stack+x' is no place"),
            ("arg999", "at most 255"),
            ("arg1%rdq", "no register '%rdq'; did you mean '%rd"),
            ("arg1/t16%rdi+xmm77", "no register '%xmm77'"),
            ("if:arg1 = 3", "the operators are"),
        ] {
            let error = parse(text, Class::Bits64).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
