//! What is read from ELF files agrees with what binutils read, for each way of linking.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use fathom_symbols::elf::{Class, EM_X86_64, Endian, Error, Image, Kind, PltSlot, SlotKind};
use fathom_symbols::{Symbol, SymbolKind};
use support::{Build, PROGRAM};

fn build(options: &str) -> (Build, Image) {
    let build = Build::new();
    let program =
        build.source("a.c", PROGRAM).compile(&format!("gcc -O1 -fno-builtin -fno-inline a.c {options}"), "a");
    let image = Image::open(program).unwrap();
    (build, image)
}

/// Addresses of PLT entries by name, as objdump names them.
fn objdump_plt(path: &Path, build: &Build) -> BTreeMap<String, u64> {
    let text = build.run(&format!("objdump -d {}", path.display()));
    text.lines()
        .filter_map(|line| {
            let (addr, rest) = line.split_once(" <")?;
            let name = rest.strip_suffix("@plt>:")?;
            Some((name.to_owned(), u64::from_str_radix(addr, 16).ok()?))
        })
        .collect()
}

fn slot<'s>(slots: &'s [PltSlot], name: &str) -> &'s PltSlot {
    slots.iter().find(|slot| slot.name == name).unwrap_or_else(|| panic!("{name} in {slots:#?}"))
}

#[test]
fn plt_entries_of_each_kind_of_link() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    for options in [
        "",
        "-no-pie",
        "-Wl,-z,now",
        "-Wl,-z,lazy",
        "-fcf-protection -Wl,-z,ibtplt",
        "-no-pie -fcf-protection -Wl,-z,ibtplt -Wl,-z,now",
        "-s",
        "-pg",
        "-Wl,-z,pack-relative-relocs",
    ] {
        let (build, image) = build(options);
        let expected = objdump_plt(image.path().unwrap(), &build);
        let slots = image.plt_slots();
        for name in ["puts", "malloc", "free", "strcpy"] {
            let slot = slot(&slots, name);
            assert_eq!(slot.plt + image.link_base(), expected[name], "{name}: {options}");
            assert!(slot.kind == SlotKind::JumpSlot && slot.is_function && slot.called && !slot.weak);
            assert!(slot.version.as_deref().unwrap().starts_with("GLIBC_2."), "{slot:?}");
            let symbols = image.symbols();
            assert_eq!(symbols.find(slot.plt + 5).unwrap().name, name, "{options}");
            assert_eq!(symbols.find(slot.plt).unwrap().kind, SymbolKind::Plt);
        }
        // The entry in `.plt.got` that the startup files jump through.
        if let Some(&addr) = expected.get("__cxa_finalize") {
            let slot = slot(&slots, "__cxa_finalize");
            assert_eq!((slot.kind, slot.plt + image.link_base()), (SlotKind::GlobDat, addr), "{options}");
        }
        assert_eq!(image.binds_now(), options.contains("now"), "{options}");
    }
}

#[test]
fn calls_without_plt() {
    for options in ["-fno-plt", "-fno-plt -no-pie", "-fno-plt -fcf-protection", "-fno-plt -s"] {
        let (build, image) = build(options);
        let slots = image.plt_slots();
        let relocations = build.run("readelf -rW a");
        let table = relocations.find("'.rela.dyn' at offset 0x").unwrap();
        let offset = relocations[table..].split("0x").nth(1).unwrap().split(' ').next().unwrap();
        let table_addr = u64::from_str_radix(offset, 16).unwrap();
        for name in ["puts", "malloc", "free", "strcpy"] {
            let slot = slot(&slots, name);
            assert_eq!((slot.kind, slot.called, slot.plt_size), (SlotKind::GlobDat, true, 24), "{options}");
            let index = relocations[table..]
                .lines()
                .skip(2)
                .position(|line| line.contains(&format!(" {name}@")))
                .unwrap();
            assert_eq!(slot.plt, table_addr + 24 * index as u64, "{name}: {options}");
            assert_eq!(image.symbols().find(slot.plt).unwrap().name, name);
        }
        // Startup code of position-independent programs loads this one's address to see whether it is there.
        let loaded = slots.iter().find(|slot| slot.name == "_ITM_registerTMCloneTable");
        assert_eq!(loaded.is_some(), !options.contains("no-pie"));
        assert!(loaded.is_none_or(|slot| slot.loaded && !slot.called && slot.weak && !slot.is_function));
    }
}

