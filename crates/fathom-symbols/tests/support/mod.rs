//! Builds small programs for the tests. Needs gcc and binutils, like everything that tests a tracer.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with what was built in it.
pub(crate) struct Build {
    dir: tempfile::TempDir,
}

impl Build {
    /// An empty directory.
    pub(crate) fn new() -> Build {
        Build { dir: tempfile::tempdir().unwrap() }
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a source file.
    pub(crate) fn source(&self, name: &str, text: &str) -> &Build {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Runs a command line in the directory and returns what it prints.
    pub(crate) fn run(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let program = words.next().unwrap();
        let output = Command::new(program)
            .args(words)
            .current_dir(self.path())
            .output()
            .unwrap_or_else(|error| panic!("the tests need `{program}`: {error}"));
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Compiles with a command line that makes the file `out`, and returns its path.
    pub(crate) fn compile(&self, line: &str, out: &str) -> PathBuf {
        self.run(&format!("{line} -o {out}"));
        self.path().join(out)
    }
}

/// A program with library calls, static, global, weak and aliased functions, and data.
#[allow(dead_code, reason = "not every test that builds programs builds this one")]
pub(crate) const PROGRAM: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int data = 3;
static int counter;
static int leaf(int x) { return x + counter++; }
int middle(int x) { return leaf(x) + data; }
int _internal(int x) __attribute__((alias("middle")));
int weak_one(int x) __attribute__((weak));
int weak_one(int x) { return x; }
int main(int argc, char **argv)
{
    char *text = malloc(100);
    strcpy(text, argv[0]);
    puts(text);
    free(text);
    return middle(argc) + weak_one(argc) == 100;
}
"#;

/// Functions with static probes, as `sys/sdt.h` makes them, without needing it. The base section is there once.
#[allow(dead_code, reason = "not every test that builds programs builds this one")]
pub(crate) const PROBES: &str = r#"
#define NOTE(semaphore, name, arguments) \
    "990: nop\n" \
    ".pushsection .note.stapsdt, \"?\", \"note\"\n" \
    ".balign 4\n.4byte 992f - 991f, 994f - 993f, 3\n" \
    "991: .asciz \"stapsdt\"\n992: .balign 4\n" \
    "993: .8byte 990b, _.stapsdt.base, " semaphore "\n" \
    ".asciz \"toy\"\n.asciz \"" name "\"\n.asciz \"" arguments "\"\n" \
    "994: .balign 4\n.popsection\n" \
    ".ifndef _.stapsdt.base\n" \
    ".pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n" \
    ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n" \
    "_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n.popsection\n.endif\n"
__attribute__((section(".probes"), used)) unsigned short toy_semaphore;
int first(int x) { __asm__ volatile(NOTE("0", "first", "-4@%%edi 8@$5") :: "r"(x)); return x; }
int second(long *v) { __asm__ volatile(NOTE("toy_semaphore", "second", "8@8(%%rdi)") :: "r"(v)); return 0; }
int third(void) { __asm__ volatile(NOTE("0", "third", "")); return 0; }
"#;
