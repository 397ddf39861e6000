//! Where values are, for whoever fetches them: registers, words of the stack, memory behind them.
//!
//! Registers and stack are those of the System V ABI of x86-64 at the first instruction of a function for arguments,
//! and right after its return for return values.

use fathom_filter::args::{ArgFormat, ArgLocation, ArgSlot, ArgSpec};

/// A register that values are passed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Register {
    /// First integer argument.
    Rdi,
    /// Second integer argument.
    Rsi,
    /// Third integer argument, second word of a return value.
    Rdx,
    /// Fourth integer argument, third word of a return value (Rust only).
    Rcx,
    /// Fifth integer argument.
    R8,
    /// Sixth integer argument.
    R9,
    /// Return value, or the address of one in memory.
    Rax,
    /// One of `xmm0` to `xmm7`: floating-point arguments and return values.
    Xmm(u8),
    /// Top of the x87 stack: a `long double` that is returned.
    St0,
    /// Below it: the imaginary part of a complex `long double`.
    St1,
}

/// Integer registers in the order of arguments.
pub const INTEGER: [Register; 6] =
    [Register::Rdi, Register::Rsi, Register::Rdx, Register::Rcx, Register::R8, Register::R9];

impl Register {
    /// By the name in specs, in any case of letters.
    pub fn from_name(name: &str) -> Option<Register> {
        Some(match name.to_ascii_lowercase().as_str() {
            "rdi" => Register::Rdi,
            "rsi" => Register::Rsi,
            "rdx" => Register::Rdx,
            "rcx" => Register::Rcx,
            "r8" => Register::R8,
            "r9" => Register::R9,
            "rax" => Register::Rax,
            "st0" => Register::St0,
            "st1" => Register::St1,
            xmm => match xmm.strip_prefix("xmm")?.as_bytes() {
                [digit @ b'0'..=b'7'] => Register::Xmm(digit - b'0'),
                _ => return None,
            },
        })
    }

    /// The name in specs, lower case.
    pub fn name(self) -> String {
        match self {
            Register::Rdi => "rdi".to_owned(),
            Register::Rsi => "rsi".to_owned(),
            Register::Rdx => "rdx".to_owned(),
            Register::Rcx => "rcx".to_owned(),
            Register::R8 => "r8".to_owned(),
            Register::R9 => "r9".to_owned(),
            Register::Rax => "rax".to_owned(),
            Register::Xmm(n) => format!("xmm{n}"),
            Register::St0 => "st0".to_owned(),
            Register::St1 => "st1".to_owned(),
        }
    }

    /// Bytes of it that values can be in.
    pub fn bytes(self) -> u16 {
        match self {
            Register::St0 | Register::St1 => 10,
            // Vectors have 16, everything else 8.
            Register::Xmm(_) => 16,
            _ => 8,
        }
    }
}

/// Where a value begins that is there without following a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a register.
    Register(Register),
    /// On the stack, at the word of that number, from 1: 8 times as many bytes above the return address's slot.
    /// Arguments only.
    Stack(u32),
}

/// Some bytes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Piece {
    /// Where they are.
    pub place: Place,
    /// How many: at most [`Register::bytes`] of a register, on the stack also more than one word.
    pub bytes: u16,
}

/// A word of 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// There without following a pointer.
    At(Place),
    /// So many bytes behind what a pointer points to.
    Behind {
        /// The pointer.
        pointer: Place,
        /// In bytes.
        offset: i32,
    },
}

/// How long a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Length {
    /// Up to a NUL.
    Nul,
    /// So many bytes.
    Word(Word),
}

