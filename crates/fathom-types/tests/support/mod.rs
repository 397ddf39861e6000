//! Watches programs that stop at calls (`tests/programs/probe.s`), and fetches values out of them as the recorder does.

use fathom_symbols::Image;
use fathom_types::fetch::{ABSENT, UNREADABLE};
use fathom_types::{Length, Place, Prototypes, Register, Source, Word};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Bytes of saved registers.
const REGISTERS: usize = 224;

/// A directory for sources and programs.
pub(crate) struct Build(tempfile::TempDir);

impl Build {
    pub(crate) fn new() -> Build {
        Build(tempfile::tempdir().unwrap())
    }

    pub(crate) fn source(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs a command line in the directory, and gives the path of what it makes.
    pub(crate) fn run(&self, line: &str, out: &str) -> PathBuf {
        let mut words = line.split_whitespace();
        let program = words.next().unwrap();
        let output = Command::new(program)
            .args(words)
            .args(["-o", out])
            .current_dir(self.0.path())
            .output()
            .unwrap_or_else(|error| panic!("the tests need `{program}`: {error}"));
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        self.0.path().join(out)
    }
}

/// A program that has stopped, or is about to.
pub(crate) struct Watched {
    child: Child,
    go: ChildStdin,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    memory: File,
}

/// What the program says.
pub(crate) enum Said {
    /// It stopped where arguments are, or results.
    Stopped { returns: bool, frame: Box<Frame> },
    /// Words of its own.
    Line(String),
}

/// Registers, and how to read memory.
pub(crate) struct Frame {
    registers: [u8; REGISTERS],
    memory: File,
}

impl Watched {
    pub(crate) fn start(path: &Path) -> Watched {
        let mut child = Command::new(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let memory = File::open(format!("/proc/{}/mem", child.id())).unwrap();
        let (go, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Watched { child, go, lines: BufReader::new(out).lines(), memory }
    }

    /// The next thing it says. None at its end, which must be a good one.
    pub(crate) fn next(&mut self) -> Option<Said> {
        let Some(line) = self.lines.next() else {
            assert!(self.child.wait().unwrap().success());
            return None;
        };
        let line = line.unwrap();
        let mut words = line.split(' ');
        let returns = match words.next() {
            Some("entry") => false,
            Some("exit") => true,
            _ => return Some(Said::Line(line)),
        };
        let addr = u64::from_str_radix(words.next().unwrap(), 16).unwrap();
        let mut registers = [0; REGISTERS];
        self.memory.read_exact_at(&mut registers, addr).unwrap();
        let frame = Box::new(Frame { registers, memory: self.memory.try_clone().unwrap() });
        Some(Said::Stopped { returns, frame })
    }

    /// Lets it go on.
    pub(crate) fn go_on(&mut self) {
        self.go.write_all(b"\n").unwrap();
    }
}

impl Frame {
    fn word_at(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.registers[offset..offset + 8].try_into().unwrap())
    }

    fn read(&self, addr: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.memory.read_exact_at(&mut bytes, addr).ok()?;
        Some(bytes)
    }

    fn place(&self, place: Place, len: usize) -> Vec<u8> {
        let (offset, most) = match place {
            Place::Stack(word) => return self.read(self.word_at(208) + 8 * u64::from(word), len).unwrap(),
            Place::Register(register) => match register {
                Register::Rdi => (0, 8),
                Register::Rsi => (8, 8),
                Register::Rdx => (16, 8),
                Register::Rcx => (24, 8),
                Register::R8 => (32, 8),
                Register::R9 => (40, 8),
                Register::Rax => (48, 8),
                Register::Xmm(n) => (64 + 16 * usize::from(n), 16),
                Register::St0 => (192, 10),
                Register::St1 => panic!("the probe does not save it"),
            },
        };
        assert!(len <= most, "{len} bytes of {place:?}");
        self.registers[offset..offset + len].to_vec()
    }

    fn word(&self, word: Word) -> u64 {
        let number = |bytes: Vec<u8>| u64::from_le_bytes(bytes.try_into().unwrap());
        match word {
            Word::At(place) => number(self.place(place, 8)),
            Word::Behind { pointer, offset } => {
                let pointer = number(self.place(pointer, 8));
                number(self.read(pointer.wrapping_add_signed(offset.into()), 8).unwrap())
            }
        }
    }

    /// What would be recorded, without lengths of texts and padding.
    pub(crate) fn fetch(&self, source: &Source, size: u16) -> Vec<u8> {
        let size = usize::from(size);
        let is_absent =
            |absent: &Option<(Word, u64)>| absent.is_some_and(|(word, value)| self.word(word) == value);
        match source {
            Source::Pieces(pieces) => {
                let parts = pieces.iter().map(|piece| self.place(piece.place, piece.bytes.into()));
                let mut bytes = parts.collect::<Vec<_>>().concat();
                bytes.resize(size, 0);
                bytes
            }
            Source::Memory { pointer, offset } => {
                let addr = self.word(*pointer).wrapping_add_signed((*offset).into());
                self.read(addr, size).unwrap_or_else(|| vec![0xff; size])
            }
            Source::Text { absent, .. } if is_absent(absent) => vec![0xff; 4],
            Source::Text { pointer, length, .. } => {
                let addr = self.word(*pointer);
                match length {
                    Length::Word(length) => self.read(addr, self.word(*length) as usize).unwrap(),
                    Length::Nul if addr == 0 => b"NULL".to_vec(),
                    Length::Nul => {
                        (addr..).map(|at| self.read(at, 1).unwrap()[0]).take_while(|c| *c != 0).collect()
                    }
                }
            }
            Source::Sequence { pointer, count, element, absent } => {
                let count = if is_absent(absent) { ABSENT } else { self.word(*count) };
                let mut bytes = count.to_le_bytes().to_vec();
                let stride = *element as usize;
                let some = if count == ABSENT { 0 } else { (count as usize).min((size - 8) / stride) };
                assert_ne!(count, UNREADABLE);
                bytes.extend(self.read(self.word(*pointer), some * stride).unwrap_or_default());
                bytes.resize(size, 0);
                bytes
            }
        }
    }
}

/// The prototypes of a program and the addresses of its functions.
pub(crate) struct Program {
    pub(crate) prototypes: Prototypes,
    symbols: fathom_symbols::SymbolTable,
}

impl Program {
    pub(crate) fn open(path: &Path) -> Program {
        let image = Image::open(path).unwrap();
        Program { prototypes: Prototypes::open(&image).unwrap(), symbols: image.symbols() }
    }

    /// The prototype of the function whose readable name ends so.
    pub(crate) fn function(&self, name: &str) -> std::rc::Rc<fathom_types::Prototype> {
        use fathom_symbols::demangle::{Style, demangle};
        let wanted = |raw: &str| {
            let shown = demangle(raw, Style::Simple);
            shown == name || shown.strip_suffix(name).is_some_and(|rest| rest.ends_with("::"))
        };
        let symbol = self
            .symbols
            .iter()
            .find(|symbol| wanted(symbol.name) && !symbol.name.ends_with(".cold"))
            .unwrap_or_else(|| panic!("{name}"));
        self.prototypes.function(symbol.addr, symbol.name).unwrap_or_else(|| panic!("{name}"))
    }
}
