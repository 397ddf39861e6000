//! The slots through which library functions are called, and the address that stands for each of them in a trace.

use object::elf;
use rustc_hash::FxHashMap;

use super::{EM_386, EM_AARCH64, EM_X86_64, Image, Kind};

/// Which kind of relocation fills a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotKind {
    /// `R_*_JUMP_SLOT`: used by a PLT entry only, may be bound lazily.
    JumpSlot,
    /// `R_*_GLOB_DAT`: bound at start; used by `-fno-plt` code, `.plt.got` entries, and for taking addresses.
    GlobDat,
}

/// One slot of the global offset table that holds the address of a function of another module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PltSlot {
    /// Relative address of the slot (one address-sized word).
    pub got: u64,
    /// Relative address that is recorded for a call through the slot, unique in the module: that of its entry in
    /// `.plt.sec`, `.plt` or `.plt.got`, and of the slot's relocation where calls need no such entry (`-fno-plt`).
    pub plt: u64,
    /// Size in bytes of what is at `plt`.
    pub plt_size: u64,
    /// Name of the function, mangled, without version.
    pub name: String,
    /// Version the function is asked for, such as `GLIBC_2.34`.
    pub version: Option<String>,
    /// Kind of the slot.
    pub kind: SlotKind,
    /// Whether the symbol is declared to be a function. Weak references such as `__gmon_start__` often have no type.
    pub is_function: bool,
    /// Whether the program can do without it: the slot then holds 0.
    pub weak: bool,
    /// Whether this module itself defines the function (and another module may override it).
    pub defined: bool,
    /// Whether code was found that calls or jumps through the slot. Always so for jump slots.
    pub called: bool,
    /// Whether code was found that loads the slot's value. What it does with it is unknown: it may compare it with
    /// other pointers or pass it on, so a value that is not the function's address could be noticed.
    pub loaded: bool,
}

/// Relocation types by machine: (jump slot, global data).
fn relocation_types(machine: u16) -> Option<(u32, u32)> {
    match machine {
        EM_X86_64 => Some((elf::R_X86_64_JUMP_SLOT.0, elf::R_X86_64_GLOB_DAT.0)),
        EM_AARCH64 => Some((elf::R_AARCH64_JUMP_SLOT.0, elf::R_AARCH64_GLOB_DAT.0)),
        EM_386 => Some((elf::R_386_JMP_SLOT.0, elf::R_386_GLOB_DAT.0)),
        _ => None,
    }
}

impl Image {
    /// All slots, jump slots first, each kind in the order of its relocations. Which of the others are worth a hook is
    /// for the caller to say, by `called` and `loaded`; this is known for x86-64 only, elsewhere both are false.
    pub fn plt_slots(&self) -> Vec<PltSlot> {
        let Some((jump_slot, glob_dat)) = relocation_types(self.machine()) else { return Vec::new() };
        if matches!(self.kind(), Kind::Relocatable | Kind::Core) {
            return Vec::new();
        }
        let names =
            SlotNames { image: self, table: self.dynamic_symbols(), versions: self.needed_versions() };
        let mut slots = Vec::new();
        let entries = PltLayout::of(self);
        for (index, relocation) in self.plt_relocations().iter().enumerate() {
            if relocation.kind != jump_slot {
                continue;
            }
            let Some(mut slot) = names.slot(relocation, SlotKind::JumpSlot) else { continue };
            let entry = entries.as_ref().and_then(|entries| entries.entry(index));
            (slot.plt, slot.plt_size) = entry.unwrap_or_else(|| self.jump_relocation(index));
            slots.push(slot);
        }
        let first = self.data_relocations_addr().map(|addr| self.relative(addr));
        for (index, relocation) in self.data_relocations().iter().enumerate() {
            if relocation.kind != glob_dat {
                continue;
            }
            let Some(mut slot) = names.slot(relocation, SlotKind::GlobDat) else { continue };
            if slot.defined {
                continue;
            }
            slot.plt_size = self.headers.relocation_size(relocation.addend.is_some());
            slot.plt = first.unwrap_or(0).wrapping_add(index as u64 * slot.plt_size);
            slots.push(slot);
        }
        if self.machine() == EM_X86_64 {
            CodeScan::new(&mut slots).run(self);
        }
        slots
    }

    /// Address and size of a jump slot's relocation.
    fn jump_relocation(&self, index: usize) -> (u64, u64) {
        let explicit = self.dynamic(elf::DT_PLTREL.0) != Some(elf::DT_REL.0 as u64);
        let size = self.headers.relocation_size(explicit);
        let first = self.dynamic(elf::DT_JMPREL.0).map_or(0, |addr| self.relative(addr));
        (first.wrapping_add(index as u64 * size), size)
    }
}

struct SlotNames<'d> {
    image: &'d Image,
    table: super::dynamic::RawTable<'d>,
    versions: super::dynamic::Versions<'d>,
}

