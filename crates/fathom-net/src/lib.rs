//! Recordings over the network: sends a data directory while it is being made or afterwards, and receives many at once.
//!
//! Not for making recordings nor for reading them: here they are directories of files that grow.
//!
//! There are two forms. The plain one is uftrace's ([`wire`]), so either end may be uftrace; whoever reaches the port can
//! send, and what a broken connection did not bring is gone. The one with a token ([`token`]) is between two of us: both
//! ends prove that they know the token, frames are authenticated and compressed, and a broken connection is resumed from
//! the sender's directory, which is its spool.
//!
//! What a sender says is hostile: names, lengths, contents, and how slowly it says it.
#![forbid(unsafe_code)]

mod error;
mod incoming;
mod name;
pub mod plain;
mod readable;
mod send;
mod server;
mod spool;
pub mod token;
pub mod wire;

pub use error::{NetError, Result};
pub use incoming::Limits;
pub use name::{directory_name, file_name};
pub use send::{Outcome, Sender, Target, send};
pub use server::{Event, Server, ServerOptions};
pub use token::Token;

/// The port unless another one is asked for, as with uftrace.
pub const DEFAULT_PORT: u16 = 8090;
