//! Types by name.

use crate::{Btf, Type, TypeId};

impl Btf {
    /// The function of that name; of several with the same name, the first of this file, then one of the base.
    pub fn function_id(&self, name: &str) -> Option<TypeId> {
        self.named(name).find(|id| matches!(self.get(*id), Some(Type::Func { .. })))
    }

    /// The structure, union, enumeration, integer, float or typedef of that name, with or without `struct `, `union ` or
    /// `enum ` before it.
    pub fn type_id(&self, name: &str) -> Option<TypeId> {
        let (word, tag) = match name.trim().split_once(' ') {
            Some((word @ ("struct" | "union" | "enum"), tag)) => (word, tag.trim()),
            _ => ("", name.trim()),
        };
        self.named(tag).find(|id| match self.get(*id) {
            Some(Type::Composite { union, .. }) => {
                word.is_empty() || word == if union { "union" } else { "struct" }
            }
            Some(Type::Enum { .. }) => word.is_empty() || word == "enum",
            Some(Type::Int { .. } | Type::Float { .. } | Type::Typedef { .. }) => word.is_empty(),
            _ => false,
        })
    }

    /// All types of that name, this file's before those of the base.
    pub fn named<'a>(&'a self, name: &'a str) -> Box<dyn Iterator<Item = TypeId> + 'a> {
        let index = self.by_name.get_or_init(|| self.sorted());
        let from = index.partition_point(|id| self.name_of(TypeId(*id)) < name);
        let own = index[from..].iter().map(|id| TypeId(*id)).take_while(move |id| self.name_of(*id) == name);
        match self.base() {
            Some(base) => Box::new(own.chain(base.named(name))),
            None => Box::new(own),
        }
    }

    /// The names of functions that begin with `prefix`, sorted; for messages that suggest a name.
    pub fn functions_like<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let index = self.by_name.get_or_init(|| self.sorted());
        let from = index.partition_point(|id| self.name_of(TypeId(*id)) < prefix);
        let names = index[from..].iter().map_while(move |id| {
            let name = self.name_of(TypeId(*id));
            name.starts_with(prefix).then_some((TypeId(*id), name))
        });
        names.filter(|(id, _)| matches!(self.get(*id), Some(Type::Func { .. }))).map(|(_, name)| name)
    }

    fn sorted(&self) -> Vec<u32> {
        let mut ids: Vec<u32> =
            self.own().filter(|id| !self.name_of(*id).is_empty()).map(|id| id.0).collect();
        ids.sort_by_key(|id| self.name_of(TypeId(*id)));
        ids
    }

    /// The name of a type, empty if it has none.
    pub fn name_of(&self, id: TypeId) -> &str {
        match self.get(id) {
            Some(
                Type::Int { name, .. }
                | Type::Float { name, .. }
                | Type::Composite { name, .. }
                | Type::Enum { name, .. }
                | Type::Forward { name, .. }
                | Type::Typedef { name, .. }
                | Type::TypeTag { name, .. }
                | Type::Func { name, .. }
                | Type::Var { name, .. }
                | Type::DataSec { name }
                | Type::DeclTag { name, .. },
            ) => name,
            _ => "",
        }
    }
}
