//! Which functions of a module can be patched while it runs, the proof that each can, and how.
//!
//! Not for patching: bytes of a file go in, a plan comes out. Nothing here knows a running process, and what applies the
//! plan needs no disassembler: it compares bytes, copies bytes and adds distances.
//!
//! What is not proven is not patched: [`Reason`] says what is missing. See [`Site`] for what is written and for what the
//! code that is led to must preserve.
//!
//! All addresses are module-relative, as those of `fathom-symbols`.

#![forbid(unsafe_code)]

mod analysis;
mod islands;
mod kept;
mod leads;
mod marks;
mod reason;
mod relocate;
mod site;
mod special;
mod stack;
mod starts;
mod summary;
mod sweep;
mod unwind;
mod verdict;

pub use analysis::{analyse, refusal};
pub use kept::{Fingerprint, Unusable, fingerprint, from_bytes, to_bytes};
pub use reason::{Reason, Refusal};
pub use site::{CODE_LIMIT, Fixup, FixupKind, HOP, Island, JUMP, ORIGINAL_LIMIT, Site};
pub use summary::Summary;

/// How to analyse.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How many threads work on it; 0 for as many as there are processors.
    pub threads: usize,
}

/// What is known of a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Analysis {
    /// Set when the whole module is left alone; then there are no functions.
    pub refused: Option<Refusal>,
    /// Its functions, ascending by address; no two begin at the same.
    pub functions: Vec<Function>,
}

/// One function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Module-relative address of its first byte.
    pub start: u64,
    /// The address behind its last byte, without padding.
    pub end: u64,
    /// How it is patched, or why it is not.
    pub verdict: Result<Site, Reason>,
}
