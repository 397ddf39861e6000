//! In what those who read a `print fmt` outside of the kernel may differ from it, and from each other.
//!
//! There is one parser and one evaluator. [`Dialect`] is asked while a `print fmt` is compiled, [`Forms`] while a record
//! is printed. [`Options`](super::Options) and [`Context`](super::Context) are the kernel's; their methods here say
//! what the kernel does.

use crate::machine::Machine;

/// What a name stands for that the format does not explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A number.
    Value(i64),
    /// Something in the kernel at an address, or at one that is not known (0): good for arithmetic and to be printed. A
    /// comparison with it cannot be evaluated, and an entry of a list that it names matches nothing.
    Address(u64),
    /// Nothing: what has it cannot be evaluated.
    Unknown,
}

/// What is understood of a `print fmt`.
pub trait Dialect {
    /// What a name stands for.
    fn name(&self, name: &str) -> Name;

    /// Whether that is a number.
    fn is_number(&self, name: &str) -> bool {
        matches!(self.name(name), Name::Value(_))
    }

    /// Ticks of the kernel's timer in a second; without them ticks are printed.
    fn hz(&self) -> Option<u32> {
        None
    }

    /// Whether a function of the kernel is understood.
    fn knows(&self, _function: &str) -> bool {
        true
    }

    /// Whether GNU's additions to C are: `({ … })`, `a ?: b` and empty lists `{ }`.
    fn gnu(&self) -> bool {
        true
    }

    /// Bytes of a `struct page`, which addresses of pages are computed with; 0: such a computation is not understood.
    fn page_structure(&self) -> usize {
        64
    }

    /// Whether a `%s` of a text in the kernel's memory has its width.
    fn fits_kernel_texts(&self) -> bool {
        true
    }

    /// Whether `__get_cpumask` gives ranges (`0-3,7`), as `%*pbl` does; else words in hexadecimal, as `%*pb`.
    fn cpus_are_ranges(&self) -> bool {
        false
    }

    /// Whether numbers are printed by the C library's `printf`: no `0x` before 0, a precision overrules the flag `0`, and
    /// an `l` is always one of 64 bits. The kernel's has `0x0`, fills with zeros up to the larger of precision and width,
    /// and its `l` is that of the machine.
    fn c_library(&self) -> bool {
        false
    }

    /// The kernel's letters behind `%p` that print what these do; None: they cannot be evaluated. `in_record`: the
    /// argument is in the record, it is not an address of the kernel's.
    fn letters<'l>(&self, letters: &'l [u8], _in_record: bool) -> Option<&'l [u8]> {
        Some(letters)
    }
}

/// How values are written.
pub trait Forms {
    /// Whether a record that is too short is printed nevertheless: what it has no bytes of counts as 0, or as empty, and
    /// so does a division by 0. Else it is not printed by its `print fmt`.
    const LENIENT: bool = false;

    /// Whether a flag without bits (`{ 0, "none" }`) is the name of no flag at all. The kernel names it where another is
    /// set.
    const NAMES_ZERO: bool = false;

    /// The machine that recorded.
    fn machine(&self) -> Machine;

    /// `%ps` (without offset) and `%pS`.
    fn symbol(&self, out: &mut Vec<u8>, address: u64, offset: bool);

    /// `%p`.
    fn pointer(&self, out: &mut Vec<u8>, address: u64);

    /// `%s` of a text in the kernel's memory.
    fn kernel_text(&self, out: &mut Vec<u8>, address: u64);

    /// `value` as an `unsigned long` of the machine.
    fn long(&self, value: u64) -> u64 {
        if self.machine().long_size == 4 { value & 0xffff_ffff } else { value }
    }
}
