//! The form with a token: between two of us, authenticated, compressed, resumed.
//!
//! ```text
//! sender    HELLO, nonce (32)                     receiver  nonce (32)
//! sender    proof (32)                            receiver  proof (32)
//! sender    OPEN session (16), name               receiver  HAVE name, size ... READY
//! sender    DATA flags, name, offset, content     receiver  ACK number of frames
//! sender    CHECK name, size, fingerprint ... END receiver  DONE, or ERROR text
//! ```
//!
//! The sender proves itself first, so that who connects without the token learns nothing to guess it by. Proofs and the
//! keys of the two directions are made of the token and both nonces by BLAKE3. Each frame has its length, its kind, and
//! behind it a code made with the key of its direction over its number and all of it: frames can be neither changed, nor
//! repeated, nor left out, nor are lengths believed that no holder of the token has sent. Contents are not encrypted.
//!
//! What has been acknowledged is on the receiver's disk. A connection that breaks is made again: the receiver says what
//! it has of the session, and the sender goes on from there.

use crate::{NetError, Result};
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// First bytes of a connection.
pub const HELLO: &[u8; 16] = b"FATHOM TOKEN 1\r\n";
/// Bytes of a nonce, a proof, a code.
pub const NONCE: usize = 32;
/// Bytes of file content in a frame, at most: little enough to get through a connection that breaks often.
pub const PIECE: usize = 128 << 10;
/// Frames that a sender sends before it waits for one to be acknowledged.
pub(crate) const WINDOW: u32 = 32;
/// Frames that a receiver writes before it waits for the disk and acknowledges them, if more are waiting already.
pub(crate) const BATCH: u32 = 8;
/// Bytes of a frame without head and code.
pub(crate) const LONGEST: usize = PIECE + (64 << 10);
/// Shorter tokens can be guessed.
const SHORTEST_TOKEN: usize = 16;
const LONGEST_TOKEN: u64 = 4096;

/// What both ends have to know.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    File(std::io::Error),
    /// There is too little in it.
    #[error("a token has at least 16 characters")]
    Short,
}

impl Token {
    /// A token from a text; blanks around it do not count.
    ///
    /// # Errors
    ///
    /// [`TokenError::Short`].
    pub fn new(text: &[u8]) -> std::result::Result<Token, TokenError> {
        let text = text.trim_ascii();
        if text.len() < SHORTEST_TOKEN {
            return Err(TokenError::Short);
        }
        Ok(Token(blake3::derive_key("fathom-net 2026-11-25 token", text)))
    }

    /// A token from a file.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or has too little in it.
    pub fn read(path: &Path) -> std::result::Result<Token, TokenError> {
        let mut text = Vec::new();
        let file = File::open(path).map_err(TokenError::File)?;
        file.take(LONGEST_TOKEN).read_to_end(&mut text).map_err(TokenError::File)?;
        Token::new(&text)
    }

    /// What an end proves that it knows the token by.
    pub(crate) fn proof(&self, end: End, nonces: &Nonces) -> blake3::Hash {
        self.keyed(
            match end {
                End::Sender => b"sender's proof",
                End::Receiver => b"receiver's proof",
            },
            nonces,
        )
    }

    /// The codes of frames from an end.
    pub(crate) fn codes(&self, end: End, nonces: &Nonces) -> Codes {
        let key = self.keyed(
            match end {
                End::Sender => b"sender's frames",
                End::Receiver => b"receiver's frames",
            },
            nonces,
        );
        Codes { key: *key.as_bytes(), number: 0 }
    }

    fn keyed(&self, what: &[u8], nonces: &Nonces) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&nonces.sender).update(&nonces.receiver).update(what);
        hasher.finalize()
    }
}

/// Who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Sender,
    Receiver,
}

/// Numbers that are never used twice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nonces {
    pub(crate) sender: [u8; NONCE],
    pub(crate) receiver: [u8; NONCE],
}

/// A number that nobody else has.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut at = 0;
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
        let got = rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty());
        at += got.map_err(|error| NetError::Broken(error.into()))?;
    }
    Ok(bytes)
}

/// Makes and checks the codes of one direction.
#[derive(Debug)]
pub(crate) struct Codes {
    key: [u8; 32],
    number: u64,
}

