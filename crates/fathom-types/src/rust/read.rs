//! Reading types of Rust from debug information.

use super::{Parts, Scalar, Special, Type, Types};
use crate::dwarf::{Debug, Node};
use crate::layout::{Field, Layout, Variant};
use gimli::AttributeValue;
use std::rc::Rc;

/// Most levels of types in types.
pub(super) const DEPTH: usize = 24;
/// Most numbers, texts and so on that a value consists of when it is shown.
const LEAVES: usize = 24;

pub(super) fn at_depth(types: &Types, debug: &Debug, node: Node, depth: usize) -> Option<Rc<Type>> {
    let depth = depth.checked_sub(1)?;
    let node = debug.strip(node)?;
    let key = debug.key(&node)?;
    if let Some(known) = types.known.borrow().get(&key) {
        return known.clone();
    }
    let found = Reading { types, debug, depth }.any(&node).map(Rc::new);
    types.known.borrow_mut().insert(key, found.clone());
    found
}

struct Reading<'r> {
    types: &'r Types,
    debug: &'r Debug,
    depth: usize,
}

/// A field that has been read.
struct Member {
    name: String,
    offset: u64,
    found: Rc<Type>,
}

impl Reading<'_> {
    fn any(&self, node: &Node) -> Option<Type> {
        let name = self.debug.name(node).unwrap_or_default();
        match node.tag() {
            gimli::DW_TAG_base_type => base(node, &name),
            gimli::DW_TAG_pointer_type => Some(self.pointer(node, &name)),
            gimli::DW_TAG_enumeration_type => self.enumeration(node, &name),
            gimli::DW_TAG_structure_type => {
                let children = self.debug.children(node);
                let variants = children.iter().find(|child| child.tag() == gimli::DW_TAG_variant_part);
                match variants {
                    Some(variants) => self.variants(node, variants, &name),
                    None => self.structure(node, &children, &name),
                }
            }
            gimli::DW_TAG_union_type => self.union(node, &name),
            gimli::DW_TAG_array_type => self.array(node),
            _ => None,
        }
    }

    fn inner(&self, node: Node) -> Option<Rc<Type>> {
        at_depth(self.types, self.debug, node, self.depth)
    }

    fn pointer(&self, node: &Node, name: &str) -> Type {
        let prefix = match name {
            name if name.starts_with("&mut ") => Some("&mut"),
            name if name.starts_with('&') => Some("&"),
            name if base_name(name) == "Box" => Some(""),
            _ => None,
        };
        let target = prefix.and_then(|prefix| Some((self.debug.type_of(node)?, prefix)));
        Type { target, ..scalar(8, false, Layout::Pointer, short(name)) }
    }

    /// An enumeration without fields.
    fn enumeration(&self, node: &Node, name: &str) -> Option<Type> {
        let bytes = node.bytes().filter(|bytes| matches!(bytes, 1 | 2 | 4 | 8))?;
        let constants = crate::enums::constants(self.debug, node);
        let mask = u64::MAX >> (64 - 8 * bytes);
        let variant = |(name, value): (String, i64)| {
            let name = name.rsplit("::").next().unwrap_or_default().to_owned();
            Variant { value: Some(value.cast_unsigned() & mask), name, fields: Vec::new() }
        };
        let variants = constants.into_iter().map(variant).collect();
        Some(scalar(bytes, false, Layout::Enum { offset: 0, bytes: bytes as u8, variants }, short(name)))
    }

    fn members(&self, children: &[Node]) -> Option<Vec<Member>> {
        let fields = children.iter().filter(|child| child.tag() == gimli::DW_TAG_member);
        let member = |child: &Node| {
            let name = self.debug.name(child).unwrap_or_default();
            // Fields of tuples have numbers.
            let name = name.strip_prefix("__").map_or(name.clone(), str::to_owned);
            Some(Member {
                name,
                offset: child.member_offset()?,
                found: self.inner(self.debug.type_of(child)?)?,
            })
        };
        fields.map(member).collect()
    }

    fn structure(&self, node: &Node, children: &[Node], name: &str) -> Option<Type> {
        let bytes = node.bytes()?;
        let members = self.members(children)?;
        let text = self.special(name, &members, children);
        let shown = base_name(name);
        let layout = match (&text, shown) {
            // Their own fields say nothing to anybody.
            (Some(_), _) => Layout::Opaque { name: String::new() },
            (None, "Rc" | "Arc" | "NonNull" | "Unique") if bytes == 8 || bytes == 16 => Layout::Pointer,
            (None, "NonZero") if members.len() == 1 => self.plain_number(&members),
            // A reference to something that only its methods are known of.
            (None, _) if members.iter().map(|m| m.name.as_str()).eq(["pointer", "vtable"]) => Layout::Pointer,
            (None, _) if members.len() > LEAVES => Layout::Opaque { name: shown.to_owned() },
            _ => Layout::Struct { name: shown.to_owned(), fields: fields(&members) },
        };
        let layout = bounded(layout, shown);
        let loose = parts_of(&members);
        // More alignment than its fields have, or the struct of a variant, which is as large as the enumeration.
        let larger = members.iter().filter(|m| m.found.bytes > 0).count() == 1
            && members.iter().all(|member| member.found.bytes != bytes);
        let parts = if larger { Parts::Many } else { loose };
        let only_text = only_text(&members);
        Some(Type { loose, text, only_text, ..compound(bytes, short(name), parts, layout) })
    }

    /// `NonZero<u32>` is shown as the number it is.
    fn plain_number(&self, members: &[Member]) -> Layout {
        match members.first().map(|member| &member.found.layout) {
            Some(Layout::Struct { fields, .. }) if fields.len() == 1 => {
                fields.first().map_or(Layout::Pointer, |field| field.layout.clone())
            }
            Some(layout) => layout.clone(),
            None => Layout::Pointer,
        }
    }

    /// What of a struct is text or elements that are elsewhere.
    fn special(&self, name: &str, members: &[Member], children: &[Node]) -> Option<Special> {
        let at = |wanted: &str| members.iter().find(|member| member.name == wanted);
        if let (Some(pointer), Some(length), 2) = (at("data_ptr"), at("length"), members.len()) {
            let text = matches!(last_word(name), "str" | "OsStr" | "Path");
            let element = if text { None } else { Some(self.element_of(children, "data_ptr")?) };
            return Some(Special { pointer: pointer.offset, length: length.offset, element, absent: None });
        }
        match base_name(name) {
            "Vec" => {
                let (buffer, length) = (at("buf")?, at("len")?);
                let pointer = buffer.offset.checked_add(first_pointer(&buffer.found.layout)?)?;
                let element = children.iter().find(|child| {
                    child.tag() == gimli::DW_TAG_template_type_parameter
                        && self.debug.name(child).as_deref() == Some("T")
                })?;
                let element = Some(Rc::new(self.debug.strip(self.debug.type_of(element)?)?));
                Some(Special { pointer, length: length.offset, element, absent: None })
            }
            "String" | "PathBuf" | "OsString" | "Buf" => {
                let mut all = members.iter().filter(|member| member.found.bytes > 0);
                let (Some(only), None) = (all.next(), all.next()) else { return None };
                let inner = only.found.text.as_ref()?;
                if inner.element.as_ref().is_some_and(|element| element.bytes() != Some(1)) {
                    return None;
                }
                let (pointer, length) = (only.offset + inner.pointer, only.offset + inner.length);
                Some(Special { pointer, length, element: None, absent: None })
            }
            _ => None,
        }
    }

    /// What the pointer in a member points to.
    fn element_of(&self, children: &[Node], member: &str) -> Option<Rc<Node>> {
        let member = children.iter().find(|child| self.debug.name(child).as_deref() == Some(member))?;
        let pointer = self.debug.strip(self.debug.type_of(member)?)?;
        self.debug.strip(self.debug.type_of(&pointer)?).map(Rc::new)
    }

    fn variants(&self, node: &Node, part: &Node, name: &str) -> Option<Type> {
        let bytes = node.bytes()?;
        let children = self.debug.children(part);
        let tag = self.tag(part, &children);
        let mut variants = Vec::new();
        let mut all = Vec::new();
        for child in children.iter().filter(|child| child.tag() == gimli::DW_TAG_variant) {
            let value = child.die.attr_value(gimli::DW_AT_discr_value).and_then(|value| discriminant(&value));
            let fields = self.debug.children(child);
            let mut members = self.members(&fields)?;
            // A variant has one member, which is a struct with its fields.
            let (Some(only), 0) = (members.pop(), members.len()) else { return None };
            variants.push(variant(value, &only));
            all.push(only);
        }
        let parts = match tag {
            Some(tag) => parts_of_variants(tag, &all, bytes),
            None => all.first().map_or(Parts::Nothing, |only| only.found.parts),
        };
        let text = tag.and_then(|tag| optional_text(name, tag, &variants, &all));
        let optional_target = self.optional_target(name, tag, &variants, &children);
        let (offset, size) = tag.map_or((0, 0), |tag| (tag.offset, tag.bytes as u8));
        let layout = bounded(Layout::Enum { offset, bytes: size, variants }, base_name(name));
        Some(Type { text, optional_target, ..compound(bytes, short(name), parts, layout) })
    }

    /// What the reference refers to that an `Option` has, if that is all it has and 0 tells that there is none.
    fn optional_target(
        &self,
        name: &str,
        tag: Option<Scalar>,
        variants: &[Variant],
        children: &[Node],
    ) -> Option<Node> {
        let none = variants.iter().find(|variant| variant.name == "None")?;
        let some = variants.iter().position(|variant| variant.name == "Some")?;
        if base_name(name) != "Option" || tag?.bytes != 8 || tag?.offset != 0 || none.value != Some(0) {
            return None;
        }
        let variant = children.iter().filter(|child| child.tag() == gimli::DW_TAG_variant).nth(some)?;
        // The variant has a member, that is a struct, and that has the reference.
        let inside = |node: &Node| {
            let mut members = self.debug.children(node);
            members.retain(|child| child.tag() == gimli::DW_TAG_member);
            let (Some(only), true) = (members.pop(), members.is_empty()) else { return None };
            self.debug.strip(self.debug.type_of(&only)?)
        };
        let found = inside(&inside(variant)?)?;
        if found.tag() != gimli::DW_TAG_pointer_type {
            return None;
        }
        self.pointer(&found, &self.debug.name(&found)?).target.map(|(target, _)| target)
    }

    /// Where the number is that tells which variant it is.
    fn tag(&self, part: &Node, children: &[Node]) -> Option<Scalar> {
        let AttributeValue::UnitRef(offset) = part.die.attr_value(gimli::DW_AT_discr)? else { return None };
        let member = children.iter().find(|child| child.die.offset() == offset)?;
        let found = self.inner(self.debug.type_of(member)?)?;
        let bytes = Some(found.bytes).filter(|bytes| matches!(bytes, 1 | 2 | 4 | 8))?;
        Some(Scalar { offset: member.member_offset()?, bytes, float: false })
    }

    /// Nobody can say which of its fields is meant. Those that all fields agree on decide how it is passed.
    fn union(&self, node: &Node, name: &str) -> Option<Type> {
        let bytes = node.bytes()?;
        let members = self.members(&self.debug.children(node))?;
        let mut parts = members.iter().filter(|m| m.found.bytes > 0).map(|m| (m.found.bytes, m.found.parts));
        let first = parts.next();
        let same = first.is_some_and(|(size, _)| size == bytes) && parts.all(|other| Some(other) == first);
        let parts = if same { first.map_or(Parts::Many, |(_, parts)| parts) } else { Parts::Many };
        let layout = Layout::Opaque { name: base_name(name).to_owned() };
        Some(compound(bytes, short(name), parts, layout))
    }

    fn array(&self, node: &Node) -> Option<Type> {
        let element = self.inner(self.debug.type_of(node)?)?;
        let range = self.debug.children(node);
        let range = range.iter().find(|child| child.tag() == gimli::DW_TAG_subrange_type)?;
        let last = || range.number(gimli::DW_AT_upper_bound)?.checked_add(1);
        let count = range.number(gimli::DW_AT_count).or_else(last).unwrap_or(0);
        let bytes = count.checked_mul(element.bytes)?;
        let parts = if bytes == 0 { Parts::Nothing } else { Parts::Many };
        let name = format!("[{};_{count}]", element.name);
        let shown = Box::new(element.layout.clone());
        let layout = bounded(Layout::Array { count, stride: element.bytes, element: shown }, "");
        Some(compound(bytes, name, parts, layout))
    }
}

