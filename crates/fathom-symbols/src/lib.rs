//! Symbols of ELF files: symbol tables, separate debug files, library-call slots, static probes, demangling, source lines, and the
//! text files (`.sym`, `.dbg`) that keep them.
//!
//! Not for running processes: nothing here attaches to, reads or patches one; what it is given are files and bytes.
//!
//! All addresses are *module-relative*: the virtual address in the file minus that of its first `PT_LOAD` segment,
//! which is what is left of a run-time address after its module's load base is taken away.

#![deny(unsafe_code)]

pub mod bytes;
pub mod dbgfile;
pub mod demangle;
pub mod elf;
pub mod lines;
pub mod maps;
pub mod sdt;
pub mod symbol;
pub mod symfile;

pub use bytes::Bytes;
pub use elf::Image;
pub use symbol::{Symbol, SymbolKind, SymbolTable, SymbolTableBuilder};
