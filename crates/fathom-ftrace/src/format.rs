//! Format files of events: `events/SYSTEM/EVENT/format` in tracefs, and the copies of them in recordings.
//!
//! The layout is the authority, not the names of types: a field's size and sign say how it is read. Exceptions are
//! arrays of `char`, which are text, and the `__data_loc` and `__rel_loc` fields, which say where in the record
//! their data is.

use crate::machine::{Endian, Machine};
use thiserror::Error;

/// Why a format file cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// There is no such line.
    #[error("the format has no line '{0}'")]
    Missing(&'static str),
    /// The ID is not a number of 16 bits.
    #[error("the format's ID '{0}' is not a number from 0 to 65535")]
    Id(String),
    /// A field's line lacks something or has a bad number.
    #[error("line {line} of the format: {what}")]
    Field {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// An event's layout and how the kernel prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// The directory it was in: `sched`.
    pub system: String,
    /// `sched_switch`.
    pub name: String,
    /// What `common_type` of its records is.
    pub id: u16,
    /// The fields that every event has (`common_*`).
    pub common: Vec<Field>,
    /// The event's own fields.
    pub fields: Vec<Field>,
    /// What follows `print fmt:`, as it stands; empty when there is none.
    pub print_fmt: String,
    /// The machine that the records of it are from.
    pub machine: Machine,
}

/// A field of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// `prev_comm`.
    pub name: String,
    /// The declaration without the name: `char[16]`, `__data_loc char[]`, `struct page *`.
    pub type_text: String,
    /// Where it begins, in bytes from the record's `common_type`.
    pub offset: usize,
    /// Bytes it takes. 0: it goes on to the record's end.
    pub size: usize,
    /// Whether its numbers have a sign.
    pub signed: bool,
    /// How it is read.
    pub kind: FieldKind,
}

/// How a field is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A number of `size` bytes, which is 1, 2, 4 or 8.
    Int,
    /// An address.
    Pointer,
    /// Text in place, to the first NUL or the end.
    Text,
    /// Numbers in place, each of so many bytes.
    Array(usize),
    /// Bytes of no known structure, in place.
    Bytes,
    /// 32 bits that say where the data is: the offset from the record's begin in the low half, the length in the high.
    DataLoc(Element),
    /// The same with the offset from this field's end.
    RelLoc(Element),
}

/// What a `__data_loc` or `__rel_loc` field points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Text that ends with NUL.
    Text,
    /// Numbers, each of so many bytes.
    Int(usize),
    /// A set of CPUs: a bitmap in `long`s.
    CpuMask,
    /// Bytes of no known structure.
    Bytes,
}

/// A field's value in one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number without a sign.
    Unsigned(u64),
    /// A number with a sign.
    Signed(i64),
    /// An address.
    Pointer(u64),
    /// Text without its NUL; any bytes.
    Text(&'a [u8]),
    /// Numbers.
    Array(Numbers<'a>),
    /// Bytes of no known structure.
    Bytes(&'a [u8]),
}

/// Numbers side by side in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers<'a> {
    bytes: &'a [u8],
    size: usize,
    signed: bool,
    endian: Endian,
}

impl<'a> Numbers<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.size.max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of each.
    pub fn element_size(&self) -> usize {
        self.size
    }

    /// Whether they have a sign.
    pub fn signed(&self) -> bool {
        self.signed
    }

    /// The bytes they are in.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// All of them; those with a sign are sign-extended to 64 bits.
    pub fn iter(self) -> impl Iterator<Item = u64> + 'a {
        (0..self.len()).filter_map(move |index| {
            let offset = index * self.size;
            if self.signed {
                self.endian.signed(self.bytes, offset, self.size).map(|value| value as u64)
            } else {
                self.endian.unsigned(self.bytes, offset, self.size)
            }
        })
    }
}

impl Format {
    /// Reads a format file of `system` that was written by `machine`.
    pub fn parse(system: &str, text: &str, machine: Machine) -> Result<Format, FormatError> {
        let (head, print_fmt) = match text.find("\nprint fmt:") {
            Some(at) => (&text[..at], text[at + "\nprint fmt:".len()..].trim()),
            None => (text, ""),
        };
        let mut name = None;
        let mut id = None;
        let (mut common, mut fields) = (Vec::new(), Vec::new());
        for (index, line) in head.lines().enumerate() {
            let line = line.trim();
            if let Some(rest) = line.strip_prefix("name:") {
                name.get_or_insert_with(|| rest.trim().to_owned());
            } else if let Some(rest) = line.strip_prefix("ID:") {
                let rest = rest.trim();
                id = Some(rest.parse().map_err(|_| FormatError::Id(rest.to_owned()))?);
            } else if let Some(rest) = line.strip_prefix("field:") {
                let field = Field::parse(rest, machine)
                    .map_err(|what| FormatError::Field { line: index + 1, what })?;
                if field.name.starts_with("common_") { common.push(field) } else { fields.push(field) }
            }
        }
        Ok(Format {
            system: system.to_owned(),
            name: name.ok_or(FormatError::Missing("name:"))?,
            id: id.ok_or(FormatError::Missing("ID:"))?,
            common,
            fields,
            print_fmt: print_fmt.to_owned(),
            machine,
        })
    }

