//! uftrace's protocol as its sender speaks it.

use super::Sent;
use crate::spool::{self, Entry};
use crate::wire::{Kind, message, turn_info};
use crate::{NetError, Result};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;

/// Bytes of records in a message.
const PIECE: usize = 1 << 20;

pub(super) struct Plain {
    stream: TcpStream,
}

impl Plain {
    pub(super) fn begin(stream: TcpStream, name: &str) -> Result<Plain> {
        let mut plain = Plain { stream };
        plain.write(&message(Kind::DirName, &[name.as_bytes()]))?;
        Ok(plain)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(NetError::Broken)
    }

    /// Records that have been added. What describes them comes at the end only: uftrace's receiver appends to files that
    /// come twice, and nothing says whether it is one.
    pub(super) fn pass(&mut self, dir: &Path, sent: &mut Sent) -> Result<()> {
        for Entry { name, size } in spool::list(dir)? {
            let Some((kind, number)) = spool::number_of(&name) else { continue };
            if size == 0 && !sent.contains_key(&name) {
                // That nothing happened on a processor is known from an empty file.
                self.write(&message(kind, &[&number.to_be_bytes()]))?;
            }
            let from = sent.entry(name.clone()).or_default();
            if size < *from {
                return Err(NetError::Shrunk { path: dir.join(name) });
            }
            spool::read_pieces(dir, &name, *from, size, PIECE, |_, piece| {
                self.write(&message(kind, &[&number.to_be_bytes(), piece]))
            })?;
            *from = size;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, dir: &Path, sent: &mut Sent) -> Result<()> {
        self.pass(dir, sent)?;
        // Tasks first, the header last, as uftrace does.
        let mut files: Vec<_> = spool::list(dir)?;
        files.retain(|entry| !spool::is_appended(&entry.name) && entry.name != "info");
        files.sort_by_key(|entry| {
            (entry.name != "task.txt", !entry.name.ends_with(".map"), entry.name.clone())
        });
        for Entry { name, size } in files {
            // The receiver makes an empty one by itself.
            if name == "default.opts" && size == 0 {
                continue;
            }
            let content = read(dir, &name)?;
            let len = (name.len() as u32).to_be_bytes();
            self.write(&message(Kind::Metadata, &[&len, name.as_bytes(), &content]))?;
        }
        let mut info = read(dir, "info")?;
        turn_info(&mut info);
        self.write(&message(Kind::Info, &[&info]))?;
        self.write(&message(Kind::End, &[]))?;
        self.wait()
    }

    /// The receiver says nothing, but closes the connection when it has all, and breaks it when something is wrong.
    fn wait(&mut self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write).map_err(NetError::Broken)?;
        loop {
            match self.stream.read(&mut [0; 64]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(NetError::Broken(error)),
            }
        }
    }
}

/// A whole file; it has to go into one message.
fn read(dir: &Path, name: &str) -> Result<Vec<u8>> {
    let path = dir.join(name);
    let content = std::fs::read(&path).map_err(|error| NetError::file("read", &path, error))?;
    if u32::try_from(content.len() + name.len() + 4).is_err() {
        return Err(NetError::TooMuch { what: "the size of a file", limit: u64::from(u32::MAX) });
    }
    Ok(content)
}
