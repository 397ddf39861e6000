//! The memory map of a process, from the text of `/proc/PID/maps`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::symfile::parse_hex;

/// Access to a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// May be executed.
    pub execute: bool,
    /// Writes are seen by others who map the file.
    pub shared: bool,
}

impl Permissions {
    fn parse(text: &[u8]) -> Option<Permissions> {
        let &[r, w, x, s] = text else { return None };
        let valid = matches!(r, b'r' | b'-') && matches!(w, b'w' | b'-') && matches!(x, b'x' | b'-');
        (valid && matches!(s, b's' | b'p')).then_some(Permissions {
            read: r == b'r',
            write: w == b'w',
            execute: x == b'x',
            shared: s == b's',
        })
    }

    /// The four characters of `/proc/PID/maps`, such as `r-xp`.
    pub fn text(self) -> String {
        let letter = |set: bool, letter: char| if set { letter } else { '-' };
        let last = if self.shared { 's' } else { 'p' };
        [letter(self.read, 'r'), letter(self.write, 'w'), letter(self.execute, 'x'), last].iter().collect()
    }
}

/// One line of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping<'d> {
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
    /// Access.
    pub permissions: Permissions,
    /// Offset in the file.
    pub offset: u64,
    /// Device of the file: major and minor number.
    pub device: (u32, u32),
    /// Inode of the file, 0 if it is none.
    pub inode: u64,
    /// Path of the file, a pseudo name in brackets (`[stack]`, `[vdso]`), or empty for anonymous memory. A newline in
    /// a path is written by the kernel as the four characters `\012`.
    pub name: &'d [u8],
    /// Whether the file has been deleted since (` (deleted)` behind the path).
    pub deleted: bool,
}

impl<'d> Mapping<'d> {
    /// Path of the file that is mapped.
    pub fn path(&self) -> Option<&'d Path> {
        self.name.starts_with(b"/").then(|| Path::new(OsStr::from_bytes(self.name)))
    }

    /// Whether it has a pseudo name such as `[heap]`.
    pub fn is_pseudo(&self) -> bool {
        self.name.starts_with(b"[")
    }

    /// Parses one line without its newline.
    ///
    /// The name is the rest of the line after the inode and the blanks that align it, so it may contain blanks.
    pub fn parse(line: &'d [u8]) -> Option<Mapping<'d>> {
        let mut rest = line;
        let mut word = || -> Option<&'d [u8]> {
            let at = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
            let (word, tail) = rest.split_at(at);
            rest = tail.strip_prefix(b" ").unwrap_or(tail);
            (!word.is_empty()).then_some(word)
        };
        let (start, end) = pair(word()?, b'-')?;
        let permissions = Permissions::parse(word()?)?;
        let offset = parse_hex(word()?)?;
        let (major, minor) = pair(word()?, b':')?;
        let inode = std::str::from_utf8(word()?).ok()?.parse().ok()?;
        let name = rest.trim_ascii_start();
        let (name, deleted) = match name.strip_suffix(b" (deleted)") {
            Some(path) if !path.is_empty() => (path, true),
            _ => (name, false),
        };
        let device = (u32::try_from(major).ok()?, u32::try_from(minor).ok()?);
        (start <= end).then_some(Mapping { start, end, permissions, offset, device, inode, name, deleted })
    }
}

fn pair(text: &[u8], separator: u8) -> Option<(u64, u64)> {
    let at = text.iter().position(|&byte| byte == separator)?;
    Some((parse_hex(&text[..at])?, parse_hex(&text[at + 1..])?))
}

/// Parses the whole text, line by line. Lines that make no sense (there are none from a kernel) are left out.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Mapping<'_>> {
    text.split(|&byte| byte == b'\n').filter_map(Mapping::parse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kernel_text() {
        let text = b"\
55d0c8a00000-55d0c8a02000 r--p 00000000 fe:01 1234567                    /usr/bin/with two blanks
55d0c8a02000-55d0c8a07000 r-xp 00002000 fe:01 1234567                    /tmp/a b (deleted)
7f0000000000-7f0000021000 rw-p 00000000 00:00 0 
7ffd12300000-7ffd12321000 rw-p 00000000 00:00 0                          [stack]
7ffd123fe000-7ffd12400000 r-xs 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
garbage
";
        let maps: Vec<_> = parse(text).collect();
        assert_eq!(maps.len(), 6);
        assert_eq!(maps[0].path(), Some(Path::new("/usr/bin/with two blanks")));
        assert_eq!(
            (maps[0].start, maps[0].end, maps[0].inode),
            (0x55d0_c8a0_0000, 0x55d0_c8a0_2000, 1_234_567)
        );
        assert_eq!(maps[0].device, (0xfe, 1));
        assert!(!maps[0].deleted);
        assert_eq!((maps[1].path(), maps[1].deleted), (Some(Path::new("/tmp/a b")), true));
        assert_eq!(maps[1].offset, 0x2000);
        assert_eq!((maps[2].name, maps[2].path()), (&b""[..], None));
        assert!(maps[3].is_pseudo());
        assert_eq!(maps[4].permissions.text(), "r-xs");
        assert_eq!(maps[5].permissions.text(), "--xp");
    }

    #[test]
    fn own_map() {
        let text = std::fs::read("/proc/self/maps").unwrap();
        let lines = text.iter().filter(|&&byte| byte == b'\n').count();
        assert_eq!(parse(&text).count(), lines);
        let here = own_map as fn() as usize as u64;
        let map = parse(&text).find(|map| map.start <= here && here < map.end).unwrap();
        assert!(map.permissions.execute);
        assert_eq!(map.path().unwrap(), std::env::current_exe().unwrap());
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text).count();
        }
    }
}
