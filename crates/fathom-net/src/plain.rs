//! A connection of uftrace's protocol as the receiver sees it: fed with bytes, it says what is to be done with files.

use crate::wire::{self, HEADER, Header, Kind};
use crate::{NetError, Result, file_name};

/// Bytes of a directory's name.
const LONGEST_NAME: u32 = 64 << 10;
/// Bytes of the name of a file.
const LONGEST_FILE_NAME: u32 = 4096;
/// Bytes of the header of a recording.
const LONGEST_INFO: u32 = 4 << 20;

/// What is done with what comes.
pub trait Place {
    /// The sender has said what it calls the recording. Comes before all others.
    ///
    /// # Errors
    ///
    /// End the connection.
    fn name(&mut self, name: &[u8]) -> Result<()>;
    /// A file that has to be empty now. Its name is a single component.
    ///
    /// # Errors
    ///
    /// End the connection.
    fn create(&mut self, file: &str) -> Result<()>;
    /// More for a file.
    ///
    /// # Errors
    ///
    /// End the connection.
    fn append(&mut self, file: &str, bytes: &[u8]) -> Result<()>;
    /// A file whose name cannot be one, which is left out.
    fn refused(&mut self, file: &[u8]);
}

/// What comes next.
#[derive(Debug)]
enum State {
    Header,
    /// Something short that is needed whole.
    Whole(Kind, u32),
    /// The number in front of records.
    Number(Kind, u32),
    /// The length of a file's name.
    NameLength(u32),
    /// The name, and how much content follows it.
    Name(u32, u32),
    /// So many bytes for a file, or for nothing.
    Content(Option<String>, u32),
    End,
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    state: State,
    /// What has come of the part that is needed whole.
    part: Vec<u8>,
    named: bool,
}

impl Default for Connection {
    fn default() -> Self {
        Connection { state: State::Header, part: Vec::new(), named: false }
    }
}