impl SlotNames<'_> {
    /// The slot of a relocation, its address not yet known. `None` if it names no function.
    fn slot(&self, relocation: &super::headers::Relocation, kind: SlotKind) -> Option<PltSlot> {
        if relocation.symbol == 0 {
            return None;
        }
        let symbol = self.image.headers.symbol(self.table.symbols, relocation.symbol as usize)?;
        if !symbol.is_function() && symbol.kind != elf::STT_NOTYPE.0 {
            return None;
        }
        Some(PltSlot {
            got: self.image.relative(relocation.offset),
            plt: 0,
            plt_size: 0,
            name: self.image.symbol_name(self.table, &symbol),
            version: self.versions.get(relocation.symbol),
            kind,
            is_function: symbol.is_function(),
            weak: symbol.is_weak(),
            defined: !symbol.is_undefined(),
            called: kind == SlotKind::JumpSlot,
            loaded: false,
        })
    }
}

/// Where PLT entries are by convention: one after another, in the order of their relocations. On x86-64 the code says
/// it better, so there this is only the fallback (for entries that are written in another way, as retpolines).
struct PltLayout {
    first: u64,
    end: u64,
    size: u64,
}

impl PltLayout {
    fn of(image: &Image) -> Option<PltLayout> {
        let second = image.section(".plt.sec").filter(|_| image.machine() != EM_AARCH64);
        let section = second.or_else(|| image.section(".plt"))?;
        let header = match image.machine() {
            _ if second.is_some() => 0,
            EM_AARCH64 => 32,
            _ => 16,
        };
        let start = image.relative(section.addr);
        Some(PltLayout { first: start.checked_add(header)?, end: start.checked_add(section.size)?, size: 16 })
    }

    fn entry(&self, index: usize) -> Option<(u64, u64)> {
        let addr = self.first.checked_add((index as u64).checked_mul(self.size)?)?;
        (addr.checked_add(self.size)? <= self.end).then_some((addr, self.size))
    }
}

/// Looks through x86-64 code for instructions that use a slot.
///
/// Code is not decoded: any bytes that would be such an instruction count. As the 32-bit distance has to hit a slot
/// exactly, chance finds one in some 100 MB of code.
struct CodeScan<'s> {
    by_got: FxHashMap<u64, usize>,
    slots: &'s mut [PltSlot],
    /// Lowest and highest slot, to rule out most candidates quickly.
    low: u64,
    high: u64,
}

impl<'s> CodeScan<'s> {
    fn new(slots: &'s mut [PltSlot]) -> CodeScan<'s> {
        let by_got: FxHashMap<u64, usize> = slots.iter().enumerate().map(|(i, slot)| (slot.got, i)).collect();
        let low = slots.iter().map(|slot| slot.got).min().unwrap_or(u64::MAX);
        let high = slots.iter().map(|slot| slot.got).max().unwrap_or(0);
        CodeScan { by_got, slots, low, high }
    }

    fn run(mut self, image: &Image) {
        if self.slots.is_empty() {
            return;
        }
        let plts: Vec<_> = image
            .sections()
            .iter()
            .filter(|section| section.name.starts_with(".plt"))
            .map(|section| (image.relative(section.addr), section.size))
            .collect();
        let no_sections = image.sections().is_empty();
        for (start, code) in image.code() {
            let in_plt = plts.iter().any(|&(addr, size)| start >= addr && start - addr < size);
            self.scan(start, code, in_plt, no_sections);
        }
    }

    fn scan(&mut self, start: u64, code: &[u8], in_plt: bool, unknown: bool) {
        // Instructions have their second byte, the ModRM byte, say "relative to rip": 05, 0d, 15, ... 3d.
        for (at, window) in code.windows(6).enumerate() {
            if window[1] & 0xc7 != 0x05 || !matches!(window[0], 0xff | 0x8b | 0x3b | 0x39) {
                continue;
            }
            let distance = i32::from_le_bytes([window[2], window[3], window[4], window[5]]);
            let next = start.wrapping_add(at as u64 + 6);
            let target = next.wrapping_add_signed(i64::from(distance));
            if target < self.low || target > self.high {
                continue;
            }
            let Some(&index) = self.by_got.get(&target) else { continue };
            let Some(slot) = self.slots.get_mut(index) else { continue };
            match window[..2] {
                [0xff, 0x15] => slot.called = true,
                [0xff, 0x25] => {
                    slot.called = true;
                    if let Some((addr, size)) = plt_entry(start, code, at).filter(|_| in_plt || unknown) {
                        slot.plt = addr;
                        slot.plt_size = size;
                    }
                }
                _ => slot.loaded = true,
            }
        }
    }
}

/// Address and size of the PLT entry that has its jump at `at`: 16 bytes, but 8 in a `.plt.got` without `endbr64`.
/// `None` if the jump stands where no PLT entry has it.
fn plt_entry(start: u64, code: &[u8], at: usize) -> Option<(u64, u64)> {
    let before = code.get(at.saturating_sub(10)..at).unwrap_or_default();
    let before = before.strip_suffix(b"\xf2").unwrap_or(before);
    // mold's entries load the number of the slot first: `mov $n, %r11d`.
    let before = match before {
        [head @ .., 0x41, 0xbb, _, _, _, _] => head,
        _ => before,
    };
    let before = before.strip_suffix(b"\xf3\x0f\x1e\xfa").unwrap_or(before);
    let head = at - (code.get(at.saturating_sub(10)..at).unwrap_or_default().len() - before.len());
    let addr = start.wrapping_add(head as u64);
    let is_short = at == head && code.get(at + 6..at + 8) == Some(b"\x66\x90");
    match addr % 16 {
        0 if !is_short => Some((addr, 16)),
        0 | 8 if is_short => Some((addr, 8)),
        _ => None,
    }
}
