//! How the bytes of a value are to be read and shown: types that a format letter does not describe, such as those of
//! Rust.
//!
//! ```text
//! type := bool | char | (i|u)(1|2|4|8|16) | f4 | f8 | ptr          the number is that of bytes
//!       | _ NAME                                                   contents unknown
//!       | & PREFIX type                                            what a reference refers to
//!       | [ COUNT STRIDE type
//!       | struct NAME COUNT (FIELD OFFSET type)*
//!       | enum OFFSET BYTES COUNT ((VALUE | *) NAME COUNT (FIELD OFFSET type)*)*
//!       | text | some-text                                         recorded as a string
//!       | seq STRIDE type | some-seq STRIDE type                   recorded as a number of elements, and elements
//!       | some-ref type                                            recorded as a sequence of one
//! ```
//!
//! Words are separated by blanks; a name of nothing is `-`. Values and bytes are little endian.

use crate::fetch::{ABSENT, UNREADABLE};
use rustc_hash::FxHashMap;
use std::fmt::Write as _;

/// Most levels of types in types.
const DEPTH: usize = 32;
/// Most parts of one description.
const PARTS: usize = 4096;
/// Most bytes of text that one value makes.
const TEXT: usize = 2048;

/// A description of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One byte, not 0 for true.
    Bool,
    /// A character of Rust: its number in four bytes.
    Char,
    /// A number of so many bytes.
    Integer {
        /// 1, 2, 4, 8 or 16.
        bytes: u8,
        /// Whether it has a sign.
        signed: bool,
    },
    /// A number of 4 or 8 bytes.
    Float {
        /// 4 or 8.
        bytes: u8,
    },
    /// An address.
    Pointer,
    /// Something whose bytes say nothing by themselves.
    Opaque {
        /// Name of the type, may be empty.
        name: String,
    },
    /// A reference, of which what it refers to was recorded.
    Reference {
        /// What stands in front of that: `&`, `&mut`, or nothing.
        prefix: String,
        /// What it refers to.
        target: Box<Layout>,
    },
    /// Elements one behind the other.
    Array {
        /// How many.
        count: u64,
        /// Bytes from one to the next.
        stride: u64,
        /// What each is.
        element: Box<Layout>,
    },
    /// Fields.
    Struct {
        /// Name without type parameters; of a tuple empty.
        name: String,
        /// In the order of the definition.
        fields: Vec<Field>,
    },
    /// One of several variants.
    Enum {
        /// Where the number is that tells which.
        offset: u64,
        /// How many bytes that number has, at most 8; 0 if there is only one variant.
        bytes: u8,
        /// The variants.
        variants: Vec<Variant>,
    },
    /// Text, recorded as strings are.
    Text {
        /// Whether it may be absent: then it is shown in `Some()`.
        optional: bool,
    },
    /// A number of elements (8 bytes), and as many of them as were recorded.
    Sequence {
        /// Whether it may be absent: then it is shown in `Some()`.
        optional: bool,
        /// Bytes from one element to the next.
        stride: u64,
        /// What each is.
        element: Box<Layout>,
    },
    /// A reference that may be absent: recorded as a sequence, of which only the first element counts.
    OptionalReference {
        /// What it refers to.
        target: Box<Layout>,
    },
}

/// A field of a struct or variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name; in tuples its number.
    pub name: String,
    /// Bytes from the beginning of the outermost value of which it is a part to it.
    pub offset: u64,
    /// What it is.
    pub layout: Layout,
}

/// A variant of an enumeration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The number that tells it; none for that which is meant by all numbers that no other variant has.
    pub value: Option<u64>,
    /// Its name.
    pub name: String,
    /// In the order of the definition.
    pub fields: Vec<Field>,
}

/// The descriptions of a trace by the names that specs mention.
#[derive(Debug, Default)]
pub struct Layouts(FxHashMap<String, Layout>);

impl Layouts {
    /// Reads `NAME = DESCRIPTION` lines. Those that make no sense are left out; of several with one name the first counts.
    pub fn parse<'t>(lines: impl IntoIterator<Item = &'t str>) -> Layouts {
        let mut all = FxHashMap::default();
        for line in lines {
            let Some((name, text)) = line.split_once(" = ") else { continue };
            if let Some(layout) = Layout::parse(text) {
                all.entry(name.to_owned()).or_insert(layout);
            }
        }
        Layouts(all)
    }

    /// The type of a name: one of the descriptions, or a number or text of Rust.
    pub fn get(&self, name: &str) -> Option<&Layout> {
        self.0.get(name).or_else(|| primitive(name))
    }
}

