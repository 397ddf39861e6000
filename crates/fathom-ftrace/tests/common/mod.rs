//! The recordings that the tests decode: real kernels, each with the kernel's own text beside the raw pages.
#![allow(dead_code)]

use fathom_ftrace::{CpuReader, Endian, Events, Format, Merge, PageLayout};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// The kernels that were recorded.
pub(crate) const KERNELS: [&str; 4] = ["6.1", "6.12", "6.12-arm64", "6.12-all-tracers"];

/// The files of one kernel by path.
pub(crate) struct Bed {
    pub(crate) kernel: &'static str,
    files: BTreeMap<String, Vec<u8>>,
}

pub(crate) fn unpack(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut decoder = zstd::Decoder::new(file).unwrap();
    decoder.window_log_max(27).unwrap();
    let mut bytes = Vec::new();
    decoder.read_to_end(&mut bytes).unwrap();
    bytes
}

impl Bed {
    pub(crate) fn open(kernel: &'static str) -> Bed {
        let tar = unpack(&format!("{kernel}.tar.zst"));
        let mut files = BTreeMap::new();
        let mut at = 0;
        while let Some(header) = tar.get(at..at + 512).filter(|header| header[0] != 0) {
            let text = |range: std::ops::Range<usize>| {
                String::from_utf8_lossy(header[range].split(|byte| *byte == 0).next().unwrap()).into_owned()
            };
            let size = usize::from_str_radix(text(124..136).trim(), 8).unwrap();
            let name = text(0..100);
            if header[156] == b'0' {
                files.insert(
                    name.trim_start_matches("./").to_owned(),
                    tar[at + 512..at + 512 + size].to_vec(),
                );
            }
            at += 512 + size.next_multiple_of(512);
        }
        assert!(files.len() > 100, "{kernel}: {} files", files.len());
        Bed { kernel, files }
    }

    pub(crate) fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    pub(crate) fn text(&self, path: &str) -> String {
        String::from_utf8_lossy(self.file(path).unwrap_or_default()).into_owned()
    }

    /// The directories that have the kernel's text.
    pub(crate) fn sets(&self) -> Vec<String> {
        let sets: Vec<String> =
            self.files.keys().filter_map(|path| path.strip_suffix("/trace")).map(str::to_owned).collect();
        assert!(sets.len() >= 15, "{}: {sets:?}", self.kernel);
        sets
    }

    pub(crate) fn layout(&self) -> PageLayout {
        PageLayout::parse(&self.text("events/header_page"), Endian::Little).unwrap()
    }

    /// All formats that a set may use: its own come last, so they win.
    pub(crate) fn events(&self, set: &str) -> Events {
        let mut events = Events::default();
        for prefix in ["events/".to_owned(), format!("{set}/events/")] {
            for (path, bytes) in &self.files {
                if let Some(rest) = path.strip_prefix(&prefix)
                    && let Some(rest) = rest.strip_suffix("/format")
                {
                    let system = rest.split('/').next().unwrap();
                    let text = String::from_utf8_lossy(bytes);
                    events.add(Format::parse(system, &text, self.layout().machine).unwrap());
                }
            }
        }
        events
    }

    pub(crate) fn merge(&self, set: &str, layout: PageLayout) -> Merge<&[u8]> {
        let cpus = (0..64)
            .filter_map(|cpu| Some((cpu, self.file(&format!("{set}/cpu{cpu}/trace_pipe_raw"))?)))
            .map(|(cpu, pages)| (cpu, CpuReader::new(pages, layout)))
            .collect();
        Merge::new(cpus)
    }
}
