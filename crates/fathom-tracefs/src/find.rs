//! Where tracefs is, and what to say when it is nowhere.

use crate::Tracefs;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where it is mounted when nobody says otherwise; the second is the old place, below debugfs.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A tracefs, and how it came about.
#[derive(Debug)]
pub struct Found {
    /// It.
    pub tracefs: Tracefs,
    /// It was not mounted, and has been just now. It stays mounted.
    pub mounted: bool,
}

/// Why there is no tracefs. What the kernel said is in the text, and no source.
#[derive(Debug, thiserror::Error)]
pub enum Absent {
    /// It is not mounted, and could not be.
    #[error("tracefs is not mounted, and mounting it on {} failed: {source}{}", place.display(), mount_hint(source))]
    NotMounted {
        /// Where it was to be.
        place: PathBuf,
        /// What the kernel said.
        r#source: io::Error,
    },
    /// It is not mounted, and only root can.
    #[error("tracefs is not mounted; as root: mount -t tracefs tracefs {}", place.display())]
    NotRoot {
        /// Where it belongs.
        place: PathBuf,
    },
    /// The kernel does not have it.
    #[error("this kernel has no tracefs: it was built without CONFIG_TRACING")]
    NotBuilt,
    /// What was given is none.
    #[error("{} is no tracefs: there is no {lacks} in it", place.display())]
    NoTracefs {
        /// The directory.
        place: PathBuf,
        /// The file that is missing.
        lacks: &'static str,
    },
    /// It is there, and not open to this user.
    #[error("{}: {source}; tracefs belongs to root: run as root, or open it to a group with `mount -o remount,gid=GROUP,mode=0750 {}`", place.display(), place.display())]
    NotPermitted {
        /// Where it is.
        place: PathBuf,
        /// What the kernel said.
        r#source: io::Error,
    },
}

fn mount_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; a container without CAP_SYS_ADMIN, or lockdown=confidentiality, does not allow it: have the host's /sys/kernel/tracing mounted into the container"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotFound => {
            "; have the host's /sys/kernel/tracing mounted into the container"
        }
        _ => "",
    }
}

impl Tracefs {
    /// Finds the machine's. As root it is mounted where it is not.
    ///
    /// # Errors
    ///
    /// Why there is none that can be used.
    pub fn find() -> Result<Found, Absent> {
        find_under(Path::new("/"), rustix::process::geteuid().is_root())
    }

    /// Takes the directory for one after a look at it.
    ///
    /// # Errors
    ///
    /// If it is none, or not open to this user.
    pub fn check(root: impl Into<PathBuf>) -> Result<Tracefs, Absent> {
        let place: PathBuf = root.into();
        if let Err(source) = fs::read_dir(&place)
            && source.kind() == io::ErrorKind::PermissionDenied
        {
            return Err(Absent::NotPermitted { place, source });
        }
        for lacks in ["trace_pipe", "events", "current_tracer"] {
            if !place.join(lacks).exists() {
                return Err(Absent::NoTracefs { place, lacks });
            }
        }
        Ok(Tracefs::at(place))
    }
}

/// Finds one under `system`, which is `/` but in tests.
fn find_under(system: &Path, root: bool) -> Result<Found, Absent> {
    let under = |path: &str| system.join(path.trim_start_matches('/'));
    let mounts = fs::read(under("/proc/self/mountinfo")).unwrap_or_default();
    let known = mounted(&String::from_utf8_lossy(&mounts)).map(|place| under(&place));
    let mut refused = None;
    for place in known.into_iter().chain(PLACES.iter().map(|place| under(place))) {
        match Tracefs::check(&place) {
            Ok(tracefs) => return Ok(Found { tracefs, mounted: false }),
            Err(why @ Absent::NotPermitted { .. }) => refused = refused.or(Some(why)),
            Err(_) => {}
        }
    }
    if let Some(refused) = refused {
        return Err(refused);
    }
    let types = fs::read_to_string(under("/proc/filesystems")).unwrap_or_default();
    if !types.is_empty() && !types.lines().any(|line| line.split_whitespace().next_back() == Some("tracefs"))
    {
        return Err(Absent::NotBuilt);
    }
    let place = under(PLACES[0]);
    if !root {
        return Err(Absent::NotRoot { place });
    }
    let flags = rustix::mount::MountFlags::NOSUID
        | rustix::mount::MountFlags::NODEV
        | rustix::mount::MountFlags::NOEXEC;
    if let Err(errno) = rustix::mount::mount("tracefs", &place, "tracefs", flags, None) {
        return Err(Absent::NotMounted { place, source: errno.into() });
    }
    Tracefs::check(place).map(|tracefs| Found { tracefs, mounted: true })
}