/// Where a value is. What is recorded of it is said with each kind; padding to 4 bytes follows in all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The pieces, one behind the other, and then zeros up to the spec's size. (What registers have above the
    /// significant bytes is anything, so it is not recorded.)
    Pieces(Vec<Piece>),
    /// As many bytes as the spec's size, at an offset behind a pointer: `ff` bytes if they can't be read.
    Memory {
        /// The pointer.
        pointer: Word,
        /// In bytes.
        offset: i32,
    },
    /// Length (u16) and text, as formats `s` and `S` are recorded.
    Text {
        /// Points to the text. A null pointer is recorded as the text `NULL`, one that can't be read as `<0x...>`; a
        /// text of length 0 is not read at all.
        pointer: Word,
        /// How long it is.
        length: Length,
        /// If this word has this value there is no text: recorded as length 4 and four `ff` bytes, which no text in
        /// UTF-8 has.
        absent: Option<(Word, u64)>,
    },
    /// Number of elements (u64), then the bytes of as many as fit into what is left of the spec's size, then zeros.
    Sequence {
        /// Points to the first element.
        pointer: Word,
        /// How many there are.
        count: Word,
        /// Bytes of one, at least 1.
        element: u32,
        /// If this word has this value there is no sequence: [`ABSENT`] is recorded for the number.
        absent: Option<(Word, u64)>,
    },
}

/// Number of elements of a sequence that is not there.
pub const ABSENT: u64 = u64::MAX;
/// Number of elements of a sequence that can't be read.
pub const UNREADABLE: u64 = u64::MAX - 1;

/// One value of a function: what is recorded for it, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Format and size of what is recorded; its order among others is that of the payload.
    pub spec: ArgSpec,
    /// Where it is.
    pub source: Source,
}

impl Fetch {
    /// A value as its spec alone describes it. None if the spec names a register that values can't be in.
    pub fn of(spec: ArgSpec) -> Option<Fetch> {
        let source = Source::of(&spec)?;
        Some(Fetch { spec, source })
    }
}

impl Source {
    /// Where a value is by its spec. None if that names a register that values can't be in.
    pub fn of(spec: &ArgSpec) -> Option<Source> {
        let float = spec.format == ArgFormat::Float;
        let pieces = match (&spec.location, spec.slot) {
            (ArgLocation::Registers(names), _) => {
                let registers = names.iter().map(|name| Register::from_name(name));
                in_registers(&registers.collect::<Option<Vec<_>>>()?, size_of(spec))
            }
            (ArgLocation::Memory(name, offset), _) => {
                let pointer = Place::Register(Register::from_name(name)?);
                return Some(Source::behind(spec.format, pointer, *offset));
            }
            (ArgLocation::Stack(word), _) => vec![Piece { place: Place::Stack(*word), bytes: size_of(spec) }],
            (ArgLocation::Index, ArgSlot::Return) => match (spec.format, spec.size) {
                (ArgFormat::Float, 10) => in_registers(&[Register::St0], 10),
                (ArgFormat::Float, size) => in_registers(&[Register::Xmm(0)], size),
                // Nobody said what the struct is made of. Most are of integers and pointers.
                (ArgFormat::Struct, 17..) => {
                    return Some(Source::Memory {
                        pointer: Word::At(Place::Register(Register::Rax)),
                        offset: 0,
                    });
                }
                _ => in_registers(&[Register::Rax, Register::Rdx], size_of(spec)),
            },
            // A long double is never in a register. Which word it is in nobody said: the first.
            (ArgLocation::Index, ArgSlot::Float(_)) if spec.size == 10 => {
                vec![Piece { place: Place::Stack(1), bytes: 10 }]
            }
            (ArgLocation::Index, ArgSlot::Integer(n)) if float => vec![float_argument(n, spec.size)],
            (ArgLocation::Index, ArgSlot::Float(n)) => vec![float_argument(n, spec.size)],
            (ArgLocation::Index, ArgSlot::Integer(n)) => {
                let place = match INTEGER.get(usize::from(n).checked_sub(1)?) {
                    Some(register) => Place::Register(*register),
                    None => Place::Stack(u32::from(n) - 6),
                };
                vec![Piece { place, bytes: size_of(spec) }]
            }
        };
        let Some(Piece { place, .. }) = pieces.first().copied() else {
            return Some(Source::Pieces(pieces));
        };
        Some(match spec.format {
            ArgFormat::String => Source::Text { pointer: Word::At(place), length: Length::Nul, absent: None },
            ArgFormat::StdString => Source::std_string(place),
            _ => Source::Pieces(pieces),
        })
    }

