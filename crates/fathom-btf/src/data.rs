//! The bytes: header, type records, strings.

use std::sync::{Arc, OnceLock};

/// What can be wrong with the bytes of a BTF file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Shorter than a header, or not BTF.
    #[error("not BTF: it does not begin with the magic number 0xeb9f")]
    Magic,
    /// A version other than 1.
    #[error("BTF of version {0}; only version 1 is known")]
    Version(u8),
    /// A section that the header places outside of the file.
    #[error("BTF: the {0} section is outside of the file")]
    Section(&'static str),
    /// A type record of a kind that is not known; what follows it cannot be found.
    #[error("BTF: unknown kind {kind} of type {id} at offset {offset} of the types")]
    Kind {
        /// The kind's number.
        kind: u8,
        /// The type's number.
        id: u32,
        /// Bytes from the start of the type section.
        offset: usize,
    },
    /// A type record that goes beyond the section.
    #[error("BTF: type {id} at offset {offset} of the types is cut off")]
    Cut {
        /// The type's number.
        id: u32,
        /// Bytes from the start of the type section.
        offset: usize,
    },
}

/// The number of a type; 0 is `void`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub u32);

impl TypeId {
    /// `void`, or the absence of a type.
    pub const VOID: TypeId = TypeId(0);
}

/// What an integer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntKind {
    /// Is the highest bit a sign?
    pub signed: bool,
    /// A character.
    pub char: bool,
    /// A truth value.
    pub bool: bool,
    /// Bits in use; fewer than its bytes hold only in old bit fields.
    pub bits: u8,
}

/// A decoded type record. Names are empty where the type has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type<'a> {
    /// Type 0.
    Void,
    /// An integer of `size` bytes.
    Int {
        /// Its name, such as `unsigned int`.
        name: &'a str,
        /// Bytes.
        size: u32,
        /// What it is for.
        kind: IntKind,
    },
    /// A floating point number of `size` bytes.
    Float {
        /// Its name.
        name: &'a str,
        /// Bytes.
        size: u32,
    },
    /// A pointer.
    Ptr(TypeId),
    /// An array.
    Array {
        /// The type of its elements.
        element: TypeId,
        /// How many.
        count: u32,
    },
    /// A structure or, if `union`, a union; [`Btf::members`] lists its members.
    Composite {
        /// Its tag.
        name: &'a str,
        /// Bytes.
        size: u32,
        /// A union rather than a structure.
        union: bool,
    },
    /// An enumeration of `size` bytes; [`Btf::enumerators`] lists its values.
    Enum {
        /// Its tag.
        name: &'a str,
        /// Bytes.
        size: u32,
        /// Are its values signed?
        signed: bool,
    },
    /// A structure or union that is only declared.
    Forward {
        /// Its tag.
        name: &'a str,
        /// A union rather than a structure.
        union: bool,
    },
    /// A typedef.
    Typedef {
        /// Its name.
        name: &'a str,
        /// What it stands for.
        target: TypeId,
    },
    /// `volatile`, `const` or `restrict`.
    Qualified {
        /// The word.
        word: &'static str,
        /// The type without it.
        target: TypeId,
    },
    /// A type tag such as `user` or `rcu`.
    TypeTag {
        /// The tag.
        name: &'a str,
        /// The type without it.
        target: TypeId,
    },
    /// A function.
    Func {
        /// Its name.
        name: &'a str,
        /// Its prototype, a [`Type::FuncProto`].
        proto: TypeId,
    },
    /// A function's type; [`Btf::params`] lists its parameters.
    FuncProto {
        /// What it returns.
        returns: TypeId,
    },
    /// A variable.
    Var {
        /// Its name.
        name: &'a str,
        /// Its type.
        target: TypeId,
    },
    /// A section of variables.
    DataSec {
        /// Its name.
        name: &'a str,
    },
    /// A tag of a declaration.
    DeclTag {
        /// The tag.
        name: &'a str,
        /// What is tagged.
        target: TypeId,
    },
}

/// A member of a structure or union.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name; empty for anonymous structures and unions.
    pub name: &'a str,
    /// Its type.
    pub target: TypeId,
    /// Bits from the start of the structure.
    pub bit_offset: u32,
    /// Bits of a bit field, 0 for an ordinary member.
    pub bits: u8,
}

/// A value of an enumeration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enumerator<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value; sign-extended if the enumeration is signed.
    pub value: i64,
}

/// A parameter of a prototype.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param<'a> {
    /// Its name; may be empty.
    pub name: &'a str,
    /// Its type; `void` as the last one stands for `...`.
    pub target: TypeId,
}

pub(crate) mod kind {
    pub(crate) const INT: u8 = 1;
    pub(crate) const PTR: u8 = 2;
    pub(crate) const ARRAY: u8 = 3;
    pub(crate) const STRUCT: u8 = 4;
    pub(crate) const UNION: u8 = 5;
    pub(crate) const ENUM: u8 = 6;
    pub(crate) const FWD: u8 = 7;
    pub(crate) const TYPEDEF: u8 = 8;
    pub(crate) const VOLATILE: u8 = 9;
    pub(crate) const CONST: u8 = 10;
    pub(crate) const RESTRICT: u8 = 11;
    pub(crate) const FUNC: u8 = 12;
    pub(crate) const FUNC_PROTO: u8 = 13;
    pub(crate) const VAR: u8 = 14;
    pub(crate) const DATASEC: u8 = 15;
    pub(crate) const FLOAT: u8 = 16;
    pub(crate) const DECL_TAG: u8 = 17;
    pub(crate) const TYPE_TAG: u8 = 18;
    pub(crate) const ENUM64: u8 = 19;
}