/// What of Rust needs no description.
fn primitive(name: &str) -> Option<&'static Layout> {
    const fn integer(bytes: u8, signed: bool) -> Layout {
        Layout::Integer { bytes, signed }
    }
    static STR: Layout = Layout::Text { optional: false };
    static F4: Layout = Layout::Float { bytes: 4 };
    static F8: Layout = Layout::Float { bytes: 8 };
    static U: [Layout; 4] = [integer(1, false), integer(2, false), integer(4, false), integer(8, false)];
    static I: [Layout; 4] = [integer(1, true), integer(2, true), integer(4, true), integer(8, true)];
    Some(match name {
        "str" => &STR,
        "f32" => &F4,
        "f64" => &F8,
        "u8" => &U[0],
        "u16" => &U[1],
        "u32" => &U[2],
        "u64" | "usize" => &U[3],
        "i8" => &I[0],
        "i16" => &I[1],
        "i32" => &I[2],
        "i64" | "isize" => &I[3],
        _ => return None,
    })
}

impl Layout {
    /// Reads a description.
    pub fn parse(text: &str) -> Option<Layout> {
        let mut parser = Parser { words: text.split_ascii_whitespace(), parts: PARTS };
        let layout = parser.layout(DEPTH)?;
        parser.words.next().is_none().then_some(layout)
    }

    /// Writes a description.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.put(&mut text);
        text
    }

    fn put(&self, out: &mut String) {
        // Formatting into a String does not fail.
        let _ = match self {
            Layout::Bool => write!(out, "bool"),
            Layout::Char => write!(out, "char"),
            Layout::Integer { bytes, signed } => write!(out, "{}{bytes}", if *signed { 'i' } else { 'u' }),
            Layout::Float { bytes } => write!(out, "f{bytes}"),
            Layout::Pointer => write!(out, "ptr"),
            Layout::Opaque { name } => write!(out, "_ {}", word(name)),
            Layout::Reference { prefix, target } => {
                let _ = write!(out, "& {} ", word(prefix));
                return target.put(out);
            }
            Layout::Array { count, stride, element } => {
                let _ = write!(out, "[ {count} {stride} ");
                return element.put(out);
            }
            Layout::Struct { name, fields } => {
                let _ = write!(out, "struct {}", word(name));
                return put_fields(fields, out);
            }
            Layout::Enum { offset, bytes, variants } => {
                let _ = write!(out, "enum {offset} {bytes} {}", variants.len());
                for Variant { value, name, fields } in variants {
                    let _ = match value {
                        Some(value) => write!(out, " {value} {}", word(name)),
                        None => write!(out, " * {}", word(name)),
                    };
                    put_fields(fields, out);
                }
                return;
            }
            Layout::Text { optional } => write!(out, "{}text", some(*optional)),
            Layout::Sequence { optional, stride, element } => {
                let _ = write!(out, "{}seq {stride} ", some(*optional));
                return element.put(out);
            }
            Layout::OptionalReference { target } => {
                out.push_str("some-ref ");
                return target.put(out);
            }
        };
    }

    /// The value of these bytes as a programmer would write it. `pointer` shows an address. What is beyond the bytes is
    /// shown as `..`.
    pub fn show(&self, bytes: &[u8], pointer: &mut dyn FnMut(u64) -> String) -> String {
        let mut show = Show { bytes, pointer, out: String::new() };
        show.value(self, 0);
        show.out
    }
}

fn put_fields(fields: &[Field], out: &mut String) {
    let _ = write!(out, " {}", fields.len());
    for Field { name, offset, layout } in fields {
        let _ = write!(out, " {} {offset} ", word(name));
        layout.put(out);
    }
}

fn some(optional: bool) -> &'static str {
    if optional { "some-" } else { "" }
}

/// A name as one word.
fn word(name: &str) -> String {
    match name {
        "" => "-".to_owned(),
        name => name.replace(|c: char| c.is_whitespace() || c.is_control(), "_"),
    }
}

struct Parser<'t> {
    words: std::str::SplitAsciiWhitespace<'t>,
    /// How many more may come.
    parts: usize,
}

