//! Static probes (`sys/sdt.h`): places in a program that say where a tracer may look, and at what.
//!
//! Each is a note of the section `.note.stapsdt`: owner `stapsdt`, type 3, and
//!
//! ```text
//! | location | base | semaphore |  addresses, as linked
//! | provider NUL | name NUL | arguments NUL |
//! ```
//!
//! `base` is where the section `.stapsdt.base` was when the note was written: what it has moved by since (prelink), the
//! other addresses have moved by too. The semaphore is 0 where there is none.
//!
//! Source: the comments of `sys/sdt.h` (public domain), and `readelf -n`.

mod arguments;

use crate::Image;
use crate::elf::Class;
pub use arguments::{Operand, Register, SdtArg, parse as parse_arguments};

const OWNER: &[u8] = b"stapsdt\0";
const TYPE: u32 = 3;

/// One probe. The compiler may make several places out of one in the source: then there are as many of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdtProbe {
    /// Who has put it there, usually the name of the library.
    pub provider: String,
    /// What it is about.
    pub name: String,
    /// Where it is, module-relative: an instruction that does nothing.
    pub addr: u64,
    /// Module-relative address of a 16-bit counter that has to be above zero for the program to work out the arguments.
    pub semaphore: Option<u64>,
    /// Its arguments.
    pub args: Vec<SdtArg>,
    /// The arguments as they are in the note.
    pub arguments: String,
}

impl SdtProbe {
    /// `provider:name`.
    pub fn full_name(&self) -> String {
        format!("{}:{}", self.provider, self.name)
    }
}

impl Image {
    /// The static probes, in the order of their notes. Notes that make no sense are left out.
    pub fn sdt_probes(&self) -> Vec<SdtProbe> {
        let Some(section) = self.section(".note.stapsdt") else { return Vec::new() };
        let base = self.section(".stapsdt.base").map(|section| section.addr);
        let notes = self.notes(self.section_data(section).unwrap_or_default());
        let probes = notes.filter(|note| note.owner == OWNER && note.kind == TYPE);
        probes.filter_map(|note| self.sdt_probe(note.description, base)).collect()
    }

    fn sdt_probe(&self, note: &[u8], base: Option<u64>) -> Option<SdtProbe> {
        let width = if self.class() == Class::Elf64 { 8 } else { 4 };
        let word = |index: usize| self.address(note, index * width);
        let moved = base.map_or(0, |base| base.wrapping_sub(word(1).unwrap_or(base)));
        let relative = |addr: u64| self.relative(addr.wrapping_add(moved));
        let mut texts = note.get(3 * width..)?.split(|&byte| byte == 0);
        let mut text = || Some(String::from_utf8_lossy(texts.next()?).into_owned());
        let (provider, name) = (text()?, text()?);
        // The first versions of the header had none.
        let arguments = text().unwrap_or_default();
        if provider.is_empty() || name.is_empty() {
            return None;
        }
        Some(SdtProbe {
            provider,
            name,
            addr: relative(word(0)?),
            semaphore: word(2).filter(|addr| *addr != 0).map(relative),
            args: arguments::parse(&arguments),
            arguments,
        })
    }
}
