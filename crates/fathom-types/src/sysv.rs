//! Which registers and stack words values are in, by the System V ABI of x86-64 (sections 3.2.3 and 3.2.4).

use crate::fetch::INTEGER;
use crate::{Piece, Place, Register};

/// A part of a value that an instruction handles as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Bytes from the beginning of the value.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) kind: LeafKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeafKind {
    Integer,
    /// Floating-point numbers of SSE, also of 16 bytes, and vectors.
    Float,
    /// `long double`.
    X87,
}

/// What matters of a type for how its values are passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) bytes: u64,
    /// What it is made of, as far as it has no more than two words. Padding is no part.
    pub(crate) leaves: Vec<Leaf>,
    /// A C++ class whose copies are made by its constructor: what is passed is its address.
    pub(crate) by_reference: bool,
    /// A member is not where its alignment would put it, or it has more than two words.
    pub(crate) in_memory: bool,
    /// Whether it begins at a multiple of 16 bytes on the stack.
    pub(crate) aligned: bool,
}

impl Shape {
    pub(crate) fn scalar(bytes: u64, kind: LeafKind) -> Shape {
        let leaves = match (kind, bytes) {
            (_, 0) => Vec::new(),
            // Integers of 16 bytes are two words.
            (LeafKind::Integer, 16) => {
                [0, 8].map(|offset| Leaf { offset, bytes: 8, kind: LeafKind::Integer }).into()
            }
            _ => vec![Leaf { offset: 0, bytes, kind }],
        };
        Shape { bytes, leaves, aligned: bytes == 16, ..Shape::default() }
    }

    pub(crate) fn pointer() -> Shape {
        Shape::scalar(8, LeafKind::Integer)
    }
}

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// Here.
    Pieces(Vec<Piece>),
    /// In memory, and its address here.
    Behind(Place),
}

/// Class of eight bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    None,
    Integer,
    Float,
    /// Upper half of the vector before it.
    FloatUp,
}

/// How a value that is not in memory is passed.
enum Class {
    Words([Word; 2]),
    /// So many x87 numbers.
    X87(usize),
    Memory,
}

fn classify(shape: &Shape) -> Class {
    if shape.in_memory || shape.bytes > 32 {
        return Class::Memory;
    }
    let x87 = shape.leaves.iter().filter(|leaf| leaf.kind == LeafKind::X87).count();
    if x87 > 0 {
        let alone = x87 == shape.leaves.len() && shape.bytes == 16 * x87 as u64;
        return if alone && x87 <= 2 { Class::X87(x87) } else { Class::Memory };
    }
    if shape.bytes > 16 {
        return Class::Memory;
    }
    let mut words = [Word::None; 2];
    for leaf in &shape.leaves {
        if leaf.kind == LeafKind::Float && leaf.bytes == 16 {
            words = [Word::Float, Word::FloatUp];
            continue;
        }
        for byte in [leaf.offset, leaf.offset + leaf.bytes.max(1) - 1] {
            let Some(word) = words.get_mut((byte / 8) as usize) else { return Class::Memory };
            *word = match (*word, leaf.kind) {
                (Word::Integer, _) | (_, LeafKind::Integer) => Word::Integer,
                _ => Word::Float,
            };
        }
    }
    Class::Words(words)
}

/// Hands out registers and stack words to arguments, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    integers: usize,
    floats: usize,
    /// Words of the stack that are taken.
    words: u32,
}

impl Arguments {
    /// For a function that returns `returned`: the address of a value in memory is its first argument.
    pub(crate) fn of(returned: Option<&Shape>) -> Arguments {
        let hidden = returned.is_some_and(|shape| matches!(return_value(shape), Where::Behind(_)));
        Arguments { integers: usize::from(hidden), ..Arguments::default() }
    }