impl Parser<'_> {
    /// What could not be written so is read as it would be written.
    fn name(&mut self) -> Option<String> {
        self.words.next().map(|name| if name == "-" { String::new() } else { word(name) })
    }

    fn number<T: std::str::FromStr>(&mut self) -> Option<T> {
        self.words.next()?.parse().ok()
    }

    fn layout(&mut self, depth: usize) -> Option<Layout> {
        let depth = depth.checked_sub(1)?;
        self.parts = self.parts.checked_sub(1)?;
        Some(match self.words.next()? {
            "bool" => Layout::Bool,
            "char" => Layout::Char,
            "ptr" => Layout::Pointer,
            "f4" => Layout::Float { bytes: 4 },
            "f8" => Layout::Float { bytes: 8 },
            "_" => Layout::Opaque { name: self.name()? },
            "&" => Layout::Reference { prefix: self.name()?, target: Box::new(self.layout(depth)?) },
            "[" => Layout::Array {
                count: self.number()?,
                stride: self.number()?,
                element: Box::new(self.layout(depth)?),
            },
            "struct" => Layout::Struct { name: self.name()?, fields: self.fields(depth)? },
            "enum" => self.variants(depth)?,
            "some-ref" => Layout::OptionalReference { target: Box::new(self.layout(depth)?) },
            "text" => Layout::Text { optional: false },
            "some-text" => Layout::Text { optional: true },
            word @ ("seq" | "some-seq") => Layout::Sequence {
                optional: word == "some-seq",
                stride: self.number()?,
                element: Box::new(self.layout(depth)?),
            },
            word => {
                let signed = word.starts_with('i');
                let bytes = word.strip_prefix(['i', 'u'])?.parse().ok()?;
                matches!(bytes, 1 | 2 | 4 | 8 | 16).then_some(Layout::Integer { bytes, signed })?
            }
        })
    }

    fn fields(&mut self, depth: usize) -> Option<Vec<Field>> {
        let count: usize = self.number()?;
        let mut fields = Vec::new();
        for _ in 0..count {
            fields.push(Field { name: self.name()?, offset: self.number()?, layout: self.layout(depth)? });
        }
        Some(fields)
    }

    fn variants(&mut self, depth: usize) -> Option<Layout> {
        let (offset, bytes) = (self.number()?, self.number::<u8>().filter(|bytes| *bytes <= 8)?);
        let count: usize = self.number()?;
        let mut variants = Vec::new();
        for _ in 0..count {
            self.parts = self.parts.checked_sub(1)?;
            let value = match self.words.next()? {
                "*" => None,
                value => Some(value.parse().ok()?),
            };
            variants.push(Variant { value, name: self.name()?, fields: self.fields(depth)? });
        }
        Some(Layout::Enum { offset, bytes, variants })
    }
}

struct Show<'s> {
    bytes: &'s [u8],
    pointer: &'s mut dyn FnMut(u64) -> String,
    out: String,
}

