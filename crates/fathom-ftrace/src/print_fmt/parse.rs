//! The arguments of a `print fmt`: C expressions, compiled as they are read.

use super::expr::{Bytes, Int, Number, Operator};
use super::lex::Token;
use super::text::Text;
use super::{Dialect, Name};
use crate::format::{Field, FieldKind, Format, type_sign, type_size};
use crate::machine::Machine;

/// Deeper nesting is not compiled; evaluating is recursive.
const DEEPEST: usize = 100;
/// Longer chains of operators are not compiled, for the same reason.
const LONGEST_CHAIN: usize = 400;

/// Why an expression cannot be compiled, in words.
pub(crate) type Parsed<T> = Result<T, String>;

/// A compiled expression and its type.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub(crate) node: Node,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Number(Number),
    Bytes(Bytes),
    Text(Text),
    /// A name of something in the kernel.
    Address(u64),
    /// `REC` itself.
    Record,
}

/// A C type as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int(Int),
    /// To numbers of a type; to things of a size; to anything (0).
    Pointer(Option<Int>, usize),
}

pub(crate) struct Parser<'a> {
    pub(crate) tokens: &'a [Token<'a>],
    pub(crate) at: usize,
    pub(crate) format: &'a Format,
    pub(crate) dialect: &'a dyn Dialect,
    /// Whether a name was read that only stands for an address, since this was last reset.
    pub(crate) addresses: bool,
    /// The variables of a statement expression.
    locals: Vec<(&'a str, Operand)>,
    depth: usize,
}

impl Operand {
    pub(crate) fn number(number: Number, kind: Int) -> Operand {
        Operand { node: Node::Number(number.folded()), kind: Kind::Int(kind) }
    }

    pub(crate) fn text(text: Text) -> Operand {
        Operand { node: Node::Text(text), kind: Kind::Pointer(Some(Int { size: 1, signed: true }), 1) }
    }

    /// A name of something in the kernel as the number that its address is.
    pub(crate) fn or_address(self) -> Operand {
        match self.node {
            Node::Address(address) => Operand::number(Number::Constant(address), Int::U64),
            _ => self,
        }
    }

    pub(crate) fn into_number(self) -> Parsed<Number> {
        match self.node {
            Node::Number(number) => Ok(number),
            Node::Address(_) => Err("a name that only the kernel's sources know".to_owned()),
            _ => Err("an address of the record where a number is wanted".to_owned()),
        }
    }

    /// The bytes that it points to.
    pub(crate) fn into_bytes(self) -> Parsed<Bytes> {
        match self.node {
            Node::Bytes(bytes) => Ok(bytes),
            Node::Text(Text::Bytes(bytes)) => Ok(bytes),
            _ => Err("bytes that are not in the record".to_owned()),
        }
    }

    /// What `%s` prints.
    pub(crate) fn into_text(self, dialect: &dyn Dialect) -> Parsed<Text> {
        Ok(match self.node {
            Node::Text(text) => text,
            Node::Bytes(bytes) => Text::Bytes(bytes),
            Node::Number(Number::Constant(0)) if dialect.fits_kernel_texts() => {
                Text::Bytes(Bytes::Literal(b"(null)"[..].into()))
            }
            Node::Number(number) => Text::Kernel(number),
            Node::Record | Node::Address(_) => return Err("a text that is not there".to_owned()),
        })
    }
}

impl Kind {
    fn int(self, machine: Machine) -> Int {
        match self {
            Kind::Int(int) => int,
            Kind::Pointer(..) => Int { size: machine.long_size, signed: false },
        }
    }
}

