//! Compiling fixtures with each instrumentation.

use super::case::Case;
use crate::run::{run, run_ok};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// One way of compiling a fixture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Build {
    pub(crate) name: &'static str,
    pub(crate) compiler: &'static str,
    pub(crate) flags: &'static [&'static str],
    /// What the recording needs for programs built so.
    pub(crate) record: &'static [&'static str],
    /// Built twice, the second time by what a run of the first has shown.
    profiled: bool,
    /// One of [`MATRIX`], which only tiers that take long run.
    pub(crate) matrix: bool,
}

const fn build(name: &'static str, compiler: &'static str, flags: &'static [&'static str]) -> Build {
    Build { name, compiler, flags, record: &[], profiled: false, matrix: false }
}

const fn patched(name: &'static str, compiler: &'static str, flags: &'static [&'static str]) -> Build {
    Build { record: &["-P", "."], ..build(name, compiler, flags) }
}

const fn matrix(name: &'static str, compiler: &'static str, flags: &'static [&'static str]) -> Build {
    Build { matrix: true, ..patched(name, compiler, flags) }
}

const fn profiled(name: &'static str, compiler: &'static str, flags: &'static [&'static str]) -> Build {
    Build { profiled: true, ..matrix(name, compiler, flags) }
}

const BUILDS: &[Build] = &[
    build("pg-O0", "gcc", &["-pg", "-O0"]),
    build("pg-O2", "gcc", &["-pg", "-O2"]),
    build("fentry-O0", "gcc", &["-pg", "-mfentry", "-O0"]),
    build("fentry-O2", "gcc", &["-pg", "-mfentry", "-O2"]),
    build("finst-O0", "gcc", &["-finstrument-functions", "-O0"]),
    build("finst-O2", "gcc", &["-finstrument-functions", "-O2"]),
    patched("patch-O0", "gcc", &["-fpatchable-function-entry=5", "-O0"]),
    patched("patch-O2", "gcc", &["-fpatchable-function-entry=5", "-O2"]),
    // Not built for it at all.
    patched("plain-patch-O0", "gcc", &["-O0"]),
    patched("plain-patch-O2", "gcc", &["-O2"]),
    patched("plain-patch-cet-O2", "gcc", &["-O2", "-fcf-protection"]),
    patched("clang-plain-patch-O2", "clang", &["-O2"]),
    build("clang-pg-O0", "clang", &["-pg", "-O0"]),
    build("clang-fentry-O2", "clang", &["-pg", "-mfentry", "-O2"]),
    build("clang-finst-O0", "clang", &["-finstrument-functions", "-O0"]),
    patched("clang-patch-O2", "clang", &["-fpatchable-function-entry=5", "-O2"]),
    Build { record: &["--force"], ..build("plain-O2", "gcc", &["-O2"]) },
    build("rust-mcount-O0", "rustc", &["-Copt-level=0"]),
    build("rust-mcount-O2", "rustc", &["-Copt-level=2"]),
    patched("rust-release", "rustc", &["-Copt-level=2"]),
];

