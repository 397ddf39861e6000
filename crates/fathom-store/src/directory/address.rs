//! Address spaces: which module is where, and from when.

use super::modules::{ModuleIndex, Modules};
use fathom_symbols::maps::Mapping;
use fathom_symbols::symfile::ModuleId;

/// The low 48 bits, which is all that a record keeps of an address.
const RECORDED: u64 = (1 << 48) - 1;
/// Where the kernel begins when no stack says where user space ends: that of x86-64.
const DEFAULT_KERNEL_BASE: u64 = 0xffff_8000_0000_0000;

/// The modules of one session.
#[derive(Debug)]
pub(crate) struct AddressSpace {
    /// Ascending by start, not overlapping.
    mapped: Vec<Mapped>,
    /// Ascending by time.
    opened: Vec<Opened>,
    /// First address of the kernel; see [`kernel_base`].
    pub(crate) kernel_base: u64,
}

/// A module that was there when the program began.
#[derive(Clone, Copy, Debug)]
struct Mapped {
    start: u64,
    end: u64,
    module: ModuleIndex,
}

/// A library that came later. How far it reaches is known from its symbols only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    pub(crate) time: u64,
    pub(crate) base: u64,
    pub(crate) module: ModuleIndex,
}

impl Default for AddressSpace {
    fn default() -> Self {
        AddressSpace { mapped: Vec::new(), opened: Vec::new(), kernel_base: DEFAULT_KERNEL_BASE }
    }
}

impl AddressSpace {
    /// Reads a map file. Lines that make no sense are left out; says how many.
    pub(crate) fn parse(text: &[u8], modules: &mut Modules) -> (AddressSpace, usize) {
        let mut space = AddressSpace::default();
        let mut bad = 0;
        let mut last_path = String::new();
        for line in text.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let Some(mapping) = Mapping::parse(line) else {
                bad += 1;
                continue;
            };
            if mapping.name.starts_with(b"[stack") {
                space.kernel_base = kernel_base(mapping.start);
            }
            if !mapping.name.starts_with(b"/") {
                continue;
            }
            let (path, build_id) = split_build_id(&String::from_utf8_lossy(mapping.name));
            // The segments of a module follow each other; its address is that of the first.
            if path == last_path
                && let Some(last) = space.mapped.last_mut()
                && mapping.start >= last.start
            {
                last.end = last.end.max(mapping.end);
                continue;
            }
            last_path.clone_from(&path);
            let module = modules.add(ModuleId { path, build_id });
            space.mapped.push(Mapped { start: mapping.start, end: mapping.end, module });
        }
        space.mapped.sort_by_key(|m| m.start);
        space.mapped.dedup_by(|later, kept| later.start < kept.end);
        (space, bad)
    }

    /// Adds a library that was opened after all that were added before.
    pub(crate) fn open(&mut self, opened: Opened) {
        // Programs open and close the same library over and over; it changes nothing.
        let again = |last: &Opened| last.base == opened.base && last.module == opened.module;
        if !self.opened.last().is_some_and(again) {
            self.opened.push(opened);
        }
    }

    /// Puts a module at addresses below all others, for programs whose addresses are numbers of functions.
    pub(crate) fn add_first(&mut self, size: u64, module: ModuleIndex) {
        if self.mapped.first().is_none_or(|first| first.start >= size) {
            self.mapped.insert(0, Mapped { start: 0, end: size, module });
        }
    }

    /// The module at an address, with the address it begins at.
    pub(crate) fn mapped(&self, addr: u64) -> Option<(u64, ModuleIndex)> {
        let after = self.mapped.partition_point(|m| m.start <= addr);
        let found = self.mapped.get(after.checked_sub(1)?)?;
        (addr < found.end).then_some((found.start, found.module))
    }

    /// Libraries that were open at a time, newest first.
    pub(crate) fn opened(&self, time: u64) -> impl Iterator<Item = &Opened> {
        let count = self.opened.partition_point(|o| o.time <= time);
        self.opened.iter().take(count).rev()
    }

    /// When the modules last changed before or at a time, and when they next change.
    pub(crate) fn span(&self, time: u64) -> (u64, u64) {
        let count = self.opened.partition_point(|o| o.time <= time);
        let from = count.checked_sub(1).and_then(|i| self.opened.get(i)).map_or(0, |o| o.time);
        (from, self.opened.get(count).map_or(u64::MAX, |o| o.time))
    }

    /// The full address if a recorded one is in the kernel.
    pub(crate) fn kernel_addr(&self, addr: u64) -> Option<u64> {
        // Where the 48 bits don't tell the kernel from the program (base 0xffff0000...), it is the program.
        let lowest = self.kernel_base & RECORDED;
        (lowest != 0 && addr >= lowest).then_some(addr | self.kernel_base)
    }

    /// All modules that the program opened, in the order of time; where one begins, and which it is.
    pub(crate) fn opened_modules(&self) -> impl Iterator<Item = (u64, ModuleIndex)> {
        self.opened.iter().map(|opened| (opened.base, opened.module))
    }

    /// All modules that were there from the beginning, in the order of their addresses.
    pub(crate) fn modules(&self) -> impl Iterator<Item = (u64, ModuleIndex)> {
        self.mapped.iter().map(|m| (m.start, m.module))
    }
}