fn base(node: &Node, name: &str) -> Option<Type> {
    let bytes = node.bytes()?;
    let (float, layout) = match (node.encoding()?, bytes) {
        (_, 0) => {
            let layout =
                Layout::Struct { name: name.trim_matches(['(', ')']).to_owned(), fields: Vec::new() };
            return Some(compound(bytes, short(name), Parts::Nothing, layout));
        }
        (gimli::DW_ATE_boolean, 1) => (false, Layout::Bool),
        (gimli::DW_ATE_UTF, 4) => (false, Layout::Char),
        (gimli::DW_ATE_float, 4 | 8) => (true, Layout::Float { bytes: bytes as u8 }),
        (encoding, 1 | 2 | 4 | 8 | 16) if encoding != gimli::DW_ATE_float => {
            let signed = matches!(encoding, gimli::DW_ATE_signed | gimli::DW_ATE_signed_char);
            (false, Layout::Integer { bytes: bytes as u8, signed })
        }
        _ => return None,
    };
    Some(scalar(bytes, float, layout, short(name)))
}

fn scalar(bytes: u64, float: bool, layout: Layout, name: String) -> Type {
    compound(bytes, name, Parts::One(Scalar { offset: 0, bytes, float }), layout)
}

fn compound(bytes: u64, name: String, parts: Parts, layout: Layout) -> Type {
    Type {
        bytes,
        name,
        parts,
        loose: parts,
        layout,
        text: None,
        only_text: None,
        optional_target: None,
        target: None,
    }
}