/// All loads, calls and the dynamic section are there without the section headers, which a hostile or shrunk file
/// may lack.
#[test]
fn no_section_headers() {
    for options in ["", "-fcf-protection -Wl,-z,ibtplt", "-no-pie", "-fno-plt"] {
        let (_build, image) = build(options);
        let mut bytes = image.data().to_vec();
        // e_shoff, e_shnum, e_shstrndx of the 64-bit header.
        bytes[0x28..0x30].fill(0);
        bytes[0x3c..0x40].fill(0);
        let bare = Image::parse(bytes).unwrap();
        assert!(bare.sections().is_empty());
        assert_eq!(bare.build_id(), image.build_id());
        assert_eq!(bare.needed(), image.needed());
        let whole = image.plt_slots();
        for slot in bare.plt_slots() {
            let expected = whole.iter().find(|other| other.got == slot.got).unwrap();
            assert_eq!((&slot.name, &slot.version), (&expected.name, &expected.version));
            assert_eq!(slot.plt, expected.plt, "{} {options}", slot.name);
            assert_eq!(slot.called, expected.called, "{} {options}", slot.name);
        }
        assert_eq!(bare.plt_slots().len(), whole.len());
    }
}

#[test]
fn symbols_agree_with_nm() {
    for options in ["", "-no-pie", "-static", "-static-pie"] {
        let (build, image) = build(options);
        let table = image.symbols();
        let text = build.run("nm -S a");
        let mut checked = 0;
        for line in text.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            let [addr, size, letter, name] = words[..] else { continue };
            if !matches!(letter, "T" | "t" | "W" | "i") {
                continue;
            }
            let addr = u64::from_str_radix(addr, 16).unwrap() - image.link_base();
            let size = u64::from_str_radix(size, 16).unwrap();
            if size == 0 {
                continue;
            }
            let symbol = table.find(addr).unwrap_or_else(|| panic!("{line} {options}"));
            assert_eq!(symbol.addr, addr, "{name} {options}");
            assert!(symbol.kind.is_function(), "{symbol:?}");
            checked += 1;
        }
        assert!(checked > 5, "{options}");
        let find = |name: &str| table.by_name(name).unwrap_or_else(|| panic!("{name} {options}"));
        assert_eq!(find("leaf").kind, SymbolKind::LocalFunction);
        assert_eq!(find("middle").kind, SymbolKind::Function);
        assert_eq!(find("weak_one").kind, SymbolKind::WeakFunction);
        assert_eq!(find("data").kind, SymbolKind::Data);
        assert_eq!(find("counter").kind, SymbolKind::LocalData);
        assert!(table.by_name("_internal").is_none(), "the alias without underscore goes before");
    }
}

#[test]
fn headers() {
    let (_build, image) = build("");
    assert_eq!((image.class(), image.endian(), image.machine()), (Class::Elf64, Endian::Little, EM_X86_64));
    assert_eq!((image.kind(), image.is_dynamic(), image.link_base()), (Kind::Pie, true, 0));
    assert_eq!(image.needed(), ["libc.so.6"]);
    assert_eq!(image.build_id().unwrap().len(), 40);
    assert!(image.interpreter().unwrap().contains("ld-linux"));
    let start = image.symbols().by_name("_start").unwrap().addr;
    assert_eq!(image.entry(), Some(start));
    assert!(image.relro().is_some());

    let (_build, image) = build("-no-pie");
    assert_eq!((image.kind(), image.is_dynamic(), image.link_base()), (Kind::Executable, true, 0x40_0000));
    assert_eq!(image.entry().unwrap(), image.symbols().by_name("_start").unwrap().addr);

    let (_build, image) = build("-static");
    assert!(image.is_static_program() && image.kind() == Kind::Executable);
    assert!(image.needed().is_empty() && image.interpreter().is_none());

    let (_build, image) = build("-static-pie");
    assert!(image.is_static_program() && image.kind() == Kind::Pie, "{:?}", image.kind());

    let (_build, image) = build("-shared -fPIC -Wl,-soname,liba.so.1");
    assert_eq!((image.kind(), image.soname().as_deref()), (Kind::SharedObject, Some("liba.so.1")));

    let (_build, image) = build("-c");
    assert_eq!(image.kind(), Kind::Relocatable);
    assert!(image.plt_slots().is_empty());
}