impl Show<'_> {
    /// A number of at most 16 bytes.
    fn number(&self, at: u64, bytes: u8) -> Option<u128> {
        let at = usize::try_from(at).ok()?;
        let bytes = self.bytes.get(at..at.checked_add(usize::from(bytes))?)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u128::from(*byte)))
    }

    fn push(&mut self, text: &str) {
        // Layouts can be made that have no end.
        if self.out.len() < TEXT {
            self.out.push_str(text);
        }
    }

    fn value(&mut self, layout: &Layout, at: u64) {
        if self.out.len() >= TEXT {
            return;
        }
        let text = match layout {
            Layout::Bool => self.number(at, 1).map(|value| (value != 0).to_string()),
            Layout::Char => self.number(at, 4).map(|value| character(value as u32)),
            Layout::Integer { bytes, signed: false } => {
                self.number(at, *bytes).map(|value| value.to_string())
            }
            Layout::Integer { bytes, signed: true } => self.number(at, *bytes).map(|value| {
                let unused = 128 - 8 * u32::from((*bytes).clamp(1, 16));
                ((value << unused).cast_signed() >> unused).to_string()
            }),
            Layout::Float { bytes: 4 } => {
                self.number(at, 4).map(|v| format!("{:?}", f32::from_bits(v as u32)))
            }
            Layout::Float { .. } => self.number(at, 8).map(|v| format!("{:?}", f64::from_bits(v as u64))),
            Layout::Pointer => self.number(at, 8).map(|address| (self.pointer)(address as u64)),
            Layout::Opaque { name } => {
                Some(if name.is_empty() { "..".to_owned() } else { format!("{name} {{..}}") })
            }
            Layout::Reference { prefix, target } => {
                self.push(prefix);
                if prefix.ends_with(char::is_alphanumeric) {
                    self.push(" ");
                }
                return self.value(target, at);
            }
            Layout::Array { count, stride, element } => return self.elements(*count, *stride, element, at),
            Layout::Struct { name, fields } => return self.fields(name, fields, at),
            Layout::Enum { offset, bytes, variants } => return self.variant(*offset, *bytes, variants, at),
            Layout::OptionalReference { target } => return self.reference(target),
            Layout::Text { optional } => return self.text(*optional),
            Layout::Sequence { optional, stride, element } => {
                return self.sequence(*optional, *stride, element);
            }
        };
        self.push(&text.unwrap_or_else(|| "..".to_owned()));
    }

    /// As many as were recorded.
    fn elements(&mut self, count: u64, stride: u64, element: &Layout, at: u64) {
        self.push("[");
        for number in 0..count {
            if number > 0 {
                self.push(", ");
            }
            let start = number.checked_mul(stride).and_then(|from| from.checked_add(at));
            let end = start.and_then(|start| start.checked_add(stride));
            let all = end.is_some_and(|end| end <= self.bytes.len() as u64);
            match start.filter(|_| all && self.out.len() < TEXT) {
                Some(start) => self.value(element, start),
                None => {
                    self.push(&format!("..{}", count - number));
                    break;
                }
            }
        }
        self.push("]");
    }

    fn fields(&mut self, name: &str, fields: &[Field], at: u64) {
        self.push(name);
        let tuple = fields.iter().all(|field| field.name.starts_with(|c: char| c.is_ascii_digit()));
        if fields.is_empty() {
            if name.is_empty() {
                self.push("()");
            }
            return;
        }
        self.push(match (tuple, name.is_empty()) {
            (true, _) => "(",
            (false, true) => "{ ",
            (false, false) => " { ",
        });
        for (number, field) in fields.iter().enumerate() {
            if number > 0 {
                self.push(", ");
            }
            if !tuple {
                self.push(&field.name);
                self.push(": ");
            }
            match at.checked_add(field.offset) {
                Some(at) => self.value(&field.layout, at),
                None => self.push(".."),
            }
        }
        self.push(match (tuple, name.is_empty() && fields.len() == 1) {
            (true, true) => ",)",
            (true, false) => ")",
            (false, _) => " }",
        });
    }

    fn variant(&mut self, offset: u64, bytes: u8, variants: &[Variant], at: u64) {
        let number = at.checked_add(offset).and_then(|at| self.number(at, bytes)).map(|number| number as u64);
        let exact = variants.iter().find(|variant| variant.value.is_some() && variant.value == number);
        let other = || variants.iter().find(|variant| variant.value.is_none() && number.is_some());
        match exact.or_else(other) {
            Some(variant) => self.fields(&variant.name, &variant.fields, at),
            None => self.push(".."),
        }
    }

    fn reference(&mut self, target: &Layout) {
        match self.number(0, 8).map(|count| count as u64) {
            Some(ABSENT) => self.push("None"),
            Some(UNREADABLE) | None => self.push("Some(..)"),
            Some(_) => {
                self.push("Some(");
                self.value(target, 8);
                self.push(")");
            }
        }
    }

    fn text(&mut self, optional: bool) {
        if optional && self.bytes == [0xff; 4] {
            return self.push("None");
        }
        let text = format!("{:?}", String::from_utf8_lossy(self.bytes));
        self.push(&if optional { format!("Some({text})") } else { text });
    }

    fn sequence(&mut self, optional: bool, stride: u64, element: &Layout) {
        let count = self.number(0, 8).map(|count| count as u64);
        match count {
            Some(ABSENT) if optional => return self.push("None"),
            Some(UNREADABLE) | None => return self.push("[..]"),
            Some(count) => {
                self.push(if optional { "Some(" } else { "" });
                self.elements(count, stride, element, 8);
            }
        }
        self.push(if optional { ")" } else { "" });
    }
}