    /// The place of the next argument. None if it is none that can be said where it is.
    pub(crate) fn next(&mut self, shape: &Shape) -> Option<Where> {
        if shape.by_reference {
            return Some(Where::Behind(self.pointer()));
        }
        let Class::Words(words) = classify(shape) else {
            return Some(Where::Pieces(self.on_stack(shape)));
        };
        if let [Word::None, second] = words {
            // Nothing but padding in front: no compiler's rule is known for that.
            return (second == Word::None).then(|| Where::Pieces(Vec::new()));
        }
        let count = |wanted| words.iter().filter(|word| **word == wanted).count();
        if self.integers + count(Word::Integer) > 6 || self.floats + count(Word::Float) > 8 {
            return Some(Where::Pieces(self.on_stack(shape)));
        }
        let pieces = pieces(words, shape.bytes, |word| match word {
            Word::Integer => {
                self.integers += 1;
                INTEGER[(self.integers - 1).min(5)]
            }
            _ => {
                self.floats += 1;
                Register::Xmm((self.floats - 1) as u8)
            }
        });
        Some(Where::Pieces(pieces))
    }

    /// The next place of a pointer or another integer of at most 8 bytes.
    pub(crate) fn pointer(&mut self) -> Place {
        match INTEGER.get(self.integers) {
            Some(register) => {
                self.integers += 1;
                Place::Register(*register)
            }
            None => {
                self.words += 1;
                Place::Stack(self.words)
            }
        }
    }

    fn on_stack(&mut self, shape: &Shape) -> Vec<Piece> {
        if shape.aligned {
            self.words = self.words.next_multiple_of(2);
        }
        let place = Place::Stack(self.words.saturating_add(1));
        let words = u32::try_from(shape.bytes.div_ceil(8)).unwrap_or(u32::MAX);
        self.words = self.words.saturating_add(words).min(u32::MAX - 8);
        vec![Piece { place, bytes: u16::try_from(shape.bytes).unwrap_or(u16::MAX) }]
    }
}

/// Where a return value is.
pub(crate) fn return_value(shape: &Shape) -> Where {
    let memory = Where::Behind(Place::Register(Register::Rax));
    if shape.by_reference {
        return memory;
    }
    let words = match classify(shape) {
        Class::Memory => return memory,
        Class::X87(count) => {
            let registers = [Register::St0, Register::St1].into_iter().take(count);
            let piece = |register| Piece { place: Place::Register(register), bytes: 10 };
            return Where::Pieces(registers.map(piece).collect());
        }
        Class::Words(words) => words,
    };
    let (mut integers, mut floats) = ([Register::Rax, Register::Rdx].into_iter(), 0);
    Where::Pieces(pieces(words, shape.bytes, |word| match word {
        Word::Integer => integers.next().unwrap_or(Register::Rdx),
        _ => {
            floats += 1;
            Register::Xmm(floats - 1)
        }
    }))
}

