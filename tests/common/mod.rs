//! What several of the tests need.

use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Unpacks the recording of that name in `tests/kernel`: a ustar archive in a zstd file.
pub(crate) fn unpack(name: &str) -> TempDir {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel").join(format!("{name}.tar.zst"));
    let archive = zstd::stream::decode_all(fs::File::open(path).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut rest = archive.as_slice();
    while let Some((header, body)) = rest.split_at_checked(512).filter(|(header, _)| header[0] != 0) {
        let text = |range: std::ops::Range<usize>| {
            let bytes = header[range].split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        let size = usize::from_str_radix(text(124..136).trim(), 8).unwrap();
        let target = dir.path().join(text(0..100));
        match header[156] {
            b'5' => fs::create_dir_all(target).unwrap(),
            _ => fs::write(target, &body[..size]).unwrap(),
        }
        rest = &body[size.next_multiple_of(512)..];
    }
    dir
}
