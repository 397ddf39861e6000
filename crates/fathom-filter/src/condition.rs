//! Conditions of filters: `if:arg1 > 3`.

/// How the argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `&`: any bit in common
    Common,
}

/// The signs, longer ones first where one begins another.
const OPERATORS: [(&str, Operator); 7] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("&", Operator::Common),
];

/// What an integer argument must be for the filter of its function to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 1 to 6.
    pub arg: u8,
    /// Whether it is signed.
    pub signed: bool,
    /// Its bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// How it is compared.
    pub operator: Operator,
    /// With what; the bits of a signed number.
    pub value: u64,
}

impl Condition {
    /// Reads what follows `if:`.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn parse(text: &str) -> Result<Condition, String> {
        const HOW: &str = "a condition is written like arg1 == 3";
        let at = text
            .find(['=', '!', '<', '>', '&'])
            .ok_or_else(|| format!("{HOW}, with one of == != > >= < <= &"))?;
        let (left, rest) = text.split_at(at);
        let found = OPERATORS.iter().find_map(|(sign, operator)| Some((rest.strip_prefix(sign)?, *operator)));
        let Some((right, operator)) = found else {
            return Err(format!("{HOW}; the operators are == != > >= < <= &"));
        };
        let (arg, signed, size) = argument(left.trim())?;
        let value = number(right.trim()).ok_or_else(|| format!("'{}' is no number", right.trim()))?;
        Ok(Condition { arg, signed, size, operator, value })
    }

    /// Whether an argument with these bits fulfils it. Bits beyond its size don't count.
    pub fn holds(&self, bits: u64) -> bool {
        let (bits, value) = (self.extended(bits), self.extended(self.value));
        let order = if self.signed { bits.cast_signed().cmp(&value.cast_signed()) } else { bits.cmp(&value) };
        match self.operator {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Common => bits & value != 0,
        }
    }

    /// The lower bytes of a number as a number of 8 bytes.
    fn extended(&self, bits: u64) -> u64 {
        let unused = 64 - 8 * u32::from(self.size.clamp(1, 8));
        if self.signed {
            (bits.cast_signed() << unused >> unused).cast_unsigned()
        } else {
            bits << unused >> unused
        }
    }
}

/// `arg1/u32`: which one, whether it is signed, bytes.
fn argument(text: &str) -> Result<(u8, bool, u8), String> {
    let (name, format) = text.split_once('/').unwrap_or((text, ""));
    let lower = name.to_ascii_lowercase();
    let index =
        lower.strip_prefix("arg").ok_or_else(|| format!("'{name}' is no argument: they are arg1 to arg6"))?;
    let arg: u8 = index.parse().ok().filter(|n| (1..=6).contains(n)).ok_or_else(|| {
        let why =
            if index == "0" { "arguments count from 1" } else { "only arg1 to arg6 can be in a condition" };
        format!("'{name}': {why}")
    })?;
    let letter = format.chars().next().filter(char::is_ascii_alphabetic);
    let signed = match letter {
        None | Some('d' | 'i') => true,
        Some('u' | 'x' | 'o' | 'p') => false,
        Some('c') => return Ok((arg, true, 1)),
        Some(_) => return Err(format!("'{format}' is no format of an integer, such as i32 or u64")),
    };
    let size = match format.get(usize::from(letter.is_some())..).unwrap_or_default() {
        "" | "64" => 8,
        "8" => 1,
        "16" => 2,
        "32" => 4,
        bits => return Err(format!("'{bits}' is no size of an integer: it has 8, 16, 32 or 64 bits")),
    };
    Ok((arg, signed, size))
}

/// A number as in C: decimal, `0x` hexadecimal, `0` octal, negative ones too.
fn number(text: &str) -> Option<u64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.strip_prefix("0x") {
        Some(hex) => (16, hex),
        None if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        None => (10, lower.as_str()),
    };
    // from_str_radix would take a second sign.
    let number =
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, radix).ok())??;
    Some(if negative { number.wrapping_neg() } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, bits: i64) -> bool {
        Condition::parse(text).unwrap().holds(bits.cast_unsigned())
    }

    #[test]
    fn operators() {
        for (text, is) in [
            ("arg1 == 3", [false, true, false]),
            ("arg1!=3", [true, false, true]),
            ("arg1 > 3", [false, false, true]),
            ("arg1>=3", [false, true, true]),
            ("ARG1 < 0x3", [true, false, false]),
            ("arg1<=03", [true, true, false]),
            ("arg1 & 3", [true, true, false]),
        ] {
            assert_eq!([2, 3, 4].map(|n| holds(text, n)), is, "{text}");
        }
    }

    #[test]
    fn signs_and_sizes() {
        assert!(holds("arg1 < 0", -1) && !holds("arg1/u < 1", -1) && holds("arg1 == -1", -1));
        assert!(holds("arg1/i32 == -1", 0xffff_ffff) && !holds("arg1 == -1", 0xffff_ffff));
        assert!(holds("arg6/x8 == 0x1ff", 0xff) && holds("arg1/c == -1", 0xff));
        let parsed = Condition::parse(" arg6/u16 >= 7 ").unwrap();
        let wanted =
            Condition { arg: 6, signed: false, size: 2, operator: Operator::GreaterOrEqual, value: 7 };
        assert_eq!(parsed, wanted);
    }

    #[test]
    fn what_is_wrong() {
        for (text, part) in [
            ("arg1", "with one of =="),
            ("arg1 = 3", "the operators are =="),
            ("arg0 == 1", "count from 1"),
            ("arg7 == 1", "arg1 to arg6"),
            ("retval == 1", "'retval' is no argument"),
            ("arg1/s == 1", "'s' is no format"),
            ("arg1/d33 == 1", "'33' is no size"),
            ("arg1 == foo", "'foo' is no number"),
            ("arg1 == ", "'' is no number"),
            ("arg1 == --1", "is no number"),
        ] {
            let error = Condition::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
