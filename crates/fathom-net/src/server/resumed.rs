//! The form with a token as the receiver speaks it.

use super::{Event, Input, Server, Tell};
use crate::incoming::Incoming;
use crate::token::{self, BATCH, Codes, End, FrameKind, HELLO, NONCE, Nonces, Piece, Token};
use crate::{NetError, Result};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A session, and who its sender is now.
struct Session<'i, 's> {
    incoming: &'i mut Incoming<'s>,
    owner: Arc<Mutex<u64>>,
    /// The number that the session has as long as nobody else has taken it over.
    mine: u64,
    ours: Codes,
    /// Pieces that were written and are not acknowledged.
    pending: u32,
}

pub(super) fn serve<'s>(
    server: &'s Server,
    token: &Token,
    input: &mut Input<'_>,
    incoming: &mut Option<Incoming<'s>>,
    peer: SocketAddr,
    tell: Tell<'_>,
) -> Result<()> {
    let (ours, mut theirs) = greet(token, input)?;
    let mut payload = Vec::new();
    match token::read_frame(|buffer| input.exactly(buffer), &mut theirs, &mut payload) {
        Ok(FrameKind::Open) => {}
        Ok(_) => return Err(NetError::Protocol("a frame that is not expected")),
        // A sender that wanted to know whether it may send, before it records.
        Err(NetError::Closed) => return Ok(()),
        Err(error) => return Err(error),
    }
    let (id, name) = payload.split_first_chunk().ok_or(NetError::Protocol("a frame is too short"))?;
    let (place, owner) = server.root.session(*id, name)?;
    let incoming = incoming.insert(place);
    tell(&Event::Began { peer, dir: &incoming.dir });
    input.allow(server.options.limits.idle);
    let mut session = Session { incoming, owner, mine: 0, ours, pending: 0 };
    session.take_over(input)?;
    session.receive(&mut theirs, &mut payload, input)
}

/// Proves to each other that both know the token. Gives the codes of both directions, ours first.
fn greet(token: &Token, input: &mut Input<'_>) -> Result<(Codes, Codes)> {
    let mut hello = [0; HELLO.len()];
    input.exactly(&mut hello)?;
    if hello != *HELLO {
        return Err(NetError::Protocol("the sender has no token"));
    }
    let mut sender = [0; NONCE];
    input.exactly(&mut sender)?;
    let nonces = Nonces { sender, receiver: token::random()? };
    let mut stream = input.stream;
    stream.write_all(&nonces.receiver).map_err(NetError::Broken)?;
    let mut proof = [0; NONCE];
    input.exactly(&mut proof)?;
    if token.proof(End::Sender, &nonces) != blake3::Hash::from_bytes(proof) {
        return Err(NetError::Token);
    }
    stream.write_all(token.proof(End::Receiver, &nonces).as_bytes()).map_err(NetError::Broken)?;
    Ok((token.codes(End::Receiver, &nonces), token.codes(End::Sender, &nonces)))
}

fn lock(owner: &Mutex<u64>) -> MutexGuard<'_, u64> {
    owner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session<'_, '_> {
    /// Becomes the one who writes, and tells the sender what there is.
    fn take_over(&mut self, input: &mut Input<'_>) -> Result<()> {
        let owner = Arc::clone(&self.owner);
        let mut owner = lock(&owner);
        *owner += 1;
        self.mine = *owner;
        for (name, size) in self.incoming.go_on()? {
            self.write(input, FrameKind::Have, &token::file_frame(&name, size, b""))?;
        }
        input.current = Some((Arc::clone(&self.owner), self.mine));
        self.write(input, FrameKind::Ready, b"")
    }

    /// Does what frames say until the recording is complete.
    fn receive(&mut self, theirs: &mut Codes, payload: &mut Vec<u8>, input: &mut Input<'_>) -> Result<()> {
        loop {
            let kind = token::read_frame(|buffer| input.exactly(buffer), theirs, payload)?;
            match self.frame(kind, payload, input) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    // It is told if it still listens; we end in any case.
                    let _ = self.write(input, FrameKind::Error, error.to_string().as_bytes());
                    return Err(error);
                }
            }
        }
    }

    fn write(&mut self, input: &Input<'_>, kind: FrameKind, payload: &[u8]) -> Result<()> {
        let mut stream = input.stream;
        token::write_frame(&mut stream, &mut self.ours, kind, payload)
    }

    /// Does what a frame says. True when the recording is complete.
    fn frame(&mut self, kind: FrameKind, payload: &[u8], input: &Input<'_>) -> Result<bool> {
        let owner = Arc::clone(&self.owner);
        let owner = lock(&owner);
        if *owner != self.mine {
            return Err(NetError::Protocol("the sender has connected again"));
        }
        match kind {
            FrameKind::Data => {
                self.data(&Piece::parse(payload)?)?;
                self.pending += 1;
                if self.pending >= BATCH || !input.is_waiting() {
                    self.acknowledge(input)?;
                }
            }
            FrameKind::Check => self.check(payload)?,
            FrameKind::End => {
                self.incoming.complete()?;
                self.write(input, FrameKind::Done, b"")?;
                return Ok(true);
            }
            _ => return Err(NetError::Protocol("a frame that is not expected")),
        }
        Ok(false)
    }

    /// Says what is on the disk, once it is.
    fn acknowledge(&mut self, input: &Input<'_>) -> Result<()> {
        self.incoming.sync()?;
        let pending = std::mem::take(&mut self.pending);
        self.write(input, FrameKind::Ack, &pending.to_be_bytes())
    }

    fn data(&mut self, piece: &Piece<'_>) -> Result<()> {
        let name = file_name(piece.name)?;
        let content = piece.unpacked()?;
        if piece.reset {
            self.incoming.reset(name)?;
        }
        if self.incoming.len(name)? != piece.offset {
            return Err(NetError::Protocol("a piece of a file does not follow what is there"));
        }
        self.incoming.append_to(name, &content)
    }

    /// Whether a file is as the sender has it.
    fn check(&mut self, payload: &[u8]) -> Result<()> {
        let (name, size, fingerprint) = token::parse_file_frame(payload)?;
        let name = file_name(name)?;
        let same = self.incoming.len(name)? == size
            && crate::spool::fingerprint(&self.incoming.dir.join(name), size)? == fingerprint;
        if same { Ok(()) } else { Err(NetError::Protocol("a file is not as the sender has it")) }
    }
}

fn file_name(name: &[u8]) -> Result<&str> {
    crate::file_name(name).ok_or(NetError::Protocol("a file has a name that is not allowed"))
}
