//! Where the arguments of a probe are: `-4@%edi 8@16(%rbp,%rax,8) 4@$5`, as the assembler of x86 writes operands.

/// Most arguments that are kept. The header has macros for twelve.
const MOST: usize = 64;

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdtArg {
    /// Bytes of the value: 1, 2, 4 or 8.
    pub size: u8,
    /// Whether it is signed.
    pub signed: bool,
    /// Whether it is a floating-point number.
    pub float: bool,
    /// Where it is.
    pub operand: Operand,
}

/// Where a value is at the moment of the probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// In a register.
    Register(Register),
    /// At `symbol + base + index * scale + disp`.
    Memory {
        /// A register that is added.
        base: Option<Register>,
        /// A register that is added `scale` times.
        index: Option<Register>,
        /// 1, 2, 4 or 8.
        scale: u8,
        /// A number that is added.
        disp: i64,
        /// The address of this symbol is added. With [`Register::Ip`] as base it is the distance to it: the sum is the
        /// symbol's address plus `disp`.
        symbol: Option<String>,
    },
    /// The value itself.
    Constant(i64),
    /// Something else, such as the address of a symbol or an operand of another machine.
    Other(String),
}

/// A register of x86-64, by the number that instructions have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15: 0 to 15. The value is in its low bytes.
    General(u8),
    /// ah, ch, dh, bh: the second byte of number 0 to 3.
    SecondByte(u8),
    /// xmm0 to xmm31.
    Vector(u8),
    /// rip, of the instruction behind the probe.
    Ip,
}

/// Reads the arguments of a note. Each word gives one, whatever it is, so that their numbers stay right.
pub fn parse(text: &str) -> Vec<SdtArg> {
    text.split_ascii_whitespace().take(MOST).map(argument).collect()
}

fn argument(word: &str) -> SdtArg {
    // Without a size (first versions of the header) it is that of the register, else of an address.
    let (size, text) = word.split_once('@').unwrap_or(("", word));
    let operand = operand(text).unwrap_or_else(|| Operand::Other(text.to_owned()));
    let (number, float) = match size.strip_suffix('f') {
        Some(number) => (number, true),
        None => (size, false),
    };
    let signed = number.starts_with('-');
    match number.trim_start_matches('-').parse() {
        Ok(size @ (1 | 2 | 4 | 8)) => SdtArg { size, signed: signed && !float, float, operand },
        _ if size.is_empty() => SdtArg { size: 8, signed: false, float: false, operand },
        _ => SdtArg { size: 8, signed: false, float: false, operand: Operand::Other(word.to_owned()) },
    }
}

fn operand(text: &str) -> Option<Operand> {
    if let Some(number) = text.strip_prefix('$') {
        let Sum { number, symbol } = sum(number)?;
        return symbol.is_none().then_some(Operand::Constant(number));
    }
    if text.starts_with('%') {
        return register(text).map(Operand::Register);
    }
    let (before, inside) = match text.split_once('(') {
        Some((before, rest)) => (before, rest.strip_suffix(')')?),
        None => (text, ""),
    };
    let Sum { number: disp, symbol } = sum(before)?;
    let mut parts = inside.split(',').map(str::trim);
    let one = |part: Option<&str>| match part {
        None | Some("") => Some(None),
        Some(name) => register(name).map(Some),
    };
    let (base, index) = (one(parts.next())?, one(parts.next())?);
    let scale = match parts.next() {
        None | Some("") => 1,
        Some(number) => number.parse().ok().filter(|scale| matches!(scale, 1 | 2 | 4 | 8))?,
    };
    let nothing = before.is_empty() && base.is_none() && index.is_none();
    let fits =
        |register: Option<Register>| !matches!(register, Some(Register::Vector(_) | Register::SecondByte(_)));
    if nothing || parts.next().is_some() || !fits(base) || !fits(index) || index == Some(Register::Ip) {
        return None;
    }
    Some(Operand::Memory { base, index, scale, disp, symbol })
}

struct Sum {
    number: i64,
    symbol: Option<String>,
}

/// `-8`, `name`, `name+4`, `16+name`, `4-8`: numbers and at most one symbol.
fn sum(text: &str) -> Option<Sum> {
    let mut sum = Sum { number: 0, symbol: None };
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (negative, term) = match rest.as_bytes() {
            [b'-', ..] => (true, &rest[1..]),
            [b'+', ..] => (false, &rest[1..]),
            _ => (false, rest),
        };
        let end = term.find(['+', '-']).unwrap_or(term.len());
        let (term, after) = term.split_at(end);
        rest = after;
        if term.starts_with(|c: char| c.is_ascii_digit()) {
            let value = number(term)?;
            sum.number =
                if negative { sum.number.wrapping_sub(value) } else { sum.number.wrapping_add(value) };
        } else if negative || term.is_empty() || sum.symbol.is_some() || !is_name(term) {
            return None;
        } else {
            sum.symbol = Some(term.to_owned());
        }
    }
    Some(sum)
}

fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        // Addresses of the upper half are written as what they are without a sign.
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(|value| value as i64),
        None => text.parse::<u64>().ok().map(|value| value as i64),
    }
}

fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '@'))
}

fn register(text: &str) -> Option<Register> {
    const BY_NUMBER: [[&str; 4]; 8] = [
        ["rax", "eax", "ax", "al"],
        ["rcx", "ecx", "cx", "cl"],
        ["rdx", "edx", "dx", "dl"],
        ["rbx", "ebx", "bx", "bl"],
        ["rsp", "esp", "sp", "spl"],
        ["rbp", "ebp", "bp", "bpl"],
        ["rsi", "esi", "si", "sil"],
        ["rdi", "edi", "di", "dil"],
    ];
    let name = text.strip_prefix('%')?;
    if matches!(name, "rip" | "eip") {
        return Some(Register::Ip);
    }
    if let Some(number) = BY_NUMBER.iter().position(|names| names.contains(&name)) {
        return Some(Register::General(number as u8));
    }
    if let Some(number) = ["ah", "ch", "dh", "bh"].iter().position(|high| *high == name) {
        return Some(Register::SecondByte(number as u8));
    }
    let numbered = |digits: &str, valid: std::ops::RangeInclusive<u8>| {
        let number = digits.parse::<u8>().ok().filter(|number| number.to_string() == digits)?;
        valid.contains(&number).then_some(number)
    };
    if let Some(digits) = name.strip_prefix("xmm") {
        return numbered(digits, 0..=31).map(Register::Vector);
    }
    let digits = name.strip_prefix('r')?;
    numbered(digits.strip_suffix(['d', 'w', 'b']).unwrap_or(digits), 8..=15).map(Register::General)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn memory(
        base: Option<Register>,
        index: Option<Register>,
        scale: u8,
        disp: i64,
        symbol: Option<&str>,
    ) -> Operand {
        Operand::Memory { base, index, scale, disp, symbol: symbol.map(ToOwned::to_owned) }
    }

    #[test]
    fn operands_as_compilers_write_them() {
        use Register::{General, Ip, SecondByte, Vector};
        let cases = [
            ("%rdi", Operand::Register(General(7))),
            ("%r8d", Operand::Register(General(8))),
            ("%r15b", Operand::Register(General(15))),
            ("%cx", Operand::Register(General(1))),
            ("%sil", Operand::Register(General(6))),
            ("%bh", Operand::Register(SecondByte(3))),
            ("%xmm12", Operand::Register(Vector(12))),
            ("$5", Operand::Constant(5)),
            ("$-1", Operand::Constant(-1)),
            ("$0xffffffffffffffff", Operand::Constant(-1)),
            ("16(%rbp)", memory(Some(General(5)), None, 1, 16, None)),
            ("-80(%rbx)", memory(Some(General(3)), None, 1, -80, None)),
            ("(%rdi,%r8,8)", memory(Some(General(7)), Some(General(8)), 8, 0, None)),
            ("4(,%rax,4)", memory(None, Some(General(0)), 4, 4, None)),
            ("g(%rip)", memory(Some(Ip), None, 1, 0, Some("g"))),
            ("g+4(%rip)", memory(Some(Ip), None, 1, 4, Some("g"))),
            ("-8+_ZL1t.0(%rip)", memory(Some(Ip), None, 1, -8, Some("_ZL1t.0"))),
            ("table(,%rax,8)", memory(None, Some(General(0)), 8, 0, Some("table"))),
            ("16+8(%rsp)", memory(Some(General(4)), None, 1, 24, None)),
            ("0x601040", memory(None, None, 1, 0x60_1040, None)),
        ];
        for (text, expected) in cases {
            assert_eq!(operand(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_operand_of_this_machine_is_kept_as_text() {
        let texts = [
            "x0",
            "[sp, 16]",
            "%r16",
            "%r08d",
            "%r8dq",
            "%xmm32",
            "$g",
            "8(%rax",
            "8(%rax,%rbx,3)",
            "8(%rax,%rbx,2,1)",
            "(%xmm0)",
            "(%rax,%rip)",
            "",
            "a+b(%rip)",
            "-g(%rip)",
            "1 2",
            "%",
            "()",
        ];
        let understood: Vec<_> = texts.iter().filter(|text| operand(text).is_some()).collect();
        // A bare name is an address.
        assert_eq!(understood, [&"x0"]);
    }

    #[test]
    fn sizes() {
        let sizes: Vec<_> =
            parse("-4@%eax 8@%rax 1@$1 -2@%ax 8f@%xmm0 4f@(%rax) %rax 3@%rax x@%rax -8f@%rax")
                .iter()
                .map(|arg| (arg.size, arg.signed, arg.float, !matches!(arg.operand, Operand::Other(_))))
                .collect();
        let expected = [
            (4, true, false, true),
            (8, false, false, true),
            (1, false, false, true),
            (2, true, false, true),
            (8, false, true, true),
            (4, false, true, true),
            (8, false, false, true),
            (8, false, false, false),
            (8, false, false, false),
            (8, false, true, true),
        ];
        assert_eq!(sizes, expected);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[-+@$%()0-9a-z, ]{0,40}") {
            prop_assert_eq!(parse(&text).len(), text.split_ascii_whitespace().count());
        }
    }
}
