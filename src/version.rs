//! Who we are, and what is built in.

/// Features by the peer's names (`dwarf`, `python3`, `luajit`, `tui`, `perf`, `sched`, `dynamic`, `kernel`), in
/// its order. Test suites of others skip what needs a missing one, so a word is added when the thing works.
const FEATURES: &[&str] = &["python3", "luajit", "tui"];

/// The version that the peer's data and output are compatible with.
const PEER: &str = "0.13";

/// What this program was called as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Fathom,
    Uftrace,
}

impl Name {
    /// By the first word of the command line.
    pub(crate) fn of(word: Option<&std::ffi::OsStr>) -> Name {
        match word.and_then(|word| std::path::Path::new(word).file_name()) {
            Some(name) if name == "uftrace" => Name::Uftrace,
            _ => Name::Fathom,
        }
    }
}

/// The version in one line; the machine's architecture is the first feature. Others take the words apart, so the
/// blanks around the brackets stay.
pub(crate) fn line(name: Name) -> String {
    let own = env!("CARGO_PKG_VERSION");
    let mut line = match name {
        Name::Fathom => format!("fathom v{own} ("),
        Name::Uftrace => format!("uftrace v{PEER}-fathom-{own} ("),
    };
    for feature in std::iter::once(&std::env::consts::ARCH).chain(FEATURES) {
        line.push(' ');
        line.push_str(feature);
    }
    line.push_str(" )");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_lines() {
        let own = env!("CARGO_PKG_VERSION");
        let arch = std::env::consts::ARCH;
        assert_eq!(line(Name::Fathom), format!("fathom v{own} ( {arch} python3 luajit tui )"));
        assert_eq!(line(Name::Uftrace), format!("uftrace v0.13-fathom-{own} ( {arch} python3 luajit tui )"));
        assert_eq!(Name::of(Some("/usr/bin/uftrace".as_ref())), Name::Uftrace);
        assert_eq!(Name::of(Some("fathom".as_ref())), Name::Fathom);
        assert_eq!(Name::of(None), Name::Fathom);
    }
}
