//! Whether a program can be traced, found out before anything is started.

use crate::{Error, LibCalls, Options};
use fathom_symbols::elf::{self, Image};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// x86-64 in ELF files.
const EM_X86_64: u16 = 62;

/// Checks the program of a recording. Returns the ELF file that will run: its interpreter for a script.
pub fn check(options: &Options) -> Result<PathBuf, Error> {
    let program = options.program.display().to_string();
    let meta = fs::metadata(&options.program).map_err(|_| Error::NoProgram { program: program.clone() })?;
    if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
        return Err(Error::NoProgram { program });
    }
    if let Some(interpreter) = interpreter_of(&options.program) {
        if !options.force {
            return Err(Error::Script { program, interpreter: interpreter.display().to_string() });
        }
        check_elf(options, &interpreter)?;
        return Ok(interpreter);
    }
    check_elf(options, &options.program)?;
    Ok(options.program.clone())
}

/// The interpreter that a script names in its first line, followed through `env`.
fn interpreter_of(path: &Path) -> Option<PathBuf> {
    use std::io::Read;
    let mut head = Vec::new();
    fs::File::open(path).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|&c| c == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let first = PathBuf::from(words.next()?);
    if first.file_name().is_some_and(|n| n == "env")
        && let Some(name) = words.find(|w| !w.starts_with('-') && !w.contains('='))
    {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        return std::env::split_paths(&paths).map(|dir| dir.join(name)).find(|p| p.is_file()).or(Some(first));
    }
    Some(first)
}

fn check_elf(options: &Options, path: &Path) -> Result<(), Error> {
    let program = path.display().to_string();
    let image = match Image::open(path) {
        Ok(image) => image,
        Err(elf::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NoProgram { program });
        }
        Err(error) => return Err(Error::InvalidFile { program, reason: error.to_string() }),
    };
    if image.machine() != EM_X86_64 || image.class() != elf::Class::Elf64 {
        let bits = if image.class() == elf::Class::Elf64 { 64 } else { 32 };
        let reason = format!("{bits} bits, machine {}; this fathom traces x86-64 programs", image.machine());
        return Err(Error::Machine { program, reason });
    }
    if image.is_static_program() {
        return Err(Error::Static { program });
    }
    if !image.is_dynamic() {
        return Err(Error::InvalidFile { program, reason: "not an executable program".to_owned() });
    }
    if let Some(reason) = privilege(path) {
        return Err(Error::Privileged { program, reason });
    }
    let found = image.instrumentation();
    let patches = options.patch.iter().any(|p| !p.unpatch);
    // `-P f@lib` is about a library.
    let patches_exe = options.patch.iter().any(|p| !p.unpatch && !p.pattern.contains('@'));
    if patches_exe
        && !found.any()
        && let Some(refusal) = fathom_patch::refusal(&image)
    {
        return Err(Error::NotPatchable { program, reason: refusal.sentence().to_owned() });
    }
    let libraries = options.force && options.libcalls != LibCalls::None;
    if !found.calls_out() && !patches && !libraries && options.libcalls != LibCalls::Nested {
        return Err(Error::NotInstrumented { program });
    }
    Ok(())
}

/// Why the loader would ignore `LD_PRELOAD` for a program, if it would.
fn privilege(path: &Path) -> Option<String> {
    let meta = fs::metadata(path).ok()?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if meta.mode() & 0o4000 != 0 && meta.uid() != uid {
        return Some(format!("is set-user-ID (owner {})", meta.uid()));
    }
    if meta.mode() & 0o2000 != 0 && meta.gid() != gid {
        return Some(format!("is set-group-ID (group {})", meta.gid()));
    }
    let mut value = [0u8; 64];
    if uid != 0 && rustix::fs::getxattr(path, "security.capability", &mut value).is_ok() {
        return Some("has file capabilities".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(program: &Path) -> Options {
        Options { program: program.to_path_buf(), ..Options::default() }
    }

    #[test]
    fn what_is_missing_or_no_program() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("text");
        assert!(matches!(check(&options(&file)), Err(Error::NoProgram { .. })));
        fs::write(&file, "just text").unwrap();
        assert!(matches!(check(&options(&file)), Err(Error::NoProgram { .. })), "not executable");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(check(&options(&file)), Err(Error::InvalidFile { .. })));
        assert!(matches!(check(&options(dir.path())), Err(Error::NoProgram { .. })));
    }

    #[test]
    fn scripts_need_force() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("script");
        fs::write(&file, "#!/usr/bin/env -S sh\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let error = check(&options(&file)).unwrap_err();
        assert!(
            matches!(&error, Error::Script { interpreter, .. } if interpreter.ends_with("/sh")),
            "{error}"
        );
        let forced = Options { force: true, ..options(&file) };
        assert!(check(&forced).unwrap().ends_with("sh"));
    }

    #[test]
    fn uninstrumented_programs_need_force() {
        let cat = Path::new("/bin/cat");
        assert!(matches!(check(&options(cat)), Err(Error::NotInstrumented { .. })));
        assert!(check(&Options { force: true, ..options(cat) }).is_ok());
        let patch = vec![PatchSpec { pattern: ".".into(), unpatch: false }];
        assert!(check(&Options { patch, ..options(cat) }).is_ok());
    }

    use crate::PatchSpec;
}
