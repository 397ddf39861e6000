//! Analyses of large modules, kept from one recording to the next.
//!
//! Nothing here may stop a recording: what cannot be read is analysed, what cannot be written is not kept, and the user is told
//! if there is something to put right. What is kept is the proof that code may be changed, so files that others could have
//! written are not read.

use fathom_patch::{Analysis, Fingerprint, Unusable};
use fathom_symbols::elf::Image;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Modules with less code are analysed faster than anything is looked up. Bytes.
const WORTH: usize = 256 << 10;
/// The most bytes of one file; an analysis of a million functions takes a tenth.
const FILE_LIMIT: u64 = 64 << 20;
/// The most bytes of all files, and the most files.
const LIMIT: (u64, usize) = (128 << 20, 512);
/// A file of this age that is not finished never will be.
const UNFINISHED: Duration = Duration::from_secs(3600);
const SUFFIX: &str = ".plan";
const PREFIX_UNFINISHED: &str = ".new-";

/// A directory of analyses.
#[derive(Debug)]
pub(crate) struct PlanCache {
    path: PathBuf,
    limit: (u64, usize),
    worth: usize,
    /// What the user should know.
    notes: Vec<String>,
    /// Something is wrong with the directory.
    is_off: bool,
}

impl PlanCache {
    /// Nothing is touched before there is something to look up.
    pub(crate) fn new(path: &Path) -> PlanCache {
        PlanCache { path: path.to_path_buf(), limit: LIMIT, worth: WORTH, notes: Vec::new(), is_off: false }
    }

    /// What the user should know, once.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// The analysis of a module: the one that is kept, or else a new one, which is kept.
    pub(crate) fn analysis(&mut self, image: &Image) -> Analysis {
        let analyse = || fathom_patch::analyse(image, &fathom_patch::Options::default());
        let size: usize = image.code().iter().map(|(_, bytes)| bytes.len()).sum();
        if self.is_off || size < self.worth {
            return analyse();
        }
        let Some(fingerprint) = fathom_patch::fingerprint(image) else { return analyse() };
        let dir = match open_dir(&self.path) {
            Ok(dir) => dir,
            Err(reason) => {
                self.off(&reason);
                return analyse();
            }
        };
        let name = name_of(image, &fingerprint);
        if let Some(kept) = read(&dir, &name) {
            match fathom_patch::from_bytes(&kept, image, &fingerprint) {
                Ok(analysis) => return analysis,
                Err(Unusable::Other | Unusable::Damaged) => {}
            }
        }
        let analysis = analyse();
        if let Some(bytes) = fathom_patch::to_bytes(&analysis, image, &fingerprint)
            && let Err(error) = write(&dir, &name, &bytes).and_then(|()| shrink(&dir, self.limit))
        {
            self.off(&error.to_string());
        }
        analysis
    }

    fn off(&mut self, reason: &str) {
        let path = self.path.display();
        self.notes.push(format!(
            "analyses of programs are not kept in {path}: {reason}; --no-plan-cache does without"
        ));
        self.is_off = true;
    }
}

/// The file of a module: its build id, and the beginning of its fingerprint, so that it and its stripped copy do not
/// push each other out.
fn name_of(image: &Image, fingerprint: &Fingerprint) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let id = image.build_id().filter(|id| id.len() <= 64 && id.bytes().all(|c| c.is_ascii_hexdigit()));
    match id {
        Some(id) => format!("{id}-{}{SUFFIX}", hex(&fingerprint[..8])),
        None => format!("{}{SUFFIX}", hex(&fingerprint[..20])),
    }
}

/// Opens the directory, makes it if it is not there, and checks that nobody else can write to it.
fn open_dir(path: &Path) -> Result<OwnedFd, String> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::empty());
    let dir = match open() {
        Err(Errno::NOENT) => {
            let mode = Mode::from_raw_mode(0o700);
            for dir in path.ancestors().take(3).collect::<Vec<_>>().into_iter().rev() {
                match rustix::fs::mkdir(dir, mode) {
                    Ok(()) | Err(Errno::EXIST | Errno::ISDIR) => {}
                    Err(error) => return Err(format!("it cannot be made: {error}")),
                }
            }
            open()
        }
        opened => opened,
    };
    let dir = dir.map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => "it is no directory".to_owned(),
        error => error.to_string(),
    })?;
    let stat = rustix::fs::fstat(&dir).map_err(|error| error.to_string())?;
    safe(&stat)?;
    Ok(dir)
}

