//! Separate debug files: found by build-id or by link, or packed into the file itself.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Image;
use super::headers::string_at;
use super::xz;

/// Where distributions install debug files.
const DEBUG_ROOT: &str = "/usr/lib/debug";

impl Image {
    /// The separate debug file of this image, if it is installed: `/usr/lib/debug/.build-id/xx/yyyy.debug`, or what
    /// `.gnu_debuglink` names (with the right checksum), beside the image, in `.debug` beside it, or in
    /// `/usr/lib/debug` under the image's directory.
    pub fn debug_file(&self) -> Option<Image> {
        self.debug_file_under(Path::new(DEBUG_ROOT))
    }

    /// Like [`debug_file`](Image::debug_file), with another directory in the place of `/usr/lib/debug`.
    pub fn debug_file_under(&self, root: &Path) -> Option<Image> {
        self.debug_file_by_build_id(root).or_else(|| self.debug_file_by_link(root))
    }

    fn debug_file_by_build_id(&self, root: &Path) -> Option<Image> {
        let id = self.build_id()?;
        let (dir, file) = id.split_at_checked(2)?;
        let path = root.join(".build-id").join(dir).join(format!("{file}.debug"));
        let image = Image::open(path).ok()?;
        (image.build_id().as_ref() == Some(&id)).then_some(image)
    }

    fn debug_file_by_link(&self, root: &Path) -> Option<Image> {
        let link = self.section_data(self.section(".gnu_debuglink")?)?;
        // Name, NUL, padding to 4 bytes, CRC-32 of the debug file.
        let name = string_at(link, 0, 255);
        let crc = self.headers.u32(link, (name.len() + 1).next_multiple_of(4))?;
        if name.is_empty() || name.contains('/') {
            return None;
        }
        let own = std::fs::canonicalize(self.path()?).ok()?;
        let dir = own.parent()?;
        let below_root = root.join(dir.strip_prefix("/").unwrap_or(dir));
        [dir.to_owned(), dir.join(".debug"), below_root].into_iter().find_map(|dir| {
            let path: PathBuf = dir.join(OsStr::from_bytes(name.as_bytes()));
            if path == own {
                return None;
            }
            let image = Image::open(path).ok()?;
            (crc32(image.data()) == crc).then_some(image)
        })
    }

    /// The small symbol table that some distributions (Fedora) put into stripped files, xz-compressed.
    pub(super) fn mini_debug_info(&self) -> Option<Image> {
        let packed = self.section_data(self.section(".gnu_debugdata")?)?;
        Image::parse(xz::unpack(packed)?).ok()
    }
}

/// CRC-32 as in `.gnu_debuglink` (that of zlib), eight bytes at a time: debug files can have gigabytes.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLES: [[u32; 256]; 8] = crc_tables();
    let table = |n: usize, byte: u32| TABLES[n][(byte & 0xff) as usize];
    let mut crc = u32::MAX;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in chunks.by_ref() {
        let low = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]) ^ crc;
        let high = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
        crc = table(7, low)
            ^ table(6, low >> 8)
            ^ table(5, low >> 16)
            ^ table(4, low >> 24)
            ^ table(3, high)
            ^ table(2, high >> 8)
            ^ table(1, high >> 16)
            ^ table(0, high >> 24);
    }
    for &byte in chunks.remainder() {
        crc = table(0, crc ^ u32::from(byte)) ^ (crc >> 8);
    }
    !crc
}

const fn crc_tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut n = 0;
    while n < 256 {
        let mut crc = n as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][n] = crc;
        n += 1;
    }
    let mut n = 0;
    while n < 256 {
        let mut t = 1;
        while t < 8 {
            let before = tables[t - 1][n];
            tables[t][n] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            t += 1;
        }
        n += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn crc_of_the_check_string() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
        let long: Vec<u8> = (0..1000u32).map(|n| (n * 7) as u8).collect();
        let slow = !long.iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
        });
        assert_eq!(crc32(&long), slow);
    }
}
