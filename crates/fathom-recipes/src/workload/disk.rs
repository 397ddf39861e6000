//! Disks: requests, dirty pages, work queues.

use super::{Run, WorkloadError, disk_dirs, failed};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What O_DIRECT wants of a buffer's address and of offsets.
const ALIGN: usize = 4096;

/// A file that is removed when it is no longer used.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn make() -> Result<(Temporary, File), WorkloadError> {
        let name = format!(".fathom-workload-{}", std::process::id());
        for dir in disk_dirs() {
            let path = dir.join(&name);
            if let Ok(file) =
                OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)
            {
                return Ok((Temporary { path }, file));
            }
        }
        Err(WorkloadError::Lacks(
            "no directory on a disk can be written to: go to one, or give a command of your own after --"
                .to_owned(),
        ))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing is to be done about one that cannot be removed.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The disks that can be read, without those that are only memory.
fn disks() -> Vec<PathBuf> {
    let mut names: Vec<String> = std::fs::read_dir("/sys/block")
        .map(|entries| {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    names.retain(|name| {
        let size = std::fs::read_to_string(format!("/sys/block/{name}/size")).unwrap_or_default();
        !["loop", "ram", "zram", "dm-", "md", "nbd"].iter().any(|memory| name.starts_with(memory))
            && size.trim().parse::<u64>().is_ok_and(|sectors| sectors > 0)
    });
    names.sort();
    names.into_iter().map(|name| PathBuf::from("/dev").join(name)).collect()
}

/// A disk opened to read past the page cache.
pub(super) struct Direct {
    file: File,
    blocks: u64,
    buffer: Vec<u8>,
    next: u64,
}

impl Direct {
    pub(super) fn open() -> Option<Direct> {
        let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
        disks().into_iter().find_map(|path| {
            let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
            let blocks = file.seek(SeekFrom::End(0)).ok()? / ALIGN as u64;
            (blocks > 64).then(|| Direct { file, blocks, buffer: vec![0; (32 + 1) * ALIGN], next: 1 })
        })
    }

    /// Reads so many blocks (at most 32) somewhere.
    pub(super) fn read(&mut self, blocks: usize) -> std::io::Result<()> {
        // Any sequence that does not repeat soon will do.
        self.next = self.next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = (self.next >> 33) % (self.blocks - 32);
        self.file.seek(SeekFrom::Start(place * ALIGN as u64))?;
        let start = self.buffer.as_ptr().align_offset(ALIGN);
        let wanted = blocks.clamp(1, 32) * ALIGN;
        self.file.read_exact(&mut self.buffer[start..start + wanted])
    }
}

/// Direct reads of several sizes, and a file that is written and synced.
pub(super) fn requests(run: &Run<'_>) -> Result<(), WorkloadError> {
    let mut disk = Direct::open();
    let file = Temporary::make();
    if disk.is_none() && file.is_err() {
        return Err(WorkloadError::Lacks("no disk can be read and no file on one written".to_owned()));
    }
    let begun = Instant::now();
    let mut file = file.ok();
    let mut round = 0;
    while run.goes_on(begun) {
        if let Some(disk) = &mut disk {
            for blocks in [1, 1, 1, 2, 4, 8, 32] {
                disk.read(blocks).map_err(failed("reading a disk"))?;
            }
        }
        if let Some((_, file)) = &mut file
            && round % 8 == 0
        {
            write_some(file, 64 << 10)?;
        }
        round += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Writes so many bytes from the beginning and has them written out.
fn write_some(file: &mut File, bytes: usize) -> Result<(), WorkloadError> {
    let doing = "writing a file";
    file.seek(SeekFrom::Start(0)).map_err(failed(doing))?;
    let block = vec![0x5a; 64 << 10];
    for _ in 0..bytes.div_ceil(block.len()) {
        file.write_all(&block).map_err(failed(doing))?;
    }
    file.sync_data().map_err(failed("syncing a file"))
}

/// Dirty pages, and `sync`, for which the flusher writes them.
pub(super) fn writeback(run: &Run<'_>) -> Result<(), WorkloadError> {
    let (_kept, mut file) = Temporary::make()?;
    let begun = Instant::now();
    let block = vec![0xa5; 256 << 10];
    loop {
        file.seek(SeekFrom::Start(0)).map_err(failed("writing a file"))?;
        for _ in 0..8 {
            file.write_all(&block).map_err(failed("writing a file"))?;
        }
        // fsync writes the pages itself; only sync leaves them to the flusher.
        rustix::fs::sync();
        if !run.goes_on(begun) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Things that end in work queues: a terminal's buffer, sockets, writing out.
pub(super) fn work(run: &Run<'_>) -> Result<(), WorkloadError> {
    let mut file = Temporary::make().ok();
    let begun = Instant::now();
    while run.goes_on(begun) {
        if let Ok(mut terminal) = OpenOptions::new().read(true).write(true).open("/dev/ptmx") {
            terminal.write_all(b"work\n").map_err(failed("writing to a terminal"))?;
        }
        if let Some((_, file)) = &mut file {
            write_some(file, 64 << 10)?;
        }
        rustix::fs::sync();
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
