//! Values as the program prints them, as `dump` does and as `replay` does.

use super::signature::ENUM;
use anyhow::{Context, Result, bail};
use std::fmt;

/// What was printed of one value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    /// `i`, `c`, `e`, `p`, `f`, `s`, `t` as in [`super::signature`].
    pub(crate) letter: char,
    /// Little-endian; none for bytes between the members of a struct.
    pub(crate) bytes: Vec<Option<u8>>,
}

/// One call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call<V> {
    pub(crate) name: String,
    pub(crate) arguments: Vec<V>,
    pub(crate) returned: Option<V>,
}

/// What the program printed.
pub(crate) fn printed(text: &str) -> Result<Vec<Call<Value>>> {
    text.lines().map(|line| call(line).with_context(|| format!("the program printed '{line}'"))).collect()
}

fn call(line: &str) -> Result<Call<Value>> {
    let mut words = line.split(' ');
    let mut call =
        Call { name: words.next().unwrap_or_default().to_owned(), arguments: Vec::new(), returned: None };
    for word in words {
        match word.strip_prefix('=') {
            Some(word) => call.returned = Some(value(word)?),
            None => call.arguments.push(value(word)?),
        }
    }
    Ok(call)
}

fn value(word: &str) -> Result<Value> {
    let (head, hex) = word.split_once(':').context("no colon")?;
    let letter = head.chars().next().context("no letter")?;
    let digits = hex.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair)?;
        Ok(if pair == ".." { None } else { Some(u8::from_str_radix(pair, 16)?) })
    });
    Ok(Value { letter, bytes: digits.collect::<Result<_>>()? })
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:", self.letter, self.bytes.len())?;
        for byte in &self.bytes {
            match byte {
                Some(byte) => write!(f, "{byte:02x}")?,
                None => f.write_str("..")?,
            }
        }
        Ok(())
    }
}

impl Value {
    fn number(&self) -> u128 {
        self.bytes.iter().rev().fold(0, |number, byte| number << 8 | u128::from(byte.unwrap_or(0)))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.iter().map(|byte| byte.unwrap_or(0)).collect::<Vec<_>>())
            .into_owned()
    }

    /// Whether a number has our bits, at our width.
    fn has_bits(&self, number: u128) -> bool {
        let bits = self.bytes.len() * 8;
        let mask = if bits >= 128 { u128::MAX } else { (1 << bits) - 1 };
        (number ^ self.number()) & mask == 0
    }

    /// Whether the dump's text of a value says this: `d64: 0x…`, `p: 55… (&name)`, `enum E: NAME (5)`, `str: …`, or
    /// bytes after a `struct` line.
    pub(crate) fn is_dumped(&self, text: &str) -> Result<bool> {
        let (format, rest) = text.split_once(':').context("no colon")?;
        let rest = rest.trim();
        if format.starts_with("struct") {
            let shown: Vec<u8> =
                rest.split_whitespace().map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
            let fits = |(ours, shown): (&Option<u8>, &u8)| ours.is_none_or(|ours| ours == *shown);
            return Ok(shown.len() == self.bytes.len() && self.bytes.iter().zip(&shown).all(fits));
        }
        if format == "str" {
            return Ok(rest == self.text().trim());
        }
        let word = match format.starts_with("enum") {
            true => {
                let decimal = rest.rsplit_once('(').context("no number")?.1.trim_end_matches(')');
                return Ok(self.has_bits(decimal.parse::<i64>()? as u128));
            }
            false => rest.split_whitespace().next().unwrap_or_default(),
        };
        if word == "(nil)" {
            return Ok(self.number() == 0);
        }
        if self.letter == 'f' && format != format!("f{}", self.bytes.len() * 8) {
            return Ok(false);
        }
        Ok(self.has_bits(u128::from_str_radix(word.trim_start_matches("0x"), 16)?))
    }

    /// Whether the replay's text of a value says this. Of a struct the text is a matter of taste.
    pub(crate) fn is_replayed(&self, text: &str) -> Result<bool> {
        let number = self.number();
        Ok(match self.letter {
            't' => true,
            's' => text == format!("\"{}\"", self.text()),
            'c' => text == format!("'{}'", number as u8 as char),
            'e' => {
                ENUM.iter().any(|(name, value)| {
                    u128::from(*value) == number && (*name == text || value.to_string() == text)
                }) || self.has_bits(integer(text)?)
            }
            'f' => {
                let value = match self.bytes.len() {
                    4 => f64::from(f32::from_bits(number as u32)),
                    8 => f64::from_bits(number as u64),
                    _ => extended(number),
                };
                text == format!("{value:.6}")
            }
            'p' if text.starts_with('&') => number != 0,
            'i' if text == "true" || text == "false" => number == u128::from(text == "true"),
            _ => self.has_bits(integer(text)?),
        })
    }
}

/// A number in decimal or hexadecimal.
fn integer(text: &str) -> Result<u128> {
    Ok(match text.strip_prefix("0x") {
        Some(hex) => u128::from_str_radix(hex, 16)?,
        None => text.parse::<i128>().with_context(|| format!("'{text}' is no number"))? as u128,
    })
}

/// The value of an 80-bit number of the x87, for the small ones that the generator makes.
fn extended(bits: u128) -> f64 {
    let (fraction, rest) = (bits as u64, (bits >> 64) as u16);
    let exponent = i32::from(rest & 0x7fff) - 16383 - 63;
    let sign = if rest >> 15 == 1 { -1.0 } else { 1.0 };
    if fraction == 0 { 0.0 * sign } else { sign * fraction as f64 * 2_f64.powi(exponent) }
}

