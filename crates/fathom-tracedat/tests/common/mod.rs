//! Fixtures of the tests: recordings of trace-cmd 3.1.6 on two kernels, with what it printed of them.
#![allow(dead_code)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

/// Every recording, as `KERNEL/NAME` without `.dat.zst`.
pub(crate) fn recordings() -> Vec<String> {
    let mut names = Vec::new();
    for dir in ["", "6.1/", "6.12/"] {
        for entry in std::fs::read_dir(data().join(dir)).expect("data").flatten() {
            let name = entry.file_name().into_string().expect("name");
            if let Some(name) = name.strip_suffix(".dat.zst") {
                names.push(format!("{dir}{name}"));
            }
        }
    }
    names.sort();
    assert!(names.len() > 14, "{names:?}");
    names
}

pub(crate) fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// A fixture's bytes, if there is such a fixture.
pub(crate) fn fixture(name: &str) -> Option<Vec<u8>> {
    let packed = std::fs::read(data().join(format!("{name}.zst"))).ok()?;
    Some(zstd::decode_all(packed.as_slice()).expect(name))
}

pub(crate) fn open(bytes: Vec<u8>, name: &str) -> fathom_tracedat::Recording {
    let source: Arc<dyn fathom_tracedat::Source> = Arc::new(bytes);
    fathom_tracedat::open_source(&source, name).expect(name)
}

/// What `trace-cmd report` prints with these arguments; `None` where there is no trace-cmd.
pub(crate) fn trace_cmd(args: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new("trace-cmd").arg("report").args(args).output().ok()?;
    assert!(
        output.status.success(),
        "trace-cmd report {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output.stdout)
}
