//! How files of tracefs are touched: a trait, so that tests can stand in for the kernel.

use std::fmt::Debug;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What is done to files of tracefs.
pub trait Files: Debug + Send + Sync {
    /// The whole content.
    ///
    /// # Errors
    ///
    /// As of the system.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Writes all of the content after opening with truncation (`>` of a shell) or for appending (`>>`).
    ///
    /// # Errors
    ///
    /// As of the system. Part of the content may have been taken.
    fn write(&self, path: &Path, truncate: bool, content: &[u8]) -> io::Result<()>;
    /// `mkdir`.
    ///
    /// # Errors
    ///
    /// As of the system.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// `rmdir`.
    ///
    /// # Errors
    ///
    /// As of the system.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, sorted.
    ///
    /// # Errors
    ///
    /// As of the system.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Whether there is such a file or directory.
    fn exists(&self, path: &Path) -> bool;
}

/// The files as they are.
#[derive(Debug)]
pub struct Real;

impl Files for Real {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        // Some files (header_page, filter) answer the first read alone, with as much as it has room for. So nothing reads
        // a few bytes first to see how large it is.
        let mut content = vec![0; 64 << 10];
        let mut filled = 0;
        loop {
            match file.read(&mut content[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if content.len() - filled < 4096 {
                content.resize(content.len() * 2, 0);
            }
        }
        content.truncate(filled);
        Ok(content)
    }

    fn write(&self, path: &Path, truncate: bool, content: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        // Truncating empties lists at the open; appending never does. Files are never made: a name that is not there
        // must not come into being on something that is no tracefs.
        match truncate {
            true => options.write(true).custom_flags(rustix::fs::OFlags::TRUNC.bits().cast_signed()),
            false => options.append(true),
        };
        let mut file = options.open(path)?;
        // One write is one command. Word lists take a word a call and return a short count: the rest follows.
        file.write_all(content)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}