impl<'a> Parser<'a> {
    pub(crate) fn new(tokens: &'a [Token<'a>], format: &'a Format, dialect: &'a dyn Dialect) -> Parser<'a> {
        Parser { tokens, at: 0, format, dialect, addresses: false, locals: Vec::new(), depth: 0 }
    }

    /// Reads arguments that no conversion has asked for. They must be some nevertheless.
    pub(crate) fn rest(&mut self) -> Parsed<()> {
        while self.take(",") {
            self.expression()?;
        }
        if self.at < self.tokens.len() { Err("something behind its arguments".to_owned()) } else { Ok(()) }
    }

    pub(crate) fn machine(&self) -> Machine {
        self.format.machine
    }

    pub(crate) fn peek(&self) -> Option<&'a Token<'a>> {
        self.tokens.get(self.at)
    }

    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Punctuation(found)) if *found == word)
    }

    /// Steps over `word` if it is next.
    pub(crate) fn take(&mut self, word: &str) -> bool {
        let found = self.is(word);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, word: &str) -> Parsed<()> {
        if self.take(word) { Ok(()) } else { Err(format!("no '{word}' where one is wanted")) }
    }

    pub(crate) fn name(&mut self) -> Parsed<&'a str> {
        match self.peek() {
            Some(Token::Name(name)) => {
                self.at += 1;
                Ok(name)
            }
            _ => Err("no name where one is wanted".to_owned()),
        }
    }

    /// The field that is named next.
    pub(crate) fn field(&mut self) -> Parsed<&'a Field> {
        let name = self.name()?;
        self.format.field(name).ok_or_else(|| format!("the field {name}, which the event does not have"))
    }

    /// An expression up to a comma or a closing bracket.
    pub(crate) fn expression(&mut self) -> Parsed<Operand> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("an expression that is nested too deep".to_owned());
        }
        let condition = self.binary(0)?;
        let result = if self.take("?") { self.conditional(condition) } else { Ok(condition) };
        self.depth -= 1;
        result
    }

    fn conditional(&mut self, condition: Operand) -> Parsed<Operand> {
        // GNU's `a ?: b` is a where it is not zero.
        let yes = if self.is(":") && self.dialect.gnu() { condition.clone() } else { self.expression()? };
        self.expect(":")?;
        let no = self.expression()?;
        // What `__get_str` and its like point to is there.
        let condition = match condition.node {
            Node::Bytes(_) | Node::Text(_) => return Ok(yes),
            _ => condition.into_number()?,
        };
        match condition.constant() {
            Some(0) => return Ok(no),
            Some(_) => return Ok(yes),
            None => {}
        }
        Ok(match (yes.node, no.node) {
            (Node::Number(a), Node::Number(b)) => {
                let kind = match (yes.kind, no.kind) {
                    (Kind::Int(a), Kind::Int(b)) => Kind::Int(a.common(b)),
                    (pointer @ Kind::Pointer(..), _) | (_, pointer) => pointer,
                };
                let by = kind.int(self.machine());
                let cut = |number| Box::new(Number::Cast(Box::new(number), by).folded());
                let node = Number::Condition(Box::new(condition), cut(a), cut(b));
                Operand { node: Node::Number(node), kind }
            }
            (Node::Bytes(a), Node::Bytes(b)) => {
                let node = Bytes::Condition(Box::new(condition), Box::new(a), Box::new(b));
                Operand { node: Node::Bytes(node), kind: yes.kind }
            }
            (a, b) => {
                let text = |node, kind| Operand { node, kind }.into_text(self.dialect).map(Box::new);
                let (a, b) = (text(a, yes.kind)?, text(b, no.kind)?);
                Operand::text(Text::Condition(Box::new(condition), a, b))
            }
        })
    }

    /// Operators of at least the strength `least`, from the weakest (0) on.
    fn binary(&mut self, least: u8) -> Parsed<Operand> {
        let mut left = self.unary()?;
        let mut chain = 0;
        while let Some(Token::Punctuation(word)) = self.peek() {
            let Some(strength) = strength(word) else { break };
            if strength < least {
                break;
            }
            chain += 1;
            if chain > LONGEST_CHAIN {
                return Err("too many operators".to_owned());
            }
            self.at += 1;
            let right = self.binary(strength + 1)?;
            left = self.combine(word, left, right)?;
        }
        Ok(left)
    }

    fn combine(&self, word: &str, left: Operand, right: Operand) -> Parsed<Operand> {
        let (a, b) = (left.kind, right.kind);
        if let (Node::Bytes(_), "+", Kind::Pointer(_, size)) = (&left.node, word, a) {
            let count = scaled(right.into_number()?, size.max(1));
            let node = Node::Bytes(Bytes::Further(Box::new(left.into_bytes()?), Box::new(count)));
            return Ok(Operand { node, kind: a });
        }
        // What a name's address is compared with is not known.
        let arithmetic = matches!(word, "+" | "-" | "*" | "/" | "%" | "&" | "|" | "^" | "<<" | ">>");
        let operand = |side: Operand| if arithmetic { side.or_address() } else { side }.into_number();
        let (x, y) = (operand(left)?, operand(right)?);
        match word {
            "&&" => return Ok(Operand::number(Number::Both(Box::new(x), Box::new(y)), Int::INT)),
            "||" => return Ok(Operand::number(Number::Either(Box::new(x), Box::new(y)), Int::INT)),
            _ => {}
        }
        let operator = operator(word).ok_or_else(|| format!("the operator {word}"))?;
        let comparison = matches!(
            operator,
            Operator::Equal
                | Operator::NotEqual
                | Operator::Less
                | Operator::LessEqual
                | Operator::Greater
                | Operator::GreaterEqual
        );
        let long = Int { size: self.machine().long_size, signed: false };
        let (by, kind, x, y) = match (a, b) {
            (Kind::Int(a), Kind::Int(_))
                if matches!(operator, Operator::ShiftLeft | Operator::ShiftRight) =>
            {
                (a.promoted(), Kind::Int(a.promoted()), x, y)
            }
            (Kind::Int(a), Kind::Int(b)) => (a.common(b), Kind::Int(a.common(b)), x, y),
            _ if comparison => (long, Kind::Int(Int::INT), x, y),
            (Kind::Pointer(_, size), Kind::Int(_)) if size > 0 => (long, a, x, scaled(y, size)),
            (Kind::Int(_), Kind::Pointer(_, size)) if size > 0 => (long, b, scaled(x, size), y),
            _ => return Err("arithmetic on an address of unknown things".to_owned()),
        };
        let kind = if comparison { Kind::Int(Int::INT) } else { kind };
        let node = Number::Binary { operator, left: Box::new(x), right: Box::new(y), by };
        Ok(Operand { node: Node::Number(node.folded()), kind })
    }

    fn unary(&mut self) -> Parsed<Operand> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("an expression that is nested too deep".to_owned());
        }
        let operand = self.unary_inner();
        self.depth -= 1;
        operand
    }

    fn unary_inner(&mut self) -> Parsed<Operand> {
        if self.take("+") {
            return self.unary();
        }
        if self.take("!") {
            let operand = self.unary()?;
            return Ok(match operand.node {
                Node::Bytes(_) | Node::Text(_) => Operand::number(Number::Constant(0), Int::INT),
                _ => Operand::number(Number::Not(Box::new(operand.into_number()?)), Int::INT),
            });
        }
        for (word, negate) in [("-", true), ("~", false)] {
            if self.take(word) {
                let operand = self.unary()?;
                let by = operand.kind.int(self.machine()).promoted();
                let inner = Box::new(operand.into_number()?);
                let node = if negate { Number::Negate(inner, by) } else { Number::Complement(inner, by) };
                return Ok(Operand::number(node, by));
            }
        }
        if self.take("&") {
            return self.address();
        }
        if self.take("*") {
            let operand = self.unary()?;
            return element(operand, Number::Constant(0));
        }
        if self.is("(")
            && let Some((kind, at)) = self.cast_at(self.at + 1)
        {
            self.at = at;
            let operand = self.unary()?;
            return self.cast(operand, kind?);
        }
        let operand = self.primary()?;
        self.postfix(operand)
    }

    /// What `&` is before: a field, or one of its elements.
    fn address(&mut self) -> Parsed<Operand> {
        let start = self.at;
        let parenthesis = self.take("(");
        let name = self.name()?;
        if name != "REC" {
            return Err(format!("the address of {name}"));
        }
        self.expect("->")?;
        let field = self.field()?;
        let mut bytes = Bytes::Field { offset: narrow(field.offset)?, size: narrow(field.size)? };
        let mut kind = field_pointer(field);
        if let (Kind::Pointer(_, size), true) = (kind, self.take("[")) {
            let index = self.expression()?.into_number()?;
            self.expect("]")?;
            bytes = Bytes::Further(Box::new(bytes), Box::new(scaled(index, size.max(1))));
        }
        if self.is(".") || self.is("->") {
            return Err(format!("a member of {}", field.name));
        }
        if matches!(field.kind, FieldKind::Int | FieldKind::Pointer) {
            let of = Int { size: field.size as u8, signed: field.signed };
            kind = Kind::Pointer(Some(of), field.size);
        }
        if parenthesis && !self.take(")") {
            self.at = start;
            return Err("the address of an expression".to_owned());
        }
        Ok(Operand { node: Node::Bytes(bytes), kind })
    }

    fn postfix(&mut self, mut operand: Operand) -> Parsed<Operand> {
        loop {
            if self.take("[") {
                let index = self.expression()?.into_number()?;
                self.expect("]")?;
                operand = element(operand, index)?;
            } else if self.take("->") || self.take(".") {
                if !matches!(operand.node, Node::Record) {
                    let member = self.name().unwrap_or("something");
                    return Err(format!("the member {member} of what is not the record"));
                }
                let field = self.field()?;
                operand = self.of_field(field)?;
            } else {
                return Ok(operand);
            }
        }
    }

    fn of_field(&self, field: &Field) -> Parsed<Operand> {
        let (offset, size) = (narrow(field.offset)?, field.size);
        Ok(match field.kind {
            FieldKind::Int | FieldKind::DataLoc(_) | FieldKind::RelLoc(_) => {
                let of = Int { size: size as u8, signed: field.signed };
                Operand::number(Number::Field { offset, size: of.size, signed: of.signed }, of)
            }
            FieldKind::Pointer => {
                let node = Node::Number(Number::Field { offset, size: size as u8, signed: false });
                Operand { node, kind: self.pointer_kind(&field.type_text) }
            }
            FieldKind::Text | FieldKind::Array(_) | FieldKind::Bytes => {
                let node = Node::Bytes(Bytes::Field { offset, size: narrow(size)? });
                Operand { node, kind: field_pointer(field) }
            }
        })
    }

    fn cast(&self, operand: Operand, kind: Kind) -> Parsed<Operand> {
        match (operand.node, kind) {
            (Node::Number(number), Kind::Int(to)) => {
                Ok(Operand::number(Number::Cast(Box::new(number), to), to))
            }
            (Node::Number(number), Kind::Pointer(..)) => {
                let to = kind.int(self.machine());
                let node = Number::Cast(Box::new(number), to).folded();
                Ok(Operand { node: Node::Number(node), kind })
            }
            (node @ (Node::Bytes(_) | Node::Text(_)), Kind::Pointer(..)) => Ok(Operand { node, kind }),
            (node @ Node::Address(_), Kind::Pointer(..)) => Ok(Operand { node, kind: Kind::Int(Int::U64) }),
            _ => Err("an address in the record as a number".to_owned()),
        }
    }

    fn primary(&mut self) -> Parsed<Operand> {
        if self.take("(") {
            let statements = self.is("{") && self.dialect.gnu();
            let operand = if statements { self.statements()? } else { self.expression()? };
            self.expect(")")?;
            return Ok(operand);
        }
        let token = self.peek().ok_or("an argument that ends too early")?;
        self.at += 1;
        match token {
            Token::Number(value, unsigned, size) => {
                Ok(Operand::number(Number::Constant(*value), Int { size: *size, signed: !unsigned }))
            }
            Token::Text(bytes) => {
                let node = Node::Bytes(Bytes::Literal(bytes.clone().into()));
                Ok(Operand { node, kind: Kind::Pointer(Some(Int { size: 1, signed: true }), 1) })
            }
            Token::Name("REC") => Ok(Operand { node: Node::Record, kind: Kind::Pointer(None, 0) }),
            Token::Name(name) if self.is("(") => self.call(name),
            Token::Name(name) => self.constant(name),
            Token::Punctuation(word) => Err(format!("'{word}' where a value is wanted")),
        }
    }

    fn constant(&mut self, name: &str) -> Parsed<Operand> {
        if let Some((_, operand)) = self.locals.iter().find(|(local, _)| *local == name) {
            return Ok(operand.clone());
        }
        let int = |value: i64, kind| Ok(Operand::number(Number::Constant(value as u64), kind));
        match name {
            "NULL" | "false" => int(0, Int::INT),
            "true" => int(1, Int::INT),
            _ => match self.dialect.name(name) {
                Name::Value(value) if i32::try_from(value).is_ok() => int(value, Int::INT),
                Name::Value(value) => int(value, Int { size: 8, signed: value < 0 }),
                Name::Address(address) => {
                    self.addresses = true;
                    Ok(Operand { node: Node::Address(address), kind: Kind::Int(Int::U64) })
                }
                Name::Unknown => Err(format!("the name {name}, which only the kernel's sources know")),
            },
        }
    }

    /// `{ int x = (…); int y = (…); x < y ? x : y; }`
    fn statements(&mut self) -> Parsed<Operand> {
        self.expect("{")?;
        let before = self.locals.len();
        let mut found = Vec::new();
        while let Some((kind, at)) = self.type_at(self.at) {
            self.at = at;
            let name = self.name()?;
            self.expect("=")?;
            let value = self.expression()?;
            self.expect(";")?;
            found.push((name, self.cast(value, kind?)?));
        }
        // They are known only from here on, so that none is made of others and grows with each.
        self.locals.extend(found);
        let value = self.expression()?;
        self.take(";");
        self.locals.truncate(before);
        self.expect("}")?;
        Ok(value)
    }

    /// `type)` of a cast, and where its operand begins. The error is a type whose size is not known.
    fn cast_at(&self, at: usize) -> Option<(Parsed<Kind>, usize)> {
        let (kind, at) = self.type_at(at)?;
        let closes = matches!(self.tokens.get(at), Some(Token::Punctuation(")")));
        let operand = match self.tokens.get(at + 1) {
            Some(Token::Punctuation(word)) => match kind {
                // `(name) - 1` is not a cast, unless the name is that of a type.
                Ok(_) => matches!(*word, "(" | "-" | "~" | "!" | "&" | "*" | "+"),
                Err(_) => *word == "(",
            },
            Some(_) => true,
            None => false,
        };
        (closes && operand).then_some((kind, at + 1))
    }

    /// A type, and where it ends. None if there is none.
    pub(crate) fn type_at(&self, mut at: usize) -> Option<(Parsed<Kind>, usize)> {
        let machine = self.machine();
        let start = at;
        let mut words = String::new();
        let mut structure = None;
        while let Some(Token::Name(word)) = self.tokens.get(at) {
            match *word {
                "struct" | "union" | "enum" => {
                    let Some(Token::Name(name)) = self.tokens.get(at + 1) else { return None };
                    structure = Some((*word, *name));
                    at += 2;
                    continue;
                }
                "const" | "volatile" | "__user" | "__iomem" | "__force" => {}
                "void" => structure = Some(("void", "void")),
                _ if structure.is_some() => break,
                // One unknown word may be the name of a type.
                _ if at == start && (self.is_value(word) || *word == "REC") => return None,
                _ if !words.is_empty() && type_size(word, machine) == 0 => break,
                _ => {
                    words.push_str(word);
                    words.push(' ');
                }
            }
            at += 1;
        }
        if at == start {
            return None;
        }
        let mut stars = 0;
        while matches!(self.tokens.get(at), Some(Token::Punctuation("*"))) {
            (at, stars) = (at + 1, stars + 1);
        }
        let size = match structure {
            Some(("enum", _)) => 4,
            Some((_, "page")) => self.dialect.page_structure(),
            Some(_) => 0,
            None => type_size(&words, machine),
        };
        let of = Int { size: size as u8, signed: type_sign(&words) };
        let is_int = structure.is_none_or(|(kind, _)| kind == "enum") && size > 0;
        let kind = match stars {
            0 if is_int => Ok(Kind::Int(of)),
            0 => Err(format!("the type {}", structure.map_or(words.trim(), |(_, name)| name))),
            1 => Ok(Kind::Pointer(is_int.then_some(of), size)),
            _ => {
                let long = Int { size: machine.long_size, signed: false };
                Ok(Kind::Pointer(Some(long), usize::from(machine.long_size)))
            }
        };
        Some((kind, at))
    }

    /// What a field that is a pointer points to.
    fn pointer_kind(&self, type_text: &str) -> Kind {
        let base = type_text.trim_end().strip_suffix('*').unwrap_or(type_text).trim();
        let size = if base.ends_with("struct page") {
            self.dialect.page_structure()
        } else {
            type_size(base, self.machine())
        };
        Kind::Pointer(None, size)
    }

    fn is_value(&self, name: &str) -> bool {
        self.locals.iter().any(|(local, _)| *local == name) || self.dialect.is_number(name)
    }
}

