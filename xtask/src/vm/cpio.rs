//! Writing an initramfs: the "newc" form of cpio, as Documentation/driver-api/early-userspace/buffer-format.rst has it.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const REGULAR: u32 = 0o100_000;

/// An archive that is being written. Directories are made as files need them; a second file of a name is left out.
pub(crate) struct Archive<W> {
    to: W,
    inode: u32,
    names: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, inode: 1, names: BTreeSet::new() }
    }

    /// A file with this content.
    pub(crate) fn file(&mut self, name: &str, data: &[u8], mode: u32) -> Result<()> {
        let name = name.trim_start_matches('/');
        if !self.names.insert(name.to_owned()) {
            return Ok(());
        }
        self.directories(name)?;
        let size = u32::try_from(data.len()).context("a file of 4 GiB")?;
        self.header(name, REGULAR | mode, size, (0, 0))?;
        self.to.write_all(data)?;
        self.pad(data.len())
    }

    /// A file with the content and mode of one of the host's.
    pub(crate) fn copy(&mut self, from: &Path, name: &str) -> Result<()> {
        let data = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let mode = std::fs::metadata(from)?.permissions().mode() & 0o777;
        self.file(name, &data, mode)
    }

    /// A character device of (major, minor).
    pub(crate) fn device(&mut self, name: &str, mode: u32, number: (u32, u32)) -> Result<()> {
        self.directories(name)?;
        self.names.insert(name.to_owned());
        self.header(name, CHARACTER_DEVICE | mode, 0, number)
    }

    pub(crate) fn end(mut self) -> Result<()> {
        self.header("TRAILER!!!", 0, 0, (0, 0))?;
        self.to.flush()?;
        Ok(())
    }

    fn directories(&mut self, name: &str) -> Result<()> {
        for (at, _) in name.match_indices('/') {
            if self.names.insert(name[..at].to_owned()) {
                self.header(&name[..at], DIRECTORY | 0o755, 0, (0, 0))?;
            }
        }
        Ok(())
    }

    fn header(&mut self, name: &str, mode: u32, size: u32, device: (u32, u32)) -> Result<()> {
        let name_size = u32::try_from(name.len() + 1)?;
        let (uid, gid, links, time, checksum) = (0, 0, 1, 0, 0);
        let fields =
            [self.inode, mode, uid, gid, links, time, size, 0, 0, device.0, device.1, name_size, checksum];
        self.inode += 1;
        let mut text = String::from("070701");
        for field in fields {
            text += &format!("{field:08x}");
        }
        text += name;
        text.push('\0');
        self.to.write_all(text.as_bytes())?;
        self.pad(text.len())
    }

    fn pad(&mut self, written: usize) -> Result<()> {
        self.to.write_all(&[0; 3][..written.wrapping_neg() % 4])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn entries_are_padded_and_directories_come_first() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.file("/a/b", b"hello", 0o644).unwrap();
        archive.file("a/b", b"again", 0o644).unwrap();
        archive.end().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        let names: Vec<&str> =
            text.match_indices("070701").map(|(at, _)| &text[at + 110..at + 112]).collect();
        assert_eq!(names, ["a\0", "a/", "TR"]);
        assert!(text.contains("hello\0\0\u{0}070701"), "padded to four bytes");
        assert!(!text.contains("again"));
    }
}
