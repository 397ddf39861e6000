//! The simple form of C++ names (Itanium ABI mangling).
//!
//! The grammar is read once from left to right. Parts that are not shown (types, template arguments, expressions) are
//! read too, only to find where they end, which is why substitutions need no table here: what a `S1_` stands for is
//! never shown. The few places where the grammar needs a second try are paid from a budget.

mod hidden;

use std::ops::Range;

/// Deepest nesting. Templates of templates reach some dozens.
const DEPTH_LIMIT: u32 = 256;

/// The nested names of a mangled name, joined by `::`; `None` if it is not one.
pub(super) fn simple(name: &str) -> Option<String> {
    let mangled = name.strip_prefix("_Z")?;
    let mut parser = Parser {
        input: mangled,
        pos: 0,
        out: String::new(),
        last: 0..0,
        separate: false,
        hidden: 0,
        depth: 0,
        budget: 16 * mangled.len() as u32 + 256,
    };
    parser.encoding()?;
    (parser.at_end() && !parser.out.is_empty()).then_some(parser.out)
}

struct Parser<'n> {
    input: &'n str,
    pos: usize,
    out: String,
    /// Where in `out` the component is that a constructor or destructor is named after.
    last: Range<usize>,
    /// Whether the next component needs a `::` before it.
    separate: bool,
    /// Above 0 nothing is shown.
    hidden: u32,
    depth: u32,
    budget: u32,
}

/// `Some(())` if the input was as expected.
type Parsed = Option<()>;

