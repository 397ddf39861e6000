//! The `trace.dat` file: recordings of the kernel as trace-cmd keeps them. Reads versions 6 and 7, writes 7.
//!
//! Not for decoding pages and formats: that is `fathom-ftrace`; nor for driving the kernel's tracer.
//!
//! * [`open`] gives a [`Recording`]: its tables in memory, its pages read by position, a chunk at a time.
//! * [`Writer`] writes a file piece by piece; [`Spool`] is the directory in which a recorder gathers pages
//!   until then, and [`recover`] finishes what a killed recorder left.
//! * [`report`] prints a recording as `trace-cmd report` does.
//!
//! Sizes and offsets in a file are checked against what the file holds before anything is allocated.
#![forbid(unsafe_code)]

mod blocks;
mod compress;
mod error;
mod header;
mod options;
mod pages;
mod recording;
pub mod report;
mod source;
mod spool;
mod tables;
mod v6;
mod v7;
mod writer;

pub use blocks::Blocks;
pub use compress::Compression;
pub use error::Error;
pub use header::{Endian, Header, MAGIC, Version};
pub use options::{Correction, Guest, Options, RawOption, TimeShift, Tsc2Nsec, id};
pub use pages::Pages;
pub use recording::{Buffer, CpuData, Recording, System, Tables, TextBuffer, open, open_source};
pub use source::Source;
pub use spool::{Machine, Spool, SpoolBuffer, recover};
pub use writer::{Writer, Written};
