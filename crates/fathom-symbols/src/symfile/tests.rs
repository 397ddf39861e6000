//! Tests: both forms, odd lines, names of files.

use super::*;
use proptest::prelude::*;

const SIZED: &str = "\
# symbols: 5
# path name: /path/of/module
# build-id: 413aa1b25ab5a0cd4f478c0f202a91823c9453aa
000000000000037c 00000020 d __abi_tag
0000000000001030 00000010 P strlen
0000000000001040 00000010 P puts
0000000000001209 00000034 T leaf
0000000000004010 00000004 D data
";

/// What uftrace 0.13 writes, where it leaves out the ends of symbols before small gaps.
const PLAIN: &str = "\
# symbols: 5
# path name: /path/of/module
# build-id: 413aa1b25ab5a0cd4f478c0f202a91823c9453aa
000000000000037c d __abi_tag
000000000000039c ? __sym_end
0000000000001030 P strlen
0000000000001040 P puts
0000000000001050 ? __dynsym_end
0000000000001209 T leaf
000000000000123d ? __func_end
0000000000004010 D data
0000000000004014 ? __sym_end
";

fn text(file: &SymFile, style: Style) -> String {
    let mut out = Vec::new();
    write(&mut out, &file.module, &file.symbols, style).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn both_forms_are_read_alike_and_written_as_read() {
    let (sized, plain) = (SymFile::parse(SIZED.as_bytes()), SymFile::parse(PLAIN.as_bytes()));
    assert_eq!(sized, plain);
    assert_eq!(sized.bad_lines, 0);
    assert_eq!(sized.module.path, "/path/of/module");
    assert_eq!(sized.symbols.find(0x123c).unwrap().name, "leaf");
    assert_eq!(sized.symbols.find(0x123d), None);
    assert_eq!(text(&sized, Style::Sized), SIZED);
    assert_eq!(text(&plain, Style::Plain), PLAIN);
}

#[test]
fn odd_lines() {
    let file = SymFile::parse(
        b"0000000000000030 T no_size_until_next\n\
          0000000000000010 00000000 T zero_size\n\
          0000000000000010 00000008 t same_address\n\
          ffffffffff600000 K kernel\t[module]\n\
          zzzz T bad\n\
          0000000000000040\n\
          0000000000000040 Q unknown_type\n\
          0000000000000050 00000004 T two words\r\n\
          0000000000000060 ? named\n\
          00000000000000600 00000001 T\n\
          0000000000000060 T",
    );
    insta::assert_debug_snapshot!(file, @r#"
    SymFile {
        module: ModuleId {
            path: "",
            build_id: None,
        },
        symbols: [
            10+20 T zero_size,
            30+20 T no_size_until_next,
            50+4 T two words,
            60+ffffffffff5fffa0 ? named,
            ffffffffff600000+0 K kernel,
        ],
        bad_lines: 5,
    }
    "#);
}

#[test]
fn large_sizes_start_with_a_digit() {
    let size = 0xa000_0000u64;
    let symbols: SymbolTable = [size - 1, size, 0xffff_ffff, 1 << 40]
        .into_iter()
        .enumerate()
        .map(|(n, size)| Symbol { addr: (n as u64) << 48, size, kind: SymbolKind::Data, name: "d" })
        .collect();
    let file = SymFile { symbols, ..SymFile::default() };
    let written = text(&file, Style::Sized);
    assert!(written.lines().skip(2).all(|line| line.as_bytes()[17].is_ascii_digit()), "{written}");
    assert_eq!(SymFile::parse(written.as_bytes()).symbols, file.symbols);
}

#[test]
fn names_stay_on_their_line() {
    let symbol = Symbol { addr: 1, size: 2, kind: SymbolKind::Function, name: "a\nb\tc" };
    let module = ModuleId { path: "/x\ny".into(), build_id: None };
    let file = SymFile { module, symbols: [symbol].into_iter().collect(), bad_lines: 0 };
    assert_eq!(
        text(&file, Style::Sized),
        "# symbols: 1\n# path name: /x?y\n0000000000000001 00000002 T a?b?c\n"
    );
}

#[test]
fn file_names() {
    let mut module = ModuleId { path: "/usr/lib/liba.so.1".into(), build_id: Some("12ab34".into()) };
    assert_eq!(file_name(&module, "sym"), "liba.so.1.sym");
    assert_eq!(other_file_name(&module, "dbg"), "liba.so.1-12ab.dbg");
    module.build_id = None;
    let sum: u32 = "/usr/lib/liba.so.1".bytes().map(u32::from).sum();
    assert_eq!(other_file_name(&module, "sym"), format!("liba.so.1-{sum:04x}.sym"));
    module.path = "/a/..".into();
    assert_eq!(file_name(&module, "sym"), "...sym");
    module.path = String::new();
    assert_eq!(file_name(&module, "sym"), "unnamed.sym");
}

#[test]
fn modules_of_one_name() {
    let dir = tempfile::tempdir().unwrap();
    let symbols = SymFile::parse(SIZED.as_bytes()).symbols;
    let module = |path: &str, id: &str| ModuleId { path: path.into(), build_id: Some(id.into()) };
    let (a, b) = (module("/a/lib.so", "aaaaaaaa"), module("/b/lib.so", "bbbbbbbb"));
    let rebuilt = module("/a/lib.so", "cccccccc");
    let saved = |module: &ModuleId| {
        let path = save(dir.path(), module, &symbols, Style::Sized).unwrap()?;
        Some(path.file_name().unwrap().to_str().unwrap().to_owned())
    };
    assert_eq!(saved(&a).as_deref(), Some("lib.so.sym"));
    assert_eq!(saved(&a), None, "saved already");
    assert_eq!(saved(&b).as_deref(), Some("lib.so-bbbb.sym"));
    assert_eq!(saved(&b), None, "saved already");
    assert_eq!(saved(&rebuilt).as_deref(), Some("lib.so-cccc.sym"));
    let third = save(dir.path(), &module("/f/lib.so", "aaaacccc"), &symbols, Style::Sized).unwrap();
    assert_eq!(third.unwrap().file_name().unwrap(), "lib.so-aaaa.sym");
    let error = save(dir.path(), &module("/g/lib.so", "aaaadddd"), &symbols, Style::Sized).unwrap_err();
    assert!(error.to_string().contains("no name is left for /g/lib.so in "), "{error}");
    for module in [&a, &b, &rebuilt] {
        let file = SymFile::load(dir.path(), module).unwrap().unwrap();
        assert_eq!((&file.module, file.symbols.len()), (module, 5));
    }
    assert_eq!(SymFile::load(dir.path(), &module("/d/lib.so", "dddddddd")).unwrap(), None);
    let unknown_id = ModuleId { path: "/a/lib.so".into(), build_id: None };
    assert_eq!(SymFile::load(dir.path(), &unknown_id).unwrap().unwrap().module, a);
    assert_eq!(save(dir.path(), &module("/e/e", "e"), &SymbolTable::default(), Style::Sized).unwrap(), None);
}

#[test]
fn errors_name_the_file() {
    let error = SymFile::open(Path::new("/nonexistent/a.sym")).unwrap_err();
    assert!(error.to_string().starts_with("cannot read /nonexistent/a.sym: "), "{error}");
    let module = ModuleId { path: "/a".into(), build_id: None };
    let symbols = SymFile::parse(SIZED.as_bytes()).symbols;
    let error = save(Path::new("/nonexistent"), &module, &symbols, Style::Plain).unwrap_err();
    assert!(error.to_string().starts_with("cannot write /nonexistent/a.sym: "), "{error}");
}

fn tables() -> impl Strategy<Value = SymbolTable> {
    let symbol = (0u64..500, 1u64..40, prop::sample::select(vec!['T', 't', 'P', 'd']), "[a-zA-Z_.$]{1,9}");
    prop::collection::vec(symbol, 0..30).prop_map(|symbols| {
        symbols
            .iter()
            .map(|(addr, size, letter, name)| Symbol {
                addr: *addr,
                size: *size,
                kind: SymbolKind::from_letter(*letter as u8).unwrap(),
                name,
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn sized_form_is_exact(symbols in tables()) {
        let file = SymFile { symbols, ..SymFile::default() };
        prop_assert_eq!(SymFile::parse(text(&file, Style::Sized).as_bytes()).symbols, file.symbols);
    }

    /// The plain form loses only the overlapping part of symbols, which lookups never look at.
    #[test]
    fn plain_form_finds_the_same(symbols in tables(), probe in 0u64..560) {
        let file = SymFile { symbols, ..SymFile::default() };
        let read = SymFile::parse(text(&file, Style::Plain).as_bytes());
        let name = |table: &SymbolTable| table.find(probe).map(|s| (s.addr, s.kind, s.name.to_owned()));
        prop_assert_eq!(name(&read.symbols), name(&file.symbols));
    }

    #[test]
    fn damage_never_panics(at in 0usize..400, byte in any::<u8>(), cut in 0usize..400) {
        for text in [SIZED, PLAIN] {
            let mut bytes = text.as_bytes().to_vec();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let _ = SymFile::parse(&bytes);
            let _ = SymFile::parse(bytes.get(..cut).unwrap_or(&bytes));
        }
    }
}
