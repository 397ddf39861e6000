//! Source lines of functions and addresses, for each form of debug information.

mod support;

use fathom_symbols::elf::Image;
use fathom_symbols::lines::{Error, SourceMap};
use support::Build;

const HEADER: &str = "static inline int
header_function(int x)
{
    return x * 2;
}
";

const FIRST: &str = "#include \"inc/h.h\"
struct A {
    int member(int x);
    int in_class(int x)
    {
        return x;
    }
};
int
A::member(int x)
{
    return header_function(x);
}
template<class T>
T generic(T x)
{ return x; }
static int
local(int x)
{
    return x;
}
int second(int x);
int main()
{
    A a;
    return a.member(1) + a.in_class(2) + generic(3) + local(4) + second(5);
}
";

const SECOND: &str = "int second(int x);
int
second(int x)
{
    return x;
}
";

fn sources() -> Build {
    let build = Build::new();
    build.source("a.cpp", FIRST).source("inc/h.h", HEADER).source("sub/b.cpp", SECOND);
    build
}

const EXPECTED: [(&str, &str, u32); 7] = [
    ("_ZN1A6memberEi", "a.cpp", 10),
    ("_ZN1A8in_classEi", "a.cpp", 4),
    ("_Z7genericIiET_S0_", "a.cpp", 15),
    ("_ZL5locali", "a.cpp", 18),
    ("main", "a.cpp", 23),
    ("_ZL15header_functioni", "inc/h.h", 2),
    ("_Z6secondi", "sub/b.cpp", 3),
];

fn check(image: &Image, options: &str) {
    let map = SourceMap::open(image).unwrap();
    let table = image.symbols();
    for (name, file, line) in EXPECTED {
        let symbol = table.by_name(name).unwrap_or_else(|| panic!("{name}: {options}"));
        for addr in [symbol.addr, symbol.addr + symbol.size - 1] {
            let found = map.function(addr).unwrap_or_else(|| panic!("{name}: {options}"));
            assert_eq!((found.file.as_str(), found.line), (file, line), "{name}: {options}");
        }
        let first = map.address(symbol.addr).unwrap();
        assert_eq!(first.file, file, "{name}: {options}");
        assert!((line..line + 4).contains(&first.line), "{first:?} {name}: {options}");
    }
    assert_eq!(map.function(u64::MAX), None);
    assert_eq!(map.function(0), None);
}

#[test]
fn declaration_lines() {
    for options in [
        "g++ -g",
        "g++ -g -gdwarf-4",
        "g++ -g -gdwarf-3 -no-pie",
        "g++ -g -gz",
        "g++ -g -gz=zlib-gnu",
        "g++ -g -Og -fno-inline -fno-ipa-pure-const",
        "g++ -g -flto",
        "g++ -g -ffunction-sections -Wl,--gc-sections",
        "clang++ -g",
        "clang++ -g -gdwarf-4",
    ] {
        let build = sources();
        let image = Image::open(build.compile(&format!("{options} a.cpp sub/b.cpp"), "a")).unwrap();
        check(&image, options);
    }
}

#[test]
fn separate_file() {
    let build = sources();
    build.compile("g++ -g a.cpp sub/b.cpp", "a");
    build.run("objcopy --only-keep-debug a a.debug");
    build.run("objcopy --strip-debug --add-gnu-debuglink=a.debug a b");
    check(&Image::open(build.path().join("b")).unwrap(), "separate");
}

#[test]
fn several_directories() {
    let build = Build::new();
    build
        .source("x/one.c", "int one(void) { return 1; }\n")
        .source("yy/two.c", "int one(void);\nint main() { return one(); }\n");
    let compile = |dir: &str, file: &str| {
        let path = build.path().join(dir);
        let status = std::process::Command::new("gcc").args(["-g", "-c", file]).current_dir(path).status();
        assert!(status.unwrap().success());
    };
    compile("x", "one.c");
    compile("yy", "two.c");
    let image = Image::open(build.compile("gcc x/one.o yy/two.o", "a")).unwrap();
    let map = SourceMap::open(&image).unwrap();
    let file = |name: &str| map.function(image.symbols().by_name(name).unwrap().addr).unwrap().file;
    assert_eq!((file("one").as_str(), file("main").as_str()), ("x/one.c", "yy/two.c"));
    assert_eq!(map.base(), std::fs::canonicalize(build.path()).unwrap().to_str().unwrap());
}

#[test]
fn line_tables_only() {
    let build = sources();
    let image = Image::open(build.compile("clang++ -gline-tables-only a.cpp sub/b.cpp", "a")).unwrap();
    let map = SourceMap::open(&image).unwrap();
    let found = map.function(image.symbols().by_name("_Z6secondi").unwrap().addr).unwrap();
    assert_eq!(found.file, "sub/b.cpp");
    assert!((3..=5).contains(&found.line), "{found:?}");
}

#[test]
fn none_at_all() {
    let build = sources();
    let image = Image::open(build.compile("g++ a.cpp sub/b.cpp", "a")).unwrap();
    let error = SourceMap::open(&image).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }));
    assert!(error.to_string().contains("/a: no debug information"), "{error}");
}
