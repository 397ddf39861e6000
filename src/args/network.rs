//! Options about sending and receiving recordings.

use super::{Common, values};
use clap::{ArgAction, Args, ValueHint};
use std::path::PathBuf;

/// Where `record` sends what it records.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct Sending {
    /// Send the recording to HOST[:PORT], where `fathom recv` or `uftrace recv` listens, instead of keeping it
    #[arg(long, value_name = "HOST", value_hint = ValueHint::Hostname)]
    pub(crate) host: Option<String>,
    /// Port of the receiver
    #[arg(long, value_name = "PORT", default_value_t = fathom_net::DEFAULT_PORT)]
    pub(crate) port: u16,
    /// Prove to the receiver, which must be fathom, that both know what is in FILE; broken connections are resumed then
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) token: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    #[command(flatten)]
    pub(crate) sending: Sending,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Recv {
    /// Address to listen on; 0.0.0.0 and :: are all of this machine, the usual one is reached from this machine only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_hint = ValueHint::Hostname, help_heading = "Network")]
    pub(crate) host: String,
    /// Port to listen on
    #[arg(long, value_name = "PORT", default_value_t = fathom_net::DEFAULT_PORT, help_heading = "Network")]
    pub(crate) port: u16,
    /// Take recordings only from senders (`fathom record --token`) that know what is in FILE, at least 16 characters
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Network")]
    pub(crate) token: Option<PathBuf>,
    /// Run CMDLINE, words without a shell, for each recording that is complete; FATHOM_DIR is where it is
    #[arg(long, value_name = "CMDLINE", action = ArgAction::Append, value_hint = ValueHint::CommandString, help_heading = "Network")]
    pub(crate) run_cmd: Vec<String>,
    /// Take at most SIZE from one sender, with k, m or g
    #[arg(long, value_name = "SIZE", default_value = "64g", value_parser = values::size, help_heading = "Limits")]
    pub(crate) max_size: u64,
    /// Take recordings of at most NUM senders at a time
    #[arg(long, value_name = "NUM", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Limits")]
    pub(crate) max_senders: u16,
    /// Give a sender up that says nothing for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Limits")]
    pub(crate) max_silence: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}
