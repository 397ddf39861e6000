//! The parts of the grammar that are read but not shown: types, template arguments, expressions.

use super::{Parsed, Parser, operator_name};

impl Parser<'_> {
    /// `<type>`
    pub(super) fn hidden_type(&mut self) -> Parsed {
        self.hide(|p| p.deeper(Parser::type_))
    }

    fn type_(&mut self) -> Parsed {
        loop {
            self.budget = self.budget.checked_sub(1)?;
            match self.peek()? {
                // Qualifiers, pointers and references: a type follows.
                b'r' | b'V' | b'K' | b'P' | b'R' | b'O' | b'C' | b'G' => self.pos += 1,
                b'D' => match self.d_type()? {
                    Follows::Nothing => return Some(()),
                    Follows::Type => {}
                },
                b'U' if !matches!(self.peek_second(), Some(b'l' | b't')) => {
                    self.pos += 1;
                    self.identifier()?;
                    self.optional_template_args()?;
                }
                b'A' => {
                    self.pos += 1;
                    self.dimension()?;
                }
                b'M' => {
                    self.pos += 1;
                    self.hidden_type()?;
                }
                _ => return self.last_type(),
            }
        }
    }

    /// A type that is not a prefix of another one.
    fn last_type(&mut self) -> Parsed {
        match self.peek()? {
            b'v' | b'w' | b'b' | b'c' | b'a' | b'h' | b's' | b't' | b'i' | b'j' | b'l' | b'm' | b'x'
            | b'y' | b'n' | b'o' | b'f' | b'd' | b'e' | b'g' | b'z' => {
                self.pos += 1;
                Some(())
            }
            b'u' => {
                self.pos += 1;
                self.identifier()?;
                self.optional_template_args()
            }
            b'F' => self.function_type(),
            b'T' if matches!(self.peek_second(), Some(b's' | b'u' | b'e')) => {
                self.pos += 2;
                self.name()
            }
            b'T' => {
                self.template_param()?;
                self.optional_template_args()
            }
            b'L' => None,
            _ => self.name(),
        }
    }

    /// `F [Y] <types> [R | O] E`
    fn function_type(&mut self) -> Parsed {
        self.expect("F")?;
        self.eat("Y");
        loop {
            if self.eat("E") || self.eat("RE") || self.eat("OE") {
                return Some(());
            }
            self.hidden_type()?;
        }
    }

    /// Types that start with `D`.
    fn d_type(&mut self) -> Option<Follows> {
        self.expect("D")?;
        match self.next()? {
            b'd' | b'e' | b'f' | b'h' | b'i' | b's' | b'u' | b'a' | b'c' | b'n' => Some(Follows::Nothing),
            // Pack expansion, noexcept and transaction-safe functions, saturated and fixed point types.
            b'p' | b'o' | b'x' | b'S' | b'A' | b'R' => Some(Follows::Type),
            b't' | b'T' => {
                self.expression()?;
                self.expect("E")?;
                Some(Follows::Nothing)
            }
            b'O' => {
                self.expression()?;
                self.expect("E")?;
                Some(Follows::Type)
            }
            b'w' => {
                while !self.eat("E") {
                    self.hidden_type()?;
                }
                Some(Follows::Type)
            }
            b'v' => {
                // With `_` first, the old form of a dimension that is an expression.
                self.eat("_");
                self.dimension()?;
                Some(Follows::Type)
            }
            b'F' => {
                (!self.digits().is_empty()).then_some(())?;
                self.next().filter(|end| matches!(end, b'_' | b'b' | b'x')).map(|_| Follows::Nothing)
            }
            b'B' | b'U' => {
                self.dimension()?;
                Some(Follows::Nothing)
            }
            b'k' | b'K' => {
                self.name()?;
                Some(Follows::Nothing)
            }
            _ => None,
        }
    }

    /// `[<number> | <expression>] _`
    fn dimension(&mut self) -> Parsed {
        if self.peek()?.is_ascii_digit() {
            self.digits();
        } else if self.peek()? != b'_' {
            self.expression()?;
        }
        self.expect("_")
    }

    /// `T [L <level> _] [<number>] _`
    pub(super) fn template_param(&mut self) -> Parsed {
        self.expect("T")?;
        if self.eat("L") {
            self.digits();
            self.expect("_")?;
        }
        self.digits();
        self.expect("_")
    }

    /// A parameter type of a lambda, or the declaration of one of its template parameters.
    pub(super) fn lambda_parameter(&mut self) -> Parsed {
        if self.at_template_param_decl() {
            return self.template_param_decl();
        }
        if self.eat("Q") {
            return self.expression();
        }
        self.hidden_type()
    }

    fn at_template_param_decl(&self) -> bool {
        self.peek() == Some(b'T') && matches!(self.peek_second(), Some(b'y' | b'n' | b't' | b'p' | b'k'))
    }

    fn template_param_decl(&mut self) -> Parsed {
        self.deeper(|p| {
            p.expect("T")?;
            match p.next()? {
                b'y' => Some(()),
                b'n' => p.hidden_type(),
                b'k' => p.name(),
                b'p' => p.template_param_decl(),
                b't' => {
                    while !p.eat("E") {
                        p.template_param_decl()?;
                    }
                    Some(())
                }
                _ => None,
            }
        })
    }

    /// `I <arguments> [Q <expression>] E`
    pub(super) fn template_args(&mut self) -> Parsed {
        self.expect("I")?;
        self.arguments()
    }

    /// Template arguments up to and with the `E`.
    fn arguments(&mut self) -> Parsed {
        self.deeper(|p| {
            while !p.eat("E") {
                if p.eat("Q") {
                    p.expression()?;
                } else {
                    p.argument()?;
                }
            }
            Some(())
        })
    }

    fn argument(&mut self) -> Parsed {
        if self.at_template_param_decl() {
            self.template_param_decl()?;
        }
        match self.peek()? {
            b'X' => {
                self.pos += 1;
                self.expression()?;
                self.expect("E")
            }
            b'L' => self.literal(),
            b'J' => {
                self.pos += 1;
                self.arguments()
            }
            _ => self.hidden_type(),
        }
    }

    /// `L <type> <value> E`, or `L _Z <encoding> E` for a function or variable.
    fn literal(&mut self) -> Parsed {
        self.hide(|p| {
            p.deeper(|p| {
                p.expect("L")?;
                // Old compilers leave out the underscore.
                if p.eat("_Z") || (p.peek() == Some(b'Z') && p.eat("Z")) {
                    p.encoding()?;
                    return p.expect("E");
                }
                p.hidden_type()?;
                while p.peek().is_some_and(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'_')) {
                    p.pos += 1;
                }
                p.expect("E")
            })
        })
    }

    /// `<expression>`
    pub(super) fn expression(&mut self) -> Parsed {
        self.hide(|p| p.deeper(Parser::expression_))
    }

    fn expressions_to_end(&mut self) -> Parsed {
        while !self.eat("E") {
            self.expression()?;
        }
        Some(())
    }

    fn expression_(&mut self) -> Parsed {
        self.eat("gs");
        match self.peek()? {
            b'L' => return self.literal(),
            b'T' => return self.template_param(),
            b'0'..=b'9' => return self.simple_id(),
            b'u' => {
                self.pos += 1;
                self.identifier()?;
                return self.arguments();
            }
            b'f' => return self.parameter_or_fold(),
            _ => {}
        }
        let code = [self.next()?, self.next()?];
        match &code {
            b"cl" | b"il" => self.expressions_to_end(),
            b"cp" => {
                self.simple_id()?;
                self.expressions_to_end()
            }
            b"tl" => {
                self.hidden_type()?;
                self.expressions_to_end()
            }
            b"cv" => {
                self.hidden_type()?;
                if self.eat("_") { self.expressions_to_end() } else { self.expression() }
            }
            b"nw" | b"na" => {
                while !self.eat("_") {
                    self.expression()?;
                }
                self.hidden_type()?;
                if self.eat("pi") { self.expressions_to_end() } else { self.expect("E") }
            }
            b"ti" | b"st" | b"at" => self.hidden_type(),
            b"te" | b"sz" | b"az" | b"nx" | b"sp" | b"tw" | b"dl" | b"da" => self.expression(),
            b"dc" | b"sc" | b"cc" | b"rc" => {
                self.hidden_type()?;
                self.expression()
            }
            b"dt" | b"pt" => {
                self.expression()?;
                self.expression()
            }
            b"ds" => {
                self.expression()?;
                self.expression()
            }
            b"tr" => Some(()),
            b"sZ" => {
                if self.peek()? == b'T' {
                    self.template_param()
                } else {
                    self.expression()
                }
            }
            b"sP" => self.arguments(),
            b"on" => {
                self.operator()?;
                self.optional_template_args()
            }
            b"dn" => self.destructor(),
            b"sr" => self.scoped(),
            b"di" => {
                self.identifier()?;
                self.expression()
            }
            b"dx" => {
                self.expression()?;
                self.expression()
            }
            b"dX" | b"qu" => {
                self.expression()?;
                self.expression()?;
                self.expression()
            }
            b"mc" => {
                self.hidden_type()?;
                self.expression()?;
                if self.peek()? != b'E' {
                    self.number()?;
                }
                self.expect("E")
            }
            b"so" => self.subobject(),
            b"rq" => self.requirements(),
            b"rQ" => {
                while !self.eat("_") {
                    self.hidden_type()?;
                }
                self.requirements()
            }
            _ => self.operation(code),
        }
    }

    /// An operator with its one or two operands.
    fn operation(&mut self, code: [u8; 2]) -> Parsed {
        operator_name(code)?;
        match &code {
            b"ng" | b"ps" | b"ad" | b"de" | b"nt" | b"co" | b"aw" => self.expression(),
            b"pp" | b"mm" => {
                self.eat("_");
                self.expression()
            }
            _ => {
                self.expression()?;
                self.expression()
            }
        }
    }

    /// `fp [<qualifiers>] [<number>] _`, `fL <level> p ...` for a parameter, `fpT` for `this`; else a fold:
    /// `fl | fr <operator> <expression>`, `fL | fR <operator> <expression> <expression>`.
    fn parameter_or_fold(&mut self) -> Parsed {
        self.expect("f")?;
        let kind = self.next()?;
        let is_level = kind == b'L' && self.peek()?.is_ascii_digit();
        if kind == b'p' || is_level {
            if is_level {
                self.digits();
                self.expect("p")?;
            }
            if kind == b'p' && self.eat("T") {
                return Some(());
            }
            while matches!(self.peek(), Some(b'r' | b'V' | b'K')) {
                self.pos += 1;
            }
            self.digits();
            return self.expect("_");
        }
        operator_name([self.next()?, self.next()?])?;
        match kind {
            b'l' | b'r' => self.expression(),
            b'L' | b'R' => {
                self.expression()?;
                self.expression()
            }
            _ => None,
        }
    }

    /// A name with template arguments.
    fn simple_id(&mut self) -> Parsed {
        self.identifier()?;
        self.optional_template_args()
    }

    fn destructor(&mut self) -> Parsed {
        if self.peek()?.is_ascii_digit() { self.simple_id() } else { self.hidden_type() }
    }

    /// The name after a scope: a simple one, an operator, or a destructor.
    fn base_name(&mut self) -> Parsed {
        if self.eat("on") {
            self.operator()?;
            return self.optional_template_args();
        }
        if self.eat("dn") {
            return self.destructor();
        }
        self.simple_id()
    }

    fn at_base_name(&self) -> bool {
        self.peek().is_some_and(|byte| byte.is_ascii_digit())
            || self.rest().starts_with(b"on")
            || self.rest().starts_with(b"dn")
    }

    /// What follows `sr`: `N <type> <names> E <base>`, `<type> <base>`, or `<names> E <base>`.
    fn scoped(&mut self) -> Parsed {
        if self.eat("N") {
            // Old compilers put a whole nested name here.
            if self.peek()?.is_ascii_digit() {
                while !self.eat("E") {
                    self.simple_id()?;
                }
                return self.base_name();
            }
            self.hidden_type()?;
            while !self.eat("E") {
                self.simple_id()?;
            }
            return self.base_name();
        }
        if !self.peek()?.is_ascii_digit() {
            self.hidden_type()?;
            return self.base_name();
        }
        self.simple_id()?;
        let second = self.pos;
        let mut names = true;
        while names && self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            names = self.simple_id().is_some();
        }
        if names && self.eat("E") && self.at_base_name() {
            return self.base_name();
        }
        // An old compiler's `<class> <base>`, and the `E` belongs to what is around it.
        self.pos = second;
        self.base_name()
    }

    /// `so <type> <expression> [<number>] (_ [<number>])* [p] E`
    fn subobject(&mut self) -> Parsed {
        self.hidden_type()?;
        self.expression()?;
        while matches!(self.peek()?, b'0'..=b'9' | b'n' | b'_' | b'p') {
            self.pos += 1;
        }
        self.expect("E")
    }

    /// Requirements up to and with the `E`: `X <expression> [N] [R <constraint>]`, `T <type>`, `Q <expression>`.
    fn requirements(&mut self) -> Parsed {
        loop {
            self.budget = self.budget.checked_sub(1)?;
            match self.next()? {
                b'E' => return Some(()),
                b'X' => {
                    self.expression()?;
                    self.eat("N");
                    if self.eat("R") {
                        self.hide(Parser::name)?;
                    }
                }
                b'T' => self.hidden_type()?,
                b'Q' => self.expression()?,
                _ => return None,
            }
        }
    }
}

/// What has to follow after a type code.
enum Follows {
    Nothing,
    Type,
}