/// A character of Rust, from whatever number.
pub fn character(number: u32) -> String {
    char::from_u32(number).map_or_else(|| format!("'\\u{{{number:x}}}'"), |c| format!("{c:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(text: &str, bytes: &[u8]) -> String {
        let layout = Layout::parse(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(layout.text(), text);
        layout.show(bytes, &mut |address| format!("{address:#x}"))
    }

    #[test]
    fn scalars() {
        assert_eq!(show("bool", &[1]), "true");
        assert_eq!(show("char", &[0xe9, 0, 0, 0]), "'é'");
        assert_eq!(show("char", &[0, 0xd8, 0, 0]), r"'\u{d800}'");
        assert_eq!(show("i4", &(-200_000i32).to_le_bytes()), "-200000");
        assert_eq!(show("u8", &u64::MAX.to_le_bytes()), u64::MAX.to_string());
        assert_eq!(show("i16", &(-5i128).to_le_bytes()), "-5");
        assert_eq!(show("f4", &1.5f32.to_le_bytes()), "1.5");
        assert_eq!(show("f8", &2f64.to_le_bytes()), "2.0");
        assert_eq!(show("ptr", &8u64.to_le_bytes()), "0x8");
        assert_eq!(show("u8", &[1, 2]), "..");
    }

    #[test]
    fn compounds() {
        assert_eq!(show("struct P 2 x 0 i4 y 4 i4", &[1, 0, 0, 0, 2, 0, 0, 0]), "P { x: 1, y: 2 }");
        assert_eq!(show("struct - 2 0 0 u1 1 1 bool", &[7, 0]), "(7, false)");
        assert_eq!(show("struct - 1 0 0 u1", &[7]), "(7,)");
        assert_eq!(show("struct W 1 0 0 u1", &[7]), "W(7)");
        assert_eq!(show("struct - 0", &[]), "()");
        assert_eq!(show("struct Marker 0", &[]), "Marker");
        assert_eq!(show("[ 3 1 u1", &[1, 2, 3]), "[1, 2, 3]");
        assert_eq!(show("[ 900 1 u1", &[1, 2, 3]), "[1, 2, 3, ..897]");
        assert_eq!(show("& &mut u1", &[3]), "&mut 3");
        assert_eq!(show("& & struct P 1 x 0 u1", &[3]), "&P { x: 3 }");
        assert_eq!(show("& - u1", &[3]), "3");
        assert_eq!(show("_ HashMap", &[3]), "HashMap {..}");
    }

    #[test]
    fn enumerations() {
        let option = "enum 0 4 2 0 None 0 1 Some 1 0 4 i4";
        assert_eq!(show(option, &[1, 0, 0, 0, 5, 0, 0, 0]), "Some(5)");
        assert_eq!(show(option, &[0; 8]), "None");
        assert_eq!(show(option, &[9; 8]), "..");
        let niche = "enum 0 1 2 2 None 0 * Some 1 0 0 bool";
        assert_eq!(
            [show(niche, &[2]), show(niche, &[1]), show(niche, &[0])],
            ["None", "Some(true)", "Some(false)"]
        );
        let shape = "enum 0 1 2 0 Rect 2 w 4 u4 h 8 u4 1 Unit 0";
        assert_eq!(show(shape, &[0, 9, 9, 9, 1, 0, 0, 0, 2, 0, 0, 0]), "Rect { w: 1, h: 2 }");
    }

    #[test]
    fn texts_and_sequences() {
        assert_eq!(show("text", b"a\"\n"), r#""a\"\n""#);
        assert_eq!(show("some-text", "é".as_bytes()), "Some(\"é\")");
        assert_eq!(show("some-text", &[0xff; 4]), "None");
        let mut bytes = 3u64.to_le_bytes().to_vec();
        bytes.extend([1, 0, 2, 0]);
        assert_eq!(show("seq 2 u2", &bytes), "[1, 2, ..1]");
        assert_eq!(show("some-seq 2 u2", &bytes), "Some([1, 2, ..1])");
        assert_eq!(show("some-seq 2 u2", &[0xff; 8]), "None");
        assert_eq!(show("seq 2 u2", &UNREADABLE.to_le_bytes()), "[..]");
        assert_eq!(show("some-ref i4", &[9, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0]), "Some(7)");
        assert_eq!(show("some-ref i4", &[0xff; 12]), "None");
        assert_eq!(show("seq 0 struct - 0", &0u64.to_le_bytes()), "[]");
    }

    #[test]
    fn lines_of_a_file() {
        let lines = ["P = struct P 1 x 0 u1", "P = u1", "Q = u3", "R"];
        let all = Layouts::parse(lines);
        assert_eq!(all.get("P").unwrap().text(), "struct P 1 x 0 u1");
        assert_eq!(all.get("usize"), Some(&Layout::Integer { bytes: 8, signed: false }));
        assert!(all.get("Q").is_none() && all.get("R").is_none());
    }

    proptest! {
        #[test]
        fn any_description_is_survived(
            words in proptest::collection::vec("bool|u1|i16|ptr|some-ref|&|-|\\[|struct|enum|seq|[0-9]{1,20}|\\*|a", 0..40),
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Some(layout) = Layout::parse(&words.join(" ")) {
                prop_assert_eq!(Layout::parse(&layout.text()), Some(layout.clone()));
                let text = layout.show(&bytes, &mut |_| "&f".to_owned());
                prop_assert!(text.len() < 3 * TEXT);
            }
        }
    }
}
