//! The small text files of a trace.

use super::dat::Warn;
use crate::External;
use crate::task_file::parse_time;
use rustc_hash::FxHashMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::path::Path;

/// Largest text file that is read whole; that of a million forks has some 60 MB.
const LIMIT: u64 = 1 << 30;
/// Bytes of a message that are kept.
const MESSAGE: usize = 1023;

/// Reads a text file whole.
pub(crate) fn read_whole(path: &Path) -> std::io::Result<Vec<u8>> {
    let data = path.metadata()?;
    // A pipe would have to be waited for.
    if !data.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    if data.len() > LIMIT {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("larger than {} MiB", LIMIT >> 20)));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file. None if there is no such file; what can't be read is a warning.
pub(crate) fn read_small(path: &Path, warn: &dyn Warn) -> Option<String> {
    match read_whole(path) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => {
            warn.warn(format!("{}: cannot read: {e}", path.display()));
            None
        }
    }
}

/// Names of events by their ids: lines `EVENT: <id> <provider>:<name>`.
pub(crate) fn read_events(path: &Path, warn: &dyn Warn) -> FxHashMap<u64, String> {
    let text = read_small(path, warn).unwrap_or_default();
    let mut names = FxHashMap::default();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let parsed = line.strip_prefix("EVENT:").and_then(|rest| {
            let (id, name) = rest.trim().split_once(' ')?;
            Some((id.parse().ok()?, name.trim().to_owned()))
        });
        match parsed {
            Some((id, name)) => _ = names.insert(id, name),
            None => warn.warn(format!(
                "{}:{}: \"EVENT: <id> <name>\" expected, the line is ignored",
                path.display(),
                number + 1
            )),
        }
    }
    names
}

/// Messages by time: lines `<seconds>.<fraction> <message>`, blank lines and `#` comments between.
pub(crate) fn read_external(path: &Path, warn: &dyn Warn) -> Vec<External> {
    let text = read_small(path, warn).unwrap_or_default();
    let mut messages = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parsed = line.split_once([' ', '\t']).and_then(|(time, text)| Some((parse_time(time)?, text)));
        match parsed {
            Some((time, text)) => {
                let mut end = text.len().min(MESSAGE);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                messages.push(External { time, text: text[..end].to_owned() });
            }
            None => warn.warn(format!(
                "{}:{}: \"<seconds>.<fraction> <message>\" expected, the line is ignored",
                path.display(),
                number + 1
            )),
        }
    }
    messages.sort_by_key(|message| message.time);
    messages
}
