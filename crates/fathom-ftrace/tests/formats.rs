//! All format files of five kernels are read, and nearly all of their print fmts compile.

mod common;

use fathom_ftrace::{Format, Machine, Options, PrintFmt};
use std::collections::BTreeMap;

/// `./SYSTEM/EVENT/format:LINE` to the files of each kernel.
fn kernels() -> Vec<(String, BTreeMap<String, String>)> {
    let bytes = common::unpack("formats.txt.zst");
    let mut kernels: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    for line in String::from_utf8(bytes).unwrap().lines() {
        if let Some(kernel) = line.strip_prefix("KERNEL ") {
            kernels.push((kernel.to_owned(), BTreeMap::new()));
        } else if let Some((path, line)) = line.split_once("/format:") {
            let files = &mut kernels.last_mut().unwrap().1;
            let file = files.entry(path.trim_start_matches("./").to_owned()).or_default();
            file.push_str(line);
            file.push('\n');
        }
    }
    kernels
}

#[test]
fn all_formats_of_five_kernels() {
    let mut summary = Vec::new();
    let mut failures = BTreeMap::new();
    for (kernel, files) in kernels() {
        let (mut events, mut fields, mut compiled) = (0, 0, 0);
        for (path, text) in &files {
            let (system, name) = path.split_once('/').unwrap();
            let format = Format::parse(system, text, Machine::LITTLE64)
                .unwrap_or_else(|error| panic!("{kernel}: {path}: {error}"));
            assert_eq!(format.name, name);
            assert_eq!(format.common.len(), 4, "{kernel}: {path}");
            events += 1;
            fields += format.fields.len();
            match PrintFmt::compile(&format, &Options::default()) {
                Ok(_) => compiled += 1,
                Err(error) => {
                    let kernels: &mut Vec<String> = failures.entry(error.to_string()).or_default();
                    kernels.push(kernel.clone());
                }
            }
        }
        summary.push(format!("{kernel}: {events} events, {fields} fields, {compiled} print fmts compile"));
    }
    insta::assert_snapshot!("all_formats", summary.join("\n"));
    let failures: Vec<String> =
        failures.into_iter().map(|(what, kernels)| format!("{what} ({})", kernels.join(", "))).collect();
    insta::assert_snapshot!("print_fmts_that_do_not_compile", failures.join("\n"));
}
