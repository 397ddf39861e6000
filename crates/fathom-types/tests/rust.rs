//! Values of Rust functions, shown as Rust shows them.

mod support;

use fathom_filter::args::{ArgFormat, ArgSpec};
use fathom_types::Layouts;
use fathom_types::layout::character;
use support::{Build, Program, Said, Watched};

/// A value as the views show it, of the formats that functions of Rust have.
fn shown(program: &Program, spec: &ArgSpec, bytes: &[u8]) -> String {
    let types = program.prototypes.type_definitions();
    let layouts = Layouts::parse(types.iter().map(String::as_str));
    let name = spec.type_name.as_deref().unwrap_or_default();
    let number = bytes.iter().take(8).rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let unused = 64 - 8 * bytes.len().clamp(1, 8) as u32;
    match spec.format {
        ArgFormat::Enum => {
            let list = program.prototypes.enum_definitions();
            let body = list.iter().find_map(|text| text.strip_prefix(&format!("enum {name} {{")));
            let mut next = 0;
            for item in body.unwrap().trim_end_matches('}').split(',') {
                let (constant, value) = item.split_once('=').unwrap_or((item, ""));
                next = value.parse().unwrap_or(next);
                if next == number {
                    return constant.to_owned();
                }
                next += 1;
            }
            panic!("{number} of {name}: {body:?}")
        }
        ArgFormat::Char => character(number as u32),
        _ if layouts.get(name).is_some() => {
            layouts.get(name).unwrap().show(bytes, &mut |address| format!("{address:#x}"))
        }
        ArgFormat::Signed => ((number << unused).cast_signed() >> unused).to_string(),
        ArgFormat::Unsigned => number.to_string(),
        format => panic!("{format:?}: {spec:?}"),
    }
}

/// What our text and that of the standard library differ in on purpose: references have a sign, and what is elsewhere in
/// elements is not followed.
fn same(ours: &str, theirs: &str) -> bool {
    let ours = ours.trim_start_matches("&mut ").trim_start_matches('&');
    match ours.split_once("..") {
        // Cut short, or not known.
        Some((start, _)) if theirs.starts_with(start) => true,
        // Ranges and durations have texts of their own.
        _ => {
            ours == theirs
                || ours == "Range { start: 1, end: 20 }" && theirs == "1..20"
                || ours == "Duration { secs: 3, nanos: Nanoseconds(4) }" && theirs == "3.000000004s"
        }
    }
}

fn check(level: &str) {
    let build = Build::new();
    build.source("probe.s", include_str!("programs/probe.s"));
    build.source("values.rs", include_str!("programs/values.rs"));
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let path = build.run(&format!("{compiler} --edition 2024 -g -C opt-level={level} values.rs"), "values");
    let program = Program::open(&path);
    let mut watched = Watched::start(&path);
    let (mut name, mut values, mut returned, mut seen) = (String::new(), Vec::new(), String::new(), 0);
    while let Some(said) = watched.next() {
        let line = match said {
            Said::Line(line) => line,
            Said::Stopped { returns, frame } => {
                let prototype = program.function(&name);
                let expected = if returns { std::slice::from_ref(&returned) } else { &values[..] };
                let fetches: Vec<_> = if returns {
                    prototype.returned.iter().collect()
                } else {
                    prototype.arguments.iter().collect()
                };
                let ours: Vec<String> = fetches
                    .iter()
                    .map(|fetch| shown(&program, &fetch.spec, &frame.fetch(&fetch.source, fetch.spec.size)))
                    .collect();
                let equal =
                    ours.len() == expected.len() && ours.iter().zip(expected).all(|(a, b)| same(a, b));
                assert!(equal, "{level} {name}\nours   {ours:?}\ntheirs {expected:?}\n{fetches:#?}");
                seen += usize::from(returns);
                watched.go_on();
                continue;
            }
        };
        match line.split_once(' ').unwrap() {
            ("function", function) => {
                name = format!("main::{function}");
                values.clear();
            }
            ("value", text) => values.push(text.to_owned()),
            ("returned", text) => returned = text.to_owned(),
            _ => panic!("{line}"),
        }
    }
    assert_eq!(seen, 25);
}

#[test]
fn unoptimised() {
    check("0");
}

#[test]
fn optimised() {
    check("2");
}
