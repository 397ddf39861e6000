//! `print fmt`: how the kernel says that an event is to be printed.
//!
//! ```text
//! "comm=%s pid=%d state=%s", REC->comm, REC->pid, __print_symbolic(REC->state, { 0, "R" }, { 1, "S" })
//! ```
//!
//! It is compiled once for each event, into pieces that write straight into a buffer. What cannot be known outside
//! of the kernel (names of its sources, its functions) makes the whole not compile; then the fields are printed
//! ([`fields`](crate::fields)).

mod calls;
mod constants;
mod dialect;
mod expr;
mod lex;
mod parse;
mod pointer;
mod quick;
pub(crate) mod spec;
mod text;

use crate::format::Format;
use crate::machine::Machine;
use crate::number;
use crate::tables::Names;
use expr::{Data, Int, Number};
use lex::Token;
use parse::{Node, Operand, Parsed, Parser};
use pointer::Pointer;
use quick::{Quick, Run};
use spec::{Amount, Conversion, Part, Spec};
use text::Text;
use thiserror::Error;

pub use dialect::{Dialect, Forms, Name};
pub(crate) use pointer::symbol;

/// What a `print fmt` may need beside the format.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Ticks of the kernel's timer in a second (`CONFIG_HZ`), for `jiffies_to_msecs`. Without it ticks are printed.
    pub hz: Option<u32>,
    /// Values of names that the format has left (of `enum`s, as BTF has them).
    pub constants: &'a dyn Fn(&str) -> Option<i64>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options { hz: None, constants: &|_| None }
    }
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("hz", &self.hz).finish_non_exhaustive()
    }
}

impl Dialect for Options<'_> {
    fn name(&self, name: &str) -> Name {
        constants::of(name).or_else(|| (self.constants)(name)).map_or(Name::Unknown, Name::Value)
    }

    fn hz(&self) -> Option<u32> {
        self.hz
    }
}

/// How `%p` is printed. The kernel's own text has a hash there, which nobody else can compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pointers {
    /// `00007ffd12345678`: as wide as the kernel prints it.
    #[default]
    Padded,
    /// `0x7ffd12345678`, and `(nil)` for 0: as trace-cmd prints it.
    Prefixed,
}

/// What printing needs beside the record.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The machine that recorded.
    pub machine: Machine,
    /// Names of addresses.
    pub names: &'a Names,
    /// How `%p` is printed.
    pub pointers: Pointers,
}

impl Forms for Context<'_> {
    fn machine(&self) -> Machine {
        self.machine
    }

    #[inline]
    fn symbol(&self, out: &mut Vec<u8>, address: u64, offset: bool) {
        symbol(out, &self.names.symbols, address, offset);
    }

    fn pointer(&self, out: &mut Vec<u8>, address: u64) {
        match self.pointers {
            Pointers::Padded => number::hex_fixed(out, address, 2 * usize::from(self.machine.long_size)),
            Pointers::Prefixed if address == 0 => out.extend_from_slice(b"(nil)"),
            Pointers::Prefixed => {
                out.extend_from_slice(b"0x");
                number::hex(out, address);
            }
        }
    }

    /// The text if the tables have it, else the address.
    fn kernel_text(&self, out: &mut Vec<u8>, address: u64) {
        match self.names.texts.get(address) {
            Some(text) => out.extend_from_slice(text),
            None if address == 0 => out.extend_from_slice(b"(null)"),
            None => {
                out.extend_from_slice(b"(0x");
                number::hex(out, address);
                out.push(b')');
            }
        }
    }
}

/// Why a `print fmt` cannot be evaluated outside of the kernel.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the print fmt of {event} has {what}")]
pub struct NotEvaluable {
    /// `system:name` of the event.
    pub event: String,
    /// What cannot be evaluated.
    pub what: String,
}

/// A compiled `print fmt`.
#[derive(Clone, Debug, PartialEq)]
pub struct PrintFmt {
    pieces: Vec<Piece>,
    machine: Machine,
}