/// An element of what `operand` points to.
fn element(operand: Operand, index: Number) -> Parsed<Operand> {
    let Kind::Pointer(Some(of), _) = operand.kind else {
        return Err("an element of bytes without a type".to_owned());
    };
    let bytes = operand.into_bytes()?;
    let node = match (&bytes, index.constant()) {
        // An element in place is as good as a field.
        (Bytes::Field { offset, size }, Some(index)) if *size > 0 => {
            let start =
                u64::from(of.size).checked_mul(index).and_then(|at| at.checked_add(u64::from(*offset)));
            let start = start.and_then(|at| u32::try_from(at).ok()).ok_or("an index beyond the record")?;
            if start + u32::from(of.size) > offset + size {
                return Err("an index beyond the field".to_owned());
            }
            Number::Field { offset: start, size: of.size, signed: of.signed }
        }
        _ => Number::Element { bytes: Box::new(bytes), of, index: Box::new(index) },
    };
    Ok(Operand::number(node, of))
}

fn scaled(number: Number, size: usize) -> Number {
    let factor = Box::new(Number::Constant(size as u64));
    Number::Binary { operator: Operator::Multiply, left: Box::new(number), right: factor, by: Int::U64 }
        .folded()
}

/// What a field is as a value, where it is not a number: a pointer to its elements.
fn field_pointer(field: &Field) -> Kind {
    let of = match field.kind {
        FieldKind::Text => Some(Int { size: 1, signed: field.signed }),
        FieldKind::Array(size) => Some(Int { size: size as u8, signed: field.signed }),
        _ => None,
    };
    Kind::Pointer(of, of.map_or(1, |of| usize::from(of.size)))
}

