//! The text views of a trace: replay, report, graph, info, with their fields, units and colours.
//!
//! Not for computing what is shown (`fathom-analysis`), nor for deciding where it goes: whether there is a terminal,
//! a pager or a closed pipe behind the output is the program's business.
//!
//! The layout is that of uftrace 0.13, byte for byte, so that either program's output can be read by eyes and
//! scripts made for the other. Where 0.13 and later versions differ, one constant ([`layout::LAYOUT`]) decides.
#![forbid(unsafe_code)]

mod color;
mod enums;
mod error;
mod fields;
mod graph;
mod info;
pub mod layout;
mod options;
mod places;
mod replay;
mod report;
mod source;
mod texts;
mod units;
mod values;

pub use color::{Color, Paint};
pub use enums::Enums;
pub use error::Error;
pub use graph::graph;
pub use info::{Extra, info, info_symbols};
pub use options::{
    Averages, DiffOptions, Format, GraphOptions, InfoOptions, Output, RangeField, ReplayOptions,
    ReportOptions,
};
pub use places::{caller_text, place_text};
pub use replay::{Colors, replay, replay_colored};
pub use report::{report, report_diff};
pub use texts::{event_label, time_text, timestamp_text};
pub use values::{Values, extended, signed};
