//! Puts the words of a command line in order before clap sees them.
//!
//! The peer's rules: options may stand before and after the command word; long options may be shortened to
//! what is still unique; the first word that is neither option nor command is the program, and everything
//! after it belongs to the program; every option is accepted with every command. clap knows none of this, so
//! here each option is brought to the form `--name=value`, behind the command word.

use super::later::{self, Later};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What a command line consists of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sorted {
    /// The command word, if there was one.
    pub(crate) command: Option<String>,
    /// Options by their full names.
    pub(crate) options: Vec<Given>,
    /// Options that are not there yet, in the order given.
    pub(crate) later: Vec<Later>,
    /// The first option that nobody knows; nothing behind it was looked at.
    pub(crate) unknown: Option<OsString>,
    /// Program (or function) and what follows it.
    pub(crate) rest: Vec<OsString>,
}

/// An option and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// Full name without dashes.
    pub(crate) long: String,
    /// The value, for those that take one.
    pub(crate) value: Option<OsString>,
}

impl Given {
    /// The option as one word.
    pub(crate) fn word(&self) -> OsString {
        let mut word = OsString::from(format!("--{}", self.long));
        if let Some(value) = &self.value {
            word.push("=");
            word.push(value);
        }
        word
    }
}

/// Why words cannot be put in order.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The last word is an option that takes a value.
    #[error("option '{0}' needs a value, and none follows")]
    NeedsValue(String),
    /// `--flag=value`.
    #[error("option '--{0}' takes no value")]
    NoValue(String),
    /// A shortened name that fits several options.
    #[error("option '--{given}' could be any of {}", .candidates.join(", "))]
    Ambiguous {
        /// As typed.
        given: String,
        /// Full names with dashes.
        candidates: Vec<String>,
    },
}

#[derive(Clone, Debug)]
enum Known {
    /// Full name and whether it takes a value.
    Here {
        long: String,
        value: bool,
    },
    Later(Later),
}

impl Known {
    fn value(&self) -> bool {
        match self {
            Known::Here { value, .. } => *value,
            Known::Later(later) => later.value,
        }
    }

    fn long(&self) -> &str {
        match self {
            Known::Here { long, .. } => long,
            Known::Later(later) => later.long,
        }
    }
}

/// All options and commands there are, and those that will be.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    commands: Vec<String>,
    longs: BTreeMap<String, Known>,
    shorts: BTreeMap<char, Known>,
    /// Full names of the options of each command.
    own: BTreeMap<String, Vec<String>>,
    /// Commands with a program, function or the like behind the options.
    takes_words: Vec<String>,
}

