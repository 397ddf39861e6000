//! The tables that give names: of kernel addresses, of texts at kernel addresses, of tasks; and the trace's clock.

mod clock;
mod kallsyms;
mod tasks;
mod texts;

pub use clock::Clock;
pub use kallsyms::{Kallsyms, Symbol};
pub use tasks::{Comms, Tgids};
pub use texts::Texts;

/// What is needed to print what points into the kernel.
#[derive(Debug, Default)]
pub struct Names {
    /// Functions and variables by address.
    pub symbols: Kallsyms,
    /// Texts by address (`printk_formats`).
    pub texts: Texts,
}
