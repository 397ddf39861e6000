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

mod marks;
mod reason;
mod relocate;
mod site;

pub use reason::{Reason, Refusal};
pub use site::{CODE_LIMIT, Fixup, FixupKind, HOP, Island, JUMP, ORIGINAL_LIMIT, Site};

use fathom_symbols::Image;

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

/// Analyses a module.
pub fn analyse(image: &Image, _options: &Options) -> Analysis {
    let code = image.code();
    let range = code.iter().fold(u64::MAX..0, |all, (start, bytes)| {
        all.start.min(*start)..all.end.max(start + bytes.len() as u64)
    });
    let mut targets = marks::Marks::new(range);
    for (start, bytes) in &code {
        for instruction in iced_x86::Decoder::with_ip(64, bytes, *start, 0).iter() {
            if instruction.op0_kind() == iced_x86::OpKind::NearBranch64 {
                targets.insert(instruction.near_branch64());
            }
        }
    }
    let symbols = image.symbols();
    let functions = symbols.iter().filter(|symbol| symbol.kind.is_function() && symbol.size > 0);
    let functions = functions.map(|symbol| {
        let verdict = image.data_at(symbol.addr, symbol.size).ok_or(Reason::Bounds).and_then(|bytes| {
            let skip = if bytes.starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]) { 4 } else { 0 };
            let at = symbol.addr + skip as u64;
            if targets.any(at + 1..at + 5) {
                return Err(Reason::Target);
            }
            let moved = relocate::relocate(&bytes[skip..], at, JUMP)?;
            let original = bytes.get(skip..skip + moved.len.max(JUMP)).ok_or(Reason::Short)?.to_vec();
            Ok(Site { at, original, island: None, code: moved.code, fixups: moved.fixups })
        });
        Function { start: symbol.addr, end: symbol.end(), verdict }
    });
    Analysis { refused: None, functions: functions.collect() }
}
