//! Whatever leads somewhere without a jump that says so: pointers in data, jump tables, relocations, exception tables.
//!
//! # Why this is enough
//!
//! A jump through a register or memory goes where some value says. Compilers and the loader make such values in these ways:
//! a pointer in data, which the file holds or the loader fills in; an address that an instruction holds; a
//! distance in a table added to an address that an instruction holds; a pointer from another module, which has only what
//! this one exports. All of the first three are marked: every relocated word, every word of the data that could be an
//! address (of modules that are not moved), every address in an instruction, and every table that begins at one of these addresses
//! as far as its entries stay in code. What is left is arithmetic on an address of code; functions that take addresses
//! inside of themselves *and* jump through registers are not patched.

use std::ops::Range;

use fathom_symbols::Image;

use crate::marks::Marks;

/// Most entries of tables that are followed, all together; real programs have a hundredth of it.
const ENTRY_LIMIT: usize = 1 << 25;

/// Sections with addresses of places that compilers leave for tracers. Nothing goes there by them: they are NOPs to be patched, and
/// who patches the function has them.
const SITE_TABLES: [&str; 2] = ["__mcount_loc", "__patchable_function_entries"];

/// Marks where pointers in data lead. `relocated` gets the words in code that the loader changes.
pub(crate) fn pointers(image: &Image, is_fixed: bool, pointed: &mut Marks, relocated: &mut Marks) {
    let tables = image.sections().iter().filter(|section| SITE_TABLES.contains(&section.name.as_str()));
    let range = |start: u64, size: u64| start..start.saturating_add(size);
    let tables: Vec<Range<u64>> = tables
        .map(|section| range(section.addr.wrapping_sub(image.link_base()), section.size))
        .take(16)
        .collect();
    for word in image.relocated() {
        let is_site = tables.iter().any(|table| table.contains(&word.place));
        if let Some(to) = word.to.filter(|_| !is_site) {
            pointed.insert(to);
        }
        for byte in 0..8 {
            relocated.insert(word.place.wrapping_add(byte));
        }
    }
    if is_fixed {
        for (_, bytes) in data(image) {
            // Words are aligned to 8 but in packed structures.
            for at in (0..bytes.len().saturating_sub(7)).step_by(4) {
                if let Some(word) = word(bytes, at) {
                    pointed.insert(word.wrapping_sub(image.link_base()));
                }
            }
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Loaded bytes that are no code: first address and bytes.
fn data(image: &Image) -> Vec<(u64, &[u8])> {
    const PT_LOAD: u32 = object::elf::PT_LOAD.0;
    const ALLOC: u64 = object::elf::SHF_ALLOC.0;
    const EXEC: u64 = object::elf::SHF_EXECINSTR.0;
    let relative = |addr: u64| addr.wrapping_sub(image.link_base());
    if image.sections().is_empty() {
        let loads = image.segments().iter().filter(|segment| segment.kind == PT_LOAD);
        return loads
            .filter_map(|segment| {
                let start = usize::try_from(segment.offset).ok()?;
                let end = start.checked_add(usize::try_from(segment.file_size).ok()?)?;
                Some((relative(segment.vaddr), image.data().get(start..end)?))
            })
            .collect();
    }
    // Unwind tables hold nothing but distances, and are large.
    let is_data = |name: &str| {
        !matches!(name, ".eh_frame" | ".eh_frame_hdr" | ".gcc_except_table") && !SITE_TABLES.contains(&name)
    };
    let sections = image
        .sections()
        .iter()
        .filter(|section| section.flags & ALLOC != 0 && section.flags & EXEC == 0 && is_data(&section.name));
    sections.filter_map(|section| Some((relative(section.addr), image.section_data(section)?))).collect()
}

/// Follows tables of 32-bit distances from their own beginning, at each of the (ascending) addresses where one
/// could begin, and marks where they lead. A table ends where an entry does not lead into code, or where the next one
/// begins: its entries are counted from there. False when there is too much of it.
pub(crate) fn tables(image: &Image, starts: &[u64], code: &Range<u64>, marks: &mut Marks) -> bool {
    let mut parts = data(image);
    parts.extend(image.code());
    parts.sort_by_key(|part| part.0);
    let bytes_at = |addr: u64| {
        let index = parts.partition_point(|part| part.0 <= addr).checked_sub(1)?;
        let &(start, bytes) = parts.get(index)?;
        bytes.get(usize::try_from(addr - start).ok()?..)
    };
    let first_leads = |table: u64| {
        let entry = bytes_at(table).and_then(<[u8]>::first_chunk);
        entry.is_some_and(|&entry| code.contains(&led_to(table, entry)))
    };
    let plausible: Vec<u64> = starts.iter().copied().filter(|&table| first_leads(table)).collect();
    let mut budget = ENTRY_LIMIT;
    for (index, &table) in plausible.iter().enumerate() {
        let next = plausible.get(index + 1).copied().unwrap_or(u64::MAX);
        let entries = bytes_at(table).unwrap_or_default().as_chunks().0;
        let room = usize::try_from((next - table).div_ceil(4)).unwrap_or(usize::MAX);
        for &entry in entries.iter().take(room) {
            let to = led_to(table, entry);
            if !code.contains(&to) {
                break;
            }
            marks.insert(to);
            let Some(left) = budget.checked_sub(1) else { return false };
            budget = left;
        }
    }
    true
}

fn led_to(table: u64, entry: [u8; 4]) -> u64 {
    table.wrapping_add_signed(i64::from(i32::from_le_bytes(entry)))
}
