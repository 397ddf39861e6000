//! Decodes what the kernel's tracer writes: format files of events, ring-buffer pages, `print fmt` expressions, the
//! tables that give names to addresses and tasks, and the text that the kernel itself makes of all that.
//!
//! Not for driving tracefs and not for files of other programs: bytes come in, events and text go out.
//!
//! The way of the data: [`page`] takes the records out of one sub-buffer, [`stream`] reads the sub-buffers of the CPUs
//! one after another and merges them by time, [`events`] knows each event's [`mod@format`], and [`text`] writes lines.
//!
//! Input is hostile: nothing here panics on it, and no size that it names is allocated. What cannot be decoded is
//! handed on as such, it is never left out.
#![forbid(unsafe_code)]

mod bprint;
pub mod entries;
pub mod events;
pub mod fields;
pub mod format;
pub mod formatter;
pub mod line;
pub mod live;
pub mod machine;
pub mod number;
pub mod page;
pub mod print_fmt;
pub mod stream;
pub mod tables;
pub mod text;

pub use entries::{Entries, Entry, Longs};
pub use events::{Common, Events};
pub use format::{Element, Field, FieldKind, Format, FormatError, Numbers, Value};
pub use formatter::{EntryStyle, Formatter};
pub use line::{Line, Short};
pub use machine::{Endian, Machine};
pub use page::{Missed, Page, PageError, PageLayout, Record};
pub use print_fmt::{Context, Dialect, Forms, Name, NotEvaluable, Options, Pointers, PrintFmt};
pub use stream::{CpuReader, Item, Merge, MergedItem};
pub use tables::{Clock, Comms, Kallsyms, Names, Symbol, Texts, Tgids};
pub use text::{Counts, GraphOptions, Printer, TextOptions};