fn fields(members: &[Member]) -> Vec<Field> {
    let field = |member: &Member| {
        let layout = match &member.found.text {
            Some(_) => Layout::Opaque { name: String::new() },
            None => member.found.layout.clone(),
        };
        Field { name: member.name.clone(), offset: member.offset, layout }
    };
    members.iter().map(field).collect()
}

fn variant(value: Option<u64>, member: &Member) -> Variant {
    let (name, fields) = match &member.found.layout {
        Layout::Struct { name, fields } => (name.clone(), fields.clone()),
        // It was too much to show.
        other => {
            (member.name.clone(), vec![Field { name: "0".to_owned(), offset: 0, layout: other.clone() }])
        }
    };
    let shift = |mut field: Field| {
        field.offset = field.offset.saturating_add(member.offset);
        field
    };
    Variant { value, name, fields: fields.into_iter().map(shift).collect() }
}

fn discriminant(value: &AttributeValue<fathom_symbols::lines::Reader>) -> Option<u64> {
    value.udata_value().or_else(|| value.sdata_value().map(i64::cast_unsigned))
}

/// Text or elements that are all that a struct has.
fn only_text(members: &[Member]) -> Option<Special> {
    let mut all = members.iter().filter(|member| member.found.bytes > 0);
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let inner = only.found.text.as_ref()?;
    let absent = inner.absent.is_none().then_some(None)?;
    let (pointer, length) = (only.offset + inner.pointer, only.offset + inner.length);
    Some(Special { pointer, length, absent, element: inner.element.clone() })
}