impl<'n> Parser<'n> {
    fn rest(&self) -> &'n [u8] {
        self.input.as_bytes().get(self.pos..).unwrap_or_default()
    }

    /// Whether nothing follows but a version, or what compilers append to names of parts and copies of a function
    /// (`.cold`, `.part.0`). This cannot be cut off before, as identifiers may contain dots (GCC's coroutines).
    fn at_end(&self) -> bool {
        matches!(self.peek(), None | Some(b'.' | b'@'))
    }

    fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn peek_second(&self) -> Option<u8> {
        self.rest().get(1).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.pos += 1;
        Some(byte)
    }

    /// Consumes a text if it comes next.
    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text.as_bytes());
        if found {
            self.pos += text.len();
        }
        found
    }

    fn expect(&mut self, text: &str) -> Parsed {
        self.eat(text).then_some(())
    }

    /// Runs a rule one level deeper; `None` if that is too deep, or too much has been tried.
    fn deeper(&mut self, rule: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        self.budget = self.budget.checked_sub(1)?;
        if self.depth >= DEPTH_LIMIT {
            return None;
        }
        self.depth += 1;
        let parsed = rule(self);
        self.depth -= 1;
        parsed
    }

    /// Runs a rule without showing anything.
    fn hide(&mut self, rule: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        let (last, separate) = (self.last.clone(), self.separate);
        self.hidden += 1;
        let parsed = rule(self);
        self.hidden -= 1;
        (self.last, self.separate) = (last, separate);
        parsed
    }

    fn show(&mut self, text: &str) {
        if self.hidden == 0 {
            self.out.push_str(text);
        }
    }

    /// Shows one component of a nested name, and says where it is.
    fn component(&mut self, text: &str) -> Range<usize> {
        if self.separate {
            self.show("::");
        }
        let start = self.out.len();
        self.show(text);
        self.separate = true;
        start..self.out.len()
    }

    /// Shows the last name once more, as the name of a constructor or destructor.
    fn repeat_last(&mut self) {
        let last = self.out.get(self.last.clone()).unwrap_or_default().to_owned();
        self.show(&last);
    }

    /// Digits of a number, which may be none.
    fn digits(&mut self) -> &'n str {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = self.input.get(self.pos..self.pos + count).unwrap_or_default();
        self.pos += count;
        digits
    }

    /// `[n] <digits>`
    fn number(&mut self) -> Parsed {
        self.eat("n");
        (!self.digits().is_empty()).then_some(())
    }

    /// `<length> <that many bytes>`
    fn identifier(&mut self) -> Option<&'n str> {
        let len: usize = self.digits().parse().ok().filter(|&len| len > 0)?;
        let name = self.input.get(self.pos..self.pos.checked_add(len)?)?;
        self.pos += len;
        Some(name)
    }

    /// `<encoding> ::= <name> <parameter types> | <special-name>`
    fn encoding(&mut self) -> Parsed {
        self.deeper(|p| match p.peek()? {
            b'T' => p.special_t(),
            b'G' => p.special_g(),
            _ => {
                p.name()?;
                p.hide(Parser::signature)
            }
        })
    }

    /// Parameter types, and what is required of them.
    fn signature(&mut self) -> Parsed {
        while !self.at_end() && !matches!(self.peek(), Some(b'E' | b'Q')) {
            self.hidden_type()?;
        }
        if self.eat("Q") {
            self.expression()?;
        }
        Some(())
    }

    /// `<special-name>` that starts with `T`: tables, type information, thunks.
    fn special_t(&mut self) -> Parsed {
        self.expect("T")?;
        let prefix = match self.next()? {
            b'V' => "__vtable__",
            b'T' => "__VTT__",
            // These two are the other way round in uftrace, which is what the names have to agree with.
            b'I' => "__typeinfo_name__",
            b'S' => "__typeinfo__",
            b'F' => "__typeinfo_fn__",
            b'J' => "__java_class__",
            b'C' => {
                self.show("__construction_vtable__");
                self.shown_type()?;
                self.number()?;
                self.expect("_")?;
                return self.hidden_type();
            }
            kind @ (b'H' | b'W') => {
                self.component(if kind == b'H' { "TLS_init" } else { "TLS_wrap" });
                return self.name();
            }
            b'h' => {
                self.number()?;
                self.expect("_")?;
                return self.encoding();
            }
            b'v' => {
                self.virtual_offset()?;
                return self.encoding();
            }
            b'c' => {
                self.call_offset()?;
                self.call_offset()?;
                return self.encoding();
            }
            _ => return None,
        };
        self.show(prefix);
        self.shown_type()
    }

    /// `<special-name>` that starts with `G`: guards, temporaries, transactional clones.
    fn special_g(&mut self) -> Parsed {
        self.expect("G")?;
        match self.next()? {
            b'V' => {
                self.show("__guard_variable__");
                self.name()
            }
            b'R' => {
                self.show("__ref_temp__");
                self.name()?;
                self.sequence_id()
            }
            b'A' => self.encoding(),
            b'T' => {
                let known = matches!(self.next()?, b't' | b'n');
                if known { self.encoding() } else { None }
            }
            _ => None,
        }
    }

    fn call_offset(&mut self) -> Parsed {
        match self.next()? {
            b'h' => {
                self.number()?;
                self.expect("_")
            }
            b'v' => self.virtual_offset(),
            _ => None,
        }
    }

    fn virtual_offset(&mut self) -> Parsed {
        self.number()?;
        self.expect("_")?;
        self.number()?;
        self.expect("_")
    }

    /// `[<digits and capitals>] _`
    fn sequence_id(&mut self) -> Parsed {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()) {
            self.pos += 1;
        }
        self.expect("_")
    }

    /// A type whose name is shown if it is a class.
    fn shown_type(&mut self) -> Parsed {
        match self.peek()? {
            b'N' | b'Z' | b'0'..=b'9' => self.name(),
            b'S' => self.name(),
            _ => self.hidden_type(),
        }
    }

    /// `<name>`
    fn name(&mut self) -> Parsed {
        self.deeper(|p| match p.peek()? {
            b'N' => p.nested_name(),
            b'Z' => p.local_name(),
            b'S' if p.peek_second() != Some(b't') => {
                p.substitution()?;
                p.optional_template_args()
            }
            _ => {
                if p.eat("St") {
                    p.component("std");
                }
                p.unqualified_name()?;
                p.optional_template_args()
            }
        })
    }

    /// `N <qualifiers> <components> E`
    fn nested_name(&mut self) -> Parsed {
        self.expect("N")?;
        // The mark of an explicit object parameter, or qualifiers.
        if !self.eat("H") {
            while matches!(self.peek(), Some(b'r' | b'V' | b'K')) {
                self.pos += 1;
            }
            if matches!(self.peek(), Some(b'R' | b'O')) {
                self.pos += 1;
            }
        }
        let start = self.pos;
        loop {
            self.budget = self.budget.checked_sub(1)?;
            match self.peek()? {
                b'E' if self.pos > start => {
                    self.pos += 1;
                    return Some(());
                }
                b'S' if self.peek_second() == Some(b't') => {
                    self.pos += 2;
                    self.component("std");
                }
                b'S' => self.substitution()?,
                b'T' => self.hide(Parser::template_param)?,
                b'D' if matches!(self.peek_second(), Some(b't' | b'T')) => self.hide(Parser::hidden_type)?,
                b'I' => self.hide(Parser::template_args)?,
                // The variable or member whose initialiser the following lambda is in.
                b'M' => self.pos += 1,
                _ => self.unqualified_name()?,
            }
        }
    }

    /// `Z <encoding of the function> E <what is in it> [<discriminator>]`
    fn local_name(&mut self) -> Parsed {
        self.expect("Z")?;
        self.encoding()?;
        self.expect("E")?;
        if self.eat("s") {
            return self.discriminator();
        }
        if self.eat("d") {
            // The n-th parameter from the end, whose default argument it is in.
            self.digits();
            self.expect("_")?;
        }
        self.name()?;
        self.discriminator()
    }

    /// `[_ <digit> | __ <digits> _]`
    fn discriminator(&mut self) -> Parsed {
        if self.eat("__") {
            self.digits();
            return self.expect("_");
        }
        if self.eat("_") {
            return self.next().filter(u8::is_ascii_digit).map(|_| ());
        }
        Some(())
    }

    /// One component that is not a prefix: a name, operator, constructor, destructor, lambda, with its ABI tags.
    fn unqualified_name(&mut self) -> Parsed {
        // Module, friend and internal linkage marks.
        while self.eat("W") {
            self.eat("P");
            self.identifier()?;
        }
        self.eat("F");
        self.eat("L");
        match self.peek()? {
            b'0'..=b'9' => {
                let name = self.identifier()?;
                self.last = self.component(name);
            }
            b'C' => self.constructor()?,
            b'D' if self.peek_second() == Some(b'C') => self.structured_binding()?,
            b'D' => {
                self.pos += 1;
                self.next().filter(|kind| matches!(kind, b'0'..=b'5'))?;
                self.component("~");
                self.repeat_last();
            }
            b'U' => self.unnamed()?,
            b'a'..=b'z' => self.operator()?,
            _ => return None,
        }
        while self.eat("B") {
            let tag = self.identifier()?;
            self.last = self.component(tag);
        }
        Some(())
    }

    fn constructor(&mut self) -> Parsed {
        self.expect("C")?;
        let inherits = self.eat("I");
        self.next().filter(|kind| matches!(kind, b'1'..=b'5'))?;
        if inherits {
            self.hide(Parser::hidden_type)?;
        }
        self.component("");
        self.repeat_last();
        Some(())
    }

    /// `DC <names> E`: variables of `auto [a, b] = ...`
    fn structured_binding(&mut self) -> Parsed {
        self.expect("DC")?;
        self.component("[");
        let mut names = 0;
        while !self.eat("E") {
            if names > 0 {
                self.show(", ");
            }
            let name = self.identifier()?;
            self.show(name);
            names += 1;
        }
        self.show("]");
        Some(())
    }

    /// `Ut [<number>] _` for a type without name, `Ul <parameters> E [<number>] _` for a lambda.
    fn unnamed(&mut self) -> Parsed {
        self.expect("U")?;
        match self.next()? {
            b't' => {
                self.digits();
                self.expect("_")
            }
            b'l' => {
                self.hide(|p| {
                    while !p.eat("E") {
                        p.lambda_parameter()?;
                    }
                    Some(())
                })?;
                let digits = self.digits();
                self.expect("_")?;
                let number = match digits {
                    "" => 0,
                    digits => digits.parse::<u32>().ok()?.checked_add(1)?,
                };
                self.last = self.component(&format!("$_{number}"));
                Some(())
            }
            _ => None,
        }
    }

    /// The name of an operator.
    fn operator(&mut self) -> Parsed {
        let code = [self.next()?, self.next()?];
        let name = match &code {
            b"cv" => {
                self.hide(Parser::hidden_type)?;
                "operator(cast)"
            }
            b"li" => {
                self.identifier()?;
                "operator\"\""
            }
            [b'v', b'0'..=b'9'] => {
                let name = self.identifier()?;
                self.component("operator ");
                self.show(name);
                return Some(());
            }
            _ => operator_name(code)?,
        };
        self.component(name);
        Some(())
    }

    /// `S <sequence id>` and the short names of the standard library. The former show nothing.
    fn substitution(&mut self) -> Parsed {
        self.expect("S")?;
        let name = match self.peek()? {
            b'a' => "allocator",
            b'b' => "basic_string",
            b's' => "basic_string<>",
            b'i' => "basic_istream",
            b'o' => "basic_ostream",
            b'd' => "basic_iostream",
            _ => return self.sequence_id(),
        };
        self.pos += 1;
        self.component("std");
        self.last = self.component(name);
        Some(())
    }

    fn optional_template_args(&mut self) -> Parsed {
        if self.peek() == Some(b'I') { self.hide(Parser::template_args) } else { Some(()) }
    }
}

