//! `kernel`: what the kernel itself can record, and recordings of it.

use super::Context;
use crate::args::kernel::{Kernel, KernelCommand};
use crate::messages::Failure;

/// Carries out a kernel command.
pub(crate) fn run(args: &Kernel, context: &Context) -> Result<u8, Failure> {
    let _ = context;
    let command: &KernelCommand = &args.command;
    match *command {}
}