pub(crate) fn narrow(value: usize) -> Parsed<u32> {
    u32::try_from(value).map_err(|_| "a field that is too far away".to_owned())
}

fn strength(word: &str) -> Option<u8> {
    Some(match word {
        "||" => 0,
        "&&" => 1,
        "|" => 2,
        "^" => 3,
        "&" => 4,
        "==" | "!=" => 5,
        "<" | ">" | "<=" | ">=" => 6,
        "<<" | ">>" => 7,
        "+" | "-" => 8,
        "*" | "/" | "%" => 9,
        _ => return None,
    })
}

fn operator(word: &str) -> Option<Operator> {
    Some(match word {
        "|" => Operator::Or,
        "^" => Operator::Xor,
        "&" => Operator::And,
        "==" => Operator::Equal,
        "!=" => Operator::NotEqual,
        "<" => Operator::Less,
        "<=" => Operator::LessEqual,
        ">" => Operator::Greater,
        ">=" => Operator::GreaterEqual,
        "<<" => Operator::ShiftLeft,
        ">>" => Operator::ShiftRight,
        "+" => Operator::Add,
        "-" => Operator::Subtract,
        "*" => Operator::Multiply,
        "/" => Operator::Divide,
        "%" => Operator::Remainder,
        _ => return None,
    })
}
