//! How values of Rust are recorded.

use super::{Special, Type, Types};
use crate::dwarf::Debug;
use crate::enums::Enums;
use crate::layout::{Layout, Variant};
use crate::sysv::Where;
use crate::{Length, Piece, Place, Source, Word};
use fathom_filter::args::ArgFormat;
use std::rc::Rc;

/// Most bytes of a value, of what a reference refers to, and of the elements of a sequence that are recorded.
const VALUE: u64 = 128;
const TARGET: u64 = 64;
const ELEMENTS: u64 = 64;

/// What is recorded of a value.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) format: ArgFormat,
    pub(crate) size: u16,
    pub(crate) type_name: Option<String>,
    pub(crate) source: Source,
}

/// Where the parts of a value are.
enum Parts<'p> {
    Here(&'p [Piece]),
    /// Behind a pointer that is here.
    Behind(Place),
}

impl Parts<'_> {
    /// The word at an offset in the value.
    fn word(&self, offset: u64) -> Option<Word> {
        let pieces = match self {
            Parts::Behind(pointer) => {
                return Some(Word::Behind { pointer: *pointer, offset: i32::try_from(offset).ok()? });
            }
            Parts::Here(pieces) => pieces,
        };
        let mut start = 0;
        for piece in *pieces {
            if start == offset {
                return Some(Word::At(piece.place));
            }
            start += u64::from(piece.bytes);
        }
        None
    }
}

impl Types {
    /// What is recorded of a value at a place. None if it can't be said.
    pub(crate) fn record(
        &self,
        debug: &Debug,
        enums: &Enums,
        found: &Type,
        place: Where,
    ) -> Option<Recorded> {
        let parts = match &place {
            Where::Pieces(pieces) => Parts::Here(pieces),
            Where::Behind(pointer) => Parts::Behind(*pointer),
        };
        if let Some(text) = &found.text {
            return self.elsewhere(debug, found, text, &parts);
        }
        if let Some(recorded) = self.optional_target(debug, found, &parts) {
            return Some(recorded);
        }
        if let Some(recorded) = self.target(debug, found, &parts) {
            return Some(recorded);
        }
        self.scalar(enums, found, &place).or_else(|| self.value(found, place))
    }

    /// Text or elements.
    fn elsewhere(&self, debug: &Debug, found: &Type, text: &Special, parts: &Parts) -> Option<Recorded> {
        let (pointer, length) = (parts.word(text.pointer)?, parts.word(text.length)?);
        let absent = match text.absent {
            Some((offset, value)) => Some((parts.word(offset)?, value)),
            None => None,
        };
        let optional = absent.is_some();
        let Some(element) = &text.element else {
            let source = Source::Text { pointer, length: Length::Word(length), absent };
            let layout = Layout::Text { optional };
            let name = if optional { self.describe(&found.name, &layout) } else { "str".to_owned() };
            return Some(Recorded { format: ArgFormat::String, size: 8, type_name: Some(name), source });
        };
        let element = self.get(debug, debug.read(element.entry.clone())?)?;
        let stride = element.bytes;
        let bytes = match stride {
            0 => 0,
            1..=ELEMENTS => ELEMENTS / stride * stride,
            stride => stride.min(VALUE),
        };
        let layout = Layout::Sequence { optional, stride, element: Box::new(element.layout.clone()) };
        let name = self.describe(&found.name, &layout);
        let element = u32::try_from(stride.max(1)).ok()?;
        let source = Source::Sequence { pointer, count: length, element, absent };
        let size = (8 + bytes).next_multiple_of(4) as u16;
        Some(Recorded { format: ArgFormat::Struct, size, type_name: Some(name), source })
    }

    /// What the reference of an `Option` refers to: recorded as a sequence, whose number is the address.
    fn optional_target(&self, debug: &Debug, found: &Type, parts: &Parts) -> Option<Recorded> {
        let node = found.optional_target.as_ref()?;
        let target: Rc<Type> = self.get(debug, debug.read(node.entry.clone())?)?;
        let says_nothing = matches!(target.layout, Layout::Opaque { .. } | Layout::Pointer);
        if target.text.is_some() || target.bytes == 0 || target.bytes > TARGET || says_nothing {
            return None;
        }
        let pointer = parts.word(0)?;
        let element = u32::try_from(target.bytes).ok()?;
        let source = Source::Sequence { pointer, count: pointer, element, absent: Some((pointer, 0)) };
        let layout = Layout::OptionalReference { target: Box::new(target.layout.clone()) };
        let name = self.describe(&found.name, &layout);
        let size = (8 + target.bytes) as u16;
        Some(Recorded { format: ArgFormat::Struct, size, type_name: Some(name), source })
    }

