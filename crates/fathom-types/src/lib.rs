//! What functions take and return: their prototypes, and for each value where it is at the moment of a call or a
//! return, how it is recorded and how it is shown.
//!
//! Not for text about calls (that is the views'), and not for fetching anything: the recorder compiles what is said here
//! into its plan.

#![forbid(unsafe_code)]

pub mod builtin;
mod c;
pub mod debug_info;
mod dwarf;
mod entry;
mod enums;
pub mod fetch;
pub mod layout;
mod prototype;
mod rust;
mod spec_text;
mod sysv;

pub use fetch::{Fetch, Length, Piece, Place, Register, Source, Word};
pub use layout::{Layout, Layouts};
pub use prototype::{Prototype, Prototypes};
