//! Writes `perf-cpu<N>.dat` files; `directory::perf` tells what is in them.

use crate::Error;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes of a record's header: type (u32), misc (u16), size of the record (u16).
const HEADER: usize = 8;

/// Appends whole records to the file of a processor.
pub(super) fn append(dir: &Path, cpu: u32, records: &[u8]) -> Result<(), Error> {
    append_whole(&dir.join(format!("perf-cpu{cpu}.dat")), records)
}

/// Appends to a file: all or nothing.
pub(super) fn append_whole(path: &Path, records: &[u8]) -> Result<(), Error> {
    let written = || -> io::Result<()> {
        let mut file = File::options().create(true).append(true).open(path)?;
        let len = file.metadata()?.len();
        file.write_all(records).inspect_err(|_| {
            // The disk is full: take back what did get onto it. If even that fails, readers stop at the half record.
            let _ = file.set_len(len);
        })
    };
    written().map_err(|e| Error::io(path, "write", e))
}

/// The files of all processors.
pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let is_perf = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let cpu = name.strip_prefix("perf-cpu").and_then(|n| n.strip_suffix(".dat"));
        cpu.is_some_and(|n| n.parse::<u32>().is_ok())
    };
    entries.map(|entry| entry.path()).filter(is_perf).collect()
}

/// Cuts off the half records that a writer which has died has left at the ends of the files.
pub(super) fn cut_off_halves(dir: &Path) -> Result<(), Error> {
    for path in files(dir) {
        let file = File::options().read(true).write(true).open(&path);
        let cut = file.and_then(|file| {
            let whole = whole_records(BufReader::new(&file), file.metadata()?.len())?;
            file.set_len(whole)
        });
        cut.map_err(|e| Error::io(&path, "cut", e))?;
    }
    Ok(())
}

/// Bytes of the whole records at the beginning.
fn whole_records(mut input: impl Read, len: u64) -> io::Result<u64> {
    let mut whole = 0;
    let mut header = [0; HEADER];
    while whole + HEADER as u64 <= len {
        input.read_exact(&mut header)?;
        let size = u64::from(u16::from_ne_bytes([header[6], header[7]]));
        if size < HEADER as u64 || whole + size > len {
            break;
        }
        io::copy(&mut input.by_ref().take(size - HEADER as u64), &mut io::sink())?;
        whole += size;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(len: usize) -> Vec<u8> {
        let mut bytes = vec![14, 0, 0, 0, 0, 0];
        bytes.extend((len as u16).to_ne_bytes());
        bytes.resize(len, 7);
        bytes
    }

    #[test]
    fn half_records_are_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), 3, &[record(24), record(8), record(40)].concat()).unwrap();
        let path = dir.path().join("perf-cpu3.dat");
        for (cut, left) in
            [(72, 72), (71, 32), (40, 32), (39, 32), (32, 32), (31, 24), (24, 24), (5, 0), (0, 0)]
        {
            let all = [record(24), record(8), record(40)].concat();
            fs::write(&path, &all[..cut]).unwrap();
            cut_off_halves(dir.path()).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), left, "{cut}");
        }
    }

    #[test]
    fn what_is_no_record_is_cut_off() {
        assert_eq!(whole_records(&[0; 64][..], 64).unwrap(), 0);
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), 0, &[]).unwrap();
        fs::write(dir.path().join("perf-cpux.dat"), "x").unwrap();
        assert_eq!(files(dir.path()), [dir.path().join("perf-cpu0.dat")]);
    }
}
