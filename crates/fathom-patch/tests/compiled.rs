//! What compilers make of a small program, and what is found in it. Needs gcc and clang, like everything that tests a
//! tracer.

use fathom_patch::{Analysis, Function, Options, Reason, Refusal, analyse};
use fathom_symbols::Image;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = r#"
#include <setjmp.h>
#include <stdlib.h>
jmp_buf out;
int cells[8];
__attribute__((noinline)) int leaf(int x) { return x * 3 + cells[x & 7]; }
__attribute__((noinline)) int middle(int x) { return leaf(x) + leaf(x + 1); }
#define TINY(n) __attribute__((noinline)) int tiny##n(void) { return 0; }
TINY(0) TINY(1) TINY(2) TINY(3) TINY(4) TINY(5) TINY(6) TINY(7) TINY(8) TINY(9)
__attribute__((noinline)) void *where(void) { return __builtin_return_address(0); }
__attribute__((noinline)) int jumps(int x)
{
	if (setjmp(out)) return 1;
	if (x > 5) longjmp(out, 1);
	return middle(x);
}
__attribute__((noinline)) int chooses(int x, int y)
{
	switch (x) {
	case 0: return y / 3;
	case 1: return middle(y);
	case 2: abort();
	case 3: return y ^ 21;
	case 4: cells[1]++; return leaf(y);
	case 5: return -y;
	}
	return 7;
}
int main(int argc, char **argv) { return middle(argc) + jumps(argc) + chooses(argc, 2) + (where() == 0); }
"#;

struct Built {
    image: Image,
    analysis: Analysis,
    _dir: tempfile::TempDir,
}

impl Built {
    /// Compiles with a command line, runs another on the result.
    fn new(compiler: &str, then: &str) -> Built {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("program.c"), SOURCE).unwrap();
        for line in [&format!("{compiler} program.c -o program"), then] {
            let mut words = line.split_whitespace();
            let Some(program) = words.next() else { continue };
            let output = Command::new(program).args(words).current_dir(dir.path()).output();
            let output = output.unwrap_or_else(|error| panic!("the tests need {program}: {error}"));
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let path: PathBuf = dir.path().join("program");
        let image = Image::open(path).unwrap();
        let analysis = analyse(&image, &Options { threads: 2 });
        Built { image, analysis, _dir: dir }
    }

    fn function(&self, name: &str) -> &Function {
        let symbol = self.image.symbols().by_name(name).map(|symbol| symbol.addr);
        let addr = symbol.unwrap_or_else(|| panic!("no symbol {name}"));
        self.analysis.functions.iter().find(|function| function.start == addr).unwrap()
    }
}

/// NOPs behind the prologue, and a table of them: nothing goes there.
#[test]
fn tables_of_places_for_tracers_lead_nowhere() {
    let late = "gcc -O0 -pg -mnop-mcount -mrecord-mcount -fno-pie -no-pie";
    for compiler in [late, "gcc -O2 -fpatchable-function-entry=4,2 -falign-functions=1"] {
        let built = Built::new(compiler, "");
        for name in ["leaf", "middle", "tiny3", "tiny6", "tiny9", "chooses"] {
            assert!(
                built.function(name).verdict.is_ok(),
                "{compiler}: {name}: {:?}",
                built.function(name).verdict
            );
        }
    }
}

#[test]
fn all_options() {
    for compiler in ["gcc", "clang"] {
        for level in ["-O0", "-O1", "-O2", "-O3", "-Os"] {
            for more in [
                "",
                "-no-pie -fno-pie",
                "-fcf-protection",
                "-fno-asynchronous-unwind-tables -fno-omit-frame-pointer",
            ] {
                let options = format!("{compiler} {level} {more}");
                let built = Built::new(&options, "");
                for name in ["leaf", "middle", "jumps", "chooses", "main"] {
                    let function = built.function(name);
                    let site = function
                        .verdict
                        .as_ref()
                        .unwrap_or_else(|reason| panic!("{options}: {name}: {reason}"));
                    let is_marked = built.image.data_at(function.start, 4) == Some(&[0xf3, 0x0f, 0x1e, 0xfa]);
                    assert_eq!(site.at, function.start + if is_marked { 4 } else { 0 }, "{options}: {name}");
                }
                assert_eq!(built.function("where").verdict, Err(Reason::ReturnAddress), "{options}");
                assert_eq!(built.function("_start").verdict, Err(Reason::Special), "{options}");
            }
        }
    }
}

#[test]
fn without_symbols() {
    let with = Built::new("gcc -O2", "");
    let without = Built::new("gcc -O2", "strip program");
    let sites = |built: &Built| {
        let sites = built.analysis.functions.iter().filter(|function| function.verdict.is_ok());
        sites.map(|function| (function.start, function.end)).collect::<Vec<_>>()
    };
    let (with_sites, without_sites) = (sites(&with), sites(&without));
    for name in ["leaf", "middle", "jumps", "chooses", "main"] {
        let function = with.function(name);
        assert!(without_sites.contains(&(function.start, function.end)), "{name}");
    }
    assert!(without_sites.iter().all(|site| with_sites.contains(site)), "{with_sites:x?} {without_sites:x?}");
}

/// The NOPs that a compiler has left for tracers are overwritten, and what is gone on with is behind them.
#[test]
fn places_for_tracers() {
    let nops = Built::new("gcc -O2 -pg -mfentry -mnop-mcount -mrecord-mcount -fno-pie -no-pie", "");
    for name in ["leaf", "middle"] {
        let function = nops.function(name);
        assert_eq!(function.verdict.as_ref().unwrap().rest(), Some(function.start + 5), "{name}");
    }
    let sleds =
        Built::new("clang -O2 -fxray-instrument -fxray-instruction-threshold=1 -fnoxray-link-deps", "");
    let function = sleds.function("middle");
    // jmp +9, and nine bytes of NOPs.
    assert_eq!(function.verdict.as_ref().unwrap().rest(), Some(function.start + 11));
}

/// NOPs in front of a function are its own, however much they look like padding.
#[test]
fn areas_in_front_are_kept() {
    let built = Built::new("gcc -O2 -fpatchable-function-entry=16,16 -falign-functions=1", "");
    let areas = built.image.instrumentation().patchable;
    assert!(areas.len() >= 5);
    // There is little other padding for them.
    assert_eq!(built.function("tiny9").verdict, Err(Reason::Short));
    for function in &built.analysis.functions {
        let Ok(site) = &function.verdict else { continue };
        let written = [Some((site.at, site.written() as u64)), site.island.map(|island| (island.at, 5))];
        for (from, len) in written.into_iter().flatten() {
            assert!(areas.iter().all(|&area| from + len <= area || from >= area + 16), "{from:x} {areas:x?}");
        }
    }
}

#[test]
fn whole_modules_are_refused() {
    for (section, refusal) in [(".gopclntab", Refusal::Go), (".note.GNU-split-stack", Refusal::SplitStack)] {
        let built = Built::new("gcc -O2", &format!("objcopy --add-section {section}=program.c program"));
        assert_eq!(built.analysis, Analysis { refused: Some(refusal), functions: Vec::new() });
    }
    let linker = Image::open("/lib64/ld-linux-x86-64.so.2").unwrap();
    assert_eq!(analyse(&linker, &Options::default()).refused, Some(Refusal::DynamicLinker));
}