/// What a struct consists of, whatever its size.
fn parts_of(members: &[Member]) -> Parts {
    let mut all = members.iter().filter(|member| member.found.bytes > 0);
    let at = |member: &Member, scalar: Scalar| Scalar { offset: member.offset + scalar.offset, ..scalar };
    match (all.next(), all.next(), all.next()) {
        (None, ..) => Parts::Nothing,
        (Some(only), None, _) => match only.found.parts {
            Parts::One(a) => Parts::One(at(only, a)),
            Parts::Two(a, b) => Parts::Two(at(only, a), at(only, b)),
            other => other,
        },
        (Some(a), Some(b), None) => match (a.found.parts, b.found.parts) {
            (Parts::One(x), Parts::One(y)) => {
                let (x, y) = (at(a, x), at(b, y));
                if x.offset < y.offset { Parts::Two(x, y) } else { Parts::Two(y, x) }
            }
            _ => Parts::Many,
        },
        _ => Parts::Many,
    }
}

/// What an enumeration consists of: the tag and at most one scalar, in the same place in all variants, or what the only
/// variant with fields consists of, if the tag is a part of it.
fn parts_of_variants(tag: Scalar, variants: &[Member], bytes: u64) -> Parts {
    let full: Vec<&Member> =
        variants.iter().filter(|variant| variant.found.loose != Parts::Nothing).collect();
    let Some(first) = full.first() else {
        return if tag.bytes == bytes { Parts::One(tag) } else { Parts::Many };
    };
    let overlaps =
        |scalar: Scalar| scalar.offset < tag.offset + tag.bytes && tag.offset < scalar.offset + scalar.bytes;
    if full.len() == 1 {
        match first.found.loose {
            Parts::One(scalar) if overlaps(scalar) => return first.found.loose,
            Parts::Two(a, b) if overlaps(a) || overlaps(b) => return first.found.loose,
            _ => {}
        }
    }
    // A variant as its field is: in the debug information it is as large as the enumeration.
    let single = |variant: &&Member| match variant.found.loose {
        Parts::One(scalar) => Some(scalar),
        _ => None,
    };
    let scalars: Option<Vec<Scalar>> = full.iter().map(single).collect();
    match scalars.as_deref() {
        Some([scalar, rest @ ..]) if rest.iter().all(|other| other == scalar) && !overlaps(*scalar) => {
            if tag.offset < scalar.offset { Parts::Two(tag, *scalar) } else { Parts::Two(*scalar, tag) }
        }
        _ => Parts::Many,
    }
}