    /// A value in memory, so many bytes behind what a pointer points to.
    fn behind(format: ArgFormat, pointer: Place, offset: i32) -> Source {
        let at = |more: i32| Word::Behind { pointer, offset: offset.saturating_add(more) };
        let text = |length| Source::Text { pointer: at(0), length, absent: None };
        match format {
            ArgFormat::String => text(Length::Nul),
            ArgFormat::StdString => text(Length::Word(at(8))),
            _ => Source::Memory { pointer: Word::At(pointer), offset },
        }
    }

    /// The text of a `std::string` of libstdc++ that a pointer points to: pointer and length come first in it.
    pub fn std_string(pointer: Place) -> Source {
        Source::Text {
            pointer: Word::Behind { pointer, offset: 0 },
            length: Length::Word(Word::Behind { pointer, offset: 8 }),
            absent: None,
        }
    }
}

/// How a spec says where a value is: the registers or the stack word, of what is in memory those of its pointer.
pub(crate) fn spec_location(source: &Source) -> ArgLocation {
    let word = |word: &Word| match word {
        Word::At(place) | Word::Behind { pointer: place, .. } => *place,
    };
    let places: Vec<Place> = match source {
        Source::Pieces(pieces) => pieces.iter().map(|piece| piece.place).collect(),
        Source::Memory { pointer, .. } | Source::Text { pointer, .. } | Source::Sequence { pointer, .. } => {
            vec![word(pointer)]
        }
    };
    let register = |place: &Place| match place {
        Place::Register(register) => Some(register.name()),
        Place::Stack(_) => None,
    };
    match places.first() {
        None => ArgLocation::Index,
        Some(Place::Stack(word)) => ArgLocation::Stack(*word),
        Some(_) => ArgLocation::Registers(places.iter().filter_map(register).collect()),
    }
}

/// Bytes that are taken from registers or the stack.
fn size_of(spec: &ArgSpec) -> u16 {
    match spec.format {
        ArgFormat::String | ArgFormat::StdString => 8,
        // Recorded with eight, as the peer wants it, but passed as an int.
        ArgFormat::Enum => spec.size.min(4),
        _ => spec.size,
    }
}

/// Eight bytes from each register as long as there are any; all ten of an x87 register, and of the last register all
/// that are left, which are sixteen if it is a vector.
fn in_registers(registers: &[Register], size: u16) -> Vec<Piece> {
    let mut left = size;
    let mut pieces = Vec::new();
    for (number, register) in registers.iter().enumerate() {
        let last = number + 1 == registers.len();
        let bytes = left.min(match register {
            Register::Xmm(_) if !last => 8,
            register => register.bytes(),
        });
        if bytes > 0 {
            pieces.push(Piece { place: Place::Register(*register), bytes });
        }
        left -= bytes;
    }
    pieces
}

