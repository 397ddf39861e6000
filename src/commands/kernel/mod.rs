//! `kernel`: what the kernel itself can record, and recordings of it.

mod report;

use super::Context;
use crate::args::kernel::{Kernel, KernelCommand};
use crate::messages::Failure;

/// Carries out a kernel command.
pub(crate) fn run(args: &Kernel, context: &Context) -> Result<u8, Failure> {
    match &args.command {
        KernelCommand::Report(args) => report::run(args, context),
    }
}
