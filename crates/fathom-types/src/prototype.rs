//! Prototypes of a module's functions from its debug information.

use crate::c::{Record, Type, Types};
use crate::dwarf::{Debug, Node};
use crate::entry::{At, EntryPlaces};
use crate::enums::Enums;
use crate::fetch::spec_location;
use crate::rust::Recorded;
use crate::sysv::{Arguments, Where, return_value};
use crate::{Fetch, Length, Piece, Place, Source, Word};
use fathom_filter::args::{ArgFormat, ArgLocation, ArgSlot, ArgSpec};
use fathom_symbols::Image;
use fathom_symbols::dbgfile::SourceLine;
use fathom_symbols::lines::{Error, SourceMap};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::rc::Rc;

/// Most arguments of a function.
const ARGUMENTS: usize = 256;
/// Most references from a function to its declaration.
const HOPS: usize = 8;
/// Most bytes of a struct that are recorded, and of all values of a call: the peer's reader takes 1020.
const STRUCT_BYTES: u64 = 248;
const CALL_BYTES: u16 = 1000;

/// What a function takes and returns, and where it is declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prototype {
    /// Its arguments, as far as it is known where they are, in their order.
    pub arguments: Vec<Fetch>,
    /// Its return value, if it has one and it is known where it is.
    pub returned: Option<Fetch>,
    /// Where it is declared.
    pub line: Option<SourceLine>,
}

/// The prototypes of one module, read when they are asked for.
#[derive(Debug)]
pub struct Prototypes {
    debug: Debug,
    enums: Enums,
    types: Types,
    rust: crate::rust::Types,
    known: RefCell<FxHashMap<u64, Option<Rc<Prototype>>>>,
}

impl Prototypes {
    /// Opens the debug information of an image: its own, or that of its separate debug file.
    ///
    /// # Errors
    ///
    /// If there is none, or it makes no sense as a whole. Damage inside only hides the functions it is in.
    pub fn open(image: &Image) -> Result<Prototypes, Error> {
        Ok(Prototypes {
            debug: Debug::new(SourceMap::open(image)?),
            enums: Enums::default(),
            types: Types::default(),
            rust: crate::rust::Types::default(),
            known: RefCell::default(),
        })
    }

    /// The function at a module-relative address, whose symbol has that name. None if the debug information does not
    /// have it.
    pub fn function(&self, rel_addr: u64, symbol: &str) -> Option<Rc<Prototype>> {
        if let Some(known) = self.known.borrow().get(&rel_addr) {
            return known.clone();
        }
        self.debug.refill();
        let found = self.read(rel_addr, symbol).map(Rc::new);
        self.known.borrow_mut().insert(rel_addr, found.clone());
        found
    }

    /// Where an address was made from, for those that are no function's beginning.
    pub fn lines(&self) -> &SourceMap {
        &self.debug.map
    }

    /// The enumerations that the prototypes mention which were asked for so far, as `.dbg` files have them.
    pub fn enum_definitions(&self) -> Vec<String> {
        self.enums.definitions()
    }

    /// Descriptions of the types that the prototypes mention which were asked for so far, as `.dbg` files have them.
    pub fn type_definitions(&self) -> Vec<String> {
        self.rust.definitions()
    }

    fn read(&self, rel_addr: u64, symbol: &str) -> Option<Prototype> {
        let function = Function::read(&self.debug, self.debug.map.entry(rel_addr)?)?;
        let mut prototype = Prototype { line: self.debug.map.function(rel_addr), ..Prototype::default() };
        let rust = self.is_rust(&function, symbol);
        let mut places = EntryPlaces::of(&self.debug, &function, symbol, rust);
        if !places.begins_at(self.debug.map.linked(rel_addr)?) {
            // A part of it that was moved elsewhere, which is jumped to.
            return Some(prototype);
        }
        let found =
            if rust { self.rust_values(&function, &mut places) } else { self.values(&function, &mut places) };
        if let Some((arguments, returned)) = found {
            prototype.arguments = arguments;
            prototype.returned = returned.filter(|_| places.returns());
        }
        Some(prototype)
    }

