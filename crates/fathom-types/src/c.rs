//! Types of C and C++: how values are passed and recorded.

use crate::dwarf::{Debug, Key, Node};
use crate::enums::Enums;
use crate::sysv::{Leaf, LeafKind, Shape};
use fathom_filter::args::ArgFormat;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::rc::Rc;

/// Most levels of types in types.
const DEPTH: usize = 32;
/// Most parts of a value that is passed in registers.
const LEAVES: usize = 64;

/// How values of a type are passed and recorded.
#[derive(Clone, Debug)]
pub(crate) struct Type {
    pub(crate) shape: Shape,
    pub(crate) record: Record,
}

/// How a value is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// With this format and so many bytes.
    Plain(ArgFormat, u16),
    /// Text that a pointer points to.
    Text,
    /// An enumeration of so many bytes.
    Enum(String, u16),
    /// `std::string` of libstdc++, in memory.
    StdString,
    /// A struct, a union, an array or a number that nothing else fits: bytes and name.
    Struct(u64, Option<String>),
}

/// The types of a module that have been met.
#[derive(Debug, Default)]
pub(crate) struct Types {
    known: RefCell<FxHashMap<Key, Option<Rc<Type>>>>,
}

impl Types {
    /// A type. None if its size is not known, so that what follows it can be anywhere.
    pub(crate) fn get(&self, debug: &Debug, enums: &Enums, node: Node) -> Option<Rc<Type>> {
        self.at_depth(debug, enums, node, DEPTH)
    }

    fn at_depth(&self, debug: &Debug, enums: &Enums, node: Node, depth: usize) -> Option<Rc<Type>> {
        let depth = depth.checked_sub(1)?;
        let node = debug.strip(node)?;
        let key = debug.key(&node)?;
        if let Some(known) = self.known.borrow().get(&key) {
            return known.clone();
        }
        let found = Reading { types: self, debug, enums, depth }.any(&node).map(Rc::new);
        self.known.borrow_mut().insert(key, found.clone());
        found
    }
}

/// One type that is being read.
struct Reading<'r> {
    types: &'r Types,
    debug: &'r Debug,
    enums: &'r Enums,
    depth: usize,
}

