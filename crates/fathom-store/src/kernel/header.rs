//! The `kernel_header` file: what is needed to read the pages beside it.
//!
//! ```text
//! PAGE_SIZE: 4096
//! LONG_SIZE: 8
//! ENDIAN: LE
//! TRACEFS: events/header_page: 205
//! (205 bytes)
//! TRACEFS: events/ftrace/funcgraph_entry/format: 446
//! (446 bytes)
//! ```

use super::Formats;
use fathom_ftrace::{Endian, Machine, PageLayout};

/// What the file says.
#[derive(Clone, Debug)]
pub struct KernelHeader {
    /// Bytes of a page of memory, which the machine's sub-buffers had unless `header_page` says otherwise.
    pub page_size: usize,
    /// The machine that recorded.
    pub machine: Machine,
    /// Copies of files of tracefs: their paths from its root, and what was in them.
    pub files: Vec<(String, String)>,
    /// What makes no sense, one line each.
    pub problems: Vec<String>,
}

/// No kernel has larger pages.
const LARGEST_PAGE: usize = 64 << 10;

impl KernelHeader {
    /// Reads the file's bytes. What is missing is as on most machines.
    pub fn parse(mut bytes: &[u8]) -> KernelHeader {
        let mut header = KernelHeader {
            page_size: 4096,
            machine: Machine::LITTLE64,
            files: Vec::new(),
            problems: Vec::new(),
        };
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
            let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
            bytes = bytes.get(end + 1..).unwrap_or_default();
            match line.split_once(": ") {
                Some(("TRACEFS", rest)) => {
                    let Some((name, size)) = rest.rsplit_once(": ") else {
                        header.problems.push(format!("'{line}' does not say how long the file is"));
                        continue;
                    };
                    let Ok(size) = size.trim().parse::<usize>() else {
                        header.problems.push(format!("'{size}' is not a number of bytes ({name})"));
                        continue;
                    };
                    let (text, rest) = bytes.split_at_checked(size).unwrap_or_else(|| {
                        header.problems.push(format!("{name} is cut off"));
                        (bytes, &[])
                    });
                    header.files.push((name.to_owned(), String::from_utf8_lossy(text).into_owned()));
                    bytes = rest;
                }
                Some((name, value)) => {
                    if !header.set(name, value.trim()) {
                        header.problems.push(format!("'{line}' is not understood"));
                    }
                }
                None if line.trim().is_empty() => {}
                None => header.problems.push(format!("'{line}' is not understood")),
            }
        }
        header
    }

    /// Takes one of the first lines; false when it makes no sense.
    fn set(&mut self, name: &str, value: &str) -> bool {
        match (name, value, value.parse::<usize>()) {
            ("PAGE_SIZE", _, Ok(size)) if size.is_power_of_two() && (512..=LARGEST_PAGE).contains(&size) => {
                self.page_size = size;
            }
            ("LONG_SIZE", _, Ok(size @ (4 | 8))) => self.machine.long_size = size as u8,
            ("ENDIAN", "LE", _) => self.machine.endian = Endian::Little,
            ("ENDIAN", "BE", _) => self.machine.endian = Endian::Big,
            _ => return false,
        }
        true
    }

    /// How the pages are laid out.
    pub fn layout(&self) -> PageLayout {
        let text = self.files.iter().find(|(name, _)| name == "events/header_page");
        let told = text.and_then(|(_, text)| PageLayout::parse(text, self.machine.endian).ok());
        told.filter(|layout| (512..=LARGEST_PAGE * 16).contains(&layout.size()))
            .unwrap_or_else(|| PageLayout::of(self.machine, self.page_size))
    }

    /// The formats of the events; what makes no sense is told.
    pub fn formats(&self, problems: &mut Vec<String>) -> Formats {
        let mut formats = Formats::new(self.machine);
        for (name, text) in &self.files {
            let Some((system, _)) = name
                .strip_prefix("events/")
                .and_then(|name| name.strip_suffix("/format"))
                .and_then(|name| name.split_once('/'))
            else {
                continue;
            };
            if let Err(error) = formats.add(system, text) {
                problems.push(format!("{name}: {error}"));
            }
        }
        formats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENTRY: &str = "name: funcgraph_entry\nID: 11\nformat:\n\
        \tfield:unsigned long func;\toffset:8;\tsize:8;\tsigned:0;\n\
        \tfield:int depth;\toffset:16;\tsize:4;\tsigned:1;\n";

    #[test]
    fn lines_and_files() {
        let text = format!(
            "PAGE_SIZE: 8192\nLONG_SIZE: 4\nENDIAN: BE\nTRACEFS: events/ftrace/funcgraph_entry/format: {}\n{ENTRY}\
             TRACEFS: events/x/y/format: 3\na: b",
            ENTRY.len()
        );
        let header = KernelHeader::parse(text.as_bytes());
        assert_eq!((header.page_size, header.machine.long_size), (8192, 4));
        assert_eq!(header.machine.endian, Endian::Big);
        assert_eq!(header.files.len(), 2);
        assert_eq!(header.layout().size(), 8192);
        assert_eq!(header.problems, ["'b' is not understood"]);
        let mut problems = Vec::new();
        let formats = header.formats(&mut problems);
        assert!(formats.has_functions());
        assert_eq!(problems, ["events/x/y/format: the format has no line 'name:'"]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let header = KernelHeader::parse(b"PAGE_SIZE: 3\nTRACEFS: a: x\nTRACEFS: b: 9\nabc");
        assert_eq!(
            header.problems,
            ["'PAGE_SIZE: 3' is not understood", "'x' is not a number of bytes (a)", "b is cut off"]
        );
        assert_eq!(header.page_size, 4096);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let header = KernelHeader::parse(&bytes);
            header.layout();
            header.formats(&mut Vec::new());
        }

        #[test]
        fn any_text_is_survived(text in "((PAGE_SIZE|LONG_SIZE|ENDIAN|TRACEFS): ([0-9]{1,6}|[a-z/_]{1,20})(: [0-9]{1,9})?\n){0,9}") {
            let header = KernelHeader::parse(text.as_bytes());
            header.layout();
            header.formats(&mut Vec::new());
        }
    }
}