/// Names of the operators that have one of fixed text.
fn operator_name(code: [u8; 2]) -> Option<&'static str> {
    Some(match &code {
        b"nw" => "operator new",
        b"na" => "operator new[]",
        b"dl" => "operator delete",
        b"da" => "operator delete[]",
        b"aw" => "operator co_await",
        b"ps" | b"pl" => "operator+",
        b"ng" | b"mi" => "operator-",
        b"ad" | b"an" => "operator&",
        b"de" | b"ml" => "operator*",
        b"co" => "operator~",
        b"dv" => "operator/",
        b"rm" => "operator%",
        b"or" => "operator|",
        b"eo" => "operator^",
        b"aS" => "operator=",
        b"pL" => "operator+=",
        b"mI" => "operator-=",
        b"mL" => "operator*=",
        b"dV" => "operator/=",
        b"rM" => "operator%=",
        b"aN" => "operator&=",
        b"oR" => "operator|=",
        b"eO" => "operator^=",
        b"ls" => "operator<<",
        b"rs" => "operator>>",
        b"lS" => "operator<<=",
        b"rS" => "operator>>=",
        b"eq" => "operator==",
        b"ne" => "operator!=",
        b"lt" => "operator<",
        b"gt" => "operator>",
        b"le" => "operator<=",
        b"ge" => "operator>=",
        b"ss" => "operator<=>",
        b"nt" => "operator!",
        b"aa" => "operator&&",
        b"oo" => "operator||",
        b"pp" => "operator++",
        b"mm" => "operator--",
        b"cm" => "operator,",
        b"pm" => "operator->*",
        b"pt" => "operator->",
        b"cl" => "operator()",
        b"ix" => "operator[]",
        b"qu" => "operator?",
        _ => return None,
    })
}
