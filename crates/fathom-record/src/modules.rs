//! The ELF files that a process has mapped.

use fathom_symbols::maps::Mapping;
use std::path::{Path, PathBuf};

/// A mapped ELF file of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) path: PathBuf,
    /// First address.
    pub(crate) start: u64,
    /// First address behind.
    pub(crate) end: u64,
    /// `rwxp` of the executable part.
    pub(crate) permissions: String,
    /// Ranges that may be written.
    pub(crate) writable: Vec<(u64, u64)>,
    /// Ranges of code that may be read and executed, not written, ascending.
    pub(crate) executable: Vec<(u64, u64)>,
    /// Device and inode.
    pub(crate) file: (u32, u32, u64),
}

impl Module {
    /// Whether it is the same mapping of the same file. How it is divided changes when code is patched.
    pub(crate) fn is(&self, other: &Module) -> bool {
        self.start == other.start && self.file == other.file && self.path == other.path
    }
}

/// Whether a mapping of the beginning of a file is of a further segment of the module before it. mold and lld put no padding
/// into files: where the first segment ends within a page, that page is mapped for the next one too.
fn is_next_segment(last: &Mapping<'_>, next: &Mapping<'_>) -> bool {
    const PAGE: u64 = 4096;
    let (before, now) = (last.permissions, next.permissions);
    let further = if now.write { true } else { !before.write && before.execute != now.execute };
    further && next.start == last.end && last.offset == 0 && last.end - last.start == PAGE
}

/// Groups mappings into modules. Anonymous memory, pseudo files and the runtime itself are left out.
pub(crate) fn modules<'d>(maps: impl Iterator<Item = Mapping<'d>>, runtime: &Path) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    let mut last = None;
    for mapping in maps {
        let follows = last.replace(mapping.clone()).is_some_and(|last| is_next_segment(&last, &mapping));
        let Some(path) = mapping.path() else { continue };
        if path == runtime || mapping.inode == 0 {
            continue;
        }
        let file = (mapping.device.0, mapping.device.1, mapping.inode);
        match modules
            .last_mut()
            .filter(|m| m.path == path && m.file == file && (mapping.offset != 0 || follows))
        {
            Some(module) => {
                module.end = mapping.end;
                if mapping.permissions.execute {
                    module.permissions = mapping.permissions.text();
                }
            }
            None => modules.push(Module {
                path: path.to_path_buf(),
                start: mapping.start,
                end: mapping.end,
                permissions: mapping.permissions.text(),
                writable: Vec::new(),
                executable: Vec::new(),
                file,
            }),
        }
        if mapping.permissions.write
            && let Some(module) = modules.last_mut()
        {
            module.writable.push((mapping.start, mapping.end));
        }
        if mapping.permissions.execute
            && !mapping.permissions.write
            && mapping.permissions.read
            && let Some(module) = modules.last_mut()
        {
            // What has been patched before may still be a mapping of its own.
            match module.executable.last_mut() {
                Some((_, end)) if *end == mapping.start => *end = mapping.end,
                _ => module.executable.push((mapping.start, mapping.end)),
            }
        }
    }
    // Data files that a program maps are no modules.
    modules.retain(|m| m.permissions.contains('x'));
    modules
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_symbols::maps;

    const MAPS: &[u8] = b"\
55a000000000-55a000001000 r--p 00000000 fe:01 11 /bin/prog
55a000001000-55a000002000 r-xp 00001000 fe:01 11 /bin/prog
55a000002000-55a000003000 r--p 00002000 fe:01 11 /bin/prog
55a000003000-55a000004000 rw-p 00003000 fe:01 11 /bin/prog
55a000004000-55a000025000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000001000 r--p 00000000 fe:01 12 /lib/libx y.so
7f0000001000-7f0000002000 r-xp 00001000 fe:01 12 /lib/libx y.so
7f0000010000-7f0000011000 r-xp 00000000 fe:01 13 /run/fathom/rt.so
7f0000020000-7f0000030000 r--p 00000000 fe:01 14 /usr/share/data
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]
";

    #[test]
    fn mappings_become_modules() {
        let modules = modules(maps::parse(MAPS), Path::new("/run/fathom/rt.so"));
        let names: Vec<_> = modules.iter().map(|m| (m.path.to_str().unwrap(), m.start, m.end)).collect();
        assert_eq!(
            names,
            [
                ("/bin/prog", 0x55a0_0000_0000, 0x55a0_0000_4000),
                ("/lib/libx y.so", 0x7f00_0000_0000, 0x7f00_0000_2000)
            ]
        );
        assert_eq!(modules[0].writable, [(0x55a0_0000_3000, 0x55a0_0000_4000)]);
        assert_eq!(modules[0].permissions, "r-xp");
    }

    #[test]
    fn the_same_library_twice_is_two_modules() {
        let text = b"\
7f0000000000-7f0000001000 r-xp 00000000 fe:01 12 /lib/libx.so
7f0000001000-7f0000002000 r-xp 00000000 fe:01 12 /lib/libx.so
";
        assert_eq!(modules(maps::parse(text), Path::new("")).len(), 2);
    }

    #[test]
    fn a_page_can_be_in_all_segments() {
        let text = b"\
555555552000-555555553000 r--p 00000000 fe:01 11 /bin/prog
555555554000-555555555000 r--p 00000000 fe:01 11 /bin/prog
555555555000-555555556000 r-xp 00000000 fe:01 11 /bin/prog
555555556000-555555557000 r--p 00000000 fe:01 11 /bin/prog
555555557000-555555558000 rw-p 00000000 fe:01 11 /bin/prog
555555558000-555555559000 r--p 00000000 fe:01 11 /bin/prog
555555559000-55555555a000 r-xp 00000000 fe:01 11 /bin/prog
";
        let modules = modules(maps::parse(text), Path::new(""));
        let starts: Vec<_> = modules.iter().map(|m| (m.start, m.end)).collect();
        assert_eq!(starts, [(0x5555_5555_4000, 0x5555_5555_8000), (0x5555_5555_8000, 0x5555_5555_a000)]);
        assert_eq!(modules[0].writable, [(0x5555_5555_7000, 0x5555_5555_8000)]);
    }
}