#[test]
fn not_elf() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let error = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Image::open(&path).unwrap_err()
    };
    assert!(
        matches!(error(b"#! /bin/sh -e\nls\n"), Error::Script { interpreter, .. } if interpreter == "/bin/sh -e")
    );
    assert!(error(b"hello").to_string().ends_with("f: not an ELF file"));
    assert!(matches!(error(b""), Error::NotElf { empty: true, .. }));
    assert!(matches!(error(b"\x7fELF\x02\x01\x01"), Error::Malformed { .. }));
    assert!(matches!(error(b"\x7fELF\x09\x01\x01"), Error::Malformed { .. }));
    assert!(matches!(Image::open("/nonexistent").unwrap_err(), Error::Io { .. }));
    assert!(matches!(Image::open("/dev/zero").unwrap_err(), Error::Io { .. }));
}

#[test]
fn instrumentation() {
    let found = |options: &str| build(options).1.instrumentation();
    let functions = |options: &str, before: u64| {
        let (_build, image) = build(options);
        let table = image.symbols();
        let sites = image.instrumentation();
        let sites = if sites.patchable.is_empty() { sites.mcount_sites } else { sites.patchable };
        let mut names: Vec<_> =
            sites.iter().map(|&site| table.find(site + before).unwrap().name.to_owned()).collect();
        names.sort();
        names
    };
    assert!(!found("").any());
    let all = ["leaf", "main", "middle", "weak_one"];
    for (options, mcount, fentry, cyg) in [
        ("-pg", true, false, false),
        ("-pg -static", true, false, false),
        ("-pg -mfentry", false, true, false),
        ("-pg -mfentry -static", false, true, false),
        ("-pg -fno-plt", true, false, false),
        ("-pg -s", true, false, false),
        ("-finstrument-functions", false, false, true),
    ] {
        let found = found(options);
        assert_eq!((found.mcount, found.fentry, found.cyg_profile), (mcount, fentry, cyg), "{options}");
        assert!(found.calls_out() && found.patchable.is_empty());
    }
    for options in ["", "-no-pie", "-Wl,-z,pack-relative-relocs", "-static", "-static-pie"] {
        assert_eq!(functions(&format!("-fpatchable-function-entry=5 {options}"), 0), all, "{options}");
        // Two of the seven NOPs are before the function.
        assert_eq!(functions(&format!("-fpatchable-function-entry=7,2 {options}"), 2), all, "{options}");
    }
    let options = "-pg -mfentry -mrecord-mcount -mnop-mcount -no-pie -fno-pie";
    assert!(found(options).nop_mcount());
    assert_eq!(functions(options, 0), all);
}