/// Bytes of the part that every type record has.
const RECORD: usize = 12;

/// The types of a kernel or of one of its modules.
#[derive(Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    big_endian: bool,
    types: std::ops::Range<usize>,
    strings: std::ops::Range<usize>,
    /// Offsets in `types` of the types that are this file's own.
    offsets: Vec<u32>,
    base: Option<Arc<Btf>>,
    pub(crate) by_name: OnceLock<Vec<u32>>,
}

impl Btf {
    /// Reads a file that stands alone, such as `/sys/kernel/btf/vmlinux`.
    pub fn parse(bytes: Vec<u8>) -> Result<Btf, Error> {
        Self::read(bytes, None)
    }

    /// Reads a module's file, which goes on numbering the types and strings of `base`.
    pub fn parse_split(bytes: Vec<u8>, base: Arc<Btf>) -> Result<Btf, Error> {
        Self::read(bytes, Some(base))
    }

    fn read(bytes: Vec<u8>, base: Option<Arc<Btf>>) -> Result<Btf, Error> {
        let big_endian = match bytes.get(..2) {
            Some([0x9f, 0xeb]) => false,
            Some([0xeb, 0x9f]) => true,
            _ => return Err(Error::Magic),
        };
        match bytes.get(2) {
            Some(1) => {}
            Some(version) => return Err(Error::Version(*version)),
            None => return Err(Error::Magic),
        }
        let word = |at: usize| word_at(&bytes, at, big_endian).map(|value| value as usize);
        let header = word(4).ok_or(Error::Section("header"))?;
        let section = |at: usize, name: &'static str| {
            let start = word(at).and_then(|offset| offset.checked_add(header)).ok_or(Error::Section(name))?;
            let end = word(at + 4).and_then(|len| len.checked_add(start)).ok_or(Error::Section(name))?;
            if end > bytes.len() { Err(Error::Section(name)) } else { Ok(start..end) }
        };
        let types = section(8, "type")?;
        let strings = section(16, "string")?;
        let mut btf =
            Btf { bytes, big_endian, types, strings, offsets: Vec::new(), base, by_name: OnceLock::new() };
        btf.index()?;
        Ok(btf)
    }

    /// Finds where each type begins: records are of different lengths.
    fn index(&mut self) -> Result<(), Error> {
        let section = self.types.len();
        let mut offset = 0;
        while offset < section {
            let id = self.len();
            let cut = Error::Cut { id, offset };
            let info = self.type_word(offset + 4).ok_or(cut.clone())?;
            let kind = (info >> 24) as u8 & 0x1f;
            let extra = extra(kind, info & 0xffff).ok_or(Error::Kind { kind, id, offset })?;
            let end = offset + RECORD + extra;
            if end > section {
                return Err(cut);
            }
            self.offsets.push(u32::try_from(offset).map_err(|_| cut)?);
            offset = end;
        }
        Ok(())
    }

    fn first(&self) -> u32 {
        self.base.as_ref().map_or(1, |base| base.len())
    }

    /// One more than the highest type number, those of the base counted.
    pub fn len(&self) -> u32 {
        self.first().saturating_add(self.offsets.len() as u32)
    }

    /// Are there no types but `void`?
    pub fn is_empty(&self) -> bool {
        self.len() <= 1
    }

    /// The kernel's types that this module's add to.
    pub fn base(&self) -> Option<&Arc<Btf>> {
        self.base.as_ref()
    }

    /// The numbers of the types that are this file's own, without those of the base.
    pub fn own(&self) -> impl Iterator<Item = TypeId> + use<> {
        (self.first()..self.len()).map(TypeId)
    }

    fn type_word(&self, offset: usize) -> Option<u32> {
        word_at(self.bytes.get(self.types.clone())?, offset, self.big_endian)
    }

    fn string(&self, offset: u32) -> &str {
        let mut offset = offset as usize;
        if let Some(base) = &self.base {
            if offset < base.strings.len() {
                return base.string(offset as u32);
            }
            offset -= base.strings.len();
        }
        let bytes =
            self.bytes.get(self.strings.clone()).and_then(|strings| strings.get(offset..)).unwrap_or(&[]);
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        std::str::from_utf8(&bytes[..end]).unwrap_or("")
    }

    fn record(&self, id: TypeId) -> Option<Record<'_>> {
        let first = self.first();
        if id.0 < first {
            return self.base.as_ref()?.record(id);
        }
        let offset = *self.offsets.get((id.0 - first) as usize)? as usize;
        let info = self.type_word(offset + 4)?;
        Some(Record {
            btf: self,
            body: offset + RECORD,
            name: self.string(self.type_word(offset)?),
            kind: (info >> 24) as u8 & 0x1f,
            flag: info >> 31 == 1,
            count: info & 0xffff,
            size: self.type_word(offset + 8)?,
        })
    }

    /// The type of that number; nothing for a number that no type has.
    pub fn get(&self, id: TypeId) -> Option<Type<'_>> {
        if id == TypeId::VOID {
            return Some(Type::Void);
        }
        let record = self.record(id)?;
        let Record { name, size, .. } = record;
        let target = TypeId(size);
        Some(match record.kind {
            kind::INT => Type::Int { name, size, kind: int_kind(record.word(0)?) },
            kind::FLOAT => Type::Float { name, size },
            kind::PTR => Type::Ptr(target),
            kind::ARRAY => Type::Array { element: TypeId(record.word(0)?), count: record.word(2)? },
            kind::STRUCT => Type::Composite { name, size, union: false },
            kind::UNION => Type::Composite { name, size, union: true },
            kind::ENUM | kind::ENUM64 => Type::Enum { name, size, signed: record.flag },
            kind::FWD => Type::Forward { name, union: record.flag },
            kind::TYPEDEF => Type::Typedef { name, target },
            kind::VOLATILE => Type::Qualified { word: "volatile", target },
            kind::CONST => Type::Qualified { word: "const", target },
            kind::RESTRICT => Type::Qualified { word: "restrict", target },
            kind::TYPE_TAG => Type::TypeTag { name, target },
            kind::FUNC => Type::Func { name, proto: target },
            kind::FUNC_PROTO => Type::FuncProto { returns: target },
            kind::VAR => Type::Var { name, target },
            kind::DATASEC => Type::DataSec { name },
            kind::DECL_TAG => Type::DeclTag { name, target },
            _ => return None,
        })
    }

    /// The members of a structure or union, in the order of the source; none for other types.
    pub fn members(&self, id: TypeId) -> impl Iterator<Item = Member<'_>> {
        let record = self.record(id).filter(|record| matches!(record.kind, kind::STRUCT | kind::UNION));
        record.into_iter().flat_map(|record| {
            (0..record.count as usize).map_while(move |index| {
                let offset = record.word(index * 3 + 2)?;
                // With the flag, the upper byte is the size of a bit field.
                let (bit_offset, bits) =
                    if record.flag { (offset & 0xff_ffff, (offset >> 24) as u8) } else { (offset, 0) };
                Some(Member {
                    name: record.btf.string(record.word(index * 3)?),
                    target: TypeId(record.word(index * 3 + 1)?),
                    bit_offset,
                    bits,
                })
            })
        })
    }

    /// The values of an enumeration; none for other types.
    pub fn enumerators(&self, id: TypeId) -> impl Iterator<Item = Enumerator<'_>> {
        let record = self.record(id).filter(|record| matches!(record.kind, kind::ENUM | kind::ENUM64));
        record.into_iter().flat_map(|record| {
            (0..record.count as usize).map_while(move |index| {
                let wide = record.kind == kind::ENUM64;
                let step = if wide { 3 } else { 2 };
                let low = record.word(index * step + 1)?;
                let value = match (wide, record.flag) {
                    (true, _) => (u64::from(record.word(index * step + 2)?) << 32 | u64::from(low)) as i64,
                    (false, true) => i64::from(low as i32),
                    (false, false) => i64::from(low),
                };
                Some(Enumerator { name: record.btf.string(record.word(index * step)?), value })
            })
        })
    }

    /// The parameters of a [`Type::FuncProto`]; none for other types.
    pub fn params(&self, id: TypeId) -> impl Iterator<Item = Param<'_>> {
        let record = self.record(id).filter(|record| record.kind == kind::FUNC_PROTO);
        record.into_iter().flat_map(|record| {
            (0..record.count as usize).map_while(move |index| {
                Some(Param {
                    name: record.btf.string(record.word(index * 2)?),
                    target: TypeId(record.word(index * 2 + 1)?),
                })
            })
        })
    }
}

#[derive(Clone, Copy)]
struct Record<'a> {
    btf: &'a Btf,
    body: usize,
    name: &'a str,
    kind: u8,
    flag: bool,
    count: u32,
    /// Bytes, or the number of the type that is referred to.
    size: u32,
}

impl Record<'_> {
    fn word(&self, index: usize) -> Option<u32> {
        self.btf.type_word(self.body.checked_add(index.checked_mul(4)?)?)
    }
}

fn word_at(bytes: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let word: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
}

/// Bytes that follow the common part of a record.
fn extra(kind: u8, count: u32) -> Option<usize> {
    let count = count as usize;
    Some(match kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => count * 12,
        kind::ENUM | kind::FUNC_PROTO => count * 8,
        kind::PTR | kind::FWD..=kind::FUNC | kind::FLOAT | kind::TYPE_TAG => 0,
        _ => return None,
    })
}

fn int_kind(word: u32) -> IntKind {
    let encoding = word >> 24 & 0xf;
    IntKind { signed: encoding & 1 != 0, char: encoding & 2 != 0, bool: encoding & 4 != 0, bits: word as u8 }
}