impl Connection {
    /// Whether the sender has said that this is all.
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Takes more bytes.
    ///
    /// # Errors
    ///
    /// What is not the protocol, and those of `place`.
    pub fn feed(&mut self, mut bytes: &[u8], place: &mut impl Place) -> Result<()> {
        // A part of no bytes is complete without any more.
        while !bytes.is_empty() || self.needed() == Some(0) {
            match &mut self.state {
                State::End => return Err(NetError::Protocol("something follows the end")),
                State::Content(file, left) => {
                    let now = bytes.len().min(*left as usize);
                    let (content, rest) = bytes.split_at(now);
                    if let (Some(file), false) = (file.as_deref(), content.is_empty()) {
                        place.append(file, content)?;
                    }
                    // No more than was left.
                    *left -= now as u32;
                    bytes = rest;
                    if *left == 0 {
                        self.state = State::Header;
                    }
                }
                _ => {
                    let needed = self.needed().unwrap_or_default();
                    let now = bytes.len().min(needed.saturating_sub(self.part.len()));
                    let (more, rest) = bytes.split_at(now);
                    self.part.extend_from_slice(more);
                    bytes = rest;
                    if self.part.len() == needed {
                        let part = std::mem::take(&mut self.part);
                        self.state = self.whole(&part, place)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Bytes of the part that is needed whole.
    fn needed(&self) -> Option<usize> {
        Some(match self.state {
            State::Header => HEADER,
            State::Whole(_, len) => len as usize,
            State::Number(..) | State::NameLength(_) => 4,
            State::Name(len, _) => len as usize,
            State::Content(_, left) => left as usize,
            State::End => return None,
        })
    }

    fn whole(&mut self, part: &[u8], place: &mut impl Place) -> Result<State> {
        let number = || part.try_into().map(u32::from_be_bytes).unwrap_or_default();
        match self.state {
            State::Header => self.header(Header::parse(part.try_into().unwrap_or_default())?),
            State::Whole(Kind::DirName, _) => {
                place.name(part)?;
                self.named = true;
                Ok(State::Header)
            }
            State::Whole(_, _) => {
                let mut info = part.to_vec();
                wire::turn_info(&mut info);
                place.create("info")?;
                place.append("info", &info)?;
                Ok(State::Header)
            }
            State::Number(kind, left) => {
                let file = numbered(kind, number())?;
                if left == 0 {
                    // A file that is there and has nothing.
                    place.append(&file, &[])?;
                }
                Ok(State::Content(Some(file), left))
            }
            State::NameLength(left) => {
                let len = number();
                if len > LONGEST_FILE_NAME {
                    let limit = u64::from(LONGEST_FILE_NAME);
                    return Err(NetError::TooMuch { what: "the name of a file", limit });
                }
                let left = left.checked_sub(len);
                let left = left.ok_or(NetError::Protocol("the name of a file is longer than its message"))?;
                Ok(State::Name(len, left))
            }
            State::Name(_, left) => {
                let file = metadata_name(part);
                match &file {
                    Some(file) => place.create(file)?,
                    None => place.refused(part),
                }
                Ok(State::Content(file, left))
            }
            State::Content(..) | State::End => Ok(State::Header),
        }
    }

    fn header(&self, header: Header) -> Result<State> {
        let Header { kind, len } = header;
        let named = match kind {
            Kind::Start => return if len == 0 { Ok(State::Header) } else { Ok(State::Content(None, len)) },
            Kind::DirName => !self.named,
            _ => self.named,
        };
        if !named {
            return Err(NetError::Protocol("the name of the recording has to come first, and once"));
        }
        let too_much = |what, limit: u32| NetError::TooMuch { what, limit: u64::from(limit) };
        let after = |prefix: u32| len.checked_sub(prefix).ok_or(NetError::Protocol("a message is too short"));
        match kind {
            Kind::DirName if len > LONGEST_NAME => Err(too_much("the name of the recording", LONGEST_NAME)),
            Kind::Info if len > LONGEST_INFO => Err(too_much("the header of the recording", LONGEST_INFO)),
            Kind::DirName | Kind::Info => Ok(State::Whole(kind, len)),
            Kind::Data | Kind::Kernel | Kind::Perf => Ok(State::Number(kind, after(4)?)),
            Kind::Metadata => Ok(State::NameLength(after(4)?)),
            Kind::End if len != 0 => Err(NetError::Protocol("the end has content")),
            Kind::End | Kind::Start => Ok(State::End),
        }
    }
}

/// The file for the records of a task or a processor.
fn numbered(kind: Kind, number: u32) -> Result<String> {
    let number = i32::try_from(number).map_err(|_| NetError::Protocol("a task or processor below 0"))?;
    Ok(match kind {
        Kind::Kernel => format!("kernel-cpu{number}.dat"),
        Kind::Perf => format!("perf-cpu{number}.dat"),
        _ => format!("{number}.dat"),
    })
}

/// A file that may come as metadata: none that has a message of its own.
fn metadata_name(name: &[u8]) -> Option<String> {
    let name = file_name(name)?;
    (name != "info" && !crate::spool::is_appended(name)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Default, PartialEq)]
    struct Files {
        name: Vec<u8>,
        files: BTreeMap<String, Vec<u8>>,
        refused: usize,
    }

    impl Place for Files {
        fn name(&mut self, name: &[u8]) -> Result<()> {
            self.name = name.to_vec();
            Ok(())
        }
        fn create(&mut self, file: &str) -> Result<()> {
            self.files.insert(file.to_owned(), Vec::new());
            Ok(())
        }
        fn append(&mut self, file: &str, bytes: &[u8]) -> Result<()> {
            self.files.entry(file.to_owned()).or_default().extend(bytes);
            Ok(())
        }
        fn refused(&mut self, _file: &[u8]) {
            self.refused += 1;
        }
    }

    fn file(name: &[u8], content: &[u8]) -> Vec<u8> {
        message(Kind::Metadata, &[&(name.len() as u32).to_be_bytes(), name, content])
    }

    fn conversation() -> Vec<u8> {
        [
            message(Kind::Start, &[]),
            message(Kind::DirName, &[b"x.data"]),
            message(Kind::Data, &[&7i32.to_be_bytes(), b"abc"]),
            message(Kind::Perf, &[&1i32.to_be_bytes(), b"pp"]),
            message(Kind::Kernel, &[&0i32.to_be_bytes(), b""]),
            message(Kind::Data, &[&7i32.to_be_bytes(), b"def"]),
            file(b"task.txt", b"SESS"),
            file(b"../evil", b"no"),
            file(b"7.dat", b"no"),
            file(b"empty.sym", b""),
            message(Kind::Info, &[b"short"]),
            message(Kind::End, &[]),
        ]
        .concat()
    }

    #[test]
    fn files_come_out() {
        let (mut connection, mut files) = (Connection::default(), Files::default());
        connection.feed(&conversation(), &mut files).unwrap();
        assert!(connection.is_complete());
        let text = |name: &str| String::from_utf8(files.files[name].clone()).unwrap();
        assert_eq!(
            (text("7.dat"), text("perf-cpu1.dat"), text("task.txt")),
            ("abcdef".into(), "pp".into(), "SESS".into())
        );
        assert_eq!((text("info"), text("empty.sym")), ("short".into(), String::new()));
        assert_eq!((files.name.as_slice(), files.refused, files.files.len()), (&b"x.data"[..], 2, 6));
        assert!(connection.feed(b"x", &mut files).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        let name = message(Kind::DirName, &[b"x"]);
        let negative = message(Kind::Data, &[&(-1i32).to_be_bytes(), b"x"]);
        let long = message(Kind::Metadata, &[&9u32.to_be_bytes(), b"x"]);
        let huge = Header { kind: Kind::Info, len: u32::MAX }.to_bytes();
        for bad in [
            message(Kind::Data, &[&1i32.to_be_bytes()]),
            [&name[..], &name].concat(),
            [&name[..], &negative].concat(),
            [&name[..], &long].concat(),
            [&name[..], &huge].concat(),
            [&name[..], &message(Kind::Data, &[b"x"])].concat(),
            [&name[..], &message(Kind::End, &[b"x"])].concat(),
            b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        ] {
            assert!(Connection::default().feed(&bad, &mut Files::default()).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_it_is_cut(cuts in proptest::collection::vec(1usize..40, 0..60)) {
            let all = conversation();
            let (mut whole, mut wanted) = (Connection::default(), Files::default());
            whole.feed(&all, &mut wanted).unwrap();
            let (mut connection, mut files) = (Connection::default(), Files::default());
            let mut rest = &all[..];
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                connection.feed(now, &mut files).unwrap();
                rest = later;
            }
            connection.feed(rest, &mut files).unwrap();
            prop_assert_eq!(files, wanted);
        }

        #[test]
        fn damaged_conversations_do_not_panic(at in 0usize..200, byte: u8, cut in 0usize..300) {
            let mut all = conversation();
            if let Some(place) = all.get_mut(at) {
                *place = byte;
            }
            all.truncate(cut);
            let _ = Connection::default().feed(&all, &mut Files::default());
        }
    }
}