/// `Option` of text or elements: a word of them tells that there are none.
fn optional_text(name: &str, tag: Scalar, variants: &[Variant], members: &[Member]) -> Option<Special> {
    if base_name(name) != "Option" || tag.bytes != 8 || variants.len() != 2 {
        return None;
    }
    let none = variants.iter().find(|variant| variant.name == "None")?;
    let some = variants.iter().position(|variant| variant.name == "Some")?;
    let inner = members.get(some)?.found.only_text.as_ref()?;
    Some(Special { absent: Some((tag.offset, none.value?)), ..inner.clone() })
}

/// Offset of the first pointer in a value.
fn first_pointer(layout: &Layout) -> Option<u64> {
    match layout {
        Layout::Pointer => Some(0),
        Layout::Struct { fields, .. } => {
            fields.iter().find_map(|field| first_pointer(&field.layout)?.checked_add(field.offset))
        }
        _ => None,
    }
}

/// A description, or only the name where there would be too much to show.
fn bounded(layout: Layout, name: &str) -> Layout {
    if leaves(&layout) <= LEAVES { layout } else { Layout::Opaque { name: name.to_owned() } }
}

fn leaves(layout: &Layout) -> usize {
    let of = |fields: &[Field]| fields.iter().map(|field| leaves(&field.layout)).sum::<usize>();
    match layout {
        Layout::Struct { fields, .. } => of(fields).max(1),
        Layout::Enum { variants, .. } => {
            variants.iter().map(|variant| of(&variant.fields)).sum::<usize>() + 1
        }
        Layout::Array { element, .. } | Layout::Sequence { element, .. } => leaves(element) + 1,
        Layout::Reference { target, .. } => leaves(target),
        _ => 1,
    }
}

/// The last part of a path, without type parameters.
fn base_name(name: &str) -> &str {
    // Tuples have no name.
    if name.starts_with('(') {
        return "";
    }
    let name = name.split('<').next().unwrap_or_default();
    name.rsplit("::").next().unwrap_or_default()
}

/// The last word of a type, or of its first parameter: `str` of `Box<str, Global>`.
fn last_word(name: &str) -> &str {
    let name = name.split(',').next().unwrap_or_default().trim_end_matches('>');
    name.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default()
}

/// A name without the paths in it, as one word without what would end it in a spec.
fn short(name: &str) -> String {
    let mut short = String::new();
    for part in name.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        let path = part.rsplit("::").next().unwrap_or(part);
        short.push_str(path);
    }
    let short = short.replace(", Global", "").replace(", ", "|").replace(',', "|");
    short.replace(|c: char| c.is_whitespace() || matches!(c, '%' | ';' | '@' | '='), "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(
            short("alloc::vec::Vec<core::option::Option<a::B>, alloc::alloc::Global>"),
            "Vec<Option<B>>"
        );
        assert_eq!(short("&mut [u8; 4]"), "&mut_[u8__4]");
        assert_eq!(short("(i32, a::B)"), "(i32|B)");
        assert_eq!(base_name("alloc::boxed::Box<a::B>"), "Box");
        assert_eq!(base_name("(i32, u8)"), "");
    }
}