/// The calls of the functions `g…` in a raw dump. A struct's bytes follow its line.
pub(crate) fn dumped(text: &str) -> Result<Vec<Call<String>>> {
    let mut calls: Vec<Call<String>> = Vec::new();
    let mut ours = false;
    for line in text.lines() {
        if let Some((_, record)) = line.split_once(": [e") {
            let record = record.split_once("] ").map_or("", |(_, record)| record);
            ours = record.starts_with('g');
            if ours && line.contains(": [entry] ") {
                let name = record.split('(').next().unwrap_or_default().to_owned();
                calls.push(Call { name, ..Call::default() });
            }
            continue;
        }
        let Some(call) = calls.last_mut().filter(|_| ours) else { continue };
        if let Some(rest) = line.strip_prefix("  args[") {
            let text = rest.split_once("] ").context("an argument without a number")?.1;
            call.arguments.push(text.to_owned());
        } else if let Some(text) = line.strip_prefix("  retval ") {
            call.returned = Some(text.to_owned());
        } else if let Some(bytes) = line.strip_prefix('\t') {
            let last = call.returned.as_mut().or(call.arguments.last_mut());
            let last = last.context("bytes without a value")?;
            last.push(' ');
            last.push_str(bytes);
        }
    }
    Ok(calls)
}

/// The calls of the functions `g…` in a replay without fields.
pub(crate) fn replayed(text: &str) -> Result<Vec<Call<String>>> {
    let calls = text.lines().map(str::trim).filter(|line| line.starts_with('g'));
    calls.map(|line| replayed_call(line).with_context(|| format!("replay line '{line}'"))).collect()
}

fn replayed_call(line: &str) -> Result<Call<String>> {
    let (name, rest) = line.split_once('(').context("no bracket")?;
    let mut call = Call { name: name.to_owned(), ..Call::default() };
    let (mut nested, mut quoted) = (0, None);
    let mut word = String::new();
    let mut before = ' ';
    for (at, c) in rest.char_indices() {
        match c {
            '"' | '\'' if quoted.is_none() && before != '\'' => quoted = Some(c),
            // A closing quote is followed by what ends a value.
            _ if quoted == Some(c) && (c == '"' || word.trim().len() > 1) && ends(&rest[at + 1..]) => {
                quoted = None;
            }
            _ if quoted.is_some() => {}
            '{' | '[' | '(' => nested += 1,
            '}' | ']' => nested -= 1,
            ')' if nested > 0 => nested -= 1,
            ')' => {
                if !word.trim().is_empty() {
                    call.arguments.push(word.trim().to_owned());
                }
                let tail = rest[at + 1..].trim_end_matches(';');
                call.returned = tail.strip_prefix(" = ").map(str::to_owned);
                return Ok(call);
            }
            ',' if nested == 0 => {
                call.arguments.push(std::mem::take(&mut word).trim().to_owned());
                continue;
            }
            _ => {}
        }
        before = c;
        word.push(c);
    }
    bail!("no closing bracket")
}

fn ends(rest: &str) -> bool {
    rest.starts_with([',', ')', ';', '}']) || rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(word: &str) -> Value {
        value(word).unwrap()
    }

    #[test]
    fn values_are_compared_at_their_width() {
        assert!(of("i1:f8").is_dumped("d64: 0x00000000fffffff8").unwrap());
        assert!(!of("i2:f8ff").is_dumped("d64: 0x00000000000000f8").unwrap());
        assert!(of("i1:f8").is_replayed("-8").unwrap());
        assert!(of("f4:0000c03f").is_dumped("f32: 0x3fc00000").unwrap());
        assert!(!of("f4:0000c03f").is_dumped("f64: 0x3fc00000").unwrap());
        assert!(of("f4:0000c03f").is_replayed("1.500000").unwrap());
        assert!(of("f10:00000000000000c80040").is_replayed("3.125000").unwrap());
        assert!(of("t4:01..0203").is_dumped("struct s1: 01 ff 02 03").unwrap());
        assert!(!of("t4:01..0203").is_dumped("struct s1: 01 ff 02 04").unwrap());
        assert!(of("e4:05000000").is_dumped("enum shade: GREEN (5)").unwrap());
        assert!(of("e4:05000000").is_replayed("GREEN").unwrap());
        assert!(!of("e4:05000000").is_replayed("BLUE").unwrap_or(false));
    }

    #[test]
    fn lines_are_taken_apart() {
        let call =
            replayed_call("g1(-8, \"comma, and (bracket)\", s3{...}, ',', '\\'', 1.500000) = &say;").unwrap();
        assert_eq!(replayed_call("g1(\"\", 2) = 0;").unwrap().arguments, ["\"\"", "2"]);
        assert_eq!(call.arguments, ["-8", "\"comma, and (bracket)\"", "s3{...}", "','", "'\\''", "1.500000"]);
        assert_eq!(call.returned.as_deref(), Some("&say"));
        assert_eq!(replayed_call("g1();").unwrap().arguments.len(), 0);
        let text = "1.0 1: [entry] g1(555) depth: 1\n1.0 1: [args ] length = 24\n  args[0] struct s1:\n\t01 02 03 04 05 06 07 08  \n\t09 0a\n1.0 1: [exit ] g1(555) depth: 1\n  retval str: x\n1: [exit ] main(444) depth: 0\n  retval d32: 0x0\n";
        let calls = dumped(text).unwrap();
        assert_eq!(calls[0].arguments, ["struct s1: 01 02 03 04 05 06 07 08   09 0a"]);
        assert_eq!(calls[0].returned.as_deref(), Some("str: x"));
    }
}
