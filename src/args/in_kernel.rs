//! Options about the kernel's side of a recording.

use super::values;
use clap::Args;
use fathom_record::KernelOptions;
use fathom_store::KernelRecords;

/// What is recorded of the kernel.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Kernel")]
pub(crate) struct InKernel {
    /// Record functions of the kernel, one level of calls; needs root
    #[arg(short = 'k', long)]
    pub(crate) kernel: bool,
    /// The same with DEPTH levels of calls, at most 50
    #[arg(short = 'K', long, value_name = "DEPTH", value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) kernel_depth: Option<u32>,
    /// Size of the kernel's buffer for each processor, with k, m or g
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) kernel_buffer: Option<u64>,
}

/// What is shown of the kernel's functions.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Kernel")]
pub(crate) struct KernelView {
    /// Also show what the kernel did while no function of the program was open; when recording, also functions that are
    /// left out as noise otherwise
    #[arg(long)]
    pub(crate) kernel_full: bool,
    /// Leave that out, as is usual
    #[arg(long, overrides_with = "kernel_full")]
    pub(crate) kernel_skip_out: bool,
}

/// What is shown of a recording.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Kernel")]
pub(crate) struct KernelOnly {
    /// Show nothing but functions and events of the kernel
    #[arg(long)]
    pub(crate) kernel_only: bool,
}

impl InKernel {
    /// What is to be recorded.
    pub(crate) fn options(&self, view: KernelView) -> KernelOptions {
        let depth = self.kernel_depth.or(self.kernel.then_some(1));
        KernelOptions { depth, buffer: self.kernel_buffer, full: view.kernel_full }
    }
}

impl KernelView {
    /// Which records of the kernel are wanted.
    pub(crate) fn records(self) -> KernelRecords {
        if self.kernel_full { KernelRecords::All } else { KernelRecords::Inside }
    }
}