/// Splits `/path build-id:0123` as it is at the end of a line.
fn split_build_id(name: &str) -> (String, Option<String>) {
    match name.rsplit_once(" build-id:") {
        Some((path, id)) => (path.trim_end().to_owned(), Some(id.trim().to_owned())),
        None => (name.trim_end().to_owned(), None),
    }
}

/// Where the kernel begins, by where the stack is: the end of user space is a property of the kernel's configuration.
fn kernel_base(stack: u64) -> u64 {
    const ENDS: [(u64, u64); 7] = [
        (0x4000_0000, 0x4000_0000),
        (0x8000_0000, 0x8000_0000),
        (0xb000_0000, 0xb000_0000),
        (0xc000_0000, 0xc000_0000),
        (0x80_0000_0000, 0xffff_ff80_0000_0000),
        (0x400_0000_0000, 0xffff_fc00_0000_0000),
        (0x8000_0000_0000, 0xffff_8000_0000_0000),
    ];
    ENDS.iter().find(|(end, _)| stack < *end).map_or(0xffff_0000_0000_0000, |(_, base)| *base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAP: &str = "\
1000-3000 r-xp 00000000 00:00 0                          /bin/my prog build-id:abcd
3000-4000 rw-p 00000000 00:00 0                          /bin/my prog
8000-9000 r-xp 00000000 00:00 0                          /lib/l.so
rubbish
7ffe4fab3000-7ffe4fad4000 rw-p 00000000 00:00 0                          [stack]
";

    #[test]
    fn map_and_dlopen() {
        let mut modules = Modules::default();
        let (mut space, bad) = AddressSpace::parse(MAP.as_bytes(), &mut modules);
        let path = |m: ModuleIndex| modules.get(m).unwrap().id.path.clone();
        assert_eq!(bad, 1);
        assert_eq!(space.kernel_base, 0xffff_8000_0000_0000);
        assert_eq!(space.mapped(0xfff), None);
        let (start, module) = space.mapped(0x3fff).unwrap();
        assert_eq!((start, path(module)), (0x1000, "/bin/my prog".into()));
        assert_eq!(modules.get(module).unwrap().id.build_id.as_deref(), Some("abcd"));
        assert_eq!(space.mapped(0x4000), None);
        assert_eq!(path(space.mapped(0x8000).unwrap().1), "/lib/l.so");
        space.open(Opened { time: 10, base: 0x20000, module: 0 });
        space.open(Opened { time: 15, base: 0x20000, module: 0 });
        space.open(Opened { time: 20, base: 0x30000, module: 1 });
        let bases = |t: u64| space.opened(t).map(|o| o.base).collect::<Vec<_>>();
        assert_eq!((bases(9), bases(10), bases(25)), (vec![], vec![0x20000], vec![0x30000, 0x20000]));
        assert_eq!((space.span(5), space.span(10), space.span(99)), ((0, 10), (10, 20), (20, u64::MAX)));
        assert_eq!(space.kernel_addr(0x1000), None);
        assert_eq!(space.kernel_addr(0xffff_8123_4567), Some(0xffff_ffff_8123_4567));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "([0-9a-f]{1,6}-[0-9a-f]{1,6} r-xp 0 0:0 0 /[ab]( build-id:1)?\n|.{0,30}\n){0,8}", addr in 0u64..0x100_0000) {
            let (space, _) = AddressSpace::parse(text.as_bytes(), &mut Modules::default());
            prop_assert!(space.mapped.is_sorted_by(|a, b| a.end <= b.start));
            space.mapped(addr);
        }
    }
}
