//! Maps of sessions: `/proc/<pid>/maps`, reduced to a line for each module.

use fathom_symbols::maps::{self, Permissions};
use std::fmt;

/// A module in the memory of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapLine {
    /// Where its first segment begins: what module-relative addresses are relative to.
    pub start: u64,
    /// Where its last segment ends.
    pub end: u64,
    /// Access to its code, if it has some, else to its first segment.
    pub permissions: Permissions,
    /// Path, or `[stack]`.
    pub path: String,
    /// Build id, hex digits.
    pub build_id: Option<String>,
}

impl fmt::Display for MapLine {
    /// The line, without a newline. Offset, device and inode are always written as 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end, path) = (self.start, self.end, self.path.replace(['\n', '\r'], "?"));
        write!(f, "{start:x}-{end:x} {} 00000000 00:00 {:<26} {path}", self.permissions.text(), 0)?;
        match &self.build_id {
            Some(id) => write!(f, " build-id:{id}"),
            None => Ok(()),
        }
    }
}

/// Reduces the text of `/proc/<pid>/maps` to its modules and the stack, without build ids.
pub fn reduce_map(text: &[u8]) -> Vec<MapLine> {
    let mut lines: Vec<MapLine> = Vec::new();
    for mapping in maps::parse(text) {
        let path = String::from_utf8_lossy(mapping.name).into_owned();
        let module = path.starts_with('/');
        if !module && !path.starts_with("[stack") {
            continue;
        }
        match lines.last_mut() {
            Some(last) if module && last.path == path => {
                last.end = mapping.end;
                if mapping.permissions.execute && !last.permissions.execute {
                    last.permissions = mapping.permissions;
                }
            }
            _ => lines.push(MapLine {
                start: mapping.start,
                end: mapping.end,
                permissions: mapping.permissions,
                path,
                build_id: None,
            }),
        }
    }
    lines
}
