//! Types of Rust: how values are passed, recorded and shown.
//!
//! How they are passed is not promised by anybody. These are the rules of the compilers from 1.8x on: a value that
//! consists of one or two scalars is passed in as many registers, another one of at most eight bytes as an integer, and
//! everything else by its address.

mod read;
mod record;

use crate::dwarf::{Debug, Key, Node};
use crate::layout::Layout;
use crate::sysv::{Arguments, LeafKind, Shape, Where};
use crate::{Piece, Place, Register};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

pub(crate) use record::Recorded;

/// A type, as far as it matters here.
#[derive(Debug)]
pub(crate) struct Type {
    bytes: u64,
    /// As the specs name it.
    name: String,
    parts: Parts,
    /// The same for the struct of a variant, which is larger than what it consists of.
    loose: Parts,
    layout: Layout,
    text: Option<Special>,
    /// Text or elements that are all a struct has.
    only_text: Option<Special>,
    /// Of an `Option` of a reference what that refers to.
    optional_target: Option<Node>,
    /// What a pointer points to, and what stands before that when it is shown. Raw pointers have none.
    target: Option<(Node, &'static str)>,
}

/// What a value consists of, as the compiler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parts {
    Nothing,
    One(Scalar),
    /// In the order of their places.
    Two(Scalar, Scalar),
    Many,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scalar {
    offset: u64,
    bytes: u64,
    float: bool,
}

/// Text or elements that are elsewhere: where in the value the words are that say where.
#[derive(Clone, Debug)]
struct Special {
    pointer: u64,
    length: u64,
    /// Of elements the entry of their type, which may be the very type that has them; of text none.
    element: Option<Rc<Node>>,
    /// Offset and value of the word that tells that there is nothing (`None`).
    absent: Option<(u64, u64)>,
}

/// The types of a module that have been met.
#[derive(Debug, Default)]
pub(crate) struct Types {
    known: RefCell<FxHashMap<Key, Option<Rc<Type>>>>,
    /// Descriptions by the names that specs mention.
    descriptions: RefCell<BTreeMap<String, String>>,
}

impl Types {
    /// A type. None if it makes no sense.
    pub(crate) fn get(&self, debug: &Debug, node: Node) -> Option<Rc<Type>> {
        read::at_depth(self, debug, node, read::DEPTH)
    }

    /// All descriptions, as `.dbg` files have them.
    pub(crate) fn definitions(&self) -> Vec<String> {
        self.descriptions.borrow().iter().map(|(name, text)| format!("{name} = {text}")).collect()
    }

    /// The name under which a description is kept: that of the type, or a longer one if another type has the same.
    fn describe(&self, name: &str, layout: &Layout) -> String {
        let text = layout.text();
        let mut all = self.descriptions.borrow_mut();
        let mut free = name.to_owned();
        let mut number = 2;
        while all.get(&free).is_some_and(|known| *known != text) {
            free = format!("{name}'{number}");
            number += 1;
        }
        all.insert(free.clone(), text);
        free
    }
}

impl Scalar {
    fn shape(self) -> Shape {
        let kind = if self.float { LeafKind::Float } else { LeafKind::Integer };
        Shape { aligned: false, ..Shape::scalar(self.bytes, kind) }
    }
}

impl Type {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The place of the next argument. None if it is in no order that can be recorded.
    pub(crate) fn next(&self, arguments: &mut Arguments) -> Option<Where> {
        match self.parts {
            Parts::Nothing => Some(Where::Pieces(Vec::new())),
            Parts::One(scalar) => arguments.next(&scalar.shape()),
            Parts::Two(first, second) => {
                let places = (arguments.next(&first.shape())?, arguments.next(&second.shape())?);
                match places {
                    (Where::Pieces(a), Where::Pieces(b)) => joined(a, b, second.offset).map(Where::Pieces),
                    _ => None,
                }
            }
            Parts::Many if self.bytes <= 8 => arguments.next(&Shape::scalar(self.bytes, LeafKind::Integer)),
            Parts::Many => Some(Where::Behind(arguments.pointer())),
        }
    }

    /// Whether it is returned in memory, the address of which is the first argument then.
    fn in_memory(&self) -> bool {
        match self.parts {
            Parts::Nothing | Parts::One(_) => false,
            Parts::Two(first, second) => first.bytes > 8 || second.bytes > 8,
            Parts::Many => self.bytes > 8,
        }
    }

    /// Places of the arguments of a function that returns it.
    pub(crate) fn arguments(&self) -> Arguments {
        let mut arguments = Arguments::of(None);
        if self.in_memory() {
            arguments.pointer();
        }
        arguments
    }

    /// Where it is when it is returned.
    pub(crate) fn returned(&self) -> Option<Where> {
        let place = |register| Place::Register(register);
        if self.in_memory() {
            return Some(Where::Behind(place(Register::Rax)));
        }
        let (mut integers, mut floats) = ([Register::Rax, Register::Rdx].into_iter(), 0..2);
        let mut take = |scalar: Scalar| -> Option<Vec<Piece>> {
            if scalar.bytes > 8 {
                let half = |register| Piece { place: place(register), bytes: 8 };
                return Some(vec![half(Register::Rax), half(Register::Rdx)]);
            }
            let register = if scalar.float { Register::Xmm(floats.next()?) } else { integers.next()? };
            Some(vec![Piece { place: place(register), bytes: scalar.bytes as u16 }])
        };
        let pieces = match self.parts {
            Parts::Nothing => Vec::new(),
            Parts::One(scalar) => take(scalar)?,
            Parts::Two(first, second) => joined(take(first)?, take(second)?, second.offset)?,
            Parts::Many => take(Scalar { offset: 0, bytes: self.bytes, float: false })?,
        };
        Some(Where::Pieces(pieces))
    }
}

/// The pieces of two scalars, with as many bytes of the first that the second is where it is in memory: what is between
/// them is padding. None if there is more of that than a register has.
fn joined(mut first: Vec<Piece>, second: Vec<Piece>, offset: u64) -> Option<Vec<Piece>> {
    let before: u64 = first.iter().rev().skip(1).map(|piece| u64::from(piece.bytes)).sum();
    let last = first.last_mut()?;
    last.bytes = u16::try_from(offset.checked_sub(before)?).ok().filter(|bytes| *bytes <= 8)?;
    first.extend(second);
    Some(first)
}