impl Vocabulary {
    /// Collects the words from the definition that clap works with.
    pub(crate) fn new(definition: &clap::Command) -> Vocabulary {
        let mut all = Vocabulary {
            commands: Vec::new(),
            longs: BTreeMap::new(),
            shorts: BTreeMap::new(),
            own: BTreeMap::new(),
            takes_words: Vec::new(),
        };
        all.add(Known::Here { long: "help".to_owned(), value: false }, Some('h'), &[]);
        for command in definition.get_subcommands() {
            let name = command.get_name().to_owned();
            let mut own = vec!["help".to_owned()];
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long() else { continue };
                let known = Known::Here { long: long.to_owned(), value: arg.get_action().takes_values() };
                all.add(known, arg.get_short(), &arg.get_all_aliases().unwrap_or_default());
                own.push(long.to_owned());
            }
            if command.get_positionals().next().is_some() {
                all.takes_words.push(name.clone());
            }
            all.own.insert(name.clone(), own);
            all.commands.push(name);
        }
        for later in later::OPTIONS {
            all.add(Known::Later(*later), later.short, &[]);
        }
        all.commands.extend(later::COMMANDS.iter().map(|(name, _)| (*name).to_owned()));
        all
    }

    fn add(&mut self, known: Known, short: Option<char>, aliases: &[&str]) {
        for name in aliases.iter().copied().chain([known.long().to_owned().as_str()]) {
            self.longs.entry(name.to_owned()).or_insert_with(|| known.clone());
        }
        if let Some(short) = short {
            self.shorts.entry(short).or_insert(known);
        }
    }

    /// Whether `option` (full name) does something with `command`.
    pub(crate) fn belongs(&self, command: &str, option: &str) -> bool {
        self.own.get(command).is_some_and(|own| own.iter().any(|name| name == option))
    }

    /// Whether `command` takes words behind its options.
    pub(crate) fn takes_words(&self, command: &str) -> bool {
        self.takes_words.iter().any(|name| name == command)
    }

    fn is_command(&self, word: &OsStr) -> bool {
        self.commands.iter().any(|name| word == name.as_str())
    }

    /// The option called `name`, or the only one whose name begins so.
    fn find_long(&self, name: &str) -> Result<Option<&Known>, Error> {
        if let Some(known) = self.longs.get(name) {
            return Ok(Some(known));
        }
        if name.is_empty() {
            return Ok(None);
        }
        let fits = self.longs.range(name.to_owned()..).take_while(|(long, _)| long.starts_with(name));
        let mut found: Vec<&Known> = fits.map(|(_, known)| known).collect();
        found.dedup_by(|a, b| a.long() == b.long());
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            many => Err(Error::Ambiguous {
                given: name.to_owned(),
                candidates: many.iter().map(|known| format!("--{}", known.long())).collect(),
            }),
        }
    }

    /// Puts `words` (without the program's own name) in order.
    pub(crate) fn sort(&self, words: Vec<OsString>) -> Result<Sorted, Error> {
        let mut sorted = Sorted::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let bytes = word.as_bytes();
            if bytes == b"--" {
                sorted.rest = words.collect();
                break;
            } else if let Some(long) = bytes.strip_prefix(b"--") {
                if !self.long(long, &mut words, &mut sorted)? {
                    sorted.unknown = Some(word);
                }
            } else if bytes.len() > 1 && bytes[0] == b'-' {
                self.shorts(&bytes[1..], &mut words, &mut sorted)?;
            } else if sorted.command.is_none() && self.is_command(&word) {
                sorted.command = word.into_string().ok();
            } else {
                sorted.rest = std::iter::once(word).chain(words).collect();
                break;
            }
            if sorted.unknown.is_some() {
                // Only to name the command in the message, and to suggest one of its options.
                sorted.command = sorted.command.or_else(|| {
                    words.find(|word| self.is_command(word)).and_then(|word| word.into_string().ok())
                });
                break;
            }
        }
        Ok(sorted)
    }

    /// `--name` or `--name=value`; false when there is no such option.
    fn long(
        &self,
        word: &[u8],
        words: &mut impl Iterator<Item = OsString>,
        sorted: &mut Sorted,
    ) -> Result<bool, Error> {
        let (name, inline) = match word.iter().position(|&byte| byte == b'=') {
            Some(at) => (&word[..at], Some(OsString::from_vec(word[at + 1..].to_vec()))),
            None => (word, None),
        };
        let name = String::from_utf8_lossy(name);
        let Some(known) = self.find_long(&name)? else { return Ok(false) };
        let value = match (known.value(), inline) {
            (true, Some(value)) => Some(value),
            (true, None) => {
                Some(words.next().ok_or_else(|| Error::NeedsValue(format!("--{}", known.long())))?)
            }
            (false, Some(_)) => return Err(Error::NoValue(known.long().to_owned())),
            (false, None) => None,
        };
        sorted.push(known, value);
        Ok(true)
    }

    /// `-a`, `-abc`, `-dDIR`, `-d DIR`.
    fn shorts(
        &self,
        cluster: &[u8],
        words: &mut impl Iterator<Item = OsString>,
        sorted: &mut Sorted,
    ) -> Result<(), Error> {
        for (at, &byte) in cluster.iter().enumerate() {
            let Some(known) = self.shorts.get(&char::from(byte)) else {
                let rest = String::from_utf8_lossy(&cluster[at..]);
                sorted.unknown = Some(format!("-{}", rest.chars().next().unwrap_or('?')).into());
                return Ok(());
            };
            if !known.value() {
                sorted.push(known, None);
                continue;
            }
            let value = if at + 1 < cluster.len() {
                OsString::from_vec(cluster[at + 1..].to_vec())
            } else {
                words.next().ok_or_else(|| Error::NeedsValue(format!("-{}", char::from(byte))))?
            };
            sorted.push(known, Some(value));
            return Ok(());
        }
        Ok(())
    }
}

impl Sorted {
    fn push(&mut self, known: &Known, value: Option<OsString>) {
        match known {
            Known::Here { long, .. } => self.options.push(Given { long: long.clone(), value }),
            Known::Later(later) => self.later.push(*later),
        }
    }

    /// Whether an option was given.
    pub(crate) fn has(&self, long: &str) -> bool {
        self.options.iter().any(|option| option.long == long)
    }
}

