//! Reading entries of debug information: attributes, children, and the types they refer to.
//!
//! Everything here is bounded, as the input may be made by an enemy: hops, children, and the entries that are read for
//! one function.

use fathom_symbols::lines::{Entry, Reader, SourceMap};
use gimli::{AttributeValue, DwAt, DwTag, Reader as _};
use std::cell::Cell;

pub(crate) type Die = gimli::DebuggingInformationEntry<Reader>;

/// Most typedefs, qualifiers and other references that are followed in a row.
const HOPS: usize = 32;
/// Most children of one entry that are looked at.
const CHILDREN: usize = 1 << 14;
/// Most entries that are read for one function.
const BUDGET: usize = 1 << 16;

/// An entry that has been read.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) entry: Entry,
    pub(crate) die: Die,
}

/// Identifies an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Offset in the section.
    start: usize,
    /// Whether it is in the section of type units.
    types: bool,
    /// Whether it is in the file that several share entries in.
    shared: bool,
}

/// The debug information of a module.
#[derive(Debug)]
pub(crate) struct Debug {
    pub(crate) map: SourceMap,
    left: Cell<usize>,
}

impl Debug {
    pub(crate) fn new(map: SourceMap) -> Debug {
        Debug { map, left: Cell::new(BUDGET) }
    }

    /// Begins with another function.
    pub(crate) fn refill(&self) {
        self.left.set(BUDGET);
    }

    fn spend(&self) -> Option<()> {
        self.left.set(self.left.get().checked_sub(1)?);
        Some(())
    }

    pub(crate) fn read(&self, entry: Entry) -> Option<Node> {
        self.spend()?;
        let die = entry.unit.entry(entry.offset).ok()?;
        Some(Node { entry, die })
    }

    pub(crate) fn key(&self, node: &Node) -> Option<Key> {
        let header = &node.entry.unit.header;
        let start = header.offset().0.checked_add(node.entry.offset.0)?;
        Some(Key { start, types: header.debug_types_offset().is_some(), shared: node.entry.shared })
    }

    /// The entry that an attribute refers to.
    pub(crate) fn follow(&self, node: &Node, name: DwAt) -> Option<Node> {
        self.read(self.map.follow(&node.entry, &node.die.attr_value(name)?)?)
    }

    /// The type of a variable, parameter, typedef and so on, as it stands there.
    pub(crate) fn type_of(&self, node: &Node) -> Option<Node> {
        self.follow(node, gimli::DW_AT_type)
    }

    /// A type without typedefs and qualifiers around it.
    pub(crate) fn strip(&self, mut node: Node) -> Option<Node> {
        for _ in 0..HOPS {
            match node.die.tag() {
                // What stands for a type that has a unit of its own.
                _ if node.die.has_attr(gimli::DW_AT_signature) => {
                    node = self.follow(&node, gimli::DW_AT_signature)?;
                }
                gimli::DW_TAG_typedef
                | gimli::DW_TAG_const_type
                | gimli::DW_TAG_volatile_type
                | gimli::DW_TAG_restrict_type
                | gimli::DW_TAG_atomic_type
                | gimli::DW_TAG_immutable_type => node = self.type_of(&node)?,
                _ => return Some(node),
            }
        }
        None
    }

    pub(crate) fn children(&self, node: &Node) -> Vec<Node> {
        let mut found = Vec::new();
        let unit = &node.entry.unit;
        let Ok(mut entries) = unit.entries_at_offset(node.entry.offset) else { return found };
        // The entry itself, then its first child.
        if !node.die.has_children() || !entries.next_entry().unwrap_or(false) {
            return found;
        }
        if !entries.next_entry().unwrap_or(false) {
            return found;
        }
        let mut next = entries.current().cloned();
        while let Some(die) = next {
            if found.len() >= CHILDREN || self.spend().is_none() {
                break;
            }
            let entry = Entry { offset: die.offset(), ..node.entry.clone() };
            found.push(Node { entry, die });
            next = entries.next_sibling().ok().flatten().cloned();
        }
        found
    }

    pub(crate) fn text(&self, node: &Node, name: DwAt) -> Option<String> {
        let dwarf = self.map.dwarf_of(&node.entry);
        let text = dwarf.attr_string(&node.entry.unit, node.die.attr_value(name)?).ok()?;
        Some(text.to_string_lossy().ok()?.into_owned())
    }

    pub(crate) fn name(&self, node: &Node) -> Option<String> {
        self.text(node, gimli::DW_AT_name)
    }

    /// The entry of the unit that an entry is in.
    pub(crate) fn root(&self, node: &Node) -> Option<Node> {
        let offset = node.entry.unit.header.root_offset();
        self.read(Entry { offset, ..node.entry.clone() })
    }

    /// Names of the namespaces and types around an entry, outermost first. Reads the whole unit up to there.
    pub(crate) fn path(&self, node: &Node) -> Vec<String> {
        let mut path: Vec<(isize, Option<String>)> = Vec::new();
        let mut entries = node.entry.unit.entries();
        while let Ok(Some(die)) = entries.next_dfs() {
            if die.offset() >= node.entry.offset {
                break;
            }
            let depth = die.depth();
            path.retain(|(outer, _)| *outer < depth);
            let named = matches!(
                die.tag(),
                gimli::DW_TAG_namespace | gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type
            );
            let entry = Entry { offset: die.offset(), ..node.entry.clone() };
            let name = if named { self.name(&Node { entry, die: die.clone() }) } else { None };
            path.push((depth, name));
        }
        // Those at the same level or further in than the entry are not around it.
        let depth = match entries.current() {
            Some(die) if die.offset() == node.entry.offset => die.depth(),
            _ => return Vec::new(),
        };
        path.retain(|(outer, _)| *outer < depth);
        path.into_iter().filter_map(|(_, name)| name).collect()
    }
}

impl Node {
    pub(crate) fn tag(&self) -> DwTag {
        self.die.tag()
    }

    /// A number, also one that stands for a constant of DWARF.
    pub(crate) fn number(&self, name: DwAt) -> Option<u64> {
        self.die.attr_value_raw(name)?.udata_value()
    }

    pub(crate) fn signed(&self, name: DwAt) -> Option<i64> {
        self.die.attr_value(name)?.sdata_value()
    }

    pub(crate) fn bytes(&self) -> Option<u64> {
        self.number(gimli::DW_AT_byte_size)
    }

    pub(crate) fn flag(&self, name: DwAt) -> bool {
        matches!(self.die.attr_value(name), Some(AttributeValue::Flag(true)))
    }

    pub(crate) fn encoding(&self) -> Option<gimli::DwAte> {
        match self.die.attr_value(gimli::DW_AT_encoding)? {
            AttributeValue::Encoding(encoding) => Some(encoding),
            _ => None,
        }
    }

    /// Where a member is in its struct, in bytes. Offset 0 if it is not said, as in unions.
    pub(crate) fn member_offset(&self) -> Option<u64> {
        match self.die.attr_value(gimli::DW_AT_data_member_location) {
            None => Some(0),
            Some(value) => value.udata_value(),
        }
    }
}