/// The peer takes it that every floating-point argument behind the eighth needs two words.
fn float_argument(n: u16, size: u16) -> Piece {
    let place = match n {
        0..=8 => Place::Register(Register::Xmm(n.saturating_sub(1) as u8)),
        _ => Place::Stack((u32::from(n) - 8) * 2 - 1),
    };
    Piece { place, bytes: size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_filter::args::{Class, parse_items};
    use proptest::prelude::*;

    fn source(text: &str) -> Option<Source> {
        Source::of(&parse_items(text, Class::Bits64).unwrap().specs[0])
    }

    fn at(register: Register, bytes: u16) -> Piece {
        Piece { place: Place::Register(register), bytes }
    }

    fn pieces(text: &str) -> Vec<Piece> {
        match source(text) {
            Some(Source::Pieces(pieces)) => pieces,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn numbered_arguments() {
        assert_eq!(pieces("arg1"), [at(Register::Rdi, 8)]);
        assert_eq!(pieces("arg6/i16"), [at(Register::R9, 2)]);
        assert_eq!(pieces("arg8/d32"), [Piece { place: Place::Stack(2), bytes: 4 }]);
        assert_eq!(pieces("fparg1"), [at(Register::Xmm(0), 8)]);
        assert_eq!(pieces("fparg8/32"), [at(Register::Xmm(7), 4)]);
        assert_eq!(pieces("arg2/f32"), [at(Register::Xmm(1), 4)]);
        assert_eq!(pieces("fparg10/64"), [Piece { place: Place::Stack(3), bytes: 8 }]);
        assert_eq!(pieces("fparg1/80"), [Piece { place: Place::Stack(1), bytes: 10 }]);
        assert_eq!(pieces("arg1/c"), [at(Register::Rdi, 1)]);
    }

    #[test]
    fn given_places() {
        assert_eq!(pieces("arg1/t12:fl%XMM0+XMM1"), [at(Register::Xmm(0), 8), at(Register::Xmm(1), 4)]);
        assert_eq!(pieces("arg2/t16:mix%xmm0+rsi"), [at(Register::Xmm(0), 8), at(Register::Rsi, 8)]);
        assert_eq!(pieces("arg1/t32:big%stack+3"), [Piece { place: Place::Stack(3), bytes: 32 }]);
        assert_eq!(pieces("arg1/t0:empty%rdi"), []);
        assert_eq!(source("arg1%eax"), None);
        assert_eq!(source("fparg1%xmm8"), None);
        let rdi = Place::Register(Register::Rdi);
        let memory = Source::Memory { pointer: Word::At(rdi), offset: 12 };
        assert_eq!(source("arg1/i32%rdi+12"), Some(memory));
        let pointed = Word::Behind { pointer: rdi, offset: -8 };
        assert_eq!(
            source("arg1/s%rdi-8"),
            Some(Source::Text { pointer: pointed, length: Length::Nul, absent: None })
        );
        let text = |place| Source::Text { pointer: Word::At(place), length: Length::Nul, absent: None };
        assert_eq!(source("arg7/s"), Some(text(Place::Stack(1))));
        assert_eq!(source("arg7/s%rdx"), Some(text(Place::Register(Register::Rdx))));
        assert_eq!(source("arg1/S"), Some(Source::std_string(Place::Register(Register::Rdi))));
    }

    #[test]
    fn return_values() {
        assert_eq!(pieces("retval/d32"), [at(Register::Rax, 4)]);
        assert_eq!(pieces("retval/f32"), [at(Register::Xmm(0), 4)]);
        assert_eq!(pieces("retval/f80"), [at(Register::St0, 10)]);
        assert_eq!(pieces("retval/t12:p"), [at(Register::Rax, 8), at(Register::Rdx, 4)]);
        assert_eq!(pieces("retval/t16:p%xmm0+rax"), [at(Register::Xmm(0), 8), at(Register::Rax, 8)]);
        let memory = Source::Memory { pointer: Word::At(Place::Register(Register::Rax)), offset: 0 };
        assert_eq!(source("retval/t40:big"), Some(memory));
    }

    proptest! {
        #[test]
        fn pieces_have_the_size_of_the_spec(n in 1u16..20, letter in "[diuxocp]", bits in 0usize..4) {
            let bits = [8u16, 16, 32, 64][bits];
            let total: u16 = pieces(&format!("arg{n}/{letter}{bits}")).iter().map(|p| p.bytes).sum();
            prop_assert_eq!(total, bits / 8);
        }
    }
}