/// Whether only this user can have written something.
fn safe(stat: &rustix::fs::Stat) -> Result<(), String> {
    let uid = rustix::process::geteuid().as_raw();
    if stat.st_uid != uid {
        return Err(format!("it belongs to user {}", stat.st_uid));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(format!("others can write to it (mode {:o})", stat.st_mode & 0o7777));
    }
    Ok(())
}

/// A whole file. Whatever is wrong with it, it is written anew.
fn read(dir: &OwnedFd, name: &str) -> Option<Vec<u8>> {
    // A pipe of this name must not make anybody wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty()).ok()?);
    let stat = rustix::fs::fstat(&file).ok()?;
    let size = u64::try_from(stat.st_size).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || size > FILE_LIMIT {
        return None;
    }
    safe(&stat).ok()?;
    let mut bytes = Vec::new();
    (&file).take(FILE_LIMIT).read_to_end(&mut bytes).ok()?;
    // The oldest go first: this one is of use.
    let _ = file.set_modified(SystemTime::now());
    Some(bytes)
}

/// Writes a file that is whole or not there.
fn write(dir: &OwnedFd, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    if bytes.len() as u64 > FILE_LIMIT {
        return Ok(());
    }
    let new = format!("{PREFIX_UNFINISHED}{}-{name}", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let _ = rustix::fs::unlinkat(dir, &new, AtFlags::empty());
    let mut file = File::from(rustix::fs::openat(dir, &new, flags, Mode::from_raw_mode(0o600))?);
    let written = file.write_all(bytes).and_then(|()| Ok(rustix::fs::renameat(dir, &new, dir, name)?));
    if written.is_err() {
        let _ = rustix::fs::unlinkat(dir, &new, AtFlags::empty());
    }
    written
}

/// Removes the files that have not been of use for longest, as many as are too many, and what was never finished.
fn shrink(dir: &OwnedFd, (bytes, files): (u64, usize)) -> std::io::Result<()> {
    let mut all = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        let (is_whole, is_unfinished) = (name.ends_with(SUFFIX), name.starts_with(PREFIX_UNFINISHED));
        if !is_whole && !is_unfinished {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let time = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or_default())
            + Duration::from_nanos(stat.st_mtime_nsec);
        if is_unfinished {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            if now.saturating_sub(time) > UNFINISHED {
                let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
            }
        } else {
            all.push((time, u64::try_from(stat.st_size).unwrap_or_default(), name.to_owned()));
        }
    }
    all.sort_by(|a, b| b.cmp(a));
    let mut room = bytes;
    for (index, (_, size, name)) in all.iter().enumerate() {
        room = room.saturating_sub(*size);
        if room == 0 || index >= files {
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    const PROGRAM: &[u8] = include_bytes!("../../../fuzz/corpus/patch/program");
    const LIBRARY: &[u8] = include_bytes!("../../../fuzz/corpus/patch/library");

    fn image(bytes: &[u8]) -> Image {
        Image::parse(bytes.to_vec()).unwrap()
    }

    fn plain(bytes: &[u8]) -> Analysis {
        fathom_patch::analyse(&image(bytes), &fathom_patch::Options::default())
    }

    fn cache(path: &Path) -> PlanCache {
        PlanCache { worth: 0, ..PlanCache::new(path) }
    }

    fn files(path: &Path) -> Vec<PathBuf> {
        let mut all: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    }

    #[test]
    fn the_second_time_is_read_and_damage_is_repaired() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b/plans");
        assert_eq!(cache(&path).analysis(&image(PROGRAM)), plain(PROGRAM));
        let kept = files(&path);
        assert_eq!(kept.len(), 1);
        let (whole, made) = (fs::read(&kept[0]).unwrap(), fs::metadata(&kept[0]).unwrap());
        assert_eq!((made.mode() & 0o777, fs::metadata(&path).unwrap().mode() & 0o777), (0o600, 0o700));
        assert_eq!(cache(&path).analysis(&image(PROGRAM)), plain(PROGRAM));
        assert_eq!(fs::metadata(&kept[0]).unwrap().ino(), made.ino(), "it was not written again");
        for damaged in [&whole[..whole.len() / 2], b"", &[0xff; 200]] {
            fs::write(&kept[0], damaged).unwrap();
            let mut cache = cache(&path);
            assert_eq!(cache.analysis(&image(PROGRAM)), plain(PROGRAM));
            assert_eq!(cache.take_notes(), Vec::<String>::new());
            assert_eq!(fs::read(&kept[0]).unwrap(), whole);
        }
    }

    /// A file that says of no function that it is patched is seen to be read, or not.
    fn nothing_is_patched(path: &Path) -> PathBuf {
        let kept = image(PROGRAM);
        let mut none = plain(PROGRAM);
        none.functions.truncate(1);
        let fingerprint = fathom_patch::fingerprint(&kept).unwrap();
        let bytes = fathom_patch::to_bytes(&none, &kept, &fingerprint).unwrap();
        let file = path.join(name_of(&kept, &fingerprint));
        fs::create_dir_all(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(&file, bytes).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    #[test]
    fn what_others_could_have_written_is_not_read() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("plans");
        let file = nothing_is_patched(&path);
        assert_eq!(cache(&path).analysis(&image(PROGRAM)).functions.len(), 1, "this one is");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o622)).unwrap();
        assert_eq!(cache(&path).analysis(&image(PROGRAM)), plain(PROGRAM));
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600, "it was written anew");

        nothing_is_patched(&path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let mut open = cache(&path);
        assert_eq!(open.analysis(&image(PROGRAM)), plain(PROGRAM));
        let notes = open.take_notes();
        assert!(notes.len() == 1 && notes[0].contains("others can write to it (mode 777)"), "{notes:?}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();

        let link = place.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut linked = cache(&link);
        assert_eq!(linked.analysis(&image(PROGRAM)), plain(PROGRAM));
        assert!(linked.take_notes()[0].contains("no directory"));

        fs::remove_file(&file).unwrap();
        let elsewhere = place.path().join("elsewhere");
        fs::rename(nothing_is_patched(&path), &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        assert_eq!(cache(&path).analysis(&image(PROGRAM)), plain(PROGRAM));
    }

    #[test]
    fn places_that_cannot_be_made_are_told_once() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        let mut cache = cache(&file.join("plans"));
        for _ in 0..2 {
            assert_eq!(cache.analysis(&image(PROGRAM)), plain(PROGRAM));
        }
        assert_eq!(cache.take_notes().len(), 1);
    }

    #[test]
    fn the_oldest_go() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("plans");
        let mut few = PlanCache { limit: (1 << 20, 2), ..cache(&path) };
        few.analysis(&image(PROGRAM));
        let first = files(&path);
        let day = Duration::from_secs(24 * 3600);
        fs::File::open(&first[0]).unwrap().set_modified(SystemTime::now() - 2 * day).unwrap();
        few.analysis(&image(LIBRARY));
        let library = files(&path).into_iter().find(|file| *file != first[0]).unwrap();
        fs::File::open(&library).unwrap().set_modified(SystemTime::now() - day).unwrap();
        // It has been of use.
        few.analysis(&image(PROGRAM));
        let unfinished = path.join(".new-1-x.plan");
        fs::write(&unfinished, "").unwrap();
        fs::File::open(&unfinished).unwrap().set_modified(SystemTime::now() - day).unwrap();
        fs::write(path.join("something else"), "").unwrap();
        few.analysis(&image(include_bytes!("../../../fuzz/corpus/patch/stripped")));
        let left = files(&path);
        assert!(left.contains(&first[0]) && !left.contains(&library) && !left.contains(&unfinished));
        assert!(left.contains(&path.join("something else")) && left.len() == 3, "{left:?}");
        let mut none = PlanCache { limit: (1, 100), ..cache(&path) };
        none.analysis(&image(LIBRARY));
        assert_eq!(files(&path), [path.join("something else")]);
    }
}
