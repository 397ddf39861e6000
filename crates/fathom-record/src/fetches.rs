//! Values of calls, as the runtime fetches them.

use crate::plan::Function;
use fathom_abi::plan::{self, Part};
use fathom_store::args::{ArgSlot, ArgSpec};
use fathom_symbols::elf::Image;
use fathom_types::{Fetch, Length, Piece, Place, Prototypes, Register, Source, Word, builtin};
use rustc_hash::FxHashMap;
use std::path::{Path, PathBuf};

/// Arguments and return value of a function.
pub(crate) type Values = (Vec<Fetch>, Option<Fetch>);

/// The values that functions have by their types. What has been found out is kept, so that debug information is read once.
#[derive(Debug, Default)]
pub(crate) struct Types {
    /// By file and relative address.
    known: FxHashMap<(PathBuf, u64), Values>,
}

/// The debug information of modules, for as long as functions are looked up.
#[derive(Default)]
pub(crate) struct Opened(FxHashMap<PathBuf, Option<Prototypes>>);

impl Opened {
    fn module(&mut self, path: &Path) -> Option<&Prototypes> {
        if !self.0.contains_key(path) {
            let opened = Image::open(path).ok().and_then(|image| Prototypes::open(&image).ok());
            self.0.insert(path.to_path_buf(), opened);
        }
        self.0.get(path)?.as_ref()
    }
}

impl Types {
    /// The values of a function of the file at `path`: from its debug information, otherwise from the table of
    /// well-known functions.
    pub(crate) fn of(&mut self, opened: &mut Opened, path: &Path, function: &Function) -> Values {
        let table =
            || (builtin::arguments(&function.raw).unwrap_or_default(), builtin::returned(&function.raw));
        if function.plt {
            return table();
        }
        let key = (path.to_path_buf(), function.at);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let found = opened.module(path).and_then(|module| module.function(function.at, &function.raw));
        let values = found.map_or_else(table, |found| (found.arguments.clone(), found.returned.clone()));
        self.known.insert(key, values.clone());
        values
    }
}

/// What is to be fetched for specs, which are a function's own or come from its types.
pub(crate) fn fetches(specs: Vec<ArgSpec>, (arguments, returned): &Values) -> Values {
    let by_type =
        |spec: &ArgSpec| arguments.iter().chain(returned).find(|fetch| fetch.spec == *spec).cloned();
    let fetch = |spec: ArgSpec| by_type(&spec).or_else(|| Fetch::of(spec));
    let (returned, arguments): (Vec<_>, Vec<_>) =
        specs.into_iter().partition(|spec| spec.slot == ArgSlot::Return);
    (arguments.into_iter().filter_map(fetch).collect(), returned.into_iter().find_map(fetch))
}

/// As it is in a plan.
pub(crate) fn to_plan(fetch: &Fetch) -> plan::Fetch {
    let mut made = plan::Fetch { size: fetch.spec.size, ..plan::Fetch::default() };
    let mut parts = Vec::new();
    match &fetch.source {
        Source::Pieces(pieces) => {
            made.kind = plan::FETCH_BYTES;
            parts.extend(pieces.iter().map(piece));
        }
        Source::Memory { pointer, offset } => {
            made.kind = plan::FETCH_MEMORY;
            made.number = *offset;
            parts.push(word(pointer));
        }
        Source::Text { pointer, length, absent } => {
            made.kind = plan::FETCH_TEXT;
            parts.push(word(pointer));
            if let Length::Word(length) = length {
                made.kind = plan::FETCH_TEXT_LENGTH;
                parts.push(word(length));
            }
            add_absent(&mut made, &mut parts, absent.as_ref());
        }
        Source::Sequence { pointer, count, element, absent } => {
            made.kind = plan::FETCH_SEQUENCE;
            made.number = (*element).min(i32::MAX as u32) as i32;
            parts.extend([word(pointer), word(count)]);
            add_absent(&mut made, &mut parts, absent.as_ref());
        }
    }
    made.parts = parts.len().min(made.part.len()) as u8;
    for (place, part) in made.part.iter_mut().zip(parts) {
        *place = if fetch.spec.slot == ArgSlot::Return { of_result(part) } else { part };
    }
    made
}

/// Two registers that hold arguments before a call hold parts of its result after it.
fn of_result(part: Part) -> Part {
    let load = part.from & plan::FROM_LOAD;
    match (part.from & !plan::FROM_LOAD, part.index) {
        (plan::FROM_INTEGER, RDX) => Part { from: plan::FROM_RESULT | load, index: 1, ..part },
        (plan::FROM_INTEGER, RCX) => Part { from: plan::FROM_RESULT | load, index: 2, ..part },
        _ => part,
    }
}

/// Numbers among the registers of arguments.
const RDX: u16 = 2;
const RCX: u16 = 3;

/// The word that tells whether there is a value is always the third part.
fn add_absent(made: &mut plan::Fetch, parts: &mut Vec<Part>, absent: Option<&(Word, u64)>) {
    let Some((tells, value)) = absent else { return };
    parts.resize(2, Part::default());
    parts.push(word(tells));
    made.absent = *value;
}

fn piece(piece: &Piece) -> Part {
    let (from, index) = place(piece.place);
    Part { from, size: piece.bytes.min(255) as u8, index, offset: 0 }
}

fn word(word: &Word) -> Part {
    match word {
        Word::At(at) => {
            let (from, index) = place(*at);
            Part { from, size: 8, index, offset: 0 }
        }
        Word::Behind { pointer, offset } => {
            let (from, index) = place(*pointer);
            Part { from: from | plan::FROM_LOAD, size: 8, index, offset: *offset }
        }
    }
}

fn place(place: Place) -> (u8, u16) {
    use Register::{R8, R9, Rax, Rcx, Rdi, Rdx, Rsi, St0, St1, Xmm};
    match place {
        Place::Stack(word) => (plan::FROM_STACK, word.min(u32::from(u16::MAX)) as u16),
        Place::Register(register) => match register {
            Rdi => (plan::FROM_INTEGER, 0),
            Rsi => (plan::FROM_INTEGER, 1),
            Rdx => (plan::FROM_INTEGER, RDX),
            Rcx => (plan::FROM_INTEGER, RCX),
            R8 => (plan::FROM_INTEGER, 4),
            R9 => (plan::FROM_INTEGER, 5),
            Rax => (plan::FROM_RESULT, 0),
            Xmm(n) => (plan::FROM_VECTOR, u16::from(n)),
            St0 => (plan::FROM_X87, 0),
            St1 => (plan::FROM_X87, 1),
        },
    }
}