impl Codes {
    fn next(&mut self, head: &[u8], payload: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&self.number.to_be_bytes()).update(head).update(payload);
        self.number += 1;
        hasher.finalize()
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameKind {
    Open = 1,
    Data = 2,
    Check = 3,
    End = 4,
    Have = 17,
    Ready = 18,
    Ack = 19,
    Done = 20,
    Error = 21,
}

impl FrameKind {
    fn of(byte: u8) -> Option<FrameKind> {
        use FrameKind as F;
        let all = [F::Open, F::Data, F::Check, F::End, F::Have, F::Ready, F::Ack, F::Done, F::Error];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Length and kind.
const HEAD: usize = 5;

/// Writes a frame.
pub(crate) fn write_frame(
    out: &mut impl Write,
    codes: &mut Codes,
    kind: FrameKind,
    payload: &[u8],
) -> Result<()> {
    // Whoever sends makes pieces.
    let len = u32::try_from(payload.len()).map_err(|_| NetError::Protocol("a frame is too long"))?;
    let mut frame = Vec::with_capacity(HEAD + payload.len() + NONCE);
    frame.extend(len.to_be_bytes());
    frame.push(kind as u8);
    let code = codes.next(&frame, payload);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(code.as_bytes());
    out.write_all(&frame).map_err(NetError::Broken)
}

/// Reads a frame into `payload`. `fill` reads as many bytes as asked for.
pub(crate) fn read_frame(
    mut fill: impl FnMut(&mut [u8]) -> Result<()>,
    codes: &mut Codes,
    payload: &mut Vec<u8>,
) -> Result<FrameKind> {
    let mut head = [0; HEAD];
    fill(&mut head)?;
    let [l0, l1, l2, l3, kind] = head;
    let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if len > LONGEST {
        return Err(NetError::Protocol("a frame is too long"));
    }
    payload.clear();
    payload.resize(len, 0);
    fill(payload)?;
    let mut code = [0; NONCE];
    fill(&mut code)?;
    // Compared in the same time wherever the difference is.
    if codes.next(&head, payload) != blake3::Hash::from_bytes(code) {
        return Err(NetError::Protocol("the code of a frame is wrong"));
    }
    FrameKind::of(kind).ok_or(NetError::Protocol("there is no frame of that kind"))
}

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// The file is to be emptied first.
    pub(crate) reset: bool,
    pub(crate) name: &'a [u8],
    pub(crate) offset: u64,
    /// Bytes of the content before it was compressed.
    pub(crate) len: u32,
    pub(crate) content: &'a [u8],
}

impl<'a> Piece<'a> {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.reset)];
        put_name(&mut bytes, self.name);
        bytes.extend(self.offset.to_be_bytes());
        bytes.extend(self.len.to_be_bytes());
        bytes.extend_from_slice(self.content);
        bytes
    }

    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Piece<'a>> {
        let (flags, rest) = bytes.split_first().ok_or(TOO_SHORT)?;
        let (name, rest) = take_name(rest)?;
        let (offset, rest) = rest.split_first_chunk().ok_or(TOO_SHORT)?;
        let (len, content) = rest.split_first_chunk().ok_or(TOO_SHORT)?;
        let (offset, len) = (u64::from_be_bytes(*offset), u32::from_be_bytes(*len));
        Ok(Piece { reset: *flags & 1 != 0, name, offset, len, content })
    }

    /// The content as it was.
    pub(crate) fn unpacked(&self) -> Result<Vec<u8>> {
        if self.len as usize > PIECE {
            return Err(NetError::Protocol("a piece of a file is too long"));
        }
        let bytes = zstd::bulk::decompress(self.content, self.len as usize);
        let bytes = bytes.map_err(|_| NetError::Protocol("a piece of a file is not compressed well"))?;
        if bytes.len() == self.len as usize { Ok(bytes) } else { Err(TOO_SHORT) }
    }
}

const TOO_SHORT: NetError = NetError::Protocol("a frame is too short");

/// A file with its size, and a fingerprint where it is to be checked.
pub(crate) fn file_frame(name: &str, size: u64, fingerprint: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_name(&mut bytes, name.as_bytes());
    bytes.extend(size.to_be_bytes());
    bytes.extend_from_slice(fingerprint);
    bytes
}

/// Takes [`file_frame`] apart: name, size, fingerprint.
pub(crate) fn parse_file_frame(bytes: &[u8]) -> Result<(&[u8], u64, &[u8])> {
    let (name, rest) = take_name(bytes)?;
    let (size, fingerprint) = rest.split_first_chunk().ok_or(TOO_SHORT)?;
    Ok((name, u64::from_be_bytes(*size), fingerprint))
}

