//! The messages, as bytes.
//!
//! ```text
//! | magic 0xface (u16) | type (u16) | length (u32) | body (length bytes) |     in the machine's byte order
//!
//! 200 close      -                                    the change is complete
//! 201 query      -                                    answered by 204 with the options that are known (i32)
//! 203 set        option (i32, one bit), value         answered by 204 or 205
//! 204 ok         - or i32
//! 205 error      errno (i32)
//!
//! option 1  trace        i32, 0 or 1
//!        2  depth        i32
//!        4  threshold    u64, ns
//!        8  pattern      i32: 1 simple, 2 regex, 3 glob
//!        16 filter, 32 caller filter, 64 trigger: text, NUL
//! ```
//!
//! Source: the agent section of the command-line specification.

use crate::Pattern;
use std::io::{self, Read, Write};

const MAGIC: u16 = 0xface;
const HEADER: usize = 8;
/// Longest body that is taken, bytes: more text than anybody types.
const LONGEST: usize = 64 << 10;

const CLOSE: u16 = 200;
const QUERY: u16 = 201;
const SET: u16 = 203;
const OK: u16 = 204;
const ERROR: u16 = 205;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The change is complete.
    Close,
    /// Which options are there?
    Query,
    /// Part of a change.
    Set(Setting),
    /// Done; the answer to a query has the bits of the options.
    Ok(Option<u32>),
    /// Not done, with an errno value.
    Error(i32),
}

/// One option with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Recording on or off.
    Trace(bool),
    /// Depth limit, 1 and more.
    Depth(u32),
    /// Time filter, ns.
    Threshold(u64),
    /// How patterns are written.
    Pattern(Pattern),
    /// As of `-F`, or with `!` of `-N`.
    Filter(String),
    /// As of `-C`.
    Caller(String),
    /// As of `-T`.
    Trigger(String),
}

impl Setting {
    /// The bit that stands for the option.
    pub fn bit(&self) -> u32 {
        match self {
            Setting::Trace(_) => 1,
            Setting::Depth(_) => 2,
            Setting::Threshold(_) => 4,
            Setting::Pattern(_) => 8,
            Setting::Filter(_) => 16,
            Setting::Caller(_) => 32,
            Setting::Trigger(_) => 64,
        }
    }

    /// The option on the command line.
    pub fn option(&self) -> &'static str {
        match self {
            Setting::Trace(_) => "--trace",
            Setting::Depth(_) => "-D",
            Setting::Threshold(_) => "-t",
            Setting::Pattern(_) => "--match",
            Setting::Filter(_) => "-F or -N",
            Setting::Caller(_) => "-C",
            Setting::Trigger(_) => "-T",
        }
    }

    /// The bits of all options.
    pub const ALL: u32 = 127;
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The other end has gone or does not answer.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It ended between messages.
    #[error("the connection was closed")]
    Closed,
    /// Something else is talking.
    #[error("not a message of this protocol")]
    Magic,
    /// More than is taken.
    #[error("a message of {0} bytes")]
    TooLong(u32),
    /// Of no type that is known here. The next one can be read.
    #[error("a message of the unknown type {0}")]
    Type(u16),
    /// Its body is not what its type says. The next one can be read.
    #[error("{0}")]
    Body(&'static str),
}

