//! The functions that ftrace can trace.

use crate::{Error, Tracefs};
use fathom_filter::nearest::nearest;
use std::ops::Range;

/// Names of `available_filter_functions`, sorted, each once.
#[derive(Debug, Default)]
pub struct Functions {
    text: String,
    names: Vec<Range<usize>>,
}

impl Functions {
    /// Reads the list of a kernel: 36 to 42 thousand lines.
    ///
    /// # Errors
    ///
    /// If the file is not there, or not open to us (as under lockdown).
    pub fn read(tracefs: &Tracefs) -> Result<Functions, Error> {
        tracefs.read("available_filter_functions").map(Functions::of)
    }

    /// Takes a text of the same form: a name a line, with ` [MODULE]` behind it.
    pub fn of(text: String) -> Functions {
        let mut names = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let name = line.split_ascii_whitespace().next().unwrap_or("");
            if !name.is_empty() {
                let at = start + line.find(name).unwrap_or(0);
                names.push(at..at + name.len());
            }
            start += line.len();
        }
        names.sort_unstable_by(|a, b| text[a.clone()].cmp(&text[b.clone()]));
        names.dedup_by(|a, b| text[a.clone()] == text[b.clone()]);
        Functions { text, names }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// All names in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|range| &self.text[range.clone()])
    }

    /// Whether there is one of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.names.binary_search_by(|range| self.text[range.clone()].cmp(name)).is_ok()
    }

    /// How many a glob takes in; a name is a glob that takes in one. `:mod:NAME` behind it is not looked at.
    pub fn matching(&self, glob: &str) -> usize {
        let glob = glob.split(":mod:").next().unwrap_or(glob);
        if glob.is_empty() {
            return self.len();
        }
        if !is_glob(glob) {
            return usize::from(self.contains(glob));
        }
        self.iter().filter(|name| matches(glob, name)).count()
    }

    /// The one that was probably meant.
    pub fn nearest(&self, name: &str) -> Option<String> {
        nearest(name, self.iter())
    }
}

/// Whether a word is a pattern.
pub fn is_glob(word: &str) -> bool {
    word.contains(['*', '?', '['])
}

/// Whether a name is matched by a shell's wildcards: `*`, `?`, `[a-z]`, `[!a-z]`.
pub fn matches(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.as_bytes(), name.as_bytes());
    let (mut g, mut n) = (0, 0);
    // Where the last star stood, and what it has taken in so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if glob.get(g) == Some(&b'*') {
            star = Some((g, n));
            g += 1;
        } else if let Some(used) = one(&glob[g..], name[n]) {
            g += used;
            n += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            g = at + 1;
            n = taken + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|&b| b == b'*')
}

/// How much of a pattern stands for the one byte, if it does.
fn one(glob: &[u8], byte: u8) -> Option<usize> {
    match *glob.first()? {
        b'?' => Some(1),
        b'[' => {
            let Some(end) = glob.iter().skip(2).position(|&b| b == b']').map(|at| at + 2) else {
                return (byte == b'[').then_some(1);
            };
            let not = matches!(glob[1], b'!' | b'^');
            let set = &glob[1 + usize::from(not)..end];
            (in_set(set, byte) != not).then_some(end + 1)
        }
        other => (other == byte).then_some(1),
    }
}

fn in_set(set: &[u8], byte: u8) -> bool {
    let mut at = 0;
    while at < set.len() {
        if set.get(at + 1) == Some(&b'-') && at + 2 < set.len() {
            if (set[at]..=set[at + 2]).contains(&byte) {
                return true;
            }
            at += 3;
        } else {
            if set[at] == byte {
                return true;
            }
            at += 1;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_list_is_sorted_and_names_are_there_once() {
        let list = "vfs_read\next4_sync [ext4]\nvfs_read\n\nvfs_write\n";
        let functions = Functions::of(list.into());
        assert_eq!(functions.iter().collect::<Vec<_>>(), ["ext4_sync", "vfs_read", "vfs_write"]);
        assert!(functions.contains("ext4_sync"));
        assert!(!functions.contains("vfs_"));
        assert_eq!(functions.matching("vfs_*"), 2);
        assert_eq!(functions.matching("vfs_read"), 1);
        assert_eq!(functions.matching("*:mod:ext4"), 3);
        assert_eq!(functions.nearest("vfs_raed").as_deref(), Some("vfs_read"));
    }

    #[test]
    fn wildcards() {
        for (glob, name, is) in [
            ("*", "", true),
            ("a*b?c", "axxbyc", true),
            ("*spin?lock*", "_raw_spin_lock_irq", true),
            ("vfs_*", "xvfs_read", false),
            ("ksoftirqd/*", "ksoftirqd/0", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[x", "[x", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(glob, name), is, "{glob} {name}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_is_too_odd(glob in ".{0,12}", name in ".{0,12}") {
            matches(&glob, &name);
            prop_assert!(matches("*", &name));
        }
    }
}
