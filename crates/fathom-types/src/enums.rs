//! Enumerations of a module, as far as values of them are recorded.

use crate::dwarf::{Debug, Key, Node};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Most constants of one enumeration that are kept.
const CONSTANTS: usize = 4096;

/// The enumerations by name, and the names by where they are defined.
#[derive(Debug, Default)]
pub(crate) struct Enums {
    texts: RefCell<BTreeMap<String, String>>,
    names: RefCell<FxHashMap<Key, Option<String>>>,
}

impl Enums {
    /// The name under which an enumeration is kept: its own, or a made up one if it has none or another enumeration
    /// has the same. None if it has no constants that are known.
    pub(crate) fn name(&self, debug: &Debug, node: &Node) -> Option<String> {
        let key = debug.key(node)?;
        if let Some(known) = self.names.borrow().get(&key) {
            return known.clone();
        }
        let name = self.keep(debug, node);
        self.names.borrow_mut().insert(key, name.clone());
        name
    }

    fn keep(&self, debug: &Debug, node: &Node) -> Option<String> {
        let constants = constants(debug, node);
        if constants.is_empty() {
            return None;
        }
        let body = body(&constants);
        let own = debug.name(node).map(|name| clean(&name)).filter(|name| !name.is_empty());
        let mut texts = self.texts.borrow_mut();
        let made_up = || made_up_name(debug, node);
        let name = match own {
            Some(name) => match texts.get(&name) {
                Some(other) if *other != body => format!("{name}{}", made_up()?),
                _ => name,
            },
            None => made_up()?,
        };
        texts.insert(name.clone(), body);
        Some(name)
    }

    /// Keeps one that is made up of these constants, and tells its name: another one if that is taken.
    pub(crate) fn add(&self, name: &str, constants: &[(String, i64)]) -> String {
        let (name, body) = (clean(name), body(constants));
        let mut texts = self.texts.borrow_mut();
        let mut free = name.clone();
        let mut number = 2;
        while texts.get(&free).is_some_and(|known| *known != body) {
            free = format!("{name}_{number}");
            number += 1;
        }
        texts.insert(free.clone(), body);
        free
    }

    /// All definitions, as `.dbg` files have them.
    pub(crate) fn definitions(&self) -> Vec<String> {
        self.texts.borrow().iter().map(|(name, body)| format!("enum {name} {{{body}}}")).collect()
    }
}

/// The constants, in the order of the definition.
pub(crate) fn constants(debug: &Debug, node: &Node) -> Vec<(String, i64)> {
    let children = debug.children(node);
    let constants = children.iter().filter(|child| child.tag() == gimli::DW_TAG_enumerator);
    let constant = |child: &Node| {
        let name = clean(&debug.name(child)?);
        // Unsigned ones above the middle are kept with their bits.
        let value = child.signed(gimli::DW_AT_const_value);
        let value = value.or_else(|| child.number(gimli::DW_AT_const_value).map(u64::cast_signed))?;
        (!name.is_empty()).then_some((name, value))
    };
    constants.filter_map(constant).take(CONSTANTS).collect()
}

/// `RED,BLUE=4,PINK`: a value is left out that is one more than that before.
fn body(constants: &[(String, i64)]) -> String {
    let mut text = String::new();
    let mut expected = 0i64;
    for (name, value) in constants {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        if *value != expected {
            // Formatting into a String does not fail.
            let _ = write!(text, "={value}");
        }
        expected = value.wrapping_add(1);
    }
    text
}

/// `_file_c_1ee`: the source file, and where it is in the debug information.
fn made_up_name(debug: &Debug, node: &Node) -> Option<String> {
    let file = debug.name(&debug.root(node)?).unwrap_or_default();
    let file = file.rsplit('/').next().unwrap_or_default();
    let file = file.replace(|c: char| !(c.is_ascii_alphanumeric() || c == '_'), "_");
    let offset = node.entry.unit.header.offset().0.checked_add(node.entry.offset.0)?;
    Some(format!("_{file}_{offset:x}"))
}

/// Without what would end a name in a definition or a spec.
fn clean(name: &str) -> String {
    let bad = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '%' | '@' | '{' | '}' | '=' | ':');
    name.replace(bad, "_")
}
