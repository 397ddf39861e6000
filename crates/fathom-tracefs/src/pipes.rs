//! The per-CPU raw pipes: whole sub-buffers as the kernel made them.

use crate::plan::Place;
use crate::stats::cpus;
use crate::{Error, Tracefs};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

/// Most sub-buffers that one system call reads.
const BATCH: usize = 64;

/// How often a read is tried again when the kernel has no memory for it.
const SHORTAGES: u32 = 200;

/// The wait between two tries.
const SHORTAGE: Duration = Duration::from_millis(10);

/// All pipes of a place.
#[derive(Debug)]
pub struct Pipes {
    pipes: Vec<RawPipe>,
    buffer: Vec<u8>,
    moving: Moving,
}

/// What [`Pipes::move_pages`] moves pages through.
#[derive(Debug)]
enum Moving {
    /// Not tried yet.
    Untried,
    /// A pipe: its two ends and its size in bytes.
    Pipe(OwnedFd, OwnedFd, usize),
    /// The kernel does not do it.
    Impossible,
}

/// `per_cpu/cpuN/trace_pipe_raw`, opened so that reading never waits.
#[derive(Debug)]
pub struct RawPipe {
    cpu: u32,
    path: PathBuf,
    file: File,
    subbuffer: usize,
}

impl Pipes {
    /// Opens those of all CPUs.
    ///
    /// # Errors
    ///
    /// If one cannot be opened.
    pub fn open(tracefs: &Tracefs, place: &Place) -> Result<Pipes, Error> {
        let subbuffer = subbuffer_size(tracefs, place);
        let mut pipes = Vec::new();
        for cpu in cpus(tracefs, place)? {
            let path = tracefs.path(&format!("{}per_cpu/cpu{cpu}/trace_pipe_raw", place.prefix()));
            let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(nonblocking)
                .open(&path)
                .map_err(|source| Error::Io { doing: "opening", path: path.clone(), source })?;
            let pipe = RawPipe { cpu, path, file, subbuffer };
            pipe.prime()?;
            pipes.push(pipe);
        }
        Ok(Pipes { pipes, buffer: vec![0; subbuffer * BATCH], moving: Moving::Untried })
    }

    /// The CPUs, in the order of their numbers.
    pub fn cpus(&self) -> impl Iterator<Item = u32> {
        self.pipes.iter().map(|pipe| pipe.cpu)
    }

    /// Size of a sub-buffer in bytes, header included.
    pub fn subbuffer_size(&self) -> usize {
        self.buffer.len() / BATCH
    }

    /// Waits until a buffer is as full as `buffer_percent` says, or the time is over.
    ///
    /// # Errors
    ///
    /// As of poll. A signal ends the wait without an error.
    pub fn wait(&self, time: Duration) -> io::Result<()> {
        self.wait_with(time, &[])
    }