impl Reading<'_> {
    fn any(&self, node: &Node) -> Option<Type> {
        match node.tag() {
            gimli::DW_TAG_base_type => self.base(node),
            gimli::DW_TAG_pointer_type => Some(self.pointer(node, false)),
            gimli::DW_TAG_reference_type | gimli::DW_TAG_rvalue_reference_type => {
                Some(self.pointer(node, true))
            }
            // A pointer to a member function is a pointer and an adjustment of `this`, one to a member an offset.
            gimli::DW_TAG_ptr_to_member_type => {
                let function = self.debug.type_of(node).and_then(|target| self.debug.strip(target));
                let function = function.is_some_and(|target| target.tag() == gimli::DW_TAG_subroutine_type);
                let shape = Shape::scalar(if function { 16 } else { 8 }, LeafKind::Integer);
                let shape = Shape { aligned: false, ..shape };
                Some(Type { shape, record: Record::Plain(ArgFormat::Pointer, 8) })
            }
            // `decltype(nullptr)`.
            gimli::DW_TAG_unspecified_type => Some(plain(Shape::pointer(), ArgFormat::Pointer)),
            gimli::DW_TAG_enumeration_type => self.enumeration(node),
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type | gimli::DW_TAG_union_type => {
                self.structure(node)
            }
            gimli::DW_TAG_array_type => self.array(node),
            _ => None,
        }
    }

    fn base(&self, node: &Node) -> Option<Type> {
        let bytes = node.bytes()?;
        let name = self.debug.name(node).unwrap_or_default();
        let integer = |format| Some(plain(Shape::scalar(bytes, LeafKind::Integer), format));
        let other = |shape| Some(Type { shape, record: Record::Struct(bytes, Some(name.clone())) });
        match (node.encoding()?, bytes) {
            (gimli::DW_ATE_float, 4 | 8) => {
                Some(plain(Shape::scalar(bytes, LeafKind::Float), ArgFormat::Float))
            }
            // The only types of this size that are no x87 numbers have other names.
            (gimli::DW_ATE_float, 12 | 16) if name == "long double" => {
                let shape = Shape::scalar(bytes, LeafKind::X87);
                Some(Type { shape, record: Record::Plain(ArgFormat::Float, 10) })
            }
            (gimli::DW_ATE_float, 2 | 16) => other(Shape::scalar(bytes, LeafKind::Float)),
            (gimli::DW_ATE_complex_float, 8 | 16 | 32) => {
                let kind = if bytes == 32 { LeafKind::X87 } else { LeafKind::Float };
                let half = bytes / 2;
                let leaves = [0, half].map(|offset| Leaf { offset, bytes: half, kind }).into();
                other(Shape { bytes, leaves, aligned: bytes == 32, ..Shape::default() })
            }
            (gimli::DW_ATE_signed_char | gimli::DW_ATE_unsigned_char, 1) if name == "char" => {
                integer(ArgFormat::Char)
            }
            (_, 16) => other(Shape::scalar(16, LeafKind::Integer)),
            (gimli::DW_ATE_signed | gimli::DW_ATE_signed_char, 1 | 2) => integer(ArgFormat::Signed),
            // Recorded with eight bytes, as the peer does, but of an int only the four that mean something are taken.
            (gimli::DW_ATE_signed, 4 | 8) => {
                let shape = Shape::scalar(bytes, LeafKind::Integer);
                Some(Type { shape, record: Record::Plain(ArgFormat::Auto, 8) })
            }
            (_, 1 | 2 | 4 | 8) => integer(ArgFormat::Unsigned),
            _ => None,
        }
    }

    fn pointer(&self, node: &Node, reference: bool) -> Type {
        let text = if self.is_text(node, reference) == Some(true) {
            Record::Text
        } else {
            Record::Plain(ArgFormat::Pointer, 8)
        };
        Type { shape: Shape::pointer(), record: text }
    }

    /// Whether it points to characters. A reference does only if it refers to an array: a reference to one character
    /// says nothing of a NUL behind it.
    fn is_text(&self, node: &Node, reference: bool) -> Option<bool> {
        let mut target = self.debug.strip(self.debug.type_of(node)?)?;
        if reference {
            if target.tag() != gimli::DW_TAG_array_type {
                return Some(false);
            }
            target = self.debug.strip(self.debug.type_of(&target)?)?;
        }
        let character =
            matches!(target.encoding(), Some(gimli::DW_ATE_signed_char | gimli::DW_ATE_unsigned_char));
        Some(target.tag() == gimli::DW_TAG_base_type && character && self.debug.name(&target)? == "char")
    }

    fn enumeration(&self, node: &Node) -> Option<Type> {
        let bytes = match node.bytes() {
            Some(bytes) => bytes,
            // Only its underlying type has a size.
            None => self.debug.strip(self.debug.type_of(node)?)?.bytes()?,
        };
        let size = u16::try_from(bytes).ok().filter(|bytes| matches!(bytes, 1 | 2 | 4 | 8))?;
        let shape = Shape::scalar(bytes, LeafKind::Integer);
        let record = match self.enums.name(self.debug, node) {
            Some(name) => Record::Enum(name, size),
            None => Record::Plain(ArgFormat::Auto, size),
        };
        Some(Type { shape, record })
    }

    fn structure(&self, node: &Node) -> Option<Type> {
        let name = self.debug.name(node);
        if let Some(found) = self.std_string(node, name.as_deref()) {
            return Some(found);
        }
        let bytes = node.bytes()?;
        let children = self.debug.children(node);
        let mut shape = Shape { bytes, in_memory: bytes > 16, ..Shape::default() };
        let mut members = 0;
        for child in &children {
            let inherits = child.tag() == gimli::DW_TAG_inheritance;
            if !inherits && child.tag() != gimli::DW_TAG_member || child.flag(gimli::DW_AT_external) {
                continue;
            }
            members += 1;
            self.member(child, &mut shape)?;
        }
        shape.by_reference = match node.number(gimli::DW_AT_calling_convention) {
            // Pass by reference and by value, of DWARF 5.
            Some(4) => true,
            Some(5) => false,
            _ => shape.by_reference || self.copied_by_code(name.as_deref(), &children),
        };
        // An empty class has a byte that is never passed.
        let bytes = if members == 0 { 0 } else { bytes };
        Some(Type { shape, record: Record::Struct(bytes, name.as_deref().and_then(short_name)) })
    }

    /// Adds what a member consists of.
    fn member(&self, child: &Node, shape: &mut Shape) -> Option<()> {
        let found = self.types.at_depth(self.debug, self.enums, self.debug.type_of(child)?, self.depth)?;
        shape.by_reference |= found.shape.by_reference;
        shape.aligned |= found.shape.aligned;
        if child.die.has_attr(gimli::DW_AT_bit_size) {
            return bit_field(child, &found.shape, shape);
        }
        let Some(offset) = child.member_offset() else {
            // A virtual base: its place is looked up.
            shape.by_reference = true;
            return Some(());
        };
        if shape.in_memory && shape.bytes > 32 {
            return Some(());
        }
        shape.in_memory |= found.shape.in_memory && shape.bytes <= 16;
        for leaf in &found.shape.leaves {
            let leaf = Leaf { offset: offset.checked_add(leaf.offset)?, ..*leaf };
            shape.in_memory |= leaf.bytes > 0 && !leaf.offset.is_multiple_of(leaf.bytes.next_power_of_two());
            shape.leaves.push(leaf);
        }
        // Two long doubles are the only ones of more than two words that registers are used for, and they are
        // a complex number, not a struct. More leaves than this are in no two words.
        shape.in_memory |= shape.leaves.len() > LEAVES;
        shape.leaves.truncate(LEAVES);
        Some(())
    }

    fn array(&self, node: &Node) -> Option<Type> {
        let element = self.types.at_depth(self.debug, self.enums, self.debug.type_of(node)?, self.depth)?;
        let mut count: u64 = 1;
        for range in self.debug.children(node) {
            if range.tag() == gimli::DW_TAG_subrange_type {
                let of = match (range.number(gimli::DW_AT_count), range.signed(gimli::DW_AT_upper_bound)) {
                    (Some(count), _) => count,
                    (None, Some(last)) => u64::try_from(last.checked_add(1)?).ok()?,
                    // A flexible array at the end of a struct.
                    (None, None) => 0,
                };
                count = count.checked_mul(of)?;
            }
        }
        let bytes = count.checked_mul(element.shape.bytes)?;
        let mut shape = Shape { bytes, in_memory: bytes > 16, ..element.shape.clone() };
        shape.leaves.clear();
        if node.flag(gimli::DW_AT_GNU_vector) {
            shape.aligned = bytes >= 16;
            shape.in_memory = bytes > 16;
            shape.leaves.push(Leaf { offset: 0, bytes, kind: LeafKind::Float });
        } else if bytes <= 16 {
            for number in 0..count.min(LEAVES as u64) {
                let at = number * element.shape.bytes;
                shape
                    .leaves
                    .extend(element.shape.leaves.iter().map(|l| Leaf { offset: l.offset + at, ..*l }));
            }
        }
        Some(Type { shape, record: Record::Struct(bytes, None) })
    }

    /// Whether copying a class runs code: a destructor or a copy or move constructor that somebody wrote, or virtual
    /// functions. Compilers say it themselves since DWARF 5.
    fn copied_by_code(&self, class: Option<&str>, children: &[Node]) -> bool {
        let class = class.map(|name| name.split('<').next().unwrap_or(name));
        children.iter().filter(|child| child.tag() == gimli::DW_TAG_subprogram).any(|function| {
            if function.number(gimli::DW_AT_virtuality).is_some_and(|kind| kind != 0) {
                return true;
            }
            let given = !function.flag(gimli::DW_AT_artificial)
                && function.number(gimli::DW_AT_defaulted).is_none_or(|how| how != 1);
            let name = self.debug.name(function).unwrap_or_default();
            given && (name.starts_with('~') || class == Some(name.as_str()) && self.takes_itself(function))
        })
    }

    /// Whether a constructor takes a reference to its class and nothing else.
    fn takes_itself(&self, function: &Node) -> bool {
        let parameters = self.debug.children(function);
        let mut parameters = parameters.iter().filter(|p| p.tag() == gimli::DW_TAG_formal_parameter);
        let (Some(this), Some(first), None) = (parameters.next(), parameters.next(), parameters.next())
        else {
            return false;
        };
        let target = |parameter: &Node| {
            let reference = self.debug.strip(self.debug.type_of(parameter)?)?;
            let target = self.debug.strip(self.debug.type_of(&reference)?)?;
            Some((reference.tag(), self.debug.key(&target)?))
        };
        match (target(this), target(first)) {
            (Some((_, class)), Some((tag, other))) => class == other && tag != gimli::DW_TAG_pointer_type,
            _ => false,
        }
    }

    /// `std::string` with the layout that libstdc++ has had since GCC 5. Some compilers leave only its declaration.
    fn std_string(&self, node: &Node, name: Option<&str>) -> Option<Type> {
        let arguments = name?.strip_prefix("basic_string<char, ")?;
        if !arguments.starts_with("std::char_traits<char>, std::allocator<char>") {
            return None;
        }
        if !self.debug.path(node).iter().any(|space| space == "__cxx11") {
            return None;
        }
        let shape = Shape { bytes: 32, by_reference: true, in_memory: true, ..Shape::default() };
        Some(Type { shape, record: Record::StdString })
    }
}