const fn nop_mcount(name: &'static str, flags: &'static [&'static str]) -> Build {
    // A part of the C library that -pg brings into the program.
    Build { record: &["-P", ".", "-U", "atexit"], ..build(name, "gcc", flags) }
}

const XRAY: &str = "-fxray-instrument";
/// Functions of any size.
const XRAY_ALL: &str = "-fxray-instruction-threshold=1";
/// The compiler's own runtime is not needed, and not installed everywhere.
const XRAY_ALONE: &str = "-fnoxray-link-deps";

/// Other places that compilers leave in functions, for the cases that name them.
const PLACES: &[Build] = &[
    nop_mcount(
        "nop-mcount-O2",
        &["-pg", "-mfentry", "-mnop-mcount", "-mrecord-mcount", "-fno-pie", "-no-pie", "-O2"],
    ),
    // Behind the prologue: of no use, but in nobody's way.
    nop_mcount(
        "nop-mcount-late-O0",
        &["-pg", "-mnop-mcount", "-mrecord-mcount", "-fno-pie", "-no-pie", "-O0"],
    ),
    build("record-mcount-O2", "gcc", &["-pg", "-mfentry", "-mrecord-mcount", "-O2"]),
    // Five NOPs where the function is entered, three, two behind an endbr64.
    patched("patch-before-O2", "gcc", &["-fpatchable-function-entry=7,2", "-O2"]),
    patched("patch-before-O0", "gcc", &["-fpatchable-function-entry=8,5", "-O0"]),
    patched("patch-before-cet-O2", "gcc", &["-fpatchable-function-entry=7,5", "-fcf-protection", "-O2"]),
    patched("patch-before-clang-O2", "clang", &["-fpatchable-function-entry=7,2", "-O2"]),
    patched("xray-O0", "clang", &[XRAY, XRAY_ALL, XRAY_ALONE, "-O0"]),
    patched("xray-O2", "clang", &[XRAY, XRAY_ALL, XRAY_ALONE, "-O2"]),
    patched("xray-cet-O2", "clang", &[XRAY, XRAY_ALL, XRAY_ALONE, "-fcf-protection", "-O2"]),
];

/// Ways of building what is then patched, for the cases that say `matrix`.
const MATRIX: &[Build] = &[
    matrix("matrix-gcc-O1", "gcc", &["-O1"]),
    matrix("matrix-gcc-O3", "gcc", &["-O3", "-march=native"]),
    matrix("matrix-gcc-Os", "gcc", &["-Os"]),
    matrix("matrix-gcc-cet-O3", "gcc", &["-O3", "-fcf-protection=full"]),
    matrix("matrix-gcc-no-pie", "gcc", &["-O2", "-no-pie", "-fno-pie"]),
    matrix("matrix-gcc-sections", "gcc", &["-O2", "-ffunction-sections", "-Wl,--gc-sections"]),
    matrix("matrix-gcc-lto", "gcc", &["-O2", "-flto"]),
    matrix("matrix-gcc-mold", "gcc", &["-O2", "-fuse-ld=mold"]),
    matrix("matrix-gcc-lld", "gcc", &["-O2", "-fuse-ld=lld"]),
    profiled("matrix-gcc-pgo", "gcc", &["-O2"]),
    profiled("matrix-gcc-pgo-lto", "gcc", &["-O3", "-flto"]),
    matrix("matrix-clang-O0", "clang", &["-O0"]),
    matrix("matrix-clang-O1", "clang", &["-O1"]),
    matrix("matrix-clang-O3", "clang", &["-O3", "-march=native"]),
    matrix("matrix-clang-Os", "clang", &["-Os"]),
    matrix("matrix-clang-cet", "clang", &["-O2", "-fcf-protection=full"]),
    matrix("matrix-clang-lto", "clang", &["-O2", "-flto", "-fuse-ld=lld"]),
    matrix("matrix-clang-thin-lto", "clang", &["-O2", "-flto=thin", "-fuse-ld=lld"]),
    matrix("matrix-clang-mold", "clang", &["-O2", "-fuse-ld=mold"]),
    profiled("matrix-clang-pgo", "clang", &["-O2"]),
    matrix("matrix-rust-O0", "rustc", &["-Copt-level=0"]),
    matrix("matrix-rust-O1", "rustc", &["-Copt-level=1"]),
    matrix("matrix-rust-O3", "rustc", &["-Copt-level=3", "-Ctarget-cpu=native"]),
    matrix("matrix-rust-Os", "rustc", &["-Copt-level=s"]),
    matrix("matrix-rust-lto", "rustc", &["-Copt-level=3", "-Clto=fat", "-Ccodegen-units=1"]),
    matrix("matrix-rust-mold", "rustc", &["-Copt-level=3", "-Clink-arg=-fuse-ld=mold"]),
    matrix("matrix-rust-lld", "rustc", &["-Copt-level=3", "-Clink-arg=-fuse-ld=lld"]),
];

impl Build {
    /// The programs that it takes besides the compiler.
    pub(crate) fn tools(&self) -> Vec<String> {
        let mut tools = linkers(self.flags);
        if self.profiled && self.compiler == "clang" {
            tools.push("llvm-profdata".to_owned());
            // A part of the compiler that Debian has a package of its own for, libclang-rt.
            tools.push("clang's profile library".to_owned());
        }
        tools
    }
}

/// The programs of the linkers that flags ask for.
pub(crate) fn linkers(flags: &[&str]) -> Vec<String> {
    let linkers = flags.iter().filter_map(|flag| Some(flag.rsplit_once("-fuse-ld=")?.1));
    linkers.map(|linker| if linker == "lld" { "ld.lld" } else { linker }.to_owned()).collect()
}

/// Whether clang can build programs that count for profiles.
pub(crate) fn has_profile_library() -> bool {
    let mut clang = Command::new("clang");
    let dir = clang.arg("-print-runtime-dir").output().map(|output| output.stdout).unwrap_or_default();
    let dir = PathBuf::from(String::from_utf8_lossy(&dir).trim());
    dir.join("libclang_rt.profile-x86_64.a").exists() || dir.join("libclang_rt.profile.a").exists()
}

/// The builds that a case's `BUILDS` line names: names, `gcc` and `clang` for all of these, `places` for
/// [`PLACES`], `matrix` for [`MATRIX`].
pub(crate) fn builds(case: &Case) -> Result<Vec<Build>> {
    let mut found = Vec::new();
    for word in &case.builds {
        let before = found.len();
        let matches = |build: &&Build| {
            build.name == word
                || (build.compiler == word && build.name != "plain-O2")
                || build.name.ends_with(&format!("-{word}"))
        };
        found.extend(
            BUILDS
                .iter()
                .filter(matches)
                .filter(|build| build.compiler != "clang" || word.contains("clang"))
                .copied(),
        );
        found.extend(PLACES.iter().filter(|build| word == "places" || build.name == word).copied());
        let is_rust = case.source.ends_with(".rs");
        let compiles = |build: &&Build| is_rust == (build.compiler == "rustc");
        let fits = |build: &&Build| build.name == word || word == "matrix" && compiles(build);
        found.extend(MATRIX.iter().filter(fits).copied());
        if found.len() == before {
            bail!("case {}: no build is called {word}", case.name);
        }
    }
    Ok(found)
}

// The same calls at every level of optimisation: nothing inlined, cloned, merged or turned into a jump.
const COMMON: &[&str] = &[
    "-g",
    "-fno-inline",
    "-fno-builtin",
    "-fno-omit-frame-pointer",
    "-fno-optimize-sibling-calls",
    "-U_FORTIFY_SOURCE",
    "-D_FORTIFY_SOURCE=0",
    "-w",
];
const COMMON_GCC: &[&str] = &["-fno-ipa-cp", "-fno-ipa-sra", "-fno-ipa-icf", "-fno-ipa-pure-const"];

/// Compiles a case into `dir` and returns the program, which is called as the case is.
pub(crate) fn compile(case: &Case, build: &Build, fixtures: &Path, dir: &Path) -> Result<PathBuf> {
    let program = dir.join(&case.name);
    if build.compiler == "rustc" {
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "-Cdebuginfo=1"]);
        if build.record.is_empty() {
            // An unstable option of the compiler, for this test only.
            rustc.env("RUSTC_BOOTSTRAP", "1").arg("-Zinstrument-mcount");
        }
        rustc
            .args(["-Cforce-frame-pointers=yes"])
            .args(build.flags)
            .args(&case.flags)
            .arg("-o")
            .arg(&program);
        run_ok(rustc.arg(fixtures.join(&case.source)), dir, Duration::from_secs(120))?;
        return Ok(program);
    }
    for lib in case.libs.iter().rev() {
        let mut cc = compiler(build, &lib.source, lib.traced);
        cc.args(["-shared", "-fPIC", "-o"]).arg(dir.join(&lib.file)).arg(fixtures.join(&lib.source));
        // A library may use the ones that come after it.
        let later = case.libs.iter().skip_while(|other| other.file != lib.file).skip(1);
        link(&mut cc, later.map(|lib| lib.file.as_str()), dir);
        run_ok(&mut cc, dir, Duration::from_secs(60))?;
    }
    let mut cc = program_of(case, build, fixtures, dir, &[]);
    if build.profiled {
        let made = if build.compiler == "gcc" { "-fprofile-generate" } else { "-fprofile-instr-generate" };
        let first = [made, "-fprofile-update=atomic"];
        run_ok(&mut program_of(case, build, fixtures, dir, &first), dir, Duration::from_secs(60))?;
        run(Command::new(&program).args(&case.args), dir, case.timeout)?;
        if build.compiler == "clang" {
            let mut merge = Command::new("llvm-profdata");
            merge.args(["merge", "-o", "default.profdata", "default.profraw"]);
            run_ok(&mut merge, dir, Duration::from_secs(60))?;
            cc = program_of(case, build, fixtures, dir, &["-fprofile-instr-use=default.profdata"]);
        } else {
            cc = program_of(case, build, fixtures, dir, &["-fprofile-use", "-fprofile-correction"]);
        }
    }
    run_ok(&mut cc, dir, Duration::from_secs(60))?;
    Ok(program)
}

