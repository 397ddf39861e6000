//! What things are counted by: texts, tasks, addresses. Names are looked up only when they are shown.

use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::hash::Hash;

/// What a row of a table is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    /// A text.
    Text(Cow<'static, str>),
    /// A task, shown with its name.
    Task(i32),
    /// An address in the kernel's code, shown as the symbol.
    Code(u64),
    /// Two of them, one after the other.
    Both(Box<(Label, Label)>),
}

impl Label {
    /// A text that is always the same.
    pub const fn fixed(text: &'static str) -> Label {
        Label::Text(Cow::Borrowed(text))
    }

    /// A text made for the case.
    pub fn text(text: impl Into<String>) -> Label {
        Label::Text(Cow::Owned(text.into()))
    }

    /// This one with another after it.
    pub fn and(self, other: Label) -> Label {
        Label::Both(Box::new((self, other)))
    }

    /// How it is shown.
    pub fn show(&self, names: &dyn Names) -> String {
        match self {
            Label::Text(text) => text.to_string(),
            Label::Task(0) => "<idle>".to_owned(),
            Label::Task(pid) => format!("{}-{pid}", names.comm(*pid)),
            Label::Code(address) => names.symbol(*address),
            Label::Both(both) => format!("{} {}", both.0.show(names), both.1.show(names)),
        }
    }
}

/// Gives names to addresses and tasks.
pub trait Names {
    /// The kernel's function at an address, without an offset; the address in hexadecimal if it is not known.
    fn symbol(&self, address: u64) -> String;
    /// The name of a task, `<...>` if it is not known.
    fn comm(&self, pid: i32) -> String;
}

/// A table that holds so many keys and no more: what came when it was full is counted together.
#[derive(Debug, Clone)]
pub struct Bounded<K, V> {
    map: FxHashMap<K, V>,
    limit: usize,
    /// How often there was no room for a key.
    pub beyond: u64,
}

impl<K: Eq + Hash, V> Bounded<K, V> {
    /// A table of at most `limit` keys.
    pub fn new(limit: usize) -> Bounded<K, V> {
        Bounded { map: FxHashMap::default(), limit, beyond: 0 }
    }

    /// The value of a key, made if there is room.
    pub fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> Option<&mut V> {
        if self.map.len() >= self.limit && !self.map.contains_key(&key) {
            self.beyond += 1;
            return None;
        }
        Some(self.map.entry(key).or_insert_with(make))
    }

    /// Puts a value in; nothing happens if there is no room for a new key.
    pub fn put(&mut self, key: K, value: V) {
        if self.map.len() >= self.limit && !self.map.contains_key(&key) {
            self.beyond += 1;
        } else {
            self.map.insert(key, value);
        }
    }

    /// Takes a value out.
    pub fn take(&mut self, key: &K) -> Option<V> {
        self.map.remove(key)
    }

    /// Looks at a value.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.map.iter()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}
