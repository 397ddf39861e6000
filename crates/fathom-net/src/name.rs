//! Names that come from senders, made safe.

/// Bytes of a directory's name.
const LONGEST_DIRECTORY: usize = 100;
/// Bytes of a file's name; longer ones no file system takes.
const LONGEST_FILE: usize = 255;

/// The directory for what a sender calls `name`: one component, of letters, digits and `._-`, which does not begin with a
/// dot. Of a path what leads nowhere (`.`, `..`, empty components) is left out and the rest joined.
///
/// ```
/// assert_eq!(fathom_net::directory_name(b"uftrace.data"), "uftrace.data");
/// assert_eq!(fathom_net::directory_name(b"../../x"), "x");
/// assert_eq!(fathom_net::directory_name(b"/etc/passwd"), "etc_passwd");
/// ```
pub fn directory_name(name: &[u8]) -> String {
    let mut safe = String::new();
    for component in name.split(|byte| *byte == b'/') {
        if matches!(component, b"" | b"." | b"..") {
            continue;
        }
        if !safe.is_empty() {
            safe.push('_');
        }
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let room = LONGEST_DIRECTORY.saturating_sub(safe.len());
        safe.extend(
            component.iter().take(room).map(|byte| if fine(*byte) { char::from(*byte) } else { '_' }),
        );
        if safe.len() >= LONGEST_DIRECTORY {
            break;
        }
    }
    // A hidden directory would not be seen; an option must not be made of it.
    let rest = safe.trim_start_matches(['.', '-']);
    if rest.is_empty() { "unnamed".to_owned() } else { rest.to_owned() }
}

/// The name of a file in a data directory, if it can be one: a single component that is no hidden file and has no control
/// characters.
///
/// ```
/// assert_eq!(fathom_net::file_name(b"task.txt"), Some("task.txt"));
/// assert_eq!(fathom_net::file_name(b"../task.txt"), None);
/// ```
pub fn file_name(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    let fits = !name.is_empty() && name.len() <= LONGEST_FILE && !name.starts_with('.');
    (fits && !name.contains(|c: char| c == '/' || c.is_control())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_names_stay_inside() {
        let name = |bytes: &[u8]| directory_name(bytes);
        assert_eq!(name(b".."), "unnamed");
        assert_eq!(name(b"/"), "unnamed");
        assert_eq!(name(b""), "unnamed");
        assert_eq!(name(b"...hidden"), "hidden");
        assert_eq!(name(b"a/../b"), "a_b");
        assert_eq!(name(b"a\0b\nc d"), "a_b_c_d");
        assert_eq!(name(b"-rf"), "rf");
        assert_eq!(name("äx".as_bytes()), "__x");
        assert_eq!(name(&[b'n'; 10_000]).len(), 100);
        assert_eq!(name(&b"/n".repeat(10_000)).len(), 100);
        for bad in [&b"a/b"[..], b".fathom", b"..", b"", b"a\0b", b"a\nb", b"\xff", &[b'x'; 256]] {
            assert_eq!(file_name(bad), None, "{bad:?}");
        }
        assert_eq!(file_name(b"[vdso].sym"), Some("[vdso].sym"));
    }

    proptest! {
        #[test]
        fn any_name_is_one_visible_component(name: Vec<u8>) {
            let safe = directory_name(&name);
            prop_assert!(!safe.is_empty() && safe.len() <= 100 && !safe.starts_with('.'));
            prop_assert!(!safe.contains(['/', '\0']));
            prop_assert_eq!(std::path::Path::new(&safe).components().count(), 1);
        }
    }
}
