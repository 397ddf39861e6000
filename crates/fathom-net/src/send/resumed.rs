//! The form with a token as its sender speaks it.

use super::{Sent, session_file};
use crate::incoming::SessionId;
use crate::spool::{self, Entry};
use crate::token::{self, Codes, End, FrameKind, HELLO, NONCE, Nonces, PIECE, Piece, Token, WINDOW};
use crate::{NetError, Result};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// How well pieces are compressed.
const LEVEL: i32 = 3;

pub(super) struct Resumed {
    stream: TcpStream,
    ours: Codes,
    theirs: Codes,
    payload: Vec<u8>,
    /// Pieces that were sent and are not acknowledged.
    outstanding: u32,
    whole: Whole,
}

/// Files that are written at once, as they were sent on a connection: size and fingerprint.
#[derive(Default)]
struct Whole(BTreeMap<String, (u64, [u8; 32])>);

impl Whole {
    /// Those that readers need for what was sent so far, and that were not sent as they are now. What is at their ends is
    /// of no use before the rest.
    fn due(&self, all: Vec<Entry>) -> Vec<Entry> {
        let new = |entry: &Entry| self.0.get(&entry.name).is_none_or(|(size, _)| *size != entry.size);
        let mut due: Vec<_> = all.into_iter().filter(|e| e.name != "default.opts" && new(e)).collect();
        due.retain(|entry| !spool::only_grows(&entry.name));
        due
    }

    /// Notes what is about to be sent. Before it is: what is sent may be newer, and is sent again then.
    fn note(&mut self, dir: &Path, entry: &Entry) -> Result<()> {
        let fingerprint = spool::fingerprint(&dir.join(&entry.name), entry.size)?;
        self.0.insert(entry.name.clone(), (entry.size, fingerprint));
        Ok(())
    }

    /// It did not come through.
    fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    fn is_sent(&self, name: &str, size: u64, fingerprint: &[u8; 32]) -> bool {
        self.0.get(name) == Some(&(size, *fingerprint))
    }
}

/// Whether a file could not be read because the recorder was just at it.
fn is_busy(error: &NetError) -> bool {
    matches!(error, NetError::Shrunk { .. } | NetError::File { .. })
}

/// The number of the session that a directory is sent in. A directory that was sent in part before has one.
pub(super) fn session(dir: &Path) -> Result<SessionId> {
    let path = session_file(dir);
    match std::fs::read(&path) {
        Ok(bytes) if bytes.len() == 16 => return Ok(bytes.try_into().unwrap_or_default()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(NetError::file("read", &path, error)),
    }
    let id: SessionId = token::random()?;
    match std::fs::write(&path, id) {
        Ok(()) => Ok(id),
        // What cannot be written to cannot be resumed after our end, but it can be sent.
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            Ok(id)
        }
        Err(error) => Err(NetError::file("write", &path, error)),
    }
}

fn broken(error: io::Error) -> NetError {
    match error.kind() {
        ErrorKind::UnexpectedEof => NetError::Closed,
        _ => NetError::Broken(error),
    }
}

/// Proves to each other that both know the token. Gives the codes of both directions.
pub(super) fn greet(mut stream: TcpStream, token: &Token) -> Result<(TcpStream, Codes, Codes)> {
    let sender = token::random()?;
    let hello = [&HELLO[..], &sender].concat();
    stream.write_all(&hello).map_err(NetError::Broken)?;
    let mut receiver = [0; NONCE];
    // A receiver without a token closes the connection.
    stream.read_exact(&mut receiver).map_err(|error| match broken(error) {
        NetError::Closed => NetError::Refused("it takes no recordings with a token".to_owned()),
        other => other,
    })?;
    let nonces = Nonces { sender, receiver };
    stream.write_all(token.proof(End::Sender, &nonces).as_bytes()).map_err(NetError::Broken)?;
    let mut proof = [0; NONCE];
    stream.read_exact(&mut proof).map_err(|error| match broken(error) {
        NetError::Closed => NetError::Token,
        other => other,
    })?;
    if token.proof(End::Receiver, &nonces) != blake3::Hash::from_bytes(proof) {
        return Err(NetError::Token);
    }
    Ok((stream, token.codes(End::Sender, &nonces), token.codes(End::Receiver, &nonces)))
}

