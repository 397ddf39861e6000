//! The messages of uftrace's protocol (source: command line reference, `recv`; checked against connections of 0.13).
//!
//! A message is a header of 8 bytes (magic, kind, length of the rest; in network order) and so many bytes. The sender
//! talks, the receiver only listens:
//!
//! ```text
//! DIR_NAME  name
//! DATA      tid, records           while recording, and
//! KERNEL    processor, bytes       in any order
//! PERF      processor, bytes
//! METADATA  length, name, content  each file once
//! INFO      header, text           numbers of the header in network order
//! END
//! ```

use crate::NetError;
use fathom_store::HEADER_SIZE;

/// First two bytes of each message.
pub const MAGIC: u16 = 0xface;
/// Bytes of a header.
pub const HEADER: usize = 8;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing; later versions may begin with it.
    Start,
    /// The name of the directory.
    DirName,
    /// Records of a task.
    Data,
    /// What the kernel has traced.
    Kernel,
    /// Events of a processor.
    Perf,
    /// The header of the recording.
    Info,
    /// Any other file.
    Metadata,
    /// That is all.
    End,
}

const KINDS: [Kind; 8] =
    [Kind::Start, Kind::DirName, Kind::Data, Kind::Kernel, Kind::Perf, Kind::Info, Kind::Metadata, Kind::End];
const FIRST_KIND: u16 = 100;

/// The head of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Bytes that follow.
    pub len: u32,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    ///
    /// [`NetError::Protocol`].
    pub fn parse(bytes: [u8; HEADER]) -> Result<Header, NetError> {
        let [m0, m1, k0, k1, len @ ..] = bytes;
        if u16::from_be_bytes([m0, m1]) != MAGIC {
            return Err(NetError::Protocol("a message does not begin as one"));
        }
        let kind = u16::from_be_bytes([k0, k1]).checked_sub(FIRST_KIND);
        let kind = kind.and_then(|number| KINDS.get(usize::from(number)));
        let kind = kind.ok_or(NetError::Protocol("there is no message of that kind"))?;
        Ok(Header { kind: *kind, len: u32::from_be_bytes(len) })
    }

    /// As it is sent.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let kind = FIRST_KIND + KINDS.iter().position(|kind| *kind == self.kind).unwrap_or_default() as u16;
        let mut bytes = [0; HEADER];
        bytes[..2].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[2..4].copy_from_slice(&kind.to_be_bytes());
        bytes[4..].copy_from_slice(&self.len.to_be_bytes());
        bytes
    }
}

/// A whole message of several parts.
pub fn message(kind: Kind, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    // Whoever sends makes pieces of large files.
    let header = Header { kind, len: u32::try_from(len).unwrap_or(u32::MAX) };
    let mut bytes = header.to_bytes().to_vec();
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Where the numbers in the header of a recording are, and how long they are: version, size of the header, features,
/// items, deepest stack.
const NUMBERS: [(usize, usize); 5] = [(8, 4), (12, 2), (16, 8), (24, 8), (32, 2)];
/// Where its byte order is: 1 for little.
const ENDIAN: usize = 14;

/// Turns the numbers of a recording's header from network order to its own or back. Nothing happens for recordings of
/// big-endian machines, nor to a header that is cut off.
pub fn turn_info(info: &mut [u8]) {
    if info.len() < HEADER_SIZE || info.get(ENDIAN) != Some(&1) {
        return;
    }
    for (at, len) in NUMBERS {
        if let Some(number) = info.get_mut(at..at + len) {
            number.reverse();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_as_uftrace_sends_them() {
        assert_eq!(message(Kind::DirName, &[b"snd"]), b"\xfa\xce\x00\x65\x00\x00\x00\x03snd");
        assert_eq!(message(Kind::End, &[]), b"\xfa\xce\x00\x6b\x00\x00\x00\x00");
        let parts: [&[u8]; 3] = [&8u32.to_be_bytes(), b"task.txt", b"SESS"];
        assert_eq!(
            message(Kind::Metadata, &parts),
            b"\xfa\xce\x00\x6a\x00\x00\x00\x10\x00\x00\x00\x08task.txtSESS"
        );
    }

    /// From a connection of two uftrace 0.13, and the file that the receiver made.
    #[test]
    fn the_header_is_in_network_order() {
        let sent = b"Ftrace!\x00\x00\x00\x00\x04\x00(\x01\x02\x00\x00\x00\x00\x00\x00\x07\xfb\x00\x00\x00\x00\x00\x00?\xff\x04\x00\x00\x00\x00\x00\x00\x00exename:";
        let file = b"Ftrace!\x00\x04\x00\x00\x00(\x00\x01\x02\xfb\x07\x00\x00\x00\x00\x00\x00\xff?\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00exename:";
        let mut info = sent.to_vec();
        turn_info(&mut info);
        assert_eq!(info, file);
        turn_info(&mut info);
        assert_eq!(info, sent);
    }

    proptest! {
        #[test]
        fn headers_survive(number in 0..KINDS.len(), len: u32) {
            let header = Header { kind: KINDS[number], len };
            prop_assert_eq!(Header::parse(header.to_bytes()).unwrap(), header);
        }

        #[test]
        fn any_bytes_are_a_header_or_an_error(bytes: [u8; HEADER]) {
            if let Ok(header) = Header::parse(bytes) {
                prop_assert_eq!(header.to_bytes(), bytes);
            }
        }
    }
}
