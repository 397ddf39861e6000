//! Who prints an event, found once for each format.

use super::Settings;
use super::filter::EventFilter;
use super::ftrace::{Entry, Exit, Function, Place, Repeats};
use super::plugins::Plugin;
use super::raw::RawFields;
use super::symbols::Symbols;
use super::text::Text;
use super::wakeup::Scheduling;
use fathom_ftrace::{Format, Short, number};

/// What is known of an event before its first record.
pub(crate) struct EventText {
    /// Its name with the colon and the spaces behind it.
    pub(crate) label: Box<[Short]>,
    pub(crate) kind: Kind,
    /// The filters that its records must pass; `None`: none of them is printed.
    pub(crate) filters: Option<Vec<EventFilter>>,
    /// Whether it is the stack of the event before it.
    pub(crate) is_stack: bool,
    /// What it means for wake-ups, where they are asked for.
    pub(crate) scheduling: Option<Scheduling>,
}

/// Who prints it.
pub(crate) enum Kind {
    /// Its `print fmt`.
    Text(Text),
    /// Field by field.
    Raw(RawFields),
    /// A plugin; the `print fmt` where it leaves that to it.
    Plugin(Box<Plugin>, Text),
    Function(Function),
    Repeats(Repeats),
    /// A kernel stack that begins so many bytes into the record.
    Stack(usize),
    RawData {
        id: Place,
        at: usize,
    },
    Entry(Entry),
    Exit(Exit),
}

/// The column of an event's text, from its name on.
const LABEL_WIDTH: usize = 22;

impl EventText {
    pub(crate) fn new(format: &Format, settings: &Settings, symbols: &Symbols) -> Self {
        let mut label = Vec::new();
        number::left(&mut label, format!("{}: ", format.name).as_bytes(), LABEL_WIDTH);
        let named = |list: &[super::EventPattern]| list.iter().any(|pattern| pattern.matches(format));
        let kind = if settings.raw || named(&settings.raw_events) {
            Kind::Raw(RawFields::new(format))
        } else {
            let own = if settings.plugins && !named(&settings.plain_events) {
                by_plugin(format, symbols)
            } else {
                None
            };
            own.unwrap_or_else(|| Kind::Text(Text::new(format, symbols)))
        };
        Self {
            label: Short::pieces(&label),
            kind,
            filters: EventFilter::of(&settings.filters, format),
            is_stack: format.system == "ftrace"
                && matches!(format.name.as_str(), "kernel_stack" | "user_stack"),
            scheduling: if settings.wakeups { Scheduling::of(format) } else { None },
        }
    }
}

fn by_plugin(format: &Format, symbols: &Symbols) -> Option<Kind> {
    let field = |name: &str| format.field(name).map(|field| field.offset);
    Some(match (format.system.as_str(), format.name.as_str()) {
        ("ftrace", "function") => Kind::Function(Function::of(format)?),
        ("ftrace", "func_repeats") => Kind::Repeats(Repeats::of(format)?),
        ("ftrace", "kernel_stack") => Kind::Stack(field("caller")?),
        ("ftrace", "raw_data") => Kind::RawData { id: Place::of(format, "id")?, at: field("buf")? },
        ("ftrace", "funcgraph_entry") => Kind::Entry(Entry::of(format)?),
        ("ftrace", "funcgraph_exit") => Kind::Exit(Exit::of(format)?),
        _ => Kind::Plugin(Box::new(Plugin::of(format)?), Text::new(format, symbols)),
    })
}
