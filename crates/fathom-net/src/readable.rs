//! What a recording that ends early needs so that it can be read. It takes its place on the disk when the recording begins:
//! most of those that end early do because the disk is full.

use crate::wire::Kind;
use fathom_store::{HEADER_SIZE, Info};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A header that says nothing.
const HEADER: &str = ".fathom-header";
/// Room for the tasks.
const ROOM: &str = ".fathom-room";
/// Enough for some 800 tasks.
const ROOM_SIZE: usize = 64 << 10;
/// An empty map.
const MAP: &str = ".fathom-map";
/// Map of the session that is made up for a recording whose own are missing.
const MADE_UP_MAP: &str = "sid-0000000000000000.map";

/// Takes the place that [`leave`] needs.
pub(crate) fn reserve(dir: &Path) -> io::Result<()> {
    fs::write(dir.join(HEADER), Info::default().to_bytes())?;
    fs::write(dir.join(MAP), "")?;
    let room = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join(ROOM))?;
    // A file of holes would take no place.
    room.write_all_at(&vec![0; ROOM_SIZE], 0)
}

/// The recording goes on: takes back what was made up, and reserves again.
pub(crate) fn take_back(dir: &Path) -> io::Result<()> {
    if dir.join(MADE_UP_MAP).symlink_metadata().is_ok() {
        fs::rename(dir.join("task.txt"), dir.join(ROOM))?;
        fs::rename(dir.join(MADE_UP_MAP), dir.join(MAP))?;
    }
    let reserved = reserve(dir);
    if reserved.is_err() {
        leave(dir)?;
    }
    reserved
}

/// Gives the place back that nobody needs.
pub(crate) fn release(dir: &Path) -> io::Result<()> {
    for name in [HEADER, ROOM, MAP] {
        match fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Puts `info` and `task.txt` where they are missing or empty: what is known from the files of records alone. Takes no
/// place on the disk beyond what is reserved.
pub(crate) fn leave(dir: &Path) -> io::Result<()> {
    let is_there = |name: &str, least: u64| dir.join(name).metadata().is_ok_and(|data| data.len() >= least);
    if !is_there("info", HEADER_SIZE as u64) {
        fs::rename(dir.join(HEADER), dir.join("info"))?;
    }
    let tasks = tasks(dir)?;
    if !is_there("task.txt", 1) && !tasks.is_empty() {
        write_tasks(dir, &text_of(&tasks))?;
        fs::rename(dir.join(MAP), dir.join(MADE_UP_MAP))?;
        fs::rename(dir.join(ROOM), dir.join("task.txt"))?;
    }
    release(dir)
}

/// The tasks that have records, with the time of the first, by that time.
fn tasks(dir: &Path) -> io::Result<Vec<(u64, i32)>> {
    let mut tasks = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(crate::spool::number_of);
        if let Some((Kind::Data, tid)) = number {
            let mut time = [0; 8];
            if File::open(entry.path()).and_then(|mut file| file.read_exact(&mut time)).is_ok() {
                tasks.push((u64::from_le_bytes(time), tid));
            }
        }
    }
    tasks.sort_unstable();
    Ok(tasks)
}

/// Which process a task is of is not known; all are taken for threads of the first.
fn text_of(tasks: &[(u64, i32)]) -> String {
    let stamp = |time: u64| format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000);
    let Some((first, pid)) = tasks.first() else { return String::new() };
    let mut text =
        format!("SESS timestamp={} pid={pid} sid=0000000000000000 exename=\"[unknown]\"\n", stamp(*first));
    for (time, tid) in tasks {
        text.push_str(&format!("TASK timestamp={} tid={tid} pid={pid}\n", stamp(*time)));
    }
    text
}

/// Overwrites the room. Tasks that it is too small for on a full disk are left out: readers find them by their records.
fn write_tasks(dir: &Path, text: &str) -> io::Result<()> {
    let mut room = OpenOptions::new().write(true).open(dir.join(ROOM))?;
    let (first, rest) = text.split_at(text.len().min(ROOM_SIZE));
    room.write_all_at(first.as_bytes(), 0)?;
    let mut len = text.len();
    if !rest.is_empty() && append(&mut room, rest).is_err() {
        len = first.rfind('\n').map_or(0, |at| at + 1);
    }
    room.set_len(len as u64)
}

fn append(room: &mut File, rest: &str) -> io::Result<()> {
    use std::io::Seek;
    room.seek(io::SeekFrom::End(0))?;
    room.write_all(rest.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// Blocks that the files take on the disk.
    fn blocks(dir: &Path) -> u64 {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().blocks()).sum()
    }

    fn with_tasks(count: i32) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        reserve(dir.path()).unwrap();
        for tid in 1..=count {
            fs::write(dir.path().join(format!("{tid}.dat")), [1; 16]).unwrap();
        }
        dir
    }

    #[test]
    fn a_full_disk_has_room_for_it() {
        let dir = with_tasks(400);
        // What a full disk leaves of a header that comes.
        fs::write(dir.path().join("info"), "").unwrap();
        let before = blocks(dir.path());
        leave(dir.path()).unwrap();
        assert!(blocks(dir.path()) <= before, "{} {before}", blocks(dir.path()));
        assert_eq!(fs::read(dir.path().join("info")).unwrap(), Info::default().to_bytes());
        assert_eq!(fs::read_to_string(dir.path().join("task.txt")).unwrap().lines().count(), 401);
        let hidden = |name: &str| dir.path().join(name).exists();
        assert!(![HEADER, ROOM, MAP].into_iter().any(hidden));
    }

    #[test]
    fn more_tasks_than_there_is_room_for() {
        let dir = with_tasks(2000);
        leave(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("task.txt")).unwrap().lines().count(), 2001);
        take_back(dir.path()).unwrap();
        assert!(!dir.path().join("task.txt").exists() && dir.path().join(MAP).exists());
        leave(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("task.txt")).unwrap().lines().count(), 2001);
    }

    #[test]
    fn what_has_come_stays() {
        let dir = with_tasks(1);
        let info = [7; HEADER_SIZE];
        fs::write(dir.path().join("info"), info).unwrap();
        fs::write(dir.path().join("task.txt"), "SESS").unwrap();
        leave(dir.path()).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["1.dat", "info", "task.txt"]);
        assert_eq!(fs::read(dir.path().join("info")).unwrap(), info);
    }
}