    /// What a reference refers to, if it says more than the address.
    fn target(&self, debug: &Debug, found: &Type, parts: &Parts) -> Option<Recorded> {
        let (node, prefix) = found.target.as_ref()?;
        let target: Rc<Type> = self.get(debug, debug.read(node.entry.clone())?)?;
        // The reference is the value; what it refers to is behind it.
        let Word::At(pointer) = parts.word(0)? else { return None };
        if let Some(text) = &target.text {
            return self.elsewhere(debug, &target, text, &Parts::Behind(pointer));
        }
        let says_nothing = matches!(target.layout, Layout::Opaque { .. } | Layout::Pointer);
        if target.bytes == 0 || target.bytes > TARGET || says_nothing {
            return None;
        }
        let layout =
            Layout::Reference { prefix: (*prefix).to_owned(), target: Box::new(target.layout.clone()) };
        let name = self.describe(&found.name, &layout);
        let source = Source::Memory { pointer: Word::At(pointer), offset: 0 };
        let size = target.bytes as u16;
        Some(Recorded { format: ArgFormat::Struct, size, type_name: Some(name), source })
    }

    /// What the usual formats are for.
    fn scalar(&self, enums: &Enums, found: &Type, place: &Where) -> Option<Recorded> {
        let Where::Pieces(pieces) = place else { return None };
        let [piece] = pieces.as_slice() else { return None };
        let named = |format, bytes, name: &str| (format, u16::from(bytes), Some(name.to_owned()));
        let (format, size, type_name) = match &found.layout {
            Layout::Bool => {
                let constants = [("false".to_owned(), 0), ("true".to_owned(), 1)];
                (ArgFormat::Enum, 8, Some(enums.add("bool", &constants)))
            }
            Layout::Char => (ArgFormat::Char, 4, None),
            Layout::Pointer => (ArgFormat::Pointer, 8, None),
            Layout::Integer { bytes, signed: true } if *bytes <= 8 => {
                (ArgFormat::Signed, u16::from(*bytes), None)
            }
            // The format shows large ones in hex.
            Layout::Integer { bytes: 4, .. } => named(ArgFormat::Unsigned, 4u8, "u32"),
            Layout::Integer { bytes: 8, .. } => named(ArgFormat::Unsigned, 8, "u64"),
            Layout::Integer { bytes: 1 | 2, .. } => (ArgFormat::Unsigned, found.bytes as u16, None),
            Layout::Float { bytes: 4 } => named(ArgFormat::Float, 4, "f32"),
            Layout::Float { .. } => named(ArgFormat::Float, 8, "f64"),
            Layout::Enum { offset: 0, bytes, variants } if *bytes > 0 && found.bytes == u64::from(*bytes) => {
                (ArgFormat::Enum, 8, Some(enums.add(&found.name, &plain_constants(variants)?)))
            }
            _ => return None,
        };
        let bytes = piece.bytes.min(found.bytes as u16);
        let source = Source::Pieces(vec![Piece { bytes, ..*piece }]);
        Some(Recorded { format, size, type_name, source })
    }

    /// Its bytes.
    fn value(&self, found: &Type, place: Where) -> Option<Recorded> {
        let bytes = if matches!(found.layout, Layout::Opaque { .. }) { 0 } else { found.bytes.min(VALUE) };
        let source = match place {
            Where::Behind(pointer) if bytes > 0 => Source::Memory { pointer: Word::At(pointer), offset: 0 },
            Where::Pieces(pieces) if bytes > 0 => Source::Pieces(pieces),
            _ => Source::Pieces(Vec::new()),
        };
        let type_name = Some(self.describe(&found.name, &found.layout));
        Some(Recorded { format: ArgFormat::Struct, size: bytes as u16, type_name, source })
    }
}

/// The constants of an enumeration whose variants have no fields and all have a number.
fn plain_constants(variants: &[Variant]) -> Option<Vec<(String, i64)>> {
    let constant = |variant: &Variant| {
        let value = variant.value.filter(|_| variant.fields.is_empty())?;
        Some((variant.name.clone(), value.cast_signed()))
    };
    variants.iter().map(constant).collect()
}