/// Splits the text of an option file: blanks separate words, quotes of both kinds keep them together, `#`
/// starts a comment that ends with the line.
pub(crate) fn split(text: &[u8]) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut comment = false;
    for &byte in text {
        if comment {
            comment = byte != b'\n';
        } else if let Some(end) = quote {
            if byte == end {
                quote = None;
            } else {
                word.get_or_insert_default().push(byte);
            }
        } else if byte == b'"' || byte == b'\'' {
            quote = Some(byte);
            word.get_or_insert_default();
        } else if byte.is_ascii_whitespace() {
            words.extend(word.take());
        } else if byte == b'#' && word.is_none() {
            comment = true;
        } else {
            word.get_or_insert_default().push(byte);
        }
    }
    words.extend(word);
    words.into_iter().map(OsString::from_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn sort(line: &str) -> Result<Sorted, Error> {
        let words = line.split_whitespace().map(OsString::from).collect();
        Vocabulary::new(&crate::args::Cli::command()).sort(words)
    }

    fn shown(line: &str) -> String {
        let sorted = sort(line).unwrap();
        let mut text = sorted.command.unwrap_or_else(|| "-".to_owned());
        for option in &sorted.options {
            text.push(' ');
            text.push_str(&option.word().to_string_lossy());
        }
        for word in &sorted.rest {
            text.push_str(" | ");
            text.push_str(&word.to_string_lossy());
        }
        text
    }

    #[test]
    fn the_command_may_follow_options() {
        assert_eq!(shown("-v replay -d X"), "replay --verbose --data=X");
        assert_eq!(shown("-vvdX replay"), "replay --verbose --verbose --data=X");
        assert_eq!(shown("--data=X --no-pager report --task"), "report --data=X --no-pager --task");
    }

    #[test]
    fn what_follows_the_program_is_the_programs() {
        assert_eq!(shown("ls -l --color"), "- | ls | -l | --color");
        assert_eq!(shown("record -l ls -l"), "record --nest-libcall | ls | -l");
        assert_eq!(shown("record replay record"), "record | replay | record");
        assert_eq!(shown("-d record record record"), "record --data=record | record");
        assert_eq!(shown("live -- -odd --name"), "live | -odd | --name");
    }

    #[test]
    fn names_are_shortened_as_long_as_they_are_unique() {
        assert_eq!(shown("replay --colo 5x --no-com"), "replay --color=5x --no-comment");
        assert!(matches!(sort("replay --column-"), Err(Error::Ambiguous { .. })));
        assert_eq!(shown("replay --library-path /x --debug"), "replay --libmcount-path=/x --verbose");
    }

    #[test]
    fn values_are_missing_or_too_many() {
        assert_eq!(sort("replay -d"), Err(Error::NeedsValue("-d".into())));
        assert_eq!(sort("replay --data"), Err(Error::NeedsValue("--data".into())));
        assert_eq!(sort("replay --flat=1"), Err(Error::NoValue("flat".into())));
    }

    #[test]
    fn unknown_and_later_options_are_told_apart() {
        let sorted = sort("--colum-view replay -d X").unwrap();
        assert_eq!(sorted.unknown, Some("--colum-view".into()));
        assert_eq!(sorted.command.as_deref(), Some("replay"));
        assert_eq!(sort("replay -vq").unwrap().unknown, Some("-q".into()));
        let sorted = sort("-S x --system record a.out -F x").unwrap();
        assert_eq!(sorted.later.iter().map(|l| l.long).collect::<Vec<_>>(), ["system"]);
        assert_eq!(sorted.rest.len(), 3);
    }

    #[test]
    fn no_name_is_both_there_and_not() {
        let definition = crate::args::Cli::command();
        for later in later::OPTIONS {
            for command in definition.get_subcommands() {
                for arg in command.get_arguments() {
                    assert_ne!(arg.get_long(), Some(later.long));
                    assert!(later.short.is_none() || arg.get_short() != later.short, "{later:?}");
                }
            }
        }
    }

    #[test]
    fn option_files_have_quotes_and_comments() {
        let words = split(b"-t 1us # not\n --data 'a b' \"c#\"d '' #end");
        assert_eq!(words, ["-t", "1us", "--data", "a b", "c#d", ""]);
    }

    proptest::proptest! {
        #[test]
        fn any_words_are_sorted_without_panic(words: Vec<Vec<u8>>) {
            let words = words.into_iter().map(OsString::from_vec).collect();
            let _ = Vocabulary::new(&crate::args::Cli::command()).sort(words);
        }
    }
}
