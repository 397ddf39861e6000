//! The words of a `print fmt`.

/// A word of C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Name(&'a str),
    /// A number, whether it is unsigned, and its bytes (4 or 8).
    Number(u64, bool, u8),
    Text(Vec<u8>),
    Punctuation(&'static str),
}

/// Longer ones first.
const PUNCTUATION: [&str; 35] = [
    "<<=", ">>=", "...", "->", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+", "-", "*", "/", "%", "&",
    "|", "^", "~", "!", "<", ">", "=", "?", ":", ",", ";", ".", "(", ")", "[", "]", "{",
];

/// Cuts `text` into words. The error is what cannot be one.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length;
        if first == '"' {
            let (bytes, after) = quoted(&rest[1..], b'"').ok_or("a text without its end")?;
            length = rest.len() - after.len();
            match tokens.last_mut() {
                // Texts side by side are one.
                Some(Token::Text(before)) => before.extend_from_slice(&bytes),
                _ => tokens.push(Token::Text(bytes)),
            }
        } else if first == '\'' {
            let (bytes, after) = quoted(&rest[1..], b'\'').ok_or("a character without its end")?;
            length = rest.len() - after.len();
            let &[byte] = &bytes[..] else { return Err("a character that is not one byte".to_owned()) };
            tokens.push(Token::Number(byte as i8 as u64, false, 4));
        } else if first.is_ascii_digit() {
            length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            tokens.push(number(&rest[..length]).ok_or_else(|| format!("the number {}", &rest[..length]))?);
        } else if first.is_ascii_alphabetic() || first == '_' {
            length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            tokens.push(Token::Name(&rest[..length]));
        } else if first == '}' {
            length = 1;
            tokens.push(Token::Punctuation("}"));
        } else {
            let found = PUNCTUATION.iter().find(|word| rest.starts_with(**word));
            let word = found.ok_or_else(|| format!("the character {first:?}"))?;
            length = word.len();
            tokens.push(Token::Punctuation(word));
        }
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// The bytes up to the closing quote, and what is behind it.
fn quoted(text: &str, quote: u8) -> Option<(Vec<u8>, &str)> {
    let source = text.as_bytes();
    let mut bytes = Vec::new();
    let mut at = 0;
    loop {
        let byte = *source.get(at)?;
        at += 1;
        if byte == quote {
            return Some((bytes, text.get(at..)?));
        }
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let escaped = *source.get(at)?;
        at += 1;
        bytes.push(match escaped {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'a' => 7,
            b'b' => 8,
            b'v' => 11,
            b'f' => 12,
            b'e' => 27,
            b'x' => {
                let digits = source[at..].iter().take(2).take_while(|byte| byte.is_ascii_hexdigit()).count();
                let value = u8::from_str_radix(text.get(at..at + digits)?, 16).ok()?;
                at += digits;
                value
            }
            b'0'..=b'7' => {
                at -= 1;
                let digits =
                    source[at..].iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                let value = u32::from_str_radix(text.get(at..at + digits)?, 8).ok()?;
                at += digits;
                value as u8
            }
            other => other,
        });
    }
}

fn number(text: &str) -> Option<Token<'static>> {
    let digits = text.trim_end_matches(['u', 'U', 'l', 'L']);
    let suffix = text[digits.len()..].to_ascii_lowercase();
    let value = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        u64::from_str_radix(hex, 16).ok()?
    } else if let Some(binary) = digits.strip_prefix("0b") {
        u64::from_str_radix(binary, 2).ok()?
    } else if digits.len() > 1 && digits.starts_with('0') {
        u64::from_str_radix(digits, 8).ok()?
    } else {
        digits.parse().ok()?
    };
    let decimal = !digits.starts_with('0');
    let mut unsigned = suffix.contains('u');
    let mut size = if suffix.contains('l') { 8 } else { 4 };
    // C gives a number the first type that it fits in; only those not in decimal may become unsigned.
    if size == 4 && value > u64::from(u32::MAX) {
        size = 8;
    } else if size == 4 && !unsigned && value > i32::MAX as u64 {
        if decimal { size = 8 } else { unsigned = true }
    }
    if size == 8 && value > i64::MAX as u64 {
        unsigned = true;
    }
    Some(Token::Number(value, unsigned, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_numbers_and_characters() {
        let found = tokens(r#""a\n" "\x41\101%", 0x80000000, 10UL, 'A' -> <<"#).unwrap();
        assert_eq!(
            found,
            [
                Token::Text(b"a\nAA%".to_vec()),
                Token::Punctuation(","),
                Token::Number(0x8000_0000, true, 4),
                Token::Punctuation(","),
                Token::Number(10, true, 8),
                Token::Punctuation(","),
                Token::Number(65, false, 4),
                Token::Punctuation("->"),
                Token::Punctuation("<<"),
            ]
        );
        assert!(tokens("\"open").is_err());
        assert!(tokens("1 @ 2").is_err());
    }
}