/// The first mount point of a tracefs in `mountinfo`.
///
/// A line is `ID PARENT MAJ:MIN ROOT PLACE OPTIONS [OPTIONAL…] - TYPE SOURCE SUPER`, with any number of optional fields.
/// Where only a part of it is mounted (an instance given to a container), that is none.
pub fn mounted(mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let (before, behind) = line.split_once(" - ")?;
        let fields: Vec<&str> = before.split(' ').collect();
        let (root, place) = (fields.get(3)?, fields.get(4)?);
        (behind.split(' ').next() == Some("tracefs") && *root == "/").then(|| unescaped(place))
    })
}

/// Blanks and backslashes are octal in `mountinfo`.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) if byte.is_ascii() => {
                out.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            _ => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_fields_of_mountinfo_may_be_missing_or_many() {
        let line = |optional: &str| format!("42 27 0:13 / /t rw,relatime{optional} - tracefs none rw\n");
        assert_eq!(mounted(&line("")).as_deref(), Some("/t"));
        assert_eq!(mounted(&line(" shared:5")).as_deref(), Some("/t"));
        assert_eq!(mounted(&line(" shared:5 master:3 unbindable")).as_deref(), Some("/t"));
        assert_eq!(mounted("42 27 0:13 /instances/x /t rw - tracefs none rw\n"), None);
        assert_eq!(mounted("42 27 0:13 / /a\\040b rw - tracefs none rw\n").as_deref(), Some("/a b"));
        assert_eq!(mounted("23 27 0:22 / /sys rw - sysfs tracefs rw\ngarbage\n"), None);
    }

    fn tree(dir: &Path) {
        fs::create_dir_all(dir.join("events")).unwrap();
        fs::write(dir.join("trace_pipe"), "").unwrap();
        fs::write(dir.join("current_tracer"), "nop\n").unwrap();
    }

    #[test]
    fn it_is_found_where_it_is_mounted_and_where_it_belongs() {
        let dir = tempfile::tempdir().unwrap();
        let system = dir.path();
        assert!(matches!(find_under(system, false), Err(Absent::NotRoot { .. })));
        fs::create_dir_all(system.join("proc/self")).unwrap();
        fs::write(system.join("proc/filesystems"), "nodev\tsysfs\n\text4\n").unwrap();
        assert!(matches!(find_under(system, false), Err(Absent::NotBuilt)));
        tree(&system.join("sys/kernel/debug/tracing"));
        let found = find_under(system, false).unwrap();
        assert_eq!(found.tracefs.root(), system.join("sys/kernel/debug/tracing"));
        tree(&system.join("elsewhere"));
        fs::write(system.join("proc/self/mountinfo"), "42 27 0:13 / /elsewhere rw - tracefs none rw\n")
            .unwrap();
        assert_eq!(find_under(system, false).unwrap().tracefs.root(), system.join("elsewhere"));
    }

    #[test]
    fn a_directory_that_is_none_is_said_to_be_none() {
        let dir = tempfile::tempdir().unwrap();
        let error = Tracefs::check(dir.path()).unwrap_err();
        assert!(error.to_string().ends_with("is no tracefs: there is no trace_pipe in it"), "{error}");
    }
}
