//! From the words of an argument to an expression.
//!
//! What cannot be worked out from a record (a function of the kernel's, a structure of its memory) makes the whole
//! `print fmt` unusable, and so does an unknown name that something is compared with. Otherwise unknown names are as
//! trace-cmd has them: in arithmetic the address of the kernel's symbol of that name, or 0; and in lists of names they
//! match nothing.

use super::lex::Token;
use super::value::{Int, Number, Operator, Place, Words};
use crate::report::symbols::Symbols;
use fathom_ftrace::{Field, FieldKind, Format};

/// An argument, or a part of one.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Number(Number, Int),
    /// Bytes in the record, with the type of what is there.
    Place(Place, Int),
    Words(Words),
    /// A name that the format does not explain, with the address of the kernel's symbol of that name, or 0.
    Unknown(u64),
    /// An address of something whose size only the kernel knows.
    Opaque(Number),
}

/// Reads expressions of one format.
pub(crate) struct Parser<'a> {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    format: &'a Format,
    symbols: &'a Symbols,
    depth: usize,
    /// Whether a name was not known since this was last reset.
    unknown: bool,
    /// An operand that was read already.
    held: Option<Value>,
}

/// Nesting beyond this is not of a kernel.
const MAX_DEPTH: usize = 200;

const BINARY: [(&str, u8, Operator); 18] = [
    ("||", 1, Operator::Either),
    ("&&", 2, Operator::Both),
    ("|", 3, Operator::Or),
    ("^", 4, Operator::Xor),
    ("&", 5, Operator::And),
    ("==", 6, Operator::Equal),
    ("!=", 6, Operator::NotEqual),
    ("<", 7, Operator::Less),
    (">", 7, Operator::Greater),
    ("<=", 7, Operator::LessEqual),
    (">=", 7, Operator::GreaterEqual),
    ("<<", 8, Operator::ShiftLeft),
    (">>", 8, Operator::ShiftRight),
    ("+", 9, Operator::Add),
    ("-", 9, Operator::Subtract),
    ("*", 10, Operator::Multiply),
    ("/", 10, Operator::Divide),
    ("%", 10, Operator::Remainder),
];

impl<'a> Parser<'a> {
    pub(crate) fn new(tokens: Vec<Token>, format: &'a Format, symbols: &'a Symbols) -> Self {
        Self { tokens: tokens.into_iter().peekable(), format, symbols, depth: 0, unknown: false, held: None }
    }

    /// Takes a sign if it comes next.
    pub(crate) fn sign(&mut self, sign: &str) -> bool {
        self.tokens.next_if(|token| matches!(token, Token::Sign(found) if *found == sign)).is_some()
    }