    /// Whether a function is called as Rust's are. What has a plain name is for callers in other languages.
    fn is_rust(&self, function: &Function, symbol: &str) -> bool {
        let root = function.entries.first().and_then(|node| self.debug.root(node));
        let language = root.and_then(|root| root.die.attr_value(gimli::DW_AT_language));
        language == Some(gimli::AttributeValue::Language(gimli::DW_LANG_Rust))
            && (symbol.starts_with("_R") || symbol.starts_with("_ZN"))
    }

    fn values(&self, function: &Function, places: &mut EntryPlaces) -> Option<(Vec<Fetch>, Option<Fetch>)> {
        let returned = match function.returned(&self.debug) {
            None => None,
            // Whether it takes a hidden argument is not known, and with it where the others are.
            Some(node) => Some(self.types.get(&self.debug, &self.enums, node)?),
        };
        let mut arguments = Arguments::of(returned.as_ref().map(|found| &found.shape));
        let mut builder = Builder::default();
        for parameter in function.parameters.iter().take(ARGUMENTS) {
            let found = parameter.declared_type(&self.debug);
            let found = found.and_then(|node| self.types.get(&self.debug, &self.enums, node));
            // Where the next ones are depends on this one's size.
            let Some(found) = found else { break };
            let by_rule = arguments.next(&found.shape);
            let float = matches!(found.record, Record::Plain(ArgFormat::Float, _));
            match places.check(&self.debug, parameter.concrete.as_ref(), found.shape.bytes, by_rule) {
                At::Here(place) => builder.argument(float, |slot| value(&found, slot, place)),
                At::Nowhere => {}
                At::Unknown => builder.skip(float),
            }
        }
        let returned = returned.and_then(|found| value(&found, ArgSlot::Return, return_value(&found.shape)));
        Some((builder.arguments, returned))
    }

    fn rust_values(
        &self,
        function: &Function,
        places: &mut EntryPlaces,
    ) -> Option<(Vec<Fetch>, Option<Fetch>)> {
        let (types, debug) = (&self.rust, &self.debug);
        let returned = match function.returned(debug) {
            None => None,
            Some(node) => Some(types.get(debug, node)?),
        };
        let fetch = |recorded: Recorded, slot| {
            let Recorded { format, size, type_name, source } = recorded;
            located(ArgSpec { slot, format, size, location: ArgLocation::Index, type_name }, source)
        };
        let mut arguments = returned.as_ref().map_or_else(|| Arguments::of(None), |found| found.arguments());
        let mut builder = Builder::default();
        for parameter in function.parameters.iter().take(ARGUMENTS) {
            let found = parameter.declared_type(debug).and_then(|node| types.get(debug, node));
            let Some(found) = found else { break };
            let by_rule = found.next(&mut arguments);
            match places.check(debug, parameter.concrete.as_ref(), found.bytes(), by_rule) {
                At::Here(place) => match types.record(debug, &self.enums, &found, place) {
                    Some(recorded) => {
                        let float = recorded.format == ArgFormat::Float;
                        builder.argument(float, |slot| Some(fetch(recorded, slot)));
                    }
                    None => builder.skip(false),
                },
                At::Nowhere => {}
                At::Unknown => builder.skip(false),
            }
        }
        let returned = returned.and_then(|found| {
            let recorded = types.record(debug, &self.enums, &found, found.returned()?)?;
            Some(fetch(recorded, ArgSlot::Return))
        });
        Some((builder.arguments, returned))
    }
}

/// A parameter, as it is declared and as the compiled function has it. One of the two is always there.
#[derive(Debug)]
pub(crate) struct Parameter {
    declared: Option<Node>,
    concrete: Option<Node>,
}