    /// The field of that name, its own or a common one.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().chain(&self.common).find(|field| field.name == name)
    }
}

impl Field {
    /// Reads what follows `field:` in a line of a format file.
    pub fn parse(text: &str, machine: Machine) -> Result<Field, &'static str> {
        let mut parts = text.split(';').map(str::trim);
        let declaration = parts.next().unwrap_or_default();
        let (mut offset, mut size, mut signed) = (None, None, false);
        for part in parts {
            if let Some(number) = part.strip_prefix("offset:") {
                offset = Some(number.trim().parse::<u32>().map_err(|_| "the offset is not a number")?);
            } else if let Some(number) = part.strip_prefix("size:") {
                size = Some(number.trim().parse::<u32>().map_err(|_| "the size is not a number")?);
            } else if let Some(number) = part.strip_prefix("signed:") {
                signed = number.trim() != "0";
            }
        }
        let offset = offset.ok_or("the field has no offset")? as usize;
        let size = size.ok_or("the field has no size")? as usize;
        let (type_text, name, count) = split_declaration(declaration).ok_or("the field has no name")?;
        let kind = kind_of(&type_text, count, size, machine);
        Ok(Field { name: name.to_owned(), type_text, offset, size, signed, kind })
    }

    /// Where its data is in `record`: in place, or where a `__data_loc` points to. None when the record ends before.
    #[inline]
    pub fn bytes<'a>(&self, record: &'a [u8], endian: Endian) -> Option<&'a [u8]> {
        let base = match self.kind {
            FieldKind::DataLoc(_) => 0,
            FieldKind::RelLoc(_) => self.offset.checked_add(4)?,
            _ if self.size == 0 => return record.get(self.offset..),
            _ => return record.get(self.offset..self.offset.checked_add(self.size)?),
        };
        let place = endian.u32(record, self.offset)?;
        let start = base.checked_add((place & 0xffff) as usize)?;
        record.get(start..start.checked_add((place >> 16) as usize)?)
    }

    /// Its value in `record`. None when the record ends before it does.
    pub fn value<'a>(&self, record: &'a [u8], endian: Endian) -> Option<Value<'a>> {
        let bytes = self.bytes(record, endian)?;
        let numbers = |size| Value::Array(Numbers { bytes, size, signed: self.signed, endian });
        Some(match self.kind {
            FieldKind::Int if self.signed => Value::Signed(endian.signed(bytes, 0, bytes.len())?),
            FieldKind::Int => Value::Unsigned(endian.unsigned(bytes, 0, bytes.len())?),
            FieldKind::Pointer => Value::Pointer(endian.unsigned(bytes, 0, bytes.len())?),
            FieldKind::Text | FieldKind::DataLoc(Element::Text) | FieldKind::RelLoc(Element::Text) => {
                Value::Text(until_nul(bytes))
            }
            FieldKind::Array(size)
            | FieldKind::DataLoc(Element::Int(size))
            | FieldKind::RelLoc(Element::Int(size)) => numbers(size),
            FieldKind::Bytes | FieldKind::DataLoc(_) | FieldKind::RelLoc(_) => Value::Bytes(bytes),
        })
    }

    /// Its number with zeros above it; numbers in place and addresses only.
    #[inline]
    pub fn u64(&self, record: &[u8], endian: Endian) -> Option<u64> {
        endian.unsigned(record, self.offset, self.size)
    }

    /// Its number, sign-extended when the field has a sign; numbers in place and addresses only.
    #[inline]
    pub fn i64(&self, record: &[u8], endian: Endian) -> Option<i64> {
        if self.signed {
            endian.signed(record, self.offset, self.size)
        } else {
            self.u64(record, endian).map(|value| value as i64)
        }
    }

    /// Its text without NUL, whatever the field's kind.
    #[inline]
    pub fn text<'a>(&self, record: &'a [u8], endian: Endian) -> Option<&'a [u8]> {
        self.bytes(record, endian).map(until_nul)
    }
}

/// The bytes before the first NUL.
#[inline]
pub(crate) fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// The count in the brackets of a declaration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    /// There are no brackets.
    None,
    /// `[16]`.
    Number(usize),
    /// `[]`, or a name that only the kernel's sources know.
    Unknown,
}

/// `char comm[16]` to (`char[16]`, `comm`, 16); `__data_loc char[] name` to (`__data_loc char[]`, `name`, unknown).
fn split_declaration(text: &str) -> Option<(String, &str, Count)> {
    // A pointer to a function has its name inside.
    if let Some(at) = text.find("(*") {
        let name = text[at + 2..].split(')').next()?.trim();
        return Some((text.replacen(name, "", 1), name, Count::None)).filter(|_| !name.is_empty());
    }
    let (rest, brackets) = match text.strip_suffix(']').and_then(|text| text.rfind('[')) {
        Some(at) => (text[..at].trim_end(), &text[at..]),
        None => (text, ""),
    };
    let name_length =
        rest.bytes().rev().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    let start = rest.len() - name_length;
    let name = &rest[start..];
    if name.is_empty() {
        return None;
    }
    let type_text = format!("{}{brackets}", rest[..start].trim_end());
    let inner = match brackets {
        "" => rest[..start].trim_end().strip_suffix(']').and_then(|text| text.rsplit('[').next()),
        _ => Some(&brackets[1..brackets.len() - 1]),
    };
    let count = match inner {
        None => Count::None,
        Some(number) => number.trim().parse().map_or(Count::Unknown, Count::Number),
    };
    Some((type_text, name, count))
}