    /// Takes a text if it comes next.
    pub(crate) fn literal(&mut self) -> Option<Vec<u8>> {
        match self.tokens.next_if(|token| matches!(token, Token::Text(_)))? {
            Token::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether nothing is left.
    pub(crate) fn at_end(&mut self) -> bool {
        self.tokens.peek().is_none()
    }

    fn long(&self) -> Int {
        Int { size: self.format.machine.long_size, signed: false }
    }

    /// An expression up to a comma or a closing bracket.
    pub(crate) fn value(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let condition = self.binary(1)?;
        let value = if self.sign("?") {
            let yes = self.value()?;
            self.sign(":").then_some(())?;
            let no = self.value()?;
            choose(number(condition)?.0, yes, no)?
        } else {
            condition
        };
        self.depth -= 1;
        Some(value)
    }

    fn binary(&mut self, lowest: u8) -> Option<Value> {
        let mut left = self.unary()?;
        loop {
            let Some(Token::Sign(sign)) = self.tokens.peek() else { return Some(left) };
            let Some((_, level, operator)) = BINARY.iter().find(|(text, ..)| text == sign).copied() else {
                return Some(left);
            };
            if level < lowest {
                return Some(left);
            }
            self.tokens.next();
            let right = self.binary(level + 1)?;
            left = combine(operator, left, right)?;
        }
    }

    fn unary(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = self.unary_inner();
        self.depth -= 1;
        value
    }

    fn unary_inner(&mut self) -> Option<Value> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        if self.sign("-") {
            let (operand, int) = number(self.unary()?)?;
            let int = int.common(Int::INT);
            return Some(Value::Number(Number::Negate(Box::new(operand), int), int));
        }
        if self.sign("+") {
            return self.unary();
        }
        if self.sign("~") {
            let (operand, int) = number(self.unary()?)?;
            let int = int.common(Int::INT);
            return Some(Value::Number(Number::Complement(Box::new(operand), int), int));
        }
        if self.sign("!") {
            let (operand, _) = number(self.unary()?)?;
            return Some(Value::Number(Number::Not(Box::new(operand)), Int::INT));
        }
        if self.sign("&") {
            return match self.unary()? {
                place @ Value::Place(..) => Some(place),
                Value::Number(Number::Field { offset, size, signed }, _) => {
                    Some(Value::Place(Place::Field { offset, size }, Int { size: size as u8, signed }))
                }
                _ => None,
            };
        }
        if self.sign("*") {
            return self.element(None);
        }
        let value = self.primary()?;
        self.postfix(value)
    }

    /// What `*place` is, or an element of one by its index.
    fn element(&mut self, value: Option<(Value, Number)>) -> Option<Value> {
        let (value, index) = match value {
            Some(known) => known,
            None => (self.unary()?, Number::Constant(0)),
        };
        let Value::Place(place, int) = value else { return None };
        Some(Value::Number(Number::Element { of: Box::new(place), int, index: Box::new(index) }, int))
    }

    fn postfix(&mut self, mut value: Value) -> Option<Value> {
        loop {
            if self.sign("[") {
                let index = number(self.value()?)?.0;
                self.sign("]").then_some(())?;
                if let Value::Words(Words::Bytes(place)) = value {
                    value = Value::Place(place, Int { size: 1, signed: true });
                }
                value = self.element(Some((value, index)))?;
            } else if matches!(self.tokens.peek(), Some(Token::Sign("." | "->"))) {
                return None;
            } else {
                return Some(value);
            }
        }
    }

    fn primary(&mut self) -> Option<Value> {
        match self.tokens.next()? {
            Token::Number(value, suffix) => {
                let size = if suffix.contains("ll") {
                    8
                } else if suffix.contains('l') {
                    self.long().size.max(if value > u64::from(u32::MAX) { 8 } else { 4 })
                } else {
                    4
                };
                let int = Int { size, signed: !suffix.contains('u') };
                Some(Value::Number(Number::Constant(value), int))
            }
            Token::Text(text) => Some(Value::Words(Words::Literal(text.into()))),
            Token::Sign("(") => self.parenthesis(),
            Token::Name(name) if name == "REC" => {
                self.sign("->").then_some(())?;
                self.field_value()
            }
            Token::Name(name) if self.sign("(") => self.call(&name),
            Token::Name(name) => Some(match name.as_str() {
                "true" => Value::Number(Number::Constant(1), Int::INT),
                "false" | "NULL" => Value::Number(Number::Constant(0), Int::INT),
                _ => {
                    self.unknown = true;
                    Value::Unknown(self.symbols.address(&name).unwrap_or_default())
                }
            }),
            Token::Sign(_) => None,
        }
    }

    /// What is in parentheses, or a cast and its operand.
    fn parenthesis(&mut self) -> Option<Value> {
        if self.sign("{") {
            // A statement of the compiler's.
            return None;
        }
        if let Some(cast) = self.type_name() {
            self.sign(")").then_some(())?;
            let operand = self.unary()?;
            return cast_to(operand, cast);
        }
        if matches!(self.tokens.peek(), Some(Token::Name(name)) if name == "REC") {
            self.tokens.next();
            // (REC)->field
            if self.sign(")") {
                self.sign("->").then_some(())?;
                return self.field_value();
            }
            self.sign("->").then_some(())?;
            let field = self.field_value()?;
            self.held = Some(self.postfix(field)?);
        }
        let value = self.value()?;
        self.sign(")").then_some(())?;
        Some(value)
    }

    fn field(&mut self) -> Option<Field> {
        let Token::Name(name) = self.tokens.next()? else { return None };
        self.format.field(&name).cloned()
    }

    fn field_value(&mut self) -> Option<Value> {
        let field = self.field()?;
        let Field { offset, size, signed, .. } = field;
        Some(match field.kind {
            FieldKind::Int | FieldKind::Pointer => {
                let int = Int { size: size as u8, signed };
                Value::Number(Number::Field { offset, size, signed }, int)
            }
            FieldKind::Text => Value::Place(Place::Field { offset, size }, Int { size: 1, signed }),
            FieldKind::Array(element) => {
                Value::Place(Place::Field { offset, size }, Int { size: element as u8, signed })
            }
            FieldKind::Bytes => Value::Place(Place::Field { offset, size }, Int { size: 1, signed: false }),
            FieldKind::DataLoc(_) | FieldKind::RelLoc(_) => {
                let int = Int { size: 4, signed: false };
                Value::Number(Number::Field { offset, size: 4, signed: false }, int)
            }
        })
    }

    /// A call of one of the kernel's helpers, behind its opening parenthesis.
    fn call(&mut self, name: &str) -> Option<Value> {
        let value = match name {
            "__get_str" | "__get_rel_str" => Value::Words(Words::Bytes(self.dynamic()?.0)),
            "__get_dynamic_array" | "__get_rel_dynamic_array" | "__get_sockaddr" | "__get_rel_sockaddr" => {
                let (place, int) = self.dynamic()?;
                Value::Place(place, int)
            }
            "__get_dynamic_array_len" | "__get_rel_dynamic_array_len" => {
                let field = self.field()?;
                Value::Number(Number::Length { offset: field.offset }, Int::INT)
            }
            "__get_bitmask" | "__get_rel_bitmask" => Value::Words(Words::Bitmask(self.dynamic()?.0)),
            "__get_cpumask" | "__get_rel_cpumask" => Value::Words(Words::Ranges(self.dynamic()?.0)),
            "__print_symbolic" | "__print_symbolic_u64" => {
                let value = Box::new(self.number()?);
                Value::Words(Words::Symbolic { value, entries: self.entries()? })
            }
            "__print_flags" | "__print_flags_u64" => {
                let value = Box::new(self.number()?);
                self.sign(",").then_some(())?;
                let between = self.literal()?.into();
                Value::Words(Words::Flags { value, between, entries: self.entries()? })
            }
            "__print_hex" | "__print_hex_str" => {
                let place = self.place()?;
                self.sign(",").then_some(())?;
                let count = Box::new(self.number()?);
                Value::Words(Words::Hex { place, count, spaces: name == "__print_hex" })
            }
            "__print_array" => {
                let place = self.place()?;
                self.sign(",").then_some(())?;
                let count = Box::new(self.number()?);
                self.sign(",").then_some(())?;
                Value::Words(Words::Array { place, count, size: Box::new(self.number()?) })
            }
            "__print_dynamic_array" => {
                let (place, _) = self.dynamic()?;
                self.sign(",").then_some(())?;
                let count = Box::new(Number::Constant(u64::MAX));
                Value::Words(Words::Array { place, count, size: Box::new(self.number()?) })
            }
            "__print_ns_to_secs" => Value::Words(Words::Seconds(Box::new(self.number()?))),
            "__print_ns_without_secs" => Value::Words(Words::Nanoseconds(Box::new(self.number()?))),
            "sizeof" => self.size_of()?,
            "__builtin_expect" => {
                let value = self.value()?;
                self.sign(",").then_some(())?;
                self.value()?;
                value
            }
            // The recording does not say how long a jiffy was; trace-cmd prints jiffies too.
            "jiffies_to_msecs" => self.value()?,
            _ => return None,
        };
        self.sign(")").then_some(())?;
        Some(value)
    }

    fn number(&mut self) -> Option<Number> {
        Some(number(self.value()?)?.0)
    }

    fn place(&mut self) -> Option<Place> {
        match self.value()? {
            Value::Place(place, _) | Value::Words(Words::Bytes(place)) => Some(place),
            _ => None,
        }
    }

    /// A field that says where its data is, with the type of that.
    fn dynamic(&mut self) -> Option<(Place, Int)> {
        let field = self.field()?;
        let relative = match field.kind {
            FieldKind::DataLoc(_) => false,
            FieldKind::RelLoc(_) => true,
            _ => {
                let place = Place::Field { offset: field.offset, size: field.size };
                return Some((place, Int { size: 1, signed: false }));
            }
        };
        let size = match field.kind {
            FieldKind::DataLoc(fathom_ftrace::Element::Int(size))
            | FieldKind::RelLoc(fathom_ftrace::Element::Int(size)) => size as u8,
            _ => 1,
        };
        Some((Place::Dynamic { offset: field.offset, relative }, Int { size, signed: field.signed }))
    }

    /// `, { NUMBER, "text" }` as often as they come; those with unknown names are left out.
    fn entries(&mut self) -> Option<Vec<(u64, Box<[u8]>)>> {
        let mut list = Vec::new();
        while self.sign(",") {
            self.sign("{").then_some(())?;
            self.unknown = false;
            let value = self.value()?;
            let known = !self.unknown;
            self.sign(",").then_some(())?;
            let text = match self.literal() {
                Some(text) => text,
                // The end of a list as C has it: no text.
                None => match self.value()? {
                    Value::Number(Number::Constant(0), _) => Vec::new(),
                    _ => return None,
                },
            };
            self.sign("}").then_some(())?;
            if let (Value::Number(number, _), true) = (value, known) {
                list.push((number.constant()?, text.into()));
            }
        }
        Some(list)
    }

    fn size_of(&mut self) -> Option<Value> {
        let size = match self.type_name() {
            Some(Cast::Int(int)) => int.size,
            Some(Cast::Pointer(_) | Cast::Opaque) => self.format.machine.long_size,
            None => match self.value()? {
                Value::Number(_, int) => int.size,
                Value::Place(Place::Field { size, .. }, _) => u8::try_from(size).ok()?,
                _ => return None,
            },
        };
        let int = Int { size: 8, signed: false };
        Some(Value::Number(Number::Constant(size.into()), int))
    }

    /// The name of a type, if one comes next.
    fn type_name(&mut self) -> Option<Cast> {
        let Some(Token::Name(first)) = self.tokens.peek() else { return None };
        let mut int = match first.as_str() {
            "struct" | "union" | "enum" | "const" | "volatile" => Int { size: 4, signed: false },
            name => type_of(name, self.format.machine.long_size)?,
        };
        let structure = matches!(first.as_str(), "struct" | "union");
        let mut longs = 0;
        let mut unsigned = false;
        while let Some(Token::Name(name)) = self.tokens.next_if(|token| matches!(token, Token::Name(_))) {
            match name.as_str() {
                "long" => longs += 1,
                "unsigned" => unsigned = true,
                "struct" | "union" | "enum" => {
                    self.tokens.next_if(|token| matches!(token, Token::Name(_)))?;
                }
                "const" | "volatile" | "signed" => {}
                "int" if int.size != 4 => {}
                name => int = type_of(name, self.format.machine.long_size)?,
            }
        }
        match longs {
            0 => {}
            1 => int = Int { size: self.format.machine.long_size, signed: true },
            _ => int = Int { size: 8, signed: true },
        }
        if unsigned {
            int.signed = false;
        }
        let mut pointers = 0;
        while self.sign("*") {
            pointers += 1;
            self.tokens.next_if(|token| matches!(token, Token::Name(name) if name == "const"));
        }
        Some(match pointers {
            0 => Cast::Int(int),
            1 if structure => Cast::Opaque,
            1 => Cast::Pointer(int),
            _ => Cast::Pointer(self.long()),
        })
    }
}

/// A type that something is cast to.
enum Cast {
    Int(Int),
    /// A pointer to that type.
    Pointer(Int),
    /// A pointer to a structure.
    Opaque,
}

/// The integer type of a name, if it is one.
fn type_of(name: &str, long_size: u8) -> Option<Int> {
    let int = |size, signed| Some(Int { size, signed });
    match name {
        "char" | "s8" | "__s8" | "int8_t" => int(1, true),
        "u8" | "__u8" | "bool" | "_Bool" | "uint8_t" => int(1, false),
        "short" | "s16" | "__s16" | "int16_t" => int(2, true),
        "u16" | "ushort" | "__u16" | "__le16" | "__be16" | "uint16_t" | "umode_t" => int(2, false),
        "int" | "signed" | "s32" | "__s32" | "int32_t" | "pid_t" => int(4, true),
        "unsigned" | "uint" | "u32" | "__u32" | "__le32" | "__be32" | "uint32_t" | "dev_t" | "gfp_t"
        | "uid_t" | "gid_t" => int(4, false),
        "s64" | "__s64" | "int64_t" | "loff_t" | "ktime_t" => int(8, true),
        "u64" | "__u64" | "__le64" | "__be64" | "uint64_t" | "sector_t" => int(8, false),
        "long" | "ssize_t" | "intptr_t" => int(long_size, true),
        "size_t" | "ulong" | "uintptr_t" => int(long_size, false),
        "void" => int(1, false),
        name if name.ends_with("_t") => int(long_size, false),
        _ => None,
    }
}

/// A value as a number; places have none.
fn number(value: Value) -> Option<(Number, Int)> {
    match value {
        Value::Number(number, int) => Some((number, int)),
        Value::Opaque(number) => Some((number, Int::U64)),
        // A text is there, so it is true.
        Value::Words(Words::Literal(_) | Words::Bytes(_)) => Some((Number::Constant(1), Int::INT)),
        Value::Place(..) | Value::Words(_) | Value::Unknown(_) => None,
    }
}

fn combine(operator: Operator, left: Value, right: Value) -> Option<Value> {
    // An address so many structures further.
    if matches!(operator, Operator::Add | Operator::Subtract) && matches!(left, Value::Opaque(_)) {
        return None;
    }
    if let (Operator::Add, Value::Place(place, int)) = (operator, &left) {
        let step = Number::Constant(int.size.into());
        let count = number(right)?.0;
        let bytes = Number::Binary {
            operator: Operator::Multiply,
            left: Box::new(count),
            right: Box::new(step),
            int: Int::U64,
        };
        return Some(Value::Place(Place::Further(Box::new(place.clone()), Box::new(bytes)), *int));
    }
    let compares = matches!(
        operator,
        Operator::Equal
            | Operator::NotEqual
            | Operator::Less
            | Operator::LessEqual
            | Operator::Greater
            | Operator::GreaterEqual
            | Operator::Both
            | Operator::Either
    );
    let known = |value| match value {
        Value::Unknown(address) if !compares => Value::Number(Number::Constant(address), Int::U64),
        value => value,
    };
    let ((left, a), (right, b)) = (number(known(left))?, number(known(right))?);
    let (int, result) = match operator {
        Operator::ShiftLeft | Operator::ShiftRight => {
            let int = a.common(Int::INT);
            let int = if a.size >= 4 { a } else { int };
            (int, int)
        }
        Operator::Both | Operator::Either => (Int::U64, Int::INT),
        Operator::Equal
        | Operator::NotEqual
        | Operator::Less
        | Operator::LessEqual
        | Operator::Greater
        | Operator::GreaterEqual => (a.common(b), Int::INT),
        _ => (a.common(b), a.common(b)),
    };
    let number = Number::Binary { operator, left: Box::new(left), right: Box::new(right), int };
    let number = number.constant().map_or(number, Number::Constant);
    Some(Value::Number(number, result))
}

fn choose(condition: Number, yes: Value, no: Value) -> Option<Value> {
    if matches!(yes, Value::Words(_)) || matches!(no, Value::Words(_)) {
        let (yes, no) = (words(yes)?, words(no)?);
        return Some(Value::Words(Words::Condition(Box::new(condition), Box::new(yes), Box::new(no))));
    }
    if let (Value::Place(place, int), Value::Place(..)) = (&yes, &no) {
        return condition
            .constant()
            .map(|value| if value != 0 { Value::Place(place.clone(), *int) } else { no.clone() });
    }
    let ((yes, a), (no, b)) = (number(yes)?, number(no)?);
    let int = a.common(b);
    let number = Number::Condition(Box::new(condition), Box::new(yes), Box::new(no));
    Some(Value::Number(number, int))
}

/// A value as a text.
pub(crate) fn words(value: Value) -> Option<Words> {
    Some(match value {
        Value::Words(words) => words,
        Value::Place(place, _) => Words::Bytes(place),
        Value::Number(number, _) | Value::Opaque(number) => Words::At(Box::new(number)),
        Value::Unknown(_) => return None,
    })
}

fn cast_to(operand: Value, cast: Cast) -> Option<Value> {
    match (operand, cast) {
        (Value::Place(place, _), Cast::Pointer(int)) => Some(Value::Place(place, int)),
        (value @ (Value::Place(..) | Value::Words(_)), _) => Some(value),
        (value, Cast::Int(int)) => {
            let number = Number::Cast(Box::new(number(value)?.0), int);
            let number = number.constant().map_or(number, Number::Constant);
            Some(Value::Number(number, int))
        }
        (Value::Unknown(address), Cast::Opaque) => Some(Value::Unknown(address)),
        (value, Cast::Opaque) => Some(Value::Opaque(number(value)?.0)),
        (value, Cast::Pointer(_)) => Some(Value::Number(number(value)?.0, Int::U64)),
    }
}
