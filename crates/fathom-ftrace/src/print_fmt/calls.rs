//! The functions and macros that a `print fmt` calls.

use super::expr::{Bytes, Int, Number, Operator};
use super::lex::Token;
use super::parse::{Kind, Node, Operand, Parsed, Parser, narrow};
use super::text::{HexDump, Table, Text};
use crate::format::{Element, Field, FieldKind};

const NSEC_PER_SEC: u64 = 1_000_000_000;

impl<'a> Parser<'a> {
    /// The call of `name`; the parenthesis is next.
    pub(crate) fn call(&mut self, name: &'a str) -> Parsed<Operand> {
        self.expect("(")?;
        let result = self.called(name)?;
        self.expect(")")?;
        Ok(result)
    }

    fn called(&mut self, name: &str) -> Parsed<Operand> {
        if !self.dialect.knows(name) {
            return Err(format!("the function {name}"));
        }
        Ok(match name {
            "__get_str" | "__get_rel_str" => {
                let field = self.field()?;
                Operand::text(Text::Bytes(dynamic(field)?))
            }
            "__get_dynamic_array" | "__get_rel_dynamic_array" => {
                let field = self.field()?;
                Operand { node: Node::Bytes(dynamic(field)?), kind: element_pointer(field) }
            }
            "__get_dynamic_array_len" | "__get_rel_dynamic_array_len" => {
                let offset = narrow(self.field()?.offset)?;
                Operand::number(Number::Length { offset }, Int::INT)
            }
            "__get_cpumask" | "__get_rel_cpumask" if self.dialect.cpus_are_ranges() => {
                Operand::text(Text::Ranges(dynamic(self.field()?)?))
            }
            "__get_bitmask" | "__get_rel_bitmask" | "__get_cpumask" | "__get_rel_cpumask" => {
                Operand::text(Text::Bitmask(dynamic(self.field()?)?))
            }
            "__get_sockaddr" | "__get_rel_sockaddr" => {
                let field = self.field()?;
                Operand { node: Node::Bytes(dynamic(field)?), kind: Kind::Pointer(None, 0) }
            }
            "__get_sockaddr_str" => Operand::text(Text::Socket(dynamic(self.field()?)?)),
            "__print_symbolic" | "__print_symbolic_u64" | "__print_symbolic64" => {
                let value = self.argument()?.into_number()?;
                Operand::text(Text::Symbolic(value, self.table()?))
            }
            "__print_flags" | "__print_flags_u64" | "__print_flags64" => {
                let value = self.argument()?.into_number()?;
                self.expect(",")?;
                let between = self.literal()?;
                Operand::text(Text::Flags(value, between, self.table()?))
            }
            "__print_hex" | "__print_hex_str" => {
                let bytes = self.argument()?.into_bytes()?;
                self.expect(",")?;
                let count = self.argument()?.into_number()?;
                let separator = (name == "__print_hex").then_some(b' ');
                Operand::text(Text::Hex { bytes, count, separator })
            }
            "__print_hex_dump" => self.hex_dump()?,
            "__print_array" => {
                let bytes = self.argument()?.into_bytes()?;
                self.expect(",")?;
                let count = self.argument()?.into_number()?;
                self.expect(",")?;
                let size = self.argument()?.into_number()?;
                Operand::text(Text::Array { bytes, count: Some(count), size })
            }
            "__print_dynamic_array" => {
                let bytes = dynamic(self.field()?)?;
                self.expect(",")?;
                let size = self.argument()?.into_number()?;
                Operand::text(Text::Array { bytes, count: None, size })
            }
            "__print_ns_to_secs" => self.nanoseconds(Operator::Divide, Int::U64)?,
            "__print_ns_without_secs" => {
                self.nanoseconds(Operator::Remainder, Int { size: 4, signed: false })?
            }
            "__builtin_expect" => {
                let value = self.argument()?;
                self.expect(",")?;
                self.argument()?;
                value
            }
            "__builtin_constant_p" => {
                let constant = matches!(self.argument()?.node, Node::Number(Number::Constant(_)));
                Operand::number(Number::Constant(u64::from(constant)), Int::INT)
            }
            "jiffies_to_msecs" => self.jiffies()?,
            "sizeof" => self.size_of()?,
            // A word of a page table in a structure of its own, and out of it.
            "native_make_pte" | "native_make_pmd" | "native_make_pud" | "native_make_p4d"
            | "native_make_pgd" | "pte_val" | "pmd_val" | "pud_val" | "p4d_val" | "pgd_val"
            | "native_pte_val" | "native_pmd_val" | "native_pud_val" | "native_p4d_val"
            | "native_pgd_val" => {
                let long = Int { size: self.machine().long_size, signed: false };
                Operand::number(Number::Cast(Box::new(self.argument()?.into_number()?), long), long)
            }
            _ => return Err(format!("the function {name}")),
        })
    }

    fn argument(&mut self) -> Parsed<Operand> {
        self.expression()
    }