fn kind_of(type_text: &str, count: Count, size: usize, machine: Machine) -> FieldKind {
    let base = type_text.split('[').next().unwrap_or_default().trim();
    if let Some(of) = base.strip_prefix("__data_loc") {
        return FieldKind::DataLoc(element_of(of, machine));
    }
    if let Some(of) = base.strip_prefix("__rel_loc") {
        return FieldKind::RelLoc(element_of(of, machine));
    }
    let known = if base.ends_with('*') { machine.long_size as usize } else { type_size(base, machine) };
    match count {
        Count::None if base.ends_with('*') || base.contains("(*") => match size {
            1 | 2 | 4 | 8 => FieldKind::Pointer,
            _ => FieldKind::Bytes,
        },
        Count::None if matches!(size, 1 | 2 | 4 | 8) => FieldKind::Int,
        Count::None => FieldKind::Bytes,
        _ if is_char(base) => FieldKind::Text,
        Count::Number(count)
            if count > 0 && matches!(size / count, 1 | 2 | 4 | 8) && size.is_multiple_of(count) =>
        {
            FieldKind::Array(size / count)
        }
        _ if known > 0 => FieldKind::Array(known),
        _ => FieldKind::Bytes,
    }
}

fn element_of(text: &str, machine: Machine) -> Element {
    let base = text.trim();
    match type_size(base, machine) {
        _ if is_char(base) => Element::Text,
        _ if base.contains("cpumask") => Element::CpuMask,
        0 => Element::Bytes,
        size => Element::Int(size),
    }
}

fn is_char(base: &str) -> bool {
    base == "char" || base == "const char"
}

/// Bytes of a type by its name, 0 when only the kernel's sources know. Used where no count says it.
pub(crate) fn type_size(name: &str, machine: Machine) -> usize {
    let mut longs = 0;
    let mut found = 0;
    let long = machine.long_size as usize;
    for word in name.split_ascii_whitespace() {
        match word {
            "const" | "volatile" | "signed" => {}
            "unsigned" if found == 0 => found = 4,
            "unsigned" => {}
            "long" => longs += 1,
            "char" | "u8" | "s8" | "__u8" | "__s8" | "bool" | "_Bool" | "int8_t" | "uint8_t"
            | "blk_status_t" => {
                found = 1;
            }
            "short" | "u16" | "s16" | "__u16" | "__s16" | "__le16" | "__be16" | "int16_t" | "uint16_t"
            | "umode_t" | "ushort" => found = 2,
            "int" if found == 2 => {}
            "int" | "u32" | "s32" | "__u32" | "__s32" | "__le32" | "__be32" | "int32_t" | "uint32_t"
            | "pid_t" | "dev_t" | "gfp_t" | "uid_t" | "gid_t" | "enum" | "uint" | "fmode_t" | "blk_opf_t"
            | "vm_fault_t" | "__kernel_rwf_t" | "rwf_t" | "isolate_mode_t" | "slab_flags_t" => found = 4,
            "u64" | "s64" | "__u64" | "__s64" | "__le64" | "__be64" | "int64_t" | "uint64_t" | "loff_t"
            | "sector_t" | "ktime_t" | "dma_addr_t" | "phys_addr_t" | "resource_size_t" | "blkcnt_t"
            | "netdev_features_t" => {
                found = 8;
            }
            "size_t" | "ssize_t" | "uintptr_t" | "intptr_t" | "ulong" | "pgoff_t" | "ino_t" | "off_t" => {
                found = long;
            }
            // The name behind `enum`.
            _ if found == 4 && name.contains("enum ") => {}
            _ => return 0,
        }
    }
    match longs {
        0 => found,
        1 => long,
        _ => 8,
    }
}

/// Whether a type has a sign, by its name.
pub(crate) fn type_sign(name: &str) -> bool {
    !name.split_ascii_whitespace().any(|word| {
        let word = word.trim_start_matches('_');
        word.starts_with('u')
            || word.starts_with("le")
            || word.starts_with("be")
            || matches!(
                word,
                "size_t"
                    | "bool"
                    | "Bool"
                    | "dev_t"
                    | "gfp_t"
                    | "fmode_t"
                    | "blk_opf_t"
                    | "vm_fault_t"
                    | "sector_t"
                    | "gid_t"
                    | "dma_addr_t"
                    | "phys_addr_t"
                    | "resource_size_t"
                    | "blkcnt_t"
                    | "netdev_features_t"
                    | "pgoff_t"
                    | "ino_t"
                    | "blk_status_t"
                    | "isolate_mode_t"
                    | "slab_flags_t"
            )
    })
}