/// The symbols of a stripped file come from the debug file, wherever that is.
#[test]
fn separate_debug_files() {
    let build = Build::new();
    build.source("a.c", PROGRAM).compile("gcc -g -O1 -fno-inline a.c", "a");
    let whole = Image::open(build.path().join("a")).unwrap();
    build.run("objcopy --only-keep-debug a a.debug");
    build.run("objcopy --strip-all --add-gnu-debuglink=a.debug a stripped");
    let stripped = build.path().join("stripped");
    let root = build.path().join("debug-root");
    let names = |image: &Image| -> Vec<String> {
        let table = image.symbols();
        table.iter().filter(|s| s.kind.is_function()).map(|s: Symbol<'_>| s.name.to_owned()).collect()
    };

    // Beside it, and in `.debug` beside it.
    let image = Image::open(&stripped).unwrap();
    assert_eq!(names(&image), names(&whole));
    std::fs::create_dir(build.path().join(".debug")).unwrap();
    std::fs::rename(build.path().join("a.debug"), build.path().join(".debug/a.debug")).unwrap();
    assert_eq!(names(&image), names(&whole));

    // By build-id, below another root.
    let id = image.build_id().unwrap();
    let dir = root.join(".build-id").join(&id[..2]);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::rename(build.path().join(".debug/a.debug"), dir.join(format!("{}.debug", &id[2..]))).unwrap();
    assert!(!names(&image).contains(&"leaf".to_owned()));
    let debug = image.debug_file_under(&root).unwrap();
    assert!(names(&debug).contains(&"leaf".to_owned()));

    // One with a wrong checksum is not taken.
    std::fs::write(build.path().join("a.debug"), image.data().to_vec()).unwrap();
    assert!(image.debug_file_under(&build.path().join("nowhere")).is_none());
}

/// As Fedora has it: the dynamic symbols, and the others packed into a section.
#[test]
fn mini_debug_info() {
    let build = Build::new();
    build.source("a.c", PROGRAM).compile("gcc -O1 -fno-inline -rdynamic a.c", "a");
    build.run("objcopy --only-keep-debug a a.debug");
    build.run("xz a.debug");
    build.run("objcopy --strip-all --remove-section=.comment --add-section .gnu_debugdata=a.debug.xz a b");
    let image = Image::open(build.path().join("b")).unwrap();
    let table = image.symbols();
    assert_eq!(table.by_name("leaf").unwrap().kind, SymbolKind::LocalFunction);
    assert_eq!(table.by_name("main").unwrap().kind, SymbolKind::Function);
    assert!(table.by_name("puts").is_some());
    assert_eq!(table, Image::open(build.path().join("a")).unwrap().symbols());
}

/// The system's own stripped programs, fully bound at start.
#[test]
fn system_programs() {
    for path in ["/bin/cat", "/bin/bash", "/bin/ls"] {
        let image = Image::open(path).unwrap();
        let slots = image.plt_slots();
        let called: Vec<_> = slots.iter().filter(|slot| slot.called).map(|slot| slot.name.as_str()).collect();
        assert!(called.len() > 30, "{path}: {called:?}");
        assert!(called.contains(&"free") && called.contains(&"setlocale"), "{path}: {called:?}");
        let table = image.symbols();
        for slot in slots.iter().filter(|slot| slot.called) {
            assert_eq!(table.find(slot.plt).unwrap().name, slot.name, "{path}");
            assert!(image.data_at(slot.got, 8).is_some(), "{path}: {slot:?}");
        }
    }
}

/// All names of an address are there, and all words that the loader fills in, however they are packed.
#[test]
fn labels_and_relocated_words() {
    let build = Build::new();
    let source = format!("{PROGRAM}\nint (*pointers[3])(int) = {{ middle, weak_one, leaf }};\n");
    build.source("program.c", &source);
    for options in ["-Wl,-z,nopack-relative-relocs", "-Wl,-z,pack-relative-relocs"] {
        let path = build.compile(&format!("gcc -O1 -pie -fPIE program.c {options}"), "program");
        let image = Image::open(path).unwrap();
        let labels = image.labels();
        let label = |name: &str| labels.iter().find(|label| label.name == name).unwrap();
        assert_eq!(label("middle").addr, label("_internal").addr);
        assert!(label("leaf").is_function && !label("leaf").is_exported && label("leaf").size > 0);
        assert!(!label("data").is_function);
        let place = label("pointers").addr;
        let relocated = image.relocated();
        for (index, name) in ["middle", "weak_one", "leaf"].into_iter().enumerate() {
            let word = relocated.iter().find(|word| word.place == place + 8 * index as u64).unwrap();
            assert_eq!(word.to, Some(label(name).addr), "{options} {name}");
        }
    }
}