fn plain(shape: Shape, format: ArgFormat) -> Type {
    let bytes = shape.bytes as u16;
    Type { shape, record: Record::Plain(format, bytes) }
}

/// Bits of an integer: all bytes that they are in.
fn bit_field(child: &Node, of: &Shape, shape: &mut Shape) -> Option<()> {
    let bits = child.number(gimli::DW_AT_bit_size)?;
    let start = match child.number(gimli::DW_AT_data_bit_offset) {
        Some(start) => start,
        // Before DWARF 5: counted from the most significant bit of an integer of the field's type.
        None => {
            let unit = child.bytes().unwrap_or(of.bytes).checked_mul(8)?;
            let from_top = child.number(gimli::DW_AT_bit_offset).unwrap_or(0).checked_add(bits)?;
            child.member_offset()?.checked_mul(8)?.checked_add(unit.checked_sub(from_top)?)?
        }
    };
    let (first, last) = (start / 8, start.checked_add(bits.max(1))?.checked_sub(1)? / 8);
    for offset in [first, last] {
        shape.leaves.push(Leaf { offset, bytes: 1, kind: LeafKind::Integer });
    }
    Some(())
}

/// The name as it is recorded: without template arguments, and none of what the compiler made up.
pub(crate) fn short_name(name: &str) -> Option<String> {
    let name = name.split('<').next().unwrap_or(name).trim();
    // These end the name in a spec.
    let name: String = name.chars().filter(|c| !matches!(c, ',' | ';' | '%' | '@' | '\n')).collect();
    (!name.is_empty()).then_some(name)
}
