//! `cargo xtask bench record` and `bench read`.

use anyhow::{Result, bail};

/// Runs the bench that is named.
pub(crate) fn main(args: &[String]) -> Result<bool> {
    bail!("bench {args:?} is not there yet")
}
