//! What the runtime in the traced program and the recorder share: record bits, the arena, the plan.
//!
//! Not a place for code that runs on one side only. No std, no dependency, every struct `repr(C)` with its size
//! pinned, and one version number that both sides check before anything else.
#![no_std]
#![forbid(unsafe_code)]

pub mod arena;
pub mod decide;
pub mod plan;
pub mod record;

/// Changes with every change of a layout in this crate.
pub const VERSION: u32 = 6;

/// Environment variable that carries the path of the directory with the arena.
pub const ENV_DIR: &str = "FATHOM_ARENA";

/// Name of the arena file in that directory.
pub const ARENA_FILE: &str = "arena";