fn put_name(bytes: &mut Vec<u8>, name: &[u8]) {
    // Names of files have at most 255 bytes.
    let len = name.len().min(usize::from(u16::MAX));
    bytes.extend((len as u16).to_be_bytes());
    bytes.extend(name.iter().take(len));
}

fn take_name(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk().ok_or(TOO_SHORT)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or(TOO_SHORT)
}

/// Entry for fuzzing: reads frames whose codes are right by construction, so that what is behind the code is reached.
#[doc(hidden)]
pub fn parse_payload(bytes: &[u8]) {
    let _ = parse_file_frame(bytes);
    if let Ok(piece) = Piece::parse(bytes) {
        let _ = piece.unpacked();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nonces() -> Nonces {
        Nonces { sender: [1; 32], receiver: [2; 32] }
    }

    fn token() -> Token {
        Token::new(b"sixteen letters!").unwrap()
    }

    fn written(payloads: &[&[u8]]) -> Vec<u8> {
        let (mut out, mut codes) = (Vec::new(), token().codes(End::Sender, &nonces()));
        for payload in payloads {
            write_frame(&mut out, &mut codes, FrameKind::Data, payload).unwrap();
        }
        out
    }

    fn read_all(mut bytes: &[u8], codes: &mut Codes) -> Vec<Result<Vec<u8>>> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let mut payload = Vec::new();
            let fill = |buffer: &mut [u8]| bytes.read_exact(buffer).map_err(NetError::Broken);
            let read = read_frame(fill, codes, &mut payload);
            let bad = read.is_err();
            all.push(read.map(|_| payload));
            if bad {
                break;
            }
        }
        all
    }

    #[test]
    fn frames_can_only_be_read_as_they_were_sent() {
        let all = written(&[b"one", b"two"]);
        let codes = || token().codes(End::Sender, &nonces());
        let read: Vec<_> = read_all(&all, &mut codes()).into_iter().map(|frame| frame.unwrap()).collect();
        assert_eq!(read, [b"one", b"two"]);
        let (first, second) = all.split_at(all.len() / 2);
        assert!(read_all(second, &mut codes())[0].is_err(), "a frame was left out");
        assert!(read_all(&[first, first].concat(), &mut codes())[1].is_err(), "a frame came twice");
        assert!(read_all(first, &mut token().codes(End::Receiver, &nonces()))[0].is_err(), "the other way");
        let other = Token::new(b"another token of mine").unwrap();
        assert!(read_all(first, &mut other.codes(End::Sender, &nonces()))[0].is_err(), "another token");
        for at in 0..first.len() {
            let mut changed = first.to_vec();
            changed[at] ^= 1;
            assert!(read_all(&changed, &mut codes())[0].is_err(), "byte {at}");
        }
    }

    #[test]
    fn proofs_differ() {
        let mut other = nonces();
        other.receiver[0] = 9;
        let mine = token().proof(End::Sender, &nonces());
        assert_ne!(mine, token().proof(End::Receiver, &nonces()));
        assert_ne!(mine, token().proof(End::Sender, &other));
        assert!(matches!(Token::new(b" short \n"), Err(TokenError::Short)));
        assert_eq!(format!("{:?}", token()), "Token(…)");
    }

    #[test]
    fn pieces_are_bounded() {
        let content = zstd::bulk::compress(&vec![0; PIECE + 1], 3).unwrap();
        let piece = Piece { reset: false, name: b"x", offset: 0, len: (PIECE + 1) as u32, content: &content };
        assert!(piece.unpacked().is_err());
        assert!(Piece { len: 5, ..piece }.unpacked().is_err());
    }

    proptest! {
        #[test]
        fn pieces_survive(reset: bool, name in proptest::collection::vec(any::<u8>(), 0..255), offset: u64, content: Vec<u8>) {
            let packed = zstd::bulk::compress(&content, 3).unwrap();
            let piece = Piece { reset, name: &name, offset, len: content.len() as u32, content: &packed };
            let bytes = piece.to_bytes();
            let read = Piece::parse(&bytes).unwrap();
            prop_assert_eq!(read, piece);
            prop_assert_eq!(read.unpacked().unwrap(), content);
        }

        #[test]
        fn any_payload_is_read_without_panic(bytes: Vec<u8>) {
            parse_payload(&bytes);
        }
    }
}