impl Parameter {
    fn declared_type(&self, debug: &Debug) -> Option<Node> {
        let concrete = self.concrete.as_ref().and_then(|node| debug.type_of(node));
        concrete.or_else(|| {
            let origin =
                self.concrete.as_ref().and_then(|node| debug.follow(node, gimli::DW_AT_abstract_origin));
            let origin = origin.as_ref().and_then(|node| debug.type_of(node));
            origin.or_else(|| debug.type_of(self.declared.as_ref()?))
        })
    }
}

/// A function: the entry that has its addresses, and those it refers to.
#[derive(Debug)]
pub(crate) struct Function {
    /// The compiled one first.
    pub(crate) entries: Vec<Node>,
    pub(crate) parameters: Vec<Parameter>,
}

impl Function {
    fn read(debug: &Debug, entry: fathom_symbols::lines::Entry) -> Option<Function> {
        let mut entries = vec![debug.read(entry)?];
        while let Some(last) = entries.last().filter(|_| entries.len() < HOPS) {
            let next = debug.follow(last, gimli::DW_AT_abstract_origin);
            let Some(next) = next.or_else(|| debug.follow(last, gimli::DW_AT_specification)) else { break };
            entries.push(next);
        }
        let parameters = parameters(debug, &entries);
        Some(Function { entries, parameters })
    }

    fn returned(&self, debug: &Debug) -> Option<Node> {
        self.entries.iter().find_map(|node| debug.type_of(node))
    }

    /// Whether code outside of the unit can call it.
    pub(crate) fn external(&self) -> bool {
        self.entries.iter().any(|node| node.flag(gimli::DW_AT_external))
    }
}

/// The parameters of the compiled function. If it was made from an abstract one, those are in the order of that, as
/// compilers leave out of the compiled one what was optimised away.
fn parameters(debug: &Debug, entries: &[Node]) -> Vec<Parameter> {
    let of = |node: &Node| {
        let mut children = debug.children(node);
        children.retain(|child| child.tag() == gimli::DW_TAG_formal_parameter);
        children
    };
    let mut lists = entries.iter().map(of);
    let concrete = lists.next().unwrap_or_default();
    let declared = lists.find(|list| !list.is_empty()).unwrap_or_default();
    let plain =
        |list: Vec<Node>| list.into_iter().map(|node| Parameter { declared: None, concrete: Some(node) });
    let refers = |node: &Node| {
        let origin = debug.follow(node, gimli::DW_AT_abstract_origin)?;
        debug.key(&origin)
    };
    let origins: Vec<_> = concrete.iter().map(refers).collect();
    if declared.len() <= concrete.len() || origins.iter().any(Option::is_none) {
        if concrete.is_empty() {
            let declared = declared.into_iter();
            return declared.map(|node| Parameter { declared: Some(node), concrete: None }).collect();
        }
        return plain(concrete).collect();
    }
    let mut concrete: Vec<Option<Node>> = concrete.into_iter().map(Some).collect();
    let mut all = Vec::new();
    for node in declared {
        let key = debug.key(&node);
        let number = origins.iter().position(|origin| *origin == key);
        let compiled = number.and_then(|number| concrete.get_mut(number)?.take());
        // Constructors have variants with and without hidden arguments of the compiler's.
        let hidden =
            node.flag(gimli::DW_AT_artificial) && debug.name(&node).is_none_or(|name| name != "this");
        if compiled.is_some() || !hidden {
            all.push(Parameter { declared: Some(node), concrete: compiled });
        }
    }
    all
}

/// Numbers arguments and collects them.
#[derive(Default)]
struct Builder {
    integers: u16,
    floats: u16,
    bytes: u16,
    arguments: Vec<Fetch>,
}

impl Builder {
    fn slot(&mut self, float: bool) -> ArgSlot {
        if float {
            self.floats += 1;
            ArgSlot::Float(self.floats)
        } else {
            self.integers += 1;
            ArgSlot::Integer(self.integers)
        }
    }

    /// One that there is, but nobody knows where.
    fn skip(&mut self, float: bool) {
        self.slot(float);
    }

