//! What a compiler has built into a program to make its functions traceable.

use object::elf;

use super::dynamic::RawTable;
use super::{EM_AARCH64, EM_X86_64, Image};

/// Most sites that are read from one table: more functions than that no program has.
const SITE_LIMIT: usize = 1 << 26;

/// The instrumentation of a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instrumentation {
    /// `-pg`: calls `mcount` (or `_mcount`).
    pub mcount: bool,
    /// `-pg -mfentry`: calls `__fentry__`.
    pub fentry: bool,
    /// `-finstrument-functions`: calls `__cyg_profile_func_enter`.
    pub cyg_profile: bool,
    /// `-fpatchable-function-entry=N`: relative addresses of the runs of NOPs, in the order of the table, which is
    /// by object file.
    pub patchable: Vec<u64>,
    /// `-mrecord-mcount`: relative addresses of the calls, or of the NOPs that `-mnop-mcount` leaves in their place.
    pub mcount_sites: Vec<u64>,
    /// `-fxray-instrument`: has a map of sleds.
    pub xray: bool,
    /// The sleds at the beginnings and ends of functions, in the order of the map, which is by object file.
    pub sleds: Vec<Sled>,
}

/// A place that `-fxray-instrument` leaves in a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sled {
    /// Relative address of the function.
    pub function: u64,
    /// Relative address of the sled.
    pub at: u64,
    /// Which end of the function.
    pub kind: SledKind,
}

/// What happens at a [`Sled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SledKind {
    /// The function begins.
    Entry,
    /// It returns.
    Exit,
    /// It jumps to another function, which returns to its caller.
    Tail,
}

impl Instrumentation {
    /// Whether functions report to a tracer without being patched first.
    pub fn calls_out(&self) -> bool {
        self.mcount || self.fentry || self.cyg_profile
    }

    /// `-mnop-mcount`: there are places for calls, but no call is made.
    pub fn nop_mcount(&self) -> bool {
        !self.mcount_sites.is_empty() && !self.mcount && !self.fentry
    }

    /// Whether there is any.
    pub fn any(&self) -> bool {
        self.calls_out() || self.xray || !self.patchable.is_empty() || !self.mcount_sites.is_empty()
    }
}

impl Image {
    /// Looks for instrumentation: the functions that it calls, among the dynamic symbols that the file asks for and,
    /// for static programs, in the symbol table; and the tables of places in the code.
    pub fn instrumentation(&self) -> Instrumentation {
        let mut found = Instrumentation {
            patchable: self.site_table("__patchable_function_entries"),
            mcount_sites: self.site_table("__mcount_loc"),
            xray: self.section("xray_instr_map").is_some(),
            sleds: self.sleds(),
            ..Instrumentation::default()
        };
        self.look_for_hooks(self.dynamic_symbols(), true, &mut found);
        if !self.is_dynamic()
            && let Some(table) = self.section_symbols(elf::SHT_SYMTAB.0)
        {
            self.look_for_hooks(table, false, &mut found);
        }
        found
    }

    /// Reads the map of sleds, as it is since LLVM 12 ("XRay Instrumentation" in LLVM's documentation, and
    /// `XRaySledEntry` of its runtime): for each sled the distances of the sled and of the function from where they stand, kind,
    /// whether it is always to be patched, version, and padding. Older maps, which have addresses, are left alone.
    fn sleds(&self) -> Vec<Sled> {
        const ENTRY: usize = 32;
        const VERSION: u8 = 2;
        if self.machine() != EM_X86_64 || self.headers.word_size() != 8 {
            return Vec::new();
        }
        let mut sleds = Vec::new();
        for section in self.sections().iter().filter(|section| section.name == "xray_instr_map") {
            let bytes = self.section_data(section).unwrap_or_default();
            for (index, entry) in bytes.chunks_exact(ENTRY).take(SITE_LIMIT).enumerate() {
                let place = section.addr.wrapping_add((index * ENTRY) as u64);
                let led_to = |at: usize| {
                    let distance = self.headers.word(entry.get(at..at + 8)?)?;
                    Some(self.relative(place.wrapping_add(at as u64).wrapping_add(distance)))
                };
                let (Some(at), Some(function), Some(&[kind, _, version])) =
                    (led_to(0), led_to(8), entry.get(16..19).and_then(<[u8]>::first_chunk))
                else {
                    continue;
                };
                let kind = match kind {
                    // The second is an entry whose first argument is wanted.
                    0 | 3 => SledKind::Entry,
                    1 => SledKind::Exit,
                    2 => SledKind::Tail,
                    // Events that the program makes itself.
                    _ => continue,
                };
                if version == VERSION {
                    sleds.push(Sled { function, at, kind });
                }
            }
        }
        sleds
    }

    fn look_for_hooks(&self, table: RawTable<'_>, is_dynamic: bool, found: &mut Instrumentation) {
        for symbol in self.raw_symbols(table) {
            let start = table.strings.get(symbol.name as usize..).unwrap_or_default();
            // Cheaper than a copy of each name of a large table.
            if symbol.is_undefined() != is_dynamic || !matches!(start.first(), Some(b'_' | b'm')) {
                continue;
            }
            let hook = match self.symbol_name(table, &symbol).as_str() {
                "mcount" | "_mcount" => &mut found.mcount,
                "__fentry__" => &mut found.fentry,
                "__cyg_profile_func_enter" => &mut found.cyg_profile,
                _ => continue,
            };
            // A static program has all hooks that the C library keeps in one object file with the one that is used.
            *hook |= is_dynamic || self.calls(symbol.value);
        }
    }

    /// Whether there is a direct call to an address (as linked). Known for x86-64 only, elsewhere assumed.
    fn calls(&self, target: u64) -> bool {
        if self.machine() != EM_X86_64 {
            return true;
        }
        let target = self.relative(target);
        self.code().iter().any(|&(start, code)| {
            code.windows(5).enumerate().any(|(at, call)| {
                let distance = i32::from_le_bytes([call[1], call[2], call[3], call[4]]);
                let next = start.wrapping_add(at as u64 + 5);
                call[0] == 0xe8 && next.wrapping_add_signed(i64::from(distance)) == target
            })
        })
    }

    /// Reads a table of code addresses. In a position-independent file the addresses are made by relocations at run
    /// time, and the file has zeros in their place (but not with packed relocations).
    fn site_table(&self, name: &str) -> Vec<u64> {
        let relative_type = match self.machine() {
            EM_X86_64 => elf::R_X86_64_RELATIVE.0,
            EM_AARCH64 => elf::R_AARCH64_RELATIVE.0,
            _ => u32::MAX,
        };
        let word = self.headers.word_size();
        let mut sites = Vec::new();
        for section in self.sections().iter().filter(|section| section.name == name) {
            let Some(bytes) = self.section_data(section) else { continue };
            let mut values: Vec<u64> = bytes
                .chunks_exact(word)
                .take(SITE_LIMIT)
                .filter_map(|bytes| self.headers.word(bytes))
                .collect();
            for relocation in self.data_relocations() {
                if relocation.kind != relative_type {
                    continue;
                }
                let Some(distance) = relocation.offset.checked_sub(section.addr) else { continue };
                let index = usize::try_from(distance / word as u64).unwrap_or(usize::MAX);
                if let (Some(value), Some(addend)) = (values.get_mut(index), relocation.addend) {
                    *value = addend as u64;
                }
            }
            sites.extend(values.into_iter().filter(|&value| value != 0).map(|value| self.relative(value)));
        }
        sites
    }
}