/// Takes a register for each word.
fn pieces(words: [Word; 2], bytes: u64, mut take: impl FnMut(Word) -> Register) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (number, word) in words.into_iter().enumerate() {
        let left = bytes.saturating_sub(8 * number as u64);
        match word {
            Word::None => break,
            Word::FloatUp => {}
            word => {
                let most = if words.get(number + 1) == Some(&Word::FloatUp) { 16 } else { 8 };
                pieces.push(Piece { place: Place::Register(take(word)), bytes: left.min(most) as u16 });
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use LeafKind::{Float, Integer, X87};

    fn shape(bytes: u64, leaves: &[(u64, u64, LeafKind)]) -> Shape {
        let leaves = leaves.iter().map(|&(offset, bytes, kind)| Leaf { offset, bytes, kind }).collect();
        Shape { bytes, leaves, in_memory: false, ..Shape::default() }
    }

    fn text(place: Option<Where>) -> String {
        let one = |place: Place| match place {
            Place::Register(register) => register.name(),
            Place::Stack(word) => format!("stack+{word}"),
        };
        match place {
            None => "?".to_owned(),
            Some(Where::Behind(place)) => format!("*{}", one(place)),
            Some(Where::Pieces(pieces)) => {
                let pieces = pieces.iter().map(|piece| format!("{}:{}", one(piece.place), piece.bytes));
                pieces.collect::<Vec<_>>().join(" ")
            }
        }
    }

    /// The example of figure 3.5 and 3.6 of the ABI, without its stack-passed ones' padding.
    #[test]
    fn the_example_of_the_abi() {
        let int = Shape::scalar(4, Integer);
        let double = Shape::scalar(8, Float);
        let long_double = Shape::scalar(16, X87);
        let structure = shape(16, &[(0, 4, Integer), (4, 4, Integer), (8, 8, Float)]);
        let mut arguments = Arguments::of(None);
        let mut next = |shape: &Shape| text(arguments.next(shape));
        assert_eq!([next(&int), next(&int)], ["rdi:4", "rsi:4"]);
        assert_eq!(next(&structure), "rdx:8 xmm0:8");
        assert_eq!([next(&int), next(&int)], ["rcx:4", "r8:4"]);
        assert_eq!(next(&long_double), "stack+1:16");
        assert_eq!([next(&double), next(&double)], ["xmm1:8", "xmm2:8"]);
        assert_eq!([next(&int), next(&int), next(&int)], ["r9:4", "stack+3:4", "stack+4:4"]);
    }

    #[test]
    fn words_of_structs() {
        let mut all = Arguments::of(None);
        assert_eq!(
            text(all.next(&shape(12, &[(0, 4, Float), (4, 4, Float), (8, 4, Float)]))),
            "xmm0:8 xmm1:4"
        );
        assert_eq!(text(all.next(&shape(8, &[(0, 4, Integer), (4, 4, Float)]))), "rdi:8");
        assert_eq!(text(all.next(&shape(16, &[(0, 16, Float)]))), "xmm2:16");
        assert_eq!(text(all.next(&Shape::scalar(16, Integer))), "rsi:8 rdx:8");
        assert_eq!(text(all.next(&shape(1, &[]))), "");
        assert_eq!(text(all.next(&Shape { by_reference: true, ..shape(4, &[]) })), "*rcx");
        // Two words and one register left: all on the stack, and the register for the next one.
        assert_eq!(text(all.next(&Shape::pointer())), "r8:8");
        assert_eq!(text(all.next(&Shape { aligned: true, ..Shape::scalar(16, Integer) })), "stack+1:16");
        assert_eq!(text(all.next(&Shape::pointer())), "r9:8");
        assert_eq!(text(all.next(&Shape::pointer())), "stack+3:8");
        assert_eq!(text(all.next(&Shape::scalar(16, X87))), "stack+5:16");
        assert_eq!(text(all.next(&shape(16, &[(8, 8, Integer)]))), "?");
    }

    #[test]
    fn returned() {
        let of = |shape: &Shape| text(Some(return_value(shape)));
        assert_eq!(of(&Shape::scalar(4, Integer)), "rax:4");
        assert_eq!(of(&Shape::scalar(16, Integer)), "rax:8 rdx:8");
        assert_eq!(of(&shape(16, &[(0, 8, Float), (8, 8, Integer)])), "xmm0:8 rax:8");
        assert_eq!(of(&shape(16, &[(0, 8, Float), (8, 8, Float)])), "xmm0:8 xmm1:8");
        assert_eq!(of(&Shape::scalar(16, X87)), "st0:10");
        assert_eq!(of(&shape(32, &[(0, 16, X87), (16, 16, X87)])), "st0:10 st1:10");
        let big = Shape { in_memory: true, ..shape(24, &[]) };
        assert_eq!(of(&big), "*rax");
        assert_eq!(text(Arguments::of(Some(&big)).next(&Shape::pointer())), "rsi:8");
    }
}