    /// The same, and one of `others` ends the wait as well.
    ///
    /// # Errors
    ///
    /// As of poll. A signal ends the wait without an error.
    pub fn wait_with(&self, time: Duration, others: &[BorrowedFd<'_>]) -> io::Result<()> {
        let pipes = self.pipes.iter().map(|pipe| PollFd::new(&pipe.file, PollFlags::IN));
        let others = others.iter().map(|other| PollFd::from_borrowed_fd(*other, PollFlags::IN));
        let mut fds: Vec<PollFd<'_>> = pipes.chain(others).collect();
        let time = rustix::time::Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what all CPUs have, and gives it away in pieces of whole sub-buffers with the number of the CPU. Returns how
    /// many bytes there were. `limit` is how many sub-buffers are taken of a CPU at most.
    ///
    /// # Errors
    ///
    /// Of reading, or those of `sink`.
    pub fn drain<E: From<Error>>(
        &mut self,
        limit: usize,
        mut sink: impl FnMut(u32, &[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut total = 0;
        for pipe in &self.pipes {
            let mut left = limit;
            while left > 0 {
                let most = left.min(BATCH) * pipe.subbuffer;
                let got = pipe.read(&mut self.buffer[..most])?;
                if got == 0 {
                    break;
                }
                sink(pipe.cpu, &self.buffer[..got])?;
                total += got as u64;
                left = left.saturating_sub(got / pipe.subbuffer);
                if got < most {
                    break;
                }
            }
        }
        Ok(total)
    }
}

impl Pipes {
    /// Moves the pages that are full to files without looking at them: they are taken out of the ring buffer and not
    /// copied. `file` gives the one of a CPU, at whose position they are written. Returns how many bytes there were; `None` if
    /// the kernel does not do that, and [`Pipes::drain`] has to.
    ///
    /// # Errors
    ///
    /// Of moving, or those of `file`.
    pub fn move_pages<'f, E: From<Error>>(
        &mut self,
        mut file: impl FnMut(u32) -> Result<&'f File, E>,
    ) -> Result<Option<u64>, E> {
        if let Moving::Untried = self.moving {
            self.moving = self.way_to_move();
        }
        let Moving::Pipe(from, into, size) = &self.moving else { return Ok(None) };
        let mut total = 0;
        for pipe in &self.pipes {
            loop {
                let got = match pipe.take(into, *size) {
                    Ok(0) | Err(Errno::NOMEM) => break,
                    Ok(got) => got,
                    // Told by the first try, before anything was moved.
                    Err(Errno::INVAL) if total == 0 => {
                        self.moving = Moving::Impossible;
                        return Ok(None);
                    }
                    Err(error) => return Err(pipe.cannot_read(error).into()),
                };
                put(from, file(pipe.cpu)?, got).map_err(|source| Error::Io {
                    doing: "saving the pages of",
                    path: pipe.path.clone(),
                    source,
                })?;
                total += got as u64;
            }
        }
        Ok(Some(total))
    }

    fn way_to_move(&self) -> Moving {
        // Larger sub-buffers are several pages each, which no kernel takes apart alike.
        if self.subbuffer_size() != rustix::param::page_size() {
            return Moving::Impossible;
        }
        let Ok((from, into)) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC) else { return Moving::Impossible };
        // The most that a user is given, where an administrator has not changed it; else what it has.
        let _ = rustix::pipe::fcntl_setpipe_size(&into, 1 << 20);
        match rustix::pipe::fcntl_getpipe_size(&into) {
            Ok(size) => Moving::Pipe(from, into, size),
            Err(_) => Moving::Impossible,
        }
    }
}

/// Writes so many bytes that are in a pipe to a file.
fn put(pipe: &OwnedFd, file: &File, mut bytes: usize) -> io::Result<()> {
    while bytes > 0 {
        match rustix::pipe::splice(pipe, None, file, None, bytes, SpliceFlags::MOVE) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(done) => bytes -= done,
            Err(Errno::INTR) => {}
            // A file system that nothing can be moved to, or a file that is open for appending.
            Err(Errno::INVAL) => return copy(pipe, file, bytes),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The same by copying.
fn copy(pipe: &OwnedFd, mut file: &File, bytes: usize) -> io::Result<()> {
    let mut piece = vec![0; bytes];
    let mut rest = piece.as_mut_slice();
    while !rest.is_empty() {
        match rustix::io::read(pipe, &mut *rest) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(got) => rest = &mut rest[got..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    file.write_all(&piece)
}

impl RawPipe {
    /// Takes full pages into a pipe, at most so many bytes; 0 when there are none.
    fn take(&self, into: &OwnedFd, bytes: usize) -> rustix::io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        loop {
            match rustix::pipe::splice(&self.file, None, into, None, bytes, flags) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(0),
                other => return other,
            }
        }
    }

    /// Lets the kernel allocate the page that it reads through, before there is a load.
    ///
    /// It does so at the first read of an open file, whatever the size, and keeps the page; and it does not try hard
    /// (`__GFP_NORETRY`), so that the first read under memory pressure, which is what is looked at then, can fail. Reading
    /// nothing takes no data away.
    fn prime(&self) -> Result<(), Error> {
        match patiently(|| rustix::io::read(&self.file, &mut [0_u8; 0])) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.cannot_read(error)),
        }
    }

    fn cannot_read(&self, error: Errno) -> Error {
        Error::Io { doing: "reading", path: self.path.clone(), source: error.into() }
    }

    /// Reads whole sub-buffers; 0 when there is nothing.
    ///
    /// The file has no vectored read of its own, so that the kernel reads one sub-buffer into each part: many for one
    /// system call, where a larger buffer would get just one.
    fn read(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut parts: Vec<IoSliceMut<'_>> = buffer.chunks_mut(self.subbuffer).map(IoSliceMut::new).collect();
        patiently(|| rustix::io::readv(&self.file, &mut parts)).map_err(|error| self.cannot_read(error))
    }
}

/// Reads again where a signal came, or where the kernel has no memory just now: it has some again when pages were written
/// out or a process was killed, and until then the buffer keeps what there is. 0 when there is nothing to read.
fn patiently(mut read: impl FnMut() -> rustix::io::Result<usize>) -> rustix::io::Result<usize> {
    let mut shortages = 0;
    loop {
        match read() {
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            Err(Errno::NOMEM) if shortages < SHORTAGES => {
                shortages += 1;
                std::thread::sleep(SHORTAGE);
            }
            other => return other,
        }
    }
}

/// The size of a sub-buffer: what `header_page` says of its data, with what stands before; a page where nothing is said.
fn subbuffer_size(tracefs: &Tracefs, place: &Place) -> usize {
    let prefix = place.prefix();
    let own = tracefs.read(&format!("{prefix}events/header_page"));
    let text = own.or_else(|_| tracefs.read("events/header_page")).unwrap_or_default();
    subbuffer_size_in(&text).unwrap_or(4096)
}

/// The size of a sub-buffer by the text of `header_page`, as of `field: char data; offset:16; size:4080; signed:1;`.
pub fn subbuffer_size_in(header_page: &str) -> Option<usize> {
    let line = header_page.lines().find(|line| line.contains(" data;"))?;
    let number = |name: &str| -> Option<usize> {
        line.split(';').find_map(|part| part.trim().strip_prefix(name)?.parse().ok())
    };
    let size = number("offset:")?.checked_add(number("size:")?)?;
    (16..=1 << 26).contains(&size).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tracefs whose raw pipe is a file, with so many pages of 4096 bytes.
    fn with_pages(count: u8) -> (tempfile::TempDir, Pipes) {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            std::fs::write(path, content).expect("a file");
        };
        write(
            "events/header_page",
            b"\tfield: u64 timestamp;\toffset:0;\tsize:8;\n\tfield: char data;\toffset:16;\tsize:4080;\n",
        );
        let pages: Vec<u8> = (0..count).flat_map(|number| [number; 4096]).collect();
        write("per_cpu/cpu0/trace_pipe_raw", &pages);
        let pipes = Pipes::open(&Tracefs::at(dir.path()), &Place::Top).expect("pipes");
        (dir, pipes)
    }

    #[test]
    fn pages_are_moved_to_a_file() {
        // More than the pipe between takes at once; nothing is moved where pages of memory are of another size.
        let (dir, mut pipes) = with_pages(200);
        if rustix::param::page_size() != 4096 {
            return assert_eq!(
                pipes.move_pages(|_| -> Result<&File, Error> { unreachable!() }).ok(),
                Some(None)
            );
        }
        for appending in [false, true] {
            let path = dir.path().join(format!("pages{appending}"));
            let file =
                OpenOptions::new().create(true).write(!appending).append(appending).open(&path).unwrap();
            // A file that is open for appending takes a copy.
            let moved = pipes.move_pages(|cpu| {
                assert_eq!(cpu, 0);
                Ok::<&File, Error>(&file)
            });
            assert_eq!(moved.expect("moved"), Some(200 * 4096));
            let there = std::fs::read(dir.path().join("per_cpu/cpu0/trace_pipe_raw")).unwrap();
            assert!(std::fs::read(&path).unwrap() == there);
            pipes = Pipes::open(&Tracefs::at(dir.path()), &Place::Top).expect("pipes");
        }
        let (_dir, mut pipes) = with_pages(0);
        let nothing = pipes.move_pages(|_| -> Result<&File, Error> { unreachable!() });
        assert_eq!(nothing.expect("moved"), Some(0));
    }

    #[test]
    fn a_shortage_of_memory_that_passes_is_waited_for() {
        let mut answers = vec![Ok(8), Err(Errno::NOMEM), Err(Errno::INTR), Err(Errno::NOMEM)];
        assert_eq!(patiently(|| answers.pop().expect("an answer")), Ok(8));
        assert_eq!(patiently(|| Err(Errno::AGAIN)), Ok(0));
        assert_eq!(patiently(|| Err(Errno::IO)), Err(Errno::IO));
    }

    #[test]
    fn a_shortage_of_memory_that_lasts_is_an_error() {
        let mut tries = 0;
        let read = || {
            tries += 1;
            Err(Errno::NOMEM)
        };
        assert_eq!(patiently(read), Err(Errno::NOMEM));
        assert_eq!(tries, SHORTAGES + 1);
    }

    #[test]
    fn the_size_of_a_subbuffer() {
        let text = "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;\n";
        assert_eq!(subbuffer_size_in(text), Some(4096));
        assert_eq!(subbuffer_size_in(""), None);
        assert_eq!(subbuffer_size_in("field: char data; offset:16; size:99999999999;"), None);
    }
}