/// What is written one after another. The first ones are the frequent ones.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    /// Short literals and numbers in place, one after another.
    Run(Run),
    Literal(Box<[u8]>),
    /// `%d`, `%ld`, …: the type that the number is cut to says all.
    Decimal(Number, Int),
    Hex(Number, Int),
    /// `%s`.
    Text(Text),
    Padded {
        spec: Spec<'static>,
        width: Option<Number>,
        precision: Option<Number>,
        argument: Argument,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Argument {
    Number(Number),
    Text(Text),
    Pointer(Pointer, Number),
    PointerTo(Pointer, expr::Bytes),
}

impl PrintFmt {
    /// Compiles the `print fmt` of `format`, as far as `dialect` understands it: the kernel's are [`Options`].
    pub fn compile(format: &Format, dialect: &dyn Dialect) -> Result<PrintFmt, NotEvaluable> {
        PrintFmt::compile_text(&format.print_fmt, format, dialect)
            .map(PrintFmt::in_runs)
            .map_err(|what| NotEvaluable { event: format!("{}:{}", format.system, format.name), what })
    }

    fn compile_text(source: &str, format: &Format, dialect: &dyn Dialect) -> Parsed<PrintFmt> {
        let tokens = lex::tokens(source)?;
        let Some(Token::Text(text)) = tokens.first() else { return Err("no text at its begin".to_owned()) };
        let mut parser = Parser::new(&tokens, format, dialect);
        parser.at = 1;
        let mut pieces = Vec::new();
        let mut rest = &text[..];
        let long_size = if dialect.c_library() { 8 } else { format.machine.long_size };
        while let Some(part) = spec::part(&mut rest, long_size) {
            match part? {
                Part::Literal(bytes) => literal(&mut pieces, bytes),
                Part::Conversion(spec) => {
                    let spec = Spec { c_library: dialect.c_library(), ..spec };
                    let piece = conversion(&spec, &mut parser)?;
                    // A constant text is a literal (`cond ? …` of constants, empty texts).
                    match piece {
                        Piece::Text(Text::Bytes(expr::Bytes::Literal(bytes))) => literal(&mut pieces, &bytes),
                        piece => pieces.push(piece),
                    }
                }
            }
        }
        parser.rest()?;
        Ok(PrintFmt { pieces, machine: format.machine })
    }

    /// Compiles what of a probe's `print fmt` is about its arguments. Texts that could not be read have no quotes.
    pub(crate) fn compile_probe(source: &str, format: &Format, options: &Options) -> Parsed<PrintFmt> {
        let mut print = PrintFmt::compile_text(source, format, options)?;
        for index in 1..print.pieces.len().saturating_sub(1) {
            let [Piece::Literal(before), Piece::Text(text), Piece::Literal(after)] =
                &mut print.pieces[index - 1..index + 2]
            else {
                continue;
            };
            if let (Text::Bytes(bytes @ expr::Bytes::Dynamic { .. }), Some(head), Some(tail)) =
                (&*text, before.strip_suffix(b"\""), after.strip_prefix(b"\""))
            {
                let quoted = Text::Quoted(bytes.clone());
                (*before, *after) = (head.into(), tail.into());
                *text = quoted;
            }
        }
        Ok(print.in_runs())
    }

    /// The same with what is quick gathered.
    fn in_runs(self) -> PrintFmt {
        let mut pieces = Vec::new();
        let mut run = Vec::new();
        for piece in self.pieces {
            match Quick::of(&piece) {
                Some(quick) => Quick::push(&mut run, quick),
                None => {
                    pieces.extend(Run::of(&mut run).map(Piece::Run));
                    pieces.push(piece);
                }
            }
        }
        pieces.extend(Run::of(&mut run).map(Piece::Run));
        PrintFmt { pieces, ..self }
    }

    /// Writes the event's text. False, and nothing is written, when the record is too short for it.
    #[inline]
    pub fn print<F: Forms>(&self, out: &mut Vec<u8>, record: &[u8], forms: &F) -> bool {
        let start = out.len();
        let data = Data { record, endian: self.machine.endian, lenient: F::LENIENT };
        for piece in &self.pieces {
            if piece.print(out, data, forms).is_none() {
                out.truncate(start);
                return false;
            }
        }
        true
    }
}

fn literal(pieces: &mut Vec<Piece>, bytes: &[u8]) {
    if let Some(Piece::Literal(before)) = pieces.last_mut() {
        *before = [before, bytes].concat().into();
    } else if !bytes.is_empty() {
        pieces.push(Piece::Literal(bytes.into()));
    }
}

/// The next argument of the format.
fn argument(parser: &mut Parser) -> Parsed<Operand> {
    if !parser.take(",") {
        return Err("fewer arguments than conversions".to_owned());
    }
    parser.expression()
}

fn amount(amount: Amount, parser: &mut Parser) -> Parsed<Option<Number>> {
    Ok(match amount {
        Amount::None => None,
        Amount::Fixed(value) => Some(Number::Constant(u64::from(value))),
        Amount::Argument => {
            let number = argument(parser)?.or_address().into_number()?;
            Some(Number::Cast(Box::new(number), Int::INT).folded())
        }
    })
}

fn conversion(spec: &Spec, parser: &mut Parser) -> Parsed<Piece> {
    let width = amount(spec.width, parser)?;
    let precision = amount(spec.precision, parser)?;
    let operand = argument(parser)?;
    let argument = match spec.conversion {
        Conversion::Text => {
            let text = operand.into_text(parser.dialect)?;
            let fits = !matches!(text, Text::Kernel(_)) || parser.dialect.fits_kernel_texts();
            if spec.plain() || !fits {
                return Ok(Piece::Text(text));
            }
            Argument::Text(text)
        }
        Conversion::Pointer => {
            let in_record = !matches!(operand.node, Node::Number(_) | Node::Address(_));
            let letters = parser.dialect.letters(spec.pointer, in_record);
            let pointer = letters
                .and_then(Pointer::of)
                .ok_or_else(|| format!("the conversion %p{}", String::from_utf8_lossy(spec.pointer)))?;
            let Operand { node, kind } = operand.or_address();
            match node {
                Node::Number(number) if !pointer.wants_bytes() => Argument::Pointer(pointer, number),
                node @ (Node::Bytes(_) | Node::Text(_)) if pointer.wants_bytes() => {
                    Argument::PointerTo(pointer, Operand { node, kind }.into_bytes()?)
                }
                _ if pointer.wants_bytes() => return Err("a pointer to what is not in the record".to_owned()),
                _ => return Err("the address of the record".to_owned()),
            }
        }
        _ => {
            let number = operand.or_address().into_number()?;
            if spec.plain() {
                let int = |signed| Int { size: spec.size, signed };
                match spec.conversion {
                    Conversion::Decimal => return Ok(Piece::Decimal(number, int(true))),
                    Conversion::Unsigned => return Ok(Piece::Decimal(number, int(false))),
                    Conversion::Hex => return Ok(Piece::Hex(number, int(false))),
                    _ => {}
                }
            }
            Argument::Number(number)
        }
    };
    Ok(Piece::Padded { spec: spec.detached(), width, precision, argument })
}

impl Piece {
    #[inline]
    fn print<F: Forms>(&self, out: &mut Vec<u8>, data: Data, forms: &F) -> Option<()> {
        match self {
            Piece::Run(run) => run.print(out, data)?,
            Piece::Literal(bytes) => number::append(out, bytes),
            Piece::Decimal(number, to) => {
                let value = to.cut(number.eval(data)?);
                if to.signed { number::signed(out, value as i64) } else { number::decimal(out, value) }
            }
            Piece::Hex(number, to) => number::hex(out, to.cut(number.eval(data)?)),
            Piece::Text(text) => text.print(out, data, forms)?,
            Piece::Padded { spec, width, precision, argument } => {
                let value = |number: &Option<Number>| match number {
                    Some(number) => number.eval(data).map(|value| Some(value as i64)),
                    None => Some(None),
                };
                padded(spec, value(width)?, value(precision)?, argument, out, data, forms)?;
            }
        }
        Some(())
    }
}

fn padded<F: Forms>(
    spec: &Spec,
    width: Option<i64>,
    precision: Option<i64>,
    argument: &Argument,
    out: &mut Vec<u8>,
    data: Data,
    forms: &F,
) -> Option<()> {
    let start = out.len();
    match argument {
        Argument::Number(number) => {
            let value = number.eval(data)?;
            if spec.conversion != Conversion::Character {
                spec.number(out, value, width, precision);
                return Some(());
            }
            out.push(value as u8);
            spec.pad(out, start, width, None);
        }
        Argument::Text(text) => {
            text.print(out, data, forms)?;
            spec.pad(out, start, width, precision);
        }
        Argument::Pointer(pointer, number) => {
            let address = forms.long(number.eval(data)?);
            match pointer {
                Pointer::Symbol => forms.symbol(out, address, false),
                Pointer::SymbolOffset => forms.symbol(out, address, true),
                _ => forms.pointer(out, address),
            }
            spec.pad(out, start, width, None);
        }
        Argument::PointerTo(pointer, bytes) => {
            let printed = pointer.print(out, bytes.eval(data)?, width, forms.machine(), F::LENIENT);
            if !F::LENIENT {
                printed?;
            }
            if !pointer.width_is_length() {
                spec.pad(out, start, width, None);
            }
        }
    }
    Some(())
}
