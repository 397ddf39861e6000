//! The scripts that come with us, named where a file would be: `fathom script -S count`.

use crate::Language;

/// A script of ours.
#[derive(Debug, PartialEq, Eq)]
pub struct Example {
    /// As it is asked for.
    pub name: &'static str,
    /// As messages name it.
    pub file: &'static str,
    /// What it is written in.
    pub language: Language,
    /// What it shows, in a line.
    pub about: &'static str,
    /// The script.
    pub text: &'static str,
}

macro_rules! example {
    ($name:literal, $file:literal, $language:ident, $about:literal) => {
        Example {
            name: $name,
            file: $file,
            language: Language::$language,
            about: $about,
            text: include_str!(concat!("../scripts/", $file)),
        }
    };
}

/// All of them, in the order of their names.
pub const EXAMPLES: &[Example] = &[
    example!("count", "count.py", Python, "how often each function was called"),
    example!("malloc", "malloc.py", Python, "memory that was not freed, and by whom it was asked for"),
    example!(
        "percentiles",
        "percentiles.py",
        Python,
        "how long calls of each function took: median, 90, 99, 99.9 %"
    ),
    example!("slowest", "slowest.py", Python, "the slowest calls, each with the calls it was made from"),
    example!(
        "threads",
        "threads.lua",
        Lua,
        "each thread: calls, time, deepest nesting, its own costliest function"
    ),
];

/// The one of this name, with or without its ending.
pub fn example(name: &str) -> Option<&'static Example> {
    EXAMPLES.iter().find(|example| example.name == name || example.file == name)
}