    /// A text that stands there.
    fn literal(&mut self) -> Parsed<Box<[u8]>> {
        match self.argument()?.into_text(self.dialect)? {
            Text::Bytes(Bytes::Literal(bytes)) => Ok(bytes),
            _ => Err("a text that is not constant".to_owned()),
        }
    }

    /// `, { VALUE, "name" }, …` up to the closing parenthesis.
    fn table(&mut self) -> Parsed<Table> {
        let mut entries = Vec::new();
        while self.take(",") {
            self.expect("{")?;
            if self.dialect.gnu() && self.take("}") {
                continue;
            }
            self.addresses = false;
            let value = self.argument()?.or_address().into_number()?;
            let value = value.constant().ok_or("a table with values that are not constant")?;
            let known = !self.addresses;
            self.expect(",")?;
            // An entry without a name ends the kernel's own tables.
            if matches!(self.peek(), Some(Token::Text(_))) {
                let name = self.literal()?;
                let long = Int { size: self.machine().long_size, signed: false };
                entries.extend(known.then(|| (long.cut(value), name)));
            } else {
                self.argument()?;
            }
            self.take(",");
            self.expect("}")?;
        }
        Ok(Table::new(entries))
    }

    fn hex_dump(&mut self) -> Parsed<Operand> {
        let prefix = self.literal()?;
        let mut numbers = Vec::new();
        for _ in 0..3 {
            self.expect(",")?;
            numbers.push(self.argument()?.into_number()?);
        }
        self.expect(",")?;
        let bytes = self.argument()?.into_bytes()?;
        for _ in 0..2 {
            self.expect(",")?;
            numbers.push(self.argument()?.into_number()?);
        }
        let [prefix_type, row, group, count, ascii] =
            <[Number; 5]>::try_from(numbers).map_err(|_| "arguments")?;
        Ok(Operand::text(Text::HexDump(Box::new(HexDump {
            prefix,
            prefix_type,
            row,
            group,
            bytes,
            count,
            ascii,
        }))))
    }

    fn nanoseconds(&mut self, operator: Operator, kind: Int) -> Parsed<Operand> {
        let left = Box::new(self.argument()?.into_number()?);
        let right = Box::new(Number::Constant(NSEC_PER_SEC));
        Ok(Operand::number(Number::Binary { operator, left, right, by: Int::U64 }, kind))
    }

    fn jiffies(&mut self) -> Parsed<Operand> {
        let jiffies = self.argument()?.into_number()?;
        let by = |operator, left, right| Number::Binary {
            operator,
            left: Box::new(left),
            right: Box::new(Number::Constant(right)),
            by: Int::U64,
        };
        let value = match self.dialect.hz() {
            Some(hz) if hz > 0 => by(Operator::Divide, by(Operator::Multiply, jiffies, 1000), u64::from(hz)),
            _ => jiffies,
        };
        let unsigned = Int { size: 4, signed: false };
        Ok(Operand::number(Number::Cast(Box::new(value), unsigned), unsigned))
    }

    fn size_of(&mut self) -> Parsed<Operand> {
        // The one structure whose size matters: addresses of pages are computed from their numbers.
        let page = self.dialect.page_structure();
        if page > 0
            && matches!(
                self.tokens.get(self.at..self.at + 2),
                Some([Token::Name("struct"), Token::Name("page")])
            )
            && matches!(self.tokens.get(self.at + 2), Some(Token::Punctuation(")")))
        {
            self.at += 2;
            return Ok(Operand::number(Number::Constant(page as u64), Int::U64));
        }
        let kind = match self.type_at(self.at) {
            Some((kind, at)) => {
                self.at = at;
                kind?
            }
            None => {
                let operand = self.argument()?;
                if let Node::Bytes(Bytes::Field { size, .. }) = operand.node {
                    return Ok(Operand::number(Number::Constant(u64::from(size)), Int::U64));
                }
                operand.kind
            }
        };
        let size = match kind {
            Kind::Int(of) => of.size,
            Kind::Pointer(..) => self.machine().long_size,
        };
        let long = Int { size: self.machine().long_size, signed: false };
        Ok(Operand::number(Number::Constant(u64::from(size)), long))
    }
}

fn dynamic(field: &Field) -> Parsed<Bytes> {
    let offset = narrow(field.offset)?;
    match field.kind {
        FieldKind::DataLoc(_) => Ok(Bytes::Dynamic { offset, relative: false }),
        FieldKind::RelLoc(_) => Ok(Bytes::Dynamic { offset, relative: true }),
        _ => Err(format!("the field {}, which has its data in place", field.name)),
    }
}

fn element_pointer(field: &Field) -> Kind {
    let (FieldKind::DataLoc(of) | FieldKind::RelLoc(of)) = field.kind else { return Kind::Pointer(None, 1) };
    match of {
        Element::Text => Kind::Pointer(Some(Int { size: 1, signed: field.signed }), 1),
        Element::Int(size) => Kind::Pointer(Some(Int { size: size as u8, signed: field.signed }), size),
        Element::CpuMask | Element::Bytes => Kind::Pointer(None, 1),
    }
}