    fn argument(&mut self, float: bool, value: impl FnOnce(ArgSlot) -> Option<Fetch>) {
        let slot = self.slot(float);
        let Some(mut fetch) = value(slot) else { return };
        let left = CALL_BYTES.saturating_sub(self.bytes);
        if fetch.spec.format == ArgFormat::Struct && fetch.spec.size > left {
            fetch.spec.size = left / 4 * 4;
            cut(&mut fetch.source, fetch.spec.size);
        }
        let most = match fetch.spec.format {
            ArgFormat::String | ArgFormat::StdString => 100,
            _ => fetch.spec.size.next_multiple_of(4),
        };
        if most <= left {
            self.bytes += most;
            self.arguments.push(fetch);
        }
    }
}

/// What is recorded for a value at a place.
fn value(found: &Type, slot: ArgSlot, place: Where) -> Option<Fetch> {
    let spec =
        |format, size, type_name| ArgSpec { slot, format, size, location: ArgLocation::Index, type_name };
    let (spec, source) = match (&found.record, place) {
        (Record::Text, place) => {
            let pointer = Word::At(first(&place)?);
            let source = Source::Text { pointer, length: Length::Nul, absent: None };
            (spec(ArgFormat::String, 8, None), source)
        }
        (Record::StdString, Where::Behind(place)) => {
            (spec(ArgFormat::StdString, 8, None), Source::std_string(place))
        }
        (Record::StdString, Where::Pieces(_)) => return None,
        (Record::Plain(format, size), place) => {
            (spec(*format, *size, None), Source::Pieces(start(place, *size)?))
        }
        (Record::Enum(name, size), place) => {
            (spec(ArgFormat::Enum, 8, Some(name.clone())), Source::Pieces(start(place, *size)?))
        }
        (Record::Struct(bytes, name), place) => {
            let size = (*bytes).min(STRUCT_BYTES) as u16;
            let mut source = match place {
                Where::Pieces(pieces) => Source::Pieces(pieces),
                Where::Behind(pointer) => Source::Memory { pointer: Word::At(pointer), offset: 0 },
            };
            cut(&mut source, size);
            (spec(ArgFormat::Struct, size, name.clone()), source)
        }
    };
    Some(located(spec, source))
}

/// Says in the spec where the value is, unless that is where the number of the argument puts it. Of return values it is
/// never said: the peer can't read that, and whoever reads does not need it.
pub(crate) fn located(spec: ArgSpec, source: Source) -> Fetch {
    let implied =
        spec.slot == ArgSlot::Return || Source::of(&spec).is_some_and(|other| same_place(&other, &source));
    let location = if implied { ArgLocation::Index } else { spec_location(&source) };
    Fetch { spec: ArgSpec { location, ..spec }, source }
}

/// Whether two sources are the same but for how many bytes of a single register or word are taken.
fn same_place(a: &Source, b: &Source) -> bool {
    match (a, b) {
        (Source::Pieces(a), Source::Pieces(b)) => match (a.as_slice(), b.as_slice()) {
            ([a], [b]) => a.place == b.place,
            (a, b) => a == b,
        },
        (a, b) => a == b,
    }
}

fn first(place: &Where) -> Option<Place> {
    match place {
        Where::Pieces(pieces) => Some(pieces.first()?.place),
        Where::Behind(_) => None,
    }
}

/// The first bytes of a value.
fn start(place: Where, bytes: u16) -> Option<Vec<Piece>> {
    let Where::Pieces(pieces) = place else { return None };
    let first = *pieces.first()?;
    Some(vec![Piece { bytes: first.bytes.min(bytes), ..first }])
}

/// Leaves no more than so many bytes.
fn cut(source: &mut Source, bytes: u16) {
    let Source::Pieces(pieces) = source else { return };
    let mut left = bytes;
    for piece in pieces.iter_mut() {
        piece.bytes = piece.bytes.min(left);
        left -= piece.bytes;
    }
    pieces.retain(|piece| piece.bytes > 0);
}