impl Resumed {
    /// Makes the acquaintance of the receiver. What it has of the session replaces what is in `sent`.
    pub(super) fn begin(
        stream: TcpStream,
        token: &Token,
        session: SessionId,
        name: &str,
        sent: &mut Sent,
    ) -> Result<Resumed> {
        let (stream, ours, theirs) = greet(stream, token)?;
        let (payload, whole) = (Vec::new(), Whole::default());
        let mut link = Resumed { stream, ours, theirs, payload, outstanding: 0, whole };
        link.write(FrameKind::Open, &[&session[..], name.as_bytes()].concat())?;
        sent.clear();
        loop {
            match link.read()? {
                FrameKind::Have => {
                    let (name, size, _) = token::parse_file_frame(&link.payload)?;
                    if let Some(name) = crate::file_name(name).filter(|name| spool::only_grows(name)) {
                        sent.insert(name.to_owned(), size);
                    }
                }
                FrameKind::Ready => return Ok(link),
                _ => return Err(NetError::Protocol("a frame that is not expected")),
            }
        }
    }

    fn write(&mut self, kind: FrameKind, payload: &[u8]) -> Result<()> {
        token::write_frame(&mut self.stream, &mut self.ours, kind, payload)
    }

    fn read(&mut self) -> Result<FrameKind> {
        let stream = &mut self.stream;
        let fill = |buffer: &mut [u8]| stream.read_exact(buffer).map_err(broken);
        let kind = token::read_frame(fill, &mut self.theirs, &mut self.payload)?;
        match kind {
            FrameKind::Error => Err(NetError::Refused(String::from_utf8_lossy(&self.payload).into_owned())),
            kind => Ok(kind),
        }
    }

    /// Sends a file from `from` on.
    fn file(&mut self, dir: &Path, name: &str, from: u64, to: u64, reset: bool) -> Result<()> {
        let mut reset = reset;
        if reset && from == to {
            self.piece(name, 0, b"", true)?;
        }
        spool::read_pieces(dir, name, from, to, PIECE, |offset, content| {
            self.piece(name, offset, content, std::mem::take(&mut reset))
        })
    }

    fn piece(&mut self, name: &str, offset: u64, content: &[u8], reset: bool) -> Result<()> {
        let packed = zstd::bulk::compress(content, LEVEL).map_err(NetError::Broken)?;
        // A piece has at most PIECE bytes.
        let len = content.len() as u32;
        let piece = Piece { reset, name: name.as_bytes(), offset, len, content: &packed };
        self.write(FrameKind::Data, &piece.to_bytes())?;
        self.outstanding += 1;
        self.acknowledged(WINDOW)
    }

    /// Waits until less than `window` pieces are not acknowledged.
    fn acknowledged(&mut self, window: u32) -> Result<()> {
        while self.outstanding >= window.max(1) {
            if self.read()? != FrameKind::Ack {
                return Err(NetError::Protocol("a frame that is not expected"));
            }
            let count = self.payload.first_chunk().map_or(0, |count| u32::from_be_bytes(*count));
            let left = self.outstanding.checked_sub(count);
            self.outstanding = left.ok_or(NetError::Protocol("more was acknowledged than was sent"))?;
        }
        Ok(())
    }

    /// What has been added to files that only grow, and files of other kinds that are new.
    pub(super) fn pass(&mut self, dir: &Path, sent: &mut Sent) -> Result<()> {
        let mut all = spool::list(dir)?;
        // First what describes records that come.
        all.sort_by_key(|entry| spool::is_appended(&entry.name));
        for entry in self.whole.due(all.clone()) {
            let noted = self.whole.note(dir, &entry);
            match noted.and_then(|()| self.file(dir, &entry.name, 0, entry.size, true)) {
                Err(error) if is_busy(&error) => self.whole.forget(&entry.name),
                other => other?,
            }
        }
        for Entry { name, size } in all {
            if spool::only_grows(&name) {
                let from = sent.get(&name).copied().unwrap_or(0);
                if size < from {
                    return Err(NetError::Shrunk { path: dir.join(name) });
                }
                if size > from {
                    self.file(dir, &name, from, size, false)?;
                    sent.insert(name, size);
                }
            }
        }
        self.acknowledged(1)
    }

    pub(super) fn finish(&mut self, dir: &Path, sent: &mut Sent) -> Result<()> {
        self.pass(dir, sent)?;
        let mut checks = Vec::new();
        for Entry { name, size } in spool::list(dir)? {
            let fingerprint = spool::fingerprint(&dir.join(&name), size)?;
            if !spool::only_grows(&name) && !self.whole.is_sent(&name, size, &fingerprint) {
                self.file(dir, &name, 0, size, true)?;
            }
            // The receiver keeps only a harmless part of it.
            if name != "default.opts" {
                checks.push(token::file_frame(&name, size, &fingerprint));
            }
        }
        self.acknowledged(1)?;
        for check in checks {
            self.write(FrameKind::Check, &check)?;
        }
        self.write(FrameKind::End, &[])?;
        match self.read()? {
            FrameKind::Done => {
                // It cannot be resumed any more; that it could be is no harm.
                let _ = std::fs::remove_file(session_file(dir));
                Ok(())
            }
            _ => Err(NetError::Protocol("a frame that is not expected")),
        }
    }
}