impl Message {
    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Message::Close => (CLOSE, Vec::new()),
            Message::Query => (QUERY, Vec::new()),
            Message::Set(setting) => (SET, encode_setting(setting)),
            Message::Ok(None) => (OK, Vec::new()),
            Message::Ok(Some(bits)) => (OK, bits.to_ne_bytes().to_vec()),
            Message::Error(errno) => (ERROR, errno.to_ne_bytes().to_vec()),
        };
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend(MAGIC.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((body.len() as u32).to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    /// Whether nobody would take it.
    pub fn is_too_long(&self) -> bool {
        self.encode().len() - HEADER > LONGEST
    }

    /// Reads one message.
    ///
    /// # Errors
    ///
    /// See [`MessageError`]. Only after [`Type`](MessageError::Type) and [`Body`](MessageError::Body) the next message
    /// can be read.
    pub fn read(input: &mut impl Read) -> Result<Message, MessageError> {
        let mut header = Vec::with_capacity(HEADER);
        match input.take(HEADER as u64).read_to_end(&mut header)? {
            0 => return Err(MessageError::Closed),
            HEADER => {}
            _ => return Err(cut_off()),
        }
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let length = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
        if half(0) != MAGIC {
            return Err(MessageError::Magic);
        }
        if length as usize > LONGEST {
            return Err(MessageError::TooLong(length));
        }
        let mut body = vec![0; length as usize];
        input.read_exact(&mut body)?;
        decode(half(2), &body)
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// Those of the stream.
    pub fn write(&self, output: &mut impl Write) -> io::Result<()> {
        output.write_all(&self.encode())?;
        output.flush()
    }
}

fn cut_off() -> MessageError {
    MessageError::Io(io::ErrorKind::UnexpectedEof.into())
}

fn encode_setting(setting: &Setting) -> Vec<u8> {
    let mut body = setting.bit().to_ne_bytes().to_vec();
    match setting {
        Setting::Trace(on) => body.extend(u32::from(*on).to_ne_bytes()),
        Setting::Depth(depth) => body.extend(depth.to_ne_bytes()),
        Setting::Threshold(ns) => body.extend(ns.to_ne_bytes()),
        Setting::Pattern(pattern) => body.extend(pattern_number(*pattern).to_ne_bytes()),
        Setting::Filter(text) | Setting::Caller(text) | Setting::Trigger(text) => {
            body.extend(text.bytes());
            body.push(0);
        }
    }
    body
}

fn pattern_number(pattern: Pattern) -> u32 {
    match pattern {
        Pattern::Simple => 1,
        Pattern::Regex => 2,
        Pattern::Glob => 3,
    }
}

fn decode(kind: u16, body: &[u8]) -> Result<Message, MessageError> {
    match kind {
        CLOSE | QUERY if !body.is_empty() => Err(MessageError::Body("a body where there is none")),
        CLOSE => Ok(Message::Close),
        QUERY => Ok(Message::Query),
        SET => decode_setting(body).map(Message::Set).map_err(MessageError::Body),
        OK if body.is_empty() => Ok(Message::Ok(None)),
        OK => number(body).map(|bits| Message::Ok(Some(bits))).map_err(MessageError::Body),
        ERROR => number(body).map(|errno| Message::Error(errno as i32)).map_err(MessageError::Body),
        other => Err(MessageError::Type(other)),
    }
}

fn decode_setting(body: &[u8]) -> Result<Setting, &'static str> {
    let (option, value) = body.split_at_checked(4).ok_or("an option without a number")?;
    match number(option)? {
        1 => match number(value)? {
            on @ (0 | 1) => Ok(Setting::Trace(on == 1)),
            _ => Err("a tracing state that is neither 0 nor 1"),
        },
        2 => match number(value)? {
            depth if depth as i32 > 0 => Ok(Setting::Depth(depth)),
            _ => Err("a depth that is not positive"),
        },
        4 => value
            .try_into()
            .map(|ns| Setting::Threshold(u64::from_ne_bytes(ns)))
            .map_err(|_| "a time of not 8 bytes"),
        8 => match number(value)? {
            1 => Ok(Setting::Pattern(Pattern::Simple)),
            2 => Ok(Setting::Pattern(Pattern::Regex)),
            3 => Ok(Setting::Pattern(Pattern::Glob)),
            _ => Err("an unknown kind of patterns"),
        },
        16 => text(value).map(Setting::Filter),
        32 => text(value).map(Setting::Caller),
        64 => text(value).map(Setting::Trigger),
        _ => Err("an unknown option"),
    }
}

fn number(bytes: &[u8]) -> Result<u32, &'static str> {
    bytes.try_into().map(u32::from_ne_bytes).map_err(|_| "a number of not 4 bytes")
}

/// With one NUL, at its end.
fn text(bytes: &[u8]) -> Result<String, &'static str> {
    let (last, text) = bytes.split_last().ok_or("an empty text")?;
    if *last != 0 || text.contains(&0) {
        return Err("a text that does not end with its NUL");
    }
    String::from_utf8(text.to_vec()).map_err(|_| "a text that is not UTF-8")
}