/// The command that builds a case's program.
fn program_of(case: &Case, build: &Build, fixtures: &Path, dir: &Path, more: &[&str]) -> Command {
    let mut cc = compiler(build, &case.source, true);
    cc.args(more).arg("-o").arg(dir.join(&case.name)).arg(fixtures.join(&case.source));
    link(&mut cc, case.libs.iter().filter(|lib| lib.linked).map(|lib| lib.file.as_str()), dir);
    cc.args(&case.flags);
    cc
}

fn compiler(build: &Build, source: &str, traced: bool) -> Command {
    let name = match (build.compiler, source.ends_with(".cpp")) {
        ("gcc", true) => "g++",
        ("clang", true) => "clang++",
        (name, _) => name,
    };
    let mut cc = Command::new(name);
    cc.args(COMMON);
    if build.compiler == "gcc" {
        cc.args(COMMON_GCC);
    }
    if traced {
        cc.args(build.flags);
    }
    cc
}

fn link<'a>(cc: &mut Command, libs: impl Iterator<Item = &'a str>, dir: &Path) {
    cc.args(["-Wl,-rpath,$ORIGIN", "-L"]).arg(dir);
    for lib in libs {
        cc.arg(format!("-l:{lib}"));
    }
    cc.args(["-Wl,-rpath-link"]).arg(dir);
}
