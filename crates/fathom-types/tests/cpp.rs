//! Values of C++ functions: classes by value and by address, `this`, `std::string`.

mod support;

use fathom_filter::args::ArgFormat;
use fathom_types::Fetch;
use support::{Build, Frame, Program, Said, Watched};

/// A value as text: numbers by their bytes, texts, of structs the bytes.
fn shown(frame: &Frame, fetch: &Fetch) -> String {
    let bytes = frame.fetch(&fetch.source, fetch.spec.size);
    let number = || bytes.iter().take(8).rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    match fetch.spec.format {
        ArgFormat::String | ArgFormat::StdString => format!("{:?}", String::from_utf8_lossy(&bytes)),
        ArgFormat::Float if bytes.len() == 4 => f32::from_bits(number() as u32).to_string(),
        ArgFormat::Float => f64::from_bits(number()).to_string(),
        ArgFormat::Pointer => if number() == 0 { "null" } else { "pointer" }.to_owned(),
        ArgFormat::Struct => {
            let name = fetch.spec.type_name.as_deref().unwrap_or_default();
            let bytes: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{name}:{bytes}")
        }
        ArgFormat::Enum => format!("{}={}", fetch.spec.type_name.as_deref().unwrap_or_default(), number()),
        _ => number().to_string(),
    }
}

const EXPECTED: [(&str, &[&str], &str); 9] = [
    ("text", &["\"by value\"", "pointer", "\"pointer\""], "\"by valueby referencepointer\""),
    ("copied", &["Copied:03000000", "4"], "Copied:07000000"),
    // The first word is the address of the table of its functions.
    ("virtuals", &["Virtual:..0500000000000000", "6"], "Virtual:..0b00000000000000"),
    (
        "derived",
        &["Derived:01000000020000000000000000000c40", "0.5"],
        "Derived:01000000020000000000000000001040",
    ),
    ("kind", &["Kind=7", "1", "Empty:", "120"], "Kind=7"),
    ("held", &["Holder:0000c03f", "Holder:..", "null", "2"], "Holder:0000000000000c40"),
    ("shapes::Plain::sum", &["pointer", "30"], "60"),
    ("members", &["pointer", "pointer", "40"], "40"),
    ("local", &["50", "\"local\""], "158"),
];

/// Equal, where `..` stands for addresses.
fn same(found: &str, expected: &str) -> bool {
    match expected.split_once("..") {
        Some((start, end)) => found.starts_with(start) && found.ends_with(end),
        None => found == expected,
    }
}

fn check(options: &str) {
    let build = Build::new();
    build.source("probe.s", include_str!("programs/probe.s"));
    build.source("classes.cc", include_str!("programs/classes.cc"));
    let path = build.run(&format!("{options} -std=c++17 -g -w classes.cc probe.s"), "classes");
    let program = Program::open(&path);
    let mut watched = Watched::start(&path);
    let mut expected = EXPECTED.iter();
    let mut current = ("", &[][..], "");
    while let Some(said) = watched.next() {
        let (returns, frame) = match said {
            Said::Stopped { returns, frame } => (returns, frame),
            Said::Line(line) => panic!("it only stops: {line}"),
        };
        if !returns {
            current = *expected.next().unwrap();
        }
        let (name, arguments, returned) = current;
        let prototype = program.function(name);
        let (fetches, wanted): (Vec<&Fetch>, &[&str]) = if returns {
            (prototype.returned.iter().collect(), &[returned])
        } else {
            (prototype.arguments.iter().collect(), arguments)
        };
        let found: Vec<String> = fetches.iter().map(|fetch| shown(&frame, fetch)).collect();
        let equal = found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| same(a, b));
        assert!(equal, "{options} {name}: {found:?}, not {wanted:?}: {fetches:#?}");
        watched.go_on();
    }
    assert_eq!(expected.next(), None);
}

#[test]
fn gcc() {
    check("g++ -O0");
    check("g++ -O2 -gdwarf-4 -fno-ipa-icf");
}

#[test]
fn clang() {
    check("clang++ -O0");
    check("clang++ -O2");
}
